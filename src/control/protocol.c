/* Frames of the control socket: see protocol.h. A length is looked at before anything is allocated for it, so that a
 * peer can cost no more memory than the limit that holds for it. */
#include "protocol.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>
#include <sys/socket.h>

#define HEAD 4

static uint32_t head_read(const char *data)
{
	const unsigned char *p = (const unsigned char *)data;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int memo_frame_append(const json_t *message, struct memo_buf *b)
{
	size_t start = b->len;
	int r = memo_buf_append(b, "\0\0\0", HEAD);
	if (r == 0)
		r = memo_json_append(message, b);
	if (r == 0 && b->len - start - HEAD > MEMO_FRAME_MAX)
		r = -EMSGSIZE;
	if (r < 0) {
		if (b->data != NULL && b->len > start) {
			b->len = start;
			b->data[start] = '\0';
		}
		return r;
	}
	size_t n = b->len - start - HEAD;
	for (int i = 0; i < HEAD; i++)
		b->data[start + (size_t)i] = (char)(unsigned char)(n >> (8 * (HEAD - 1 - i)) & 0xff);
	return 0;
}

static int check_length(uint32_t n, uint32_t limit, struct memo_err *err)
{
	if (n == 0)
		return memo_fail(err, -EPROTO, "control message: the length is zero");
	if (n > limit)
		return memo_fail(err, -EPROTO, "control message: %lu bytes, at most %lu are allowed",
				 (unsigned long)n, (unsigned long)limit);
	return 0;
}

static int decode(const char *text, size_t len, json_t **out, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	struct memo_err why = { 0 };
	if (memo_json_parse(text, len, &j, &why) < 0)
		return memo_fail(err, -EPROTO, "control message: %s", why.text);
	if (!json_is_object(j))
		return memo_fail(err, -EPROTO, "control message: not a JSON object");
	*out = memo_json_steal(&j);
	return 0;
}

int memo_frame_take(const char *data, size_t len, uint32_t limit, json_t **out, struct memo_err *err)
{
	if (len < HEAD)
		return 0;
	uint32_t n = head_read(data);
	int r = check_length(n, limit < MEMO_FRAME_MAX ? limit : MEMO_FRAME_MAX, err);
	if (r < 0)
		return r;
	if (len - HEAD < n)
		return 0;
	r = decode(data + HEAD, n, out, err);
	return r < 0 ? r : (int)(n + HEAD);
}

static int peer_gone(struct memo_err *err)
{
	return memo_fail(err, -ECONNRESET, "the process that serves the store closed the connection");
}

int memo_frame_send(int fd, const json_t *message, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int r = memo_frame_append(message, &b);
	if (r < 0)
		return memo_fail(err, r, "control message: cannot be encoded: %s", memo_strerror(r));
	size_t sent = 0;
	while (sent < b.len) {
		ssize_t n = send(fd, b.data + sent, b.len - sent, MSG_NOSIGNAL);
		if (n < 0) {
			r = memo_errno();
			if (r == -EINTR)
				continue;
			if (r == -EPIPE || r == -ECONNRESET)
				return peer_gone(err);
			return memo_fail(err, r, "control socket: cannot send: %s", memo_strerror(r));
		}
		sent += (size_t)n;
	}
	return 0;
}

static int receive_all(int fd, char *to, size_t len, struct memo_err *err)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = recv(fd, to + got, len - got, 0);
		if (n < 0) {
			int r = memo_errno();
			if (r == -EINTR)
				continue;
			if (r == -ECONNRESET)
				return peer_gone(err);
			return memo_fail(err, r, "control socket: cannot receive: %s", memo_strerror(r));
		}
		if (n == 0)
			return peer_gone(err);
		got += (size_t)n;
	}
	return 0;
}

int memo_frame_receive(int fd, json_t **out, struct memo_err *err)
{
	char head[HEAD];
	int r = receive_all(fd, head, sizeof head, err);
	if (r < 0)
		return r;
	uint32_t n = head_read(head);
	r = check_length(n, MEMO_FRAME_MAX, err);
	if (r < 0)
		return r;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	r = memo_buf_reserve(&b, n);
	if (r < 0)
		return memo_fail(err, r, "control message: out of memory");
	r = receive_all(fd, b.data, n, err);
	return r < 0 ? r : decode(b.data, n, out, err);
}
