/* Place: where in a JSON file something stands, and what is wrong there.
 *
 *	struct memo_place top = { .key = "align/task.json", .err = &err };
 *	struct memo_place at = memo_place_key(&top, "inputs");
 *	return memo_place_refuse(&at, "must be an object; ...");   ->  "align/task.json: inputs: must be ..."
 *
 * Places live on the stack of the function that descends; each points to the one above it. The getters
 * leave their output alone when the key is absent, so that the caller sets the default first.
 * Private to core. Pure. */
#ifndef MEMO_CORE_PLACE_H
#define MEMO_CORE_PLACE_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memo_place {
	const struct memo_place *up; /* NULL: @key is the file */
	const char *key; /* NULL: the element @index of an array */
	size_t index;
	struct memo_err *err; /* never NULL */
};

static inline struct memo_place memo_place_key(const struct memo_place *up, const char *key)
{
	return (struct memo_place){ .up = up, .key = key, .err = up->err };
}

static inline struct memo_place memo_place_index(const struct memo_place *up, size_t index)
{
	return (struct memo_place){ .up = up, .index = index, .err = up->err };
}

/* What a user wrote, fit for a sentence: cut to some sixty bytes, without control characters. */
struct memo_shown {
	char text[72];
};
struct memo_shown memo_place_show(const char *text);

/* -EINVAL with "<file>: <key path>: <text>". */
int memo_place_refuse(const struct memo_place *at, const char *fmt, ...) MEMO_PRINTF(2, 3);
/* -ENOMEM likewise. */
int memo_place_nomem(const struct memo_place *at);
/* Passes on what another module said into at->err, the place before it. @r < 0. */
int memo_place_pass(const struct memo_place *at, int r);

/* @o is an object, and all its keys are among @known (ended by NULL). */
MEMO_MUST int memo_place_object(const struct memo_place *at, const json_t *o, const char *const *known);
MEMO_MUST int memo_place_string(const struct memo_place *at, const json_t *o, const char *key, const char **out);
MEMO_MUST int memo_place_bool(const struct memo_place *at, const json_t *o, const char *key, bool *out);
MEMO_MUST int memo_place_int(const struct memo_place *at, const json_t *o, const char *key, int64_t least,
			     int64_t most, int64_t *out);
/* An array of at most @most strings, not empty; copies. *@list_out grows with *@count_out, also when a later
 * element is refused: the owner of the list frees what is there. */
MEMO_MUST int memo_place_strings(const struct memo_place *at, const json_t *o, const char *key, size_t most,
				 char ***list_out, size_t *count_out);
/* The keys of @o in byte order; free() the list, the keys are @o's. Never NULL on success. */
MEMO_MUST int memo_place_sorted(const struct memo_place *at, json_t *o, const char ***keys_out);

#endif
