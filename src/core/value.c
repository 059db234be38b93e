/* One table of kinds, one path for each source (text, JSON), and one place that checks the constraints of an element,
 * so that a value is canonical wherever it came from. Canonical values of equal meaning are json_equal(): that is what
 * the comparison with a default relies on, and why whole reals inside a `json` value become integers. */
#include "value.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/scope.h"
#include "canon.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHOICES_SHOWN 8 /* of an enum in a message */
#define FLOAT_TEXT 4096 /* bytes of a float's text, NUL included */

static const struct {
	const char *text;
	enum memo_kind kind;
} kinds[] = {
	{ "string", MEMO_STRING },	 { "int", MEMO_INT },	{ "float", MEMO_FLOAT },
	{ "boolean", MEMO_BOOLEAN },	 { "enum", MEMO_ENUM }, { "File", MEMO_FILE },
	{ "Directory", MEMO_DIRECTORY }, { "json", MEMO_JSON },
};

#define KINDS (sizeof kinds / sizeof kinds[0])

int memo_type_parse(const char *text, struct memo_type *out)
{
	size_t len = strlen(text);
	struct memo_type t = { 0 };
	if (len > 0 && text[len - 1] == '?') {
		t.optional = true;
		len--;
	}
	if (len > 1 && text[len - 2] == '[' && text[len - 1] == ']') {
		t.array = true;
		len -= 2;
	}
	for (size_t i = 0; i < KINDS; i++) {
		if (strlen(kinds[i].text) != len || memcmp(kinds[i].text, text, len) != 0)
			continue;
		t.kind = kinds[i].kind;
		*out = t;
		return 0;
	}
	return -EINVAL;
}

void memo_type_text(const struct memo_type *t, char out[MEMO_TYPE_TEXT])
{
	const char *base = "";
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i].kind == t->kind)
			base = kinds[i].text;
	(void)snprintf(out, MEMO_TYPE_TEXT, "%s%s%s", base, t->array ? "[]" : "", t->optional ? "?" : "");
}

/* The length of the UTF-8 sequence at @s (RFC 3629, no NUL), 0 when there is none. */
static size_t utf8_step(const unsigned char *s, size_t len)
{
	if (len == 0 || s[0] == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || want > len)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what is beyond U+10FFFF show in the second byte. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return want;
}

bool memo_value_utf8_ok(const char *text, size_t len)
{
	size_t step;
	for (size_t i = 0; i < len; i += step) {
		step = utf8_step((const unsigned char *)text + i, len - i);
		if (step == 0)
			return false;
	}
	return true;
}

struct memo_value_shown memo_value_show(const char *text, size_t len)
{
	struct memo_value_shown s;
	size_t n = 0, i = 0;
	while (i < len) {
		const unsigned char *p = (const unsigned char *)text + i;
		size_t step = utf8_step(p, len - i);
		size_t room = step == 0 ? 1 : step;
		if (n + room > MEMO_VALUE_SHOWN)
			break;
		if (step == 0 || p[0] < 0x20 || p[0] == 0x7f)
			s.text[n] = '?';
		else
			memcpy(s.text + n, p, step);
		n += room;
		i += room;
	}
	(void)snprintf(s.text + n, sizeof s.text - n, "%s", i < len ? "..." : "");
	return s;
}

/* "input 'x': 'abc' <what>" */
static int fail_text(const struct memo_input *in, const char *text, size_t len, const char *what,
		     struct memo_err *err)
{
	struct memo_value_shown s = memo_value_show(text, len);
	return memo_fail(err, -EINVAL, "input '%s': '%s' %s", in->name, s.text, what);
}

static int fail_memory(const struct memo_input *in, struct memo_err *err)
{
	return memo_fail(err, -ENOMEM, "input '%s': out of memory", in->name);
}

