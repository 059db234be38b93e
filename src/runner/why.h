/* Why: what the files of `memofs why` share. why.c walks from an instance down to the cause; why_key.c tells two keys apart;
 * why_diff.c shows what of the code is different.
 *
 * A hash of which nothing is known without reading or executing something is 64 zeros (MEMO_WHY_UNKNOWN) in a key. */
#ifndef MEMO_RUNNER_WHY_H
#define MEMO_RUNNER_WHY_H

#include "base/buf.h"
#include "base/error.h"
#include "store/store.h"

#include <jansson.h>
#include <stddef.h>

#define MEMO_WHY_UNKNOWN "0000000000000000000000000000000000000000000000000000000000000000"
#define MEMO_WHY_BYTES ((size_t)1 << 20) /* of a whole text; what is beyond is not told */

/* The members in which two keys differ, in the order of key.json: array of {"what": "inputs.x", "before", "after"}; an absent
 * value is left out. *@count_out: how many of them are known to differ (elements of one array count once). */
MEMO_MUST int memo_why_compare(const json_t *before, const json_t *after, json_t **out, size_t *count_out);
/* A value as people read it: a File by name and hash, hashes shortened, long ones cut. */
int memo_why_value(const json_t *v, struct memo_buf *out);
/* "inputs.x: 3 -> 5". */
int memo_why_line(const json_t *difference, struct memo_buf *out);

/* One side of a change of code. */
struct memo_why_side {
	const char *task;
	const char *version;
	const char *code; /* 64 hex */
};
/* Lines that say what changed: unified diffs of files, command and environment, and the tools. */
MEMO_MUST int memo_why_code(struct memo_store *s, const struct memo_why_side *before,
			    const struct memo_why_side *after, struct memo_buf *out);

/* A unified diff (Myers) of two texts, nothing when they are equal. Texts of more than MEMO_DIFF_LINES lines, more than
 * MEMO_DIFF_CHANGES changed lines, and what is no UTF-8 text are not shown; one line says so. */
#define MEMO_DIFF_BYTES ((size_t)1 << 20)
#define MEMO_DIFF_LINES 20000
#define MEMO_DIFF_CHANGES 1000
struct memo_diff_text {
	const char *name;
	const char *data; /* NULL: does not exist */
	size_t len;
};
MEMO_MUST int memo_diff(const struct memo_diff_text *before, const struct memo_diff_text *after,
			struct memo_buf *out);

#endif
