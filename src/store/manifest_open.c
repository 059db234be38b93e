/* Opening the manifest, with the fallbacks, and what can be saved of a damaged one: see manifest.c.
 *
 * In order: as it is in mode 0; without the end of its log, in mode 2; a new database with every row that can be read of
 * the old one. Which rows are missing then, the receipts tell (recover.c). */
#include "manifest_private.h"

#include "base/io.h"
#include "base/scope.h"
#include "manifest_files.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_CACHE_BYTES ((size_t)32 << 20)
#define WRITE_BUFFER_BYTES ((size_t)16 << 20)
#define ALL_BUFFERS_BYTES ((size_t)64 << 20)
#define LOG_BYTES ((uint64_t)64 << 20)
#define OPEN_FILES 512
#define BLOOM_BITS 10
#define LOG_LEVEL_FATAL 4
#define TEXT_LOGS 2
#define BACKGROUND_JOBS 2
#define SALVAGE_BATCH ((size_t)1 << 20)

const char *const memo_family_name[FAMILIES] = {
	"meta", "tasks",	 "latest",  "instances", "names",   "history",
	"runs", "run_instances", "objects", "digests",	 "handles", "default",
};

/* The rows of one open database. */
struct tables {
	rocksdb_t *db;
	rocksdb_column_family_handle_t *family[FAMILIES]; /* NULL: it has none of that name */
};

/* ---- errors ------------------------------------------------------------------------------------------ */

/* A damaged block, or a table file that is gone. Not an error of the disk: that one may pass. */
static bool is_damage(const char *text)
{
	return strncmp(text, "Corruption", 10) == 0 ||
	       (strstr(text, "No such file") != NULL && strstr(text, ".sst") != NULL);
}

/* Takes RocksDB's text. Its codes do not come through the C interface, so the words have to do. -EUCLEAN: damage. */
int memo_manifest_fail(struct memo_err *err, char *text, const char *path, const char *what)
{
	int code = -EIO;
	if (strstr(text, "No space left") != NULL)
		code = -ENOSPC;
	else if (strstr(text, "Disk quota") != NULL)
		code = -EDQUOT;
	else if (is_damage(text))
		code = -EUCLEAN;
	for (char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	}
	(void)memo_fail(err, code, "manifest '%s': cannot %s: %s", path, what, text);
	rocksdb_free(text);
	return code;
}

/* ---- opening --------------------------------------------------------------------------------------- */

static void set_options(struct memo_manifest *m)
{
	rocksdb_options_t *o = m->options;
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	rocksdb_options_set_paranoid_checks(o, 1);
	rocksdb_options_set_info_log_level(o, LOG_LEVEL_FATAL);
	rocksdb_options_set_keep_log_file_num(o, TEXT_LOGS);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER_BYTES);
	rocksdb_options_set_db_write_buffer_size(o, ALL_BUFFERS_BYTES);
	rocksdb_options_set_max_total_wal_size(o, LOG_BYTES);
	rocksdb_options_set_max_open_files(o, OPEN_FILES);
	rocksdb_options_set_max_background_jobs(o, BACKGROUND_JOBS);
	rocksdb_block_based_options_set_filter_policy(m->table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
	rocksdb_block_based_options_set_block_cache(m->table, m->cache);
	rocksdb_options_set_block_based_table_factory(o, m->table);
	rocksdb_writeoptions_set_sync(m->write_sync, 1);
	rocksdb_writeoptions_disable_WAL(m->write_bulk, 1);
}

/* NULL: open. Else RocksDB's text. */
char *memo_manifest_open_handle(struct memo_manifest *m, enum memo_recovery mode, bool read_only)
{
	const rocksdb_options_t *options[FAMILIES];
	for (size_t i = 0; i < FAMILIES; i++)
		options[i] = m->options;
	rocksdb_options_set_wal_recovery_mode(m->options, (int)mode);
	char *text = NULL;
	/* RocksDB's threads must not take the process's signals. */
	sigset_t all;
	sigset_t old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	m->db = read_only ? rocksdb_open_for_read_only_column_families(
				    m->options, m->path, FAMILIES, memo_family_name, options, m->family, 0, &text)
			  : rocksdb_open_column_families(m->options, m->path, FAMILIES, memo_family_name, options,
							 m->family, &text);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	m->read_only = read_only;
	return text;
}

void memo_manifest_close_handle(struct memo_manifest *m)
{
	if (m->db == NULL)
		return;
	for (size_t i = 0; i < FAMILIES; i++)
		rocksdb_column_family_handle_destroy(m->family[i]);
	rocksdb_close(m->db);
	m->db = NULL;
}

/* ---- salvage ---------------------------------------------------------------------------------------- */

