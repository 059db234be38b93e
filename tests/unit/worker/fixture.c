#include "fixture.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/sync.h"
#include "base/tree.h"

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

const char *fixture_isolation = "auto";
static const char *worker_path;
static char scratch_dir[128];
static unsigned attempts;

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	fixture_end();
	exit(1);
}

/* What a task can see of itself: arguments with their bytes, environment, descriptors, signals, umask, session. */
static int dump(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		printf("arg ");
		for (const char *p = argv[i]; *p != '\0'; p++)
			printf("%02x", (unsigned char)*p);
		printf("\n");
	}
	for (char **e = environ; *e != NULL; e++)
		printf("env %s\n", *e);
	for (int fd = 0; fd < 256; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			printf("fd %d\n", fd);
	}
	sigset_t set;
	(void)sigprocmask(SIG_SETMASK, NULL, &set);
	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction sa;
		if (sigismember(&set, sig) == 1)
			printf("blocked %d\n", sig);
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			printf("ignored %d\n", sig);
	}
	printf("umask %03o\n", (unsigned)umask(0));
	printf("leader %d\n", getsid(0) == getpid());
	printf("append %d\n", (fcntl(1, F_GETFL) & O_APPEND) != 0);
	printf("stdin %zd\n", read(0, (char[1]){ 0 }, 1));
	return 0;
}

