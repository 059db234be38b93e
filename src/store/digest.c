/* Digests of input files, remembered by path and stat.
 *
 * A file whose device, inode, size, mtime and ctime are those of the memo is not read again. That is only sound when a change
 * after the hashing must show in the stat ("settled"):
 * - A file that was changed within the grain of the file system's clock before the hashing began could be changed again
 *   without a trace (git calls it racily clean). That moment is waited for. The clock is the coarse one, which the kernel
 *   stamps files with; a time in the future is never old enough.
 * - A page that is dirty through a mapping can be written again without a fault, and so without a stamp. It is written
 *   back first, which makes the kernel ask again. A file system in memory never does: there a file that somebody has
 *   open for writing is not settled.
 * What is not settled is not remembered.
 * Nothing below the store's own mount is read: that would be a demand in disguise, and a thread waiting for itself.
 *
 * Each file is opened once, with the rights of whoever asks (base/who.h), and what is hashed is what was opened. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "base/who.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define TRIES 3
#define GRAIN_NS (20 * MEMO_NS_PER_MS)
#define TICK_NS (10 * MEMO_NS_PER_MS) /* at HZ 100 */
/* Where neither time has a part below the second, the file system may keep no better ones (FAT: two seconds). */
#define COARSE_GRAIN_NS (2 * MEMO_NS_PER_S)

static int64_t stamp_ns(const struct timespec *t)
{
	return (int64_t)t->tv_sec * MEMO_NS_PER_S + t->tv_nsec;
}

static struct memo_guard guard_of(const struct stat *st)
{
	return (struct memo_guard){ .dev = st->st_dev,
				    .ino = st->st_ino,
				    .size = (uint64_t)st->st_size,
				    .mtime_ns = stamp_ns(&st->st_mtim),
				    .ctime_ns = stamp_ns(&st->st_ctim) };
}

static bool same_guard(const struct memo_guard *a, const struct memo_guard *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

static int64_t coarse_now(void)
{
	struct timespec ts;
	return clock_gettime(CLOCK_REALTIME_COARSE, &ts) < 0 ? 0 : stamp_ns(&ts);
}

static int64_t grain_of(const struct memo_guard *g)
{
	bool coarse = g->mtime_ns % MEMO_NS_PER_S == 0 && g->ctime_ns % MEMO_NS_PER_S == 0;
	return coarse ? COARSE_GRAIN_NS : GRAIN_NS;
}

/* Whether a change after @now must show in the stat. */
static bool settled(const struct memo_guard *g, int64_t now)
{
	int64_t last = g->mtime_ns > g->ctime_ns ? g->mtime_ns : g->ctime_ns;
	return now - last >= grain_of(g);
}

/* Until a change must show, when that is soon. */
static void wait_settled(const struct memo_guard *g, int64_t now)
{
	int64_t last = g->mtime_ns > g->ctime_ns ? g->mtime_ns : g->ctime_ns;
	int64_t left = last + grain_of(g) - now;
	/* A fine stamp may lie a tick ahead of the coarse clock; what lies further ahead never settles soon. */
	if (left <= 0 || left > grain_of(g) + TICK_NS)
		return;
	left += TICK_NS; /* the coarse clock stands still for so long */
	(void)nanosleep(&(struct timespec){ .tv_sec = left / MEMO_NS_PER_S, .tv_nsec = left % MEMO_NS_PER_S },
			NULL);
}

/* Whether what is written through a mapping that exists now shows in the stat from now on. */
static bool mappings_show(int fd)
{
	struct statfs fs;
	/* A lease is granted only when nobody has it open for writing, so that there is no such mapping. */
	if (fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		(void)fcntl(fd, F_SETLEASE, F_UNLCK);
		return true;
	}
	if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
		return false;
	(void)fdatasync(fd); /* refused on a read-only file system, where nobody writes */
	return true;
}

/* ---- the memo ----------------------------------------------------------------------------------------- */

static size_t slot_of(const char *path)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++)
		h = (h ^ *p) * UINT64_C(0x100000001b3);
	return (size_t)((h ^ h >> 32) % MEMO_STORE_DIGESTS);
}

static bool cache_get(struct memo_store *s, const char *path, struct memo_digest *out)
{
	struct memo_digests *c = &s->digests;
	memo_mutex_lock(&c->mu);
	const struct memo_digest_slot *e = &c->slot[slot_of(path)];
	bool found = e->path != NULL && strcmp(e->path, path) == 0;
	if (found)
		*out = e->digest;
	memo_mutex_unlock(&c->mu);
	return found;
}

