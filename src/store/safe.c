/* Is the store's place safe? Who can write to a directory on the way to it can put another directory, or a link, in its
 * place at any moment, and have the daemon, which has more rights than he, write and serve that. So a store is opened only
 * where root, its owner and this process decide what lies there.
 *
 * A directory with the sticky bit (/tmp) is safe for what the trusted own in it. A group that has nobody but its owner in it, as
 * many systems make one for each user, is as good as the owner. The walk goes by descriptors from the root, along a path
 * without links, so that what is returned is what was looked at. */
#include "internal.h"

#include "base/scope.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_BYTES 65536

struct trust {
	uid_t owner; /* of the store's directory */
	const char *dir;
	struct memo_err *err;
};

static bool trusted(const struct trust *t, uid_t uid)
{
	return uid == 0 || uid == geteuid() || uid == t->owner;
}

/* Nobody but a trusted user is in the group, by its list and by being his primary one. In doubt: somebody is. */
static bool private_group(const struct trust *t, gid_t gid)
{
	MEMO_AUTO_FREE char *space = malloc(NAMES_BYTES);
	MEMO_AUTO_FREE char *more = malloc(NAMES_BYTES);
	struct group g, *found = NULL;
	struct passwd p, *member = NULL;
	if (gid == 0)
		return true; /* root's; who is in it is root's decision */
	if (space == NULL || more == NULL || getgrgid_r(gid, &g, space, NAMES_BYTES, &found) != 0 || found == NULL)
		return false;
	if (getpwnam_r(g.gr_name, &p, more, NAMES_BYTES, &member) != 0 || member == NULL || p.pw_gid != gid ||
	    !trusted(t, p.pw_uid))
		return false;
	for (char **m = g.gr_mem; *m != NULL; m++) {
		if (strcmp(*m, g.gr_name) != 0)
			return false;
	}
	return true;
}

static int refuse(const struct trust *t, const char *place, size_t len, const char *why)
{
	return memo_fail(t->err, -EPERM,
			 "store '%s': %s '%.*s', and could put something else in its place; take that right away "
			 "(chmod go-w), or put the store elsewhere",
			 t->dir, why, len > 0 ? (int)len : 1, len > 0 ? place : "/");
}

/* @at: what lies at the first @len bytes of the path, whose directory is @above. */
static int check(const struct trust *t, const struct stat *at, size_t len, bool last)
{
	bool sticky = (at->st_mode & S_ISVTX) != 0 && !last;
	if (!trusted(t, at->st_uid))
		return refuse(t, t->dir, len, "another user owns");
	if ((at->st_mode & S_IWOTH) != 0 && !sticky)
		return refuse(t, t->dir, len, "everyone may write to");
	if ((at->st_mode & S_IWGRP) != 0 && !sticky && !private_group(t, at->st_gid))
		return refuse(t, t->dir, len, "a group may write to");
	return 0;
}

int memo_store_open_place(const char *dir, int *fd_out, struct memo_err *err)
{
	struct stat st;
	MEMO_AUTO_FD int at = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || stat(dir, &st) < 0)
		return memo_fail(err, memo_errno(), "store '%s': cannot be opened: %s", dir,
				 memo_strerror(memo_errno()));
	struct trust t = { .owner = st.st_uid, .dir = dir, .err = err };
	const char *p = dir;
	for (;;) {
		p += strspn(p, "/");
		size_t len = strcspn(p, "/");
		if (fstat(at, &st) < 0)
			return memo_fail(err, memo_errno(), "store '%s': cannot be looked at", dir);
		size_t upto = (size_t)(p - dir);
		int r = check(&t, &st, len > 0 && upto > 1 ? upto - 1 : upto, len == 0);
		if (r < 0)
			return r;
		if (len == 0)
			break;
		char name[NAME_MAX + 1];
		if (len >= sizeof name)
			return memo_fail(err, -ENAMETOOLONG, "store '%s': the name is too long", dir);
		memcpy(name, p, len);
		name[len] = '\0';
		/* the way there need only be passable, not readable */
		int flags = (p[len] == '\0' ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		int next = openat(at, name, flags);
		if (next < 0)
			return memo_fail(err, memo_errno(), "store '%s': cannot be opened: %s", dir,
					 memo_strerror(memo_errno()));
		(void)close(at);
		at = next;
		p += len;
	}
	*fd_out = memo_fd_steal(&at);
	return 0;
}
