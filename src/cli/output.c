/* Output: everything that a command prints goes through here. Names, messages and logs come from outside, so that none of
 * them may drive the terminal. A standard output that cannot be written to is an error of the command, whatever it did. */
#include "cli.h"

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SAY_BYTES 4096
#define LOG_HELD ((size_t)64 << 10)

static bool pipe_closed;
static bool output_failed;

bool cli_output_failed(void)
{
	return output_failed;
}

bool cli_pipe_closed(void)
{
	return pipe_closed;
}

static void say(const char *fmt, va_list ap)
{
	char text[SAY_BYTES];
	int n = vsnprintf(text, sizeof text, fmt, ap);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_puts(&b, "memofs: ");
	(void)memo_log_escape(&b, text, n < 0 ? 0 : strlen(text));
	(void)memo_buf_putc(&b, '\n');
	if (memo_io_write_all(2, memo_buf_str(&b), b.len) < 0)
		return; /* nobody listens */
}

void cli_say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

int cli_usage(const struct cli *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	cli_say("usage: memofs %s %s (memofs %s --help says more)", c->command->name, c->command->arguments,
		c->command->name);
	return CLI_USAGE;
}

int cli_fail(int status, const struct memo_err *err)
{
	cli_say("%s", err->code != 0 ? err->text : "something failed that nobody has words for");
	return status;
}

int cli_nomem(void)
{
	cli_say("out of memory");
	return CLI_TROUBLE;
}

void cli_put(struct memo_buf *b, const char *text)
{
	(void)memo_log_escape(b, text, strlen(text));
}

void cli_put_json(struct memo_buf *b, const json_t *j)
{
	if (json_is_string(j)) {
		cli_put(b, json_string_value(j));
		return;
	}
	MEMO_AUTO_FREE char *text = memo_json_text(j);
	cli_put(b, text != NULL ? text : "?");
}

/* The code point of a well-formed character of @n bytes. */
static unsigned code_point(const unsigned char *s, size_t n)
{
	unsigned c = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3fu);
	return c;
}

/* What JSON may hold as it is and a terminal must not see stands in strings only, where it can be spelled. */
void cli_put_line(struct memo_buf *b, const json_t *j)
{
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	if (memo_json_append(j, &line) < 0)
		return;
	const char *text = memo_buf_str(&line);
	size_t start = 0;
	for (size_t i = 0; i < line.len;) {
		size_t bad = (unsigned char)text[i] < 0x7f ? 0 : memo_log_harmful(text + i, line.len - i);
		if (bad == 0) {
			i++;
			continue;
		}
		(void)memo_buf_append(b, text + start, i - start);
		(void)memo_buf_printf(b, "\\u%04x", code_point((const unsigned char *)text + i, bad));
		i += bad;
		start = i;
	}
	(void)memo_buf_append(b, text + start, line.len - start);
	(void)memo_buf_putc(b, '\n');
}

int cli_write_bytes(const char *data, size_t len)
{
	if (pipe_closed)
		return CLI_DONE;
	int r = memo_io_write_all(1, data, len);
	if (r == -EPIPE) {
		pipe_closed = true;
		return CLI_DONE;
	}
	if (r < 0) {
		if (!output_failed)
			cli_say("standard output: %s", memo_strerror(r));
		output_failed = true;
		return CLI_TROUBLE;
	}
	return CLI_DONE;
}

int cli_write(const struct memo_buf *b)
{
	if (memo_buf_error(b) < 0)
		return cli_nomem();
	return b->len > 0 ? cli_write_bytes(b->data, b->len) : CLI_DONE;
}

static void put_raw(int fd, const char *data, size_t len)
{
	if (fd == 1)
		(void)cli_write_bytes(data, len);
	else if (memo_io_write_all(fd, data, len) < 0)
		return;
}

/* A line keeps its tabs, its end and carriage returns; all else that is a control character is spelled. */
static void put_safe(int fd, const char *data, size_t len)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t start = 0;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && data[i] != '\n' && data[i] != '\t' && data[i] != '\r')
			continue;
		(void)memo_log_escape(&b, data + start, i - start);
		if (i < len)
			(void)memo_buf_putc(&b, data[i]);
		start = i + 1;
	}
	put_raw(fd, memo_buf_str(&b), b.len);
}

void cli_write_log(int fd, struct memo_buf *held, const char *data, size_t len, bool end)
{
	if (!isatty(fd)) {
		put_raw(fd, data, len);
		return;
	}
	(void)memo_buf_append(held, data, len);
	size_t whole = held->len;
	if (!end && held->len < LOG_HELD) {
		while (whole > 0 && held->data[whole - 1] != '\n' && held->data[whole - 1] != '\r')
			whole--;
	}
	if (whole == 0)
		return;
	put_safe(fd, held->data, whole);
	memmove(held->data, held->data + whole, held->len - whole);
	held->len -= whole;
}
