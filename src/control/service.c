/* The requests, and the life of a call.
 *
 *	hello                                   -> store version pid mountpoint owner
 *	add     dry tasks:[{label definition files:[{path data exec}]}] -> tasks:[{name version result}] warnings:[text]
 *	tasks                                   -> tasks:[{name version latest inputs output description ...}]
 *	show    task:"NAME[@VERSION]"           -> the same for one, with definition, needs, code, fingerprint
 *	remove  task                            -> removed:[{name version}]
 *	path    INSTANCE                        -> path
 *	explain INSTANCE                        -> path task version inputs state cached identity hash ...
 *	state   INSTANCE                        -> state path
 *	get     INSTANCE quiet                  ~ {event:"progress"} {event:"stderr"} -> path file kind exec size hash
 *	log     INSTANCE follow                 ~ {event:"data"} -> path state message
 *	cancel, forget  INSTANCE                -> path
 *	pin, unpin      INSTANCE                -> path
 *	gc      max_size dry                    ~ {event:"rows"} -> summary:{...} (memo_store_gc())
 *	status                                  -> as hello, and active:[...] room:{...} (memo_runner_room())
 *	config  [key [value]]                   -> settings:[{key value default meaning}]
 *	why     INSTANCE                        -> path text
 *	tail    INSTANCE lines                  -> path text: the last lines of its stderr
 *	stats                                   -> total:{...} tasks:[{...}] room:{...}
 *	cached                                  ~ {event:"paths"} -> count: all names that have a result
 *	verify  INSTANCE stored                 -> path valid message; stored: of the name's last result, nothing is hashed
 *	run-new force force_tasks:[] verify keep_going [task] -> run [task version fixed]
 *	run-add run INSTANCE fixed              -> path
 *	        run task:"NAME@VERSION" fixed pairs cwd label dir first lines:[n] rows:[{}] | columns:[] rows:[[text]]
 *	run-start, run-stop, run-cancel  run    ->
 *	run-retry run [task] verify             -> count
 *	run-status run since                    -> status:{...}
 *	run-list                                -> runs:[{...}]
 *	run-rows run [after] [outcomes:[]] limit -> rows:[{...}] next
 *	run-graph run                           -> dot
 *
 * INSTANCE is "path": "/tasks/..." (or a path in the mount, or what follows /tasks/), or "task": "NAME[@VERSION]" with
 * "pairs": [["key","value"]...] and "cwd" for relative File values. Bytes travel as base64. */
#include "service.h"

#include "base/json.h"
#include "base/scope.h"
#include "service_call.h"
#include "core/nearest.h"

#include <string.h>

static const struct {
	const char *op;
	memo_handler_fn *fn;
} table[] = {
	{ "hello", memo_op_hello },
	{ "add", memo_op_add },
	{ "tasks", memo_op_tasks },
	{ "show", memo_op_show },
	{ "remove", memo_op_remove },
	{ "path", memo_op_path },
	{ "explain", memo_op_explain },
	{ "state", memo_op_state },
	{ "get", memo_op_get },
	{ "log", memo_op_log },
	{ "cancel", memo_op_cancel },
	{ "forget", memo_op_forget },
	{ "pin", memo_op_pin },
	{ "unpin", memo_op_unpin },
	{ "gc", memo_op_gc },
	{ "status", memo_op_status },
	{ "config", memo_op_config },
	{ "why", memo_op_why },
	{ "tail", memo_op_tail },
	{ "stats", memo_op_stats },
	{ "cached", memo_op_cached },
	{ "verify", memo_op_verify },
	{ "run-new", memo_op_run_new },
	{ "run-add", memo_op_run_add },
	{ "run-start", memo_op_run_start },
	{ "run-stop", memo_op_run_stop },
	{ "run-cancel", memo_op_run_cancel },
	{ "run-retry", memo_op_run_retry },
	{ "run-status", memo_op_run_status },
	{ "run-list", memo_op_run_list },
	{ "run-rows", memo_op_run_rows },
	{ "run-graph", memo_op_run_graph },
};

