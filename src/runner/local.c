/* The local executor: one thread spawns the workers and polls their pidfds.
 *
 * A child is a list entry; its place in the poll array is rebuilt for each round (tens of children, not thousands: the
 * queue in front of the executor keeps within `cpus`, save for tasks that wait for others). */
#include "executor.h"

#include "base/scope.h"
#include "base/sync.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	struct child *next;
	void *tag;
	char *attempt;
	void (*started)(void *arg, void *tag, pid_t pid);
	pid_t pid; /* 0: not started yet */
	int pidfd;
	bool cancel; /* guarded by mu */
	bool synchronous; /* its tag is a struct synchronous */
	bool asked; /* SIGTERM was sent; the executor's thread only */
	int64_t kill_ns; /* when to send SIGKILL */
};

struct memo_local {
	struct memo_mutex mu;
	char *worker;
	memo_done_fn *done;
	void *arg;
	pthread_t thread;
	int wake;
	struct child *list; /* guarded by mu; entries are freed by the executor's thread */
	bool closing; /* guarded by mu */
	bool no_runs; /* guarded by mu */
	struct memo_cond ended; /* a synchronous child is gone */
};

/* By number: glibc has the wrappers only since 2.36. */
static int open_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void send_signal(int pidfd, int sig)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0)
		return; /* gone already */
}

static void wake(struct memo_local *l)
{
	uint64_t one = 1;
	if (write(l->wake, &one, sizeof one) < 0)
		return; /* the counter is full: it is awake */
}

/* Closes everything but the standard descriptors in the child: nothing of the daemon reaches a task. */
static int spawn_worker(struct memo_local *l, struct child *c)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	int e = posix_spawn_file_actions_init(&fa);
	if (e != 0)
		return -e;
	e = posix_spawnattr_init(&at);
	if (e != 0) {
		(void)posix_spawn_file_actions_destroy(&fa);
		return -e;
	}
	sigset_t none;
	sigset_t all;
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawnattr_setsigmask(&at, &none);
	(void)posix_spawnattr_setsigdefault(&at, &all);
	(void)posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	e = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (e == 0)
		e = posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	if (e == 0)
		e = posix_spawn_file_actions_addclosefrom_np(&fa, 3);
	char *argv[] = { l->worker, c->attempt, NULL };
	char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
	char lang[] = "LANG=C.UTF-8";
	char *envp[] = { path, lang, NULL };
	if (e == 0)
		e = posix_spawn(&c->pid, l->worker, &fa, &at, argv, envp);
	(void)posix_spawn_file_actions_destroy(&fa);
	(void)posix_spawnattr_destroy(&at);
	if (e != 0)
		return -e;
	c->pidfd = open_pidfd(c->pid);
	if (c->pidfd >= 0)
		return 0;
	int r = memo_errno();
	(void)kill(c->pid, SIGKILL);
	(void)waitpid(c->pid, NULL, 0);
	return r;
}

static void child_free(struct child *c)
{
	if (c->pidfd >= 0)
		(void)close(c->pidfd);
	free(c->attempt);
	free(c);
}

/* A child whose end its starter waits for. */
struct synchronous {
	bool ended; /* guarded by the executor's mu */
	int code;
};

static void note_end(struct memo_local *l, struct child *c, int code) MEMO_TSA(requires_capability(l->mu))
{
	struct synchronous *s = c->tag;
	s->ended = true;
	s->code = code;
	memo_cond_broadcast(&l->ended);
}

/* Takes the child out of the list and tells its owner. */
static void finish(struct memo_local *l, struct child *c, int code)
{
	memo_mutex_lock(&l->mu);
	struct child **p = &l->list;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	bool mine = c->synchronous;
	if (mine)
		note_end(l, c, code);
	memo_mutex_unlock(&l->mu);
	if (!mine)
		l->done(l->arg, c->tag, code);
	child_free(c);
}