/* Hands @v over as the result, NULL being out of memory. */
static int give(const struct memo_input *in, json_t *v, json_t **out, struct memo_err *err)
{
	if (v == NULL)
		return fail_memory(in, err);
	*out = v;
	return 0;
}

bool memo_value_name_ok(const char *name)
{
	size_t i = 0;
	for (; name[i] != '\0' && i <= MEMO_NAME_MAX; i++) {
		char c = name[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return i > 0 && i <= MEMO_NAME_MAX;
}

int memo_value_clean_path(const char *path, char **out, struct memo_err *err)
{
	struct memo_value_shown s = memo_value_show(path, strlen(path));
	if (path[0] != '/')
		return memo_fail(err, -EINVAL, "'%s' is not an absolute path; begin it with '/'", s.text);
	MEMO_AUTO_FREE char *clean = malloc(strlen(path) + 2);
	if (clean == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	size_t n = 0; /* clean[0..n) is "" or "/a/b" */
	for (const char *p = path; *p != '\0';) {
		p += strspn(p, "/");
		size_t len = strcspn(p, "/");
		if (len == 2 && memcmp(p, "..", 2) == 0) {
			if (n == 0)
				return memo_fail(err, -EINVAL, "'%s' climbs above '/'; leave out a '..'", s.text);
			while (clean[--n] != '/')
				;
		} else if (len > 0 && !(len == 1 && *p == '.')) {
			clean[n++] = '/';
			memcpy(clean + n, p, len);
			n += len;
		}
		p += len;
	}
	if (n == 0)
		clean[n++] = '/';
	clean[n] = '\0';
	*out = memo_ptr_steal(&clean);
	return 0;
}

/* Pattern of a string-like value; @text ends with NUL. */
static int check_pattern(const struct memo_input *in, const char *text, struct memo_err *err)
{
	if (in->pattern == NULL)
		return 0;
	int r = regexec(&in->regex, text, 0, NULL, 0);
	if (r == REG_ESPACE)
		return fail_memory(in, err);
	if (r == 0)
		return 0;
	struct memo_value_shown s = memo_value_show(text, strlen(text)),
				p = memo_value_show(in->pattern, strlen(in->pattern));
	return memo_fail(err, -EINVAL, "input '%s': '%s' does not match the pattern '%s'", in->name, s.text,
			 p.text);
}

static int fail_choice(const struct memo_input *in, const char *text, size_t len, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t count = json_array_size(in->values);
	for (size_t i = 0; i < count && i < CHOICES_SHOWN; i++) {
		const json_t *v = json_array_get(in->values, i);
		struct memo_value_shown one = memo_value_show(json_string_value(v), json_string_length(v));
		(void)memo_buf_printf(&b, "%s%s", i > 0 ? ", " : "", one.text);
	}
	struct memo_value_shown s = memo_value_show(text, len);
	return memo_fail(err, -EINVAL, "input '%s': '%s' is not one of its values; use %s%s", in->name, s.text,
			 memo_buf_str(&b), count > CHOICES_SHOWN ? ", ..." : "");
}

/* string, enum, File and Directory. */
static int string_value(const struct memo_input *in, const char *text, size_t len, json_t **out,
			struct memo_err *err)
{
	if (len > MEMO_VALUE_BYTES)
		return memo_fail(err, -EINVAL, "input '%s': %zu bytes are too long for a value; at most %u",
				 in->name, len, MEMO_VALUE_BYTES);
	if (!memo_value_utf8_ok(text, len))
		return fail_text(in, text, len, "is not UTF-8 without NUL; values are text", err);
	MEMO_AUTO_FREE char *copy = strndup(text, len);
	if (copy == NULL)
		return fail_memory(in, err);
	if (in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY) {
		MEMO_AUTO_FREE char *given = memo_ptr_steal(&copy);
		int r = memo_value_clean_path(given, &copy, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "input '%s'", in->name);
		/* Its base name is what the program sees: "/" has none. */
		if (strcmp(copy, "/") == 0)
			return fail_text(in, text, len, "has no base name; name something below it", err);
	}
	if (in->type.kind == MEMO_ENUM) {
		size_t i = 0;
		while (i < json_array_size(in->values) &&
		       strcmp(json_string_value(json_array_get(in->values, i)), copy) != 0)
			i++;
		if (i == json_array_size(in->values))
			return fail_choice(in, text, len, err);
	}
	int r = check_pattern(in, copy, err);
	return r < 0 ? r : give(in, json_string(copy), out, err);
}

static int int_value(const struct memo_input *in, int64_t v, json_t **out, struct memo_err *err)
{
	if (in->has_minimum && v < in->int_minimum)
		return memo_fail(err, -EINVAL, "input '%s': %lld is below its minimum %lld", in->name, (long long)v,
				 (long long)in->int_minimum);
	if (in->has_maximum && v > in->int_maximum)
		return memo_fail(err, -EINVAL, "input '%s': %lld is above its maximum %lld", in->name, (long long)v,
				 (long long)in->int_maximum);
	return give(in, json_integer(v), out, err);
}

static int float_value(const struct memo_input *in, double v, json_t **out, struct memo_err *err)
{
	char text[MEMO_CANON_NUMBER], bound[MEMO_CANON_NUMBER];
	if (!isfinite(v))
		return memo_fail(err, -EINVAL, "input '%s': the number is not finite; use one within +-1.8e308",
				 in->name);
	memo_canon_double(v, text);
	if (in->has_minimum && v < in->minimum) {
		memo_canon_double(in->minimum, bound);
		return memo_fail(err, -EINVAL, "input '%s': %s is below its minimum %s", in->name, text, bound);
	}
	if (in->has_maximum && v > in->maximum) {
		memo_canon_double(in->maximum, bound);
		return memo_fail(err, -EINVAL, "input '%s': %s is above its maximum %s", in->name, text, bound);
	}
	return give(in, json_real(v == 0 ? 0.0 : v), out, err);
}

static json_t *normal_json(const json_t *j);

static json_t *normal_object(const json_t *j)
{
	MEMO_AUTO_JSON json_t *copy = json_object();
	json_t *o = (json_t *)(uintptr_t)j; /* iterators want it so; nothing is changed */
	for (void *it = json_object_iter(o); copy != NULL && it != NULL; it = json_object_iter_next(o, it))
		if (memo_json_set(copy, json_object_iter_key(it), normal_json(json_object_iter_value(it))) < 0)
			return NULL;
	return memo_json_steal(&copy);
}

/* A copy in which a whole real is an integer (as its canonical text says). memo_canon_check() went before: depth is
 * bounded, and a whole real is safe or so great that its text has an exponent. */
static json_t *normal_json(const json_t *j)
{
	if (json_is_object(j))
		return normal_object(j);
	if (json_is_array(j)) {
		MEMO_AUTO_JSON json_t *copy = json_array();
		for (size_t i = 0; copy != NULL && i < json_array_size(j); i++)
			if (memo_json_push(copy, normal_json(json_array_get(j, i))) < 0)
				return NULL;
		return memo_json_steal(&copy);
	}
	if (json_is_real(j)) {
		double v = json_real_value(j);
		bool whole = fabs(v) <= (double)MEMO_CANON_SAFE_INT && v == floor(v);
		return whole ? json_integer((json_int_t)v) : json_real(v);
	}
	return json_copy((json_t *)(uintptr_t)j);
}

static int json_value(const struct memo_input *in, const json_t *j, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err why = { 0 };
	int r = memo_canon_check(j, &why);
	if (r == 0)
		r = memo_canon_append(j, &b, &why);
	if (r < 0)
		return memo_fail(err, r == -ENOMEM ? r : -EINVAL, "input '%s': %s", in->name, why.text);
	if (b.len > MEMO_VALUE_BYTES)
		return memo_fail(err, -EINVAL, "input '%s': %zu bytes of JSON are too long for a value; at most %u",
				 in->name, b.len, MEMO_VALUE_BYTES);
	return give(in, normal_json(j), out, err);
}

/* What null means for one element. 1: go on, it is no null or one that counts as a value (inside a list of JSON). */
static int null_value(const struct memo_input *in, const json_t *j, bool element, json_t **out,
		      struct memo_err *err)
{
	if (!json_is_null(j) || (element && in->type.kind == MEMO_JSON))
		return 1;
	if (element || !in->type.optional)
		return memo_fail(err, -EINVAL,
				 "input '%s': null stands for an optional input left out; give a value", in->name);
	return give(in, json_null(), out, err);
}

static int int_from_text(const struct memo_input *in, const char *text, size_t len, json_t **out,
			 struct memo_err *err)
{
	size_t i = len > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
	bool negative = i > 0 && text[0] == '-';
	if (i == len)
		return fail_text(in, text, len, "is not a whole number", err);
	int64_t v = 0; /* kept negative: that side has one number more */
	for (; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return fail_text(in, text, len, "is not a whole number", err);
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, text[i] - '0', &v))
			return fail_text(in, text, len, "is beyond 64 bits; use a string input for it", err);
	}
	if (!negative && __builtin_sub_overflow(0, v, &v))
		return fail_text(in, text, len, "is beyond 64 bits; use a string input for it", err);
	return int_value(in, v, out, err);
}

static size_t span_digits(const char *s)
{
	return strspn(s, "0123456789");
}

/* [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. */
static bool float_syntax(const char *s)
{
	if (*s == '+' || *s == '-')
		s++;
	size_t whole = span_digits(s), fraction = 0;
	s += whole;
	if (*s == '.') {
		fraction = span_digits(s + 1);
		s += 1 + fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		if (*s == '+' || *s == '-')
			s++;
		if (span_digits(s) == 0)
			return false;
		s += span_digits(s);
	}
	return *s == '\0';
}

static int float_from_text(const struct memo_input *in, const char *text, size_t len, json_t **out,
			   struct memo_err *err)
{
	static const char remedy[] = "is not a number; write it like 4.5 or 1e-7";
	char copy[FLOAT_TEXT];
	if (len >= sizeof copy || memchr(text, '\0', len) != NULL)
		return fail_text(in, text, len, remedy, err);
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!float_syntax(copy))
		return fail_text(in, text, len, remedy, err);
	/* A program that uses the library may have set a locale with another decimal point. All categories of "C"
	 * is glibc's static object: nothing to allocate, nothing to free. */
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (c == (locale_t)0)
		return fail_memory(in, err);
	double v = strtod_l(copy, NULL, c);
	freelocale(c);
	return float_value(in, v, out, err);
}

