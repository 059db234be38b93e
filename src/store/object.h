/* Object: files and trees named by their content, below DIR/objects.
 *
 * A name appears only when everything under it is whole and durable, and never changes what it means. What turns out to
 * be damaged is moved to quarantine under its hash, so that the next publication writes it anew.
 * Callable from any thread; two publishers of one object may race, one of them wins. */
#ifndef MEMO_STORE_OBJECT_H
#define MEMO_STORE_OBJECT_H

#include "internal.h"

enum memo_object_kind { MEMO_OBJECT_FILE, MEMO_OBJECT_EXEC, MEMO_OBJECT_DIR };

/* "xx/<64 hex>", with ".x" or ".d", relative to objects. */
#define MEMO_OBJECT_NAME 80
void memo_object_name(const struct memo_id *id, enum memo_object_kind kind, char out[MEMO_OBJECT_NAME]);

/* Links @name below @dirfd in as an object; the bytes are durable already. The source stays where it is unless the file
 * system has no hard links. -ENOENT: there is neither the source nor the object. */
MEMO_MUST int memo_object_link(struct memo_store *s, int dirfd, const char *name, const struct memo_id *id,
			       bool exec, uint64_t size, struct memo_err *err);
/* Moves the frozen directory @name below @dirfd to <id>.d, and only then links @listing in as <id>. A directory that
 * was moved by an earlier try is found there. */
MEMO_MUST int memo_object_link_tree(struct memo_store *s, int dirfd, const char *name, const char *listing,
				    const struct memo_tree *t, uint64_t listing_size, struct memo_err *err);
/* Bytes in memory as an object, durable. */
MEMO_MUST int memo_object_put(struct memo_store *s, const void *data, size_t len, bool exec, struct memo_id *id_out,
			      struct memo_err *err);

/* Why something is put into quarantine; the word becomes a part of its name there. */
enum memo_quarantine { MEMO_DAMAGED, MEMO_UNREADABLE, MEMO_LEFTOVER };
/* Moves @name below @dirfd there, as @leaf. */
MEMO_MUST int memo_quarantine_move(struct memo_store *s, int dirfd, const char *name, const char *leaf,
				   enum memo_quarantine why);
/* Moves the object with that name to quarantine, counts and tells it; forgets what was checked. A damaged one is removed where it cannot
 * be moved. -ENOENT: there was none. */
int memo_object_quarantine(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind,
			   enum memo_quarantine why);
/* What marks an object, or the entry of a tree that @index stands for, in a table; never 0. */
uint64_t memo_object_mark(const struct memo_id *id, enum memo_object_kind kind, uint64_t index);
/* What a look at an object that ended with @code comes to. -EBADMSG: it was moved to quarantine, because it is damaged or is given up
 * (breaker.h); -EIO: it could not be read, and stays; else @code. @mark: what failures are counted against. */
MEMO_MUST int memo_object_judge(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind,
				uint64_t mark, int code);
/* What is in the tree at @dirfd is what the listing says, in type, size and mode; -EBADMSG names the first that is not. @deep: the
 * content, too, read as @b says (may be NULL). */
MEMO_MUST int memo_object_compare(int dirfd, const struct memo_tree *t, bool deep, struct memo_scrub *b,
				  struct memo_err *err);
/* The listing, verified against its name. -ENOENT, -EBADMSG, or an error of the disk. */
MEMO_MUST int memo_object_listing(struct memo_store *s, const struct memo_id *id, struct memo_tree **out);
/* Opens what has that name without following a link. -EBADMSG: something that cannot be an object. */
MEMO_MUST int memo_object_open(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind,
			       int *fd_out);
/* 0: a regular file of that size with an object's mode; -EBADMSG. */
MEMO_MUST int memo_object_look(int fd, uint64_t size, bool exec);

void memo_object_clear(struct memo_store *s);

#endif
