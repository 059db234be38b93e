/* Attempt directories in staging, and the logs that stay of them.
 *
 * What is in staging when a store is opened belongs to an owner that is gone. Whoever still works there (a worker that has not
 * noticed yet, or what a task left) is ended first: no output is taken while somebody may write to it. Then all goes but
 * the attempts that were finished and only not recorded: the runner takes those up (memo_store_attempts_left). */
#include "internal.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_NAME 96

/* The part of @attempt below staging, or NULL: a path from elsewhere is nothing to remove or to take from. */
static const char *staged(const struct memo_store *s, const char *attempt)
{
	size_t len = strlen(s->dir);
	static const char below[] = "/staging/";
	if (strncmp(attempt, s->dir, len) != 0 || strncmp(attempt + len, below, sizeof below - 1) != 0)
		return NULL;
	const char *name = attempt + len + sizeof below - 1;
	return name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL ? NULL : name;
}

static bool has(int staging, const char *attempt, const char *file)
{
	char path[NAME_MAX + 32];
	struct stat st;
	(void)snprintf(path, sizeof path, "%s/%s", attempt, file);
	return fstatat(staging, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* Finished: the worker's last act is exit.json. After another boot its files are whole, but what the owner wrote beside them
 * may not be, unless it was parked. */
static bool is_left(const struct memo_store *s, const char *attempt)
{
	size_t boot = strlen(s->boot);
	bool same_boot = strncmp(attempt, s->boot, boot) == 0 && attempt[boot] == '.';
	return has(s->staging_fd, attempt, MEMO_ATTEMPT_EXIT) &&
	       (has(s->staging_fd, attempt, MEMO_ATTEMPT_PARKED) ||
		(same_boot && has(s->staging_fd, attempt, MEMO_ATTEMPT_INSTANCE)));
}

/* What cannot be removed is told and left. */
int memo_attempts_sweep(struct memo_store *s, struct memo_buf *notice)
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(s->staging_fd, ".", &d);
	if (r < 0)
		return r;
	/* Where there is no attempt nobody works: all processes of the machine need not be looked at. */
	bool looked = false;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (!looked)
			memo_orphans_end(s, notice);
		looked = true;
		if (is_left(s, e->d_name))
			continue;
		r = memo_io_remove_tree(s->staging_fd, e->d_name);
		if (r < 0 && notice != NULL)
			(void)memo_buf_printf(notice, "staging/%s could not be removed: %s\n", e->d_name,
					      memo_strerror(r));
	}
	return 0;
}

int memo_store_attempts_left(struct memo_store *s, json_t **out)
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(s->staging_fd, ".", &d);
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *list = json_array();
	for (struct dirent *e = readdir(d); e != NULL && r == 0; e = readdir(d)) {
		if (e->d_name[0] == '.' || !is_left(s, e->d_name))
			continue;
		char *path = NULL;
		if (asprintf(&path, "%s/staging/%s", s->dir, e->d_name) < 0)
			return -ENOMEM;
		r = memo_json_push(list, json_string(path));
		free(path);
	}
	if (r == 0)
		*out = memo_json_steal(&list);
	return r;
}

int memo_store_attempt_park(struct memo_store *s, const char *attempt)
{
	const char *name = staged(s, attempt);
	MEMO_AUTO_FD int dir = -1;
	int r = name == NULL ? -EINVAL : memo_io_open_dir(s->staging_fd, name, &dir);
	static const char *const files[] = { MEMO_ATTEMPT_INSTANCE, MEMO_ATTEMPT_OBSERVED };
	for (size_t i = 0; i < 2 && r == 0; i++) {
		MEMO_AUTO_FD int fd = openat(dir, files[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 ? errno != ENOENT : fsync(fd) < 0)
			r = memo_errno();
	}
	/* A rename asks for no room, on a disk that has none. */
	if (r == 0 && renameat(dir, MEMO_ATTEMPT_INSTANCE, dir, MEMO_ATTEMPT_PARKED) < 0 && errno != ENOENT)
		r = memo_errno();
	return r < 0 ? r : memo_io_sync_dir(dir, ".");
}

int memo_store_attempt_new(struct memo_store *s, char **path_out, struct memo_err *err)
{
	char name[80];
	int r;
	do {
		(void)snprintf(name, sizeof name, "%s.%llu", s->boot,
			       (unsigned long long)atomic_fetch_add(&s->counter, 1));
		r = mkdirat(s->staging_fd, name, 0700) < 0 ? memo_errno() : 0;
	} while (r == -EEXIST);
	if (r < 0)
		return memo_fail(err, r, "store '%s': an attempt's directory cannot be made: %s", s->dir,
				 memo_strerror(r));
	char *path;
	if (asprintf(&path, "%s/staging/%s", s->dir, name) < 0) {
		(void)unlinkat(s->staging_fd, name, AT_REMOVEDIR);
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	}
	*path_out = path;
	return 0;
}

void memo_store_attempt_remove(struct memo_store *s, const char *attempt)
{
	const char *name = staged(s, attempt);
	if (name == NULL)
		return;
	/* What stays is swept when the store is opened next. */
	int r = memo_io_remove_tree(s->staging_fd, name);
	(void)r;
}

/* ---- logs ------------------------------------------------------------------------------------------------ */

static int log_shard(struct memo_store *s, const char *hex, bool make, int *fd_out)
{
	const char name[3] = { hex[0], hex[1], '\0' };
	int r = memo_io_open_dir(s->logs_fd, name, fd_out);
	if (r != -ENOENT || !make)
		return r;
	r = memo_io_mkdir(s->logs_fd, name, 0700);
	return r < 0 ? r : memo_io_open_dir(s->logs_fd, name, fd_out);
}

/* Moves the file (a reader of the growing log keeps his descriptor); an empty or missing one removes the old log. */
static int keep(int attempt, const char *which, int to, const char *hex, bool wanted)
{
	char name[LOG_NAME];
	(void)snprintf(name, sizeof name, "%s.%s", hex, which);
	struct stat st;
	bool some = wanted && fstatat(attempt, which, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_size > 0;
	if (some)
		return renameat(attempt, which, to, name) < 0 ? memo_errno() : 0;
	return unlinkat(to, name, 0) < 0 && errno != ENOENT ? memo_errno() : 0;
}

int memo_store_keep_logs(struct memo_store *s, const struct memo_id *identity, const char *attempt,
			 bool keep_stdout)
{
	const char *name = staged(s, attempt);
	if (name == NULL)
		return -EINVAL;
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(identity, hex);
	MEMO_AUTO_FD int from = -1;
	MEMO_AUTO_FD int to = -1;
	int r = memo_io_open_dir(s->staging_fd, name, &from);
	if (r == 0)
		r = log_shard(s, hex, true, &to);
	if (r < 0)
		return r;
	r = keep(from, "stderr", to, hex, true);
	int second = keep(from, "stdout", to, hex, keep_stdout);
	return r < 0 ? r : second;
}

int memo_store_log_open(struct memo_store *s, const struct memo_id *identity, const char *which, int *fd_out)
{
	if (strcmp(which, "stderr") != 0 && strcmp(which, "stdout") != 0)
		return -EINVAL;
	char hex[MEMO_HEX_SIZE];
	char name[LOG_NAME];
	(void)memo_id_hex(identity, hex);
	(void)snprintf(name, sizeof name, "%s.%s", hex, which);
	MEMO_AUTO_FD int dir = -1;
	int r = log_shard(s, hex, false, &dir);
	if (r < 0)
		return r;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}
