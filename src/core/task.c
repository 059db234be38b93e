/* Task: life cycle, names, look-up and binding. The parser is in task_parse.c (one key at a time),
 * task_input.c (declared inputs, with task_pattern.c) and task_check.c (keys against each other). */
#include "task.h"
#include "base/json.h"
#include "base/scope.h"
#include "nearest.h"
#include "task_parse.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_strings(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

/* Copes with a task that is half made. */
static void free_task(struct memo_task *t)
{
	for (size_t i = 0; i < t->inputs; i++)
		memo_task_clear_input(&t->input[i]);
	for (size_t i = 0; i < t->needs; i++) {
		free(t->need[i].name);
		free(t->need[i].task);
		free(t->need[i].version);
		free(t->need[i].each);
		json_decref(t->need[i].inputs);
	}
	for (size_t i = 0; i < t->codes; i++)
		free(t->code[i].path);
	free(t->input);
	free(t->need);
	free(t->code);
	free_strings(t->command, t->commands);
	free_strings(t->verify, t->verifies);
	free_strings(t->tool, t->tools);
	free(t->name);
	free(t->version);
	free(t->description);
	free(t->script);
	free(t->output_path);
	free(t->temporary);
	json_decref(t->env);
	json_decref(t->hints);
	json_decref(t->definition);
	free(t);
}

static int make(const json_t *definition, const struct memo_place *top, struct memo_task **out)
{
	if (!json_is_object(definition))
		return memo_place_refuse(
			top, "a task is one JSON object in braces; begin with {\"memofs\": %d, \"name\": ...",
			MEMO_TASK_FORMAT);
	struct memo_task *t = calloc(1, sizeof *t);
	if (t == NULL)
		return memo_place_nomem(top);
	atomic_init(&t->refs, 1);
	t->definition = json_deep_copy(definition);
	int r = t->definition == NULL ? memo_place_nomem(top) : memo_task_read(t, top);
	if (r == 0)
		r = memo_task_check(t, top);
	if (r < 0) {
		free_task(t);
		return r;
	}
	*out = t;
	return 0;
}

int memo_task_from_json(const json_t *definition, const char *label, struct memo_task **out, struct memo_err *err)
{
	struct memo_err said = { 0 };
	struct memo_place top = { .key = label, .err = &said };
	int r = make(definition, &top, out);

	return r < 0 ? memo_fail(err, r, "%s", said.text) : 0;
}

int memo_task_parse(const char *text, size_t len, const char *label, struct memo_task **out, struct memo_err *err)
{
	struct memo_err said = { 0 };
	struct memo_place top = { .key = label, .err = &said };
	MEMO_AUTO_JSON json_t *j = NULL;
	int r = 0;

	if (len > MEMO_TASK_FILE_BYTES)
		r = memo_place_refuse(&top,
				      "is larger than %zu bytes; a task file holds one task, keep data out of it",
				      MEMO_TASK_FILE_BYTES);
	if (r == 0) {
		r = memo_json_parse(text, len, &j, &said);
		if (r < 0)
			r = memo_place_pass(&top, r);
	}
	if (r == 0)
		r = make(j, &top, out);
	return r < 0 ? memo_fail(err, r, "%s", said.text) : 0;
}

