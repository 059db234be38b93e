/* Life: init, open, lock, format; node ids. */
#include "fixture.h"

static void test_init_open_close(void)
{
	struct fixture f;
	fx_begin(&f);
	CHECK_INT(memo_store_init(f.dir, &f.err), -EEXIST);
	CHECK_INT(memo_store_probe(f.dir, &f.err), 0);
	CHECK_INT(memo_store_probe(f.root, &f.err), -ENOENT);
	CHECK_INT(memo_store_probe("/nonexistent/x", &f.err), -ENOENT);
	CHECK_INT(memo_store_init(f.root, &f.err), -ENOTEMPTY);
	struct stat st;
	CHECK_INT(stat(f.dir, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0755);
	char *staging = fx_path(&f, "staging");
	CHECK_INT(stat(staging, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0700);
	free(staging);
	char *running = fx_path(&f, "running");
	CHECK_INT(access(running, F_OK), 0);
	memo_store_close(f.s);
	CHECK_INT(access(running, F_OK), -1);
	free(running);
	f.s = NULL;
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	CHECK_INT(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err), 0);
	CHECK_STR(memo_buf_str(&notice), "");
	fx_end(&f);
}

static void test_missing_parents(void)
{
	struct fixture f;
	fx_begin(&f);
	char deep[400];
	(void)snprintf(deep, sizeof deep, "%s/x/y/z", f.root);
	CHECK_INT(memo_store_init(deep, &f.err), 0);
	CHECK_INT(memo_store_probe(deep, &f.err), 0);
	struct memo_store *s = NULL;
	CHECK_INT(memo_store_open("/nonexistent/x", "test", 0, NULL, &s, &f.err), -ENOENT);
	CHECK_INT(memo_store_open(f.root, "test", 0, NULL, &s, &f.err), -ENOENT);
	fx_end(&f);
}

static int child_hold(const char *dir)
{
	struct fixture f;
	fx_child_open(&f, dir, "mount /mnt");
	if (write(1, "x", 1) != 1)
		return 1;
	(void)usleep(300 * 1000);
	memo_store_close(f.s);
	return 0;
}

static void test_locked_by_another(void)
{
	struct fixture f;
	fx_begin(&f);
	int out;
	pid_t pid = fx_spawn(&f, "hold", &out);
	char c = 0;
	CHECK_INT(read(out, &c, 1), 1);
	CHECK_INT(c, 'x');
	struct memo_store *s = NULL;
	CHECK_INT(memo_store_open(f.dir, "second", 0, NULL, &s, &f.err), -EBUSY);
	char want[64];
	(void)snprintf(want, sizeof want, "is in use by process %ld on host ", (long)pid);
	CHECK(strstr(f.err.text, want) != NULL);
	CHECK(strstr(f.err.text, "(mount /mnt)") != NULL);
	/* It waits as long as it was told. */
	CHECK_INT(memo_store_open(f.dir, "second", 10000, NULL, &f.s, &f.err), 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
	(void)close(out);
	fx_end(&f);
}

static void test_locked_in_process(void)
{
	struct fixture f;
	fx_begin(&f);
	struct memo_store *s = NULL;
	CHECK_INT(memo_store_open(f.dir, "second", 0, NULL, &s, &f.err), -EBUSY);
	fx_end(&f);
}

static void test_unknown_format(void)
{
	struct fixture f;
	fx_begin(&f);
	memo_store_close(f.s);
	f.s = NULL;
	char *format = fx_path(&f, "format");
	fx_write(format, "7\n", 0644);
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), -EPROTONOSUPPORT);
	CHECK(strstr(f.err.text, "has format 7, this program reads format 1") != NULL);
	fx_write(format, "1\n", 0644);
	free(format);
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	fx_end(&f);
}

