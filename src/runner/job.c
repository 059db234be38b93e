/* From a complete plan to the worker's job: where things lie, argv, environment. */
#include "job.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/template.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

/* Where a result that came from stdout lies while it is verified. */
#define VERIFIED "output"
/* Of the machine's memory one in so many bytes is not for a task that declares none. */
#define MACHINE_PART 8

struct build {
	struct memo_store *store;
	const struct memo_plan *plan;
	struct memo_job *job;
	struct memo_err *err;
	struct memo_settings set;
	const struct memo_result *verify; /* the job is to check this; NULL: to make it */
};

static int oom(struct build *b)
{
	return memo_fail(b->err, -ENOMEM, "out of memory");
}

/* Where the result is to appear, or lies when it is verified. */
static const char *output_text(const struct build *b)
{
	const struct memo_task *t = b->plan->task;
	if (t->output_path != NULL)
		return t->output_path;
	return b->verify != NULL ? VERIFIED : "/dev/stdout";
}

/* ---- places ---------------------------------------------------------------------------------- */

static bool same_first(const char *a, const char *b)
{
	size_t la = strcspn(a, "/");
	return la == strcspn(b, "/") && memcmp(a, b, la) == 0;
}

static bool taken(const struct build *b, const char *place)
{
	const struct memo_task *t = b->plan->task;
	if (same_first(place, "needs"))
		return true;
	if (same_first(place, t->output_path != NULL ? t->output_path : VERIFIED) &&
	    (t->output_path != NULL || b->verify != NULL))
		return true;
	for (size_t i = 0; i < b->job->inputs; i++) {
		if (same_first(place, b->job->input[i].to))
			return true;
	}
	return false;
}

static struct memo_job_input *add_place(struct build *b, char *to, char *from)
{
	struct memo_job_input *list = NULL;
	if (to != NULL && from != NULL)
		list = realloc(b->job->input, (b->job->inputs + 1) * sizeof *list);
	if (list == NULL) {
		free(to);
		free(from);
		return NULL;
	}
	b->job->input = list;
	list += b->job->inputs++;
	*list = (struct memo_job_input){ .to = to, .from = from };
	return list;
}

static char *input_place(const struct build *b, const char *name, const struct memo_input *in, long index)
{
	char *to = NULL;
	if (!taken(b, name))
		return strdup(name);
	int n = index < 0 ? asprintf(&to, "inputs-%s/%s", in->name, name)
			  : asprintf(&to, "inputs-%s-%ld/%s", in->name, index, name);
	return n < 0 ? NULL : to;
}

static int place_file(struct build *b, const struct memo_dep_file *f)
{
	const char *slash = strrchr(f->path, '/');
	const char *base = slash != NULL && slash[1] != '\0' ? slash + 1 : "root";
	struct memo_job_input *p = add_place(b, input_place(b, base, f->input, f->index), strdup(f->path));
	if (p == NULL)
		return oom(b);
	p->directory = f->directory;
	p->guarded = f->known;
	p->copy = f->copy;
	p->guard = f->digest.guard;
	p->id = f->digest.id;
	if (f->known && !f->directory && !f->digest.settled)
		p->copy = true;
	return 0;
}

static char *up_place(const struct build *b, const struct memo_dep_up *u)
{
	char *to = NULL;
	int n;
	if (u->need != NULL && u->index >= 0)
		n = asprintf(&to, "needs/%s/%ld", u->need->name, u->index);
	else if (u->need != NULL)
		n = asprintf(&to, "needs/%s", u->need->name);
	else if (u->inner != NULL)
		return input_place(b, strrchr(u->inner, '/') != NULL ? strrchr(u->inner, '/') + 1 : u->inner,
				   u->input, u->index);
	else if (u->index >= 0)
		n = asprintf(&to, "inputs-%s/%ld", u->input->name, u->index);
	else
		return input_place(b, u->input->name, u->input, -1);
	return n < 0 ? NULL : to;
}

