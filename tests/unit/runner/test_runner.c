/* The runner over a real store and the real worker, without a mount: demands, single flight, needs, failures. */
#include "check.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"
#include "runner/runner.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64];
static const char *worker;
static struct memo_store *store;
static struct memo_runner *runner;

/* ---- a demand that is waited for ---- */

struct asked {
	struct memo_mutex mu;
	struct memo_cond cond;
	bool done;
	int code;
	struct memo_result *res;
	struct memo_err err;
	struct memo_wait *wait;
};

static void answered(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct asked *a = arg;
	memo_mutex_lock(&a->mu);
	a->code = code;
	if (code == 0)
		a->res = memo_result_ref(res);
	else
		a->err = *err;
	a->done = true;
	memo_cond_signal(&a->cond);
	memo_mutex_unlock(&a->mu);
}

/* The instance "task/version-or-latest/component". */
static void ask(struct asked *a, const char *task, const char *component, unsigned flags)
{
	*a = (struct asked){ 0 };
	memo_mutex_init(&a->mu);
	memo_cond_init(&a->cond);
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	a->code = memo_runner_resolve(runner, task, NULL, component, &t, &inputs, &a->err);
	if (a->code < 0) {
		a->done = true;
		return;
	}
	struct memo_demand d = {
		.task = t,
		.inputs = inputs,
		.flags = flags,
		.uid = geteuid(),
		.answer = answered,
		.arg = a,
	};
	int code = memo_runner_demand(runner, &d, &a->wait, &a->res, &a->err);
	if (code <= 0) {
		a->wait = NULL;
		a->code = code;
		a->done = true;
	}
	json_decref(inputs);
	memo_task_unref(t);
}

static int await(struct asked *a)
{
	memo_mutex_lock(&a->mu);
	int64_t until = memo_now_ns() + 60 * MEMO_NS_PER_S;
	while (!a->done && memo_cond_wait_until(&a->cond, &a->mu, until) == 0)
		continue;
	int code = a->done ? a->code : -ETIMEDOUT;
	memo_mutex_unlock(&a->mu);
	memo_wait_release(a->wait);
	a->wait = NULL;
	return code;
}

/* The text of a file result; "" and a failed check otherwise. */
static void text_of(struct asked *a, struct memo_buf *out)
{
	MEMO_AUTO_FD int fd = -1;
	CHECK(a->res != NULL);
	if (a->res != NULL && memo_store_open_file(store, a->res, &fd, NULL) == 0)
		CHECK_INT(memo_io_read_fd(fd, 1 << 20, out), 0);
}

static void done(struct asked *a)
{
	memo_result_unref(a->res);
	memo_cond_clear(&a->cond);
	memo_mutex_clear(&a->mu);
}

static void check_text(const char *task, const char *component, const char *want)
{
	struct asked a;
	ask(&a, task, component, 0);
	int code = await(&a);
	if (code < 0)
		printf("# %s/%s: %s\n", task, component, a.err.text);
	CHECK_INT(code, 0);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (code == 0)
		text_of(&a, &b);
	CHECK_STR(memo_buf_str(&b), want);
	done(&a);
}

static void add(const char *text)
{
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	enum memo_added added;
	MEMO_AUTO_BUF struct memo_buf warning = { 0 };
	int code = memo_task_parse(text, strlen(text), "task.json", &t, &err);
	if (code == 0)
		code = memo_store_register(store, t, NULL, 0, false, &added, NULL, &warning, &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
	memo_task_unref(t);
}

/* Lines in a file below the test's directory. */
static size_t lines(const char *name)
{
	MEMO_AUTO_FREE char *path = memo_io_join(top, name);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_io_read_file(AT_FDCWD, path, 1 << 20, &b) < 0)
		return 0;
	size_t n = 0;
	for (size_t i = 0; i < b.len; i++)
		n += b.data[i] == '\n';
	return n;
}

/* ---- tests ---- */

static void add_counted(const char *name, const char *script)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b,
			      "{\"memofs\":1,\"name\":\"%s\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\","
			      "\"default\":1}},"
			      "\"command\":[\"sh\",\"-c\",\"echo run >>%s/%s.count; %s\",\"sh\",\"{inputs.x}\"]}",
			      name, top, name, script);
	add(b.data);
}

static void test_miss_then_hit(void)
{
	add_counted("plain", "echo value $1");
	check_text("plain", "x=7", "value 7\n");
	check_text("plain", "x=7", "value 7\n");
	check_text("plain", "@default", "value 1\n");
	CHECK_INT(lines("plain.count"), 2);
}

static void test_single_flight(void)
{
	add_counted("slow", "sleep 0.3; echo done");
	enum { N = 100 };
	struct asked *a = calloc(N, sizeof *a);
	for (size_t i = 0; i < N; i++)
		ask(&a[i], "slow", "@default", 0);
	for (size_t i = 0; i < N; i++) {
		CHECK_INT(await(&a[i]), 0);
		done(&a[i]);
	}
	free(a);
	CHECK_INT(lines("slow.count"), 1);
}

