/* What the handlers of the service share: answers, rights, which instance is meant, logs that grow. */
#include "service_call.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "core/nearest.h"
#include "core/path.h"

#include <stdatomic.h>
#include <string.h>

#define TAIL_CHUNK ((size_t)48 << 10)
#define CLOCK_GRAIN_NS (20 * MEMO_NS_PER_MS) /* file times lag behind the clock by as much */
#define PAIRS_MAX ((size_t)MEMO_ARRAY_MAX)

void memo_service_unref(struct memo_service_call *c)
{
	memo_mutex_lock(&c->mu);
	int left = --c->refs;
	memo_mutex_unlock(&c->mu);
	if (left > 0)
		return;
	json_decref((json_t *)(uintptr_t)c->request);
	json_decref(c->answer);
	json_decref(c->inputs);
	json_decref(c->shown);
	json_decref(c->rows);
	memo_task_unref(c->task);
	memo_result_unref(c->result);
	memo_service_tail_clear(&c->tail);
	memo_service_check_free(c->check);
	free(c->inner);
	free(c->path);
	memo_mutex_clear(&c->mu);
	free(c);
}

int memo_service_nomem(struct memo_service_call *c)
{
	return memo_fail(&c->err, -ENOMEM, "out of memory");
}

int memo_service_set(struct memo_service_call *c, const char *key, json_t *v)
{
	return memo_json_set(c->answer, key, v) < 0 ? memo_service_nomem(c) : 0;
}

void memo_service_event(struct memo_service_call *c, const char *kind, const char *key, json_t *v)
{
	/* an event is a courtesy: one that finds no memory is left out */
	MEMO_AUTO_JSON json_t *m = json_pack("{s:s, s:o}", "event", kind, key, v);
	if (m != NULL)
		c->asker.emit(c->asker.arg, m, false);
}

int memo_service_absent(struct memo_service_call *c, const char *what, const char *does)
{
	MEMO_AUTO_BUF struct memo_buf word = { 0 };
	(void)memo_log_word(&word, c->path);
	return memo_fail(&c->err, -ENOENT, "%s: %s; memofs get %s %s", c->path, what, memo_buf_str(&word), does);
}

int memo_service_split_task(struct memo_service_call *c, const char *text, char **name_out, char **version_out)
{
	const char *at = strchr(text, '@');
	MEMO_AUTO_FREE char *name = at != NULL ? strndup(text, (size_t)(at - text)) : strdup(text);
	MEMO_AUTO_FREE char *version = at != NULL ? strdup(at + 1) : NULL;
	if (name == NULL || (at != NULL && version == NULL))
		return memo_service_nomem(c);
	if (!memo_task_name_ok(name))
		return memo_fail(&c->err, -EINVAL, "'%.80s' is not a task's name; memofs tasks lists them", name);
	if (version != NULL && strcmp(version, "latest") != 0 && !memo_task_version_ok(version))
		return memo_fail(&c->err, -EINVAL, "'%.80s' is not a version of task '%s'; memofs tasks lists them",
				 version, name);
	*name_out = memo_ptr_steal(&name);
	*version_out = memo_ptr_steal(&version);
	return 0;
}

