/* Shell words: quotations, expansions, arithmetic, subscripts, extended patterns; and here-documents.
 *
 * All of it is verbatim. What counts is only where it ends, and that each shell sees that end at the same place. */
#include "lex_shell.h"

void shell_word_quoted(struct shell_word *w)
{
	w->any = true;
	w->plain = false;
	w->name = false;
	w->subscript = false;
	w->opens = false;
	w->last = 0;
}

static bool newline_within(struct shell *s, size_t from, size_t to)
{
	if ((s->heres > 0 || s->waiting > 0) && memchr(s->x->text + from, '\n', to - from) != NULL)
		return memo_lex_doubt(s->x, "a here-document begins on a line that goes on");
	return true;
}

/* Marks from @from to where the scan is. */
static bool verbatim(struct shell *s, size_t from)
{
	memo_lex_mark(s->x, from, s->x->at, LEX_VERBATIM);
	return newline_within(s, from, s->x->at);
}

/* ---- quotations ---------------------------------------------------------------------------------------------- */

/* At the opening quote. */
static bool single_quoted(struct shell *s)
{
	struct memo_scan *x = s->x;
	const char *end = memchr(x->text + x->at + 1, '\'', x->len - x->at - 1);
	if (end == NULL)
		return memo_lex_doubt(x, "a quote that is not closed");
	/* its own $0 is none of ours */
	for (size_t i = x->at; s->command != NULL && s->command->awk && x->text + i + 1 < end; i++)
		s->zeros += x->text[i] == '$' && x->text[i + 1] == '0';
	x->at = (size_t)(end + 1 - x->text);
	return true;
}

/* At "$'". An escaped quote is read alike only by the newest shells. */
static bool ansi_quoted(struct shell *s)
{
	struct memo_scan *x = s->x;
	if (!x->bash)
		return memo_lex_doubt(x, "a $'...' in sh");
	for (x->at += 2; x->at < x->len; x->at++) {
		char c = x->text[x->at];
		if (c == '\'') {
			x->at++;
			return true;
		}
		if (c == '\\' && memo_lex_at(x, ++x->at) == '\'')
			return memo_lex_doubt(x, "an escaped quote in a $'...'");
	}
	return memo_lex_doubt(x, "a quote that is not closed");
}

/* At the opening quote. */
static bool double_quoted(struct shell *s)
{
	struct memo_scan *x = s->x;
	if (++s->depth > MEMO_LEX_DEPTH)
		return memo_lex_doubt(x, "it is nested too deeply");
	for (x->at++; x->at < x->len;) {
		char c = x->text[x->at];
		bool fine = true;
		if (c == '"') {
			x->at++;
			s->depth--;
			return true;
		}
		if (c == '\\')
			x->at += 2;
		else if (c == '$')
			fine = shell_dollar(s, true);
		else if (c == '`')
			fine = shell_backquote(s);
		else
			x->at++;
		if (!fine)
			return false;
	}
	return memo_lex_doubt(x, "a quote that is not closed");
}

bool shell_backquote(struct shell *s)
{
	struct memo_scan *x = s->x;
	size_t from = x->at++;
	for (; x->at < x->len; x->at++) {
		char c = x->text[x->at];
		if (c == '`') {
			x->at++;
			shell_zeros_opaque(s, from, x->at);
			return true;
		}
		if (c == '\\')
			x->at++;
	}
	return memo_lex_doubt(x, "a backquote that is not closed");
}

/* ---- expansions ---------------------------------------------------------------------------------------------- */

/* A quotation within ${ } within double quotes: some shells see a quotation there and some do not, so it must be one in
 * which that makes no difference. At the opening quote. */
static bool simple_quoted(struct memo_scan *x)
{
	char quote = x->text[x->at++];
	for (; x->at < x->len; x->at++) {
		unsigned char c = (unsigned char)x->text[x->at];
		if (c == (unsigned char)quote) {
			x->at++;
			return true;
		}
		bool named = memo_lex_name(memo_lex_at(x, x->at + 1));
		bool expands = (quote == '"' && c == '$' && named) || (quote == '\'' && c == '\\' && named);
		if (!memo_lex_name(c) && !expands && strchr("./:, =@+-", c) == NULL)
			break;
	}
	return memo_lex_doubt(x, "quotes within ${ } within double quotes");
}

