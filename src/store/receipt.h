/* Receipt: a small file that says by itself what was committed, so that the manifest can be rebuilt.
 *
 *	memofs-receipt 1 <64 hex: SHA-256 of what follows this line>
 *	<the record as JSON>
 *
 * Of a result: DIR/receipts/xx/<64 hex of the identity>. Of a registered task version: DIR/receipts/tasks/<64 hex of
 * SHA-256 over name NUL version>. Written by temporary file, fsync, rename, fsync of the directory. */
#ifndef MEMO_STORE_RECEIPT_H
#define MEMO_STORE_RECEIPT_H

#include "internal.h"

#define MEMO_RECEIPT_BYTES ((size_t)256 << 20)

MEMO_MUST int memo_receipt_write(struct memo_store *s, const struct memo_id *identity, const json_t *record,
				 struct memo_err *err);
/* -ENOENT; -EBADMSG: damaged. */
MEMO_MUST int memo_receipt_read(struct memo_store *s, const struct memo_id *identity, json_t **out);
/* Durable; absence is success. */
MEMO_MUST int memo_receipt_remove(struct memo_store *s, const struct memo_id *identity);

MEMO_MUST int memo_receipt_task_write(struct memo_store *s, const char *name, const char *version,
				      const json_t *record, struct memo_err *err);
MEMO_MUST int memo_receipt_task_remove(struct memo_store *s, const char *name, const char *version);
/* What its file is called. */
MEMO_MUST int memo_receipt_task_id(const char *name, const char *version, struct memo_id *out);
/* As memo_receipt_read(). */
MEMO_MUST int memo_receipt_task_read(struct memo_store *s, const char *name, const char *version, json_t **out);
/* The file @name below @dirfd. */
MEMO_MUST int memo_receipt_read_file(int dirfd, const char *name, json_t **out);

/* Each receipt of a result (@names_only: @record is NULL and nothing is read); of a registered task. A damaged one goes to
 * quarantine and counts in *@damaged. A negative return of @fn ends the walk. */
typedef int memo_receipt_fn(void *arg, const struct memo_id *identity, const json_t *record);
MEMO_MUST int memo_receipt_each(struct memo_store *s, bool names_only, memo_receipt_fn *fn, void *arg,
				size_t *damaged);
MEMO_MUST int memo_receipt_each_task(struct memo_store *s, memo_receipt_fn *fn, void *arg, size_t *damaged);

#endif
