/* Store: one directory that holds everything: the manifest (RocksDB), the objects, the logs, the settings.
 *
 *	DIR/lock            own lock file: flock, close-on-exec; holds host, pid and purpose for messages only
 *	DIR/format          the store's format number, checked at open
 *	DIR/config.json     the settings (CONTRACT.md section 6)
 *	DIR/control.sock    made by the control server
 *	DIR/db/             RocksDB, column families as in DESIGN.md section 4
 *	DIR/objects/xx/     <64 hex>      a file, 0444: a blob, or the listing of a tree
 *	                    <64 hex>.x    the same bytes with an x bit, 0555
 *	                    <64 hex>.d/   the files of a tree, frozen
 *	DIR/checkpoint      what RocksDB's list of tables was when everything had been flushed last
 *	DIR/receipts/xx/    <64 hex of the identity>: self-checksummed records, enough to rebuild the manifest
 *	DIR/receipts/recent.0, recent.1   those since the last checkpoint
 *	DIR/logs/xx/        <64 hex of the identity>.stderr / .stdout of the last attempt, when not empty
 *	DIR/staging/        <boot id>.<n>/: attempts; swept at open but for finished ones
 *	DIR/quarantine/     what was damaged: <UTC time>.<n>.<damaged|unreadable|leftover>.<its name>; nothing is deleted there but
 *	                    by memo_store_check() when it is asked for that
 *
 * init or open -> any call from any thread -> close (no call in flight). One owner at a time: a second open
 * fails with -EBUSY and says who holds it.
 *
 * Errors: negative errno with a sentence. -ENOENT is absence. -EBADMSG: what is stored is damaged. An error of the
 * manifest is never reported as absence.
 *
 * Durable: once memo_store_publish() returned 0 the result survives kill -9 and power loss. Its order is invariant 1 of
 * DESIGN.md: frozen and synced output (by the worker) -> link into objects/ -> fsync directory -> receipt (temporary
 * file, fsync, rename, fsync directory) -> one synced write batch -> answer. Other records (transitions,
 * names, digests) survive kill -9 and may be lost by a power cut. */
#ifndef MEMO_STORE_STORE_H
#define MEMO_STORE_STORE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/tree.h"
#include "base/who.h"
#include "core/attempt.h"
#include "core/task.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MEMO_STORE_FORMAT 1

struct memo_store;

/* ---- life ------------------------------------------------------------------------------------ */

/* Makes a store in @dir (created when missing; must be empty or not exist). -EEXIST: a store is there already. */
MEMO_MUST int memo_store_init(const char *dir, struct memo_err *err);
/* 0: @dir looks like a store; -ENOENT: nothing there; -ENOTDIR and others. */
MEMO_MUST int memo_store_probe(const char *dir, struct memo_err *err);
/* @purpose: what the lock file says ("mount /mnt/memofs"). Waits up to @wait_ms for another owner.
 * Opens RocksDB in recovery mode 0 (absolute consistency but for a torn tail), then, with a copy kept in quarantine, in mode 2,
 * then a new one with every row that can still be read; after an unclean stop, and after either fallback, records that are
 * missing are put back from the receipts (recover.c says which are compared). Instances that were not in a final state become
 * PENDING ("the daemon ended").
 * @notice (may be NULL) gets one line for each thing that had to be repaired.
 * -EPERM: others than root and its owner may write to @dir or to a directory that it lies in, see safe.c. */
MEMO_MUST int memo_store_open(const char *dir, const char *purpose, int wait_ms, struct memo_buf *notice,
			      struct memo_store **out, struct memo_err *err);
/* The same; @say is called with each line as it comes, also while the store is open: what was repaired, and, with @progress,
 * how far a rebuild is. It may be called from any thread with locks of the store held: it must not call the store. */
typedef void memo_store_say_fn(void *arg, bool progress, const char *line);
MEMO_MUST int memo_store_open_told(const char *dir, const char *purpose, int wait_ms, memo_store_say_fn *say,
				   void *arg, struct memo_store **out, struct memo_err *err);
/* Flushes and closes. NULL-safe. */
void memo_store_close(struct memo_store *s);

