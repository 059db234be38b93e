/* Which language a file is in: by the words that it is run by, its #! line, its suffix. */
#include "lex_scan.h"

static const struct memo_language languages[] = {
	{ "shell", "shell-lines", NULL, 1, memo_lex_shell, memo_lex_shell_guard },
	{ "python", "python-lines", "python-shown", 1, memo_lex_python, memo_lex_python_guard },
	{ "r", "r-lines", NULL, 1, memo_lex_r, memo_lex_r_guard },
	{ "awk", "awk-lines", NULL, 1, memo_lex_awk, memo_lex_awk_guard },
	{ "c", "c-lines", NULL, 1, memo_lex_c, memo_lex_c_guard },
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
	*rest = "";
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

static const struct memo_language *find_language(const char *name)
{
	for (size_t i = 0; i < KNOWN(languages); i++)
		if (strcmp(languages[i].language, name) == 0)
			return &languages[i];
	return NULL;
}

/* The last word of @run_by that is no option is the interpreter, if it is one; what follows are its options, which
 * must be those of a #! line, too. "awk -f" ends in an option. */
static const struct word *by_command(struct memo_scan *x, const char *const *run_by)
{
	const struct word *w = NULL;
	for (size_t i = 0; run_by[i] != NULL; i++) {
		if (run_by[i][0] != '-') {
			w = by_interpreter(run_by[i], strlen(run_by[i]));
			x->run_by = &run_by[i + 1];
		} else if (strpbrk(run_by[i], " \t\n") != NULL) {
			return NULL;
		}
	}
	return w;
}

/* How the file is run decides, then its #! line. A suffix that says something else is a second reading, which must
 * leave the same. */
const struct memo_language *memo_lex_language(struct memo_scan *x, const char *name, const struct memo_lex_use *use,
					      struct memo_lexed *out)
{
	const struct word *suffix = by_suffix(name);
	const struct word *chosen = suffix, *line = NULL;
	x->options = "";
	if (x->len > 2 && x->text[0] == '#' && x->text[1] == '!') {
		size_t n = 0;
		for (; n + 1 < sizeof x->line && n + 2 < x->len && strchr("\r\n", x->text[n + 2]) == NULL; n++)
			x->line[n] = x->text[n + 2]; /* strchr stops at a NUL as well */
		x->line[n] = '\0';
		chosen = line = by_shebang(x->line, &x->options);
		x->body = n + 2;
	}
	bool known = line != NULL || x->body == 0; /* what the #! line says, if there is one */
	if (use->run_by != NULL)
		chosen = by_command(x, use->run_by);
	const struct word *other = suffix;
	if (chosen != NULL && use->run_by != NULL && line != NULL && strcmp(line->language, chosen->language) != 0)
		other = line;
	out->language = chosen != NULL ? chosen->language : suffix != NULL ? suffix->language : "unknown";
	if (use->run_by == NULL && x->body > 0)
		out->language = chosen != NULL ? chosen->language : "unknown";
	const struct memo_language *l = find_language(out->language);
	/* bash reads what every shell reads alike; the reverse is not true */
	x->bash =
		chosen != NULL && chosen->kind == BASH && (line == NULL || line->kind == BASH) &&
		(suffix == NULL || suffix->kind == BASH || strcmp(suffix->language, "shell") != 0 || line != NULL);
	if (chosen == NULL && use->run_by != NULL)
		memo_lex_doubt(x, "it is given to a program that may read its text");
	else if (chosen == NULL || !known)
		memo_lex_doubt(x, "the language is not known, so every byte counts");
	else if (l == NULL)
		memo_lex_doubt(x, "there is no lexer for this language, so every byte counts");
	else if (chosen->kind == OTHER || (line != NULL && line->kind == OTHER))
		memo_lex_doubt(x, "there is no lexer for this interpreter, so every byte counts");
	else if (x->body > 0 && x->body < x->len && x->text[x->body] != '\n')
		memo_lex_doubt(x, "its #! line is too long, or ends in a carriage return");
	if (x->reason == NULL && other != NULL && strcmp(other->language, chosen->language) != 0) {
		x->other = find_language(other->language);
		if (x->other == NULL)
			memo_lex_doubt(x, "its name and its #! line say different languages");
	}
	return l;
}
