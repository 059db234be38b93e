/* Verification of a cached result: the task's own command, or that its bytes are what their names say. */
#include "internal.h"

#include "base/json.h"
#include "base/scope.h"
#include "job.h"
#include "run.h"

#include <string.h>
#include <unistd.h>

/* A check without a time limit of its own ends at last. */
#define VERIFY_MS INT64_C(3600000)

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
	code = memo_plan_hash(r->store, &plan, NULL, err);
	for (size_t i = 0; i < plan.ups && code == 0; i++) {
		struct memo_result *up = NULL;
		code = memo_peek_known(r, plan.up[i].task, plan.up[i].inputs, NULL, &up);
		if (code < 0)
			(void)memo_fail(err, code, "upstream '%s' is not there to verify against", plan.up[i].key);
		memo_plan_up_set(&plan, i, up);
		memo_result_unref(up);
	}
	/* An upstream that was collected is no reason to doubt what was made from it: the bytes are looked at instead. */
	if (code == 0 && memo_plan_lacks(&plan)) {
		memo_plan_clear(&plan);
		code = memo_store_result_verify(r->store, res, NULL, err);
		return code == -ENOENT ? memo_fail(err, -EBADMSG, "its stored bytes are gone") : code;
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

int memo_verify_command(struct memo_runner *r, struct memo_task *t, const json_t *inputs, struct memo_result *res,
			struct memo_err *err)
{
	int code = verify_command(r, t, inputs, res, err);
	return code < 0 ? memo_fail_prefix(err, code, "the cached result of /tasks/%s/%s", t->name, t->version) : 0;
}

int memo_verify_result(struct memo_runner *r, struct memo_task *t, const json_t *inputs, struct memo_result *res,
		       struct memo_err *err)
{
	/* A command is only asked about bytes that an open would serve. */
	int code = t->verifies > 0 ? memo_store_result_usable(r->store, res, err)
				   : memo_store_result_verify(r->store, res, NULL, err);
	if (code == 0 && res->kind == MEMO_RESULT_EXTERNAL && memo_store_result_present(r->store, res) < 0)
		code = memo_fail(err, -EBADMSG, "'%s' does not exist any more", res->path);
	if (code == -ENOENT)
		code = memo_fail(err, -EBADMSG, "its stored bytes are gone");
	if (code < 0)
		return memo_fail_prefix(err, code, "the cached result of /tasks/%s/%s", t->name, t->version);
	return t->verifies > 0 ? memo_verify_command(r, t, inputs, res, err) : 0;
}
