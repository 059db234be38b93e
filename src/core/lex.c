/* The common part: what no lexer can read, comments that count, and the normal form. */
#include "lex.h"

#include "base/scope.h"
#include "lex_scan.h"
#include "value.h"

#include <errno.h>

/* ---- what the lexers use ---------------------------------------------------------------------------------- */

bool memo_lex_doubt(struct memo_scan *x, const char *reason)
{
	if (x->reason == NULL)
		x->reason = reason;
	return false;
}

void memo_lex_mark(struct memo_scan *x, size_t from, size_t to, unsigned char class)
{
	memset(x->class + from, class, to - from);
}

static bool starts(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);
	return len >= n && memcmp(text, with, n) == 0;
}

/* Somebody acts on it: the scheduler, Rscript's tools, a test runner, an editor of line numbers, a reader of encodings. */
static bool directive(const char *text, size_t len)
{
	static const char *const acted_on[] = { "@",	      "///",   "bats",	  "cython:",
						"distutils:", "line ", "syntax=", "-*-" };
	size_t i = 0;
	while (i < len && text[i] == '#')
		i++;
	if (i == len)
		return false;
	char c = text[i];
	if (!memo_lex_blank((unsigned char)c) && !(c >= 'a' && c <= 'z') && strchr("-=*~_", c) == NULL)
		return true;
	while (i < len && memo_lex_blank((unsigned char)text[i]))
		i++;
	for (size_t k = 0; k < KNOWN(acted_on); k++)
		if (starts(text + i, len - i, acted_on[k]))
			return true;
	return memo_lex_find(text, len, "coding:") != NULL || memo_lex_find(text, len, "coding=") != NULL;
}

void memo_lex_hash_comment(struct memo_scan *x)
{
	const char *end = memchr(x->text + x->at, '\n', x->len - x->at);
	size_t to = end == NULL ? x->len : (size_t)(end - x->text);
	memo_lex_mark(x, x->at, to, directive(x->text + x->at, to - x->at) ? LEX_VERBATIM : LEX_COMMENT);
	x->at = to;
}

const char *memo_lex_find(const char *text, size_t len, const char *word)
{
	return memmem(text, len, word, strlen(word));
}

const char *memo_lex_find_word(const char *text, size_t len, const char *word)
{
	size_t n = strlen(word);
	const char *end = text + len;
	for (const char *p = text; (p = memmem(p, (size_t)(end - p), word, n)) != NULL; p++) {
		bool before = p > text && memo_lex_name((unsigned char)p[-1]);
		bool after = p + n < end && memo_lex_name((unsigned char)p[n]);
		if (!before && !after)
			return p;
	}
	return NULL;
}

const char *memo_lex_find_any(const char *text, size_t len, const char *const *words)
{
	for (; *words != NULL; words++)
		if (memo_lex_find_word(text, len, *words) != NULL)
			return *words;
	return NULL;
}

static bool option(const char *p, size_t len, const char *letters, const char *const *words)
{
	bool fine = len > 1 && p[0] == '-' && strspn(p + 1, letters) >= len - 1;
	for (size_t i = 0; !fine && words[i] != NULL; i++)
		fine = strlen(words[i]) == len && memcmp(words[i], p, len) == 0;
	return fine;
}

bool memo_lex_options(const struct memo_scan *x, const char *letters, const char *const *words)
{
	for (const char *p = x->options + strspn(x->options, " \t"); *p != '\0'; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		if (!option(p, len, letters, words))
			return false;
		p += len;
	}
	for (size_t i = 0; x->run_by != NULL && x->run_by[i] != NULL; i++)
		if (!option(x->run_by[i], strlen(x->run_by[i]), letters, words))
			return false;
	return true;
}

/* ---- before and after a lexer ------------------------------------------------------------------------------ */

/* What can mean something else to one program than to the other: in some locales the second byte of a character looks
 * like a quote. */
static bool check_bytes(struct memo_scan *x, bool python)
{
	const char *allowed = x->shell ? "\t\n\r\f\033" : python ? "\t\n\r\f" : "\t\n";
	if (x->len > MEMO_LEX_BYTES)
		return memo_lex_doubt(x, "it is larger than 1 MiB");
	for (size_t i = 0; i < x->len; i++) {
		unsigned char c = (unsigned char)x->text[i];
		if ((c < 0x20 && (c == 0 || strchr(allowed, c) == NULL)) || c == 0x7f)
			return memo_lex_doubt(x,
					      c == '\r' ? "it has carriage returns" : "it has control characters");
	}
	x->bytes = !memo_value_utf8_ok(x->text, x->len);
	if (x->bytes && (!python || !memo_lex_python_bytes(x)))
		return memo_lex_doubt(x, "it is not UTF-8");
	if (starts(x->text, x->len, "\xef\xbb\xbf"))
		return memo_lex_doubt(x, "it begins with a byte-order mark");
	if (memo_lex_find(x->text, x->len, "\xe2\x80\xa8") != NULL ||
	    memo_lex_find(x->text, x->len, "\xe2\x80\xa9") != NULL)
		return memo_lex_doubt(x, "it has a line or paragraph separator (U+2028, U+2029)");
	return true;
}

