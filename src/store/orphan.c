/* Orphans: processes of an owner of this store that is gone.
 *
 * Workers end with their owner by themselves (parent-death signal), and their tasks with them; this is for those that have not
 * noticed yet, and for what slipped away where no pid namespace holds a task together. They are found by what cannot be
 * mistaken and needs no record: a worker has its attempt's directory in our staging as its last argument, a task has it as
 * HOME. A worker is asked first, since it ends its tree; then all of them are killed. A pid is never trusted: the process
 * is held by a descriptor before it is looked at. */
#include "internal.h"

#include "base/io.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORPHAN_ASK_MS 2000
#define ORPHAN_KILL_MS 5000
#define PROC_TEXT ((size_t)4 << 20)
#define WORKER "memofs-worker"

static int read_words(long pid, const char *file, struct memo_buf *b)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? memo_errno() : memo_io_read_fd(fd, PROC_TEXT, b);
	return r < 0 ? r : b->len == 0 ? -ENOENT : 0;
}

/* ".../memofs-worker ... STAGING/attempt" */
static bool is_worker(long pid, const char *staging)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (read_words(pid, "cmdline", &b) < 0)
		return false;
	const char *slash = strrchr(b.data, '/');
	const char *last = b.data;
	for (const char *p = b.data; p < b.data + b.len; p += strlen(p) + 1)
		last = p;
	return strcmp(slash != NULL ? slash + 1 : b.data, WORKER) == 0 &&
	       strncmp(last, staging, strlen(staging)) == 0;
}

static bool has_home(long pid, const char *home)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (read_words(pid, "environ", &b) < 0)
		return false;
	for (const char *p = b.data; p < b.data + b.len; p += strlen(p) + 1) {
		if (strncmp(p, home, strlen(home)) == 0)
			return true;
	}
	return false;
}

/* A descriptor of the process when it is one of ours; -1. */
static int hold(const char *name, const char *staging, const char *home, bool *worker)
{
	char *end;
	long pid = strtol(name, &end, 10);
	if (pid <= 1 || *end != '\0' || pid == (long)getpid())
		return -1;
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return -1;
	/* Of another user's process neither can be read, unless we are root. */
	*worker = is_worker(pid, staging);
	if (*worker || has_home(pid, home))
		return fd;
	(void)close(fd);
	return -1;
}

/* Signals what it finds; -1: nobody was there. Else whether all had gone within @wait_ms. */
static int round_of(const char *staging, const char *home, bool kill_all, int wait_ms, size_t *found)
{
	MEMO_AUTO_DIR DIR *d = opendir("/proc");
	if (d == NULL)
		return -1;
	int64_t deadline = memo_now_ns() + (int64_t)wait_ms * MEMO_NS_PER_MS;
	int left = -1;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		bool worker = false;
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		MEMO_AUTO_FD int fd = hold(e->d_name, staging, home, &worker);
		if (fd < 0)
			continue;
		left = left < 0 ? 0 : left;
		++*found;
		if (kill_all || worker)
			(void)syscall(SYS_pidfd_send_signal, fd, kill_all ? SIGKILL : SIGTERM, NULL, 0);
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t ms = (deadline - memo_now_ns()) / MEMO_NS_PER_MS;
		if (poll(&p, 1, ms > 0 ? (int)ms : 0) < 1)
			left = 1;
	}
	return left;
}

void memo_orphans_end(struct memo_store *s, struct memo_buf *notice)
{
	MEMO_AUTO_BUF struct memo_buf staging = { 0 };
	MEMO_AUTO_BUF struct memo_buf home = { 0 };
	size_t found = 0;
	size_t ignored = 0;
	if (memo_buf_printf(&staging, "%s/staging/", s->dir) < 0 ||
	    memo_buf_printf(&home, "HOME=%s", staging.data) < 0)
		return;
	/* Once more after they have gone: what one of them started meanwhile. */
	int left = round_of(staging.data, home.data, false, ORPHAN_ASK_MS, &found);
	for (int i = 0; i < 3 && left >= 0; i++)
		left = round_of(staging.data, home.data, true, ORPHAN_KILL_MS, &ignored);
	if (found > 0 && notice != NULL)
		(void)memo_buf_printf(notice, "%zu processes of an earlier memofs on this store were ended\n",
				      found);
}
