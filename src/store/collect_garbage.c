/* Collect, garbage: objects that nothing refers to, receipts and logs of results that were forgotten.
 *
 * What the inventory knows is left alone without a further look. What it does not know may be newer than the inventory: it is
 * looked at once more under the object's lock (collect.h), which a publication holds until its record is committed. */
#include "collect.h"
#include "object.h"
#include "receipt.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_NAME 96

/* ---- objects -------------------------------------------------------------------------------------------- */

/* "<64 hex>", with ".x" or ".d". @hash_out: the output hash of results that have it. */
static bool parse_name(const char *name, struct memo_id *id_out, struct memo_id *hash_out)
{
	char hex[MEMO_HEX_SIZE];
	size_t len = strlen(name);
	if (len != MEMO_HEX_LEN && len != MEMO_HEX_LEN + 2)
		return false;
	memcpy(hex, name, MEMO_HEX_LEN);
	hex[MEMO_HEX_LEN] = '\0';
	if (memo_id_parse(hex, id_out) < 0)
		return false;
	*hash_out = *id_out;
	const char *suffix = name + MEMO_HEX_LEN;
	if (strcmp(suffix, ".x") == 0)
		return memo_attempt_exec_hash(id_out, hash_out) == 0;
	return suffix[0] == '\0' || strcmp(suffix, ".d") == 0;
}

static uint64_t bytes_at(int fd, const char *name, unsigned depth)
{
	struct stat st;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return (uint64_t)st.st_size;
	int sub;
	if (depth > MEMO_TREE_DEPTH || memo_io_open_dir(fd, name, &sub) < 0)
		return 0;
	MEMO_AUTO_DIR DIR *d = fdopendir(sub);
	if (d == NULL) {
		(void)close(sub);
		return 0;
	}
	uint64_t sum = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			sum += bytes_at(dirfd(d), e->d_name, depth + 1);
	}
	return sum;
}

/* With both locks. 1: it stays. */
static int remove_object(struct memo_collecting *c, const char *name, const struct memo_id *id,
			 const struct memo_id *hash, char trash[MEMO_TRASH_NAME])
{
	int r = memo_code_set_fresh(c->store, &c->code, c->err);
	if (r == 0)
		r = memo_code_set_has(&c->code, id) || memo_held(c->store, id);
	if (r == 0)
		r = memo_collect_referred(c->store, hash, c->err);
	if (r == 0 && c->gc->dry)
		return memo_held(c->store, hash);
	if (r == 0)
		r = memo_collect_unlink(c, hash, name, trash);
	if (r != 0)
		return r;
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_batch_delete(&b, MEMO_OBJECTS, hash->byte, sizeof hash->byte);
	return memo_manifest_write(c->store->manifest, &b, false, c->err);
}

static int tell_garbage(struct memo_collecting *c, const char *kind, const char *name, uint64_t bytes)
{
	c->garbage++;
	c->garbage_bytes += bytes;
	return memo_collect_tell(
		c, json_pack("{s:s, s:s, s:I}", "kind", kind, "name", name, "bytes", (json_int_t)bytes));
}

static int see_object(struct memo_collecting *c, int dir, const char *shard, const char *leaf)
{
	struct memo_store *s = c->store;
	struct memo_id id;
	struct memo_id hash;
	if (!parse_name(leaf, &id, &hash) || memo_inventory_has(&c->have, &hash))
		return 0;
	char name[MEMO_OBJECT_NAME];
	char trash[MEMO_TRASH_NAME] = "";
	(void)snprintf(name, sizeof name, "%.2s/%.*s", shard, MEMO_HEX_LEN + 2, leaf);
	uint64_t bytes = bytes_at(dir, leaf, 0);
	struct memo_mutex *mu = memo_object_lock(s, &hash);
	memo_mutex_lock(&s->registry.change);
	memo_mutex_lock(mu);
	int r = remove_object(c, name, &id, &hash, trash);
	memo_mutex_unlock(mu);
	memo_mutex_unlock(&s->registry.change);
	if (trash[0] != '\0') {
		/* what stays is swept when the store is opened next */
		int gone = memo_io_remove_tree(s->staging_fd, trash);
		(void)gone;
	}
	return r != 0 ? (r < 0 ? r : 0) : tell_garbage(c, "object", name + 3, bytes);
}

