/* Why a read of an instance is a hit or would be a miss, in words for whoever has to decide what to do about it.
 *
 *	what is known now (plan, digests that are remembered, upstream results that are there) -> key, perhaps with holes
 *	hit:  whose work it is
 *	miss: what became of this identity, then the nearest earlier instance and what differs from it; a changed upstream is
 *	      followed, by the records of what it was and is, or by what is known of it now, down to what nobody made
 *
 * Nothing is executed or hashed and nothing waits: where that would be needed, the text says which input it is. Bounded by
 * constants in depth, in breadth and in bytes, and by MEMO_EARLIER_NAMES in what is looked at. */
#include "why_now.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"
#include "run.h"

#include <stdio.h>
#include <string.h>

#define DEPTH 32 /* upstream of upstream */
#define TOLD 200 /* instances in one text */
#define BREADTH 8 /* changed upstreams followed at one instance */
#define CANDIDATES 256 /* earlier instances that are compared */
#define UPSTREAM_SHOWN 64
#define SHORT_HEX 12

struct why {
	struct memo_runner *r;
	const struct memo_who *who; /* who wants to know */
	struct memo_buf *out;
	json_t *told; /* path -> true */
};

static int explain(struct why *w, struct memo_task *t, const json_t *inputs, const json_t *base, unsigned depth);

static void pad(struct why *w, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		(void)memo_buf_puts(w->out, "  ");
}

static bool enough(const struct why *w)
{
	return w->out->len > MEMO_WHY_BYTES;
}

/* ---- what became of an identity ------------------------------------------------------------------------------ */

static bool in_flight(enum memo_state s)
{
	return s == MEMO_SUBMITTED || s == MEMO_RUNNING || s == MEMO_RETRYING;
}

static int put_when(struct why *w, const json_t *record)
{
	const json_t *o = json_object_get(record, "origin");
	const char *run = memo_json_string(o, "run", NULL);
	(void)memo_buf_printf(w->out, "executed %s", memo_json_string(o, "started", "earlier"));
	if (memo_json_string(o, "host", NULL) != NULL)
		(void)memo_buf_printf(w->out, " on %s", memo_json_string(o, "host", "?"));
	if (run != NULL)
		(void)memo_buf_printf(w->out, " by run %s", run);
	return memo_buf_printf(w->out, " in %.3f seconds", json_number_value(json_object_get(o, "seconds")));
}

static int record_of(struct why *w, const json_t *entry, json_t **out)
{
	struct memo_id id;
	int r = memo_id_parse(memo_json_string(entry, "identity", ""), &id);
	return r < 0 ? r : memo_store_record(w->r->store, &id, out, NULL);
}

static int put_upstream(struct why *w, const json_t *record)
{
	const json_t *list = json_object_get(record, "upstream");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);
		MEMO_AUTO_JSON json_t *up = NULL;
		if (i == UPSTREAM_SHOWN)
			return memo_buf_printf(w->out, "upstream: and %zu more\n", json_array_size(list) - i);
		(void)memo_buf_printf(w->out, "upstream: %s = %s %.*s", memo_json_string(e, "need", "?"),
				      memo_json_string(e, "path", "?"), SHORT_HEX,
				      memo_json_string(e, "hash", "?"));
		if (record_of(w, e, &up) == 0) {
			(void)memo_buf_puts(w->out, ", ");
			(void)put_when(w, up);
		}
		(void)memo_buf_putc(w->out, '\n');
	}
	return memo_buf_error(w->out);
}

static int tell_hit(struct why *w, const struct memo_why_now *n)
{
	const json_t *result = json_object_get(n->record, "result");
	const json_t *origin = json_object_get(n->record, "origin");
	(void)memo_buf_puts(w->out, "hit: ");
	(void)put_when(w, n->record);
	(void)memo_buf_printf(w->out, "; a read starts nothing and saves these %.3f seconds\n",
			      json_number_value(json_object_get(origin, "seconds")));
	(void)memo_buf_printf(w->out, "identity: %.*s\n", SHORT_HEX, memo_json_string(n->record, "identity", "?"));
	(void)memo_buf_printf(w->out, "output: %s, %lld bytes, %.*s\n", memo_json_string(result, "kind", "?"),
			      (long long)memo_json_int(result, "size", 0), SHORT_HEX,
			      memo_json_string(result, "hash", "?"));
	return put_upstream(w, n->record);
}

