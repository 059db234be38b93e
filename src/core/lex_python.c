/* Python, any 3.x: what its versions do not read alike is a doubt. Only strings can hold a '#' that begins no comment;
 * an f-string must be one that ends at the same place before and since 3.12. */
#include "lex_scan.h"

static const char *const prefixes[] = { "r", "u", "b", "br", "rb", "f", "fr", "rf", "t", "tr", "rt", NULL };

/* Within a field of an f-string, from behind its '{': to behind its '}'. The quote that ends the string must not occur
 * in it, so that both rules agree; neither a '#' nor a backslash nor, in nested strings, a brace. */
static bool field(struct memo_scan *x, size_t *at, size_t to)
{
	unsigned depth = 1;
	for (; *at < to; (*at)++) {
		char c = x->text[*at];
		if (c == '#' || c == '\\')
			return memo_lex_doubt(x, "an f-string with a '#' or a backslash in a field");
		if (c == '\'' || c == '"') {
			const char *end = memchr(x->text + *at + 1, c, to - *at - 1);
			size_t n = end == NULL ? 0 : (size_t)(end - x->text) - *at;
			if (end == NULL || memchr(x->text + *at, '{', n) != NULL ||
			    memchr(x->text + *at, '}', n) != NULL || memchr(x->text + *at, '#', n) != NULL ||
			    memchr(x->text + *at, '\\', n) != NULL)
				return memo_lex_doubt(x, "an f-string whose fields are not plain");
			*at += n;
		}
		depth += c == '{';
		depth -= c == '}';
		if (depth > MEMO_LEX_DEPTH)
			return memo_lex_doubt(x, "it is nested too deeply");
		if (depth == 0) {
			(*at)++;
			return true;
		}
	}
	return memo_lex_doubt(x, "an f-string whose fields are not closed");
}

static bool fields(struct memo_scan *x, size_t from, size_t to, bool raw)
{
	for (size_t i = from; i < to;) {
		char c = x->text[i];
		bool twice = i + 1 < to && x->text[i + 1] == c;
		if (c == '\\' && !raw) {
			if (i + 2 < to && x->text[i + 1] == 'N' && x->text[i + 2] == '{')
				return memo_lex_doubt(x, "an f-string with a named character");
			i += i + 1 < to && (x->text[i + 1] == '{' || x->text[i + 1] == '}') ? 1 : 2;
		} else if ((c == '{' || c == '}') && twice) {
			i += 2;
		} else if (c == '}') {
			return memo_lex_doubt(x, "an f-string with a single '}'");
		} else if (c == '{') {
			i++;
			if (!field(x, &i, to))
				return false;
		} else {
			i++;
		}
	}
	return true;
}

/* At the opening quote. */
static bool string(struct memo_scan *x, bool formatted, bool raw)
{
	size_t from = x->at;
	char q = x->text[x->at];
	bool triple = memo_lex_at(x, x->at + 1) == (unsigned char)q &&
		      memo_lex_at(x, x->at + 2) == (unsigned char)q;
	size_t wide = triple ? 3 : 1;
	for (size_t i = from + wide; i < x->len; i++) {
		char c = x->text[i];
		bool end = c == q && (!triple || (memo_lex_at(x, i + 1) == (unsigned char)q &&
						  memo_lex_at(x, i + 2) == (unsigned char)q));
		if (end) {
			x->at = i + wide;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			return !formatted || fields(x, from + wide, i, raw);
		}
		if (c == '\n' && !triple)
			break;
		if (c == '\\')
			i++;
	}
	return memo_lex_doubt(x, "a string that is not closed");
}

static bool word(struct memo_scan *x)
{
	size_t from = x->at;
	while (memo_lex_name(memo_lex_at(x, x->at)) || memo_lex_at(x, x->at) >= 0x80)
		x->at++;
	size_t len = x->at - from;
	unsigned char next = memo_lex_at(x, x->at);
	if ((next != '\'' && next != '"') || len > 2)
		return true;
	char lower[3] = { 0 };
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)(x->text[from + i] | 0x20);
	for (size_t i = 0; prefixes[i] != NULL; i++)
		if (strcmp(prefixes[i], lower) == 0)
			return string(x, strpbrk(lower, "ft") != NULL, strchr(lower, 'r') != NULL);
	return true;
}

