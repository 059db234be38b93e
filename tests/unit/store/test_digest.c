/* Digests of input files and their memo. */
#include "fixture.h"

#include <time.h>

static const char hello[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

static void nap(int ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000L };
	(void)nanosleep(&t, NULL);
}

static char *input(struct fixture *f, const char *name, const char *text)
{
	char *path = memo_io_join(f->root, name);
	fx_write(path, text, 0644);
	return path;
}

static void test_memo(void)
{
	struct fixture f;
	struct memo_digest d;
	struct memo_digest e;
	char hex[MEMO_HEX_SIZE];
	fx_begin(&f);
	MEMO_AUTO_FREE char *path = input(&f, "in", "hello");
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &d), -EAGAIN);
	/* Just written: remembered all the same, because the clock's grain is waited for. */
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
	CHECK_STR(memo_id_hex(&d.id, hex), hello);
	CHECK_INT(d.size, 5);
	CHECK_INT(d.guard.size, 5);
	CHECK(d.settled);
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &e), 0);
	CHECK(memo_id_equal(&d.id, &e.id) && e.size == 5 && e.guard.ino == d.guard.ino);
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &e), 0);
	CHECK(memo_id_equal(&d.id, &e.id));
	/* Touched: to be hashed, the same digest. */
	CHECK_INT(utimensat(AT_FDCWD, path, NULL, 0), 0);
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &e), -EAGAIN);
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &e, &f.err), 0);
	CHECK(memo_id_equal(&d.id, &e.id));
	/* Other content of the same size, with the old mtime put back. */
	nap(50);
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
	struct stat st;
	CHECK_INT(stat(path, &st), 0);
	struct timespec times[2] = { st.st_atim, st.st_mtim };
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK_INT(pwrite(fd, "HELLO", 5, 0), 5);
	(void)close(fd);
	CHECK_INT(utimensat(AT_FDCWD, path, times, 0), 0);
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &e), -EAGAIN);
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &e, &f.err), 0);
	CHECK(!memo_id_equal(&d.id, &e.id));
	fx_end(&f);
}

/* A change within the clock's grain of the first hashing must not be missed (whether the kernel could hide one depends on
 * its version: 6.13 gives finer stamps to files that are looked at). */
static void test_changed_at_once(void)
{
	struct fixture f;
	struct memo_digest d;
	struct memo_id want;
	fx_begin(&f);
	char *path = input(&f, "in", "aaaa");
	CHECK_INT(memo_hash_bytes("bbbb", 4, &want), 0);
	for (int i = 0; i < 20; i++) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		CHECK_INT(pwrite(fd, "aaaa", 4, 0), 4);
		CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
		CHECK_INT(pwrite(fd, "bbbb", 4, 0), 4);
		CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
		CHECK(memo_id_equal(&d.id, &want));
		(void)close(fd);
	}
	free(path);
	fx_end(&f);
}

static void test_future_is_not_remembered(void)
{
	struct fixture f;
	struct memo_digest d;
	fx_begin(&f);
	MEMO_AUTO_FREE char *path = input(&f, "in", "hello");
	struct timespec far[2] = { { .tv_sec = 4000000000, .tv_nsec = 5 }, { .tv_sec = 4000000000, .tv_nsec = 5 } };
	CHECK_INT(utimensat(AT_FDCWD, path, far, 0), 0);
	nap(50);
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
	CHECK(!d.settled);
	CHECK_INT(memo_store_digest_known(f.s, path, false, NULL, &d), -EAGAIN);
	fx_end(&f);
}

static void test_directory(void)
{
	struct fixture f;
	struct memo_digest d;
	struct memo_digest e;
	fx_begin(&f);
	MEMO_AUTO_FREE char *dir = memo_io_join(f.root, "dir");
	CHECK_INT(mkdir(dir, 0755), 0);
	MEMO_AUTO_FREE char *path = input(&f, "dir/a", "hello");
	CHECK_INT(memo_store_digest(f.s, dir, true, NULL, &d, &f.err), 0);
	CHECK_INT(d.size, 5);
	CHECK_INT(memo_store_digest_known(f.s, dir, true, NULL, &e), -EAGAIN);
	fx_write(path, "HELLO", 0644);
	CHECK_INT(memo_store_digest(f.s, dir, true, NULL, &e, &f.err), 0);
	CHECK(!memo_id_equal(&d.id, &e.id));
	fx_end(&f);
}

static void test_refused(void)
{
	struct fixture f;
	struct memo_digest d;
	fx_begin(&f);
	MEMO_AUTO_FREE char *path = input(&f, "in", "hello");
	MEMO_AUTO_FREE char *missing = memo_io_join(f.root, "missing");
	MEMO_AUTO_FREE char *fifo = memo_io_join(f.root, "fifo");
	CHECK_INT(memo_store_digest(f.s, missing, false, NULL, &d, &f.err), -ENOENT);
	CHECK(strstr(f.err.text, missing) != NULL);
	CHECK_INT(memo_store_digest_known(f.s, missing, false, NULL, &d), -ENOENT);
	CHECK_INT(memo_store_digest(f.s, f.root, false, NULL, &d, &f.err), -EISDIR);
	CHECK_INT(memo_store_digest(f.s, path, true, NULL, &d, &f.err), -ENOTDIR);
	CHECK_INT(memo_store_digest(f.s, "in", false, NULL, &d, &f.err), -EINVAL);
	CHECK_INT(mkfifo(fifo, 0644), 0);
	CHECK_INT(memo_store_digest(f.s, fifo, false, NULL, &d, &f.err), -EINVAL);
	/* The store's own mount, by name and by a link that leads to its device. */
	CHECK_INT(memo_store_set_mount(f.s, "/mnt/memofs/", 12345), 0);
	CHECK_INT(memo_store_digest(f.s, "/mnt/memofs/tasks/x", false, NULL, &d, &f.err), -ELOOP);
	CHECK_INT(memo_store_digest_known(f.s, "/mnt/memofs/tasks/x", false, NULL, &d), -ELOOP);
	CHECK_INT(memo_store_digest(f.s, "/mnt/memofsx", false, NULL, &d, &f.err), -ENOENT);
	struct stat st;
	CHECK_INT(stat("/proc/self", &st), 0);
	MEMO_AUTO_FREE char *link = memo_io_join(f.root, "link");
	CHECK_INT(symlink("/proc/version", link), 0);
	CHECK_INT(memo_store_set_mount(f.s, "/mnt/memofs", st.st_dev), 0);
	CHECK_INT(memo_store_digest(f.s, link, false, NULL, &d, &f.err), -ELOOP);
	CHECK_INT(memo_store_digest_known(f.s, link, false, NULL, &d), -ELOOP);
	CHECK_INT(memo_store_digest(f.s, path, false, NULL, &d, &f.err), 0);
	CHECK_INT(memo_store_set_mount(f.s, NULL, 0), 0);
	fx_end(&f);
}

int main(void)
{
	RUN(test_memo);
	RUN(test_changed_at_once);
	RUN(test_future_is_not_remembered);
	RUN(test_directory);
	RUN(test_refused);
	return check_end();
}
