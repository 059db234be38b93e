/* fsck and verify-all: long work in a thread of its own, which tells what it finds through a list that the steps of the call
 * empty. The list is short: who does not take what is found is waited for. Nothing else of the daemon waits. */
#include "service_call.h"

#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "runner/run.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#define PENDING 512 /* findings that wait to be emitted */
#define PENDING_NAP_MS 20
#define PROGRESS_NS (500 * MEMO_NS_PER_MS)

struct memo_service_check {
	struct memo_check check; /* one of the two */
	struct memo_verify_all verify;
	bool verifies;
	int64_t next_ns; /* when progress is told again; the step's own */
	uint64_t told;
	uint64_t total_bytes, total; /* about; set by the thread before it begins, guarded by the call's mu */
	json_t *pending; /* guarded by the call's mu */
};

void memo_service_check_free(struct memo_service_check *s)
{
	if (s == NULL)
		return;
	json_decref(s->pending);
	free(s);
}

/* Asked between two pieces of work, when it holds no lock: here, and nowhere else, it waits for who takes what it finds. */
static bool ended(void *arg)
{
	struct memo_service_call *c = arg;
	for (;;) {
		memo_mutex_lock(&c->mu);
		bool yes = c->ended;
		bool room = json_array_size(c->check->pending) < PENDING || c->asker.busy == NULL;
		memo_mutex_unlock(&c->mu);
		if (yes || room)
			return yes;
		(void)poll(NULL, 0, PENDING_NAP_MS);
	}
}

/* Takes the reference. One that finds no memory is not told; the counts know of it. */
static void push(struct memo_service_call *c, json_t *row)
{
	memo_mutex_lock(&c->mu);
	if (c->ended || row == NULL)
		json_decref(row);
	else if (json_array_append_new(c->check->pending, row) == 0)
		c->asker.wake(c->asker.arg);
	memo_mutex_unlock(&c->mu);
}

/* What the work is going to read, for the progress: all bytes of results. */
static void estimate(struct memo_service_call *c)
{
	MEMO_AUTO_JSON json_t *usage = NULL;
	uint64_t bytes = 0, results = 0;
	const char *task;
	json_t *row;
	if (memo_store_usage(c->store, &usage, NULL) < 0)
		return;
	json_object_foreach(usage, task, row)
	{
		bytes += (uint64_t)memo_json_int(row, "bytes", 0);
		results += (uint64_t)memo_json_int(row, "results", 0);
	}
	memo_mutex_lock(&c->mu);
	c->check->total_bytes = bytes;
	c->check->total = results;
	memo_mutex_unlock(&c->mu);
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static json_t *progress(struct memo_service_call *c, uint64_t *sum)
{
	struct memo_service_check *s = c->check;
	uint64_t done, bytes, total, total_bytes;
	memo_mutex_lock(&c->mu);
	total = s->total;
	total_bytes = s->total_bytes;
	memo_mutex_unlock(&c->mu);
	if (s->verifies) {
		done = atomic_load(&s->verify.valid) + atomic_load(&s->verify.invalid) +
		       atomic_load(&s->verify.unknown);
		bytes = atomic_load(&s->verify.scrub.bytes);
	} else {
		done = atomic_load(&s->check.records);
		bytes = atomic_load(&s->check.scrub.bytes);
	}
	*sum = done + bytes;
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "results", (json_int_t)done, "objects",
			 (json_int_t)atomic_load(&s->check.objects), "bytes", (json_int_t)bytes, "total",
			 (json_int_t)total, "total_bytes", (json_int_t)total_bytes);
}

static void tell_progress(struct memo_service_call *c)
{
	struct memo_service_check *s = c->check;
	int64_t now = memo_now_ns();
	uint64_t sum;
	if (now < s->next_ns)
		return;
	s->next_ns = now + PROGRESS_NS;
	json_t *p = progress(c, &sum);
	if (sum == s->told) {
		json_decref(p);
		return;
	}
	s->told = sum;
	memo_service_event(c, "progress", "progress", p);
}

static int conclude(struct memo_service_call *c)
{
	struct memo_service_check *s = c->check;
	MEMO_AUTO_JSON json_t *more = NULL;
	if (s->verifies)
		more = json_pack("{s:I, s:I, s:I, s:I}", "valid", (json_int_t)atomic_load(&s->verify.valid),
				 "invalid", (json_int_t)atomic_load(&s->verify.invalid), "unknown",
				 (json_int_t)atomic_load(&s->verify.unknown), "before",
				 (json_int_t)s->verify.before);
	else
		more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "receipts",
				 (json_int_t)atomic_load(&s->check.receipts), "records",
				 (json_int_t)atomic_load(&s->check.records), "names",
				 (json_int_t)atomic_load(&s->check.names), "objects",
				 (json_int_t)atomic_load(&s->check.objects), "wrong", (json_int_t)s->check.wrong,
				 "repaired", (json_int_t)s->check.repaired, "failed", (json_int_t)s->check.failed,
				 "left", (json_int_t)s->check.left);
	return more == NULL || json_object_update(c->answer, more) < 0 ? memo_service_nomem(c) : 0;
}

