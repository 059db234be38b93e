/* Rights of others: taken from a thread and a socket, and files opened with them, in both ways. Most of it needs root. */
#include "check.h"

#include "base/scope.h"
#include "base/tree.h"
#include "base/who.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <grp.h>

#define ALICE 21001
#define BOB 21002
#define LAB 31001
#define SERVICE 21009

static char top[] = "/tmp/memofs-who-XXXXXX";

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned n;
	char *p = path[n++ % 4];
	(void)snprintf(p, sizeof path[0], "%s/%s", top, name);
	return p;
}

static void put(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	MEMO_AUTO_FD int fd = open(at(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	CHECK_INT(fchown(fd, uid, gid), 0);
	CHECK_INT(fchmod(fd, mode), 0);
}

static void make_files(void)
{
	CHECK(mkdtemp(top) != NULL);
	CHECK_INT(chmod(top, 0755), 0);
	put("mine", 0600, ALICE, ALICE);
	put("lab", 0640, BOB, LAB);
	put("world", 0644, 0, 0);
	put("notowner", 0044, ALICE, 0); /* for all but its owner */
	put("acl", 0640, BOB, BOB);
	CHECK_INT(mkdir(at("hidden"), 0700), 0);
	put("hidden/in", 0644, 0, 0);
	CHECK_INT(mkdir(at("passable"), 0711), 0);
	CHECK_INT(chmod(at("passable"), 0711), 0);
	put("passable/in", 0644, 0, 0);
	CHECK_INT(symlink("mine", at("link")), 0);
	CHECK_INT(symlink(at("hidden/in"), at("far")), 0);
	CHECK_INT(symlink("/proc/self/environ", at("magic")), 0);
	CHECK_INT(symlink("loop", at("loop")), 0);
	CHECK_INT(mkfifo(at("fifo"), 0666), 0);
	CHECK_INT(mkdir(at("tree"), 0755), 0);
	CHECK_INT(chmod(at("tree"), 0755), 0);
	put("tree/a", 0644, 0, 0);
	put("tree/b", 0640, 0, LAB);
}

static struct memo_who *who(uid_t uid, bool lab)
{
	const gid_t group[] = { LAB };
	struct memo_who *w = NULL;
	CHECK_INT(memo_who_new(uid, uid, group, lab ? 1 : 0, &w), 0);
	return w;
}

static int try(const struct memo_who *w, const char *path, bool directory)
{
	MEMO_AUTO_FD int fd = -1;
	const struct memo_who_open o = { .directory = directory };
	return memo_who_open(w, path, &o, &fd);
}

/* @by: what the process is: 0 takes the rights on, another looks at the bits. */
static void check_opening(uid_t by)
{
	struct memo_who *alice = who(ALICE, false), *labs = who(ALICE, true), *bob = who(BOB, false);
	CHECK_INT(memo_who_can_assume(), by == 0);
	if (by == 0) /* others cannot open it whoever asks */
		CHECK_INT(try(alice, at("mine"), false), 0);
	CHECK_INT(try(bob, at("mine"), false), -EACCES);
	CHECK_INT(try(alice, at("lab"), false), -EACCES);
	if (by == 0) {
		CHECK_INT(try(labs, at("lab"), false), 0);
		CHECK_INT(try(alice, at("link"), false), 0);
	}
	CHECK_INT(try(alice, at("world"), false), 0);
	CHECK_INT(try(alice, at("notowner"), false), -EACCES);
	CHECK_INT(try(bob, at("notowner"), false), 0);
	CHECK_INT(try(bob, at("link"), false), -EACCES);
	CHECK_INT(try(alice, at("hidden/in"), false), -EACCES);
	CHECK_INT(try(alice, at("hidden/none"), false), -EACCES);
	CHECK_INT(try(alice, at("far"), false), -EACCES);
	CHECK_INT(try(alice, at("passable/in"), false), 0);
	CHECK_INT(try(alice, at("passable/none"), false), -ENOENT);
	CHECK_INT(try(alice, at("passable"), true), -EACCES);
	CHECK_INT(try(alice, at("tree"), true), 0);
	CHECK_INT(try(alice, at("tree"), false), -EISDIR);
	CHECK_INT(try(alice, at("world"), true), -ENOTDIR);
	CHECK_INT(try(alice, at("fifo"), false), -EINVAL);
	CHECK_INT(try(alice, at("loop"), false), -ELOOP);
	CHECK(try(alice, at("magic"), false) < 0);
	CHECK_INT(try(alice, "/proc/version", false), -EPERM);
	CHECK_INT(try(alice, "/dev/null", false), -EPERM);
	CHECK_INT(try(alice, "/sys/kernel/notes", false), -EPERM);
	CHECK_INT(try(alice, "relative", false), -EINVAL);
	memo_who_unref(alice);
	memo_who_unref(labs);
	memo_who_unref(bob);
}

static void test_taking_on(void)
{
	check_opening(0);
	/* nothing is left behind */
	CHECK_INT(setfsuid((uid_t)-1), 0);
	CHECK_INT(setfsgid((gid_t)-1), 0);
	CHECK_INT(try(NULL, at("hidden/in"), false), 0);
	CHECK_INT(try(NULL, at("magic"), false), -EPERM); /* also for root: another file for everyone */
}

/* In a child that is no root: the same answers but for what the child itself may not open. */
static void test_looking_at_bits(void)
{
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		check_failures = 0;
		CHECK_INT(setgroups(0, NULL), 0);
		CHECK_INT(setresgid(SERVICE, SERVICE, SERVICE), 0);
		CHECK_INT(setresuid(SERVICE, SERVICE, SERVICE), 0);
		check_opening(SERVICE);
		(void)fflush(stdout);
		_exit(check_failures > 0);
	}
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* A list that grants more than the bits say is followed by the kernel, and is "no" where only bits are looked at. */
static void test_acl(void)
{
	const struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entry[5];
	} acl = { 2,
		  { { 1, 6, UINT32_MAX },
		    { 2, 4, ALICE },
		    { 4, 4, UINT32_MAX },
		    { 16, 4, UINT32_MAX },
		    { 32, 0, UINT32_MAX } } };
	if (setxattr(at("acl"), "system.posix_acl_access", &acl, sizeof acl, 0) < 0) {
		printf("# no ACLs in this file system\n");
		return;
	}
	struct memo_who *alice = who(ALICE, false);
	CHECK_INT(try(alice, at("acl"), false), 0);
	MEMO_AUTO_FD int fd = open(at("acl"), O_PATH | O_CLOEXEC);
	CHECK_INT(memo_who_look(alice, fd, 4), -EACCES);
	memo_who_unref(alice);
}

static void test_tree(void)
{
	struct memo_who *alice = who(ALICE, false), *labs = who(ALICE, true);
	MEMO_AUTO_FD int fd = open(at("tree"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct memo_tree *t = NULL;
	CHECK_INT(memo_tree_scan_for(fd, MEMO_TREE_FOLLOW, alice, &t, NULL), -EACCES);
	CHECK_INT(memo_tree_scan_for(fd, MEMO_TREE_FOLLOW, labs, &t, NULL), 0);
	memo_tree_unref(t);
	CHECK_INT(symlink("a", at("tree/to-a")), 0);
	CHECK_INT(memo_tree_scan_for(fd, MEMO_TREE_FOLLOW, labs, &t, NULL), -EACCES);
	CHECK_INT(unlink(at("tree/to-a")), 0);
	CHECK_INT(symlink("/proc/self/status", at("tree/status")), 0);
	CHECK_INT(memo_tree_scan(fd, MEMO_TREE_FOLLOW, &t, NULL), -EINVAL);
	CHECK_INT(unlink(at("tree/status")), 0);
	memo_who_unref(alice);
	memo_who_unref(labs);
}

/* The groups of a thread that has its own, and of a peer as it was when it connected. */
static void test_sources(void)
{
	int pair[2], gate[2];
	CHECK_INT(pipe(gate), 0);
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		const gid_t group[] = { LAB, 7 };
		(void)close(gate[1]);
		if (setgroups(2, group) < 0 || setresgid(ALICE, ALICE, ALICE) < 0 ||
		    setresuid(ALICE, ALICE, ALICE) < 0)
			_exit(1);
		(void)!write(pair[1], "x", 1);
		_exit(read(gate[0], &c, 1) == 0 ? 0 : 1);
	}
	char c;
	CHECK_INT(read(pair[0], &c, 1), 1);
	struct memo_who *w = NULL;
	CHECK_INT(memo_who_thread(ALICE, ALICE, pid, &w), 0);
	CHECK(w != NULL && memo_who_in(w, LAB) && memo_who_in(w, 7) && memo_who_in(w, ALICE) && !memo_who_in(w, 8));
	struct memo_buf key = { 0 };
	CHECK_INT(memo_who_key(w, &key), 0);
	CHECK_STR(memo_buf_str(&key), "21001:21001,7,31001");
	memo_buf_clear(&key);
	memo_who_unref(w);
	/* the thread is not who asked: the database knows no groups of him */
	CHECK_INT(memo_who_thread(BOB, BOB, pid, &w), 0);
	CHECK(w != NULL && !memo_who_in(w, LAB) && memo_who_in(w, BOB));
	memo_who_unref(w);
	CHECK_INT(memo_who_thread(ALICE, ALICE, 0, &w), 0);
	CHECK(w != NULL && !memo_who_in(w, LAB));
	memo_who_unref(w);
	CHECK_INT(memo_who_thread(0, 0, pid, &w), 0);
	CHECK(w == NULL);
	(void)close(gate[1]);
	(void)close(gate[0]);
	CHECK(waitpid(pid, NULL, 0) == pid);
	uid_t uid = 1;
	pid_t peer = 0;
	CHECK_INT(memo_who_socket(pair[0], &uid, &peer, &w), 0);
	CHECK(uid == 0 && peer == getpid() && w == NULL);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	make_files();
	RUN(test_taking_on);
	RUN(test_looking_at_bits);
	RUN(test_acl);
	RUN(test_tree);
	RUN(test_sources);
	const char *const rm[] = { "/bin/rm", "-rf", top, NULL };
	pid_t pid = fork();
	if (pid == 0)
		_exit(execv(rm[0], (char *const *)(uintptr_t)rm));
	(void)waitpid(pid, NULL, 0);
	return check_end();
}
