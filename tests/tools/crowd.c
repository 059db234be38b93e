/* Crowd: many processes read one path at the same moment.
 *
 *	crowd COUNT PATH [UID...]
 *
 * All are started, then let go at once; with user ids they become these users in turn (root only). Each reads the whole
 * file and reports size and checksum (64-bit FNV-1a); the summary is one line, "readers N ok N failed N different N bytes N
 * sum HEX", and the exit status is 0 only when all got the same bytes. */
#include <inttypes.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 4000
#define CHUNK 16384

struct report { /* written in one piece: smaller than PIPE_BUF */
	int64_t bytes; /* -1: failed */
	uint64_t sum;
};

/* FNV-1a, 64 bits. */
static struct report read_whole(const char *path)
{
	struct report r = { .sum = 14695981039346656037u };
	unsigned char chunk[CHUNK];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return (struct report){ .bytes = -1 };
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);

		if (n < 0)
			return (struct report){ .bytes = -1 };
		if (n == 0)
			return r;
		for (ssize_t i = 0; i < n; i++)
			r.sum = (r.sum ^ chunk[i]) * 1099511628211u;
		r.bytes += n;
	}
}

static _Noreturn void child(const char *path, int gate, int out)
{
	char c;

	if (read(gate, &c, 1) != 0) /* end of file: the gate is open */
		_exit(1);
	struct report r = read_whole(path);
	_exit(write(out, &r, sizeof r) == (ssize_t)sizeof r ? 0 : 1);
}

int main(int argc, char **argv)
{
	long count = argc >= 3 ? strtol(argv[1], NULL, 10) : 0;
	int gate[2], out[2];

	if (count < 1 || count > MOST || pipe(gate) != 0 || pipe(out) != 0)
		return 2;
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 2;
		}
		if (pid == 0) {
			(void)close(gate[1]);
			(void)close(out[0]);
			unsigned user = argc > 3 ? (unsigned)strtoul(argv[3 + i % (argc - 3)], NULL, 10) : 0;
			if (user != 0 && (setgid(user) != 0 || setuid(user) != 0))
				_exit(1);
			child(argv[2], gate[0], out[1]);
		}
	}
	(void)close(out[1]);
	(void)close(gate[1]);
	long ok = 0, failed = 0, different = 0;
	struct report first = { .bytes = -1 }, r;

	while (read(out[0], &r, sizeof r) == (ssize_t)sizeof r) {
		if (r.bytes < 0) {
			failed++;
			continue;
		}
		if (first.bytes < 0)
			first = r;
		if (r.bytes == first.bytes && r.sum == first.sum)
			ok++;
		else
			different++;
	}
	while (wait(NULL) > 0)
		continue;
	(void)printf("readers %ld ok %ld failed %ld different %ld bytes %lld sum %016" PRIx64 "\n", count, ok,
		     failed, different, (long long)first.bytes, first.sum);
	return ok == count ? 0 : 1;
}
