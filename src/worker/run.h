/* Run, the inside: what the worker tells the processes that it starts, and what they report.
 *
 * pidns:      worker -> init (process 1 of a new pid namespace) -> task. When init ends the kernel has killed and
 *             reaped everything in the namespace; init gets SIGKILL when the worker dies. An ordinary user may have one
 *             inside a user namespace, in which he is himself and nobody else.
 * subreaper:  worker -> task. Orphans become children of the worker, which kills until it has no child. A worker that
 *             is killed takes only the task itself along.
 *
 * Reports go through a pipe whose ends close when programs are executed, so that no task holds it. */
#ifndef MEMO_WORKER_RUN_H
#define MEMO_WORKER_RUN_H

#include "sandbox.h"
#include "watch.h"
#include "worker.h"

#include <signal.h>

/* What the worker asks of init; signals of others are told apart by their sender. */
#define MEMO_INIT_SOFT SIGUSR1 /* SIGTERM to the task's process group */
#define MEMO_INIT_HARD SIGUSR2 /* to end, and all with it */

enum memo_report_kind {
	MEMO_REPORT_REFUSED, /* init: namespaces or mounts are not allowed here; @value: errno */
	MEMO_REPORT_START, /* task: not started; @step says where, @value: errno */
	MEMO_REPORT_STATUS, /* init: the task ended; @value: its wait status */
	MEMO_REPORT_LEVEL, /* task: about to begin; @level: what was reached */
	MEMO_REPORT_COVERED, /* init: the task's output lies on a mount of its own */
	MEMO_REPORT_BOUND, /* init: ended by the watch; @value: enum memo_bound */
};

enum memo_start_step {
	MEMO_START_FORK,
	MEMO_START_VIEW,
	MEMO_START_FILES,
	MEMO_START_SESSION,
	MEMO_START_SANDBOX,
	MEMO_START_RIGHTS,
	MEMO_START_EXEC,
};

enum memo_hold { MEMO_HOLD_PIDNS, MEMO_HOLD_USERNS, MEMO_HOLD_TREE };

struct memo_report {
	enum memo_report_kind kind;
	enum memo_start_step step;
	int value;
	struct memo_level level;
};

struct memo_start {
	const struct memo_worker *w;
	int report_read, report_write;
	enum memo_hold hold;
	pid_t worker; /* in the worker's own namespace */
	uid_t uid;
	gid_t gid;
	int oom; /* oom_score_adj of whoever starts the task; -1 */
	int nice; /* of the task */
	struct memo_level level; /* reached so far */
};

/* Both are the whole life of a child process. */
_Noreturn void memo_init_main(struct memo_start *s);
_Noreturn void memo_init_task(struct memo_start *s);
void memo_init_report(const struct memo_start *s, enum memo_report_kind kind, enum memo_start_step step, int value);
/* fork() of the task by whoever is to hold it: of what it starts the kernel ends something first when memory runs out. */
pid_t memo_init_fork(struct memo_start *s);
void memo_init_open_oom(struct memo_start *s);

/* SIGTERM to the process group of @task, stopped or not. */
void memo_descend_terminate(pid_t task);
/* SIGKILL to every descendant of this process that /proc shows now. */
int memo_descend_kill(void);

#endif
