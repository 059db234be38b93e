/* A component is read in three steps, each total: cut at ',' and the first '=', percent-decode once, convert by type.
 * It is written in the same order backwards. What must hold (and what the fuzz target checks):
 *
 *	inputs(spell(v)) equals v	for every v that can be spelled
 *	spell(inputs(c)) is canonical	so that a symbolic link never leads to another one */
#include "path.h"

#include "base/json.h"
#include "base/scope.h"
#include "canon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES ((size_t)64 << 10) /* of a whole path that is taken apart */

static const char default_name[] = "@default";

static bool is_handle(const char *hex)
{
	size_t len = strspn(hex, "0123456789abcdef");
	return hex[len] == '\0' && len >= MEMO_HANDLE_MIN && len <= MEMO_HEX_LEN;
}

enum memo_component memo_path_classify(const char *component)
{
	if (strnlen(component, MEMO_COMPONENT_MAX + 1) > MEMO_COMPONENT_MAX)
		return MEMO_COMP_NONE;
	if (strcmp(component, default_name) == 0)
		return MEMO_COMP_DEFAULT;
	if (component[0] == '@')
		return is_handle(component + 1) ? MEMO_COMP_HANDLE : MEMO_COMP_NONE;
	return strchr(component, '=') != NULL ? MEMO_COMP_PAIRS : MEMO_COMP_NONE;
}

/* Bytes that stand for themselves nowhere in a component. */
static bool must_encode(unsigned char c)
{
	return c == '/' || c == ',' || c == '%' || c < 0x20 || c == 0x7f;
}

int memo_path_encode(const char *text, size_t len, struct memo_buf *b)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (must_encode(c))
			(void)memo_buf_printf(b, "%%%02X", c);
		else
			(void)memo_buf_putc(b, text[i]);
	}
	return memo_buf_error(b);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode_bytes(const char *text, size_t len, struct memo_buf *b, struct memo_err *err)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '%') {
			int high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
			int low = len - i > 2 ? hex_digit(text[i + 2]) : -1;
			if (high < 0 || low < 0)
				return memo_fail(err, -EINVAL,
						 "'%s' at byte %zu: '%%' needs two hex digits after it; write "
						 "a percent sign as %%25",
						 memo_value_show(text + i, len - i < 3 ? len - i : 3).text, i + 1);
			c = (char)(high * 16 + low);
			i += 2;
		}
		(void)memo_buf_putc(b, c);
	}
	int r = memo_buf_error(b);
	return r < 0 ? memo_fail(err, r, "cannot decode: %s", memo_strerror(r)) : 0;
}

int memo_path_decode(const char *text, size_t len, struct memo_buf *b, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf plain = { 0 }; /* @b stays as it is when something is wrong */
	int r = decode_bytes(text, len, &plain, err);
	if (r < 0)
		return r;
	if (!memo_value_utf8_ok(memo_buf_str(&plain), plain.len))
		return memo_fail(err, -EINVAL, "decodes to bytes that are not UTF-8 without NUL; values are text");
	return memo_buf_append(b, memo_buf_str(&plain), plain.len);
}

/* One piece "key=value" of a component, for messages: "'sample=A%zz' (pair 2)". */
struct piece {
	const char *text;
	size_t len;
	size_t number;
};

static int fail_piece(const struct piece *p, int code, struct memo_err *err, const char *what)
{
	return memo_fail(err, code, "pair %zu ('%s'): %s", p->number, memo_value_show(p->text, p->len).text, what);
}

/* Binding refuses a key that is not declared in words, with the nearest one that is. */
static int fail_key(const struct memo_task *t, const char *key, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *partial = json_object();
	MEMO_AUTO_JSON json_t *none = NULL;
	if (partial == NULL || memo_json_set(partial, key, json_null()) < 0)
		return -ENOMEM;
	int r = memo_task_bind(t, partial, &none, err);
	return r < 0 ? r : -EINVAL;
}

/* Puts one element where it belongs; a key may come back only for an array. */
static int add_element(json_t *partial, const struct memo_input *in, json_t *element, const struct piece *p,
		       struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *e = element;
	json_t *there = json_object_get(partial, in->name);
	if (!in->type.array) {
		if (there != NULL)
			return fail_piece(p, -EINVAL, err,
					  "the input was given already, and it is no array; keep one");
		return memo_json_set(partial, in->name, memo_json_steal(&e));
	}
	if (there == NULL) {
		int r = memo_json_set(partial, in->name, json_array());
		if (r < 0)
			return r;
		there = json_object_get(partial, in->name);
	}
	return memo_json_push(there, memo_json_steal(&e));
}

