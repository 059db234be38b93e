/* Json: reading objects that came from outside or from the store, over jansson.
 *
 * Parsing refuses duplicate keys, NUL inside strings, nesting that jansson bounds (2048) and texts
 * above a limit. The getters say in words which key is wrong. Nothing here is canonical: see core/canon. */
#ifndef MEMO_BASE_JSON_H
#define MEMO_BASE_JSON_H

#include "buf.h"
#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Any JSON value. The error text carries line and column. */
MEMO_MUST int memo_json_parse(const char *text, size_t len, json_t **out, struct memo_err *err);
/* One line, keys sorted, no blanks: for records. free() it; NULL: out of memory or not valid UTF-8. */
char *memo_json_text(const json_t *j);
/* The same appended to @b. */
MEMO_MUST int memo_json_append(const json_t *j, struct memo_buf *b);

/* Required members: -EINVAL and "<what>: key '<key>' ..." when absent or of another type. */
MEMO_MUST int memo_json_need_string(const json_t *o, const char *key, const char **out, struct memo_err *err);
MEMO_MUST int memo_json_need_int(const json_t *o, const char *key, int64_t *out, struct memo_err *err);
/* Lenient members: the default when absent or of another type. */
const char *memo_json_string(const json_t *o, const char *key, const char *fallback);
int64_t memo_json_int(const json_t *o, const char *key, int64_t fallback);
bool memo_json_bool(const json_t *o, const char *key, bool fallback);

/* What a value is, for messages: "an object", "a whole number" ... */
const char *memo_json_kind(const json_t *v);

/* json_object_set_new that reports out of memory; takes the reference of @v in any case (NULL: -ENOMEM). */
MEMO_MUST int memo_json_set(json_t *o, const char *key, json_t *v);
MEMO_MUST int memo_json_push(json_t *a, json_t *v);

#endif
