/* verify and fsck: whether the results are sound, and the store. On a terminal what is being done is one line that is drawn
 * again in place, on standard error; standard output has what was found. */
#include "run.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/task.h"

#include <string.h>

#define CLEAR "\r\033[K" /* of a terminal's commands */

/* ---- progress ------------------------------------------------------------------------------------------ */

struct view {
	struct cli *cli;
	bool terminal; /* a line is drawn */
	bool quiet; /* what is valid is not told line by line: it would be all that is seen */
	bool drawn;
	int status; /* CLI_DONE, or what went wrong while it was written */
	uint64_t valid, invalid, unknown; /* verify */
};

static void view_init(struct view *v, struct cli *c)
{
	*v = (struct view){ .cli = c };
	v->terminal = isatty(2) == 1;
	v->quiet = isatty(1) == 1 && cli_value(c, "json") == NULL;
}

static void put_err(const char *text, size_t len)
{
	if (memo_io_write_all(2, text, len) < 0)
		return; /* nobody looks */
}

static void undraw(struct view *v)
{
	if (v->drawn)
		put_err(CLEAR, sizeof CLEAR - 1);
	v->drawn = false;
}

static void put_mib(struct memo_buf *b, int64_t bytes)
{
	(void)memo_buf_printf(b, "%.1f MiB", (double)bytes / (1 << 20));
}

static void draw(struct view *v, const json_t *p)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int64_t total = memo_json_int(p, "total", 0);
	int64_t results = memo_json_int(p, "results", 0);
	if (!v->terminal)
		return;
	(void)memo_buf_printf(&b, CLEAR "%lld of about %lld results, ", (long long)results,
			      (long long)(total > results ? total : results));
	put_mib(&b, memo_json_int(p, "bytes", 0));
	(void)memo_buf_puts(&b, " of about ");
	put_mib(&b, memo_json_int(p, "total_bytes", 0));
	if (memo_buf_error(&b) == 0)
		put_err(b.data, b.len);
	v->drawn = true;
}

static int write_rows(struct view *v, const struct memo_buf *b)
{
	undraw(v);
	int s = cli_write(b);
	v->status = s > v->status ? s : v->status;
	return cli_pipe_closed() || s != CLI_DONE ? -EPIPE : 0;
}

/* "50M", "50 MiB", "1000000": bytes a second, as units of 1024 when one letter is given. */
static int parse_rate(struct cli *c, json_t **out)
{
	const char *text = cli_value(c, "rate");
	MEMO_AUTO_FREE char *full = NULL;
	uint64_t rate = 0;
	*out = NULL;
	if (text == NULL)
		return CLI_DONE;
	size_t len = strlen(text);
	bool letter = len > 1 && strchr("KMGT", text[len - 1]) != NULL;
	full = malloc(len + 3);
	if (full == NULL)
		return cli_nomem();
	memcpy(full, text, len);
	memcpy(full + len, letter ? "iB" : "", letter ? 3 : 1);
	if (memo_task_parse_size(full, &rate) < 0 || rate == 0 || rate > INT64_MAX)
		return cli_usage(c, "%s: '%.40s' is no rate; write bytes a second, as 50M or '50 MiB'",
				 c->command->name, text);
	*out = json_integer((json_int_t)rate);
	return *out == NULL ? cli_nomem() : CLI_DONE;
}

/* ---- verify: named ------------------------------------------------------------------------------------- */

static void put_verdict(struct view *v, struct memo_buf *b, const json_t *row)
{
	bool valid = memo_json_bool(row, "valid", false);
	if (cli_value(v->cli, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:O?, s:b, s:O?}", "path", json_object_get(row, "path"),
						     "valid", valid, "message", json_object_get(row, "message"));
		cli_put_line(b, o);
		return;
	}
	if (valid && v->quiet && cli_value(v->cli, "all") != NULL)
		return;
	cli_put(b, memo_json_string(row, "path", "?"));
	(void)memo_buf_puts(b, valid ? " valid" : " invalid: ");
	if (!valid)
		cli_put(b, memo_json_string(row, "message", "no reason is known"));
	(void)memo_buf_putc(b, '\n');
}

static int verify_one(struct view *v, json_t *request)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	int status = CLI_TROUBLE;
	int r = cli_ask(v->cli, json_incref(request), NULL, NULL, &reply, &status, &err);
	if (r == -EINTR) {
		cli_say("interrupted");
		return CLI_INTERRUPTED;
	}
	if (r < 0)
		return cli_fail(status, &err);
	v->invalid += !memo_json_bool(reply, "valid", false);
	put_verdict(v, &b, reply);
	return cli_write(&b);
}

