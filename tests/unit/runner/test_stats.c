/* Counters and usage: what is counted when, that it outlives the process, and that many instances are counted quickly. */
#include "fixture.h"

#include "runner/internal.h"

struct numbers {
	long long hits, misses, executions, failures, results, bytes, shared;
	double computed, saved;
};

static struct numbers of(const json_t *o)
{
	return (struct numbers){ memo_json_int(o, "hits", -1),
				 memo_json_int(o, "misses", -1),
				 memo_json_int(o, "executions", -1),
				 memo_json_int(o, "failures", -1),
				 memo_json_int(o, "results", -1),
				 memo_json_int(o, "bytes", -1),
				 memo_json_int(o, "bytes_shared", -1),
				 json_number_value(json_object_get(o, "seconds_computed")),
				 json_number_value(json_object_get(o, "seconds_saved")) };
}

/* Of one task (NULL: in all); all -1 when there is no such task. */
static struct numbers numbers(const char *task)
{
	MEMO_AUTO_JSON json_t *all = NULL;
	struct memo_err err = { 0 };
	CHECK_INT(memo_runner_stats(runner, &all, &err), 0);
	if (task == NULL)
		return of(json_object_get(all, "total"));
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(all, "tasks"), i, row)
	{
		if (strcmp(memo_json_string(row, "task", ""), task) == 0)
			return of(row);
	}
	return of(NULL);
}

static void test_counts(void)
{
	add("{\"memofs\":1,\"name\":\"nap\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\"}},"
	    "\"command\":[\"sh\",\"-c\",\"sleep 0.2; echo same\"]}");
	struct numbers n = numbers(NULL);
	CHECK_INT(n.hits + n.misses + n.executions + n.results, 0);
	CHECK_INT(demand("nap", NULL, "x=1", 0), 0);
	n = numbers("nap");
	CHECK_INT(n.misses, 1);
	CHECK_INT(n.executions, 1);
	CHECK_INT(n.hits, 0);
	CHECK(n.computed >= 0.2 && n.computed < 5);
	CHECK(n.saved == 0);
	double one = n.computed;
	for (int i = 0; i < 3; i++)
		CHECK_INT(demand("nap", NULL, "x=1", 0), 0);
	n = numbers("nap");
	CHECK_INT(n.hits, 3);
	CHECK_INT(n.misses, 1);
	CHECK(n.saved > 3 * one - 0.01 && n.saved < 3 * one + 0.01);
	/* one identity again: computed, not saved */
	CHECK_INT(demand("nap", NULL, "x=1", MEMO_DEMAND_FORCE), 0);
	n = numbers("nap");
	CHECK_INT(n.misses, 2);
	CHECK_INT(n.executions, 2);
	CHECK_INT(n.hits, 3);
	CHECK_INT(n.results, 1);
}

static void test_failures(void)
{
	add("{\"memofs\":1,\"name\":\"bad\",\"version\":\"1\",\"max_retries\":1,\"temporary_fail_codes\":[75],"
	    "\"command\":[\"sh\",\"-c\",\"exit 75\"]}");
	CHECK_INT(demand("bad", NULL, "@default", 0), -EIO);
	struct numbers n = numbers("bad");
	CHECK_INT(n.misses, 1);
	CHECK_INT(n.executions, 2);
	CHECK_INT(n.failures, 2);
	CHECK_INT(n.results, 0);
}

static void test_upstream_counts(void)
{
	add("{\"memofs\":1,\"name\":\"uses\",\"version\":\"1\",\"inputs\":{\"y\":{\"type\":\"int\"}},\"needs\":{"
	    "\"n\":{\"task\":\"nap\","
	    "\"inputs\":{\"x\":1}}},\"command\":[\"cat\",\"{needs.n}\"]}");
	struct numbers before = numbers("nap");
	CHECK_INT(demand("uses", NULL, "y=1", 0), 0);
	struct numbers after = numbers("nap");
	CHECK_INT(after.hits, before.hits + 1); /* work that the execution of `uses` did not have to do */
	CHECK_INT(demand("uses", NULL, "y=1", 0), 0);
	CHECK_INT(numbers("nap").hits, after.hits);
	CHECK_INT(numbers("uses").hits, 1);
}

