/* Buf: growable bytes, always followed by a NUL that does not count.
 *
 *	struct memo_buf b = {0};  ...  memo_buf_clear(&b)      (or MEMO_AUTO_BUF)
 *
 * A failed append (out of memory, beyond MEMO_BUF_MAX) is remembered: later appends do nothing and
 * memo_buf_error() tells, so that a text can be put together without a test after each piece. */
#ifndef MEMO_BASE_BUF_H
#define MEMO_BASE_BUF_H

#include "error.h"

#include <stdarg.h>
#include <stddef.h>

#define MEMO_BUF_MAX ((size_t)1 << 31)

struct memo_buf {
	char *data; /* NULL while nothing was appended */
	size_t len;
	size_t cap;
	int error; /* 0 or negative errno */
};

void memo_buf_clear(struct memo_buf *b);
/* Forgets the content and the error, keeps the memory. */
void memo_buf_reset(struct memo_buf *b);
int memo_buf_append(struct memo_buf *b, const void *bytes, size_t len);
int memo_buf_puts(struct memo_buf *b, const char *s);
int memo_buf_putc(struct memo_buf *b, char c);
int memo_buf_printf(struct memo_buf *b, const char *fmt, ...) MEMO_PRINTF(2, 3);
/* Room for at least @len more bytes, at b->data + b->len. */
int memo_buf_reserve(struct memo_buf *b, size_t len);
MEMO_MUST int memo_buf_error(const struct memo_buf *b);
/* The text ("" when empty); valid until the next call on @b. */
const char *memo_buf_str(const struct memo_buf *b);
/* Hands the memory over (free() it); never NULL unless memo_buf_error(). */
char *memo_buf_steal(struct memo_buf *b);

#define MEMO_AUTO_BUF __attribute__((cleanup(memo_buf_clear)))

#endif
