/* Manifest: ordered tables of bytes on RocksDB. The only module that knows RocksDB.
 *
 *	open -> get / write / scan from any thread -> close (no call in flight)
 *
 * Keys are binary and prefix-free: text parts hold no NUL and are ended by one (memo_key), digests have a fixed length.
 * A batch is ours, not RocksDB's, because it has to outlive a handle: RocksDB can not be believed after a failed write, so
 * the handle is closed and opened again, and the batch, which only sets absolute values, is applied once more.
 *
 * A call that meets damage rebuilds the database before it goes on (memo_manifest_on_damage); the others wait for that.
 *
 * Errors: -ENOENT is absence and nothing else is. -ENOSPC and -EDQUOT as they are, all else is -EIO.
 * Durable: a write survives kill -9; with @sync power loss too; a bulk write nothing before the next checkpoint. */
#ifndef MEMO_STORE_MANIFEST_H
#define MEMO_STORE_MANIFEST_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memo_table {
	MEMO_META, /* "ino", "whole", "alias" NUL raw identity, "active" NUL identity, "code" NUL fingerprint, "counters" NUL task,
		    * "note" NUL key, "use" NUL identity, "collector" */
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

/* meta: there when all that the receipts have is in the manifest. */
#define MEMO_META_WHOLE "whole"

enum memo_manifest_found {
	MEMO_MANIFEST_WHOLE, /* all that was there at the last checkpoint, and what the log has since */
	MEMO_MANIFEST_UNSURE, /* nothing is known to be missing, and nothing proves that all is there */
	MEMO_MANIFEST_SALVAGED, /* it was damaged: records may be old or missing */
	MEMO_MANIFEST_EMPTY, /* made anew */
};

/* @dir: the store; the database is DIR/db. Opens it in recovery mode 0; when RocksDB refuses, a copy goes to DIR/quarantine
 * (the newest three stay), then in mode 2, then what can be read of it is copied into a new one.
 * @notice (may be NULL) gets a line for each repair. */
MEMO_MUST int memo_manifest_open(const char *dir, struct memo_buf *notice, enum memo_manifest_found *found_out,
				 struct memo_manifest **out, struct memo_err *err);
/* Checkpoint (below) and close. NULL-safe. Negative: not everything could be flushed; the next open must look. */
int memo_manifest_close(struct memo_manifest *m);

/* A call met damage and the database was rebuilt from what can be read of it: @fn puts back what the receipts tell. It runs in
 * the thread of that call, which may hold any lock of the store, while all others wait for the manifest: it must take
 * none, and may use the manifest. @said: lines that say what was done. */
typedef int memo_heal_fn(void *arg, const char *said, struct memo_err *err);
void memo_manifest_on_damage(struct memo_manifest *m, memo_heal_fn *fn, void *arg);
/* How many times that was done. */
uint64_t memo_manifest_heals(const struct memo_manifest *m);

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
/* In @ops, each followed by the key and the value. */
struct memo_batch_op {
	uint32_t table;
	uint32_t put; /* 0: delete */
	size_t key_len;
	size_t value_len;
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

/* Many rows at once, for a rebuild: lost altogether when the process ends before memo_manifest_checkpoint(). */
MEMO_MUST int memo_manifest_write_bulk(struct memo_manifest *m, const struct memo_batch *b, struct memo_err *err);
/* All that was written so far is in the tables, on the disk, and DIR/checkpoint says so (manifest_files.h). */
MEMO_MUST int memo_manifest_checkpoint(struct memo_manifest *m, struct memo_err *err);

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
