#include "place.h"
#include "base/json.h"
#include "base/buf.h"
#include "nearest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_TEXT 512
#define LABEL_TEXT 256 /* of a long file name its end is shown: the key path must stay readable */

static void drop_controls(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

struct memo_shown memo_place_show(const char *text)
{
	struct memo_shown s;
	size_t len = strlen(text), room = sizeof s.text - 4;

	if (len > room) {
		len = room;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
		(void)snprintf(s.text, sizeof s.text, "%.*s...", (int)len, text);
	} else {
		(void)snprintf(s.text, sizeof s.text, "%s", text);
	}
	drop_controls(s.text);
	return s;
}

static const char *label_end(const char *label)
{
	size_t len = strlen(label);
	if (len <= LABEL_TEXT)
		return label;
	label += len - LABEL_TEXT;
	while (((unsigned char)*label & 0xc0) == 0x80)
		label++;
	return label;
}

/* "task.json: inputs.x.type", "task.json: command[2]"; returns the length. */
static size_t render(const struct memo_place *at, char *to, size_t size)
{
	int k;
	size_t n = 0;

	if (at->up == NULL) {
		const char *end = label_end(at->key);
		k = snprintf(to, size, "%s%s", end != at->key ? "..." : "", end);
	} else {
		n = render(at->up, to, size);
		if (at->key == NULL)
			k = snprintf(to + n, size - n, "[%zu]", at->index);
		else
			k = snprintf(to + n, size - n, "%s%s", at->up->up == NULL ? ": " : ".", at->key);
	}
	n += k > 0 ? (size_t)k : 0;
	return n < size ? n : size - 1;
}

int memo_place_refuse(const struct memo_place *at, const char *fmt, ...)
{
	char path[PATH_TEXT], text[MEMO_ERR_TEXT];
	va_list ap;

	(void)render(at, path, sizeof path);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)memo_fail(at->err, -EINVAL, "%s: %s", path, text);
	drop_controls(at->err->text);
	return -EINVAL;
}

int memo_place_nomem(const struct memo_place *at)
{
	char path[PATH_TEXT];

	(void)render(at, path, sizeof path);
	return memo_fail(at->err, -ENOMEM, "%s: out of memory", path);
}

int memo_place_pass(const struct memo_place *at, int r)
{
	char path[PATH_TEXT];

	(void)render(at, path, sizeof path);
	r = memo_fail_prefix(at->err, r, "%s", path);
	drop_controls(at->err->text);
	return r;
}

static int refuse_key(const struct memo_place *at, const char *key, const char *const *known)
{
	struct memo_nearest n = { .word = key };
	MEMO_AUTO_BUF struct memo_buf list = { 0 };

	for (size_t i = 0; known[i] != NULL; i++) {
		memo_nearest_offer(&n, known[i]);
		(void)memo_buf_printf(&list, "%s%s", i > 0 ? ", " : "", known[i]);
	}
	if (n.best != NULL)
		return memo_place_refuse(at, "unknown key '%s'; did you mean '%s'?", memo_place_show(key).text,
					 n.best);
	return memo_place_refuse(at, "unknown key '%s'; the keys here are %s", memo_place_show(key).text,
				 memo_buf_str(&list));
}

int memo_place_object(const struct memo_place *at, const json_t *o, const char *const *known)
{
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return memo_place_refuse(at, "must be an object in braces, not %s", memo_json_kind(o));
	if (known == NULL)
		return 0;
	json_object_foreach((json_t *)o, key, v)
	{
		size_t i = 0;
		while (known[i] != NULL && strcmp(known[i], key) != 0)
			i++;
		if (known[i] == NULL)
			return refuse_key(at, key, known);
	}
	return 0;
}

int memo_place_string(const struct memo_place *at, const json_t *o, const char *key, const char **out)
{
	const json_t *v = json_object_get(o, key);
	struct memo_place here = memo_place_key(at, key);

	if (v == NULL)
		return 0;
	if (!json_is_string(v))
		return memo_place_refuse(&here, "must be a string in quotes, not %s", memo_json_kind(v));
	*out = json_string_value(v);
	return 0;
}

int memo_place_bool(const struct memo_place *at, const json_t *o, const char *key, bool *out)
{
	const json_t *v = json_object_get(o, key);
	struct memo_place here = memo_place_key(at, key);

	if (v == NULL)
		return 0;
	if (!json_is_boolean(v))
		return memo_place_refuse(&here, "must be true or false, not %s", memo_json_kind(v));
	*out = json_is_true(v);
	return 0;
}

int memo_place_int(const struct memo_place *at, const json_t *o, const char *key, int64_t least, int64_t most,
		   int64_t *out)
{
	const json_t *v = json_object_get(o, key);
	struct memo_place here = memo_place_key(at, key);

	if (v == NULL)
		return 0;
	if (!json_is_integer(v))
		return memo_place_refuse(&here, "must be a whole number, not %s", memo_json_kind(v));
	int64_t n = json_integer_value(v);
	if (n < least || n > most)
		return memo_place_refuse(&here, "%" PRId64 " is out of range; use %" PRId64 " to %" PRId64, n,
					 least, most);
	*out = n;
	return 0;
}

int memo_place_strings(const struct memo_place *at, const json_t *o, const char *key, size_t most, char ***list_out,
		       size_t *count_out)
{
	const json_t *v = json_object_get(o, key);
	struct memo_place here = memo_place_key(at, key);

	if (v == NULL)
		return 0;
	if (!json_is_array(v))
		return memo_place_refuse(&here, "must be an array of strings in brackets, not %s",
					 memo_json_kind(v));
	size_t n = json_array_size(v);
	if (n == 0)
		return memo_place_refuse(&here, "is empty; name something, or leave the key out");
	if (n > most)
		return memo_place_refuse(&here, "has %zu elements; at most %zu are allowed", n, most);
	char **list = calloc(n, sizeof *list);
	if (list == NULL)
		return memo_place_nomem(&here);
	*list_out = list;
	for (size_t i = 0; i < n; i++) {
		const json_t *e = json_array_get(v, i);
		struct memo_place each = memo_place_index(&here, i);
		if (!json_is_string(e))
			return memo_place_refuse(&each, "must be a string in quotes, not %s", memo_json_kind(e));
		list[i] = strdup(json_string_value(e));
		if (list[i] == NULL)
			return memo_place_nomem(&each);
		*count_out = i + 1;
	}
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int memo_place_sorted(const struct memo_place *at, json_t *o, const char ***keys_out)
{
	size_t n = 0;
	const char *key;
	json_t *v;
	const char **keys = calloc(json_object_size(o) + 1, sizeof *keys);

	if (keys == NULL)
		return memo_place_nomem(at);
	json_object_foreach(o, key, v) keys[n++] = key;
	qsort(keys, n, sizeof *keys, by_bytes);
	*keys_out = keys;
	return 0;
}
