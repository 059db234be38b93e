/* Sheet: rows of values from CSV, TSV or JSON Lines, one at a time.
 *
 *	init -> next (1: a row; 0: the end) ... -> clear
 *
 * CSV is RFC 4180: cells in quotes may hold commas, line ends and doubled quotes; lines end with LF or CRLF, the last one need
 * not; a byte order mark in front is left out. TSV has no quoting: a cell is what stands between two tabs. The first row
 * of both names the columns, which may repeat; every other row has as many cells. JSON Lines has an object a line.
 * Blank lines are skipped. All is UTF-8.
 *
 * Pure but for the reader: any bytes are understood or refused. Errors: -EINVAL, -E2BIG with a sentence that begins with
 * the place, "row 3 (line 5), column 'x': ..."; rows count from 1 after the header. What the reader returns is passed on.
 * The fuzz target is tests/fuzz/sheet.c. */
#ifndef MEMO_CLI_SHEET_H
#define MEMO_CLI_SHEET_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_SHEET_COLUMNS 65536
#define CLI_SHEET_ROW_BYTES ((size_t)16 << 20)
#define CLI_SHEET_CHUNK ((size_t)64 << 10)

enum cli_sheet_kind { CLI_SHEET_CSV, CLI_SHEET_TSV, CLI_SHEET_JSONL };

/* Fills at most @room bytes; *@got_out 0: the end. */
typedef int cli_sheet_read_fn(void *arg, char *data, size_t room, size_t *got_out);

struct cli_sheet {
	json_t *columns; /* array of strings; NULL for JSON Lines */
	json_t *row; /* the row that next() read: an array of strings, or an object; valid until the next call */
	uint64_t number; /* of that row */
	uint64_t line; /* where it begins */

	/* private */
	enum cli_sheet_kind kind;
	cli_sheet_read_fn *read;
	void *arg;
	char *chunk;
	size_t at, have;
	bool ended;
	uint64_t newlines;
	struct memo_buf cell;
	size_t row_bytes;
};

/* By the name's ending: .csv, .tsv, .jsonl (or .ndjson). -EINVAL. */
MEMO_MUST int cli_sheet_kind_of(const char *name, enum cli_sheet_kind *out);
/* Reads the header, too. @s is to be cleared in any case. */
MEMO_MUST int cli_sheet_init(struct cli_sheet *s, enum cli_sheet_kind kind, cli_sheet_read_fn *read, void *arg,
			     struct memo_err *err);
MEMO_MUST int cli_sheet_next(struct cli_sheet *s, struct memo_err *err);
void cli_sheet_clear(struct cli_sheet *s);

#endif
