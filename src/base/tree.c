/* Tree as a value: entries in listing order, their strings in an arena, and for each directory the indices of its
 * children. The listing is made from the entries and never kept: parse() proves each line by writing it again, so
 * that there is one spelling of a tree and its hash can be taken from the text. */
#include "tree.h"

#include "scope.h"
#include "tree_build.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define HEADER "memofs-tree 1\n"
#define FIRST_ENTRIES 16u
#define FIRST_CHUNK ((size_t)1 << 10)
#define LAST_CHUNK ((size_t)1 << 20)
#define HASH_BATCH ((size_t)32 << 10)

struct chunk {
	struct chunk *next;
	size_t used, size;
	char data[];
};

struct memo_tree {
	atomic_int refs;
	struct memo_tree_entry *entry;
	uint32_t count, cap;
	uint32_t *child; /* count - 1 indices, grouped by parent, in byte order within a group */
	struct chunk *chunks;
	size_t strings; /* bytes in the arena: bounds the memory before the listing is made */
	uint64_t bytes;
	uint32_t written; /* files that somebody had open for writing when they were frozen */
	struct memo_id id;
};

struct memo_tree *memo_tree_build_new(void)
{
	struct memo_tree *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	atomic_init(&t->refs, 1);
	t->entry = calloc(FIRST_ENTRIES, sizeof *t->entry);
	if (t->entry == NULL) {
		free(t);
		return NULL;
	}
	t->cap = FIRST_ENTRIES;
	t->entry[0] = (struct memo_tree_entry){ .type = MEMO_ENTRY_DIR, .path = "", .name = "" };
	t->count = 1;
	return t;
}

struct memo_tree *memo_tree_ref(struct memo_tree *t)
{
	if (t != NULL)
		(void)atomic_fetch_add(&t->refs, 1);
	return t;
}

void memo_tree_unref(struct memo_tree *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	while (t->chunks != NULL) {
		struct chunk *next = t->chunks->next;
		free(t->chunks);
		t->chunks = next;
	}
	free(t->child);
	free(t->entry);
	free(t);
}

static char *arena(struct memo_tree *t, size_t len)
{
	struct chunk *c = t->chunks;
	if (c == NULL || c->size - c->used < len) {
		size_t size = c == NULL ? FIRST_CHUNK : c->size * 2;
		if (size > LAST_CHUNK)
			size = LAST_CHUNK;
		if (size < len)
			size = len;
		struct chunk *fresh = malloc(sizeof *fresh + size);
		if (fresh == NULL)
			return NULL;
		*fresh = (struct chunk){ .next = c, .size = size };
		t->chunks = c = fresh;
	}
	char *p = c->data + c->used;
	c->used += len;
	t->strings += len;
	return p;
}