/* The normal form is never longer than the text but for the empty first line and the blank of a block comment, which
 * is shorter than any block comment. Returns its length. */
static size_t emit(const struct memo_scan *x, enum memo_lex_sight sight, char *out)
{
	bool lines = sight >= MEMO_SIGHT_LINES, shown = sight >= MEMO_SIGHT_CODE;
	size_t n = x->body; /* the #! line */
	memcpy(out, x->text, n);
	out[n++] = '\n';
	size_t hard = n; /* blanks beyond it go when the line ends */
	bool fresh = true; /* a newline here says nothing */
	size_t i = x->body;
	if (x->body > 0 && i < x->len)
		i++;
	for (; i < x->len; i++) {
		char c = x->text[i];
		unsigned char class = x->class[i];
		if (class == LEX_HELD)
			class = shown ? LEX_VERBATIM : LEX_COMMENT;
		switch (class) {
		case LEX_COMMENT:
			n = hard;
			break;
		case LEX_BLOCK:
			if (i == 0 || x->class[i - 1] != LEX_BLOCK)
				out[n++] = ' ';
			if (lines && c == '\n') {
				n = hard;
				out[n++] = c;
				hard = n;
				fresh = true;
			}
			break;
		case LEX_VERBATIM:
		case LEX_DOC:
			out[n++] = c;
			hard = n;
			fresh = false;
			break;
		default:
			if (c == '\n') {
				n = shown ? n : hard;
				if (lines || !fresh)
					out[n++] = c;
				hard = n;
				fresh = true;
			} else {
				out[n++] = c;
				if (!memo_lex_blank((unsigned char)c) && !(x->crlf && c == '\r')) {
					hard = n;
					fresh = false;
				}
			}
		}
	}
	return shown ? n : hard;
}

/* "/usr/bin/x" with the '/' of "/x" at @slash: a fixed place, where no code of a task lies. */
static bool fixed_place(const char *left, const char *slash)
{
	static const char *const places[] = { "/usr/", "/bin/", "/sbin/", "/etc/", "/var/", "/dev/" };
	const char *p = slash;
	while (p > left && (memo_lex_name((unsigned char)p[-1]) || strchr("./+-", p[-1]) != NULL))
		p--;
	if (p > left && strchr("})`", p[-1]) != NULL)
		return false;
	for (size_t i = 0; i < KNOWN(places); i++)
		if (starts(p, (size_t)(slash + 1 - p), places[i]))
			return memmem(p, (size_t)(slash - p), "..", 2) == NULL;
	return false;
}

/* @p begins the file's own name: is it a path that is used here? With a '/' before it, in any case; a name with a suffix
 * also alone: between quotes, or, in shell, as a word. */
static bool is_path(const struct memo_scan *x, const char *left, const char *p, const char *behind, const char *end)
{
	unsigned char before = p > left ? (unsigned char)p[-1] : '\n';
	unsigned char next = behind < end ? (unsigned char)*behind : '\n';
	if (before == '/')
		return !memo_lex_name(next) && strchr("/-.", next) == NULL && !fixed_place(left, p - 1);
	if (strchr(x->base, '.') == NULL)
		return false;
	if (x->shell)
		return strchr(" \t\n'\"=<(`{,:", before) != NULL && strchr(" \t\n'\";)|&>`},", next) != NULL;
	return (before == '\'' || before == '"') && next == before;
}

/* A program that names its own file can read it, wherever it lies: "../code/run.sh", or "run.sh" where it is run in. */
static bool check_own_name(struct memo_scan *x, const char *left, size_t len)
{
	size_t n = strlen(x->base);
	if (n == 0)
		return true;
	for (const char *p = left; (p = memmem(p, (size_t)(left + len - p), x->base, n)) != NULL; p++)
		if (is_path(x, left, p, p + n, left + len))
			return memo_lex_doubt(x, "it mentions a file of its own name");
	return true;
}

