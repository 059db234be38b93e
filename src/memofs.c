/* The public library (include/memofs.h): core's pure functions and the control client behind plain C types. */
#include "memofs.h"

#include "base/json.h"
#include "base/scope.h"
#include "control/client.h"
#include "core/canon.h"
#include "core/identity.h"
#include "core/path.h"
#include "core/task.h"

#include <string.h>

_Static_assert(MEMOFS_ERROR_TEXT == MEMO_ERR_TEXT, "the public error text is a copy of the inner one");

struct memofs_task {
	struct memo_task *task;
};

struct memofs {
	struct memo_client *client;
};

const char *memofs_version(void)
{
	return MEMOFS_VERSION;
}

/* The last step of every function: @r, with its words in the caller's error. */
static int tell(int r, const struct memo_err *e, struct memofs_error *err)
{
	if (r >= 0 || err == NULL)
		return r < 0 ? r : 0;
	err->code = r;
	const char *text = e->code != 0 ? e->text : memo_strerror(r);
	size_t n = strnlen(text, sizeof err->text - 1);
	memcpy(err->text, text, n);
	err->text[n] = '\0';
	return r;
}

int memofs_task_parse(const char *json, size_t len, const char *label, struct memofs_task **out,
		      struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_FREE struct memofs_task *t = calloc(1, sizeof *t);
	if (t == NULL)
		return tell(-ENOMEM, &e, err);
	int r = memo_task_parse(json, len, label, &t->task, &e);
	if (r == 0)
		*out = memo_ptr_steal(&t);
	return tell(r, &e, err);
}

void memofs_task_free(struct memofs_task *t)
{
	if (t == NULL)
		return;
	memo_task_unref(t->task);
	free(t);
}

const char *memofs_task_name(const struct memofs_task *t)
{
	return t->task->name;
}

static int give_text(const json_t *j, char **out)
{
	char *text = memo_json_text(j);
	if (text == NULL)
		return -ENOMEM;
	*out = text;
	return 0;
}

int memofs_inputs_from_component(const struct memofs_task *t, const char *component, char **inputs_out,
				 struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *inputs = NULL;
	int r = memo_path_inputs(t->task, component, &inputs, &e);
	if (r == 0)
		r = give_text(inputs, inputs_out);
	return tell(r, &e, err);
}

static int bind(const struct memofs_task *t, const char *text, json_t **out, struct memo_err *e)
{
	MEMO_AUTO_JSON json_t *partial = NULL;
	int r = memo_json_parse(text, strlen(text), &partial, e);
	if (r == 0 && !json_is_object(partial))
		r = memo_fail(e, -EINVAL, "inputs must be a JSON object");
	return r < 0 ? r : memo_task_bind(t->task, partial, out, e);
}

int memofs_inputs_from_json(const struct memofs_task *t, const char *json, char **inputs_out,
			    struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *inputs = NULL;
	int r = bind(t, json, &inputs, &e);
	if (r == 0)
		r = give_text(inputs, inputs_out);
	return tell(r, &e, err);
}

int memofs_component(const struct memofs_task *t, const char *inputs, char **component_out,
		     struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *full = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = bind(t, inputs, &full, &e);
	if (r == 0)
		r = memo_path_name(t->task, full, &b, &e);
	if (r == 0) {
		char *text = memo_buf_steal(&b);
		r = text == NULL ? -ENOMEM : 0;
		if (r == 0)
			*component_out = text;
	}
	return tell(r, &e, err);
}

int memofs_inputs_digest(const char *inputs, char hex_out[65], struct memofs_error *err)
{
	struct memo_err e = { 0 };
	struct memo_id id;
	MEMO_AUTO_JSON json_t *j = NULL;
	int r = memo_json_parse(inputs, strlen(inputs), &j, &e);
	if (r == 0)
		r = memo_path_digest(j, &id, &e);
	if (r == 0)
		(void)memo_id_hex(&id, hex_out);
	return tell(r, &e, err);
}

