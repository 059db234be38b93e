/* forget, pin, unpin, gc: what is kept, and what goes. */
#include "run.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

static int print_done(const json_t *reply, const char *what)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	cli_put(&b, memo_json_string(reply, "path", "?"));
	(void)memo_buf_printf(&b, " %s\n", what);
	return cli_write(&b);
}

static int print_forgotten(struct cli *c, const json_t *reply)
{
	(void)c;
	return print_done(reply, "forgotten");
}

static int run_forget(struct cli *c)
{
	return cli_for_each(c, "forget", print_forgotten);
}

const struct cli_command cli_forget = {
	.name = "forget",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "forget results, so that the next read executes",
	.about = "Forgets the result of an instance, or that it failed: the next demand executes it. What was made "
		 "from the\n"
		 "result stays, and so do its bytes until memofs gc; a pin of it ends. Only the store's owner and "
		 "root may.",
	.example = "memofs forget align/latest/sample=A",
	.least = 1,
	.most = -1,
	.run = run_forget,
};

static int print_pinned(struct cli *c, const json_t *reply)
{
	(void)c;
	return print_done(reply, "pinned");
}

static int run_pin(struct cli *c)
{
	return cli_for_each(c, "pin", print_pinned);
}

const struct cli_command cli_pin = {
	.name = "pin",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "keep results, whatever max_size says",
	.about = "Pins the result of an instance: it is never collected, neither by memofs gc nor because of the "
		 "setting\n"
		 "max_size, until it is unpinned or forgotten. What it was made from is not pinned with it: it "
		 "stays "
		 "cached\n"
		 "without that. There must be a result. Only the store's owner and root may.",
	.example = "memofs pin align/latest/sample=A",
	.least = 1,
	.most = -1,
	.run = run_pin,
};

static int print_unpinned(struct cli *c, const json_t *reply)
{
	(void)c;
	return print_done(reply, "unpinned");
}

static int run_unpin(struct cli *c)
{
	return cli_for_each(c, "unpin", print_unpinned);
}

const struct cli_command cli_unpin = {
	.name = "unpin",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "let pinned results be collected again",
	.about = "Ends what memofs pin began. A result that is not pinned stays as it is.",
	.example = "memofs unpin align/latest/sample=A",
	.least = 1,
	.most = -1,
	.run = run_unpin,
};

/* ---- gc ---------------------------------------------------------------------------------------------- */

void cli_put_bytes(struct memo_buf *b, int64_t n, int width)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)n;
	size_t u = 0;
	while (v >= 1024 && u + 1 < sizeof unit / sizeof *unit) {
		v /= 1024;
		u++;
	}
	int digits = width > 4 ? width - 4 : 0;
	(void)memo_buf_printf(b, u == 0 ? "%*.0f %s" : "%*.1f %s", digits, v, unit[u]);
	for (size_t i = strlen(unit[u]); digits > 0 && i < 3; i++)
		(void)memo_buf_putc(b, ' ');
}

void cli_put_room(struct memo_buf *b, const json_t *room)
{
	int64_t max = memo_json_int(room, "max_size", 0), bytes = memo_json_int(room, "bytes", -1);
	const json_t *gone = json_object_get(room, "collected");
	if (max > 0) {
		(void)memo_buf_puts(b, "max_size ");
		cli_put_bytes(b, max, 0);
		(void)memo_buf_puts(b, bytes >= 0 ? ", kept " : "");
		if (bytes >= 0)
			cli_put_bytes(b, bytes, 0);
		(void)memo_buf_putc(b, '\n');
	}
	if (memo_json_int(gone, "results", 0) == 0)
		return;
	(void)memo_buf_printf(
		b, "collected %lld results in %lld collections: ", (long long)memo_json_int(gone, "results", 0),
		(long long)memo_json_int(gone, "times", 0));
	cli_put_bytes(b, memo_json_int(gone, "bytes", 0), 0);
	(void)memo_buf_puts(b, ", ");
	cli_put_duration(b, json_number_value(json_object_get(gone, "seconds")));
	(void)memo_buf_puts(b, " of work\n");
}

struct rows {
	struct cli *c;
	bool head;
	int status;
};

static void put_result(struct memo_buf *b, const json_t *row)
{
	MEMO_AUTO_BUF struct memo_buf took = { 0 };
	cli_put_duration(&took, json_number_value(json_object_get(row, "seconds")));
	cli_put_bytes(b, memo_json_int(row, "bytes", 0), 11);
	(void)memo_buf_printf(b, " %12s %8lld  %.19s  ", memo_buf_str(&took),
			      (long long)memo_json_int(row, "uses", 0), memo_json_string(row, "last_use", ""));
	cli_put(b, memo_json_string(row, "path", "?"));
	if (memo_json_int(row, "bytes", 0) == 0)
		(void)memo_buf_puts(b, "  (shares its bytes)");
	(void)memo_buf_putc(b, '\n');
}

