/* Awk: strings, and the slash that is a regular expression or a division, by what stands before it. */
#include "lex_scan.h"

enum before { OPERAND, VALUE, EITHER }; /* what a slash begins here: a regex, a division, unsure */

static bool string(struct memo_scan *x)
{
	size_t from = x->at;
	for (size_t i = from + 1; i < x->len && x->text[i] != '\n'; i++) {
		if (x->text[i] == '"') {
			x->at = i + 1;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return true;
		}
		if (x->text[i] == '\\')
			i++;
	}
	return memo_lex_doubt(x, "a string that is not closed on its line");
}

/* At the slash. Within brackets some versions end at a slash and some do not. */
static bool regex(struct memo_scan *x)
{
	size_t from = x->at;
	bool bracket = false;
	for (size_t i = from + 1; i < x->len && x->text[i] != '\n'; i++) {
		char c = x->text[i];
		unsigned char next = memo_lex_at(x, i + 1);
		if (c == '/' && bracket)
			return memo_lex_doubt(x, "a slash within brackets of a regular expression");
		if (c == '/') {
			x->at = i + 1;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return true;
		}
		if (c == '\\') {
			if (next == '\n' || (bracket && (next == ']' || next == '/')))
				return memo_lex_doubt(x, "a backslash in a regular expression that is not plain");
			i++;
		} else if (c == '[' && bracket && (next == ':' || next == '.' || next == '=')) {
			const char *end = memchr(x->text + i, ']', x->len - i);
			size_t n = end == NULL ? 0 : (size_t)(end - x->text) - i;
			if (n < 3 || n > 16 || memchr(x->text + i, '/', n) != NULL ||
			    memchr(x->text + i, '\n', n) != NULL)
				return memo_lex_doubt(x, "brackets of a regular expression that are not plain");
			i += n;
		} else if (c == '[' && !bracket) {
			bracket = true;
			i += memo_lex_at(x, i + 1) == '^';
			i += memo_lex_at(x, i + 1) == ']';
		} else if (c == ']') {
			bracket = false;
		}
	}
	return memo_lex_doubt(x, "a regular expression that is not closed on its line");
}

static enum before word(struct memo_scan *x)
{
	static const char *const operand[] = { "print", "printf", "return",    "in",   "case",	 "if",
					       "while", "for",	  "do",	       "else", "delete", "exit",
					       "BEGIN", "END",	  "BEGINFILE", NULL };
	static const char *const either[] = { "getline", "length",   "func",   "function", "next",    "nextfile",
					      "break",	 "continue", "switch", "default",  "ENDFILE", NULL };
	size_t from = x->at;
	while (memo_lex_name(memo_lex_at(x, x->at)))
		x->at++;
	size_t len = x->at - from;
	for (size_t i = 0; operand[i] != NULL; i++)
		if (strlen(operand[i]) == len && memcmp(operand[i], x->text + from, len) == 0)
			return OPERAND;
	for (size_t i = 0; either[i] != NULL; i++)
		if (strlen(either[i]) == len && memcmp(either[i], x->text + from, len) == 0)
			return EITHER;
	return VALUE;
}

/* One character that is no blank. */
static bool token(struct memo_scan *x, unsigned char c, enum before *before)
{
	unsigned char next = memo_lex_at(x, x->at + 1);
	if (c == '"') {
		*before = VALUE;
		return string(x);
	}
	if (c == '/' && *before == EITHER)
		return memo_lex_doubt(x, "a slash that may begin a regular expression or divide");
	if (c == '/' && *before == OPERAND) {
		*before = VALUE;
		return regex(x);
	}
	if (c == '\\') {
		if (next != '\n')
			return memo_lex_doubt(x, "a backslash outside of a string");
		memo_lex_mark(x, x->at, x->at + 2, LEX_VERBATIM);
		x->at += 2;
		return true;
	}
	if (c == '@' || c == '`' || c == '\'' || c >= 0x80)
		return memo_lex_doubt(x, "a character outside of a string that awk does not know");
	bool twice = (c == '+' || c == '-') && next == c;
	x->at += twice ? 2 : 1;
	if (c == ')' || c == '$' || twice)
		*before = EITHER;
	else
		*before = c == ']' ? VALUE : OPERAND;
	return true;
}

bool memo_lex_awk(struct memo_scan *x)
{
	static const char *const words[] = { "-f", "-E", "--posix", "--re-interval", NULL };
	enum before before = OPERAND;
	if (!memo_lex_options(x, "", words))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	while (x->at < x->len) {
		unsigned char c = memo_lex_at(x, x->at);
		if (c == '#') {
			memo_lex_hash_comment(x);
			if (x->text[x->at - 1] == '\\')
				return memo_lex_doubt(x, "a comment that ends in a backslash");
		} else if (memo_lex_blank(c)) {
			x->at++;
		} else if (memo_lex_name(c)) {
			before = word(x);
		} else if (c == '.' && memo_lex_digit(memo_lex_at(x, x->at + 1))) {
			x->at++;
		} else if (!token(x, c, &before)) {
			return false;
		}
	}
	return true;
}

bool memo_lex_awk_guard(struct memo_scan *x, const char *left, size_t len)
{
	if (memo_lex_find_word(left, len, "PROCINFO") != NULL || memo_lex_find(left, len, "/proc/") != NULL ||
	    memo_lex_find(left, len, "/dev/fd") != NULL)
		return memo_lex_doubt(x, "it mentions a word that leads to its own text");
	return true;
}
