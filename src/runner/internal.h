/* What the files of the runner share. Three kinds of nodes, all guarded by the runner's one mutex:
 *
 *	call   one instance being resolved, by name: hash its files, wait for its upstream calls, learn the identity,
 *	       look it up, and on a miss join or create the exec of that identity
 *	exec   one identity being executed: queued, running, between retries
 *	wait   one demand from outside, attached to a call, with a callback
 *
 * Edges "waits for": wait -> call, call -> upstream call, call -> exec, and exec -> call when a process of the task
 * reads the mount. A cycle can only come about through an edge of the last kind; it is looked for whenever an edge is
 * made while such an edge exists (graph.c).
 *
 * Work that blocks (hashing, RocksDB, fsync) runs in the pool, with no lock held, as jobs: at most one job of a call or of an
 * exec is queued or running at any time, and whoever queues it gives it a reference. (Writing down a failure is a job of
 * its own: a cancelled call may have a step queued.) Answers and events go out from the dispatcher, one thread, in order; it
 * also fires the timers.
 *
 * Who joins a call after it began to look at its files may know of a change that the call has not seen. Such a demand is
 * "late": it waits too, but when the call has its result it is asked again, which costs a look-up if nothing changed. */
#ifndef MEMO_RUNNER_INTERNAL_H
#define MEMO_RUNNER_INTERNAL_H

#include "base/map.h"
#include "base/sync.h"
#include "executor.h"
#include "plan.h"
#include "runner.h"

#define RUNNER_POOL 8
/* How often what waits for room in the store is tried again. */
#define PARK_NS (2 * MEMO_NS_PER_S)

/* Beside memo_demand_flags, among calls: the output hash is enough. The result may be one whose bytes were collected; who finds
 * that it wants them after all demands it again without this flag (memo_call_fetch()). */
#define CALL_HASH_ONLY 16u

struct call;
struct exec;
struct run;

struct job {
	struct job *next;
	void (*fn)(struct memo_runner *r, void *arg);
	void *arg;
};

struct timer {
	struct timer *next;
	int64_t due_ns;
	bool set;
	void (*fn)(struct memo_runner *r, void *arg); /* with the lock held */
	void *arg;
};

/* parent waits for child */
struct edge {
	struct edge *next; /* in child->parents */
	struct call *parent;
	struct call *child; /* a reference; NULL: not there, or done */
	bool late;
};

enum wait_state { WAIT_WAITING, WAIT_QUEUED, WAIT_ANSWERED, WAIT_DROPPED };

/* How many demands of one user wait on one call, and on how many calls he waits in all (max_waiting). */
struct call_user {
	struct user *user;
	size_t count;
};
struct user {
	struct memo_map_link link;
	uid_t uid;
	size_t calls;
};

struct memo_wait {
	struct memo_wait *next, **prev; /* in call->waits */
	struct call *call; /* a reference */
	enum wait_state state;
	memo_answer_fn *answer;
	void *arg;
	uid_t uid;
	int64_t asked_ns; /* monotonic */
	bool late;
	struct exec *reader; /* the task whose process asks; a reference; NULL: none, or it has ended */
	struct memo_wait *next_read; /* in reader->reads */
	_Atomic int refs; /* the owner's, the call's; no lock, so that a release may come after the close */
};

enum call_phase { CALL_HASH, CALL_UPSTREAM, CALL_IDENTITY, CALL_OBSERVED, CALL_EXEC, CALL_DONE };

