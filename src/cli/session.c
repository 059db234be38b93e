/* Session: which store is meant, and how the command reaches it: through the process that serves it, or by opening it
 * here. The working directory is named by /proc/self/cwd and never looked into: it may be a mount that hangs. */
#include "cli.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"
#include "core/value.h"
#include "engine.h"
#include "mount.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define RETRY_MS 50
#define CALL_TRIES 5 /* a served call whose server stopped is asked again, of whoever serves then */

static const char *interrupt_text;
static size_t interrupt_len;

void cli_on_interrupt(const char *text)
{
	interrupt_text = text;
	interrupt_len = text != NULL ? strlen(text) : 0;
}

/* Waiting for a daemon's answer has nothing to clean up. */
static void on_signal(int sig)
{
	if (interrupt_len > 0 && write(2, interrupt_text, interrupt_len) < 0)
		_exit(128 + sig);
	_exit(128 + sig);
}

static void take_signals(void)
{
	struct sigaction a = { .sa_handler = on_signal };
	(void)sigaction(SIGINT, &a, NULL);
	(void)sigaction(SIGTERM, &a, NULL);
	(void)sigaction(SIGHUP, &a, NULL);
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int read_cwd(struct cli *c)
{
	char text[PATH_MAX];
	ssize_t n = readlink("/proc/self/cwd", text, sizeof text - 1);
	if (c->cwd != NULL || n <= 0 || text[0] != '/')
		return CLI_DONE;
	c->cwd = strndup(text, (size_t)n);
	return c->cwd == NULL ? cli_nomem() : CLI_DONE;
}

/* Absolute and clean; the real path where there is something. */
static int absolute(const struct cli *c, const char *dir, char **out)
{
	MEMO_AUTO_FREE char *joined = dir[0] == '/' ? strdup(dir)
						    : memo_io_join(c->cwd != NULL ? c->cwd : "/", dir);
	if (joined == NULL)
		return cli_nomem();
	char *real = realpath(joined, NULL);
	struct memo_err err = { 0 };
	if (real == NULL && memo_value_clean_path(joined, &real, &err) < 0) {
		cli_say("store '%s': not a usable path", dir);
		return CLI_USAGE;
	}
	*out = real;
	return CLI_DONE;
}

static char *default_store(void)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	if (data != NULL && data[0] == '/')
		return memo_io_join(data, "memofs");
	return home != NULL && home[0] == '/' ? memo_io_join(home, ".local/share/memofs") : NULL;
}

/* The mount that @path lies in: by its text, else by the real path of what stands before the view. */
static int find_mount(const char *path, char **mount_out, char **store_out)
{
	static const char *const views[] = { "/tasks", "/cached", "/info", "/start" };
	if (cli_mount_find(path, mount_out, store_out) == 0)
		return 0;
	for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
		const char *at = strstr(path, views[i]);
		if (at == NULL || at == path)
			continue;
		MEMO_AUTO_FREE char *head = strndup(path, (size_t)(at - path));
		MEMO_AUTO_FREE char *real = head != NULL ? realpath(head, NULL) : NULL;
		MEMO_AUTO_FREE char *mount = NULL;
		if (real != NULL && strcmp(real, head) != 0 && cli_mount_find(real, &mount, store_out) == 0) {
			/* what is stripped from the argument is the name that it uses */
			*mount_out = strcmp(mount, real) == 0 ? memo_ptr_steal(&head) : memo_ptr_steal(&mount);
			return 0;
		}
	}
	return -ENOENT;
}

int cli_choose_store(struct cli *c, const char *path)
{
	int s = read_cwd(c);
	if (s != CLI_DONE || c->store != NULL)
		return s;
	MEMO_AUTO_FREE char *mounted = NULL;
	if (path == NULL || path[0] != '/' || find_mount(path, &c->mount, &mounted) < 0) {
		if (c->cwd != NULL && find_mount(c->cwd, &c->mount, &mounted) < 0)
			c->mount = NULL;
	}
	const char *env = getenv("MEMOFS_STORE");
	MEMO_AUTO_FREE char *fallback = NULL;
	const char *dir = c->store_option;
	if (dir == NULL && env != NULL && env[0] != '\0')
		dir = env;
	if (dir == NULL)
		dir = mounted;
	if (dir == NULL)
		dir = fallback = default_store();
	if (dir == NULL || dir[0] == '\0') {
		cli_say("no store is named and HOME is not set; use --store DIR");
		return CLI_USAGE;
	}
	s = absolute(c, dir, &c->store);
	if (s == CLI_DONE && mounted != NULL && strcmp(mounted, c->store) != 0) {
		free(c->mount); /* of another store */
		c->mount = NULL;
	}
	return s;
}

static bool is_default(const struct cli *c)
{
	MEMO_AUTO_FREE char *dir = default_store();
	MEMO_AUTO_FREE char *real = dir != NULL ? realpath(dir, NULL) : NULL;
	return dir != NULL && strcmp(real != NULL ? real : dir, c->store) == 0;
}