static int place_up(struct build *b, const struct memo_dep_up *u)
{
	char *from = NULL;
	int r = memo_store_result_path(b->store, u->result, &from);
	if (r < 0)
		return memo_fail(b->err, r, "result of task '%s': %s", u->task->name, memo_strerror(r));
	bool directory = u->result->kind == MEMO_RESULT_DIRECTORY;
	if (u->inner != NULL) {
		char *whole = from;
		from = memo_io_join(whole, u->inner);
		free(whole);
		directory = false;
	}
	struct memo_job_input *p = add_place(b, up_place(b, u), from);
	if (p == NULL)
		return oom(b);
	p->directory = directory;
	p->trusted = true;
	return 0;
}

static int place_code(struct build *b)
{
	const struct memo_task *t = b->plan->task;
	for (size_t i = 0; i < t->codes; i++) {
		char *from = NULL;
		int r = memo_store_code_path(b->store, &t->code[i], &from);
		if (r < 0)
			return memo_fail(b->err, r, "code file '%s' of task '%s': %s", t->code[i].path, t->name,
					 memo_strerror(r));
		char *to = NULL;
		if (asprintf(&to, "%s%s", t->script != NULL ? MEMO_ATTEMPT_CODE : "", t->code[i].path) < 0)
			to = NULL;
		struct memo_job_input *p = add_place(b, to, from);
		if (p == NULL)
			return oom(b);
		p->trusted = true;
		p->copy = true;
		p->exec = t->code[i].exec || (t->script != NULL && strcmp(t->code[i].path, t->script) == 0);
	}
	return 0;
}

/* The position in job->input of each dependency: code first, then ups, then files, as placed below. */
static const char *up_to(const struct build *b, size_t i)
{
	return b->job->input[b->plan->task->codes + i].to;
}

static const char *file_to(const struct build *b, size_t i)
{
	size_t at = b->plan->task->codes + b->plan->ups;
	for (size_t k = 0; k < i; k++)
		at += b->plan->file[k].input != NULL;
	return b->job->input[at].to;
}

/* The result that is to be verified, where it was made. */
static int place_result(struct build *b)
{
	char *from = NULL;
	int r = memo_store_result_path(b->store, b->verify, &from);
	if (r < 0)
		return memo_fail(b->err, r, "the result of task '%s': %s", b->plan->task->name, memo_strerror(r));
	struct memo_job_input *p = add_place(b, strdup(output_text(b)), from);
	if (p == NULL)
		return oom(b);
	p->directory = b->verify->kind == MEMO_RESULT_DIRECTORY;
	p->trusted = true;
	return 0;
}

static int place_all(struct build *b)
{
	int r = place_code(b);
	for (size_t i = 0; r == 0 && i < b->plan->ups; i++)
		r = place_up(b, &b->plan->up[i]);
	for (size_t i = 0; r == 0 && i < b->plan->files; i++) {
		if (b->plan->file[i].input != NULL) /* a tool is found through PATH */
			r = place_file(b, &b->plan->file[i]);
	}
	return r == 0 && b->verify != NULL ? place_result(b) : r;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A path that a program cannot take for an option. NULL: out of memory. */
static char *safe_path(const char *to)
{
	char *s = NULL;
	if (to[0] != '-')
		return strdup(to);
	return asprintf(&s, "./%s", to) < 0 ? NULL : s;
}

/* Where the element @index (or -1) of a File or Directory input lies. */
static const char *source_to(const struct build *b, const struct memo_input *in, long index)
{
	for (size_t i = 0; i < b->plan->files; i++) {
		if (b->plan->file[i].input == in && b->plan->file[i].index == index)
			return file_to(b, i);
	}
	for (size_t i = 0; i < b->plan->ups; i++) {
		if (b->plan->up[i].input == in && b->plan->up[i].index == index)
			return up_to(b, i);
	}
	return "";
}

static char *element_text(const struct build *b, const struct memo_input *in, const json_t *v, long index)
{
	if (json_is_null(v))
		return strdup("");
	if (in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY)
		return safe_path(source_to(b, in, index));
	return memo_value_text(in, v);
}

/* The texts of a placeholder's value; one unless it is a list. */
struct texts {
	char **text;
	size_t count;
	bool list;
};

static void texts_clear(struct texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->text[i]);
	free(t->text);
	*t = (struct texts){ 0 };
}

