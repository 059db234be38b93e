/* What the parts of a run share; guarded by the runner's mutex. Private to the runner.
 *
 * A run's instances are known by their path. `seen` holds those that were touched since the process took the run up; the rows
 * in the store hold all of them. A row is written some time after its instance changed (run_flush), in batches. */
#ifndef MEMO_RUNNER_RUN_PRIVATE_H
#define MEMO_RUNNER_RUN_PRIVATE_H

#include "internal.h"
#include "run.h"

enum run_outcome {
	RUN_WAITING,
	RUN_RUNNING,
	RUN_REUSED,
	RUN_EXECUTED,
	RUN_FAILED,
	RUN_CANCELLED,
	RUN_NEVER,
	RUN_OUTCOMES
};

enum run_phase { RUN_NEW, RUN_ACTIVE, RUN_OVER };

/* One instance. */
struct run_seen {
	struct memo_map_link link;
	char *path;
	char *task;
	enum run_outcome outcome;
	bool demanded;
	bool fixed;
	bool dirty; /* its row has to be written */
	bool fresh; /* @result was made or looked at since the run was started or retried */
	bool timed; /* @seconds was read from the record */
	struct memo_result *result; /* of this run: reused within it */
	unsigned wanted; /* how often the run needed it for something else */
	struct memo_store *holder; /* that keeps the bytes of @result while the run goes on; NULL: none */
	char *message;
	double seconds; /* it took, now or when the result was made */
	int64_t since_ns;
	struct run_seen *next_dirty;
};

/* For the estimate: how long this run's executions of a task took. */
struct run_pace {
	struct run_pace *next;
	char *task;
	uint64_t executed, waiting;
	double seconds;
};

struct run_change {
	uint64_t seq;
	char *path;
	enum run_outcome outcome;
	double seconds;
	char *message;
};

/* A demand of the run that waits. */
struct run_item {
	struct run_item *next, **prev;
	struct memo_runner *runner;
	struct run *run; /* a reference */
	struct memo_wait *wait;
	struct call *call; /* a reference, for stopping */
	char *path;
};

struct run {
	struct memo_map_link link; /* in runner->runs by id */
	char id[MEMO_RUN_ID];
	int refs;
	enum run_phase phase;
	bool force, verify, keep_going;
	bool stopping, cancelled, failed;
	json_t *force_tasks; /* array of names */
	uid_t uid;
	struct memo_who *who; /* NULL: no limits */
	int64_t created_ns, ended_ns; /* wall clock */
	uint64_t total;
	struct memo_map seen;
	struct run_seen *dirty;
	uint64_t count[RUN_OUTCOMES];
	double seconds, saved;
	struct run_pace *paces;
	struct run_change *change; /* a ring of MEMO_RUN_CHANGES */
	uint64_t changes; /* the last seq */
	uint64_t before; /* changes up to this one are of earlier tries */
	char *after; /* the feed's place */
	bool fed, feeding, again; /* again: the feed was asked for while it ran */
	size_t in_flight;
	struct run_item *items;
	struct job job;
	struct timer flush;
	bool flushing;
	struct job flush_job;
};

extern const char *const memo_run_outcome_text[RUN_OUTCOMES];
enum run_outcome memo_run_outcome_parse(const char *text);

/* run.c */
struct run *memo_run_find(struct memo_runner *r, const char *id) LOCKED; /* borrowed; NULL: not in memory */
void memo_run_unref(struct memo_runner *r, struct run *run) LOCKED;
void memo_run_seen_free(struct run_seen *s);
/* Nothing of the run is held any more. */
void memo_run_let_go(struct memo_runner *r, struct run *run) LOCKED;
struct run_seen *memo_run_see(struct memo_runner *r, struct run *run, const char *path, const char *task) LOCKED;
void memo_run_outcome(struct memo_runner *r, struct run *run, struct run_seen *s, enum run_outcome to,
		      const char *message) LOCKED;
struct run *memo_run_alloc(void);
MEMO_MUST int memo_run_insert(struct memo_runner *r, struct run *run);
void memo_run_discard(struct memo_runner *r, struct run *run); /* unref, taking the lock */
/* From NEW or OVER to ACTIVE, recorded, fed. */
MEMO_MUST int memo_run_begin(struct memo_runner *r, struct run *run, struct memo_err *err);
json_t *memo_run_json(const struct run *run);
json_t *memo_run_counts(const uint64_t count[RUN_OUTCOMES]); /* run_view.c */
const char *memo_run_state_text(const struct run *run);

/* run_retry.c: the run in memory, loaded when it is not; a reference. */
MEMO_MUST int memo_run_take_up(struct memo_runner *r, const char *id, struct run **out, struct memo_err *err);

/* run_feed.c */
void memo_run_feed(struct memo_runner *r, struct run *run) LOCKED;
/* Writes the dirty rows, and with @whole also the run itself, synced. */
MEMO_MUST int memo_run_flush(struct memo_runner *r, struct run *run, bool whole);

#endif
