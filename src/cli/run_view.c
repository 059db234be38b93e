/* A run on the screen. On a terminal one block that is drawn again in place: what is done, what runs and since when, what is
 * left; each line is cut to the terminal's width, because a line that wraps could not be taken away again. Elsewhere a
 * line for each change. At the end, the summary. */
#include "run.h"

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/sync.h"

#include <string.h>
#include <sys/ioctl.h>

#define BAR 30
#define NARROW 60 /* columns below which there is no bar */
#define RUNNING_SHOWN 8
#define FAILURES_SHOWN 10
#define STDERR_LINES 5
#define OPEN "\033[" /* of a terminal's commands */

static void put_err(const struct memo_buf *b)
{
	if (memo_buf_error(b) == 0 && b->len > 0 && memo_io_write_all(2, b->data, b->len) < 0)
		return; /* nobody looks */
}

void cli_put_duration(struct memo_buf *b, double seconds)
{
	long long s = seconds > 0 && seconds < 1e15 ? (long long)seconds : 0;
	if (seconds < 9.95)
		(void)memo_buf_printf(b, "%.1f s", seconds > 0 ? seconds : 0);
	else if (s < 60)
		(void)memo_buf_printf(b, "%lld s", s);
	else if (s < 3600)
		(void)memo_buf_printf(b, "%lld min %lld s", s / 60, s % 60);
	else if (s < 86400)
		(void)memo_buf_printf(b, "%lld h %lld min", s / 3600, s / 60 % 60);
	else
		(void)memo_buf_printf(b, "%lld d %lld h", s / 86400, s / 3600 % 24);
}

void cli_put_amount(struct memo_buf *b, double seconds)
{
	double s = seconds > 0 ? seconds : 0;
	if (s < 90)
		(void)memo_buf_printf(b, s < 10 ? "%.1f seconds" : "%.0f seconds", s);
	else if (s < 5400)
		(void)memo_buf_printf(b, "%.1f minutes", s / 60);
	else
		(void)memo_buf_printf(b, "%.1f hours", s / 3600);
}

static int64_t count_of(const json_t *status, const char *outcome)
{
	return memo_json_int(json_object_get(status, "counts"), outcome, 0);
}

void cli_put_counts(struct memo_buf *b, const json_t *counts)
{
	static const char *const order[][2] = {
		{ "executed", "executed" },   { "reused", "reused" },	    { "failed", "failed" },
		{ "cancelled", "cancelled" }, { "never", "never started" }, { "running", "running" },
		{ "waiting", "waiting" },
	};
	size_t n = 0;
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		int64_t k = memo_json_int(counts, order[i][0], 0);
		/* the first two are what a run is about */
		if (k > 0 || i < 2)
			(void)memo_buf_printf(b, "%s%lld %s", n++ > 0 ? ", " : "", (long long)k, order[i][1]);
	}
}

/* ---- the block ---------------------------------------------------------------------------------- */

