/* What a file comes to is the lexers' business (lex.h); here it is hashed, and put together with the rest of the task. */
#include "fingerprint.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/scope.h"
#include "canon.h"
#include "lex.h"

#include <string.h>

#define HEAD "memofs-code "

/* The method and its number are hashed, too: each is a rule of its own. */
static int hash_lexed(const struct memo_lexed *x, struct memo_id *id_out)
{
	MEMO_AUTO_BUF struct memo_buf head = { 0 };
	struct memo_hash *h = memo_hash_new();
	if (h == NULL)
		return -ENOMEM;
	int r = memo_buf_printf(&head, HEAD "%s/%d\n", x->method, x->number);
	if (r == 0)
		r = memo_hash_update(h, head.data, head.len);
	if (r == 0)
		r = memo_hash_update(h, memo_buf_str(&x->normal), x->normal.len);
	if (r == 0)
		r = memo_hash_final(h, id_out);
	memo_hash_free(h);
	return r;
}

int memo_fingerprint_used(const char *name, const void *data, size_t len, const struct memo_lex_use *use,
			  struct memo_fingerprint *out, struct memo_err *err)
{
	struct memo_lexed x;
	struct memo_fingerprint f = { .number = 0 };
	int r = memo_lex_used(name, data, len, use, &x);
	if (r == 0) {
		f.method = x.method;
		f.number = x.number;
		f.language = x.language;
		f.reason = x.reason;
		r = x.reason != NULL ? memo_hash_bytes(data, len, &f.id) : hash_lexed(&x, &f.id);
		memo_buf_clear(&x.normal);
	}
	if (r < 0)
		return memo_fail(err, r, "'%s': cannot hash: %s", memo_value_show(name, strlen(name)).text,
				 memo_strerror(r));
	*out = f;
	return 0;
}

int memo_fingerprint_file(const char *name, const void *data, size_t len, struct memo_fingerprint *out,
			  struct memo_err *err)
{
	static const struct memo_lex_use unknown = { .seen = MEMO_SIGHT_NONE };
	return memo_fingerprint_used(name, data, len, &unknown, out, err);
}

bool memo_fingerprint_is_bytes(const struct memo_code *c)
{
	return c->method[0] == '\0' || strcmp(c->method, MEMO_FINGERPRINT_METHOD) == 0;
}

bool memo_fingerprint_all_bytes(const struct memo_task *t)
{
	for (size_t i = 0; i < t->codes; i++)
		if (!memo_fingerprint_is_bytes(&t->code[i]))
			return false;
	return true;
}

int memo_fingerprint_describe(const struct memo_task *t, json_t **out)
{
	bool bytes = memo_fingerprint_all_bytes(t);
	MEMO_AUTO_JSON json_t *o = json_object();
	json_t *files = json_object();
	int r = memo_json_set(o, "method",
			      json_string(bytes ? MEMO_FINGERPRINT_METHOD : MEMO_FINGERPRINT_COMMENTS));
	if (r == 0)
		r = memo_json_set(o, "number", json_integer(MEMO_FINGERPRINT_NUMBER));
	if (r == 0 && !bytes)
		r = memo_json_set(o, "files", json_incref(files));
	for (size_t i = 0; r == 0 && i < t->codes; i++) {
		const struct memo_code *c = &t->code[i];
		if (!memo_fingerprint_is_bytes(c))
			r = memo_json_set(files, c->path, json_sprintf("%s/%d", c->method, c->number));
	}
	json_decref(files);
	if (r == 0)
		*out = memo_json_steal(&o);
	return r;
}

static int push_digest(json_t *list, const char *label, const char *text, const struct memo_id *id, json_t **entry)
{
	char hex[MEMO_HEX_SIZE];
	json_t *o = json_object();
	int r = memo_json_push(list, o);
	if (r == 0)
		r = memo_json_set(o, label, json_string(text));
	if (r == 0)
		r = memo_json_set(o, "sha256", json_string(memo_id_hex(id, hex)));
	*entry = o; /* the list's */
	return r;
}

static int put_code(json_t *whole, const struct memo_task *t, bool raw)
{
	json_t *list = json_array(), *entry = NULL;
	int r = memo_json_set(whole, "code", list);
	for (size_t i = 0; r == 0 && i < t->codes; i++) {
		const struct memo_code *c = &t->code[i];
		bool bytes = raw || memo_fingerprint_is_bytes(c);
		r = push_digest(list, "path", c->path, bytes ? &c->id : &c->code, &entry);
		if (r == 0)
			r = memo_json_set(entry, "exec", json_boolean(c->exec));
		if (r == 0 && !bytes)
			r = memo_json_set(entry, "method", json_string(c->method));
		if (r == 0 && !bytes)
			r = memo_json_set(entry, "number", json_integer(c->number));
	}
	return r;
}

static int put_tools(json_t *whole, const struct memo_task *t, const struct memo_id *tool_id)
{
	json_t *list = json_array(), *entry = NULL;
	int r = memo_json_set(whole, "tools", list);
	for (size_t i = 0; r == 0 && i < t->tools; i++)
		r = push_digest(list, "name", t->tool[i], &tool_id[i], &entry);
	return r;
}

static int put_command(json_t *whole, const struct memo_task *t)
{
	json_t *list = json_array();
	int r = memo_json_set(whole, "command", list);
	for (size_t i = 0; r == 0 && i < t->commands; i++)
		r = memo_json_push(list, json_string(t->command[i]));
	if (r == 0)
		r = memo_json_set(whole, "script", t->script != NULL ? json_string(t->script) : json_null());
	return r;
}

/* As a task file spells it: {"type": .., "from": "stdout"} or {"type": .., "path": ..}. */
static int put_output(json_t *whole, const struct memo_task *t)
{
	json_t *o = json_object();
	int r = memo_json_set(whole, "output", o);
	if (r == 0)
		r = memo_json_set(o, "type", json_string(memo_output_text(t->output)));
	if (r < 0)
		return r;
	return t->output_path == NULL ? memo_json_set(o, "from", json_string("stdout"))
				      : memo_json_set(o, "path", json_string(t->output_path));
}

int memo_fingerprint_task(const struct memo_task *t, bool raw, const struct memo_id *tool_id,
			  struct memo_id *id_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *whole = json_object();
	int r = whole == NULL ? -ENOMEM : put_code(whole, t, raw);
	if (r == 0)
		r = put_command(whole, t);
	if (r == 0)
		r = memo_json_set(whole, "env", t->env != NULL ? json_incref(t->env) : json_object());
	if (r == 0)
		r = put_output(whole, t);
	if (r == 0)
		r = put_tools(whole, t, tool_id);
	if (r < 0)
		return memo_fail(err, r, "task '%s': out of memory", t->name);
	return memo_canon_hash(whole, id_out, err);
}
