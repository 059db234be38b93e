/* The life of a store: making one, opening it under its lock, closing it; and the node ids.
 *
 * DIR/running is there, durably, while a store is open: found at open it means that the last owner did not close it. */
#include "object.h"
#include "place.h"
#include "receipt.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define FORMAT_FILE "format"
#define RUNNING_FILE "running"
#define STOPPED_FILE "stopped" /* its name after a clean stop */
#define LOCK_FILE "lock"
#define LOCK_BYTES 1024
#define LOCK_POLL_MS 20
#define INO_BLOCK UINT64_C(65536)
#define INO_KEY "ino"

struct part {
	const char *name;
	mode_t mode;
};
/* objects alone is for those whom the store's mode lets in; the rest is its owner's. */
static const struct part parts[] = {
	{ "objects", 0755 }, { "receipts", 0700 }, { "receipts/tasks", 0700 },
	{ "logs", 0700 },    { "staging", 0700 },  { "quarantine", 0700 },
	{ "db", 0700 },
};
#define PARTS (sizeof parts / sizeof parts[0])

/* ---- making one --------------------------------------------------------------------------------------- */

/* An interrupted init leaves only what init makes. */
static bool ours(const char *name)
{
	static const char *const also[] = { ".", "..", "config.json", LOCK_FILE };
	for (size_t i = 0; i < PARTS; i++) {
		if (strcmp(parts[i].name, name) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof also / sizeof also[0]; i++) {
		if (strcmp(also[i], name) == 0)
			return true;
	}
	size_t len = strlen(name);
	return len > 4 && strcmp(name + len - 4, ".tmp") == 0 &&
	       strncmp(name, FORMAT_FILE, sizeof FORMAT_FILE - 1) == 0;
}

static int check_empty(int fd, const char *dir, struct memo_err *err)
{
	if (faccessat(fd, FORMAT_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return memo_fail(err, -EEXIST, "store '%s': is there already", dir);
	int copy;
	int r = memo_io_open_dir(fd, ".", &copy);
	if (r < 0)
		return memo_fail(err, r, "store '%s': cannot be read: %s", dir, memo_strerror(r));
	MEMO_AUTO_DIR DIR *d = fdopendir(copy);
	if (d == NULL) {
		r = memo_errno();
		(void)close(copy);
		return memo_fail(err, r, "store '%s': cannot be read: %s", dir, memo_strerror(r));
	}
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (!ours(e->d_name))
			return memo_fail(err, -ENOTEMPTY,
					 "'%s': holds other files ('%s'); a store needs a directory of its own",
					 dir, e->d_name);
	}
	return 0;
}

/* mkdir -p. */
static int make_dirs(const char *dir)
{
	MEMO_AUTO_FREE char *path = strdup(dir);
	if (path == NULL)
		return -ENOMEM;
	for (char *p = path + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return memo_errno();
		*p = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? memo_errno() : 0;
}

static int make_shards(int fd, const char *part, mode_t mode)
{
	for (unsigned i = 0; i < 256; i++) {
		char name[32];
		(void)snprintf(name, sizeof name, "%s/%02x", part, i);
		int r = memo_io_mkdir(fd, name, mode);
		if (r == 0 && fchmodat(fd, name, mode, 0) < 0)
			r = memo_errno();
		if (r < 0)
			return r;
	}
	return memo_io_sync_dir(fd, part);
}

static int make_parts(int fd)
{
	for (size_t i = 0; i < PARTS; i++) {
		int r = memo_io_mkdir(fd, parts[i].name, parts[i].mode);
		if (r == 0 && fchmodat(fd, parts[i].name, parts[i].mode, 0) < 0)
			r = memo_errno();
		if (r < 0)
			return r;
	}
	/* All shards at once, so that a first result does not pay for making and syncing two of them. */
	int r = make_shards(fd, "objects", 0755);
	if (r == 0)
		r = make_shards(fd, "receipts", 0700);
	if (r == 0 && fchmod(fd, 0755) < 0)
		r = memo_errno();
	return r;
}

int memo_store_init(const char *dir, struct memo_err *err)
{
	if (dir[0] == '\0')
		return memo_fail(err, -EINVAL, "store '': needs a directory's name");
	int r = make_dirs(dir);
	MEMO_AUTO_FD int fd = r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = r < 0 ? r : memo_errno();
		return memo_fail(err, r, "store '%s': cannot be made: %s", dir, memo_strerror(r));
	}
	r = check_empty(fd, dir, err);
	if (r < 0)
		return r;
	char text[16];
	(void)snprintf(text, sizeof text, "%d\n", MEMO_STORE_FORMAT);
	r = make_parts(fd);
	if (r == 0)
		r = memo_io_replace(fd, "config.json", "{}\n", 3, 0644, true);
	/* Last: this file is what makes the directory a store. */
	if (r == 0)
		r = memo_io_replace(fd, FORMAT_FILE, text, strlen(text), 0644, true);
	return r < 0 ? memo_fail(err, r, "store '%s': cannot be made: %s", dir, memo_strerror(r)) : 0;
}

int memo_store_probe(const char *dir, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int r = memo_errno();
		return memo_fail(err, r, "store '%s': %s", dir,
				 r == -ENOENT ? "does not exist; make it with 'memofs init'" : memo_strerror(r));
	}
	if (faccessat(fd, FORMAT_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		int r = memo_errno();
		return memo_fail(err, r, "'%s': %s", dir,
				 r == -ENOENT ? "is not a store; make one with 'memofs init'" : memo_strerror(r));
	}
	return 0;
}

/* ---- opening ------------------------------------------------------------------------------------------ */

static int check_format(struct memo_store *s, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_io_read_file(s->dir_fd, FORMAT_FILE, 64, &b);
	if (r == -ENOENT)
		return memo_fail(err, r, "'%s': is not a store; make one with 'memofs init'", s->dir);
	if (r < 0)
		return memo_fail(err, r, "store '%s': its format cannot be read: %s", s->dir, memo_strerror(r));
	char *text = b.data;
	if (b.len > 0 && text[b.len - 1] == '\n')
		text[b.len - 1] = '\0';
	char want[16];
	(void)snprintf(want, sizeof want, "%d", MEMO_STORE_FORMAT);
	if (strcmp(memo_buf_str(&b), want) == 0)
		return 0;
	for (char *p = text; p != NULL && *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	}
	return memo_fail(err, -EPROTONOSUPPORT, "store '%s' has format %s, this program reads format %s", s->dir,
			 memo_buf_str(&b), want);
}

static int read_boot(struct memo_store *s)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? memo_errno() : memo_io_read_fd(fd, 256, &b);
	if (fd >= 0)
		(void)close(fd);
	size_t n = 0;
	while (r == 0 && n < b.len && n < sizeof s->boot - 1 && b.data[n] > ' ') {
		s->boot[n] = b.data[n];
		n++;
	}
	if (n == 0)
		(void)snprintf(s->boot, sizeof s->boot, "boot");
	return 0;
}

/* "<pid> <host> <purpose>" and the boot id, of whoever holds the lock. Words for a message, nothing else depends on them. */
static int fail_busy(struct memo_store *s, struct memo_err *err)
{
	char text[LOCK_BYTES + 1] = "";
	ssize_t n = pread(s->lock_fd, text, LOCK_BYTES, 0);
	text[n < 0 ? 0 : n] = '\0';
	char *boot = strchr(text, '\n');
	if (boot != NULL)
		*boot++ = '\0';
	bool earlier = boot != NULL && strncmp(boot, s->boot, strlen(s->boot)) != 0;
	for (char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	}
	long pid = strtol(text, NULL, 10);
	char *host = strchr(text, ' ');
	char *purpose = host == NULL ? NULL : strchr(host + 1, ' ');
	if (purpose == NULL)
		return memo_fail(err, -EBUSY, "store '%s' is in use by another process", s->dir);
	*purpose = '\0';
	for (size_t len = strlen(purpose + 1); len > 0 && purpose[len] == ' '; len--)
		purpose[len] = '\0';
	/* Another boot, and yet a lock: the file system is shared with another machine. */
	return memo_fail(err, -EBUSY, "store '%s' is in use by process %ld on host %s (%s)%s", s->dir, pid,
			 host + 1, purpose + 1, earlier ? ", of another boot or machine" : "");
}

static int take_lock(struct memo_store *s, const char *purpose, int wait_ms, struct memo_err *err)
{
	s->lock_fd = openat(s->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0) {
		int r = memo_errno();
		return memo_fail(err, r, "store '%s': its lock cannot be opened: %s", s->dir, memo_strerror(r));
	}
	int64_t deadline = memo_now_ns() + (int64_t)wait_ms * MEMO_NS_PER_MS;
	while (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int r = memo_errno();
		if (r == -EINTR)
			continue;
		if (r != -EWOULDBLOCK)
			return memo_fail(err, r, "store '%s': cannot be locked: %s", s->dir, memo_strerror(r));
		if (memo_now_ns() >= deadline)
			return fail_busy(s, err);
		struct timespec nap = { .tv_nsec = LOCK_POLL_MS * MEMO_NS_PER_MS };
		(void)nanosleep(&nap, NULL);
	}
	char host[256] = "unknown";
	if (gethostname(host, sizeof host - 1) < 0 || host[0] == '\0')
		(void)snprintf(host, sizeof host, "unknown");
	char text[LOCK_BYTES];
	int n = snprintf(text, sizeof text, "%ld %s %s\n%s\n", (long)getpid(), host, purpose, s->boot);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	/* A full disk must not keep a store from being opened for what it says to others. */
	if (ftruncate(s->lock_fd, 0) == 0 && pwrite(s->lock_fd, text, len, 0) < 0)
		(void)lseek(s->lock_fd, 0, SEEK_SET);
	return 0;
}

static int open_parts(struct memo_store *s, struct memo_err *err)
{
	struct {
		const char *name;
		int *fd;
	} part[] = {
		{ "objects", &s->objects_fd },
		{ "receipts", &s->receipts_fd },
		{ "receipts/tasks", &s->task_receipts_fd },
		{ "logs", &s->logs_fd },
		{ "staging", &s->staging_fd },
		{ "quarantine", &s->quarantine_fd },
	};
	dev_t dev = 0;
	for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
		/* One that an administrator has removed (staging, logs) is made again. */
		int r = memo_io_mkdir(s->dir_fd, part[i].name, i == 0 ? 0755 : 0700);
		if (r == 0)
			r = memo_io_open_dir(s->dir_fd, part[i].name, part[i].fd);
		struct stat st;
		if (r == 0 && fstat(*part[i].fd, &st) < 0)
			r = memo_errno();
		if (r < 0)
			return memo_fail(err, r, "store '%s': '%s' cannot be opened: %s", s->dir, part[i].name,
					 memo_strerror(r));
		if (i == 0)
			dev = st.st_dev;
		if (st.st_dev != dev)
			return memo_fail(
				err, -EXDEV,
				"store '%s': '%s' lies on another file system than 'objects'; they must share one",
				s->dir, part[i].name);
	}
	int r = memo_receipts_open(s);
	return r < 0 ? memo_fail(err, r, "store '%s': 'receipts' cannot be opened: %s", s->dir, memo_strerror(r))
		     : 0;
}