static int texts_add(struct texts *t, char *text)
{
	char **list = text == NULL ? NULL : realloc(t->text, (t->count + 1) * sizeof *list);
	if (list == NULL) {
		free(text);
		return -ENOMEM;
	}
	t->text = list;
	list[t->count++] = text;
	return 0;
}

static int input_texts(const struct build *b, const struct memo_input *in, struct texts *out)
{
	const json_t *v = json_object_get(b->plan->inputs, in->name);
	if (!in->type.array)
		return texts_add(out, element_text(b, in, v, -1));
	out->list = !json_is_null(v); /* a list that is left out: no argument, and an empty variable */
	size_t i;
	json_t *e;
	json_array_foreach((json_t *)v, i, e)
	{
		int r = texts_add(out, element_text(b, in, e, (long)i));
		if (r < 0)
			return r;
	}
	return 0;
}

static int need_texts(const struct build *b, const char *name, struct texts *out)
{
	const struct memo_need *n = memo_task_need(b->plan->task, name);
	out->list = n != NULL && n->each != NULL;
	for (size_t i = 0; i < b->plan->ups; i++) {
		if (b->plan->up[i].need != n || n == NULL)
			continue;
		int r = texts_add(out, safe_path(up_to(b, i)));
		if (r < 0)
			return r;
	}
	return 0;
}

static char *requirement_text(const struct memo_task *t, const char *name)
{
	char *s = NULL;
	int n;
	if (strcmp(name, "cpu") == 0)
		n = asprintf(&s, "%lld", (long long)t->cpu);
	else if (strcmp(name, "memory") == 0)
		n = asprintf(&s, "%llu", (unsigned long long)t->memory_bytes);
	else if (strcmp(name, "time") == 0)
		n = asprintf(&s, "%lld", (long long)(t->time_ms / 1000));
	else
		n = asprintf(&s, "%s", t->network ? "true" : "false");
	return n < 0 ? NULL : s;
}

static int part_texts(const struct build *b, const struct memo_part *part, struct texts *out)
{
	const struct memo_task *t = b->plan->task;
	switch (part->kind) {
	case MEMO_PART_TEXT:
		return texts_add(out, strdup(part->text));
	case MEMO_PART_INPUT: {
		const struct memo_input *in = memo_task_input(t, part->text);
		return in == NULL ? -EINVAL : input_texts(b, in, out);
	}
	case MEMO_PART_NEED:
		return need_texts(b, part->text, out);
	case MEMO_PART_REQUIREMENT:
		return texts_add(out, requirement_text(t, part->text));
	case MEMO_PART_OUTPUT:
		return texts_add(out, strdup(output_text(b)));
	}
	return -EINVAL;
}

/* ---- argv ------------------------------------------------------------------------------------ */

static int argv_add(struct memo_job *j, char *text)
{
	char **list = text == NULL ? NULL : realloc(j->argv, (j->argc + 2) * sizeof *list);
	if (list == NULL) {
		free(text);
		return -ENOMEM;
	}
	j->argv = list;
	list[j->argc++] = text;
	list[j->argc] = NULL;
	return 0;
}

static int argv_whole(struct build *b, const struct memo_part *part)
{
	struct texts t = { 0 };
	int r = part_texts(b, part, &t);
	for (size_t i = 0; r == 0 && i < t.count; i++) {
		r = argv_add(b->job, t.text[i]);
		t.text[i] = NULL;
	}
	texts_clear(&t);
	return r;
}

