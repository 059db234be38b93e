/* See mount.h. */
#include "mount.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUSERMOUNT "fusermount3"

extern char **environ;

/* ---- options ---------------------------------------------------------------------------------------- */

struct option {
	const char *name;
	unsigned long set;
};

/* Those without a flag say what is so anyway, or are for mount(8) and its friends. */
static const struct option known[] = {
	{ "ro", 0 },	      { "rw", 0 },
	{ "dev", 0 },	      { "nodev", 0 },
	{ "suid", 0 },	      { "nosuid", 0 },
	{ "exec", 0 },	      { "noexec", MS_NOEXEC },
	{ "atime", 0 },	      { "noatime", MS_NOATIME },
	{ "relatime", 0 },    { "norelatime", 0 },
	{ "strictatime", 0 }, { "nostrictatime", 0 },
	{ "lazytime", 0 },    { "nolazytime", 0 },
	{ "diratime", 0 },    { "nodiratime", MS_NODIRATIME },
	{ "sync", 0 },	      { "async", 0 },
	{ "dirsync", 0 },     { "auto", 0 },
	{ "noauto", 0 },      { "user", 0 },
	{ "nouser", 0 },      { "users", 0 },
	{ "owner", 0 },	      { "noowner", 0 },
	{ "group", 0 },	      { "nogroup", 0 },
	{ "defaults", 0 },    { "_netdev", 0 },
	{ "nofail", 0 },      { "silent", 0 },
	{ "loud", 0 },	      { "default_permissions", 0 },
};
/* The same with a value. */
static const char *const ignored[] = { "x-", "X-", "comment=", "user=", "fsname=", "subtype=" };

static int option(const char *word, size_t len, struct memo_mount_options *o, struct memo_err *err)
{
	static const char allow_other[] = "allow_other";
	if (len == 0)
		return 0;
	if (len == sizeof allow_other - 1 && memcmp(word, allow_other, len) == 0) {
		o->allow_other = true;
		return 0;
	}
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strlen(known[i].name) == len && memcmp(word, known[i].name, len) == 0) {
			o->flags |= known[i].set;
			return 0;
		}
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		if (strlen(ignored[i]) <= len && memcmp(word, ignored[i], strlen(ignored[i])) == 0)
			return 0;
	return memo_fail(err, -EINVAL,
			 "mount option '%.*s' is not known; use allow_other, noexec, noatime, or leave it out",
			 (int)(len < 200 ? len : 200), word);
}

int memo_mount_options(const char *text, struct memo_mount_options *out, struct memo_err *err)
{
	struct memo_mount_options o = { .flags = MS_RDONLY | MS_NOSUID | MS_NODEV };
	const char *p = text != NULL ? text : "";
	while (*p != '\0') {
		size_t len = 0;
		while (p[len] != '\0' && p[len] != ',')
			len += p[len] == '\\' && p[len + 1] != '\0' ? 2 : 1;
		int r = option(p, len, &o, err);
		if (r < 0)
			return r;
		p += len;
		p += *p == ',';
	}
	*out = o;
	return 0;
}

/* ---- mounting --------------------------------------------------------------------------------------- */

static int mount_self(const char *point, const char *source, const struct memo_mount_options *o, int *fd_out)
{
	MEMO_AUTO_FD int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	char data[256];
	(void)snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fd,
		       (unsigned)geteuid(), (unsigned)getegid(), o->allow_other ? ",allow_other" : "");
	if (mount(source, point, MEMO_MOUNT_TYPE, o->flags, data) != 0)
		return memo_errno();
	*fd_out = memo_fd_steal(&fd);
	return 0;
}

