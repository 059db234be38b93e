/* Text: files whose bytes are made when they are looked at: /README, /start, /info, /runs. What a GETATTR told the size of is what
 * the same thread's next OPEN gives; a log of /info grows and is read live. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct memo_blob *memo_blob_new(const void *data, size_t len)
{
	struct memo_blob *b = malloc(sizeof *b + len + 1);
	if (b == NULL)
		return NULL;
	atomic_init(&b->refs, 1);
	b->len = len;
	if (len > 0)
		memcpy(b->data, data, len);
	b->data[len] = '\0';
	return b;
}

struct memo_blob *memo_blob_ref(struct memo_blob *b)
{
	if (b != NULL)
		(void)atomic_fetch_add(&b->refs, 1);
	return b;
}

void memo_blob_unref(struct memo_blob *b)
{
	if (b != NULL && atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}

bool memo_text_is(const struct memo_node *n)
{
	return n->kind == MEMO_NODE_README || n->kind == MEMO_NODE_START || n->kind == MEMO_NODE_TEXT ||
	       n->kind == MEMO_NODE_RUN_TEXT;
}

bool memo_text_is_log(const struct memo_node *n)
{
	if (n->kind != MEMO_NODE_TEXT)
		return false;
	const char *what = memo_info_names[n->index];
	return strcmp(what, "stderr") == 0 || strcmp(what, "stdout") == 0;
}

static int make_start(struct memo_fs *fs, const struct memo_origin *o, const struct fuse_ctx *who,
		      struct memo_buf *b)
{
	struct memo_who *rights = NULL;
	int r = memo_who_thread(who->uid, who->gid, who->pid, &rights);
	struct memo_demand d = {
		.task = o->task, .inputs = o->inputs, .uid = who->uid, .who = rights, .tid = who->pid
	};
	enum memo_state state;
	if (r == 0)
		r = memo_runner_start(fs->runner, &d, &state, NULL);
	memo_who_unref(rights);
	if (r < 0)
		return r;
	return memo_buf_printf(b, "%s\n", memo_state_text(state));
}

static int make_info(struct memo_fs *fs, const struct memo_origin *o, const char *what, const struct fuse_ctx *who,
		     struct memo_buf *b)
{
	struct memo_who *rights = NULL;
	int r = strcmp(what, "why") == 0 ? memo_who_thread(who->uid, who->gid, who->pid, &rights) : 0;
	if (r == 0)
		r = memo_runner_info(fs->runner, o->task, o->inputs, rights, what, b, NULL);
	memo_who_unref(rights);
	return r;
}

int memo_text_make(struct memo_fs *fs, struct memo_node *n, const struct fuse_ctx *who, struct memo_blob **out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	const struct memo_origin *o = atomic_load(&n->origin);
	int r;
	if (n->kind == MEMO_NODE_README)
		r = memo_text_readme(fs, &b);
	else if (n->kind == MEMO_NODE_RUN_TEXT)
		r = memo_view_runs_text(fs, n, &b);
	else if (o == NULL)
		r = -ESTALE;
	else if (n->kind == MEMO_NODE_START)
		r = make_start(fs, o, who, &b);
	else
		r = make_info(fs, o, memo_info_names[n->index], who, &b);
	if (r == 0)
		r = memo_buf_error(&b);
	if (r < 0)
		return r;
	*out = memo_blob_new(memo_buf_str(&b), b.len);
	return *out != NULL ? 0 : -ENOMEM;
}

int memo_text_log(struct memo_fs *fs, const struct memo_node *n, int *fd_out, uint64_t *size_out)
{
	const struct memo_origin *o = atomic_load(&n->origin);
	bool running;
	int fd = -1;
	*size_out = 0;
	int r = o != NULL
			? memo_runner_log(fs->runner, o->task, o->inputs, memo_info_names[n->index], &fd, &running)
			: -ENOENT;
	if (r == -ENOENT) {
		*fd_out = -1; /* reads as empty until there is one */
		return 0;
	}
	if (r < 0)
		return r;
	struct stat st;
	if (fstat(fd, &st) == 0)
		*size_out = (uint64_t)st.st_size;
	*fd_out = fd;
	return 0;
}

int memo_text_take(struct memo_fs *fs, struct memo_node *n, fuse_req_t req, struct memo_blob **out)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	struct memo_blob *b = memo_node_blob_get(&fs->nodes, n, who->pid, true);
	if (b == NULL)
		return memo_text_make(fs, n, who, out);
	*out = b;
	return 0;
}

static int size_now(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, uint64_t *size_out)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	if (memo_text_is_log(n)) {
		int fd = -1;
		int r = memo_text_log(fs, n, &fd, size_out);
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	struct memo_blob *b = memo_node_blob_get(&fs->nodes, n, who->pid, false);
	if (b != NULL) {
		*size_out = b->len;
		memo_blob_unref(b);
		return 0;
	}
	int r = memo_text_make(fs, n, who, &b);
	if (r < 0)
		return r;
	*size_out = b->len;
	memo_node_blob_set(&fs->nodes, n, b, who->pid, false);
	return 0;
}

void memo_text_getattr(struct memo_fs *fs, fuse_req_t req, struct memo_node *n)
{
	uint64_t size;
	int r = size_now(fs, req, n, &size);
	if (r < 0) {
		memo_reply_error(req, r);
		return;
	}
	struct stat st;
	memo_attr_text(fs, n, size, &st);
	(void)fuse_reply_attr(req, &st, 0);
}

