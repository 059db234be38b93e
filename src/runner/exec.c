/* Execs: one identity, executed once at a time.
 *
 *	join -> begin (second look-up, record PENDING) -> ready queue -> slot -> launch -> worker -> finish (exec_end.c)
 *
 * That a second look-up follows the insertion into the table closes the gap between a call's look-up and its join: an
 * execution that ended in between is seen by it. Slots: `cpus` and `memory` of the settings, first come first served; a task
 * whose process waits for a result through the mount gives its slot back for that time and takes it again
 * afterwards, beyond the limit if need be, since a process that has been answered cannot be held. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "job.h"

#include <string.h>
#include <unistd.h>

#define ABANDON_NS (30 * MEMO_NS_PER_S)
#define ABANDON_LOOK_NS MEMO_NS_PER_S

static void begin(struct memo_runner *r, void *arg);
static void launch(struct memo_runner *r, void *arg);

/* ---- life ------------------------------------------------------------------------------------ */

void memo_exec_unref(struct memo_runner *r, struct exec *x)
{
	if (x == NULL || --x->refs > 0)
		return;
	memo_call_unref(r, x->leader);
	json_decref(x->observed);
	json_decref(x->command);
	free(x->dir);
	free(x);
}

struct memo_instance memo_exec_instance(const struct exec *x)
{
	const struct call *c = x->leader;
	return (struct memo_instance){
		.identity = x->identity,
		.task = c->task->name,
		.version = c->task->version,
		.name = c->name,
		.inputs = c->inputs,
		.key = c->plan_key,
		.upstream = c->plan_upstream,
		.raw = c->has_raw ? &c->raw : NULL,
	};
}

static void push(struct memo_runner *r, struct exec *x, void (*fn)(struct memo_runner *, void *)) LOCKED
{
	x->refs++;
	memo_pool_push(r, &x->job, fn, x);
}

/* The exec holds the call and the call the exec. */
static void attach(struct exec *x, struct call *c)
{
	c->refs++;
	c->next_in_exec = x->calls;
	x->calls = c;
	c->exec = x;
	x->refs++;
	c->phase = CALL_EXEC;
	x->force = x->force || (c->flags & MEMO_DEMAND_FORCE) != 0;
}

static bool is_wanted(const struct exec *x)
{
	for (const struct call *c = x->calls; c != NULL; c = c->next_in_exec) {
		if (memo_call_wanted(c))
			return true;
	}
	for (const struct call *c = x->after; c != NULL; c = c->next_in_exec) {
		if (memo_call_wanted(c))
			return true;
	}
	return false;
}

void memo_exec_give_up(struct memo_runner *r, struct exec *x, bool all)
{
	if ((all || !x->running) && !is_wanted(x))
		memo_exec_cancel(r, x, "cancelled with its run");
}

static void look_for_demand(struct memo_runner *r, void *arg) LOCKED
{
	struct exec *x = arg;
	bool wanted = is_wanted(x);
	int64_t now = memo_now_ns();
	if (wanted)
		x->unwanted_ns = 0;
	else if (x->unwanted_ns == 0)
		x->unwanted_ns = now;
	if (x->unwanted_ns != 0 && now - x->unwanted_ns >= ABANDON_NS)
		memo_exec_cancel(r, x, "nobody waits for it any more");
	else
		memo_timer_set(r, &x->abandon, now + ABANDON_LOOK_NS, look_for_demand, x);
}

static struct exec *exec_new(struct memo_runner *r, struct call *c) LOCKED
{
	struct exec *x = calloc(1, sizeof *x);
	if (x == NULL)
		return NULL;
	x->identity = c->identity;
	(void)memo_id_hex(&x->identity, x->hex);
	if (memo_map_put(&r->execs, &x->link, &x->identity, sizeof x->identity) < 0) {
		free(x);
		return NULL;
	}
	x->mapped = true;
	x->refs = 1;
	x->leader = c;
	c->refs++;
	x->state = MEMO_PENDING;
	x->cpu = c->task->cpu;
	x->memory = c->task->memory_bytes;
	x->since_ns = memo_now_ns();
	x->next_live = r->live_execs;
	x->prev_live = &r->live_execs;
	if (x->next_live != NULL)
		x->next_live->prev_live = &x->next_live;
	r->live_execs = x;
	if (c->task->abandon == MEMO_ABANDON_CANCEL)
		memo_timer_set(r, &x->abandon, x->since_ns + ABANDON_LOOK_NS, look_for_demand, x);
	return x;
}

