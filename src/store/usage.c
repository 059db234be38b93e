/* Usage: how much the results take, results in the order of their hashes, notes, and the runner's counters.
 *
 * Beside the row of an object there is a small one for each result that refers to it: output hash, identity -> bytes, task. They
 * lie in the order of the hashes, so that one pass tells what is stored once and what is shared, without a table in memory. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define COUNTERS "counters"
#define KEY_BYTES ((size_t)2 * MEMO_ID_BYTES)
#define SIZE_BYTES 8

int memo_result_refer(struct memo_batch *b, const struct memo_id *identity, const json_t *result, const char *task,
		      bool refers)
{
	struct memo_id hash;
	unsigned char key[KEY_BYTES];
	if (memo_id_parse(memo_json_string(result, "hash", ""), &hash) < 0)
		return 0; /* there was none */
	memcpy(key, hash.byte, MEMO_ID_BYTES);
	memcpy(key + MEMO_ID_BYTES, identity->byte, MEMO_ID_BYTES);
	if (!refers) {
		memo_batch_delete(b, MEMO_OBJECTS, key, sizeof key);
		return memo_buf_error(&b->ops);
	}
	/* what lies outside takes no room here */
	bool external = strcmp(memo_json_string(result, "kind", ""), "external") == 0;
	uint64_t size = external ? 0 : (uint64_t)memo_json_int(result, "size", 0);
	MEMO_AUTO_BUF struct memo_buf value = { 0 };
	for (int i = 0; i < SIZE_BYTES; i++)
		(void)memo_buf_putc(&value, (char)(unsigned char)(size >> (56 - 8 * i)));
	(void)memo_buf_puts(&value, task);
	int r = memo_buf_error(&value);
	if (r == 0)
		memo_batch_put(b, MEMO_OBJECTS, key, sizeof key, value.data, value.len);
	return r < 0 ? r : memo_buf_error(&b->ops);
}

struct usage {
	json_t *tasks;
	unsigned char hash[MEMO_ID_BYTES];
	bool any; /* @hash holds */
	uint64_t bytes;
};

static json_t *task_row(json_t *tasks, const char *task, size_t len)
{
	char name[MEMO_NAME_MAX + 1];
	if (len >= sizeof name)
		len = sizeof name - 1;
	memcpy(name, task, len);
	name[len] = '\0';
	json_t *row = json_object_get(tasks, name);
	if (row != NULL)
		return row;
	row = json_pack("{s:i, s:i, s:i}", "results", 0, "bytes", 0, "shared", 0);
	return memo_json_set(tasks, name, row) < 0 ? NULL : row;
}

static void grow(json_t *row, const char *key, uint64_t by)
{
	json_t *j = json_object_get(row, key);
	(void)json_integer_set(j, json_integer_value(j) + (json_int_t)by);
}

static int take_reference(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct usage *u = arg;
	if (len != KEY_BYTES || value_len < SIZE_BYTES)
		return 0;
	const unsigned char *bytes = value;
	uint64_t size = 0;
	for (int i = 0; i < SIZE_BYTES; i++)
		size = size << 8 | bytes[i];
	json_t *row = task_row(u->tasks, (const char *)value + SIZE_BYTES, value_len - SIZE_BYTES);
	if (row == NULL)
		return -ENOMEM;
	bool shared = u->any && memcmp(u->hash, key, sizeof u->hash) == 0;
	memcpy(u->hash, key, sizeof u->hash);
	u->any = true;
	grow(row, "results", 1);
	grow(row, shared ? "shared" : "bytes", size);
	return 0;
}

int memo_store_usage(struct memo_store *s, json_t **out, struct memo_err *err)
{
	struct usage u = { .tasks = json_object() };
	int r = u.tasks == NULL
			? -ENOMEM
			: memo_manifest_scan(s->manifest, MEMO_OBJECTS, NULL, 0, NULL, 0, take_reference, &u, err);
	if (r < 0) {
		json_decref(u.tasks);
		return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
	}
	*out = u.tasks;
	return 0;
}