/* Of a record that is not SUCCESS: what its last transition says. */
static int put_fate(struct why *w, const struct memo_why_now *n)
{
	enum memo_state s = memo_state_parse(memo_json_string(n->record, "state", ""));
	const char *message = memo_json_string(n->record, "message", NULL);
	const char *ended = memo_json_string(json_object_get(n->record, "origin"), "ended", NULL);
	MEMO_AUTO_JSON json_t *history = NULL;
	if (s == MEMO_FAILED || s == MEMO_CANCELLED) {
		(void)memo_buf_printf(w->out, "the last execution %s%s%s",
				      s == MEMO_FAILED ? "failed" : "was cancelled", ended != NULL ? ", " : "",
				      ended != NULL ? ended : "");
		return message != NULL ? memo_buf_printf(w->out, ": %s", message) : 0;
	}
	if (memo_store_history(w->r->store, &n->id, &history, NULL) < 0)
		history = NULL;
	const json_t *last = json_array_get(history, json_array_size(history) - 1);
	const char *reason = memo_json_string(last, "reason", NULL);
	if (reason != NULL)
		return memo_buf_printf(w->out, "there is no finished execution any more: %s, %s", reason,
				       memo_json_string(last, "time", ""));
	return memo_buf_puts(w->out, "it was asked for and has not been executed");
}

static int put_list(struct why *w, const char *lead, const json_t *list)
{
	(void)memo_buf_puts(w->out, lead);
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (i == BREADTH)
			return memo_buf_printf(w->out, " and %zu more", json_array_size(list) - i);
		(void)memo_buf_printf(w->out, "%s%s", i > 0 ? ", " : " ",
				      json_string_value(json_array_get(list, i)));
	}
	return 0;
}

/* Why there is no result, one line. */
static int put_state(struct why *w, const struct memo_why_now *n)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_FREE char *message = NULL;
	const char *component = strrchr(memo_buf_str(&n->path), '/');
	if (in_flight(n->state))
		(void)memo_buf_printf(w->out, "it is being executed now (%s)", memo_state_text(n->state));
	else if (n->err.code != 0)
		(void)memo_buf_printf(w->out, "it cannot be executed as it stands: %s", n->err.text);
	else if (!n->task->cache)
		(void)memo_buf_puts(w->out,
				    "its task file says \"cache\": false, so results are reused within a run only");
	else if (n->record != NULL)
		(void)put_fate(w, n);
	else if (n->complete)
		(void)memo_buf_printf(w->out, "nothing was executed with this identity (%.*s) yet", SHORT_HEX,
				      memo_id_hex(&n->id, hex));
	if (n->err.code == 0 && n->absent != NULL)
		(void)put_list(w, in_flight(n->state) ? "; there is no result yet of" : "there is no result yet of",
			       n->absent);
	if (n->err.code == 0 && n->unread != NULL)
		(void)put_list(w,
			       n->absent != NULL || in_flight(n->state) ? "; what cannot be told without reading:"
									: "it cannot be told without reading",
			       n->unread);
	/* an upstream that failed leaves its message under the name */
	if (n->absent != NULL && component != NULL &&
	    memo_store_named_message(w->r->store, n->task->name, n->task->version, component + 1, &message) == 0)
		(void)memo_buf_printf(w->out, "; the last demand failed: %s", message);
	return memo_buf_putc(w->out, '\n');
}

/* ---- what was read while it ran ------------------------------------------------------------------------------- */

static int tell_link(struct why *w, const json_t *entry, const char *path, unsigned depth)
{
	char name[MEMO_NAME_MAX + 1];
	char latest[MEMO_NAME_MAX + 1] = "none";
	if (sscanf(path, "/tasks/%64[^/]/latest", name) == 1 && memo_store_latest(w->r->store, name, latest) < 0)
		(void)snprintf(latest, sizeof latest, "none");
	pad(w, depth);
	return memo_buf_printf(w->out, "%s: %s -> %s\n", path, memo_json_string(entry, "link", "?"), latest);
}

