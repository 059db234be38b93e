/* Putting objects into their place, and taking damaged ones out of it. */
#include "object.h"
#include "scrub.h"

#include "base/io.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* How often one that stands in the way and is wrong is moved aside. */
#define TRIES 3

static const char *suffix(enum memo_object_kind kind)
{
	return kind == MEMO_OBJECT_EXEC ? ".x" : kind == MEMO_OBJECT_DIR ? ".d" : "";
}

void memo_object_name(const struct memo_id *id, enum memo_object_kind kind, char out[MEMO_OBJECT_NAME])
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(id, hex);
	(void)snprintf(out, MEMO_OBJECT_NAME, "%.2s/%s%s", hex, hex, suffix(kind));
}

/* The directory that holds @id, made when there is none; its name is durable. */
static int shard(struct memo_store *s, const struct memo_id *id, int *fd_out)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, MEMO_OBJECT_FILE, name);
	name[2] = '\0';
	MEMO_AUTO_FD int fd = -1;
	int r = memo_io_open_dir(s->objects_fd, name, &fd);
	if (r == -ENOENT) {
		r = memo_io_mkdir(s->objects_fd, name, 0755);
		/* Whatever the umask says: who may come this far is decided above. */
		if (r == 0 && fchmodat(s->objects_fd, name, 0755, 0) < 0)
			r = memo_errno();
		if (r == 0)
			r = memo_io_open_dir(s->objects_fd, name, &fd);
	}
	if (r == 0 && !atomic_load(&s->object_shards[id->byte[0]])) {
		r = memo_io_sync_dir(s->objects_fd, ".");
		if (r == 0)
			atomic_store(&s->object_shards[id->byte[0]], true);
	}
	if (r == 0)
		*fd_out = memo_fd_steal(&fd);
	return r;
}

/* ---- quarantine ---------------------------------------------------------------------------------------- */

static const char *const why_text[] = {
	[MEMO_DAMAGED] = "damaged",
	[MEMO_UNREADABLE] = "unreadable",
	[MEMO_LEFTOVER] = "leftover",
};

/* "20260131T120000Z.7.damaged.<leaf>": sorts by time, says why and what. */
static void quarantine_name(struct memo_store *s, const char *leaf, enum memo_quarantine why, char *out,
			    size_t size)
{
	time_t now = (time_t)(memo_wall_ns() / MEMO_NS_PER_S);
	struct tm tm;
	char when[24];
	if (gmtime_r(&now, &tm) == NULL || strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm) == 0)
		(void)snprintf(when, sizeof when, "unknown");
	(void)snprintf(out, size, "%s.%llu.%s.%.128s", when, (unsigned long long)atomic_fetch_add(&s->counter, 1),
		       why_text[why], leaf);
}

int memo_quarantine_move(struct memo_store *s, int dirfd, const char *name, const char *leaf,
			 enum memo_quarantine why)
{
	char to[NAME_MAX + 1];
	int r;
	do {
		quarantine_name(s, leaf, why, to, sizeof to);
		r = renameat2(dirfd, name, s->quarantine_fd, to, RENAME_NOREPLACE) < 0 ? memo_errno() : 0;
		if (r == -EINVAL || r == -ENOSYS) /* a file system without that flag */
			r = renameat(dirfd, name, s->quarantine_fd, to) < 0 ? memo_errno() : 0;
	} while (r == -EEXIST);
	return r;
}

static void tell(struct memo_store *s, const char *name, const char *what)
{
	char text[MEMO_OBJECT_NAME + 160];
	if (s->alarm == NULL)
		return;
	(void)snprintf(text, sizeof text, "object '%s': %s", name, what);
	s->alarm(s->alarm_arg, text);
}

int memo_object_quarantine(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind,
			   enum memo_quarantine why)
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(id, kind, name);
	/* Who is not root needs to write a directory that gets another parent. */
	if (kind == MEMO_OBJECT_DIR)
		(void)fchmodat(s->objects_fd, name, 0755, 0);
	int r = memo_quarantine_move(s, s->objects_fd, name, name + 3, why);
	/* What is damaged must be out of the way by all means, or nothing can be written in its place. */
	if (r < 0 && r != -ENOENT && why == MEMO_DAMAGED)
		r = memo_io_remove_tree(s->objects_fd, name);
	memo_object_clear(s);
	if (r == 0 && why == MEMO_DAMAGED) {
		(void)atomic_fetch_add(&s->damaged, 1);
		tell(s, name, "is damaged; it was moved to quarantine, and is computed again when it is read");
	}
	return r;
}

