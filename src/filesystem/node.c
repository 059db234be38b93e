/* See node.h. Everything that finds and then inserts does both in one critical section. */
#include "node.h"

#include "base/scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const memo_view_names[] = { "tasks", "cached", "start", "info", "objects", "runs", NULL };

struct memo_name {
	struct memo_map_link link;
	struct memo_node *node;
	struct memo_name *next; /* of the same node */
	uint64_t parent;
	char key[];
};

void memo_origin_free(struct memo_origin *o)
{
	if (o == NULL)
		return;
	memo_task_unref(o->task);
	json_decref(o->inputs);
	free(o->component);
	free(o);
}

static struct memo_origin *origin_new(const struct memo_node_spec *s)
{
	struct memo_origin *o = calloc(1, sizeof *o);
	if (o == NULL)
		return NULL;
	o->component = strdup(s->component);
	if (o->component == NULL) {
		free(o);
		return NULL;
	}
	o->task = memo_task_ref(s->def);
	o->inputs = json_incref((json_t *)(uintptr_t)s->inputs);
	return o;
}

static void node_free(struct memo_node *n)
{
	if (n == NULL)
		return;
	free(n->task);
	free(n->version);
	free(n->home);
	free(n->target);
	memo_origin_free(atomic_load(&n->origin));
	memo_result_unref(atomic_load(&n->result));
	memo_blob_unref(n->blob);
	free(n);
}

static bool copy_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static struct memo_node *node_new(const struct memo_node_spec *s)
{
	struct memo_node *n = calloc(1, sizeof *n);
	if (n == NULL)
		return NULL;
	n->ino = s->ino;
	n->kind = s->kind;
	n->view = s->view;
	n->type = s->type;
	n->once = s->once;
	n->uid = s->uid;
	n->index = s->index;
	n->size = s->size;
	n->exec = s->exec;
	n->inner = s->inner;
	atomic_init(&n->origin, NULL);
	atomic_init(&n->result, s->result != NULL ? memo_result_ref(s->result) : NULL);
	atomic_init(&n->demandable, s->demandable);
	atomic_init(&n->guarded, s->guarded);
	bool ok = copy_text(&n->task, s->task) && copy_text(&n->version, s->version) &&
		  copy_text(&n->target, s->target) && copy_text(&n->home, s->type == S_IFDIR ? s->key : NULL);
	if (ok && s->def != NULL) {
		struct memo_origin *o = origin_new(s);
		atomic_store(&n->origin, o);
		ok = o != NULL;
	}
	if (!ok) {
		node_free(n);
		return NULL;
	}
	return n;
}

int memo_nodes_init(struct memo_nodes *t)
{
	*t = (struct memo_nodes){ 0 };
	int r = memo_node_tickets_init(t);
	if (r < 0)
		return r;
	memo_mutex_init(&t->mu);
	atomic_init(&t->epoch, 1);
	return 0;
}

void memo_nodes_clear(struct memo_nodes *t)
{
	if (t->tickets == NULL)
		return;
	memo_node_tickets_clear(t);
	memo_looks_clear(t);
	struct memo_map_link *next;
	for (struct memo_map_link *l = memo_map_next(&t->by_name, NULL); l != NULL; l = next) {
		next = memo_map_next(&t->by_name, l);
		free(MEMO_CONTAINER(l, struct memo_name, link));
	}
	for (struct memo_map_link *l = memo_map_next(&t->by_ino, NULL); l != NULL; l = next) {
		next = memo_map_next(&t->by_ino, l);
		node_free(MEMO_CONTAINER(l, struct memo_node, link));
	}
	memo_map_clear(&t->by_name);
	memo_map_clear(&t->by_ino);
	memo_mutex_clear(&t->mu);
}

static struct memo_node *find_ino(struct memo_nodes *t, uint64_t ino) MEMO_TSA(requires_capability(t->mu))
{
	struct memo_map_link *l = memo_map_get(&t->by_ino, &ino, sizeof ino);
	return l != NULL ? MEMO_CONTAINER(l, struct memo_node, link) : NULL;
}

