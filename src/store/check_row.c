/* Check, the other tables: rows that lead nowhere, and the receipts of registered tasks. */
#include "check.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <stdio.h>
#include <string.h>

/* A key as people read it: its NULs are slashes. */
static void put_key(struct memo_buf *b, const void *key, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char ch = ((const char *)key)[i];
		(void)memo_buf_putc(b, ch == '\0' ? '/' : ch);
	}
}

static int wrong_row(struct memo_checker *c, enum memo_table table, const struct memo_check_row *row,
		     const char *before, const char *what)
{
	MEMO_AUTO_BUF struct memo_buf where = { 0 };
	struct memo_check_row_ref ref = { .table = table, .key = row->key, .len = row->len };
	(void)memo_buf_puts(&where, before);
	put_key(&where, row->key, row->len);
	return memo_check_wrong(c, memo_buf_str(&where), what, "remove that row", memo_check_delete_row, &ref);
}

/* ---- names and handles --------------------------------------------------------------------------------- */

/* 0: the row's identity is known, or the row needs none. -ENOENT: it leads nowhere; -EBADMSG: no JSON. */
static int name_leads(struct memo_checker *c, const char *value, size_t len)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	struct memo_id id;
	if (memo_json_parse(value, len, &row, NULL) < 0 || !json_is_object(row))
		return -EBADMSG;
	const char *hex = memo_json_string(row, "identity", NULL);
	if (hex == NULL)
		return 0; /* a demand that failed before it had one */
	if (memo_id_parse(hex, &id) < 0)
		return -EBADMSG;
	return memo_check_has(c, MEMO_INSTANCES, id.byte, sizeof id.byte);
}

/* Looked at twice: rows that make no sense (@*arg -EBADMSG) go before the records are checked, which then get their names back;
 * rows that lead nowhere (-ENOENT) after it, when the records are back. */
static int take_name(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	const int *meant = arg;
	if (*meant == -ENOENT)
		(void)atomic_fetch_add(&c->o->names, 1);
	int r = name_leads(c, row->value, row->value_len);
	if (r != *meant)
		return r == -ENOENT || r == -EBADMSG ? 0 : r;
	/* task NUL version NUL component; the component is ended by the key's end */
	MEMO_AUTO_BUF struct memo_buf key = { 0 };
	MEMO_AUTO_BUF struct memo_buf now = { 0 };
	(void)memo_buf_append(&key, row->key, row->len);
	const char *task = memo_buf_str(&key);
	const char *version = task + strnlen(task, row->len) + 1;
	const char *name = version <= task + row->len ? version + strlen(version) + 1 : task + row->len + 1;
	if (memo_buf_error(&key) < 0)
		return -ENOMEM;
	if (name > task + row->len)
		return wrong_row(c, MEMO_NAMES, row, "/tasks/", "is a name without a task, a version and inputs");
	struct memo_mutex *mu = memo_name_lock(c->s, task, version, name);
	memo_mutex_lock(mu);
	int e = memo_manifest_get(c->s->manifest, MEMO_NAMES, row->key, row->len, &now, NULL);
	if (e == 0)
		e = name_leads(c, memo_buf_str(&now), now.len);
	r = e == -ENOENT && now.len > 0
		    ? wrong_row(c, MEMO_NAMES, row, "/tasks/", "is a name that leads to nothing")
	    : e == -EBADMSG ? wrong_row(c, MEMO_NAMES, row, "/tasks/", "is a name whose record makes no sense")
	    : e == -ENOENT  ? 0
			    : e;
	memo_mutex_unlock(mu);
	return r;
}

static int take_handle(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	(void)arg;
	MEMO_AUTO_JSON json_t *inputs = NULL;
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	if (row->len > MEMO_HEX_LEN && memo_json_parse(row->value, row->value_len, &inputs, NULL) == 0 &&
	    json_is_object(inputs) && memo_path_digest(inputs, &digest, NULL) == 0 &&
	    memcmp(memo_id_hex(&digest, hex), row->key + row->len - MEMO_HEX_LEN, MEMO_HEX_LEN) == 0)
		return 0;
	return wrong_row(c, MEMO_HANDLES, row, "handle ", "is not the digest of its inputs");
}

/* ---- what belongs to instances and runs ---------------------------------------------------------------- */

#define ALIAS "alias"

static int take_alias(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	(void)arg;
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	char where[MEMO_HEX_SIZE + 16];
	struct memo_check_row_ref ref = { .table = MEMO_META, .key = row->key, .len = row->len };
	if (row->len != sizeof ALIAS + MEMO_ID_BYTES)
		return 0;
	memcpy(id.byte, row->key + sizeof ALIAS, MEMO_ID_BYTES);
	(void)snprintf(where, sizeof where, "alias %s", memo_id_hex(&id, hex));
	if (row->value_len != MEMO_ID_BYTES)
		return memo_check_wrong(c, where, "makes no sense", "remove that row", memo_check_delete_row, &ref);
	int r = memo_check_has(c, MEMO_INSTANCES, row->value, row->value_len);
	if (r != -ENOENT)
		return r;
	return memo_check_left(c, where, "leads to an instance that is gone", "remove that row",
			       memo_check_delete_row, &ref);
}

