/* Many threads at once over a few dozen instances: whatever they do, each demand ends once, and all that was taken is given
 * back. The seed is fixed; how the threads interleave is not. */
#include "asked.h"

#include <stdatomic.h>

#define THREADS 10
#define ROUND_NS (9 * MEMO_NS_PER_S)
#define CUT_NS (2 * MEMO_NS_PER_S)
#define LEFT_MAX 4000
#define CPUS "3"

static _Atomic bool stop;
static _Atomic size_t demands, dropped, refused, failed, deadlocks, cancels;

struct actor {
	pthread_t thread;
	unsigned seed;
	size_t number;
	bool leave; /* leaves its demands open */
	struct asked *left[LEFT_MAX];
	size_t lefts;
	bool bad;
};

static unsigned roll(struct actor *a, unsigned n)
{
	a->seed = a->seed * 1664525u + 1013904223u;
	return (a->seed >> 8) % n;
}

static const struct {
	const char *task;
	unsigned inputs; /* different values of x */
} instances[] = {
	{ "quick", 6 }, { "slow", 3 }, { "wide", 2 }, { "bad", 2 }, { "flaky", 2 }, { "once", 2 },
	{ "mid", 4 },	{ "deep", 3 }, { "hurt", 2 }, { "fan", 3 }, { "twins", 2 }, { "shared", 1 },
};

static void add_tasks(void)
{
	add_shell("quick", "", "echo $1");
	add_shell("slow", "", "sleep 0.2; echo $1");
	add_shell("wide", "\"requirements\":{\"cpu\":" CPUS "},", "sleep 0.1; echo $1");
	add_shell("bad", "", "exit 3");
	add_shell("flaky", "\"max_retries\":1,\"temporary_fail_codes\":[75],", "exit 75");
	add_shell("once", "\"cache\":false,", "sleep 0.05; date +%N");
	add_shell("mid", "\"needs\":{\"q\":{\"task\":\"quick\",\"inputs\":{\"x\":\"{inputs.x}\"}}},",
		  "cat needs/q");
	add_shell("deep",
		  "\"needs\":{\"m\":{\"task\":\"mid\",\"inputs\":{\"x\":\"{inputs.x}\"}},"
		  "\"s\":{\"task\":\"slow\",\"inputs\":{\"x\":\"{inputs.x}\"}}},",
		  "cat needs/*");
	add_shell("hurt", "\"needs\":{\"b\":{\"task\":\"bad\",\"inputs\":{\"x\":\"{inputs.x}\"}}},", "cat needs/b");
	add_shell("twins", "\"needs\":{\"a\":{\"task\":\"once\"},\"b\":{\"task\":\"once\"}},", "cat needs/*");
	add("{\"memofs\":1,\"name\":\"fan\",\"version\":\"1\",\"inputs\":{\"xs\":{\"type\":\"int[]\",\"default\":[]"
	    "},"
	    "\"x\":{\"type\":\"int\",\"default\":1}},"
	    "\"needs\":{\"q\":{\"task\":\"quick\",\"each\":\"xs\",\"inputs\":{\"x\":\"{inputs.xs}\"}}},"
	    "\"command\":[\"cat\",\"/dev/null\",\"{needs.q}\"]}");
	add("{\"memofs\":1,\"name\":\"copy\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"command\":[\"sh\",\"-c\",\"sleep 0.05; cat \\\"$1\\\"\",\"sh\",\"{inputs.f}\"]}");
	add("{\"memofs\":1,\"name\":\"all\",\"version\":\"1\",\"requirements\":{\"cpu\":" CPUS "},"
	    "\"command\":[\"echo\",\"room\"]}");
}

static void file_of(size_t number, struct memo_buf *path)
{
	(void)memo_buf_printf(path, "%s/in-%zu", top, number);
}

static void pick(struct actor *a, const char **task, struct memo_buf *component)
{
	size_t i = roll(a, sizeof instances / sizeof instances[0]);
	*task = instances[i].task;
	unsigned x = roll(a, instances[i].inputs);
	memo_buf_reset(component);
	if (strcmp(*task, "shared") == 0) { /* a file that its owner keeps changing */
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		file_of(roll(a, THREADS), &path);
		*task = "copy";
		file_component(component, "f", memo_buf_str(&path));
	} else if (strcmp(*task, "fan") == 0) {
		(void)memo_buf_puts(component, x == 0	? "@default"
					       : x == 1 ? "xs=1,xs=2,xs=1"
							: "xs=0,xs=5,xs=3,xs=4");
	} else {
		(void)memo_buf_printf(component, x == 1 ? "@default" : "x=%u", x);
	}
}