static int room_for_entry(struct memo_tree *t)
{
	if (t->count < t->cap)
		return 0;
	if (t->count >= MEMO_TREE_ENTRIES)
		return -E2BIG;
	uint32_t cap = t->cap * 2;
	struct memo_tree_entry *p = realloc(t->entry, cap * sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	t->entry = p;
	t->cap = cap;
	return 0;
}

int memo_tree_build_add(struct memo_tree *t, uint32_t parent, enum memo_entry_type type, const char *name,
			const char *target, struct memo_tree_entry **entry_out)
{
	const char *above = t->entry[parent].path;
	size_t head = strlen(above), tail = strlen(name), link = target != NULL ? strlen(target) : 0;
	if (tail > MEMO_TREE_NAME_BYTES || link > MEMO_TREE_TARGET_BYTES ||
	    t->strings + head + tail + link > MEMO_TREE_LISTING_BYTES || t->count >= MEMO_TREE_ENTRIES)
		return -E2BIG;
	int r = room_for_entry(t);
	if (r < 0)
		return r;
	size_t skip = head > 0 ? head + 1 : 0;
	char *path = arena(t, skip + tail + 1);
	char *to = path != NULL && target != NULL ? arena(t, link + 1) : NULL;
	if (path == NULL || (target != NULL && to == NULL))
		return -ENOMEM;
	if (head > 0) {
		memcpy(path, above, head);
		path[head] = '/';
	}
	memcpy(path + skip, name, tail + 1);
	if (target != NULL)
		memcpy(to, target, link + 1);

	struct memo_tree_entry *e = &t->entry[t->count++];
	*e = (struct memo_tree_entry){
		.type = type, .path = path, .name = path + skip, .target = to, .size = link, .parent = parent
	};
	*entry_out = e;
	return 0;
}

int memo_tree_build_count(struct memo_tree *t, uint64_t size)
{
	if (size > INT64_MAX || t->bytes + size > INT64_MAX)
		return -E2BIG;
	t->bytes += size;
	return 0;
}

void memo_tree_build_written(struct memo_tree *t)
{
	t->written++;
}

/* ---- the listing ---- */

static bool must_escape(unsigned char c)
{
	return c < 0x21 || c == 0x7f || c == '%';
}

static void put_escaped(struct memo_buf *b, const char *s)
{
	static const char digit[] = "0123456789ABCDEF";
	while (*s != '\0') {
		size_t plain = 0;
		while (s[plain] != '\0' && !must_escape((unsigned char)s[plain]))
			plain++;
		(void)memo_buf_append(b, s, plain);
		s += plain;
		if (*s == '\0')
			return;
		unsigned char c = (unsigned char)*s++;
		(void)memo_buf_append(b, (char[]){ '%', digit[c >> 4], digit[c & 15] }, 3);
	}
}

static void put_line(struct memo_buf *b, const struct memo_tree_entry *e)
{
	char hex[MEMO_HEX_SIZE];
	switch (e->type) {
	case MEMO_ENTRY_DIR:
		(void)memo_buf_puts(b, "d ");
		break;
	case MEMO_ENTRY_FILE:
	case MEMO_ENTRY_EXEC:
		(void)memo_buf_printf(b, "%c %s %llu ", e->type == MEMO_ENTRY_FILE ? 'f' : 'x',
				      memo_id_hex(&e->id, hex), (unsigned long long)e->size);
		break;
	case MEMO_ENTRY_LINK:
		(void)memo_buf_puts(b, "l ");
		put_escaped(b, e->target);
		(void)memo_buf_putc(b, ' ');
		break;
	}
	put_escaped(b, e->path);
	(void)memo_buf_putc(b, '\n');
}

int memo_tree_text(const struct memo_tree *t, struct memo_buf *b)
{
	(void)memo_buf_puts(b, HEADER);
	for (uint32_t i = 1; i < t->count; i++)
		put_line(b, &t->entry[i]);
	return memo_buf_error(b);
}

/* The hash of the listing without the listing: lines go through a small buffer. */
static int hash_listing(struct memo_tree *t)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_hash *h = memo_hash_new();
	if (h == NULL)
		return -ENOMEM;
	size_t total = 0;
	int r = memo_buf_puts(&b, HEADER);
	for (uint32_t i = 1; r == 0 && i < t->count; i++) {
		put_line(&b, &t->entry[i]);
		r = memo_buf_error(&b);
		if (r < 0 || b.len < HASH_BATCH)
			continue;
		total += b.len;
		r = total > MEMO_TREE_LISTING_BYTES ? -E2BIG : memo_hash_update(h, b.data, b.len);
		memo_buf_reset(&b);
	}
	if (r == 0)
		r = total + b.len > MEMO_TREE_LISTING_BYTES ? -E2BIG : memo_hash_update(h, b.data, b.len);
	if (r == 0)
		r = memo_hash_final(h, &t->id);
	memo_hash_free(h);
	return r;
}

/* Entries come in listing order, so that counting them into their parents' groups leaves each group in byte order. */
static int group_children(struct memo_tree *t)
{
	t->child = calloc(t->count, sizeof *t->child);
	if (t->child == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < t->count; i++)
		t->entry[t->entry[i].parent].children++;
	uint32_t at = 0;
	for (uint32_t i = 0; i < t->count; i++) {
		t->entry[i].first = at;
		at += t->entry[i].children;
		t->entry[i].children = 0;
	}
	for (uint32_t i = 1; i < t->count; i++) {
		struct memo_tree_entry *p = &t->entry[t->entry[i].parent];
		t->child[p->first + p->children++] = i;
	}
	return 0;
}

int memo_tree_build_seal(struct memo_tree *t, bool hash)
{
	int r = group_children(t);
	return r == 0 && hash ? hash_listing(t) : r;
}

/* ---- parsing ---- */

