/* Task, keys against each other: what placeholders name exists and is used where its shape allows, needs refer to
 * one another without a cycle, names do not meet in the environment, and the output is not a file of the code. */
#include "base/buf.h"
#include "base/scope.h"
#include "task_parse.h"

#include <stdlib.h>
#include <string.h>

#define CYCLE_TEXT 300
#define AUTO_TEMPLATE __attribute__((cleanup(memo_template_clear)))

static int parse_at(const char *text, struct memo_template *out, const struct memo_place *at)
{
	int r = memo_template_parse(text, out, at->err);
	return r < 0 ? memo_place_pass(at, r) : 0;
}

/* A list would have to become one word here: say so instead of choosing a separator. */
static int refuse_list(const char *group, const char *name, const char *remedy, const struct memo_place *at)
{
	return memo_place_refuse(at, "{%s.%s} is a list and cannot be part of a longer text; %s", group, name,
				 remedy);
}

static int check_requirement(const struct memo_task *t, const char *name, const struct memo_place *at)
{
	bool stated = strcmp(name, "memory") == 0 ? t->memory_bytes > 0
		      : strcmp(name, "time") == 0 ? t->time_ms > 0
						  : true;
	if (stated)
		return 0;
	return memo_place_refuse(at, "{requirements.%s} is used, but requirements does not state %s; add it there",
				 name, name);
}

static int check_argv_part(const struct memo_task *t, const struct memo_part *p, bool whole,
			   const struct memo_place *at)
{
	static const char remedy[] = "make it an argument of its own, where it expands to several";
	const struct memo_input *in;
	const struct memo_need *n;

	switch (p->kind) {
	case MEMO_PART_INPUT:
		in = memo_task_input(t, p->text);
		if (in == NULL)
			return memo_task_no_input(t, p->text, at);
		return in->type.array && !whole ? refuse_list("inputs", p->text, remedy, at) : 0;
	case MEMO_PART_NEED:
		n = memo_task_need(t, p->text);
		if (n == NULL)
			return memo_task_no_need(t, p->text, at);
		return n->each != NULL && !whole ? refuse_list("needs", p->text, remedy, at) : 0;
	case MEMO_PART_REQUIREMENT:
		return check_requirement(t, p->text, at);
	case MEMO_PART_TEXT:
	case MEMO_PART_OUTPUT:
		break;
	}
	return 0;
}

static int check_argv(const struct memo_task *t, const char *key, char **argv, size_t n,
		      const struct memo_place *top)
{
	struct memo_place at = memo_place_key(top, key);

	for (size_t i = 0; i < n; i++) {
		struct memo_place each = memo_place_index(&at, i);
		AUTO_TEMPLATE struct memo_template tpl = { 0 };
		int r = parse_at(argv[i], &tpl, &each);
		for (size_t k = 0; k < tpl.count && r == 0; k++)
			r = check_argv_part(t, &tpl.part[k], tpl.count == 1, &each);
		if (r < 0)
			return r;
	}
	return 0;
}

/* @uses[j]: the need refers to need j. */
static int check_need_part(const struct memo_task *t, const struct memo_need *n, const struct memo_part *p,
			   bool whole, bool *uses, const struct memo_place *at)
{
	const struct memo_input *in;
	const struct memo_need *other;

	switch (p->kind) {
	case MEMO_PART_INPUT:
		in = memo_task_input(t, p->text);
		if (in == NULL)
			return memo_task_no_input(t, p->text, at);
		if (!in->type.array || whole || (n->each != NULL && strcmp(n->each, p->text) == 0))
			return 0;
		return refuse_list("inputs", p->text,
				   "write it alone to pass the list, or add \"each\" to the need", at);
	case MEMO_PART_NEED:
		other = memo_task_need(t, p->text);
		if (other == NULL)
			return memo_task_no_need(t, p->text, at);
		if (!whole)
			return memo_place_refuse(
				at,
				"{needs.%s} must be the whole string here; a path below a result can be "
				"named in command only",
				p->text);
		uses[other - t->need] = true;
		return 0;
	case MEMO_PART_REQUIREMENT:
	case MEMO_PART_OUTPUT:
		return memo_place_refuse(
			at,
			"{%s%s} has no value before the task runs; use {inputs.NAME}, {needs.NAME} or "
			"literal text",
			p->kind == MEMO_PART_OUTPUT ? "" : "requirements.", p->text);
	case MEMO_PART_TEXT:
		break;
	}
	return 0;
}

