/* Results: their JSON, the look-up with its cache, and how one is lost or forgotten. */
#include "object.h"
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

struct memo_cached {
	struct memo_map_link link;
	struct memo_result *result;
	struct memo_cached *newer;
	struct memo_cached *older;
};

static const char *const kind_text[] = {
	[MEMO_RESULT_FILE] = "file",
	[MEMO_RESULT_DIRECTORY] = "directory",
	[MEMO_RESULT_EXTERNAL] = "external",
};

/* ---- the value -------------------------------------------------------------------------------------- */

struct memo_result *memo_result_new(void)
{
	struct memo_result *r = calloc(1, sizeof *r);
	if (r != NULL)
		r->refs = 1;
	return r;
}

struct memo_result *memo_result_ref(struct memo_result *r)
{
	if (r != NULL)
		(void)__atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

void memo_result_unref(struct memo_result *r)
{
	if (r == NULL || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(r->path);
	free(r);
}

json_t *memo_result_json(const struct memo_result *r)
{
	char hash[MEMO_HEX_SIZE];
	char blob[MEMO_HEX_SIZE];
	return json_pack("{s:s, s:s, s:s, s:I, s:b, s:I, s:s?, s:I, s:I, s:I, s:b, s:I}", "kind",
			 kind_text[r->kind], "hash", memo_id_hex(&r->hash, hash), "blob",
			 memo_id_hex(&r->blob, blob), "size", (json_int_t)r->size, "exec", r->exec ? 1 : 0,
			 "entries", (json_int_t)r->entries, "path", r->path, "mtime_ns", (json_int_t)r->mtime_ns,
			 "ino", (json_int_t)r->ino, "inner", (json_int_t)r->inner, "observed", r->observed ? 1 : 0,
			 "wall_ms", (json_int_t)r->wall_ms);
}

json_t *memo_result_row(const struct memo_result *r)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *j = memo_result_json(r);
	if (j == NULL || memo_json_set(j, "identity", json_string(memo_id_hex(&r->identity, hex))) < 0 ||
	    memo_json_set(j, "time", json_integer(r->mtime_ns)) < 0 ||
	    memo_json_set(j, "count", json_integer(1)) < 0)
		return NULL;
	return memo_json_steal(&j);
}

static bool whole(const json_t *j, const char *key, uint64_t *out)
{
	int64_t v = memo_json_int(j, key, -1);
	*out = v < 0 ? 0 : (uint64_t)v;
	return v >= 0;
}

static int fill(struct memo_result *r, const json_t *j)
{
	const char *kind = memo_json_string(j, "kind", "");
	size_t k = 0;
	while (k < sizeof kind_text / sizeof kind_text[0] && strcmp(kind, kind_text[k]) != 0)
		k++;
	if (k == sizeof kind_text / sizeof kind_text[0])
		return -EBADMSG;
	r->kind = (enum memo_result_kind)k;
	if (memo_id_parse(memo_json_string(j, "hash", ""), &r->hash) < 0 ||
	    memo_id_parse(memo_json_string(j, "blob", ""), &r->blob) < 0 || !whole(j, "size", &r->size) ||
	    !whole(j, "entries", &r->entries) || !whole(j, "ino", &r->ino) || !whole(j, "inner", &r->inner))
		return -EBADMSG;
	r->exec = memo_json_bool(j, "exec", false);
	r->observed = memo_json_bool(j, "observed", false);
	r->mtime_ns = memo_json_int(j, "mtime_ns", 0);
	(void)whole(j, "wall_ms", &r->wall_ms);
	const char *path = memo_json_string(j, "path", NULL);
	if ((r->kind == MEMO_RESULT_EXTERNAL) != (path != NULL))
		return -EBADMSG;
	if (path != NULL && (r->path = strdup(path)) == NULL)
		return -ENOMEM;
	return 0;
}

int memo_result_from_json(const json_t *j, const struct memo_id *identity, struct memo_result **out)
{
	struct memo_result *r = memo_result_new();
	if (r == NULL)
		return -ENOMEM;
	r->identity = *identity;
	int e = fill(r, j);
	if (e < 0) {
		memo_result_unref(r);
		return e;
	}
	*out = r;
	return 0;
}

/* ---- the cache -------------------------------------------------------------------------------------- */

static void unlink_locked(struct memo_results *c, struct memo_cached *e) MEMO_TSA(requires_capability(c->mu));
static void unlink_locked(struct memo_results *c, struct memo_cached *e)
{
	if (e->newer != NULL)
		e->newer->older = e->older;
	else
		c->first = e->older;
	if (e->older != NULL)
		e->older->newer = e->newer;
	else
		c->last = e->newer;
	e->newer = NULL;
	e->older = NULL;
}

static void push_locked(struct memo_results *c, struct memo_cached *e) MEMO_TSA(requires_capability(c->mu));
static void push_locked(struct memo_results *c, struct memo_cached *e)
{
	e->older = c->first;
	if (c->first != NULL)
		c->first->newer = e;
	else
		c->last = e;
	c->first = e;
}

static void drop_locked(struct memo_results *c, struct memo_cached *e) MEMO_TSA(requires_capability(c->mu));
static void drop_locked(struct memo_results *c, struct memo_cached *e)
{
	unlink_locked(c, e);
	memo_map_remove(&c->map, &e->link);
	memo_result_unref(e->result);
	free(e);
}

static struct memo_cached *get_locked(struct memo_results *c, const struct memo_id *id)
	MEMO_TSA(requires_capability(c->mu));
static struct memo_cached *get_locked(struct memo_results *c, const struct memo_id *id)
{
	struct memo_map_link *l = memo_map_get(&c->map, id->byte, sizeof id->byte);
	return l == NULL ? NULL : MEMO_CONTAINER(l, struct memo_cached, link);
}

/* Without memory it is simply not kept. */
static void keep_locked(struct memo_results *c, struct memo_result *r) MEMO_TSA(requires_capability(c->mu));
static void keep_locked(struct memo_results *c, struct memo_result *r)
{
	struct memo_cached *e = get_locked(c, &r->identity);
	if (e != NULL)
		drop_locked(c, e);
	if (c->map.count >= MEMO_STORE_RESULTS)
		drop_locked(c, c->last);
	e = calloc(1, sizeof *e);
	if (e == NULL)
		return;
	if (memo_map_put(&c->map, &e->link, r->identity.byte, sizeof r->identity.byte) < 0) {
		free(e);
		return;
	}
	e->result = memo_result_ref(r);
	push_locked(c, e);
}

static size_t stripe(const struct memo_id *id)
{
	return id->byte[0] % MEMO_STORE_STRIPES;
}

void memo_results_forget(struct memo_store *s, const struct memo_id *identity)
{
	struct memo_results *c = &s->results;
	memo_mutex_lock(&c->mu);
	c->era[stripe(identity)]++;
	struct memo_cached *e = get_locked(c, identity);
	if (e != NULL)
		drop_locked(c, e);
	memo_mutex_unlock(&c->mu);
}

void memo_results_keep(struct memo_store *s, struct memo_result *r)
{
	memo_mutex_lock(&s->results.mu);
	s->results.era[stripe(&r->identity)]++;
	keep_locked(&s->results, r);
	memo_mutex_unlock(&s->results.mu);
}

void memo_results_clear(struct memo_store *s)
{
	struct memo_results *c = &s->results;
	memo_mutex_lock(&c->mu);
	while (c->first != NULL)
		drop_locked(c, c->first);
	memo_map_clear(&c->map);
	memo_mutex_unlock(&c->mu);
}

/* ---- look-up ---------------------------------------------------------------------------------------- */

static int read_result(struct memo_store *s, const struct memo_id *identity, struct memo_result **out,
		       struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, identity, &record, err);
	if (r < 0)
		return r;
	if (memo_record_state(record) != MEMO_SUCCESS)
		return -ENOENT;
	r = memo_result_from_json(json_object_get(record, "result"), identity, out);
	char hex[MEMO_HEX_SIZE];
	if (r == -EBADMSG)
		return memo_fail(err, -EIO, "record of %s: its result makes no sense; run 'memofs fsck'",
				 memo_id_hex(identity, hex));
	return r;
}

