/* Reading objects, never without looking at them: type, size and mode each time, the content of what is small once in
 * a process's life. What is wrong goes to quarantine and is reported as -EBADMSG. An error of the disk is not damage: it
 * is passed on, and the object stays. */
#include "object.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CHECKED_FIRST 1024

/* ---- what was checked ------------------------------------------------------------------------------- */

/* A mark for an object, or for the @index-th entry of a tree; never 0. */
static uint64_t mark_of(const struct memo_id *id, uint64_t kind, uint64_t index)
{
	uint64_t m;
	memcpy(&m, id->byte, sizeof m);
	m ^= (kind + index * 4 + 1) * UINT64_C(0x9e3779b97f4a7c15);
	return m != 0 ? m : 1;
}

static uint64_t *checked_slot(uint64_t *slot, size_t size, uint64_t mark)
{
	size_t i = (size_t)(mark * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (size - 1);
	while (slot[i] != 0 && slot[i] != mark)
		i = (i + 1) & (size - 1);
	return &slot[i];
}

static bool was_checked(struct memo_store *s, uint64_t mark)
{
	struct memo_checked *c = &s->checked;
	memo_mutex_lock(&c->mu);
	bool yes = c->size > 0 && *checked_slot(c->slot, c->size, mark) == mark;
	memo_mutex_unlock(&c->mu);
	return yes;
}

static int grow_locked(struct memo_checked *c) MEMO_TSA(requires_capability(c->mu));
static int grow_locked(struct memo_checked *c)
{
	size_t size = c->size == 0 ? CHECKED_FIRST : c->size * 2;
	uint64_t *slot = calloc(size, sizeof *slot);
	if (slot == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < c->size; i++) {
		if (c->slot[i] != 0)
			*checked_slot(slot, size, c->slot[i]) = c->slot[i];
	}
	free(c->slot);
	c->slot = slot;
	c->size = size;
	return 0;
}

static void clear_locked(struct memo_checked *c) MEMO_TSA(requires_capability(c->mu));
static void clear_locked(struct memo_checked *c)
{
	free(c->slot);
	c->slot = NULL;
	c->size = 0;
	c->count = 0;
}

/* Without memory it is simply not remembered. */
static void set_checked(struct memo_store *s, uint64_t mark)
{
	struct memo_checked *c = &s->checked;
	memo_mutex_lock(&c->mu);
	if (c->count >= MEMO_STORE_CHECKED)
		clear_locked(c);
	if (c->count < c->size / 2 || grow_locked(c) == 0) {
		uint64_t *p = checked_slot(c->slot, c->size, mark);
		c->count += *p == 0;
		*p = mark;
	}
	memo_mutex_unlock(&c->mu);
}

void memo_object_clear(struct memo_store *s)
{
	memo_mutex_lock(&s->checked.mu);
	clear_locked(&s->checked);
	memo_mutex_unlock(&s->checked.mu);
	memo_mutex_lock(&s->trees.mu);
	for (size_t i = 0; i < MEMO_STORE_TREES; i++) {
		memo_tree_unref(s->trees.tree[i]);
		s->trees.tree[i] = NULL;
	}
	memo_mutex_unlock(&s->trees.mu);
}

/* ---- files ------------------------------------------------------------------------------------------ */

/* @fd: what was opened. -EBADMSG: not the file that is meant. */
static int check_file(struct memo_store *s, int fd, const struct memo_id *id, uint64_t size, bool exec,
		      uint64_t mark)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size || (st.st_mode & 0777) != (exec ? 0555 : 0444))
		return -EBADMSG;
	if (size > MEMO_STORE_CHECK_BYTES || was_checked(s, mark))
		return 0;
	struct memo_id is;
	int r = memo_hash_fd(fd, &is, NULL);
	if (r < 0)
		return r;
	if (!memo_id_equal(&is, id))
		return -EBADMSG;
	set_checked(s, mark);
	return 0;
}

