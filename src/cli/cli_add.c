/* add, check, new: task files are read here, by the user who names them, with the user's rights; the service gets texts and
 * bytes. All files are read and parsed before anything is sent, so that every mistake is told in one go. */
#include "cli.h"

#include "base/base64.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "core/task.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDERS 4096 /* subdirectories of an argument that hold a task */

struct gathered {
	char **file;
	size_t count;
};

static void gathered_clear(struct gathered *g)
{
	for (size_t i = 0; i < g->count; i++)
		free(g->file[i]);
	free(g->file);
}

static int push(struct gathered *g, char *file)
{
	char **grown = file != NULL ? realloc(g->file, (g->count + 1) * sizeof *grown) : NULL;
	if (grown == NULL) {
		free(file);
		return cli_nomem();
	}
	g->file = grown;
	g->file[g->count++] = file;
	return CLI_DONE;
}

static bool exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every DIR/<name>/task.json, in order. */
static int gather_folders(struct gathered *g, const char *dir)
{
	MEMO_AUTO_DIR DIR *d = opendir(dir);
	size_t first = g->count;
	if (d == NULL) {
		cli_say("%s: %s", dir, memo_strerror(memo_errno()));
		return CLI_USAGE;
	}
	const struct dirent *e;
	while ((e = readdir(d)) != NULL && g->count - first < FOLDERS) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		(void)memo_buf_printf(&b, "%s/%s/task.json", dir, e->d_name);
		if (e->d_name[0] == '.' || memo_buf_error(&b) < 0 || !exists(memo_buf_str(&b)))
			continue;
		int s = push(g, memo_buf_steal(&b));
		if (s != CLI_DONE)
			return s;
	}
	if (g->count == first) {
		cli_say("%s: neither this folder nor one in it has a task.json; memofs new NAME makes one", dir);
		return CLI_USAGE;
	}
	qsort(g->file + first, g->count - first, sizeof *g->file, by_name);
	return CLI_DONE;
}

static int gather(struct gathered *g, const char *arg)
{
	struct stat st;
	if (stat(arg, &st) < 0) {
		cli_say("%s: %s", arg, memo_strerror(memo_errno()));
		return CLI_USAGE;
	}
	if (!S_ISDIR(st.st_mode))
		return push(g, strdup(arg));
	MEMO_AUTO_FREE char *dir = strdup(arg);
	if (dir == NULL)
		return cli_nomem();
	for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
		dir[n - 1] = '\0';
	MEMO_AUTO_FREE char *own = memo_io_join(dir, "task.json");
	if (own == NULL)
		return cli_nomem();
	return exists(own) ? push(g, memo_ptr_steal(&own)) : gather_folders(g, dir);
}

static json_t *encode(const char *path, const struct memo_buf *b, bool exec)
{
	MEMO_AUTO_FREE char *text = memo_base64_encode(memo_buf_str(b), b->len);
	if (text == NULL)
		return NULL;
	return json_pack("{s:s, s:s, s:b}", "path", path, "data", text, "exec", exec);
}

/* Why memo_io_read_file() did not read it, in words. */
static const char *unread(int code)
{
	return code == -EINVAL ? "Not a regular file" : memo_strerror(code);
}

/* The script and the code files of a task, from the folder of its file. */
static int read_code(const struct memo_task *t, const char *label, json_t *files)
{
	const char *slash = strrchr(label, '/');
	MEMO_AUTO_FREE char *folder = slash != NULL ? strndup(label, (size_t)(slash - label) + 1) : strdup(".");
	size_t left = MEMO_TASK_CODE_BYTES;
	for (size_t i = 0; i < t->codes; i++) {
		const char *name = t->code[i].path;
		const char *key = t->script != NULL && strcmp(t->script, name) == 0 ? "script" : "code";
		MEMO_AUTO_FREE char *path = folder != NULL ? memo_io_join(folder, name) : NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		struct stat st;
		if (path == NULL)
			return cli_nomem();
		int r = stat(path, &st) < 0 ? memo_errno() : memo_io_read_file(AT_FDCWD, path, left, &b);
		if (r == -EFBIG) {
			cli_say("%s: %s: '%s' makes the code larger than %zu MiB; leave data files out of it",
				label, key, name, MEMO_TASK_CODE_BYTES >> 20);
			return CLI_USAGE;
		}
		if (r < 0) {
			cli_say("%s: %s: '%s' cannot be read: %s; it must be beside the task file", label, key,
				name, unread(r));
			return CLI_USAGE;
		}
		left -= b.len;
		if (memo_json_push(files, encode(name, &b, (st.st_mode & 0111) != 0)) < 0)
			return cli_nomem();
	}
	return CLI_DONE;
}

