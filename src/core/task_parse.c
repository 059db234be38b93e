/* Task, one key at a time: presence, JSON types, ranges, spellings. The order is that of the contract's example,
 * but "memofs" comes first: another format may have other keys, and that is then the thing to say. */
#include "base/scope.h"
#include "task_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FAIL_CODES 255

/* An optional string member, copied. */
static int copy_string(const struct memo_place *at, const json_t *o, const char *key, char **out)
{
	const char *s = NULL;
	int r = memo_place_string(at, o, key, &s);

	if (r < 0 || s == NULL)
		return r;
	*out = strdup(s);
	return *out == NULL ? memo_place_nomem(at) : 0;
}

static int read_format(const json_t *o, const struct memo_place *top)
{
	const json_t *v = json_object_get(o, "memofs");
	struct memo_place at = memo_place_key(top, "memofs");

	if (v == NULL)
		return memo_place_refuse(top, "'memofs' is missing; add \"memofs\": %d, the format of the file",
					 MEMO_TASK_FORMAT);
	if (!json_is_integer(v))
		return memo_place_refuse(&at, "must be the number %d: this program reads format %d",
					 MEMO_TASK_FORMAT, MEMO_TASK_FORMAT);
	if (json_integer_value(v) != MEMO_TASK_FORMAT)
		return memo_place_refuse(&at,
					 "this program reads format %d, not %" JSON_INTEGER_FORMAT
					 "; write %d, or use a program that knows that format",
					 MEMO_TASK_FORMAT, json_integer_value(v), MEMO_TASK_FORMAT);
	return 0;
}

/* "auto-0123456789abcdef" is what a task without a version gets: declared, it could stand for two codes. */
static bool looks_automatic(const char *version)
{
	return strncmp(version, "auto-", 5) == 0 && strlen(version) == 21 &&
	       strspn(version + 5, "0123456789abcdef") == 16;
}

static int check_version(const char *version, const char *alternative, const struct memo_place *at)
{
	if (strcmp(version, "latest") == 0)
		return memo_place_refuse(at, "'latest' is not a version but stands for the one registered last; %s",
					 alternative);
	if (!memo_task_version_ok(version))
		return memo_place_refuse(
			at,
			"'%s' cannot be a version; use letters, digits and . _ + - (a letter or digit "
			"first), at most %d bytes",
			memo_place_show(version).text, MEMO_NAME_MAX);
	return 0;
}

static int check_task_name(const char *name, const struct memo_place *at)
{
	if (memo_task_name_ok(name))
		return 0;
	return memo_place_refuse(
		at,
		"'%s' cannot name a task; use letters, digits and _ . - (a letter or _ first), at most "
		"%d bytes",
		memo_place_show(name).text, MEMO_NAME_MAX);
}

static int read_names(struct memo_task *t, const struct memo_place *top)
{
	const json_t *o = t->definition;
	struct memo_place name = memo_place_key(top, "name"), version = memo_place_key(top, "version");
	int r = copy_string(top, o, "name", &t->name);

	if (r == 0 && t->name == NULL)
		r = memo_place_refuse(top, "'name' is missing; add \"name\": and what the task is called");
	if (r == 0)
		r = check_task_name(t->name, &name);
	if (r == 0)
		r = copy_string(top, o, "version", &t->version);
	if (r == 0)
		r = copy_string(top, o, "description", &t->description);
	if (r < 0 || t->version == NULL)
		return r;
	t->declared = true;
	if (looks_automatic(t->version))
		return memo_place_refuse(&version,
					 "'%s' is how tasks without a version are numbered; choose another, or "
					 "leave the version out",
					 t->version);
	return check_version(t->version, "write a version, or leave the key out", &version);
}