static int open_object(struct memo_store *s, const char *name, int *fd_out)
{
	int fd = openat(s->objects_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return memo_errno() == -ELOOP ? -EBADMSG : memo_errno();
	*fd_out = fd;
	return 0;
}

static int report(int r, const char *name, struct memo_err *err)
{
	if (r == -ENOENT)
		return memo_fail(err, r, "object '%s': is gone; the next demand computes it again", name);
	if (r == -EBADMSG)
		return memo_fail(err, r, "object '%s': is damaged; the next demand computes it again", name);
	return memo_fail(err, r, "object '%s': cannot be read: %s", name, memo_strerror(r));
}

int memo_store_open_file(struct memo_store *s, const struct memo_result *r, int *fd_out, struct memo_err *err)
{
	enum memo_object_kind kind = r->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE;
	char name[MEMO_OBJECT_NAME];
	memo_object_name(&r->blob, kind, name);
	if (r->kind != MEMO_RESULT_FILE)
		return memo_fail(err, -EINVAL, "object '%s': is not a file", name);
	MEMO_AUTO_FD int fd = -1;
	int e = open_object(s, name, &fd);
	if (e == 0)
		e = check_file(s, fd, &r->blob, r->size, r->exec, mark_of(&r->blob, kind, 0));
	if (e == -EBADMSG)
		memo_object_quarantine(s, &r->blob, kind);
	if (e < 0)
		return report(e, name, err);
	*fd_out = memo_fd_steal(&fd);
	return 0;
}

/* ---- trees ------------------------------------------------------------------------------------------ */

static struct memo_tree *cached_tree(struct memo_store *s, const struct memo_id *id)
{
	struct memo_trees *c = &s->trees;
	struct memo_tree *found = NULL;
	memo_mutex_lock(&c->mu);
	for (size_t i = 0; i < MEMO_STORE_TREES && c->tree[i] != NULL && found == NULL; i++) {
		if (!memo_id_equal(memo_tree_id(c->tree[i]), id))
			continue;
		found = memo_tree_ref(c->tree[i]);
		memmove(&c->tree[1], &c->tree[0], i * sizeof c->tree[0]);
		c->tree[0] = found;
	}
	memo_mutex_unlock(&c->mu);
	return found;
}

static void keep_tree(struct memo_store *s, struct memo_tree *t)
{
	struct memo_trees *c = &s->trees;
	memo_mutex_lock(&c->mu);
	bool there = false;
	for (size_t i = 0; i < MEMO_STORE_TREES && c->tree[i] != NULL; i++)
		there |= memo_id_equal(memo_tree_id(c->tree[i]), memo_tree_id(t));
	if (!there) {
		memo_tree_unref(c->tree[MEMO_STORE_TREES - 1]);
		memmove(&c->tree[1], &c->tree[0], (MEMO_STORE_TREES - 1) * sizeof c->tree[0]);
		c->tree[0] = memo_tree_ref(t);
	}
	memo_mutex_unlock(&c->mu);
}

/* The listing, verified against its name. */
static int read_tree(struct memo_store *s, const struct memo_id *id, struct memo_tree **out)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, MEMO_OBJECT_FILE, name);
	MEMO_AUTO_FD int fd = -1;
	int r = open_object(s, name, &fd);
	struct stat st;
	if (r == 0 && fstat(fd, &st) < 0)
		r = memo_errno();
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	r = memo_io_read_fd(fd, MEMO_TREE_LISTING_BYTES, &b);
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	struct memo_id is;
	r = memo_hash_bytes(memo_buf_str(&b), b.len, &is);
	if (r < 0)
		return r;
	if (!memo_id_equal(&is, id))
		return -EBADMSG;
	return memo_tree_parse(memo_buf_str(&b), b.len, out, NULL);
}

int memo_store_open_tree(struct memo_store *s, const struct memo_result *r, struct memo_tree **out,
			 struct memo_err *err)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(&r->hash, MEMO_OBJECT_FILE, name);
	if (r->kind != MEMO_RESULT_DIRECTORY)
		return memo_fail(err, -EINVAL, "object '%s': is not a directory", name);
	struct memo_tree *t = cached_tree(s, &r->hash);
	if (t == NULL) {
		int e = read_tree(s, &r->hash, &t);
		if (e == -EBADMSG)
			memo_object_quarantine(s, &r->hash, MEMO_OBJECT_FILE);
		if (e < 0)
			return report(e, name, err);
		keep_tree(s, t);
	}
	*out = t;
	return 0;
}

/* Part by part, so that no link is followed and the path may be longer than the kernel takes at once. */
static int open_below(int dirfd, const char *path, int *fd_out)
{
	MEMO_AUTO_FD int at = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (at < 0)
		return memo_errno();
	for (;;) {
		size_t len = strcspn(path, "/");
		char part[NAME_MAX + 1];
		if (len == 0 || len > NAME_MAX)
			return -EBADMSG;
		memcpy(part, path, len);
		part[len] = '\0';
		bool last = path[len] == '\0';
		int flags = last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY;
		int next = openat(at, part, flags | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0) {
			int r = memo_errno();
			return r == -ELOOP || r == -ENOTDIR || r == -ENOENT ? -EBADMSG : r;
		}
		if (last) {
			*fd_out = next;
			return 0;
		}
		(void)close(at);
		at = next;
		path += len + 1;
	}
}

