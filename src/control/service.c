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
 *	stats                                   -> total:{...} tasks:[{...}] health:{damaged read_errors refused} room:{...}
 *	verify  INSTANCE                        -> path valid message
 *	verify-all rate restart                 ~ {event:"verdicts"} {event:"progress"} -> valid invalid unknown before
 *	fsck    repair quick empty rate         ~ {event:"findings"} {event:"progress"} -> wrong repaired failed left ...
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

/* Who may make a request. Owner stands for the store's owner and root, who may make all. The rest is for those who may see the
 * store at all, by the settings `mode` and `group`. */
enum right {
	RIGHT_OWNER, /* it changes the registry, the settings or results */
	RIGHT_SEE,
	RIGHT_START, /* may start work: the runner asks for the setting `runners` when it comes to that */
	RIGHT_RUN, /* the run is his, or the store */
};

/* Of a request that takes more rights with some of its members: it has none of these. */
static bool is_dry(const json_t *request)
{
	return memo_json_bool(request, "dry", false);
}

static bool sets_nothing(const json_t *request)
{
	return json_object_get(request, "value") == NULL;
}

static bool forces_nothing(const json_t *request)
{
	return !memo_json_bool(request, "force", false) &&
	       json_array_size(json_object_get(request, "force_tasks")) == 0;
}

static const struct row {
	const char *op;
	memo_handler_fn *fn;
	enum right right;
	const char *what; /* "only its owner and root may ..." */
	bool (*harmless)(const json_t *request); /* true: seeing is enough; NULL: never */
} table[] = {
	{ "hello", memo_op_hello, RIGHT_SEE, NULL, NULL },
	{ "add", memo_op_add, RIGHT_OWNER, "register tasks", is_dry },
	{ "tasks", memo_op_tasks, RIGHT_SEE, NULL, NULL },
	{ "show", memo_op_show, RIGHT_SEE, NULL, NULL },
	{ "remove", memo_op_remove, RIGHT_OWNER, "remove tasks", NULL },
	{ "path", memo_op_path, RIGHT_SEE, NULL, NULL },
	{ "explain", memo_op_explain, RIGHT_SEE, NULL, NULL },
	{ "state", memo_op_state, RIGHT_SEE, NULL, NULL },
	{ "get", memo_op_get, RIGHT_START, NULL, NULL },
	{ "log", memo_op_log, RIGHT_SEE, NULL, NULL },
	{ "cancel", memo_op_cancel, RIGHT_OWNER, "cancel work", NULL },
	{ "forget", memo_op_forget, RIGHT_OWNER, "forget results", NULL },
	{ "pin", memo_op_pin, RIGHT_OWNER, "pin results", NULL },
	{ "unpin", memo_op_unpin, RIGHT_OWNER, "unpin results", NULL },
	{ "gc", memo_op_gc, RIGHT_OWNER, "collect results", NULL },
	{ "status", memo_op_status, RIGHT_SEE, NULL, NULL },
	{ "config", memo_op_config, RIGHT_OWNER, "change its settings", sets_nothing },
	{ "why", memo_op_why, RIGHT_SEE, NULL, NULL },
	{ "tail", memo_op_tail, RIGHT_SEE, NULL, NULL },
	{ "stats", memo_op_stats, RIGHT_SEE, NULL, NULL },
	{ "verify", memo_op_verify, RIGHT_OWNER, "verify results", NULL },
	{ "verify-all", memo_op_verify_all, RIGHT_OWNER, "verify results", NULL },
	{ "fsck", memo_op_fsck, RIGHT_OWNER, "check the store", NULL },
	{ "run-new", memo_op_run_new, RIGHT_OWNER, "replace results by force", forces_nothing },
	{ "run-add", memo_op_run_add, RIGHT_RUN, "add to", NULL },
	{ "run-start", memo_op_run_start, RIGHT_RUN, "start", NULL },
	{ "run-stop", memo_op_run_stop, RIGHT_RUN, "stop", NULL },
	{ "run-cancel", memo_op_run_cancel, RIGHT_RUN, "cancel", NULL },
	{ "run-retry", memo_op_run_retry, RIGHT_RUN, "retry", NULL },
	{ "run-status", memo_op_run_status, RIGHT_SEE, NULL, NULL },
	{ "run-list", memo_op_run_list, RIGHT_SEE, NULL, NULL },
	{ "run-rows", memo_op_run_rows, RIGHT_SEE, NULL, NULL },
	{ "run-graph", memo_op_run_graph, RIGHT_SEE, NULL, NULL },
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

static int find_row(const json_t *request, const struct row **row_out, struct memo_err *err)
{
	const char *op;
	int r = memo_json_need_string(request, "op", &op, err);
	if (r < 0)
		return r;
	struct memo_nearest n = { .word = op };
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (strcmp(op, table[i].op) == 0) {
			*row_out = &table[i];
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

static int may_see(struct memo_service_call *c)
{
	struct memo_settings set;
	int r = memo_store_settings(c->store, &set, &c->err);
	if (r < 0)
		return r;
	bool in = memo_who_in(c->asker.who, set.gid);
	if ((set.mode & (in ? 0050 : 0005)) != 0)
		return 0;
	return memo_fail(&c->err, -EACCES, "store '%s': you may not see it (memofs config mode, group)",
			 memo_store_dir(c->store));
}

static int check_right(struct memo_service_call *c, const struct row *row)
{
	if (c->owner)
		return 0;
	int r = may_see(c);
	if (r < 0 || (row->harmless != NULL && row->harmless(c->request)))
		return r;
	switch (row->right) {
	case RIGHT_SEE:
	case RIGHT_START:
		return 0;
	case RIGHT_RUN:
		return memo_service_run_mine(c, row->what);
	case RIGHT_OWNER:
		break;
	}
	return memo_fail(&c->err, -EACCES, "store '%s': only its owner and root may %s", memo_store_dir(c->store),
			 row->what);
}

void memo_service_begin(struct memo_runner *r, const json_t *request, const struct memo_asker *a,
			struct memo_service_call **call_out)
{
	*call_out = NULL;
	struct memo_err err = { 0 };
	const struct row *row = NULL;
	int code = find_row(request, &row, &err);
	if (code < 0) {
		emit_refusal(a, code, 4, err.text);
		return;
	}
	struct memo_service_call *c = call_new(r, request, a);
	if (c == NULL) {
		emit_refusal(a, -ENOMEM, 4, "the process that serves the store is out of memory");
		return;
	}
	code = check_right(c, row);
	if (code == 0)
		code = row->fn(c);
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
