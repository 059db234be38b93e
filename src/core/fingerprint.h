/* Fingerprint: what of a task's code counts for its identity when it declares no version.
 *
 * Of a file: a digest and the method that made it. Method "bytes", number 1: SHA-256 of the content. A method that
 * leaves comments out ("shell", "shell-lines", "python" ..; lex.h) hashes "memofs-code <method>/<number>\n" and the
 * normal form. The method is part of the digest, and stands in key.json.
 *
 * Of a task: SHA-256 over the canonical JSON of
 *	{"code":[{"path":..,"sha256":..,"exec":..}..], "command":[..], "env":{..},
 *	 "output":{"type":..,"from":"stdout"} or {"type":..,"path":..},
 *	 "script":"path or null", "tools":[{"name":..,"sha256":..}..]}
 * where a file whose method is not "bytes" has "method" and "number", too. A task has two of them: this, and the raw
 * one, in which every file counts by its bytes. A result is found by the first; the second leads to it when the
 * lexers have changed meanwhile (store.h: aliases). Command texts (["sh", "-c", TEXT]) count byte for byte.
 * Pure. */
#ifndef MEMO_CORE_FINGERPRINT_H
#define MEMO_CORE_FINGERPRINT_H

#include "base/error.h"
#include "base/hash.h"
#include "task.h"

#define MEMO_FINGERPRINT_METHOD "bytes"
#define MEMO_FINGERPRINT_COMMENTS "comments" /* of a task: some of its files have another method */
#define MEMO_FINGERPRINT_NUMBER 1

struct memo_fingerprint {
	struct memo_id id;
	const char *method; /* "bytes", "shell" ...: static */
	int number; /* of the method */
	const char *language; /* "unknown", "shell", ...: static; what the name or #! line says */
	const char *reason; /* why bytes: static, NULL if it was not a fallback */
};

MEMO_MUST int memo_fingerprint_file(const char *name, const void *data, size_t len, struct memo_fingerprint *out,
				    struct memo_err *err);

struct memo_lex_use;
MEMO_MUST int memo_fingerprint_used(const char *name, const void *data, size_t len, const struct memo_lex_use *use,
				    struct memo_fingerprint *out, struct memo_err *err);

/* The code files of a task together: one that another file or the command may read (not run) counts byte for byte, and so
 * does one that the command gives to a program that is no interpreter of its language; what can see the line numbers or
 * statements of others, or keeps what they write to stderr, makes those count in them. @out: one for each. */
struct memo_fingerprint_text {
	const char *name;
	const void *data;
	size_t len;
};
MEMO_MUST int memo_fingerprint_files(const struct memo_task *t, const struct memo_fingerprint_text *text, size_t n,
				     struct memo_fingerprint *out, struct memo_err *err);

bool memo_fingerprint_is_bytes(const struct memo_code *c);
bool memo_fingerprint_all_bytes(const struct memo_task *t);
/* {"method":"bytes","number":1}, or {"files":{"run.sh":"shell/1"},"method":"comments","number":1}. -ENOMEM. */
MEMO_MUST int memo_fingerprint_describe(const struct memo_task *t, json_t **out);

/* From t->code[]; @raw: as if every method were "bytes". @tool_id[i] goes with t->tool[i] (digests of the programs
 * found now). */
MEMO_MUST int memo_fingerprint_task(const struct memo_task *t, bool raw, const struct memo_id *tool_id,
				    struct memo_id *id_out, struct memo_err *err);

#endif
