/* run, retry, wait: demands with an id. */
#include "run.h"

#include "base/json.h"
#include "base/scope.h"
#include "sheet.h"

#include <string.h>

static int print_id(struct cli *c, const char *run)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:s}", "run", run);
		cli_put_line(&b, o);
	} else {
		(void)memo_buf_printf(&b, "run %s\n", run);
	}
	return cli_write(&b);
}

/* A run that nobody waits for goes on in a daemon, or nowhere. */
static int check_detach(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	if (cli_value(c, "detach") == NULL)
		return CLI_DONE;
	int s = c->client != NULL ? cli_call(c, json_pack("{s:s}", "op", "hello"), NULL, NULL, &reply) : CLI_DONE;
	if (s != CLI_DONE || memo_json_string(reply, "mountpoint", NULL) != NULL)
		return s;
	cli_say("store '%s': --detach needs a daemon that goes on with the run; memofs --store %s mount DIR starts "
		"one, or "
		"leave --detach out",
		c->store, c->store);
	return CLI_TROUBLE;
}

/* The instances that the arguments name, or, with a sheet, one object with the task and what all rows share. */
static int read_arguments(struct cli *c, const char *sheet, json_t **requests_out)
{
	enum cli_sheet_kind kind;
	if (sheet != NULL && cli_path_argument(c) != NULL)
		return cli_usage(c, "run: with --sheet a task is named, and key=value for what all rows share");
	if (sheet != NULL && cli_sheet_kind_of(sheet, &kind) < 0)
		return cli_usage(c, "run: '%s': a sheet's name ends in .csv, .tsv or .jsonl", sheet);
	return cli_instances(c, "run-add", requests_out);
}

/* *@run_out is the id (free() it); *@made_out the whole answer. */
static int new_run(struct cli *c, const char *task, json_t **made_out)
{
	MEMO_AUTO_JSON json_t *force = json_array();
	for (int i = 0; i < c->repeats; i++) {
		if (memo_json_push(force, json_string(c->repeated[i])) < 0) {
			cli_say("'%s' is not valid UTF-8", c->repeated[i]);
			return CLI_USAGE;
		}
	}
	return cli_call(c,
			json_pack("{s:s, s:b, s:O, s:b, s:b, s:b, s:s*}", "op", "run-new", "force",
				  cli_value(c, "force") != NULL, "force_tasks", force, "verify",
				  cli_value(c, "verify") != NULL, "keep_going", cli_value(c, "keep-going") != NULL,
				  "resume", 1, "task", task),
			NULL, NULL, made_out);
}

static int add_all(struct cli *c, const char *run, const char *sheet, json_t *requests, const json_t *made)
{
	size_t i;
	json_t *q;
	int s = CLI_DONE;
	json_array_foreach(requests, i, q)
	{
		MEMO_AUTO_JSON json_t *reply = NULL;
		if (cli_interrupts() > 0)
			return CLI_INTERRUPTED;
		if (json_object_set_new(q, "run", json_string(run)) < 0)
			return cli_nomem();
		if (sheet != NULL) {
			if (json_object_update_existing(q, (json_t *)(uintptr_t)made) < 0 ||
			    json_object_set(q, "fixed", json_object_get(made, "fixed")) < 0)
				return cli_nomem();
			s = cli_add_sheet(c, run, sheet, q);
		} else {
			s = cli_call(c, json_incref(q), NULL, NULL, &reply);
		}
		if (s != CLI_DONE)
			return s;
	}
	return s;
}

/* What is not started is not kept: whether this succeeds does not matter. */
static void abandon(struct cli *c, const char *run)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_err err = { 0 };
	int status = 0;
	if (cli_ask(c, json_pack("{s:s, s:s}", "op", "run-cancel", "run", run), NULL, NULL, &reply, &status, &err) <
	    0)
		return;
}

static int start(struct cli *c, const char *run)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	return cli_call(c, json_pack("{s:s, s:s}", "op", "run-start", "run", run), NULL, NULL, &reply);
}

