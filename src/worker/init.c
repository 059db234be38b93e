/* Init: what runs between fork and exec, and process 1 of a task's pid namespace.
 *
 * The parent has one thread, so that after fork everything may be called; what is here still keeps to plain system
 * calls. A start that fails is reported with its step, the process ends with 127. */
#include "run.h"

#include "base/error.h"
#include "base/scope.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void memo_init_report(const struct memo_start *s, enum memo_report_kind kind, enum memo_start_step step, int value)
{
	const struct memo_report r = { .kind = kind, .step = step, .value = value };
	/* The pipe has room for all reports of one attempt; a reader that is gone needs none. */
	if (write(s->report_write, &r, sizeof r) != (ssize_t)sizeof r)
		return;
}

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
	if (s->pidns)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return memo_errno();
	return getppid() == s->worker ? 0 : -ESRCH;
}

_Noreturn void memo_init_task(const struct memo_start *s)
{
	enum memo_start_step step = MEMO_START_SESSION;
	int r = task_session(s);
	if (r == 0) {
		step = MEMO_START_FILES;
		r = task_files();
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

/* The namespace's own view: mounts made here stay here, those of the machine still come and go (slave), and /proc
 * shows the namespace's processes. */
static int own_view(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return memo_errno();
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return memo_errno();
	return 0;
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

/* Everything else in the namespace; reaped here, so that its use of the machine is counted. */
static void end_rest(void)
{
	if (kill(-1, SIGKILL) < 0)
		return;
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		continue;
}

static int serve(pid_t task, const sigset_t *set)
{
	int status = 0;
	while (!reap(task, &status)) {
		siginfo_t info;
		int sig = sigwaitinfo(set, &info);
		if (sig == SIGCHLD || sig < 0 || info.si_pid != 0)
			continue; /* a sender whom we can see is in the namespace: not the worker */
		if (sig == MEMO_INIT_SOFT)
			memo_descend_terminate(task);
		else if (sig == MEMO_INIT_HARD)
			(void)kill(-1, SIGKILL);
	}
	return status;
}

_Noreturn void memo_init_main(const struct memo_start *s)
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
		r = own_view();
	if (r < 0) {
		memo_init_report(s, MEMO_REPORT_REFUSED, MEMO_START_FORK, -r);
		_exit(1);
	}
	pid_t task = fork();
	if (task == 0)
		memo_init_task(s);
	if (task < 0) {
		memo_init_report(s, MEMO_REPORT_START, MEMO_START_FORK, errno);
		_exit(1);
	}
	int status = serve(task, &set);
	end_rest();
	memo_init_report(s, MEMO_REPORT_STATUS, MEMO_START_EXEC, status);
	_exit(0);
}
