/* The end of an execution: what the worker left becomes a result, a retry or a failure.
 *
 * A finished output that cannot be recorded because the store is full is parked: the demands get ENOSPC, the attempt
 * stays, and the publication is tried again every PARK_NS until there is room; by the next owner, if need be (adopt.c). */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "job.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define RETRY_FIRST_NS MEMO_NS_PER_S
#define RETRY_MAX_NS (60 * MEMO_NS_PER_S)
#define FAILURE_MAX_NS (60 * MEMO_NS_PER_S)
#define FAILURES_KEPT 100000

/* ---- the back-off ---------------------------------------------------------------------------- */

struct failure *memo_failure_get(struct memo_runner *r, const struct memo_id *identity)
{
	struct memo_map_link *l = memo_map_get(&r->failures, identity, sizeof *identity);
	return l == NULL ? NULL : MEMO_CONTAINER(l, struct failure, link);
}

void memo_failure_forget(struct memo_runner *r, const struct memo_id *identity)
{
	struct failure *f = memo_failure_get(r, identity);
	if (f == NULL)
		return;
	memo_map_remove(&r->failures, &f->link);
	free(f);
}

void memo_failure_note(struct memo_runner *r, const struct memo_id *identity, const struct memo_err *err)
{
	struct memo_settings set;
	if (memo_store_settings(r->store, &set, NULL) < 0)
		set.failure_backoff_ms = 1000;
	struct failure *f = memo_failure_get(r, identity);
	if (f == NULL) {
		f = r->failures.count < FAILURES_KEPT ? calloc(1, sizeof *f) : NULL;
		if (f == NULL)
			return;
		f->identity = *identity;
		if (memo_map_put(&r->failures, &f->link, &f->identity, sizeof f->identity) < 0) {
			free(f);
			return;
		}
		f->interval_ns = set.failure_backoff_ms * MEMO_NS_PER_MS;
	} else if (f->interval_ns < FAILURE_MAX_NS) { /* a longer one was set, and stays */
		f->interval_ns = f->interval_ns * 2 < FAILURE_MAX_NS ? f->interval_ns * 2 : FAILURE_MAX_NS;
	}
	f->until_ns = memo_now_ns() + f->interval_ns;
	f->err = *err;
}

/* ---- over ------------------------------------------------------------------------------------ */

static struct call *take_calls(struct call **list)
{
	struct call *c = *list;
	*list = NULL;
	return c;
}

static void leave(struct memo_runner *r, struct exec *x, struct call *c) LOCKED
{
	c->next_in_exec = NULL;
	if (c->exec == x) {
		c->exec = NULL;
		memo_exec_unref(r, x);
	}
}

/* What it found does not answer @c as it stands: it must be listed under that call's name too, or what it read on the way
 * may have changed before @c was asked for. A look-up decides. */
static bool looks_again(const struct exec *x, const struct call *c, const struct memo_result *res)
{
	const struct call *lead = x->leader;
	if (res == NULL || !c->task->cache || (c->flags & MEMO_DEMAND_FORCE) != 0)
		return false;
	if (res->observed && c->asked_ns > x->launched_ns)
		return true;
	return strcmp(c->name, lead->name) != 0 || strcmp(c->task->version, lead->task->version) != 0;
}

static void end_calls(struct memo_runner *r, struct exec *x, struct call **list, int code, struct memo_result *res,
		      const struct memo_err *err) LOCKED
{
	struct call *next;
	for (struct call *c = take_calls(list); c != NULL; c = next) {
		next = c->next_in_exec;
		leave(r, x, c);
		if (code == -EAGAIN) {
			memo_call_restart(r, c);
		} else if (code == 0 && !r->closing && looks_again(x, c, res)) {
			c->phase = CALL_IDENTITY;
			memo_call_push(r, c, memo_call_identify);
		} else if (code < 0 && c != x->leader) {
			memo_call_fail(r, c, code, err); /* its name may lead to no record yet */
		} else {
			c->executed = x->ran;
			memo_call_done(r, c, code, res, code < 0 ? err : NULL);
		}
		memo_call_unref(r, c);
	}
}

bool memo_exec_end_some(struct memo_runner *r, struct exec *x, bool (*stays)(const struct call *c), int code,
			const struct memo_err *err)
{
	struct call *ended = NULL;
	for (struct call **p = &x->calls; *p != NULL;) {
		struct call *c = *p;
		if (stays(c)) {
			p = &c->next_in_exec;
			continue;
		}
		*p = c->next_in_exec;
		c->next_in_exec = ended;
		ended = c;
	}
	/* with nobody left the exec itself ends, and tells them */
	if (x->calls == NULL) {
		x->calls = ended;
		return false;
	}
	end_calls(r, x, &ended, code, NULL, err);
	return true;
}

