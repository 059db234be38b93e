/* Collect: evicts what is worth least until the rest fits, and removes garbage. The rule and the order are in the header. */
#include "collect.h"
#include "object.h"
#include "receipt.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define COLLECTOR "collector"
#define COLLECTED_REASON "its result was collected to make room; a read computes it again"

/* ---- what is kept between collections ---------------------------------------------------------------------- */

static void load_locked(struct memo_collector *c, const json_t *row) MEMO_TSA(requires_capability(c->mu));
static void load_locked(struct memo_collector *c, const json_t *row)
{
	double inflation = json_number_value(json_object_get(row, "inflation"));
	c->inflation = inflation > 0 ? inflation : 0;
	c->times = (uint64_t)memo_json_int(row, "times", 0);
	c->results = (uint64_t)memo_json_int(row, "results", 0);
	c->bytes = (uint64_t)memo_json_int(row, "bytes", 0);
	c->ms = (uint64_t)memo_json_int(row, "ms", 0);
	c->loaded = true;
}

int memo_collector_load(struct memo_store *s, struct memo_err *err)
{
	struct memo_collector *c = &s->collector;
	memo_mutex_lock(&c->mu);
	bool loaded = c->loaded;
	memo_mutex_unlock(&c->mu);
	if (loaded)
		return 0;
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = memo_manifest_get_json(s->manifest, MEMO_META, COLLECTOR, sizeof COLLECTOR - 1, &row, err);
	if (r < 0 && r != -ENOENT)
		return r;
	memo_mutex_lock(&c->mu);
	if (!c->loaded)
		load_locked(c, row);
	memo_mutex_unlock(&c->mu);
	return 0;
}

double memo_collector_inflation(struct memo_store *s)
{
	memo_mutex_lock(&s->collector.mu);
	double v = s->collector.inflation;
	memo_mutex_unlock(&s->collector.mu);
	return v;
}

int memo_store_collected(struct memo_store *s, json_t **out, struct memo_err *err)
{
	struct memo_collector *c = &s->collector;
	int r = memo_collector_load(s, err);
	if (r < 0)
		return r;
	memo_mutex_lock(&c->mu);
	json_t *j = json_pack("{s:I, s:I, s:I, s:f}", "times", (json_int_t)c->times, "results",
			      (json_int_t)c->results, "bytes", (json_int_t)c->bytes, "seconds",
			      (double)c->ms / 1000);
	memo_mutex_unlock(&c->mu);
	if (j == NULL)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	*out = j;
	return 0;
}

/* The sums with one more result, and the inflation raised to @value: into the batch that collects it. @k NULL: one more
 * collection. */
static int count_one(struct memo_store *s, const struct memo_kept *k, uint64_t bytes, double value,
		     struct memo_batch *b)
{
	struct memo_collector *c = &s->collector;
	memo_mutex_lock(&c->mu);
	c->inflation = value > c->inflation ? value : c->inflation;
	c->times += k == NULL;
	c->results += k != NULL;
	c->bytes += bytes;
	c->ms += k != NULL ? k->wall_ms : 0;
	json_t *row = json_pack("{s:f, s:I, s:I, s:I, s:I}", "inflation", c->inflation, "times",
				(json_int_t)c->times, "results", (json_int_t)c->results, "bytes",
				(json_int_t)c->bytes, "ms", (json_int_t)c->ms);
	memo_mutex_unlock(&c->mu);
	memo_batch_put_json(b, MEMO_META, COLLECTOR, sizeof COLLECTOR - 1, row);
	json_decref(row);
	return memo_buf_error(&b->ops);
}

/* ---- telling ---------------------------------------------------------------------------------------------- */

bool memo_collect_stopped(const struct memo_collecting *c)
{
	return c->gc->stop != NULL && atomic_load(c->gc->stop);
}

