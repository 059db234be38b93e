/* Who: the rights of a process that asks for something, and how to read a file with them.
 *
 * A daemon that reads files on request is a deputy: it must not read for anybody what he could not read himself. So each
 * request carries the user, the group and the supplementary groups of whoever made it, taken once when it came in and
 * never changed, and what it names is opened with exactly these.
 *
 *	memo_who_thread / memo_who_socket -> memo_who_open, memo_who_assume .. memo_who_resume -> memo_who_unref
 *
 * NULL stands for "no limits of its own": root, and the user that this process runs as, whose rights are its own.
 *
 * How. As root the calling thread takes on the file system credentials of the asker (setfsuid, setfsgid and the thread's
 * own setgroups: credentials are a thread's in Linux, only libc spreads them over the process), so that the kernel
 * decides, with ACLs, network file systems and security modules. Otherwise the permission bits of each directory on the way
 * decide, walked by descriptors so that nothing can be swapped underneath; where they do not tell (an ACL), the answer is no.
 *
 * Threads: a value is immutable and counted atomically. assume and resume belong to one thread, in pairs, and nothing but
 * reading happens between them. Sources: credentials(7), setfsuid(2), unix(7) for SO_PEERGROUPS. */
#ifndef MEMO_BASE_WHO_H
#define MEMO_BASE_WHO_H

#include "buf.h"
#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MEMO_WHO_GROUPS 65536 /* the kernel's own limit */
#define MEMO_WHO_LINKS 40 /* symbolic links on one path, as in the kernel */

struct memo_who;

/* Needs no check: root, and the user of this process. */
bool memo_who_is_free(uid_t uid);
/* @uid, @gid as the kernel told them of a request that is still waiting, so that thread @tid cannot change them meanwhile; its
 * supplementary groups come from /proc. Where these cannot be had (0: a process of another pid namespace; another one by now)
 * the user database gives them. *@out NULL: no limits. */
MEMO_MUST int memo_who_thread(uid_t uid, gid_t gid, pid_t tid, struct memo_who **out);
/* The peer of a connected unix socket, as it was when it connected. *@uid_out also where *@out is NULL. */
MEMO_MUST int memo_who_socket(int fd, uid_t *uid_out, pid_t *pid_out, struct memo_who **out);
/* By the user database alone: for requests that outlived their process. */
MEMO_MUST int memo_who_user(uid_t uid, struct memo_who **out);
MEMO_MUST int memo_who_new(uid_t uid, gid_t gid, const gid_t *group, size_t groups, struct memo_who **out);
struct memo_who *memo_who_ref(const struct memo_who *w); /* NULL-safe, as is unref */
void memo_who_unref(struct memo_who *w);

uid_t memo_who_uid(const struct memo_who *w); /* not of NULL */
/* NULL is in every group. */
bool memo_who_in(const struct memo_who *w, gid_t gid);
/* Whether the permission bits @mode of something that belongs to @uid and @gid grant @want (4 read, 2 write, 1 execute). */
bool memo_who_may(const struct memo_who *w, mode_t mode, uid_t uid, gid_t gid, unsigned want);
/* The same of an open file or directory (O_PATH will do), where its bits are the whole truth: -EACCES also with an ACL. */
MEMO_MUST int memo_who_look(const struct memo_who *w, int fd, unsigned want);
/* It lies in a file system whose files are made up as they are read (/proc, /sys ...). */
bool memo_who_is_unreal(int fd);
/* Appends a text that is the same for equal rights and for no others; nothing for NULL. */
MEMO_MUST int memo_who_key(const struct memo_who *w, struct memo_buf *b);

/* This process can take on the rights of others. */
bool memo_who_can_assume(void);
/* The calling thread reads files as @w until resume; nothing happens for NULL. -EPERM: it cannot, and did not. */
MEMO_MUST int memo_who_assume(const struct memo_who *w);
/* Never fails: a thread that cannot get its own rights back ends the process. */
void memo_who_resume(const struct memo_who *w);

/* Opens what is at @path (absolute, links followed, but not the links of /proc, which lead elsewhere for each process) with
 * the rights of @w: O_PATH first, and for reading only what is a regular file, or a directory with @directory, so that
 * neither a FIFO blocks nor a device wakes up. -EACCES, -ENOENT ...: what the asker would be told. -EISDIR, -ENOTDIR, -EINVAL:
 * of another kind. -ELOOP also for links of /proc. -EPERM: below /proc, /sys or /dev. */
struct memo_who_open {
	bool directory;
	bool has_dev; /* refuse what lies on @dev (-EXDEV), before anything is asked of it */
	dev_t dev;
};
MEMO_MUST int memo_who_open(const struct memo_who *w, const char *path, const struct memo_who_open *o, int *fd_out);

#endif
