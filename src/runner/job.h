/* Job: what the worker is told to do for one instance, from its plan. Pure but for paths in the store.
 *
 * The work directory: a File or Directory input under its base name, an upstream instance named as an input under the
 * input's name (so that which upstream gave the bytes does not show), needs as needs/<need>[/<index>], for a task with
 * `command` its `code` files at their own paths. A base name that would collide with one of these, or with the output,
 * goes to inputs-<input>[-<index>]/<base name>. The script of a task, with its `code` files beside it, lies outside,
 * in ../code/. Paths are handed to the program relative to the work directory, so that results that mention
 * their command line are the same bytes each time; one that begins with '-' is written "./-...". */
#ifndef MEMO_RUNNER_JOB_H
#define MEMO_RUNNER_JOB_H

#include "base/error.h"
#include "core/attempt.h"
#include "plan.h"

/* @p is complete (results and digests). @mountpoint may be NULL. @out is cleared with memo_job_clear(). */
MEMO_MUST int memo_job_build(struct memo_store *s, const struct memo_plan *p, const char *identity_hex,
			     const char *mountpoint, struct memo_job *out, struct memo_err *err);
/* The same for the task's `verify` command: the result lies where the task would have made it ({output}), or as "output"
 * for one from stdout. */
MEMO_MUST int memo_job_build_verify(struct memo_store *s, const struct memo_plan *p, const struct memo_result *res,
				    const char *identity_hex, struct memo_job *out, struct memo_err *err);
/* Writes job.json into an attempt directory, and reads the exit record there. -ENOENT: the worker left none. */
MEMO_MUST int memo_job_write(const struct memo_job *j, const char *attempt, struct memo_err *err);
MEMO_MUST int memo_job_exit(const char *attempt, struct memo_exit *out, struct memo_err *err);
/* What of a job is kept with the result, to reproduce it by hand: {"argv","env","inputs":[{"to","from"}],"stdout"}. */
json_t *memo_job_json(const struct memo_job *j);
/* A shell script that does what such an object says. @sandbox: what the execution had (an exit record's), which the script has
 * not; NULL: not known yet. */
MEMO_MUST int memo_job_script(const json_t *command, const json_t *sandbox, const char *title,
			      struct memo_buf *out);
/* What an exit record says of the sandbox, as one line of text without an end. */
void memo_job_say_sandbox(const json_t *sandbox, struct memo_buf *out);

#endif
