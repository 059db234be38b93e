/* The worker: what is taken as the output, and what is refused. */
#include "fixture.h"

#include "base/io.h"
#include "base/scope.h"
#include "base/tree.h"

#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_file(void)
{
	struct attempt a;
	struct memo_id hash;
	struct stat st;
	attempt_shell(&a, "mkdir sub; printf '#!/bin/sh\\n' > sub/tool; chmod 4755 sub/tool; echo noise");
	attempt_output(&a, MEMO_OUT_FILE, "sub/tool");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_STR(attempt_text(&a, "output"), "#!/bin/sh\n");
	CHECK_STR(attempt_text(&a, "stdout"), "noise\n");
	CHECK(a.exit.produced.exec);
	CHECK_INT(memo_attempt_exec_hash(&a.exit.produced.blob, &hash), 0);
	CHECK(memo_id_equal(&hash, &a.exit.produced.hash));
	CHECK(fstatat(a.fd, "output", &st, 0) == 0 && (st.st_mode & 07777) == 0555);
	attempt_end(&a);
}

/* An output that shares its inode with a name elsewhere is copied, so that the other name cannot change it. */
static void test_file_hard_link(void)
{
	struct attempt a;
	struct stat st, other;
	write_file(scratch("shared"), "shared");
	attempt_new(&a, (const char *const[]){ "ln", scratch("shared"), "o", NULL });
	attempt_output(&a, MEMO_OUT_FILE, "o");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK(fstatat(a.fd, "output", &st, 0) == 0 && st.st_nlink == 1);
	CHECK(stat(scratch("shared"), &other) == 0 && other.st_ino != st.st_ino && (other.st_mode & 0777) == 0644);
	CHECK_STR(attempt_text(&a, "output"), "shared");
	attempt_end(&a);
}

static void test_refused(void)
{
	static const struct {
		const char *script;
		enum memo_output_type type;
		const char *path, *message;
	} row[] = {
		{ "true", MEMO_OUT_FILE, "aln.bam", "the task ended with status 0 but made no 'aln.bam'" },
		{ "touch a", MEMO_OUT_FILE, "a/b", "the task ended with status 0 but made no 'a/b'" },
		{ "true", MEMO_OUT_DIRECTORY, "d", "the task ended with status 0 but made no 'd'" },
		{ "mkdir o", MEMO_OUT_FILE, "o", "the output 'o' is not a file, as the task file says" },
		{ "touch o", MEMO_OUT_DIRECTORY, "o", "the output 'o' is not a directory, as the task file says" },
		{ "mkfifo o", MEMO_OUT_FILE, "o", "the output 'o' is not a file, as the task file says" },
		{ "mkfifo o", MEMO_OUT_JSON, "o", "the output 'o' is not a file, as the task file says" },
		{ "ln -s /etc/passwd o", MEMO_OUT_FILE, "o",
		  "the output 'o' is a symbolic link to '/etc/passwd', outside the work directory; write the file "
		  "itself there" },
		{ "ln -s /etc o", MEMO_OUT_FILE, "o/passwd", NULL },
		{ "ln -s /etc o", MEMO_OUT_DIRECTORY, "o", NULL },
		{ "ln -s ../job.json o", MEMO_OUT_FILE, "o", NULL },
		{ "ln -s nothing o", MEMO_OUT_FILE, "o", "the output 'o' is a symbolic link that leads nowhere" },
		{ "mkdir r; ln -s r o", MEMO_OUT_DIRECTORY, "o",
		  "the output 'o' is a symbolic link to 'r'; write the directory itself there" },
		{ "mkdir o; mkfifo o/pipe", MEMO_OUT_DIRECTORY, "o",
		  "the output 'o' cannot be kept: 'pipe' is a FIFO; only files, directories and symbolic links are "
		  "allowed" },
		{ "mkdir -p o/s; ln -s /etc/passwd o/s/l", MEMO_OUT_DIRECTORY, "o",
		  "the output 'o' cannot be kept: 's/l' is a symbolic link to '/etc/passwd', outside the output; "
		  "copy the file instead, or make a relative link" },
		{ "mkdir -p o/s; ln -s ../../x o/s/l", MEMO_OUT_DIRECTORY, "o", NULL },
		{ "rm ../stdout; ln -s /etc/passwd ../stdout", MEMO_OUT_FILE, NULL, NULL },
		{ "echo '{\"a\":9007199254740993}'", MEMO_OUT_JSON, NULL, NULL },
		{ "echo '{\"a\":1,}'", MEMO_OUT_JSON, NULL, NULL },
		{ "true", MEMO_OUT_JSON, NULL, NULL },
		{ "echo /nonexistent/thing", MEMO_OUT_EXTERNAL, NULL,
		  "the task printed '/nonexistent/thing', but there is nothing of that name" },
		{ "echo relative", MEMO_OUT_EXTERNAL, NULL,
		  "the task must print exactly one absolute path, and nothing else, to stdout" },
		{ "printf '/tmp\\n/usr\\n'", MEMO_OUT_EXTERNAL, NULL, NULL },
		{ "printf '/tmp\\n\\n'", MEMO_OUT_EXTERNAL, NULL, NULL },
		{ "true", MEMO_OUT_EXTERNAL, NULL, NULL },
		{ "head -c 100000 /dev/zero", MEMO_OUT_EXTERNAL, NULL, NULL },
		{ "echo /dev/null", MEMO_OUT_EXTERNAL, NULL, NULL },
		{ "mkdir z; echo \"$PWD/z\"", MEMO_OUT_EXTERNAL, NULL, NULL },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct attempt a;
		attempt_shell(&a, row[i].script);
		attempt_output(&a, row[i].type, row[i].path);
		CHECK_ROW(attempt_run(&a) == 0, row[i].script);
		CHECK_ROW(a.exit.status == MEMO_EXIT_OUTPUT, row[i].script);
		CHECK_ROW(a.exit.code == 0, row[i].script);
		if (row[i].message != NULL)
			CHECK_STR(a.exit.message, row[i].message);
		CHECK_ROW(a.exit.message != NULL && strlen(a.exit.message) > 20, row[i].script);
		attempt_end(&a);
	}
}

