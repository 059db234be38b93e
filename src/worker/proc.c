/* Proc: one read of /proc/PID/stat tells all that is needed of a process but its share in memory. */
#include "proc.h"

#include "base/scope.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_BYTES 1024
#define ROLLUP_BYTES 4096
#define CHAIN_MAX 65536 /* of parents: ends a walk in a table that changed while it was made */

static int read_text(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	ssize_t n = read(fd, text, size - 1);
	if (n <= 0)
		return n < 0 ? memo_errno() : -ESRCH;
	text[n] = '\0';
	return 0;
}

/* The name in it may hold anything, so that the fields are counted from its last ')'. */
int memo_proc_read(pid_t pid, struct memo_process *out)
{
	char text[STAT_BYTES];
	if (read_text(pid, "stat", text, sizeof text) < 0)
		return -ESRCH;
	char *p = strrchr(text, ')');
	char state;
	long parent, threads, pages;
	unsigned long long start;
	if (p == NULL ||
	    sscanf(p + 1,
		   " %c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu %*s "
		   "%ld",
		   &state, &parent, &threads, &start, &pages) != 5)
		return -EINVAL;
	*out = (struct memo_process){
		.pid = pid,
		.parent = (pid_t)parent,
		.threads = threads > 0 ? (unsigned)threads : 1,
		.start = start,
		.rss_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0,
	};
	return 0;
}

static int add(struct memo_processes *t, pid_t pid)
{
	if (t->count == t->cap) {
		size_t cap = t->cap == 0 ? 64 : t->cap * 2;
		struct memo_process *p = realloc(t->at, cap * sizeof *p);
		if (p == NULL)
			return -ENOMEM;
		t->at = p;
		t->cap = cap;
	}
	if (memo_proc_read(pid, &t->at[t->count]) == 0)
		t->count++;
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct memo_process *x = a, *y = b;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

/* 0: the entry is no process. */
static pid_t process_of(const struct dirent *e)
{
	char *end;
	long pid = isdigit((unsigned char)e->d_name[0]) ? strtol(e->d_name, &end, 10) : 0;
	return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

int memo_proc_count(size_t most, size_t *count_out)
{
	size_t count = 0;
	MEMO_AUTO_DIR DIR *d = opendir("/proc");
	if (d == NULL)
		return memo_errno();
	const struct dirent *e;
	while (count < most && (e = readdir(d)) != NULL)
		count += process_of(e) != 0;
	*count_out = count;
	return 0;
}

int memo_proc_read_all(struct memo_processes *t, size_t most)
{
	t->count = 0;
	MEMO_AUTO_DIR DIR *d = opendir("/proc");
	if (d == NULL)
		return memo_errno();
	const struct dirent *e;
	while (t->count < most && (e = readdir(d)) != NULL) {
		pid_t pid = process_of(e);
		if (pid == 0)
			continue;
		int r = add(t, pid);
		if (r < 0)
			return r;
	}
	if (t->count > 1)
		qsort(t->at, t->count, sizeof *t->at, by_pid);
	return 0;
}

void memo_proc_clear(struct memo_processes *t)
{
	free(t->at);
	*t = (struct memo_processes){ 0 };
}

static bool hangs_below(const struct memo_processes *t, const struct memo_process *p, pid_t root)
{
	for (unsigned i = 0; p != NULL && i < CHAIN_MAX; i++) {
		if (p->parent == root)
			return true;
		const struct memo_process key = { .pid = p->parent };
		p = bsearch(&key, t->at, t->count, sizeof *t->at, by_pid);
	}
	return false;
}

void memo_proc_mark(struct memo_processes *t, pid_t root)
{
	for (size_t i = 0; i < t->count; i++)
		t->at[i].ours = t->at[i].pid != root && hangs_below(t, &t->at[i], root);
}

long memo_proc_newest(void)
{
	char text[STAT_BYTES];
	MEMO_AUTO_FD int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return n < 0 ? memo_errno() : -EIO;
	text[n] = '\0';
	const char *last = strrchr(text, ' ');
	return last == NULL ? -EINVAL : strtol(last, NULL, 10);
}

uid_t memo_proc_owner(pid_t pid)
{
	char path[64];
	struct stat st;
	(void)snprintf(path, sizeof path, "/proc/%ld", (long)pid);
	return stat(path, &st) == 0 ? st.st_uid : (uid_t)-1;
}

int memo_proc_share(pid_t pid, uint64_t *bytes_out)
{
	char text[ROLLUP_BYTES];
	int r = read_text(pid, "smaps_rollup", text, sizeof text);
	if (r < 0)
		return r;
	uint64_t kib = 0;
	static const char *const field[] = { "\nPss:", "\nSwapPss:" };
	for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
		const char *line = strstr(text, field[i]);
		if (line != NULL)
			kib += strtoull(line + strlen(field[i]), NULL, 10);
	}
	*bytes_out = kib * 1024;
	return 0;
}
