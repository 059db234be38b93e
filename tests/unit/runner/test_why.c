/* Why a read is a hit or a miss: over real executions; and the diff by itself, against what patching gives. */
#include "fixture.h"

#include "runner/why.h"

#include <sys/stat.h>

static void why(const char *task, const char *version, const char *component, struct memo_buf *out)
{
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	struct memo_err err = { 0 };
	memo_buf_reset(out);
	int code = memo_runner_resolve(runner, task, version, component, &t, &inputs, &err);
	if (code == 0)
		code = memo_runner_why(runner, t, inputs, NULL, out, &err);
	if (code < 0)
		printf("# %s\n", err.text);
	CHECK_INT(code, 0);
	json_decref(inputs);
	memo_task_unref(t);
}

static void has_at(const char *file, int line, const struct memo_buf *text, const char *part, bool wanted)
{
	bool there = strstr(memo_buf_str(text), part) != NULL;
	if (there == wanted)
		return;
	check_fail(file, line, wanted ? "not in it:" : "must not be in it:");
	printf("#   %s\n", part);
	for (const char *l = memo_buf_str(text); l != NULL && *l != '\0';) {
		size_t n = strcspn(l, "\n");
		printf("#   | %.*s\n", (int)n, l);
		l += n + (l[n] == '\n');
	}
}
#define HAS(text, part) has_at(__FILE__, __LINE__, text, part, true)
#define HAS_NOT(text, part) has_at(__FILE__, __LINE__, text, part, false)

static void begins(const struct memo_buf *text, const char *word)
{
	CHECK(strncmp(memo_buf_str(text), word, strlen(word)) == 0);
}

/* ---- hits and the first miss ---- */

static void test_first_and_hit(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add("{\"memofs\":1,\"name\":\"plain\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\",\"default\":1},"
	    "\"s\":{\"type\":\"string\",\"default\":\"a\"}},\"command\":[\"echo\",\"{inputs.x}\",\"{inputs.s}\"]}");
	why("plain", NULL, "x=3", &b);
	begins(&b, "miss: nothing was executed with this identity (");
	HAS(&b, "no earlier instance of task 'plain'");
	CHECK_INT(demand("plain", NULL, "x=3", 0), 0);
	why("plain", NULL, "x=3", &b);
	begins(&b, "hit: executed 20");
	HAS(&b, "saves these 0.");
	HAS(&b, "output: file, 4 bytes, ");
}

static void test_nearest_input(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(demand("plain", NULL, "s=far,x=9", 0), 0); /* newer, but further away */
	why("plain", NULL, "x=5", &b);
	begins(&b, "miss: ");
	HAS(&b, "nearest: /tasks/plain/1/x=3, executed 20");
	HAS(&b, "  inputs.x: 3 -> 5\n");
	HAS_NOT(&b, "inputs.s");
	why("plain", NULL, "s=b,x=3", &b);
	HAS(&b, "  inputs.s: \"a\" -> \"b\"\n");
}

static void test_version(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add("{\"memofs\":1,\"name\":\"plain\",\"version\":\"2\",\"inputs\":{\"x\":{\"type\":\"int\",\"default\":1},"
	    "\"s\":{\"type\":\"string\",\"default\":\"a\"}},\"command\":[\"echo\",\"{inputs.x}\",\"{inputs.s}\"]}");
	why("plain", NULL, "x=3", &b);
	HAS(&b, "nearest: /tasks/plain/1/x=3");
	HAS(&b, "  version: \"1\" -> \"2\"\n");
	add("{\"memofs\":1,\"name\":\"plain\",\"version\":\"3\",\"inputs\":{\"x\":{\"type\":\"float\",\"default\":"
	    "1},"
	    "\"s\":{\"type\":\"string\",\"default\":\"a\"},\"n\":{\"type\":\"int\",\"default\":0}},"
	    "\"command\":[\"echo\",\"{inputs.x}\",\"{inputs.s}\"]}");
	why("plain", NULL, "x=3", &b);
	HAS(&b, "  interface.inputs.x: \"int\" -> \"float\"\n");
	HAS(&b, "  interface.inputs.n: (none) -> \"int\"\n");
	HAS(&b, "  inputs.n: (none) -> 0\n");
}

