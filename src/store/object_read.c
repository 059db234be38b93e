/* Reading objects, never without looking at them: type, size and mode each time, the content of what is small once in
 * a process's life. What is wrong goes to quarantine and is reported as -EBADMSG. An error of the disk is not damage: it
 * is passed on, and the object stays until it fails again (breaker.h). */
#include "object.h"
#include "scrub.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CHECKED_FIRST 1024
/* A shortage of descriptors or memory mostly ends when another reader closes: a few short naps. */
#define SHORT_TRIES 4
#define SHORT_NAP_MS 5

/* ---- what was checked ------------------------------------------------------------------------------- */

uint64_t memo_object_mark(const struct memo_id *id, enum memo_object_kind kind, uint64_t index)
{
	uint64_t m;
	memcpy(&m, id->byte, sizeof m);
	m ^= ((uint64_t)kind + index * 4 + 1) * UINT64_C(0x9e3779b97f4a7c15);
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

int memo_object_look(int fd, uint64_t size, bool exec)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	bool right = S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
		     (st.st_mode & 07777) == (exec ? 0555u : 0444u);
	return right ? 0 : -EBADMSG;
}

/* @fd: what was opened. -EBADMSG: not the file that is meant. */
static int check_file(struct memo_store *s, int fd, const struct memo_id *id, uint64_t size, bool exec,
		      uint64_t mark)
{
	int r = memo_object_look(fd, size, exec);
	if (r < 0 || size > MEMO_STORE_CHECK_BYTES || was_checked(s, mark))
		return r;
	struct memo_id is;
	r = memo_hash_fd(fd, &is, NULL);
	if (r < 0)
		return r;
	if (!memo_id_equal(&is, id))
		return -EBADMSG;
	memo_breaker_worked(&s->breaker, mark);
	set_checked(s, mark);
	return 0;
}

/* openat(2) that follows no link and waits for nothing but a descriptor. What cannot be an object is -EBADMSG. */
static int open_at(int dirfd, const char *name, int flags, int *fd_out)
{
	for (int i = 1;; i++) {
		int fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0) {
			*fd_out = fd;
			return 0;
		}
		int r = memo_errno();
		if (r == -ELOOP || r == -ENOTDIR || r == -ENXIO || r == -ENODEV)
			return -EBADMSG;
		if ((r != -EMFILE && r != -ENFILE && r != -ENOMEM && r != -EINTR) || i == SHORT_TRIES)
			return r;
		(void)poll(NULL, 0, SHORT_NAP_MS);
	}
}

#define FOR_READING (O_RDONLY | O_NONBLOCK | O_NOCTTY)

int memo_object_open(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind, int *fd_out)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, kind, name);
	return open_at(s->objects_fd, name, kind == MEMO_OBJECT_DIR ? O_RDONLY | O_DIRECTORY : FOR_READING, fd_out);
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
	uint64_t mark = memo_object_mark(&r->blob, kind, 0);
	int e = memo_object_open(s, &r->blob, kind, &fd);
	if (e == 0)
		e = check_file(s, fd, &r->blob, r->size, r->exec, mark);
	e = memo_object_judge(s, &r->blob, kind, mark, e);
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

