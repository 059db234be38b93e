/* What of the code is different: a unified diff by Myers' algorithm ("An O(ND) Difference Algorithm", 1986), greedy from the
 * front, on lines; and what a code fingerprint was made of, side by side. */
#include "why.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#define CONTEXT 3
#define SHORT_HEX 12

/* ---- lines ------------------------------------------------------------------------------------------------ */

struct line {
	const char *at;
	size_t len; /* with its newline */
	uint64_t hash;
};

struct lines {
	struct line *line;
	size_t count;
};

static uint64_t hash_line(const char *at, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)at[i]) * UINT64_C(1099511628211);
	return h;
}

static int split(const struct memo_diff_text *t, struct lines *out)
{
	size_t count = 0;
	for (size_t i = 0; i < t->len; i++)
		count += t->data[i] == '\n' || i + 1 == t->len;
	if (count > MEMO_DIFF_LINES)
		return -EFBIG;
	out->line = calloc(count + 1, sizeof *out->line);
	if (out->line == NULL)
		return -ENOMEM;
	for (size_t from = 0; from < t->len;) {
		const char *end = memchr(t->data + from, '\n', t->len - from);
		size_t len = end == NULL ? t->len - from : (size_t)(end - (t->data + from)) + 1;
		out->line[out->count++] = (struct line){ t->data + from, len, hash_line(t->data + from, len) };
		from += len;
	}
	return 0;
}

