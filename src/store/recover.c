/* Recovery at open: the manifest is an index, the receipts are what was promised.
 *
 * Always: what was in flight is PENDING, unless its receipt is newer than its record: then it was published all but the
 * last step, and is taken over. After an unclean stop: receipts of identities that the manifest does not know (names are
 * listed, only the missing are read). After damage: every receipt against its record, by "sequence"; registered tasks; and
 * node ids begin above all that are in use. The key "whole" is there when such a rebuild has come to its end. */
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>

#define ACTIVE "active"
#define ACTIVE_LEN sizeof ACTIVE
#define WHOLE "whole"
/* Ids beyond those in receipts may have been shown too (of names without a result). */
#define INO_GAP 65536
#define ACTIVE_AT_ONCE 256

struct recovery {
	struct memo_store *store;
	struct memo_err *err;
	bool all; /* damage: compare all */
	size_t adopted;
	size_t tasks;
	size_t damaged;
	size_t strange; /* receipts that make no sense */
};

/* ---- adopting one receipt ------------------------------------------------------------------------------- */

/* The name means what was produced last under it. */
static int adopt_name(struct recovery *x, const json_t *receipt, const struct memo_result *res,
		      struct memo_batch *b)
{
	const char *task = memo_json_string(receipt, "task", NULL);
	const char *version = memo_json_string(receipt, "version", NULL);
	const char *name = memo_json_string(receipt, "name", NULL);
	if (task == NULL || version == NULL || name == NULL || strlen(name) > MEMO_COMPONENT_MAX)
		return -EBADMSG;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *old = NULL;
	int r = memo_key(&k, task, version, name);
	if (r == 0)
		r = memo_manifest_get_json(x->store->manifest, MEMO_NAMES, k.data, k.len, &old, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || memo_json_int(old, "time", 0) < res->mtime_ns) {
		char hex[MEMO_HEX_SIZE];
		MEMO_AUTO_JSON json_t *row =
			json_pack("{s:s, s:I, s:I}", "identity", memo_id_hex(&res->identity, hex), "info",
				  (json_int_t)memo_json_int(receipt, "info", 0), "time", (json_int_t)res->mtime_ns);
		memo_batch_put_json(b, MEMO_NAMES, k.data, k.len, row);
	}
	const json_t *inputs = json_object_get(receipt, "inputs");
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	memo_buf_reset(&k);
	if (!json_is_object(inputs) || memo_path_digest(inputs, &digest, NULL) < 0)
		return 0;
	r = memo_key(&k, task, version, memo_id_hex(&digest, hex));
	memo_batch_put_json(b, MEMO_HANDLES, k.data, k.len, inputs);
	return r;
}

/* By hand, because no table of states says that a receipt may speak. */
static int adopt_history(const struct memo_id *identity, int64_t sequence, const char *from, struct memo_batch *b)
{
	char when[MEMO_TIME_TEXT];
	memo_record_time(memo_wall_ns(), when);
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:s?, s:s, s:s, s:n, s:n, s:n, s:n}", "time", when, "from",
					       from, "to", "SUCCESS", "reason", "put back from its receipt", "run",
					       "executor", "job", "exit");
	if (row == NULL)
		return -ENOMEM;
	memo_record_history(identity, sequence, row, b);
	return 0;
}

static void raise_inos(struct memo_store *s, const json_t *receipt, const struct memo_result *res)
{
	memo_store_ino_above(s, res->ino);
	if (res->inner > 0 && res->entries < MEMO_TREE_ENTRIES + 1)
		memo_store_ino_above(s, res->inner + 3 * res->entries);
	memo_store_ino_above(s, (uint64_t)memo_json_int(receipt, "info", 0) + MEMO_INFO_INOS);
}

static int adopt_record(struct recovery *x, const struct memo_result *res, const json_t *receipt, const char *from)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	const struct memo_id *id = &res->identity;
	int r = adopt_name(x, receipt, res, &b);
	if (r == 0)
		r = adopt_history(id, memo_json_int(receipt, "sequence", 1), from, &b);
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *record = json_copy((json_t *)(uintptr_t)receipt);
	if (record == NULL)
		return -ENOMEM;
	(void)json_object_del(record, "info");
	memo_batch_put_json(&b, MEMO_INSTANCES, id->byte, sizeof id->byte, record);
	MEMO_AUTO_JSON json_t *row = memo_result_row(res);
	memo_batch_put_json(&b, MEMO_OBJECTS, res->hash.byte, sizeof res->hash.byte, row);
	memo_record_active(id, false, &b);
	struct memo_id raw;
	if (memo_id_parse(memo_json_string(record, "raw", ""), &raw) == 0)
		memo_alias_batch(&raw, id, &b);
	r = memo_result_refer(&b, id, json_object_get(record, "result"), memo_json_string(record, "task", ""),
			      true);
	if (r < 0)
		return r;
	r = memo_manifest_write(x->store->manifest, &b, false, x->err);
	if (r == 0) {
		raise_inos(x->store, receipt, res);
		x->adopted++;
	}
	return r;
}

