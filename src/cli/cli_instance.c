/* path, explain, status, log, cancel: what is known of instances, and how to end them. */
#include "run.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/scope.h"

#include <string.h>

int cli_for_each(struct cli *c, const char *op, int (*print)(struct cli *c, const json_t *reply))
{
	int worst = cli_open(c, cli_path_argument(c));
	MEMO_AUTO_JSON json_t *requests = NULL;
	if (worst == CLI_DONE)
		worst = cli_instances(c, op, &requests);
	for (size_t i = 0; requests != NULL && i < json_array_size(requests); i++) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		int s = cli_call(c, json_incref(json_array_get(requests, i)), NULL, NULL, &reply);
		if (s == CLI_DONE)
			s = print(c, reply);
		worst = s > worst ? s : worst;
	}
	return worst;
}

static int print_path(struct cli *c, const json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:O}", "path", json_object_get(reply, "path"));
		cli_put_line(&b, o);
	} else {
		cli_put(&b, memo_json_string(reply, "path", "?"));
		(void)memo_buf_putc(&b, '\n');
	}
	return cli_write(&b);
}

static int run_path(struct cli *c)
{
	return cli_for_each(c, "path", print_path);
}

const struct cli_command cli_path = {
	.name = "path",
	.arguments = "TASK[@VERSION] [KEY=VALUE...] | PATH...",
	.summary = "print an instance's canonical path",
	.about = "Prints the canonical path below the mount's root, /tasks/TASK/VERSION/INPUTS. Values are plain, "
		 "without\n"
		 "percent-encoding; an array repeats its key; File inputs may be relative to the working "
		 "directory. Nothing\n"
		 "is executed.",
	.example = "cat /mnt/memofs$(memofs path align sample=A reads=./a.fq)",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.least = 1,
	.most = -1,
	.run = run_path,
};

static void explain_inputs(struct memo_buf *b, const json_t *inputs)
{
	size_t i;
	json_t *in;
	json_array_foreach(inputs, i, in)
	{
		(void)memo_buf_puts(b, i == 0 ? "inputs:   " : "          ");
		cli_put(b, memo_json_string(in, "name", "?"));
		(void)memo_buf_printf(b, " (%s) = ", memo_json_string(in, "type", "?"));
		MEMO_AUTO_FREE char *value = memo_json_text(json_object_get(in, "value"));
		cli_put(b, value != NULL ? value : "?");
		(void)memo_buf_printf(b, "%s%s\n", memo_json_bool(in, "default", false) ? "  the default" : "",
				      memo_json_bool(in, "identity", true) ? "" : "  not part of the identity");
	}
	if (i == 0)
		(void)memo_buf_puts(b, "inputs:   the task has none\n");
}

static void explain_state(struct memo_buf *b, const json_t *r)
{
	const json_t *cached = json_object_get(r, "cached");
	const char *state = memo_json_string(r, "state", "NONE");
	(void)memo_buf_printf(b, "state:    %s\n", strcmp(state, "NONE") == 0 ? "never demanded" : state);
	if (json_is_true(cached))
		(void)memo_buf_printf(b, "cached:   yes, a read starts nothing%s\nidentity: %s\noutput:   %s %s\n",
				      memo_json_bool(r, "pinned", false) ? "; pinned, never collected" : "",
				      memo_json_string(r, "identity", "?"), memo_json_string(r, "output", "?"),
				      memo_json_string(r, "hash", "?"));
	else if (json_is_false(cached))
		(void)memo_buf_printf(b, "cached:   no, a read executes it\noutput:   %s\n",
				      memo_json_string(r, "output", "?"));
	else
		(void)memo_buf_printf(
			b,
			"cached:   not known before its input files are hashed or its needs are looked up\n"
			"output:   %s\n",
			memo_json_string(r, "output", "?"));
	if (memo_json_string(r, "last_identity", NULL) != NULL)
		(void)memo_buf_printf(b, "identity: %s when it was demanded last\n",
				      memo_json_string(r, "last_identity", NULL));
	if (!memo_json_bool(r, "cacheable", true))
		(void)memo_buf_puts(b, "reuse:    never, the task file says \"cache\": false\n");
}

