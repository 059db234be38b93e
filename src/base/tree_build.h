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
/* Counts a file for memo_tree_written(). */
void memo_tree_build_written(struct memo_tree *t);
/* Orders the children; with @hash also takes the tree's hash, which walks the whole listing. */
MEMO_MUST int memo_tree_build_seal(struct memo_tree *t, bool hash);

/* fsync of each file and directory of @t, which lies at @dirfd. */
MEMO_MUST int memo_tree_sync(int dirfd, const struct memo_tree *t, struct memo_err *err);

/* What the files of one output have in common. */
struct memo_freeze {
	bool sync, one_dev;
	dev_t dev; /* with @one_dev: where they must lie */
	uint64_t holes; /* bytes of holes so far */
};

/* Freezes one file of a walk. @label: its path for messages. */
MEMO_MUST int memo_tree_freeze_at(int dirfd, const char *name, const char *label, struct memo_freeze *f,
				  struct memo_frozen *out, struct memo_err *err);

/* The names of a directory in byte order, without "." and "..". Each: one byte of type (DT_), then the name. */
struct memo_names {
	char **name;
	size_t count, cap;
};
/* Through a descriptor of its own: the position of @fd belongs to the caller. -E2BIG: too many. */
MEMO_MUST int memo_names_read(int fd, struct memo_names *n);
void memo_names_clear(struct memo_names *n);

/* A link that leads out of the tree, by its text and that of the links on its way; 0: there is none. */
uint32_t memo_tree_escape(const struct memo_tree *t);

/* "a FIFO" and the like, for messages. */
const char *memo_tree_kind(mode_t mode);

#endif
