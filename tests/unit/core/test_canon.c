/* RFC 8785: the number samples of its appendix B, the ordering example of its section 3.2.3, escapes, refusals. */
#include "base/json.h"
#include "base/scope.h"
#include "check.h"
#include "core/canon.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

static const struct {
	uint64_t bits;
	const char *text;
} numbers[] = {
	{ 0x0000000000000000, "0" },
	{ 0x8000000000000000, "0" },
	{ 0x0000000000000001, "5e-324" },
	{ 0x8000000000000001, "-5e-324" },
	{ 0x7fefffffffffffff, "1.7976931348623157e+308" },
	{ 0xffefffffffffffff, "-1.7976931348623157e+308" },
	{ 0x4340000000000000, "9007199254740992" },
	{ 0xc340000000000000, "-9007199254740992" },
	{ 0x4430000000000000, "295147905179352830000" },
	{ 0x44b52d02c7e14af5, "9.999999999999997e+22" },
	{ 0x44b52d02c7e14af6, "1e+23" },
	{ 0x44b52d02c7e14af7, "1.0000000000000001e+23" },
	{ 0x444b1ae4d6e2ef4e, "999999999999999700000" },
	{ 0x444b1ae4d6e2ef4f, "999999999999999900000" },
	{ 0x444b1ae4d6e2ef50, "1e+21" },
	{ 0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7" },
	{ 0x3eb0c6f7a0b5ed8d, "0.000001" },
	{ 0x41b3de4355555553, "333333333.3333332" },
	{ 0x41b3de4355555554, "333333333.33333325" },
	{ 0x41b3de4355555555, "333333333.3333333" },
	{ 0x41b3de4355555556, "333333333.3333334" },
	{ 0x41b3de4355555557, "333333333.33333343" },
	{ 0xbecbf647612f3696, "-0.0000033333333333333333" },
	{ 0x43143ff3c1cb0959, "1424953923781206.2" },
	/* not in the appendix: below a power of two the nearest 16 digits read back as another number */
	{ 0x3d30000000000000, "5.684341886080802e-14" },
	{ 0x000fffffffffffff, "2.225073858507201e-308" },
	{ 0x0010000000000000, "2.2250738585072014e-308" },
	{ 0x3ff0000000000000, "1" },
	{ 0x3ff0000000000001, "1.0000000000000002" },
};

static void test_number_bits(void)
{
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		double v;
		char text[MEMO_CANON_NUMBER];
		memcpy(&v, &numbers[i].bits, sizeof v);
		memo_canon_double(v, text);
		CHECK_STR(text, numbers[i].text);
	}
}

static void test_number_values(void)
{
	static const struct {
		double v;
		const char *text;
	} rows[] = {
		{ 4.5, "4.5" },
		{ 0.002, "0.002" },
		{ 1e-27, "1e-27" },
		{ 1e30, "1e+30" },
		{ 1e-7, "1e-7" },
		{ 1e21, "1e+21" },
		{ 1e20, "100000000000000000000" },
		{ -0.0, "0" },
		{ 0.1, "0.1" },
		{ -1.5e-9, "-1.5e-9" },
		{ 100, "100" },
		{ 123.456, "123.456" },
		{ 1e100, "1e+100" },
		{ 12e-7, "0.0000012" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[MEMO_CANON_NUMBER];
		memo_canon_double(rows[i].v, text);
		CHECK_STR(text, rows[i].text);
	}
}

/* Whatever the bits: the text reads back, and no text with a digit less does. */
static void test_number_shortest(void)
{
	uint64_t seed = 88172645463325252u;
	for (int i = 0; i < 20000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		double v;
		char text[MEMO_CANON_NUMBER];
		uint64_t bits = i % 2 == 0 ? seed : (uint64_t)(i % 2046) << 52;
		memcpy(&v, &bits, sizeof v);
		if (!isfinite(v))
			continue;
		memo_canon_double(v, text);
		CHECK_ROW(strtod(text, NULL) == v, text);
	}
}

static void check_append(const char *in, const char *want)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	CHECK_INT(memo_json_parse(in, strlen(in), &j, &err), 0);
	CHECK_INT(memo_canon_append(j, &b, &err), 0);
	CHECK_STR(memo_buf_str(&b), want);
}

static void test_structure(void)
{
	check_append("[56, {\"d\": true, \"10\": null, \"1\": [ ]}]", "[56,{\"1\":[],\"10\":null,\"d\":true}]");
	check_append("{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],"
		     " \"literals\": [null, true, false]}",
		     "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27]}");
	check_append(" { } ", "{}");
	check_append("-0.0", "0");
	check_append("9007199254740991", "9007199254740991");
	check_append("-9007199254740991", "-9007199254740991");
	check_append("9007199254740992.0", "9007199254740992");
}