int memo_store_lookup(struct memo_store *s, const struct memo_id *identity, struct memo_result **out,
		      struct memo_err *err)
{
	struct memo_results *c = &s->results;
	struct memo_result *found = NULL;
	memo_mutex_lock(&c->mu);
	uint64_t era = c->era[stripe(identity)];
	struct memo_cached *e = get_locked(c, identity);
	if (e != NULL) {
		unlink_locked(c, e);
		push_locked(c, e);
		found = memo_result_ref(e->result);
	}
	memo_mutex_unlock(&c->mu);
	if (found == NULL) {
		int r = read_result(s, identity, &found, err);
		if (r < 0)
			return r;
		/* What was read may be older than a change that came since: then it must not be kept. */
		memo_mutex_lock(&c->mu);
		if (c->era[stripe(identity)] == era)
			keep_locked(c, found);
		memo_mutex_unlock(&c->mu);
	}
	*out = found;
	return 0;
}

int memo_store_by_hash(struct memo_store *s, const struct memo_id *hash, struct memo_result **out,
		       struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = memo_manifest_get_json(s->manifest, MEMO_OBJECTS, hash->byte, sizeof hash->byte, &row, err);
	if (r < 0)
		return r;
	struct memo_id identity;
	r = memo_id_parse(memo_json_string(row, "identity", ""), &identity);
	if (r == 0)
		r = memo_result_from_json(row, &identity, out);
	char hex[MEMO_HEX_SIZE];
	if (r < 0)
		return memo_fail(err, r == -ENOMEM ? r : -EIO,
				 "object %s: its record makes no sense; run 'memofs fsck'", memo_id_hex(hash, hex));
	return 0;
}

struct next_hash {
	struct memo_id *id;
	bool begin;
};

