/* Names and handles of instances.
 *
 * A name's row says which identity was demanded last under it; the state is always read from that identity's record, so
 * that two names of one instance cannot disagree. Row: {"identity", "info", "time"} and, after a demand that failed before
 * its identity was known, "failed" and "inputs"; "before": identities that it meant earlier. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>

#define ROWS 128 /* names read at a time while listing */
#define BEFORE 8 /* identities that a name meant before */

static int name_key(struct memo_buf *k, const char *task, const char *version, const char *name)
{
	return strlen(name) > MEMO_COMPONENT_MAX ? -ENAMETOOLONG : memo_key(k, task, version, name);
}

struct memo_mutex *memo_name_lock(struct memo_store *s, const char *task, const char *version, const char *name)
{
	size_t h = 5381;
	const char *const part[] = { task, version, name };
	for (size_t i = 0; i < 3; i++) {
		for (const unsigned char *p = (const unsigned char *)part[i]; *p != '\0'; p++)
			h = h * 33 + *p;
	}
	return &s->name_mu[h % MEMO_STORE_STRIPES];
}

/* ---- handles ------------------------------------------------------------------------------------------- */

static int handle_key(struct memo_buf *k, const char *task, const char *version, const json_t *inputs,
		      struct memo_id *digest, struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	int r = memo_path_digest(inputs, digest, err);
	return r < 0 ? r : memo_key(k, task, version, memo_id_hex(digest, hex));
}

static void add_handle(const struct memo_buf *k, const json_t *inputs, struct memo_batch *b)
{
	memo_batch_put_json(b, MEMO_HANDLES, k->data, k->len, inputs);
}

int memo_store_handle_put(struct memo_store *s, const char *task, const char *version, const json_t *inputs,
			  struct memo_id *digest_out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_BUF struct memo_buf old = { 0 };
	struct memo_id digest;
	int r = handle_key(&k, task, version, inputs, &digest, err);
	if (r < 0)
		return r;
	r = memo_manifest_get(s->manifest, MEMO_HANDLES, k.data, k.len, &old, err);
	if (r == -ENOENT) {
		MEMO_AUTO_BATCH struct memo_batch b = { 0 };
		add_handle(&k, inputs, &b);
		r = memo_manifest_write(s->manifest, &b, false, err);
	}
	if (r == 0)
		*digest_out = digest;
	return r;
}

/* What begins with the given digits: at most two are of interest. */
struct find {
	struct memo_store *store;
	const char *hex;
	size_t len;
	size_t skip; /* bytes of a handle's key before the digits */
	size_t count;
	json_t *inputs; /* of the first handle */
	struct memo_id *id; /* candidates for an identity */
	size_t ids;
};

static int take_handle(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	struct find *f = arg;
	if (len != f->skip + MEMO_HEX_LEN)
		return 0;
	if (f->count++ > 0)
		return 1;
	return memo_json_parse(value, value_len, &f->inputs, NULL) < 0 ? -EIO : 0;
}

#define CANDIDATES 64

static int take_identity(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	struct find *f = arg;
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	if (len != sizeof id.byte)
		return 0;
	memcpy(id.byte, key, sizeof id.byte);
	if (strncmp(memo_id_hex(&id, hex), f->hex, f->len) != 0)
		return memcmp(hex, f->hex, f->len) > 0 ? 1 : 0;
	f->id[f->ids++] = id;
	return f->ids == CANDIDATES ? 1 : 0;
}

/* The smallest digest that begins with the digits. */
static int first_of(const char *hex, size_t len, struct memo_id *out)
{
	char full[MEMO_HEX_SIZE];
	if (len < MEMO_HANDLE_MIN || len > MEMO_HEX_LEN)
		return -EINVAL;
	memset(full, '0', MEMO_HEX_LEN);
	memcpy(full, hex, len);
	full[MEMO_HEX_LEN] = '\0';
	return memo_id_parse(full, out);
}

