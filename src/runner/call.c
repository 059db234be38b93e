/* Calls: from a name to an identity to a result. The steps, each a job of the pool:
 *
 *	prepare   plan the dependencies, hash the files, then (locked) demand what is upstream
 *	identify  all upstream results are there: key, identity, look-up (call_look.c)
 *	check     a hit that read the mount while it ran: is each thing that it read still the same? (call_look.c)
 *
 * and on a miss the call joins the execution of its identity (exec.c). Here: life, edges, the end, the first step. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>

#define MAX_RESTARTS 3

static void prepare(struct memo_runner *r, void *arg);

/* ---- life ------------------------------------------------------------------------------------ */

static void call_free(struct call *c)
{
	if (c->planned)
		memo_plan_clear(&c->plan);
	free(c->up);
	free(c->key);
	free(c->name);
	free(c->user);
	json_decref(c->inputs);
	json_decref(c->plan_key);
	json_decref(c->plan_upstream);
	json_decref(c->observed);
	memo_result_unref(c->candidate);
	memo_result_unref(c->result);
	memo_task_unref(c->task);
	memo_who_unref(c->who);
	free(c);
}

/* The code of a definition that is replaced meanwhile must be there when the call comes to execute. */
static void hold_code(struct memo_runner *r, const struct call *c, bool hold)
{
	for (size_t i = 0; i < c->task->codes; i++) {
		if (hold)
			memo_store_hold(r->store, &c->task->code[i].id);
		else
			memo_store_release(r->store, &c->task->code[i].id);
	}
}

void memo_call_unref(struct memo_runner *r, struct call *c)
{
	if (c == NULL || --c->refs > 0)
		return;
	hold_code(r, c, false);
	if (c->run != NULL)
		memo_run_unref(r, c->run);
	call_free(c);
}

void memo_call_push(struct memo_runner *r, struct call *c, void (*fn)(struct memo_runner *, void *))
{
	c->refs++;
	memo_pool_push(r, &c->job, fn, c);
}

/* Whether a path may be among what this task's demands open: of its own, or of what it needs. */
static bool names_files(const struct memo_task *t)
{
	for (size_t i = 0; i < t->inputs; i++) {
		if (t->input[i].type.kind == MEMO_FILE || t->input[i].type.kind == MEMO_DIRECTORY)
			return true;
	}
	return t->needs > 0;
}

/* Calls of a run are its own: they carry its options. What they execute is shared with everyone (exec.c). @kind keeps
 * calls apart that must not end alike: those that may execute, and those that may not; @who does so for those who may read
 * different files. */
static struct call *call_new(struct memo_task *t, const json_t *inputs, const char *name, char kind,
			     const struct memo_who *who, struct run *run)
{
	MEMO_AUTO_BUF struct memo_buf key = { 0 };
	(void)memo_buf_puts(&key, run != NULL ? memo_run_id(run) : "");
	(void)memo_buf_putc(&key, ' ');
	struct call *c = calloc(1, sizeof *c);
	if (c == NULL || memo_who_key(who, &key) < 0 || memo_buf_error(&key) < 0) {
		free(c);
		return NULL;
	}
	const char *owner = memo_buf_str(&key);
	size_t lt = strlen(t->name);
	size_t lv = strlen(t->version);
	size_t ln = strlen(name);
	size_t lr = strlen(owner);
	c->key_len = lt + lv + ln + lr + 4;
	c->key = malloc(c->key_len + 1);
	c->name = strdup(name);
	if (c->key == NULL || c->name == NULL) {
		free(c->key);
		free(c->name);
		free(c);
		return NULL;
	}
	c->key[0] = kind;
	memcpy(c->key + 1, t->name, lt + 1);
	memcpy(c->key + lt + 2, t->version, lv + 1);
	memcpy(c->key + lt + lv + 3, name, ln + 1);
	memcpy(c->key + lt + lv + ln + 4, owner, lr + 1);
	c->refs = 1;
	c->task = memo_task_ref(t);
	c->inputs = json_incref((json_t *)inputs);
	c->who = memo_who_ref(who);
	return c;
}