const char *memo_store_dir(const struct memo_store *s); /* absolute */
/* To be asked before work begins. -ENOSPC, with a sentence: what is free is below the floor (place.c). -EAGAIN: the store was
 * opened on a full disk, and what was put off then has been done just now: results may be there, look again. */
MEMO_MUST int memo_store_room(struct memo_store *s, struct memo_err *err);

/* The mount that shows this store: paths below @mountpoint (absolute) are not read by the digest functions, nor is
 * anything on device @dev. Set once by the composition root before the mount is served; NULL: none. */
MEMO_MUST int memo_store_set_mount(struct memo_store *s, const char *mountpoint, uint64_t dev);

/* ---- settings -------------------------------------------------------------------------------- */

/* The value in force, as text (free() it); -ENOENT: no such key (@err lists the keys). */
MEMO_MUST int memo_store_config_get(struct memo_store *s, const char *key, char **value_out, struct memo_err *err);
/* Validates and saves (atomic, durable). "" resets to the default. */
MEMO_MUST int memo_store_config_set(struct memo_store *s, const char *key, const char *value, struct memo_err *err);
/* {"key":..,"value":..,"default":bool,"meaning":..} for each key, in the contract's order. New reference. */
json_t *memo_store_config_list(struct memo_store *s);

/* What the runner needs of them, read in one go. */
struct memo_settings {
	enum memo_executor executor;
	int64_t cpus;
	uint64_t memory_bytes;
	char path[4096];
	enum memo_sandbox_mode sandbox;
	char readable[4096], writable[4096]; /* directories separated by ':'; "": none */
	uint64_t max_waiting;
	int64_t failure_backoff_ms;
	uint32_t mode; /* permission bits of the mount's root and the store */
	uint32_t gid; /* group of what the mount shows */
	bool has_runners;
	uint32_t runners_gid;
	uint64_t max_bytes; /* of results that are kept; 0: no limit */
};
MEMO_MUST int memo_store_settings(struct memo_store *s, struct memo_settings *out, struct memo_err *err);

/* ---- the registry ---------------------------------------------------------------------------- */

enum memo_added { MEMO_UNCHANGED, MEMO_ADDED, MEMO_UPDATED };

struct memo_code_file {
	const char *path; /* as in the definition: the script, or one of `code` */
	const void *data;
	size_t len;
	bool exec;
};

/* Registers a parsed definition with the contents of its script and `code` files (@files in any order, all of them
 * required), which become objects. Computes the fingerprint (tools are looked up in the setting `path`), completes the
 * version, checks the needs that are registered already (unknown inputs of the need, wrong kind of output) and refuses
 * a cycle of needs over the whole registry (-ELOOP, the cycle spelled out). Moves `latest`. @dry: says what would
 * happen and changes nothing. @warning gets a sentence for each need that is not registered yet. *@task_out (may be NULL):
 * the registered task, a reference. Durable. */
MEMO_MUST int memo_store_register(struct memo_store *s, const struct memo_task *t,
				  const struct memo_code_file *files, size_t count, bool dry,
				  enum memo_added *added_out, struct memo_task **task_out, struct memo_buf *warning,
				  struct memo_err *err);
/* @version NULL or "latest": the one registered last. A reference. -ENOENT with a sentence (nearest name). */
MEMO_MUST int memo_store_task(struct memo_store *s, const char *name, const char *version, struct memo_task **out,
			      struct memo_err *err);
/* @version NULL: all versions. -ENOENT. Results stay. Durable. */
MEMO_MUST int memo_store_unregister(struct memo_store *s, const char *name, const char *version,
				    struct memo_err *err);
/* All versions of all tasks, by name, within a name in order of registration (latest last). Array and references
 * are given back with memo_store_tasks_free(). */
MEMO_MUST int memo_store_tasks(struct memo_store *s, struct memo_task ***out, size_t *count_out);
void memo_store_tasks_free(struct memo_task **tasks, size_t count);
/* -ENOENT. @version_out: MEMO_NAME_MAX + 1 bytes. */
MEMO_MUST int memo_store_latest(struct memo_store *s, const char *name, char *version_out);
/* The first of 8 node ids that belong to a task's name (16 belong to a version: memo_task.ino). -ENOENT. */
MEMO_MUST int memo_store_name_ino(struct memo_store *s, const char *name, uint64_t *ino_out);
/* Absolute path of a code file's object (free() it). */
MEMO_MUST int memo_store_code_path(struct memo_store *s, const struct memo_code *c, char **path_out);
/* When it was registered, wall clock. */
int64_t memo_store_registered_ns(struct memo_store *s, const struct memo_task *t);

