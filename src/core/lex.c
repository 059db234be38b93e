/* The common part: which language, what no lexer can read, comments that count, and the normal form. */
#include "lex.h"

#include "base/scope.h"
#include "lex_scan.h"
#include "value.h"

#include <errno.h>

#define INTERPRETER_BYTES 256 /* of a #! line that are looked at, as in Linux */
#define KNOWN(table) (sizeof(table) / sizeof((table)[0]))

/* ---- languages ------------------------------------------------------------------------------------------- */

struct language {
	const char *language;
	const char *lines; /* the method that keeps every newline */
	int number; /* of both methods */
	bool (*lex)(struct memo_scan *x);
	bool (*guard)(struct memo_scan *x, const char *left, size_t len);
};

static const struct language languages[] = {
	{ "shell", "shell-lines", 1, memo_lex_shell, memo_lex_shell_guard },
	{ "python", "python-lines", 1, memo_lex_python, memo_lex_python_guard },
	{ "r", "r-lines", 1, memo_lex_r, memo_lex_r_guard },
	{ "awk", "awk-lines", 1, memo_lex_awk, memo_lex_awk_guard },
	{ "c", "c-lines", 1, memo_lex_c, memo_lex_c_guard },
};

struct word {
	const char *word; /* a suffix or an interpreter */
	const char *language;
	enum { ANY, BASH, OTHER } kind; /* OTHER: a dialect that no lexer reads */
};

static const struct word suffixes[] = {
	{ ".sh", "shell", ANY }, { ".bash", "shell", BASH },   { ".py", "python", ANY }, { ".R", "r", ANY },
	{ ".r", "r", ANY },	 { ".awk", "awk", ANY },       { ".c", "c", ANY },	 { ".h", "c", ANY },
	{ ".pl", "perl", ANY },	 { ".js", "javascript", ANY }, { ".jl", "julia", ANY },
};

static const struct word interpreters[] = {
	{ "sh", "shell", ANY },	     { "bash", "shell", BASH },	    { "dash", "shell", ANY },
	{ "ash", "shell", ANY },     { "ksh", "shell", OTHER },	    { "zsh", "shell", OTHER },
	{ "python", "python", ANY }, { "pypy", "python", ANY },	    { "Rscript", "r", ANY },
	{ "R", "r", OTHER },	     { "r", "r", OTHER },	    { "awk", "awk", ANY },
	{ "gawk", "awk", ANY },	     { "mawk", "awk", ANY },	    { "nawk", "awk", ANY },
	{ "perl", "perl", ANY },     { "node", "javascript", ANY }, { "nodejs", "javascript", ANY },
	{ "julia", "julia", ANY },
};

/* @len bytes of @word, without a directory in front and a version behind ("python3.11"). */
static const struct word *by_interpreter(const char *word, size_t len)
{
	const char *slash = memrchr(word, '/', len);
	if (slash != NULL) {
		len -= (size_t)(slash + 1 - word);
		word = slash + 1;
	}
	while (len > 1 && (memo_lex_digit((unsigned char)word[len - 1]) || word[len - 1] == '.'))
		len--;
	for (size_t i = 0; i < KNOWN(interpreters); i++)
		if (strlen(interpreters[i].word) == len && memcmp(interpreters[i].word, word, len) == 0)
			return &interpreters[i];
	return NULL;
}

/* What the words of a #! line name: "/bin/sh -e", "/usr/bin/env -S LANG=C python3 -u". *@rest: behind it. */
static const struct word *by_shebang(const char *line, const char **rest)
{
	bool env = false;
	for (const char *p = line + strspn(line, " \t"); *p != '\0'; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		bool is_env = !env && len >= 3 && memcmp(p + len - 3, "env", 3) == 0 &&
			      (len == 3 || p[len - 4] == '/');
		bool option = env && (*p == '-' || memchr(p, '=', len) != NULL);
		if (!is_env && !option) {
			*rest = p + len;
			return by_interpreter(p, len);
		}
		env = true;
		p += len;
	}
	return NULL;
}

static const struct word *by_suffix(const char *name)
{
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot != NULL && i < KNOWN(suffixes); i++)
		if (strcmp(suffixes[i].word, dot) == 0)
			return &suffixes[i];
	return NULL;
}

static const struct language *find_language(const char *name)
{
	for (size_t i = 0; i < KNOWN(languages); i++)
		if (strcmp(languages[i].language, name) == 0)
			return &languages[i];
	return NULL;
}

/* The #! line decides how a file runs, so it comes first; a suffix that says something else is a doubt. @line keeps
 * what x->options points to. NULL with a reason: no lexer. */
