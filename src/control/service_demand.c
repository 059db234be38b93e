/* get and log: the requests that take their time. see service_call.h for who may touch what: the runner's answer writes under
 * c->mu and wakes the owner, and everything that is emitted is emitted by a step. */
#include "service_call.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/tree.h"

#include <string.h>

#define SHOWN_WORD 400 /* bytes of a path in a command that a message gives */
#define LOST_TRIES 3 /* executions of one demand whose bytes turn out to be gone */
#define PROGRESS_SHOWN 64 /* instances told in one event */
#define PROGRESS_MANY 256 /* above: looked at once a second */

static int demand(struct memo_service_call *c);

void memo_service_answered(void *arg, int code, struct memo_result *res, const struct memo_err *err)
{
	struct memo_service_call *c = arg;
	memo_mutex_lock(&c->mu);
	if (!c->ended) {
		c->answered = true;
		c->code = code;
		c->result = code == 0 ? memo_result_ref(res) : NULL;
		if (code < 0 && err != NULL)
			c->answer_err = *err;
		c->asker.wake(c->asker.arg);
	}
	memo_mutex_unlock(&c->mu);
	memo_service_unref(c);
}

/* A hit believes the manifest; the bytes are looked at when they are opened. */
static int bytes_there(struct memo_service_call *c, struct memo_err *err)
{
	int r = memo_store_result_present(c->store, c->result);
	if (r < 0 || c->result->kind != MEMO_RESULT_FILE)
		return r;
	MEMO_AUTO_FD int fd = -1;
	return memo_store_open_file(c->store, c->result, &fd, err);
}

static const char *kind_text(const struct memo_result *r)
{
	return r->kind == MEMO_RESULT_FILE ? "file" : r->kind == MEMO_RESULT_DIRECTORY ? "directory" : "external";
}

/* The kind of what lies at @inner in a directory result; its path is appended to @file. */
static int find_inner(struct memo_service_call *c, struct memo_buf *file, const char **kind_out, bool *exec_out)
{
	if (c->result->kind == MEMO_RESULT_FILE)
		return memo_fail(&c->err, -ENOTDIR, "%s: is a file, there is no '%.300s' in it", c->path, c->inner);
	if (c->result->kind == MEMO_RESULT_DIRECTORY) {
		struct memo_tree *tree = NULL;
		uint32_t i = 0;
		int r = memo_store_open_tree(c->store, c->result, &tree, &c->err);
		if (r < 0)
			return r;
		r = memo_tree_walk(tree, c->inner, &i);
		memo_tree_unref(tree);
		if (r < 0)
			return memo_fail(&c->err, -ENOENT,
					 "%s: there is no '%.300s' in it; memofs get -o DIR copies it all", c->path,
					 c->inner);
	}
	(void)memo_buf_printf(file, "/%s", c->inner);
	struct stat st;
	if (memo_buf_error(file) < 0)
		return memo_service_nomem(c);
	if (stat(memo_buf_str(file), &st) < 0)
		return memo_fail(&c->err, -ENOENT, "%s: there is no '%.300s' in it", c->path, c->inner);
	if (c->result->kind == MEMO_RESULT_DIRECTORY)
		*kind_out = S_ISDIR(st.st_mode) ? "directory" : "file";
	*exec_out = S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
	return 0;
}