int memo_collect_tell(struct memo_collecting *c, json_t *row)
{
	if (row == NULL)
		return memo_fail(c->err, -ENOMEM, "store '%s': out of memory", c->store->dir);
	int r = c->gc->each == NULL ? 0 : c->gc->each(c->gc->arg, row);
	json_decref(row);
	return r < 0 ? memo_fail(c->err, r, "what goes cannot be told: %s", memo_strerror(r)) : 0;
}

static int tell_result(struct memo_collecting *c, const struct memo_kept *k, const json_t *record, uint64_t bytes)
{
	char id[MEMO_HEX_SIZE];
	char hash[MEMO_HEX_SIZE];
	char last[MEMO_TIME_TEXT];
	memo_record_time(k->last_ns, last);
	const char *task = memo_json_string(record, "task", "");
	const char *version = memo_json_string(record, "version", "");
	const char *name = memo_json_string(record, "name", "");
	c->results++;
	c->bytes += bytes;
	c->ms += k->wall_ms;
	return memo_collect_tell(
		c, json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:s}", "kind", "result",
			     "path", json_sprintf("/tasks/%s/%s/%s", task, version, name), "task", task, "version",
			     version, "name", name, "identity", memo_id_hex(&k->identity, id), "hash",
			     memo_id_hex(&k->hash, hash), "size", (json_int_t)k->size, "bytes", (json_int_t)bytes,
			     "seconds", (double)k->wall_ms / 1000, "uses", (json_int_t)k->uses, "last_use", last));
}

/* ---- one object ------------------------------------------------------------------------------------------- */

struct references {
	const struct memo_id *but; /* not counted; NULL: none */
};

static int see_reference(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	const struct references *x = arg;
	if (len != (size_t)2 * MEMO_ID_BYTES)
		return 0; /* the object's own row */
	return x->but == NULL || memcmp((const char *)key + MEMO_ID_BYTES, x->but->byte, MEMO_ID_BYTES) != 0;
}

static int referred(struct memo_store *s, const struct memo_id *hash, const struct memo_id *but,
		    struct memo_err *err)
{
	struct references x = { .but = but };
	return memo_manifest_scan(s->manifest, MEMO_OBJECTS, hash->byte, sizeof hash->byte, NULL, 0, see_reference,
				  &x, err);
}

int memo_collect_referred(struct memo_store *s, const struct memo_id *hash, struct memo_err *err)
{
	return referred(s, hash, NULL, err);
}

bool memo_store_sole(struct memo_store *s, const struct memo_result *r)
{
	return r->kind != MEMO_RESULT_EXTERNAL && referred(s, &r->hash, &r->identity, NULL) == 0;
}

int memo_collect_unlink(struct memo_collecting *c, const struct memo_id *hash, const char *object,
			char trash[MEMO_TRASH_NAME])
{
	struct memo_store *s = c->store;
	struct memo_shard *h = memo_hold_shard(s, hash);
	(void)snprintf(trash, MEMO_TRASH_NAME, "%s.gone.%llu", s->boot,
		       (unsigned long long)atomic_fetch_add(&s->counter, 1));
	/* Who is not root must be able to write a directory that gets another parent. */
	size_t len = strlen(object);
	if (len > 2 && strcmp(object + len - 2, ".d") == 0)
		(void)fchmodat(s->objects_fd, object, 0755, 0);
	memo_mutex_lock(&h->mu);
	int r = memo_held_locked(h, hash);
	if (r == 0 && renameat(s->objects_fd, object, s->staging_fd, trash) < 0)
		r = memo_errno();
	memo_mutex_unlock(&h->mu);
	if (r == 0)
		return 0;
	trash[0] = '\0';
	if (r > 0 && len > 2 && strcmp(object + len - 2, ".d") == 0)
		(void)fchmodat(s->objects_fd, object, 0555, 0);
	return r == -ENOENT ? 0
	       : r < 0	    ? memo_fail(c->err, r, "object '%s': cannot be removed: %s", object, memo_strerror(r))
			    : r;
}

