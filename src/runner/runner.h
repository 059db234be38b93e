/* Runner: turns demands into results: resolve, look up, execute once, answer everyone.
 *
 *	open -> demand / peek / drop / start from any thread -> close
 *
 * A demand names a task version and canonical inputs. The runner hashes File inputs, demands what is upstream
 * (recursively, in parallel), computes the identity and looks it up. A miss is executed once (single flight on the
 * identity), however many ask. The answer comes by callback, exactly once, unless the demand was dropped first. Waiting
 * costs no thread.
 *
 * Callbacks run in a thread of the runner with no lock held; they may call the runner again, must not block for long,
 * and never run inside memo_runner_demand() itself (an immediate hit is returned as a value instead).
 *
 * Ownership: the runner owns its threads and the children; results and tasks are shared by reference.
 * Limits: MEMO_RUNNER_DEPTH nested needs; the setting `max_waiting` per user.
 * Rights. A File or Directory input that a demand names, also by way of a need, is opened with the rights of whoever asks,
 * each time, a hit included; -EACCES otherwise. So demands of users with different rights are resolved apart, and only what
 * executes is shared. What a task reads in the mount while it runs is read by the store's owner, whom it runs as: which paths
 * that can be is its author's word. The setting `runners` is looked at with the asker's groups, too.
 *
 * What a demand can end with: -EIO the task failed (or is in its back-off), -EDEADLK a cycle of demands, -EACCES not
 * allowed to start work, -EDQUOT too many waiting, -ENOSPC the store is full, -ECANCELED cancelled, -ENOENT for PEEK,
 * -EINVAL inputs that do not fit (an input file is missing is -EIO with a sentence). */
#ifndef MEMO_RUNNER_RUNNER_H
#define MEMO_RUNNER_RUNNER_H

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "core/task.h"
#include "store/store.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MEMO_RUNNER_DEPTH 256

struct memo_runner;
struct memo_wait; /* a demand that waits */

struct memo_runner_options {
	struct memo_store *store;
	const char *worker; /* absolute path of the worker program */
	const char *mountpoint; /* absolute, or NULL: tasks get no MEMOFS_MOUNT */
};
MEMO_MUST int memo_runner_open(const struct memo_runner_options *o, struct memo_runner **out, struct memo_err *err);
/* Starts no more work, answers waiting demands with -ESHUTDOWN, ends running tasks (they are PENDING again
 * afterwards), joins the threads. */
void memo_runner_close(struct memo_runner *r);

/* ---- demands --------------------------------------------------------------------------------- */

/* @code: 0 and @res (borrowed; take a reference to keep it), or a negative errno and @err (borrowed). */
typedef void memo_answer_fn(void *arg, int code, struct memo_result *res, const struct memo_err *err);

enum memo_demand_flags {
	MEMO_DEMAND_PEEK = 1, /* hash and look up, never execute: -ENOENT on a miss */
	MEMO_DEMAND_FORCE = 2, /* skip the look-up of this instance, not of what is upstream */
	MEMO_DEMAND_FRESH =
		4, /* for a task with "cache": false: an execution of its own, joined by nobody later. Without it
	                        * such a demand joins one that is in flight. Ignored for cached tasks. */
	MEMO_DEMAND_CHECK =
		8, /* a hit is not given at once but looked at: whether the path of an external result still exists.
	                        * (Every demand that is not a hit at once does so.) */
};

struct memo_demand {
	struct memo_task *task; /* borrowed; a reference is taken */
	const json_t *inputs; /* canonical; a reference is taken, must not be changed afterwards */
	unsigned flags;
	uid_t uid; /* who asks; the store's owner for internal use */
	const struct memo_who
		*who; /* his rights (base/who.h), for what the inputs name; a reference is taken. NULL: no
				     * limits. */
	pid_t tid; /* thread that asks, 0: none (not a process of this machine) */
	uint64_t ino; /* node id for the result, 0: any */
	memo_answer_fn *answer;
	void *arg;
};

/* 0: answered at once: *@res_out (a reference) is the hit. 1: waits: *@wait_out is set and @answer will be called.
 * Negative: refused at once with @err. */