static int print_explained(struct cli *c, const json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		cli_put_line(&b, reply);
		return cli_write(&b);
	}
	(void)memo_buf_puts(&b, "task:     ");
	cli_put(&b, memo_json_string(reply, "task", "?"));
	(void)memo_buf_puts(&b, "\nversion:  ");
	cli_put(&b, memo_json_string(reply, "version", "?"));
	(void)memo_buf_printf(&b, "  (%s%s)\n",
			      memo_json_bool(reply, "declared", false) ? "declared" : "from the code",
			      memo_json_bool(reply, "latest", false) ? ", latest" : ", not the latest");
	explain_inputs(&b, json_object_get(reply, "inputs"));
	(void)memo_buf_puts(&b, "path:     ");
	cli_put(&b, memo_json_string(reply, "path", "?"));
	if (memo_json_string(reply, "inner", NULL) != NULL) {
		(void)memo_buf_puts(&b, "\ninside:   ");
		cli_put(&b, memo_json_string(reply, "inner", NULL));
	}
	(void)memo_buf_putc(&b, '\n');
	explain_state(&b, reply);
	return cli_write(&b);
}

static int run_explain(struct cli *c)
{
	return cli_for_each(c, "explain", print_explained);
}

const struct cli_command cli_explain = {
	.name = "explain",
	.arguments = "PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "say how a path is read, and what is wrong with it",
	.about = "Says how each part of a path is read: the task, the version, each input with its type and value, "
		 "the\n"
		 "canonical name, and whether there is a result. Or it says what is wrong, and what is nearest. "
		 "Nothing is\n"
		 "executed or hashed.",
	.example = "memofs explain /mnt/memofs/tasks/align/latest/sample=A",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.least = 1,
	.most = -1,
	.run = run_explain,
};

static void put_active(struct memo_buf *b, const json_t *a)
{
	const char *reason = memo_json_string(a, "reason", NULL), *state = memo_json_string(a, "state", "?");
	(void)memo_buf_printf(b, "%-9s ", state);
	cli_put(b, memo_json_string(a, "path", "?"));
	if (reason != NULL && reason[0] != '\0') {
		(void)memo_buf_puts(b, strcmp(state, "RUNNING") == 0 ? "  (" : "  (waits: ");
		cli_put(b, reason);
		(void)memo_buf_putc(b, ')');
	}
	if (memo_json_int(a, "pid", 0) > 0)
		(void)memo_buf_printf(b, "  pid %lld", (long long)memo_json_int(a, "pid", 0));
	(void)memo_buf_putc(b, '\n');
}

static int print_status(struct cli *c, const json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const json_t *active = json_object_get(reply, "active");
	size_t i;
	json_t *a;
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack(
			"{s:s, s:O?, s:O?, s:O?, s:I}", "store", c->store, "pid", json_object_get(reply, "pid"),
			"mountpoint", json_object_get(reply, "mountpoint"), "version",
			json_object_get(reply, "version"), "active", (json_int_t)json_array_size(active));
		if (o != NULL && json_object_update(o, json_object_get(reply, "room")) < 0)
			return cli_nomem();
		cli_put_line(&b, o);
	} else {
		const char *mount = memo_json_string(reply, "mountpoint", NULL);
		(void)memo_buf_puts(&b, "store ");
		cli_put(&b, c->store);
		(void)memo_buf_puts(&b, mount != NULL ? ", mounted at " : ", not mounted");
		cli_put(&b, mount != NULL ? mount : "");
		(void)memo_buf_printf(&b, ", served by process %lld\n", (long long)memo_json_int(reply, "pid", 0));
		cli_put_room(&b, json_object_get(reply, "room"));
		if (json_array_size(active) == 0)
			(void)memo_buf_puts(&b, "nothing is running\n");
	}
	json_array_foreach(active, i, a)
	{
		if (cli_value(c, "json") != NULL)
			cli_put_line(&b, a);
		else
			put_active(&b, a);
	}
	return cli_write(&b);
}