/* *@unclean: the mark of the last owner is still there. Ours is durable before anything is changed. A clean stop renames it
 * and so does the next start, because a file system without room or inodes can still do that. */
static int mark_running(struct memo_store *s, bool *unclean, struct memo_err *err)
{
	*unclean = faccessat(s->dir_fd, RUNNING_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (*unclean)
		return 0;
	int r = renameat(s->dir_fd, STOPPED_FILE, s->dir_fd, RUNNING_FILE) < 0 ? memo_errno() : 0;
	if (r == -ENOENT) {
		int fd = openat(s->dir_fd, RUNNING_FILE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		r = fd < 0 ? memo_errno() : 0;
		if (fd >= 0)
			(void)close(fd);
	}
	if (r == 0)
		r = memo_io_sync_dir(s->dir_fd, ".");
	return r < 0 ? memo_fail(err, r, "store '%s': cannot be written: %s", s->dir, memo_strerror(r)) : 0;
}

static int load_ino(struct memo_store *s, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_manifest_get(s->manifest, MEMO_META, INO_KEY, sizeof INO_KEY - 1, &b, err);
	if (r < 0 && r != -ENOENT)
		return r;
	s->ino_next = MEMO_INO_FIRST;
	s->ino_limit = MEMO_INO_FIRST;
	if (r == 0)
		memo_store_ino_above(s, strtoull(memo_buf_str(&b), NULL, 10));
	return 0;
}

static struct memo_store *new_store(void)
{
	struct memo_store *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->dir_fd = s->lock_fd = s->objects_fd = s->receipts_fd = s->task_receipts_fd = -1;
	s->logs_fd = s->staging_fd = s->quarantine_fd = -1;
	s->recent.fd[0] = s->recent.fd[1] = -1;
	if (pthread_rwlock_init(&s->recent.hold, NULL) != 0) {
		free(s);
		return NULL;
	}
	memo_mutex_init(&s->recent.mu);
	memo_mutex_init(&s->late_mu);
	memo_mutex_init(&s->ino_mu);
	memo_mutex_init(&s->registry.change);
	memo_mutex_init(&s->registry.mu);
	memo_mutex_init(&s->config.mu);
	memo_mutex_init(&s->results.mu);
	memo_mutex_init(&s->checked.mu);
	memo_mutex_init(&s->trees.mu);
	memo_mutex_init(&s->digests.mu);
	memo_mutex_init(&s->collector.run);
	memo_mutex_init(&s->collector.mu);
	memo_holds_init(s);
	memo_breaker_init(&s->breaker);
	for (size_t i = 0; i < MEMO_STORE_STRIPES; i++) {
		memo_mutex_init(&s->object_mu[i]);
		memo_mutex_init(&s->identity_mu[i]);
		memo_mutex_init(&s->name_mu[i]);
	}
	return s;
}

static void free_store(struct memo_store *s)
{
	int fds[] = { s->objects_fd, s->receipts_fd,   s->task_receipts_fd, s->logs_fd,
		      s->staging_fd, s->quarantine_fd, s->lock_fd,	    s->dir_fd };
	memo_registry_clear(s);
	memo_config_clear(s);
	memo_results_clear(s);
	memo_object_clear(s);
	memo_digests_clear(s);
	memo_receipts_close(s);
	(void)pthread_rwlock_destroy(&s->recent.hold);
	memo_mutex_clear(&s->recent.mu);
	memo_mutex_clear(&s->late_mu);
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		memo_scope_fd(&fds[i]);
	for (size_t i = 0; i < MEMO_STORE_STRIPES; i++) {
		memo_mutex_clear(&s->object_mu[i]);
		memo_mutex_clear(&s->identity_mu[i]);
		memo_mutex_clear(&s->name_mu[i]);
	}
	memo_holds_clear(s);
	memo_mutex_clear(&s->collector.mu);
	memo_mutex_clear(&s->collector.run);
	memo_breaker_clear(&s->breaker);
	memo_mutex_clear(&s->digests.mu);
	memo_mutex_clear(&s->trees.mu);
	memo_mutex_clear(&s->checked.mu);
	memo_mutex_clear(&s->results.mu);
	memo_mutex_clear(&s->config.mu);
	memo_mutex_clear(&s->registry.mu);
	memo_mutex_clear(&s->registry.change);
	memo_mutex_clear(&s->ino_mu);
	free(s->mountpoint);
	free(s->dir);
	free(s);
}

/* Damage that is met on the way empties the manifest of what could not be read: then all is compared. */
static int recover(struct memo_store *s, enum memo_manifest_found found, bool unclean, struct memo_buf *notice,
		   struct memo_err *err)
{
	memo_manifest_on_damage(s->manifest, memo_recover_live, s);
	for (;;) {
		uint64_t heals = memo_manifest_heals(s->manifest);
		int r = load_ino(s, err);
		if (r == 0)
			r = memo_recover(s, found, unclean, notice, err);
		if (memo_manifest_heals(s->manifest) == heals)
			return r;
		found = MEMO_MANIFEST_SALVAGED;
	}
}

static int open_store(struct memo_store *s, const char *dir, const char *purpose, int wait_ms,
		      struct memo_buf *notice, struct memo_err *err)
{
	s->dir = realpath(dir, NULL);
	if (s->dir == NULL) {
		int e = memo_errno();
		return memo_fail(err, e, "store '%s': cannot be opened: %s", dir, memo_strerror(e));
	}
	bool unclean = false;
	enum memo_manifest_found found = MEMO_MANIFEST_WHOLE;
	int r = memo_store_open_place(s->dir, &s->dir_fd, err);
	if (r == 0)
		r = check_format(s, err);
	if (r == 0)
		r = memo_place_check(s->dir, err);
	if (r == 0)
		r = read_boot(s);
	if (r == 0)
		r = take_lock(s, purpose, wait_ms, err);
	if (r == 0)
		r = open_parts(s, err);
	if (r == 0)
		r = mark_running(s, &unclean, err);
	if (r == 0)
		r = memo_manifest_open(s->dir, notice, &found, &s->manifest, err);
	if (r == 0)
		r = recover(s, found, unclean, notice, err);
	if (r == 0)
		r = memo_config_load(s, notice, err);
	if (r == 0)
		r = memo_registry_load(s, notice, err);
	if (r == 0)
		r = memo_attempts_sweep(s, notice);
	return r;
}

/* Lines that came while it was opened, for those who asked for one text. */
static void collect_lines(void *arg, bool progress, const char *line)
{
	struct memo_buf *notice = arg;
	if (!progress && notice != NULL)
		(void)memo_buf_printf(notice, "%s\n", line);
}

int memo_store_open(const char *dir, const char *purpose, int wait_ms, struct memo_buf *notice,
		    struct memo_store **out, struct memo_err *err)
{
	return memo_store_open_told(dir, purpose, wait_ms, collect_lines, notice, out, err);
}

int memo_store_open_told(const char *dir, const char *purpose, int wait_ms, memo_store_say_fn *say, void *arg,
			 struct memo_store **out, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	struct memo_store *s = new_store();
	if (s == NULL)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", dir);
	s->say = say;
	s->say_arg = arg;
	s->opening = true;
	int r = open_store(s, dir, purpose, wait_ms, &notice, err);
	s->opening = false;
	memo_store_say(s, false, memo_buf_str(&notice));
	if (r < 0) {
		/* The mark stays: whoever opens next looks at everything. */
		int ignored = memo_manifest_close(s->manifest);
		(void)ignored;
		free_store(s);
		return r;
	}
	/* What was told to memo_store_open()'s caller is over with it. */
	if (say == collect_lines)
		s->say = NULL;
	*out = s;
	return 0;
}

void memo_store_say(struct memo_store *s, bool progress, const char *lines)
{
	MEMO_AUTO_FREE char *copy = s->say == NULL ? NULL : strdup(lines);
	for (char *line = copy; line != NULL && *line != '\0';) {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		s->say(s->say_arg, progress, line);
		line = end != NULL ? end + 1 : NULL;
	}
}

void memo_store_close(struct memo_store *s)
{
	if (s == NULL)
		return;
	if (memo_store_uses_flush(s) < 0) {
		/* nobody to tell: they are counts, and may be lost */
	}
	memo_receipts_checkpoint(s, true);
	/* Without the last checkpoint, or with a receipt that no record may have, the next owner compares. */
	bool clean = memo_receipts_settled(s) && !atomic_load(&s->late);
	if (memo_manifest_close(s->manifest) == 0 && clean)
		(void)renameat(s->dir_fd, RUNNING_FILE, s->dir_fd, STOPPED_FILE);
	free_store(s);
}

const char *memo_store_dir(const struct memo_store *s)
{
	return s->dir;
}

int memo_store_set_mount(struct memo_store *s, const char *mountpoint, uint64_t dev)
{
	char *copy = NULL;
	if (mountpoint != NULL) {
		if (mountpoint[0] != '/')
			return -EINVAL;
		copy = strdup(mountpoint);
		if (copy == NULL)
			return -ENOMEM;
		for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
			copy[len - 1] = '\0';
	}
	free(s->mountpoint);
	s->mountpoint = copy;
	s->mount_dev = dev;
	return 0;
}

/* ---- node ids ----------------------------------------------------------------------------------------- */

static void put_ino(uint64_t limit, struct memo_batch *b)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
	memo_batch_put(b, MEMO_META, INO_KEY, sizeof INO_KEY - 1, text, strlen(text));
}

void memo_store_ino_batch(struct memo_store *s, struct memo_batch *b)
{
	put_ino(s->ino_limit, b);
}

static int reserve_locked(struct memo_store *s, uint64_t limit, struct memo_err *err)
	MEMO_TSA(requires_capability(s->ino_mu));
static int reserve_locked(struct memo_store *s, uint64_t limit, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	put_ino(limit, &b);
	int r = memo_manifest_write(s->manifest, &b, true, err);
	if (r == 0)
		s->ino_limit = limit;
	return r;
}

static int ino_locked(struct memo_store *s, uint64_t count, uint64_t *first)
	MEMO_TSA(requires_capability(s->ino_mu));
static int ino_locked(struct memo_store *s, uint64_t count, uint64_t *first)
{
	if (count > UINT64_MAX / 4 - s->ino_next)
		return -EOVERFLOW;
	int r = 0;
	if (s->ino_next + count > s->ino_limit)
		r = reserve_locked(s, (s->ino_next + count + INO_BLOCK - 1) / INO_BLOCK * INO_BLOCK, NULL);
	if (r < 0)
		return r;
	*first = s->ino_next;
	s->ino_next += count;
	return 0;
}

int memo_store_ino(struct memo_store *s, uint64_t count, uint64_t *first_out)
{
	memo_mutex_lock(&s->ino_mu);
	int r = ino_locked(s, count, first_out);
	memo_mutex_unlock(&s->ino_mu);
	return r;
}

void memo_store_ino_above(struct memo_store *s, uint64_t used)
{
	memo_mutex_lock(&s->ino_mu);
	/* What an old receipt claims is taken only while it leaves room. */
	if (used >= s->ino_next && used < UINT64_MAX / 8) {
		s->ino_next = used + 1;
		s->ino_limit = s->ino_next;
	}
	memo_mutex_unlock(&s->ino_mu);
}

int memo_store_ino_save(struct memo_store *s, struct memo_err *err)
{
	memo_mutex_lock(&s->ino_mu);
	int r = reserve_locked(s, s->ino_next, err);
	memo_mutex_unlock(&s->ino_mu);
	return r;
}
