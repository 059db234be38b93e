/* Pairs: open + read + close over two lists of files, interleaved, as a ratio.
 *
 *	pairs ROUNDS LIST_A LIST_B        each list: a path a line, the same number of lines
 *
 * In each round every path of A is read once, then every path of B (the order swaps from round to round). A round gives the
 * median time of one operation for each list and their ratio; printed are the medians over all rounds. The first
 * round warms up and does not count. Run it pinned to one CPU together with the server to take the scheduler out. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct list {
	char **path;
	size_t count;
	double *one; /* of a round */
	double *round; /* medians, microseconds */
};

static double now_us(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static int load(const char *name, size_t rounds, struct list *out)
{
	FILE *f = fopen(name, "re");
	if (f == NULL)
		return -1;
	struct list l = { 0 };
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	while ((n = getline(&line, &cap, f)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		char **p = realloc(l.path, (l.count + 1) * sizeof(char *));
		if (p == NULL)
			return -1;
		l.path = p;
		l.path[l.count] = strdup(line);
		if (l.path[l.count++] == NULL)
			return -1;
	}
	free(line);
	(void)fclose(f);
	l.one = calloc(l.count + 1, sizeof *l.one);
	l.round = calloc(rounds + 1, sizeof *l.round);
	*out = l;
	return l.count == 0 || l.one == NULL || l.round == NULL ? -1 : 0;
}

static int read_one(const char *path)
{
	char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof text);
	return close(fd) < 0 || n < 0 ? -1 : 0;
}

static int run_round(struct list *l, double *median_out)
{
	for (size_t i = 0; i < l->count; i++) {
		double from = now_us();
		if (read_one(l->path[i]) < 0) {
			perror(l->path[i]);
			return -1;
		}
		l->one[i] = now_us() - from;
	}
	*median_out = median(l->one, l->count);
	return 0;
}

int main(int argc, char **argv)
{
	struct list a;
	struct list b;
	size_t rounds = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	if (rounds == 0 || load(argv[2], rounds, &a) < 0 || load(argv[3], rounds, &b) < 0) {
		(void)fprintf(stderr, "usage: pairs ROUNDS LIST_A LIST_B\n");
		return 2;
	}
	double *ratio = calloc(rounds, sizeof *ratio);
	if (ratio == NULL)
		return 2;
	for (size_t i = 0; i <= rounds; i++) {
		double ma;
		double mb;
		struct list *first = i % 2 == 0 ? &a : &b;
		struct list *second = i % 2 == 0 ? &b : &a;
		if (run_round(first, first == &a ? &ma : &mb) < 0 ||
		    run_round(second, second == &a ? &ma : &mb) < 0)
			return 1;
		if (i == 0)
			continue;
		a.round[i - 1] = ma;
		b.round[i - 1] = mb;
		ratio[i - 1] = mb / ma;
	}
	double r = median(ratio, rounds);
	printf("A %.2f us, B %.2f us, B/A %.2f (quartiles %.2f-%.2f), %zu files, %zu rounds\n",
	       median(a.round, rounds), median(b.round, rounds), r, ratio[rounds / 4], ratio[rounds * 3 / 4],
	       a.count, rounds);
	return 0;
}
