/* Publication of files, directories and external results; objects and what happens when they are damaged. */
#include "fixture.h"

static void test_file(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	struct memo_result *none = NULL;
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &none, &f.err), -ENOENT);
	struct memo_result *r = fx_make(&f, &t, "hello\n");
	CHECK_INT(r->size, 6);
	CHECK(r->ino >= MEMO_INO_FIRST);
	CHECK(memo_id_equal(&r->hash, &r->blob));
	MEMO_AUTO_FREE char *text = fx_read(&f, r);
	CHECK_STR(text, "hello\n");
	struct memo_result *again = NULL;
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &again, &f.err), 0);
	CHECK(again->ino == r->ino);
	memo_result_unref(again);
	again = NULL;
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &again, &f.err), 0);
	CHECK(again->ino == r->ino && again->mtime_ns == r->mtime_ns && again->size == 6);
	CHECK_INT(memo_store_result_present(f.s, again), 0);
	memo_result_unref(again);
	again = NULL;
	CHECK_INT(memo_store_by_hash(f.s, &r->hash, &again, &f.err), 0);
	CHECK(again->ino == r->ino && memo_id_equal(&again->identity, &t.i.identity));
	memo_result_unref(again);
	struct memo_id id = { { 0 } };
	CHECK_INT(memo_store_next_hash(f.s, &id), 0);
	CHECK(memo_id_equal(&id, &r->hash));
	CHECK_INT(memo_store_next_hash(f.s, &id), -ENOENT);
	MEMO_AUTO_FREE char *path = NULL;
	CHECK_INT(memo_store_result_path(f.s, r, &path), 0);
	struct stat st;
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 07777, 0444);
	CHECK_INT(st.st_nlink, 1);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_exec(void)
{
	struct fixture f;
	struct thing t;
	struct memo_produced p;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_run(&f, &t);
	struct memo_result *r = NULL;
	char *a = fx_file(&f, "#!/bin/sh\n", true, &p);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), 0);
	CHECK(!memo_id_equal(&r->hash, &r->blob));
	MEMO_AUTO_FREE char *text = fx_read(&f, r);
	CHECK_STR(text, "#!/bin/sh\n");
	MEMO_AUTO_FREE char *path = NULL;
	CHECK_INT(memo_store_result_path(f.s, r, &path), 0);
	CHECK_STR(path + strlen(path) - 2, ".x");
	CHECK_INT(access(path, X_OK), 0);
	memo_result_unref(r);
	free(a);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void check_entry(struct fixture *f, const struct memo_result *r, const struct memo_tree *tree,
			const char *path, const char *want)
{
	uint32_t i = 0;
	CHECK_INT(memo_tree_walk(tree, path, &i), 0);
	int fd = -1;
	CHECK_INT(memo_store_open_entry(f->s, r, memo_tree_entry(tree, i), &fd, &f->err), 0);
	char text[64] = "";
	CHECK_INT(read(fd, text, sizeof text - 1), strlen(want));
	CHECK_STR(text, want);
	(void)close(fd);
}

static void test_directory(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	struct memo_produced p;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_thing(&u, 2);
	fx_run(&f, &t);
	fx_run(&f, &u);
	struct memo_result *r = NULL;
	struct memo_result *r2 = NULL;
	char *a = fx_tree(&f, "content", &p);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), 0);
	CHECK_INT(r->entries, 5);
	CHECK(r->inner > r->ino);
	uint64_t next = 0;
	CHECK_INT(memo_store_ino(f.s, 1, &next), 0);
	CHECK(next >= r->inner + 3 * r->entries);
	struct memo_tree *tree = NULL;
	CHECK_INT(memo_store_open_tree(f.s, r, &tree, &f.err), 0);
	check_entry(&f, r, tree, "a", "content");
	check_entry(&f, r, tree, "sub/b", "#!/bin/sh\n");
	MEMO_AUTO_FREE char *path = NULL;
	CHECK_INT(memo_store_result_path(f.s, r, &path), 0);
	struct stat st;
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 07777, 0555);
	CHECK_INT(memo_store_result_present(f.s, r), 0);
	/* The same attempt once more, its directory already moved: as after a failure in the middle. */
	CHECK_INT(fx_publish(&f, &u, a, &p, &r2), 0);
	memo_result_unref(r2);
	r2 = NULL;
	free(a);
	/* The same tree from another attempt: the object is there. */
	CHECK_INT(fx_to(&f, &u, MEMO_PENDING, "again"), 0);
	a = fx_tree(&f, "content", &p);
	CHECK_INT(fx_publish(&f, &u, a, &p, &r2), 0);
	CHECK(memo_id_equal(&r2->hash, &r->hash) && r2->ino != r->ino);
	memo_result_unref(r2);
	free(a);
	memo_tree_unref(tree);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