int memo_call_get(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const char *name,
		  unsigned flags, unsigned depth, struct asking ask, struct run *run, struct call **out,
		  struct memo_err *err)
{
	if (r->closing)
		return memo_fail(err, -ESHUTDOWN, "memofs is ending");
	if (depth > MEMO_RUNNER_DEPTH)
		return memo_fail(err, -ELOOP, "task '%s': needs nested more than %d deep", t->name,
				 MEMO_RUNNER_DEPTH);
	if (t->cache)
		flags &= ~(unsigned)MEMO_DEMAND_FRESH;
	else if (run != NULL)
		flags |= MEMO_DEMAND_FRESH; /* reused within the run, which remembers it, and not beyond */
	/* by what they may do: execute or not, and end with a hash alone or not */
	char kind = (flags & MEMO_DEMAND_PEEK) != 0 ? 'p' : ask.allowed ? 'x' : 'n';
	if ((flags & CALL_HASH_ONLY) != 0)
		kind = (char)(kind - 'a' + 'A');
	struct call *c = call_new(t, inputs, name, kind, names_files(t) ? ask.who : NULL, run);
	if (c == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	flags &= ~(unsigned)MEMO_DEMAND_CHECK; /* every call looks */
	bool shared = run != NULL || (flags & (MEMO_DEMAND_FORCE | MEMO_DEMAND_FRESH)) == 0;
	struct memo_map_link *l = shared ? memo_map_get(&r->calls, c->key, c->key_len) : NULL;
	struct call *old = l == NULL ? NULL : MEMO_CONTAINER(l, struct call, link);
	if (old != NULL && old->task == t) {
		call_free(c);
		old->refs++;
		*out = old;
		return 0;
	}
	if (old != NULL) { /* of a definition that was replaced */
		memo_map_remove(&r->calls, &old->link);
		old->shared = false;
	}
	if (shared) {
		int code = memo_map_put(&r->calls, &c->link, c->key, c->key_len);
		if (code < 0) {
			call_free(c);
			return memo_fail(err, code, "out of memory");
		}
		c->shared = true;
	}
	hold_code(r, c, true);
	c->flags = flags;
	c->depth = depth;
	c->allowed = ask.allowed;
	c->next_live = r->live_calls;
	c->prev_live = &r->live_calls;
	if (c->next_live != NULL)
		c->next_live->prev_live = &c->next_live;
	r->live_calls = c;
	if (run != NULL) {
		memo_run_ref(run);
		c->run = run;
		memo_run_begun(r, c);
	}
	memo_call_push(r, c, prepare);
	c->refs++;
	*out = c;
	return 0;
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void edge_cut(struct memo_runner *r, struct edge *e) LOCKED
{
	if (e->child == NULL)
		return;
	struct edge **p = &e->child->parents;
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	struct call *child = e->child;
	e->child = NULL;
	memo_call_unref(r, child);
}

int memo_call_edge(struct memo_runner *r, struct edge *e, struct call *parent, struct call *child)
{
	if (r->readers > 0 && memo_graph_call_reaches_call(r, child, parent)) {
		memo_call_unref(r, child);
		return -EDEADLK;
	}
	bool late = memo_call_joins_late(child, parent->asked_ns);
	*e = (struct edge){ .next = child->parents, .parent = parent, .child = child, .late = late };
	child->parents = e;
	return 0;
}

static void up_done(struct memo_runner *r, struct edge *e, struct call *child) LOCKED
{
	struct call *c = e->parent;
	if (c->phase != CALL_UPSTREAM || c->failing)
		return;
	size_t i = (size_t)(e - c->up);
	if (child->code < 0) {
		struct memo_err err;
		const char *text = child->err.code != 0 ? child->err.text : memo_strerror(child->code);
		(void)memo_fail(&err, child->code, "%s '%s': %s",
				c->plan.up[i].need != NULL ? "need" : "upstream of", c->plan.up[i].key, text);
		c->up_failed = true;
		memo_call_fail(r, c, child->code, &err);
		return;
	}
	memo_plan_up_set(&c->plan, i, child->result);
	if (--c->pending == 0) {
		c->phase = CALL_IDENTITY;
		memo_call_push(r, c, memo_call_identify);
	}
}

/* What was read while it ran, demanded again: the same bytes, or not. */
static void observed_done(struct memo_runner *r, struct call *c, struct call *child) LOCKED
{
	if (c->phase != CALL_OBSERVED || c->failing)
		return;
	char hex[MEMO_HEX_SIZE];
	const json_t *entry = json_array_get(c->observed, c->observed_at);
	bool same = child->code == 0 &&
		    strcmp(memo_id_hex(&child->result->hash, hex), memo_json_string(entry, "hash", "")) == 0;
	if (child->code == -EDEADLK || child->code == -ESHUTDOWN) {
		memo_call_fail(r, c, child->code, &child->err);
	} else if (!same) {
		memo_call_miss(r, c);
	} else {
		c->observed_at++;
		memo_call_push(r, c, memo_call_check);
	}
}

static struct asking asking(const struct call *c)
{
	return (struct asking){ .allowed = c->allowed, .who = c->who };
}

/* The call that late ones go over to, a reference; NULL: what @c has found holds for them too. */
static struct call *once_more(struct memo_runner *r, const struct call *c) LOCKED
{
	bool late = false;
	for (const struct memo_wait *w = c->waits; w != NULL && !late; w = w->next)
		late = w->late;
	for (const struct edge *e = c->parents; e != NULL && !late; e = e->next)
		late = e->late;
	if (!late || c->code < 0 || !c->task->cache)
		return NULL;
	if (!c->result->observed && !memo_runner_volatile(c->task, c->inputs))
		return NULL;
	struct call *again;
	if (memo_call_get(r, c->task, c->inputs, c->name, c->flags, c->depth, asking(c), c->run, &again, NULL) < 0)
		return NULL;
	again->started = again->started || c->started;
	return again;
}

static void end_waits(struct memo_runner *r, struct call *c, struct call *again) LOCKED
{
	while (c->waits != NULL) {
		struct memo_wait *w = c->waits;
		if (again != NULL && w->late && memo_call_move(r, c, w, again))
			continue;
		if (c->code == -EDEADLK && w->reader != NULL)
			w->reader->deadlock = true;
		memo_call_detach(r, w); /* the call's references to it go to the dispatcher */
		memo_post_answer(r, w);
	}
}

static void end_parents(struct memo_runner *r, struct call *c, struct call *again) LOCKED
{
	while (c->parents != NULL) {
		struct edge *e = c->parents;
		struct call *parent = e->parent;
		bool late = e->late && again != NULL;
		parent->refs++;
		c->refs++;
		edge_cut(r, e);
		if (late) {
			again->refs++;
			if (memo_call_edge(r, e, parent, again) < 0)
				memo_call_fail(r, parent, -EDEADLK, NULL);
		} else if (e == &parent->observed_edge) {
			observed_done(r, parent, c);
		} else {
			up_done(r, e, c);
		}
		memo_call_unref(r, parent);
		memo_call_unref(r, c);
	}
}

void memo_call_done(struct memo_runner *r, struct call *c, int code, struct memo_result *res,
		    const struct memo_err *err)
{
	if (c->phase == CALL_DONE)
		return;
	c->phase = CALL_DONE;
	c->code = code;
	memo_call_discharge(r, c);
	c->result = res != NULL ? memo_result_ref(res) : NULL;
	if (err != NULL)
		c->err = *err;
	if (c->run != NULL)
		memo_run_ended(r, c);
	if (c->shared)
		memo_map_remove(&r->calls, &c->link);
	c->shared = false;
	*c->prev_live = c->next_live;
	if (c->next_live != NULL)
		c->next_live->prev_live = c->prev_live;
	for (size_t i = 0; c->up != NULL && i < c->plan.ups; i++)
		edge_cut(r, &c->up[i]);
	edge_cut(r, &c->observed_edge);
	struct exec *x = c->exec;
	c->exec = NULL;
	struct call *again = once_more(r, c);
	end_waits(r, c, again);
	end_parents(r, c, again);
	memo_call_unref(r, again);
	memo_exec_unref(r, x);
	memo_cond_broadcast(&r->idle);
	memo_call_unref(r, c);
}

/* ---- failing --------------------------------------------------------------------------------- */

/* The name leads to the record of the failed identity already, which says more. */
static bool is_named(struct memo_runner *r, const struct call *c)
{
	struct memo_named n;
	return c->identified &&
	       memo_store_named(r->store, c->task->name, c->task->version, c->name, &n, NULL) == 0 && n.known &&
	       memo_id_equal(&n.identity, &c->identity);
}

static void note_failure(struct memo_runner *r, void *arg)
{
	struct call *c = arg;
	bool known = is_named(r, c);
	if (!known && memo_store_name_failed(r->store, c->task->name, c->task->version, c->name, c->inputs,
					     c->err.text, NULL) < 0)
		known = true; /* only the sentence is lost: the answer is a failure all the same */
	memo_mutex_lock(&r->mu);
	if (!known)
		memo_post_event(r, MEMO_EVENT_STATE, c->task->name, c->task->version, c->name, MEMO_FAILED,
				c->err.text);
	memo_call_done(r, c, c->code, NULL, NULL);
	memo_call_unref(r, c);
	memo_mutex_unlock(&r->mu);
}

void memo_call_fail(struct memo_runner *r, struct call *c, int code, const struct memo_err *err)
{
	if (c->phase == CALL_DONE || c->failing)
		return;
	c->failing = true;
	if (err != NULL)
		c->err = *err;
	if (c->err.code == 0)
		(void)memo_fail(&c->err, code, "task '%s': %s", c->task->name, memo_strerror(code));
	switch (code) {
	case -EACCES:
	case -EDQUOT:
	case -ESHUTDOWN:
	case -ECANCELED:
	case -ENOSPC:
	case -EDEADLK:
	case -EINVAL:
		break;
	default: /* a missing file or an unknown upstream: no answer of a read of this name by itself */
		code = -EIO;
	}
	if ((c->flags & MEMO_DEMAND_PEEK) != 0)
		code = -ENOENT;
	c->code = code;
	bool note = (c->flags & MEMO_DEMAND_PEEK) == 0 && code != -ESHUTDOWN && code != -EACCES;
	if (note) {
		c->refs++;
		memo_pool_push(r, &c->note, note_failure, c);
	} else {
		memo_call_done(r, c, code, NULL, NULL);
	}
}

/* ---- prepare --------------------------------------------------------------------------------- */

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; names != NULL && i < n; i++)
		free(names[i]);
	free(names);
}

