/* Rights: what a task may not gain, and what it does not keep of root's. */
#include "sandbox.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What remains of root's: about the owners and modes of files, so that unpacking an archive and reading what others own go
 * on; where that applies is said by the other layers. */
static const int kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID };

static uint64_t kept_mask(void)
{
	uint64_t mask = 0;
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		mask |= UINT64_C(1) << kept[i];
	return mask;
}

int memo_rights_drop(void)
{
	const uint64_t keep = geteuid() == 0 ? kept_mask() : 0;
	const struct rlimit none = { 0, 0 };
	/* A core file would be part of an output directory; it is no reason to refuse the task. */
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		errno = 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return memo_errno();
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		/* Without the right to do so there is nothing in the set that could be had. */
		if ((keep >> cap & 1) == 0)
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &head, data) < 0)
		return memo_errno();
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) < 0 ? memo_errno() : 0;
}
