/* Breaker: how often reading an object failed, and what follows from it.
 *
 * An error of the disk is not a miss: computing again costs hours, and on a disk that fails for good it would go on for ever.
 * So (the notes on failing disks, and the circuit breaker of Nygard, "Release It!", with counts instead of a timer):
 *
 *	first failure of an object           the reader gets the error, nothing is touched
 *	second                               the object is given up: it goes to quarantine and is computed again, once
 *	third and later                      the reader gets the error, until a read works, or none failed for MEMO_BREAKER_SPAN_NS
 *	MEMO_BREAKER_OBJECTS given up        no more of them within the span: it is the disk, not the objects
 *
 * A read that works forgets what was counted against its object, so that all is well as soon as the disk is. Callable from any
 * thread; the time is given. A bounded table: what falls out of it begins anew. */
#ifndef MEMO_STORE_BREAKER_H
#define MEMO_STORE_BREAKER_H

#include "base/sync.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_BREAKER_SECOND 2
#define MEMO_BREAKER_OBJECTS 8
#define MEMO_BREAKER_SPAN_NS (600 * MEMO_NS_PER_S)
#define MEMO_BREAKER_SLOTS 512

struct memo_breaker_slot {
	uint64_t mark; /* 0: empty */
	unsigned failures;
	int64_t last_ns;
};

struct memo_breaker {
	struct memo_mutex mu;
	struct memo_breaker_slot slot[MEMO_BREAKER_SLOTS]; /* guarded by mu */
	int64_t given_up_ns[MEMO_BREAKER_OBJECTS]; /* guarded by mu; the oldest is replaced */
	size_t given_up; /* guarded by mu: how many were, ever */
	_Atomic size_t watched; /* objects with failures: 0 makes a read that works cheap */
	_Atomic uint64_t errors; /* reads that failed */
	_Atomic uint64_t refused; /* of them: those after which nothing was computed again */
};

void memo_breaker_init(struct memo_breaker *b);
void memo_breaker_clear(struct memo_breaker *b);
/* A read of the object @mark (not 0) failed. true: give it up. */
bool memo_breaker_failed(struct memo_breaker *b, uint64_t mark, int64_t now_ns);
/* It worked. */
void memo_breaker_worked(struct memo_breaker *b, uint64_t mark);

#endif