static int check_inner_path(const char *path, const struct memo_place *at)
{
	if (!memo_task_inner_path_ok(path))
		return memo_place_refuse(
			at,
			"'%s' is not a path inside the folder; make it relative, without '.', '..' or "
			"empty parts",
			memo_place_show(path).text);
	if (strncmp(path, "needs", 5) == 0 && (path[5] == '\0' || path[5] == '/'))
		return memo_place_refuse(
			at,
			"'%s' lies in 'needs', where the task finds its upstream results; use another "
			"name",
			memo_place_show(path).text);
	return 0;
}

static int read_command(struct memo_task *t, const struct memo_place *top)
{
	const json_t *o = t->definition;
	struct memo_place command = memo_place_key(top, "command"), script = memo_place_key(top, "script");
	struct memo_place verify = memo_place_key(top, "verify");
	int r = memo_place_strings(top, o, "command", MEMO_TASK_ARGV, &t->command, &t->commands);

	if (r == 0)
		r = copy_string(top, o, "script", &t->script);
	if (r == 0)
		r = memo_place_strings(top, o, "verify", MEMO_TASK_ARGV, &t->verify, &t->verifies);
	if (r < 0)
		return r;
	if (t->commands > 0 && t->script != NULL)
		return memo_place_refuse(top, "both 'command' and 'script' are given; keep one of them");
	if (t->commands == 0 && t->script == NULL)
		return memo_place_refuse(top,
					 "neither 'command' nor 'script' is given; add \"command\": [\"program\", "
					 "\"argument\"] or \"script\": \"run.sh\"");
	if (t->commands > 0 && t->command[0][0] == '\0')
		return memo_place_refuse(&command, "begins with an empty string; put the program's name first");
	if (t->verifies > 0 && t->verify[0][0] == '\0')
		return memo_place_refuse(&verify, "begins with an empty string; put the program's name first");
	return t->script != NULL ? check_inner_path(t->script, &script) : 0;
}

static int read_output_type(const json_t *o, enum memo_output_type *out, const struct memo_place *at)
{
	const char *type = NULL;
	struct memo_place here = memo_place_key(at, "type");
	int r = memo_place_string(at, o, "type", &type);

	if (r < 0)
		return r;
	if (type == NULL)
		return memo_place_refuse(at,
					 "'type' is missing; add \"type\": \"File\", \"Directory\", \"json\" or "
					 "\"External\"");
	for (int k = MEMO_OUT_FILE; k <= MEMO_OUT_EXTERNAL; k++) {
		if (strcmp(type, memo_output_text((enum memo_output_type)k)) == 0) {
			*out = (enum memo_output_type)k;
			return 0;
		}
	}
	return memo_place_refuse(&here, "'%s' is not an output type; use File, Directory, json or External",
				 memo_place_show(type).text);
}

static int read_output(struct memo_task *t, const struct memo_place *top)
{
	static const char *const known[] = { "type", "from", "path", NULL };
	const json_t *o = json_object_get(t->definition, "output");
	const char *from_text = NULL;
	struct memo_place at = memo_place_key(top, "output");
	struct memo_place from = memo_place_key(&at, "from"), path = memo_place_key(&at, "path");

	if (o == NULL)
		return 0;
	int r = memo_place_object(&at, o, known);
	if (r == 0)
		r = read_output_type(o, &t->output, &at);
	if (r == 0)
		r = memo_place_string(&at, o, "from", &from_text);
	if (r == 0)
		r = copy_string(&at, o, "path", &t->output_path);
	if (r < 0)
		return r;
	if (from_text != NULL && strcmp(from_text, "stdout") != 0)
		return memo_place_refuse(&from, "'%s' is not known; write \"stdout\", or name a file by 'path'",
					 memo_place_show(from_text).text);
	if (t->output == MEMO_OUT_DIRECTORY && from_text != NULL)
		return memo_place_refuse(&from,
					 "a Directory cannot come from stdout; leave 'from' out and name the "
					 "directory by 'path'");
	if (t->output == MEMO_OUT_DIRECTORY && t->output_path == NULL)
		return memo_place_refuse(&at, "a Directory needs 'path'; add \"path\": and the directory's name");
	if (t->output == MEMO_OUT_EXTERNAL && t->output_path != NULL)
		return memo_place_refuse(&path,
					 "an External result is the path that the task prints; leave 'path' out");
	if (from_text != NULL && t->output_path != NULL)
		return memo_place_refuse(&at, "both 'from' and 'path' are given; keep one of them");
	if (t->output_path == NULL)
		return 0;
	if (t->output_path[0] == '-')
		return memo_place_refuse(
			&path, "'%s' begins with '-', which programs take for an option; use another name",
			memo_place_show(t->output_path).text);
	return check_inner_path(t->output_path, &path);
}

