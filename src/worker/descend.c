/* Descend: ending a process tree without a namespace.
 *
 * This process is the subreaper: an orphan becomes its child, so that every process of the task stays a descendant and
 * can be found through /proc. A pid may be given to a stranger between looking and killing; a process is therefore
 * held by a pidfd and looked at again before it is killed. */
#include "proc.h"
#include "run.h"

#include "base/error.h"
#include "base/scope.h"

#include <sys/syscall.h>
#include <unistd.h>

void memo_descend_terminate(pid_t task)
{
	/* A task that was not scheduled yet has no group of its own. */
	if (kill(-task, SIGTERM) < 0)
		(void)kill(task, SIGTERM);
	(void)kill(-task, SIGCONT);
}

static void kill_one(const struct memo_process *p)
{
	MEMO_AUTO_FD int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct memo_process now;
	if (fd < 0) {
		/* A kernel before 5.3; a child of ours cannot be replaced before we reap it. */
		if (errno == ENOSYS)
			(void)kill(p->pid, SIGKILL);
		return;
	}
	if (memo_proc_read(p->pid, &now) == 0 && now.start == p->start)
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

int memo_descend_kill(void)
{
	struct memo_processes t = { 0 };
	int r = memo_proc_read_all(&t, SIZE_MAX);
	if (r == 0) {
		memo_proc_mark(&t, getpid());
		for (size_t i = 0; i < t.count; i++) {
			if (t.at[i].ours)
				kill_one(&t.at[i]);
		}
	}
	memo_proc_clear(&t);
	return r;
}
