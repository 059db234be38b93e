/* tasks, show, remove: the registry as people read it. */
#include "cli.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>
#include <time.h>

/* "who=\"world\"" "reads:File": an input in a list. */
static void put_input(struct memo_buf *b, const json_t *in)
{
	const json_t *fallback = json_object_get(in, "default");
	cli_put(b, memo_json_string(in, "name", "?"));
	(void)memo_buf_putc(b, ':');
	cli_put(b, memo_json_string(in, "type", "?"));
	if (fallback != NULL && !json_is_null(fallback)) {
		(void)memo_buf_putc(b, '=');
		cli_put_json(b, fallback);
	}
}

static void put_summary(struct memo_buf *b, const json_t *inputs)
{
	size_t i;
	json_t *in;
	if (json_array_size(inputs) == 0)
		(void)memo_buf_puts(b, "(no inputs)");
	json_array_foreach(inputs, i, in)
	{
		(void)memo_buf_puts(b, i > 0 ? ", " : "");
		put_input(b, in);
	}
}

/* Pads the row that begins at @start to @width. */
static void pad(struct memo_buf *b, size_t start, size_t width)
{
	do
		(void)memo_buf_putc(b, ' ');
	while (memo_buf_error(b) == 0 && b->len - start < width);
}

static size_t widest(const json_t *list, const char *key)
{
	size_t i, most = 0;
	json_t *o;
	json_array_foreach(list, i, o)
	{
		size_t n = strlen(memo_json_string(o, key, ""));
		most = n > most ? n : most;
	}
	return most;
}

static void put_task(struct memo_buf *b, const json_t *t, size_t name_width, size_t version_width)
{
	size_t start = b->len;
	cli_put(b, memo_json_string(t, "name", "?"));
	pad(b, start, name_width + 2);
	cli_put(b, memo_json_string(t, "version", "?"));
	(void)memo_buf_puts(b, memo_json_bool(t, "latest", false) ? "*" : "");
	pad(b, start, name_width + version_width + 5);
	put_summary(b, json_object_get(t, "inputs"));
	const char *text = memo_json_string(t, "description", NULL);
	if (text != NULL) {
		(void)memo_buf_puts(b, "  ");
		cli_put(b, text);
	}
	(void)memo_buf_putc(b, '\n');
}

static int run_tasks(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s}", "op", "tasks"), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	const json_t *list = json_object_get(reply, "tasks");
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i, names = widest(list, "name"), versions = widest(list, "version");
	json_t *t;
	json_array_foreach(list, i, t)
	{
		if (cli_value(c, "json") != NULL)
			cli_put_line(&b, t);
		else
			put_task(&b, t, names, versions);
	}
	if (i == 0 && cli_value(c, "json") == NULL)
		cli_say("store '%s' has no tasks; memofs add FILE registers one, memofs new NAME writes one",
			c->store);
	return cli_write(&b);
}

const struct cli_command cli_tasks = {
	.name = "tasks",
	.arguments = "",
	.summary = "list the registered tasks",
	.about = "Lists every version of every task: name, version (the latest is marked with *), inputs with "
		 "types and\n"
		 "defaults, description.",
	.example = "memofs tasks --json | jq -r .name",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.run = run_tasks,
};

static void put_field(struct memo_buf *b, const char *label, const char *text)
{
	size_t start = b->len;
	(void)memo_buf_puts(b, label);
	pad(b, start, 14);
	cli_put(b, text);
	(void)memo_buf_putc(b, '\n');
}

static void put_inputs(struct memo_buf *b, const json_t *inputs, const json_t *declared)
{
	size_t i;
	json_t *in;
	json_array_foreach(inputs, i, in)
	{
		MEMO_AUTO_BUF struct memo_buf line = { 0 };
		const json_t *fallback = json_object_get(in, "default");
		const char *name = memo_json_string(in, "name", "?");
		(void)memo_buf_printf(&line, "%s: %s", name, memo_json_string(in, "type", "?"));
		if (memo_json_bool(in, "required", false))
			(void)memo_buf_puts(&line, ", required");
		else if (fallback != NULL && !json_is_null(fallback)) {
			(void)memo_buf_puts(&line, ", default ");
			cli_put_json(&line, fallback);
		}
		static const char *const keys[] = { "minimum", "maximum", "pattern", "values" };
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
			const json_t *v = json_object_get(json_object_get(declared, name), keys[k]);
			if (v == NULL)
				continue;
			(void)memo_buf_printf(&line, ", %s ", keys[k]);
			cli_put_json(&line, v);
		}
		if (!memo_json_bool(in, "identity", true))
			(void)memo_buf_puts(&line, ", not part of the identity");
		put_field(b, i == 0 ? "inputs" : "", memo_buf_str(&line));
	}
	if (i == 0)
		put_field(b, "inputs", "none");
}

static void put_needs(struct memo_buf *b, json_t *needs)
{
	const char *name, *label = "needs";
	json_t *n;
	json_object_foreach(needs, name, n)
	{
		MEMO_AUTO_BUF struct memo_buf line = { 0 };
		const char *version = memo_json_string(n, "version", NULL),
			   *each = memo_json_string(n, "each", NULL);
		(void)memo_buf_printf(&line, "%s: task %s%s%s", name, memo_json_string(n, "task", "?"),
				      version != NULL ? " version " : "", version != NULL ? version : "");
		if (each != NULL)
			(void)memo_buf_printf(&line, ", one for each of %s", each);
		if (json_object_size(json_object_get(n, "inputs")) > 0) {
			(void)memo_buf_puts(&line, ", with ");
			cli_put_json(&line, json_object_get(n, "inputs"));
		}
		put_field(b, label, memo_buf_str(&line));
		label = "";
	}
}

