/* Runs: their life, their options, their memory. What drives them is in run_feed.c, what is asked of them in run_view.c. */
#include "run_private.h"

#include "base/json.h"
#include "base/scope.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FLUSH_NS (200 * MEMO_NS_PER_MS)

const char *const memo_run_outcome_text[RUN_OUTCOMES] = {
	[RUN_WAITING] = "waiting",   [RUN_RUNNING] = "running", [RUN_REUSED] = "reused",
	[RUN_EXECUTED] = "executed", [RUN_FAILED] = "failed",	[RUN_CANCELLED] = "cancelled",
	[RUN_NEVER] = "never",
};

enum run_outcome memo_run_outcome_parse(const char *text)
{
	for (unsigned i = 0; i < RUN_OUTCOMES; i++) {
		if (strcmp(memo_run_outcome_text[i], text) == 0)
			return (enum run_outcome)i;
	}
	return RUN_WAITING;
}

const char *memo_run_state_text(const struct run *run)
{
	if (run->phase == RUN_NEW)
		return "NEW";
	if (run->phase == RUN_ACTIVE)
		return "RUNNING";
	if (run->cancelled)
		return "CANCELLED";
	return run->failed || run->count[RUN_NEVER] > 0 ? "FAILED" : "SUCCESS";
}

/* ---- life ------------------------------------------------------------------------------------ */

static void let_go(struct run_seen *s)
{
	if (s->holder != NULL)
		memo_store_release(s->holder, &s->result->hash);
	s->holder = NULL;
}

void memo_run_let_go(struct memo_runner *r, struct run *run)
{
	(void)r;
	struct memo_map_link *l = NULL;
	while ((l = memo_map_next(&run->seen, l)) != NULL)
		let_go(MEMO_CONTAINER(l, struct run_seen, link));
}

/* What the run is likely to need again: a result that only this run may reuse, and one that two instances of it needed already.
 * (All of them would be too much: a run may be larger than the store.) */
static void hold(struct memo_runner *r, const struct call *c, struct run_seen *s) LOCKED
{
	if (s->holder != NULL || s->result == NULL || s->result->collected || (c->task->cache && s->wanted < 2))
		return;
	memo_store_hold(r->store, &s->result->hash);
	s->holder = r->store;
}

void memo_run_seen_free(struct run_seen *s)
{
	let_go(s);
	free(s->path);
	free(s->task);
	free(s->message);
	memo_result_unref(s->result);
	free(s);
}

void memo_run_unref(struct memo_runner *r, struct run *run)
{
	if (run == NULL || --run->refs > 0)
		return;
	memo_timer_clear(r, &run->flush);
	struct memo_map_link *l;
	while ((l = memo_map_next(&run->seen, NULL)) != NULL) {
		memo_map_remove(&run->seen, l);
		memo_run_seen_free(MEMO_CONTAINER(l, struct run_seen, link));
	}
	memo_map_clear(&run->seen);
	while (run->paces != NULL) {
		struct run_pace *p = run->paces;
		run->paces = p->next;
		free(p->task);
		free(p);
	}
	for (size_t i = 0; run->change != NULL && i < MEMO_RUN_CHANGES; i++) {
		free(run->change[i].path);
		free(run->change[i].message);
	}
	free(run->change);
	free(run->after);
	memo_who_unref(run->who);
	json_decref(run->force_tasks);
	free(run);
}

struct run *memo_run_find(struct memo_runner *r, const char *id)
{
	struct memo_map_link *l = memo_map_get(&r->runs, id, strlen(id));
	return l == NULL ? NULL : MEMO_CONTAINER(l, struct run, link);
}

struct run *memo_run_alloc(void)
{
	struct run *run = calloc(1, sizeof *run);
	if (run == NULL)
		return NULL;
	run->force_tasks = json_array();
	run->change = calloc(MEMO_RUN_CHANGES, sizeof *run->change);
	if (run->force_tasks == NULL || run->change == NULL) {
		json_decref(run->force_tasks);
		free(run->change);
		free(run);
		return NULL;
	}
	run->refs = 1;
	return run;
}