static bool can_redraw(void)
{
	const char *term = getenv("TERM");
	return isatty(2) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

void cli_view_init(struct cli_view *v, const char *run, bool json)
{
	const char *plain = getenv("NO_COLOR");
	*v = (struct cli_view){
		.run = run, .json = json, .live = !json && can_redraw(), .begun_ns = memo_now_ns()
	};
	v->color = v->live && (plain == NULL || plain[0] == '\0');
}

static void terminal_size(size_t *columns_out, size_t *rows_out)
{
	struct winsize w = { 0 };
	bool known = ioctl(2, TIOCGWINSZ, &w) == 0;
	*columns_out = known && w.ws_col > 0 ? w.ws_col : 80;
	*rows_out = known && w.ws_row > 0 ? w.ws_row : 24;
}

/* Columns that a character takes at most; the bytes after its first take none. */
static size_t columns_of(unsigned char c)
{
	if ((c & 0xc0) == 0x80)
		return 0;
	return c >= 0xe1 ? 2 : 1; /* from U+1000 on it may be wide */
}

/* Cuts the text to @most columns; how many it has. */
static size_t cut(struct memo_buf *line, size_t most)
{
	size_t used = 0;
	for (size_t i = 0; i < line->len; i++) {
		size_t w = columns_of((unsigned char)line->data[i]);
		if (used + w > most) {
			line->len = i;
			line->data[i] = '\0';
			break;
		}
		used += w;
	}
	return used;
}

/* How many rows the block takes now: when the terminal became narrower, its lines were wrapped. */
static size_t rows_drawn(const struct cli_view *v, size_t columns)
{
	size_t rows = 0;
	for (size_t i = 0; i < v->lines; i++)
		rows += v->width[i] > columns ? (v->width[i] + columns - 1) / columns : 1;
	return rows;
}

static void put_wipe(struct cli_view *v, struct memo_buf *out)
{
	size_t columns, rows;
	terminal_size(&columns, &rows);
	if (v->lines > 0)
		(void)memo_buf_printf(out, OPEN "%zuA\r" OPEN "J", rows_drawn(v, columns));
	v->lines = 0;
}

void cli_view_wipe(struct cli_view *v)
{
	MEMO_AUTO_BUF struct memo_buf out = { 0 };
	put_wipe(v, &out);
	put_err(&out);
}

/* One line of the block, below those that are there. @color: a parameter of the terminal's, or NULL. */
static void put_line(struct cli_view *v, struct memo_buf *out, struct memo_buf *line, const char *color,
		     size_t columns)
{
	if (v->lines == CLI_VIEW_LINES || memo_buf_error(line) < 0 || line->len == 0)
		return;
	v->width[v->lines++] = cut(line, columns - 1);
	bool colored = v->color && color != NULL;
	(void)memo_buf_printf(out, "%s%s%s%s%s\n", colored ? OPEN : "", colored ? color : "", colored ? "m" : "",
			      line->data, colored ? OPEN "0m" : "");
}

static void put_progress(const struct cli_view *v, struct memo_buf *b, const json_t *status, size_t columns)
{
	int64_t open = count_of(status, "running") + count_of(status, "waiting"), all = open;
	static const char *const over[] = { "executed", "reused", "failed", "cancelled", "never" };
	for (size_t i = 0; i < sizeof over / sizeof *over; i++)
		all += count_of(status, over[i]);
	int64_t done = all - open;
	int part = all > 0 ? (int)(done * BAR / all) : 0;
	if (columns >= NARROW) {
		(void)memo_buf_putc(b, '[');
		for (int i = 0; i < BAR; i++)
			(void)memo_buf_putc(b, i < part ? '#' : '.');
		(void)memo_buf_puts(b, "] ");
	}
	(void)memo_buf_printf(b, "%lld %%  %lld of %lld  ", (long long)(all > 0 ? done * 100 / all : 0),
			      (long long)done, (long long)all);
	cli_put_duration(b, (double)(memo_now_ns() - v->begun_ns) / (double)MEMO_NS_PER_S);
	const json_t *left = json_object_get(status, "left_seconds");
	if (json_is_number(left) && open > 0) {
		(void)memo_buf_puts(b, ", about ");
		cli_put_duration(b, json_number_value(left));
		(void)memo_buf_puts(b, " left");
	}
}

static void put_running(struct cli_view *v, struct memo_buf *out, const json_t *status, size_t columns, size_t most)
{
	const json_t *list = json_object_get(status, "running");
	int64_t all = count_of(status, "running");
	size_t i;
	json_t *e;
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	json_array_foreach(list, i, e)
	{
		if (i == most)
			break;
		MEMO_AUTO_BUF struct memo_buf since = { 0 };
		cli_put_duration(&since, json_number_value(json_object_get(e, "seconds")));
		memo_buf_reset(&line);
		/* in front, because a long name is cut */
		(void)memo_buf_printf(&line, "%12s  ", memo_buf_str(&since));
		cli_put(&line, memo_json_string(e, "path", "?"));
		put_line(v, out, &line, NULL, columns);
	}
	if (all > (int64_t)i && i > 0) {
		memo_buf_reset(&line);
		(void)memo_buf_printf(&line, "%12s  and %lld more", "", (long long)(all - (int64_t)i));
		put_line(v, out, &line, NULL, columns);
	}
}

static void draw(struct cli_view *v, struct memo_buf *out, const json_t *status)
{
	size_t columns, rows;
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	terminal_size(&columns, &rows);
	put_wipe(v, out);
	if (columns < 2)
		return;
	put_progress(v, &line, status, columns);
	put_line(v, out, &line, count_of(status, "failed") > 0 ? "31" : "32", columns);
	memo_buf_reset(&line);
	cli_put_counts(&line, json_object_get(status, "counts"));
	put_line(v, out, &line, NULL, columns);
	/* a block that is higher than the terminal could not be taken away */
	size_t room = rows > 5 ? rows - 5 : 0;
	put_running(v, out, status, columns, room < RUNNING_SHOWN ? room : RUNNING_SHOWN);
}

/* ---- changes ------------------------------------------------------------------------------------- */

static void put_change(struct memo_buf *b, const json_t *change)
{
	const char *outcome = memo_json_string(change, "outcome", "?"),
		   *message = memo_json_string(change, "message", NULL);
	double seconds = json_number_value(json_object_get(change, "seconds"));
	(void)memo_buf_printf(b, "%s ", strcmp(outcome, "never") == 0 ? "never started" : outcome);
	cli_put(b, memo_json_string(change, "path", "?"));
	if (seconds > 0) {
		(void)memo_buf_puts(b, " (");
		cli_put_duration(b, seconds);
		(void)memo_buf_putc(b, ')');
	}
	if (message != NULL) {
		(void)memo_buf_puts(b, ": ");
		cli_put(b, message);
	}
	(void)memo_buf_putc(b, '\n');
}

static void tell(struct cli_view *v, const json_t *change, struct memo_buf *out, struct memo_buf *lines)
{
	uint64_t seq = (uint64_t)memo_json_int(change, "seq", 0);
	if (seq > v->seen + 1 && v->seen > 0 && !v->live && !v->json)
		(void)memo_buf_printf(out, "... (%llu changes are not shown)\n",
				      (unsigned long long)(seq - v->seen - 1));
	v->seen = seq;
	if (v->json) {
		MEMO_AUTO_JSON json_t *o = json_copy((json_t *)(uintptr_t)change);
		if (o != NULL && json_object_set_new(o, "run", json_string(v->run)) == 0)
			cli_put_line(lines, o);
		return;
	}
	/* the block shows the rest */
	if (!v->live || strcmp(memo_json_string(change, "outcome", ""), "failed") == 0)
		put_change(out, change);
}

void cli_view_update(struct cli_view *v, const json_t *status)
{
	MEMO_AUTO_BUF struct memo_buf out = { 0 };
	MEMO_AUTO_BUF struct memo_buf lines = { 0 };
	MEMO_AUTO_BUF struct memo_buf told = { 0 };
	size_t i;
	json_t *change;
	json_array_foreach(json_object_get(status, "changes"), i, change)
	{
		tell(v, change, &told, &lines);
	}
	if (told.len > 0 && v->live)
		put_wipe(v, &out);
	(void)memo_buf_puts(&out, memo_buf_str(&told));
	if (v->live)
		draw(v, &out, status);
	put_err(&out);
	if (cli_write(&lines) != CLI_DONE)
		return;
}

/* ---- the summary --------------------------------------------------------------------------------- */

static void put_failure(struct cli *c, struct memo_buf *b, const json_t *row)
{
	const char *path = memo_json_string(row, "path", "?"), *message = memo_json_string(row, "message", NULL);
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_err err = { 0 };
	int status = 0;
	(void)memo_buf_puts(b, "failed: ");
	cli_put(b, path);
	if (message != NULL) {
		(void)memo_buf_puts(b, ": ");
		cli_put(b, message);
	}
	(void)memo_buf_putc(b, '\n');
	json_t *request = json_pack("{s:s, s:s, s:i}", "op", "tail", "path", path, "lines", STDERR_LINES);
	const char *line = cli_ask(c, request, NULL, NULL, &reply, &status, &err) == 0
				   ? memo_json_string(reply, "text", "")
				   : "";
	while (*line != '\0') {
		size_t n = strcspn(line, "\n");
		(void)memo_buf_puts(b, "  | ");
		(void)memo_buf_append(b, line, n);
		(void)memo_buf_putc(b, '\n');
		line += n + (line[n] == '\n');
	}
	(void)memo_buf_puts(b, "  memofs log ");
	(void)memo_log_word(b, path);
	(void)memo_buf_puts(b, " shows more\n");
}

/* The first failures, as far as there are some. */
static int put_failures(struct cli *c, struct memo_buf *b, const char *run, int64_t failed)
{
	MEMO_AUTO_FREE char *after = NULL;
	int64_t shown = 0, want = failed < FAILURES_SHOWN ? failed : FAILURES_SHOWN;
	while (shown < want) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		size_t i;
		json_t *row;
		int s = cli_call(c,
				 json_pack("{s:s, s:s, s:[s], s:I, s:s*}", "op", "run-rows", "run", run, "outcomes",
					   "failed", "limit", (json_int_t)(want - shown), "after", after),
				 NULL, NULL, &reply);
		if (s != CLI_DONE)
			return s;
		json_array_foreach(json_object_get(reply, "rows"), i, row)
		{
			put_failure(c, b, row);
			shown++;
		}
		const char *next = memo_json_string(reply, "next", NULL);
		if (next == NULL)
			break;
		free(after);
		after = strdup(next);
		if (after == NULL)
			return cli_nomem();
	}
	if (failed > shown)
		(void)memo_buf_printf(b, "... and %lld more; memofs status %s --json lists them all\n",
				      (long long)(failed - shown), run);
	return CLI_DONE;
}

