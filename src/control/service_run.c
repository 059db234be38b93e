/* Requests about runs. A run belongs to whoever asked for it: he and the store's owner may start, stop, cancel and retry it;
 * everyone may look. */
#include "service_call.h"

#include "base/json.h"
#include "base/scope.h"
#include "runner/run.h"

#include <string.h>

#define ROWS_MOST 1000 /* in one answer */
#define ROWS_LOOKED 20000 /* by one request that wants certain outcomes only */
#define NO_CHANGES ((uint64_t)INT64_MAX)

int memo_service_run(struct memo_service_call *c, const char **id_out)
{
	return memo_json_need_string(c->request, "run", id_out, &c->err);
}

int memo_service_run_mine(struct memo_service_call *c, const char *what)
{
	const char *id;
	MEMO_AUTO_JSON json_t *status = NULL;
	int r = memo_service_run(c, &id);
	if (r == 0)
		r = memo_run_status(c->runner, id, NO_CHANGES, &status, &c->err);
	if (r < 0)
		return r;
	if (memo_json_int(status, "uid", -1) != (int64_t)c->asker.uid)
		return memo_fail(&c->err, -EACCES,
				 "run '%s' is another user's; only he, the store's owner and root may %s it", id,
				 what);
	return 0;
}

/* The version that a sheet's rows are read for, so that a registration meanwhile does not split the run. */
static int settle_task(struct memo_service_call *c, const char *text)
{
	MEMO_AUTO_FREE char *name = NULL;
	MEMO_AUTO_FREE char *version = NULL;
	int r = memo_service_split_task(c, text, &name, &version);
	if (r == 0)
		r = memo_store_task(c->store, name, version, &c->task, &c->err);
	if (r < 0)
		return r;
	bool fixed = version != NULL && strcmp(version, "latest") != 0;
	r = memo_service_set(c, "task", json_sprintf("%s@%s", c->task->name, c->task->version));
	return r < 0 ? r : memo_service_set(c, "fixed", json_boolean(fixed));
}

int memo_op_run_new(struct memo_service_call *c)
{
	const char *name[MEMO_RUN_FORCE_TASKS], *task = memo_json_string(c->request, "task", NULL);
	char id[MEMO_RUN_ID];
	const json_t *list = json_object_get(c->request, "force_tasks");
	struct memo_run_options o = {
		.force = memo_json_bool(c->request, "force", false),
		.force_task = name,
		.force_tasks = json_array_size(list),
		.verify = memo_json_bool(c->request, "verify", false),
		.keep_going = memo_json_bool(c->request, "keep_going", false),
		.uid = c->asker.uid,
		.who = c->asker.who,
	};
	if (o.force_tasks > MEMO_RUN_FORCE_TASKS)
		return memo_fail(&c->err, -EINVAL, "--force-task: at most %d tasks can be named",
				 MEMO_RUN_FORCE_TASKS);
	for (size_t i = 0; i < o.force_tasks; i++) {
		name[i] = json_string_value(json_array_get(list, i));
		if (name[i] == NULL || !memo_task_name_ok(name[i]))
			return memo_fail(&c->err, -EINVAL, "--force-task: '%.80s' is not a task's name",
					 name[i] != NULL ? name[i] : "");
	}
	int r = task != NULL ? settle_task(c, task) : 0;
	if (r == 0)
		r = memo_run_new(c->runner, &o, id, &c->err);
	return r < 0 ? r : memo_service_set(c, "run", json_string(id));
}

int memo_op_run_start(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_run_start(c->runner, id, &c->err);
}

int memo_op_run_stop(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_run_stop(c->runner, id, &c->err);
}

int memo_op_run_cancel(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_run_cancel(c->runner, id, &c->err);
}

/* Reads all rows of the run, so not in the thread that serves everybody. */
static int retry(struct memo_service_call *c)
{
	uint64_t count = 0;
	const char *task = memo_json_string(c->request, "task", NULL);
	if (task != NULL && !memo_task_name_ok(task))
		return memo_fail(&c->err, -EINVAL, "--task: '%.80s' is not a task's name; memofs tasks lists them",
				 task);
	int r = memo_run_retry(c->runner, memo_json_string(c->request, "run", ""), task,
			       memo_json_bool(c->request, "verify", true), c->asker.uid, c->asker.who, &count,
			       &c->err);
	return r < 0 ? r : memo_service_set(c, "count", json_integer((json_int_t)count));
}

int memo_op_run_retry(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_service_work(c, retry);
}

int memo_op_run_status(struct memo_service_call *c)
{
	const char *id;
	json_t *status = NULL;
	int r = memo_service_run(c, &id);
	int64_t since = memo_json_int(c->request, "since", 0);
	if (r == 0)
		r = memo_run_status(c->runner, id, since > 0 ? (uint64_t)since : 0, &status, &c->err);
	return r < 0 ? r : memo_service_set(c, "status", status);
}

static int list(struct memo_service_call *c)
{
	json_t *runs = NULL;
	int r = memo_run_list(c->runner, &runs, &c->err);
	return r < 0 ? r : memo_service_set(c, "runs", runs);
}

int memo_op_run_list(struct memo_service_call *c)
{
	return memo_service_work(c, list);
}

static bool among(const json_t *outcomes, const char *outcome)
{
	size_t i;
	json_t *o;
	if (json_array_size(outcomes) == 0)
		return true;
	json_array_foreach(outcomes, i, o)
	{
		if (json_is_string(o) && strcmp(json_string_value(o), outcome) == 0)
			return true;
	}
	return false;
}

/* "next" is where to go on, null at the end. */
static int rows(struct memo_service_call *c)
{
	const char *id = memo_json_string(c->request, "run", "");
	const json_t *outcomes = json_object_get(c->request, "outcomes");
	int64_t limit = memo_json_int(c->request, "limit", ROWS_MOST);
	MEMO_AUTO_FREE char *after = NULL;
	const char *from = memo_json_string(c->request, "after", NULL);
	MEMO_AUTO_JSON json_t *some = json_array();
	limit = limit < 1 || limit > ROWS_MOST ? ROWS_MOST : limit;
	if (some == NULL)
		return memo_service_nomem(c);
	for (size_t looked = 0; looked < ROWS_LOOKED; looked += ROWS_MOST) {
		MEMO_AUTO_JSON json_t *page = NULL;
		int r = memo_run_rows(c->runner, id, after != NULL ? after : from, ROWS_MOST, &page, &c->err);
		if (r < 0)
			return r;
		size_t i;
		json_t *row;
		bool full = false;
		json_array_foreach(page, i, row)
		{
			full = json_array_size(some) >= (size_t)limit;
			if (full)
				break;
			free(after);
			after = strdup(memo_json_string(row, "path", ""));
			if (after == NULL || (among(outcomes, memo_json_string(row, "outcome", "")) &&
					      json_array_append(some, row) < 0))
				return memo_service_nomem(c);
		}
		if (!full && json_array_size(page) < ROWS_MOST) {
			free(after);
			after = NULL;
			break;
		}
		if (full)
			break;
	}
	int r = memo_service_set(c, "next", after != NULL ? json_string(after) : json_null());
	return r < 0 ? r : memo_service_set(c, "rows", json_incref(some));
}

int memo_op_run_rows(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_service_work(c, rows);
}

static int graph(struct memo_service_call *c)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_run_graph(c->runner, memo_json_string(c->request, "run", ""), &b, &c->err);
	return r < 0 ? r : memo_service_set(c, "dot", json_string(memo_buf_str(&b)));
}

int memo_op_run_graph(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_service_work(c, graph);
}
