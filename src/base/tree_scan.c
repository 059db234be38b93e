/* Tree by walking a directory: descriptors only, so that a name which is swapped for a link leads nowhere else.
 *
 * One directory at a time is read whole, sorted, closed, and then entered; what is open at any moment is one
 * descriptor a level. Names that we did not make are data: their types are looked at before they are opened. */
#include "tree.h"

#include "io.h"
#include "scope.h"
#include "tree_build.h"
#include "who.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	dev_t dev;
	ino_t ino;
};

struct scan {
	struct memo_tree *t;
	unsigned flags;
	dev_t dev; /* of the root */
	const struct memo_who *who; /* whose permission bits decide; NULL: the kernel alone */
	struct memo_freeze freeze;
	struct memo_hash *trace; /* of memo_tree_trace(); else NULL */
	int64_t newest_ns;
	struct memo_err *err;
	struct place above[MEMO_TREE_DEPTH + 1]; /* the directories that we are in, for loops of links */
};

/* An entry that is being looked at: @name in the open directory @fd, which is entry @dir. */
struct spot {
	int fd;
	uint32_t dir;
	const char *name;
	unsigned char type; /* DT_ of readdir */
};

/* The path of a spot for messages; cut rather than failed when it is long. */
static const char *label(const struct scan *s, const struct spot *at, char out[512])
{
	const char *dir = memo_tree_entry(s->t, at->dir)->path;
	(void)snprintf(out, 512, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", at->name);
	return out;
}

static int fail_at(const struct scan *s, const struct spot *at, int r)
{
	char text[512];
	(void)label(s, at, text);
	if (r == -E2BIG)
		return memo_fail(s->err, r,
				 "'%s' exceeds what one tree may hold (%u entries, %u levels, names of %u bytes, "
				 "2^63 bytes)",
				 text, MEMO_TREE_ENTRIES, MEMO_TREE_DEPTH, MEMO_TREE_NAME_BYTES);
	if (r == -ENOENT || r == -EAGAIN)
		return memo_fail(s->err, -EAGAIN, "'%s' changed while the directory was read", text);
	return memo_fail(s->err, r, "'%s': cannot read: %s", text, memo_strerror(r));
}

/* A link of an output may only lead to a place in the same tree, told by its text. @depth: of the link's directory. */
static bool stays_inside(const char *target, size_t depth)
{
	if (target[0] == '/')
		return false;
	while (*target != '\0') {
		size_t len = strcspn(target, "/");
		if (len == 2 && memcmp(target, "..", 2) == 0) {
			if (depth == 0)
				return false;
			depth--;
		} else if (len > 0 && !(len == 1 && target[0] == '.')) {
			depth++;
		}
		target += len;
		target += *target == '/';
	}
	return true;
}

static int add_link(struct scan *s, const struct spot *at, unsigned depth)
{
	char target[MEMO_TREE_TARGET_BYTES + 2], text[512];
	ssize_t n = readlinkat(at->fd, at->name, target, sizeof target - 1);
	if (n < 0)
		return fail_at(s, at, memo_errno());
	if ((size_t)n > MEMO_TREE_TARGET_BYTES)
		return fail_at(s, at, -E2BIG);
	target[n] = '\0';
	if (n == 0)
		return memo_fail(s->err, -EINVAL, "'%s' is a symbolic link to nothing", label(s, at, text));
	if ((s->flags & MEMO_TREE_FREEZE) != 0 && !stays_inside(target, depth))
		return memo_fail(s->err, -EINVAL,
				 "'%s' is a symbolic link to '%.300s', outside the output; copy the file instead, "
				 "or make a relative link",
				 label(s, at, text), target);
	struct memo_tree_entry *e;
	int r = memo_tree_build_add(s->t, at->dir, MEMO_ENTRY_LINK, at->name, target, &e);
	return r < 0 ? fail_at(s, at, r) : 0;
}

/* Instead of the content's hash: what can be seen without reading it. */
static int stat_id(const struct stat *st, struct memo_id *id_out)
{
	char text[96];
	int n = snprintf(text, sizeof text, "memofs-stat 1\n%lld %lld.%09ld\n", (long long)st->st_size,
			 (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	return memo_hash_bytes(text, (size_t)n, id_out);
}

int memo_tree_stat_id(int dirfd, const char *path, struct memo_id *id_out)
{
	struct stat st;
	if (fstatat(dirfd, path, &st, 0) < 0)
		return memo_errno();
	return S_ISREG(st.st_mode) ? stat_id(&st, id_out) : -EINVAL;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* What links lead to outside may be a file of /proc, which says something about this process; and with rights that are not
 * taken on by the thread, nothing is read that these do not allow. */
static int check_opened(const struct scan *s, int fd, const struct stat *st, unsigned want)
{
	if ((s->flags & MEMO_TREE_FOLLOW) != 0 && st->st_dev != s->dev && memo_who_is_unreal(fd))
		return -EINVAL;
	return s->who != NULL ? memo_who_look(s->who, fd, want) : 0;
}

/* A file that belongs to somebody else: only read. */
static int hash_file(const struct scan *s, const struct spot *at, struct memo_frozen *out)
{
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	if ((s->flags & MEMO_TREE_FOLLOW) == 0 || s->who != NULL)
		flags |= O_NOFOLLOW;
	MEMO_AUTO_FD int fd = openat(at->fd, at->name, flags);
	struct stat before, after;
	if (fd < 0 || fstat(fd, &before) < 0)
		return memo_errno();
	if (!S_ISREG(before.st_mode))
		return -EAGAIN;
	int r = check_opened(s, fd, &before, 4);
	if (r == 0)
		r = memo_hash_fd(fd, &out->id, &out->size);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return memo_errno();
	out->exec = (after.st_mode & 0111) != 0;
	return same_file(&before, &after) && out->size == (uint64_t)after.st_size ? 0 : -EAGAIN;
}

static int64_t nanoseconds(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int trace_stat(struct scan *s, const struct stat *st)
{
	const int64_t mtime = nanoseconds(st->st_mtim), ctime = nanoseconds(st->st_ctim);
	const uint64_t seen[] = { st->st_dev,	   st->st_ino,
				  st->st_mode,	   S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
				  (uint64_t)mtime, (uint64_t)ctime };
	if (mtime > s->newest_ns)
		s->newest_ns = mtime;
	if (ctime > s->newest_ns)
		s->newest_ns = ctime;
	return memo_hash_update(s->trace, seen, sizeof seen);
}

/* The name, the entry itself, and what it leads to. */
static int trace_entry(struct scan *s, const struct spot *at, const struct stat *target)
{
	struct stat self;
	int r = memo_hash_update(s->trace, at->name, strlen(at->name) + 1);
	if (r == 0 && fstatat(at->fd, at->name, &self, AT_SYMLINK_NOFOLLOW) < 0)
		r = memo_errno();
	if (r == 0)
		r = trace_stat(s, &self);
	return r == 0 && S_ISLNK(self.st_mode) ? trace_stat(s, target) : r;
}

static int add_file(struct scan *s, const struct spot *at, const struct stat *st)
{
	struct memo_frozen f = { .size = (uint64_t)st->st_size, .exec = (st->st_mode & 0111) != 0 };
	char text[512];
	if ((s->flags & MEMO_TREE_STAT) != 0) {
		int r = stat_id(st, &f.id);
		if (r < 0)
			return fail_at(s, at, r);
	} else if ((s->flags & MEMO_TREE_FREEZE) != 0) {
		int r = memo_tree_freeze_at(at->fd, at->name, label(s, at, text), &s->freeze, &f, s->err);
		if (r < 0)
			return r;
		if (f.written)
			memo_tree_build_written(s->t);
	} else {
		int r = hash_file(s, at, &f);
		if (r < 0)
			return fail_at(s, at, r);
	}
	struct memo_tree_entry *e;
	int r = memo_tree_build_add(s->t, at->dir, f.exec ? MEMO_ENTRY_EXEC : MEMO_ENTRY_FILE, at->name, NULL, &e);
	if (r == 0) {
		e->id = f.id;
		e->size = f.size;
		r = memo_tree_build_count(s->t, f.size);
	}
	return r < 0 ? fail_at(s, at, r) : 0;
}

static int scan_dir(struct scan *s, int fd, uint32_t dir, unsigned depth);

/* Opens the directory; one of a frozen tree is made accessible first, whatever the task left. */
static int open_inside(const struct scan *s, const struct spot *at, const struct stat *st, int *fd_out)
{
	if ((s->flags & MEMO_TREE_FREEZE) != 0 && (st->st_mode & 0700) != 0700) {
		int r = memo_io_grant(at->fd, at->name, 0700);
		if (r < 0)
			return r;
	}
	if ((s->flags & MEMO_TREE_FOLLOW) == 0 || s->who != NULL)
		return memo_io_open_dir(at->fd, at->name, fd_out);
	int fd = openat(at->fd, at->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

static int add_dir(struct scan *s, const struct spot *at, const struct stat *st, unsigned depth)
{
	MEMO_AUTO_FD int fd = -1;
	char text[512];
	int r = open_inside(s, at, st, &fd);
	struct memo_tree_entry *e;
	uint32_t index = memo_tree_count(s->t);
	if (r == 0)
		r = memo_tree_build_add(s->t, at->dir, MEMO_ENTRY_DIR, at->name, NULL, &e);
	struct stat in;
	if (r == 0 && fstat(fd, &in) < 0)
		r = memo_errno();
	if (r == 0)
		r = check_opened(s, fd, &in, 5);
	if (r < 0)
		return fail_at(s, at, r);
	if ((s->flags & MEMO_TREE_FREEZE) != 0 && in.st_dev != s->dev)
		return memo_fail(s->err, -EINVAL, "'%s' is another file system; write into the output itself",
				 label(s, at, text));
	for (unsigned i = 0; i < depth; i++) {
		if (s->above[i].dev == in.st_dev && s->above[i].ino == in.st_ino)
			return memo_fail(s->err, -EINVAL, "'%s' is a symbolic link to a directory that it lies in",
					 label(s, at, text));
	}
	s->above[depth] = (struct place){ in.st_dev, in.st_ino };
	return scan_dir(s, fd, index, depth);
}

/* @depth: of the directory that the entry lies in, 0 for the root. */
static int scan_entry(struct scan *s, const struct spot *at, unsigned depth)
{
	char text[512];
	struct stat st;
	if (depth >= MEMO_TREE_DEPTH)
		return fail_at(s, at, -E2BIG);
	/* where it leads is a way of its own, which nobody has looked at */
	if (at->type != DT_REG && at->type != DT_DIR && s->who != NULL) {
		if (fstatat(at->fd, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISLNK(st.st_mode))
			return fail_at(s, at, -EACCES);
	}
	if (at->type == DT_LNK && (s->flags & MEMO_TREE_FOLLOW) == 0)
		return add_link(s, at, depth);
	if (at->type == DT_REG && (s->flags & MEMO_TREE_STAT) == 0) {
		st = (struct stat){ .st_mode = S_IFREG }; /* opening it tells the rest */
		return add_file(s, at, &st);
	}
	int follow = (s->flags & MEMO_TREE_FOLLOW) != 0 ? 0 : AT_SYMLINK_NOFOLLOW;
	int r = fstatat(at->fd, at->name, &st, follow) < 0 ? memo_errno() : 0;
	if ((r == -ENOENT || r == -ELOOP) && follow == 0)
		r = fstatat(at->fd, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? memo_errno() : 0;
	if (r == 0 && s->trace != NULL)
		r = trace_entry(s, at, &st);
	if (r < 0)
		return fail_at(s, at, r);
	if (S_ISLNK(st.st_mode))
		return add_link(s, at, depth);
	if (S_ISREG(st.st_mode))
		return add_file(s, at, &st);
	if (S_ISDIR(st.st_mode))
		return add_dir(s, at, &st, depth + 1);
	return memo_fail(s->err, -EINVAL, "'%s' is %s; only files, directories and symbolic links are allowed",
			 label(s, at, text), memo_tree_kind(st.st_mode));
}

static int scan_dir(struct scan *s, int fd, uint32_t dir, unsigned depth)
{
	struct memo_names n = { 0 };
	const struct spot here = { .fd = fd, .dir = dir, .name = "." };
	int r = memo_names_read(fd, &n);
	if (r < 0)
		r = fail_at(s, &here, r);
	for (size_t i = 0; r == 0 && i < n.count; i++) {
		const struct spot at = {
			.fd = fd, .dir = dir, .name = n.name[i] + 1, .type = (unsigned char)n.name[i][0]
		};
		r = scan_entry(s, &at, depth);
	}
	memo_names_clear(&n);
	if (r < 0)
		return r;
	/* Last, because a copy of a file needs to write into its directory. */
	if ((s->flags & MEMO_TREE_FREEZE) != 0 && fchmod(fd, 0555) < 0)
		return fail_at(s, &here, memo_errno());
	return 0;
}

/* What one link's text cannot show: that it leads out by way of another. */
static int check_links(const struct scan *s)
{
	uint32_t bad = memo_tree_escape(s->t);
	if (bad == 0)
		return 0;
	const struct memo_tree_entry *e = memo_tree_entry(s->t, bad);
	return memo_fail(
		s->err, -EINVAL,
		"'%.300s' is a symbolic link to '%.300s', which leads out of the output by way of another link; "
		"copy the file instead",
		e->path, e->target);
}

int memo_tree_scan(int dirfd, unsigned flags, struct memo_tree **out, struct memo_err *err)
{
	return memo_tree_scan_for(dirfd, flags, NULL, out, err);
}

int memo_tree_scan_for(int dirfd, unsigned flags, const struct memo_who *who, struct memo_tree **out,
		       struct memo_err *err)
{
	if ((flags & MEMO_TREE_FREEZE) != 0 && (flags & (MEMO_TREE_FOLLOW | MEMO_TREE_STAT)) != 0)
		return memo_fail(err, -EINVAL, "a tree cannot be frozen and followed or only looked at");
	struct stat st;
	if (fstat(dirfd, &st) < 0)
		return memo_fail(err, memo_errno(), "the directory cannot be read: %s", memo_strerror(errno));
	if ((flags & MEMO_TREE_FREEZE) != 0 && (st.st_mode & 0700) != 0700 && fchmod(dirfd, 0700) < 0)
		return memo_fail(err, memo_errno(), "the directory cannot be frozen: %s", memo_strerror(errno));
	struct scan s = {
		.t = memo_tree_build_new(),
		.flags = flags,
		.dev = st.st_dev,
		.who = who,
		.freeze = { .one_dev = true, .dev = st.st_dev },
		.err = err,
	};
	if (s.t == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a tree");
	s.above[0] = (struct place){ st.st_dev, st.st_ino };
	int r = scan_dir(&s, dirfd, 0, 0);
	if (r == 0) {
		r = memo_tree_build_seal(s.t, true);
		if (r < 0)
			r = memo_fail(err, r,
				      r == -E2BIG ? "the listing of the tree is too long"
						  : "out of memory for a tree");
	}
	if (r == 0 && (flags & MEMO_TREE_FREEZE) != 0)
		r = check_links(&s);
	if (r == 0 && (flags & MEMO_TREE_SYNC) != 0)
		r = memo_tree_sync(dirfd, s.t, err);
	if (r < 0)
		memo_tree_unref(s.t);
	else
		*out = s.t;
	return r;
}

int memo_tree_trace(int dirfd, struct memo_tree_trace *out)
{
	struct scan s = { .t = memo_tree_build_new(),
			  .flags = MEMO_TREE_FOLLOW | MEMO_TREE_STAT,
			  .trace = memo_hash_new() };
	struct stat st;
	int r = s.t == NULL || s.trace == NULL ? -ENOMEM : fstat(dirfd, &st) < 0 ? memo_errno() : 0;
	if (r == 0) {
		s.dev = st.st_dev;
		s.above[0] = (struct place){ st.st_dev, st.st_ino };
		r = trace_stat(&s, &st);
	}
	if (r == 0)
		r = scan_dir(&s, dirfd, 0, 0);
	struct memo_id id;
	if (r == 0)
		r = memo_hash_final(s.trace, &id);
	if (r == 0)
		*out = (struct memo_tree_trace){ .id = id, .newest_ns = s.newest_ns };
	memo_hash_free(s.trace);
	memo_tree_unref(s.t);
	return r;
}
