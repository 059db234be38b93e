/* Attempt: what both records are made of, and the output hashes. Strings that are not UTF-8 (a path may be any bytes) are
 * written as {"hex": "..."}; device and inode numbers use all 64 bits, which JSON's integers here do not, and travel as
 * their signed twins. */
#include "attempt_record.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

static const char *const mode_text[] = {
	[MEMO_SANDBOX_OFF] = "off",
	[MEMO_SANDBOX_AUTO] = "auto",
	[MEMO_SANDBOX_ON] = "on",
};

const char *memo_sandbox_text(enum memo_sandbox_mode m)
{
	return (size_t)m < COUNT(mode_text) ? mode_text[m] : "unknown";
}

int memo_sandbox_parse(const char *text, enum memo_sandbox_mode *out)
{
	for (size_t i = 0; i < COUNT(mode_text); i++) {
		if (strcmp(text, mode_text[i]) == 0) {
			*out = (enum memo_sandbox_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

json_t *memo_record_bytes(const char *s)
{
	json_t *j = json_string(s);
	if (j != NULL)
		return j;
	MEMO_AUTO_BUF struct memo_buf hex = { 0 };
	for (const char *p = s; *p != '\0'; p++)
		(void)memo_buf_printf(&hex, "%02x", (unsigned char)*p);
	return memo_buf_error(&hex) < 0 ? NULL : json_pack("{s:s}", "hex", memo_buf_str(&hex));
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A string of the record, new memory; no byte of it is NUL. */
int memo_record_get_bytes(const json_t *j, const char *key, char **out, struct memo_err *err)
{
	const char *hex = memo_json_string(j, "hex", NULL);
	if (!json_is_string(j) && hex == NULL)
		return memo_fail(err, -EINVAL, "key '%s' must be a string", key);
	size_t len = hex != NULL ? strlen(hex) : 0;
	char *s = hex == NULL ? strdup(json_string_value(j)) : calloc(1, len / 2 + 1);
	if (s == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a record");
	for (size_t i = 0; i < len; i += 2) {
		int hi = hex_value(hex[i]), lo = hi < 0 ? -1 : hex_value(hex[i + 1]);
		if (lo < 0 || (hi == 0 && lo == 0)) {
			free(s);
			return memo_fail(err, -EINVAL, "key '%s' is not a text of hex digits", key);
		}
		s[i / 2] = (char)(hi << 4 | lo);
	}
	*out = s;
	return 0;
}

int memo_record_need_bytes(const json_t *o, const char *key, char **out, struct memo_err *err)
{
	const json_t *j = json_object_get(o, key);
	return j == NULL ? memo_fail(err, -EINVAL, "key '%s' is missing", key)
			 : memo_record_get_bytes(j, key, out, err);
}

/* Absent or null leaves *@out NULL. */
int memo_record_may_bytes(const json_t *o, const char *key, char **out, struct memo_err *err)
{
	const json_t *j = json_object_get(o, key);
	return j == NULL || json_is_null(j) ? 0 : memo_record_get_bytes(j, key, out, err);
}

int memo_record_need_id(const json_t *o, const char *key, struct memo_id *out, struct memo_err *err)
{
	const char *hex;
	int r = memo_json_need_string(o, key, &hex, err);
	if (r < 0)
		return r;
	return memo_id_parse(hex, out) < 0 ? memo_fail(err, -EINVAL, "key '%s' must be 64 hex digits", key) : 0;
}

/* A count: 0 to INT64_MAX. */
int memo_record_need_count(const json_t *o, const char *key, uint64_t *out, struct memo_err *err)
{
	int64_t v;
	int r = memo_json_need_int(o, key, &v, err);
	if (r < 0)
		return r;
	if (v < 0)
		return memo_fail(err, -EINVAL, "key '%s' must not be negative", key);
	*out = (uint64_t)v;
	return 0;
}

int memo_record_set_bytes(json_t *o, const char *key, const char *s)
{
	return s == NULL ? 0 : memo_json_set(o, key, memo_record_bytes(s));
}

int memo_record_set_int(json_t *o, const char *key, int64_t v)
{
	return memo_json_set(o, key, json_integer(v));
}

int memo_record_set_bool(json_t *o, const char *key, bool v)
{
	return memo_json_set(o, key, json_boolean(v));
}

int memo_record_set_id(json_t *o, const char *key, const struct memo_id *id)
{
	char hex[MEMO_HEX_SIZE];
	return memo_json_set(o, key, json_string(memo_id_hex(id, hex)));
}

/* The text of @o appended to @b, if @r is still good. */
int memo_record_finish(const json_t *o, int r, struct memo_buf *b)
{
	size_t before = b->len;
	if (r == 0)
		r = memo_json_append(o, b);
	if (r == 0 && b->len - before > MEMO_ATTEMPT_RECORD_BYTES)
		r = -EFBIG;
	return r;
}

int memo_record_parse(const char *text, size_t len, const char *mark, json_t **out, struct memo_err *err)
{
	if (len > MEMO_ATTEMPT_RECORD_BYTES)
		return memo_fail(err, -EFBIG, "the record is larger than %zu bytes", MEMO_ATTEMPT_RECORD_BYTES);
	MEMO_AUTO_JSON json_t *o = NULL;
	int64_t format;
	int r = memo_json_parse(text, len, &o, err);
	if (r == 0)
		r = memo_json_need_int(o, mark, &format, err);
	if (r < 0)
		return r;
	if (format != MEMO_ATTEMPT_FORMAT)
		return memo_fail(err, -EINVAL, "key '%s' is %lld, but this program knows format %d only", mark,
				 (long long)format, MEMO_ATTEMPT_FORMAT);
	*out = memo_json_steal(&o);
	return 0;
}

/* ---- output hashes ---- */

int memo_attempt_exec_hash(const struct memo_id *blob, struct memo_id *hash_out)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_buf_printf(&b, "memofs-exec 1\n%s\n", memo_id_hex(blob, hex));
	return r < 0 ? r : memo_hash_bytes(b.data, b.len, hash_out);
}

int memo_attempt_external_hash(const char *path, const struct memo_id *tree, struct memo_id *hash_out)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_buf_printf(&b, "memofs-external 1\n%s\n%s\n", path, memo_id_hex(tree, hex));
	return r < 0 ? r : memo_hash_bytes(b.data, b.len, hash_out);
}
