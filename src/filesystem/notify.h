/* Notify: tells the kernel which names mean something else now, from a thread that holds no lock.
 *
 * Events of the runner are queued by the listener and worked off here: the names are detached from their nodes, then the
 * kernel is told. (Telling it takes the directory's lock in the kernel, which a LOOKUP that waits for one of our threads
 * may hold: a handler must never do it.) */
#ifndef MEMO_FILESYSTEM_NOTIFY_H
#define MEMO_FILESYSTEM_NOTIFY_H

#include "node.h"
#include "runner/runner.h"

#include <pthread.h>

struct memo_fs;
struct memo_notice;

struct memo_notify {
	struct memo_mutex mu;
	struct memo_cond cond;
	struct memo_notice *first, **last; /* guarded by mu */
	bool stop; /* guarded by mu */
	bool running;
	pthread_t thread;
};

void memo_notify_init(struct memo_notify *q);
MEMO_MUST int memo_notify_start(struct memo_fs *fs);
void memo_notify_stop(struct memo_fs *fs);
void memo_notify_clear(struct memo_notify *q);

/* A memo_event_fn; @arg is the memo_fs. */
void memo_notify_event(void *arg, const struct memo_event *e);
/* Takes the list. */
void memo_notify_gone(struct memo_fs *fs, struct memo_gone *gone);

#endif