static bool env_name_ok(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && !(name[0] >= '0' && name[0] <= '9') &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static bool env_name_taken(const char *name)
{
	static const char *const taken[] = { "PATH", "HOME", "TMPDIR", "OUTPUT", "MEMOFS_MOUNT" };

	for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
		if (strcmp(name, taken[i]) == 0)
			return true;
	return strncmp(name, "INPUT_", 6) == 0 || strncmp(name, "NEED_", 5) == 0;
}

static int read_env(struct memo_task *t, const struct memo_place *top)
{
	json_t *o = json_object_get(t->definition, "env"), *v;
	const char *key;
	struct memo_place at = memo_place_key(top, "env");

	t->env = o != NULL ? json_incref(o) : json_object();
	if (t->env == NULL)
		return memo_place_nomem(&at);
	int r = memo_place_object(&at, t->env, NULL);
	if (r < 0)
		return r;
	json_object_foreach(t->env, key, v)
	{
		const char *value;
		if (!env_name_ok(key))
			return memo_place_refuse(
				&at,
				"'%s' cannot name a variable; use letters, digits and _ (not a digit "
				"first)",
				memo_place_show(key).text);
		if (env_name_taken(key))
			return memo_place_refuse(&at, "'%s' is set by memofs itself; use another name",
						 memo_place_show(key).text);
		r = memo_place_string(&at, t->env, key, &value);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct memo_code *)a)->path, ((const struct memo_code *)b)->path);
}

