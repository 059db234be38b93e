/* Errors: a negative errno that travels as the return value, and beside it one sentence for a person.
 *
 * Every function that can fail returns `int`: a negative errno, 0, or a documented positive value.
 * The layer that knows the subject (the file, the key, the task) fills `struct memo_err`; the layers
 * above pass it on. Nothing below the command line prints. A text is one sentence, names the thing
 * concerned and says what to do; it carries no newline.
 *
 * Threads: values only, no shared state. Absence is -ENOENT, a result and not an incident. */
#ifndef MEMO_BASE_ERROR_H
#define MEMO_BASE_ERROR_H

#include <errno.h>

#define MEMO_ERR_TEXT 1024

#define MEMO_MUST __attribute__((warn_unused_result))
#define MEMO_PRINTF(f, a) __attribute__((format(printf, f, a)))

struct memo_err {
	int code; /* negative errno, 0: nothing was said */
	char text[MEMO_ERR_TEXT];
};

/* Fills @err (may be NULL) and returns @code. @code must be negative: anything else is a bug and
 * ends the process. A text longer than the field is cut at a character boundary. */
int memo_fail(struct memo_err *err, int code, const char *fmt, ...) MEMO_PRINTF(3, 4);

/* Puts "<prefix>: " before the text that is there; returns err->code, or @code where nothing was said. */
int memo_fail_prefix(struct memo_err *err, int code, const char *fmt, ...) MEMO_PRINTF(3, 4);

/* -errno, never 0: call it right after the system call that failed. Inline, so that compilers see that it is negative. */
static inline int memo_errno(void)
{
	int e = errno;
	return e > 0 ? -e : -EIO;
}

/* The text of an errno for people ("No such file or directory"); a static string. */
const char *memo_strerror(int code);

#endif
