/* See check.h: the order of the check, what all parts of it use, and the layout of the store. */
#include "check.h"
#include "scrub.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PARTS 256
#define MARKS_FIRST 1024
#define QUARANTINE_TOLD 1000 /* lines about what is in quarantine */

/* ---- findings ---------------------------------------------------------------------------------------- */

static void tell(struct memo_checker *c, enum memo_found kind, const char *where, const char *what,
		 const char *action)
{
	struct memo_finding f = { .kind = kind, .where = where, .what = what, .action = action };
	c->o->repaired += kind == MEMO_FOUND_REPAIRED;
	c->o->failed += kind == MEMO_FOUND_FAILED;
	c->o->left += kind == MEMO_FOUND_LEFT;
	c->o->found(c->o->arg, &f);
}

static void tell_failed(struct memo_checker *c, const char *where, const char *what, int code)
{
	char text[160];
	(void)snprintf(text, sizeof text, "it could not be repaired: %s", memo_strerror(code));
	tell(c, MEMO_FOUND_FAILED, where, what, text);
}

int memo_check_wrong(struct memo_checker *c, const char *where, const char *what, const char *action,
		     memo_fix_fn *fix, void *arg)
{
	c->o->wrong++;
	if (!c->o->repair || fix == NULL) {
		tell(c, c->o->repair ? MEMO_FOUND_FAILED : MEMO_FOUND_WRONG, where, what, action);
		return 0;
	}
	int r = fix(c, arg);
	if (r < 0)
		tell_failed(c, where, what, r);
	else
		tell(c, MEMO_FOUND_REPAIRED, where, what, action);
	return r == -ENOMEM ? r : 0;
}

int memo_check_left(struct memo_checker *c, const char *where, const char *what, const char *action,
		    memo_fix_fn *fix, void *arg)
{
	int r = c->o->repair && fix != NULL ? fix(c, arg) : 0;
	if (r < 0)
		tell_failed(c, where, what, r);
	else
		tell(c, MEMO_FOUND_LEFT, where, what, action);
	return r == -ENOMEM ? r : 0;
}

int memo_check_going_on(const struct memo_checker *c)
{
	return memo_scrub_stopped(&c->o->scrub) ? -ECANCELED : 0;
}

bool memo_check_young(const struct memo_checker *c, int dirfd, const char *name)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return true;
	return (int64_t)st.st_ctim.tv_sec * MEMO_NS_PER_S + st.st_ctim.tv_nsec >= c->begun_ns;
}

/* ---- sets and lists ---------------------------------------------------------------------------------- */

