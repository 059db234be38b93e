/* Manifest files: the directory of the database as files, without RocksDB: is it what we left, and where do damaged ones go.
 *
 * DIR/checkpoint says which MANIFEST file of RocksDB was in force, how long it was and what its bytes hash to, at a moment when
 * everything committed had been flushed. RocksDB only ever appends to that file, and each table file that it names is checked
 * by RocksDB itself: so while the bytes up to that length are there, nothing of what was flushed then can have been lost
 * without an error. A MANIFEST that was cut (which RocksDB takes for an older state, without a word) is found so.
 *
 * No state of its own; called by whoever owns the store. Errors: negative errno. */
#ifndef MEMO_STORE_MANIFEST_FILES_H
#define MEMO_STORE_MANIFEST_FILES_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>

enum memo_db_state {
	MEMO_DB_NONE, /* there is no database */
	MEMO_DB_SOUND, /* it has all that the checkpoint had */
	MEMO_DB_UNSURE, /* nothing can be said: no checkpoint, or the database was opened anew since */
	MEMO_DB_DAMAGED, /* it lacks something that the checkpoint had */
};

/* Finishes or undoes a replacement that was cut short, puts a CURRENT right that names nothing, and says what is there.
 * @say gets a line for what was done. */
MEMO_MUST int memo_db_look(const char *dir, struct memo_buf *say, enum memo_db_state *out);
/* DIR/checkpoint, durable. Everything that counts has been flushed. */
MEMO_MUST int memo_db_seal(const char *dir);
/* A copy of DIR/db in quarantine (table files by hard link, they are never changed), the newest MEMO_DB_KEPT stay.
 * *@where_out: its absolute path (free() it). */
#define MEMO_DB_KEPT 3
MEMO_MUST int memo_db_keep(const char *dir, char **where_out);
/* DIR/db.new, empty, to be filled; DIR/db.new takes the place of DIR/db, which goes to quarantine, or is removed when
 * @kept (there is a copy). */
MEMO_MUST int memo_db_new(const char *dir);
MEMO_MUST int memo_db_swap(const char *dir, bool kept);
/* DIR/damaged: the database must be rebuilt at the next open, whatever it looks like. */
void memo_db_mark(const char *dir, bool damaged);
bool memo_db_marked(const char *dir);

#endif
