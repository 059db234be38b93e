/* The dependencies of an instance, found by names alone. */
#include "plan.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/path.h"
#include "core/template.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TASKS_PREFIX "/tasks/"

int memo_plan_path(const struct memo_task *t, const json_t *inputs, struct memo_buf *out, struct memo_err *err)
{
	(void)memo_buf_printf(out, TASKS_PREFIX "%s/%s/", t->name, t->version);
	int r = memo_path_name(t, inputs, out, err);
	if (r < 0)
		return r;
	return memo_buf_error(out) < 0 ? memo_fail(err, memo_buf_error(out), "out of memory") : 0;
}

int memo_plan_component(struct memo_store *s, struct memo_task *t, const char *component, json_t **inputs_out,
			struct memo_err *err)
{
	if (memo_path_classify(component) != MEMO_COMP_HANDLE)
		return memo_path_inputs(t, component, inputs_out, err);
	bool is_identity;
	struct memo_id id;
	return memo_store_handle_find(s, t->name, t->version, component + 1, inputs_out, &is_identity, &id, err);
}

int memo_plan_resolve(struct memo_store *s, const char *path, struct memo_task **task_out, json_t **inputs_out,
		      char **inner_out, struct memo_err *err)
{
	struct memo_path_parts parts;
	int r = memo_path_split(path, &parts, err);
	if (r < 0)
		return r;
	struct memo_task *t = NULL;
	if (parts.component == NULL)
		r = memo_fail(err, -EINVAL, "'%s' does not name an instance: use /tasks/NAME/VERSION/INPUTS", path);
	if (r == 0)
		r = memo_store_task(s, parts.task, parts.version, &t, err);
	json_t *inputs = NULL;
	if (r == 0)
		r = memo_plan_component(s, t, parts.component, &inputs, err);
	if (r == 0) {
		*task_out = t;
		*inputs_out = inputs;
		*inner_out = parts.inner;
		parts.inner = NULL;
		t = NULL;
	}
	memo_task_unref(t);
	memo_path_parts_clear(&parts);
	return r;
}

/* ---- making ---------------------------------------------------------------------------------- */

static struct memo_dep_file *add_file(struct memo_plan *p)
{
	struct memo_dep_file *f = realloc(p->file, (p->files + 1) * sizeof *f);
	if (f == NULL)
		return NULL;
	p->file = f;
	f += p->files++;
	*f = (struct memo_dep_file){ .index = -1 };
	return f;
}

static struct memo_dep_up *add_up(struct memo_plan *p)
{
	struct memo_dep_up *u = realloc(p->up, (p->ups + 1) * sizeof *u);
	if (u == NULL)
		return NULL;
	p->up = u;
	u += p->ups++;
	*u = (struct memo_dep_up){ .index = -1 };
	return u;
}

/* An upstream result can stand for an input only if it is of the input's kind. */
static int check_kind(const struct memo_dep_up *u, const char *path, struct memo_err *err)
{
	if (u->input == NULL)
		return 0;
	enum memo_output_type o = u->task->output;
	if (u->inner != NULL && o != MEMO_OUT_DIRECTORY)
		return memo_fail(err, -EINVAL, "input '%s': '%s' goes on below a result that is no directory",
				 u->input->name, path);
	if (o == MEMO_OUT_EXTERNAL || u->inner != NULL)
		return 0;
	bool is_dir = o == MEMO_OUT_DIRECTORY;
	if (is_dir != (u->input->type.kind == MEMO_DIRECTORY))
		return memo_fail(err, -EINVAL, "input '%s' is a %s, but task '%s' gives a %s", u->input->name,
				 u->input->type.kind == MEMO_DIRECTORY ? "Directory" : "File", u->task->name,
				 memo_output_text(o));
	return 0;
}