int memo_service_status(int code)
{
	switch (code) {
	case -EIO:
	case -EDEADLK:
	case -ECANCELED:
		return 1;
	case -EINVAL:
	case -ENAMETOOLONG:
	case -ELOOP:
	case -ERANGE:
	case -EFBIG:
	case -E2BIG:
		return 2;
	case -ENOENT:
	case -ENOTDIR:
	case -ENOTUNIQ:
		return 3;
	case -EINTR:
		return 130;
	default:
		return 4;
	}
}

json_t *memo_service_refusal(int code, int status, const char *text)
{
	json_t *words = json_string(text);
	if (words == NULL)
		words = json_string(memo_strerror(code)); /* the text was not UTF-8 */
	return json_pack("{s:b, s:i, s:i, s:o}", "ok", 0, "code", -code, "status", status, "message", words);
}

/* Out of memory is told by a message that needs none. */
static void emit_refusal(const struct memo_asker *a, int code, int status, const char *text)
{
	MEMO_AUTO_JSON json_t *m =
		memo_service_refusal(code, status != 0 ? status : memo_service_status(code), text);
	a->emit(a->arg, m, true);
}

/* 2: the answer is out. */
static int conclude(struct memo_service_call *c, int r)
{
	if (r == 0)
		r = memo_service_set(c, "ok", json_true());
	if (r < 0) {
		emit_refusal(&c->asker, r, c->status, c->err.code != 0 ? c->err.text : memo_strerror(r));
		return 2;
	}
	c->asker.emit(c->asker.arg, c->answer, true);
	return 2;
}

static int find_handler(const json_t *request, memo_handler_fn **fn_out, struct memo_err *err)
{
	const char *op;
	int r = memo_json_need_string(request, "op", &op, err);
	if (r < 0)
		return r;
	struct memo_nearest n = { .word = op };
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (strcmp(op, table[i].op) == 0) {
			*fn_out = table[i].fn;
			return 0;
		}
		memo_nearest_offer(&n, table[i].op);
	}
	return memo_fail(
		err, -EINVAL,
		"the process that serves the store knows no request '%.60s'%s%s%s; restart it if it is older "
		"than the command",
		op, n.best != NULL ? " (nearest: '" : "", n.best != NULL ? n.best : "", n.best != NULL ? "')" : "");
}

static struct memo_service_call *call_new(struct memo_runner *r, const json_t *request, const struct memo_asker *a)
{
	struct memo_service_call *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->answer = json_object();
	if (c->answer == NULL) {
		free(c);
		return NULL;
	}
	c->runner = r;
	c->store = memo_runner_store(r);
	c->request = json_incref((json_t *)(uintptr_t)request);
	c->asker = *a;
	c->tail.fd = -1;
	c->refs = 1;
	memo_mutex_init(&c->mu);
	struct stat st;
	c->owner = a->uid == 0 || a->uid == geteuid() ||
		   (stat(memo_store_dir(c->store), &st) == 0 && st.st_uid == a->uid);
	return c;
}

void memo_service_begin(struct memo_runner *r, const json_t *request, const struct memo_asker *a,
			struct memo_service_call **call_out)
{
	*call_out = NULL;
	struct memo_err err = { 0 };
	memo_handler_fn *fn = NULL;
	int code = find_handler(request, &fn, &err);
	if (code < 0) {
		emit_refusal(a, code, 4, err.text);
		return;
	}
	struct memo_service_call *c = call_new(r, request, a);
	if (c == NULL) {
		emit_refusal(a, -ENOMEM, 4, "the process that serves the store is out of memory");
		return;
	}
	code = fn(c);
	if (code > 0) {
		*call_out = c;
		return;
	}
	(void)conclude(c, code);
	memo_service_end(c);
}

int memo_service_step(struct memo_service_call *c)
{
	int r = c->step(c);
	if (r == 1)
		return 0;
	if (r == 2)
		return 1;
	return conclude(c, r);
}

void memo_service_end(struct memo_service_call *c)
{
	if (c == NULL)
		return;
	memo_mutex_lock(&c->mu);
	c->ended = true;
	memo_mutex_unlock(&c->mu);
	if (c->wait != NULL) {
		/* dropped: the answer never comes, and its reference is ours to give back */
		if (memo_runner_drop(c->runner, c->wait))
			memo_service_unref(c);
		memo_wait_release(c->wait);
		c->wait = NULL;
	}
	memo_service_unref(c);
}
