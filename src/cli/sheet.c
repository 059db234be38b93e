/* Sheets, byte by byte: see sheet.h. A cell is put together in one buffer and becomes a JSON string when it ends, so that a
 * sheet costs the memory of its longest row. Whatever RFC 4180 leaves open is refused: a quote in the middle of a
 * cell, a carriage return that ends no line. Guessing would put a value into the wrong column. */
#include "sheet.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define END (-1) /* of the file */

enum stop { STOP_CELL, STOP_ROW, STOP_FILE };

int cli_sheet_kind_of(const char *name, enum cli_sheet_kind *out)
{
	static const struct {
		const char *ending;
		enum cli_sheet_kind kind;
	} known[] = { { ".csv", CLI_SHEET_CSV },
		      { ".tsv", CLI_SHEET_TSV },
		      { ".jsonl", CLI_SHEET_JSONL },
		      { ".ndjson", CLI_SHEET_JSONL } };
	size_t n = strlen(name);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t e = strlen(known[i].ending);
		if (n > e && strcasecmp(name + n - e, known[i].ending) == 0) {
			*out = known[i].kind;
			return 0;
		}
	}
	return -EINVAL;
}

/* The place of an error; @cell counts from 0, -1: the row as a whole. */
static int refuse(const struct cli_sheet *s, struct memo_err *err, int code, long cell, const char *text)
{
	const char *column = cell >= 0 ? json_string_value(json_array_get(s->columns, (size_t)cell)) : NULL;
	if (s->columns == NULL && s->kind != CLI_SHEET_JSONL)
		return memo_fail(err, code, "header (line %llu): %s", (unsigned long long)s->line, text);
	if (column == NULL)
		return memo_fail(err, code, "row %llu (line %llu): %s", (unsigned long long)s->number,
				 (unsigned long long)s->line, text);
	struct memo_value_shown name = memo_value_show(column, strlen(column));
	return memo_fail(err, code, "row %llu (line %llu), column '%s': %s", (unsigned long long)s->number,
			 (unsigned long long)s->line, name.text, text);
}

static int nomem(struct memo_err *err)
{
	return memo_fail(err, -ENOMEM, "out of memory");
}

static int fill(struct cli_sheet *s, struct memo_err *err)
{
	size_t got = 0;
	int r = s->ended ? 0 : s->read(s->arg, s->chunk, CLI_SHEET_CHUNK, &got);
	if (r < 0)
		return memo_fail(err, r, "cannot be read: %s", memo_strerror(r));
	s->at = 0;
	s->have = got;
	s->ended = got == 0;
	return 0;
}

/* The next byte in *@c_out, END at the end, without taking it. */
static int peek(struct cli_sheet *s, int *c_out, struct memo_err *err)
{
	if (s->at == s->have && !s->ended) {
		int r = fill(s, err);
		if (r < 0)
			return r;
	}
	*c_out = s->at < s->have ? (unsigned char)s->chunk[s->at] : END;
	return 0;
}

static void take(struct cli_sheet *s, int c)
{
	if (c == END)
		return;
	s->at++;
	s->newlines += c == '\n';
}

static int keep(struct cli_sheet *s, int c, struct memo_err *err)
{
	if (++s->row_bytes > CLI_SHEET_ROW_BYTES)
		return refuse(s, err, -E2BIG, -1,
			      "more than 16 MiB are too much for a row; is a quote not closed?");
	return memo_buf_putc(&s->cell, (char)c) < 0 ? nomem(err) : 0;
}