/* Behind "${": up to "}". */
static bool braces(struct shell *s, bool quoted)
{
	struct memo_scan *x = s->x;
	size_t from = x->at;
	unsigned char c = memo_lex_at(x, x->at);
	if (c == 0 || strchr(" \t\n|{}'\"\\`$(", c) != NULL)
		return memo_lex_doubt(x, "a ${ } that does not begin with a name");
	while (x->at < x->len) {
		bool fine = true;
		c = (unsigned char)x->text[x->at];
		if (c == '}')
			break;
		if (c == '{' || c == '\n')
			return memo_lex_doubt(x, "a ${ } that is not plain");
		if (c == '\\' && (x->at == from || memo_lex_at(x, x->at + 1) == '\n'))
			return memo_lex_doubt(x, "a ${ } that is not plain");
		if (c == '\\')
			x->at += 2;
		else if (c == '\'' || c == '"')
			fine = quoted ? simple_quoted(x) : c == '"' ? double_quoted(s) : single_quoted(s);
		else if (c == '$')
			fine = shell_dollar(s, quoted);
		else if (c == '`')
			fine = shell_backquote(s);
		else
			x->at++;
		if (!fine)
			return false;
	}
	if (x->at >= x->len)
		return memo_lex_doubt(x, "a ${ } that is not closed");
	const char *name = x->text + from;
	size_t len = x->at - from, skipped = 0;
	if (name[0] == '_' && (len == 1 || !memo_lex_name((unsigned char)name[1])))
		s->zero_bad = true;
	if (name[0] == '0' && (len == 1 || !memo_lex_name((unsigned char)name[1])))
		skipped = 1;
	else if (len >= 11 && memcmp(name, "BASH_SOURCE", 11) == 0)
		skipped = len >= 14 && memcmp(name + 11, "[0]", 3) == 0 ? 14 : 11;
	x->at++;
	if (skipped > 0) {
		shell_zero(s, from - 2, x->at, name + skipped, len - skipped);
	} else {
		size_t n = name[0] == '#' && len > 1
				   ? 1
				   : 0; /* its length says nothing, but is no reason to be exact */
		size_t end = n;
		while (end < len && memo_lex_name((unsigned char)name[end]))
			end++;
		shell_tainted(s, from - 2, from + n, x->at, name + end, len - end);
	}
	return true;
}

/* At '$'. @quoted: within double quotes or a here-document. */
bool shell_dollar(struct shell *s, bool quoted)
{
	struct memo_scan *x = s->x;
	size_t from = x->at;
	unsigned char next = memo_lex_at(x, x->at + 1);
	bool fine = true;
	if (++s->depth > MEMO_LEX_DEPTH)
		return memo_lex_doubt(x, "it is nested too deeply");
	if (next == '\\' && memo_lex_at(x, x->at + 2) == '\n')
		return memo_lex_doubt(x, "a '$' at the end of a continued line");
	if (next == '[')
		return memo_lex_doubt(x, "a $[");
	x->at++;
	if (next == '{') {
		x->at++;
		fine = braces(s, quoted);
	} else if (next == '(' && memo_lex_at(x, x->at + 1) == '(') {
		x->at += 2;
		fine = shell_arithmetic(s, false);
	} else if (next == '(') {
		x->at++;
		fine = shell_substitution(s);
	} else if (next == '\'' && !quoted) {
		x->at--;
		fine = ansi_quoted(s);
	} else if (next != 0 && strchr("#?$!*@-", next) != NULL) {
		x->at++;
	} else if (memo_lex_digit(next)) {
		x->at++;
		if (next == '0')
			shell_zero(s, from, x->at, "", 0);
	} else {
		while (memo_lex_name(memo_lex_at(x, x->at)))
			x->at++;
		if (x->at - from == 2 && next == '_') /* the path of the program, at first */
			s->zero_bad = true;
		if (x->at - from == 12 && memcmp(x->text + from, "$BASH_SOURCE", 12) == 0)
			shell_zero(s, from, x->at, "", 0);
		else if (x->at > from + 1)
			shell_tainted(s, from, from + 1, x->at, "", 0);
	}
	s->depth--;
	return fine;
}