static void test_strings(void)
{
	check_append("\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"",
		     "\"\u20ac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
	check_append("\"\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\"", "\"\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\"");
	check_append("\"\\ud83d\\ude00\"", "\"\U0001F600\"");
	check_append("{\"\\n\": \"\"}", "{\"\\n\":\"\"}");
	check_append("\"\"", "\"\"");
}

/* 3.2.3: an astral character (surrogates D83D DE00) sorts before U+FB33, though its UTF-8 is greater. */
static void test_order(void)
{
	check_append(
		"{\"\\u20ac\": \"Euro Sign\", \"\\r\": \"Carriage Return\", \"\\ufb33\": \"Hebrew Letter Dalet "
		"With "
		"Dagesh\", \"1\": \"One\", \"\\ud83d\\ude00\": \"Emoji: Grinning Face\", \"\\u0080\": \"Control\","
		" \"\\u00f6\": \"Latin Small Letter O With Diaeresis\"}",
		"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\",\"\u00f6\":\"Latin Small "
		"Letter O "
		"With Diaeresis\",\"\u20ac\":\"Euro Sign\",\"\U0001F600\":\"Emoji: Grinning "
		"Face\",\"\ufb33\":\"Hebrew "
		"Letter Dalet With Dagesh\"}");
	check_append("{\"b\":1,\"aa\":2,\"a\":3,\"\":4,\"A\":5}", "{\"\":4,\"A\":5,\"a\":3,\"aa\":2,\"b\":1}");
}

static void test_refused(void)
{
	static const struct {
		const char *json;
		int append, check;
		const char *says;
	} rows[] = {
		{ "9007199254740991", 0, 0, "" },
		{ "9007199254740992", -ERANGE, -ERANGE, "9007199254740992" },
		{ "-9007199254740993", -ERANGE, -ERANGE, "-9007199254740993" },
		{ "{\"a\":[1,{\"b\":9223372036854775807}]}", -ERANGE, -ERANGE, "9223372036854775807" },
		/* told exactly as a number, but its text reads back as the one that is refused above */
		{ "9007199254740992.0", 0, -ERANGE, "" },
		{ "[1e20]", 0, -ERANGE, "" },
		{ "[1e21, 0.5, 1e300, -1e-300]", 0, 0, "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *j = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		struct memo_err err = { 0 };
		CHECK_ROW(memo_json_parse(rows[i].json, strlen(rows[i].json), &j, &err) == 0, rows[i].json);
		CHECK_ROW(memo_canon_check(j, NULL) == rows[i].check, rows[i].json);
		CHECK_ROW(memo_canon_append(j, &b, &err) == rows[i].append, rows[i].json);
		CHECK_ROW(strstr(err.text, rows[i].says) != NULL, rows[i].json);
		CHECK_ROW(err.code == rows[i].append, rows[i].json);
	}
}

static int nested(int depth, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf out = { 0 };
	MEMO_AUTO_JSON json_t *j = NULL;
	for (int i = 0; i < depth; i++)
		(void)memo_buf_putc(&b, '[');
	for (int i = 0; i < depth; i++)
		(void)memo_buf_putc(&b, ']');
	CHECK_INT(memo_json_parse(memo_buf_str(&b), b.len, &j, err), 0);
	int r = memo_canon_append(j, &out, err);
	CHECK_INT(memo_canon_check(j, NULL), r);
	return r;
}

static void test_depth(void)
{
	struct memo_err err = { 0 };
	CHECK_INT(nested(512, &err), 0);
	CHECK_INT(nested(600, &err), -EINVAL);
	CHECK(strstr(err.text, "512") != NULL);
}

static void test_hash(void)
{
	/* printf '{"a":1,"b":[true,null]}' | sha256sum */
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	struct memo_err err = { 0 };
	MEMO_AUTO_JSON json_t *j = json_pack("{s:[b,n],s:i}", "b", 1, "a", 1);
	CHECK_INT(memo_canon_hash(j, &id, &err), 0);
	CHECK_STR(memo_id_hex(&id, hex), "1cc69c7fa23616ca2ec3ee70d24390a6225c8832db8a4c814c7e0e7f942f8668");
}

static void test_integers_as_text(void)
{
	static const struct {
		int64_t v;
		const char *text;
	} rows[] = {
		{ 0, "0" },
		{ MEMO_CANON_SAFE_INT, "9007199254740991" },
		{ MEMO_CANON_SAFE_INT + 1, "\"9007199254740992\"" },
		{ -MEMO_CANON_SAFE_INT, "-9007199254740991" },
		{ -MEMO_CANON_SAFE_INT - 1, "\"-9007199254740992\"" },
		{ INT64_MIN, "\"-9223372036854775808\"" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *j = memo_canon_int(rows[i].v);
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		CHECK_INT(memo_canon_append(j, &b, NULL), 0);
		CHECK_STR(memo_buf_str(&b), rows[i].text);
	}
}

static void test_portable(void)
{
	MEMO_AUTO_JSON json_t *j = json_pack("[I,i,f,f,f,s,n]", (json_int_t)INT64_MAX, 3, 1e16, 1e21, 0.5, "x");
	MEMO_AUTO_JSON json_t *p = memo_canon_portable(j);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_canon_append(p, &b, NULL), 0);
	CHECK_STR(memo_buf_str(&b), "[\"9223372036854775807\",3,\"10000000000000000\",1e+21,0.5,\"x\",null]");
	CHECK_INT(memo_canon_check(p, NULL), 0);
}

/* A program that uses the library may have set a locale whose decimal point is a comma. */
static void test_locale(void)
{
	if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "de_DE") == NULL)
		printf("# no German locale here: the test runs with the one that there is\n");
	char text[MEMO_CANON_NUMBER];
	memo_canon_double(1234.5678, text);
	CHECK_STR(text, "1234.5678");
	memo_canon_double(1.5e-300, text);
	CHECK_STR(text, "1.5e-300");
	(void)setlocale(LC_ALL, "C");
}

int main(void)
{
	RUN(test_number_bits);
	RUN(test_number_values);
	RUN(test_number_shortest);
	RUN(test_structure);
	RUN(test_strings);
	RUN(test_order);
	RUN(test_refused);
	RUN(test_depth);
	RUN(test_hash);
	RUN(test_integers_as_text);
	RUN(test_portable);
	RUN(test_locale);
	return check_end();
}
