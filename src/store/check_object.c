/* Check, objects: each file and tree below objects/ against its name, and the table that refers to them against what is there.
 *
 * What an object is called by: a file by its content; an executable file's output hash is made of that; a tree by its listing,
 * which is a file beside it. An object that nothing refers to is no damage: an execution may have ended between its
 * publication's steps. */
#include "check.h"
#include "scrub.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct thing {
	struct memo_id id;
	enum memo_object_kind kind;
	char name[MEMO_OBJECT_NAME]; /* below objects */
	char where[MEMO_OBJECT_NAME + 16];
	struct memo_id hash; /* the output hash that refers to it */
	struct stat st;
};

static int thing_init(struct thing *t, const struct memo_id *id, enum memo_object_kind kind)
{
	*t = (struct thing){ .id = *id, .kind = kind, .hash = *id };
	memo_object_name(id, kind, t->name);
	(void)snprintf(t->where, sizeof t->where, "objects/%s", t->name);
	return kind == MEMO_OBJECT_EXEC ? memo_attempt_exec_hash(id, &t->hash) : 0;
}

/* "<64 hex>", "<64 hex>.x", "<64 hex>.d". */
static int parse_name(const char *name, struct memo_id *id, enum memo_object_kind *kind)
{
	char hex[MEMO_HEX_SIZE];
	size_t len = strlen(name);
	if (len < MEMO_HEX_LEN)
		return -EINVAL;
	memcpy(hex, name, MEMO_HEX_LEN);
	hex[MEMO_HEX_LEN] = '\0';
	const char *end = name + MEMO_HEX_LEN;
	if (strcmp(end, "") != 0 && strcmp(end, ".x") != 0 && strcmp(end, ".d") != 0)
		return -EINVAL;
	*kind = end[0] == '\0' ? MEMO_OBJECT_FILE : end[1] == 'x' ? MEMO_OBJECT_EXEC : MEMO_OBJECT_DIR;
	return memo_id_parse(hex, id);
}

