#include "base/buf.h"

#include "check.h"

#include <stdlib.h>

static void test_append(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_STR(memo_buf_str(&b), "");
	CHECK_INT(memo_buf_append(&b, "a\0b", 3), 0);
	CHECK(b.len == 3 && memcmp(b.data, "a\0b", 4) == 0);
	memo_buf_reset(&b);
	CHECK_INT(memo_buf_puts(&b, "x"), 0);
	CHECK_INT(memo_buf_putc(&b, 'y'), 0);
	CHECK_INT(memo_buf_printf(&b, "%d %s", 7, "z"), 0);
	CHECK_INT(memo_buf_append(&b, NULL, 0), 0);
	CHECK_STR(memo_buf_str(&b), "xy7 z");
	CHECK_INT(memo_buf_error(&b), 0);
}

static void test_growth(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (int i = 0; i < 10000; i++)
		(void)memo_buf_printf(&b, "%04d", i);
	CHECK_INT(memo_buf_error(&b), 0);
	CHECK_INT(b.len, 40000);
	CHECK(strncmp(b.data + 4 * 1234, "12341235", 8) == 0 && b.data[b.len] == '\0');
}

/* The first failure stays until the next reset; what was there before is kept. */
static void test_error(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_buf_puts(&b, "kept"), 0);
	CHECK_INT(memo_buf_reserve(&b, MEMO_BUF_MAX), -EFBIG);
	CHECK_INT(memo_buf_puts(&b, "more"), -EFBIG);
	CHECK_INT(memo_buf_error(&b), -EFBIG);
	CHECK_STR(memo_buf_str(&b), "kept");
	CHECK(memo_buf_steal(&b) == NULL);
	memo_buf_reset(&b);
	CHECK_INT(memo_buf_puts(&b, "again"), 0);
	CHECK_STR(memo_buf_str(&b), "again");
}

static void test_steal(void)
{
	struct memo_buf b = { 0 };
	char *s = memo_buf_steal(&b);
	CHECK_STR(s, "");
	free(s);
	(void)memo_buf_puts(&b, "mine");
	s = memo_buf_steal(&b);
	CHECK_STR(s, "mine");
	CHECK(b.data == NULL && b.len == 0);
	free(s);
}

int main(void)
{
	RUN(test_append);
	RUN(test_growth);
	RUN(test_error);
	RUN(test_steal);
	return check_end();
}
