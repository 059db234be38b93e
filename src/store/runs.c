/* Runs and their rows: kept for the runner as it gives them, under keys that sort as they are listed. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

int memo_store_run_put(struct memo_store *s, const char *id, const json_t *run, bool sync, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_put_json(&b, MEMO_RUNS, id, strlen(id), run);
	return memo_manifest_write(s->manifest, &b, sync, err);
}

int memo_store_run_get(struct memo_store *s, const char *id, json_t **out, struct memo_err *err)
{
	int r = memo_manifest_get_json(s->manifest, MEMO_RUNS, id, strlen(id), out, err);
	return r == -ENOENT ? memo_fail(err, r, "there is no run '%.40s'; memofs runs lists them", id) : r;
}

static int take_id(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	return memo_json_push(arg, json_stringn(key, len));
}

int memo_store_run_ids(struct memo_store *s, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *ids = json_array();
	if (ids == NULL)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	int r = memo_manifest_scan(s->manifest, MEMO_RUNS, NULL, 0, NULL, 0, take_id, ids, err);
	if (r < 0)
		return r;
	*out = memo_json_steal(&ids);
	return 0;
}

int memo_store_run_rows_put(struct memo_store *s, const char *id, const json_t *rows, bool sync,
			    struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	const char *path;
	json_t *row;
	json_object_foreach((json_t *)rows, path, row)
	{
		memo_buf_reset(&k);
		int r = memo_key(&k, id, path, NULL);
		if (r < 0)
			return memo_fail(err, r, "store '%s': out of memory", s->dir);
		memo_batch_put_json(&b, MEMO_RUN_INSTANCES, k.data, k.len, row);
	}
	return memo_manifest_write(s->manifest, &b, sync, err);
}

struct take_rows {
	json_t *list;
	size_t limit;
	size_t prefix;
	const struct memo_buf *after; /* the key to leave out */
};

static int take_row(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct take_rows *t = arg;
	if (len == t->after->len && memcmp(key, t->after->data, len) == 0)
		return 0;
	json_t *row;
	if (memo_json_parse(value, value_len, &row, NULL) < 0)
		return -EIO;
	json_t *entry = json_pack("{s:o, s:o}", "path",
				  json_stringn((const char *)key + t->prefix, len - t->prefix), "row", row);
	int r = memo_json_push(t->list, entry);
	return r < 0 ? r : json_array_size(t->list) >= t->limit;
}

int memo_store_run_rows(struct memo_store *s, const char *id, const char *after, size_t limit, json_t **out,
			struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf prefix = { 0 };
	MEMO_AUTO_BUF struct memo_buf from = { 0 };
	MEMO_AUTO_JSON json_t *list = json_array();
	int r = memo_key(&prefix, id, "", NULL);
	if (r == 0)
		r = memo_key(&from, id, after != NULL ? after : "", NULL);
	if (r == 0 && list == NULL)
		r = -ENOMEM;
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", s->dir);
	struct take_rows t = { .list = list, .limit = limit, .prefix = prefix.len, .after = &from };
	r = memo_manifest_scan(s->manifest, MEMO_RUN_INSTANCES, prefix.data, prefix.len, from.data, from.len,
			       take_row, &t, err);
	if (r < 0)
		return r;
	*out = memo_json_steal(&list);
	return 0;
}
