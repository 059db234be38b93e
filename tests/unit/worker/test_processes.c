/* The worker: nothing of a task outlives it, however the attempt ends. */
#include "fixture.h"

#include "base/sync.h"

#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sleepers are told apart from all others of the machine by their odd time: whole seconds and our pid as fraction. */
static char mark[40];

/* A child that ignores SIGTERM, and a daemon: forked twice, in a session of its own. */
static void start_stubborn(struct attempt *a, const char *then)
{
	char script[600];
	(void)snprintf(
		script, sizeof script,
		"trap '' TERM; (setsid sh -c 'sleep %s & sleep %s' >/dev/null 2>&1 &) ; sleep %s & echo ready; %s",
		mark, mark, mark, then);
	attempt_shell(a, script);
}

/* The shell says "ready" when it has forked them all, not when they have come to their command lines. */
static bool all_there(void)
{
	for (int i = 0; i < 1000; i++) {
		if (count_marked(mark) >= 4)
			return true;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return false;
}

/* A killed process may need a moment to be gone from /proc. */
static int left_over(void)
{
	int n = 1;
	for (int i = 0; i < 100 && n > 0; i++) {
		n = count_marked(mark);
		if (n > 0)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	return n;
}

static void test_timeout(void)
{
	struct attempt a;
	start_stubborn(&a, "wait");
	a.job.time_ms = 300;
	int64_t before = memo_now_ns();
	CHECK_INT(attempt_run(&a), 0);
	int64_t ms = (memo_now_ns() - before) / MEMO_NS_PER_MS;
	CHECK_INT(a.exit.status, MEMO_EXIT_TIMEOUT);
	CHECK_INT(a.exit.signal, SIGKILL);
	CHECK_STR(a.exit.message, "the task took longer than its limit of 0.3 s (requirements.time)");
	CHECK(ms >= 1300 && ms < 6000);
	CHECK(a.exit.wall_ms >= 1300);
	CHECK_INT(count_marked(mark), 0); /* at once: the output is looked at only now */
	attempt_end(&a);
}

/* A task that heeds SIGTERM is not made to wait; its status 0 is no success. */
static void test_timeout_polite(void)
{
	struct attempt a;
	attempt_shell(&a, "trap 'echo bye >&2; exit 0' TERM; sleep 1000 & wait");
	a.job.time_ms = 200;
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_TIMEOUT);
	CHECK(a.exit.wall_ms < 1500);
	CHECK_STR(attempt_text(&a, "stderr"), "bye\n");
	attempt_end(&a);
}

static void test_stopped_task(void)
{
	struct attempt a;
	attempt_shell(&a, "kill -STOP $$");
	a.job.time_ms = 200;
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_TIMEOUT);
	CHECK(a.exit.wall_ms < 1500);
	attempt_end(&a);
}

static void test_left_behind(void)
{
	struct attempt a;
	start_stubborn(&a, "sleep 0.2; exit 0");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_STR(attempt_text(&a, "output"), "ready\n");
	CHECK_INT(count_marked(mark), 0);
	attempt_end(&a);
}

static void test_cancel(void)
{
	struct attempt a;
	start_stubborn(&a, "wait");
	pid_t pid = attempt_start(&a);
	CHECK(attempt_await(&a, "stdout", "ready"));
	CHECK(all_there());
	CHECK_INT(kill(pid, SIGTERM), 0);
	CHECK_INT(attempt_finish(&a, pid), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_CANCELLED);
	CHECK_STR(a.exit.message, "the task was cancelled");
	CHECK_INT(count_marked(mark), 0);
	attempt_end(&a);
}

/* The second request does not wait for the grace. */
static void test_cancel_twice(void)
{
	struct attempt a;
	start_stubborn(&a, "wait");
	pid_t pid = attempt_start(&a);
	CHECK(attempt_await(&a, "stdout", "ready"));
	CHECK(all_there());
	int64_t before = memo_now_ns();
	CHECK_INT(kill(pid, SIGTERM), 0);
	(void)nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	CHECK_INT(kill(pid, SIGTERM), 0);
	CHECK_INT(attempt_finish(&a, pid), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_CANCELLED);
	CHECK((memo_now_ns() - before) / MEMO_NS_PER_MS < 1500);
	CHECK_INT(count_marked(mark), 0);
	attempt_end(&a);
}