/* What it can see is looked for in what is left, or, where no lexer could tell that, in all of it. */
static void look(struct memo_scan *x, const struct memo_language *l, const char *left, size_t len)
{
	if (!l->guard(x, left, len) || !check_own_name(x, left, len))
		x->own = MEMO_SIGHT_TEXT;
	if (x->others < x->own)
		x->others = x->own;
}

/* All that one language says about the text; @left gets its normal form without line numbers. Returns its length. */
static size_t read_as(struct memo_scan *x, const struct memo_language *l, char *left)
{
	x->shell = l->lex == memo_lex_shell;
	x->at = x->body;
	if (x->reason == NULL && check_bytes(x, l->lex == memo_lex_python) && l->lex(x)) {
		size_t n = emit(x, MEMO_SIGHT_NONE, left);
		look(x, l, left, n);
		return n;
	}
	look(x, l, x->text, x->len);
	if (x->shell &&
	    (memo_lex_find(x->text, x->len, "$0") != NULL || memo_lex_find(x->text, x->len, "${0") != NULL ||
	     memo_lex_find(x->text, x->len, "BASH_SOURCE") != NULL))
		x->others = MEMO_SIGHT_TEXT;
	return 0;
}

/* The second reading, by what the file's name says. */
static bool reads_alike(struct memo_scan *x, enum memo_lex_sight *sight, const char *left, size_t len, char *room)
{
	struct memo_scan y = { .text = x->text, .len = x->len, .body = x->body, .base = x->base, .options = "" };
	memset(x->class, LEX_CODE, x->len + 1);
	y.class = x->class;
	y.spare = x->spare;
	(void)read_as(&y, x->other, room);
	if (*sight < y.own)
		*sight = y.own;
	if (x->others < y.others)
		x->others = y.others;
	return y.reason == NULL && *sight < MEMO_SIGHT_CODE && emit(&y, *sight, room) == len &&
	       memcmp(room, left, len) == 0;
}

static const char *method(const struct memo_language *l, enum memo_lex_sight sight)
{
	return sight == MEMO_SIGHT_NONE ? l->language : sight == MEMO_SIGHT_LINES ? l->lines : l->shown;
}

static int normalise(struct memo_scan *x, const struct memo_language *l, enum memo_lex_sight seen,
		     struct memo_lexed *out)
{
	MEMO_AUTO_FREE unsigned char *class = calloc(1, x->len + 1);
	MEMO_AUTO_FREE char *left = malloc(x->len + 2);
	MEMO_AUTO_FREE char *room = malloc(x->len + 2);
	MEMO_AUTO_FREE char *spare = malloc(x->len + 2);
	if (class == NULL || left == NULL || room == NULL || spare == NULL)
		return -ENOMEM;
	x->class = class;
	x->spare = spare;
	size_t n = read_as(x, l, left);
	enum memo_lex_sight sight = x->own > seen ? x->own : seen;
	if (sight == MEMO_SIGHT_TEXT)
		memo_lex_doubt(x, "another file of the task may read its text");
	else if (sight == MEMO_SIGHT_CODE && l->shown == NULL)
		memo_lex_doubt(x, "what other files of the task keep of error messages may hold its text");
	if (x->reason != NULL)
		return 0;
	if (sight != MEMO_SIGHT_NONE)
		n = emit(x, sight, left);
	if (x->other != NULL) {
		enum memo_lex_sight both = sight;
		if (!reads_alike(x, &both, left, n, room) || both != sight) {
			memo_lex_doubt(x, "its name and its #! line say different languages");
			return 0;
		}
	}
	out->method = method(l, sight);
	out->number = l->number;
	return memo_buf_append(&out->normal, left, n);
}

int memo_lex_used(const char *name, const char *text, size_t len, const struct memo_lex_use *use,
		  struct memo_lexed *out)
{
	struct memo_lexed f = { .language = "unknown", .method = "bytes", .number = 1 };
	const char *slash = strrchr(name, '/');
	struct memo_scan x = { .text = text, .len = len, .base = slash != NULL ? slash + 1 : name };
	const struct memo_language *l = memo_lex_language(&x, name, use, &f);
	int r = l == NULL ? 0 : normalise(&x, l, use->seen, &f);
	if (r < 0) {
		memo_buf_clear(&f.normal);
		return r;
	}
	f.reason = x.reason;
	f.sight = x.others;
	f.keeps_errors = x.keeps_errors;
	*out = f;
	return 0;
}

int memo_lex(const char *name, const char *text, size_t len, struct memo_lexed *out)
{
	static const struct memo_lex_use unknown = { .seen = MEMO_SIGHT_NONE };
	return memo_lex_used(name, text, len, &unknown, out);
}
