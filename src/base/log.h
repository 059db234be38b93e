/* Log: one line a message, for the daemon loop and the command line only; no layer below control logs.
 *
 * Control characters in a message are written as \xNN, so that a name can neither break a line nor
 * drive a terminal. The level and the descriptor are the only mutable state at file level. */
#ifndef MEMO_BASE_LOG_H
#define MEMO_BASE_LOG_H

#include "buf.h"
#include "error.h"

enum memo_log_level { MEMO_LOG_ERROR, MEMO_LOG_WARN, MEMO_LOG_INFO, MEMO_LOG_DEBUG };

/* Before threads start. @fd: where lines go (2 at first). */
void memo_log_setup(enum memo_log_level level, int fd);
/* With the time in front when the sink is not a terminal's stderr of a command. */
void memo_log(enum memo_log_level level, const char *fmt, ...) MEMO_PRINTF(2, 3);

/* Appends @text with control characters and invalid UTF-8 written as \xNN. */
int memo_log_escape(struct memo_buf *b, const char *text, size_t len);

#endif
