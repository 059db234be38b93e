/* The registry: all definitions, parsed, in memory; a record for each in the manifest, and a receipt.
 *
 * Versions of a name are kept in the order of their registration ("sequence"): the last is `latest`. Two locks: `change`
 * is held through a registration with all its I/O, `mu` only around the memory, so that look-ups never wait for a disk. */
#include "object.h"
#include "receipt.h"

#include "base/json.h"
#include "base/scope.h"
#include "core/fingerprint.h"
#include "core/nearest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- memory -------------------------------------------------------------------------------------------- */

static void free_version(struct registry_version *v)
{
	if (v == NULL)
		return;
	memo_task_unref(v->task);
	json_decref(v->record);
	free(v);
}

static struct registry_name *name_locked(struct memo_store *s, const char *name)
	MEMO_TSA(requires_capability(s->registry.mu));
static struct registry_name *name_locked(struct memo_store *s, const char *name)
{
	struct memo_map_link *l = memo_map_get(&s->registry.names, name, strlen(name));
	return l == NULL ? NULL : MEMO_CONTAINER(l, struct registry_name, link);
}

struct registry_version *memo_registry_find_locked(struct memo_store *s, const char *name, const char *version)
{
	struct registry_name *n = name_locked(s, name);
	if (n == NULL)
		return NULL;
	if (version == NULL || strcmp(version, "latest") == 0)
		return n->version[n->count - 1];
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(n->version[i]->task->version, version) == 0)
			return n->version[i];
	}
	return NULL;
}

static void drop_name_locked(struct memo_store *s, struct registry_name *n)
	MEMO_TSA(requires_capability(s->registry.mu));
static void drop_name_locked(struct memo_store *s, struct registry_name *n)
{
	memo_map_remove(&s->registry.names, &n->link);
	for (size_t i = 0; i < n->count; i++)
		free_version(n->version[i]);
	free(n->version);
	free(n->name);
	free(n);
}

static struct registry_name *new_name_locked(struct memo_store *s, const char *name, uint64_t ino)
	MEMO_TSA(requires_capability(s->registry.mu));
static struct registry_name *new_name_locked(struct memo_store *s, const char *name, uint64_t ino)
{
	struct registry_name *n = calloc(1, sizeof *n);
	if (n == NULL)
		return NULL;
	n->ino = ino;
	n->name = strdup(name);
	if (n->name == NULL || memo_map_put(&s->registry.names, &n->link, n->name, strlen(n->name)) < 0) {
		free(n->name);
		free(n);
		return NULL;
	}
	return n;
}

/* Takes @v (also on failure), instead of one of the same version, and keeps the order of sequences. */
static int install_locked(struct memo_store *s, struct registry_version *v, uint64_t name_ino)
	MEMO_TSA(requires_capability(s->registry.mu));
static int install_locked(struct memo_store *s, struct registry_version *v, uint64_t name_ino)
{
	struct registry_name *n = name_locked(s, v->task->name);
	bool fresh = n == NULL;
	if (fresh)
		n = new_name_locked(s, v->task->name, name_ino);
	struct registry_version **grown = n == NULL ? NULL
						    : realloc(n->version, (n->count + 1) * sizeof(*n->version));
	if (grown == NULL) {
		if (fresh && n != NULL)
			drop_name_locked(s, n);
		free_version(v);
		return -ENOMEM;
	}
	n->version = grown;
	size_t kept = 0;
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(grown[i]->task->version, v->task->version) == 0)
			free_version(grown[i]);
		else
			grown[kept++] = grown[i];
	}
	size_t at = kept;
	while (at > 0 && grown[at - 1]->sequence > v->sequence) {
		grown[at] = grown[at - 1];
		at--;
	}
	grown[at] = v;
	n->count = kept + 1;
	return 0;
}