/* What counts by its place: an encoding, and metadata for what installs the program's packages. */
static bool comment(struct memo_scan *x)
{
	size_t from = x->at;
	memo_lex_hash_comment(x);
	const char *text = x->text + from;
	size_t len = x->at - from;
	bool coding = memo_lex_find(text, len, "coding:") != NULL || memo_lex_find(text, len, "coding=") != NULL;
	if (coding && memo_lex_find(text, len, "utf-8") == NULL && memo_lex_find(text, len, "UTF-8") == NULL &&
	    memo_lex_find(text, len, "utf8") == NULL)
		return memo_lex_doubt(x, "it names an encoding other than UTF-8");
	if (len >= 5 && memcmp(text, "# ///", 5) == 0)
		return memo_lex_doubt(x, "it has inline metadata");
	return true;
}

/* At a backslash. Where it stands alone on its line, or the next line is empty but for a comment, the versions' rules of
 * indentation are at work. */
static bool continuation(struct memo_scan *x)
{
	size_t before = x->at, behind = x->at + 2;
	if (memo_lex_at(x, x->at + 1) != '\n')
		return memo_lex_doubt(x, "a backslash outside of a string");
	while (before > 0 && memo_lex_blank((unsigned char)x->text[before - 1]))
		before--;
	while (memo_lex_blank(memo_lex_at(x, behind)))
		behind++;
	unsigned char next = memo_lex_at(x, behind);
	if (before == 0 || x->text[before - 1] == '\n' || next == '#' || next == '\n' || next == 0)
		return memo_lex_doubt(x, "a continued line that is empty");
	memo_lex_mark(x, x->at, x->at + 2, LEX_VERBATIM);
	x->at += 2;
	return true;
}

bool memo_lex_python(struct memo_scan *x)
{
	static const char *const none[] = { NULL };
	if (!memo_lex_options(x, "BEIOSsuq", none))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	while (x->at < x->len) {
		unsigned char c = memo_lex_at(x, x->at);
		bool fine = true;
		if (c == '#') {
			fine = comment(x);
		} else if (c == '\'' || c == '"') {
			fine = string(x, false, false);
		} else if (memo_lex_name(c) || c >= 0x80) {
			fine = word(x);
		} else if (c == '\\') {
			fine = continuation(x);
		} else {
			x->at++;
		}
		if (!fine)
			return false;
	}
	return true;
}

/* ---- the guard ----------------------------------------------------------------------------------------------- */

static const char *const to_text[] = { "linecache",    "getsource", "_getframe",  "__loader__",
				       "jit",	       "__spec__",  "__cached__", "co_filename",
				       "faulthandler", "settrace",  "runpy",	  "getsourcelines",
				       "getcomments",  NULL };
static const char *const parts_to_text[] = { ".exception(",   "exc_info=",  "exc_info =",   "import tokenize",
					     "from tokenize", "'exc_info'", "\"exc_info\"", NULL };

struct left {
	const char *text, *end;
};

static bool has(const struct left *l, const char *part)
{
	return memo_lex_find(l->text, (size_t)(l->end - l->text), part) != NULL;
}

static bool has_word(const struct left *l, const char *word)
{
	return memo_lex_find_word(l->text, (size_t)(l->end - l->text), word) != NULL;
}

static bool ends(const struct left *l, const char *at, const char *with)
{
	size_t n = strlen(with);
	return (size_t)(at - l->text) >= n && memcmp(at - n, with, n) == 0;
}

static bool begins(const struct left *l, const char *at, const char *with)
{
	size_t n = strlen(with);
	return (size_t)(l->end - at) >= n && memcmp(at, with, n) == 0;
}

/* A module is used here: imported, reached as an attribute, or by its name in quotes. In a text such a word says
 * nothing. */
static bool uses_module(const struct left *l, const char *word)
{
	size_t n = strlen(word);
	bool star = has(l, "import *");
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), word)) != NULL; p += n) {
		const char *line = memrchr(l->text, '\n', (size_t)(p - l->text));
		const char *begin = line != NULL ? line + 1 : l->text;
		unsigned char before = p > l->text ? (unsigned char)p[-1] : ' ';
		unsigned char next = p + n < l->end ? (unsigned char)p[n] : ' ';
		unsigned char behind = p + n + 1 < l->end ? (unsigned char)p[n + 1] : ' ';
		bool imported = memo_lex_find(begin, (size_t)(p - begin), "import") != NULL ||
				memo_lex_find(begin, (size_t)(p - begin), "from") != NULL;
		/* a list of imports that goes on over lines ends in such a line */
		bool listed = strchr(",);\n\\", next) != NULL || behind == '\\' || begins(l, p + n, " as ");
		if (star || imported || listed || before == '.' || (next == '.' && memo_lex_name(behind)) ||
		    ((before == '\'' || before == '"') && next == before))
			return true;
	}
	return false;
}