/* Under the identity's lock. 1: its result is not what the inventory says any more, or must stay. */
static int check_one(struct memo_store *s, const struct memo_kept *k, json_t **record_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, &k->identity, &record, err);
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	struct memo_id hash;
	enum memo_state state = memo_record_state(record);
	const char *hex = memo_json_string(json_object_get(record, "result"), "hash", "");
	if (memo_id_parse(hex, &hash) < 0 || !memo_id_equal(&hash, &k->hash) ||
	    memo_json_bool(record, "pinned", false) ||
	    (state != MEMO_SUCCESS && state != MEMO_FAILED && state != MEMO_CANCELLED))
		return 1;
	*record_out = memo_json_steal(&record);
	return 0;
}

static int take_result(struct memo_store *s, const struct memo_kept *k, json_t *record, uint64_t bytes,
		       double value, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	struct memo_transition t = { .to = MEMO_PENDING, .reason = COLLECTED_REASON, .exit_code = -1 };
	json_t *result = json_object_get(record, "result");
	int r = memo_result_refer(&b, &k->identity, result, "", false);
	if (r == 0 && memo_record_state(record) == MEMO_SUCCESS) {
		r = memo_json_set(record, "collected", json_incref(result));
		if (r == 0)
			r = memo_record_step(record, &k->identity, &t, &b);
	}
	if (r == 0)
		r = memo_json_set(record, "result", json_null());
	memo_use_delete(&b, &k->identity);
	if (r == 0)
		r = count_one(s, k, bytes, value, &b);
	if (r < 0)
		return memo_fail(err, r, "store '%s': a record cannot be changed: %s", s->dir, memo_strerror(r));
	memo_batch_put_json(&b, MEMO_INSTANCES, k->identity.byte, sizeof k->identity.byte, record);
	r = memo_manifest_write(s->manifest, &b, true, err);
	memo_results_forget(s, &k->identity);
	if (r < 0)
		return r;
	r = memo_receipt_remove(s, &k->identity);
	return r < 0 ? memo_fail(err, r, "store '%s': a receipt cannot be removed: %s", s->dir, memo_strerror(r))
		     : 0;
}

/* Steps 1 and 2 for one instance. @bytes: what becomes free with it. 1: it stays. */
static int collect_one(struct memo_collecting *c, const struct memo_kept *k, uint64_t bytes, double value)
{
	struct memo_store *s = c->store;
	MEMO_AUTO_JSON json_t *record = NULL;
	struct memo_mutex *mu = memo_identity_lock(s, &k->identity);
	memo_mutex_lock(mu);
	int r = check_one(s, k, &record, c->err);
	if (r == 0 && !c->gc->dry)
		r = take_result(s, k, record, bytes, value, c->err);
	memo_mutex_unlock(mu);
	return r != 0 ? r : tell_result(c, k, record, bytes);
}

/* All names that a result of this hash may have in objects/; the listing before the tree: without it there is no tree. */
static int unlink_all(struct memo_collecting *c, const struct memo_id *hash, const struct memo_id *blob, bool exec,
		      char trash[2][MEMO_TRASH_NAME])
{
	char name[MEMO_OBJECT_NAME];
	memo_object_name(exec ? blob : hash, exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE, name);
	int r = memo_collect_unlink(c, hash, name, trash[0]);
	if (r != 0 || exec)
		return r;
	memo_object_name(hash, MEMO_OBJECT_DIR, name);
	return memo_collect_unlink(c, hash, name, trash[1]);
}

/* The blob of an executable result lies under another name than its output hash. */
static int blob_of(struct memo_store *s, const struct memo_kept *k, struct memo_id *blob, bool *exec,
		   struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, &k->identity, &record, err);
	if (r < 0)
		return r;
	const json_t *result = json_object_get(record, "result");
	*exec = memo_json_bool(result, "exec", false);
	*blob = k->hash;
	if (memo_id_parse(memo_json_string(result, "blob", ""), blob) < 0)
		return -EBADMSG;
	return 0;
}

