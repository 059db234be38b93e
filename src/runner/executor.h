/* Executor: runs an attempt somewhere, and says when it has ended.
 *
 * open -> start / cancel from any thread -> close. An attempt is a directory with a job.json (core/attempt.h); the
 * executor starts the worker on it, on this machine, and calls `done` once when the worker is gone, whatever it left. What
 * happened is in the attempt's exit.json: its absence means that the worker died. The executor judges nothing and knows
 * neither store nor identity, so that another scheduler is one more file with these four calls.
 *
 * Threads: one of its own starts all workers, because the parent-death signal of a child follows the thread that made it.
 * `done` runs in that thread with no lock held and must not block. */
#ifndef MEMO_RUNNER_EXECUTOR_H
#define MEMO_RUNNER_EXECUTOR_H

#include "base/error.h"

#include <sys/types.h>

struct memo_local;

/* @tag as given to start; @code 0, or a negative errno when the worker could not be started. */
typedef void memo_done_fn(void *arg, void *tag, int code);

/* @worker: absolute path of the worker program. */
MEMO_MUST int memo_local_open(const char *worker, memo_done_fn *done, void *arg, struct memo_local **out,
			      struct memo_err *err);
/* Kills what still runs and waits for it (each ends with a `done`). NULL-safe. */
void memo_local_close(struct memo_local *l);
/* Returns at once. @attempt is copied. `started` is called from the executor's thread with the worker's pid. */
MEMO_MUST int memo_local_start(struct memo_local *l, const char *attempt, void *tag,
			       void (*started)(void *arg, void *tag, pid_t pid));
/* Runs a worker and waits for it in the calling thread, for short work that is not queued (verification). 0: it has ended,
 * by itself or because memo_local_end_runs() was called; -ESHUTDOWN after that. No `done` is called. */
MEMO_MUST int memo_local_run(struct memo_local *l, const char *attempt);
/* The runner is closing: ends what memo_local_run() waits for, and refuses more. */
void memo_local_end_runs(struct memo_local *l);
/* Asks the worker to end its task (SIGTERM; SIGKILL after MEMO_LOCAL_GRACE_MS). Nothing happens if it is gone. */
#define MEMO_LOCAL_GRACE_MS 10000
void memo_local_cancel(struct memo_local *l, void *tag);

#endif
