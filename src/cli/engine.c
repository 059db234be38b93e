/* The composition root of a command without a daemon: see engine.h. Signals are blocked in every thread and read where the
 * call waits, so that an interrupted command ends its tasks and closes the store in order. */
#include "engine.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "control/server.h"
#include "control/service.h"
#include "runner/run.h"
#include "runner/runner.h"
#include "store/store.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define BUSY_MS 5

struct memo_engine {
	struct memo_store *store;
	struct memo_runner *runner;
	struct memo_server *server;
	int wake;
	int signals;
	bool resumed;
	_Atomic int busy; /* see struct memo_asker */
	struct memo_handed handed;

	/* the call in flight */
	memo_client_event_fn *event;
	void *arg;
	json_t *answer;
	int event_result;
};

int memo_engine_probe(const char *dir, struct memo_err *err)
{
	return memo_store_probe(dir, err);
}

int memo_engine_make_store(const char *dir, struct memo_err *err)
{
	return memo_store_init(dir, err);
}

int memo_engine_worker(char **path_out, struct memo_err *err)
{
	static const char *const places[] = { "memofs-worker", "../libexec/memofs/memofs-worker",
					      "../worker/memofs-worker" };
	const char *given = getenv("MEMOFS_WORKER");
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash = NULL;
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
	}
	if (slash != NULL)
		*slash = '\0';
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		bool use_given = given != NULL && given[0] != '\0';
		if (!use_given && slash == NULL)
			break;
		MEMO_AUTO_FREE char *path = use_given ? strdup(given) : memo_io_join(self, places[i]);
		if (path == NULL)
			return memo_fail(err, -ENOMEM, "out of memory");
		char *real = access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;
		if (real != NULL) {
			*path_out = real;
			return 0;
		}
		if (use_given)
			return memo_fail(err, -ENOENT, "MEMOFS_WORKER: '%s' is not a program", given);
	}
	return memo_fail(
		err, -ENOENT,
		"the program memofs-worker is not beside memofs nor in ../libexec/memofs; install it, or set "
		"MEMOFS_WORKER");
}

static void signal_set(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
}

void memo_engine_block_signals(void)
{
	sigset_t set;
	signal_set(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void on_wake(void *arg)
{
	const struct memo_engine *e = arg;
	(void)eventfd_write(e->wake, 1);
}

static void on_emit(void *arg, const json_t *message, bool last)
{
	struct memo_engine *e = arg;
	if (last)
		e->answer = message != NULL ? json_incref((json_t *)(uintptr_t)message) : NULL;
	else if (e->event != NULL && e->event_result == 0)
		e->event_result = e->event(e->arg, message);
}

static int start(struct memo_engine *e, const char *store, struct memo_buf *notice, struct memo_err *err)
{
	sigset_t set;
	signal_set(&set);
	e->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (e->wake < 0 || e->signals < 0)
		return memo_fail(err, memo_errno(), "cannot make a descriptor: %s", memo_strerror(memo_errno()));
	MEMO_AUTO_FREE char *worker = NULL;
	int r = memo_engine_worker(&worker, err);
	if (r == 0)
		r = memo_store_open(store, "a memofs command", 0, notice, &e->store, err);
	if (r < 0)
		return r;
	struct memo_runner_options o = { .store = e->store, .worker = worker };
	r = memo_runner_open(&o, &e->runner, err);
	return r < 0 ? r : memo_server_start(e->runner, &e->server, err);
}

int memo_engine_open(const char *store, struct memo_engine **out, struct memo_buf *notice, struct memo_err *err)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	struct memo_engine *e = calloc(1, sizeof *e);
	if (e == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	e->wake = e->signals = -1;
	int r = start(e, store, notice, err);
	if (r < 0) {
		memo_engine_close(e);
		return r;
	}
	*out = e;
	return 0;
}

/* Steps the call until its answer is there. -EINTR: a signal. */
static int drive(struct memo_engine *e, struct memo_service_call *call)
{
	int r = 1;
	for (;;) {
		struct pollfd p[] = { { .fd = e->wake, .events = POLLIN }, { .fd = e->signals, .events = POLLIN } };
		if (poll(p, 2, r == 1 ? 0 : MEMO_SERVICE_STEP_MS) < 0 && errno != EINTR)
			return memo_errno();
		struct signalfd_siginfo info;
		if (read(e->signals, &info, sizeof info) == (ssize_t)sizeof info)
			return -EINTR;
		eventfd_t ignored;
		(void)eventfd_read(e->wake, &ignored);
		r = memo_service_step(call);
		if (e->event_result != 0)
			return e->event_result;
		if (r == 2)
			return 0;
	}
}

/* Runs that were not over go on when a command is about runs; another one would only start work to end it at once. */
static int resume(struct memo_engine *e, const json_t *request, struct memo_err *err)
{
	if (e->resumed || !memo_json_bool(request, "resume", false))
		return 0;
	e->resumed = true;
	return memo_run_resume(e->runner, err);
}

int memo_engine_call(struct memo_engine *e, const json_t *request, memo_client_event_fn *event, void *arg,
		     json_t **reply_out, int *status_out, struct memo_err *err)
{
	struct memo_service_call *call = NULL;
	struct memo_asker a = {
		.uid = geteuid(), .emit = on_emit, .wake = on_wake, .arg = e, .busy = &e->busy, .handed = &e->handed
	};
	int r = resume(e, request, err);
	if (r < 0)
		return r;
	e->event = event;
	e->arg = arg;
	e->event_result = 0;
	e->answer = NULL;
	memo_handed_clear(&e->handed);
	memo_service_begin(e->runner, request, &a, &call);
	r = call != NULL ? drive(e, call) : e->event_result;
	memo_service_end(call);
	MEMO_AUTO_JSON json_t *answer = e->answer;
	e->answer = NULL;
	if (r != 0)
		return r < 0 ? memo_fail(err, r, "interrupted") : r;
	if (answer == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	if (!memo_json_bool(answer, "ok", false)) {
		if (status_out != NULL)
			*status_out = (int)memo_json_int(answer, "status", 4);
		int64_t code = memo_json_int(answer, "code", EIO);
		return memo_fail(err, code > 0 && code < 4096 ? -(int)code : -EIO, "%s",
				 memo_json_string(answer, "message", "no reason is known"));
	}
	*reply_out = memo_json_steal(&answer);
	return 0;
}

void memo_engine_close(struct memo_engine *e)
{
	if (e == NULL)
		return;
	memo_server_stop(e->server);
	memo_handed_clear(&e->handed);
	while (atomic_load(&e->busy) > 0)
		(void)poll(NULL, 0, BUSY_MS);
	if (e->runner != NULL)
		memo_runner_close(e->runner);
	memo_store_close(e->store);
	if (e->wake >= 0)
		(void)close(e->wake);
	if (e->signals >= 0)
		(void)close(e->signals);
	free(e);
}