/* With both locks. 1: it stays. */
static int collect_unit(struct memo_collecting *c, const struct memo_unit *u, char trash[2][MEMO_TRASH_NAME])
{
	struct memo_store *s = c->store;
	const struct memo_kept *k = &c->have.kept[u->first];
	struct memo_id blob;
	bool exec;
	int r = memo_code_set_fresh(s, &c->code, c->err);
	if (r < 0)
		return r;
	r = blob_of(s, k, &blob, &exec, c->err);
	if (r < 0)
		return r == -ENOENT || r == -EBADMSG ? 1 : r;
	if (memo_held(s, &k->hash)) {
		c->held++;
		return 1;
	}
	for (size_t i = 0; i < u->count; i++) {
		r = collect_one(c, &k[i], i + 1 == u->count ? u->size : 0, u->value);
		if (r != 0)
			return r;
	}
	if (c->gc->dry)
		return 0;
	r = memo_collect_referred(s, &k->hash, c->err);
	if (r != 0 || memo_code_set_has(&c->code, &blob))
		return r;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_delete(&b, MEMO_OBJECTS, k->hash.byte, sizeof k->hash.byte);
	r = memo_manifest_write(s->manifest, &b, false, c->err);
	/* held by now: it is garbage when that ends */
	r = r < 0 ? r : unlink_all(c, &k->hash, &blob, exec, trash);
	return r < 0 ? r : 0;
}

static int collect(struct memo_collecting *c, const struct memo_unit *u)
{
	struct memo_store *s = c->store;
	char trash[2][MEMO_TRASH_NAME] = { "", "" };
	struct memo_mutex *mu = memo_object_lock(s, &c->have.kept[u->first].hash);
	memo_mutex_lock(&s->registry.change);
	memo_mutex_lock(mu);
	int r = collect_unit(c, u, trash);
	memo_mutex_unlock(mu);
	memo_mutex_unlock(&s->registry.change);
	for (size_t i = 0; i < 2; i++) {
		/* what stays is swept when the store is opened next */
		int gone = trash[i][0] == '\0' ? 0 : memo_io_remove_tree(s->staging_fd, trash[i]);
		(void)gone;
	}
	(void)sched_yield(); /* whoever registers a task waits for the same lock */
	return r;
}

/* ---- the collection --------------------------------------------------------------------------------------- */

static int evict(struct memo_collecting *c, uint64_t *kept)
{
	const struct memo_gc *g = c->gc;
	*kept = c->have.bytes;
	if (!g->limited || c->have.bytes <= g->limit)
		return 0;
	for (size_t i = 0; i<c->have.units && * kept> g->target && !memo_collect_stopped(c); i++) {
		const struct memo_unit *u = &c->have.unit[i];
		if (u->size == 0 || u->busy)
			continue;
		if (u->pinned) {
			c->pinned++;
			continue;
		}
		int r = collect(c, u);
		if (r < 0)
			return r;
		if (r == 0)
			*kept -= u->size;
	}
	if (c->results == 0 || g->dry)
		return 0;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	int r = count_one(c->store, NULL, 0, 0, &b);
	return r < 0 ? memo_fail(c->err, r, "store '%s': out of memory", c->store->dir)
		     : memo_manifest_write(c->store->manifest, &b, false, c->err);
}

static int run(struct memo_collecting *c, json_t **out)
{
	uint64_t kept = 0;
	int r = memo_inventory_make(c->store, &c->have, c->err);
	/* garbage first: on a full disk it makes the room that the records of an eviction need */
	if (r == 0)
		r = memo_collect_garbage(c);
	if (r == 0)
		r = evict(c, &kept);
	if (r < 0)
		return r;
	*out = json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I}", "dry", c->gc->dry ? 1 : 0,
			 "limit", c->gc->limited ? json_integer((json_int_t)c->gc->limit) : json_null(), "before",
			 (json_int_t)c->have.bytes, "after", (json_int_t)kept, "results", (json_int_t)c->results,
			 "bytes", (json_int_t)c->bytes, "seconds", (double)c->ms / 1000, "garbage",
			 (json_int_t)c->garbage, "garbage_bytes", (json_int_t)c->garbage_bytes, "pinned",
			 (json_int_t)c->pinned, "held", (json_int_t)c->held);
	return *out == NULL ? memo_fail(c->err, -ENOMEM, "store '%s': out of memory", c->store->dir) : 0;
}

