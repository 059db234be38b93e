/* What makes a shell program depend on its own text or line numbers, looked for in the normal form: words that lead to
 * the text, to a descriptor that reads it, to reading it in another way (aliases), and messages of the shell, which
 * hold line numbers, where they may be kept. */
#include "lex_shell.h"

static const char *const to_text[] = { "BASH_ARGV", "BASH_ARGV0", "BASH_EXECUTION_STRING",
				       "histchars", "HISTFILE",	  "interactive_comments",
				       NULL };
static const char *const own_descriptors[] = { "/proc/thread", "/proc/$", "/proc/*", "/proc/\"",
					       "/proc/[",      "/proc/?", "/proc/'", NULL };
/* Below /proc/self: what does not lead to the text. */
static const char *const self[] = { "status", "maps",	  "ns",	     "cgroup",	"mountinfo", "mounts",
				    "limits", "loginuid", "uid_map", "gid_map", "setgroups", NULL };
static const char *const numbers[] = { "LINENO", "BASH_LINENO", "caller", NULL };
static const char *const later[] = { "eval", "trap", NULL };
static const char *const posix[] = { "expand_aliases", "posix", "POSIXLY_CORRECT", NULL };

/* Grows with every variable and every kind. */
static unsigned sum(const struct shell *s)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->taints; i++)
		n += 8 + s->taint[i].kinds;
	return n;
}

/* The variables that hold something of $0 are set and expanded, and nothing else: not read, exported, given to a file
 * that is sourced, or reached through another name. */
static bool taints_are_plain(const struct shell *s)
{
	static const char *const ways[] = { "eval", "trap", "allexport", "env", "printenv", NULL };
	static const char *const parts[] = { "set -a",	   "declare -n", "local -n", "typeset -n",
					     "declare -p", "typeset -p", NULL };
	const struct memo_scan *x = s->x;
	bool whole = false, both = s->zero_dir && (s->zero_base || s->zero_given);
	for (unsigned i = 0; i < s->taints; i++)
		both = both || ((s->taint[i].kinds & TAINT_NAME) != 0 && s->zero_dir);
	for (unsigned i = 0; i < s->taints; i++) {
		const char *name = s->taint[i].name, *end = x->text + x->len;
		size_t n = strlen(name);
		whole = whole || (s->taint[i].kinds & TAINT_WHOLE) != 0;
		for (const char *p = x->text; (p = memo_lex_find_word(p, (size_t)(end - p), name)) != NULL;
		     p += n) {
			size_t at = (size_t)(p - x->text);
			bool used = at > 0 && (p[-1] == '$' || (at > 1 && p[-2] == '$' && p[-1] == '{') ||
					       (at > 2 && p[-3] == '$' && p[-2] == '{' && p[-1] == '#'));
			bool set = p + n < end &&
				   (p[n] == '=' || (p[n] == '+' && p + n + 1 < end && p[n + 1] == '='));
			if (x->class[at] != LEX_COMMENT && !used && !set &&
			    (both || (s->taint[i].kinds & TAINT_WHOLE) != 0))
				return false;
		}
	}
	if ((whole || both) && memo_lex_find(x->text, x->len, "${!") != NULL)
		return false;
	for (size_t i = 0; whole && parts[i] != NULL; i++)
		if (memo_lex_find(x->text, x->len, parts[i]) != NULL)
			return false;
	return !whole || (!s->sources && memo_lex_find_any(x->text, x->len, ways) == NULL);
}

bool memo_lex_shell(struct memo_scan *x)
{
	static const char *const words[] = { "-o",	    "pipefail", "errexit", "nounset",
					     "--noprofile", "--norc",	"--",	   NULL };
	struct shell s = { .x = x };
	unsigned before;
	if (!memo_lex_options(x, "abefhkmnpuxCEo", words))
		return memo_lex_doubt(x, "its #! line has options that may change how it is read");
	/* A variable may be used in a function above the line that sets it: until nothing new is found. */
	do {
		struct shell next = { .x = x, .taints = s.taints };
		memcpy(next.taint, s.taint, sizeof s.taint);
		before = sum(&s);
		s = next;
		memset(x->class, LEX_CODE, x->len);
		x->at = x->body;
		if (!shell_commands(&s, SHELL_FILE))
			return false;
	} while (sum(&s) != before);
	x->zeros = s.zeros;
	if (s.zero_bad || (s.taints > 0 && !taints_are_plain(&s)))
		return memo_lex_doubt(x, "it uses $0, $_ or BASH_SOURCE, so it may read its own text");
	if (s.zero_dir && s.glob)
		return memo_lex_doubt(x, "it uses the folder of $0 and a pattern that matches its own name");
	if (s.zero_dir && (s.zero_base || (s.zero_given && s.enters)))
		return memo_lex_doubt(x, "it uses both folder and name of $0, so it may read its own text");
	return true;
}