/* Inside of arrays and objects everything is literal: what looks like a placeholder there was meant to be one. */
static int check_literal(const json_t *v, const struct memo_place *at)
{
	const char *key;
	json_t *e;
	size_t i;
	int r = 0;

	if (json_is_string(v) &&
	    (strstr(json_string_value(v), "{inputs.") != NULL || strstr(json_string_value(v), "{needs.") != NULL))
		return memo_place_refuse(
			at,
			"'%s' stands inside a list or an object, where placeholders are not read; pass "
			"an array input by \"{inputs.NAME}\" alone",
			memo_place_show(json_string_value(v)).text);
	json_array_foreach(v, i, e) if (r == 0) r = check_literal(e, at);
	json_object_foreach((json_t *)v, key, e) if (r == 0) r = check_literal(e, at);
	return r;
}

static int check_need_value(const struct memo_task *t, const struct memo_need *n, const json_t *v, bool *uses,
			    const struct memo_place *at)
{
	if (!json_is_string(v))
		return check_literal(v, at);
	AUTO_TEMPLATE struct memo_template tpl = { 0 };
	int r = parse_at(json_string_value(v), &tpl, at);
	for (size_t k = 0; k < tpl.count && r == 0; k++)
		r = check_need_part(t, n, &tpl.part[k], tpl.count == 1, uses, at);
	return r;
}

static int check_each(const struct memo_task *t, const struct memo_need *n, const struct memo_place *need)
{
	struct memo_place at = memo_place_key(need, "each");

	if (n->each == NULL)
		return 0;
	const struct memo_input *in = memo_task_input(t, n->each);
	if (in == NULL)
		return memo_task_no_input(t, n->each, &at);
	if (!in->type.array)
		return memo_place_refuse(
			&at, "input '%s' is %s and not an array; name an array input, or leave 'each' out",
			in->name, in->type_text);
	return 0;
}

static int check_need(const struct memo_task *t, const struct memo_need *n, bool *uses,
		      const struct memo_place *needs)
{
	struct memo_place at = memo_place_key(needs, n->name), inputs = memo_place_key(&at, "inputs");
	const char *key;
	json_t *v;
	int r = check_each(t, n, &at);

	if (r == 0 && strcmp(n->task, t->name) == 0 &&
	    (n->version == NULL || (t->version != NULL && strcmp(n->version, t->version) == 0)))
		r = memo_place_refuse(
			&at, "the task needs itself, which is a cycle; name another task, or an earlier version");
	if (r < 0)
		return r;
	json_object_foreach(n->inputs, key, v)
	{
		struct memo_place here = memo_place_key(&inputs, key);
		r = check_need_value(t, n, v, uses, &here);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The first need that need @i uses and that is left; there is one, else @i would be done. */
static size_t next_left(const struct memo_task *t, const bool *uses, const bool *done, size_t i)
{
	size_t j = 0;
	while (j + 1 < t->needs && (!uses[i * t->needs + j] || done[j]))
		j++;
	return j;
}

/* Every way from a need that is left ends in a cycle, after so many steps as there are needs at the latest. */
static int refuse_cycle(const struct memo_task *t, const bool *uses, const bool *done, size_t i,
			const struct memo_place *needs)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };

	for (size_t step = 0; step < t->needs; step++)
		i = next_left(t, uses, done, i);
	size_t first = i;
	do {
		(void)memo_buf_printf(&text, "'%s' uses ", t->need[i].name);
		i = next_left(t, uses, done, i);
	} while (i != first && text.len < CYCLE_TEXT);
	return memo_place_refuse(needs, "%s'%s'%s: a cycle; take one of these {needs.NAME} out",
				 memo_buf_str(&text), t->need[i].name, i != first ? " and so on" : "");
}

