/* Hash: SHA-256 (FIPS 180-4, by libcrypto) and the 32-byte names that are made of it. */
#ifndef MEMO_BASE_HASH_H
#define MEMO_BASE_HASH_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_ID_BYTES 32
#define MEMO_HEX_LEN 64
#define MEMO_HEX_SIZE 65 /* with the NUL */

/* A digest: identity, output hash, object name. */
struct memo_id {
	unsigned char byte[MEMO_ID_BYTES];
};

struct memo_hash; /* a running digest; one thread at a time */

/* NULL: out of memory. */
struct memo_hash *memo_hash_new(void);
void memo_hash_free(struct memo_hash *h);
MEMO_MUST int memo_hash_update(struct memo_hash *h, const void *data, size_t len);
/* The digest so far; @h starts afresh. */
MEMO_MUST int memo_hash_final(struct memo_hash *h, struct memo_id *id_out);

MEMO_MUST int memo_hash_bytes(const void *data, size_t len, struct memo_id *id_out);
/* Digest of @fd from offset 0 to its end, by pread; *@size_out: the bytes that were hashed (may be NULL). */
MEMO_MUST int memo_hash_fd(int fd, struct memo_id *id_out, uint64_t *size_out);

bool memo_id_equal(const struct memo_id *a, const struct memo_id *b);
/* Lower-case hex with NUL; returns @hex. */
char *memo_id_hex(const struct memo_id *id, char hex[MEMO_HEX_SIZE]);
/* Exactly 64 lower-case hex digits, followed by NUL; else -EINVAL. */
MEMO_MUST int memo_id_parse(const char *hex, struct memo_id *id_out);

#endif