static void test_external(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_run(&f, &t);
	struct memo_produced p = { .kind = MEMO_RESULT_EXTERNAL, .size = strlen(f.root), .path = f.root };
	CHECK_INT(memo_hash_bytes("x", 1, &p.hash), 0);
	struct memo_result *r = NULL;
	CHECK_INT(fx_publish(&f, &t, "/nonexistent", &p, &r), 0);
	CHECK_STR(r->path, f.root);
	CHECK_INT(memo_store_result_present(f.s, r), 0);
	memo_result_unref(r);
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &r, &f.err), 0);
	CHECK_STR(r->path, f.root);
	free(r->path);
	r->path = strdup("/nonexistent/y");
	CHECK_INT(memo_store_result_present(f.s, r), -ENOENT);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_same_object_twice(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_thing(&u, 2);
	struct memo_result *a = fx_make(&f, &t, "same");
	struct memo_result *b = fx_make(&f, &u, "same");
	CHECK(memo_id_equal(&a->blob, &b->blob));
	CHECK(a->ino != b->ino);
	/* The same output for the same identity keeps its node id; another output does not. */
	struct memo_result *c = fx_make(&f, &t, "same");
	CHECK(c->ino == a->ino);
	struct memo_result *d = fx_make(&f, &t, "other");
	CHECK(d->ino != a->ino);
	MEMO_AUTO_FREE char *text = fx_read(&f, b);
	CHECK_STR(text, "same");
	memo_result_unref(a);
	memo_result_unref(b);
	memo_result_unref(c);
	memo_result_unref(d);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

static void test_not_what_was_said(void)
{
	struct fixture f;
	struct thing t;
	struct memo_produced p;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_run(&f, &t);
	struct memo_result *r = NULL;
	char *a = fx_file(&f, "text", false, &p);
	char *out = memo_io_join(a, "output");
	p.size = 3;
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	p.size = 4;
	CHECK_INT(chmod(out, 0644), 0);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	p.exec = true;
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	p.exec = false;
	CHECK_INT(unlink(out), 0);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	CHECK_INT(symlink("/etc/passwd", out), 0);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	free(a);
	free(out);
	/* A tree whose file is longer than its listing says. */
	a = fx_tree(&f, "content", &p);
	out = memo_io_join(a, "output/a");
	CHECK_INT(chmod(out, 0600), 0);
	fx_write(out, "contents", 0444);
	CHECK_INT(fx_publish(&f, &t, a, &p, &r), -EBADMSG);
	free(out);
	free(a);
	/* Its record is gone (a damaged manifest): what is there is its output all the same. */
	struct thing u;
	fx_thing(&u, 2);
	a = fx_file(&f, "text", false, &p);
	CHECK_INT(fx_publish(&f, &u, a, &p, &r), 0);
	CHECK(memo_id_equal(&r->identity, &u.i.identity));
	memo_result_unref(r);
	r = NULL;
	free(a);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &r, &f.err), -ENOENT);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

/* Flips a byte of the object, keeping size and mode. */
static void damage(const char *path, bool longer)
{
	struct stat st;
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(chmod(path, 0600), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK_INT(pwrite(fd, "X", 1, longer ? st.st_size : 0), 1);
	CHECK_INT(fchmod(fd, st.st_mode & 07777), 0);
	(void)close(fd);
}

static void test_damaged_file(void)
{
	for (int longer = 0; longer < 2; longer++) {
		struct fixture f;
		struct thing t;
		fx_begin(&f);
		fx_thing(&t, 1);
		struct memo_result *r = fx_make(&f, &t, "precious");
		MEMO_AUTO_FREE char *path = NULL;
		CHECK_INT(memo_store_result_path(f.s, r, &path), 0);
		damage(path, longer != 0);
		int fd = -1;
		CHECK_INT(memo_store_open_file(f.s, r, &fd, &f.err), -EBADMSG);
		CHECK_INT(access(path, F_OK), -1);
		MEMO_AUTO_FREE char *quarantine = fx_path(&f, "quarantine");
		CHECK_INT(fx_count(quarantine), 1);
		CHECK_INT(memo_store_open_file(f.s, r, &fd, &f.err), -ENOENT);
		CHECK_INT(memo_store_result_present(f.s, r), -ENOENT);
		CHECK_INT(memo_store_result_lost(f.s, r, "it was damaged", &f.err), 0);
		struct memo_result *none = NULL;
		CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &none, &f.err), -ENOENT);
		CHECK_INT(memo_store_by_hash(f.s, &r->hash, &none, &f.err), -ENOENT);
		struct memo_result *again = fx_make(&f, &t, "precious");
		MEMO_AUTO_FREE char *text = fx_read(&f, again);
		CHECK_STR(text, "precious");
		/* What was lost has been replaced: the old result has no say. */
		CHECK_INT(memo_store_result_lost(f.s, r, "late", &f.err), 0);
		CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &none, &f.err), 0);
		memo_result_unref(none);
		memo_result_unref(again);
		memo_result_unref(r);
		fx_thing_clear(&t);
		fx_end(&f);
	}
}

