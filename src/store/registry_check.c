/* Needs against the registry, removal, and the list of tasks.
 *
 * A registration changes two kinds of edges in the graph of needs: those out of the new version, and those that lead to
 * the latest of its name. Every cycle that it could close goes through the new version, so one walk from it finds it. */
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"

#include <stdio.h>
#include <string.h>

/* ---- one need --------------------------------------------------------------------------------------------- */

/* What a need leads to once @t is registered, NULL: not registered. */
static const struct memo_task *target_locked(struct memo_store *s, const struct memo_task *t,
					     const struct memo_need *n, struct registry_version **version)
	MEMO_TSA(requires_capability(s->registry.mu));
static const struct memo_task *target_locked(struct memo_store *s, const struct memo_task *t,
					     const struct memo_need *n, struct registry_version **version)
{
	*version = NULL;
	bool latest = n->version == NULL || strcmp(n->version, "latest") == 0;
	if (strcmp(n->task, t->name) == 0 && (latest || strcmp(n->version, t->version) == 0))
		return t;
	*version = memo_registry_find_locked(s, n->task, n->version);
	return *version == NULL ? NULL : (*version)->task;
}

/* "{needs.y}" given to an input must be of the kind that the input takes. */
static int check_kind_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			     const char *need, const struct memo_input *in, struct memo_err *err)
	MEMO_TSA(requires_capability(s->registry.mu));
static int check_kind_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			     const char *need, const struct memo_input *in, struct memo_err *err)
{
	const struct memo_need *other = memo_task_need(t, need);
	struct registry_version *v;
	const struct memo_task *from = other == NULL ? NULL : target_locked(s, t, other, &v);
	if (from == NULL || from->output == MEMO_OUT_EXTERNAL ||
	    (in->type.kind != MEMO_FILE && in->type.kind != MEMO_DIRECTORY))
		return 0;
	bool gives = from->output == MEMO_OUT_DIRECTORY;
	bool takes = in->type.kind == MEMO_DIRECTORY;
	if (gives == takes)
		return 0;
	return memo_fail(err, -EINVAL,
			 "task '%s': need '%s': input '%s' of task '%s' takes a %s, but need '%s' gives a %s",
			 t->name, n->name, in->name, n->task, takes ? "Directory" : "File", need,
			 gives ? "Directory" : memo_output_text(from->output));
}

static int check_value_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			      const json_t *value, const struct memo_input *in, struct memo_err *err)
	MEMO_TSA(requires_capability(s->registry.mu));
static int check_value_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			      const json_t *value, const struct memo_input *in, struct memo_err *err)
{
	if (json_is_string(value)) {
		struct memo_template p;
		int r = memo_template_parse(json_string_value(value), &p, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "task '%s': need '%s'", t->name, n->name);
		const struct memo_part *whole = memo_template_whole(&p);
		if (whole != NULL && whole->kind == MEMO_PART_NEED)
			r = check_kind_locked(s, t, n, whole->text, in, err);
		memo_template_clear(&p);
		return r;
	}
	/* Arrays and objects may hold templates too, which only a demand can fill. */
	if (json_is_array(value) || json_is_object(value))
		return 0;
	json_t *canonical;
	int r = memo_value_from_json(in, value, &canonical, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "task '%s': need '%s'", t->name, n->name);
	json_decref(canonical);
	return 0;
}

static int check_need_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			     struct memo_buf *warning, struct memo_err *err)
	MEMO_TSA(requires_capability(s->registry.mu));
static int check_need_locked(struct memo_store *s, const struct memo_task *t, const struct memo_need *n,
			     struct memo_buf *warning, struct memo_err *err)
{
	struct registry_version *v;
	const struct memo_task *up = target_locked(s, t, n, &v);
	if (up == NULL) {
		if (warning != NULL)
			(void)memo_buf_printf(warning,
					      "task '%s': need '%s': task '%s'%s%s is not registered yet\n",
					      t->name, n->name, n->task, n->version != NULL ? " version " : "",
					      n->version != NULL ? n->version : "");
		return 0;
	}
	const char *key;
	json_t *value;
	json_object_foreach(n->inputs, key, value)
	{
		const struct memo_input *in = memo_task_input(up, key);
		if (in == NULL)
			return memo_fail(err, -EINVAL, "task '%s': need '%s': task '%s' has no input '%s'", t->name,
					 n->name, n->task, key);
		int r = check_value_locked(s, t, n, value, in, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < up->inputs; i++) {
		if (up->input[i].required && json_object_get(n->inputs, up->input[i].name) == NULL)
			return memo_fail(err, -EINVAL,
					 "task '%s': need '%s': input '%s' of task '%s' must be given", t->name,
					 n->name, up->input[i].name, n->task);
	}
	return 0;
}

/* ---- cycles ------------------------------------------------------------------------------------------------ */

struct step {
	const struct memo_task *task;
	size_t next; /* its need to follow next */
};

struct path {
	struct step *step;
	size_t count;
	size_t room;
};

static int push(struct path *p, const struct memo_task *t)
{
	if (p->count == p->room) {
		size_t room = p->room == 0 ? 64 : p->room * 2;
		struct step *grown = realloc(p->step, room * sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		p->step = grown;
		p->room = room;
	}
	p->step[p->count++] = (struct step){ .task = t };
	return 0;
}

static int fail_cycle(const struct path *p, const struct memo_task *t, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (size_t i = 0; i < p->count; i++)
		(void)memo_buf_printf(&b, "%s needs ", p->step[i].task->name);
	return memo_fail(err, -ELOOP, "task '%s': its needs form a cycle: %s%s", t->name, memo_buf_str(&b),
			 t->name);
}

static int walk_locked(struct memo_store *s, const struct memo_task *t, struct path *p, struct memo_err *err)
	MEMO_TSA(requires_capability(s->registry.mu));
static int walk_locked(struct memo_store *s, const struct memo_task *t, struct path *p, struct memo_err *err)
{
	uint64_t mark = ++s->registry.mark;
	int r = push(p, t);
	while (r == 0 && p->count > 0) {
		struct step *top = &p->step[p->count - 1];
		if (top->next == top->task->needs) {
			p->count--;
			continue;
		}
		struct registry_version *v;
		const struct memo_task *up = target_locked(s, t, &top->task->need[top->next++], &v);
		if (up == t)
			return fail_cycle(p, t, err);
		if (v == NULL || v->mark == mark)
			continue;
		v->mark = mark;
		r = push(p, up);
	}
	return r < 0 ? memo_fail(err, r, "task '%s': out of memory", t->name) : 0;
}

int memo_registry_check_locked(struct memo_store *s, const struct memo_task *t, struct memo_buf *warning,
			       struct memo_err *err)
{
	for (size_t i = 0; i < t->needs; i++) {
		int r = check_need_locked(s, t, &t->need[i], warning, err);
		if (r < 0)
			return r;
	}
	struct path p = { 0 };
	int r = walk_locked(s, t, &p, err);
	free(p.step);
	return r;
}
