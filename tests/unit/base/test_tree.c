#include "base/tree.h"

#include "base/io.h"
#include "base/scope.h"

#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HASH_A "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" /* of "a" */
#define HASH_0 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* of "" */
#define HEAD "memofs-tree 1\n"

static char base[128];

/* A fresh directory; the descriptor. */
static int fresh(void)
{
	static int n;
	char path[160];
	int fd = -1;
	(void)snprintf(path, sizeof path, "%s/%d", base, n++);
	CHECK_INT(mkdir(path, 0755), 0);
	CHECK_INT(memo_io_open_dir(AT_FDCWD, path, &fd), 0);
	return fd;
}

static void put(int dir, const char *name, const char *text, mode_t mode)
{
	MEMO_AUTO_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK_ROW(fd >= 0 && memo_io_write_all(fd, text, strlen(text)) == 0 && fchmod(fd, mode) == 0, name);
}

static ino_t inode(int dir, const char *name)
{
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static mode_t mode_of(int dir, const char *name)
{
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode & 07777 : 0;
}

/* The listing of a scan, or the error's text. */
static int scan_text(int dir, unsigned flags, struct memo_buf *out)
{
	struct memo_tree *t;
	struct memo_err err = { 0 };
	memo_buf_reset(out);
	int r = memo_tree_scan(dir, flags, &t, &err);
	if (r < 0) {
		CHECK_INT(err.code, r);
		(void)memo_buf_puts(out, err.text);
		return r;
	}
	CHECK_INT(memo_tree_text(t, out), 0);
	struct memo_id id;
	CHECK_INT(memo_hash_bytes(out->data, out->len, &id), 0);
	CHECK(memo_id_equal(&id, memo_tree_id(t)));
	memo_tree_unref(t);
	return 0;
}

static void test_parse(void)
{
	static const char text[] = HEAD "f " HASH_A " 1 a\n"
					"f " HASH_0 " 0 a-b\n"
					"d d\n"
					"d d/empty\n"
					"x " HASH_A " 7 d/run%20it\n"
					"l ../a%09b d/z%25\n"
					"f " HASH_A " 9223372036854775799 \xff\n";
	struct memo_tree *t;
	struct memo_err err = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_tree_parse(text, strlen(text), &t, &err), 0);
	CHECK_INT(memo_tree_text(t, &b), 0);
	CHECK_STR(memo_buf_str(&b), text);
	CHECK_INT(memo_tree_count(t), 8);
	CHECK_INT(memo_tree_bytes(t), INT64_MAX);
	uint32_t i, d;
	CHECK_INT(memo_tree_find(t, 0, "d", &d), 0);
	const struct memo_tree_entry *e = memo_tree_entry(t, d);
	CHECK_INT(e->children, 3);
	CHECK_INT(memo_tree_find(t, d, "run it", &i), 0);
	e = memo_tree_entry(t, i);
	CHECK_STR(e->path, "d/run it");
	CHECK_STR(e->name, "run it");
	CHECK(e->type == MEMO_ENTRY_EXEC && e->size == 7 && e->parent == d && e->target == NULL);
	CHECK_INT(memo_tree_walk(t, "d/z%", &i), 0);
	CHECK_STR(memo_tree_entry(t, i)->target, "../a\tb");
	CHECK_INT(memo_tree_entry(t, i)->size, 6);
	CHECK_INT(memo_tree_child(t, d, 2), i);
	CHECK_INT(memo_tree_walk(t, "", &i), 0);
	CHECK_INT(i, 0);
	CHECK_INT(memo_tree_entry(t, 0)->children, 4);
	static const char *const missing[] = { "x", "d/", "/d", "d//z%", "a/b", "d/run", "d/run it ", "d/." };
	for (size_t k = 0; k < sizeof missing / sizeof missing[0]; k++)
		CHECK_ROW(memo_tree_walk(t, missing[k], &i) == -ENOENT, missing[k]);
	memo_tree_unref(memo_tree_ref(t));
	memo_tree_unref(t);
	memo_tree_unref(NULL);
}

