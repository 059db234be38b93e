/* The language is told from the #! line first (it decides how the file runs), then from the name. It changes nothing
 * about the digest, which is that of the bytes; it is what people read in `memofs fingerprint`. */
#include "fingerprint.h"

#include "base/json.h"
#include "base/scope.h"
#include "canon.h"

#include <string.h>

#define INTERPRETER_BYTES 256 /* of a #! line that are looked at, as in Linux */
#define KNOWN(table) (sizeof(table) / sizeof((table)[0]))

struct language {
	const char *word; /* a suffix or an interpreter */
	const char *language;
};

static const struct language suffixes[] = {
	{ ".sh", "shell" }, { ".bash", "shell" },    { ".py", "python" }, { ".R", "r" },
	{ ".r", "r" },	    { ".awk", "awk" },	     { ".c", "c" },	  { ".h", "c" },
	{ ".pl", "perl" },  { ".js", "javascript" }, { ".jl", "julia" },
};

static const struct language interpreters[] = {
	{ "sh", "shell" },
	{ "bash", "shell" },
	{ "dash", "shell" },
	{ "ash", "shell" },
	{ "ksh", "shell" },
	{ "zsh", "shell" },
	{ "python", "python" },
	{ "pypy", "python" },
	{ "Rscript", "r" },
	{ "R", "r" },
	{ "r", "r" },
	{ "awk", "awk" },
	{ "gawk", "awk" },
	{ "mawk", "awk" },
	{ "nawk", "awk" },
	{ "perl", "perl" },
	{ "node", "javascript" },
	{ "nodejs", "javascript" },
	{ "julia", "julia" },
};

/* @len bytes of @word, without a directory in front and a version behind ("python3.11"). */
static const char *by_interpreter(const char *word, size_t len)
{
	const char *slash = memrchr(word, '/', len);
	if (slash != NULL) {
		len -= (size_t)(slash + 1 - word);
		word = slash + 1;
	}
	while (len > 1 && ((word[len - 1] >= '0' && word[len - 1] <= '9') || word[len - 1] == '.'))
		len--;
	for (size_t i = 0; i < KNOWN(interpreters); i++)
		if (strlen(interpreters[i].word) == len && memcmp(interpreters[i].word, word, len) == 0)
			return interpreters[i].language;
	return NULL;
}

/* The language that the words of a #! line name: "/bin/sh -e", "/usr/bin/env -S LANG=C python3 -u". */
static const char *by_shebang(const char *line)
{
	bool env = false;
	for (const char *p = line + strspn(line, " \t"); *p != '\0'; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		bool is_env = !env && len >= 3 && memcmp(p + len - 3, "env", 3) == 0 &&
			      (len == 3 || p[len - 4] == '/');
		bool option = env && (*p == '-' || memchr(p, '=', len) != NULL);
		if (!is_env && !option)
			return by_interpreter(p, len);
		env = true;
		p += len;
	}
	return NULL;
}

static const char *language_of(const char *name, const char *data, size_t len)
{
	if (len > 2 && data[0] == '#' && data[1] == '!') {
		char line[INTERPRETER_BYTES];
		size_t n = 0;
		for (; n + 1 < sizeof line && n + 2 < len && strchr("\r\n", data[n + 2]) == NULL; n++)
			line[n] = data[n + 2]; /* strchr stops at a NUL as well */
		line[n] = '\0';
		const char *language = by_shebang(line);
		return language != NULL ? language : "unknown";
	}
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot != NULL && i < KNOWN(suffixes); i++)
		if (strcmp(suffixes[i].word, dot) == 0)
			return suffixes[i].language;
	return "unknown";
}

int memo_fingerprint_file(const char *name, const void *data, size_t len, struct memo_fingerprint *out,
			  struct memo_err *err)
{
	struct memo_fingerprint f = { .method = MEMO_FINGERPRINT_METHOD, .number = MEMO_FINGERPRINT_NUMBER };
	int r = memo_hash_bytes(data, len, &f.id);
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot hash: %s", memo_value_show(name, strlen(name)).text,
				 memo_strerror(r));
	f.language = language_of(name, data, len);
	f.reason = strcmp(f.language, "unknown") == 0
			   ? "the language is not known, so every byte counts"
			   : "comments are kept: this version compares code byte for byte";
	*out = f;
	return 0;
}

static int push_digest(json_t *list, const char *label, const char *text, const struct memo_id *id, json_t **entry)
{
	char hex[MEMO_HEX_SIZE];
	json_t *o = json_object();
	int r = memo_json_push(list, o);
	if (r == 0)
		r = memo_json_set(o, label, json_string(text));
	if (r == 0)
		r = memo_json_set(o, "sha256", json_string(memo_id_hex(id, hex)));
	*entry = o; /* the list's */
	return r;
}

static int put_code(json_t *whole, const struct memo_task *t, const struct memo_id *code_id)
{
	json_t *list = json_array(), *entry = NULL;
	int r = memo_json_set(whole, "code", list);
	for (size_t i = 0; r == 0 && i < t->codes; i++) {
		r = push_digest(list, "path", t->code[i].path, &code_id[i], &entry);
		if (r == 0)
			r = memo_json_set(entry, "exec", json_boolean(t->code[i].exec));
	}
	return r;
}

static int put_tools(json_t *whole, const struct memo_task *t, const struct memo_id *tool_id)
{
	json_t *list = json_array(), *entry = NULL;
	int r = memo_json_set(whole, "tools", list);
	for (size_t i = 0; r == 0 && i < t->tools; i++)
		r = push_digest(list, "name", t->tool[i], &tool_id[i], &entry);
	return r;
}

static int put_command(json_t *whole, const struct memo_task *t)
{
	json_t *list = json_array();
	int r = memo_json_set(whole, "command", list);
	for (size_t i = 0; r == 0 && i < t->commands; i++)
		r = memo_json_push(list, json_string(t->command[i]));
	if (r == 0)
		r = memo_json_set(whole, "script", t->script != NULL ? json_string(t->script) : json_null());
	return r;
}

/* As a task file spells it: {"type": .., "from": "stdout"} or {"type": .., "path": ..}. */
static int put_output(json_t *whole, const struct memo_task *t)
{
	json_t *o = json_object();
	int r = memo_json_set(whole, "output", o);
	if (r == 0)
		r = memo_json_set(o, "type", json_string(memo_output_text(t->output)));
	if (r < 0)
		return r;
	return t->output_path == NULL ? memo_json_set(o, "from", json_string("stdout"))
				      : memo_json_set(o, "path", json_string(t->output_path));
}

int memo_fingerprint_task(const struct memo_task *t, const struct memo_id *code_id, const struct memo_id *tool_id,
			  struct memo_id *id_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *whole = json_object();
	int r = whole == NULL ? -ENOMEM : put_code(whole, t, code_id);
	if (r == 0)
		r = put_command(whole, t);
	if (r == 0)
		r = memo_json_set(whole, "env", t->env != NULL ? json_incref(t->env) : json_object());
	if (r == 0)
		r = put_output(whole, t);
	if (r == 0)
		r = put_tools(whole, t, tool_id);
	if (r < 0)
		return memo_fail(err, r, "task '%s': out of memory", t->name);
	return memo_canon_hash(whole, id_out, err);
}
