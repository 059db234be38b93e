/* Stats: how often results were reused, what was executed, and what that cost and saved, for each task.
 *
 * Counting takes no lock: tasks lie in an open table that only grows, and counters are atomic. A tick every few seconds has
 * what changed written into the manifest, and so does the close: a crash loses the last seconds, which are only counters. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "run.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SLOTS 8192 /* a power of two */
#define PROBES 64 /* beyond that a task is not counted */
#define TICK_NS (3 * MEMO_NS_PER_S)

enum counter { HITS, MISSES, EXECUTIONS, FAILURES, MS_COMPUTED, MS_SAVED, COUNTERS };
static const char *const counter_name[COUNTERS] = { "hits",	"misses",      "executions",
						    "failures", "ms_computed", "ms_saved" };

struct stat_task {
	char name[MEMO_NAME_MAX + 1];
	atomic_uint_fast64_t count[COUNTERS];
	atomic_bool dirty;
};

struct memo_stats {
	_Atomic(struct stat_task *) slot[SLOTS];
	atomic_bool dirty;
	struct timer timer; /* guarded by the runner's mutex, as the rest */
	struct job job;
	bool flushing;
};

/* NULL: no room. */
static struct stat_task *task_of(struct memo_stats *s, const char *name)
{
	uint64_t h = UINT64_C(14695981039346656037);
	size_t len = strlen(name);
	if (len > MEMO_NAME_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
	for (uint64_t i = 0; i < PROBES; i++) {
		_Atomic(struct stat_task *) *p = &s->slot[(h + i) % SLOTS];
		struct stat_task *t = atomic_load(p);
		if (t == NULL) {
			struct stat_task *fresh = calloc(1, sizeof *fresh);
			if (fresh == NULL)
				return NULL;
			memcpy(fresh->name, name, len + 1);
			if (atomic_compare_exchange_strong(p, &t, fresh))
				return fresh;
			free(fresh); /* somebody was quicker; @t is his */
		}
		if (strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

static void count(struct memo_stats *s, const char *name, enum counter which, uint64_t by, enum counter ms,
		  uint64_t time)
{
	struct stat_task *t = s == NULL ? NULL : task_of(s, name);
	if (t == NULL)
		return;
	(void)atomic_fetch_add_explicit(&t->count[which], by, memory_order_relaxed);
	if (time > 0)
		(void)atomic_fetch_add_explicit(&t->count[ms], time, memory_order_relaxed);
	/* mostly set already: then the line stays shared among the processors */
	if (!atomic_load_explicit(&t->dirty, memory_order_relaxed))
		atomic_store(&t->dirty, true);
	if (!atomic_load_explicit(&s->dirty, memory_order_relaxed))
		atomic_store(&s->dirty, true);
}

void memo_stats_hit(struct memo_runner *r, const char *task, const struct memo_result *res)
{
	count(r->stats, task, HITS, 1, MS_SAVED, res->wall_ms);
	memo_store_used(r->store, &res->identity);
}

void memo_stats_miss(struct memo_runner *r, const char *task)
{
	count(r->stats, task, MISSES, 1, MS_SAVED, 0);
}

void memo_stats_executed(struct memo_runner *r, const char *task, int64_t wall_ms, bool failed)
{
	count(r->stats, task, EXECUTIONS, 1, MS_COMPUTED, wall_ms > 0 ? (uint64_t)wall_ms : 0);
	if (failed)
		count(r->stats, task, FAILURES, 1, MS_COMPUTED, 0);
}

void memo_runner_count_hit(struct memo_runner *r, const struct memo_task *t, const struct memo_result *res)
{
	memo_stats_hit(r, t->name, res);
}

/* ---- writing them down ---------------------------------------------------------------------- */

static int flush(struct memo_runner *r)
{
	struct memo_stats *s = r->stats;
	if (!atomic_exchange(&s->dirty, false))
		return 0;
	/* what is used is counted here too: there is nothing to flush without a count */
	int uses = memo_store_uses_flush(r->store);
	(void)uses;
	MEMO_AUTO_JSON json_t *rows = json_object();
	int code = rows == NULL ? -ENOMEM : 0;
	for (size_t i = 0; i < SLOTS && code == 0; i++) {
		struct stat_task *t = atomic_load(&s->slot[i]);
		if (t == NULL || !atomic_exchange(&t->dirty, false))
			continue;
		json_t *row = json_object();
		code = memo_json_set(rows, t->name, row);
		for (unsigned k = 0; k < COUNTERS && code == 0; k++)
			code = memo_json_set(row, counter_name[k],
					     json_integer((json_int_t)atomic_load(&t->count[k])));
	}
	return code < 0 ? code : memo_store_counters_put(r->store, rows, NULL);
}

static void tick(struct memo_runner *r, void *arg) LOCKED;

static void flush_job(struct memo_runner *r, void *arg)
{
	struct memo_stats *s = arg;
	if (flush(r) < 0)
		atomic_store(&s->dirty, true); /* the next count of each task has it written */
	memo_mutex_lock(&r->mu);
	s->flushing = false;
	memo_mutex_unlock(&r->mu);
}

static void tick(struct memo_runner *r, void *arg)
{
	struct memo_stats *s = arg;
	if (!s->flushing && !r->closing && atomic_load(&s->dirty)) {
		s->flushing = true;
		memo_pool_push(r, &s->job, flush_job, s);
	}
	if (!r->closing)
		memo_timer_set(r, &s->timer, memo_now_ns() + TICK_NS, tick, s);
}

static void load(struct memo_stats *s, const json_t *rows)
{
	const char *name;
	json_t *row;
	json_object_foreach((json_t *)(uintptr_t)rows, name, row)
	{
		struct stat_task *t = task_of(s, name);
		for (unsigned k = 0; t != NULL && k < COUNTERS; k++) {
			int64_t v = memo_json_int(row, counter_name[k], 0);
			atomic_store(&t->count[k], v > 0 ? (uint64_t)v : 0);
		}
	}
}

int memo_stats_open(struct memo_runner *r, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *rows = NULL;
	struct memo_stats *s = calloc(1, sizeof *s);
	if (s == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	int code = memo_store_counters_get(r->store, &rows, err);
	if (code < 0) {
		free(s);
		return code;
	}
	load(s, rows);
	memo_mutex_lock(&r->mu);
	r->stats = s;
	memo_timer_set(r, &s->timer, memo_now_ns() + TICK_NS, tick, s);
	memo_mutex_unlock(&r->mu);
	return 0;
}

void memo_stats_close(struct memo_runner *r)
{
	struct memo_stats *s = r->stats;
	if (s == NULL)
		return;
	memo_mutex_lock(&r->mu);
	memo_timer_clear(r, &s->timer);
	memo_mutex_unlock(&r->mu);
	if (flush(r) < 0) {
		/* nobody to tell: they are counters, and may be lost */
	}
	for (size_t i = 0; i < SLOTS; i++)
		free(atomic_load(&s->slot[i]));
	r->stats = NULL;
	free(s);
}

/* ---- reading -------------------------------------------------------------------------------- */

struct sums {
	uint64_t count[COUNTERS];
	int64_t results, bytes, shared;
};

static int sums_put(json_t *o, const struct sums *s)
{
	json_t *rest = json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I}", "hits",
				 (json_int_t)s->count[HITS], "misses", (json_int_t)s->count[MISSES], "executions",
				 (json_int_t)s->count[EXECUTIONS], "failures", (json_int_t)s->count[FAILURES],
				 "seconds_computed", (double)s->count[MS_COMPUTED] / 1000, "seconds_saved",
				 (double)s->count[MS_SAVED] / 1000, "results", (json_int_t)s->results, "bytes",
				 (json_int_t)s->bytes, "bytes_shared", (json_int_t)s->shared);
	int code = rest == NULL || json_object_update(o, rest) < 0 ? -ENOMEM : 0;
	json_decref(rest);
	return code;
}

static struct sums sums_of(struct memo_stats *s, const char *task, const json_t *usage)
{
	struct sums out = { .results = memo_json_int(usage, "results", 0),
			    .bytes = memo_json_int(usage, "bytes", 0),
			    .shared = memo_json_int(usage, "shared", 0) };
	struct stat_task *t = task_of(s, task);
	for (unsigned k = 0; t != NULL && k < COUNTERS; k++)
		out.count[k] = atomic_load_explicit(&t->count[k], memory_order_relaxed);
	return out;
}

static bool counted(struct stat_task *t)
{
	for (unsigned k = 0; t != NULL && k < COUNTERS; k++) {
		if (atomic_load_explicit(&t->count[k], memory_order_relaxed) > 0)
			return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All tasks that have results or counters, by name: @usage gets an entry for each. */
static int names_of(struct memo_stats *s, json_t *usage, const char ***out)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct stat_task *t = atomic_load(&s->slot[i]);
		if (counted(t) && json_object_get(usage, t->name) == NULL &&
		    memo_json_set(usage, t->name, json_object()) < 0)
			return -ENOMEM;
	}
	const char **names = calloc(json_object_size(usage) + 1, sizeof *names);
	size_t n = 0;
	const char *name;
	json_t *row;
	if (names == NULL)
		return -ENOMEM;
	json_object_foreach(usage, name, row)
	{
		names[n++] = name;
	}
	qsort(names, n, sizeof *names, by_name);
	*out = names;
	return 0;
}

static void add(struct sums *total, const struct sums *one)
{
	for (unsigned k = 0; k < COUNTERS; k++)
		total->count[k] += one->count[k];
	total->results += one->results;
	total->bytes += one->bytes;
	total->shared += one->shared;
}

int memo_runner_stats(struct memo_runner *r, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *usage = NULL;
	MEMO_AUTO_JSON json_t *tasks = json_array();
	MEMO_AUTO_JSON json_t *total_json = json_object();
	MEMO_AUTO_FREE const char **name = NULL;
	struct sums total = { { 0 }, 0, 0, 0 };
	int code = memo_store_usage(r->store, &usage, err);
	if (code < 0)
		return code;
	code = names_of(r->stats, usage, &name);
	for (size_t i = 0; code == 0 && i < json_object_size(usage); i++) {
		struct sums s = sums_of(r->stats, name[i], json_object_get(usage, name[i]));
		json_t *row = json_pack("{s:s}", "task", name[i]);
		code = memo_json_push(tasks, row);
		if (code == 0)
			code = sums_put(row, &s);
		add(&total, &s);
	}
	if (code == 0)
		code = sums_put(total_json, &total);
	json_t *all = code < 0 ? NULL : json_pack("{s:O, s:O}", "total", total_json, "tasks", tasks);
	if (all == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	*out = all;
	return 0;
}
