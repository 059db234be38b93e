/* Recovery at open: the manifest is an index, the receipts are what was promised.
 *
 * What may be missing, and why looking at that is enough:
 * - after a clean stop nothing: everything was flushed, and DIR/checkpoint (manifest_files.h) proves that RocksDB's list of
 *   tables still has it; the tables themselves are named, sized and summed, and RocksDB says so when one is not right;
 * - after any other stop, with a checkpoint that still holds: what was in RocksDB's log alone. Receipts leave the recent
 *   directories only after a checkpoint that has their records in tables (receipt.h): so the recent ones, all of them, are
 *   compared with their records, by "sequence", and nothing else has to be read, however many results there are;
 * - in all other cases (RocksDB refused something, there is no checkpoint or it does not hold, a rebuild was cut short:
 *   the key "whole" is missing): anything. Every receipt is compared, by several threads, in large batches that bypass the
 *   log and are flushed at the end; registered tasks; node ids begin above all that are in use.
 * No clock takes part: not mtimes, not the time in a record.
 * Then what was in flight is PENDING, unless its receipt is newer than its record: then it was published all but the last step.
 *
 * What is not in receipts (history, failures, runs, counters, digests) is what could be read of the old database. */
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define ACTIVE "active"
#define ACTIVE_LEN sizeof ACTIVE
#define WHOLE MEMO_META_WHOLE
/* Ids beyond those in receipts may have been shown too (of names without a result). */
#define INO_GAP 65536
#define ACTIVE_AT_ONCE 256
#define SHARDS 256
#define THREADS 8 /* small files of a cold disk are waited for, not computed */
#define BATCH_RECEIPTS 1000
#define BATCH_BYTES ((size_t)4 << 20)
#define PROGRESS_NS (2 * MEMO_NS_PER_S)

/* What the threads of one rebuild share. */
struct shared {
	struct memo_mutex names; /* a name's row is read, compared and written */
	_Atomic unsigned next; /* shard */
	_Atomic size_t seen;
	_Atomic int64_t told_ns;
	_Atomic bool stop;
};

struct recovery {
	struct memo_store *store;
	struct memo_err *err;
	struct shared *shared; /* NULL: nothing is shared */
	bool all; /* damage: compare all */
	bool live; /* others use the store, and may hold any lock: take none */
	bool careful; /* others may change what is compared: each under its locks, written at once */
	bool bulk; /* @batch is written when it is large, without the log */
	struct memo_batch batch;
	size_t batched;
	size_t adopted;
	size_t tasks;
	size_t damaged;
	size_t strange; /* receipts that make no sense */
};

/* @b is appended to the batch, or written. */
static int put(struct recovery *x, const struct memo_batch *b)
{
	if (!x->bulk)
		return memo_manifest_write(x->store->manifest, b, false, x->err);
	int r = memo_buf_error(&b->ops);
	if (r == 0)
		r = memo_buf_append(&x->batch.ops, b->ops.data, b->ops.len);
	x->batched++;
	return r;
}

static int flush_batch(struct recovery *x, bool now)
{
	if (x->batched == 0 || (!now && x->batched < BATCH_RECEIPTS && x->batch.ops.len < BATCH_BYTES))
		return 0;
	int r = memo_manifest_write_bulk(x->store->manifest, &x->batch, x->err);
	memo_batch_clear(&x->batch);
	x->batched = 0;
	return r;
}

/* ---- adopting one receipt ------------------------------------------------------------------------------- */

/* The row of the name, at once: another receipt of the same name may be in nobody's batch but its own. */
static int adopt_name_row(struct recovery *x, const struct memo_buf *k, const json_t *receipt,
			  const struct memo_result *res)
{
	MEMO_AUTO_JSON json_t *old = NULL;
	int r = memo_manifest_get_json(x->store->manifest, MEMO_NAMES, k->data, k->len, &old, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && memo_json_int(old, "time", 0) >= res->mtime_ns)
		return 0;
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:I, s:I}", "identity", memo_id_hex(&res->identity, hex),
					       "info", (json_int_t)memo_json_int(receipt, "info", 0), "time",
					       (json_int_t)res->mtime_ns);
	memo_batch_put_json(&b, MEMO_NAMES, k->data, k->len, row);
	return x->bulk ? memo_manifest_write_bulk(x->store->manifest, &b, x->err)
		       : memo_manifest_write(x->store->manifest, &b, false, x->err);
}

