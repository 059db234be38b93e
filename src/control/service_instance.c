/* Requests about one instance that are answered at once: path, explain, state, cancel, forget. */
#include "service_call.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"

#include <string.h>

static int answer_path(struct memo_service_call *c)
{
	return memo_service_set(c, "path", json_string(c->path));
}

int memo_op_path(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	if (c->inner == NULL)
		return answer_path(c);
	return memo_service_set(c, "path", json_sprintf("%s/%s", c->path, c->inner));
}

int memo_op_state(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	enum memo_state s = memo_runner_state(c->runner, c->task, c->inputs);
	r = memo_service_set(c, "state", json_string(s == MEMO_STATES ? "NONE" : memo_state_text(s)));
	return r < 0 ? r : answer_path(c);
}

int memo_op_cancel(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	if (r == 0)
		r = memo_runner_cancel(c->runner, c->task, c->inputs, &c->err);
	if (r == -ENOENT)
		return memo_fail(&c->err, r, "%s: is not being executed, there is nothing to cancel", c->path);
	return r < 0 ? r : answer_path(c);
}

/* Looks at input files, as explain does: not in the thread that serves everybody. */
static int forget(struct memo_service_call *c)
{
	int r = memo_runner_forget(c->runner, c->task, c->inputs, &c->err);
	if (r == -ENOENT)
		return memo_fail(&c->err, r, "%s: has no result, there is nothing to forget", c->path);
	return r < 0 ? r : answer_path(c);
}

int memo_op_forget(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	return r < 0 ? r : memo_service_work(c, forget);
}

static int explain_inputs(struct memo_service_call *c)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	if (list == NULL)
		return memo_service_nomem(c);
	for (size_t i = 0; i < c->task->inputs; i++) {
		const struct memo_input *in = &c->task->input[i];
		json_t *v = json_object_get(c->inputs, in->name);
		bool fallback = in->fallback != NULL && json_equal(v, in->fallback);
		if (memo_json_push(list, json_pack("{s:s, s:s, s:O, s:b, s:b}", "name", in->name, "type",
						   in->type_text, "value", v != NULL ? v : json_null(), "default",
						   fallback, "identity", in->identity)) < 0)
			return memo_service_nomem(c);
	}
	return memo_service_set(c, "inputs", json_incref(list));
}

/* Identity and hit as far as they can be told without hashing anything. */
static int explain_state(struct memo_service_call *c)
{
	enum memo_state s = memo_runner_state(c->runner, c->task, c->inputs);
	int r = memo_service_set(c, "state", json_string(s == MEMO_STATES ? "NONE" : memo_state_text(s)));
	if (r < 0)
		return r;
	char hex[MEMO_HEX_SIZE];
	struct memo_result *res = NULL;
	int peek = memo_runner_peek(c->runner, c->task, c->inputs, c->asker.who, 0, &res);
	if (peek == 0) {
		MEMO_AUTO_JSON json_t *record = NULL;
		bool pinned = memo_store_record(c->store, &res->identity, &record, NULL) == 0 &&
			      memo_json_bool(record, "pinned", false);
		r = memo_service_set(c, "identity", json_string(memo_id_hex(&res->identity, hex)));
		if (r == 0)
			r = memo_service_set(c, "pinned", json_boolean(pinned));
		if (r == 0)
			r = memo_service_set(c, "hash", json_string(memo_id_hex(&res->hash, hex)));
		memo_result_unref(res);
		return r < 0 ? r : memo_service_set(c, "cached", json_true());
	}
	r = memo_service_set(c, "cached", peek == -ENOENT ? json_false() : json_null());
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (r < 0 || memo_runner_info(c->runner, c->task, c->inputs, c->asker.who, "identity", &b, NULL) < 0)
		return r;
	while (b.len > 0 && b.data[b.len - 1] == '\n')
		b.data[--b.len] = '\0';
	return memo_service_set(c, "last_identity", json_string(memo_buf_str(&b)));
}

static int explain(struct memo_service_call *c)
{
	char latest[MEMO_NAME_MAX + 1] = "";
	bool is_latest = memo_store_latest(c->store, c->task->name, latest) == 0 &&
			 strcmp(latest, c->task->version) == 0;
	MEMO_AUTO_JSON json_t *more = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:b}", "path", c->path, "task",
						c->task->name, "version", c->task->version, "declared",
						c->task->declared, "latest", is_latest, "output",
						memo_output_text(c->task->output), "cacheable", c->task->cache);
	if (more == NULL || json_object_update(c->answer, more) < 0)
		return memo_service_nomem(c);
	int r = c->inner != NULL ? memo_service_set(c, "inner", json_string(c->inner)) : 0;
	if (r == 0)
		r = explain_inputs(c);
	return r < 0 ? r : explain_state(c);
}

int memo_op_explain(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	return r < 0 ? r : memo_service_work(c, explain);
}
