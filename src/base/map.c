#include "map.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64

/* FNV-1a, 64 bit, with a final mix so that the low bits are good. */
static uint64_t hash_bytes(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	return h * UINT64_C(0x9e3779b97f4a7c15);
}

static size_t slot(const struct memo_map *m, uint64_t hash)
{
	return (size_t)(hash >> 20) & (m->size - 1);
}

void memo_map_clear(struct memo_map *m)
{
	free(m->bucket);
	*m = (struct memo_map){ 0 };
}

static struct memo_map_link *find(const struct memo_map *m, const void *key, size_t len, uint64_t hash)
{
	if (m->size == 0)
		return NULL;
	struct memo_map_link *l = m->bucket[slot(m, hash)];
	while (l != NULL && (l->hash != hash || l->len != len || memcmp(l->key, key, len) != 0))
		l = l->next;
	return l;
}

struct memo_map_link *memo_map_get(const struct memo_map *m, const void *key, size_t len)
{
	return find(m, key, len, hash_bytes(key, len));
}

static int grow(struct memo_map *m)
{
	size_t size = m->size == 0 ? FIRST_SIZE : m->size * 2;
	struct memo_map bigger = { .bucket = calloc(size, sizeof(struct memo_map_link *)), .size = size };
	if (bigger.bucket == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < m->size; i++) {
		struct memo_map_link *l = m->bucket[i];
		while (l != NULL) {
			struct memo_map_link *next = l->next;
			size_t s = slot(&bigger, l->hash);
			l->next = bigger.bucket[s];
			bigger.bucket[s] = l;
			l = next;
		}
	}
	free(m->bucket);
	m->bucket = bigger.bucket;
	m->size = size;
	return 0;
}

int memo_map_put(struct memo_map *m, struct memo_map_link *l, const void *key, size_t len)
{
	uint64_t hash = hash_bytes(key, len);
	if (find(m, key, len, hash) != NULL)
		abort();
	if (m->count >= m->size && grow(m) < 0 && m->size == 0)
		return -ENOMEM;
	size_t s = slot(m, hash);
	*l = (struct memo_map_link){ .next = m->bucket[s], .key = key, .len = len, .hash = hash };
	m->bucket[s] = l;
	m->count++;
	return 0;
}

void memo_map_remove(struct memo_map *m, struct memo_map_link *l)
{
	struct memo_map_link **p = &m->bucket[slot(m, l->hash)];
	while (*p != l) {
		if (*p == NULL)
			abort();
		p = &(*p)->next;
	}
	*p = l->next;
	l->next = NULL;
	m->count--;
}

struct memo_map_link *memo_map_next(const struct memo_map *m, const struct memo_map_link *l)
{
	if (l != NULL && l->next != NULL)
		return l->next;
	size_t s = l == NULL ? 0 : slot(m, l->hash) + 1;
	for (; s < m->size; s++) {
		if (m->bucket[s] != NULL)
			return m->bucket[s];
	}
	return NULL;
}
