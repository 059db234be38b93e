/* Shell: sh and bash, whichever shell /bin/sh may be: what bash, dash and busybox do not read alike is a doubt.
 *
 * A '#' begins a comment only between words of a command, where the character before it (continued lines joined) is a
 * blank, a newline, ';', '&' or '|'. To know that, quotes, expansions and here-documents have to be followed; to know
 * where $( ) ends, case has to be, and for that it must be known where a reserved word is one: the position. */
#include "lex_shell.h"

#include <fnmatch.h>

enum position {
	COMMAND, /* a command begins here: reserved words count */
	UNSURE, /* behind an assignment, a redirection, the end of a compound command */
	ARGUMENT
};

struct state {
	enum shell_end end;
	enum position at;
	char before; /* the character before, where no word is being read */
	bool target; /* a redirection waits for its word */
	struct shell_word word;
	struct shell_command command;
};

static bool one_of(const struct shell_word *w, const char *const *words)
{
	for (; *words != NULL; words++)
		if (shell_is(w, *words))
			return true;
	return false;
}

/* ---- words --------------------------------------------------------------------------------------------------- */

/* The first word of a simple command. */
static void begin_command(struct shell *s, struct state *t)
{
	static const char *const shown[] = { "echo", "printf", NULL };
	static const char *const tested[] = { "[", "test", NULL };
	static const char *const awks[] = { "awk", "gawk", "mawk", "nawk", NULL };
	static const char *const declares[] = { "readonly", "local", "export", NULL };
	static const char *const enters[] = { "cd", "pushd", "chdir", NULL };
	static const char *const sources[] = { ".", "source", NULL };
	t->at = ARGUMENT;
	t->command.declares = one_of(&t->word, declares);
	t->command.exports = shell_is(&t->word, "export");
	s->enters = s->enters || one_of(&t->word, enters);
	s->sources = s->sources || one_of(&t->word, sources);
	t->command.echo = one_of(&t->word, shown);
	t->command.test = one_of(&t->word, tested);
	t->command.awk = one_of(&t->word, awks);
	t->command.cat = shell_is(&t->word, "cat");
}

static bool reserved(struct shell *s, struct state *t)
{
	static const char *const go_on[] = { "if", "then", "else", "elif", "do", "while", "until", "!", "{", NULL };
	static const char *const ends[] = { "fi", "done", "}", "time", "coproc", NULL };
	static const char *const loops[] = { "for", "select", NULL };
	struct memo_scan *x = s->x;
	struct shell_word *w = &t->word;
	if (shell_is(w, "case")) {
		t->at = UNSURE;
		return shell_case(s);
	}
	if (shell_is(w, "[[")) {
		t->at = UNSURE;
		return s->x->bash ? shell_double_bracket(s) : memo_lex_doubt(x, "a [[ in sh");
	}
	if (shell_is(w, "esac")) {
		s->stopped = t->end == SHELL_CASE;
		return s->stopped || memo_lex_doubt(x, "an esac without a case");
	}
	if (shell_is(w, "function")) {
		t->command.function = true;
		t->at = ARGUMENT;
		return x->bash || memo_lex_doubt(x, "a function in sh that is declared as in bash");
	}
	if (one_of(w, go_on))
		t->at = COMMAND;
	else if (one_of(w, ends))
		t->at = UNSURE;
	else
		begin_command(s, t);
	t->command.loop = one_of(w, loops);
	return true;
}

/* "cat *": patterns are expanded where the program runs, and it may lie there itself. Below a variable folder they may
 * matter when the program knows its own. */
static bool check_pattern(struct shell *s, const struct shell_word *w)
{
	const struct memo_scan *x = s->x;
	char last[SHELL_WORD + 1];
	size_t n = 0;
	while (n < w->end && n < SHELL_WORD && strchr(" \t\n/=;&|()<>", x->text[w->end - n - 1]) == NULL)
		n++;
	memcpy(last, x->text + w->end - n, n);
	last[n] = '\0';
	if (strpbrk(last, "*?[") == NULL || fnmatch(last, x->base, 0) != 0)
		return true;
	bool below = w->end > n && x->text[w->end - n - 1] == '/';
	bool own = strncmp(w->text, "./", 2) == 0 && strchr(w->text + 2, '/') == NULL;
	bool here = !below || own || strncmp(w->text, "../", 3) == 0;
	if (w->plain && here)
		return memo_lex_doubt(s->x, "a pattern that matches its own name");
	s->glob = s->glob || !w->plain;
	return true;
}

