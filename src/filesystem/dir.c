/* Dir: the entries of a directory, from where READDIR left off.
 *
 * Small directories are lists made when they are opened. The names of a version, the objects and the instances of a run are
 * streamed from the store: the cookie counts entries on this handle; another offset than the one that was reached begins anew and skips.
 * Only finished results are listed in /tasks and /cached, and of those whose meaning can change only what a peek, which
 * starts nothing, still finds: what a crawler sees, it can read without starting work, and without being refused for an input
 * file that only others may read. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum dir_kind { DIR_LIST, DIR_TREE, DIR_NAMES, DIR_HASHES, DIR_RUN };

struct memo_dir {
	struct memo_dir *next_open, **prev_open; /* guarded by the memo_fs's mu */
	struct memo_mutex mu; /* one READDIR at a time */
	enum dir_kind kind;
	uint64_t self;
	struct memo_dirent *list; /* LIST; "." and ".." included */
	size_t count, room;
	struct memo_tree *tree; /* TREE */
	uint32_t index;
	uint64_t inner;
	enum memo_view view; /* NAMES */
	struct memo_task *task;
	struct memo_who *who; /* NAMES: who opened it; NULL: no limits */
	struct memo_name_iter *names;
	struct memo_id hash; /* HASHES: the last one given */
	struct memo_runs_walk *walk; /* RUN */
	uint64_t at; /* streams: number of the entry in `next` */
	struct memo_dirent next; /* streams: read but not given yet, while have */
	bool have, end;
};

int memo_dir_add(struct memo_dir *d, const char *name, uint64_t ino, mode_t type)
{
	size_t len = strlen(name);
	if (len >= sizeof d->list->name)
		return -ENAMETOOLONG;
	if (d->count == d->room) {
		size_t room = d->room > 0 ? d->room * 2 : 16;
		struct memo_dirent *list = realloc(d->list, room * sizeof *list);
		if (list == NULL)
			return -ENOMEM;
		d->list = list;
		d->room = room;
	}
	struct memo_dirent *e = &d->list[d->count++];
	memcpy(e->name, name, len + 1);
	e->ino = ino;
	e->type = type;
	return 0;
}

void memo_dir_close(struct memo_fs *fs, struct memo_dir *d)
{
	if (d == NULL)
		return;
	memo_mutex_lock(&fs->mu);
	*d->prev_open = d->next_open;
	if (d->next_open != NULL)
		d->next_open->prev_open = d->prev_open;
	memo_mutex_unlock(&fs->mu);
	free(d->list);
	if (d->tree != NULL)
		memo_store_release(fs->store, memo_tree_id(d->tree));
	memo_tree_unref(d->tree);
	memo_task_unref(d->task);
	memo_who_unref(d->who);
	memo_name_iter_free(d->names);
	memo_view_runs_free(d->walk);
	memo_mutex_clear(&d->mu);
	free(d);
}

static struct memo_dir *dir_new(struct memo_fs *fs, enum dir_kind kind, uint64_t self)
{
	struct memo_dir *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	memo_mutex_init(&d->mu);
	d->kind = kind;
	d->self = self;
	memo_mutex_lock(&fs->mu);
	d->next_open = fs->dirs;
	d->prev_open = &fs->dirs;
	if (d->next_open != NULL)
		d->next_open->prev_open = &d->next_open;
	fs->dirs = d;
	memo_mutex_unlock(&fs->mu);
	return d;
}

static int open_list(struct memo_fs *fs, struct memo_node *n, struct memo_dir *d)
{
	int r = memo_dir_add(d, ".", n->ino, S_IFDIR);
	if (r == 0)
		r = memo_dir_add(d, "..", MEMO_INO_ROOT, S_IFDIR);
	if (r < 0 || n->kind == MEMO_NODE_VERSION) /* of /start: nothing is listed */
		return r;
	if (n->view == MEMO_VIEW_RUNS)
		return memo_view_runs_list(fs, n, d);
	return n->kind == MEMO_NODE_INFO || n->kind == MEMO_NODE_UPSTREAM ? memo_view_info_list(fs, n, d)
									  : memo_view_top_list(fs, n, d);
}

