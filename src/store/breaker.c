/* See breaker.h. A slot is chosen by the mark alone; another object's slot is taken over when it is older. */
#include "breaker.h"

#include <string.h>

#define PROBES 8

void memo_breaker_init(struct memo_breaker *b)
{
	memset(b, 0, sizeof *b);
	memo_mutex_init(&b->mu);
}

void memo_breaker_clear(struct memo_breaker *b)
{
	memo_mutex_clear(&b->mu);
}

/* The object's slot; without @take NULL when it has none. */
static struct memo_breaker_slot *slot_locked(struct memo_breaker *b, uint64_t mark, bool take)
	MEMO_TSA(requires_capability(b->mu));
static struct memo_breaker_slot *slot_locked(struct memo_breaker *b, uint64_t mark, bool take)
{
	struct memo_breaker_slot *oldest = NULL;
	for (uint64_t i = 0; i < PROBES; i++) {
		struct memo_breaker_slot *p = &b->slot[(mark + i) % MEMO_BREAKER_SLOTS];
		if (p->mark == mark)
			return p;
		if (oldest == NULL || (oldest->mark != 0 && (p->mark == 0 || p->last_ns < oldest->last_ns)))
			oldest = p;
	}
	if (!take)
		return NULL;
	if (oldest->mark == 0)
		(void)atomic_fetch_add(&b->watched, 1);
	*oldest = (struct memo_breaker_slot){ .mark = mark };
	return oldest;
}

/* Whether one more may be given up: the oldest of the last few lies outside of the span. */
static bool give_up_locked(struct memo_breaker *b, int64_t now_ns) MEMO_TSA(requires_capability(b->mu));
static bool give_up_locked(struct memo_breaker *b, int64_t now_ns)
{
	int64_t *oldest = &b->given_up_ns[b->given_up % MEMO_BREAKER_OBJECTS];
	if (b->given_up >= MEMO_BREAKER_OBJECTS && now_ns - *oldest < MEMO_BREAKER_SPAN_NS)
		return false;
	*oldest = now_ns;
	b->given_up++;
	return true;
}

bool memo_breaker_failed(struct memo_breaker *b, uint64_t mark, int64_t now_ns)
{
	memo_mutex_lock(&b->mu);
	struct memo_breaker_slot *p = slot_locked(b, mark, true);
	if (p->failures > 0 && now_ns - p->last_ns >= MEMO_BREAKER_SPAN_NS)
		p->failures = 0;
	p->failures++;
	p->last_ns = now_ns;
	bool give_up = p->failures == MEMO_BREAKER_SECOND && give_up_locked(b, now_ns);
	memo_mutex_unlock(&b->mu);
	(void)atomic_fetch_add(&b->errors, 1);
	if (!give_up)
		(void)atomic_fetch_add(&b->refused, 1);
	return give_up;
}

void memo_breaker_worked(struct memo_breaker *b, uint64_t mark)
{
	if (atomic_load_explicit(&b->watched, memory_order_relaxed) == 0)
		return;
	memo_mutex_lock(&b->mu);
	struct memo_breaker_slot *p = slot_locked(b, mark, false);
	if (p != NULL) {
		*p = (struct memo_breaker_slot){ 0 };
		(void)atomic_fetch_sub(&b->watched, 1);
	}
	memo_mutex_unlock(&b->mu);
}