static int up_names(const struct memo_plan *p, char ***out, struct memo_err *err)
{
	char **names = calloc(p->ups + 1, sizeof(char *));
	if (names == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < p->ups; i++) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		int code = memo_path_name(p->up[i].task, p->up[i].inputs, &b, err);
		if (code == 0) {
			names[i] = memo_buf_steal(&b);
			code = names[i] == NULL ? memo_fail(err, -ENOMEM, "out of memory") : 0;
		}
		if (code < 0) {
			names_free(names, p->ups);
			return code;
		}
	}
	*out = names;
	return 0;
}

static int keep_handle(struct memo_runner *r, const struct call *c, struct memo_err *err)
{
	struct memo_id digest;
	if (memo_path_classify(c->name) != MEMO_COMP_HANDLE)
		return 0;
	return memo_store_handle_put(r->store, c->task->name, c->task->version, c->inputs, &digest, err);
}

static void demand_upstream(struct memo_runner *r, struct call *c, char **names) LOCKED
{
	struct memo_err err = { 0 };
	c->phase = CALL_UPSTREAM;
	c->pending = c->plan.ups;
	c->up = calloc(c->plan.ups + 1, sizeof *c->up);
	if (c->up == NULL) {
		memo_call_fail(r, c, -ENOMEM, NULL);
		return;
	}
	for (size_t i = 0; i < c->plan.ups; i++) {
		struct call *child;
		struct memo_dep_up *u = &c->plan.up[i];
		if (u->result != NULL && !u->result->collected) {
			c->pending--;
			continue;
		}
		/* the hash will do, but for a path inside: and when it did not (memo_call_fetch()) */
		bool bytes = u->inner != NULL || u->result != NULL;
		unsigned flags = (c->flags & MEMO_DEMAND_PEEK) | (bytes ? 0 : CALL_HASH_ONLY);
		int code = memo_call_get(r, u->task, u->inputs, names[i], flags, c->depth + 1, asking(c), c->run,
					 &child, &err);
		if (code == 0)
			code = memo_call_edge(r, &c->up[i], c, child);
		if (code == -EDEADLK)
			(void)memo_fail(&err, code,
					"task '%s': waits for itself: '%s' reads it while it is needed by it",
					c->task->name, u->task->name);
		if (code < 0) {
			memo_call_fail(r, c, code, &err);
			return;
		}
	}
	if (c->pending == 0) {
		c->phase = CALL_IDENTITY;
		memo_call_push(r, c, memo_call_identify);
	}
}

