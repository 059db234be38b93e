/* Run: starts the task, waits for the end of its whole process tree, and says how it went.
 *
 * Ending a tree goes in stages, each with a deadline, whether for the time limit, a SIGTERM to us, or a lost owner:
 *
 *	RUNNING -> SOFT (SIGTERM to the task's group) -> HARD (SIGKILL to all) -> LAST (SIGKILL to init) -> given up
 *
 * One place waits: sigtimedwait for a child's end, a request to stop, or the deadline of the stage. */
#include "run.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/sync.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_NS (1 * MEMO_NS_PER_S) /* between SIGTERM and SIGKILL */
#define INIT_NS (1 * MEMO_NS_PER_S) /* for init to end the rest before it is killed itself */
#define GIVE_UP_NS (10 * MEMO_NS_PER_S) /* for the kernel to end what was killed */
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define SWEEP_NS (20 * MEMO_NS_PER_MS) /* between two rounds of killing without a namespace */

enum stage { STAGE_RUNNING, STAGE_SOFT, STAGE_HARD, STAGE_LAST };

struct run {
	struct memo_worker *w;
	struct memo_start start;
	pid_t leader; /* init, or the task */
	bool ended; /* the leader was reaped ... */
	int status; /* ... with this wait status */
	enum stage stage;
	int64_t deadline; /* of the stage; 0: none */
	bool timed_out, cancelled;
	struct memo_watch watch; /* without a namespace, in which init does it */
	enum memo_bound bound;
};

/* fork() with flags: the child goes on here with a copy of the memory. */
static pid_t clone_flags(unsigned long flags)
{
#if defined(__s390__) || defined(__s390x__)
	return (pid_t)syscall(SYS_clone, NULL, flags | SIGCHLD, NULL, NULL, 0);
#else
	return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
#endif
}

/* Takes who is dead; true when no child is left, dead or alive. */
static bool reap(struct run *r)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
		if (pid <= 0)
			return pid < 0 && errno == ECHILD;
		if (pid == r->leader) {
			r->ended = true;
			r->status = status;
		}
	}
}

static bool has_init(const struct run *r)
{
	return r->start.hold != MEMO_HOLD_TREE;
}

static void enter_stage(struct run *r, enum stage stage)
{
	int64_t now = memo_now_ns();
	r->stage = stage;
	switch (stage) {
	case STAGE_RUNNING:
		r->deadline = r->w->job.time_ms > 0 ? now + r->w->job.time_ms * MEMO_NS_PER_MS : 0;
		break;
	case STAGE_SOFT:
		r->deadline = now + GRACE_NS;
		if (has_init(r))
			(void)kill(r->leader, MEMO_INIT_SOFT);
		else
			memo_descend_terminate(r->leader);
		break;
	case STAGE_HARD:
		r->deadline = now + INIT_NS;
		if (has_init(r))
			(void)kill(r->leader, MEMO_INIT_HARD);
		else
			(void)memo_descend_kill();
		break;
	case STAGE_LAST:
		r->deadline = now + GIVE_UP_NS;
		(void)kill(r->leader, SIGKILL);
		break;
	}
}

static void stop_asked(struct run *r)
{
	if (r->stage == STAGE_RUNNING)
		r->cancelled = true;
	/* A second request, or nobody left to be polite for: at once. */
	if (r->stage == STAGE_RUNNING && !memo_worker_orphaned(r->w))
		enter_stage(r, STAGE_SOFT);
	else if (r->stage <= STAGE_SOFT)
		enter_stage(r, STAGE_HARD);
}

/* Waits for one of @set until @deadline (0: for ever). The signal, or 0 when the time is up. */
static int wait_signal(const sigset_t *set, int64_t deadline)
{
	int64_t left = deadline - memo_now_ns();
	if (deadline != 0 && left <= 0)
		return 0;
	const struct timespec t = { .tv_sec = left / MEMO_NS_PER_S, .tv_nsec = left % MEMO_NS_PER_S };
	int sig = deadline == 0 ? sigwaitinfo(set, NULL) : sigtimedwait(set, NULL, &t);
	return sig > 0 ? sig : 0;
}

/* Of the stage, or of the watch. */
static int64_t next_deadline(const struct run *r)
{
	if (has_init(r) || r->bound != MEMO_BOUND_NONE)
		return r->deadline;
	return r->deadline == 0 || r->watch.due_ns < r->deadline ? r->watch.due_ns : r->deadline;
}

