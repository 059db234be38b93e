/* deny WHAT[,WHAT...] PROGRAM [ARGUMENT...]: runs the program on a kernel that lacks something.
 *
 * WHAT is one of landlock, namespaces (all of them), netns, userns, views (open_tree and what belongs to it) and seccomp. A filter
 * of system calls, which everything that comes from the program inherits, answers as a kernel or an administrator would
 * who does not offer it. Tests ask with it what the sandbox does with less. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 64
#define LANDLOCK_FIRST 444
#define LANDLOCK_LAST 446
#define ALL_NEW (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static struct sock_filter code[MOST];
static unsigned short count;

static void put(struct sock_filter one)
{
	if (count < MOST)
		code[count++] = one;
}

static void load(unsigned offset)
{
	put((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static void answer(unsigned what)
{
	put((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

static void deny_call(unsigned nr, unsigned error)
{
	put((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1));
	answer(SECCOMP_RET_ERRNO | error);
}

/* The call with one of the bits (JSET), or the very value (JEQ), in its first argument. */
static void deny_first(unsigned nr, unsigned how, unsigned value, unsigned error)
{
	put((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4));
	load(offsetof(struct seccomp_data, args[0]));
	put((struct sock_filter)BPF_JUMP(BPF_JMP | how | BPF_K, value, 0, 1));
	answer(SECCOMP_RET_ERRNO | error);
	load(offsetof(struct seccomp_data, nr));
}

static void deny_namespaces(unsigned bits)
{
	deny_first(SYS_clone, BPF_JSET, bits, EPERM);
	deny_first(SYS_unshare, BPF_JSET, bits, EPERM);
	deny_call(SYS_clone3, ENOSYS);
}

static int deny(const char *what)
{
	if (strcmp(what, "landlock") == 0) {
		for (unsigned nr = LANDLOCK_FIRST; nr <= LANDLOCK_LAST; nr++)
			deny_call(nr, ENOSYS);
	} else if (strcmp(what, "namespaces") == 0) {
		deny_namespaces(ALL_NEW);
	} else if (strcmp(what, "netns") == 0) {
		deny_namespaces(CLONE_NEWNET);
	} else if (strcmp(what, "userns") == 0) {
		deny_namespaces(CLONE_NEWUSER);
	} else if (strcmp(what, "views") == 0) {
		deny_call(SYS_open_tree, EPERM);
		deny_call(SYS_mount_setattr, ENOSYS);
	} else if (strcmp(what, "seccomp") == 0) {
		deny_call(SYS_seccomp, ENOSYS);
		deny_first(SYS_prctl, BPF_JEQ, PR_SET_SECCOMP, EINVAL);
	} else {
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		(void)fprintf(stderr, "usage: deny WHAT[,WHAT...] PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	load(offsetof(struct seccomp_data, nr));
	char *rest = argv[1], *what;
	while ((what = strsep(&rest, ",")) != NULL) {
		if (deny(what) < 0) {
			(void)fprintf(stderr, "deny: '%s' is not known\n", what);
			return 2;
		}
	}
	answer(SECCOMP_RET_ALLOW);
	const struct sock_fprog program = { .len = count, .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0) {
		perror("deny: cannot install the filter");
		return 2;
	}
	(void)execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
