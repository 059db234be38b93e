/* memofs-worker ATTEMPT_DIR: runs the task that job.json describes and writes exit.json.
 *
 * Exit status 0: exit.json is there, whatever it says. 1: it is not, and stderr says why. */
#include "worker.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/sync.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define RESERVE "exit.reserve"
#define RESERVE_BYTES 16384
#define KEPT_STDERR_BYTES (64 << 10) /* of a log that has to give way to the record */

static void decide(struct memo_worker *w, enum memo_exit_status status, const char *fmt, va_list ap)
{
	char *text = NULL;
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	free(w->exit.message);
	w->exit.message = text;
	w->exit.status = status;
}

int memo_worker_fail(struct memo_worker *w, int code, enum memo_exit_status status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	decide(w, status, fmt, ap);
	va_end(ap);
	return code;
}

int memo_worker_error(struct memo_worker *w, int code, enum memo_exit_status status, const char *fmt, ...)
{
	if (code == -ENOSPC || code == -EDQUOT)
		return memo_worker_fail(w, code, MEMO_EXIT_SPACE,
					"the disk of '%s' is full (%s); make room there and try again", w->path,
					memo_strerror(code));
	va_list ap;
	va_start(ap, fmt);
	decide(w, status, fmt, ap);
	va_end(ap);
	return code;
}

bool memo_worker_orphaned(const struct memo_worker *w)
{
	return w->job.owner_pid != 0 && getppid() != (pid_t)w->job.owner_pid;
}

static void clear(struct memo_worker *w)
{
	memo_job_clear(&w->job);
	memo_exit_clear(&w->exit);
	for (char **e = w->envp; e != NULL && *e != NULL; e++)
		free(*e);
	free(w->envp);
	free(w->program);
	free(w->path);
	free(w->work_path);
	memo_scope_fd(&w->work);
	memo_scope_fd(&w->dir);
}

/* 0, 1 and 2 are open and nothing else is: what we inherit must not reach the task, what we open is close-on-exec. */
static int own_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			return memo_errno();
	}
	closefrom(3);
	return 0;
}

/* The signals that we wait for are blocked from here on, so that none is missed; the task gets them back. */
static void own_signals(void)
{
	static const int waited[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof waited / sizeof waited[0]; i++) {
		(void)sigaddset(&set, waited[i]);
		(void)signal(waited[i], SIG_DFL); /* an ignored SIGCHLD would hide the task's status */
	}
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
}

static int enter(struct memo_worker *w, const char *dir, struct memo_err *err)
{
	w->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0 || fchdir(w->dir) < 0)
		return memo_fail(err, memo_errno(), "'%s': cannot enter: %s", dir, memo_strerror(errno));
	w->path = realpath(".", NULL);
	w->work_path = w->path != NULL ? memo_io_join(w->path, "work") : NULL;
	if (w->work_path == NULL)
		return memo_fail(err, memo_errno(), "'%s': cannot find its path: %s", dir, memo_strerror(errno));
	return 0;
}

static int read_job(struct memo_worker *w)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	int r = memo_io_read_file(w->dir, "job.json", MEMO_ATTEMPT_RECORD_BYTES, &b);
	if (r < 0)
		return memo_worker_error(w, r, MEMO_EXIT_ERROR, "job.json: cannot read: %s", memo_strerror(r));
	r = memo_job_decode(b.data, b.len, &w->job, &err);
	if (r < 0)
		return memo_worker_fail(w, r, MEMO_EXIT_ERROR, "job.json: %s", err.text);
	return 0;
}

