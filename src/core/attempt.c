/* Attempt: the records as JSON. Strings that are not UTF-8 (a path may be any bytes) are written as {"hex": "..."};
 * device and inode numbers use all 64 bits, which JSON's integers here do not, and travel as their signed twins. */
#include "attempt.h"

#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"

#include <limits.h>
#include <string.h>

#define JOB_INPUTS 1000000u
#define JOB_ARGS 1000000u

static const char *const exit_text[] = {
	[MEMO_EXIT_SUCCESS] = "success",     [MEMO_EXIT_FAILED] = "failed", [MEMO_EXIT_TIMEOUT] = "timeout",
	[MEMO_EXIT_CANCELLED] = "cancelled", [MEMO_EXIT_OUTPUT] = "output", [MEMO_EXIT_CHANGED] = "changed",
	[MEMO_EXIT_SPACE] = "space",	     [MEMO_EXIT_ERROR] = "error",
};

static const char *const kind_text[] = {
	[MEMO_RESULT_FILE] = "file",
	[MEMO_RESULT_DIRECTORY] = "directory",
	[MEMO_RESULT_EXTERNAL] = "external",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *memo_exit_text(enum memo_exit_status s)
{
	return (size_t)s < COUNT(exit_text) ? exit_text[s] : "unknown";
}

/* ---- pieces ---- */

static json_t *bytes_new(const char *s)
{
	json_t *j = json_string(s);
	if (j != NULL)
		return j;
	MEMO_AUTO_BUF struct memo_buf hex = { 0 };
	for (const char *p = s; *p != '\0'; p++)
		(void)memo_buf_printf(&hex, "%02x", (unsigned char)*p);
	return memo_buf_error(&hex) < 0 ? NULL : json_pack("{s:s}", "hex", memo_buf_str(&hex));
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A string of the record, new memory; no byte of it is NUL. */
static int bytes_get(const json_t *j, const char *key, char **out, struct memo_err *err)
{
	const char *hex = memo_json_string(j, "hex", NULL);
	if (!json_is_string(j) && hex == NULL)
		return memo_fail(err, -EINVAL, "key '%s' must be a string", key);
	size_t len = hex != NULL ? strlen(hex) : 0;
	char *s = hex == NULL ? strdup(json_string_value(j)) : calloc(1, len / 2 + 1);
	if (s == NULL)
		return memo_fail(err, -ENOMEM, "out of memory for a record");
	for (size_t i = 0; i < len; i += 2) {
		int hi = hex_value(hex[i]), lo = hi < 0 ? -1 : hex_value(hex[i + 1]);
		if (lo < 0 || (hi == 0 && lo == 0)) {
			free(s);
			return memo_fail(err, -EINVAL, "key '%s' is not a text of hex digits", key);
		}
		s[i / 2] = (char)(hi << 4 | lo);
	}
	*out = s;
	return 0;
}

static int need_bytes(const json_t *o, const char *key, char **out, struct memo_err *err)
{
	const json_t *j = json_object_get(o, key);
	return j == NULL ? memo_fail(err, -EINVAL, "key '%s' is missing", key) : bytes_get(j, key, out, err);
}

/* Absent or null leaves *@out NULL. */
static int may_bytes(const json_t *o, const char *key, char **out, struct memo_err *err)
{
	const json_t *j = json_object_get(o, key);
	return j == NULL || json_is_null(j) ? 0 : bytes_get(j, key, out, err);
}

static int need_id(const json_t *o, const char *key, struct memo_id *out, struct memo_err *err)
{
	const char *hex;
	int r = memo_json_need_string(o, key, &hex, err);
	if (r < 0)
		return r;
	return memo_id_parse(hex, out) < 0 ? memo_fail(err, -EINVAL, "key '%s' must be 64 hex digits", key) : 0;
}

/* A count: 0 to INT64_MAX. */
static int need_count(const json_t *o, const char *key, uint64_t *out, struct memo_err *err)
{
	int64_t v;
	int r = memo_json_need_int(o, key, &v, err);
	if (r < 0)
		return r;
	if (v < 0)
		return memo_fail(err, -EINVAL, "key '%s' must not be negative", key);
	*out = (uint64_t)v;
	return 0;
}

static int set_bytes(json_t *o, const char *key, const char *s)
{
	return s == NULL ? 0 : memo_json_set(o, key, bytes_new(s));
}

static int set_int(json_t *o, const char *key, int64_t v)
{
	return memo_json_set(o, key, json_integer(v));
}

static int set_bool(json_t *o, const char *key, bool v)
{
	return memo_json_set(o, key, json_boolean(v));
}

static int set_id(json_t *o, const char *key, const struct memo_id *id)
{
	char hex[MEMO_HEX_SIZE];
	return memo_json_set(o, key, json_string(memo_id_hex(id, hex)));
}

/* The text of @o appended to @b, if @r is still good. */
static int finish(const json_t *o, int r, struct memo_buf *b)
{
	size_t before = b->len;
	if (r == 0)
		r = memo_json_append(o, b);
	if (r == 0 && b->len - before > MEMO_ATTEMPT_RECORD_BYTES)
		r = -EFBIG;
	return r;
}

static int parse_record(const char *text, size_t len, const char *mark, json_t **out, struct memo_err *err)
{
	if (len > MEMO_ATTEMPT_RECORD_BYTES)
		return memo_fail(err, -EFBIG, "the record is larger than %zu bytes", MEMO_ATTEMPT_RECORD_BYTES);
	MEMO_AUTO_JSON json_t *o = NULL;
	int64_t format;
	int r = memo_json_parse(text, len, &o, err);
	if (r == 0)
		r = memo_json_need_int(o, mark, &format, err);
	if (r < 0)
		return r;
	if (format != MEMO_ATTEMPT_FORMAT)
		return memo_fail(err, -EINVAL, "key '%s' is %lld, but this program knows format %d only", mark,
				 (long long)format, MEMO_ATTEMPT_FORMAT);
	*out = memo_json_steal(&o);
	return 0;
}

/* ---- job.json ---- */

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
	*j = (struct memo_job){ 0 };
}

static json_t *guard_new(const struct memo_guard *g)
{
	json_t *o = json_object();
	if (o == NULL || set_int(o, "dev", (int64_t)g->dev) < 0 || set_int(o, "ino", (int64_t)g->ino) < 0 ||
	    set_int(o, "size", (int64_t)g->size) < 0 || set_int(o, "mtime_ns", g->mtime_ns) < 0 ||
	    set_int(o, "ctime_ns", g->ctime_ns) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *input_new(const struct memo_job_input *in)
{
	json_t *o = json_object();
	int r = o == NULL ? -ENOMEM : set_bytes(o, "to", in->to);
	if (r == 0)
		r = set_bytes(o, "from", in->from);
	if (r == 0)
		r = set_bool(o, "directory", in->directory);
	if (r == 0)
		r = set_bool(o, "trusted", in->trusted);
	if (r == 0)
		r = set_bool(o, "exec", in->exec);
	if (r == 0)
		r = set_bool(o, "copy", in->copy);
	if (r == 0 && in->guarded)
		r = memo_json_set(o, "guard", guard_new(&in->guard));
	if (r == 0 && in->guarded)
		r = set_id(o, "sha256", &in->id);
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
		r = memo_json_push(argv, bytes_new(j->argv[i]));
	for (size_t i = 0; r == 0 && i < j->inputs; i++)
		r = memo_json_push(inputs, input_new(&j->input[i]));
	int s = memo_json_set(o, "argv", argv);
	int t = memo_json_set(o, "inputs", inputs);
	if (r == 0)
		r = s < 0 ? s : t;
	return r;
}

int memo_job_encode(const struct memo_job *j, struct memo_buf *b)
{
	MEMO_AUTO_JSON json_t *o = json_object();
	if (o == NULL)
		return -ENOMEM;
	int r = set_int(o, "memofs-job", MEMO_ATTEMPT_FORMAT);
	if (r == 0)
		r = memo_json_set(o, "identity", json_string(j->identity));
	if (r == 0)
		r = set_int(o, "attempt", j->attempt);
	if (r == 0)
		r = set_int(o, "owner_pid", j->owner_pid);
	if (r == 0)
		r = set_lists(o, j);
	if (r == 0)
		r = memo_json_set(o, "env", json_is_object(j->env) ? json_incref(j->env) : json_object());
	if (r == 0)
		r = memo_json_set(o, "output", json_string(memo_output_text(j->output)));
	if (r == 0)
		r = set_bytes(o, "output_path", j->output_path);
	if (r == 0)
		r = set_int(o, "time_ms", j->time_ms);
	if (r == 0)
		r = set_int(o, "memory_bytes", (int64_t)j->memory_bytes);
	if (r == 0)
		r = set_bool(o, "network", j->network);
	return finish(o, r, b);
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
		r = need_count(g, "size", &in->guard.size, err);
	if (r == 0)
		r = memo_json_need_int(g, "mtime_ns", &in->guard.mtime_ns, err);
	if (r == 0)
		r = memo_json_need_int(g, "ctime_ns", &in->guard.ctime_ns, err);
	if (r == 0)
		r = need_id(o, "sha256", &in->id, err);
	in->guard.dev = (uint64_t)dev;
	in->guard.ino = (uint64_t)ino;
	in->guarded = r == 0;
	return r;
}

static int get_input(const json_t *o, struct memo_job_input *in, struct memo_err *err)
{
	int r = need_bytes(o, "to", &in->to, err);
	if (r == 0)
		r = need_bytes(o, "from", &in->from, err);
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
	if (in->copy && in->directory)
		return memo_fail(err, -EINVAL, "'%.200s' is a directory, which cannot be copied", in->to);
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
		int r = bytes_get(json_array_get(list, i), "argv", &j->argv[i], err);
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
		r = may_bytes(o, "output_path", &j->output_path, err);
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

static int decode_job(const json_t *o, struct memo_job *j, struct memo_err *err)
{
	const char *identity;
	struct memo_id id;
	int r = memo_json_need_string(o, "identity", &identity, err);
	if (r == 0)
		r = need_id(o, "identity", &id, err);
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
		r = need_count(o, "time_ms", &time, err);
	if (r == 0)
		r = need_count(o, "memory_bytes", &j->memory_bytes, err);
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
	int r = parse_record(text, len, "memofs-job", &o, err);
	if (r == 0)
		r = decode_job(o, &j, err);
	if (r < 0) {
		memo_job_clear(&j);
		return memo_fail_prefix(err, r, "job record");
	}
	*out = j;
	return 0;
}

/* ---- exit.json ---- */

void memo_exit_clear(struct memo_exit *x)
{
	free(x->message);
	free(x->host);
	free(x->isolation);
	free(x->produced.path);
	*x = (struct memo_exit){ 0 };
}

static json_t *produced_new(const struct memo_produced *p)
{
	json_t *o = json_object();
	int r = o == NULL ? -ENOMEM : memo_json_set(o, "kind", json_string(kind_text[p->kind]));
	if (r == 0)
		r = set_id(o, "hash", &p->hash);
	if (r == 0 && p->kind == MEMO_RESULT_FILE)
		r = set_id(o, "blob", &p->blob);
	if (r == 0)
		r = set_int(o, "size", (int64_t)p->size);
	if (r == 0)
		r = set_bool(o, "exec", p->exec);
	if (r == 0)
		r = set_int(o, "entries", (int64_t)p->entries);
	if (r == 0)
		r = set_bytes(o, "path", p->path);
	if (r == 0)
		return o;
	json_decref(o);
	return NULL;
}

/* A message may quote what a task said: whatever is not clean text is escaped, not refused. */
static int set_message(json_t *o, const char *message)
{
	if (message == NULL)
		return 0;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_log_escape(&b, message, strlen(message));
	return r < 0 ? r : memo_json_set(o, "message", json_string(memo_buf_str(&b)));
}

int memo_exit_encode(const struct memo_exit *x, struct memo_buf *b)
{
	MEMO_AUTO_JSON json_t *o = json_object();
	if (o == NULL)
		return -ENOMEM;
	const struct {
		const char *key;
		int64_t value;
	} number[] = {
		{ "memofs-exit", MEMO_ATTEMPT_FORMAT },
		{ "code", x->code },
		{ "signal", x->signal },
		{ "wall_ms", x->wall_ms },
		{ "cpu_ms", x->cpu_ms },
		{ "max_rss_kib", x->max_rss_kib },
		{ "started_ns", x->started_ns },
		{ "ended_ns", x->ended_ns },
	};
	int r = memo_json_set(o, "status", json_string(memo_exit_text(x->status)));
	for (size_t i = 0; r == 0 && i < COUNT(number); i++)
		r = set_int(o, number[i].key, number[i].value);
	if (r == 0)
		r = set_message(o, x->message);
	if (r == 0)
		r = set_bytes(o, "host", x->host);
	if (r == 0)
		r = set_bytes(o, "isolation", x->isolation);
	if (r == 0 && x->status == MEMO_EXIT_SUCCESS)
		r = memo_json_set(o, "produced", produced_new(&x->produced));
	return finish(o, r, b);
}

/* Finds @text among @n names; -EINVAL: none. */
static int find_text(const char *const *name, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name[i], text) == 0)
			return (int)i;
	}
	return -EINVAL;
}

static int get_produced(const json_t *o, struct memo_produced *p, struct memo_err *err)
{
	const char *kind;
	const json_t *v = json_object_get(o, "produced");
	int r = memo_json_need_string(v, "kind", &kind, err);
	if (r < 0)
		return r;
	int k = find_text(kind_text, COUNT(kind_text), kind);
	if (k < 0)
		return memo_fail(err, k, "key 'kind': '%.40s' is no kind of result", kind);
	p->kind = (enum memo_result_kind)k;
	p->exec = memo_json_bool(v, "exec", false);
	r = need_id(v, "hash", &p->hash, err);
	if (r == 0 && p->kind == MEMO_RESULT_FILE)
		r = need_id(v, "blob", &p->blob, err);
	if (r == 0)
		r = need_count(v, "size", &p->size, err);
	if (r == 0)
		r = need_count(v, "entries", &p->entries, err);
	if (r == 0 && p->kind == MEMO_RESULT_EXTERNAL)
		r = need_bytes(v, "path", &p->path, err);
	if (r == 0 && p->path != NULL && p->path[0] != '/')
		r = memo_fail(err, -EINVAL, "key 'path' must be an absolute path");
	return r;
}

static int decode_exit(const json_t *o, struct memo_exit *x, struct memo_err *err)
{
	const char *status;
	int r = memo_json_need_string(o, "status", &status, err);
	if (r < 0)
		return r;
	int s = find_text(exit_text, COUNT(exit_text), status);
	if (s < 0)
		return memo_fail(err, s, "key 'status': '%.40s' is no status", status);
	x->status = (enum memo_exit_status)s;
	int64_t code = memo_json_int(o, "code", -1), signal = memo_json_int(o, "signal", 0);
	if (code < -1 || code > 255 || signal < 0 || signal > 255)
		return memo_fail(err, -EINVAL, "keys 'code' and 'signal' must be what a process can end with");
	x->code = (int)code;
	x->signal = (int)signal;
	x->wall_ms = memo_json_int(o, "wall_ms", 0);
	x->cpu_ms = memo_json_int(o, "cpu_ms", 0);
	x->max_rss_kib = memo_json_int(o, "max_rss_kib", 0);
	x->started_ns = memo_json_int(o, "started_ns", 0);
	x->ended_ns = memo_json_int(o, "ended_ns", 0);
	r = may_bytes(o, "message", &x->message, err);
	if (r == 0)
		r = may_bytes(o, "host", &x->host, err);
	if (r == 0)
		r = may_bytes(o, "isolation", &x->isolation, err);
	if (r == 0 && x->status == MEMO_EXIT_SUCCESS)
		r = get_produced(o, &x->produced, err);
	return r;
}

int memo_exit_decode(const char *text, size_t len, struct memo_exit *out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	struct memo_exit x = { 0 };
	int r = parse_record(text, len, "memofs-exit", &o, err);
	if (r == 0)
		r = decode_exit(o, &x, err);
	if (r < 0) {
		memo_exit_clear(&x);
		return memo_fail_prefix(err, r, "exit record");
	}
	*out = x;
	return 0;
}

/* ---- output hashes ---- */

int memo_attempt_exec_hash(const struct memo_id *blob, struct memo_id *hash_out)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_buf_printf(&b, "memofs-exec 1\n%s\n", memo_id_hex(blob, hex));
	return r < 0 ? r : memo_hash_bytes(b.data, b.len, hash_out);
}

int memo_attempt_external_hash(const char *path, const struct memo_id *tree, struct memo_id *hash_out)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_buf_printf(&b, "memofs-external 1\n%s\n%s\n", path, memo_id_hex(tree, hex));
	return r < 0 ? r : memo_hash_bytes(b.data, b.len, hash_out);
}