void memo_registry_clear(struct memo_store *s)
{
	memo_mutex_lock(&s->registry.mu);
	for (;;) {
		struct memo_map_link *l = memo_map_next(&s->registry.names, NULL);
		if (l == NULL)
			break;
		drop_name_locked(s, MEMO_CONTAINER(l, struct registry_name, link));
	}
	memo_map_clear(&s->registry.names);
	memo_mutex_unlock(&s->registry.mu);
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static int load_code(struct memo_task *t, const json_t *list)
{
	if (json_array_size(list) != t->codes)
		return -EBADMSG;
	for (size_t i = 0; i < t->codes; i++) {
		const json_t *c = json_array_get(list, i);
		int64_t size = memo_json_int(c, "size", -1);
		if (strcmp(memo_json_string(c, "path", ""), t->code[i].path) != 0 || size < 0 ||
		    memo_id_parse(memo_json_string(c, "sha256", ""), &t->code[i].id) < 0)
			return -EBADMSG;
		t->code[i].size = (uint64_t)size;
		t->code[i].exec = memo_json_bool(c, "exec", false);
		/* A record without a method is older than the methods: bytes. */
		const char *method = memo_json_string(c, "method", MEMO_FINGERPRINT_METHOD);
		char hex[MEMO_HEX_SIZE];
		(void)memo_id_hex(&t->code[i].id, hex);
		if (strlen(method) >= sizeof t->code[i].method ||
		    memo_id_parse(memo_json_string(c, "digest", hex), &t->code[i].code) < 0)
			return -EBADMSG;
		(void)snprintf(t->code[i].method, sizeof t->code[i].method, "%s", method);
		t->code[i].number = (int)memo_json_int(c, "number", MEMO_FINGERPRINT_NUMBER);
	}
	return 0;
}

/* Takes a reference of @record. */
static int version_from_record(json_t *record, struct registry_version **out, struct memo_err *err)
{
	struct registry_version *v = calloc(1, sizeof *v);
	if (v == NULL)
		return memo_fail(err, -ENOMEM, "registry: out of memory");
	v->record = json_incref(record);
	v->registered_ns = memo_json_int(record, "registered", 0);
	v->sequence = (uint64_t)memo_json_int(record, "sequence", 0);
	const char *label = memo_json_string(record, "label", "registered task");
	struct memo_id fingerprint;
	int r = memo_task_from_json(json_object_get(record, "definition"), label, &v->task, err);
	if (r == 0)
		r = memo_id_parse(memo_json_string(json_object_get(record, "fingerprint"), "sha256", ""),
				  &fingerprint);
	if (r == 0)
		r = memo_task_complete(v->task, &fingerprint);
	if (r == 0)
		r = load_code(v->task, json_object_get(record, "code"));
	if (r == 0 && strcmp(v->task->version, memo_json_string(record, "version", "")) != 0)
		r = -EBADMSG;
	if (r < 0) {
		free_version(v);
		return err != NULL && err->code == r ? r : memo_fail(err, r, "registry: a record makes no sense");
	}
	v->task->ino = (uint64_t)memo_json_int(record, "ino", 0);
	*out = v;
	return 0;
}

static int take_record(void *arg, const void *key, size_t len, const void *value, size_t value_len)
{
	(void)key;
	(void)len;
	json_t *record;
	if (memo_json_parse(value, value_len, &record, NULL) < 0)
		record = json_null();
	return memo_json_push(arg, record);
}

static int load_one(struct memo_store *s, json_t *record, struct memo_buf *notice)
{
	struct registry_version *v;
	struct memo_err why = { 0 };
	int r = version_from_record(record, &v, &why);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		/* One definition that cannot be read must not hold up all others. */
		if (notice != NULL)
			(void)memo_buf_printf(notice,
					      "a registered task could not be loaded and must be added again: %s\n",
					      why.text);
		return 0;
	}
	if (v->sequence > s->registry.sequence)
		s->registry.sequence = v->sequence;
	memo_mutex_lock(&s->registry.mu);
	r = install_locked(s, v, (uint64_t)memo_json_int(record, "name_ino", 0));
	memo_mutex_unlock(&s->registry.mu);
	return r;
}

int memo_registry_load(struct memo_store *s, struct memo_buf *notice, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *rows = json_array();
	int r = rows == NULL ? -ENOMEM : 0;
	if (r == 0)
		r = memo_manifest_scan(s->manifest, MEMO_TASKS, NULL, 0, NULL, 0, take_record, rows, err);
	for (size_t i = 0; i < json_array_size(rows) && r == 0; i++)
		r = load_one(s, json_array_get(rows, i), notice);
	return r < 0 && (err == NULL || err->code != r) ? memo_fail(err, r, "store '%s': out of memory", s->dir)
							: r;
}

