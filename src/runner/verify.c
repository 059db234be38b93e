/* Verification of a cached result: the task's own command, or that its bytes are what their names say. */
#include "internal.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "job.h"
#include "run.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A check without a time limit of its own ends at last. */
#define VERIFY_MS INT64_C(3600000)

/* ---- by content ------------------------------------------------------------------------------ */

static int verify_fd(int fd, const struct memo_id *want, const char *what, struct memo_err *err)
{
	struct memo_id id;
	int code = memo_hash_fd(fd, &id, NULL);
	if (code < 0)
		return memo_fail(err, code, "%s cannot be read: %s", what, memo_strerror(code));
	if (!memo_id_equal(&id, want))
		return memo_fail(err, -EBADMSG, "%s is damaged: its content does not match its hash", what);
	return 0;
}

/* What the store finds gone or damaged when it opens it is invalid, too. */
static int invalid(int code, struct memo_err *err)
{
	return code == -ENOENT ? memo_fail(err, -EBADMSG, "its stored bytes are gone") : code;
}

static int verify_tree(struct memo_runner *r, const struct memo_result *res, struct memo_err *err)
{
	struct memo_tree *t;
	int code = memo_store_open_tree(r->store, res, &t, err);
	if (code < 0)
		return invalid(code, err);
	for (uint32_t i = 0; i < memo_tree_count(t) && code == 0; i++) {
		const struct memo_tree_entry *e = memo_tree_entry(t, i);
		if (e->type != MEMO_ENTRY_FILE && e->type != MEMO_ENTRY_EXEC)
			continue;
		MEMO_AUTO_FD int fd = -1;
		code = memo_store_open_entry(r->store, res, e, &fd, err);
		code = code < 0 ? invalid(code, err) : verify_fd(fd, &e->id, e->path, err);
	}
	memo_tree_unref(t);
	return code;
}

static int verify_content(struct memo_runner *r, const struct memo_result *res, struct memo_err *err)
{
	if (res->kind == MEMO_RESULT_DIRECTORY)
		return verify_tree(r, res, err);
	if (res->kind == MEMO_RESULT_EXTERNAL) {
		if (memo_store_result_present(r->store, res) == 0)
			return 0;
		return memo_fail(err, -EBADMSG, "'%s' does not exist any more", res->path);
	}
	MEMO_AUTO_FD int fd = -1;
	int code = memo_store_open_file(r->store, res, &fd, err);
	return code < 0 ? invalid(code, err) : verify_fd(fd, &res->blob, "its stored file", err);
}

/* ---- by command ------------------------------------------------------------------------------ */

static int judge(const struct memo_exit *e, struct memo_err *err)
{
	switch (e->status) {
	case MEMO_EXIT_SUCCESS:
	case MEMO_EXIT_OUTPUT: /* what it prints does not matter */
		return 0;
	case MEMO_EXIT_FAILED:
	case MEMO_EXIT_TIMEOUT:
		return memo_fail(err, -EBADMSG, "its verify command says no: %s",
				 e->message != NULL ? e->message : memo_exit_text(e->status));
	default:
		return memo_fail(err, -EIO, "its verify command could not be run: %s",
				 e->message != NULL ? e->message : memo_exit_text(e->status));
	}
}

static int run_job(struct memo_runner *r, struct memo_job *job, struct memo_err *err)
{
	char *dir = NULL;
	int code = memo_store_attempt_new(r->store, &dir, err);
	if (code < 0)
		return code;
	job->owner_pid = getpid();
	if (job->time_ms == 0)
		job->time_ms = VERIFY_MS;
	code = memo_job_write(job, dir, err);
	if (code == 0) {
		code = memo_local_run(r->local, dir);
		if (code < 0)
			(void)memo_fail(err, code, "its verify command could not be run: %s", memo_strerror(code));
	}
	struct memo_exit e = { 0 };
	if (code == 0)
		code = memo_job_exit(dir, &e, err);
	if (code == -ENOENT)
		code = memo_fail(err, -EIO, "its verify command could not be run: the worker left no record");
	if (code == 0)
		code = judge(&e, err);
	memo_exit_clear(&e);
	memo_store_attempt_remove(r->store, dir);
	free(dir);
	return code;
}

static int verify_command(struct memo_runner *r, struct memo_task *t, const json_t *inputs, struct memo_result *res,
			  struct memo_err *err)
{
	struct memo_plan plan;
	int code = memo_plan_make(r->store, t, inputs, &plan, err);
	if (code < 0)
		return code;
	code = memo_plan_hash(r->store, &plan, err);
	for (size_t i = 0; i < plan.ups && code == 0; i++) {
		struct memo_result *up = NULL;
		code = memo_peek_known(r, plan.up[i].task, plan.up[i].inputs, &up);
		if (code < 0)
			(void)memo_fail(err, code, "upstream '%s' is not there to verify against", plan.up[i].key);
		memo_plan_up_set(&plan, i, up);
		memo_result_unref(up);
	}
	/* An upstream that was collected is no reason to doubt what was made from it: the bytes are looked at instead. */
	if (code == 0 && memo_plan_lacks(&plan)) {
		memo_plan_clear(&plan);
		return verify_content(r, res, err);
	}
	struct memo_job job;
	char hex[MEMO_HEX_SIZE];
	if (code == 0)
		code = memo_job_build_verify(r->store, &plan, res, memo_id_hex(&res->identity, hex), &job, err);
	if (code == 0) {
		code = run_job(r, &job, err);
		memo_job_clear(&job);
	}
	memo_plan_clear(&plan);
	return code;
}

int memo_verify_result(struct memo_runner *r, struct memo_task *t, const json_t *inputs, struct memo_result *res,
		       struct memo_err *err)
{
	int code = memo_store_result_present(r->store, res) == 0 ? 0 : -EBADMSG;
	if (code < 0 && res->kind != MEMO_RESULT_EXTERNAL)
		(void)memo_fail(err, code, "its stored bytes are gone");
	else if (code < 0)
		(void)memo_fail(err, code, "'%s' does not exist any more", res->path);
	if (code == 0)
		code = t->verifies > 0 ? verify_command(r, t, inputs, res, err) : verify_content(r, res, err);
	if (code < 0)
		return memo_fail_prefix(err, code, "the cached result of /tasks/%s/%s", t->name, t->version);
	return 0;
}
