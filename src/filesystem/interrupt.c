/* See interrupt.h. */
#include "interrupt.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_BYTES ((size_t)64 << 10)
/* The C library's own: cancellation and set*id broadcasts. */
#define SIG_LIBC_FIRST 32
#define SIG_LIBC_LAST 33

static uint64_t bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

/* The mask in the line "<key>:\t<16 hex>". */
static int mask(const char *status, const char *key, uint64_t *out)
{
	size_t len = strlen(key);
	for (const char *p = status; p != NULL; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, key, len) != 0 || p[len] != ':')
			continue;
		p += len + 1;
		p += strspn(p, " \t");
		char *end;
		errno = 0;
		uint64_t v = strtoull(p, &end, 16);
		if (end == p || (*end != '\n' && *end != '\0') || errno != 0)
			return -EINVAL;
		*out = v;
		return 0;
	}
	return -ENOENT;
}

enum memo_interrupt memo_interrupt_decide(const char *status)
{
	uint64_t own, shared, blocked, ignored, caught;
	if (mask(status, "SigPnd", &own) < 0 || mask(status, "ShdPnd", &shared) < 0 ||
	    mask(status, "SigBlk", &blocked) < 0 || mask(status, "SigIgn", &ignored) < 0 ||
	    mask(status, "SigCgt", &caught) < 0)
		return MEMO_INTERRUPT_GONE;
	const uint64_t always = bit(SIGKILL) | bit(SIGSTOP);
	const uint64_t meant = bit(SIGINT) | bit(SIGTERM) | bit(SIGHUP) | bit(SIGQUIT) | bit(SIG_LIBC_FIRST) |
			       bit(SIG_LIBC_LAST);
	const uint64_t harmless = bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT); /* when not caught */

	uint64_t pending = own | shared;
	if ((pending & always) != 0)
		return MEMO_INTERRUPT_END;
	pending &= ~blocked & ~ignored;
	if ((pending & caught & meant) != 0 || (pending & ~caught & ~harmless) != 0)
		return MEMO_INTERRUPT_END;
	return (pending & caught) != 0 ? MEMO_INTERRUPT_SOFT : MEMO_INTERRUPT_NONE;
}

static int read_proc(pid_t tid, const char *what, struct memo_buf *b)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)tid, what);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	int r = memo_io_read_fd(fd, STATUS_BYTES, b);
	(void)close(fd);
	return r < 0 ? r : memo_buf_error(b);
}

enum memo_interrupt memo_interrupt_of(pid_t tid)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (tid <= 0 || read_proc(tid, "status", &b) < 0)
		return MEMO_INTERRUPT_GONE;
	return memo_interrupt_decide(memo_buf_str(&b));
}

int memo_interrupt_is_nfsd(pid_t tid)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	return tid > 0 && read_proc(tid, "comm", &b) == 0 && strcmp(memo_buf_str(&b), "nfsd\n") == 0;
}
