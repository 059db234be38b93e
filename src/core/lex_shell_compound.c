/* Shell: what has a syntax of its own within commands: case, [[ ]], arrays; and the small tests that all parts use. */
#include "lex_shell.h"

bool shell_is(const struct shell_word *w, const char *text)
{
	return w->plain && w->len <= SHELL_WORD && strcmp(w->text, text) == 0;
}

bool shell_metacharacter(unsigned char c)
{
	return c == 0 || strchr(" \t\n;&|()<>", c) != NULL;
}

/* A backslash and a newline join two lines: for the rules they are not there. */
bool shell_continuation(struct shell *s)
{
	struct memo_scan *x = s->x;
	if (s->heres > 0 || s->waiting > 0)
		return memo_lex_doubt(x, "a line is continued where a here-document is about to begin");
	memo_lex_mark(x, x->at, x->at + 2, LEX_VERBATIM);
	x->at += 2;
	return true;
}

bool shell_continued(const struct memo_scan *x)
{
	return memo_lex_at(x, x->at) == '\\' && memo_lex_at(x, x->at + 1) == '\n';
}

bool shell_comment(struct shell *s)
{
	if (s->body)
		return memo_lex_doubt(s->x, "a comment within a here-document");
	memo_lex_hash_comment(s->x);
	return true;
}

/* ---- case ------------------------------------------------------------------------------------------------ */

/* Blanks, newlines and comments between the parts of a case. */
static bool gap(struct shell *s)
{
	struct memo_scan *x = s->x;
	bool blank = false;
	for (;;) {
		unsigned char c = memo_lex_at(x, x->at);
		if (c == '\n' && (s->heres > 0 || s->waiting > 0))
			return memo_lex_doubt(x, "a here-document begins in the head of a case");
		if (c == '#' && blank) {
			if (!shell_comment(s))
				return false;
		} else if (shell_continued(x)) {
			if (!shell_continuation(s))
				return false;
		} else if (c == '\n' || memo_lex_blank(c)) {
			blank = true;
			x->at++;
		} else {
			return true;
		}
	}
}

static bool blanks(struct shell *s)
{
	struct memo_scan *x = s->x;
	for (;;) {
		if (memo_lex_blank(memo_lex_at(x, x->at)))
			x->at++;
		else if (!shell_continued(x))
			return true;
		else if (!shell_continuation(s))
			return false;
	}
}

/* A word up to a metacharacter. */
static bool whole_word(struct shell *s, struct shell_word *w)
{
	struct memo_scan *x = s->x;
	*w = (struct shell_word){ 0 };
	while (!shell_metacharacter(memo_lex_at(x, x->at)) ||
	       (memo_lex_at(x, x->at) == '(' && w->last != 0 && strchr("?*+@!", w->last) != NULL)) {
		if (shell_continued(x) ? !shell_continuation(s) : !shell_piece(s, w))
			return false;
	}
	return true;
}

/* One pattern list with its ')'. *@esac: it was the end of the case. */
static bool pattern(struct shell *s, bool *esac)
{
	struct memo_scan *x = s->x;
	if (!gap(s))
		return false;
	bool paren = memo_lex_at(x, x->at) == '(';
	x->at += paren;
	for (bool first = true;; first = false) {
		struct shell_word w;
		if (!blanks(s))
			return false;
		if (memo_lex_at(x, x->at) == '#')
			return memo_lex_doubt(x, "a '#' in a pattern of a case");
		if (!whole_word(s, &w))
			return false;
		if (first && !paren && shell_is(&w, "esac")) {
			*esac = true;
			return true;
		}
		if (!blanks(s))
			return false;
		unsigned char c = memo_lex_at(x, x->at);
		if (!w.any || (c != ')' && c != '|') || shell_is(&w, "esac"))
			return memo_lex_doubt(x, "a case whose patterns are not plain");
		x->at++;
		if (c == ')')
			return true;
	}
}

/* Behind the word "case". */
bool shell_case(struct shell *s)
{
	struct memo_scan *x = s->x;
	struct shell_word w;
	struct shell_command own = { .test = true }; /* what decides a case goes nowhere else */
	struct shell_command *outer = s->command;
	s->command = &own;
	bool fine = gap(s) && whole_word(s, &w) && w.any && gap(s) && whole_word(s, &w) && shell_is(&w, "in");
	s->command = outer;
	if (!fine)
		return memo_lex_doubt(x, "a case whose head is not plain");
	for (;;) {
		bool esac = false;
		if (!pattern(s, &esac))
			return false;
		if (esac)
			return true;
		if (!shell_commands(s, SHELL_CASE))
			return false;
		if (s->stopped) {
			s->stopped = false;
			return true;
		}
	}
}

/* ---- [[ ]] and arrays ---------------------------------------------------------------------------------------- */

/* Behind "[[". Operators are part of the expression; a bare '#' is never a comment that we would vouch for. */
bool shell_double_bracket(struct shell *s)
{
	struct memo_scan *x = s->x;
	struct shell_word w = { 0 };
	struct shell_command *outer = s->command;
	struct shell_command own = { .test = true };
	s->command = &own;
	for (;;) {
		unsigned char c = memo_lex_at(x, x->at);
		if (shell_metacharacter(c) && shell_is(&w, "]]"))
			break;
		if (c == 0 || c == ';' || c == '#' || ((c == '<' || c == '>') && memo_lex_at(x, x->at + 1) != ' '))
			return memo_lex_doubt(x, "a [[ ]] that is not plain");
		if (c == '\n' && (s->heres > 0 || s->waiting > 0))
			return memo_lex_doubt(x, "a here-document begins on a line that goes on");
		if (shell_continued(x)) {
			if (!shell_continuation(s))
				return false;
		} else if (!shell_metacharacter(c)) {
			if (!shell_piece(s, &w))
				return false;
		} else {
			x->at++;
			w = (struct shell_word){ 0 };
		}
	}
	s->command = outer;
	return true;
}

/* Behind "name=(": words, comments and newlines up to ")". */
bool shell_array(struct shell *s)
{
	struct memo_scan *x = s->x;
	unsigned char before = '(';
	for (;;) {
		unsigned char c = memo_lex_at(x, x->at);
		if (c == ')') {
			x->at++;
			return true;
		}
		if (c == '\n' && (s->heres > 0 || s->waiting > 0))
			return memo_lex_doubt(x, "a here-document begins on a line that goes on");
		if (c == '\n' || memo_lex_blank(c)) {
			before = c;
			x->at++;
		} else if (c == '#' && before != '(') {
			if (!shell_comment(s))
				return false;
		} else if (shell_continued(x)) {
			if (!shell_continuation(s))
				return false;
		} else {
			struct shell_word w;
			if (shell_metacharacter(c) || c == '#' || c == '[')
				return memo_lex_doubt(x, "an array that is not plain");
			if (!whole_word(s, &w))
				return false;
			before = 'w';
		}
	}
}
