/* Collect: which results go when the store is to be smaller, and in which order their traces are removed.
 *
 * The rule. GreedyDual-Size-Frequency (L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
 * Policy", HP Labs 1998, over P. Cao and S. Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997). The value of an object is
 *
 *	H = L + sum over its instances of (uses * seconds it took to compute) / bytes
 *
 * and what has the least H goes first. L, the inflation, is the H of what was evicted last, and an object takes the L of its last use:
 * so what is not used any more sinks below what is used now, without a clock that could jump. The unit is the object, since only
 * with the last instance that refers to it do its bytes become free: it is counted once, is worth what all its instances are worth
 * together, and goes or stays with all of them. Its instances of tasks with "cache": false are worth nothing: they are never reused.
 * Where results are as good as each other (equal H) the one that was used longest ago goes first. What has no bytes (an External
 * result, an empty file) frees nothing and stays.
 *
 * Uses are counted in memory and written every few seconds and at close: a crash may lose them, and then a result is worth
 * somewhat less than it should be; nothing else depends on them. L and what was collected are written with each collection.
 *
 * What stays whatever it is worth: pinned results; what is held (memo_store_hold(): open files and directories, results that a
 * queued or running task reads, what was just handed to a command); what is executed anew at the moment.
 *
 * What collecting leaves. The record goes from SUCCESS to PENDING, as with a forgotten result, but keeps under "collected" what it
 * said about the result: above all the output hash. A downstream identity is made of output hashes alone, so that whoever needs no
 * more than that (memo_store_lookup_known()) still finds it, and a cached downstream stays a hit although its upstream is gone. That
 * is as sound as a hit before the collection was: the hash is of the result that was committed under that identity. Whoever wants
 * bytes sees a miss, executes, and the publication replaces "collected"; with another output hash the downstream's identity is
 * another and it is a miss, as after a forced execution. force and forget take "collected" away with the result.
 *
 * Why a kill at any moment leaves no dangling hit. For each object, in this order:
 *
 *	1 for each instance: one synced batch: record PENDING, reference row gone       killed: the next line is not needed for truth
 *	2 its receipt removed, its directory synced                                     killed: an orphan object, garbage
 *	3 no reference row is left: the object is renamed into staging                  killed: staging is swept at the next open
 *	4 and removed
 *
 * A record that says SUCCESS therefore always has its bytes: they go only after all records that refer to them have gone durably.
 * Between 1 and 2 the receipt has a smaller "sequence" than the record and is not believed against it; if the manifest is lost then,
 * the receipt is taken up again, rightly, since the object is still there. After 2 nothing can bring the result back but an execution.
 * A receipt that a kill left behind between the two is removed by the next collection (garbage).
 *
 * Against a publication of the same content at the same time ("it exists already" counts as placed): both hold the object's lock,
 * publication from before it looks for the object until its record is committed, collection from before 1 until after 3. So either
 * the publication sees the object gone and puts its own, or its reference row is seen in 3 and the object stays. A registration
 * that finds its code there as an object is kept away by the registry's change lock. Against readers: a hold is looked for once more in
 * the same critical section (the hold's own lock) in which the object is renamed; whoever holds first and opens then finds it there
 * or finds it gone, which is a miss, never half of it.
 *
 * Garbage, which is removed whatever the limit is: objects that nothing refers to (of forgotten, replaced and lost results and of
 * publications that a crash cut off), receipts and logs of forgotten results. Quarantine is evidence and is left to people;
 * staging is swept when the store is opened. A result's own logs and history stay with its record when it is collected.
 *
 * Time: one pass over the records (about 50,000 a second) and over the names in objects/, without a lock; about 100 bytes of memory for a
 * result. Then two syncs for each instance that goes. */
#ifndef MEMO_STORE_COLLECT_H
#define MEMO_STORE_COLLECT_H

#include "internal.h"

