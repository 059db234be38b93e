/* Runs over a real store and the real worker: outcomes, force, verify, retry, stopping, taking up. */
#include "check.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"
#include "runner/run.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char top[64];
static char *dir;
static const char *worker;
static struct memo_store *store;
static struct memo_runner *runner;

static void open_all(void)
{
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	struct memo_runner_options o = { .worker = worker };
	int code = memo_store_open(dir, "test", 0, &notice, &store, &err);
	if (code == 0)
		code = memo_store_config_set(store, "writable", top, &err); /* where tasks count */
	o.store = store;
	if (code == 0)
		code = memo_runner_open(&o, &runner, &err);
	if (code < 0)
		printf("Bail out! %s\n", err.text);
	CHECK_INT(code, 0);
}

static void close_all(void)
{
	memo_runner_close(runner);
	memo_store_close(store);
}

/* A task that counts its executions in <name>.count and then does @script; @rest: further members, with a comma. */
static void add(const char *name, const char *version, const char *script, const char *rest)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b,
			      "{\"memofs\":1,\"name\":\"%s\",\"version\":\"%s\",\"inputs\":{\"x\":{\"type\":"
			      "\"int\",\"default\":1}},"
			      "\"command\":[\"sh\",\"-c\",\"echo run >>%s/%s.count; %s\",\"sh\",\"{inputs.x}\"]%s}",
			      name, version, top, name, script, rest);
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	enum memo_added added;
	MEMO_AUTO_BUF struct memo_buf warning = { 0 };
	int code = memo_task_parse(b.data, b.len, "task.json", &t, &err);
	if (code == 0)
		code = memo_store_register(store, t, NULL, 0, false, &added, NULL, &warning, &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
	memo_task_unref(t);
}

static size_t count(const char *name)
{
	MEMO_AUTO_BUF struct memo_buf file = { 0 };
	(void)memo_buf_printf(&file, "%s/%s.count", top, name);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_io_read_file(AT_FDCWD, file.data, 1 << 20, &b) < 0)
		return 0;
	size_t n = 0;
	for (size_t i = 0; i < b.len; i++)
		n += b.data[i] == '\n';
	return n;
}

