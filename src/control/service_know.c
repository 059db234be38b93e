/* Requests about what is known of results: why, tail, stats, verify. What reads much or runs a command does so in a
 * thread of its own. */
#include "service_call.h"

#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "runner/run.h"

#include <string.h>

#define TAIL_BYTES 8192
#define TAIL_LINES 1000

static int why(struct memo_service_call *c)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_runner_why(c->runner, c->task, c->inputs, c->asker.who, &b, &c->err);
	if (r < 0)
		return r;
	json_t *text = json_string(memo_buf_str(&b));
	if (text == NULL) {
		/* code in the diff that is not UTF-8 */
		MEMO_AUTO_BUF struct memo_buf safe = { 0 };
		const char *line = memo_buf_str(&b);
		while (*line != '\0') {
			size_t n = strcspn(line, "\n");
			(void)memo_log_escape(&safe, line, n);
			(void)memo_buf_puts(&safe, line[n] == '\n' ? "\n" : "");
			line += n + (line[n] == '\n');
		}
		text = json_string(memo_buf_str(&safe));
	}
	r = memo_service_set(c, "text", text);
	return r < 0 ? r : memo_service_set(c, "path", json_string(c->path));
}

int memo_op_why(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	return r < 0 ? r : memo_service_work(c, why);
}

static int stats(struct memo_service_call *c)
{
	MEMO_AUTO_JSON json_t *all = NULL;
	MEMO_AUTO_JSON json_t *room = NULL;
	struct memo_health h;
	int r = memo_runner_stats(c->runner, &all, &c->err);
	if (r == 0)
		r = memo_runner_room(c->runner, &room, &c->err);
	if (r == 0 && json_object_update(c->answer, all) < 0)
		r = memo_service_nomem(c);
	/* counted exactly just now */
	if (r == 0 &&
	    memo_json_set(room, "bytes", json_incref(json_object_get(json_object_get(all, "total"), "bytes"))) < 0)
		r = memo_service_nomem(c);
	if (r == 0)
		r = memo_service_set(c, "room", json_incref(room));
	if (r < 0)
		return r;
	memo_store_health(c->store, &h);
	return memo_service_set(c, "health",
				json_pack("{s:I, s:I, s:I}", "damaged", (json_int_t)h.damaged, "read_errors",
					  (json_int_t)h.read_errors, "refused", (json_int_t)h.refused));
}

int memo_op_stats(struct memo_service_call *c)
{
	return memo_service_work(c, stats);
}

/* The last @lines lines of what is in @fd, spelled so that they can be shown. */
static int last_lines(int fd, int64_t lines, struct memo_buf *out)
{
	char data[TAIL_BYTES];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return memo_errno();
	off_t from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
	ssize_t n = pread(fd, data, sizeof data, from);
	if (n < 0)
		return memo_errno();
	size_t len = (size_t)n, start;
	while (len > 0 && data[len - 1] == '\n')
		len--;
	for (start = len; start > 0 && lines > 0; start--)
		lines -= data[start - 1] == '\n';
	start += lines == 0 && start < len && data[start] == '\n';
	while (start < len) {
		const char *end = memchr(data + start, '\n', len - start);
		size_t part = end != NULL ? (size_t)(end - (data + start)) : len - start;
		(void)memo_log_escape(out, data + start, part);
		(void)memo_buf_putc(out, '\n');
		start += part + 1;
	}
	return memo_buf_error(out);
}

int memo_op_tail(struct memo_service_call *c)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_FD int fd = -1;
	bool running = false;
	int64_t lines = memo_json_int(c->request, "lines", 5);
	int r = memo_service_instance(c);
	if (r < 0)
		return r;
	r = memo_runner_log(c->runner, c->task, c->inputs, "stderr", &fd, &running);
	if (r == 0)
		r = last_lines(fd, lines < 1 ? 1 : lines > TAIL_LINES ? TAIL_LINES : lines, &b);
	if (r < 0 && r != -ENOENT)
		return memo_fail(&c->err, r, "%s: its log cannot be read: %s", c->path, memo_strerror(r));
	r = memo_service_set(c, "text", json_string(memo_buf_str(&b)));
	return r < 0 ? r : memo_service_set(c, "path", json_string(c->path));
}

/* ---- verify ------------------------------------------------------------------------------------ */

/* What is invalid must not be served: the next demand executes it. */
static int verify(struct memo_service_call *c)
{
	struct memo_err why_not = { 0 };
	int r = memo_verify_result(c->runner, c->task, c->inputs, c->result, &why_not);
	bool valid = r == 0;
	if (r == -EBADMSG || r == -ENOENT) {
		const char *text = why_not.code != 0 ? why_not.text : "its bytes are gone";
		r = memo_service_set(c, "message", json_string(text));
		if (r == 0)
			r = memo_runner_lost(c->runner, c->result, text, &c->err);
	} else if (r < 0) {
		r = memo_fail(&c->err, r == -EIO ? -EREMOTEIO : r, "%s: cannot be verified: %.800s", c->path,
			      why_not.code != 0 ? why_not.text : memo_strerror(r));
	}
	if (r == 0)
		r = memo_service_set(c, "valid", json_boolean(valid));
	return r < 0 ? r : memo_service_set(c, "path", json_string(c->path));
}

static int no_result(struct memo_service_call *c)
{
	c->err.code = 0;
	return memo_service_absent(c, "has no result that could be verified", "makes it");
}

static int verify_step(struct memo_service_call *c)
{
	memo_mutex_lock(&c->mu);
	bool answered = c->answered;
	int code = c->code;
	memo_mutex_unlock(&c->mu);
	if (!answered)
		return 1;
	memo_wait_release(c->wait);
	c->wait = NULL;
	if (code < 0 && code != -ENOENT) {
		c->err = c->answer_err;
		return code;
	}
	return code < 0 ? no_result(c) : memo_service_work(c, verify);
}

/* The result that a read would be served now: hashes what has to be hashed, executes nothing. */
static int verify_hit(struct memo_service_call *c)
{
	struct memo_demand d = {
		.task = c->task,
		.inputs = c->inputs,
		.flags = MEMO_DEMAND_PEEK,
		.uid = c->asker.uid,
		.who = c->asker.who,
		.answer = memo_service_answered,
		.arg = c,
	};
	struct memo_result *res = NULL;
	memo_mutex_lock(&c->mu);
	c->refs++; /* the answer's */
	c->answered = false;
	memo_mutex_unlock(&c->mu);
	c->step = verify_step;
	int r = memo_runner_demand(c->runner, &d, &c->wait, &res, &c->err);
	if (r == 1)
		return 1;
	memo_service_unref(c);
	if (r == -ENOENT)
		return no_result(c);
	c->result = res;
	return r < 0 ? r : memo_service_work(c, verify);
}

int memo_op_verify(struct memo_service_call *c)
{
	int r = memo_service_instance(c);
	return r < 0 ? r : verify_hit(c);
}