static bool same(const struct line *a, const struct line *b)
{
	return a->hash == b->hash && a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

/* ---- the shortest edit --------------------------------------------------------------------------------------- */

/* The furthest x on each diagonal k = x - y after d changes: v[d][k + d]. */
struct edit {
	const struct line *a, *b; /* without what begins and ends alike */
	int n, m;
	int **v;
	int d; /* of the shortest */
};

static int reach(const struct edit *e, int d, int k)
{
	const int *last = d > 0 ? e->v[d - 1] : NULL;
	int x = 0;
	if (d > 0) {
		/* v[d - 1][k - 1] and [k + 1] lie at k - 1 + (d - 1) and k + 1 + (d - 1) */
		bool down = k == -d || (k != d && last[k + d - 2] < last[k + d]);
		x = down ? last[k + d] : last[k + d - 2] + 1;
	}
	int y = x - k;
	while (x < e->n && y >= 0 && y < e->m && same(&e->a[x], &e->b[y])) {
		x++;
		y++;
	}
	return x;
}

static int shortest(struct edit *e)
{
	e->v = calloc(MEMO_DIFF_CHANGES + 1, sizeof *e->v);
	if (e->v == NULL)
		return -ENOMEM;
	for (int d = 0; d <= MEMO_DIFF_CHANGES; d++) {
		/* diagonals of the other parity are never read */
		e->v[d] = calloc(2 * (size_t)d + 1, sizeof *e->v[d]);
		if (e->v[d] == NULL)
			return -ENOMEM;
		for (int k = -d; k <= d; k += 2) {
			int x = reach(e, d, k);
			e->v[d][k + d] = x;
			if (x >= e->n && x - k >= e->m) {
				e->d = d;
				return 0;
			}
		}
	}
	return -EFBIG;
}

/* Back from the end: marks what goes and what comes. */
static void trace(const struct edit *e, bool *gone, bool *come)
{
	int k = e->n - e->m;
	for (int d = e->d; d > 0; d--) {
		const int *last = e->v[d - 1];
		bool down = k == -d || (k != d && last[k + d - 2] < last[k + d]);
		int from = down ? k + 1 : k - 1;
		int x = last[from + d - 1];
		if (down)
			come[x - from] = true;
		else
			gone[x] = true;
		k = from;
	}
}

static void edit_clear(struct edit *e)
{
	for (int d = 0; e->v != NULL && d <= MEMO_DIFF_CHANGES; d++)
		free(e->v[d]);
	free(e->v);
}

/* ---- printing -------------------------------------------------------------------------------------------------- */

static void put_line(char mark, const struct line *l, struct memo_buf *out)
{
	(void)memo_buf_putc(out, mark);
	(void)memo_buf_append(out, l->at, l->len);
	if (l->len == 0 || l->at[l->len - 1] != '\n')
		(void)memo_buf_puts(out, "\n\\ No newline at end of file\n");
}

static void put_range(char mark, size_t from, size_t count, struct memo_buf *out)
{
	/* an empty range is named by the line before it */
	(void)memo_buf_printf(out, " %c%zu", mark, count == 0 ? from : from + 1);
	if (count != 1)
		(void)memo_buf_printf(out, ",%zu", count);
}

struct marks {
	const struct lines *a, *b;
	bool *gone, *come;
};

/* A hunk goes on until more than twice the context is unchanged. Ends behind its last change. */
static void hunk_end(const struct marks *m, size_t i, size_t j, size_t *i_out, size_t *j_out)
{
	size_t quiet = 0;
	*i_out = i;
	*j_out = j;
	while ((i < m->a->count || j < m->b->count) && quiet <= (size_t)2 * CONTEXT) {
		if (i < m->a->count && m->gone[i]) {
			i++;
			quiet = 0;
		} else if (j < m->b->count && m->come[j]) {
			j++;
			quiet = 0;
		} else {
			i++;
			j++;
			quiet++;
		}
		if (quiet == 0) {
			*i_out = i;
			*j_out = j;
		}
	}
}

static void put_hunk(const struct marks *m, size_t i, size_t j, size_t i_end, size_t j_end, struct memo_buf *out)
{
	(void)memo_buf_puts(out, "@@");
	put_range('-', i, i_end - i, out);
	put_range('+', j, j_end - j, out);
	(void)memo_buf_puts(out, " @@\n");
	while (i < i_end || j < j_end) {
		if (i < i_end && m->gone[i])
			put_line('-', &m->a->line[i++], out);
		else if (j < j_end && m->come[j])
			put_line('+', &m->b->line[j++], out);
		else
			put_line(' ', &m->a->line[i++], out), j++;
	}
}

static void put_hunks(const struct marks *m, struct memo_buf *out)
{
	size_t i = 0;
	size_t j = 0;
	while (i < m->a->count || j < m->b->count) {
		bool change = (i < m->a->count && m->gone[i]) || (j < m->b->count && m->come[j]);
		if (!change) {
			i++;
			j++;
			continue;
		}
		size_t before = i < j ? i : j;
		before = before < CONTEXT ? before : CONTEXT;
		size_t i_end;
		size_t j_end;
		hunk_end(m, i, j, &i_end, &j_end);
		size_t rest = m->a->count - i_end;
		size_t after = rest < CONTEXT ? rest : CONTEXT;
		put_hunk(m, i - before, j - before, i_end + after, j_end + after, out);
		i = i_end + after;
		j = j_end + after;
	}
}

static int diff_lines(const struct lines *a, const struct lines *b, struct memo_buf *out)
{
	size_t head = 0;
	size_t tail = 0;
	size_t least = a->count < b->count ? a->count : b->count;
	while (head < least && same(&a->line[head], &b->line[head]))
		head++;
	while (tail < least - head && same(&a->line[a->count - 1 - tail], &b->line[b->count - 1 - tail]))
		tail++;
	struct edit e = { .a = a->line + head,
			  .b = b->line + head,
			  .n = (int)(a->count - head - tail),
			  .m = (int)(b->count - head - tail) };
	MEMO_AUTO_FREE bool *gone = calloc(a->count + 1, sizeof *gone);
	MEMO_AUTO_FREE bool *come = calloc(b->count + 1, sizeof *come);
	int r = gone == NULL || come == NULL ? -ENOMEM : shortest(&e);
	if (r == 0) {
		trace(&e, gone + head, come + head);
		struct marks m = { a, b, gone, come };
		put_hunks(&m, out);
	}
	edit_clear(&e);
	return r;
}

static bool is_text(const struct memo_diff_text *t)
{
	if (t->len == 0)
		return true;
	if (t->len > MEMO_DIFF_BYTES || memchr(t->data, '\0', t->len) != NULL)
		return false;
	json_t *j = json_stringn(t->data, t->len); /* refuses what is no UTF-8 */
	json_decref(j);
	return j != NULL;
}

static void put_names(const struct memo_diff_text *a, const struct memo_diff_text *b, struct memo_buf *out)
{
	(void)memo_buf_printf(out, "--- %s\n", a->data == NULL ? "/dev/null" : a->name);
	(void)memo_buf_printf(out, "+++ %s\n", b->data == NULL ? "/dev/null" : b->name);
}

int memo_diff(const struct memo_diff_text *a, const struct memo_diff_text *b, struct memo_buf *out)
{
	if (a->len == b->len && (a->data == NULL) == (b->data == NULL) &&
	    (a->len == 0 || memcmp(a->data, b->data, a->len) == 0))
		return 0;
	if (!is_text(a) || !is_text(b))
		return memo_buf_printf(out, "%s: differs; it is no text, or too large to be shown\n", b->name);
	struct lines la = { 0 };
	struct lines lb = { 0 };
	MEMO_AUTO_BUF struct memo_buf hunks = { 0 };
	int r = split(a, &la);
	if (r == 0)
		r = split(b, &lb);
	if (r == 0)
		r = diff_lines(&la, &lb, &hunks);
	free(la.line);
	free(lb.line);
	if (r == 0) {
		put_names(a, b, out);
		(void)memo_buf_puts(out, memo_buf_str(&hunks));
	} else if (r == -EFBIG) {
		(void)memo_buf_printf(out, "%s: differs in more than %d lines, or has more than %d: not shown\n",
				      b->name, MEMO_DIFF_CHANGES, MEMO_DIFF_LINES);
		r = 0;
	}
	return r < 0 ? r : memo_buf_error(&hunks) < 0 ? memo_buf_error(&hunks) : memo_buf_error(out);
}

/* ---- code -------------------------------------------------------------------------------------------------------- */

/* The row of a registration whose own row is gone with the manifest that had it. */
static json_t *row_of_task(const struct memo_task *t)
{
	MEMO_AUTO_JSON json_t *code = json_array();
	for (size_t i = 0; i < t->codes && code != NULL; i++) {
		char hex[MEMO_HEX_SIZE];
		if (memo_json_push(code, json_pack("{s:s, s:b, s:s}", "path", t->code[i].path, "exec",
						   t->code[i].exec ? 1 : 0, "sha256",
						   memo_id_hex(&t->code[i].id, hex))) < 0)
			return NULL;
	}
	return json_pack("{s:O, s:O, s:O*, s:O*, s:s*}", "code", code, "env", t->env, "command",
			 json_object_get(t->definition, "command"), "output",
			 json_object_get(t->definition, "output"), "script", t->script);
}

/* What the fingerprint was made of. A fingerprint with tools is made anew for each execution: then the version tells of which
 * registration it was (*@tools_out). NULL: it is not known. */
static json_t *row_of(struct memo_store *s, const struct memo_why_side *side, bool *tools_out)
{
	static const char automatic[] = "auto-";
	json_t *row = NULL;
	if (memo_store_code_of(s, side->code, &row, NULL) == 0)
		return row;
	if (strncmp(side->version, automatic, sizeof automatic - 1) == 0 &&
	    memo_store_code_of(s, side->version + sizeof automatic - 1, &row, NULL) == 0) {
		*tools_out = true;
		return row;
	}
	struct memo_task *t = NULL;
	if (memo_store_task(s, side->task, side->version, &t, NULL) == 0)
		row = row_of_task(t);
	memo_task_unref(t);
	return row;
}

/* Each element of the command on its own lines, as it is: a script inside it shows as a script. */
static int command_text(const json_t *command, struct memo_buf *b)
{
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)(uintptr_t)command, i, e)
	{
		(void)memo_buf_append(b, json_string_value(e), json_string_length(e));
		(void)memo_buf_putc(b, '\n');
	}
	return memo_buf_error(b);
}

