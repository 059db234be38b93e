/* Engine: store and runner in the command's own process, for a command that finds no daemon. It also serves the control
 * socket, so that a second command finds it.
 *
 *	block_signals -> open -> call ... -> close. One thread. */
#ifndef MEMO_CLI_ENGINE_H
#define MEMO_CLI_ENGINE_H

#include "base/buf.h"
#include "base/error.h"
#include "control/client.h"

#include <jansson.h>

struct memo_engine;

/* 0: @dir is a store; -ENOENT: there is none. */
MEMO_MUST int memo_engine_probe(const char *dir, struct memo_err *err);
MEMO_MUST int memo_engine_make_store(const char *dir, struct memo_err *err);
/* Absolute path of the worker program (free() it): $MEMOFS_WORKER, else beside this program, where the installation
 * puts it, or where the build does. */
MEMO_MUST int memo_engine_worker(char **path_out, struct memo_err *err);

/* TERM, INT and HUP of this thread and those it starts: memo_engine_call() takes them. */
void memo_engine_block_signals(void);
/* -EBUSY: another process has the store; @err says which. @notice gets what was repaired, a line each. */
MEMO_MUST int memo_engine_open(const char *store, struct memo_engine **out, struct memo_buf *notice,
			       struct memo_err *err);
/* As memo_client_call(); -EINTR: a signal came. */
MEMO_MUST int memo_engine_call(struct memo_engine *e, const json_t *request, memo_client_event_fn *event, void *arg,
			       json_t **reply_out, int *status_out, struct memo_err *err);
void memo_engine_close(struct memo_engine *e);

#endif
