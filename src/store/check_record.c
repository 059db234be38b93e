/* Check, records: each receipt against its record, and the other way; then what a result needs besides: its name, its handle and
 * its rows in the table of objects. Of two that disagree the one with the higher sequence is right; of two with the same
 * sequence the receipt is, which has a checksum of its own and was synced before. */
#include "check.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/identity.h"
#include "core/path.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* An identity with what is known about it. */
struct pair {
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	char where[MEMO_RECEIPT_PATH + 16]; /* the receipt */
	json_t *record, *receipt; /* NULL: none that can be read */
	int record_code, receipt_code; /* of reading them */
	struct memo_result *res; /* of the record, when it is a success */
};

static void pair_clear(struct pair *p)
{
	json_decref(p->record);
	json_decref(p->receipt);
	memo_result_unref(p->res);
	p->record = p->receipt = NULL;
	p->res = NULL;
}

static int pair_load(struct memo_checker *c, struct pair *p)
{
	pair_clear(p);
	p->record_code = memo_record_load(c->s, &p->id, &p->record, NULL);
	p->receipt_code = memo_receipt_read(c->s, &p->id, &p->receipt);
	if (p->record_code == -ENOMEM || p->receipt_code == -ENOMEM)
		return -ENOMEM;
	if (p->record != NULL && memo_record_state(p->record) == MEMO_SUCCESS &&
	    memo_result_from_json(json_object_get(p->record, "result"), &p->id, &p->res) < 0)
		p->res = NULL;
	return 0;
}

/* ---- what is wrong ----------------------------------------------------------------------------------- */

enum verdict {
	FINE,
	RECEIPT_UNREADABLE,
	RECEIPT_DAMAGED,
	RECEIPT_STRANGE,
	RECEIPT_MISSING,
	RECEIPT_OLD,
	RECEIPT_LEFT,
	RECORD_MISSING,
	RECORD_OLD,
	RECORD_UNREADABLE,
	RECORD_STRANGE,
	RECORD_DIFFERS,
	RECORD_EMPTY, /* a success without a result, and no receipt that could tell it */
};

/* What it says of itself must be the identity that it lies under: the name, and the hash of the key. */
static bool names_itself(const json_t *j, const struct memo_id *id)
{
	struct memo_id is;
	const json_t *key = json_object_get(j, "key");
	if (memo_id_parse(memo_json_string(j, "identity", ""), &is) < 0 || !memo_id_equal(&is, id))
		return false;
	return !json_is_object(key) || (memo_identity_of(key, &is, NULL) == 0 && memo_id_equal(&is, id));
}

static bool receipt_good(const struct pair *p)
{
	struct memo_result *res = NULL;
	if (p->receipt == NULL || !names_itself(p->receipt, &p->id) ||
	    memo_record_state(p->receipt) != MEMO_SUCCESS ||
	    memo_result_from_json(json_object_get(p->receipt, "result"), &p->id, &res) < 0)
		return false;
	memo_result_unref(res);
	return true;
}

static int64_t sequence(const json_t *j)
{
	return memo_json_int(j, "sequence", 0);
}

static enum verdict judge_record(const struct pair *p, bool good)
{
	bool success = memo_record_state(p->record) == MEMO_SUCCESS;
	if (!names_itself(p->record, &p->id) || memo_record_state(p->record) == MEMO_STATES)
		return RECORD_STRANGE;
	if (good && sequence(p->receipt) > sequence(p->record))
		return RECORD_OLD;
	if (!success && good && !json_is_object(json_object_get(p->record, "result")))
		return RECEIPT_LEFT;
	if (!success)
		return FINE;
	if (p->res == NULL)
		return good ? RECORD_STRANGE : RECORD_EMPTY;
	if (p->receipt == NULL)
		return RECEIPT_MISSING;
	if (sequence(p->receipt) < sequence(p->record))
		return RECEIPT_OLD;
	return json_equal(json_object_get(p->receipt, "result"), json_object_get(p->record, "result"))
		       ? FINE
		       : RECORD_DIFFERS;
}

