/* Cli: what the commands share: options, the store that is meant, one way to call the service, and output.
 *
 * A command is a row of main.c's table. Its run() gets the parsed arguments and returns the exit status (CONTRACT.md
 * section 5); whoever finds an error says it, once, with cli_say(). Everything below returns an exit status where it
 * returns `int` unless it says otherwise. */
#ifndef MEMO_CLI_CLI_H
#define MEMO_CLI_CLI_H

#include "base/buf.h"
#include "base/error.h"
#include "control/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum cli_status {
	CLI_DONE = 0,
	CLI_FAILED = 1, /* a task failed */
	CLI_USAGE = 2, /* wrong usage or invalid inputs */
	CLI_ABSENT = 3, /* no such task, run or result */
	CLI_TROUBLE = 4, /* the store or the daemon */
	CLI_INTERRUPTED = 130,
};

#define CLI_OPTIONS 8
#define CLI_REPEATED 256
#define CLI_WAIT_MS 10000 /* for another command that holds the store */

struct cli_option {
	char letter; /* 0: none */
	const char *name; /* without "--"; NULL ends the list */
	const char *argument; /* NULL: takes none */
	const char *help;
};

struct cli;
struct cli_command {
	const char *name;
	const char *arguments; /* "FILE|DIR..." */
	const char *summary; /* for memofs --help */
	const char *about; /* one paragraph */
	const char *example;
	struct cli_option option[CLI_OPTIONS];
	int least, most; /* arguments; most -1: any number */
	bool makes; /* makes a missing store */
	const char *many; /* the option that may be repeated, or NULL: its values are in cli.repeated */
	int (*run)(struct cli *c);
};

struct memo_engine;

struct cli {
	const struct cli_command *command;
	const char *store_option;
	char **arg;
	int args;
	const char *value[CLI_OPTIONS]; /* of option[i]: NULL when not given, "" without argument */
	const char *repeated[CLI_REPEATED];
	int repeats;
	bool from_mount; /* started as mount.fuse.memofs */

	char *cwd; /* not touched, only named */
	char *store; /* absolute, once chosen */
	char *mount; /* where the store is mounted, when an argument or the working directory lies in it */
	struct memo_client *client;
	struct memo_engine *engine;
};

extern const struct cli_command cli_init, cli_config; /* cli_store.c */
extern const struct cli_command cli_mount, cli_umount; /* cli_mount.c */
extern const struct cli_command cli_add, cli_check, cli_new; /* cli_add.c */
extern const struct cli_command cli_tasks, cli_show, cli_remove; /* cli_task.c */
extern const struct cli_command cli_path, cli_explain, cli_status, cli_log, cli_cancel; /* cli_instance.c */
extern const struct cli_command cli_forget, cli_pin, cli_unpin, cli_gc; /* cli_retain.c */
extern const struct cli_command cli_fingerprint; /* cli_fingerprint.c */
extern const struct cli_command cli_get; /* cli_get.c */
extern const struct cli_command cli_run, cli_retry, cli_wait; /* cli_run.c */
extern const struct cli_command cli_runs, cli_graph; /* cli_runs.c */
extern const struct cli_command cli_why, cli_stats; /* cli_know.c */
extern const struct cli_command cli_verify, cli_fsck; /* cli_check.c */

/* ---- options.c ---- */

/* Fills c from the words after the command's name. -1: go on; else the exit status (--help was asked, or wrong usage). */
int cli_parse(struct cli *c, char **word, int words);
/* The value of an option by its name, NULL: not given. */
const char *cli_value(const struct cli *c, const char *name);
void cli_help(const struct cli_command *cmd);
/* Says what is wrong with the usage, and where help is. Returns CLI_USAGE. */
int cli_usage(const struct cli *c, const char *fmt, ...) MEMO_PRINTF(2, 3);

/* ---- output.c ---- */

/* One line on stderr: "memofs: ...", control characters escaped. */
void cli_say(const char *fmt, ...) MEMO_PRINTF(1, 2);
/* Says an error; returns @status. */
int cli_fail(int status, const struct memo_err *err);
int cli_nomem(void);
/* Appends @text with control characters escaped. */
void cli_put(struct memo_buf *b, const char *text);
/* Appends @j as people read it: a string as it is, all else as JSON. */
void cli_put_json(struct memo_buf *b, const json_t *j);
/* One object as a line of JSON. */
void cli_put_line(struct memo_buf *b, const json_t *j);
/* Writes to stdout. A closed pipe ends the output silently: cli_pipe_closed() tells it. */
int cli_write(const struct memo_buf *b);
int cli_write_bytes(const char *data, size_t len);
bool cli_pipe_closed(void);
/* Something could not be written; the command fails with CLI_TROUBLE, whatever its run() returned. */
bool cli_output_failed(void);
/* Bytes of a task's log for @fd: as they are, but without control characters on a terminal. Whole lines are
 * written; @held keeps the rest; with @end that too. */
void cli_write_log(int fd, struct memo_buf *held, const char *data, size_t len, bool end);

/* ---- session.c ---- */

/* Chooses the store (CONTRACT.md section 5). @path: an argument that may lie in a mount, or NULL. */
int cli_choose_store(struct cli *c, const char *path);
/* Makes the chosen store if it is missing and that is allowed. */
int cli_need_store(struct cli *c, bool make);
/* Both of these, then connects, or opens the store in this process. */
int cli_open(struct cli *c, const char *path);
/* Only with a process that serves the store: CLI_DONE and c->client NULL when there is none. */
int cli_connect(struct cli *c);
/* One request; says what went wrong. The reference of @request is taken (NULL: out of memory, or not UTF-8). */
int cli_call(struct cli *c, json_t *request, memo_client_event_fn *event, void *arg, json_t **reply_out);
/* The same, once and silent: 0, or a negative errno with its text in @err and the exit status it stands for in *@status_out;
 * what an event function returns is passed on. -ECONNRESET and -ESHUTDOWN: whoever served the store has ended. */
MEMO_MUST int cli_ask(struct cli *c, json_t *request, memo_client_event_fn *event, void *arg, json_t **reply_out,
		      int *status_out, struct memo_err *err);
void cli_close(struct cli *c);
/* What is said when the user interrupts a call that a daemon works on. Before cli_call(). */
void cli_on_interrupt(const char *text);

/* ---- instance.c ---- */

/* The arguments from c->arg[0] as requests: an array of one object for each instance meant, {"op": op, ...}. */
int cli_instances(struct cli *c, const char *op, json_t **requests_out);
/* One such request each; @print gets each answer. The worst status of all. */
int cli_for_each(struct cli *c, const char *op, int (*print)(struct cli *c, const json_t *reply));
/* The first argument that is a path, for cli_open(). */
const char *cli_path_argument(const struct cli *c);

/* ---- copy.c ---- */

/* @path (file or directory, by stat) to @dest, with modes for the user. Says what went wrong. */
int cli_copy(const char *path, const char *dest);
/* @path to stdout. */
int cli_copy_out(const char *path);

#endif
