/* Path: the grammar of names below the mount (CONTRACT.md 1.1). Pure and total: any bytes are accepted as
 * input, and either understood or refused; no I/O. The fuzz target is tests/fuzz/path.c. */
#ifndef MEMO_CORE_PATH_H
#define MEMO_CORE_PATH_H

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "task.h"

#include <jansson.h>

#define MEMO_COMPONENT_MAX 255
#define MEMO_HANDLE_MIN 12 /* hex digits of a shortened handle */

enum memo_component {
	MEMO_COMP_NONE, /* neither '=' nor a leading '@', or longer than the limit: does not exist */
	MEMO_COMP_DEFAULT, /* @default */
	MEMO_COMP_HANDLE, /* @<12 to 64 lower-case hex> */
	MEMO_COMP_PAIRS, /* key=value,... */
};

/* What a component is by its shape. A leading '@' that is neither @default nor a well-formed handle is NONE. */
enum memo_component memo_path_classify(const char *component);

/* The inputs that a DEFAULT or PAIRS component names, canonical and complete. @err says what is wrong and where.
 * -ENOENT: NONE, or a HANDLE (ask the store); -EINVAL: does not parse or does not fit the types;
 * -ENAMETOOLONG: longer than 255 bytes. Percent-encoding is decoded exactly once; after it, NUL and
 * invalid UTF-8 are refused. A repeated key is an array and nothing else. */
MEMO_MUST int memo_path_inputs(const struct memo_task *t, const char *component, json_t **inputs_out,
			       struct memo_err *err);

/* The canonical component for canonical inputs, appended to @b (any length).
 * -ENOTSUP: these inputs cannot be spelled (an empty array that is not the default, null over a default that is
 * not null, or an empty-string element that would read differently): they are named by a handle. */
MEMO_MUST int memo_path_spell(const struct memo_task *t, const json_t *inputs, struct memo_buf *b);

/* The inputs digest: SHA-256 of the canonical JSON of {"inputs":{...}}, whole numbers beyond 2^53 - 1 as strings
 * (memo_canon_portable). */
MEMO_MUST int memo_path_digest(const json_t *inputs, struct memo_id *id_out, struct memo_err *err);

/* The name to use: the spelled-out one when it can be spelled in 255 bytes, else "@<64 hex of the digest>". */
MEMO_MUST int memo_path_name(const struct memo_task *t, const json_t *inputs, struct memo_buf *b,
			     struct memo_err *err);

/* "/tasks/<name>/<version>/<component>[/<inner>]" taken apart, also with a leading /cached, /start or /info, or with
 * none of them ("name/version/component"). Parts are free()d by memo_path_parts_clear. */
struct memo_path_parts {
	char *view; /* "tasks", "cached", "start", "info" */
	char *task;
	char *version; /* NULL when the path ends before it */
	char *component; /* NULL likewise */
	char *inner; /* what follows the component, without a leading '/'; NULL: nothing */
};
MEMO_MUST int memo_path_split(const char *path, struct memo_path_parts *out, struct memo_err *err);
void memo_path_parts_clear(struct memo_path_parts *p);

/* Percent-encodes one value or key as a canonical component needs it ('/', ',', '%', control characters, and '='
 * in keys never occurs). */
MEMO_MUST int memo_path_encode(const char *text, size_t len, struct memo_buf *b);
/* Decodes exactly once. -EINVAL: bad escape, NUL, or not UTF-8 afterwards. */
MEMO_MUST int memo_path_decode(const char *text, size_t len, struct memo_buf *b, struct memo_err *err);

#endif
