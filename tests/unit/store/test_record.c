/* Transitions, history, names and handles. */
#include "fixture.h"
#include "core/path.h"

/* A row: from; a character for each state that it may become, in the order of the enumeration. */
static void test_legal_table(void)
{
	static const struct {
		enum memo_state from;
		const char *to; /* PENDING SUBMITTED RUNNING SUCCESS FAILED CANCELLED RETRYING */
	} row[] = {
		{ MEMO_STATES, "y------" },    { MEMO_PENDING, "yyyyyy-" },  { MEMO_SUBMITTED, "y-yyyyy" },
		{ MEMO_RUNNING, "y--yyyy" },   { MEMO_SUCCESS, "y------" },  { MEMO_FAILED, "y------" },
		{ MEMO_CANCELLED, "y------" }, { MEMO_RETRYING, "yyy-yy-" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		for (int to = 0; to < MEMO_STATES; to++)
			CHECK_ROW(memo_state_legal(row[i].from, (enum memo_state)to) == (row[i].to[to] == 'y'),
				  memo_state_text(row[i].from));
		CHECK(!memo_state_legal(row[i].from, MEMO_STATES));
	}
	for (int i = 0; i < MEMO_STATES; i++)
		CHECK_INT(memo_state_parse(memo_state_text((enum memo_state)i)), i);
	CHECK_INT(memo_state_parse("pending"), MEMO_STATES);
}

static void test_transitions(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	CHECK_INT(fx_to(&f, &t, MEMO_RUNNING, NULL), -EPROTO);
	CHECK(strstr(f.err.text, "t/1/n=001: cannot go from NONE to RUNNING") != NULL);
	json_t *record = NULL;
	CHECK_INT(memo_store_record(f.s, &t.i.identity, &record, &f.err), -ENOENT);
	fx_run(&f, &t);
	CHECK_INT(fx_to(&f, &t, MEMO_FAILED, "exit status 3"), 0);
	CHECK_INT(memo_store_record(f.s, &t.i.identity, &record, &f.err), 0);
	CHECK_STR(memo_json_string(record, "state", NULL), "FAILED");
	CHECK_STR(memo_json_string(record, "message", NULL), "exit status 3");
	CHECK_STR(memo_json_string(record, "name", NULL), "n=001");
	CHECK_INT(memo_json_int(record, "sequence", 0), 3);
	CHECK_INT(memo_json_int(record, "attempts", 0), 1);
	CHECK(json_is_null(json_object_get(record, "result")));
	CHECK(json_equal(json_object_get(record, "inputs"), t.inputs));
	CHECK(json_equal(json_object_get(record, "key"), t.key));
	json_decref(record);
	CHECK_INT(fx_to(&f, &t, MEMO_RUNNING, NULL), -EPROTO);
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
	/* There is no old result to take up again. */
	CHECK_INT(fx_to(&f, &t, MEMO_SUCCESS, NULL), -EPROTO);
	json_t *h = NULL;
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_history(f.s, &t.i.identity, &h, &f.err), 0);
	CHECK_INT(json_array_size(h), 4);
	const json_t *first = json_array_get(h, 0);
	const json_t *third = json_array_get(h, 2);
	CHECK(json_is_null(json_object_get(first, "from")));
	CHECK_STR(memo_json_string(first, "to", NULL), "PENDING");
	CHECK_STR(memo_json_string(third, "from", NULL), "RUNNING");
	CHECK_STR(memo_json_string(third, "reason", NULL), "exit status 3");
	CHECK_INT(memo_json_int(third, "exit", -1), 3);
	CHECK_INT(strlen(memo_json_string(third, "time", "")), 24);
	json_decref(h);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_old_result_taken_up(void)
{
	struct fixture f;
	struct thing t;
	fx_begin(&f);
	fx_thing(&t, 1);
	struct memo_result *r = fx_make(&f, &t, "old");
	struct memo_result *now = NULL;
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, "forced"), 0);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &now, &f.err), -ENOENT);
	CHECK_INT(fx_to(&f, &t, MEMO_SUCCESS, "verified"), 0);
	CHECK_INT(memo_store_lookup(f.s, &t.i.identity, &now, &f.err), 0);
	CHECK(now->ino == r->ino);
	memo_result_unref(now);
	memo_result_unref(r);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_names(void)
{
	enum { MANY = 300 };
	struct fixture f;
	fx_begin(&f);
	uint64_t info = 0;
	for (int i = MANY; i > 0; i--) {
		struct thing t;
		fx_thing(&t, i);
		CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
		if (i % 100 == 0)
			memo_result_unref(fx_make(&f, &t, "x"));
		fx_thing_clear(&t);
	}
	/* Neither another version nor a longer task name gets mixed in. */
	struct thing t;
	fx_thing(&t, 900);
	t.i.version = "10";
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
	t.i.version = "1";
	t.i.task = "tt";
	t.i.identity.byte[0] ^= 1;
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
	struct memo_name_iter *it = NULL;
	CHECK_INT(memo_store_names(f.s, "t", "1", &it), 0);
	struct memo_named n;
	int count = 0;
	int success = 0;
	while (memo_name_iter_next(it, &n) == 0) {
		char want[16];
		(void)snprintf(want, sizeof want, "n=%03d", ++count);
		CHECK_STR(n.name, want);
		CHECK(n.known && n.info != info);
		info = n.info;
		success += n.state == MEMO_SUCCESS && n.ino != 0;
	}
	CHECK_INT(count, MANY);
	CHECK_INT(success, 3);
	CHECK_INT(memo_name_iter_next(it, &n), -ENOENT);
	memo_name_iter_free(it);
	/* One that is left in the middle. */
	CHECK_INT(memo_store_names(f.s, "t", "1", &it), 0);
	CHECK_INT(memo_name_iter_next(it, &n), 0);
	memo_name_iter_free(it);
	CHECK_INT(memo_store_names(f.s, "none", "1", &it), 0);
	CHECK_INT(memo_name_iter_next(it, &n), -ENOENT);
	memo_name_iter_free(it);
	fx_thing_clear(&t);
	fx_end(&f);
}

