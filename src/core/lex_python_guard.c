/* What makes a Python program depend on its own text, on the text of its statements, or on its line numbers, looked for
 * in the normal form: what leads to the path of its file, modules that read source, tracebacks, what prints
 * positions. A word in a string counts, too (getattr, exec), but for documentation that nothing runs. */
#include "lex_python.h"

#include <fnmatch.h>

/* Whoever has one of these has the text, or may have it. */
static const char *const to_text[] = { "getsource",  "getsourcelines",	"getcomments", "getsourcefile",
				       "getabsfile", "findsource",	"getblock",    "jit",
				       "orig_argv",  "RemoteTraceback", NULL };
static const char *const text_parts[] = { "get_source(__name__",  "find_spec(__name__", "get_loader(__name__",
					  "find_loader(__name__", "get_data(__name__",	"pytest.main",
					  "rich.traceback",	  "from rich",		NULL };
/* Modules that read the source of whoever uses them. */
static const char *const readers[] = { "pydoc",
				       "cgitb",
				       "pdb",
				       "bdb",
				       "line_profiler",
				       "memory_profiler",
				       "stack_data",
				       "executing",
				       "stackprinter",
				       "varname",
				       "better_exceptions",
				       "coverage",
				       "streamlit",
				       "redun",
				       "prefect",
				       "joblib",
				       "dill",
				       "zipapp",
				       "IPython.core.ultratb",
				       "embed",
				       "start_ipython",
				       NULL };
/* Words, and parts of words, of what shows statements. */
static const char *const shown[] = { "stack_info",
				     "captureWarnings",
				     "formatwarning",
				     "TextTestRunner",
				     "testRunner",
				     "tracemalloc",
				     "settrace",
				     "setprofile",
				     "redirect_stderr",
				     "dup2",
				     "__cause__",
				     "pysnooper",
				     "snoop",
				     "icecream",
				     "loguru",
				     "co_filename",
				     "extract_stack",
				     "extract_tb",
				     "walk_stack",
				     "walk_tb",
				     "StackSummary",
				     "TracebackException",
				     "getframeinfo",
				     "getouterframes",
				     "getinnerframes",
				     "FrameInfo",
				     "exc_info",
				     "excepthook",
				     NULL };
static const char *const shown_parts[] = { ".exception(", "TestResult", "_exc_info", "stderr =", NULL };
/* ... of what shows line numbers. */
static const char *const numbers[] = {
	"_getframe",	"currentframe", "__code__",    "catch_warnings", "warn_explicit",
	"showwarning",	"faulthandler", "create_task", "ensure_future",	 "all_tasks",
	"current_task", "TaskGroup",	"gather",      "cProfile",	 "profile",
	"pstats",	"doctest",	"dis",	       "marshal",	 "cloudpickle",
	"co_lines",	"co_positions", "get_coro",    "symtable",	 NULL
};

/* A module is used here: imported, reached as an attribute, or by its name in quotes. In a text such a word says
 * nothing. */
static bool uses_module(const struct left *l, const char *word)
{
	size_t n = strlen(word);
	bool star = py_has(l, "import *");
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), word)) != NULL; p += n) {
		const char *begin = py_line_of(l, p);
		unsigned char before = p > l->text ? (unsigned char)p[-1] : ' ';
		unsigned char next = p + n < l->end ? (unsigned char)p[n] : ' ';
		unsigned char behind = p + n + 1 < l->end ? (unsigned char)p[n + 1] : ' ';
		bool imported = memo_lex_find(begin, (size_t)(p - begin), "import") != NULL ||
				memo_lex_find(begin, (size_t)(p - begin), "from") != NULL;
		/* a list of imports that goes on over lines ends in such a line */
		bool listed = strchr(",);\n\\", next) != NULL || behind == '\\' || py_begins(l, p + n, " as ");
		if (star || imported || listed || before == '.' || (next == '.' && memo_lex_name(behind)) ||
		    ((before == '\'' || before == '"') && next == before))
			return true;
	}
	return false;
}

/* Imported, by a statement or by its name in quotes. */
static bool imports_module(const struct left *l, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), word)) != NULL; p += n) {
		const char *line = py_line_of(l, p);
		while (memo_lex_blank((unsigned char)*line))
			line++;
		bool listed = p + n < l->end && strchr(",)\n", p[n]) != NULL;
		if (py_begins(l, line, "import ") || py_begins(l, line, "from ") ||
		    py_ends(l, p, "import_module('") || py_ends(l, p, "import_module(\"") ||
		    py_ends(l, p, "__import__('") || py_ends(l, p, "__import__(\"") || (listed && p == line))
			return true;
	}
	return false;
}

/* The cache of source lines is only brought up to date or emptied. */
static bool asks_lines(const struct left *l)
{
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "linecache")) != NULL;
	     p += 9)
		if (!py_begins(l, p + 9, ".checkcache") && !py_begins(l, p + 9, ".clearcache") &&
		    !(py_ends(l, p, "import ") && py_begins(l, p + 9, "\n")))
			return true;
	return false;
}