/* Only with characters that cannot be anything but arithmetic: $(( may also be a subshell in a substitution. */
bool shell_arithmetic(struct shell *s, bool semicolons)
{
	struct memo_scan *x = s->x;
	unsigned depth = 0;
	for (; x->at < x->len; x->at++) {
		unsigned char c = (unsigned char)x->text[x->at];
		unsigned char next = memo_lex_at(x, x->at + 1);
		if (c == ')' && depth == 0) {
			x->at += 2;
			return next == ')' || memo_lex_doubt(x, "a $(( that may not be arithmetic");
		}
		depth += c == '(';
		depth -= c == ')';
		if (c == '$' && (next == '{' || next == '(')) {
			if (!shell_dollar(s, true))
				return false;
			x->at--;
		} else if (c == '$' && next != 0 && strchr("#?$!", next) != NULL) {
			x->at++;
		} else if (c == '$' ? !memo_lex_name(next) || next == '0'
				    : !memo_lex_name(c) && (c != ';' || !semicolons) &&
					      strchr(" \t()+-*/%<>=!&|^~?:,[]", c) == NULL) {
			return memo_lex_doubt(x, "arithmetic that is not plain");
		}
	}
	return memo_lex_doubt(x, "arithmetic that is not closed");
}

/* ---- pieces -------------------------------------------------------------------------------------------------- */

/* At '[' behind a name: bash reads an assignment's subscript in one go, blanks and '#' included. */
static bool subscript(struct shell *s, struct shell_word *w)
{
	struct memo_scan *x = s->x;
	unsigned depth = 0;
	bool quoted = false;
	size_t from = x->at;
	for (; x->at < x->len; x->at++) {
		unsigned char c = (unsigned char)x->text[x->at];
		depth += c == '[';
		depth -= c == ']';
		if (c == ']' && depth == 0) {
			x->at++;
			memo_lex_mark(x, from, x->at, LEX_VERBATIM);
			w->name = false;
			w->subscript = true;
			w->last = ']';
			w->plain = false;
			return true;
		}
		unsigned char next = memo_lex_at(x, x->at + 1);
		if (c == '$' && next == '{') {
			if (!shell_dollar(s, true))
				return false;
			x->at--;
		} else if (c == '"') {
			quoted = !quoted;
		} else if (!memo_lex_name(c) && (c != '$' || !memo_lex_name(next)) &&
			   strchr("[]+-*/@.:!^,?", c) == NULL && c < 0x80) {
			break;
		}
		if (quoted && (c == '[' || c == ']'))
			break;
	}
	return memo_lex_doubt(x, "a '[' behind a name that is not plain");
}

/* At the '(' of an extended pattern. */
static bool extended(struct shell *s, struct shell_word *w)
{
	struct memo_scan *x = s->x;
	unsigned depth = 0;
	for (; x->at < x->len; x->at++) {
		unsigned char c = (unsigned char)x->text[x->at];
		depth += c == '(';
		depth -= c == ')';
		if (strchr("'\"`$#\\\n<>;&", c) != NULL)
			break;
		if (c == ')' && depth == 0) {
			x->at++;
			shell_word_quoted(w);
			return true;
		}
	}
	return memo_lex_doubt(x, "an extended pattern that is not plain");
}

static void plain(struct memo_scan *x, struct shell_word *w)
{
	unsigned char c = (unsigned char)x->text[x->at++];
	bool first = !w->any;
	bool named = w->name || w->subscript;
	bool adds = c == '+' && named && memo_lex_at(x, x->at) == '=';
	w->opens = false;
	if (c == '=' && named && !w->assign) {
		w->assign = true;
		w->opens = true;
		w->name = false;
		w->subscript = false;
	} else if (!adds) {
		w->name = (first || w->name) && memo_lex_name(c) && !(first && memo_lex_digit(c));
		w->subscript = false;
	}
	w->plain = first || w->plain;
	w->any = true;
	w->last = (char)c;
	if (w->len < SHELL_WORD) /* a longer one is none that we know */
		w->text[w->len] = (char)c;
	w->len++;
}

static bool piece(struct shell *s, struct shell_word *w)
{
	struct memo_scan *x = s->x;
	size_t from = x->at;
	bool fine;
	switch (x->text[x->at]) {
	case '\\':
		if (x->at + 1 >= x->len)
			return memo_lex_doubt(x, "it ends in a backslash");
		x->at += 2;
		fine = true;
		break;
	case '\'':
		fine = single_quoted(s);
		break;
	case '"':
		fine = double_quoted(s);
		break;
	case '`':
		fine = shell_backquote(s);
		break;
	case '$':
		fine = shell_dollar(s, false);
		break;
	case '(':
		return extended(s, w);
	case '[':
		if (w->name)
			return subscript(s, w);
		plain(x, w);
		return true;
	default:
		plain(x, w);
		return true;
	}
	shell_word_quoted(w);
	return fine && verbatim(s, from);
}

