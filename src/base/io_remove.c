/* Io, removing a tree that somebody else made: of any depth, with any mode, and never beyond it.
 *
 * What is open at any moment is two descriptors a level. A directory that lies deeper than DEPTH is moved up into the root of
 * the removal, under a name of ours, and its turn comes in a later round. */
#include "io.h"

#include "scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 64

struct removal {
	int root;
	dev_t dev;
	unsigned moved; /* directories that were moved up so far: their names' number */
};

int memo_io_unlock(int dirfd, const char *path)
{
	MEMO_AUTO_FD int fd = -1;
	struct stat st;
	int flags;
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -EPERM;
	fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return memo_errno();
	const int locks = FS_IMMUTABLE_FL | FS_APPEND_FL;
	if ((flags & locks) == 0)
		return -EPERM;
	flags &= ~locks;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? memo_errno() : 0;
}

int memo_io_grant(int dirfd, const char *name, mode_t mode)
{
	MEMO_AUTO_FD int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -EINVAL;
	char path[40];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return chmod(path, mode) < 0 ? memo_errno() : 0;
}

static int unlink_any(int dirfd, const char *name, int flags)
{
	if (unlinkat(dirfd, name, flags) == 0 || errno == ENOENT)
		return 0;
	int r = memo_errno();
	if (r != -EPERM || memo_io_unlock(dirfd, name) < 0)
		return r;
	return unlinkat(dirfd, name, flags) == 0 || errno == ENOENT ? 0 : memo_errno();
}

static int move_up(struct removal *m, int fd, const char *name)
{
	char to[64];
	(void)snprintf(to, sizeof to, ".memofs-deep.%u", m->moved++);
	if (renameat2(fd, name, m->root, to, RENAME_NOREPLACE) == 0)
		return 0;
	int r = memo_errno();
	if (r == -EINVAL || r == -ENOSYS)
		r = renameat(fd, name, m->root, to) < 0 ? memo_errno() : 0;
	return r == -EEXIST || r == -ENOTEMPTY ? move_up(m, fd, name) : r;
}

static int remove_children(struct removal *m, int fd, unsigned depth);

/* Everything in the directory @name, and then it. */
static int remove_dir(struct removal *m, int fd, const char *name, unsigned depth)
{
	struct stat st;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	if (!S_ISDIR(st.st_mode))
		return -EPERM;
	if (st.st_dev != m->dev)
		return -EXDEV;
	int r = memo_io_grant(fd, name, 0700);
	if (r == -EPERM && memo_io_unlock(fd, name) == 0)
		r = memo_io_grant(fd, name, 0700);
	(void)r; /* if it matters the rest fails */
	if (depth >= DEPTH)
		return move_up(m, fd, name);
	MEMO_AUTO_FD int sub = -1;
	r = memo_io_open_dir(fd, name, &sub);
	if (r == 0)
		r = remove_children(m, sub, depth + 1);
	return r < 0 ? r : unlink_any(fd, name, AT_REMOVEDIR);
}

static int remove_children(struct removal *m, int fd, unsigned depth)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0)
		return memo_errno();
	MEMO_AUTO_DIR DIR *d = fdopendir(copy);
	if (d == NULL) {
		int r = memo_errno();
		(void)close(copy);
		return r;
	}
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (e == NULL)
			return errno != 0 ? memo_errno() : 0;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = e->d_type == DT_DIR ? -EISDIR : unlink_any(fd, e->d_name, 0);
		if (r == -EISDIR || r == -EPERM)
			r = remove_dir(m, fd, e->d_name, depth);
		if (r == -EPERM && memo_io_unlock(fd, ".") == 0) /* the directory itself may not be changed */
			r = e->d_type == DT_DIR ? remove_dir(m, fd, e->d_name, depth)
						: unlink_any(fd, e->d_name, 0);
		if (r < 0)
			return r;
	}
}

int memo_io_remove_tree(int dirfd, const char *path)
{
	int r = unlink_any(dirfd, path, 0);
	if (r != -EISDIR && r != -EPERM)
		return r;
	struct stat st;
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	if (!S_ISDIR(st.st_mode))
		return -EPERM;
	if (memo_io_grant(dirfd, path, 0700) == -EPERM && memo_io_unlock(dirfd, path) == 0)
		r = memo_io_grant(dirfd, path, 0700);
	MEMO_AUTO_FD int fd = -1;
	r = memo_io_open_dir(dirfd, path, &fd);
	struct removal m = { .root = fd, .dev = st.st_dev };
	for (unsigned before = 0; r == 0; before = m.moved) {
		r = remove_children(&m, fd, 0);
		if (m.moved == before)
			break;
	}
	return r < 0 ? r : unlink_any(dirfd, path, AT_REMOVEDIR);
}
