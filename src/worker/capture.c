/* Capture: from what the task left behind to the frozen output and its description.
 *
 * The process tree is gone; who may still hold something of it are processes elsewhere, to which a descriptor was passed.
 * So everything here goes by descriptors that were reached without following a link, a file goes to `output` by rename
 * and is frozen there (base/tree.h), and a directory's content moves into directories that were never the task's. Where
 * the output's name leads through a symbolic link inside the work directory it is copied; outside of it nothing is ever
 * taken. */
#include "worker.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/tree.h"
#include "core/canon.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_BYTES ((size_t)256 << 20)

static int output_error(struct memo_worker *w, int code, const char *what, const struct memo_err *err)
{
	return memo_worker_error(w, code, MEMO_EXIT_OUTPUT, "the output '%s' cannot be kept: %s", what,
				 err->code != 0 ? err->text : memo_strerror(code));
}

/* Checks work/<path>. Its real place relative to work/ in *@real_out (free() it), which is @path itself where no
 * symbolic link is on the way. */
static int find_output(struct memo_worker *w, const char *path, char **real_out)
{
	MEMO_AUTO_FREE char *full = memo_io_join(w->work_path, path);
	if (full == NULL)
		return memo_worker_fail(w, -ENOMEM, MEMO_EXIT_ERROR, "out of memory");
	MEMO_AUTO_FREE char *real = realpath(full, NULL);
	int r = real != NULL ? 0 : memo_errno();
	struct stat st;
	if (r == -ENOENT && fstatat(w->work, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return memo_worker_fail(w, r, MEMO_EXIT_OUTPUT,
					"the output '%s' is a symbolic link that leads nowhere", path);
	if (r == -ENOENT || r == -ENOTDIR)
		return memo_worker_fail(w, r, MEMO_EXIT_OUTPUT, "the task ended with status 0 but made no '%s'",
					path);
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_OUTPUT, "the output '%s' cannot be read: %s", path,
					 memo_strerror(r));
	size_t len = strlen(w->work_path);
	if (strncmp(real, w->work_path, len) != 0 || real[len] != '/')
		return memo_worker_fail(w, -EINVAL, MEMO_EXIT_OUTPUT,
					"the output '%s' is a symbolic link to '%s', outside the work directory; "
					"write the file itself there",
					path, real);
	*real_out = strdup(real + len + 1);
	return *real_out != NULL ? 0 : memo_worker_fail(w, -ENOMEM, MEMO_EXIT_ERROR, "out of memory");
}

static int wrong_kind(struct memo_worker *w, const char *path, const char *wanted)
{
	return memo_worker_fail(w, -EINVAL, MEMO_EXIT_OUTPUT, "the output '%s' is not %s, as the task file says",
				path, wanted);
}

/* Where a path below work/ lies, held by a descriptor. */
struct place {
	int fd; /* of the directory that holds it */
	const char *leaf; /* into the path */
	struct stat st; /* of the entry itself */
};

static void place_close(struct place *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
}

/* Part by part and without following a link: who swaps a part meanwhile gets -ELOOP or -ENOTDIR, not a file of ours. */
static int place_open(struct memo_worker *w, const char *real, struct place *out)
{
	char part[NAME_MAX + 1];
	MEMO_AUTO_FD int at = openat(w->work, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return memo_errno();
	for (const char *slash; (slash = strchr(real, '/')) != NULL; real = slash + 1) {
		size_t len = (size_t)(slash - real);
		if (len == 0)
			continue;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(part, real, len);
		part[len] = '\0';
		int next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return memo_errno();
		(void)close(at);
		at = next;
	}
	if (fstatat(at, real, &out->st, AT_SYMLINK_NOFOLLOW) < 0)
		return memo_errno();
	out->leaf = real;
	out->fd = memo_fd_steal(&at);
	return 0;
}

/* The file of a place, when it still is what was looked at. */
static int place_file(const struct place *p, int *fd_out)
{
	MEMO_AUTO_FD int fd = openat(p->fd, p->leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return memo_errno();
	if (st.st_dev != p->st.st_dev || st.st_ino != p->st.st_ino || !S_ISREG(st.st_mode))
		return -EAGAIN;
	*fd_out = memo_fd_steal(&fd);
	return 0;
}

/* A copy as `output`, with its x bits. */
static int copy_output(struct memo_worker *w, const struct place *p)
{
	MEMO_AUTO_FD int from = -1;
	int r = place_file(p, &from);
	if (r < 0)
		return r;
	mode_t mode = p->st.st_mode;
	MEMO_AUTO_FD int to = openat(w->dir, "output", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 || fchmod(to, (mode & 0111) != 0 ? 0700 : 0600) < 0)
		return memo_errno();
	return memo_io_copy(from, to);
}

/* A line for the log of the attempt (stderr), for what is strange and yet no failure. */
static void tell(struct memo_worker *w, const char *fmt, ...)
{
	va_list ap;
	MEMO_AUTO_FD int fd = openat(w->dir, "stderr", O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	va_start(ap, fmt);
	(void)vdprintf(fd, fmt, ap);
	va_end(ap);
}

static int describe_file(struct memo_worker *w, const char *what)
{
	struct memo_produced *p = &w->exit.produced;
	struct memo_frozen f;
	struct memo_err err = { 0 };
	int r = memo_tree_freeze_file(w->dir, "output", true, &f, &err);
	if (r < 0)
		return output_error(w, r, what, &err);
	if (f.written)
		tell(w,
		     "memofs: the output '%s' was still open for writing in a process outside the task; a copy of "
		     "it "
		     "was stored\n",
		     what);
	p->kind = MEMO_RESULT_FILE;
	p->blob = p->hash = f.id;
	p->size = f.size;
	p->exec = f.exec;
	if (f.exec)
		r = memo_attempt_exec_hash(&f.id, &p->hash);
	return r < 0 ? output_error(w, r, what, &err) : 0;
}

static int capture_stdout(struct memo_worker *w)
{
	struct memo_err none = { 0 };
	if (renameat(w->dir, "stdout", w->dir, "output") < 0)
		return output_error(w, memo_errno(), "stdout", &none);
	return describe_file(w, "stdout");
}

/* Another name for the same trouble: what is moved lies elsewhere. */
static int other_file_system(struct memo_worker *w, const char *path)
{
	return memo_worker_fail(
		w, -EXDEV, MEMO_EXIT_OUTPUT,
		"the output '%s' lies on another file system; write it into the work directory itself", path);
}

static int move_output(struct memo_worker *w, const struct place *p)
{
	if (renameat(p->fd, p->leaf, w->dir, "output") == 0)
		return 0;
	int r = memo_errno();
	if (r != -EPERM)
		return r;
	int entry = memo_io_unlock(p->fd, p->leaf), dir = memo_io_unlock(p->fd, ".");
	if (entry == 0 || dir == 0)
		r = renameat(p->fd, p->leaf, w->dir, "output") < 0 ? memo_errno() : 0;
	return r;
}

static int capture_file(struct memo_worker *w, const char *path)
{
	MEMO_AUTO_FREE char *real = NULL;
	struct memo_err none = { 0 };
	struct place p = { .fd = -1 };
	int r = find_output(w, path, &real);
	if (r < 0)
		return r;
	r = place_open(w, real, &p);
	if (r < 0)
		return output_error(w, r, path, &none);
	if (!S_ISREG(p.st.st_mode)) {
		r = wrong_kind(w, path, "a file");
	} else {
		r = strcmp(real, path) != 0 ? copy_output(w, &p) : move_output(w, &p);
		r = r == -EXDEV ? other_file_system(w, path) : r < 0 ? output_error(w, r, path, &none) : 0;
	}
	place_close(&p);
	return r < 0 ? r : describe_file(w, path);
}

/* The listing lies beside the tree, so that the store need not walk it again. */
static int describe_tree(struct memo_worker *w, const struct memo_tree *t, const char *path)
{
	struct memo_produced *p = &w->exit.produced;
	struct memo_err none = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_tree_text(t, &b);
	if (r == 0)
		r = memo_io_replace(w->dir, "output.tree", b.data, b.len, 0444, true);
	if (r < 0)
		return output_error(w, r, path, &none);
	p->kind = MEMO_RESULT_DIRECTORY;
	p->hash = *memo_tree_id(t);
	p->size = memo_tree_bytes(t);
	p->entries = memo_tree_count(t);
	if (memo_tree_written(t) > 0)
		tell(w,
		     "memofs: %u files of the output '%s' were still open for writing in a process outside the "
		     "task; "
		     "copies of them were stored\n",
		     memo_tree_written(t), path);
	return 0;
}

/* Into a directory of ours: see memo_tree_move(). */
static int move_directory(struct memo_worker *w, const struct place *p, int *fd_out, struct memo_err *err)
{
	MEMO_AUTO_FD int from = -1, to = -1;
	int r = 0;
	if ((p->st.st_mode & 0700) != 0700)
		r = memo_io_grant(p->fd, p->leaf, 0700);
	if (r == 0)
		r = memo_io_open_dir(p->fd, p->leaf, &from);
	if (r == 0 && mkdirat(w->dir, "output", 0700) < 0)
		r = memo_errno();
	if (r == 0)
		r = memo_io_open_dir(w->dir, "output", &to);
	if (r == 0)
		r = memo_tree_move(from, to, err);
	if (r == 0)
		*fd_out = memo_fd_steal(&to);
	return r;
}

static int capture_directory(struct memo_worker *w, const char *path)
{
	MEMO_AUTO_FREE char *real = NULL;
	MEMO_AUTO_FD int fd = -1;
	struct memo_err err = { 0 };
	struct place p = { .fd = -1 };
	struct memo_tree *t = NULL;
	int r = find_output(w, path, &real);
	if (r < 0)
		return r;
	r = place_open(w, real, &p);
	if (r < 0)
		return output_error(w, r, path, &err);
	if (!S_ISDIR(p.st.st_mode))
		r = wrong_kind(w, path, "a directory");
	else if (strcmp(real, path) != 0)
		r = memo_worker_fail(w, -EINVAL, MEMO_EXIT_OUTPUT,
				     "the output '%s' is a symbolic link to '%s'; write the directory itself there",
				     path, real);
	else if ((r = move_directory(w, &p, &fd, &err)) < 0)
		r = r == -EXDEV ? other_file_system(w, path) : output_error(w, r, path, &err);
	place_close(&p);
	if (r < 0)
		return r;
	r = memo_tree_scan(fd, MEMO_TREE_FREEZE | MEMO_TREE_SYNC, &t, &err);
	if (r < 0)
		return output_error(w, r, path, &err);
	r = describe_tree(w, t, path);
	memo_tree_unref(t);
	return r;
}

/* ---- json ---- */

static int not_json(struct memo_worker *w, int code, const char *what, const char *why)
{
	bool number = code == -ERANGE || strstr(why, "too big integer") != NULL;
	return memo_worker_fail(w, code, MEMO_EXIT_OUTPUT, "the output '%s' is not JSON that can be kept: %s%s",
				what, why, number ? "; print it as a string" : "");
}

static int canonicalise(struct memo_worker *w, const char *what, const struct memo_buf *text, struct memo_buf *out)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	struct memo_err err = { 0 };
	int r = memo_json_parse(memo_buf_str(text), text->len, &j, &err);
	if (r == 0)
		r = memo_canon_append(j, out, &err);
	if (r == -ENOMEM)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "out of memory for the output '%s'", what);
	return r < 0 ? not_json(w, r, what, err.code != 0 ? err.text : memo_strerror(r)) : 0;
}

/* The text of stdout, or of the file at @path. */
static int read_output(struct memo_worker *w, const char *path, size_t limit, struct memo_buf *text)
{
	MEMO_AUTO_FREE char *real = NULL;
	MEMO_AUTO_FD int fd = -1;
	struct memo_err none = { 0 };
	struct place p = { .fd = -1 };
	const char *what = path != NULL ? path : "stdout";
	int r = path != NULL ? find_output(w, path, &real) : 0;
	if (r < 0)
		return r;
	if (path != NULL) {
		r = place_open(w, real, &p);
	} else {
		p = (struct place){ .fd = fcntl(w->dir, F_DUPFD_CLOEXEC, 3), .leaf = "stdout" };
		r = p.fd < 0 || fstatat(p.fd, p.leaf, &p.st, AT_SYMLINK_NOFOLLOW) < 0 ? memo_errno() : 0;
	}
	if (r == 0 && !S_ISREG(p.st.st_mode))
		r = wrong_kind(w, what, "a file");
	else if (r < 0 || (r = place_file(&p, &fd)) < 0 || (r = memo_io_read_fd(fd, limit, text)) < 0)
		r = r == -EFBIG ? r : output_error(w, r, what, &none);
	place_close(&p);
	return r;
}

static int capture_json(struct memo_worker *w, const char *path)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 }, canon = { 0 };
	struct memo_err none = { 0 };
	const char *what = path != NULL ? path : "stdout";
	int r = read_output(w, path, JSON_BYTES, &text);
	if (r == -EFBIG)
		return output_error(w, r, what, &none);
	if (r < 0)
		return r;
	r = canonicalise(w, what, &text, &canon);
	if (r < 0)
		return r;
	r = memo_io_replace(w->dir, "output", memo_buf_str(&canon), canon.len, 0444, false);
	return r < 0 ? output_error(w, r, what, &none) : describe_file(w, what);
}

