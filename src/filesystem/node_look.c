/* Node, looks: which name led a thread to a guarded node, and who was let in (see node.h). */
#include "node.h"

#include <stdlib.h>
#include <string.h>

struct memo_look {
	struct memo_map_link link; /* by tid */
	pid_t tid;
	uint64_t ino;
	int64_t since_ns;
	enum memo_view view;
	struct memo_origin *origin; /* NULL: no demand */
};

static void look_free(struct memo_look *k)
{
	if (k == NULL)
		return;
	memo_origin_free(k->origin);
	free(k);
}

static struct memo_look *look_new(pid_t tid, const struct memo_node *n, enum memo_view view, struct memo_task *def,
				  const json_t *inputs, const char *component)
{
	struct memo_look *k = calloc(1, sizeof *k);
	if (k == NULL)
		return NULL;
	k->tid = tid;
	k->ino = n->ino;
	k->view = view;
	k->since_ns = memo_now_ns();
	if (def == NULL)
		return k;
	k->origin = calloc(1, sizeof *k->origin);
	char *name = strdup(component);
	if (k->origin == NULL || name == NULL) {
		free(name);
		look_free(k);
		return NULL;
	}
	*k->origin = (struct memo_origin){ memo_task_ref(def), json_incref((json_t *)(uintptr_t)inputs), name };
	return k;
}

static struct memo_look *find(struct memo_nodes *t, pid_t tid) MEMO_TSA(requires_capability(t->mu))
{
	struct memo_map_link *l = memo_map_get(&t->looks, &tid, sizeof tid);
	return l != NULL ? MEMO_CONTAINER(l, struct memo_look, link) : NULL;
}

/* Threads that opened with O_PATH, or ended, never come for theirs. */
static void sweep(struct memo_nodes *t) MEMO_TSA(requires_capability(t->mu))
{
	int64_t now = memo_now_ns();
	struct memo_map_link *next;
	for (struct memo_map_link *l = memo_map_next(&t->looks, NULL); l != NULL; l = next) {
		next = memo_map_next(&t->looks, l);
		struct memo_look *k = MEMO_CONTAINER(l, struct memo_look, link);
		if (now - k->since_ns < MEMO_LOOK_NS)
			continue;
		memo_map_remove(&t->looks, l);
		look_free(k);
	}
}

static int put_locked(struct memo_nodes *t, struct memo_look *k) MEMO_TSA(requires_capability(t->mu))
{
	struct memo_look *old = find(t, k->tid);
	if (old != NULL) {
		memo_map_remove(&t->looks, &old->link);
		look_free(old);
	}
	if (t->looks.count >= MEMO_LOOKS)
		sweep(t);
	if (t->looks.count >= MEMO_LOOKS)
		return -ENFILE;
	return memo_map_put(&t->looks, &k->link, &k->tid, sizeof k->tid);
}

int memo_nodes_look(struct memo_nodes *t, pid_t tid, const struct memo_node *n, enum memo_view view,
		    struct memo_task *def, const json_t *inputs, const char *component)
{
	struct memo_look *k = look_new(tid, n, view, def, inputs, component);
	if (k == NULL)
		return -ENOMEM;
	memo_mutex_lock(&t->mu);
	int r = put_locked(t, k);
	memo_mutex_unlock(&t->mu);
	if (r < 0)
		look_free(k);
	return r;
}

bool memo_nodes_look_take(struct memo_nodes *t, pid_t tid, uint64_t ino, enum memo_view *view_out,
			  struct memo_origin **out)
{
	memo_mutex_lock(&t->mu);
	struct memo_look *k = tid != 0 ? find(t, tid) : NULL;
	if (k != NULL && k->ino != ino)
		k = NULL;
	if (k != NULL)
		memo_map_remove(&t->looks, &k->link);
	memo_mutex_unlock(&t->mu);
	if (k == NULL)
		return false;
	*view_out = k->view;
	*out = k->origin;
	free(k);
	return true;
}

void memo_looks_clear(struct memo_nodes *t)
{
	struct memo_map_link *next;
	for (struct memo_map_link *l = memo_map_next(&t->looks, NULL); l != NULL; l = next) {
		next = memo_map_next(&t->looks, l);
		look_free(MEMO_CONTAINER(l, struct memo_look, link));
	}
	memo_map_clear(&t->looks);
}

/* ---- who was let in ------------------------------------------------------------------------------ */

static bool is_in(const struct memo_node *n, uid_t uid)
{
	for (unsigned i = 0; i < n->lets && i < MEMO_LET_IN; i++) {
		if (n->let_in[i] == uid)
			return true;
	}
	return false;
}

void memo_node_let_in(struct memo_nodes *t, struct memo_node *n, uid_t uid)
{
	memo_mutex_lock(&t->mu);
	if (!is_in(n, uid))
		n->let_in[n->lets++ % MEMO_LET_IN] = uid;
	memo_mutex_unlock(&t->mu);
}

bool memo_node_was_let_in(struct memo_nodes *t, const struct memo_node *n, uid_t uid)
{
	memo_mutex_lock(&t->mu);
	bool in = is_in(n, uid);
	memo_mutex_unlock(&t->mu);
	return in;
}