static void put_command(struct memo_buf *b, const json_t *definition)
{
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	const json_t *argv = json_object_get(definition, "command");
	size_t i;
	json_t *word;
	if (argv == NULL) {
		put_field(b, "script", memo_json_string(definition, "script", "?"));
		return;
	}
	json_array_foreach(argv, i, word)
	{
		const char *text = json_string_value(word);
		bool plain = text != NULL && text[0] != '\0' && strpbrk(text, " \t\n'\"\\$`*?;|&<>()") == NULL;
		(void)memo_buf_puts(&line, i > 0 ? " " : "");
		(void)memo_buf_printf(&line, plain ? "%s" : "'%s'", text != NULL ? text : "?");
	}
	put_field(b, "command", memo_buf_str(&line));
}

static void put_code(struct memo_buf *b, const json_t *code)
{
	size_t i;
	json_t *f;
	json_array_foreach(code, i, f)
	{
		MEMO_AUTO_BUF struct memo_buf line = { 0 };
		(void)memo_buf_printf(&line, "%s  %lld bytes  sha256 %.16s", memo_json_string(f, "path", "?"),
				      (long long)memo_json_int(f, "size", 0), memo_json_string(f, "sha256", ""));
		put_field(b, i == 0 ? "code" : "", memo_buf_str(&line));
	}
}

static void put_registered(struct memo_buf *b, const json_t *t)
{
	time_t when = (time_t)memo_json_int(t, "registered", 0);
	struct tm tm;
	char text[64];
	if (when > 0 && localtime_r(&when, &tm) != NULL &&
	    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm) > 0)
		put_field(b, "registered", text);
}

static void put_shown(struct memo_buf *b, const json_t *t)
{
	const json_t *def = json_object_get(t, "definition");
	MEMO_AUTO_BUF struct memo_buf version = { 0 };
	(void)memo_buf_printf(&version, "%s (%s%s)", memo_json_string(t, "version", "?"),
			      memo_json_bool(t, "declared", false) ? "declared" : "from the code",
			      memo_json_bool(t, "latest", false) ? ", latest" : "");
	put_field(b, "task", memo_json_string(t, "name", "?"));
	put_field(b, "version", memo_buf_str(&version));
	if (memo_json_string(t, "description", NULL) != NULL)
		put_field(b, "description", memo_json_string(t, "description", ""));
	put_inputs(b, json_object_get(t, "inputs"), json_object_get(def, "inputs"));
	put_needs(b, json_object_get(def, "needs"));
	put_command(b, def);
	put_field(b, "output", memo_json_string(t, "output", "?"));
	static const char *const more[] = { "verify", "env",   "tools",	      "requirements",
					    "hints",  "cache", "max_retries", "temporary_fail_codes",
					    "abandon" };
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
		MEMO_AUTO_BUF struct memo_buf line = { 0 };
		if (json_object_get(def, more[i]) == NULL)
			continue;
		cli_put_json(&line, json_object_get(def, more[i]));
		put_field(b, more[i], memo_buf_str(&line));
	}
	put_code(b, json_object_get(t, "code"));
	put_field(b, "fingerprint", memo_json_string(t, "fingerprint", "?"));
	put_registered(b, t);
	put_field(b, "results", memo_json_string(t, "results", "?"));
}

static int run_show(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s}", "op", "show", "task", c->arg[0]), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)json_object_del(reply, "ok");
	if (cli_value(c, "json") != NULL)
		cli_put_line(&b, reply);
	else
		put_shown(&b, reply);
	return cli_write(&b);
}

const struct cli_command cli_show = {
	.name = "show",
	.arguments = "TASK[@VERSION]",
	.summary = "show one task",
	.about = "Shows a task's definition: inputs with types and defaults, needs, command, code files, "
		 "fingerprint, and\n"
		 "where its results are below the mount.",
	.example = "memofs show align@1.2.0",
	.option = { { 'j', "json", NULL, "as a JSON object" } },
	.least = 1,
	.most = 1,
	.run = run_show,
};

static int run_remove(struct cli *c)
{
	MEMO_AUTO_JSON json_t *reply = NULL;
	int s = cli_open(c, NULL);
	if (s == CLI_DONE)
		s = cli_call(c, json_pack("{s:s, s:s}", "op", "remove", "task", c->arg[0]), NULL, NULL, &reply);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *t;
	json_array_foreach(json_object_get(reply, "removed"), i, t)
	{
		cli_put(&b, memo_json_string(t, "name", "?"));
		(void)memo_buf_putc(&b, ' ');
		cli_put(&b, memo_json_string(t, "version", "(all versions)"));
		(void)memo_buf_puts(&b, " removed\n");
	}
	return cli_write(&b);
}

const struct cli_command cli_remove = {
	.name = "remove",
	.arguments = "TASK[@VERSION]",
	.summary = "remove a task from the registry",
	.about = "Removes one version of a task, or all of them. Results stay in the store: adding the same task "
		 "again finds\n"
		 "them.",
	.example = "memofs remove align@1.1.0",
	.least = 1,
	.most = 1,
	.run = run_remove,
};
