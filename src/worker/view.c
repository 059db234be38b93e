/* View: what a task's own mounts and network look like.
 *
 * Whoever may write is cloned off first (open_tree), then all mounts become read-only at once (mount_setattr), then the
 * clones are put in their places: so nothing is writable that was not named, and no mount is missed. */
#include "sandbox.h"

#include "base/scope.h"

#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITABLE_MAX 64 /* directories of the setting that get a place of their own in the view */
#define RUN_DIR "/run"
#define SHM_DIR "/dev/shm"

/* ---- the namespace's own ---- */

static int write_text(const char *path, const char *text)
{
	MEMO_AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	return fd < 0 || write(fd, text, len) != (ssize_t)len ? memo_errno() : 0;
}

int memo_view_map(uid_t uid, gid_t gid)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%lu %lu 1", (unsigned long)uid, (unsigned long)uid);
	int r = write_text("/proc/self/uid_map", text);
	if (r == 0)
		r = write_text("/proc/self/setgroups", "deny");
	(void)snprintf(text, sizeof text, "%lu %lu 1", (unsigned long)gid, (unsigned long)gid);
	return r == 0 ? write_text("/proc/self/gid_map", text) : r;
}

int memo_view_hold(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return memo_errno();
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return memo_errno();
	return 0;
}

