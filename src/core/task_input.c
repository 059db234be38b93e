/* Task, inputs: from `"min_score": { "type": "int", "default": 30, "minimum": 0 }` to struct memo_input. */
#include "base/scope.h"
#include "task_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void memo_task_clear_input(struct memo_input *in)
{
	free(in->name);
	json_decref(in->fallback);
	json_decref(in->values);
	if (in->pattern != NULL)
		regfree(&in->regex);
	free(in->pattern);
	*in = (struct memo_input){ 0 };
}

static int read_type(struct memo_input *in, const json_t *o, const struct memo_place *at)
{
	const char *text = NULL;
	struct memo_place here = memo_place_key(at, "type");
	int r = memo_place_string(at, o, "type", &text);

	if (r < 0)
		return r;
	if (text == NULL)
		return memo_place_refuse(at, "'type' is missing; add \"type\": \"string\" or another type");
	if (memo_type_parse(text, &in->type) < 0)
		return memo_place_refuse(
			&here,
			"'%s' is not a type; use string, int, float, boolean, enum, File, Directory or "
			"json, with [] behind it for an array and ? for an optional input",
			memo_place_show(text).text);
	memo_type_text(&in->type, in->type_text);
	return 0;
}

/* minimum or maximum. */
static int read_bound(const struct memo_input *in, const json_t *o, const char *key, bool *has, double *number,
		      int64_t *whole, const struct memo_place *at)
{
	const json_t *v = json_object_get(o, key);
	struct memo_place here = memo_place_key(at, key);

	if (v == NULL)
		return 0;
	if (in->type.kind != MEMO_INT && in->type.kind != MEMO_FLOAT)
		return memo_place_refuse(&here, "is for int and float, not for %s; leave it out", in->type_text);
	if (in->type.kind == MEMO_INT && !json_is_integer(v))
		return memo_place_refuse(&here, "must be a whole number, as the input is an %s", in->type_text);
	if (!json_is_number(v))
		return memo_place_refuse(&here, "must be a number without quotes");
	*has = true;
	*number = json_number_value(v);
	*whole = json_integer_value(v);
	return 0;
}

static int read_bounds(struct memo_input *in, const json_t *o, const struct memo_place *at)
{
	int r = read_bound(in, o, "minimum", &in->has_minimum, &in->minimum, &in->int_minimum, at);

	if (r == 0)
		r = read_bound(in, o, "maximum", &in->has_maximum, &in->maximum, &in->int_maximum, at);
	if (r < 0 || !in->has_minimum || !in->has_maximum)
		return r;
	if (in->type.kind == MEMO_INT ? in->int_minimum > in->int_maximum : in->minimum > in->maximum)
		return memo_place_refuse(at, "'minimum' is above 'maximum', so that no value fits; exchange them");
	return 0;
}

static int read_pattern(struct memo_input *in, const json_t *o, const struct memo_place *at)
{
	const char *text = NULL;
	struct memo_place here = memo_place_key(at, "pattern");
	int r = memo_place_string(at, o, "pattern", &text);

	if (r < 0 || text == NULL)
		return r;
	if (in->type.kind != MEMO_STRING)
		return memo_place_refuse(&here, "is for string, not for %s; leave it out", in->type_text);
	r = memo_task_weigh_pattern(text, &here);
	if (r < 0)
		return r;
	char *copy = strdup(text);
	if (copy == NULL)
		return memo_place_nomem(&here);
	int e = regcomp(&in->regex, text, REG_EXTENDED | REG_NOSUB);
	if (e != 0) {
		char why[128];
		(void)regerror(e, &in->regex, why, sizeof why);
		free(copy);
		return e == REG_ESPACE
			       ? memo_place_nomem(&here)
			       : memo_place_refuse(
					 &here, "'%s' is not a POSIX extended regular expression (%s); correct it",
					 memo_place_show(text).text, why);
	}
	in->pattern = copy;
	return 0;
}

