/* Manifest on RocksDB 7.8.
 *
 * Three facts about it shape this file. Its text log can abort the process on a full disk: it is kept at level FATAL.
 * Its default recovery drops the rest of a log after a damaged record without a word: we open in mode 0, which accepts
 * a torn end only, and say so when we have to go further. A handle that returned a write error is dead and what it
 * says about that write can be wrong either way: it is closed and opened again.
 * DIR/db/LOCK is never opened or closed here: closing any descriptor of it would drop RocksDB's own lock. */
#include "manifest.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define BLOCK_CACHE_BYTES ((size_t)32 << 20)
#define WRITE_BUFFER_BYTES ((size_t)16 << 20)
#define ALL_BUFFERS_BYTES ((size_t)64 << 20)
#define LOG_BYTES ((uint64_t)64 << 20)
#define OPEN_FILES 512
#define BLOOM_BITS 10
#define LOG_LEVEL_FATAL 4
#define TEXT_LOGS 2
#define BACKGROUND_JOBS 2
/* How long a handle that could not be opened for writing is left as it is. */
#define REVIVE_NS (100 * MEMO_NS_PER_MS)

enum recovery { TOLERATE_TAIL = 0, POINT_IN_TIME = 2 };

#define FAMILIES (MEMO_TABLES + 1)
static const char *const family_name[FAMILIES] = {
	"meta", "tasks",	 "latest",  "instances", "names",   "history",
	"runs", "run_instances", "objects", "digests",	 "handles", "default",
};

struct memo_manifest {
	char *path; /* DIR/db */
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;
	rocksdb_writeoptions_t *write_sync;

	pthread_rwlock_t handle; /* shared: use @db; exclusive: replace it */
	rocksdb_t *db; /* guarded by handle; NULL while it can not be opened */
	bool read_only; /* guarded by handle */
	rocksdb_column_family_handle_t *family[FAMILIES]; /* guarded by handle */
	int64_t revived_ns; /* guarded by handle: when the last reopening was tried */
	_Atomic bool dead; /* a write failed since the handle was opened */
	_Atomic int cause; /* what it failed with */
};

/* ---- errors and keys ----------------------------------------------------------------------------- */

/* Takes RocksDB's text. Its codes do not come through the C interface, so the words have to do. */
static int fail_text(struct memo_err *err, char *text, const char *path, const char *what)
{
	int code = -EIO;
	if (strstr(text, "No space left") != NULL)
		code = -ENOSPC;
	else if (strstr(text, "Disk quota") != NULL)
		code = -EDQUOT;
	for (char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	}
	/* A damaged block can not be told from here to be the only one; what the receipts hold is all that counts. */
	bool damaged = strncmp(text, "Corruption", 10) == 0;
	(void)memo_fail(
		err, code, "manifest '%s': cannot %s: %s%s", path, what, text,
		damaged ? "; unmount, move this directory away and open the store again: it is made anew from the "
			  "receipts"
			: "");
	rocksdb_free(text);
	return code;
}

int memo_key(struct memo_buf *k, const char *a, const char *b, const char *c)
{
	int r = memo_buf_puts(k, a);
	if (b != NULL) {
		r = memo_buf_putc(k, '\0');
		r = memo_buf_puts(k, b);
	}
	if (b != NULL && c != NULL) {
		r = memo_buf_putc(k, '\0');
		r = memo_buf_puts(k, c);
	}
	return r;
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
}

/* NULL: open. Else RocksDB's text. */
static char *open_handle(struct memo_manifest *m, enum recovery mode, bool read_only)
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
	m->db = read_only ? rocksdb_open_for_read_only_column_families(m->options, m->path, FAMILIES, family_name,
								       options, m->family, 0, &text)
			  : rocksdb_open_column_families(m->options, m->path, FAMILIES, family_name, options,
							 m->family, &text);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	m->read_only = read_only;
	return text;
}

static void close_handle(struct memo_manifest *m)
{
	if (m->db == NULL)
		return;
	for (size_t i = 0; i < FAMILIES; i++)
		rocksdb_column_family_handle_destroy(m->family[i]);
	rocksdb_close(m->db);
	m->db = NULL;
}

/* Unless somebody else just did: closes the handle and opens it again, for reading alone when nothing else works (a
 * full disk), so that what is cached stays readable meanwhile. */
static void revive(struct memo_manifest *m)
{
	if (pthread_rwlock_wrlock(&m->handle) != 0)
		return;
	int64_t now = memo_now_ns();
	bool due = m->revived_ns == 0 || now - m->revived_ns >= REVIVE_NS;
	if (atomic_load(&m->dead) && due) {
		m->revived_ns = now;
		close_handle(m);
		char *text = open_handle(m, TOLERATE_TAIL, false);
		if (text == NULL) {
			atomic_store(&m->dead, false);
		} else {
			rocksdb_free(text);
			text = open_handle(m, POINT_IN_TIME, true);
			rocksdb_free(text);
		}
	}
	(void)pthread_rwlock_unlock(&m->handle);
}