static void test_named_follows(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 1);
	struct memo_named n;
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), -ENOENT);
	CHECK_INT(memo_store_name_failed(f.s, "t", "1", t.name, t.inputs, "input file is missing", &f.err), 0);
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), 0);
	CHECK(!n.known && n.state == MEMO_FAILED && n.info != 0);
	uint64_t info = n.info;
	char *message = NULL;
	CHECK_INT(memo_store_named_message(f.s, "t", "1", t.name, &message), 0);
	CHECK_STR(message, "input file is missing");
	free(message);
	struct memo_result *r = fx_make(&f, &t, "one");
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), 0);
	CHECK(n.known && n.state == MEMO_SUCCESS && n.ino == r->ino && n.info == info);
	CHECK_INT(memo_store_named_message(f.s, "t", "1", t.name, &message), -ENOENT);
	/* Another identity under the same name (an input file has changed). */
	fx_thing(&u, 1);
	u.i.identity.byte[0] ^= 1;
	struct memo_result *q = fx_make(&f, &u, "two");
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), 0);
	CHECK(n.ino == q->ino && memo_id_equal(&n.identity, &u.i.identity) && n.info == info);
	CHECK_INT(memo_store_name_failed(f.s, "t", "1", t.name, t.inputs, "upstream failed", &f.err), 0);
	CHECK_INT(memo_store_named(f.s, "t", "1", t.name, &n, &f.err), 0);
	CHECK(n.state == MEMO_FAILED && n.ino == 0);
	memo_result_unref(r);
	memo_result_unref(q);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

static void test_handles(void)
{
	struct fixture f;
	struct thing t;
	struct thing u;
	fx_begin(&f);
	fx_thing(&t, 1);
	fx_thing(&u, 2);
	struct memo_id digest;
	struct memo_id found;
	char hex[MEMO_HEX_SIZE];
	char all[MEMO_HEX_SIZE];
	json_t *inputs = NULL;
	bool is_identity = true;
	CHECK_INT(memo_store_handle_put(f.s, "t", "1", t.inputs, &digest, &f.err), 0);
	CHECK_INT(memo_store_handle_put(f.s, "t", "1", t.inputs, &digest, &f.err), 0);
	(void)memo_id_hex(&digest, hex);
	(void)memcpy(all, hex, sizeof all);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), 0);
	CHECK(!is_identity && json_equal(inputs, t.inputs));
	json_decref(inputs);
	hex[13] = '\0';
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), 0);
	json_decref(inputs);
	CHECK_INT(memo_store_handle_find(f.s, "t", "2", hex, &inputs, &is_identity, &found, &f.err), -ENOENT);
	hex[11] = '\0';
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), -ENOENT);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", "0123456789ZZ", &inputs, &is_identity, &found, &f.err),
		  -ENOENT);
	/* Identities, two of which begin alike. */
	u.i.identity = t.i.identity;
	u.i.identity.byte[31] ^= 1;
	CHECK_INT(fx_to(&f, &t, MEMO_PENDING, NULL), 0);
	(void)memo_id_hex(&t.i.identity, hex);
	hex[13] = '\0';
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), 0);
	CHECK(is_identity && memo_id_equal(&found, &t.i.identity) && json_equal(inputs, t.inputs));
	json_decref(inputs);
	CHECK_INT(fx_to(&f, &u, MEMO_PENDING, NULL), 0);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), -ENOTUNIQ);
	(void)memo_id_hex(&u.i.identity, hex);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", hex, &inputs, &is_identity, &found, &f.err), 0);
	CHECK(is_identity && json_equal(inputs, u.inputs));
	json_decref(inputs);
	/* A demanded instance is found by its inputs digest too, and all of it after a restart. */
	fx_reopen(&f, NULL);
	CHECK_INT(memo_path_digest(u.inputs, &digest, &f.err), 0);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", memo_id_hex(&digest, hex), &inputs, &is_identity, &found,
					 &f.err),
		  0);
	CHECK(!is_identity && json_equal(inputs, u.inputs));
	json_decref(inputs);
	CHECK_INT(memo_store_handle_find(f.s, "t", "1", all, &inputs, &is_identity, &found, &f.err), 0);
	json_decref(inputs);
	fx_thing_clear(&t);
	fx_thing_clear(&u);
	fx_end(&f);
}

int main(void)
{
	RUN(test_legal_table);
	RUN(test_transitions);
	RUN(test_old_result_taken_up);
	RUN(test_names);
	RUN(test_named_follows);
	RUN(test_handles);
	return check_end();
}
