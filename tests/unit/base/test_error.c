#include "base/error.h"

#include "check.h"

static void test_fail(void)
{
	struct memo_err err = { 0 };
	CHECK_INT(memo_fail(&err, -ENOENT, "task '%s': not registered", "x"), -ENOENT);
	CHECK_INT(err.code, -ENOENT);
	CHECK_STR(err.text, "task 'x': not registered");
	CHECK_INT(memo_fail(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_prefix(void)
{
	struct memo_err err = { 0 };
	CHECK_INT(memo_fail_prefix(&err, -ENOENT, "file '%s'", "a"), -ENOENT);
	CHECK_STR(err.text, "file 'a': No such file or directory");
	CHECK_INT(memo_fail_prefix(&err, -EIO, "task 't'"), -ENOENT); /* the first cause stays */
	CHECK_STR(err.text, "task 't': file 'a': No such file or directory");
}

/* A text that is too long ends with a whole character. */
static void test_cut(void)
{
	for (size_t lead = 0; lead < 4; lead++) {
		struct memo_err err = { 0 };
		char text[2 * MEMO_ERR_TEXT];
		memset(text, 'x', lead);
		for (size_t i = lead; i + 3 < sizeof text; i += 3)
			memcpy(text + i, "\xe2\x82\xac", 4);
		(void)memo_fail(&err, -EINVAL, "%s", text);
		size_t len = strlen(err.text);
		CHECK(len > MEMO_ERR_TEXT - 4 && len < MEMO_ERR_TEXT);
		CHECK_INT((len - lead) % 3, 0);
	}
}

static void test_errno(void)
{
	errno = EACCES;
	CHECK_INT(memo_errno(), -EACCES);
	errno = 0;
	CHECK(memo_errno() < 0);
	CHECK_STR(memo_strerror(-ENOSPC), "No space left on device");
	CHECK_STR(memo_strerror(ENOSPC), "No space left on device");
	CHECK_STR(memo_strerror(-100000), "unknown error");
}

int main(void)
{
	RUN(test_fail);
	RUN(test_prefix);
	RUN(test_cut);
	RUN(test_errno);
	return check_end();
}
