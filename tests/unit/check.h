/* Check: the few lines that a unit test needs. Output is TAP, one line a test function.
 *
 *	static void test_x(void) { CHECK(a == b); CHECK_STR(s, "text"); CHECK_INT(f(), -EINVAL); }
 *	int main(void) { RUN(test_x); return check_end(); }
 *
 * A failed check is told with its place and the test function goes on; nothing is skipped silently. */
#ifndef MEMO_CHECK_H
#define MEMO_CHECK_H

#include <stdio.h>
#include <string.h>

static int check_failures;
static int check_tests;
static int check_bad;

static inline void check_fail(const char *file, int line, const char *what)
{
	check_failures++;
	printf("# %s:%d: %s\n", file, line, what);
}

#define CHECK(cond) \
	do { \
		if (!(cond)) \
			check_fail(__FILE__, __LINE__, "not so: " #cond); \
	} while (0)

#define CHECK_INT(got, want) \
	do { \
		long long check_g = (long long)(got), check_w = (long long)(want); \
		if (check_g != check_w) { \
			check_fail(__FILE__, __LINE__, #got); \
			printf("#   got %lld, want %lld\n", check_g, check_w); \
		} \
	} while (0)

#define CHECK_STR(got, want) \
	do { \
		const char *check_g = (got), *check_w = (want); \
		if (check_g == NULL || strcmp(check_g, check_w) != 0) { \
			check_fail(__FILE__, __LINE__, #got); \
			printf("#   got  %s\n#   want %s\n", check_g ? check_g : "(null)", check_w); \
		} \
	} while (0)

/* A table-driven test says which row is meant. */
#define CHECK_ROW(cond, row) \
	do { \
		if (!(cond)) { \
			check_fail(__FILE__, __LINE__, "not so: " #cond); \
			printf("#   row: %s\n", (row)); \
		} \
	} while (0)

#define RUN(fn) \
	do { \
		int check_before = check_failures; \
		fn(); \
		check_tests++; \
		if (check_failures != check_before) \
			check_bad++; \
		printf("%s %d - %s\n", check_failures == check_before ? "ok" : "not ok", check_tests, #fn); \
		(void)fflush(stdout); \
	} while (0)

static inline int check_end(void)
{
	printf("1..%d\n", check_tests);
	return check_bad == 0 ? 0 : 1;
}

#endif
