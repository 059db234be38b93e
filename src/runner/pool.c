/* The runner's threads: a pool for what blocks, and one dispatcher for answers, events and timers. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

void memo_pool_push(struct memo_runner *r, struct job *j, void (*fn)(struct memo_runner *, void *), void *arg)
{
	*j = (struct job){ .fn = fn, .arg = arg };
	*r->job_last = j;
	r->job_last = &j->next;
	memo_cond_signal(&r->work);
}

static void *pool_run(void *arg)
{
	struct memo_runner *r = arg;
	memo_mutex_lock(&r->mu);
	for (;;) {
		while (r->job_first == NULL && !r->pool_stop)
			memo_cond_wait(&r->work, &r->mu);
		struct job *j = r->job_first;
		if (j == NULL)
			break;
		r->job_first = j->next;
		if (r->job_first == NULL)
			r->job_last = &r->job_first;
		/* the job's memory may be reused as soon as it runs */
		void (*fn)(struct memo_runner *, void *) = j->fn;
		void *fn_arg = j->arg;
		memo_mutex_unlock(&r->mu);
		fn(r, fn_arg);
		memo_mutex_lock(&r->mu);
		memo_cond_broadcast(&r->idle);
	}
	memo_mutex_unlock(&r->mu);
	return NULL;
}

/* ---- timers ---------------------------------------------------------------------------------- */

void memo_timer_clear(struct memo_runner *r, struct timer *t)
{
	if (!t->set)
		return;
	struct timer **p = &r->timers;
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	t->set = false;
}

void memo_timer_set(struct memo_runner *r, struct timer *t, int64_t due_ns,
		    void (*fn)(struct memo_runner *, void *), void *arg)
{
	memo_timer_clear(r, t);
	*t = (struct timer){ .due_ns = due_ns, .set = true, .fn = fn, .arg = arg };
	struct timer **p = &r->timers;
	while (*p != NULL && (*p)->due_ns <= due_ns)
		p = &(*p)->next;
	t->next = *p;
	*p = t;
	memo_cond_signal(&r->post);
}

static void fire_timers(struct memo_runner *r) LOCKED
{
	int64_t now = memo_now_ns();
	while (r->timers != NULL && r->timers->due_ns <= now) {
		struct timer *t = r->timers;
		r->timers = t->next;
		t->set = false;
		t->fn(r, t->arg);
	}
}

/* ---- messages -------------------------------------------------------------------------------- */

static void post(struct memo_runner *r, struct message *m) LOCKED
{
	m->next = NULL;
	*r->msg_last = m;
	r->msg_last = &m->next;
	memo_cond_signal(&r->post);
}

void memo_post_answer(struct memo_runner *r, struct memo_wait *w)
{
	struct message *m = calloc(1, sizeof *m);
	if (m == NULL)
		abort(); /* an answer must not be lost; 80 bytes could not be had */
	m->wait = w;
	w->state = WAIT_QUEUED;
	post(r, m);
}

static char *copy(const char *s)
{
	return s == NULL ? NULL : strdup(s);
}

void memo_post_event(struct memo_runner *r, enum memo_event_kind kind, const char *task, const char *version,
		     const char *name, enum memo_state state, const char *reason)
{
	if (r->listeners == 0)
		return;
	struct message *m = calloc(1, sizeof *m);
	if (m == NULL)
		return; /* listeners are told of the next change */
	m->kind = kind;
	m->task = copy(task);
	m->version = copy(version);
	m->name = copy(name);
	m->reason = copy(reason);
	m->state = state;
	if ((task != NULL && m->task == NULL) || (version != NULL && m->version == NULL) ||
	    (name != NULL && m->name == NULL)) {
		free(m->task);
		free(m->version);
		free(m->name);
		free(m->reason);
		free(m);
		return;
	}
	post(r, m);
}

static void deliver_answer(struct memo_runner *r, struct memo_wait *w) LOCKED
{
	if (w->state == WAIT_QUEUED) {
		w->state = WAIT_ANSWERED;
		struct call *c = w->call; /* done: its result and error do not change any more */
		memo_mutex_unlock(&r->mu);
		w->answer(w->arg, c->code, c->result, &c->err);
		memo_mutex_lock(&r->mu);
	}
	struct call *c = w->call;
	w->call = NULL;
	memo_call_unref(r, c);
	memo_wait_release(w);
}

