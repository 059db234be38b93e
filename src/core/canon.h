/* Canon: JSON in the one spelling of RFC 8785 (JSON Canonicalization Scheme).
 *
 * Members sorted by UTF-16 code units, no blanks, minimal escapes, numbers as ECMAScript prints them
 * (shortest digits that read back to the same double). Pure.
 *
 * A whole number beyond 2^53 - 1 in magnitude cannot be told from its neighbours in that scheme. It is
 * refused (-ERANGE, RFC 7493 2.2) rather than rounded: two inputs must never share an identity. Callers
 * that have 64-bit integers put them in as decimal strings (memo_canon_int). */
#ifndef MEMO_CORE_CANON_H
#define MEMO_CORE_CANON_H

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MEMO_CANON_SAFE_INT INT64_C(9007199254740991)
#define MEMO_CANON_NUMBER 32 /* bytes that any number needs, NUL included */

/* -ERANGE: an unsafe integer (named), -EINVAL: not finite, nested deeper than 512. */
MEMO_MUST int memo_canon_append(const json_t *j, struct memo_buf *b, struct memo_err *err);
MEMO_MUST int memo_canon_hash(const json_t *j, struct memo_id *id_out, struct memo_err *err);
/* ECMAScript's Number::toString of a finite double. */
void memo_canon_double(double v, char out[MEMO_CANON_NUMBER]);
/* A JSON integer where it is safe, else its decimal digits as a string. NULL: out of memory. */
json_t *memo_canon_int(int64_t v);
/* A double that RFC 8785 writes like a whole number beyond 2^53 - 1: read back as JSON it would be refused. */
bool memo_canon_unsafe(double v);
/* What stands for an input's value (a scalar, an array, other JSON) where canonical JSON is made of inputs: numbers
 * that are whole and beyond 2^53 - 1, the value's own or of the array's elements, become decimal strings; all else
 * is the same. New reference; NULL: out of memory. */
json_t *memo_canon_portable(const json_t *j);
/* 0 when every number in @j survives RFC 8785 and comes back from its text as the same number; -ERANGE (also for a
 * double as above), -EINVAL as in memo_canon_append. */
MEMO_MUST int memo_canon_check(const json_t *j, struct memo_err *err);

#endif