/* $0 in text that is run later. */
static bool check_zeros(struct memo_scan *x, const char *left, size_t len)
{
	size_t seen = 0;
	if (memo_lex_find_any(left, len, later) == NULL)
		return true;
	for (size_t i = 0; i + 1 < len; i++) {
		size_t n = left[i + 1] == '{' ? i + 2 : i + 1;
		bool zero = n < len && left[n] == '0' &&
			    (n == i + 1 || n + 1 == len || !memo_lex_digit((unsigned char)left[n + 1]));
		bool source = len - n >= 11 && n < len && memcmp(left + n, "BASH_SOURCE", 11) == 0;
		seen += left[i] == '$' && (zero || source);
	}
	return seen <= x->zeros || memo_lex_doubt(x, "it uses $0 in text that it runs later");
}

/* "set -v" shows each line as it is read and "set -o history" keeps them. */
static bool check_set(struct memo_scan *x, const char *left, size_t len)
{
	const char *end = left + len, *p = left;
	static const char *const shows[] = { "-o verbose", "-o history", "+o verbose", "+o history" };
	for (size_t i = 0; i < sizeof shows / sizeof *shows; i++)
		if (memo_lex_find(left, len, shows[i]) != NULL)
			return memo_lex_doubt(x, "it may show its own text (set -o verbose, history)");
	while ((p = memo_lex_find_word(p, (size_t)(end - p), "set")) != NULL) {
		bool option = false;
		for (p += 3; p < end && strchr(" \t-+abefhkmnpuxvCEHPT", *p) != NULL; p++) {
			option = *p == '-' || *p == '+' || (option && !memo_lex_blank((unsigned char)*p));
			if (!option && !memo_lex_blank((unsigned char)*p))
				break;
			if (*p == 'v')
				return memo_lex_doubt(x, "it may show its own text (set -v)");
		}
	}
	return true;
}

static bool begins(const char *p, const char *end, const char *with)
{
	size_t n = strlen(with);
	return (size_t)(end - p) >= n && memcmp(p, with, n) == 0;
}

/* /dev/fd/3 is none of the shell's own; /proc/self/status tells nothing. */
static bool check_paths(struct memo_scan *x, const char *left, size_t len)
{
	const char *end = left + len;
	for (const char *p = left; (p = memmem(p, (size_t)(end - p), "/dev/fd", 7)) != NULL; p++)
		if (p + 8 >= end || p[7] != '/' || !memo_lex_digit((unsigned char)p[8]) ||
		    (p + 9 < end && (memo_lex_name((unsigned char)p[9]) || strchr("*?[$`{/", p[9]) != NULL)))
			return memo_lex_doubt(x, "it may read its own text through a descriptor");
	for (const char *p = left; (p = memmem(p, (size_t)(end - p), "/proc/self", 10)) != NULL; p++) {
		bool fine = false;
		for (size_t i = 0; self[i] != NULL; i++)
			fine = fine || (p + 11 < end && p[10] == '/' && begins(p + 11, end, self[i]));
		if (!fine)
			return memo_lex_doubt(x, "it may read its own text through a descriptor");
	}
	return true;
}

