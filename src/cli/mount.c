/* The daemon: every door opened in order, a loop over signals, every door closed in reverse.
 *
 * The process forks before it has threads, so that nothing of RocksDB or the runner lives on both sides. The parent waits on
 * a pipe for lines, of which the first letter says what they are: "n" a notice, "e" the errno and the text of a failure,
 * "r" ready. The daemon never touches its mount; the parent does, once, to be sure that it answers. */
#include "mount.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/sync.h"
#include "cli.h"
#include "control/client.h"
#include "control/server.h"
#include "engine.h"
#include "filesystem/filesystem.h"
#include "runner/run.h"
#include "runner/runner.h"
#include "store/store.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define OWNER_POLL_MS 200 /* between two looks whether the store is free */
#define READY_MS 10000
#define REPORT_BYTES ((size_t)1 << 20)

struct daemon {
	const struct cli_mount_options *o;
	struct memo_store *store;
	struct memo_runner *runner;
	struct memo_fs *fs;
	struct memo_server *server;
	int ended; /* eventfd: the kernel closed the connection */
	int signals;
	struct memo_mutex report_mu; /* a rebuild talks from threads of its own */
	int report; /* guarded by report_mu: pipe to the parent; -1: in the foreground */
};

int cli_mount_find(const char *path, char **mountpoint_out, char **store_out)
{
	return memo_fs_find_mount(path, mountpoint_out, store_out);
}

int cli_mount_end(const char *mountpoint, bool lazy, struct memo_err *err)
{
	return memo_fs_unmount(mountpoint, lazy, err);
}

static void on_ended(void *arg)
{
	const struct daemon *d = arg;
	(void)eventfd_write(d->ended, 1);
}

static void report(struct daemon *d, char kind, const char *text)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_buf_printf(&b, "%c%s\n", kind, text);
	memo_mutex_lock(&d->report_mu);
	if (d->report >= 0 && r == 0)
		r = memo_io_write_all(d->report, b.data, b.len);
	memo_mutex_unlock(&d->report_mu);
	(void)r; /* the parent was killed: the daemon stays */
}

static void end_report(struct daemon *d)
{
	memo_mutex_lock(&d->report_mu);
	if (d->report >= 0)
		(void)close(d->report);
	d->report = -1;
	memo_mutex_unlock(&d->report_mu);
}

/* Each line of what was repaired, to the log and to whoever started the daemon. */
static void notice_lines(struct daemon *d, struct memo_buf *notice)
{
	char *line = notice->data;
	while (line != NULL && *line != '\0') {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		memo_log(MEMO_LOG_WARN, "%s", line);
		report(d, 'n', line);
		line = end != NULL ? end + 1 : NULL;
	}
}

/* No signal may end a thread in the middle of something: all are blocked, and read by the loop. */
static int take_signals(struct daemon *d, struct memo_err *err)
{
	sigset_t all, ours;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, NULL);
	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGTERM);
	(void)sigaddset(&ours, SIGINT);
	(void)sigaddset(&ours, SIGHUP);
	d->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	d->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->signals < 0 || d->ended < 0)
		return memo_fail(err, memo_errno(), "cannot make a descriptor: %s", memo_strerror(memo_errno()));
	return 0;
}

static void raise_files(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			memo_log(MEMO_LOG_WARN, "cannot raise the limit of open files: %s",
				 memo_strerror(memo_errno()));
	}
}

static void alarm_line(void *arg, const char *text)
{
	(void)arg;
	memo_log(MEMO_LOG_ERROR, "%s", text);
}

/* A line of the store: to the log, and to whoever started the daemon while he waits. */
static void on_say(void *arg, bool progress, const char *line)
{
	struct daemon *d = arg;
	memo_log(progress ? MEMO_LOG_INFO : MEMO_LOG_WARN, "%s", line);
	report(d, 'n', line);
}

/* A daemon serves the store. One that was killed and is not quite gone takes the connection, too, but never answers. */
static bool served(const char *store)
{
	struct memo_client *other = NULL;
	if (memo_client_connect(store, &other, NULL) < 0)
		return false;
	MEMO_AUTO_JSON json_t *hello = json_pack("{s:s}", "op", "hello");
	MEMO_AUTO_JSON json_t *reply = NULL;
	int r = hello == NULL ? -ENOMEM : memo_client_call(other, hello, NULL, NULL, &reply, NULL, NULL);
	memo_client_close(other);
	return r == 0;
}