static int read_task(const char *label, json_t *tasks)
{
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	int r = memo_io_read_file(AT_FDCWD, label, MEMO_TASK_FILE_BYTES, &text);
	if (r < 0) {
		cli_say("%s: %s", label, r == -EFBIG ? "too large for a task file" : unread(r));
		return CLI_USAGE;
	}
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;
	if (memo_task_parse(memo_buf_str(&text), text.len, label, &t, &err) < 0)
		return cli_fail(CLI_USAGE, &err);
	MEMO_AUTO_JSON json_t *files = json_array();
	int s = files == NULL ? cli_nomem() : read_code(t, label, files);
	memo_task_unref(t);
	if (s != CLI_DONE)
		return s;
	json_t *o = json_pack("{s:s, s:s, s:O}", "label", label, "definition", memo_buf_str(&text), "files", files);
	if (o == NULL) {
		cli_say("%s: its name or text is not valid UTF-8", label);
		return CLI_USAGE;
	}
	return memo_json_push(tasks, o) < 0 ? cli_nomem() : CLI_DONE;
}

static int read_all(struct cli *c, json_t *tasks)
{
	struct gathered g = { 0 };
	int worst = CLI_DONE;
	for (int i = 0; i < c->args; i++) {
		int s = gather(&g, c->arg[i]);
		worst = s > worst ? s : worst;
	}
	for (size_t i = 0; i < g.count; i++) {
		int s = read_task(g.file[i], tasks);
		worst = s > worst ? s : worst;
	}
	gathered_clear(&g);
	return worst;
}

static int print_added(const struct cli *c, const json_t *reply)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i;
	json_t *t;
	json_array_foreach(json_object_get(reply, "warnings"), i, t) cli_say("warning: %s", json_string_value(t));
	json_array_foreach(json_object_get(reply, "tasks"), i, t)
	{
		if (cli_value(c, "json") != NULL) {
			cli_put_line(&b, t);
			continue;
		}
		cli_put(&b, memo_json_string(t, "name", "?"));
		(void)memo_buf_putc(&b, ' ');
		cli_put(&b, memo_json_string(t, "version", "-"));
		(void)memo_buf_printf(&b, " %s\n", memo_json_string(t, "result", "?"));
	}
	return cli_write(&b);
}

static int register_tasks(struct cli *c, bool dry)
{
	MEMO_AUTO_JSON json_t *tasks = json_array();
	if (tasks == NULL)
		return cli_nomem();
	int s = read_all(c, tasks);
	if (s != CLI_DONE)
		return s;
	s = cli_open(c, NULL);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_JSON json_t *reply = NULL;
	s = cli_call(c, json_pack("{s:s, s:b, s:O}", "op", "add", "dry", dry, "tasks", tasks), NULL, NULL, &reply);
	return s != CLI_DONE ? s : print_added(c, reply);
}

static int run_add(struct cli *c)
{
	return register_tasks(c, false);
}

static int run_check(struct cli *c)
{
	return register_tasks(c, true);
}

const struct cli_command cli_add = {
	.name = "add",
	.arguments = "FILE|DIR...",
	.summary = "register tasks",
	.about = "Registers the tasks that the task files define, with their script and code files, and prints\n"
		 "\"name version added|unchanged|updated\" for each. A folder stands for its task.json, or for "
		 "those of the\n"
		 "folders in it. All files are checked first; when one is wrong, none is registered.",
	.example = "memofs add pipelines/align pipelines/index/task.json",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.least = 1,
	.most = -1,
	.makes = true,
	.run = run_add,
};

const struct cli_command cli_check = {
	.name = "check",
	.arguments = "FILE|DIR...",
	.summary = "say what add would say, and change nothing",
	.about = "Checks task files as add does, and prints what add would print. Nothing is registered.",
	.example = "memofs check pipelines/align",
	.option = { { 'j', "json", NULL, "one JSON object a line" } },
	.least = 1,
	.most = -1,
	.makes = true,
	.run = run_check,
};

static const char starter_json[] =
	"{\n"
	"  \"memofs\": 1,\n"
	"  \"name\": \"@NAME@\",\n"
	"  \"description\": \"Greets somebody a number of times. Replace this by what your task does.\",\n"
	"  \"inputs\": {\n"
	"    \"who\":   { \"type\": \"string\", \"default\": \"world\" },\n"
	"    \"times\": { \"type\": \"int\", \"default\": 1, \"minimum\": 1 }\n"
	"  },\n"
	"  \"script\": \"run.sh\",\n"
	"  \"output\": { \"type\": \"File\", \"from\": \"stdout\" }\n"
	"}\n";

