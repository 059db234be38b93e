/* Fingerprint: what of a task's code counts for its identity when it declares no version.
 *
 * Of a file: a digest and the method that made it. The one method now is "bytes", number 1: the content, byte for
 * byte. A method that leaves comments out gets another name and number, and both stand in key.json, so that a
 * result can always be told which rule it was stored under.
 *
 * Of a task: SHA-256 over the canonical JSON of
 *	{"code":[{"path":..,"sha256":..,"exec":..}..], "command":[..], "env":{..},
 *	 "output":{"type":..,"from":"stdout"} or {"type":..,"path":..},
 *	 "script":"path or null", "tools":[{"name":..,"sha256":..}..]}
 * Pure. */
#ifndef MEMO_CORE_FINGERPRINT_H
#define MEMO_CORE_FINGERPRINT_H

#include "base/error.h"
#include "base/hash.h"
#include "task.h"

#define MEMO_FINGERPRINT_METHOD "bytes"
#define MEMO_FINGERPRINT_NUMBER 1

struct memo_fingerprint {
	struct memo_id id;
	const char *method; /* "bytes": static */
	int number; /* 1 */
	const char *language; /* "unknown", "shell", ...: static; what the name or #! line says */
	const char *reason; /* why bytes: static, NULL if it was not a fallback */
};

MEMO_MUST int memo_fingerprint_file(const char *name, const void *data, size_t len, struct memo_fingerprint *out,
				    struct memo_err *err);

/* @code_id[i] goes with t->code[i], @tool_id[i] with t->tool[i] (digests of the programs found now). */
MEMO_MUST int memo_fingerprint_task(const struct memo_task *t, const struct memo_id *code_id,
				    const struct memo_id *tool_id, struct memo_id *id_out, struct memo_err *err);

#endif
