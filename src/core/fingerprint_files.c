/* The files of one task: what each can see of the others, and how the command runs them, decide how much of its comments
 * counts. */
#include "fingerprint.h"

#include "base/scope.h"
#include "lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILES 64 /* whose texts are searched for each other's names; beyond, every byte counts */

struct seen {
	const char *language;
	enum memo_lex_sight sight;
	bool keeps_errors;
	bool folder;
};

static bool name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* What stands in front of a name: a program or a word that runs a file, reads it as code of its own, or compiles it. */
static bool runs(const char *text, const char *at)
{
	static const char *const runners[] = { "sh",	  "bash",	"dash",	   ".",	      "source",
					       "exec",	  "python",	"python2", "python3", "Rscript",
					       "source(", "executable", "-f",	   "include", NULL };
	while (at > text && (name_byte(at[-1]) || strchr("./${}-+\"'", at[-1]) != NULL))
		at--;
	const char *end = at;
	while (end > text && strchr(" \t\"',(", end[-1]) != NULL)
		end--;
	const char *begin = end;
	while (begin > text && (name_byte(begin[-1]) || strchr(".-", begin[-1]) != NULL))
		begin--;
	if (end == text || strchr("\n;&|", end[-1]) != NULL)
		return end == text || end[-1] != '|' || at > end; /* it is the command itself */
	for (size_t i = 0; runners[i] != NULL; i++) {
		size_t n = strlen(runners[i]);
		const char *word = begin;
		const char *slash = memrchr(begin, '/', (size_t)(end - begin));
		word = slash != NULL ? slash + 1 : word;
		if ((size_t)(end - word) == n && memcmp(word, runners[i], n) == 0)
			return true;
	}
	return false;
}

/* @text mentions the file @name otherwise than to run it. */
static bool reads(const char *text, size_t len, const char *name)
{
	const char *slash = strrchr(name, '/'), *base = slash != NULL ? slash + 1 : name;
	size_t n = strlen(base);
	if (n == 0 || len == 0 || strchr(base, '.') == NULL)
		return false;
	for (const char *p = text; (p = memmem(p, (size_t)(text + len - p), base, n)) != NULL; p += n) {
		bool inner = (p > text && name_byte(p[-1])) || (p + n < text + len && name_byte(p[n]));
		if (!inner && !runs(text, p))
			return true;
	}
	return false;
}

/* The position of @name among the words of the command; 0: it is none of them, or the program itself. */
static size_t run_at(const struct memo_task *t, const char *name)
{
	for (size_t i = 1; i < t->commands; i++) {
		const char *word = t->command[i];
		if (strncmp(word, "./", 2) == 0)
			word += 2;
		if (strcmp(word, name) == 0)
			return i;
	}
	return 0;
}

/* Messages hold line numbers, and those of Python and of compilers text as well. */
static enum memo_lex_sight in_errors(const char *language)
{
	bool text = strcmp(language, "python") == 0 || strcmp(language, "c") == 0;
	return text ? MEMO_SIGHT_CODE : MEMO_SIGHT_LINES;
}

/* A compiler that is told to keep the places of the source. */
static bool keeps_places(const char *text, size_t len)
{
	static const char *const options[] = { " -g",  "-fsanitize",  "-fprofile", "--coverage",
					       "make", "-save-temps", "-C",	   NULL };
	for (size_t i = 0; len > 0 && options[i] != NULL; i++)
		if (memmem(text, len, options[i], strlen(options[i])) != NULL)
			return true;
	return len >= 2 && memcmp(text, "-g", 2) == 0;
}

/* One of @words stands in it, as a word of its own. */
static bool has_word(const char *text, size_t len, const char *const *words)
{
	for (; *words != NULL && len > 0; words++) {
		size_t n = strlen(*words);
		for (const char *p = text; (p = memmem(p, (size_t)(text + len - p), *words, n)) != NULL; p += n) {
			if ((p == text || !name_byte(p[-1])) && (p + n == text + len || !name_byte(p[n])))
				return true;
		}
	}
	return false;
}

/* A word of dots and slashes at @i, which names a folder, where it is an argument. */
static bool names_folder(const char *text, size_t len, size_t i)
{
	size_t end = i;
	while (end < len && (text[end] == '.' || text[end] == '/'))
		end++;
	if (end == i || (end < len && strchr(" \t\n;|&)", text[end]) == NULL))
		return false;
	while (i > 0 && strchr(" \t", text[i - 1]) != NULL)
		i--;
	return i > 0 && strchr("\n;&|({", text[i - 1]) == NULL; /* else it is the command that reads in a file */
}

