/* Proc: what /proc shows of the processes, for ending and for watching a tree.
 *
 * A table is a picture of one moment: processes come and go while it is made. Owned by the caller; memo_proc_clear(). */
#ifndef MEMO_WORKER_PROC_H
#define MEMO_WORKER_PROC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct memo_process {
	pid_t pid, parent;
	unsigned threads;
	uint64_t start; /* with the pid it names a process for good */
	uint64_t rss_bytes; /* pages that it shares with others count whole */
	bool ours; /* memo_proc_mark() */
};

struct memo_processes {
	struct memo_process *at; /* by pid */
	size_t count, cap;
};

/* One process. -ESRCH: it is gone. */
MEMO_MUST int memo_proc_read(pid_t pid, struct memo_process *out);
/* All that /proc shows, but at most @most processes. */
MEMO_MUST int memo_proc_read_all(struct memo_processes *t, size_t most);
/* How many processes /proc shows, at most @most: much cheaper than to read them. */
MEMO_MUST int memo_proc_count(size_t most, size_t *count_out);
/* Marks what hangs below @root, itself left out. */
void memo_proc_mark(struct memo_processes *t, pid_t root);
void memo_proc_clear(struct memo_processes *t);

/* The number of the process that was made last in this namespace; -errno. */
MEMO_MUST long memo_proc_newest(void);

/* Whose it is; (uid_t)-1: it is gone. */
uid_t memo_proc_owner(pid_t pid);

/* The share of the process in its memory (Pss, swapped pages too). Dear: the kernel walks its page tables. -EACCES. */
MEMO_MUST int memo_proc_share(pid_t pid, uint64_t *bytes_out);

#endif
