/* Tasks: the corpus of task files beside this one (argument 1: the folder `tasks`), then what a parsed task
 * holds, binding, and the small grammars. tasks/bad/expected.txt has a line for each bad file:
 * <file> TAB <part of the message>. */
#include "check.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

static const char *folder;

static int parse_file(const char *path, struct memo_task **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	int r = memo_io_read_file(AT_FDCWD, path, MEMO_TASK_FILE_BYTES, &text);

	if (r < 0)
		return memo_fail(err, r, "%s: cannot be read", path);
	return memo_task_parse(memo_buf_str(&text), text.len, "LABEL", out, err);
}

/* Calls @fn for each "*.json" of folder/@sub; returns how many there were. */
static int walk(const char *sub, void (*fn)(const char *sub, const char *file))
{
	MEMO_AUTO_FREE char *path = memo_io_join(folder, sub);
	MEMO_AUTO_DIR DIR *d = path != NULL ? opendir(path) : NULL;
	int count = 0;

	CHECK_ROW(d != NULL, sub);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		size_t len = strlen(e->d_name);
		if (len < 5 || strcmp(e->d_name + len - 5, ".json") != 0)
			continue;
		count++;
		fn(sub, e->d_name);
	}
	return count;
}

static void good_file(const char *sub, const char *file)
{
	char path[4096];
	struct memo_err err = { 0 };
	struct memo_task *t = NULL, *again = NULL;

	(void)snprintf(path, sizeof path, "%s/%s/%s", folder, sub, file);
	int r = parse_file(path, &t, &err);
	CHECK_ROW(r == 0, r < 0 ? err.text : file);
	if (r < 0)
		return;
	CHECK_INT(memo_task_from_json(t->definition, "again", &again, &err), 0);
	CHECK(again != NULL && json_equal(t->definition, again->definition) && t->definition != again->definition);
	memo_task_unref(again);
	memo_task_unref(t);
}

static void test_good_files(void)
{
	CHECK(walk("good", good_file) > 15);
}

/* The line of expected.txt for @file, without the name; free() it. */
static char *expected(const char *file)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	MEMO_AUTO_FREE char *path = memo_io_join(folder, "bad/expected.txt");
	size_t len = strlen(file);

	if (path == NULL || memo_io_read_file(AT_FDCWD, path, (size_t)1 << 20, &text) < 0)
		return NULL;
	for (const char *p = memo_buf_str(&text); *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n')
		if (strncmp(p, file, len) == 0 && p[len] == '\t')
			return strndup(p + len + 1, strcspn(p + len + 1, "\n"));
	return NULL;
}

static void bad_file(const char *sub, const char *file)
{
	char path[4096], name[512];
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;

	(void)snprintf(path, sizeof path, "%s/%s/%s", folder, sub, file);
	(void)snprintf(name, sizeof name, "%s%s", strchr(sub, '/') != NULL ? "semantic/" : "", file);
	MEMO_AUTO_FREE char *want = expected(name);
	CHECK_ROW(want != NULL && want[0] != '\0', name);
	int r = parse_file(path, &t, &err);
	CHECK_ROW(r == -EINVAL, name);
	CHECK_ROW(t == NULL, name);
	CHECK_ROW(err.code == r, name);
	if (r == 0)
		memo_task_unref(t);
	if (r < 0 && want != NULL && strstr(err.text, want) == NULL) {
		check_fail(__FILE__, __LINE__, name);
		printf("#   got  %s\n#   want ...%s...\n", err.text, want);
	}
	CHECK_ROW(strncmp(err.text, "LABEL: ", 7) == 0, err.text);
	for (const char *p = err.text; *p != '\0'; p++)
		CHECK_ROW((unsigned char)*p >= 0x20, name);
}

static void test_bad_files(void)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	MEMO_AUTO_FREE char *path = memo_io_join(folder, "bad/expected.txt");
	int lines = 0;
	int files = walk("bad", bad_file);

	files += walk("bad/semantic", bad_file);
	CHECK_INT(memo_io_read_file(AT_FDCWD, path, (size_t)1 << 20, &text), 0);
	for (const char *p = memo_buf_str(&text); *p != '\0'; p++)
		lines += *p == '\n';
	CHECK_INT(lines, files);
	CHECK(files > 100);
}

