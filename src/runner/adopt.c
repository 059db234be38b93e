/* Adoption: outputs that were finished and not recorded when their owner ended.
 *
 * A ten-hour result must not be lost between the end of its worker and the commit, nor while it waits for room in a full
 * store. So each attempt says beside it who it is for (instance.json: what a publication needs), and what its processes read
 * through the mount (observed.jsonl, a line for each). The store keeps finished attempts when it is opened, and ends whoever
 * might still write to them (store/orphan.c). They are taken up here: in the background, and at once when their
 * identity is about to be executed. The output is hashed again, the key must hash to the identity, and the record must
 * not be further: what has succeeded, failed or was cancelled since is not overruled. */
#include "internal.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/identity.h"
#include "job.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FORMAT 1
#define OBSERVED_BYTES ((size_t)64 << 20)

/* ---- beside the attempt ---------------------------------------------------------------------- */

static int write_new(const char *dir, const char *name, const struct memo_buf *b, bool append)
{
	MEMO_AUTO_FREE char *path = memo_io_join(dir, name);
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (append ? O_APPEND : O_EXCL);
	MEMO_AUTO_FD int fd = path == NULL ? -1 : open(path, flags, 0600);
	if (fd < 0)
		return path == NULL ? -ENOMEM : memo_errno();
	return memo_io_write_all(fd, b->data, b->len);
}

int memo_adopt_describe(const struct exec *x, uint64_t ino, struct memo_err *err)
{
	struct memo_instance i = memo_exec_instance(x);
	char raw[MEMO_HEX_SIZE];
	MEMO_AUTO_BUF struct memo_buf text = { 0 };
	MEMO_AUTO_JSON json_t *o =
		json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s?, s:s?, s:b, s:O?, s:O?, s:O?, s:O?}",
			  "memofs", FORMAT, "identity", x->hex, "task", i.task, "version", i.version, "name",
			  i.name, "attempt", (json_int_t)x->attempt, "ino", (json_int_t)ino, "cache",
			  x->leader->task->cache ? 1 : 0, "raw", i.raw != NULL ? memo_id_hex(i.raw, raw) : NULL,
			  "run", x->leader->run != NULL ? memo_run_id(x->leader->run) : NULL, "stdout",
			  x->leader->task->output_path != NULL ? 1 : 0, "inputs", i.inputs, "key", i.key,
			  "upstream", i.upstream, "command", x->command);
	int code = o == NULL ? -ENOMEM : memo_json_append(o, &text);
	if (code == 0)
		code = write_new(x->dir, MEMO_ATTEMPT_INSTANCE, &text, false);
	return code < 0 ? memo_fail(err, code, "cannot describe the attempt in '%s': %s", x->dir,
				    memo_strerror(code))
			: 0;
}

void memo_adopt_observed(const char *dir, const json_t *entry)
{
	MEMO_AUTO_BUF struct memo_buf line = { 0 };
	int code = memo_json_append(entry, &line);
	if (code == 0)
		code = memo_buf_putc(&line, '\n');
	if (code == 0)
		code = write_new(dir, MEMO_ATTEMPT_OBSERVED, &line, true);
	if (code == 0)
		return;
	/* A result whose readings are not known must not be adopted. */
	MEMO_AUTO_FREE char *path = memo_io_join(dir, MEMO_ATTEMPT_INSTANCE);
	if (path != NULL)
		(void)unlink(path);
}

static int read_observed(const char *dir, json_t **out)
{
	MEMO_AUTO_FREE char *path = memo_io_join(dir, MEMO_ATTEMPT_OBSERVED);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int code = path == NULL ? -ENOMEM : memo_io_read_file(AT_FDCWD, path, OBSERVED_BYTES, &b);
	if (code == -ENOENT)
		return 0;
	MEMO_AUTO_JSON json_t *list = json_array();
	if (code == 0 && (list == NULL || b.len == 0 || b.data[b.len - 1] != '\n'))
		code = list == NULL ? -ENOMEM : -EBADMSG; /* cut short */
	for (char *line = b.data; code == 0 && line < b.data + b.len;) {
		char *end = strchr(line, '\n');
		json_t *entry = NULL;
		code = end == NULL ? -EBADMSG : memo_json_parse(line, (size_t)(end - line), &entry, NULL);
		if (code == 0)
			code = memo_json_push(list, entry);
		line = end != NULL ? end + 1 : line;
	}
	if (code == 0)
		*out = memo_json_steal(&list);
	return code;
}

static int read_instance(const char *dir, json_t **out)
{
	static const char *const names[] = { MEMO_ATTEMPT_PARKED, MEMO_ATTEMPT_INSTANCE };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int code = -ENOENT;
	for (size_t i = 0; i < 2 && code == -ENOENT; i++) {
		MEMO_AUTO_FREE char *path = memo_io_join(dir, names[i]);
		code = path == NULL ? -ENOMEM : memo_io_read_file(AT_FDCWD, path, MEMO_ATTEMPT_RECORD_BYTES, &b);
	}
	json_t *o = NULL;
	if (code == 0)
		code = memo_json_parse(memo_buf_str(&b), b.len, &o, NULL) < 0 ? -EBADMSG : 0;
	if (code == 0 && (!json_is_object(o) || memo_json_int(o, "memofs", 0) != FORMAT))
		code = -EBADMSG;
	if (code < 0)
		json_decref(o);
	else
		*out = o;
	return code;
}

