/* Requests about the registry: add, tasks, show, remove.
 *
 * add takes several tasks as one: all of them are parsed, put in the order of their needs and checked before the first is
 * registered, so that a folder with one bad task changes nothing. */
#include "service_call.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/nearest.h"

#include <string.h>

#define ADD_TASKS 4096

struct item {
	struct memo_task *task;
	const char *label;
	struct memo_code_file *file;
	size_t files;
	enum { NEW, ENTERED, PLACED } mark; /* while the order is found */
	enum memo_added added;
	char *version; /* completed */
};

struct batch {
	struct item *item;
	size_t count;
	size_t *order;
	size_t ordered;
};

static void batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct item *it = &b->item[i];
		for (size_t k = 0; k < it->files; k++)
			free((void *)(uintptr_t)it->file[k].data);
		free(it->file);
		free(it->version);
		memo_task_unref(it->task);
	}
	free(b->item);
	free(b->order);
}

static int decode(struct memo_service_call *c, struct item *it, const char *path, const char *text, bool exec)
{
	unsigned char *data;
	size_t n;
	int r = memo_base64_decode(text, &data, &n);
	if (r == -ENOMEM)
		return memo_service_nomem(c);
	if (r < 0 || n > MEMO_TASK_CODE_BYTES) {
		if (r == 0)
			free(data);
		return memo_fail(&c->err, -EINVAL, "%s: %s: the file is too large, or its transfer is broken",
				 it->label, path);
	}
	it->file[it->files++] = (struct memo_code_file){ .path = path, .data = data, .len = n, .exec = exec };
	return 0;
}

static int parse_item(struct memo_service_call *c, const json_t *j, struct item *it)
{
	const char *text = memo_json_string(j, "definition", NULL);
	const json_t *files = json_object_get(j, "files");
	it->label = memo_json_string(j, "label", "task.json");
	if (text == NULL || (files != NULL && !json_is_array(files)))
		return memo_fail(&c->err, -EINVAL, "%s: request: 'definition' or 'files' is missing", it->label);
	int r = memo_task_parse(text, strlen(text), it->label, &it->task, &c->err);
	if (r < 0)
		return r;
	size_t n = json_array_size(files);
	if (n > MEMO_TASK_CODE_FILES + 1)
		return memo_fail(&c->err, -E2BIG, "%s: more than %d code files", it->label, MEMO_TASK_CODE_FILES);
	it->file = calloc(n + 1, sizeof *it->file);
	if (it->file == NULL)
		return memo_service_nomem(c);
	for (size_t i = 0; i < n; i++) {
		const json_t *f = json_array_get(files, i);
		const char *path = memo_json_string(f, "path", NULL), *data = memo_json_string(f, "data", NULL);
		if (path == NULL || data == NULL)
			return memo_fail(&c->err, -EINVAL, "%s: request: a code file has no path or data",
					 it->label);
		r = decode(c, it, path, data, memo_json_bool(f, "exec", false));
		if (r < 0)
			return r;
	}
	return 0;
}

static bool same_version(const struct memo_task *a, const struct memo_task *b)
{
	return a->declared == b->declared && (!a->declared || strcmp(a->version, b->version) == 0);
}

static int parse_all(struct memo_service_call *c, struct batch *b)
{
	const json_t *list = json_object_get(c->request, "tasks");
	size_t n = json_array_size(list);
	if (n == 0 || n > ADD_TASKS)
		return memo_fail(&c->err, -EINVAL, "request: 'tasks' must be an array of 1 to %d tasks", ADD_TASKS);
	b->item = calloc(n, sizeof *b->item);
	b->order = calloc(n, sizeof *b->order);
	if (b->item == NULL || b->order == NULL)
		return memo_service_nomem(c);
	for (size_t i = 0; i < n; i++) {
		b->count = i + 1;
		int r = parse_item(c, json_array_get(list, i), &b->item[i]);
		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++) {
			const struct memo_task *old = b->item[k].task, *t = b->item[i].task;
			if (strcmp(old->name, t->name) == 0 && same_version(old, t))
				return memo_fail(&c->err, -EINVAL,
						 "%s: name: task '%s' is also defined by %s; rename one of "
						 "them, or give it another version",
						 b->item[i].label, t->name, b->item[k].label);
		}
	}
	return 0;
}

