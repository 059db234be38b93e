/* Preloaded into the daemon: reads of files whose path holds the text in the file $MEMO_EIO fail with EIO, as on a disk with
 * bad sectors. An empty file: none do.
 *
 *	MEMO_EIO=FILE LD_PRELOAD=eio.so memofs mount ... */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t read_fn(int fd, void *data, size_t len);
typedef ssize_t pread_fn(int fd, void *data, size_t len, off_t at);

/* Through a union: a data pointer is no function pointer. */
union symbol {
	void *data;
	read_fn *read;
	pread_fn *pread;
};

static read_fn *real_read(void)
{
	union symbol u = { .data = dlsym(RTLD_NEXT, "read") };
	return u.read;
}

static int is_bad(int fd)
{
	const char *control = getenv("MEMO_EIO");
	char link[64], path[4096], text[512];
	int at = control != NULL ? open(control, O_RDONLY | O_CLOEXEC) : -1;
	if (at < 0)
		return 0;
	ssize_t n = real_read()(at, text, sizeof text - 1);
	(void)close(at);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof path - 1);
	if (len <= 0 || text[0] == '\0')
		return 0;
	path[len] = '\0';
	return strstr(path, text) != NULL;
}

/* With 64-bit offsets its symbol is pread64. */
ssize_t pread(int fd, void *data, size_t len, off_t at)
{
	union symbol u = { .data = dlsym(RTLD_NEXT, "pread64") };
	if (!is_bad(fd))
		return u.pread(fd, data, len, at);
	errno = EIO;
	return -1;
}

ssize_t read(int fd, void *data, size_t len)
{
	if (!is_bad(fd))
		return real_read()(fd, data, len);
	errno = EIO;
	return -1;
}
