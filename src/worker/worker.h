/* Worker: the program beside one task. It lives as long as the attempt and does its steps in this order:
 *
 *	prepare   work/, the inputs in it, the environment, the program to run        setup.c, input.c
 *	run       start the task, hold its process tree, wait, end what is left       run.c, init.c, descend.c
 *	recheck   the inputs that were not copied: are they still what was hashed?    input.c
 *	capture   the output: freeze, hash, describe                                  capture.c
 *	write     exit.json, the last act                                             main.c
 *
 * One thread, no state but `struct memo_worker`. A step returns 0, or a negative errno after it has put status and
 * message into the exit record; the steps after it are left out then. */
#ifndef MEMO_WORKER_WORKER_H
#define MEMO_WORKER_WORKER_H

#include "core/attempt.h"

#include <stdbool.h>
#include <sys/types.h>

enum memo_isolation { MEMO_ISOLATION_AUTO, MEMO_ISOLATION_PIDNS, MEMO_ISOLATION_SUBREAPER };

struct memo_worker {
	enum memo_isolation isolation; /* what is asked for */
	int dir; /* the attempt directory; also the current directory */
	int work; /* work/ in it */
	char *path; /* the attempt directory, absolute and canonical */
	char *work_path;
	struct memo_job job;
	struct memo_exit exit;
	char **envp; /* of the task */
	char *program; /* the file to execute: absolute, or relative to work/ */
};

/* Decides the attempt: status and message. Returns @code. */
int memo_worker_fail(struct memo_worker *w, int code, enum memo_exit_status status, const char *fmt, ...)
	MEMO_PRINTF(4, 5);
/* The same where the worker's own work failed: a full disk is MEMO_EXIT_SPACE, the rest @status. */
int memo_worker_error(struct memo_worker *w, int code, enum memo_exit_status status, const char *fmt, ...)
	MEMO_PRINTF(4, 5);
/* True when there is an owner to live for and it is gone. */
bool memo_worker_orphaned(const struct memo_worker *w);

/* Copies directory @from to @to in @work, links followed; *@id_out: the hash of the copy (copy_dir.c). -EAGAIN: it changed. */
MEMO_MUST int memo_worker_copy_dir(int from, int work, const char *to, struct memo_id *id_out);

MEMO_MUST int memo_worker_prepare(struct memo_worker *w);
/* Of prepare: the inputs and the folder of the output. */
MEMO_MUST int memo_worker_place(struct memo_worker *w);
/* After the run, whether the task did well or not: MEMO_EXIT_CHANGED when it read what was not hashed. */
MEMO_MUST int memo_worker_recheck(struct memo_worker *w);
MEMO_MUST int memo_worker_run(struct memo_worker *w);
MEMO_MUST int memo_worker_capture(struct memo_worker *w);

#endif
