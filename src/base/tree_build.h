/* Tree, the inside: what the two makers (a listing in tree.c, a walk in tree_scan.c) share.
 *
 * new -> add each entry, a directory before what is in it -> seal -> a finished, immutable tree. Not for others. */
#ifndef MEMO_BASE_TREE_BUILD_H
#define MEMO_BASE_TREE_BUILD_H

#include "tree.h"

#include <sys/types.h>

#define MEMO_TREE_NAME_BYTES 255u
#define MEMO_TREE_TARGET_BYTES 4095u

/* A tree that holds its root only. NULL: out of memory. */
struct memo_tree *memo_tree_build_new(void);
/* Appends an entry named @name (without '/') to directory @parent; the caller fills id and size of what
 * *@entry_out points to, which holds until the next call. -E2BIG: a limit. @target: NULL unless it is a link. */
MEMO_MUST int memo_tree_build_add(struct memo_tree *t, uint32_t parent, enum memo_entry_type type, const char *name,
				  const char *target, struct memo_tree_entry **entry_out);
/* Counts @size bytes of a file; -E2BIG when the sum leaves 63 bits. */
MEMO_MUST int memo_tree_build_count(struct memo_tree *t, uint64_t size);
/* Orders the children; with @hash also takes the tree's hash, which walks the whole listing. */
MEMO_MUST int memo_tree_build_seal(struct memo_tree *t, bool hash);

/* Freezes one file of a walk. @label: its path for messages; @dev: it must lie there (NULL: anywhere). */
MEMO_MUST int memo_tree_freeze_at(int dirfd, const char *name, const char *label, const dev_t *dev, bool sync,
				  struct memo_frozen *out, struct memo_err *err);
/* Gives the owner @mode on @name, which may not be openable; follows no link. */
MEMO_MUST int memo_tree_grant(int dirfd, const char *name, mode_t mode);
/* "a FIFO" and the like, for messages. */
const char *memo_tree_kind(mode_t mode);

#endif
