/* See park.h. References of an entry: the maker, the runner's callback, the list, the watcher; the last one frees it. */
#include "park.h"

#include "base/who.h"
#include "private.h"
#include "interrupt.h"

#include <stdlib.h>

/* How often signalled waiters are looked at; how long one with nothing pending may go on. */
#define WATCH_NS (100 * MEMO_NS_PER_MS)
#define NOTHING_NS MEMO_NS_PER_S

struct memo_parked {
	struct memo_fs *fs;
	struct memo_call call;
	struct memo_node *owner; /* bound by the answer; pinned while refs > 0; may be NULL */
	bool join; /* owner is of a "cache": false task */
	char *path; /* of a guarded node: the name by which it is demanded, below the mount's root; NULL: as the node's */
	/* Guarded by the park's lock. */
	struct memo_parked *next, **prev; /* in `all`, while prev != NULL */
	struct memo_parked *leader; /* whose demand this waits for; itself for a leader */
	struct memo_parked *watch_next;
	struct memo_wait *wait; /* of a leader, once it is known */
	unsigned refs;
	unsigned waiting; /* of a leader: unclaimed ones of the group */
	bool open; /* of a leader: the answer has not come, others may join */
	bool dropped; /* of a leader: memo_runner_drop() was or is being called */
	bool claimed;
	bool watched;
	bool soft; /* a signal that must not end the wait was seen */
	int64_t since_ns; /* of the signal */
};

void memo_park_init(struct memo_park *p)
{
	*p = (struct memo_park){ 0 };
	memo_mutex_init(&p->mu);
	memo_cond_init(&p->cond);
}

void memo_park_clear(struct memo_park *p)
{
	memo_cond_clear(&p->cond);
	memo_mutex_clear(&p->mu);
}

static void unlink_locked(struct memo_parked *p)
{
	if (p->prev == NULL)
		return;
	*p->prev = p->next;
	if (p->next != NULL)
		p->next->prev = p->prev;
	p->prev = NULL;
	p->refs--; /* never the last: the caller holds one */
}

static void unref(struct memo_parked *p)
{
	struct memo_fs *fs = p->fs;
	memo_mutex_lock(&fs->park.mu);
	bool last = --p->refs == 0;
	struct memo_parked *leader = p->leader;
	memo_mutex_unlock(&fs->park.mu);
	if (!last)
		return;
	if (p->wait != NULL)
		memo_wait_release(p->wait);
	memo_nodes_put(&fs->nodes, p->owner);
	free(p->path);
	free(p);
	if (leader != p)
		unref(leader);
	memo_mutex_lock(&fs->park.mu);
	if (--fs->park.live == 0)
		memo_cond_broadcast(&fs->park.cond);
	memo_mutex_unlock(&fs->park.mu);
}

/* Sets the claim; true for the one who replies. */
static bool claim_locked(struct memo_parked *p)
{
	if (p->claimed)
		return false;
	p->claimed = true;
	p->leader->waiting--;
	unlink_locked(p);
	return true;
}

static bool claim(struct memo_parked *p)
{
	memo_mutex_lock(&p->fs->park.mu);
	bool won = claim_locked(p);
	memo_mutex_unlock(&p->fs->park.mu);
	return won;
}

/* For the claimer only. The request is given to the reply; the entry lives on. */
static void finish(struct memo_parked *p, int code, struct memo_result *res)
{
	fuse_req_interrupt_func(p->call.req, NULL, NULL);
	if (code == 0 && p->path != NULL && res != NULL)
		memo_runner_observe(p->fs->runner, p->call.tid, p->path, &res->hash, NULL);
	memo_call_resume(p->fs, &p->call, code, res);
}

/* Ends the demand of a group that nobody waits in any more. */
static void drop_if_alone(struct memo_parked *leader)
{
	struct memo_fs *fs = leader->fs;
	memo_mutex_lock(&fs->park.mu);
	bool drop = leader->waiting == 0 && leader->open && leader->wait != NULL && !leader->dropped;
	if (drop) {
		leader->dropped = true;
		leader->open = false;
	}
	memo_mutex_unlock(&fs->park.mu);
	/* Dropped: the callback will not come, its reference is ours to give back. */
	if (drop && memo_runner_drop(fs->runner, leader->wait))
		unref(leader);
}

/* The next one of the group that is still unanswered, claimed for the caller, with a reference. */
static struct memo_parked *take_member(struct memo_parked *leader)
{
	struct memo_fs *fs = leader->fs;
	struct memo_parked *found = NULL;
	memo_mutex_lock(&fs->park.mu);
	leader->open = false;
	if (!leader->claimed)
		found = leader;
	for (struct memo_parked *p = fs->park.all; p != NULL && found == NULL && leader->waiting > 0; p = p->next)
		if (p->leader == leader && !p->claimed)
			found = p;
	if (found != NULL) {
		found->refs++;
		(void)claim_locked(found);
	}
	memo_mutex_unlock(&fs->park.mu);
	return found;
}

