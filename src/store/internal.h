/* What the parts of the store share. Private to this folder; store.h is the door.
 *
 * Locks, outermost first: collection > registry change > object (by output hash) > registry > record (by identity, then by name) >
 * node ids > manifest handle > caches (results, checked, trees, digests), settings, holds and uses. A lock of a later kind is never held while taking an earlier one. */
#ifndef MEMO_STORE_INTERNAL_H
#define MEMO_STORE_INTERNAL_H

#include "base/map.h"
#include "base/sync.h"
#include "breaker.h"
#include "manifest.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define MEMO_STORE_STRIPES 64
#define MEMO_STORE_RESULTS 65536 /* results kept in memory */
#define MEMO_STORE_CHECKED ((size_t)1 << 20)
#define MEMO_STORE_TREES 32
#define MEMO_STORE_DIGESTS 1024
#define MEMO_NAME_INOS 8 /* of a task's name */
#define MEMO_VERSION_INOS 16 /* of a task's version */
#define MEMO_INFO_INOS 32 /* of an instance's name */
#define MEMO_HANDLE_BYTES ((size_t)64 << 20)

/* Results by identity, least recently used last. */
struct memo_results {
	struct memo_mutex mu;
	struct memo_map map; /* guarded by mu */
	struct memo_cached *first; /* guarded by mu */
	struct memo_cached *last; /* guarded by mu */
	uint64_t era[MEMO_STORE_STRIPES]; /* guarded by mu; grows with each change of a record */
};

/* Which objects were hashed by this process and found to be right: an open table of 8-byte marks. */
struct memo_checked {
	struct memo_mutex mu;
	uint64_t *slot; /* guarded by mu */
	size_t size; /* guarded by mu; a power of two or 0 */
	size_t count; /* guarded by mu */
};

struct memo_trees {
	struct memo_mutex mu;
	struct memo_tree *tree[MEMO_STORE_TREES]; /* guarded by mu; most recent first */
};

struct memo_digest_slot {
	char *path;
	struct memo_digest digest;
};

struct memo_digests {
	struct memo_mutex mu;
	struct memo_digest_slot slot[MEMO_STORE_DIGESTS]; /* guarded by mu */
};

struct memo_registry {
	struct memo_mutex change; /* held through a registration or removal, I/O included; outside of mu */
	struct memo_mutex mu; /* short: look-ups must not wait for a disk */
	struct memo_map names; /* guarded by mu: struct registry_name */
	uint64_t sequence; /* guarded by change: of the last registration */
	uint64_t mark; /* guarded by mu: of the last walk over needs */
};

/* Holds by output hash, or uses by identity (hold.c). */
#define MEMO_HOLD_SHARDS 16
struct memo_shard {
	struct memo_mutex mu;
	struct memo_map map; /* guarded by mu */
	bool blind; /* guarded by mu: a hold could not be written down, all counts as held */
};

/* Eviction (collect.h). */
struct memo_collector {
	struct memo_mutex run; /* one collection at a time; outside of all others */
	struct memo_mutex mu;
	bool loaded; /* guarded by mu */
	double inflation; /* guarded by mu: L */
	uint64_t times; /* guarded by mu: how often results were collected */
	uint64_t results; /* guarded by mu: that were, and below what they took */
	uint64_t bytes; /* guarded by mu */
	uint64_t ms; /* guarded by mu */
};

/* Receipts that the manifest may have in its log alone: receipt.h. */
#define MEMO_RECENT_UNSURE 64
struct memo_recent {
	pthread_rwlock_t
		hold; /* shared: between a receipt and its batch; exclusive: another directory becomes the active one */
	int fd[2];
	_Atomic unsigned active; /* index of the one that is written to; changes with @hold held exclusively */
	_Atomic unsigned count; /* written since the last checkpoint */
	_Atomic bool busy; /* a checkpoint is being made */
	struct memo_mutex mu;
	struct memo_id unsure[MEMO_RECENT_UNSURE]; /* guarded by mu: receipts whose batch failed */
	size_t unsures; /* guarded by mu */
	bool stay; /* guarded by mu: more of them than are remembered */
};

struct memo_config {
	struct memo_mutex mu;
	json_t *values; /* guarded by mu: key -> text, only what is not the default */
};

