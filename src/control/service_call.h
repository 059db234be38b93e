/* Call: a request in flight, and what the files of the service share. Private to the service.
 *
 * A handler returns 0 with its answer's members in c->answer, 1 when c->step takes over, or a negative errno with c->err
 * filled and c->status set where memo_service_status() would say otherwise. */
#ifndef MEMO_CONTROL_SERVICE_CALL_H
#define MEMO_CONTROL_SERVICE_CALL_H

#include "base/sync.h"
#include "service.h"

#include <sys/stat.h>

/* A log that is being followed; a retry begins a new file. */
struct memo_tail {
	int fd; /* -1: none yet */
	dev_t dev;
	ino_t ino;
	off_t offset;
	bool any; /* something was emitted */
};

struct memo_service_call {
	struct memo_runner *runner;
	struct memo_store *store;
	const json_t *request; /* a reference */
	struct memo_asker asker;
	bool owner; /* of the store, or root; what others may do says the table in service.c */
	json_t *answer;
	struct memo_err err;
	int status; /* exit status of a refusal, 0: what the errno stands for */
	int (*step)(struct memo_service_call *c); /* as a handler; 2: more at once */
	int (*work)(
		struct memo_service_call *c); /* as a handler, in a thread of its own: see memo_service_work() */

	/* the instance, of requests that name one */
	struct memo_task *task;
	json_t *inputs;
	char *inner; /* below a directory result, or NULL */
	char *path; /* canonical, "/tasks/..." */

	/* a demand */
	struct memo_wait *wait;
	int tries;
	int64_t begun_wall_ns; /* logs that are older are not this demand's; 0: any log is meant */
	int64_t next_ns; /* when progress is looked at again */
	json_t *shown; /* the progress that was emitted last */
	struct memo_tail tail;
	bool follow;

	json_t *rows; /* still to be emitted, from @row on */
	size_t row;
	struct memo_service_check *check; /* fsck, or verification of everything, or NULL */

	struct memo_mutex mu;
	/* guarded by mu: written by the runner's answer */
	int refs; /* the owner, and an answer that is still to come */
	bool ended, answered;
	int code;
	struct memo_result *result;
	struct memo_err answer_err;
};

typedef int memo_handler_fn(struct memo_service_call *c);

/* service_call.c */
void memo_service_unref(struct memo_service_call *c);
/* Sets a member of the answer; takes the reference of @v. */
MEMO_MUST int memo_service_set(struct memo_service_call *c, const char *key, json_t *v);
MEMO_MUST int memo_service_nomem(struct memo_service_call *c);
/* -ENOENT: "PATH: @what; memofs get WORD @does", the path as a word of a shell's command line. */
int memo_service_absent(struct memo_service_call *c, const char *what, const char *does);
/* Emits {"event": kind, key: v}; takes the reference. */
void memo_service_event(struct memo_service_call *c, const char *kind, const char *key, json_t *v);
/* Reads "path", or "task" and "pairs", into task, inputs, inner and path. */
MEMO_MUST int memo_service_instance(struct memo_service_call *c);
/* The same for one value, given as text, of input @key of c->task, into the partial inputs: a repeated key is an array and
 * nothing else. A relative File is below @dir (NULL: there is none); a path in the mount is an upstream instance. */
MEMO_MUST int memo_service_put_text(struct memo_service_call *c, json_t *partial, const char *key, const char *text,
				    const char *dir);
/* All of the request's "pairs". */
MEMO_MUST int memo_service_pairs(struct memo_service_call *c, json_t *partial);
/* A File value as it is kept: absolute and clean, or "/tasks/..." (free() it). */
MEMO_MUST int memo_service_file(struct memo_service_call *c, const struct memo_input *in, const char *text,
				const char *dir, char **out);
/* -EINVAL: c->task has no input @key; with the nearest. */
int memo_service_unknown(struct memo_service_call *c, const char *key);
/* Lets @fn do the rest in a thread, because it blocks; what a handler returns. Until it is done it alone touches what is not
 * guarded by mu; it must not emit. */
MEMO_MUST int memo_service_work(struct memo_service_call *c, int (*fn)(struct memo_service_call *c));
/* An answer_fn for demands of a call, whose reference it gives back. */
memo_answer_fn memo_service_answered;
void memo_service_check_free(struct memo_service_check *s); /* NULL-safe */
/* Splits "NAME[@VERSION]"; free() both; *@version_out NULL when there is none. */
MEMO_MUST int memo_service_split_task(struct memo_service_call *c, const char *text, char **name_out,
				      char **version_out);
/* Emits what is new in the log. 0: nothing more now; 1: there is more; negative errno. */
MEMO_MUST int memo_service_tail_read(struct memo_service_call *c, const char *event, bool *running_out);
void memo_service_tail_clear(struct memo_tail *t);

memo_handler_fn memo_op_add, memo_op_tasks, memo_op_show, memo_op_remove; /* service_tasks.c */
memo_handler_fn memo_op_path, memo_op_explain, memo_op_state, memo_op_cancel,
	memo_op_forget; /* service_instance.c */
memo_handler_fn memo_op_get, memo_op_log; /* service_demand.c */
memo_handler_fn memo_op_pin, memo_op_unpin, memo_op_gc; /* service_retain.c */
/* The asker is about to be told where c->result lies. */
void memo_service_hand(struct memo_service_call *c);
memo_handler_fn memo_op_hello, memo_op_status, memo_op_config; /* service_store.c */
memo_handler_fn memo_op_run_new, memo_op_run_start, memo_op_run_retry, memo_op_run_stop, memo_op_run_cancel,
	memo_op_run_status, memo_op_run_list, memo_op_run_rows, memo_op_run_graph; /* service_run.c */
memo_handler_fn memo_op_run_add; /* service_rows.c */
memo_handler_fn memo_op_why, memo_op_stats, memo_op_tail, memo_op_verify; /* service_know.c */
memo_handler_fn memo_op_fsck, memo_op_verify_all; /* service_check.c */
/* The request's "run". */
MEMO_MUST int memo_service_run(struct memo_service_call *c, const char **id_out);
/* -EACCES with words unless the run is the asker's. */
MEMO_MUST int memo_service_run_mine(struct memo_service_call *c, const char *what);

#endif