static const char starter_script[] =
	"#!/bin/sh\n"
	"# The program of the task '@NAME@'. What it prints on stdout is the result (task.json: output).\n"
	"#\n"
	"# - Each input is a variable: \"who\" is $INPUT_WHO. A File input is the path of a file to read.\n"
	"#   To add one, put it into task.json under \"inputs\", for instance\n"
	"#       \"reads\": { \"type\": \"File\" }\n"
	"# - The result of another task (task.json: \"needs\") is the path in $NEED_<NAME>.\n"
	"# - What is printed on stderr is kept: memofs log PATH shows it.\n"
	"# - It runs in an empty directory of its own with a clean environment. Exit status 0 is success.\n"
	"# - As long as the inputs and this program stay the same, the result is reused and this does not run.\n"
	"#   To be the judge of that yourself, give task.json a \"version\".\n"
	"set -eu\n"
	"\n"
	"i=0\n"
	"while [ \"$i\" -lt \"$INPUT_TIMES\" ]; do\n"
	"\techo \"Hello, $INPUT_WHO!\"\n"
	"\ti=$((i + 1))\n"
	"done\n";

static int write_starter(const char *dir, const char *file, const char *text, const char *name, mode_t mode)
{
	static const char mark[] = "@NAME@";
	MEMO_AUTO_FREE char *path = memo_io_join(dir, file);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const char *at = strstr(text, mark);
	(void)memo_buf_append(&b, text, (size_t)(at - text));
	(void)memo_buf_printf(&b, "%s%s", name, at + sizeof mark - 1);
	if (path == NULL || memo_buf_error(&b) < 0)
		return cli_nomem();
	MEMO_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int r = fd < 0 ? memo_errno() : memo_io_write_all(fd, b.data, b.len);
	if (r == -EEXIST) {
		cli_say("%s: is there already and is left as it is; choose another name", path);
		return CLI_USAGE;
	}
	if (r < 0) {
		cli_say("%s: %s", path, memo_strerror(r));
		return CLI_TROUBLE;
	}
	return CLI_DONE;
}

static int run_new(struct cli *c)
{
	const char *dir = c->arg[0], *slash = strrchr(dir, '/');
	const char *name = slash != NULL ? slash + 1 : dir;
	if (!memo_task_name_ok(name)) {
		cli_say("'%s' cannot be a task's name: it begins with a letter or '_', followed by at most 63 "
			"letters, digits, "
			"'_', '.' or '-'",
			name);
		return CLI_USAGE;
	}
	MEMO_AUTO_FREE char *task = memo_io_join(dir, "task.json");
	MEMO_AUTO_FREE char *script = memo_io_join(dir, "run.sh");
	if (task == NULL || script == NULL)
		return cli_nomem();
	if (exists(task) || exists(script)) {
		cli_say("%s: is there already and is left as it is; choose another name",
			exists(task) ? task : script);
		return CLI_USAGE;
	}
	if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
		int r = memo_errno();
		cli_say("%s: cannot be made: %s", dir, memo_strerror(r));
		return r == -ENOENT || r == -ENOTDIR ? CLI_USAGE : CLI_TROUBLE;
	}
	int s = write_starter(dir, "run.sh", starter_script, name, 0777);
	if (s == CLI_DONE)
		s = write_starter(dir, "task.json", starter_json, name, 0666);
	if (s != CLI_DONE)
		return s;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_BUF struct memo_buf word = { 0 };
	(void)memo_log_word(&word, dir);
	(void)memo_buf_puts(&b, "made ");
	cli_put(&b, task);
	(void)memo_buf_puts(&b, " and ");
	cli_put(&b, script);
	(void)memo_buf_printf(
		&b,
		"\n\n"
		"next:\n"
		"  memofs add %s            registers it\n"
		"  memofs get %s who=you    runs it and prints the result; the second time from the store\n"
		"  memofs show %s           says what it is\n"
		"Then change both files, and add it again.\n",
		memo_buf_str(&word), name, name);
	return cli_write(&b);
}

const struct cli_command cli_new = {
	.name = "new",
	.arguments = "NAME",
	.summary = "write a starter task",
	.about = "Makes the folder NAME with a task file that can be registered and run as it is, and a commented "
		 "script\n"
		 "to begin with. Nothing that exists is overwritten.",
	.example = "memofs new hello && memofs add hello && memofs get hello who=you",
	.least = 1,
	.most = 1,
	.run = run_new,
};
