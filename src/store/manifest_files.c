/* See the header. */
#include "manifest_files.h"

#include "base/hash.h"
#include "base/io.h"
#include "base/scope.h"
#include "base/sync.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DB "db"
#define DB_NEW "db.new" /* being filled */
#define DB_READY "db.ready" /* whole; about to be DB */
#define QUARANTINE "quarantine"
#define MARK "damaged"
#define CHECKPOINT "checkpoint"
#define HEAD "memofs-checkpoint 1"
#define NAME_BYTES 64
#define TEXT_BYTES 512
#define MANIFEST_PREFIX "MANIFEST-"

struct seal {
	char name[NAME_BYTES]; /* of the MANIFEST file */
	uint64_t size;
	struct memo_id hash;
};

static int open_dir(const char *dir, int *fd)
{
	return memo_io_open_dir(AT_FDCWD, dir, fd);
}

static bool ends(const char *name, const char *tail)
{
	size_t len = strlen(name);
	size_t n = strlen(tail);
	return len >= n && strcmp(name + len - n, tail) == 0;
}

/* ---- the seal ------------------------------------------------------------------------------------------- */

static bool manifest_name(const char *name)
{
	const char *digits = name + sizeof MANIFEST_PREFIX - 1;
	return strncmp(name, MANIFEST_PREFIX, sizeof MANIFEST_PREFIX - 1) == 0 && *digits != '\0' &&
	       strspn(digits, "0123456789") == strlen(digits) && strlen(name) < NAME_BYTES;
}

