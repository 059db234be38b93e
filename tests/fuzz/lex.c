/* Fuzz target: the lexers, on any bytes in every language. What they claim is checked as far as that goes without the
 * language itself: a normal form is its own normal form, comments that are appended change nothing, and the text of
 * a file that is given up has none. The first byte chooses the language. */
#include "base/scope.h"
#include "core/lex.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "p.sh", "p.bash", "p.py", "p.R", "p.awk", "p.c", "p", "p.pl" };

static void must(int so, const char *what)
{
	if (so)
		return;
	(void)fprintf(stderr, "broken: %s\n", what);
	abort();
}

/* A copy of exactly its size, behind it @more. */
static char *copy(const char *text, size_t len, const char *more)
{
	size_t n = strlen(more);
	char *p = malloc(len + n > 0 ? len + n : 1);
	if (p != NULL && len > 0)
		memcpy(p, text, len);
	if (p != NULL && n > 0)
		memcpy(p + len, more, n);
	return p;
}

static void check_again(const char *name, const struct memo_lexed *x)
{
	struct memo_lexed y;
	/* without a #! line the normal form begins with an empty line, which means nothing either */
	MEMO_AUTO_FREE char *text = copy(memo_buf_str(&x->normal), x->normal.len, "");
	if (text == NULL || memo_lex(name, text, x->normal.len, &y) < 0)
		return;
	must(y.reason == NULL, "a normal form can be read");
	must(strcmp(x->method, y.method) == 0, "the method of a normal form");
	bool lines = strchr(x->method, '-') != NULL; /* with line numbers: one more in front */
	must(lines || (x->normal.len == y.normal.len &&
		       memcmp(memo_buf_str(&x->normal), memo_buf_str(&y.normal), x->normal.len) == 0),
	     "a normal form is its own");
	memo_buf_clear(&y.normal);
}

static void check_comment(const char *name, const struct memo_lexed *x, const char *text, size_t len)
{
	struct memo_lexed y;
	bool c = strcmp(name, "p.c") == 0;
	/* behind a continued line the comment's newline is one more, and stays */
	if (len == 0 || text[len - 1] != '\n' || (len > 1 && text[len - 2] == '\\'))
		return;
	MEMO_AUTO_FREE char *more = copy(text, len, c ? "// it's \"a `comment\n" : "# it's \"a `comment\n");
	if (more == NULL || memo_lex(name, more, len + (c ? 20 : 19), &y) < 0)
		return;
	must(strcmp(x->method, y.method) == 0, "a comment does not change the method");
	bool lines = strchr(x->method, '-') != NULL; /* with line numbers: one more in front */
	must(lines || (x->normal.len == y.normal.len &&
		       memcmp(memo_buf_str(&x->normal), memo_buf_str(&y.normal), x->normal.len) == 0),
	     "a comment at the end changes nothing");
	memo_buf_clear(&y.normal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memo_lexed x;
	if (size == 0)
		return 0;
	const char *name = names[data[0] % (sizeof names / sizeof *names)];
	size_t len = size - 1;
	MEMO_AUTO_FREE char *text = copy((const char *)data + 1, len, "");
	if (text == NULL || memo_lex(name, text, len, &x) < 0)
		return 0;
	must((x.reason != NULL) == (strcmp(x.method, "bytes") == 0), "bytes have a reason");
	must(x.reason == NULL || x.normal.len == 0, "bytes have no normal form");
	must(x.normal.len <= len + 1, "a normal form is not longer than the text");
	if (x.reason == NULL) {
		check_again(name, &x);
		check_comment(name, &x, text, len);
	}
	memo_buf_clear(&x.normal);
	return 0;
}