/* The name in front of the '=' of an assignment; "": it is longer than any that is looked after. */
static void assigned_name(const struct shell_word *w, char name[SHELL_WORD + 1])
{
	size_t n = strcspn(w->text, "=+[");
	bool fits = n < SHELL_WORD && w->text[n] != '\0';
	memcpy(name, w->text, fits ? n : 0);
	name[fits ? n : 0] = '\0';
}

/* "x=$0", "readonly x=$(basename "$0")": from here on what holds for $0 holds for $x. */
static void taint(struct shell *s, struct shell_command *c, const char *name)
{
	unsigned kinds = (c->zero ? TAINT_WHOLE : 0U) | (c->folder ? TAINT_FOLDER : 0U) |
			 (c->base ? TAINT_NAME : 0U);
	unsigned i = 0;
	if (kinds == 0)
		return;
	while (i < s->taints && strcmp(s->taint[i].name, name) != 0)
		i++;
	if (i == SHELL_TAINTS || name[0] == '\0' || (c->exports && c->zero)) {
		s->zero_bad = true;
		return;
	}
	if (i == s->taints)
		memcpy(s->taint[s->taints++].name, name, strlen(name) + 1);
	s->taint[i].kinds |= kinds;
	s->zero_dir = s->zero_dir || c->folder;
	c->zero = c->base = c->folder = false;
}

/* The word is complete. */
static bool end_word(struct shell *s, struct state *t)
{
	static const char *const open[] = { "case", "esac", "function", "[[", NULL };
	struct shell_word *w = &t->word;
	bool fine = true;
	if (!w->any)
		return true;
	if (t->command.words == 0)
		t->command.from = w->begin;
	t->command.words++;
	if (!check_pattern(s, w))
		return false;
	if (w->assign && !t->target && t->at != ARGUMENT) {
		t->command.assigned++;
		assigned_name(w, t->command.variable);
	} else if (w->assign && !t->target && t->command.declares) {
		char name[SHELL_WORD + 1];
		assigned_name(w, name);
		taint(s, &t->command, name);
	}
	if (t->target) {
		t->target = false;
		t->command.words--;
	} else if (t->at == COMMAND && w->assign) {
		t->at = UNSURE;
	} else if (t->at == COMMAND && w->plain) {
		fine = reserved(s, t);
	} else if (t->at == UNSURE && one_of(w, open)) {
		fine = memo_lex_doubt(s->x, "a reserved word where it may or may not count");
	} else if (shell_is(w, "[[")) {
		fine = memo_lex_doubt(s->x, "a [[ that begins no command");
	} else if (t->at != ARGUMENT && !w->assign) {
		begin_command(s, t);
	} else if (t->command.loop && t->command.words == 3 && shell_is(w, "do")) {
		t->at = COMMAND;
	} else if (t->command.function && t->command.words == 2) {
		t->at = COMMAND;
	}
	t->word = (struct shell_word){ 0 };
	t->before = 'w';
	return fine;
}

/* exec "/usr/lib/x/y" "$name": a program that has its place outside of the task, and gets the name as a word. */
static bool at_fixed_place(const struct shell *s, const struct shell_command *c)
{
	const struct memo_scan *x = s->x;
	size_t at = c->from;
	if (x->len - at > 5 && memcmp(x->text + at, "exec ", 5) == 0)
		at += 5;
	bool quoted = memo_lex_at(x, at) == '"';
	at += quoted;
	if (memo_lex_at(x, at) != '/')
		return false;
	while (memo_lex_name(memo_lex_at(x, at)) || strchr("/.-+", memo_lex_at(x, at)) != NULL)
		if (memo_lex_at(x, at++) == 0)
			return false;
	return memo_lex_at(x, at) == (quoted ? '"' : ' ') &&
	       memo_lex_find(x->text + c->from, x->at - c->from, "=") == NULL;
}

/* What becomes of $0 is known when the command is over. */
static bool end_command(struct shell *s, struct state *t, char by)
{
	struct shell_command *c = &t->command;
	if (t->target)
		return memo_lex_doubt(s->x, "a redirection without a target");
	bool goes_on = by == '|' || c->redirected || s->captured;
	if (c->assigned == 1 && c->words == 1 && by != '|' && !c->redirected)
		taint(s, c, c->variable);
	if (c->folder && c->base)
		s->zero_bad = true;
	s->zero_dir = s->zero_dir || c->folder;
	if (c->base && !goes_on && at_fixed_place(s, c)) {
		s->zero_given = true;
		c->base = false;
	}
	if (c->zero && !c->test && (!c->echo || goes_on))
		s->zero_bad = true;
	if (c->base && (!c->echo || goes_on))
		s->zero_base = true;
	for (size_t i = 0; i < s->heres; i++) {
		struct shell_here *h = &s->here[i];
		h->plain_cat = h->open ? c->cat && c->words == 1 && !goes_on : h->plain_cat;
		h->open = false;
	}
	*c = (struct shell_command){ 0 };
	t->at = COMMAND;
	return true;
}