static void answer_group(struct memo_parked *leader, int code, struct memo_result *res)
{
	if (code == 0 && leader->owner != NULL)
		memo_call_bind(leader->fs, leader->owner, res);
	struct memo_parked *p;
	while ((p = take_member(leader)) != NULL) {
		finish(p, code, res);
		unref(p);
	}
}

/* A memo_answer_fn. */
static void on_answer(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct memo_parked *leader = arg;
	(void)err; /* the words are in /info */
	answer_group(leader, code, res);
	unref(leader);
}

/* Runs with the request's lock held. */
static void on_interrupt(fuse_req_t req, void *arg)
{
	struct memo_parked *p = arg;
	struct memo_park *park = &p->fs->park;
	(void)req;
	memo_mutex_lock(&park->mu);
	if (!p->watched && !p->claimed) {
		p->watched = true;
		p->refs++;
		p->since_ns = memo_now_ns();
		p->watch_next = park->signalled;
		park->signalled = p;
		memo_cond_signal(&park->cond);
	}
	memo_mutex_unlock(&park->mu);
}

/* ---- the watcher --------------------------------------------------------------------------------- */

static bool must_end(struct memo_parked *p)
{
	switch (memo_interrupt_of(p->call.tid)) {
	case MEMO_INTERRUPT_SOFT:
		p->soft = true; /* the watcher's own */
		return false;
	case MEMO_INTERRUPT_NONE:
		/* Another thread may have taken the soft signal; nothing else asked for an end. */
		return !p->soft && memo_now_ns() - p->since_ns >= NOTHING_NS;
	case MEMO_INTERRUPT_END:
	case MEMO_INTERRUPT_GONE:
		break;
	}
	return true;
}

/* true: keep watching. */
static bool watch_one(struct memo_parked *p)
{
	memo_mutex_lock(&p->fs->park.mu);
	bool over = p->claimed;
	memo_mutex_unlock(&p->fs->park.mu);
	if (over)
		return false;
	if (!must_end(p))
		return true;
	if (claim(p)) {
		finish(p, -EINTR, NULL);
		drop_if_alone(p->leader);
	}
	return false;
}

static void watch_list(struct memo_fs *fs, struct memo_parked *list)
{
	while (list != NULL) {
		struct memo_parked *p = list;
		list = p->watch_next;
		if (!watch_one(p)) {
			unref(p);
			continue;
		}
		memo_mutex_lock(&fs->park.mu);
		p->watch_next = fs->park.signalled;
		fs->park.signalled = p;
		memo_mutex_unlock(&fs->park.mu);
	}
}

static void *watcher(void *arg)
{
	struct memo_fs *fs = arg;
	struct memo_park *park = &fs->park;
	int64_t next = 0; /* when those that were left are looked at again */
	bool left = false;
	for (;;) {
		memo_mutex_lock(&park->mu);
		while (!park->stop && park->signalled == NULL)
			memo_cond_wait(&park->cond, &park->mu);
		/* New ones come to the front and are seen at once; the others wait for their time. */
		if (left && !park->stop && memo_now_ns() < next)
			(void)memo_cond_wait_until(&park->cond, &park->mu, next);
		struct memo_parked *list = park->signalled;
		park->signalled = NULL;
		bool stop = park->stop;
		memo_mutex_unlock(&park->mu);
		if (stop) {
			while (list != NULL) {
				struct memo_parked *p = list;
				list = p->watch_next;
				unref(p);
			}
			return NULL;
		}
		watch_list(fs, list);
		memo_mutex_lock(&park->mu);
		left = park->signalled != NULL;
		memo_mutex_unlock(&park->mu);
		next = memo_now_ns() + WATCH_NS;
	}
}

int memo_park_start(struct memo_fs *fs)
{
	int r = memo_thread_start(&fs->park.thread, "fs-signals", watcher, fs);
	fs->park.running = r == 0;
	return r;
}

void memo_park_stop(struct memo_fs *fs)
{
	struct memo_park *park = &fs->park;
	memo_mutex_lock(&park->mu);
	park->stop = true;
	memo_cond_broadcast(&park->cond);
	memo_mutex_unlock(&park->mu);
	for (;;) {
		memo_mutex_lock(&park->mu);
		struct memo_parked *p = park->all;
		if (p != NULL) {
			p->refs++;
			(void)claim_locked(p); /* what is in the list is unclaimed */
		}
		memo_mutex_unlock(&park->mu);
		if (p == NULL)
			break;
		finish(p, -ESHUTDOWN, NULL);
		drop_if_alone(p->leader);
		unref(p);
	}
	if (park->running)
		(void)pthread_join(park->thread, NULL);
	park->running = false;
}

