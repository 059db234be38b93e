/* Seccomp: no sockets but those of AF_UNIX, where a network namespace cannot be had.
 *
 * A program of the kernel's packet filter looks at each system call: its architecture (a process may change to the 32-bit one),
 * its number, and the first argument of socket(). io_uring is refused as a whole, since it makes sockets without the call, and
 * socketcall() of 32-bit programs, since its arguments cannot be seen. socketpair() leads nowhere and is left alone. */
#include "sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH_OWN AUDIT_ARCH_X86_64
#define ARCH_32 AUDIT_ARCH_I386
#define SOCKET_32 359
#define SOCKETCALL_32 102
#elif defined(__aarch64__)
#define ARCH_OWN AUDIT_ARCH_AARCH64
#define ARCH_32 AUDIT_ARCH_ARM
#define SOCKET_32 281
#define SOCKETCALL_32 102
#endif

#define X32_BIT 0x40000000u /* of x86_64's other numbering */
#define URING_SETUP 425 /* on all architectures */

#ifdef ARCH_OWN

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, (what))

static int enter(void)
{
	static const struct sock_filter code[] = {
		/*  0 */ LOAD(arch),
		/*  1 */ IF_EQUAL(ARCH_OWN, 4, 0),
		/*  2 */ IF_EQUAL(ARCH_32, 0, 9), /* an architecture that this machine does not have */
		/*  3 */ LOAD(nr),
		/*  4 */ IF_EQUAL(SOCKETCALL_32, 7, 0),
		/*  5 */ IF_EQUAL(SOCKET_32, 4, 3),
		/*  6 */ LOAD(nr),
		/*  7 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT),
		/*  8 */ IF_EQUAL(SYS_socket, 1, 0),
		/*  9 */ IF_EQUAL(URING_SETUP, 2, 3),
		/* 10 */ LOAD(args[0]), /* the low half of it, on machines that begin with it */
		/* 11 */ IF_EQUAL(AF_UNIX, 1, 0),
		/* 12 */ ANSWER(SECCOMP_RET_ERRNO | EACCES),
		/* 13 */ ANSWER(SECCOMP_RET_ALLOW),
	};
	/* The kernel reads it only. */
	const struct sock_fprog program = { .len = sizeof code / sizeof code[0],
					    .filter = (struct sock_filter *)(uintptr_t)code };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? memo_errno() : 0;
}

#else

static int enter(void)
{
	return -ENOSYS; /* the numbers of this architecture are not in the table above */
}

#endif

void memo_seccomp_enter(const struct memo_worker *w, struct memo_level *level)
{
	if (level->network == MEMO_NETWORK_NAMESPACE || memo_sandbox_network_open(w))
		return;
	int r = enter();
	if (r == 0)
		level->network = MEMO_NETWORK_FILTER;
	else
		level->network_error = -r;
}