static void cache_put(struct memo_store *s, const char *path, const struct memo_digest *d)
{
	struct memo_digests *c = &s->digests;
	char *copy = strdup(path);
	if (copy == NULL)
		return;
	memo_mutex_lock(&c->mu);
	struct memo_digest_slot *e = &c->slot[slot_of(path)];
	free(e->path);
	*e = (struct memo_digest_slot){ .path = copy, .digest = *d };
	memo_mutex_unlock(&c->mu);
}

void memo_digests_clear(struct memo_store *s)
{
	memo_mutex_lock(&s->digests.mu);
	for (size_t i = 0; i < MEMO_STORE_DIGESTS; i++) {
		free(s->digests.slot[i].path);
		s->digests.slot[i].path = NULL;
	}
	memo_mutex_unlock(&s->digests.mu);
}

static int read_memo(struct memo_store *s, const char *path, struct memo_digest *out)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	int r = memo_manifest_get_json(s->manifest, MEMO_DIGESTS, path, strlen(path), &j, NULL);
	if (r < 0)
		return r;
	out->guard = (struct memo_guard){ .dev = (uint64_t)memo_json_int(j, "dev", 0),
					  .ino = (uint64_t)memo_json_int(j, "ino", 0),
					  .size = (uint64_t)memo_json_int(j, "size", 0),
					  .mtime_ns = memo_json_int(j, "mtime", 0),
					  .ctime_ns = memo_json_int(j, "ctime", 0) };
	out->size = out->guard.size;
	out->settled = true; /* what is not settled is not remembered */
	return memo_id_parse(memo_json_string(j, "sha256", ""), &out->id);
}

/* The memo's word on a file that looks like @g now. -EAGAIN: none. */
static int recall(struct memo_store *s, const char *path, const struct memo_guard *g, struct memo_digest *out)
{
	struct memo_digest d;
	if (cache_get(s, path, &d) && same_guard(&d.guard, g)) {
		*out = d;
		return 0;
	}
	if (read_memo(s, path, &d) < 0 || !same_guard(&d.guard, g))
		return -EAGAIN;
	cache_put(s, path, &d);
	*out = d;
	return 0;
}

/* A memo that cannot be written is only a file that will be read once more. */
static void remember(struct memo_store *s, const char *path, const struct memo_digest *d)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_JSON json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "dev", (json_int_t)d->guard.dev,
					     "ino", (json_int_t)d->guard.ino, "size", (json_int_t)d->guard.size,
					     "mtime", (json_int_t)d->guard.mtime_ns, "ctime",
					     (json_int_t)d->guard.ctime_ns, "sha256", memo_id_hex(&d->id, hex));
	memo_batch_put_json(&b, MEMO_DIGESTS, path, strlen(path), j);
	int r = memo_manifest_write(s->manifest, &b, false, NULL);
	if (r == 0)
		cache_put(s, path, d);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static bool below_mount(const struct memo_store *s, const char *path)
{
	if (s->mountpoint == NULL)
		return false;
	size_t len = strlen(s->mountpoint);
	return strncmp(path, s->mountpoint, len) == 0 && (path[len] == '\0' || path[len] == '/' || len == 1);
}

static int fail_mount(const char *path, struct memo_err *err)
{
	return memo_fail(err, -ELOOP,
			 "'%s': leads into this store's own mount; name the instance instead (/tasks/...)", path);
}

static int fail_open(const char *path, int r, struct memo_err *err)
{
	switch (r) {
	case -EXDEV:
		return fail_mount(path, err);
	case -EISDIR:
		return memo_fail(err, r, "'%s': is a directory, a file is wanted", path);
	case -ENOTDIR:
		return memo_fail(err, r, "'%s': is not a directory", path);
	case -EINVAL:
		return memo_fail(err, r, "'%s': is neither a file nor a directory", path);
	case -EPERM:
		return memo_fail(err, -EACCES, "'%s': files of /proc, /sys and /dev cannot be inputs; copy it",
				 path);
	case -EACCES:
		return memo_fail(err, r, "'%s': you may not read it", path);
	default:
		return memo_fail(err, r, "'%s': %s", path, memo_strerror(r));
	}
}

