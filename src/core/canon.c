/* The text is written in one walk; members are sorted per object. Digits come from the C library's correctly
 * rounded printf and are tried from short to long until they read back, so no table or big-number code is
 * needed. The decimal point of the process' locale never matters: digits are picked out of what printf wrote
 * and read back as "<digits>e<exponent>". */
#include "canon.h"

#include "base/json.h"
#include "base/scope.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 512
#define DIGITS_MAX 17 /* enough for every double */
#define DIGITS_CERTAIN 15 /* what is given with so few digits survives as it is, for normal numbers */
#define WHOLE_MAX 1e21 /* from here on ECMAScript writes an exponent */

/* Digits without a point, and the power of ten of the first one. */
struct decimal {
	char digit[DIGITS_MAX + 1];
	int count;
	int exponent;
};

/* @v > 0, rounded to @count digits. */
static void decimal_round(double v, int count, struct decimal *d)
{
	char text[64];
	int n = snprintf(text, sizeof text, "%.*e", count - 1, v);
	d->count = 0;
	int i = 0;
	for (; i < n && text[i] != 'e'; i++)
		if (text[i] >= '0' && text[i] <= '9' && d->count < count)
			d->digit[d->count++] = text[i];
	d->digit[d->count] = '\0';
	d->exponent = i < n ? atoi(text + i + 1) : 0;
}

/* The next greater number with as many digits. */
static void decimal_bump(struct decimal *d)
{
	int i = d->count - 1;
	while (i >= 0 && d->digit[i] == '9')
		d->digit[i--] = '0';
	if (i >= 0) {
		d->digit[i]++;
	} else {
		d->digit[0] = '1';
		d->exponent++;
	}
}

static int decimal_reads_as(const struct decimal *d, double v)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%se%d", d->digit, d->exponent - (d->count - 1));
	return strtod(text, NULL) == v;
}

/* The shortest decimal that reads back as @v > 0, of several the nearest one. Below a power of two the
 * neighbours lie closer than above it: there the nearest decimal may miss @v while the one above it does not. */
static void decimal_shortest(double v, struct decimal *d)
{
	for (int count = v < DBL_MIN ? 1 : DIGITS_CERTAIN; count <= DIGITS_MAX; count++) {
		decimal_round(v, count, d);
		if (decimal_reads_as(d, v))
			break;
		struct decimal above = *d;
		decimal_bump(&above);
		if (decimal_reads_as(&above, v)) {
			*d = above;
			break;
		}
	}
	while (d->count > 1 && d->digit[d->count - 1] == '0')
		d->digit[--d->count] = '\0';
}

/* ECMA-262 Number::toString, with k = d.count and n = d.exponent + 1. */
void memo_canon_double(double v, char out[MEMO_CANON_NUMBER])
{
	if (v == 0 || !isfinite(v)) {
		(void)snprintf(out, MEMO_CANON_NUMBER, "0");
		return;
	}
	const char *sign = v < 0 ? "-" : "";
	struct decimal d;
	char text[2 * MEMO_CANON_NUMBER]; /* roomier than any number, so that compilers see it, too */
	decimal_shortest(fabs(v), &d);
	int n = d.exponent + 1;
	if (n > 21 || n <= -6)
		(void)snprintf(text, sizeof text, "%s%c%s%se%+d", sign, d.digit[0], d.count > 1 ? "." : "",
			       d.digit + 1, d.exponent);
	else if (n <= 0)
		(void)snprintf(text, sizeof text, "%s0.%.*s%s", sign, -n, "000000", d.digit);
	else if (n < d.count)
		(void)snprintf(text, sizeof text, "%s%.*s.%s", sign, n, d.digit, d.digit + n);
	else
		(void)snprintf(text, sizeof text, "%s%s%.*s", sign, d.digit, n - d.count, "000000000000000000000");
	(void)snprintf(out, MEMO_CANON_NUMBER, "%.*s", MEMO_CANON_NUMBER - 1, text);
}

static int fail_unsafe(const char *digits, struct memo_err *err)
{
	return memo_fail(err, -ERANGE,
			 "%s is a whole number beyond 2^53 - 1, which JSON does not keep exactly; "
			 "write it as a string",
			 digits);
}

