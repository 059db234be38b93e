/* Receipts: see the header. A name that is not 64 hex digits is the left-over of a temporary file and is removed. */
#include "receipt.h"
#include "receipt_text.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const recent_name[2] = { "recent.0", "recent.1" };

/* The directory receipts/xx. -ENOENT unless @make; a new one is durable before it is used. */
static int shard(struct memo_store *s, const char *hex, bool make, int *fd_out)
{
	const char name[3] = { hex[0], hex[1], '\0' };
	int r = memo_io_open_dir(s->receipts_fd, name, fd_out);
	if (r != -ENOENT || !make)
		return r;
	r = memo_io_mkdir(s->receipts_fd, name, 0700);
	if (r == 0)
		r = memo_io_sync_dir(s->receipts_fd, ".");
	return r < 0 ? r : memo_io_open_dir(s->receipts_fd, name, fd_out);
}

static int remove_durably(int fd, const char *name)
{
	if (unlinkat(fd, name, 0) < 0)
		return errno == ENOENT ? 0 : memo_errno();
	return memo_io_sync_dir(fd, ".");
}

int memo_receipt_write(struct memo_store *s, const struct memo_id *identity, const json_t *record,
		       struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(identity, hex);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_receipt_encode(record, &b);
	if (r == 0)
		r = memo_io_replace(s->recent.fd[s->recent.active], hex, b.data, b.len, 0600, true);
	if (r == 0)
		atomic_fetch_add(&s->recent.count, 1);
	return r < 0 ? memo_fail(err, r, "receipt of %s: cannot be written: %s", hex, memo_strerror(r)) : 0;
}

int memo_receipt_read_file(int fd, const char *name, json_t **out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_io_read_file(fd, name, MEMO_RECEIPT_BYTES, &b);
	return r < 0 ? r : memo_receipt_decode(memo_buf_str(&b), b.len, out);
}

/* The newest first; a move that goes on meanwhile goes in the order of this search. */
int memo_receipt_read(struct memo_store *s, const struct memo_id *identity, json_t **out)
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(identity, hex);
	unsigned active = s->recent.active;
	int r = memo_receipt_read_file(s->recent.fd[active], hex, out);
	if (r == -ENOENT)
		r = memo_receipt_read_file(s->recent.fd[!active], hex, out);
	if (r != -ENOENT)
		return r;
	MEMO_AUTO_FD int fd = -1;
	r = shard(s, hex, false, &fd);
	return r < 0 ? r : memo_receipt_read_file(fd, hex, out);
}