static void test_parse_refuses(void)
{
	static const struct {
		const char *text;
		size_t len; /* 0: strlen */
	} row[] = {
		{ "", 0 },
		{ "memofs-tree 2\n", 0 },
		{ "memofs-tree 1", 0 },
		{ HEAD "\n", 0 },
		{ HEAD "d a", 0 },
		{ HEAD "d \n", 0 },
		{ HEAD "d a\nd a\n", 0 },
		{ HEAD "d b\nd a\n", 0 },
		{ HEAD "d .\n", 0 },
		{ HEAD "d ..\n", 0 },
		{ HEAD "d a\nd a/..\n", 0 },
		{ HEAD "d /a\n", 0 },
		{ HEAD "d a/\n", 0 },
		{ HEAD "d a/b\n", 0 },
		{ HEAD "d a\nd b\nd a/c\n", 0 },
		{ HEAD "d a b\n", 0 },
		{ HEAD "d %61\n", 0 },
		{ HEAD "d %2f\n", 0 },
		{ HEAD "d %2\n", 0 },
		{ HEAD "d %\n", 0 },
		{ HEAD "d %00\n", 0 },
		{ HEAD "d a\0b\n", sizeof(HEAD "d a\0b\n") - 1 },
		{ HEAD "f " HASH_A " 01 a\n", 0 },
		{ HEAD "f " HASH_A " -1 a\n", 0 },
		{ HEAD "f " HASH_A " 18446744073709551615 a\n", 0 },
		{ HEAD "f " HASH_A " 9223372036854775808 a\n", 0 },
		{ HEAD "f " HASH_A " 9223372036854775807 a\nf " HASH_A " 1 b\n", 0 },
		{ HEAD "f " HASH_A "  a\n", 0 },
		{ HEAD "f " HASH_A " 1\n", 0 },
		{ HEAD "f " HASH_A " 1 \n", 0 },
		{ HEAD "f CA978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 1 a\n", 0 },
		{ HEAD "f ca97 1 a\n", 0 },
		{ HEAD "f " HASH_A " 1 a\nd a/b\n", 0 },
		{ HEAD "l a\n", 0 },
		{ HEAD "l  a\n", 0 },
		{ HEAD "l x/y b\nl x a\n", 0 },
		{ HEAD "p a\n", 0 },
		{ HEAD "d a\n\n", 0 },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct memo_tree *t = NULL;
		struct memo_err err = { 0 };
		size_t len = row[i].len != 0 ? row[i].len : strlen(row[i].text);
		CHECK_ROW(memo_tree_parse(row[i].text, len, &t, &err) == -EBADMSG, row[i].text);
		CHECK_ROW(t == NULL && err.text[0] != '\0', row[i].text);
		memo_tree_unref(t);
	}
}

static void test_depth(void)
{
	for (unsigned depth = MEMO_TREE_DEPTH; depth <= MEMO_TREE_DEPTH + 1; depth++) {
		MEMO_AUTO_BUF struct memo_buf b = { 0 }, path = { 0 };
		(void)memo_buf_puts(&b, HEAD);
		MEMO_AUTO_FD int top = fresh();
		int fd = dup(top);
		for (unsigned i = 0; i < depth; i++) {
			(void)memo_buf_puts(&path, i == 0 ? "d" : "/d");
			(void)memo_buf_printf(&b, "d %s\n", memo_buf_str(&path));
			int next = -1;
			CHECK(mkdirat(fd, "d", 0755) == 0 && memo_io_open_dir(fd, "d", &next) == 0);
			(void)close(fd);
			fd = next;
		}
		(void)close(fd);
		struct memo_tree *t = NULL;
		bool fits = depth == MEMO_TREE_DEPTH;
		CHECK_INT(memo_tree_parse(b.data, b.len, &t, NULL), fits ? 0 : -EBADMSG);
		memo_tree_unref(t);
		t = NULL;
		CHECK_INT(memo_tree_scan(top, 0, &t, NULL), fits ? 0 : -E2BIG);
		memo_tree_unref(t);
	}
}