static int check_integer(json_int_t v, struct memo_err *err)
{
	if (v <= MEMO_CANON_SAFE_INT && v >= -MEMO_CANON_SAFE_INT)
		return 0;
	char text[MEMO_CANON_NUMBER];
	(void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, v);
	return fail_unsafe(text, err);
}

static int put_integer(json_int_t v, struct memo_buf *b, struct memo_err *err)
{
	int r = check_integer(v, err);
	return r < 0 ? r : memo_buf_printf(b, "%" JSON_INTEGER_FORMAT, v);
}

static int put_real(double v, struct memo_buf *b, struct memo_err *err)
{
	if (!isfinite(v))
		return memo_fail(err, -EINVAL, "a number is not finite; JSON has no infinities");
	char text[MEMO_CANON_NUMBER];
	memo_canon_double(v, text);
	return memo_buf_puts(b, text);
}

static int put_string(const char *s, size_t len, struct memo_buf *b)
{
	static const char special[] = "btn\0fr"; /* of \x08 to \x0d; \x0b has no letter */
	int r = memo_buf_putc(b, '"');
	size_t from = 0;
	for (size_t i = 0; r == 0 && i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		(void)memo_buf_append(b, s + from, i - from);
		from = i + 1;
		if (c >= 0x20)
			r = memo_buf_printf(b, "\\%c", c);
		else if (c >= 0x08 && c <= 0x0d && special[c - 0x08] != '\0')
			r = memo_buf_printf(b, "\\%c", special[c - 0x08]);
		else
			r = memo_buf_printf(b, "\\u%04x", c);
	}
	(void)memo_buf_append(b, s + from, len - from);
	(void)memo_buf_putc(b, '"');
	return memo_buf_error(b);
}

/* The order of UTF-16 code units, read off UTF-8: it is the byte order, but that what needs a surrogate pair
 * (lead byte F0 and above; surrogates are D800 to DFFF) comes before U+E000 to U+FFFF (lead byte EE or EF). */
static int compare_utf16(const void *a, const void *b)
{
	const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;
	while (*x == *y && *x != 0) {
		x++;
		y++;
	}
	if (*x >= 0xee && *y >= 0xee && (*x >= 0xf0) != (*y >= 0xf0))
		return *x >= 0xf0 ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

static int put_value(const json_t *j, unsigned depth, struct memo_buf *b, struct memo_err *err);

static int put_object(const json_t *j, unsigned depth, struct memo_buf *b, struct memo_err *err)
{
	size_t count = json_object_size(j), n = 0;
	MEMO_AUTO_FREE const char **key = calloc(count + 1, sizeof *key);
	if (key == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	/* Iterating changes nothing, but jansson's iterators want a pointer that is not const. */
	json_t *o = (json_t *)(uintptr_t)j;
	for (void *it = json_object_iter(o); it != NULL && n < count; it = json_object_iter_next(o, it))
		key[n++] = json_object_iter_key(it);
	qsort(key, n, sizeof *key, compare_utf16);
	int r = memo_buf_putc(b, '{');
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i > 0)
			(void)memo_buf_putc(b, ',');
		(void)put_string(key[i], strlen(key[i]), b);
		(void)memo_buf_putc(b, ':');
		r = put_value(json_object_get(j, key[i]), depth + 1, b, err);
	}
	return r < 0 ? r : memo_buf_putc(b, '}');
}

static int put_array(const json_t *j, unsigned depth, struct memo_buf *b, struct memo_err *err)
{
	int r = memo_buf_putc(b, '[');
	for (size_t i = 0; r == 0 && i < json_array_size(j); i++) {
		if (i > 0)
			(void)memo_buf_putc(b, ',');
		r = put_value(json_array_get(j, i), depth + 1, b, err);
	}
	return r < 0 ? r : memo_buf_putc(b, ']');
}

