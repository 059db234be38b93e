/* runs, status RUN, cancel RUN, graph: what is known of runs, and how to end one. */
#include "run.h"

#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"

#include <poll.h>
#include <string.h>

#define CANCEL_MS 30000 /* for what runs to end */
#define CANCEL_STEP_MS 50

bool cli_is_run(const char *word)
{
	return word[0] >= '0' && word[0] <= '9' && strpbrk(word, "/=") == NULL;
}

static int run_runs(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s}", "op", "run-list"), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *r;
	json_array_foreach(json_object_get(reply, "runs"), i, r)
	{
		if (cli_value(c, "json") != NULL) {
			cli_put_line(&b, r);
			continue;
		}
		(void)memo_buf_printf(&b, "%-22s %-10s %-21s ", memo_json_string(r, "run", "?"),
				      memo_json_string(r, "state", "?"), memo_json_string(r, "created", ""));
		cli_put_counts(&b, json_object_get(r, "counts"));
		(void)memo_buf_putc(&b, '\n');
	}
	if (i == 0 && cli_value(c, "json") == NULL)
		cli_say("store '%s' has no runs; memofs run makes one", c->store);
	return cli_write(&b);
}

const struct cli_command cli_runs = {
	.name = "runs",
	.arguments = "",
	.summary = "list the runs",
	.about = "Lists all runs, the newest first: id, state, when it was made, and what became of its instances.",
	.example = "memofs runs --json | jq -r 'select(.state == \"FAILED\") | .run'",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.run = run_runs,
};

static int ask_status(struct cli *c, const char *run, json_t **reply_out)
{
	return cli_call(
		c, json_pack("{s:s, s:s, s:I}", "op", "run-status", "run", run, "since", (json_int_t)INT64_MAX - 1),
		NULL, NULL, reply_out);
}

/* A line of JSON for each instance that the run touched. */
static int print_rows(struct cli *c, const char *run)
{
	MEMO_AUTO_FREE char *after = NULL;
	for (;;) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		int s = cli_call(c, json_pack("{s:s, s:s, s:s*}", "op", "run-rows", "run", run, "after", after),
				 NULL, NULL, &reply);
		if (s != CLI_DONE)
			return s;
		size_t i;
		json_t *row;
		json_array_foreach(json_object_get(reply, "rows"), i, row)
		{
			cli_put_line(&b, row);
		}
		const char *next = memo_json_string(reply, "next", NULL);
		s = cli_write(&b);
		if (s != CLI_DONE || next == NULL || cli_pipe_closed())
			return s;
		free(after);
		after = strdup(next);
		if (after == NULL)
			return cli_nomem();
	}
}

static int print_running(struct cli *c, const json_t *status)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(status, "running"), i, e)
	{
		(void)memo_buf_puts(&b, "running ");
		cli_put(&b, memo_json_string(e, "path", "?"));
		(void)memo_buf_puts(&b, " (");
		cli_put_duration(&b, json_number_value(json_object_get(e, "seconds")));
		(void)memo_buf_puts(&b, ")\n");
	}
	(void)c;
	return cli_write(&b);
}

int cli_status_run(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	const char *run = c->arg[0];
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = ask_status(c, run, &reply);
	if (s != CLI_DONE)
		return s;
	json_t *status = json_object_get(reply, "status");
	if (cli_value(c, "json") == NULL) {
		s = print_running(c, status);
		return s == CLI_DONE ? cli_summary(c, run, status) : s;
	}
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)json_object_del(status, "changes");
	(void)json_object_del(status, "next");
	cli_put_line(&b, status);
	s = cli_write(&b);
	return s == CLI_DONE ? print_rows(c, run) : s;
}

int cli_cancel_run(struct cli *c)
{
	const char *run = c->arg[0];
	MEMO_AUTO_JSON json_t *cancelled = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s, s:b}", "op", "run-cancel", "run", run, "resume", 1), NULL,
			     NULL, &cancelled);
	int64_t deadline = memo_now_ns() + CANCEL_MS * MEMO_NS_PER_MS;
	while (s == CLI_DONE) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		s = ask_status(c, run, &reply);
		const char *state = memo_json_string(json_object_get(reply, "status"), "state", "");
		if (s != CLI_DONE || strcmp(state, "RUNNING") != 0 || memo_now_ns() > deadline)
			break;
		(void)poll(NULL, 0, CANCEL_STEP_MS);
	}
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "run %s cancelled\n", run);
	return s == CLI_DONE ? cli_write(&b) : s;
}

static int run_graph(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s}", "op", "run-graph", "run", c->arg[0]), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const char *dot = memo_json_string(reply, "dot", "");
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:s, s:s}", "run", c->arg[0], "dot", dot);
		cli_put_line(&b, o);
		return cli_write(&b);
	}
	/* paths and messages stand in it */
	cli_write_log(1, &b, dot, strlen(dot), true);
	return CLI_DONE;
}

const struct cli_command cli_graph = {
	.name = "graph",
	.arguments = "RUN",
	.summary = "a run's graph, for Graphviz",
	.about = "Prints the instances of a run and what needs what as a graph in Graphviz' language: colours tell "
		 "executed,\n"
		 "reused, failed and waiting apart, and the nodes carry seconds.",
	.example = "memofs graph 20261121-235501-k3x9 | dot -Tsvg > run.svg",
	.option = { { 'j', "json", NULL, "as a JSON object" } },
	.least = 1,
	.most = 1,
	.run = run_graph,
};