/* Another command soon gives the store back. Another daemon does not: once it answers, waiting is over. */
static int open_store(struct daemon *d, struct memo_err *err)
{
	char purpose[512];
	(void)snprintf(purpose, sizeof purpose, "mount %.480s", d->o->mountpoint);
	int64_t deadline = memo_now_ns() + CLI_WAIT_MS * MEMO_NS_PER_MS;
	for (;;) {
		int r = memo_store_open_told(d->o->store, purpose, OWNER_POLL_MS, on_say, d, &d->store, err);
		if (r != -EBUSY || memo_now_ns() > deadline || served(d->o->store))
			return r;
	}
}

static int open_runner(struct daemon *d, struct memo_err *err)
{
	MEMO_AUTO_FREE char *worker = NULL;
	int r = memo_engine_worker(&worker, err);
	if (r == 0)
		r = open_store(d, err);
	if (r < 0)
		return r;
	memo_store_set_alarm(d->store, alarm_line, NULL);
	struct memo_runner_options o = { .store = d->store, .worker = worker, .mountpoint = d->o->mountpoint };
	return memo_runner_open(&o, &d->runner, err);
}

static int open_filesystem(struct daemon *d, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	struct memo_fs_options o = {
		.runner = d->runner,
		.mountpoint = d->o->mountpoint,
		.options = d->o->options,
		.ended = on_ended,
		.arg = d,
	};
	uint64_t dev = 0;
	int r = memo_fs_open(&o, &d->fs, &dev, &notice, err);
	notice_lines(d, &notice);
	/* before anything is served: no input may be hashed through our own mount */
	if (r == 0 && memo_store_set_mount(d->store, d->o->mountpoint, dev) < 0)
		r = memo_fail(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = memo_fs_serve(d->fs, err);
	if (r < 0)
		return r;
	r = memo_fs_wait_ready(d->fs, READY_MS);
	return r < 0 ? memo_fail(err, r, "%s: the kernel did not begin the mount: %s", d->o->mountpoint,
				 memo_strerror(r))
		     : 0;
}

/* Runs that were not over go on. A damaged one must not keep the store from being mounted. */
static void resume_runs(const struct daemon *d)
{
	struct memo_err why = { 0 };
	if (memo_run_resume(d->runner, &why) < 0)
		memo_log(MEMO_LOG_WARN, "runs cannot be taken up: %s", why.text);
}

/* What the runner has to say once. */
static void on_event(void *arg, const struct memo_event *e)
{
	(void)arg;
	if (e->kind == MEMO_EVENT_NOTICE && e->reason != NULL)
		memo_log(MEMO_LOG_INFO, "%s", e->reason);
}

static int open_all(struct daemon *d, struct memo_err *err)
{
	int r = open_runner(d, err);
	if (r == 0 && memo_runner_listen(d->runner, on_event, NULL) < 0)
		r = memo_fail(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = open_filesystem(d, err);
	if (r == 0)
		resume_runs(d);
	return r < 0 ? r : memo_server_start(d->runner, &d->server, err);
}

/* Nobody new is let in, then whoever waits is answered, then the work ends, then the store closes. */
static void close_all(struct daemon *d)
{
	memo_server_stop(d->server);
	if (d->fs != NULL)
		memo_fs_stop(d->fs);
	if (d->runner != NULL)
		memo_runner_close(d->runner);
	if (d->fs != NULL)
		memo_fs_close(d->fs);
	memo_store_close(d->store);
	if (d->ended >= 0)
		(void)close(d->ended);
	if (d->signals >= 0)
		(void)close(d->signals);
}

static void wait_end(const struct daemon *d)
{
	for (;;) {
		struct pollfd p[] = { { .fd = d->signals, .events = POLLIN },
				      { .fd = d->ended, .events = POLLIN } };
		if (poll(p, 2, -1) < 0)
			continue;
		struct signalfd_siginfo info;
		if (read(d->signals, &info, sizeof info) == (ssize_t)sizeof info) {
			memo_log(MEMO_LOG_INFO, "signal %u: stopping", info.ssi_signo);
			return;
		}
		eventfd_t ignored;
		if (eventfd_read(d->ended, &ignored) == 0) {
			memo_log(MEMO_LOG_INFO, "%s: was unmounted: stopping", d->o->mountpoint);
			return;
		}
	}
}

static void detach_stdio(void)
{
	MEMO_AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		(void)dup2(null, fd);
}

static int serve(struct daemon *d, struct memo_err *err)
{
	int r = take_signals(d, err);
	if (r == 0) {
		raise_files();
		r = open_all(d, err);
	}
	if (r == 0) {
		memo_log(MEMO_LOG_INFO, "store %s is mounted at %s", d->o->store, d->o->mountpoint);
		report(d, 'r', "");
		if (!d->o->foreground)
			detach_stdio();
		end_report(d);
		wait_end(d);
	}
	close_all(d);
	return r;
}

/* The daemon's side of the fork; the status it ends with is seen by nobody. */
static int daemon_main(const struct cli_mount_options *o, int report_fd)
{
	struct memo_err err = { 0 };
	struct daemon d = { .o = o, .ended = -1, .signals = -1, .report = report_fd };
	memo_mutex_init(&d.report_mu);
	MEMO_AUTO_FREE char *path = memo_io_join(o->store, "memofs.log");
	MEMO_AUTO_FD int log =
		path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640) : -1;
	char code[32];
	int r = 0;
	if (log < 0)
		r = memo_fail(&err, memo_errno(), "store '%s': cannot write its log: %s", o->store,
			      memo_strerror(memo_errno()));
	else
		memo_log_setup(MEMO_LOG_INFO, log);
	if (r == 0 && chdir("/") < 0)
		r = memo_fail(&err, memo_errno(), "/: %s", memo_strerror(memo_errno()));
	if (r == 0)
		r = serve(&d, &err);
	if (r < 0) {
		(void)snprintf(code, sizeof code, "%d ", -r);
		MEMO_AUTO_BUF struct memo_buf text = { 0 };
		(void)memo_buf_printf(&text, "%s%s", code, err.text);
		report(&d, 'e', memo_buf_str(&text));
		if (log >= 0)
			memo_log(MEMO_LOG_ERROR, "%s", err.text);
	}
	if (log >= 0)
		memo_log_setup(MEMO_LOG_INFO, 2); /* the descriptor is closed on return */
	return r < 0 ? CLI_TROUBLE : CLI_DONE;
}

/* One line of the daemon. 1: it is ready. */
static int read_line(char *line, struct memo_err *err)
{
	if (line[0] == 'r')
		return 1;
	if (line[0] == 'n')
		cli_say("%s", line + 1);
	if (line[0] != 'e')
		return 0;
	char *end = line + 1;
	long code = strtol(line + 1, &end, 10);
	return memo_fail(err, code > 0 && code < 4096 ? -(int)code : -EIO, "%s", end + (*end == ' '));
}

/* What the daemon said until it was ready or failed. */
static int read_report(const struct cli_mount_options *o, int fd, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_io_read_fd(fd, REPORT_BYTES, &b) < 0)
		memo_buf_reset(&b);
	int r = 0;
	char *line = b.len > 0 ? b.data : NULL;
	while (line != NULL && r == 0) {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		r = read_line(line, err);
		line = end != NULL ? end + 1 : NULL;
	}
	if (r < 0)
		return r;
	if (r == 0)
		return memo_fail(err, -EIO, "the daemon ended while it started; %s/memofs.log says more", o->store);
	/* Any answer will do, an error of the store's file system too: only a dead daemon gives none. */
	struct statfs st;
	r = statfs(o->mountpoint, &st) < 0 ? memo_errno() : 0;
	if (r == -ENOTCONN || r == -ECONNABORTED)
		return memo_fail(err, r, "%s: the mount does not answer: %s; %s/memofs.log says more",
				 o->mountpoint, memo_strerror(r), o->store);
	return 0;
}

