#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void memo_buf_clear(struct memo_buf *b)
{
	free(b->data);
	*b = (struct memo_buf){ 0 };
}

void memo_buf_reset(struct memo_buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data != NULL)
		b->data[0] = '\0';
}

int memo_buf_reserve(struct memo_buf *b, size_t len)
{
	if (b->error < 0)
		return b->error;
	if (len > MEMO_BUF_MAX || b->len + len + 1 > MEMO_BUF_MAX)
		return b->error = -EFBIG;
	size_t need = b->len + len + 1;
	if (need <= b->cap)
		return 0;
	size_t cap = b->cap == 0 ? 64 : b->cap;
	while (cap < need)
		cap *= 2;
	char *p = realloc(b->data, cap);
	if (p == NULL)
		return b->error = -ENOMEM;
	b->data = p;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

int memo_buf_append(struct memo_buf *b, const void *bytes, size_t len)
{
	int r = memo_buf_reserve(b, len);
	if (r < 0)
		return r;
	if (len > 0)
		memcpy(b->data + b->len, bytes, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int memo_buf_puts(struct memo_buf *b, const char *s)
{
	return memo_buf_append(b, s, strlen(s));
}

int memo_buf_putc(struct memo_buf *b, char c)
{
	return memo_buf_append(b, &c, 1);
}

int memo_buf_printf(struct memo_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return b->error = -EINVAL;
	int r = memo_buf_reserve(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

int memo_buf_error(const struct memo_buf *b)
{
	return b->error;
}

const char *memo_buf_str(const struct memo_buf *b)
{
	return b->data != NULL ? b->data : "";
}

char *memo_buf_steal(struct memo_buf *b)
{
	if (memo_buf_reserve(b, 0) < 0)
		return NULL;
	char *p = b->data;
	*b = (struct memo_buf){ 0 };
	return p;
}
