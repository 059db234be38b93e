/* The client's end of the control socket: see client.h. A call that was ended in the middle leaves frames under way, so
 * the connection serves no further call. */
#include "client.h"

#include "address.h"
#include "base/json.h"
#include "base/scope.h"
#include "protocol.h"

#include <stdbool.h>

struct memo_client {
	int fd;
	bool broken;
};

int memo_client_connect(const char *store, struct memo_client **out, struct memo_err *err)
{
	struct sockaddr_un a;
	MEMO_AUTO_FD int dirfd = -1;
	int r = memo_address_make(store, &a, &dirfd, err);
	if (r < 0)
		return r;
	MEMO_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return memo_fail(err, memo_errno(), "control socket: %s", memo_strerror(memo_errno()));
	if (connect(fd, (const struct sockaddr *)&a, sizeof a) < 0) {
		r = memo_errno();
		if (r == -ENOENT || r == -ECONNREFUSED)
			return memo_fail(err, r, "store '%s': no process serves it", store);
		return memo_fail(err, r, "store '%s': cannot connect to the process that serves it: %s", store,
				 memo_strerror(r));
	}
	struct memo_client *c = calloc(1, sizeof *c);
	if (c == NULL)
		return memo_fail(err, -ENOMEM, "control socket: out of memory");
	c->fd = memo_fd_steal(&fd);
	*out = c;
	return 0;
}

void memo_client_close(struct memo_client *c)
{
	if (c == NULL)
		return;
	(void)close(c->fd);
	free(c);
}

/* The error that an answer stands for; the words of a peer are never trusted to be there. */
static int refused(const json_t *answer, int *status_out, struct memo_err *err)
{
	int64_t code = memo_json_int(answer, "code", EIO);
	if (code <= 0 || code > 4095)
		code = EIO;
	if (status_out != NULL)
		*status_out = (int)memo_json_int(answer, "status", 4);
	return memo_fail(err, -(int)code, "%s", memo_json_string(answer, "message", memo_strerror((int)code)));
}

static int wait_answer(struct memo_client *c, memo_client_event_fn *event, void *arg, json_t **reply_out,
		       int *status_out, struct memo_err *err)
{
	for (;;) {
		MEMO_AUTO_JSON json_t *m = NULL;
		int r = memo_frame_receive(c->fd, &m, err);
		if (r < 0) {
			c->broken = true;
			return r;
		}
		if (json_object_get(m, "event") != NULL) {
			r = event != NULL ? event(arg, m) : 0;
			if (r != 0) {
				c->broken = true;
				return r < 0 ? memo_fail(err, r, "the call was ended: %s", memo_strerror(r)) : r;
			}
			continue;
		}
		if (!memo_json_bool(m, "ok", false))
			return refused(m, status_out, err);
		*reply_out = memo_json_steal(&m);
		return 0;
	}
}

int memo_client_call(struct memo_client *c, const json_t *request, memo_client_event_fn *event, void *arg,
		     json_t **reply_out, int *status_out, struct memo_err *err)
{
	if (c->broken)
		return memo_fail(err, -ECONNRESET,
				 "control socket: an earlier call was ended in the middle; connect again");
	int r = memo_frame_send(c->fd, request, err);
	/* a server that refuses a connection says why and closes: the answer may be there although sending failed */
	if (r < 0 && r != -ECONNRESET)
		return r;
	return wait_answer(c, event, arg, reply_out, status_out, err);
}
