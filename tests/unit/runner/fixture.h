/* A store, a runner and the real worker in a place of their own, for the tests of what is told about instances. */
#ifndef MEMO_TEST_RUNNER_FIXTURE_H
#define MEMO_TEST_RUNNER_FIXTURE_H

#include "check.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"
#include "runner/run.h"
#include "runner/runner.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char top[64];
static const char *worker;
static struct memo_store *store;
static struct memo_runner *runner;

static int fixture_start(void)
{
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	MEMO_AUTO_FREE char *dir = memo_io_join(top, "store");
	int code = memo_store_probe(dir, NULL) == 0 ? 0 : memo_store_init(dir, &err);
	if (code == 0)
		code = memo_store_open(dir, "test", 0, &notice, &store, &err);
	if (code == 0)
		code = memo_store_config_set(store, "writable", top, &err); /* where tasks count */
	struct memo_runner_options o = { .store = store, .worker = worker };
	if (code == 0)
		code = memo_runner_open(&o, &runner, &err);
	if (code < 0)
		printf("Bail out! %s\n", err.text);
	return code;
}

static int fixture_open(int argc, char **argv, const char *name)
{
	if (argc < 2)
		return -EINVAL;
	worker = argv[1];
	(void)snprintf(top, sizeof top, "/tmp/memofs-%s-XXXXXX", name);
	return mkdtemp(top) == NULL ? -EIO : fixture_start();
}

static void fixture_stop(void)
{
	memo_runner_close(runner);
	memo_store_close(store);
}

static int fixture_close(void)
{
	fixture_stop();
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, top), 0);
	return check_end();
}

/* ---- registering ---- */

static void add_code(const char *text, const char *path, const char *content)
{
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	enum memo_added added;
	MEMO_AUTO_BUF struct memo_buf warning = { 0 };
	struct memo_code_file file = { path, content, content == NULL ? 0 : strlen(content), true };
	int code = memo_task_parse(text, strlen(text), "task.json", &t, &err);
	if (code == 0)
		code = memo_store_register(store, t, &file, path == NULL ? 0 : 1, false, &added, NULL, &warning,
					   &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
	memo_task_unref(t);
}

static inline void add(const char *text)
{
	add_code(text, NULL, NULL);
}

/* ---- demands ---- */

struct asked {
	struct memo_mutex mu;
	struct memo_cond cond;
	bool done;
	int code;
};

static void answered(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct asked *a = arg;
	(void)res;
	(void)err;
	memo_mutex_lock(&a->mu);
	a->code = code;
	a->done = true;
	memo_cond_signal(&a->cond);
	memo_mutex_unlock(&a->mu);
}

/* Demands "component" of the task's version (NULL: latest) and waits for the answer. */
static int demand(const char *task, const char *version, const char *component, unsigned flags)
{
	struct asked a = { 0 };
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	struct memo_wait *w = NULL;
	struct memo_result *res = NULL;
	struct memo_err err = { 0 };
	memo_mutex_init(&a.mu);
	memo_cond_init(&a.cond);
	int code = memo_runner_resolve(runner, task, version, component, &t, &inputs, &err);
	struct memo_demand d = {
		.task = t,
		.inputs = inputs,
		.flags = flags,
		.uid = geteuid(),
		.answer = answered,
		.arg = &a,
	};
	if (code == 0)
		code = memo_runner_demand(runner, &d, &w, &res, &err);
	if (code == 1) {
		memo_mutex_lock(&a.mu);
		int64_t until = memo_now_ns() + 60 * MEMO_NS_PER_S;
		while (!a.done && memo_cond_wait_until(&a.cond, &a.mu, until) == 0)
			continue;
		code = a.done ? a.code : -ETIMEDOUT;
		memo_mutex_unlock(&a.mu);
		memo_wait_release(w);
	} else if (code < 0) {
		printf("# %s\n", err.text);
	}
	memo_result_unref(res);
	json_decref(inputs);
	memo_task_unref(t);
	memo_cond_clear(&a.cond);
	memo_mutex_clear(&a.mu);
	return code;
}

/* A value as a component has it. */
static inline void encode(struct memo_buf *b, const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		(void)memo_buf_puts(b, *p == '/' ? "%2F" : (char[]){ *p, '\0' });
}

#endif