int cli_summary(struct cli *c, const char *run, const json_t *status)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const char *state = memo_json_string(status, "state", "?");
	double saved = json_number_value(json_object_get(status, "seconds_saved"));
	double computed = json_number_value(json_object_get(status, "seconds"));
	static const char *const words[][2] = { { "SUCCESS", "succeeded" },
						{ "FAILED", "failed" },
						{ "CANCELLED", "was cancelled" },
						{ "RUNNING", "goes on" } };
	const char *word = state;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		word = strcmp(state, words[i][0]) == 0 ? words[i][1] : word;
	int64_t failed = count_of(status, "failed");
	int s = failed > 0 ? put_failures(c, &b, run, failed) : CLI_DONE;
	if (s != CLI_DONE)
		return s;
	if (strcmp(state, "FAILED") == 0 && failed == 0)
		word = "was stopped";
	(void)memo_buf_printf(&b, "run %s %s: ", run, word);
	cli_put_counts(&b, json_object_get(status, "counts"));
	(void)memo_buf_puts(&b, "; ");
	cli_put_amount(&b, computed);
	(void)memo_buf_puts(&b, " computed, ");
	cli_put_amount(&b, saved);
	(void)memo_buf_puts(&b, " of work saved\n");
	if (strcmp(state, "FAILED") == 0 || strcmp(state, "CANCELLED") == 0)
		(void)memo_buf_printf(&b, "memofs retry %s executes what did not succeed, and no more\n", run);
	return cli_write(&b);
}