/* What ends a cell, after the byte @c that was peeked at. 1: it does not end here. */
static int ending(struct cli_sheet *s, int c, long cell, enum stop *stop_out, struct memo_err *err)
{
	if (c == '\r') {
		take(s, c);
		int r = peek(s, &c, err);
		if (r < 0)
			return r;
		if (c != '\n' && c != END)
			return refuse(
				s, err, -EINVAL, cell,
				"a carriage return that ends no line; put the cell in quotes (CSV), or end lines "
				"with LF or CRLF");
	}
	if (c != (s->kind == CLI_SHEET_CSV ? ',' : '\t') && c != '\n' && c != END)
		return 1;
	take(s, c);
	*stop_out = c == END ? STOP_FILE : c == '\n' ? STOP_ROW : STOP_CELL;
	return 0;
}

/* After the opening quote, to whatever follows the closing one. */
static int read_quoted(struct cli_sheet *s, long cell, enum stop *stop_out, struct memo_err *err)
{
	for (;;) {
		int c;
		int r = peek(s, &c, err);
		if (r < 0)
			return r;
		if (c == END)
			return refuse(s, err, -EINVAL, cell, "the quote that opens the cell is not closed");
		take(s, c);
		if (c == '"') {
			r = peek(s, &c, err);
			if (r < 0)
				return r;
			if (c != '"') {
				r = ending(s, c, cell, stop_out, err);
				return r <= 0 ? r
					      : refuse(s, err, -EINVAL, cell,
						       "something follows the closing quote; a quote inside a cell "
						       "is "
						       "written twice");
			}
			take(s, c);
		}
		r = keep(s, c, err);
		if (r < 0)
			return r;
	}
}

static int read_plain(struct cli_sheet *s, long cell, enum stop *stop_out, struct memo_err *err)
{
	for (;;) {
		int c;
		int r = peek(s, &c, err);
		if (r == 0)
			r = ending(s, c, cell, stop_out, err);
		if (r <= 0)
			return r;
		if (c == '"' && s->kind == CLI_SHEET_CSV)
			return refuse(s, err, -EINVAL, cell,
				      "a quote inside a cell; put the cell in quotes and write the quote twice");
		take(s, c);
		r = keep(s, c, err);
		if (r < 0)
			return r;
	}
}

static int read_cell(struct cli_sheet *s, json_t *row, bool *quoted_out, enum stop *stop_out, struct memo_err *err)
{
	long cell = (long)json_array_size(row);
	int c;
	memo_buf_reset(&s->cell);
	int r = peek(s, &c, err);
	if (r < 0)
		return r;
	*quoted_out = c == '"' && s->kind == CLI_SHEET_CSV;
	if (*quoted_out)
		take(s, c);
	r = *quoted_out ? read_quoted(s, cell, stop_out, err) : read_plain(s, cell, stop_out, err);
	if (r < 0)
		return r;
	if (cell >= CLI_SHEET_COLUMNS)
		return refuse(s, err, -E2BIG, -1, "more than 65536 cells");
	const char *text = memo_buf_str(&s->cell);
	if (!memo_value_utf8_ok(text, s->cell.len))
		return refuse(s, err, -EINVAL, cell, "not valid UTF-8 text; save the sheet as UTF-8");
	return memo_json_push(row, json_stringn(text, s->cell.len)) < 0 ? nomem(err) : 0;
}

/* One row of cells. 0: the end. */
static int read_row(struct cli_sheet *s, json_t **out, struct memo_err *err)
{
	for (;;) {
		MEMO_AUTO_JSON json_t *row = json_array();
		enum stop stop = STOP_CELL;
		bool quoted = false;
		if (row == NULL)
			return nomem(err);
		s->line = s->newlines + 1;
		s->row_bytes = 0;
		while (stop == STOP_CELL) {
			int r = read_cell(s, row, &quoted, &stop, err);
			if (r < 0)
				return r;
		}
		bool blank = json_array_size(row) == 1 && s->cell.len == 0 && !quoted;
		if (!blank) {
			*out = memo_json_steal(&row);
			return 1;
		}
		if (stop == STOP_FILE)
			return 0;
	}
}

