/* Input: what the task reads, and the proof that it was what was hashed.
 *
 * A small file is copied and the copy is hashed. A large one is cloned where the file system can share its blocks; else
 * the task gets a link to the very path that was found, and the file's stat must be the same before and after the run.
 * The stat tells of every change because the digest was taken when the last change lay a clock tick back and nothing
 * was left unwritten (store/digest.c); where that was not so, and on memory file systems, whose mappings change files
 * without a trace, the file is copied whatever its size. Of a directory every entry's stat is compared, and its content
 * after the run.
 *
 * What stays open: who moves a directory on the path away, puts another there, and moves both back while the task runs. So
 * what somebody with other rights than the task's has named is always copied, directories too (copy_dir.c). */
#include "worker.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/sync.h"
#include "base/tree.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define GRAIN_NS (20 * MEMO_NS_PER_MS)
#define TICK_NS (10 * MEMO_NS_PER_MS)

static int changed(struct memo_worker *w, const struct memo_job_input *in)
{
	return memo_worker_fail(w, -ESTALE, MEMO_EXIT_CHANGED,
				"the input '%s' changed after it was hashed; ask again when nothing writes to it",
				in->from);
}

static int input_error(struct memo_worker *w, const struct memo_job_input *in, int r)
{
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EAGAIN)
		return changed(w, in);
	return memo_worker_error(w, r, MEMO_EXIT_ERROR, "the input '%s' cannot be read: %s", in->from,
				 memo_strerror(r));
}

