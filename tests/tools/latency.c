/* Latency: how long open, read to the end and close of one path take, many times in a row.
 *
 *	latency COUNT PAUSE_US PATH...
 *
 * Paths are taken in turn. Prints "reads N p50 US p99 US max US" in microseconds; exit status 1 when a read fails. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MOST 1000000
#define CHUNK 65536

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int read_once(const char *path)
{
	static char chunk[CHUNK];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = 1;
	while (n > 0)
		n = read(fd, chunk, sizeof chunk);
	return close(fd) == 0 && n == 0 ? 0 : -1;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	long count = argc > 3 ? strtol(argv[1], NULL, 10) : 0;
	long pause_us = argc > 3 ? strtol(argv[2], NULL, 10) : 0;

	if (count < 1 || count > MOST || pause_us < 0)
		return 2;
	int64_t *took = calloc((size_t)count, sizeof *took);
	if (took == NULL)
		return 2;
	for (long i = 0; i < count; i++) {
		int64_t begin = now_ns();

		if (read_once(argv[3 + i % (argc - 3)]) != 0) {
			perror(argv[3 + i % (argc - 3)]);
			free(took);
			return 1;
		}
		took[i] = now_ns() - begin;
		if (pause_us > 0)
			(void)usleep((useconds_t)pause_us);
	}
	qsort(took, (size_t)count, sizeof *took, by_value);
	(void)printf("reads %ld p50 %lld p99 %lld max %lld\n", count, (long long)took[count / 2] / 1000,
		     (long long)took[count - 1 - count / 100] / 1000, (long long)took[count - 1] / 1000);
	free(took);
	return 0;
}
