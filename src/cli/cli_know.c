/* why, stats, verify: what the cache is worth, and whether it is sound. */
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
		    json_object_update(total, json_object_get(reply, "room")) < 0)
			return cli_nomem();
		cli_put_line(&b, total);
	} else {
		put_stats(&b, total, "all");
		cli_put_room(&b, json_object_get(reply, "room"));
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
		 "collected because of it. With --json the last line is all tasks together, its task is null.",
	.example = "memofs stats",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.run = run_stats,
};

/* ---- verify ------------------------------------------------------------------------------------ */

struct tally {
	uint64_t valid, invalid;
};

static int print_verdict(struct cli *c, const json_t *reply, struct tally *t)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	bool valid = memo_json_bool(reply, "valid", false);
	t->valid += valid;
	t->invalid += !valid;
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:O?, s:b, s:O?}", "path", json_object_get(reply, "path"),
						     "valid", valid, "message", json_object_get(reply, "message"));
		cli_put_line(&b, o);
		return cli_write(&b);
	}
	cli_put(&b, memo_json_string(reply, "path", "?"));
	(void)memo_buf_puts(&b, valid ? " valid" : " invalid: ");
	if (!valid)
		cli_put(&b, memo_json_string(reply, "message", "no reason is known"));
	(void)memo_buf_putc(&b, '\n');
	return cli_write(&b);
}

static int verify_one(struct cli *c, json_t *request, struct tally *t)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_err err = { 0 };
	int status = CLI_TROUBLE;
	bool stored = memo_json_bool(request, "stored", false);
	int r = cli_ask(c, json_incref(request), NULL, NULL, &reply, &status, &err);
	if (r == 0)
		return print_verdict(c, reply, t);
	if (r == -EINTR) {
		cli_say("interrupted");
		return CLI_INTERRUPTED;
	}
	/* forgotten since it was listed */
	return r == -ENOENT && stored ? CLI_DONE : cli_fail(status, &err);
}

static int on_paths(void *arg, const json_t *event)
{
	json_t *list = arg;
	return json_array_extend(list, json_object_get(event, "paths")) < 0 ? -ENOMEM : 0;
}

static int verify_all(struct cli *c, struct tally *t)
{
	MEMO_AUTO_JSON json_t *paths = json_array();
	MEMO_AUTO_JSON json_t *counted = NULL;
	int worst = cli_call(c, json_pack("{s:s}", "op", "cached"), on_paths, paths, &counted);
	size_t i;
	json_t *path;
	json_array_foreach(paths, i, path)
	{
		if (worst == CLI_INTERRUPTED || cli_pipe_closed())
			break;
		MEMO_AUTO_JSON json_t *q = json_pack("{s:s, s:O, s:b}", "op", "verify", "path", path, "stored", 1);
		int s = q == NULL ? cli_nomem() : verify_one(c, q, t);
		worst = s > worst ? s : worst;
	}
	if (cli_value(c, "json") == NULL && worst != CLI_INTERRUPTED) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		(void)memo_buf_printf(&b, "%llu valid, %llu invalid\n", (unsigned long long)t->valid,
				      (unsigned long long)t->invalid);
		int s = cli_write(&b);
		worst = s > worst ? s : worst;
	}
	return worst;
}

static int verify_named(struct cli *c, struct tally *t)
{
	MEMO_AUTO_JSON json_t *requests = NULL;
	int worst = cli_instances(c, "verify", &requests);
	size_t i;
	json_t *q;
	json_array_foreach(requests, i, q)
	{
		int s = worst == CLI_INTERRUPTED ? CLI_INTERRUPTED : verify_one(c, q, t);
		worst = s > worst ? s : worst;
	}
	return worst;
}

static int run_verify(struct cli *c)
{
	struct tally t = { 0 };
	bool all = cli_value(c, "all") != NULL;
	if (all == (c->args > 0))
		return cli_usage(c, "verify: name instances, or say --all for every result in the store");
	int s = cli_open(c, c->args > 0 ? cli_path_argument(c) : NULL);
	if (s == CLI_DONE)
		s = all ? verify_all(c, &t) : verify_named(c, &t);
	return s == CLI_DONE && t.invalid > 0 ? CLI_FAILED : s;
}

const struct cli_command cli_verify = {
	.name = "verify",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...] | --all",
	.summary = "check cached results",
	.about = "Checks cached results: by the task's verify command, by the existence of an External result's "
		 "path, else by\n"
		 "hashing what is stored. An invalid one is named, and not served any more: the next read executes "
		 "it. The\n"
		 "exit status is 1 when there was one.",
	.example = "memofs verify --all",
	.option = { { 'a', "all", NULL, "every result in the store" },
		    { 'j', "json", NULL, "one JSON object a line" } },
	.most = -1,
	.run = run_verify,
};
