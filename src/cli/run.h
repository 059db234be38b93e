/* Run: what the commands about runs share: following one while it goes on, showing it, reading a sheet into it. Private to
 * the command line. Exit statuses as in cli.h. */
#ifndef MEMO_CLI_RUN_H
#define MEMO_CLI_RUN_H

#include "cli.h"

#include <stdint.h>

/* ---- run_view.c: a run on the screen ---- */

#define CLI_VIEW_LINES 16

struct cli_view {
	const char *run;
	bool json; /* changes are lines of JSON on stdout */
	bool live; /* stderr is a terminal that can redraw: a block there; else a line for each change */
	bool color;
	int64_t begun_ns;
	size_t lines; /* of the block that is drawn */
	size_t width[CLI_VIEW_LINES]; /* of each, in columns */
	uint64_t seen; /* sequence number of the change that was told last */
};

void cli_view_init(struct cli_view *v, const char *run, bool json);
/* Tells the changes in @status, and redraws the block. */
void cli_view_update(struct cli_view *v, const json_t *status);
/* Takes the block away, so that something can be printed; the next update draws it again. */
void cli_view_wipe(struct cli_view *v);

/* "0.4 s", "3 min 5 s". */
void cli_put_duration(struct memo_buf *b, double seconds);
/* "12.3 GiB", right-aligned in @width when that is not 0 (cli_retain.c). */
void cli_put_bytes(struct memo_buf *b, int64_t n, int width);
/* The setting max_size and what was collected, as lines; nothing where there is nothing to say. */
void cli_put_room(struct memo_buf *b, const json_t *room);
/* "12 seconds", "1.5 hours". */
void cli_put_amount(struct memo_buf *b, double seconds);
/* "3 executed, 2 reused": what is not zero of the counts of a run; "nothing yet". */
void cli_put_counts(struct memo_buf *b, const json_t *counts);
/* "a run that ended": its outcome in a line, the failures with the end of their stderr, and what to do about them. */
int cli_summary(struct cli *c, const char *run, const json_t *status);

/* ---- run_follow.c ---- */

/* From now on INT, TERM and HUP are counted instead of ending the process; the third INT ends it. Again after each new
 * connection. */
void cli_count_signals(void);
/* How often INT came. */
int cli_interrupts(void);
/* Shows the run until it is over, and its summary. @own: an interrupt stops the run, a second one cancels it; else it ends
 * the following. */
int cli_follow(struct cli *c, const char *run, bool own);
/* The exit status that a run's end stands for. */
int cli_run_status(const json_t *status);

/* ---- run_sheet.c ---- */

/* Adds the rows of the sheet in file @name to the run, each with the arguments of @base (a request that names the task). */
int cli_add_sheet(struct cli *c, const char *run, const char *name, const json_t *base);

/* ---- cli_runs.c ---- */

/* Only a run's id begins with a digit; no task's name does. */
bool cli_is_run(const char *word);
int cli_status_run(struct cli *c);
int cli_cancel_run(struct cli *c);

#endif
