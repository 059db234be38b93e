/* Demands at awkward moments: each test is a race, a refusal or an end that once went wrong. */
#include "asked.h"

/* ---- joining ---- */

static void add_copy(void)
{
	add("{\"memofs\":1,\"name\":\"copy\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"command\":[\"sh\",\"-c\",\"cat \\\"$1\\\"; sleep 0.5\",\"sh\",\"{inputs.f}\"]}");
	add("{\"memofs\":1,\"name\":\"after\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"needs\":{\"c\":{\"task\":\"copy\",\"inputs\":{\"f\":\"{inputs.f}\"}}},\"command\":[\"cat\",\"{needs."
	    "c}\"]}");
}

/* Who asks after a change gets the changed file, though the name is in flight already. */
static void test_change_while_in_flight(void)
{
	static const char *const second[] = { "copy", "after" };
	add_copy();
	for (size_t i = 0; i < sizeof second / sizeof second[0]; i++) {
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		MEMO_AUTO_BUF struct memo_buf component = { 0 };
		MEMO_AUTO_BUF struct memo_buf got = { 0 };
		(void)memo_buf_printf(&path, "%s/changes-%zu", top, i);
		file_component(&component, "f", memo_buf_str(&path));
		CHECK_INT(memo_io_replace(AT_FDCWD, memo_buf_str(&path), "old\n", 4, 0644, false), 0);
		struct asked a;
		struct asked b;
		ask(&a, "copy", memo_buf_str(&component), 0);
		(void)await_worker("copy");
		(void)usleep(200000);
		CHECK_INT(memo_io_replace(AT_FDCWD, memo_buf_str(&path), "new\n", 4, 0644, false), 0);
		ask(&b, second[i], memo_buf_str(&component), 0);
		CHECK_INT(await(&a), 0);
		CHECK_INT(await(&b), 0);
		text_of(&b, &got);
		CHECK_STR(memo_buf_str(&got), "new\n");
		done(&a);
		done(&b);
	}
}

/* A name that was asked for is known, whether it found a result, joined its making, or its failure. */
static void test_other_names_of_one_identity(void)
{
	static const struct {
		const char *task;
		const char *first, *second;
		bool together;
		int code;
		enum memo_state state;
	} row[] = {
		{ "label", "label=a,x=1", "label=b,x=1", false, 0, MEMO_SUCCESS },
		{ "label", "label=a,x=2", "label=b,x=2", true, 0, MEMO_SUCCESS },
		{ "label", "label=a,x=7", "label=b,x=7", true, -EIO, MEMO_FAILED },
		{ "label", "label=a,x=8", "label=b,x=8", false, -EIO, MEMO_FAILED },
	};
	add("{\"memofs\":1,\"name\":\"label\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\"},"
	    "\"label\":{\"type\":\"string?\",\"identity\":false}},"
	    "\"command\":[\"sh\",\"-c\",\"sleep 0.2; [ $1 -lt 7 ] && echo $1\",\"sh\",\"{inputs.x}\"]}");
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct asked a;
		struct asked b;
		ask(&a, row[i].task, row[i].first, 0);
		if (!row[i].together)
			(void)await(&a);
		ask(&b, row[i].task, row[i].second, 0);
		CHECK_INT(await(&a), row[i].code);
		CHECK_INT(await(&b), row[i].code);
		struct memo_named n;
		CHECK_ROW(memo_store_named(store, row[i].task, "1", row[i].second, &n, NULL) == 0, row[i].second);
		CHECK_INT(n.state, row[i].state);
		done(&a);
		done(&b);
	}
}

/* Each has an execution of its own, in the order in which they came. */
static void test_fresh_in_order(void)
{
	enum { N = 5 };
	add_shell("once", "\"cache\":false,", "date +%s.%N");
	struct asked a[N];
	for (size_t i = 0; i < N; i++) {
		ask(&a[i], "once", "@default", MEMO_DEMAND_FRESH);
		(void)usleep(10000);
	}
	for (size_t i = 0; i < N; i++)
		CHECK_INT(await(&a[i]), 0);
	for (size_t i = 1; i < N; i++)
		CHECK(a[i - 1].answered_ns < a[i].answered_ns);
	for (size_t i = 0; i < N; i++)
		done(&a[i]);
	CHECK_INT(runs_of("once"), N);
}