static int env_text(const json_t *env, struct memo_buf *b)
{
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)(uintptr_t)env, key, v)
	{
		(void)memo_buf_printf(b, "%s=%s\n", key, json_is_string(v) ? json_string_value(v) : "?");
	}
	return memo_buf_error(b);
}

static int diff_made(const char *name, const json_t *a, const json_t *b,
		     int (*text)(const json_t *, struct memo_buf *), struct memo_buf *out)
{
	MEMO_AUTO_BUF struct memo_buf old = { 0 };
	MEMO_AUTO_BUF struct memo_buf new = { 0 };
	int r = text(json_object_get(a, name), &old);
	if (r == 0)
		r = text(json_object_get(b, name), &new);
	struct memo_diff_text from = { name, memo_buf_str(&old), old.len };
	struct memo_diff_text to = { name, memo_buf_str(&new), new.len };
	return r < 0 ? r : memo_diff(&from, &to, out);
}

static const json_t *find(const json_t *list, const char *key, const char *value)
{
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)(uintptr_t)list, i, e)
	{
		if (strcmp(memo_json_string(e, key, ""), value) == 0)
			return e;
	}
	return NULL;
}

static int read_code(struct memo_store *s, const json_t *file, struct memo_buf *out)
{
	struct memo_code c = { .exec = memo_json_bool(file, "exec", false) };
	MEMO_AUTO_FREE char *path = NULL;
	int r = memo_id_parse(memo_json_string(file, "sha256", ""), &c.id);
	if (r == 0)
		r = memo_store_code_path(s, &c, &path);
	return r < 0 ? r : memo_io_read_file(AT_FDCWD, path, MEMO_DIFF_BYTES, out);
}

