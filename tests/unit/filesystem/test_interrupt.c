/* Whether a signalled waiter stops waiting: masks as /proc/<tid>/status shows them, against CONTRACT.md 1.2. */
#include "../check.h"

#include "filesystem/interrupt.h"

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#define B(s) (UINT64_C(1) << ((s)-1))

static const struct row {
	const char *name;
	uint64_t own, shared, blocked, ignored, caught;
	enum memo_interrupt want;
} rows[] = {
	{ "nothing", 0, 0, 0, 0, 0, MEMO_INTERRUPT_NONE },
	{ "kill", B(SIGKILL), 0, 0, 0, 0, MEMO_INTERRUPT_END },
	{ "kill of the process", 0, B(SIGKILL), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "kill cannot be blocked", B(SIGKILL), 0, B(SIGKILL), 0, 0, MEMO_INTERRUPT_END },
	{ "stop", 0, B(SIGSTOP), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "terminal stop", 0, B(SIGTSTP), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "terminal stop caught", 0, B(SIGTSTP), 0, 0, B(SIGTSTP), MEMO_INTERRUPT_SOFT },
	{ "term by default", 0, B(SIGTERM), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "term caught", 0, B(SIGTERM), 0, 0, B(SIGTERM), MEMO_INTERRUPT_END },
	{ "int caught", 0, B(SIGINT), 0, 0, B(SIGINT), MEMO_INTERRUPT_END },
	{ "hup caught", B(SIGHUP), 0, 0, 0, B(SIGHUP), MEMO_INTERRUPT_END },
	{ "quit caught", 0, B(SIGQUIT), 0, 0, B(SIGQUIT), MEMO_INTERRUPT_END },
	{ "int ignored", 0, B(SIGINT), 0, B(SIGINT), 0, MEMO_INTERRUPT_NONE },
	{ "int blocked", 0, B(SIGINT), B(SIGINT), 0, B(SIGINT), MEMO_INTERRUPT_NONE },
	{ "child caught", 0, B(SIGCHLD), 0, 0, B(SIGCHLD), MEMO_INTERRUPT_SOFT },
	{ "child by default", 0, B(SIGCHLD), 0, 0, 0, MEMO_INTERRUPT_NONE },
	{ "urg caught", B(SIGURG), 0, 0, 0, B(SIGURG), MEMO_INTERRUPT_SOFT },
	{ "winch by default", 0, B(SIGWINCH), 0, 0, 0, MEMO_INTERRUPT_NONE },
	{ "cont by default", 0, B(SIGCONT), 0, 0, 0, MEMO_INTERRUPT_NONE },
	{ "alarm caught", 0, B(SIGALRM), 0, 0, B(SIGALRM), MEMO_INTERRUPT_SOFT },
	{ "alarm by default kills", 0, B(SIGALRM), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "usr1 caught", 0, B(SIGUSR1), 0, 0, B(SIGUSR1), MEMO_INTERRUPT_SOFT },
	{ "usr1 by default kills", 0, B(SIGUSR1), 0, 0, 0, MEMO_INTERRUPT_END },
	{ "child and term, both caught", 0, B(SIGCHLD) | B(SIGTERM), 0, 0, B(SIGCHLD) | B(SIGTERM),
	  MEMO_INTERRUPT_END },
	{ "child caught, usr1 by default", 0, B(SIGCHLD) | B(SIGUSR1), 0, 0, B(SIGCHLD), MEMO_INTERRUPT_END },
	{ "thread cancellation", B(32), 0, 0, 0, B(32), MEMO_INTERRUPT_END },
	{ "setuid broadcast", B(33), 0, 0, 0, B(33), MEMO_INTERRUPT_END },
	{ "real-time caught", B(40), 0, 0, 0, B(40), MEMO_INTERRUPT_SOFT },
	{ "real-time by default", B(64), 0, 0, 0, 0, MEMO_INTERRUPT_END },
};

static void test_masks(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *r = &rows[i];
		char text[512];
		(void)snprintf(text, sizeof text,
			       "Name:\tcat\nState:\tS (sleeping)\nSigQ:\t1/2\nSigPnd:\t%016" PRIx64
			       "\nShdPnd:\t%016" PRIx64 "\nSigBlk:\t%016" PRIx64 "\nSigIgn:\t%016" PRIx64
			       "\nSigCgt:\t%016" PRIx64 "\nCapInh:\t0\n",
			       r->own, r->shared, r->blocked, r->ignored, r->caught);
		CHECK_ROW(memo_interrupt_decide(text) == r->want, r->name);
	}
}

static void test_other_texts(void)
{
	CHECK_INT(memo_interrupt_decide(""), MEMO_INTERRUPT_GONE);
	CHECK_INT(memo_interrupt_decide("SigPnd:\t00\nShdPnd:\t00\nSigBlk:\t00\nSigIgn:\t00\n"),
		  MEMO_INTERRUPT_GONE);
	CHECK_INT(memo_interrupt_decide("SigPnd:\txx\nShdPnd:\t00\nSigBlk:\t00\nSigIgn:\t00\nSigCgt:\t0\n"),
		  MEMO_INTERRUPT_GONE);
	/* A name that looks like a line. */
	CHECK_INT(memo_interrupt_decide(
			  "Name:\tSigPnd:\nSigPnd:\t100\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0"),
		  MEMO_INTERRUPT_END);
}

static void test_self(void)
{
	CHECK_INT(memo_interrupt_of(getpid()), MEMO_INTERRUPT_NONE);
	CHECK_INT(memo_interrupt_of(0), MEMO_INTERRUPT_GONE);
	CHECK_INT(memo_interrupt_is_nfsd(getpid()), 0);
}

int main(void)
{
	RUN(test_masks);
	RUN(test_other_texts);
	RUN(test_self);
	return check_end();
}
