/* Shell: what becomes of $0, BASH_SOURCE and the variables that hold something of them. Its folder alone, or its name
 * alone, does not lead to the text of the program. */
#include "lex_shell.h"

/* Steps back over @word, and the blanks in front of it, when it stands right before @at. */
static bool back(const char *text, size_t *at, const char *word)
{
	size_t n = strlen(word);
	if (*at < n || memcmp(text + *at - n, word, n) != 0)
		return false;
	*at -= n;
	while (*at > 0 && memo_lex_blank((unsigned char)text[*at - 1]))
		(*at)--;
	return true;
}

static void back_quotes(const char *text, size_t *at)
{
	while (*at > 0 && (text[*at - 1] == '"' || memo_lex_blank((unsigned char)text[*at - 1])))
		*at -= *at > 1 && text[*at - 1] == '"' && text[*at - 2] == '\\' ? 2 : 1;
}

static bool is_command(const char *text, size_t at, const char *word)
{
	size_t to = at;
	return back(text, &to, word) && (to == 0 || !memo_lex_name((unsigned char)text[at - strlen(word) - 1]));
}

/* dirname "$0", basename "$0" .sh, dirname "$(readlink -f "$0")": the name alone, or the folder alone, does not lead to
 * the text. */
static bool below(const char *text, size_t at, const char *command)
{
	static const char *const skipped[] = { "--", "-f", "-e", "-m", "-s" };
	back_quotes(text, &at);
	size_t real = at;
	for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
		(void)back(text, &real, skipped[i]);
	if (is_command(text, real, command))
		return true;
	if (!back(text, &real, "readlink") && !back(text, &real, "realpath"))
		return false;
	if (!back(text, &real, "$(") && !back(text, &real, "`"))
		return false;
	back_quotes(text, &real);
	(void)back(text, &real, "--");
	return is_command(text, real, command);
}

/* Steps over @word and the blanks behind it, when it stands at @at. */
static bool skip(const struct memo_scan *x, size_t *at, const char *word)
{
	size_t n = strlen(word);
	if (x->len - *at < n || memcmp(x->text + *at, word, n) != 0)
		return false;
	*at += n;
	while (memo_lex_blank(memo_lex_at(x, *at)))
		(*at)++;
	return true;
}

/* echo "$0" | sed 's,/[^/]*$,,': the folder; 's,.*\/,,': the name; 's,\\,/,g' below dirname: the folder. 0: none of
 * them. */
static unsigned edited(const struct memo_scan *x, size_t from, size_t to)
{
	static const struct {
		const char *script;
		unsigned kind;
	} known[] = {
		{ "'s|.*/||'", TAINT_NAME },	   { "'s,.*/,,'", TAINT_NAME },
		{ "'s/.*\\///'", TAINT_NAME },	   { "'s,/[^/]*$,,'", TAINT_FOLDER },
		{ "'s|/[^/]*$||'", TAINT_FOLDER }, { "'s,[^/]*$,,'", TAINT_FOLDER },
		{ "'s,\\\\,/,g'", TAINT_WHOLE },
	};
	size_t at = from, end = to;
	back_quotes(x->text, &at);
	if (!is_command(x->text, at, "echo") || !back(x->text, &at, "echo"))
		return 0;
	bool captured = back(x->text, &at, "$(") || back(x->text, &at, "`");
	end += memo_lex_at(x, end) == '"';
	while (memo_lex_blank(memo_lex_at(x, end)))
		end++;
	if (!captured || !skip(x, &end, "|") || (!skip(x, &end, "sed ") && !skip(x, &end, "/bin/sed ")))
		return 0;
	(void)skip(x, &end, "-e ");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t to_end = end;
		if (!skip(x, &to_end, known[i].script) ||
		    (memo_lex_at(x, to_end) != ')' && memo_lex_at(x, to_end) != '`'))
			continue;
		if (known[i].kind != TAINT_WHOLE)
			return known[i].kind;
		back_quotes(x->text, &at);
		return is_command(x->text, at, "dirname") ? TAINT_FOLDER : 0;
	}
	return 0;
}