struct call {
	struct memo_map_link link; /* in runner->calls by @key when @shared */
	char *key; /* kind, task, version, name */
	size_t key_len;
	bool shared;
	int refs;
	struct memo_task *task;
	json_t *inputs;
	char *name; /* canonical component */
	unsigned flags;
	unsigned depth;
	bool started; /* demanded by memo_runner_start(): not abandoned */
	bool allowed; /* who asks may start work */
	struct memo_who *who; /* whose rights its input files are opened with; a reference; NULL: no limits */
	bool counted; /* started, and counted among the waiting ones of @starter */
	uid_t starter;
	bool begun; /* its files are being hashed, or were */
	int64_t asked_ns; /* everything below it is looked at later than this */
	enum call_phase phase;
	unsigned restarts;
	uint64_t ino;
	struct memo_wait *waits;
	struct call_user *user;
	size_t users;
	struct edge *parents;
	struct memo_plan plan;
	bool planned;
	struct edge *up; /* one for each plan.up */
	size_t pending; /* of them */
	struct memo_id identity;
	bool identified;
	struct memo_id raw; /* the raw identity, where a version is not declared */
	bool has_raw;
	json_t *plan_key;
	json_t *plan_upstream;
	json_t *observed; /* of the hit that is being checked */
	size_t observed_at;
	struct edge observed_edge;
	struct memo_result *candidate;
	struct exec *exec; /* a reference */
	struct call *next_in_exec;
	int code;
	struct memo_result *result;
	struct memo_err err;
	struct job job;
	struct job note; /* its failure is written down; may be queued beside @job */
	unsigned mark; /* of the cycle search */
	bool failing; /* its failure is being written down */
	bool executed; /* its result was made for it, not found */
	bool known; /* its run had the result before */
	bool up_failed; /* it failed before it could start, by what is upstream */
	struct run *run; /* on whose behalf; a reference; NULL: none */
	struct call *next_live, **prev_live;
};

struct exec {
	struct memo_map_link link; /* in runner->execs by identity */
	bool mapped;
	int refs;
	struct memo_id identity;
	char hex[MEMO_HEX_SIZE];
	struct call *leader; /* a reference: its plan, names, key */
	struct call *calls; /* attached, references */
	struct call *after; /* calls that want an execution of their own afterwards, references */
	bool force;
	enum memo_state state;
	int64_t attempt;
	char *dir;
	pid_t pid;
	bool queued, running, cancel, holds_slot, finished;
	bool ran; /* its result was published by it, not found by the second look-up */
	bool deadlock; /* a read of its own was refused because it closes a cycle */
	bool parked; /* the output is there, but the store is full: published when there is room */
	bool starved; /* not begun, because the store is full: tried again when there is room */
	bool holds; /* while it is parked: @held, its output's hash, in the store */
	struct memo_id held;
	bool cancel_after; /* those in @after are cancelled too */
	const char *cancel_reason;
	int64_t cpu;
	uint64_t memory;
	struct memo_wait *reads; /* demands of its processes that wait */
	size_t reading;
	json_t *observed;
	json_t *command; /* memo_job_json() */
	int64_t since_ns; /* monotonic, of the state */
	int64_t launched_ns; /* of the last attempt */
	int64_t unwanted_ns; /* 0: wanted */
	struct timer timer; /* the next try */
	struct timer abandon;
	struct job job;
	unsigned mark;
	struct exec *next_ready;
	struct exec *next_live, **prev_live;
};

/* A finished attempt of an earlier owner: adopt.c. */
struct left {
	struct left *next;
	struct memo_id identity;
	char *dir;
};

struct failure {
	struct memo_map_link link;
	struct memo_id identity;
	int64_t until_ns;
	int64_t interval_ns;
	struct memo_err err;
};

/* What the dispatcher delivers. */
struct message {
	struct message *next;
	struct memo_wait *wait; /* an answer; or an event: */
	enum memo_event_kind kind;
	char *task, *version, *name, *reason;
	enum memo_state state;
};

struct listener {
	memo_event_fn *fn;
	void *arg;
};