json_t *memo_run_json(const struct run *run)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:b, s:b, s:b, s:b, s:O, s:I, s:I, s:o, s:f, s:f}", "run", run->id,
			 "state", memo_run_state_text(run), "created", (json_int_t)run->created_ns, "ended",
			 (json_int_t)run->ended_ns, "force", run->force, "verify", run->verify, "keep_going",
			 run->keep_going, "cancelled", run->cancelled, "force_tasks", run->force_tasks, "uid",
			 (json_int_t)run->uid, "total", (json_int_t)run->total, "counts",
			 memo_run_counts(run->count), "seconds", run->seconds, "seconds_saved", run->saved);
}

/* "20261121-235501-k3x9": sorts by age, to about a millisecond; the last two letters keep runs apart. */
static int make_id(char out[MEMO_RUN_ID])
{
	static const char letter[] = "23456789abcdefghjkmnpqrstuvwxyz"; /* in the order of their bytes */
	const size_t base = sizeof letter - 1;
	unsigned char random[2];
	int64_t wall = memo_wall_ns();
	time_t now = (time_t)(wall / MEMO_NS_PER_S);
	struct tm tm;
	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random || gmtime_r(&now, &tm) == NULL)
		return -EIO;
	size_t n = strftime(out, MEMO_RUN_ID - 6, "%Y%m%d-%H%M%S-", &tm);
	size_t part = (size_t)(wall % MEMO_NS_PER_S) * base * base / MEMO_NS_PER_S;
	out[n++] = letter[part / base];
	out[n++] = letter[part % base];
	for (size_t i = 0; i < sizeof random; i++)
		out[n++] = letter[random[i] % base];
	out[n] = '\0';
	return 0;
}

int memo_run_insert(struct memo_runner *r, struct run *run)
{
	int code = -EEXIST;
	memo_mutex_lock(&r->mu);
	if (memo_run_find(r, run->id) == NULL)
		code = memo_map_put(&r->runs, &run->link, run->id, strlen(run->id));
	memo_mutex_unlock(&r->mu);
	return code;
}

void memo_run_discard(struct memo_runner *r, struct run *run)
{
	memo_mutex_lock(&r->mu);
	memo_run_unref(r, run);
	memo_mutex_unlock(&r->mu);
}

