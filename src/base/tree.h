/* Tree: a directory as a value: what is in it, one hash for all of it.
 *
 * The listing is text, one line an entry, and the tree's hash is the SHA-256 of the listing:
 *
 *	memofs-tree 1
 *	d <path>
 *	f <sha256> <size> <path>          a file, mode 0444
 *	x <sha256> <size> <path>          a file with an x bit, mode 0555
 *	l <target> <path>                 a symbolic link
 *
 * Order: depth first, the names within a directory in byte order, a directory before what is in it.
 * Paths are relative, without "." or "..", parts joined by '/'. Bytes below 0x21, 0x7f and '%' are
 * written as %XX (upper-case hex) in paths and targets, so that a line has a fixed number of fields
 * and any name that a file system holds can be told. Times, owners and other mode bits do not count.
 *
 * scan (a walk by directory descriptors) or parse (a stored listing) -> read from any thread -> unref.
 * A tree does not change once it is made. Both makers refuse what exceeds the limits below. */
#ifndef MEMO_BASE_TREE_H
#define MEMO_BASE_TREE_H

#include "buf.h"
#include "error.h"
#include "hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMO_TREE_ENTRIES 2000000u
#define MEMO_TREE_DEPTH 256u
#define MEMO_TREE_LISTING_BYTES ((size_t)1 << 30)
/* Of one output, by FREEZE: a file can pretend to be of any size for nothing, and reading it would take hours. */
#define MEMO_TREE_HOLE_BYTES ((uint64_t)64 << 30)

enum memo_entry_type { MEMO_ENTRY_DIR, MEMO_ENTRY_FILE, MEMO_ENTRY_EXEC, MEMO_ENTRY_LINK };

/* Entry 0 is the tree's root: a directory with the name "". */
struct memo_tree_entry {
	enum memo_entry_type type;
	const char *path; /* relative to the root, decoded, "" for the root */
	const char *name; /* the last part of @path */
	const char *target; /* of a link, decoded; else NULL */
	struct memo_id id; /* of a file's content */
	uint64_t size; /* of a file: bytes; of a link: length of the target; of a directory: 0 */
	uint32_t parent; /* index; the root's is 0 */
	uint32_t first; /* of a directory: index into memo_tree_child() of its first child */
	uint32_t children; /* of a directory: how many */
};

struct memo_tree;

enum memo_tree_flags {
	/* Freeze an output: files become 0444 or 0555, directories 0555; set-id bits, extended attributes and access
	 * lists go. A file that somebody could still change (memo_tree_freeze_file) is replaced by a copy in a new
	 * inode. Links must be relative and stay inside the tree, by their text and by that of the links on their
	 * way; devices, sockets, FIFOs and other file systems are refused. */
	MEMO_TREE_FREEZE = 1,
	/* fsync each file and directory, when all are frozen: many at once are a tenth of the work. */
	MEMO_TREE_SYNC = 2,
	/* An input: a link counts as what it leads to (a dangling one as its text); special files are refused.
	 * Must not be combined with FREEZE. */
	MEMO_TREE_FOLLOW = 4,
	/* No hashing: sizes, and instead of content hashes the digest of (size, mtime). For External results. */
	MEMO_TREE_STAT = 8,
};

/* -EINVAL: something in it is not allowed (named in @err), -E2BIG: a limit, -EAGAIN: a file changed while it
 * was hashed, or an errno of the file system. */
MEMO_MUST int memo_tree_scan(int dirfd, unsigned flags, struct memo_tree **out, struct memo_err *err);
/* The same for @who (base/who.h) by permission bits, in a thread that has its own rights: -EACCES where they do not allow all
 * of it, and for every link. */
struct memo_who;
MEMO_MUST int memo_tree_scan_for(int dirfd, unsigned flags, const struct memo_who *who, struct memo_tree **out,
				 struct memo_err *err);
/* -EBADMSG: not a listing that memo_tree_text() could have made. */
MEMO_MUST int memo_tree_parse(const char *text, size_t len, struct memo_tree **out, struct memo_err *err);
MEMO_MUST int memo_tree_text(const struct memo_tree *t, struct memo_buf *b);

struct memo_tree *memo_tree_ref(struct memo_tree *t);
void memo_tree_unref(struct memo_tree *t);

const struct memo_id *memo_tree_id(const struct memo_tree *t);
uint32_t memo_tree_count(const struct memo_tree *t); /* entries, the root included */
uint64_t memo_tree_bytes(const struct memo_tree *t); /* of all files */
const struct memo_tree_entry *memo_tree_entry(const struct memo_tree *t, uint32_t index);
/* The @k-th child (byte order) of directory @dir, as an entry's index; @k < children. */
uint32_t memo_tree_child(const struct memo_tree *t, uint32_t dir, uint32_t k);
/* -ENOENT. */
MEMO_MUST int memo_tree_find(const struct memo_tree *t, uint32_t dir, const char *name, uint32_t *index_out);
/* By a path with '/'; "" is the root. -ENOENT. */
MEMO_MUST int memo_tree_walk(const struct memo_tree *t, const char *path, uint32_t *index_out);

/* What STAT puts in place of the hash of one file: the digest of its size and mtime. @path is followed; -EINVAL: no
 * regular file. */
MEMO_MUST int memo_tree_stat_id(int dirfd, const char *path, struct memo_id *id_out);

/* The stats of all that FOLLOW would look at: two that are equal say that nothing was changed, replaced, or changed and set
 * back between them, provided that @newest_ns, the last change (wall clock), lies a clock grain before the first. */
struct memo_tree_trace {
	struct memo_id id;
	int64_t newest_ns;
};
MEMO_MUST int memo_tree_trace(int dirfd, struct memo_tree_trace *out);

/* Freezes one file as FREEZE does for those in a tree: canonical mode, own inode, hash; with @sync durable. @name must be a
 * regular file below @dirfd (no link is followed). When it returns 0 nobody has the file open for writing, by descriptor
 * or by mapping, and nobody ever had who still can reach it: a small file is a copy always, a large one where it was
 * written to, linked elsewhere, somebody else's, or where the file system grants no lease to find out.
 * -EAGAIN: somebody writes to it without end. */
struct memo_frozen {
	struct memo_id id;
	uint64_t size;
	bool exec;
	bool written; /* somebody still had it open for writing; what is frozen is a copy */
};
MEMO_MUST int memo_tree_freeze_file(int dirfd, const char *name, bool sync, struct memo_frozen *out,
				    struct memo_err *err);

/* Moves what lies in directory @from into @to, an empty directory of the same file system: files and links by rename,
 * directories are made anew, so that a descriptor of one of the old ones leads to nothing that counts. For what FREEZE
 * is to be used on afterwards; modes of directories are not kept. -EINVAL: another file system below; -E2BIG. */
MEMO_MUST int memo_tree_move(int from, int to, struct memo_err *err);
/* How many files of a frozen tree were still open for writing, see `written`. */
uint32_t memo_tree_written(const struct memo_tree *t);

#endif