void memo_exec_over(struct memo_runner *r, struct exec *x, int code, struct memo_result *res,
		    const struct memo_err *err)
{
	if (x->finished)
		return;
	x->refs++;
	x->finished = true;
	memo_timer_clear(r, &x->timer);
	memo_timer_clear(r, &x->abandon);
	memo_map_remove(&r->execs, &x->link);
	x->mapped = false;
	*x->prev_live = x->next_live;
	if (x->next_live != NULL)
		x->next_live->prev_live = x->prev_live;
	if (code == 0)
		memo_failure_forget(r, &x->identity);
	else if (code == -EIO || code == -EDEADLK)
		memo_failure_note(r, &x->identity, err);
	end_calls(r, x, &x->calls, code, res, err);
	struct call *next;
	for (struct call *c = take_calls(&x->after); c != NULL; c = next) {
		next = c->next_in_exec;
		leave(r, x, c);
		c->phase = CALL_IDENTITY;
		if (r->closing)
			memo_call_fail(r, c, -ESHUTDOWN, NULL);
		else if (code == -ECANCELED && x->cancel_after)
			memo_call_fail(r, c, code, err);
		else
			memo_exec_join(r, c);
		memo_call_unref(r, c);
	}
	memo_exec_schedule(r);
	memo_cond_broadcast(&r->idle);
	memo_exec_unref(r, x);
	memo_exec_unref(r, x); /* the table's */
}

/* ---- what happened --------------------------------------------------------------------------- */

static void stamp(char out[40], int64_t ns)
{
	time_t s = (time_t)(ns / MEMO_NS_PER_S);
	struct tm tm;
	size_t n = gmtime_r(&s, &tm) == NULL ? 0 : strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, 40 - n, ".%03dZ", (int)(ns % MEMO_NS_PER_S / MEMO_NS_PER_MS));
}

json_t *memo_exec_origin(int64_t attempt, const json_t *command, const struct memo_exit *e)
{
	char started[40];
	char ended[40];
	stamp(started, e->started_ns);
	stamp(ended, e->ended_ns);
	json_t *o = json_pack("{s:s, s:s, s:f, s:f, s:I, s:i, s:s, s:s?, s:s?, s:I, s:s}", "started", started,
			      "ended", ended, "seconds", (double)e->wall_ms / 1000, "cpu_seconds",
			      (double)e->cpu_ms / 1000, "peak_memory_bytes", (json_int_t)e->max_rss_kib * 1024,
			      "exit_status", e->code, "executor", "local", "host", e->host, "isolation",
			      e->isolation, "attempt", (json_int_t)attempt, "outcome", memo_exit_text(e->status));
	if (o != NULL && e->sandbox != NULL && json_object_set(o, "sandbox", e->sandbox) < 0)
		return o;
	if (o != NULL && e->signal != 0 && memo_json_set(o, "signal", json_integer(e->signal)) < 0)
		return o;
	if (o != NULL && e->message != NULL && memo_json_set(o, "message", json_string(e->message)) < 0)
		return o;
	if (o != NULL && command != NULL && json_object_set(o, "command", (json_t *)(uintptr_t)command) < 0)
		return o;
	return o;
}

static int read_exit(const struct exec *x, struct memo_exit *out, struct memo_err *err)
{
	int code = memo_job_exit(x->dir, out, err);
	if (code == -ENOENT) {
		*out = (struct memo_exit){ .status = MEMO_EXIT_ERROR, .code = -1, .ended_ns = memo_wall_ns() };
		out->started_ns = out->ended_ns;
		out->message = strdup("the worker ended without a record: it was killed, or could not be started");
		return 0;
	}
	return code;
}

/* What the worker cannot see, because tools are found through PATH: it may have run another one than was hashed. */
static void check_tools(struct memo_runner *r, const struct exec *x, struct memo_exit *e)
{
	bool ran = e->status == MEMO_EXIT_SUCCESS || e->status == MEMO_EXIT_FAILED;
	if (!ran || x->parked || memo_plan_tools_hold(r->store, &x->leader->plan))
		return;
	free(e->message);
	e->message = strdup("one of its tools changed while it ran");
	e->status = MEMO_EXIT_CHANGED;
}

static bool temporary(const struct memo_task *t, const struct memo_exit *e)
{
	if (e->status == MEMO_EXIT_ERROR)
		return true;
	if (e->status != MEMO_EXIT_FAILED)
		return false;
	if (e->signal != 0)
		return true;
	for (size_t i = 0; i < t->temporaries; i++) {
		if (t->temporary[i] == e->code)
			return true;
	}
	return false;
}

static void retry_now(struct memo_runner *r, void *arg) LOCKED
{
	memo_exec_enqueue(r, arg);
}

