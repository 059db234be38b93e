/* Adding to a run: one instance, or the rows of a sheet, some at a time. A row's message says where in the sheet it stands:
 *	samples.csv: row 3 (line 5), column 'min_score': 'x' is not an integer
 * A sheet is written by hand, so that a missing file is the commonest mistake in one: it is looked for here, before
 * anything is started. */
#include "service_call.h"

#include "base/json.h"
#include "base/scope.h"
#include "runner/run.h"

#include <string.h>

#define ROWS_AT_ONCE 10000

/* What the rows of one request share. */
struct sheet {
	const char *run;
	const char *dir; /* what relative Files are relative to */
	bool fixed;
	json_t *constants; /* partial inputs that every row has */
	const json_t *columns; /* array of names; NULL: the rows are objects */
};

/* "input 'x': ..." is "column 'x': ..." here. */
static int in_column(struct memo_service_call *c, const char *key, int code)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "input '%s': ", key);
	const char *text = c->err.text;
	if (memo_buf_error(&b) == 0 && b.len > 0 && strncmp(text, b.data, b.len) == 0)
		memmove(c->err.text, text + b.len, strlen(text + b.len) + 1);
	return memo_fail_prefix(&c->err, code, "column '%.80s'", key);
}

/* With the rights of whoever asks, who is told no more than he could see himself. */
static int look_for(struct memo_service_call *c, const struct memo_input *in, const char *path)
{
	bool directory = in->type.kind == MEMO_DIRECTORY;
	if (strncmp(path, "/tasks/", 7) == 0)
		return 0;
	int r = memo_store_may_read(c->store, path, directory, c->asker.who, &c->err);
	if (r == -ENOENT || (r == -ENOTDIR && !directory))
		return memo_fail(&c->err, -EINVAL, "'%s' does not exist", path);
	/* what else is wrong with it is told when it is demanded: it may be put right until then */
	if (r != -EISDIR && r != -ENOTDIR)
		return 0;
	return memo_fail(&c->err, -EINVAL,
			 directory ? "'%s' is not a directory" : "'%s' is a directory, a file is wanted", path);
}

static bool is_place(const struct memo_input *in)
{
	return in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY;
}

/* The file that a cell names, made absolute. */
static int file_of(struct memo_service_call *c, const struct sheet *s, const struct memo_input *in,
		   const char *text, char **out)
{
	int r = memo_service_file(c, in, text, s->dir, out);
	if (r == 0) {
		r = look_for(c, in, *out);
		if (r < 0) {
			free(*out);
			*out = NULL;
		}
	}
	return r;
}

static int put_cell(struct memo_service_call *c, const struct sheet *s, json_t *partial, const char *key,
		    const char *text)
{
	const struct memo_input *in = memo_task_input(c->task, key);
	MEMO_AUTO_FREE char *path = NULL;
	if (text[0] == '\0' && (!in->required || in->type.array))
		return 0;
	int r = is_place(in) ? file_of(c, s, in, text, &path) : 0;
	if (r == 0)
		r = memo_service_put_text(c, partial, key, path != NULL ? path : text, s->dir);
	return r < 0 ? in_column(c, key, r) : 0;
}

