/* Mount: getting the kernel to show us at a directory, and finding such places, without ever touching a mount of ours:
 * what is mounted where comes from /proc/self/mountinfo. */
#ifndef MEMO_FILESYSTEM_MOUNT_H
#define MEMO_FILESYSTEM_MOUNT_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define MEMO_MOUNT_TYPE "fuse.memofs"
#define MEMO_MOUNTINFO_BYTES ((size_t)64 << 20)

struct memo_mount {
	char *point;
	char *type;
	char *source;
	uint64_t dev;
};
void memo_mount_clear(struct memo_mount *m);

/* One line of mountinfo; escapes are undone. -EINVAL: not such a line. */
MEMO_MUST int memo_mount_parse(const char *line, size_t len, struct memo_mount *out);
/* The topmost mount exactly at @point (@inside false), or the one that @path lies in. In the text of a mountinfo. -ENOENT. */
MEMO_MUST int memo_mount_find(const char *mountinfo, const char *path, bool inside, struct memo_mount *out);
/* The same in this process's own. */
MEMO_MUST int memo_mount_find_now(const char *path, bool inside, struct memo_mount *out);
/* @path made absolute, with "." and ".." taken out by the text alone. */
MEMO_MUST int memo_mount_lexical(const char *path, struct memo_buf *b);

struct memo_mount_options {
	bool allow_other;
	unsigned long flags; /* MS_*, always with RDONLY, NOSUID, NODEV */
};
/* What follows -o; an option that is neither ours nor one of mount(8)'s is refused by name. */
MEMO_MUST int memo_mount_options(const char *text, struct memo_mount_options *out, struct memo_err *err);

/* Opens the device and mounts. By mount(2), else by fusermount3. */
MEMO_MUST int memo_mount_do(const char *point, const char *source, const struct memo_mount_options *o, int *fd_out,
			    struct memo_err *err);
/* umount2(), else fusermount3. */
MEMO_MUST int memo_mount_undo(const char *point, bool lazy, struct memo_err *err);
/* Warnings about settings of the kernel that end a connection with a long wait. */
MEMO_MUST int memo_mount_check_kernel(struct memo_buf *notice);

#endif