/* True when another attempt was arranged. */
static bool retry(struct memo_runner *r, struct exec *x, const struct memo_exit *e, const char *reason)
{
	const struct memo_task *t = x->leader->task;
	if (x->attempt > t->max_retries || !temporary(t, e) ||
	    memo_exec_state(r, x, MEMO_RETRYING, reason, e->code, NULL, NULL) < 0)
		return false;
	int64_t wait = RETRY_FIRST_NS;
	for (int64_t i = 1; i < x->attempt && wait < RETRY_MAX_NS; i++)
		wait *= 2;
	memo_mutex_lock(&r->mu);
	bool stop = x->cancel || r->closing;
	if (stop)
		memo_exec_enqueue(r, x); /* which sees it */
	else
		memo_timer_set(r, &x->timer, memo_now_ns() + (wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS), retry_now,
			       x);
	memo_mutex_unlock(&r->mu);
	return true;
}

static void fail_exec(struct memo_runner *r, struct exec *x, const struct memo_exit *e, json_t *origin)
{
	struct memo_err err = { 0 };
	struct memo_err room = { 0 };
	int code = -EIO;
	enum memo_state to = MEMO_FAILED;
	memo_mutex_lock(&r->mu);
	bool closing = r->closing;
	const char *reason = x->cancel_reason;
	/* a task that failed because it waits for itself: everyone on the cycle is told so */
	if (x->deadlock && e->status == MEMO_EXIT_FAILED)
		code = -EDEADLK;
	memo_mutex_unlock(&r->mu);
	const char *text = e->message != NULL ? e->message : memo_exit_text(e->status);
	if (e->status == MEMO_EXIT_CANCELLED) {
		to = closing ? MEMO_PENDING : MEMO_CANCELLED;
		code = closing ? -ESHUTDOWN : -ECANCELED;
		if (closing)
			text = "memofs ended while it ran";
		else if (reason != NULL)
			text = reason;
	} else if (e->status == MEMO_EXIT_SPACE ||
		   (e->status == MEMO_EXIT_FAILED && memo_store_room(r->store, &room) < 0)) {
		/* a task that failed while there was no room failed for that, whatever it says */
		code = -ENOSPC;
	} else if (e->status == MEMO_EXIT_CHANGED) {
		to = MEMO_PENDING;
		code = -EAGAIN;
	}
	(void)memo_fail(&err, code, "task '%s': %s%s%s", x->leader->task->name, text, room.code < 0 ? "; " : "",
			room.code < 0 ? room.text : "");
	if (memo_exec_state(r, x, to, text, e->code, origin, NULL) < 0 && code == -EAGAIN)
		code = -EIO;
	memo_mutex_lock(&r->mu);
	memo_exec_over(r, x, code, NULL, &err);
	memo_mutex_unlock(&r->mu);
}

/* ---- publication ----------------------------------------------------------------------------- */

static void publish_again(struct memo_runner *r, void *arg) LOCKED
{
	struct exec *x = arg;
	x->refs++;
	memo_pool_push(r, &x->job, memo_exec_finish, x);
}

static void park(struct memo_runner *r, struct exec *x, struct memo_err *err) LOCKED
{
	x->parked = true;
	end_calls(r, x, &x->calls, -ENOSPC, NULL, err);
	end_calls(r, x, &x->after, -ENOSPC, NULL, err);
	if (r->closing)
		memo_exec_over(r, x, -ENOSPC, NULL, err);
	else
		memo_timer_set(r, &x->timer, memo_now_ns() + PARK_NS, publish_again, x);
}

/* What is placed but cannot be recorded yet must not be taken for garbage. Not to be called for one exec at once. */
static void hold_parked(struct memo_runner *r, struct exec *x, const struct memo_id *hash)
{
	if (hash != NULL && !x->holds)
		memo_store_hold(r->store, hash);
	else if (hash == NULL && x->holds)
		memo_store_release(r->store, &x->held);
	if (hash != NULL)
		x->held = *hash;
	x->holds = hash != NULL;
}