static int adopt_name_shared(struct recovery *x, const struct memo_buf *k, const json_t *receipt,
			     const struct memo_result *res)
{
	memo_mutex_lock(&x->shared->names);
	int r = adopt_name_row(x, k, receipt, res);
	memo_mutex_unlock(&x->shared->names);
	return r;
}

/* The name means what was produced last under it. */
static int adopt_name(struct recovery *x, const json_t *receipt, const struct memo_result *res,
		      struct memo_batch *b)
{
	const char *task = memo_json_string(receipt, "task", NULL);
	const char *version = memo_json_string(receipt, "version", NULL);
	const char *name = memo_json_string(receipt, "name", NULL);
	if (task == NULL || version == NULL || name == NULL || strlen(name) > MEMO_COMPONENT_MAX)
		return -EBADMSG;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	int r = memo_key(&k, task, version, name);
	if (r < 0)
		return r;
	r = x->shared == NULL ? adopt_name_row(x, &k, receipt, res) : adopt_name_shared(x, &k, receipt, res);
	if (r < 0)
		return r;
	const json_t *inputs = json_object_get(receipt, "inputs");
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	memo_buf_reset(&k);
	if (!json_is_object(inputs) || memo_path_digest(inputs, &digest, NULL) < 0)
		return 0;
	r = memo_key(&k, task, version, memo_id_hex(&digest, hex));
	memo_batch_put_json(b, MEMO_HANDLES, k.data, k.len, inputs);
	return r;
}

/* By hand, because no table of states says that a receipt may speak. */
static int adopt_history(const struct memo_id *identity, int64_t sequence, const char *from, struct memo_batch *b)
{
	char when[MEMO_TIME_TEXT];
	memo_record_time(memo_wall_ns(), when);
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:s?, s:s, s:s, s:n, s:n, s:n, s:n}", "time", when, "from",
					       from, "to", "SUCCESS", "reason", "put back from its receipt", "run",
					       "executor", "job", "exit");
	if (row == NULL)
		return -ENOMEM;
	memo_record_history(identity, sequence, row, b);
	return 0;
}

static void raise_inos(struct memo_store *s, const json_t *receipt, const struct memo_result *res)
{
	memo_store_ino_above(s, res->ino);
	if (res->inner > 0 && res->entries < MEMO_TREE_ENTRIES + 1)
		memo_store_ino_above(s, res->inner + 3 * res->entries);
	memo_store_ino_above(s, (uint64_t)memo_json_int(receipt, "info", 0) + MEMO_INFO_INOS);
}

static int adopt_record(struct recovery *x, const struct memo_result *res, const json_t *receipt, const char *from)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	const struct memo_id *id = &res->identity;
	int r = adopt_name(x, receipt, res, &b);
	if (r == 0)
		r = adopt_history(id, memo_json_int(receipt, "sequence", 1), from, &b);
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *record = json_copy((json_t *)(uintptr_t)receipt);
	if (record == NULL)
		return -ENOMEM;
	(void)json_object_del(record, "info");
	memo_batch_put_json(&b, MEMO_INSTANCES, id->byte, sizeof id->byte, record);
	MEMO_AUTO_JSON json_t *row = memo_result_row(res);
	memo_batch_put_json(&b, MEMO_OBJECTS, res->hash.byte, sizeof res->hash.byte, row);
	memo_record_active(id, false, &b);
	struct memo_id raw;
	if (memo_id_parse(memo_json_string(record, "raw", ""), &raw) == 0)
		memo_alias_batch(&raw, id, &b);
	r = memo_result_refer(&b, id, json_object_get(record, "result"), memo_json_string(record, "task", ""),
			      true);
	if (r < 0)
		return r;
	r = put(x, &b);
	if (r == 0 && !x->live)
		raise_inos(x->store, receipt, res);
	x->adopted += r == 0;
	return r;
}

