/* Crashes and damage: kill -9, a lost or damaged manifest, receipts that speak for what is missing. */
#include "fixture.h"

#include <dirent.h>

#define TASK "{\"memofs\":1,\"name\":\"r\",\"command\":[\"true\"]}"

static int child_publish(const char *dir)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_child_open(&f, dir, "child");
	fx_thing(&t, 1);
	memo_result_unref(fx_make(&f, &t, "published"));
	fx_thing(&u, 2);
	fx_run(&f, &u);
	fx_child_kill();
	return 1;
}

/* The receipt is written, the last step is not done: put by hand from another instance's. */
static int child_almost(const char *dir)
{
	struct fixture f;
	struct thing t;
	fx_child_open(&f, dir, "child");
	fx_thing(&t, 1);
	fx_run(&f, &t);
	fx_child_kill();
	return 1;
}

static void state_is(struct fixture *f, const struct thing *t, const char *want)
{
	json_t *record = NULL;
	CHECK_INT(memo_store_record(f->s, &t->i.identity, &record, &f->err), 0);
	CHECK_STR(memo_json_string(record, "state", ""), want);
	json_decref(record);
}

static void reads(struct fixture *f, const struct thing *t, const char *want)
{
	struct memo_result *r = NULL;
	CHECK_INT(memo_store_lookup(f->s, &t->i.identity, &r, &f->err), 0);
	char *text = r == NULL ? NULL : fx_read(f, r);
	CHECK_STR(text, want);
	free(text);
	memo_result_unref(r);
}

static void test_kill_after_publish(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_thing(&u, 2);
	fx_killed(&f, "publish");
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	CHECK_INT(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err), 0);
	CHECK_STR(memo_buf_str(&notice), "");
	reads(&f, &t, "published");
	state_is(&f, &u, "PENDING");
	json_t *h = NULL;
	CHECK_INT(memo_store_history(f.s, &u.i.identity, &h, &f.err), 0);
	CHECK_STR(memo_json_string(json_array_get(h, json_array_size(h) - 1), "reason", ""), "the daemon ended");
	json_decref(h);
	MEMO_AUTO_FREE char *staging = fx_path(&f, "staging");
	CHECK_INT(fx_count(staging), 0);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

/* Where the receipt lies now: among the recent ones, or in its shard. */
static char *receipt_path(struct fixture *f, const struct thing *t)
{
	char hex[MEMO_HEX_SIZE];
	char below[100];
	(void)memo_id_hex(&t->i.identity, hex);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(below, sizeof below, "receipts/recent.%d/%s", i, hex);
		char *path = fx_path(f, below);
		if (access(path, F_OK) == 0)
			return path;
		free(path);
	}
	(void)snprintf(below, sizeof below, "receipts/%.2s/%s", hex, hex);
	return fx_path(f, below);
}

static void lose_manifest(struct fixture *f)
{
	memo_store_close(f->s);
	f->s = NULL;
	MEMO_AUTO_FREE char *db = fx_path(f, "db");
	CHECK_INT(memo_io_remove_tree(AT_FDCWD, db), 0);
}