static void make_parents(const char *dir)
{
	MEMO_AUTO_FREE char *path = strdup(dir);
	for (char *p = path != NULL ? path + 1 : NULL; p != NULL && (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)mkdir(path, 0777);
		*p = '/';
	}
}

int cli_need_store(struct cli *c, bool make)
{
	struct memo_err err = { 0 };
	int r = memo_engine_probe(c->store, &err);
	if (r == 0)
		return CLI_DONE;
	bool fallback = is_default(c);
	if (r != -ENOENT)
		return cli_fail(CLI_TROUBLE, &err);
	if (!make && !fallback) {
		cli_say("store '%s' does not exist; memofs init %s makes it", c->store, c->store);
		return CLI_TROUBLE;
	}
	if (fallback)
		make_parents(c->store);
	err.code = 0;
	r = memo_engine_make_store(c->store, &err);
	if (r == -EEXIST)
		return CLI_DONE; /* another command was faster */
	if (r < 0)
		return cli_fail(CLI_TROUBLE, &err);
	cli_say("made the store %s", c->store);
	return CLI_DONE;
}

int cli_connect(struct cli *c)
{
	struct memo_err err = { 0 };
	int r = memo_client_connect(c->store, &c->client, &err);
	if (r == 0) {
		take_signals();
		return CLI_DONE;
	}
	return r == -ENOENT || r == -ECONNREFUSED ? CLI_DONE : cli_fail(CLI_TROUBLE, &err);
}

static void say_notice(struct memo_buf *notice)
{
	char *line = notice->data;
	while (line != NULL && *line != '\0') {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		cli_say("%s", line);
		line = end != NULL ? end + 1 : NULL;
	}
}

/* The process that serves the store, or else this one. Between two commands the lock may be held and the socket not be
 * there yet, or the other way round. */
static int attach(struct cli *c)
{
	int64_t deadline = memo_now_ns() + CLI_WAIT_MS * MEMO_NS_PER_MS;
	for (;;) {
		int s = cli_connect(c);
		if (s != CLI_DONE || c->client != NULL)
			return s;
		struct memo_err err = { 0 };
		MEMO_AUTO_BUF struct memo_buf notice = { 0 };
		memo_engine_block_signals();
		int r = memo_engine_open(c->store, &c->engine, &notice, &err);
		say_notice(&notice);
		if (r == 0)
			return CLI_DONE;
		if (r != -EBUSY || memo_now_ns() > deadline)
			return cli_fail(CLI_TROUBLE, &err);
		(void)poll(NULL, 0, RETRY_MS);
	}
}

int cli_open(struct cli *c, const char *path)
{
	int s = cli_choose_store(c, path);
	if (s == CLI_DONE)
		s = cli_need_store(c, c->command->makes);
	return s == CLI_DONE ? attach(c) : s;
}

void cli_close(struct cli *c)
{
	memo_client_close(c->client);
	memo_engine_close(c->engine);
	c->client = NULL;
	c->engine = NULL;
}

int cli_ask(struct cli *c, json_t *request, memo_client_event_fn *event, void *arg, json_t **reply_out,
	    int *status_out, struct memo_err *err)
{
	if (request == NULL) {
		*status_out = CLI_USAGE;
		return memo_fail(err, -EINVAL, "an argument is not valid UTF-8");
	}
	int r = c->engine != NULL ? memo_engine_call(c->engine, request, event, arg, reply_out, status_out, err)
				  : memo_client_call(c->client, request, event, arg, reply_out, status_out, err);
	json_decref(request);
	return r;
}

static int call(struct cli *c, const json_t *request, memo_client_event_fn *event, void *arg, json_t **reply_out)
{
	for (int i = 0;; i++) {
		struct memo_err err = { 0 };
		int status = CLI_TROUBLE;
		int r = c->engine != NULL
				? memo_engine_call(c->engine, request, event, arg, reply_out, &status, &err)
				: memo_client_call(c->client, request, event, arg, reply_out, &status, &err);
		if (r == 0)
			return CLI_DONE;
		if (r == -EINTR) {
			cli_say("interrupted");
			return CLI_INTERRUPTED;
		}
		/* requests can be repeated: the process that served the store ended, so ask whoever serves it now */
		if (c->engine != NULL || i + 1 >= CALL_TRIES || (r != -ECONNRESET && r != -ESHUTDOWN))
			return r > 0 ? r : cli_fail(status, &err);
		cli_close(c);
		int s = attach(c);
		if (s != CLI_DONE)
			return s;
	}
}

int cli_call(struct cli *c, json_t *request, memo_client_event_fn *event, void *arg, json_t **reply_out)
{
	if (request == NULL) {
		cli_say("an argument is not valid UTF-8");
		return CLI_USAGE;
	}
	int s = call(c, request, event, arg, reply_out);
	json_decref(request);
	return s;
}