static int tell_read(struct why *w, const json_t *entry, unsigned depth)
{
	const char *path = memo_json_string(entry, "path", "?");
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	struct memo_result *res = NULL;
	if (json_object_get(entry, "link") != NULL)
		return tell_link(w, entry, path, depth);
	pad(w, depth);
	(void)memo_buf_printf(w->out, "%s: %.*s -> ", path, SHORT_HEX, memo_json_string(entry, "hash", "?"));
	struct memo_err err = { 0 };
	int r = memo_plan_resolve(w->r->store, path, &t, &inputs, &inner, &err);
	if (r < 0)
		return memo_buf_printf(w->out, "%s\n", err.text);
	char hex[MEMO_HEX_SIZE];
	r = memo_peek_known(w->r, t, inputs, w->who, &res);
	if (r == 0) {
		r = memo_buf_printf(w->out, "%.*s\n", SHORT_HEX, memo_id_hex(&res->hash, hex));
	} else {
		(void)memo_buf_puts(w->out, "no result now\n");
		r = explain(w, t, inputs, NULL, depth + 1);
	}
	memo_result_unref(res);
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
	return r;
}

static int tell_reads(struct why *w, const struct memo_why_now *n, unsigned depth)
{
	const json_t *list = json_object_get(n->record, "observed");
	size_t told = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list) && told < BREADTH; i++) {
		const json_t *entry = json_array_get(list, i);
		if (memo_peek_observed(w->r, entry) == 0)
			continue;
		told++;
		r = tell_read(w, entry, depth);
	}
	return r;
}

/* ---- the nearest ------------------------------------------------------------------------------------------------ */

struct nearest {
	json_t *record;
	json_t *differences;
	size_t count;
	bool result;
};

static int consider(const struct memo_why_now *n, json_t *record, struct nearest *best)
{
	json_t *list = NULL;
	size_t count;
	const json_t *key = json_object_get(record, "key");
	bool result = json_is_object(json_object_get(record, "result"));
	if (!json_is_object(key) || (best->record != NULL && best->result && !result))
		return 0;
	int r = memo_why_compare(key, n->key, &list, &count);
	if (r < 0)
		return r;
	bool better = best->record == NULL || (result && !best->result) || count < best->count;
	if (better) {
		json_decref(best->record);
		json_decref(best->differences);
		*best = (struct nearest){ json_incref(record), list, count, result };
	} else {
		json_decref(list);
	}
	return 0;
}

/* Of those that have a result if there are any; the fewest differences; the newest. */
static int find_nearest(struct why *w, const struct memo_why_now *n, struct nearest *best)
{
	const char *component = strrchr(memo_buf_str(&n->path), '/') + 1;
	MEMO_AUTO_JSON json_t *ids = NULL;
	int r = memo_store_earlier(w->r->store, n->task->name, n->task->version, component, CANDIDATES, &ids, NULL);
	for (size_t i = 0; r == 0 && i < json_array_size(ids); i++) {
		struct memo_id id;
		MEMO_AUTO_JSON json_t *record = NULL;
		if (memo_id_parse(json_string_value(json_array_get(ids, i)), &id) < 0 ||
		    (n->complete && memo_id_equal(&id, &n->id)) ||
		    memo_store_record(w->r->store, &id, &record, NULL) < 0)
			continue;
		r = consider(n, record, best);
	}
	return r;
}

/* ---- what differs ------------------------------------------------------------------------------------------------ */

/* The other side: a record, or an instance as it is now. */
struct side {
	const char *task;
	const char *version;
	const json_t *key;
	const json_t *upstream;
};

static struct side side_of_record(const json_t *record)
{
	return (struct side){ memo_json_string(record, "task", ""), memo_json_string(record, "version", ""),
			      json_object_get(record, "key"), json_object_get(record, "upstream") };
}

static int tell_differences(struct why *w, const json_t *record, const struct side *now, const json_t *list,
			    unsigned depth);

/* The entry of "upstream.<need>[.<index>]". */
static const json_t *upstream_entry(const json_t *list, const char *what)
{
	static const char prefix[] = "upstream.";
	if (strncmp(what, prefix, sizeof prefix - 1) != 0)
		return NULL;
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)(uintptr_t)list, i, e)
	{
		char label[MEMO_UPSTREAM_KEY + 32];
		const json_t *index = json_object_get(e, "index");
		const char *need = memo_json_string(e, "need", "");
		if (json_is_integer(index))
			(void)snprintf(label, sizeof label, "%s.%lld", need, (long long)json_integer_value(index));
		else
			(void)snprintf(label, sizeof label, "%s", need);
		if (strcmp(label, what + sizeof prefix - 1) == 0)
			return e;
	}
	return NULL;
}