static void test_failed(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add("{\"memofs\":1,\"name\":\"odd\",\"version\":\"1\",\"inputs\":{\"x\":{\"type\":\"int\",\"default\":1}},"
	    "\"command\":[\"sh\",\"-c\",\"[ $INPUT_X = 1 ]\"]}");
	CHECK_INT(demand("odd", NULL, "x=1", 0), 0);
	CHECK_INT(demand("odd", NULL, "x=2", 0), -EIO);
	why("odd", NULL, "x=2", &b);
	begins(&b, "miss: the last execution failed, 20");
	HAS(&b, "nearest: /tasks/odd/1/@default");
	HAS(&b, "inputs.x: 1 -> 2");
	add("{\"memofs\":1,\"name\":\"once\",\"version\":\"1\",\"cache\":false,\"command\":[\"true\"]}");
	CHECK_INT(demand("once", NULL, "@default", 0), 0);
	why("once", NULL, "@default", &b);
	begins(&b, "miss: its task file says \"cache\": false");
}

static void test_forgotten(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	CHECK_INT(memo_runner_resolve(runner, "odd", NULL, "@default", &t, &inputs, NULL), 0);
	CHECK_INT(memo_runner_forget(runner, t, inputs, NULL), 0);
	json_decref(inputs);
	memo_task_unref(t);
	why("odd", NULL, "@default", &b);
	begins(&b, "miss: there is no finished execution any more: it was forgotten, 20");
}

/* ---- files ---- */

static void write_file(const char *name, const char *text)
{
	MEMO_AUTO_FREE char *path = memo_io_join(top, name);
	CHECK_INT(memo_io_replace(AT_FDCWD, path, text, strlen(text), 0644, false), 0);
}

static void test_file(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf c = { 0 };
	MEMO_AUTO_FREE char *path = memo_io_join(top, "in.txt");
	add("{\"memofs\":1,\"name\":\"copy\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"command\":[\"cat\",\"{inputs.f}\"]}");
	(void)memo_buf_puts(&c, "f=");
	encode(&c, path);
	write_file("in.txt", "one\n");
	why("copy", NULL, c.data, &b);
	begins(&b, "miss: it cannot be told without reading inputs.f (");
	HAS(&b, path);
	CHECK_INT(demand("copy", NULL, c.data, 0), 0);
	(void)usleep(50000); /* beyond the clock grain: only then is a digest kept */
	write_file("in.txt", "two\n");
	why("copy", NULL, c.data, &b);
	begins(&b, "miss: it cannot be told without reading inputs.f (");
	HAS(&b, "nothing that is known differs from it; its result is reused if this turns out as it was:\n  "
		"inputs.f: in.txt "
		"(2c8b08da5ce6) -> "
		"in.txt (not read yet)\n");
	(void)usleep(50000);
	CHECK_INT(demand("copy", NULL, c.data, 0), 0);
	write_file("in.txt", "one\n");
	(void)usleep(50000);
	struct memo_digest d;
	CHECK_INT(memo_store_digest(store, path, false, NULL, &d, NULL), 0);
	why("copy", NULL, c.data, &b);
	begins(&b, "hit: ");
	write_file("in.txt", "three\n");
	(void)usleep(50000);
	CHECK_INT(memo_store_digest(store, path, false, NULL, &d, NULL), 0);
	why("copy", NULL, c.data, &b);
	begins(&b, "miss: nothing was executed with this identity (");
	/* what the name meant before is known too: the newest of two that are as near */
	HAS(&b, "inputs.f: in.txt (27dd8ed44a83) -> in.txt (f69369121844");
	CHECK_INT(unlink(path), 0);
	why("copy", NULL, c.data, &b);
	begins(&b, "miss: it cannot be executed as it stands: inputs.f: ");
}