static int verify_named(struct view *v)
{
	MEMO_AUTO_JSON json_t *requests = NULL;
	int worst = cli_instances(v->cli, "verify", &requests);
	size_t i;
	json_t *q;
	json_array_foreach(requests, i, q)
	{
		int s = worst == CLI_INTERRUPTED ? CLI_INTERRUPTED : verify_one(v, q);
		worst = s > worst ? s : worst;
	}
	return worst;
}

/* ---- verify: all --------------------------------------------------------------------------------------- */

static int on_verdicts(void *arg, const json_t *event)
{
	struct view *v = arg;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *row;
	if (json_object_get(event, "progress") != NULL) {
		draw(v, json_object_get(event, "progress"));
		return 0;
	}
	json_array_foreach(json_object_get(event, "rows"), i, row)
	{
		int64_t code = memo_json_int(row, "code", 0);
		if (code == 0 || code == EBADMSG) {
			put_verdict(v, &b, row);
			continue;
		}
		undraw(v);
		cli_say("%s: cannot be verified: %s", memo_json_string(row, "path", "?"),
			memo_json_string(row, "message", "no reason is known"));
	}
	return b.len > 0 ? write_rows(v, &b) : 0;
}

static int verify_all(struct view *v)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	json_t *rate;
	int s = parse_rate(v->cli, &rate);
	if (s != CLI_DONE)
		return s;
	cli_on_interrupt("\nmemofs: interrupted; memofs verify --all goes on from here\n");
	s = cli_call(v->cli,
		     json_pack("{s:s, s:o*, s:b}", "op", "verify-all", "rate", rate, "restart",
			       cli_value(v->cli, "restart") != NULL),
		     on_verdicts, v, &reply);
	undraw(v);
	if (s != CLI_DONE || v->status != CLI_DONE || reply == NULL)
		return v->status != CLI_DONE ? v->status : cli_pipe_closed() ? CLI_DONE : s;
	v->invalid = (uint64_t)memo_json_int(reply, "invalid", 0);
	v->unknown = (uint64_t)memo_json_int(reply, "unknown", 0);
	int64_t before = memo_json_int(reply, "before", 0);
	if (cli_value(v->cli, "json") != NULL)
		return CLI_DONE;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "%lld valid, %llu invalid", (long long)memo_json_int(reply, "valid", 0),
			      (unsigned long long)v->invalid);
	if (v->unknown > 0)
		(void)memo_buf_printf(&b, ", %llu could not be verified", (unsigned long long)v->unknown);
	if (before > 0)
		(void)memo_buf_printf(&b, " (%lld of them before an interruption)", (long long)before);
	(void)memo_buf_putc(&b, '\n');
	return cli_write(&b);
}

static int run_verify(struct cli *c)
{
	struct view v;
	bool all = cli_value(c, "all") != NULL;
	view_init(&v, c);
	if (all == (c->args > 0))
		return cli_usage(c, "verify: name instances, or say --all for every result in the store");
	if (!all && (cli_value(c, "rate") != NULL || cli_value(c, "restart") != NULL))
		return cli_usage(c, "verify: --rate and --restart belong to --all");
	int s = cli_open(c, c->args > 0 ? cli_path_argument(c) : NULL);
	if (s == CLI_DONE)
		s = all ? verify_all(&v) : verify_named(&v);
	if (s == CLI_DONE && v.unknown > 0)
		return CLI_TROUBLE;
	return s == CLI_DONE && v.invalid > 0 ? CLI_FAILED : s;
}

const struct cli_command cli_verify = {
	.name = "verify",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...] | --all",
	.summary = "check cached results",
	.about = "Checks cached results: by the task's verify command, by the existence of an External result's "
		 "path, else by\n"
		 "hashing what is stored. An invalid one is named, and not served any more: the next read executes "
		 "it. The\n"
		 "exit status is 1 when there was one.\n"
		 "With --all every result in the store is hashed, once however many results share it, and then "
		 "asked its\n"
		 "task's verify command, if there is one; a pass that was interrupted goes on where it was. The "
		 "store "
		 "can be\n"
		 "used meanwhile: the pass reads at idle priority and leaves the page cache as it is.",
	.example = "memofs verify --all --rate 50M",
	.option = { { 'a', "all", NULL, "every result in the store" },
		    { 'r', "rate", "BYTES", "with --all: read at most so much a second, as 50M" },
		    { 0, "restart", NULL, "with --all: from the beginning, not where it was interrupted" },
		    { 'j', "json", NULL, "one JSON object a line" } },
	.most = -1,
	.run = run_verify,
};

/* ---- fsck ---------------------------------------------------------------------------------------------- */

