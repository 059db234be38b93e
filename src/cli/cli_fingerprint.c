/* fingerprint: what of a code file counts, told without a store. */
#include "cli.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/fingerprint.h"
#include "core/task.h"

#include <fcntl.h>
#include <string.h>

static int put(const struct cli *c, const char *name, const struct memo_fingerprint *f, struct memo_buf *b)
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(&f->id, hex);
	if (cli_value(c, "json") != NULL) {
		MEMO_AUTO_JSON json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s?}", "file", name, "digest", hex,
						     "method", f->method, "number", f->number, "language",
						     f->language, "reason", f->reason);
		if (o == NULL)
			return cli_nomem();
		cli_put_line(b, o);
		return CLI_DONE;
	}
	(void)memo_buf_printf(b, "%s  %s/%d  %s  ", hex, f->method, f->number, f->language);
	cli_put(b, name);
	if (f->reason != NULL)
		(void)memo_buf_printf(b, "  (%s)", f->reason);
	(void)memo_buf_putc(b, '\n');
	return CLI_DONE;
}

static int one(const struct cli *c, const char *name, struct memo_buf *b)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	struct memo_fingerprint f;
	struct memo_err err = { 0 };
	int r = memo_io_read_file(AT_FDCWD, name, MEMO_TASK_CODE_BYTES, &text);
	if (r < 0) {
		cli_say("%s: %s", name, r == -EFBIG ? "too large for a code file" : memo_strerror(r));
		return CLI_USAGE;
	}
	r = memo_fingerprint_file(name, memo_buf_str(&text), text.len, &f, &err);
	return r < 0 ? cli_fail(CLI_TROUBLE, &err) : put(c, name, &f, b);
}

/* A file that cannot be read does not hold up the others. */
static int run_fingerprint(struct cli *c)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int status = CLI_DONE;
	for (int i = 0; i < c->args; i++) {
		int s = one(c, c->arg[i], &b);
		status = s > status ? s : status;
	}
	int s = cli_write(&b);
	return s > status ? s : status;
}

const struct cli_command cli_fingerprint = {
	.name = "fingerprint",
	.arguments = "FILE...",
	.summary = "what of a code file counts for identity",
	.about = "Prints for each code file its digest, the method that made it with its number, the language, and "
		 "the\n"
		 "reason where the file counts byte for byte. Other methods leave comments and empty lines out;\n"
		 "those whose name ends in -lines keep the line numbers.",
	.example = "memofs fingerprint align/run.sh align/lib/*.py",
	.option = { { 'j', "json", NULL, "as JSON Lines" } },
	.least = 1,
	.most = -1,
	.run = run_fingerprint,
};
