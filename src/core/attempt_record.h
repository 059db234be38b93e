/* Pieces of the attempt's records, for the files that encode and decode them. The getters say in words which key is
 * wrong; the setters take nothing over. */
#ifndef MEMO_CORE_ATTEMPT_RECORD_H
#define MEMO_CORE_ATTEMPT_RECORD_H

#include "attempt.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A string as JSON; NULL: out of memory. */
json_t *memo_record_bytes(const char *s);
/* A string of the record, new memory; no byte of it is NUL. */
MEMO_MUST int memo_record_get_bytes(const json_t *j, const char *key, char **out, struct memo_err *err);
MEMO_MUST int memo_record_need_bytes(const json_t *o, const char *key, char **out, struct memo_err *err);
/* Absent or null leaves *@out NULL. */
MEMO_MUST int memo_record_may_bytes(const json_t *o, const char *key, char **out, struct memo_err *err);
MEMO_MUST int memo_record_need_id(const json_t *o, const char *key, struct memo_id *out, struct memo_err *err);
/* A count: 0 to INT64_MAX. */
MEMO_MUST int memo_record_need_count(const json_t *o, const char *key, uint64_t *out, struct memo_err *err);

/* NULL: the key is left out. */
MEMO_MUST int memo_record_set_bytes(json_t *o, const char *key, const char *s);
MEMO_MUST int memo_record_set_int(json_t *o, const char *key, int64_t v);
MEMO_MUST int memo_record_set_bool(json_t *o, const char *key, bool v);
MEMO_MUST int memo_record_set_id(json_t *o, const char *key, const struct memo_id *id);

/* The text of @o appended to @b, if @r is still good. */
MEMO_MUST int memo_record_finish(const json_t *o, int r, struct memo_buf *b);
/* The object in @text, whose key @mark bears the format's number. */
MEMO_MUST int memo_record_parse(const char *text, size_t len, const char *mark, json_t **out, struct memo_err *err);

#endif