/* ---- refusals ---- */

static void test_quota_starts_nothing(void)
{
	add_shell("held", "", "sleep 1; echo $1");
	add_shell("extra", "", "echo $1");
	config("max_waiting", "1");
	struct asked a;
	struct asked b;
	ask(&a, "held", "@default", 0);
	ask(&b, "extra", "@default", 0);
	CHECK_INT(await(&b), -EDQUOT);
	CHECK_INT(await(&a), 0);
	CHECK(settles());
	CHECK_INT(runs_of("extra"), 0);
	config("max_waiting", "");
	done(&a);
	done(&b);
}

static void test_missing_input_without_identity(void)
{
	add("{\"memofs\":1,\"name\":\"aside\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\",\"identity\":"
	    "false}},"
	    "\"command\":[\"cat\",\"{inputs.f}\"]}");
	struct asked a;
	ask(&a, "aside", "f=%2Fno%2Fsuch%2Ffile", 0);
	CHECK_INT(await(&a), -EIO);
	CHECK(strstr(a.err.text, "'/no/such/file'") != NULL);
	CHECK(strstr(a.err.text, "No such file") != NULL);
	done(&a);
}

/* ---- slots ---- */

/* The settings shrink below what is queued already: it runs alone, and those behind it run too. */
static void test_settings_shrink(void)
{
	add_shell("fat", "\"requirements\":{\"cpu\":2},", "echo $1");
	add_shell("thin", "", "sleep 0.5; echo $1");
	config("cpus", "2");
	struct asked a[4];
	ask(&a[0], "thin", "x=1", 0);
	(void)await_worker("thin");
	ask(&a[1], "fat", "x=1", 0);
	(void)usleep(200000);
	config("cpus", "1");
	ask(&a[2], "thin", "x=2", 0);
	ask(&a[3], "thin", "x=3", 0);
	for (size_t i = 0; i < 4; i++) {
		CHECK_INT(await(&a[i]), 0);
		done(&a[i]);
	}
	config("cpus", "");
}

/* A task that ends, or is tried again, while a read of its own still waits: its slot is counted once. */
static void test_reader_dies(void)
{
	static const struct {
		const char *name, *more, *script;
		int code;
	} row[] = {
		{ "leaves", "", "sleep 0.4; echo $1", 0 },
		{ "retries", "\"max_retries\":1,\"temporary_fail_codes\":[75],",
		  "sleep 0.4; [ $(wc -l <COUNT) -gt 1 ] || exit 75; sleep 1; echo $1", 0 },
	};
	config("cpus", "2");
	add_shell("awaited", "", "sleep 2; echo $1");
	add_shell("every", "\"requirements\":{\"cpu\":2},", "echo $1");
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		MEMO_AUTO_BUF struct memo_buf script = { 0 };
		const char *count = strstr(row[i].script, "COUNT");
		if (count == NULL)
			(void)memo_buf_puts(&script, row[i].script);
		else
			(void)memo_buf_printf(&script, "%.*s%s/%s.count%s", (int)(count - row[i].script),
					      row[i].script, top, row[i].name, count + 5);
		add_shell(row[i].name, row[i].more, memo_buf_str(&script));
		char x[16];
		(void)snprintf(x, sizeof x, "x=%zu", i + 2);
		struct asked a;
		struct asked b;
		struct asked c;
		ask(&a, row[i].name, "@default", 0);
		ask_as(&b, "awaited", x, 0, await_worker(row[i].name), geteuid());
		CHECK_ROW(await(&a) == row[i].code, row[i].name);
		CHECK_INT(await(&b), 0);
		ask(&c, "every", x, 0);
		CHECK_ROW(await_for(&c, 10 * MEMO_NS_PER_S) && c.code == 0, row[i].name);
		done(&a);
		done(&b);
		done(&c);
	}
	config("cpus", "");
}

