/* Interrupt: whether a thread that waits for a result and was signalled shall stop waiting (CONTRACT.md 1.2).
 *
 * The kernel tells us once that a signal came, not which, and asks no second time; the masks of the thread's
 * /proc/<tid>/status still show it while the thread is stuck. Pure: over the text of that file. */
#ifndef MEMO_FILESYSTEM_INTERRUPT_H
#define MEMO_FILESYSTEM_INTERRUPT_H

#include "base/error.h"

#include <sys/types.h>

enum memo_interrupt {
	MEMO_INTERRUPT_NONE, /* nothing pending that would be delivered: ptrace, freezer, or another thread took it */
	MEMO_INTERRUPT_SOFT, /* only caught ones that must not end a wait (CHLD, URG, WINCH, ALRM, ...) */
	MEMO_INTERRUPT_END, /* one that kills or stops, or a caught INT, TERM, HUP, QUIT */
	MEMO_INTERRUPT_GONE, /* the text is not that of a thread that could be waiting */
};
enum memo_interrupt memo_interrupt_decide(const char *status);
/* Reads the file of @tid and decides; GONE when it cannot be read. */
enum memo_interrupt memo_interrupt_of(pid_t tid);
/* The thread is a kernel NFS server thread. */
int memo_interrupt_is_nfsd(pid_t tid);

#endif
