/* Client: the command line's end of the control socket.
 *
 * connect -> call (any number, one after the other) -> close. One thread at a time. */
#ifndef MEMO_CONTROL_CLIENT_H
#define MEMO_CONTROL_CLIENT_H

#include "base/error.h"

#include <jansson.h>

struct memo_client;

/* -ENOENT or -ECONNREFUSED: no daemon on this store. */
MEMO_MUST int memo_client_connect(const char *store, struct memo_client **out, struct memo_err *err);
void memo_client_close(struct memo_client *c);

/* Called for each event frame. Non-zero ends the call with that value (negative errno). */
typedef int memo_client_event_fn(void *arg, const json_t *event);

/* Sends @request and waits for the answer. 0 and *@reply_out (a reference) when "ok"; else the negative errno of the answer
 * with its text in @err and *@status_out (may be NULL) the exit status it stands for. -ECONNRESET: the daemon went away. */
MEMO_MUST int memo_client_call(struct memo_client *c, const json_t *request, memo_client_event_fn *event, void *arg,
			       json_t **reply_out, int *status_out, struct memo_err *err);

#endif