/* ---- node ids -------------------------------------------------------------------------------- */

/* The first of @count consecutive ids: sequential, never given twice, not even after a crash (blocks are reserved
 * durably ahead of use). Ids below MEMO_INO_FIRST belong to the fixed directories of the mount. */
#define MEMO_INO_FIRST 1024
MEMO_MUST int memo_store_ino(struct memo_store *s, uint64_t count, uint64_t *first_out);

/* ---- results --------------------------------------------------------------------------------- */

/* A committed result; immutable, shared by reference. */
struct memo_result {
	struct memo_id identity;
	struct memo_id hash; /* the output hash */
	struct memo_id blob; /* of a file */
	enum memo_result_kind kind;
	uint64_t size;
	bool exec;
	bool observed; /* it read the mount while it ran: a hit must be checked (the record's "observed") */
	uint64_t entries; /* of a tree */
	char *path; /* external target */
	int64_t mtime_ns; /* when it was produced */
	uint64_t wall_ms; /* how long its execution took */
	uint64_t ino; /* its node id */
	uint64_t inner; /* of a tree: first of 3 * entries ids: view v (0 tasks, 1 cached, 2 objects), entry i:
			 * inner + v * entries + i */
	bool collected; /* its bytes are gone: only the hash is of use (memo_store_lookup_known()) */
	int refs; /* atomic */
};
struct memo_result *memo_result_ref(struct memo_result *r);
void memo_result_unref(struct memo_result *r);

/* The SUCCESS result of an identity. -ENOENT: none (any other state). One or two point reads. */
MEMO_MUST int memo_store_lookup(struct memo_store *s, const struct memo_id *identity, struct memo_result **out,
				struct memo_err *err);
/* The same where nothing but the output hash is needed: also of a result that was collected (->collected), which still says what
 * is made from it. -ENOENT: neither. */
MEMO_MUST int memo_store_lookup_known(struct memo_store *s, const struct memo_id *identity,
				      struct memo_result **out, struct memo_err *err);
/* The last result with that output hash, for /objects. -ENOENT. */
MEMO_MUST int memo_store_by_hash(struct memo_store *s, const struct memo_id *hash, struct memo_result **out,
				 struct memo_err *err);

/* A descriptor of a file result's bytes, read-only; size and mode are checked against the record, the content too on
 * the first open in this process when it is at most MEMO_STORE_CHECK_BYTES. -ENOENT: gone; -EBADMSG: damaged (it was moved
 * to quarantine): both mean a miss. -EIO: it cannot be read: no miss, nothing is touched, unless the same object fails again
 * (breaker.h), which makes it -EBADMSG. -EMFILE, -ENFILE, -ENOMEM say nothing about it; they were tried again for a moment. */
#define MEMO_STORE_CHECK_BYTES ((uint64_t)1 << 20)
MEMO_MUST int memo_store_open_file(struct memo_store *s, const struct memo_result *r, int *fd_out,
				   struct memo_err *err);
/* The tree of a directory result, a reference; kept in a small cache. The listing is verified against its name.
 * -ENOENT and -EBADMSG as above. */
MEMO_MUST int memo_store_open_tree(struct memo_store *s, const struct memo_result *r, struct memo_tree **out,
				   struct memo_err *err);
/* A file of a directory result. */
MEMO_MUST int memo_store_open_entry(struct memo_store *s, const struct memo_result *r,
				    const struct memo_tree_entry *e, int *fd_out, struct memo_err *err);
/* Absolute path at which programs on this machine can read the result: the object, the tree's directory, or the
 * external path (free() it). */
MEMO_MUST int memo_store_result_path(struct memo_store *s, const struct memo_result *r, char **path_out);
/* The bytes are there: file or listing and directory present, sizes right; an external path exists. -ENOENT. */
MEMO_MUST int memo_store_result_present(struct memo_store *s, const struct memo_result *r);
/* All of its bytes against their hashes, read as @b says (NULL: at full speed); an external path exists. 0: whole. -EBADMSG: not,
 * with words; what is damaged is in quarantine then. -EIO: cannot be read (see above); -ECANCELED: @b said stop. */
