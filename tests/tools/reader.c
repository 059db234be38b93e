/* Reader: one call on one path, as a program without a library in between would make it.
 *
 *	reader [-c SIGNAL]... [-a MS] [-h HOLD] CALL PATH
 *
 * CALL: stat, access, open, read (whole file to stdout), sendfile (open, then sendfile in one go, with no fstat before it),
 * mmap (the size from fstat), pread (from the end to the begin), hold (open, print "open", wait for the file HOLD to
 * appear, then read).
 * -c: catch that signal with a handler that does nothing, without SA_RESTART. -a: SIGALRM after MS milliseconds.
 * An error is told on stderr as "CALL: ENAME" and the exit status is 1. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define CHUNK 65536

static const char *hold_file;

static void on_signal(int sig)
{
	(void)sig;
}

static int fail(const char *call)
{
	const char *name = strerrorname_np(errno);

	(void)fprintf(stderr, "%s: %s\n", call, name != NULL ? name : "unknown");
	return 1;
}

static int write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0)
			return fail("write");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_read(int fd)
{
	char chunk[CHUNK];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);

		if (n < 0)
			return fail("read");
		if (n == 0)
			return 0;
		if (write_all(chunk, (size_t)n) != 0)
			return 1;
	}
}

static int copy_sendfile(int fd)
{
	for (;;) {
		ssize_t n = sendfile(STDOUT_FILENO, fd, NULL, (size_t)1 << 30);

		if (n < 0)
			return fail("sendfile");
		if (n == 0)
			return 0;
	}
}

static int copy_mmap(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fail("fstat");
	if (st.st_size == 0)
		return 0;
	char *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return fail("mmap");
	int r = write_all(data, (size_t)st.st_size);
	(void)munmap(data, (size_t)st.st_size);
	return r;
}

/* Reads the pages last to first, so that read-ahead cannot have brought them. */
static int copy_pread(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fail("fstat");
	size_t size = (size_t)st.st_size;
	char *data = malloc(size + 1);
	if (data == NULL)
		return fail("malloc");
	int r = 0;
	for (size_t end = size; r == 0 && end > 0;) {
		size_t from = (end - 1) / 4096 * 4096;
		ssize_t n = pread(fd, data + from, end - from, (off_t)from);

		if (n != (ssize_t)(end - from))
			r = fail("pread");
		end = from;
	}
	if (r == 0)
		r = write_all(data, size);
	free(data);
	return r;
}

static int copy_hold(int fd)
{
	(void)printf("open\n");
	(void)fflush(stdout);
	for (int i = 0; i < 3000 && access(hold_file, F_OK) != 0; i++)
		(void)usleep(10000);
	return copy_read(fd);
}

static const struct {
	const char *name;
	int (*copy)(int fd);
} ways[] = {
	{ "read", copy_read },	 { "sendfile", copy_sendfile }, { "mmap", copy_mmap },
	{ "pread", copy_pread }, { "hold", copy_hold },
};

static int with_open(const char *call, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail("open");
	int r = strcmp(call, "open") == 0 ? 0 : 2;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		if (strcmp(call, ways[i].name) == 0)
			r = ways[i].copy(fd);
	(void)close(fd);
	return r;
}

static int catch_signal(const char *name)
{
	struct sigaction sa = { .sa_handler = on_signal };

	for (int sig = 1; sig < NSIG; sig++) {
		const char *abbrev = sigabbrev_np(sig);

		if (abbrev != NULL && strcmp(abbrev, name) == 0)
			return sigaction(sig, &sa, NULL);
	}
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	struct itimerval timer = { 0 };
	int opt;

	while ((opt = getopt(argc, argv, "c:a:h:")) != -1) {
		long ms;

		if (opt == 'c' && catch_signal(optarg) != 0)
			return fail(optarg);
		if (opt == 'h')
			hold_file = optarg;
		if (opt == 'a') {
			ms = strtol(optarg, NULL, 10);
			timer.it_value.tv_sec = ms / 1000;
			timer.it_value.tv_usec = ms % 1000 * 1000;
		}
		if (opt == '?')
			return 2;
	}
	if (argc - optind != 2)
		return 2;
	const char *call = argv[optind], *path = argv[optind + 1];
	struct stat st;

	if (timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0)
		(void)setitimer(ITIMER_REAL, &timer, NULL);
	if (strcmp(call, "stat") == 0) {
		if (stat(path, &st) != 0)
			return fail("stat");
		(void)printf("%lld\n", (long long)st.st_size);
		return 0;
	}
	if (strcmp(call, "access") == 0)
		return access(path, R_OK) == 0 ? 0 : fail("access");
	return with_open(call, path);
}
