/* View, info: what is known about an instance, and /start. Never starts or waits for work (but the file in /start, when it
 * is asked for its attributes or opened: text.c). */
#include "private.h"

#include "core/path.h"

#include <stdio.h>
#include <string.h>

static size_t info_count(void)
{
	size_t n = 0;
	while (memo_info_names[n] != NULL)
		n++;
	return n;
}

static struct memo_node_spec spec_below(struct memo_fs *fs, const struct memo_node *dir,
					const struct memo_origin *o)
{
	return (struct memo_node_spec){ .view = dir->view,
					.task = dir->task,
					.version = dir->version,
					.def = o->task,
					.inputs = o->inputs,
					.component = o->component,
					.parent = dir->ino,
					.epoch = atomic_load(&fs->nodes.epoch) };
}

static void show_named(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const struct memo_understood *u,
		       struct memo_node_spec *s, unsigned offset)
{
	struct memo_origin o = { u->task, u->inputs, (char *)(uintptr_t)u->name };
	struct memo_node_spec base = spec_below(fs, dir, &o);
	struct memo_named named;
	char key[MEMO_KEY_BYTES];
	base.kind = s->kind;
	base.type = s->type;
	base.key = key;
	int r = memo_view_key(key, sizeof key, dir->view, dir->task, dir->version, u->name, NULL);
	if (r == 0)
		r = memo_store_named(fs->store, dir->task, dir->version, u->name, &named, NULL);
	if (r == 0 && named.info != 0)
		base.ino = named.info + offset;
	/* Not recorded yet: /start names anything, /info what is in flight. */
	bool known = r == 0 || (r == -ENOENT && (dir->view == MEMO_VIEW_START ||
						 memo_runner_state(fs->runner, u->task, u->inputs) != MEMO_STATES));
	if (!known)
		memo_reply_error(req, r);
	else
		memo_view_entry(fs, req, &base, base.ino != 0 ? MEMO_FOREVER : 0);
}

void memo_view_info_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir,
			  const struct memo_understood *u)
{
	struct memo_node_spec s = { .kind = MEMO_NODE_INFO, .type = S_IFDIR };
	show_named(fs, req, dir, u, &s, 0);
}

void memo_view_start_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir,
			   const struct memo_understood *u)
{
	struct memo_node_spec s = { .kind = MEMO_NODE_START, .type = S_IFREG };
	show_named(fs, req, dir, u, &s, MEMO_INFO_START);
}

/* ---- links to upstream instances ------------------------------------------------------------------- */

/* The name of the @i-th link: the need's, with a number where there are several. */
static int upstream_name(const json_t *list, size_t i, const struct memo_task *t, char *name, size_t size)
{
	const char *need = json_string_value(json_object_get(json_array_get(list, i), "need"));
	if (need == NULL || need[0] == '\0')
		need = "upstream";
	size_t same = 0, before = 0;
	for (size_t k = 0; k < json_array_size(list); k++) {
		const char *other = json_string_value(json_object_get(json_array_get(list, k), "need"));
		if (other == NULL || strcmp(other, need) != 0)
			continue;
		same++;
		before += k < i;
	}
	const struct memo_need *declared = memo_task_need(t, need);
	bool several = same > 1 || (declared != NULL && declared->each != NULL);
	int n = several ? snprintf(name, size, "%s.%zu", need, before) : snprintf(name, size, "%s", need);
	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	for (char *p = name; *p != '\0'; p++)
		if (*p == '/')
			*p = '_';
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? -EINVAL : 0;
}

/* "../../../../<task>/<version>/<component>": from /info/n/v/c/upstream up to /info. */
static int upstream_target(const json_t *item, struct memo_buf *b)
{
	const char *path = json_string_value(json_object_get(item, "path"));
	const char prefix[] = "/tasks/";
	if (path == NULL || strncmp(path, prefix, sizeof prefix - 1) != 0)
		return -EINVAL;
	(void)memo_buf_printf(b, "../../../../%s", path + sizeof prefix - 1);
	return memo_buf_error(b);
}

static void show_link(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s, const char *target,
		      double seconds)
{
	s->kind = MEMO_NODE_LINK;
	s->type = S_IFLNK;
	s->target = target;
	s->def = NULL;
	memo_view_entry(fs, req, s, seconds);
}

static void lookup_upstream(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const struct memo_origin *o,
			    const char *name)
{
	json_t *list = NULL;
	MEMO_AUTO_BUF struct memo_buf target = { 0 };
	int r = memo_runner_upstream(fs->runner, o->task, o->inputs, &list, NULL);
	if (r == 0)
		r = -ENOENT;
	for (size_t i = 0; r == -ENOENT && i < json_array_size(list); i++) {
		char have[256];
		if (upstream_name(list, i, o->task, have, sizeof have) == 0 && strcmp(have, name) == 0)
			r = upstream_target(json_array_get(list, i), &target);
	}
	json_decref(list);
	char inner[300], key[2 * MEMO_KEY_BYTES];
	struct memo_node_spec s = spec_below(fs, dir, o);
	if (r == 0) {
		(void)snprintf(inner, sizeof inner, "upstream/%s", name);
		r = memo_view_key(key, sizeof key, dir->view, dir->task, dir->version, o->component, inner);
	}
	s.key = key;
	if (r < 0)
		memo_reply_error(req, r);
	else
		show_link(fs, req, &s, memo_buf_str(&target), 0);
}