/* ---- cancelling ---- */

/* At any moment from the demand on: each waiter is told once, and the runner stays whole. */
static void test_cancel_at_any_moment(void)
{
	add_shell("base", "", "sleep 0.05; echo $1");
	add_shell("upper", "\"needs\":{\"b\":{\"task\":\"base\",\"inputs\":{\"x\":\"{inputs.x}\"}}},",
		  "sleep 60; echo $1");
	for (unsigned i = 0; i < 60; i++) {
		char x[16];
		(void)snprintf(x, sizeof x, "x=%u", i + 2);
		struct asked a;
		struct asked b;
		ask(&a, "upper", x, 0);
		ask(&b, "base", x, 0);
		/* nothing, then finer than each step takes, up to the middle of the run */
		(void)usleep(i < 20 ? 0 : (i - 19) * (i - 19) * 100);
		struct memo_task *t = NULL;
		json_t *inputs = NULL;
		CHECK_INT(instance("upper", x, &t, &inputs, NULL), 0);
		CHECK_INT(memo_runner_cancel(runner, t, inputs, NULL), 0);
		json_decref(inputs);
		memo_task_unref(t);
		CHECK_ROW(await_for(&a, 20 * MEMO_NS_PER_S) && a.code == -ECANCELED, x);
		CHECK_ROW(await_for(&b, 20 * MEMO_NS_PER_S) && b.code == 0, x);
		done(&a);
		done(&b);
	}
	CHECK(settles());
}

/* One cancel ends all that are there for the instance, also those that wait for an execution of their own. */
static void test_cancel_those_in_line(void)
{
	enum { N = 3 };
	add_shell("line", "\"cache\":false,", "sleep 60");
	struct asked a[N];
	for (size_t i = 0; i < N; i++)
		ask(&a[i], "line", "@default", MEMO_DEMAND_FRESH);
	(void)await_worker("line");
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	CHECK_INT(instance("line", "@default", &t, &inputs, NULL), 0);
	CHECK_INT(memo_runner_cancel(runner, t, inputs, NULL), 0);
	json_decref(inputs);
	memo_task_unref(t);
	for (size_t i = 0; i < N; i++) {
		CHECK(await_for(&a[i], 20 * MEMO_NS_PER_S) && a[i].code == -ECANCELED);
		done(&a[i]);
	}
	CHECK(runs_of("line") <= 1);
}

/* A result that read something which has changed since is no answer to who asks after the change. */
static void test_observed_change_while_running(void)
{
	add_shell("seen", "\"cache\":false,", "date +%s.%N");
	add_shell("looks", "", "sleep 1; echo $1");
	struct asked a;
	struct asked b;
	struct memo_id old = { .byte = { 1 } }; /* what it read is never the same again */
	ask(&a, "looks", "@default", 0);
	memo_runner_observe(runner, await_worker("looks"), "/tasks/seen/1/@default", &old, NULL);
	ask(&b, "looks", "@default", 0);
	CHECK_INT(await(&a), 0);
	CHECK_INT(await(&b), 0);
	CHECK_INT(runs_of("looks"), 2);
	done(&a);
	done(&b);
}

int main(int argc, char **argv)
{
	if (argc < 2 || open_all(argv[1]) < 0)
		return 2;
	RUN(test_change_while_in_flight);
	RUN(test_other_names_of_one_identity);
	RUN(test_fresh_in_order);
	RUN(test_quota_starts_nothing);
	RUN(test_missing_input_without_identity);
	RUN(test_settings_shrink);
	RUN(test_reader_dies);
	RUN(test_cancel_at_any_moment);
	RUN(test_cancel_those_in_line);
	RUN(test_observed_change_while_running);
	close_all();
	return check_end();
}
