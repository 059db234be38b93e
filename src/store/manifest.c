/* Manifest on RocksDB 7.8.
 *
 * Four facts about it shape this file. Its text log can abort the process on a full disk: it is kept at level FATAL.
 * Its default recovery drops the rest of a log after a damaged record without a word: we open in mode 0, which accepts
 * a torn end only, and say so when we have to go further. A handle that returned a write error is dead and what it
 * says about that write can be wrong either way: it is closed and opened again. A damaged block is found when it is read, at
 * any time: then the database is rebuilt on the spot (heal): every row that can still be read is copied into a new one,
 * the store's own function puts back what the receipts tell, and the call that met the damage goes on, so that nobody takes a
 * damaged row for one that is not there.
 * (RocksDB's own repair is not used: it leaves out the whole file around one damaged block.)
 * DIR/db/LOCK is never opened or closed here: closing any descriptor of it would drop RocksDB's own lock. */
#include "manifest_private.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "manifest_files.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How long a handle that could not be opened for writing is left as it is. */
#define REVIVE_NS (100 * MEMO_NS_PER_MS)
/* A disk that damages the database again within this time is not worth another rebuild. */
#define HEAL_NS (30 * MEMO_NS_PER_S)

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
		memo_manifest_close_handle(m);
		char *text = memo_manifest_open_handle(m, MEMO_TOLERATE_TAIL, false);
		if (text == NULL) {
			atomic_store(&m->dead, false);
		} else {
			rocksdb_free(text);
			text = memo_manifest_open_handle(m, MEMO_POINT_IN_TIME, true);
			rocksdb_free(text);
		}
	}
	(void)pthread_rwlock_unlock(&m->handle);
}

void memo_manifest_on_damage(struct memo_manifest *m, memo_heal_fn *fn, void *arg)
{
	m->heal = fn;
	m->heal_arg = arg;
}

uint64_t memo_manifest_heals(const struct memo_manifest *m)
{
	return atomic_load(&m->heals);
}

/* With the handle, which is usable. */
static int checkpoint(struct memo_manifest *m, struct memo_err *err)
{
	if (m->db == NULL || m->read_only || atomic_load(&m->dead))
		return memo_fail(err, -EIO, "manifest '%s': cannot be flushed since a write failed", m->path);
	char *text = memo_manifest_flush(m->db, m->family);
	if (text != NULL)
		return memo_manifest_fail(err, text, m->path, "flush");
	int r = memo_db_seal(m->dir);
	return r < 0 ? memo_fail(err, r, "manifest '%s': its checkpoint cannot be written: %s", m->path,
				 memo_strerror(r))
		     : 0;
}

int memo_manifest_close(struct memo_manifest *m)
{
	if (m == NULL)
		return 0;
	int r = checkpoint(m, NULL);
	memo_manifest_close_handle(m);
	memo_manifest_free(m);
	return r;
}

/* ---- healing ---------------------------------------------------------------------------------------- */

static bool is_healer(struct memo_manifest *m)
{
	return atomic_load(&m->healing) && pthread_equal(m->healer, pthread_self());
}

static int rebuild(struct memo_manifest *m, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf say = { 0 };
	memo_db_mark(m->dir, true); /* should this not come to its end, the next open goes on */
	memo_manifest_close_handle(m);
	int r = memo_manifest_salvage(m, m->path, false, &say, err);
	char *text = memo_manifest_open_handle(m, MEMO_TOLERATE_TAIL, false);
	if (text != NULL && r == 0)
		return memo_manifest_fail(err, text, m->path, "open");
	rocksdb_free(text);
	if (r < 0)
		return r;
	atomic_store(&m->dead, false);
	m->healer = pthread_self();
	atomic_store(&m->healing, true);
	r = m->heal != NULL ? m->heal(m->heal_arg, memo_buf_str(&say), err) : 0;
	if (r == 0)
		r = checkpoint(m, err);
	atomic_store(&m->healing, false);
	if (r == 0)
		memo_db_mark(m->dir, false);
	return r;
}

