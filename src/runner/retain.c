/* Retention: results by name are pinned, collected on demand, and collected by itself when there are more bytes than max_size.
 *
 * By itself: a publication counts its bytes; above the limit it wakes a thread, which counts exactly and evicts down to
 * TARGET_PERCENT of the limit, so that not each further publication begins it anew. The thread is started when it is needed first,
 * holds no lock of the runner while it works, and is asked to stop between two objects when the runner closes. A process that serves
 * one command and no mount lets it come to its end: the next command would begin from the start.
 *
 * Names that meant a collected result are told to the listeners, as with a forgotten one, after their record has changed. */
#include "internal.h"

#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "core/path.h"
#include "run.h"

#include <stdatomic.h>
#include <string.h>

#define TARGET_PERCENT 95
#define UNKNOWN UINT64_MAX
#define TOLD_AT_ONCE 256

struct memo_retain {
	pthread_t thread;
	bool on; /* the thread was started; this and the next three: guarded by the runner's mutex */
	bool wanted;
	bool leaving;
	uint64_t bytes; /* that the results take, as far as it was counted */
	struct memo_cond wake;
	_Atomic bool stop;
};

/* ---- collecting ------------------------------------------------------------------------------ */

struct telling {
	struct memo_runner *r;
	const struct memo_runner_gc *gc;
	json_t *names; /* whose event is still to come */
};

/* With no lock of the store held: listeners may look. */
static void tell_names(struct telling *t)
{
	size_t i;
	json_t *row;
	memo_mutex_lock(&t->r->mu);
	json_array_foreach(t->names, i, row)
	{
		const char *task = memo_json_string(row, "task", "");
		const char *version = memo_json_string(row, "version", "");
		const char *name = memo_json_string(row, "name", "");
		memo_post_event(t->r, MEMO_EVENT_STATE, task, version, name, MEMO_PENDING, "collected");
		memo_post_event(t->r, MEMO_EVENT_NAME, task, version, name, MEMO_PENDING, NULL);
	}
	memo_mutex_unlock(&t->r->mu);
	(void)json_array_clear(t->names);
}

static int on_row(void *arg, json_t *row)
{
	struct telling *t = arg;
	if (!t->gc->dry && strcmp(memo_json_string(row, "kind", ""), "result") == 0) {
		if (memo_json_push(t->names, json_incref(row)) < 0)
			return -ENOMEM;
		/* Posting takes the runner's lock only, which is inside of those that the store holds here. */
		if (json_array_size(t->names) >= TOLD_AT_ONCE)
			tell_names(t);
	}
	return t->gc->each == NULL ? 0 : t->gc->each(t->gc->arg, row);
}

