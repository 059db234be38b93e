/* What is mounted where, from the text of a mountinfo; mount options; lexical paths. */
#include "../check.h"

#include "filesystem/mount.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static const char table[] =
	"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"garbage\n"
	"30 21 0:50 / /mnt/a ro,nosuid - fuse.memofs /srv/store ro,user_id=0\n"
	"31 21 0:51 / /mnt/with\\040blank ro shared:7 master:2 - fuse.memofs /srv/a\\040b,c\\134d ro\n"
	"32 30 0:52 / /mnt/a/deep rw - tmpfs tmpfs rw\n"
	"33 21 0:53 / /mnt/top rw - tmpfs tmpfs rw\n"
	"34 33 0:54 / /mnt/top ro - fuse.memofs /srv/over ro\n";

static const struct row {
	const char *path;
	bool inside;
	const char *point, *type, *source;
	unsigned minor_no;
} rows[] = {
	{ "/mnt/a", false, "/mnt/a", "fuse.memofs", "/srv/store", 50 },
	{ "/mnt/a", true, "/mnt/a", "fuse.memofs", "/srv/store", 50 },
	{ "/mnt/a/tasks/x/1/n=1", true, "/mnt/a", "fuse.memofs", "/srv/store", 50 },
	{ "/mnt/a/deep/er", true, "/mnt/a/deep", "tmpfs", "tmpfs", 52 },
	{ "/mnt/a/deeper", true, "/mnt/a", "fuse.memofs", "/srv/store", 50 },
	{ "/mnt/ab", true, "/", "ext4", "/dev/sda1", 1 },
	{ "/mnt/ab", false, NULL, NULL, NULL, 0 },
	{ "/mnt/with blank/tasks", true, "/mnt/with blank", "fuse.memofs", "/srv/a b,c\\d", 51 },
	{ "/mnt/top", false, "/mnt/top", "fuse.memofs", "/srv/over", 54 },
	{ "relative", true, NULL, NULL, NULL, 0 },
};

static void test_find(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *w = &rows[i];
		struct memo_mount m = { 0 };
		int r = memo_mount_find(table, w->path, w->inside, &m);
		CHECK_ROW(r == (w->point != NULL ? 0 : -ENOENT), w->path);
		if (r == 0 && w->point != NULL) {
			CHECK_STR(m.point, w->point);
			CHECK_STR(m.type, w->type);
			CHECK_STR(m.source, w->source);
			CHECK_INT(minor(m.dev), w->minor_no);
		}
		memo_mount_clear(&m);
	}
}

static void test_bad_lines(void)
{
	static const char *const bad[] = {
		"", " ", "1 2 3", "1 2 a:b / /x ro - t s o", "1 2 0:1 / /x ro shared:1 t s o", "1 2 0:1 / /x ro -"
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct memo_mount m = { 0 };
		CHECK_ROW(memo_mount_parse(bad[i], strlen(bad[i]), &m) == -EINVAL, bad[i]);
	}
}

static void test_options(void)
{
	struct memo_mount_options o;
	struct memo_err err = { 0 };
	CHECK_INT(memo_mount_options(NULL, &o, &err), 0);
	CHECK_INT(o.flags, MS_RDONLY | MS_NOSUID | MS_NODEV);
	CHECK(!o.allow_other);
	CHECK_INT(memo_mount_options(
			  "rw,dev,suid,noauto,user,_netdev,x-systemd.automount,defaults,,comment=a\\,b,fsname=q",
			  &o, &err),
		  0);
	CHECK_INT(o.flags, MS_RDONLY | MS_NOSUID | MS_NODEV);
	CHECK_INT(memo_mount_options("allow_other,noexec", &o, &err), 0);
	CHECK(o.allow_other);
	CHECK_INT(o.flags, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	CHECK_INT(memo_mount_options("ro,allow_others", &o, &err), -EINVAL);
	CHECK(strstr(err.text, "'allow_others'") != NULL);
	CHECK_INT(memo_mount_options("remount", &o, &err), -EINVAL);
}

static void test_lexical(void)
{
	static const char *const row[][2] = { { "/a/b", "/a/b" }, { "//a/./b/", "/a/b" }, { "/a/../../b", "/b" },
					      { "/", "/" },	  { "/..", "/" },	  { "/a/b/..", "/a" } };
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct memo_buf b = { 0 };
		CHECK_INT(memo_mount_lexical(row[i][0], &b), 0);
		CHECK_STR(memo_buf_str(&b), row[i][1]);
		memo_buf_clear(&b);
	}
}

static void test_now(void)
{
	struct memo_mount m = { 0 };
	CHECK_INT(memo_mount_find_now("/", false, &m), 0);
	CHECK_STR(m.point, "/");
	memo_mount_clear(&m);
}

int main(void)
{
	RUN(test_find);
	RUN(test_bad_lines);
	RUN(test_options);
	RUN(test_lexical);
	RUN(test_now);
	return check_end();
}