/* The octal escapes of mountinfo, in place. */
static void unescape(char *s)
{
	char *to = s;
	for (; *s != '\0'; s++, to++) {
		bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			     s[3] >= '0' && s[3] <= '7';
		*to = octal ? (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0')) : *s;
		s += octal ? 3 : 0;
	}
	*to = '\0';
}

/* True when one of the two paths is the other, or lies below it. */
static bool on_one_way(const char *a, const char *b)
{
	size_t n = 0;
	while (a[n] != '\0' && a[n] == b[n])
		n++;
	return (a[n] == '\0' && (b[n] == '\0' || b[n] == '/')) || (b[n] == '\0' && a[n] == '/');
}

bool memo_view_covers_output(const struct memo_worker *w)
{
	size_t len = strlen(w->work_path);
	bool covers = false;
	char *line = NULL;
	size_t cap = 0;
	FILE *f = w->job.output_path == NULL ? NULL : fopen("/proc/self/mountinfo", "re");
	while (f != NULL && !covers && getline(&line, &cap, f) > 0) {
		char *point = line, *end;
		for (int i = 0; i < 4 && point != NULL; i++)
			point = (point = strchr(point, ' ')) != NULL ? point + 1 : NULL;
		if (point == NULL || (end = strchr(point, ' ')) == NULL)
			continue;
		*end = '\0';
		unescape(point);
		covers = strncmp(point, w->work_path, len) == 0 && point[len] == '/' &&
			 on_one_way(point + len + 1, w->job.output_path);
	}
	free(line);
	if (f != NULL)
		(void)fclose(f);
	return covers;
}

/* ---- read-only ---- */

struct open_place {
	const char *path;
	size_t len; /* of @path, which a ':' may follow */
	int tree;
};

struct open_places {
	struct open_place at[WRITABLE_MAX + 2];
	size_t count;
};

/* What does not exist is left out. */
static int open_place(struct open_places *p, const char *path, size_t len)
{
	char text[PATH_MAX];
	if (p->count == sizeof p->at / sizeof p->at[0] || len >= sizeof text)
		return -E2BIG;
	memcpy(text, path, len);
	text[len] = '\0';
	int fd = open_tree(AT_FDCWD, text, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : memo_errno();
	p->at[p->count++] = (struct open_place){ .path = path, .len = len, .tree = fd };
	return 0;
}

static void close_places(struct open_places *p)
{
	for (size_t i = 0; i < p->count; i++)
		(void)close(p->at[i].tree);
	p->count = 0;
}

static int put_place(const struct open_place *p)
{
	char text[PATH_MAX];
	memcpy(text, p->path, p->len);
	text[p->len] = '\0';
	return move_mount(p->tree, "", AT_FDCWD, text, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? memo_errno() : 0;
}

static int gather(const struct memo_worker *w, struct open_places *p)
{
	int r = open_place(p, w->path, strlen(w->path));
	if (r == 0) /* what may be written there belongs to the kernel; Landlock lets a task only read it */
		r = open_place(p, "/proc", strlen("/proc"));
	const char *at = w->job.sandbox.writable;
	while (r == 0 && at != NULL && *at != '\0') {
		size_t len = strcspn(at, ":");
		r = open_place(p, at, len);
		at += len + (at[len] == ':');
	}
	return r == 0 && p->count < 2 ? -ENOENT : r;
}

/* 0 also where it is refused, which @level says. */
static int make_readonly(const struct memo_worker *w, struct memo_level *level)
{
	struct open_places p = { .count = 0 };
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	int r = gather(w, &p);
	if (r == 0 && mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &readonly, sizeof readonly) < 0)
		r = memo_errno();
	if (r < 0) {
		close_places(&p);
		level->readonly_error = -r;
		return 0;
	}
	for (size_t i = 0; r == 0 && i < p.count; i++)
		r = put_place(&p.at[i]);
	close_places(&p);
	level->readonly = r == 0;
	/* Through the old directory the attempt is read-only, too. */
	return r == 0 && chdir(w->path) < 0 ? memo_errno() : r;
}

/* ---- sockets and memory that others would see ---- */

static bool lies_in(const char *path, size_t len, const char *dir)
{
	size_t n = strlen(dir);
	return len >= n && memcmp(path, dir, n) == 0 && (len == n || path[n] == '/');
}

static bool list_lies_in(const char *list, const char *dir)
{
	for (const char *p = list; p != NULL && *p != '\0';) {
		size_t len = strcspn(p, ":");
		if (lies_in(p, len, dir))
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

/* True when the task has business in /run. */
static bool needs_run(const struct memo_worker *w)
{
	static const char *const dirs[] = { RUN_DIR, "/var/run" };
	const struct memo_job *j = &w->job;
	for (size_t d = 0; d < 2; d++) {
		if (list_lies_in(w->path, dirs[d]) || list_lies_in(j->sandbox.readable, dirs[d]) ||
		    list_lies_in(j->sandbox.writable, dirs[d]) || list_lies_in(j->sandbox.mount, dirs[d]))
			return true;
		for (size_t i = 0; i < j->inputs; i++) {
			if (list_lies_in(j->input[i].from, dirs[d]))
				return true;
		}
	}
	return j->network; /* name services are asked there */
}

/* What fails here leaves less covered than could be; files and network are guarded by other layers. */
static void cover(const struct memo_worker *w)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV;
	char size[64];
	struct stat st;
	(void)snprintf(size, sizeof size, "mode=1777,size=%llu",
		       w->job.memory_limit_bytes > 0 ? (unsigned long long)w->job.memory_limit_bytes : 1ull << 30);
	if (stat(SHM_DIR, &st) == 0)
		(void)mount("tmpfs", SHM_DIR, "tmpfs", flags, size);
	/* Landlock does not see connections to sockets with a name (docker.sock, the system bus ...). */
	if (!needs_run(w))
		(void)mount("tmpfs", RUN_DIR, "tmpfs", flags | MS_NOEXEC | MS_RDONLY, "mode=555,size=4k");
	const char *control = w->job.sandbox.control;
	if (control != NULL && stat(control, &st) == 0)
		(void)mount("/dev/null", control, NULL, MS_BIND, NULL);
}

/* ---- network ---- */

static int loopback_up(void)
{
	MEMO_AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_name = "lo" };
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return memo_errno();
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? memo_errno() : 0;
}

static void cut_network(struct memo_level *level)
{
	if (unshare(CLONE_NEWNET) < 0) {
		level->network_error = -memo_errno();
		return;
	}
	level->network = MEMO_NETWORK_NAMESPACE;
	/* A machine without IPv4 has no loopback to raise; nothing leads out all the same. */
	if (loopback_up() < 0)
		return;
}

int memo_view_close(const struct memo_worker *w, struct memo_level *level)
{
	if (!memo_sandbox_network_open(w))
		cut_network(level);
	/* Semaphores and segments of System V would outlive the task; without it they are shared as before. */
	if (unshare(CLONE_NEWIPC) < 0)
		errno = 0;
	int r = make_readonly(w, level);
	if (r == 0)
		cover(w);
	return r;
}