static int run_run(struct cli *c)
{
	MEMO_AUTO_JSON json_t *requests = NULL;
	MEMO_AUTO_JSON json_t *made = NULL;
	const char *sheet = cli_value(c, "sheet");
	int s = cli_open(c, cli_path_argument(c));
	if (s == CLI_DONE)
		s = read_arguments(c, sheet, &requests);
	if (s == CLI_DONE)
		s = check_detach(c);
	if (s != CLI_DONE)
		return s;
	cli_count_signals();
	s = new_run(c, sheet != NULL ? c->arg[0] : NULL, &made);
	if (s != CLI_DONE)
		return s;
	const char *run = memo_json_string(made, "run", "");
	s = add_all(c, run, sheet, requests, made);
	if (s == CLI_DONE && cli_interrupts() > 0)
		s = CLI_INTERRUPTED;
	if (s != CLI_DONE) {
		abandon(c, run);
		return s;
	}
	s = start(c, run);
	if (s == CLI_DONE)
		s = print_id(c, run);
	if (s != CLI_DONE || cli_value(c, "detach") != NULL)
		return s;
	return cli_follow(c, run, true);
}

const struct cli_command cli_run = {
	.name = "run",
	.arguments = "TASK[@VERSION] [KEY=VALUE...] [--sheet FILE] | PATH...",
	.summary = "execute instances as a run that can be retried",
	.about = "Demands one instance, or one for each row of a sheet (CSV, TSV or JSON Lines; the header names "
		 "inputs;\n"
		 "files are relative to the sheet; KEY=VALUE holds for all rows), and shows what becomes of them. "
		 "The run's\n"
		 "id is printed first. Nothing is started before all rows are valid. After the first failure "
		 "nothing new is\n"
		 "started, unless --keep-going. Ctrl-C stops the run when what runs is finished, a second one "
		 "cancels it.",
	.example = "memofs run align --sheet samples.csv min_score=20 --keep-going",
	.option = { { 's', "sheet", "FILE", "one instance for each row of FILE.csv, .tsv or .jsonl" },
		    { 0, "force", NULL, "execute everything anew, upstream too" },
		    { 0, "force-task", "TASK", "the same for instances of TASK; may be repeated" },
		    { 0, "verify", NULL, "check each cached result before it is reused" },
		    { 'k', "keep-going", NULL, "go on after a failure with what does not need it" },
		    { 'd', "detach", NULL, "do not wait; memofs wait RUN does" },
		    { 'j', "json", NULL, "one JSON object a line: the id, each change, the outcome" } },
	.least = 1,
	.most = -1,
	.makes = true,
	.many = "force-task",
	.run = run_run,
};

static int run_retry(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	const char *run = c->arg[0];
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = check_detach(c);
	if (s != CLI_DONE)
		return s;
	s = cli_call(c,
		     json_pack("{s:s, s:s, s:s*, s:b, s:b}", "op", "run-retry", "run", run, "task",
			       cli_value(c, "task"), "verify", cli_value(c, "no-verify") == NULL, "resume", 1),
		     NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	if (memo_json_int(reply, "count", 0) == 0) {
		const char *task = cli_value(c, "task");
		cli_say("run %s: nothing to retry%s%s; all of it succeeded", run, task != NULL ? " of task " : "",
			task != NULL ? task : "");
		return CLI_DONE;
	}
	s = print_id(c, run);
	if (s != CLI_DONE || cli_value(c, "detach") != NULL)
		return s;
	return cli_follow(c, run, true);
}

const struct cli_command cli_retry = {
	.name = "retry",
	.arguments = "RUN",
	.summary = "execute what failed in a run, and no more",
	.about = "Demands again what failed, was cancelled or never started in a run, with today's code: mend the "
		 "task, add it\n"
		 "again, retry. What succeeded is reused, after it was verified.",
	.example = "memofs retry 20261121-235501-k3x9",
	.option = { { 't', "task", "TASK", "only what failed of TASK" },
		    { 0, "no-verify", NULL, "believe what is cached" },
		    { 'd', "detach", NULL, "do not wait; memofs wait RUN does" },
		    { 'j', "json", NULL, "one JSON object a line: the id, each change, the outcome" } },
	.least = 1,
	.most = 1,
	.run = run_retry,
};

static int run_wait(struct cli *c)
{
	int s = cli_open(c, NULL);
	return s == CLI_DONE ? cli_follow(c, c->arg[0], false) : s;
}

const struct cli_command cli_wait = {
	.name = "wait",
	.arguments = "RUN",
	.summary = "follow a run until it is over",
	.about = "Shows a run as memofs run does, until it is over; the exit status is the run's. Ctrl-C ends the "
		 "waiting, not\n"
		 "the run. Without a daemon a run that was left goes on here.",
	.example = "memofs wait 20261121-235501-k3x9",
	.option = { { 'j', "json", NULL, "one JSON object a line: each change, the outcome" } },
	.least = 1,
	.most = 1,
	.run = run_wait,
};