struct memo_scrub;
MEMO_MUST int memo_store_result_verify(struct memo_store *s, const struct memo_result *r, struct memo_scrub *b,
				       struct memo_err *err);
/* May a task read the result at memo_store_result_path() now? What an open checks, for each file of it. 0, -ENOENT, -EBADMSG, -EIO
 * as there. */
MEMO_MUST int memo_store_result_usable(struct memo_store *s, const struct memo_result *r, struct memo_err *err);
/* Declares a result lost: the record leaves SUCCESS (to PENDING, with @reason) unless it has been replaced since, and an
 * object whose type, size or mode is wrong goes to quarantine, so that the next publication writes it anew. */
MEMO_MUST int memo_store_result_lost(struct memo_store *s, const struct memo_result *r, const char *reason,
				     struct memo_err *err);

/* Output hashes of results, for /objects, in order, streaming: *@id is the last one given (all zero: begin). -ENOENT: end. */
MEMO_MUST int memo_store_next_hash(struct memo_store *s, struct memo_id *id);

/* ---- reading much ---------------------------------------------------------------------------- */

/* A thread that reads much: begin in that thread, whose priorities sink for good; then the calls that take it. */
struct memo_scrub {
	uint64_t rate; /* bytes a second; 0: no limit */
	bool (*stop)(void *arg); /* true: end soon with -ECANCELED; may be NULL */
	void *arg;
	_Atomic uint64_t bytes; /* read so far */
	int64_t begun_ns; /* private */
	uint64_t paced;
};
void memo_scrub_begin(struct memo_scrub *b);
bool memo_scrub_stopped(const struct memo_scrub *b);

/* Results by output hash, and by identity among those that share it: *@at is the last one given (zero: begin). -ENOENT: end. What
 * is published meanwhile may or may not come. */
struct memo_position {
	struct memo_id hash, identity;
};
MEMO_MUST int memo_store_next_result(struct memo_store *s, struct memo_position *at, struct memo_err *err);
/* Where something long has come to, under @key ("verify"). Not synced. get: -ENOENT; put: NULL removes it. */
MEMO_MUST int memo_store_note_get(struct memo_store *s, const char *key, json_t **out, struct memo_err *err);
MEMO_MUST int memo_store_note_put(struct memo_store *s, const char *key, const json_t *note, struct memo_err *err);

/* What this process found while it read, since the store was opened. */
struct memo_health {
	uint64_t damaged; /* objects moved to quarantine because their bytes or modes were wrong */
	uint64_t read_errors; /* reads of objects that failed */
	uint64_t refused; /* of these, those after which nothing was touched */
};
void memo_store_health(struct memo_store *s, struct memo_health *out);
/* @fn gets a line for each of these; from any thread, with no lock held; must not call the store. Set once, before other threads
 * use it. */
typedef void memo_alarm_fn(void *arg, const char *text);
void memo_store_set_alarm(struct memo_store *s, memo_alarm_fn *fn, void *arg);

/* ---- checking the store ---------------------------------------------------------------------- */

enum memo_found {
	MEMO_FOUND_WRONG, /* @action: what repair would do */
	MEMO_FOUND_REPAIRED, /* @action: what was done */
	MEMO_FOUND_FAILED, /* it could not be, or nothing can be done here; @action says what to do */
	MEMO_FOUND_LEFT, /* nothing wrong: left over; @action: who removes it */
};
struct memo_finding {
	enum memo_found kind;
	const char *where; /* below the store, or "/tasks/..." */
	const char *what;
	const char *action;
};
struct memo_check {
	bool repair;
	bool quick; /* names, sizes, modes and records, but not the content of objects */
	bool empty; /* removes what is in quarantine and was there at the begin */
	struct memo_scrub scrub;
	/* In the checking thread. */
	void (*found)(void *arg, const struct memo_finding *f);
	void *arg;
	/* Read by whoever shows progress. */
	_Atomic uint64_t receipts, records, names, objects;
	/* After the end. */
	uint64_t wrong; /* all that was wrong, whatever became of it */
	uint64_t repaired, failed, left;
};
/* Everything in the store against everything else: the layout, settings and modes, each receipt (checksum, identity) against its
 * record and the other way, names, handles, aliases, runs, references to objects, and each object against its name; orphans and
 * unknown files. Streaming: memory for one of 256 parts of the store at a time and 8 bytes for each executable result.
 * Concurrent use is no finding: whatever looks wrong is looked at again under the lock of its instance.
 * Repair deletes nothing that could be a result: what is wrong goes to quarantine, what refers to it leaves SUCCESS and comes back by
 * being read. -EBUSY: another check runs. -ECANCELED: scrub.stop said so. 0 whatever was found. */
