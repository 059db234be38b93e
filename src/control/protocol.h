/* Protocol: messages on the store's control socket.
 *
 * A frame is 4 bytes big-endian length, then that many bytes of JSON (an object). A request is {"op": name, ...}; the answer
 * is any number of {"event": ...} frames, then exactly one {"ok": true, ...} or {"ok": false, "code": errno, "status": exit
 * status, "message": text}. One request at a time on a connection. The frame limit holds in both directions; the daemon
 * drops a peer that breaks it. Pure: encode and decode only; reading and writing frames is for both ends. */
#ifndef MEMO_CONTROL_PROTOCOL_H
#define MEMO_CONTROL_PROTOCOL_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_FRAME_MAX ((uint32_t)128 << 20) /* from the store's owner: a task with its code files */
#define MEMO_FRAME_MAX_OTHER ((uint32_t)1 << 20)

/* Appends a frame. */
MEMO_MUST int memo_frame_append(const json_t *message, struct memo_buf *b);
/* Takes one frame from the front of @data: >0 bytes used and *@out set; 0: more is needed; -EPROTO: broken or above @limit. */
MEMO_MUST int memo_frame_take(const char *data, size_t len, uint32_t limit, json_t **out, struct memo_err *err);
/* Blocking, for the client's end. -ECONNRESET: the peer is gone. */
MEMO_MUST int memo_frame_send(int fd, const json_t *message, struct memo_err *err);
MEMO_MUST int memo_frame_receive(int fd, json_t **out, struct memo_err *err);

#endif