static int add_piece(const struct memo_task *t, json_t *partial, const struct piece *p, struct memo_err *err)
{
	const char *equals = memchr(p->text, '=', p->len);
	if (p->len == 0)
		return fail_piece(p, -EINVAL, err,
				  "it is empty; leave out the comma, or write it as %2C in a value");
	if (equals == NULL)
		return fail_piece(p, -EINVAL, err, "it has no '='; write key=value, and a comma in a value as %2C");
	if (equals == p->text)
		return fail_piece(p, -EINVAL, err, "the key before '=' is empty; name an input");
	for (size_t i = 0; i < p->len; i++)
		if (must_encode((unsigned char)p->text[i]) && p->text[i] != '%')
			return fail_piece(p, -EINVAL, err, "'/' is written as %2F and a control character as %XX");

	MEMO_AUTO_BUF struct memo_buf key = { 0 };
	MEMO_AUTO_BUF struct memo_buf value = { 0 };
	size_t key_len = (size_t)(equals - p->text);
	int r = memo_path_decode(p->text, key_len, &key, err);
	if (r == 0)
		r = memo_path_decode(equals + 1, p->len - key_len - 1, &value, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "pair %zu", p->number);
	const struct memo_input *in = memo_task_input(t, memo_buf_str(&key));
	if (in == NULL)
		return fail_key(t, memo_buf_str(&key), err);
	json_t *element = NULL;
	r = memo_value_from_text(in, memo_buf_str(&value), value.len, &element, err);
	return r < 0 ? r : add_element(partial, in, element, p, err);
}

static int parse_pairs(const struct memo_task *t, const char *component, json_t *partial, struct memo_err *err)
{
	struct piece p = { .text = component };
	for (;;) {
		p.len = strcspn(p.text, ",");
		p.number++;
		int r = add_piece(t, partial, &p, err);
		if (r < 0)
			return r == -ENOMEM ? memo_fail(err, r, "out of memory") : r;
		if (p.text[p.len] == '\0')
			return 0;
		p.text += p.len + 1;
	}
}

int memo_path_inputs(const struct memo_task *t, const char *component, json_t **inputs_out, struct memo_err *err)
{
	if (strnlen(component, MEMO_COMPONENT_MAX + 1) > MEMO_COMPONENT_MAX)
		return memo_fail(
			err, -ENAMETOOLONG,
			"a name of more than %d bytes; `memofs path` prints a short one for the same inputs",
			MEMO_COMPONENT_MAX);
	MEMO_AUTO_JSON json_t *partial = json_object();
	if (partial == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	int r;
	switch (memo_path_classify(component)) {
	case MEMO_COMP_NONE:
		return memo_fail(err, -ENOENT,
				 "'%s' is neither key=value pairs nor @default nor @ and %d to %d hex digits",
				 memo_value_show(component, strlen(component)).text, MEMO_HANDLE_MIN, MEMO_HEX_LEN);
	case MEMO_COMP_HANDLE:
		return memo_fail(err, -ENOENT, "'%s' is a handle; only the store can tell its inputs", component);
	case MEMO_COMP_PAIRS:
		r = parse_pairs(t, component, partial, err);
		if (r < 0)
			return r;
		break;
	case MEMO_COMP_DEFAULT:
		break;
	}
	return memo_task_bind(t, partial, inputs_out, err);
}

static int spell_element(const struct memo_input *in, const json_t *element, struct memo_buf *b, bool *first)
{
	MEMO_AUTO_FREE char *text = memo_value_text(in, element);
	if (text == NULL)
		return -ENOMEM;
	(void)memo_buf_printf(b, "%s%s=", *first ? "" : ",", in->name);
	*first = false;
	return memo_path_encode(text, strlen(text), b);
}

static int spell_input(const struct memo_input *in, const json_t *value, struct memo_buf *b, bool *first)
{
	if (value == NULL)
		return -EINVAL;
	if (in->fallback != NULL && json_equal((json_t *)(uintptr_t)value, in->fallback))
		return 0;
	/* null is not in the grammar, and no repetition of a key is none */
	if (json_is_null(value) || (in->type.array && json_array_size(value) == 0))
		return -ENOTSUP;
	if (!in->type.array)
		return spell_element(in, value, b, first);
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(value); i++)
		r = spell_element(in, json_array_get(value, i), b, first);
	return r;
}

int memo_path_spell(const struct memo_task *t, const json_t *inputs, struct memo_buf *b)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 }; /* @b stays as it is when something cannot be spelled */
	bool first = true;
	for (size_t i = 0; i < t->inputs; i++) {
		const struct memo_input *in = &t->input[i];
		int r = spell_input(in, json_object_get(inputs, in->name), &name, &first);
		if (r < 0)
			return r;
	}
	return first ? memo_buf_puts(b, default_name) : memo_buf_append(b, memo_buf_str(&name), name.len);
}