/* With the rights of @who, each time, also when the digest is known: what a memo tells is not for everyone. */
static int open_input(const struct memo_store *s, const char *path, bool directory, const struct memo_who *who,
		      int *fd_out, struct memo_err *err)
{
	if (path[0] != '/')
		return memo_fail(err, -EINVAL, "'%s': is not an absolute path", path);
	if (below_mount(s, path))
		return fail_mount(path, err);
	const struct memo_who_open o = { .directory = directory,
					 .has_dev = s->mountpoint != NULL,
					 .dev = s->mount_dev };
	int r = memo_who_open(who, path, &o, fd_out);
	return r < 0 ? fail_open(path, r, err) : 0;
}

/* ---- hashing ------------------------------------------------------------------------------------------- */

/* One try; -EAGAIN: it changed meanwhile. @settle: it is worth waiting for. */
static int hash_file(struct memo_store *s, const char *path, const struct memo_who *who, bool settle,
		     struct memo_digest *out, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = -1;
	int r = open_input(s, path, false, who, &fd, err);
	if (r < 0)
		return r;
	int64_t now = coarse_now();
	struct stat before;
	struct stat after;
	if (fstat(fd, &before) < 0)
		return memo_fail(err, memo_errno(), "'%s': cannot be examined", path);
	struct memo_digest d = { .guard = guard_of(&before) };
	if (recall(s, path, &d.guard, out) == 0)
		return 0;
	if (settle)
		wait_settled(&d.guard, now);
	now = coarse_now();
	bool show = mappings_show(fd);
	if (fstat(fd, &before) < 0)
		return memo_fail(err, memo_errno(), "'%s': cannot be examined", path);
	d.guard = guard_of(&before);
	r = memo_hash_fd(fd, &d.id, &d.size);
	if (r == 0 && fstat(fd, &after) < 0)
		r = memo_errno();
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot be read: %s", path, memo_strerror(r));
	struct memo_guard then = guard_of(&after);
	if (!same_guard(&d.guard, &then) || d.size != then.size)
		return memo_fail(err, -EAGAIN, "'%s': changes while it is read; try again when it is whole", path);
	d.settled = show && settled(&d.guard, now);
	if (d.settled)
		remember(s, path, &d);
	*out = d;
	return 0;
}

/* Every file in it is opened with the rights of @who. */
static int scan_as(int fd, const struct memo_who *who, struct memo_tree **out, struct memo_err *err)
{
	if (memo_who_assume(who) < 0)
		return memo_tree_scan_for(fd, MEMO_TREE_FOLLOW, who, out, err);
	int r = memo_tree_scan(fd, MEMO_TREE_FOLLOW, out, err);
	memo_who_resume(who);
	return r;
}

static int hash_directory(struct memo_store *s, const char *path, const struct memo_who *who,
			  struct memo_digest *out, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = -1;
	int r = open_input(s, path, true, who, &fd, err);
	if (r < 0)
		return r;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_fail(err, memo_errno(), "'%s': cannot be examined", path);
	struct memo_tree *t;
	r = scan_as(fd, who, &t, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "'%s'", path);
	*out = (struct memo_digest){ .id = *memo_tree_id(t), .guard = guard_of(&st), .size = memo_tree_bytes(t) };
	memo_tree_unref(t);
	return 0;
}

int memo_store_digest(struct memo_store *s, const char *path, bool directory, const struct memo_who *who,
		      struct memo_digest *out, struct memo_err *err)
{
	int r = -EAGAIN;
	/* What is replaced more often than the clock's grain never settles: after the first try it is taken as it is. */
	for (int i = 0; i < TRIES && r == -EAGAIN; i++)
		r = directory ? hash_directory(s, path, who, out, err) : hash_file(s, path, who, i == 0, out, err);
	return r;
}

int memo_store_may_read(struct memo_store *s, const char *path, bool directory, const struct memo_who *who,
			struct memo_err *err)
{
	MEMO_AUTO_FD int fd = -1;
	return open_input(s, path, directory, who, &fd, err);
}

int memo_store_digest_known(struct memo_store *s, const char *path, bool directory, const struct memo_who *who,
			    struct memo_digest *out)
{
	MEMO_AUTO_FD int fd = -1;
	int r = open_input(s, path, directory, who, &fd, NULL);
	if (r < 0)
		return r;
	struct stat st;
	if (directory)
		return -EAGAIN;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	struct memo_guard g = guard_of(&st);
	return recall(s, path, &g, out);
}