/* ---- registering: what the definition comes to ------------------------------------------------------------ */

struct registration {
	struct memo_store *store;
	struct memo_task *task; /* our copy, completed */
	const struct memo_code_file **file; /* in the order of task->code */
	struct memo_id *tool_id; /* digests of the tools */
	json_t *record; /* to be stored */
	uint64_t name_ino;
	enum memo_added added;
	bool latest; /* nothing to write: it is there and is the latest */
};

static int match_files(struct registration *x, const struct memo_code_file *files, size_t count,
		       struct memo_err *err)
{
	struct memo_task *t = x->task;
	size_t total = 0;
	for (size_t i = 0; i < t->codes; i++) {
		struct memo_code *c = &t->code[i];
		for (size_t k = 0; k < count && x->file[i] == NULL; k++) {
			if (strcmp(files[k].path, c->path) == 0)
				x->file[i] = &files[k];
		}
		const struct memo_code_file *f = x->file[i];
		if (f == NULL)
			return memo_fail(err, -EINVAL, "task '%s': the content of '%s' is missing", t->name,
					 c->path);
		total += f->len;
		if (total > MEMO_TASK_CODE_BYTES)
			return memo_fail(err, -EFBIG, "task '%s': its code has more than %zu bytes", t->name,
					 MEMO_TASK_CODE_BYTES);
		c->exec = f->exec;
		c->size = f->len;
		int r = memo_hash_bytes(f->data, f->len, &c->id);
		if (r < 0)
			return memo_fail(err, r, "task '%s': cannot hash '%s'", t->name, c->path);
	}
	return 0;
}

/* What of the files counts: they are looked at together. */
static int fingerprint_files(struct registration *x, struct memo_err *err)
{
	struct memo_task *t = x->task;
	MEMO_AUTO_FREE struct memo_fingerprint_text *text = calloc(t->codes + 1, sizeof *text);
	MEMO_AUTO_FREE struct memo_fingerprint *p = calloc(t->codes + 1, sizeof *p);
	if (text == NULL || p == NULL)
		return memo_fail(err, -ENOMEM, "task '%s': out of memory", t->name);
	for (size_t i = 0; i < t->codes; i++)
		text[i] = (struct memo_fingerprint_text){ t->code[i].path, x->file[i]->data, x->file[i]->len };
	int r = memo_fingerprint_files(t, text, t->codes, p, err);
	if (r < 0)
		return memo_fail_prefix(err, r, "task '%s'", t->name);
	for (size_t i = 0; i < t->codes; i++) {
		t->code[i].code = p[i].id;
		t->code[i].number = p[i].number;
		(void)snprintf(t->code[i].method, sizeof t->code[i].method, "%s", p[i].method);
	}
	return 0;
}

/* The program that the setting `path` leads to. */
static int find_tool(const char *tool, const char *path, char *out, size_t size)
{
	if (strchr(tool, '/') != NULL) {
		(void)snprintf(out, size, "%s", tool);
		return tool[0] == '/' && access(tool, X_OK) == 0 ? 0 : -ENOENT;
	}
	for (const char *p = path; *p != '\0';) {
		size_t len = strcspn(p, ":");
		int n = snprintf(out, size, "%.*s/%s", (int)len, p, tool);
		struct stat st;
		if (len > 0 && n > 0 && (size_t)n < size && stat(out, &st) == 0 && S_ISREG(st.st_mode) &&
		    access(out, X_OK) == 0)
			return 0;
		p += len + (p[len] == ':');
	}
	return -ENOENT;
}

static int hash_tools(struct registration *x, struct memo_id *tool_id, struct memo_err *err)
{
	MEMO_AUTO_FREE char *path = NULL;
	int r = memo_store_config_get(x->store, "path", &path, err);
	for (size_t i = 0; i < x->task->tools && r == 0; i++) {
		char where[PATH_MAX];
		if (find_tool(x->task->tool[i], path, where, sizeof where) < 0)
			return memo_fail(
				err, -ENOENT,
				"task '%s': tool '%s' is not found in %s; install it or change the setting 'path'",
				x->task->name, x->task->tool[i], path);
		struct memo_digest d;
		r = memo_store_digest(x->store, where, false, NULL, &d, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "task '%s': tool '%s'", x->task->name, x->task->tool[i]);
		tool_id[i] = d.id;
	}
	return r;
}