static void deliver_event(struct memo_runner *r, struct message *m) LOCKED
{
	struct memo_event e = {
		.kind = m->kind,
		.task = m->task,
		.version = m->version,
		.name = m->name,
		.state = m->state,
		.reason = m->reason,
	};
	struct listener list[MEMO_RUNNER_LISTENERS];
	size_t n = r->listeners;
	memcpy(list, r->listener, n * sizeof list[0]);
	memo_mutex_unlock(&r->mu);
	for (size_t i = 0; i < n; i++)
		list[i].fn(list[i].arg, &e);
	free(m->task);
	free(m->version);
	free(m->name);
	free(m->reason);
	memo_mutex_lock(&r->mu);
}

static void *dispatcher_run(void *arg)
{
	struct memo_runner *r = arg;
	memo_mutex_lock(&r->mu);
	while (!r->dispatcher_stop || r->msg_first != NULL) {
		fire_timers(r);
		struct message *m = r->msg_first;
		if (m == NULL) {
			if (r->dispatcher_stop)
				break;
			if (r->timers == NULL)
				memo_cond_wait(&r->post, &r->mu);
			else
				(void)memo_cond_wait_until(&r->post, &r->mu, r->timers->due_ns);
			continue;
		}
		r->msg_first = m->next;
		if (r->msg_first == NULL)
			r->msg_last = &r->msg_first;
		r->dispatching = true;
		if (m->wait != NULL)
			deliver_answer(r, m->wait);
		else
			deliver_event(r, m);
		r->dispatching = false;
		memo_cond_broadcast(&r->dispatched);
		free(m);
	}
	memo_mutex_unlock(&r->mu);
	return NULL;
}

/* ---- listeners ------------------------------------------------------------------------------- */

int memo_runner_listen(struct memo_runner *r, memo_event_fn *fn, void *arg)
{
	int code = 0;
	memo_mutex_lock(&r->mu);
	if (r->listeners == MEMO_RUNNER_LISTENERS)
		code = -EUSERS;
	else
		r->listener[r->listeners++] = (struct listener){ fn, arg };
	memo_mutex_unlock(&r->mu);
	return code;
}

void memo_runner_unlisten(struct memo_runner *r, memo_event_fn *fn, void *arg)
{
	memo_mutex_lock(&r->mu);
	size_t k = 0;
	for (size_t i = 0; i < r->listeners; i++) {
		if (r->listener[i].fn != fn || r->listener[i].arg != arg)
			r->listener[k++] = r->listener[i];
	}
	r->listeners = k;
	/* a listener that takes itself off must not wait for its own call */
	while (r->dispatching && !pthread_equal(pthread_self(), r->dispatcher))
		memo_cond_wait(&r->dispatched, &r->mu);
	memo_mutex_unlock(&r->mu);
}

/* ---- life ------------------------------------------------------------------------------------ */

int memo_pool_start(struct memo_runner *r)
{
	int code = memo_thread_start(&r->dispatcher, "memofs-answer", dispatcher_run, r);
	if (code < 0)
		return code;
	r->dispatcher_on = true;
	for (size_t i = 0; i < RUNNER_POOL; i++) {
		code = memo_thread_start(&r->pool[i], "memofs-pool", pool_run, r);
		if (code < 0)
			return code;
		r->pool_count++;
	}
	return 0;
}

void memo_pool_stop(struct memo_runner *r)
{
	memo_mutex_lock(&r->mu);
	r->pool_stop = true;
	memo_cond_broadcast(&r->work);
	memo_mutex_unlock(&r->mu);
	for (size_t i = 0; i < r->pool_count; i++)
		(void)pthread_join(r->pool[i], NULL);
	r->pool_count = 0;
	memo_mutex_lock(&r->mu);
	r->dispatcher_stop = true;
	memo_cond_signal(&r->post);
	memo_mutex_unlock(&r->mu);
	if (r->dispatcher_on)
		(void)pthread_join(r->dispatcher, NULL);
	r->dispatcher_on = false;
}
