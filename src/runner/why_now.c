/* What is known of an instance without reading, executing or waiting: its key, with holes where that would be needed. */
#include "base/scope.h"
#include "base/json.h"
#include "why_now.h"

#include <stdio.h>

static int push_text(json_t **list, const char *what, const char *where)
{
	if (*list == NULL)
		*list = json_array();
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (memo_buf_printf(&b, "%s (%s)", what, where) < 0)
		return -ENOMEM;
	return memo_json_push(*list, json_string(memo_buf_str(&b)));
}

static void file_label(const struct memo_dep_file *f, const struct memo_task *t, char *label, size_t size)
{
	if (f->input == NULL)
		(void)snprintf(label, size, "tool %s", t->tool[f->tool]);
	else if (f->index < 0)
		(void)snprintf(label, size, "inputs.%s", f->input->name);
	else
		(void)snprintf(label, size, "inputs.%s.%ld", f->input->name, f->index);
}

static int look_files(struct memo_runner *r, struct memo_why_now *n)
{
	for (size_t i = 0; i < n->plan.files; i++) {
		struct memo_dep_file *f = &n->plan.file[i];
		char label[2 * MEMO_NAME_MAX];
		if (f->input != NULL && !f->input->identity)
			continue;
		int code = memo_store_digest_known(r->store, f->path, f->directory,
						   f->input != NULL ? n->who : NULL, &f->digest);
		f->known = code == 0;
		file_label(f, n->task, label, sizeof label);
		if (code == -EAGAIN)
			code = push_text(&n->unread, label, f->path);
		else if (code < 0 && code != -ENOMEM)
			return memo_fail(&n->err, code, "%s: %s: %s", label, f->path, memo_strerror(code));
		if (code < 0)
			return code;
	}
	return 0;
}

/* In the place of a result that is not there; only its hash, zeros, is looked at. */
static struct memo_result *no_result(void)
{
	struct memo_result *res = calloc(1, sizeof *res);
	if (res != NULL)
		res->refs = 1;
	return res;
}

static int look_upstream(struct memo_runner *r, struct memo_why_now *n)
{
	for (size_t i = 0; i < n->plan.ups; i++) {
		struct memo_dep_up *u = &n->plan.up[i];
		int code = memo_peek_known(r, u->task, u->inputs, n->who, &u->result);
		if (code == 0)
			continue;
		u->result = no_result();
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		MEMO_AUTO_BUF struct memo_buf label = { 0 };
		(void)memo_buf_printf(&label, "upstream.%s", u->key);
		if (u->need != NULL && u->index >= 0)
			(void)memo_buf_printf(&label, ".%ld", u->index);
		if (u->result == NULL || memo_plan_path(u->task, u->inputs, &path, NULL) < 0)
			return -ENOMEM;
		code = push_text(&n->absent, memo_buf_str(&label), path.data);
		if (code < 0)
			return code;
	}
	return 0;
}

/* A Directory's hash has its name in it, and code has its tools: what is made of something unknown is unknown. */
static int mark_holes(struct memo_why_now *n)
{
	json_t *values = json_object_get(n->key, "inputs");
	for (size_t i = 0; i < n->plan.files; i++) {
		const struct memo_dep_file *f = &n->plan.file[i];
		if (f->known || (f->input != NULL && (!f->input->identity || !f->directory)))
			continue;
		json_t *hole = json_string(MEMO_WHY_UNKNOWN);
		int r;
		if (f->input == NULL)
			r = memo_json_set(n->key, "code", hole);
		else if (f->index < 0)
			r = memo_json_set(values, f->input->name, hole);
		else
			r = json_array_set_new(json_object_get(values, f->input->name), (size_t)f->index, hole) < 0
				    ? -ENOMEM
				    : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

void memo_why_clear(struct memo_why_now *n)
{
	memo_buf_clear(&n->path);
	if (n->planned)
		memo_plan_clear(&n->plan);
	json_decref(n->key);
	json_decref(n->upstream);
	json_decref(n->unread);
	json_decref(n->absent);
	json_decref(n->record);
}

/* By the peek that answers reads, so that a hit here is one there. */
static int look_record(struct memo_runner *r, struct memo_why_now *n)
{
	struct memo_result *res = NULL;
	n->hit = memo_runner_peek(r, n->task, n->inputs, n->who, 0, &res) == 0;
	if (n->hit)
		n->id = res->identity;
	memo_result_unref(res);
	int code = memo_store_record(r->store, &n->id, &n->record, NULL);
	n->hit = n->hit && code == 0;
	return code == -ENOENT ? 0 : code;
}

int memo_why_look(struct memo_runner *r, struct memo_task *t, const json_t *inputs, const struct memo_who *who,
		  struct memo_why_now *n)
{
	*n = (struct memo_why_now){ .task = t, .inputs = inputs, .who = who };
	n->state = memo_runner_state(r, t, inputs);
	int code = memo_plan_path(t, inputs, &n->path, &n->err);
	if (code == 0)
		code = memo_plan_make(r->store, t, inputs, &n->plan, &n->err);
	n->planned = code == 0;
	if (code == 0)
		code = look_files(r, n);
	if (code == 0)
		code = look_upstream(r, n);
	if (code == 0)
		code = memo_plan_identify(r->store, &n->plan, &n->key, &n->id, &n->upstream, &n->err);
	if (code == 0)
		code = mark_holes(n);
	n->complete = code == 0 && n->unread == NULL && n->absent == NULL;
	if (n->complete)
		code = look_record(r, n);
	return code < 0 && n->err.code != 0 && code != -ENOMEM ? 0 : code;
}