static int see_shard(struct memo_collecting *c, const char *shard)
{
	int fd;
	int r = memo_io_open_dir(c->store->objects_fd, shard, &fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	MEMO_AUTO_DIR DIR *d = fdopendir(fd);
	if (d == NULL) {
		r = memo_errno();
		(void)close(fd);
		return r;
	}
	while (r == 0 && !memo_collect_stopped(c)) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (e == NULL)
			return errno != 0 ? memo_errno() : 0;
		r = see_object(c, dirfd(d), shard, e->d_name);
	}
	return r;
}

/* ---- receipts and logs ------------------------------------------------------------------------------------ */

/* Under the identity's lock. 1: it still has no result, and nothing makes one. *@logs: those too are of no use any more; what a
 * collected result has says how it was made. */
static int is_stale(struct memo_store *s, const struct memo_id *identity, bool *logs, bool *receipt_out,
		    struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_record_load(s, identity, &record, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	*logs = !json_is_object(json_object_get(record, "collected")) &&
		!json_is_string(json_object_get(record, "message")); /* of a failure, which is to be tried again */
	if (memo_record_state(record) != MEMO_PENDING || json_is_object(json_object_get(record, "result")))
		return 0;
	/* A receipt that is newer than its record belongs to a publication that was cut off. */
	MEMO_AUTO_JSON json_t *receipt = NULL;
	r = memo_receipt_read(s, identity, &receipt);
	if (r < 0)
		return r == -ENOENT;
	*receipt_out = true;
	return memo_json_int(receipt, "sequence", 0) < memo_json_int(record, "sequence", 0);
}

static int remove_log(struct memo_collecting *c, const char *hex, const char *leaf)
{
	const char shard[3] = { hex[0], hex[1], '\0' };
	MEMO_AUTO_FD int dir = -1;
	struct stat st;
	int r = memo_io_open_dir(c->store->logs_fd, shard, &dir);
	if (r < 0 || fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!c->gc->dry && unlinkat(dir, leaf, 0) < 0)
		return 0;
	return tell_garbage(c, "log", leaf, (uint64_t)st.st_size);
}

static int see_stale(struct memo_collecting *c, const struct memo_id *identity)
{
	struct memo_store *s = c->store;
	char hex[MEMO_HEX_SIZE];
	char log[LOG_NAME];
	bool logs = false;
	bool receipt = false;
	(void)memo_id_hex(identity, hex);
	struct memo_mutex *mu = memo_identity_lock(s, identity);
	memo_mutex_lock(mu);
	int r = is_stale(s, identity, &logs, &receipt, c->err);
	bool stale = r == 1;
	r = 0;
	if (stale && receipt && !c->gc->dry)
		r = memo_receipt_remove(s, identity);
	if (r == 0 && stale && receipt)
		r = tell_garbage(c, "receipt", hex, 0);
	static const char *const which[] = { "stderr", "stdout" };
	for (size_t i = 0; i < 2 && r == 0 && stale && logs; i++) {
		(void)snprintf(log, sizeof log, "%s.%s", hex, which[i]);
		r = remove_log(c, hex, log);
	}
	memo_mutex_unlock(mu);
	return r < 0 ? r : 0;
}

int memo_collect_garbage(struct memo_collecting *c)
{
	int r = 0;
	for (unsigned i = 0; i < 256 && r == 0; i++) {
		char shard[4];
		(void)snprintf(shard, sizeof shard, "%02x", i & 0xff);
		r = see_shard(c, shard);
	}
	for (size_t i = 0; i < c->have.stales && r == 0 && !memo_collect_stopped(c); i++)
		r = see_stale(c, &c->have.stale[i]);
	if (r < 0 && c->err->code != r)
		return memo_fail(c->err, r, "store '%s': its garbage cannot be looked at: %s", c->store->dir,
				 memo_strerror(r));
	return r;
}
