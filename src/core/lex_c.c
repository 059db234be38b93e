/* C, and what of C++ reads alike: strings, characters, // and block comments. A backslash or a trigraph where it could
 * move the end of a comment is a doubt, and so is a preprocessor line with free text. */
#include "lex_scan.h"

static bool quoted(struct memo_scan *x)
{
	size_t from = x->at;
	char q = x->text[x->at];
	unsigned char before = from > 0 ? (unsigned char)x->text[from - 1] : 0;
	if (q == '"' && before == 'R')
		return memo_lex_doubt(x, "a raw string");
	if (q == '\'' && memo_lex_name(before) && strchr("LuU8", before) == NULL)
		return memo_lex_doubt(x, "a quote within a number");
	for (size_t i = from + 1; i < x->len && x->text[i] != '\n'; i++) {
		if (x->text[i] == q) {
			x->at = i + 1;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return true;
		}
		if (x->text[i] == '\\')
			i++;
	}
	return memo_lex_doubt(x, "a string or character that is not closed on its line");
}

/* Compilers read "fall through", and some lint tools act on the rest of a word in capitals. */
static bool stays(const char *text, size_t len)
{
	for (size_t i = 0; i + 4 <= len; i++)
		if ((text[i] | 0x20) == 'f' && (text[i + 1] | 0x20) == 'a' && (text[i + 2] | 0x20) == 'l' &&
		    (text[i + 3] | 0x20) == 'l')
			return true;
	return false;
}

static bool comment(struct memo_scan *x, bool block)
{
	size_t from = x->at, rest = x->len - from - 2;
	const char *begin = x->text + from + 2;
	const char *end = block ? memmem(begin, rest, "*/", 2) : memchr(begin, '\n', rest);
	if (block && end == NULL)
		return memo_lex_doubt(x, "a comment that is not closed");
	x->at = end == NULL ? x->len : (size_t)(end - x->text) + (block ? 2 : 0);
	size_t len = x->at - from;
	if (memchr(x->text + from, '\\', len) != NULL || memo_lex_find(x->text + from, len, "??") != NULL)
		return memo_lex_doubt(x, "a backslash or a trigraph in a comment");
	unsigned char class = stays(x->text + from, len) ? LEX_VERBATIM : block ? LEX_BLOCK : LEX_COMMENT;
	memo_lex_mark(x, from, x->at, class);
	return true;
}

/* At the '#' that begins a line. What follows is read as tokens, but for the name of a header and for messages. */
static bool directive(struct memo_scan *x)
{
	static const char *const free_text[] = { "error", "warning", "pragma",	 "ident", "sccs",
						 "line",  "assert",  "unassert", "embed", NULL };
	x->at++;
	while (memo_lex_blank(memo_lex_at(x, x->at)))
		x->at++;
	size_t from = x->at;
	while (memo_lex_name(memo_lex_at(x, x->at)))
		x->at++;
	size_t len = x->at - from;
	const char *nl = memchr(x->text + x->at, '\n', x->len - x->at);
	size_t end = nl == NULL ? x->len : (size_t)(nl - x->text);
	for (size_t i = 0; free_text[i] != NULL; i++)
		if (strlen(free_text[i]) == len && memcmp(free_text[i], x->text + from, len) == 0) {
			size_t n = end - x->at;
			if (memo_lex_find(x->text + x->at, n, "/*") != NULL ||
			    memo_lex_find(x->text + x->at, n, "//") != NULL ||
			    memchr(x->text + x->at, '\\', n) != NULL || memchr(x->text + x->at, '\'', n) != NULL)
				return memo_lex_doubt(x, "a preprocessor line with free text");
			memo_lex_mark(x, x->at, end, LEX_VERBATIM);
			x->at = end;
			return true;
		}
	bool include = len >= 7 &&
		       (memcmp(x->text + from, "include", 7) == 0 || memcmp(x->text + from, "__has_i", 7) == 0);
	if (len == 6 && memcmp(x->text + from, "import", 6) == 0)
		include = true;
	size_t at = x->at;
	while (memo_lex_blank(memo_lex_at(x, at)))
		at++;
	unsigned char open = memo_lex_at(x, at);
	if (len == 0 && (open == '/' || open == '\\'))
		return memo_lex_doubt(x, "a preprocessor line that begins with a comment");
	if (len == 0 || !include || (open != '<' && open != '"'))
		return !include || memo_lex_doubt(x, "an #include that is not plain");
	const char *close = memchr(x->text + at + 1, open == '<' ? '>' : '"', end > at ? end - at - 1 : 0);
	size_t to = close == NULL ? at : (size_t)(close + 1 - x->text);
	if (close == NULL || memo_lex_find(x->text + at, to - at, "//") != NULL ||
	    memo_lex_find(x->text + at, to - at, "/*") != NULL || memchr(x->text + at, '\\', to - at) != NULL)
		return memo_lex_doubt(x, "an #include that is not plain");
	memo_lex_mark(x, at, to, LEX_VERBATIM);
	x->at = to;
	return true;
}

