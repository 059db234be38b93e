#include "base/io.h"

#include "base/scope.h"

#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static char base[128];
static int dir = -1;

static const char *text(const char *name)
{
	static struct memo_buf b;
	memo_buf_reset(&b);
	return memo_io_read_file(dir, name, 1 << 20, &b) < 0 ? "(none)" : memo_buf_str(&b);
}

static int entries(void)
{
	MEMO_AUTO_DIR DIR *d = opendir(base);
	int n = 0;
	while (d != NULL && readdir(d) != NULL)
		n++;
	return n - 2;
}

static void test_replace(void)
{
	struct stat st;
	for (int durable = 0; durable < 2; durable++) {
		CHECK_INT(memo_io_replace(dir, "f", "one", 3, 0640, durable != 0), 0);
		CHECK_STR(text("f"), "one");
		CHECK_INT(memo_io_replace(dir, "f", "two2", 4, 0444, durable != 0), 0);
		CHECK_STR(text("f"), "two2");
		CHECK(fstatat(dir, "f", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
	}
	int before = entries();
	CHECK_INT(mkdirat(dir, "d", 0755), 0);
	CHECK(memo_io_replace(dir, "d", "x", 1, 0644, true) < 0);
	CHECK_INT(entries(), before + 1); /* no temporary file stays behind */
	CHECK_INT(unlinkat(dir, "d", AT_REMOVEDIR), 0);
}

static void test_read(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_io_replace(dir, "r", "0123456789", 10, 0644, false), 0);
	CHECK_INT(memo_io_read_file(dir, "r", 10, &b), 0);
	CHECK_INT(memo_io_read_file(dir, "r", 10, &b), 0); /* appends */
	CHECK_STR(memo_buf_str(&b), "01234567890123456789");
	CHECK_INT(memo_io_read_file(dir, "r", 9, &b), -EFBIG);
	CHECK_INT(memo_io_read_file(dir, "none", 9, &b), -ENOENT);
	CHECK_INT(memo_io_read_file(dir, ".", 9, &b), -EISDIR);
	CHECK_INT(mkfifoat(dir, "fifo", 0600), 0);
	CHECK_INT(memo_io_read_file(dir, "fifo", 9, &b), -EINVAL);
	/* From a pipe the size is not known before. */
	int p[2];
	char block[40000];
	memset(block, 'p', sizeof block);
	CHECK_INT(pipe2(p, O_CLOEXEC), 0);
	CHECK_INT(memo_io_write_all(p[1], block, sizeof block), 0);
	(void)close(p[1]);
	memo_buf_reset(&b);
	CHECK_INT(memo_io_read_fd(p[0], sizeof block, &b), 0);
	CHECK_INT(b.len, sizeof block);
	size_t got = 1;
	CHECK_INT(memo_io_read_full(p[0], block, 10, &got), 0);
	CHECK_INT(got, 0);
	(void)close(p[0]);
}

static void test_copy(void)
{
	static char block[1 << 16];
	MEMO_AUTO_FD int from = openat(dir, "from", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	MEMO_AUTO_FD int to = openat(dir, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < 40; i++) {
		memset(block, i, sizeof block);
		CHECK_INT(memo_io_write_all(from, block, sizeof block), 0);
	}
	CHECK_INT(lseek(from, 0, SEEK_SET), 0);
	CHECK_INT(memo_io_copy(from, to), 0);
	struct stat st;
	CHECK(fstat(to, &st) == 0 && st.st_size == 40 * (off_t)sizeof block);
	for (int i = 0; i < 40; i++) {
		char c = -1;
		CHECK(pread(to, &c, 1, i * (off_t)sizeof block + 5) == 1 && c == i);
	}
	/* What no other way can copy. */
	MEMO_AUTO_FD int proc = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	CHECK(ftruncate(to, 0) == 0 && lseek(to, 0, SEEK_SET) == 0);
	CHECK_INT(memo_io_copy(proc, to), 0);
	CHECK(fstat(to, &st) == 0 && st.st_size > 10);
}

static void test_dirs(void)
{
	MEMO_AUTO_FD int fd = -1;
	CHECK_INT(memo_io_mkdir(dir, "m", 0755), 0);
	CHECK_INT(memo_io_mkdir(dir, "m", 0755), 0);
	CHECK_INT(symlinkat("m", dir, "link"), 0);
	CHECK_INT(memo_io_mkdir(dir, "link", 0755), -ENOTDIR);
	CHECK_INT(memo_io_mkdir(dir, "no/m", 0755), -ENOENT);
	CHECK(memo_io_open_dir(dir, "link", &fd) < 0 && fd == -1);
	CHECK_INT(memo_io_open_dir(dir, "m", &fd), 0);
	CHECK_INT(memo_io_sync_dir(dir, "m"), 0);
	CHECK_INT(memo_io_sync_dir(dir, "none"), -ENOENT);
}

static void test_remove_tree(void)
{
	CHECK_INT(memo_io_replace(dir, "kept", "k", 1, 0644, false), 0);
	CHECK_INT(mkdirat(dir, "t", 0755), 0);
	CHECK_INT(mkdirat(dir, "t/sub", 0755), 0);
	CHECK_INT(symlinkat("..", dir, "t/sub/up"), 0);
	CHECK_INT(symlinkat("../../kept", dir, "t/sub/file"), 0);
	CHECK_INT(mkdirat(dir, "t/sub/locked", 0), 0);
	CHECK_INT(fchmodat(dir, "t/sub", 0500, 0), 0);
	CHECK_INT(memo_io_remove_tree(dir, "t"), 0);
	CHECK(faccessat(dir, "t", F_OK, 0) < 0);
	CHECK_STR(text("kept"), "k");
	CHECK_INT(memo_io_remove_tree(dir, "t"), 0);
	CHECK_INT(memo_io_remove_tree(dir, "kept"), 0);
	CHECK_STR(text("kept"), "(none)");
}

/* Deeper than descriptors and stack would bear. */
static void test_remove_deep(void)
{
	enum { LEVELS = 3000 };
	int at = -1;
	CHECK_INT(mkdirat(dir, "deep", 0755), 0);
	CHECK_INT(memo_io_open_dir(dir, "deep", &at), 0);
	for (int i = 0; i < LEVELS; i++) {
		int next = -1;
		CHECK_INT(mkdirat(at, ".memofs-deep.0", 0755), 0); /* the name that it would take itself */
		CHECK_INT(memo_io_open_dir(at, ".memofs-deep.0", &next), 0);
		(void)close(at);
		at = next;
	}
	(void)close(at);
	CHECK_INT(memo_io_remove_tree(dir, "deep"), 0);
	CHECK(faccessat(dir, "deep", F_OK, 0) < 0);
}

static void test_join(void)
{
	static const struct {
		const char *a, *b, *want;
	} row[] = {
		{ "/a", "b", "/a/b" }, { "/a/", "b", "/a/b" }, { "/a//", "b/c", "/a/b/c" },
		{ "/", "b", "/b" },    { "a", "/b", "/b" },    { ".", "b", "./b" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		MEMO_AUTO_FREE char *s = memo_io_join(row[i].a, row[i].b);
		CHECK_STR(s, row[i].want);
	}
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(base, sizeof base, "%s/memofs-io-test.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(base) == NULL || memo_io_open_dir(AT_FDCWD, base, &dir) < 0)
		return 1;
	RUN(test_replace);
	RUN(test_read);
	RUN(test_copy);
	RUN(test_dirs);
	RUN(test_remove_tree);
	RUN(test_remove_deep);
	RUN(test_join);
	(void)close(dir);
	if (memo_io_remove_tree(AT_FDCWD, base) < 0)
		printf("# %s is left over\n", base);
	return check_end();
}
