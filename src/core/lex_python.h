/* The Python guard's two parts: what leads to the path of the program (lex_python_path.c), and all else
 * (lex_python_guard.c). Both look into the text that is left. */
#ifndef MEMO_CORE_LEX_PYTHON_H
#define MEMO_CORE_LEX_PYTHON_H

#include "lex_scan.h"

#define PATTERN_BYTES 64

struct left {
	const char *text, *end;
	const char *base; /* name of the file */
};

/* What of the program's own path is taken: the folder and the name make up the whole. */
struct path {
	bool folder, name;
};

/* sys.argv[0] is used as a path, or may be. Notes in @path what was taken of it otherwise. */
bool py_own_argument(const struct left *l, struct path *path);
/* sys.argv as a whole: gone through, taken apart, or under a name by which its first word is asked for. */
bool py_whole_argv(const struct left *l);
/* The same of __file__. *@others: that of another module is used. */
bool py_own_file(const struct left *l, struct path *path, bool *others);

static inline bool py_has(const struct left *l, const char *part)
{
	return memo_lex_find(l->text, (size_t)(l->end - l->text), part) != NULL;
}

static inline bool py_has_word(const struct left *l, const char *word)
{
	return memo_lex_find_word(l->text, (size_t)(l->end - l->text), word) != NULL;
}

static inline bool py_has_any(const struct left *l, const char *const *words)
{
	return memo_lex_find_any(l->text, (size_t)(l->end - l->text), words) != NULL;
}

static inline bool py_has_part(const struct left *l, const char *const *parts)
{
	for (; *parts != NULL; parts++)
		if (py_has(l, *parts))
			return true;
	return false;
}

static inline bool py_ends(const struct left *l, const char *at, const char *with)
{
	size_t n = strlen(with);
	return (size_t)(at - l->text) >= n && memcmp(at - n, with, n) == 0;
}

static inline bool py_begins(const struct left *l, const char *at, const char *with)
{
	size_t n = strlen(with);
	return (size_t)(l->end - at) >= n && memcmp(at, with, n) == 0;
}

static inline const char *py_line_of(const struct left *l, const char *at)
{
	const char *newline = memrchr(l->text, '\n', (size_t)(at - l->text));
	return newline != NULL ? newline + 1 : l->text;
}

#endif
