#include "base/json.h"

#include "base/scope.h"

#include "check.h"

#include <stdlib.h>

static void test_parse(void)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want; /* NULL: refused */
	} row[] = {
		{ "{\"b\":1, \"a\":[true,null]}", 0, "{\"a\":[true,null],\"b\":1}" },
		{ "7", 0, "7" },
		{ "\"x\"", 0, "\"x\"" },
		{ "", 0, NULL },
		{ "{", 0, NULL },
		{ "{\"a\":1,\"a\":2}", 0, NULL },
		{ "{} x", 0, NULL },
		{ "\"a\\u0000b\"", 0, NULL },
		{ "\"\xff\"", 0, NULL },
		{ "{\"a\":1}\0", 8, NULL },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		MEMO_AUTO_JSON json_t *j = NULL;
		struct memo_err err = { 0 };
		int r = memo_json_parse(row[i].text, row[i].len != 0 ? row[i].len : strlen(row[i].text), &j, &err);
		CHECK_ROW((r == 0) == (row[i].want != NULL), row[i].text);
		if (r < 0)
			CHECK_ROW(j == NULL && strncmp(err.text, "line ", 5) == 0, row[i].text);
		if (r < 0 || row[i].want == NULL)
			continue;
		MEMO_AUTO_FREE char *text = memo_json_text(j);
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		CHECK_STR(text, row[i].want);
		CHECK_INT(memo_json_append(j, &b), 0);
		CHECK_STR(memo_buf_str(&b), row[i].want);
	}
}

static void test_members(void)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	static const char text[] = "{\"s\":\"x\",\"i\":-9223372036854775808,\"b\":true,\"n\":null}";
	CHECK_INT(memo_json_parse(text, strlen(text), &o, NULL), 0);
	struct memo_err err = { 0 };
	const char *s = NULL;
	int64_t i = 0;
	CHECK_INT(memo_json_need_string(o, "s", &s, &err), 0);
	CHECK_STR(s, "x");
	CHECK_INT(memo_json_need_int(o, "i", &i, &err), 0);
	CHECK(i == INT64_MIN);
	CHECK_INT(memo_json_need_string(o, "i", &s, &err), -EINVAL);
	CHECK_STR(err.text, "key 'i' must be a string");
	CHECK_INT(memo_json_need_int(o, "s", &i, &err), -EINVAL);
	CHECK_STR(err.text, "key 's' must be a whole number");
	CHECK_INT(memo_json_need_int(o, "none", &i, &err), -EINVAL);
	CHECK_STR(err.text, "key 'none' is missing");
	CHECK_INT(memo_json_need_string(NULL, "s", &s, &err), -EINVAL);
	CHECK_STR(memo_json_string(o, "s", "d"), "x");
	CHECK_STR(memo_json_string(o, "n", "d"), "d");
	CHECK_INT(memo_json_int(o, "s", 5), 5);
	CHECK(memo_json_bool(o, "b", false) && memo_json_bool(o, "n", true) && !memo_json_bool(NULL, "b", false));
}

static void test_set(void)
{
	MEMO_AUTO_JSON json_t *o = json_object();
	MEMO_AUTO_JSON json_t *a = json_array();
	CHECK_INT(memo_json_set(o, "k", json_integer(1)), 0);
	CHECK_INT(memo_json_set(o, "k", NULL), -ENOMEM);
	CHECK_INT(memo_json_push(a, json_true()), 0);
	CHECK_INT(memo_json_push(a, json_string("\xff")), -ENOMEM);
	CHECK_INT(json_array_size(a), 1);
	CHECK_INT(memo_json_int(o, "k", 0), 1);
}

int main(void)
{
	RUN(test_parse);
	RUN(test_members);
	RUN(test_set);
	return check_end();
}
