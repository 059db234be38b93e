/* What leads to the path of a Python program: sys.argv, __file__. Its folder alone, its name alone, a text that is only
 * printed and a comparison are no way to its text. */
#include "lex_python.h"

#include <stdio.h>

/* @at stands in what is printed and nothing else: print("usage: %s" % sys.argv[0]). A call within it may do anything. */
static bool only_printed(const struct left *l, const char *at)
{
	static const char *const printers[] = {
		"print(", "sys.exit(", "sys.stderr.write(", "sys.stdout.write(", "raise SystemExit(", NULL
	};
	const char *p = py_line_of(l, at), *end = memchr(at, '\n', (size_t)(l->end - at));
	size_t skipped = 0;
	while (memo_lex_blank((unsigned char)*p))
		p++;
	for (size_t i = 0; printers[i] != NULL && skipped == 0; i++)
		skipped = py_begins(l, p, printers[i]) ? strlen(printers[i]) : 0;
	if (skipped == 0 || py_has(l, "def print"))
		return false;
	end = end != NULL ? end : l->end;
	for (p += skipped; p < end; p++)
		if (*p == ';' ||
		    (*p == '(' && (memo_lex_name((unsigned char)p[-1]) || strchr("])", p[-1]) != NULL)))
			return false;
	return true;
}

/* What installers write into the programs that start a package: it takes a suffix off. */
static bool by_installer(const struct left *l, const char *line)
{
	static const char *const lines[] = {
		"sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n",
		"sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])\n",
		"sys.argv[0] = re.sub(r\"(-script\\.pyw|\\.exe)?$\", \"\", sys.argv[0])\n", NULL
	};
	while (line < l->end && memo_lex_blank((unsigned char)*line))
		line++;
	for (size_t i = 0; lines[i] != NULL; i++)
		if (py_begins(l, line, lines[i]))
			return true;
	return false;
}

/* Where the module begins whose attribute stands at @p: "a.b." */
static const char *owner(const struct left *l, const char *p)
{
	if (p > l->text && p[-1] == '.')
		while (p > l->text && (memo_lex_name((unsigned char)p[-1]) || p[-1] == '.'))
			p--;
	return p;
}

/* In the midst of a longer text: """..of many lines..""" % sys.argv[0], f"usage: {sys.argv[0]} [file]". */
static bool in_text(const struct left *l, const char *at, const char *of)
{
	static const char *const closes[] = { "\"\"\" % ", "\'\'\' % ", NULL };
	const char *line = py_line_of(l, at);
	if (py_ends(l, of, " {") && py_begins(l, at, "argv[0]} "))
		return true;
	for (size_t i = 0; closes[i] != NULL; i++)
		if (py_ends(l, of, closes[i]) && (py_begins(l, at, "argv[0]\n") || py_begins(l, at, "argv[0])")) &&
		    memo_lex_find(line, (size_t)(of - line) - 6, i == 0 ? "\"\"\"" : "\'\'\'") == NULL)
			return true;
	return false;
}

/* argv[0], argv[:1]: the path. Its last part or its folder alone, a comparison, a new value, or a text that is shown is no
 * way to the text. */
bool py_own_argument(const struct left *l, struct path *path)
{
	static const char *const harmless[] = { "argv[0] = ",	     "argv[0] == ",	    "argv[0] != ",
						"argv[0].endswith(", "argv[0].startswith(", "argv[0] in ",
						"argv[0] and ",	     "argv[0] is ",	    NULL };
	for (const char *p = l->text; (p = memmem(p, (size_t)(l->end - p), "argv[", 5)) != NULL; p++) {
		const char *index = p + 5, *of = owner(l, p);
		while (index < l->end && memo_lex_blank((unsigned char)*index))
			index++;
		if (index == l->end || (*index != '0' && *index != ':' && *index != '-'))
			continue;
		bool fine = py_begins(l, index, "-1]") || py_begins(l, index, ":]") || only_printed(l, p) ||
			    by_installer(l, py_line_of(l, p));
		for (size_t i = 0; harmless[i] != NULL; i++)
			fine = fine || py_begins(l, p, harmless[i]);
		if (fine || in_text(l, p, of))
			continue;
		if (py_ends(l, of, "basename(") && py_begins(l, p, "argv[0])"))
			path->name = true;
		else if (py_ends(l, of, "path.split(") && py_begins(l, p, "argv[0])[1]"))
			path->name = true;
		else if (py_ends(l, of, "dirname(") && py_begins(l, p, "argv[0])"))
			path->folder = true;
		else
			return true;
	}
	return false;
}

