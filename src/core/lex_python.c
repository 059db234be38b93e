/* Python, any 3.x: what its versions do not read alike is a doubt. Only strings can hold a '#' that begins no comment;
 * an f-string must be one that ends at the same place before and since 3.12. */
#include "lex_scan.h"

static const char *const prefixes[] = { "r", "u", "b", "br", "rb", "f", "fr", "rf", "t", "tr", "rt", NULL };

/* A string within a field, at its opening quote: one line, with simple escapes, and no f-string that has fields of its
 * own. Returns how far its closing quote is, 0: it is not such a one. */
static size_t nested(const struct memo_scan *x, size_t at, size_t to)
{
	char c = x->text[at];
	bool prefixed = at > 0 && memo_lex_name((unsigned char)x->text[at - 1]);
	for (size_t i = at + 1; i < to; i++) {
		unsigned char b = (unsigned char)x->text[i], next = memo_lex_at(x, i + 1);
		if (b == (unsigned char)c)
			return i == at + 1 && next == b ? 0 : i - at;
		if (b == '\n' || (prefixed && (b == '{' || b == '}' || b == '#' || b == '\\')))
			return 0;
		if (b == '\\' && !memo_lex_name(next))
			return 0;
	}
	return 0;
}

/* "{x:#06x}": a '#' in a format that is the field's last word, which begins no comment by either rule. */
static bool formats(const struct memo_scan *x, size_t at, size_t to)
{
	size_t i = at + 1;
	if (at == 0 || x->text[at - 1] != ':')
		return false;
	while (i < to && memo_lex_digit(memo_lex_at(x, i)))
		i++;
	return i + 1 < to && strchr("xXob", x->text[i]) != NULL && x->text[i + 1] == '}';
}

/* Within a field of an f-string, from behind its '{': to behind its '}'. The quote that ends the string must not occur
 * in it, so that both rules agree; neither a '#' nor a backslash outside of nested strings. */
