/* See who.h. */
#include "who.h"

#include "io.h"
#include "scope.h"

#include <fcntl.h>
#include <pwd.h>
#include <grp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define STATUS_BYTES ((size_t)1 << 20)
#define DATABASE_BYTES 65536

struct memo_who {
	atomic_int refs;
	uid_t uid;
	gid_t gid;
	size_t groups;
	gid_t group[];
};

/* ---- life ------------------------------------------------------------------------------------ */

bool memo_who_is_free(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int compare(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a;
	gid_t y = *(const gid_t *)b;
	return x < y ? -1 : x > y;
}

int memo_who_new(uid_t uid, gid_t gid, const gid_t *group, size_t groups, struct memo_who **out)
{
	if (groups > MEMO_WHO_GROUPS)
		return -E2BIG;
	struct memo_who *w = malloc(sizeof *w + groups * sizeof w->group[0]);
	if (w == NULL)
		return -ENOMEM;
	atomic_init(&w->refs, 1);
	w->uid = uid;
	w->gid = gid;
	w->groups = groups;
	if (groups > 0) {
		memcpy(w->group, group, groups * sizeof w->group[0]);
		qsort(w->group, groups, sizeof w->group[0], compare);
	}
	*out = w;
	return 0;
}

struct memo_who *memo_who_ref(const struct memo_who *w)
{
	struct memo_who *v = (struct memo_who *)(uintptr_t)w;
	if (v != NULL)
		(void)atomic_fetch_add(&v->refs, 1);
	return v;
}

void memo_who_unref(struct memo_who *w)
{
	if (w != NULL && atomic_fetch_sub(&w->refs, 1) == 1)
		free(w);
}

uid_t memo_who_uid(const struct memo_who *w)
{
	return w->uid;
}

bool memo_who_in(const struct memo_who *w, gid_t gid)
{
	if (w == NULL || w->gid == gid)
		return true;
	return w->groups > 0 && bsearch(&gid, w->group, w->groups, sizeof gid, compare) != NULL;
}

bool memo_who_may(const struct memo_who *w, mode_t mode, uid_t uid, gid_t gid, unsigned want)
{
	if (w == NULL)
		return true;
	unsigned shift = w->uid == uid ? 6 : memo_who_in(w, gid) ? 3 : 0;
	return (mode >> shift & want) == want;
}

int memo_who_key(const struct memo_who *w, struct memo_buf *b)
{
	if (w == NULL)
		return 0;
	(void)memo_buf_printf(b, "%u:%u", (unsigned)w->uid, (unsigned)w->gid);
	for (size_t i = 0; i < w->groups; i++)
		(void)memo_buf_printf(b, ",%u", (unsigned)w->group[i]);
	return memo_buf_error(b);
}

/* ---- where it comes from --------------------------------------------------------------------- */

static int from_database(uid_t uid, const gid_t *gid, struct memo_who **out)
{
	MEMO_AUTO_FREE char *space = malloc(DATABASE_BYTES);
	MEMO_AUTO_FREE gid_t *list = calloc(MEMO_WHO_GROUPS, sizeof *list);
	struct passwd p;
	struct passwd *found = NULL;
	int n = MEMO_WHO_GROUPS;
	if (space == NULL || list == NULL)
		return -ENOMEM;
	int r = getpwuid_r(uid, &p, space, DATABASE_BYTES, &found);
	if (found == NULL) { /* a user without an entry has the group that he shows, and no other */
		gid_t nobody = (gid_t)-1;
		return r == ENOMEM ? -ENOMEM : memo_who_new(uid, gid != NULL ? *gid : nobody, NULL, 0, out);
	}
	if (getgrouplist(p.pw_name, p.pw_gid, list, &n) < 0)
		return -E2BIG;
	return memo_who_new(uid, gid != NULL ? *gid : p.pw_gid, list, (size_t)n, out);
}

int memo_who_user(uid_t uid, struct memo_who **out)
{
	*out = NULL;
	return memo_who_is_free(uid) ? 0 : from_database(uid, NULL, out);
}

/* The numbers that follow @key at the start of a line. Their count, -1: there is no such line. */
static long line_numbers(const char *text, const char *key, gid_t *list, size_t most)
{
	const char *p = strstr(text, key);
	if (p == NULL)
		return -1;
	p += strlen(key);
	size_t n = 0;
	while (n < most) {
		while (*p == ' ' || *p == '\t')
			p++;
		if (*p < '0' || *p > '9')
			break;
		unsigned long v = 0;
		for (; *p >= '0' && *p <= '9'; p++)
			v = v * 10 + (unsigned long)(*p - '0');
		list[n++] = (gid_t)v;
	}
	return (long)n;
}

/* -ESRCH: the thread is not who asked (any more). The keys follow a newline: a name in the first line has none. */
static int from_status(uid_t uid, gid_t gid, pid_t tid, struct memo_who **out)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%ld/status", (long)tid);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || memo_io_read_fd(fd, STATUS_BYTES, &b) < 0)
		return -ESRCH;
	gid_t four[4];
	const char *text = memo_buf_str(&b);
	/* real, effective, saved, file system: the last is what the kernel told us */
	if (line_numbers(text, "\nUid:", four, 4) != 4 || four[3] != uid)
		return -ESRCH;
	if (line_numbers(text, "\nGid:", four, 4) != 4 || four[3] != gid)
		return -ESRCH;
	const char *line = strstr(text, "\nGroups:");
	if (line == NULL)
		return -ESRCH;
	size_t most = strcspn(line + 1, "\n") / 2 + 1; /* a number and a space each */
	MEMO_AUTO_FREE gid_t *list = calloc(most, sizeof *list);
	if (list == NULL)
		return -ENOMEM;
	long n = line_numbers(text, "\nGroups:", list, most);
	return n < 0 ? -ESRCH : memo_who_new(uid, gid, list, (size_t)n, out);
}