/* argv[0], argv[:1]: the path. Its last part alone is no way to the text. */
static bool own_argument(const struct left *l)
{
	for (const char *p = l->text; (p = memmem(p, (size_t)(l->end - p), "argv[", 5)) != NULL; p++) {
		const char *index = p + 5;
		while (index < l->end && memo_lex_blank((unsigned char)*index))
			index++;
		bool base = ends(l, p, "os.path.basename(sys.") && begins(l, p, "argv[0])") &&
			    !has_word(l, "__file__");
		if (index < l->end && (*index == '0' || *index == ':') && !base)
			return true;
	}
	return false;
}

/* Of __file__ only the folder is used, and the file's name stands nowhere else. */
static bool folder_only(const struct memo_scan *x, const struct left *l)
{
	static const char *const before[] = {
		"dirname(",	    "dirname(os.path.abspath(", "dirname(os.path.realpath(",
		"dirname(abspath(", "dirname(realpath(",	NULL
	};
	static const char *const behind[] = { ").parent", ").resolve().parent", ").absolute().parent", NULL };
	bool any = false;
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "__file__")) != NULL;
	     p += 8) {
		bool fine = false;
		any = true;
		for (size_t i = 0; before[i] != NULL; i++)
			fine = fine || (ends(l, p, before[i]) && begins(l, p + 8, ")"));
		for (size_t i = 0; behind[i] != NULL; i++)
			fine = fine || (ends(l, p, "Path(") && begins(l, p + 8, behind[i]));
		if (!fine)
			return false;
	}
	return !any || !has(l, x->base);
}

/* Of inspect what looks at signatures and kinds of objects, not at text or frames. */
static bool inspects_text(const struct left *l)
{
	static const char *const words[] = { "getsourcefile",  "getfile",
					     "getabsfile",     "findsource",
					     "getblock",       "getframeinfo",
					     "getouterframes", "getinnerframes",
					     "currentframe",   "FrameInfo",
					     "getmodule",      "getattr",
					     "importlib",      NULL };
	if (!uses_module(l, "inspect"))
		return false;
	if (has(l, "inspect as") || has(l, "inspect.stack") || has(l, "inspect.trace") || has(l, "'inspect'") ||
	    has(l, "\"inspect\""))
		return true;
	if (has(l, "from inspect import") && (has_word(l, "stack") || has_word(l, "trace") || has(l, "import *")))
		return true;
	return memo_lex_find_any(l->text, (size_t)(l->end - l->text), words) != NULL;
}

/* Tracebacks that go to stderr, which is no part of a result, as they do when a program fails. */
static bool keeps_tracebacks(const struct left *l)
{
	bool redirected = has(l, "redirect_stderr") || has(l, "stderr =");
	if (!uses_module(l, "traceback"))
		return false;
	static const char *const fine[] = { "traceback.print_exc()", "traceback.print_stack()", "traceback\n",
					    NULL };
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "traceback")) != NULL;
	     p += 9) {
		bool so = false;
		for (size_t i = 0; fine[i] != NULL; i++)
			so = so || begins(l, p, fine[i]);
		if (!so || redirected || (begins(l, p, fine[2]) && !ends(l, p, "import ")))
			return true;
	}
	return false;
}

bool memo_lex_python_guard(struct memo_scan *x, const char *left, size_t len)
{
	struct left l = { left, left + len };
	bool reads = memo_lex_find_any(left, len, to_text) != NULL || own_argument(&l) || inspects_text(&l) ||
		     keeps_tracebacks(&l);
	for (size_t i = 0; parts_to_text[i] != NULL; i++)
		reads = reads || has(&l, parts_to_text[i]);
	if (reads)
		return memo_lex_doubt(x, "it mentions a word that leads to its own text");
	if (!folder_only(x, &l))
		return memo_lex_doubt(x, "it uses __file__, so it may read its own text");
	x->lines = has(&l, "lineno");
	return true;
}
