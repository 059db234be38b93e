/* mount and umount: which place and which store are meant; mount.c does the work. */
#include "cli.h"

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/sync.h"
#include "mount.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define POLL_MS 50

/* The real path; of a dead mount (its process was killed) that of its parent, because the place itself cannot be
 * looked at. */
static int real_place(const char *arg, const char *advice, char **out)
{
	char *real = realpath(arg, NULL);
	if (real != NULL) {
		*out = real;
		return CLI_DONE;
	}
	int r = memo_errno();
	if (r != -ENOTCONN && r != -EIO) {
		cli_say("%s: %s%s", arg, memo_strerror(r), r == -ENOENT ? advice : "");
		return CLI_USAGE;
	}
	MEMO_AUTO_FREE char *copy = strdup(arg);
	if (copy == NULL)
		return cli_nomem();
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	char *slash = strrchr(copy, '/');
	MEMO_AUTO_FREE char *parent = NULL;
	if (slash == NULL)
		parent = realpath(".", NULL);
	else {
		*slash = '\0';
		parent = realpath(copy[0] != '\0' ? copy : "/", NULL);
	}
	*out = parent != NULL ? memo_io_join(parent, slash != NULL ? slash + 1 : copy) : NULL;
	return *out == NULL ? cli_nomem() : CLI_DONE;
}

/* A directory, or a dead mount, which serving replaces. */
static int check_place(const char *place)
{
	struct stat st;
	if (stat(place, &st) < 0) {
		int r = memo_errno();
		if (r == -ENOTCONN || r == -EIO)
			return CLI_DONE;
		cli_say("%s: %s", place, memo_strerror(r));
		return CLI_USAGE;
	}
	if (S_ISDIR(st.st_mode))
		return CLI_DONE;
	cli_say("%s: is not a directory; a mount point must be one", place);
	return CLI_USAGE;
}

/* Where the store is mounted already, if it is. */
static int check_served(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_connect(c);
	if (s != CLI_DONE || c->client == NULL)
		return s;
	struct memo_err err = { 0 };
	MEMO_AUTO_JSON json_t *hello = json_pack("{s:s}", "op", "hello");
	int r = memo_client_call(c->client, hello, NULL, NULL, &reply, NULL, &err);
	const char *mount = r == 0 ? memo_json_string(reply, "mountpoint", NULL) : NULL;
	if (mount == NULL) {
		cli_close(c); /* a short command; the lock is waited for */
		return CLI_DONE;
	}
	cli_say("store %s is already mounted at %s; use that, or end it with memofs umount %s", c->store, mount,
		mount);
	return CLI_TROUBLE;
}

/* @inner is @outer or lies in it; both are real paths. */
static bool lies_in(const char *inner, const char *outer)
{
	size_t n = strcmp(outer, "/") == 0 ? 0 : strlen(outer);
	return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || inner[n] == '\0');
}

/* A mount that hides its own store, or a part of it, would have the daemon wait for itself. */
static int check_apart(const struct cli *c, const char *place)
{
	MEMO_AUTO_FREE char *store = realpath(c->store, NULL);
	if (store == NULL || (!lies_in(place, store) && !lies_in(store, place)))
		return CLI_DONE;
	cli_say("%s: the store %s %s; choose another directory", place, store,
		lies_in(place, store) ? "would be mounted on itself" : "would be hidden by the mount");
	return CLI_USAGE;
}

static int run_mount(struct cli *c)
{
	MEMO_AUTO_FREE char *place = NULL;
	int s = real_place(c->arg[0], "; make the directory first", &place);
	if (s == CLI_DONE)
		s = check_place(place);
	if (s == CLI_DONE)
		s = cli_choose_store(c, NULL);
	if (s == CLI_DONE)
		s = cli_need_store(c, true);
	if (s == CLI_DONE)
		s = check_apart(c, place);
	if (s == CLI_DONE)
		s = check_served(c);
	if (s != CLI_DONE)
		return s;
	struct cli_mount_options o = {
		.store = c->store,
		.mountpoint = place,
		.options = cli_value(c, "options"),
		.foreground = cli_value(c, "foreground") != NULL,
	};
	struct memo_err err = { 0 };
	int r = cli_mount_serve(&o, &err);
	return r == 0 ? CLI_DONE : cli_fail(r == -EINVAL ? CLI_USAGE : CLI_TROUBLE, &err);
}

