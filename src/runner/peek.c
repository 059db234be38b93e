/* Peek: what is known now. The same steps as a call (plan, digests, identity, look-up), but nothing is hashed, waited for or
 * started, and no lock of the runner is taken. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Instances that one peek looks at. An instance that many need is looked at as often: beyond this, calls are better, which
 * share it. */
#define MAX_VISITS 20000

struct peek {
	struct memo_runner *r;
	const struct memo_who *who;
	unsigned flags;
	unsigned visits;
};

/* What is upstream, or was read, is asked for its output hash alone: that of a collected result will do. */
enum peek_for { FOR_BYTES, FOR_HASH };

static int peek(struct peek *k, struct memo_task *t, const json_t *inputs, unsigned depth, enum peek_for what,
		struct memo_result **out);

static int peek_upstream(struct peek *k, struct memo_plan *p, unsigned depth)
{
	for (size_t i = 0; i < p->ups; i++) {
		int code = peek(k, p->up[i].task, p->up[i].inputs, depth + 1,
				p->up[i].inner != NULL ? FOR_BYTES : FOR_HASH, &p->up[i].result);
		if (code < 0)
			return code;
	}
	return 0;
}

static int peek_observed(struct peek *k, const json_t *entry, unsigned depth)
{
	const char *path = memo_json_string(entry, "path", "");
	const char *link = memo_json_string(entry, "link", NULL);
	if (link != NULL) {
		char name[MEMO_NAME_MAX + 1];
		char latest[MEMO_NAME_MAX + 1];
		if (sscanf(path, "/tasks/%64[^/]/latest", name) != 1 ||
		    memo_store_latest(k->r->store, name, latest) < 0)
			return -ENOENT;
		return strcmp(latest, link) == 0 ? 0 : -ENOENT;
	}
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	int code = memo_plan_resolve(k->r->store, path, &t, &inputs, &inner, NULL);
	if (code < 0)
		return -ENOENT;
	struct memo_result *res = NULL;
	struct peek own = *k; /* the task read it, with the rights that tasks have */
	own.who = NULL;
	code = peek(&own, t, inputs, depth + 1, FOR_HASH, &res);
	k->visits = own.visits;
	if (code == 0) {
		char hex[MEMO_HEX_SIZE];
		if (strcmp(memo_id_hex(&res->hash, hex), memo_json_string(entry, "hash", "")) != 0)
			code = -ENOENT;
		memo_result_unref(res);
	}
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
	return code;
}

static int check_observed(struct peek *k, const struct memo_result *res, unsigned depth)
{
	if (!res->observed)
		return 0;
	MEMO_AUTO_JSON json_t *record = NULL;
	int code = memo_store_record(k->r->store, &res->identity, &record, NULL);
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(record, "observed"), i, e)
	{
		code = peek_observed(k, e, depth);
		if (code < 0)
			break;
	}
	return code;
}

static int peek(struct peek *k, struct memo_task *t, const json_t *inputs, unsigned depth, enum peek_for what,
		struct memo_result **out)
{
	struct memo_store *store = k->r->store;
	if (!t->cache || depth > MEMO_RUNNER_DEPTH)
		return -ENOENT;
	if (++k->visits > MAX_VISITS)
		return -EAGAIN;
	struct memo_plan plan;
	int code = memo_plan_make(store, t, inputs, &plan, NULL);
	if (code < 0)
		return code == -ENOMEM ? code : -ENOENT; /* a demand will say what is wrong */
	if ((k->flags & MEMO_PEEK_NO_FILES) != 0 && memo_plan_has_inputs(&plan))
		code = -EAGAIN;
	if (code == 0)
		code = memo_plan_known(store, &plan, k->who);
	if (code < 0)
		code = code == -ENOMEM || code == -EAGAIN || code == -EACCES ? code : -ENOENT;
	if (code == 0)
		code = peek_upstream(k, &plan, depth);
	json_t *key = NULL;
	struct memo_id id;
	if (code == 0)
		code = memo_plan_identify(store, &plan, &key, &id, NULL, NULL);
	json_decref(key);
	memo_plan_clear(&plan);
	if (code < 0)
		return code;
	struct memo_result *res = NULL;
	code = what == FOR_HASH ? memo_store_lookup_known(store, &id, &res, NULL)
				: memo_store_lookup(store, &id, &res, NULL);
	if (code == 0)
		code = check_observed(k, res, depth);
	if (code < 0) {
		memo_result_unref(res);
		return code;
	}
	*out = res;
	return 0;
}

int memo_peek_observed(struct memo_runner *r, const json_t *entry)
{
	struct peek k = { .r = r };
	return peek_observed(&k, entry, 0);
}

int memo_runner_peek(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const struct memo_who *who,
		     unsigned flags, struct memo_result **out)
{
	struct peek k = { .r = r, .who = who, .flags = flags };
	return peek(&k, t, inputs, 0, FOR_BYTES, out);
}

int memo_peek_known(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const struct memo_who *who,
		    struct memo_result **out)
{
	struct peek k = { .r = r, .who = who };
	return peek(&k, t, inputs, 0, FOR_HASH, out);
}

bool memo_result_at_hand(struct memo_runner *r, const struct memo_result *res)
{
	MEMO_AUTO_FREE char *path = NULL;
	/* an External result goes away by itself, and is looked at elsewhere */
	if (res->kind == MEMO_RESULT_EXTERNAL || memo_store_result_path(r->store, res, &path) < 0)
		return true;
	return access(path, F_OK) == 0 || errno != ENOENT;
}
