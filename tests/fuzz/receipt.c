/* Fuzz target: receipts. Any bytes are read or refused; what is read comes back from what is written of it; and since no fuzzer
 * guesses a SHA-256, the same bytes are tried with the right one in front of them, and with a bit of that turned over. */
#include "base/hash.h"
#include "base/json.h"
#include "store/receipt_text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SUM_AT 17 /* of the checksum in the text */

static void must(int so)
{
	if (!so)
		abort();
}

static int try_text(const char *text, size_t len)
{
	json_t *one = NULL, *two = NULL;
	struct memo_buf b = { 0 };
	int r = memo_receipt_decode(text, len, &one);
	if (r < 0) {
		must(r == -EBADMSG && one == NULL);
		return r;
	}
	must(json_is_object(one));
	must(memo_receipt_encode(one, &b) == 0);
	must(memo_receipt_decode(b.data, b.len, &two) == 0);
	must(json_equal(one, two));
	json_decref(one);
	json_decref(two);
	memo_buf_clear(&b);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memo_buf b = { 0 };
	struct memo_id sum;
	char hex[MEMO_HEX_SIZE];
	(void)try_text((const char *)data, size);
	must(memo_hash_bytes(data, size, &sum) == 0);
	must(memo_buf_printf(&b, "memofs-receipt 1 %s\n", memo_id_hex(&sum, hex)) == 0);
	must(memo_buf_append(&b, data, size) == 0);
	(void)try_text(b.data, b.len);
	b.data[SUM_AT] = b.data[SUM_AT] == '0' ? '1' : '0';
	must(try_text(b.data, b.len) == -EBADMSG);
	memo_buf_clear(&b);
	return 0;
}
