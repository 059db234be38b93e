/* The runner's door: life, demands, and what is asked about them. The steps are in call.c and exec.c. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

static void runner_free(struct memo_runner *r)
{
	struct memo_map_link *l;
	while ((l = memo_map_next(&r->failures, NULL)) != NULL) {
		memo_map_remove(&r->failures, l);
		free(MEMO_CONTAINER(l, struct failure, link));
	}
	while ((l = memo_map_next(&r->users, NULL)) != NULL) {
		memo_map_remove(&r->users, l);
		free(MEMO_CONTAINER(l, struct user, link));
	}
	memo_map_clear(&r->failures);
	memo_map_clear(&r->users);
	memo_map_clear(&r->calls);
	memo_map_clear(&r->execs);
	memo_cond_clear(&r->work);
	memo_cond_clear(&r->idle);
	memo_cond_clear(&r->post);
	memo_cond_clear(&r->dispatched);
	memo_mutex_clear(&r->adopting);
	memo_mutex_clear(&r->mu);
	free(r->mountpoint);
	free(r);
}

int memo_runner_open(const struct memo_runner_options *o, struct memo_runner **out, struct memo_err *err)
{
	struct memo_runner *r = calloc(1, sizeof *r);
	if (r == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	memo_mutex_init(&r->mu);
	memo_mutex_init(&r->adopting);
	memo_cond_init(&r->work);
	memo_cond_init(&r->idle);
	memo_cond_init(&r->post);
	memo_cond_init(&r->dispatched);
	r->store = o->store;
	r->job_last = &r->job_first;
	r->msg_last = &r->msg_first;
	struct memo_settings set;
	int code = memo_store_settings(r->store, &set, err);
	if (code == 0) {
		r->cpus = set.cpus;
		r->memory = set.memory_bytes;
		r->mountpoint = o->mountpoint == NULL ? NULL : strdup(o->mountpoint);
		if (o->mountpoint != NULL && r->mountpoint == NULL)
			code = memo_fail(err, -ENOMEM, "out of memory");
	}
	if (code == 0)
		code = memo_stats_open(r, err);
	if (code == 0)
		code = memo_retain_open(r, err);
	if (code == 0)
		code = memo_local_open(o->worker, memo_exec_worker_done, r, &r->local, err);
	if (code == 0) {
		code = memo_pool_start(r);
		if (code < 0)
			(void)memo_fail(err, code, "cannot start threads: %s", memo_strerror(code));
	}
	if (code == 0)
		code = memo_adopt_open(r, err);
	if (code < 0) {
		memo_pool_stop(r);
		memo_local_close(r->local);
		memo_retain_close(r);
		memo_stats_close(r);
		runner_free(r);
		return code;
	}
	if (r->mountpoint != NULL && set.max_bytes > 0)
		memo_runner_retain(r);
	*out = r;
	return 0;
}

/* Calls that wait for nobody but other calls end with those; what hashes ends with its job. */
static void end_everything(struct memo_runner *r) LOCKED
{
	for (struct exec *x = r->live_execs; x != NULL;) {
		struct exec *next = x->next_live;
		if (x->parked) {
			struct memo_err err;
			(void)memo_fail(&err, -ESHUTDOWN, "memofs is ending");
			memo_exec_over(r, x, -ESHUTDOWN, NULL, &err);
		} else {
			memo_exec_cancel(r, x, "memofs is ending");
		}
		x = next;
	}
}

void memo_runner_close(struct memo_runner *r)
{
	if (r == NULL)
		return;
	memo_mutex_lock(&r->mu);
	r->closing = true;
	memo_local_end_runs(r->local);
	end_everything(r);
	while (r->live_calls != NULL || r->live_execs != NULL)
		memo_cond_wait(&r->idle, &r->mu);
	memo_mutex_unlock(&r->mu);
	memo_runs_flush(r);
	memo_retain_close(r);
	/* The job that started a worker may not have come to its end, though the worker has: the executor goes last. */
	memo_pool_stop(r);
	memo_local_close(r->local);
	memo_adopt_close(r);
	memo_mutex_lock(&r->mu);
	memo_runs_close(r);
	memo_mutex_unlock(&r->mu);
	memo_stats_close(r);
	runner_free(r);
}

struct memo_store *memo_runner_store(struct memo_runner *r)
{
	return r->store;
}

const char *memo_runner_mountpoint(const struct memo_runner *r)
{
	return r->mountpoint;
}