static struct memo_task *parse(const char *text)
{
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;

	if (memo_task_parse(text, strlen(text), "task.json", &t, &err) < 0)
		check_fail(__FILE__, __LINE__, err.text);
	return t;
}

static void test_fields(void)
{
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;
	MEMO_AUTO_FREE char *path = memo_io_join(folder, "good/contract.json");

	CHECK_INT(parse_file(path, &t, &err), 0);
	if (t == NULL)
		return;
	CHECK_STR(t->name, "align");
	CHECK_STR(t->version, "1.2.0");
	CHECK(t->declared);
	CHECK_STR(t->description, "Align one sample's reads to the indexed reference.");
	CHECK_INT(t->inputs, 5);
	CHECK_STR(t->input[0].name, "label");
	CHECK_STR(t->input[0].type_text, "string?");
	CHECK(!t->input[0].identity && !t->input[0].required && json_is_null(t->input[0].fallback));
	const struct memo_input *score = memo_task_input(t, "min_score");
	CHECK(score != NULL && score->has_minimum && !score->has_maximum && score->int_minimum == 0 &&
	      score->identity && !score->required && json_integer_value(score->fallback) == 30);
	CHECK(memo_task_input(t, "sample")->required && memo_task_input(t, "sample")->fallback == NULL);
	CHECK(memo_task_input(t, "samples") == NULL && memo_task_input(t, "") == NULL);
	CHECK_INT(t->needs, 1);
	CHECK_STR(t->need[0].task, "index");
	CHECK(t->need[0].version == NULL && t->need[0].each == NULL && memo_task_need(t, "index") == &t->need[0]);
	CHECK(memo_task_need(t, "inde") == NULL);
	CHECK_STR(json_string_value(json_object_get(t->need[0].inputs, "reference")), "{inputs.reference}");
	CHECK_INT(t->commands, 8);
	CHECK_STR(t->command[6], "{needs.index}/ref");
	CHECK(t->script == NULL && t->output == MEMO_OUT_FILE && t->output_path == NULL);
	CHECK_INT(t->verifies, 3);
	CHECK_STR(json_string_value(json_object_get(t->env, "LC_ALL")), "C");
	CHECK_INT(t->codes, 1);
	CHECK_STR(t->code[0].path, "lib/helpers.py");
	CHECK_INT(t->tools, 1);
	CHECK_INT(t->cpu, 2);
	CHECK(t->memory_bytes == UINT64_C(4) << 30);
	CHECK_INT(t->time_ms, 7200000);
	CHECK(!t->network && t->executor == MEMO_EXEC_SLURM && t->cache && t->abandon == MEMO_ABANDON_CONTINUE);
	CHECK_INT(t->max_retries, 0);
	CHECK(t->temporaries == 1 && t->temporary[0] == 75);
	memo_task_unref(t);
}

static void test_defaults(void)
{
	struct memo_task *t = parse("{\"memofs\":1,\"name\":\"t\",\"script\":\"run.sh\",\"code\":[\"b\",\"a\"],"
				    "\"tools\":[\"z\",\"y\"],\"hints\":{\"executor\":\"local\"}}");

	if (t == NULL)
		return;
	CHECK(t->version == NULL && !t->declared && t->description == NULL && t->commands == 0);
	CHECK(t->output == MEMO_OUT_FILE && t->output_path == NULL && t->verifies == 0 && t->inputs == 0);
	CHECK(t->cpu == 1 && t->memory_bytes == 0 && t->time_ms == 0 && !t->network && t->cache);
	CHECK(json_object_size(t->env) == 0 && t->executor == MEMO_EXEC_LOCAL && t->temporaries == 0);
	CHECK_INT(t->codes, 3);
	CHECK_STR(t->code[0].path, "run.sh"); /* the script first, then byte order */
	CHECK_STR(t->code[1].path, "a");
	CHECK_STR(t->tool[0], "y");

	struct memo_id id;
	CHECK_INT(memo_id_parse("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", &id), 0);
	CHECK_INT(memo_task_complete(t, &id), 0);
	CHECK_STR(t->version, "auto-0123456789abcdef");
	CHECK(!t->declared && memo_id_equal(&t->fingerprint, &id) && memo_task_version_ok(t->version));
	CHECK_INT(memo_task_complete(t, &id), 0);
	CHECK(memo_task_ref(t) == t);
	memo_task_unref(t);
	CHECK_STR(t->name, "t");
	memo_task_unref(t);
	memo_task_unref(NULL);

	t = parse("{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"version\":\"7\"}");
	if (t == NULL)
		return;
	CHECK_INT(memo_task_complete(t, &id), 0);
	CHECK_STR(t->version, "7");
	memo_task_unref(t);
}