/* -ETIMEDOUT: the leader could not be ended. */
static int wait_leader(struct run *r)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	for (;;) {
		(void)reap(r);
		if (r->ended)
			return 0;
		int sig = wait_signal(&set, next_deadline(r));
		if (!has_init(r) && r->bound == MEMO_BOUND_NONE) {
			r->bound = memo_watch_look(&r->watch);
			if (r->bound != MEMO_BOUND_NONE && r->stage < STAGE_HARD)
				enter_stage(r, STAGE_HARD);
		}
		if (sig == SIGCHLD)
			continue;
		if (sig > 0) {
			stop_asked(r);
		} else if (r->deadline != 0 && memo_now_ns() >= r->deadline) {
			if (r->stage == STAGE_LAST)
				return -ETIMEDOUT;
			if (r->stage == STAGE_RUNNING)
				r->timed_out = true;
			enter_stage(r, (enum stage)(r->stage + 1));
		}
	}
}

/* Without a namespace: ends what the task left behind. Init has done so otherwise. */
static int sweep(struct run *r)
{
	sigset_t child;
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	int64_t give_up = memo_now_ns() + GIVE_UP_NS;
	for (;;) {
		if (reap(r))
			return 0;
		int err = memo_descend_kill();
		if (err < 0)
			return err;
		int64_t now = memo_now_ns();
		if (now >= give_up)
			return -ETIMEDOUT;
		(void)wait_signal(&child, now + SWEEP_NS);
	}
}

/* What the children reported; each kind comes at most once. */
struct reports {
	bool covered, refused, failed, ended, begun;
	struct memo_report failure;
	int refusal, status;
	enum memo_bound bound;
	struct memo_level level; /* with @begun */
};

static void read_reports(const struct run *r, struct reports *out)
{
	struct memo_report m;
	*out = (struct reports){ 0 };
	while (read(r->start.report_read, &m, sizeof m) == (ssize_t)sizeof m) {
		if (m.kind == MEMO_REPORT_REFUSED) {
			out->refused = true;
			out->refusal = m.value;
		} else if (m.kind == MEMO_REPORT_START) {
			out->failed = true;
			out->failure = m;
		} else if (m.kind == MEMO_REPORT_LEVEL) {
			out->begun = true;
			out->level = m.level;
		} else if (m.kind == MEMO_REPORT_COVERED) {
			out->covered = true;
		} else if (m.kind == MEMO_REPORT_BOUND) {
			out->bound = (enum memo_bound)m.value;
		} else {
			out->ended = true;
			out->status = m.value;
		}
	}
}

/* execve says ENOENT also where the file is there but the interpreter of its first line is not. */
static int explain_exec(struct memo_worker *w, int error)
{
	const char *name = w->job.argv[0], *hint = "";
	w->exit.code = error == ENOENT ? 127 : 126;
	if (error == ENOENT && faccessat(w->work, w->program, F_OK, 0) == 0)
		hint = " (the program that its first line names after #!)";
	else if (error == ENOEXEC)
		hint = "; a script must begin with a line such as #!/bin/sh";
	return memo_worker_fail(w, -error, MEMO_EXIT_FAILED, "cannot run '%s': %s%s", name, memo_strerror(error),
				hint);
}

static int explain_start(struct memo_worker *w, const struct memo_report *m)
{
	static const char *const step[] = {
		[MEMO_START_FORK] = "a process cannot be made",
		[MEMO_START_VIEW] = "its view of the files cannot be made",
		[MEMO_START_RIGHTS] = "its rights cannot be given up",
		[MEMO_START_FILES] = "its standard files cannot be made",
		[MEMO_START_SESSION] = "its session cannot be made",
	};
	if (m->step == MEMO_START_EXEC)
		return explain_exec(w, m->value);
	if (m->step == MEMO_START_SANDBOX) {
		MEMO_AUTO_FREE char *missing = memo_sandbox_missing(w, &m->level);
		return memo_worker_fail(
			w, -m->value, MEMO_EXIT_FAILED,
			"the setting 'sandbox' is 'on', and this machine does not offer %s; use one that "
			"does, or allow less with 'memofs config sandbox auto'",
			missing != NULL ? missing : "what it needs");
	}
	return memo_worker_error(w, -m->value, MEMO_EXIT_ERROR, "the task was not started: %s: %s", step[m->step],
				 memo_strerror(m->value));
}