static int on_rows(void *arg, const json_t *event)
{
	struct rows *x = arg;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	bool json = cli_value(x->c, "json") != NULL;
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(event, "rows"), i, row)
	{
		bool result = strcmp(memo_json_string(row, "kind", ""), "result") == 0;
		if (json) {
			cli_put_line(&b, row);
			continue;
		}
		if (!x->head)
			(void)memo_buf_printf(&b, "%10s %12s %8s  %-19s  %s\n", "frees", "computed in", "uses",
					      "last use", "what");
		x->head = true;
		if (result) {
			put_result(&b, row);
			continue;
		}
		cli_put_bytes(&b, memo_json_int(row, "bytes", 0), 11);
		(void)memo_buf_printf(&b, " %12s %8s  %-19s  %s ", "", "", "garbage",
				      memo_json_string(row, "kind", "?"));
		cli_put(&b, memo_json_string(row, "name", "?"));
		(void)memo_buf_putc(&b, '\n');
	}
	x->status = cli_write(&b);
	return cli_pipe_closed() ? -EPIPE : 0;
}

/* "would free 12.3 GiB: 40 results, 4.1 hours of work; 3 pieces of garbage, 1.0 MiB" and what is left. */
static int print_summary(struct cli *c, const json_t *s)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:s}", "kind", "summary");
		if (o == NULL || json_object_update(o, (json_t *)(uintptr_t)s) < 0)
			return cli_nomem();
		cli_put_line(&b, o);
		return cli_write(&b);
	}
	bool dry = memo_json_bool(s, "dry", false);
	int64_t limit = memo_json_int(s, "limit", -1), after = memo_json_int(s, "after", 0);
	(void)memo_buf_puts(&b, dry ? "would free " : "freed ");
	cli_put_bytes(&b, memo_json_int(s, "bytes", 0) + memo_json_int(s, "garbage_bytes", 0), 0);
	(void)memo_buf_printf(&b, ": %lld results, ", (long long)memo_json_int(s, "results", 0));
	cli_put_duration(&b, json_number_value(json_object_get(s, "seconds")));
	(void)memo_buf_printf(&b, " of work; %lld pieces of garbage, ", (long long)memo_json_int(s, "garbage", 0));
	cli_put_bytes(&b, memo_json_int(s, "garbage_bytes", 0), 0);
	(void)memo_buf_puts(&b, dry ? "\nwould keep " : "\nkept ");
	cli_put_bytes(&b, after, 0);
	if (limit >= 0) {
		(void)memo_buf_puts(&b, ", the limit is ");
		cli_put_bytes(&b, limit, 0);
	} else {
		(void)memo_buf_puts(&b, ", there is no limit (memofs config max_size)");
	}
	int64_t pinned = memo_json_int(s, "pinned", 0), held = memo_json_int(s, "held", 0);
	if (pinned + held > 0)
		(void)memo_buf_printf(&b, "; %lld pinned and %lld in use stay", (long long)pinned, (long long)held);
	(void)memo_buf_putc(&b, '\n');
	return cli_write(&b);
}

static int run_gc(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct rows x = { .c = c };
	const char *size = cli_value(c, "max-size");
	bool dry = cli_value(c, "dry-run") != NULL;
	int s = cli_open(c, NULL);
	cli_on_interrupt(
		"\nmemofs: interrupted; what was begun is finished by the process that serves the store\n");
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s*, s:b}", "op", "gc", "max_size", size, "dry", dry ? 1 : 0),
			     on_rows, &x, &reply);
	if (s == CLI_DONE)
		s = x.status;
	return s != CLI_DONE || cli_pipe_closed() ? s : print_summary(c, json_object_get(reply, "summary"));
}

const struct cli_command cli_gc = {
	.name = "gc",
	.arguments = "",
	.summary = "collect garbage, and results that are too much",
	.about =
		"Removes what nothing refers to any more. When the results take more than --max-size, or than the "
		"setting\n"
		"max_size, those go that are the cheapest to compute again for their bytes and uses, the long "
		"unused "
		"first;\n"
		"what is pinned, open, or needed by running work stays. A collected result comes back by being "
		"read, "
		"and what\n"
		"was made from it stays cached. With max_size set this happens by itself, down to 95 % of it. Only "
		"the store's\n"
		"owner and root may.",
	.example = "memofs gc --max-size 200G --dry-run",
	.option = { { 's', "max-size", "SIZE", "bytes of results that may stay: 10G, 500M, 1000000" },
		    { 'n', "dry-run", NULL, "say what would go and what it cost to make; change nothing" },
		    { 'j', "json", NULL, "one JSON object a line, the summary last" } },
	.run = run_gc,
};