static const char BIND_TASK[] =
	"{\"memofs\":1,\"name\":\"align\",\"command\":[\"x\"],\"inputs\":{\"sample\":{\"type\":\"string\"},"
	"\"score\":{\"type\":\"float\",\"default\":30},\"label\":{\"type\":\"string?\"},\"n\":{\"type\":\"int?\","
	"\"default\":3,\"minimum\":1},\"reads\":{\"type\":\"File\"}}}";

static void test_bind_good(void)
{
	static const struct {
		const char *partial, *want;
	} row[] = {
		{ "{\"sample\":\"A\",\"reads\":\"/r\"}",
		  "{\"label\":null,\"n\":3,\"reads\":\"/r\",\"sample\":\"A\",\"score\":30.0}" },
		{ "{\"score\":1,\"reads\":\"/a//b/./c\",\"sample\":\"\",\"n\":null,\"label\":\"l\"}",
		  "{\"label\":\"l\",\"n\":null,\"reads\":\"/a/b/c\",\"sample\":\"\",\"score\":1.0}" },
	};
	struct memo_task *t = parse(BIND_TASK);

	for (size_t i = 0; t != NULL && i < sizeof row / sizeof row[0]; i++) {
		struct memo_err err = { 0 };
		MEMO_AUTO_JSON json_t *partial = NULL, *inputs = NULL;
		CHECK_INT(memo_json_parse(row[i].partial, strlen(row[i].partial), &partial, &err), 0);
		CHECK_INT(memo_task_bind(t, partial, &inputs, &err), 0);
		MEMO_AUTO_FREE char *text = memo_json_text(inputs);
		CHECK_STR(text, row[i].want);
	}
	memo_task_unref(t);
}

static void test_bind_bad(void)
{
	static const struct {
		const char *partial, *want;
	} row[] = {
		{ "{\"sampel\":\"A\"}", "task 'align': no input 'sampel'; did you mean 'sample'?" },
		{ "{\"zzz\":1}", "task 'align': no input 'zzz'; declare it under inputs, or correct its name" },
		{ "{}", "task 'align': input 'reads' (File) is missing" },
		{ "{\"reads\":\"/r\"}", "task 'align': input 'sample' (string) is missing" },
		{ "[]", "task 'align': inputs must be a JSON object of names and values" },
		{ "{\"sample\":1,\"reads\":\"/r\"}", "task 'align': input 'sample'" },
		{ "{\"sample\":null,\"reads\":\"/r\"}", "task 'align': input 'sample'" },
		{ "{\"sample\":\"a\",\"reads\":\"r\"}", "task 'align': input 'reads'" },
		{ "{\"sample\":\"a\",\"reads\":\"/r\",\"n\":0}", "task 'align': input 'n'" },
	};
	struct memo_task *t = parse(BIND_TASK);

	for (size_t i = 0; t != NULL && i < sizeof row / sizeof row[0]; i++) {
		struct memo_err err = { 0 };
		MEMO_AUTO_JSON json_t *partial = NULL, *inputs = NULL;
		CHECK_INT(memo_json_parse(row[i].partial, strlen(row[i].partial), &partial, &err), 0);
		CHECK_INT(memo_task_bind(t, partial, &inputs, &err), -EINVAL);
		CHECK_ROW(inputs == NULL && err.code == -EINVAL, row[i].partial);
		if (strncmp(err.text, row[i].want, strlen(row[i].want)) != 0)
			CHECK_STR(err.text, row[i].want);
	}
	CHECK_INT(t != NULL ? memo_task_bind(t, NULL, NULL, NULL) : 0, -EINVAL);
	memo_task_unref(t);
}