static int child_inos(const char *dir)
{
	struct fixture f;
	fx_child_open(&f, dir, "child");
	uint64_t first = 0;
	for (int i = 0; i < 10; i++) {
		if (memo_store_ino(f.s, 10000, &first) < 0)
			return 1;
	}
	if (write(1, &first, sizeof first) != (ssize_t)sizeof first)
		return 2;
	fx_child_kill();
	return 3;
}

static void test_inos_never_twice(void)
{
	struct fixture f;
	fx_begin(&f);
	uint64_t a = 0;
	uint64_t b = 0;
	CHECK_INT(memo_store_ino(f.s, 5, &a), 0);
	CHECK_INT(memo_store_ino(f.s, 1, &b), 0);
	CHECK(a >= MEMO_INO_FIRST);
	CHECK(b == a + 5);
	/* A child takes many and dies; what it took is not given again. */
	int out;
	pid_t pid = fx_spawn(&f, "inos", &out);
	uint64_t theirs = 0;
	CHECK_INT(read(out, &theirs, sizeof theirs), sizeof theirs);
	(void)close(out);
	CHECK(waitpid(pid, NULL, 0) == pid);
	uint64_t next = 0;
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	CHECK_INT(memo_store_ino(f.s, 1, &next), 0);
	CHECK(theirs > b);
	CHECK(next >= theirs + 10000);
	fx_end(&f);
}

static void test_attempts_and_logs(void)
{
	struct fixture f;
	fx_begin(&f);
	struct thing t;
	fx_thing(&t, 1);
	char *a = NULL;
	char *b = NULL;
	CHECK_INT(memo_store_attempt_new(f.s, &a, &f.err), 0);
	CHECK_INT(memo_store_attempt_new(f.s, &b, &f.err), 0);
	CHECK(strcmp(a, b) != 0);
	struct stat st;
	CHECK_INT(stat(a, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0700);
	char path[512];
	(void)snprintf(path, sizeof path, "%s/stderr", a);
	fx_write(path, "oops\n", 0600);
	(void)snprintf(path, sizeof path, "%s/stdout", a);
	fx_write(path, "said\n", 0600);
	int fd = -1;
	CHECK_INT(memo_store_log_open(f.s, &t.i.identity, "stderr", &fd), -ENOENT);
	CHECK_INT(memo_store_keep_logs(f.s, &t.i.identity, a, false), 0);
	CHECK_INT(memo_store_log_open(f.s, &t.i.identity, "stdout", &fd), -ENOENT);
	CHECK_INT(memo_store_log_open(f.s, &t.i.identity, "stderr", &fd), 0);
	char text[16] = "";
	CHECK_INT(read(fd, text, sizeof text - 1), 5);
	CHECK_STR(text, "oops\n");
	(void)close(fd);
	/* An attempt that said nothing replaces the log by none. */
	CHECK_INT(memo_store_keep_logs(f.s, &t.i.identity, b, true), 0);
	CHECK_INT(memo_store_log_open(f.s, &t.i.identity, "stderr", &fd), -ENOENT);
	CHECK_INT(memo_store_log_open(f.s, &t.i.identity, "../x", &fd), -EINVAL);
	memo_store_attempt_remove(f.s, f.root); /* not an attempt */
	CHECK_INT(access(f.root, F_OK), 0);
	memo_store_attempt_remove(f.s, a);
	CHECK_INT(access(a, F_OK), -1);
	fx_reopen(&f, NULL);
	CHECK_INT(access(b, F_OK), -1);
	free(a);
	free(b);
	fx_thing_clear(&t);
	fx_end(&f);
}

int main(int argc, char **argv)
{
	if (argc > 3)
		return strcmp(argv[2], "hold") == 0 ? child_hold(argv[3]) : child_inos(argv[3]);
	RUN(test_init_open_close);
	RUN(test_missing_parents);
	RUN(test_locked_by_another);
	RUN(test_locked_in_process);
	RUN(test_unknown_format);
	RUN(test_inos_never_twice);
	RUN(test_attempts_and_logs);
	return check_end();
}
