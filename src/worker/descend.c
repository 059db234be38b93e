/* Descend: ending a process tree without a namespace.
 *
 * This process is the subreaper: an orphan becomes its child, so that every process of the task stays a descendant and
 * can be found through /proc. A pid may be given to a stranger between looking and killing; a process is therefore
 * held by a pidfd and looked at again before it is killed. */
#include "run.h"

#include "base/error.h"
#include "base/scope.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAT_BYTES 1024

struct process {
	pid_t pid, parent;
	unsigned long long start; /* with the pid it names a process for good */
	bool ours;
};

struct table {
	struct process *at;
	size_t count, cap;
};

void memo_descend_terminate(pid_t task)
{
	/* A task that was not scheduled yet has no group of its own. */
	if (kill(-task, SIGTERM) < 0)
		(void)kill(task, SIGTERM);
	(void)kill(-task, SIGCONT);
}

/* The name in /proc/PID/stat may hold anything, so that the fields are counted from its last ')'. */
static int read_stat(pid_t pid, struct process *out)
{
	char path[32], text[STAT_BYTES];
	(void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	char *p = strrchr(text, ')');
	char state;
	long parent;
	unsigned long long start;
	if (p == NULL ||
	    sscanf(p + 1, " %c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
		   &state, &parent, &start) != 3)
		return -EINVAL;
	*out = (struct process){ .pid = pid, .parent = (pid_t)parent, .start = start };
	return 0;
}

static int add_process(struct table *t, pid_t pid)
{
	if (t->count == t->cap) {
		size_t cap = t->cap == 0 ? 256 : t->cap * 2;
		struct process *p = realloc(t->at, cap * sizeof *p);
		if (p == NULL)
			return -ENOMEM;
		t->at = p;
		t->cap = cap;
	}
	if (read_stat(pid, &t->at[t->count]) == 0)
		t->count++;
	return 0;
}

static int read_processes(struct table *t)
{
	MEMO_AUTO_DIR DIR *d = opendir("/proc");
	if (d == NULL)
		return memo_errno();
	const struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		char *end;
		long pid = isdigit((unsigned char)e->d_name[0]) ? strtol(e->d_name, &end, 10) : 0;
		if (pid <= 0 || pid > INT_MAX)
			continue;
		int r = add_process(t, (pid_t)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Marks what hangs below this process, until nothing more is found. */
static void mark_ours(struct table *t)
{
	pid_t self = getpid();
	bool more = true;
	while (more) {
		more = false;
		for (size_t i = 0; i < t->count; i++) {
			struct process *p = &t->at[i];
			bool below = p->parent == self;
			for (size_t k = 0; !p->ours && !below && k < t->count; k++)
				below = t->at[k].ours && t->at[k].pid == p->parent;
			if (!p->ours && below)
				p->ours = more = true;
		}
	}
}

static void kill_one(const struct process *p)
{
	MEMO_AUTO_FD int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct process now;
	if (fd < 0) {
		/* A kernel before 5.3; a child of ours cannot be replaced before we reap it. */
		if (errno == ENOSYS)
			(void)kill(p->pid, SIGKILL);
		return;
	}
	if (read_stat(p->pid, &now) == 0 && now.start == p->start)
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

int memo_descend_kill(void)
{
	struct table t = { 0 };
	int r = read_processes(&t);
	if (r == 0) {
		mark_ours(&t);
		for (size_t i = 0; i < t.count; i++) {
			if (t.at[i].ours)
				kill_one(&t.at[i]);
		}
	}
	free(t.at);
	return r;
}