static void test_bytes(void)
{
	CHECK_INT(demand("nap", NULL, "x=2", 0), 0);
	CHECK_INT(demand("nap", NULL, "x=3", 0), 0);
	struct numbers n = numbers(NULL);
	/* nap's three and uses' one are the same five bytes */
	CHECK_INT(n.results, 4);
	CHECK_INT(n.bytes, 5);
	CHECK_INT(n.shared, 15);
	n = numbers("nap");
	CHECK_INT(n.results, 3);
	CHECK_INT(n.bytes + n.shared, 15);
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	CHECK_INT(memo_runner_resolve(runner, "nap", NULL, "x=3", &t, &inputs, NULL), 0);
	CHECK_INT(memo_runner_forget(runner, t, inputs, NULL), 0);
	json_decref(inputs);
	memo_task_unref(t);
	n = numbers(NULL);
	CHECK_INT(n.results, 3);
	CHECK_INT(n.bytes, 5);
	CHECK_INT(n.shared, 10);
	/* other bytes in the place of the first ones */
	add("{\"memofs\":1,\"name\":\"clock\",\"version\":\"1\",\"command\":[\"date\",\"+%N\"]}");
	CHECK_INT(demand("clock", NULL, "@default", 0), 0);
	CHECK_INT(demand("clock", NULL, "@default", MEMO_DEMAND_FORCE), 0);
	CHECK_INT(numbers("clock").results, 1);
	CHECK_INT(numbers("clock").bytes, 10);
	/* what lies outside takes no room */
	add("{\"memofs\":1,\"name\":\"out\",\"version\":\"1\",\"output\":{\"type\":\"External\"},\"command\":["
	    "\"echo\",\"/etc/passwd\"]}");
	CHECK_INT(demand("out", NULL, "@default", 0), 0);
	CHECK_INT(numbers("out").results, 1);
	CHECK_INT(numbers("out").bytes, 0);
}

static void test_outlives_the_process(void)
{
	struct numbers before = numbers(NULL);
	CHECK(before.hits > 0 && before.saved > 0);
	fixture_stop();
	CHECK_INT(fixture_start(), 0);
	struct numbers after = numbers(NULL);
	CHECK_INT(after.hits, before.hits);
	CHECK_INT(after.misses, before.misses);
	CHECK_INT(after.executions, before.executions);
	CHECK_INT(after.failures, before.failures);
	CHECK_INT(after.bytes, before.bytes);
	CHECK(after.saved > before.saved - 0.001 && after.saved < before.saved + 0.001);
	CHECK_INT(demand("nap", NULL, "x=1", 0), 0);
	CHECK_INT(numbers(NULL).hits, before.hits + 1);
}

/* Written down by itself, without a close. */
static void test_written_lazily(void)
{
	MEMO_AUTO_JSON json_t *rows = NULL;
	long long want = numbers("nap").hits;
	for (int i = 0; i < 100; i++) {
		json_decref(rows);
		rows = NULL;
		CHECK_INT(memo_store_counters_get(store, &rows, NULL), 0);
		if (memo_json_int(json_object_get(rows, "nap"), "hits", -1) == want)
			break;
		(void)usleep(100000);
	}
	CHECK_INT(memo_json_int(json_object_get(rows, "nap"), "hits", -1), want);
}

enum { THREADS = 8, EACH = 100000 };

static void *count_many(void *arg)
{
	const struct memo_result res = { .wall_ms = 1 };
	const char *mine = arg;
	for (int i = 0; i < EACH; i++) {
		memo_stats_hit(runner, "shared", &res);
		memo_stats_hit(runner, mine, &res);
	}
	return NULL;
}

static void test_counting_takes_no_lock(void)
{
	static char name[THREADS][8];
	pthread_t thread[THREADS];
	/* all of this with the runner's mutex held */
	memo_mutex_lock(&runner->mu);
	for (int i = 0; i < THREADS; i++) {
		(void)snprintf(name[i], sizeof name[i], "own%d", i);
		CHECK_INT(memo_thread_start(&thread[i], "count", count_many, name[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		(void)pthread_join(thread[i], NULL);
	memo_mutex_unlock(&runner->mu);
	CHECK_INT(numbers("shared").hits, (long long)THREADS * EACH);
	for (int i = 0; i < THREADS; i++)
		CHECK_INT(numbers(name[i]).hits, EACH);
	CHECK(numbers("own0").saved > 99.9 && numbers("own0").saved < 100.1);
}

int main(int argc, char **argv)
{
	if (fixture_open(argc, argv, "stats") < 0)
		return 2;
	RUN(test_counts);
	RUN(test_failures);
	RUN(test_upstream_counts);
	RUN(test_bytes);
	RUN(test_outlives_the_process);
	RUN(test_written_lazily);
	RUN(test_counting_takes_no_lock);
	return fixture_close();
}
