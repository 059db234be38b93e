/* Attempt: the two records between the runner and the program beside the task (the worker).
 *
 * An attempt is a directory of its own in the store's staging:
 *
 *	job.json      written by the runner before the worker starts; what to do
 *	work/         the task's working directory, made by the worker
 *	code/         the script of a task and the code files beside it, when it has a script
 *	stdout stderr captured while the task runs (growing)
 *	output        the frozen result: a file, or a directory
 *	output.tree   the listing of a directory result
 *	exit.reserve  room for exit.json, on a disk that is full by then
 *	exit.json     written by the worker by rename, last; its absence means that the worker died
 *
 * A directory is used once. The worker trusts job.json (it lies in a 0700 directory of the store's owner); the
 * runner verifies what exit.json says about files. Pure: encode and decode only. */
#ifndef MEMO_CORE_ATTEMPT_H
#define MEMO_CORE_ATTEMPT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "task.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MEMO_ATTEMPT_FORMAT 1
#define MEMO_ATTEMPT_RECORD_BYTES ((size_t)64 << 20)
/* A File input up to this size is copied into the work directory, so that what was hashed is what is read: the copy
 * is hashed again against `sha256`. A larger one is a symbolic link, and its stat is compared before and after. */
#define MEMO_ATTEMPT_COPY_BYTES ((uint64_t)1 << 20)

/* Where the script lies, seen from work/: the one place outside it that an input may be put. */
#define MEMO_ATTEMPT_CODE "../code/"

/* How a file looked when it was hashed. */
struct memo_guard {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};

struct memo_job_input {
	char *to; /* path relative to work/: "reads.fq", "needs/index", "needs/parts/0", or MEMO_ATTEMPT_CODE
	                    * and a path inside code/ */
	char *from; /* absolute path */
	bool directory;
	bool trusted; /* a stored object or a code file: never copied, not guarded */
	bool exec; /* a copy gets mode 0555 instead of 0444 (scripts) */
	bool copy; /* always copied, whatever its size: script and code files, which lie in the store under other
	                    * names, and what somebody with other rights than the task's has named (runner/plan.h) */
	bool guarded; /* @guard and @id hold */
	struct memo_guard guard;
	struct memo_id id; /* content (file) or tree (directory) */
	struct memo_id trace; /* the worker's own: memo_tree_trace() of a directory before the run */
};

/* The setting `sandbox` (CONTRACT section 6), and what else decides how far a task may reach. */
enum memo_sandbox_mode { MEMO_SANDBOX_OFF, MEMO_SANDBOX_AUTO, MEMO_SANDBOX_ON };

struct memo_job_sandbox {
	enum memo_sandbox_mode mode;
	char *readable, *writable; /* the settings: directories separated by ':'; NULL: none */
	char *mount; /* the store's mount, which tasks may read; NULL: none */
	char *control; /* the store's control socket, which they may not use; NULL: none */
};

struct memo_job {
	char identity[MEMO_HEX_SIZE];
	int64_t attempt;
	int64_t owner_pid; /* the daemon; the worker ends when it does. 0: nobody (a batch job) */
	char **argv; /* expanded; argv[0] is looked up in env PATH unless it has a '/' */
	size_t argc;
	json_t *env; /* all variables but HOME, TMPDIR (the worker sets them to work/) */
	struct memo_job_input *input;
	size_t inputs;
	enum memo_output_type output;
	char *output_path; /* relative to work/; NULL: stdout */
	int64_t time_ms; /* 0: none */
	uint64_t memory_bytes; /* requirements.memory; 0: none */
	uint64_t memory_limit_bytes; /* what its processes may use together; 0: no limit */
	bool network;
	struct memo_job_sandbox sandbox;
};

enum memo_exit_status {
	MEMO_EXIT_SUCCESS,
	MEMO_EXIT_FAILED, /* non-zero status or death by a signal */
	MEMO_EXIT_TIMEOUT,
	MEMO_EXIT_CANCELLED, /* the worker was asked to end (SIGTERM) or its owner died */
	MEMO_EXIT_OUTPUT, /* exit 0, but the output is missing or not allowed */
	MEMO_EXIT_CHANGED, /* an input changed between hashing and reading */
	MEMO_EXIT_SPACE, /* the disk is full (also quota) */
	MEMO_EXIT_ERROR, /* the worker itself could not do its work */
};

enum memo_result_kind { MEMO_RESULT_FILE, MEMO_RESULT_DIRECTORY, MEMO_RESULT_EXTERNAL };

/* The frozen output. */
struct memo_produced {
	enum memo_result_kind kind;
	struct memo_id hash; /* the output hash, see memo_attempt_exec_hash() */
	struct memo_id blob; /* of a file: SHA-256 of the bytes */
	uint64_t size; /* bytes: of the file, of all files of the tree, of the path's text */
	bool exec; /* a file with an x bit */
	uint64_t entries; /* of a tree, the root included */
	char *path; /* of an external result; else NULL */
};

struct memo_exit {
	enum memo_exit_status status;
	int code; /* exit status, -1: none */
	int signal; /* 0: none */
	char *message; /* one sentence for people; NULL on success */
	int64_t wall_ms, cpu_ms;
	int64_t max_rss_kib;
	int64_t started_ns, ended_ns; /* wall clock, for people */
	char *host;
	char *isolation; /* how the process tree is held: "pidns" or "subreaper" */
	json_t *sandbox; /* what was reached, an object of texts for people and origin.json; NULL: nothing is known */
	struct memo_produced produced; /* with SUCCESS */
};

MEMO_MUST int memo_job_encode(const struct memo_job *j, struct memo_buf *b);
MEMO_MUST int memo_job_decode(const char *text, size_t len, struct memo_job *out, struct memo_err *err);
void memo_job_clear(struct memo_job *j);
MEMO_MUST int memo_exit_encode(const struct memo_exit *x, struct memo_buf *b);
MEMO_MUST int memo_exit_decode(const char *text, size_t len, struct memo_exit *out, struct memo_err *err);
void memo_exit_clear(struct memo_exit *x);

/* The output hash of a plain file is the SHA-256 of its bytes, so that sha256sum(1) agrees with it; of a directory the
 * tree's hash; of a file with an x bit SHA-256 of "memofs-exec 1\n<64 hex of the bytes>\n", because the x bit is part
 * of what a later task sees; of an external path that of "memofs-external 1\n<path>\n<64 hex of its stat tree>\n". */
MEMO_MUST int memo_attempt_exec_hash(const struct memo_id *blob, struct memo_id *hash_out);
MEMO_MUST int memo_attempt_external_hash(const char *path, const struct memo_id *tree, struct memo_id *hash_out);

const char *memo_exit_text(enum memo_exit_status s); /* "success", "failed" ... */
const char *memo_sandbox_text(enum memo_sandbox_mode m); /* "off", "auto", "on" */
/* -EINVAL. */
MEMO_MUST int memo_sandbox_parse(const char *text, enum memo_sandbox_mode *out);

#endif
