/* Park: requests that wait for the runner's answer.
 *
 * A parked request is a list entry, never a thread. Exactly one of these replies to it: the runner's answer, the watcher
 * (the waiting thread was signalled: EINTR), stop (EIO). Whoever sets `claimed` under the lock replies; nobody else
 * touches the request from then on.
 *
 * A group is a leader, which made the demand, and those that wait for the same node of a "cache": false task. The wait
 * ends early only when nobody in the group is left; the work goes on in any case.
 *
 * The callback that libfuse runs for an INTERRUPT holds the request's lock and takes ours: so the callback is never
 * taken away (which waits for it) while ours is held.
 *
 * Threads: one that watches signalled waiters. */
#ifndef MEMO_FILESYSTEM_PARK_H
#define MEMO_FILESYSTEM_PARK_H

#include "node.h"
#include "runner/runner.h"

#include <fuse_lowlevel.h>
#include <pthread.h>

struct memo_fs;
struct memo_parked;

enum memo_call_op { MEMO_CALL_GETATTR, MEMO_CALL_OPEN, MEMO_CALL_OPENDIR, MEMO_CALL_READLINK };

/* A request that may have to wait; copied about. */
struct memo_call {
	fuse_req_t req;
	struct memo_node *node; /* pinned by the call */
	enum memo_call_op op;
	struct fuse_file_info fi;
	unsigned attempt; /* OPEN: how often the bytes were gone already */
	pid_t tid;
	uid_t uid;
	gid_t gid;
};

struct memo_park {
	struct memo_mutex mu;
	struct memo_cond cond;
	struct memo_parked *all; /* guarded by mu */
	struct memo_parked *signalled; /* guarded by mu */
	bool stop; /* guarded by mu */
	size_t live; /* entries, guarded by mu */
	bool running;
	pthread_t thread;
};

void memo_park_init(struct memo_park *p);
MEMO_MUST int memo_park_start(struct memo_fs *fs);
/* Answers all with EIO, also those that come later; ends the watcher. */
void memo_park_stop(struct memo_fs *fs);
/* After stop: until the last callback has returned. */
void memo_park_drain(struct memo_fs *fs);
void memo_park_clear(struct memo_park *p);

/* Demands the result of @o's inputs for @call and sees to the reply (memo_call_resume, or an error). Takes the request
 * and the call's pin. @owner: the node that the result is for, or NULL (asked again, because bytes were gone). */
void memo_park_demand(struct memo_fs *fs, const struct memo_call *call, const struct memo_origin *o,
		      struct memo_node *owner, unsigned flags);

#endif
