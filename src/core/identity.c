/* The key is put together from what the task declares, in one function for each member; the canonical form and the
 * digest are canon's. Whatever gets in here counts: a member more is a needless execution for everybody, one too
 * few is a wrong result. */
#include "identity.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/scope.h"
#include "canon.h"
#include "fingerprint.h"

#include <stdio.h>
#include <string.h>

#define DIRECTORY_HEAD "memofs-directory 1\n"

json_t *memo_identity_file(const char *name, const struct memo_id *content)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *o = json_object();
	if (o == NULL || memo_json_set(o, "name", json_string(name)) < 0 ||
	    memo_json_set(o, "sha256", json_string(memo_id_hex(content, hex))) < 0)
		return NULL;
	return memo_json_steal(&o);
}

json_t *memo_identity_directory(const char *name, const struct memo_id *tree)
{
	/* A name may hold a newline: the text is unambiguous all the same, as what follows it has a fixed length. */
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_id id;
	(void)memo_buf_printf(&b, DIRECTORY_HEAD "%s\n%s\n", name, memo_id_hex(tree, hex));
	if (memo_buf_error(&b) < 0 || memo_hash_bytes(memo_buf_str(&b), b.len, &id) < 0)
		return NULL;
	return json_string(memo_id_hex(&id, hex));
}

json_t *memo_identity_upstream(const char *input, long index, char key[MEMO_UPSTREAM_KEY])
{
	int n = index < 0 ? snprintf(key, MEMO_UPSTREAM_KEY, "inputs.%s", input)
			  : snprintf(key, MEMO_UPSTREAM_KEY, "inputs.%s.%ld", input, index);
	if (n < 0 || n >= MEMO_UPSTREAM_KEY)
		return NULL;
	MEMO_AUTO_JSON json_t *o = json_object();
	if (o == NULL || memo_json_set(o, "upstream", json_string(key)) < 0)
		return NULL;
	return memo_json_steal(&o);
}

/* "version", or "code" with the rule it was made by: never both. */
static int put_version(json_t *key, const struct memo_task *t, const struct memo_id *code, struct memo_err *err)
{
	if (t->declared != (code == NULL))
		return memo_fail(err, -EINVAL, "task '%s': %s", t->name,
				 t->declared
					 ? "it declares a version, so its code is no part of the identity"
					 : "it declares no version, so the identity needs its code's fingerprint");
	if (t->declared)
		return memo_json_set(key, "version", json_string(t->version));
	char hex[MEMO_HEX_SIZE];
	int r = memo_json_set(key, "code", json_string(memo_id_hex(code, hex)));
	json_t *method = NULL;
	if (r == 0)
		r = memo_fingerprint_describe(t, &method);
	return r < 0 ? r : memo_json_set(key, "fingerprint", method);
}

static int put_interface(json_t *key, const struct memo_task *t)
{
	MEMO_AUTO_JSON json_t *interface = json_object();
	MEMO_AUTO_JSON json_t *types = json_object();
	if (interface == NULL || types == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->inputs; i++)
		if (memo_json_set(types, t->input[i].name, json_string(t->input[i].type_text)) < 0)
			return -ENOMEM;
	if (memo_json_set(interface, "inputs", memo_json_steal(&types)) < 0 ||
	    memo_json_set(interface, "output", json_string(memo_output_text(t->output))) < 0)
		return -ENOMEM;
	return memo_json_set(key, "interface", memo_json_steal(&interface));
}

static int put_input(json_t *values, const struct memo_input *in, const json_t *inputs, const json_t *hashed,
		     struct memo_err *err)
{
	bool by_content = in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY;
	const json_t *v = json_object_get(inputs, in->name);
	/* A path must never stand in for the content, not even by mistake. */
	if (by_content && v != NULL && !json_is_null(v))
		v = json_object_get(hashed, in->name);
	if (v == NULL)
		return memo_fail(err, -EINVAL, "input '%s': %s", in->name,
				 by_content ? "its content was not hashed" : "it has no value");
	return memo_json_set(values, in->name, memo_canon_portable(v));
}

static int put_inputs(json_t *key, const struct memo_task *t, const json_t *inputs, const json_t *hashed,
		      struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *values = json_object();
	if (values == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->inputs; i++) {
		if (!t->input[i].identity)
			continue;
		int r = put_input(values, &t->input[i], inputs, hashed, err);
		if (r < 0)
			return r;
	}
	return memo_json_set(key, "inputs", memo_json_steal(&values));
}

int memo_identity_key(const struct memo_task *t, const struct memo_id *code, const json_t *inputs,
		      const json_t *hashed, const json_t *upstream, json_t **key_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *key = json_object();
	int r = key == NULL ? -ENOMEM : memo_json_set(key, "memofs", json_integer(MEMO_IDENTITY_FORMAT));
	if (r == 0)
		r = memo_json_set(key, "task", json_string(t->name));
	if (r == 0)
		r = put_version(key, t, code, err);
	if (r == 0)
		r = put_interface(key, t);
	if (r == 0)
		r = put_inputs(key, t, inputs, hashed, err);
	if (r == 0)
		r = memo_json_set(key, "upstream",
				  upstream != NULL ? json_deep_copy((json_t *)(uintptr_t)upstream) : json_object());
	if (r == -ENOMEM)
		return memo_fail(err, r, "task '%s': out of memory", t->name);
	if (r < 0)
		return r;
	*key_out = memo_json_steal(&key);
	return 0;
}

int memo_identity_raw(const json_t *key, const struct memo_id *raw, struct memo_id *id_out, struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	MEMO_AUTO_JSON json_t *other = json_copy((json_t *)(uintptr_t)key);
	if (other == NULL || memo_json_set(other, "code", json_string(memo_id_hex(raw, hex))) < 0 ||
	    memo_json_set(other, "fingerprint",
			  json_pack("{s:s, s:i}", "method", MEMO_FINGERPRINT_METHOD, "number",
				    MEMO_FINGERPRINT_NUMBER)) < 0)
		return memo_fail(err, -ENOMEM, "out of memory");
	return memo_canon_hash(other, id_out, err);
}

int memo_identity_of(const json_t *key, struct memo_id *id_out, struct memo_err *err)
{
	return memo_canon_hash(key, id_out, err);
}