static int complete(struct registration *x, const struct memo_code_file *files, size_t count, struct memo_err *err)
{
	struct memo_task *t = x->task;
	x->file = calloc(t->codes + 1, sizeof(*x->file));
	x->tool_id = calloc(t->tools + 1, sizeof *x->tool_id);
	if (x->file == NULL || x->tool_id == NULL)
		return memo_fail(err, -ENOMEM, "task '%s': out of memory", t->name);
	int r = match_files(x, files, count, err);
	if (r == 0)
		r = fingerprint_files(x, err);
	if (r == 0)
		r = hash_tools(x, x->tool_id, err);
	struct memo_id fingerprint;
	if (r == 0)
		r = memo_fingerprint_task(t, false, x->tool_id, &fingerprint, err);
	if (r < 0)
		return r;
	r = memo_task_complete(t, &fingerprint);
	return r < 0 ? memo_fail(err, r, "task '%s': out of memory", t->name) : 0;
}

static void clear_registration(struct registration *x)
{
	memo_task_unref(x->task);
	json_decref(x->record);
	free(x->file);
	free(x->tool_id);
}

static bool same_code(const struct memo_task *a, const struct memo_task *b)
{
	if (a->codes != b->codes)
		return false;
	for (size_t i = 0; i < a->codes; i++) {
		if (strcmp(a->code[i].path, b->code[i].path) != 0 || a->code[i].exec != b->code[i].exec ||
		    !memo_id_equal(&a->code[i].id, &b->code[i].id))
			return false;
	}
	return true;
}

static json_t *code_json(const struct registration *x)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < x->task->codes && list != NULL; i++) {
		const struct memo_code *c = &x->task->code[i];
		char hex[MEMO_HEX_SIZE];
		char digest[MEMO_HEX_SIZE];
		json_t *row = json_pack("{s:s, s:b, s:I, s:s, s:s, s:s, s:i}", "path", c->path, "exec",
					c->exec ? 1 : 0, "size", (json_int_t)c->size, "sha256",
					memo_id_hex(&c->id, hex), "digest", memo_id_hex(&c->code, digest), "method",
					c->method, "number", c->number);
		if (memo_json_push(list, row) < 0)
			return NULL;
	}
	return memo_json_steal(&list);
}

static json_t *tools_json(const struct registration *x)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < x->task->tools && list != NULL; i++) {
		char hex[MEMO_HEX_SIZE];
		if (memo_json_push(list, json_pack("{s:s, s:s}", "name", x->task->tool[i], "sha256",
						   memo_id_hex(&x->tool_id[i], hex))) < 0)
			return NULL;
	}
	return memo_json_steal(&list);
}

/* ---- registering: the change ----------------------------------------------------------------------------- */

/* Against what is there. Sets added, latest, and a first record with what stays of an old one. */
static int compare_locked(struct memo_store *s, struct registration *x, struct memo_buf *warning,
			  struct memo_err *err) MEMO_TSA(requires_capability(s->registry.mu));
static int compare_locked(struct memo_store *s, struct registration *x, struct memo_buf *warning,
			  struct memo_err *err)
{
	int r = memo_registry_check_locked(s, x->task, warning, err);
	if (r < 0)
		return r;
	struct registry_name *n = name_locked(s, x->task->name);
	struct registry_version *old = memo_registry_find_locked(s, x->task->name, x->task->version);
	x->name_ino = n == NULL ? 0 : n->ino;
	x->added = old == NULL ? MEMO_ADDED : MEMO_UPDATED;
	if (old == NULL)
		return 0;
	x->task->ino = old->task->ino;
	if (json_equal(old->task->definition, x->task->definition) && same_code(old->task, x->task)) {
		x->added = MEMO_UNCHANGED;
		x->latest = n->version[n->count - 1] == old;
		x->record = json_copy(old->record);
		if (x->record == NULL)
			return memo_fail(err, -ENOMEM, "task '%s': out of memory", x->task->name);
	}
	return 0;
}

