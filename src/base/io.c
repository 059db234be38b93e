#include "io.h"

#include "scope.h"
#include "sync.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_CHUNK ((size_t)1 << 20)

int memo_io_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0) {
			int r = memo_errno();
			if (r == -EINTR)
				continue;
			return r;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int memo_io_read_full(int fd, void *data, size_t len, size_t *got_out)
{
	char *p = data;
	size_t got = 0;
	while (got < len) {
		ssize_t n = read(fd, p + got, len - got);
		if (n < 0) {
			int r = memo_errno();
			if (r == -EINTR)
				continue;
			return r;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*got_out = got;
	return 0;
}

int memo_io_read_fd(int fd, size_t limit, struct memo_buf *b)
{
	size_t total = 0;
	for (;;) {
		size_t want = total < 4096 ? 4096 : total;
		if (want > COPY_CHUNK)
			want = COPY_CHUNK;
		int r = memo_buf_reserve(b, want);
		if (r < 0)
			return r;
		size_t got;
		r = memo_io_read_full(fd, b->data + b->len, want, &got);
		if (r < 0)
			return r;
		b->len += got;
		b->data[b->len] = '\0';
		total += got;
		if (total > limit)
			return -EFBIG;
		if (got < want)
			return 0;
	}
}

int memo_io_read_file(int dirfd, const char *path, size_t limit, struct memo_buf *b)
{
	MEMO_AUTO_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return memo_errno();
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uintmax_t)st.st_size > limit)
		return -EFBIG;
	return memo_io_read_fd(fd, limit, b);
}

int memo_io_sync_dir(int dirfd, const char *path)
{
	MEMO_AUTO_FD int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	return fsync(fd) < 0 ? memo_errno() : 0;
}

static int write_temp(int dirfd, const char *temp, const void *data, size_t len, mode_t mode, bool durable)
{
	MEMO_AUTO_FD int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return memo_errno();
	int r = memo_io_write_all(fd, data, len);
	if (r < 0)
		return r;
	if (fchmod(fd, mode) < 0)
		return memo_errno();
	if (durable && fsync(fd) < 0)
		return memo_errno();
	return 0;
}

int memo_io_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable)
{
	static _Atomic unsigned counter;
	char temp[PATH_MAX];
	int n = snprintf(temp, sizeof temp, "%s.%ld.%u.tmp", path, (long)getpid(), atomic_fetch_add(&counter, 1));
	if (n < 0 || (size_t)n >= sizeof temp)
		return -ENAMETOOLONG;
	int r = write_temp(dirfd, temp, data, len, mode, durable);
	if (r == 0 && renameat(dirfd, temp, dirfd, path) < 0)
		r = memo_errno();
	if (r < 0) {
		(void)unlinkat(dirfd, temp, 0);
		return r;
	}
	return durable ? memo_io_sync_dir(dirfd, ".") : 0;
}

int memo_io_mkdir(int dirfd, const char *path, mode_t mode)
{
	if (mkdirat(dirfd, path, mode) == 0)
		return 0;
	int r = memo_errno();
	if (r != -EEXIST)
		return r;
	struct stat st;
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int memo_io_open_dir(int dirfd, const char *path, int *fd_out)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

int memo_io_list(int dirfd, const char *path, DIR **out)
{
	MEMO_AUTO_FD int fd = -1;
	int r = memo_io_open_dir(dirfd, path, &fd);
	if (r < 0)
		return r;
	DIR *d = fdopendir(fd);
	if (d == NULL)
		return memo_errno();
	(void)memo_fd_steal(&fd); /* the stream's now */
	*out = d;
	return 0;
}

static int copy_by_hand(int from, int to)
{
	MEMO_AUTO_FREE char *chunk = malloc(COPY_CHUNK);
	if (chunk == NULL)
		return -ENOMEM;
	for (;;) {
		size_t got;
		int r = memo_io_read_full(from, chunk, COPY_CHUNK, &got);
		if (r == 0)
			r = memo_io_write_all(to, chunk, got);
		if (r < 0)
			return r;
		if (got < COPY_CHUNK)
			return 0;
	}
}

int memo_io_copy(int from, int to)
{
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	bool moved = false;
	for (;;) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
		if (n == 0)
			break;
		if (n > 0) {
			moved = true;
			continue;
		}
		int r = memo_errno();
		if (r == -EINTR)
			continue;
		if (moved)
			return r;
		break;
	}
	/* Also after a count of 0: some file systems answer so without having copied. */
	return copy_by_hand(from, to);
}

char *memo_io_join(const char *a, const char *b)
{
	if (b[0] == '/')
		return strdup(b);
	size_t la = strlen(a);
	while (la > 1 && a[la - 1] == '/')
		la--;
	const char *sep = la > 0 && a[la - 1] == '/' ? "" : "/";
	char *out = NULL;
	return asprintf(&out, "%.*s%s%s", (int)la, a, sep, b) < 0 ? NULL : out;
}