/* What follows @mount in @path ("" or "/..."), or NULL when @path is not below it. */
static const char *below(const char *path, const char *mount)
{
	size_t n = mount != NULL ? strlen(mount) : 0;
	if (n == 0 || strncmp(path, mount, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return path + n;
}

/* The mount may be known under one name here and under another to the asker (a bind mount, a container). */
static const char *strip_mount(struct memo_service_call *c, const char *path)
{
	const char *rest = below(path, memo_runner_mountpoint(c->runner));
	if (rest == NULL)
		rest = below(path, memo_json_string(c->request, "mount", NULL));
	return rest != NULL ? rest : path;
}

static int from_path(struct memo_service_call *c, const char *path)
{
	struct memo_path_parts p = { 0 };
	const char *inside = strip_mount(c, path);
	int r = memo_path_split(inside, &p, &c->err);
	if (r == 0 && (p.task == NULL || p.version == NULL || p.component == NULL))
		r = memo_fail(
			&c->err, -EINVAL,
			"'%.300s' names no instance: write TASK/VERSION/INPUTS, for instance %.64s/%.64s/@default",
			path, p.task != NULL ? p.task : "align", p.version != NULL ? p.version : "latest");
	if (r == 0)
		r = memo_runner_resolve(c->runner, p.task, p.version, p.component, &c->task, &c->inputs, &c->err);
	if (r == 0) {
		c->inner = p.inner;
		p.inner = NULL;
	}
	memo_path_parts_clear(&p);
	return r;
}

int memo_service_file(struct memo_service_call *c, const struct memo_input *in, const char *text, const char *dir,
		      char **out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (text[0] == '\0')
		return memo_fail(&c->err, -EINVAL, "input '%s': a path is expected, not an empty text", in->name);
	if (text[0] != '/' && dir == NULL)
		return memo_fail(&c->err, -EINVAL, "input '%s': '%.300s' is not an absolute path", in->name, text);
	if (text[0] != '/')
		(void)memo_buf_printf(&b, "%s/", dir);
	(void)memo_buf_puts(&b, text);
	if (memo_buf_error(&b) < 0)
		return memo_service_nomem(c);
	MEMO_AUTO_FREE char *clean = NULL;
	int r = memo_value_clean_path(memo_buf_str(&b), &clean, &c->err);
	if (r < 0)
		return memo_fail_prefix(&c->err, r, "input '%s'", in->name);
	const char *inside = strip_mount(c, clean);
	bool cached = inside != clean && strncmp(inside, "/cached/", 8) == 0;
	memo_buf_reset(&b);
	(void)memo_buf_printf(&b, "%s%s", cached ? "/tasks" : "", cached ? inside + 7 : inside);
	*out = memo_buf_steal(&b);
	return *out == NULL ? memo_service_nomem(c) : 0;
}

int memo_service_unknown(struct memo_service_call *c, const char *key)
{
	struct memo_nearest n = { .word = key };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (size_t i = 0; i < c->task->inputs; i++) {
		memo_nearest_offer(&n, c->task->input[i].name);
		(void)memo_buf_printf(&b, "%s%s", i > 0 ? ", " : "", c->task->input[i].name);
	}
	if (n.best != NULL)
		return memo_fail(&c->err, -EINVAL, "task '%s' has no input '%.80s'; did you mean '%s'?",
				 c->task->name, key, n.best);
	return memo_fail(&c->err, -EINVAL, "task '%s' has no input '%.80s'; its inputs are: %s", c->task->name, key,
			 c->task->inputs > 0 ? memo_buf_str(&b) : "none");
}

int memo_service_put_text(struct memo_service_call *c, json_t *partial, const char *key, const char *text,
			  const char *dir)
{
	const struct memo_input *in = memo_task_input(c->task, key);
	if (in == NULL)
		return memo_service_unknown(c, key);
	MEMO_AUTO_FREE char *path = NULL;
	int r = 0;
	if (in->type.kind == MEMO_FILE || in->type.kind == MEMO_DIRECTORY) {
		r = memo_service_file(c, in, text, dir, &path);
		if (r < 0)
			return r;
		text = path;
	}
	json_t *v = NULL;
	r = memo_value_from_text(in, text, strlen(text), &v, &c->err);
	if (r < 0)
		return r;
	json_t *before = json_object_get(partial, key);
	if (!in->type.array && before != NULL) {
		json_decref(v);
		return memo_fail(&c->err, -EINVAL, "input '%s' is given twice, but is one %s, not an array",
				 in->name, in->type_text);
	}
	if (in->type.array && before == NULL) {
		before = json_array();
		if (memo_json_set(partial, key, before) < 0) {
			json_decref(v);
			return memo_service_nomem(c);
		}
	}
	r = in->type.array ? memo_json_push(before, v) : memo_json_set(partial, key, v);
	return r < 0 ? memo_service_nomem(c) : 0;
}

int memo_service_pairs(struct memo_service_call *c, json_t *partial)
{
	const json_t *pairs = json_object_get(c->request, "pairs");
	if (json_array_size(pairs) > PAIRS_MAX)
		return memo_fail(&c->err, -E2BIG, "task '%s': more than %zu inputs are given", c->task->name,
				 PAIRS_MAX);
	size_t i;
	json_t *pair;
	json_array_foreach(pairs, i, pair)
	{
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));
		if (key == NULL || value == NULL)
			return memo_fail(&c->err, -EINVAL, "request: 'pairs' must be an array of [key, value]");
		int r = memo_service_put_text(c, partial, key, value, memo_json_string(c->request, "cwd", NULL));
		if (r < 0)
			return r;
	}
	return 0;
}

static int from_task(struct memo_service_call *c, const char *text)
{
	MEMO_AUTO_FREE char *name = NULL;
	MEMO_AUTO_FREE char *version = NULL;
	int r = memo_service_split_task(c, text, &name, &version);
	if (r == 0)
		r = memo_store_task(c->store, name, version, &c->task, &c->err);
	if (r < 0)
		return r;
	MEMO_AUTO_JSON json_t *partial = json_object();
	if (partial == NULL)
		return memo_service_nomem(c);
	r = memo_service_pairs(c, partial);
	return r < 0 ? r : memo_task_bind(c->task, partial, &c->inputs, &c->err);
}