MEMO_MUST int memo_store_check(struct memo_store *s, struct memo_check *c, struct memo_err *err);

/* ---- instances ------------------------------------------------------------------------------- */

enum memo_state {
	MEMO_PENDING,
	MEMO_SUBMITTED,
	MEMO_RUNNING,
	MEMO_SUCCESS,
	MEMO_FAILED,
	MEMO_CANCELLED,
	MEMO_RETRYING,
	MEMO_STATES /* also: "none yet" */
};
const char *memo_state_text(enum memo_state s); /* "PENDING" ... */
enum memo_state memo_state_parse(const char *text); /* MEMO_STATES: none of them */
/* The table of legal transitions; @from MEMO_STATES: a new instance, which begins PENDING. What is final (SUCCESS, FAILED,
 * CANCELLED) only becomes PENDING. RETRYING never becomes SUCCESS: an attempt that succeeds was SUBMITTED or RUNNING before,
 * or PENDING where nobody wrote that down. */
bool memo_state_legal(enum memo_state from, enum memo_state to);

/* What names an instance, for its record. All borrowed. */
struct memo_instance {
	struct memo_id identity;
	const char *task;
	const char *version;
	const char *name; /* canonical component, or "@<digest>" */
	const json_t *inputs; /* canonical */
	const json_t *key; /* pre-image of the identity */
	const json_t *upstream; /* array of {"need","path","identity","hash"}; may be NULL */
	const struct memo_id *raw; /* its raw identity (core/identity.h); NULL: a version is declared */
};

struct memo_transition {
	enum memo_state to;
	const char *reason; /* one sentence; may be NULL */
	const char *run; /* run id or NULL */
	const char *executor; /* "local" ... or NULL */
	const char *job; /* job id or NULL */
	int exit_code; /* -1: none */
	json_t *origin; /* borrowed: becomes the record's "origin" (FAILED, CANCELLED); may be NULL */
	bool anew; /* to PENDING, because somebody doubts what is known: what is kept of a collected result goes, too */
};

/* The one function that writes a state (publication calls it too): checks that the transition is legal (-EPROTO), appends
 * it to the history, writes the record and the name. An old SUCCESS result stays in the record ("result") until it is
 * replaced, but is not served while the state is another; SUCCESS from here takes it up again and is -EPROTO without one.
 * PENDING again while PENDING writes no history. Not synced, except for SUCCESS. */
MEMO_MUST int memo_store_transition(struct memo_store *s, const struct memo_instance *i,
				    const struct memo_transition *t, struct memo_err *err);

/* A hit under a name: from now on the name means this identity, and is listed. Nothing is written when it is known already. */
MEMO_MUST int memo_store_name_hit(struct memo_store *s, const struct memo_instance *i,
				  const struct memo_result *res, struct memo_err *err);

/* A demand that failed before its identity was known (an upstream failed, a file is missing): kept under the name. */
MEMO_MUST int memo_store_name_failed(struct memo_store *s, const char *task, const char *version, const char *name,
				     const json_t *inputs, const char *message, struct memo_err *err);

/* Publication: the attempt directory's frozen output becomes the instance's result. */
struct memo_publication {
	const struct memo_instance *instance;
	const char *attempt; /* absolute path of the attempt directory */
	const struct memo_produced *produced; /* as exit.json said; sizes and listing are verified */
	const json_t *origin; /* object */
	const json_t *observed; /* array of {"path","hash"} or {"path","link"}; may be NULL */
	struct memo_transition transition; /* .to is SUCCESS */
	bool recheck; /* the output lay about while nobody watched: its content is hashed again */
	uint64_t ino; /* node id to use for the result; 0: take a new one. Ignored when the same output
		      * hash is published again for this identity: node ids stay then */
};
/* -ENOSPC/-EDQUOT: nothing was lost, the attempt directory is as it was and may be published again later.
 * -EBADMSG: the output is not what exit.json says. */