/* The descriptor that fusermount3 sends. */
static int receive_fd(int sock)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.space,
			    .msg_controllen = sizeof control.space };
	ssize_t n;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPERM;
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* Exit status of the program, or negative errno. */
static int run(char *const argv[], char *const env[], int keep_fd, int keep_as)
{
	posix_spawn_file_actions_t fa;
	pid_t pid;
	int r = posix_spawn_file_actions_init(&fa);
	if (r != 0)
		return -r;
	if (keep_fd >= 0)
		r = posix_spawn_file_actions_adddup2(&fa, keep_fd, keep_as);
	if (r == 0)
		r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (r != 0)
		return -r;
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return memo_errno();
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

#define COMM_FD 3

/* The environment with the variable that tells fusermount3 where to send the descriptor. */
static char **environment(char *variable)
{
	size_t n = 0;
	while (environ[n] != NULL)
		n++;
	char **env = calloc(n + 2, sizeof *env);
	if (env == NULL)
		return NULL;
	memcpy(env, environ, n * sizeof *env);
	env[n] = variable;
	return env;
}

static int fusermount_options(const char *source, const struct memo_mount_options *o, struct memo_buf *b)
{
	(void)memo_buf_puts(b, "ro,nosuid,nodev,default_permissions,subtype=memofs,fsname=");
	for (const char *p = source; *p != '\0'; p++) {
		if (*p == ',' || *p == '\\')
			(void)memo_buf_putc(b, '\\');
		(void)memo_buf_putc(b, *p);
	}
	(void)memo_buf_puts(b, o->allow_other ? ",allow_other" : "");
	(void)memo_buf_puts(b, (o->flags & MS_NOEXEC) != 0 ? ",noexec" : "");
	(void)memo_buf_puts(b, (o->flags & MS_NOATIME) != 0 ? ",noatime" : "");
	return memo_buf_error(b);
}

static int mount_helper(const char *point, const char *source, const struct memo_mount_options *o, int *fd_out)
{
	MEMO_AUTO_BUF struct memo_buf options = { 0 };
	int r = fusermount_options(source, o, &options);
	if (r < 0)
		return r;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return memo_errno();
	MEMO_AUTO_FD int ours = pair[0];
	MEMO_AUTO_FD int theirs = pair[1];
	/* dup2 to the same number would leave close-on-exec set. */
	if (theirs == COMM_FD) {
		int other = fcntl(theirs, F_DUPFD_CLOEXEC, COMM_FD + 1);
		if (other < 0)
			return memo_errno();
		(void)close(theirs);
		theirs = other;
	}
	char variable[] = "_FUSE_COMMFD=3";
	MEMO_AUTO_FREE char **env = environment(variable);
	if (env == NULL)
		return -ENOMEM;
	char *argv[] = { (char[]){ FUSERMOUNT }, (char[]){ "-o" },	   options.data,
			 (char[]){ "--" },	 (char *)(uintptr_t)point, NULL };
	r = run(argv, env, theirs, COMM_FD);
	if (r != 0)
		return r < 0 ? r : -EPERM;
	r = receive_fd(ours);
	if (r < 0)
		return r;
	*fd_out = r;
	return 0;
}

int memo_mount_do(const char *point, const char *source, const struct memo_mount_options *o, int *fd_out,
		  struct memo_err *err)
{
	int r = mount_self(point, source, o, fd_out);
	if ((r == -EPERM || r == -EACCES) && geteuid() != 0)
		r = mount_helper(point, source, o, fd_out);
	switch (r) {
	case 0:
		return 0;
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		if (access("/dev/fuse", F_OK) == 0)
			break;
		return memo_fail(err, r,
				 "cannot mount at '%s': /dev/fuse is missing; load the kernel's module 'fuse'",
				 point);
	case -EPERM:
	case -EACCES:
		return memo_fail(err, r, "cannot mount at '%s': not permitted; %s", point,
				 o->allow_other ? "allow_other needs root, or user_allow_other in /etc/fuse.conf"
						: "own the directory, and install fusermount3 (package fuse3)");
	default:
		break;
	}
	return memo_fail(err, r, "cannot mount at '%s': %s", point, memo_strerror(r));
}

int memo_mount_undo(const char *point, bool lazy, struct memo_err *err)
{
	if (umount2(point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	int r = memo_errno();
	if (r == -EPERM) {
		char *argv[] = { (char[]){ FUSERMOUNT },
				 (char[]){ "-u" },
				 (char[]){ "-q" },
				 lazy ? (char[]){ "-z" } : (char[]){ "-q" },
				 (char[]){ "--" },
				 (char *)(uintptr_t)point,
				 NULL };
		int e = run(argv, environ, -1, -1);
		if (e == 0)
			return 0;
		/* It gives no reason; a mount that may be unmounted and is not, is in use. */
		r = e > 0 ? -EBUSY : e;
	}
	if (r == -EBUSY)
		return memo_fail(err, r, "'%s' is in use; end what works there, or unmount lazily (umount -l)",
				 point);
	return memo_fail(err, r, "cannot unmount '%s': %s", point, memo_strerror(r));
}

int memo_mount_check_kernel(struct memo_buf *notice)
{
	static const char *const name[] = { "default_request_timeout", "max_request_timeout" };
	for (size_t i = 0; i < 2; i++) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		char path[96];
		(void)snprintf(path, sizeof path, "/proc/sys/fs/fuse/%s", name[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue; /* an older kernel: no such limit */
		int r = memo_io_read_fd(fd, 64, &b);
		(void)close(fd);
		if (r == 0 && strtol(memo_buf_str(&b), NULL, 10) > 0)
			(void)memo_buf_printf(notice,
					      "the kernel ends this mount when a read waits longer than fs.fuse.%s "
					      "(%ld s); set it to 0\n",
					      name[i], strtol(memo_buf_str(&b), NULL, 10));
	}
	return memo_buf_error(notice);
}