/* ---- external ---- */

/* The one path in @text, cut out in place. */
static int one_path(struct memo_worker *w, struct memo_buf *text)
{
	if (text->len > 0 && text->data[text->len - 1] == '\n')
		text->data[--text->len] = '\0';
	const char *path = memo_buf_str(text);
	if (path[0] != '/' || strlen(path) != text->len || strchr(path, '\n') != NULL || text->len >= PATH_MAX)
		return memo_worker_fail(
			w, -EINVAL, MEMO_EXIT_OUTPUT,
			"the task must print exactly one absolute path, and nothing else, to stdout");
	return 0;
}

static int external_tree(const char *path, struct memo_id *id_out, struct memo_err *err)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return memo_errno();
	if (!S_ISDIR(st.st_mode))
		return memo_tree_stat_id(AT_FDCWD, path, id_out);
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	struct memo_tree *t = NULL;
	int r = memo_tree_scan(fd, MEMO_TREE_STAT, &t, err);
	if (r == 0)
		*id_out = *memo_tree_id(t);
	memo_tree_unref(t);
	return r;
}

/* What lies in the attempt directory goes away with it. */
static bool is_inside(const char *path, const char *dir)
{
	MEMO_AUTO_FREE char *real = realpath(path, NULL);
	size_t len = strlen(dir);
	return real != NULL && strncmp(real, dir, len) == 0 && (real[len] == '/' || real[len] == '\0');
}

