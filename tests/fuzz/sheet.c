/* Fuzz target: sheets. The first byte picks the kind, the second how few bytes the reader gives at a time. However the bytes
 * come, the rows and the refusal are the same; and rows written again, every cell in quotes, read back as they were. */
#include "cli/sheet.h"

#include "base/json.h"
#include "base/scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
	const char *data;
	size_t size;
	size_t step;
};

static void must(int so, const char *what)
{
	if (so)
		return;
	(void)fprintf(stderr, "broken: %s\n", what);
	abort();
}

static int give(void *arg, char *to, size_t room, size_t *got_out)
{
	struct source *s = arg;
	size_t n = s->size < s->step ? s->size : s->step;
	n = n < room ? n : room;
	memcpy(to, s->data, n);
	s->data += n;
	s->size -= n;
	*got_out = n;
	return 0;
}

/* Everything that the sheet says, as one array: the header, the rows, the refusal. */
static json_t *whole(enum cli_sheet_kind kind, const char *data, size_t size, size_t step, int *code_out)
{
	struct source from = { .data = data, .size = size, .step = step };
	struct cli_sheet s;
	struct memo_err err = { 0 };
	json_t *all = json_array();
	must(all != NULL, "memory");
	int r = cli_sheet_init(&s, kind, give, &from, &err);
	if (r == 0) {
		must((s.columns == NULL) == (kind == CLI_SHEET_JSONL), "a header where there is one");
		must(memo_json_push(all, s.columns != NULL ? json_incref(s.columns) : json_array()) == 0, "memory");
		r = 1;
	}
	while (r == 1) {
		r = cli_sheet_next(&s, &err);
		if (r == 1)
			must(memo_json_push(all, json_incref(s.row)) == 0, "memory");
	}
	if (r < 0) {
		must(err.code == r && err.text[0] != '\0' && (r == -EINVAL || r == -E2BIG), "a refusal says why");
		must(memo_json_push(all, json_sprintf("%d %s", r, "refused")) == 0, "memory");
	}
	cli_sheet_clear(&s);
	*code_out = r;
	return all;
}

static void write_cell(struct memo_buf *b, const json_t *cell)
{
	const char *text = json_string_value(cell);
	(void)memo_buf_putc(b, '"');
	for (size_t i = 0; i < json_string_length(cell); i++) {
		if (text[i] == '"')
			(void)memo_buf_putc(b, '"');
		(void)memo_buf_putc(b, text[i]);
	}
	(void)memo_buf_putc(b, '"');
}

static void read_back(const json_t *all)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	size_t i, k;
	json_t *row, *cell;
	json_array_foreach(all, i, row)
	{
		json_array_foreach(row, k, cell)
		{
			(void)memo_buf_puts(&b, k > 0 ? "," : "");
			write_cell(&b, cell);
		}
		(void)memo_buf_puts(&b, i % 2 == 0 ? "\n" : "\r\n");
	}
	int code = 0;
	MEMO_AUTO_JSON json_t *again = whole(CLI_SHEET_CSV, memo_buf_str(&b), b.len, 7, &code);
	must(code == 0 && json_equal(all, again), "what is written in quotes reads back");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	enum cli_sheet_kind kind = (enum cli_sheet_kind)(data[0] % 3);
	int code = 0, other = 0;
	MEMO_AUTO_JSON json_t *all = whole(kind, (const char *)data + 2, size - 2, size, &code);
	MEMO_AUTO_JSON json_t *bits =
		whole(kind, (const char *)data + 2, size - 2, (size_t)(data[1] % 5) + 1, &other);
	must(code == other && json_equal(all, bits), "the size of the pieces does not matter");
	if (code == 0 && kind != CLI_SHEET_JSONL)
		read_back(all);
	return 0;
}
