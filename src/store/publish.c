/* Publication: how an attempt's output becomes a result. The order is the whole point (DESIGN.md, invariant 1):
 *
 *	verify what exit.json says -> objects in place, their directories synced -> receipt, synced
 *	-> one synced batch: record, history, name, handle, object row -> answer
 *
 * Nothing is taken from the attempt that a second try would need: a file is linked, a directory that was moved is found in
 * its new place. Until the batch nobody sees anything; after it everything that it names is durable. */
#include "object.h"
#include "receipt.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define OUTPUT "output"
#define LISTING "output.tree"

/* ---- verification and placing ------------------------------------------------------------------------ */

static int stat_file(int dirfd, const char *name, struct stat *st)
{
	MEMO_AUTO_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return memo_errno() == -ELOOP ? -EBADMSG : memo_errno();
	if (fstat(fd, st) < 0)
		return memo_errno();
	return S_ISREG(st->st_mode) ? 0 : -EBADMSG;
}

/* Its bytes are what they are said to be. */
static int recheck_file(int attempt, const struct memo_produced *p)
{
	struct memo_id is;
	MEMO_AUTO_FD int fd = openat(attempt, OUTPUT, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	int r = fd < 0 ? memo_errno() : memo_hash_fd(fd, &is, NULL);
	return r < 0 ? r : memo_id_equal(&is, &p->blob) ? 0 : -EBADMSG;
}

static int place_file(struct memo_store *s, int attempt, const struct memo_publication *q, struct memo_err *err)
{
	const struct memo_produced *p = q->produced;
	struct memo_id hash = p->blob;
	int r = p->exec ? memo_attempt_exec_hash(&p->blob, &hash) : 0;
	if (r < 0)
		return memo_fail(err, r, "output: cannot be hashed");
	if (!memo_id_equal(&hash, &p->hash))
		return memo_fail(err, -EBADMSG, "output: its hash is not what its content gives");
	struct stat st;
	r = stat_file(attempt, OUTPUT, &st);
	/* Gone is fine when an earlier try has put it into its place: the object decides. */
	if (r < 0 && r != -ENOENT)
		return memo_fail(err, r, "output: is not the file that exit.json tells of");
	if (r == 0 && (uint64_t)st.st_size != p->size)
		return memo_fail(err, -EBADMSG, "output: has %lld bytes, exit.json says %llu",
				 (long long)st.st_size, (unsigned long long)p->size);
	if (r == 0 && (st.st_mode & 07777) != (p->exec ? 0555 : 0444))
		return memo_fail(err, -EBADMSG, "output: its mode is %04o, not frozen",
				 (unsigned)(st.st_mode & 07777));
	if (r == 0 && q->recheck)
		r = recheck_file(attempt, p);
	if (r < 0 && r != -ENOENT)
		return memo_fail(err, r, "output: its content is not what exit.json says");
	r = memo_object_link(s, attempt, OUTPUT, &p->blob, p->exec, p->size, err);
	return r == -ENOENT ? memo_fail(err, -EBADMSG, "output: is missing") : r;
}

/* @dir: the output, or what became of it, must be what the listing says. */
static int verify_tree(int attempt, const struct memo_tree *t, const struct memo_publication *q,
		       struct memo_err *err)
{
	const struct memo_produced *p = q->produced;
	if (!memo_id_equal(memo_tree_id(t), &p->hash) || memo_tree_count(t) != p->entries ||
	    memo_tree_bytes(t) != p->size)
		return memo_fail(err, -EBADMSG, "output.tree: is not the listing that exit.json tells of");
	MEMO_AUTO_FD int dir = -1;
	int r = memo_io_open_dir(attempt, OUTPUT, &dir);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return memo_fail(err, -EBADMSG, "output: is not a directory that can be read");
	r = memo_object_compare(dir, t, q->recheck, NULL, err);
	return r < 0 ? memo_fail_prefix(err, r, "output") : 0;
}

static int place_tree(struct memo_store *s, int attempt, const struct memo_publication *q, struct memo_err *err)
{
	const struct memo_produced *p = q->produced;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_tree *t = NULL;
	int r = memo_io_read_file(attempt, LISTING, MEMO_TREE_LISTING_BYTES, &b);
	if (r < 0)
		return memo_fail(err, r == -ENOENT ? -EBADMSG : r, "output.tree: cannot be read: %s",
				 memo_strerror(r));
	struct memo_id is;
	r = memo_hash_bytes(memo_buf_str(&b), b.len, &is);
	if (r == 0 && !memo_id_equal(&is, &p->hash))
		r = -EBADMSG;
	if (r == 0)
		r = memo_tree_parse(memo_buf_str(&b), b.len, &t, err);
	if (r < 0)
		return memo_fail(err, r, "output.tree: is not the listing that exit.json tells of");
	r = verify_tree(attempt, t, q, err);
	if (r == 0)
		r = memo_object_link_tree(s, attempt, OUTPUT, LISTING, t, b.len, err);
	memo_tree_unref(t);
	return r == -ENOENT ? memo_fail(err, -EBADMSG, "output: is missing") : r;
}

static int place(struct memo_store *s, const struct memo_publication *p, struct memo_err *err)
{
	if (p->produced->kind == MEMO_RESULT_EXTERNAL) {
		if (p->produced->path == NULL || p->produced->path[0] != '/')
			return memo_fail(err, -EBADMSG, "output: an external result needs an absolute path");
		return 0;
	}
	MEMO_AUTO_FD int attempt = -1;
	int r = memo_io_open_dir(AT_FDCWD, p->attempt, &attempt);
	if (r < 0)
		return memo_fail(err, r, "attempt '%s': cannot be read: %s", p->attempt, memo_strerror(r));
	return p->produced->kind == MEMO_RESULT_DIRECTORY ? place_tree(s, attempt, p, err)
							  : place_file(s, attempt, p, err);
}

/* ---- the record --------------------------------------------------------------------------------------- */

/* The same output under the same identity keeps its node ids, so that nothing the kernel has cached turns stale. */
static int choose_inos(struct memo_store *s, const struct memo_publication *p, const json_t *old,
		       struct memo_result *res)
{
	struct memo_id hash;
	if (memo_id_parse(memo_json_string(old, "hash", ""), &hash) == 0 && memo_id_equal(&hash, &res->hash)) {
		res->ino = (uint64_t)memo_json_int(old, "ino", 0);
		res->inner = (uint64_t)memo_json_int(old, "inner", 0);
	}
	int r = 0;
	if (res->ino == 0)
		res->ino = p->ino;
	if (res->ino == 0)
		r = memo_store_ino(s, 1, &res->ino);
	if (r == 0 && res->inner == 0 && res->kind == MEMO_RESULT_DIRECTORY)
		r = memo_store_ino(s, 3 * res->entries, &res->inner);
	return r;
}

static int make_result(struct memo_store *s, const struct memo_publication *p, const json_t *old,
		       struct memo_result **out)
{
	struct memo_result *res = memo_result_new();
	if (res == NULL)
		return -ENOMEM;
	const struct memo_produced *x = p->produced;
	res->identity = p->instance->identity;
	res->hash = x->hash;
	res->blob = x->blob;
	res->kind = x->kind;
	res->size = x->size;
	res->exec = x->exec;
	res->entries = x->entries;
	res->observed = json_array_size(p->observed) > 0;
	res->mtime_ns = memo_wall_ns();
	double seconds = json_number_value(json_object_get(p->origin, "seconds"));
	res->wall_ms = seconds > 0 ? (uint64_t)(seconds * 1000) : 0;
	int r = choose_inos(s, p, old, res);
	if (x->kind == MEMO_RESULT_EXTERNAL && (res->path = strdup(x->path)) == NULL)
		r = -ENOMEM;
	if (r < 0) {
		memo_result_unref(res);
		return r;
	}
	*out = res;
	return 0;
}

static int fill_record(json_t *record, const struct memo_publication *p, const struct memo_result *res,
		       struct memo_batch *b)
{
	struct memo_transition t = p->transition;
	t.to = MEMO_SUCCESS;
	t.origin = NULL;
	int r = 0;
	/* What is there is this identity's output, whatever the record says: it goes through PENDING then. */
	if (!memo_state_legal(memo_record_state(record), MEMO_SUCCESS)) {
		struct memo_transition again = { .to = MEMO_PENDING, .exit_code = -1 };
		r = memo_record_step(record, &res->identity, &again, b);
	}
	if (r == 0)
		r = memo_record_step(record, &res->identity, &t, b);
	if (r == 0)
		r = memo_record_describe(record, p->instance);
	if (r == 0)
		r = memo_alias_record(record, p->instance, b);
	(void)json_object_del(record, "collected");
	if (r == 0)
		r = memo_json_set(record, "result", memo_result_json(res));
	if (r == 0)
		r = memo_json_set(record, "origin", p->origin == NULL ? json_null() : json_deep_copy(p->origin));
	if (r == 0)
		r = memo_json_set(record, "observed",
				  p->observed == NULL ? json_null() : json_deep_copy(p->observed));
	return r;
}

int memo_publish_record(struct memo_store *s, const struct memo_publication *p, json_t *record,
			struct memo_result *res, struct memo_err *err)
{
	const struct memo_instance *i = p->instance;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	uint64_t info;
	int r = memo_result_refer(&b, &i->identity, json_object_get(record, "result"), i->task, false);
	if (r == 0)
		r = fill_record(record, p, res, &b);
	if (r == 0)
		r = memo_result_refer(&b, &i->identity, json_object_get(record, "result"), i->task, true);
	if (r == -EPROTO)
		return memo_fail(err, r, "cannot go from %s to SUCCESS",
				 memo_state_text(memo_record_state(record)));
	if (r < 0)
		return memo_fail(err, r, "its record cannot be made: %s", memo_strerror(r));
	r = memo_record_name(s, i, &b, &info, err);
	if (r < 0)
		return r;
	memo_batch_put_json(&b, MEMO_INSTANCES, i->identity.byte, sizeof i->identity.byte, record);
	MEMO_AUTO_JSON json_t *row = memo_result_row(res);
	memo_batch_put_json(&b, MEMO_OBJECTS, res->hash.byte, sizeof res->hash.byte, row);
	r = memo_buf_error(&b.ops);
	/* The receipt is the record and the name's node ids: enough to make all the rest again. */
	MEMO_AUTO_JSON json_t *receipt = json_copy(record);
	if (r == 0 && receipt == NULL)
		r = -ENOMEM;
	if (r == 0)
		r = memo_json_set(receipt, "info", json_integer((json_int_t)info));
	if (r < 0)
		return memo_fail(err, r, "its record cannot be made: %s", memo_strerror(r));
	memo_receipts_hold(s);
	r = memo_receipt_write(s, &i->identity, receipt, err);
	bool written = r == 0;
	if (r == 0)
		r = memo_manifest_write(s->manifest, &b, true, err);
	if (written)
		memo_receipts_unsure(s, &i->identity, r < 0);
	memo_receipts_let_go(s);
	if (r < 0)
		memo_results_forget(s, &i->identity);
	else
		memo_results_keep(s, res);
	return r;
}

static int commit(struct memo_store *s, const struct memo_publication *p, struct memo_result **out,
		  struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, &p->instance->identity, &record, err);
	/* Never demanded, or its record was lost with a damaged manifest, while it ran or before it was adopted. */
	if (r == -ENOENT)
		r = (record = json_object()) == NULL ? memo_fail(err, -ENOMEM, "out of memory") : 0;
	if (r < 0)
		return r;
	struct memo_result *res;
	r = make_result(s, p, json_object_get(record, "result"), &res);
	if (r < 0)
		return memo_fail(err, r, "its result cannot be recorded: %s", memo_strerror(r));
	r = memo_publish_record(s, p, record, res, err);
	if (r < 0) {
		memo_result_unref(res);
		return r;
	}
	*out = res;
	return 0;
}

int memo_store_publish(struct memo_store *s, const struct memo_publication *p, struct memo_result **out,
		       struct memo_err *err)
{
	const struct memo_instance *i = p->instance;
	int r = atomic_load(&s->late) ? memo_recover_late(s, err) : 0;
	if (r < 0)
		return memo_fail_prefix(err, r, "instance %s/%s/%s", i->task, i->version, i->name);
	/* From the look whether the object is there until the record refers to it: it must not be collected between (collect.h). */
	struct memo_mutex *by_hash = memo_object_lock(s, &p->produced->hash);
	memo_mutex_lock(by_hash);
	r = place(s, p, err);
	if (r == 0) {
		struct memo_mutex *by_identity = memo_identity_lock(s, &i->identity);
		struct memo_mutex *by_name = memo_name_lock(s, i->task, i->version, i->name);
		memo_mutex_lock(by_identity);
		memo_mutex_lock(by_name);
		r = commit(s, p, out, err);
		memo_mutex_unlock(by_name);
		memo_mutex_unlock(by_identity);
	}
	memo_mutex_unlock(by_hash);
	memo_receipts_checkpoint(s, false);
	return r < 0 ? memo_fail_prefix(err, r, "instance %s/%s/%s", i->task, i->version, i->name) : 0;
}
