/* Mutexes and conditions with marks that clang's -Wthread-safety checks.
 *
 * Pattern: a public function locks, calls a `_locked` twin that is marked MEMO_TSA(requires_capability)
 * and may return early, unlocks. A scope guard is not used: clang 14 does not see through it.
 * Time-outs run on CLOCK_MONOTONIC.
 *
 * Lock order, outermost first. A thread that holds one takes only locks below it:
 *	control server  >  runner  >  executor  >  filesystem nodes  >  filesystem parked requests
 *	>  store registry  >  store manifest handle  >  store caches  >  log
 * No lock is held while waiting for a process or the network, or while a callback of another layer runs. */
#ifndef MEMO_BASE_SYNC_H
#define MEMO_BASE_SYNC_H

#include <pthread.h>
#include <stdint.h>

#if defined(__clang__)
#define MEMO_TSA(x) __attribute__((x))
#else
#define MEMO_TSA(x)
#endif

struct MEMO_TSA(capability("mutex")) memo_mutex {
	pthread_mutex_t raw;
};

struct memo_cond {
	pthread_cond_t raw;
};

/* These abort on a misuse that pthread reports: it is a bug. */
void memo_mutex_init(struct memo_mutex *m);
void memo_mutex_clear(struct memo_mutex *m);
void memo_mutex_lock(struct memo_mutex *m) MEMO_TSA(acquire_capability(*m));
void memo_mutex_unlock(struct memo_mutex *m) MEMO_TSA(release_capability(*m));

void memo_cond_init(struct memo_cond *c);
void memo_cond_clear(struct memo_cond *c);
void memo_cond_wait(struct memo_cond *c, struct memo_mutex *m) MEMO_TSA(requires_capability(*m));
/* Waits until @deadline_ns of memo_now_ns(). 0: woken (or spuriously), -ETIMEDOUT. */
int memo_cond_wait_until(struct memo_cond *c, struct memo_mutex *m, int64_t deadline_ns)
	MEMO_TSA(requires_capability(*m));
void memo_cond_signal(struct memo_cond *c);
void memo_cond_broadcast(struct memo_cond *c);

#define MEMO_NS_PER_S INT64_C(1000000000)
#define MEMO_NS_PER_MS INT64_C(1000000)

/* Nanoseconds of CLOCK_MONOTONIC: for time-outs. */
int64_t memo_now_ns(void);
/* Nanoseconds of CLOCK_REALTIME: for records that people read, never for a decision. */
int64_t memo_wall_ns(void);

/* Starts a thread with all signals blocked, named @name (at most 15 bytes). Negative errno on failure. */
int memo_thread_start(pthread_t *t, const char *name, void *(*fn)(void *), void *arg);

#endif