static int take_hash(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	struct next_hash *n = arg;
	if (len != MEMO_ID_BYTES || (!n->begin && memcmp(key, n->id->byte, len) <= 0))
		return 0;
	memcpy(n->id->byte, key, len);
	return 1;
}

int memo_store_next_hash(struct memo_store *s, struct memo_id *id)
{
	static const struct memo_id zero;
	struct next_hash n = { .id = id, .begin = memo_id_equal(id, &zero) };
	struct memo_id from = *id;
	int r = memo_manifest_scan(s->manifest, MEMO_OBJECTS, NULL, 0, from.byte, sizeof from.byte, take_hash, &n,
				   NULL);
	return r < 0 ? r : r > 0 ? 0 : -ENOENT;
}

/* ---- losing and forgetting -------------------------------------------------------------------------- */

/* SUCCESS -> PENDING without a result. Call with the identity's lock. The receipt goes last: one that is left over is
 * older than the record and never believed against it. */
static int drop_result(struct memo_store *s, json_t *record, const struct memo_id *identity, const char *reason,
		       const struct memo_id *object, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	struct memo_transition t = { .to = MEMO_PENDING, .reason = reason, .exit_code = -1 };
	int r = memo_record_step(record, identity, &t, &b);
	if (r == 0)
		r = memo_result_refer(&b, identity, json_object_get(record, "result"), "", false);
	if (r == 0)
		r = memo_json_set(record, "result", json_null());
	if (r < 0)
		return memo_fail(err, r, "store '%s': a record cannot be changed: %s", s->dir, memo_strerror(r));
	memo_batch_put_json(&b, MEMO_INSTANCES, identity->byte, sizeof identity->byte, record);
	if (object != NULL)
		memo_batch_delete(&b, MEMO_OBJECTS, object->byte, sizeof object->byte);
	r = memo_manifest_write(s->manifest, &b, true, err);
	memo_results_forget(s, identity);
	if (r < 0)
		return r;
	r = memo_receipt_remove(s, identity);
	char hex[MEMO_HEX_SIZE];
	return r < 0 ? memo_fail(err, r, "receipt of %s: cannot be removed: %s", memo_id_hex(identity, hex),
				 memo_strerror(r))
		     : 0;
}

static int forget(struct memo_store *s, const struct memo_id *identity, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, identity, &record, err);
	if (r < 0)
		return r;
	bool served = memo_record_state(record) == MEMO_SUCCESS;
	bool known = json_is_object(json_object_get(record, "collected"));
	(void)json_object_del(record, "collected");
	(void)json_object_del(record, "pinned");
	if (served)
		return drop_result(s, record, identity, "it was forgotten", NULL, err);
	if (!known)
		return -ENOENT;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_put_json(&b, MEMO_INSTANCES, identity->byte, sizeof identity->byte, record);
	return memo_manifest_write(s->manifest, &b, true, err);
}

int memo_store_forget(struct memo_store *s, const struct memo_id *identity, struct memo_err *err)
{
	struct memo_mutex *mu = memo_identity_lock(s, identity);
	memo_mutex_lock(mu);
	int r = forget(s, identity, err);
	memo_mutex_unlock(mu);
	char hex[MEMO_HEX_SIZE];
	return r == -ENOENT ? memo_fail(err, r, "instance %s: has no result", memo_id_hex(identity, hex)) : r;
}

/* The record still says what @r says. */
static bool same(const json_t *record, const struct memo_result *r)
{
	const json_t *j = json_object_get(record, "result");
	struct memo_id hash;
	return memo_record_state(record) == MEMO_SUCCESS &&
	       memo_id_parse(memo_json_string(j, "hash", ""), &hash) == 0 && memo_id_equal(&hash, &r->hash) &&
	       memo_json_int(j, "mtime_ns", -1) == r->mtime_ns;
}

static int lose(struct memo_store *s, const struct memo_result *r, const char *reason, bool gone,
		struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int e = memo_record_load(s, &r->identity, &record, err);
	if (e < 0)
		return e == -ENOENT ? 0 : e;
	if (!same(record, r))
		return 0;
	return drop_result(s, record, &r->identity, reason, gone ? &r->hash : NULL, err);
}

/* With the object's lock: between the look and the quarantine nobody may put a whole one there. */
static int lost(struct memo_store *s, const struct memo_result *r, const char *reason, struct memo_err *err)
{
	/* Damage is in quarantine after this. What cannot be read is neither gone nor damaged. */
	bool gone = memo_store_result_present(s, r) == -ENOENT;
	struct memo_mutex *mu = memo_identity_lock(s, &r->identity);
	memo_mutex_lock(mu);
	int e = lose(s, r, reason, gone, err);
	memo_mutex_unlock(mu);
	return e;
}

int memo_store_result_lost(struct memo_store *s, const struct memo_result *r, const char *reason,
			   struct memo_err *err)
{
	struct memo_mutex *mu = memo_object_lock(s, &r->hash);
	memo_mutex_lock(mu);
	int e = lost(s, r, reason, err);
	memo_mutex_unlock(mu);
	return e;
}
