/* A job as it is kept: in the attempt directory for the worker, with the result for people. */
#include "job.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>

int memo_job_write(const struct memo_job *j, const char *attempt, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	int code = memo_job_encode(j, &text);
	if (code < 0)
		return memo_fail(err, code, "cannot describe the job: %s", memo_strerror(code));
	MEMO_AUTO_FREE char *path = memo_io_join(attempt, "job.json");
	MEMO_AUTO_FD int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	code = fd < 0 ? memo_errno() : memo_io_write_all(fd, text.data, text.len);
	return code < 0
		       ? memo_fail(err, code, "cannot write the job file in '%s': %s", attempt, memo_strerror(code))
		       : 0;
}

int memo_job_exit(const char *attempt, struct memo_exit *out, struct memo_err *err)
{
	MEMO_AUTO_FREE char *path = memo_io_join(attempt, "exit.json");
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	int code = path == NULL ? -ENOMEM : memo_io_read_file(AT_FDCWD, path, MEMO_ATTEMPT_RECORD_BYTES, &text);
	if (code < 0)
		return memo_fail(err, code, "cannot read the exit record: %s", memo_strerror(code));
	return memo_exit_decode(text.data, text.len, out, err);
}

json_t *memo_job_json(const struct memo_job *j)
{
	json_t *o = json_object();
	json_t *argv = json_array();
	json_t *inputs = json_array();
	int r = memo_json_set(o, "argv", argv);
	if (r == 0)
		r = memo_json_set(o, "inputs", inputs);
	else
		json_decref(inputs);
	for (size_t i = 0; r == 0 && i < j->argc; i++)
		r = memo_json_push(argv, json_string(j->argv[i]));
	for (size_t i = 0; r == 0 && i < j->inputs; i++)
		r = memo_json_push(inputs, json_pack("{s:s, s:s, s:b}", "to", j->input[i].to, "from",
						     j->input[i].from, "exec", j->input[i].exec));
	if (r == 0)
		r = json_object_set(o, "env", j->env) < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = memo_json_set(o, "stdout", json_boolean(j->output_path == NULL));
	if (r < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static void quote(struct memo_buf *b, const char *text)
{
	(void)memo_buf_putc(b, '\'');
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '\'')
			(void)memo_buf_puts(b, "'\\''");
		else
			(void)memo_buf_putc(b, *c);
	}
	(void)memo_buf_putc(b, '\'');
}

void memo_job_say_sandbox(const json_t *sandbox, struct memo_buf *out)
{
	static const char *const part[] = { "files", "network", "processes", "memory" };
	const char *missing = memo_json_string(sandbox, "missing", NULL);
	(void)memo_buf_puts(out, memo_json_string(sandbox, "level", "unknown"));
	for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
		(void)memo_buf_printf(out, "; %s: %s", part[i], memo_json_string(sandbox, part[i], "unknown"));
	if (missing != NULL)
		(void)memo_buf_printf(out, "; missing: %s", missing);
}

int memo_job_script(const json_t *command, const json_t *sandbox, const char *title, struct memo_buf *out)
{
	(void)memo_buf_printf(
		out,
		"#!/bin/sh\n# %s\n# Repeats the execution by hand, in a new directory; the result is not stored.\n",
		title);
	if (sandbox != NULL) {
		(void)memo_buf_printf(
			out, "# It ran with the sandbox '%s': ", memo_json_string(sandbox, "setting", "unknown"));
		memo_job_say_sandbox(sandbox, out);
		(void)memo_buf_puts(out, ".\n# This script runs without.\n");
	}
	(void)memo_buf_puts(out, "set -e\ntop=$(mktemp -d)\nmkdir -p \"$top/work\"\ncd \"$top/work\"\n");
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(command, "inputs"), i, e)
	{
		const char *to = memo_json_string(e, "to", "");
		(void)memo_buf_puts(out, "to=");
		quote(out, to);
		(void)memo_buf_puts(out, "; mkdir -p -- \"$(dirname -- \"$to\")\"; ");
		(void)memo_buf_puts(out, memo_json_bool(e, "exec", false) ? "install -m 0755 -- " : "ln -s -- ");
		quote(out, memo_json_string(e, "from", ""));
		(void)memo_buf_puts(out, " \"$to\"\n");
	}
	(void)memo_buf_puts(out, "exec env -i HOME=\"$PWD\" TMPDIR=\"$PWD\"");
	const char *key;
	json_object_foreach(json_object_get(command, "env"), key, e)
	{
		(void)memo_buf_printf(out, " \\\n\t%s=", key);
		quote(out, json_is_string(e) ? json_string_value(e) : "");
	}
	(void)memo_buf_puts(out, " \\\n\t");
	json_array_foreach(json_object_get(command, "argv"), i, e)
	{
		(void)memo_buf_putc(out, ' ');
		quote(out, json_is_string(e) ? json_string_value(e) : "");
	}
	(void)memo_buf_putc(out, '\n');
	return memo_buf_error(out);
}
