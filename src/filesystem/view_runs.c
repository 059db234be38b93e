/* View, runs: a directory for each run, with its state and a link into /info for each instance, by what became of it. Read from
 * the runner a piece at a time; never starts or waits for work.
 *
 * A link is named task@version@component (no task or version has an '@'), cut and ended by a hash of the path where that is
 * longer than a name may be; so the row is found again without a list. */
#include "private.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/scope.h"
#include "runner/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 512 /* read at a time */
#define SAME_CUT 4096 /* rows looked at for a name that was cut */
#define CUT_HEX 12
#define TEXT_BYTES ((size_t)256 << 20) /* of instances.jsonl */
#define NO_CHANGES (UINT64_MAX - 1)

static const char *const text_name[] = { "status.json", "instances.jsonl" };
static const char *const folder_name[] = { "success", "failed", "cancelled", "pending" };
#define TEXTS (sizeof text_name / sizeof text_name[0])
#define FOLDERS (sizeof folder_name / sizeof folder_name[0])

/* The folder of an outcome; what is not over yet, or never began, is pending. */
static unsigned folder_of(const json_t *row)
{
	const char *outcome = memo_json_string(row, "outcome", "");
	if (strcmp(outcome, "reused") == 0 || strcmp(outcome, "executed") == 0)
		return 0;
	return strcmp(outcome, "failed") == 0 ? 1 : strcmp(outcome, "cancelled") == 0 ? 2 : 3;
}

/* ---- names of links ------------------------------------------------------------------------------------ */

static int link_name(const json_t *row, char *name, size_t size)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	(void)memo_buf_printf(&b, "%s@%s@%s", memo_json_string(row, "task", "?"),
			      memo_json_string(row, "version", "?"), memo_json_string(row, "name", "?"));
	int r = memo_buf_error(&b);
	if (r < 0)
		return r;
	if (b.len < size) {
		memcpy(name, b.data, b.len + 1);
		return 0;
	}
	const char *path = memo_json_string(row, "path", "?");
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	r = memo_hash_bytes(path, strlen(path), &id);
	size_t keep = size - 1 - 1 - CUT_HEX;
	while (keep > 0 && ((unsigned char)b.data[keep] & 0xc0) == 0x80)
		keep--;
	(void)snprintf(name, size, "%.*s~%.*s", (int)keep, b.data, CUT_HEX, memo_id_hex(&id, hex));
	return r;
}

/* "task@version@component", perhaps cut -> "/tasks/task/version/component". *@cut: it may be. */
static int path_of(const char *name, struct memo_buf *path, bool *cut)
{
	size_t len = strlen(name);
	const char *version = strchr(name, '@');
	const char *component = version == NULL ? NULL : strchr(version + 1, '@');
	if (component == NULL)
		return -ENOENT;
	/* a character of up to four bytes may have been left out */
	*cut = len + 4 > MEMO_COMPONENT_MAX && len > CUT_HEX + 1 && name[len - CUT_HEX - 1] == '~';
	return memo_buf_printf(path, "/tasks/%.*s/%.*s/%s", (int)(version - name), name,
			       (int)(component - version - 1), version + 1, component + 1);
}

/* The greatest text that sorts before @path: no path has a byte 255. */
static int just_before(const struct memo_buf *path, struct memo_buf *out)
{
	memo_buf_reset(out);
	(void)memo_buf_append(out, path->data, path->len);
	(void)memo_buf_puts(out, "\377");
	if (memo_buf_error(out) < 0)
		return -ENOMEM;
	out->data[out->len - 2]--;
	return 0;
}

static const json_t *named(const json_t *rows, const char *name)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		char have[MEMO_COMPONENT_MAX + 1];
		const json_t *row = json_array_get(rows, i);
		if (link_name(row, have, sizeof have) == 0 && strcmp(have, name) == 0)
			return row;
	}
	return NULL;
}