int memo_dir_open(struct memo_fs *fs, struct memo_node *n, const struct memo_who *who, struct memo_dir **out)
{
	enum dir_kind kind = DIR_LIST;
	if (n->kind == MEMO_NODE_VERSION && n->view != MEMO_VIEW_START)
		kind = DIR_NAMES;
	else if (n->kind == MEMO_NODE_VIEW && n->view == MEMO_VIEW_OBJECTS)
		kind = DIR_HASHES;
	else if (n->kind == MEMO_NODE_OUTCOME)
		kind = DIR_RUN;
	struct memo_dir *d = dir_new(fs, kind, n->ino);
	if (d == NULL)
		return -ENOMEM;
	d->view = n->view;
	d->who = memo_who_ref(who);
	int r = 0;
	if (kind == DIR_LIST)
		r = open_list(fs, n, d);
	else if (kind == DIR_NAMES)
		r = memo_store_task(fs->store, n->task, n->version, &d->task, NULL);
	else if (kind == DIR_RUN)
		r = (d->walk = memo_view_runs_walk(n)) == NULL ? -ENOMEM : 0;
	if (r < 0) {
		memo_dir_close(fs, d);
		return r;
	}
	*out = d;
	return 0;
}

int memo_dir_open_tree(struct memo_fs *fs, struct memo_tree *tree, uint32_t index, uint64_t inner, uint64_t self,
		       struct memo_dir **out)
{
	struct memo_dir *d = dir_new(fs, DIR_TREE, self);
	if (d == NULL || index >= memo_tree_count(tree)) {
		memo_tree_unref(tree);
		memo_dir_close(fs, d);
		return d == NULL ? -ENOMEM : -EBADMSG;
	}
	d->tree = tree;
	memo_store_hold(fs->store, memo_tree_id(tree));
	d->index = index;
	d->inner = inner;
	*out = d;
	return 0;
}

/* ---- streams --------------------------------------------------------------------------------------- */

static int describe(enum memo_view view, const struct memo_result *r, struct memo_dirent *e)
{
	e->ino = memo_call_result_ino(view, r);
	e->type = r->kind == MEMO_RESULT_DIRECTORY ? S_IFDIR : r->kind == MEMO_RESULT_EXTERNAL ? S_IFLNK : S_IFREG;
	return 0;
}

/* Whether a name of /tasks or /cached is listed. -ENOENT: it is not. What the name was demanded for may not be what it means
 * now (another default, another input file): a listed name that is a miss would have "ls -l" start work. */
static int finished(struct memo_fs *fs, const struct memo_dir *d, const struct memo_named *n, struct memo_dirent *e)
{
	if (!n->known || n->state != MEMO_SUCCESS)
		return -ENOENT;
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	int code = memo_runner_resolve(fs->runner, d->task->name, d->task->version, n->name, &t, &inputs, NULL);
	if (code < 0)
		return code;
	struct memo_result *r = NULL;
	code = memo_runner_peek(fs->runner, t, inputs, d->who, 0, &r);
	memo_task_unref(t);
	json_decref(inputs);
	if (code < 0)
		return code;
	code = describe(d->view, r, e);
	memo_result_unref(r);
	return code;
}

static int next_name(struct memo_fs *fs, struct memo_dir *d)
{
	struct memo_named n;
	if (d->names == NULL) {
		int r = memo_store_names(fs->store, d->task->name, d->task->version, &d->names);
		if (r < 0)
			return r;
	}
	for (;;) {
		int r = memo_name_iter_next(d->names, &n);
		if (r < 0)
			return r;
		memcpy(d->next.name, n.name, sizeof d->next.name);
		if (d->view == MEMO_VIEW_INFO) {
			d->next.ino = n.info != 0 ? n.info : d->self;
			d->next.type = S_IFDIR;
			return 0;
		}
		/* What cannot be looked at is left out; only the walk's own errors end it. */
		if (finished(fs, d, &n, &d->next) == 0)
			return 0;
	}
}

static int next_hash(struct memo_fs *fs, struct memo_dir *d)
{
	for (;;) {
		int r = memo_store_next_hash(fs->store, &d->hash);
		if (r < 0)
			return r;
		struct memo_result *res = NULL;
		if (memo_store_by_hash(fs->store, &d->hash, &res, NULL) < 0)
			continue;
		(void)memo_id_hex(&d->hash, d->next.name);
		r = describe(MEMO_VIEW_OBJECTS, res, &d->next);
		memo_result_unref(res);
		return r;
	}
}