/* Takes the receipt over when it knows more than @record (NULL: there is none). */
static int adopt(struct recovery *x, const struct memo_id *identity, const json_t *receipt, const json_t *record)
{
	struct memo_id id;
	struct memo_result *res = NULL;
	if (memo_id_parse(memo_json_string(receipt, "identity", ""), &id) < 0 || !memo_id_equal(&id, identity) ||
	    memo_record_state(receipt) != MEMO_SUCCESS ||
	    memo_result_from_json(json_object_get(receipt, "result"), identity, &res) < 0) {
		x->strange++;
		return 0;
	}
	if (x->all)
		raise_inos(x->store, receipt, res);
	int r = 0;
	if (record == NULL || memo_json_int(record, "sequence", 0) < memo_json_int(receipt, "sequence", 0))
		r = adopt_record(x, res, receipt, record == NULL ? NULL : memo_json_string(record, "state", NULL));
	memo_result_unref(res);
	if (r == -EBADMSG) {
		x->strange++;
		return 0;
	}
	return r;
}

int memo_recover_adopt(struct memo_store *s, const struct memo_id *identity, const json_t *receipt)
{
	struct recovery x = { .store = s, .all = true };
	int r = adopt(&x, identity, receipt, NULL);
	if (r == 0)
		r = x.adopted > 0 ? memo_store_ino_save(s, NULL) : -EBADMSG;
	return r;
}

/* ---- what was in flight --------------------------------------------------------------------------------- */

struct active {
	struct memo_id id[ACTIVE_AT_ONCE];
	size_t count;
};

static int take_active(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)value;
	(void)value_len;
	struct active *a = arg;
	if (len != ACTIVE_LEN + MEMO_ID_BYTES)
		return 0;
	memcpy(a->id[a->count++].byte, (const char *)key + ACTIVE_LEN, MEMO_ID_BYTES);
	return a->count == ACTIVE_AT_ONCE ? 1 : 0;
}

