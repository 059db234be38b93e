/* Manifest: ordered tables of bytes on RocksDB. The only module that knows RocksDB.
 *
 *	open -> get / write / scan from any thread -> close (no call in flight)
 *
 * Keys are binary and prefix-free: text parts hold no NUL and are ended by one (memo_key), digests have a fixed length.
 * A batch is ours, not RocksDB's, because it has to outlive a handle: RocksDB can not be believed after a failed write, so
 * the handle is closed and opened again, and the batch, which only sets absolute values, is applied once more.
 *
 * Errors: -ENOENT is absence and nothing else is. -ENOSPC and -EDQUOT as they are, all else is -EIO.
 * Durable: a write survives kill -9; with @sync power loss too. */
#ifndef MEMO_STORE_MANIFEST_H
#define MEMO_STORE_MANIFEST_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum memo_table {
	MEMO_META, /* "ino", "whole", "alias" NUL raw identity, "active" NUL identity, "code" NUL fingerprint, "counters" NUL task,
		    * "use" NUL identity, "collector" */
	MEMO_TASKS, /* name NUL version */
	MEMO_LATEST, /* name */
	MEMO_INSTANCES, /* identity */
	MEMO_NAMES, /* task NUL version NUL component */
	MEMO_HISTORY, /* identity, sequence (8 bytes, big-endian) */
	MEMO_RUNS,
	MEMO_RUN_INSTANCES,
	MEMO_OBJECTS, /* output hash; output hash, identity of a result that has it */
	MEMO_DIGESTS, /* path */
	MEMO_HANDLES, /* task NUL version NUL 64 hex of the inputs digest */
	MEMO_TABLES
};

struct memo_manifest;

enum memo_manifest_found {
	MEMO_MANIFEST_WHOLE,
	MEMO_MANIFEST_SALVAGED, /* opened without the end of a damaged log: records may be old or missing */
	MEMO_MANIFEST_EMPTY, /* made anew */
};

/* @dir: the store; the database is DIR/db, and what can not be opened is moved to DIR/quarantine.
 * @notice (may be NULL) gets a line for each repair. -ENOTSUP: DIR/db is on a network file system. */
MEMO_MUST int memo_manifest_open(const char *dir, struct memo_buf *notice, enum memo_manifest_found *found_out,
				 struct memo_manifest **out, struct memo_err *err);
/* Flushes the memory tables, so that the next open is quick, and closes. NULL-safe. */
void memo_manifest_close(struct memo_manifest *m);

/* The value is appended to @out. */
MEMO_MUST int memo_manifest_get(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
				struct memo_buf *out, struct memo_err *err);
/* The value read as JSON; what is not an object is -EIO. */
MEMO_MUST int memo_manifest_get_json(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
				     json_t **out, struct memo_err *err);

/* Changes that take effect together. Start with {0}; a failed append is remembered and write() reports it. */
struct memo_batch {
	struct memo_buf ops;
};
void memo_batch_clear(struct memo_batch *b);
#define MEMO_AUTO_BATCH __attribute__((cleanup(memo_batch_clear)))
void memo_batch_put(struct memo_batch *b, enum memo_table table, const void *key, size_t len, const void *value,
		    size_t value_len);
void memo_batch_put_json(struct memo_batch *b, enum memo_table table, const void *key, size_t len,
			 const json_t *value);
void memo_batch_delete(struct memo_batch *b, enum memo_table table, const void *key, size_t len);

/* After an error the batch may or may not be there: whoever cares reads again. */
MEMO_MUST int memo_manifest_write(struct memo_manifest *m, const struct memo_batch *b, bool sync,
				  struct memo_err *err);

/* Called for each row in key order: 0 goes on, positive ends the scan with success, negative with that error. Must not
 * call the manifest. */
typedef int memo_row_fn(void *arg, const void *key, size_t len, const void *value, size_t value_len);
/* Rows whose key begins with @prefix, from @from on (NULL: from the first). Returns what ended it: 0 the last row, or
 * what the callback said. */
MEMO_MUST int memo_manifest_scan(struct memo_manifest *m, enum memo_table table, const void *prefix,
				 size_t prefix_len, const void *from, size_t from_len, memo_row_fn *fn, void *arg,
				 struct memo_err *err);

/* Appends "a NUL b NUL c"; parts from the first NULL on are left out with the NUL before them. */
int memo_key(struct memo_buf *k, const char *a, const char *b, const char *c);

#endif