static int stream_next(struct memo_fs *fs, struct memo_dir *d)
{
	if (d->end)
		return -ENOENT;
	if (d->at < 2) {
		memcpy(d->next.name, d->at == 0 ? "." : "..", d->at == 0 ? 2 : 3);
		d->next.ino = d->at == 0 ? d->self : MEMO_INO_ROOT;
		d->next.type = S_IFDIR;
		d->have = true;
		return 0;
	}
	int r = d->kind == DIR_NAMES ? next_name(fs, d)
		: d->kind == DIR_RUN ? memo_view_runs_next(fs, d->walk, &d->next)
				     : next_hash(fs, d);
	d->have = r == 0;
	d->end = r == -ENOENT;
	return r;
}

static void stream_rewind(struct memo_dir *d)
{
	memo_name_iter_free(d->names);
	d->names = NULL;
	d->hash = (struct memo_id){ { 0 } };
	memo_view_runs_rewind(d->walk);
	d->at = 0;
	d->have = false;
	d->end = false;
}

/* Puts entry number @off into d->next. */
static int stream_seek(struct memo_fs *fs, struct memo_dir *d, uint64_t off)
{
	if (off == 0 || off < d->at)
		stream_rewind(d);
	for (;;) {
		if (!d->have) {
			int r = stream_next(fs, d);
			if (r < 0)
				return r;
		}
		if (d->at == off)
			return 0;
		d->at++;
		d->have = false;
	}
}

/* Entry number @off; -ENOENT: the end. */
static int entry_at(struct memo_fs *fs, struct memo_dir *d, uint64_t off, const char **name, uint64_t *ino,
		    mode_t *type)
{
	if (d->kind == DIR_TREE && off >= 2) {
		const struct memo_tree_entry *dir = memo_tree_entry(d->tree, d->index);
		if (off - 2 >= dir->children)
			return -ENOENT;
		uint32_t i = memo_tree_child(d->tree, d->index, (uint32_t)(off - 2));
		const struct memo_tree_entry *e = memo_tree_entry(d->tree, i);
		*name = e->name;
		*ino = d->inner + i;
		*type = e->type == MEMO_ENTRY_DIR ? S_IFDIR : e->type == MEMO_ENTRY_LINK ? S_IFLNK : S_IFREG;
		return 0;
	}
	if (d->kind == DIR_TREE) {
		*name = off == 0 ? "." : "..";
		*ino = off == 0 ? d->self : MEMO_INO_ROOT;
		*type = S_IFDIR;
		return 0;
	}
	const struct memo_dirent *e = &d->next;
	if (d->kind == DIR_LIST) {
		if (off >= d->count)
			return -ENOENT;
		e = &d->list[off];
	} else {
		int r = stream_seek(fs, d, off);
		if (r < 0)
			return r;
	}
	*name = e->name;
	*ino = e->ino;
	*type = e->type;
	return 0;
}

static int read_locked(struct memo_fs *fs, fuse_req_t req, struct memo_dir *d, char *buf, size_t size, uint64_t off,
		       size_t *used_out)
{
	size_t used = 0;
	for (;; off++) {
		const char *name;
		struct stat st = { 0 };
		int r = entry_at(fs, d, off, &name, &st.st_ino, &st.st_mode);
		if (r == -ENOENT)
			break;
		if (r < 0 && used == 0)
			return r;
		if (r < 0)
			break; /* told at the next call */
		size_t need = fuse_add_direntry(req, buf + used, size - used, name, &st, (off_t)(off + 1));
		if (need > size - used)
			break;
		used += need;
	}
	*used_out = used;
	return 0;
}

int memo_dir_read(struct memo_fs *fs, fuse_req_t req, struct memo_dir *d, char *buf, size_t size, off_t off,
		  size_t *used_out)
{
	if (off < 0)
		return -EINVAL;
	memo_mutex_lock(&d->mu);
	int r = read_locked(fs, req, d, buf, size, (uint64_t)off, used_out);
	memo_mutex_unlock(&d->mu);
	return r;
}