MEMO_MUST int memo_runner_demand(struct memo_runner *r, const struct memo_demand *d, struct memo_wait **wait_out,
				 struct memo_result **res_out, struct memo_err *err);
/* Ends a wait. true: dropped, @answer will never be called; false: it was called or is just being called. After either
 * (and after @answer was called) @w must not be used: exactly one of the two releases it, see memo_wait_release(). */
bool memo_runner_drop(struct memo_runner *r, struct memo_wait *w);
/* Every memo_wait that memo_runner_demand() gave must be released once by its owner, after drop or answer. */
void memo_wait_release(struct memo_wait *w);

/* Starts the work and does not wait; it is not abandoned. *@state_out: the state afterwards. */
MEMO_MUST int memo_runner_start(struct memo_runner *r, const struct memo_demand *d, enum memo_state *state_out,
				struct memo_err *err);

/* What is known now, without hashing, waiting or starting anything. 0: a hit (a reference). -ENOENT: a miss.
 * -EAGAIN: cannot be told without hashing an input. Input files are opened with the rights of @who, which may block; with
 * MEMO_PEEK_NO_FILES none is touched, and -EAGAIN also says that there is one. -EACCES: @who may not read one. */
enum memo_peek_flags { MEMO_PEEK_NO_FILES = 1 };
MEMO_MUST int memo_runner_peek(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
			       const struct memo_who *who, unsigned flags, struct memo_result **out);
/* True when what the name means can change without a registration: it has File or Directory values, needs, tools without
 * a declared version, or "cache": false. Such names are looked up anew each time. */
bool memo_runner_volatile(const struct memo_task *t, const json_t *inputs);

/* The bytes of @res are gone or damaged: tells the store, so that the next demand executes again. */
MEMO_MUST int memo_runner_lost(struct memo_runner *r, struct memo_result *res, const char *reason,
			       struct memo_err *err);

/* A process of a running task read a committed result, or (with @link) the target of a `latest` link, through the mount:
 * recorded with the task's result. Cheap when no task runs. @path: below the mount's root, "/tasks/...". */
void memo_runner_observe(struct memo_runner *r, pid_t tid, const char *path, const struct memo_id *hash,
			 const char *link);

/* A result that was found without a demand (the mount knew it already) is read: counts as a hit. Costs no lock. */
void memo_runner_count_hit(struct memo_runner *r, const struct memo_task *t, const struct memo_result *res);

/* Cancels what executes for this instance: its waiters get -ECANCELED. -ENOENT: nothing is in flight. */
MEMO_MUST int memo_runner_cancel(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
				 struct memo_err *err);
/* Forgets the result and the failure memory of an instance. -ENOENT: there was neither. */
MEMO_MUST int memo_runner_forget(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
				 struct memo_err *err);

/* ---- retention (store/collect.h says by which rule; retain.c) ---------------------------------- */

struct memo_runner_gc {
	bool limited; /* else the setting max_size is the limit, if there is one */
	uint64_t limit; /* bytes of results that may stay */
	bool dry; /* says what would go */
	int (*each)(void *arg,
		    json_t *row); /* what goes (memo_store_gc()); may be NULL; must not call runner or store */
	void *arg;
};
/* Garbage goes, and results until the rest fits; blocks on the disk, executes nothing. *@summary_out: as memo_store_gc(). What is
 * open or needed by what is in flight stays. */
MEMO_MUST int memo_runner_gc(struct memo_runner *r, const struct memo_runner_gc *gc, json_t **summary_out,
			     struct memo_err *err);
/* The setting max_size was changed, or has never been looked at: whatever is too much goes by itself. */
void memo_runner_retain(struct memo_runner *r);
/* Pins the result that a read would be served now, or unpins it. -ENOENT: there is none. Durable. */
MEMO_MUST int memo_runner_pin(struct memo_runner *r, struct memo_task *t, const json_t *inputs, bool pinned,
			      struct memo_err *err);
/* {"max_size" (0: none),"bytes" (of results; null: not counted yet),"collected":{"times","results","bytes","seconds"}}. */
MEMO_MUST int memo_runner_room(struct memo_runner *r, json_t **out, struct memo_err *err);