/* Between the forks and the daemon: nothing of whoever started it stays open (a pipe that is held would keep its reader
 * waiting for ever). The report's descriptor becomes 3. */
static int close_inherited(int report_fd)
{
	int fd = report_fd == 3 ? 3 : dup2(report_fd, 3);
	if (fd != 3 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0)
		return report_fd;
	(void)close_range(4, ~0U, 0);
	return 3;
}

static int spawn(const struct cli_mount_options *o, struct memo_err *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return memo_fail(err, memo_errno(), "cannot make a pipe: %s", memo_strerror(memo_errno()));
	MEMO_AUTO_FD int from = p[0];
	pid_t child = fork();
	if (child < 0) {
		(void)close(p[1]);
		return memo_fail(err, memo_errno(), "cannot start a process: %s", memo_strerror(memo_errno()));
	}
	if (child == 0) {
		/* a session of its own, and no way to get a terminal */
		(void)setsid();
		pid_t grandchild = fork();
		if (grandchild == 0)
			_exit(daemon_main(o, close_inherited(p[1])));
		_exit(grandchild < 0 ? CLI_TROUBLE : CLI_DONE);
	}
	(void)close(p[1]);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return read_report(o, from, err);
}

int cli_mount_serve(const struct cli_mount_options *o, struct memo_err *err)
{
	if (!o->foreground)
		return spawn(o, err);
	struct daemon d = { .o = o, .ended = -1, .signals = -1, .report = -1 };
	memo_mutex_init(&d.report_mu);
	int r = serve(&d, err);
	memo_mutex_clear(&d.report_mu);
	return r;
}