/* A run over x = 1 ... n of a task, started. */
static void begin(const char *task, int n, struct memo_run_options o, char id[MEMO_RUN_ID])
{
	struct memo_err err = { 0 };
	o.uid = geteuid();
	int code = memo_run_new(runner, &o, id, &err);
	for (int x = 1; x <= n && code == 0; x++) {
		char name[32];
		struct memo_task *t;
		json_t *inputs;
		(void)snprintf(name, sizeof name, "x=%d", x);
		code = memo_runner_resolve(runner, task, NULL, name, &t, &inputs, &err);
		if (code < 0)
			break;
		code = memo_run_add(runner, id, t, false, inputs, &err);
		json_decref(inputs);
		memo_task_unref(t);
	}
	if (code == 0)
		code = memo_run_start(runner, id, &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
}

/* Waits for the end; the state, and the counts in order "reused executed failed cancelled never". */
static void finish(const char *id, const char *state, const char *counts)
{
	MEMO_AUTO_JSON json_t *s = NULL;
	for (int i = 0; i < 3000; i++) {
		json_decref(s);
		s = NULL;
		CHECK_INT(memo_run_status(runner, id, 0, &s, NULL), 0);
		if (strcmp(memo_json_string(s, "state", ""), "RUNNING") != 0)
			break;
		(void)usleep(10000);
	}
	CHECK_STR(memo_json_string(s, "state", ""), state);
	const json_t *c = json_object_get(s, "counts");
	char got[128];
	(void)snprintf(got, sizeof got, "%d %d %d %d %d", (int)memo_json_int(c, "reused", -1),
		       (int)memo_json_int(c, "executed", -1), (int)memo_json_int(c, "failed", -1),
		       (int)memo_json_int(c, "cancelled", -1), (int)memo_json_int(c, "never", -1));
	CHECK_STR(got, counts);
}

static void test_executed_then_reused(void)
{
	char id[MEMO_RUN_ID];
	add("plain", "1", "echo $1", "");
	begin("plain", 5, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "0 5 0 0 0");
	begin("plain", 5, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "5 0 0 0 0");
	CHECK_INT(count("plain"), 5);
}

static void test_force(void)
{
	char id[MEMO_RUN_ID];
	add("leaf", "1", "echo leaf", "");
	add("top", "1", "echo top $1", ",\"needs\":{\"l\":{\"task\":\"leaf\"}}");
	begin("top", 3, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "0 4 0 0 0");
	const char *names[] = { "leaf" };
	begin("top", 3, (struct memo_run_options){ .force_task = names, .force_tasks = 1 }, id);
	finish(id, "SUCCESS", "3 1 0 0 0"); /* same bytes: what is downstream stays cached */
	CHECK_INT(count("leaf"), 2);
	CHECK_INT(count("top"), 3);
	begin("top", 3, (struct memo_run_options){ .force = true }, id);
	finish(id, "SUCCESS", "0 4 0 0 0");
	CHECK_INT(count("leaf"), 3);
	CHECK_INT(count("top"), 6);
}

static void test_uncached_once_in_a_run(void)
{
	char id[MEMO_RUN_ID];
	add("fresh", "1", "echo fresh", ",\"cache\":false");
	add("user", "1", "echo user $1", ",\"needs\":{\"f\":{\"task\":\"fresh\"}}");
	begin("user", 4, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "0 5 0 0 0");
	CHECK_INT(count("fresh"), 1);
	begin("user", 4, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "4 1 0 0 0");
	CHECK_INT(count("fresh"), 2);
}

static void test_stop_at_first_failure_and_retry(void)
{
	char id[MEMO_RUN_ID];
	struct memo_err err = { 0 };
	uint64_t n = 0;
	add("step", "1", "[ $1 = 2 ] && exit 3; echo ok $1", "");
	begin("step", 4, (struct memo_run_options){ .keep_going = true }, id);
	finish(id, "FAILED", "0 3 1 0 0");
	CHECK_INT(memo_run_retry(runner, id, "other", true, geteuid(), NULL, &n, &err), 0);
	CHECK_INT(n, 0);
	/* the bug is fixed under the same version: today's code is used */
	add("step", "1", "echo fixed $1", "");
	CHECK_INT(memo_run_retry(runner, id, NULL, true, geteuid(), NULL, &n, &err), 0);
	CHECK_INT(n, 1);
	finish(id, "SUCCESS", "0 4 0 0 0");
	CHECK_INT(count("step"), 5);
	add("all", "1", "exit 3", "");
	begin("all", 40, (struct memo_run_options){ 0 }, id);
	MEMO_AUTO_JSON json_t *s = NULL;
	for (int i = 0; i < 1000; i++) {
		json_decref(s);
		s = NULL;
		CHECK_INT(memo_run_status(runner, id, 0, &s, NULL), 0);
		if (strcmp(memo_json_string(s, "state", ""), "RUNNING") != 0)
			break;
		(void)usleep(10000);
	}
	CHECK_STR(memo_json_string(s, "state", ""), "FAILED");
}

static void test_upstream_failure_is_never(void)
{
	char id[MEMO_RUN_ID];
	uint64_t n = 0;
	add("bad", "1", "exit 4", "");
	add("down", "1", "echo down", ",\"needs\":{\"b\":{\"task\":\"bad\"}}");
	begin("down", 1, (struct memo_run_options){ 0 }, id);
	finish(id, "FAILED", "0 0 1 0 1");
	add("bad", "1", "echo good", "");
	CHECK_INT(memo_run_retry(runner, id, NULL, true, geteuid(), NULL, &n, NULL), 0);
	CHECK_INT(n, 1);
	finish(id, "SUCCESS", "0 2 0 0 0");
}

static void test_verify(void)
{
	char id[MEMO_RUN_ID];
	MEMO_AUTO_BUF struct memo_buf rest = { 0 };
	(void)memo_buf_printf(&rest, ",\"verify\":[\"sh\",\"-c\",\"grep -q value $OUTPUT && [ ! -e %s/invalid ]\"]",
			      top);
	add("checked", "1", "echo value", rest.data);
	begin("checked", 2, (struct memo_run_options){ 0 }, id);
	finish(id, "SUCCESS", "0 2 0 0 0");
	begin("checked", 2, (struct memo_run_options){ .verify = true }, id);
	finish(id, "SUCCESS", "2 0 0 0 0");
	MEMO_AUTO_FREE char *mark = memo_io_join(top, "invalid");
	CHECK_INT(memo_io_replace(AT_FDCWD, mark, "", 0, 0644, false), 0);
	begin("checked", 2, (struct memo_run_options){ .verify = true }, id);
	finish(id, "SUCCESS", "0 2 0 0 0");
	CHECK_INT(count("checked"), 4);
}

static void test_stop_and_cancel(void)
{
	char id[MEMO_RUN_ID];
	add("slow", "1", "sleep 1; echo", "");
	begin("slow", 50, (struct memo_run_options){ 0 }, id);
	(void)usleep(500000);
	CHECK_INT(memo_run_stop(runner, id, NULL), 0);
	MEMO_AUTO_JSON json_t *s = NULL;
	for (int i = 0; i < 1000; i++) {
		json_decref(s);
		s = NULL;
		CHECK_INT(memo_run_status(runner, id, 0, &s, NULL), 0);
		if (strcmp(memo_json_string(s, "state", ""), "RUNNING") != 0)
			break;
		(void)usleep(10000);
	}
	CHECK(memo_json_int(json_object_get(s, "counts"), "executed", 0) > 0);
	CHECK(memo_json_int(json_object_get(s, "counts"), "never", 0) > 20);
	add("longer", "1", "sleep 60", "");
	begin("longer", 1, (struct memo_run_options){ 0 }, id);
	(void)usleep(500000);
	CHECK_INT(memo_run_cancel(runner, id, NULL), 0);
	finish(id, "CANCELLED", "0 0 0 1 0");
}

static void test_taken_up(void)
{
	char id[MEMO_RUN_ID];
	add("later", "1", "sleep 0.2; echo $1", "");
	begin("later", 12, (struct memo_run_options){ 0 }, id);
	(void)usleep(700000);
	close_all();
	open_all();
	CHECK_INT(memo_run_resume(runner, NULL), 0);
	MEMO_AUTO_JSON json_t *s = NULL;
	for (int i = 0; i < 2000; i++) {
		json_decref(s);
		s = NULL;
		CHECK_INT(memo_run_status(runner, id, 0, &s, NULL), 0);
		if (strcmp(memo_json_string(s, "state", ""), "RUNNING") != 0)
			break;
		(void)usleep(10000);
	}
	CHECK_STR(memo_json_string(s, "state", ""), "SUCCESS");
	CHECK_INT(memo_json_int(json_object_get(s, "counts"), "executed", 0) +
			  memo_json_int(json_object_get(s, "counts"), "reused", 0),
		  12);
	close_all();
	open_all();
	MEMO_AUTO_JSON json_t *again = NULL;
	CHECK_INT(memo_run_status(runner, id, 0, &again, NULL), 0);
	CHECK_STR(memo_json_string(again, "state", ""), "SUCCESS");
	MEMO_AUTO_BUF struct memo_buf dot = { 0 };
	CHECK_INT(memo_run_graph(runner, id, &dot, NULL), 0);
	CHECK(strstr(memo_buf_str(&dot), "/tasks/later/1/x=7") != NULL);
	MEMO_AUTO_JSON json_t *list = NULL;
	CHECK_INT(memo_run_list(runner, &list, NULL), 0);
	CHECK(json_array_size(list) > 5);
	CHECK_INT(memo_run_status(runner, "nothing", 0, &again, NULL), -ENOENT);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	worker = argv[1];
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(top, sizeof top, "%s/memofs-run-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	struct memo_err err = { 0 };
	if (mkdtemp(top) == NULL || (dir = memo_io_join(top, "store")) == NULL || memo_store_init(dir, &err) < 0)
		return 2;
	open_all();
	RUN(test_executed_then_reused);
	RUN(test_force);
	RUN(test_uncached_once_in_a_run);
	RUN(test_stop_at_first_failure_and_retry);
	RUN(test_upstream_failure_is_never);
	RUN(test_verify);
	RUN(test_stop_and_cancel);
	RUN(test_taken_up);
	close_all();
	free(dir);
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, top), 0);
	return check_end();
}