int memo_receipt_path(struct memo_store *s, const struct memo_id *identity, char out[MEMO_RECEIPT_PATH])
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(identity, hex);
	unsigned active = s->recent.active;
	const char shard_name[3] = { hex[0], hex[1], '\0' };
	const char *const dir[] = { recent_name[active], recent_name[!active], shard_name };
	for (size_t i = 0; i < sizeof dir / sizeof *dir; i++) {
		(void)snprintf(out, MEMO_RECEIPT_PATH, "%.15s/%s", dir[i], hex);
		if (faccessat(s->receipts_fd, out, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
	}
	return -ENOENT;
}

int memo_receipt_remove(struct memo_store *s, const struct memo_id *identity)
{
	char hex[MEMO_HEX_SIZE];
	(void)memo_id_hex(identity, hex);
	unsigned active = s->recent.active;
	MEMO_AUTO_FD int fd = -1;
	int r = remove_durably(s->recent.fd[active], hex);
	if (r == 0)
		r = remove_durably(s->recent.fd[!active], hex);
	if (r == 0)
		r = shard(s, hex, false, &fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return remove_durably(fd, hex);
}

int memo_receipt_task_id(const char *name, const char *version, struct memo_id *out)
{
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	int r = memo_key(&k, name, version, NULL);
	return r < 0 ? r : memo_hash_bytes(k.data, k.len, out);
}

static int task_file(const char *name, const char *version, char hex[MEMO_HEX_SIZE])
{
	struct memo_id id;
	int r = memo_receipt_task_id(name, version, &id);
	if (r == 0)
		(void)memo_id_hex(&id, hex);
	return r;
}

int memo_receipt_task_write(struct memo_store *s, const char *name, const char *version, const json_t *record,
			    struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = task_file(name, version, hex);
	if (r == 0)
		r = memo_receipt_encode(record, &b);
	if (r == 0)
		r = memo_io_replace(s->task_receipts_fd, hex, b.data, b.len, 0600, true);
	return r < 0 ? memo_fail(err, r, "task '%s': its record cannot be written: %s", name, memo_strerror(r)) : 0;
}

int memo_receipt_task_remove(struct memo_store *s, const char *name, const char *version)
{
	char hex[MEMO_HEX_SIZE];
	int r = task_file(name, version, hex);
	return r < 0 ? r : remove_durably(s->task_receipts_fd, hex);
}

int memo_receipt_task_read(struct memo_store *s, const char *name, const char *version, json_t **out)
{
	char hex[MEMO_HEX_SIZE];
	int r = task_file(name, version, hex);
	return r < 0 ? r : memo_receipt_read_file(s->task_receipts_fd, hex, out);
}

/* ---- walking -------------------------------------------------------------------------------------- */

struct walk {
	struct memo_store *store;
	memo_receipt_fn *fn;
	void *arg;
	size_t *damaged;
};

static int visit(const struct walk *w, int fd, const char *name)
{
	struct memo_id id;
	if (memo_id_parse(name, &id) < 0) {
		(void)unlinkat(fd, name, 0);
		return 0;
	}
	MEMO_AUTO_JSON json_t *record = NULL;
	int r = memo_receipt_read_file(fd, name, &record);
	if (r == 0)
		return w->fn(w->arg, &id, record);
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	char to[320];
	(void)snprintf(to, sizeof to, "receipt.%s.%lld", name, (long long)memo_wall_ns());
	(void)renameat(fd, name, w->store->quarantine_fd, to);
	++*w->damaged;
	return 0;
}

static int walk_dir(const struct walk *w, int parent, const char *name)
{
	int fd;
	int r = memo_io_open_dir(parent, name, &fd);
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
		struct dirent *e = readdir(d);
		if (e == NULL)
			return errno != 0 ? memo_errno() : 0;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = visit(w, dirfd(d), e->d_name);
	}
	return r;
}

int memo_receipt_each_in(struct memo_store *s, unsigned number, memo_receipt_fn *fn, void *arg, size_t *damaged)
{
	struct walk w = { .store = s, .fn = fn, .arg = arg, .damaged = damaged };
	char name[3];
	(void)snprintf(name, sizeof name, "%02x", number & 0xff);
	int r = walk_dir(&w, s->receipts_fd, name);
	return r == -ENOENT ? 0 : r;
}

int memo_receipt_each_recent(struct memo_store *s, memo_receipt_fn *fn, void *arg, size_t *damaged)
{
	struct walk w = { .store = s, .fn = fn, .arg = arg, .damaged = damaged };
	int r = 0;
	for (unsigned i = 0; i < 2 && r == 0; i++)
		r = walk_dir(&w, s->receipts_fd, recent_name[i]);
	return r;
}

int memo_receipt_each_task(struct memo_store *s, memo_receipt_fn *fn, void *arg, size_t *damaged)
{
	struct walk w = { .store = s, .fn = fn, .arg = arg, .damaged = damaged };
	return walk_dir(&w, s->receipts_fd, "tasks");
}

/* ---- recent ones ------------------------------------------------------------------------------------ */

int memo_receipts_open(struct memo_store *s)
{
	int r = 0;
	for (unsigned i = 0; i < 2 && r == 0; i++) {
		r = memo_io_mkdir(s->receipts_fd, recent_name[i], 0700);
		if (r == 0)
			r = memo_io_open_dir(s->receipts_fd, recent_name[i], &s->recent.fd[i]);
	}
	/* Also the names of shards whose maker was killed before it had synced them. */
	return r < 0 ? r : memo_io_sync_dir(s->receipts_fd, ".");
}

void memo_receipts_close(struct memo_store *s)
{
	for (unsigned i = 0; i < 2; i++)
		memo_scope_fd(&s->recent.fd[i]);
}

void memo_receipts_hold(struct memo_store *s)
{
	(void)pthread_rwlock_rdlock(&s->recent.hold);
}

void memo_receipts_let_go(struct memo_store *s)
{
	(void)pthread_rwlock_unlock(&s->recent.hold);
}

void memo_receipts_unsure(struct memo_store *s, const struct memo_id *identity, bool unsure)
{
	struct memo_recent *c = &s->recent;
	memo_mutex_lock(&c->mu);
	size_t i = 0;
	while (i < c->unsures && !memo_id_equal(&c->unsure[i], identity))
		i++;
	if (unsure && i == c->unsures) {
		if (c->unsures < MEMO_RECENT_UNSURE)
			c->unsure[c->unsures++] = *identity;
		else
			c->stay = true; /* until the next start */
	} else if (!unsure && i < c->unsures) {
		c->unsure[i] = c->unsure[--c->unsures];
	}
	memo_mutex_unlock(&c->mu);
}

static bool may_move(struct memo_store *s)
{
	memo_mutex_lock(&s->recent.mu);
	bool may = s->recent.unsures == 0 && !s->recent.stay;
	memo_mutex_unlock(&s->recent.mu);
	return may;
}

static bool is_empty(struct memo_store *s, unsigned which)
{
	int copy;
	if (memo_io_open_dir(s->recent.fd[which], ".", &copy) < 0)
		return false;
	MEMO_AUTO_DIR DIR *d = fdopendir(copy);
	if (d == NULL) {
		(void)close(copy);
		return false;
	}
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return false;
	}
	return true;
}

