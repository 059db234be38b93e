/* What the lexers share; private to lex*.c.
 *
 * A scan holds the text and a class for each byte, plain code at first. A lexer walks over the text, marks what is not
 * plain, and returns false as soon as it is unsure: memo_lex_doubt() notes the first reason and returns false, so that
 * a doubt travels up through every caller. */
#ifndef MEMO_CORE_LEX_SCAN_H
#define MEMO_CORE_LEX_SCAN_H

#include "lex.h"

#include <stdbool.h>
#include <string.h>

/* LEX_HELD: a comment that stays where code is shown. LEX_DOC: verbatim, a string that is a statement of its own. */
enum { LEX_CODE, LEX_VERBATIM, LEX_DOC, LEX_COMMENT, LEX_HELD, LEX_BLOCK };

#define INTERPRETER_BYTES 256 /* of a #! line that are looked at, as in Linux */
#define KNOWN(table) (sizeof(table) / sizeof((table)[0]))

struct memo_scan;

struct memo_language {
	const char *language;
	const char *lines, *shown; /* the other methods; NULL: it has none */
	int number; /* of all of them */
	bool (*lex)(struct memo_scan *x);
	bool (*guard)(struct memo_scan *x, const char *left, size_t len);
};

struct memo_scan {
	const char *text;
	size_t len;
	size_t at;
	unsigned char *class; /* one for each byte */
	char *spare; /* room for as many, for a guard */
	size_t body; /* where the #! line ends: its newline, or the end */
	const char *base; /* base name of the file */
	const char *options; /* the words behind the interpreter in the #! line, with NUL */
	const char *const *run_by; /* those of the command that runs it; NULL: none */
	const struct memo_language *other; /* that must read it alike; NULL: none */
	char line[INTERPRETER_BYTES]; /* what @options points to */
	bool shell;
	bool bytes; /* not UTF-8, but of one byte a character */
	bool crlf; /* a carriage return before a newline belongs to it */
	bool bash; /* shell only: bash is what runs it; else any shell */
	size_t zeros; /* shell only: uses of $0 that the lexer has looked at */
	enum memo_lex_sight own; /* set by lexer and guard: what it can see of itself */
	enum memo_lex_sight others; /* ... and of others, if that is more */
	bool keeps_errors;
	const char *reason;
};

/* Each lexer: marks comments and verbatim text from @at on, and checks the options of the #! line. */
bool memo_lex_shell(struct memo_scan *x);
bool memo_lex_python(struct memo_scan *x);
bool memo_lex_r(struct memo_scan *x);
bool memo_lex_awk(struct memo_scan *x);
bool memo_lex_c(struct memo_scan *x);
/* It names an encoding of one byte a character, and where that counts. */
bool memo_lex_python_bytes(const struct memo_scan *x);
/* Each guard: looks at the text that is left (the normal form) for what makes comments or line numbers count. */
bool memo_lex_shell_guard(struct memo_scan *x, const char *left, size_t len);
bool memo_lex_python_guard(struct memo_scan *x, const char *left, size_t len);
bool memo_lex_r_guard(struct memo_scan *x, const char *left, size_t len);
bool memo_lex_awk_guard(struct memo_scan *x, const char *left, size_t len);
bool memo_lex_c_guard(struct memo_scan *x, const char *left, size_t len);

/* Sets what the scan has to know of it. NULL, with a reason: no lexer for it. A reason without NULL: a lexer that must
 * not be used, but whose guard may. */
const struct memo_language *memo_lex_language(struct memo_scan *x, const char *name, const struct memo_lex_use *use,
					      struct memo_lexed *out);

bool memo_lex_doubt(struct memo_scan *x, const char *reason);
void memo_lex_mark(struct memo_scan *x, size_t from, size_t to, unsigned char class);
/* A line comment that begins with '#' at x->at: moves to its newline or the end, and marks it unless it is one that
 * somebody acts on. */
void memo_lex_hash_comment(struct memo_scan *x);
/* @word in @text; as a word: not within a longer one. NULL: no. */
const char *memo_lex_find(const char *text, size_t len, const char *word);
const char *memo_lex_find_word(const char *text, size_t len, const char *word);
/* The first of a NULL-ended list that is found, or NULL. */
const char *memo_lex_find_any(const char *text, size_t len, const char *const *words);
/* The options are all in the list of letters, as "-eu"; or in the NULL-ended list of words. */
bool memo_lex_options(const struct memo_scan *x, const char *letters, const char *const *words);

/* The byte at @i, 0 beyond the end. (No text that gets here holds a NUL.) */
static inline unsigned char memo_lex_at(const struct memo_scan *x, size_t i)
{
	return i < x->len ? (unsigned char)x->text[i] : 0;
}

static inline bool memo_lex_blank(unsigned char c)
{
	return c == ' ' || c == '\t';
}

static inline bool memo_lex_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* Letters, digits, underscore. */
static inline bool memo_lex_name(unsigned char c)
{
	return memo_lex_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif
