/* Value: the types of inputs, and values in canonical form.
 *
 * A value is a json_t whose shape follows from its type:
 *
 *	string, enum, File, Directory   JSON string (valid UTF-8, no NUL); a path is absolute and lexically
 *	                                clean: no "//", ".", "..", no trailing '/' (memo_value_clean_path)
 *	int                             JSON integer, 64 bit
 *	float                           JSON real, finite, never -0
 *	boolean                         true or false
 *	json                            any JSON value that survives RFC 8785 but a bare null; whole
 *	                                reals are integers, so that equal values are json_equal()
 *	T[]                             JSON array of T
 *	an optional input left out      null
 *
 * "inputs" everywhere means a JSON object with exactly one member for each declared input, canonical,
 * defaults filled in. Pure; no shared state. */
#ifndef MEMO_CORE_VALUE_H
#define MEMO_CORE_VALUE_H

#include "base/error.h"

#include <jansson.h>
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_NAME_MAX 64 /* bytes of a task's, version's, input's or need's name */
#define MEMO_VALUE_BYTES (1u << 20) /* of one string value */
#define MEMO_ARRAY_MAX 1000000u /* elements of an array */

enum memo_kind {
	MEMO_STRING,
	MEMO_INT,
	MEMO_FLOAT,
	MEMO_BOOLEAN,
	MEMO_ENUM,
	MEMO_FILE,
	MEMO_DIRECTORY,
	MEMO_JSON,
};

struct memo_type {
	enum memo_kind kind;
	bool array;
	bool optional;
};

#define MEMO_TYPE_TEXT 16 /* bytes for the spelling of any type */

/* One declared input. */
struct memo_input {
	char *name;
	struct memo_type type;
	char type_text[MEMO_TYPE_TEXT]; /* "int[]?" */
	bool identity; /* false: left out of the identity */
	bool required; /* no default and not optional */
	json_t *fallback; /* the canonical default (null for an optional one); NULL if required */
	json_t *values; /* of an enum: array of strings; else NULL */
	bool has_minimum, has_maximum;
	double minimum, maximum; /* for float */
	int64_t int_minimum, int_maximum; /* for int */
	char *pattern; /* POSIX extended, must match somewhere (anchor it with ^ and $); or NULL */
	regex_t regex; /* compiled when @pattern is set */
};

/* "File[]?" and so on; -EINVAL. */
MEMO_MUST int memo_type_parse(const char *text, struct memo_type *out);
void memo_type_text(const struct memo_type *t, char out[MEMO_TYPE_TEXT]);

/* One element (never an array) from text, as it stands in a path or on a command line, percent-decoding
 * already done. Checks the constraints. int: decimal digits with an optional sign; float: what strtod reads,
 * finite, no hex; boolean: true or false; json: JSON text. -EINVAL with a sentence that names the input. */
MEMO_MUST int memo_value_from_text(const struct memo_input *in, const char *text, size_t len, json_t **out,
				   struct memo_err *err);
/* The whole value (an array too) from JSON, as in a task file's default, a need, or a request. An integer is
 * accepted for a float. null only for optional inputs (and as an element of json[], where it is a value). @out is canonical, a new reference. */
MEMO_MUST int memo_value_from_json(const struct memo_input *in, const json_t *j, json_t **out,
				   struct memo_err *err);
/* The text of one element as argv and environment get it: strings as they are, numbers in canonical form,
 * json canonical, null (an optional input left out) as "". free() it; NULL: out of memory. */
char *memo_value_text(const struct memo_input *in, const json_t *element);

/* The name of an input or a need: [A-Za-z_][A-Za-z0-9_]*, at most MEMO_NAME_MAX bytes. */
bool memo_value_name_ok(const char *name);
/* Well-formed UTF-8 (RFC 3629) without NUL. */
bool memo_value_utf8_ok(const char *text, size_t len);
/* Any bytes as a message shows them: the first MEMO_VALUE_SHOWN, on one line, UTF-8, with "..." when cut. */
#define MEMO_VALUE_SHOWN 80
struct memo_value_shown {
	char text[MEMO_VALUE_SHOWN + sizeof "..."];
};
struct memo_value_shown memo_value_show(const char *text, size_t len);
/* The lexically clean form of an absolute path (free() it): -EINVAL when it is not absolute or climbs above /. */
MEMO_MUST int memo_value_clean_path(const char *path, char **out, struct memo_err *err);

#endif
