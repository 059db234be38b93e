/* What is made harmless, and how a word is quoted. */
#include "check.h"

#include "base/log.h"

static void test_escape(void)
{
	static const struct {
		const char *text, *want;
	} row[] = {
		{ "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x80", "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x80" },
		{ "a\nb\tc\x1b[31m", "a\\x0ab\\x09c\\x1b[31m" },
		{ "\x7f", "\\x7f" },
		{ "\xc2\x85", "\\xc2\\x85" },
		{ "\xc2\xa0", "\xc2\xa0" },
		{ "\xe2\x80\xaegnp", "\\xe2\\x80\\xaegnp" },
		{ "\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad",
		  "\\xe2\\x80\\xaa\\xe2\\x80\\xab\\xe2\\x80\\xac\\xe2\\x80\\xad" },
		{ "\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9\xe2\x81\xaa" },
		{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xa7", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9\xe2\x80\xa7" },
		{ "\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c\xd8\x9b", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f\\xd8\\x9c\xd8\x9b" },
		{ "\xff\xc0\xaf\xed\xa0\x80", "\\xff\\xc0\\xaf\\xed\\xa0\\x80" },
		{ "cut \xe2\x82", "cut \\xe2\\x82" },
		{ "", "" },
	};
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct memo_buf b = { 0 };
		CHECK_INT(memo_log_escape(&b, row[i].text, strlen(row[i].text)), 0);
		CHECK_STR(memo_buf_str(&b), row[i].want);
		memo_buf_clear(&b);
	}
}

static void test_word(void)
{
	static const struct {
		const char *text, *want;
	} row[] = {
		{ "/tasks/a/1/x=1,y=%2F", "/tasks/a/1/x=1,y=%2F" },
		{ "", "''" },
		{ "two words", "'two words'" },
		{ "$(touch x);`y`&|*?", "'$(touch x);`y`&|*?'" },
		{ "it's", "$'it\\'s'" },
		{ "a\\b", "'a\\b'" },
		{ "a'\\b", "$'a\\'\\\\b'" },
		{ "x\xe2\x80\xae\x1b", "$'x\\xe2\\x80\\xae\\x1b'" },
		{ "\xc3\xa4", "'\xc3\xa4'" },
	};
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct memo_buf b = { 0 };
		CHECK_INT(memo_log_word(&b, row[i].text), 0);
		CHECK_STR(memo_buf_str(&b), row[i].want);
		memo_buf_clear(&b);
	}
}

int main(void)
{
	RUN(test_escape);
	RUN(test_word);
	return check_end();
}
