/* Collect, the inventory: every result that a record has, what it is worth, and what of it is shared.
 *
 * Records are read some at a time, so that no iterator of the database stays open and the record that is being looked at may
 * change: each is looked at again under its lock before anything is done to it. */
#include "collect.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/task.h"

#include <string.h>

#define AT_ONCE 4096 /* records in one scan */
#define CODE "code"

/* ---- growing arrays ------------------------------------------------------------------------------------ */

static int room_for(void **list, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return 0;
	size_t more = *room == 0 ? 256 : *room * 2;
	void *p = reallocarray(*list, more, size);
	if (p == NULL)
		return -ENOMEM;
	*list = p;
	*room = more;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, MEMO_ID_BYTES);
}

/* ---- records ------------------------------------------------------------------------------------------- */

struct scan {
	struct memo_store *store;
	struct memo_inventory *out;
	unsigned char last[MEMO_ID_BYTES];
	bool any; /* @last holds */
	size_t seen;
};

/* A task with "cache": false, of this version or, when that is gone, of none that is known: then it may be reused. */
static bool never_reused(struct memo_store *s, const json_t *record)
{
	const char *task = memo_json_string(record, "task", "");
	const char *version = memo_json_string(record, "version", "");
	memo_mutex_lock(&s->registry.mu);
	const struct registry_version *v = memo_registry_find_locked(s, task, version);
	bool never = v != NULL && !v->task->cache;
	memo_mutex_unlock(&s->registry.mu);
	return never;
}

static int take_result(struct scan *x, const struct memo_id *identity, const json_t *record, const json_t *result)
{
	struct memo_inventory *v = x->out;
	enum memo_state state = memo_record_state(record);
	int r = room_for((void **)&v->kept, &v->room, v->count, sizeof *v->kept);
	if (r < 0)
		return r;
	struct memo_kept k = { .identity = *identity, .uses = 1, .unused = true };
	if (memo_id_parse(memo_json_string(result, "hash", ""), &k.hash) < 0)
		return 0; /* it makes no sense: fsck's business, and none of ours */
	bool external = strcmp(memo_json_string(result, "kind", ""), "external") == 0;
	k.size = external ? 0 : (uint64_t)memo_json_int(result, "size", 0);
	k.wall_ms = (uint64_t)memo_json_int(result, "wall_ms", 0);
	k.last_ns = memo_json_int(result, "mtime_ns", 0);
	k.pinned = memo_json_bool(record, "pinned", false);
	k.busy = state != MEMO_SUCCESS && state != MEMO_FAILED && state != MEMO_CANCELLED;
	k.worthless = state != MEMO_SUCCESS || never_reused(x->store, record);
	v->kept[v->count++] = k;
	return 0;
}

static int take_record(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct scan *x = arg;
	struct memo_inventory *v = x->out;
	struct memo_id identity;
	if (len != sizeof identity.byte || (x->any && memcmp(key, x->last, len) == 0))
		return 0;
	memcpy(identity.byte, key, len);
	memcpy(x->last, key, len);
	MEMO_AUTO_JSON json_t *record = NULL;
	if (memo_json_parse(value, value_len, &record, NULL) < 0)
		return -EIO;
	const json_t *result = json_object_get(record, "result");
	int r = 0;
	if (json_is_object(result)) {
		r = take_result(x, &identity, record, result);
	} else if (memo_record_state(record) == MEMO_PENDING) {
		r = room_for((void **)&v->stale, &v->stale_room, v->stales, sizeof *v->stale);
		if (r == 0)
			v->stale[v->stales++] = identity;
	}
	return r < 0 ? r : ++x->seen == AT_ONCE;
}

static int scan_records(struct memo_store *s, struct memo_inventory *out, struct memo_err *err)
{
	struct scan x = { .store = s, .out = out };
	int r;
	do {
		unsigned char from[MEMO_ID_BYTES];
		memcpy(from, x.last, sizeof from);
		x.seen = 0;
		r = memo_manifest_scan(s->manifest, MEMO_INSTANCES, NULL, 0, x.any ? from : NULL,
				       x.any ? sizeof from : 0, take_record, &x, err);
		x.any = true;
	} while (r > 0);
	return r;
}

/* ---- uses: rows in the order of the identities, as the records are ---------------------------------------- */

struct merge {
	struct memo_inventory *v;
	size_t at;
};

static int take_use(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct merge *m = arg;
	struct memo_use_row row;
	if (len != MEMO_USE_LEN + MEMO_ID_BYTES || !memo_use_parse(value, value_len, &row))
		return 0;
	const unsigned char *id = (const unsigned char *)key + MEMO_USE_LEN;
	while (m->at < m->v->count && memcmp(m->v->kept[m->at].identity.byte, id, MEMO_ID_BYTES) < 0)
		m->at++;
	if (m->at == m->v->count)
		return 1;
	struct memo_kept *k = &m->v->kept[m->at];
	if (memcmp(k->identity.byte, id, MEMO_ID_BYTES) != 0)
		return 0;
	k->uses = row.uses;
	k->base = row.base;
	k->last_ns = row.last_ns;
	k->unused = false;
	return 0;
}