struct memo_store {
	char *dir;
	int dir_fd;
	int lock_fd;
	int objects_fd;
	/* Whether this process knows that objects/xx has its name on the disk: who finds it there may be ahead of who
	 * made it, or come after one who was killed before the sync. */
	_Atomic bool object_shards[256];
	int receipts_fd;
	int task_receipts_fd;
	int logs_fd;
	int staging_fd;
	int quarantine_fd;
	char boot[40];
	_Atomic uint64_t counter; /* for names in staging and quarantine */
	char *mountpoint; /* set once, before the mount is served */
	uint64_t mount_dev;
	struct memo_manifest *manifest;
	struct memo_recent recent;
	memo_store_say_fn *say; /* NULL: nobody listens */
	void *say_arg;
	struct memo_mutex late_mu; /* outside of all others */
	_Atomic bool
		late; /* the disk was full when receipts were to be compared: nothing may be executed before that */
	bool late_all; /* set before other threads come: compare all */
	bool opening; /* until memo_store_open() returns; one thread */

	struct memo_mutex ino_mu;
	uint64_t ino_next; /* guarded by ino_mu */
	_Atomic uint64_t ino_limit; /* changed with ino_mu: ids below it are reserved durably */

	struct memo_mutex object_mu[MEMO_STORE_STRIPES]; /* by output hash: placing and committing, or removing */
	struct memo_mutex identity_mu[MEMO_STORE_STRIPES]; /* read, change, write of one instance's record */
	struct memo_mutex name_mu[MEMO_STORE_STRIPES]; /* the same of a name's row */

	struct memo_registry registry;
	struct memo_config config;
	struct memo_results results;
	struct memo_checked checked;
	struct memo_trees trees;
	struct memo_digests digests;
	struct memo_shard hold[MEMO_HOLD_SHARDS];
	struct memo_shard use[MEMO_HOLD_SHARDS];
	struct memo_collector collector;
	struct memo_breaker breaker;
	_Atomic uint64_t damaged;
	_Atomic bool checking; /* memo_store_check() */
	memo_alarm_fn *alarm; /* set once, before other threads use the store */
	void *alarm_arg;
};

/* ---- store.c -------------------------------------------------------------------------------------- */

/* Ids up to @used are taken, whoever gave them: for the rebuild. */
void memo_store_ino_above(struct memo_store *s, uint64_t used);
/* Makes the limit durable now. */
MEMO_MUST int memo_store_ino_save(struct memo_store *s, struct memo_err *err);
/* The row of the limit as it stands, without a lock: for a rebuild. */
void memo_store_ino_batch(struct memo_store *s, struct memo_batch *b);
/* Tells whoever opened the store, line by line. */
void memo_store_say(struct memo_store *s, bool progress, const char *lines);

/* ---- config.c ------------------------------------------------------------------------------------- */

/* safe.c: opens the store's directory at @dir (absolute, without links), when nobody but the trusted decides what lies there. */
MEMO_MUST int memo_store_open_place(const char *dir, int *fd_out, struct memo_err *err);

MEMO_MUST int memo_config_load(struct memo_store *s, struct memo_buf *notice, struct memo_err *err);
void memo_config_clear(struct memo_store *s);

/* ---- record.c ------------------------------------------------------------------------------------- */

/* -ENOENT; the record as it is stored. */
MEMO_MUST int memo_record_load(struct memo_store *s, const struct memo_id *identity, json_t **out,
			       struct memo_err *err);
enum memo_state memo_record_state(const json_t *record);
/* Names the instance in @record. */
MEMO_MUST int memo_record_describe(json_t *record, const struct memo_instance *i);
/* The transition itself: state, sequence, attempts, message, origin; history and the index of what is in flight go
 * into @b. The record is not put there yet. */
MEMO_MUST int memo_record_step(json_t *record, const struct memo_id *identity, const struct memo_transition *t,
			       struct memo_batch *b);
/* The row of the instance's name, with its handle when it is new; *@info_out: its node ids. Call with the name's lock. */
MEMO_MUST int memo_record_name(struct memo_store *s, const struct memo_instance *i, struct memo_batch *b,
			       uint64_t *info_out, struct memo_err *err);
void memo_record_history(const struct memo_id *identity, int64_t sequence, const json_t *row, struct memo_batch *b);
void memo_record_active(const struct memo_id *identity, bool active, struct memo_batch *b);
struct memo_mutex *memo_identity_lock(struct memo_store *s, const struct memo_id *identity);
struct memo_mutex *memo_name_lock(struct memo_store *s, const char *task, const char *version, const char *name);
/* "2026-01-31T12:00:00.123Z". */
#define MEMO_TIME_TEXT 32
void memo_record_time(int64_t wall_ns, char out[MEMO_TIME_TEXT]);

/* The lock of an object, from before a publication looks for it until it is committed, and while it is removed. */
struct memo_mutex *memo_object_lock(struct memo_store *s, const struct memo_id *hash);

/* ---- hold.c, collect.c ---------------------------------------------------------------------------- */

