/* Task: a definition, as a task file gives it (CONTRACT.md section 2).
 *
 * parse a text -> read from any thread -> unref. Immutable after parsing, except for memo_task_complete(),
 * which whoever registered or loaded the definition calls once before sharing it. Pure: the script and the
 * `code` files are named here and read elsewhere.
 *
 * A message names the file (the @label), the key and the remedy:
 *	align/task.json: inputs.min_score.type: 'integer' is not a type; use string, int, float, ... */
#ifndef MEMO_CORE_TASK_H
#define MEMO_CORE_TASK_H

#include "base/error.h"
#include "base/hash.h"
#include "template.h"
#include "value.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_TASK_FILE_BYTES ((size_t)1 << 20)
#define MEMO_TASK_INPUTS 256
#define MEMO_TASK_NEEDS 256
#define MEMO_TASK_ARGV 4096
#define MEMO_TASK_CODE_FILES 1024
#define MEMO_TASK_CODE_BYTES ((size_t)64 << 20) /* all script and code files of one task together */
#define MEMO_TASK_TOOLS 256
#define MEMO_TASK_METHOD 24 /* name of a fingerprint's method, with the NUL */
#define MEMO_TASK_FORMAT 1
#define MEMO_TASK_CPUS 65536
#define MEMO_TASK_RETRIES 100
#define MEMO_TASK_TIME_MS INT64_C(315360000000) /* ten years: also in ns it fits int64_t */
#define MEMO_TASK_PATTERN_BYTES 1024
#define MEMO_TASK_PATTERN_COST 2000 /* characters of a pattern with its repetitions written out */
#define MEMO_TASK_PATTERN_DEPTH 32 /* groups within groups */

enum memo_output_type { MEMO_OUT_FILE, MEMO_OUT_DIRECTORY, MEMO_OUT_JSON, MEMO_OUT_EXTERNAL };
enum memo_executor { MEMO_EXEC_DEFAULT, MEMO_EXEC_LOCAL, MEMO_EXEC_SLURM };
enum memo_abandon { MEMO_ABANDON_CONTINUE, MEMO_ABANDON_CANCEL };

struct memo_need {
	char *name;
	char *task;
	char *version; /* NULL: latest */
	char *each; /* name of the array input, or NULL */
	json_t *inputs; /* object: input of the need -> literal or template string, as in the file */
};

/* A file that belongs to the code: named by its path relative to the task file's folder. */
struct memo_code {
	char *path;
	bool exec;
	uint64_t size;
	struct memo_id id; /* of its content; this and the rest is set by the registry */
	struct memo_id code; /* its fingerprint */
	char method[MEMO_TASK_METHOD]; /* that made it; "": "bytes", where @code is @id */
	int number; /* of the method */
};

struct memo_task {
	char *name;
	char *version; /* after completion: declared, or "auto-<16 hex>" */
	bool declared; /* the version was declared */
	char *description; /* may be NULL */
	json_t *definition; /* the file's object as it was */
	struct memo_input *input; /* sorted by name, byte order */
	size_t inputs;
	struct memo_need *need; /* sorted by name */
	size_t needs;
	char **command; /* argv templates as text; empty when @script is set */
	size_t commands;
	char *script; /* path relative to the task file, or NULL */
	enum memo_output_type output;
	char *output_path; /* NULL: from stdout */
	char **verify;
	size_t verifies;
	json_t *env; /* object of strings (empty object when absent) */
	struct memo_code *code; /* the script first when there is one, then `code` in byte order */
	size_t codes;
	char **tool; /* in byte order */
	size_t tools;
	int64_t cpu; /* requirements; 1 */
	uint64_t memory_bytes; /* 0: none stated */
	int64_t time_ms; /* 0: no limit */
	bool network;
	enum memo_executor executor;
	json_t *hints; /* object (empty when absent) */
	bool cache;
	int64_t max_retries;
	int *temporary; /* exit statuses */
	size_t temporaries;
	enum memo_abandon abandon;
	struct memo_id fingerprint; /* of the code, at registration; set by memo_task_complete() */
	uint64_t ino; /* first of the node ids that belong to this version; set by the registry */
	_Atomic int refs;
};

/* @label: what messages call the file. Everything that the parser can see is checked: unknown keys, types,
 * constraints, defaults, placeholders (also that the inputs and needs they name exist and that a list is
 * used as a whole argv element), paths that must be relative and stay inside, ranges. */
MEMO_MUST int memo_task_parse(const char *text, size_t len, const char *label, struct memo_task **out,
			      struct memo_err *err);
MEMO_MUST int memo_task_from_json(const json_t *definition, const char *label, struct memo_task **out,
				  struct memo_err *err);
struct memo_task *memo_task_ref(struct memo_task *t);
void memo_task_unref(struct memo_task *t);

/* Sets the version of a task that declares none, from the fingerprint. */
MEMO_MUST int memo_task_complete(struct memo_task *t, const struct memo_id *fingerprint);

/* [A-Za-z_][A-Za-z0-9_.-]{0,63} and [A-Za-z0-9][A-Za-z0-9._+-]{0,63} ("latest" is not a version). */
bool memo_task_name_ok(const char *name);
bool memo_task_version_ok(const char *version);

const struct memo_input *memo_task_input(const struct memo_task *t, const char *name); /* NULL: none */
const struct memo_need *memo_task_need(const struct memo_task *t, const char *name);

/* Full canonical inputs from a partial object (request, need): fills defaults, refuses unknown names (with
 * the nearest known one), wrong types, and names what is missing. */
MEMO_MUST int memo_task_bind(const struct memo_task *t, const json_t *partial, json_t **inputs_out,
			     struct memo_err *err);

/* A relative path that stays inside its folder: no leading '/', no "." or ".." part, no empty part. */
bool memo_task_inner_path_ok(const char *path);

/* "4 GiB", "512MiB", "1000000" (bytes); units B kB MB GB TB KiB MiB GiB TiB. -EINVAL. */
MEMO_MUST int memo_task_parse_size(const char *text, uint64_t *out);
/* "HH:MM:SS", "MM:SS", "D-HH:MM:SS" as Slurm reads them, in ms. -EINVAL. */
MEMO_MUST int memo_task_parse_time(const char *text, int64_t *ms_out);

/* True when the meaning of an instance name of this task alone can change without a registration: it has File or
 * Directory inputs (a value may be set), undeclared version with tools, or `cache` false. */
bool memo_task_volatile(const struct memo_task *t);

const char *memo_output_text(enum memo_output_type o); /* "File" ... */

#endif
