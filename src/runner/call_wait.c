/* Demands on a call: who waits for it, since when, and how many instances each user waits for. */
#include "internal.h"

#include <stdatomic.h>
#include <stdlib.h>

bool memo_call_joins_late(struct call *c, int64_t asked_ns)
{
	if (c->begun)
		return asked_ns > c->asked_ns;
	if (asked_ns > c->asked_ns)
		c->asked_ns = asked_ns;
	return false;
}

static struct user *user_get(struct memo_runner *r, uid_t uid) LOCKED
{
	struct memo_map_link *l = memo_map_get(&r->users, &uid, sizeof uid);
	if (l != NULL)
		return MEMO_CONTAINER(l, struct user, link);
	struct user *u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->uid = uid;
	if (memo_map_put(&r->users, &u->link, &u->uid, sizeof u->uid) < 0) {
		free(u);
		return NULL;
	}
	return u;
}

static int user_enter(struct memo_runner *r, struct call *c, uid_t uid, uint64_t limit) LOCKED
{
	for (size_t i = 0; i < c->users; i++) {
		if (c->user[i].user->uid == uid) {
			c->user[i].count++;
			return 0;
		}
	}
	struct user *u = user_get(r, uid);
	struct call_user *list = u == NULL ? NULL : realloc(c->user, (c->users + 1) * sizeof *list);
	if (list == NULL)
		return -ENOMEM;
	c->user = list;
	if (u->calls >= limit)
		return -EDQUOT;
	u->calls++;
	list[c->users++] = (struct call_user){ u, 1 };
	return 0;
}

static void user_leave(struct memo_runner *r, struct call *c, uid_t uid) LOCKED
{
	for (size_t i = 0; i < c->users; i++) {
		struct user *u = c->user[i].user;
		if (u->uid != uid)
			continue;
		if (--c->user[i].count > 0)
			return;
		c->user[i] = c->user[--c->users];
		if (--u->calls == 0) {
			memo_map_remove(&r->users, &u->link);
			free(u);
		}
		return;
	}
}

int memo_call_charge(struct memo_runner *r, struct call *c, uid_t uid, uint64_t limit)
{
	if (c->counted || c->phase == CALL_DONE)
		return 0;
	int code = user_enter(r, c, uid, limit);
	if (code < 0) {
		if (!c->begun && !memo_call_wanted(c))
			memo_call_done(r, c, code, NULL, NULL);
		return code;
	}
	c->counted = true;
	c->starter = uid;
	return 0;
}

void memo_call_discharge(struct memo_runner *r, struct call *c)
{
	if (c->counted)
		user_leave(r, c, c->starter);
	c->counted = false;
}

/* The user has been entered. */
static void link_wait(struct call *c, struct memo_wait *w)
{
	w->late = memo_call_joins_late(c, w->asked_ns);
	w->call = c;
	c->refs++;
	w->next = c->waits;
	w->prev = &c->waits;
	if (w->next != NULL)
		w->next->prev = &w->next;
	c->waits = w;
}

static void unlink_wait(struct memo_runner *r, struct memo_wait *w) LOCKED
{
	*w->prev = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	w->next = NULL;
	w->prev = NULL;
	user_leave(r, w->call, w->uid);
}

int memo_call_attach(struct memo_runner *r, struct call *c, struct memo_wait *w, uint64_t limit)
{
	int code = user_enter(r, c, w->uid, limit);
	if (code < 0) {
		/* what is refused must not start work either; a call that was there before goes on */
		if (!c->begun && !memo_call_wanted(c))
			memo_call_done(r, c, code, NULL, NULL);
		return code;
	}
	link_wait(c, w);
	(void)atomic_fetch_add(&w->refs, 1);
	if (w->reader != NULL)
		memo_exec_reading(r, w->reader, w);
	return 0;
}

void memo_call_detach(struct memo_runner *r, struct memo_wait *w)
{
	unlink_wait(r, w);
	if (w->reader != NULL) {
		memo_exec_read_done(r, w->reader, w);
		memo_exec_unref(r, w->reader);
		w->reader = NULL;
	}
}

bool memo_call_move(struct memo_runner *r, struct call *c, struct memo_wait *w, struct call *to)
{
	if (user_enter(r, to, w->uid, UINT64_MAX) < 0)
		return false;
	unlink_wait(r, w);
	link_wait(to, w);
	memo_call_unref(r, c);
	return true;
}