/* The name means the failure by now; what it meant before is still known. */
static void test_file_that_fails(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf c = { 0 };
	MEMO_AUTO_FREE char *path = memo_io_join(top, "frail.txt");
	add("{\"memofs\":1,\"name\":\"frail\",\"version\":\"1\",\"inputs\":{\"f\":{\"type\":\"File\"}},"
	    "\"command\":[\"grep\",\"one\",\"{inputs.f}\"]}");
	(void)memo_buf_puts(&c, "f=");
	encode(&c, path);
	write_file("frail.txt", "one\n");
	CHECK_INT(demand("frail", NULL, c.data, 0), 0);
	write_file("frail.txt", "two\n");
	(void)usleep(50000);
	CHECK_INT(demand("frail", NULL, c.data, 0), -EIO);
	why("frail", NULL, c.data, &b);
	begins(&b, "miss: the last execution failed, 20");
	HAS(&b, "executed 20");
	HAS(&b, "  inputs.f: frail.txt (2c8b08da5ce6) -> frail.txt (27dd8ed44a83)\n");
}

/* ---- upstream ---- */

static void add_index(const char *version, const char *word)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(
		&b,
		"{\"memofs\":1,\"name\":\"index\",\"version\":\"%s\",\"inputs\":{\"ref\":{\"type\":\"string\"}},"
		"\"command\":[\"echo\",\"%s\",\"{inputs.ref}\"]}",
		version, word);
	add(b.data);
}

static void test_upstream(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add_index("1", "first");
	add("{\"memofs\":1,\"name\":\"mid\",\"version\":\"1\",\"inputs\":{\"ref\":{\"type\":\"string\"}},\"needs\":"
	    "{\"index\":"
	    "{\"task\":\"index\",\"inputs\":{\"ref\":\"{inputs.ref}\"}}},\"command\":[\"cat\",\"{needs.index}\"]}");
	add("{\"memofs\":1,\"name\":\"top\",\"version\":\"1\",\"needs\":{\"mid\":{\"task\":\"mid\",\"inputs\":{"
	    "\"ref\":\"hg\"}}},"
	    "\"command\":[\"cat\",\"{needs.mid}\"]}");
	why("top", NULL, "@default", &b);
	begins(&b, "miss: there is no result yet of upstream.mid (/tasks/mid/1/ref=hg)\n");
	HAS(&b, "  /tasks/mid/1/ref=hg: there is no result yet of upstream.index (/tasks/index/1/ref=hg)\n");
	HAS(&b, "    /tasks/index/1/ref=hg: nothing was executed with this identity");
	CHECK_INT(demand("top", NULL, "@default", 0), 0);
	why("top", NULL, "@default", &b);
	begins(&b, "hit: ");
	HAS(&b, "upstream: mid = /tasks/mid/1/ref=hg ");
	/* a new version upstream, not executed yet: what is below it cannot be known */
	add_index("2", "second");
	why("top", NULL, "@default", &b);
	begins(&b, "miss: there is no result yet of upstream.mid (");
	HAS(&b, "  upstream.mid: ");
	HAS(&b, " -> not known yet\n");
	HAS(&b, "/tasks/index/2/ref=hg: nothing was executed with this identity (");
	HAS(&b, "version: \"1\" -> \"2\"");
	/* executed: the chain of records leads down to it */
	CHECK_INT(demand("mid", NULL, "ref=hg", 0), 0);
	why("top", NULL, "@default", &b);
	begins(&b, "miss: nothing was executed with this identity (");
	HAS(&b, "nearest: /tasks/top/1/@default, executed 20");
	HAS(&b, "    /tasks/mid/1/ref=hg: executed 20");
	HAS(&b, "        /tasks/index/2/ref=hg: executed 20");
	HAS(&b, "before: /tasks/index/1/ref=hg, of which it differs in\n          version: \"1\" -> \"2\"\n");
}

static void test_same_identity_other_bytes(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add("{\"memofs\":1,\"name\":\"clock\",\"version\":\"1\",\"command\":[\"date\",\"+%N\"]}");
	add("{\"memofs\":1,\"name\":\"late\",\"version\":\"1\",\"needs\":{\"c\":{\"task\":\"clock\"}},\"command\":["
	    "\"cat\",\"{needs.c}\"]}");
	CHECK_INT(demand("late", NULL, "@default", 0), 0);
	CHECK_INT(demand("clock", NULL, "@default", MEMO_DEMAND_FORCE), 0);
	why("late", NULL, "@default", &b);
	begins(&b, "miss: nothing");
	HAS(&b, "  upstream.c: ");
	HAS(&b, "; of the same identity as before: an earlier execution gave other bytes\n");
}