static int put_value(const json_t *j, unsigned depth, struct memo_buf *b, struct memo_err *err)
{
	if (j == NULL)
		return memo_fail(err, -EINVAL, "a JSON value is missing");
	if (depth > DEPTH_MAX)
		return memo_fail(err, -EINVAL, "JSON is nested deeper than %d levels; flatten it", DEPTH_MAX);
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return put_object(j, depth, b, err);
	case JSON_ARRAY:
		return put_array(j, depth, b, err);
	case JSON_STRING:
		return put_string(json_string_value(j), json_string_length(j), b);
	case JSON_INTEGER:
		return put_integer(json_integer_value(j), b, err);
	case JSON_REAL:
		return put_real(json_real_value(j), b, err);
	case JSON_TRUE:
		return memo_buf_puts(b, "true");
	case JSON_FALSE:
		return memo_buf_puts(b, "false");
	case JSON_NULL:
		return memo_buf_puts(b, "null");
	}
	return memo_fail(err, -EINVAL, "unknown kind of JSON value");
}

int memo_canon_append(const json_t *j, struct memo_buf *b, struct memo_err *err)
{
	int r = put_value(j, 0, b, err);
	if (r == 0)
		r = memo_buf_error(b);
	if (r == -ENOMEM || r == -EFBIG)
		return memo_fail(err, r, "cannot write JSON: %s", memo_strerror(r));
	return r;
}

int memo_canon_hash(const json_t *j, struct memo_id *id_out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_canon_append(j, &b, err);
	if (r < 0)
		return r;
	r = memo_hash_bytes(memo_buf_str(&b), b.len, id_out);
	return r < 0 ? memo_fail(err, r, "cannot hash: %s", memo_strerror(r)) : 0;
}

json_t *memo_canon_int(int64_t v)
{
	if (v <= MEMO_CANON_SAFE_INT && v >= -MEMO_CANON_SAFE_INT)
		return json_integer(v);
	char text[MEMO_CANON_NUMBER];
	(void)snprintf(text, sizeof text, "%lld", (long long)v);
	return json_string(text);
}

bool memo_canon_unsafe(double v)
{
	/* Every double from 2^53 on is whole; ECMAScript writes those below 1e21 without an exponent. */
	return fabs(v) > (double)MEMO_CANON_SAFE_INT && fabs(v) < WHOLE_MAX;
}

static int check_value(const json_t *j, unsigned depth, struct memo_err *err)
{
	if (depth > DEPTH_MAX)
		return memo_fail(err, -EINVAL, "JSON is nested deeper than %d levels; flatten it", DEPTH_MAX);
	if (json_is_object(j)) {
		json_t *o = (json_t *)(uintptr_t)j;
		for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it)) {
			int r = check_value(json_object_iter_value(it), depth + 1, err);
			if (r < 0)
				return r;
		}
	} else if (json_is_array(j)) {
		for (size_t i = 0; i < json_array_size(j); i++) {
			int r = check_value(json_array_get(j, i), depth + 1, err);
			if (r < 0)
				return r;
		}
	} else if (json_is_integer(j)) {
		return check_integer(json_integer_value(j), err);
	} else if (json_is_real(j)) {
		double v = json_real_value(j);
		char text[MEMO_CANON_NUMBER];
		if (!isfinite(v))
			return memo_fail(err, -EINVAL, "a number is not finite; JSON has no infinities");
		memo_canon_double(v, text);
		if (memo_canon_unsafe(v))
			return fail_unsafe(text, err);
	}
	return 0;
}

int memo_canon_check(const json_t *j, struct memo_err *err)
{
	return check_value(j, 0, err);
}

/* A scalar of @j: the same, or with its digits as a string. */
static json_t *portable_scalar(const json_t *j)
{
	if (json_is_integer(j))
		return memo_canon_int(json_integer_value(j));
	if (json_is_real(j) && memo_canon_unsafe(json_real_value(j))) {
		char text[MEMO_CANON_NUMBER];
		memo_canon_double(json_real_value(j), text);
		return json_string(text);
	}
	return json_incref((json_t *)(uintptr_t)j);
}

json_t *memo_canon_portable(const json_t *j)
{
	if (!json_is_array(j))
		return portable_scalar(j);
	MEMO_AUTO_JSON json_t *a = json_array();
	for (size_t i = 0; a != NULL && i < json_array_size(j); i++)
		if (memo_json_push(a, portable_scalar(json_array_get(j, i))) < 0)
			return NULL;
	return memo_json_steal(&a);
}
