/* Types and values: what is accepted, what it becomes, and what the refusal says. */
#include "base/json.h"
#include "base/scope.h"
#include "check.h"
#include "core/canon.h"
#include "core/task.h"
#include "core/value.h"

#include <stdlib.h>

static const char definition[] = "{\"memofs\":1,\"name\":\"t\",\"command\":[\"true\"],\"inputs\":{"
				 "\"s\":{\"type\":\"string\"},"
				 "\"pat\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"},"
				 "\"opt\":{\"type\":\"string?\"},"
				 "\"i\":{\"type\":\"int\"},"
				 "\"lim\":{\"type\":\"int\",\"minimum\":-5,\"maximum\":9007199254740993},"
				 "\"f\":{\"type\":\"float\"},"
				 "\"flim\":{\"type\":\"float\",\"minimum\":0.5,\"maximum\":2},"
				 "\"b\":{\"type\":\"boolean\"},"
				 "\"e\":{\"type\":\"enum\",\"values\":[\"fast\",\"slow\"]},"
				 "\"file\":{\"type\":\"File\"},"
				 "\"dir\":{\"type\":\"Directory\"},"
				 "\"j\":{\"type\":\"json\"},"
				 "\"jopt\":{\"type\":\"json?\"},"
				 "\"js\":{\"type\":\"json[]\"},"
				 "\"is\":{\"type\":\"int[]\"},"
				 "\"fs\":{\"type\":\"float[]?\"},"
				 "\"ss\":{\"type\":\"string[]\"}}}";

static struct memo_task *task;

static const struct memo_input *input(const char *name)
{
	const struct memo_input *in = memo_task_input(task, name);
	if (in == NULL) {
		printf("Bail out! the test's task has no input '%s'\n", name);
		exit(1);
	}
	return in;
}

