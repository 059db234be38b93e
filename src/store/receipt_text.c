/* See receipt_text.h. The checksum comes first: nothing is parsed that was not written here. */
#include "receipt_text.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define HEAD "memofs-receipt 1 "
#define HEAD_LEN (sizeof HEAD - 1)
#define HEAD_BYTES (HEAD_LEN + MEMO_HEX_LEN + 1)

int memo_receipt_encode(const json_t *record, struct memo_buf *out)
{
	MEMO_AUTO_BUF struct memo_buf body = { 0 };
	int r = memo_json_append(record, &body);
	if (r == 0)
		r = memo_buf_putc(&body, '\n');
	struct memo_id sum;
	if (r == 0)
		r = memo_hash_bytes(body.data, body.len, &sum);
	if (r < 0)
		return r;
	char hex[MEMO_HEX_SIZE];
	(void)memo_buf_printf(out, "%s%s\n", HEAD, memo_id_hex(&sum, hex));
	(void)memo_buf_append(out, body.data, body.len);
	return memo_buf_error(out);
}

int memo_receipt_decode(const char *data, size_t len, json_t **out)
{
	if (len < HEAD_BYTES || memcmp(data, HEAD, HEAD_LEN) != 0 || data[HEAD_BYTES - 1] != '\n')
		return -EBADMSG;
	char hex[MEMO_HEX_SIZE];
	memcpy(hex, data + HEAD_LEN, MEMO_HEX_LEN);
	hex[MEMO_HEX_LEN] = '\0';
	struct memo_id want;
	struct memo_id sum;
	if (memo_id_parse(hex, &want) < 0)
		return -EBADMSG;
	int r = memo_hash_bytes(data + HEAD_BYTES, len - HEAD_BYTES, &sum);
	if (r < 0)
		return r;
	json_t *j;
	if (!memo_id_equal(&want, &sum) || memo_json_parse(data + HEAD_BYTES, len - HEAD_BYTES, &j, NULL) < 0)
		return -EBADMSG;
	if (!json_is_object(j)) {
		json_decref(j);
		return -EBADMSG;
	}
	*out = j;
	return 0;
}
