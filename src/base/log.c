#include "log.h"

#include "io.h"

#include <stdbool.h>
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

/* U+061C, U+200E, U+200F: marks of direction; U+2028, U+2029: separators of lines; U+202A to U+202E and U+2066 to U+2069:
 * embeddings, overrides and isolates. @n: length of the character. */
static bool reorders(const unsigned char *s, size_t n)
{
	if (n == 2)
		return s[0] == 0xd8 && s[1] == 0x9c;
	if (n != 3 || s[0] != 0xe2)
		return false;
	return s[1] == 0x80 ? s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae)
			    : s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9;
}

size_t memo_log_harmful(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = utf8_len(s, len);
	if (n == 0)
		return 1;
	/* C0, DEL, and C1 (U+0080 to U+009F), which terminals obey too */
	bool control = s[0] < 0x20 || s[0] == 0x7f || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
	return control || reorders(s, n) ? n : 0;
}

static void put_hex(struct memo_buf *b, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)memo_buf_printf(b, "\\x%02x", (unsigned char)text[i]);
}

int memo_log_escape(struct memo_buf *b, const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t bad = memo_log_harmful(text + i, len - i);
		if (bad > 0)
			put_hex(b, text + i, bad);
		else
			(void)memo_buf_putc(b, text[i]);
		/* the rest of a harmless character is none of the above by itself, but must not be looked at alone */
		size_t n = bad > 0 ? bad : utf8_len((const unsigned char *)text + i, len - i);
		if (bad == 0 && n > 1)
			(void)memo_buf_append(b, text + i + 1, n - 1);
		i += n;
	}
	return memo_buf_error(b);
}

/* In $'': quotes and backslashes, too. */
static void put_dollar(struct memo_buf *b, const char *text, size_t len)
{
	(void)memo_buf_puts(b, "$'");
	for (size_t i = 0; i < len;) {
		size_t bad = memo_log_harmful(text + i, len - i);
		if (bad > 0) {
			put_hex(b, text + i, bad);
			i += bad;
			continue;
		}
		size_t n = utf8_len((const unsigned char *)text + i, len - i);
		if (text[i] == '\'' || text[i] == '\\')
			(void)memo_buf_putc(b, '\\');
		(void)memo_buf_append(b, text + i, n);
		i += n;
	}
	(void)memo_buf_putc(b, '\'');
}

int memo_log_word(struct memo_buf *b, const char *text)
{
	size_t len = strlen(text);
	bool plain = len > 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		plain = plain && (letter || strchr("/._-=,%+@:", c) != NULL);
	}
	if (plain)
		return memo_buf_puts(b, text);
	for (size_t i = 0; i < len;) {
		if (memo_log_harmful(text + i, len - i) > 0 || text[i] == '\'') {
			put_dollar(b, text, len);
			return memo_buf_error(b);
		}
		i += utf8_len((const unsigned char *)text + i, len - i);
	}
	return memo_buf_printf(b, "'%s'", text);
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