/* The row is the first from its path on; of a name that was cut it is among those that begin as it does. */
static int find_row(struct memo_fs *fs, const char *id, const char *name, json_t **out)
{
	MEMO_AUTO_BUF struct memo_buf path = { 0 };
	MEMO_AUTO_BUF struct memo_buf after = { 0 };
	bool cut;
	int r = path_of(name, &path, &cut);
	if (r == 0 && cut)
		path.len -= CUT_HEX + 1;
	if (r == 0)
		r = just_before(&path, &after);
	for (size_t seen = 0; r == 0 && seen < SAME_CUT; seen += ROWS) {
		MEMO_AUTO_JSON json_t *rows = NULL;
		r = memo_run_rows(fs->runner, id, after.data, cut ? ROWS : 1, &rows, NULL);
		const json_t *row = r < 0 ? NULL : named(rows, name);
		if (row != NULL) {
			*out = json_incref((json_t *)(uintptr_t)row);
			return 0;
		}
		size_t count = json_array_size(rows);
		const char *last = memo_json_string(json_array_get(rows, count - 1), "path", "");
		if (r == 0 && (!cut || count < ROWS || strncmp(last, path.data, path.len) != 0))
			return -ENOENT;
		memo_buf_reset(&after);
		r = r < 0 ? r : memo_buf_puts(&after, last);
	}
	return r < 0 ? r : -ENOENT;
}

/* ---- look-ups -------------------------------------------------------------------------------------------- */

static void show(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s, const char *folder, const char *name,
		 double seconds)
{
	char key[MEMO_KEY_BYTES];
	int r = memo_view_key(key, sizeof key, MEMO_VIEW_RUNS, s->task, folder, name, NULL);
	s->view = MEMO_VIEW_RUNS;
	s->key = key;
	s->epoch = 0;
	if (r < 0)
		memo_reply_error(req, r);
	else
		memo_view_entry(fs, req, s, seconds);
}

static void lookup_run(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	MEMO_AUTO_JSON json_t *run = NULL;
	struct memo_node_spec s = { .kind = MEMO_NODE_RUN, .type = S_IFDIR, .task = name, .parent = dir->ino };
	int r = strlen(name) < MEMO_RUN_ID ? memo_store_run_get(fs->store, name, &run, NULL) : -ENOENT;
	if (r < 0)
		memo_reply_error(req, r);
	else
		show(fs, req, &s, NULL, NULL, MEMO_FOREVER);
}

static void lookup_inside(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	struct memo_node_spec s = { .task = dir->task, .parent = dir->ino };
	for (unsigned i = 0; i < TEXTS; i++) {
		if (strcmp(name, text_name[i]) != 0)
			continue;
		s.kind = MEMO_NODE_RUN_TEXT;
		s.type = S_IFREG;
		s.index = i;
		show(fs, req, &s, name, NULL, MEMO_FOREVER);
		return;
	}
	for (unsigned i = 0; i < FOLDERS; i++) {
		if (strcmp(name, folder_name[i]) != 0)
			continue;
		s.kind = MEMO_NODE_OUTCOME;
		s.type = S_IFDIR;
		s.index = i;
		show(fs, req, &s, name, NULL, MEMO_FOREVER);
		return;
	}
	memo_reply_error(req, -ENOENT);
}

/* From /runs/<id>/<folder> up to /info. */
static void lookup_link(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	MEMO_AUTO_JSON json_t *row = NULL;
	MEMO_AUTO_BUF struct memo_buf target = { 0 };
	int r = find_row(fs, dir->task, name, &row);
	if (r == 0 && folder_of(row) != dir->index)
		r = -ENOENT;
	if (r == 0)
		r = memo_buf_printf(&target, "../../../info/%s/%s/%s", memo_json_string(row, "task", "?"),
				    memo_json_string(row, "version", "?"), memo_json_string(row, "name", "?"));
	struct memo_node_spec s = { .kind = MEMO_NODE_LINK,
				    .type = S_IFLNK,
				    .task = dir->task,
				    .target = memo_buf_str(&target),
				    .parent = dir->ino };
	if (r < 0)
		memo_reply_error(req, r);
	else
		show(fs, req, &s, folder_name[dir->index], name, 0); /* it moves on */
}

void memo_view_runs_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	if (dir->kind == MEMO_NODE_VIEW)
		lookup_run(fs, req, dir, name);
	else if (dir->kind == MEMO_NODE_RUN)
		lookup_inside(fs, req, dir, name);
	else
		lookup_link(fs, req, dir, name);
}

/* ---- listings ---------------------------------------------------------------------------------------------- */