static void refuse(struct memo_runner *r, struct call *c, int code, const char *text) LOCKED
{
	struct memo_err err;
	(void)memo_fail(&err, code, "task '%s': %s", c->task->name, text);
	memo_call_fail(r, c, code, &err);
}

void memo_exec_join(struct memo_runner *r, struct call *c)
{
	struct memo_map_link *l = memo_map_get(&r->execs, &c->identity, sizeof c->identity);
	struct exec *x = l == NULL ? NULL : MEMO_CONTAINER(l, struct exec, link);
	if (x == NULL) {
		struct failure *f = (c->flags & MEMO_DEMAND_FORCE) != 0 ? NULL : memo_failure_get(r, &c->identity);
		if (f != NULL && memo_now_ns() < f->until_ns) {
			memo_call_fail(r, c, f->err.code, &f->err);
			return;
		}
		x = exec_new(r, c);
		if (x == NULL) {
			refuse(r, c, -ENOMEM, "out of memory");
			return;
		}
		attach(x, c);
		x->force = x->force || !c->task->cache;
		push(r, x, begin);
		return;
	}
	if (x->parked) {
		refuse(r, c, -ENOSPC,
		       "it has finished, but the store is full; make room and its result will appear");
		return;
	}
	if (r->readers > 0 && memo_graph_exec_reaches_call(r, x, c)) {
		refuse(r, c, -EDEADLK, "it waits for itself through the mount");
		return;
	}
	if (x->starved && c->run == NULL) {
		refuse(r, c, -ENOSPC, "it cannot begin: the store is full; make room");
		return;
	}
	if ((c->flags & MEMO_DEMAND_FRESH) != 0) {
		struct call **last = &x->after;
		while (*last != NULL)
			last = &(*last)->next_in_exec;
		c->refs++;
		c->next_in_exec = NULL;
		*last = c;
		c->exec = x;
		x->refs++;
		c->phase = CALL_EXEC;
		return;
	}
	attach(x, c);
}

/* ---- states ---------------------------------------------------------------------------------- */

int memo_exec_state(struct memo_runner *r, struct exec *x, enum memo_state to, const char *reason, int exit_code,
		    json_t *origin, struct memo_err *err)
{
	struct memo_instance i = memo_exec_instance(x);
	memo_mutex_lock(&r->mu);
	bool force = x->force; /* whoever joins may set it */
	memo_mutex_unlock(&r->mu);
	struct memo_transition t = {
		.to = to,
		.reason = reason,
		.run = x->leader->run != NULL ? memo_run_id(x->leader->run) : NULL,
		.executor = to == MEMO_PENDING ? NULL : "local",
		.exit_code = exit_code,
		.origin = origin,
		.anew = to == MEMO_PENDING && force,
	};
	int code = memo_store_transition(r->store, &i, &t, err);
	if (code < 0)
		return code;
	memo_mutex_lock(&r->mu);
	x->state = to;
	x->since_ns = memo_now_ns();
	for (const struct call *c = x->calls; c != NULL && to == MEMO_RUNNING; c = c->next_in_exec) {
		if (c->run != NULL)
			memo_run_running(r, c);
	}
	memo_post_event(r, MEMO_EVENT_STATE, i.task, i.version, i.name, to, reason);
	memo_mutex_unlock(&r->mu);
	return 0;
}

/* ---- begin ----------------------------------------------------------------------------------- */

static int check_size(const struct memo_settings *set, const struct memo_task *t, struct memo_err *err)
{
	if (t->cpu > set->cpus)
		return memo_fail(err, -EIO,
				 "task '%s' requires %lld cpus, this store may use %lld (memofs config cpus)",
				 t->name, (long long)t->cpu, (long long)set->cpus);
	if (t->memory_bytes > set->memory_bytes)
		return memo_fail(
			err, -EIO,
			"task '%s' requires %llu bytes of memory, this store may use %llu (memofs config memory)",
			t->name, (unsigned long long)t->memory_bytes, (unsigned long long)set->memory_bytes);
	return 0;
}

