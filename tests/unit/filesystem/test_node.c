/* The node table: one meaning for an id, names that move, placeholders, opens of "cache": false tasks, forgetting. */
#include "../check.h"

#include "filesystem/node.h"

#include <stdlib.h>
#include <sys/stat.h>

#define KEY "tasks/t/1/a=1"

static struct memo_nodes table;

static struct memo_result *result(uint64_t ino, unsigned char hash)
{
	struct memo_result *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	r->refs = 1;
	r->ino = ino;
	r->hash.byte[0] = hash;
	return r;
}

static struct memo_node_spec placeholder(uint64_t ino)
{
	return (struct memo_node_spec){ .ino = ino,
					.kind = MEMO_NODE_INSTANCE,
					.view = MEMO_VIEW_TASKS,
					.type = S_IFREG,
					.key = KEY,
					.parent = 50,
					.demandable = true };
}

static struct memo_node *make(struct memo_node_spec s, int want)
{
	struct memo_node *n = NULL;
	CHECK_INT(memo_nodes_make(&table, &s, &n, NULL), want);
	return n;
}

static void begin(void)
{
	CHECK_INT(memo_nodes_init(&table), 0);
}

static void end(void)
{
	CHECK_INT(memo_nodes_count(&table), 0);
	memo_nodes_clear(&table);
}

static bool entry(struct memo_node *n, pid_t tid)
{
	bool tainted;
	return memo_node_entry_begin(&table, n, tid, &tainted);
}

static void test_counts(void)
{
	begin();
	struct memo_node *n = make(placeholder(2000), 0);
	CHECK(!entry(n, 1));
	CHECK(!entry(n, 1));
	memo_nodes_put(&table, n);
	CHECK_INT(memo_nodes_count(&table), 1);
	memo_nodes_forget(&table, 2000, 1);
	CHECK(memo_nodes_get(&table, 2000) == n);
	memo_nodes_forget(&table, 2000, 1);
	CHECK_INT(memo_nodes_count(&table), 1); /* pinned */
	memo_nodes_put(&table, n);
	CHECK(memo_nodes_get(&table, 2000) == NULL);
	CHECK(memo_nodes_current(&table, KEY) == NULL);
	memo_nodes_forget(&table, 4711, 7); /* an id that nobody has */
	end();
}

static void test_one_placeholder_for_a_name(void)
{
	begin();
	CHECK(make(placeholder(0), -ENOENT) == NULL);
	struct memo_node *n = make(placeholder(2000), 0);
	struct memo_node *again = make(placeholder(0), 0), *third = make(placeholder(2001), 0);
	CHECK(again == n && third == n);
	for (int i = 0; i < 3; i++)
		memo_nodes_put(&table, n);
	end();
}

static void test_result_is_bound_once(void)
{
	begin();
	struct memo_result *a = result(2000, 1), *b = result(2001, 2);
	struct memo_node *n = make(placeholder(2000), 0);
	struct memo_node_spec s = placeholder(2000);
	s.result = a;
	CHECK(make(s, 0) == n); /* a look-up that found it before the answer came */
	CHECK(atomic_load(&n->result) == a);
	memo_node_bind(&table, n, b, 0);
	CHECK(atomic_load(&n->result) == a);
	/* The name means another result: another node; the old one stays as it is. */
	s = placeholder(2001);
	s.result = b;
	struct memo_node *m = make(s, 0);
	CHECK(m != n);
	CHECK(atomic_load(&n->result) == a);
	struct memo_node *now = memo_nodes_current(&table, KEY);
	CHECK(now == m);
	memo_nodes_put(&table, now);
	/* Unknown again: neither is given for it. */
	struct memo_node *p = make(placeholder(2002), 0);
	CHECK(p != n && p != m);
	memo_nodes_put(&table, p);
	memo_nodes_put(&table, m);
	memo_nodes_put(&table, n);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	memo_result_unref(b);
	end();
}

static void test_id_of_another_result(void)
{
	begin();
	struct memo_result *a = result(2000, 1), *b = result(2000, 2);
	struct memo_node_spec s = placeholder(2000);
	s.result = a;
	struct memo_node *n = make(s, 0);
	s.result = b;
	s.key = "tasks/t/1/a=2";
	CHECK(make(s, -EEXIST) == NULL);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	memo_result_unref(b);
	end();
}

static void test_directory_has_one_name(void)
{
	begin();
	struct memo_result *a = result(2000, 1);
	struct memo_node_spec s = placeholder(2000);
	s.type = S_IFDIR;
	s.result = a;
	struct memo_node *n = make(s, 0);
	CHECK(make(s, 0) == n);
	s.key = "tasks/t/1/a=1,label=x";
	CHECK(make(s, -EEXIST) == NULL);
	s.ino = 3000; /* fresh ids */
	struct memo_node *m = make(s, 0);
	CHECK(m != n);
	s.ino = 2000;
	CHECK(make(s, 0) == m); /* found again by its name */
	memo_nodes_put(&table, m);
	memo_nodes_put(&table, m);
	memo_nodes_put(&table, n);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	end();
}

