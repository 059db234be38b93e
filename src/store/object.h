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

/* Moves what has that name to quarantine; forgets what was checked. */
void memo_object_quarantine(struct memo_store *s, const struct memo_id *id, enum memo_object_kind kind);
/* Files of the tree at @dirfd have the type and size that the listing says. -EBADMSG. @deep: and the content. */
MEMO_MUST int memo_object_compare(int dirfd, const struct memo_tree *t, bool deep, struct memo_err *err);
/* Reads all bytes of a result: 0 whole, -ENOENT, -EBADMSG. */
MEMO_MUST int memo_object_verify(struct memo_store *s, const struct memo_result *r);

void memo_object_clear(struct memo_store *s);

#endif