/* An alias is defined, as far as one can see: "alias x=..." or with its words in a variable. */
static bool defines_alias(const char *left, size_t len)
{
	const char *end = left + len;
	for (const char *p = left; (p = memo_lex_find_word(p, (size_t)(end - p), "alias")) != NULL;) {
		bool name = p > left && strchr("${/.-#%", p[-1]) != NULL;
		p += 5;
		if (name || p == end || (!memo_lex_blank((unsigned char)*p) && *p != '\\'))
			continue;
		while (p < end && (memo_lex_blank((unsigned char)*p) || *p == '\\' || *p == '\n'))
			p++;
		for (; p < end && strchr(" \t\n;", *p) == NULL; p++)
			if (strchr("=\"'$`", *p) != NULL)
				return true;
	}
	return false;
}

/* The shell reads the program through a descriptor of two or three digits. */
static bool check_descriptors(struct memo_scan *x, const char *left, size_t len)
{
	static const char *const readers[] = { "read", "mapfile", "readarray", NULL };
	const char *end = left + len;
	if (!check_paths(x, left, len))
		return false;
	for (size_t i = 0; own_descriptors[i] != NULL; i++)
		if (memo_lex_find(left, len, own_descriptors[i]) != NULL)
			return memo_lex_doubt(x, "it may read its own text through a descriptor");
	for (const char *p = left; (p = memmem(p, (size_t)(end - p), "<&", 2)) != NULL; p += 2) {
		bool one = p + 2 < end && (memo_lex_digit((unsigned char)p[2]) || p[2] == '-');
		if (!one || (p + 3 < end && memo_lex_digit((unsigned char)p[3])))
			return memo_lex_doubt(x, "it may read its own text through a descriptor");
	}
	for (size_t i = 0; readers[i] != NULL; i++) {
		const char *p = left;
		while ((p = memo_lex_find_word(p, (size_t)(end - p), readers[i])) != NULL) {
			const char *option = p += strlen(readers[i]);
			while (option < end && (memo_lex_blank((unsigned char)*option) || *option == '-')) {
				size_t n = 0;
				while (option + n < end && strchr(" \t\n;", option[n]) == NULL)
					n++;
				if (*option == '-' && memchr(option, 'u', n) != NULL)
					return memo_lex_doubt(x, "it may read its own text through a descriptor");
				option += n > 0 ? n : 1;
			}
		}
	}
	return true;
}

/* Error messages that are not thrown away, nor left on stderr, which is no part of a result. */
bool memo_lex_keeps_errors(const char *left, size_t len)
{
	const char *end = left + len;
	for (const char *p = left; (p = memchr(p, '>', (size_t)(end - p))) != NULL; p++) {
		bool two = p > left && p[-1] == '2' && (p < left + 2 || !memo_lex_name((unsigned char)p[-2]));
		bool both = p > left && p[-1] == '&';
		const char *to = p + 1;
		if (to < end && *to == '>')
			to++;
		if (!two && !both && to < end && *to == '&' && to + 1 < end &&
		    !memo_lex_digit((unsigned char)to[1]) && to[1] != '-') {
			both = true;
			to++;
		}
		while (to < end && memo_lex_blank((unsigned char)*to))
			to++;
		const char *before = p - (two ? 1 : 0);
		while (before > left && memo_lex_blank((unsigned char)before[-1]))
			before--;
		bool lost = before - left >= 9 && memcmp(before - 9, "/dev/null", 9) == 0;
		bool harmless = begins(to, end, "/dev/null") || begins(to, end, "&-") || begins(to, end, "&2") ||
				(lost && begins(to, end, "&1"));
		if ((two || both) && !harmless)
			return true;
		p = to > p + 1 ? to - 1 : p;
	}
	return memo_lex_find(left, len, "|&") != NULL;
}

bool memo_lex_shell_guard(struct memo_scan *x, const char *left, size_t len)
{
	if (memo_lex_find_any(left, len, to_text) != NULL)
		return memo_lex_doubt(x, "it mentions a word of the shell that leads to its own text");
	if (defines_alias(left, len) && (!x->bash || memo_lex_find_any(left, len, posix) != NULL))
		return memo_lex_doubt(x, "it has aliases, which change how it is read");
	if (!check_zeros(x, left, len) || !check_set(x, left, len) || !check_descriptors(x, left, len))
		return false;
	x->keeps_errors = memo_lex_keeps_errors(left, len);
	if (memo_lex_find_any(left, len, numbers) != NULL || x->keeps_errors)
		x->own = MEMO_SIGHT_LINES;
	return true;
}
