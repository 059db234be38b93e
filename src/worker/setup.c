/* Setup: the work directory, the environment, and the program. */
#include "worker.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

/* ---- environment and program ---- */

static int make_environment(struct memo_worker *w)
{
	size_t n = json_object_size(w->job.env), at = 0;
	w->envp = calloc(n + 3, sizeof *w->envp);
	if (w->envp == NULL)
		return -ENOMEM;
	if (asprintf(&w->envp[at++], "HOME=%s", w->work_path) < 0 ||
	    asprintf(&w->envp[at++], "TMPDIR=%s", w->work_path) < 0) {
		w->envp[at - 1] = NULL;
		return -ENOMEM;
	}
	const char *key;
	json_t *v;
	json_object_foreach(w->job.env, key, v)
	{
		if (strcmp(key, "HOME") == 0 || strcmp(key, "TMPDIR") == 0)
			continue;
		if (asprintf(&w->envp[at], "%s=%s", key, json_string_value(v)) < 0) {
			w->envp[at] = NULL;
			return -ENOMEM;
		}
		at++;
	}
	return 0;
}

/* The first part of @path that holds an executable file @name. -ENOENT; -EACCES: only files that are not executable. */
static int look_up(int work, const char *path, const char *name, char **out)
{
	int r = -ENOENT;
	for (;;) {
		size_t len = strcspn(path, ":");
		char *candidate = NULL;
		struct stat st;
		int n = len == 0 ? asprintf(&candidate, "./%s", name)
				 : asprintf(&candidate, "%.*s/%s", (int)len, path, name);
		if (n < 0)
			return -ENOMEM;
		if (fstatat(work, candidate, &st, 0) == 0 && S_ISREG(st.st_mode)) {
			if (faccessat(work, candidate, X_OK, AT_EACCESS) == 0) {
				*out = candidate;
				return 0;
			}
			r = -EACCES;
		}
		free(candidate);
		if (path[len] == '\0')
			return r;
		path += len + 1;
	}
}

static int find_program(struct memo_worker *w)
{
	const char *name = w->job.argv[0];
	if (strchr(name, '/') != NULL) {
		w->program = strdup(name);
		return w->program != NULL ? 0 : memo_worker_fail(w, -ENOMEM, MEMO_EXIT_ERROR, "out of memory");
	}
	const char *path = memo_json_string(w->job.env, "PATH", DEFAULT_PATH);
	int r = look_up(w->work, path, name, &w->program);
	if (r == 0)
		return 0;
	if (r == -ENOMEM)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "out of memory");
	w->exit.code = r == -ENOENT ? 127 : 126;
	return memo_worker_fail(w, r, MEMO_EXIT_FAILED, "cannot run '%s': %s (looked in PATH %s)", name,
				memo_strerror(r), path);
}

int memo_worker_prepare(struct memo_worker *w)
{
	int r = mkdirat(w->dir, "work", 0700) < 0 ? memo_errno() : memo_io_open_dir(w->dir, "work", &w->work);
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "'%s': cannot be made: %s", w->work_path,
					 memo_strerror(r));
	r = memo_worker_place(w);
	if (r < 0)
		return r;
	r = make_environment(w);
	if (r < 0)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "out of memory");
	return find_program(w);
}
