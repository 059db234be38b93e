/* Receipt: a small file that says by itself what was committed, so that the manifest can be rebuilt.
 *
 *	memofs-receipt 1 <64 hex: SHA-256 of what follows this line>
 *	<the record as JSON>
 *
 * Of a result: <64 hex of the identity>, written by temporary file, fsync, rename, fsync of the directory
 *	DIR/receipts/recent.0, recent.1   those that the manifest may have in its log alone
 *	DIR/receipts/xx                   those whose records were in tables on the disk at a checkpoint
 * New ones go into one of the recent directories. A checkpoint begins by making the other one that (with no publication
 * between its receipt and its batch, see memo_receipts_hold), flushes the manifest, and then moves what the first one holds. So
 * whatever a crash takes from the manifest, the receipts that speak for it are among the recent ones, a few thousand.
 * Of a registered task version: DIR/receipts/tasks/<64 hex of SHA-256 over name NUL version>. */
#ifndef MEMO_STORE_RECEIPT_H
#define MEMO_STORE_RECEIPT_H

#include "internal.h"

#define MEMO_RECEIPT_BYTES ((size_t)256 << 20)

/* Open at start, NULL-safe close. */
MEMO_MUST int memo_receipts_open(struct memo_store *s);
void memo_receipts_close(struct memo_store *s);
/* Around receipt and batch of one publication: no checkpoint comes between them. Not to be taken twice by a thread. */
void memo_receipts_hold(struct memo_store *s);
void memo_receipts_let_go(struct memo_store *s);
/* The batch of @identity's receipt failed, or went well after all: while one that failed is left, receipts stay recent. */
void memo_receipts_unsure(struct memo_store *s, const struct memo_id *identity, bool unsure);
/* A checkpoint when there is reason for one (MEMO_RECEIPTS_RECENT), or @now; a failure costs nothing but time at the next start.
 * No lock is held.  */
#define MEMO_RECEIPTS_RECENT 4096
void memo_receipts_checkpoint(struct memo_store *s, bool now);
/* At start, after all have been compared and the manifest was flushed. */
MEMO_MUST int memo_receipts_settle(struct memo_store *s);
bool memo_receipts_settled(struct memo_store *s);

MEMO_MUST int memo_receipt_write(struct memo_store *s, const struct memo_id *identity, const json_t *record,
				 struct memo_err *err);
/* -ENOENT; -EBADMSG: damaged. */
MEMO_MUST int memo_receipt_read(struct memo_store *s, const struct memo_id *identity, json_t **out);
/* Where that one is, below receipts/. -ENOENT. */
#define MEMO_RECEIPT_PATH (MEMO_HEX_SIZE + 16)
MEMO_MUST int memo_receipt_path(struct memo_store *s, const struct memo_id *identity, char out[MEMO_RECEIPT_PATH]);
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

/* Receipts of results: the recent ones; those of shard @shard (0 to 255); of registered tasks. A damaged one goes to
 * quarantine and counts in *@damaged. A negative return of @fn ends the walk. */
typedef int memo_receipt_fn(void *arg, const struct memo_id *identity, const json_t *record);
MEMO_MUST int memo_receipt_each_recent(struct memo_store *s, memo_receipt_fn *fn, void *arg, size_t *damaged);
MEMO_MUST int memo_receipt_each_in(struct memo_store *s, unsigned shard, memo_receipt_fn *fn, void *arg,
				   size_t *damaged);
MEMO_MUST int memo_receipt_each_task(struct memo_store *s, memo_receipt_fn *fn, void *arg, size_t *damaged);

#endif