/* Takes the receipt over when it knows more than @record (NULL: there is none). */
static int adopt(struct recovery *x, const struct memo_id *identity, const json_t *receipt, const json_t *record)
{
	struct memo_id id;
	struct memo_result *res = NULL;
	if (memo_id_parse(memo_json_string(receipt, "identity", ""), &id) < 0 || !memo_id_equal(&id, identity) ||
	    memo_record_state(receipt) != MEMO_SUCCESS ||
	    memo_result_from_json(json_object_get(receipt, "result"), identity, &res) < 0) {
		x->strange++;
		return 0;
	}
	if (x->all && !x->live)
		raise_inos(x->store, receipt, res);
	int r = 0;
	if (record == NULL || memo_json_int(record, "sequence", 0) < memo_json_int(receipt, "sequence", 0))
		r = adopt_record(x, res, receipt, record == NULL ? NULL : memo_json_string(record, "state", NULL));
	memo_result_unref(res);
	if (r == -EBADMSG) {
		x->strange++;
		return 0;
	}
	return r;
}

int memo_recover_adopt(struct memo_store *s, const struct memo_id *identity, const json_t *receipt)
{
	struct recovery x = { .store = s, .all = true };
	int r = adopt(&x, identity, receipt, NULL);
	if (r == 0)
		r = x.adopted > 0 ? memo_store_ino_save(s, NULL) : -EBADMSG;
	return r;
}

/* ---- what was in flight --------------------------------------------------------------------------------- */

struct active {
	struct memo_id id[ACTIVE_AT_ONCE];
	size_t count;
};

static int take_active(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	struct active *a = arg;
	if (len != ACTIVE_LEN + MEMO_ID_BYTES)
		return 0;
	memcpy(a->id[a->count++].byte, (const char *)key + ACTIVE_LEN, MEMO_ID_BYTES);
	return a->count == ACTIVE_AT_ONCE ? 1 : 0;
}

