/* The hashes of a plan's dependencies, and the identity that follows from them. */
#include "plan.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/fingerprint.h"

#include <string.h>
#include <unistd.h>

/* ---- hashing --------------------------------------------------------------------------------- */

/* An input that is left out of the identity is not read here, only handed on. */
static bool counts(const struct memo_dep_file *f)
{
	return f->input == NULL || f->input->identity;
}

/* A tool is found and read by the task, not for whoever asks. */
static const struct memo_who *reader_of(const struct memo_dep_file *f, const struct memo_who *who)
{
	return f->input != NULL ? who : NULL;
}

bool memo_plan_has_inputs(const struct memo_plan *p)
{
	for (size_t i = 0; i < p->files; i++) {
		if (p->file[i].input != NULL)
			return true;
	}
	return false;
}

int memo_plan_known(struct memo_store *s, struct memo_plan *p, const struct memo_who *who)
{
	for (size_t i = 0; i < p->files; i++) {
		struct memo_dep_file *f = &p->file[i];
		if (f->known)
			continue;
		if (!counts(f) && who == NULL)
			continue;
		if (!counts(f)) {
			int may = memo_store_may_read(s, f->path, f->directory, who, NULL);
			if (may < 0)
				return may;
			continue;
		}
		int r = memo_store_digest_known(s, f->path, f->directory, reader_of(f, who), &f->digest);
		if (r < 0)
			return r;
		f->known = true;
	}
	return 0;
}

int memo_plan_hash(struct memo_store *s, struct memo_plan *p, const struct memo_who *who, struct memo_err *err)
{
	for (size_t i = 0; i < p->files; i++) {
		struct memo_dep_file *f = &p->file[i];
		if (f->known)
			continue;
		int r = counts(f) || who != NULL
				? memo_store_digest(s, f->path, f->directory, reader_of(f, who), &f->digest, err)
				: memo_store_may_read(s, f->path, f->directory, NULL, err);
		if (r == 0 && !counts(f) && who == NULL)
			continue;
		if (r < 0)
			return f->input != NULL ? memo_fail_prefix(err, r, "input '%s'", f->input->name) : r;
		f->known = true;
		f->copy = f->input != NULL && who != NULL;
	}
	return 0;
}

/* ---- identity -------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

/* The output hash of an upstream, or of the entry inside it that the input names. */
static int up_hash(struct memo_store *s, const struct memo_dep_up *u, struct memo_id *out, struct memo_err *err)
{
	if (u->result->collected && u->inner != NULL)
		return memo_fail(err, -ENOENT, "input '%s': the result of task '%s' was collected", u->input->name,
				 u->task->name);
	if (u->inner == NULL || u->result->kind != MEMO_RESULT_DIRECTORY) {
		*out = u->result->hash;
		return 0;
	}
	struct memo_tree *tree;
	int r = memo_store_open_tree(s, u->result, &tree, err);
	if (r < 0)
		return r;
	uint32_t at;
	r = memo_tree_walk(tree, u->inner, &at);
	const struct memo_tree_entry *e = r == 0 ? memo_tree_entry(tree, at) : NULL;
	if (e == NULL)
		r = memo_fail(err, -EINVAL, "input '%s': there is no '%s' in the result of task '%s'",
			      u->input->name, u->inner, u->task->name);
	else if (e->type == MEMO_ENTRY_EXEC)
		r = memo_attempt_exec_hash(&e->id, out);
	else if (e->type == MEMO_ENTRY_FILE)
		*out = e->id;
	else
		r = memo_fail(err, -EINVAL, "input '%s': '%s' in the result of task '%s' is no regular file",
			      u->input->name, u->inner, u->task->name);
	memo_tree_unref(tree);
	return r;
}

/* Puts @v under @name, in an array where the input is one (elements come in order). */
static int put_value(json_t *object, const char *name, bool array, json_t *v)
{
	if (!array)
		return memo_json_set(object, name, v);
	json_t *list = json_object_get(object, name);
	if (list == NULL) {
		list = json_array();
		int r = memo_json_set(object, name, list);
		if (r < 0) {
			json_decref(v);
			return r;
		}
	}
	return memo_json_push(list, v);
}

