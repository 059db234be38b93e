/* Tree, freezing one file: after it the bytes can no longer change under their hash.
 *
 * What may still change them: a descriptor or a shared mapping that is open for writing (a read lease is granted only
 * when there is none, and while it is held nobody gets a new one), a further hard link, a foreign owner. Where one of these
 * is found, or the file system cannot tell, the file is replaced by a copy in a new inode that nobody else has ever seen,
 * and the copy is hashed. A small file is copied always, a large one where a copy costs nothing (reflink): that also
 * leaves behind who holds it by a descriptor without a right.
 *
 * The method is Nix's after CVE-2024-27297 (a descriptor passed out of the sandbox) and CVE-2026-39860 (a link followed
 * while registering): descriptors only, no link is followed, and the type is known before anything is opened. */
#include "tree_build.h"

#include "io.h"
#include "scope.h"
#include "sync.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TEMP_TRIES 100
/* Up to here a copy is cheaper than to think about it. */
#define ALWAYS_COPY_BYTES ((off_t)1 << 20)
/* A file that somebody is writing to right now may come to rest. */
#define COPY_TRIES 3
#define FREEZE_TRIES 3
#define COPY_PAUSE_NS (50 * MEMO_NS_PER_MS)
#define XATTR_LIST_BYTES ((size_t)64 << 10)

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

/* Opened by the descriptor that was looked at: a FIFO cannot hang us, a device is never opened, and a name that is
 * swapped leads nowhere else. -EISDIR: no regular file, see *@st_out. */
static int open_plain(int dirfd, const char *name, int *fd_out, struct stat *st_out)
{
	MEMO_AUTO_FD int place = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (place < 0 || fstat(place, st_out) < 0)
		return memo_errno();
	if (!S_ISREG(st_out->st_mode))
		return -EISDIR;
	char path[40];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", place);
	int fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && chmod(path, (st_out->st_mode & 0111) | 0400) == 0)
		fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

/* 0: nobody has it open for writing, and who tries has to wait. -EAGAIN: somebody has. Else: nobody knows. The signal
 * that tells of the one who waits is one that is ignored by default. */
static int take_lease(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return memo_errno();
	return 0;
}

/* A lease that somebody wants to break is told as given up. */
static bool lease_held(int fd)
{
	return fcntl(fd, F_GETLEASE) == F_RDLCK;
}

/* Attributes of the file itself: capabilities that would give its reader rights, access lists, whatever the task wrote.
 * False: one stays that is not the label of a security module. */
static bool drop_xattrs(int fd)
{
	ssize_t n = flistxattr(fd, NULL, 0);
	if (n <= 0)
		return n == 0 || errno == ENOTSUP;
	MEMO_AUTO_FREE char *list = malloc(XATTR_LIST_BYTES);
	n = list == NULL ? -1 : flistxattr(fd, list, XATTR_LIST_BYTES);
	bool clean = n >= 0;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1) {
		const char *name = list + at;
		if (fremovexattr(fd, name) < 0 && errno != ENODATA && strcmp(name, "security.selinux") != 0)
			clean = false;
	}
	return clean;
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

/* The bytes of a file that are holes; -E2BIG when they are more than @limit. Blocks tell at once that there are few; on a
 * file system that compresses they must be looked for. */
static int count_holes(int fd, const struct stat *st, uint64_t limit, uint64_t *holes_out)
{
	uint64_t size = (uint64_t)st->st_size, used = (uint64_t)st->st_blocks * 512, holes = 0;
	*holes_out = 0;
	if (size <= used || size - used <= limit) {
		*holes_out = size > used ? size - used : 0;
		return 0;
	}
	for (off_t at = 0; at < st->st_size;) {
		off_t hole = lseek(fd, at, SEEK_HOLE);
		if (hole < 0 || hole >= st->st_size)
			break;
		off_t data = lseek(fd, hole, SEEK_DATA);
		at = data < 0 ? st->st_size : data;
		holes += (uint64_t)(at - hole);
		if (holes > limit)
			return -E2BIG;
	}
	*holes_out = holes;
	return 0;
}