static void test_link_inside(void)
{
	struct attempt a;
	struct stat st;
	attempt_shell(&a, "mkdir d; printf data > d/real; ln -s d/real o");
	attempt_output(&a, MEMO_OUT_FILE, "o");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	CHECK_STR(attempt_text(&a, "output"), "data");
	CHECK(fstatat(a.fd, "output", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
	attempt_end(&a);
}

static void test_directory(void)
{
	struct attempt a;
	struct stat st;
	attempt_shell(
		&a,
		"mkdir -p o/sub/empty; cd o; printf a > a; printf run > sub/run; chmod 700 sub/run; ln a sub/hard; "
		"ln -s ../a sub/link; printf s > 'name with %'; chmod 000 a; chmod 500 sub; chmod 555 .");
	attempt_output(&a, MEMO_OUT_DIRECTORY, "o");
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
	static const char want[] =
		"memofs-tree 1\n"
		"f ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 1 a\n"
		"f 043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89 1 name%20with%20%25\n"
		"d sub\n"
		"d sub/empty\n"
		"f ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 1 sub/hard\n"
		"l ../a sub/link\n"
		"x acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be 3 sub/run\n";
	CHECK_STR(attempt_text(&a, "output.tree"), want);
	struct memo_id id;
	CHECK_INT(memo_hash_bytes(want, strlen(want), &id), 0);
	CHECK(memo_id_equal(&id, &a.exit.produced.hash));
	CHECK_INT(a.exit.produced.kind, MEMO_RESULT_DIRECTORY);
	CHECK_INT(a.exit.produced.entries, 8);
	CHECK_INT(a.exit.produced.size, 6);
	static const struct {
		const char *path;
		mode_t mode;
	} row[] = {
		{ "output", 0555 },	     { "output/a", 0444 },	 { "output/sub", 0555 },
		{ "output/sub/hard", 0444 }, { "output/sub/run", 0555 }, { "output.tree", 0444 },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		CHECK_ROW(fstatat(a.fd, row[i].path, &st, AT_SYMLINK_NOFOLLOW) == 0, row[i].path);
		CHECK_ROW((st.st_mode & 07777) == row[i].mode, row[i].path);
		CHECK_ROW(S_ISDIR(st.st_mode) || st.st_nlink == 1, row[i].path);
	}
	attempt_end(&a);
}

static void test_json(void)
{
	static const struct {
		const char *script, *path, *want;
	} row[] = {
		{ "echo '{ \"b\" : [1.0, 2e3], \"a\": \"x\" }'", NULL, "{\"a\":\"x\",\"b\":[1,2000]}" },
		{ "echo '{ \"b\" : true }' > r.json; echo log", "r.json", "{\"b\":true}" },
		{ "echo '\"9007199254740993\"'", NULL, "\"9007199254740993\"" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct attempt a;
		attempt_shell(&a, row[i].script);
		attempt_output(&a, MEMO_OUT_JSON, row[i].path);
		CHECK_ROW(attempt_run(&a) == 0, row[i].script);
		CHECK_ROW(a.exit.status == MEMO_EXIT_SUCCESS, row[i].script);
		CHECK_STR(attempt_text(&a, "output"), row[i].want);
		attempt_end(&a);
	}
	struct attempt a;
	attempt_shell(&a, "echo '[123456789012345678901234567890]'");
	attempt_output(&a, MEMO_OUT_JSON, NULL);
	CHECK_INT(attempt_run(&a), 0);
	CHECK_INT(a.exit.status, MEMO_EXIT_OUTPUT);
	CHECK(a.exit.message != NULL && strstr(a.exit.message, "print it as a string") != NULL);
	attempt_end(&a);
}

/* The hash of an external result from outside: what the worker must agree with. */
static void external_hash(const char *path, struct memo_id *out)
{
	MEMO_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct memo_id id;
	struct memo_tree *t = NULL;
	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	if (S_ISDIR(st.st_mode)) {
		CHECK_INT(memo_tree_scan(fd, MEMO_TREE_STAT, &t, NULL), 0);
		id = *memo_tree_id(t);
		memo_tree_unref(t);
	} else {
		CHECK_INT(memo_tree_stat_id(AT_FDCWD, path, &id), 0);
	}
	CHECK_INT(memo_attempt_external_hash(path, &id, out), 0);
}

static void test_external(void)
{
	static const char *const name[] = { "ext-dir", "ext-file" };
	(void)mkdir(scratch("ext-dir"), 0755);
	write_file(scratch("ext-dir/chunk"), "1234");
	write_file(scratch("ext-file"), "1234");
	for (size_t i = 0; i < 2; i++) {
		struct attempt a;
		struct memo_id want, later;
		const char *path = scratch(name[i]);
		attempt_new(&a, (const char *const[]){ "echo", path, NULL });
		attempt_output(&a, MEMO_OUT_EXTERNAL, NULL);
		CHECK_INT(attempt_run(&a), 0);
		CHECK_INT(a.exit.status, MEMO_EXIT_SUCCESS);
		CHECK_INT(a.exit.produced.kind, MEMO_RESULT_EXTERNAL);
		CHECK_STR(a.exit.produced.path, path);
		CHECK_INT(a.exit.produced.size, strlen(path));
		external_hash(path, &want);
		CHECK(memo_id_equal(&want, &a.exit.produced.hash));
		CHECK(faccessat(a.fd, "output", F_OK, 0) < 0);
		write_file(scratch(i == 0 ? "ext-dir/chunk" : "ext-file"), "12345");
		external_hash(path, &later);
		CHECK(!memo_id_equal(&want, &later));
		attempt_end(&a);
	}
}

int main(int argc, char **argv)
{
	if (!fixture_main(argc, argv))
		return 1;
	RUN(test_file);
	RUN(test_file_hard_link);
	RUN(test_refused);
	RUN(test_link_inside);
	RUN(test_directory);
	RUN(test_json);
	RUN(test_external);
	fixture_end();
	return check_end();
}