/* ---- operators ----------------------------------------------------------------------------------------------- */

static bool newline(struct shell *s, struct state *t)
{
	if (!end_command(s, t, '\n'))
		return false;
	if (s->waiting > 0)
		return memo_lex_doubt(s->x, "a here-document begins on a line that goes on");
	s->x->at++;
	t->before = '\n';
	return s->heres == 0 || shell_bodies(s);
}

/* ';', '&', '|'. *@out: it was the ";;" of a case. */
static bool separator(struct shell *s, struct state *t, bool *out)
{
	struct memo_scan *x = s->x;
	char c = x->text[x->at];
	unsigned char next = memo_lex_at(x, x->at + 1);
	size_t wide = 1;
	t->before = c;
	if (c == ';' && (next == ';' || next == '&')) {
		wide = next == ';' && memo_lex_at(x, x->at + 2) == '&' ? 3 : 2;
		if (t->end != SHELL_CASE || (!x->bash && (next == '&' || wide == 3)))
			return memo_lex_doubt(x, "a ';;' outside of a case");
		*out = true;
	} else if (c == '&' && next == '>') {
		x->at += memo_lex_at(x, x->at + 2) == '>' ? 3 : 2;
		t->before = '>';
		t->target = true;
		t->command.redirected = true;
		t->at = t->at == ARGUMENT ? ARGUMENT : UNSURE;
		return x->bash || memo_lex_doubt(x, "an '&>' in sh");
	} else if (c != ';' && next == (unsigned char)c) {
		wide = 2;
		c = ';';
	} else if (c == '|' && next == '&') {
		if (!x->bash)
			return memo_lex_doubt(x, "a '|&' in sh");
		wide = 2;
	}
	x->at += wide;
	return end_command(s, t, c);
}

static bool digits(const struct shell_word *w)
{
	return w->plain && w->len > 0 && w->len <= SHELL_WORD && strspn(w->text, "0123456789") == w->len;
}

static bool redirection(struct shell *s, struct state *t)
{
	struct memo_scan *x = s->x;
	char c = x->text[x->at];
	unsigned char next = memo_lex_at(x, x->at + 1);
	if (next == '(') {
		if (!x->bash)
			return memo_lex_doubt(x, "a process substitution in sh");
		x->at += 2;
		shell_word_quoted(&t->word);
		return shell_substitution(s);
	}
	bool descriptor = digits(&t->word) || (t->word.plain && t->word.text[0] == '{' && t->word.last == '}');
	if (descriptor && !t->target)
		t->word = (struct shell_word){ 0 };
	size_t from = x->at;
	if (!end_word(s, t))
		return false;
	if (s->stopped || x->at != from)
		return memo_lex_doubt(x, "a redirection right behind a reserved word");
	if (t->target)
		return memo_lex_doubt(x, "a redirection without a target");
	t->at = t->at == ARGUMENT ? ARGUMENT : UNSURE;
	t->before = '>';
	if (c == '<' && next == '<' && memo_lex_at(x, x->at + 2) != '<') {
		bool tabs = memo_lex_at(x, x->at + 2) == '-';
		x->at += tabs ? 3 : 2;
		t->before = 'w';
		return shell_here(s, tabs);
	}
	bool to_error = c == '>' && next == '&' && memo_lex_at(x, x->at + 2) == '2' &&
			shell_metacharacter(memo_lex_at(x, x->at + 3));
	if (c == '<' && next == '<') {
		if (!x->bash)
			return memo_lex_doubt(x, "a '<<<' in sh");
		x->at += 3;
	} else {
		x->at += next == '&' || next == '>' || (c == '>' && next == '|') ? 2 : 1;
	}
	t->command.redirected = t->command.redirected || (c == '>' && !to_error) || next == '>';
	t->target = true;
	return true;
}

static bool subshell(struct shell *s, struct state *t)
{
	s->x->at++;
	struct shell_command *outer = s->command;
	bool fine = shell_commands(s, SHELL_PAREN);
	s->command = outer;
	t->at = UNSURE;
	t->before = ')';
	return fine;
}