/* A file beside @name that is still nobody's; open for writing. */
static int make_temp(int dirfd, char temp[64], int *fd_out)
{
	for (int i = 0;; i++) {
		(void)snprintf(temp, 64, ".memofs-freeze.%ld.%d", (long)getpid(), i);
		int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0) {
			*fd_out = fd;
			return 0;
		}
		if (errno != EEXIST || i == TEMP_TRIES)
			return memo_errno();
	}
}

/* A copy of @from under @temp; *@fd_out is open for reading only, so that a lease can be had on it. -EOPNOTSUPP: @clone,
 * and the file system cannot. */
static int copy_to(int dirfd, const char *temp, int to, int from, off_t size, mode_t mode, bool clone, int *fd_out)
{
	int r = ioctl(to, FICLONE, from) == 0 ? 0 : clone ? -EOPNOTSUPP : copy_sparse(from, to, size);
	if (r == 0 && fchmod(to, mode) < 0)
		r = memo_errno();
	if (r < 0)
		return r;
	int fd = openat(dirfd, temp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

/* Puts a copy of @from under @name. With @clone only where that is free. */
static int replace_by_copy(int dirfd, const char *name, int from, off_t size, mode_t mode, bool clone, int *fd_out)
{
	char temp[64];
	int to, fd = -1;
	int r = make_temp(dirfd, temp, &to);
	if (r < 0)
		return r;
	r = copy_to(dirfd, temp, to, from, size, mode, clone, &fd);
	(void)close(to); /* before anybody asks for the lease of the copy */
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = memo_errno();
	if (r < 0) {
		(void)unlinkat(dirfd, temp, 0);
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	*fd_out = fd;
	return 0;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_look(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

/* Hash between two looks at the file that must be the same. */
static int hash_still(int fd, struct memo_id *id_out, uint64_t *size_out)
{
	struct stat before, after;
	if (fstat(fd, &before) < 0)
		return memo_errno();
	int r = memo_hash_fd(fd, id_out, size_out);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return memo_errno();
	return same_look(&before, &after) && (uint64_t)after.st_size == *size_out ? 0 : -EAGAIN;
}

/* A copy of what somebody may be writing to at this moment: it counts when the original is still the same afterwards,
 * by its looks and, since a mapping shows in them late, by its bytes. */
static int copy_written(int dirfd, const char *name, int from, mode_t mode, int *fd_out)
{
	int r = -EAGAIN;
	for (int i = 0; i < COPY_TRIES && r == -EAGAIN; i++) {
		struct stat before, after;
		struct memo_id was = { 0 }, is = { 0 };
		uint64_t size;
		MEMO_AUTO_FD int fd = -1;
		if (i > 0)
			(void)nanosleep(&(struct timespec){ .tv_nsec = COPY_PAUSE_NS }, NULL);
		if (fstat(from, &before) < 0)
			return memo_errno();
		r = replace_by_copy(dirfd, name, from, before.st_size, mode, false, &fd);
		if (r == 0)
			r = hash_still(from, &was, &size);
		if (r == 0)
			r = memo_hash_fd(fd, &is, &size);
		if (r == 0 && fstat(from, &after) < 0)
			r = memo_errno();
		/* The new name of its inode is gone, which is the one thing that may differ. */
		bool same = before.st_size == after.st_size && same_time(before.st_mtim, after.st_mtim);
		if (r == 0 && !(same && memo_id_equal(&was, &is)))
			r = -EAGAIN;
		if (r == 0)
			*fd_out = memo_fd_steal(&fd);
	}
	return r;
}

/* Makes *@fd a file that is ours alone, and *@lease what its lease was answered. */
static int make_own(int dirfd, const char *name, int *fd, const struct stat *st, mode_t mode, int *lease)
{
	int copy = -1, r = 0;
	bool must = st->st_nlink != 1 || st->st_uid != geteuid() || *lease < 0 || !drop_xattrs(*fd);
	if (*lease < 0 || st->st_nlink != 1) {
		r = copy_written(dirfd, name, *fd, mode, &copy);
	} else {
		r = replace_by_copy(dirfd, name, *fd, st->st_size, mode, !must && st->st_size > ALWAYS_COPY_BYTES,
				    &copy);
		/* No room for a copy that is not needed: a finished result is not thrown away for it. */
		if (!must && (r == -EOPNOTSUPP || r == -ENOSPC || r == -EDQUOT))
			return (st->st_mode & 07777) != mode && fchmod(*fd, mode) < 0 ? memo_errno() : 0;
	}
	if (r < 0)
		return r;
	(void)close(*fd);
	*fd = copy;
	*lease = take_lease(copy);
	return *lease == -EAGAIN ? -EAGAIN : 0;
}

static int freeze_fd(int dirfd, const char *name, int *fd, const struct stat *st, bool sync,
		     struct memo_frozen *out)
{
	mode_t mode = (st->st_mode & 0111) != 0 ? 0555 : 0444;
	int lease = take_lease(*fd);
	out->written = out->written || lease == -EAGAIN;
	int r = make_own(dirfd, name, fd, st, mode, &lease);
	if (r == 0)
		r = hash_still(*fd, &out->id, &out->size);
	if (r < 0)
		return r;
	out->exec = mode == 0555;
	if (sync && fsync(*fd) < 0)
		return memo_errno();
	struct stat now;
	if (fstat(*fd, &now) < 0)
		return memo_errno();
	/* Closing the descriptor gives the lease back. */
	return now.st_nlink == 1 && (lease < 0 || lease_held(*fd)) ? 0 : -EAGAIN;
}

/* One try. -EAGAIN: it was written to meanwhile; *@st_out: what was found. */
static int freeze_name(int dirfd, const char *name, const struct memo_freeze *f, struct memo_frozen *out,
		       struct stat *st_out, uint64_t *holes_out)
{
	MEMO_AUTO_FD int fd = -1;
	int r = open_plain(dirfd, name, &fd, st_out);
	if (r == 0 && f->one_dev && st_out->st_dev != f->dev)
		r = -EXDEV;
	if (r == 0)
		r = count_holes(fd, st_out, MEMO_TREE_HOLE_BYTES - f->holes, holes_out);
	if (r == 0)
		r = freeze_fd(dirfd, name, &fd, st_out, f->sync, out);
	return r;
}

static int refuse_kind(const char *label, const struct stat *st, struct memo_err *err)
{
	return memo_fail(err, -EINVAL, "'%s' is %s, where a file is needed", label, memo_tree_kind(st->st_mode));
}

int memo_tree_freeze_at(int dirfd, const char *name, const char *label, struct memo_freeze *f,
			struct memo_frozen *out, struct memo_err *err)
{
	struct memo_frozen frozen = { 0 };
	struct stat st = { 0 };
	uint64_t holes = 0;
	int r = -EAGAIN;
	/* Who came for writing while it was hashed had to wait, and is found by the next round. */
	for (int i = 0; i < FREEZE_TRIES && r == -EAGAIN; i++)
		r = freeze_name(dirfd, name, f, &frozen, &st, &holes);
	if (r == -EISDIR)
		return refuse_kind(label, &st, err);
	if (r == -EXDEV)
		return memo_fail(err, -EINVAL, "'%s' lies on another file system; write it into the output itself",
				 label);
	if (r == -E2BIG)
		return memo_fail(
			err, -E2BIG,
			"'%s': an output may hold at most %llu GiB of holes (bytes that were never written), "
			"which this file (%lld bytes) exceeds",
			label, (unsigned long long)(MEMO_TREE_HOLE_BYTES >> 30), (long long)st.st_size);
	if (r == -EAGAIN)
		return memo_fail(err, r,
				 "'%s' changes while it is stored: a process outside the task still writes to it",
				 label);
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot freeze: %s", label, memo_strerror(r));
	f->holes += holes;
	*out = frozen;
	return 0;
}

int memo_tree_freeze_file(int dirfd, const char *name, bool sync, struct memo_frozen *out, struct memo_err *err)
{
	struct memo_freeze f = { .sync = sync };
	return memo_tree_freeze_at(dirfd, name, name, &f, out, err);
}