static void test_fan_out(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add("{\"memofs\":1,\"name\":\"fan\",\"version\":\"1\",\"inputs\":{\"xs\":{\"type\":\"int[]\"}},\"needs\":{"
	    "\"p\":{\"task\":"
	    "\"plain\",\"version\":\"1\",\"each\":\"xs\",\"inputs\":{\"x\":\"{inputs.xs}\"}}},\"command\":[\"cat\","
	    "\"{needs.p}\"]}");
	CHECK_INT(demand("fan", NULL, "xs=1,xs=2,xs=3", 0), 0);
	CHECK_INT(demand("plain", "1", "x=7", 0), 0);
	why("fan", NULL, "xs=1,xs=7,xs=3", &b);
	HAS(&b, "  inputs.xs.1: 2 -> 7\n");
	HAS(&b, "  upstream.p.1: ");
	HAS(&b, "before: /tasks/plain/1/x=2, of which it differs in\n      inputs.x: 2 -> 7\n");
	HAS_NOT(&b, "upstream.p.0");
	why("fan", NULL, "xs=1,xs=2", &b);
	HAS(&b, "  inputs.xs: [1,2,3] -> [1,2] (3 -> 2 elements)\n");
}

/* ---- code ---- */

static void add_script(const char *env, const char *script)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(
		&b, "{\"memofs\":1,\"name\":\"coded\",\"env\":{\"MODE\":\"%s\"},\"script\":\"run.sh\"}", env);
	add_code(b.data, "run.sh", script);
}

static void test_code(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	add_script("a", "#!/bin/sh\nx=1\ny=2\necho $x\n");
	CHECK_INT(demand("coded", NULL, "@default", 0), 0);
	add_script("a", "#!/bin/sh\nx=1\ny=3\necho $x\n");
	why("coded", NULL, "@default", &b);
	begins(&b, "miss: nothing was executed with this identity (");
	HAS(&b, "  code: ");
	HAS(&b, "--- run.sh\n+++ run.sh\n@@ -1,4 +1,4 @@\n #!/bin/sh\n x=1\n-y=2\n+y=3\n echo $x\n");
	HAS_NOT(&b, "MODE");
	/* also when the old definition is gone */
	struct memo_task **all;
	size_t count;
	CHECK_INT(memo_store_tasks(store, &all, &count), 0);
	const char *old = NULL;
	for (size_t i = 0; i < count && old == NULL; i++)
		old = strcmp(all[i]->name, "coded") == 0 ? all[i]->version : NULL;
	CHECK_INT(memo_store_unregister(store, "coded", old, NULL), 0);
	memo_store_tasks_free(all, count);
	add_script("b", "#!/bin/sh\nx=1\ny=3\necho $x\n");
	why("coded", NULL, "@default", &b);
	HAS(&b, "-y=2\n+y=3\n");
	HAS(&b, "--- env\n+++ env\n@@ -1 +1 @@\n-MODE=a\n+MODE=b\n");
	/* a declared version instead of none */
	add_code("{\"memofs\":1,\"name\":\"coded\",\"version\":\"1\",\"script\":\"run.sh\"}", "run.sh",
		 "#!/bin/sh\n");
	why("coded", NULL, "@default", &b);
	HAS(&b, "  version: (none) -> \"1\"\n");
	add("{\"memofs\":1,\"name\":\"cmd\",\"command\":[\"sh\",\"-c\",\"echo one\\necho two\"]}");
	CHECK_INT(demand("cmd", NULL, "@default", 0), 0);
	add("{\"memofs\":1,\"name\":\"cmd\",\"command\":[\"sh\",\"-c\",\"echo one\\necho three\"]}");
	why("cmd", NULL, "@default", &b);
	HAS(&b, "--- command\n+++ command\n@@ -1,4 +1,4 @@\n sh\n -c\n echo one\n-echo two\n+echo three\n");
}

