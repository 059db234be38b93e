/* What is asked of runs: status, lists, rows, graph. From memory while a run is there, else from the store; nothing waits. */
#include "run_private.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>
#include <time.h>

#define RUNNING_SHOWN 64
#define GRAPH_CHUNK 512

static json_t *time_json(int64_t ns)
{
	if (ns == 0)
		return json_null();
	time_t s = (time_t)(ns / MEMO_NS_PER_S);
	struct tm tm;
	char text[40];
	if (gmtime_r(&s, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return json_null();
	return json_string(text);
}

json_t *memo_run_counts(const uint64_t count[RUN_OUTCOMES])
{
	json_t *j = json_object();
	for (unsigned i = 0; i < RUN_OUTCOMES; i++) {
		if (memo_json_set(j, memo_run_outcome_text[i], json_integer((json_int_t)count[i])) < 0) {
			json_decref(j);
			return NULL;
		}
	}
	return j;
}

/* ---- status ---------------------------------------------------------------------------------- */

/* What waits and runs, by what this run has seen of each task, over the cpus there are. Null: some task is unknown. */
static json_t *left_json(const struct memo_runner *r, const struct run *run)
{
	double left = 0;
	for (const struct run_pace *p = run->paces; p != NULL; p = p->next) {
		if (p->waiting == 0)
			continue;
		if (p->executed == 0)
			return json_null();
		left += (double)p->waiting * p->seconds / (double)p->executed;
	}
	return run->phase == RUN_ACTIVE ? json_real(left / (double)(r->cpus > 0 ? r->cpus : 1)) : json_null();
}

static json_t *running_json(const struct run *run)
{
	json_t *list = json_array();
	uint64_t left = run->count[RUN_RUNNING] < RUNNING_SHOWN ? run->count[RUN_RUNNING] : RUNNING_SHOWN;
	for (struct memo_map_link *l = memo_map_next(&run->seen, NULL); l != NULL && left > 0;
	     l = memo_map_next(&run->seen, l)) {
		const struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		if (s->outcome != RUN_RUNNING)
			continue;
		left--;
		double seconds = (double)(memo_now_ns() - s->since_ns) / (double)MEMO_NS_PER_S;
		if (memo_json_push(list, json_pack("{s:s, s:f}", "path", s->path, "seconds", seconds)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *changes_json(const struct run *run, uint64_t since)
{
	json_t *list = json_array();
	uint64_t first = run->changes >= MEMO_RUN_CHANGES ? run->changes - MEMO_RUN_CHANGES + 1 : 1;
	for (uint64_t seq = since + 1 > first ? since + 1 : first; seq <= run->changes; seq++) {
		const struct run_change *c = &run->change[seq % MEMO_RUN_CHANGES];
		if (c->seq != seq || c->path == NULL)
			continue;
		json_t *j = json_pack("{s:I, s:s, s:s, s:f, s:s?}", "seq", (json_int_t)seq, "path", c->path,
				      "outcome", memo_run_outcome_text[c->outcome], "seconds", c->seconds,
				      "message", c->message);
		if (memo_json_push(list, j) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *head_json(const json_t *stored, const uint64_t count[RUN_OUTCOMES])
{
	json_t *j = json_copy((json_t *)stored);
	int code = memo_json_set(j, "created", time_json(memo_json_int(stored, "created", 0)));
	if (code == 0)
		code = memo_json_set(j, "ended", time_json(memo_json_int(stored, "ended", 0)));
	if (code == 0)
		code = memo_json_set(j, "counts", memo_run_counts(count));
	if (code < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static json_t *live_status(struct memo_runner *r, const struct run *run, uint64_t since) LOCKED
{
	MEMO_AUTO_JSON json_t *self = memo_run_json(run);
	json_t *j = self == NULL ? NULL : head_json(self, run->count);
	int code = memo_json_set(j, "seconds", json_real(run->seconds));
	if (code == 0)
		code = memo_json_set(j, "seconds_saved", json_real(run->saved));
	if (code == 0)
		code = memo_json_set(j, "left_seconds", left_json(r, run));
	if (code == 0)
		code = memo_json_set(j, "running", running_json(run));
	if (code == 0)
		code = memo_json_set(j, "changes", changes_json(run, since));
	if (code == 0)
		code = memo_json_set(j, "next", json_integer((json_int_t)run->changes));
	if (code < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* What was written when the run ended. False: it has not, or not by this version. */
static bool stored_counts(const json_t *stored, uint64_t count[RUN_OUTCOMES], double *seconds, double *saved)
{
	const json_t *c = json_object_get(stored, "counts");
	if (!json_is_object(c) || memo_json_int(stored, "ended", 0) == 0)
		return false;
	for (unsigned i = 0; i < RUN_OUTCOMES; i++)
		count[i] = (uint64_t)memo_json_int(c, memo_run_outcome_text[i], 0);
	*seconds = json_number_value(json_object_get(stored, "seconds"));
	*saved = json_number_value(json_object_get(stored, "seconds_saved"));
	return true;
}

/* Counts of a run that is not in memory: one pass over its rows. */
static int count_rows(struct memo_runner *r, const char *id, uint64_t count[RUN_OUTCOMES], double *seconds,
		      double *saved, struct memo_err *err)
{
	MEMO_AUTO_FREE char *after = NULL;
	for (;;) {
		MEMO_AUTO_JSON json_t *rows = NULL;
		int code = memo_store_run_rows(r->store, id, after, GRAPH_CHUNK, &rows, err);
		size_t n = json_array_size(rows);
		if (code < 0 || n == 0)
			return code;
		size_t i;
		json_t *e;
		json_array_foreach(rows, i, e)
		{
			const json_t *row = json_object_get(e, "row");
			enum run_outcome o = memo_run_outcome_parse(memo_json_string(row, "outcome", ""));
			double s = json_number_value(json_object_get(row, "seconds"));
			count[o]++;
			*seconds += o == RUN_EXECUTED ? s : 0;
			*saved += o == RUN_REUSED ? s : 0;
		}
		free(after);
		after = strdup(memo_json_string(json_array_get(rows, n - 1), "path", ""));
		if (after == NULL)
			return memo_fail(err, -ENOMEM, "out of memory");
	}
}

static int stored_status(struct memo_runner *r, const char *id, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *stored = NULL;
	uint64_t count[RUN_OUTCOMES] = { 0 };
	double seconds = 0;
	double saved = 0;
	int code = memo_store_run_get(r->store, id, &stored, err);
	if (code == 0 && !stored_counts(stored, count, &seconds, &saved))
		code = count_rows(r, id, count, &seconds, &saved, err);
	if (code < 0)
		return code;
	json_t *j = head_json(stored, count);
	json_t *rest = json_pack("{s:f, s:f, s:n, s:[], s:[], s:i}", "seconds", seconds, "seconds_saved", saved,
				 "left_seconds", "running", "changes", "next", 0);
	if (j == NULL || rest == NULL || json_object_update(j, rest) < 0) {
		json_decref(j);
		json_decref(rest);
		return memo_fail(err, -ENOMEM, "out of memory");
	}
	json_decref(rest);
	*out = j;
	return 0;
}

int memo_run_status(struct memo_runner *r, const char *id, uint64_t since, json_t **out, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	const struct run *run = memo_run_find(r, id);
	json_t *j = run != NULL ? live_status(r, run, since) : NULL;
	bool live = run != NULL;
	memo_mutex_unlock(&r->mu);
	if (!live)
		return stored_status(r, id, out, err);
	if (j == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	*out = j;
	return 0;
}

int memo_run_list(struct memo_runner *r, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *ids = NULL;
	MEMO_AUTO_JSON json_t *list = json_array();
	int code = memo_store_run_ids(r->store, &ids, err);
	for (size_t i = json_array_size(ids); i > 0 && code == 0; i--) {
		json_t *status = NULL;
		code = memo_run_status(r, json_string_value(json_array_get(ids, i - 1)), UINT64_MAX - 1, &status,
				       err);
		if (code < 0)
			break;
		(void)json_object_del(status, "running");
		(void)json_object_del(status, "changes");
		(void)json_object_del(status, "next");
		code = memo_json_push(list, status);
	}
	if (code == 0)
		*out = memo_json_steal(&list);
	return code;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* What memory knows better than the store: it is written with a delay. */
static int refresh(struct memo_runner *r, const char *id, const char *path, json_t *row)
{
	int code = 0;
	memo_mutex_lock(&r->mu);
	struct run *run = memo_run_find(r, id);
	struct memo_map_link *l = run == NULL ? NULL : memo_map_get(&run->seen, path, strlen(path));
	if (l != NULL) {
		const struct run_seen *s = MEMO_CONTAINER(l, struct run_seen, link);
		char hex[MEMO_HEX_SIZE];
		code = memo_json_set(row, "outcome", json_string(memo_run_outcome_text[s->outcome]));
		if (code == 0)
			code = memo_json_set(row, "message",
					     s->message != NULL ? json_string(s->message) : json_null());
		if (code == 0 && s->result != NULL)
			code = memo_json_set(row, "identity", json_string(memo_id_hex(&s->result->identity, hex)));
	}
	memo_mutex_unlock(&r->mu);
	return code;
}

static int name_parts(json_t *row, const char *path)
{
	struct memo_path_parts parts;
	if (memo_path_split(path, &parts, NULL) < 0)
		return 0;
	int code = memo_json_set(row, "version", json_string(parts.version != NULL ? parts.version : ""));
	if (code == 0)
		code = memo_json_set(row, "name", json_string(parts.component != NULL ? parts.component : ""));
	memo_path_parts_clear(&parts);
	return code;
}

int memo_run_rows(struct memo_runner *r, const char *id, const char *after, size_t limit, json_t **out,
		  struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *stored = NULL;
	MEMO_AUTO_JSON json_t *rows = NULL;
	MEMO_AUTO_JSON json_t *list = json_array();
	int code = memo_store_run_get(r->store, id, &stored, err);
	if (code == 0)
		code = memo_store_run_rows(r->store, id, after, limit, &rows, err);
	size_t i;
	json_t *e;
	json_array_foreach(rows, i, e)
	{
		const char *path = memo_json_string(e, "path", "");
		json_t *row = json_copy(json_object_get(e, "row"));
		if (code == 0)
			code = memo_json_set(row, "path", json_string(path));
		if (code == 0)
			code = name_parts(row, path);
		if (code == 0)
			code = refresh(r, id, path, row);
		const char *outcome = memo_json_string(row, "outcome", "");
		double seconds = json_number_value(json_object_get(row, "seconds"));
		if (code == 0)
			code = memo_json_set(row, "saved", json_real(strcmp(outcome, "reused") == 0 ? seconds : 0));
		if (code == 0 && json_object_get(row, "identity") == NULL)
			code = memo_json_set(row, "identity", json_null());
		(void)json_object_del(row, "fixed");
		if (code == 0)
			code = memo_json_push(list, row);
		else
			json_decref(row);
	}
	if (code == 0)
		*out = memo_json_steal(&list);
	return code;
}

/* ---- graph ----------------------------------------------------------------------------------- */

static const char *colour(const char *outcome)
{
	static const char *const table[][2] = {
		{ "reused", "palegreen" }, { "executed", "lightskyblue" }, { "running", "gold" },
		{ "failed", "salmon" },	   { "cancelled", "plum" },	   { "waiting", "white" },
		{ "never", "lightgrey" },
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (strcmp(outcome, table[i][0]) == 0)
			return table[i][1];
	}
	return "white";
}

static void quoted(struct memo_buf *b, const char *text)
{
	(void)memo_buf_putc(b, '"');
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			(void)memo_buf_putc(b, '\\');
		(void)memo_buf_putc(b, *c);
	}
	(void)memo_buf_putc(b, '"');
}

static void node_text(struct memo_buf *b, const json_t *row)
{
	const char *path = memo_json_string(row, "path", "");
	const char *outcome = memo_json_string(row, "outcome", "waiting");
	double seconds = json_number_value(json_object_get(row, "seconds"));
	MEMO_AUTO_BUF struct memo_buf label = { 0 };
	(void)memo_buf_printf(&label, "%s %s\n%.80s\n%s", memo_json_string(row, "task", ""),
			      memo_json_string(row, "version", ""), memo_json_string(row, "name", ""), outcome);
	if (seconds > 0)
		(void)memo_buf_printf(&label, " %.1f s", seconds);
	(void)memo_buf_puts(b, "  ");
	quoted(b, path);
	(void)memo_buf_puts(b, " [label=");
	quoted(b, memo_buf_str(&label));
	(void)memo_buf_printf(b, ", fillcolor=%s%s];\n", colour(outcome),
			      memo_json_bool(row, "demanded", false) ? ", penwidth=2" : "");
}

/* Edges by the plan, not by the record: also of what never ran. */
static void edges_text(struct memo_runner *r, struct memo_buf *b, const char *path)
{
	struct memo_task *t;
	json_t *inputs;
	char *inner;
	struct memo_plan plan;
	if (memo_plan_resolve(r->store, path, &t, &inputs, &inner, NULL) < 0)
		return;
	if (memo_plan_make(r->store, t, inputs, &plan, NULL) == 0) {
		for (size_t i = 0; i < plan.ups; i++) {
			MEMO_AUTO_BUF struct memo_buf up = { 0 };
			if (memo_plan_path(plan.up[i].task, plan.up[i].inputs, &up, NULL) < 0)
				continue;
			(void)memo_buf_puts(b, "  ");
			quoted(b, up.data);
			(void)memo_buf_puts(b, " -> ");
			quoted(b, path);
			(void)memo_buf_puts(b, ";\n");
		}
		memo_plan_clear(&plan);
	}
	free(inner);
	json_decref(inputs);
	memo_task_unref(t);
}

int memo_run_graph(struct memo_runner *r, const char *id, struct memo_buf *out, struct memo_err *err)
{
	MEMO_AUTO_FREE char *after = NULL;
	(void)memo_buf_printf(out, "digraph \"%s\" {\n  rankdir=LR;\n  node [shape=box, style=filled];\n", id);
	for (;;) {
		MEMO_AUTO_JSON json_t *rows = NULL;
		int code = memo_run_rows(r, id, after, GRAPH_CHUNK, &rows, err);
		size_t n = json_array_size(rows);
		if (code < 0)
			return code;
		if (n == 0)
			break;
		size_t i;
		json_t *e;
		json_array_foreach(rows, i, e)
		{
			node_text(out, e);
			edges_text(r, out, memo_json_string(e, "path", ""));
		}
		free(after);
		after = strdup(memo_json_string(json_array_get(rows, n - 1), "path", ""));
		if (after == NULL)
			return memo_fail(err, -ENOMEM, "out of memory");
	}
	(void)memo_buf_puts(out, "}\n");
	return memo_buf_error(out) < 0 ? memo_fail(err, memo_buf_error(out), "out of memory") : 0;
}