struct memo_runner {
	struct memo_mutex mu;
	struct memo_store *store;
	char *mountpoint;
	struct memo_local *local;
	bool sandbox_told; /* what `auto` comes to was said */
	struct memo_stats *stats;
	struct memo_retain *retain;
	struct memo_map calls;
	struct memo_map execs;
	struct memo_map failures;
	struct memo_map runs; /* in memory, by id */
	struct memo_map users;
	struct call *live_calls;
	struct exec *live_execs;
	struct exec *ready; /* queue, first come first served */
	int64_t cpus, cpus_used;
	uint64_t memory, memory_used;
	size_t running; /* workers */
	size_t readers; /* waits whose reader is a task: cycles are possible */
	unsigned mark;
	bool closing;

	struct memo_mutex adopting; /* outside of mu: one is taken up at a time */
	struct left *left;
	bool taken; /* one was taken out of @left and is being published */
	struct timer adopt_timer;
	struct job adopt_job;

	struct memo_cond work;
	struct job *job_first, **job_last;
	pthread_t pool[RUNNER_POOL];
	size_t pool_count;
	bool pool_stop;
	struct memo_cond idle;

	struct memo_cond post;
	struct message *msg_first, **msg_last;
	struct timer *timers;
	pthread_t dispatcher;
	bool dispatcher_on, dispatcher_stop;
	struct listener listener[MEMO_RUNNER_LISTENERS];
	size_t listeners;
	bool dispatching; /* a listener or answer is being called */
	struct memo_cond dispatched;
};

#define LOCKED MEMO_TSA(requires_capability(r->mu))

/* pool.c */
void memo_pool_push(struct memo_runner *r, struct job *j, void (*fn)(struct memo_runner *, void *),
		    void *arg) LOCKED;
MEMO_MUST int memo_pool_start(struct memo_runner *r);
void memo_pool_stop(struct memo_runner *r);
void memo_timer_set(struct memo_runner *r, struct timer *t, int64_t due_ns,
		    void (*fn)(struct memo_runner *, void *), void *arg) LOCKED;
void memo_timer_clear(struct memo_runner *r, struct timer *t) LOCKED;
void memo_post_answer(struct memo_runner *r, struct memo_wait *w) LOCKED;
void memo_post_event(struct memo_runner *r, enum memo_event_kind kind, const char *task, const char *version,
		     const char *name, enum memo_state state, const char *reason) LOCKED;

/* Who asks, as far as a call is concerned. */
struct asking {
	bool allowed; /* to start work */
	const struct memo_who *who;
};

/* call.c: the call for @who's rights, where the task can name files at all. */
MEMO_MUST int memo_call_get(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const char *name,
			    unsigned flags, unsigned depth, struct asking who, struct run *run, struct call **out,
			    struct memo_err *err) LOCKED;
void memo_call_unref(struct memo_runner *r, struct call *c) LOCKED;
/* Ends a call: answers its waits, goes on with its parents. */
void memo_call_done(struct memo_runner *r, struct call *c, int code, struct memo_result *res,
		    const struct memo_err *err) LOCKED;
/* A miss that is to be executed, but of some upstream only the hash is known: true when their bytes are demanded, after which the
 * call is looked up once more. */
