/* Log: one line a message, for the daemon loop and the command line only; no layer below control logs.
 *
 * What could break a line, drive a terminal or reorder what it shows is written as \xNN: control characters, the
 * separators and direction marks of Unicode ("Trojan Source", CVE-2021-42574), and what is not UTF-8. The level and the
 * descriptor are the only mutable state at file level. */
#ifndef MEMO_BASE_LOG_H
#define MEMO_BASE_LOG_H

#include "buf.h"
#include "error.h"

enum memo_log_level { MEMO_LOG_ERROR, MEMO_LOG_WARN, MEMO_LOG_INFO, MEMO_LOG_DEBUG };

/* Before threads start. @fd: where lines go (2 at first). */
void memo_log_setup(enum memo_log_level level, int fd);
/* With the time in front when the sink is not a terminal's stderr of a command. */
void memo_log(enum memo_log_level level, const char *fmt, ...) MEMO_PRINTF(2, 3);

/* Appends @text, with what is named above written as \xNN. */
int memo_log_escape(struct memo_buf *b, const char *text, size_t len);
/* How many bytes at @text are one such thing; 0: the character there is harmless. */
size_t memo_log_harmful(const char *text, size_t len);
/* Appends @text as one word of a shell's command line that can be shown, and copied: as it is, in '', or in $''. */
int memo_log_word(struct memo_buf *b, const char *text);

#endif