static bool meant_by(const struct memo_need *n, const struct memo_task *t)
{
	if (strcmp(n->task, t->name) != 0)
		return false;
	return n->version == NULL || !t->declared || strcmp(n->version, t->version) == 0;
}

/* Depth first, what is needed before what needs it. The depth is bounded by ADD_TASKS. */
static int place(struct memo_service_call *c, struct batch *b, size_t i)
{
	struct item *it = &b->item[i];
	if (it->mark == PLACED)
		return 0;
	if (it->mark == ENTERED)
		return memo_fail(&c->err, -ELOOP,
				 "%s: needs: task '%s' needs itself, directly or through others; remove one of the "
				 "needs",
				 it->label, it->task->name);
	it->mark = ENTERED;
	for (size_t k = 0; k < it->task->needs; k++) {
		for (size_t other = 0; other < b->count; other++) {
			if (!meant_by(&it->task->need[k], b->item[other].task))
				continue;
			int r = place(c, b, other);
			if (r < 0)
				return r;
		}
	}
	it->mark = PLACED;
	b->order[b->ordered++] = i;
	return 0;
}

static const struct memo_task *in_batch(const struct batch *b, const struct memo_need *n)
{
	for (size_t i = 0; i < b->count; i++) {
		if (meant_by(n, b->item[i].task))
			return b->item[i].task;
	}
	return NULL;
}

/* What the store cannot see in a dry run: needs on tasks that are added by the same request. */
static int check_need(struct memo_service_call *c, const struct item *it, const struct memo_need *n,
		      const struct memo_task *target)
{
	const char *key;
	json_t *v;
	json_object_foreach(n->inputs, key, v)
	{
		if (memo_task_input(target, key) != NULL)
			continue;
		struct memo_nearest near = { .word = key };
		for (size_t i = 0; i < target->inputs; i++)
			memo_nearest_offer(&near, target->input[i].name);
		return memo_fail(&c->err, -EINVAL, "%s: needs.%s.inputs.%s: task '%s' has no such input%s%s%s",
				 it->label, n->name, key, target->name, near.best != NULL ? "; did you mean '" : "",
				 near.best != NULL ? near.best : "", near.best != NULL ? "'?" : "");
	}
	for (size_t i = 0; i < target->inputs; i++) {
		const struct memo_input *in = &target->input[i];
		if (in->required && json_object_get(n->inputs, in->name) == NULL)
			return memo_fail(&c->err, -EINVAL,
					 "%s: needs.%s.inputs: input '%s' of task '%s' has no default and must be "
					 "given",
					 it->label, n->name, in->name, target->name);
	}
	return 0;
}

static int check_needs(struct memo_service_call *c, const struct batch *b, const struct item *it, json_t *warnings)
{
	for (size_t k = 0; k < it->task->needs; k++) {
		const struct memo_need *n = &it->task->need[k];
		const struct memo_task *target = in_batch(b, n);
		if (target != NULL) {
			int r = check_need(c, it, n, target);
			if (r < 0)
				return r;
			continue;
		}
		struct memo_task *known = NULL;
		int r = memo_store_task(c->store, n->task, n->version, &known, NULL);
		memo_task_unref(known);
		if (r < 0 && r != -ENOENT)
			return memo_fail(&c->err, r, "%s: needs.%s: the registry cannot be read: %s", it->label,
					 n->name, memo_strerror(r));
		if (r == -ENOENT &&
		    memo_json_push(
			    warnings,
			    json_sprintf("%s: needs.%s: task '%s'%s%s is not registered yet; add it before '%s' "
					 "is used",
					 it->label, n->name, n->task, n->version != NULL ? " version " : "",
					 n->version != NULL ? n->version : "", it->task->name)) < 0)
			return memo_service_nomem(c);
	}
	return 0;
}

