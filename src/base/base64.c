#include "base64.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

char *memo_base64_encode(const void *data, size_t len)
{
	char *text = len > MEMO_BASE64_BYTES ? NULL : malloc(len / 3 * 4 + 5);
	if (text != NULL)
		(void)EVP_EncodeBlock((unsigned char *)text, data, (int)len);
	return text;
}

int memo_base64_decode(const char *text, unsigned char **out, size_t *len_out)
{
	size_t n = strlen(text);
	if (n / 4 * 3 > MEMO_BASE64_BYTES)
		return -EFBIG;
	/* padding anywhere but at the end would decode to bytes of nobody's choice */
	if (n % 4 != 0 || strcspn(text, "=") + 2 < n)
		return -EPROTO;
	unsigned char *data = malloc(n / 4 * 3 + 1);
	if (data == NULL)
		return -ENOMEM;
	int got = n > 0 ? EVP_DecodeBlock(data, (const unsigned char *)text, (int)n) : 0;
	if (got < 0) {
		free(data);
		return -EPROTO;
	}
	size_t pad = n == 0 ? 0 : (size_t)(text[n - 1] == '=') + (size_t)(text[n - 2] == '=');
	*len_out = (size_t)got - pad;
	data[*len_out] = '\0';
	*out = data;
	return 0;
}