struct parser {
	struct memo_tree *t;
	struct memo_buf path, target, line; /* scratch */
	uint32_t depth;
	uint32_t dir[MEMO_TREE_DEPTH + 1]; /* the open directories, the root first */
	uint32_t last[MEMO_TREE_DEPTH + 1]; /* the entry that came last in each; 0: none */
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes put_escaped() loosely: whoever writes the line again finds a wrong spelling. */
static int unescape(const char *s, size_t len, struct memo_buf *b)
{
	memo_buf_reset(b);
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '%') {
			int hi = len - i > 2 ? hex_digit(s[i + 1]) : -1, lo = hi < 0 ? -1 : hex_digit(s[i + 2]);
			if (lo < 0)
				return -EBADMSG;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (c == '\0')
			return -EBADMSG;
		(void)memo_buf_putc(b, c);
	}
	if (b->len == 0)
		return -EBADMSG;
	return memo_buf_error(b);
}

static int parse_size(const char *s, size_t len, uint64_t *out)
{
	uint64_t v = 0;
	if (len == 0 || len > 19)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EBADMSG;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	*out = v;
	return 0;
}

/* Finds the open directory that the path in p->path belongs to and closes those that are done. */
static int find_parent(struct parser *p, const char **name_out)
{
	char *path = p->path.data;
	char *slash = strrchr(path, '/');
	size_t head = slash != NULL ? (size_t)(slash - path) : 0;
	const char *name = slash != NULL ? slash + 1 : path;
	if (slash == path || name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EBADMSG;
	for (;;) {
		const char *dir = p->t->entry[p->dir[p->depth]].path;
		if (strlen(dir) == head && memcmp(dir, path, head) == 0)
			break;
		if (p->depth == 0)
			return -EBADMSG;
		p->depth--;
	}
	uint32_t last = p->last[p->depth];
	if (last != 0 && strcmp(p->t->entry[last].name, name) >= 0)
		return -EBADMSG;
	if (p->depth == MEMO_TREE_DEPTH)
		return -EBADMSG;
	*name_out = name;
	return 0;
}

struct fields {
	enum memo_entry_type type;
	struct memo_id id;
	uint64_t size;
	const char *path;
	size_t path_len;
};

static int split_file(const char *line, size_t len, struct fields *f)
{
	char hex[MEMO_HEX_SIZE] = { 0 };
	if (len < 2 + MEMO_HEX_LEN + 1 || line[2 + MEMO_HEX_LEN] != ' ')
		return -EBADMSG;
	memcpy(hex, line + 2, MEMO_HEX_LEN);
	const char *size = line + 2 + MEMO_HEX_LEN + 1;
	const char *blank = memchr(size, ' ', len - (size_t)(size - line));
	if (blank == NULL || memo_id_parse(hex, &f->id) < 0 ||
	    parse_size(size, (size_t)(blank - size), &f->size) < 0)
		return -EBADMSG;
	f->type = line[0] == 'f' ? MEMO_ENTRY_FILE : MEMO_ENTRY_EXEC;
	f->path = blank + 1;
	return 0;
}

static int split_line(struct parser *p, const char *line, size_t len, struct fields *f)
{
	if (len < 3 || line[1] != ' ')
		return -EBADMSG;
	if (line[0] == 'd') {
		f->type = MEMO_ENTRY_DIR;
		f->path = line + 2;
	} else if (line[0] == 'f' || line[0] == 'x') {
		int r = split_file(line, len, f);
		if (r < 0)
			return r;
	} else if (line[0] == 'l') {
		const char *blank = memchr(line + 2, ' ', len - 2);
		int r = blank == NULL ? -EBADMSG : unescape(line + 2, (size_t)(blank - line - 2), &p->target);
		if (r < 0)
			return r;
		f->type = MEMO_ENTRY_LINK;
		f->path = blank + 1;
	} else {
		return -EBADMSG;
	}
	f->path_len = len - (size_t)(f->path - line);
	return 0;
}

static int parse_line(struct parser *p, const char *line, size_t len)
{
	struct fields f = { 0 };
	const char *name = NULL;
	int r = split_line(p, line, len, &f);
	if (r == 0)
		r = unescape(f.path, f.path_len, &p->path);
	if (r == 0)
		r = find_parent(p, &name);
	if (r < 0)
		return r;

	struct memo_tree_entry *e;
	uint32_t index = p->t->count;
	r = memo_tree_build_add(p->t, p->dir[p->depth], f.type, name,
				f.type == MEMO_ENTRY_LINK ? memo_buf_str(&p->target) : NULL, &e);
	if (r < 0)
		return r;
	if (f.type == MEMO_ENTRY_FILE || f.type == MEMO_ENTRY_EXEC) {
		e->id = f.id;
		e->size = f.size;
		r = memo_tree_build_count(p->t, f.size);
		if (r < 0)
			return r;
	}
	p->last[p->depth] = index;
	if (f.type == MEMO_ENTRY_DIR) {
		p->depth++;
		p->dir[p->depth] = index;
		p->last[p->depth] = 0;
	}
	memo_buf_reset(&p->line);
	put_line(&p->line, e);
	r = memo_buf_error(&p->line);
	if (r < 0)
		return r;
	return p->line.len == len + 1 && memcmp(p->line.data, line, len) == 0 ? 0 : -EBADMSG;
}

static int parse_lines(struct parser *p, const char *text, size_t len, struct memo_err *err)
{
	size_t head = strlen(HEADER), number = 1;
	if (len < head || memcmp(text, HEADER, head) != 0 || len > MEMO_TREE_LISTING_BYTES)
		return memo_fail(err, -EBADMSG, "it is no memofs tree listing of format 1");
	for (size_t at = head; at < len;) {
		number++;
		const char *end = memchr(text + at, '\n', len - at);
		int r = end == NULL ? -EBADMSG : parse_line(p, text + at, (size_t)(end - text) - at);
		if (r == -ENOMEM)
			return memo_fail(err, r, "out of memory for a tree listing");
		if (r < 0)
			return memo_fail(err, -EBADMSG, "line %zu of the tree listing is damaged", number);
		at = (size_t)(end - text) + 1;
	}
	return 0;
}

int memo_tree_parse(const char *text, size_t len, struct memo_tree **out, struct memo_err *err)
{
	struct parser p = { .t = memo_tree_build_new() };
	if (p.t == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a tree listing");
	int r = parse_lines(&p, text, len, err);
	if (r == 0) {
		r = memo_tree_build_seal(p.t, false);
		if (r == 0)
			r = memo_hash_bytes(text, len, &p.t->id);
		if (r < 0)
			r = memo_fail(err, r, "out of memory for a tree listing");
	}
	memo_buf_clear(&p.path);
	memo_buf_clear(&p.target);
	memo_buf_clear(&p.line);
	if (r < 0)
		memo_tree_unref(p.t);
	else
		*out = p.t;
	return r;
}

/* ---- reading ---- */

const struct memo_id *memo_tree_id(const struct memo_tree *t)
{
	return &t->id;
}

uint32_t memo_tree_count(const struct memo_tree *t)
{
	return t->count;
}

uint64_t memo_tree_bytes(const struct memo_tree *t)
{
	return t->bytes;
}

uint32_t memo_tree_written(const struct memo_tree *t)
{
	return t->written;
}

const struct memo_tree_entry *memo_tree_entry(const struct memo_tree *t, uint32_t index)
{
	return &t->entry[index];
}

uint32_t memo_tree_child(const struct memo_tree *t, uint32_t dir, uint32_t k)
{
	return t->child[t->entry[dir].first + k];
}

/* Byte order of @name against the @len bytes at @want. */
static int compare(const char *name, const char *want, size_t len)
{
	int c = strncmp(name, want, len);
	return c != 0 ? c : name[len] != '\0';
}

static int find(const struct memo_tree *t, uint32_t dir, const char *name, size_t len, uint32_t *index_out)
{
	uint32_t low = 0, high = t->entry[dir].children;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		uint32_t child = memo_tree_child(t, dir, mid);
		int c = compare(t->entry[child].name, name, len);
		if (c == 0) {
			*index_out = child;
			return 0;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -ENOENT;
}

int memo_tree_find(const struct memo_tree *t, uint32_t dir, const char *name, uint32_t *index_out)
{
	return find(t, dir, name, strlen(name), index_out);
}

int memo_tree_walk(const struct memo_tree *t, const char *path, uint32_t *index_out)
{
	uint32_t at = 0;
	while (*path != '\0') {
		size_t len = strcspn(path, "/");
		if (find(t, at, path, len, &at) < 0)
			return -ENOENT;
		path += len;
		if (*path == '/' && *++path == '\0')
			return -ENOENT;
	}
	*index_out = at;
	return 0;
}