/* The members of an enum: strings, each of them once. */
static int check_values(const json_t *v, const struct memo_place *at)
{
	MEMO_AUTO_JSON json_t *seen = json_object();

	if (seen == NULL)
		return memo_place_nomem(at);
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *e = json_array_get(v, i);
		struct memo_place each = memo_place_index(at, i);
		if (!json_is_string(e) || json_string_length(e) == 0)
			return memo_place_refuse(&each, "must be a string in quotes, not empty");
		const char *s = json_string_value(e);
		if (json_object_get(seen, s) != NULL)
			return memo_place_refuse(&each, "'%s' is listed twice; leave one out",
						 memo_place_show(s).text);
		if (json_object_set_new(seen, s, json_true()) < 0)
			return memo_place_nomem(&each);
	}
	return 0;
}

static int read_values(struct memo_input *in, const json_t *o, const struct memo_place *at)
{
	json_t *v = json_object_get(o, "values");
	struct memo_place here = memo_place_key(at, "values");

	if (in->type.kind != MEMO_ENUM && v == NULL)
		return 0;
	if (in->type.kind != MEMO_ENUM)
		return memo_place_refuse(
			&here, "is for enum, not for %s; leave it out, or write \"type\": \"enum\"", in->type_text);
	if (v == NULL)
		return memo_place_refuse(at, "an enum needs 'values'; add \"values\": [\"one\", \"two\"]");
	if (!json_is_array(v) || json_array_size(v) == 0)
		return memo_place_refuse(&here, "must be an array of strings, not empty");
	int r = check_values(v, &here);
	if (r < 0)
		return r;
	in->values = json_incref(v);
	return 0;
}

/* The constraints are in place: the default has to meet them as any other value. */
static int read_default(struct memo_input *in, const json_t *o, const struct memo_place *at)
{
	const json_t *v = json_object_get(o, "default");
	struct memo_place here = memo_place_key(at, "default");

	if (v != NULL) {
		int r = memo_value_from_json(in, v, &in->fallback, at->err);
		if (r < 0)
			return memo_place_pass(&here, r);
	} else if (in->type.optional) {
		in->fallback = json_null();
	}
	in->required = in->fallback == NULL;
	return 0;
}

static int read_input(struct memo_input *in, const char *name, const json_t *o, const struct memo_place *inputs)
{
	static const char *const known[] = { "type",	"default", "minimum",  "maximum",
					     "pattern", "values",  "identity", NULL };
	struct memo_place at = memo_place_key(inputs, name);

	if (!memo_value_name_ok(name))
		return memo_place_refuse(
			inputs,
			"'%s' cannot name an input; use letters, digits and _ (not a digit first), at "
			"most %d bytes",
			memo_place_show(name).text, MEMO_NAME_MAX);
	in->name = strdup(name);
	if (in->name == NULL)
		return memo_place_nomem(&at);
	in->identity = true;
	int r = memo_place_object(&at, o, known);
	if (r == 0)
		r = read_type(in, o, &at);
	if (r == 0)
		r = memo_place_bool(&at, o, "identity", &in->identity);
	if (r == 0)
		r = read_bounds(in, o, &at);
	if (r == 0)
		r = read_pattern(in, o, &at);
	if (r == 0)
		r = read_values(in, o, &at);
	return r < 0 ? r : read_default(in, o, &at);
}

int memo_task_read_inputs(struct memo_task *t, const struct memo_place *top)
{
	json_t *o = json_object_get(t->definition, "inputs");
	struct memo_place at = memo_place_key(top, "inputs");
	MEMO_AUTO_FREE const char **keys = NULL;

	if (o == NULL)
		return 0;
	int r = memo_place_object(&at, o, NULL);
	size_t n = json_object_size(o);
	if (r == 0 && n > MEMO_TASK_INPUTS)
		r = memo_place_refuse(&at, "has %zu members; at most %d are allowed", n, MEMO_TASK_INPUTS);
	if (r == 0)
		r = memo_place_sorted(&at, o, &keys);
	if (r < 0)
		return r;
	t->input = calloc(n + 1, sizeof *t->input);
	if (t->input == NULL)
		return memo_place_nomem(&at);
	for (size_t i = 0; i < n && r == 0; i++) {
		t->inputs = i + 1; /* the destroyer copes with one that is half made */
		r = read_input(&t->input[i], keys[i], json_object_get(o, keys[i]), &at);
	}
	return r;
}