/* 0 published or parked (*@keep: the attempt directory is still needed). */
static void publish(struct memo_runner *r, struct exec *x, const struct memo_exit *e, json_t *origin, bool *keep)
{
	struct memo_err err = { 0 };
	memo_mutex_lock(&r->mu);
	MEMO_AUTO_JSON json_t *observed = json_deep_copy(x->observed);
	bool reads = x->observed != NULL;
	uint64_t ino = x->leader->ino;
	bool force = x->force;
	memo_mutex_unlock(&r->mu);
	bool told = observed == NULL ? !reads : json_object_set(origin, "observed", observed) == 0;
	struct memo_instance i = memo_exec_instance(x);
	const char *run = x->leader->run != NULL ? memo_run_id(x->leader->run) : NULL;
	if (run != NULL && memo_json_set(origin, "run", json_string(run)) < 0)
		told = false;
	struct memo_publication p = {
		.instance = &i,
		.attempt = x->dir,
		.produced = &e->produced,
		.origin = origin,
		.observed = observed,
		.transition = { .to = MEMO_SUCCESS, .run = run, .executor = "local", .exit_code = e->code },
		.ino = ino,
	};
	struct memo_result *res = NULL;
	int code = told ? memo_store_publish(r->store, &p, &res, &err) : -ENOMEM;
	bool full = code == -ENOSPC || code == -EDQUOT;
	/* Once: a power cut from here on must not cost it. What fails here costs the next owner's trust, no more. */
	if (full && !x->parked && memo_store_attempt_park(r->store, x->dir) < 0)
		full = true;
	if (code < 0 && !full) {
		(void)memo_fail_prefix(&err, code, "task '%s': its result could not be stored", i.task);
		if (memo_exec_state(r, x, MEMO_FAILED, err.text, e->code, origin, NULL) < 0)
			code = -EIO;
	}
	if (code == 0)
		memo_retain_published(r, res);
	hold_parked(r, x, full ? &e->produced.hash : NULL);
	memo_mutex_lock(&r->mu);
	if (full) {
		*keep = true;
		(void)memo_fail_prefix(&err, -ENOSPC, "task '%s': its result waits for room in the store", i.task);
		park(r, x, &err);
	} else {
		if (code == 0) {
			x->state = MEMO_SUCCESS;
			x->ran = true;
			memo_post_event(r, MEMO_EVENT_STATE, i.task, i.version, i.name, MEMO_SUCCESS, NULL);
			if (force)
				memo_post_event(r, MEMO_EVENT_NAME, i.task, i.version, i.name, MEMO_SUCCESS, NULL);
		}
		memo_exec_over(r, x, code < 0 ? -EIO : 0, res, &err);
	}
	memo_mutex_unlock(&r->mu);
	memo_result_unref(res);
}

/* What `auto` comes to on this machine, once. */
static void tell_sandbox(struct memo_runner *r, const struct memo_exit *e) LOCKED
{
	if (r->sandbox_told || e->sandbox == NULL ||
	    strcmp(memo_json_string(e->sandbox, "setting", ""), "auto") != 0)
		return;
	r->sandbox_told = true;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_puts(&b, "sandbox auto: ");
	memo_job_say_sandbox(e->sandbox, &b);
	memo_post_event(r, MEMO_EVENT_NOTICE, NULL, NULL, NULL, MEMO_STATES, memo_buf_str(&b));
}

void memo_exec_finish(struct memo_runner *r, void *arg)
{
	struct exec *x = arg;
	struct memo_exit e = { 0 };
	struct memo_err err = { 0 };
	bool keep = false;
	int code = read_exit(x, &e, &err);
	if (code < 0) {
		e = (struct memo_exit){ .status = MEMO_EXIT_ERROR, .code = -1, .message = strdup(err.text) };
	}
	memo_mutex_lock(&r->mu);
	/* a worker that was ended before it could listen leaves no record, or one of a death by signal */
	if (x->cancel && e.status != MEMO_EXIT_SUCCESS)
		e.status = MEMO_EXIT_CANCELLED;
	tell_sandbox(r, &e);
	memo_mutex_unlock(&r->mu);
	check_tools(r, x, &e);
	MEMO_AUTO_JSON json_t *origin = memo_exec_origin(x->attempt, x->command, &e);
	const struct memo_task *t = x->leader->task;
	if (!x->parked)
		memo_stats_executed(r, t->name, e.wall_ms,
				    e.status != MEMO_EXIT_SUCCESS && e.status != MEMO_EXIT_CANCELLED);
	/* logs are for people: a failure to keep them must not lose the result */
	if (!x->parked && memo_store_keep_logs(r->store, &x->identity, x->dir,
					       t->output_path != NULL || e.status != MEMO_EXIT_SUCCESS) < 0)
		keep = false;
	char *dir = x->dir; /* a further attempt has a directory of its own */
	bool gave_up = e.status != MEMO_EXIT_SUCCESS || origin == NULL;
	if (!gave_up) {
		publish(r, x, &e, origin, &keep);
	} else {
		x->dir = NULL;
		if (!retry(r, x, &e, e.message))
			fail_exec(r, x, &e, origin);
	}
	memo_exit_clear(&e);
	if (!keep)
		memo_store_attempt_remove(r->store, dir);
	if (gave_up)
		free(dir);
	memo_mutex_lock(&r->mu);
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
}
