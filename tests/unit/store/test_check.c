/* Check: every kind of row that leads nowhere or is missing is found, told once, mended, and then found no more. The manifest
 * is changed behind the store's back. */
#include "fixture.h"
#include "core/identity.h"
#include "core/path.h"
#include "store/internal.h"

#define THINGS 3

struct seen {
	unsigned count[MEMO_FOUND_LEFT + 1];
	char text[4096]; /* of the findings, one line each */
};

static void found(void *arg, const struct memo_finding *f)
{
	struct seen *s = arg;
	size_t at = strlen(s->text);
	s->count[f->kind]++;
	(void)snprintf(s->text + at, sizeof s->text - at, "%s %s\n", f->where, f->what);
}

static struct seen check(struct fixture *f, bool repair)
{
	struct seen s = { { 0 }, "" };
	struct memo_check c = { .repair = repair, .found = found, .arg = &s };
	CHECK_INT(memo_store_check(f->s, &c, &f->err), 0);
	CHECK_INT(c.wrong, s.count[MEMO_FOUND_WRONG] + s.count[MEMO_FOUND_REPAIRED] + s.count[MEMO_FOUND_FAILED]);
	return s;
}

/* Told once with these words, changed by nothing but a repair, and gone after it. */
static void mended(struct fixture *f, const char *what)
{
	struct seen s = check(f, false);
	CHECK_ROW(s.count[MEMO_FOUND_WRONG] == 1, what);
	CHECK_STR(strstr(s.text, what) != NULL ? what : s.text, what);
	s = check(f, false);
	CHECK_ROW(s.count[MEMO_FOUND_WRONG] == 1, what);
	s = check(f, true);
	CHECK_ROW(s.count[MEMO_FOUND_REPAIRED] == 1 && s.count[MEMO_FOUND_FAILED] == 0, what);
	s = check(f, false);
	CHECK_STR(s.text, "");
}

struct world {
	struct fixture f;
	struct thing t[THINGS];
	struct memo_result *r[THINGS];
};

static void world_begin(struct world *w)
{
	fx_begin(&w->f);
	for (int i = 0; i < THINGS; i++) {
		char text[32];
		fx_thing(&w->t[i], i + 1);
		CHECK_INT(memo_identity_of(w->t[i].key, &w->t[i].i.identity, NULL), 0);
		(void)snprintf(text, sizeof text, "result %d\n", i);
		w->r[i] = fx_make(&w->f, &w->t[i], text);
	}
	CHECK_STR(check(&w->f, false).text, "");
}

static void world_end(struct world *w)
{
	for (int i = 0; i < THINGS; i++) {
		memo_result_unref(w->r[i]);
		fx_thing_clear(&w->t[i]);
	}
	fx_end(&w->f);
}

static void change(struct world *w, enum memo_table table, const void *key, size_t len, const char *value)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	if (value != NULL)
		memo_batch_put(&b, table, key, len, value, strlen(value));
	else
		memo_batch_delete(&b, table, key, len);
	CHECK_INT(memo_manifest_write(w->f.s->manifest, &b, false, &w->f.err), 0);
	memo_results_clear(w->f.s);
}

/* The result is served as it was made. */
static void still_there(struct world *w, int i)
{
	char want[32];
	struct memo_result *r = NULL;
	(void)snprintf(want, sizeof want, "result %d\n", i);
	CHECK_INT(memo_store_lookup(w->f.s, &w->t[i].i.identity, &r, &w->f.err), 0);
	if (r == NULL)
		return;
	MEMO_AUTO_FREE char *text = fx_read(&w->f, r);
	CHECK_STR(text, want);
	memo_result_unref(r);
}

static void test_records(void)
{
	struct world w;
	world_begin(&w);
	const struct memo_id *id = &w.t[1].i.identity;
	change(&w, MEMO_INSTANCES, id->byte, sizeof id->byte, NULL);
	struct seen s = check(&w.f, false);
	CHECK(strstr(s.text, "has a receipt and no record") != NULL);
	/* its name and its reference lead nowhere as well, until the record is back */
	s = check(&w.f, true);
	CHECK_INT(s.count[MEMO_FOUND_FAILED], 0);
	CHECK_STR(check(&w.f, false).text, "");
	still_there(&w, 1);
	change(&w, MEMO_INSTANCES, id->byte, sizeof id->byte, "{");
	s = check(&w.f, true);
	CHECK(strstr(s.text, "has a record that cannot be read") != NULL);
	CHECK_STR(check(&w.f, false).text, "");
	still_there(&w, 1);
	change(&w, MEMO_INSTANCES, id->byte, sizeof id->byte, "{\"identity\": \"x\", \"state\": \"SUCCESS\"}");
	s = check(&w.f, true);
	CHECK(strstr(s.text, "is not what its identity says") != NULL);
	CHECK_STR(check(&w.f, false).text, "");
	still_there(&w, 1);
	world_end(&w);
}

/* An older record, and one that tells of another result. */
static void test_disagree(void)
{
	struct world w;
	world_begin(&w);
	const struct memo_id *id = &w.t[0].i.identity;
	json_t *record = NULL;
	CHECK_INT(memo_record_load(w.f.s, id, &record, NULL), 0);
	MEMO_AUTO_JSON json_t *copy = json_deep_copy(record);
	CHECK_INT(json_object_set_new(copy, "sequence", json_integer(1)), 0);
	MEMO_AUTO_FREE char *older = json_dumps(copy, 0);
	change(&w, MEMO_INSTANCES, id->byte, sizeof id->byte, older);
	mended(&w.f, "has a record that is older than its receipt");
	CHECK_INT(json_object_set_new(json_object_get(record, "result"), "size", json_integer(1)), 0);
	MEMO_AUTO_FREE char *other = json_dumps(record, 0);
	change(&w, MEMO_INSTANCES, id->byte, sizeof id->byte, other);
	mended(&w.f, "has a record that tells of another result than its receipt");
	still_there(&w, 0);
	json_decref(record);
	world_end(&w);
}

