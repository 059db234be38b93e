/* A directory input as a copy: for what lies where the one who named it may put something else at any moment, and thereby lead
 * the task, which has other rights than he, anywhere. What is copied is proved afterwards, by the hash of the copy, so it does
 * not matter what is followed on the way. A link counts as what it leads to, as it does in the hash; one that leads nowhere
 * stays a link. */
#include "worker.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/tree.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int copy_inside(int from, int to, unsigned depth);

static int copy_file(int from, const char *name, int to)
{
	MEMO_AUTO_FD int in = openat(from, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	if (in < 0 || fstat(in, &st) < 0)
		return memo_errno();
	if (!S_ISREG(st.st_mode))
		return -EAGAIN; /* it was, a moment ago */
	MEMO_AUTO_FD int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = out < 0 ? memo_errno() : memo_io_copy(in, out);
	if (r == 0 && fchmod(out, (st.st_mode & 0111) != 0 ? 0555 : 0444) < 0)
		r = memo_errno();
	return r;
}

static int copy_link(int from, const char *name, int to)
{
	char target[PATH_MAX + 1];
	ssize_t n = readlinkat(from, name, target, sizeof target - 1);
	if (n < 0)
		return memo_errno();
	if (n >= PATH_MAX)
		return -E2BIG;
	target[n] = '\0';
	return symlinkat(target, to, name) < 0 ? memo_errno() : 0;
}

static int copy_below(int from, const char *name, int to, unsigned depth)
{
	MEMO_AUTO_FD int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MEMO_AUTO_FD int out = -1;
	if (in < 0)
		return memo_errno();
	int r = mkdirat(to, name, 0700) < 0 ? memo_errno() : memo_io_open_dir(to, name, &out);
	return r < 0 ? r : copy_inside(in, out, depth + 1);
}

static int copy_entry(int from, const char *name, int to, unsigned depth)
{
	struct stat st;
	int r = fstatat(from, name, &st, 0) < 0 ? memo_errno() : 0;
	if (r == -ENOENT || r == -ELOOP)
		return copy_link(from, name, to);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return depth < MEMO_TREE_DEPTH ? copy_below(from, name, to, depth) : -E2BIG;
	return S_ISREG(st.st_mode) ? copy_file(from, name, to) : -EAGAIN;
}

static int copy_inside(int from, int to, unsigned depth)
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int listed = memo_io_list(from, ".", &d);
	if (listed < 0)
		return listed;
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL && errno != 0)
			return memo_errno();
		if (e == NULL)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = copy_entry(from, e->d_name, to, depth);
		if (r < 0)
			return r;
	}
	return fchmod(to, 0555) < 0 ? memo_errno() : 0;
}

int memo_worker_copy_dir(int from, int work, const char *to, struct memo_id *id_out)
{
	MEMO_AUTO_FD int out = -1;
	int r = mkdirat(work, to, 0700) < 0 ? memo_errno() : memo_io_open_dir(work, to, &out);
	if (r == 0)
		r = copy_inside(from, out, 0);
	struct memo_tree *t = NULL;
	if (r == 0)
		r = memo_tree_scan(out, MEMO_TREE_FOLLOW, &t, NULL);
	if (r < 0)
		return r;
	*id_out = *memo_tree_id(t);
	memo_tree_unref(t);
	return 0;
}