int memo_service_instance(struct memo_service_call *c)
{
	const char *path = memo_json_string(c->request, "path", NULL);
	const char *task = memo_json_string(c->request, "task", NULL);
	if (path == NULL && task == NULL)
		return memo_fail(&c->err, -EINVAL, "request: 'path' or 'task' is missing");
	int r = path != NULL ? from_path(c, path) : from_task(c, task);
	if (r < 0)
		return r;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	r = memo_runner_path(c->runner, c->task, c->inputs, &b, &c->err);
	if (r < 0)
		return r;
	c->path = memo_buf_steal(&b);
	return c->path == NULL ? memo_service_nomem(c) : 0;
}

static void *work(void *arg)
{
	struct memo_service_call *c = arg;
	_Atomic int *busy = c->asker.busy;
	int code = c->work(c);
	memo_mutex_lock(&c->mu);
	c->answered = true;
	c->code = code;
	if (!c->ended)
		c->asker.wake(c->asker.arg);
	memo_mutex_unlock(&c->mu);
	memo_service_unref(c);
	atomic_fetch_sub(busy, 1); /* the last touch: whoever waits for it closes the runner */
	return NULL;
}

static int work_step(struct memo_service_call *c)
{
	memo_mutex_lock(&c->mu);
	bool answered = c->answered;
	memo_mutex_unlock(&c->mu);
	return answered ? c->code : 1;
}

int memo_service_work(struct memo_service_call *c, int (*fn)(struct memo_service_call *c))
{
	pthread_t t;
	if (c->asker.busy == NULL)
		return fn(c);
	c->work = fn;
	c->step = work_step;
	memo_mutex_lock(&c->mu);
	c->refs++; /* the thread's */
	c->answered = false;
	memo_mutex_unlock(&c->mu);
	atomic_fetch_add(c->asker.busy, 1);
	int r = memo_thread_start(&t, "memo-request", work, c);
	if (r < 0) {
		atomic_fetch_sub(c->asker.busy, 1);
		memo_service_unref(c);
		return memo_fail(&c->err, r, "cannot start a thread: %s", memo_strerror(r));
	}
	(void)pthread_detach(t);
	return 1;
}

void memo_service_tail_clear(struct memo_tail *t)
{
	if (t->fd >= 0)
		(void)close(t->fd);
	*t = (struct memo_tail){ .fd = -1 };
}

/* One chunk from the file at hand. >0: bytes. */
static int tail_chunk(struct memo_service_call *c, const char *event)
{
	struct memo_tail *t = &c->tail;
	char raw[TAIL_CHUNK];
	ssize_t n = pread(t->fd, raw, sizeof raw, t->offset);
	if (n < 0)
		return memo_errno();
	if (n == 0)
		return 0;
	t->offset += n;
	t->any = true;
	MEMO_AUTO_FREE char *text = memo_base64_encode(raw, (size_t)n);
	if (text == NULL)
		return -ENOMEM;
	memo_service_event(c, event, "data", json_string(text));
	return (int)n;
}

int memo_service_tail_read(struct memo_service_call *c, const char *event, bool *running_out)
{
	struct memo_tail *t = &c->tail;
	bool running = false;
	MEMO_AUTO_FD int fd = -1;
	int r = memo_runner_log(c->runner, c->task, c->inputs, "stderr", &fd, &running);
	if (r < 0 && r != -ENOENT)
		return r;
	*running_out = r == 0 && running;
	if (t->fd >= 0) {
		int n = tail_chunk(c, event);
		if (n != 0)
			return n < 0 ? n : 1;
	}
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	/* the log that is kept after the end may be another file with the same bytes: the bytes that were told are not
	 * told again; a shorter one is a new attempt */
	bool other = t->fd < 0 || st.st_dev != t->dev || st.st_ino != t->ino;
	int64_t written = (int64_t)st.st_mtim.tv_sec * MEMO_NS_PER_S + st.st_mtim.tv_nsec;
	if (!other || (!running && written < c->begun_wall_ns - CLOCK_GRAIN_NS))
		return 0;
	off_t from = t->fd >= 0 && !running && st.st_size >= t->offset ? t->offset : 0;
	bool any = t->any;
	memo_service_tail_clear(t);
	*t = (struct memo_tail){
		.fd = memo_fd_steal(&fd), .dev = st.st_dev, .ino = st.st_ino, .offset = from, .any = any
	};
	int n = tail_chunk(c, event);
	return n < 0 ? n : n > 0;
}