static int plan_source(struct memo_store *s, struct memo_plan *p, const struct memo_input *in, long index,
		       const char *path, struct memo_err *err)
{
	if (strncmp(path, TASKS_PREFIX, sizeof TASKS_PREFIX - 1) != 0) {
		struct memo_dep_file *f = add_file(p);
		if (f == NULL)
			return memo_fail(err, -ENOMEM, "out of memory");
		f->input = in;
		f->index = index;
		f->path = path;
		f->directory = in->type.kind == MEMO_DIRECTORY;
		return 0;
	}
	struct memo_dep_up *u = add_up(p);
	if (u == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	u->input = in;
	u->index = index;
	json_t *mark = memo_identity_upstream(in->name, index, u->key);
	if (mark == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	json_decref(mark);
	int r = memo_plan_resolve(s, path, &u->task, &u->inputs, &u->inner, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "input '%s'", in->name);
	return check_kind(u, path, err);
}

static int plan_input(struct memo_store *s, struct memo_plan *p, const struct memo_input *in, struct memo_err *err)
{
	const json_t *v = json_object_get(p->inputs, in->name);
	if (v == NULL || json_is_null(v))
		return 0;
	if (!in->type.array)
		return plan_source(s, p, in, -1, json_string_value(v), err);
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)v, i, e)
	{
		int r = plan_source(s, p, in, (long)i, json_string_value(e), err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The value of a need's input: a literal, or a template over this instance's inputs and its other needs.
 * @element stands for the input @each while the need fans out. */
struct need_scope {
	struct memo_store *store;
	const struct memo_plan *plan;
	const struct memo_need *need;
	const json_t *element; /* NULL: no fan-out */
};

static const json_t *scope_input(const struct need_scope *sc, const char *name)
{
	if (sc->element != NULL && strcmp(name, sc->need->each) == 0)
		return sc->element;
	return json_object_get(sc->plan->inputs, name);
}

/* The path of a planned instance. One that can only be named by a handle must be findable by it. */
static json_t *up_path(struct memo_store *s, const struct memo_dep_up *u, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_plan_path(u->task, u->inputs, &b, err) < 0)
		return NULL;
	struct memo_id digest;
	const char *component = strrchr(b.data, '/') + 1;
	if (memo_path_classify(component) == MEMO_COMP_HANDLE &&
	    memo_store_handle_put(s, u->task->name, u->task->version, u->inputs, &digest, err) < 0)
		return NULL;
	return json_stringn(b.data, b.len);
}

/* "/tasks/..." of need @name: its instances were planned before (order by reference), an array when it fans out. */
static json_t *need_paths(struct memo_store *s, const struct memo_plan *p, const char *name, struct memo_err *err)
{
	json_t *list = json_array();
	bool fans = false;
	for (size_t i = 0; list != NULL && i < p->ups; i++) {
		const struct memo_dep_up *u = &p->up[i];
		if (u->need == NULL || strcmp(u->need->name, name) != 0)
			continue;
		fans = u->need->each != NULL;
		if (memo_json_push(list, up_path(s, u, err)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	if (list == NULL || fans)
		return list;
	json_t *one = json_incref(json_array_get(list, 0));
	json_decref(list);
	return one;
}

static int append_part(const struct need_scope *sc, const struct memo_part *part, struct memo_buf *b,
		       struct memo_err *err)
{
	if (part->kind == MEMO_PART_TEXT)
		return memo_buf_puts(b, part->text);
	const struct memo_input *in = memo_task_input(sc->plan->task, part->text);
	const json_t *v = scope_input(sc, part->text);
	if (in == NULL || v == NULL || part->kind != MEMO_PART_INPUT)
		return memo_fail(err, -EINVAL, "need '%s': '{%s}' cannot stand inside a text", sc->need->name,
				 part->text);
	MEMO_AUTO_FREE char *text = memo_value_text(in, v);
	return text == NULL ? -ENOMEM : memo_buf_puts(b, text);
}

static int need_text(const struct need_scope *sc, const char *text, json_t **out, struct memo_err *err)
{
	struct memo_template tpl;
	int r = memo_template_parse(text, &tpl, err);
	if (r < 0)
		return r;
	const struct memo_part *whole = memo_template_whole(&tpl);
	json_t *v = NULL;
	if (whole != NULL && whole->kind == MEMO_PART_INPUT) {
		v = json_incref((json_t *)scope_input(sc, whole->text));
	} else if (whole != NULL && whole->kind == MEMO_PART_NEED) {
		v = need_paths(sc->store, sc->plan, whole->text, err);
	} else {
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		for (size_t i = 0; r == 0 && i < tpl.count; i++)
			r = append_part(sc, &tpl.part[i], &b, err);
		if (r == 0)
			v = json_stringn(memo_buf_str(&b), b.len);
	}
	memo_template_clear(&tpl);
	if (v == NULL)
		return r < 0 ? r : memo_fail(err, -ENOMEM, "need '%s': out of memory", sc->need->name);
	*out = v;
	return 0;
}

/* A number or a boolean that came through a text template fits a typed input by its spelling. */
static int need_value(const struct need_scope *sc, const struct memo_input *target, const json_t *given,
		      json_t **out, struct memo_err *err)
{
	if (!json_is_string(given)) {
		*out = json_incref((json_t *)given);
		return 0;
	}
	MEMO_AUTO_JSON json_t *v = NULL;
	int r = need_text(sc, json_string_value(given), &v, err);
	if (r < 0)
		return r;
	if (target != NULL && !target->type.array && json_is_string(v) && target->type.kind != MEMO_JSON &&
	    target->type.kind != MEMO_STRING)
		return memo_value_from_text(target, json_string_value(v), json_string_length(v), out, err);
	*out = memo_json_steal(&v);
	return 0;
}

static int plan_need_once(struct memo_store *s, struct memo_plan *p, const struct memo_need *n, struct memo_task *t,
			  const json_t *element, long index, struct memo_err *err)
{
	struct need_scope sc = { .store = s, .plan = p, .need = n, .element = element };
	MEMO_AUTO_JSON json_t *partial = json_object();
	if (partial == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	const char *key;
	json_t *given;
	json_object_foreach(n->inputs, key, given)
	{
		json_t *v = NULL;
		int r = need_value(&sc, memo_task_input(t, key), given, &v, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "need '%s': input '%s'", n->name, key);
		if (json_is_null(v)) { /* an optional input handed on: the need's own default holds */
			json_decref(v);
			continue;
		}
		if (memo_json_set(partial, key, v) < 0)
			return memo_fail(err, -ENOMEM, "out of memory");
	}
	MEMO_AUTO_JSON json_t *inputs = NULL;
	int r = memo_task_bind(t, partial, &inputs, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "need '%s'", n->name);
	struct memo_dep_up *u = add_up(p);
	if (u == NULL)
		return memo_fail(err, -ENOMEM, "out of memory");
	(void)strncat(u->key, n->name, sizeof u->key - 1);
	u->need = n;
	u->index = index;
	u->task = memo_task_ref(t);
	u->inputs = memo_json_steal(&inputs);
	return 0;
}

static int plan_need(struct memo_store *s, struct memo_plan *p, const struct memo_need *n, struct memo_err *err)
{
	struct memo_task *t;
	int r = memo_store_task(s, n->task, n->version, &t, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "need '%s'", n->name);
	if (n->each == NULL) {
		r = plan_need_once(s, p, n, t, NULL, -1, err);
	} else {
		json_t *list = json_object_get(p->inputs, n->each);
		size_t i;
		json_t *e;
		json_array_foreach(list, i, e)
		{
			r = plan_need_once(s, p, n, t, e, (long)i, err);
			if (r < 0)
				break;
		}
	}
	memo_task_unref(t);
	return r;
}

/* True when @n mentions {needs.<name>} in its inputs. */
static bool mentions(const struct memo_need *n, const char *name)
{
	const char *key;
	json_t *v;
	char ref[MEMO_NAME_MAX + 16];
	(void)snprintf(ref, sizeof ref, "{needs.%s}", name);
	json_object_foreach(n->inputs, key, v)
	{
		if (json_is_string(v) && strcmp(json_string_value(v), ref) == 0)
			return true;
	}
	return false;
}

/* Needs in an order in which each comes after those that it mentions; the parser has refused cycles. */
static int plan_needs(struct memo_store *s, struct memo_plan *p, struct memo_err *err)
{
	const struct memo_task *t = p->task;
	bool done[MEMO_TASK_NEEDS] = { false };
	for (size_t left = t->needs; left > 0;) {
		bool moved = false;
		for (size_t i = 0; i < t->needs; i++) {
			bool ready = !done[i];
			for (size_t k = 0; ready && k < t->needs; k++)
				ready = done[k] || k == i || !mentions(&t->need[i], t->need[k].name);
			if (!ready)
				continue;
			int r = plan_need(s, p, &t->need[i], err);
			if (r < 0)
				return r;
			done[i] = true;
			moved = true;
			left--;
		}
		if (!moved)
			return memo_fail(err, -EINVAL, "task '%s': its needs refer to each other in a circle",
					 t->name);
	}
	return 0;
}

static int find_tool(const char *path, const char *tool, char **out)
{
	const char *at = path;
	while (*at != '\0') {
		size_t len = strcspn(at, ":");
		char *full = NULL;
		if (len > 0 && asprintf(&full, "%.*s/%s", (int)len, at, tool) < 0)
			return -ENOMEM;
		if (full != NULL && access(full, X_OK) == 0) {
			*out = full;
			return 0;
		}
		free(full);
		at += len + (at[len] == ':');
	}
	return -ENOENT;
}

/* The content of tools counts only where no version is declared. */
static int plan_tools(struct memo_store *s, struct memo_plan *p, struct memo_err *err)
{
	const struct memo_task *t = p->task;
	if (t->declared || t->tools == 0)
		return 0;
	struct memo_settings set;
	int r = memo_store_settings(s, &set, err);
	for (size_t i = 0; r == 0 && i < t->tools; i++) {
		char *full = NULL;
		r = find_tool(set.path, t->tool[i], &full);
		if (r < 0)
			return memo_fail(err, r, "task '%s': the tool '%s' is not in %s (memofs config path)",
					 t->name, t->tool[i], set.path);
		struct memo_dep_file *f = add_file(p);
		if (f == NULL) {
			free(full);
			return memo_fail(err, -ENOMEM, "out of memory");
		}
		f->owned = full;
		f->path = full;
		f->tool = i;
	}
	return r;
}

static bool same_file(const struct memo_guard *g, const struct stat *st)
{
	return g->dev == st->st_dev && g->ino == st->st_ino && g->size == (uint64_t)st->st_size &&
	       g->mtime_ns == (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec &&
	       g->ctime_ns == (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

bool memo_plan_tools_hold(struct memo_store *s, const struct memo_plan *p)
{
	struct memo_settings set;
	bool hold = true;
	for (size_t i = 0; hold && i < p->files; i++) {
		const struct memo_dep_file *f = &p->file[i];
		MEMO_AUTO_FREE char *full = NULL;
		struct stat st;
		if (f->input != NULL || !f->known)
			continue;
		hold = memo_store_settings(s, &set, NULL) == 0 &&
		       find_tool(set.path, p->task->tool[f->tool], &full) == 0 && strcmp(full, f->path) == 0 &&
		       stat(full, &st) == 0 && same_file(&f->digest.guard, &st);
	}
	return hold;
}

int memo_plan_make(struct memo_store *s, struct memo_task *t, const json_t *inputs, struct memo_plan *out,
		   struct memo_err *err)
{
	struct memo_plan p = { .store = s, .task = t, .inputs = inputs };
	int r = plan_needs(s, &p, err);
	for (size_t i = 0; r == 0 && i < t->inputs; i++) {
		if (t->input[i].type.kind == MEMO_FILE || t->input[i].type.kind == MEMO_DIRECTORY)
			r = plan_input(s, &p, &t->input[i], err);
	}
	if (r == 0)
		r = plan_tools(s, &p, err);
	if (r < 0) {
		memo_plan_clear(&p);
		return r;
	}
	*out = p;
	return 0;
}

void memo_plan_up_set(struct memo_plan *p, size_t i, struct memo_result *res)
{
	struct memo_dep_up *u = &p->up[i];
	struct memo_result *old = u->result;
	bool held = u->held;
	u->result = memo_result_ref(res);
	u->held = res != NULL && !res->collected;
	if (u->held)
		memo_store_hold(p->store, &res->hash);
	if (held)
		memo_store_release(p->store, &old->hash);
	memo_result_unref(old);
}

bool memo_plan_lacks(const struct memo_plan *p)
{
	for (size_t i = 0; i < p->ups; i++) {
		if (p->up[i].result == NULL || p->up[i].result->collected)
			return true;
	}
	return false;
}

void memo_plan_clear(struct memo_plan *p)
{
	for (size_t i = 0; i < p->files; i++)
		free(p->file[i].owned);
	for (size_t i = 0; i < p->ups; i++) {
		memo_task_unref(p->up[i].task);
		json_decref(p->up[i].inputs);
		free(p->up[i].inner);
		memo_plan_up_set(p, i, NULL);
	}
	free(p->file);
	free(p->up);
	*p = (struct memo_plan){ 0 };
}