static void test_limits(void)
{
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };

	(void)memo_buf_puts(
		&b, "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"inputs\":{\"a\":{\"type\":\"int\"}");
	for (int i = 0; i < MEMO_TASK_INPUTS; i++)
		(void)memo_buf_printf(&b, ",\"i%d\":{\"type\":\"int\"}", i);
	(void)memo_buf_puts(&b, "}}");
	CHECK_INT(memo_task_parse(b.data, b.len, "t", &t, &err), -EINVAL);
	CHECK_STR(err.text, "t: inputs: has 257 members; at most 256 are allowed");

	memo_buf_reset(&b);
	for (size_t i = 0; i <= MEMO_TASK_FILE_BYTES; i++)
		(void)memo_buf_putc(&b, ' ');
	CHECK_INT(memo_task_parse(b.data, b.len, "t", &t, &err), -EINVAL);
	CHECK(strncmp(err.text, "t: is larger than 1048576 bytes", 31) == 0);

	/* A label longer than the field must not hide what is wrong. */
	MEMO_AUTO_FREE char *label = strndup(b.data, 5000);
	CHECK_INT(memo_task_parse("[]", 2, label, &t, &err), -EINVAL);
	CHECK(strstr(err.text, "a task is one JSON object") != NULL);
	CHECK_INT(memo_task_parse("[]", 2, "t", &t, NULL), -EINVAL);
	CHECK(t == NULL);
}

/* A chain of needs is no cycle, whatever its length and order; closing it makes one. */
static void test_long_chain(void)
{
	for (int closed = 0; closed < 2; closed++) {
		struct memo_err err = { 0 };
		struct memo_task *t = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		(void)memo_buf_puts(&b, "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"needs\":{");
		for (int i = 0; i < MEMO_TASK_NEEDS; i++) {
			int to = i + 1 < MEMO_TASK_NEEDS ? i + 1 : 200;
			(void)memo_buf_printf(&b, "%s\"n%03d\":{\"task\":\"a\"", i > 0 ? "," : "", i);
			if (to > i || closed)
				(void)memo_buf_printf(&b, ",\"inputs\":{\"x\":\"{needs.n%03d}\"}", to);
			(void)memo_buf_putc(&b, '}');
		}
		(void)memo_buf_puts(&b, "}}");
		CHECK_INT(memo_task_parse(b.data, b.len, "t", &t, &err), closed ? -EINVAL : 0);
		if (closed)
			CHECK_ROW(strstr(err.text, "and so on: a cycle") != NULL &&
					  strstr(err.text, "n199") == NULL,
				  err.text);
		memo_task_unref(t);
	}
}

static void test_names(void)
{
	static const struct {
		const char *text;
		bool name, version;
	} row[] = {
		{ "a", true, true },
		{ "_a", true, false },
		{ "A.b-c_9", true, true },
		{ "9", false, true },
		{ "", false, false },
		{ ".a", false, false },
		{ "-a", false, false },
		{ "1.0+x", false, true },
		{ "a b", false, false },
		{ "a/b", false, false },
		{ "latest", true, false },
		{ "latest2", true, true },
		{ "a\xc3\xbc", false, false },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true, true },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, false },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		CHECK_ROW(memo_task_name_ok(row[i].text) == row[i].name, row[i].text);
		CHECK_ROW(memo_task_version_ok(row[i].text) == row[i].version, row[i].text);
	}
}