const struct cli_command cli_mount = {
	.name = "mount",
	.arguments = "MOUNTPOINT",
	.summary = "mount the store",
	.about = "Mounts the store at MOUNTPOINT and leaves a daemon behind; returns when the mount answers. The "
		 "store is made\n"
		 "if it is missing. Also: mount -t fuse.memofs STORE MOUNTPOINT, and from fstab.",
	.example = "memofs --store /srv/memofs mount /mnt/memofs -o allow_other",
	.option = { { 'f', "foreground", NULL, "stay in the foreground, log to stderr" },
		    { 'o', "options", "OPTIONS", "mount options, separated by commas: allow_other, ..." } },
	.least = 1,
	.most = 1,
	.makes = true,
	.run = run_mount,
};

/* The daemon is gone when nobody holds the store's lock; a lock that may not be looked at is believed to be free when
 * nobody answers. */
static bool released(const char *store)
{
	struct memo_client *client = NULL;
	int r = memo_client_connect(store, &client, NULL);
	memo_client_close(client);
	if (r != -ENOENT && r != -ECONNREFUSED)
		return false;
	MEMO_AUTO_FREE char *path = memo_io_join(store, "lock");
	MEMO_AUTO_FD int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* The process that serves the store; 0: none answers. */
static pid_t serving(const char *store)
{
	struct memo_client *client = NULL;
	if (memo_client_connect(store, &client, NULL) < 0)
		return 0;
	MEMO_AUTO_JSON json_t *hello = json_pack("{s:s}", "op", "hello");
	MEMO_AUTO_JSON json_t *reply = NULL;
	int r = hello != NULL ? memo_client_call(client, hello, NULL, NULL, &reply, NULL, NULL) : -ENOMEM;
	memo_client_close(client);
	int64_t pid = r == 0 ? memo_json_int(reply, "pid", 0) : 0;
	return pid > 1 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

static int wait_released(const char *place, const char *store)
{
	int64_t deadline = memo_now_ns() + CLI_WAIT_MS * MEMO_NS_PER_MS;
	while (!released(store)) {
		if (memo_now_ns() > deadline) {
			cli_say("%s: is unmounted, but the daemon still ends its work on the store %s", place,
				store);
			return CLI_TROUBLE;
		}
		(void)poll(NULL, 0, POLL_MS);
	}
	return CLI_DONE;
}

/* fusermount3 does not tell a mount that is in use from one of somebody else. */
static int say_busy(const char *place, const char *store)
{
	struct stat st;
	MEMO_AUTO_BUF struct memo_buf word = { 0 };
	(void)memo_log_word(&word, place);
	if (geteuid() != 0 && stat(store, &st) == 0 && st.st_uid != geteuid())
		cli_say("%s: only who mounted it and root may unmount it", place);
	else
		cli_say("%s: is in use: end the programs that use it (fuser -vm %s shows them) and leave the "
			"directory, "
			"or detach it at once with memofs umount -l %s",
			place, memo_buf_str(&word), memo_buf_str(&word));
	return CLI_TROUBLE;
}

static int run_umount(struct cli *c)
{
	MEMO_AUTO_FREE char *place = NULL;
	MEMO_AUTO_FREE char *mount = NULL;
	MEMO_AUTO_FREE char *store = NULL;
	int s = real_place(c->arg[0], "; memofs status says where the store is mounted", &place);
	if (s != CLI_DONE)
		return s;
	if (cli_mount_find(place, &mount, &store) < 0 || strcmp(mount, place) != 0) {
		cli_say("%s: no memofs is mounted there; memofs status says where it is", place);
		return CLI_TROUBLE;
	}
	struct memo_err err = { 0 };
	bool lazy = cli_value(c, "lazy") != NULL;
	pid_t daemon = serving(store);
	int r = cli_mount_end(place, lazy, &err);
	if (r == -EBUSY)
		return say_busy(place, store);
	if (r < 0)
		return cli_fail(CLI_TROUBLE, &err);
	/* a lazy one ends when its last user does */
	if (lazy)
		return CLI_DONE;
	/* Other mount namespaces may have a copy of the mount, those of running tasks too: the kernel tells the daemon nothing
	 * while one is left. Nobody here uses it any more, so the daemon is told. */
	if (daemon > 0)
		(void)kill(daemon, SIGTERM);
	return wait_released(place, store);
}

const struct cli_command cli_umount = {
	.name = "umount",
	.arguments = "MOUNTPOINT",
	.summary = "unmount, and end the daemon",
	.about = "Unmounts and waits until the daemon has closed the store. Tasks that run are ended; they are "
		 "executed again\n"
		 "when they are demanded.",
	.example = "memofs umount /mnt/memofs",
	.option = { { 'l', "lazy", NULL, "detach now, also when it is in use" } },
	.least = 1,
	.most = 1,
	.run = run_umount,
};
