/* Check: fsck. What memo_store_check() is made of; the duty is told in store.h.
 *
 * One pass, in 256 parts by the first byte of a name: receipts against records (check_record.c), objects against their names and
 * against what refers to them (check_object.c); then names, handles, aliases, history, runs and registered tasks (check_row.c);
 * then what lies about (check.c).
 *
 * Two rules keep it honest beside running tasks: what looks wrong is looked at again with the lock under which publication
 * changes it (so a half-made publication is never told), and what is younger than the check is never called left over. */
#ifndef MEMO_STORE_CHECK_H
#define MEMO_STORE_CHECK_H

#include "object.h"
#include "receipt.h"

#define MEMO_CHECK_PAGE 256 /* rows read at a time: a scan's callback must not call the manifest */
#define MEMO_CHECK_KEY 1024 /* longest key of a row */

struct memo_marks { /* a set of 8-byte marks */
	uint64_t *slot;
	size_t size, count;
};
int memo_marks_add(struct memo_marks *m, uint64_t mark);
bool memo_marks_have(const struct memo_marks *m, uint64_t mark);

/* The names in a directory, sorted; free with memo_check_list_free(). -ENOENT: there is none. */
struct memo_names_list {
	char **name;
	size_t count, room;
};
MEMO_MUST int memo_check_list(int dirfd, const char *path, struct memo_names_list *out);
void memo_check_list_free(struct memo_names_list *l);
MEMO_MUST int memo_check_list_add(struct memo_names_list *l, const char *name);
void memo_check_list_sort(struct memo_names_list *l); /* and each name once */

struct memo_checker {
	struct memo_store *s;
	struct memo_check *o;
	struct memo_err *err;
	int64_t begun_ns; /* wall clock; only for what is called left over */
	struct memo_marks code; /* objects that registered tasks have as code */
	struct memo_names_list recent; /* receipts that were not in their part of the store when the check began */
};

/* A finding: tells it, and with repair calls @fix (NULL: nothing can be done here) and tells what came of that. @action completes
 * "repair would ...". Returns a negative errno only for what ends the check. */
typedef int memo_fix_fn(struct memo_checker *c, void *arg);
MEMO_MUST int memo_check_wrong(struct memo_checker *c, const char *where, const char *what, const char *action,
			       memo_fix_fn *fix, void *arg);
/* The same for what is merely left over: with repair @fix (NULL: none) is called, and its failure told. */
MEMO_MUST int memo_check_left(struct memo_checker *c, const char *where, const char *what, const char *action,
			      memo_fix_fn *fix, void *arg);
/* -ECANCELED: stop. */
MEMO_MUST int memo_check_going_on(const struct memo_checker *c);
/* Younger than the check, or no longer there. */
bool memo_check_young(const struct memo_checker *c, int dirfd, const char *name);

/* Rows of a table whose key begins with @prefix, one page after the other, each given to @fn outside of the scan; with its value
 * when @values. A negative return ends it. */
struct memo_check_row {
	const unsigned char *key;
	size_t len;
	const char *value;
	size_t value_len;
};
typedef int memo_check_row_fn(struct memo_checker *c, void *arg, const struct memo_check_row *row);
MEMO_MUST int memo_check_rows(struct memo_checker *c, enum memo_table table, const void *prefix, size_t len,
			      bool values, memo_check_row_fn *fn, void *arg);
/* 0: there is such a row; -ENOENT. */
MEMO_MUST int memo_check_has(struct memo_checker *c, enum memo_table table, const void *key, size_t len);
/* Deletes a row. A memo_fix_fn; @arg is a struct memo_check_row_ref. */
struct memo_check_row_ref {
	enum memo_table table;
	const void *key;
	size_t len;
};
int memo_check_delete_row(struct memo_checker *c, void *arg);
/* "/tasks/name/version/component" of a record. */
void memo_check_path(const json_t *record, struct memo_buf *out);

MEMO_MUST int memo_check_recent(struct memo_checker *c); /* check_record.c: fills c->recent */
MEMO_MUST int memo_check_records(struct memo_checker *c, unsigned part); /* check_record.c */
MEMO_MUST int memo_check_objects(struct memo_checker *c, unsigned part); /* check_object.c */
MEMO_MUST int memo_check_code(
	struct memo_checker *c); /* check_object.c: fills c->code; the objects of registered tasks are there */
MEMO_MUST int memo_check_names(
	struct memo_checker *c); /* check_row.c: names and handles that make no sense; before the records */
MEMO_MUST int memo_check_tables(struct memo_checker *c); /* check_row.c: the rest, after them */

#endif
