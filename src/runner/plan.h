/* Plan: what an instance depends on, and its identity once that is known.
 *
 * make (registry look-ups only) -> the owner fills each file's digest and each upstream's result -> identify -> clear.
 * A plan is name-level: {needs.y} inside a need's inputs is the path of y's instance, so nothing has to be computed to
 * know the whole graph. Used in two ways: by a call, which hashes and demands what is missing, and by peek, which gives
 * up where something is. One thread at a time. */
#ifndef MEMO_RUNNER_PLAN_H
#define MEMO_RUNNER_PLAN_H

#include "base/error.h"
#include "core/identity.h"
#include "core/task.h"
#include "store/store.h"

#include <jansson.h>
#include <stdbool.h>

/* A File or Directory value outside the mount, or a tool (then @input is NULL and @tool its index). */
struct memo_dep_file {
	const struct memo_input *input;
	long index; /* in an array; -1: not in one */
	const char *path; /* borrowed from the inputs, or from @owned */
	char *owned;
	size_t tool;
	bool directory;
	bool known; /* @digest holds */
	bool copy; /* the task gets a copy */
	struct memo_digest digest;
};

/* An upstream instance: of a need, or named as an input. */
struct memo_dep_up {
	char key[MEMO_UPSTREAM_KEY]; /* its member in "upstream" */
	const struct memo_need *need;
	const struct memo_input *input;
	long index; /* in a need with "each", or in an array input; -1 */
	struct memo_task *task;
	json_t *inputs;
	char *inner; /* path inside a directory result, or NULL */
	struct memo_result *result; /* a reference once known */
	bool held; /* the store keeps its bytes until the plan is cleared */
};

struct memo_plan {
	struct memo_store *store;
	struct memo_task *task;
	const json_t *inputs;
	struct memo_dep_file *file;
	size_t files;
	struct memo_dep_up *up;
	size_t ups;
};

/* @err: -EINVAL inputs of a need that do not fit, -ENOENT an unknown need or tool, -ENOMEM. @task and @inputs are borrowed and
 * must outlive the plan. @depth bounds nothing here; the caller counts it. */
MEMO_MUST int memo_plan_make(struct memo_store *s, struct memo_task *t, const json_t *inputs, struct memo_plan *out,
			     struct memo_err *err);
void memo_plan_clear(struct memo_plan *p);
/* The result of an upstream (a reference is taken, NULL: not known after all). Unless it is a collected one, the store keeps its
 * bytes as long as the plan has it: what waits or runs reads them by path. */
void memo_plan_up_set(struct memo_plan *p, size_t i, struct memo_result *res);
/* An upstream of which only the hash is known. */
bool memo_plan_lacks(const struct memo_plan *p);

/* Fills digests from the memo alone. -EAGAIN: at least one must be hashed. */
MEMO_MUST int memo_plan_known(struct memo_store *s, struct memo_plan *p, const struct memo_who *who);
/* Hashes what is not known. Blocks on the disk. Inputs are opened with the rights of @who (tools with our own: they are the
 * task's). What somebody with limits names is also hashed where it does not count, and marked to be handed to the task as a
 * copy: a place that he can change must not lead the task, which has other rights, anywhere else. */
MEMO_MUST int memo_plan_hash(struct memo_store *s, struct memo_plan *p, const struct memo_who *who,
			     struct memo_err *err);
/* It has an input that is a file or a directory outside the mount. */
bool memo_plan_has_inputs(const struct memo_plan *p);

/* Whether each tool is still the file that was hashed, and still the one that PATH leads to. */
bool memo_plan_tools_hold(struct memo_store *s, const struct memo_plan *p);

/* With all digests and results there: the key and its identity; *@upstream_out: the record's array of
 * {"need","path","identity","hash"}. */
MEMO_MUST int memo_plan_identify(struct memo_store *s, const struct memo_plan *p, json_t **key_out,
				 struct memo_id *id_out, json_t **upstream_out, struct memo_err *err);

/* The raw identity that goes with that key (identity.h); the identity itself where every file counts by its bytes.
 * -ENOENT: the task declares a version. */
MEMO_MUST int memo_plan_raw(const struct memo_plan *p, const json_t *key, struct memo_id *raw_out,
			    struct memo_err *err);

/* Path of an instance below the mount's root, appended. */
MEMO_MUST int memo_plan_path(const struct memo_task *t, const json_t *inputs, struct memo_buf *out,
			     struct memo_err *err);
/* Takes "/tasks/n/v/c[/inner]" apart into an instance. -ENOENT, -EINVAL with words. @inner_out: free() it, NULL: none. */
MEMO_MUST int memo_plan_resolve(struct memo_store *s, const char *path, struct memo_task **task_out,
				json_t **inputs_out, char **inner_out, struct memo_err *err);
MEMO_MUST int memo_plan_component(struct memo_store *s, struct memo_task *t, const char *component,
				  json_t **inputs_out, struct memo_err *err);

#endif
