/* Opening with the rights of whoever asks (see who.h): by taking them on, or by looking at each step of the way. */
#include "who.h"

#include "scope.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define DEVPTS_MAGIC 0x1cd1

/* Files that say something else to each reader, or do something when they are read: none has a content to hash. */
static bool is_unreal(const char *path)
{
	static const char *const root[] = { "/proc", "/sys", "/dev" };
	static const char memory[] = "/dev/shm/"; /* a place for files like any other */
	if (strncmp(path, memory, sizeof memory - 1) == 0)
		return false;
	for (size_t i = 0; i < sizeof root / sizeof root[0]; i++) {
		size_t len = strlen(root[i]);
		if (strncmp(path, root[i], len) == 0 && (path[len] == '/' || path[len] == '\0'))
			return true;
	}
	return false;
}

/* The same, wherever such a file system is mounted and whatever link led there. */
bool memo_who_is_unreal(int fd)
{
	struct statfs s;
	if (fstatfs(fd, &s) < 0)
		return false;
	switch ((unsigned long)s.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case DEVPTS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* The kernel's walk, without the links of /proc. */
static int open_place(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	if (fd < 0 && errno == ENOSYS)
		fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? memo_errno() : (int)fd;
}

/* From a place that was reached to a descriptor for reading. */
static int open_reading(int place, const struct memo_who_open *o, int *fd_out)
{
	char self[64];
	(void)snprintf(self, sizeof self, "/proc/self/fd/%d", place);
	int fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (o->directory ? O_DIRECTORY : 0));
	if (fd < 0)
		return memo_errno();
	*fd_out = fd;
	return 0;
}

static int check_place(int place, const struct memo_who_open *o, struct statx *sx)
{
	/* the type never changes: no file system has to be asked for it */
	if (statx(place, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, sx) < 0)
		return memo_errno();
	if (o->has_dev && makedev(sx->stx_dev_major, sx->stx_dev_minor) == o->dev)
		return -EXDEV;
	if (!o->directory && S_ISDIR(sx->stx_mode))
		return -EISDIR;
	if (o->directory && !S_ISDIR(sx->stx_mode))
		return -ENOTDIR;
	if (!o->directory && !S_ISREG(sx->stx_mode))
		return -EINVAL;
	return memo_who_is_unreal(place) ? -EPERM : 0;
}

/* ---- step by step ---------------------------------------------------------------------------- */

/* What is left of the path: links put their text in front of it. */
struct walk {
	const struct memo_who *who;
	int at; /* the directory that was reached */
	unsigned links;
	char rest[PATH_MAX];
};

/* Bits that an ACL overrides say nothing: "no" then. */
int memo_who_look(const struct memo_who *w, int fd, unsigned want)
{
	char self[64];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	if (!memo_who_may(w, st.st_mode, st.st_uid, st.st_gid, want))
		return -EACCES;
	(void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	return getxattr(self, "system.posix_acl_access", NULL, 0) > 0 ? -EACCES : 0;
}

/* "a/b" -> "a", leaving "b". */
static bool next_part(struct walk *k, char part[NAME_MAX + 1], int *r)
{
	char *p = k->rest + strspn(k->rest, "/");
	size_t len = strcspn(p, "/");
	*r = len > NAME_MAX ? -ENAMETOOLONG : 0;
	if (len == 0 || *r < 0)
		return false;
	memcpy(part, p, len);
	part[len] = '\0';
	memmove(k->rest, p + len, strlen(p + len) + 1);
	return true;
}

static int follow(struct walk *k, int link)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(link, "", text, sizeof text - 1);
	if (n < 0)
		return memo_errno();
	if (++k->links > MEMO_WHO_LINKS)
		return -ELOOP;
	text[n] = '\0';
	char joined[2 * PATH_MAX];
	int len = snprintf(joined, sizeof joined, "%s/%s", text, k->rest);
	if (len < 0 || (size_t)len >= sizeof k->rest)
		return -ENAMETOOLONG;
	memcpy(k->rest, joined, (size_t)len + 1);
	if (text[0] != '/')
		return 0;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return memo_errno();
	(void)close(k->at);
	k->at = root;
	return 0;
}

/* One part further. A symbolic link leaves the place as it is and adds to the rest. */
static int step(struct walk *k, const char *part)
{
	struct stat st;
	int r = memo_who_look(k->who, k->at, 1);
	if (r < 0)
		return r;
	if (memo_who_is_unreal(k->at))
		return -EPERM;
	MEMO_AUTO_FD int fd = openat(k->at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return memo_errno();
	if (S_ISLNK(st.st_mode))
		return follow(k, fd);
	(void)close(k->at);
	k->at = memo_fd_steal(&fd);
	return 0;
}

static int walk_place(const struct memo_who *w, const char *path, int *fd_out)
{
	struct walk k = { .who = w };
	char part[NAME_MAX + 1];
	if (strlen(path) >= sizeof k.rest)
		return -ENAMETOOLONG;
	memcpy(k.rest, path, strlen(path) + 1);
	k.at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = k.at < 0 ? memo_errno() : 0;
	while (r == 0 && next_part(&k, part, &r))
		r = step(&k, part);
	if (r < 0) {
		if (k.at >= 0)
			(void)close(k.at);
		return r;
	}
	*fd_out = k.at;
	return 0;
}

/* The bits are those of the very file that is read: they are looked at again through the descriptor. */
static int open_walked(const struct memo_who *w, const char *path, const struct memo_who_open *o, int *fd_out)
{
	MEMO_AUTO_FD int place = -1;
	struct statx sx;
	int r = walk_place(w, path, &place);
	if (r == 0)
		r = check_place(place, o, &sx);
	if (r == 0)
		r = memo_who_look(w, place, o->directory ? 5 : 4);
	return r < 0 ? r : open_reading(place, o, fd_out);
}

/* ---- the door -------------------------------------------------------------------------------- */

int memo_who_open(const struct memo_who *w, const char *path, const struct memo_who_open *o, int *fd_out)
{
	if (path[0] != '/')
		return -EINVAL;
	if (is_unreal(path))
		return -EPERM;
	int r = memo_who_assume(w);
	if (r < 0)
		return open_walked(w, path, o, fd_out);
	MEMO_AUTO_FD int place = open_place(path);
	struct statx sx;
	r = place < 0 ? place : check_place(place, o, &sx);
	if (r == 0)
		r = open_reading(place, o, fd_out);
	memo_who_resume(w);
	return r;
}