/* ---- who may start work ---------------------------------------------------------------------- */

bool memo_may_start(const struct memo_settings *set, const struct memo_who *who)
{
	return !set->has_runners || memo_who_in(who, set->runners_gid);
}

/* ---- demands --------------------------------------------------------------------------------- */

/* The call of a demand; a reference. */
static int demand_call(struct memo_runner *r, const struct memo_demand *d, const struct memo_settings *set,
		       struct call **out, struct memo_err *err) LOCKED
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	int code = memo_path_name(d->task, d->inputs, &name, err);
	if (code < 0)
		return code;
	struct call *c;
	struct asking ask = { .allowed = memo_may_start(set, d->who), .who = d->who };
	code = memo_call_get(r, d->task, d->inputs, name.data, d->flags, 0, ask, NULL, &c, err);
	if (code < 0)
		return code;
	if (c->ino == 0)
		c->ino = d->ino;
	*out = c;
	return 0;
}

static int too_many(const struct memo_settings *set, struct memo_err *err)
{
	return memo_fail(err, -EDQUOT, "you have %llu instances waiting already (memofs config max_waiting)",
			 (unsigned long long)set->max_waiting);
}

static int demand_locked(struct memo_runner *r, const struct memo_demand *d, const struct memo_settings *set,
			 struct memo_wait *w, struct memo_err *err) LOCKED
{
	struct call *c;
	int code = demand_call(r, d, set, &c, err);
	if (code < 0)
		return code;
	if (w->reader != NULL && !w->reader->running) { /* it has ended since it was found */
		memo_exec_unref(r, w->reader);
		w->reader = NULL;
	}
	if (w->reader != NULL && memo_graph_call_reaches_exec(r, c, w->reader)) {
		w->reader->deadlock = true;
		code = memo_fail(err, -EDEADLK,
				 "task '%s' waits for itself: its result is needed by the task that reads it",
				 d->task->name);
	}
	if (code == 0) {
		code = memo_call_attach(r, c, w, set->max_waiting);
		if (code == -EDQUOT)
			(void)too_many(set, err);
		else if (code < 0)
			(void)memo_fail(err, code, "out of memory");
	}
	memo_call_unref(r, c);
	return code;
}

/* A hit that needs no steps. One whose name is not known to stand for it takes the long way, which writes that down. */
static bool hit(struct memo_runner *r, const struct memo_demand *d, struct memo_result **out)
{
	if (!d->task->cache || (d->flags & (MEMO_DEMAND_FORCE | MEMO_DEMAND_CHECK)) != 0)
		return false;
	struct memo_result *res = NULL;
	/* input files are looked at by the pool: whoever calls must not be held up by a disk */
	if (memo_runner_peek(r, d->task, d->inputs, d->who, MEMO_PEEK_NO_FILES, &res) < 0)
		return false;
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	struct memo_named n;
	if (memo_path_name(d->task, d->inputs, &name, NULL) == 0 &&
	    memo_store_named(r->store, d->task->name, d->task->version, name.data, &n, NULL) == 0 && n.known &&
	    n.state == MEMO_SUCCESS && memo_id_equal(&n.identity, &res->identity)) {
		*out = res;
		return true;
	}
	memo_result_unref(res);
	return false;
}

