/* Demand: calls on nodes that may have no result yet. A call is a request on its way to its one reply. */
#include "private.h"

#include <stdio.h>
#include <string.h>

#define ATTEMPTS 2 /* executions within one OPEN because bytes were gone */
#define CACHED_BIT (UINT64_C(1) << 61)
#define OBJECTS_BIT (UINT64_C(1) << 62)

struct memo_node *memo_call_owner(struct memo_node *n)
{
	return n->kind == MEMO_NODE_ENTRY ? n->root : n;
}

/* Each view has a node of its own: an OPEN tells nothing but the node, and only one through /tasks may start work when the bytes
 * turn out to be gone. Of a file the others are the result's id with a high bit, which no id that was given out has. */
uint64_t memo_call_result_ino(enum memo_view view, const struct memo_result *r)
{
	if (view == MEMO_VIEW_TASKS)
		return r->ino;
	if (r->kind != MEMO_RESULT_DIRECTORY)
		return r->ino | (view == MEMO_VIEW_CACHED ? CACHED_BIT : OBJECTS_BIT);
	return r->inner + (view == MEMO_VIEW_CACHED ? 1 : 2) * r->entries;
}

int memo_call_inner(struct memo_fs *fs, enum memo_view view, const struct memo_result *r, uint64_t ino,
		    uint64_t *inner_out)
{
	if (r->kind != MEMO_RESULT_DIRECTORY) {
		*inner_out = 0;
		return 0;
	}
	if (ino == memo_call_result_ino(view, r)) {
		*inner_out = r->inner + (view == MEMO_VIEW_TASKS    ? 0
					 : view == MEMO_VIEW_CACHED ? 1
								    : 2) *
						r->entries;
		return 0;
	}
	/* A second directory for the same tree: a directory id may be in one place only. */
	return memo_store_ino(fs->store, r->entries, inner_out);
}

void memo_call_bind(struct memo_fs *fs, struct memo_node *n, struct memo_result *res)
{
	uint64_t inner = 0;
	bool directory = res->kind == MEMO_RESULT_DIRECTORY, link = res->kind == MEMO_RESULT_EXTERNAL;
	if (atomic_load(&n->result) != NULL)
		return;
	/* A result of another kind than was promised cannot be shown here: serving says ESTALE. */
	if (n->type != (directory ? S_IFDIR : link ? S_IFLNK : S_IFREG))
		return;
	if (memo_call_inner(fs, n->view, res, n->ino, &inner) < 0)
		return; /* no ids: the calls end with EIO */
	atomic_store(&n->counted, true);
	memo_node_bind(&fs->nodes, n, res, inner);
}

void memo_call_observe(struct memo_fs *fs, const struct memo_node *n, pid_t tid)
{
	const struct memo_result *r = atomic_load(&n->result);
	const struct memo_origin *o = atomic_load(&n->origin);
	char path[MEMO_KEY_BYTES];
	if (r == NULL || o == NULL || tid <= 0 || !atomic_load(&n->demandable))
		return;
	if (atomic_load(&n->guarded) && !n->once)
		return; /* under the name that it was demanded by, when it was: park.c */
	int len = snprintf(path, sizeof path, "/tasks/%s/%s/%s", o->task->name, o->task->version, o->component);
	if (len > 0 && (size_t)len < sizeof path)
		memo_runner_observe(fs->runner, tid, path, &r->hash, NULL);
}

void memo_call_count(struct memo_fs *fs, struct memo_node *n, pid_t tid)
{
	const struct memo_origin *o = atomic_load(&n->origin);
	const struct memo_result *r = atomic_load(&n->result);
	/* who goes on reading in a directory reads one result */
	bool again = n->type == S_IFDIR && atomic_exchange(&n->reader, tid) == tid;
	if (atomic_load(&n->counted) && atomic_exchange(&n->counted, false))
		return;
	if (!again && o != NULL && r != NULL)
		memo_runner_count_hit(fs->runner, o->task, r);
}

void memo_call_retire(struct memo_fs *fs, struct memo_node *n)
{
	struct memo_gone *gone = NULL;
	if (memo_nodes_detach_node(&fs->nodes, n, &gone) < 0)
		(void)atomic_fetch_add(&fs->nodes.epoch, 1);
	memo_notify_gone(fs, gone);
}

void memo_call_lost(struct memo_fs *fs, struct memo_node *n, struct memo_result *r, const char *reason)
{
	/* When even that cannot be written, the next demand finds the same hole; attempts are counted. */
	int e = memo_runner_lost(fs->runner, r, reason, NULL);
	if (e < 0)
		(void)atomic_fetch_add(&fs->nodes.epoch, 1);
	if (n != NULL)
		memo_call_retire(fs, n);
}

bool memo_call_again(struct memo_fs *fs, const struct memo_call *c)
{
	struct memo_node *owner = memo_call_owner(c->node);
	const struct memo_origin *o = atomic_load(&owner->origin);
	if (o == NULL || !atomic_load(&owner->demandable) || c->attempt >= ATTEMPTS)
		return false;
	struct memo_call next = *c;
	next.attempt++;
	memo_park_demand(fs, &next, o, NULL, owner->once ? MEMO_DEMAND_FRESH : 0);
	return true;
}

void memo_call_end(struct memo_fs *fs, const struct memo_call *c, int code)
{
	memo_reply_error(c->req, code);
	memo_nodes_put(&fs->nodes, c->node);
}

/* A stat of a "cache": false task's file belongs to the open that the thread makes next, soon. */
static void keep_for_open(struct memo_fs *fs, const struct memo_call *c)
{
	const struct memo_origin *o = atomic_load(&c->node->origin);
	char key[MEMO_KEY_BYTES];
	if (c->node->once && c->node->type == S_IFREG && o != NULL &&
	    memo_view_key(key, sizeof key, c->node->view, o->task->name, o->task->version, o->component, NULL) == 0)
		memo_node_keep(&fs->nodes, c->node, key, c->tid);
}