static int find_identity(struct memo_store *s, const char *task, const char *version, struct find *f,
			 json_t **inputs_out, struct memo_id *identity_out, size_t *count_out, struct memo_err *err)
{
	struct memo_id id[CANDIDATES];
	struct memo_id from;
	int r = first_of(f->hex, f->len, &from);
	if (r < 0)
		return memo_fail(err, -ENOENT, "'@%s': is not a handle; it takes 12 to 64 hex digits", f->hex);
	f->id = id;
	r = memo_manifest_scan(s->manifest, MEMO_INSTANCES, NULL, 0, from.byte, sizeof from.byte, take_identity, f,
			       err);
	for (size_t i = 0; i < f->ids && r >= 0; i++) {
		MEMO_AUTO_JSON json_t *record = NULL;
		r = memo_record_load(s, &id[i], &record, err);
		if (r < 0)
			continue;
		if (strcmp(memo_json_string(record, "task", ""), task) != 0 ||
		    strcmp(memo_json_string(record, "version", ""), version) != 0 || ++*count_out > 1)
			continue;
		*inputs_out = json_incref(json_object_get(record, "inputs"));
		*identity_out = id[i];
	}
	f->id = NULL;
	return r < 0 ? r : 0;
}

int memo_store_handle_find(struct memo_store *s, const char *task, const char *version, const char *hex,
			   json_t **inputs_out, bool *is_identity_out, struct memo_id *identity_out,
			   struct memo_err *err)
{
	struct find f = { .store = s, .hex = hex, .len = strlen(hex) };
	MEMO_AUTO_JSON json_t *by_identity = NULL;
	struct memo_id identity = { { 0 } };
	size_t identities = 0;
	int r = find_identity(s, task, version, &f, &by_identity, &identity, &identities, err);
	if (r < 0)
		return r;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	r = memo_key(&k, task, version, hex);
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", s->dir);
	f.skip = k.len - f.len;
	r = memo_manifest_scan(s->manifest, MEMO_HANDLES, k.data, k.len, NULL, 0, take_handle, &f, err);
	MEMO_AUTO_JSON json_t *by_digest = f.inputs;
	if (r < 0)
		return err != NULL && err->code == r ? r : memo_fail(err, r, "handle '@%s': cannot be read", hex);
	if (identities + f.count == 0)
		return memo_fail(err, -ENOENT, "'@%s': no instance of %s/%s has that identity or inputs digest",
				 hex, task, version);
	if (identities + f.count > 1)
		return memo_fail(err, -ENOTUNIQ,
				 "'@%s': more than one instance of %s/%s begins so; give more digits", hex, task,
				 version);
	*is_identity_out = identities == 1;
	*identity_out = identity;
	*inputs_out = memo_json_steal(identities == 1 ? &by_identity : &by_digest);
	return 0;
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

static int row_info(struct memo_store *s, const json_t *row, uint64_t *out, struct memo_err *err)
{
	int64_t old = memo_json_int(row, "info", 0);
	*out = (uint64_t)old;
	if (old > 0)
		return 0;
	int r = memo_store_ino(s, MEMO_INFO_INOS, out);
	return r < 0 ? memo_fail(err, r, "store '%s': node ids cannot be reserved", s->dir) : 0;
}

/* What the name meant before, the newest first: `why` compares with it. */
static int keep_before(const json_t *row, const char *now, json_t *next)
{
	const char *old = memo_json_string(row, "identity", NULL);
	const json_t *before = json_object_get(row, "before");
	if (old == NULL || next == NULL)
		return next == NULL ? -ENOMEM : 0;
	MEMO_AUTO_JSON json_t *list = json_array();
	int r = list == NULL ? -ENOMEM : strcmp(old, now) == 0 ? 0 : memo_json_push(list, json_string(old));
	for (size_t i = 0; r == 0 && i < json_array_size(before) && json_array_size(list) < BEFORE; i++) {
		const char *older = json_string_value(json_array_get(before, i));
		if (older != NULL && strcmp(older, now) != 0 && strcmp(older, old) != 0)
			r = memo_json_push(list, json_string(older));
	}
	return r < 0 || json_array_size(list) == 0 ? r : memo_json_set(next, "before", memo_json_steal(&list));
}

int memo_record_name(struct memo_store *s, const struct memo_instance *i, struct memo_batch *b, uint64_t *info_out,
		     struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = name_key(&k, i->task, i->version, i->name);
	if (r < 0)
		return memo_fail(err, r, "instance name '%.40s...': is too long", i->name);
	r = memo_manifest_get_json(s->manifest, MEMO_NAMES, k.data, k.len, &row, err);
	if (r < 0 && r != -ENOENT)
		return r;
	bool fresh = r == -ENOENT;
	r = row_info(s, row, info_out, err);
	if (r < 0)
		return r;
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(&i->identity, hex);
	if (!fresh && strcmp(memo_json_string(row, "identity", ""), hex) == 0 &&
	    json_object_get(row, "failed") == NULL)
		return 0;
	MEMO_AUTO_JSON json_t *next = json_pack("{s:s, s:I, s:I}", "identity", hex, "info", (json_int_t)*info_out,
						"time", (json_int_t)memo_wall_ns());
	r = keep_before(row, hex, next);
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", s->dir);
	memo_batch_put_json(b, MEMO_NAMES, k.data, k.len, next);
	if (fresh && i->inputs != NULL) {
		MEMO_AUTO_BUF struct memo_buf h = { 0 };
		struct memo_id digest;
		r = handle_key(&h, i->task, i->version, i->inputs, &digest, err);
		if (r < 0)
			return r;
		add_handle(&h, i->inputs, b);
	}
	return 0;
}

static int name_failed(struct memo_store *s, const char *task, const char *version, const char *name,
		       const json_t *inputs, const char *message, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = name_key(&k, task, version, name);
	if (r < 0)
		return memo_fail(err, r, "instance name '%.40s...': is too long", name);
	r = memo_manifest_get_json(s->manifest, MEMO_NAMES, k.data, k.len, &row, err);
	if (r == -ENOENT)
		r = (row = json_object()) == NULL ? -ENOMEM : 0;
	uint64_t info = 0;
	if (r == 0)
		r = row_info(s, row, &info, err);
	if (r < 0)
		return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	if (memo_json_set(row, "info", json_integer((json_int_t)info)) < 0 ||
	    memo_json_set(row, "failed", json_string(message)) < 0 ||
	    memo_json_set(row, "inputs", json_deep_copy(inputs)) < 0 ||
	    memo_json_set(row, "time", json_integer(memo_wall_ns())) < 0)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	memo_batch_put_json(&b, MEMO_NAMES, k.data, k.len, row);
	MEMO_AUTO_BUF struct memo_buf h = { 0 };
	struct memo_id digest;
	if (handle_key(&h, task, version, inputs, &digest, NULL) == 0)
		add_handle(&h, inputs, &b);
	return memo_manifest_write(s->manifest, &b, false, err);
}

int memo_store_name_failed(struct memo_store *s, const char *task, const char *version, const char *name,
			   const json_t *inputs, const char *message, struct memo_err *err)
{
	struct memo_mutex *mu = memo_name_lock(s, task, version, name);
	memo_mutex_lock(mu);
	int r = name_failed(s, task, version, name, inputs, message, err);
	memo_mutex_unlock(mu);
	return r;
}

/* The common case, a name that means this identity already, costs one read and writes nothing. */
int memo_store_name_hit(struct memo_store *s, const struct memo_instance *i, const struct memo_result *res,
			struct memo_err *err)
{
	struct memo_instance hit = *i;
	hit.identity = res->identity;
	struct memo_mutex *mu = memo_name_lock(s, i->task, i->version, i->name);
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	uint64_t info;
	memo_mutex_lock(mu);
	int r = memo_record_name(s, &hit, &b, &info, err);
	if (r == 0 && b.ops.len > 0)
		r = memo_manifest_write(s->manifest, &b, false, err);
	memo_mutex_unlock(mu);
	return r;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static int resolve(struct memo_store *s, const json_t *row, struct memo_named *out, struct memo_err *err)
{
	out->known = memo_id_parse(memo_json_string(row, "identity", ""), &out->identity) == 0;
	out->info = (uint64_t)memo_json_int(row, "info", 0);
	out->state = MEMO_PENDING;
	out->ino = 0;
	if (json_object_get(row, "failed") != NULL) {
		out->state = MEMO_FAILED;
		return 0;
	}
	if (!out->known)
		return 0;
	struct memo_result *res;
	int r = memo_store_lookup(s, &out->identity, &res, err);
	if (r == 0) {
		out->state = MEMO_SUCCESS;
		out->ino = res->ino;
		memo_result_unref(res);
		return 0;
	}
	if (r != -ENOENT)
		return r;
	MEMO_AUTO_JSON json_t *record = NULL;
	r = memo_record_load(s, &out->identity, &record, err);
	if (r < 0 && r != -ENOENT)
		return r;
	enum memo_state state = r == 0 ? memo_record_state(record) : MEMO_PENDING;
	out->state = state == MEMO_STATES ? MEMO_PENDING : state;
	if (state == MEMO_SUCCESS)
		out->ino = (uint64_t)memo_json_int(json_object_get(record, "result"), "ino", 0);
	return 0;
}

static int load_row(struct memo_store *s, const char *task, const char *version, const char *name, json_t **out,
		    struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	int r = name_key(&k, task, version, name);
	if (r == -ENAMETOOLONG)
		return -ENOENT;
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", s->dir);
	return memo_manifest_get_json(s->manifest, MEMO_NAMES, k.data, k.len, out, err);
}

int memo_store_named(struct memo_store *s, const char *task, const char *version, const char *name,
		     struct memo_named *out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = load_row(s, task, version, name, &row, err);
	if (r == -ENOENT)
		return memo_fail(err, r, "%s/%s/%s: was never demanded", task, version, name);
	if (r < 0)
		return r;
	struct memo_named n = { 0 };
	memcpy(n.name, name, strlen(name) + 1);
	r = resolve(s, row, &n, err);
	if (r == 0)
		*out = n;
	return r;
}

int memo_store_named_message(struct memo_store *s, const char *task, const char *version, const char *name,
			     char **out)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = load_row(s, task, version, name, &row, NULL);
	if (r < 0)
		return r;
	const char *message = memo_json_string(row, "failed", NULL);
	if (message == NULL)
		return -ENOENT;
	char *copy = strdup(message);
	if (copy == NULL)
		return -ENOMEM;
	*out = copy;
	return 0;
}

/* ---- listing ------------------------------------------------------------------------------------------- */

/* Rows are fetched some at a time, each time from after the last: no iterator of the database stays open, and the list
 * may be left lying for hours. */
struct memo_name_iter {
	struct memo_store *store;
	struct memo_buf prefix; /* task NUL version NUL */
	struct memo_buf after; /* the whole key that was fetched last; empty: none yet */
	json_t *row[ROWS];
	char name[ROWS][MEMO_COMPONENT_MAX + 1];
	size_t count;
	size_t next;
	bool end;
};

int memo_store_names(struct memo_store *s, const char *task, const char *version, struct memo_name_iter **out)
{
	struct memo_name_iter *it = calloc(1, sizeof *it);
	if (it == NULL)
		return -ENOMEM;
	it->store = s;
	if (memo_key(&it->prefix, task, version, "") < 0) {
		memo_name_iter_free(it);
		return -ENOMEM;
	}
	*out = it;
	return 0;
}

void memo_name_iter_free(struct memo_name_iter *it)
{
	if (it == NULL)
		return;
	for (size_t i = it->next; i < it->count; i++)
		json_decref(it->row[i]);
	memo_buf_clear(&it->prefix);
	memo_buf_clear(&it->after);
	free(it);
}

static int take_name(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct memo_name_iter *it = arg;
	size_t name_len = len - it->prefix.len;
	if (it->after.len == len && memcmp(it->after.data, key, len) == 0)
		return 0;
	if (name_len == 0 || name_len > MEMO_COMPONENT_MAX)
		return 0;
	if (memo_json_parse(value, value_len, &it->row[it->count], NULL) < 0)
		return -EIO;
	memcpy(it->name[it->count], (const char *)key + it->prefix.len, name_len);
	it->name[it->count++][name_len] = '\0';
	return it->count == ROWS ? 1 : 0;
}

static int fetch(struct memo_name_iter *it)
{
	it->count = 0;
	it->next = 0;
	bool begin = it->after.len == 0;
	const struct memo_buf *from = begin ? &it->prefix : &it->after;
	int r = memo_manifest_scan(it->store->manifest, MEMO_NAMES, it->prefix.data, it->prefix.len, from->data,
				   from->len, take_name, it, NULL);
	if (r < 0) {
		while (it->count > 0)
			json_decref(it->row[--it->count]);
		return r;
	}
	it->end = r == 0;
	if (it->count == 0)
		return 0;
	memo_buf_reset(&it->after);
	(void)memo_buf_append(&it->after, it->prefix.data, it->prefix.len);
	(void)memo_buf_puts(&it->after, it->name[it->count - 1]);
	return memo_buf_error(&it->after);
}

int memo_name_iter_next(struct memo_name_iter *it, struct memo_named *n)
{
	if (it->next == it->count) {
		int r = it->end ? -ENOENT : fetch(it);
		if (r < 0)
			return r;
		if (it->count == 0)
			return -ENOENT;
	}
	MEMO_AUTO_JSON json_t *row = it->row[it->next];
	struct memo_named v = { 0 };
	memcpy(v.name, it->name[it->next], sizeof it->name[0]);
	it->next++;
	int r = resolve(it->store, row, &v, NULL);
	if (r == 0)
		*n = v;
	return r;
}