void memo_holds_init(struct memo_store *s);
void memo_holds_clear(struct memo_store *s);
struct memo_shard *memo_hold_shard(struct memo_store *s, const struct memo_id *hash);
bool memo_held_locked(struct memo_shard *h, const struct memo_id *hash) MEMO_TSA(requires_capability(h->mu));
bool memo_held(struct memo_store *s, const struct memo_id *hash);

/* ---- alias.c, publish.c --------------------------------------------------------------------------- */

/* The record and the alias of an instance that is being published. */
MEMO_MUST int memo_alias_record(json_t *record, const struct memo_instance *i, struct memo_batch *b);
void memo_alias_batch(const struct memo_id *raw, const struct memo_id *identity, struct memo_batch *b);
/* From the receipt on: record, receipt, batch. With both locks of the instance. */
MEMO_MUST int memo_publish_record(struct memo_store *s, const struct memo_publication *p, json_t *record,
				  struct memo_result *res, struct memo_err *err);

/* ---- recover.c ------------------------------------------------------------------------------------ */

/* After opening the manifest: what is missing comes back from the receipts, what was in flight becomes PENDING. */
MEMO_MUST int memo_recover(struct memo_store *s, enum memo_manifest_found found, bool unclean,
			   struct memo_buf *notice, struct memo_err *err);
/* memo_heal_fn of a store that is open; @arg: the store. */
MEMO_MUST int memo_recover_live(void *arg, const char *said, struct memo_err *err);
/* The comparison that a full disk put off. */
MEMO_MUST int memo_recover_late(struct memo_store *s, struct memo_err *err);
/* The whole comparison, on demand (fsck --repair): every receipt against its record. Publications may go on meanwhile.
 * *@back_out (may be NULL): how many results were put back. */
MEMO_MUST int memo_recover_all(struct memo_store *s, size_t *back_out, struct memo_err *err);

/* One result back from its receipt, whatever its record says; for a repair, with both locks of the instance. -EBADMSG: the
 * receipt makes no sense. */
MEMO_MUST int memo_recover_adopt(struct memo_store *s, const struct memo_id *identity, const json_t *receipt);

/* ---- result.c ------------------------------------------------------------------------------------- */

/* The "result" of a record, new reference; NULL: out of memory. */
json_t *memo_result_json(const struct memo_result *r);
/* -EBADMSG. */
MEMO_MUST int memo_result_from_json(const json_t *j, const struct memo_id *identity, struct memo_result **out);
/* The row of the `objects` table. */
json_t *memo_result_row(const struct memo_result *r);
/* usage.c: the result that @result (of a record) describes refers to its object, or not any more. */
int memo_result_refer(struct memo_batch *b, const struct memo_id *identity, const json_t *result, const char *task,
		      bool refers);
/* The record changed: the cache forgets. Call after each write, also a failed one. */
void memo_results_forget(struct memo_store *s, const struct memo_id *identity);
void memo_results_keep(struct memo_store *s, struct memo_result *r);
void memo_results_clear(struct memo_store *s);
struct memo_result *memo_result_new(void);

/* ---- registry ------------------------------------------------------------------------------------- */

struct registry_version {
	struct memo_task *task;
	json_t *record;
	int64_t registered_ns;
	uint64_t sequence;
	uint64_t mark; /* of the last walk that came by */
};

struct registry_name {
	struct memo_map_link link;
	char *name;
	uint64_t ino;
	struct registry_version **version; /* by sequence: the last is the latest */
	size_t count;
};

MEMO_MUST int memo_registry_load(struct memo_store *s, struct memo_buf *notice, struct memo_err *err);
void memo_registry_clear(struct memo_store *s);
/* @version NULL: latest. NULL: not registered. */
struct registry_version *memo_registry_find_locked(struct memo_store *s, const char *name, const char *version)
	MEMO_TSA(requires_capability(s->registry.mu));
/* registry_check.c: needs of @t against what is registered, as if @t were. */
MEMO_MUST int memo_registry_check_locked(struct memo_store *s, const struct memo_task *t, struct memo_buf *warning,
					 struct memo_err *err) MEMO_TSA(requires_capability(s->registry.mu));

/* earlier.c: what the fingerprint of @t, which declares no version, was made of. */
MEMO_MUST int memo_code_row(struct memo_batch *b, const struct memo_task *t, const json_t *code,
			    const json_t *tools);

/* ---- digest.c, attempt.c -------------------------------------------------------------------------- */

void memo_digests_clear(struct memo_store *s);
MEMO_MUST int memo_attempts_sweep(struct memo_store *s, struct memo_buf *notice);
/* orphan.c: ends the processes that work in our staging; returns when they are gone. */
void memo_orphans_end(struct memo_store *s, struct memo_buf *notice);

#endif
