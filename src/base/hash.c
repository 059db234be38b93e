#include "hash.h"

#include "scope.h"

#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#define HASH_CHUNK ((size_t)256 << 10)

struct memo_hash {
	EVP_MD_CTX *ctx;
};

struct memo_hash *memo_hash_new(void)
{
	struct memo_hash *h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->ctx = EVP_MD_CTX_new();
	if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
		memo_hash_free(h);
		return NULL;
	}
	return h;
}

void memo_hash_free(struct memo_hash *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

int memo_hash_update(struct memo_hash *h, const void *data, size_t len)
{
	return EVP_DigestUpdate(h->ctx, data, len) == 1 ? 0 : -EIO;
}

int memo_hash_final(struct memo_hash *h, struct memo_id *id_out)
{
	unsigned len = 0;
	if (EVP_DigestFinal_ex(h->ctx, id_out->byte, &len) != 1 || len != MEMO_ID_BYTES)
		return -EIO;
	return EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

int memo_hash_bytes(const void *data, size_t len, struct memo_id *id_out)
{
	size_t out = 0;
	if (EVP_Q_digest(NULL, "SHA256", NULL, data, len, id_out->byte, &out) != 1)
		return -ENOMEM;
	return out == MEMO_ID_BYTES ? 0 : -EIO;
}

int memo_hash_fd(int fd, struct memo_id *id_out, uint64_t *size_out)
{
	MEMO_AUTO_FREE char *chunk = malloc(HASH_CHUNK);
	struct memo_hash *h = memo_hash_new();
	uint64_t at = 0;
	int r = chunk == NULL || h == NULL ? -ENOMEM : 0;
	while (r == 0) {
		ssize_t n = pread(fd, chunk, HASH_CHUNK, (off_t)at);
		if (n < 0) {
			r = memo_errno();
			if (r == -EINTR)
				r = 0;
			continue;
		}
		if (n == 0)
			break;
		r = memo_hash_update(h, chunk, (size_t)n);
		at += (uint64_t)n;
	}
	if (r == 0)
		r = memo_hash_final(h, id_out);
	memo_hash_free(h);
	if (r == 0 && size_out != NULL)
		*size_out = at;
	return r;
}

bool memo_id_equal(const struct memo_id *a, const struct memo_id *b)
{
	return memcmp(a->byte, b->byte, MEMO_ID_BYTES) == 0;
}

char *memo_id_hex(const struct memo_id *id, char hex[MEMO_HEX_SIZE])
{
	static const char digit[] = "0123456789abcdef";
	for (size_t i = 0; i < MEMO_ID_BYTES; i++) {
		hex[2 * i] = digit[id->byte[i] >> 4];
		hex[2 * i + 1] = digit[id->byte[i] & 15];
	}
	hex[MEMO_HEX_LEN] = '\0';
	return hex;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int memo_id_parse(const char *hex, struct memo_id *id_out)
{
	struct memo_id id;
	for (size_t i = 0; i < MEMO_ID_BYTES; i++) {
		int hi = nibble(hex[2 * i]);
		int lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);
		if (lo < 0)
			return -EINVAL;
		id.byte[i] = (unsigned char)(hi << 4 | lo);
	}
	if (hex[MEMO_HEX_LEN] != '\0')
		return -EINVAL;
	*id_out = id;
	return 0;
}
