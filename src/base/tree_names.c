/* Tree, two small things that its walks share: the names of a directory, and where links lead. */
#include "tree_build.h"

#include "scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* As many links as the kernel follows before it says ELOOP. */
#define LINK_HOPS 40

void memo_names_clear(struct memo_names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->name[i]);
	free(n->name);
	*n = (struct memo_names){ 0 };
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a + 1, *(char *const *)b + 1);
}

static int add_name(struct memo_names *n, const struct dirent *e)
{
	if (n->count == n->cap) {
		size_t cap = n->cap == 0 ? 32 : n->cap * 2;
		char **p = realloc(n->name, cap * sizeof *p);
		if (p == NULL)
			return -ENOMEM;
		n->name = p;
		n->cap = cap;
	}
	size_t len = strlen(e->d_name) + 1;
	char *s = malloc(len + 1);
	if (s == NULL)
		return -ENOMEM;
	s[0] = (char)e->d_type;
	memcpy(s + 1, e->d_name, len);
	n->name[n->count++] = s;
	return 0;
}

int memo_names_read(int fd, struct memo_names *n)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0)
		return memo_errno();
	MEMO_AUTO_DIR DIR *d = fdopendir(own);
	if (d == NULL) {
		int r = memo_errno();
		(void)close(own);
		return r;
	}
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL && errno != 0)
			return memo_errno();
		if (e == NULL)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = n->count >= MEMO_TREE_ENTRIES ? -E2BIG : add_name(n, e);
		if (r < 0)
			return r;
	}
	if (n->count > 1)
		qsort(n->name, n->count, sizeof *n->name, compare_names);
	return 0;
}

/* ---- links ---- */

/* Takes the next part of a path that is walked; false: there is none. */
static bool next_part(const char **text, const char **part, size_t *len)
{
	while (**text == '/')
		(*text)++;
	*part = *text;
	*len = strcspn(*text, "/");
	*text += *len;
	return *len > 0;
}

static bool find_part(const struct memo_tree *t, uint32_t dir, const char *part, size_t len, uint32_t *index_out)
{
	char name[MEMO_TREE_NAME_BYTES + 1];
	if (len > MEMO_TREE_NAME_BYTES || memo_tree_entry(t, dir)->type != MEMO_ENTRY_DIR)
		return false;
	memcpy(name, part, len);
	name[len] = '\0';
	return memo_tree_find(t, dir, name, index_out) == 0;
}

/* Walks as the kernel would, inside the tree only. What does not exist ends the walk, for the kernel as for us. */
static bool escapes(const struct memo_tree *t, uint32_t link)
{
	const char *rest[LINK_HOPS + 1]; /* what is left of each link's text, the innermost last */
	size_t depth = 1, hops = 0;
	uint32_t at = memo_tree_entry(t, link)->parent;
	rest[0] = memo_tree_entry(t, link)->target;
	while (depth > 0) {
		const char *part;
		size_t len;
		if (!next_part(&rest[depth - 1], &part, &len)) {
			depth--;
			continue;
		}
		if (len == 1 && part[0] == '.')
			continue;
		if (len == 2 && part[0] == '.' && part[1] == '.') {
			if (at == 0)
				return true;
			at = memo_tree_entry(t, at)->parent;
			continue;
		}
		uint32_t next;
		if (!find_part(t, at, part, len, &next))
			return false;
		const struct memo_tree_entry *e = memo_tree_entry(t, next);
		if (e->type != MEMO_ENTRY_LINK) {
			at = next;
			continue;
		}
		if (++hops > LINK_HOPS)
			return false;
		if (e->target[0] == '/')
			return true;
		rest[depth++] = e->target;
	}
	return false;
}

uint32_t memo_tree_escape(const struct memo_tree *t)
{
	for (uint32_t i = 1; i < memo_tree_count(t); i++) {
		const struct memo_tree_entry *e = memo_tree_entry(t, i);
		if (e->type == MEMO_ENTRY_LINK && (e->target[0] == '/' || escapes(t, i)))
			return i;
	}
	return 0;
}