static void prepare(struct memo_runner *r, void *arg)
{
	struct call *c = arg;
	struct memo_err err = { 0 };
	char **names = NULL;
	memo_mutex_lock(&r->mu);
	bool stop = c->phase != CALL_HASH || c->failing;
	c->begun = true;
	if (stop)
		memo_call_unref(r, c);
	memo_mutex_unlock(&r->mu);
	if (stop)
		return;
	int code = memo_plan_make(r->store, c->task, c->inputs, &c->plan, &err);
	c->planned = code == 0;
	if (code == 0)
		code = memo_plan_hash(r->store, &c->plan, c->who, &err);
	if (code == 0)
		code = keep_handle(r, c, &err);
	if (code == 0)
		code = up_names(&c->plan, &names, &err);
	size_t ups = c->plan.ups;
	memo_mutex_lock(&r->mu);
	if (c->phase == CALL_HASH && !c->failing) {
		if (r->closing)
			memo_call_fail(r, c, -ESHUTDOWN, NULL);
		else if (code < 0)
			memo_call_fail(r, c, code, &err);
		else
			demand_upstream(r, c, names);
	}
	memo_call_unref(r, c);
	memo_mutex_unlock(&r->mu);
	names_free(names, ups);
}

bool memo_call_fetch(struct memo_runner *r, struct call *c)
{
	if (!memo_plan_lacks(&c->plan))
		return false;
	struct memo_err err = { 0 };
	char **names = NULL;
	free(c->up);
	c->up = NULL;
	int code = up_names(&c->plan, &names, &err);
	if (code < 0)
		memo_call_fail(r, c, code, &err);
	else
		demand_upstream(r, c, names);
	names_free(names, c->plan.ups);
	return true;
}