/* '(' is a subshell, the parentheses of a function, an array, or (( )). */
static bool parenthesis(struct shell *s, struct state *t)
{
	struct memo_scan *x = s->x;
	struct shell_word *w = &t->word;
	unsigned char next = memo_lex_at(x, x->at + 1);
	if (w->any) {
		if (w->opens && x->bash) {
			x->at++;
			shell_word_quoted(w);
			w->assign = true;
			return shell_array(s);
		}
		bool named = t->at == COMMAND || (t->command.function && t->command.words == 1);
		if (next == ')' && named && w->plain && !w->assign && !t->target) {
			x->at += 2;
			*w = (struct shell_word){ 0 };
			t->before = ')';
			t->at = COMMAND; /* the body */
			return true;
		}
		return memo_lex_doubt(x, "a '(' within a word");
	}
	if (t->target)
		return memo_lex_doubt(x, "a '(' behind a redirection");
	if (next == ')' &&
	    ((t->at == ARGUMENT && t->command.words == 1) || (t->at == COMMAND && t->command.function))) {
		x->at += 2;
		t->at = COMMAND;
		t->before = ')';
		return true;
	}
	bool loop = t->command.loop && t->command.words == 1;
	if (next == '(' && (t->at == COMMAND || loop)) {
		x->at += 2;
		t->at = UNSURE;
		t->before = ')';
		return shell_arithmetic(s, loop);
	}
	if (t->at != COMMAND || next == ')')
		return memo_lex_doubt(x, "a '(' that is neither a subshell nor a function");
	return subshell(s, t);
}

static bool hash(struct shell *s, struct state *t)
{
	if (t->word.any)
		return shell_piece(s, &t->word);
	if (t->target || strchr(" \t\n;&|", t->before) == NULL)
		return memo_lex_doubt(s->x, "a '#' that may or may not begin a comment");
	return shell_comment(s);
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

/* An operator, a blank, or the end, where no word is being read. *@out: the commands are over. */
static bool between(struct shell *s, struct state *t, unsigned char c, bool *out)
{
	struct memo_scan *x = s->x;
	switch (c) {
	case 0:
		*out = true;
		if (t->end != SHELL_FILE || s->heres > 0)
			return memo_lex_doubt(x, "it ends within a command");
		return end_command(s, t, '\n');
	case ')':
		*out = true;
		if (t->end != SHELL_PAREN || s->heres > 0)
			return memo_lex_doubt(x, "a ')' that closes nothing");
		x->at++;
		return end_command(s, t, ')');
	case '\n':
		return newline(s, t);
	case ' ':
	case '\t':
		t->before = ' ';
		x->at++;
		return true;
	default:
		return separator(s, t, out);
	}
}

/* One step. A word that ends may be that of a compound command, which is then read as well. */
static bool step(struct shell *s, struct state *t, bool *out)
{
	struct memo_scan *x = s->x;
	unsigned char c = memo_lex_at(x, x->at);
	size_t from = x->at;
	bool pattern_opens = t->word.last != 0 && strchr("?*+@!", t->word.last) != NULL;
	if (c == '<' || c == '>')
		return redirection(s, t);
	if (c == '(' && !(x->bash && pattern_opens))
		return parenthesis(s, t);
	if (c == '#')
		return hash(s, t);
	if (shell_continued(x))
		return shell_continuation(s);
	if (c == '(' || !shell_metacharacter(c))
		return shell_piece(s, &t->word);
	if (!end_word(s, t))
		return false;
	*out = s->stopped;
	return s->stopped || x->at != from || between(s, t, c, out);
}

bool shell_commands(struct shell *s, enum shell_end end)
{
	struct state t = { .end = end, .at = COMMAND, .before = end == SHELL_FILE ? '\n' : '(' };
	struct shell_command *outer = s->command;
	bool out = false;
	if (++s->depth > MEMO_LEX_DEPTH)
		return memo_lex_doubt(s->x, "it is nested too deeply");
	struct shell_here held[SHELL_HERES];
	size_t heres = s->heres;
	if (end == SHELL_PAREN) {
		memcpy(held, s->here, sizeof held);
		s->waiting += heres;
		s->heres = 0;
	}
	s->command = &t.command;
	while (!out)
		if (!step(s, &t, &out))
			return false;
	s->command = outer;
	if (end == SHELL_PAREN) {
		memcpy(s->here, held, sizeof held);
		s->heres = heres;
		s->waiting -= heres;
	}
	s->depth--;
	return true;
}

bool shell_substitution(struct shell *s)
{
	size_t from = s->x->at;
	bool captured = s->captured;
	struct shell_command *outer = s->command, *around = s->around;
	s->around = s->captured ? NULL : outer;
	s->captured = true;
	s->keep++;
	if (!shell_commands(s, SHELL_PAREN))
		return false;
	s->keep--;
	s->captured = captured;
	s->command = outer;
	s->around = around;
	if (s->keep == 0)
		memo_lex_mark(s->x, from, s->x->at, LEX_VERBATIM);
	return true;
}
