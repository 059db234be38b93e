/* What is known about an instance, as the small texts of /info: from the record that was written last under its name, and
 * from what is in flight. Nothing here waits or computes. */
#include "internal.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/canon.h"
#include "core/path.h"
#include "job.h"
#include "run.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const memo_info_names[] = {
	"state",  "identity",	   "inputs.json", "key.json",	 "why",	       "stderr",
	"stdout", "history.jsonl", "origin.json", "output_hash", "command.sh", NULL,
};

/* An instance looked up by its name. */
struct known {
	struct memo_buf name;
	struct memo_named named;
	bool demanded; /* @named holds */
	json_t *record; /* NULL: none */
	enum memo_state state;
};

static void known_clear(struct known *k)
{
	memo_buf_clear(&k->name);
	json_decref(k->record);
}

static int known_get(struct memo_runner *r, const struct memo_task *t, const json_t *inputs, struct known *k,
		     struct memo_err *err)
{
	*k = (struct known){ .state = MEMO_STATES };
	int code = memo_path_name(t, inputs, &k->name, err);
	if (code < 0)
		return code;
	k->state = memo_runner_state(r, t, inputs);
	code = memo_store_named(r->store, t->name, t->version, k->name.data, &k->named, err);
	k->demanded = code == 0;
	if (code == -ENOENT && k->state != MEMO_STATES)
		code = 0;
	if (code == 0 && k->demanded && k->named.known) {
		code = memo_store_record(r->store, &k->named.identity, &k->record, err);
		if (code == -ENOENT)
			code = 0;
	}
	if (code == -ENOENT)
		(void)memo_fail(err, code, "/tasks/%s/%s/%s was never asked for", t->name, t->version,
				k->name.data);
	return code;
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* The attempt directory of what runs for this name (free() it), or NULL. */
static char *running_dir(struct memo_runner *r, const struct memo_task *t, const char *name)
{
	char *dir = NULL;
	memo_mutex_lock(&r->mu);
	for (struct exec *x = r->live_execs; x != NULL && dir == NULL; x = x->next_live) {
		if (!x->running || x->dir == NULL)
			continue;
		for (const struct call *c = x->calls; c != NULL && dir == NULL; c = c->next_in_exec) {
			if (strcmp(c->name, name) == 0 && strcmp(c->task->name, t->name) == 0 &&
			    strcmp(c->task->version, t->version) == 0)
				dir = strdup(x->dir);
		}
	}
	memo_mutex_unlock(&r->mu);
	return dir;
}

/* Of a result that came from stdout, the result is the log. */
static int stdout_result(struct memo_runner *r, const struct known *k, int *fd_out)
{
	struct memo_result *res;
	int code = memo_store_lookup(r->store, &k->named.identity, &res, NULL);
	if (code < 0)
		return code;
	code = res->kind == MEMO_RESULT_FILE ? memo_store_open_file(r->store, res, fd_out, NULL) : -ENOENT;
	memo_result_unref(res);
	return code;
}

static int log_of(struct memo_runner *r, const struct memo_task *t, const struct known *k, const char *which,
		  int *fd_out, bool *running_out)
{
	MEMO_AUTO_FREE char *dir = running_dir(r, t, k->name.data);
	*running_out = dir != NULL;
	if (dir != NULL) {
		MEMO_AUTO_FREE char *path = memo_io_join(dir, which);
		int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd >= 0) {
			*fd_out = fd;
			return 0;
		}
	}
	if (!k->demanded || !k->named.known)
		return -ENOENT;
	int code = memo_store_log_open(r->store, &k->named.identity, which, fd_out);
	if (code == -ENOENT && strcmp(which, "stdout") == 0 && t->output_path == NULL && k->state == MEMO_SUCCESS)
		code = stdout_result(r, k, fd_out);
	return code;
}

int memo_runner_log(struct memo_runner *r, const struct memo_task *t, const json_t *inputs, const char *which,
		    int *fd_out, bool *running_out)
{
	struct known k;
	int code = known_get(r, t, inputs, &k, NULL);
	if (code == 0)
		code = log_of(r, t, &k, which, fd_out, running_out);
	known_clear(&k);
	return code;
}

static int log_text(struct memo_runner *r, const struct memo_task *t, const struct known *k, const char *which,
		    struct memo_buf *out)
{
	MEMO_AUTO_FD int fd = -1;
	bool running;
	int code = log_of(r, t, k, which, &fd, &running);
	if (code == -ENOENT) {
		/* a failure before anything ran has a sentence instead of a log */
		MEMO_AUTO_FREE char *message = NULL;
		bool failed = strcmp(which, "stderr") == 0 && k->demanded && !k->named.known;
		if (failed && memo_store_named_message(r->store, t->name, t->version, k->name.data, &message) == 0)
			return memo_buf_printf(out, "memofs: %s\n", message);
		return 0;
	}
	if (code < 0)
		return code;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	off_t from = (uintmax_t)st.st_size > MEMO_INFO_BYTES ? st.st_size - (off_t)MEMO_INFO_BYTES : 0;
	if (lseek(fd, from, SEEK_SET) < 0)
		return memo_errno();
	code = memo_io_read_fd(fd, MEMO_INFO_BYTES, out);
	return code == -EFBIG ? 0 : code;
}

/* ---- the texts ------------------------------------------------------------------------------- */

