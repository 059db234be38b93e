/* Attempt: job.json. */
#include "attempt_record.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

#define JOB_INPUTS 1000000u
#define JOB_ARGS 1000000u

void memo_job_clear(struct memo_job *j)
{
	for (size_t i = 0; i < j->argc; i++)
		free(j->argv[i]);
	free(j->argv);
	json_decref(j->env);
	for (size_t i = 0; i < j->inputs; i++) {
		free(j->input[i].to);
		free(j->input[i].from);
	}
	free(j->input);
	free(j->output_path);
	free(j->sandbox.readable);
	free(j->sandbox.writable);
	free(j->sandbox.mount);
	free(j->sandbox.control);
	*j = (struct memo_job){ 0 };
}

static json_t *guard_new(const struct memo_guard *g)
{
	json_t *o = json_object();
	if (o == NULL || memo_record_set_int(o, "dev", (int64_t)g->dev) < 0 ||
	    memo_record_set_int(o, "ino", (int64_t)g->ino) < 0 ||
	    memo_record_set_int(o, "size", (int64_t)g->size) < 0 ||
	    memo_record_set_int(o, "mtime_ns", g->mtime_ns) < 0 ||
	    memo_record_set_int(o, "ctime_ns", g->ctime_ns) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *input_new(const struct memo_job_input *in)
{
	json_t *o = json_object();
	int r = o == NULL ? -ENOMEM : memo_record_set_bytes(o, "to", in->to);
	if (r == 0)
		r = memo_record_set_bytes(o, "from", in->from);
	if (r == 0)
		r = memo_record_set_bool(o, "directory", in->directory);
	if (r == 0)
		r = memo_record_set_bool(o, "trusted", in->trusted);
	if (r == 0)
		r = memo_record_set_bool(o, "exec", in->exec);
	if (r == 0)
		r = memo_record_set_bool(o, "copy", in->copy);
	if (r == 0 && in->guarded)
		r = memo_json_set(o, "guard", guard_new(&in->guard));
	if (r == 0 && in->guarded)
		r = memo_record_set_id(o, "sha256", &in->id);
	if (r == 0)
		return o;
	json_decref(o);
	return NULL;
}

static int set_lists(json_t *o, const struct memo_job *j)
{
	json_t *argv = json_array(), *inputs = json_array();
	int r = argv == NULL || inputs == NULL ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < j->argc; i++)
		r = memo_json_push(argv, memo_record_bytes(j->argv[i]));
	for (size_t i = 0; r == 0 && i < j->inputs; i++)
		r = memo_json_push(inputs, input_new(&j->input[i]));
	int s = memo_json_set(o, "argv", argv);
	int t = memo_json_set(o, "inputs", inputs);
	if (r == 0)
		r = s < 0 ? s : t;
	return r;
}

static json_t *sandbox_new(const struct memo_job_sandbox *s)
{
	json_t *o = json_object();
	int r = o == NULL ? -ENOMEM : memo_json_set(o, "mode", json_string(memo_sandbox_text(s->mode)));
	if (r == 0)
		r = memo_record_set_bytes(o, "readable", s->readable);
	if (r == 0)
		r = memo_record_set_bytes(o, "writable", s->writable);
	if (r == 0)
		r = memo_record_set_bytes(o, "mount", s->mount);
	if (r == 0)
		r = memo_record_set_bytes(o, "control", s->control);
	if (r == 0)
		return o;
	json_decref(o);
	return NULL;
}

int memo_job_encode(const struct memo_job *j, struct memo_buf *b)
{
	MEMO_AUTO_JSON json_t *o = json_object();
	if (o == NULL)
		return -ENOMEM;
	int r = memo_record_set_int(o, "memofs-job", MEMO_ATTEMPT_FORMAT);
	if (r == 0)
		r = memo_json_set(o, "identity", json_string(j->identity));
	if (r == 0)
		r = memo_record_set_int(o, "attempt", j->attempt);
	if (r == 0)
		r = memo_record_set_int(o, "owner_pid", j->owner_pid);
	if (r == 0)
		r = set_lists(o, j);
	if (r == 0)
		r = memo_json_set(o, "env", json_is_object(j->env) ? json_incref(j->env) : json_object());
	if (r == 0)
		r = memo_json_set(o, "output", json_string(memo_output_text(j->output)));
	if (r == 0)
		r = memo_record_set_bytes(o, "output_path", j->output_path);
	if (r == 0)
		r = memo_record_set_int(o, "time_ms", j->time_ms);
	if (r == 0)
		r = memo_record_set_int(o, "memory_bytes", (int64_t)j->memory_bytes);
	if (r == 0)
		r = memo_record_set_int(o, "memory_limit_bytes", (int64_t)j->memory_limit_bytes);
	if (r == 0)
		r = memo_record_set_bool(o, "network", j->network);
	if (r == 0)
		r = memo_json_set(o, "sandbox", sandbox_new(&j->sandbox));
	return memo_record_finish(o, r, b);
}

static int get_guard(const json_t *o, struct memo_job_input *in, struct memo_err *err)
{
	const json_t *g = json_object_get(o, "guard");
	if (g == NULL)
		return 0;
	int64_t dev = 0, ino = 0;
	int r = memo_json_need_int(g, "dev", &dev, err);
	if (r == 0)
		r = memo_json_need_int(g, "ino", &ino, err);
	if (r == 0)
		r = memo_record_need_count(g, "size", &in->guard.size, err);
	if (r == 0)
		r = memo_json_need_int(g, "mtime_ns", &in->guard.mtime_ns, err);
	if (r == 0)
		r = memo_json_need_int(g, "ctime_ns", &in->guard.ctime_ns, err);
	if (r == 0)
		r = memo_record_need_id(o, "sha256", &in->id, err);
	in->guard.dev = (uint64_t)dev;
	in->guard.ino = (uint64_t)ino;
	in->guarded = r == 0;
	return r;
}

static int get_input(const json_t *o, struct memo_job_input *in, struct memo_err *err)
{
	int r = memo_record_need_bytes(o, "to", &in->to, err);
	if (r == 0)
		r = memo_record_need_bytes(o, "from", &in->from, err);
	if (r == 0)
		r = get_guard(o, in, err);
	if (r < 0)
		return r;
	in->directory = memo_json_bool(o, "directory", false);
	in->trusted = memo_json_bool(o, "trusted", false);
	in->exec = memo_json_bool(o, "exec", false);
	in->copy = memo_json_bool(o, "copy", false);
	size_t skip = strncmp(in->to, MEMO_ATTEMPT_CODE, strlen(MEMO_ATTEMPT_CODE)) == 0 ? strlen(MEMO_ATTEMPT_CODE)
											 : 0;
	if (!memo_task_inner_path_ok(in->to + skip))
		return memo_fail(err, -EINVAL, "'%.200s' is not a path inside the work directory", in->to);
	if (in->from[0] != '/')
		return memo_fail(err, -EINVAL, "'%.200s' must be an absolute path", in->from);
	return 0;
}

static int get_inputs(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	const json_t *list = json_object_get(o, "inputs");
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n > JOB_INPUTS)
		return memo_fail(err, -EINVAL, "key 'inputs' must be an array of at most %u inputs", JOB_INPUTS);
	j->input = calloc(n + 1, sizeof *j->input);
	if (j->input == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a record");
	for (size_t i = 0; i < n; i++) {
		j->inputs = i + 1;
		int r = get_input(json_array_get(list, i), &j->input[i], err);
		if (r < 0)
			return memo_fail_prefix(err, r, "inputs[%zu]", i);
	}
	return 0;
}

static int get_argv(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	const json_t *list = json_object_get(o, "argv");
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n == 0 || n > JOB_ARGS)
		return memo_fail(err, -EINVAL, "key 'argv' must be an array of 1 to %u strings", JOB_ARGS);
	j->argv = calloc(n + 1, sizeof *j->argv);
	if (j->argv == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a record");
	for (size_t i = 0; i < n; i++) {
		int r = memo_record_get_bytes(json_array_get(list, i), "argv", &j->argv[i], err);
		if (r < 0)
			return r;
		j->argc = i + 1;
	}
	return j->argv[0][0] == '\0' ? memo_fail(err, -EINVAL, "argv[0] is empty; name a program") : 0;
}

static int get_env(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	json_t *env = json_object_get(o, "env");
	const char *key;
	json_t *v;
	if (!json_is_object(env))
		return memo_fail(err, -EINVAL, "key 'env' must be an object");
	json_object_foreach(env, key, v)
	{
		if (!json_is_string(v) || key[0] == '\0' || strchr(key, '=') != NULL)
			return memo_fail(err, -EINVAL, "env: '%.100s' must be a name without '=' and have a string",
					 key);
	}
	j->env = json_incref(env);
	return 0;
}

static int get_output(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	static const enum memo_output_type all[] = { MEMO_OUT_FILE, MEMO_OUT_DIRECTORY, MEMO_OUT_JSON,
						     MEMO_OUT_EXTERNAL };
	const char *text;
	int r = memo_json_need_string(o, "output", &text, err);
	if (r == 0)
		r = memo_record_may_bytes(o, "output_path", &j->output_path, err);
	if (r < 0)
		return r;
	size_t i = 0;
	while (i < COUNT(all) && strcmp(text, memo_output_text(all[i])) != 0)
		i++;
	if (i == COUNT(all))
		return memo_fail(err, -EINVAL, "key 'output': '%.40s' is no type of output", text);
	j->output = all[i];
	if (j->output_path != NULL && !memo_task_inner_path_ok(j->output_path))
		return memo_fail(err, -EINVAL, "'%.200s' is not a path inside the work directory", j->output_path);
	if (j->output_path == NULL && j->output == MEMO_OUT_DIRECTORY)
		return memo_fail(err, -EINVAL, "a directory needs the key 'output_path'");
	return 0;
}

/* Absent in a record of a program that knew no sandbox: off. */
static int get_sandbox(const json_t *o, struct memo_job_sandbox *s, struct memo_err *err)
{
	const json_t *v = json_object_get(o, "sandbox");
	if (v == NULL)
		return 0;
	const char *mode;
	int r = memo_json_need_string(v, "mode", &mode, err);
	if (r == 0 && memo_sandbox_parse(mode, &s->mode) < 0)
		r = memo_fail(err, -EINVAL, "key 'sandbox': '%.40s' is none of 'on', 'off' and 'auto'", mode);
	if (r == 0)
		r = memo_record_may_bytes(v, "readable", &s->readable, err);
	if (r == 0)
		r = memo_record_may_bytes(v, "writable", &s->writable, err);
	if (r == 0)
		r = memo_record_may_bytes(v, "mount", &s->mount, err);
	if (r == 0)
		r = memo_record_may_bytes(v, "control", &s->control, err);
	return r;
}

static int decode_job(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	const char *identity;
	struct memo_id id;
	int r = memo_json_need_string(o, "identity", &identity, err);
	if (r == 0)
		r = memo_record_need_id(o, "identity", &id, err);
	if (r < 0)
		return r;
	(void)memo_id_hex(&id, j->identity);
	uint64_t time = 0;
	r = memo_json_need_int(o, "attempt", &j->attempt, err);
	if (r == 0)
		r = memo_json_need_int(o, "owner_pid", &j->owner_pid, err);
	if (r == 0)
		r = get_argv(o, j, err);
	if (r == 0)
		r = get_env(o, j, err);
	if (r == 0)
		r = get_inputs(o, j, err);
	if (r == 0)
		r = get_output(o, j, err);
	if (r == 0)
		r = memo_record_need_count(o, "time_ms", &time, err);
	if (r == 0)
		r = memo_record_need_count(o, "memory_bytes", &j->memory_bytes, err);
	if (r == 0 && json_object_get(o, "memory_limit_bytes") != NULL)
		r = memo_record_need_count(o, "memory_limit_bytes", &j->memory_limit_bytes, err);
	if (r == 0)
		r = get_sandbox(o, &j->sandbox, err);
	if (r == 0 && time > INT64_MAX / 2000000)
		r = memo_fail(err, -EINVAL, "key 'time_ms' is longer than any task can take");
	j->time_ms = (int64_t)time;
	j->network = memo_json_bool(o, "network", false);
	return r;
}

int memo_job_decode(const char *text, size_t len, struct memo_job *out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	struct memo_job j = { 0 };
	int r = memo_record_parse(text, len, "memofs-job", &o, err);
	if (r == 0)
		r = decode_job(o, &j, err);
	if (r < 0) {
		memo_job_clear(&j);
		return memo_fail_prefix(err, r, "job record");
	}
	*out = j;
	return 0;
}