static void check(struct actor *a, bool so, const char *what)
{
	if (!so) {
		a->bad = true;
		printf("# actor %zu: %s\n", a->number, what);
	}
}

/* One answer, and one only, unless dropped: then none. */
static void end_demand(struct actor *a, struct asked *q, int64_t patience_ns)
{
	bool gone = false;
	if (!await_for(q, patience_ns)) {
		gone = memo_runner_drop(runner, q->wait);
		if (gone)
			(void)atomic_fetch_add(&dropped, 1);
		else
			check(a, await_for(q, PATIENCE_NS), "neither dropped nor answered");
	}
	(void)sched_yield();
	memo_mutex_lock(&q->mu);
	int answers = q->answers;
	int code = q->code;
	memo_mutex_unlock(&q->mu);
	check(a, answers == (q->now || gone ? 0 : 1), "answered more or less than once");
	if (q->now && code < 0)
		(void)atomic_fetch_add(&refused, 1);
	if (!gone && code < 0)
		(void)atomic_fetch_add(code == -EDEADLK ? &deadlocks : &failed, 1);
	done(q);
	free(q);
}

static void cancel(const char *task, const char *component)
{
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	if (instance(task, component, &t, &inputs, NULL) < 0)
		return;
	if (memo_runner_cancel(runner, t, inputs, NULL) == 0)
		(void)atomic_fetch_add(&cancels, 1);
	json_decref(inputs);
	memo_task_unref(t);
}

static void demand(struct actor *a)
{
	static const unsigned flags[] = { 0, 0, 0, 0, MEMO_DEMAND_FORCE, MEMO_DEMAND_FRESH, MEMO_DEMAND_PEEK };
	const char *task;
	MEMO_AUTO_BUF struct memo_buf component = { 0 };
	pick(a, &task, &component);
	struct asked *q = calloc(1, sizeof *q);
	if (q == NULL)
		abort();
	pid_t tid = roll(a, 4) == 0 ? worker_of(NULL, roll(a, 8)) : 0;
	ask_as(q, task, memo_buf_str(&component), flags[roll(a, 7)], tid, geteuid());
	(void)atomic_fetch_add(&demands, 1);
	if (roll(a, 5) == 0)
		cancel(task, memo_buf_str(&component));
	if (a->leave && a->lefts < LEFT_MAX)
		a->left[a->lefts++] = q;
	else
		end_demand(a, q, roll(a, 8) > 0 ? (int64_t)roll(a, 120) * MEMO_NS_PER_MS : PATIENCE_NS);
}

static void meddle(struct actor *a)
{
	const char *task;
	MEMO_AUTO_BUF struct memo_buf component = { 0 };
	pick(a, &task, &component);
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	if (instance(task, memo_buf_str(&component), &t, &inputs, NULL) < 0)
		return;
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	struct memo_result *res = NULL;
	enum memo_state state;
	struct memo_demand d = { .task = t, .inputs = inputs, .uid = geteuid() };
	switch (roll(a, 5)) {
	case 0:
		cancel(task, memo_buf_str(&component));
		break;
	case 1:
		(void)!memo_runner_forget(runner, t, inputs, NULL);
		break;
	case 2:
		(void)!memo_runner_start(runner, &d, &state, NULL);
		break;
	case 3:
		if (memo_runner_peek(runner, t, inputs, NULL, 0, &res) == 0)
			(void)!memo_runner_lost(runner, res, "for the test", NULL);
		memo_result_unref(res);
		break;
	default:
		(void)!memo_runner_info(runner, t, inputs, NULL, memo_info_names[roll(a, 11)], &text, NULL);
		(void)in_flight();
	}
	json_decref(inputs);
	memo_task_unref(t);
}