/* A use of what is not the whole path. @shows: the command that it ends up in, or NULL. */
static void part(struct shell *s, struct shell_command *shows, unsigned kinds)
{
	if (shows != NULL) {
		shows->base = shows->base || (kinds & TAINT_NAME) != 0; /* which is fine where it is only shown */
		shows->folder = shows->folder || (kinds & TAINT_FOLDER) != 0;
		return;
	}
	s->zero_base = s->zero_base || (kinds & TAINT_NAME) != 0;
	s->zero_dir = s->zero_dir || (kinds & TAINT_FOLDER) != 0;
}

static struct shell_command *shown_by(const struct shell *s)
{
	return s->body ? NULL : s->captured ? s->around : s->command != NULL ? s->command : s->around;
}

/* $0, BASH_SOURCE or a variable that holds it, from @from to @to, braces included; @rest: what the braces hold behind
 * the name. */
void shell_zero(struct shell *s, size_t from, size_t to, const char *rest, size_t len)
{
	const struct memo_scan *x = s->x;
	size_t end = to + (memo_lex_at(x, to) == '\\' && memo_lex_at(x, to + 1) == '"');
	end += memo_lex_at(x, end) == '"';
	unsigned char next = memo_lex_at(x, end);
	bool whole = next == 0 || strchr(" \t\n)`;|\"", next) != NULL;
	unsigned kind = len == 0 ? edited(x, from, to) : 0;
	s->zeros++;
	if ((len == 4 && memcmp(rest, "##*/", 4) == 0) || (len == 0 && whole && below(x->text, from, "basename")))
		kind = TAINT_NAME;
	else if ((len == 3 && memcmp(rest, "%/*", 3) == 0) ||
		 (len == 0 && whole && below(x->text, from, "dirname")))
		kind = TAINT_FOLDER;
	if (kind != 0)
		part(s, shown_by(s), kind);
	else if (s->body)
		s->zero_bad = s->zero_bad || !s->body_cat || s->keep > 1;
	else if (s->command != NULL)
		s->command->zero = true;
	else
		s->zero_bad = true;
}

/* The variable that is named at @at, if it holds something of $0. */
void shell_tainted(struct shell *s, size_t from, size_t at, size_t to, const char *rest, size_t len)
{
	const struct memo_scan *x = s->x;
	for (unsigned i = 0; i < s->taints; i++) {
		const struct shell_taint *t = &s->taint[i];
		size_t n = strlen(t->name);
		if (x->len - at < n || memcmp(x->text + at, t->name, n) != 0 ||
		    memo_lex_name(memo_lex_at(x, at + n)))
			continue;
		if ((t->kinds & TAINT_WHOLE) != 0)
			shell_zero(s, from, to, rest, len);
		part(s, shown_by(s), t->kinds & ~(unsigned)TAINT_WHOLE);
	}
}

/* Within backquotes: only what is written as above. */
void shell_zeros_opaque(struct shell *s, size_t from, size_t to)
{
	const struct memo_scan *x = s->x;
	struct shell_command *outer = s->command;
	struct shell_command *around = s->around;
	bool body = s->body;
	s->around = s->captured || s->body ? NULL : outer;
	s->command = NULL;
	s->body = false;
	for (size_t i = from; i + 1 < to; i++) {
		if (x->text[i] != '$')
			continue;
		size_t n = memo_lex_at(x, i + 1) == '{' ? i + 2 : i + 1;
		bool source = x->len - n >= 11 && memcmp(x->text + n, "BASH_SOURCE", 11) == 0;
		if (memo_lex_at(x, n) == '0')
			shell_zero(s, i, n + 1, "", n > i + 1);
		else if (source)
			shell_zero(s, i, n + 11, "", n > i + 1);
		else if (memo_lex_at(x, n) == '_' && !memo_lex_name(memo_lex_at(x, n + 1)))
			s->zero_bad = true;
		else if (memo_lex_name(memo_lex_at(x, n))) {
			size_t end = n;
			while (memo_lex_name(memo_lex_at(x, end)))
				end++;
			shell_tainted(s, i, n, end, "", n > i + 1);
		}
	}
	s->command = outer;
	s->around = around;
	s->body = body;
}