/* What CURRENT names, when it names a file that is there. -ENOENT: it does not. */
static int read_current(int db, char name[NAME_BYTES])
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_io_read_file(db, "CURRENT", NAME_BYTES, &b);
	if (r < 0)
		return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : -ENOENT;
	if (b.len < 2 || b.len >= NAME_BYTES || b.data[b.len - 1] != '\n' || strlen(b.data) != b.len)
		return -ENOENT;
	b.data[b.len - 1] = '\0';
	if (!manifest_name(b.data) || faccessat(db, b.data, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return -ENOENT;
	memcpy(name, b.data, b.len);
	return 0;
}

/* SHA-256 of the first @size bytes. -ENODATA: there are fewer. */
static int hash_prefix(int db, const char *name, uint64_t size, struct memo_id *out)
{
	MEMO_AUTO_FD int fd = openat(db, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return memo_errno();
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	if ((uint64_t)st.st_size < size)
		return -ENODATA;
	MEMO_AUTO_FREE char *text = malloc((size_t)size + 1);
	if (text == NULL)
		return -ENOMEM;
	size_t got;
	int r = memo_io_read_full(fd, text, (size_t)size, &got);
	if (r < 0)
		return r;
	return got < size ? -ENODATA : memo_hash_bytes(text, got, out);
}

int memo_db_seal(const char *dir)
{
	MEMO_AUTO_FD int fd = -1;
	MEMO_AUTO_FD int db = -1;
	struct seal s;
	struct stat st;
	int r = open_dir(dir, &fd);
	if (r == 0)
		r = memo_io_open_dir(fd, DB, &db);
	if (r == 0)
		r = read_current(db, s.name);
	if (r == 0 && fstatat(db, s.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = memo_errno();
	if (r == 0)
		r = hash_prefix(db, s.name, (uint64_t)st.st_size, &s.hash);
	if (r < 0)
		return r;
	char hex[MEMO_HEX_SIZE];
	char text[TEXT_BYTES];
	int n = snprintf(text, sizeof text, HEAD " %s %" PRIu64 " %s\n", s.name, (uint64_t)st.st_size,
			 memo_id_hex(&s.hash, hex));
	struct memo_id sum;
	r = memo_hash_bytes(text, (size_t)n, &sum);
	if (r < 0)
		return r;
	n += snprintf(text + n, sizeof text - (size_t)n, "%s\n", memo_id_hex(&sum, hex));
	return memo_io_replace(fd, CHECKPOINT, text, (size_t)n, 0600, true);
}

/* -ENOENT: there is none that can be believed. */
static int read_seal(int dirfd, struct seal *out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_io_read_file(dirfd, CHECKPOINT, TEXT_BYTES, &b);
	if (r < 0)
		return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : -ENOENT;
	char *line = memchr(memo_buf_str(&b), '\n', b.len);
	struct memo_id want;
	struct memo_id sum;
	if (line == NULL || b.len - (size_t)(line + 1 - b.data) != MEMO_HEX_LEN + 1)
		return -ENOENT;
	b.data[b.len - 1] = '\0';
	r = memo_hash_bytes(b.data, (size_t)(line + 1 - b.data), &sum);
	if (r < 0)
		return r;
	char hex[MEMO_HEX_SIZE];
	if (memo_id_parse(line + 1, &want) < 0 || !memo_id_equal(&want, &sum) ||
	    sscanf(b.data, HEAD " %63s %" SCNu64 " %64s", out->name, &out->size, hex) != 3 ||
	    !manifest_name(out->name) || memo_id_parse(hex, &out->hash) < 0)
		return -ENOENT;
	return 0;
}

/* ---- looking -------------------------------------------------------------------------------------------- */

/* Any file of a database? *@newest: the MANIFEST with the greatest number, "": none. */
static int survey(int db, bool *any, char newest[NAME_BYTES])
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(db, ".", &d);
	if (r < 0)
		return r;
	*any = false;
	newest[0] = '\0';
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		bool manifest = manifest_name(e->d_name);
		*any = *any || manifest || ends(e->d_name, ".sst") || ends(e->d_name, ".log");
		size_t len = strlen(e->d_name);
		if (manifest && (len > strlen(newest) || (len == strlen(newest) && strcmp(e->d_name, newest) > 0)))
			memcpy(newest, e->d_name, len + 1);
	}
	return 0;
}

/* CURRENT names nothing: the one of the checkpoint when it is whole, else the newest. */
static int mend_current(int db, const struct seal *seal, bool sealed, const char *newest, struct memo_buf *say,
			enum memo_db_state *out)
{
	struct memo_id is;
	const char *name = newest;
	*out = MEMO_DB_DAMAGED;
	if (sealed && hash_prefix(db, seal->name, seal->size, &is) == 0 && memo_id_equal(&is, &seal->hash)) {
		name = seal->name;
		*out = strcmp(name, newest) == 0 ? MEMO_DB_SOUND : MEMO_DB_UNSURE;
	}
	if (name[0] == '\0')
		return 0;
	char text[NAME_BYTES + 1];
	int n = snprintf(text, sizeof text, "%s\n", name);
	(void)memo_buf_puts(say, "the manifest's file CURRENT was damaged and is written anew\n");
	return memo_io_replace(db, "CURRENT", text, (size_t)n, 0600, true);
}

static int compare(int db, const char *name, const struct seal *seal, bool sealed, struct memo_buf *say,
		   enum memo_db_state *out)
{
	*out = MEMO_DB_UNSURE;
	if (!sealed || strcmp(name, seal->name) != 0)
		return 0;
	struct memo_id is;
	int r = hash_prefix(db, name, seal->size, &is);
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	*out = r == 0 && memo_id_equal(&is, &seal->hash) ? MEMO_DB_SOUND : MEMO_DB_DAMAGED;
	if (*out == MEMO_DB_DAMAGED)
		(void)memo_buf_printf(say, "the manifest was damaged: its file %s is not what was written\n", name);
	return 0;
}

static int finish_swap(int fd)
{
	int r = memo_io_remove_tree(fd, DB_NEW);
	if (r < 0)
		return r;
	if (faccessat(fd, DB, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return memo_io_remove_tree(fd, DB_READY);
	if (renameat(fd, DB_READY, fd, DB) < 0 && errno != ENOENT)
		return memo_errno();
	return 0;
}

int memo_db_look(const char *dir, struct memo_buf *say, enum memo_db_state *out)
{
	MEMO_AUTO_FD int fd = -1;
	MEMO_AUTO_FD int db = -1;
	char newest[NAME_BYTES];
	char name[NAME_BYTES];
	struct seal seal = { 0 };
	bool any = false;
	int r = open_dir(dir, &fd);
	if (r == 0)
		r = finish_swap(fd);
	if (r == 0)
		r = memo_io_mkdir(fd, DB, 0700);
	if (r == 0)
		r = memo_io_open_dir(fd, DB, &db);
	if (r == 0)
		r = survey(db, &any, newest);
	int sealed = r == 0 ? read_seal(fd, &seal) : r;
	if (sealed < 0 && sealed != -ENOENT)
		return sealed;
	if (!any) {
		*out = MEMO_DB_NONE;
		return 0;
	}
	r = read_current(db, name);
	if (r == -ENOENT)
		return mend_current(db, &seal, sealed == 0, newest, say, out);
	return r < 0 ? r : compare(db, name, &seal, sealed == 0, say, out);
}

/* ---- quarantine ----------------------------------------------------------------------------------------- */

static int put_file(int from, int to, const char *name)
{
	if (ends(name, ".sst") && linkat(from, name, to, name, 0) == 0)
		return 0;
	MEMO_AUTO_FD int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return memo_errno();
	MEMO_AUTO_FD int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return memo_errno();
	int r = memo_io_copy(in, out);
	/* What cannot be read is left out; the rest is worth having. */
	return r == -EIO ? 0 : r;
}

static int put_files(int from, int to)
{
	MEMO_AUTO_DIR DIR *d = NULL;
	int r = memo_io_list(from, ".", &d);
	if (r < 0)
		return r;
	for (struct dirent *e = readdir(d); e != NULL && r == 0; e = readdir(d)) {
		struct stat st;
		if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			r = put_file(from, to, e->d_name);
	}
	return r;
}

/* The number of a kept database, -1: another name. */
static long number_of(const char *name)
{
	if (strncmp(name, "db.", 3) != 0)
		return -1;
	char *end;
	long n = strtol(name + 3, &end, 10);
	return n >= 0 && *end == '\0' && end > name + 3 ? n : -1;
}

/* Numbers of the kept ones: how many, the least, the greatest. */
static size_t kept(int quarantine, long *least, long *most)
{
	int copy;
	*least = *most = -1;
	if (memo_io_open_dir(quarantine, ".", &copy) < 0)
		return 0;
	MEMO_AUTO_DIR DIR *d = fdopendir(copy);
	if (d == NULL) {
		(void)close(copy);
		return 0;
	}
	size_t count = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		long n = number_of(e->d_name);
		if (n < 0)
			continue;
		count++;
		*least = *least < 0 || n < *least ? n : *least;
		*most = n > *most ? n : *most;
	}
	return count;
}

/* A name that is free, after room was made for it. */
static void next_name(int quarantine, char name[NAME_BYTES])
{
	long least;
	long most;
	while (kept(quarantine, &least, &most) >= MEMO_DB_KEPT) {
		(void)snprintf(name, NAME_BYTES, "db.%ld", least);
		if (memo_io_remove_tree(quarantine, name) < 0)
			break;
	}
	(void)snprintf(name, NAME_BYTES, "db.%ld", most + 1);
}

int memo_db_keep(const char *dir, char **where_out)
{
	MEMO_AUTO_FD int fd = -1;
	MEMO_AUTO_FD int db = -1;
	MEMO_AUTO_FD int q = -1;
	MEMO_AUTO_FD int to = -1;
	char name[NAME_BYTES];
	int r = open_dir(dir, &fd);
	if (r == 0)
		r = memo_io_mkdir(fd, QUARANTINE, 0700);
	if (r == 0)
		r = memo_io_open_dir(fd, QUARANTINE, &q);
	if (r == 0)
		r = memo_io_open_dir(fd, DB, &db);
	if (r < 0)
		return r;
	next_name(q, name);
	r = memo_io_mkdir(q, name, 0700);
	if (r == 0)
		r = memo_io_open_dir(q, name, &to);
	if (r == 0)
		r = put_files(db, to);
	if (r == 0 && asprintf(where_out, "%s/" QUARANTINE "/%s", dir, name) < 0)
		r = -ENOMEM;
	if (r < 0) {
		int ignored = memo_io_remove_tree(q, name);
		(void)ignored;
	}
	return r;
}

/* ---- replacing ------------------------------------------------------------------------------------------ */

int memo_db_new(const char *dir)
{
	MEMO_AUTO_FD int fd = -1;
	int r = open_dir(dir, &fd);
	if (r == 0)
		r = memo_io_remove_tree(fd, DB_NEW);
	if (r == 0)
		r = memo_io_remove_tree(fd, DB_READY);
	return r < 0 ? r : memo_io_mkdir(fd, DB_NEW, 0700);
}

int memo_db_swap(const char *dir, bool have_copy)
{
	MEMO_AUTO_FD int fd = -1;
	MEMO_AUTO_FD int q = -1;
	char name[NAME_BYTES];
	int r = open_dir(dir, &fd);
	if (r == 0)
		r = memo_io_mkdir(fd, QUARANTINE, 0700);
	if (r == 0)
		r = memo_io_open_dir(fd, QUARANTINE, &q);
	if (r == 0 && renameat(fd, DB_NEW, fd, DB_READY) < 0)
		r = memo_errno();
	if (r == 0)
		r = memo_io_sync_dir(fd, ".");
	if (r == 0 && have_copy) {
		r = memo_io_remove_tree(fd, DB);
	} else if (r == 0) {
		next_name(q, name);
		if (renameat(fd, DB, q, name) < 0 && errno != ENOENT)
			r = memo_errno();
	}
	if (r == 0 && renameat(fd, DB_READY, fd, DB) < 0)
		r = memo_errno();
	return r < 0 ? r : memo_io_sync_dir(fd, ".");
}

void memo_db_mark(const char *dir, bool damaged)
{
	MEMO_AUTO_FREE char *path = memo_io_join(dir, MARK);
	if (path == NULL)
		return;
	if (!damaged) {
		(void)unlink(path);
		return;
	}
	MEMO_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && fsync(fd) < 0)
		return; /* it is there until the next power cut */
	int ignored = memo_io_sync_dir(AT_FDCWD, dir);
	(void)ignored;
}

bool memo_db_marked(const char *dir)
{
	MEMO_AUTO_FREE char *path = memo_io_join(dir, MARK);
	return path != NULL && access(path, F_OK) == 0;
}