int memo_run_new(struct memo_runner *r, const struct memo_run_options *o, char *id_out, struct memo_err *err)
{
	if (o->force_tasks > MEMO_RUN_FORCE_TASKS)
		return memo_fail(err, -EINVAL, "--force-task: at most %d of them", MEMO_RUN_FORCE_TASKS);
	struct run *run = memo_run_alloc();
	if (run == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	run->force = o->force;
	run->verify = o->verify;
	run->keep_going = o->keep_going;
	run->uid = o->uid;
	run->who = memo_who_ref(o->who);
	run->created_ns = memo_wall_ns();
	int code = 0;
	for (size_t i = 0; code == 0 && i < o->force_tasks; i++) {
		struct memo_task *t;
		code = memo_store_task(r->store, o->force_task[i], NULL, &t, err);
		if (code == 0) {
			memo_task_unref(t);
			code = memo_json_push(run->force_tasks, json_string(o->force_task[i]));
		}
	}
	for (int tries = 0; code == 0 && tries < 100; tries++) {
		code = make_id(run->id);
		if (code == 0)
			code = memo_run_insert(r, run);
		if (code != -EEXIST)
			break;
		code = 0;
	}
	if (code < 0) {
		memo_run_discard(r, run);
		return err != NULL && err->code < 0
			       ? err->code
			       : memo_fail(err, code, "the run cannot be made: %s", memo_strerror(code));
	}
	memcpy(id_out, run->id, sizeof run->id);
	return 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static struct run_pace *pace_of(struct run *run, const char *task)
{
	for (struct run_pace *p = run->paces; p != NULL; p = p->next) {
		if (strcmp(p->task, task) == 0)
			return p;
	}
	struct run_pace *p = calloc(1, sizeof *p);
	if (p == NULL || (p->task = strdup(task)) == NULL) {
		free(p);
		return NULL;
	}
	p->next = run->paces;
	run->paces = p;
	return p;
}

static void note_change(struct run *run, const struct run_seen *s)
{
	struct run_change *c = &run->change[++run->changes % MEMO_RUN_CHANGES];
	free(c->path);
	free(c->message);
	*c = (struct run_change){
		.seq = run->changes,
		.path = strdup(s->path),
		.outcome = s->outcome,
		.seconds = s->outcome == RUN_EXECUTED || s->outcome == RUN_FAILED
				   ? (double)(memo_now_ns() - s->since_ns) / (double)MEMO_NS_PER_S
				   : 0,
		.message = s->message != NULL ? strdup(s->message) : NULL,
	};
}

static void flush_fired(struct memo_runner *r, void *arg);

static void flush_job(struct memo_runner *r, void *arg)
{
	struct run *run = arg;
	int code = memo_run_flush(r, run, false);
	memo_mutex_lock(&r->mu);
	run->flushing = false;
	/* a full disk: the rows stay dirty and are tried again */
	if ((code < 0 || run->dirty != NULL) && run->phase == RUN_ACTIVE && !r->closing)
		memo_timer_set(r, &run->flush, memo_now_ns() + FLUSH_NS, flush_fired, run);
	memo_run_unref(r, run);
	memo_mutex_unlock(&r->mu);
}

static void flush_fired(struct memo_runner *r, void *arg) LOCKED
{
	struct run *run = arg;
	if (run->flushing)
		return;
	run->flushing = true;
	run->refs++;
	memo_pool_push(r, &run->flush_job, flush_job, run);
}

static void mark_dirty(struct memo_runner *r, struct run *run, struct run_seen *s) LOCKED
{
	if (!s->dirty) {
		s->dirty = true;
		s->next_dirty = run->dirty;
		run->dirty = s;
	}
	if (run->phase == RUN_ACTIVE && !run->flush.set && !run->flushing)
		memo_timer_set(r, &run->flush, memo_now_ns() + FLUSH_NS, flush_fired, run);
}

struct run_seen *memo_run_see(struct memo_runner *r, struct run *run, const char *path, const char *task)
{
	struct memo_map_link *l = memo_map_get(&run->seen, path, strlen(path));
	if (l != NULL)
		return MEMO_CONTAINER(l, struct run_seen, link);
	struct run_seen *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->path = strdup(path);
	s->task = strdup(task);
	if (s->path == NULL || s->task == NULL || memo_map_put(&run->seen, &s->link, s->path, strlen(path)) < 0) {
		memo_run_seen_free(s);
		return NULL;
	}
	s->outcome = RUN_WAITING;
	s->since_ns = memo_now_ns();
	run->count[RUN_WAITING]++;
	struct run_pace *p = pace_of(run, task);
	if (p != NULL)
		p->waiting++;
	mark_dirty(r, run, s);
	return s;
}

static bool is_open(enum run_outcome o)
{
	return o == RUN_WAITING || o == RUN_RUNNING;
}

void memo_run_outcome(struct memo_runner *r, struct run *run, struct run_seen *s, enum run_outcome to,
		      const char *message)
{
	/* what was executed in this run stays so when the run meets it again */
	if (s->outcome == to || (s->outcome == RUN_EXECUTED && to == RUN_REUSED))
		return;
	struct run_pace *p = pace_of(run, s->task);
	if (p != NULL && is_open(s->outcome) && !is_open(to) && p->waiting > 0)
		p->waiting--;
	else if (p != NULL && !is_open(s->outcome) && is_open(to))
		p->waiting++;
	run->count[s->outcome]--;
	run->count[to]++;
	s->outcome = to;
	free(s->message);
	s->message = message != NULL ? strdup(message) : NULL;
	if (to == RUN_FAILED)
		run->failed = true;
	note_change(run, s);
	if (to == RUN_RUNNING)
		s->since_ns = memo_now_ns();
	if (to == RUN_EXECUTED) {
		double took = (double)(memo_now_ns() - s->since_ns) / (double)MEMO_NS_PER_S;
		run->seconds += took;
		s->seconds = took;
		if (p != NULL) {
			p->executed++;
			p->seconds += took;
		}
	}
	mark_dirty(r, run, s);
}

void memo_run_ref(struct run *run)
{
	run->refs++;
}

const char *memo_run_id(const struct run *run)
{
	return run->id;
}

/* ---- what calls ask and tell ----------------------------------------------------------------- */

bool memo_run_forces(const struct run *run, const struct memo_task *t)
{
	if (run->force)
		return true;
	size_t i;
	json_t *e;
	json_array_foreach(run->force_tasks, i, e)
	{
		if (strcmp(json_string_value(e), t->name) == 0)
			return true;
	}
	return false;
}

bool memo_run_verifies(const struct run *run)
{
	return run->verify;
}

static struct run_seen *seen_of(struct memo_runner *r, const struct call *c) LOCKED
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	if (memo_buf_printf(&path, "/tasks/%s/%s/%s", c->task->name, c->task->version, c->name) < 0)
		return NULL;
	return memo_run_see(r, c->run, path.data, c->task->name);
}

struct memo_result *memo_run_known(struct memo_runner *r, const struct call *c, bool *doubt)
{
	struct run_seen *s = seen_of(r, c);
	*doubt = s != NULL && c->run->verify && !s->fresh;
	if (s == NULL || s->result == NULL || !memo_id_equal(&s->result->identity, &c->identity))
		return NULL;
	return memo_result_ref(s->result);
}

void memo_run_begun(struct memo_runner *r, const struct call *c)
{
	struct run_seen *s = seen_of(r, c);
	if (s != NULL && !is_open(s->outcome))
		memo_run_outcome(r, c->run, s, RUN_WAITING, NULL);
}

void memo_run_running(struct memo_runner *r, const struct call *c)
{
	struct run_seen *s = seen_of(r, c);
	if (s != NULL)
		memo_run_outcome(r, c->run, s, RUN_RUNNING, NULL);
}

void memo_run_ended(struct memo_runner *r, const struct call *c)
{
	struct run_seen *s = seen_of(r, c);
	/* the process ends: the run will go on, and this with it */
	if (s == NULL || c->code == -ESHUTDOWN)
		return;
	enum run_outcome to = c->executed ? RUN_EXECUTED : RUN_REUSED;
	if (c->code == -ECANCELED)
		to = c->up_failed ? RUN_NEVER : RUN_CANCELLED;
	else if (c->code < 0)
		to = c->up_failed ? RUN_NEVER : RUN_FAILED;
	if (c->code == 0) {
		let_go(s);
		memo_result_unref(s->result);
		s->result = memo_result_ref(c->result);
		s->fresh = true;
		for (const struct edge *e = c->parents; e != NULL; e = e->next)
			s->wanted++;
		hold(r, c, s);
	}
	memo_run_outcome(r, c->run, s, to, c->code < 0 ? c->err.text : NULL);
}

/* ---- adding and starting ----------------------------------------------------------------------- */

int memo_run_begin(struct memo_runner *r, struct run *run, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	int code = run->phase == RUN_ACTIVE ? -EBUSY : r->closing ? -ESHUTDOWN : 0;
	if (code == 0) {
		run->phase = RUN_ACTIVE;
		run->ended_ns = 0;
		run->failed = false;
		run->stopping = false;
		run->cancelled = false;
		run->fed = false;
		free(run->after);
		run->after = NULL;
	}
	memo_mutex_unlock(&r->mu);
	if (code < 0)
		return memo_fail(err, code, code == -EBUSY ? "run '%s' is under way" : "run '%s': memofs is ending",
				 run->id);
	code = memo_run_flush(r, run, true);
	memo_mutex_lock(&r->mu);
	if (code < 0) {
		run->phase = RUN_OVER;
		(void)memo_fail(err, code, "run '%s' cannot be recorded: %s", run->id, memo_strerror(code));
	} else {
		memo_run_feed(r, run);
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

int memo_run_add(struct memo_runner *r, const char *id, struct memo_task *t, bool fixed, const json_t *inputs,
		 struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	int code = memo_runner_path(r, t, inputs, &path, err);
	if (code < 0)
		return code;
	memo_mutex_lock(&r->mu);
	struct run *run = memo_run_find(r, id);
	struct run_seen *s = run == NULL || run->phase != RUN_NEW ? NULL : memo_run_see(r, run, path.data, t->name);
	if (run == NULL)
		code = memo_fail(err, -ENOENT, "there is no run '%.40s'", id);
	else if (run->phase != RUN_NEW)
		code = memo_fail(err, -EBUSY, "run '%s' has begun", id);
	else if (s == NULL)
		code = memo_fail(err, -ENOMEM, "out of memory");
	if (s != NULL && !s->demanded) {
		s->demanded = true;
		s->fixed = fixed;
		run->total++;
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

int memo_run_start(struct memo_runner *r, const char *id, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	struct run *run = memo_run_find(r, id);
	if (run != NULL)
		run->refs++;
	memo_mutex_unlock(&r->mu);
	if (run == NULL)
		return memo_fail(err, -ENOENT, "there is no run '%.40s'", id);
	int code = memo_run_begin(r, run, err);
	memo_run_discard(r, run);
	return code;
}