static struct memo_name *find_name(struct memo_nodes *t, const char *key) MEMO_TSA(requires_capability(t->mu))
{
	struct memo_map_link *l = memo_map_get(&t->by_name, key, strlen(key));
	return l != NULL ? MEMO_CONTAINER(l, struct memo_name, link) : NULL;
}

static void name_unhook(struct memo_name *m)
{
	for (struct memo_name **p = &m->node->names; *p != NULL; p = &(*p)->next)
		if (*p == m) {
			*p = m->next;
			return;
		}
}

static void name_drop(struct memo_nodes *t, struct memo_name *m) MEMO_TSA(requires_capability(t->mu))
{
	name_unhook(m);
	memo_map_remove(&t->by_name, &m->link);
	free(m);
}

/* Ends @n, and the result's node above it, when nobody holds them. */
void memo_node_release_locked(struct memo_nodes *t, struct memo_node *n) MEMO_TSA(requires_capability(t->mu))
{
	while (n != NULL && n->lookups == 0 && n->pins == 0) {
		struct memo_node *root = n->root;
		while (n->names != NULL)
			name_drop(t, n->names);
		memo_map_remove(&t->by_ino, &n->link);
		node_free(n);
		if (root != NULL)
			root->pins--;
		n = root;
	}
}

static bool same_result(const struct memo_node *n, const struct memo_result *r)
{
	const struct memo_result *have = atomic_load(&n->result);
	return have != NULL && have->ino == r->ino && memo_id_equal(&have->hash, &r->hash);
}

/* May the node that the name leads to be given again for @s? */
static bool still_means(const struct memo_node *n, const struct memo_node_spec *s)
{
	if (n->kind != s->kind || n->view != s->view || n->type != s->type || n->once != s->once)
		return n->kind == MEMO_NODE_INSTANCE && s->kind == n->kind && s->result != NULL &&
		       n->type == s->type && n->type != S_IFDIR && same_result(n, s->result);
	if (s->kind == MEMO_NODE_LINK)
		return strcmp(n->target, s->target) == 0;
	if (s->kind != MEMO_NODE_INSTANCE)
		return s->ino == 0 || s->ino == n->ino;
	if (s->result != NULL)
		return same_result(n, s->result);
	return s->once ? !n->consumed && n->reserved == 0 && n->uid == s->uid : atomic_load(&n->result) == NULL;
}

/* May the node with the id be shown under the name of @s? */
static bool fits(const struct memo_node *n, const struct memo_node_spec *s)
{
	if (n->kind != s->kind || n->type != s->type)
		return false;
	if (n->kind != MEMO_NODE_INSTANCE)
		return n->view == s->view;
	if (n->type == S_IFDIR &&
	    (n->view != s->view || s->key == NULL || n->home == NULL || strcmp(n->home, s->key) != 0))
		return false;
	const struct memo_result *have = atomic_load(&n->result);
	return s->result == NULL || have == NULL || memo_id_equal(&have->hash, &s->result->hash);
}

static void bind_locked(struct memo_node *n, struct memo_result *r, uint64_t inner)
{
	if (atomic_load(&n->result) != NULL)
		return;
	n->inner = inner;
	atomic_store(&n->result, memo_result_ref(r));
}

static int attach_locked(struct memo_nodes *t, const char *key, uint64_t parent, struct memo_node *n)
	MEMO_TSA(requires_capability(t->mu))
{
	struct memo_name *m = find_name(t, key);
	if (m == NULL) {
		size_t len = strlen(key);
		m = malloc(sizeof *m + len + 1);
		if (m == NULL)
			return -ENOMEM;
		memcpy(m->key, key, len + 1);
		int r = memo_map_put(&t->by_name, &m->link, m->key, len);
		if (r < 0) {
			free(m);
			return r;
		}
	} else if (m->node == n) {
		m->parent = parent;
		return 0;
	} else {
		name_unhook(m);
	}
	m->node = n;
	m->parent = parent;
	m->next = n->names;
	n->names = m;
	return 0;
}