/* Each instance once, whatever leads there. */
static bool first_time(struct why *w, const char *path)
{
	return json_object_get(w->told, path) == NULL && json_object_size(w->told) < TOLD &&
	       memo_json_set(w->told, path, json_true()) == 0;
}

static int follow_records(struct why *w, const json_t *old, const json_t *entry, unsigned depth)
{
	MEMO_AUTO_JSON json_t *before = NULL;
	MEMO_AUTO_JSON json_t *after = NULL;
	MEMO_AUTO_JSON json_t *list = NULL;
	size_t count;
	const char *path = memo_json_string(entry, "path", "?");
	int r = record_of(w, entry, &after);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	pad(w, depth);
	(void)memo_buf_printf(w->out, "%s: ", path);
	(void)put_when(w, after);
	if (strcmp(memo_json_string(old, "identity", "a"), memo_json_string(entry, "identity", "b")) == 0)
		return memo_buf_puts(w->out,
				     "; of the same identity as before: an earlier execution gave other bytes\n");
	if (old == NULL || record_of(w, old, &before) < 0)
		return memo_buf_puts(w->out, "; what it was before is no longer known\n");
	struct side now = side_of_record(after);
	r = memo_why_compare(json_object_get(before, "key"), now.key, &list, &count);
	if (r < 0)
		return r;
	(void)memo_buf_printf(w->out, "; before: %s, of which it differs in\n", memo_json_string(old, "path", "?"));
	return tell_differences(w, before, &now, list, depth + 1);
}

static int follow_now(struct why *w, const json_t *old, const json_t *entry, unsigned depth)
{
	struct memo_task *t = NULL;
	json_t *inputs = NULL;
	char *inner = NULL;
	MEMO_AUTO_JSON json_t *before = NULL;
	if (memo_plan_resolve(w->r->store, memo_json_string(entry, "path", ""), &t, &inputs, &inner, NULL) < 0)
		return 0;
	int r = old == NULL ? -ENOENT : record_of(w, old, &before);
	r = r == -ENOMEM ? r : explain(w, t, inputs, before, depth);
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
	return r;
}

static int follow(struct why *w, const char *what, const json_t *record, const struct side *now, unsigned depth)
{
	const json_t *entry = upstream_entry(now->upstream, what);
	const json_t *old = upstream_entry(json_object_get(record, "upstream"), what);
	if (entry == NULL || depth > DEPTH)
		return 0;
	if (!first_time(w, memo_json_string(entry, "path", "?"))) {
		pad(w, depth);
		return memo_buf_printf(w->out, "%s: see above\n", memo_json_string(entry, "path", "?"));
	}
	if (strcmp(memo_json_string(entry, "identity", ""), MEMO_WHY_UNKNOWN) == 0)
		return follow_now(w, old, entry, depth);
	return follow_records(w, old, entry, depth);
}

static int tell_code(struct why *w, const json_t *record, const struct side *now)
{
	const char *before = memo_json_string(json_object_get(record, "key"), "code", NULL);
	const char *after = memo_json_string(now->key, "code", NULL);
	if (before == NULL || after == NULL || strcmp(after, MEMO_WHY_UNKNOWN) == 0)
		return 0;
	struct memo_why_side a = { now->task, memo_json_string(record, "version", ""), before };
	struct memo_why_side b = { now->task, now->version, after };
	return memo_why_code(w->r->store, &a, &b, w->out);
}

static int tell_differences(struct why *w, const json_t *record, const struct side *now, const json_t *list,
			    unsigned depth)
{
	size_t followed = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list) && !enough(w); i++) {
		const json_t *d = json_array_get(list, i);
		const char *what = memo_json_string(d, "what", "?");
		pad(w, depth);
		r = memo_why_line(d, w->out);
		(void)memo_buf_putc(w->out, '\n');
		if (r == 0 && strcmp(what, "code") == 0)
			r = tell_code(w, record, now);
		if (r == 0 && strncmp(what, "upstream.", 9) == 0 && followed++ < BREADTH)
			r = follow(w, what, record, now, depth + 1);
	}
	return r;
}

