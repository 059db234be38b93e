/* Many threads on one store: each makes its own results, all look at all of them, one keeps changing the registry. */
#include "fixture.h"

#include "base/sync.h"

enum { THREADS = 4, ROUNDS = 40 };

static struct fixture shared;

static void *publisher(void *arg)
{
	int base = *(int *)arg * 1000;
	for (int i = 0; i < ROUNDS; i++) {
		struct fixture f = { .s = shared.s };
		struct thing t;
		char text[32];
		(void)snprintf(text, sizeof text, "text %d", i);
		fx_thing(&t, base + i);
		struct memo_result *r = fx_make(&f, &t, text);
		char *read_back = fx_read(&f, r);
		CHECK_STR(read_back, text);
		free(read_back);
		/* Others', too: a result is there whole or not at all. */
		for (int k = 0; k < THREADS; k++) {
			struct thing u;
			struct memo_result *q = NULL;
			fx_thing(&u, k * 1000 + i);
			if (memo_store_lookup(f.s, &u.i.identity, &q, &f.err) == 0) {
				read_back = fx_read(&f, q);
				CHECK_STR(read_back, text);
				free(read_back);
				memo_result_unref(q);
			}
			fx_thing_clear(&u);
		}
		if (i % 4 == 0)
			CHECK_INT(memo_store_forget(f.s, &t.i.identity, &f.err), 0);
		memo_result_unref(r);
		fx_thing_clear(&t);
	}
	return NULL;
}

static void *registrar(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		char json[128];
		struct memo_err err;
		struct memo_task *t = NULL;
		enum memo_added how;
		char latest[MEMO_NAME_MAX + 1] = "";
		(void)snprintf(json, sizeof json,
			       "{\"memofs\":1,\"name\":\"t\",\"version\":\"%d\",\"command\":[\"x\"]}", i % 5);
		CHECK_INT(memo_task_parse(json, strlen(json), "t", &t, &err), 0);
		CHECK_INT(memo_store_register(shared.s, t, NULL, 0, false, &how, NULL, NULL, &err), 0);
		CHECK_INT(memo_store_latest(shared.s, "t", latest), 0);
		CHECK_STR(latest, t->version);
		if (i % 7 == 0)
			CHECK_INT(memo_store_unregister(shared.s, "t", NULL, &err), 0);
		memo_task_unref(t);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t thread[THREADS + 1];
	int number[THREADS];
	fx_begin(&shared);
	for (int i = 0; i < THREADS; i++) {
		number[i] = i;
		CHECK_INT(memo_thread_start(&thread[i], "publisher", publisher, &number[i]), 0);
	}
	CHECK_INT(memo_thread_start(&thread[THREADS], "registrar", registrar, NULL), 0);
	for (int i = 0; i <= THREADS; i++)
		CHECK_INT(pthread_join(thread[i], NULL), 0);
	struct memo_name_iter *it = NULL;
	struct memo_named n;
	int success = 0;
	int all = 0;
	CHECK_INT(memo_store_names(shared.s, "t", "1", &it), 0);
	while (memo_name_iter_next(it, &n) == 0) {
		all++;
		success += n.state == MEMO_SUCCESS;
	}
	memo_name_iter_free(it);
	CHECK_INT(all, THREADS * ROUNDS);
	CHECK_INT(success, THREADS * ROUNDS * 3 / 4);
	fx_end(&shared);
}

int main(void)
{
	RUN(test_threads);
	return check_end();
}