static int explain_bound(struct memo_worker *w, enum memo_bound bound)
{
	uint64_t bytes = w->job.memory_limit_bytes;
	bool small = bytes < GIB;
	double size = (double)bytes / (small ? MIB : GIB);
	const char *unit = small ? "MiB" : "GiB";
	if (bound == MEMO_BOUND_PROCESSES)
		return memo_worker_fail(w, -EIO, MEMO_EXIT_FAILED,
					"the task had more than %u processes and threads at a time, and was ended",
					memo_watch_processes());
	if (w->job.memory_bytes > 0)
		return memo_worker_fail(w, -EIO, MEMO_EXIT_FAILED,
					"the task used more than its memory, %.4g %s: raise requirements.memory",
					size, unit);
	return memo_worker_fail(
		w, -EIO, MEMO_EXIT_FAILED,
		"the task used more than %.4g %s of memory, which is all that tasks may use here: raise "
		"'memofs config memory', or declare requirements.memory",
		size, unit);
}

/* A status that is not 0. What the sandbox refuses looks to a program like any other error; it must not look so to people. */
static int explain_status(struct memo_worker *w, const struct reports *rep)
{
	bool inside = w->job.sandbox.mode != MEMO_SANDBOX_OFF &&
		      (rep->level.landlock > 0 || rep->level.readonly || rep->level.network != MEMO_NETWORK_OPEN);
	const char *hint = "";
	if (inside && memo_sandbox_was_felt(w))
		hint = "; it runs in the sandbox: other directories must be named by 'memofs config readable' or "
		       "'writable', "
		       "the network by requirements.network";
	return memo_worker_fail(w, -EIO, MEMO_EXIT_FAILED, "the task ended with status %d%s", w->exit.code, hint);
}

/* From the wait status of the task to the attempt's outcome; 0 when the task did well. */
static int judge(struct run *r, int status, const struct reports *rep)
{
	struct memo_exit *x = &r->w->exit;
	enum memo_bound bound = rep->bound != MEMO_BOUND_NONE ? rep->bound : r->bound;
	x->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	x->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (r->cancelled)
		return memo_worker_fail(r->w, -ECANCELED, MEMO_EXIT_CANCELLED,
					memo_worker_orphaned(r->w)
						? "the owner of the task ended, and the task with it"
						: "the task was cancelled");
	if (bound != MEMO_BOUND_NONE)
		return explain_bound(r->w, bound);
	if (r->timed_out)
		return memo_worker_fail(r->w, -ETIMEDOUT, MEMO_EXIT_TIMEOUT,
					"the task took longer than its limit of %.3g s (requirements.time)",
					(double)r->w->job.time_ms / 1000);
	if (x->signal != 0)
		return memo_worker_fail(r->w, -EIO, MEMO_EXIT_FAILED, "the task was ended by signal %d (%s)",
					x->signal,
					sigdescr_np(x->signal) != NULL ? sigdescr_np(x->signal) : "unknown");
	return x->code != 0 ? explain_status(r->w, rep) : 0;
}