static void test_worker_killed(void)
{
	struct attempt a;
	start_stubborn(&a, "wait");
	pid_t pid = attempt_start(&a);
	CHECK(attempt_await(&a, "stdout", "ready"));
	CHECK(all_there());
	CHECK_INT(kill(pid, SIGKILL), 0);
	CHECK_INT(attempt_finish(&a, pid), -1);
	CHECK_INT(left_over(), 0);
	attempt_end(&a);
}

/* The owner is a child of ours that starts the worker and is then killed: we cannot wait for the worker itself. */
static void test_owner_killed(void)
{
	struct attempt a;
	start_stubborn(&a, "wait");
	pid_t owner = fork();
	if (owner == 0) {
		a.job.owner_pid = getpid();
		(void)attempt_start(&a);
		(void)pause();
		_exit(0);
	}
	CHECK(attempt_await(&a, "stdout", "ready"));
	CHECK(all_there());
	CHECK_INT(kill(owner, SIGKILL), 0);
	CHECK(waitpid(owner, NULL, 0) == owner);
	CHECK(attempt_await(&a, "exit.json", "\"cancelled\""));
	CHECK(strstr(attempt_text(&a, "exit.json"), "the owner of the task ended") != NULL);
	CHECK_INT(left_over(), 0);
	attempt_end(&a);
}

static pid_t parent_of(pid_t pid)
{
	char path[40], line[200];
	pid_t parent = 0;
	(void)snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
	FILE *f = fopen(path, "re");
	while (f != NULL && parent == 0 && fgets(line, sizeof line, f) != NULL) {
		if (strncmp(line, "PPid:", 5) == 0)
			parent = (pid_t)strtol(line + 5, NULL, 10);
	}
	if (f != NULL)
		(void)fclose(f);
	return parent;
}

/* The mount's owner finds the task of a reader by walking parents up to the worker: also a daemon must be below it. */
static void test_descendants(void)
{
	struct attempt a;
	char script[300];
	(void)snprintf(script, sizeof script,
		       "(setsid sleep %s >/dev/null 2>&1 &) ; sleep 0.2; echo ready; exec sleep 1000", mark);
	attempt_shell(&a, script);
	pid_t pid = attempt_start(&a);
	CHECK(attempt_await(&a, "stdout", "ready"));
	pid_t at = find_marked(mark);
	CHECK(at > 0);
	for (int i = 0; i < 10 && at > 1 && at != pid; i++)
		at = parent_of(at);
	CHECK_INT(at, pid);
	CHECK_INT(kill(pid, SIGTERM), 0);
	CHECK_INT(attempt_finish(&a, pid), 0);
	CHECK_INT(count_marked(mark), 0);
	attempt_end(&a);
}

static void test_usage(void)
{
	struct attempt a;
	attempt_shell(&a, "head -c 60000000 /dev/zero | tail -c 60000000 | wc -c");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK(a.exit.max_rss_kib > 50000 && a.exit.max_rss_kib < 500000);
	attempt_end(&a);
}

int main(int argc, char **argv)
{
	if (!fixture_main(argc, argv))
		return 1;
	(void)snprintf(mark, sizeof mark, "98765.%ld", (long)getpid());
	static const char *const mode[] = { "pidns", "subreaper" };
	for (size_t i = fixture_has_pidns() ? 0 : 1; i < 2; i++) {
		fixture_isolation = mode[i];
		printf("# isolation %s\n", mode[i]);
		RUN(test_timeout);
		RUN(test_timeout_polite);
		RUN(test_stopped_task);
		RUN(test_left_behind);
		RUN(test_cancel);
		RUN(test_cancel_twice);
		RUN(test_owner_killed);
		RUN(test_descendants);
		RUN(test_usage);
		if (i == 0)
			RUN(test_worker_killed);
	}
	fixture_end();
	return check_end();
}
