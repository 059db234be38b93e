/* Holds and uses: what must not be collected at the moment, and how often results were used.
 *
 * A hold is a count in memory under the output hash; it ends with the process, as does what it stands for. A use is counted in memory
 * under the identity and added to the row of uses in the manifest by the next flush. Both tables are split by the first byte, so that
 * the readers of many results do not meet in one lock. */
#include "collect.h"

#include "base/scope.h"

#include <string.h>

#define USE_BYTES 24
#define FLUSH_BATCH 2048 /* rows in one write */
#define USES_KEPT 65536 /* of one shard, before a flush: beyond it a use is not counted */

struct hold {
	struct memo_map_link link;
	struct memo_id hash;
	uint64_t count;
};

struct use {
	struct memo_map_link link;
	struct memo_id identity;
	uint64_t count;
	int64_t last_ns;
	struct use *next; /* while it is being written */
};

void memo_holds_init(struct memo_store *s)
{
	for (size_t i = 0; i < MEMO_HOLD_SHARDS; i++) {
		memo_mutex_init(&s->hold[i].mu);
		memo_mutex_init(&s->use[i].mu);
	}
}

void memo_holds_clear(struct memo_store *s)
{
	struct memo_map_link *l;
	for (size_t i = 0; i < MEMO_HOLD_SHARDS; i++) {
		while ((l = memo_map_next(&s->hold[i].map, NULL)) != NULL) {
			memo_map_remove(&s->hold[i].map, l);
			free(MEMO_CONTAINER(l, struct hold, link));
		}
		while ((l = memo_map_next(&s->use[i].map, NULL)) != NULL) {
			memo_map_remove(&s->use[i].map, l);
			free(MEMO_CONTAINER(l, struct use, link));
		}
		memo_map_clear(&s->hold[i].map);
		memo_map_clear(&s->use[i].map);
		memo_mutex_clear(&s->hold[i].mu);
		memo_mutex_clear(&s->use[i].mu);
	}
}

struct memo_shard *memo_hold_shard(struct memo_store *s, const struct memo_id *hash)
{
	return &s->hold[hash->byte[0] % MEMO_HOLD_SHARDS];
}

static struct hold *find(struct memo_shard *h, const struct memo_id *hash) MEMO_TSA(requires_capability(h->mu));
static struct hold *find(struct memo_shard *h, const struct memo_id *hash)
{
	struct memo_map_link *l = memo_map_get(&h->map, hash, sizeof *hash);
	return l == NULL ? NULL : MEMO_CONTAINER(l, struct hold, link);
}

bool memo_held_locked(struct memo_shard *h, const struct memo_id *hash)
{
	return h->blind || find(h, hash) != NULL;
}

bool memo_held(struct memo_store *s, const struct memo_id *hash)
{
	struct memo_shard *h = memo_hold_shard(s, hash);
	memo_mutex_lock(&h->mu);
	bool yes = memo_held_locked(h, hash);
	memo_mutex_unlock(&h->mu);
	return yes;
}

/* Without memory for it nothing in this shard is collected any more by this process. */
void memo_store_hold(struct memo_store *s, const struct memo_id *hash)
{
	struct memo_shard *h = memo_hold_shard(s, hash);
	memo_mutex_lock(&h->mu);
	struct hold *x = find(h, hash);
	if (x == NULL && (x = calloc(1, sizeof *x)) != NULL) {
		x->hash = *hash;
		if (memo_map_put(&h->map, &x->link, &x->hash, sizeof x->hash) < 0) {
			free(x);
			x = NULL;
		}
	}
	if (x != NULL)
		x->count++;
	else
		h->blind = true;
	memo_mutex_unlock(&h->mu);
}

void memo_store_release(struct memo_store *s, const struct memo_id *hash)
{
	struct memo_shard *h = memo_hold_shard(s, hash);
	memo_mutex_lock(&h->mu);
	struct hold *x = find(h, hash);
	if (x != NULL && --x->count == 0) {
		memo_map_remove(&h->map, &x->link);
		free(x);
	}
	memo_mutex_unlock(&h->mu);
}

/* ---- uses ----------------------------------------------------------------------------------------------- */

static void put64(unsigned char *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (unsigned char)(v >> (56 - 8 * i));
}

static uint64_t get64(const unsigned char *from)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | from[i];
	return v;
}