/* What was never seen before begins to age now. */
static int begin_ageing(struct memo_store *s, struct memo_inventory *v, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	double now = memo_collector_inflation(s);
	for (size_t i = 0; i < v->count; i++) {
		struct memo_kept *k = &v->kept[i];
		if (!k->unused)
			continue;
		k->base = now;
		const struct memo_use_row row = { .uses = k->uses, .base = now, .last_ns = k->last_ns };
		memo_use_put(&b, &k->identity, &row);
	}
	return b.ops.len == 0 ? 0 : memo_manifest_write(s->manifest, &b, false, err);
}

/* ---- units --------------------------------------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
	const struct memo_kept *x = a;
	const struct memo_kept *y = b;
	int d = memcmp(x->hash.byte, y->hash.byte, MEMO_ID_BYTES);
	return d != 0 ? d : memcmp(x->identity.byte, y->identity.byte, MEMO_ID_BYTES);
}

static int by_value(const void *a, const void *b)
{
	const struct memo_unit *x = a;
	const struct memo_unit *y = b;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return x->last_ns < y->last_ns ? -1 : x->last_ns > y->last_ns;
}

/* kept[first] and all that have its hash. */
static struct memo_unit unit_of(const struct memo_inventory *v, size_t first)
{
	struct memo_unit u = { .first = first };
	double base = 0;
	double worth = 0;
	for (size_t i = first; i < v->count && memo_id_equal(&v->kept[i].hash, &v->kept[first].hash); i++) {
		const struct memo_kept *k = &v->kept[i];
		double seconds = (double)(k->wall_ms > 0 ? k->wall_ms : 1) / 1000;
		if (!k->worthless)
			worth += (double)k->uses * seconds / (double)(k->size > 0 ? k->size : 1);
		base = k->base > base ? k->base : base;
		u.count++;
		u.size = k->size > u.size ? k->size : u.size;
		u.pinned = u.pinned || k->pinned;
		u.busy = u.busy || k->busy;
		u.last_ns = k->last_ns > u.last_ns ? k->last_ns : u.last_ns;
	}
	u.value = base + worth;
	return u;
}

static int make_units(struct memo_inventory *v)
{
	v->unit = calloc(v->count + 1, sizeof *v->unit);
	if (v->unit == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < v->count; i += v->unit[v->units++].count) {
		v->unit[v->units] = unit_of(v, i);
		v->bytes += v->unit[v->units].size;
	}
	if (v->units > 0)
		qsort(v->unit, v->units, sizeof *v->unit, by_value);
	return 0;
}

int memo_inventory_make(struct memo_store *s, struct memo_inventory *out, struct memo_err *err)
{
	struct memo_inventory v = { 0 };
	int r = memo_collector_load(s, err);
	if (r == 0)
		r = scan_records(s, &v, err);
	struct merge m = { .v = &v };
	if (r == 0)
		r = memo_manifest_scan(s->manifest, MEMO_META, MEMO_USE, MEMO_USE_LEN, NULL, 0, take_use, &m, err);
	if (r > 0)
		r = 0;
	if (r == 0)
		r = begin_ageing(s, &v, err);
	if (r == 0 && v.count > 0)
		qsort(v.kept, v.count, sizeof *v.kept, by_hash);
	if (r == 0)
		r = make_units(&v);
	if (r < 0) {
		memo_inventory_clear(&v);
		return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
	}
	*out = v;
	return 0;
}

void memo_inventory_clear(struct memo_inventory *v)
{
	free(v->kept);
	free(v->unit);
	free(v->stale);
	*v = (struct memo_inventory){ 0 };
}

bool memo_inventory_has(const struct memo_inventory *v, const struct memo_id *hash)
{
	size_t low = 0;
	size_t high = v->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int d = memcmp(v->kept[mid].hash.byte, hash->byte, MEMO_ID_BYTES);
		if (d == 0)
			return true;
		if (d < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* ---- code ---------------------------------------------------------------------------------------------- */

static int take_code(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	(void)len;
	struct memo_code_set *c = arg;
	MEMO_AUTO_JSON json_t *row = NULL;
	if (memo_json_parse(value, value_len, &row, NULL) < 0)
		return -EIO;
	size_t i;
	json_t *file;
	json_array_foreach(json_object_get(row, "code"), i, file)
	{
		int r = room_for((void **)&c->id, &c->room, c->count, sizeof *c->id);
		if (r < 0)
			return r;
		if (memo_id_parse(memo_json_string(file, "sha256", ""), &c->id[c->count]) == 0)
			c->count++;
	}
	return 0;
}

int memo_code_set_fresh(struct memo_store *s, struct memo_code_set *c, struct memo_err *err)
{
	if (c->made && c->sequence == s->registry.sequence)
		return 0;
	c->count = 0;
	int r = memo_manifest_scan(s->manifest, MEMO_TASKS, NULL, 0, NULL, 0, take_code, c, err);
	if (r == 0)
		r = memo_manifest_scan(s->manifest, MEMO_META, CODE, sizeof CODE, NULL, 0, take_code, c, err);
	if (r < 0)
		return r == -ENOMEM ? memo_fail(err, r, "store '%s': out of memory", s->dir) : r;
	if (c->count > 0)
		qsort(c->id, c->count, sizeof *c->id, by_id);
	c->sequence = s->registry.sequence;
	c->made = true;
	return 0;
}

bool memo_code_set_has(const struct memo_code_set *c, const struct memo_id *id)
{
	return c->count > 0 && bsearch(id, c->id, c->count, sizeof *c->id, by_id) != NULL;
}

void memo_code_set_clear(struct memo_code_set *c)
{
	free(c->id);
	*c = (struct memo_code_set){ 0 };
}
