/* Aliases: a result is stored under its identity, in which comments of the code may not count, and is found under its
 * raw identity (identity.h), in which every byte of the code counts, as well.
 *
 *	meta: "alias" NUL raw identity -> identity
 *
 * The identity comes first, always. The raw one is for the day when the rules of a language have changed (lex.h): then
 * the same bytes have another identity, under which nothing is known, and the raw one leads to what they produced. It is
 * written by publication alone, that is with the bytes that were executed, and the record says which it is: so neither
 * a hit on code with other comments, nor a later execution, ever ties bytes to a result that they did not produce; and a
 * rule that was wrong takes its entries with it. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define ALIAS "alias"
#define ALIAS_LEN sizeof ALIAS /* with the NUL, which separates */
#define ALIAS_KEY (ALIAS_LEN + MEMO_ID_BYTES)

static void alias_key(const struct memo_id *raw, char key[ALIAS_KEY])
{
	memcpy(key, ALIAS, ALIAS_LEN);
	memcpy(key + ALIAS_LEN, raw->byte, MEMO_ID_BYTES);
}

void memo_alias_batch(const struct memo_id *raw, const struct memo_id *identity, struct memo_batch *b)
{
	char key[ALIAS_KEY];
	alias_key(raw, key);
	memo_batch_put(b, MEMO_META, key, sizeof key, identity->byte, sizeof identity->byte);
}

int memo_alias_record(json_t *record, const struct memo_instance *i, struct memo_batch *b)
{
	char hex[MEMO_HEX_SIZE];
	if (i->raw == NULL || memo_id_equal(i->raw, &i->identity))
		return memo_json_set(record, "raw", json_null());
	memo_alias_batch(i->raw, &i->identity, b);
	return memo_json_set(record, "raw", json_string(memo_id_hex(i->raw, hex)));
}

/* The identity that the raw one leads to: its alias, else itself. -ENOENT: none but the instance's own. */
static int follow(struct memo_store *s, const struct memo_instance *i, struct memo_id *out, bool *alias,
		  struct memo_err *err)
{
	char key[ALIAS_KEY];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	alias_key(i->raw, key);
	int r = memo_manifest_get(s->manifest, MEMO_META, key, sizeof key, &b, err);
	if (r < 0 && r != -ENOENT)
		return r;
	*alias = r == 0 && b.len == MEMO_ID_BYTES;
	if (*alias)
		memcpy(out->byte, b.data, MEMO_ID_BYTES);
	else
		*out = *i->raw;
	return memo_id_equal(out, &i->identity) ? -ENOENT : 0;
}

/* Its record and result, when it is a success that these very bytes produced and that is still there. */
static int find(struct memo_store *s, const struct memo_instance *i, json_t **record, struct memo_result **out,
		struct memo_err *err)
{
	struct memo_id from;
	bool alias;
	char hex[MEMO_HEX_SIZE];
	int r = follow(s, i, &from, &alias, err);
	if (r == 0)
		r = memo_record_load(s, &from, record, err);
	if (r < 0)
		return r;
	if (memo_record_state(*record) != MEMO_SUCCESS ||
	    (alias && strcmp(memo_json_string(*record, "raw", ""), memo_id_hex(i->raw, hex)) != 0))
		return -ENOENT;
	r = memo_result_from_json(json_object_get(*record, "result"), &from, out);
	if (r < 0)
		return r == -EBADMSG ? -ENOENT : r;
	return memo_store_result_present(s, *out);
}

static int commit(struct memo_store *s, const struct memo_instance *i, const json_t *from, struct memo_result *res,
		  const char *reason, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, &i->identity, &record, err);
	if (r < 0)
		return r;
	if (memo_record_state(record) != MEMO_PENDING)
		return -ENOENT; /* somebody executes it by now */
	res->identity = i->identity;
	res->ino = 0;
	res->inner = 0;
	r = memo_store_ino(s, 1, &res->ino);
	if (r == 0 && res->kind == MEMO_RESULT_DIRECTORY)
		r = memo_store_ino(s, 3 * res->entries, &res->inner);
	if (r < 0)
		return r;
	struct memo_publication p = {
		.instance = i,
		.origin = json_object_get(from, "origin"),
		.observed = json_object_get(from, "observed"),
		.transition = { .to = MEMO_SUCCESS, .reason = reason, .exit_code = -1 },
	};
	return memo_publish_record(s, &p, record, res, err);
}

int memo_store_take_over(struct memo_store *s, const struct memo_instance *i, struct memo_result **out,
			 struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *from = NULL;
	MEMO_AUTO_JSON json_t *own = NULL;
	struct memo_result *res = NULL;
	if (i->raw == NULL)
		return -ENOENT;
	/* What has a record was demanded before: if its result is gone, then for a reason. */
	int r = memo_record_load(s, &i->identity, &own, err);
	if (r != -ENOENT)
		return r < 0 ? r : -ENOENT;
	r = find(s, i, &from, &res, err);
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf reason = { 0 };
	if (r == 0)
		r = memo_buf_printf(&reason, "taken over from %.12s: the same code under another fingerprint",
				    memo_id_hex(&res->identity, hex));
	struct memo_transition t = { .to = MEMO_PENDING, .reason = reason.data, .exit_code = -1 };
	if (r == 0)
		r = memo_store_transition(s, i, &t, err);
	if (r == 0) {
		struct memo_mutex *by_hash = memo_object_lock(s, &res->hash);
		struct memo_mutex *by_identity = memo_identity_lock(s, &i->identity);
		struct memo_mutex *by_name = memo_name_lock(s, i->task, i->version, i->name);
		memo_mutex_lock(by_hash);
		memo_mutex_lock(by_identity);
		memo_mutex_lock(by_name);
		/* it may have been collected since it was found */
		r = memo_store_result_present(s, res);
		if (r == 0)
			r = commit(s, i, from, res, reason.data, err);
		memo_mutex_unlock(by_name);
		memo_mutex_unlock(by_identity);
		memo_mutex_unlock(by_hash);
	}
	if (r < 0) {
		memo_result_unref(res);
		return r;
	}
	*out = res;
	return 0;
}