/* SIGTERM, not SIGKILL: without a pid namespace it is we who must end the tree. */
static int follow_owner(struct memo_worker *w)
{
	if (w->job.owner_pid == 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return memo_worker_fail(w, memo_errno(), MEMO_EXIT_ERROR, "cannot follow the owner: %s",
					memo_strerror(errno));
	if (memo_worker_orphaned(w))
		return memo_worker_fail(w, -ECANCELED, MEMO_EXIT_CANCELLED,
					"the owner (process %lld) was gone before the task began",
					(long long)w->job.owner_pid);
	return 0;
}

/* A task that failed on a full disk failed because of the disk. */
static void blame_space(struct memo_worker *w)
{
	struct statvfs v;
	if (w->exit.status != MEMO_EXIT_FAILED || fstatvfs(w->dir, &v) < 0 || v.f_blocks == 0)
		return;
	if (v.f_bavail == 0 || (v.f_files > 0 && v.f_favail == 0))
		(void)memo_worker_fail(
			w, -ENOSPC, MEMO_EXIT_SPACE,
			"the task failed (status %d) and the disk of '%s' is full; make room there and try again",
			w->exit.code, w->path);
}

/* Room for the record, before anything is done: the end of ten hours must not depend on a few bytes and an inode. */
static int reserve(struct memo_worker *w)
{
	MEMO_AUTO_FD int fd = openat(w->dir, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	int r = fd < 0 ? memo_errno() : -posix_fallocate(fd, 0, RESERVE_BYTES);
	/* Where nothing can be reserved, what there is at the end has to do. */
	return r == -ENOSPC || r == -EDQUOT ? memo_worker_error(w, r, MEMO_EXIT_SPACE, "the disk is full") : 0;
}

/* The record in the place that was kept for it. */
static int use_reserve(const struct memo_worker *w, const struct memo_buf *b)
{
	MEMO_AUTO_FD int fd = openat(w->dir, RESERVE, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r = fd < 0 ? memo_errno() : memo_io_write_all(fd, b->data, b->len);
	if (r == 0 && (ftruncate(fd, (off_t)b->len) < 0 || fsync(fd) < 0 ||
		       renameat(w->dir, RESERVE, w->dir, "exit.json") < 0))
		r = memo_errno();
	return r < 0 ? r : memo_io_sync_dir(w->dir, ".");
}

static void attempt(struct memo_worker *w)
{
	int r = reserve(w);
	if (r == 0)
		r = read_job(w);
	if (r == 0)
		r = follow_owner(w);
	if (r == 0)
		r = memo_worker_prepare(w);
	if (r == 0)
		r = memo_worker_run(w);
	/* Also of a task that failed: perhaps because its input changed, and then it is tried again with the new one. */
	if (r == 0 || w->exit.status == MEMO_EXIT_FAILED) {
		int still = memo_worker_recheck(w);
		r = still < 0 ? still : r;
	}
	if (r == 0)
		r = memo_worker_capture(w);
	if (r < 0)
		blame_space(w);
	else
		w->exit.status = MEMO_EXIT_SUCCESS;
}

/* Cuts a log that filled the disk; what it began with stays. */
static int cut_log(const struct memo_worker *w, const char *name, off_t most)
{
	MEMO_AUTO_FD int fd = openat(w->dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return memo_errno();
	return S_ISREG(st.st_mode) && st.st_size > most && ftruncate(fd, most) < 0 ? memo_errno() : 0;
}

/* Gives the record the space of what counts less, a little more with each step. What counts was moved out of work/; of a
 * failed attempt nothing is a result. false: there is no more to give. */
static bool make_room(const struct memo_worker *w, int step)
{
	int r = -ENOENT; /* nothing to give */
	if (step == 0)
		r = memo_io_remove_tree(w->dir, "work");
	else if (step == 1 && w->exit.status != MEMO_EXIT_SUCCESS)
		r = cut_log(w, "stdout", 0);
	else if (step == 2)
		r = cut_log(w, "stderr", KEPT_STDERR_BYTES);
	return r == 0 || step < 2;
}

static int write_exit(struct memo_worker *w, struct memo_err *err)
{
	char host[HOST_NAME_MAX + 1] = "";
	if (gethostname(host, sizeof host - 1) == 0)
		w->exit.host = strdup(host);
	/* What filled the disk must not stay and keep it full. */
	for (int step = 0; step < 3 && w->exit.status == MEMO_EXIT_SPACE; step++)
		(void)make_room(w, step);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_exit_encode(&w->exit, &b);
	if (r == 0)
		r = memo_io_replace(w->dir, "exit.json", b.data, b.len, 0644, true);
	if (r == -ENOSPC || r == -EDQUOT)
		r = use_reserve(w, &b);
	for (int step = 0; step < 3 && (r == -ENOSPC || r == -EDQUOT) && make_room(w, step); step++)
		r = memo_io_replace(w->dir, "exit.json", b.data, b.len, 0644, true);
	return r < 0 ? memo_fail(err, r, "'%s/exit.json': cannot write: %s", w->path, memo_strerror(r)) : 0;
}

static int usage(void)
{
	(void)fprintf(stderr,
		      "memofs-worker: usage: memofs-worker [--isolation auto|pidns|subreaper] ATTEMPT_DIR\n");
	return 1;
}

static int parse_isolation(const char *text, enum memo_isolation *out)
{
	static const char *const name[] = { "auto", "pidns", "subreaper" };
	for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
		if (strcmp(text, name[i]) == 0) {
			*out = (enum memo_isolation)i;
			return 0;
		}
	}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct memo_worker w = { .dir = -1, .work = -1 };
	struct memo_err err = { 0 };
	int at = 1;
	if (argc > 2 && strcmp(argv[1], "--isolation") == 0) {
		if (parse_isolation(argv[2], &w.isolation) < 0)
			return usage();
		at = 3;
	}
	if (argc != at + 1)
		return usage();
	int r = own_descriptors();
	if (r < 0)
		return 1;
	own_signals();
	(void)umask(022);
	w.exit.code = -1;
	w.exit.started_ns = memo_wall_ns();
	w.exit.ended_ns = w.exit.started_ns;
	r = enter(&w, argv[at], &err);
	if (r == 0) {
		attempt(&w);
		r = write_exit(&w, &err);
	}
	if (r < 0)
		(void)fprintf(stderr, "memofs-worker: %s\n", err.text);
	clear(&w);
	return r < 0 ? 1 : 0;
}
