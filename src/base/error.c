#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts a UTF-8 sequence that snprintf broke off at the end of the field. */
static void trim_utf8(char *text, size_t len)
{
	size_t i = len;
	while (i > 0 && ((unsigned char)text[i - 1] & 0xc0) == 0x80)
		i--;
	if (i == 0)
		return;
	unsigned char lead = (unsigned char)text[i - 1];
	size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	if (want > 1 && len - (i - 1) < want)
		text[i - 1] = '\0';
}

static void put_text(char *to, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(to, size, fmt, ap);
	if (n < 0)
		to[0] = '\0';
	else if ((size_t)n >= size)
		trim_utf8(to, size - 1);
}

int memo_fail(struct memo_err *err, int code, const char *fmt, ...)
{
	if (code >= 0)
		abort();
	if (err != NULL) {
		va_list ap;
		va_start(ap, fmt);
		put_text(err->text, sizeof err->text, fmt, ap);
		va_end(ap);
		err->code = code;
	}
	return code;
}

int memo_fail_prefix(struct memo_err *err, int code, const char *fmt, ...)
{
	if (code >= 0)
		abort();
	if (err == NULL)
		return code;
	char old[MEMO_ERR_TEXT];
	memcpy(old, err->text, sizeof old);
	int old_code = err->code;
	char head[MEMO_ERR_TEXT];
	va_list ap;
	va_start(ap, fmt);
	put_text(head, sizeof head, fmt, ap);
	va_end(ap);
	if (old_code == 0)
		return memo_fail(err, code, "%s: %s", head, memo_strerror(code));
	return memo_fail(err, old_code, "%s: %s", head, old);
}

const char *memo_strerror(int code)
{
	const char *s = strerrordesc_np(code < 0 ? -code : code);
	return s != NULL ? s : "unknown error";
}