static enum verdict judge(const struct pair *p)
{
	bool good = receipt_good(p);
	if (p->receipt_code == -EBADMSG || p->receipt_code == -EINVAL || p->receipt_code == -EISDIR ||
	    p->receipt_code == -ELOOP || p->receipt_code == -EFBIG)
		return RECEIPT_DAMAGED;
	if (p->receipt_code < 0 && p->receipt_code != -ENOENT)
		return RECEIPT_UNREADABLE;
	if (p->receipt != NULL && !good)
		return RECEIPT_STRANGE;
	if (p->record_code == -ENOENT)
		return p->receipt == NULL ? FINE : RECORD_MISSING;
	if (p->record_code < 0)
		return RECORD_UNREADABLE;
	return judge_record(p, good);
}

/* ---- repairs; all with both locks of the instance ----------------------------------------------------- */

/* All of them: an older one must not speak in its place. */
static int receipt_away(struct memo_checker *c, void *arg)
{
	const struct pair *p = arg;
	char path[MEMO_RECEIPT_PATH];
	char leaf[MEMO_HEX_SIZE + 16];
	(void)snprintf(leaf, sizeof leaf, "receipt.%s", p->hex);
	enum memo_quarantine why = judge(p) == RECEIPT_LEFT ? MEMO_LEFTOVER : MEMO_DAMAGED;
	int r;
	while ((r = memo_receipt_path(c->s, &p->id, path)) == 0) {
		r = memo_quarantine_move(c->s, c->s->receipts_fd, path, leaf, why);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* The record and the node ids of its name: what publication writes. */
static int receipt_anew(struct memo_checker *c, void *arg)
{
	struct pair *p = arg;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *row = NULL;
	MEMO_AUTO_JSON json_t *receipt = json_copy(p->record);
	int r = memo_key(&k, memo_json_string(p->record, "task", ""), memo_json_string(p->record, "version", ""),
			 memo_json_string(p->record, "name", ""));
	if (r == 0)
		r = memo_manifest_get_json(c->s->manifest, MEMO_NAMES, k.data, k.len, &row, NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	if (receipt == NULL ||
	    memo_json_set(receipt, "info", json_integer((json_int_t)memo_json_int(row, "info", 0))) < 0)
		return -ENOMEM;
	return memo_receipt_write(c->s, &p->id, receipt, NULL);
}

static int receipt_instead(struct memo_checker *c, void *arg)
{
	struct pair *p = arg;
	int r = receipt_away(c, p);
	return r < 0 || p->res == NULL ? r : receipt_anew(c, p);
}

static int adopt(struct memo_checker *c, void *arg)
{
	struct pair *p = arg;
	int r = memo_recover_adopt(c->s, &p->id, p->receipt);
	memo_results_forget(c->s, &p->id);
	return r;
}

/* There is nothing that it could mean: without it the next demand begins anew. */
static int record_away(struct memo_checker *c, void *arg)
{
	const struct pair *p = arg;
	struct memo_check_row_ref ref = { .table = MEMO_INSTANCES, .key = p->id.byte, .len = sizeof p->id.byte };
	int r = memo_check_delete_row(c, &ref);
	memo_results_forget(c->s, &p->id);
	return r;
}

static int record_strange(struct memo_checker *c, void *arg)
{
	const struct pair *p = arg;
	return receipt_good(p) ? adopt(c, arg) : record_away(c, arg);
}

static const struct {
	const char *what, *action;
	memo_fix_fn *fix;
	bool at_record; /* the finding is about the record, not about the receipt's file */
} wrongs[] = {
	[RECEIPT_UNREADABLE] = { "cannot be read", "nothing: look after the disk", NULL, false },
	[RECEIPT_DAMAGED] = { "is damaged: its checksum is wrong",
			      "move it to quarantine, and write it again from the record if that is a result",
			      receipt_instead, false },
	[RECEIPT_STRANGE] = { "is not what its name says",
			      "move it to quarantine, and write it again from the record if that is a result",
			      receipt_instead, false },
	[RECEIPT_MISSING] = { "is missing", "write it again from the record", receipt_anew, false },
	[RECEIPT_OLD] = { "is older than its record", "write it again from the record", receipt_anew, false },
	[RECORD_MISSING] = { "has a receipt and no record", "put the record back from the receipt", adopt, true },
	[RECORD_OLD] = { "has a record that is older than its receipt", "put the record back from the receipt",
			 adopt, true },
	[RECORD_UNREADABLE] = { "has a record that cannot be read",
				"put it back from the receipt, or else remove it", record_strange, true },
	[RECORD_STRANGE] = { "has a record that is not what its identity says",
			     "put it back from the receipt, or else remove it", record_strange, true },
	[RECORD_DIFFERS] = { "has a record that tells of another result than its receipt",
			     "put the record back from the receipt", adopt, true },
	[RECORD_EMPTY] = { "is recorded as a success without a result", "remove the record", record_away, true },
};

static int report_pair(struct memo_checker *c, struct pair *p, enum verdict v)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	char file[MEMO_RECEIPT_PATH];
	if (memo_receipt_path(c->s, &p->id, file) < 0)
		(void)snprintf(file, sizeof file, "%.2s/%s", p->hex, p->hex);
	(void)snprintf(p->where, sizeof p->where, "receipts/%s", file);
	const json_t *told = p->record != NULL ? p->record : p->receipt;
	if (v == RECEIPT_LEFT)
		return memo_check_left(c, p->where, "is of a result that was given up", "move it to quarantine",
				       receipt_away, p);
	if (wrongs[v].at_record && told != NULL)
		memo_check_path(told, &path);
	else
		(void)memo_buf_printf(&path, wrongs[v].at_record ? "instance %s" : "%s",
				      wrongs[v].at_record ? p->hex : p->where);
	return memo_check_wrong(c, memo_buf_str(&path), wrongs[v].what, wrongs[v].action, wrongs[v].fix, p);
}

/* ---- what a result needs besides ---------------------------------------------------------------------- */

struct need {
	enum memo_table table;
	const void *key;
	size_t len;
	json_t *row; /* NULL: the reference's, made below */
	const struct pair *pair;
};

static int put_row(struct memo_checker *c, void *arg)
{
	const struct need *n = arg;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	int r = 0;
	if (n->row != NULL)
		memo_batch_put_json(&b, n->table, n->key, n->len, n->row);
	else
		r = memo_result_refer(&b, &n->pair->id, json_object_get(n->pair->record, "result"),
				      memo_json_string(n->pair->record, "task", ""), true);
	return r < 0 ? r : memo_manifest_write(c->s->manifest, &b, true, NULL);
}

static int need_row(struct memo_checker *c, struct need *n, const char *what, const char *action)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	int r = memo_check_has(c, n->table, n->key, n->len);
	if (r != -ENOENT)
		return r;
	memo_check_path(n->pair->record, &path);
	return memo_check_wrong(c, memo_buf_str(&path), what, action, put_row, n);
}

static int need_name(struct memo_checker *c, struct pair *p)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	const char *name = memo_json_string(p->record, "name", "");
	int r = memo_key(&k, memo_json_string(p->record, "task", ""), memo_json_string(p->record, "version", ""),
			 name);
	if (r < 0 || memo_check_has(c, MEMO_NAMES, k.data, k.len) != -ENOENT)
		return r;
	uint64_t info = 0;
	r = c->o->repair ? memo_store_ino(c->s, MEMO_INFO_INOS, &info) : 0;
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:I, s:I}", "identity", p->hex, "info", (json_int_t)info,
					       "time", (json_int_t)p->res->mtime_ns);
	struct need n = { .table = MEMO_NAMES, .key = k.data, .len = k.len, .row = row, .pair = p };
	return row == NULL ? -ENOMEM : need_row(c, &n, "has a result and no name", "put the name back");
}