static int step(struct memo_service_call *c)
{
	struct memo_service_check *s = c->check;
	memo_mutex_lock(&c->mu);
	bool answered = c->answered;
	int code = c->code;
	json_t *rows = NULL;
	if (json_array_size(s->pending) > 0) {
		json_t *fresh = json_array();
		if (fresh != NULL) {
			rows = s->pending;
			s->pending = fresh;
		}
	}
	memo_mutex_unlock(&c->mu);
	if (rows != NULL) {
		memo_service_event(c, s->verifies ? "verdicts" : "findings", "rows", rows);
		return 2;
	}
	if (!answered) {
		tell_progress(c);
		return 1;
	}
	return code < 0 ? code : conclude(c);
}

static int begin(struct memo_service_call *c, bool verifies, int (*fn)(struct memo_service_call *c))
{
	int64_t rate = memo_json_int(c->request, "rate", 0);
	if (rate < 0)
		return memo_fail(&c->err, -EINVAL, "rate: a number of bytes a second is expected");
	struct memo_service_check *s = calloc(1, sizeof *s);
	if (s == NULL || (s->pending = json_array()) == NULL) {
		free(s);
		return memo_service_nomem(c);
	}
	s->verifies = verifies;
	struct memo_scrub *b = verifies ? &s->verify.scrub : &s->check.scrub;
	b->rate = (uint64_t)rate;
	b->stop = ended;
	b->arg = c;
	c->check = s;
	int r = memo_service_work(c, fn);
	if (r < 0)
		return r;
	/* Without a thread the work is done by now, and what it found is told by the steps. */
	if (r == 0)
		c->answered = true;
	c->step = step;
	return 1;
}

/* ---- fsck ---------------------------------------------------------------------------------------------- */

static void on_finding(void *arg, const struct memo_finding *f)
{
	static const char *const kind[] = { [MEMO_FOUND_WRONG] = "wrong",
					    [MEMO_FOUND_REPAIRED] = "repaired",
					    [MEMO_FOUND_FAILED] = "failed",
					    [MEMO_FOUND_LEFT] = "left" };
	MEMO_AUTO_BUF struct memo_buf where = { 0 };
	MEMO_AUTO_BUF struct memo_buf what = { 0 };
	/* names of files are bytes */
	(void)memo_log_escape(&where, f->where, strlen(f->where));
	(void)memo_log_escape(&what, f->what, strlen(f->what));
	push(arg, json_pack("{s:s, s:s, s:s, s:s}", "found", kind[f->kind], "where", memo_buf_str(&where), "what",
			    memo_buf_str(&what), "action", f->action));
}

static int fsck(struct memo_service_call *c)
{
	struct memo_check *k = &c->check->check;
	k->repair = memo_json_bool(c->request, "repair", false);
	k->quick = memo_json_bool(c->request, "quick", false);
	k->empty = memo_json_bool(c->request, "empty", false);
	k->found = on_finding;
	k->arg = c;
	memo_scrub_begin(&k->scrub);
	estimate(c);
	int r = memo_store_check(c->store, k, &c->err);
	if (r < 0)
		c->status = 4;
	return r;
}

int memo_op_fsck(struct memo_service_call *c)
{
	return begin(c, false, fsck);
}

/* ---- verify-all ---------------------------------------------------------------------------------------- */

static void on_verdict(void *arg, const char *path, const struct memo_id *identity, int code, const char *text)
{
	char hex[MEMO_HEX_SIZE];
	json_t *row = json_pack("{s:s, s:s, s:b, s:i}", "path", path, "identity", memo_id_hex(identity, hex),
				"valid", code == 0, "code", -code);
	MEMO_AUTO_BUF struct memo_buf safe = { 0 };
	(void)memo_log_escape(&safe, text, strlen(text));
	if (row != NULL && code < 0 && memo_json_set(row, "message", json_string(memo_buf_str(&safe))) < 0) {
		json_decref(row);
		row = NULL;
	}
	push(arg, row);
}

static int verify_all(struct memo_service_call *c)
{
	struct memo_verify_all *v = &c->check->verify;
	v->restart = memo_json_bool(c->request, "restart", false);
	v->verdict = on_verdict;
	v->arg = c;
	memo_scrub_begin(&v->scrub);
	estimate(c);
	int r = memo_verify_all(c->runner, v, &c->err);
	if (r < 0)
		c->status = 4;
	return r;
}

int memo_op_verify_all(struct memo_service_call *c)
{
	return begin(c, true, verify_all);
}