MEMO_MUST int memo_store_publish(struct memo_store *s, const struct memo_publication *p, struct memo_result **out,
				 struct memo_err *err);

/* A look-up that found nothing, by the raw identity: when these very bytes of code produced a SUCCESS result under another
 * identity (the rules by which comments are left out have changed since), it becomes this identity's, too: a record of
 * its own, with the same result, receipt included. Once at most: not when the identity has a record in any state.
 * -ENOENT: there is none. Durable. */
MEMO_MUST int memo_store_take_over(struct memo_store *s, const struct memo_instance *i, struct memo_result **out,
				   struct memo_err *err);
/* The whole record as JSON, a new reference: identity task version name inputs key upstream state sequence attempts result
 * origin observed message. -ENOENT. */
MEMO_MUST int memo_store_record(struct memo_store *s, const struct memo_id *identity, json_t **out,
				struct memo_err *err);
/* Array of the transitions, oldest first: {"time","from","to","reason","run","executor","job","exit"}; time is text in
 * UTC ("2026-01-31T12:00:00.123Z"), what is not known is null. */
MEMO_MUST int memo_store_history(struct memo_store *s, const struct memo_id *identity, json_t **out,
				 struct memo_err *err);
/* The SUCCESS record loses its result (objects stay until collected): state PENDING, name not listed, receipt removed.
 * -ENOENT: there was no result. Durable. */
MEMO_MUST int memo_store_forget(struct memo_store *s, const struct memo_id *identity, struct memo_err *err);

/* ---- names ----------------------------------------------------------------------------------- */

struct memo_named {
	char name[256]; /* the component */
	bool known; /* an identity is known */
	struct memo_id identity; /* the one demanded last under this name */
	enum memo_state state;
	uint64_t ino; /* of its result, 0: none */
	uint64_t info; /* first of 32 node ids for /info and /start */
};
/* -ENOENT: never demanded. */
MEMO_MUST int memo_store_named(struct memo_store *s, const char *task, const char *version, const char *name,
			       struct memo_named *out, struct memo_err *err);
/* The message that memo_store_name_failed() left (free() it). -ENOENT. */
MEMO_MUST int memo_store_named_message(struct memo_store *s, const char *task, const char *version,
				       const char *name, char **out);
/* The names of one task version in byte order, streaming: what is added meanwhile may or may not come. */
struct memo_name_iter;
MEMO_MUST int memo_store_names(struct memo_store *s, const char *task, const char *version,
			       struct memo_name_iter **out);
/* 0 and *@n filled, -ENOENT: end. */
MEMO_MUST int memo_name_iter_next(struct memo_name_iter *it, struct memo_named *n);
void memo_name_iter_free(struct memo_name_iter *it);

/* Identities that names of @task meant, of any version, also removed ones: those that this name had before and has under other
 * versions first, then the newest, @limit at most, out of the MEMO_EARLIER_NAMES names that follow this one and as many from the
 * task's first on: bounded, however many there are. Array of 64 hex. */
#define MEMO_EARLIER_NAMES 1024
MEMO_MUST int memo_store_earlier(struct memo_store *s, const char *task, const char *version, const char *name,
				 size_t limit, json_t **out, struct memo_err *err);
/* What a code fingerprint was made of: {"code":[{"path","exec","size","sha256","digest"}],"command","env","output",
 * "script" as in the definition,"tools":[{"name","sha256"}]}, by the last registration with it. @hex: its first 16 digits or more. -ENOENT. */
MEMO_MUST int memo_store_code_of(struct memo_store *s, const char *hex, json_t **out, struct memo_err *err);

/* Handles: inputs that a path cannot spell. put is idempotent and not synced (publication syncs it with the rest). */
MEMO_MUST int memo_store_handle_put(struct memo_store *s, const char *task, const char *version,
				    const json_t *inputs, struct memo_id *digest_out, struct memo_err *err);