int memo_who_thread(uid_t uid, gid_t gid, pid_t tid, struct memo_who **out)
{
	*out = NULL;
	if (memo_who_is_free(uid))
		return 0;
	int r = tid > 0 ? from_status(uid, gid, tid, out) : -ESRCH;
	return r == -ESRCH ? from_database(uid, &gid, out) : r;
}

int memo_who_socket(int fd, uid_t *uid_out, pid_t *pid_out, struct memo_who **out)
{
	struct ucred peer;
	socklen_t len = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return memo_errno();
	*uid_out = peer.uid;
	*pid_out = peer.pid;
	*out = NULL;
	if (memo_who_is_free(peer.uid))
		return 0;
	len = 0;
	int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 ? memo_errno() : 0;
	if (r == -ENOPROTOOPT)
		return from_database(peer.uid, &peer.gid, out);
	if (r < 0 && r != -ERANGE)
		return r;
	MEMO_AUTO_FREE gid_t *list = malloc(len > 0 ? len : 1);
	if (list == NULL)
		return -ENOMEM;
	if (len > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0)
		return memo_errno();
	return memo_who_new(peer.uid, peer.gid, list, len / sizeof *list, out);
}

/* ---- taking it on ---------------------------------------------------------------------------- */

bool memo_who_can_assume(void)
{
	return geteuid() == 0;
}

/* This thread's groups before assume; there is room for as many as a daemon has, else it assumes nothing. */
#define OWN_GROUPS 1024
static _Thread_local gid_t own_group[OWN_GROUPS];
static _Thread_local int own_groups;

static void set_groups(int n, const gid_t *list)
{
	if (syscall(SYS_setgroups, (size_t)n, list) != 0)
		abort(); /* a thread with somebody else's rights must not go on */
}

int memo_who_assume(const struct memo_who *w)
{
	if (w == NULL)
		return 0;
	if (!memo_who_can_assume())
		return -EPERM;
	own_groups = getgroups(OWN_GROUPS, own_group);
	if (own_groups < 0 || syscall(SYS_setgroups, w->groups, w->group) != 0)
		return -EPERM; /* a container without CAP_SETGID */
	(void)setfsgid(w->gid);
	(void)setfsuid(w->uid);
	/* neither reports; an impossible value changes nothing and gives what holds */
	if ((uid_t)setfsuid((uid_t)-1) == w->uid && (gid_t)setfsgid((gid_t)-1) == w->gid)
		return 0;
	memo_who_resume(w);
	return -EPERM;
}

void memo_who_resume(const struct memo_who *w)
{
	if (w == NULL)
		return;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	(void)setfsuid(uid);
	(void)setfsgid(gid);
	set_groups(own_groups, own_group);
	if ((uid_t)setfsuid((uid_t)-1) != uid || (gid_t)setfsgid((gid_t)-1) != gid)
		abort();
}