static int fill_answer(struct memo_service_call *c)
{
	MEMO_AUTO_FREE char *path = NULL;
	MEMO_AUTO_BUF struct memo_buf file = { 0 };
	const char *kind = kind_text(c->result);
	bool exec = c->result->exec;
	int r = memo_store_result_path(c->store, c->result, &path);
	if (r < 0)
		return memo_fail(&c->err, r, "%s: where its result is cannot be told: %s", c->path,
				 memo_strerror(r));
	(void)memo_buf_puts(&file, path);
	if (c->inner != NULL)
		r = find_inner(c, &file, &kind, &exec);
	if (r < 0)
		return r;
	char hash[MEMO_HEX_SIZE], identity[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *more =
		json_pack("{s:s, s:s, s:s, s:b, s:s, s:s, s:I}", "path", c->path, "file", memo_buf_str(&file),
			  "kind", kind, "exec", exec, "hash", memo_id_hex(&c->result->hash, hash), "identity",
			  memo_id_hex(&c->result->identity, identity), "size", (json_int_t)c->result->size);
	if (more == NULL || json_object_update(c->answer, more) < 0)
		return memo_service_nomem(c);
	return 0;
}

/* Bytes that are gone or damaged are a miss: executed again within this demand. */
static int deliver(struct memo_service_call *c)
{
	struct memo_err why = { 0 };
	memo_service_hand(c);
	int r = bytes_there(c, &why);
	if (r == -ENOENT || r == -EBADMSG) {
		if (++c->tries >= LOST_TRIES)
			return memo_fail(&c->err, -EIO, "%s: its result was lost again as soon as it was made: %s",
					 c->path, why.code != 0 ? why.text : memo_strerror(r));
		r = memo_runner_lost(c->runner, c->result, why.code != 0 ? why.text : "its bytes are gone",
				     &c->err);
		if (r < 0)
			return r;
		memo_result_unref(c->result);
		c->result = NULL;
		return demand(c);
	}
	if (r < 0) {
		c->status = 4; /* no task failed */
		return memo_fail(&c->err, r, "%s: its result cannot be read: %s", c->path,
				 why.code != 0 ? why.text : memo_strerror(r));
	}
	return fill_answer(c);
}

static int failed(struct memo_service_call *c, int code)
{
	if (c->err.code == 0)
		(void)memo_fail(&c->err, code, "%s: %s", c->path, memo_strerror(code));
	if (code != -EIO)
		return code;
	struct memo_err text = c->err;
	MEMO_AUTO_BUF struct memo_buf word = { 0 };
	(void)memo_log_word(&word, c->path);
	/* a command that is cut short is none */
	if (memo_buf_error(&word) < 0 || word.len > SHOWN_WORD)
		return code;
	return memo_fail(&c->err, code, "%.600s; memofs log %s shows more", text.text, memo_buf_str(&word));
}

static int demand(struct memo_service_call *c)
{
	struct memo_demand d = {
		.task = c->task,
		.inputs = c->inputs,
		.flags = MEMO_DEMAND_FRESH,
		.uid = c->asker.uid,
		.who = c->asker.who,
		.tid = c->asker.pid,
		.answer = memo_service_answered,
		.arg = c,
	};
	struct memo_wait *wait = NULL;
	struct memo_result *res = NULL;
	memo_mutex_lock(&c->mu);
	c->refs++; /* the answer's */
	c->answered = false;
	memo_mutex_unlock(&c->mu);
	int r = memo_runner_demand(c->runner, &d, &wait, &res, &c->err);
	if (r == 1) {
		c->wait = wait;
		return 1;
	}
	memo_service_unref(c);
	if (r < 0)
		return failed(c, r);
	c->result = res;
	return deliver(c);
}

/* What is shown of one instance; the rest of it (times, waiters) would make every look a change. */
static json_t *brief(const json_t *i)
{
	json_t *o = json_object();
	static const char *const keys[] = { "task", "version", "name", "path", "state", "reason" };
	for (size_t k = 0; o != NULL && k < sizeof keys / sizeof *keys; k++) {
		json_t *v = json_object_get(i, keys[k]);
		if (v != NULL && json_object_set(o, keys[k], v) < 0) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

static void tell_progress(struct memo_service_call *c)
{
	int64_t now = memo_now_ns();
	if (now < c->next_ns || memo_json_bool(c->request, "quiet", false))
		return;
	MEMO_AUTO_JSON json_t *all = NULL;
	MEMO_AUTO_JSON json_t *some = json_array();
	if (some == NULL || memo_runner_progress(c->runner, c->wait, &all) < 0)
		return;
	size_t n = json_array_size(all);
	c->next_ns = now + (n > PROGRESS_MANY ? MEMO_NS_PER_S : MEMO_SERVICE_STEP_MS / 2 * MEMO_NS_PER_MS);
	for (size_t i = 0; i < n && json_array_size(some) < PROGRESS_SHOWN; i++) {
		if (memo_json_push(some, brief(json_array_get(all, i))) < 0)
			return;
	}
	MEMO_AUTO_JSON json_t *now_shown = json_pack("{s:I, s:O}", "count", (json_int_t)n, "instances", some);
	if (now_shown == NULL || (c->shown != NULL && json_equal(c->shown, now_shown)))
		return;
	json_decref(c->shown);
	c->shown = json_incref(now_shown);
	memo_service_event(c, "progress", "progress", json_incref(now_shown));
}

static int get_step(struct memo_service_call *c)
{
	memo_mutex_lock(&c->mu);
	bool answered = c->answered;
	int code = c->code;
	memo_mutex_unlock(&c->mu);
	bool quiet = memo_json_bool(c->request, "quiet", false), running = false;
	if (!answered)
		tell_progress(c);
	int r = quiet ? 0 : memo_service_tail_read(c, "stderr", &running);
	if (r == 1)
		return 2;
	if (!answered)
		return 1;
	memo_wait_release(c->wait);
	c->wait = NULL;
	if (code == 0)
		return deliver(c);
	c->err = c->answer_err;
	return failed(c, code);
}

int memo_op_get(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	c->begun_wall_ns = memo_wall_ns();
	c->next_ns = memo_now_ns() + MEMO_SERVICE_STEP_MS / 2 * MEMO_NS_PER_MS; /* what is quick need not be told */
	c->step = get_step;
	return demand(c);
}

/* PENDING is also what a stopped daemon left behind: only what is in flight can still print. */
static bool in_flight(struct memo_service_call *c, enum memo_state s)
{
	if (s == MEMO_RUNNING || s == MEMO_SUBMITTED || s == MEMO_RETRYING)
		return true;
	MEMO_AUTO_JSON json_t *active = NULL;
	if (s != MEMO_PENDING || memo_runner_active(c->runner, &active) < 0)
		return false;
	size_t i;
	json_t *a;
	json_array_foreach(active, i, a)
	{
		if (strcmp(memo_json_string(a, "path", ""), c->path) == 0)
			return true;
	}
	return false;
}

static int log_end(struct memo_service_call *c, enum memo_state s)
{
	if (s == MEMO_STATES && !c->tail.any)
		return memo_service_absent(c, "was never executed", "does it");
	MEMO_AUTO_FREE char *message = NULL;
	const char *name = strrchr(c->path, '/') + 1;
	if (s == MEMO_FAILED &&
	    memo_store_named_message(c->store, c->task->name, c->task->version, name, &message) < 0)
		message = NULL;
	int r = memo_service_set(c, "path", json_string(c->path));
	if (r == 0)
		r = memo_service_set(c, "state", json_string(s == MEMO_STATES ? "NONE" : memo_state_text(s)));
	if (r == 0)
		r = memo_service_set(c, "printed", json_boolean(c->tail.any));
	if (r == 0 && message != NULL)
		r = memo_service_set(c, "message", json_string(message));
	return r;
}

static int log_step(struct memo_service_call *c)
{
	bool running = false;
	/* the state before the log: what is printed between the two is read */
	enum memo_state s = memo_runner_state(c->runner, c->task, c->inputs);
	int r = memo_service_tail_read(c, "data", &running);
	if (r < 0)
		return memo_fail(&c->err, r, "%s: its log cannot be read: %s", c->path, memo_strerror(r));
	if (r > 0)
		return 2;
	if (c->follow && (running || in_flight(c, s)))
		return 1;
	return log_end(c, s);
}

int memo_op_log(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	c->follow = memo_json_bool(c->request, "follow", false);
	c->step = log_step;
	return 1;
}