int memo_view_runs_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d)
{
	int r = 0;
	if (n->kind == MEMO_NODE_RUN) {
		for (size_t i = 0; i < TEXTS && r == 0; i++)
			r = memo_dir_add(d, text_name[i], n->ino, S_IFREG);
		for (size_t i = 0; i < FOLDERS && r == 0; i++)
			r = memo_dir_add(d, folder_name[i], n->ino, S_IFDIR);
		return r;
	}
	MEMO_AUTO_JSON json_t *ids = NULL;
	r = memo_store_run_ids(fs->store, &ids, NULL);
	/* The id of an entry is given by its LOOKUP; a listing needs any number but 0. */
	for (size_t i = 0; i < json_array_size(ids) && r == 0; i++)
		r = memo_dir_add(d, json_string_value(json_array_get(ids, i)), n->ino, S_IFDIR);
	return r;
}

struct memo_runs_walk {
	char id[MEMO_RUN_ID];
	unsigned folder;
	uint64_t ino;
	json_t *rows; /* NULL: to be read */
	size_t at;
	char *after; /* NULL: from the first */
	bool end;
};

struct memo_runs_walk *memo_view_runs_walk(const struct memo_node *n)
{
	struct memo_runs_walk *w = calloc(1, sizeof *w);
	if (w == NULL)
		return NULL;
	(void)snprintf(w->id, sizeof w->id, "%s", n->task);
	w->folder = n->index;
	w->ino = n->ino;
	return w;
}

void memo_view_runs_rewind(struct memo_runs_walk *w)
{
	if (w == NULL)
		return;
	json_decref(w->rows);
	free(w->after);
	w->rows = NULL;
	w->after = NULL;
	w->at = 0;
	w->end = false;
}

void memo_view_runs_free(struct memo_runs_walk *w)
{
	memo_view_runs_rewind(w);
	free(w);
}

static int read_rows(struct memo_fs *fs, struct memo_runs_walk *w)
{
	if (w->end)
		return -ENOENT;
	json_decref(w->rows);
	w->rows = NULL;
	w->at = 0;
	int r = memo_run_rows(fs->runner, w->id, w->after, ROWS, &w->rows, NULL);
	size_t count = json_array_size(w->rows);
	if (r < 0 || count == 0)
		return r < 0 ? r : -ENOENT;
	w->end = count < ROWS;
	free(w->after);
	w->after = strdup(memo_json_string(json_array_get(w->rows, count - 1), "path", ""));
	return w->after == NULL ? -ENOMEM : 0;
}

static const json_t *next_row(struct memo_fs *fs, struct memo_runs_walk *w, int *code_out)
{
	if (w->at >= json_array_size(w->rows)) {
		*code_out = read_rows(fs, w);
		if (*code_out < 0)
			return NULL;
	}
	return json_array_get(w->rows, w->at++);
}

int memo_view_runs_next(struct memo_fs *fs, struct memo_runs_walk *w, struct memo_dirent *e)
{
	int r = 0;
	const json_t *row;
	while ((row = next_row(fs, w, &r)) != NULL) {
		if (folder_of(row) != w->folder || link_name(row, e->name, sizeof e->name) < 0)
			continue;
		e->ino = w->ino;
		e->type = S_IFLNK;
		return 0;
	}
	return r;
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

static int status_text(struct memo_fs *fs, const char *id, struct memo_buf *b)
{
	MEMO_AUTO_JSON json_t *status = NULL;
	int r = memo_run_status(fs->runner, id, NO_CHANGES, &status, NULL);
	if (r < 0)
		return r;
	(void)json_object_del(status, "changes"); /* for those who follow */
	(void)json_object_del(status, "next");
	r = memo_json_append(status, b);
	return r < 0 ? r : memo_buf_putc(b, '\n');
}

static int instances_text(struct memo_fs *fs, const struct memo_node *n, struct memo_buf *b)
{
	struct memo_runs_walk *w = memo_view_runs_walk(n);
	int r = w == NULL ? -ENOMEM : 0;
	const json_t *row;
	while (r == 0 && (row = next_row(fs, w, &r)) != NULL) {
		r = memo_json_append(row, b);
		if (r == 0)
			r = memo_buf_putc(b, '\n');
		if (r == 0 && b->len > TEXT_BYTES)
			r = -EFBIG;
	}
	memo_view_runs_free(w);
	return r == -ENOENT ? 0 : r;
}

int memo_view_runs_text(struct memo_fs *fs, const struct memo_node *n, struct memo_buf *b)
{
	return n->index == 0 ? status_text(fs, n->task, b) : instances_text(fs, n, b);
}