static void test_freeze(void)
{
	MEMO_AUTO_FD int dir = fresh();
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	put(dir, "a", "a", 0);
	put(dir, "b.suid", "", 06711);
	put(dir, "outside", "a", 0644);
	CHECK_INT(mkdirat(dir, "sub", 0755), 0);
	CHECK_INT(linkat(dir, "a", dir, "sub/hard", 0), 0);
	CHECK_INT(symlinkat("../a", dir, "sub/link"), 0);
	CHECK_INT(symlinkat("./sub/../a", dir, "link"), 0);
	put(dir, "sub/\xff\n\x7f%", "a", 0600);
	CHECK_INT(fchmodat(dir, "sub", 0500, 0), 0);
	ino_t a = inode(dir, "a"), hard = inode(dir, "sub/hard"), outside = inode(dir, "outside");
	CHECK_INT(scan_text(dir, MEMO_TREE_FREEZE | MEMO_TREE_SYNC, &b), 0);
	CHECK_STR(memo_buf_str(&b), HEAD "f " HASH_A " 1 a\n"
					 "x " HASH_0 " 0 b.suid\n"
					 "l ./sub/../a link\n"
					 "f " HASH_A " 1 outside\n"
					 "d sub\n"
					 "f " HASH_A " 1 sub/hard\n"
					 "l ../a sub/link\n"
					 "f " HASH_A " 1 sub/\xff%0A%7F%25\n");
	CHECK_INT(mode_of(dir, "a"), 0444);
	CHECK_INT(mode_of(dir, "b.suid"), 0555);
	CHECK_INT(mode_of(dir, "sub"), 0555);
	CHECK_INT(mode_of(dir, "."), 0555);
	CHECK(a == hard && inode(dir, "a") != inode(dir, "sub/hard"));
	CHECK(inode(dir, "outside") != outside); /* a small file is copied always */
	/* Freezing twice changes nothing. */
	MEMO_AUTO_BUF struct memo_buf again = { 0 };
	CHECK_INT(scan_text(dir, MEMO_TREE_FREEZE, &again), 0);
	CHECK_STR(memo_buf_str(&again), memo_buf_str(&b));
	CHECK_INT(fchmod(dir, 0755), 0);
}

static void test_freeze_refuses(void)
{
	static const struct {
		const char *what, *target, *text;
	} row[] = {
		{ "absolute", "/etc/passwd", "outside the output" },
		{ "up", "..", "outside the output" },
		{ "up and back", "../x", "outside the output" },
		{ "down and up", "a/../../x", "outside the output" },
		{ "dots", "a/./../..//x", "outside the output" },
		{ "FIFO", NULL, "'p' is a FIFO" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		MEMO_AUTO_FD int dir = fresh();
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		int r = row[i].target != NULL ? symlinkat(row[i].target, dir, "l") : mkfifoat(dir, "p", 0644);
		CHECK_INT(r, 0);
		CHECK_ROW(scan_text(dir, MEMO_TREE_FREEZE, &b) == -EINVAL, row[i].what);
		CHECK_ROW(strstr(memo_buf_str(&b), row[i].text) != NULL, memo_buf_str(&b));
	}
	MEMO_AUTO_FD int dir = fresh();
	struct memo_tree *t;
	CHECK_INT(memo_tree_scan(dir, MEMO_TREE_FREEZE | MEMO_TREE_FOLLOW, &t, NULL), -EINVAL);
}

static void test_freeze_file(void)
{
	MEMO_AUTO_FD int dir = fresh();
	struct memo_frozen f;
	struct memo_err err = { 0 };
	char hex[MEMO_HEX_SIZE];
	put(dir, "f", "a", 0700);
	CHECK_INT(memo_tree_freeze_file(dir, "f", true, &f, &err), 0);
	CHECK_STR(memo_id_hex(&f.id, hex), HASH_A);
	CHECK(f.size == 1 && f.exec && mode_of(dir, "f") == 0555);
	CHECK_INT(symlinkat("f", dir, "l"), 0);
	CHECK_INT(mkfifoat(dir, "p", 0644), 0);
	CHECK_INT(mkdirat(dir, "d", 0755), 0);
	CHECK_INT(memo_tree_freeze_file(dir, "l", false, &f, &err), -EINVAL);
	CHECK_STR(err.text, "'l' is a symbolic link, where a file is needed");
	CHECK_INT(memo_tree_freeze_file(dir, "p", false, &f, &err), -EINVAL);
	CHECK_INT(memo_tree_freeze_file(dir, "d", false, &f, &err), -EINVAL);
	CHECK_INT(memo_tree_freeze_file(dir, "none", false, &f, &err), -ENOENT);
}

/* Whoever still holds the file open for writing is left with the old inode. */
static void test_writer(void)
{
	MEMO_AUTO_FD int dir = fresh();
	struct memo_frozen f;
	char hex[MEMO_HEX_SIZE];
	put(dir, "f", "a", 0644);
	MEMO_AUTO_FD int writer = openat(dir, "f", O_WRONLY | O_CLOEXEC);
	CHECK_INT(memo_tree_freeze_file(dir, "f", false, &f, NULL), 0);
	CHECK_STR(memo_id_hex(&f.id, hex), HASH_A);
	CHECK_INT(pwrite(writer, "X", 1, 0), 1);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_io_read_file(dir, "f", 10, &b), 0);
	CHECK_STR(memo_buf_str(&b), "a");
}

