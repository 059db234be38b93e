#include "fixture.h"

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>

void fx_begin(struct fixture *f)
{
	const char *tmp = getenv("TMPDIR");
	memset(f, 0, sizeof *f);
	(void)snprintf(f->root, sizeof f->root, "%s/memofs-store-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(f->root) == NULL)
		abort();
	(void)snprintf(f->dir, sizeof f->dir, "%s/store", f->root);
	CHECK_INT(memo_store_init(f->dir, &f->err), 0);
	CHECK_INT(memo_store_open(f->dir, "test", 0, NULL, &f->s, &f->err), 0);
	if (f->s == NULL)
		abort();
}

void fx_end(struct fixture *f)
{
	memo_store_close(f->s);
	f->s = NULL;
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, f->root), 0);
}

void fx_reopen(struct fixture *f, struct memo_buf *notice)
{
	memo_store_close(f->s);
	f->s = NULL;
	CHECK_INT(memo_store_open(f->dir, "test", 0, notice, &f->s, &f->err), 0);
	if (f->s == NULL) {
		printf("# %s\n", f->err.text);
		abort();
	}
}

char *fx_path(const struct fixture *f, const char *below)
{
	return memo_io_join(f->dir, below);
}

void fx_write(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_INT(memo_io_write_all(fd, text, strlen(text)), 0);
	CHECK_INT(fchmod(fd, mode), 0);
	(void)close(fd);
}

int fx_count(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;
	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n - 2;
}

void fx_thing(struct thing *t, int n)
{
	memset(t, 0, sizeof *t);
	(void)snprintf(t->name, sizeof t->name, "n=%03d", n);
	t->inputs = json_pack("{s:i}", "n", n);
	t->key = json_pack("{s:s, s:i}", "task", "t", "n", n);
	t->i = (struct memo_instance){
		.task = "t", .version = "1", .name = t->name, .inputs = t->inputs, .key = t->key
	};
	CHECK_INT(memo_hash_bytes(t->name, strlen(t->name), &t->i.identity), 0);
}

void fx_thing_clear(struct thing *t)
{
	json_decref(t->inputs);
	json_decref(t->key);
}

int fx_to(struct fixture *f, struct thing *t, enum memo_state to, const char *reason)
{
	struct memo_transition x = { .to = to, .reason = reason, .exit_code = to == MEMO_FAILED ? 3 : -1 };
	return memo_store_transition(f->s, &t->i, &x, &f->err);
}

void fx_run(struct fixture *f, struct thing *t)
{
	CHECK_INT(fx_to(f, t, MEMO_PENDING, NULL), 0);
	CHECK_INT(fx_to(f, t, MEMO_RUNNING, NULL), 0);
}

char *fx_file(struct fixture *f, const char *text, bool exec, struct memo_produced *p)
{
	char *attempt = NULL;
	CHECK_INT(memo_store_attempt_new(f->s, &attempt, &f->err), 0);
	char *out = memo_io_join(attempt, "output");
	fx_write(out, text, exec ? 0555 : 0444);
	free(out);
	*p = (struct memo_produced){ .kind = MEMO_RESULT_FILE, .size = strlen(text), .exec = exec };
	CHECK_INT(memo_hash_bytes(text, strlen(text), &p->blob), 0);
	p->hash = p->blob;
	if (exec)
		CHECK_INT(memo_attempt_exec_hash(&p->blob, &p->hash), 0);
	return attempt;
}