int memo_store_gc(struct memo_store *s, const struct memo_gc *gc, json_t **summary_out, struct memo_err *err)
{
	struct memo_err local;
	struct memo_collecting c = { .store = s, .gc = gc, .err = err != NULL ? err : &local };
	memo_mutex_lock(&s->collector.run);
	int r = memo_store_uses_flush(s);
	if (r < 0)
		r = memo_fail(c.err, r, "store '%s': its counts of uses cannot be written: %s", s->dir,
			      memo_strerror(r));
	if (r == 0)
		r = run(&c, summary_out);
	memo_mutex_unlock(&s->collector.run);
	memo_inventory_clear(&c.have);
	memo_code_set_clear(&c.code);
	return r;
}

/* ---- what is known of collected results ---------------------------------------------------------------------- */

int memo_store_lookup_known(struct memo_store *s, const struct memo_id *identity, struct memo_result **out,
			    struct memo_err *err)
{
	int r = memo_store_lookup(s, identity, out, err);
	if (r != -ENOENT)
		return r;
	MEMO_AUTO_JSON json_t *record = NULL;
	r = memo_record_load(s, identity, &record, err);
	if (r < 0)
		return r;
	const json_t *was = json_object_get(record, "collected");
	if (!json_is_object(was))
		return -ENOENT;
	r = memo_result_from_json(was, identity, out);
	if (r == 0)
		(*out)->collected = true;
	return r == -EBADMSG ? -ENOENT : r;
}

/* ---- pins ------------------------------------------------------------------------------------------------- */

/* The receipt first: a rebuild must know of a pin that was acknowledged. Its sequence stays: the record goes before it. */
static int pin(struct memo_store *s, const struct memo_id *identity, bool pinned, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	MEMO_AUTO_JSON json_t *receipt = NULL;
	int r = memo_record_load(s, identity, &record, err);
	if (r < 0)
		return r;
	bool served = memo_record_state(record) == MEMO_SUCCESS;
	if (pinned && !served)
		return -ENOENT;
	if (memo_json_bool(record, "pinned", false) == pinned)
		return 0;
	r = memo_json_set(record, "pinned", json_boolean(pinned));
	if (r == 0 && served)
		r = memo_receipt_read(s, identity, &receipt);
	if (r == 0 && receipt != NULL)
		r = memo_json_set(receipt, "pinned", json_boolean(pinned));
	if (r == -ENOENT || r == -EBADMSG)
		r = 0; /* without a receipt it cannot be rebuilt either; that is for fsck */
	if (r < 0)
		return r;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_put_json(&b, MEMO_INSTANCES, identity->byte, sizeof identity->byte, record);
	memo_receipts_hold(s);
	if (receipt != NULL)
		r = memo_receipt_write(s, identity, receipt, err);
	if (r == 0)
		r = memo_manifest_write(s->manifest, &b, true, err);
	memo_receipts_let_go(s);
	return r;
}

int memo_store_pin(struct memo_store *s, const struct memo_id *identity, bool pinned, struct memo_err *err)
{
	struct memo_mutex *mu = memo_identity_lock(s, identity);
	memo_mutex_lock(mu);
	int r = pin(s, identity, pinned, err);
	memo_mutex_unlock(mu);
	char hex[MEMO_HEX_SIZE];
	if (r == -ENOENT)
		return memo_fail(err, r, "instance %s: has no result", memo_id_hex(identity, hex));
	return r < 0 && (err == NULL || err->code != r)
		       ? memo_fail(err, r, "instance %s: cannot be %s: %s", memo_id_hex(identity, hex),
				   pinned ? "pinned" : "unpinned", memo_strerror(r))
		       : r;
}