static int need_handle(struct memo_checker *c, struct pair *p)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	json_t *inputs = json_object_get(p->record, "inputs");
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	if (!json_is_object(inputs) || memo_path_digest(inputs, &digest, NULL) < 0)
		return 0;
	int r = memo_key(&k, memo_json_string(p->record, "task", ""), memo_json_string(p->record, "version", ""),
			 memo_id_hex(&digest, hex));
	struct need n = { .table = MEMO_HANDLES, .key = k.data, .len = k.len, .row = inputs, .pair = p };
	return r < 0 ? r : need_row(c, &n, "has a result and no handle for its inputs", "put the handle back");
}

static int need_rows(struct memo_checker *c, struct pair *p)
{
	unsigned char key[2 * MEMO_ID_BYTES];
	memcpy(key, p->res->hash.byte, MEMO_ID_BYTES);
	memcpy(key + MEMO_ID_BYTES, p->id.byte, MEMO_ID_BYTES);
	MEMO_AUTO_JSON json_t *row = memo_result_row(p->res);
	struct need main = { .table = MEMO_OBJECTS, .key = key, .len = MEMO_ID_BYTES, .row = row, .pair = p };
	struct need reference = { .table = MEMO_OBJECTS, .key = key, .len = sizeof key, .pair = p };
	int r = row == NULL ? -ENOMEM
			    : need_row(c, &main, "has a result that is not listed under its hash", "list it");
	if (r == 0)
		r = need_row(c, &reference, "has a result that does not refer to its object",
			     "put the reference back");
	if (r == 0)
		r = need_name(c, p);
	return r < 0 ? r : need_handle(c, p);
}