/* Rows come by identity: each is looked up once. */
struct last {
	struct memo_id id;
	bool any, known;
	char run[MEMO_RUN_ID];
};

static int take_history(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	struct last *l = arg;
	if (row->len != MEMO_ID_BYTES + 8)
		return 0;
	if (!l->any || memcmp(l->id.byte, row->key, MEMO_ID_BYTES) != 0) {
		memcpy(l->id.byte, row->key, MEMO_ID_BYTES);
		l->any = true;
		int r = memo_check_has(c, MEMO_INSTANCES, l->id.byte, MEMO_ID_BYTES);
		if (r < 0 && r != -ENOENT)
			return r;
		l->known = r == 0;
		char hex[MEMO_HEX_SIZE];
		if (!l->known) {
			r = memo_check_left(c, memo_id_hex(&l->id, hex), "has a history and no record",
					    "remove its history", NULL, NULL);
			if (r < 0)
				return r;
		}
	}
	struct memo_check_row_ref ref = { .table = MEMO_HISTORY, .key = row->key, .len = row->len };
	return l->known || !c->o->repair ? 0 : memo_check_delete_row(c, &ref);
}

static int take_run(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	(void)arg;
	MEMO_AUTO_JSON json_t *run = NULL;
	if (memo_json_parse(row->value, row->value_len, &run, NULL) == 0 && json_is_object(run))
		return 0;
	return wrong_row(c, MEMO_RUNS, row, "run ", "has a record that makes no sense");
}

static int take_run_row(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	struct last *l = arg;
	size_t len = strnlen((const char *)row->key, row->len);
	if (len >= sizeof l->run)
		return wrong_row(c, MEMO_RUN_INSTANCES, row, "run ", "is no row of a run");
	if (!l->any || strlen(l->run) != len || memcmp(l->run, row->key, len) != 0) {
		memcpy(l->run, row->key, len);
		l->run[len] = '\0';
		l->any = true;
		int r = memo_check_has(c, MEMO_RUNS, l->run, len);
		if (r < 0 && r != -ENOENT)
			return r;
		l->known = r == 0;
		if (!l->known) {
			char where[MEMO_RUN_ID + 8];
			(void)snprintf(where, sizeof where, "run %s", l->run);
			r = memo_check_left(c, where, "has rows and no record", "remove its rows", NULL, NULL);
			if (r < 0)
				return r;
		}
	}
	struct memo_check_row_ref ref = { .table = MEMO_RUN_INSTANCES, .key = row->key, .len = row->len };
	return l->known || !c->o->repair ? 0 : memo_check_delete_row(c, &ref);
}

/* ---- registered tasks ---------------------------------------------------------------------------------- */

struct task_receipt {
	const char *name, *version, *file;
	const json_t *row, *receipt;
};

