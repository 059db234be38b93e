/* Copies a result out of the store: to stdout, to a file, or a whole tree. The store's modes (0444, 0555) become those that
 * the user's umask gives, so that what was copied can be changed and removed. A file appears under its name when it
 * is whole. */
#include "cli.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK ((size_t)256 << 10)
#define DEPTH 256
#define LINK_BYTES 4096

static int trouble(const char *path, int r)
{
	cli_say("%s: %s", path, memo_strerror(r));
	return CLI_TROUBLE;
}

int cli_copy_out(const char *path)
{
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return trouble(path, memo_errno());
	MEMO_AUTO_FREE char *chunk = malloc(CHUNK);
	if (chunk == NULL)
		return cli_nomem();
	for (;;) {
		size_t got = 0;
		int r = memo_io_read_full(fd, chunk, CHUNK, &got);
		if (r < 0)
			return trouble(path, r);
		int s = got > 0 ? cli_write_bytes(chunk, got) : CLI_DONE;
		if (s != CLI_DONE || got < CHUNK || cli_pipe_closed())
			return s;
	}
}

/* One file, into a new one. */
static int copy_bytes(int from_dir, const char *from, int to_dir, const char *to, const char *shown)
{
	MEMO_AUTO_FD int in = openat(from_dir, from, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (in < 0 || fstat(in, &st) < 0)
		return trouble(shown, memo_errno());
	MEMO_AUTO_FD int out =
		openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (st.st_mode & 0111) != 0 ? 0777 : 0666);
	if (out < 0)
		return trouble(shown, memo_errno());
	int r = memo_io_copy(in, out);
	return r < 0 ? trouble(shown, r) : CLI_DONE;
}

static int copy_dir(int from_dir, const char *from, int to_dir, const char *shown, int depth);

static int copy_link(int from_dir, const char *name, int to_dir, const char *shown)
{
	char target[LINK_BYTES];
	ssize_t n = readlinkat(from_dir, name, target, sizeof target - 1);
	if (n < 0)
		return trouble(shown, memo_errno());
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? trouble(shown, memo_errno()) : CLI_DONE;
}

static int copy_entry(int from_dir, const char *name, int to_dir, const char *dir, int depth)
{
	MEMO_AUTO_FREE char *shown = memo_io_join(dir, name);
	struct stat st;
	if (shown == NULL)
		return cli_nomem();
	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return trouble(shown, memo_errno());
	if (S_ISLNK(st.st_mode))
		return copy_link(from_dir, name, to_dir, shown);
	if (!S_ISDIR(st.st_mode))
		return copy_bytes(from_dir, name, to_dir, name, shown);
	if (mkdirat(to_dir, name, 0777) < 0)
		return trouble(shown, memo_errno());
	MEMO_AUTO_FD int sub = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return sub < 0 ? trouble(shown, memo_errno()) : copy_dir(from_dir, name, sub, shown, depth + 1);
}

static int copy_dir(int from_dir, const char *from, int to_dir, const char *shown, int depth)
{
	if (depth > DEPTH)
		return trouble(shown, -ELOOP);
	int fd = openat(from_dir, from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return trouble(shown, memo_errno());
	MEMO_AUTO_DIR DIR *d = fdopendir(fd);
	if (d == NULL) {
		int r = memo_errno();
		(void)close(fd);
		return trouble(shown, r);
	}
	int s = CLI_DONE;
	while (s == CLI_DONE && !cli_pipe_closed()) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL)
			return errno != 0 ? trouble(shown, memo_errno()) : s;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			s = copy_entry(fd, e->d_name, to_dir, shown, depth);
	}
	return s;
}

static int copy_tree(const char *path, const char *dest)
{
	/* an empty directory may be there; nothing is ever mixed with what a directory holds already */
	if (mkdir(dest, 0777) < 0) {
		int r = memo_errno();
		bool replaceable = r == -EEXIST && rmdir(dest) == 0 && mkdir(dest, 0777) == 0;
		if (!replaceable && r == -EEXIST) {
			cli_say("%s: is there already; name a directory that does not exist, or is empty", dest);
			return CLI_USAGE;
		}
		if (!replaceable)
			return trouble(dest, r);
	}
	MEMO_AUTO_FD int to = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return to < 0 ? trouble(dest, memo_errno()) : copy_dir(AT_FDCWD, path, to, dest, 0);
}

static int copy_file(const char *path, const char *dest)
{
	struct stat st;
	if (stat(dest, &st) == 0 && S_ISDIR(st.st_mode)) {
		cli_say("%s: is a directory, and the result is a file; name a file", dest);
		return CLI_USAGE;
	}
	MEMO_AUTO_BUF struct memo_buf tmp = { 0 };
	(void)memo_buf_printf(&tmp, "%s.memofs-%ld", dest, (long)getpid());
	if (memo_buf_error(&tmp) < 0)
		return cli_nomem();
	int s = copy_bytes(AT_FDCWD, path, AT_FDCWD, memo_buf_str(&tmp), dest);
	if (s == CLI_DONE && rename(memo_buf_str(&tmp), dest) < 0)
		s = trouble(dest, memo_errno());
	if (s != CLI_DONE)
		(void)unlink(memo_buf_str(&tmp));
	return s;
}

int cli_copy(const char *path, const char *dest)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return trouble(path, memo_errno());
	return S_ISDIR(st.st_mode) ? copy_tree(path, dest) : copy_file(path, dest);
}