/* ---- the files ------------------------------------------------------------------------------------- */

static void lookup_text(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s)
{
	struct memo_node *n = NULL;
	int r = memo_nodes_make(&fs->nodes, s, &n, NULL);
	struct memo_blob *b = NULL;
	/* Whether it exists is known by making it; the GETATTR that follows needs no second one. */
	if (r == 0 && !memo_text_is_log(n)) {
		r = memo_text_make(fs, n, fuse_req_ctx(req), &b);
		if (r == 0)
			memo_node_blob_set(&fs->nodes, n, b, memo_reply_tid(req), true);
	}
	if (r < 0)
		memo_reply_error(req, r);
	else
		memo_reply_entry(fs, req, n, 0);
	memo_nodes_put(&fs->nodes, n);
}

static void lookup_result(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const struct memo_origin *o,
			  struct memo_node_spec *s)
{
	MEMO_AUTO_BUF struct memo_buf target = { 0 };
	if (memo_runner_state(fs->runner, o->task, o->inputs) != MEMO_SUCCESS) {
		memo_reply_error(req, -ENOENT);
		return;
	}
	(void)memo_buf_printf(&target, "../../../../cached/%s/%s/%s", dir->task, dir->version, o->component);
	s->ino = dir->ino + MEMO_INFO_RESULT;
	if (memo_buf_error(&target) < 0)
		memo_reply_error(req, -ENOMEM);
	else
		show_link(fs, req, s, memo_buf_str(&target), 0);
}

void memo_view_info_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	const struct memo_origin *o = atomic_load(&dir->origin);
	if (o == NULL) {
		memo_reply_error(req, -ESTALE);
		return;
	}
	if (dir->kind == MEMO_NODE_UPSTREAM) {
		lookup_upstream(fs, req, dir, o, name);
		return;
	}
	char key[MEMO_KEY_BYTES];
	struct memo_node_spec s = spec_below(fs, dir, o);
	int r = memo_view_key(key, sizeof key, dir->view, dir->task, dir->version, o->component, name);
	s.key = key;
	if (r < 0) {
		memo_reply_error(req, -ENOENT);
		return;
	}
	if (strcmp(name, "result") == 0) {
		lookup_result(fs, req, dir, o, &s);
		return;
	}
	if (strcmp(name, "upstream") == 0) {
		s.ino = dir->ino + MEMO_INFO_UPSTREAM;
		s.kind = MEMO_NODE_UPSTREAM;
		s.type = S_IFDIR;
		memo_view_entry(fs, req, &s, MEMO_FOREVER);
		return;
	}
	for (size_t i = 0; i < info_count() && i + 1 < MEMO_INFO_UPSTREAM; i++) {
		if (strcmp(name, memo_info_names[i]) != 0)
			continue;
		s.ino = dir->ino + 1 + i;
		s.kind = MEMO_NODE_TEXT;
		s.type = S_IFREG;
		s.index = (unsigned)i;
		lookup_text(fs, req, &s);
		return;
	}
	memo_reply_error(req, -ENOENT);
}

/* ---- listings --------------------------------------------------------------------------------------- */

static int list_upstream(struct memo_fs *fs, const struct memo_node *n, const struct memo_origin *o,
			 struct memo_dir *d)
{
	json_t *list = NULL;
	int r = memo_runner_upstream(fs->runner, o->task, o->inputs, &list, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		char name[256];
		/* The id of a link is given by its LOOKUP; a listing needs any number but 0. */
		if (upstream_name(list, i, o->task, name, sizeof name) == 0)
			r = memo_dir_add(d, name, n->ino, S_IFLNK);
	}
	json_decref(list);
	return r;
}

static bool text_exists(struct memo_fs *fs, const struct memo_origin *o, const char *what)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (strcmp(what, "stderr") == 0 || strcmp(what, "stdout") == 0 || strcmp(what, "why") == 0)
		return true;
	return memo_runner_info(fs->runner, o->task, o->inputs, NULL, what, &b, NULL) == 0;
}

int memo_view_info_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d)
{
	const struct memo_origin *o = atomic_load(&n->origin);
	if (o == NULL)
		return -ESTALE;
	if (n->kind == MEMO_NODE_UPSTREAM)
		return list_upstream(fs, n, o, d);
	int r = 0;
	for (size_t i = 0; r == 0 && i < info_count() && i + 1 < MEMO_INFO_UPSTREAM; i++)
		if (text_exists(fs, o, memo_info_names[i]))
			r = memo_dir_add(d, memo_info_names[i], n->ino + 1 + i, S_IFREG);
	if (r == 0)
		r = memo_dir_add(d, "upstream", n->ino + MEMO_INFO_UPSTREAM, S_IFDIR);
	if (r == 0 && memo_runner_state(fs->runner, o->task, o->inputs) == MEMO_SUCCESS)
		r = memo_dir_add(d, "result", n->ino + MEMO_INFO_RESULT, S_IFLNK);
	return r;
}