/* @hex: 12 to 64 digits of an inputs digest or an identity of this task version. Gives the canonical inputs; when @hex
 * is an identity also that (*@is_identity_out). -ENOENT: none; -ENOTUNIQ: more than one. */
MEMO_MUST int memo_store_handle_find(struct memo_store *s, const char *task, const char *version, const char *hex,
				     json_t **inputs_out, bool *is_identity_out, struct memo_id *identity_out,
				     struct memo_err *err);

/* ---- runs ------------------------------------------------------------------------------------ */

/* What the runner keeps of a run, and of each instance in it; the store does not look inside. A run's id is at most
 * MEMO_RUN_ID - 1 bytes of [A-Za-z0-9.-]; ids sort by age. Rows are kept by their path ("/tasks/...").
 * Not synced unless @sync. */
#define MEMO_RUN_ID 32
MEMO_MUST int memo_store_run_put(struct memo_store *s, const char *id, const json_t *run, bool sync,
				 struct memo_err *err);
/* -ENOENT with a sentence. */
MEMO_MUST int memo_store_run_get(struct memo_store *s, const char *id, json_t **out, struct memo_err *err);
/* Array of ids, oldest first. */
MEMO_MUST int memo_store_run_ids(struct memo_store *s, json_t **out, struct memo_err *err);
/* @rows: object path -> row, put in one batch. */
MEMO_MUST int memo_store_run_rows_put(struct memo_store *s, const char *id, const json_t *rows, bool sync,
				      struct memo_err *err);
/* At most @limit rows after path @after (NULL: from the first) in byte order, as an array of {"path":..,"row":..}; empty: the
 * end. */
MEMO_MUST int memo_store_run_rows(struct memo_store *s, const char *id, const char *after, size_t limit,
				  json_t **out, struct memo_err *err);

/* ---- accounts -------------------------------------------------------------------------------- */

/* task -> {"results","bytes","shared"}: results that have an object in the store; bytes of objects, each counted once, for the
 * result that comes first; bytes that are not stored because another result has the same. One pass over small rows, without a
 * lock: what is published meanwhile may or may not be in. */
MEMO_MUST int memo_store_usage(struct memo_store *s, json_t **out, struct memo_err *err);
/* Counters that the runner keeps for each task; the store does not look inside. Not synced. @rows: task -> object. */
MEMO_MUST int memo_store_counters_put(struct memo_store *s, const json_t *rows, struct memo_err *err);
MEMO_MUST int memo_store_counters_get(struct memo_store *s, json_t **out, struct memo_err *err);

/* ---- digests of input files ------------------------------------------------------------------ */

struct memo_digest {
	struct memo_id id; /* content of a file, or tree of a directory */
	struct memo_guard guard; /* the file's stat when it was hashed */
	uint64_t size;
	bool settled; /* a later change of the file must show in its stat; else only a copy is sure to be what was hashed */
};
/* Hashes a file, or a directory as a tree, through the memo of stats: a file whose device, inode, size, mtime and ctime
 * are known is not read. A digest is remembered only if the file's stat is the same before and after hashing and
 * its last change is older than the clock grain, which is waited for where it is not (20 ms; 2 s on a file system that
 * keeps seconds only). Blocks on the disk.
 * Opened each time with the rights of @who (base/who.h; NULL: of this process), of a directory every file in it.
 * -EAGAIN: it changed while it was hashed (three times); -ENOENT, -EACCES, -EISDIR, -ENOTDIR: named in @err, and as @who would
 * be told; -ELOOP: the path leads into this store's own mount; -EACCES also for files of /proc, /sys and /dev. */
MEMO_MUST int memo_store_digest(struct memo_store *s, const char *path, bool directory, const struct memo_who *who,
				struct memo_digest *out, struct memo_err *err);
/* The same from the memo alone: one open and a point read. -EAGAIN: must be hashed (always for a directory). */
MEMO_MUST int memo_store_digest_known(struct memo_store *s, const char *path, bool directory,
				      const struct memo_who *who, struct memo_digest *out);
/* Only whether @who may open it. */
MEMO_MUST int memo_store_may_read(struct memo_store *s, const char *path, bool directory,
				  const struct memo_who *who, struct memo_err *err);

/* ---- retention (collect.h says by which rule, and why nothing is lost by it) ------------------ */