static int argv_element(struct build *b, const char *text)
{
	struct memo_template tpl;
	int r = memo_template_parse(text, &tpl, b->err);
	if (r < 0)
		return r;
	const struct memo_part *whole = memo_template_whole(&tpl);
	MEMO_AUTO_BUF struct memo_buf s = { 0 };
	if (whole != NULL) {
		r = argv_whole(b, whole);
	} else {
		for (size_t i = 0; r == 0 && i < tpl.count; i++) {
			struct texts t = { 0 };
			r = part_texts(b, &tpl.part[i], &t);
			for (size_t k = 0; r == 0 && k < t.count; k++)
				r = memo_buf_puts(&s, t.text[k]);
			texts_clear(&t);
		}
		if (r == 0)
			r = argv_add(b->job, memo_buf_steal(&s));
	}
	memo_template_clear(&tpl);
	return r < 0 ? oom(b) : 0;
}

static int build_argv(struct build *b)
{
	const struct memo_task *t = b->plan->task;
	int r = 0;
	for (size_t i = 0; r == 0 && b->verify != NULL && i < t->verifies; i++)
		r = argv_element(b, t->verify[i]);
	if (r < 0 || b->verify != NULL)
		return r;
	if (t->script != NULL) {
		char *path = NULL;
		if (asprintf(&path, MEMO_ATTEMPT_CODE "%s", t->script) < 0)
			path = NULL;
		return argv_add(b->job, path) < 0 ? oom(b) : 0;
	}
	for (size_t i = 0; r == 0 && i < t->commands; i++)
		r = argv_element(b, t->command[i]);
	if (r == 0 && b->job->argc == 0)
		return memo_fail(b->err, -EINVAL, "task '%s': with these inputs its command is empty", t->name);
	return r;
}

/* ---- environment ----------------------------------------------------------------------------- */

/* @prefix + NAME in capitals. A list is JSON, a single value its text. */
static int env_value(struct build *b, const char *prefix, const char *name, const struct texts *t)
{
	char key[MEMO_NAME_MAX + 16];
	int n = snprintf(key, sizeof key, "%s%s", prefix, name);
	if (n < 0 || (size_t)n >= sizeof key)
		return -EINVAL;
	for (char *c = key; *c != '\0'; c++)
		*c = (char)toupper((unsigned char)*c);
	if (!t->list)
		return memo_json_set(b->job->env, key, json_string(t->count > 0 ? t->text[0] : ""));
	MEMO_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < t->count; i++) {
		if (memo_json_push(list, json_string(t->text[i])) < 0)
			return -ENOMEM;
	}
	MEMO_AUTO_FREE char *text = memo_json_text(list);
	return text == NULL ? -ENOMEM : memo_json_set(b->job->env, key, json_string(text));
}

/* An array input keeps the JSON types of its elements in the variable. */
static int env_input(struct build *b, const struct memo_input *in)
{
	const json_t *v = json_object_get(b->plan->inputs, in->name);
	bool source = in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY;
	struct texts t = { 0 };
	int r;
	if (in->type.array && json_is_array(v) && !source) {
		r = texts_add(&t, memo_json_text(v));
	} else {
		r = input_texts(b, in, &t);
	}
	if (r == 0)
		r = env_value(b, "INPUT_", in->name, &t);
	texts_clear(&t);
	return r;
}

static int env_set(struct build *b, const char *key, const char *value)
{
	return memo_json_set(b->job->env, key, json_string(value));
}