static void test_force(void)
{
	add_counted("again", "echo value");
	check_text("again", "@default", "value\n");
	struct asked a;
	ask(&a, "again", "@default", MEMO_DEMAND_FORCE);
	CHECK_INT(await(&a), 0);
	done(&a);
	CHECK_INT(lines("again.count"), 2);
	check_text("again", "@default", "value\n");
	CHECK_INT(lines("again.count"), 2);
}

static void test_failure_and_backoff(void)
{
	add_counted("bad", "echo why it failed >&2; exit 3");
	struct asked a;
	for (int i = 0; i < 3; i++) {
		ask(&a, "bad", "@default", 0);
		CHECK_INT(await(&a), -EIO);
		CHECK(strstr(a.err.text, "bad") != NULL);
		done(&a);
	}
	CHECK_INT(lines("bad.count"), 1); /* within the back-off of one second */
	struct memo_task *t;
	json_t *inputs;
	CHECK_INT(memo_runner_resolve(runner, "bad", NULL, "@default", &t, &inputs, NULL), 0);
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	CHECK_INT(memo_runner_info(runner, t, inputs, NULL, "stderr", &text, NULL), 0);
	CHECK_STR(memo_buf_str(&text), "why it failed\n");
	CHECK_INT(memo_runner_state(runner, t, inputs), MEMO_FAILED);
	CHECK_INT(memo_runner_forget(runner, t, inputs, NULL), 0);
	json_decref(inputs);
	memo_task_unref(t);
	ask(&a, "bad", "@default", 0);
	CHECK_INT(await(&a), -EIO);
	done(&a);
	CHECK_INT(lines("bad.count"), 2);
}

static void test_retry(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(
		&b,
		"{\"memofs\":1,\"name\":\"flaky\",\"version\":\"1\",\"max_retries\":2,\"temporary_fail_codes\":[75]"
		","
		"\"command\":[\"sh\",\"-c\",\"echo run >>%s/flaky.count; [ -e %s/ok ] && echo fine && exit; "
		"touch %s/ok; exit 75\"]}",
		top, top, top);
	add(b.data);
	check_text("flaky", "@default", "fine\n");
	CHECK_INT(lines("flaky.count"), 2);
}

static void test_needs(void)
{
	add_counted("part", "echo $1");
	add("{\"memofs\":1,\"name\":\"sum\",\"version\":\"1\",\"inputs\":{\"xs\":{\"type\":\"int[]\"}},"
	    "\"needs\":{\"p\":{\"task\":\"part\",\"each\":\"xs\",\"inputs\":{\"x\":\"{inputs.xs}\"}}},"
	    "\"command\":[\"cat\",\"{needs.p}\"]}");
	add("{\"memofs\":1,\"name\":\"copy\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"command\":[\"cat\",\"{inputs.f}\"]}");
	add("{\"memofs\":1,\"name\":\"chain\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\"}},"
	    "\"needs\":{\"p\":{\"task\":\"part\",\"inputs\":{\"x\":\"{inputs.x}\"}},"
	    "\"c\":{\"task\":\"copy\",\"inputs\":{\"f\":\"{needs.p}\"}}},"
	    "\"command\":[\"cat\",\"{needs.p}\",\"{needs.c}\"]}");
	check_text("sum", "xs=3,xs=1,xs=2", "3\n1\n2\n");
	CHECK_INT(lines("part.count"), 3);
	check_text("chain", "x=2", "2\n2\n");
	CHECK_INT(lines("part.count"), 3);
	check_text("copy", "f=%2Ftasks%2Fpart%2F1%2Fx=2", "2\n");
}

static void test_upstream_failure_is_told(void)
{
	add("{\"memofs\":1,\"name\":\"down\",\"version\":\"1\",\"needs\":{\"up\":{\"task\":\"bad\"}},"
	    "\"command\":[\"cat\",\"{needs.up}\"]}");
	struct asked a;
	ask(&a, "down", "@default", 0);
	CHECK_INT(await(&a), -EIO);
	CHECK(strstr(a.err.text, "bad") != NULL);
	done(&a);
	ask(&a, "copy", "f=%2Fno%2Fsuch%2Ffile", 0);
	CHECK_INT(await(&a), -EIO);
	CHECK(strstr(a.err.text, "/no/such/file") != NULL);
	done(&a);
}

static void test_peek_never_starts(void)
{
	add_counted("never", "echo x");
	struct asked a;
	ask(&a, "never", "@default", MEMO_DEMAND_PEEK);
	CHECK_INT(await(&a), -ENOENT);
	done(&a);
	CHECK_INT(lines("never.count"), 0);
}

static void test_drop_and_cancel(void)
{
	add_counted("long", "sleep 60");
	struct asked a;
	struct asked b;
	ask(&a, "long", "@default", 0);
	ask(&b, "long", "@default", 0);
	CHECK(memo_runner_drop(runner, a.wait));
	memo_wait_release(a.wait);
	CHECK(!a.done);
	struct memo_task *t;
	json_t *inputs;
	CHECK_INT(memo_runner_resolve(runner, "long", NULL, "@default", &t, &inputs, NULL), 0);
	for (int i = 0; i < 200 && memo_runner_state(runner, t, inputs) != MEMO_RUNNING; i++)
		(void)usleep(20000);
	CHECK_INT(memo_runner_state(runner, t, inputs), MEMO_RUNNING);
	CHECK_INT(memo_runner_cancel(runner, t, inputs, NULL), 0);
	CHECK_INT(await(&b), -ECANCELED);
	CHECK_INT(memo_runner_state(runner, t, inputs), MEMO_CANCELLED);
	json_decref(inputs);
	memo_task_unref(t);
	done(&a);
	done(&b);
}

