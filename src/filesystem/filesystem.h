/* Filesystem: the mount (CONTRACT.md section 1), on the low-level API of libfuse 3.
 *
 *	memo_fs_open (parses options, makes the session, mounts) -> memo_fs_serve (own threads, returns at once)
 *	-> memo_fs_wait_ready -> ... -> memo_fs_stop (from any thread, also after the kernel closed the connection) -> memo_fs_close
 *
 * Which request may wait, which never does, and why, is in DESIGN.md, invariants 6 to 12. The process never touches its own
 * mount. Everything about results comes from the runner and the store; this layer owns node ids in use, parked requests and
 * what the kernel was told.
 *
 * Threads: MEMO_FS_THREADS session threads that never block, one that watches signalled waiters, one that notifies the
 * kernel. Errors: negative errno with a sentence. */
#ifndef MEMO_FILESYSTEM_FILESYSTEM_H
#define MEMO_FILESYSTEM_FILESYSTEM_H

#include "base/error.h"
#include "runner/runner.h"

#include <stdbool.h>
#include <stdint.h>

#define MEMO_FS_THREADS 4

struct memo_fs;

struct memo_fs_options {
	struct memo_runner *runner;
	const char *mountpoint; /* absolute, real path */
	const char *options; /* as after -o, comma-separated, or NULL: allow_other, and what mount(8) knows */
	/* Called once, from a thread of the filesystem, when the kernel ended the connection (umount, abort): the
	 * owner then stops and closes. */
	void (*ended)(void *arg);
	void *arg;
};

/* A dead mount of ours at the mount point (ENOTCONN, type fuse.memofs) is lazily unmounted first. -EBUSY: a living one is there.
 * @notice gets warnings (request time-out sysctls). *@dev_out: st_dev of the new mount. */
MEMO_MUST int memo_fs_open(const struct memo_fs_options *o, struct memo_fs **out, uint64_t *dev_out,
			   struct memo_buf *notice, struct memo_err *err);
MEMO_MUST int memo_fs_serve(struct memo_fs *fs, struct memo_err *err);
/* Until the kernel has finished its INIT; -ETIMEDOUT. */
MEMO_MUST int memo_fs_wait_ready(struct memo_fs *fs, int timeout_ms);
/* Unmounts (lazily when busy), answers everything that is parked with EIO, joins the threads. */
void memo_fs_stop(struct memo_fs *fs);
void memo_fs_close(struct memo_fs *fs);

/* Finds the memofs mount that @path lies in, from /proc/self/mountinfo alone: no access to the mount itself.
 * *@mountpoint_out and *@store_out (free() both). -ENOENT: none. */
MEMO_MUST int memo_fs_find_mount(const char *path, char **mountpoint_out, char **store_out);
/* umount(2), or fusermount3 -u where that needs its rights. -EBUSY, -ENOENT: nothing of ours is mounted there. */
MEMO_MUST int memo_fs_unmount(const char *mountpoint, bool lazy, struct memo_err *err);

#endif