bool memo_call_fetch(struct memo_runner *r, struct call *c) LOCKED;
/* From the start again: an input changed while the task ran. */
void memo_call_restart(struct memo_runner *r, struct call *c) LOCKED;
/* Fails a call; the failure is kept under the name unless an identity keeps it. */
void memo_call_fail(struct memo_runner *r, struct call *c, int code, const struct memo_err *err) LOCKED;
/* call_wait.c: attaches and detaches a demand; attach refuses with -EDQUOT. */
MEMO_MUST int memo_call_attach(struct memo_runner *r, struct call *c, struct memo_wait *w, uint64_t limit) LOCKED;
void memo_call_detach(struct memo_runner *r, struct memo_wait *w) LOCKED;
/* A start that nobody waits for counts as a wait of @uid until the call is done. -EDQUOT as attach. */
MEMO_MUST int memo_call_charge(struct memo_runner *r, struct call *c, uid_t uid, uint64_t limit) LOCKED;
void memo_call_discharge(struct memo_runner *r, struct call *c) LOCKED;
/* From @c to the call @to. false: out of memory, it stays. */
bool memo_call_move(struct memo_runner *r, struct call *c, struct memo_wait *w, struct call *to) LOCKED;
/* Who asked at @asked_ns joins @c now: may @c have looked before? */
bool memo_call_joins_late(struct call *c, int64_t asked_ns);
/* Queues a step of the call, with a reference of its own. */
void memo_call_push(struct memo_runner *r, struct call *c, void (*fn)(struct memo_runner *, void *)) LOCKED;
/* Takes over the reference of @child. -EDEADLK: @child waits for @parent already. */
MEMO_MUST int memo_call_edge(struct memo_runner *r, struct edge *e, struct call *parent, struct call *child) LOCKED;
bool memo_call_wanted(const struct call *c);
/* Something that the call waits for is executing. */
bool memo_call_runs(const struct call *c);
/* Ends a call that nobody wants, and what is upstream of it, unless it executes already (@all: also then). */
void memo_call_give_up(struct memo_runner *r, struct call *c, bool all) LOCKED;
enum memo_state memo_call_state(const struct call *c);

/* runner.c: the call in flight for an instance after @after (NULL: the first), not counting those that only look; borrowed */
struct call *memo_call_find(struct memo_runner *r, const struct memo_task *t, const char *name,
			    const struct call *after) LOCKED;

/* call_look.c: steps of a call */
void memo_call_identify(struct memo_runner *r, void *arg);
void memo_call_check(struct memo_runner *r, void *arg);
/* The call is a miss: execute, unless it must not. */
void memo_call_miss(struct memo_runner *r, struct call *c) LOCKED;

/* exec.c */
/* The call's identity is known and a miss: joins what executes it, or begins. Ends the call itself on failure. */
void memo_exec_join(struct memo_runner *r, struct call *c) LOCKED;
/* From a pool thread: the worker of @arg (an exec) is gone. */
void memo_exec_finish(struct memo_runner *r, void *arg);
/* Writes a transition and tells listeners. */
MEMO_MUST int memo_exec_state(struct memo_runner *r, struct exec *x, enum memo_state to, const char *reason,
			      int exit_code, json_t *origin, struct memo_err *err);
/* The end: all calls get this, the slot is free, those that wanted an execution of their own go on. */
void memo_exec_over(struct memo_runner *r, struct exec *x, int code, struct memo_result *res,
		    const struct memo_err *err) LOCKED;
void memo_exec_enqueue(struct memo_runner *r, struct exec *x) LOCKED;

void memo_exec_unref(struct memo_runner *r, struct exec *x) LOCKED;
void memo_exec_cancel(struct memo_runner *r, struct exec *x, const char *reason) LOCKED;
/* Cancels if none of its calls is wanted; what executes with @all only. */
void memo_exec_give_up(struct memo_runner *r, struct exec *x, bool all) LOCKED;
void memo_exec_schedule(struct memo_runner *r) LOCKED;
/* A process of the task begins or ends a wait: the slot is given back, or taken again. */
void memo_exec_reading(struct memo_runner *r, struct exec *x, struct memo_wait *w) LOCKED;
void memo_exec_read_done(struct memo_runner *r, struct exec *x, struct memo_wait *w) LOCKED;
void memo_exec_worker_done(void *arg, void *tag, int code);
struct memo_instance memo_exec_instance(const struct exec *x);

/* failure.c part of exec: the back-off */
struct failure *memo_failure_get(struct memo_runner *r, const struct memo_id *identity) LOCKED;
void memo_failure_note(struct memo_runner *r, const struct memo_id *identity, const struct memo_err *err) LOCKED;
void memo_failure_forget(struct memo_runner *r, const struct memo_id *identity) LOCKED;

/* Ends the calls of @x that do not stay; false: none would stay, and nothing was done. */
bool memo_exec_end_some(struct memo_runner *r, struct exec *x, bool (*stays)(const struct call *c), int code,
			const struct memo_err *err) LOCKED;
