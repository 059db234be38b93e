/* Requests about what is kept: pin, unpin, gc; and what is handed out by path. */
#include "service_call.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define ROWS_AT_ONCE 500 /* in one event */
#define SIZE_TEXT 64

/* ---- handed out ---------------------------------------------------------------------------------- */

void memo_handed_clear(struct memo_handed *h)
{
	if (h->store != NULL)
		memo_store_release(h->store, &h->hash);
	h->store = NULL;
}

void memo_service_hand(struct memo_service_call *c)
{
	struct memo_handed *h = c->asker.handed;
	if (h == NULL || c->result->kind == MEMO_RESULT_EXTERNAL)
		return;
	memo_store_hold(c->store, &c->result->hash);
	memo_handed_clear(h);
	*h = (struct memo_handed){ .store = c->store, .hash = c->result->hash };
}

/* ---- pins ---------------------------------------------------------------------------------------- */

static int pin(struct memo_service_call *c, bool pinned)
{
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	r = memo_runner_pin(c->runner, c->task, c->inputs, pinned, &c->err);
	if (r == -ENOENT)
		return memo_fail(&c->err, r,
				 pinned ? "%s: has no result to pin; memofs get %s makes it"
					: "%s: has no result, there is nothing to unpin",
				 c->path, c->path);
	return r < 0 ? r : memo_service_set(c, "path", json_string(c->path));
}

int memo_op_pin(struct memo_service_call *c)
{
	return pin(c, true);
}

int memo_op_unpin(struct memo_service_call *c)
{
	return pin(c, false);
}

/* ---- gc ------------------------------------------------------------------------------------------ */

/* "10G", "500M": as "GiB", "MiB". */
static int parse_size(struct memo_service_call *c, const char *text, uint64_t *out)
{
	char size[SIZE_TEXT];
	size_t len = strlen(text);
	bool letter = len > 0 && strchr("KMGT", text[len - 1]) != NULL;
	if (len + 3 > sizeof size)
		return memo_fail(&c->err, -EINVAL, "--max-size: this is not a size such as 10G, 500M or 1000000");
	memcpy(size, text, len + 1);
	if (letter)
		memcpy(size + len, "iB", 3);
	if (memo_task_parse_size(size, out) == 0)
		return 0;
	return memo_fail(&c->err, -EINVAL, "--max-size: '%s' is not a size such as 10G, 500M or 1000000", text);
}

static int on_row(void *arg, json_t *row)
{
	struct memo_service_call *c = arg;
	return memo_json_push(c->rows, json_incref(row));
}

static int gc(struct memo_service_call *c)
{
	struct memo_runner_gc g = { .dry = memo_json_bool(c->request, "dry", false), .each = on_row, .arg = c };
	const char *size = memo_json_string(c->request, "max_size", NULL);
	int r = size != NULL ? parse_size(c, size, &g.limit) : 0;
	g.limited = size != NULL;
	MEMO_AUTO_JSON json_t *summary = NULL;
	if (r == 0)
		r = memo_runner_gc(c->runner, &g, &summary, &c->err);
	return r < 0 ? r : memo_service_set(c, "summary", json_incref(summary));
}

/* The rows first, some at a time, then the answer. */
static int gc_step(struct memo_service_call *c)
{
	memo_mutex_lock(&c->mu);
	bool answered = c->answered;
	memo_mutex_unlock(&c->mu);
	if (!answered || c->code < 0)
		return answered ? c->code : 1;
	json_t *some = json_array();
	size_t end = c->row + ROWS_AT_ONCE;
	if (some == NULL)
		return memo_service_nomem(c);
	for (; c->row < end && c->row < json_array_size(c->rows); c->row++) {
		if (json_array_append(some, json_array_get(c->rows, c->row)) < 0) {
			json_decref(some);
			return memo_service_nomem(c);
		}
	}
	if (json_array_size(some) == 0) {
		json_decref(some);
		return 0;
	}
	memo_service_event(c, "rows", "rows", some);
	return 2;
}

int memo_op_gc(struct memo_service_call *c)
{
	c->rows = json_array();
	if (c->rows == NULL)
		return memo_service_nomem(c);
	int r = memo_service_work(c, gc);
	if (r < 0)
		return r;
	if (r == 0) { /* it has no thread of its own, and is done */
		memo_mutex_lock(&c->mu);
		c->answered = true;
		memo_mutex_unlock(&c->mu);
	}
	c->step = gc_step;
	return 1;
}