static void test_tool(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	MEMO_AUTO_FREE char *tool = memo_io_join(top, "mytool");
	(void)memo_buf_printf(&path, "%s:/usr/bin:/bin", top);
	CHECK_INT(memo_store_config_set(store, "path", path.data, NULL), 0);
	write_file("mytool", "#!/bin/sh\necho one\n");
	CHECK_INT(chmod(tool, 0755), 0);
	add("{\"memofs\":1,\"name\":\"tooled\",\"tools\":[\"mytool\"],\"command\":[\"true\"]}");
	CHECK_INT(demand("tooled", NULL, "@default", 0), 0);
	(void)usleep(50000);
	write_file("mytool", "#!/bin/sh\necho two\n");
	CHECK_INT(chmod(tool, 0755), 0);
	(void)usleep(50000);
	why("tooled", NULL, "@default", &b);
	begins(&b, "miss: it cannot be told without reading tool mytool (");
	struct memo_digest d;
	CHECK_INT(memo_store_digest(store, tool, false, NULL, &d, NULL), 0);
	why("tooled", NULL, "@default", &b);
	begins(&b, "miss: nothing was executed");
	HAS(&b, "  code: ");
	HAS(&b, "a program that the task lists in \"tools\" has changed: mytool\n");
	CHECK_INT(memo_store_config_set(store, "path", "", NULL), 0);
}

/* ---- bounds ---- */

static void test_never_computes(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	MEMO_AUTO_FREE char *count = memo_io_join(top, "count");
	(void)memo_buf_printf(
		&text, "{\"memofs\":1,\"name\":\"side\",\"version\":\"1\",\"command\":[\"touch\",\"%s\"]}", count);
	add(text.data);
	add("{\"memofs\":1,\"name\":\"below\",\"version\":\"1\",\"needs\":{\"s\":{\"task\":\"side\"}},\"command\":["
	    "\"cat\",\"{needs.s}\"]}");
	why("below", NULL, "@default", &b);
	why("side", NULL, "@default", &b);
	(void)usleep(100000);
	CHECK(access(count, F_OK) != 0);
}

static void test_many_instances(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	enum { N = 20000 };
	struct memo_err err = { 0 };
	for (int i = 0; i < N; i++) {
		char name[32];
		(void)snprintf(name, sizeof name, "x=%d", i + 10);
		MEMO_AUTO_JSON json_t *inputs = json_pack("{s:i, s:s}", "x", i + 10, "s", "a");
		MEMO_AUTO_JSON json_t *key = json_pack("{s:i, s:s, s:s, s:O}", "memofs", 1, "task", "plain",
						       "version", "1", "inputs", inputs);
		struct memo_instance inst = {
			.task = "plain", .version = "1", .name = name, .inputs = inputs, .key = key
		};
		struct memo_transition t = { .to = MEMO_PENDING, .exit_code = -1 };
		CHECK_INT(memo_hash_bytes(name, strlen(name), &inst.identity), 0);
		int code = memo_store_transition(store, &inst, &t, &err);
		if (code < 0) {
			CHECK_INT(code, 0);
			break;
		}
	}
	int64_t begin = memo_now_ns();
	why("plain", "1", "x=15001", &b);
	int64_t ms = (memo_now_ns() - begin) / MEMO_NS_PER_MS;
	printf("# why among %d instances: %lld ms\n", N, (long long)ms);
	CHECK(ms < 1000);
	HAS(&b, "nearest: /tasks/plain/1/x=15001, ");
}

/* ---- the diff ---- */

static void diff(const char *a, const char *b, struct memo_buf *out)
{
	struct memo_diff_text x = { "old", a, a == NULL ? 0 : strlen(a) };
	struct memo_diff_text y = { "new", b, b == NULL ? 0 : strlen(b) };
	memo_buf_reset(out);
	CHECK_INT(memo_diff(&x, &y, out), 0);
}