/* @n bytes of @name hold the list: its first word is taken out of it. */
static bool takes_first(const struct left *l, const char *name, size_t n)
{
	static const char *const ways[] = { "[0", "[:", ".pop(0", ":\n", "))", "),", NULL };
	for (const char *p = l->text; (p = memmem(p, (size_t)(l->end - p), name, n)) != NULL; p += n) {
		if (p > l->text && memo_lex_name((unsigned char)p[-1]))
			continue;
		for (size_t i = 0; ways[i] != NULL; i++)
			if (py_begins(l, p + n, ways[i]) &&
			    (i < 3 || py_ends(l, p, " in ") || py_ends(l, p, "iter(")))
				return true;
	}
	return false;
}

/* "def main(args" of "main(sys.argv)", with the call's name before @call. */
static bool callee_takes_first(const struct left *l, const char *call)
{
	static const char *const takers[] = { "iter", "list", "tuple", "enumerate", "reversed",
					      "map",  "zip",  "next",  "deque",	    NULL };
	const char *begin = call;
	while (begin > l->text && memo_lex_name((unsigned char)begin[-1]))
		begin--;
	size_t n = (size_t)(call - begin);
	for (size_t i = 0; takers[i] != NULL; i++)
		if (strlen(takers[i]) == n && memcmp(takers[i], begin, n) == 0)
			return true;
	for (const char *p = l->text; (p = memo_lex_find(p, (size_t)(l->end - p), "def ")) != NULL; p += 4) {
		const char *name = p + 4, *to = name + n + 1;
		if ((size_t)(l->end - name) <= n + 1 || memcmp(name, begin, n) != 0 || name[n] != '(')
			continue;
		to += py_begins(l, to, "self, ") ? 6 : py_begins(l, to, "cls, ") ? 5 : 0;
		size_t len = 0;
		while (to + len < l->end && memo_lex_name((unsigned char)to[len]))
			len++;
		if (len == 0 || takes_first(l, to, len))
			return true;
	}
	return false;
}

/* The list as a whole: gone through, taken apart, or under a name by which its first word is asked for. */
bool py_whole_argv(const struct left *l)
{
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "argv")) != NULL; p += 4) {
		const char *line = py_line_of(l, p), *at = p - (py_ends(l, p, "sys.") ? 4 : 0);
		bool ended = p + 4 == l->end || strchr("\n :,)", p[4]) != NULL;
		if (!ended)
			continue;
		const char *name = at;
		while (name > line && strchr(" =", name[-1]) != NULL)
			name--;
		const char *begin = name;
		while (begin > line && memo_lex_name((unsigned char)begin[-1]))
			begin--;
		bool given = name < at && memchr(name, '=', (size_t)(at - name)) != NULL && name > begin;
		bool unpacked = given && memchr(line, ',', (size_t)(begin - line)) != NULL &&
				memchr(line, '(', (size_t)(begin - line)) == NULL;
		if (unpacked || (given && takes_first(l, begin, (size_t)(name - begin))))
			return true;
		if (py_ends(l, at, " in ") && memo_lex_find_word(line, (size_t)(p - line), "for") != NULL)
			return true;
		if (py_ends(l, at, "(") && !py_ends(l, at, "len(") && !py_ends(l, at, "print(") &&
		    at - 1 > l->text && memo_lex_name((unsigned char)at[-2]) && callee_takes_first(l, at - 1))
			return true;
	}
	return false;
}