static void put_finding(struct view *v, struct memo_buf *b, const json_t *row)
{
	static const struct {
		const char *found, *words;
	} kinds[] = { { "wrong", "repair would" },
		      { "repaired", "repaired" },
		      { "failed", "not repaired" },
		      { "left", "left over" } };
	if (cli_value(v->cli, "json") != NULL) {
		cli_put_line(b, row);
		return;
	}
	const char *found = memo_json_string(row, "found", "wrong");
	const char *words = "";
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kinds[i].found, found) == 0)
			words = kinds[i].words;
	}
	/* they were escaped where they come from; what is left over is no finding */
	(void)memo_buf_printf(b, "%s %s (%s: %s)\n", memo_json_string(row, "where", "?"),
			      memo_json_string(row, "what", "?"), words, memo_json_string(row, "action", "?"));
}

static int on_findings(void *arg, const json_t *event)
{
	struct view *v = arg;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *row;
	if (json_object_get(event, "progress") != NULL) {
		draw(v, json_object_get(event, "progress"));
		return 0;
	}
	json_array_foreach(json_object_get(event, "rows"), i, row)
	{
		put_finding(v, &b, row);
	}
	return b.len > 0 ? write_rows(v, &b) : 0;
}

static long long count(const json_t *reply, const char *key)
{
	return (long long)memo_json_int(reply, key, 0);
}

static int put_summary(struct cli *c, json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		if (json_object_del(reply, "ok") < 0 ||
		    json_object_set_new(reply, "found", json_string("summary")) < 0)
			return cli_nomem();
		cli_put_line(&b, reply);
		return cli_write(&b);
	}
	(void)memo_buf_printf(&b,
			      "%lld records, %lld receipts, %lld names, %lld objects%s: ", count(reply, "records"),
			      count(reply, "receipts"), count(reply, "names"), count(reply, "objects"),
			      cli_value(c, "quick") != NULL ? " (without their content)" : "");
	if (count(reply, "wrong") == 0)
		(void)memo_buf_puts(&b, "nothing is wrong");
	else if (cli_value(c, "repair") == NULL)
		(void)memo_buf_printf(&b, "%lld wrong; memofs fsck --repair mends what can be",
				      count(reply, "wrong"));
	else
		(void)memo_buf_printf(&b, "%lld wrong, %lld repaired, %lld not", count(reply, "wrong"),
				      count(reply, "repaired"), count(reply, "failed"));
	if (count(reply, "left") > 0)
		(void)memo_buf_printf(&b, "; %lld left over", count(reply, "left"));
	(void)memo_buf_putc(&b, '\n');
	return cli_write(&b);
}

static int run_fsck(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct view v;
	json_t *rate;
	view_init(&v, c);
	int s = parse_rate(c, &rate);
	if (s != CLI_DONE)
		return s;
	s = cli_open(c, NULL);
	if (s != CLI_DONE) {
		json_decref(rate);
		return s;
	}
	s = cli_call(c,
		     json_pack("{s:s, s:b, s:b, s:b, s:o*}", "op", "fsck", "repair", cli_value(c, "repair") != NULL,
			       "quick", cli_value(c, "quick") != NULL, "empty",
			       cli_value(c, "empty-quarantine") != NULL, "rate", rate),
		     on_findings, &v, &reply);
	undraw(&v);
	if (s != CLI_DONE || v.status != CLI_DONE || reply == NULL)
		return v.status != CLI_DONE ? v.status : cli_pipe_closed() ? CLI_DONE : s;
	bool trouble = cli_value(c, "repair") != NULL && count(reply, "failed") > 0;
	bool wrong = count(reply, "wrong") > 0;
	s = put_summary(c, reply);
	return s != CLI_DONE ? s : trouble ? CLI_TROUBLE : wrong ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cli_fsck = {
	.name = "fsck",
	.arguments = "[--repair] [--quick]",
	.summary = "check the store, and mend it",
	.about = "Checks everything in the store against everything else: layout and modes; each result's receipt "
		 "and "
		 "record;\n"
		 "names, handles, runs, references; each object's size, mode and content. One line for each "
		 "finding, "
		 "then a\n"
		 "summary. Without --repair nothing is changed (opening a store that was not closed mends what "
		 "every "
		 "start\n"
		 "mends, and says so). --repair deletes no result: what is damaged goes to quarantine/, and what "
		 "was "
		 "made of\n"
		 "it is computed again when it is read. The store can be used meanwhile.\n"
		 "Exit status: 0 nothing was wrong; 1 something was (with --repair: and was mended); 4 something "
		 "could not be\n"
		 "mended. What is left over (orphans, what is in quarantine) is listed, and is not wrong.",
	.example = "memofs fsck --repair",
	.option = { { 0, "repair", NULL, "mend what can be mended" },
		    { 'q', "quick", NULL, "leave out the content of objects" },
		    { 0, "empty-quarantine", NULL, "remove what earlier findings put into quarantine" },
		    { 'r', "rate", "BYTES", "read at most so much a second, as 50M" },
		    { 'j', "json", NULL, "one JSON object a line" } },
	.run = run_fsck,
};