static void take_usage(struct memo_worker *w, int64_t started)
{
	struct rusage u;
	w->exit.ended_ns = memo_wall_ns();
	w->exit.wall_ms = (memo_now_ns() - started) / MEMO_NS_PER_MS;
	if (getrusage(RUSAGE_CHILDREN, &u) < 0)
		return;
	w->exit.cpu_ms = (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
			 (int64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
	w->exit.max_rss_kib = u.ru_maxrss;
}

static int start(struct run *r, enum memo_hold hold)
{
	static const unsigned long flags[] = {
		[MEMO_HOLD_PIDNS] = CLONE_NEWPID | CLONE_NEWNS,
		[MEMO_HOLD_USERNS] = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER,
	};
	int fd[2];
	r->ended = false;
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return memo_errno();
	r->start = (struct memo_start){
		.w = r->w,
		.report_read = fd[0],
		.report_write = fd[1],
		.hold = hold,
		.worker = getpid(),
		.uid = geteuid(),
		.gid = getegid(),
		.oom = -1,
		.nice = getpriority(PRIO_PROCESS, 0),
		.level = { .user_namespace = hold == MEMO_HOLD_USERNS },
	};
	if (hold == MEMO_HOLD_TREE)
		memo_init_open_oom(&r->start);
	r->leader = has_init(r) ? clone_flags(flags[hold]) : memo_init_fork(&r->start);
	if (r->leader == 0 && has_init(r))
		memo_init_main(&r->start);
	if (r->leader == 0)
		memo_init_task(&r->start);
	int err = r->leader < 0 ? memo_errno() : 0;
	(void)close(fd[1]);
	if (err < 0)
		(void)close(fd[0]);
	return err;
}

/* One life of a tree, from its start to its end. 1: namespaces are refused here, nothing was started. */
static int live(struct run *r, enum memo_hold hold, struct reports *out)
{
	if (hold == MEMO_HOLD_TREE && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return memo_errno();
	int err = start(r, hold);
	if (err < 0)
		return hold != MEMO_HOLD_TREE ? 1 : err;
	memo_watch_begin(&r->watch, getpid(), r->w->job.memory_limit_bytes);
	enter_stage(r, STAGE_RUNNING);
	err = wait_leader(r);
	if (err == 0 && !has_init(r))
		err = sweep(r);
	memo_watch_end(&r->watch);
	read_reports(r, out);
	(void)close(r->start.report_read);
	return err == 0 && out->refused ? 1 : err;
}

static int explain_covered(struct memo_worker *w)
{
	return memo_worker_fail(
		w, -EXDEV, MEMO_EXIT_OUTPUT,
		"the task mounted another file system over its output '%s', and what it wrote there went "
		"with it; write into the work directory itself",
		w->job.output_path);
}

static int finish(struct run *r, const struct reports *rep)
{
	if (rep->failed && !r->cancelled)
		return explain_start(r->w, &rep->failure);
	if (!has_init(r) || rep->ended) {
		int err = judge(r, has_init(r) ? rep->status : r->status, rep);
		return err == 0 && rep->covered ? explain_covered(r->w) : err;
	}
	/* Init was killed before it could report, by us or by a stranger. */
	return judge(r, SIGKILL, rep);
}

/* In the order in which they are tried; a user namespace belongs to the sandbox, since files of others look strange in it. */
static int live_somehow(struct run *r, struct reports *rep)
{
	const struct memo_worker *w = r->w;
	int err = 1;
	if (w->isolation != MEMO_ISOLATION_SUBREAPER)
		err = live(r, MEMO_HOLD_PIDNS, rep);
	if (err == 1 && w->isolation != MEMO_ISOLATION_SUBREAPER && w->job.sandbox.mode != MEMO_SANDBOX_OFF)
		err = live(r, MEMO_HOLD_USERNS, rep);
	if (err == 1 && w->isolation != MEMO_ISOLATION_PIDNS)
		err = live(r, MEMO_HOLD_TREE, rep);
	return err;
}

static void record_level(struct run *r, const struct reports *rep)
{
	static const char *const held[] = {
		[MEMO_HOLD_PIDNS] = "pid namespace",
		[MEMO_HOLD_USERNS] = "user and pid namespace",
		[MEMO_HOLD_TREE] = "subreaper",
	};
	struct memo_exit *x = &r->w->exit;
	free(x->isolation);
	x->isolation = strdup(has_init(r) ? "pidns" : "subreaper");
	json_decref(x->sandbox);
	x->sandbox = rep->begun ? memo_sandbox_record(r->w, &rep->level, held[r->start.hold]) : NULL;
}

int memo_worker_run(struct memo_worker *w)
{
	struct run r = { .w = w };
	struct reports rep = { 0 };
	int64_t started = memo_now_ns();
	w->exit.started_ns = memo_wall_ns();
	int err = live_somehow(&r, &rep);
	take_usage(w, started);
	record_level(&r, &rep);
	if (err == 1)
		return memo_worker_fail(w, -EPERM, MEMO_EXIT_ERROR, "pid namespaces are refused on this machine");
	if (err == -ETIMEDOUT)
		return memo_worker_fail(
			w, err, MEMO_EXIT_ERROR,
			"processes of the task cannot be ended; they hang in the kernel or belong to another user");
	if (err < 0)
		return memo_worker_error(w, err, MEMO_EXIT_ERROR, "the task was not started: %s",
					 memo_strerror(err));
	return finish(&r, &rep);
}