static void test_input_file_by_content(void)
{
	MEMO_AUTO_FREE char *path = memo_io_join(top, "in.txt");
	CHECK_INT(memo_io_replace(AT_FDCWD, path, "one\n", 4, 0644, false), 0);
	MEMO_AUTO_BUF struct memo_buf c = { 0 };
	(void)memo_buf_puts(&c, "f=");
	for (const char *p = path; *p != '\0'; p++)
		(void)memo_buf_puts(&c, *p == '/' ? "%2F" : (char[]){ *p, '\0' });
	check_text("copy", c.data, "one\n");
	CHECK_INT(memo_io_replace(AT_FDCWD, path, "two\n", 4, 0644, false), 0);
	check_text("copy", c.data, "two\n");
}

/* A task whose code is a script, without a declared version. */
static struct memo_task *add_script(const char *script)
{
	static const char text[] = "{\"memofs\":1,\"name\":\"commented\",\"script\":\"run.sh\"}";
	struct memo_task *t = NULL;
	struct memo_task *out = NULL;
	struct memo_err err = { 0 };
	enum memo_added added;
	MEMO_AUTO_BUF struct memo_buf whole = { 0 };
	(void)memo_buf_printf(&whole, "#!/bin/sh\n%s\n", script);
	struct memo_code_file file = { "run.sh", whole.data, whole.len, true };
	CHECK_INT(memo_task_parse(text, sizeof text - 1, "task.json", &t, &err), 0);
	CHECK_INT(memo_store_register(store, t, &file, 1, false, &added, &out, NULL, &err), 0);
	memo_task_unref(t);
	return out;
}

static void check_count(const char *script, size_t want)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "echo run >>%s/commented.count\n%s", top, script);
	memo_task_unref(add_script(memo_buf_str(&b)));
	check_text("commented", "@default", "a\n");
	CHECK_INT(lines("commented.count"), want);
}

static void test_comments(void)
{
	check_count("echo a", 1);
	check_count("# a comment\n\necho a # another", 1);
	check_count("echo 'a'", 2);
	check_count("echo 'a' #SBATCH", 3);
}

/* The rules of a language have changed: the same bytes come to another fingerprint. */
static void test_other_rules(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "echo run >>%s/ruled.count\necho a # b", top);
	struct memo_task *t = add_script(memo_buf_str(&b));
	check_text("commented", "@default", "a\n");
	CHECK_STR(t->code[0].method, "shell");
	t->code[0].number++;
	t->fingerprint.byte[0] ^= 1;
	check_text("commented", "@default", "a\n");
	CHECK_INT(lines("ruled.count"), 1); /* found by its bytes */
	memo_task_unref(t);
	/* other bytes, though only in a comment: nothing tells that they produced it */
	memo_buf_reset(&b);
	(void)memo_buf_printf(&b, "echo run >>%s/ruled.count\necho a # c", top);
	t = add_script(memo_buf_str(&b));
	t->fingerprint.byte[0] ^= 2;
	check_text("commented", "@default", "a\n");
	CHECK_INT(lines("ruled.count"), 2);
	memo_task_unref(t);
}

static void test_close_ends_running_work(void)
{
	struct asked a;
	ask(&a, "long", "x=5", 0);
	memo_runner_close(runner);
	CHECK_INT(await(&a), -ESHUTDOWN);
	done(&a);
	runner = NULL;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	worker = argv[1];
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(top, sizeof top, "%s/memofs-runner-XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	if (mkdtemp(top) == NULL)
		return 2;
	MEMO_AUTO_FREE char *dir = memo_io_join(top, "store");
	int code = memo_store_init(dir, &err);
	if (code == 0)
		code = memo_store_open(dir, "test", 0, &notice, &store, &err);
	if (code == 0)
		code = memo_store_config_set(store, "writable", top, &err); /* where tasks count */
	struct memo_runner_options o = { .store = store, .worker = worker };
	if (code == 0)
		code = memo_runner_open(&o, &runner, &err);
	if (code < 0) {
		printf("Bail out! %s\n", err.text);
		return 2;
	}
	RUN(test_miss_then_hit);
	RUN(test_single_flight);
	RUN(test_force);
	RUN(test_failure_and_backoff);
	RUN(test_retry);
	RUN(test_needs);
	RUN(test_upstream_failure_is_told);
	RUN(test_peek_never_starts);
	RUN(test_drop_and_cancel);
	RUN(test_input_file_by_content);
	RUN(test_comments);
	RUN(test_other_rules);
	RUN(test_close_ends_running_work);
	memo_store_close(store);
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, top), 0);
	return check_end();
}
