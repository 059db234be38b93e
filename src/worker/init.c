/* Init: what runs between fork and exec, and process 1 of a task's pid namespace.
 *
 * The parent has one thread, so that after fork everything may be called; what is here still keeps to plain system
 * calls. A start that fails is reported with its step, the process ends with 127. */
#include "run.h"

#include "base/error.h"
#include "base/scope.h"
#include "base/sync.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

void memo_init_report(const struct memo_start *s, enum memo_report_kind kind, enum memo_start_step step, int value)
{
	const struct memo_report r = { .kind = kind, .step = step, .value = value, .level = s->level };
	/* The pipe has room for all reports of one attempt; a reader that is gone needs none. */
	if (write(s->report_write, &r, sizeof r) != (ssize_t)sizeof r)
		return;
}

#define OOM_TASK "800" /* of 1000: before the daemon, and before what else runs here */
#define WATCH_NICE (-20)
#define NUMBERS_PART 4 /* times the bound: numbers are not used again at once */
#define PROCESSES_SLACK 64 /* above the bound, so that the watch sees it crossed */

/* Each signal as a new program expects it: an ignored one would stay ignored through exec. */
static void default_signals(void)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &plain, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int redirect(const char *path, int flags, int to)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0 || dup2(fd, to) < 0)
		return memo_errno();
	(void)close(fd);
	return 0;
}

static int task_files(void)
{
	int r = redirect("/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = redirect("stdout", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 1);
	if (r == 0)
		r = redirect("stderr", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 2);
	/* By name: a descriptor of the worker belongs to the mounts outside the namespace, and from there to an absolute
	 * path inside it rename and link would be refused as crossing devices. */
	if (r == 0 && chdir("work") < 0)
		r = memo_errno();
	return r;
}

/* Without a namespace at least the task itself dies with the worker. */
static int task_session(const struct memo_start *s)
{
	if (setsid() < 0)
		return memo_errno();
	if (s->hold != MEMO_HOLD_TREE)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return memo_errno();
	return getppid() == s->worker ? 0 : -ESRCH;
}

/* How many processes and threads the user has now; the kernel's limit counts them all. */
static rlim_t threads_of(uid_t uid)
{
	struct memo_processes t = { 0 };
	rlim_t count = 0;
	if (memo_proc_read_all(&t, SIZE_MAX) == 0) {
		for (size_t i = 0; i < t.count; i++)
			count += memo_proc_owner(t.at[i].pid) == uid ? t.at[i].threads : 0;
	}
	memo_proc_clear(&t);
	return count;
}

/* The kernel's limit by user; not for root, whom it does not count. */
static void limit_processes(const struct memo_start *s)
{
	struct rlimit l;
	if (s->uid == 0 || getrlimit(RLIMIT_NPROC, &l) < 0)
		return;
	rlim_t most = memo_watch_processes() + PROCESSES_SLACK;
	if (s->hold != MEMO_HOLD_USERNS) /* a user namespace counts its own */
		most += threads_of(s->uid);
	if (l.rlim_cur != RLIM_INFINITY && l.rlim_cur <= most)
		return;
	l.rlim_cur = l.rlim_max = most;
	if (setrlimit(RLIMIT_NPROC, &l) < 0)
		errno = 0; /* the watch is left */
}

static int enter_sandbox(struct memo_start *s, enum memo_start_step *step)
{
	*step = MEMO_START_RIGHTS;
	int r = memo_rights_drop();
	if (r < 0)
		return r;
	memo_landlock_enter(s->w, &s->level);
	memo_seccomp_enter(s->w, &s->level);
	*step = MEMO_START_SANDBOX;
	return memo_sandbox_check(s->w, &s->level);
}

_Noreturn void memo_init_task(struct memo_start *s)
{
	enum memo_start_step step = MEMO_START_SESSION;
	int r = task_session(s);
	(void)setpriority(PRIO_PROCESS, 0, s->nice);
	if (r == 0) {
		step = MEMO_START_FILES;
		r = task_files();
	}
	if (r == 0) {
		limit_processes(s);
		if (s->w->job.sandbox.mode != MEMO_SANDBOX_OFF)
			r = enter_sandbox(s, &step);
		memo_init_report(s, MEMO_REPORT_LEVEL, step, 0);
	}
	if (r == 0) {
		step = MEMO_START_EXEC;
		default_signals();
		(void)execve(s->w->program, s->w->job.argv, s->w->envp);
		r = memo_errno();
	}
	memo_init_report(s, MEMO_REPORT_START, step, -r);
	_exit(127);
}

/* ---- init ---- */

void memo_init_open_oom(struct memo_start *s)
{
	s->oom = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
}

pid_t memo_init_fork(struct memo_start *s)
{
	char before[16];
	ssize_t n = s->oom < 0 ? -1 : pread(s->oom, before, sizeof before, 0);
	if (n > 0 && pwrite(s->oom, OOM_TASK, strlen(OOM_TASK), 0) < 0)
		n = -1; /* it is higher already */
	pid_t task = fork();
	if (task != 0 && n > 0 && pwrite(s->oom, before, (size_t)n, 0) < 0)
		errno = 0; /* then we are among the first, too */
	return task;
}

/* Our parent lies outside the namespace, where getppid() cannot see it: the reader of the pipe tells. */
static int follow_worker(const struct memo_start *s)
{
	(void)close(s->report_read);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return memo_errno();
	struct pollfd p = { .fd = s->report_write };
	if (poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP)) != 0)
		_exit(1);
	return 0;
}

