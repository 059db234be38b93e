/* Pairs of programs (pairs.tsv: kind, file name, method of the first, first, second): what may change without a new
 * fingerprint, and what may not. Then normal forms, limits, and that no prefix of any program upsets a lexer. */
#include "check.h"
#include "base/scope.h"
#include "core/fingerprint.h"
#include "core/lex.h"

#include <stdlib.h>

#define LINE 4096
#define PAIRS 250 /* at least */

static const char *table;

/* Undoes the escapes, in place. Returns the length. */
static size_t plain(char *text)
{
	static const char letters[] = "ntre\\", bytes[] = "\n\t\r\033\\";
	size_t n = 0;
	for (const char *p = text; *p != '\0'; p++) {
		const char *at = *p == '\\' && p[1] != '\0' ? strchr(letters, p[1]) : NULL;
		if (at != NULL) {
			text[n++] = bytes[at - letters];
			p++;
		} else if (*p == '\\' && p[1] == 'x') {
			char hex[3] = { p[2], p[3], '\0' };
			text[n++] = (char)strtol(hex, NULL, 16);
			p += 3;
		} else {
			text[n++] = *p;
		}
	}
	return n;
}

/* Of an exact copy, so that a read beyond the end is seen. */
static struct memo_fingerprint fingerprint(const char *name, const char *text, size_t len)
{
	struct memo_fingerprint f = { .method = "none" };
	struct memo_err err = { 0 };
	MEMO_AUTO_FREE char *copy = malloc(len > 0 ? len : 1);
	if (copy == NULL)
		return f;
	memcpy(copy, text, len);
	CHECK_INT(memo_fingerprint_file(name, copy, len, &f, &err), 0);
	return f;
}

static void check_pair(char *field[5], const char *row)
{
	size_t first = plain(field[3]), second = plain(field[4]);
	struct memo_fingerprint a = fingerprint(field[1], field[3], first);
	struct memo_fingerprint b = fingerprint(field[1], field[4], second);
	bool same = memo_id_equal(&a.id, &b.id);
	CHECK_ROW(same == (strcmp(field[0], "same") == 0), row);
	CHECK_ROW(strcmp(a.method, field[2]) == 0, row);
	if (strcmp(a.method, field[2]) != 0)
		printf("#   method %s (%s)\n", a.method, a.reason != NULL ? a.reason : "-");
	/* a program that is not whole must not upset a lexer */
	for (size_t n = 0; n < first; n++)
		(void)fingerprint(field[1], field[3], n);
}

static void test_pairs(void)
{
	char line[LINE], row[LINE];
	int pairs = 0;
	FILE *f = fopen(table, "r");
	CHECK(f != NULL);
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *field[5], *rest = line;
		size_t n = 0;
		line[strcspn(line, "\n")] = '\0';
		(void)snprintf(row, sizeof row, "%s", line);
		if (line[0] == '#' || line[0] == '\0')
			continue;
		while (n < 5 && (field[n] = strsep(&rest, "\t")) != NULL)
			n++;
		CHECK_ROW(n == 5 && rest == NULL, row);
		if (n < 5)
			continue;
		check_pair(field, row);
		pairs++;
	}
	if (f != NULL)
		(void)fclose(f);
	CHECK(pairs >= PAIRS);
	printf("# %d pairs\n", pairs);
}