static int diff_file(struct memo_store *s, const char *path, const json_t *a, const json_t *b, struct memo_buf *out)
{
	if (a != NULL && b != NULL &&
	    strcmp(memo_json_string(a, "sha256", "a"), memo_json_string(b, "sha256", "b")) == 0) {
		bool exec = memo_json_bool(b, "exec", false);
		return memo_json_bool(a, "exec", false) == exec
			       ? 0
			       : memo_buf_printf(out, "%s: is %s now\n", path,
						 exec ? "executable" : "not executable");
	}
	MEMO_AUTO_BUF struct memo_buf old = { 0 };
	MEMO_AUTO_BUF struct memo_buf new = { 0 };
	int r = a == NULL ? 0 : read_code(s, a, &old);
	if (r == 0)
		r = b == NULL ? 0 : read_code(s, b, &new);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return memo_buf_printf(out, "%s: differs; %s\n", path,
				       r == -EFBIG ? "it is too large to be shown"
						   : "its old content is no longer in the store");
	struct memo_diff_text from = { path, a == NULL ? NULL : memo_buf_str(&old), old.len };
	struct memo_diff_text to = { path, b == NULL ? NULL : memo_buf_str(&new), new.len };
	return memo_diff(&from, &to, out);
}

static int diff_files(struct memo_store *s, const json_t *a, const json_t *b, struct memo_buf *out)
{
	int r = 0;
	size_t i;
	json_t *e;
	const json_t *old = json_object_get(a, "code");
	const json_t *now = json_object_get(b, "code");
	json_array_foreach((json_t *)(uintptr_t)now, i, e)
	{
		const char *path = memo_json_string(e, "path", "");
		if (r == 0 && out->len < MEMO_WHY_BYTES)
			r = diff_file(s, path, find(old, "path", path), e, out);
	}
	json_array_foreach((json_t *)(uintptr_t)old, i, e)
	{
		const char *path = memo_json_string(e, "path", "");
		if (r == 0 && out->len < MEMO_WHY_BYTES && find(now, "path", path) == NULL)
			r = diff_file(s, path, e, NULL, out);
	}
	return r;
}

static void diff_tools(const json_t *a, const json_t *b, struct memo_buf *out)
{
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(b, "tools"), i, e)
	{
		const char *name = memo_json_string(e, "name", "");
		const char *new = memo_json_string(e, "sha256", "");
		const char *old =
			memo_json_string(find(json_object_get(a, "tools"), "name", name), "sha256", "(none)");
		if (strcmp(old, new) != 0)
			(void)memo_buf_printf(out, "tool %s: %.*s -> %.*s\n", name, SHORT_HEX, old, SHORT_HEX, new);
	}
}

static void diff_member(const char *name, const json_t *a, const json_t *b, struct memo_buf *out)
{
	const json_t *old = json_object_get(a, name);
	const json_t *new = json_object_get(b, name);
	if (old == NULL && new == NULL)
		return;
	if (old != NULL && new != NULL && json_equal(old, new))
		return;
	MEMO_AUTO_JSON json_t *d = json_pack("{s:s, s:O*, s:O*}", "what", name, "before", old, "after", new);
	if (d != NULL && memo_why_line(d, out) == 0)
		(void)memo_buf_putc(out, '\n');
}

/* The fingerprint differs, but no text does. */
static void put_unseen(const json_t *tools, struct memo_buf *out)
{
	size_t i;
	json_t *e;
	if (json_array_size(tools) == 0) {
		(void)memo_buf_puts(
			out, "no byte of it differs: its files are fingerprinted by another rule than before\n");
		return;
	}
	(void)memo_buf_puts(out, "a program that the task lists in \"tools\" has changed:");
	json_array_foreach((json_t *)(uintptr_t)tools, i, e)
	{
		(void)memo_buf_printf(out, " %s", memo_json_string(e, "name", "?"));
	}
	(void)memo_buf_putc(out, '\n');
}

int memo_why_code(struct memo_store *s, const struct memo_why_side *before, const struct memo_why_side *after,
		  struct memo_buf *out)
{
	bool tools = false;
	MEMO_AUTO_JSON json_t *a = row_of(s, before, &tools);
	MEMO_AUTO_JSON json_t *b = row_of(s, after, &tools);
	if (a == NULL || b == NULL)
		return memo_buf_printf(out, "what code %.*s was made of is no longer known\n", SHORT_HEX,
				       a == NULL ? before->code : after->code);
	size_t start = out->len;
	int r = diff_made("command", a, b, command_text, out);
	if (r == 0)
		r = diff_made("env", a, b, env_text, out);
	if (r == 0)
		r = diff_files(s, a, b, out);
	diff_member("output", a, b, out);
	diff_member("script", a, b, out);
	diff_tools(a, b, out);
	if (r == 0 && (tools || out->len == start))
		put_unseen(json_object_get(b, "tools"), out);
	return r < 0 ? r : memo_buf_error(out);
}