static int cells_row(struct memo_service_call *c, const struct sheet *s, const json_t *row, json_t *partial)
{
	if (json_array_size(row) != json_array_size(s->columns))
		return memo_fail(&c->err, -EINVAL, "%zu cells, but the header names %zu columns",
				 json_array_size(row), json_array_size(s->columns));
	for (size_t i = 0; i < json_array_size(row); i++) {
		const char *text = json_string_value(json_array_get(row, i));
		if (text == NULL)
			return memo_fail(&c->err, -EINVAL, "request: a cell must be a string");
		int r = put_cell(c, s, partial, json_string_value(json_array_get(s->columns, i)), text);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A typed value with its Files made absolute; a new reference. */
static int typed(struct memo_service_call *c, const struct sheet *s, const struct memo_input *in, json_t *v,
		 json_t **out)
{
	MEMO_AUTO_FREE char *path = NULL;
	if (json_is_string(v) && is_place(in)) {
		int r = file_of(c, s, in, json_string_value(v), &path);
		if (r < 0)
			return r;
		*out = json_string(path);
		return *out == NULL ? memo_service_nomem(c) : 0;
	}
	if (!json_is_array(v) || !is_place(in)) {
		*out = json_incref(v);
		return 0;
	}
	MEMO_AUTO_JSON json_t *all = json_array();
	size_t i;
	json_t *e;
	json_array_foreach(v, i, e)
	{
		json_t *one = NULL;
		int r = json_is_array(e) ? memo_fail(&c->err, -EINVAL, "an array within an array")
					 : typed(c, s, in, e, &one);
		if (r < 0)
			return r;
		if (all == NULL || memo_json_push(all, one) < 0)
			return memo_service_nomem(c);
	}
	*out = memo_json_steal(&all);
	return *out == NULL ? memo_service_nomem(c) : 0;
}

static int object_row(struct memo_service_call *c, const struct sheet *s, const json_t *row, json_t *partial)
{
	const char *key;
	json_t *v;
	if (!json_is_object(row))
		return memo_fail(&c->err, -EINVAL, "request: a row must be an object");
	json_object_foreach((json_t *)(uintptr_t)row, key, v)
	{
		const struct memo_input *in = memo_task_input(c->task, key);
		json_t *made = NULL;
		MEMO_AUTO_JSON json_t *checked = NULL;
		if (in == NULL)
			return memo_service_unknown(c, key);
		if (json_object_get(s->constants, key) != NULL)
			return memo_fail(&c->err, -EINVAL, "input '%s' is given by the sheet and as an argument",
					 key);
		int r = typed(c, s, in, v, &made);
		if (r == 0) {
			r = memo_value_from_json(in, made, &checked, &c->err);
			if (memo_json_set(partial, key, made) < 0)
				return memo_service_nomem(c);
		}
		if (r < 0)
			return in_column(c, key, r);
	}
	return 0;
}

static int add_row(struct memo_service_call *c, const struct sheet *s, const json_t *row)
{
	/* arrays among the constants are shared, and never a column's */
	MEMO_AUTO_JSON json_t *partial = json_copy(s->constants);
	MEMO_AUTO_JSON json_t *inputs = NULL;
	if (partial == NULL)
		return memo_service_nomem(c);
	int r = s->columns != NULL ? cells_row(c, s, row, partial) : object_row(c, s, row, partial);
	if (r == 0)
		r = memo_task_bind(c->task, partial, &inputs, &c->err);
	if (r == 0)
		r = memo_run_add(c->runner, s->run, c->task, s->fixed, inputs, &c->err);
	return r;
}

static int check_columns(struct memo_service_call *c, const struct sheet *s)
{
	for (size_t i = 0; i < json_array_size(s->columns); i++) {
		const char *key = json_string_value(json_array_get(s->columns, i));
		const struct memo_input *in = key != NULL ? memo_task_input(c->task, key) : NULL;
		if (key == NULL)
			return memo_fail(&c->err, -EINVAL, "request: 'columns' must be an array of names");
		if (in == NULL)
			return memo_service_unknown(c, key);
		if (json_object_get(s->constants, key) != NULL)
			return memo_fail(&c->err, -EINVAL, "input '%s' is given by the sheet and as an argument",
					 key);
		for (size_t k = 0; k < i && !in->type.array; k++) {
			if (json_equal(json_array_get(s->columns, k), json_array_get(s->columns, i)))
				return memo_fail(
					&c->err, -EINVAL,
					"column '%s' is there twice, but the input is one %s, not an array", key,
					in->type_text);
		}
	}
	return 0;
}

/* Where the error stands, in front of it. What is wrong in a sheet is wrong usage, whatever the errno. */
static int in_sheet(struct memo_service_call *c, int code, int64_t number, int64_t line)
{
	const char *label = memo_json_string(c->request, "label", "sheet");
	if (code == -EINVAL || code == -ENOTUNIQ || code == -ERANGE || code == -EFBIG || code == -ENOENT)
		c->status = 2;
	if (number == 0)
		return memo_fail_prefix(&c->err, code, "%s: header", label);
	bool column = strncmp(c->err.text, "column '", 8) == 0; /* as the sheet's own messages say it */
	struct memo_err what = c->err;
	c->err.code = 0;
	return memo_fail(&c->err, code, "%.400s: row %lld (line %lld)%s %s", label, (long long)number,
			 (long long)line, column ? "," : ":", what.text);
}

static int add_rows(struct memo_service_call *c, struct sheet *s)
{
	const json_t *rows = json_object_get(c->request, "rows"), *lines = json_object_get(c->request, "lines");
	int64_t first = memo_json_int(c->request, "first", 1);
	if (json_array_size(rows) > ROWS_AT_ONCE)
		return memo_fail(&c->err, -E2BIG, "request: more than %d rows at once", ROWS_AT_ONCE);
	int r = s->columns != NULL ? check_columns(c, s) : 0;
	if (r < 0)
		return in_sheet(c, r, 0, 0);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		int64_t line = json_integer_value(json_array_get(lines, i));
		r = add_row(c, s, json_array_get(rows, i));
		if (r < 0)
			return in_sheet(c, r, first + (int64_t)i, line);
	}
	return 0;
}

static int from_sheet(struct memo_service_call *c, const char *run)
{
	MEMO_AUTO_FREE char *name = NULL;
	MEMO_AUTO_FREE char *version = NULL;
	MEMO_AUTO_JSON json_t *constants = json_object();
	const char *task;
	int r = memo_json_need_string(c->request, "task", &task, &c->err);
	if (r == 0)
		r = memo_service_split_task(c, task, &name, &version);
	if (r == 0)
		r = memo_store_task(c->store, name, version, &c->task, &c->err);
	if (r == 0)
		r = constants == NULL ? memo_service_nomem(c) : memo_service_pairs(c, constants);
	struct sheet s = {
		.run = run,
		.dir = memo_json_string(c->request, "dir", NULL),
		.fixed = memo_json_bool(c->request, "fixed", false),
		.constants = constants,
		.columns = json_object_get(c->request, "columns"),
	};
	return r < 0 ? r : add_rows(c, &s);
}

/* Whether a version was asked for by name, which a retry keeps to. */
static bool fixed_by_name(const struct memo_service_call *c)
{
	const char *path = memo_json_string(c->request, "path", NULL),
		   *task = memo_json_string(c->request, "task", "");
	const char *at = strchr(task, '@');
	if (path == NULL)
		return at != NULL && strcmp(at + 1, "latest") != 0;
	return strstr(path, "/latest/") == NULL;
}

static int one(struct memo_service_call *c)
{
	const char *run = memo_json_string(c->request, "run", "");
	if (json_object_get(c->request, "rows") != NULL)
		return from_sheet(c, run);
	int r = memo_service_instance(c);
	if (r == 0 && c->inner != NULL)
		r = memo_fail(&c->err, -EINVAL,
			      "%s: '%.300s' is inside a result; a run takes the result as a whole", c->path,
			      c->inner);
	if (r == 0)
		r = memo_run_add(c->runner, run, c->task, fixed_by_name(c), c->inputs, &c->err);
	return r < 0 ? r : memo_service_set(c, "path", json_string(c->path));
}

int memo_op_run_add(struct memo_service_call *c)
{
	const char *id;
	int r = memo_service_run(c, &id);
	return r < 0 ? r : memo_service_work(c, one);
}