/* Moves what one recent directory holds into the shards, which are synced before it. */
static int move_all(struct memo_store *s, unsigned which)
{
	bool touched[256] = { false };
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(s->recent.fd[which], ".", &d);
	if (r < 0)
		return r;
	for (struct dirent *e = readdir(d); e != NULL && r == 0; e = readdir(d)) {
		struct memo_id id;
		if (memo_id_parse(e->d_name, &id) < 0)
			continue; /* a temporary file: visit() removes what is left of one */
		const char name[3] = { e->d_name[0], e->d_name[1], '\0' };
		MEMO_AUTO_FD int to = -1;
		r = shard(s, name, true, &to);
		/* It may have been removed meanwhile. */
		if (r == 0 && renameat(s->recent.fd[which], e->d_name, to, e->d_name) < 0 && errno != ENOENT)
			r = memo_errno();
		touched[id.byte[0]] = true;
	}
	for (unsigned i = 0; i < 256; i++) {
		char name[3];
		(void)snprintf(name, sizeof name, "%02x", i);
		int e = touched[i] ? memo_io_sync_dir(s->receipts_fd, name) : 0;
		r = r < 0 ? r : e;
	}
	return r < 0 ? r : memo_io_sync_dir(s->receipts_fd, recent_name[which]);
}

void memo_receipts_checkpoint(struct memo_store *s, bool now)
{
	struct memo_recent *c = &s->recent;
	if (!now && atomic_load(&c->count) < MEMO_RECEIPTS_RECENT)
		return;
	if (atomic_exchange(&c->busy, true))
		return;
	atomic_store(&c->count, 0);
	(void)pthread_rwlock_wrlock(&c->hold);
	bool move = may_move(s);
	/* The last one may not have come to its end. */
	if (move && is_empty(s, !c->active))
		c->active = !c->active;
	unsigned which = !c->active;
	(void)pthread_rwlock_unlock(&c->hold);
	/* What cannot be flushed or moved now is moved with the next. */
	int r = memo_manifest_checkpoint(s->manifest, NULL);
	if (r == 0 && move)
		r = move_all(s, which);
	atomic_store(&c->busy, false);
	(void)r;
}

/* Of one identity in both, the older goes: which directory was written to last nobody knows any more. */
static int drop_doubles(struct memo_store *s)
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(s->recent.fd[1], ".", &d);
	if (r < 0)
		return r;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		MEMO_AUTO_JSON json_t *first = NULL;
		MEMO_AUTO_JSON json_t *second = NULL;
		if (faccessat(s->recent.fd[0], e->d_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || e->d_name[0] == '.')
			continue;
		bool other = memo_receipt_read_file(s->recent.fd[1], e->d_name, &second) == 0;
		bool one = memo_receipt_read_file(s->recent.fd[0], e->d_name, &first) == 0;
		bool newer = other &&
			     (!one || memo_json_int(second, "sequence", 0) > memo_json_int(first, "sequence", 0));
		if (unlinkat(s->recent.fd[newer ? 0 : 1], e->d_name, 0) < 0 && errno != ENOENT)
			return memo_errno();
	}
	return 0;
}

int memo_receipts_settle(struct memo_store *s)
{
	int r = drop_doubles(s);
	if (r == 0)
		r = move_all(s, 0);
	if (r == 0)
		r = move_all(s, 1);
	return r;
}

bool memo_receipts_settled(struct memo_store *s)
{
	return may_move(s);
}
