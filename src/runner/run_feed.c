/* What drives a run: its rows are read from the store in order of path, and as many of its demands as the window holds are
 * kept waiting. The feed is a job; whoever wants more asks for it, and a feed that is under way is told to go round again. */
#include "run_private.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>

#define CHUNK 128

/* ---- rows ------------------------------------------------------------------------------------ */

static json_t *row_json(const struct run_seen *s)
{
	char id[MEMO_HEX_SIZE];
	char hash[MEMO_HEX_SIZE];
	json_t *j = json_pack("{s:s, s:b, s:b, s:s, s:f, s:s?}", "task", s->task, "demanded", s->demanded, "fixed",
			      s->fixed, "outcome", memo_run_outcome_text[s->outcome], "seconds", s->seconds,
			      "message", s->message);
	if (j != NULL && s->result != NULL &&
	    (memo_json_set(j, "identity", json_string(memo_id_hex(&s->result->identity, id))) < 0 ||
	     memo_json_set(j, "hash", json_string(memo_id_hex(&s->result->hash, hash))) < 0)) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* What a reused result took to make, from its record: read without the lock. */
static double cost_of(struct memo_runner *r, const struct memo_id *identity)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	if (memo_store_record(r->store, identity, &record, NULL) < 0)
		return 0;
	return json_number_value(json_object_get(json_object_get(record, "origin"), "seconds"));
}

static void note_costs(struct memo_runner *r, struct run *run)
{
	for (;;) {
		struct memo_id id;
		struct run_seen *s = NULL;
		memo_mutex_lock(&r->mu);
		for (s = run->dirty; s != NULL; s = s->next_dirty) {
			if (!s->timed && s->outcome == RUN_REUSED && s->result != NULL)
				break;
		}
		if (s != NULL) {
			id = s->result->identity;
			s->timed = true;
		}
		memo_mutex_unlock(&r->mu);
		if (s == NULL)
			return;
		double seconds = cost_of(r, &id);
		memo_mutex_lock(&r->mu);
		s->seconds = seconds; /* entries leave the memory in retry only, which excludes an active run */
		run->saved += seconds;
		memo_mutex_unlock(&r->mu);
	}
}

int memo_run_flush(struct memo_runner *r, struct run *run, bool whole)
{
	note_costs(r, run);
	MEMO_AUTO_JSON json_t *rows = json_object();
	MEMO_AUTO_JSON json_t *self = NULL;
	int code = rows == NULL ? -ENOMEM : 0;
	memo_mutex_lock(&r->mu);
	struct run_seen *first = run->dirty;
	for (struct run_seen *s = first; s != NULL && code == 0; s = s->next_dirty)
		code = memo_json_set(rows, s->path, row_json(s));
	if (code == 0) {
		while (run->dirty != NULL) {
			struct run_seen *s = run->dirty;
			run->dirty = s->next_dirty;
			s->dirty = false;
			s->next_dirty = NULL;
		}
		self = memo_run_json(run);
	}
	memo_mutex_unlock(&r->mu);
	if (code == 0 && json_object_size(rows) > 0)
		code = memo_store_run_rows_put(r->store, run->id, rows, whole, NULL);
	if (code == 0 && whole)
		code = self == NULL ? -ENOMEM : memo_store_run_put(r->store, run->id, self, true, NULL);
	if (code < 0) {
		/* they are to be written again */
		const char *path;
		json_t *row;
		memo_mutex_lock(&r->mu);
		json_object_foreach(rows, path, row)
		{
			struct memo_map_link *l = memo_map_get(&run->seen, path, strlen(path));
			struct run_seen *s = l == NULL ? NULL : MEMO_CONTAINER(l, struct run_seen, link);
			if (s != NULL && !s->dirty) {
				s->dirty = true;
				s->next_dirty = run->dirty;
				run->dirty = s;
			}
		}
		memo_mutex_unlock(&r->mu);
	}
	return code;
}

/* ---- items ----------------------------------------------------------------------------------- */

static void item_free(struct memo_runner *r, struct run_item *it) LOCKED
{
	struct run *run = it->run;
	*it->prev = it->next;
	if (it->next != NULL)
		it->next->prev = it->prev;
	run->in_flight--;
	memo_call_unref(r, it->call);
	free(it->path);
	free(it);
	memo_run_unref(r, run);
}

/* Drops the run's demands whose work has not begun; with @all also those that run. Work that nobody else wants then
 * ends: queued work at once, running work with @all only. */