bool shell_piece(struct shell *s, struct shell_word *w)
{
	if (!w->any)
		w->begin = s->x->at;
	bool fine = piece(s, w);
	w->end = s->x->at;
	return fine;
}

/* ---- here-documents ------------------------------------------------------------------------------------------- */

bool shell_here(struct shell *s, bool tabs)
{
	struct memo_scan *x = s->x;
	struct shell_here h = { .tabs = tabs, .open = true };
	while (memo_lex_blank(memo_lex_at(x, x->at)))
		x->at++;
	size_t from = x->at;
	unsigned char quote = memo_lex_at(x, x->at);
	h.quoted = quote == '\'' || quote == '"' || quote == '\\';
	x->at += h.quoted;
	h.word = x->at;
	while (memo_lex_name(memo_lex_at(x, x->at)) ||
	       (memo_lex_at(x, x->at) != 0 && strchr("-.!+,:%@", memo_lex_at(x, x->at)) != NULL))
		x->at++;
	h.len = x->at - h.word;
	bool closed = !h.quoted || quote == '\\' || memo_lex_at(x, x->at) == quote;
	x->at += h.quoted && quote != '\\';
	unsigned char next = memo_lex_at(x, x->at);
	if (h.len == 0 || h.len > SHELL_DELIMITER || !closed || next == 0 || strchr(" \t\n;&|)<>", next) == NULL)
		return memo_lex_doubt(x, "a here-document whose delimiter is not plain");
	if (s->heres == SHELL_HERES)
		return memo_lex_doubt(x, "too many here-documents on one line");
	if (s->body)
		return memo_lex_doubt(x, "a here-document within a here-document");
	memo_lex_mark(x, from, x->at, LEX_VERBATIM);
	s->here[s->heres++] = h;
	return true;
}

/* The text from @from to @to, expanded as in double quotes but for the quotes. */
static bool expand_body(struct shell *s, const struct shell_here *h, size_t from, size_t to)
{
	struct memo_scan *x = s->x;
	size_t len = x->len, heres = s->heres;
	x->at = from;
	x->len = to;
	s->heres = 0;
	s->body = true;
	s->body_cat = h->plain_cat;
	s->keep++;
	bool fine = true;
	while (fine && x->at < to) {
		char c = x->text[x->at];
		if (c == '$')
			fine = shell_dollar(s, true);
		else if (c == '`')
			fine = shell_backquote(s);
		else
			x->at += c == '\\' ? 2 : 1;
	}
	s->keep--;
	s->body = false;
	s->heres = heres;
	x->len = len;
	return fine;
}

/* Lines that are joined may make up a delimiter, and a delimiter that is joined to the line before is none, but not to
 * every shell. */
static bool joins_delimiter(const struct memo_scan *x, const struct shell_here *h, size_t from, size_t to)
{
	size_t n = to - from;
	return n <= h->len && memcmp(x->text + from, x->text + h->word, n) == 0;
}

static bool body(struct shell *s, const struct shell_here *h)
{
	struct memo_scan *x = s->x;
	size_t from = x->at;
	bool joined = false;
	for (size_t line = from; line < x->len;) {
		const char *nl = memchr(x->text + line, '\n', x->len - line);
		if (nl == NULL)
			break;
		size_t end = (size_t)(nl - x->text), begin = line;
		while (h->tabs && x->text[begin] == '\t')
			begin++;
		if (end - begin == h->len && memcmp(x->text + begin, x->text + h->word, h->len) == 0) {
			if (joined)
				return memo_lex_doubt(x, "a here-document whose last line ends in a backslash");
			if (!h->quoted && !expand_body(s, h, from, line))
				return false;
			memo_lex_mark(x, from, end, LEX_VERBATIM);
			x->at = end + 1;
			return true;
		}
		size_t slashes = 0;
		while (end - slashes > begin && x->text[end - slashes - 1] == '\\')
			slashes++;
		joined = !h->quoted && slashes % 2 == 1;
		if (joined && joins_delimiter(x, h, begin, end - 1))
			return memo_lex_doubt(x, "a here-document with a line that may be part of its delimiter");
		line = end + 1;
	}
	return memo_lex_doubt(x, "a here-document that does not end");
}

bool shell_bodies(struct shell *s)
{
	for (size_t i = 0; i < s->heres; i++)
		if (!body(s, &s->here[i]))
			return false;
	s->heres = 0;
	return true;
}