/* What the loader left in the module is only asked whether it is there, for its name, or set. */
static bool asks_loader(const struct left *l, const char *word)
{
	static const char *const fine[] = { ".name", ".parent", ".submodule_search_locations", " is ", " = ",
					    "=None", NULL };
	size_t n = strlen(word);
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), word)) != NULL; p += n) {
		bool so = false;
		for (size_t i = 0; fine[i] != NULL; i++)
			so = so || py_begins(l, p + n, fine[i]);
		so = so || py_begins(l, p + n, "':") || py_begins(l, p + n, "\":");
		if (!so)
			return true;
	}
	return false;
}

/* Of inspect what looks at signatures and kinds of objects, not at text or frames. */
static enum memo_lex_sight inspects(const struct left *l)
{
	static const char *const calls[] = { "stack",	       "trace",		 "getframeinfo",
					     "getouterframes", "getinnerframes", NULL };
	enum memo_lex_sight sight = MEMO_SIGHT_NONE;
	if (!uses_module(l, "inspect"))
		return sight;
	if (py_has(l, "(inspect,") || py_has(l, "'inspect'") || py_has(l, "\"inspect\"") ||
	    py_has_word(l, "getfile") || py_has(l, "vars(inspect") || py_has(l, "inspect.__dict__"))
		return MEMO_SIGHT_TEXT;
	for (size_t i = 0; calls[i] != NULL; i++) {
		size_t n = strlen(calls[i]);
		const char *p = l->text;
		for (; (p = memo_lex_find_word(p, (size_t)(l->end - p), calls[i])) != NULL; p += n) {
			bool of_module =
				i > 1 || py_ends(l, p, "inspect.") || py_has(l, "inspect as") ||
				memo_lex_find(py_line_of(l, p), (size_t)(p - py_line_of(l, p)), "import") != NULL ||
				py_has(l, "from inspect import");
			const char *end = memchr(p, '\n', (size_t)(l->end - p));
			size_t len = (size_t)((end != NULL ? end : l->end) - p);
			if (!of_module)
				continue;
			/* more than the line itself may be asked for, and the path is among what it gives */
			if (memchr(p, ',', len) != NULL || memo_lex_find(p, len, "context") != NULL ||
			    py_has_word(l, "filename") || (i < 2 && !py_begins(l, p + n, "()")) ||
			    py_has(l, "][1]"))
				return MEMO_SIGHT_TEXT;
			sight = MEMO_SIGHT_CODE;
		}
	}
	return sight;
}

/* Tracebacks that go to stderr are no part of a result, as when a program fails. */
static bool keeps_tracebacks(const struct left *l)
{
	if (!uses_module(l, "traceback"))
		return false;
	static const char *const fine[] = { "traceback.print_exc()", "traceback.print_stack()", "traceback\n",
					    NULL };
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "traceback")) != NULL;
	     p += 9) {
		bool so = false;
		for (size_t i = 0; fine[i] != NULL; i++)
			so = so || py_begins(l, p, fine[i]);
		if (!so || (py_begins(l, p, fine[2]) && !py_ends(l, p, "import ")))
			return true;
	}
	return false;
}

/* Frames, stacks and tracebacks tell the path of their file; here is something that could read it. */
static bool takes_paths(const struct left *l)
{
	static const char *const words[] = {
		"extract_stack", "extract_tb",	       "walk_stack",  "walk_tb", "StackSummary",
		"FrameSummary",	 "TracebackException", "co_filename", NULL
	};
	static const char *const readers_of[] = { "open",      "read_text",  "read_bytes",  "getline",	"getlines",
						  "Popen",     "subprocess", "system",	    "popen",	"shutil",
						  "FileIO",    "fileinput",  "tokenize",    "mmap",	"ZipFile",
						  "load",      "loadtxt",    "run_path",    "sendfile", "copyfile",
						  "linecache", "get_data",   "updatecache", "execfile", NULL };
	static const char *const parts[] = { "os.exec",	  "os.spawn", "posix_spawn", "read_",
					     "from_file", "fromfile", NULL };
	return py_has_any(l, words) && (py_has_any(l, readers_of) || py_has_part(l, parts));
}

/* help(x) shows the comments above x where it has no documentation. */
static bool asks_help(const struct left *l)
{
	for (const char *p = l->text; (p = memo_lex_find_word(p, (size_t)(l->end - p), "help")) != NULL; p += 4)
		if (py_begins(l, p + 4, "(") && !py_ends(l, p, ".") && !py_ends(l, p, "def "))
			return true;
	return py_has(l, "breakpoint(");
}