static int end_one(struct recovery *x, const struct memo_id *id)
{
	struct memo_store *s = x->store;
	MEMO_AUTO_JSON json_t *record = NULL;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	int r = memo_record_load(s, id, &record, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	MEMO_AUTO_JSON json_t *receipt = NULL;
	size_t before = x->adopted;
	if (memo_receipt_read(s, id, &receipt) == 0) {
		r = adopt(x, id, receipt, record);
		if (r < 0 || x->adopted > before)
			return r;
	}
	memo_record_active(id, false, &b);
	enum memo_state state = record == NULL ? MEMO_STATES : memo_record_state(record);
	if (state == MEMO_SUBMITTED || state == MEMO_RUNNING || state == MEMO_RETRYING) {
		struct memo_transition t = { .to = MEMO_PENDING, .reason = "the daemon ended", .exit_code = -1 };
		r = memo_record_step(record, id, &t, &b);
		if (r < 0)
			return memo_fail(x->err, r, "store '%s': a record cannot be changed: %s", s->dir,
					 memo_strerror(r));
		memo_batch_put_json(&b, MEMO_INSTANCES, id->byte, sizeof id->byte, record);
	}
	return memo_manifest_write(s->manifest, &b, false, x->err);
}

static int end_active(struct recovery *x)
{
	struct active *a = malloc(sizeof *a);
	if (a == NULL)
		return memo_fail(x->err, -ENOMEM, "store '%s': out of memory", x->store->dir);
	int r;
	do {
		a->count = 0;
		r = memo_manifest_scan(x->store->manifest, MEMO_META, ACTIVE, ACTIVE_LEN, NULL, 0, take_active, a,
				       x->err);
		for (size_t i = 0; i < a->count && r >= 0; i++) {
			int e = end_one(x, &a->id[i]);
			r = e < 0 ? e : r;
		}
	} while (r > 0);
	free(a);
	return r;
}

/* ---- receipts ------------------------------------------------------------------------------------------- */

static int see_name(void *arg, const struct memo_id *identity, const json_t *none)
{
	(void)none;
	struct recovery *x = arg;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_manifest_get(x->store->manifest, MEMO_INSTANCES, identity->byte, sizeof identity->byte, &b,
				  x->err);
	if (r != -ENOENT)
		return r;
	MEMO_AUTO_JSON json_t *receipt = NULL;
	r = memo_receipt_read(x->store, identity, &receipt);
	if (r < 0) {
		x->strange++;
		return r == -ENOMEM ? r : 0;
	}
	return adopt(x, identity, receipt, NULL);
}

static int see_receipt(void *arg, const struct memo_id *identity, const json_t *receipt)
{
	struct recovery *x = arg;
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(x->store, identity, &record, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	return adopt(x, identity, receipt, record);
}

static int see_task(void *arg, const struct memo_id *file, const json_t *receipt)
{
	(void)file;
	struct recovery *x = arg;
	const char *name = memo_json_string(json_object_get(receipt, "definition"), "name", NULL);
	const char *version = memo_json_string(receipt, "version", NULL);
	if (name == NULL || version == NULL) {
		x->strange++;
		return 0;
	}
	memo_store_ino_above(x->store, (uint64_t)memo_json_int(receipt, "ino", 0) + MEMO_VERSION_INOS);
	memo_store_ino_above(x->store, (uint64_t)memo_json_int(receipt, "name_ino", 0) + MEMO_NAME_INOS);
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	MEMO_AUTO_JSON json_t *old = NULL;
	int r = memo_key(&k, name, version, NULL);
	if (r == 0)
		r = memo_manifest_get_json(x->store->manifest, MEMO_TASKS, k.data, k.len, &old, x->err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && memo_json_int(old, "sequence", 0) >= memo_json_int(receipt, "sequence", 0))
		return 0;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_put_json(&b, MEMO_TASKS, k.data, k.len, receipt);
	r = memo_manifest_write(x->store->manifest, &b, false, x->err);
	x->tasks += r == 0;
	return r;
}

/* With or without the mark that the manifest has all that the receipts have. */
static int mark_whole(struct recovery *x, bool whole)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	if (whole)
		memo_batch_put(&b, MEMO_META, WHOLE, sizeof WHOLE - 1, "1", 1);
	else
		memo_batch_delete(&b, MEMO_META, WHOLE, sizeof WHOLE - 1);
	return memo_manifest_write(x->store->manifest, &b, true, x->err);
}

static int rebuild(struct recovery *x, bool salvaged)
{
	x->all = true;
	int r = mark_whole(x, false);
	if (r == 0)
		r = memo_receipt_each_task(x->store, see_task, x, &x->damaged);
	if (r == 0)
		r = memo_receipt_each(x->store, false, see_receipt, x, &x->damaged);
	if (r == 0 && (salvaged || x->adopted + x->tasks > 0))
		memo_store_ino_above(x->store, x->store->ino_next + INO_GAP);
	if (r == 0)
		r = memo_store_ino_save(x->store, x->err);
	return r < 0 ? r : mark_whole(x, true);
}

static void tell(const struct recovery *x, struct memo_buf *notice)
{
	if (notice == NULL)
		return;
	if (x->adopted > 0)
		(void)memo_buf_printf(notice, "%zu results were put back from their receipts\n", x->adopted);
	if (x->tasks > 0)
		(void)memo_buf_printf(notice, "%zu registered tasks were put back from their receipts\n", x->tasks);
	if (x->damaged > 0)
		(void)memo_buf_printf(notice, "%zu damaged receipts were moved to quarantine\n", x->damaged);
	if (x->strange > 0)
		(void)memo_buf_printf(notice, "%zu receipts make no sense and were left alone\n", x->strange);
}

int memo_recover(struct memo_store *s, enum memo_manifest_found found, bool unclean, struct memo_buf *notice,
		 struct memo_err *err)
{
	struct recovery x = { .store = s, .err = err };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_manifest_get(s->manifest, MEMO_META, WHOLE, sizeof WHOLE - 1, &b, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || found != MEMO_MANIFEST_WHOLE)
		r = rebuild(&x, found == MEMO_MANIFEST_SALVAGED);
	else if (unclean)
		r = memo_receipt_each(s, true, see_name, &x, &x.damaged);
	if (r == 0)
		r = end_active(&x);
	tell(&x, notice);
	if (r < 0 && (err == NULL || err->code != r))
		return memo_fail(err, r, "store '%s': its receipts cannot be read: %s", s->dir, memo_strerror(r));
	return r;
}
