/* Earlier: what an instance can be compared with: identities that names of its task meant, and the code that a fingerprint was
 * made of. Only reads, and bounded, but for the row that a registration leaves. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define CODE "code"
#define CODE_DIGITS 16

/* ---- instances ------------------------------------------------------------------------------------------ */

struct seen {
	struct memo_id id;
	int64_t time;
};

struct earlier {
	struct seen *seen;
	size_t count;
	size_t room;
	size_t rows; /* of this scan */
	bool near; /* the name itself: before all others, whatever their age */
};

static int add(struct earlier *e, const char *hex, int64_t time)
{
	struct memo_id id;
	if (hex == NULL || memo_id_parse(hex, &id) < 0)
		return 0;
	if (e->count == e->room) {
		size_t room = e->room > 0 ? e->room * 2 : 256;
		struct seen *grown = realloc(e->seen, room * sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		e->seen = grown;
		e->room = room;
	}
	e->seen[e->count++] = (struct seen){ id, time };
	return 0;
}

static int take_row(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	(void)len;
	struct earlier *e = arg;
	MEMO_AUTO_JSON json_t *row = NULL;
	if (memo_json_parse(value, value_len, &row, NULL) < 0)
		return -EIO;
	int64_t time = memo_json_int(row, "time", 0);
	if (e->near)
		time += INT64_MAX / 2;
	int r = add(e, memo_json_string(row, "identity", NULL), time);
	const json_t *before = json_object_get(row, "before");
	for (size_t i = 0; r == 0 && e->near && i < json_array_size(before); i++)
		r = add(e, json_string_value(json_array_get(before, i)), time - 1 - (int64_t)i);
	return r < 0 ? r : ++e->rows >= MEMO_EARLIER_NAMES;
}

/* The name under one version. */
static int look_name(struct memo_store *s, struct earlier *e, const char *task, const char *version,
		     const char *name, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_BUF struct memo_buf row = { 0 };
	int r = memo_key(&k, task, version, name);
	if (r == 0)
		r = memo_manifest_get(s->manifest, MEMO_NAMES, k.data, k.len, &row, err);
	if (r == 0)
		r = take_row(e, k.data, k.len, row.data, row.len);
	return r == -ENOENT || r > 0 ? 0 : r;
}

static int look_versions(struct memo_store *s, struct earlier *e, const char *task, const char *version,
			 const char *name, struct memo_err *err)
{
	struct memo_task **all;
	size_t count;
	e->near = true;
	int r = look_name(s, e, task, version, name, err);
	if (r < 0)
		return r;
	r = memo_store_tasks(s, &all, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count && r == 0; i++) {
		if (strcmp(all[i]->name, task) == 0 && strcmp(all[i]->version, version) != 0)
			r = look_name(s, e, task, all[i]->version, name, err);
	}
	memo_store_tasks_free(all, count);
	e->near = false;
	return r;
}

static int look_around(struct memo_store *s, struct earlier *e, const char *task, const char *version,
		       const char *name, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf prefix = { 0 };
	MEMO_AUTO_BUF struct memo_buf from = { 0 };
	int r = memo_key(&prefix, task, "", NULL);
	if (r == 0)
		r = memo_key(&from, task, version, name);
	if (r < 0)
		return r;
	e->rows = 0;
	r = memo_manifest_scan(s->manifest, MEMO_NAMES, prefix.data, prefix.len, from.data, from.len, take_row, e,
			       err);
	e->rows = 0;
	if (r >= 0)
		r = memo_manifest_scan(s->manifest, MEMO_NAMES, prefix.data, prefix.len, NULL, 0, take_row, e, err);
	return r > 0 ? 0 : r;
}

static int newest_first(const void *a, const void *b)
{
	const struct seen *x = a;
	const struct seen *y = b;
	return x->time < y->time ? 1 : x->time > y->time ? -1 : memcmp(&x->id, &y->id, sizeof x->id);
}

/* Each once. The list is short enough for a look at all that came before. */
static int list_them(struct earlier *e, size_t limit, json_t **out)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	MEMO_AUTO_JSON json_t *have = json_object();
	if (list == NULL || have == NULL)
		return -ENOMEM;
	if (e->count > 0)
		qsort(e->seen, e->count, sizeof *e->seen, newest_first);
	for (size_t i = 0; i < e->count && json_array_size(list) < limit; i++) {
		char hex[MEMO_HEX_SIZE];
		(void)memo_id_hex(&e->seen[i].id, hex);
		if (json_object_get(have, hex) != NULL)
			continue;
		int r = memo_json_set(have, hex, json_true());
		if (r == 0)
			r = memo_json_push(list, json_string(hex));
		if (r < 0)
			return r;
	}
	*out = memo_json_steal(&list);
	return 0;
}

int memo_store_earlier(struct memo_store *s, const char *task, const char *version, const char *name, size_t limit,
		       json_t **out, struct memo_err *err)
{
	struct earlier e = { 0 };
	int r = look_versions(s, &e, task, version, name, err);
	if (r == 0)
		r = look_around(s, &e, task, version, name, err);
	if (r == 0)
		r = list_them(&e, limit, out);
	free(e.seen);
	return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
}

/* ---- code ------------------------------------------------------------------------------------------------ */

int memo_code_row(struct memo_batch *b, const struct memo_task *t, const json_t *code, const json_t *tools)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	const json_t *command = json_object_get(t->definition, "command");
	MEMO_AUTO_JSON json_t *row = json_pack("{s:O, s:O, s:O, s:O?, s:O?, s:s?}", "code", code, "tools", tools,
					       "env", t->env, "command", command, "output",
					       json_object_get(t->definition, "output"), "script", t->script);
	int r = memo_key(&k, CODE, memo_id_hex(&t->fingerprint, hex), NULL);
	if (r < 0 || row == NULL)
		return -ENOMEM;
	memo_batch_put_json(b, MEMO_META, k.data, k.len, row);
	return 0;
}

static int take_code(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	(void)len;
	return memo_json_parse(value, value_len, (json_t **)arg, NULL) < 0 ? -EIO : 1;
}

int memo_store_code_of(struct memo_store *s, const char *hex, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	json_t *row = NULL;
	if (strlen(hex) < CODE_DIGITS)
		return memo_fail(err, -ENOENT, "'%s' is no code fingerprint", hex);
	int r = memo_key(&k, CODE, hex, NULL);
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", s->dir);
	r = memo_manifest_scan(s->manifest, MEMO_META, k.data, k.len, NULL, 0, take_code, &row, err);
	if (r < 0)
		return err != NULL && err->code == r ? r
						     : memo_fail(err, r, "code %.12s: its record is damaged", hex);
	if (row == NULL)
		return memo_fail(err, -ENOENT, "code %.12s: what it was made of is not known", hex);
	*out = row;
	return 0;
}