int memo_object_listing(struct memo_store *s, const struct memo_id *id, struct memo_tree **out)
{
	MEMO_AUTO_FD int fd = -1;
	int r = memo_object_open(s, id, MEMO_OBJECT_FILE, &fd);
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

static int judge_listing(struct memo_store *s, const struct memo_id *id, int code)
{
	uint64_t mark = memo_object_mark(id, MEMO_OBJECT_FILE, 0);
	if (code == 0)
		memo_breaker_worked(&s->breaker, mark);
	return memo_object_judge(s, id, MEMO_OBJECT_FILE, mark, code);
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
		int e = judge_listing(s, &r->hash, memo_object_listing(s, &r->hash, &t));
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
	MEMO_AUTO_FD int at = -1;
	int r = open_at(dirfd, ".", O_PATH | O_DIRECTORY, &at);
	while (r == 0) {
		size_t len = strcspn(path, "/");
		char part[NAME_MAX + 1];
		if (len == 0 || len > NAME_MAX)
			return -EBADMSG;
		memcpy(part, path, len);
		part[len] = '\0';
		bool last = path[len] == '\0';
		int next;
		r = open_at(at, part, last ? FOR_READING : O_PATH | O_DIRECTORY, &next);
		if (r < 0)
			break;
		if (last) {
			*fd_out = next;
			return 0;
		}
		(void)close(at);
		at = next;
		path += len + 1;
	}
	return r == -ENOENT ? -EBADMSG : r;
}

/* What a look into a tree that ended with @code comes to: the listing goes first, since without it the tree does not exist. */
static int judge_tree(struct memo_store *s, const struct memo_id *id, uint64_t mark, int code)
{
	int r = memo_object_judge(s, id, MEMO_OBJECT_DIR, mark, code);
	if (r == -EBADMSG)
		(void)memo_object_quarantine(s, id, MEMO_OBJECT_FILE, MEMO_LEFTOVER);
	return r;
}

int memo_store_open_entry(struct memo_store *s, const struct memo_result *r, const struct memo_tree_entry *e,
			  int *fd_out, struct memo_err *err)
{
	if (e->type != MEMO_ENTRY_FILE && e->type != MEMO_ENTRY_EXEC)
		return memo_fail(err, -EINVAL, "'%s': is not a file", e->path);
	MEMO_AUTO_FD int dir = -1;
	MEMO_AUTO_FD int fd = -1;
	/* Entries of one tree are told apart by their path's digest: an index is not at hand here. */
	struct memo_id path;
	uint64_t salt = 0;
	int x = memo_hash_bytes(e->path, strlen(e->path), &path);
	if (x == 0)
		memcpy(&salt, path.byte, sizeof salt);
	uint64_t mark = memo_object_mark(&r->hash, MEMO_OBJECT_DIR, salt);
	if (x == 0)
		x = memo_object_open(s, &r->hash, MEMO_OBJECT_DIR, &dir);
	if (x == 0)
		x = open_below(dir, e->path, &fd);
	if (x == 0)
		x = check_file(s, fd, &e->id, e->size, e->type == MEMO_ENTRY_EXEC, mark);
	x = judge_tree(s, &r->hash, mark, x);
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

/* What is there, and with @deep every byte of it. */
static int look_at_file(struct memo_store *s, const struct memo_result *r, enum memo_object_kind kind, bool deep,
			struct memo_scrub *b)
{
	MEMO_AUTO_FD int fd = -1;
	int e = memo_object_open(s, &r->blob, kind, &fd);
	if (e == 0)
		e = memo_object_look(fd, r->size, r->exec);
	if (e < 0 || !deep)
		return e;
	struct memo_id id;
	uint64_t size;
	e = memo_scrub_hash(b, fd, &id, &size);
	return e < 0 ? e : memo_id_equal(&id, &r->blob) ? 0 : -EBADMSG;
}

static int examine_file(struct memo_store *s, const struct memo_result *r, bool deep, struct memo_scrub *b)
{
	enum memo_object_kind kind = r->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE;
	uint64_t mark = memo_object_mark(&r->blob, kind, 0);
	int e = look_at_file(s, r, kind, deep, b);
	if (e == 0 && deep)
		memo_breaker_worked(&s->breaker, mark);
	return memo_object_judge(s, &r->blob, kind, mark, e);
}

static int examine_tree(struct memo_store *s, const struct memo_result *r, bool deep, struct memo_scrub *b,
			struct memo_err *err)
{
	struct memo_tree *t;
	int e = judge_listing(s, &r->hash, memo_object_listing(s, &r->hash, &t));
	if (e < 0)
		return e;
	MEMO_AUTO_FD int dir = -1;
	uint64_t mark = memo_object_mark(&r->hash, MEMO_OBJECT_DIR, 0);
	e = memo_object_open(s, &r->hash, MEMO_OBJECT_DIR, &dir);
	if (e == 0)
		e = memo_object_compare(dir, t, deep, b, err);
	if (e == 0 && deep)
		memo_breaker_worked(&s->breaker, mark);
	memo_tree_unref(t);
	return judge_tree(s, &r->hash, mark, e);
}

int memo_store_result_present(struct memo_store *s, const struct memo_result *r)
{
	int e;
	if (r->kind == MEMO_RESULT_EXTERNAL)
		e = faccessat(AT_FDCWD, r->path, F_OK, AT_EACCESS) < 0 ? memo_errno() : 0;
	else
		e = r->kind == MEMO_RESULT_DIRECTORY ? examine_tree(s, r, false, NULL, NULL)
						     : examine_file(s, r, false, NULL);
	return e == -EBADMSG || e == -ENOTDIR ? -ENOENT : e;
}

int memo_store_result_verify(struct memo_store *s, const struct memo_result *r, struct memo_scrub *b,
			     struct memo_err *err)
{
	struct memo_err why = { 0 };
	int e;
	if (r->kind == MEMO_RESULT_EXTERNAL) {
		e = memo_store_result_present(s, r);
		return e < 0 ? memo_fail(err, -EBADMSG, "'%s' does not exist any more", r->path) : 0;
	}
	if (r->kind == MEMO_RESULT_DIRECTORY)
		e = examine_tree(s, r, true, b, &why);
	else
		e = examine_file(s, r, true, b);
	if (e == -ENOENT)
		return memo_fail(err, -EBADMSG, "its stored bytes are gone");
	if (e == -EBADMSG)
		return memo_fail(err, e, "its stored bytes are damaged: %s",
				 why.code != 0 ? why.text : "they do not match their hash");
	if (e < 0)
		return memo_fail(err, e, "its stored bytes cannot be read: %s",
				 why.code != 0 ? why.text : memo_strerror(e));
	return 0;
}

int memo_store_result_usable(struct memo_store *s, const struct memo_result *r, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = -1;
	if (r->kind == MEMO_RESULT_FILE)
		return memo_store_open_file(s, r, &fd, err);
	if (r->kind == MEMO_RESULT_EXTERNAL)
		return 0; /* the look-up has seen to it */
	struct memo_tree *t;
	int e = memo_store_open_tree(s, r, &t, err);
	if (e < 0)
		return e;
	for (uint32_t i = 0; e == 0 && i < memo_tree_count(t); i++) {
		const struct memo_tree_entry *x = memo_tree_entry(t, i);
		MEMO_AUTO_FD int file = -1;
		if (x->type == MEMO_ENTRY_FILE || x->type == MEMO_ENTRY_EXEC)
			e = memo_store_open_entry(s, r, x, &file, err);
	}
	memo_tree_unref(t);
	return e;
}