static bool there(struct memo_checker *c, const char *name)
{
	return faccessat(c->s->objects_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- who refers to it ---------------------------------------------------------------------------------- */

static int lose_one(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	const char *reason = arg;
	struct memo_id id;
	struct memo_result *res = NULL;
	if (row->len != 2 * (size_t)MEMO_ID_BYTES)
		return 0;
	memcpy(id.byte, row->key + MEMO_ID_BYTES, MEMO_ID_BYTES);
	int r = memo_store_lookup(c->s, &id, &res, NULL);
	if (r == 0 && memcmp(res->hash.byte, row->key, MEMO_ID_BYTES) == 0)
		r = memo_store_result_lost(c->s, res, reason, NULL);
	memo_result_unref(res);
	return r == -ENOENT ? 0 : r;
}

/* Every result that is made of the object @hash leaves SUCCESS, and is computed again when it is read. */
static int lose_all(struct memo_checker *c, const struct memo_id *hash, const char *reason)
{
	int r = memo_check_rows(c, MEMO_OBJECTS, hash->byte, sizeof hash->byte, false, lose_one,
				(void *)(uintptr_t)reason);
	struct memo_check_row_ref ref = { .table = MEMO_OBJECTS, .key = hash->byte, .len = sizeof hash->byte };
	return r < 0 ? r : memo_check_delete_row(c, &ref);
}

/* Is that the one that was looked at? Another may have taken its place meanwhile. */
static bool still(struct memo_checker *c, const struct thing *t)
{
	struct stat st;
	return fstatat(c->s->objects_fd, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == t->st.st_ino &&
	       st.st_dev == t->st.st_dev;
}

static int away(struct memo_checker *c, void *arg)
{
	const struct thing *t = arg;
	int r = memo_object_quarantine(c->s, &t->id, t->kind, MEMO_DAMAGED);
	if (r == 0 && t->kind == MEMO_OBJECT_DIR)
		(void)memo_object_quarantine(c->s, &t->id, MEMO_OBJECT_FILE, MEMO_LEFTOVER);
	if (r < 0 && r != -ENOENT)
		return r;
	return lose_all(c, &t->hash, "fsck found its stored bytes damaged");
}

static int damaged(struct memo_checker *c, struct thing *t, const char *what)
{
	if (!still(c, t))
		return 0;
	return memo_check_wrong(c, t->where, what,
				"move it to quarantine; what it is a result of is computed again when it is read",
				away, t);
}

static int unreadable(struct memo_checker *c, const struct thing *t, int code)
{
	char text[96];
	if (code == -ECANCELED || code == -ENOMEM || code == -EMFILE || code == -ENFILE)
		return code;
	if (code == -ENOENT) /* collected while it was looked at */
		return 0;
	(void)snprintf(text, sizeof text, "cannot be read: %s", memo_strerror(code));
	return memo_check_wrong(c, t->where, text, "nothing: look after the disk; reading it again may help", NULL,
				NULL);
}

/* ---- one object ---------------------------------------------------------------------------------------- */

static int mend(struct memo_checker *c, void *arg)
{
	const struct thing *t = arg;
	mode_t mode = t->kind == MEMO_OBJECT_FILE ? 0444 : 0555;
	memo_object_clear(c->s);
	return fchmodat(c->s->objects_fd, t->name, mode, 0) < 0 ? memo_errno() : 0;
}

static int check_mode(struct memo_checker *c, struct thing *t)
{
	char text[64];
	mode_t mode = t->st.st_mode & 07777;
	if (mode == (t->kind == MEMO_OBJECT_FILE ? 0444u : 0555u))
		return 0;
	/* A directory that is being moved into its place is writable for a moment. */
	if (t->kind == MEMO_OBJECT_DIR && memo_check_young(c, c->s->objects_fd, t->name))
		return 0;
	(void)snprintf(text, sizeof text, "has mode %04o", (unsigned)mode);
	return memo_check_wrong(c, t->where, text, t->kind == MEMO_OBJECT_FILE ? "make it 0444" : "make it 0555",
				mend, t);
}

/* What the table says of the size, when it says anything: -ENOENT. */
static int known_size(struct memo_checker *c, const struct thing *t, uint64_t *size)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	struct memo_result *res = NULL;
	int r = memo_manifest_get_json(c->s->manifest, MEMO_OBJECTS, t->hash.byte, sizeof t->hash.byte, &row, NULL);
	if (r == 0)
		r = memo_result_from_json(row, &t->hash, &res);
	if (r == 0)
		*size = res->size;
	bool same = r == 0 && res->kind == MEMO_RESULT_FILE && memo_id_equal(&res->blob, &t->id) &&
		    res->exec == (t->kind == MEMO_OBJECT_EXEC);
	memo_result_unref(res);
	return r == -ENOMEM ? r : same ? 0 : -ENOENT;
}

static int check_file(struct memo_checker *c, struct thing *t)
{
	MEMO_AUTO_FD int fd = -1;
	uint64_t size = 0;
	int r = memo_object_open(c->s, &t->id, t->kind, &fd);
	if (r == 0 && fstat(fd, &t->st) < 0)
		r = memo_errno();
	if (r == -EBADMSG && fstatat(c->s->objects_fd, t->name, &t->st, AT_SYMLINK_NOFOLLOW) == 0)
		return damaged(c, t, "is no file");
	if (r < 0)
		return unreadable(c, t, r);
	if (!S_ISREG(t->st.st_mode))
		return damaged(c, t, "is no file");
	r = known_size(c, t, &size);
	if (r == 0 && (uint64_t)t->st.st_size != size)
		return damaged(c, t, "has another size than its record says");
	if (r < 0 && r != -ENOENT)
		return r;
	if (!c->o->quick) {
		struct memo_id is;
		r = memo_scrub_hash(&c->o->scrub, fd, &is, &size);
		if (r < 0)
			return unreadable(c, t, r);
		if (!memo_id_equal(&is, &t->id))
			return damaged(c, t, "has other bytes than its name says");
	}
	r = check_mode(c, t);
	if (r == 0 && t->st.st_nlink > 1 && !memo_check_young(c, c->s->objects_fd, t->name))
		r = memo_check_left(c, t->where, "has another name, by which it could be written",
				    "nobody touches it; a finished output that waits to be recorded has one, too",
				    NULL, NULL);
	return r;
}

static int check_tree(struct memo_checker *c, struct thing *t)
{
	MEMO_AUTO_FD int fd = -1;
	struct memo_tree *tree;
	struct memo_err why = { 0 };
	char text[512];
	int r = memo_object_open(c->s, &t->id, MEMO_OBJECT_DIR, &fd);
	if (fstatat(c->s->objects_fd, t->name, &t->st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (r == -EBADMSG)
		return damaged(c, t, "is no directory");
	if (r < 0)
		return unreadable(c, t, r);
	/* One that is missing or damaged is a finding of its own, and takes the tree with it. */
	r = memo_object_listing(c->s, &t->id, &tree);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	r = memo_object_compare(fd, tree, !c->o->quick, &c->o->scrub, &why);
	memo_tree_unref(tree);
	if (r == -EBADMSG) {
		(void)snprintf(text, sizeof text, "is damaged: %.400s", why.text);
		return damaged(c, t, text);
	}
	return r < 0 ? unreadable(c, t, r) : check_mode(c, t);
}

static int stray(struct memo_checker *c, void *arg)
{
	const char *name = arg;
	return memo_quarantine_move(c->s, c->s->objects_fd, name, strchr(name, '/') + 1, MEMO_LEFTOVER);
}

/* A note about what nobody refers to, or has more names than one. */
static int check_orphan(struct memo_checker *c, const struct thing *t)
{
	if (memo_marks_have(&c->code, memo_object_mark(&t->id, t->kind, 0)) ||
	    memo_check_young(c, c->s->objects_fd, t->name))
		return 0;
	int r = memo_check_has(c, MEMO_OBJECTS, t->hash.byte, sizeof t->hash.byte);
	if (r != -ENOENT)
		return r;
	return memo_check_left(c, t->where, "is an object that nothing refers to", "memofs gc removes it", NULL,
			       NULL);
}

static int check_name(struct memo_checker *c, unsigned part, const char *leaf)
{
	struct thing t;
	struct memo_id id;
	enum memo_object_kind kind;
	int r = memo_check_going_on(c);
	if (r < 0)
		return r;
	if (parse_name(leaf, &id, &kind) < 0 || id.byte[0] != part) {
		char name[300];
		char where[320];
		(void)snprintf(name, sizeof name, "%02x/%.255s", part, leaf);
		(void)snprintf(where, sizeof where, "objects/%s", name);
		if (memo_check_young(c, c->s->objects_fd, name))
			return 0;
		return memo_check_left(c, where, "is no object", "move it to quarantine", stray, name);
	}
	r = thing_init(&t, &id, kind);
	if (r == 0)
		r = kind == MEMO_OBJECT_DIR ? check_tree(c, &t) : check_file(c, &t);
	(void)atomic_fetch_add(&c->o->objects, 1);
	return r < 0 ? r : check_orphan(c, &t);
}

/* ---- the table ----------------------------------------------------------------------------------------- */

struct missing {
	struct memo_id hash;
	const char *reason;
};

static int lose_missing(struct memo_checker *c, void *arg)
{
	const struct missing *m = arg;
	return lose_all(c, &m->hash, m->reason);
}

/* The objects that a result is made of. -ENOENT: one is not there; *@t: which. */
static int look_for(struct memo_checker *c, const struct memo_result *res, struct thing *t)
{
	int r = 0;
	if (res->kind == MEMO_RESULT_FILE) {
		r = thing_init(t, &res->blob, res->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE);
		return r < 0 ? r : there(c, t->name) ? 0 : -ENOENT;
	}
	if (res->kind == MEMO_RESULT_DIRECTORY) {
		r = thing_init(t, &res->hash, MEMO_OBJECT_FILE);
		if (r == 0 && there(c, t->name))
			r = thing_init(t, &res->hash, MEMO_OBJECT_DIR);
		return r < 0 ? r : there(c, t->name) ? 0 : -ENOENT;
	}
	return 0;
}

static int is_reference(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	(void)c;
	(void)arg;
	return row->len == 2 * (size_t)MEMO_ID_BYTES ? -EEXIST : 0;
}

/* -ENOENT: no result refers to it. */
static int is_used(struct memo_checker *c, const struct memo_id *hash)
{
	int r = memo_check_rows(c, MEMO_OBJECTS, hash->byte, sizeof hash->byte, false, is_reference, NULL);
	return r == -EEXIST ? 0 : r < 0 ? r : -ENOENT;
}

static int check_main_row(struct memo_checker *c, const struct memo_check_row *row)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	struct memo_result *res = NULL;
	struct missing m = { .reason = "fsck found its stored bytes gone" };
	struct memo_check_row_ref ref = { .table = MEMO_OBJECTS, .key = row->key, .len = row->len };
	char hex[MEMO_HEX_SIZE];
	memcpy(m.hash.byte, row->key, sizeof m.hash.byte);
	if (memo_json_parse(row->value, row->value_len, &j, NULL) < 0 ||
	    memo_result_from_json(j, &m.hash, &res) < 0)
		return memo_check_wrong(c, memo_id_hex(&m.hash, hex),
					"has a record as an object that makes no sense", "remove that record",
					memo_check_delete_row, &ref);
	struct thing t;
	int r = look_for(c, res, &t);
	memo_result_unref(res);
	if (r != -ENOENT)
		return r;
	/* It may have been collected, and its row with it. */
	r = memo_check_has(c, MEMO_OBJECTS, row->key, row->len);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = is_used(c, &m.hash);
	if (r == -ENOENT)
		return memo_check_left(c, t.where, "is gone, and only its row in the table is left",
				       "remove that row", memo_check_delete_row, &ref);
	if (r < 0)
		return r;
	return memo_check_wrong(c, t.where, "is missing, and results are made of it",
				"what it is a result of is computed again when it is read", lose_missing, &m);
}

/* The result that a reference tells of, by its record. -ENOENT: there is none. */
static int referred(struct memo_checker *c, const struct memo_check_row *row)
{
	struct memo_id id;
	struct memo_result *res = NULL;
	memcpy(id.byte, row->key + MEMO_ID_BYTES, MEMO_ID_BYTES);
	int r = memo_store_lookup(c->s, &id, &res, NULL);
	if (r == 0 && memcmp(res->hash.byte, row->key, MEMO_ID_BYTES) != 0)
		r = -ENOENT;
	memo_result_unref(res);
	if (r != -ENOENT)
		return r == -EIO ? 0 : r; /* a record that cannot be read is a finding already */
	/* A result that is being made anew keeps its old one until then, and its reference. */
	MEMO_AUTO_JSON json_t *record = NULL;
	char hex[MEMO_HEX_SIZE];
	struct memo_id hash;
	memcpy(hash.byte, row->key, sizeof hash.byte);
	if (memo_record_load(c->s, &id, &record, NULL) < 0)
		return -ENOENT;
	return strcmp(memo_json_string(json_object_get(record, "result"), "hash", ""), memo_id_hex(&hash, hex)) == 0
		       ? 0
		       : -ENOENT;
}

static int check_reference(struct memo_checker *c, const struct memo_check_row *row)
{
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	char where[MEMO_HEX_SIZE + 16];
	int r = referred(c, row);
	if (r != -ENOENT)
		return r;
	memcpy(id.byte, row->key + MEMO_ID_BYTES, MEMO_ID_BYTES);
	struct memo_mutex *mu = memo_identity_lock(c->s, &id);
	memo_mutex_lock(mu);
	r = memo_check_has(c, MEMO_OBJECTS, row->key, row->len);
	if (r == 0)
		r = referred(c, row) == -ENOENT ? 0 : -ENOENT;
	struct memo_check_row_ref ref = { .table = MEMO_OBJECTS, .key = row->key, .len = row->len };
	(void)snprintf(where, sizeof where, "instance %s", memo_id_hex(&id, hex));
	if (r == 0)
		r = memo_check_wrong(c, where, "is counted as a user of an object that it does not use",
				     "take it off the count", memo_check_delete_row, &ref);
	memo_mutex_unlock(mu);
	return r == -ENOENT ? 0 : r;
}

static int take_row(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	(void)arg;
	if (row->len == MEMO_ID_BYTES)
		return check_main_row(c, row);
	return row->len == 2 * (size_t)MEMO_ID_BYTES ? check_reference(c, row) : 0;
}

int memo_check_objects(struct memo_checker *c, unsigned part)
{
	char dir[3];
	unsigned char prefix = (unsigned char)part;
	struct memo_names_list l = { 0 };
	(void)snprintf(dir, sizeof dir, "%02x", part);
	int r = memo_check_list(c->s->objects_fd, dir, &l);
	if (r == -ENOENT)
		r = 0;
	for (size_t i = 0; i < l.count && r == 0; i++)
		r = check_name(c, part, l.name[i]);
	memo_check_list_free(&l);
	return r < 0 ? r : memo_check_rows(c, MEMO_OBJECTS, &prefix, 1, true, take_row, NULL);
}

/* ---- code ---------------------------------------------------------------------------------------------- */

static int check_code_file(struct memo_checker *c, const struct memo_task *task, const struct memo_code *code)
{
	enum memo_object_kind kind = code->exec ? MEMO_OBJECT_EXEC : MEMO_OBJECT_FILE;
	struct thing t;
	char where[2 * MEMO_NAME_MAX + 16];
	char what[300];
	int r = memo_marks_add(&c->code, memo_object_mark(&code->id, kind, 0));
	if (r == 0)
		r = thing_init(&t, &code->id, kind);
	if (r < 0 || there(c, t.name))
		return r;
	(void)snprintf(where, sizeof where, "task %s %s", task->name, task->version);
	(void)snprintf(what, sizeof what, "has lost its file '%.200s'", code->path);
	return memo_check_wrong(c, where, what, "nothing: register it again with memofs add", NULL, NULL);
}

int memo_check_code(struct memo_checker *c)
{
	struct memo_task **task;
	size_t count;
	int r = memo_store_tasks(c->s, &task, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count && r == 0; i++) {
		for (size_t k = 0; k < task[i]->codes && r == 0; k++)
			r = check_code_file(c, task[i], &task[i]->code[k]);
	}
	memo_store_tasks_free(task, count);
	return r;
}