static void test_names(void)
{
	struct world w;
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	world_begin(&w);
	const struct memo_instance *i = &w.t[2].i;
	CHECK_INT(memo_key(&k, i->task, i->version, i->name), 0);
	change(&w, MEMO_NAMES, k.data, k.len, NULL);
	mended(&w.f, "has a result and no name");
	change(&w, MEMO_NAMES, k.data, k.len, "no json");
	struct seen s = check(&w.f, false);
	CHECK_INT(s.count[MEMO_FOUND_WRONG], 1);
	CHECK(strstr(s.text, "is a name whose record makes no sense") != NULL);
	CHECK_INT(check(&w.f, true).count[MEMO_FOUND_REPAIRED], 2); /* the row, and the name again */
	CHECK_STR(check(&w.f, false).text, "");
	memo_buf_reset(&k);
	CHECK_INT(memo_key(&k, "t", "1", "x=nothing"), 0);
	change(&w, MEMO_NAMES, k.data, k.len,
	       "{\"identity\": \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\", \"info\": "
	       "5000}");
	mended(&w.f, "is a name that leads to nothing");
	struct memo_id digest;
	char hex[MEMO_HEX_SIZE];
	CHECK_INT(memo_path_digest(i->inputs, &digest, NULL), 0);
	memo_buf_reset(&k);
	CHECK_INT(memo_key(&k, i->task, i->version, memo_id_hex(&digest, hex)), 0);
	change(&w, MEMO_HANDLES, k.data, k.len, NULL);
	mended(&w.f, "no handle for its inputs");
	memo_buf_reset(&k);
	memset(&digest, 7, sizeof digest);
	CHECK_INT(memo_key(&k, i->task, i->version, memo_id_hex(&digest, hex)), 0);
	change(&w, MEMO_HANDLES, k.data, k.len, "{\"a\": 1}");
	mended(&w.f, "is not the digest of its inputs");
	still_there(&w, 2);
	world_end(&w);
}

static void test_references(void)
{
	struct world w;
	unsigned char key[2 * MEMO_ID_BYTES];
	world_begin(&w);
	memcpy(key, w.r[0]->hash.byte, MEMO_ID_BYTES);
	memcpy(key + MEMO_ID_BYTES, w.t[0].i.identity.byte, MEMO_ID_BYTES);
	change(&w, MEMO_OBJECTS, key, MEMO_ID_BYTES, NULL);
	mended(&w.f, "has a result that is not listed under its hash");
	change(&w, MEMO_OBJECTS, key, sizeof key, NULL);
	mended(&w.f, "has a result that does not refer to its object");
	memcpy(key + MEMO_ID_BYTES, w.t[1].i.identity.byte, MEMO_ID_BYTES);
	change(&w, MEMO_OBJECTS, key, sizeof key, "12345678t");
	mended(&w.f, "is counted as a user of an object that it does not use");
	memset(key, 9, MEMO_ID_BYTES);
	change(&w, MEMO_OBJECTS, key, MEMO_ID_BYTES, "{}");
	mended(&w.f, "has a record as an object that makes no sense");
	still_there(&w, 0);
	world_end(&w);
}

/* What is left over is told, and is not wrong. */
static void test_left(void)
{
	struct world w;
	unsigned char key[MEMO_ID_BYTES + 8] = { 3 };
	world_begin(&w);
	change(&w, MEMO_HISTORY, key, sizeof key, "{}");
	change(&w, MEMO_META, "alias\0abcdefghabcdefghabcdefghabcdefgh", 38, "12345678123456781234567812345678");
	change(&w, MEMO_RUN_INSTANCES, "20260101-000000-abcd\0/tasks/t/1/x", 33, "{}");
	struct seen s = check(&w.f, false);
	CHECK_INT(s.count[MEMO_FOUND_LEFT], 3);
	CHECK_INT(s.count[MEMO_FOUND_WRONG], 0);
	s = check(&w.f, true);
	CHECK_INT(s.count[MEMO_FOUND_LEFT], 3);
	CHECK_STR(check(&w.f, false).text, "");
	world_end(&w);
}

/* One at a time; an end that is asked for is an end. */
static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

static void test_stop(void)
{
	struct world w;
	struct seen s = { { 0 }, "" };
	world_begin(&w);
	struct memo_check c = { .found = found, .arg = &s, .scrub = { .stop = at_once } };
	CHECK_INT(memo_store_check(w.f.s, &c, &w.f.err), -ECANCELED);
	atomic_store(&w.f.s->checking, true);
	CHECK_INT(memo_store_check(w.f.s, &c, &w.f.err), -EBUSY);
	atomic_store(&w.f.s->checking, false);
	CHECK_STR(check(&w.f, false).text, "");
	world_end(&w);
}

int main(void)
{
	RUN(test_records);
	RUN(test_disagree);
	RUN(test_names);
	RUN(test_references);
	RUN(test_left);
	RUN(test_stop);
	return check_end();
}
