/* Whose process reads the mount: the chain of parents leads from every process of a task to its worker, since the worker
 * (or the init of its pid namespace) is the reaper of all that the task leaves behind. Found, not guessed: a thread
 * that has gone, or a chain that changes under the walk, means "no task". */
#include "internal.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_CHAIN 512
#define STARTING_TRIES 50

/* The fourth field of /proc/<pid>/stat; the second may hold any bytes, so the last ')' counts. 0: gone. */
static pid_t parent_of(pid_t pid)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[512];
	size_t got;
	if (fd < 0 || memo_io_read_full(fd, text, sizeof text - 1, &got) < 0)
		return 0;
	text[got] = '\0';
	const char *close = strrchr(text, ')');
	char state;
	long ppid;
	if (close == NULL || sscanf(close + 1, " %c %ld", &state, &ppid) != 2)
		return 0;
	return (pid_t)ppid;
}

static bool in_chain(const pid_t *chain, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++) {
		if (chain[i] == pid)
			return true;
	}
	return false;
}

/* *@starting: a worker is being made whose pid is not known yet. */
static struct exec *find_in(struct memo_runner *r, const pid_t *chain, size_t n, bool *starting) LOCKED
{
	*starting = false;
	for (struct exec *x = r->live_execs; x != NULL; x = x->next_live) {
		if (x->running && x->pid > 0 && in_chain(chain, n, x->pid)) {
			x->refs++;
			return x;
		}
		*starting = *starting || (x->running && x->pid == 0);
	}
	return NULL;
}

struct exec *memo_reader_find(struct memo_runner *r, pid_t tid)
{
	memo_mutex_lock(&r->mu);
	bool none = r->running == 0;
	memo_mutex_unlock(&r->mu);
	if (none || tid <= 0)
		return NULL;
	pid_t chain[MAX_CHAIN];
	size_t n = 0;
	for (pid_t p = tid; p > 1 && n < MAX_CHAIN; p = parent_of(p))
		chain[n++] = p;
	bool ours = in_chain(chain, n, getpid());
	for (int i = 0;; i++) {
		bool starting;
		memo_mutex_lock(&r->mu);
		struct exec *x = find_in(r, chain, n, &starting);
		memo_mutex_unlock(&r->mu);
		/* a child of this process that no exec claims yet: its pid is about to be noted */
		if (x != NULL || !ours || !starting || i == STARTING_TRIES)
			return x;
		(void)usleep(1000);
	}
}
