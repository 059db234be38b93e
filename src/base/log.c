#include "log.h"

#include "io.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct {
	enum memo_log_level level;
	int fd;
} sink = { .level = MEMO_LOG_INFO, .fd = 2 };

void memo_log_setup(enum memo_log_level level, int fd)
{
	sink.level = level;
	sink.fd = fd;
}

/* Length of the well-formed UTF-8 sequence at @s (RFC 3629), 0 if it is none. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || left < want)
		return 0;
	for (size_t i = 1; i < want; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return want;
}

int memo_log_escape(struct memo_buf *b, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t i = 0;
	while (i < len) {
		size_t n = utf8_len(s + i, len - i);
		/* C0, DEL, and C1 (U+0080 to U+009F), which terminals obey too */
		if (n == 0 || s[i] < 0x20 || s[i] == 0x7f || (s[i] == 0xc2 && n == 2 && s[i + 1] < 0xa0)) {
			size_t bad = n == 0 ? 1 : n;
			for (size_t k = 0; k < bad; k++)
				(void)memo_buf_printf(b, "\\x%02x", s[i + k]);
			i += bad;
			continue;
		}
		(void)memo_buf_append(b, s + i, n);
		i += n;
	}
	return memo_buf_error(b);
}

void memo_log(enum memo_log_level level, const char *fmt, ...)
{
	static const char *const name[] = { "error", "warning", "info", "debug" };
	if (level > sink.level)
		return;
	char text[4096];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32] = "";
	if (gmtime_r(&now, &tm) != NULL)
		(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)memo_buf_printf(&line, "%s %s: ", stamp, name[level]);
	(void)memo_log_escape(&line, text, strlen(text));
	(void)memo_buf_putc(&line, '\n');
	if (memo_buf_error(&line) == 0 && memo_io_write_all(sink.fd, line.data, line.len) < 0)
		return; /* there is nobody left to tell */
}
