/* Template: text with placeholders, as in `command` and in the inputs of a need.
 *
 *	{inputs.x}  {needs.y}  {requirements.cpu}  {output}        {{ and }} are literal braces
 *
 * Pure; a template is immutable after parsing. */
#ifndef MEMO_CORE_TEMPLATE_H
#define MEMO_CORE_TEMPLATE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum memo_part_kind {
	MEMO_PART_TEXT, /* text */
	MEMO_PART_INPUT, /* text is the input's name */
	MEMO_PART_NEED, /* text is the need's name */
	MEMO_PART_REQUIREMENT, /* text is "cpu", "memory", "time" or "network" */
	MEMO_PART_OUTPUT,
};

struct memo_part {
	enum memo_part_kind kind;
	char *text;
};

struct memo_template {
	struct memo_part *part;
	size_t count;
};

/* -EINVAL: a lone brace or an unknown placeholder, named in @err with the remedy. Whether the input or need
 * exists is the caller's question. */
MEMO_MUST int memo_template_parse(const char *text, struct memo_template *out, struct memo_err *err);
void memo_template_clear(struct memo_template *t);
/* The one placeholder that the whole text consists of, or NULL. */
const struct memo_part *memo_template_whole(const struct memo_template *t);

#endif