static void drop_items(struct memo_runner *r, struct run *run, bool all) LOCKED
{
	struct run_item *next;
	for (struct run_item *it = run->items; it != NULL; it = next) {
		next = it->next;
		/* the demand may have gone over to another call of the same name */
		struct call *c = it->wait->state == WAIT_WAITING ? it->wait->call : it->call;
		bool running = c->phase == CALL_DONE || memo_call_runs(c);
		if (it->wait->state != WAIT_WAITING || (running && !all))
			continue;
		struct memo_wait *w = it->wait;
		memo_call_detach(r, w);
		w->state = WAIT_DROPPED;
		w->call = NULL;
		c->refs++;
		memo_call_unref(r, c); /* the wait's */
		memo_wait_release(w);
		memo_wait_release(w);
		MEMO_AUTO_FREE char *path = strdup(it->path);
		struct run_seen *s = path == NULL ? NULL : memo_run_see(r, run, path, c->task->name);
		if (s != NULL)
			memo_run_outcome(r, run, s, running ? RUN_CANCELLED : RUN_NEVER,
					 running ? "cancelled" : NULL);
		item_free(r, it);
		memo_call_give_up(r, c, all);
		memo_call_unref(r, c);
	}
}

static void answered(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct run_item *it = arg;
	struct memo_runner *r = it->runner;
	(void)res;
	(void)err; /* memo_run_ended() has noted both */
	memo_mutex_lock(&r->mu);
	struct run *run = it->run;
	run->refs++;
	memo_wait_release(it->wait);
	item_free(r, it);
	if (code < 0 && code != -ESHUTDOWN && !run->keep_going && !run->stopping) {
		run->stopping = true;
		drop_items(r, run, false); /* what is queued is new work, too */
	}
	memo_run_feed(r, run);
	memo_run_unref(r, run);
	memo_mutex_unlock(&r->mu);
}

static void note_failure(struct memo_runner *r, struct run *run, const char *path,
			 const struct memo_err *err) LOCKED
{
	struct run_seen *s = memo_run_see(r, run, path, "");
	if (s != NULL)
		memo_run_outcome(r, run, s, RUN_FAILED, err->text);
	if (!run->keep_going)
		run->stopping = true;
}

/* One demand of the run. @name: the component of its path. */
static void demand(struct memo_runner *r, struct run *run, const char *path, struct memo_task *t,
		   const json_t *inputs, const char *name, const struct memo_settings *set) LOCKED
{
	struct memo_err err = { 0 };
	struct run_item *it = calloc(1, sizeof *it);
	struct memo_wait *w = calloc(1, sizeof *w);
	struct call *c = NULL;
	int code = it == NULL || w == NULL || (it->path = strdup(path)) == NULL
			   ? memo_fail(&err, -ENOMEM, "out of memory")
			   : 0;
	if (code == 0)
		code = memo_call_get(r, t, inputs, name, 0, 0,
				     (struct asking){ .allowed = memo_may_start(set, run->who), .who = run->who },
				     run, &c, &err);
	if (code == 0) {
		w->answer = answered;
		w->arg = it;
		w->uid = run->uid;
		w->asked_ns = memo_now_ns();
		w->refs = 1;
		code = memo_call_attach(r, c, w, UINT64_MAX);
	}
	if (code < 0) {
		if (code != -ESHUTDOWN)
			note_failure(r, run, path, &err);
		memo_call_unref(r, c);
		if (it != NULL)
			free(it->path);
		free(it);
		free(w);
		return;
	}
	it->runner = r;
	it->run = run;
	run->refs++;
	it->wait = w;
	it->call = c;
	it->next = run->items;
	it->prev = &run->items;
	if (it->next != NULL)
		it->next->prev = &it->next;
	run->items = it;
	run->in_flight++;
}

/* ---- the feed -------------------------------------------------------------------------------- */

static void feed_one(struct memo_runner *r, struct run *run, const char *path)
{
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	int code = memo_plan_resolve(r->store, path, &t, &inputs, &inner, &err);
	struct memo_settings set;
	if (code == 0)
		code = memo_path_name(t, inputs, &name, &err);
	if (code == 0)
		code = memo_store_settings(r->store, &set, &err);
	memo_mutex_lock(&r->mu);
	if (code < 0)
		note_failure(r, run, path, &err);
	else
		demand(r, run, path, t, inputs, name.data, &set);
	memo_mutex_unlock(&r->mu);
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
}

/* The next rows: demanded ones that wait, as long as the window has room. *@end: there are no more. */
static int feed_chunk(struct memo_runner *r, struct run *run, bool *end)
{
	memo_mutex_lock(&r->mu);
	MEMO_AUTO_FREE char *after = run->after != NULL ? strdup(run->after) : NULL;
	memo_mutex_unlock(&r->mu);
	MEMO_AUTO_JSON json_t *rows = NULL;
	int code = memo_store_run_rows(r->store, run->id, after, CHUNK, &rows, NULL);
	if (code < 0)
		return code;
	*end = json_array_size(rows) == 0;
	size_t i;
	json_t *e;
	json_array_foreach(rows, i, e)
	{
		const char *path = memo_json_string(e, "path", "");
		memo_mutex_lock(&r->mu);
		bool full = run->in_flight >= MEMO_RUN_WINDOW || run->stopping || r->closing;
		struct memo_map_link *l = memo_map_get(&run->seen, path, strlen(path));
		const struct run_seen *s = l == NULL ? NULL : MEMO_CONTAINER(l, struct run_seen, link);
		bool wanted = s != NULL && s->demanded && s->outcome == RUN_WAITING;
		char *mark = full ? NULL : strdup(path);
		if (mark != NULL) {
			free(run->after);
			run->after = mark;
		}
		memo_mutex_unlock(&r->mu);
		if (mark == NULL)
			return full ? 0 : -ENOMEM;
		if (wanted)
			feed_one(r, run, path);
	}
	return 0;
}

