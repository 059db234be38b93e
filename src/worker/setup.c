/* Setup: the work directory, the inputs in it, the environment, and the program.
 *
 * A small file is copied and the copy is hashed: what was hashed is what is read. For the rest we look at the stat
 * before and after, and for a directory also at its content afterwards; the window that stays open is a file that
 * is changed and set back within one clock tick of its file system. */
#include "worker.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/tree.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

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

static int place_input(struct memo_worker *w, const struct memo_job_input *in)
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
		if (is_copied(in, in->guarded ? in->guard.size : (uint64_t)st.st_size)) {
			if (in->directory)
				return copy_directory(w, in, fd);
			if (in->guarded && in->guard.size != (uint64_t)st.st_size)
				return changed(w, in);
			return copy_input(w, in, fd);
		}
		if (in->guarded && !guard_holds(in, &st))
			return changed(w, in);
	}
	if (symlinkat(in->from, w->work, in->to) < 0) {
		r = memo_errno();
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "'%s': cannot be placed in the work directory: %s",
					 in->to, memo_strerror(r));
	}
	return 0;
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
	struct memo_tree *t = NULL;
	r = memo_tree_scan(fd, MEMO_TREE_FOLLOW, &t, NULL);
	if (r < 0)
		return input_error(w, in, r);
	bool same = memo_id_equal(memo_tree_id(t), &in->id);
	memo_tree_unref(t);
	return same ? 0 : changed(w, in);
}

int memo_worker_recheck(struct memo_worker *w)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < w->job.inputs; i++)
		r = recheck_input(w, &w->job.input[i]);
	return r;
}

/* ---- environment and program ---- */

static int make_environment(struct memo_worker *w)
{
	size_t n = json_object_size(w->job.env), at = 0;
	w->envp = calloc(n + 3, sizeof *w->envp);
	if (w->envp == NULL)
		return -ENOMEM;
	if (asprintf(&w->envp[at++], "HOME=%s", w->work_path) < 0 ||
	    asprintf(&w->envp[at++], "TMPDIR=%s", w->work_path) < 0) {
		w->envp[at - 1] = NULL;
		return -ENOMEM;
	}
	const char *key;
	json_t *v;
	json_object_foreach(w->job.env, key, v)
	{
		if (strcmp(key, "HOME") == 0 || strcmp(key, "TMPDIR") == 0)
			continue;
		if (asprintf(&w->envp[at], "%s=%s", key, json_string_value(v)) < 0) {
			w->envp[at] = NULL;
			return -ENOMEM;
		}
		at++;
	}
	return 0;
}

/* The first part of @path that holds an executable file @name. -ENOENT; -EACCES: only files that are not executable. */
static int look_up(int work, const char *path, const char *name, char **out)
{
	int r = -ENOENT;
	for (;;) {
		size_t len = strcspn(path, ":");
		char *candidate = NULL;
		struct stat st;
		int n = len == 0 ? asprintf(&candidate, "./%s", name)
				 : asprintf(&candidate, "%.*s/%s", (int)len, path, name);
		if (n < 0)
			return -ENOMEM;
		if (fstatat(work, candidate, &st, 0) == 0 && S_ISREG(st.st_mode)) {
			if (faccessat(work, candidate, X_OK, AT_EACCESS) == 0) {
				*out = candidate;
				return 0;
			}
			r = -EACCES;
		}
		free(candidate);
		if (path[len] == '\0')
			return r;
		path += len + 1;
	}
}

static int find_program(struct memo_worker *w)
{
	const char *name = w->job.argv[0];
	if (strchr(name, '/') != NULL) {
		w->program = strdup(name);
		return w->program != NULL ? 0 : memo_worker_fail(w, -ENOMEM, MEMO_EXIT_ERROR, "out of memory");
	}
	const char *path = memo_json_string(w->job.env, "PATH", DEFAULT_PATH);
	int r = look_up(w->work, path, name, &w->program);
	if (r == 0)
		return 0;
	if (r == -ENOMEM)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "out of memory");
	w->exit.code = r == -ENOENT ? 127 : 126;
	return memo_worker_fail(w, r, MEMO_EXIT_FAILED, "cannot run '%s': %s (looked in PATH %s)", name,
				memo_strerror(r), path);
}

int memo_worker_prepare(struct memo_worker *w)
{
	int r = mkdirat(w->dir, "work", 0700) < 0 ? memo_errno() : memo_io_open_dir(w->dir, "work", &w->work);
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "'%s': cannot be made: %s", w->work_path,
					 memo_strerror(r));
	for (size_t i = 0; i < w->job.inputs; i++) {
		r = place_input(w, &w->job.input[i]);
		if (r < 0)
			return r;
	}
	r = make_environment(w);
	if (r < 0)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "out of memory");
	return find_program(w);
}