static int json_from_text(const struct memo_input *in, const char *text, size_t len, json_t **out,
			  struct memo_err *err)
{
	if (len > MEMO_VALUE_BYTES)
		return memo_fail(err, -EINVAL, "input '%s': %zu bytes are too long for a value; at most %u",
				 in->name, len, MEMO_VALUE_BYTES);
	MEMO_AUTO_JSON json_t *j = NULL;
	struct memo_err why = { 0 };
	int r = memo_json_parse(text, len, &j, &why);
	if (r < 0) {
		struct memo_value_shown s = memo_value_show(text, len),
					w = memo_value_show(why.text, strlen(why.text));
		return memo_fail(err, r, "input '%s': '%s' is not JSON: %s", in->name, s.text, w.text);
	}
	r = null_value(in, j, in->type.array, out, err);
	return r <= 0 ? r : json_value(in, j, out, err);
}

int memo_value_from_text(const struct memo_input *in, const char *text, size_t len, json_t **out,
			 struct memo_err *err)
{
	switch (in->type.kind) {
	case MEMO_INT:
		return int_from_text(in, text, len, out, err);
	case MEMO_FLOAT:
		return float_from_text(in, text, len, out, err);
	case MEMO_BOOLEAN:
		if (len == 4 && memcmp(text, "true", 4) == 0)
			return give(in, json_true(), out, err);
		if (len == 5 && memcmp(text, "false", 5) == 0)
			return give(in, json_false(), out, err);
		return fail_text(in, text, len, "is not a boolean; write true or false", err);
	case MEMO_JSON:
		return json_from_text(in, text, len, out, err);
	case MEMO_STRING:
	case MEMO_ENUM:
	case MEMO_FILE:
	case MEMO_DIRECTORY:
		break;
	}
	return string_value(in, text, len, out, err);
}