/* A pattern that the shell fills in with names of files, or a folder as an argument. */
static bool shell_pattern(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char before = i > 0 ? text[i - 1] : '\n';
		char after = i + 1 < len ? text[i + 1] : '\n';
		bool begins = strchr(" \t", before) != NULL;
		if ((text[i] == '*' && before != '$' && after != ')') || (text[i] == '?' && before != '$') ||
		    (text[i] == '[' && (begins || before == '/') && strchr(" \t\n[", after) == NULL) ||
		    (begins && names_folder(text, len, i)))
			return true;
	}
	return false;
}

/* The files of a command lie in its work directory: whatever takes in a whole folder sees them, or their sizes. */
static bool takes_folder(const char *language, const char *text, size_t len)
{
	static const char *const programs[] = { "ls",  "dir", "vdir", "find", "du",  "tree",  "git",  "make",
						"tar", "zip", "cpio", "PWD",  "pwd", "rsync", "glob", NULL };
	static const char *const calls[] = { "listdir", "scandir", "glob",	 "walk",      "iterdir",  "rglob",
					     "fwalk",	"walk",	   "list.files", "list.dirs", "Sys.glob", "dir",
					     "system",	"popen",   "subprocess", NULL };
	if (strcmp(language, "shell") == 0)
		return has_word(text, len, programs) || shell_pattern(text, len);
	return has_word(text, len, calls);
}

static void raise_to(enum memo_lex_sight *sight, enum memo_lex_sight to)
{
	if (*sight < to)
		*sight = to;
}

/* What is around the file @i sees of it. */
static enum memo_lex_sight around(const struct memo_task *t, const struct memo_fingerprint_text *text, size_t n,
				  const struct seen *seen, size_t i)
{
	enum memo_lex_sight sight = n > MAX_FILES ? MEMO_SIGHT_TEXT : MEMO_SIGHT_NONE;
	bool c = strcmp(seen[i].language, "c") == 0;
	if (seen[i].folder)
		raise_to(&sight, MEMO_SIGHT_TEXT);
	for (size_t k = 0; k < n && sight < MEMO_SIGHT_TEXT; k++) {
		if (k == i)
			continue;
		if (strcmp(seen[k].language, seen[i].language) == 0)
			raise_to(&sight, seen[k].sight);
		if (seen[k].keeps_errors)
			raise_to(&sight, in_errors(seen[i].language));
		if (seen[k].folder)
			raise_to(&sight, MEMO_SIGHT_TEXT);
		if (reads(text[k].data, text[k].len, text[i].name) ||
		    (c && keeps_places(text[k].data, text[k].len)))
			raise_to(&sight, MEMO_SIGHT_TEXT);
	}
	for (size_t k = 0; k < t->commands && sight < MEMO_SIGHT_TEXT; k++) {
		const char *word = t->command[k];
		size_t len = strlen(word);
		if (memo_lex_keeps_errors(word, len))
			raise_to(&sight, in_errors(seen[i].language));
		bool program = strchr(word, ' ') != NULL;
		if ((program && (reads(word, len, text[i].name) || takes_folder("shell", word, len))) ||
		    (c && keeps_places(word, len)))
			raise_to(&sight, MEMO_SIGHT_TEXT);
	}
	return sight;
}

static int survey(const struct memo_task *t, const struct memo_fingerprint_text *text, size_t n, struct seen *seen)
{
	for (size_t i = 0; i < n; i++) {
		struct memo_lexed x;
		int r = memo_lex(text[i].name, text[i].data, text[i].len, &x);
		if (r < 0)
			return r;
		bool cut = x.normal.len > 0;
		seen[i] = (struct seen){ .language = x.language, .sight = x.sight, .keeps_errors = x.keeps_errors };
		seen[i].folder = t->script == NULL && (cut ? takes_folder(x.language, x.normal.data, x.normal.len)
							   : takes_folder(x.language, text[i].data, text[i].len));
		memo_buf_clear(&x.normal);
	}
	return 0;
}

int memo_fingerprint_files(const struct memo_task *t, const struct memo_fingerprint_text *text, size_t n,
			   struct memo_fingerprint *out, struct memo_err *err)
{
	MEMO_AUTO_FREE struct seen *seen = calloc(n + 1, sizeof *seen);
	MEMO_AUTO_FREE const char **run_by = calloc(t->commands + 1, sizeof *run_by);
	int r = seen == NULL || run_by == NULL ? -ENOMEM : survey(t, text, n, seen);
	if (r < 0)
		return memo_fail(err, r, "task '%s': out of memory", t->name);
	for (size_t i = 0; i < n; i++) {
		size_t at = run_at(t, text[i].name);
		for (size_t k = 0; k < t->commands; k++)
			run_by[k] = k < at ? t->command[k] : NULL;
		struct memo_lex_use use = { .run_by = at > 0 ? run_by : NULL, .seen = around(t, text, n, seen, i) };
		r = memo_fingerprint_used(text[i].name, text[i].data, text[i].len, &use, &out[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}
