/* View, instances: names in /tasks/<task>/<version>/ and /cached/<task>/<version>/, results by hash in /objects, and what is
 * inside a directory result. LOOKUP never waits: what is not known gets a placeholder. */
#include "private.h"

#include "core/path.h"

#include <string.h>

void memo_understood_clear(struct memo_understood *u)
{
	memo_task_unref(u->task);
	json_decref(u->inputs);
	*u = (struct memo_understood){ 0 };
}

static int handle_inputs(struct memo_fs *fs, const struct memo_node *dir, const char *component,
			 struct memo_understood *u)
{
	int r = memo_store_handle_find(fs->store, dir->task, dir->version, component + 1, &u->inputs, &u->identity,
				       &u->id, NULL);
	return r == -ENOTUNIQ ? -ENOENT : r;
}

static int understand(struct memo_fs *fs, const struct memo_node *dir, const char *component,
		      struct memo_understood *u)
{
	enum memo_component what = memo_path_classify(component);
	if (what == MEMO_COMP_NONE)
		return -ENOENT;
	int r = memo_store_task(fs->store, dir->task, dir->version, &u->task, NULL);
	if (r < 0)
		return r;
	r = what == MEMO_COMP_HANDLE ? handle_inputs(fs, dir, component, u)
				     : memo_path_inputs(u->task, component, &u->inputs, NULL);
	if (r < 0)
		return r;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	r = memo_path_name(u->task, u->inputs, &b, NULL);
	if (r == 0)
		r = memo_buf_error(&b);
	if (r < 0)
		return r;
	if (b.len >= sizeof u->name)
		return -ENAMETOOLONG;
	memcpy(u->name, memo_buf_str(&b), b.len + 1);
	/* A spelling whose canonical name is a handle: the link must lead somewhere. */
	if (what != MEMO_COMP_HANDLE && memo_path_classify(u->name) == MEMO_COMP_HANDLE) {
		struct memo_id digest;
		r = memo_store_handle_put(fs->store, dir->task, dir->version, u->inputs, &digest, NULL);
	}
	return r;
}

int memo_view_understand(struct memo_fs *fs, const struct memo_node *dir, const char *component,
			 struct memo_understood *out)
{
	struct memo_understood u = { 0 };
	int r = understand(fs, dir, component, &u);
	if (r < 0)
		memo_understood_clear(&u);
	else
		*out = u;
	return r;
}

static mode_t result_type(const struct memo_result *r)
{
	return r->kind == MEMO_RESULT_DIRECTORY ? S_IFDIR : r->kind == MEMO_RESULT_EXTERNAL ? S_IFLNK : S_IFREG;
}

static mode_t promised_type(const struct memo_task *t)
{
	return t->output == MEMO_OUT_DIRECTORY ? S_IFDIR : t->output == MEMO_OUT_EXTERNAL ? S_IFLNK : S_IFREG;
}

static void show_result(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s, struct memo_result *r,
			double seconds)
{
	s->type = result_type(r);
	s->result = r;
	s->ino = memo_call_result_ino(s->view, r);
	int e = memo_call_inner(fs, s->view, r, s->ino, &s->inner);
	if (e < 0)
		memo_reply_error(req, e);
	else
		memo_view_entry(fs, req, s, seconds);
}

/* Another spelling of the instance. */
static void show_alias(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s,
		       const struct memo_understood *u, double seconds)
{
	s->kind = MEMO_NODE_LINK;
	s->type = S_IFLNK;
	s->target = u->name;
	s->def = NULL;
	s->once = false;
	s->demandable = false;
	memo_view_entry(fs, req, s, seconds);
}

/* The result that the name meant when it was demanded last. -ENOENT: none. */
static int last_known(struct memo_fs *fs, const struct memo_node_spec *s, struct memo_result **out)
{
	struct memo_named n;
	int e = memo_store_named(fs->store, s->task, s->version, s->component, &n, NULL);
	if (e < 0 || !n.known || n.state != MEMO_SUCCESS)
		return e < 0 ? e : -ENOENT;
	return memo_store_lookup(fs->store, &n.identity, out, NULL);
}