/* Damage was met while @seen rebuilds had been made. 0: one was made since, try again. */
static int heal(struct memo_manifest *m, uint64_t seen, struct memo_err *err)
{
	if (is_healer(m))
		return -EIO; /* what was just written is damaged already */
	int r = pthread_rwlock_wrlock(&m->handle);
	if (r != 0)
		return memo_fail(err, -r, "manifest '%s': cannot be locked", m->path);
	int64_t now = memo_now_ns();
	if (atomic_load(&m->heals) == seen) {
		if (m->healed_ns != 0 && now - m->healed_ns < HEAL_NS) {
			memo_db_mark(m->dir, true);
			r = memo_fail(err, -EIO,
				      "manifest '%s': is damaged again; look at the disk, then open the store anew",
				      m->path);
		} else {
			m->healed_ns = now;
			r = rebuild(m, err);
			if (r == 0)
				atomic_fetch_add(&m->heals, 1);
		}
	}
	(void)pthread_rwlock_unlock(&m->handle);
	return r == -EUCLEAN ? -EIO : r;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/* Takes the handle shared; 0 only with a usable one. */
static int acquire(struct memo_manifest *m, struct memo_err *err)
{
	if (is_healer(m))
		return 0;
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
	if (!is_healer(m))
		(void)pthread_rwlock_unlock(&m->handle);
}

static int get_once(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
		    struct memo_buf *out, struct memo_err *err)
{
	int r = acquire(m, err);
	if (r < 0)
		return r;
	char *text = NULL;
	rocksdb_pinnableslice_t *v = rocksdb_get_pinned_cf(m->db, m->read, m->family[table], key, len, &text);
	if (text != NULL) {
		r = memo_manifest_fail(err, text, m->path, "read");
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

int memo_manifest_get(struct memo_manifest *m, enum memo_table table, const void *key, size_t len,
		      struct memo_buf *out, struct memo_err *err)
{
	uint64_t seen = atomic_load(&m->heals);
	int r = get_once(m, table, key, len, out, err);
	if (r == -EUCLEAN)
		r = heal(m, seen, err) < 0 ? -EIO : get_once(m, table, key, len, out, err);
	return r == -EUCLEAN ? -EIO : r;
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
				 m->path, memo_family_name[table]);
	if (!json_is_object(j)) {
		json_decref(j);
		return memo_fail(err, -EIO, "manifest '%s': a record in '%s' is not an object; run 'memofs fsck'",
				 m->path, memo_family_name[table]);
	}
	*out = j;
	return 0;
}

static bool begins(const char *key, size_t len, const void *prefix, size_t prefix_len)
{
	return len >= prefix_len && (prefix_len == 0 || memcmp(key, prefix, prefix_len) == 0);
}

struct scan {
	enum memo_table table;
	const void *prefix;
	size_t prefix_len;
	const void *from;
	size_t from_len;
	memo_row_fn *fn;
	void *arg;
	struct memo_buf last; /* key of the last row that was given out */
	bool any; /* @last holds */
};

static void seek(rocksdb_iterator_t *it, const struct scan *s)
{
	if (s->any) {
		rocksdb_iter_seek(it, s->last.data, s->last.len);
		size_t len = 0;
		const char *key = rocksdb_iter_valid(it) ? rocksdb_iter_key(it, &len) : NULL;
		if (key != NULL && len == s->last.len && memcmp(key, s->last.data, len) == 0)
			rocksdb_iter_next(it);
	} else if (s->from != NULL) {
		rocksdb_iter_seek(it, s->from, s->from_len);
	} else if (s->prefix_len > 0) {
		rocksdb_iter_seek(it, s->prefix, s->prefix_len);
	} else {
		rocksdb_iter_seek_to_first(it);
	}
}

/* From where the last one ended. */
static int scan_once(struct memo_manifest *m, struct scan *s, struct memo_err *err)
{
	int r = acquire(m, err);
	if (r < 0)
		return r;
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(m->db, m->read, m->family[s->table]);
	seek(it, s);
	while (r == 0 && rocksdb_iter_valid(it)) {
		size_t len;
		size_t value_len;
		const char *key = rocksdb_iter_key(it, &len);
		const char *value = rocksdb_iter_value(it, &value_len);
		if (!begins(key, len, s->prefix, s->prefix_len))
			break;
		memo_buf_reset(&s->last);
		r = memo_buf_append(&s->last, key, len);
		s->any = true;
		if (r == 0)
			r = s->fn(s->arg, key, len, value, value_len);
		if (r == 0)
			rocksdb_iter_next(it);
	}
	char *text = NULL;
	rocksdb_iter_get_error(it, &text);
	rocksdb_iter_destroy(it);
	if (text != NULL)
		r = memo_manifest_fail(err, text, m->path, "read");
	release(m);
	return r;
}

int memo_manifest_scan(struct memo_manifest *m, enum memo_table table, const void *prefix, size_t prefix_len,
		       const void *from, size_t from_len, memo_row_fn *fn, void *arg, struct memo_err *err)
{
	struct scan s = { .table = table,
			  .prefix = prefix,
			  .prefix_len = prefix_len,
			  .from = from,
			  .from_len = from_len,
			  .fn = fn,
			  .arg = arg };
	uint64_t seen = atomic_load(&m->heals);
	int r = scan_once(m, &s, err);
	if (r == -EUCLEAN)
		r = heal(m, seen, err) < 0 ? -EIO : scan_once(m, &s, err);
	memo_buf_clear(&s.last);
	return r == -EUCLEAN ? -EIO : r;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

static int apply(struct memo_manifest *m, const struct memo_batch *b, const rocksdb_writeoptions_t *how,
		 struct memo_err *err)
{
	if (m->read_only) {
		int cause = atomic_load(&m->cause);
		return memo_fail(err, cause, "manifest '%s': cannot be written since a write failed: %s", m->path,
				 memo_strerror(cause));
	}
	rocksdb_writebatch_t *w = rocksdb_writebatch_create();
	for (size_t at = 0; at < b->ops.len;) {
		struct memo_batch_op o;
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
	rocksdb_write(m->db, how, w, &text);
	rocksdb_writebatch_destroy(w);
	return text != NULL ? memo_manifest_fail(err, text, m->path, "write") : 0;
}

static int write_batch(struct memo_manifest *m, const struct memo_batch *b, const rocksdb_writeoptions_t *how,
		       struct memo_err *err)
{
	int r = memo_buf_error(&b->ops);
	if (r < 0)
		return memo_fail(err, r, "manifest '%s': out of memory", m->path);
	for (int attempt = 0; attempt < 2; attempt++) {
		uint64_t seen = atomic_load(&m->heals);
		r = acquire(m, err);
		if (r < 0)
			return r;
		r = apply(m, b, how, err);
		if (r < 0 && r != -EUCLEAN) {
			atomic_store(&m->cause, r);
			atomic_store(&m->dead, true);
		}
		release(m);
		if (r == 0 || is_healer(m))
			break;
		if (r != -EUCLEAN)
			revive(m);
		else if (heal(m, seen, err) < 0)
			break;
	}
	return r == -EUCLEAN ? -EIO : r;
}

int memo_manifest_write(struct memo_manifest *m, const struct memo_batch *b, bool sync, struct memo_err *err)
{
	return write_batch(m, b, sync ? m->write_sync : m->write, err);
}

int memo_manifest_write_bulk(struct memo_manifest *m, const struct memo_batch *b, struct memo_err *err)
{
	return write_batch(m, b, m->write_bulk, err);
}

int memo_manifest_checkpoint(struct memo_manifest *m, struct memo_err *err)
{
	int r = acquire(m, err);
	if (r < 0)
		return r;
	r = checkpoint(m, err);
	release(m);
	return r == -EUCLEAN ? -EIO : r;
}
