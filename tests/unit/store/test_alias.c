/* Aliases: what a later rule of comments finds of what an earlier one stored, and what it must not find. */
#include "fixture.h"

/* A thing with an identity of its own and the raw identity @raw. */
static void make_thing(struct thing *t, int n, struct memo_id *raw, int k)
{
	fx_thing(t, n);
	memset(raw, 0x70 + k, sizeof *raw);
	t->i.raw = raw;
}

static void test_take_over(void)
{
	struct fixture f;
	struct thing a, b, c;
	struct memo_id raw, other;
	struct memo_result *got = NULL;
	fx_begin(&f);
	make_thing(&a, 1, &raw, 1);
	make_thing(&b, 2, &raw, 1);
	make_thing(&c, 3, &other, 2);
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), -ENOENT);
	struct memo_result *r = fx_make(&f, &a, "hello\n");
	/* other bytes, or no raw identity: nothing */
	CHECK_INT(memo_store_take_over(f.s, &c.i, &got, &f.err), -ENOENT);
	c.i.raw = NULL;
	CHECK_INT(memo_store_take_over(f.s, &c.i, &got, &f.err), -ENOENT);
	CHECK_INT(memo_store_lookup(f.s, &b.i.identity, &got, &f.err), -ENOENT);
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), 0);
	CHECK(memo_id_equal(&got->identity, &b.i.identity) && memo_id_equal(&got->hash, &r->hash));
	CHECK(got->mtime_ns == r->mtime_ns && got->ino != r->ino);
	memo_result_unref(got);
	got = NULL;
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), -ENOENT); /* once */
	MEMO_AUTO_JSON json_t *history = NULL;
	CHECK_INT(memo_store_history(f.s, &b.i.identity, &history, &f.err), 0);
	CHECK_INT(json_array_size(history), 2);
	CHECK(strstr(memo_json_string(json_array_get(history, 1), "reason", ""), "taken over from") != NULL);
	/* a record of its own: it survives the other's end, and a restart */
	CHECK_INT(memo_store_forget(f.s, &a.i.identity, &f.err), 0);
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_lookup(f.s, &b.i.identity, &got, &f.err), 0);
	MEMO_AUTO_FREE char *text = fx_read(&f, got);
	CHECK_STR(text, "hello\n");
	memo_result_unref(got);
	got = NULL;
	/* what was forgotten stays so */
	CHECK_INT(memo_store_forget(f.s, &b.i.identity, &f.err), 0);
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), -ENOENT);
	memo_result_unref(r);
	fx_thing_clear(&a);
	fx_thing_clear(&b);
	fx_thing_clear(&c);
	fx_end(&f);
}

/* The bytes that were executed last are those that the entry belongs to. */
static void test_replaced(void)
{
	struct fixture f;
	struct thing a, b, c;
	struct memo_id raw, other;
	struct memo_result *got = NULL;
	fx_begin(&f);
	make_thing(&a, 1, &raw, 1);
	make_thing(&b, 2, &raw, 1);
	make_thing(&c, 3, &other, 2);
	memo_result_unref(fx_make(&f, &a, "one\n"));
	a.i.raw = &other; /* forced, with other comments */
	CHECK_INT(fx_to(&f, &a, MEMO_PENDING, "forced"), 0);
	memo_result_unref(fx_make(&f, &a, "two\n"));
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), -ENOENT);
	CHECK_INT(memo_store_take_over(f.s, &c.i, &got, &f.err), 0);
	MEMO_AUTO_FREE char *text = fx_read(&f, got);
	CHECK_STR(text, "two\n");
	memo_result_unref(got);
	fx_thing_clear(&a);
	fx_thing_clear(&b);
	fx_thing_clear(&c);
	fx_end(&f);
}

/* From bytes to a rule, and from a revoked rule back to bytes. */
static void test_bytes(void)
{
	struct fixture f;
	struct thing a, b, c, d;
	struct memo_id raw, other;
	struct memo_result *got = NULL;
	fx_begin(&f);
	make_thing(&a, 1, &raw, 1);
	make_thing(&b, 2, &raw, 1);
	raw = a.i.identity; /* each byte of a's code counted */
	memo_result_unref(fx_make(&f, &a, "bytes\n"));
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), 0);
	memo_result_unref(got);
	got = NULL;
	make_thing(&c, 3, &other, 2);
	make_thing(&d, 4, &other, 2);
	other = d.i.identity;
	memo_result_unref(fx_make(&f, &c, "rule\n"));
	CHECK_INT(memo_store_take_over(f.s, &d.i, &got, &f.err), 0);
	MEMO_AUTO_FREE char *text = fx_read(&f, got);
	CHECK_STR(text, "rule\n");
	memo_result_unref(got);
	fx_thing_clear(&a);
	fx_thing_clear(&b);
	fx_thing_clear(&c);
	fx_thing_clear(&d);
	fx_end(&f);
}

static void remove_database(const struct fixture *f)
{
	char command[400];
	(void)snprintf(command, sizeof command, "rm -rf '%s/db'", f->dir);
	pid_t pid = fork();
	if (pid == 0) {
		(void)execlp("sh", "sh", "-c", command, (char *)NULL);
		_exit(1);
	}
	int status = 0;
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* Aliases come back from the receipts. */
static void test_rebuilt(void)
{
	struct fixture f;
	struct thing a, b;
	struct memo_id raw;
	struct memo_result *got = NULL;
	struct memo_buf notice = { 0 };
	fx_begin(&f);
	make_thing(&a, 1, &raw, 1);
	make_thing(&b, 2, &raw, 1);
	memo_result_unref(fx_make(&f, &a, "hello\n"));
	memo_store_close(f.s);
	f.s = NULL;
	remove_database(&f);
	CHECK_INT(memo_store_open(f.dir, "test", 0, &notice, &f.s, &f.err), 0);
	CHECK_INT(memo_store_take_over(f.s, &b.i, &got, &f.err), 0);
	memo_result_unref(got);
	memo_buf_clear(&notice);
	fx_thing_clear(&a);
	fx_thing_clear(&b);
	fx_end(&f);
}

int main(void)
{
	RUN(test_take_over);
	RUN(test_replaced);
	RUN(test_bytes);
	RUN(test_rebuilt);
	return check_end();
}