static int capture_external(struct memo_worker *w)
{
	struct memo_produced *p = &w->exit.produced;
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	struct memo_err err = { 0 };
	int r = read_output(w, NULL, PATH_MAX + 1, &text);
	if (r < 0 && r != -EFBIG)
		return r;
	if (r == -EFBIG)
		memo_buf_reset(&text);
	r = one_path(w, &text);
	if (r < 0)
		return r;
	if (is_inside(text.data, w->path))
		return memo_worker_fail(
			w, -EINVAL, MEMO_EXIT_OUTPUT,
			"the external result '%s' lies in the work directory, which is removed; write it elsewhere",
			text.data);
	struct memo_id tree;
	r = external_tree(text.data, &tree, &err);
	if (r == -ENOENT || r == -ENOTDIR)
		return memo_worker_fail(w, r, MEMO_EXIT_OUTPUT,
					"the task printed '%s', but there is nothing of that name", text.data);
	if (r < 0)
		return output_error(w, r, text.data, &err);
	p->kind = MEMO_RESULT_EXTERNAL;
	p->size = text.len;
	r = memo_attempt_external_hash(text.data, &tree, &p->hash);
	p->path = memo_buf_steal(&text);
	return r < 0 || p->path == NULL ? memo_worker_fail(w, -ENOMEM, MEMO_EXIT_ERROR, "out of memory") : 0;
}

int memo_worker_capture(struct memo_worker *w)
{
	const char *path = w->job.output_path;
	/* The task may have taken its own work directory from us. */
	struct stat st;
	if (fstat(w->work, &st) == 0 && (st.st_mode & 0700) != 0700)
		(void)fchmod(w->work, 0700);
	switch (w->job.output) {
	case MEMO_OUT_FILE:
		return path != NULL ? capture_file(w, path) : capture_stdout(w);
	case MEMO_OUT_DIRECTORY:
		return capture_directory(w, path);
	case MEMO_OUT_JSON:
		return capture_json(w, path);
	case MEMO_OUT_EXTERNAL:
		return capture_external(w);
	}
	return memo_worker_fail(w, -EINVAL, MEMO_EXIT_ERROR, "the type of the output is unknown");
}