static void test_file_is_shared(void)
{
	begin();
	struct memo_result *a = result(2000, 1);
	struct memo_node_spec s = placeholder(2000);
	s.result = a;
	struct memo_node *n = make(s, 0);
	s.view = MEMO_VIEW_CACHED;
	s.key = "cached/t/1/a=1";
	CHECK(make(s, 0) == n);
	memo_nodes_put(&table, n);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	end();
}

/* Which placeholder replies make the first OPEN say ESTALE, once a thread. */
static void test_taint(void)
{
	static const struct {
		const char *name;
		pid_t tids[3];
		int asked_before; /* GETATTR came before this reply; 9: none */
		enum memo_admit want;
	} rows[] = {
		{ "one", { 7, 0, 0 }, 9, MEMO_ADMIT },
		{ "twice by the same thread", { 7, 7, 0 }, 9, MEMO_ADMIT },
		{ "two threads", { 7, 8, 0 }, 9, MEMO_ADMIT_RETRY },
		{ "after a GETATTR", { 7, 7, 0 }, 1, MEMO_ADMIT_RETRY },
		{ "before a GETATTR", { 7, 0, 0 }, 1, MEMO_ADMIT },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begin();
		struct memo_result *a = result(2000, 1);
		struct memo_node *n = make(placeholder(2000), 0);
		int sent = 0;
		for (; rows[i].tids[sent] != 0; sent++) {
			if (rows[i].asked_before == sent)
				memo_node_asked(&table, n);
			CHECK(!entry(n, rows[i].tids[sent]));
		}
		memo_node_bind(&table, n, a, 0);
		CHECK_ROW(memo_node_admit(&table, n, KEY, 7) == rows[i].want, rows[i].name);
		CHECK_ROW(memo_node_admit(&table, n, KEY, 7) == MEMO_ADMIT, rows[i].name); /* never twice */
		if (rows[i].want != MEMO_ADMIT)
			CHECK_ROW(memo_node_admit(&table, n, KEY, 8) == MEMO_ADMIT_RETRY, rows[i].name);
		CHECK(entry(n, 9)); /* true attributes go out */
		CHECK_ROW(memo_node_admit(&table, n, KEY, 10) == MEMO_ADMIT, rows[i].name);
		memo_nodes_put(&table, n);
		memo_nodes_forget(&table, 2000, (uint64_t)sent + 1);
		memo_result_unref(a);
		memo_nodes_clear(&table);
	}
}

/* What leads the retried look-up ends with the open, though true attributes went out in between. */
static void test_ticket_ends(void)
{
	begin();
	struct memo_node *n = make(placeholder(2000), 0);
	struct memo_result *a = result(2000, 1);
	CHECK(!entry(n, 7));
	CHECK(!entry(n, 8));
	memo_node_bind(&table, n, a, 0);
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT_RETRY);
	struct memo_node *found = memo_nodes_ticket_find(&table, KEY, 7);
	CHECK(found == n);
	memo_nodes_put(&table, found);
	CHECK(entry(n, 7)); /* the retried look-up */
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT);
	CHECK(memo_nodes_ticket_find(&table, KEY, 7) == NULL);
	memo_nodes_put(&table, n);
	memo_nodes_forget(&table, 2000, 3);
	memo_result_unref(a);
	end();
}

static void test_failed_reply(void)
{
	begin();
	struct memo_node *n = make(placeholder(2000), 0);
	struct memo_result *a = result(2000, 1);
	bool tainted;
	CHECK(!entry(n, 7));
	CHECK(!entry(n, 8));
	memo_node_bind(&table, n, a, 0);
	CHECK(memo_node_entry_begin(&table, n, 7, &tainted));
	CHECK(tainted);
	memo_node_entry_failed(&table, n, tainted);
	CHECK_INT(n->lookups, 2);
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT_RETRY);
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT);
	memo_nodes_put(&table, n);
	memo_nodes_forget(&table, 2000, 2);
	memo_result_unref(a);
	end();
}

static void test_once(void)
{
	begin();
	struct memo_result *a = result(2000, 1);
	struct memo_node_spec s = placeholder(2000);
	s.once = true;
	struct memo_node *n = make(s, 0);
	memo_node_bind(&table, n, a, 0);
	CHECK(make(s, 0) == n); /* a stat before the open belongs to it */
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT);
	CHECK_INT(memo_node_admit(&table, n, KEY, 8), MEMO_ADMIT_OTHER);
	s.ino = 2001;
	struct memo_node *m = make(s, 0);
	CHECK(m != n);
	/* Reserved for a thread: others get another. */
	memo_nodes_ticket(&table, KEY, 8, m);
	struct memo_node *found = memo_nodes_ticket_find(&table, KEY, 8);
	CHECK(found == m);
	CHECK(memo_nodes_ticket_find(&table, KEY, 9) == NULL);
	CHECK_INT(memo_node_admit(&table, m, KEY, 9), MEMO_ADMIT_OTHER);
	s.ino = 2002;
	struct memo_node *other = make(s, 0);
	CHECK(other != m);
	CHECK_INT(memo_node_admit(&table, m, KEY, 8), MEMO_ADMIT);
	CHECK(memo_nodes_ticket_find(&table, KEY, 8) == NULL);
	memo_nodes_put(&table, other);
	memo_nodes_put(&table, found);
	memo_nodes_put(&table, m);
	memo_nodes_put(&table, n);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	end();
}

