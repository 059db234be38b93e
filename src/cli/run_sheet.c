/* A sheet into a run: rows go to the service some hundred at a time, so that a sheet of any length costs the memory of one
 * request. What a row means (types, files, defaults) is decided there; here only its place is kept, for messages. */
#include "run.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "sheet.h"

#include <fcntl.h>
#include <string.h>

#define ROWS_AT_ONCE 1000
#define BYTES_AT_ONCE ((size_t)256 << 10) /* below what the service takes from anybody */

static int read_fd(void *arg, char *data, size_t room, size_t *got_out)
{
	const int *fd = arg;
	ssize_t n;
	do
		n = read(*fd, data, room);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return memo_errno();
	*got_out = (size_t)n;
	return 0;
}

struct chunk {
	struct cli *c;
	json_t *request; /* what every request has */
	json_t *rows, *lines;
	size_t bytes;
	uint64_t first; /* number of the first row in it */
};

static int chunk_begin(struct chunk *k, uint64_t first)
{
	k->rows = json_array();
	k->lines = json_array();
	k->bytes = 0;
	k->first = first;
	return k->rows == NULL || k->lines == NULL ? cli_nomem() : CLI_DONE;
}

static void chunk_end(struct chunk *k)
{
	json_decref(k->rows);
	json_decref(k->lines);
	k->rows = k->lines = NULL;
}

static int chunk_send(struct chunk *k)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	MEMO_AUTO_JSON json_t *request = json_copy(k->request);
	if (request == NULL || json_object_set(request, "rows", k->rows) < 0 ||
	    json_object_set(request, "lines", k->lines) < 0 ||
	    json_object_set_new(request, "first", json_integer((json_int_t)k->first)) < 0)
		return cli_nomem();
	chunk_end(k);
	return cli_call(k->c, memo_json_steal(&request), NULL, NULL, &reply);
}

static int chunk_take(struct chunk *k, struct cli_sheet *s)
{
	if (json_array_append(k->rows, s->row) < 0 ||
	    memo_json_push(k->lines, json_integer((json_int_t)s->line)) < 0)
		return cli_nomem();
	k->bytes += s->row_bytes;
	if (json_array_size(k->rows) < ROWS_AT_ONCE && k->bytes < BYTES_AT_ONCE)
		return CLI_DONE;
	int st = chunk_send(k);
	return st == CLI_DONE ? chunk_begin(k, s->number + 1) : st;
}

static int say_wrong(const char *name, int r, struct memo_err *err)
{
	(void)memo_fail_prefix(err, r, "%s", name);
	return cli_fail(r == -ENOMEM ? CLI_TROUBLE : CLI_USAGE, err);
}

static int all_rows(struct chunk *k, struct cli_sheet *s, const char *name)
{
	struct memo_err err = { 0 };
	int r;
	while ((r = cli_sheet_next(s, &err)) == 1) {
		if (cli_interrupts() > 0) {
			cli_say("interrupted; nothing was started");
			return CLI_INTERRUPTED;
		}
		int st = chunk_take(k, s);
		if (st != CLI_DONE)
			return st;
	}
	if (r < 0)
		return say_wrong(name, r, &err);
	if (s->number == 1) {
		cli_say("%s: the sheet has no rows", name);
		return CLI_USAGE;
	}
	return json_array_size(k->rows) > 0 ? chunk_send(k) : CLI_DONE;
}

/* The folder that the sheet lies in, as it was named. */
static char *folder_of(const struct cli *c, const char *name)
{
	char *path = memo_io_join(c->cwd != NULL ? c->cwd : "/", name);
	char *slash = path != NULL ? strrchr(path, '/') : NULL;
	if (slash != NULL)
		slash[slash == path] = '\0';
	return path;
}

static int with_sheet(struct cli *c, const char *run, const char *name, const json_t *base, struct cli_sheet *s)
{
	MEMO_AUTO_FREE char *dir = folder_of(c, name);
	MEMO_AUTO_JSON json_t *more = json_pack("{s:s, s:s, s:s, s:s, s:O*}", "op", "run-add", "run", run, "label",
						name, "dir", dir, "columns", s->columns);
	struct chunk k = { .c = c, .request = json_copy((json_t *)(uintptr_t)base) };
	int st = CLI_DONE;
	if (more == NULL || k.request == NULL || json_object_update(k.request, more) < 0)
		st = cli_nomem();
	if (st == CLI_DONE)
		st = chunk_begin(&k, 1);
	if (st == CLI_DONE)
		st = all_rows(&k, s, name);
	chunk_end(&k);
	json_decref(k.request);
	return st;
}

int cli_add_sheet(struct cli *c, const char *run, const char *name, const json_t *base)
{
	enum cli_sheet_kind kind;
	struct cli_sheet s;
	struct memo_err err = { 0 };
	if (cli_sheet_kind_of(name, &kind) < 0)
		return cli_usage(c, "run: '%s': a sheet's name ends in .csv, .tsv or .jsonl", name);
	MEMO_AUTO_FD int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		cli_say("%s: %s", name, memo_strerror(memo_errno()));
		return CLI_USAGE;
	}
	int r = cli_sheet_init(&s, kind, read_fd, &fd, &err);
	int st = r < 0 ? say_wrong(name, r, &err) : with_sheet(c, run, name, base, &s);
	cli_sheet_clear(&s);
	return st;
}