int memo_runner_demand(struct memo_runner *r, const struct memo_demand *d, struct memo_wait **wait_out,
		       struct memo_result **res_out, struct memo_err *err)
{
	int64_t asked_ns = memo_now_ns();
	if (hit(r, d, res_out)) {
		memo_stats_hit(r, d->task->name, *res_out);
		return 0;
	}
	struct memo_settings set;
	int code = memo_store_settings(r->store, &set, err);
	if (code < 0)
		return code;
	struct memo_wait *w = calloc(1, sizeof *w);
	if (w == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	w->asked_ns = asked_ns;
	w->answer = d->answer;
	w->arg = d->arg;
	w->uid = d->uid;
	atomic_init(&w->refs, 1);
	w->reader = memo_reader_find(r, d->tid);
	*wait_out = w; /* the answer may come before this function returns */
	memo_mutex_lock(&r->mu);
	code = demand_locked(r, d, &set, w, err);
	if (code < 0) {
		memo_exec_unref(r, w->reader);
		free(w);
	}
	memo_mutex_unlock(&r->mu);
	return code < 0 ? code : 1;
}

bool memo_runner_drop(struct memo_runner *r, struct memo_wait *w)
{
	memo_mutex_lock(&r->mu);
	bool dropped = w->state == WAIT_WAITING || w->state == WAIT_QUEUED;
	if (w->state == WAIT_WAITING) {
		memo_call_detach(r, w);
		memo_call_unref(r, w->call);
		w->call = NULL;
		(void)atomic_fetch_sub(&w->refs, 1);
	}
	if (dropped)
		w->state = WAIT_DROPPED;
	memo_mutex_unlock(&r->mu);
	return dropped;
}

void memo_wait_release(struct memo_wait *w)
{
	if (w == NULL)
		return;
	if (atomic_fetch_sub(&w->refs, 1) == 1)
		free(w);
}

int memo_runner_start(struct memo_runner *r, const struct memo_demand *d, enum memo_state *state_out,
		      struct memo_err *err)
{
	struct memo_result *res = NULL;
	if (hit(r, d, &res)) {
		memo_result_unref(res);
		*state_out = MEMO_SUCCESS;
		return 0;
	}
	struct memo_settings set;
	int code = memo_store_settings(r->store, &set, err);
	if (code < 0)
		return code;
	if (!memo_may_start(&set, d->who))
		return memo_fail(err, -EACCES,
				 "task '%s': you may not start work in this store (memofs config runners)",
				 d->task->name);
	struct call *c = NULL;
	memo_mutex_lock(&r->mu);
	code = demand_call(r, d, &set, &c, err);
	if (code == 0) {
		code = memo_call_charge(r, c, d->uid, set.max_waiting);
		if (code == -EDQUOT)
			(void)too_many(&set, err);
		c->started = c->started || code == 0;
		if (code == 0)
			*state_out = memo_call_state(c);
		memo_call_unref(r, c);
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

bool memo_runner_volatile(const struct memo_task *t, const json_t *inputs)
{
	if (!t->cache || t->needs > 0 || (!t->declared && t->tools > 0))
		return true;
	for (size_t i = 0; i < t->inputs; i++) {
		const struct memo_input *in = &t->input[i];
		bool source = in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY;
		const json_t *v = json_object_get(inputs, in->name);
		if (source && v != NULL && !json_is_null(v))
			return true;
	}
	return false;
}

/* ---- changes --------------------------------------------------------------------------------- */

static void name_event(struct memo_runner *r, const struct memo_task *t, const char *name, enum memo_state state)
{
	memo_mutex_lock(&r->mu);
	memo_post_event(r, MEMO_EVENT_NAME, t->name, t->version, name, state, NULL);
	memo_mutex_unlock(&r->mu);
}

int memo_runner_lost(struct memo_runner *r, struct memo_result *res, const char *reason, struct memo_err *err)
{
	return memo_store_result_lost(r->store, res, reason, err);
}

void memo_runner_observe(struct memo_runner *r, pid_t tid, const char *path, const struct memo_id *hash,
			 const char *link)
{
	struct exec *x = memo_reader_find(r, tid);
	if (x == NULL)
		return;
	char hex[MEMO_HEX_SIZE];
	json_t *entry = link != NULL ? json_pack("{s:s, s:s}", "path", path, "link", link)
				     : json_pack("{s:s, s:s}", "path", path, "hash", memo_id_hex(hash, hex));
	memo_mutex_lock(&r->mu);
	if (x->observed == NULL)
		x->observed = json_array();
	bool known = false;
	size_t i;
	json_t *e;
	json_array_foreach(x->observed, i, e) known = known || json_equal(e, entry);
	MEMO_AUTO_JSON json_t *line = known ? NULL : json_incref(entry);
	MEMO_AUTO_FREE char *dir = known || x->dir == NULL ? NULL : strdup(x->dir);
	if (known)
		json_decref(entry);
	else if (memo_json_push(x->observed, entry) < 0)
		memo_exec_cancel(r, x, "out of memory: what it read could not be recorded");
	memo_exec_unref(r, x);
	memo_mutex_unlock(&r->mu);
	if (dir != NULL && line != NULL)
		memo_adopt_observed(dir, line);
}

/* The calls in flight for an instance, one after the other (@after NULL: the first); borrowed under the lock. */
struct call *memo_call_find(struct memo_runner *r, const struct memo_task *t, const char *name,
			    const struct call *after)
{
	for (struct call *c = after == NULL ? r->live_calls : after->next_live; c != NULL; c = c->next_live) {
		if ((c->flags & MEMO_DEMAND_PEEK) == 0 && strcmp(c->name, name) == 0 &&
		    strcmp(c->task->name, t->name) == 0 && strcmp(c->task->version, t->version) == 0)
			return c;
	}
	return NULL;
}

static void cancel_call(struct memo_runner *r, struct call *c) LOCKED
{
	struct memo_err why;
	(void)memo_fail(&why, -ECANCELED, "task '%s': cancelled", c->task->name);
	memo_call_fail(r, c, -ECANCELED, &why);
}

int memo_runner_cancel(struct memo_runner *r, const struct memo_task *t, const json_t *inputs, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	int code = memo_path_name(t, inputs, &name, err);
	if (code < 0)
		return code;
	memo_mutex_lock(&r->mu);
	if (memo_call_find(r, t, name.data, NULL) == NULL)
		code = memo_fail(err, -ENOENT, "nothing is in flight for /tasks/%s/%s/%s", t->name, t->version,
				 name.data);
	for (struct call *c = memo_call_find(r, t, name.data, NULL); c != NULL;) {
		struct call *next = memo_call_find(r, t, name.data, c);
		if (c->exec != NULL) {
			c->exec->cancel_after = true;
			memo_exec_cancel(r, c->exec, "cancelled");
		} else {
			cancel_call(r, c);
		}
		c = next;
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

int memo_runner_forget(struct memo_runner *r, struct memo_task *t, const json_t *inputs, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	int code = memo_path_name(t, inputs, &name, err);
	if (code < 0)
		return code;
	/* what the name means now, and what it meant when it was demanded last */
	struct memo_id id[2];
	size_t n = 0;
	struct memo_result *res = NULL;
	struct memo_named named;
	if (memo_runner_peek(r, t, inputs, NULL, 0, &res) == 0)
		id[n++] = res->identity;
	memo_result_unref(res);
	code = memo_store_named(r->store, t->name, t->version, name.data, &named, err);
	if (code < 0 && code != -ENOENT)
		return code;
	if (code == 0 && named.known && (n == 0 || !memo_id_equal(&id[0], &named.identity)))
		id[n++] = named.identity;
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		code = memo_store_forget(r->store, &id[i], err);
		if (code < 0 && code != -ENOENT)
			return code;
		any = any || code == 0;
		memo_mutex_lock(&r->mu);
		any = any || memo_failure_get(r, &id[i]) != NULL;
		memo_failure_forget(r, &id[i]);
		memo_mutex_unlock(&r->mu);
	}
	name_event(r, t, name.data, MEMO_PENDING);
	if (!any)
		return memo_fail(err, -ENOENT, "there is no result of /tasks/%s/%s/%s to forget", t->name,
				 t->version, name.data);
	return 0;
}

void memo_runner_task_changed(struct memo_runner *r, const char *task, const char *version)
{
	memo_mutex_lock(&r->mu);
	memo_post_event(r, MEMO_EVENT_TASK, task, version, NULL, MEMO_STATES, NULL);
	memo_mutex_unlock(&r->mu);
}

void memo_runner_settings_changed(struct memo_runner *r)
{
	memo_mutex_lock(&r->mu);
	memo_post_event(r, MEMO_EVENT_SETTINGS, NULL, NULL, NULL, MEMO_STATES, NULL);
	memo_mutex_unlock(&r->mu);
}

/* ---- paths ----------------------------------------------------------------------------------- */

int memo_runner_path(struct memo_runner *r, const struct memo_task *t, const json_t *inputs, struct memo_buf *out,
		     struct memo_err *err)
{
	size_t before = out->len;
	int code = memo_plan_path(t, inputs, out, err);
	if (code < 0)
		return code;
	const char *component = strrchr(out->data + before, '/') + 1;
	struct memo_id digest;
	if (memo_path_classify(component) != MEMO_COMP_HANDLE)
		return 0;
	return memo_store_handle_put(r->store, t->name, t->version, inputs, &digest, err);
}

int memo_runner_resolve(struct memo_runner *r, const char *task, const char *version, const char *component,
			struct memo_task **task_out, json_t **inputs_out, struct memo_err *err)
{
	struct memo_task *t;
	int code = memo_store_task(r->store, task, version, &t, err);
	if (code < 0)
		return code;
	code = memo_plan_component(r->store, t, component, inputs_out, err);
	if (code < 0) {
		memo_task_unref(t);
		return code;
	}
	*task_out = t;
	return 0;
}
