/* See notify.h. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

struct memo_notice {
	struct memo_notice *next;
	struct memo_gone *gone; /* names to tell; else an event: */
	bool whole; /* the task version */
	bool attributes; /* of everything */
	char task[MEMO_NAME_MAX + 1];
	char version[MEMO_NAME_MAX + 1];
	char name[MEMO_COMPONENT_MAX + 1];
};

void memo_notify_init(struct memo_notify *q)
{
	*q = (struct memo_notify){ 0 };
	memo_mutex_init(&q->mu);
	memo_cond_init(&q->cond);
	q->last = &q->first;
}

static void notice_free(struct memo_notice *n)
{
	memo_gone_free(n->gone);
	free(n);
}

void memo_notify_clear(struct memo_notify *q)
{
	while (q->first != NULL) {
		struct memo_notice *n = q->first;
		q->first = n->next;
		notice_free(n);
	}
	memo_cond_clear(&q->cond);
	memo_mutex_clear(&q->mu);
}

static void push(struct memo_fs *fs, struct memo_notice *n)
{
	struct memo_notify *q = &fs->notify;
	memo_mutex_lock(&q->mu);
	bool stop = q->stop;
	if (!stop) {
		n->next = NULL;
		*q->last = n;
		q->last = &n->next;
		memo_cond_signal(&q->cond);
	}
	memo_mutex_unlock(&q->mu);
	if (stop)
		notice_free(n);
}

static bool copy_name(char *to, size_t size, const char *from)
{
	size_t len = from != NULL ? strlen(from) : 0;
	if (len >= size)
		return false;
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
	return true;
}

void memo_notify_event(void *arg, const struct memo_event *e)
{
	struct memo_fs *fs = arg;
	if (e->kind == MEMO_EVENT_SETTINGS && memo_fs_settings(fs, NULL) < 0)
		return; /* a group that cannot be looked up: what held goes on holding */
	if (e->kind == MEMO_EVENT_STATE || e->kind == MEMO_EVENT_NOTICE)
		return;
	/* From now on a LOOKUP that began earlier does not let the kernel keep what it found. */
	(void)atomic_fetch_add(&fs->nodes.epoch, 1);
	struct memo_notice *n = calloc(1, sizeof *n);
	if (n == NULL)
		return; /* names stay as they were told; opening still detects what is gone */
	n->whole = e->kind == MEMO_EVENT_TASK;
	n->attributes = e->kind == MEMO_EVENT_SETTINGS;
	if (!copy_name(n->task, sizeof n->task, e->task) || !copy_name(n->version, sizeof n->version, e->version) ||
	    !copy_name(n->name, sizeof n->name, e->name)) {
		free(n);
		return;
	}
	push(fs, n);
}

void memo_notify_gone(struct memo_fs *fs, struct memo_gone *gone)
{
	if (gone == NULL)
		return;
	struct memo_notice *n = calloc(1, sizeof *n);
	if (n == NULL) {
		memo_gone_free(gone);
		return;
	}
	n->gone = gone;
	push(fs, n);
}

/* A name that still means what its node shows is left alone: a first result for a name is an event too. */
static bool unchanged(struct memo_fs *fs, const struct memo_node *n)
{
	const struct memo_result *have = atomic_load(&n->result);
	const struct memo_origin *o = atomic_load(&n->origin);
	if (n->kind != MEMO_NODE_INSTANCE || have == NULL)
		return n->kind != MEMO_NODE_LINK;
	/* The kernel keeps nothing of such a name, and each LOOKUP finds out anew. */
	if (atomic_load(&n->guarded))
		return true;
	/* Of a task with "cache": false: no result is what the name means, each belongs to whoever asked for it. */
	if (n->once)
		return true;
	if (o == NULL)
		return false;
	struct memo_result *now = NULL;
	int r = memo_runner_peek(fs->runner, o->task, o->inputs, NULL, MEMO_PEEK_NO_FILES, &now);
	bool same = r == 0 && now->ino == have->ino && memo_id_equal(&now->hash, &have->hash);
	if (r == 0)
		memo_result_unref(now);
	return same;
}

static void work_name(struct memo_fs *fs, const struct memo_notice *e, struct memo_gone **gone)
{
	static const enum memo_view view[] = { MEMO_VIEW_TASKS, MEMO_VIEW_CACHED };
	for (size_t i = 0; i < sizeof view / sizeof view[0]; i++) {
		char key[MEMO_KEY_BYTES];
		if (memo_view_key(key, sizeof key, view[i], e->task, e->version, e->name, NULL) < 0)
			continue;
		struct memo_node *n = memo_nodes_current(&fs->nodes, key);
		if (n == NULL)
			continue;
		/* Out of memory: the names are detached all the same, only the kernel is told less. */
		if (!unchanged(fs, n) && memo_nodes_detach_name(&fs->nodes, key, n, gone) < 0)
			(void)atomic_fetch_add(&fs->nodes.epoch, 1);
		memo_nodes_put(&fs->nodes, n);
	}
}

/* Mode and group of everything that the kernel has: it decides by them who may come in. */
static void work_attributes(struct memo_fs *fs)
{
	uint64_t *ino = NULL;
	size_t count = 0;
	if (memo_nodes_inos(&fs->nodes, &ino, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		(void)fuse_lowlevel_notify_inval_inode(fs->session, ino[i], -1, 0);
	free(ino);
}

static void work(struct memo_fs *fs, struct memo_notice *e)
{
	if (e->attributes) {
		work_attributes(fs);
		notice_free(e);
		return;
	}
	struct memo_gone *gone = e->gone;
	e->gone = NULL;
	if (gone == NULL && e->whole) {
		if (memo_nodes_detach_version(&fs->nodes, e->task, e->version, &gone) < 0)
			(void)atomic_fetch_add(&fs->nodes.epoch, 1);
	} else if (gone == NULL) {
		work_name(fs, e, &gone);
	}
	/* -ENOENT: the kernel does not have it; others: the connection is gone. */
	for (struct memo_gone *g = gone; g != NULL; g = g->next)
		(void)fuse_lowlevel_notify_inval_entry(fs->session, g->parent, g->name, strlen(g->name));
	memo_gone_free(gone);
	notice_free(e);
}

static struct memo_notice *next_notice(struct memo_notify *q)
{
	memo_mutex_lock(&q->mu);
	while (q->first == NULL && !q->stop)
		memo_cond_wait(&q->cond, &q->mu);
	struct memo_notice *n = q->stop ? NULL : q->first;
	if (n != NULL) {
		q->first = n->next;
		if (q->first == NULL)
			q->last = &q->first;
	}
	memo_mutex_unlock(&q->mu);
	return n;
}

static void *notifier(void *arg)
{
	struct memo_fs *fs = arg;
	struct memo_notice *n;
	while ((n = next_notice(&fs->notify)) != NULL)
		work(fs, n);
	return NULL;
}

int memo_notify_start(struct memo_fs *fs)
{
	int r = memo_thread_start(&fs->notify.thread, "fs-notify", notifier, fs);
	fs->notify.running = r == 0;
	return r;
}

void memo_notify_stop(struct memo_fs *fs)
{
	struct memo_notify *q = &fs->notify;
	memo_mutex_lock(&q->mu);
	q->stop = true;
	memo_cond_broadcast(&q->cond);
	memo_mutex_unlock(&q->mu);
	if (q->running)
		(void)pthread_join(q->thread, NULL);
	q->running = false;
}
