/* A store, a runner and demands that count their answers, for the tests of the runner. */
#ifndef MEMO_TEST_ASKED_H
#define MEMO_TEST_ASKED_H

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

#define PATIENCE_NS (90 * MEMO_NS_PER_S)

static char top[64];
static const char *worker;
static struct memo_store *store;
static struct memo_runner *runner;

struct asked {
	struct memo_mutex mu;
	struct memo_cond cond;
	int answers; /* by callback */
	bool now; /* answered by memo_runner_demand() itself */
	int code;
	int64_t answered_ns;
	struct memo_result *res;
	struct memo_err err;
	struct memo_wait *wait;
};

static void answered(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct asked *a = arg;
	memo_mutex_lock(&a->mu);
	a->answers++;
	a->code = code;
	a->answered_ns = memo_now_ns();
	if (code == 0 && a->res == NULL)
		a->res = memo_result_ref(res);
	else if (code < 0)
		a->err = *err;
	memo_cond_broadcast(&a->cond);
	memo_mutex_unlock(&a->mu);
}

/* An instance by its names; the caller gives back what it got. */
static inline int instance(const char *task, const char *component, struct memo_task **t, json_t **inputs,
			   struct memo_err *err)
{
	return memo_runner_resolve(runner, task, NULL, component, t, inputs, err);
}

/* @tid: the thread that asks, 0: none. */
static inline void ask_as(struct asked *a, const char *task, const char *component, unsigned flags, pid_t tid,
			  uid_t uid)
{
	*a = (struct asked){ 0 };
	memo_mutex_init(&a->mu);
	memo_cond_init(&a->cond);
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	int code = instance(task, component, &t, &inputs, &a->err);
	if (code == 0) {
		struct memo_demand d = {
			.task = t,
			.inputs = inputs,
			.flags = flags,
			.uid = uid,
			.tid = tid,
			.answer = answered,
			.arg = a,
		};
		code = memo_runner_demand(runner, &d, &a->wait, &a->res, &a->err);
		json_decref(inputs);
		memo_task_unref(t);
	}
	if (code <= 0) {
		a->wait = NULL;
		a->code = code;
		a->now = true;
	}
}

static inline void ask(struct asked *a, const char *task, const char *component, unsigned flags)
{
	ask_as(a, task, component, flags, 0, geteuid());
}

/* True when the answer is there, at the latest after @patience_ns. */
static inline bool await_for(struct asked *a, int64_t patience_ns)
{
	int64_t until = memo_now_ns() + patience_ns;
	memo_mutex_lock(&a->mu);
	while (!a->now && a->answers == 0 && memo_cond_wait_until(&a->cond, &a->mu, until) == 0)
		continue;
	bool there = a->now || a->answers > 0;
	memo_mutex_unlock(&a->mu);
	return there;
}

static inline int await(struct asked *a)
{
	return await_for(a, PATIENCE_NS) ? a->code : -ETIMEDOUT;
}

static inline void done(struct asked *a)
{
	memo_wait_release(a->wait);
	memo_result_unref(a->res);
	memo_cond_clear(&a->cond);
	memo_mutex_clear(&a->mu);
}

static inline void text_of(const struct asked *a, struct memo_buf *out)
{
	MEMO_AUTO_FD int fd = -1;
	if (a->res != NULL && memo_store_open_file(store, a->res, &fd, NULL) == 0)
		CHECK_INT(memo_io_read_fd(fd, 1 << 20, out), 0);
}

static inline void add(const char *text)
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

/* A task with the integer input x as $1; @more: further members, each with a comma after it. */
static inline void add_shell(const char *name, const char *more, const char *script)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b,
			      "{\"memofs\":1,\"name\":\"%s\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\","
			      "\"default\":1}},%s"
			      "\"command\":[\"sh\",\"-c\",\"echo run >>%s/%s.count; %s\",\"sh\",\"{inputs.x}\"]}",
			      name, more, top, name, script);
	add(memo_buf_str(&b));
}

/* How often a task of add_shell() ran. */
static inline size_t runs_of(const char *name)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&path, "%s/%s.count", top, name);
	if (memo_io_read_file(AT_FDCWD, memo_buf_str(&path), 1 << 20, &b) < 0)
		return 0;
	size_t n = 0;
	for (size_t i = 0; i < b.len; i++)
		n += b.data[i] == '\n';
	return n;
}

/* "key=<path>" with what a component needs escaped. */
static inline void file_component(struct memo_buf *out, const char *key, const char *path)
{
	(void)memo_buf_printf(out, "%s=", key);
	for (const char *p = path; *p != '\0'; p++)
		(void)memo_buf_puts(out, *p == '/' ? "%2F" : (char[]){ *p, '\0' });
}

static inline size_t in_flight(void)
{
	json_t *list = NULL;
	if (memo_runner_active(runner, &list) < 0)
		return 0;
	size_t n = json_array_size(list);
	json_decref(list);
	return n;
}

/* True when nothing is in flight any more. */
static inline bool settles(void)
{
	for (int64_t until = memo_now_ns() + PATIENCE_NS; memo_now_ns() < until; (void)usleep(5000)) {
		if (in_flight() == 0)
			return true;
	}
	return false;
}

/* The pid of the worker of a running task, or 0; @task NULL: of any, by turns. */
static inline pid_t worker_of(const char *task, size_t turn)
{
	json_t *list = NULL;
	pid_t found = 0;
	if (memo_runner_active(runner, &list) < 0)
		return 0;
	size_t n = json_array_size(list);
	for (size_t i = 0; i < n && found == 0; i++) {
		const json_t *e = json_array_get(list, (i + turn) % n);
		if (task == NULL || strcmp(memo_json_string(e, "task", ""), task) == 0)
			found = (pid_t)memo_json_int(e, "pid", 0);
	}
	json_decref(list);
	return found;
}

static inline pid_t await_worker(const char *task)
{
	pid_t pid = 0;
	for (int i = 0; i < 2000 && (pid = worker_of(task, 0)) == 0; i++)
		(void)usleep(5000);
	CHECK(pid > 0);
	return pid;
}

static inline void config(const char *key, const char *value)
{
	struct memo_err err = { 0 };
	int code = memo_store_config_set(store, key, value, &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
}

static inline int open_runner(void)
{
	struct memo_err err = { 0 };
	struct memo_runner_options o = { .store = store, .worker = worker };
	int code = memo_runner_open(&o, &runner, &err);
	if (code < 0)
		printf("Bail out! %s\n", err.text);
	return code;
}

static inline int open_all(const char *program)
{
	worker = program;
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(top, sizeof top, "%s/memofs-runner-XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	if (mkdtemp(top) == NULL)
		return -errno;
	MEMO_AUTO_FREE char *dir = memo_io_join(top, "store");
	int code = memo_store_init(dir, &err);
	if (code == 0)
		code = memo_store_open(dir, "test", 0, &notice, &store, &err);
	if (code == 0)
		code = memo_store_config_set(store, "writable", top, &err); /* where tasks count */
	if (code < 0)
		printf("Bail out! %s\n", err.text);
	return code < 0 ? code : open_runner();
}

static inline void close_all(void)
{
	memo_runner_close(runner);
	memo_store_close(store);
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, top), 0);
}

#endif