static struct memo_node *find_locked(struct memo_nodes *t, const struct memo_node_spec *s, bool *clash_out)
	MEMO_TSA(requires_capability(t->mu))
{
	struct memo_name *m = s->key != NULL ? find_name(t, s->key) : NULL;
	if (m != NULL && still_means(m->node, s))
		return m->node;
	struct memo_node *n = s->ino != 0 ? find_ino(t, s->ino) : NULL;
	*clash_out = n != NULL && !fits(n, s);
	return n;
}

static int make_locked(struct memo_nodes *t, const struct memo_node_spec *s, struct memo_node **fresh,
		       struct memo_origin **origin, struct memo_node **out, bool *stable_out)
	MEMO_TSA(requires_capability(t->mu))
{
	bool clash = false;
	struct memo_node *n = find_locked(t, s, &clash);
	if (clash)
		return -EEXIST;
	if (n == NULL) {
		if (s->ino == 0)
			return -ENOENT;
		int r = memo_map_put(&t->by_ino, &(*fresh)->link, &(*fresh)->ino, sizeof(*fresh)->ino);
		if (r < 0)
			return r;
		n = *fresh;
		*fresh = NULL;
		n->root = s->root;
		if (n->root != NULL)
			n->root->pins++;
	} else {
		if (s->result != NULL)
			bind_locked(n, s->result, s->inner);
		if (s->demandable)
			atomic_store(&n->demandable, true);
		if (s->guarded)
			atomic_store(&n->guarded, true);
		if (*origin != NULL && atomic_load(&n->origin) == NULL)
			atomic_store(&n->origin, memo_ptr_steal(origin));
	}
	n->pins++;
	bool stable = s->epoch == 0 || s->epoch == atomic_load(&t->epoch);
	/* A name that could not be attached only means that nobody tells the kernel when it changes: don't let it keep it. */
	if (s->key != NULL && stable && attach_locked(t, s->key, s->parent, n) < 0)
		stable = false;
	if (stable_out != NULL)
		*stable_out = stable;
	*out = n;
	return 0;
}

int memo_nodes_make(struct memo_nodes *t, const struct memo_node_spec *s, struct memo_node **out, bool *stable_out)
{
	struct memo_node *fresh = NULL;
	struct memo_origin *origin = NULL;
	if (s->ino != 0) {
		fresh = node_new(s);
		if (fresh == NULL)
			return -ENOMEM;
	}
	if (s->def != NULL) {
		origin = origin_new(s);
		if (origin == NULL) {
			node_free(fresh);
			return -ENOMEM;
		}
	}
	memo_mutex_lock(&t->mu);
	int r = make_locked(t, s, &fresh, &origin, out, stable_out);
	memo_mutex_unlock(&t->mu);
	node_free(fresh);
	memo_origin_free(origin);
	return r;
}

struct memo_node *memo_nodes_get(struct memo_nodes *t, uint64_t ino)
{
	memo_mutex_lock(&t->mu);
	struct memo_node *n = find_ino(t, ino);
	if (n != NULL)
		n->pins++;
	memo_mutex_unlock(&t->mu);
	return n;
}

void memo_nodes_pin(struct memo_nodes *t, struct memo_node *n)
{
	memo_mutex_lock(&t->mu);
	n->pins++;
	memo_mutex_unlock(&t->mu);
}

void memo_nodes_put(struct memo_nodes *t, struct memo_node *n)
{
	if (n == NULL)
		return;
	memo_mutex_lock(&t->mu);
	n->pins--;
	memo_node_release_locked(t, n);
	memo_mutex_unlock(&t->mu);
}

void memo_nodes_forget(struct memo_nodes *t, uint64_t ino, uint64_t count)
{
	memo_mutex_lock(&t->mu);
	struct memo_node *n = find_ino(t, ino);
	if (n != NULL) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		memo_node_release_locked(t, n);
	}
	memo_mutex_unlock(&t->mu);
}

size_t memo_nodes_count(struct memo_nodes *t)
{
	memo_mutex_lock(&t->mu);
	size_t n = t->by_ino.count;
	memo_mutex_unlock(&t->mu);
	return n;
}