static const struct language *choose(struct memo_scan *x, const char *name, char line[INTERPRETER_BYTES],
				     struct memo_lexed *out)
{
	const struct word *suffix = by_suffix(name);
	const struct word *chosen = suffix;
	const char *rest = "";
	bool shebang = x->len > 2 && x->text[0] == '#' && x->text[1] == '!';
	if (shebang) {
		size_t n = 0;
		for (; n + 1 < INTERPRETER_BYTES && n + 2 < x->len && strchr("\r\n", x->text[n + 2]) == NULL; n++)
			line[n] = x->text[n + 2]; /* strchr stops at a NUL as well */
		line[n] = '\0';
		chosen = by_shebang(line, &rest);
		x->body = n + 2;
	}
	out->language = chosen != NULL ? chosen->language : "unknown";
	x->options = rest;
	x->bash = chosen != NULL && chosen->kind == BASH;
	const struct language *l = find_language(out->language);
	if (chosen == NULL)
		memo_lex_doubt(x, "the language is not known, so every byte counts");
	else if (l == NULL)
		memo_lex_doubt(x, "there is no lexer for this language, so every byte counts");
	else if (chosen->kind == OTHER)
		memo_lex_doubt(x, "there is no lexer for this interpreter, so every byte counts");
	else if (suffix != NULL && strcmp(suffix->language, chosen->language) != 0)
		memo_lex_doubt(x, "its name and its #! line say different languages");
	else if (shebang && x->body < x->len && x->text[x->body] != '\n')
		memo_lex_doubt(x, "its #! line is too long, or ends in a carriage return");
	return x->reason != NULL ? NULL : l;
}

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

bool memo_lex_options(const struct memo_scan *x, const char *letters, const char *const *words)
{
	for (const char *p = x->options + strspn(x->options, " \t"); *p != '\0'; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		bool fine = len > 1 && p[0] == '-' && strspn(p + 1, letters) == len - 1;
		for (size_t i = 0; !fine && words[i] != NULL; i++)
			fine = strlen(words[i]) == len && memcmp(words[i], p, len) == 0;
		if (!fine)
			return false;
		p += len;
	}
	return true;
}

/* ---- before and after a lexer ------------------------------------------------------------------------------ */

/* What can mean something else to one program than to the other: in some locales the second byte of a character looks
 * like a quote. */
static bool check_bytes(struct memo_scan *x, bool shell)
{
	if (x->len > MEMO_LEX_BYTES)
		return memo_lex_doubt(x, "it is larger than 1 MiB");
	const char *allowed = shell ? "\t\n\r\f\033" : "\t\n";
	for (size_t i = 0; i < x->len; i++) {
		unsigned char c = (unsigned char)x->text[i];
		if ((c < 0x20 && (c == 0 || strchr(allowed, c) == NULL)) || c == 0x7f)
			return memo_lex_doubt(x,
					      c == '\r' ? "it has carriage returns" : "it has control characters");
	}
	if (!memo_value_utf8_ok(x->text, x->len))
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
static size_t emit(const struct memo_scan *x, bool lines, char *out)
{
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
		switch (x->class[i]) {
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
			out[n++] = c;
			hard = n;
			fresh = false;
			break;
		default:
			if (c == '\n') {
				n = hard;
				if (lines || !fresh)
					out[n++] = c;
				hard = n;
				fresh = true;
			} else {
				out[n++] = c;
				if (!memo_lex_blank((unsigned char)c)) {
					hard = n;
					fresh = false;
				}
			}
		}
	}
	return hard;
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

static int normalise(struct memo_scan *x, const struct language *l, struct memo_lexed *out)
{
	MEMO_AUTO_FREE unsigned char *class = calloc(1, x->len + 1);
	MEMO_AUTO_FREE char *left = malloc(x->len + 2);
	if (class == NULL || left == NULL)
		return -ENOMEM;
	x->class = class;
	x->at = x->body;
	if (!l->lex(x))
		return 0;
	size_t n = emit(x, false, left);
	if (!l->guard(x, left, n) || !check_own_name(x, left, n))
		return 0;
	if (x->lines)
		n = emit(x, true, left);
	out->method = x->lines ? l->lines : l->language;
	out->number = l->number;
	return memo_buf_append(&out->normal, left, n);
}

int memo_lex(const char *name, const char *text, size_t len, struct memo_lexed *out)
{
	struct memo_lexed f = { .language = "unknown", .method = "bytes", .number = 1 };
	const char *slash = strrchr(name, '/');
	struct memo_scan x = { .text = text, .len = len, .base = slash != NULL ? slash + 1 : name };
	char line[INTERPRETER_BYTES];
	const struct language *l = choose(&x, name, line, &f);
	int r = 0;
	x.shell = l != NULL && l->lex == memo_lex_shell;
	if (l != NULL && check_bytes(&x, x.shell))
		r = normalise(&x, l, &f);
	if (r < 0) {
		memo_buf_clear(&f.normal);
		return r;
	}
	f.reason = x.reason;
	*out = f;
	return 0;
}