int memofs_canonical_json(const char *json, char **out, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *j = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_json_parse(json, strlen(json), &j, &e);
	if (r == 0)
		r = memo_canon_append(j, &b, &e);
	if (r == 0) {
		char *text = memo_buf_steal(&b);
		r = text == NULL ? -ENOMEM : 0;
		if (r == 0)
			*out = text;
	}
	return tell(r, &e, err);
}

int memofs_identity(const char *key_json, char hex_out[65], struct memofs_error *err)
{
	struct memo_err e = { 0 };
	struct memo_id id;
	MEMO_AUTO_JSON json_t *j = NULL;
	int r = memo_json_parse(key_json, strlen(key_json), &j, &e);
	if (r == 0)
		r = memo_identity_of(j, &id, &e);
	if (r == 0)
		(void)memo_id_hex(&id, hex_out);
	return tell(r, &e, err);
}

int memofs_connect(const char *store, struct memofs **out, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_FREE struct memofs *m = calloc(1, sizeof *m);
	if (m == NULL)
		return tell(-ENOMEM, &e, err);
	int r = memo_client_connect(store, &m->client, &e);
	if (r == 0)
		*out = memo_ptr_steal(&m);
	return tell(r, &e, err);
}

void memofs_close(struct memofs *m)
{
	if (m == NULL)
		return;
	memo_client_close(m->client);
	free(m);
}

/* One request about @path; a reference to its answer. */
static int ask(struct memofs *m, const char *op, const char *path, json_t **reply_out, struct memo_err *e)
{
	MEMO_AUTO_JSON json_t *request = json_pack("{s:s, s:s, s:b}", "op", op, "path", path, "quiet", 1);
	if (request == NULL)
		return memo_fail(e, -EINVAL, "the path is not UTF-8");
	return memo_client_call(m->client, request, NULL, NULL, reply_out, NULL, e);
}

/* A copy of a text in the answer. */
static int give_member(const json_t *reply, const char *key, char **out, struct memo_err *e)
{
	const char *text = memo_json_string(reply, key, NULL);
	if (text == NULL)
		return memo_fail(e, -EPROTO, "the answer has no '%s'", key);
	char *copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	*out = copy;
	return 0;
}

int memofs_state(struct memofs *m, const char *path, char **state_out, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *reply = NULL;
	int r = ask(m, "state", path, &reply, &e);
	if (r == 0)
		r = give_member(reply, "state", state_out, &e);
	return tell(r, &e, err);
}

int memofs_demand(struct memofs *m, const char *path, char **file_out, char hash_out[65], struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *reply = NULL;
	struct memo_id id;
	int r = ask(m, "get", path, &reply, &e);
	if (r == 0 && memo_id_parse(memo_json_string(reply, "hash", ""), &id) < 0)
		r = memo_fail(&e, -EPROTO, "the answer has no output hash");
	if (r == 0)
		r = give_member(reply, "file", file_out, &e);
	if (r == 0)
		(void)memo_id_hex(&id, hash_out);
	return tell(r, &e, err);
}

int memofs_cancel(struct memofs *m, const char *path, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *reply = NULL;
	return tell(ask(m, "cancel", path, &reply, &e), &e, err);
}

int memofs_forget(struct memofs *m, const char *path, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *reply = NULL;
	return tell(ask(m, "forget", path, &reply, &e), &e, err);
}

int memofs_call(struct memofs *m, const char *request, char **reply_out, struct memofs_error *err)
{
	struct memo_err e = { 0 };
	MEMO_AUTO_JSON json_t *j = NULL;
	MEMO_AUTO_JSON json_t *reply = NULL;
	int r = memo_json_parse(request, strlen(request), &j, &e);
	if (r == 0 && !json_is_object(j))
		r = memo_fail(&e, -EINVAL, "a request is a JSON object");
	if (r == 0)
		r = memo_client_call(m->client, j, NULL, NULL, &reply, NULL, &e);
	if (r == 0)
		r = give_text(reply, reply_out);
	return tell(r, &e, err);
}