struct memo_task *memo_task_ref(struct memo_task *t)
{
	if (t != NULL)
		(void)atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void memo_task_unref(struct memo_task *t)
{
	if (t != NULL && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free_task(t);
}

int memo_task_complete(struct memo_task *t, const struct memo_id *fingerprint)
{
	if (!t->declared) {
		char hex[MEMO_HEX_SIZE];
		char *version = NULL;
		if (asprintf(&version, "auto-%.16s", memo_id_hex(fingerprint, hex)) < 0)
			return -ENOMEM;
		free(t->version);
		t->version = version;
	}
	t->fingerprint = *fingerprint;
	return 0;
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool rest_ok(const char *p, const char *more)
{
	size_t len = 0;
	for (; p[len] != '\0'; len++)
		if (len == MEMO_NAME_MAX || !(letter(p[len]) || digit(p[len]) || strchr(more, p[len]) != NULL))
			return false;
	return len <= MEMO_NAME_MAX;
}

bool memo_task_name_ok(const char *name)
{
	return (letter(name[0]) || name[0] == '_') && rest_ok(name, "_.-");
}

bool memo_task_version_ok(const char *version)
{
	return (letter(version[0]) || digit(version[0])) && rest_ok(version, "._+-") &&
	       strcmp(version, "latest") != 0;
}

#define PART_BYTES 255 /* NAME_MAX of the file systems that matter */
#define PATH_BYTES 4095 /* PATH_MAX without the NUL */

bool memo_task_inner_path_ok(const char *path)
{
	if (strlen(path) > PATH_BYTES)
		return false;
	for (const char *p = path;; p++) {
		size_t len = strcspn(p, "/");
		if (len == 0 || len > PART_BYTES || (len <= 2 && strspn(p, ".") >= len))
			return false;
		p += len;
		if (*p == '\0')
			return true;
	}
}

const struct memo_input *memo_task_input(const struct memo_task *t, const char *name)
{
	size_t low = 0, high = t->inputs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(name, t->input[mid].name);
		if (c == 0)
			return &t->input[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const struct memo_need *memo_task_need(const struct memo_task *t, const char *name)
{
	for (size_t i = 0; i < t->needs; i++)
		if (strcmp(name, t->need[i].name) == 0)
			return &t->need[i];
	return NULL;
}

int memo_task_no_input(const struct memo_task *t, const char *name, const struct memo_place *at)
{
	struct memo_nearest n = { .word = name };

	for (size_t i = 0; i < t->inputs; i++)
		memo_nearest_offer(&n, t->input[i].name);
	if (n.best != NULL)
		return memo_place_refuse(at, "no input '%s'; did you mean '%s'?", memo_place_show(name).text,
					 n.best);
	return memo_place_refuse(at,
				 t->inputs == 0 ? "no input '%s'; the task declares no inputs"
						: "no input '%s'; declare it under inputs, or correct its name",
				 memo_place_show(name).text);
}

int memo_task_no_need(const struct memo_task *t, const char *name, const struct memo_place *at)
{
	struct memo_nearest n = { .word = name };

	for (size_t i = 0; i < t->needs; i++)
		memo_nearest_offer(&n, t->need[i].name);
	if (n.best != NULL)
		return memo_place_refuse(at, "no need '%s'; did you mean '%s'?", memo_place_show(name).text,
					 n.best);
	return memo_place_refuse(at, "no need '%s'; declare it under needs, or correct its name",
				 memo_place_show(name).text);
}

static int bind_one(const struct memo_input *in, const json_t *given, json_t *inputs, const struct memo_place *at)
{
	json_t *v = NULL;

	if (given != NULL) {
		int r = memo_value_from_json(in, given, &v, at->err);
		if (r < 0)
			return memo_place_pass(at, r);
	} else if (in->required) {
		return memo_place_refuse(at, "input '%s' (%s) is missing", in->name, in->type_text);
	} else {
		v = json_incref(in->fallback);
	}
	return memo_json_set(inputs, in->name, v) < 0 ? memo_place_nomem(at) : 0;
}

static int bind(const struct memo_task *t, const json_t *partial, json_t **out, const struct memo_place *at)
{
	const char *key;
	json_t *v;

	if (!json_is_object(partial))
		return memo_place_refuse(at, "inputs must be a JSON object of names and values");
	json_object_foreach((json_t *)partial, key,
			    v) if (memo_task_input(t, key) == NULL) return memo_task_no_input(t, key, at);
	MEMO_AUTO_JSON json_t *inputs = json_object();
	if (inputs == NULL)
		return memo_place_nomem(at);
	for (size_t i = 0; i < t->inputs; i++) {
		int r = bind_one(&t->input[i], json_object_get(partial, t->input[i].name), inputs, at);
		if (r < 0)
			return r;
	}
	*out = memo_json_steal(&inputs);
	return 0;
}

int memo_task_bind(const struct memo_task *t, const json_t *partial, json_t **inputs_out, struct memo_err *err)
{
	char label[MEMO_NAME_MAX + 8];
	struct memo_err said = { 0 };
	struct memo_place at = { .key = label, .err = &said };

	(void)snprintf(label, sizeof label, "task '%s'", t->name);
	int r = bind(t, partial, inputs_out, &at);
	return r < 0 ? memo_fail(err, r, "%s", said.text) : 0;
}

/* Digits at *@p, at most @most of them and below @limit; moves past them. */
static bool read_digits(const char **p, size_t most, uint64_t limit, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; digit((*p)[n]); n++) {
		uint64_t d = (uint64_t)((*p)[n] - '0');
		if (n == most || v > (limit - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*p += n;
	*out = v;
	return n > 0;
}

int memo_task_parse_size(const char *text, uint64_t *out)
{
	static const struct {
		const char *unit;
		uint64_t bytes;
	} table[] = {
		{ "", 1 },
		{ "B", 1 },
		{ "kB", 1000 },
		{ "MB", 1000000 },
		{ "GB", 1000000000 },
		{ "TB", UINT64_C(1000000000000) },
		{ "KiB", UINT64_C(1) << 10 },
		{ "MiB", UINT64_C(1) << 20 },
		{ "GiB", UINT64_C(1) << 30 },
		{ "TiB", UINT64_C(1) << 40 },
	};
	uint64_t v;

	if (!read_digits(&text, 20, UINT64_MAX, &v))
		return -EINVAL;
	if (text[0] == ' ' && text[1] != '\0')
		text++;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (strcmp(text, table[i].unit) != 0)
			continue;
		return __builtin_mul_overflow(v, table[i].bytes, out) ? -EINVAL : 0;
	}
	return -EINVAL;
}

int memo_task_parse_time(const char *text, int64_t *ms_out)
{
	uint64_t field[3], days = 0;
	size_t n = 0;
	const char *p = text;
	bool with_days = strchr(text, '-') != NULL;

	if (with_days && (!read_digits(&p, 5, UINT64_MAX, &days) || *p++ != '-'))
		return -EINVAL;
	do {
		/* The first field may be any number; those behind it are minutes or seconds. */
		if (n == 3 || !read_digits(&p, n == 0 ? 7 : 2, UINT64_MAX, &field[n]) || (n > 0 && field[n] > 59))
			return -EINVAL;
		n++;
	} while (*p++ == ':');
	if (p[-1] != '\0' || n < 2 || (with_days && (n != 3 || field[0] > 23)))
		return -EINVAL;
	uint64_t s = n == 3 ? (field[0] * 60 + field[1]) * 60 + field[2] : field[0] * 60 + field[1];
	s += days * 86400;
	if (s > (uint64_t)MEMO_TASK_TIME_MS / 1000)
		return -EINVAL;
	*ms_out = (int64_t)s * 1000;
	return 0;
}

bool memo_task_volatile(const struct memo_task *t)
{
	for (size_t i = 0; i < t->inputs; i++)
		if (t->input[i].type.kind == MEMO_FILE || t->input[i].type.kind == MEMO_DIRECTORY)
			return true;
	return !t->cache || (!t->declared && t->tools > 0);
}

const char *memo_output_text(enum memo_output_type o)
{
	switch (o) {
	case MEMO_OUT_FILE:
		return "File";
	case MEMO_OUT_DIRECTORY:
		return "Directory";
	case MEMO_OUT_JSON:
		return "json";
	case MEMO_OUT_EXTERNAL:
		break;
	}
	return "External";
}