void memo_park_drain(struct memo_fs *fs)
{
	memo_mutex_lock(&fs->park.mu);
	while (fs->park.live > 0)
		memo_cond_wait(&fs->park.cond, &fs->park.mu);
	memo_mutex_unlock(&fs->park.mu);
}

/* ---- parking ------------------------------------------------------------------------------------- */

/* Enters the lists. false: claimed meanwhile, or the end has come (@*code_out: then the caller replies). */
static bool enter(struct memo_parked *p, bool *leads_out, int *code_out)
{
	struct memo_park *park = &p->fs->park;
	*code_out = 0;
	memo_mutex_lock(&park->mu);
	bool in = !p->claimed && !park->stop;
	if (park->stop && claim_locked(p))
		*code_out = -ESHUTDOWN;
	for (struct memo_parked *q = park->all; in && p->join && q != NULL; q = q->next) {
		if (q->owner != p->owner || !q->leader->open)
			continue;
		p->leader->waiting--;
		p->leader = q->leader;
		p->leader->waiting++;
		p->leader->refs++;
		break;
	}
	if (in) {
		p->refs++;
		p->next = park->all;
		p->prev = &park->all;
		if (p->next != NULL)
			p->next->prev = &p->next;
		park->all = p;
		p->open = p->leader == p;
	}
	*leads_out = p->leader == p;
	memo_mutex_unlock(&park->mu);
	return in;
}

static void demand(struct memo_parked *p, const struct memo_origin *o, unsigned flags)
{
	struct memo_fs *fs = p->fs;
	struct memo_who *who = NULL;
	int code = memo_who_thread(p->call.uid, p->call.gid, p->call.tid, &who);
	if (code < 0) {
		answer_group(p, code, NULL);
		unref(p); /* the callback's */
		return;
	}
	struct memo_demand d = { .task = o->task,
				 .inputs = o->inputs,
				 .flags = flags,
				 .uid = p->call.uid,
				 .who = who,
				 .tid = p->call.tid,
				 .answer = on_answer,
				 .arg = p };
	/* What executes for a placeholder in /tasks is published under the placeholder's id. */
	if (p->owner != NULL && (flags & MEMO_DEMAND_PEEK) == 0)
		d.ino = p->owner->ino;
	struct memo_wait *w = NULL;
	struct memo_result *res = NULL;
	int r = memo_runner_demand(fs->runner, &d, &w, &res, NULL);
	memo_who_unref(who);
	if (r <= 0) {
		answer_group(p, r, res);
		memo_result_unref(res);
		unref(p); /* the callback's */
		return;
	}
	bool nfsd = memo_interrupt_is_nfsd(p->call.tid);
	memo_mutex_lock(&fs->park.mu);
	p->wait = w;
	bool busy = nfsd && claim_locked(p);
	memo_mutex_unlock(&fs->park.mu);
	/* A server thread of the kernel must not be kept: its client comes back by itself. */
	if (busy)
		finish(p, -EAGAIN, NULL);
	/* All may have been told to end before the wait was known. */
	drop_if_alone(p);
}

void memo_park_demand(struct memo_fs *fs, const struct memo_call *call, const struct memo_origin *o,
		      struct memo_node *owner, unsigned flags)
{
	struct memo_parked *p = calloc(1, sizeof *p);
	if (p == NULL) {
		memo_call_resume(fs, call, -ENOMEM, NULL);
		return;
	}
	p->fs = fs;
	p->call = *call;
	p->leader = p;
	p->waiting = 1;
	p->refs = 2; /* ours, and the callback's */
	p->owner = owner;
	p->join = owner != NULL && owner->once;
	const struct memo_node *shown = memo_call_owner(call->node);
	if (atomic_load(&shown->guarded) && call->tid > 0 &&
	    asprintf(&p->path, "/tasks/%s/%s/%s", o->task->name, o->task->version, o->component) < 0) {
		free(p);
		memo_call_resume(fs, call, -ENOMEM, NULL);
		return;
	}
	if (owner != NULL)
		memo_nodes_pin(&fs->nodes, owner);
	memo_mutex_lock(&fs->park.mu);
	fs->park.live++;
	memo_mutex_unlock(&fs->park.mu);
	/* @o belongs to a node that the request may take with it when it ends. */
	struct memo_origin mine = { memo_task_ref(o->task), json_incref(o->inputs), NULL };

	fuse_req_interrupt_func(p->call.req, on_interrupt, p);
	bool leads = true;
	int code = 0;
	if (enter(p, &leads, &code)) {
		if (leads)
			demand(p, &mine, flags);
		else
			unref(p); /* the callback's: the leader's answer comes for this one too */
	} else {
		if (code < 0)
			finish(p, code, NULL);
		unref(p);
	}
	unref(p);
	memo_task_unref(mine.task);
	json_decref(mine.inputs);
}