/* The script, then the further files. */
static int read_code(struct memo_task *t, const struct memo_place *top)
{
	struct memo_place at = memo_place_key(top, "code");
	char **list = NULL;
	size_t n = 0, first = t->script != NULL ? 1 : 0;
	int r = memo_place_strings(top, t->definition, "code", MEMO_TASK_CODE_FILES, &list, &n);

	t->code = calloc(n + first + 1, sizeof *t->code);
	if (r == 0 && t->code == NULL)
		r = memo_place_nomem(&at);
	if (r == 0 && first == 1) {
		t->code[0].path = strdup(t->script);
		t->codes = 1;
		if (t->code[0].path == NULL)
			r = memo_place_nomem(&at);
	}
	for (size_t i = 0; i < n; i++) {
		struct memo_place each = memo_place_index(&at, i);
		if (r == 0)
			r = check_inner_path(list[i], &each);
		if (r == 0)
			t->code[t->codes++].path = memo_ptr_steal(&list[i]);
		free(list[i]);
	}
	free(list);
	if (r < 0)
		return r;
	qsort(t->code + first, n, sizeof *t->code, by_path);
	for (size_t i = 1; i < t->codes; i++) {
		bool script = first == 1 && strcmp(t->code[i].path, t->script) == 0;
		if (script || strcmp(t->code[i].path, t->code[i - 1].path) == 0)
			return memo_place_refuse(&at, "'%s' is listed twice%s; leave one out",
						 memo_place_show(t->code[i].path).text,
						 script ? " (it is the script)" : "");
	}
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_tools(struct memo_task *t, const struct memo_place *top)
{
	struct memo_place at = memo_place_key(top, "tools");
	int r = memo_place_strings(top, t->definition, "tools", MEMO_TASK_TOOLS, &t->tool, &t->tools);

	for (size_t i = 0; i < t->tools && r == 0; i++) {
		struct memo_place each = memo_place_index(&at, i);
		const char *name = t->tool[i];
		if (strchr(name, '/') != NULL || !memo_task_inner_path_ok(name))
			return memo_place_refuse(
				&each,
				"'%s' is not the name of a program; write it without a folder, it is "
				"found through PATH",
				memo_place_show(name).text);
	}
	if (r < 0 || t->tools == 0)
		return r;
	qsort(t->tool, t->tools, sizeof *t->tool, by_bytes);
	for (size_t i = 1; i < t->tools; i++)
		if (strcmp(t->tool[i], t->tool[i - 1]) == 0)
			return memo_place_refuse(&at, "'%s' is listed twice; leave one out",
						 memo_place_show(t->tool[i]).text);
	return 0;
}

/* "4 GiB" or bytes. */
static int read_memory(struct memo_task *t, const json_t *o, const struct memo_place *at)
{
	const json_t *v = json_object_get(o, "memory");
	struct memo_place here = memo_place_key(at, "memory");

	if (v == NULL)
		return 0;
	if (json_is_integer(v) && json_integer_value(v) > 0)
		t->memory_bytes = (uint64_t)json_integer_value(v);
	else if (json_is_string(v) && memo_task_parse_size(json_string_value(v), &t->memory_bytes) < 0)
		return memo_place_refuse(
			&here,
			"'%s' is not a size; write a whole number and a unit (B, kB, MB, GB, TB, KiB, MiB, "
			"GiB, TiB), as in \"4 GiB\"",
			memo_place_show(json_string_value(v)).text);
	if (t->memory_bytes == 0)
		return memo_place_refuse(&here,
					 "must be a size such as \"4 GiB\", or a whole number of bytes, and not 0");
	return 0;
}

/* "HH:MM:SS" or seconds. */
static int read_time(struct memo_task *t, const json_t *o, const struct memo_place *at)
{
	const json_t *v = json_object_get(o, "time");
	struct memo_place here = memo_place_key(at, "time");

	if (v == NULL)
		return 0;
	if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= MEMO_TASK_TIME_MS / 1000)
		t->time_ms = json_integer_value(v) * 1000;
	else if (json_is_string(v) && memo_task_parse_time(json_string_value(v), &t->time_ms) < 0)
		return memo_place_refuse(
			&here, "'%s' is not a time; write \"HH:MM:SS\" (or \"D-HH:MM:SS\"), at most ten years",
			memo_place_show(json_string_value(v)).text);
	if (t->time_ms == 0)
		return memo_place_refuse(
			&here, "must be a time such as \"02:00:00\", or a whole number of seconds, not 0 and at "
			       "most ten years");
	return 0;
}

static int read_requirements(struct memo_task *t, const struct memo_place *top)
{
	static const char *const known[] = { "cpu", "memory", "time", "network", NULL };
	const json_t *o = json_object_get(t->definition, "requirements");
	struct memo_place at = memo_place_key(top, "requirements");

	t->cpu = 1;
	if (o == NULL)
		return 0;
	int r = memo_place_object(&at, o, known);
	if (r == 0)
		r = memo_place_int(&at, o, "cpu", 1, MEMO_TASK_CPUS, &t->cpu);
	if (r == 0)
		r = read_memory(t, o, &at);
	if (r == 0)
		r = read_time(t, o, &at);
	return r < 0 ? r : memo_place_bool(&at, o, "network", &t->network);
}