static int build_env(struct build *b, const char *mountpoint)
{
	const struct memo_task *t = b->plan->task;
	b->job->env = json_object();
	if (b->job->env == NULL || env_set(b, "LANG", "C.UTF-8") < 0 || env_set(b, "TZ", "UTC") < 0 ||
	    env_set(b, "PATH", b->set.path) < 0 || env_set(b, "OUTPUT", output_text(b)) < 0)
		return oom(b);
	if (mountpoint != NULL && env_set(b, "MEMOFS_MOUNT", mountpoint) < 0)
		return oom(b);
	if (json_object_update(b->job->env, t->env) < 0)
		return oom(b);
	for (size_t i = 0; i < t->inputs; i++) {
		if (env_input(b, &t->input[i]) < 0)
			return oom(b);
	}
	for (size_t i = 0; i < t->needs; i++) {
		struct texts texts = { 0 };
		int r = need_texts(b, t->need[i].name, &texts);
		if (r == 0)
			r = env_value(b, "NEED_", t->need[i].name, &texts);
		texts_clear(&texts);
		if (r < 0)
			return oom(b);
	}
	return 0;
}

/* ---- the door -------------------------------------------------------------------------------- */

/* Whoever declares no memory may use all that local tasks may use together, but leaves the machine a part of its own. */
static uint64_t memory_limit(const struct build *b)
{
	const struct memo_task *t = b->plan->task;
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	uint64_t machine = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
	uint64_t most = machine - machine / MACHINE_PART;
	if (t->memory_bytes > 0)
		return t->memory_bytes;
	return b->set.memory_bytes < most ? b->set.memory_bytes : most;
}

/* "": none. */
static int copy_text(char **out, const char *text)
{
	if (text == NULL || text[0] == '\0')
		return 0;
	*out = strdup(text);
	return *out == NULL ? -ENOMEM : 0;
}

static int build_sandbox(struct build *b, const char *mountpoint)
{
	struct memo_job_sandbox *s = &b->job->sandbox;
	b->job->memory_limit_bytes = memory_limit(b);
	s->mode = b->set.sandbox;
	s->control = memo_io_join(memo_store_dir(b->store), "control.sock");
	if (s->control == NULL || copy_text(&s->readable, b->set.readable) < 0 ||
	    copy_text(&s->writable, b->set.writable) < 0 || copy_text(&s->mount, mountpoint) < 0)
		return oom(b);
	return 0;
}

static int build_job(const struct memo_result *verify, struct memo_store *s, const struct memo_plan *p,
		     const char *identity_hex, const char *mountpoint, struct memo_job *out, struct memo_err *err)
{
	const struct memo_task *t = p->task;
	struct memo_job job = {
		.output = verify != NULL ? MEMO_OUT_FILE : t->output,
		.time_ms = t->time_ms,
		.memory_bytes = t->memory_bytes,
		.network = t->network,
	};
	struct build b = { .store = s, .plan = p, .job = &job, .err = err, .verify = verify };
	memcpy(job.identity, identity_hex, sizeof job.identity);
	int r = memo_store_settings(s, &b.set, err);
	if (r == 0 && t->output_path != NULL && verify == NULL) {
		job.output_path = strdup(t->output_path);
		r = job.output_path == NULL ? oom(&b) : 0;
	}
	if (r == 0)
		r = place_all(&b);
	if (r == 0)
		r = build_argv(&b);
	if (r == 0)
		r = build_env(&b, mountpoint);
	if (r == 0)
		r = build_sandbox(&b, mountpoint);
	if (r < 0) {
		memo_job_clear(&job);
		return r;
	}
	*out = job;
	return 0;
}

int memo_job_build(struct memo_store *s, const struct memo_plan *p, const char *identity_hex,
		   const char *mountpoint, struct memo_job *out, struct memo_err *err)
{
	return build_job(NULL, s, p, identity_hex, mountpoint, out, err);
}

int memo_job_build_verify(struct memo_store *s, const struct memo_plan *p, const struct memo_result *res,
			  const char *identity_hex, struct memo_job *out, struct memo_err *err)
{
	return build_job(res, s, p, identity_hex, NULL, out, err);
}
