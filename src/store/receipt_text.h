/* The text of a receipt:
 *
 *	memofs-receipt 1 <64 hex: SHA-256 of what follows this line>
 *	<the record as JSON>
 *
 * Pure. */
#ifndef MEMO_STORE_RECEIPT_TEXT_H
#define MEMO_STORE_RECEIPT_TEXT_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* Appended to @out. */
MEMO_MUST int memo_receipt_encode(const json_t *record, struct memo_buf *out);
/* -EBADMSG: not the bytes that were written. */
MEMO_MUST int memo_receipt_decode(const char *data, size_t len, json_t **out);

#endif