/* @<identity>: a link while the name means that identity, else the result itself. */
static void show_identity(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s,
			  const struct memo_understood *u)
{
	struct memo_result *r = NULL;
	int e = memo_runner_peek(fs->runner, u->task, u->inputs, NULL, MEMO_PEEK_NO_FILES, &r);
	if (e == -EAGAIN)
		e = last_known(fs, s, &r);
	if (e == 0 && memo_id_equal(&r->identity, &u->id)) {
		memo_result_unref(r);
		show_alias(fs, req, s, u, 0);
		return;
	}
	if (e == 0)
		memo_result_unref(r);
	r = NULL;
	e = memo_store_lookup(fs->store, &u->id, &r, NULL);
	if (e < 0) {
		memo_reply_error(req, e);
		return;
	}
	s->def = NULL; /* the name means something else: nothing to demand */
	s->once = false;
	s->demandable = false;
	show_result(fs, req, s, r, 0);
	memo_result_unref(r);
}

/* The thread was told to look again: to the node that its OPEN will be served from. */
static bool show_ticket(struct memo_fs *fs, fuse_req_t req, const struct memo_node_spec *s)
{
	struct memo_node *n = memo_nodes_ticket_find(&fs->nodes, s->key, memo_reply_tid(req));
	if (n == NULL)
		return false;
	int e = atomic_load(&n->guarded) && !n->once ? memo_nodes_look(&fs->nodes, memo_reply_tid(req), n, s->view,
								       s->def, s->inputs, s->component)
						     : 0;
	if (e < 0)
		memo_reply_error(req, e);
	else
		memo_reply_entry(fs, req, n, 0);
	memo_nodes_put(&fs->nodes, n);
	return true;
}

/* A hit that was found by looking is shown in /tasks only under a name that is known to mean it: otherwise the demand, which
 * finds it at once, must write that down, or /info and the listings would not know the name. */
static bool known_as(struct memo_fs *fs, const struct memo_node_spec *s, const struct memo_result *r)
{
	struct memo_named n;
	return s->view != MEMO_VIEW_TASKS ||
	       (memo_store_named(fs->store, s->task, s->version, s->component, &n, NULL) == 0 && n.known &&
		n.state == MEMO_SUCCESS && memo_id_equal(&n.identity, &r->identity));
}

static void show_canonical(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s,
			   const struct memo_understood *u)
{
	bool changes = memo_runner_volatile(u->task, u->inputs);
	struct memo_result *r = NULL;
	if (s->once && show_ticket(fs, req, s))
		return;
	int e = s->once ? -ENOENT : memo_runner_peek(fs->runner, u->task, u->inputs, NULL, MEMO_PEEK_NO_FILES, &r);
	if (e == 0 && !known_as(fs, s, r)) {
		memo_result_unref(r);
		e = -EAGAIN;
	}
	if (e == 0) {
		show_result(fs, req, s, r, changes || r->observed ? 0 : MEMO_FOREVER);
		memo_result_unref(r);
		return;
	}
	if (e != -ENOENT && e != -EAGAIN) {
		memo_reply_error(req, e);
		return;
	}
	/* What it means now, and to whom, is found out by the demand that the kernel's next request will be (node.h). */
	s->guarded = e == -EAGAIN && !s->once;
	if (s->guarded && memo_reply_tid(req) != 0 && last_known(fs, s, &r) == 0) {
		show_result(fs, req, s, r, 0);
		memo_result_unref(r);
		return;
	}
	if (e == -ENOENT && s->view == MEMO_VIEW_CACHED) {
		memo_reply_error(req, -ENOENT); /* not a negative entry: the next look may find it */
		return;
	}
	if (show_ticket(fs, req, s))
		return;
	/* Not for long: only the result tells whether the name stays what it is (it may have read the mount). */
	memo_view_entry(fs, req, s, 0);
}

