/* Tree, moving one into directories that nobody else knows.
 *
 * A directory that a task made may be held open by a process elsewhere, which could go on making and replacing names in
 * it whatever its mode says (as root, or as the same user). Nothing grants a lease on a directory; but one that we make
 * ourselves, and fill by rename, has never been anybody's. */
#include "tree_build.h"

#include "io.h"
#include "scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct move {
	dev_t dev;
	uint32_t entries;
	struct memo_buf path; /* of the directory that is being moved, for messages */
	struct memo_err *err;
};

static int fail(struct move *m, const char *name, int r)
{
	const char *dir = memo_buf_str(&m->path), *slash = m->path.len > 0 ? "/" : "";
	if (r == -ENOENT)
		return memo_fail(m->err, -EAGAIN, "'%s%s%s' changed while the directory was read", dir, slash,
				 name);
	if (r == -EXDEV)
		return memo_fail(m->err, -EINVAL, "'%s%s%s' is another file system; write into the output itself",
				 dir, slash, name);
	if (r == -E2BIG)
		return memo_fail(m->err, r, "'%s%s%s' exceeds what one tree may hold (%u entries, %u levels)", dir,
				 slash, name, MEMO_TREE_ENTRIES, MEMO_TREE_DEPTH);
	return memo_fail(m->err, r, "'%s%s%s': cannot be moved: %s", dir, slash, name, memo_strerror(r));
}

static int move_entries(struct move *m, int from, int to, unsigned depth);

static int move_dir(struct move *m, int from, int to, const char *name, unsigned depth)
{
	MEMO_AUTO_FD int old = -1, fresh = -1;
	struct stat st;
	int r = memo_io_grant(from, name, 0700);
	if (r == -EPERM && (r = memo_io_unlock(from, name)) == 0)
		r = memo_io_grant(from, name, 0700);
	if (r == 0)
		r = memo_io_open_dir(from, name, &old);
	if (r == 0 && fstat(old, &st) < 0)
		r = memo_errno();
	if (r == 0 && st.st_dev != m->dev)
		r = -EXDEV;
	if (r == 0 && depth >= MEMO_TREE_DEPTH)
		r = -E2BIG;
	if (r == 0 && mkdirat(to, name, 0700) < 0)
		r = memo_errno();
	if (r == 0)
		r = memo_io_open_dir(to, name, &fresh);
	if (r < 0)
		return fail(m, name, r);
	size_t len = m->path.len;
	if (len > 0)
		(void)memo_buf_putc(&m->path, '/');
	if (memo_buf_puts(&m->path, name) < 0)
		return fail(m, name, -ENOMEM);
	r = move_entries(m, old, fresh, depth + 1);
	m->path.len = len;
	m->path.data[len] = '\0';
	return r;
}

static int move_name(struct move *m, int from, int to, const char *name)
{
	int r = renameat(from, name, to, name) < 0 ? memo_errno() : 0;
	if (r == -EPERM) {
		/* The entry may not be changed, or its directory, or both. */
		int entry = memo_io_unlock(from, name), dir = memo_io_unlock(from, ".");
		if (entry == 0 || dir == 0)
			r = renameat(from, name, to, name) < 0 ? memo_errno() : 0;
	}
	return r < 0 ? fail(m, name, r) : 0;
}

/* The type that readdir tells is believed for what is only renamed: a directory that came in between is not allowed to
 * replace anything, and the walk that follows looks at all of it again. */
static int move_entries(struct move *m, int from, int to, unsigned depth)
{
	struct memo_names n = { 0 };
	int r = memo_names_read(from, &n);
	if (r < 0)
		r = fail(m, ".", r);
	for (size_t i = 0; r == 0 && i < n.count; i++) {
		const char *name = n.name[i] + 1;
		bool directory = n.name[i][0] == DT_DIR;
		struct stat st;
		if (++m->entries > MEMO_TREE_ENTRIES)
			r = fail(m, name, -E2BIG);
		if (r == 0 && n.name[i][0] == DT_UNKNOWN) {
			r = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? fail(m, name, memo_errno()) : 0;
			directory = r == 0 && S_ISDIR(st.st_mode);
		}
		if (r == 0)
			r = directory ? move_dir(m, from, to, name, depth) : move_name(m, from, to, name);
	}
	memo_names_clear(&n);
	return r;
}

int memo_tree_move(int from, int to, struct memo_err *err)
{
	struct stat st, target;
	if (fstat(from, &st) < 0 || fstat(to, &target) < 0)
		return memo_fail(err, memo_errno(), "the directory cannot be read");
	if (st.st_dev != target.st_dev)
		return memo_fail(err, -EINVAL,
				 "the directory is another file system; write into the work directory");
	struct move m = { .dev = st.st_dev, .err = err };
	int r = move_entries(&m, from, to, 0);
	memo_buf_clear(&m.path);
	return r;
}