/* A child that is to be started or ended; NULL: none. */
static struct child *next_task(struct memo_local *l, bool *start_out)
{
	struct child *found = NULL;
	memo_mutex_lock(&l->mu);
	for (struct child *c = l->list; c != NULL && found == NULL; c = c->next) {
		if (c->pid == 0 || ((c->cancel || l->closing) && !c->asked)) {
			found = c;
			*start_out = c->pid == 0 && !c->cancel && !l->closing;
		}
	}
	memo_mutex_unlock(&l->mu);
	return found;
}

static void serve_requests(struct memo_local *l)
{
	bool start;
	struct child *c;
	while ((c = next_task(l, &start)) != NULL) {
		if (c->pid == 0 && !start) {
			finish(l, c, -ECANCELED);
			continue;
		}
		if (start) {
			int r = spawn_worker(l, c);
			if (r < 0)
				finish(l, c, r);
			else
				c->started(l->arg, c->tag, c->pid);
			continue;
		}
		c->asked = true;
		c->kill_ns = memo_now_ns() + MEMO_LOCAL_GRACE_MS * MEMO_NS_PER_MS;
		send_signal(c->pidfd, SIGTERM);
	}
}

/* The running children into @fds (grown as needed); the time until the next SIGKILL is due. */
static int collect(struct memo_local *l, struct pollfd **fds, struct child ***kids, size_t *cap, int *timeout_ms)
{
	size_t n = 1;
	int64_t now = memo_now_ns();
	*timeout_ms = -1;
	memo_mutex_lock(&l->mu);
	for (struct child *c = l->list; c != NULL; c = c->next) {
		if (c->pid == 0)
			continue;
		if (n + 1 > *cap) {
			size_t want = *cap * 2 + 16;
			struct pollfd *f = realloc(*fds, want * sizeof *f);
			if (f != NULL)
				*fds = f;
			struct child **k = realloc(*kids, want * sizeof(struct child *));
			if (k != NULL)
				*kids = k;
			if (f == NULL || k == NULL)
				break; /* the rest is polled when memory is back */
			*cap = want;
		}
		(*fds)[n] = (struct pollfd){ .fd = c->pidfd, .events = POLLIN };
		(*kids)[n++] = c;
		if (c->asked) {
			int64_t left = (c->kill_ns - now) / MEMO_NS_PER_MS + 1;
			if (left <= 0) {
				send_signal(c->pidfd, SIGKILL);
				left = 1000;
			}
			if (*timeout_ms < 0 || left < *timeout_ms)
				*timeout_ms = (int)left;
		}
	}
	memo_mutex_unlock(&l->mu);
	return (int)n;
}

static bool finished(struct memo_local *l)
{
	memo_mutex_lock(&l->mu);
	bool end = l->closing && l->list == NULL;
	memo_mutex_unlock(&l->mu);
	return end;
}

static void *run(void *arg)
{
	struct memo_local *l = arg;
	size_t cap = 16;
	struct pollfd *fds = calloc(cap, sizeof *fds);
	struct child **kids = calloc(cap, sizeof(struct child *));
	if (fds == NULL || kids == NULL)
		abort(); /* at start-up, a few hundred bytes */
	while (!finished(l)) {
		serve_requests(l);
		int timeout;
		int n = collect(l, &fds, &kids, &cap, &timeout);
		fds[0] = (struct pollfd){ .fd = l->wake, .events = POLLIN };
		if (finished(l))
			break;
		if (poll(fds, (nfds_t)n, timeout) < 0)
			continue;
		if (fds[0].revents != 0) {
			uint64_t count;
			if (read(l->wake, &count, sizeof count) < 0)
				continue;
		}
		for (int i = 1; i < n; i++) {
			if (fds[i].revents == 0)
				continue;
			siginfo_t si;
			while (waitid((idtype_t)3 /* P_PIDFD */, (id_t)kids[i]->pidfd, &si, WEXITED) < 0 &&
			       errno == EINTR)
				continue;
			finish(l, kids[i], 0);
		}
	}
	free(fds);
	free(kids);
	return NULL;
}

