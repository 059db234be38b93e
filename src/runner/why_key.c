/* Two keys side by side. What differs is told by member: each input, each upstream, each type of the interface. */
#include "why.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define SHOWN_BYTES 120 /* of one value */
#define SHOWN_ELEMENTS 8 /* of one array */
#define SHORT_HEX 12

struct compare {
	json_t *list;
	size_t count;
};

/* ---- values ---------------------------------------------------------------------------------------------- */

static bool is_hash(const char *s)
{
	struct memo_id id;
	return s != NULL && strlen(s) == MEMO_HEX_LEN && memo_id_parse(s, &id) == 0;
}

static bool unknown(const json_t *v)
{
	const char *s = json_is_object(v) ? memo_json_string(v, "sha256", NULL) : json_string_value(v);
	return s != NULL && strcmp(s, MEMO_WHY_UNKNOWN) == 0;
}

static int put_cut(const char *text, struct memo_buf *out)
{
	size_t len = strlen(text);
	if (len <= SHOWN_BYTES)
		return memo_buf_puts(out, text);
	len = SHOWN_BYTES;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	(void)memo_buf_append(out, text, len);
	return memo_buf_puts(out, "...");
}

int memo_why_value(const json_t *v, struct memo_buf *out)
{
	const char *sha = memo_json_string(v, "sha256", NULL);
	const char *name = memo_json_string(v, "name", NULL);
	if (v == NULL)
		return memo_buf_puts(out, "(none)");
	if (sha != NULL && name != NULL && is_hash(sha)) {
		(void)put_cut(name, out);
		return unknown(v) ? memo_buf_puts(out, " (not read yet)")
				  : memo_buf_printf(out, " (%.*s)", SHORT_HEX, sha);
	}
	if (unknown(v))
		return memo_buf_puts(out, "not known yet");
	if (is_hash(json_string_value(v)))
		return memo_buf_printf(out, "%.*s", SHORT_HEX, json_string_value(v));
	if (memo_json_string(v, "upstream", NULL) != NULL && json_object_size(v) == 1)
		return memo_buf_puts(out, "a result of memofs");
	MEMO_AUTO_FREE char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
	return text == NULL ? -ENOMEM : put_cut(text, out);
}

int memo_why_line(const json_t *d, struct memo_buf *out)
{
	const json_t *before = json_object_get(d, "before");
	const json_t *after = json_object_get(d, "after");
	MEMO_AUTO_BUF struct memo_buf a = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_why_value(before, &a);
	(void)memo_why_value(after, &b);
	(void)memo_buf_printf(out, "%s: %s -> %s", memo_json_string(d, "what", "?"), memo_buf_str(&a),
			      memo_buf_str(&b));
	if (strcmp(memo_buf_str(&a), memo_buf_str(&b)) == 0)
		(void)memo_buf_puts(out, " (they differ beyond what is shown)");
	if (json_is_array(before) && json_is_array(after))
		(void)memo_buf_printf(out, " (%zu -> %zu elements)", json_array_size(before),
				      json_array_size(after));
	return memo_buf_error(out);
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static int add(struct compare *c, const char *what, const json_t *before, const json_t *after)
{
	json_t *d = json_pack("{s:s, s:O*, s:O*}", "what", what, "before", before, "after", after);
	return memo_json_push(c->list, d);
}

/* Arrays of one length, element by element. */
static int compare_elements(struct compare *c, const char *what, const json_t *before, const json_t *after)
{
	size_t told = 0;
	size_t more = 0;
	bool any = false;
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(before); i++) {
		const json_t *a = json_array_get(before, i);
		const json_t *b = json_array_get(after, i);
		if (json_equal(a, b))
			continue;
		any = any || !unknown(b);
		if (told++ >= SHOWN_ELEMENTS) {
			more++;
			continue;
		}
		MEMO_AUTO_BUF struct memo_buf name = { 0 };
		(void)memo_buf_printf(&name, "%s.%zu", what, i);
		r = memo_buf_error(&name) < 0 ? -ENOMEM : add(c, name.data, a, b);
	}
	c->count += any;
	if (r == 0 && more > 0) {
		MEMO_AUTO_BUF struct memo_buf name = { 0 };
		(void)memo_buf_printf(&name, "%zu more elements of %s", more, what);
		r = memo_buf_error(&name) < 0 ? -ENOMEM : add(c, name.data, before, after);
	}
	return r;
}