static int tell_nearest(struct why *w, const struct memo_why_now *n, const struct nearest *best, unsigned depth)
{
	struct side now = { n->task->name, n->task->version, n->key, n->upstream };
	const json_t *record = best->record;
	pad(w, depth);
	(void)memo_buf_printf(w->out, "nearest: /tasks/%s/%s/%s, ", memo_json_string(record, "task", "?"),
			      memo_json_string(record, "version", "?"), memo_json_string(record, "name", "?"));
	if (best->result) {
		(void)put_when(w, record);
	} else {
		(void)memo_buf_printf(w->out, "which has no result either (%s)",
				      memo_json_string(record, "state", "?"));
	}
	(void)memo_buf_putc(w->out, '\n');
	pad(w, depth);
	if (json_array_size(best->differences) == 0)
		return memo_buf_puts(w->out, "nothing differs from it\n");
	if (best->count == 0 && n->complete)
		return memo_buf_puts(w->out, "nothing that counts differs from it\n");
	(void)memo_buf_puts(w->out, best->count == 0 ? "nothing that is known differs from it; its result is "
						       "reused if this turns out as it was:\n"
						     : "what differs from it:\n");
	return tell_differences(w, record, &now, best->differences, depth + 1);
}

/* ---- one instance -------------------------------------------------------------------------------------------------- */

static int explain_miss(struct why *w, struct memo_why_now *n, const json_t *base, unsigned depth)
{
	int r = 0;
	if (n->record != NULL && memo_state_parse(memo_json_string(n->record, "state", "")) == MEMO_SUCCESS &&
	    n->task->cache) {
		(void)memo_buf_puts(w->out, "it was ");
		(void)put_when(w, n->record);
		(void)memo_buf_puts(w->out, ", and what it read while it ran has changed:\n");
		return tell_reads(w, n, depth + 1);
	}
	r = put_state(w, n);
	if (r < 0 || n->key == NULL || !n->task->cache)
		return r;
	struct nearest best = { 0 };
	if (base != NULL)
		r = consider(n, (json_t *)(uintptr_t)base, &best);
	else
		r = find_nearest(w, n, &best);
	if (r == 0 && best.record != NULL) {
		r = tell_nearest(w, n, &best, depth);
	} else if (r == 0) {
		pad(w, depth);
		(void)memo_buf_printf(w->out, "no earlier instance of task '%s' is known to compare it with\n",
				      n->task->name);
		for (size_t i = 0; r == 0 && i < n->plan.ups && i < BREADTH; i++) {
			/* a first execution: what is missing upstream is all there is to tell */
			const json_t *e = json_array_get(n->upstream, i);
			bool unknown = strcmp(memo_json_string(e, "identity", ""), MEMO_WHY_UNKNOWN) == 0;
			if (unknown && first_time(w, memo_json_string(e, "path", "?")))
				r = follow_now(w, NULL, e, depth + 1);
		}
	}
	json_decref(best.record);
	json_decref(best.differences);
	return r;
}

/* @base: what to compare with; NULL: the nearest. */
static int explain(struct why *w, struct memo_task *t, const json_t *inputs, const json_t *base, unsigned depth)
{
	struct memo_why_now n;
	if (depth > DEPTH || enough(w))
		return 0;
	int r = memo_why_look(w->r, t, inputs, w->who, &n);
	if (r == 0 && n.hit && depth == 0) {
		r = tell_hit(w, &n);
	} else if (r == 0) {
		pad(w, depth);
		(void)memo_buf_printf(w->out, "%s: ", depth == 0 ? "miss" : memo_buf_str(&n.path));
		r = n.hit ? memo_buf_puts(w->out, "has its result by now\n") : explain_miss(w, &n, base, depth);
	}
	memo_why_clear(&n);
	return r;
}

int memo_runner_why(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const struct memo_who *who,
		    struct memo_buf *out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *told = json_object();
	struct why w = { .r = r, .who = who, .out = out, .told = told };
	int code = told == NULL ? -ENOMEM : explain(&w, t, inputs, NULL, 0);
	if (code == 0)
		code = memo_buf_error(out);
	if (code == 0 && enough(&w))
		code = memo_buf_puts(out, "(what follows is left out)\n");
	if (code < 0)
		return memo_fail(err, code, "task '%s': why its result is there or not cannot be told: %s", t->name,
				 memo_strerror(code));
	return 0;
}