#define LARGE_BYTES ((size_t)3 << 20)

/* A large file in @dir; its hash. */
static struct memo_id put_large(int dir, const char *name)
{
	struct memo_id id = { 0 };
	MEMO_AUTO_FREE char *data = calloc(1, LARGE_BYTES);
	MEMO_AUTO_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK(data != NULL && memo_io_write_all(fd, data, LARGE_BYTES) == 0);
	CHECK_INT(memo_hash_bytes(data, LARGE_BYTES, &id), 0);
	return id;
}

/* A large file is not copied unless somebody could still change it: by a descriptor, or by a mapping alone. */
static void test_large(void)
{
	enum { ALONE, DESCRIPTOR, MAPPING, ENDED };
	for (int how = ALONE; how <= ENDED; how++) {
		MEMO_AUTO_FD int dir = fresh();
		struct memo_frozen f = { 0 };
		struct memo_id want = put_large(dir, "f"), is;
		MEMO_AUTO_FD int writer = how == ALONE ? -1 : openat(dir, "f", O_RDWR | O_CLOEXEC);
		char *map = MAP_FAILED;
		if (how >= MAPPING)
			map = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
		if (how >= MAPPING) {
			CHECK(map != MAP_FAILED);
			map[4096] = 0; /* dirty, so that the next write makes no fault */
			(void)close(writer);
			writer = -1;
		}
		if (how == ENDED)
			CHECK_INT(munmap(map, LARGE_BYTES), 0);
		CHECK_INT(memo_tree_freeze_file(dir, "f", false, &f, NULL), 0);
		CHECK(memo_id_equal(&f.id, &want) && f.written == (how == DESCRIPTOR || how == MAPPING));
		if (how == DESCRIPTOR)
			CHECK_INT(pwrite(writer, "X", 1, 4096), 1);
		if (how == MAPPING) {
			map[4096] = 'X';
			CHECK_INT(munmap(map, LARGE_BYTES), 0);
		}
		MEMO_AUTO_FD int fd = openat(dir, "f", O_RDONLY | O_CLOEXEC);
		CHECK_INT(memo_hash_fd(fd, &is, NULL), 0);
		CHECK(memo_id_equal(&is, &want));
	}
}

static void test_xattrs(void)
{
	for (int large = 0; large < 2; large++) {
		MEMO_AUTO_FD int dir = fresh();
		struct memo_frozen f;
		if (large != 0)
			(void)put_large(dir, "f");
		else
			put(dir, "f", "a", 0644);
		MEMO_AUTO_FD int fd = openat(dir, "f", O_RDONLY | O_CLOEXEC);
		if (fsetxattr(fd, "user.note", "x", 1, 0) < 0)
			return; /* the file system has none */
		CHECK_INT(memo_tree_freeze_file(dir, "f", false, &f, NULL), 0);
		MEMO_AUTO_FD int frozen = openat(dir, "f", O_RDONLY | O_CLOEXEC);
		CHECK(fgetxattr(frozen, "user.note", NULL, 0) < 0);
	}
}

