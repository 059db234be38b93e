/* Map: an intrusive hash table from byte strings to the structures that carry its link.
 *
 *	struct thing { struct memo_map_link link; char *name; };
 *	memo_map_put(&map, &t->link, t->name, strlen(t->name));
 *	struct memo_map_link *l = memo_map_get(&map, name, len);   ->  MEMO_CONTAINER(l, struct thing, link)
 *
 * The table owns neither the structures nor their keys: the key's memory must stay as it is while the
 * link is in. Not synchronised: the owner's mutex guards it. A key may be in only once. */
#ifndef MEMO_BASE_MAP_H
#define MEMO_BASE_MAP_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

#define MEMO_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct memo_map_link {
	struct memo_map_link *next;
	const void *key;
	size_t len;
	uint64_t hash;
};

struct memo_map {
	struct memo_map_link **bucket; /* a power of two of them, or NULL */
	size_t size;
	size_t count;
};

void memo_map_clear(struct memo_map *m); /* frees the table, not what is in it */
struct memo_map_link *memo_map_get(const struct memo_map *m, const void *key, size_t len);
/* -ENOMEM; a key that is in already is a bug and aborts. */
MEMO_MUST int memo_map_put(struct memo_map *m, struct memo_map_link *l, const void *key, size_t len);
/* @l must be in. */
void memo_map_remove(struct memo_map *m, struct memo_map_link *l);
/* Walks in no order: NULL begins; the returned link may be removed before the next call only if its
 * successor was fetched first. */
struct memo_map_link *memo_map_next(const struct memo_map *m, const struct memo_map_link *l);

#endif