static int member_text(const struct known *k, const char *member, struct memo_buf *out, struct memo_err *err)
{
	const json_t *j = json_object_get(k->record, member);
	if (j == NULL || json_is_null(j))
		return -ENOENT;
	/* canonical, so that sha256sum of key.json is the identity */
	return memo_canon_append(j, out, err);
}

static int history_text(struct memo_runner *r, const struct known *k, struct memo_buf *out, struct memo_err *err)
{
	if (!k->demanded || !k->named.known)
		return 0;
	MEMO_AUTO_JSON json_t *list = NULL;
	int code = memo_store_history(r->store, &k->named.identity, &list, err);
	size_t i;
	json_t *e;
	json_array_foreach(list, i, e)
	{
		if (code == 0)
			code = memo_json_append(e, out);
		if (code == 0)
			code = memo_buf_putc(out, '\n');
	}
	return code == -ENOENT ? 0 : code;
}

static int origin_text(const struct known *k, struct memo_buf *out)
{
	json_t *origin = json_object_get(k->record, "origin");
	if (!json_is_object(origin))
		return -ENOENT;
	MEMO_AUTO_JSON json_t *o = json_copy(origin);
	(void)json_object_del(o, "command"); /* command.sh says it in a usable form */
	int code = o == NULL ? -ENOMEM : memo_canon_append(o, out, NULL);
	return code < 0 ? code : memo_buf_putc(out, '\n');
}

static int command_text(struct memo_runner *r, const struct memo_task *t, const struct known *k,
			struct memo_buf *out)
{
	json_t *command = json_incref(json_object_get(json_object_get(k->record, "origin"), "command"));
	if (command == NULL) {
		memo_mutex_lock(&r->mu);
		for (const struct exec *x = r->live_execs; x != NULL && command == NULL; x = x->next_live) {
			if (k->demanded && k->named.known && memo_id_equal(&x->identity, &k->named.identity))
				command = json_incref(x->command);
		}
		memo_mutex_unlock(&r->mu);
	}
	if (command == NULL)
		return -ENOENT;
	MEMO_AUTO_BUF struct memo_buf title = { 0 };
	(void)memo_buf_printf(&title, "/tasks/%s/%s/%s", t->name, t->version, k->name.data);
	const json_t *sandbox = json_object_get(json_object_get(k->record, "origin"), "sandbox");
	int code = memo_job_script(command, sandbox, memo_buf_str(&title), out);
	json_decref(command);
	return code;
}

static int hash_text(const struct known *k, struct memo_buf *out)
{
	const char *hash = memo_json_string(json_object_get(k->record, "result"), "hash", NULL);
	return k->state != MEMO_SUCCESS || hash == NULL ? -ENOENT : memo_buf_printf(out, "%s\n", hash);
}

static int text_of(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
		   const struct memo_who *who, const struct known *k, const char *what, struct memo_buf *out,
		   struct memo_err *err)
{
	char hex[MEMO_HEX_SIZE];
	if (strcmp(what, "state") == 0)
		return memo_buf_printf(out, "%s\n", memo_state_text(k->state));
	if (strcmp(what, "identity") == 0)
		return !k->demanded || !k->named.known
			       ? -ENOENT
			       : memo_buf_printf(out, "%s\n", memo_id_hex(&k->named.identity, hex));
	if (strcmp(what, "inputs.json") == 0) {
		int code = memo_json_append(inputs, out);
		return code < 0 ? code : memo_buf_putc(out, '\n');
	}
	if (strcmp(what, "key.json") == 0)
		return member_text(k, "key", out, err);
	if (strcmp(what, "why") == 0)
		return memo_runner_why(r, (struct memo_task *)(uintptr_t)t, inputs, who, out, err);
	if (strcmp(what, "stderr") == 0 || strcmp(what, "stdout") == 0)
		return log_text(r, t, k, what, out);
	if (strcmp(what, "history.jsonl") == 0)
		return history_text(r, k, out, err);
	if (strcmp(what, "origin.json") == 0)
		return origin_text(k, out);
	if (strcmp(what, "output_hash") == 0)
		return hash_text(k, out);
	return strcmp(what, "command.sh") == 0 ? command_text(r, t, k, out) : -ENOENT;
}

int memo_runner_info(struct memo_runner *r, const struct memo_task *t, const json_t *inputs,
		     const struct memo_who *who, const char *what, struct memo_buf *out, struct memo_err *err)
{
	struct known k;
	int code = known_get(r, t, inputs, &k, err);
	if (code == 0)
		code = text_of(r, t, inputs, who, &k, what, out, err);
	known_clear(&k);
	return code;
}

int memo_runner_upstream(struct memo_runner *r, const struct memo_task *t, const json_t *inputs, json_t **out,
			 struct memo_err *err)
{
	struct known k;
	int code = known_get(r, t, inputs, &k, err);
	MEMO_AUTO_JSON json_t *list = json_array();
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(k.record, "upstream"), i, e)
	{
		if (code < 0)
			break;
		const json_t *index = json_object_get(e, "index");
		MEMO_AUTO_BUF struct memo_buf name = { 0 };
		(void)memo_buf_puts(&name, memo_json_string(e, "need", "need"));
		if (json_is_integer(index))
			(void)memo_buf_printf(&name, ".%lld", (long long)json_integer_value(index));
		code = memo_json_push(list, json_pack("{s:s, s:s}", "need", memo_buf_str(&name), "path",
						      memo_json_string(e, "path", "")));
	}
	known_clear(&k);
	if (code == 0)
		*out = memo_json_steal(&list);
	return code;
}
