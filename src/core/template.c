/* Template: one pass over the text. Literal text, doubled braces included, gathers in a buffer that becomes
 * a part when a placeholder or the end comes. */
#include "template.h"
#include "base/buf.h"
#include "place.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

static int push(struct memo_template *t, enum memo_part_kind kind, const char *text, size_t len)
{
	struct memo_part *p = t->part;

	/* The room doubles at each power of two. */
	if ((t->count & (t->count - 1)) == 0) {
		p = reallocarray(p, t->count == 0 ? 1 : t->count * 2, sizeof *p);
		if (p == NULL)
			return -ENOMEM;
		t->part = p;
	}
	char *copy = strndup(text, len);
	if (copy == NULL)
		return -ENOMEM;
	p[t->count++] = (struct memo_part){ .kind = kind, .text = copy };
	return 0;
}

static int push_text(struct memo_template *t, struct memo_buf *text)
{
	int r = memo_buf_error(text);

	if (r < 0)
		return r;
	if (text->len > 0)
		r = push(t, MEMO_PART_TEXT, text->data, text->len);
	memo_buf_reset(text);
	return r;
}

static bool requirement_ok(const char *name)
{
	return strcmp(name, "cpu") == 0 || strcmp(name, "memory") == 0 || strcmp(name, "time") == 0 ||
	       strcmp(name, "network") == 0;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* @inside: what stands between the braces. */
static int push_placeholder(struct memo_template *t, const char *inside, struct memo_err *err)
{
	const char *name = strchr(inside, '.');

	name = name != NULL ? name + 1 : "";
	if (strcmp(inside, "output") == 0)
		return push(t, MEMO_PART_OUTPUT, inside, strlen(inside));
	if (has_prefix(inside, "inputs.") && memo_value_name_ok(name))
		return push(t, MEMO_PART_INPUT, name, strlen(name));
	if (has_prefix(inside, "needs.") && memo_value_name_ok(name))
		return push(t, MEMO_PART_NEED, name, strlen(name));
	if (has_prefix(inside, "requirements.") && requirement_ok(name))
		return push(t, MEMO_PART_REQUIREMENT, name, strlen(name));
	return memo_fail(
		err, -EINVAL,
		"unknown placeholder '{%s}'; use {inputs.NAME}, {needs.NAME}, {requirements.cpu} (or memory, "
		"time, network) or {output}, and write {{ and }} for literal braces",
		memo_place_show(inside).text);
}

static int parse(const char *text, struct memo_template *t, struct memo_buf *literal, struct memo_err *err)
{
	int r = 0;

	for (const char *p = text; *p != '\0'; p++) {
		if (*p != '{' && *p != '}') {
			(void)memo_buf_putc(literal, *p);
			continue;
		}
		if (p[1] == *p) {
			(void)memo_buf_putc(literal, *p++);
			continue;
		}
		size_t len = strcspn(p + 1, "{}");
		if (*p == '}' || p[1 + len] != '}')
			return memo_fail(err, -EINVAL, "a lone '%c' in '%s'; write '%c%c' for a literal brace", *p,
					 memo_place_show(text).text, *p, *p);
		r = push_text(t, literal);
		if (r < 0)
			return r;
		char *inside = strndup(p + 1, len);
		if (inside == NULL)
			return -ENOMEM;
		r = push_placeholder(t, inside, err);
		free(inside);
		if (r < 0)
			return r;
		p += len + 1;
	}
	return push_text(t, literal);
}

int memo_template_parse(const char *text, struct memo_template *out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf literal = { 0 };
	struct memo_template t = { 0 };
	int r = parse(text, &t, &literal, err);

	if (r < 0) {
		memo_template_clear(&t);
		return r == -EINVAL ? r : memo_fail(err, r, "out of memory for a template");
	}
	*out = t;
	return 0;
}

void memo_template_clear(struct memo_template *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->part[i].text);
	free(t->part);
	*t = (struct memo_template){ 0 };
}

const struct memo_part *memo_template_whole(const struct memo_template *t)
{
	return t->count == 1 && t->part[0].kind != MEMO_PART_TEXT ? &t->part[0] : NULL;
}