static void serve_attr(struct memo_fs *fs, const struct memo_call *c)
{
	struct stat st;
	double seconds;
	keep_for_open(fs, c);
	memo_attr(fs, c->node, true, &st, &seconds);
	memo_call_observe(fs, memo_call_owner(c->node), c->tid);
	(void)fuse_reply_attr(c->req, &st, seconds);
	memo_nodes_put(&fs->nodes, c->node);
}

/* The answer's path, when the path that the node was bound to had gone and was made anew. */
static void serve_link(struct memo_fs *fs, const struct memo_call *c, const struct memo_result *answer)
{
	const struct memo_result *r = answer != NULL ? answer : atomic_load(&c->node->result);
	if (r->path == NULL) {
		memo_call_end(fs, c, -EIO);
		return;
	}
	memo_call_observe(fs, c->node, c->tid);
	(void)fuse_reply_readlink(c->req, r->path);
	memo_nodes_put(&fs->nodes, c->node);
}

void memo_call_serve(struct memo_fs *fs, const struct memo_call *c, struct memo_result *answer)
{
	struct memo_node *owner = memo_call_owner(c->node);
	if (atomic_load(&owner->result) == NULL) {
		memo_call_end(fs, c, answer != NULL ? -ESTALE : -EIO);
		return;
	}
	switch (c->op) {
	case MEMO_CALL_GETATTR:
		serve_attr(fs, c);
		return;
	case MEMO_CALL_READLINK:
		serve_link(fs, c, answer);
		return;
	case MEMO_CALL_OPENDIR:
		memo_ops_opendir_result(fs, c);
		return;
	case MEMO_CALL_OPEN:
		memo_ops_open_result(fs, c, answer);
		return;
	}
	memo_call_end(fs, c, -EIO);
}

/* The name means other bytes than those of the node that it led to: the kernel looks it up again. */
static bool moved_on(const struct memo_call *c, const struct memo_result *res)
{
	const struct memo_node *owner = memo_call_owner(c->node);
	const struct memo_result *have = atomic_load(&owner->result);
	return c->op != MEMO_CALL_READLINK && c->attempt == 0 && atomic_load(&owner->guarded) && have != NULL &&
	       res != NULL && !memo_id_equal(&have->hash, &res->hash);
}

void memo_call_resume(struct memo_fs *fs, const struct memo_call *c, int code, struct memo_result *res)
{
	struct memo_node *owner = memo_call_owner(c->node);
	if (code == 0 && moved_on(c, res)) {
		memo_node_ticket_end(&fs->nodes, owner, c->tid); /* or it would be led here again */
		code = -ESTALE;
	}
	if (code < 0) {
		memo_call_end(fs, c, code);
		return;
	}
	if (atomic_load(&owner->guarded))
		memo_node_let_in(&fs->nodes, owner, c->uid);
	memo_call_serve(fs, c, res);
}

static unsigned peek_flag(enum memo_view view)
{
	return view == MEMO_VIEW_CACHED ? MEMO_DEMAND_PEEK : 0;
}

/* A guarded node that has its result (node.h). */
static void start_guarded(struct memo_fs *fs, const struct memo_call *c, struct memo_node *n)
{
	struct memo_origin *led = NULL;
	enum memo_view view = n->view;
	bool looked = memo_nodes_look_take(&fs->nodes, c->tid, n->ino, &view, &led);
	const struct memo_origin *o = looked ? led : atomic_load(&n->origin);
	bool link = c->op == MEMO_CALL_READLINK;
	/* without a number it may have looked up a moment ago, before the node had this result */
	bool unknown = c->tid == 0 && c->op == MEMO_CALL_GETATTR;
	if (o != NULL && (looked || link || unknown || !memo_node_was_let_in(&fs->nodes, n, c->uid))) {
		memo_park_demand(fs, c, o, NULL, peek_flag(view) | (link ? MEMO_DEMAND_CHECK : 0u));
	} else {
		memo_node_let_in(&fs->nodes, n, c->uid);
		memo_call_serve(fs, c, NULL);
	}
	memo_origin_free(led);
}

void memo_call_start(struct memo_fs *fs, const struct memo_call *c)
{
	struct memo_node *owner = memo_call_owner(c->node);
	const struct memo_origin *o = atomic_load(&owner->origin);
	if (atomic_load(&owner->result) != NULL && atomic_load(&owner->guarded) && owner == c->node) {
		start_guarded(fs, c, owner);
		return;
	}
	if (atomic_load(&owner->result) != NULL) {
		/* That an external path is still there cannot be told from what the kernel holds; a pool thread looks. */
		if (c->op == MEMO_CALL_READLINK && o != NULL && !owner->once &&
		    (owner->view == MEMO_VIEW_CACHED || atomic_load(&owner->demandable)))
			memo_park_demand(fs, c, o, NULL, MEMO_DEMAND_CHECK | peek_flag(owner->view));
		else
			memo_call_serve(fs, c, NULL);
		return;
	}
	if (o == NULL) {
		memo_call_end(fs, c, -ESTALE);
		return;
	}
	enum memo_view view;
	struct memo_origin *led = NULL; /* to where the demand goes anyway */
	if (atomic_load(&owner->guarded) && memo_nodes_look_take(&fs->nodes, c->tid, owner->ino, &view, &led))
		memo_origin_free(led);
	memo_node_asked(&fs->nodes, owner);
	unsigned flags = owner->once ? MEMO_DEMAND_FRESH : peek_flag(owner->view);
	memo_park_demand(fs, c, o, owner, flags);
}