char *fx_tree(struct fixture *f, const char *text, struct memo_produced *p)
{
	char *attempt = NULL;
	CHECK_INT(memo_store_attempt_new(f->s, &attempt, &f->err), 0);
	int at = open(attempt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_INT(mkdirat(at, "output", 0755), 0);
	CHECK_INT(mkdirat(at, "output/sub", 0755), 0);
	char path[512];
	(void)snprintf(path, sizeof path, "%s/output/a", attempt);
	fx_write(path, text, 0600);
	(void)snprintf(path, sizeof path, "%s/output/sub/b", attempt);
	fx_write(path, "#!/bin/sh\n", 0700);
	CHECK_INT(symlinkat("../a", at, "output/sub/l"), 0);
	int out = openat(at, "output", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct memo_tree *t = NULL;
	CHECK_INT(memo_tree_scan(out, MEMO_TREE_FREEZE | MEMO_TREE_SYNC, &t, &f->err), 0);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_tree_text(t, &b), 0);
	(void)snprintf(path, sizeof path, "%s/output.tree", attempt);
	fx_write(path, memo_buf_str(&b), 0444);
	*p = (struct memo_produced){ .kind = MEMO_RESULT_DIRECTORY,
				     .hash = *memo_tree_id(t),
				     .size = memo_tree_bytes(t),
				     .entries = memo_tree_count(t) };
	memo_tree_unref(t);
	(void)close(out);
	(void)close(at);
	return attempt;
}

int fx_publish(struct fixture *f, struct thing *t, const char *attempt, struct memo_produced *p,
	       struct memo_result **out)
{
	json_t *origin = json_pack("{s:s}", "host", "here");
	struct memo_publication x = { .instance = &t->i,
				      .attempt = attempt,
				      .produced = p,
				      .origin = origin,
				      .transition = { .to = MEMO_SUCCESS, .exit_code = 0 } };
	f->err.text[0] = '\0';
	int r = memo_store_publish(f->s, &x, out, &f->err);
	json_decref(origin);
	return r;
}

struct memo_result *fx_make(struct fixture *f, struct thing *t, const char *text)
{
	struct memo_produced p;
	struct memo_result *r = NULL;
	fx_run(f, t);
	char *attempt = fx_file(f, text, false, &p);
	CHECK_INT(fx_publish(f, t, attempt, &p, &r), 0);
	memo_store_attempt_remove(f->s, attempt);
	free(attempt);
	if (r == NULL) {
		printf("# %s\n", f->err.text);
		abort();
	}
	return r;
}

char *fx_read(struct fixture *f, const struct memo_result *r)
{
	int fd;
	if (memo_store_open_file(f->s, r, &fd, &f->err) < 0)
		return NULL;
	struct memo_buf b = { 0 };
	CHECK_INT(memo_io_read_fd(fd, 1 << 20, &b), 0);
	(void)close(fd);
	return memo_buf_steal(&b);
}

pid_t fx_spawn(struct fixture *f, const char *what, int *out)
{
	char *argv[] = { (char[]){ "test" }, (char[]){ "child" }, NULL, NULL, NULL };
	MEMO_AUTO_FREE char *arg = strdup(what);
	int ends[2];
	memo_store_close(f->s);
	f->s = NULL;
	argv[2] = arg;
	argv[3] = f->dir;
	if (pipe2(ends, O_CLOEXEC) < 0)
		abort();
	posix_spawn_file_actions_t act;
	(void)posix_spawn_file_actions_init(&act);
	(void)posix_spawn_file_actions_adddup2(&act, ends[1], 1);
	pid_t pid = -1;
	CHECK_INT(posix_spawn(&pid, "/proc/self/exe", &act, NULL, argv, environ), 0);
	(void)posix_spawn_file_actions_destroy(&act);
	(void)close(ends[1]);
	*out = ends[0];
	return pid;
}

void fx_killed(struct fixture *f, const char *what)
{
	int out;
	int status = 0;
	pid_t pid = fx_spawn(f, what, &out);
	MEMO_AUTO_BUF struct memo_buf said = { 0 };
	CHECK_INT(memo_io_read_fd(out, 1 << 20, &said), 0);
	(void)close(out);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (said.len > 0)
		printf("# child: %s\n", memo_buf_str(&said));
	CHECK_INT(said.len, 0);
}

void fx_child_open(struct fixture *f, const char *dir, const char *purpose)
{
	memset(f, 0, sizeof *f);
	(void)snprintf(f->dir, sizeof f->dir, "%s", dir);
	if (memo_store_open(dir, purpose, 0, NULL, &f->s, &f->err) < 0) {
		printf("%s\n", f->err.text);
		exit(9);
	}
}

void fx_child_kill(void)
{
	(void)fflush(stdout);
	(void)kill(getpid(), SIGKILL);
}