static void test_inner_path(void)
{
	static const struct {
		const char *text;
		bool ok;
	} row[] = {
		{ "a", true },	      { "a/b", true },	 { ".a", true },      { "..a", true },	{ "...", true },
		{ "a/.b/c..", true }, { "", false },	 { "/", false },      { "/a", false },	{ "a/", false },
		{ "a//b", false },    { ".", false },	 { "..", false },     { "./a", false }, { "../a", false },
		{ "a/.", false },     { "a/..", false }, { "a/../b", false },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		CHECK_ROW(memo_task_inner_path_ok(row[i].text) == row[i].ok, row[i].text);
}

static void test_size(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t want;
	} row[] = {
		{ "0", 0, 0 },
		{ "1000000", 0, 1000000 },
		{ "4 GiB", 0, UINT64_C(4294967296) },
		{ "512MiB", 0, 536870912 },
		{ "3 B", 0, 3 },
		{ "1kB", 0, 1000 },
		{ "2 MB", 0, 2000000 },
		{ "2GB", 0, 2000000000 },
		{ "1 TB", 0, UINT64_C(1000000000000) },
		{ "1KiB", 0, 1024 },
		{ "1 TiB", 0, UINT64_C(1099511627776) },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -EINVAL, 0 },
		{ "16777216 TiB", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ " 4", -EINVAL, 0 },
		{ "4 ", -EINVAL, 0 },
		{ "4  GiB", -EINVAL, 0 },
		{ "-4", -EINVAL, 0 },
		{ "1.5 GiB", -EINVAL, 0 },
		{ "4G", -EINVAL, 0 },
		{ "4 gib", -EINVAL, 0 },
		{ "4 GiBs", -EINVAL, 0 },
		{ "GiB", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		uint64_t got = 0;
		CHECK_ROW(memo_task_parse_size(row[i].text, &got) == row[i].r, row[i].text);
		CHECK_ROW(row[i].r < 0 || got == row[i].want, row[i].text);
	}
}

static void test_time(void)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1: refused */
	} row[] = {
		{ "02:00:00", 7200 },
		{ "00:00:01", 1 },
		{ "0:0:0", 0 },
		{ "90:00", 5400 },
		{ "1:02", 62 },
		{ "100:00:00", 360000 },
		{ "1-00:00:00", 86400 },
		{ "3650-00:00:00", 315360000 },
		{ "2-03:04:05", 183845 },
		{ "3650-00:00:01", -1 },
		{ "87600:00:00", 315360000 },
		{ "9999999:59:59", -1 },
		{ "", -1 },
		{ "90", -1 },
		{ "1:60", -1 },
		{ "1:60:00", -1 },
		{ "1:00:60", -1 },
		{ "1-24:00:00", -1 },
		{ "1-00:00", -1 },
		{ "1-00", -1 },
		{ "-1:00:00", -1 },
		{ "1:00:00:00", -1 },
		{ "1:000", -1 },
		{ "1:", -1 },
		{ ":1", -1 },
		{ "1:00 ", -1 },
		{ "01:00:00-1", -1 },
		{ "99999999999999999999:00", -1 },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		int64_t ms = -1;
		int r = memo_task_parse_time(row[i].text, &ms);
		CHECK_ROW(r == (row[i].seconds < 0 ? -EINVAL : 0), row[i].text);
		CHECK_ROW(r < 0 ? ms == -1 : ms == row[i].seconds * 1000, row[i].text);
	}
}

static void test_volatile(void)
{
	static const struct {
		const char *text;
		bool want;
	} row[] = {
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"]}", false },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"tools\":[\"x\"]}", true },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"tools\":[\"x\"],\"version\":\"1\"}", false },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"cache\":false}", true },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"inputs\":{\"f\":{\"type\":\"File[]?\"}}}",
		  true },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"inputs\":{\"f\":{\"type\":\"Directory\"}}}",
		  true },
		{ "{\"memofs\":1,\"name\":\"t\",\"command\":[\"x\"],\"inputs\":{\"f\":{\"type\":\"json\"}}}",
		  false },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct memo_task *t = parse(row[i].text);
		CHECK_ROW(t != NULL && memo_task_volatile(t) == row[i].want, row[i].text);
		memo_task_unref(t);
	}
	CHECK_STR(memo_output_text(MEMO_OUT_FILE), "File");
	CHECK_STR(memo_output_text(MEMO_OUT_DIRECTORY), "Directory");
	CHECK_STR(memo_output_text(MEMO_OUT_JSON), "json");
	CHECK_STR(memo_output_text(MEMO_OUT_EXTERNAL), "External");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		printf("Bail out! usage: test-task FOLDER\n");
		return 1;
	}
	folder = argv[1];
	RUN(test_good_files);
	RUN(test_bad_files);
	RUN(test_fields);
	RUN(test_defaults);
	RUN(test_bind_good);
	RUN(test_bind_bad);
	RUN(test_limits);
	RUN(test_long_chain);
	RUN(test_names);
	RUN(test_inner_path);
	RUN(test_size);
	RUN(test_time);
	RUN(test_volatile);
	return check_end();
}