static int make_record(struct registration *x)
{
	const struct memo_task *t = x->task;
	char hex[MEMO_HEX_SIZE];
	if (x->record == NULL) {
		json_t *how = NULL;
		if (memo_fingerprint_describe(t, &how) < 0)
			return -ENOMEM;
		x->record = json_pack("{s:O, s:s, s:s, s:b, s:o, s:I}", "definition", t->definition, "label",
				      t->name, "version", t->version, "declared", t->declared ? 1 : 0,
				      "fingerprint", how, "registered", (json_int_t)memo_wall_ns());
		if (x->record == NULL ||
		    memo_json_set(how, "sha256", json_string(memo_id_hex(&t->fingerprint, hex))) < 0 ||
		    memo_json_set(x->record, "code", code_json(x)) < 0)
			return -ENOMEM;
	}
	if (memo_json_set(x->record, "ino", json_integer((json_int_t)t->ino)) < 0 ||
	    memo_json_set(x->record, "name_ino", json_integer((json_int_t)x->name_ino)) < 0 ||
	    memo_json_set(x->record, "sequence", json_integer((json_int_t)x->store->registry.sequence + 1)) < 0)
		return -ENOMEM;
	return 0;
}

static int put_latest(struct memo_batch *b, const char *name, const char *version, uint64_t ino)
{
	MEMO_AUTO_JSON json_t *row = json_pack("{s:s, s:I}", "version", version, "ino", (json_int_t)ino);
	memo_batch_put_json(b, MEMO_LATEST, name, strlen(name), row);
	return memo_buf_error(&b->ops);
}

/* Code first, then the receipt, then the record: the batch is what makes it registered. */
static int store_record(struct registration *x, struct memo_err *err)
{
	struct memo_store *s = x->store;
	struct memo_task *t = x->task;
	for (size_t i = 0; i < t->codes; i++) {
		struct memo_id id;
		int r = memo_object_put(s, x->file[i]->data, x->file[i]->len, t->code[i].exec, &id, err);
		if (r < 0)
			return memo_fail_prefix(err, r, "task '%s': '%s'", t->name, t->code[i].path);
	}
	if (x->latest)
		return 0;
	int r = 0;
	if (x->name_ino == 0)
		r = memo_store_ino(s, MEMO_NAME_INOS, &x->name_ino);
	if (r == 0 && t->ino == 0)
		r = memo_store_ino(s, MEMO_VERSION_INOS, &t->ino);
	if (r == 0)
		r = make_record(x);
	MEMO_AUTO_BATCH struct memo_batch b = { 0 };
	MEMO_AUTO_BUF struct memo_buf k = { 0 };
	if (r == 0)
		r = memo_key(&k, t->name, t->version, NULL);
	if (r == 0)
		r = put_latest(&b, t->name, t->version, x->name_ino);
	if (r == 0 && !t->declared) {
		MEMO_AUTO_JSON json_t *code = code_json(x);
		MEMO_AUTO_JSON json_t *tools = tools_json(x);
		r = memo_code_row(&b, t, code, tools);
	}
	if (r < 0)
		return memo_fail(err, r, "task '%s': cannot be recorded: %s", t->name, memo_strerror(r));
	memo_batch_put_json(&b, MEMO_TASKS, k.data, k.len, x->record);
	r = memo_receipt_task_write(s, t->name, t->version, x->record, err);
	return r < 0 ? r : memo_manifest_write(s->manifest, &b, true, err);
}

static int install(struct registration *x, struct memo_err *err)
{
	struct memo_store *s = x->store;
	struct registry_version *v = NULL;
	int r = version_from_record(x->record, &v, err);
	if (r < 0)
		return r;
	s->registry.sequence = v->sequence;
	memo_mutex_lock(&s->registry.mu);
	r = install_locked(s, v, x->name_ino);
	memo_mutex_unlock(&s->registry.mu);
	return r < 0 ? memo_fail(err, r, "task '%s': out of memory", x->task->name) : 0;
}

static int change(struct registration *x, bool dry, struct memo_buf *warning, struct memo_err *err)
{
	struct memo_store *s = x->store;
	memo_mutex_lock(&s->registry.mu);
	int r = compare_locked(s, x, warning, err);
	memo_mutex_unlock(&s->registry.mu);
	if (r < 0 || dry)
		return r;
	r = store_record(x, err);
	return r < 0 || x->latest ? r : install(x, err);
}

