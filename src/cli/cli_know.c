/* why and stats: what the cache is worth. */
#include "run.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

static int print_why(struct cli *c, const json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const char *text = memo_json_string(reply, "text", "");
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o =
			json_pack("{s:O?, s:s}", "path", json_object_get(reply, "path"), "why", text);
		cli_put_line(&b, o);
		return cli_write(&b);
	}
	/* it quotes code: nothing of that may drive a terminal */
	cli_write_log(1, &b, text, strlen(text), true);
	return CLI_DONE;
}

static int run_why(struct cli *c)
{
	return cli_for_each(c, "why", print_why);
}

const struct cli_command cli_why = {
	.name = "why",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "why a read is a hit, or would execute",
	.about = "For a hit: whose work is reused, and what that saves. For a miss: the nearest earlier instance "
		 "and each thing\n"
		 "that differs from it, with both values; a changed upstream is followed down to its cause, "
		 "changed code is\n"
		 "shown as a diff. Nothing is executed or hashed.",
	.example = "memofs why align sample=A",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.least = 1,
	.most = -1,
	.run = run_why,
};

/* ---- stats ------------------------------------------------------------------------------------- */

static void put_hours(struct memo_buf *b, const json_t *o, const char *key)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	cli_put_duration(&text, json_number_value(json_object_get(o, key)));
	(void)memo_buf_printf(b, " %12s", memo_buf_str(&text));
}

static void put_stats(struct memo_buf *b, const json_t *o, const char *name)
{
	static const char *const counts[] = { "hits", "misses", "executions", "failures", "results" };
	size_t start = b->len;
	cli_put(b, name);
	while (memo_buf_error(b) == 0 && b->len - start < 20)
		(void)memo_buf_putc(b, ' ');
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		(void)memo_buf_printf(b, " %8lld", (long long)memo_json_int(o, counts[i], 0));
	put_hours(b, o, "seconds_computed");
	put_hours(b, o, "seconds_saved");
	(void)memo_buf_putc(b, ' ');
	cli_put_bytes(b, memo_json_int(o, "bytes", 0), 11);
	(void)memo_buf_putc(b, ' ');
	cli_put_bytes(b, memo_json_int(o, "bytes_shared", 0), 11);
	while (b->len > 0 && memo_buf_error(b) == 0 && b->data[b->len - 1] == ' ')
		b->len--;
	(void)memo_buf_putc(b, '\n');
}

/* Only when there is something to tell. */
static void put_health(struct memo_buf *b, const json_t *h)
{
	long long damaged = (long long)memo_json_int(h, "damaged", 0);
	long long errors = (long long)memo_json_int(h, "read_errors", 0);
	if (damaged > 0)
		(void)memo_buf_printf(
			b, "%lld damaged objects were found since the store was opened; memofs fsck says more\n",
			damaged);
	if (errors > 0)
		(void)memo_buf_printf(
			b, "%lld reads of objects failed since the store was opened; look after the disk\n",
			errors);
}

static int run_stats(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s}", "op", "stats"), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	json_t *total = json_object_get(reply, "total");
	bool json = cli_value(c, "json") != NULL;
	size_t i;
	json_t *t;
	if (!json)
		(void)memo_buf_printf(&b, "%-20s %8s %8s %8s %8s %8s %12s %12s %11s %11s\n", "task", "hits",
				      "misses", "executed", "failed", "results", "computed", "saved", "stored",
				      "shared");
	json_array_foreach(json_object_get(reply, "tasks"), i, t)
	{
		if (json)
			cli_put_line(&b, t);
		else
			put_stats(&b, t, memo_json_string(t, "task", "?"));
	}
	if (json && json_is_object(total)) {
		if (json_object_set_new(total, "task", json_null()) < 0 ||
		    json_object_update(total, json_object_get(reply, "room")) < 0 ||
		    json_object_update(total, json_object_get(reply, "health")) < 0)
			return cli_nomem();
		cli_put_line(&b, total);
	} else {
		put_stats(&b, total, "all");
		cli_put_room(&b, json_object_get(reply, "room"));
		put_health(&b, json_object_get(reply, "health"));
	}
	return cli_write(&b);
}

const struct cli_command cli_stats = {
	.name = "stats",
	.arguments = "",
	.summary = "what the cache has saved",
	.about = "For each task and in all: hits, misses, executions and failures, results kept, time computed and "
		 "time saved,\n"
		 "bytes stored, and bytes saved because results share content; then the setting max_size, and what "
		 "was\n"
		 "collected because of it. With --json the last line is all tasks together, its task is null; "
		 "\"damaged\",\n"
		 "\"read_errors\" and \"refused\" (reads that failed and after which nothing was computed again) "
		 "count "
		 "since the\n"
		 "store was opened.",
	.example = "memofs stats",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.run = run_stats,
};