/* ---- README --------------------------------------------------------------------------------------- */

/* An instance's name to show: the last one that was asked for, else what the inputs look like. */
static void example(struct memo_fs *fs, const struct memo_task *t, struct memo_buf *b)
{
	struct memo_name_iter *it = NULL;
	struct memo_named n;
	bool found = memo_store_names(fs->store, t->name, t->version, &it) == 0 && memo_name_iter_next(it, &n) == 0;
	memo_name_iter_free(it);
	if (found) {
		(void)memo_buf_puts(b, n.name);
		return;
	}
	size_t shown = 0;
	for (size_t i = 0; i < t->inputs; i++)
		if (t->input[i].required)
			(void)memo_buf_printf(b, "%s%s=<%s>", shown++ > 0 ? "," : "", t->input[i].name,
					      t->input[i].type_text);
	if (shown == 0)
		(void)memo_buf_puts(b, "@default");
}

static void examples(const char *mount, const struct memo_task *t, const char *name, struct memo_buf *b)
{
	bool directory = t->output == MEMO_OUT_DIRECTORY;
	(void)memo_buf_printf(b, "\nExamples, with the task %s\n\n", t->name);
	(void)memo_buf_printf(b,
			      "  the result, computed when it is not there yet (the command waits):\n    %s "
			      "'%s/tasks/%s/latest/%s'\n",
			      directory ? "ls" : "cat", mount, t->name, name);
	(void)memo_buf_printf(b, "  only if it is there already:\n    %s '%s/cached/%s/latest/%s'\n",
			      directory ? "ls" : "cat", mount, t->name, name);
	(void)memo_buf_printf(b, "  start it and go on:\n    cat '%s/start/%s/latest/%s'\n", mount, t->name, name);
	(void)memo_buf_printf(b,
			      "  how it stands, what it says, why it runs:\n    cat '%s/info/%s/latest/%s/state'\n",
			      mount, t->name, name);
	(void)memo_buf_printf(b, "    tail -f '%s/info/%s/latest/%s/stderr'\n", mount, t->name, name);
	(void)memo_buf_printf(b, "    cat '%s/info/%s/latest/%s/why'\n", mount, t->name, name);
	(void)memo_buf_printf(b, "  what is finished:\n    ls %s/tasks/%s/latest\n", mount, t->name);
}

static const char readme_head[] =
	"This is a memofs mount. A path names a computation; reading it gives the result. What was computed\n"
	"before is served at once, what was not is computed now, once, however many ask.\n"
	"\n"
	"  tasks/<task>/<version>/<inputs>    the result; naming and opening it computes what is missing\n"
	"  cached/<task>/<version>/<inputs>   the result if it is there, else \"No such file\"; never computes\n"
	"  start/<task>/<version>/<inputs>    reading it starts the work and says the state; never waits\n"
	"  info/<task>/<version>/<inputs>/    state, why, stderr, stdout, origin.json, command.sh, ...\n"
	"  objects/<64 hex>                   results by their hash\n"
	"  runs/<run>/                        status.json, instances.jsonl, and links to info by what became of "
	"them:\n"
	"                                     success, failed, cancelled, pending\n"
	"\n"
	"<inputs> is key=value,key=value. Write %2F for '/', %2C for ',' and %25 for '%' in a value; an array\n"
	"repeats its key; @default means every input at its default. <version> may be \"latest\".\n"
	"Listings show finished results only, so ls, find and grep -r start nothing.\n";

static const char readme_tail[] =
	"\nErrors\n\n"
	"  No such file or directory     no such task or version, or the name has no key=value\n"
	"  Invalid argument              the inputs do not fit the task: memofs explain PATH says why\n"
	"  Input/output error            the task failed: see info/.../stderr; the next read tries again\n"
	"  Resource deadlock avoided     the task waits for itself\n"
	"  Permission denied             it is not cached, and you may not start work here\n"
	"  Disk quota exceeded           too many of your instances are waiting\n"
	"  No space left on device       the store is full; make room\n"
	"  Interrupted system call       the wait was ended (Ctrl-C); the work goes on, memofs cancel PATH stops "
	"it\n";

int memo_text_readme(struct memo_fs *fs, struct memo_buf *b)
{
	struct memo_task **tasks = NULL;
	size_t count = 0;
	int r = memo_store_tasks(fs->store, &tasks, &count);
	if (r < 0)
		return r;
	(void)memo_buf_puts(b, readme_head);
	(void)memo_buf_puts(
		b, count == 0 ? "\nNo task is registered yet: memofs add DIR, or memofs new NAME to begin one.\n"
			      : "\nTasks\n\n");
	for (size_t i = 0; i < count; i++) {
		if (i + 1 < count && strcmp(tasks[i]->name, tasks[i + 1]->name) == 0)
			continue; /* the latest version comes last */
		const char *text = tasks[i]->description;
		(void)memo_buf_printf(b, "  %s %s%s%s\n", tasks[i]->name, tasks[i]->version,
				      text != NULL ? ": " : "", text != NULL ? text : "");
	}
	if (count > 0) {
		MEMO_AUTO_BUF struct memo_buf name = { 0 };
		example(fs, tasks[count - 1], &name);
		examples(fs->mountpoint, tasks[count - 1], memo_buf_str(&name), b);
	}
	memo_store_tasks_free(tasks, count);
	(void)memo_buf_puts(b, readme_tail);
	return memo_buf_error(b);
}