static int open_tree_dir(struct memo_store *s, const struct memo_id *id, int *fd_out)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, MEMO_OBJECT_DIR, name);
	int r = memo_io_open_dir(s->objects_fd, name, fd_out);
	return r == -ELOOP || r == -ENOTDIR ? -EBADMSG : r;
}

/* The listing first: without it the tree does not exist. */
static void quarantine_tree(struct memo_store *s, const struct memo_id *id)
{
	memo_object_quarantine(s, id, MEMO_OBJECT_FILE);
	memo_object_quarantine(s, id, MEMO_OBJECT_DIR);
}

int memo_store_open_entry(struct memo_store *s, const struct memo_result *r, const struct memo_tree_entry *e,
			  int *fd_out, struct memo_err *err)
{
	if (e->type != MEMO_ENTRY_FILE && e->type != MEMO_ENTRY_EXEC)
		return memo_fail(err, -EINVAL, "'%s': is not a file", e->path);
	MEMO_AUTO_FD int dir = -1;
	MEMO_AUTO_FD int fd = -1;
	int x = open_tree_dir(s, &r->hash, &dir);
	if (x == 0)
		x = open_below(dir, e->path, &fd);
	if (x == 0) {
		/* Entries of one tree are told apart by their path's digest: an index is not at hand here. */
		struct memo_id path;
		x = memo_hash_bytes(e->path, strlen(e->path), &path);
		uint64_t salt = 0;
		if (x == 0)
			memcpy(&salt, path.byte, sizeof salt);
		if (x == 0)
			x = check_file(s, fd, &e->id, e->size, e->type == MEMO_ENTRY_EXEC,
				       mark_of(&r->hash, MEMO_OBJECT_DIR, salt));
	}
	if (x == -EBADMSG)
		quarantine_tree(s, &r->hash);
	if (x < 0) {
		char name[MEMO_OBJECT_NAME];
		memo_object_name(&r->hash, MEMO_OBJECT_DIR, name);
		return report(x, name, err);
	}
	*fd_out = memo_fd_steal(&fd);
	return 0;
}

/* ---- whole results ---------------------------------------------------------------------------------- */

static int join_object(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind, char **path_out)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, kind, name);
	return asprintf(path_out, "%s/objects/%s", s->dir, name) < 0 ? -ENOMEM : 0;
}

int memo_store_result_path(struct memo_store *s, const struct memo_result *r, char **path_out)
{
	switch (r->kind) {
	case MEMO_RESULT_FILE:
		return join_object(s, &r->blob, r->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE, path_out);
	case MEMO_RESULT_DIRECTORY:
		return join_object(s, &r->hash, MEMO_OBJECT_DIR, path_out);
	case MEMO_RESULT_EXTERNAL:
		*path_out = strdup(r->path);
		return *path_out == NULL ? -ENOMEM : 0;
	}
	return -EINVAL;
}

int memo_store_code_path(struct memo_store *s, const struct memo_code *c, char **path_out)
{
	return join_object(s, &c->id, c->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE, path_out);
}

static int examine_file(struct memo_store *s, const struct memo_result *r, bool deep)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(&r->blob, r->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE, name);
	MEMO_AUTO_FD int fd = -1;
	int e = open_object(s, name, &fd);
	struct stat st;
	if (e == 0 && fstat(fd, &st) < 0)
		e = memo_errno();
	if (e < 0)
		return e;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != r->size ||
	    (st.st_mode & 0777) != (r->exec ? 0555 : 0444))
		return -EBADMSG;
	if (!deep)
		return 0;
	struct memo_id id;
	e = memo_hash_fd(fd, &id, NULL);
	return e < 0 ? e : memo_id_equal(&id, &r->blob) ? 0 : -EBADMSG;
}

static int examine(struct memo_store *s, const struct memo_result *r, bool deep)
{
	if (r->kind == MEMO_RESULT_EXTERNAL)
		return faccessat(AT_FDCWD, r->path, F_OK, AT_EACCESS) < 0 ? memo_errno() : 0;
	if (r->kind == MEMO_RESULT_FILE)
		return examine_file(s, r, deep);
	struct memo_tree *t;
	int e = read_tree(s, &r->hash, &t);
	if (e < 0)
		return e;
	MEMO_AUTO_FD int dir = -1;
	e = open_tree_dir(s, &r->hash, &dir);
	if (e == 0)
		e = memo_object_compare(dir, t, deep, NULL);
	memo_tree_unref(t);
	return e;
}

int memo_store_result_present(struct memo_store *s, const struct memo_result *r)
{
	int e = examine(s, r, false);
	return e == -EBADMSG || e == -ENOTDIR ? -ENOENT : e;
}

int memo_object_verify(struct memo_store *s, const struct memo_result *r)
{
	return examine(s, r, true);
}