struct copying {
	rocksdb_writebatch_t *batch;
	struct memo_manifest *m;
	struct tables *to;
	size_t family;
	size_t rows;
	char *text; /* RocksDB's, of a write that failed */
};

static void flush_copy(struct copying *c)
{
	if (c->text == NULL)
		rocksdb_write(c->to->db, c->m->write_bulk, c->batch, &c->text);
	rocksdb_writebatch_clear(c->batch);
}

static void copy_row(struct copying *c, const rocksdb_iterator_t *it)
{
	size_t len;
	size_t value_len;
	const char *key = rocksdb_iter_key(it, &len);
	const char *value = rocksdb_iter_value(it, &value_len);
	/* Whether it has all that the receipts have is not so any more. */
	if (c->family == MEMO_META && len == sizeof MEMO_META_WHOLE - 1 && memcmp(key, MEMO_META_WHOLE, len) == 0)
		return;
	rocksdb_writebatch_put_cf(c->batch, c->to->family[c->family], key, len, value, value_len);
	c->rows++;
	size_t size;
	(void)rocksdb_writebatch_data(c->batch, &size);
	if (size > SALVAGE_BATCH)
		flush_copy(c);
}

/* Forwards to the first damaged block, then from the end backwards to the last one. False: something was left out. */
static bool copy_family(struct copying *c, rocksdb_t *from, rocksdb_column_family_handle_t *family,
			const rocksdb_readoptions_t *read)
{
	MEMO_AUTO_BUF struct memo_buf last = { 0 };
	bool any = false;
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(from, read, family);
	for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it) && c->text == NULL; rocksdb_iter_next(it)) {
		copy_row(c, it);
		size_t len;
		const char *key = rocksdb_iter_key(it, &len);
		memo_buf_reset(&last);
		any = memo_buf_append(&last, key, len) == 0;
	}
	char *text = NULL;
	rocksdb_iter_get_error(it, &text);
	rocksdb_iter_destroy(it);
	if (text == NULL)
		return true;
	rocksdb_free(text);
	it = rocksdb_create_iterator_cf(from, read, family);
	for (rocksdb_iter_seek_to_last(it); rocksdb_iter_valid(it) && c->text == NULL; rocksdb_iter_prev(it)) {
		size_t len;
		const char *key = rocksdb_iter_key(it, &len);
		size_t n = len < last.len ? len : last.len;
		int d = any ? memcmp(key, last.data, n) : 1;
		if (d < 0 || (d == 0 && len <= last.len))
			break;
		copy_row(c, it);
	}
	rocksdb_iter_destroy(it);
	return false;
}

static void close_tables(struct tables *t)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		if (t->family[i] != NULL)
			rocksdb_column_family_handle_destroy(t->family[i]);
	}
	if (t->db != NULL)
		rocksdb_close(t->db);
	*t = (struct tables){ 0 };
}

static size_t family_index(const char *name)
{
	size_t k = 0;
	while (k < FAMILIES && strcmp(memo_family_name[k], name) != 0)
		k++;
	return k;
}

/* What can be opened of the database at @path, damaged as it may be, for reading. *@t stays empty when nothing can. */
static void open_damaged(const struct memo_manifest *m, const char *path, struct tables *t)
{
	rocksdb_options_t *o = rocksdb_options_create_copy(m->options);
	rocksdb_options_set_paranoid_checks(o, 0);
	rocksdb_options_set_create_if_missing(o, 0);
	rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
	rocksdb_options_set_wal_recovery_mode(o, MEMO_SKIP_DAMAGED);
	size_t n = 0;
	char *text = NULL;
	char **names = rocksdb_list_column_families(o, path, &n, &text);
	if (text == NULL && n <= FAMILIES) {
		const rocksdb_options_t *options[FAMILIES];
		rocksdb_column_family_handle_t *family[FAMILIES] = { 0 };
		for (size_t i = 0; i < n; i++)
			options[i] = o;
		t->db = rocksdb_open_for_read_only_column_families(o, path, (int)n, (const char *const *)names,
								   options, family, 0, &text);
		for (size_t i = 0; t->db != NULL && i < n; i++) {
			size_t k = family_index(names[i]);
			if (k < FAMILIES)
				t->family[k] = family[i];
			else
				rocksdb_column_family_handle_destroy(family[i]);
		}
	}
	if (names != NULL)
		rocksdb_list_column_families_destroy(names, n);
	rocksdb_free(text);
	rocksdb_options_destroy(o);
}

static int open_new(struct memo_manifest *m, const char *path, struct tables *t, struct memo_err *err)
{
	const rocksdb_options_t *options[FAMILIES];
	for (size_t i = 0; i < FAMILIES; i++)
		options[i] = m->options;
	char *text = NULL;
	t->db = rocksdb_open_column_families(m->options, path, FAMILIES, memo_family_name, options, t->family,
					     &text);
	return text != NULL ? memo_manifest_fail(err, text, path, "make the database") : 0;
}

