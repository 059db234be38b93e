/* Lex: the text of a code file without its comments, where that is provably the same program.
 *
 * One strict lexer for each language marks every byte as plain code, verbatim (a string, a here-document, a regular
 * expression), or removable comment. It **gives up on the whole file the moment it meets something that it does not
 * know for certain**; then the method is "bytes". So a construct without a rule of its own costs a needless execution
 * and never a wrong result.
 *
 * The text is cut, not split into tokens. Normal form, of what is not verbatim:
 *	first line	the #! line, or an empty line where there is none, so that "first" and "further down" differ
 *	comments	left out, with the blanks before them; a block comment becomes one blank
 *	line ends	blanks before them are left out; of a run of newlines one is kept
 *	all else	as it is, blanks and indentation included
 * Comments that somebody acts on (#SBATCH, a coding line, "fall through") stay.
 *
 * How much a program can see of its own text decides how much may go (enum memo_lex_sight):
 *	NONE	"<language>": as above
 *	LINES	"<language>-lines": the numbers of its lines (LINENO, profiles, warnings). Every newline is kept; the
 *		wording of a comment is free
 *	CODE	"python-shown": the text of its statements, as a traceback shows it. Every newline is kept, and every
 *		byte of a line with code on it; so are comments within brackets and within classes, which Python
 *		3.13 shows as part of a statement. Other comments with a line of their own may be reworded. A language
 *		without this form counts byte for byte
 *	TEXT	all of it ($0, __file__, inspect.getsource): byte for byte
 * A file of several may be seen by another (a traceback shows the lines of every file that took part; what is
 * written to stderr may be kept by whoever started the program), so each tells what it can see of the others, and the
 * caller says what the others can see of it.
 *
 * The number of a method is raised by any change that gives some text *another normal form under the same method*.
 * It stays where a text that had one method gets another (from "bytes" to "python", say, as a lexer learns to read
 * more; or from "python" to "python-shown", as a guard becomes stricter): the method is part of what is hashed, so
 * the two digests cannot be the same, and the old entry cannot be found by the new digest. Nor is it lost while its
 * code is not edited: it is found by its bytes (store.h: aliases). Linear in time; files beyond MEMO_LEX_BYTES and
 * nesting beyond MEMO_LEX_DEPTH give up. Any bytes may come in. Pure. */
#ifndef MEMO_CORE_LEX_H
#define MEMO_CORE_LEX_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define MEMO_LEX_BYTES ((size_t)1 << 20)
#define MEMO_LEX_DEPTH 60

enum memo_lex_sight { MEMO_SIGHT_NONE, MEMO_SIGHT_LINES, MEMO_SIGHT_CODE, MEMO_SIGHT_TEXT };

/* What is known beside the text. All zero: nothing. */
struct memo_lex_use {
	/* the words that it is run by, in front of its name, an interpreter and its options, NULL-ended; NULL: by its
	 * #! line or in a way that is not known */
	const char *const *run_by;
	enum memo_lex_sight seen; /* by what is around it */
};

struct memo_lexed {
	struct memo_buf normal; /* empty when @reason is set */
	const char *language; /* "shell", "unknown" ...: static */
	const char *method; /* "shell", "shell-lines" ... or "bytes": static */
	int number;
	/* What it can see of other files of its language, and whether it keeps what other programs write to stderr. These
	 * are also told where the lexer gave up. */
	enum memo_lex_sight sight;
	bool keeps_errors;
	const char *reason; /* why bytes, a sentence without a full stop: static; NULL: not bytes */
};

/* @name: of the file; its suffix counts, and its base name must not be mentioned in the text. Fails with -ENOMEM
 * only. Clear @out->normal afterwards. */
MEMO_MUST int memo_lex(const char *name, const char *text, size_t len, struct memo_lexed *out);
MEMO_MUST int memo_lex_used(const char *name, const char *text, size_t len, const struct memo_lex_use *use,
			    struct memo_lexed *out);
/* A text, as a command's word, that redirects stderr to where it is kept. */
bool memo_lex_keeps_errors(const char *text, size_t len);

#endif