/* A receipt that is newer than the record of something in flight is the published result. */
static void test_receipt_ahead_of_record(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	memo_result_unref(fx_make(&f, &t, "finished"));
	MEMO_AUTO_FREE char *path = receipt_path(&f, &t);
	MEMO_AUTO_BUF struct memo_buf receipt = { 0 };
	CHECK_INT(memo_io_read_file(AT_FDCWD, path, 1 << 20, &receipt), 0);
	/* The same history without the last step: a manifest of its own. */
	CHECK_INT(unlink(path), 0);
	lose_manifest(&f);
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	fx_killed(&f, "almost");
	fx_write(path, memo_buf_str(&receipt), 0600);
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	state_is(&f, &t, "SUCCESS");
	reads(&f, &t, "finished");
	/* One that is older is not believed: a forced execution that was cut short. */
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, "forced"), 0);
	fx_killed(&f, "almost");
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	state_is(&f, &t, "PENDING");
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_rebuild(void)
{
	enum { MANY = 40 };
	struct fixture f;
	struct thing t[MANY];
	uint64_t ino[MANY];
	fx_begin(&f);
	struct memo_task *task = NULL;
	struct memo_task *task2 = NULL;
	enum memo_added added;
	CHECK_INT(memo_task_parse(TASK, strlen(TASK), "r.json", &task, &f.err), 0);
	CHECK_INT(memo_store_register(f.s, task, NULL, 0, false, &added, &task2, NULL, &f.err), 0);
	for (int i = 0; i < MANY; i++) {
		char text[16];
		(void)snprintf(text, sizeof text, "text %d", i);
		fx_thing(&t[i], i);
		struct memo_result *r = fx_make(&f, &t[i], text);
		ino[i] = r->ino;
		memo_result_unref(r);
	}
	struct memo_named before;
	CHECK_INT(memo_store_named(f.s, "t", "1", t[3].name, &before, &f.err), 0);
	/* A damaged receipt is put aside and the rest is not affected. */
	MEMO_AUTO_FREE char *bad = receipt_path(&f, &t[0]);
	fx_write(bad, "memofs-receipt 1 rubbish\n", 0600);
	lose_manifest(&f);
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	CHECK_INT(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err), 0);
	CHECK(strstr(memo_buf_str(&notice), "39 results were put back") != NULL);
	CHECK(strstr(memo_buf_str(&notice), "1 damaged receipts") != NULL);
	for (int i = 1; i < MANY; i++) {
		char text[16];
		(void)snprintf(text, sizeof text, "text %d", i);
		reads(&f, &t[i], text);
		struct memo_named n;
		CHECK_INT(memo_store_named(f.s, "t", "1", t[i].name, &n, &f.err), 0);
		CHECK(n.ino == ino[i] && n.state == MEMO_SUCCESS);
	}
	struct memo_result *r = NULL;
	CHECK_INT(memo_store_lookup(f.s, &t[0].i.identity, &r, &f.err), -ENOENT);
	struct memo_named after;
	CHECK_INT(memo_store_named(f.s, "t", "1", t[3].name, &after, &f.err), 0);
	CHECK(after.info == before.info);
	uint64_t next = 0;
	CHECK_INT(memo_store_ino(f.s, 1, &next), 0);
	CHECK(next > ino[MANY - 1] && next >= before.info + 32);
	struct memo_task *back = NULL;
	CHECK_INT(memo_store_task(f.s, "r", NULL, &back, &f.err), 0);
	CHECK_STR(back->version, task2->version);
	CHECK(back->ino == task2->ino && next > back->ino);
	memo_task_unref(back);
	memo_task_unref(task2);
	memo_task_unref(task);
	/* And so it stays. */
	memo_buf_reset(&notice);
	fx_reopen(&f, &notice);
	CHECK_STR(memo_buf_str(&notice), "");
	reads(&f, &t[5], "text 5");
	for (int i = 0; i < MANY; i++)
		fx_thing_clear(&t[i]);
	fx_end(&f);
}

/* Overwrites the middle of the files in db whose name ends so. */
static int spoil(struct fixture *f, const char *end)
{
	MEMO_AUTO_FREE char *db = fx_path(f, "db");
	DIR *d = opendir(db);
	int hit = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		size_t tail = strlen(end);
		struct stat st;
		if (len < tail || (strcmp(e->d_name + len - tail, end) != 0 && strncmp(e->d_name, end, tail) != 0))
			continue;
		int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
		if (fstat(fd, &st) == 0 && st.st_size > 8)
			hit += pwrite(fd, "\xff\xff\xff\xff", 4, st.st_size / 2) == 4;
		(void)close(fd);
	}
	(void)closedir(d);
	return hit;
}

static int child_many(const char *dir)
{
	struct fixture f;
	fx_child_open(&f, dir, "child");
	for (int i = 0; i < 30; i++) {
		struct thing t;
		fx_thing(&t, i);
		memo_result_unref(fx_make(&f, &t, t.name));
		fx_thing_clear(&t);
	}
	fx_child_kill();
	return 1;
}

static void test_damaged_manifest(void)
{
	static const char *const victim[] = { ".log", "MANIFEST-", "CURRENT" };
	for (size_t v = 0; v < sizeof victim / sizeof victim[0]; v++) {
		struct fixture f;
		fx_begin(&f);
		fx_killed(&f, "many");
		CHECK_ROW(spoil(&f, victim[v]) > 0, victim[v]);
		MEMO_AUTO_BUF struct memo_buf notice = { 0 };
		CHECK_ROW(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err) == 0, victim[v]);
		CHECK_ROW(strstr(memo_buf_str(&notice), "damaged") != NULL, victim[v]);
		for (int i = 0; i < 30; i++) {
			struct thing t;
			fx_thing(&t, i);
			reads(&f, &t, t.name);
			fx_thing_clear(&t);
		}
		/* What stands before the damage in the log is kept, also what no receipt tells. */
		struct thing first;
		json_t *h = NULL;
		fx_thing(&first, 0);
		CHECK_INT(memo_store_history(f.s, &first.i.identity, &h, &f.err), 0);
		CHECK_ROW(json_array_size(h) == (v == 1 ? 1 : 3), victim[v]);
		json_decref(h);
		fx_thing_clear(&first);
		MEMO_AUTO_FREE char *quarantine = fx_path(&f, "quarantine");
		CHECK_ROW(v == 2 || fx_count(quarantine) > 0, victim[v]); /* what CURRENT must say is known */
		fx_end(&f);
	}
}