char *memo_manifest_flush(rocksdb_t *db, rocksdb_column_family_handle_t **family)
{
	rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(o, 1);
	char *text = NULL;
	for (size_t i = 0; i < FAMILIES && text == NULL; i++)
		rocksdb_flush_cf(db, o, family[i], &text);
	rocksdb_flushoptions_destroy(o);
	return text;
}

static int copy_all(struct memo_manifest *m, const struct tables *from, struct tables *to, struct memo_buf *say,
		    struct memo_err *err)
{
	struct copying c = { .batch = rocksdb_writebatch_create(), .m = m, .to = to };
	rocksdb_readoptions_t *read = rocksdb_readoptions_create();
	rocksdb_readoptions_set_fill_cache(read, 0);
	size_t broken = 0;
	for (c.family = 0; c.family < MEMO_TABLES && c.text == NULL; c.family++) {
		if (from->family[c.family] != NULL && !copy_family(&c, from->db, from->family[c.family], read))
			broken++;
	}
	flush_copy(&c);
	rocksdb_readoptions_destroy(read);
	rocksdb_writebatch_destroy(c.batch);
	if (c.text == NULL)
		c.text = memo_manifest_flush(to->db, to->family);
	if (c.text != NULL)
		return memo_manifest_fail(err, c.text, m->path, "copy what can be read");
	(void)memo_buf_printf(say, "%zu rows of the damaged manifest could be read%s\n", c.rows,
			      from->db == NULL ? ""
			      : broken > 0     ? ", others could not"
					       : ", all of them");
	return 0;
}

/* A new database in the place of DIR/db, with what can be read of the one at @path; the handle is closed. @kept: @path is a
 * copy of DIR/db. */
int memo_manifest_salvage(struct memo_manifest *m, const char *path, bool kept, struct memo_buf *say,
			  struct memo_err *err)
{
	struct tables from = { 0 };
	struct tables to = { 0 };
	MEMO_AUTO_FREE char *fresh = memo_io_join(m->dir, "db.new");
	int r = fresh == NULL ? -ENOMEM : memo_db_new(m->dir);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': is damaged, and a new one cannot be made: %s", m->path,
				 memo_strerror(r));
	open_damaged(m, path, &from);
	r = open_new(m, fresh, &to, err);
	if (r == 0)
		r = copy_all(m, &from, &to, say, err);
	close_tables(&from);
	close_tables(&to);
	if (r < 0)
		return r;
	r = memo_db_swap(m->dir, kept);
	return r < 0 ? memo_fail(err, r, "manifest '%s': is damaged and cannot be replaced: %s", m->path,
				 memo_strerror(r))
		     : 0;
}

/* ---- first opening, with the fallbacks ------------------------------------------------------------- */

/* Nothing is known to be damaged, and nothing below would help. */
static bool is_shortage(const char *text)
{
	static const char *const words[] = { "No space left",	     "Disk quota",	"Too many open files",
					     "lock hold by",	     "Cannot allocate", "Permission denied",
					     "Read-only file system" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strstr(text, words[i]) != NULL)
			return true;
	}
	return false;
}

static bool is_full(const char *text)
{
	return strstr(text, "No space left") != NULL || strstr(text, "Disk quota") != NULL;
}

/* A full disk must not keep what is cached from being read: as after a failed write, until there is room (revive). */
static int open_for_reading(struct memo_manifest *m, struct memo_buf *say)
{
	char *text = memo_manifest_open_handle(m, MEMO_POINT_IN_TIME, true);
	if (text != NULL) {
		rocksdb_free(text);
		return -EIO;
	}
	atomic_store(&m->cause, -ENOSPC);
	atomic_store(&m->dead, true);
	(void)memo_buf_puts(say, "the disk is full: what is cached can be read, work begins when there is room\n");
	return 0;
}

/* The database would not open: without the end of its log, and else what can be read of it. */
static int open_rest(struct memo_manifest *m, struct memo_buf *say, enum memo_manifest_found *found,
		     struct memo_err *err)
{
	MEMO_AUTO_FREE char *copy = NULL;
	int r = memo_db_keep(m->dir, &copy);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': is damaged, and cannot be copied to quarantine: %s",
				 m->path, memo_strerror(r));
	*found = MEMO_MANIFEST_SALVAGED;
	char *text = memo_manifest_open_handle(m, MEMO_POINT_IN_TIME, false);
	if (text == NULL) {
		(void)memo_buf_printf(say, "the manifest was opened without the end of its log; a copy is in %s\n",
				      copy);
		return 0;
	}
	rocksdb_free(text);
	r = memo_manifest_salvage(m, copy, true, say, err);
	if (r < 0)
		return r;
	(void)memo_buf_printf(say, "the manifest is made anew; the old one is in %s\n", copy);
	text = memo_manifest_open_handle(m, MEMO_TOLERATE_TAIL, false);
	return text != NULL ? memo_manifest_fail(err, text, m->path, "open") : 0;
}

