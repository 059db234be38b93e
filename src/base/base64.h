/* Base64 (RFC 4648 section 4, with padding, no line breaks), by libcrypto: how bytes travel inside JSON. */
#ifndef MEMO_BASE_BASE64_H
#define MEMO_BASE_BASE64_H

#include "error.h"

#include <stddef.h>

#define MEMO_BASE64_BYTES ((size_t)256 << 20) /* the most that is encoded or decoded at once */

/* free() it; NULL: out of memory, or more than MEMO_BASE64_BYTES. */
char *memo_base64_encode(const void *data, size_t len);
/* *@out is malloc'd and followed by a NUL that does not count. -EPROTO: not base64 (padding only at the end); -EFBIG. */
MEMO_MUST int memo_base64_decode(const char *text, unsigned char **out, size_t *len_out);

#endif