static int end_one(struct recovery *x, const struct memo_id *id)
{
	struct memo_store *s = x->store;
	MEMO_AUTO_JSON json_t *record = NULL;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	int r = memo_record_load(s, id, &record, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	MEMO_AUTO_JSON json_t *receipt = NULL;
	size_t before = x->adopted;
	if (memo_receipt_read(s, id, &receipt) == 0) {
		r = adopt(x, id, receipt, record);
		if (r < 0 || x->adopted > before)
			return r;
	}
	memo_record_active(id, false, &b);
	enum memo_state state = record == NULL ? MEMO_STATES : memo_record_state(record);
	if (state == MEMO_SUBMITTED || state == MEMO_RUNNING || state == MEMO_RETRYING) {
		struct memo_transition t = { .to = MEMO_PENDING, .reason = "the daemon ended", .exit_code = -1 };
		r = memo_record_step(record, id, &t, &b);
		if (r < 0)
			return memo_fail(x->err, r, "store '%s': a record cannot be changed: %s", s->dir,
					 memo_strerror(r));
		memo_batch_put_json(&b, MEMO_INSTANCES, id->byte, sizeof id->byte, record);
	}
	return memo_manifest_write(s->manifest, &b, false, x->err);
}

static int end_active(struct recovery *x)
{
	struct active *a = malloc(sizeof *a);
	if (a == NULL)
		return memo_fail(x->err, -ENOMEM, "store '%s': out of memory", x->store->dir);
	int r;
	do {
		a->count = 0;
		r = memo_manifest_scan(x->store->manifest, MEMO_META, ACTIVE, ACTIVE_LEN, NULL, 0, take_active, a,
				       x->err);
		for (size_t i = 0; i < a->count && r >= 0; i++) {
			int e = end_one(x, &a->id[i]);
			r = e < 0 ? e : r;
		}
	} while (r > 0);
	free(a);
	return r;
}

/* ---- receipts ------------------------------------------------------------------------------------------- */

static void count_one(struct recovery *x)
{
	struct shared *t = x->shared;
	size_t n = atomic_fetch_add(&t->seen, 1) + 1;
	int64_t now = n % BATCH_RECEIPTS == 0 ? memo_now_ns() : 0;
	int64_t told = atomic_load(&t->told_ns);
	if (now - told < PROGRESS_NS || !atomic_compare_exchange_strong(&t->told_ns, &told, now))
		return;
	char line[128];
	(void)snprintf(line, sizeof line, "the manifest is being rebuilt: %zu receipts were read\n", n);
	memo_store_say(x->store, true, line);
}

static void lock_instance(struct recovery *x, const struct memo_id *identity, const json_t *receipt, bool lock)
{
	struct memo_mutex *by_identity = memo_identity_lock(x->store, identity);
	struct memo_mutex *by_name = memo_name_lock(x->store, memo_json_string(receipt, "task", ""),
						    memo_json_string(receipt, "version", ""),
						    memo_json_string(receipt, "name", ""));
	void (*turn)(struct memo_mutex *) = lock ? memo_mutex_lock : memo_mutex_unlock;
	turn(lock ? by_identity : by_name);
	turn(lock ? by_name : by_identity);
}

static int see_receipt(void *arg, const struct memo_id *identity, const json_t *receipt)
{
	struct recovery *x = arg;
	MEMO_AUTO_JSON json_t *record = NULL;
	if (x->shared != NULL)
		count_one(x);
	if (x->careful)
		lock_instance(x, identity, receipt, true);
	int r = memo_record_load(x->store, identity, &record, x->err);
	if (r == 0 || r == -ENOENT)
		r = adopt(x, identity, receipt, record);
	if (x->careful)
		lock_instance(x, identity, receipt, false);
	return r < 0 ? r : flush_batch(x, false);
}

static int see_task(void *arg, const struct memo_id *file, const json_t *receipt)
{
	(void)file;
	struct recovery *x = arg;
	const char *name = memo_json_string(json_object_get(receipt, "definition"), "name", NULL);
	const char *version = memo_json_string(receipt, "version", NULL);
	if (name == NULL || version == NULL) {
		x->strange++;
		return 0;
	}
	if (!x->live) {
		memo_store_ino_above(x->store, (uint64_t)memo_json_int(receipt, "ino", 0) + MEMO_VERSION_INOS);
		memo_store_ino_above(x->store, (uint64_t)memo_json_int(receipt, "name_ino", 0) + MEMO_NAME_INOS);
	}
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *old = NULL;
	int r = memo_key(&k, name, version, NULL);
	if (r == 0)
		r = memo_manifest_get_json(x->store->manifest, MEMO_TASKS, k.data, k.len, &old, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && memo_json_int(old, "sequence", 0) >= memo_json_int(receipt, "sequence", 0))
		return 0;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_put_json(&b, MEMO_TASKS, k.data, k.len, receipt);
	r = memo_manifest_write(x->store->manifest, &b, false, x->err);
	x->tasks += r == 0;
	return r;
}

/* With or without the mark that the manifest has all that the receipts have. */
static int mark_whole(struct recovery *x, bool whole)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	if (whole)
		memo_batch_put(&b, MEMO_META, WHOLE, sizeof WHOLE - 1, "1", 1);
	else
		memo_batch_delete(&b, MEMO_META, WHOLE, sizeof WHOLE - 1);
	return memo_manifest_write(x->store->manifest, &b, true, x->err);
}