static int collect(struct memo_runner *r, const struct memo_runner_gc *gc, uint64_t target, json_t **summary,
		   struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *names = json_array();
	if (names == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	struct telling t = { .r = r, .gc = gc, .names = names };
	const struct memo_gc g = {
		.limited = gc->limited,
		.limit = gc->limit,
		.target = target,
		.dry = gc->dry,
		.stop = &r->retain->stop,
		.each = on_row,
		.arg = &t,
	};
	int code = memo_store_gc(r->store, &g, summary, err);
	tell_names(&t);
	if (code == 0 && !gc->dry) {
		memo_mutex_lock(&r->mu);
		r->retain->bytes = (uint64_t)memo_json_int(*summary, "after", 0);
		memo_mutex_unlock(&r->mu);
	}
	return code;
}

int memo_runner_gc(struct memo_runner *r, const struct memo_runner_gc *gc, json_t **summary_out,
		   struct memo_err *err)
{
	struct memo_runner_gc g = *gc;
	struct memo_settings set;
	int code = memo_store_settings(r->store, &set, err);
	if (code < 0)
		return code;
	if (!g.limited && set.max_bytes > 0) {
		g.limited = true;
		g.limit = set.max_bytes;
	}
	return collect(r, &g, g.limit, summary_out, err);
}

/* ---- by itself ------------------------------------------------------------------------------- */

static void collect_now(struct memo_runner *r)
{
	struct memo_settings set;
	struct memo_err err = { 0 };
	uint64_t bytes = 0;
	int code = memo_store_settings(r->store, &set, &err);
	if (code == 0)
		code = memo_store_bytes(r->store, &bytes, &err);
	if (code < 0 || set.max_bytes == 0 || bytes <= set.max_bytes) {
		memo_mutex_lock(&r->mu);
		r->retain->bytes = code < 0 ? UNKNOWN : bytes;
		memo_mutex_unlock(&r->mu);
		return;
	}
	const struct memo_runner_gc gc = { .limited = true, .limit = set.max_bytes };
	MEMO_AUTO_JSON json_t *summary = NULL;
	code = collect(r, &gc, set.max_bytes / 100 * TARGET_PERCENT, &summary, &err);
	if (code < 0)
		memo_log(MEMO_LOG_WARN, "results could not be collected: %s", err.text);
	else if (memo_json_int(summary, "results", 0) > 0)
		memo_log(MEMO_LOG_INFO, "%lld results were collected, %lld bytes are free, %lld are kept",
			 (long long)memo_json_int(summary, "results", 0),
			 (long long)memo_json_int(summary, "bytes", 0),
			 (long long)memo_json_int(summary, "after", 0));
}

static void *retain_run(void *arg)
{
	struct memo_runner *r = arg;
	struct memo_retain *t = r->retain;
	memo_mutex_lock(&r->mu);
	for (;;) {
		while (!t->wanted && !t->leaving)
			memo_cond_wait(&t->wake, &r->mu);
		if (!t->wanted || atomic_load(&t->stop))
			break;
		t->wanted = false;
		memo_mutex_unlock(&r->mu);
		collect_now(r);
		memo_mutex_lock(&r->mu);
	}
	memo_mutex_unlock(&r->mu);
	return NULL;
}

static void wake(struct memo_runner *r) LOCKED
{
	struct memo_retain *t = r->retain;
	if (t->leaving)
		return;
	if (!t->on)
		t->on = memo_thread_start(&t->thread, "memofs-retain", retain_run, r) == 0;
	t->wanted = true;
	memo_cond_signal(&t->wake);
}

void memo_retain_published(struct memo_runner *r, const struct memo_result *res)
{
	struct memo_settings set;
	memo_store_used(r->store, &res->identity);
	if (memo_store_settings(r->store, &set, NULL) < 0 || set.max_bytes == 0 || r->retain == NULL)
		return;
	bool counts = memo_store_sole(r->store, res);
	memo_mutex_lock(&r->mu);
	struct memo_retain *t = r->retain;
	if (counts && t->bytes != UNKNOWN)
		t->bytes += res->size;
	if (t->bytes > set.max_bytes)
		wake(r);
	memo_mutex_unlock(&r->mu);
}

void memo_runner_retain(struct memo_runner *r)
{
	memo_mutex_lock(&r->mu);
	r->retain->bytes = UNKNOWN;
	wake(r);
	memo_mutex_unlock(&r->mu);
}

int memo_retain_open(struct memo_runner *r, struct memo_err *err)
{
	struct memo_retain *t = calloc(1, sizeof *t);
	if (t == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	memo_cond_init(&t->wake);
	t->bytes = UNKNOWN;
	r->retain = t;
	return 0;
}

void memo_retain_close(struct memo_runner *r)
{
	struct memo_retain *t = r->retain;
	if (t == NULL)
		return;
	if (r->mountpoint != NULL)
		atomic_store(&t->stop, true);
	memo_mutex_lock(&r->mu);
	t->leaving = true;
	bool on = t->on;
	memo_cond_signal(&t->wake);
	memo_mutex_unlock(&r->mu);
	if (on)
		(void)pthread_join(t->thread, NULL);
	memo_cond_clear(&t->wake);
	free(t);
	r->retain = NULL;
}

int memo_runner_room(struct memo_runner *r, json_t **out, struct memo_err *err)
{
	struct memo_settings set;
	MEMO_AUTO_JSON json_t *collected = NULL;
	int code = memo_store_settings(r->store, &set, err);
	if (code == 0)
		code = memo_store_collected(r->store, &collected, err);
	if (code < 0)
		return code;
	memo_mutex_lock(&r->mu);
	uint64_t bytes = r->retain->bytes;
	memo_mutex_unlock(&r->mu);
	json_t *j = json_pack("{s:I, s:o, s:O}", "max_size", (json_int_t)set.max_bytes, "bytes",
			      bytes == UNKNOWN ? json_null() : json_integer((json_int_t)bytes), "collected",
			      collected);
	if (j == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	*out = j;
	return 0;
}

/* ---- pins ------------------------------------------------------------------------------------ */

#define EARLIER 64 /* identities that a name may have meant before */

static bool of_name(struct memo_runner *r, const struct memo_id *id, const struct memo_task *t, const char *name)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	return memo_store_record(r->store, id, &record, NULL) == 0 &&
	       strcmp(memo_json_string(record, "task", ""), t->name) == 0 &&
	       strcmp(memo_json_string(record, "version", ""), t->version) == 0 &&
	       strcmp(memo_json_string(record, "name", ""), name) == 0;
}

/* What the name meant when it was pinned may be another identity than now: all that it is known to have meant are let go. */
static int unpin_earlier(struct memo_runner *r, const struct memo_task *t, const char *name, bool *any,
			 struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *list = NULL;
	int code = memo_store_earlier(r->store, t->name, t->version, name, EARLIER, &list, err);
	size_t i;
	json_t *e;
	json_array_foreach(list, i, e)
	{
		struct memo_id id;
		if (code < 0 || memo_id_parse(json_string_value(e), &id) < 0 || !of_name(r, &id, t, name))
			continue;
		code = memo_store_pin(r->store, &id, false, err);
		*any = *any || code == 0;
	}
	return code;
}

int memo_runner_pin(struct memo_runner *r, struct memo_task *t, const json_t *inputs, bool pinned,
		    struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	struct memo_named named;
	struct memo_result *res = NULL;
	bool any = false;
	int code = memo_path_name(t, inputs, &name, err);
	if (code < 0)
		return code;
	/* what a read would be served now, else what the name meant last */
	if (memo_runner_peek(r, t, inputs, NULL, 0, &res) == 0) {
		code = memo_store_pin(r->store, &res->identity, pinned, err);
		any = code == 0;
		memo_result_unref(res);
	} else {
		code = memo_store_named(r->store, t->name, t->version, name.data, &named, err);
		if (code == 0)
			code = named.known ? memo_store_pin(r->store, &named.identity, pinned, err) : -ENOENT;
		any = code == 0;
	}
	if (!pinned && (code == 0 || code == -ENOENT))
		code = unpin_earlier(r, t, name.data, &any, err);
	return code < 0 ? code : any ? 0 : -ENOENT;
}