static void test_types(void)
{
	static const struct {
		const char *text;
		int r;
		enum memo_kind kind;
		bool array, optional;
	} rows[] = {
		{ "string", 0, MEMO_STRING, false, false },
		{ "int?", 0, MEMO_INT, false, true },
		{ "float[]", 0, MEMO_FLOAT, true, false },
		{ "boolean[]?", 0, MEMO_BOOLEAN, true, true },
		{ "enum", 0, MEMO_ENUM, false, false },
		{ "File[]", 0, MEMO_FILE, true, false },
		{ "Directory[]?", 0, MEMO_DIRECTORY, true, true },
		{ "json", 0, MEMO_JSON, false, false },
		{ "", -EINVAL, 0, false, false },
		{ "?", -EINVAL, 0, false, false },
		{ "[]", -EINVAL, 0, false, false },
		{ "integer", -EINVAL, 0, false, false },
		{ "file", -EINVAL, 0, false, false },
		{ "int?[]", -EINVAL, 0, false, false },
		{ "int[][]", -EINVAL, 0, false, false },
		{ "int??", -EINVAL, 0, false, false },
		{ "int ", -EINVAL, 0, false, false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct memo_type t = { 0 };
		char text[MEMO_TYPE_TEXT];
		int r = memo_type_parse(rows[i].text, &t);
		CHECK_ROW(r == rows[i].r, rows[i].text);
		if (r < 0)
			continue;
		CHECK_ROW(t.kind == rows[i].kind && t.array == rows[i].array && t.optional == rows[i].optional,
			  rows[i].text);
		memo_type_text(&t, text);
		CHECK_STR(text, rows[i].text);
	}
}

/* @want: canonical JSON, or NULL when refused with @says in the message. */
struct row {
	const char *input;
	const char *given;
	const char *want;
	const char *says;
};

static void check_row(const struct row *row, int r, json_t *got, const struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_ROW((r == 0) == (row->want != NULL), row->given);
	if (r == 0 && row->want != NULL) {
		CHECK_INT(memo_canon_append(got, &b, NULL), 0);
		CHECK_STR(memo_buf_str(&b), row->want);
	} else if (r < 0) {
		CHECK_INT(r, -EINVAL);
		CHECK_INT(err->code, -EINVAL);
		CHECK_ROW(strstr(err->text, row->input) != NULL, err->text);
		CHECK_ROW(row->says != NULL && strstr(err->text, row->says) != NULL, err->text);
		CHECK_ROW(strchr(err->text, '\n') == NULL, err->text);
	}
}

static void test_from_text(void)
{
	static const struct row rows[] = {
		{ "s", "abc", "\"abc\"", NULL },
		{ "s", "", "\"\"", NULL },
		{ "s", "b\u00f8\tx", "\"b\u00f8\\tx\"", NULL },
		{ "s", "\xff", NULL, "not UTF-8" },
		{ "s", "\xc0\xaf", NULL, "not UTF-8" },
		{ "s", "\xed\xa0\x80", NULL, "not UTF-8" },
		{ "s", "\xf4\x90\x80\x80", NULL, "not UTF-8" },
		{ "pat", "abc", "\"abc\"", NULL },
		{ "pat", "ab1", NULL, "does not match the pattern '^[a-z]+$'" },
		{ "i", "42", "42", NULL },
		{ "i", "+42", "42", NULL },
		{ "i", "-0", "0", NULL },
		{ "i", "007", "7", NULL },
		{ "i", "3x", NULL, "input 'i': '3x' is not a whole number" },
		{ "i", "", NULL, "is not a whole number" },
		{ "i", "-", NULL, "is not a whole number" },
		{ "i", " 1", NULL, "is not a whole number" },
		{ "i", "1.0", NULL, "is not a whole number" },
		{ "i", "0x10", NULL, "is not a whole number" },
		{ "i", "1\n2", NULL, "'1?2'" },
		{ "i", "9223372036854775808", NULL, "beyond 64 bits" },
		{ "i", "-9223372036854775809", NULL, "beyond 64 bits" },
		{ "i", "99999999999999999999999999", NULL, "beyond 64 bits" },
		{ "lim", "-5", "-5", NULL },
		{ "lim", "-6", NULL, "-6 is below its minimum -5" },
		{ "lim", "9007199254740994", NULL, "above its maximum 9007199254740993" },
		{ "f", "4.50", "4.5", NULL },
		{ "f", "1", "1", NULL },
		{ "f", "-0.0", "0", NULL },
		{ "f", ".5", "0.5", NULL },
		{ "f", "5.", "5", NULL },
		{ "f", "1E3", "1000", NULL },
		{ "f", "+1e-7", "1e-7", NULL },
		{ "f", "1e-400", "0", NULL },
		{ "f", "1e400", NULL, "not finite" },
		{ "f", "inf", NULL, "is not a number" },
		{ "f", "nan", NULL, "is not a number" },
		{ "f", "0x1p3", NULL, "is not a number" },
		{ "f", "1,5", NULL, "is not a number" },
		{ "f", "1e", NULL, "is not a number" },
		{ "f", ".", NULL, "is not a number" },
		{ "f", " 1", NULL, "is not a number" },
		{ "f", "", NULL, "is not a number" },
		{ "flim", "0.49", NULL, "0.49 is below its minimum 0.5" },
		{ "flim", "2.5", NULL, "2.5 is above its maximum 2" },
		{ "flim", "2", "2", NULL },
		{ "b", "true", "true", NULL },
		{ "b", "false", "false", NULL },
		{ "b", "True", NULL, "write true or false" },
		{ "b", "1", NULL, "write true or false" },
		{ "e", "slow", "\"slow\"", NULL },
		{ "e", "slo", NULL, "use fast, slow" },
		{ "file", "/data/a.fq", "\"/data/a.fq\"", NULL },
		{ "file", "//data/./b/../a.fq/", "\"/data/a.fq\"", NULL },
		{ "file", "a.fq", NULL, "not an absolute path" },
		{ "file", "", NULL, "not an absolute path" },
		{ "file", "/a/../../b", NULL, "climbs above" },
		{ "file", "/a/..", NULL, "has no base name" },
		{ "dir", "/", NULL, "has no base name" },
		{ "dir", "/ref/", "\"/ref\"", NULL },
		{ "j", "{\"b\":1.0,\"a\":[-0.0,2.50,null]}", "{\"a\":[0,2.5,null],\"b\":1}", NULL },
		{ "j", "\"x\"", "\"x\"", NULL },
		{ "j", "3", "3", NULL },
		{ "j", "x", NULL, "is not JSON" },
		{ "j", "", NULL, "is not JSON" },
		{ "j", "{\"a\":1,\"a\":2}", NULL, "is not JSON" },
		{ "j", "9007199254740992", NULL, "beyond 2^53 - 1" },
		{ "j", "[1e16]", NULL, "beyond 2^53 - 1" },
		{ "j", "[1e21]", "[1e+21]", NULL },
		{ "j", "null", NULL, "null stands for" },
		{ "jopt", "null", "null", NULL },
		{ "js", "null", "null", NULL },
		{ "is", "7", "7", NULL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *got = NULL;
		struct memo_err err = { 0 };
		int r = memo_value_from_text(input(rows[i].input), rows[i].given, strlen(rows[i].given), &got,
					     &err);
		check_row(&rows[i], r, got, &err);
	}
}

static void test_text_bounds(void)
{
	MEMO_AUTO_JSON json_t *got = NULL;
	MEMO_AUTO_FREE char *big = malloc(MEMO_VALUE_BYTES + 1);
	struct memo_err err = { 0 };
	CHECK(big != NULL);
	if (big == NULL)
		return;
	memset(big, '1', MEMO_VALUE_BYTES + 1);
	CHECK_INT(memo_value_from_text(input("s"), big, MEMO_VALUE_BYTES + 1, &got, &err), -EINVAL);
	CHECK_INT(memo_value_from_text(input("i"), big, MEMO_VALUE_BYTES, &got, &err), -EINVAL);
	CHECK(strlen(err.text) < 200);
	CHECK_INT(memo_value_from_text(input("f"), big, MEMO_VALUE_BYTES, &got, &err), -EINVAL);
	CHECK_INT(memo_value_from_text(input("j"), big, MEMO_VALUE_BYTES + 1, &got, &err), -EINVAL);
	CHECK_INT(memo_value_from_text(input("s"), "a\0b", 3, &got, &err), -EINVAL);
	CHECK_INT(memo_value_from_text(input("f"), "1\0", 2, &got, &err), -EINVAL);
	CHECK_INT(memo_value_from_text(input("i"), "1\0", 2, &got, &err), -EINVAL);
	CHECK(got == NULL);
	CHECK_INT(memo_value_from_text(input("s"), big, MEMO_VALUE_BYTES, &got, &err), 0);
	/* only @len bytes are the value */
	json_decref(got);
	got = NULL;
	CHECK_INT(memo_value_from_text(input("i"), "12345", 2, &got, &err), 0);
	CHECK_INT(json_integer_value(got), 12);
}

static void test_from_json(void)
{
	static const struct row rows[] = {
		{ "s", "\"x\"", "\"x\"", NULL },
		{ "s", "5", NULL, "must be a string, but it is a whole number" },
		{ "s", "null", NULL, "null stands for" },
		{ "opt", "null", "null", NULL },
		{ "opt", "\"\"", "\"\"", NULL },
		{ "pat", "\"A\"", NULL, "does not match" },
		{ "i", "5", "5", NULL },
		{ "i", "5.0", NULL, "must be a whole number" },
		{ "i", "\"5\"", NULL, "must be a whole number" },
		{ "lim", "-6", NULL, "below its minimum" },
		{ "f", "5", "5", NULL },
		{ "f", "1e-7", "1e-7", NULL },
		{ "f", "true", NULL, "must be a number" },
		{ "b", "true", "true", NULL },
		{ "b", "1", NULL, "must be true or false" },
		{ "e", "\"fast\"", "\"fast\"", NULL },
		{ "e", "\"FAST\"", NULL, "is not one of its values" },
		{ "file", "\"/a//b\"", "\"/a/b\"", NULL },
		{ "file", "{\"path\":\"/a\"}", NULL, "a string with an absolute path, but it is an object" },
		{ "j", "{\"z\":1.0,\"a\":{}}", "{\"a\":{},\"z\":1}", NULL },
		{ "j", "null", NULL, "null stands for" },
		{ "js", "[null,{\"a\":2.0}]", "[null,{\"a\":2}]", NULL },
		{ "is", "[3,1,2]", "[3,1,2]", NULL },
		{ "is", "[]", "[]", NULL },
		{ "is", "3", NULL, "must be an array" },
		{ "is", "null", NULL, "null stands for" },
		{ "is", "[1,null]", NULL, "element 2" },
		{ "is", "[1,\"x\"]", NULL, "element 2" },
		{ "fs", "null", "null", NULL },
		{ "fs", "[1,-0.0,2.5]", "[1,0,2.5]", NULL },
		{ "ss", "[\"a\",\"\"]", "[\"a\",\"\"]", NULL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *j = NULL;
		MEMO_AUTO_JSON json_t *got = NULL;
		MEMO_AUTO_JSON json_t *again = NULL;
		struct memo_err err = { 0 };
		CHECK_INT(memo_json_parse(rows[i].given, strlen(rows[i].given), &j, &err), 0);
		int r = memo_value_from_json(input(rows[i].input), j, &got, &err);
		check_row(&rows[i], r, got, &err);
		if (r < 0)
			continue;
		/* canonical values stay as they are */
		CHECK_INT(memo_value_from_json(input(rows[i].input), got, &again, &err), 0);
		CHECK_ROW(json_equal(got, again), rows[i].given);
	}
}

/* A float is a real whatever it was made of: equal values are json_equal(). */
static void test_float_is_real(void)
{
	MEMO_AUTO_JSON json_t *five = json_integer(5);
	MEMO_AUTO_JSON json_t *a = NULL;
	MEMO_AUTO_JSON json_t *b = NULL;
	CHECK_INT(memo_value_from_json(input("f"), five, &a, NULL), 0);
	CHECK_INT(memo_value_from_text(input("f"), "5.0", 3, &b, NULL), 0);
	CHECK(json_is_real(a) && json_equal(a, b));
}

static void test_text(void)
{
	static const struct {
		const char *input, *json, *text;
	} rows[] = {
		{ "s", "\"a b\"", "a b" },
		{ "opt", "null", "" },
		{ "i", "-7", "-7" },
		{ "i", "9223372036854775807", "9223372036854775807" },
		{ "f", "1e21", "1e+21" },
		{ "f", "2.0", "2" },
		{ "b", "true", "true" },
		{ "b", "false", "false" },
		{ "j", "{\"b\":[1,\"x\"],\"a\":null}", "{\"a\":null,\"b\":[1,\"x\"]}" },
		{ "j", "\"x\"", "\"x\"" },
		{ "jopt", "null", "" },
		{ "js", "null", "null" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *j = NULL;
		CHECK_INT(memo_json_parse(rows[i].json, strlen(rows[i].json), &j, NULL), 0);
		MEMO_AUTO_FREE char *text = memo_value_text(input(rows[i].input), j);
		CHECK_STR(text, rows[i].text);
	}
}

static void test_names(void)
{
	char longest[MEMO_NAME_MAX + 2];
	memset(longest, 'a', sizeof longest);
	longest[MEMO_NAME_MAX + 1] = '\0';
	CHECK(!memo_value_name_ok(longest));
	longest[MEMO_NAME_MAX] = '\0';
	CHECK(memo_value_name_ok(longest));
	CHECK(memo_value_name_ok("_x9"));
	CHECK(memo_value_name_ok("A"));
	CHECK(!memo_value_name_ok(""));
	CHECK(!memo_value_name_ok("9a"));
	CHECK(!memo_value_name_ok("a-b"));
	CHECK(!memo_value_name_ok("a.b"));
	CHECK(!memo_value_name_ok("\u00e9"));
}

static void test_clean_path(void)
{
	static const struct {
		const char *path, *want;
	} rows[] = {
		{ "/", "/" },
		{ "///", "/" },
		{ "/a", "/a" },
		{ "/a/", "/a" },
		{ "/a//b/./c", "/a/b/c" },
		{ "/a/b/../c", "/a/c" },
		{ "/a/b/../../c", "/c" },
		{ "/a/..", "/" },
		{ "/.", "/" },
		{ "/...", "/..." },
		{ "/a/.b/..c", "/a/.b/..c" },
		{ "/..", NULL },
		{ "/a/../..", NULL },
		{ "", NULL },
		{ "a/b", NULL },
		{ "./a", NULL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_FREE char *clean = NULL;
		struct memo_err err = { 0 };
		int r = memo_value_clean_path(rows[i].path, &clean, &err);
		if (rows[i].want == NULL)
			CHECK_ROW(r == -EINVAL && clean == NULL && err.text[0] != '\0', rows[i].path);
		else
			CHECK_STR(clean, rows[i].want);
	}
}

static void test_shown(void)
{
	char wide[400];
	for (size_t i = 0; i + 2 < sizeof wide; i += 2)
		memcpy(wide + i, "\u00e9", 3);
	struct memo_value_shown s = memo_value_show(wide, strlen(wide));
	CHECK(memo_value_utf8_ok(s.text, strlen(s.text)));
	CHECK(strlen(s.text) <= MEMO_VALUE_SHOWN + 3);
	CHECK(strcmp(s.text + strlen(s.text) - 3, "...") == 0);
	CHECK_STR(memo_value_show("a\n\xff\x1b[0m\0z", 9).text, "a???[0m?z");
	CHECK_STR(memo_value_show("", 0).text, "");
}

int main(void)
{
	struct memo_err err = { 0 };
	if (memo_task_parse(definition, strlen(definition), "test", &task, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		return 1;
	}
	RUN(test_types);
	RUN(test_from_text);
	RUN(test_text_bounds);
	RUN(test_from_json);
	RUN(test_float_is_real);
	RUN(test_text);
	RUN(test_names);
	RUN(test_clean_path);
	RUN(test_shown);
	memo_task_unref(task);
	return check_end();
}
