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
 * Comments that somebody acts on (#SBATCH, a coding line, "fall through") stay. Programs that can see their own line
 * numbers get the method "<language>-lines": the same, with every newline kept, so that the wording of a comment is
 * free and its length in lines is not. Programs that may read their own text are compared byte for byte.
 *
 * The number of a method is raised by any change that alters the normal form of some file. Linear in time; files
 * beyond MEMO_LEX_BYTES and nesting beyond MEMO_LEX_DEPTH give up. Any bytes may come in. Pure. */
#ifndef MEMO_CORE_LEX_H
#define MEMO_CORE_LEX_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>

#define MEMO_LEX_BYTES ((size_t)1 << 20)
#define MEMO_LEX_DEPTH 60

struct memo_lexed {
	struct memo_buf normal; /* empty when @reason is set */
	const char *language; /* "shell", "unknown" ...: static */
	const char *method; /* "shell", "shell-lines" ... or "bytes": static */
	int number;
	const char *reason; /* why bytes, a sentence without a full stop: static; NULL: not bytes */
};

/* @name: of the file; its suffix counts, and its base name must not be mentioned in the text. Fails with -ENOMEM
 * only. Clear @out->normal afterwards. */
MEMO_MUST int memo_lex(const char *name, const char *text, size_t len, struct memo_lexed *out);

#endif
