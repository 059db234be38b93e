/* Filesystem: the session's life. The loop is our own, so that stop works also while clients hold files of a detached mount
 * open: then nothing but a signal ends a read of the device. */
#include "private.h"

#include "base/scope.h"
#include "mount.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FS_WAKE (SIGRTMIN + 1) /* no other part of the program uses real-time signals */
#define FS_WAKE_NS MEMO_NS_PER_MS /* between two tries to end a thread's read */
#define STALE_MOUNTS 16 /* dead ones on top of each other that are cleared away */

void memo_fs_inited(struct memo_fs *fs)
{
	memo_mutex_lock(&fs->mu);
	fs->ready = true;
	memo_cond_broadcast(&fs->cond);
	memo_mutex_unlock(&fs->mu);
}

/* ---- the loop --------------------------------------------------------------------------------------- */

/* The kernel ended the connection. */
static void connection_gone(struct memo_fs *fs)
{
	memo_mutex_lock(&fs->mu);
	bool tell = !fs->gone && !fs->stopping;
	fs->gone = true;
	memo_cond_broadcast(&fs->cond);
	memo_mutex_unlock(&fs->mu);
	if (tell && fs->ended != NULL)
		fs->ended(fs->arg);
}

/* Each thread sleeps in read(2) on the device: with a poll in front every request would cost two more system calls. The wake
 * signal, which only these threads take, ends the read; it may come too early, so stop_threads() repeats it. */
static void *loop(void *arg)
{
	struct memo_fs *fs = arg;
	struct fuse_buf buf = { 0 };
	sigset_t wake;
	(void)sigemptyset(&wake);
	(void)sigaddset(&wake, FS_WAKE);
	(void)pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	while (!atomic_load(&fs->stop)) {
		int r = fuse_session_receive_buf(fs->session, &buf);
		if (r > 0)
			fuse_session_process_buf(fs->session, &buf);
		else if (r != -EINTR && r != -EAGAIN)
			break;
	}
	if (!atomic_load(&fs->stop))
		connection_gone(fs);
	free(buf.mem);
	return NULL;
}

static void woken(int sig)
{
	(void)sig;
}

static int start_threads(struct memo_fs *fs)
{
	struct sigaction a = { .sa_handler = woken }; /* not SA_RESTART: the read shall end */
	int r = sigaction(FS_WAKE, &a, NULL) == 0 ? 0 : memo_errno();
	while (r == 0 && fs->threads < MEMO_FS_THREADS) {
		r = memo_thread_start(&fs->thread[fs->threads], "fs-session", loop, fs);
		fs->threads += r == 0;
	}
	return r;
}