static int open_first(struct memo_manifest *m, struct memo_buf *say, enum memo_manifest_found *found,
		      struct memo_err *err)
{
	static const enum memo_manifest_found as[] = {
		[MEMO_DB_NONE] = MEMO_MANIFEST_EMPTY,
		[MEMO_DB_SOUND] = MEMO_MANIFEST_WHOLE,
		[MEMO_DB_UNSURE] = MEMO_MANIFEST_UNSURE,
		[MEMO_DB_DAMAGED] = MEMO_MANIFEST_SALVAGED,
	};
	enum memo_db_state state;
	int r = memo_db_look(m->dir, say, &state);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': cannot be looked at: %s", m->path, memo_strerror(r));
	*found = as[state];
	if (memo_db_marked(m->dir) && state != MEMO_DB_NONE) {
		(void)memo_buf_puts(say, "the manifest was damaged when it was used last\n");
		r = memo_manifest_salvage(m, m->path, false, say, err);
		if (r < 0)
			return r;
		*found = MEMO_MANIFEST_SALVAGED;
	}
	MEMO_AUTO_FREE char *copy = NULL;
	/* What RocksDB takes for litter it removes: kept for people. */
	if (state == MEMO_DB_DAMAGED && memo_db_keep(m->dir, &copy) == 0)
		(void)memo_buf_printf(say, "a copy of the manifest as it was found is in %s\n", copy);
	char *text = memo_manifest_open_handle(m, MEMO_TOLERATE_TAIL, false);
	if (text == NULL)
		return 0;
	if (is_full(text) && open_for_reading(m, say) == 0) {
		rocksdb_free(text);
		return 0;
	}
	if (is_shortage(text))
		return memo_manifest_fail(err, text, m->path, "open");
	for (char *p = text; *p != '\0'; p++)
		*p = (unsigned char)*p < 0x20 ? ' ' : *p;
	(void)memo_buf_printf(say, "the manifest was damaged: %s\n", text);
	rocksdb_free(text);
	return open_rest(m, say, found, err);
}

void memo_manifest_free(struct memo_manifest *m)
{
	rocksdb_writeoptions_destroy(m->write_bulk);
	rocksdb_writeoptions_destroy(m->write_sync);
	rocksdb_writeoptions_destroy(m->write);
	rocksdb_readoptions_destroy(m->read);
	rocksdb_options_destroy(m->options);
	rocksdb_block_based_options_destroy(m->table);
	rocksdb_cache_destroy(m->cache);
	(void)pthread_rwlock_destroy(&m->handle);
	free(m->path);
	free(m->dir);
	free(m);
}

static int new_manifest(const char *dir, struct memo_manifest **out)
{
	struct memo_manifest *m = calloc(1, sizeof *m);
	if (m == NULL)
		return -ENOMEM;
	pthread_rwlockattr_t a;
	/* A reopening must get its turn among endless readers; no reader takes the lock twice. */
	if (pthread_rwlockattr_init(&a) != 0 ||
	    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) != 0 ||
	    pthread_rwlock_init(&m->handle, &a) != 0) {
		free(m);
		return -ENOMEM;
	}
	(void)pthread_rwlockattr_destroy(&a);
	m->options = rocksdb_options_create();
	m->table = rocksdb_block_based_options_create();
	m->cache = rocksdb_cache_create_lru(BLOCK_CACHE_BYTES);
	m->read = rocksdb_readoptions_create();
	m->write = rocksdb_writeoptions_create();
	m->write_sync = rocksdb_writeoptions_create();
	m->write_bulk = rocksdb_writeoptions_create();
	set_options(m);
	m->dir = strdup(dir);
	m->path = memo_io_join(dir, "db");
	if (m->path == NULL || m->dir == NULL) {
		memo_manifest_free(m);
		return -ENOMEM;
	}
	*out = m;
	return 0;
}

int memo_manifest_open(const char *dir, struct memo_buf *notice, enum memo_manifest_found *found_out,
		       struct memo_manifest **out, struct memo_err *err)
{
	struct memo_manifest *m;
	MEMO_AUTO_BUF struct memo_buf none = { 0 };
	int r = new_manifest(dir, &m);
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", dir);
	r = open_first(m, notice != NULL ? notice : &none, found_out, err);
	if (r < 0) {
		memo_manifest_close_handle(m);
		memo_manifest_free(m);
		return r;
	}
	*out = m;
	return 0;
}