static int read_hints(struct memo_task *t, const struct memo_place *top)
{
	static const char *const known[] = { "executor", "partition", "account", "qos", "constraint", NULL };
	json_t *o = json_object_get(t->definition, "hints");
	struct memo_place at = memo_place_key(top, "hints");

	t->hints = o != NULL ? json_incref(o) : json_object();
	if (t->hints == NULL)
		return memo_place_nomem(&at);
	int r = memo_place_object(&at, t->hints, known);
	for (size_t i = 0; known[i] != NULL && r == 0; i++) {
		const char *s = NULL;
		struct memo_place here = memo_place_key(&at, known[i]);
		r = memo_place_string(&at, t->hints, known[i], &s);
		if (r < 0 || s == NULL)
			continue;
		for (const char *p = s; *p != '\0' || p == s; p++)
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				return memo_place_refuse(
					&here, "is empty or has control characters; write a name, or leave "
					       "the key out");
		if (i > 0)
			continue;
		t->executor = strcmp(s, "local") == 0	? MEMO_EXEC_LOCAL
			      : strcmp(s, "slurm") == 0 ? MEMO_EXEC_SLURM
							: MEMO_EXEC_DEFAULT;
		if (t->executor == MEMO_EXEC_DEFAULT)
			return memo_place_refuse(&here, "'%s' is not an executor; use local or slurm",
						 memo_place_show(s).text);
	}
	return r;
}

static int read_fail_codes(struct memo_task *t, const struct memo_place *top)
{
	const json_t *v = json_object_get(t->definition, "temporary_fail_codes");
	struct memo_place at = memo_place_key(top, "temporary_fail_codes");
	bool seen[FAIL_CODES + 1] = { false };

	if (v == NULL)
		return 0;
	size_t n = json_array_size(v);
	if (!json_is_array(v) || n > FAIL_CODES)
		return memo_place_refuse(&at, "must be an array of exit statuses, as in [75]");
	t->temporary = calloc(n + 1, sizeof *t->temporary);
	if (t->temporary == NULL)
		return memo_place_nomem(&at);
	for (size_t i = 0; i < n; i++) {
		const json_t *e = json_array_get(v, i);
		struct memo_place each = memo_place_index(&at, i);
		json_int_t code = json_integer_value(e); /* 0 when it is no integer */
		if (code < 1 || code > FAIL_CODES)
			return memo_place_refuse(
				&each, "is not an exit status of a failure; use whole numbers from 1 to %d",
				FAIL_CODES);
		if (seen[code])
			return memo_place_refuse(&each, "%d is listed twice; leave one out", (int)code);
		seen[code] = true;
		t->temporary[t->temporaries++] = (int)code;
	}
	return 0;
}

static int read_policy(struct memo_task *t, const struct memo_place *top)
{
	const char *abandon = "continue";
	struct memo_place at = memo_place_key(top, "abandon");

	t->cache = true;
	int r = memo_place_bool(top, t->definition, "cache", &t->cache);
	if (r == 0)
		r = memo_place_int(top, t->definition, "max_retries", 0, MEMO_TASK_RETRIES, &t->max_retries);
	if (r == 0)
		r = read_fail_codes(t, top);
	if (r == 0)
		r = memo_place_string(top, t->definition, "abandon", &abandon);
	if (r < 0)
		return r;
	if (strcmp(abandon, "cancel") == 0)
		t->abandon = MEMO_ABANDON_CANCEL;
	else if (strcmp(abandon, "continue") != 0)
		return memo_place_refuse(&at, "'%s' is not known; use continue or cancel",
					 memo_place_show(abandon).text);
	return 0;
}

