#include "json.h"

int memo_json_parse(const char *text, size_t len, json_t **out, struct memo_err *err)
{
	json_error_t e;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
	if (j == NULL)
		return memo_fail(err, -EINVAL, "line %d, column %d: %s", e.line, e.column, e.text);
	*out = j;
	return 0;
}

char *memo_json_text(const json_t *j)
{
	return json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

static int put(const char *data, size_t len, void *b)
{
	return memo_buf_append(b, data, len) < 0 ? -1 : 0;
}

int memo_json_append(const json_t *j, struct memo_buf *b)
{
	if (json_dump_callback(j, put, b, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) < 0)
		return memo_buf_error(b) < 0 ? memo_buf_error(b) : -EINVAL;
	return 0;
}

int memo_json_need_string(const json_t *o, const char *key, const char **out, struct memo_err *err)
{
	const json_t *v = json_object_get(o, key);
	if (v == NULL)
		return memo_fail(err, -EINVAL, "key '%s' is missing", key);
	if (!json_is_string(v))
		return memo_fail(err, -EINVAL, "key '%s' must be a string", key);
	*out = json_string_value(v);
	return 0;
}

int memo_json_need_int(const json_t *o, const char *key, int64_t *out, struct memo_err *err)
{
	const json_t *v = json_object_get(o, key);
	if (v == NULL)
		return memo_fail(err, -EINVAL, "key '%s' is missing", key);
	if (!json_is_integer(v))
		return memo_fail(err, -EINVAL, "key '%s' must be a whole number", key);
	*out = json_integer_value(v);
	return 0;
}

const char *memo_json_string(const json_t *o, const char *key, const char *fallback)
{
	const json_t *v = json_object_get(o, key);
	return json_is_string(v) ? json_string_value(v) : fallback;
}

int64_t memo_json_int(const json_t *o, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(o, key);
	return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool memo_json_bool(const json_t *o, const char *key, bool fallback)
{
	const json_t *v = json_object_get(o, key);
	return json_is_boolean(v) ? json_is_true(v) : fallback;
}

int memo_json_set(json_t *o, const char *key, json_t *v)
{
	return json_object_set_new(o, key, v) < 0 ? -ENOMEM : 0;
}

int memo_json_push(json_t *a, json_t *v)
{
	return json_array_append_new(a, v) < 0 ? -ENOMEM : 0;
}

const char *memo_json_kind(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		break;
	}
	return "null";
}
