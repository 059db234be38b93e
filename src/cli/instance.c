/* Which instance an argument names: "TASK[@VERSION] key=value ..." or paths. A word with a '/', a '=' or a leading '@' or
 * '.' is a path, because no task's name can hold these. A path is one in the mount, also relative to a working
 * directory there, or what follows /tasks/. */
#include "cli.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/value.h"

#include <string.h>

static bool is_path(const char *word)
{
	return word[0] == '@' || word[0] == '.' || strpbrk(word, "/=") != NULL;
}

const char *cli_path_argument(const struct cli *c)
{
	return c->args > 0 && is_path(c->arg[0]) ? c->arg[0] : NULL;
}

static bool is_view(const char *text, size_t len)
{
	static const char *const views[] = { "tasks", "cached", "start", "info" };
	for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
		if (strlen(views[i]) == len && strncmp(views[i], text, len) == 0)
			return true;
	}
	return false;
}

static size_t parts(const char *path)
{
	size_t n = 0;
	for (const char *p = path; *p != '\0';) {
		size_t len = strcspn(p, "/");
		n += len > 0;
		p += len + (p[len] == '/');
	}
	return n;
}

/* Where the working directory is below the mount's root: "" or "/tasks/align"; NULL: not in the mount. */
static const char *cwd_inside(const struct cli *c)
{
	size_t n = c->mount != NULL ? strlen(c->mount) : 0;
	if (n == 0 || c->cwd == NULL || strncmp(c->cwd, c->mount, n) != 0)
		return NULL;
	return c->cwd[n] == '/' || c->cwd[n] == '\0' ? c->cwd + n : NULL;
}

/* A relative word is below the working directory when that is in the mount and the word alone is no complete name. */
static bool below_cwd(const char *inside, const char *word)
{
	size_t first = strcspn(word, "/");
	if (inside == NULL)
		return false;
	if (word[0] == '.')
		return true;
	size_t view = strcspn(inside + (inside[0] == '/'), "/");
	if (view == 0)
		return is_view(word, first);
	return parts(word) < 3 && parts(inside) - 1 + parts(word) >= 3;
}

static int path_text(const struct cli *c, const char *word, char **out)
{
	const char *inside = cwd_inside(c);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (word[0] != '/' && !below_cwd(inside, word)) {
		size_t first = strcspn(word, "/");
		(void)memo_buf_printf(&b, "%s%s", is_view(word, first) && word[first] == '/' ? "/" : "/tasks/",
				      word);
	} else if (word[0] != '/') {
		(void)memo_buf_printf(&b, "%s/%s", inside, word);
	} else {
		size_t n = c->mount != NULL ? strlen(c->mount) : 0;
		bool in = n > 0 && strncmp(word, c->mount, n) == 0 && word[n] == '/';
		(void)memo_buf_puts(&b, in ? word + n : word);
	}
	if (memo_buf_error(&b) < 0)
		return cli_nomem();
	struct memo_err err = { 0 };
	int r = memo_value_clean_path(memo_buf_str(&b), out, &err);
	return r == 0 ? CLI_DONE : r == -ENOMEM ? cli_nomem() : cli_fail(CLI_USAGE, &err);
}

static int by_paths(struct cli *c, const char *op, json_t *list)
{
	for (int i = 0; i < c->args; i++) {
		if (!is_path(c->arg[i]))
			return cli_usage(c, "%s: '%s' is neither a path nor a key=value for a task",
					 c->command->name, c->arg[i]);
		MEMO_AUTO_FREE char *path = NULL;
		int s = path_text(c, c->arg[i], &path);
		if (s != CLI_DONE)
			return s;
		json_t *request = json_pack("{s:s, s:s}", "op", op, "path", path);
		if (request == NULL) {
			cli_say("'%s' is not valid UTF-8", c->arg[i]);
			return CLI_USAGE;
		}
		if (memo_json_push(list, request) < 0)
			return cli_nomem();
	}
	return CLI_DONE;
}

static int by_task(struct cli *c, const char *op, json_t *list)
{
	MEMO_AUTO_JSON json_t *pairs = json_array();
	for (int i = 1; i < c->args; i++) {
		const char *eq = strchr(c->arg[i], '=');
		if (eq == NULL || eq == c->arg[i])
			return cli_usage(
				c, "%s: '%s' is not key=value; the inputs of task '%s' are shown by memofs show %s",
				c->command->name, c->arg[i], c->arg[0], c->arg[0]);
		json_t *pair = json_pack("[s%, s]", c->arg[i], (size_t)(eq - c->arg[i]), eq + 1);
		if (pair == NULL) {
			cli_say("'%s' is not valid UTF-8; percent-encode other bytes in a path", c->arg[i]);
			return CLI_USAGE;
		}
		if (pairs == NULL || memo_json_push(pairs, pair) < 0)
			return cli_nomem();
	}
	json_t *request = json_pack("{s:s, s:s, s:O, s:s?, s:s?}", "op", op, "task", c->arg[0], "pairs", pairs,
				    "cwd", c->cwd, "mount", c->mount);
	if (request == NULL) {
		cli_say("'%s' is not valid UTF-8", c->arg[0]);
		return CLI_USAGE;
	}
	return memo_json_push(list, request) < 0 ? cli_nomem() : CLI_DONE;
}

int cli_instances(struct cli *c, const char *op, json_t **requests_out)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	if (list == NULL)
		return cli_nomem();
	int s = is_path(c->arg[0]) ? by_paths(c, op, list) : by_task(c, op, list);
	if (s == CLI_DONE)
		*requests_out = memo_json_steal(&list);
	return s;
}
