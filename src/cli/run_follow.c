/* Following a run: asking for what changed, some times a second, until it is over. The process that serves the store may end
 * and come back meanwhile; the run goes on then, and so does this.
 *
 * INT is counted by a handler in this, the only thread that takes signals, and looked at between two questions. */
#include "run.h"

#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

#define ASK_MS 150
#define ASK_FIRST_MS 5
#define MANY_CHANGES 500 /* asked again at once, before older ones are dropped */
#define BACK_MS 60000 /* for a daemon to come back */
#define BACK_STEP_MS 100

static volatile sig_atomic_t interrupts, ended_by;

static void on_signal(int sig)
{
	if (sig == SIGINT && ++interrupts >= 3)
		_exit(CLI_INTERRUPTED);
	if (sig == SIGTERM || sig == SIGHUP)
		ended_by = sig;
}

void cli_count_signals(void)
{
	static const int which[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };
	struct sigaction a = { .sa_handler = on_signal };
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
		(void)sigaction(which[i], &a, NULL);
		(void)sigaddset(&set, which[i]);
	}
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int cli_interrupts(void)
{
	return interrupts;
}

int cli_run_status(const json_t *status)
{
	return strcmp(memo_json_string(status, "state", ""), "SUCCESS") == 0 ? CLI_DONE : CLI_FAILED;
}

struct follow {
	struct cli *c;
	const char *run;
	bool own;
	bool mounted; /* whoever serves the store is a daemon: another one comes after it */
	int told; /* interrupts that were acted upon */
	uint64_t since;
	json_t *status; /* the last one */
	struct cli_view view;
};

static bool is_lost(int r)
{
	return r == -ECONNRESET || r == -ESHUTDOWN || r == -EPIPE;
}

static int learn_server(struct follow *f)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_err err = { 0 };
	int status = CLI_TROUBLE;
	int r = cli_ask(f->c, json_pack("{s:s}", "op", "hello"), NULL, NULL, &reply, &status, &err);
	if (r == 0)
		f->mounted = memo_json_string(reply, "mountpoint", NULL) != NULL;
	return r;
}

/* CLI_DONE: goes on; else the following ends. */
static int leave(struct follow *f, int status)
{
	cli_view_wipe(&f->view);
	if (f->mounted)
		cli_say("run %s goes on; memofs wait %s follows it, memofs cancel %s ends it", f->run, f->run,
			f->run);
	else
		cli_say("run %s is not over; memofs wait %s goes on with it", f->run, f->run);
	return status;
}

/* The daemon that served the store is gone: waits for the next one. */
static int wait_daemon(struct follow *f)
{
	int64_t deadline = memo_now_ns() + BACK_MS * MEMO_NS_PER_MS;
	int before = interrupts;
	cli_view_wipe(&f->view);
	cli_say("the daemon has ended; waiting for it to be mounted again");
	while (memo_now_ns() < deadline) {
		struct memo_err err = { 0 };
		int r = memo_client_connect(f->c->store, &f->c->client, &err);
		if (r == 0)
			return CLI_DONE;
		if (r != -ENOENT && r != -ECONNREFUSED)
			return cli_fail(CLI_TROUBLE, &err);
		if (interrupts > before || ended_by != 0)
			return leave(f, ended_by != 0 ? 128 + ended_by : CLI_INTERRUPTED);
		(void)poll(NULL, 0, BACK_STEP_MS);
	}
	cli_say("run %s is not over, but nobody serves the store; memofs mount goes on with it, memofs wait %s "
		"follows it",
		f->run, f->run);
	return CLI_TROUBLE;
}

static int reconnect(struct follow *f)
{
	cli_close(f->c);
	/* a command that served the store has ended: this one takes over */
	int s = f->mounted ? wait_daemon(f) : cli_open(f->c, NULL);
	cli_count_signals();
	if (s != CLI_DONE)
		return s;
	f->since = 0; /* whoever serves it now counts from the beginning */
	f->view.seen = 0;
	if (f->c->engine != NULL)
		f->mounted = false;
	return CLI_DONE;
}