static int read_header(struct cli_sheet *s, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	int r = read_row(s, &row, err);
	if (r < 0)
		return r;
	if (r == 0)
		return memo_fail(err, -EINVAL, "the sheet is empty; its first row names the inputs");
	size_t i;
	json_t *name;
	json_array_foreach(row, i, name)
	{
		if (json_string_length(name) == 0)
			return memo_fail(err, -EINVAL, "header (line %llu): column %zu has no name",
					 (unsigned long long)s->line, i + 1);
	}
	s->columns = memo_json_steal(&row);
	return 0;
}

/* One line of JSON Lines. 0: the end. */
static int read_object(struct cli_sheet *s, json_t **out, struct memo_err *err)
{
	for (;;) {
		int c = 0;
		s->line = s->newlines + 1;
		s->row_bytes = 0;
		memo_buf_reset(&s->cell);
		while (c != '\n' && c != END) {
			int r = peek(s, &c, err);
			if (r < 0)
				return r;
			take(s, c);
			if (c != '\n' && c != END)
				r = keep(s, c, err);
			if (r < 0)
				return r;
		}
		const char *text = memo_buf_str(&s->cell);
		if (strspn(text, " \t\r") == s->cell.len) {
			if (c == END)
				return 0;
			continue;
		}
		struct memo_err why = { 0 };
		MEMO_AUTO_JSON json_t *j = NULL;
		int r = memo_json_parse(text, s->cell.len, &j, &why);
		if (r == -ENOMEM)
			return nomem(err);
		if (r < 0)
			return refuse(s, err, -EINVAL, -1, why.text);
		if (!json_is_object(j))
			return refuse(s, err, -EINVAL, -1, "not a JSON object; write {\"input\": value, ...}");
		*out = memo_json_steal(&j);
		return 1;
	}
}

static int skip_mark(struct cli_sheet *s, struct memo_err *err)
{
	/* the reader may give less than the mark has bytes */
	static const unsigned char mark[] = { 0xef, 0xbb, 0xbf };
	char head[sizeof mark];
	size_t n = 0;
	while (n < sizeof head) {
		size_t got = 0;
		int r = s->read(s->arg, head + n, sizeof head - n, &got);
		if (r < 0)
			return memo_fail(err, r, "cannot be read: %s", memo_strerror(r));
		if (got == 0)
			break;
		n += got;
	}
	if (n == sizeof mark && memcmp(head, mark, n) == 0)
		return 0;
	memcpy(s->chunk, head, n);
	s->have = n;
	return 0;
}

int cli_sheet_init(struct cli_sheet *s, enum cli_sheet_kind kind, cli_sheet_read_fn *read, void *arg,
		   struct memo_err *err)
{
	*s = (struct cli_sheet){ .kind = kind, .read = read, .arg = arg, .chunk = malloc(CLI_SHEET_CHUNK) };
	if (s->chunk == NULL)
		return nomem(err);
	int r = skip_mark(s, err);
	if (r < 0 || kind == CLI_SHEET_JSONL)
		return r;
	return read_header(s, err);
}

int cli_sheet_next(struct cli_sheet *s, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	json_decref(s->row);
	s->row = NULL;
	s->number++;
	int r = s->kind == CLI_SHEET_JSONL ? read_object(s, &row, err) : read_row(s, &row, err);
	if (r <= 0)
		return r;
	size_t want = json_array_size(s->columns), got = json_array_size(row);
	if (s->kind != CLI_SHEET_JSONL && want != got) {
		char text[96];
		(void)snprintf(text, sizeof text, "%zu cell%s, but the header names %zu column%s", got,
			       got == 1 ? "" : "s", want, want == 1 ? "" : "s");
		return refuse(s, err, -EINVAL, -1, text);
	}
	s->row = memo_json_steal(&row);
	return 1;
}

void cli_sheet_clear(struct cli_sheet *s)
{
	json_decref(s->columns);
	json_decref(s->row);
	free(s->chunk);
	memo_buf_clear(&s->cell);
	*s = (struct cli_sheet){ 0 };
}