/* Takes away, as long as there are such, needs that use none of those that are left. */
static int check_cycle(const struct memo_task *t, const bool *uses, const struct memo_place *needs)
{
	size_t n = t->needs, left = n;
	bool done[MEMO_TASK_NEEDS] = { false };

	for (bool moved = true; moved && left > 0;) {
		moved = false;
		for (size_t i = 0; i < n; i++) {
			bool waits = done[i];
			for (size_t j = 0; j < n && !waits; j++)
				waits = uses[i * n + j] && !done[j];
			if (waits)
				continue;
			done[i] = moved = true;
			left--;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (!done[i])
			return refuse_cycle(t, uses, done, i, needs);
	return 0;
}

static int check_needs(const struct memo_task *t, const struct memo_place *top)
{
	struct memo_place at = memo_place_key(top, "needs");
	MEMO_AUTO_FREE bool *uses = calloc(t->needs * t->needs + 1, sizeof *uses);

	if (uses == NULL)
		return memo_place_nomem(&at);
	for (size_t i = 0; i < t->needs; i++) {
		int r = check_need(t, &t->need[i], uses + i * t->needs, &at);
		if (r < 0)
			return r;
	}
	return check_cycle(t, uses, &at);
}

/* ASCII only and whatever the locale: the names are. */
static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool same_variable(const char *a, const char *b)
{
	while (*a != '\0' && upper(*a) == upper(*b)) {
		a++;
		b++;
	}
	return *a == '\0' && *b == '\0';
}

static int refuse_shared(const char *what, const char *prefix, const char *a, const char *b,
			 const struct memo_place *top)
{
	struct memo_place at = memo_place_key(top, what);
	char variable[MEMO_NAME_MAX + 1] = "";

	for (size_t i = 0; a[i] != '\0' && i < MEMO_NAME_MAX; i++)
		variable[i] = upper(a[i]);
	return memo_place_refuse(&at, "%s '%s' and '%s' would share the variable %s%s; rename one of them", what, a,
				 b, prefix, variable);
}

static int check_variables(const struct memo_task *t, const struct memo_place *top)
{
	for (size_t i = 0; i < t->inputs; i++)
		for (size_t j = 0; j < i; j++)
			if (same_variable(t->input[i].name, t->input[j].name))
				return refuse_shared("inputs", "INPUT_", t->input[i].name, t->input[j].name, top);
	for (size_t i = 0; i < t->needs; i++)
		for (size_t j = 0; j < i; j++)
			if (same_variable(t->need[i].name, t->need[j].name))
				return refuse_shared("needs", "NEED_", t->need[i].name, t->need[j].name, top);
	return 0;
}

/* True when one of the paths is the other, or a folder above it. */
static bool overlap(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return (*a == '\0' || *a == '/') && (*b == '\0' || *b == '/');
}

/* A file of the code that lies where the result is expected would be taken for it. */
static int check_output(const struct memo_task *t, const struct memo_place *top)
{
	struct memo_place output = memo_place_key(top, "output"), at = memo_place_key(&output, "path");

	for (size_t i = 0; t->output_path != NULL && i < t->codes; i++)
		if (overlap(t->output_path, t->code[i].path))
			return memo_place_refuse(
				&at, "'%s' and the code file '%s' are in each other's way; use another path",
				memo_place_show(t->output_path).text, memo_place_show(t->code[i].path).text);
	return 0;
}

int memo_task_check(const struct memo_task *t, const struct memo_place *top)
{
	int r = check_variables(t, top);

	if (r == 0)
		r = check_needs(t, top);
	if (r == 0)
		r = check_argv(t, "command", t->command, t->commands, top);
	if (r == 0)
		r = check_argv(t, "verify", t->verify, t->verifies, top);
	return r < 0 ? r : check_output(t, top);
}
