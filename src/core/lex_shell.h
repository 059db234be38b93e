/* The shell lexer's parts: commands (lex_shell.c), what has a syntax of its own (lex_shell_compound.c), what words are made
 * of (lex_shell_word.c), and $0 among them (lex_shell_zero.c). */
#ifndef MEMO_CORE_LEX_SHELL_H
#define MEMO_CORE_LEX_SHELL_H

#include "lex_scan.h"

#define SHELL_HERES 8 /* here-documents that begin on one line */
#define SHELL_WORD 32 /* of a word that are kept: reserved words and a few commands are shorter */
#define SHELL_DELIMITER 64
#define SHELL_TAINTS 8 /* variables that hold something of $0 */

/* What of the program's own path: all of it (or a text with it), its folder, its base name. */
enum { TAINT_WHOLE = 1, TAINT_FOLDER = 2, TAINT_NAME = 4 };

struct shell_taint {
	char name[SHELL_WORD + 1];
	unsigned kinds;
};

/* A here-document whose body begins at the next newline. */
struct shell_here {
	size_t word, len; /* the delimiter, in the text */
	bool quoted;
	bool tabs; /* <<- */
	bool plain_cat; /* a cat that shows it and does nothing else */
	bool open; /* its command has not ended yet */
};

/* The word that is being read. */
struct shell_word {
	bool any; /* it has begun */
	bool plain; /* no quote, escape or expansion in it */
	bool name; /* so far it is a name */
	bool subscript; /* so far a name and a subscript */
	bool assign; /* it is an assignment */
	bool opens; /* it ends in the '=' of an assignment: '(' begins an array */
	char last; /* its last character, 0 where that was quoted */
	char text[SHELL_WORD + 1]; /* its beginning, when plain */
	size_t begin, end; /* in the text, as far as it has been read */
	size_t len;
};

/* The simple command that is being read, as far as it matters what becomes of $0 in it. */
struct shell_command {
	unsigned words;
	bool echo, cat, test, awk;
	bool loop; /* for, select */
	bool function;
	bool redirected;
	bool zero; /* $0 among its words */
	bool base; /* the base name of $0 */
	bool folder; /* its folder */
	bool declares; /* readonly, local: its words may be assignments */
	bool exports;
	size_t from; /* where it begins in the text */
	unsigned assigned; /* assignments in front of it */
	char variable[SHELL_WORD + 1]; /* the last of them */
};

struct shell {
	struct memo_scan *x;
	unsigned depth;
	unsigned keep; /* within what is verbatim as a whole */
	bool body; /* within a here-document's body */
	bool body_cat; /* ... that is only shown */
	struct shell_here here[SHELL_HERES];
	size_t heres; /* of this nesting */
	size_t waiting; /* of the nestings around it */
	struct shell_command *command;
	bool captured; /* within $( ) */
	struct shell_command *around; /* the command whose words the $( ) is among */
	bool stopped; /* an esac ended the commands */
	/* $0 and BASH_SOURCE */
	bool zero_bad; /* somewhere they may lead to the text of the program */
	bool zero_dir, zero_base; /* used below dirname, basename */
	bool zero_given; /* the base name went, as a word, to a program at a fixed place */
	bool enters; /* there is a cd, so that a base name may be enough */
	bool sources; /* ... or a command that other files are read by */
	struct shell_taint taint[SHELL_TAINTS];
	unsigned taints;
	bool glob; /* a pattern below a folder that may be its own matches its name */
	size_t zeros; /* uses that were looked at */
};

/* Where the commands end. */
enum shell_end { SHELL_FILE, SHELL_PAREN, SHELL_CASE };

bool shell_commands(struct shell *s, enum shell_end end);
/* x->at is behind "$(", "<(" or ">(": all up to the ")" becomes verbatim. */
bool shell_substitution(struct shell *s);

/* lex_shell_compound.c. Behind "case", "[[", "name=(": to behind the end. */
bool shell_case(struct shell *s);
bool shell_double_bracket(struct shell *s);
bool shell_array(struct shell *s);

bool shell_is(const struct shell_word *w, const char *text); /* all of it, and plain */
bool shell_metacharacter(unsigned char c); /* ends a word; 0: the end */
/* A backslash and a newline join two lines: for the rules they are not there. */
bool shell_continued(const struct memo_scan *x);
bool shell_continuation(struct shell *s);
/* At a '#' that begins a comment. */
bool shell_comment(struct shell *s);

/* lex_shell_zero.c. $0, BASH_SOURCE or a variable that holds it, from @from to @to, braces included; @rest: what the
 * braces hold behind the name. */
void shell_zero(struct shell *s, size_t from, size_t to, const char *rest, size_t len);
/* The variable that is named at @at, if it holds something of $0. */
void shell_tainted(struct shell *s, size_t from, size_t at, size_t to, const char *rest, size_t len);
/* Within backquotes: only what is written plainly. */
void shell_zeros_opaque(struct shell *s, size_t from, size_t to);

/* One piece of a word at x->at: a quotation, an expansion, a character. Never at a blank, newline or operator. */
bool shell_piece(struct shell *s, struct shell_word *w);
bool shell_dollar(struct shell *s, bool quoted);
bool shell_backquote(struct shell *s);
/* Behind "((": to behind "))". */
bool shell_arithmetic(struct shell *s, bool semicolons);
/* Behind "<<" or "<<-": notes the here-document. The bodies: x->at is behind the newline. */
bool shell_here(struct shell *s, bool tabs);
bool shell_bodies(struct shell *s);
/* The word begins, or goes on, with something that is not plain. */
void shell_word_quoted(struct shell_word *w);

#endif