bool fixture_main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--dump") == 0)
		exit(dump(argc, argv));
	if (argc != 2)
		die("the path of the worker is missing");
	worker_path = argv[1];
	(void)snprintf(scratch_dir, sizeof scratch_dir, "%s/memofs-worker-test.XXXXXX",
		       getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(scratch_dir) == NULL)
		die("mkdtemp");
	/* Nothing of this may reach a task. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setenv("MEMOFS_TEST_LEAK", "1", 1);
	if (dup2(1, 77) < 0)
		die("dup2");
	return true;
}

void fixture_end(void)
{
	if (scratch_dir[0] != '\0' && memo_io_remove_tree(AT_FDCWD, scratch_dir) < 0)
		printf("# %s is left over\n", scratch_dir);
}

const char *scratch(const char *name)
{
	static char path[4][512];
	static unsigned turn;
	char *p = path[turn++ % 4];
	(void)snprintf(p, 512, "%s/%s", scratch_dir, name);
	return p;
}

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || memo_io_write_all(fd, text, strlen(text)) < 0 || close(fd) < 0)
		die(path);
}

void attempt_new(struct attempt *a, const char *const *argv)
{
	*a = (struct attempt){ .fd = -1 };
	(void)snprintf(a->dir, sizeof a->dir, "%s/a%u", scratch_dir, attempts++);
	if (mkdir(a->dir, 0700) < 0 || (a->fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		die(a->dir);
	struct memo_job *j = &a->job;
	memset(j->identity, '0', MEMO_HEX_LEN);
	j->attempt = 1;
	j->env = json_pack("{s:s}", "PATH", "/usr/bin:/bin");
	size_t n = 0;
	while (argv[n] != NULL)
		n++;
	j->argv = calloc(n + 1, sizeof *j->argv);
	if (j->argv == NULL || j->env == NULL)
		die("memory");
	for (size_t i = 0; i < n; i++)
		j->argv[i] = strdup(argv[i]);
	j->argc = n;
	j->output = MEMO_OUT_FILE;
}

void attempt_shell(struct attempt *a, const char *script)
{
	attempt_new(a, (const char *const[]){ "sh", "-c", script, NULL });
}

void attempt_output(struct attempt *a, enum memo_output_type type, const char *path)
{
	a->job.output = type;
	a->job.output_path = path != NULL ? strdup(path) : NULL;
}

struct memo_job_input *attempt_input(struct attempt *a, const char *to, const char *from)
{
	struct memo_job *j = &a->job;
	struct memo_job_input *p = realloc(j->input, (j->inputs + 1) * sizeof *p);
	if (p == NULL)
		die("memory");
	j->input = p;
	p += j->inputs++;
	*p = (struct memo_job_input){ .to = strdup(to), .from = strdup(from) };
	return p;
}

void attempt_guard(struct memo_job_input *in)
{
	struct stat st;
	MEMO_AUTO_FD int fd = open(in->from, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die(in->from);
	in->guarded = true;
	in->guard = (struct memo_guard){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = st.st_mtim.tv_sec * MEMO_NS_PER_S + st.st_mtim.tv_nsec,
		.ctime_ns = st.st_ctim.tv_sec * MEMO_NS_PER_S + st.st_ctim.tv_nsec,
	};
	if (!in->directory) {
		if (memo_hash_fd(fd, &in->id, NULL) < 0)
			die(in->from);
		return;
	}
	struct memo_tree *t;
	if (memo_tree_scan(fd, MEMO_TREE_FOLLOW, &t, NULL) < 0)
		die(in->from);
	in->id = *memo_tree_id(t);
	memo_tree_unref(t);
}

pid_t attempt_start(struct attempt *a)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_job_encode(&a->job, &b) < 0 || memo_io_replace(a->fd, "job.json", b.data, b.len, 0600, false) < 0)
		die("job.json");
	pid_t pid;
	char *argv[] = { (char[]){ "memofs-worker" }, (char[]){ "--isolation" }, strdup(fixture_isolation), a->dir,
			 NULL };
	int r = posix_spawn(&pid, worker_path, NULL, NULL, argv, environ);
	free(argv[2]);
	if (r != 0) {
		errno = r;
		die(worker_path);
	}
	return pid;
}

int attempt_finish(struct attempt *a, pid_t pid)
{
	int status = -1;
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	memo_exit_clear(&a->exit);
	if (memo_io_read_file(a->fd, "exit.json", MEMO_ATTEMPT_RECORD_BYTES, &b) < 0)
		return -1;
	if (memo_exit_decode(b.data, b.len, &a->exit, &err) < 0) {
		printf("# %s\n", err.text);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int attempt_run(struct attempt *a)
{
	return attempt_finish(a, attempt_start(a));
}

const char *attempt_text(struct attempt *a, const char *path)
{
	static struct memo_buf b[2];
	static unsigned turn;
	struct memo_buf *t = &b[turn++ % 2];
	memo_buf_clear(t);
	return memo_io_read_file(a->fd, path, (size_t)1 << 20, t) < 0 ? "" : memo_buf_str(t);
}

bool attempt_await(struct attempt *a, const char *path, const char *text)
{
	for (int i = 0; i < 1000; i++) {
		if (strstr(attempt_text(a, path), text) != NULL)
			return true;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return false;
}

void attempt_end(struct attempt *a)
{
	memo_job_clear(&a->job);
	memo_exit_clear(&a->exit);
	memo_scope_fd(&a->fd);
	if (memo_io_remove_tree(AT_FDCWD, a->dir) < 0)
		die(a->dir);
	(void)attempt_text(a, "/nonexistent"); /* gives the static memory back, for the leak checker */
	(void)attempt_text(a, "/nonexistent");
}

static int scan_marked(const char *mark, pid_t *one_out)
{
	MEMO_AUTO_DIR DIR *d = opendir("/proc");
	const struct dirent *e;
	int found = 0;
	while (d != NULL && (e = readdir(d)) != NULL) {
		char path[300], text[LINE_MAX_BYTES];
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		(void)snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
		MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (n <= 0 || memmem(text, (size_t)n, mark, strlen(mark)) == NULL)
			continue;
		found++;
		*one_out = (pid_t)strtol(e->d_name, NULL, 10);
	}
	return found;
}

int count_marked(const char *mark)
{
	pid_t one;
	return scan_marked(mark, &one);
}

pid_t find_marked(const char *mark)
{
	pid_t one = 0;
	(void)scan_marked(mark, &one);
	return one;
}

bool fixture_has_pidns(void)
{
	struct attempt a;
	const char *before = fixture_isolation;
	fixture_isolation = "auto";
	attempt_shell(&a, "exit 0");
	bool has = attempt_run(&a) == 0 && a.exit.isolation != NULL && strcmp(a.exit.isolation, "pidns") == 0;
	attempt_end(&a);
	fixture_isolation = before;
	return has;
}
