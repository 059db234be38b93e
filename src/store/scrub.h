/* Scrub: reading much without being in anybody's way: a thread of its own at the lowest priorities of processor and disk, at
 * most so many bytes a second, and what it alone brought into the page cache is dropped again. struct memo_scrub: store.h. */
#ifndef MEMO_STORE_SCRUB_H
#define MEMO_STORE_SCRUB_H

#include "store.h"

#include "base/hash.h"

/* Digest of @fd from its beginning to its end; *@size_out: how much that was. -ECANCELED: told to stop. @b NULL: at once, as
 * memo_hash_fd(). */
MEMO_MUST int memo_scrub_hash(struct memo_scrub *b, int fd, struct memo_id *id_out, uint64_t *size_out);

#endif
