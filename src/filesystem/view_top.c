/* View, top: the root, the views, the tasks and their versions; and how a node becomes an entry reply. */
#include "private.h"

#include <stdio.h>
#include <string.h>

int memo_view_key(char *key, size_t size, enum memo_view view, const char *task, const char *version,
		  const char *component, const char *inner)
{
	const char *part[] = { memo_view_names[view], task, version, component, inner };
	size_t used = 0;
	for (size_t i = 0; i < sizeof part / sizeof part[0] && part[i] != NULL; i++) {
		size_t len = strlen(part[i]);
		if (used + len + 2 > size)
			return -ENAMETOOLONG;
		if (i > 0)
			key[used++] = '/';
		memcpy(key + used, part[i], len);
		used += len;
	}
	key[used] = '\0';
	return 0;
}

static uint64_t ids_needed(const struct memo_node_spec *s)
{
	if (s->kind == MEMO_NODE_INFO)
		return MEMO_INFO_IDS;
	return s->result != NULL && s->result->kind == MEMO_RESULT_DIRECTORY ? s->result->entries : 1;
}

void memo_view_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s, double seconds)
{
	struct memo_node *n = NULL;
	bool stable = false;
	int r = memo_nodes_make(&fs->nodes, s, &n, &stable);
	if (r == -EEXIST || (r == -ENOENT && s->ino == 0)) {
		r = memo_store_ino(fs->store, ids_needed(s), &s->ino);
		s->inner = s->ino;
		if (r == 0)
			r = memo_nodes_make(&fs->nodes, s, &n, &stable);
	}
	if (r < 0) {
		memo_reply_error(req, r == -ENOENT ? -EIO : r);
		return;
	}
	/* Noted before the reply: what the thread asks next may be here before this returns. */
	pid_t tid = memo_reply_tid(req);
	bool look = atomic_load(&n->guarded) && !n->once && tid != 0;
	r = look ? memo_nodes_look(&fs->nodes, tid, n, s->view, s->def, s->inputs, s->component) : 0;
	if (r < 0)
		memo_reply_error(req, r);
	else
		memo_reply_entry(fs, req, n, stable ? seconds : 0);
	memo_nodes_put(&fs->nodes, n);
}

static void lookup_root(struct memo_fs *fs, fuse_req_t req, const char *name)
{
	struct memo_node_spec s = { .ino = MEMO_INO_README, .kind = MEMO_NODE_README, .type = S_IFREG };
	if (strcmp(name, "README") == 0) {
		memo_view_entry(fs, req, &s, MEMO_FOREVER);
		return;
	}
	for (unsigned v = 0; v < MEMO_VIEWS; v++) {
		if (strcmp(name, memo_view_names[v]) != 0)
			continue;
		s = (struct memo_node_spec){ .ino = memo_view_ino((enum memo_view)v),
					     .kind = MEMO_NODE_VIEW,
					     .view = (enum memo_view)v,
					     .type = S_IFDIR };
		memo_view_entry(fs, req, &s, MEMO_FOREVER);
		return;
	}
	memo_reply_error(req, -ENOENT);
}

static void lookup_task(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	char key[MEMO_KEY_BYTES];
	uint64_t epoch = atomic_load(&fs->nodes.epoch), ino;
	struct memo_task *t = NULL;
	int r = memo_task_name_ok(name) ? memo_store_task(fs->store, name, NULL, &t, NULL) : -ENOENT;
	memo_task_unref(t);
	if (r == 0)
		r = memo_store_name_ino(fs->store, name, &ino);
	if (r == 0)
		r = memo_view_key(key, sizeof key, dir->view, name, NULL, NULL, NULL);
	if (r < 0) {
		memo_reply_error(req, r);
		return;
	}
	struct memo_node_spec s = { .ino = ino + dir->view,
				    .kind = MEMO_NODE_NAME,
				    .view = dir->view,
				    .type = S_IFDIR,
				    .task = name,
				    .key = key,
				    .parent = dir->ino,
				    .epoch = epoch };
	memo_view_entry(fs, req, &s, MEMO_FOREVER);
}

static void lookup_version(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	char key[MEMO_KEY_BYTES];
	uint64_t ino;
	struct memo_node_spec s = { .kind = MEMO_NODE_VERSION,
				    .view = dir->view,
				    .type = S_IFDIR,
				    .task = dir->task,
				    .version = name,
				    .key = key,
				    .parent = dir->ino,
				    .epoch = atomic_load(&fs->nodes.epoch) };
	int r = memo_view_key(key, sizeof key, dir->view, dir->task, name, NULL, NULL);
	if (r == 0 && strcmp(name, "latest") == 0) {
		char version[MEMO_NAME_MAX + 1];
		r = memo_store_latest(fs->store, dir->task, version);
		if (r == 0)
			r = memo_store_name_ino(fs->store, dir->task, &ino);
		s.kind = MEMO_NODE_LATEST;
		s.type = S_IFLNK;
		s.version = NULL;
		s.ino = r == 0 ? ino + 4 + dir->view : 0;
	} else if (r == 0) {
		struct memo_task *t = NULL;
		r = memo_task_version_ok(name) ? memo_store_task(fs->store, dir->task, name, &t, NULL) : -ENOENT;
		s.ino = r == 0 ? t->ino + dir->view : 0;
		memo_task_unref(t);
	}
	if (r < 0)
		memo_reply_error(req, r);
	else
		memo_view_entry(fs, req, &s, MEMO_FOREVER);
}

void memo_view_top_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	if (dir->kind == MEMO_NODE_ROOT)
		lookup_root(fs, req, name);
	else if (dir->kind == MEMO_NODE_VIEW)
		lookup_task(fs, req, dir, name);
	else
		lookup_version(fs, req, dir, name);
}

/* ---- listings ------------------------------------------------------------------------------------ */

static int list_tasks(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d)
{
	struct memo_task **tasks = NULL;
	size_t count = 0;
	int r = memo_store_tasks(fs->store, &tasks, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct memo_task *t = tasks[i];
		if (n->kind == MEMO_NODE_NAME) {
			if (strcmp(t->name, n->task) == 0)
				r = memo_dir_add(d, t->version, t->ino + n->view, S_IFDIR);
			continue;
		}
		uint64_t ino;
		/* Versions of a task are side by side. */
		if ((i == 0 || strcmp(t->name, tasks[i - 1]->name) != 0) &&
		    memo_store_name_ino(fs->store, t->name, &ino) == 0)
			r = memo_dir_add(d, t->name, ino + n->view, S_IFDIR);
	}
	memo_store_tasks_free(tasks, count);
	return r;
}

int memo_view_top_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d)
{
	if (n->kind == MEMO_NODE_ROOT) {
		int r = memo_dir_add(d, "README", MEMO_INO_README, S_IFREG);
		for (unsigned v = 0; v < MEMO_VIEWS && r == 0; v++)
			r = memo_dir_add(d, memo_view_names[v], memo_view_ino((enum memo_view)v), S_IFDIR);
		return r;
	}
	int r = list_tasks(fs, n, d);
	uint64_t ino;
	if (r == 0 && n->kind == MEMO_NODE_NAME && memo_store_name_ino(fs->store, n->task, &ino) == 0)
		r = memo_dir_add(d, "latest", ino + 4 + n->view, S_IFLNK);
	return r;
}
