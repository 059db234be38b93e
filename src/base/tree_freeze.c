/* Tree, freezing one file: after it the bytes can no longer change under their hash.
 *
 * Mode 0444 or 0555, an inode of its own (a further hard link or a foreign owner means that somebody else can still
 * write), and no descriptor or mapping that is open for writing: a read lease is granted only then. Where one of these
 * does not hold the file is replaced by a copy, in a new inode that nobody else has ever seen. */
#include "tree_build.h"

#include "io.h"
#include "scope.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_TRIES 100

const char *memo_tree_kind(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	default:
		return "no file";
	}
}

int memo_tree_grant(int dirfd, const char *name, mode_t mode)
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

/* O_NONBLOCK: a FIFO in place of the file must not hang us; it is refused by its type afterwards. */
static int open_plain(int dirfd, const char *name, int *fd_out)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);
	if (fd < 0 && errno == EACCES) {
		struct stat st;
		if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return memo_errno();
		int r = memo_tree_grant(dirfd, name, (st.st_mode & 0111) | 0400);
		if (r < 0)
			return r;
		fd = openat(dirfd, name, flags);
	}
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

/* True when somebody may hold the file open for writing. The break signal of the moment for which we hold the lease is
 * one that is ignored by default. File systems without leases cannot tell: they are believed. */
static bool has_writer(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return false;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

static int copy_range(int from, int to, off_t at, off_t end)
{
	char chunk[64 << 10];
	while (at < end) {
		loff_t in = at, out = at;
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - at), 0);
		if (n <= 0) {
			size_t want = (size_t)(end - at) < sizeof chunk ? (size_t)(end - at) : sizeof chunk;
			n = pread(from, chunk, want, at);
			if (n == 0)
				return -EAGAIN; /* it shrank */
			if (n > 0)
				n = pwrite(to, chunk, (size_t)n, at);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return memo_errno();
		}
		at += n;
	}
	return 0;
}

/* Data only, so that a file with huge holes stays small. */
static int copy_sparse(int from, int to, off_t size)
{
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	off_t at = 0;
	while (at < size) {
		off_t data = lseek(from, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		off_t hole = data < 0 ? size : lseek(from, data, SEEK_HOLE);
		if (data < 0)
			data = at;
		if (hole < 0 || hole > size)
			hole = size;
		int r = copy_range(from, to, data, hole);
		if (r < 0)
			return r;
		at = hole;
	}
	return ftruncate(to, size) < 0 ? memo_errno() : 0;
}

/* Puts a copy of @from under @name; *@fd_out is open for reading only, so that a lease can be had on it. */
static int replace_by_copy(int dirfd, const char *name, int from, off_t size, mode_t mode, int *fd_out)
{
	char temp[64];
	MEMO_AUTO_FD int to = -1;
	for (int i = 0; to < 0; i++) {
		(void)snprintf(temp, sizeof temp, ".memofs-freeze.%ld.%d", (long)getpid(), i);
		to = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (to < 0 && (errno != EEXIST || i == TEMP_TRIES))
			return memo_errno();
	}
	int r = copy_sparse(from, to, size);
	if (r == 0 && fchmod(to, mode) < 0)
		r = memo_errno();
	MEMO_AUTO_FD int fd = -1;
	if (r == 0) {
		fd = openat(dirfd, temp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? memo_errno() : 0;
	}
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = memo_errno();
	if (r < 0)
		(void)unlinkat(dirfd, temp, 0);
	else
		*fd_out = memo_fd_steal(&fd);
	return r;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Hash between two looks at the file that must be the same. */
static int hash_still(int fd, struct memo_frozen *out)
{
	struct stat before, after;
	if (fstat(fd, &before) < 0)
		return memo_errno();
	int r = memo_hash_fd(fd, &out->id, &out->size);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return memo_errno();
	bool same = before.st_size == after.st_size && (uint64_t)after.st_size == out->size &&
		    same_time(before.st_mtim, after.st_mtim) && same_time(before.st_ctim, after.st_ctim);
	return same ? 0 : -EAGAIN;
}

static int freeze_fd(int dirfd, const char *name, int *fd, const struct stat *st, bool sync,
		     struct memo_frozen *out)
{
	mode_t mode = (st->st_mode & 0111) != 0 ? 0555 : 0444;
	if (st->st_nlink != 1 || st->st_uid != geteuid() || has_writer(*fd)) {
		int copy = -1;
		int r = replace_by_copy(dirfd, name, *fd, st->st_size, mode, &copy);
		if (r < 0)
			return r;
		(void)close(*fd);
		*fd = copy;
	} else if ((st->st_mode & 07777) != mode && fchmod(*fd, mode) < 0) {
		return memo_errno();
	}
	int r = hash_still(*fd, out);
	if (r < 0)
		return r;
	out->exec = mode == 0555;
	return sync && fsync(*fd) < 0 ? memo_errno() : 0;
}

int memo_tree_freeze_at(int dirfd, const char *name, const char *label, const dev_t *dev, bool sync,
			struct memo_frozen *out, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = -1;
	struct stat st;
	int r = open_plain(dirfd, name, &fd);
	if (r == -ELOOP || r == -EMLINK)
		return memo_fail(err, -EINVAL, "'%s' is a symbolic link, where a file is needed", label);
	if (r == -ENXIO) /* a socket, or a device without a driver */
		return memo_fail(err, -EINVAL, "'%s' is a socket or a device, where a file is needed", label);
	if (r == 0 && fstat(fd, &st) < 0)
		r = memo_errno();
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot open: %s", label, memo_strerror(r));
	if (!S_ISREG(st.st_mode))
		return memo_fail(err, -EINVAL, "'%s' is %s, where a file is needed", label,
				 memo_tree_kind(st.st_mode));
	if (dev != NULL && st.st_dev != *dev)
		return memo_fail(err, -EINVAL, "'%s' lies on another file system; write it into the output itself",
				 label);
	struct memo_frozen frozen = { 0 };
	r = freeze_fd(dirfd, name, &fd, &st, sync, &frozen);
	if (r == -EAGAIN)
		return memo_fail(err, r, "'%s' changed while it was hashed; something still writes to it", label);
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot freeze: %s", label, memo_strerror(r));
	*out = frozen;
	return 0;
}

int memo_tree_freeze_file(int dirfd, const char *name, bool sync, struct memo_frozen *out, struct memo_err *err)
{
	return memo_tree_freeze_at(dirfd, name, name, NULL, sync, out, err);
}