/* Nothing about the object: this process or machine is short of something. */
static bool is_shortage(int code)
{
	return code == -ENOMEM || code == -EMFILE || code == -ENFILE || code == -ECANCELED;
}

int memo_object_judge(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind, uint64_t mark,
		      int code)
{
	char name[MEMO_OBJECT_NAME];
	if (code >= 0 || code == -ENOENT || is_shortage(code))
		return code;
	memo_object_name(id, kind, name);
	if (code == -EBADMSG) {
		if (memo_object_quarantine(s, id, kind, MEMO_DAMAGED) < 0)
			tell(s, name, "is damaged, and could not be moved to quarantine");
		return code;
	}
	if (memo_breaker_failed(&s->breaker, mark, memo_now_ns()) &&
	    memo_object_quarantine(s, id, kind, MEMO_UNREADABLE) == 0) {
		tell(s, name, "could not be read twice; it was moved to quarantine, and is computed again");
		return -EBADMSG;
	}
	char what[96];
	(void)snprintf(what, sizeof what, "cannot be read: %s; nothing was touched", memo_strerror(code));
	tell(s, name, what);
	return -EIO;
}

void memo_store_set_alarm(struct memo_store *s, memo_alarm_fn *fn, void *arg)
{
	s->alarm = fn;
	s->alarm_arg = arg;
}

void memo_store_health(struct memo_store *s, struct memo_health *out)
{
	*out = (struct memo_health){ .damaged = atomic_load(&s->damaged),
				     .read_errors = atomic_load(&s->breaker.errors),
				     .refused = atomic_load(&s->breaker.refused) };
}

/* ---- files --------------------------------------------------------------------------------------------- */