/* The registry was changed by the control server: tell listeners. */
void memo_runner_task_changed(struct memo_runner *r, const char *task, const char *version);

/* The settings were changed by the control server: tell listeners. */
void memo_runner_settings_changed(struct memo_runner *r);

/* ---- listening ------------------------------------------------------------------------------- */

enum memo_event_kind {
	MEMO_EVENT_STATE, /* an instance changed its state */
	MEMO_EVENT_NAME, /* the name means another result now, or none */
	MEMO_EVENT_TASK, /* a task version was added, updated or removed */
	MEMO_EVENT_NOTICE, /* a line for the log of a daemon: @reason; the rest is not set */
	MEMO_EVENT_SETTINGS, /* a setting was changed; no task */
};
struct memo_event {
	enum memo_event_kind kind;
	const char *task;
	const char *version;
	const char *name; /* component; NULL for TASK and SETTINGS */
	enum memo_state state; /* for STATE */
	const char *reason; /* may be NULL */
};
typedef void memo_event_fn(void *arg, const struct memo_event *e);
/* Called in order, from runner threads, with no lock of the runner's state held; must not block. At most
 * MEMO_RUNNER_LISTENERS. unlisten() returns when no call is in flight. */
#define MEMO_RUNNER_LISTENERS 64
MEMO_MUST int memo_runner_listen(struct memo_runner *r, memo_event_fn *fn, void *arg);
void memo_runner_unlisten(struct memo_runner *r, memo_event_fn *fn, void *arg);

/* ---- what is known about an instance (info.c) ------------------------------------------------- */

/* The state now: of what is in flight, else of the record. MEMO_STATES: never demanded. */
enum memo_state memo_runner_state(struct memo_runner *r, const struct memo_task *t, const json_t *inputs);

/* One of the small texts of /info (CONTRACT.md 1.3): "state", "identity", "inputs.json", "key.json", "why", "stderr", "stdout",
 * "history.jsonl", "origin.json", "output_hash", "command.sh". -ENOENT: the instance was never demanded, or the text does not
 * exist (yet). Never waits, never computes. At most MEMO_INFO_BYTES (the last ones of a longer log). */
#define MEMO_INFO_BYTES ((size_t)16 << 20)
MEMO_MUST int memo_runner_info(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
			       const struct memo_who *who, const char *what, struct memo_buf *out,
			       struct memo_err *err);
extern const char *const memo_info_names[]; /* the above, NULL at the end */
/* A descriptor of the growing or final log, for following; "stderr" or "stdout". -ENOENT: none. */
MEMO_MUST int memo_runner_log(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
			      const char *which, int *fd_out, bool *running_out);
/* Array of {"need":..,"path":"/tasks/.."} for upstream/. New reference. */
MEMO_MUST int memo_runner_upstream(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
				   json_t **out, struct memo_err *err);
/* What is in flight: array of objects {"task","version","name","path","identity","state","since","waiters","reason"
 * (what it waits for),"pid"}. New reference. */
MEMO_MUST int memo_runner_active(struct memo_runner *r, json_t **out);

/* The part of the above that @w waits for, transitively, itself included: for showing progress. Valid until @w is released. */
MEMO_MUST int memo_runner_progress(struct memo_runner *r, struct memo_wait *w, json_t **out);

/* The canonical path "/tasks/<name>/<version>/<component>"; a handle is registered when it needs one. */
MEMO_MUST int memo_runner_path(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
			       struct memo_buf *out, struct memo_err *err);
/* The reverse, for any accepted path (also aliases, handles, `latest`): the task (a reference) and canonical inputs.
 * -ENOENT, -EINVAL, -ENAMETOOLONG with words. @component alone is used by the mount: @version may be NULL (latest). */
MEMO_MUST int memo_runner_resolve(struct memo_runner *r, const char *task, const char *version,
				  const char *component, struct memo_task **task_out, json_t **inputs_out,
				  struct memo_err *err);

struct memo_store *memo_runner_store(struct memo_runner *r);
/* As in the options; NULL: not mounted. */
const char *memo_runner_mountpoint(const struct memo_runner *r);

#endif