/* ---- one identity ------------------------------------------------------------------------------------- */

/* Is all there? Read without a lock: what is missing is looked for again with one. */
static bool has_all(struct memo_checker *c, const struct pair *p)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	unsigned char key[2 * MEMO_ID_BYTES];
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	const char *task = memo_json_string(p->record, "task", "");
	const char *version = memo_json_string(p->record, "version", "");
	const json_t *inputs = json_object_get(p->record, "inputs");
	memcpy(key, p->res->hash.byte, MEMO_ID_BYTES);
	memcpy(key + MEMO_ID_BYTES, p->id.byte, MEMO_ID_BYTES);
	if (memo_check_has(c, MEMO_OBJECTS, key, MEMO_ID_BYTES) < 0 ||
	    memo_check_has(c, MEMO_OBJECTS, key, sizeof key) < 0 ||
	    memo_key(&k, task, version, memo_json_string(p->record, "name", "")) < 0 ||
	    memo_check_has(c, MEMO_NAMES, k.data, k.len) < 0)
		return false;
	memo_buf_reset(&k);
	return !json_is_object(inputs) || memo_path_digest(inputs, &digest, NULL) < 0 ||
	       (memo_key(&k, task, version, memo_id_hex(&digest, hex)) == 0 &&
		memo_check_has(c, MEMO_HANDLES, k.data, k.len) == 0);
}

static int check_locked(struct memo_checker *c, struct pair *p)
{
	int r = pair_load(c, p);
	if (r < 0)
		return r;
	enum verdict v = judge(p);
	if (v != FINE)
		r = report_pair(c, p, v);
	if (v != FINE && r == 0 && c->o->repair)
		r = pair_load(c, p);
	if (r == 0 && p->res != NULL && judge(p) == FINE)
		r = need_rows(c, p);
	return r;
}

static int check_pair(struct memo_checker *c, const struct memo_id *id)
{
	struct pair p = { .id = *id };
	(void)memo_id_hex(id, p.hex);
	int r = pair_load(c, &p);
	if (p.record_code == 0)
		(void)atomic_fetch_add(&c->o->records, 1);
	if (r < 0 || (judge(&p) == FINE && (p.res == NULL || has_all(c, &p)))) {
		pair_clear(&p);
		return r;
	}
	const json_t *told = p.record != NULL ? p.record : p.receipt;
	struct memo_mutex *by_identity = memo_identity_lock(c->s, id);
	struct memo_mutex *by_name = memo_name_lock(c->s, memo_json_string(told, "task", ""),
						    memo_json_string(told, "version", ""),
						    memo_json_string(told, "name", ""));
	memo_mutex_lock(by_identity);
	memo_mutex_lock(by_name);
	r = check_locked(c, &p);
	memo_mutex_unlock(by_name);
	memo_mutex_unlock(by_identity);
	pair_clear(&p);
	return r;
}