/* ---- one attempt ----------------------------------------------------------------------------- */

static int parse_instance(const json_t *o, struct memo_instance *i, struct memo_id *raw)
{
	const char *hex = memo_json_string(o, "raw", NULL);
	struct memo_id is;
	i->task = memo_json_string(o, "task", NULL);
	i->version = memo_json_string(o, "version", NULL);
	i->name = memo_json_string(o, "name", NULL);
	i->inputs = json_object_get(o, "inputs");
	i->key = json_object_get(o, "key");
	i->upstream = json_object_get(o, "upstream");
	if (i->task == NULL || i->version == NULL || i->name == NULL || !json_is_object(i->inputs) ||
	    memo_id_parse(memo_json_string(o, "identity", ""), &i->identity) < 0 ||
	    memo_identity_of(i->key, &is, NULL) < 0 || !memo_id_equal(&is, &i->identity))
		return -EBADMSG;
	if (hex != NULL && memo_id_parse(hex, raw) < 0)
		return -EBADMSG;
	i->raw = hex != NULL ? raw : NULL;
	return 0;
}

/* The record waits for a result. */
static int is_wanted(struct memo_runner *r, const struct memo_id *identity)
{
	MEMO_AUTO_JSON json_t *record = NULL;
	int code = memo_store_record(r->store, identity, &record, NULL);
	if (code == -ENOENT)
		return 0; /* lost with a damaged manifest; the output is there */
	enum memo_state state = code < 0 ? MEMO_STATES : memo_state_parse(memo_json_string(record, "state", ""));
	/* One that seems to run does not: its owner is gone, and the full disk did not let the store write that down. */
	bool over = state == MEMO_SUCCESS || state == MEMO_FAILED || state == MEMO_CANCELLED;
	return code < 0 ? code : over ? -EALREADY : 0;
}

static int publish_left(struct memo_runner *r, const char *dir, const json_t *o, const struct memo_exit *e)
{
	struct memo_instance i = { 0 };
	struct memo_id raw;
	MEMO_AUTO_JSON json_t *observed = NULL;
	struct memo_result *res = NULL;
	int code = parse_instance(o, &i, &raw);
	if (code == 0)
		code = is_wanted(r, &i.identity);
	if (code == 0)
		code = read_observed(dir, &observed);
	if (code < 0)
		return code;
	const char *run = memo_json_string(o, "run", NULL);
	MEMO_AUTO_JSON json_t *origin =
		memo_exec_origin(memo_json_int(o, "attempt", 1), json_object_get(o, "command"), e);
	if (origin == NULL || (observed != NULL && json_object_set(origin, "observed", observed) < 0) ||
	    (run != NULL && memo_json_set(origin, "run", json_string(run)) < 0))
		return -ENOMEM;
	struct memo_publication p = {
		.instance = &i,
		.attempt = dir,
		.produced = &e->produced,
		.origin = origin,
		.observed = observed,
		.transition = { .to = MEMO_SUCCESS,
				.reason = "it had finished when memofs ended",
				.run = run,
				.executor = "local",
				.exit_code = e->code },
		.recheck = true,
		.ino = (uint64_t)memo_json_int(o, "ino", 0),
	};
	MEMO_AUTO_FREE char *log = memo_io_join(dir, "stderr");
	/* logs are for people; those of a parked attempt were kept before */
	if (log != NULL && access(log, F_OK) == 0 &&
	    memo_store_keep_logs(r->store, &i.identity, dir, memo_json_bool(o, "stdout", false)) < 0)
		code = 0;
	code = memo_store_publish(r->store, &p, &res, NULL);
	memo_result_unref(res);
	if (code < 0)
		return code;
	memo_stats_executed(r, i.task, e->wall_ms, false);
	memo_mutex_lock(&r->mu);
	memo_post_event(r, MEMO_EVENT_STATE, i.task, i.version, i.name, MEMO_SUCCESS, NULL);
	memo_post_event(r, MEMO_EVENT_NAME, i.task, i.version, i.name, MEMO_SUCCESS, NULL);
	memo_mutex_unlock(&r->mu);
	return 0;
}

