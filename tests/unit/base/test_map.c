#include "base/map.h"

#include "check.h"

#include <stdlib.h>

#define THINGS 5000u

struct thing {
	unsigned n;
	struct memo_map_link link;
	char name[16];
};

static struct thing thing[THINGS];

static void fill(struct memo_map *m)
{
	for (unsigned i = 0; i < THINGS; i++) {
		thing[i].n = i;
		(void)snprintf(thing[i].name, sizeof thing[i].name, "name%u", i);
		CHECK_INT(memo_map_put(m, &thing[i].link, thing[i].name, strlen(thing[i].name)), 0);
	}
}

static struct thing *get(const struct memo_map *m, unsigned i)
{
	char name[16];
	int n = snprintf(name, sizeof name, "name%u", i);
	struct memo_map_link *l = memo_map_get(m, name, (size_t)n);
	return l != NULL ? MEMO_CONTAINER(l, struct thing, link) : NULL;
}

static void test_put_get_remove(void)
{
	struct memo_map m = { 0 };
	CHECK(memo_map_get(&m, "x", 1) == NULL && memo_map_next(&m, NULL) == NULL);
	fill(&m);
	CHECK_INT(m.count, THINGS);
	for (unsigned i = 0; i < THINGS; i++)
		CHECK(get(&m, i) == &thing[i]);
	CHECK(get(&m, THINGS) == NULL);
	CHECK(memo_map_get(&m, "name", 4) == NULL);
	for (unsigned i = 0; i < THINGS; i += 2)
		memo_map_remove(&m, &thing[i].link);
	for (unsigned i = 0; i < THINGS; i++)
		CHECK(get(&m, i) == (i % 2 == 0 ? NULL : &thing[i]));
	CHECK_INT(m.count, THINGS / 2);
	memo_map_clear(&m);
	CHECK(m.count == 0 && memo_map_get(&m, "name1", 5) == NULL);
}

/* Each once; and the walk may take out what it has passed. */
static void test_walk(void)
{
	struct memo_map m = { 0 };
	static unsigned char seen[THINGS];
	unsigned count = 0;
	fill(&m);
	struct memo_map_link *l = memo_map_next(&m, NULL);
	while (l != NULL) {
		struct memo_map_link *next = memo_map_next(&m, l);
		seen[MEMO_CONTAINER(l, struct thing, link)->n]++;
		memo_map_remove(&m, l);
		count++;
		l = next;
	}
	CHECK_INT(count, THINGS);
	for (unsigned i = 0; i < THINGS; i++)
		CHECK_INT(seen[i], 1);
	CHECK_INT(m.count, 0);
	memo_map_clear(&m);
}

/* Keys are bytes: a NUL and the length count. */
static void test_bytes(void)
{
	struct memo_map m = { 0 };
	struct memo_map_link a, b, c;
	CHECK_INT(memo_map_put(&m, &a, "k\0x", 3), 0);
	CHECK_INT(memo_map_put(&m, &b, "k", 1), 0);
	CHECK_INT(memo_map_put(&m, &c, "", 0), 0);
	CHECK(memo_map_get(&m, "k\0x", 3) == &a && memo_map_get(&m, "k", 1) == &b && memo_map_get(&m, "", 0) == &c);
	CHECK(memo_map_get(&m, "k\0y", 3) == NULL && memo_map_get(&m, "k\0", 2) == NULL);
	memo_map_clear(&m);
}

int main(void)
{
	RUN(test_put_get_remove);
	RUN(test_walk);
	RUN(test_bytes);
	return check_end();
}