static void *walk_shards(void *arg)
{
	struct recovery *x = arg;
	int r = 0;
	while (r == 0 && !atomic_load(&x->shared->stop)) {
		unsigned i = atomic_fetch_add(&x->shared->next, 1);
		if (i >= SHARDS)
			break;
		r = memo_receipt_each_in(x->store, i, see_receipt, x, &x->damaged);
	}
	if (r == 0)
		r = flush_batch(x, true);
	if (r < 0) {
		atomic_store(&x->shared->stop, true);
		if (x->err->code != r)
			(void)memo_fail(x->err, r, "store '%s': its receipts cannot be read: %s", x->store->dir,
					memo_strerror(r));
	}
	memo_batch_clear(&x->batch);
	return NULL;
}

/* All shards, by as many threads as may use the manifest: a rebuild in a live store is one alone. */
static int walk_all(struct recovery *x)
{
	struct recovery part[THREADS];
	struct memo_err err[THREADS] = { { 0 } };
	pthread_t thread[THREADS];
	size_t started = 1;
	for (size_t i = 0; i < THREADS; i++) {
		part[i] = (struct recovery){ .store = x->store,
					     .err = &err[i],
					     .shared = x->shared,
					     .all = x->all,
					     .live = x->live,
					     .bulk = true };
	}
	while (started < THREADS && !x->live &&
	       memo_thread_start(&thread[started], "memofs-rebuild", walk_shards, &part[started]) == 0)
		started++;
	(void)walk_shards(&part[0]);
	int r = 0;
	for (size_t i = 0; i < started; i++) {
		if (i > 0)
			(void)pthread_join(thread[i], NULL);
		x->adopted += part[i].adopted;
		x->damaged += part[i].damaged;
		x->strange += part[i].strange;
		if (err[i].code < 0 && r == 0) {
			r = err[i].code;
			*x->err = err[i];
		}
	}
	return r;
}

static int rebuild(struct recovery *x, bool gap)
{
	struct shared shared = { .told_ns = memo_now_ns() };
	memo_mutex_init(&shared.names);
	x->shared = &shared;
	x->all = true;
	int r = mark_whole(x, false);
	if (r == 0)
		r = memo_receipt_each_task(x->store, see_task, x, &x->damaged);
	/* The recent ones first, and written: the others may be older states of the same. */
	x->bulk = true;
	if (r == 0)
		r = memo_receipt_each_recent(x->store, see_receipt, x, &x->damaged);
	if (r == 0)
		r = flush_batch(x, true);
	if (r == 0)
		r = walk_all(x);
	x->bulk = false;
	memo_batch_clear(&x->batch);
	x->shared = NULL;
	memo_mutex_clear(&shared.names);
	if (r < 0)
		return r;
	if (x->live) {
		MEMO_AUTO_BATCH struct memo_batch b = { 0 };
		memo_store_ino_batch(x->store, &b);
		r = memo_manifest_write(x->store->manifest, &b, true, x->err);
	} else {
		if (gap || x->adopted + x->tasks > 0)
			memo_store_ino_above(x->store, x->store->ino_next + INO_GAP);
		r = memo_store_ino_save(x->store, x->err);
	}
	/* The mark goes into the log, the rows are not there: they come first. */
	if (r == 0)
		r = memo_manifest_checkpoint(x->store->manifest, x->err);
	return r < 0 ? r : mark_whole(x, true);
}

static void tell(const struct recovery *x, struct memo_buf *notice)
{
	if (notice == NULL)
		return;
	if (x->adopted > 0)
		(void)memo_buf_printf(notice, "%zu results were put back from their receipts\n", x->adopted);
	if (x->tasks > 0)
		(void)memo_buf_printf(notice, "%zu registered tasks were put back from their receipts\n", x->tasks);
	if (x->damaged > 0)
		(void)memo_buf_printf(notice, "%zu damaged receipts were moved to quarantine\n", x->damaged);
	if (x->strange > 0)
		(void)memo_buf_printf(notice, "%zu receipts make no sense and were left alone\n", x->strange);
}

static int compare_recent(struct recovery *x)
{
	int r = memo_receipt_each_task(x->store, see_task, x, &x->damaged);
	return r < 0 ? r : memo_receipt_each_recent(x->store, see_receipt, x, &x->damaged);
}