/* With the lock "adopting". -ENOSPC: it stays. All else: it is over, one way or the other. */
static int take_up(struct memo_runner *r, const char *dir)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	struct memo_exit e = { 0 };
	int code = read_instance(dir, &o);
	if (code == 0)
		code = memo_job_exit(dir, &e, NULL);
	/* what must not be reused is not worth keeping */
	if (code == 0 && (e.status != MEMO_EXIT_SUCCESS || !memo_json_bool(o, "cache", true)))
		code = -ECANCELED;
	if (code == 0)
		code = publish_left(r, dir, o, &e);
	memo_exit_clear(&e);
	if (code == -ENOSPC || code == -EDQUOT) {
		/* Parked by now, as far as the disk lets us; an error here costs no more than trust after a power cut. */
		if (memo_store_attempt_park(r->store, dir) < 0)
			code = -ENOSPC;
		return -ENOSPC;
	}
	/* not the attempt's fault: the next owner tries again */
	if (code == -ENOMEM || code == -EIO || code == -EMFILE || code == -ENFILE)
		return code;
	memo_store_attempt_remove(r->store, dir);
	return 0;
}

/* ---- the list -------------------------------------------------------------------------------- */

static void free_left(struct left *l)
{
	if (l != NULL)
		free(l->dir);
	free(l);
}

/* Takes the first, or the one of @identity, out of the list. */
static struct left *take(struct memo_runner *r, const struct memo_id *identity) LOCKED
{
	struct left **p = &r->left;
	while (*p != NULL && identity != NULL && !memo_id_equal(&(*p)->identity, identity))
		p = &(*p)->next;
	struct left *l = *p;
	if (l != NULL)
		*p = l->next;
	return l;
}

int memo_adopt_try(struct memo_runner *r, const struct memo_id *identity, struct memo_err *err)
{
	memo_mutex_lock(&r->mu);
	bool any = r->left != NULL || r->taken; /* the one that is just being taken up may be it */
	memo_mutex_unlock(&r->mu);
	if (!any)
		return 0;
	int code = 0;
	memo_mutex_lock(&r->adopting);
	for (;;) {
		memo_mutex_lock(&r->mu);
		struct left *l = take(r, identity);
		r->taken = l != NULL;
		memo_mutex_unlock(&r->mu);
		if (l == NULL)
			break;
		code = take_up(r, l->dir);
		memo_mutex_lock(&r->mu);
		if (code == -ENOSPC) {
			l->next = r->left;
			r->left = l;
		}
		r->taken = false;
		memo_mutex_unlock(&r->mu);
		if (code == -ENOSPC)
			break;
		free_left(l);
	}
	memo_mutex_unlock(&r->adopting);
	return code == -ENOSPC ? memo_fail(err, code,
					   "it has finished, but the store is full; make room and its result will "
					   "appear")
			       : 0;
}

static void try_all(struct memo_runner *r, void *arg);

static void try_later(struct memo_runner *r, void *arg) LOCKED
{
	if (!r->closing)
		memo_pool_push(r, &r->adopt_job, try_all, arg);
}

/* In the background, one by one, so that a demand is not kept waiting by those of others. */
static void try_all(struct memo_runner *r, void *arg)
{
	int code = 0;
	for (;;) {
		memo_mutex_lock(&r->mu);
		bool end = r->left == NULL || r->closing || code < 0;
		struct memo_id id = { 0 };
		if (!end)
			id = r->left->identity;
		else if (r->left != NULL && !r->closing)
			memo_timer_set(r, &r->adopt_timer, memo_now_ns() + PARK_NS, try_later, arg);
		memo_mutex_unlock(&r->mu);
		if (end)
			return;
		code = memo_adopt_try(r, &id, NULL);
	}
}

static int add(struct memo_runner *r, const char *dir)
{
	MEMO_AUTO_JSON json_t *o = NULL;
	struct memo_id id;
	int code = read_instance(dir, &o);
	if (code == 0 && memo_id_parse(memo_json_string(o, "identity", ""), &id) < 0)
		code = -EBADMSG;
	if (code == -ENOMEM)
		return code;
	if (code < 0) {
		memo_store_attempt_remove(r->store, dir);
		return 0;
	}
	struct left *l = calloc(1, sizeof *l);
	if (l == NULL || (l->dir = strdup(dir)) == NULL) {
		free_left(l);
		return -ENOMEM;
	}
	l->identity = id;
	memo_mutex_lock(&r->mu);
	l->next = r->left;
	r->left = l;
	memo_mutex_unlock(&r->mu);
	return 0;
}

int memo_adopt_open(struct memo_runner *r, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *list = NULL;
	int code = memo_store_attempts_left(r->store, &list);
	size_t i;
	json_t *e;
	json_array_foreach(list, i, e)
	{
		if (code == 0)
			code = add(r, json_string_value(e));
	}
	if (code < 0)
		return memo_fail(err, code, "finished attempts cannot be taken up: %s", memo_strerror(code));
	memo_mutex_lock(&r->mu);
	if (r->left != NULL)
		memo_pool_push(r, &r->adopt_job, try_all, NULL);
	memo_mutex_unlock(&r->mu);
	return 0;
}

void memo_adopt_close(struct memo_runner *r)
{
	while (r->left != NULL) {
		struct left *l = r->left;
		r->left = l->next;
		free_left(l);
	}
}