/* 0: there may be a result (*@res), there may be none. */
static int look_again(struct memo_runner *r, struct exec *x, struct memo_result **res, struct memo_err *err)
{
	int code = memo_store_lookup(r->store, &x->identity, res, err);
	/* a result that must be checked first was checked by the call, and found to have changed */
	if (code == -ENOENT || (code == 0 && (*res)->observed)) {
		memo_result_unref(*res);
		*res = NULL;
		code = 0;
	}
	return code;
}

static void begin_again(struct memo_runner *r, void *arg) LOCKED
{
	push(r, arg, begin);
}

static bool has_run(const struct call *c)
{
	return c->run != NULL;
}

/* There is no room to begin @x: who reads is told so, what a run asked for waits for room. True: it waits, and the job is
 * over. */
static bool starve(struct memo_runner *r, struct exec *x, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	bool waits = !r->closing && !x->cancel && memo_exec_end_some(r, x, has_run, -ENOSPC, err);
	x->starved = waits;
	if (waits) {
		memo_timer_set(r, &x->timer, memo_now_ns() + PARK_NS, begin_again, x);
		memo_exec_unref(r, x);
	}
	memo_mutex_unlock(&r->mu);
	return waits;
}

static void begin(struct memo_runner *r, void *arg)
{
	struct exec *x = arg;
	struct memo_err err = { 0 };
	struct memo_result *res = NULL;
	struct memo_settings set;
	memo_mutex_lock(&r->mu);
	bool force = x->force;
	memo_mutex_unlock(&r->mu);
	int code = memo_store_settings(r->store, &set, &err);
	if (code == 0)
		code = memo_adopt_try(r, &x->identity, &err);
	if (code == 0 && !force)
		code = look_again(r, x, &res, &err);
	if (code == 0 && res == NULL) {
		code = memo_store_room(r->store, &err);
		if (code == -EAGAIN)
			code = force ? 0 : look_again(r, x, &res, &err);
		if (code == -ENOSPC && starve(r, x, &err))
			return;
	}
	if (code == 0 && res == NULL)
		code = memo_exec_state(r, x, MEMO_PENDING, force ? "executed anew" : NULL, -1, NULL, &err);
	if (code == 0 && res == NULL) {
		code = check_size(&set, x->leader->task, &err);
		if (code < 0 && memo_exec_state(r, x, MEMO_FAILED, err.text, -1, NULL, NULL) < 0)
			code = -EIO;
	}
	if (code < 0)
		code = code == -ENOSPC || code == -EDQUOT ? -ENOSPC : -EIO;
	memo_mutex_lock(&r->mu);
	x->starved = false;
	r->cpus = set.cpus;
	r->memory = set.memory_bytes;
	if (code == 0 && res != NULL && x->force) /* somebody who wants an execution has joined meanwhile */
		push(r, x, begin);
	else if (code < 0 || res != NULL)
		memo_exec_over(r, x, code, res, &err);
	else
		memo_exec_enqueue(r, x);
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
	memo_result_unref(res);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static void slot_take(struct memo_runner *r, struct exec *x) LOCKED
{
	if (x->holds_slot)
		return;
	x->holds_slot = true;
	r->cpus_used += x->cpu;
	r->memory_used += x->memory;
}

static void slot_give(struct memo_runner *r, struct exec *x) LOCKED
{
	if (!x->holds_slot)
		return;
	x->holds_slot = false;
	r->cpus_used -= x->cpu;
	r->memory_used -= x->memory;
}

void memo_exec_schedule(struct memo_runner *r)
{
	while (r->ready != NULL && !r->closing) {
		struct exec *x = r->ready;
		bool fits = r->cpus_used + x->cpu <= r->cpus && r->memory_used + x->memory <= r->memory;
		/* what was queued before the settings shrank runs alone, rather than block the queue for ever */
		bool alone = r->cpus_used == 0 && r->memory_used == 0;
		if (!fits && !alone)
			return;
		r->ready = x->next_ready;
		x->queued = false;
		slot_take(r, x);
		push(r, x, launch);
		memo_exec_unref(r, x); /* the queue's */
	}
}

static void cancelled(struct memo_runner *r, void *arg)
{
	struct exec *x = arg;
	struct memo_err err = { 0 };
	memo_mutex_lock(&r->mu);
	bool closing = r->closing;
	const char *reason = x->cancel_reason;
	memo_mutex_unlock(&r->mu);
	int code = closing ? -ESHUTDOWN : -ECANCELED;
	(void)memo_fail(&err, code, "task '%s': %s", x->leader->task->name, closing ? "memofs is ending" : reason);
	if (!closing && memo_exec_state(r, x, MEMO_CANCELLED, reason, -1, NULL, &err) < 0)
		code = -EIO;
	memo_mutex_lock(&r->mu);
	memo_exec_over(r, x, code, NULL, &err);
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
}

void memo_exec_enqueue(struct memo_runner *r, struct exec *x)
{
	if (x->cancel || r->closing) {
		push(r, x, cancelled);
		return;
	}
	struct exec **p = &r->ready;
	while (*p != NULL)
		p = &(*p)->next_ready;
	*p = x;
	x->next_ready = NULL;
	x->queued = true;
	x->refs++;
	memo_exec_schedule(r);
}

void memo_exec_cancel(struct memo_runner *r, struct exec *x, const char *reason)
{
	if (x->cancel || x->finished || x->parked)
		return;
	x->cancel = true;
	x->cancel_reason = reason;
	if (x->queued) {
		struct exec **p = &r->ready;
		while (*p != x)
			p = &(*p)->next_ready;
		*p = x->next_ready;
		x->queued = false;
		push(r, x, cancelled);
		memo_exec_unref(r, x);
	} else if (x->running) {
		memo_local_cancel(r->local, x);
	} else if (x->timer.set) {
		memo_timer_clear(r, &x->timer);
		push(r, x, cancelled);
	}
}

void memo_exec_reading(struct memo_runner *r, struct exec *x, struct memo_wait *w)
{
	w->next_read = x->reads;
	x->reads = w;
	r->readers++;
	if (x->reading++ == 0) {
		slot_give(r, x);
		memo_exec_schedule(r);
	}
}

void memo_exec_read_done(struct memo_runner *r, struct exec *x, struct memo_wait *w)
{
	struct memo_wait **p = &x->reads;
	while (*p != w)
		p = &(*p)->next_read;
	*p = w->next_read;
	r->readers--;
	if (--x->reading == 0 && x->running)
		slot_take(r, x);
}

/* Its processes are gone: what they asked for goes on, but nobody of the task waits for it. */
static void readers_gone(struct memo_runner *r, struct exec *x) LOCKED
{
	while (x->reads != NULL) {
		struct memo_wait *w = x->reads;
		memo_exec_read_done(r, x, w);
		w->reader = NULL;
		memo_exec_unref(r, x);
	}
}

/* ---- launch ---------------------------------------------------------------------------------- */

static int write_job(struct memo_runner *r, struct exec *x, struct memo_err *err)
{
	struct memo_job job;
	int code = memo_job_build(r->store, &x->leader->plan, x->hex, r->mountpoint, &job, err);
	if (code < 0)
		return code;
	job.attempt = x->attempt;
	job.owner_pid = getpid();
	json_t *command = memo_job_json(&job);
	memo_mutex_lock(&r->mu);
	json_decref(x->command); /* of an earlier attempt; info.c may look at it */
	x->command = command;
	free(x->dir); /* memo_runner_observe() looks at it */
	x->dir = NULL;
	memo_mutex_unlock(&r->mu);
	char *dir = NULL;
	code = command == NULL ? memo_fail(err, -ENOMEM, "out of memory")
			       : memo_store_attempt_new(r->store, &dir, err);
	memo_mutex_lock(&r->mu);
	x->dir = dir;
	uint64_t ino = x->leader->ino;
	memo_mutex_unlock(&r->mu);
	if (code == 0)
		code = memo_job_write(&job, x->dir, err);
	if (code == 0)
		code = memo_adopt_describe(x, ino, err);
	memo_job_clear(&job);
	return code;
}

static void started(void *arg, void *tag, pid_t pid)
{
	struct memo_runner *r = arg;
	struct exec *x = tag;
	memo_mutex_lock(&r->mu);
	x->pid = pid;
	memo_mutex_unlock(&r->mu);
}

void memo_exec_worker_done(void *arg, void *tag, int code)
{
	struct memo_runner *r = arg;
	struct exec *x = tag;
	(void)code; /* a worker that could not be started left no exit record, which says it */
	memo_mutex_lock(&r->mu);
	x->running = false;
	x->pid = 0;
	r->running--;
	readers_gone(r, x);
	slot_give(r, x);
	memo_exec_schedule(r);
	push(r, x, memo_exec_finish);
	memo_exec_unref(r, x); /* the executor's */
	memo_mutex_unlock(&r->mu);
}

/* What the task is about to read of other results, checked as an open of each of them would be: damage must not spread, and what the
 * plan holds may have been collected between its look-up and the hold. -EAGAIN: one was lost; whoever wants this instance asks for it anew, which makes that one again. */
static int look_upstream(struct memo_runner *r, const struct exec *x, struct memo_err *err)
{
	const struct memo_plan *p = &x->leader->plan;
	for (size_t i = 0; i < p->ups; i++) {
		struct memo_err why = { 0 };
		int code = memo_store_result_usable(r->store, p->up[i].result, &why);
		if (code == -ENOENT || code == -EBADMSG) {
			code = memo_store_result_lost(r->store, p->up[i].result, why.text, err);
			return code < 0 ? code : -EAGAIN;
		}
		if (code < 0)
			return memo_fail(err, -EIO, "task '%s': what it needs cannot be read: %.800s",
					 x->leader->task->name, why.text);
		memo_store_used(r->store, &p->up[i].result->identity);
	}
	return 0;
}

static void launch_failed(struct memo_runner *r, struct exec *x, int code, struct memo_err *err)
{
	bool full = code == -ENOSPC || code == -EDQUOT;
	/* what is upstream may be gone, or there was no room to begin: nothing is known against it */
	if (!full && code != -EAGAIN && memo_exec_state(r, x, MEMO_FAILED, err->text, -1, NULL, NULL) < 0)
		code = -EIO;
	memo_mutex_lock(&r->mu);
	slot_give(r, x);
	memo_exec_over(r, x, code == -EAGAIN ? code : full ? -ENOSPC : -EIO, NULL, err);
	memo_mutex_unlock(&r->mu);
	if (x->dir != NULL)
		memo_store_attempt_remove(r->store, x->dir);
}

/* The room went while it was queued: as if it came anew. */
static void begin_later(struct memo_runner *r, struct exec *x)
{
	memo_mutex_lock(&r->mu);
	x->attempt--;
	slot_give(r, x);
	push(r, x, begin);
	memo_exec_schedule(r);
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
}

static void launch(struct memo_runner *r, void *arg)
{
	struct exec *x = arg;
	struct memo_err err = { 0 };
	memo_mutex_lock(&r->mu);
	bool stop = x->cancel || r->closing;
	if (stop) {
		slot_give(r, x);
		memo_exec_schedule(r);
		push(r, x, cancelled);
	} else {
		x->attempt++;
		json_decref(x->observed); /* what a failed attempt read does not count */
		x->observed = NULL;
		x->deadlock = false;
		x->launched_ns = memo_now_ns();
	}
	memo_mutex_unlock(&r->mu);
	if (!stop && memo_store_room(r->store, &err) < 0) {
		begin_later(r, x);
		return;
	}
	int code = stop ? 0 : look_upstream(r, x, &err);
	if (!stop && code == 0)
		code = write_job(r, x, &err);
	if (!stop && code == 0)
		code = memo_exec_state(r, x, MEMO_RUNNING, NULL, -1, NULL, &err);
	if (!stop && code == 0) {
		/* before the worker is there, so that a read by its first process finds it (reader.c) */
		memo_mutex_lock(&r->mu);
		x->running = true;
		x->pid = 0;
		x->refs++;
		r->running++;
		memo_mutex_unlock(&r->mu);
		code = memo_local_start(r->local, x->dir, x, started);
		memo_mutex_lock(&r->mu);
		if (code < 0) {
			x->running = false;
			r->running--;
			memo_exec_unref(r, x);
			(void)memo_fail(&err, code, "task '%s': cannot start its worker: %s", x->leader->task->name,
					memo_strerror(code));
		} else if (x->cancel) {
			memo_local_cancel(r->local, x); /* one that came before the executor knew the worker */
		}
		memo_mutex_unlock(&r->mu);
	}
	if (code < 0)
		launch_failed(r, x, code, &err);
	memo_mutex_lock(&r->mu);
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
}
