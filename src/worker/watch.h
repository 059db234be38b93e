/* Watch: keeps what a task's processes use together within bounds, where no group of the kernel does.
 *
 * Looks at all of them from time to time, so seldom that it costs at most one part in WATCH_PART of a processor; but the number of
 * the process that was made last, one small read, is asked for often, and many new ones are looked at soon. Memory is the sum of the resident sets; where that is too
 * much, of the shares (pages that several processes have count once), before anybody is ended. Shares are added up by a process
 * beside us, the examiner, because the kernel may keep whoever asks for them waiting for as long as it is asked to by forks;
 * one that does not come back in EXAMINER_NS is answer enough. Between two looks a task
 * can go beyond its bound; it is then the first that the kernel ends when memory runs out (oom_score_adj).
 *
 * One watch for each life of a tree; no threads. */
#ifndef MEMO_WORKER_WATCH_H
#define MEMO_WORKER_WATCH_H

#include "proc.h"

/* Processes and threads of a task together: this many, and more for each processor of the machine. */
#define MEMO_WATCH_PROCESSES 1024u
#define MEMO_WATCH_PROCESSES_PER_CPU 64u

enum memo_bound { MEMO_BOUND_NONE, MEMO_BOUND_MEMORY, MEMO_BOUND_PROCESSES };

struct memo_watch {
	pid_t root; /* whose descendants are watched; 1: all but it, the view being the task's own */
	uint64_t memory_bytes; /* 0: no bound */
	unsigned processes;
	int64_t due_ns; /* of the next look, monotonic */
	int64_t all_due_ns; /* of the next look at all processes */
	int64_t soonest_ns; /* not before, however many are new */
	int64_t share_due_ns; /* shares are not asked for before */
	int64_t examined_ns; /* when the examiner began; 0: there is none */
	pid_t examiner;
	int answer; /* of the examiner: one byte, enum memo_bound */
	long newest; /* the process that was made last before all were looked at */
	struct memo_processes table;
};

unsigned memo_watch_processes(void);
void memo_watch_begin(struct memo_watch *w, pid_t root, uint64_t memory_bytes);
/* Looks if it is time to. */
enum memo_bound memo_watch_look(struct memo_watch *w);
/* The examiner is left to whoever reaps. */
void memo_watch_end(struct memo_watch *w);

#endif
