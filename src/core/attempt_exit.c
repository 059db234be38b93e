/* Attempt: exit.json. */
#include "attempt_record.h"

#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"

#include <string.h>

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

const char *memo_exit_text(enum memo_exit_status s)
{
	return (size_t)s < COUNT(exit_text) ? exit_text[s] : "unknown";
}

void memo_exit_clear(struct memo_exit *x)
{
	free(x->message);
	free(x->host);
	free(x->isolation);
	json_decref(x->sandbox);
	free(x->produced.path);
	*x = (struct memo_exit){ 0 };
}

static json_t *produced_new(const struct memo_produced *p)
{
	json_t *o = json_object();
	int r = o == NULL ? -ENOMEM : memo_json_set(o, "kind", json_string(kind_text[p->kind]));
	if (r == 0)
		r = memo_record_set_id(o, "hash", &p->hash);
	if (r == 0 && p->kind == MEMO_RESULT_FILE)
		r = memo_record_set_id(o, "blob", &p->blob);
	if (r == 0)
		r = memo_record_set_int(o, "size", (int64_t)p->size);
	if (r == 0)
		r = memo_record_set_bool(o, "exec", p->exec);
	if (r == 0)
		r = memo_record_set_int(o, "entries", (int64_t)p->entries);
	if (r == 0)
		r = memo_record_set_bytes(o, "path", p->path);
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
		r = memo_record_set_int(o, number[i].key, number[i].value);
	if (r == 0)
		r = set_message(o, x->message);
	if (r == 0)
		r = memo_record_set_bytes(o, "host", x->host);
	if (r == 0)
		r = memo_record_set_bytes(o, "isolation", x->isolation);
	if (r == 0 && x->sandbox != NULL)
		r = json_object_set(o, "sandbox", x->sandbox) < 0 ? -ENOMEM : 0;
	if (r == 0 && x->status == MEMO_EXIT_SUCCESS)
		r = memo_json_set(o, "produced", produced_new(&x->produced));
	return memo_record_finish(o, r, b);
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
	r = memo_record_need_id(v, "hash", &p->hash, err);
	if (r == 0 && p->kind == MEMO_RESULT_FILE)
		r = memo_record_need_id(v, "blob", &p->blob, err);
	if (r == 0)
		r = memo_record_need_count(v, "size", &p->size, err);
	if (r == 0)
		r = memo_record_need_count(v, "entries", &p->entries, err);
	if (r == 0 && p->kind == MEMO_RESULT_EXTERNAL)
		r = memo_record_need_bytes(v, "path", &p->path, err);
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
	r = memo_record_may_bytes(o, "message", &x->message, err);
	if (r == 0)
		r = memo_record_may_bytes(o, "host", &x->host, err);
	if (r == 0)
		r = memo_record_may_bytes(o, "isolation", &x->isolation, err);
	json_t *sandbox = json_object_get(o, "sandbox");
	if (r == 0 && sandbox != NULL && !json_is_object(sandbox))
		r = memo_fail(err, -EINVAL, "key 'sandbox' must be an object");
	x->sandbox = r == 0 ? json_incref(sandbox) : NULL;
	if (r == 0 && x->status == MEMO_EXIT_SUCCESS)
		r = get_produced(o, &x->produced, err);
	return r;
}

int memo_exit_decode(const char *text, size_t len, struct memo_exit *out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	struct memo_exit x = { 0 };
	int r = memo_record_parse(text, len, "memofs-exit", &o, err);
	if (r == 0)
		r = decode_exit(o, &x, err);
	if (r < 0) {
		memo_exit_clear(&x);
		return memo_fail_prefix(err, r, "exit record");
	}
	*out = x;
	return 0;
}