static int task_receipt_anew(struct memo_checker *c, void *arg)
{
	const struct task_receipt *t = arg;
	char leaf[MEMO_HEX_SIZE + 24];
	if (t->file != NULL && t->receipt == NULL) {
		(void)snprintf(leaf, sizeof leaf, "receipt.task.%.64s", t->file);
		int r = memo_quarantine_move(c->s, c->s->task_receipts_fd, t->file, leaf, MEMO_DAMAGED);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return t->row == NULL ? 0 : memo_receipt_task_write(c->s, t->name, t->version, t->row, NULL);
}

static uint64_t mark_of(const struct memo_id *id)
{
	uint64_t mark;
	memcpy(&mark, id->byte, sizeof mark);
	return mark != 0 ? mark : 1;
}

/* @arg: gets the marks of the files that rows lead to. */
static int take_task(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	struct memo_id file;
	MEMO_AUTO_JSON json_t *record = NULL;
	MEMO_AUTO_JSON json_t *receipt = NULL;
	MEMO_AUTO_BUF struct memo_buf key = { 0 };
	char where[2 * MEMO_NAME_MAX + 32];
	(void)memo_buf_append(&key, row->key, row->len);
	if (memo_buf_error(&key) < 0)
		return -ENOMEM;
	const char *name = memo_buf_str(&key);
	const char *version = name + strnlen(name, row->len) + 1;
	if (version > name + row->len || memo_json_parse(row->value, row->value_len, &record, NULL) < 0)
		return wrong_row(c, MEMO_TASKS, row, "task ", "has a record that makes no sense");
	int r = memo_receipt_task_id(name, version, &file);
	if (r == 0)
		r = memo_marks_add(arg, mark_of(&file));
	if (r < 0)
		return r;
	r = memo_receipt_task_read(c->s, name, version, &receipt);
	if (r == 0 && json_equal(receipt, record))
		return 0;
	if (r < 0 && r != -ENOENT && r != -EBADMSG)
		return r;
	(void)snprintf(where, sizeof where, "task %.*s %.*s", MEMO_NAME_MAX, name, MEMO_NAME_MAX, version);
	/* Registered or removed this very moment? */
	memo_mutex_lock(&c->s->registry.change);
	MEMO_AUTO_JSON json_t *now = NULL;
	int e = memo_manifest_get_json(c->s->manifest, MEMO_TASKS, row->key, row->len, &now, NULL);
	json_decref(receipt);
	receipt = NULL;
	r = e == 0 ? memo_receipt_task_read(c->s, name, version, &receipt) : 0;
	struct task_receipt t = { .name = name, .version = version, .row = now };
	int done = 0;
	if (e == 0 && r == -ENOENT)
		done = memo_check_wrong(c, where, "has no receipt", "write it again from the record",
					task_receipt_anew, &t);
	else if (e == 0 && (r == -EBADMSG || (r == 0 && !json_equal(receipt, now))))
		done = memo_check_wrong(c, where,
					r < 0 ? "has a damaged receipt" : "has another receipt than record",
					"write it again from the record", task_receipt_anew, &t);
	memo_mutex_unlock(&c->s->registry.change);
	return done;
}

static int adopt_task(struct memo_checker *c, void *arg)
{
	const struct task_receipt *t = arg;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	int r = memo_key(&k, t->name, t->version, NULL);
	if (r < 0)
		return r;
	memo_batch_put_json(&b, MEMO_TASKS, k.data, k.len, t->receipt);
	return memo_manifest_write(c->s->manifest, &b, true, NULL);
}

/* A file in receipts/tasks, unless a row has led to it. With the registry's lock. */
static int check_task_file(struct memo_checker *c, const struct memo_marks *known, const char *file)
{
	MEMO_AUTO_JSON json_t *receipt = NULL;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	char where[MEMO_HEX_SIZE + 240];
	struct memo_id id;
	struct task_receipt t = { .file = file };
	(void)snprintf(where, sizeof where, "receipts/tasks/%.255s", file);
	int r = memo_receipt_read_file(c->s->task_receipts_fd, file, &receipt);
	t.name = memo_json_string(json_object_get(receipt, "definition"), "name", NULL);
	t.version = memo_json_string(receipt, "version", NULL);
	if (r == -ENOENT)
		return 0;
	if (memo_id_parse(file, &id) < 0)
		return memo_check_young(c, c->s->task_receipts_fd, file)
			       ? 0
			       : memo_check_left(c, where, "is no receipt", "the next open removes it", NULL, NULL);
	if (memo_marks_have(known, mark_of(&id)))
		return 0;
	if (r < 0 || t.name == NULL || t.version == NULL)
		return memo_check_wrong(c, where, "is damaged", "move it to quarantine", task_receipt_anew, &t);
	t.receipt = receipt;
	r = memo_key(&k, t.name, t.version, NULL);
	if (r == 0)
		r = memo_check_has(c, MEMO_TASKS, k.data, k.len);
	if (r != -ENOENT)
		return r;
	return memo_check_wrong(c, where, "is of a registered task that the manifest does not have",
				"put it back; it is there when the store is opened next", adopt_task, &t);
}

static int check_task_files(struct memo_checker *c, const struct memo_marks *known)
{
	struct memo_names_list l = { 0 };
	int r = memo_check_list(c->s->task_receipts_fd, ".", &l);
	for (size_t i = 0; i < l.count && r == 0; i++) {
		memo_mutex_lock(&c->s->registry.change);
		r = check_task_file(c, known, l.name[i]);
		memo_mutex_unlock(&c->s->registry.change);
	}
	memo_check_list_free(&l);
	return r;
}

int memo_check_names(struct memo_checker *c)
{
	int meant = -EBADMSG;
	int r = memo_check_rows(c, MEMO_NAMES, NULL, 0, true, take_name, &meant);
	return r < 0 ? r : memo_check_rows(c, MEMO_HANDLES, NULL, 0, true, take_handle, NULL);
}

int memo_check_tables(struct memo_checker *c)
{
	int meant = -ENOENT;
	struct last of_history = { 0 };
	struct last of_runs = { 0 };
	struct memo_marks files = { 0 };
	int r = memo_check_rows(c, MEMO_TASKS, NULL, 0, true, take_task, &files);
	if (r == 0)
		r = check_task_files(c, &files);
	free(files.slot);
	if (r == 0)
		r = memo_check_rows(c, MEMO_NAMES, NULL, 0, true, take_name, &meant);
	if (r == 0)
		r = memo_check_rows(c, MEMO_META, ALIAS, sizeof ALIAS, true, take_alias, NULL);
	if (r == 0)
		r = memo_check_rows(c, MEMO_HISTORY, NULL, 0, false, take_history, &of_history);
	if (r == 0)
		r = memo_check_rows(c, MEMO_RUNS, NULL, 0, true, take_run, NULL);
	return r < 0 ? r : memo_check_rows(c, MEMO_RUN_INSTANCES, NULL, 0, false, take_run_row, &of_runs);
}