static uint64_t *mark_slot(uint64_t *slot, size_t size, uint64_t mark)
{
	size_t i = (size_t)(mark * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (size - 1);
	while (slot[i] != 0 && slot[i] != mark)
		i = (i + 1) & (size - 1);
	return &slot[i];
}

int memo_marks_add(struct memo_marks *m, uint64_t mark)
{
	if (m->count >= m->size / 2) {
		size_t size = m->size == 0 ? MARKS_FIRST : m->size * 2;
		uint64_t *slot = calloc(size, sizeof *slot);
		if (slot == NULL)
			return -ENOMEM;
		for (size_t i = 0; i < m->size; i++) {
			if (m->slot[i] != 0)
				*mark_slot(slot, size, m->slot[i]) = m->slot[i];
		}
		free(m->slot);
		m->slot = slot;
		m->size = size;
	}
	uint64_t *p = mark_slot(m->slot, m->size, mark);
	m->count += *p == 0;
	*p = mark;
	return 0;
}

bool memo_marks_have(const struct memo_marks *m, uint64_t mark)
{
	return m->size > 0 && *mark_slot(m->slot, m->size, mark) == mark;
}

void memo_check_list_free(struct memo_names_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->name[i]);
	free(l->name);
	*l = (struct memo_names_list){ 0 };
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int memo_check_list_add(struct memo_names_list *l, const char *name)
{
	if (l->count == l->room) {
		size_t room = l->room == 0 ? 16 : 2 * l->room;
		char **more = realloc(l->name, room * sizeof *more);
		if (more == NULL)
			return -ENOMEM;
		l->name = more;
		l->room = room;
	}
	char *copy = strdup(name);
	if (copy == NULL)
		return -ENOMEM;
	l->name[l->count++] = copy;
	return 0;
}

void memo_check_list_sort(struct memo_names_list *l)
{
	size_t kept = 0;
	if (l->count > 1)
		qsort(l->name, l->count, sizeof *l->name, by_text);
	for (size_t i = 0; i < l->count; i++) {
		if (kept > 0 && strcmp(l->name[kept - 1], l->name[i]) == 0)
			free(l->name[i]);
		else
			l->name[kept++] = l->name[i];
	}
	l->count = kept;
}

int memo_check_list(int dirfd, const char *path, struct memo_names_list *out)
{
	int fd;
	struct memo_names_list l = { 0 };
	int r = memo_io_open_dir(dirfd, path, &fd);
	if (r < 0)
		return r;
	MEMO_AUTO_DIR DIR *d = fdopendir(fd);
	if (d == NULL) {
		r = memo_errno();
		(void)close(fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL) {
			r = errno != 0 ? memo_errno() : 0;
			break;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = memo_check_list_add(&l, e->d_name);
	}
	if (r < 0) {
		memo_check_list_free(&l);
		return r;
	}
	memo_check_list_sort(&l);
	*out = l;
	return 0;
}

/* ---- rows -------------------------------------------------------------------------------------------- */

struct page {
	struct memo_buf bytes; /* keys and values, one after the other */
	struct {
		size_t key, len, value, value_len;
	} row[MEMO_CHECK_PAGE];
	size_t count;
	bool values;
	unsigned char last[MEMO_CHECK_KEY]; /* where the page before ended */
	size_t last_len; /* 0: the first page */
};

static int page_take(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	struct page *p = arg;
	if (len > sizeof p->last || (len == p->last_len && memcmp(key, p->last, len) == 0))
		return 0;
	p->row[p->count].key = p->bytes.len;
	p->row[p->count].len = len;
	(void)memo_buf_append(&p->bytes, key, len);
	p->row[p->count].value = p->bytes.len;
	p->row[p->count].value_len = p->values ? value_len : 0;
	if (p->values)
		(void)memo_buf_append(&p->bytes, value, value_len);
	p->count++;
	int r = memo_buf_error(&p->bytes);
	return r < 0 ? r : p->count == MEMO_CHECK_PAGE;
}

static int page_give(struct memo_checker *c, const struct page *p, memo_check_row_fn *fn, void *arg)
{
	int r = memo_check_going_on(c);
	for (size_t i = 0; i < p->count && r == 0; i++) {
		const char *base = p->bytes.data;
		struct memo_check_row row = {
			.key = (const unsigned char *)base + p->row[i].key,
			.len = p->row[i].len,
			.value = base + p->row[i].value,
			.value_len = p->row[i].value_len,
		};
		r = fn(c, arg, &row);
	}
	return r;
}

int memo_check_rows(struct memo_checker *c, enum memo_table table, const void *prefix, size_t len, bool values,
		    memo_check_row_fn *fn, void *arg)
{
	struct page *p = calloc(1, sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	p->values = values;
	int r;
	do {
		p->count = 0;
		memo_buf_reset(&p->bytes);
		r = memo_manifest_scan(c->s->manifest, table, prefix, len, p->last_len > 0 ? p->last : NULL,
				       p->last_len, page_take, p, c->err);
		bool more = r == 1;
		if (r >= 0)
			r = page_give(c, p, fn, arg);
		if (r == 0 && more) {
			size_t k = p->count - 1;
			p->last_len = p->row[k].len;
			memcpy(p->last, p->bytes.data + p->row[k].key, p->last_len);
			r = 1;
		}
	} while (r == 1);
	memo_buf_clear(&p->bytes);
	free(p);
	return r;
}

int memo_check_has(struct memo_checker *c, enum memo_table table, const void *key, size_t len)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	return memo_manifest_get(c->s->manifest, table, key, len, &b, c->err);
}

int memo_check_delete_row(struct memo_checker *c, void *arg)
{
	const struct memo_check_row_ref *ref = arg;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_delete(&b, ref->table, ref->key, ref->len);
	return memo_manifest_write(c->s->manifest, &b, true, c->err);
}

void memo_check_path(const json_t *record, struct memo_buf *out)
{
	(void)memo_buf_printf(out, "/tasks/%s/%s/%s", memo_json_string(record, "task", "?"),
			      memo_json_string(record, "version", "?"), memo_json_string(record, "name", "?"));
}

/* ---- the layout -------------------------------------------------------------------------------------- */

struct place {
	const char *name;
	mode_t others; /* what others may have */
};
static const struct place places[] = {
	{ ".", 0055 },	  { "objects", 0055 }, { "receipts", 0 }, { "receipts/tasks", 0 }, { "logs", 0 },
	{ "staging", 0 }, { "quarantine", 0 }, { "db", 0 },	  { "config.json", 0044 }, { "format", 0044 },
};

static const char *const known_top[] = { "objects",    "receipts", "logs",	   "staging",	  "quarantine",
					 "db",	       "lock",	   "format",	   "config.json", "running",
					 "memofs.log", "reserve",  "control.sock", "checkpoint" };

struct mend {
	int dirfd;
	const char *name;
	mode_t mode;
};

static int mend_mode(struct memo_checker *c, void *arg)
{
	const struct mend *m = arg;
	(void)c;
	return fchmodat(m->dirfd, m->name, m->mode, 0) < 0 ? memo_errno() : 0;
}

/* Owner and mode of a directory or file of the layout. */
static int check_place(struct memo_checker *c, const struct place *p, uid_t owner)
{
	struct stat st;
	char text[120];
	if (fstatat(c->s->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : memo_errno();
	const char *where = strcmp(p->name, ".") == 0 ? c->s->dir : p->name;
	if (st.st_uid != owner) {
		(void)snprintf(text, sizeof text, "belongs to user %lu, the store to user %lu",
			       (unsigned long)st.st_uid, (unsigned long)owner);
		return memo_check_wrong(c, where, text, "nothing: chown it by hand", NULL, NULL);
	}
	mode_t need = S_ISDIR(st.st_mode) ? 0700 : 0600;
	mode_t mode = st.st_mode & 07777;
	if ((mode & ~(0700 | p->others) & 0777) == 0 && (mode & need) == need)
		return 0;
	struct mend m = { .dirfd = c->s->dir_fd, .name = p->name, .mode = (mode & (0700 | p->others)) | need };
	(void)snprintf(text, sizeof text, "has mode %04o: others may do what only memofs may, or it may not itself",
		       (unsigned)mode);
	return memo_check_wrong(c, where, text, "take those bits away", mend_mode, &m);
}

struct move {
	int dirfd;
	const char *name;
	const char *leaf;
};

static int move_away(struct memo_checker *c, void *arg)
{
	const struct move *m = arg;
	return memo_quarantine_move(c->s, m->dirfd, m->name, m->leaf, MEMO_LEFTOVER);
}

static int check_layout(struct memo_checker *c)
{
	struct stat st;
	if (fstat(c->s->dir_fd, &st) < 0)
		return memo_errno();
	int r = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places && r == 0; i++)
		r = check_place(c, &places[i], st.st_uid);
	struct memo_names_list l = { 0 };
	if (r == 0)
		r = memo_check_list(c->s->dir_fd, ".", &l);
	for (size_t i = 0; i < l.count && r == 0; i++) {
		size_t k = 0;
		while (k < sizeof known_top / sizeof *known_top && strcmp(known_top[k], l.name[i]) != 0)
			k++;
		if (k == sizeof known_top / sizeof *known_top && strstr(l.name[i], ".tmp") == NULL)
			r = memo_check_left(c, l.name[i], "is no part of a store",
					    "nobody touches it; remove it by hand if you do not need it", NULL,
					    NULL);
	}
	memo_check_list_free(&l);
	return r;
}

/* The directories xx of objects, receipts and logs; what else lies beside them. */
static int check_shards(struct memo_checker *c, int fd, const char *part, mode_t others)
{
	struct memo_names_list l = { 0 };
	struct stat st;
	int r = memo_check_list(fd, ".", &l);
	for (size_t i = 0; i < l.count && r == 0; i++) {
		const char *n = l.name[i];
		char where[300];
		(void)snprintf(where, sizeof where, "%s/%s", part, n);
		bool shard = strlen(n) == 2 && strspn(n, "0123456789abcdef") == 2;
		if (strcmp(where, "receipts/tasks") == 0 || strcmp(where, "receipts/recent.0") == 0 ||
		    strcmp(where, "receipts/recent.1") == 0)
			continue;
		if (!shard || fstatat(fd, n, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
			struct move m = { .dirfd = fd, .name = n, .leaf = n };
			if (memo_check_young(c, fd, n))
				continue;
			r = memo_check_left(c, where, "is no part of a store", "move it to quarantine", move_away,
					    &m);
			continue;
		}
		mode_t mode = st.st_mode & 07777;
		struct mend m = { .dirfd = fd, .name = n, .mode = 0700 | others };
		char text[64];
		(void)snprintf(text, sizeof text, "has mode %04o", (unsigned)mode);
		if ((mode & 0700) != 0700 || (mode & ~(0700 | others)) != 0)
			r = memo_check_wrong(c, where, text, others != 0 ? "make it 0755" : "make it 0700",
					     mend_mode, &m);
	}
	memo_check_list_free(&l);
	return r;
}

/* ---- what lies about --------------------------------------------------------------------------------- */

static int check_logs(struct memo_checker *c, unsigned part)
{
	char dir[3];
	struct memo_names_list l = { 0 };
	(void)snprintf(dir, sizeof dir, "%02x", part);
	int r = memo_check_list(c->s->logs_fd, dir, &l);
	for (size_t i = 0; i < l.count && r == 0; i++) {
		struct memo_id id;
		char hex[MEMO_HEX_SIZE] = "";
		char name[300];
		char where[320];
		if (strlen(l.name[i]) > MEMO_HEX_LEN)
			memcpy(hex, l.name[i], MEMO_HEX_LEN);
		(void)snprintf(name, sizeof name, "%s/%.255s", dir, l.name[i]);
		(void)snprintf(where, sizeof where, "logs/%s", name);
		bool ours = memo_id_parse(hex, &id) == 0 && (strcmp(l.name[i] + MEMO_HEX_LEN, ".stderr") == 0 ||
							     strcmp(l.name[i] + MEMO_HEX_LEN, ".stdout") == 0);
		int e = ours ? memo_check_has(c, MEMO_INSTANCES, id.byte, sizeof id.byte) : -ENOENT;
		if (e < 0 && e != -ENOENT)
			r = e;
		struct move m = { .dirfd = c->s->logs_fd, .name = name, .leaf = l.name[i] };
		if (e == -ENOENT && !memo_check_young(c, c->s->logs_fd, name))
			r = memo_check_left(c, where, "is the log of nothing that is known",
					    "move it to quarantine", move_away, &m);
	}
	memo_check_list_free(&l);
	return r == -ENOENT ? 0 : r;
}

static int empty_one(struct memo_checker *c, void *arg)
{
	return memo_io_remove_tree(c->s->quarantine_fd, arg);
}

static int check_quarantine(struct memo_checker *c)
{
	struct memo_names_list l = { 0 };
	int r = memo_check_list(c->s->quarantine_fd, ".", &l);
	for (size_t i = 0; i < l.count && r == 0; i++) {
		char where[300];
		if (!c->o->empty && memo_check_young(c, c->s->quarantine_fd, l.name[i]))
			continue; /* of this very check */
		(void)snprintf(where, sizeof where, "quarantine/%s", l.name[i]);
		if (c->o->empty) {
			r = empty_one(c, l.name[i]);
			if (r < 0)
				r = memo_check_wrong(c, where, "could not be removed", "nothing: remove it by hand",
						     NULL, NULL);
		} else if (i < QUARANTINE_TOLD) {
			r = memo_check_left(c, where, "is what an earlier finding left",
					    "remove it with --empty-quarantine when you do not need it", NULL,
					    NULL);
		}
	}
	memo_check_list_free(&l);
	return r;
}

/* ---- the whole --------------------------------------------------------------------------------------- */

static int check_all(struct memo_checker *c)
{
	int r = check_layout(c);
	if (r == 0)
		r = check_shards(c, c->s->objects_fd, "objects", 0055);
	if (r == 0)
		r = check_shards(c, c->s->receipts_fd, "receipts", 0);
	if (r == 0)
		r = check_shards(c, c->s->logs_fd, "logs", 0);
	if (r == 0)
		r = memo_check_code(c);
	if (r == 0)
		r = memo_check_recent(c);
	if (r == 0)
		r = memo_check_names(c);
	for (unsigned i = 0; i < PARTS && r == 0; i++)
		r = memo_check_records(c, i);
	for (unsigned i = 0; i < PARTS && r == 0; i++)
		r = memo_check_objects(c, i);
	if (r == 0)
		r = memo_check_tables(c);
	for (unsigned i = 0; i < PARTS && r == 0; i++)
		r = check_logs(c, i);
	return r < 0 ? r : check_quarantine(c);
}

int memo_store_check(struct memo_store *s, struct memo_check *o, struct memo_err *err)
{
	struct memo_err why = { 0 };
	struct memo_checker c = { .s = s, .o = o, .err = &why, .begun_ns = memo_wall_ns() - MEMO_NS_PER_S };
	if (atomic_exchange(&s->checking, true))
		return memo_fail(err, -EBUSY, "store '%s': another fsck is checking it", s->dir);
	memo_mutex_lock(&s->collector.run); /* what is collected meanwhile would look as if it had got lost */
	int r = check_all(&c);
	memo_mutex_unlock(&s->collector.run);
	free(c.code.slot);
	memo_check_list_free(&c.recent);
	atomic_store(&s->checking, false);
	if (r < 0)
		return memo_fail(err, r, "store '%s': cannot be checked to the end: %s", s->dir,
				 why.code != 0 ? why.text : memo_strerror(r));
	return 0;
}
