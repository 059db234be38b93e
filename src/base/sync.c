#include "sync.h"

#include "error.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

static void must(int r)
{
	if (r != 0)
		abort();
}

void memo_mutex_init(struct memo_mutex *m)
{
	must(pthread_mutex_init(&m->raw, NULL));
}

void memo_mutex_clear(struct memo_mutex *m)
{
	must(pthread_mutex_destroy(&m->raw));
}

/* The analysis cannot see that the raw mutex is the capability. */
void memo_mutex_lock(struct memo_mutex *m) MEMO_TSA(no_thread_safety_analysis)
{
	must(pthread_mutex_lock(&m->raw));
}

void memo_mutex_unlock(struct memo_mutex *m) MEMO_TSA(no_thread_safety_analysis)
{
	must(pthread_mutex_unlock(&m->raw));
}

void memo_cond_init(struct memo_cond *c)
{
	pthread_condattr_t a;
	must(pthread_condattr_init(&a));
	must(pthread_condattr_setclock(&a, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->raw, &a));
	must(pthread_condattr_destroy(&a));
}

void memo_cond_clear(struct memo_cond *c)
{
	must(pthread_cond_destroy(&c->raw));
}

void memo_cond_wait(struct memo_cond *c, struct memo_mutex *m)
{
	must(pthread_cond_wait(&c->raw, &m->raw));
}

int memo_cond_wait_until(struct memo_cond *c, struct memo_mutex *m, int64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = deadline_ns / MEMO_NS_PER_S,
		.tv_nsec = deadline_ns % MEMO_NS_PER_S,
	};
	int r = pthread_cond_timedwait(&c->raw, &m->raw, &ts);
	if (r == ETIMEDOUT)
		return -ETIMEDOUT;
	must(r);
	return 0;
}

void memo_cond_signal(struct memo_cond *c)
{
	must(pthread_cond_signal(&c->raw));
}

void memo_cond_broadcast(struct memo_cond *c)
{
	must(pthread_cond_broadcast(&c->raw));
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	must(clock_gettime(id, &ts));
	return (int64_t)ts.tv_sec * MEMO_NS_PER_S + ts.tv_nsec;
}

int64_t memo_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t memo_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int memo_thread_start(pthread_t *t, const char *name, void *(*fn)(void *), void *arg)
{
	sigset_t all;
	sigset_t old;
	(void)sigfillset(&all);
	must(pthread_sigmask(SIG_SETMASK, &all, &old));
	int r = pthread_create(t, NULL, fn, arg);
	must(pthread_sigmask(SIG_SETMASK, &old, NULL));
	if (r != 0)
		return -r;
	(void)pthread_setname_np(*t, name);
	return 0;
}