/* A stat belongs to the next open of the same thread, and to nobody else's. */
static void test_keep(void)
{
	begin();
	struct memo_result *a = result(2000, 1);
	struct memo_node_spec s = placeholder(2000);
	s.once = true;
	struct memo_node *n = make(s, 0);
	memo_node_bind(&table, n, a, 0);
	memo_node_keep(&table, n, KEY, 7);
	memo_node_keep(&table, n, KEY, 8);
	CHECK(memo_nodes_ticket_find(&table, KEY, 8) == NULL);
	struct memo_node *found = memo_nodes_ticket_find(&table, KEY, 7);
	CHECK(found == n);
	memo_nodes_put(&table, found);
	s.ino = 2001;
	struct memo_node *other = make(s, 0);
	CHECK(other != n);
	CHECK_INT(memo_node_admit(&table, n, KEY, 7), MEMO_ADMIT);
	memo_node_keep(&table, n, KEY, 7); /* an fstat after the open keeps nothing */
	CHECK(memo_nodes_ticket_find(&table, KEY, 7) == NULL);
	memo_nodes_put(&table, other);
	memo_nodes_put(&table, n);
	memo_result_unref(a);
	end();
}

static size_t length(const struct memo_gone *g)
{
	size_t n = 0;
	for (; g != NULL; g = g->next)
		n++;
	return n;
}

static void test_detach(void)
{
	static const char *const keys[] = { "tasks/t",	      "tasks/t/latest",	    "tasks/t/1",  "tasks/t/1/a=1",
					    "cached/t/1/a=1", "info/t/1/a=1/state", "tasks/t/10", "tasks/t/10/a=1",
					    "tasks/tt",	      "tasks/tt/1/a=1" };
	struct memo_node *n[10];
	begin();
	for (unsigned i = 0; i < 10; i++) {
		struct memo_node_spec s = placeholder(2000 + i);
		s.key = keys[i];
		s.parent = 50 + i;
		n[i] = make(s, 0);
	}
	struct memo_gone *gone = NULL;
	CHECK_INT(memo_nodes_detach_name(&table, keys[3], n[4], &gone), 0); /* leads elsewhere: stays */
	CHECK_INT(length(gone), 0);
	CHECK_INT(memo_nodes_detach_node(&table, n[3], &gone), 0);
	CHECK_INT(length(gone), 1);
	if (gone != NULL) {
		CHECK_STR(gone->name, "a=1");
		CHECK_INT(gone->parent, 53);
	}
	memo_gone_free(gone);
	gone = NULL;
	CHECK_INT(memo_nodes_detach_version(&table, "t", "1", &gone), 0);
	CHECK_INT(length(gone), 5);
	memo_gone_free(gone);
	for (unsigned i = 0; i < 10; i++) {
		struct memo_node *c = memo_nodes_current(&table, keys[i]);
		CHECK_ROW((c != NULL) == (i >= 6), keys[i]);
		memo_nodes_put(&table, c);
		memo_nodes_put(&table, n[i]);
	}
	end();
}

static void test_events_unsettle(void)
{
	begin();
	struct memo_node_spec s = placeholder(2000);
	struct memo_node *n = NULL;
	bool stable = false;
	s.epoch = atomic_load(&table.epoch);
	CHECK_INT(memo_nodes_make(&table, &s, &n, &stable), 0);
	CHECK(stable);
	memo_nodes_put(&table, n);
	s.ino = 2001;
	(void)atomic_fetch_add(&table.epoch, 1);
	CHECK_INT(memo_nodes_make(&table, &s, &n, &stable), 0);
	CHECK(!stable);
	CHECK(memo_nodes_current(&table, KEY) == NULL);
	memo_nodes_put(&table, n);
	end();
}

int main(void)
{
	RUN(test_counts);
	RUN(test_one_placeholder_for_a_name);
	RUN(test_result_is_bound_once);
	RUN(test_id_of_another_result);
	RUN(test_directory_has_one_name);
	RUN(test_file_is_shared);
	RUN(test_taint);
	RUN(test_ticket_ends);
	RUN(test_failed_reply);
	RUN(test_once);
	RUN(test_keep);
	RUN(test_detach);
	RUN(test_events_unsettle);
	return check_end();
}