static int register_one(struct memo_service_call *c, struct item *it, bool dry)
{
	MEMO_AUTO_BUF struct memo_buf warning = { 0 }; /* check_needs() has said it */
	struct memo_task *done = NULL;
	int r = memo_store_register(c->store, it->task, it->file, it->files, dry, &it->added, &done, &warning,
				    &c->err);
	if (r < 0) {
		if (strncmp(c->err.text, it->label, strlen(it->label)) != 0)
			(void)memo_fail_prefix(&c->err, r, "%s", it->label);
		/* what is in a task file is an input of the request, whatever the errno */
		c->status = r == -ENOENT || r == -ELOOP || r == -EEXIST || r == -ENOTDIR ? 2 : 0;
		return r;
	}
	const char *version = done != NULL ? done->version : it->task->version;
	free(it->version);
	it->version = version != NULL ? strdup(version) : NULL;
	memo_task_unref(done);
	return version != NULL && it->version == NULL ? memo_service_nomem(c) : 0;
}

/* The registration of a later task failed: versions that this request brought are taken back. */
static void take_back(struct memo_service_call *c, struct batch *b, size_t done)
{
	while (done-- > 0) {
		const struct item *it = &b->item[b->order[done]];
		if (it->added != MEMO_ADDED || it->version == NULL)
			continue;
		if (memo_store_unregister(c->store, it->task->name, it->version, NULL) == 0)
			memo_runner_task_changed(c->runner, it->task->name, it->version);
	}
}

static int register_all(struct memo_service_call *c, struct batch *b, bool dry)
{
	for (size_t i = 0; i < b->count; i++) {
		struct item *it = &b->item[b->order[i]];
		int r = register_one(c, it, dry);
		if (r < 0) {
			if (!dry)
				take_back(c, b, i);
			return r;
		}
		if (!dry && it->added != MEMO_UNCHANGED)
			memo_runner_task_changed(c->runner, it->task->name, it->version);
	}
	return 0;
}

static int add_answer(struct memo_service_call *c, const struct batch *b)
{
	static const char *const words[] = {
		[MEMO_UNCHANGED] = "unchanged", [MEMO_ADDED] = "added", [MEMO_UPDATED] = "updated"
	};
	MEMO_AUTO_JSON json_t *list = json_array();
	if (list == NULL)
		return memo_service_nomem(c);
	for (size_t i = 0; i < b->count; i++) {
		const struct item *it = &b->item[b->order[i]];
		if (memo_json_push(list, json_pack("{s:s, s:s?, s:s}", "name", it->task->name, "version",
						   it->version, "result", words[it->added])) < 0)
			return memo_service_nomem(c);
	}
	return memo_service_set(c, "tasks", json_incref(list));
}

static int add_batch(struct memo_service_call *c, struct batch *b, json_t *warnings)
{
	int r = parse_all(c, b);
	for (size_t i = 0; r == 0 && i < b->count; i++)
		r = place(c, b, i);
	for (size_t i = 0; r == 0 && i < b->count; i++)
		r = check_needs(c, b, &b->item[i], warnings);
	if (r == 0)
		r = register_all(c, b, true);
	if (r == 0 && !memo_json_bool(c->request, "dry", false))
		r = register_all(c, b, false);
	return r < 0 ? r : add_answer(c, b);
}

int memo_op_add(struct memo_service_call *c)
{
	MEMO_AUTO_JSON json_t *warnings = json_array();
	if (warnings == NULL)
		return memo_service_nomem(c);
	struct batch b = { 0 };
	int r = add_batch(c, &b, warnings);
	batch_clear(&b);
	return r < 0 ? r : memo_service_set(c, "warnings", json_incref(warnings));
}

static json_t *inputs_json(const struct memo_task *t)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; list != NULL && i < t->inputs; i++) {
		const struct memo_input *in = &t->input[i];
		json_t *o = json_pack("{s:s, s:s, s:b, s:b}", "name", in->name, "type", in->type_text, "required",
				      in->required, "identity", in->identity);
		if (o != NULL && !in->required && in->fallback != NULL &&
		    json_object_set(o, "default", in->fallback) < 0) {
			json_decref(o);
			return NULL;
		}
		if (memo_json_push(list, o) < 0)
			return NULL;
	}
	return memo_json_steal(&list);
}