static int run_status(struct cli *c)
{
	if (c->args > 0)
		return cli_status_run(c);
	int s = cli_choose_store(c, NULL);
	if (s == CLI_DONE)
		s = cli_need_store(c, false);
	if (s == CLI_DONE)
		s = cli_connect(c);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_JSON json_t *reply = NULL;
	if (c->client != NULL) {
		s = cli_call(c, json_pack("{s:s}", "op", "status"), NULL, NULL, &reply);
		return s != CLI_DONE ? s : print_status(c, reply);
	}
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:s, s:n, s:n, s:n, s:i}", "store", c->store, "pid",
						     "mountpoint", "version", "active", 0);
		cli_put_line(&b, o);
	} else {
		(void)memo_buf_puts(&b, "store ");
		cli_put(&b, c->store);
		(void)memo_buf_puts(&b, ", not mounted; nothing is running\n");
	}
	return cli_write(&b);
}

const struct cli_command cli_status = {
	.name = "status",
	.arguments = "[RUN]",
	.summary = "what runs, what waits and for what",
	.about = "Says where the store is mounted, which process serves it, and every instance in flight with its "
		 "state and\n"
		 "what it waits for. With --json the first line is about the store, each further line about an "
		 "instance.\n"
		 "With RUN it is about that run: its state, what runs, what failed. With --json the first line is "
		 "about the\n"
		 "run, each further line about an instance in it.",
	.example = "memofs status",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.most = 1,
	.run = run_status,
};

static int log_event(void *arg, const json_t *event)
{
	struct memo_buf *held = arg;
	MEMO_AUTO_FREE unsigned char *raw = NULL;
	size_t n;
	int r = memo_base64_decode(memo_json_string(event, "data", ""), &raw, &n);
	if (r < 0)
		return r;
	cli_write_log(1, held, (const char *)raw, n, false);
	return cli_pipe_closed() ? -EPIPE : 0;
}

static int run_log(struct cli *c)
{
	MEMO_AUTO_JSON json_t *requests = NULL;
	MEMO_AUTO_JSON json_t *reply = NULL;
	MEMO_AUTO_BUF struct memo_buf held = { 0 };
	int s = cli_open(c, cli_path_argument(c));
	if (s == CLI_DONE)
		s = cli_instances(c, "log", &requests);
	if (s == CLI_DONE && json_array_size(requests) != 1)
		return cli_usage(c, "log: one instance at a time");
	if (s != CLI_DONE)
		return s;
	json_t *request = json_array_get(requests, 0);
	if (cli_value(c, "follow") != NULL && memo_json_set(request, "follow", json_true()) < 0)
		return cli_nomem();
	s = cli_call(c, json_incref(request), log_event, &held, &reply);
	cli_write_log(1, &held, "", 0, true);
	if (s != CLI_DONE || memo_json_bool(reply, "printed", true))
		return cli_pipe_closed() ? CLI_DONE : s;
	const char *why = memo_json_string(reply, "message", NULL), *path = memo_json_string(reply, "path", "?");
	const char *state = memo_json_string(reply, "state", "?");
	if (why != NULL)
		cli_say("%s: %s before it was executed: %s", path, state, why);
	else
		cli_say("%s: %s, nothing was printed on stderr", path, state);
	return CLI_DONE;
}

const struct cli_command cli_log = {
	.name = "log",
	.arguments = "PATH | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "stderr of the last attempt",
	.about = "Prints what the last attempt of an instance printed on stderr. With -f it goes on until the "
		 "attempt ends.",
	.example = "memofs log -f align sample=A",
	.option = { { 'f', "follow", NULL, "go on while it runs" } },
	.least = 1,
	.most = -1,
	.run = run_log,
};

static int print_cancelled(struct cli *c, const json_t *reply)
{
	(void)c;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	cli_put(&b, memo_json_string(reply, "path", "?"));
	(void)memo_buf_puts(&b, " cancelled\n");
	return cli_write(&b);
}

static int run_cancel(struct cli *c)
{
	if (cli_is_run(c->arg[0]) && c->args > 1)
		return cli_usage(c, "cancel: one run at a time");
	return cli_is_run(c->arg[0]) ? cli_cancel_run(c) : cli_for_each(c, "cancel", print_cancelled);
}

const struct cli_command cli_cancel = {
	.name = "cancel",
	.arguments = "RUN | PATH... | TASK[@VERSION] [KEY=VALUE...]",
	.summary = "end what is being executed",
	.about = "Ends the execution of an instance, or all that a run executes. Whoever waits for it is told that "
		 "it was cancelled; the next "
		 "demand\n"
		 "executes it again.",
	.example = "memofs cancel align/latest/sample=A",
	.least = 1,
	.most = -1,
	.run = run_cancel,
};