/* A result that a record has. */
struct memo_kept {
	struct memo_id identity;
	struct memo_id hash;
	uint64_t size;
	uint64_t wall_ms;
	uint64_t uses;
	int64_t last_ns; /* wall clock, for people and among equals */
	double base; /* L when it was used last */
	bool pinned;
	bool busy; /* being executed anew */
	bool worthless; /* its task says "cache": false, or it is not served: its state is not SUCCESS */
	bool unused; /* no row of uses: it gets one */
};

/* Results with one hash: kept[first] ... kept[first + count - 1]. */
struct memo_unit {
	size_t first;
	size_t count;
	uint64_t size;
	int64_t last_ns;
	double value; /* H */
	bool pinned;
	bool busy;
};

struct memo_inventory {
	struct memo_kept *kept; /* by hash, then identity */
	size_t count;
	size_t room;
	struct memo_unit *unit; /* by value, the least first */
	size_t units;
	struct memo_id *stale; /* identities without a result: a receipt or log of theirs is garbage */
	size_t stales;
	size_t stale_room;
	uint64_t bytes; /* of all units */
};

/* collect_scan.c: what the records say now. */
MEMO_MUST int memo_inventory_make(struct memo_store *s, struct memo_inventory *out, struct memo_err *err);
void memo_inventory_clear(struct memo_inventory *v);
bool memo_inventory_has(const struct memo_inventory *v, const struct memo_id *hash);

/* Objects that are code of a task that is registered, or was: by name, sorted. */
struct memo_code_set {
	struct memo_id *id;
	size_t count;
	size_t room;
	uint64_t sequence; /* of the registry when it was made */
	bool made;
};
/* With the registry's change lock: makes the set, or makes it again after a registration. */
MEMO_MUST int memo_code_set_fresh(struct memo_store *s, struct memo_code_set *c, struct memo_err *err);
bool memo_code_set_has(const struct memo_code_set *c, const struct memo_id *id);
void memo_code_set_clear(struct memo_code_set *c);

/* One collection under way. */
struct memo_collecting {
	struct memo_store *store;
	const struct memo_gc *gc;
	struct memo_inventory have;
	struct memo_code_set code;
	uint64_t results, bytes, ms; /* that went (or would) */
	uint64_t garbage, garbage_bytes;
	uint64_t pinned, held; /* units that would have gone */
	struct memo_err *err;
};
bool memo_collect_stopped(const struct memo_collecting *c);
MEMO_MUST int memo_collect_tell(struct memo_collecting *c, json_t *row); /* takes the reference */
/* With the registry's change lock and the object's lock: step 3, when nothing needs it. 1: it stays. *@trash_out: its
 * name in staging, to be removed when the locks are given back; "": nothing was there. */
#define MEMO_TRASH_NAME 96
MEMO_MUST int memo_collect_unlink(struct memo_collecting *c, const struct memo_id *hash, const char *object,
				  char trash[MEMO_TRASH_NAME]);
/* Any result of any record refers to the object: its reference rows. 1: yes. */
MEMO_MUST int memo_collect_referred(struct memo_store *s, const struct memo_id *hash, struct memo_err *err);

/* collect_garbage.c */
MEMO_MUST int memo_collect_garbage(struct memo_collecting *c);

/* hold.c: rows of uses. */
struct memo_use_row {
	uint64_t uses;
	double base;
	int64_t last_ns;
};
#define MEMO_USE "use"
#define MEMO_USE_LEN sizeof MEMO_USE /* with the NUL, which separates */
void memo_use_put(struct memo_batch *b, const struct memo_id *identity, const struct memo_use_row *row);
void memo_use_delete(struct memo_batch *b, const struct memo_id *identity);
bool memo_use_parse(const void *value, size_t len, struct memo_use_row *out);

/* collect.c: the inflation and the sums, as they were left. */
MEMO_MUST int memo_collector_load(struct memo_store *s, struct memo_err *err);
double memo_collector_inflation(struct memo_store *s);

#endif