/* What waits still when nothing is in flight any more was never started. */
static void end_run(struct memo_runner *r, struct run *run) LOCKED
{
	for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL;
	     l = memo_map_next(&run->seen, l)) {
		struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		if (s->outcome == RUN_WAITING || s->outcome == RUN_RUNNING)
			memo_run_outcome(r, run, s, RUN_NEVER, NULL);
	}
	run->phase = RUN_OVER;
	memo_run_let_go(r, run);
	run->ended_ns = memo_wall_ns();
	memo_timer_clear(r, &run->flush);
}

static void feed(struct memo_runner *r, void *arg)
{
	struct run *run = arg;
	bool end = false;
	memo_mutex_lock(&r->mu);
	bool go = run->phase == RUN_ACTIVE && !r->closing;
	bool stop = run->stopping;
	run->again = false;
	size_t room = run->in_flight < MEMO_RUN_WINDOW ? MEMO_RUN_WINDOW - run->in_flight : 0;
	bool fed = run->fed;
	memo_mutex_unlock(&r->mu);
	int code = 0;
	while (go && code == 0 && !stop && !fed && room > 0 && !end) {
		code = feed_chunk(r, run, &end);
		memo_mutex_lock(&r->mu);
		run->fed = run->fed || end;
		stop = run->stopping || r->closing;
		room = run->in_flight < MEMO_RUN_WINDOW ? MEMO_RUN_WINDOW - run->in_flight : 0;
		memo_mutex_unlock(&r->mu);
	}
	memo_mutex_lock(&r->mu);
	if (code < 0)
		run->stopping = true; /* the store cannot be read: what is left is never started */
	bool over = run->phase == RUN_ACTIVE && run->in_flight == 0 && (run->fed || run->stopping) && !r->closing;
	if (over)
		end_run(r, run);
	run->feeding = false;
	if (run->again && !over)
		memo_run_feed(r, run);
	memo_mutex_unlock(&r->mu);
	if (over && memo_run_flush(r, run, true) < 0) {
		memo_mutex_lock(&r->mu);
		run->failed = true; /* it is over all the same; the next start of the process finds it under way */
		memo_mutex_unlock(&r->mu);
	}
	memo_run_discard(r, run);
}

void memo_run_feed(struct memo_runner *r, struct run *run)
{
	if (run->feeding) {
		run->again = true;
		return;
	}
	run->feeding = true;
	run->refs++;
	memo_pool_push(r, &run->job, feed, run);
}

/* ---- ending it early -------------------------------------------------------------------------- */

static int end_early(struct memo_runner *r, const char *id, bool all, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	struct run *run = memo_run_find(r, id);
	int code = 0;
	if (run != NULL && run->phase == RUN_NEW) {
		memo_map_remove(&r->runs, &run->link);
		memo_run_unref(r, run);
	} else if (run == NULL || run->phase != RUN_ACTIVE) {
		code = memo_fail(err, -ENOENT, "run '%.40s' is not under way", id);
	} else {
		run->refs++;
		run->stopping = true;
		run->cancelled = run->cancelled || all;
		drop_items(r, run, all);
		memo_run_feed(r, run);
		memo_run_unref(r, run);
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

int memo_run_stop(struct memo_runner *r, const char *id, struct memo_err *err)
{
	return end_early(r, id, false, err);
}

int memo_run_cancel(struct memo_runner *r, const char *id, struct memo_err *err)
{
	return end_early(r, id, true, err);
}

void memo_runs_flush(struct memo_runner *r)
{
	for (;;) {
		struct run *found = NULL;
		memo_mutex_lock(&r->mu);
		for (struct memo_map_link *l = memo_map_next(&r->runs, NULL); l != NULL && found == NULL;
		     l = memo_map_next(&r->runs, l)) {
			struct run *run = MEMO_CONTAINER(l, struct run, link);
			if (run->phase == RUN_ACTIVE && run->dirty != NULL)
				found = run;
		}
		if (found != NULL)
			found->refs++;
		memo_mutex_unlock(&r->mu);
		/* rows that cannot be written now are demanded again when the run is taken up: they are hits then */
		if (found == NULL || memo_run_flush(r, found, false) < 0) {
			memo_run_discard(r, found);
			return;
		}
		memo_run_discard(r, found);
	}
}

/* The runner is empty: what is left are the runs' own references. Rows that are dirty are written by the owner before. */
void memo_runs_close(struct memo_runner *r)
{
	struct memo_map_link *l;
	while ((l = memo_map_next(&r->runs, NULL)) != NULL) {
		struct run *run = MEMO_CONTAINER(l, struct run, link);
		memo_map_remove(&r->runs, l);
		memo_run_unref(r, run);
	}
	memo_map_clear(&r->runs);
}
