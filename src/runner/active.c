/* What is in flight, told in words: states, who waits for what, progress of one demand. */
#include "internal.h"

#include "base/json.h"
#include "core/path.h"

#include <string.h>

enum memo_state memo_runner_state(struct memo_runner *r, const struct memo_task *t, const json_t *inputs)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	if (memo_path_name(t, inputs, &name, NULL) < 0)
		return MEMO_STATES;
	memo_mutex_lock(&r->mu);
	const struct call *c = memo_call_find(r, t, name.data, NULL);
	bool live = c != NULL;
	enum memo_state state = live ? memo_call_state(c) : MEMO_STATES;
	memo_mutex_unlock(&r->mu);
	struct memo_named named;
	if (!live && memo_store_named(r->store, t->name, t->version, name.data, &named, NULL) == 0)
		state = named.state;
	return state;
}

static void waits_for(struct memo_runner *r, const struct call *c, struct memo_buf *b) LOCKED
{
	const struct exec *x = c->exec;
	if (x != NULL && x->reading > 0) {
		(void)memo_buf_puts(b, "waits for what it reads");
	} else if (x != NULL && x->queued) {
		(void)memo_buf_printf(b, "waits for a slot: %lld of %lld cpus are in use", (long long)r->cpus_used,
				      (long long)r->cpus);
	} else if (x != NULL && x->parked) {
		(void)memo_buf_puts(b, "has finished; the store is full");
	} else if (x != NULL && x->starved) {
		(void)memo_buf_puts(b, "waits for room: the store is full");
	} else if (c->phase == CALL_HASH) {
		(void)memo_buf_puts(b, "is being looked up");
	} else if (c->phase == CALL_UPSTREAM || c->phase == CALL_OBSERVED) {
		/* by need, not by instance: a fan-out may wait for thousands */
		const char *sep = "waits for ";
		for (size_t i = 0; c->up != NULL && i < c->plan.ups && b->len < 200; i++) {
			size_t left = 0;
			for (size_t k = 0; k < c->plan.ups; k++)
				left += c->up[k].child != NULL && strcmp(c->plan.up[k].key, c->plan.up[i].key) == 0;
			bool first = i == 0 || strcmp(c->plan.up[i - 1].key, c->plan.up[i].key) != 0;
			if (left == 0 || !first)
				continue;
			(void)memo_buf_printf(b, "%s%s", sep, c->plan.up[i].task->name);
			if (left > 1)
				(void)memo_buf_printf(b, " (%zu left)", left);
			sep = ", ";
		}
	}
}

static json_t *call_json(struct memo_runner *r, const struct call *c) LOCKED
{
	MEMO_AUTO_BUF struct memo_buf reason = { 0 };
	waits_for(r, c, &reason);
	size_t waiters = 0;
	for (const struct memo_wait *w = c->waits; w != NULL; w = w->next)
		waiters++;
	double since = c->exec == NULL ? 0 : (double)(memo_now_ns() - c->exec->since_ns) / (double)MEMO_NS_PER_S;
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	(void)memo_buf_printf(&path, "/tasks/%s/%s/%s", c->task->name, c->task->version, c->name);
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:I, s:s}", "task", c->task->name, "version",
			      c->task->version, "name", c->name, "path", memo_buf_str(&path), "state",
			      memo_state_text(memo_call_state(c)), "seconds", since, "waiters", (json_int_t)waiters,
			      "reason", memo_buf_str(&reason));
	char hex[MEMO_HEX_SIZE];
	if (j != NULL && c->identified &&
	    memo_json_set(j, "identity", json_string(memo_id_hex(&c->identity, hex))) < 0)
		return j;
	if (j != NULL && c->exec != NULL && c->exec->pid > 0 &&
	    memo_json_set(j, "pid", json_integer(c->exec->pid)) < 0)
		return j;
	return j;
}

/* Nobody waits for it any more: all were told that there is no room. */
static json_t *parked_json(const struct exec *x)
{
	const struct call *c = x->leader;
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	(void)memo_buf_printf(&path, "/tasks/%s/%s/%s", c->task->name, c->task->version, c->name);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:i, s:s, s:s}", "task", c->task->name, "version",
			 c->task->version, "name", c->name, "path", memo_buf_str(&path), "state",
			 memo_state_text(x->state), "seconds",
			 (double)(memo_now_ns() - x->since_ns) / (double)MEMO_NS_PER_S, "waiters", 0, "reason",
			 "has finished; the store is full: its result waits for room", "identity", x->hex);
}

int memo_runner_active(struct memo_runner *r, json_t **out)
{
	json_t *list = json_array();
	int code = list == NULL ? -ENOMEM : 0;
	memo_mutex_lock(&r->mu);
	for (const struct call *c = r->live_calls; c != NULL && code == 0; c = c->next_live) {
		if ((c->flags & MEMO_DEMAND_PEEK) == 0)
			code = memo_json_push(list, call_json(r, c));
	}
	for (const struct exec *x = r->live_execs; x != NULL && code == 0; x = x->next_live) {
		if (x->parked)
			code = memo_json_push(list, parked_json(x));
	}
	memo_mutex_unlock(&r->mu);
	if (code < 0) {
		json_decref(list);
		return code;
	}
	*out = list;
	return 0;
}

static int progress_of(struct memo_runner *r, struct call *c, json_t *list) LOCKED
{
	if (c->mark == r->mark || c->phase == CALL_DONE)
		return 0;
	c->mark = r->mark;
	int code = memo_json_push(list, call_json(r, c));
	for (size_t i = 0; code == 0 && c->up != NULL && i < c->plan.ups; i++) {
		if (c->up[i].child != NULL)
			code = progress_of(r, c->up[i].child, list);
	}
	for (const struct memo_wait *w = c->exec != NULL ? c->exec->reads : NULL; w != NULL && code == 0;
	     w = w->next_read)
		code = progress_of(r, w->call, list);
	return code;
}

int memo_runner_progress(struct memo_runner *r, struct memo_wait *w, json_t **out)
{
	json_t *list = json_array();
	if (list == NULL)
		return -ENOMEM;
	memo_mutex_lock(&r->mu);
	r->mark++;
	int code = w->state == WAIT_WAITING && w->call != NULL ? progress_of(r, w->call, list) : 0;
	memo_mutex_unlock(&r->mu);
	if (code < 0) {
		json_decref(list);
		return code;
	}
	*out = list;
	return 0;
}