/* ---- first opening, with the fallbacks ------------------------------------------------------------- */

static int check_place(const char *path, struct memo_err *err)
{
	struct statfs fs;
	if (statfs(path, &fs) < 0)
		return memo_fail(err, memo_errno(), "manifest '%s': cannot be examined", path);
	if (fs.f_type == NFS_SUPER_MAGIC)
		return memo_fail(err, -ENOTSUP,
				 "manifest '%s': is on NFS, where its locks and syncs do not hold; put the store "
				 "on a local disk",
				 path);
	return 0;
}

/* Copies DIR/db's log files into @to, which is made. */
static int copy_logs(const char *path, const char *to)
{
	if (mkdir(to, 0700) < 0)
		return memo_errno();
	MEMO_AUTO_FD int target = -1;
	int r = memo_io_open_dir(AT_FDCWD, to, &target);
	if (r < 0)
		return r;
	MEMO_AUTO_DIR DIR *d = opendir(path);
	if (d == NULL)
		return memo_errno();
	for (struct dirent *e = readdir(d); e != NULL && r == 0; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		if (len < 5 || strcmp(e->d_name + len - 4, ".log") != 0)
			continue;
		MEMO_AUTO_FD int in = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (in < 0)
			return memo_errno();
		MEMO_AUTO_FD int out = openat(target, e->d_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (out < 0)
			return memo_errno();
		r = memo_io_copy(in, out);
	}
	return r;
}

static char *aside(const char *dir, const char *what)
{
	char *to = NULL;
	return asprintf(&to, "%s/quarantine/%s.%lld", dir, what, (long long)memo_wall_ns()) < 0 ? NULL : to;
}

static int begin_anew(struct memo_manifest *m, const char *dir, struct memo_err *err)
{
	MEMO_AUTO_FREE char *to = aside(dir, "db");
	if (to == NULL)
		return memo_fail(err, -ENOMEM, "manifest '%s': out of memory", m->path);
	if (rename(m->path, to) < 0 && errno != ENOENT)
		return memo_fail(err, memo_errno(), "manifest '%s': is damaged and cannot be moved to quarantine",
				 m->path);
	int r = memo_io_mkdir(AT_FDCWD, m->path, 0700);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': cannot be made", m->path);
	return 0;
}

/* Is there a database, and does what lies in DIR/db look like one? *@litter: files, but no CURRENT. */
static int look(const char *path, bool *exists, bool *litter)
{
	MEMO_AUTO_DIR DIR *d = opendir(path);
	if (d == NULL)
		return memo_errno();
	*exists = faccessat(dirfd(d), "CURRENT", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	*litter = false;
	for (struct dirent *e = readdir(d); e != NULL && !*exists && !*litter; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		*litter = len > 4 &&
			  (strcmp(e->d_name + len - 4, ".sst") == 0 || strcmp(e->d_name + len - 4, ".log") == 0);
	}
	return 0;
}

static int open_first(struct memo_manifest *m, const char *dir, struct memo_buf *notice,
		      enum memo_manifest_found *found, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf none = { 0 };
	struct memo_buf *say = notice != NULL ? notice : &none;
	bool exists = false;
	bool litter = false;
	int r = memo_io_mkdir(AT_FDCWD, m->path, 0700);
	if (r == 0)
		r = look(m->path, &exists, &litter);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': cannot be opened", m->path);
	*found = exists ? MEMO_MANIFEST_WHOLE : MEMO_MANIFEST_EMPTY;
	char *text = litter ? strdup("its file CURRENT is missing") : open_handle(m, TOLERATE_TAIL, false);
	if (text == NULL && !litter)
		return 0;
	/* Without space nothing below would help, and nothing is known to be damaged. */
	if (text != NULL && (strstr(text, "No space left") != NULL || strstr(text, "Disk quota") != NULL ||
			     strstr(text, "Too many open files") != NULL || strstr(text, "lock hold by") != NULL))
		return fail_text(err, text, m->path, "open");
	(void)memo_buf_printf(say, "the manifest was damaged: %s\n", text != NULL ? text : "");
	free(text);
	text = NULL;
	if (!litter) {
		MEMO_AUTO_FREE char *to = aside(dir, "log");
		r = to == NULL ? -ENOMEM : copy_logs(m->path, to);
		if (r < 0)
			return memo_fail(err, r,
					 "manifest '%s': is damaged, and its log cannot be copied to quarantine",
					 m->path);
		text = open_handle(m, POINT_IN_TIME, false);
		if (text == NULL) {
			*found = MEMO_MANIFEST_SALVAGED;
			(void)memo_buf_printf(
				say, "the manifest was opened without the end of its log; a copy is in %s\n", to);
			return 0;
		}
		rocksdb_free(text);
	}
	*found = MEMO_MANIFEST_EMPTY;
	r = begin_anew(m, dir, err);
	if (r < 0)
		return r;
	(void)memo_buf_puts(say, "the manifest could not be read and is made anew; the old one is in quarantine\n");
	text = open_handle(m, TOLERATE_TAIL, false);
	return text != NULL ? fail_text(err, text, m->path, "make the database") : 0;
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
	set_options(m);
	m->path = memo_io_join(dir, "db");
	if (m->path == NULL) {
		memo_manifest_close(m);
		return -ENOMEM;
	}
	*out = m;
	return 0;
}

int memo_manifest_open(const char *dir, struct memo_buf *notice, enum memo_manifest_found *found_out,
		       struct memo_manifest **out, struct memo_err *err)
{
	struct memo_manifest *m;
	int r = new_manifest(dir, &m);
	if (r < 0)
		return memo_fail(err, r, "store '%s': out of memory", dir);
	r = memo_io_mkdir(AT_FDCWD, m->path, 0700);
	r = r < 0 ? memo_fail(err, r, "manifest '%s': cannot be made", m->path) : check_place(m->path, err);
	if (r == 0)
		r = open_first(m, dir, notice, found_out, err);
	if (r < 0) {
		memo_manifest_close(m);
		return r;
	}
	*out = m;
	return 0;
}

static void flush(struct memo_manifest *m)
{
	rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(o, 1);
	for (size_t i = 0; i < FAMILIES; i++) {
		/* A failure costs the next open some time; the log has it all. */
		char *text = NULL;
		rocksdb_flush_cf(m->db, o, m->family[i], &text);
		rocksdb_free(text);
	}
	rocksdb_flushoptions_destroy(o);
}

void memo_manifest_close(struct memo_manifest *m)
{
	if (m == NULL)
		return;
	if (m->db != NULL && !m->read_only && !atomic_load(&m->dead))
		flush(m);
	close_handle(m);
	rocksdb_writeoptions_destroy(m->write_sync);
	rocksdb_writeoptions_destroy(m->write);
	rocksdb_readoptions_destroy(m->read);
	rocksdb_options_destroy(m->options);
	rocksdb_block_based_options_destroy(m->table);
	rocksdb_cache_destroy(m->cache);
	(void)pthread_rwlock_destroy(&m->handle);
	free(m->path);
	free(m);
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/* Takes the handle shared; 0 only with a usable one. */
static int acquire(struct memo_manifest *m, struct memo_err *err)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		int r = pthread_rwlock_rdlock(&m->handle);
		if (r != 0)
			return memo_fail(err, -r, "manifest '%s': cannot be locked", m->path);
		if (m->db != NULL)
			return 0;
		(void)pthread_rwlock_unlock(&m->handle);
		revive(m);
	}
	return memo_fail(err, -EIO, "manifest '%s': cannot be opened again after a failed write; look at the disk",
			 m->path);
}

static void release(struct memo_manifest *m)
{
	(void)pthread_rwlock_unlock(&m->handle);
}

int memo_manifest_get(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
		      struct memo_buf *out, struct memo_err *err)
{
	int r = acquire(m, err);
	if (r < 0)
		return r;
	char *text = NULL;
	rocksdb_pinnableslice_t *v = rocksdb_get_pinned_cf(m->db, m->read, m->family[table], key, len, &text);
	if (text != NULL) {
		r = fail_text(err, text, m->path, "read");
	} else if (v == NULL) {
		r = -ENOENT;
	} else {
		size_t n;
		const char *p = rocksdb_pinnableslice_value(v, &n);
		r = memo_buf_append(out, p, n);
		if (r < 0)
			r = memo_fail(err, r, "manifest '%s': cannot keep a record of %zu bytes", m->path, n);
	}
	rocksdb_pinnableslice_destroy(v);
	release(m);
	return r;
}

int memo_manifest_get_json(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
			   json_t **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_manifest_get(m, table, key, len, &b, err);
	if (r < 0)
		return r;
	json_t *j;
	if (memo_json_parse(memo_buf_str(&b), b.len, &j, err) < 0)
		return memo_fail(err, -EIO, "manifest '%s': a record in '%s' is not JSON; run 'memofs fsck'",
				 m->path, family_name[table]);
	if (!json_is_object(j)) {
		json_decref(j);
		return memo_fail(err, -EIO, "manifest '%s': a record in '%s' is not an object; run 'memofs fsck'",
				 m->path, family_name[table]);
	}
	*out = j;
	return 0;
}

static bool begins(const char *key, size_t len, const void *prefix, size_t prefix_len)
{
	return len >= prefix_len && (prefix_len == 0 || memcmp(key, prefix, prefix_len) == 0);
}

int memo_manifest_scan(struct memo_manifest *m, enum memo_table table, const void *prefix, size_t prefix_len,
		       const void *from, size_t from_len, memo_row_fn *fn, void *arg, struct memo_err *err)
{
	int r = acquire(m, err);
	if (r < 0)
		return r;
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(m->db, m->read, m->family[table]);
	if (from != NULL)
		rocksdb_iter_seek(it, from, from_len);
	else if (prefix_len > 0)
		rocksdb_iter_seek(it, prefix, prefix_len);
	else
		rocksdb_iter_seek_to_first(it);
	while (r == 0 && rocksdb_iter_valid(it)) {
		size_t len;
		size_t value_len;
		const char *key = rocksdb_iter_key(it, &len);
		const char *value = rocksdb_iter_value(it, &value_len);
		if (!begins(key, len, prefix, prefix_len))
			break;
		r = fn(arg, key, len, value, value_len);
		if (r == 0)
			rocksdb_iter_next(it);
	}
	char *text = NULL;
	rocksdb_iter_get_error(it, &text);
	rocksdb_iter_destroy(it);
	if (text != NULL)
		r = fail_text(err, text, m->path, "read");
	release(m);
	return r;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

struct op {
	uint32_t table;
	uint32_t put; /* 0: delete */
	size_t key_len;
	size_t value_len;
};

void memo_batch_clear(struct memo_batch *b)
{
	memo_buf_clear(&b->ops);
}

static void add_op(struct memo_batch *b, const struct op *o, const void *key, const void *value)
{
	(void)memo_buf_append(&b->ops, o, sizeof *o);
	(void)memo_buf_append(&b->ops, key, o->key_len);
	if (o->value_len > 0)
		(void)memo_buf_append(&b->ops, value, o->value_len);
}

void memo_batch_put(struct memo_batch *b, enum memo_table table, const void *key, size_t len, const void *value,
		    size_t value_len)
{
	struct op o = { .table = table, .put = 1, .key_len = len, .value_len = value_len };
	add_op(b, &o, key, value);
}

void memo_batch_put_json(struct memo_batch *b, enum memo_table table, const void *key, size_t len,
			 const json_t *value)
{
	MEMO_AUTO_FREE char *text = value == NULL ? NULL : memo_json_text(value);
	if (text == NULL)
		b->ops.error = b->ops.error < 0 ? b->ops.error : -ENOMEM;
	else
		memo_batch_put(b, table, key, len, text, strlen(text));
}

void memo_batch_delete(struct memo_batch *b, enum memo_table table, const void *key, size_t len)
{
	struct op o = { .table = table, .key_len = len };
	add_op(b, &o, key, NULL);
}

static int apply(struct memo_manifest *m, const struct memo_batch *b, bool sync, struct memo_err *err)
{
	if (m->read_only) {
		int cause = atomic_load(&m->cause);
		return memo_fail(err, cause, "manifest '%s': cannot be written since a write failed: %s", m->path,
				 memo_strerror(cause));
	}
	rocksdb_writebatch_t *w = rocksdb_writebatch_create();
	for (size_t at = 0; at < b->ops.len;) {
		struct op o;
		memcpy(&o, b->ops.data + at, sizeof o);
		at += sizeof o;
		const char *key = b->ops.data + at;
		at += o.key_len;
		if (o.put)
			rocksdb_writebatch_put_cf(w, m->family[o.table], key, o.key_len, b->ops.data + at,
						  o.value_len);
		else
			rocksdb_writebatch_delete_cf(w, m->family[o.table], key, o.key_len);
		at += o.value_len;
	}
	char *text = NULL;
	rocksdb_write(m->db, sync ? m->write_sync : m->write, w, &text);
	rocksdb_writebatch_destroy(w);
	return text != NULL ? fail_text(err, text, m->path, "write") : 0;
}

int memo_manifest_write(struct memo_manifest *m, const struct memo_batch *b, bool sync, struct memo_err *err)
{
	int r = memo_buf_error(&b->ops);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': out of memory", m->path);
	for (int attempt = 0; attempt < 2; attempt++) {
		r = acquire(m, err);
		if (r < 0)
			return r;
		r = apply(m, b, sync, err);
		if (r < 0) {
			atomic_store(&m->cause, r);
			atomic_store(&m->dead, true);
		}
		release(m);
		if (r == 0)
			return 0;
		revive(m);
	}
	return r;
}