static void test_wrong_size_in_the_way(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_thing(&u, 2);
	struct memo_result *r = fx_make(&f, &t, "precious");
	MEMO_AUTO_FREE char *path = NULL;
	CHECK_INT(memo_store_result_path(f.s, r, &path), 0);
	damage(path, true);
	struct memo_result *b = fx_make(&f, &u, "precious");
	MEMO_AUTO_FREE char *text = fx_read(&f, b);
	CHECK_STR(text, "precious");
	memo_result_unref(b);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

static void test_damaged_tree(void)
{
	static const char *const victim[] = { "listing", "entry", "missing" };
	for (size_t v = 0; v < 3; v++) {
		struct fixture f;
		struct thing t;
		struct memo_produced p;
		fx_begin(&f);
		fx_thing(&t, 1);
		fx_run(&f, &t);
		struct memo_result *r = NULL;
		struct memo_tree *tree = NULL;
		char *a = fx_tree(&f, "content", &p);
		CHECK_INT(fx_publish(&f, &t, a, &p, &r), 0);
		free(a);
		fx_reopen(&f, NULL);
		char *dir = NULL;
		CHECK_INT(memo_store_result_path(f.s, r, &dir), 0);
		char file[600];
		uint32_t i = 0;
		int fd = -1;
		CHECK_INT(memo_store_open_tree(f.s, r, &tree, &f.err), 0);
		CHECK_INT(memo_tree_walk(tree, "sub/b", &i), 0);
		if (v == 0) {
			fx_reopen(&f, NULL);
			dir[strlen(dir) - 2] = '\0';
			damage(dir, false);
			struct memo_tree *none = NULL;
			CHECK_ROW(memo_store_open_tree(f.s, r, &none, &f.err) == -EBADMSG, victim[v]);
		} else {
			(void)snprintf(file, sizeof file, "%s/sub/b", dir);
			if (v == 1) {
				damage(file, false);
			} else {
				(void)snprintf(file, sizeof file, "%s/sub", dir);
				CHECK_INT(chmod(file, 0755), 0);
				(void)snprintf(file, sizeof file, "%s/sub/b", dir);
				CHECK_INT(unlink(file), 0);
			}
			CHECK_ROW(memo_store_open_entry(f.s, r, memo_tree_entry(tree, i), &fd, &f.err) == -EBADMSG,
				  victim[v]);
		}
		CHECK_INT(memo_store_result_lost(f.s, r, "damaged", &f.err), 0);
		memo_tree_unref(tree);
		tree = NULL;
		memo_result_unref(r);
		r = NULL;
		CHECK_INT(fx_to(&f, &t, MEMO_RUNNING, NULL), 0);
		a = fx_tree(&f, "content", &p);
		CHECK_INT(fx_publish(&f, &t, a, &p, &r), 0);
		CHECK_INT(memo_store_result_present(f.s, r), 0);
		CHECK_INT(memo_store_open_tree(f.s, r, &tree, &f.err), 0);
		check_entry(&f, r, tree, "sub/b", "#!/bin/sh\n");
		memo_tree_unref(tree);
		memo_result_unref(r);
		free(a);
		free(dir);
		fx_thing_clear(&t);
		fx_end(&f);
	}
}

static void test_forget(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	CHECK_INT(memo_store_forget(f.s, &t.i.identity, &f.err), -ENOENT);
	struct memo_result *r = fx_make(&f, &t, "hello");
	CHECK_INT(memo_store_forget(f.s, &t.i.identity, &f.err), 0);
	CHECK_INT(memo_store_forget(f.s, &t.i.identity, &f.err), -ENOENT);
	struct memo_result *none = NULL;
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &none, &f.err), -ENOENT);
	struct memo_named n;
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), 0);
	CHECK_INT(n.state, MEMO_PENDING);
	CHECK(n.ino == 0);
	/* Nor does it come back. */
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &none, &f.err), -ENOENT);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_end(&f);
}

int main(void)
{
	RUN(test_file);
	RUN(test_exec);
	RUN(test_directory);
	RUN(test_external);
	RUN(test_same_object_twice);
	RUN(test_not_what_was_said);
	RUN(test_damaged_file);
	RUN(test_wrong_size_in_the_way);
	RUN(test_damaged_tree);
	RUN(test_forget);
	return check_end();
}