/* What is read after a change is the changed file, whoever waits for the same name since before. */
static void change(struct actor *a)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	MEMO_AUTO_BUF struct memo_buf component = { 0 };
	char want[32];
	file_of(a->number, &path);
	(void)snprintf(want, sizeof want, "%u\n", roll(a, 1000000));
	check(a, memo_io_replace(AT_FDCWD, memo_buf_str(&path), want, strlen(want), 0644, false) == 0, "no file");
	file_component(&component, "f", memo_buf_str(&path));
	struct asked *before = calloc(1, sizeof *before);
	struct asked *q = calloc(1, sizeof *q);
	if (before == NULL || q == NULL)
		abort();
	ask(before, "copy", memo_buf_str(&component), 0);
	(void)usleep(roll(a, 60000));
	(void)snprintf(want, sizeof want, "%u\n", roll(a, 1000000));
	check(a, memo_io_replace(AT_FDCWD, memo_buf_str(&path), want, strlen(want), 0644, false) == 0, "no file");
	ask(q, "copy", memo_buf_str(&component), 0);
	MEMO_AUTO_BUF struct memo_buf got = { 0 };
	if (await(q) == 0) {
		text_of(q, &got);
		/* "": the result was forgotten or lost before it could be opened */
		check(a, got.len == 0 || strcmp(memo_buf_str(&got), want) == 0, "an old result for a changed file");
	}
	end_demand(a, q, PATIENCE_NS);
	end_demand(a, before, PATIENCE_NS);
}

static void *act(void *arg)
{
	struct actor *a = arg;
	while (!atomic_load(&stop)) {
		unsigned what = roll(a, 10);
		if (what < 6)
			demand(a);
		else if (what < 9)
			meddle(a);
		else if (!a->leave)
			change(a);
		if (a->leave)
			(void)usleep(2000);
	}
	return NULL;
}

static struct actor *start_all(bool leave)
{
	struct actor *all = calloc(THREADS, sizeof *all);
	if (all == NULL)
		abort();
	atomic_store(&stop, false);
	for (size_t i = 0; i < THREADS; i++) {
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		file_of(i, &path);
		CHECK_INT(memo_io_replace(AT_FDCWD, memo_buf_str(&path), "0\n", 2, 0644, false), 0);
		all[i].number = i;
		all[i].seed = 12345u + (unsigned)i * 7919u;
		all[i].leave = leave;
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK_INT(memo_thread_start(&all[i].thread, "actor", act, &all[i]), 0);
	return all;
}

static void stop_all(struct actor *all, int64_t after_ns)
{
	(void)usleep((useconds_t)(after_ns / 1000));
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREADS; i++) {
		(void)pthread_join(all[i].thread, NULL);
		CHECK(!all[i].bad);
	}
}

static void test_everything_is_given_back(void)
{
	struct actor *all = start_all(false);
	stop_all(all, ROUND_NS);
	free(all);
	printf("# %zu demands: %zu dropped, %zu failed, %zu refused, %zu cycles; %zu cancelled\n",
	       atomic_load(&demands), atomic_load(&dropped), atomic_load(&failed), atomic_load(&refused),
	       atomic_load(&deadlocks), atomic_load(&cancels));
	CHECK(settles());
	/* all slots are free again: a task that requires every cpu runs, once more and once more */
	for (int i = 0; i < 3; i++) {
		struct asked a;
		ask(&a, "all", "@default", MEMO_DEMAND_FORCE);
		CHECK_INT(await(&a), 0);
		done(&a);
	}
	CHECK(settles());
}

static void test_close_in_the_middle(void)
{
	struct actor *all = start_all(true);
	stop_all(all, CUT_NS);
	CHECK(in_flight() > 0);
	memo_runner_close(runner);
	runner = NULL;
	size_t told = 0;
	for (size_t i = 0; i < THREADS; i++) {
		for (size_t k = 0; k < all[i].lefts; k++) {
			struct asked *q = all[i].left[k];
			CHECK(q->now || q->answers == 1);
			told += q->code == -ESHUTDOWN;
			done(q);
			free(q);
		}
	}
	printf("# %zu demands were told that memofs ends\n", told);
	CHECK(told > 0);
	free(all);
	CHECK_INT(open_runner(), 0);
	struct asked a;
	ask(&a, "deep", "x=1", 0);
	CHECK_INT(await(&a), 0);
	done(&a);
}

int main(int argc, char **argv)
{
	if (argc < 2 || open_all(argv[1]) < 0)
		return 2;
	config("cpus", CPUS);
	config("failure_backoff", "0");
	add_tasks();
	RUN(test_everything_is_given_back);
	RUN(test_close_in_the_middle);
	close_all();
	return check_end();
}
