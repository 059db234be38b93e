/* Calls, from the identity on: the look-up, the check of a hit that depends on what it read, the miss. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"
#include "run.h"

/* ---- identity and look-up -------------------------------------------------------------------- */

static struct memo_instance instance(const struct call *c, const struct memo_id *identity)
{
	return (struct memo_instance){
		.identity = *identity,
		.task = c->task->name,
		.version = c->task->version,
		.name = c->name,
		.inputs = c->inputs,
		.key = c->plan_key,
		.upstream = c->plan_upstream,
		.raw = c->has_raw ? &c->raw : NULL,
	};
}

/* Names the hit under this name too, so that it is listed and /info knows it. */
static void note_hit(struct memo_runner *r, const struct call *c, const struct memo_result *res)
{
	struct memo_instance i = instance(c, &res->identity);
	struct memo_err err;
	/* without it the name is not listed until the next demand; the answer is right all the same */
	if (memo_store_name_hit(r->store, &i, res, &err) < 0)
		return;
}

/* The call is a miss: execute, unless it must not. */
void memo_call_miss(struct memo_runner *r, struct call *c)
{
	memo_result_unref(c->candidate);
	c->candidate = NULL;
	struct memo_err err;
	if ((c->flags & MEMO_DEMAND_PEEK) != 0) {
		memo_call_done(r, c, -ENOENT, NULL, NULL);
		return;
	}
	if (!c->allowed) {
		(void)memo_fail(&err, -EACCES,
				"task '%s': this result is not cached, and you may not start work in this store "
				"(memofs config runners)",
				c->task->name);
		memo_call_fail(r, c, -EACCES, &err);
		return;
	}
	if (memo_call_fetch(r, c))
		return;
	memo_stats_miss(r, c->task->name);
	memo_exec_join(r, c);
}

/* What the call's run wants of the look-up: true to skip it. *@res: the run has this result already; *@verify: a hit is to
 * be verified, this one too. */
static bool run_decides(struct memo_runner *r, struct call *c, struct memo_result **res, bool *verify)
{
	bool force = (c->flags & MEMO_DEMAND_FORCE) != 0;
	bool doubt = false;
	if (c->run == NULL)
		return force;
	memo_mutex_lock(&r->mu);
	*res = memo_run_known(r, c, &doubt);
	*verify = memo_run_verifies(c->run) && (*res == NULL || doubt);
	if (*res == NULL && memo_run_forces(c->run, c->task)) {
		c->flags |= MEMO_DEMAND_FORCE; /* for the exec's look-up, too */
		force = true;
	}
	memo_mutex_unlock(&r->mu);
	return force;
}

/* A hit that must be looked at: in a run that verifies, and an external result always, since it lives outside the store and
 * may go away by itself. What does not pass is lost: -ENOENT, a miss. */
static int look_at(struct memo_runner *r, struct call *c, struct memo_result **res, bool verify,
		   struct memo_err *err)
{
	struct memo_err why = { 0 };
	int code = 0;
	if (verify)
		code = memo_verify_result(r, c->task, c->inputs, *res, &why);
	else if ((*res)->kind == MEMO_RESULT_EXTERNAL && memo_store_result_present(r->store, *res) < 0)
		code = memo_fail(&why, -EBADMSG, "its path does not exist any more");
	if (code == 0)
		return 0;
	if (code == -EBADMSG)
		code = memo_store_result_lost(r->store, *res, why.text, err);
	else
		return memo_fail(err, code, "%s", why.text);
	memo_result_unref(*res);
	*res = NULL;
	return code < 0 && code != -ENOENT ? code : -ENOENT;
}

/* What the run had may have been collected since: then it is no more than what the store knows of it. */
static void still_there(struct memo_runner *r, struct memo_result **res)
{
	if (*res != NULL && ((*res)->collected || !memo_result_at_hand(r, *res))) {
		memo_result_unref(*res);
		*res = NULL;
	}
}

/* What is upstream could not be looked into. -EAGAIN: because it is gone, which the store knows now; the call begins anew and has it
 * made again. */
static int upstream_gone(struct memo_runner *r, struct call *c, int code, struct memo_err *err)
{
	for (size_t i = 0; i < c->plan.ups; i++) {
		struct memo_result *res = c->plan.up[i].result;
		if (res->collected || memo_store_result_present(r->store, res) != -ENOENT)
			continue;
		code = memo_store_result_lost(r->store, res, "its stored bytes are gone or damaged", err);
		return code < 0 ? code : -EAGAIN;
	}
	return code;
}

