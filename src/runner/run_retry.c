/* Runs again: taken up after the process ended, or retried with today's code. */
#include "run_private.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <stdio.h>
#include <string.h>

/* ---- taking runs up again -------------------------------------------------------------------- */

/* Brings a run from the store into memory; a reference for the caller. */
static int load(struct memo_runner *r, const char *id, struct run **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	int code = memo_store_run_get(r->store, id, &j, err);
	if (code < 0)
		return code;
	struct run *run = memo_run_alloc();
	if (run == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	(void)snprintf(run->id, sizeof run->id, "%s", id);
	run->force = memo_json_bool(j, "force", false);
	run->verify = memo_json_bool(j, "verify", false);
	run->keep_going = memo_json_bool(j, "keep_going", false);
	run->cancelled = memo_json_bool(j, "cancelled", false);
	run->uid = (uid_t)memo_json_int(j, "uid", 0);
	code = memo_who_user(run->uid, &run->who);
	if (code < 0) {
		memo_run_discard(r, run);
		return memo_fail(err, code, "run '%s': the groups of user %u cannot be looked up: %s", id,
				 (unsigned)run->uid, memo_strerror(code));
	}
	run->created_ns = memo_json_int(j, "created", 0);
	run->ended_ns = memo_json_int(j, "ended", 0);
	run->total = (uint64_t)memo_json_int(j, "total", 0);
	run->seconds = json_number_value(json_object_get(j, "seconds"));
	run->saved = json_number_value(json_object_get(j, "seconds_saved"));
	run->phase = RUN_OVER;
	if (json_is_array(json_object_get(j, "force_tasks"))) {
		json_decref(run->force_tasks);
		run->force_tasks = json_incref(json_object_get(j, "force_tasks"));
	}
	*out = run;
	return 0;
}

/* Fills the memory from the rows: outcomes, and results of what succeeded. What was on its way waits again. */
static int recall(struct memo_runner *r, struct run *run, struct memo_err *err)
{
	MEMO_AUTO_FREE char *after = NULL;
	for (;;) {
		MEMO_AUTO_JSON json_t *rows = NULL;
		int code = memo_store_run_rows(r->store, run->id, after, 512, &rows, err);
		if (code < 0 || json_array_size(rows) == 0)
			return code;
		size_t i;
		json_t *e;
		json_array_foreach(rows, i, e)
		{
			const char *path = memo_json_string(e, "path", "");
			const json_t *row = json_object_get(e, "row");
			struct memo_id id;
			struct memo_result *res = NULL;
			enum run_outcome o = memo_run_outcome_parse(memo_json_string(row, "outcome", ""));
			if ((o == RUN_REUSED || o == RUN_EXECUTED) &&
			    memo_id_parse(memo_json_string(row, "identity", ""), &id) == 0 &&
			    memo_store_lookup(r->store, &id, &res, NULL) < 0)
				res = NULL;
			memo_mutex_lock(&r->mu);
			struct run_seen *s = memo_run_see(r, run, path, memo_json_string(row, "task", ""));
			if (s != NULL) {
				s->demanded = memo_json_bool(row, "demanded", false);
				s->fixed = memo_json_bool(row, "fixed", false);
				s->seconds = json_number_value(json_object_get(row, "seconds"));
				s->timed = true;
				memo_run_outcome(r, run, s, o == RUN_RUNNING ? RUN_WAITING : o,
						 memo_json_string(row, "message", NULL));
				memo_result_unref(s->result);
				s->result = res;
				res = NULL;
			}
			memo_mutex_unlock(&r->mu);
			memo_result_unref(res);
		}
		free(after);
		after = strdup(memo_json_string(json_array_get(rows, json_array_size(rows) - 1), "path", ""));
		if (after == NULL)
			return memo_fail(err, -ENOMEM, "out of memory");
	}
}

int memo_run_take_up(struct memo_runner *r, const char *id, struct run **out, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	struct run *run = memo_run_find(r, id);
	if (run != NULL)
		run->refs++;
	memo_mutex_unlock(&r->mu);
	if (run != NULL) {
		*out = run;
		return 0;
	}
	int code = load(r, id, &run, err);
	if (code < 0)
		return code;
	code = recall(r, run, err);
	if (code == 0) {
		code = memo_run_insert(r, run);
		if (code < 0)
			(void)memo_fail(err, code == -EEXIST ? -EBUSY : code,
					"run '%s' is being taken up elsewhere", id);
	}
	if (code < 0) {
		memo_run_discard(r, run);
		return code;
	}
	memo_mutex_lock(&r->mu);
	run->refs++;
	memo_mutex_unlock(&r->mu);
	*out = run;
	return 0;
}

int memo_run_resume(struct memo_runner *r, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *ids = NULL;
	int code = memo_store_run_ids(r->store, &ids, err);
	size_t i;
	json_t *e;
	json_array_foreach(ids, i, e)
	{
		MEMO_AUTO_JSON json_t *j = NULL;
		if (code < 0)
			break;
		code = memo_store_run_get(r->store, json_string_value(e), &j, err);
		if (code < 0 || strcmp(memo_json_string(j, "state", ""), "RUNNING") != 0)
			continue;
		struct run *run;
		code = memo_run_take_up(r, json_string_value(e), &run, err);
		if (code == 0) {
			code = memo_run_begin(r, run, err);
			memo_run_discard(r, run);
		}
	}
	return code;
}

/* ---- retry ----------------------------------------------------------------------------------- */

static bool to_retry(const struct run_seen *s, const char *task)
{
	bool lost = s->outcome == RUN_FAILED || s->outcome == RUN_CANCELLED || s->outcome == RUN_NEVER ||
		    s->outcome == RUN_WAITING;
	return lost && (task == NULL || strcmp(s->task, task) == 0);
}

/* With today's code: the name in the latest version of the task, unless a version was asked for. */
static int today(struct memo_runner *r, const char *path, bool fixed, struct memo_buf *out, struct memo_err *err)
{
	struct memo_task *t = NULL;
	struct memo_task *now = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	int code = memo_plan_resolve(r->store, path, &t, &inputs, &inner, err);
	if (code == -ENOENT && !fixed) {
		/* the version is gone from the registry: its inputs are in the path */
		struct memo_path_parts parts;
		code = memo_path_split(path, &parts, err);
		if (code == 0) {
			code = memo_runner_resolve(r, parts.task, NULL, parts.component, &t, &inputs, err);
			memo_path_parts_clear(&parts);
		}
	}
	if (code == 0 && !fixed)
		code = memo_store_task(r->store, t->name, NULL, &now, err);
	if (code == 0 && now != NULL && now != t) {
		json_t *again = NULL;
		code = memo_task_bind(now, inputs, &again, err);
		json_decref(inputs);
		inputs = again;
	}
	if (code == 0)
		code = memo_runner_path(r, now != NULL ? now : t, inputs, out, err);
	free(inner);
	json_decref(inputs);
	memo_task_unref(now);
	memo_task_unref(t);
	return code;
}

/* The paths to demand again: array of {"path","task","fixed"}. */
static json_t *list_retry(struct run *run, const char *task)
{
	json_t *list = json_array();
	for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL;
	     l = memo_map_next(&run->seen, l)) {
		const struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		/* --task names the failed step; what was demanded downstream of it never started, and is demanded again */
		bool wanted = s->demanded && (to_retry(s, task) || (task != NULL && s->outcome == RUN_NEVER));
		if (wanted && memo_json_push(list, json_pack("{s:s, s:s, s:b}", "path", s->path, "task", s->task,
							     "fixed", s->fixed)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static void forget_row(struct memo_runner *r, struct run *run, struct run_seen *s, json_t *gone) LOCKED
{
	(void)r;
	if (memo_json_set(gone, s->path, json_null()) < 0)
		return;
	run->count[s->outcome]--;
	if (s->dirty) {
		struct run_seen **p = &run->dirty;
		while (*p != s)
			p = &(*p)->next_dirty;
		*p = s->next_dirty;
	}
	memo_map_remove(&run->seen, &s->link);
	memo_run_seen_free(s);
}

/* Upstream instances that did not succeed are met again if they are needed still. */
static void drop_failed_upstream(struct memo_runner *r, struct run *run, json_t *gone) LOCKED
{
	struct memo_map_link *next;
	for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL; l = next) {
		next = memo_map_next(&run->seen, l);
		struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		if (!s->demanded && to_retry(s, NULL))
			forget_row(r, run, s, gone);
	}
}

static int put_again(struct memo_runner *r, struct run *run, const json_t *e, const char *path, json_t *gone) LOCKED
{
	const char *old = memo_json_string(e, "path", "");
	struct memo_map_link *l = memo_map_get(&run->seen, old, strlen(old));
	if (l != NULL && strcmp(old, path) != 0)
		forget_row(r, run, MEMO_CONTAINER(l, struct run_seen, link), gone);
	struct run_seen *s = memo_run_see(r, run, path, memo_json_string(e, "task", ""));
	if (s == NULL)
		return -ENOMEM;
	s->demanded = true;
	s->fixed = memo_json_bool(e, "fixed", false);
	memo_run_outcome(r, run, s, RUN_WAITING, NULL);
	return 0;
}

static void forget_failure(struct memo_runner *r, const char *path)
{
	struct memo_task *t;
	json_t *inputs;
	char *inner;
	struct memo_named named;
	if (memo_plan_resolve(r->store, path, &t, &inputs, &inner, NULL) < 0)
		return;
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	if (memo_path_name(t, inputs, &name, NULL) == 0 &&
	    memo_store_named(r->store, t->name, t->version, name.data, &named, NULL) == 0 && named.known) {
		memo_mutex_lock(&r->mu);
		memo_failure_forget(r, &named.identity);
		memo_mutex_unlock(&r->mu);
	}
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
}

int memo_run_retry(struct memo_runner *r, const char *id, const char *task, bool verify, uid_t uid,
		   const struct memo_who *who, uint64_t *count_out, struct memo_err *err)
{
	struct run *run;
	int code = memo_run_take_up(r, id, &run, err);
	if (code < 0)
		return code;
	memo_mutex_lock(&r->mu);
	if (run->phase != RUN_OVER)
		code = memo_fail(err, -EBUSY, "run '%s' is under way; wait for it, or memofs cancel %s", id, id);
	if (code == 0)
		run->before = run->changes; /* who follows the retry sees the retry */
	MEMO_AUTO_JSON json_t *list = code == 0 ? list_retry(run, task) : NULL;
	MEMO_AUTO_JSON json_t *failed = json_array();
	for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL && failed != NULL;
	     l = memo_map_next(&run->seen, l)) {
		const struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		if (s->outcome == RUN_FAILED && memo_json_push(failed, json_string(s->path)) < 0)
			break;
	}
	memo_mutex_unlock(&r->mu);
	MEMO_AUTO_JSON json_t *gone = json_object();
	size_t i;
	json_t *e;
	json_array_foreach(failed, i, e) forget_failure(r, json_string_value(e));
	json_array_foreach(list, i, e)
	{
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		if (code == 0)
			code = today(r, memo_json_string(e, "path", ""), memo_json_bool(e, "fixed", false), &path,
				     err);
		if (code < 0)
			break;
		memo_mutex_lock(&r->mu);
		code = put_again(r, run, e, path.data, gone);
		if (i == 0)
			drop_failed_upstream(r, run, gone);
		memo_mutex_unlock(&r->mu);
	}
	if (code == 0 && json_object_size(gone) > 0)
		code = memo_store_run_rows_put(r->store, id, gone, false, err);
	if (code == 0) {
		*count_out = json_array_size(list);
		memo_mutex_lock(&r->mu);
		run->verify = verify;
		for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL;
		     l = memo_map_next(&run->seen, l))
			MEMO_CONTAINER(l, struct run_seen, link)->fresh = false;
		run->uid = uid;
		memo_who_unref(run->who);
		run->who = memo_who_ref(who);
		memo_mutex_unlock(&r->mu);
	}
	if (code == 0 && *count_out > 0)
		code = memo_run_begin(r, run, err);
	memo_run_discard(r, run);
	return code;
}