static int fail_kind(const struct memo_input *in, const json_t *j, const char *want, struct memo_err *err)
{
	return memo_fail(err, -EINVAL, "input '%s': must be %s, but it is %s", in->name, want, memo_json_kind(j));
}

static int element_from_json(const struct memo_input *in, const json_t *j, json_t **out, struct memo_err *err)
{
	int r = null_value(in, j, in->type.array, out, err);
	if (r <= 0)
		return r;
	switch (in->type.kind) {
	case MEMO_INT:
		return json_is_integer(j) ? int_value(in, json_integer_value(j), out, err)
					  : fail_kind(in, j, "a whole number", err);
	case MEMO_FLOAT:
		return json_is_number(j) ? float_value(in, json_number_value(j), out, err)
					 : fail_kind(in, j, "a number", err);
	case MEMO_BOOLEAN:
		if (!json_is_boolean(j))
			return fail_kind(in, j, "true or false", err);
		return give(in, json_boolean(json_is_true(j)), out, err);
	case MEMO_JSON:
		return json_value(in, j, out, err);
	case MEMO_STRING:
	case MEMO_ENUM:
	case MEMO_FILE:
	case MEMO_DIRECTORY:
		break;
	}
	if (!json_is_string(j))
		return fail_kind(in, j,
				 in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY
					 ? "a string with an absolute path"
					 : "a string",
				 err);
	return string_value(in, json_string_value(j), json_string_length(j), out, err);
}