/* Without the lock. 0: done or goes on; the result is decided under the lock below. */
static int look_up(struct memo_runner *r, struct call *c, struct memo_result **res, json_t **observed,
		   struct memo_err *err)
{
	json_decref(c->plan_key); /* of a look-up before an execution that it joined */
	json_decref(c->plan_upstream);
	c->plan_key = NULL;
	c->plan_upstream = NULL;
	int code = memo_plan_identify(r->store, &c->plan, &c->plan_key, &c->identity, &c->plan_upstream, err);
	if (code == 0) {
		code = memo_plan_raw(&c->plan, c->plan_key, &c->raw, err);
		c->has_raw = code == 0;
		code = code == -ENOENT ? 0 : code;
	}
	if (code == -ENOENT || code == -EBADMSG)
		code = upstream_gone(r, c, code, err);
	if (code < 0)
		return code;
	bool verify = false;
	bool force = run_decides(r, c, res, &verify);
	still_there(r, res);
	if (*res != NULL) {
		code = verify ? look_at(r, c, res, true, err) : 0;
		if (code == 0) {
			note_hit(r, c, *res);
			c->known = true;
		}
		return code == -ENOENT ? 0 : code;
	}
	if (!c->task->cache || force)
		return 0;
	code = memo_store_lookup(r->store, &c->identity, res, err);
	if (code == -ENOENT && c->has_raw) {
		struct memo_instance i = instance(c, &c->identity);
		code = memo_store_take_over(r->store, &i, res, err);
	}
	if (code == 0)
		code = look_at(r, c, res, verify, err);
	/* nothing of a collected one is reused but its hash: there is nothing to verify */
	if (code == -ENOENT && (c->flags & CALL_HASH_ONLY) != 0)
		code = memo_store_lookup_known(r->store, &c->identity, res, err);
	if (code == -ENOENT)
		return 0;
	if (code < 0)
		return code;
	if ((*res)->observed) {
		MEMO_AUTO_JSON json_t *record = NULL;
		code = memo_store_record(r->store, &c->identity, &record, err);
		if (code == 0)
			*observed = json_incref(json_object_get(record, "observed"));
	} else {
		note_hit(r, c, *res);
	}
	return code;
}

void memo_call_identify(struct memo_runner *r, void *arg)
{
	struct call *c = arg;
	struct memo_err err = { 0 };
	struct memo_result *res = NULL;
	json_t *observed = NULL;
	int code = look_up(r, c, &res, &observed, &err);
	memo_mutex_lock(&r->mu);
	if (c->phase == CALL_IDENTITY && !c->failing) {
		c->identified = c->plan_key != NULL;
		if (r->closing) {
			memo_call_fail(r, c, -ESHUTDOWN, NULL);
		} else if (code == -EAGAIN) {
			memo_call_restart(r, c);
		} else if (code < 0) {
			memo_call_fail(r, c, code, &err);
		} else if (res == NULL) {
			memo_call_miss(r, c);
		} else if (observed == NULL) {
			if (!c->known && !res->collected)
				memo_stats_hit(r, c->task->name, res);
			memo_call_done(r, c, 0, res, NULL);
		} else {
			c->phase = CALL_OBSERVED;
			c->candidate = memo_result_ref(res);
			json_decref(c->observed);
			c->observed = json_incref(observed);
			c->observed_at = 0;
			memo_call_push(r, c, memo_call_check);
		}
	}
	memo_call_unref(r, c);
	memo_mutex_unlock(&r->mu);
	json_decref(observed);
	memo_result_unref(res);
}

/* One entry after the other, as they were read: when one has changed, the later ones may not be asked for at all. They were
 * read by the task itself, so they are asked for with the rights that it had, not with those of whoever wants its result. */
void memo_call_check(struct memo_runner *r, void *arg)
{
	struct call *c = arg;
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	const json_t *entry;
	int code = 0;
	while ((entry = json_array_get(c->observed, c->observed_at)) != NULL) {
		code = memo_peek_observed(r, entry);
		if (code < 0)
			break;
		c->observed_at++;
	}
	bool link = entry != NULL && json_object_get(entry, "link") != NULL;
	bool ask = entry != NULL && !link && (c->flags & MEMO_DEMAND_PEEK) == 0;
	if (ask)
		code = memo_plan_resolve(r->store, memo_json_string(entry, "path", ""), &t, &inputs, &inner, NULL);
	if (ask && code == 0)
		code = memo_path_name(t, inputs, &name, NULL);
	if (entry == NULL)
		note_hit(r, c, c->candidate);
	memo_mutex_lock(&r->mu);
	if (c->phase == CALL_OBSERVED && !c->failing) {
		struct call *child = NULL;
		if (r->closing) {
			memo_call_fail(r, c, -ESHUTDOWN, NULL);
		} else if (entry == NULL) {
			if (!c->candidate->collected)
				memo_stats_hit(r, c->task->name, c->candidate);
			memo_call_done(r, c, 0, c->candidate, NULL);
		} else if (!ask || code < 0 ||
			   memo_call_get(r, t, inputs, name.data, CALL_HASH_ONLY, c->depth + 1,
					 (struct asking){ .allowed = c->allowed }, c->run, &child, NULL) < 0) {
			memo_call_miss(r, c);
		} else if (memo_call_edge(r, &c->observed_edge, c, child) < 0) {
			memo_call_fail(r, c, -EDEADLK, NULL);
		}
	}
	memo_call_unref(r, c);
	memo_mutex_unlock(&r->mu);
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
}