/* ---- one part ------------------------------------------------------------------------------------------ */

struct merge {
	const struct memo_names_list *receipts;
	size_t at;
	unsigned part;
};

static int stray(struct memo_checker *c, void *arg)
{
	return memo_quarantine_move(c->s, c->s->receipts_fd, arg, strchr(arg, '/') + 1, MEMO_LEFTOVER);
}

/* A name in receipts/xx that comes before the next record: a receipt alone, or no receipt at all. */
static int check_name(struct memo_checker *c, unsigned part, const char *name)
{
	struct memo_id id;
	char path[300];
	char where[320];
	if (memo_id_parse(name, &id) == 0 && id.byte[0] == part) {
		(void)atomic_fetch_add(&c->o->receipts, 1);
		return check_pair(c, &id);
	}
	(void)snprintf(path, sizeof path, "%02x/%.255s", part, name);
	(void)snprintf(where, sizeof where, "receipts/%s", path);
	if (memo_check_young(c, c->s->receipts_fd, path))
		return 0;
	return memo_check_left(c, where, "is no receipt", "move it to quarantine", stray, path);
}

static int take_record(struct memo_checker *c, void *arg, const struct memo_check_row *row)
{
	struct merge *m = arg;
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	if (row->len != MEMO_ID_BYTES)
		return 0;
	memcpy(id.byte, row->key, MEMO_ID_BYTES);
	(void)memo_id_hex(&id, hex);
	int r = 0;
	while (r == 0 && m->at < m->receipts->count && strcmp(m->receipts->name[m->at], hex) < 0)
		r = check_name(c, m->part, m->receipts->name[m->at++]);
	if (r == 0 && m->at < m->receipts->count && strcmp(m->receipts->name[m->at], hex) == 0) {
		(void)atomic_fetch_add(&c->o->receipts, 1);
		m->at++;
	}
	return r < 0 ? r : check_pair(c, &id);
}

int memo_check_recent(struct memo_checker *c)
{
	int r = 0;
	for (unsigned i = 0; i < 2 && r == 0; i++) {
		struct memo_names_list l = { 0 };
		struct memo_id id;
		r = memo_check_list(c->s->recent.fd[i], ".", &l);
		for (size_t k = 0; k < l.count && r == 0; k++) {
			if (memo_id_parse(l.name[k], &id) == 0)
				r = memo_check_list_add(&c->recent, l.name[k]);
		}
		memo_check_list_free(&l);
	}
	memo_check_list_sort(&c->recent);
	return r;
}

/* The recent ones that belong to the part. A checkpoint may have moved some meanwhile: each name once. */
static int add_recent(struct memo_checker *c, const char *dir, struct memo_names_list *l)
{
	int r = 0;
	for (size_t i = 0; i < c->recent.count && r == 0; i++) {
		if (strncmp(c->recent.name[i], dir, 2) == 0)
			r = memo_check_list_add(l, c->recent.name[i]);
	}
	memo_check_list_sort(l);
	return r;
}

int memo_check_records(struct memo_checker *c, unsigned part)
{
	char dir[3];
	unsigned char prefix = (unsigned char)part;
	struct memo_names_list l = { 0 };
	(void)snprintf(dir, sizeof dir, "%02x", part);
	int r = memo_check_list(c->s->receipts_fd, dir, &l);
	if (r == 0 || r == -ENOENT)
		r = add_recent(c, dir, &l);
	struct merge m = { .receipts = &l, .part = part };
	if (r == 0)
		r = memo_check_rows(c, MEMO_INSTANCES, &prefix, 1, false, take_record, &m);
	while (r == 0 && m.at < l.count)
		r = check_name(c, part, l.name[m.at++]);
	memo_check_list_free(&l);
	return r;
}
