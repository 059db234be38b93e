/* Run: a request for one or more instances, with options, that has an id, is recorded, and can be retried.
 *
 *	new -> add (each instance) -> start -> status ... until it is over -> status, rows, graph, retry at any later time
 *
 * A run demands its instances through the same calls and executions as every other demand; what it adds is
 *   - options that hold for its whole graph: force (execute anew, once in this run), force_task (the same for instances of
 *     those tasks only), verify (check each cached result before it is reused, upstream too);
 *   - a memory: each instance that it touched, demanded or upstream, with what became of it; results of tasks with
 *     "cache": false are reused within it and by its retries;
 *   - a pace: at most MEMO_RUN_WINDOW of its instances are in flight, the rest lies in the store, so a run may have any
 *     number of rows. Without keep_going nothing new is started after the first failure.
 * A run survives the process: one that was not over is taken up again when the runner opens (memo_run_resume).
 *
 * Outcomes of an instance: "waiting", "running", "reused", "executed", "failed", "cancelled", "never" (never started).
 * States of a run: "RUNNING", "SUCCESS", "FAILED", "CANCELLED".
 *
 * Threads: every function from any thread. Errors: -ENOENT no such run, -EINVAL, -EBUSY the run is under way.
 * Durable: a run that memo_run_start() acknowledged, and its rows. Outcomes survive kill -9. */
#ifndef MEMO_RUNNER_RUN_H
#define MEMO_RUNNER_RUN_H

#include "runner.h"

#define MEMO_RUN_WINDOW 256
#define MEMO_RUN_CHANGES 4096 /* changes kept for those who follow */
#define MEMO_RUN_FORCE_TASKS 256

struct memo_run_options {
	bool force;
	const char *const *force_task;
	size_t force_tasks;
	bool verify;
	bool keep_going;
	uid_t uid; /* whose demands they are */
	const struct memo_who
		*who; /* with these rights (base/who.h); a reference is taken. After a restart of the process the
				     * user database says what they are. */
};

/* @id_out: MEMO_RUN_ID bytes, e.g. "20261121-235501-k3x9". The run exists, but is not started. */
MEMO_MUST int memo_run_new(struct memo_runner *r, const struct memo_run_options *o, char *id_out,
			   struct memo_err *err);
/* Before start. @fixed: the version was asked for by name, so a retry keeps to it instead of taking the latest. An
 * instance that is in the run already counts once. */
MEMO_MUST int memo_run_add(struct memo_runner *r, const char *id, struct memo_task *t, bool fixed,
			   const json_t *inputs, struct memo_err *err);
MEMO_MUST int memo_run_start(struct memo_runner *r, const char *id, struct memo_err *err);
/* Demands again what failed, was cancelled or never started (of task @task only, unless NULL), with today's code; the
 * run goes on under its id. *@count_out: how many demanded instances that is; 0: there is nothing to retry and nothing
 * is changed. */
MEMO_MUST int memo_run_retry(struct memo_runner *r, const char *id, const char *task, bool verify, uid_t uid,
			     const struct memo_who *who, uint64_t *count_out, struct memo_err *err);
/* Starts nothing new, lets go on what runs: the rest ends as "never". */
MEMO_MUST int memo_run_stop(struct memo_runner *r, const char *id, struct memo_err *err);
/* Cancels what runs for nobody else, too. */
MEMO_MUST int memo_run_cancel(struct memo_runner *r, const char *id, struct memo_err *err);

/* One object:
 *	{"run","state","created","ended" (null while it runs),"force","force_tasks","verify","keep_going","uid",
 *	 "total" (demanded), "counts": {"reused","executed","failed","cancelled","never","running","waiting"} (of all that it
 *	 touched), "seconds" (computed), "seconds_saved", "left_seconds" (estimate from each task's history, null: unknown),
 *	 "running": [{"path","seconds"}], "changes": [{"seq","path","outcome","seconds","message"}], "next": n}
 * Changes after @since only (0: from the first that is kept); "next" is what to pass next time. */
MEMO_MUST int memo_run_status(struct memo_runner *r, const char *id, uint64_t since, json_t **out,
			      struct memo_err *err);
/* Array of {"run","state","created","ended","total","counts"}, newest first. */
MEMO_MUST int memo_run_list(struct memo_runner *r, json_t **out, struct memo_err *err);
/* At most @limit instances after path @after (NULL: the first), in order of path: array of
 *	{"path","task","version","name","demanded" (bool),"outcome","identity","seconds","saved","message"}. */
MEMO_MUST int memo_run_rows(struct memo_runner *r, const char *id, const char *after, size_t limit, json_t **out,
			    struct memo_err *err);
/* The graph in Graphviz DOT: nodes are instances, coloured by outcome, with seconds; edges from upstream to downstream. */
MEMO_MUST int memo_run_graph(struct memo_runner *r, const char *id, struct memo_buf *out, struct memo_err *err);

/* Takes up the runs that were not over when the process ended. Once, after open. */
MEMO_MUST int memo_run_resume(struct memo_runner *r, struct memo_err *err);

/* ---- verification of results (verify.c) ---- */

/* Is the cached result of an instance valid: by the task's `verify` command (exit 0), by the existence of an external path,
 * else by re-hashing what is stored. 0 valid; -EBADMSG invalid, with a sentence; other errors: it could not be told. Blocks
 * as long as the command takes (the task's time limit holds). */
MEMO_MUST int memo_verify_result(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
				 struct memo_result *res, struct memo_err *err);

/* The command alone; the task has one. As above. */
MEMO_MUST int memo_verify_command(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
				  struct memo_result *res, struct memo_err *err);

/* Every result in the store, in the order of the output hashes: what is stored is hashed, once however many results share it; an
 * external path must exist; then the verify command of the task, if it is still registered. What is invalid is not served any
 * more. Where it has come to is kept: a pass that was interrupted, by whatever, goes on from there. */
struct memo_verify_all {
	struct memo_scrub scrub;
	bool restart; /* begin anew */
	/* In the thread that verifies. @code 0: valid; -EBADMSG: invalid, and @text says why; else it could not be told. */
	void (*verdict)(void *arg, const char *path, const struct memo_id *identity, int code, const char *text);
	void *arg;
	_Atomic uint64_t valid, invalid, unknown; /* of the whole pass */
	uint64_t before; /* of these, found before the interruption; set before the first verdict */
};
MEMO_MUST int memo_verify_all(struct memo_runner *r, struct memo_verify_all *v, struct memo_err *err);

/* ---- why and stats (why.c, stats.c) ---- */

/* Why a read of this instance is a hit or would be a miss, in words: whose work is reused (when, run, seconds saved); or the
 * nearest earlier instance of the task and each differing key with both values; for a changed upstream followed down to
 * its cause; for changed code a unified diff. Never computes, never waits, never hashes. */
MEMO_MUST int memo_runner_why(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
			      const struct memo_who *who, struct memo_buf *out, struct memo_err *err);
/* {"total": {...}, "tasks": [{"task",...}]} with hits, misses, executions, failures, seconds_computed, seconds_saved,
 * results, bytes, bytes_shared (saved because several results share an object). */
MEMO_MUST int memo_runner_stats(struct memo_runner *r, json_t **out, struct memo_err *err);

#endif