/* 0: a whole file of that size is there; -ENOENT; -EBADMSG: something else. */
static int look_file(int fd, const char *leaf, uint64_t size, bool exec)
{
	struct stat st;
	if (fstatat(fd, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	bool right = S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
		     (st.st_mode & 0777) == (exec ? 0555 : 0444);
	return right ? 0 : -EBADMSG;
}

/* link(2); where a file system has no links, a rename that replaces nothing. */
static int link_or_move(int dirfd, const char *name, int to, const char *leaf)
{
	if (linkat(dirfd, name, to, leaf, 0) == 0)
		return 0;
	int r = memo_errno();
	if (r != -EPERM && r != -EOPNOTSUPP && r != -EMLINK && r != -ENOSYS)
		return r;
	return renameat2(dirfd, name, to, leaf, RENAME_NOREPLACE) < 0 ? memo_errno() : 0;
}

static int place_file(struct memo_store *s, int dirfd, const char *name, int to, const struct memo_id *id,
		      bool exec, uint64_t size)
{
	enum memo_object_kind kind = exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE;
	char object[MEMO_OBJECT_NAME];
	memo_object_name(id, kind, object);
	const char *leaf = object + 3;
	int r = -EEXIST;
	for (int i = 0; i < TRIES && r == -EEXIST; i++) {
		r = link_or_move(dirfd, name, to, leaf);
		if (r == -ENOENT)
			return look_file(to, leaf, size, exec) == 0 ? 0 : -ENOENT;
		if (r != -EEXIST)
			break;
		int seen = look_file(to, leaf, size, exec);
		if (seen == 0)
			return 0;
		if (seen == -EBADMSG)
			(void)memo_object_quarantine(s, id, kind, MEMO_DAMAGED);
		else if (seen != -ENOENT)
			return seen;
	}
	return r;
}

int memo_object_link(struct memo_store *s, int dirfd, const char *name, const struct memo_id *id, bool exec,
		     uint64_t size, struct memo_err *err)
{
	MEMO_AUTO_FD int to = -1;
	int r = shard(s, id, &to);
	if (r == 0)
		r = place_file(s, dirfd, name, to, id, exec, size);
	/* Also when it was there already: its first writer may not have come this far. */
	if (r == 0 && fsync(to) < 0)
		r = memo_errno();
	if (r < 0) {
		char object[MEMO_OBJECT_NAME];
		memo_object_name(id, exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE, object);
		return memo_fail(err, r, "object '%s': cannot be stored: %s", object, memo_strerror(r));
	}
	return 0;
}

/* ---- trees ------------------------------------------------------------------------------------------ */

static int compare_content(int fd, const struct memo_tree_entry *e, struct memo_scrub *b)
{
	MEMO_AUTO_FD int file = openat(fd, e->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file < 0)
		return memo_errno();
	struct memo_id id;
	uint64_t size;
	int r = memo_scrub_hash(b, file, &id, &size);
	return r < 0 ? r : memo_id_equal(&id, &e->id) ? 0 : -EBADMSG;
}

static int compare_entry(int fd, const struct memo_tree_entry *e, bool deep, struct memo_scrub *b)
{
	struct stat st;
	if (fstatat(fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno() == -ENOENT ? -EBADMSG : memo_errno();
	switch (e->type) {
	case MEMO_ENTRY_DIR:
		return S_ISDIR(st.st_mode) ? 0 : -EBADMSG;
	case MEMO_ENTRY_LINK: {
		char target[PATH_MAX];
		ssize_t n = readlinkat(fd, e->name, target, sizeof target);
		return n == (ssize_t)strlen(e->target) && memcmp(target, e->target, (size_t)n) == 0 ? 0 : -EBADMSG;
	}
	case MEMO_ENTRY_FILE:
	case MEMO_ENTRY_EXEC:
		if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->size ||
		    (st.st_mode & 0777) != (e->type == MEMO_ENTRY_EXEC ? 0555 : 0444))
			return -EBADMSG;
		return deep ? compare_content(fd, e, b) : 0;
	}
	return -EBADMSG;
}

/* @b: may be NULL, see scrub.h. */
struct comparison {
	const struct memo_tree *t;
	bool deep;
	struct memo_scrub *b;
	struct memo_err *err;
};

/* A file that the listing does not have would be seen by tasks that read the tree where it lies. */
static int compare_count(int fd, uint32_t children)
{
	uint32_t n = 0;
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(fd, ".", &d);
	if (r < 0)
		return r;
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL)
			return errno != 0 ? memo_errno() : n == children ? 0 : -EBADMSG;
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	}
}

static int compare_dir(const struct comparison *c, int fd, uint32_t index, unsigned depth)
{
	const struct memo_tree_entry *dir = memo_tree_entry(c->t, index);
	int r = compare_count(fd, dir->children);
	if (r == -EBADMSG)
		return memo_fail(c->err, r, "directory '%s' does not have the entries of the listing", dir->path);
	if (r < 0)
		return memo_fail(c->err, r, "directory '%s' cannot be read: %s", dir->path, memo_strerror(r));
	for (uint32_t k = 0; k < dir->children && r == 0; k++) {
		uint32_t child = memo_tree_child(c->t, index, k);
		const struct memo_tree_entry *e = memo_tree_entry(c->t, child);
		r = compare_entry(fd, e, c->deep, c->b);
		if (r == -EBADMSG)
			return memo_fail(c->err, r, "'%s' is not what the listing says", e->path);
		if (r < 0)
			return memo_fail(c->err, r, "'%s' cannot be read: %s", e->path, memo_strerror(r));
		if (e->type != MEMO_ENTRY_DIR)
			continue;
		if (depth >= MEMO_TREE_DEPTH)
			return memo_fail(c->err, -EBADMSG, "'%s' lies too deep", e->path);
		MEMO_AUTO_FD int sub = -1;
		r = memo_io_open_dir(fd, e->name, &sub);
		if (r < 0)
			return memo_fail(c->err, r == -ENOTDIR || r == -ELOOP || r == -ENOENT ? -EBADMSG : r,
					 "'%s' cannot be opened: %s", e->path, memo_strerror(r));
		r = compare_dir(c, sub, child, depth + 1);
	}
	return r;
}

int memo_object_compare(int dirfd, const struct memo_tree *t, bool deep, struct memo_scrub *b, struct memo_err *err)
{
	struct comparison c = { .t = t, .deep = deep, .b = b, .err = err };
	return compare_dir(&c, dirfd, 0, 0);
}

/* The directory that is there already: 0 whole, -ENOENT, -EBADMSG. */
static int look_tree(int to, const char *leaf, const struct memo_tree *t)
{
	MEMO_AUTO_FD int fd = -1;
	int r = memo_io_open_dir(to, leaf, &fd);
	if (r == -ENOTDIR || r == -ELOOP)
		return -EBADMSG;
	return r < 0 ? r : memo_object_compare(fd, t, false, NULL, NULL);
}

static int move_dir(int dirfd, const char *name, int to, const char *leaf)
{
	MEMO_AUTO_FD int fd = -1;
	int r = memo_io_open_dir(dirfd, name, &fd);
	if (r < 0)
		return r;
	/* ".." changes, so that who is not root must be able to write it for a moment. */
	if (fchmod(fd, 0755) < 0)
		return memo_errno();
	if (renameat2(dirfd, name, to, leaf, RENAME_NOREPLACE) < 0)
		r = memo_errno();
	/* Without that flag: a directory replaces at most an empty one. */
	if (r == -EINVAL || r == -ENOSYS)
		r = renameat(dirfd, name, to, leaf) < 0 ? memo_errno() : 0;
	if (fchmod(fd, 0555) < 0 && r == 0)
		r = memo_errno();
	return r == -ENOTEMPTY ? -EEXIST : r;
}

static int place_tree(struct memo_store *s, int dirfd, const char *name, int to, const struct memo_tree *t)
{
	char object[MEMO_OBJECT_NAME];
	memo_object_name(memo_tree_id(t), MEMO_OBJECT_DIR, object);
	const char *leaf = object + 3;
	int r = -EEXIST;
	for (int i = 0; i < TRIES && r == -EEXIST; i++) {
		r = move_dir(dirfd, name, to, leaf);
		if (r == -ENOENT)
			return look_tree(to, leaf, t) == 0 ? 0 : -ENOENT;
		if (r != -EEXIST)
			break;
		int seen = look_tree(to, leaf, t);
		if (seen == 0)
			return 0;
		if (seen == -EBADMSG)
			(void)memo_object_quarantine(s, memo_tree_id(t), MEMO_OBJECT_DIR, MEMO_DAMAGED);
		else if (seen != -ENOENT)
			return seen;
	}
	return r;
}

/* The listing's own bytes, which the worker may not have synced. */
static int sync_file(int dirfd, const char *name)
{
	MEMO_AUTO_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return memo_errno() == -ENOENT ? 0 : memo_errno();
	if (fchmod(fd, 0444) < 0 || fsync(fd) < 0)
		return memo_errno();
	return 0;
}

int memo_object_link_tree(struct memo_store *s, int dirfd, const char *name, const char *listing,
			  const struct memo_tree *t, uint64_t listing_size, struct memo_err *err)
{
	const struct memo_id *id = memo_tree_id(t);
	MEMO_AUTO_FD int to = -1;
	int r = shard(s, id, &to);
	if (r == 0)
		r = place_tree(s, dirfd, name, to, t);
	if (r == 0 && fsync(to) < 0)
		r = memo_errno();
	if (r == 0)
		r = sync_file(dirfd, listing);
	if (r < 0) {
		char hex[MEMO_HEX_SIZE];
		return memo_fail(err, r, "object '%s.d': cannot be stored: %s", memo_id_hex(id, hex),
				 memo_strerror(r));
	}
	return memo_object_link(s, dirfd, listing, id, false, listing_size, err);
}

/* ---- bytes in memory --------------------------------------------------------------------------------- */

static int write_temp(struct memo_store *s, const char *name, const void *data, size_t len, bool exec)
{
	MEMO_AUTO_FD int fd = openat(s->staging_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return memo_errno();
	int r = memo_io_write_all(fd, data, len);
	if (r == 0 && (fchmod(fd, exec ? 0555 : 0444) < 0 || fsync(fd) < 0))
		r = memo_errno();
	return r;
}

int memo_object_put(struct memo_store *s, const void *data, size_t len, bool exec, struct memo_id *id_out,
		    struct memo_err *err)
{
	char name[96];
	(void)snprintf(name, sizeof name, "%s.put.%llu", s->boot,
		       (unsigned long long)atomic_fetch_add(&s->counter, 1));
	struct memo_id id;
	int r = memo_hash_bytes(data, len, &id);
	if (r == 0)
		r = write_temp(s, name, data, len, exec);
	if (r < 0)
		(void)memo_fail(err, r, "store '%s': cannot write an object: %s", s->dir, memo_strerror(r));
	else
		r = memo_object_link(s, s->staging_fd, name, &id, exec, len, err);
	(void)unlinkat(s->staging_fd, name, 0);
	if (r == 0)
		*id_out = id;
	return r;
}