void memo_view_instance_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *component)
{
	struct memo_understood u = { 0 };
	uint64_t epoch = atomic_load(&fs->nodes.epoch);
	char key[MEMO_KEY_BYTES];
	int r = memo_view_understand(fs, dir, component, &u);
	if (r == 0)
		r = memo_view_key(key, sizeof key, dir->view, dir->task, dir->version, component, NULL);
	if (r < 0) {
		memo_reply_error(req, r);
		memo_understood_clear(&u);
		return;
	}
	struct memo_node_spec s = { .kind = MEMO_NODE_INSTANCE,
				    .view = dir->view,
				    .type = promised_type(u.task),
				    .task = dir->task,
				    .version = dir->version,
				    .def = u.task,
				    .inputs = u.inputs,
				    .component = u.name,
				    .key = key,
				    .parent = dir->ino,
				    .epoch = epoch };
	s.demandable = dir->view == MEMO_VIEW_TASKS;
	s.once = s.demandable && !u.task->cache;
	s.uid = fuse_req_ctx(req)->uid;
	bool canonical = strcmp(u.name, component) == 0;
	if (u.identity && (dir->view == MEMO_VIEW_TASKS || dir->view == MEMO_VIEW_CACHED))
		show_identity(fs, req, &s, &u);
	else if (!canonical)
		show_alias(fs, req, &s, &u, component[0] == '@' ? 0 : MEMO_FOREVER);
	else if (dir->view == MEMO_VIEW_INFO)
		memo_view_info_entry(fs, req, dir, &u);
	else if (dir->view == MEMO_VIEW_START)
		memo_view_start_entry(fs, req, dir, &u);
	else
		show_canonical(fs, req, &s, &u);
	memo_understood_clear(&u);
}

void memo_view_object_lookup(struct memo_fs *fs, fuse_req_t req, const char *name)
{
	struct memo_id id;
	struct memo_result *r = NULL;
	char key[MEMO_KEY_BYTES];
	int e = memo_id_parse(name, &id) < 0 ? -ENOENT : memo_store_by_hash(fs->store, &id, &r, NULL);
	if (e == 0)
		e = memo_view_key(key, sizeof key, MEMO_VIEW_OBJECTS, name, NULL, NULL, NULL);
	if (e < 0) {
		memo_reply_error(req, e);
	} else {
		struct memo_node_spec s = { .kind = MEMO_NODE_INSTANCE,
					    .view = MEMO_VIEW_OBJECTS,
					    .key = key,
					    .parent = MEMO_INO_VIEW + MEMO_VIEW_OBJECTS,
					    .epoch = atomic_load(&fs->nodes.epoch) };
		show_result(fs, req, &s, r, 0);
	}
	if (r != NULL)
		memo_result_unref(r);
}

/* ---- inside a directory result -------------------------------------------------------------------- */

static void show_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *root, const struct memo_tree *tree,
		       uint32_t index)
{
	const struct memo_tree_entry *e = memo_tree_entry(tree, index);
	struct memo_node_spec s = { .ino = root->inner + index,
				    .kind = MEMO_NODE_ENTRY,
				    .view = root->view,
				    .index = index,
				    .root = root,
				    .size = e->size,
				    .exec = e->type == MEMO_ENTRY_EXEC,
				    .target = e->type == MEMO_ENTRY_LINK ? e->target : NULL };
	s.type = e->type == MEMO_ENTRY_DIR ? S_IFDIR : e->type == MEMO_ENTRY_LINK ? S_IFLNK : S_IFREG;
	struct memo_node *n = NULL;
	int r = memo_nodes_make(&fs->nodes, &s, &n, NULL);
	if (r < 0) {
		memo_reply_error(req, r);
		return;
	}
	memo_reply_entry(fs, req, n, MEMO_FOREVER);
	memo_nodes_put(&fs->nodes, n);
}

void memo_view_tree_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	struct memo_node *root = memo_call_owner(dir);
	struct memo_result *r = atomic_load(&root->result);
	if (dir->type != S_IFDIR || r == NULL) {
		/* The kernel asks for a directory's attributes first, and waits there; then it walks again. */
		memo_reply_error(req, dir->type != S_IFDIR ? -ENOTDIR : -ESTALE);
		return;
	}
	struct memo_tree *tree = NULL;
	int e = memo_store_open_tree(fs->store, r, &tree, NULL);
	if (e == -ENOENT || e == -EBADMSG) {
		memo_call_lost(fs, root, r, e == -ENOENT ? "its listing is gone" : "its listing is damaged");
		e = -ESTALE;
	} else if (e < 0) {
		e = -EIO; /* it cannot be read: neither gone nor damaged */
	}
	uint32_t index = 0, at = dir->kind == MEMO_NODE_ENTRY ? dir->index : 0;
	if (e == 0)
		e = at < memo_tree_count(tree) ? memo_tree_find(tree, at, name, &index) : -ENOENT;
	if (e < 0)
		memo_reply_error(req, e);
	else
		show_entry(fs, req, root, tree, index);
	memo_tree_unref(tree);
}
