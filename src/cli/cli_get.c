/* get: a demand from the command line. Progress and the task's stderr go to stderr while it waits: on a terminal one live
 * line that gives way to whatever else is printed, elsewhere a line for each change. */
#include "cli.h"

#include "base/base64.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define NAME_SHOWN 60 /* bytes of an instance's name in a line of progress */

struct view {
	bool live; /* stderr is a terminal */
	bool drawn; /* the live line is there */
	json_t *seen; /* path -> state that was told */
	struct memo_buf held;
};

static void put_err(const char *text, size_t len)
{
	if (memo_io_write_all(2, text, len) < 0)
		return;
}

static void wipe(struct view *v)
{
	if (v->drawn)
		put_err("\r\033[K", 4);
	v->drawn = false;
}

/* A name as wide as a line bears: the middle of a long one is left out. Cut at character boundaries. */
static void put_short(struct memo_buf *b, const char *name)
{
	size_t len = strlen(name), head = NAME_SHOWN / 2, tail = len - NAME_SHOWN / 2;
	if (len <= NAME_SHOWN) {
		cli_put(b, name);
		return;
	}
	while (head > 0 && ((unsigned char)name[head] & 0xc0) == 0x80)
		head--;
	while (tail < len && ((unsigned char)name[tail] & 0xc0) == 0x80)
		tail++;
	MEMO_AUTO_FREE char *front = strndup(name, head);
	cli_put(b, front != NULL ? front : "");
	(void)memo_buf_puts(b, "...");
	cli_put(b, name + tail);
}

static void describe(struct memo_buf *b, const json_t *i)
{
	const char *reason = memo_json_string(i, "reason", NULL), *state = memo_json_string(i, "state", "?");
	cli_put(b, memo_json_string(i, "task", "?"));
	(void)memo_buf_putc(b, ' ');
	cli_put(b, memo_json_string(i, "version", "?"));
	(void)memo_buf_putc(b, ' ');
	put_short(b, memo_json_string(i, "name", "?"));
	(void)memo_buf_printf(b, ": %s", state);
	if (reason != NULL && reason[0] != '\0' && strcmp(state, "RUNNING") != 0) {
		(void)memo_buf_puts(b, " (");
		cli_put(b, reason);
		(void)memo_buf_putc(b, ')');
	}
}

/* The one that runs, else the first, and how many there are. */
static void draw(struct view *v, const json_t *list, int64_t count)
{
	const json_t *best = json_array_get(list, 0);
	size_t i;
	json_t *o;
	json_array_foreach(list, i, o)
	{
		if (strcmp(memo_json_string(o, "state", ""), "RUNNING") == 0)
			best = o;
	}
	wipe(v);
	if (best == NULL)
		return;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	describe(&b, best);
	if (count > 1)
		(void)memo_buf_printf(&b, "  (%lld in flight)", (long long)count);
	/* a line that wraps could not be wiped */
	struct winsize w;
	size_t width = ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1U : 79;
	size_t n = b.len < width ? b.len : width;
	while (n > 0 && n < b.len && ((unsigned char)b.data[n] & 0xc0) == 0x80)
		n--;
	put_err(memo_buf_str(&b), n);
	v->drawn = true;
}

static void tell_changes(struct view *v, const json_t *list)
{
	size_t i;
	json_t *o;
	json_array_foreach(list, i, o)
	{
		const char *path = memo_json_string(o, "path", NULL);
		json_t *state = json_object_get(o, "state");
		if (path == NULL || json_equal(json_object_get(v->seen, path), state))
			continue;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		describe(&b, o);
		(void)memo_buf_putc(&b, '\n');
		put_err(memo_buf_str(&b), b.len);
		if (json_object_set(v->seen, path, state) < 0)
			return;
	}
}

static int on_stderr(struct view *v, const char *text)
{
	MEMO_AUTO_FREE unsigned char *raw = NULL;
	size_t n;
	int r = memo_base64_decode(text, &raw, &n);
	if (r < 0)
		return r;
	wipe(v);
	cli_write_log(2, &v->held, (const char *)raw, n, false);
	return 0;
}

static int on_event(void *arg, const json_t *event)
{
	struct view *v = arg;
	const char *kind = memo_json_string(event, "event", "");
	if (strcmp(kind, "stderr") == 0)
		return on_stderr(v, memo_json_string(event, "data", ""));
	const json_t *p = json_object_get(event, "progress");
	if (p == NULL)
		return 0;
	if (v->live)
		draw(v, json_object_get(p, "instances"), memo_json_int(p, "count", 0));
	else
		tell_changes(v, json_object_get(p, "instances"));
	return 0;
}

/* The result to where it is wanted. */
static int hand_over(struct cli *c, const json_t *reply)
{
	const char *file = memo_json_string(reply, "file", ""), *kind = memo_json_string(reply, "kind", "");
	const char *dest = cli_value(c, "output");
	if (dest != NULL)
		return cli_copy(file, dest);
	if (strcmp(kind, "external") == 0) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		cli_put(&b, file);
		(void)memo_buf_putc(&b, '\n');
		return cli_write(&b);
	}
	if (strcmp(kind, "directory") == 0) {
		cli_say("%s: the result is a directory; say where to copy it with -o DIR",
			memo_json_string(reply, "path", "?"));
		return CLI_USAGE;
	}
	return cli_copy_out(file);
}

static bool still_there(const json_t *reply)
{
	struct stat st;
	return stat(memo_json_string(reply, "file", ""), &st) == 0 || errno != ENOENT;
}

static int get_one(struct cli *c, json_t *request)
{
	/* between the answer and the open the result may be forgotten or evicted: asked again, once */
	for (int try = 0;; try++) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		struct view v = { .live = isatty(2), .seen = json_object() };
		int s = cli_call(c, json_incref(request), on_event, &v, &reply);
		wipe(&v);
		cli_write_log(2, &v.held, "", 0, true);
		json_decref(v.seen);
		memo_buf_clear(&v.held);
		if (s != CLI_DONE)
			return s;
		if (try > 0 || still_there(reply))
			return hand_over(c, reply);
	}
}

static int run_get(struct cli *c)
{
	MEMO_AUTO_JSON json_t *requests = NULL;
	int worst = cli_open(c, cli_path_argument(c));
	if (worst == CLI_DONE)
		worst = cli_instances(c, "get", &requests);
	if (worst != CLI_DONE)
		return worst;
	if (cli_value(c, "output") != NULL && json_array_size(requests) > 1)
		return cli_usage(c, "get: -o takes one result at a time");
	cli_on_interrupt(
		"\nmemofs: interrupted; the work goes on (memofs status shows it, memofs cancel PATH ends it)\n");
	for (size_t i = 0; i < json_array_size(requests); i++) {
		int s = get_one(c, json_array_get(requests, i));
		if (s == CLI_INTERRUPTED)
			return s;
		worst = s > worst ? s : worst;
	}
	return worst;
}

const struct cli_command cli_get = {
	.name = "get",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "the result on stdout, executed if need be",
	.about = "Waits for the result, executing what is missing, and writes it to stdout; progress and the "
		 "task's stderr go\n"
		 "to stderr. A directory needs -o DIR; of an External result the path is printed. A path may lead "
		 "into a\n"
		 "directory result.",
	.example = "memofs get align sample=A reads=a.fq > a.bam",
	.option = { { 'o', "output", "DEST", "write the file, or copy the directory, to DEST" } },
	.least = 1,
	.most = -1,
	.run = run_get,
};