static void test_holes(void)
{
	MEMO_AUTO_FD int dir = fresh();
	struct memo_frozen f;
	struct memo_err err = { 0 };
	MEMO_AUTO_FD int fd = openat(dir, "bomb", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	CHECK_INT(ftruncate(fd, (off_t)1 << 40), 0);
	CHECK_INT(memo_tree_freeze_file(dir, "bomb", false, &f, &err), -E2BIG);
	CHECK(strstr(err.text, "'bomb': an output may hold at most 64 GiB of holes") != NULL);
}

/* By the text of the link all of these stay inside. */
static void test_escape(void)
{
	static const struct {
		const char *target;
		bool out;
	} row[] = {
		{ "here/here/here/../../x", true },
		{ "sub/back/..", true },
		{ "sub/back/sub/back/a", false },
		{ "nothing/../../x", true },
		{ "here/here/a", false },
		{ "sub/../sub/..", false },
		{ "loop/x", false },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		MEMO_AUTO_FD int dir = fresh();
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		put(dir, "a", "a", 0644);
		CHECK_INT(mkdirat(dir, "sub", 0755), 0);
		CHECK_INT(symlinkat(".", dir, "here"), 0);
		CHECK_INT(symlinkat("..", dir, "sub/back"), 0);
		CHECK_INT(symlinkat("loop", dir, "loop"), 0);
		CHECK_INT(symlinkat(row[i].target, dir, "link"), 0);
		CHECK_ROW(scan_text(dir, MEMO_TREE_FREEZE, &b) == (row[i].out ? -EINVAL : 0), row[i].target);
		CHECK_ROW(!row[i].out || strstr(b.data, "'link' is a symbolic link") != NULL, b.data);
	}
}

/* Whoever holds the old directory holds nothing of the new one. */
static void test_move(void)
{
	MEMO_AUTO_FD int from = fresh();
	MEMO_AUTO_FD int to = fresh();
	MEMO_AUTO_FD int sub = -1;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(mkdirat(from, "d", 0755), 0);
	CHECK_INT(mkdirat(from, "d/e", 0), 0);
	CHECK_INT(symlinkat("a", from, "d/l"), 0);
	put(from, "d/a", "a", 0644);
	CHECK_INT(memo_io_open_dir(from, "d", &sub), 0);
	CHECK_INT(memo_tree_move(from, to, NULL), 0);
	CHECK_INT(scan_text(to, MEMO_TREE_FREEZE | MEMO_TREE_SYNC, &b), 0);
	CHECK_STR(memo_buf_str(&b), HEAD "d d\nf " HASH_A " 1 d/a\nd d/e\nl a d/l\n");
	put(sub, "late", "x", 0644);
	CHECK(faccessat(to, "d/late", F_OK, 0) < 0 && faccessat(from, "d/late", F_OK, 0) == 0);
}

/* What is changed and set back shows; what is only read does not. */
static void test_trace(void)
{
	MEMO_AUTO_FD int dir = fresh();
	struct memo_tree_trace one, two;
	put(dir, "a", "a", 0644);
	CHECK_INT(symlinkat("a", dir, "l"), 0);
	CHECK_INT(memo_tree_trace(dir, &one), 0);
	CHECK_INT(memo_tree_trace(dir, &two), 0);
	CHECK(memo_id_equal(&one.id, &two.id) && one.newest_ns == two.newest_ns && one.newest_ns > 0);
	(void)usleep(30000);
	put(dir, "a", "b", 0644);
	put(dir, "a", "a", 0644);
	CHECK_INT(memo_tree_trace(dir, &two), 0);
	CHECK(!memo_id_equal(&one.id, &two.id) && two.newest_ns > one.newest_ns);
	CHECK_INT(symlinkat("none", dir, "m"), 0);
	CHECK_INT(memo_tree_trace(dir, &one), 0);
	CHECK(!memo_id_equal(&one.id, &two.id));
}

/* The copy of a shared file keeps its holes. */
static void test_sparse(void)
{
	MEMO_AUTO_FD int dir = fresh();
	struct memo_frozen f;
	struct stat st;
	const off_t size = 64 << 20;
	MEMO_AUTO_FD int fd = openat(dir, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	CHECK(pwrite(fd, "mid", 3, size / 2) == 3 && ftruncate(fd, size) == 0);
	struct memo_id want;
	CHECK_INT(memo_hash_fd(fd, &want, NULL), 0);
	CHECK_INT(linkat(dir, "f", dir, "g", 0), 0);
	CHECK_INT(memo_tree_freeze_file(dir, "f", false, &f, NULL), 0);
	CHECK(memo_id_equal(&want, &f.id) && f.size == (uint64_t)size);
	CHECK(fstatat(dir, "f", &st, 0) == 0 && st.st_nlink == 1 && st.st_blocks < 2048);
}

static void test_follow(void)
{
	MEMO_AUTO_FD int dir = fresh();
	MEMO_AUTO_FD int other = fresh();
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	char path[200], target[64];
	(void)snprintf(target, sizeof target, "/proc/self/fd/%d", other);
	ssize_t n = readlink(target, path, sizeof path - 1);
	path[n > 0 ? n : 0] = '\0';
	put(other, "deep", "a", 0755);
	put(dir, "real", "a", 0640);
	CHECK_INT(symlinkat("real", dir, "file"), 0);
	CHECK_INT(symlinkat(path, dir, "dir"), 0);
	CHECK_INT(symlinkat("nowhere at all", dir, "dangling"), 0);
	CHECK_INT(scan_text(dir, MEMO_TREE_FOLLOW, &b), 0);
	CHECK_STR(memo_buf_str(&b), HEAD "l nowhere%20at%20all dangling\n"
					 "d dir\n"
					 "x " HASH_A " 1 dir/deep\n"
					 "f " HASH_A " 1 file\n"
					 "f " HASH_A " 1 real\n");
	CHECK_INT(mode_of(dir, "real"), 0640); /* an input is only read */
	CHECK_INT(symlinkat(".", other, "up"), 0);
	CHECK_INT(scan_text(other, MEMO_TREE_FOLLOW, &b), -EINVAL);
	CHECK(strstr(memo_buf_str(&b), "a directory that it lies in") != NULL);
	CHECK_INT(scan_text(other, 0, &b), 0);
	CHECK_STR(memo_buf_str(&b), HEAD "x " HASH_A " 1 deep\nl . up\n");
}

static void test_stat(void)
{
	MEMO_AUTO_FD int dir = fresh();
	MEMO_AUTO_BUF struct memo_buf one = { 0 }, two = { 0 };
	struct memo_id id, tree_id;
	put(dir, "f", "a", 0200);
	const struct timespec old[2] = { { .tv_sec = 1000000000, .tv_nsec = 5 },
					 { .tv_sec = 1000000000, .tv_nsec = 5 } };
	CHECK_INT(utimensat(dir, "f", old, 0), 0);
	CHECK_INT(scan_text(dir, MEMO_TREE_STAT, &one), 0);
	CHECK_INT(memo_tree_stat_id(dir, "f", &id), 0);
	CHECK_INT(memo_hash_bytes("memofs-stat 1\n1 1000000000.000000005\n", 37, &tree_id), 0);
	CHECK(memo_id_equal(&id, &tree_id));
	char want[200], hex[MEMO_HEX_SIZE];
	(void)snprintf(want, sizeof want, HEAD "f %s 1 f\n", memo_id_hex(&id, hex));
	CHECK_STR(memo_buf_str(&one), want);
	CHECK_INT(mode_of(dir, "f"), 0200);
	put(dir, "f", "b", 0200);
	CHECK_INT(scan_text(dir, MEMO_TREE_STAT, &two), 0);
	CHECK(strcmp(memo_buf_str(&one), memo_buf_str(&two)) != 0);
	CHECK_INT(memo_tree_stat_id(dir, ".", &id), -EINVAL);
	CHECK_INT(memo_tree_stat_id(dir, "none", &id), -ENOENT);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(base, sizeof base, "%s/memofs-tree-test.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(base) == NULL)
		return 1;
	RUN(test_parse);
	RUN(test_parse_refuses);
	RUN(test_depth);
	RUN(test_freeze);
	RUN(test_freeze_refuses);
	RUN(test_freeze_file);
	RUN(test_writer);
	RUN(test_large);
	RUN(test_xattrs);
	RUN(test_holes);
	RUN(test_escape);
	RUN(test_move);
	RUN(test_trace);
	RUN(test_sparse);
	RUN(test_follow);
	RUN(test_stat);
	if (memo_io_remove_tree(AT_FDCWD, base) < 0)
		printf("# %s is left over\n", base);
	return check_end();
}