/* A backslash outside of strings only joins lines; one that is followed by blanks does so for some compilers. */
static bool joined(struct memo_scan *x)
{
	if (memo_lex_at(x, x->at + 1) != '\n')
		return memo_lex_doubt(x, "a backslash outside of a string");
	memo_lex_mark(x, x->at, x->at + 2, LEX_VERBATIM);
	x->at += 2;
	/* "/\" and "/" make a comment, too */
	if (x->at > 2 && strchr("/*", x->text[x->at - 3]) != NULL)
		return memo_lex_doubt(x, "a line that is joined at a slash");
	return true;
}

bool memo_lex_c(struct memo_scan *x)
{
	static const char *const none[] = { NULL };
	bool fresh = true; /* nothing but blanks and comments on this line so far */
	if (!memo_lex_options(x, "", none))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	if (memo_lex_find(x->text, x->len, "?\?/") != NULL)
		return memo_lex_doubt(x, "a trigraph");
	if (memo_lex_find(x->text, x->len, "__has_include") != NULL ||
	    memo_lex_find(x->text, x->len, "__has_embed") != NULL)
		return memo_lex_doubt(x, "names of headers outside of #include");
	while (x->at < x->len) {
		unsigned char c = memo_lex_at(x, x->at);
		unsigned char next = memo_lex_at(x, x->at + 1);
		bool fine = true, keeps = c == '\n' || memo_lex_blank(c);
		if (c == '/' && (next == '*' || next == '/')) {
			fine = comment(x, next == '*');
			keeps = true;
		} else if (c == '"' || c == '\'') {
			fine = quoted(x);
		} else if (fresh && (c == '#' || (c == '%' && next == ':'))) {
			fine = c == '#' ? directive(x) : memo_lex_doubt(x, "a digraph");
		} else if (c == '\\') {
			fine = joined(x);
		} else {
			x->at++;
		}
		if (!fine)
			return false;
		fresh = c == '\n' || (fresh && keeps);
	}
	return true;
}

bool memo_lex_c_guard(struct memo_scan *x, const char *left, size_t len)
{
	static const char *const to_text[] = { "__LINE__",	 "__FILE__",	    "__COUNTER__",
					       "__BASE_FILE__",	 "source_location", "__builtin_LINE",
					       "__builtin_FILE", "__FILE_NAME__",   NULL };
	if (memo_lex_find_any(left, len, to_text) != NULL)
		return memo_lex_doubt(x, "it mentions its own line numbers or name");
	/* assert() holds a line number */
	if (memo_lex_find(left, len, "assert") != NULL || memo_lex_find(left, len, "ASSERT") != NULL) {
		for (size_t i = 0; i < x->len; i++)
			if (x->class[i] == LEX_BLOCK && x->text[i] == '\n')
				return memo_lex_doubt(
					x, "it has assertions, which hold line numbers, and long comments");
		x->own = MEMO_SIGHT_LINES;
	}
	return true;
}