/* RocksDB began a new list of tables when it was opened: a checkpoint in any case, so that this start need not be repeated.
 * What cannot be flushed now makes the next start look again. */
static int settle(struct recovery *x, bool move)
{
	if (memo_manifest_checkpoint(x->store->manifest, NULL) < 0 || !move)
		return 0;
	int r = memo_receipts_settle(x->store);
	return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}

static int compare(struct recovery *x, bool everything, bool unclean, bool gap)
{
	struct memo_store *s = x->store;
	int r = everything ? rebuild(x, gap) : unclean ? compare_recent(x) : 0;
	if (r == 0)
		r = end_active(x);
	if (r == 0)
		r = settle(x, everything || unclean);
	/* A full disk must not keep the store closed: no work begins before this was done (memo_store_room). */
	if (r == -ENOSPC || r == -EDQUOT) {
		s->late_all = everything;
		atomic_store(&s->late, true);
		return 0;
	}
	return r;
}

static int compare_carefully(struct recovery *x)
{
	int r = compare_recent(x);
	for (unsigned i = 0; i < SHARDS && r == 0; i++)
		r = memo_receipt_each_in(x->store, i, see_receipt, x, &x->damaged);
	return r;
}

int memo_recover_late(struct memo_store *s, struct memo_err *err)
{
	struct memo_err own = { 0 };
	struct recovery x = { .store = s, .err = err != NULL ? err : &own, .careful = true };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	memo_mutex_lock(&s->late_mu);
	int r = 0;
	if (atomic_load(&s->late)) {
		r = s->late_all ? compare_carefully(&x) : compare_recent(&x);
		if (r == 0)
			r = end_active(&x);
		if (r == 0 && s->late_all)
			r = memo_manifest_checkpoint(s->manifest, x.err);
		if (r == 0 && s->late_all)
			r = mark_whole(&x, true);
		if (r == 0)
			atomic_store(&s->late, false);
	}
	memo_mutex_unlock(&s->late_mu);
	tell(&x, &notice);
	memo_store_say(s, false, memo_buf_str(&notice));
	return r;
}

int memo_recover(struct memo_store *s, enum memo_manifest_found found, bool unclean, struct memo_buf *notice,
		 struct memo_err *err)
{
	struct memo_err own = { 0 };
	struct recovery x = { .store = s, .err = err != NULL ? err : &own };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_manifest_get(s->manifest, MEMO_META, WHOLE, sizeof WHOLE - 1, &b, err);
	if (r < 0 && r != -ENOENT)
		return r;
	r = compare(&x, r == -ENOENT || found != MEMO_MANIFEST_WHOLE, unclean, found == MEMO_MANIFEST_SALVAGED);
	tell(&x, notice);
	if (r < 0 && x.err->code != r)
		return memo_fail(err, r, "store '%s': its receipts cannot be read: %s", s->dir, memo_strerror(r));
	return r;
}

int memo_recover_live(void *arg, const char *said, struct memo_err *err)
{
	struct memo_store *s = arg;
	struct memo_err own = { 0 };
	struct recovery x = { .store = s, .err = err != NULL ? err : &own, .live = true };
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	memo_store_say(s, false, "the manifest was found to be damaged and is rebuilt\n");
	memo_store_say(s, false, said);
	if (s->opening)
		return 0; /* who opens it sees the rebuild and compares everything */
	int r = rebuild(&x, true);
	tell(&x, &notice);
	memo_store_say(s, false, memo_buf_str(&notice));
	return r;
}

int memo_recover_all(struct memo_store *s, size_t *back_out, struct memo_err *err)
{
	struct memo_err own = { 0 };
	struct recovery x = { .store = s, .err = err != NULL ? err : &own, .careful = true };
	int r = compare_carefully(&x);
	if (r == 0 && back_out != NULL)
		*back_out = x.adopted;
	return r;
}