void memo_call_restart(struct memo_runner *r, struct call *c)
{
	if (c->phase == CALL_DONE || c->failing)
		return;
	if (++c->restarts > MAX_RESTARTS) {
		struct memo_err err;
		(void)memo_fail(
			&err, -EIO,
			"task '%s': its inputs change or are lost while it runs; try again when they are at rest",
			c->task->name);
		memo_call_fail(r, c, -EIO, &err);
		return;
	}
	struct exec *x = c->exec;
	c->exec = NULL;
	free(c->up);
	c->up = NULL;
	if (c->planned)
		memo_plan_clear(&c->plan);
	c->planned = false;
	json_decref(c->plan_key);
	json_decref(c->plan_upstream);
	c->plan_key = NULL;
	c->plan_upstream = NULL;
	c->identified = false;
	c->begun = false;
	c->phase = CALL_HASH;
	memo_call_push(r, c, prepare);
	memo_exec_unref(r, x);
}

/* ---- what is asked of calls ------------------------------------------------------------------ */

bool memo_call_wanted(const struct call *c)
{
	if (c->waits != NULL || c->started)
		return true;
	for (const struct edge *e = c->parents; e != NULL; e = e->next) {
		if (memo_call_wanted(e->parent))
			return true;
	}
	return false;
}

enum memo_state memo_call_state(const struct call *c)
{
	return c->exec != NULL ? c->exec->state : MEMO_PENDING;
}

bool memo_call_runs(const struct call *c)
{
	if (c->exec != NULL)
		return c->exec->running;
	for (size_t i = 0; c->up != NULL && i < c->plan.ups; i++) {
		if (c->up[i].child != NULL && memo_call_runs(c->up[i].child))
			return true;
	}
	return false;
}

void memo_call_give_up(struct memo_runner *r, struct call *c, bool all)
{
	if (c->phase == CALL_DONE || c->failing || memo_call_wanted(c))
		return;
	if (c->exec != NULL) {
		c->up_failed = !c->exec->running;
		memo_exec_give_up(r, c->exec, all);
		return;
	}
	struct memo_err err;
	(void)memo_fail(&err, -ECANCELED, "task '%s': nobody wants it any more", c->task->name);
	c->refs++;
	c->up_failed = true;
	memo_call_fail(r, c, -ECANCELED, &err);
	/* failing takes a job: until then the edges are there, and do not make what is upstream wanted */
	for (size_t i = 0; c->up != NULL && i < c->plan.ups; i++) {
		if (c->up[i].child != NULL)
			memo_call_give_up(r, c->up[i].child, all);
	}
	memo_call_unref(r, c);
}