/* Reaps whoever is dead; true when @task was among them. */
static bool reap(pid_t task, int *status_out)
{
	bool ended = false;
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
		if (pid == task) {
			*status_out = status;
			ended = true;
		}
		if (pid == 0 || (pid < 0 && errno != EINTR))
			return ended;
	}
}

/* Waits for a signal until the watch is due. */
static int wait_signal(const sigset_t *set, const struct memo_watch *watch, siginfo_t *info)
{
	int64_t left = watch->due_ns - memo_now_ns();
	if (left < 0)
		left = 0;
	const struct timespec t = { .tv_sec = left / MEMO_NS_PER_S, .tv_nsec = left % MEMO_NS_PER_S };
	return sigtimedwait(set, info, &t);
}

/* The wait status of the task. When init ends the kernel ends and reaps all that is left in the namespace, at once and without
 * looking for it: so "SIGKILL to all" is to go. */
static int serve(const struct memo_start *s, pid_t task, const sigset_t *set)
{
	int status = 0;
	struct memo_watch watch;
	memo_watch_begin(&watch, 1, s->w->job.memory_limit_bytes);
	while (!reap(task, &status)) {
		siginfo_t info;
		int sig = wait_signal(set, &watch, &info);
		enum memo_bound bound = memo_watch_look(&watch);
		if (bound != MEMO_BOUND_NONE) {
			memo_init_report(s, MEMO_REPORT_BOUND, MEMO_START_EXEC, (int)bound);
			return SIGKILL;
		}
		if (sig == SIGCHLD || sig < 0 || info.si_pid != 0)
			continue; /* a sender whom we can see is in the namespace: not the worker */
		if (sig == MEMO_INIT_SOFT)
			memo_descend_terminate(task);
		else if (sig == MEMO_INIT_HARD)
			return SIGKILL;
	}
	memo_watch_end(&watch);
	return status;
}

/* A bound of the kernel on the numbers of this namespace's processes, which holds for root too. Before version 6.14 the file is
 * the whole machine's: hands off. */
static void limit_numbers(void)
{
	struct utsname u;
	int major, minor;
	char text[32];
	if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2 || major < 6 ||
	    (major == 6 && minor < 14))
		return;
	MEMO_AUTO_FD int fd = open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC);
	int n = snprintf(text, sizeof text, "%u", NUMBERS_PART * memo_watch_processes());
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		errno = 0; /* the watch is left */
}

/* The watch must be heard in a crowd of processes; what init starts does not inherit that. */
static void come_first(struct memo_start *s)
{
	const struct sched_param none = { .sched_priority = 0 };
	errno = 0;
	int now = getpriority(PRIO_PROCESS, 0);
	s->nice = errno == 0 ? now : 0;
	if (sched_getscheduler(0) == SCHED_OTHER &&
	    sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none) == 0)
		(void)setpriority(PRIO_PROCESS, 0, WATCH_NICE);
}

static int own_view(struct memo_start *s)
{
	int r = s->hold == MEMO_HOLD_USERNS ? memo_view_map(s->uid, s->gid) : 0;
	return r == 0 ? memo_view_hold() : r;
}

_Noreturn void memo_init_main(struct memo_start *s)
{
	(void)prctl(PR_SET_NAME, "memofs-init");
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, MEMO_INIT_SOFT);
	(void)sigaddset(&set, MEMO_INIT_HARD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	int r = follow_worker(s);
	if (r == 0)
		r = own_view(s);
	if (r < 0) {
		memo_init_report(s, MEMO_REPORT_REFUSED, MEMO_START_FORK, -r);
		_exit(1);
	}
	if (s->w->job.sandbox.mode != MEMO_SANDBOX_OFF)
		r = memo_view_close(s->w, &s->level);
	if (r < 0) {
		memo_init_report(s, MEMO_REPORT_START, MEMO_START_VIEW, -r);
		_exit(1);
	}
	memo_init_open_oom(s); /* not before: a file open for writing keeps its mount from becoming read-only */
	limit_numbers();
	come_first(s);
	pid_t task = memo_init_fork(s);
	if (task == 0)
		memo_init_task(s);
	if (task < 0) {
		memo_init_report(s, MEMO_REPORT_START, MEMO_START_FORK, errno);
		_exit(1);
	}
	int status = serve(s, task, &set);
	if (memo_view_covers_output(s->w))
		memo_init_report(s, MEMO_REPORT_COVERED, MEMO_START_EXEC, 0);
	memo_init_report(s, MEMO_REPORT_STATUS, MEMO_START_EXEC, status);
	_exit(0);
}
