/* The registry as a list, and removal from it. */
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

static int by_name(const void *a, const void *b)
{
	const struct registry_name *const *x = a;
	const struct registry_name *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

static int list_locked(struct memo_store *s, struct memo_task ***out, size_t *count_out)
	MEMO_TSA(requires_capability(s->registry.mu));
static int list_locked(struct memo_store *s, struct memo_task ***out, size_t *count_out)
{
	size_t names = 0;
	size_t total = 0;
	MEMO_AUTO_FREE struct registry_name **name = calloc(s->registry.names.count + 1, sizeof(*name));
	if (name == NULL)
		return -ENOMEM;
	for (struct memo_map_link *l = memo_map_next(&s->registry.names, NULL); l != NULL;
	     l = memo_map_next(&s->registry.names, l)) {
		name[names] = MEMO_CONTAINER(l, struct registry_name, link);
		total += name[names++]->count;
	}
	struct memo_task **list = calloc(total + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	qsort(name, names, sizeof(*name), by_name);
	size_t n = 0;
	for (size_t i = 0; i < names; i++) {
		for (size_t k = 0; k < name[i]->count; k++)
			list[n++] = memo_task_ref(name[i]->version[k]->task);
	}
	*out = list;
	*count_out = total;
	return 0;
}

int memo_store_tasks(struct memo_store *s, struct memo_task ***out, size_t *count_out)
{
	memo_mutex_lock(&s->registry.mu);
	int r = list_locked(s, out, count_out);
	memo_mutex_unlock(&s->registry.mu);
	return r;
}

void memo_store_tasks_free(struct memo_task **tasks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		memo_task_unref(tasks[i]);
	free(tasks);
}

/* ---- removal ------------------------------------------------------------------------------------------------ */

static bool chosen(const struct memo_task *t, const char *version)
{
	return version == NULL || strcmp(t->version, version) == 0;
}

/* The batch, and in @gone the versions that it removes (references). */
static int plan_locked(struct memo_store *s, const char *name, const char *version, struct memo_batch *b,
		       struct memo_task **gone, size_t *count) MEMO_TSA(requires_capability(s->registry.mu));
static int plan_locked(struct memo_store *s, const char *name, const char *version, struct memo_batch *b,
		       struct memo_task **gone, size_t *count)
{
	struct memo_map_link *l = memo_map_get(&s->registry.names, name, strlen(name));
	const struct registry_name *n = MEMO_CONTAINER(l, struct registry_name, link);
	const struct memo_task *latest = NULL;
	for (size_t i = 0; i < n->count; i++) {
		struct memo_task *t = n->version[i]->task;
		if (!chosen(t, version)) {
			latest = t;
			continue;
		}
		MEMO_AUTO_BUF struct memo_buf k = { 0 };
		int r = memo_key(&k, t->name, t->version, NULL);
		if (r < 0)
			return r;
		memo_batch_delete(b, MEMO_TASKS, k.data, k.len);
		gone[(*count)++] = memo_task_ref(t);
	}
	if (latest == NULL) {
		memo_batch_delete(b, MEMO_LATEST, name, strlen(name));
	} else {
		MEMO_AUTO_JSON json_t *row =
			json_pack("{s:s, s:I}", "version", latest->version, "ino", (json_int_t)n->ino);
		memo_batch_put_json(b, MEMO_LATEST, name, strlen(name), row);
	}
	return memo_buf_error(&b->ops);
}

static void forget_locked(struct memo_store *s, const char *name, const char *version)
	MEMO_TSA(requires_capability(s->registry.mu));
static void forget_locked(struct memo_store *s, const char *name, const char *version)
{
	struct memo_map_link *l = memo_map_get(&s->registry.names, name, strlen(name));
	struct registry_name *n = MEMO_CONTAINER(l, struct registry_name, link);
	size_t kept = 0;
	for (size_t i = 0; i < n->count; i++) {
		struct registry_version *v = n->version[i];
		if (!chosen(v->task, version)) {
			n->version[kept++] = v;
			continue;
		}
		memo_task_unref(v->task);
		json_decref(v->record);
		free(v);
	}
	n->count = kept;
	if (kept > 0)
		return;
	memo_map_remove(&s->registry.names, &n->link);
	free(n->version);
	free(n->name);
	free(n);
}

/* The batch removes; receipts go afterwards: one that is left over is read only when the manifest was lost. */
static int carry_out(struct memo_store *s, const char *name, const char *version, struct memo_task **gone,
		     size_t *count, struct memo_err *err)
{
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	memo_mutex_lock(&s->registry.mu);
	int r = plan_locked(s, name, version, &b, gone, count);
	memo_mutex_unlock(&s->registry.mu);
	if (r < 0)
		return memo_fail(err, r, "task '%s': out of memory", name);
	r = memo_manifest_write(s->manifest, &b, true, err);
	if (r < 0)
		return r;
	memo_mutex_lock(&s->registry.mu);
	forget_locked(s, name, version);
	memo_mutex_unlock(&s->registry.mu);
	for (size_t i = 0; i < *count && r == 0; i++)
		r = memo_receipt_task_remove(s, name, gone[i]->version);
	return r < 0 ? memo_fail(err, r, "task '%s': its receipt cannot be removed: %s", name, memo_strerror(r))
		     : 0;
}

static int unregister(struct memo_store *s, const char *name, const char *version, struct memo_err *err)
{
	/* Finds "latest", checks that there is something, and says what is wrong. */
	struct memo_task *t;
	int r = memo_store_task(s, name, version, &t, err);
	if (r < 0)
		return r;
	struct memo_task **all;
	size_t most;
	r = memo_store_tasks(s, &all, &most);
	struct memo_task **gone = r < 0 ? NULL : calloc(most + 1, sizeof(*gone));
	size_t count = 0;
	if (r == 0)
		memo_store_tasks_free(all, most);
	r = gone == NULL ? memo_fail(err, -ENOMEM, "task '%s': out of memory", name)
			 : carry_out(s, name, version == NULL ? NULL : t->version, gone, &count, err);
	if (gone != NULL)
		memo_store_tasks_free(gone, count);
	memo_task_unref(t);
	return r;
}

int memo_store_unregister(struct memo_store *s, const char *name, const char *version, struct memo_err *err)
{
	memo_mutex_lock(&s->registry.change);
	int r = unregister(s, name, version, err);
	memo_mutex_unlock(&s->registry.change);
	return r;
}