/* What a record says of how a result came about. NULL: out of memory. */
json_t *memo_exec_origin(int64_t attempt, const json_t *command, const struct memo_exit *e);

/* adopt.c: finished attempts that no record tells of. */
MEMO_MUST int memo_adopt_open(struct memo_runner *r, struct memo_err *err);
void memo_adopt_close(struct memo_runner *r);
/* Writes beside the attempt what its adoption would need. */
MEMO_MUST int memo_adopt_describe(const struct exec *x, uint64_t ino, struct memo_err *err);
/* A process of the task read @entry through the mount: written down there, too. @dir: the attempt. */
void memo_adopt_observed(const char *dir, const json_t *entry);
/* 0: nothing is left of this identity (any more). -ENOSPC: its output waits for room. Blocks; no lock held. */
MEMO_MUST int memo_adopt_try(struct memo_runner *r, const struct memo_id *identity, struct memo_err *err);

/* graph.c */
bool memo_graph_call_reaches_exec(struct memo_runner *r, struct call *from, const struct exec *to) LOCKED;
bool memo_graph_call_reaches_call(struct memo_runner *r, struct call *from, const struct call *to) LOCKED;
bool memo_graph_exec_reaches_call(struct memo_runner *r, struct exec *from, const struct call *to) LOCKED;

/* run.c: what a call asks and tells the run that it belongs to */
bool memo_run_forces(const struct run *run, const struct memo_task *t);
bool memo_run_verifies(const struct run *run);
/* What the run has already, a reference; NULL: nothing. *@doubt: it is from before a retry that verifies. */
struct memo_result *memo_run_known(struct memo_runner *r, const struct call *c, bool *doubt) LOCKED;
void memo_run_begun(struct memo_runner *r, const struct call *c) LOCKED;
void memo_run_running(struct memo_runner *r, const struct call *c) LOCKED;
void memo_run_ended(struct memo_runner *r, const struct call *c) LOCKED;
void memo_run_ref(struct run *run);
void memo_run_unref(struct memo_runner *r, struct run *run) LOCKED;
const char *memo_run_id(const struct run *run);
/* run_feed.c */
void memo_runs_flush(struct memo_runner *r);
void memo_runs_close(struct memo_runner *r) LOCKED;

/* reader.c: the exec whose worker is an ancestor of thread @tid; a reference, or NULL. Takes the lock itself. */
struct exec *memo_reader_find(struct memo_runner *r, pid_t tid);

/* stats.c: counters of tasks; counting takes no lock */
MEMO_MUST int memo_stats_open(struct memo_runner *r, struct memo_err *err);
void memo_stats_close(struct memo_runner *r);
void memo_stats_hit(struct memo_runner *r, const char *task, const struct memo_result *res);
void memo_stats_miss(struct memo_runner *r, const char *task);
void memo_stats_executed(struct memo_runner *r, const char *task, int64_t wall_ms, bool failed);

/* retain.c: eviction by itself */
MEMO_MUST int memo_retain_open(struct memo_runner *r, struct memo_err *err);
void memo_retain_close(struct memo_runner *r);
/* A result was published: counts it, and wakes the thread when there are too many bytes. */
void memo_retain_published(struct memo_runner *r, const struct memo_result *res);

/* peek.c: an entry of "observed" against what holds now: 0 the same, -ENOENT changed or not cached, -EAGAIN must be hashed. */
MEMO_MUST int memo_peek_observed(struct memo_runner *r, const json_t *entry);
/* As memo_runner_peek(), also where only the hash is known (result->collected). */
MEMO_MUST int memo_peek_known(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
			      const struct memo_who *who, struct memo_result **out);
/* The path at which a task would read it exists. */
bool memo_result_at_hand(struct memo_runner *r, const struct memo_result *res);

/* runner.c: whether @who (NULL: no limits) may start work */
bool memo_may_start(const struct memo_settings *set, const struct memo_who *who);

#endif
