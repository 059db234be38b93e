/* Server: the control socket of a store (DIR/control.sock), one thread, no thread per connection.
 *
 * start -> ... -> stop. The peer's user and groups come from SO_PEERCRED and SO_PEERGROUPS. At most MEMO_SERVER_CONNECTIONS at a time and
 * MEMO_SERVER_PER_UID of one user; a connection that sends half a frame is dropped after MEMO_SERVER_FRAME_MS. */
#ifndef MEMO_CONTROL_SERVER_H
#define MEMO_CONTROL_SERVER_H

#include "base/error.h"
#include "runner/runner.h"

#define MEMO_SERVER_CONNECTIONS 1024
#define MEMO_SERVER_PER_UID 512
#define MEMO_SERVER_FRAME_MS 10000

struct memo_server;

/* Replaces a stale socket (the caller owns the store's lock, so whatever is there is stale). */
MEMO_MUST int memo_server_start(struct memo_runner *r, struct memo_server **out, struct memo_err *err);
/* Answers what is in flight with an error and closes all connections. */
void memo_server_stop(struct memo_server *s);

#endif