int memo_path_digest(const json_t *inputs, struct memo_id *id_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *o = json_object();
	MEMO_AUTO_JSON json_t *whole = json_object();
	if (o == NULL || whole == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	json_t *from = (json_t *)(uintptr_t)inputs; /* iterators want it so; nothing is changed */
	for (void *it = json_object_iter(from); it != NULL; it = json_object_iter_next(from, it))
		if (memo_json_set(o, json_object_iter_key(it), memo_canon_portable(json_object_iter_value(it))) < 0)
			return memo_fail(err, -ENOMEM, "out of memory");
	if (memo_json_set(whole, "inputs", memo_json_steal(&o)) < 0)
		return memo_fail(err, -ENOMEM, "out of memory");
	return memo_canon_hash(whole, id_out, err);
}

int memo_path_name(const struct memo_task *t, const json_t *inputs, struct memo_buf *b, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	int r = memo_path_spell(t, inputs, &name);
	if (r == 0 && name.len <= MEMO_COMPONENT_MAX)
		return memo_buf_append(b, memo_buf_str(&name), name.len);
	if (r < 0 && r != -ENOTSUP)
		return memo_fail(err, r, "cannot spell the inputs of task '%s': %s", t->name, memo_strerror(r));
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	r = memo_path_digest(inputs, &id, err);
	return r < 0 ? r : memo_buf_printf(b, "@%s", memo_id_hex(&id, hex));
}

/* The next part of a path, "" at its end; *@p moves behind it. */
static const char *next_part(const char **p, size_t *len)
{
	const char *part = *p + strspn(*p, "/");
	*len = strcspn(part, "/");
	*p = part + *len;
	return part;
}

/* What is left of @p as "a/b/c", NULL for nothing. */
static int inner_path(const char *p, char **out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t len;
	for (const char *part = next_part(&p, &len); len > 0; part = next_part(&p, &len)) {
		if (b.len > 0)
			(void)memo_buf_putc(&b, '/');
		(void)memo_buf_append(&b, part, len);
	}
	int r = memo_buf_error(&b);
	if (r == 0 && b.len > 0) {
		*out = memo_buf_steal(&b);
		r = *out == NULL ? -ENOMEM : 0;
	}
	return r;
}

static int check_parts(const char *path, struct memo_err *err)
{
	if (strnlen(path, PATH_BYTES + 1) > PATH_BYTES)
		return memo_fail(err, -ENAMETOOLONG, "a path of more than %zu bytes", PATH_BYTES);
	size_t len;
	for (const char *part = next_part(&path, &len); len > 0; part = next_part(&path, &len))
		if (strncmp(part, "..", len) == 0 && len <= 2)
			return memo_fail(err, -EINVAL,
					 "'.' and '..' name nothing below the mount; write the path "
					 "without them");
	return 0;
}

static int take_part(const char **p, char **out)
{
	size_t len;
	const char *part = next_part(p, &len);
	if (len == 0)
		return 0;
	*out = strndup(part, len);
	return *out == NULL ? -ENOMEM : 0;
}

/* The view that @path begins with, and moves @path behind it; "tasks" when there is none. NULL: an absolute path
 * that lies elsewhere. */
static const char *take_view(const char **path)
{
	static const char *const views[] = { "tasks", "cached", "start", "info" };
	const char *p = *path;
	size_t len;
	const char *part = next_part(&p, &len);
	for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
		if (strlen(views[i]) == len && memcmp(views[i], part, len) == 0) {
			*path = p;
			return views[i];
		}
	}
	return **path == '/' ? NULL : views[0];
}

int memo_path_split(const char *path, struct memo_path_parts *out, struct memo_err *err)
{
	int r = check_parts(path, err);
	if (r < 0)
		return r;
	const char *p = path;
	const char *view = take_view(&p);
	if (view == NULL)
		return memo_fail(err, -EINVAL,
				 "the path lies outside /tasks, /cached, /start and /info; write "
				 "/tasks/<name>/<version>/<inputs>");
	struct memo_path_parts parts = { .view = strdup(view) };
	r = parts.view == NULL ? -ENOMEM : take_part(&p, &parts.task);
	if (r == 0)
		r = take_part(&p, &parts.version);
	if (r == 0)
		r = take_part(&p, &parts.component);
	if (r == 0)
		r = inner_path(p, &parts.inner);
	if (r == 0 && parts.task == NULL)
		r = memo_fail(err, -EINVAL, "the path names no task; write /tasks/<name>/<version>/<inputs>");
	else if (r < 0)
		r = memo_fail(err, r, "out of memory");
	if (r < 0) {
		memo_path_parts_clear(&parts);
		return r;
	}
	*out = parts;
	return 0;
}

void memo_path_parts_clear(struct memo_path_parts *p)
{
	free(p->view);
	free(p->task);
	free(p->version);
	free(p->component);
	free(p->inner);
	*p = (struct memo_path_parts){ 0 };
}
