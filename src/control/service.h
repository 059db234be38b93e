/* Service: what each control request does, over runner and store. One implementation for both ways in: the server calls it
 * for a message from the socket, a command that found no daemon calls it in its own process.
 *
 * begin (may complete at once) -> step, whenever wake was called and at least every MEMO_SERVICE_STEP_MS -> the answer
 * was emitted -> end. end before that: the asker is gone.
 *
 * Everything but wake happens in the thread that calls begin and step: emit never runs elsewhere, so the owner of a call
 * needs no lock for what it writes. Calls of different owners run in parallel.
 *
 * Requests and answers are listed in service.c, and there stands, in the same table, who may make each of them. Files that a
 * request names are opened with the rights of whoever makes it (base/who.h). */
#ifndef MEMO_CONTROL_SERVICE_H
#define MEMO_CONTROL_SERVICE_H

#include "base/error.h"
#include "runner/runner.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#define MEMO_SERVICE_STEP_MS 100

struct memo_service_call; /* a request in flight */

/* @last: this is the answer; no further call. @message: borrowed. */
typedef void memo_emit_fn(void *arg, const json_t *message, bool last);
/* From any thread, with a lock held: may do no more than write to a descriptor. Not after memo_service_end(). */
typedef void memo_wake_fn(void *arg);

/* The result that the asker was told the path of: not collected before its next request or its end, since it reads it by that path.
 * Start with {0}; cleared by its owner. */
struct memo_handed {
	struct memo_store *store; /* NULL: none */
	struct memo_id hash;
};
void memo_handed_clear(struct memo_handed *h);

struct memo_asker {
	uid_t uid;
	const struct memo_who *who; /* his rights; borrowed for as long as the call lives. NULL: no limits */
	pid_t pid; /* 0: no process that could be part of a task */
	memo_emit_fn *emit;
	memo_wake_fn *wake;
	void *arg;
	_Atomic int
		*busy; /* requests that have a thread of their own, also after their end: the runner is closed when
			    * there is none. NULL: nothing gets a thread, begin and step block instead */
	struct memo_handed *handed; /* outlives the call; NULL: nothing is held */
};

/* Always ends with exactly one emit(last) unless it is ended before. *@call_out: NULL when the answer was emitted. */
void memo_service_begin(struct memo_runner *r, const json_t *request, const struct memo_asker *a,
			struct memo_service_call **call_out);
/* Emits what there is to tell. 0: nothing to do before the next wake or MEMO_SERVICE_STEP_MS; 1: there is more at once,
 * call again when the asker has taken what was emitted; 2: the answer was emitted. */
int memo_service_step(struct memo_service_call *c);
/* Releases; ends what is in flight, without an answer. NULL-safe. */
void memo_service_end(struct memo_service_call *c);

/* The exit status that an errno stands for (CONTRACT.md section 5). */
int memo_service_status(int code);
/* {"ok":false,...}; new reference, NULL: out of memory. */
json_t *memo_service_refusal(int code, int status, const char *text);

#endif