/* While it is held, an object is not collected, whoever refers to it: an open file, the input of a task. @hash: the output hash
 * (or the name of a code object). Counted; ends with the process. Hold first, then look whether it is there. */
void memo_store_hold(struct memo_store *s, const struct memo_id *hash);
void memo_store_release(struct memo_store *s, const struct memo_id *hash);
/* One use of a result, for the rule. Written by the next flush, and by the close; a crash may lose it. */
void memo_store_used(struct memo_store *s, const struct memo_id *identity);
MEMO_MUST int memo_store_uses_flush(struct memo_store *s);

/* A pinned result is not collected. Forgetting unpins; an execution anew does not. -ENOENT: there is no result to pin. Durable. */
MEMO_MUST int memo_store_pin(struct memo_store *s, const struct memo_id *identity, bool pinned,
			     struct memo_err *err);

struct memo_gc {
	bool limited; /* else only garbage goes */
	uint64_t limit; /* above so many bytes of results ... */
	uint64_t target; /* ... they go until at most so many are left */
	bool dry; /* says what would go */
	const _Atomic bool *stop; /* looked at between two objects; may be NULL */
	int (*each)(void *arg, json_t *row); /* what goes; may be NULL. With locks held: must not call the store */
	void *arg;
};
/* Removes garbage, and evicts results. One at a time, whoever calls. Blocks on the disk, executes nothing. A row is
 *	{"kind":"result","path","task","version","name","identity","hash","size","bytes" (that become free with it: 0 but for the last
 *	 of those that share an object),"seconds" (it took to compute),"uses","last_use"} or
 *	{"kind":"object"|"receipt"|"log","name","bytes"}: garbage
 * and the summary {"dry","limit" (null: none),"before","after" (bytes of results),"results","bytes","seconds","garbage",
 * "garbage_bytes","pinned","held" (objects that would have gone and stay)}. */
MEMO_MUST int memo_store_gc(struct memo_store *s, const struct memo_gc *gc, json_t **summary_out,
			    struct memo_err *err);
/* Since the store was made: {"times","results","bytes","seconds"}. New reference. */
MEMO_MUST int memo_store_collected(struct memo_store *s, json_t **out, struct memo_err *err);
/* Bytes of results, each object counted once. One pass over the references. */
MEMO_MUST int memo_store_bytes(struct memo_store *s, uint64_t *out, struct memo_err *err);
/* No other result shares the bytes of @r. */
bool memo_store_sole(struct memo_store *s, const struct memo_result *r);

/* ---- attempts and logs ----------------------------------------------------------------------- */

/* A new, empty attempt directory (0700) in staging; its absolute path (free() it). */
MEMO_MUST int memo_store_attempt_new(struct memo_store *s, char **path_out, struct memo_err *err);
/* Keeps the attempt's stderr, and its stdout when @keep_stdout (it is not the result), as the instance's logs, replacing
 * older ones; empty files are not kept. */
MEMO_MUST int memo_store_keep_logs(struct memo_store *s, const struct memo_id *identity, const char *attempt,
				   bool keep_stdout);
/* What the owner of an attempt puts beside what the worker writes: who it is for, and what it read through the mount; and the
 * name of the first when the finished output was parked. */
#define MEMO_ATTEMPT_INSTANCE "instance.json"
#define MEMO_ATTEMPT_OBSERVED "observed.jsonl"
#define MEMO_ATTEMPT_PARKED "parked.json"
#define MEMO_ATTEMPT_EXIT "exit.json"
/* Attempts of earlier owners that were finished and not recorded: array of absolute paths. Call before attempts are made. */
MEMO_MUST int memo_store_attempts_left(struct memo_store *s, json_t **out);
/* The attempt's output waits for room: what is beside it is made durable, so that it survives a power cut too. */
MEMO_MUST int memo_store_attempt_park(struct memo_store *s, const char *attempt);
/* Removes the attempt directory. */
void memo_store_attempt_remove(struct memo_store *s, const char *attempt);
/* @which: "stderr" or "stdout". -ENOENT: empty or none. */
MEMO_MUST int memo_store_log_open(struct memo_store *s, const struct memo_id *identity, const char *which,
				  int *fd_out);

#endif
