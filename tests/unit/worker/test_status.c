/* The worker: how a task is started, what it is given, and how its end is told. */
#include "fixture.h"

#include "base/io.h"
#include "base/scope.h"

#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char self[512];

static void test_success(void)
{
	struct attempt a;
	char hex[MEMO_HEX_SIZE];
	struct stat st;
	attempt_shell(&a, "printf hello; echo note >&2");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_INT(a.exit.code, 0);
	CHECK(a.exit.message == NULL);
	CHECK_STR(attempt_text(&a, "output"), "hello");
	CHECK_STR(attempt_text(&a, "stderr"), "note\n");
	CHECK_STR(memo_id_hex(&a.exit.produced.hash, hex),
		  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
	CHECK(memo_id_equal(&a.exit.produced.hash, &a.exit.produced.blob));
	CHECK_INT(a.exit.produced.size, 5);
	CHECK(!a.exit.produced.exec);
	CHECK(a.exit.started_ns > 0 && a.exit.ended_ns >= a.exit.started_ns && a.exit.max_rss_kib > 0);
	CHECK(a.exit.host != NULL);
	CHECK(fstatat(a.fd, "output", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
	attempt_end(&a);
}

static void test_ends(void)
{
	static const struct {
		const char *script;
		int code, signal;
		const char *message;
	} row[] = {
		{ "exit 3", 3, 0, "the task ended with status 3" },
		{ "exit 255", 255, 0, "the task ended with status 255" },
		{ "kill -9 $$", -1, 9, "the task was ended by signal 9 (Killed)" },
		{ "kill -TERM $$", -1, 15, "the task was ended by signal 15 (Terminated)" },
		{ "kill -PIPE $$", -1, 13, "the task was ended by signal 13 (Broken pipe)" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct attempt a;
		attempt_shell(&a, row[i].script);
		CHECK_ROW(attempt_run(&a) == 0, row[i].script);
		CHECK_ROW(a.exit.status == MEMO_EXIT_FAILED, row[i].script);
		CHECK_ROW(a.exit.code == row[i].code && a.exit.signal == row[i].signal, row[i].script);
		CHECK_STR(a.exit.message, row[i].message);
		CHECK_ROW(faccessat(a.fd, "output", F_OK, 0) < 0, row[i].script);
		attempt_end(&a);
	}
}

static void test_cannot_run(void)
{
	write_file(scratch("plain"), "echo no\n");
	write_file(scratch("orphan"), "#!/nonexistent/interpreter\n");
	CHECK_INT(chmod(scratch("orphan"), 0755), 0);
	write_file(scratch("headless"), "echo no\n");
	CHECK_INT(chmod(scratch("headless"), 0755), 0);
	const struct {
		const char *name;
		int code;
		const char *message;
	} row[] = {
		{ "no-such-program", 127,
		  "cannot run 'no-such-program': No such file or directory (looked in PATH /usr/bin:/bin)" },
		{ "./nothing", 127, "cannot run './nothing': No such file or directory" },
		{ scratch("plain"), 126, NULL },
		{ scratch("orphan"), 127, NULL },
		{ scratch("headless"), 126, NULL },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct attempt a;
		attempt_new(&a, (const char *const[]){ row[i].name, NULL });
		CHECK_ROW(attempt_run(&a) == 0, row[i].name);
		CHECK_ROW(a.exit.status == MEMO_EXIT_FAILED, row[i].name);
		CHECK_INT(a.exit.code, row[i].code);
		if (row[i].message != NULL)
			CHECK_STR(a.exit.message, row[i].message);
		else
			CHECK_ROW(a.exit.message != NULL && strstr(a.exit.message, "cannot run '") != NULL,
				  row[i].name);
		attempt_end(&a);
	}
}

static void test_argv_bytes(void)
{
	struct attempt a;
	attempt_new(&a, (const char *const[]){ self, "--dump", "a b", "$(touch x); `y` | z", "*", "'\"\\", "",
					       "x\ny", "\xc3\xa9", "\xff\xfe", NULL });
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	const char *text = attempt_text(&a, "output");
	static const char want[] =
		"arg 612062\narg 2428746f7563682078293b20607960207c207a\narg 2a\narg 27225c\narg \n"
		"arg 780a79\narg c3a9\narg fffe\nenv ";
	CHECK(strncmp(text, want, strlen(want)) == 0);
	attempt_end(&a);
}

static void test_environment(void)
{
	struct attempt a;
	char want[1200];
	attempt_new(&a, (const char *const[]){ self, "--dump", NULL });
	CHECK_INT(json_object_set_new(a.job.env, "LANG", json_string("C.UTF-8")), 0);
	CHECK_INT(json_object_set_new(a.job.env, "HOME", json_string("/root")), 0);
	CHECK_INT(json_object_set_new(a.job.env, "INPUT_X", json_string("a=b\nc")), 0);
	CHECK_INT(attempt_run(&a), 0);
	char *real = realpath(a.dir, NULL);
	(void)snprintf(want, sizeof want,
		       "env HOME=%s/work\nenv TMPDIR=%s/work\nenv INPUT_X=a=b\nc\nenv LANG=C.UTF-8\n"
		       "env PATH=/usr/bin:/bin\nfd 0\nfd 1\nfd 2\numask 022\nleader 1\nappend 1\nstdin 0\n",
		       real, real);
	CHECK_STR(attempt_text(&a, "output"), want);
	free(real);
	attempt_end(&a);
}

static void test_inputs(void)
{
	struct attempt a;
	write_file(scratch("in.txt"), "small");
	write_file(scratch("script"), "#!/bin/sh\ncat reads.txt needs/parts/0 d/in.txt\n");
	(void)mkdir(scratch("indir"), 0755);
	write_file(scratch("indir/in.txt"), "deep");
	attempt_new(&a, (const char *const[]){ MEMO_ATTEMPT_CODE "bin/run.sh", NULL });
	struct memo_job_input *in = attempt_input(&a, MEMO_ATTEMPT_CODE "bin/run.sh", scratch("script"));
	in->trusted = in->copy = in->exec = true;
	attempt_guard(attempt_input(&a, "reads.txt", scratch("in.txt")));
	attempt_input(&a, "needs/parts/0", scratch("in.txt"))->trusted = true;
	in = attempt_input(&a, "d", scratch("indir"));
	in->directory = true;
	attempt_guard(in);
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_STR(attempt_text(&a, "output"), "smallsmalldeep");
	static const struct {
		const char *path;
		mode_t type, mode;
	} row[] = {
		{ "code/bin/run.sh", S_IFREG, 0555 }, { "work/reads.txt", S_IFREG, 0444 },
		{ "work/needs", S_IFDIR, 0755 },      { "work/needs/parts/0", S_IFLNK, 0777 },
		{ "work/d", S_IFLNK, 0777 },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct stat st;
		CHECK_ROW(fstatat(a.fd, row[i].path, &st, AT_SYMLINK_NOFOLLOW) == 0, row[i].path);
		CHECK_ROW((st.st_mode & S_IFMT) == row[i].type && (st.st_mode & 07777) == row[i].mode, row[i].path);
	}
	attempt_end(&a);
}

static void write_large(const char *path, char fill)
{
	char chunk[4096];
	memset(chunk, fill, sizeof chunk);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	for (int i = 0; i < 300; i++)
		CHECK_INT(memo_io_write_all(fd, chunk, sizeof chunk), 0);
	(void)close(fd);
}

/* A changed input is found whether it changes before the start, while the task runs, or disappears. */
static void test_changed(void)
{
	static const struct {
		const char *what;
		bool large, directory;
		const char *before; /* shell, before the start */
		const char *script; /* the task; $1: where the input lies */
		enum memo_exit_status want;
	} row[] = {
		{ "small same", false, false, ":", "cat x", MEMO_EXIT_SUCCESS },
		{ "small touched", false, false, "touch -d 2001-01-01 in", "cat x", MEMO_EXIT_SUCCESS },
		{ "small other", false, false, "printf other > in", "cat x", MEMO_EXIT_CHANGED },
		{ "small gone", false, false, "rm in", "cat x", MEMO_EXIT_CHANGED },
		{ "small later", false, false, ":", "printf zzzzz > \"$1\"; cat x", MEMO_EXIT_SUCCESS },
		{ "large same", true, false, ":", "cat x", MEMO_EXIT_SUCCESS },
		{ "large other", true, false, "echo more >> in", "cat x", MEMO_EXIT_CHANGED },
		{ "large later", true, false, ":", "cat x; printf y | dd of=\"$1\" conv=notrunc 2>/dev/null",
		  MEMO_EXIT_CHANGED },
		{ "large removed later", true, false, ":", "cat x; rm \"$1\"", MEMO_EXIT_CHANGED },
		{ "directory same", false, true, ":", "cat x/in", MEMO_EXIT_SUCCESS },
		{ "directory more", false, true, "touch dir/new", "cat x/in", MEMO_EXIT_CHANGED },
		{ "directory later", false, true, ":", "cat x/in; printf zzzzz > \"$1/in\"", MEMO_EXIT_CHANGED },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct attempt a;
		char command[700];
		(void)snprintf(command, sizeof command,
			       "cd '%s' && rm -rf in dir && mkdir dir && printf small > dir/in", scratch("."));
		CHECK_INT(system(command), 0);
		if (row[i].large)
			write_large(scratch("in"), 'x');
		else
			write_file(scratch("in"), "small");
		const char *from = scratch(row[i].directory ? "dir" : "in");
		attempt_new(&a, (const char *const[]){ "sh", "-c", row[i].script, "sh", from, NULL });
		struct memo_job_input *in = attempt_input(&a, "x", from);
		in->directory = row[i].directory;
		attempt_guard(in);
		(void)snprintf(command, sizeof command, "cd '%s' && %s", scratch("."), row[i].before);
		CHECK_INT(system(command), 0);
		CHECK_ROW(attempt_run(&a) == 0, row[i].what);
		CHECK_ROW(a.exit.status == row[i].want, row[i].what);
		if (row[i].want == MEMO_EXIT_SUCCESS && !row[i].large)
			CHECK_STR(attempt_text(&a, "output"), "small");
		attempt_end(&a);
	}
}

static void test_bad_job(void)
{
	struct attempt a;
	attempt_shell(&a, "exit 0");
	free(a.job.argv[0]);
	a.job.argv[0] = strdup("");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_ERROR);
	CHECK_STR(a.exit.message, "job.json: job record: argv[0] is empty; name a program");
	/* A directory is used once. */
	free(a.job.argv[0]);
	a.job.argv[0] = strdup("sh");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_ERROR);
	attempt_end(&a);
}

static void test_owner(void)
{
	struct attempt a;
	attempt_shell(&a, "echo never");
	a.job.owner_pid = getpid();
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	attempt_end(&a);
	attempt_shell(&a, "echo never");
	a.job.owner_pid = 1 + (int64_t)getpid();
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_CANCELLED);
	CHECK(faccessat(a.fd, "stdout", F_OK, 0) < 0);
	attempt_end(&a);
}

/* On a file system of its own that is full: the record is written all the same. Needs the right to mount. */
static void full_disk(void)
{
	static const char *const script[] = {
		"head -c 10000000 /dev/zero > big",
		"head -c 10000000 /dev/zero",
		"head -c 10000000 /dev/zero >&2",
	};
	for (size_t i = 0; i < sizeof script / sizeof *script; i++) {
		struct attempt a;
		attempt_shell(&a, script[i]);
		CHECK_ROW(attempt_run(&a) == 0, script[i]);
		CHECK_ROW(a.exit.status == MEMO_EXIT_SPACE, script[i]);
		CHECK_ROW(a.exit.message != NULL && strstr(a.exit.message, "is full") != NULL, script[i]);
		attempt_end(&a);
	}
}

static void test_space(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", scratch("."), "tmpfs", 0, "size=1m") < 0) {
		printf("# a small file system cannot be mounted here\n");
		return;
	}
	full_disk();
	CHECK_INT(umount2(scratch("."), MNT_DETACH), 0);
}

int main(int argc, char **argv)
{
	if (!fixture_main(argc, argv) || readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	static const char *const mode[] = { "pidns", "subreaper" };
	for (size_t i = fixture_has_pidns() ? 0 : 1; i < 2; i++) {
		fixture_isolation = mode[i];
		printf("# isolation %s\n", mode[i]);
		RUN(test_success);
		RUN(test_ends);
		RUN(test_cannot_run);
		RUN(test_argv_bytes);
		RUN(test_environment);
	}
	fixture_isolation = "auto";
	RUN(test_inputs);
	RUN(test_changed);
	RUN(test_bad_job);
	RUN(test_owner);
	RUN(test_space);
	fixture_end();
	return check_end();
}
