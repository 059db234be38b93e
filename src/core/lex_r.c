/* R: quotes, backtick names, raw strings with dashes and three kinds of brackets, and %op%. */
#include "lex_scan.h"

#define RAW_DASHES 64

/* At the opening quote; a backslash escapes, but in a backtick name it is a doubt. */
static bool quoted(struct memo_scan *x)
{
	size_t from = x->at;
	char q = x->text[x->at];
	for (size_t i = from + 1; i < x->len; i++) {
		char c = x->text[i];
		if (c == q) {
			x->at = i + 1;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return true;
		}
		if (q == '`' && (c == '\\' || c == '\n'))
			return memo_lex_doubt(x, "a backslash or newline in a backtick name");
		if (c == '\\')
			i++;
	}
	return memo_lex_doubt(x, "a string that is not closed");
}

/* At the opening quote behind r or R. */
static bool raw(struct memo_scan *x)
{
	size_t from = x->at, at = x->at + 1, dashes = 0;
	while (memo_lex_at(x, at) == '-' && dashes < RAW_DASHES) {
		at++;
		dashes++;
	}
	unsigned char open = memo_lex_at(x, at);
	char close = open == '(' ? ')' : open == '[' ? ']' : open == '{' ? '}' : '\0';
	if (close == '\0')
		return memo_lex_doubt(x, "a raw string that is not plain");
	for (at++; at + dashes + 1 < x->len; at++) {
		size_t n = 0;
		if (x->text[at] != close)
			continue;
		while (n < dashes && x->text[at + 1 + n] == '-')
			n++;
		if (n == dashes && x->text[at + 1 + n] == x->text[from]) {
			x->at = at + n + 2;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return true;
		}
	}
	return memo_lex_doubt(x, "a raw string that is not closed");
}

static bool word(struct memo_scan *x)
{
	size_t from = x->at;
	while (memo_lex_name(memo_lex_at(x, x->at)) || memo_lex_at(x, x->at) == '.' ||
	       memo_lex_at(x, x->at) >= 0x80)
		x->at++;
	unsigned char next = memo_lex_at(x, x->at);
	bool one = x->at - from == 1 && (x->text[from] == 'r' || x->text[from] == 'R');
	return !one || (next != '\'' && next != '"') || raw(x);
}

static bool operator(struct memo_scan *x)
{
	size_t rest = x->len - x->at - 1;
	const char *begin = x->text + x->at + 1;
	const char *nl = memchr(begin, '\n', rest);
	const char *end = memchr(begin, '%', nl != NULL ? (size_t)(nl - begin) : rest);
	if (end == NULL)
		return memo_lex_doubt(x, "a '%' that is not closed on its line");
	memo_lex_mark(x, x->at, (size_t)(end + 1 - x->text), LEX_VERBATIM);
	x->at = (size_t)(end + 1 - x->text);
	return true;
}

bool memo_lex_r(struct memo_scan *x)
{
	static const char *const words[] = { "--vanilla",    "--no-save", "--no-restore",   "--slave",
					     "--no-environ", "--quiet",	  "--no-init-file", NULL };
	if (!memo_lex_options(x, "", words))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	while (x->at < x->len) {
		unsigned char c = memo_lex_at(x, x->at);
		bool fine = true;
		if (c == '#')
			memo_lex_hash_comment(x);
		else if (c == '\'' || c == '"' || c == '`')
			fine = quoted(x);
		else if (memo_lex_name(c) || c == '.' || c >= 0x80)
			fine = word(x);
		else if (c == '%')
			fine = operator(x);
		else if (c == '\\' && memo_lex_at(x, x->at + 1) != '(')
			fine = memo_lex_doubt(x, "a backslash outside of a string");
		else
			x->at++;
		if (!fine)
			return false;
	}
	return true;
}

bool memo_lex_r_guard(struct memo_scan *x, const char *left, size_t len)
{
	static const char *const to_text[] = { "keep.source",	    "keep.parse.data", "srcref",
					       "srcfile",	    "getParseData",    "getSrcref",
					       "R_KEEP_PKG_SOURCE", "sys.source",      NULL };
	if (memo_lex_find_any(left, len, to_text) != NULL || memo_lex_find(left, len, "--file") != NULL)
		return memo_lex_doubt(x, "it mentions a word that leads to its own text");
	if (memo_lex_find_word(left, len, "commandArgs") != NULL &&
	    memo_lex_find(left, len, "trailingOnly") == NULL)
		return memo_lex_doubt(x, "it asks for all words of its command, its own path among them");
	return true;
}