static int look(struct follow *f)
{
	for (;;) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		struct memo_err err = { 0 };
		int status = CLI_TROUBLE;
		int r = learn_server(f);
		if (r == 0)
			r = cli_ask(f->c,
				    json_pack("{s:s, s:s, s:I, s:b}", "op", "run-status", "run", f->run, "since",
					      (json_int_t)f->since, "resume", 1),
				    NULL, NULL, &reply, &status, &err);
		if (r == 0) {
			json_decref(f->status);
			f->status = json_incref(json_object_get(reply, "status"));
			f->since = (uint64_t)memo_json_int(f->status, "next", 0);
			return CLI_DONE;
		}
		if (!is_lost(r)) {
			cli_view_wipe(&f->view);
			return r > 0 ? r : cli_fail(status, &err);
		}
		int s = reconnect(f);
		if (s != CLI_DONE)
			return s;
	}
}

/* That the run is over already is no mistake, and a lost connection shows at the next look. */
static void order(struct follow *f, const char *op)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_err err = { 0 };
	int status = 0;
	int r = cli_ask(f->c, json_pack("{s:s, s:s}", "op", op, "run", f->run), NULL, NULL, &reply, &status, &err);
	if (r < 0 && r != -ENOENT && !is_lost(r))
		(void)cli_fail(status, &err);
}

/* -1: go on. */
static int attend_signals(struct follow *f)
{
	if (ended_by != 0)
		return leave(f, 128 + ended_by);
	if (interrupts <= f->told)
		return -1;
	if (!f->own)
		return leave(f, CLI_INTERRUPTED);
	cli_view_wipe(&f->view);
	for (; f->told < interrupts && f->told < 2; f->told++) {
		if (f->told == 0)
			cli_say("stopping; what runs is finished first; Ctrl-C again cancels it");
		else
			cli_say("cancelling what runs");
		order(f, f->told == 0 ? "run-stop" : "run-cancel");
	}
	return -1;
}

static bool is_over(const json_t *status)
{
	const char *state = memo_json_string(status, "state", "RUNNING");
	return strcmp(state, "RUNNING") != 0 && strcmp(state, "NEW") != 0;
}

static int until_over(struct follow *f)
{
	int pause = ASK_FIRST_MS;
	for (;;) {
		int s = attend_signals(f);
		if (s < 0)
			s = look(f);
		if (s != CLI_DONE)
			return s;
		cli_view_update(&f->view, f->status);
		if (is_over(f->status))
			return CLI_DONE;
		if (cli_pipe_closed())
			return leave(f, CLI_DONE);
		if (json_array_size(json_object_get(f->status, "changes")) > MANY_CHANGES)
			continue;
		(void)poll(NULL, 0, pause); /* a signal ends it */
		pause = pause * 2 < ASK_MS ? pause * 2 : ASK_MS;
	}
}

static int conclude(struct follow *f)
{
	cli_view_wipe(&f->view);
	int s = CLI_DONE;
	if (f->view.json) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		(void)json_object_del(f->status, "changes");
		(void)json_object_del(f->status, "next");
		cli_put_line(&b, f->status);
		s = cli_write(&b);
	} else {
		s = cli_summary(f->c, f->run, f->status);
	}
	if (s != CLI_DONE)
		return s;
	s = cli_run_status(f->status);
	return s != CLI_DONE && f->told > 0 ? CLI_INTERRUPTED : s;
}

int cli_follow(struct cli *c, const char *run, bool own)
{
	struct follow f = { .c = c, .run = run, .own = own };
	cli_count_signals();
	cli_view_init(&f.view, run, cli_value(c, "json") != NULL);
	int s = until_over(&f);
	if (s == CLI_DONE && f.status != NULL && is_over(f.status))
		s = conclude(&f);
	json_decref(f.status);
	return s;
}