static int64_t nanoseconds(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool guard_holds(const struct memo_job_input *in, const struct stat *st)
{
	const struct memo_guard *g = &in->guard;
	/* A directory's size says nothing that its times do not say, and differs between ways to ask. */
	return g->dev == (uint64_t)st->st_dev && g->ino == (uint64_t)st->st_ino &&
	       g->mtime_ns == nanoseconds(st->st_mtim) && g->ctime_ns == nanoseconds(st->st_ctim) &&
	       (in->directory || g->size == (uint64_t)st->st_size);
}

/* Opened rather than only looked at, so that a network file system asks its server. */
static int open_input(const struct memo_job_input *in, int *fd_out, struct stat *st_out)
{
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (in->directory ? O_DIRECTORY : 0);
	MEMO_AUTO_FD int fd = open(in->from, flags);
	if (fd < 0 || fstat(fd, st_out) < 0)
		return memo_errno();
	if (!in->directory && !S_ISREG(st_out->st_mode))
		return -EINVAL;
	*fd_out = memo_fd_steal(&fd);
	return 0;
}

static bool is_copied(const struct memo_job_input *in, uint64_t size)
{
	return in->copy || (!in->directory && !in->trusted && size <= MEMO_ATTEMPT_COPY_BYTES);
}

/* The folders that @to lies in. They are ours: whatever else has such a name is refused. */
static int make_parents(int work, const char *to)
{
	char path[PATH_MAX];
	for (const char *slash = strchr(to, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - to);
		if (len >= sizeof path)
			return -ENAMETOOLONG;
		memcpy(path, to, len);
		path[len] = '\0';
		int r = memo_io_mkdir(work, path, 0755);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_input(struct memo_worker *w, const struct memo_job_input *in, int from)
{
	MEMO_AUTO_FD int to = openat(w->work, in->to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = to < 0 ? memo_errno() : memo_io_copy(from, to);
	struct memo_id id;
	if (r == 0 && in->guarded)
		r = memo_hash_fd(to, &id, NULL);
	if (r == 0 && fchmod(to, in->exec ? 0555 : 0444) < 0)
		r = memo_errno();
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "the input '%s' cannot be copied to '%s': %s",
					 in->from, in->to, memo_strerror(r));
	return in->guarded && !memo_id_equal(&id, &in->id) ? changed(w, in) : 0;
}

static int copy_directory(struct memo_worker *w, const struct memo_job_input *in, int from)
{
	struct memo_id id;
	int r = memo_worker_copy_dir(from, w->work, in->to, &id);
	if (r == -ENOSPC || r == -EDQUOT)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "the input '%s' cannot be copied to '%s': %s",
					 in->from, in->to, memo_strerror(r));
	if (r < 0)
		return input_error(w, in, r);
	return in->guarded && !memo_id_equal(&id, &in->id) ? changed(w, in) : 0;
}

/* A snapshot that costs nothing. The stat afterwards says that it is one of what was hashed. False: there is none. */
static bool clone_input(struct memo_worker *w, const struct memo_job_input *in, int from)
{
	struct stat st;
	MEMO_AUTO_FD int to = openat(w->work, in->to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return false;
	if (ioctl(to, FICLONE, from) == 0 && fstat(from, &st) == 0 && guard_holds(in, &st) &&
	    fchmod(to, in->exec ? 0555 : 0444) == 0)
		return true;
	(void)unlinkat(w->work, in->to, 0);
	return false;
}

/* File systems in memory never write back, so that what comes through a mapping shows in no stat. */
static bool is_memory(int fd)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
}

/* The path as it leads now: a link on the way that is turned elsewhere, and back, does not take the task along. */
static int link_input(struct memo_worker *w, const struct memo_job_input *in)
{
	MEMO_AUTO_FREE char *real = in->guarded ? realpath(in->from, NULL) : NULL;
	const char *to = real != NULL ? real : in->from;
	if (symlinkat(to, w->work, in->to) == 0)
		return 0;
	int r = memo_errno();
	return memo_worker_error(w, r, MEMO_EXIT_ERROR, "'%s': cannot be placed in the work directory: %s", in->to,
				 memo_strerror(r));
}

/* The stats of all that lies in a Directory input, for the comparison after the run; taken when the last change lies a
 * clock grain back, so that the next one must show. A time in the future is not waited for. */
static int trace_input(struct memo_worker *w, const struct memo_job_input *in, int fd, struct memo_id *trace_out)
{
	struct memo_tree_trace t;
	struct timespec now;
	int r = memo_tree_trace(fd, &t);
	int64_t left = clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 ? t.newest_ns + GRAIN_NS - nanoseconds(now)
								       : 0;
	if (r == 0 && left > 0 && left <= GRAIN_NS + TICK_NS) {
		(void)nanosleep(&(struct timespec){ .tv_nsec = left + TICK_NS }, NULL);
		r = memo_tree_trace(fd, &t);
	}
	if (r < 0)
		return input_error(w, in, r);
	*trace_out = t.id;
	return 0;
}

static int place_input(struct memo_worker *w, struct memo_job_input *in)
{
	int r = make_parents(w->work, in->to);
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR,
					 "'%s': cannot make its folder in the work directory: %s", in->to,
					 memo_strerror(r));
	if (!in->trusted || in->copy) {
		MEMO_AUTO_FD int fd = -1;
		struct stat st;
		r = open_input(in, &fd, &st);
		if (r < 0)
			return input_error(w, in, r);
		in->copy = in->copy || (in->guarded && !in->directory && is_memory(fd));
		if (is_copied(in, in->guarded ? in->guard.size : (uint64_t)st.st_size)) {
			if (in->directory)
				return copy_directory(w, in, fd);
			if (in->guarded && !in->trusted && in->guard.size != (uint64_t)st.st_size)
				return changed(w, in);
			return copy_input(w, in, fd);
		}
		if (in->guarded && !guard_holds(in, &st))
			return changed(w, in);
		if (in->guarded && in->directory && (r = trace_input(w, in, fd, &in->trace)) < 0)
			return r;
		/* Marked as a copy, so that nobody looks at the original again. */
		if (in->guarded && !in->directory && (in->copy = clone_input(w, in, fd)))
			return 0;
	}
	return link_input(w, in);
}

static int recheck_input(struct memo_worker *w, const struct memo_job_input *in)
{
	if (in->trusted || !in->guarded || is_copied(in, in->guard.size))
		return 0;
	MEMO_AUTO_FD int fd = -1;
	struct stat st;
	int r = open_input(in, &fd, &st);
	if (r < 0)
		return input_error(w, in, r);
	if (!guard_holds(in, &st))
		return changed(w, in);
	if (!in->directory)
		return 0;
	/* The content after the run, and that nothing changed since before it. */
	struct memo_tree *t = NULL;
	r = memo_tree_scan(fd, MEMO_TREE_FOLLOW, &t, NULL);
	if (r < 0)
		return input_error(w, in, r);
	bool same = memo_id_equal(memo_tree_id(t), &in->id);
	memo_tree_unref(t);
	struct memo_id trace;
	if (same)
		r = trace_input(w, in, fd, &trace);
	return !same || r < 0 ? changed(w, in) : memo_id_equal(&trace, &in->trace) ? 0 : changed(w, in);
}

int memo_worker_place(struct memo_worker *w)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < w->job.inputs; i++)
		r = place_input(w, &w->job.input[i]);
	return r;
}

int memo_worker_recheck(struct memo_worker *w)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < w->job.inputs; i++)
		r = recheck_input(w, &w->job.input[i]);
	return r;
}