static int read_need_inputs(struct memo_need *n, const json_t *o, const struct memo_place *need)
{
	json_t *given = json_object_get(o, "inputs"), *v;
	const char *key;
	struct memo_place at = memo_place_key(need, "inputs");

	n->inputs = given != NULL ? json_incref(given) : json_object();
	if (n->inputs == NULL)
		return memo_place_nomem(&at);
	int r = memo_place_object(&at, n->inputs, NULL);
	if (r < 0)
		return r;
	if (json_object_size(n->inputs) > MEMO_TASK_INPUTS)
		return memo_place_refuse(&at, "has %zu members; at most %d are allowed",
					 json_object_size(n->inputs), MEMO_TASK_INPUTS);
	json_object_foreach(n->inputs, key, v) if (!memo_value_name_ok(key)) return memo_place_refuse(
		&at,
		"'%s' cannot name an input; use letters, digits and _ (not a digit "
		"first), at most %d bytes",
		memo_place_show(key).text, MEMO_NAME_MAX);
	return 0;
}

static int read_need(struct memo_need *n, const char *name, const json_t *o, const struct memo_place *needs)
{
	static const char *const known[] = { "task", "version", "each", "inputs", NULL };
	struct memo_place at = memo_place_key(needs, name);
	struct memo_place task = memo_place_key(&at, "task"), version = memo_place_key(&at, "version");

	if (!memo_value_name_ok(name))
		return memo_place_refuse(
			needs,
			"'%s' cannot name a need; use letters, digits and _ (not a digit first), at most "
			"%d bytes",
			memo_place_show(name).text, MEMO_NAME_MAX);
	n->name = strdup(name);
	int r = n->name == NULL ? memo_place_nomem(&at) : memo_place_object(&at, o, known);
	if (r == 0)
		r = copy_string(&at, o, "task", &n->task);
	if (r == 0 && n->task == NULL)
		r = memo_place_refuse(&at, "'task' is missing; add \"task\": and the name of the upstream task");
	if (r == 0)
		r = check_task_name(n->task, &task);
	if (r == 0)
		r = copy_string(&at, o, "version", &n->version);
	if (r == 0 && n->version != NULL)
		r = check_version(n->version, "leave the key out to mean the latest", &version);
	if (r == 0)
		r = copy_string(&at, o, "each", &n->each);
	return r < 0 ? r : read_need_inputs(n, o, &at);
}

static int read_needs(struct memo_task *t, const struct memo_place *top)
{
	json_t *o = json_object_get(t->definition, "needs");
	struct memo_place at = memo_place_key(top, "needs");
	MEMO_AUTO_FREE const char **keys = NULL;

	if (o == NULL)
		return 0;
	int r = memo_place_object(&at, o, NULL);
	size_t n = json_object_size(o);
	if (r == 0 && n > MEMO_TASK_NEEDS)
		r = memo_place_refuse(&at, "has %zu members; at most %d are allowed", n, MEMO_TASK_NEEDS);
	if (r == 0)
		r = memo_place_sorted(&at, o, &keys);
	if (r < 0)
		return r;
	t->need = calloc(n + 1, sizeof *t->need);
	if (t->need == NULL)
		return memo_place_nomem(&at);
	for (size_t i = 0; i < n && r == 0; i++) {
		t->needs = i + 1; /* the destroyer copes with one that is half made */
		r = read_need(&t->need[i], keys[i], json_object_get(o, keys[i]), &at);
	}
	return r;
}

int memo_task_read(struct memo_task *t, const struct memo_place *top)
{
	static const char *const known[] = { "memofs",	    "name",
					     "version",	    "description",
					     "inputs",	    "needs",
					     "command",	    "script",
					     "output",	    "verify",
					     "env",	    "code",
					     "tools",	    "requirements",
					     "hints",	    "cache",
					     "max_retries", "temporary_fail_codes",
					     "abandon",	    NULL };
	static int (*const part[])(struct memo_task *, const struct memo_place *) = {
		read_names, memo_task_read_inputs, read_needs, read_command, read_output, read_env, read_code,
		read_tools, read_requirements,	   read_hints, read_policy,
	};
	int r = read_format(t->definition, top);

	if (r == 0)
		r = memo_place_object(top, t->definition, known);
	for (size_t i = 0; i < sizeof part / sizeof part[0] && r == 0; i++)
		r = part[i](t, top);
	return r;
}