void memo_node_bind(struct memo_nodes *t, struct memo_node *n, struct memo_result *r, uint64_t inner)
{
	memo_mutex_lock(&t->mu);
	bind_locked(n, r, inner);
	memo_mutex_unlock(&t->mu);
}

int memo_nodes_inos(struct memo_nodes *t, uint64_t **out, size_t *count_out)
{
	memo_mutex_lock(&t->mu);
	size_t n = 0, most = t->by_ino.count;
	uint64_t *list = malloc((most > 0 ? most : 1) * sizeof *list);
	for (struct memo_map_link *l = memo_map_next(&t->by_ino, NULL); list != NULL && l != NULL && n < most;
	     l = memo_map_next(&t->by_ino, l))
		list[n++] = MEMO_CONTAINER(l, struct memo_node, link)->ino;
	memo_mutex_unlock(&t->mu);
	if (list == NULL)
		return -ENOMEM;
	*out = list;
	*count_out = n;
	return 0;
}

/* ---- names that end -------------------------------------------------------------------------- */

void memo_gone_free(struct memo_gone *g)
{
	while (g != NULL) {
		struct memo_gone *next = g->next;
		free(g);
		g = next;
	}
}

static int gone_push(struct memo_nodes *t, struct memo_name *m, struct memo_gone **list)
	MEMO_TSA(requires_capability(t->mu))
{
	const char *slash = strrchr(m->key, '/');
	const char *last = slash != NULL ? slash + 1 : m->key;
	size_t len = strlen(last);
	struct memo_gone *g = malloc(sizeof *g + len + 1);
	uint64_t parent = m->parent;
	if (g != NULL) {
		memcpy(g->name, last, len + 1);
		g->parent = parent;
		g->next = *list;
		*list = g;
	}
	name_drop(t, m);
	return g != NULL ? 0 : -ENOMEM;
}

int memo_nodes_detach_node(struct memo_nodes *t, struct memo_node *n, struct memo_gone **out)
{
	int r = 0;
	memo_mutex_lock(&t->mu);
	while (n->names != NULL) {
		int e = gone_push(t, n->names, out);
		r = e < 0 ? e : r;
	}
	memo_mutex_unlock(&t->mu);
	return r;
}

int memo_nodes_detach_name(struct memo_nodes *t, const char *key, const struct memo_node *n, struct memo_gone **out)
{
	memo_mutex_lock(&t->mu);
	struct memo_name *m = find_name(t, key);
	int r = m != NULL && m->node == n ? gone_push(t, m, out) : 0;
	memo_mutex_unlock(&t->mu);
	return r;
}

/* "<view>/<task>" and its "latest", "<view>/<task>/<version>" and all below it. */
static bool concerns(const char *key, const char *task, const char *version)
{
	const char *p = strchr(key, '/');
	size_t len = strlen(task);
	if (p == NULL || strncmp(p + 1, task, len) != 0)
		return false;
	p += 1 + len;
	if (*p == '\0' || strcmp(p, "/latest") == 0)
		return true;
	len = strlen(version);
	return *p == '/' && strncmp(p + 1, version, len) == 0 && (p[1 + len] == '\0' || p[1 + len] == '/');
}

int memo_nodes_detach_version(struct memo_nodes *t, const char *task, const char *version, struct memo_gone **out)
{
	int r = 0;
	memo_mutex_lock(&t->mu);
	struct memo_map_link *next;
	for (struct memo_map_link *l = memo_map_next(&t->by_name, NULL); l != NULL; l = next) {
		next = memo_map_next(&t->by_name, l);
		struct memo_name *m = MEMO_CONTAINER(l, struct memo_name, link);
		if (!concerns(m->key, task, version))
			continue;
		int e = gone_push(t, m, out);
		r = e < 0 ? e : r;
	}
	memo_mutex_unlock(&t->mu);
	return r;
}

struct memo_node *memo_nodes_current(struct memo_nodes *t, const char *key)
{
	memo_mutex_lock(&t->mu);
	struct memo_name *m = find_name(t, key);
	struct memo_node *n = m != NULL ? m->node : NULL;
	if (n != NULL)
		n->pins++;
	memo_mutex_unlock(&t->mu);
	return n;
}