int memo_store_register(struct memo_store *s, const struct memo_task *t, const struct memo_code_file *files,
			size_t count, bool dry, enum memo_added *added_out, struct memo_task **task_out,
			struct memo_buf *warning, struct memo_err *err)
{
	struct registration x = { .store = s };
	int r = memo_task_from_json(t->definition, t->name, &x.task, err);
	if (r == 0)
		r = complete(&x, files, count, err);
	if (r == 0) {
		memo_mutex_lock(&s->registry.change);
		r = change(&x, dry, warning, err);
		memo_mutex_unlock(&s->registry.change);
	}
	struct memo_task *task = NULL;
	if (r == 0 && task_out != NULL) {
		if (dry)
			task = memo_task_ref(x.task);
		else
			r = memo_store_task(s, x.task->name, x.task->version, &task, err);
	}
	if (r == 0) {
		*added_out = x.added;
		if (task_out != NULL)
			*task_out = task;
	}
	clear_registration(&x);
	return r;
}

/* ---- look-ups -------------------------------------------------------------------------------------------- */

static int fail_unknown_locked(struct memo_store *s, const char *name, const char *version, struct memo_err *err)
	MEMO_TSA(requires_capability(s->registry.mu));
static int fail_unknown_locked(struct memo_store *s, const char *name, const char *version, struct memo_err *err)
{
	const struct registry_name *known = name_locked(s, name);
	struct memo_nearest n = { .word = known != NULL ? version : name };
	for (size_t i = 0; known != NULL && i < known->count; i++)
		memo_nearest_offer(&n, known->version[i]->task->version);
	for (struct memo_map_link *l = NULL; known == NULL && (l = memo_map_next(&s->registry.names, l)) != NULL;)
		memo_nearest_offer(&n, MEMO_CONTAINER(l, struct registry_name, link)->name);
	if (known != NULL)
		return memo_fail(err, -ENOENT, "task '%s' has no version '%.80s'; %s '%s'", name, version,
				 n.best != NULL ? "did you mean" : "the latest is",
				 n.best != NULL ? n.best : known->version[known->count - 1]->task->version);
	if (n.best != NULL)
		return memo_fail(err, -ENOENT, "task '%.80s' is not registered; did you mean '%s'?", name, n.best);
	return memo_fail(err, -ENOENT, "task '%.80s' is not registered; add it with 'memofs add'", name);
}

int memo_store_task(struct memo_store *s, const char *name, const char *version, struct memo_task **out,
		    struct memo_err *err)
{
	memo_mutex_lock(&s->registry.mu);
	struct registry_version *v = memo_registry_find_locked(s, name, version);
	int r = 0;
	if (v != NULL)
		*out = memo_task_ref(v->task);
	else
		r = fail_unknown_locked(s, name, version, err);
	memo_mutex_unlock(&s->registry.mu);
	return r;
}

int memo_store_latest(struct memo_store *s, const char *name, char *version_out)
{
	memo_mutex_lock(&s->registry.mu);
	struct registry_version *v = memo_registry_find_locked(s, name, NULL);
	if (v != NULL)
		(void)snprintf(version_out, MEMO_NAME_MAX + 1, "%s", v->task->version);
	memo_mutex_unlock(&s->registry.mu);
	return v != NULL ? 0 : -ENOENT;
}

int memo_store_name_ino(struct memo_store *s, const char *name, uint64_t *ino_out)
{
	memo_mutex_lock(&s->registry.mu);
	const struct registry_name *n = name_locked(s, name);
	if (n != NULL)
		*ino_out = n->ino;
	memo_mutex_unlock(&s->registry.mu);
	return n != NULL ? 0 : -ENOENT;
}

int64_t memo_store_registered_ns(struct memo_store *s, const struct memo_task *t)
{
	memo_mutex_lock(&s->registry.mu);
	struct registry_version *v = memo_registry_find_locked(s, t->name, t->version);
	int64_t ns = v == NULL ? 0 : v->registered_ns;
	memo_mutex_unlock(&s->registry.mu);
	return ns;
}
