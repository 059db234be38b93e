/* What the two files of the manifest share: the handle, and RocksDB's texts. Nobody else includes this. */
#ifndef MEMO_STORE_MANIFEST_PRIVATE_H
#define MEMO_STORE_MANIFEST_PRIVATE_H

#include "manifest.h"

#include "base/sync.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

enum memo_recovery { MEMO_TOLERATE_TAIL = 0, MEMO_POINT_IN_TIME = 2, MEMO_SKIP_DAMAGED = 3 };

#define FAMILIES (MEMO_TABLES + 1)
extern const char *const memo_family_name[FAMILIES];

struct memo_manifest {
	char *dir;
	char *path; /* DIR/db */
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;
	rocksdb_writeoptions_t *write_sync;
	rocksdb_writeoptions_t *write_bulk; /* without the log */

	pthread_rwlock_t handle; /* shared: use @db; exclusive: replace it */
	rocksdb_t *db; /* guarded by handle; NULL while it can not be opened */
	bool read_only; /* guarded by handle */
	rocksdb_column_family_handle_t *family[FAMILIES]; /* guarded by handle */
	int64_t revived_ns; /* guarded by handle: when the last reopening was tried */
	_Atomic bool dead; /* a write failed since the handle was opened */
	_Atomic int cause; /* what it failed with */

	memo_heal_fn *heal; /* set once, before other threads come */
	void *heal_arg;
	int64_t healed_ns; /* guarded by handle; 0: never */
	_Atomic uint64_t heals; /* changed with handle held exclusively */
	_Atomic bool healing; /* the thread @healer holds the handle and may use it through the calls below */
	pthread_t healer; /* set before @healing */
};

/* Takes RocksDB's text. Its codes do not come through the C interface, so the words have to do. -EUCLEAN: damage. */
int memo_manifest_fail(struct memo_err *err, char *text, const char *path, const char *what);
/* NULL: open. Else RocksDB's text. */
char *memo_manifest_open_handle(struct memo_manifest *m, enum memo_recovery mode, bool read_only);
void memo_manifest_close_handle(struct memo_manifest *m);
/* NULL: all memory tables are in tables on the disk. Else RocksDB's text. */
char *memo_manifest_flush(rocksdb_t *db, rocksdb_column_family_handle_t **family);
/* With the handle closed: a new database in the place of DIR/db, with what can be read of the one at @path. @kept: @path is a
 * copy of DIR/db; otherwise that one goes to quarantine. */
MEMO_MUST int memo_manifest_salvage(struct memo_manifest *m, const char *path, bool kept, struct memo_buf *say,
				    struct memo_err *err);
/* Handle closed. */
void memo_manifest_free(struct memo_manifest *m);

#endif