int memo_value_from_json(const struct memo_input *in, const json_t *j, json_t **out, struct memo_err *err)
{
	if (!in->type.array)
		return element_from_json(in, j, out, err);
	if (json_is_null(j))
		return null_value(in, j, false, out, err);
	if (!json_is_array(j))
		return fail_kind(in, j, "an array", err);
	if (json_array_size(j) > MEMO_ARRAY_MAX)
		return memo_fail(err, -EINVAL, "input '%s': %zu elements are too many; at most %u", in->name,
				 json_array_size(j), MEMO_ARRAY_MAX);
	MEMO_AUTO_JSON json_t *a = json_array();
	if (a == NULL)
		return fail_memory(in, err);
	for (size_t i = 0; i < json_array_size(j); i++) {
		json_t *e = NULL;
		int r = element_from_json(in, json_array_get(j, i), &e, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "element %zu", i + 1);
		if (memo_json_push(a, e) < 0)
			return fail_memory(in, err);
	}
	*out = memo_json_steal(&a);
	return 0;
}

char *memo_value_text(const struct memo_input *in, const json_t *element)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (json_is_string(element) && in->type.kind != MEMO_JSON)
		return strndup(json_string_value(element), json_string_length(element));
	bool left_out = json_is_null(element) && !(in->type.array && in->type.kind == MEMO_JSON);
	if (left_out)
		return strdup("");
	int r;
	if (json_is_integer(element)) /* beyond 2^53 too: here it is text, not JSON */
		r = memo_buf_printf(&b, "%" JSON_INTEGER_FORMAT, json_integer_value(element));
	else
		r = memo_canon_append(element, &b, NULL);
	return r < 0 ? NULL : memo_buf_steal(&b);
}