static void test_diff(void)
{
	static const struct {
		const char *a, *b, *want;
	} rows[] = {
		{ "", "", "" },
		{ "x\n", "x\n", "" },
		{ "x\n", "y\n", "--- old\n+++ new\n@@ -1 +1 @@\n-x\n+y\n" },
		{ "x", "x\n", "--- old\n+++ new\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n" },
		{ "", "x\n", "--- old\n+++ new\n@@ -0,0 +1 @@\n+x\n" },
		{ NULL, "x\n", "--- /dev/null\n+++ new\n@@ -0,0 +1 @@\n+x\n" },
		{ "x\n", NULL, "--- old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n" },
		{ "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
		  "--- old\n+++ new\n@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+10\n" },
		{ "a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n",
		  "--- old\n+++ new\n@@ -1,7 +1,6 @@\n-a\n-b\n c\n+b\n a\n b\n-b\n a\n+c\n" },
		{ "a\n\377\n", "b\n", "new: differs; it is no text, or too large to be shown\n" },
	};
	MEMO_AUTO_BUF struct memo_buf out = { 0 };
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		diff(rows[i].a, rows[i].b, &out);
		CHECK_STR(memo_buf_str(&out), rows[i].want);
	}
	/* more changes than are looked for */
	MEMO_AUTO_BUF struct memo_buf a = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (int i = 0; i < 2 * MEMO_DIFF_CHANGES; i++) {
		(void)memo_buf_printf(&a, "a%d\n", i);
		(void)memo_buf_printf(&b, "b%d\n", i);
	}
	diff(a.data, b.data, &out);
	CHECK(strncmp(memo_buf_str(&out), "new: differs in more than", 25) == 0);
}

/* Takes the old lines through the hunks and gives the new ones, or says where a hunk does not fit. */
static void patch(const char *old, const char *hunks, struct memo_buf *out)
{
	size_t line = 0;
	const char *p = hunks;
	for (int i = 0; i < 2 && *p != '\0'; i++)
		p = strchr(p, '\n') + 1;
	while (*p != '\0') {
		size_t len = strcspn(p, "\n") + 1;
		const char *rest = p + 1;
		if (*p == '@') {
			size_t from = strtoul(p + 4, NULL, 10);
			const char *comma = strchr(p, ',');
			bool empty = comma != NULL && comma < strchr(p, '+') && strtoul(comma + 1, NULL, 10) == 0;
			from -= empty ? 0 : 1;
			for (; line < from; line++) {
				size_t n = strcspn(old, "\n") + 1;
				(void)memo_buf_append(out, old, n);
				old += n;
			}
		} else if (*p == '+') {
			(void)memo_buf_append(out, rest, len - 1);
		} else {
			CHECK(strncmp(old, rest, len - 1) == 0);
			if (*p == ' ')
				(void)memo_buf_append(out, rest, len - 1);
			old += len - 1;
			line++;
		}
		p += len;
	}
	(void)memo_buf_puts(out, old);
}

static void test_diff_patches(void)
{
	srand(7);
	for (int round = 0; round < 3000; round++) {
		MEMO_AUTO_BUF struct memo_buf a = { 0 };
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		MEMO_AUTO_BUF struct memo_buf out = { 0 };
		MEMO_AUTO_BUF struct memo_buf got = { 0 };
		int n = rand() % 40;
		int letters = 1 + rand() % 6;
		int change = 1 + rand() % 10;
		for (int i = 0; i < n; i++) {
			int letter = rand() % letters;
			(void)memo_buf_printf(&a, "%c\n", 'a' + letter);
			if (rand() % change != 0)
				(void)memo_buf_printf(&b, "%c\n", 'a' + letter);
			if (rand() % (2 * change) == 0)
				(void)memo_buf_printf(&b, "%c\n", 'a' + rand() % letters);
		}
		diff(memo_buf_str(&a), memo_buf_str(&b), &out);
		patch(memo_buf_str(&a), memo_buf_str(&out), &got);
		CHECK_STR(memo_buf_str(&got), memo_buf_str(&b));
		if (check_failures > 0)
			return;
	}
}

int main(int argc, char **argv)
{
	if (fixture_open(argc, argv, "why") < 0)
		return 2;
	RUN(test_diff);
	RUN(test_diff_patches);
	RUN(test_first_and_hit);
	RUN(test_nearest_input);
	RUN(test_version);
	RUN(test_failed);
	RUN(test_forgotten);
	RUN(test_file);
	RUN(test_file_that_fails);
	RUN(test_upstream);
	RUN(test_same_identity_other_bytes);
	RUN(test_fan_out);
	RUN(test_code);
	RUN(test_tool);
	RUN(test_never_computes);
	RUN(test_many_instances);
	return fixture_close();
}
