/* Watch: keeps what a task's processes use together within bounds, where no group of the kernel does.
 *
 * Looks at /proc from time to time: soon after the start, sooner while the number of processes grows, and so seldom otherwise
 * that looking costs at most one part in WATCH_PART of a processor. Memory is the sum of the resident sets; where that is too
 * much, of the shares (pages that several processes have count once), before anybody is ended. Between two looks a task
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
	int64_t share_due_ns; /* shares are not asked for before */
	unsigned last; /* processes at the last look */
	struct memo_processes table;
};

unsigned memo_watch_processes(void);
void memo_watch_begin(struct memo_watch *w, pid_t root, uint64_t memory_bytes);
/* Looks if it is time to. */
enum memo_bound memo_watch_look(struct memo_watch *w);
void memo_watch_end(struct memo_watch *w);

#endif