int memo_local_open(const char *worker, memo_done_fn *done, void *arg, struct memo_local **out,
		    struct memo_err *err)
{
	if (access(worker, X_OK) < 0)
		return memo_fail(err, memo_errno(), "the worker program '%s' cannot be run: %s", worker,
				 memo_strerror(errno));
	struct memo_local *l = calloc(1, sizeof *l);
	if (l == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	memo_mutex_init(&l->mu);
	memo_cond_init(&l->ended);
	l->done = done;
	l->arg = arg;
	l->worker = strdup(worker);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = l->worker == NULL ? -ENOMEM : l->wake < 0 ? memo_errno() : 0;
	if (r == 0)
		r = memo_thread_start(&l->thread, "memofs-local", run, l);
	if (r < 0) {
		if (l->wake >= 0)
			(void)close(l->wake);
		memo_cond_clear(&l->ended);
		memo_mutex_clear(&l->mu);
		free(l->worker);
		free(l);
		return memo_fail(err, r, "cannot start the local executor: %s", memo_strerror(r));
	}
	*out = l;
	return 0;
}

void memo_local_close(struct memo_local *l)
{
	if (l == NULL)
		return;
	memo_mutex_lock(&l->mu);
	l->closing = true;
	memo_mutex_unlock(&l->mu);
	wake(l);
	(void)pthread_join(l->thread, NULL);
	(void)close(l->wake);
	memo_cond_clear(&l->ended);
	memo_mutex_clear(&l->mu);
	free(l->worker);
	free(l);
}

static int start(struct memo_local *l, const char *attempt, void *tag,
		 void (*started)(void *arg, void *tag, pid_t pid), bool synchronous)
{
	struct child *c = calloc(1, sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	c->attempt = strdup(attempt);
	if (c->attempt == NULL) {
		free(c);
		return -ENOMEM;
	}
	c->tag = tag;
	c->started = started;
	c->pidfd = -1;
	c->synchronous = synchronous;
	memo_mutex_lock(&l->mu);
	c->cancel = synchronous && l->no_runs;
	struct child **p = &l->list; /* at the end: first come, first served */
	while (*p != NULL)
		p = &(*p)->next;
	*p = c;
	memo_mutex_unlock(&l->mu);
	wake(l);
	return 0;
}

int memo_local_start(struct memo_local *l, const char *attempt, void *tag,
		     void (*started)(void *arg, void *tag, pid_t pid))
{
	return start(l, attempt, tag, started, false);
}

static void not_needed(void *arg, void *tag, pid_t pid)
{
	(void)arg;
	(void)tag;
	(void)pid;
}

int memo_local_run(struct memo_local *l, const char *attempt)
{
	struct synchronous s = { 0 };
	memo_mutex_lock(&l->mu);
	bool refused = l->no_runs || l->closing;
	memo_mutex_unlock(&l->mu);
	if (refused)
		return -ESHUTDOWN;
	int code = start(l, attempt, &s, not_needed, true);
	if (code < 0)
		return code;
	memo_mutex_lock(&l->mu);
	while (!s.ended)
		memo_cond_wait(&l->ended, &l->mu);
	memo_mutex_unlock(&l->mu);
	return s.code;
}

void memo_local_end_runs(struct memo_local *l)
{
	memo_mutex_lock(&l->mu);
	l->no_runs = true;
	for (struct child *c = l->list; c != NULL; c = c->next)
		c->cancel = c->cancel || c->synchronous;
	memo_mutex_unlock(&l->mu);
	wake(l);
}

void memo_local_cancel(struct memo_local *l, void *tag)
{
	memo_mutex_lock(&l->mu);
	for (struct child *c = l->list; c != NULL; c = c->next) {
		if (c->tag == tag)
			c->cancel = true;
	}
	memo_mutex_unlock(&l->mu);
	wake(l);
}