static bool field(struct memo_scan *x, size_t *at, size_t to)
{
	unsigned depth = 1, brackets = 0;
	for (; *at < to; (*at)++) {
		char c = x->text[*at];
		brackets += c == '(' || c == '[';
		if (c == '#' && depth == 1 && brackets == 0 && formats(x, *at, to))
			continue;
		if (c == '#' || c == '\\')
			return memo_lex_doubt(x, "an f-string with a '#' or a backslash in a field");
		if (c == '\'' || c == '"') {
			size_t n = nested(x, *at, to);
			if (n == 0)
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

/* Where in a program the scan is, as far as it matters whether a traceback can show a comment: Python 3.13 shows all
 * lines of a statement, and takes those of a class for a statement. */
struct place {
	bool fresh; /* nothing but blanks on this line so far */
	bool logical; /* nothing in this logical line so far */
	bool code; /* something that is no comment came before: no comment names an encoding from here on */
	unsigned depth; /* of brackets */
	bool class; /* within one */
	bool decorated; /* behind a decorator */
	size_t indent; /* of the class */
	size_t doc, doc_end; /* the plain string that it began with, and nothing behind it so far */
};

/* A name of an encoding in which each byte is a character, and one below 0x80 that of ASCII. */
static bool single_byte(const char *text, size_t len)
{
	static const char *const names[] = { "latin-1",	  "latin1",	 "iso-8859-", "iso8859-",
					     "ISO-8859-", "ISO8859-",	 "iso_8859_", "latin_1",
					     "Latin-1",	  "Latin1",	 "ascii",     "ASCII",
					     "cp125",	  "windows-125", "koi8-",     NULL };
	for (size_t i = 0; names[i] != NULL; i++)
		if (memo_lex_find(text, len, names[i]) != NULL)
			return true;
	return false;
}

/* Such an encoding, named in one of the first two lines of a text that could be no UTF-8: elsewhere it would not be
 * read at all. */
bool memo_lex_python_bytes(const struct memo_scan *x)
{
	const char *first = memchr(x->text, '\n', x->len);
	const char *rest = first != NULL ? first + 1 : x->text + x->len;
	const char *second = memchr(rest, '\n', (size_t)(x->text + x->len - rest));
	size_t n = (size_t)((second != NULL ? second : x->text + x->len) - x->text);
	for (const char *p = x->text; (p = memo_lex_find(p, (size_t)(x->text + n - p), "coding")) != NULL; p++) {
		const char *line = memrchr(x->text, '\n', (size_t)(p - x->text));
		line = line != NULL ? line + 1 : x->text;
		size_t len = (size_t)((line < rest && first != NULL ? first : x->text + n) - p);
		if (*line == '#' && strchr(":=", memo_lex_at(x, (size_t)(p - x->text) + 6)) != NULL)
			return single_byte(p, len);
	}
	return false;
}

/* An encoding by which the text means the same wherever the comment stands. */
static bool plain_encoding(const struct memo_scan *x, const char *text, size_t len)
{
	static const char *const utf8[] = { "utf-8", "UTF-8", "utf8", "utf_8", "UTF8", NULL };
	bool ascii = true;
	for (size_t i = 0; utf8[i] != NULL; i++)
		if (memo_lex_find(text, len, utf8[i]) != NULL)
			return true;
	for (size_t i = 0; i < x->len && ascii; i++)
		ascii = (unsigned char)x->text[i] < 0x80;
	return single_byte(text, len) && (ascii || x->bytes);
}

/* What counts by its place: an encoding, and metadata for what installs the program's packages. */
static bool comment(struct memo_scan *x, const struct place *p)
{
	size_t from = x->at;
	memo_lex_hash_comment(x);
	const char *text = x->text + from;
	size_t len = x->at - from;
	bool coding = memo_lex_find(text, len, "coding:") != NULL || memo_lex_find(text, len, "coding=") != NULL;
	if (coding && !p->code && !plain_encoding(x, text, len))
		return memo_lex_doubt(x, "it names an encoding other than UTF-8");
	bool held = !p->fresh || p->depth > 0 || p->class || p->decorated;
	if (held && x->class[from] == LEX_COMMENT)
		memo_lex_mark(x, from, x->at, LEX_HELD);
	if (len >= 5 && memcmp(text, "# ///", 5) == 0)
		return memo_lex_doubt(x, "it has inline metadata");
	return true;
}

/* At a backslash. Where it stands alone on its line, or the next line is empty but for a comment, the versions' rules of
 * indentation are at work. */
static bool continuation(struct memo_scan *x)
{
	size_t wide = x->crlf && memo_lex_at(x, x->at + 1) == '\r' ? 3 : 2;
	size_t before = x->at, behind = x->at + wide;
	if (memo_lex_at(x, behind - 1) != '\n')
		return memo_lex_doubt(x, "a backslash outside of a string");
	while (before > 0 && memo_lex_blank((unsigned char)x->text[before - 1]))
		before--;
	while (memo_lex_blank(memo_lex_at(x, behind)))
		behind++;
	unsigned char next = memo_lex_at(x, behind);
	if (before == 0 || x->text[before - 1] == '\n' || next == '#' || next == '\n' || next == '\r' || next == 0)
		return memo_lex_doubt(x, "a continued line that is empty");
	memo_lex_mark(x, x->at, x->at + wide, LEX_VERBATIM);
	x->at += wide;
	return true;
}

static bool is_word(const struct memo_scan *x, size_t at, const char *word)
{
	size_t n = strlen(word);
	return x->len - at >= n && memcmp(x->text + at, word, n) == 0 && !memo_lex_name(memo_lex_at(x, at + n));
}

/* "def name[T](": of such a function, too, all lines may be one statement's. */
static bool generic(const struct memo_scan *x)
{
	size_t i = x->at + 3;
	while (memo_lex_blank(memo_lex_at(x, i)))
		i++;
	while (memo_lex_name(memo_lex_at(x, i)) || memo_lex_at(x, i) >= 0x80 || memo_lex_blank(memo_lex_at(x, i)))
		i++;
	return memo_lex_at(x, i) == '[';
}

/* The first character of a logical line. */
static void begin_line(struct memo_scan *x, struct place *p)
{
	size_t line = x->at;
	while (line > 0 && x->text[line - 1] != '\n')
		line--;
	size_t indent = x->at - line;
	bool tabs = memchr(x->text + line, '\t', indent) != NULL;
	if (p->class && (indent == 0 || (indent <= p->indent && !tabs)))
		p->class = false;
	if (!p->class &&
	    (is_word(x, x->at, "class") || (is_word(x, x->at, "def") && generic(x)) ||
	     (is_word(x, x->at, "async") &&
	      memo_lex_find(x->text + x->at, x->len - x->at < 80 ? x->len - x->at : 80, "[") != NULL))) {
		p->class = true;
		p->indent = tabs ? 0 : indent;
	}
	p->decorated = x->text[x->at] == '@';
	p->logical = false;
	p->doc_end = 0;
}

/* A string that is a statement is documentation; @p knows one that began its logical line. */
static void end_line(struct memo_scan *x, struct place *p)
{
	if (p->doc_end > p->doc)
		memo_lex_mark(x, p->doc, p->doc_end, LEX_DOC);
	p->doc_end = 0;
}

static bool step(struct memo_scan *x, struct place *p)
{
	unsigned char c = memo_lex_at(x, x->at);
	size_t from = x->at;
	bool fine = true;
	if (c == '#')
		return comment(x, p);
	if (c == '\n') {
		if (p->depth == 0 && !p->logical) {
			end_line(x, p);
			p->logical = true;
		}
		p->fresh = true;
		x->at++;
		return true;
	}
	if (memo_lex_blank(c) || c == '\f' || c == '\r') {
		x->at++;
		return true;
	}
	bool began = p->logical;
	if (p->logical)
		begin_line(x, p);
	p->fresh = false;
	p->code = true;
	if (!began)
		p->doc_end = 0;
	if (c == '\'' || c == '"') {
		fine = string(x, false, false);
		p->doc = from;
		p->doc_end = began ? x->at : 0;
	} else if (memo_lex_name(c) || c >= 0x80) {
		fine = word(x);
	} else if (c == '\\') {
		fine = continuation(x);
	} else {
		p->depth += c == '(' || c == '[' || c == '{';
		p->depth -= (c == ')' || c == ']' || c == '}') && p->depth > 0;
		x->at++;
	}
	return fine;
}

bool memo_lex_python(struct memo_scan *x)
{
	static const char *const none[] = { NULL };
	struct place p = { .fresh = true, .logical = true };
	if (!memo_lex_options(x, "BEIOSsuq", none))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	for (size_t i = 0; i < x->len; i++)
		if (x->text[i] == '\r' && memo_lex_at(x, i + 1) != '\n')
			return memo_lex_doubt(x, "it has carriage returns");
	x->crlf = true;
	while (x->at < x->len)
		if (!step(x, &p))
			return false;
	end_line(x, &p);
	return true;
}