static int hash_inputs(const struct memo_plan *p, json_t *hashed)
{
	/* Elements of an array may be files and upstream instances in turn: go by input, then by index. */
	for (size_t n = 0; n < p->task->inputs; n++) {
		const struct memo_input *in = &p->task->input[n];
		bool source = in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY;
		if (!source || !in->identity)
			continue;
		const json_t *v = json_object_get(p->inputs, in->name);
		if (v == NULL || json_is_null(v)) {
			if (memo_json_set(hashed, in->name, json_null()) < 0)
				return -ENOMEM;
			continue;
		}
		if (in->type.array && memo_json_set(hashed, in->name, json_array()) < 0)
			return -ENOMEM;
		long count = in->type.array ? (long)json_array_size(v) : 1;
		for (long k = 0; k < count; k++) {
			long index = in->type.array ? k : -1;
			json_t *j = NULL;
			for (size_t i = 0; j == NULL && i < p->files; i++) {
				const struct memo_dep_file *f = &p->file[i];
				if (f->input != in || f->index != index)
					continue;
				j = f->directory ? memo_identity_directory(base_name(f->path), &f->digest.id)
						 : memo_identity_file(base_name(f->path), &f->digest.id);
			}
			char key[MEMO_UPSTREAM_KEY];
			if (j == NULL)
				j = memo_identity_upstream(in->name, index, key);
			int r = put_value(hashed, in->name, in->type.array, j);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int record_upstream(const struct memo_dep_up *u, const struct memo_id *hash, json_t *list,
			   struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	int r = memo_plan_path(u->task, u->inputs, &path, err);
	if (r < 0)
		return r;
	char hash_hex[MEMO_HEX_SIZE];
	char id_hex[MEMO_HEX_SIZE];
	json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "need", u->key, "path", path.data, "identity",
			      memo_id_hex(&u->result->identity, id_hex), "hash", memo_id_hex(hash, hash_hex));
	r = memo_json_push(list, j);
	if (r == 0 && u->index >= 0 && u->need != NULL)
		r = memo_json_set(j, "index", json_integer(u->index));
	return r;
}

static int hash_upstream(struct memo_store *s, const struct memo_plan *p, json_t *upstream, json_t *list,
			 struct memo_err *err)
{
	for (size_t i = 0; i < p->task->needs; i++) {
		const struct memo_need *n = &p->task->need[i];
		if (n->each != NULL && memo_json_set(upstream, n->name, json_array()) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < p->ups; i++) {
		const struct memo_dep_up *u = &p->up[i];
		struct memo_id hash;
		int r = up_hash(s, u, &hash, err);
		char hex[MEMO_HEX_SIZE];
		if (r == 0 && (u->input == NULL || u->input->identity))
			r = put_value(upstream, u->key, u->need != NULL && u->need->each != NULL,
				      json_string(memo_id_hex(&hash, hex)));
		if (r == 0)
			r = record_upstream(u, &hash, list, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The code's fingerprint now: tools may have changed since the registration. */
static int code_now(const struct memo_plan *p, bool raw, struct memo_id *out, struct memo_err *err)
{
	const struct memo_task *t = p->task;
	if (t->tools == 0 && !raw) {
		*out = t->fingerprint;
		return 0;
	}
	MEMO_AUTO_FREE struct memo_id *tool = calloc(t->tools + 1, sizeof *tool);
	if (tool == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < p->files; i++) {
		if (p->file[i].input == NULL)
			tool[p->file[i].tool] = p->file[i].digest.id;
	}
	return memo_fingerprint_task(t, raw, tool, out, err);
}

int memo_plan_raw(const struct memo_plan *p, const json_t *key, struct memo_id *raw_out, struct memo_err *err)
{
	struct memo_id code;
	if (p->task->declared)
		return -ENOENT;
	int r = code_now(p, true, &code, err);
	return r < 0 ? r : memo_identity_raw(key, &code, raw_out, err);
}

int memo_plan_identify(struct memo_store *s, const struct memo_plan *p, json_t **key_out, struct memo_id *id_out,
		       json_t **upstream_out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *hashed = json_object();
	MEMO_AUTO_JSON json_t *upstream = json_object();
	MEMO_AUTO_JSON json_t *list = json_array();
	if (hashed == NULL || upstream == NULL || list == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	int r = hash_inputs(p, hashed);
	if (r < 0)
		return memo_fail(err, r, "out of memory");
	r = hash_upstream(s, p, upstream, list, err);
	struct memo_id code;
	if (r == 0 && !p->task->declared)
		r = code_now(p, false, &code, err);
	MEMO_AUTO_JSON json_t *key = NULL;
	if (r == 0)
		r = memo_identity_key(p->task, p->task->declared ? NULL : &code, p->inputs, hashed, upstream, &key,
				      err);
	if (r == 0)
		r = memo_identity_of(key, id_out, err);
	if (r < 0)
		return r;
	*key_out = memo_json_steal(&key);
	if (upstream_out != NULL)
		*upstream_out = memo_json_steal(&list);
	return 0;
}