static void use_key(const struct memo_id *identity, char key[MEMO_USE_LEN + MEMO_ID_BYTES])
{
	memcpy(key, MEMO_USE, MEMO_USE_LEN);
	memcpy(key + MEMO_USE_LEN, identity->byte, MEMO_ID_BYTES);
}

void memo_use_put(struct memo_batch *b, const struct memo_id *identity, const struct memo_use_row *row)
{
	char key[MEMO_USE_LEN + MEMO_ID_BYTES];
	unsigned char value[USE_BYTES];
	uint64_t base;
	memcpy(&base, &row->base, sizeof base);
	use_key(identity, key);
	put64(value, row->uses);
	put64(value + 8, base);
	put64(value + 16, (uint64_t)row->last_ns);
	memo_batch_put(b, MEMO_META, key, sizeof key, value, sizeof value);
}

void memo_use_delete(struct memo_batch *b, const struct memo_id *identity)
{
	char key[MEMO_USE_LEN + MEMO_ID_BYTES];
	use_key(identity, key);
	memo_batch_delete(b, MEMO_META, key, sizeof key);
}

bool memo_use_parse(const void *value, size_t len, struct memo_use_row *out)
{
	if (len != USE_BYTES)
		return false;
	uint64_t base = get64((const unsigned char *)value + 8);
	out->uses = get64(value);
	memcpy(&out->base, &base, sizeof base);
	out->last_ns = (int64_t)get64((const unsigned char *)value + 16);
	return out->base >= 0; /* and is a number */
}

/* Without memory it is simply not counted. */
void memo_store_used(struct memo_store *s, const struct memo_id *identity)
{
	struct memo_shard *h = &s->use[identity->byte[0] % MEMO_HOLD_SHARDS];
	int64_t now = memo_wall_ns();
	memo_mutex_lock(&h->mu);
	struct memo_map_link *l = memo_map_get(&h->map, identity, sizeof *identity);
	struct use *u = l == NULL ? NULL : MEMO_CONTAINER(l, struct use, link);
	if (u == NULL && h->map.count < USES_KEPT && (u = calloc(1, sizeof *u)) != NULL) {
		u->identity = *identity;
		if (memo_map_put(&h->map, &u->link, &u->identity, sizeof u->identity) < 0) {
			free(u);
			u = NULL;
		}
	}
	if (u != NULL) {
		u->count++;
		u->last_ns = now;
	}
	memo_mutex_unlock(&h->mu);
}

/* All that was counted since the last time. */
static struct use *take(struct memo_store *s)
{
	struct use *all = NULL;
	for (size_t i = 0; i < MEMO_HOLD_SHARDS; i++) {
		struct memo_shard *h = &s->use[i];
		struct memo_map_link *l;
		memo_mutex_lock(&h->mu);
		while ((l = memo_map_next(&h->map, NULL)) != NULL) {
			memo_map_remove(&h->map, l);
			struct use *u = MEMO_CONTAINER(l, struct use, link);
			u->next = all;
			all = u;
		}
		memo_mutex_unlock(&h->mu);
	}
	return all;
}

static int add_use(struct memo_store *s, const struct use *u, double inflation, struct memo_batch *b)
{
	char key[MEMO_USE_LEN + MEMO_ID_BYTES];
	MEMO_AUTO_BUF struct memo_buf old = { 0 };
	struct memo_use_row row = { 0 };
	use_key(&u->identity, key);
	int r = memo_manifest_get(s->manifest, MEMO_META, key, sizeof key, &old, NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && !memo_use_parse(old.data, old.len, &row))
		row = (struct memo_use_row){ 0 };
	row.uses += u->count;
	row.base = inflation;
	row.last_ns = u->last_ns;
	memo_use_put(b, &u->identity, &row);
	return 0;
}

int memo_store_uses_flush(struct memo_store *s)
{
	struct use *all = take(s);
	int r = all == NULL ? 0 : memo_collector_load(s, NULL);
	double inflation = memo_collector_inflation(s);
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	for (size_t n = 1; all != NULL; n++) {
		struct use *u = all;
		all = u->next;
		if (r == 0)
			r = add_use(s, u, inflation, &b);
		free(u);
		if (r == 0 && (n % FLUSH_BATCH == 0 || all == NULL)) {
			r = memo_manifest_write(s->manifest, &b, false, NULL);
			memo_batch_clear(&b);
		}
	}
	return r;
}