/* The file may lie in the folder that is listed: where the program runs, or where it is itself. */
static bool lists_own_folder(const struct left *l, bool folders)
{
	static const char *const lists[] = { "listdir", "scandir", "iterdir", "iglob", "rglob", "copytree", NULL };
	static const char *const parts[] = { "os.walk", "glob.glob", ".glob(", "import glob", NULL };
	static const char *const here[] = { "listdir()",     "scandir()",      "dir('.')",	 "dir(\".\")",
					    "walk('.')",     "walk(\".\")",    "Path('.')",	 "Path(\".\")",
					    "Path()",	     "Path.cwd()",     "dir(os.curdir",	 "walk(os.curdir",
					    "dir(os.getcwd", "walk(os.getcwd", "tree('.'",	 "tree(\".\"",
					    "glob('./",	     "glob(\"./",      "glob('**",	 "glob(\"**",
					    "dir(curdir",    "walk(curdir",    "tree(os.curdir", NULL };
	if (!py_has_any(l, lists) && !py_has_part(l, parts))
		return false;
	if (folders || py_has_part(l, here))
		return true;
	for (const char *p = l->text; (p = memchr(p, '*', (size_t)(l->end - p))) != NULL; p++) {
		const char *from = p, *to = p;
		char pattern[PATTERN_BYTES];
		while (from > l->text && strchr("'\"/\n \t", from[-1]) == NULL)
			from--;
		while (to < l->end && strchr("'\"/\n \t", *to) == NULL)
			to++;
		bool quoted = from > l->text && to < l->end && strchr("'\"", from[-1]) != NULL && *to == from[-1];
		size_t n = (size_t)(to - from);
		if (!quoted || n >= sizeof pattern || !py_ends(l, from - 1, "glob("))
			continue;
		memcpy(pattern, from, n);
		pattern[n] = '\0';
		if (fnmatch(pattern, l->base, 0) == 0)
			return true;
	}
	return false;
}

static bool keeps_errors(const struct left *l)
{
	static const char *const words[] = { "STDOUT",	  "capture_output", "getstatusoutput",
					     "getoutput", "Popen3",	    "Popen4",
					     NULL };
	static const char *const parts[] = { "stderr=", "stderr =", "dup2(", NULL };
	return py_has_any(l, words) || py_has_part(l, parts) ||
	       memo_lex_keeps_errors(l->text, (size_t)(l->end - l->text));
}

/* Why it may see its own text; NULL: it does not. */
static const char *sees_text(const struct left *l, bool *others)
{
	struct path path = { false, false };
	if (py_has_any(l, to_text) || py_has_part(l, text_parts) || takes_paths(l) || asks_lines(l))
		return "it mentions what leads to its own text";
	if (py_own_argument(l, &path) || py_whole_argv(l))
		return "it uses sys.argv[0], so it may read its own text";
	if (py_own_file(l, &path, others))
		return "it uses __file__, so it may read its own text";
	if (asks_loader(l, "__spec__") || asks_loader(l, "__cached__") || asks_loader(l, "__loader__"))
		return "it uses its loader, so it may read its own text";
	if (asks_help(l))
		return "it uses help() or breakpoint(), which show source";
	if (lists_own_folder(l, path.folder))
		return "it lists a folder that may be its own";
	for (size_t i = 0; readers[i] != NULL; i++)
		if (imports_module(l, readers[i]))
			return "it uses a module that reads the source of programs";
	return inspects(l) == MEMO_SIGHT_TEXT ? "it uses inspect, so it may read its own text" : NULL;
}

static enum memo_lex_sight sees(const struct left *l)
{
	if (inspects(l) == MEMO_SIGHT_CODE || py_has_any(l, shown) || py_has_part(l, shown_parts) ||
	    keeps_tracebacks(l))
		return MEMO_SIGHT_CODE;
	return py_has(l, "lineno") || py_has_any(l, numbers) ? MEMO_SIGHT_LINES : MEMO_SIGHT_NONE;
}

/* The text without its documentation, which means nothing while nothing runs it. Returns its length; 0: something may. */
static size_t undocumented(struct memo_scan *x, const char *left, size_t len)
{
	static const char *const gets[] = { "__doc__", "getdoc", "get_docstring", NULL };
	static const char *const runs[] = { "exec", "eval", NULL };
	size_t n = 0;
	if (left == x->text || memo_lex_find_word(left, len, "doctest") != NULL ||
	    (memo_lex_find_any(left, len, gets) != NULL && memo_lex_find_any(left, len, runs) != NULL))
		return 0;
	for (size_t i = x->body; i < x->len; i++) {
		if (x->class[i] != LEX_CODE && x->class[i] != LEX_VERBATIM)
			continue;
		while (x->text[i] == '\n' && n > 0 && memo_lex_blank((unsigned char)x->spare[n - 1]))
			n--;
		x->spare[n++] = x->text[i];
	}
	return n;
}

bool memo_lex_python_guard(struct memo_scan *x, const char *left, size_t len)
{
	size_t less = undocumented(x, left, len);
	const char *text = less > 0 ? x->spare : left;
	struct left l = { text, text + (less > 0 ? less : len), x->base };
	bool others = false;
	const char *why = sees_text(&l, &others);
	x->keeps_errors = keeps_errors(&l);
	x->own = why != NULL ? MEMO_SIGHT_TEXT : sees(&l);
	x->others = others ? MEMO_SIGHT_TEXT : x->own;
	return why == NULL || memo_lex_doubt(x, why);
}