static int compare_value(struct compare *c, const char *what, const json_t *before, const json_t *after)
{
	if (before == NULL ? after == NULL : after != NULL && json_equal(before, after))
		return 0;
	if (json_is_array(before) && json_array_size(before) == json_array_size(after))
		return compare_elements(c, what, before, after);
	const char *old_name = memo_json_string(before, "name", "");
	/* what was not read may be the same; another name is a difference all the same */
	c->count += !unknown(after) || strcmp(old_name, memo_json_string(after, "name", "")) != 0;
	return add(c, what, before, after);
}

static int compare_members(struct compare *c, const char *prefix, const json_t *before, const json_t *after)
{
	MEMO_AUTO_JSON json_t *all = json_object();
	const char *key;
	json_t *v;
	int r = all == NULL ? -ENOMEM : 0;
	if (r == 0 && before != NULL)
		r = json_object_update(all, (json_t *)(uintptr_t)before) < 0 ? -ENOMEM : 0;
	if (r == 0 && after != NULL)
		r = json_object_update_missing(all, (json_t *)(uintptr_t)after) < 0 ? -ENOMEM : 0;
	json_object_foreach(all, key, v)
	{
		if (r < 0)
			break;
		MEMO_AUTO_BUF struct memo_buf what = { 0 };
		(void)memo_buf_printf(&what, "%s%s", prefix, key);
		r = memo_buf_error(&what);
		if (r == 0)
			r = compare_value(c, what.data, json_object_get(before, key), json_object_get(after, key));
	}
	return r;
}

/* A version stands for the code: what was declared against what was not is one difference. */
static int compare_version(struct compare *c, const json_t *before, const json_t *after)
{
	const json_t *a = json_object_get(before, "version");
	const json_t *b = json_object_get(after, "version");
	if (a == NULL && b == NULL)
		return compare_value(c, "code", json_object_get(before, "code"), json_object_get(after, "code"));
	return compare_value(c, "version", a, b);
}

static bool told_apart(const char *key)
{
	static const char *const known[] = { "version", "code", "interface", "inputs", "upstream" };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strcmp(key, known[i]) == 0)
			return true;
	}
	return false;
}

/* The format's number, the method of the fingerprint, and whatever a later format has. */
static int compare_rest(struct compare *c, const json_t *before, const json_t *after)
{
	const char *key;
	json_t *v;
	int r = 0;
	bool versions = json_object_get(before, "version") != NULL || json_object_get(after, "version") != NULL;
	json_object_foreach((json_t *)(uintptr_t)after, key, v)
	{
		if (r < 0 || told_apart(key) || (versions && strcmp(key, "fingerprint") == 0))
			continue;
		r = compare_value(c, key, json_object_get(before, key), v);
	}
	return r;
}

int memo_why_compare(const json_t *before, const json_t *after, json_t **out, size_t *count_out)
{
	struct compare c = { .list = json_array() };
	const json_t *old_face = json_object_get(before, "interface");
	const json_t *new_face = json_object_get(after, "interface");
	int r = c.list == NULL ? -ENOMEM : compare_version(&c, before, after);
	if (r == 0)
		r = compare_rest(&c, before, after);
	if (r == 0)
		r = compare_value(&c, "interface.output", json_object_get(old_face, "output"),
				  json_object_get(new_face, "output"));
	if (r == 0)
		r = compare_members(&c, "interface.inputs.", json_object_get(old_face, "inputs"),
				    json_object_get(new_face, "inputs"));
	if (r == 0)
		r = compare_members(&c, "inputs.", json_object_get(before, "inputs"),
				    json_object_get(after, "inputs"));
	if (r == 0)
		r = compare_members(&c, "upstream.", json_object_get(before, "upstream"),
				    json_object_get(after, "upstream"));
	if (r < 0) {
		json_decref(c.list);
		return r;
	}
	*out = c.list;
	*count_out = c.count;
	return 0;
}