/* After an unclean stop only what is missing comes back; what was forgotten stays so. */
static void test_missing_only(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 51);
	fx_thing(&u, 52);
	memo_result_unref(fx_make(&f, &t, "kept"));
	memo_result_unref(fx_make(&f, &u, "forgotten"));
	MEMO_AUTO_FREE char *path = receipt_path(&f, &u);
	MEMO_AUTO_BUF struct memo_buf receipt = { 0 };
	CHECK_INT(memo_io_read_file(AT_FDCWD, path, 1 << 20, &receipt), 0);
	CHECK_INT(memo_store_forget(f.s, &u.i.identity, &f.err), 0);
	CHECK_INT(access(path, F_OK), -1);
	fx_write(path, memo_buf_str(&receipt), 0600);
	fx_killed(&f, "publish");
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	struct memo_result *r = NULL;
	CHECK_INT(memo_store_lookup(f.s, &u.i.identity, &r, &f.err), -ENOENT);
	reads(&f, &t, "kept");
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

enum how { FLIP, ZERO, CUT, REMOVE, WAYS };

/* Damages each file of db whose name begins or ends with @which. */
static int damage(struct fixture *f, const char *which, enum how how)
{
	static const char zeros[4096];
	MEMO_AUTO_FREE char *db = fx_path(f, "db");
	DIR *d = opendir(db);
	int hit = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		size_t n = strlen(which);
		struct stat st;
		if (len < n || (strcmp(e->d_name + len - n, which) != 0 && strncmp(e->d_name, which, n) != 0))
			continue;
		int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
		if (fstat(fd, &st) == 0 && st.st_size > 8) {
			off_t at = st.st_size / 3;
			size_t left = (size_t)(st.st_size - at);
			hit += how == FLIP   ? pwrite(fd, "\xff\xff\xff\xff", 4, at) == 4
			       : how == ZERO ? pwrite(fd, zeros, left < sizeof zeros ? left : sizeof zeros, at) > 0
			       : how == CUT  ? ftruncate(fd, at) == 0
					     : unlinkat(dirfd(d), e->d_name, 0) == 0;
		}
		(void)close(fd);
	}
	(void)closedir(d);
	return hit;
}

/* Whatever happens to the manifest after a clean stop: it opens, all results are there, and no miss is answered on the way. */
static void test_damage_at_rest(void)
{
	static const char *const victim[] = { ".sst", "MANIFEST-", "CURRENT" };
	for (size_t v = 0; v < sizeof victim / sizeof victim[0]; v++) {
		for (int how = 0; how < WAYS; how++) {
			struct fixture f;
			struct thing t[20];
			char row[32];
			(void)snprintf(row, sizeof row, "%s %d", victim[v], how);
			fx_begin(&f);
			for (int i = 0; i < 20; i++) {
				fx_thing(&t[i], i);
				memo_result_unref(fx_make(&f, &t[i], t[i].name));
			}
			memo_store_close(f.s);
			f.s = NULL;
			CHECK_ROW(damage(&f, victim[v], (enum how)how) > 0, row);
			MEMO_AUTO_BUF struct memo_buf notice = { 0 };
			CHECK_ROW(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err) == 0, row);
			for (int i = 0; i < 20 && f.s != NULL; i++)
				reads(&f, &t[i], t[i].name);
			fx_reopen(&f, NULL);
			for (int i = 0; i < 20 && f.s != NULL; i++) {
				reads(&f, &t[i], t[i].name);
				fx_thing_clear(&t[i]);
			}
			fx_end(&f);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc > 3) {
		if (strcmp(argv[2], "publish") == 0)
			return child_publish(argv[3]);
		return strcmp(argv[2], "many") == 0 ? child_many(argv[3]) : child_almost(argv[3]);
	}
	RUN(test_kill_after_publish);
	RUN(test_receipt_ahead_of_record);
	RUN(test_rebuild);
	RUN(test_damaged_manifest);
	RUN(test_missing_only);
	RUN(test_damage_at_rest);
	return check_end();
}