static json_t *task_json(struct memo_service_call *c, const struct memo_task *t)
{
	char latest[MEMO_NAME_MAX + 1] = "", hex[MEMO_HEX_SIZE];
	bool is_latest = memo_store_latest(c->store, t->name, latest) == 0 && strcmp(latest, t->version) == 0;
	return json_pack("{s:s, s:s, s:b, s:b, s:o, s:s, s:s, s:s?, s:b, s:I}", "name", t->name, "version",
			 t->version, "latest", is_latest, "declared", t->declared, "inputs", inputs_json(t),
			 "output", memo_output_text(t->output), "fingerprint", memo_id_hex(&t->fingerprint, hex),
			 "description", t->description, "cache", t->cache, "registered",
			 (json_int_t)(memo_store_registered_ns(c->store, t) / MEMO_NS_PER_S));
}

int memo_op_tasks(struct memo_service_call *c)
{
	struct memo_task **tasks = NULL;
	size_t count = 0;
	int r = memo_store_tasks(c->store, &tasks, &count);
	if (r < 0)
		return memo_fail(&c->err, r, "store '%s': the registry cannot be read: %s",
				 memo_store_dir(c->store), memo_strerror(r));
	MEMO_AUTO_JSON json_t *list = json_array();
	r = list == NULL ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = memo_json_push(list, task_json(c, tasks[i]));
	memo_store_tasks_free(tasks, count);
	return r < 0 ? memo_service_nomem(c) : memo_service_set(c, "tasks", json_incref(list));
}

static int wanted(struct memo_service_call *c, char **name_out, char **version_out)
{
	const char *text;
	int r = memo_json_need_string(c->request, "task", &text, &c->err);
	return r < 0 ? r : memo_service_split_task(c, text, name_out, version_out);
}

static json_t *code_json(const struct memo_task *t)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	char hex[MEMO_HEX_SIZE];
	for (size_t i = 0; list != NULL && i < t->codes; i++) {
		const struct memo_code *f = &t->code[i];
		if (memo_json_push(list,
				   json_pack("{s:s, s:I, s:b, s:s}", "path", f->path, "size", (json_int_t)f->size,
					     "exec", f->exec, "sha256", memo_id_hex(&f->id, hex))) < 0)
			return NULL;
	}
	return memo_json_steal(&list);
}

int memo_op_show(struct memo_service_call *c)
{
	MEMO_AUTO_FREE char *name = NULL;
	MEMO_AUTO_FREE char *version = NULL;
	struct memo_task *t = NULL;
	int r = wanted(c, &name, &version);
	if (r == 0)
		r = memo_store_task(c->store, name, version, &t, &c->err);
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *o = task_json(c, t);
	MEMO_AUTO_JSON json_t *code = code_json(t);
	if (o == NULL || code == NULL || json_object_update(c->answer, o) < 0)
		r = memo_service_nomem(c);
	if (r == 0)
		r = memo_service_set(c, "code", json_incref(code));
	if (r == 0)
		r = memo_service_set(c, "definition", json_incref(t->definition));
	if (r == 0)
		r = memo_service_set(c, "results", json_sprintf("/tasks/%s/%s", t->name, t->version));
	memo_task_unref(t);
	return r;
}

int memo_op_remove(struct memo_service_call *c)
{
	MEMO_AUTO_FREE char *name = NULL;
	MEMO_AUTO_FREE char *version = NULL;
	int r = wanted(c, &name, &version);
	if (r == 0 && version != NULL && strcmp(version, "latest") == 0) {
		char latest[MEMO_NAME_MAX + 1] = "";
		r = memo_store_latest(c->store, name, latest);
		if (r < 0)
			return memo_fail(&c->err, r, "task '%s' is not registered; memofs tasks lists what is",
					 name);
		free(version);
		version = strdup(latest);
		r = version == NULL ? memo_service_nomem(c) : 0;
	}
	if (r == 0)
		r = memo_store_unregister(c->store, name, version, &c->err);
	if (r < 0)
		return r;
	memo_runner_task_changed(c->runner, name, version);
	return memo_service_set(c, "removed", json_pack("[{s:s, s:s?}]", "name", name, "version", version));
}
