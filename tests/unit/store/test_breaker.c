/* Breaker: once more for an object that fails twice, and never in a loop. */
#include "../check.h"
#include "store/breaker.h"

#define S MEMO_NS_PER_S

static void test_object(void)
{
	struct memo_breaker b;
	memo_breaker_init(&b);
	CHECK(!memo_breaker_failed(&b, 1, 10 * S));
	CHECK(memo_breaker_failed(&b, 1, 11 * S));
	for (int i = 0; i < 1000; i++)
		CHECK(!memo_breaker_failed(&b, 1, (12 + i) * S));
	CHECK(!memo_breaker_failed(&b, 2, 12 * S)); /* another one counts for itself */
	memo_breaker_worked(&b, 1);
	CHECK(!memo_breaker_failed(&b, 1, 2000 * S));
	CHECK(memo_breaker_failed(&b, 1, 2001 * S));
	CHECK_INT(atomic_load(&b.errors), 1005);
	CHECK_INT(atomic_load(&b.refused), 1003);
	memo_breaker_clear(&b);
}

/* Failures that lie far apart begin anew. */
static void test_span(void)
{
	struct memo_breaker b;
	memo_breaker_init(&b);
	CHECK(!memo_breaker_failed(&b, 5, 0));
	CHECK(!memo_breaker_failed(&b, 5, MEMO_BREAKER_SPAN_NS));
	CHECK(memo_breaker_failed(&b, 5, MEMO_BREAKER_SPAN_NS + S));
	CHECK(!memo_breaker_failed(&b, 5, MEMO_BREAKER_SPAN_NS + 2 * S));
	memo_breaker_clear(&b);
}

/* A disk that fails: so many objects, and no more until the span is over. */
static void test_disk(void)
{
	struct memo_breaker b;
	unsigned given_up = 0;
	memo_breaker_init(&b);
	for (uint64_t mark = 1; mark <= 400; mark++) {
		CHECK(!memo_breaker_failed(&b, mark * 77777, S));
		given_up += memo_breaker_failed(&b, mark * 77777, 2 * S);
	}
	CHECK_INT(given_up, MEMO_BREAKER_OBJECTS);
	CHECK(!memo_breaker_failed(&b, 999999937, MEMO_BREAKER_SPAN_NS + 2 * S));
	CHECK(memo_breaker_failed(&b, 999999937, MEMO_BREAKER_SPAN_NS + 3 * S));
	memo_breaker_clear(&b);
}

/* More objects than there is room for: the oldest begin anew, nothing is given up for it. */
static void test_room(void)
{
	struct memo_breaker b;
	memo_breaker_init(&b);
	for (uint64_t mark = 1; mark <= 100000; mark++)
		CHECK(!memo_breaker_failed(&b, mark, (int64_t)mark));
	CHECK(atomic_load(&b.watched) <= MEMO_BREAKER_SLOTS);
	for (uint64_t mark = 1; mark <= 100000; mark++)
		memo_breaker_worked(&b, mark);
	CHECK_INT(atomic_load(&b.watched), 0);
	memo_breaker_clear(&b);
}

int main(void)
{
	RUN(test_object);
	RUN(test_span);
	RUN(test_disk);
	RUN(test_room);
	return check_end();
}