static void stop_threads(struct memo_fs *fs)
{
	const struct timespec pause = { .tv_nsec = FS_WAKE_NS };
	atomic_store(&fs->stop, true);
	for (unsigned i = 0; i < fs->threads; i++) {
		(void)pthread_kill(fs->thread[i], FS_WAKE);
		while (pthread_tryjoin_np(fs->thread[i], NULL) != 0) {
			(void)nanosleep(&pause, NULL);
			(void)pthread_kill(fs->thread[i], FS_WAKE);
		}
	}
	fs->threads = 0;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

/* A mount whose daemon is gone answers nothing but ENOTCONN; only asking it about its file system always asks the daemon. */
static int clear_stale(const char *point, struct memo_err *err)
{
	for (int i = 0; i < STALE_MOUNTS; i++) {
		struct memo_mount m;
		int r = memo_mount_find_now(point, false, &m);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return memo_fail(err, r, "cannot read /proc/self/mountinfo: %s", memo_strerror(r));
		bool ours = strcmp(m.type, MEMO_MOUNT_TYPE) == 0;
		struct statvfs v;
		r = ours && statvfs(point, &v) != 0 ? memo_errno() : 0;
		if (ours && r != -ENOTCONN && r != -ECONNABORTED) {
			(void)memo_fail(err, -EBUSY,
					"'%s' is a memofs mount already, of the store %s; unmount it first", point,
					m.source);
			memo_mount_clear(&m);
			return -EBUSY;
		}
		memo_mount_clear(&m);
		if (!ours)
			return 0;
		r = memo_mount_undo(point, true, err);
		if (r < 0)
			return r;
	}
	return memo_fail(err, -EBUSY, "'%s': too many dead mounts there; unmount them", point);
}

/* The top of the mount is always there. */
static int fixed_nodes(struct memo_fs *fs)
{
	for (unsigned i = 0; i < MEMO_VIEWS + 2; i++) {
		struct memo_node_spec s = { .kind = MEMO_NODE_VIEW, .type = S_IFDIR };
		if (i == MEMO_VIEWS) {
			s.ino = MEMO_INO_ROOT;
			s.kind = MEMO_NODE_ROOT;
		} else if (i == MEMO_VIEWS + 1) {
			s.ino = MEMO_INO_README;
			s.kind = MEMO_NODE_README;
			s.type = S_IFREG;
		} else {
			s.view = (enum memo_view)i;
			s.ino = memo_view_ino(s.view);
		}
		struct memo_node *pinned;
		int r = memo_nodes_make(&fs->nodes, &s, &pinned, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_session(struct memo_fs *fs, const struct memo_mount_options *mo, struct memo_err *err)
{
	char name[] = "memofs";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	fs->session = fuse_session_new(&args, &memo_ops, sizeof memo_ops, fs);
	fuse_opt_free_args(&args);
	if (fs->session == NULL)
		return memo_fail(err, -ENOMEM, "cannot make a FUSE session");
	int fd = -1;
	int r = memo_mount_do(fs->mountpoint, memo_store_dir(fs->store), mo, &fd, err);
	if (r < 0)
		return r;
	fs->mounted = true;
	char device[32];
	(void)snprintf(device, sizeof device, "/dev/fd/%d", fd);
	if (fuse_session_mount(fs->session, device) != 0) {
		(void)close(fd);
		return memo_fail(err, -EIO, "cannot set up the FUSE session of '%s'", fs->mountpoint);
	}
	return 0;
}

static struct memo_fs *fs_new(const struct memo_fs_options *o)
{
	struct memo_fs *fs = calloc(1, sizeof *fs);
	if (fs == NULL)
		return NULL;
	fs->runner = o->runner;
	fs->store = memo_runner_store(o->runner);
	fs->ended = o->ended;
	fs->arg = o->arg;
	fs->uid = geteuid();
	fs->started_ns = memo_wall_ns();
	fs->mountpoint = strdup(o->mountpoint);
	if (fs->mountpoint == NULL || memo_nodes_init(&fs->nodes) < 0) {
		free(fs->mountpoint);
		free(fs);
		return NULL;
	}
	memo_mutex_init(&fs->mu);
	memo_cond_init(&fs->cond);
	memo_park_init(&fs->park);
	memo_notify_init(&fs->notify);
	return fs;
}

int memo_fs_settings(struct memo_fs *fs, struct memo_err *err)
{
	struct memo_settings settings;
	int r = memo_store_settings(fs->store, &settings, err);
	if (r < 0)
		return r;
	atomic_store(&fs->mode, settings.mode);
	atomic_store(&fs->gid, settings.gid);
	return 0;
}

static int fs_open(struct memo_fs *fs, const struct memo_mount_options *mo, uint64_t *dev_out, struct memo_err *err)
{
	int r = memo_fs_settings(fs, err);
	if (r < 0)
		return r;
	r = fixed_nodes(fs);
	if (r < 0)
		return memo_fail(err, r, "cannot mount: out of memory");
	r = make_session(fs, mo, err);
	if (r < 0)
		return r;
	struct memo_mount m;
	r = memo_mount_find_now(fs->mountpoint, false, &m);
	if (r < 0)
		return memo_fail(err, r, "the mount at '%s' is not in /proc/self/mountinfo", fs->mountpoint);
	fs->dev = m.dev;
	*dev_out = m.dev;
	memo_mount_clear(&m);
	return 0;
}

int memo_fs_open(const struct memo_fs_options *o, struct memo_fs **out, uint64_t *dev_out, struct memo_buf *notice,
		 struct memo_err *err)
{
	struct memo_mount_options mo;
	int r = memo_mount_options(o->options, &mo, err);
	if (r == 0)
		r = clear_stale(o->mountpoint, err);
	if (r == 0 && notice != NULL)
		r = memo_mount_check_kernel(notice);
	if (r < 0)
		return r;
	struct memo_fs *fs = fs_new(o);
	if (fs == NULL)
		return memo_fail(err, -ENOMEM, "cannot mount at '%s': out of memory or descriptors", o->mountpoint);
	r = fs_open(fs, &mo, dev_out, err);
	if (r < 0) {
		memo_fs_close(fs);
		return r;
	}
	*out = fs;
	return 0;
}

int memo_fs_serve(struct memo_fs *fs, struct memo_err *err)
{
	int r = memo_runner_listen(fs->runner, memo_notify_event, fs);
	if (r < 0)
		return memo_fail(err, r, "the mount cannot listen to the runner: %s", memo_strerror(r));
	fs->listening = true;
	r = memo_notify_start(fs);
	if (r == 0)
		r = memo_park_start(fs);
	if (r == 0)
		r = start_threads(fs);
	return r < 0 ? memo_fail(err, r, "cannot start the mount's threads: %s", memo_strerror(r)) : 0;
}

int memo_fs_wait_ready(struct memo_fs *fs, int timeout_ms)
{
	int64_t deadline = memo_now_ns() + timeout_ms * MEMO_NS_PER_MS;
	int r = 0;
	memo_mutex_lock(&fs->mu);
	while (r == 0 && !fs->ready && !fs->gone)
		r = memo_cond_wait_until(&fs->cond, &fs->mu, deadline);
	r = fs->ready ? 0 : fs->gone ? -ENOTCONN : r;
	memo_mutex_unlock(&fs->mu);
	return r;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/* What is mounted there may be somebody else's by now. */
static void unmount_own(struct memo_fs *fs)
{
	struct memo_mount m;
	if (!fs->mounted || memo_mount_find_now(fs->mountpoint, false, &m) < 0)
		return;
	bool own = strcmp(m.type, MEMO_MOUNT_TYPE) == 0 && (fs->dev == 0 || m.dev == fs->dev);
	memo_mount_clear(&m);
	/* In use: detached; when the device is closed those who use it get ENOTCONN. */
	if (own && memo_mount_undo(fs->mountpoint, false, NULL) < 0 &&
	    memo_mount_undo(fs->mountpoint, true, NULL) < 0)
		return;
	fs->mounted = false;
}

void memo_fs_stop(struct memo_fs *fs)
{
	memo_mutex_lock(&fs->mu);
	bool again = fs->stopping;
	fs->stopping = true;
	memo_mutex_unlock(&fs->mu);
	if (again)
		return;
	if (fs->listening)
		memo_runner_unlisten(fs->runner, memo_notify_event, fs);
	/* The threads still answer: those who tell the kernel something may wait for a LOOKUP of theirs. */
	memo_park_stop(fs);
	memo_notify_stop(fs);
	unmount_own(fs);
	if (fs->session != NULL)
		fuse_session_exit(fs->session);
	stop_threads(fs);
	memo_park_drain(fs);
}

void memo_fs_close(struct memo_fs *fs)
{
	if (fs == NULL)
		return;
	memo_fs_stop(fs);
	if (fs->session != NULL)
		fuse_session_destroy(fs->session);
	memo_notify_clear(&fs->notify);
	memo_park_clear(&fs->park);
	memo_handles_clear(fs);
	memo_nodes_clear(&fs->nodes);
	memo_cond_clear(&fs->cond);
	memo_mutex_clear(&fs->mu);
	free(fs->mountpoint);
	free(fs);
}

/* ---- other mounts ----------------------------------------------------------------------------------- */

int memo_fs_find_mount(const char *path, char **mountpoint_out, char **store_out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_mount_lexical(path, &b);
	struct memo_mount m;
	if (r == 0)
		r = memo_mount_find_now(memo_buf_str(&b), true, &m);
	if (r < 0)
		return r;
	if (strcmp(m.type, MEMO_MOUNT_TYPE) != 0) {
		memo_mount_clear(&m);
		return -ENOENT;
	}
	*mountpoint_out = memo_ptr_steal(&m.point);
	*store_out = memo_ptr_steal(&m.source);
	memo_mount_clear(&m);
	return 0;
}

int memo_fs_unmount(const char *mountpoint, bool lazy, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_mount m;
	int r = memo_mount_lexical(mountpoint, &b);
	if (r == 0)
		r = memo_mount_find_now(memo_buf_str(&b), false, &m);
	if (r < 0 && r != -ENOENT)
		return memo_fail(err, r, "cannot find out what is mounted at '%s': %s", mountpoint,
				 memo_strerror(r));
	bool ours = r == 0 && strcmp(m.type, MEMO_MOUNT_TYPE) == 0;
	if (r == 0)
		memo_mount_clear(&m);
	if (!ours)
		return memo_fail(
			err, -ENOENT,
			"no memofs is mounted at '%s'; `memofs mount` and findmnt -t fuse.memofs show where",
			mountpoint);
	return memo_mount_undo(memo_buf_str(&b), lazy, err);
}