static int take_bytes(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct usage *u = arg;
	if (len != KEY_BYTES || value_len < SIZE_BYTES)
		return 0;
	const unsigned char *bytes = value;
	uint64_t size = 0;
	for (int i = 0; i < SIZE_BYTES; i++)
		size = size << 8 | bytes[i];
	if (!u->any || memcmp(u->hash, key, sizeof u->hash) != 0)
		u->bytes += size;
	memcpy(u->hash, key, sizeof u->hash);
	u->any = true;
	return 0;
}

int memo_store_bytes(struct memo_store *s, uint64_t *out, struct memo_err *err)
{
	struct usage u = { 0 };
	int r = memo_manifest_scan(s->manifest, MEMO_OBJECTS, NULL, 0, NULL, 0, take_bytes, &u, err);
	if (r == 0)
		*out = u.bytes;
	return r;
}

struct next {
	struct memo_position *at;
	unsigned char key[KEY_BYTES]; /* of the last one */
};

static int take_next(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	struct next *n = arg;
	if (len != KEY_BYTES || memcmp(key, n->key, len) <= 0)
		return 0;
	memcpy(n->at->hash.byte, key, MEMO_ID_BYTES);
	memcpy(n->at->identity.byte, (const char *)key + MEMO_ID_BYTES, MEMO_ID_BYTES);
	return 1;
}

int memo_store_next_result(struct memo_store *s, struct memo_position *at, struct memo_err *err)
{
	struct next n = { .at = at };
	memcpy(n.key, at->hash.byte, MEMO_ID_BYTES);
	memcpy(n.key + MEMO_ID_BYTES, at->identity.byte, MEMO_ID_BYTES);
	int r = memo_manifest_scan(s->manifest, MEMO_OBJECTS, NULL, 0, n.key, sizeof n.key, take_next, &n, err);
	return r < 0 ? r : r > 0 ? 0 : -ENOENT;
}

/* ---- notes ----------------------------------------------------------------------------------------------- */

#define NOTE "note"

int memo_store_note_get(struct memo_store *s, const char *key, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	int r = memo_key(&k, NOTE, key, NULL);
	return r < 0 ? r : memo_manifest_get_json(s->manifest, MEMO_META, k.data, k.len, out, err);
}

int memo_store_note_put(struct memo_store *s, const char *key, const json_t *note, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	int r = memo_key(&k, NOTE, key, NULL);
	if (r < 0)
		return r;
	if (note != NULL)
		memo_batch_put_json(&b, MEMO_META, k.data, k.len, note);
	else
		memo_batch_delete(&b, MEMO_META, k.data, k.len);
	return memo_manifest_write(s->manifest, &b, false, err);
}

/* ---- counters -------------------------------------------------------------------------------------------- */

int memo_store_counters_put(struct memo_store *s, const json_t *rows, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	const char *task;
	json_t *row;
	json_object_foreach((json_t *)(uintptr_t)rows, task, row)
	{
		memo_buf_reset(&k);
		if (memo_key(&k, COUNTERS, task, NULL) < 0)
			return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
		memo_batch_put_json(&b, MEMO_META, k.data, k.len, row);
	}
	return memo_manifest_write(s->manifest, &b, false, err);
}

static int take_counters(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	char task[MEMO_NAME_MAX + 1];
	json_t *row;
	size_t name = len - sizeof COUNTERS;
	if (name >= sizeof task || memo_json_parse(value, value_len, &row, NULL) < 0)
		return 0; /* counters may be lost */
	memcpy(task, (const char *)key + sizeof COUNTERS, name);
	task[name] = '\0';
	return memo_json_set(arg, task, row);
}

int memo_store_counters_get(struct memo_store *s, json_t **out, struct memo_err *err)
{
	json_t *rows = json_object();
	int r = rows == NULL ? -ENOMEM
			     : memo_manifest_scan(s->manifest, MEMO_META, COUNTERS, sizeof COUNTERS, NULL, 0,
						  take_counters, rows, err);
	if (r < 0) {
		json_decref(rows);
		return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
	}
	*out = rows;
	return 0;
}
