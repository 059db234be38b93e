/* Io: whole reads and writes, and the atomic publication of small files.
 *
 * Paths are relative to a directory descriptor (AT_FDCWD allowed). All descriptors are close-on-exec.
 * Interrupted calls are continued. Durability is said per function. No shared state. */
#ifndef MEMO_BASE_IO_H
#define MEMO_BASE_IO_H

#include "buf.h"
#include "error.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

MEMO_MUST int memo_io_write_all(int fd, const void *data, size_t len);
/* Reads until @len bytes or the end; returns the count in *@got_out. */
MEMO_MUST int memo_io_read_full(int fd, void *data, size_t len, size_t *got_out);
/* Appends the rest of @fd to @b; -EFBIG when there are more than @limit bytes. */
MEMO_MUST int memo_io_read_fd(int fd, size_t limit, struct memo_buf *b);
/* The whole of a regular file; -EFBIG as above. Does not block on a FIFO (-EINVAL for anything irregular). */
MEMO_MUST int memo_io_read_file(int dirfd, const char *path, size_t limit, struct memo_buf *b);

/* Creates or replaces @path by @data so that after a crash either the old content or the new one is there:
 * temporary file beside it, fsync, rename, fsync of the directory @dirfd (@path must be a plain name then).
 * With @durable false nothing is synced: the replacement is atomic for readers only. */
MEMO_MUST int memo_io_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable);

MEMO_MUST int memo_io_sync_dir(int dirfd, const char *path);
/* mkdir that is content with an existing directory. */
MEMO_MUST int memo_io_mkdir(int dirfd, const char *path, mode_t mode);
/* Opens a directory; O_NOFOLLOW on the last component. */
MEMO_MUST int memo_io_open_dir(int dirfd, const char *path, int *fd_out);
/* The same as a stream, with a position of its own. */
MEMO_MUST int memo_io_list(int dirfd, const char *path, DIR **out);
/* Removes a tree below @dirfd without following symbolic links or crossing to another file system's
 * contents; unreadable directories are made readable first, and so are those that may not be changed (chattr). The
 * depth may be any: what lies too deep is moved up. Absence is success. */
MEMO_MUST int memo_io_remove_tree(int dirfd, const char *path);
/* Takes the flags away (chattr +i, +a) that keep even root from removing or renaming @path, which may be a file or a
 * directory; no link is followed. */
MEMO_MUST int memo_io_unlock(int dirfd, const char *path);
/* chmod of a file or a directory that may not be openable (needs /proc); -EINVAL for anything else, a link too. */
MEMO_MUST int memo_io_grant(int dirfd, const char *path, mode_t mode);
/* Copies @size bytes or to the end (reflink where the file system can, else copy_file_range, else read/write). */
MEMO_MUST int memo_io_copy(int from, int to);

/* "a/b" joined into a new string (free() it); NULL: out of memory. An absolute @b is returned alone. */
char *memo_io_join(const char *a, const char *b);

#endif