/* The module object of the program itself may be at hand: then the file of "a module" may be its own. */
static bool has_own_module(const struct left *l)
{
	static const char *const ways[] = { "import __main__", "getmodule",    "__import__", "import_module",
					    "import modules",  "get_importer", "gc.",	     NULL };
	char line[PATTERN_BYTES + 16];
	size_t stem = strcspn(l->base, ".");
	if (stem == 0 || stem >= PATTERN_BYTES || py_has_part(l, ways))
		return true;
	for (const char *p = l->text; (p = memo_lex_find(p, (size_t)(l->end - p), "sys.modules")) != NULL;
	     p += 11) {
		bool literal = (py_begins(l, p + 11, "['") || py_begins(l, p + 11, "[\"")) &&
			       !py_begins(l, p + 13, "__main__");
		if (!literal && !py_begins(l, p + 11, ".pop(") && !py_ends(l, p, " in ") && !py_ends(l, p, "del "))
			return true;
	}
	(void)snprintf(line, sizeof line, "import %.*s", (int)stem, l->base);
	return py_has_word(l, line);
}

/* "a.b" was imported here as a module, and is not this one. */
static bool imported(const struct left *l, const char *name, size_t n)
{
	char line[2 * PATTERN_BYTES];
	size_t stem = strcspn(l->base, ".");
	size_t first = strcspn(name, ".");
	if (n == 0 || n >= PATTERN_BYTES || first == 0 || (first == stem && memcmp(name, l->base, stem) == 0))
		return false;
	(void)snprintf(line, sizeof line, "import %.*s\n", (int)n, name);
	return memo_lex_find(l->text, (size_t)(l->end - l->text), line) != NULL;
}

/* __file__ of a module that is another one: as an attribute of what has a name, or by getattr. */
static bool other_file(const struct left *l, const char *p)
{
	if (p == l->text)
		return false;
	bool quoted = strchr("'\"", p[-1]) != NULL && py_begins(l, p + 8, p[-1] == '"' ? "\"" : "'");
	bool attribute = p[-1] == '.' && p - 1 > l->text && memo_lex_name((unsigned char)p[-2]);
	bool element = py_ends(l, p, "'].") &&
		       memo_lex_find(py_line_of(l, p), (size_t)(p - py_line_of(l, p)), "sys.modules['") != NULL;
	const char *of = owner(l, p);
	if (attribute && imported(l, of, (size_t)(p - 1 - of)))
		return true;
	if (py_begins(l, p, "__file__ as ") && py_ends(l, p, " import ") && !py_ends(l, p, "__main__ import "))
		return true;
	return (quoted || attribute || element) && !has_own_module(l);
}

static bool folder(const struct left *l, const char *p)
{
	static const char *const before[] = { "dirname(",
					      "dirname(os.path.abspath(",
					      "dirname(os.path.realpath(",
					      "dirname(abspath(",
					      "dirname(realpath(",
					      "dirname(path.abspath(",
					      "dirname(path.realpath(",
					      "dirname(os.path.normpath(",
					      NULL };
	static const char *const behind[] = { ").parent", ").resolve().parent", ").absolute().parent", NULL };
	for (size_t i = 0; before[i] != NULL; i++)
		if (py_ends(l, owner(l, p), before[i]) && py_begins(l, p + 8, ")"))
			return true;
	for (size_t i = 0; behind[i] != NULL; i++)
		if (py_ends(l, p, "Path(") && py_begins(l, p + 8, behind[i]))
			return true;
	return py_ends(l, p, "os.path.split(") && py_begins(l, p + 8, ")[0]");
}

/* Of __file__ only the folder is used, and the file's name stands nowhere else; or only the name. */
bool py_own_file(const struct left *l, struct path *path, bool *others)
{
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "__file__")) != NULL;
	     p += 8) {
		bool asked = py_ends(l, p, "'") && py_begins(l, p + 8, "'") &&
			     memo_lex_find(py_line_of(l, p), (size_t)(p - py_line_of(l, p)), "hasattr(") != NULL;
		bool set = py_begins(l, p + 8, " = ") || (py_begins(l, p + 8, "=") && !py_begins(l, p + 8, "=="));
		bool compared = py_ends(l, p, ".filename, ") && py_begins(l, p + 8, ")\n");
		if (asked || set || compared)
			continue;
		if (other_file(l, p))
			*others = true;
		else if (folder(l, p))
			path->folder = true;
		else if (py_ends(l, p, "path.basename(") && py_begins(l, p + 8, ")"))
			path->name = true;
		else if (!only_printed(l, p))
			return true;
	}
	return path->folder && (path->name || (strchr(l->base, '.') == NULL && py_has(l, l->base)));
}