static void test_normal_form(void)
{
	static const struct {
		const char *name, *text, *normal;
	} rows[] = {
		{ "a.sh", "", "\n" },
		{ "a.sh", "# only a comment", "\n" },
		{ "a.sh", "#!/bin/sh", "#!/bin/sh\n" },
		{ "a.sh", "#!/bin/sh\n\n# c\n  a  b  # d\n\n", "#!/bin/sh\n  a  b\n" },
		{ "a.sh", "a\n# c", "\na\n" },
		{ "a.sh", "a # c", "\na" },
		{ "a.sh", "a \\\n# c\nb\n", "\na \\\n\nb\n" },
		{ "a.sh", "cat <<E # c\n# d \nE\n\n\nb\n", "\ncat <<E\n# d \nE\nb\n" },
		{ "a.sh", "#SBATCH -n 1\n# c\na\n", "\n#SBATCH -n 1\na\n" },
		{ "a.sh", "# c\necho $LINENO # d\n\n", "\n\necho $LINENO\n\n" },
		{ "a.py", "if a:\n\n    # c\n    b = '''\n\n''' # d\n", "\nif a:\n    b = '''\n\n'''\n" },
		{ "a.c", "a/* b\n*/c // d\n", "\na c\n" },
		{ "a.c", "assert(a); // d\n\nb\n", "\nassert(a);\n\nb\n" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct memo_lexed x;
		CHECK_INT(memo_lex(rows[i].name, rows[i].text, strlen(rows[i].text), &x), 0);
		CHECK_ROW(x.reason == NULL, rows[i].text);
		CHECK_STR(memo_buf_str(&x.normal), rows[i].normal);
		memo_buf_clear(&x.normal);
	}
}

/* @n times @open, @middle, @n times @close. */
static char *nested(const char *open, const char *middle, const char *close, size_t n, size_t *len)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (size_t i = 0; i < n; i++)
		(void)memo_buf_puts(&b, open);
	(void)memo_buf_puts(&b, middle);
	for (size_t i = 0; i < n; i++)
		(void)memo_buf_puts(&b, close);
	*len = b.len;
	return memo_buf_steal(&b);
}

static void test_limits(void)
{
	static const struct {
		const char *name, *open, *middle, *close;
		size_t n;
		const char *method;
	} rows[] = {
		{ "a.sh", "((", "a # b\n", "))", 1, "bytes" }, /* arithmetic to some */
		{ "a.sh", "( ", "a", " )", 50, "shell" },
		{ "a.sh", "( ", "a", " )", 100, "bytes" },
		{ "a.sh", "echo $(", "a", ")", 100, "bytes" },
		{ "a.sh", "\"${x:-", "a", "}\"", 100, "bytes" },
		{ "a.sh", "case a in a) ", "b", ";; esac\n", 100, "bytes" },
		{ "a.py", "", "f'", "{", 100, "bytes" },
		{ "a.sh", "a\n", "", "b\n", 100000, "shell" },
		{ "a.sh", "a\n", "", "b\n", 1000000, "bytes" }, /* 4 MB */
		{ "a.sh", "cat <<E\n$(", "a", ")\nE\n", 1, "shell" },
		{ "a.sh", "a[", "", "", 200000, "bytes" },
		{ "a.py", "'", "", "", 500000, "python" },
		{ "a.py", "import traceback\n", "", "", 30000, "python" },
		{ "a.awk", "/a/ ", "", "", 100000, "awk" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len;
		char *text = nested(rows[i].open, rows[i].middle, rows[i].close, rows[i].n, &len);
		struct memo_fingerprint f = fingerprint(rows[i].name, text, len);
		CHECK_STR(f.method, rows[i].method);
		free(text);
	}
	/* NUL and the size itself */
	struct memo_fingerprint f = fingerprint("a.sh", "a\0b", 3);
	CHECK_STR(f.method, "bytes");
	MEMO_AUTO_FREE char *big = malloc(MEMO_LEX_BYTES + 1);
	CHECK(big != NULL);
	if (big == NULL)
		return;
	memset(big, 'a', MEMO_LEX_BYTES + 1);
	f = fingerprint("a.py", big, MEMO_LEX_BYTES);
	CHECK_STR(f.method, "python");
	f = fingerprint("a.py", big, MEMO_LEX_BYTES + 1);
	CHECK_STR(f.method, "bytes");
}

int main(int argc, char **argv)
{
	table = argc > 1 ? argv[1] : "pairs.tsv";
	RUN(test_pairs);
	RUN(test_normal_form);
	RUN(test_limits);
	return check_end();
}
