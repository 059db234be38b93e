/* Frames: whole, in pieces, several at once, too large, and garbage. */
#include "check.h"
#include "control/protocol.h"

#include "base/json.h"
#include "base/scope.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

static void put_head(char *to, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		to[i] = (char)(unsigned char)(n >> (24 - 8 * i) & 0xff);
}

static void test_round_trip(void)
{
	static const char *const texts[] = { "{}", "{\"op\":\"tasks\"}",
					     "{\"a\":[1,2.5,null,true],\"b\":{\"\\u00e4\":\"x\\ny\"}}" };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		MEMO_AUTO_JSON json_t *m = NULL;
		MEMO_AUTO_JSON json_t *back = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		CHECK_INT(memo_json_parse(texts[i], strlen(texts[i]), &m, NULL), 0);
		CHECK_INT(memo_frame_append(m, &b), 0);
		CHECK_ROW(memo_frame_take(b.data, b.len, MEMO_FRAME_MAX, &back, NULL) == (int)b.len, texts[i]);
		CHECK_ROW(json_equal(m, back), texts[i]);
	}
}

/* Whatever the cut, less than a frame is not an error, and takes nothing. */
static void test_partial(void)
{
	MEMO_AUTO_JSON json_t *m = json_pack("{s:s}", "op", "status");
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_frame_append(m, &b), 0);
	for (size_t n = 0; n < b.len; n++) {
		json_t *back = NULL;
		CHECK_INT(memo_frame_take(b.data, n, MEMO_FRAME_MAX, &back, NULL), 0);
		CHECK(back == NULL);
	}
}

static void test_several(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	for (int i = 0; i < 3; i++) {
		MEMO_AUTO_JSON json_t *m = json_pack("{s:i}", "n", i);
		CHECK_INT(memo_frame_append(m, &b), 0);
	}
	size_t at = 0;
	for (int i = 0; i < 3; i++) {
		MEMO_AUTO_JSON json_t *m = NULL;
		int used = memo_frame_take(b.data + at, b.len - at, MEMO_FRAME_MAX, &m, NULL);
		CHECK(used > 0);
		CHECK_INT(memo_json_int(m, "n", -1), i);
		at += (size_t)used;
	}
	CHECK_INT(at, b.len);
}

static void test_refused(void)
{
	static const struct {
		const char *row;
		uint32_t length;
		const char *body;
		uint32_t limit;
		int want;
	} rows[] = {
		{ "zero length", 0, "", 100, -EPROTO },
		{ "above the limit, body not there yet", 101, "", 100, -EPROTO },
		{ "at the limit, body not there yet", 100, "", 100, 0 },
		{ "above every limit", UINT32_MAX, "", UINT32_MAX, -EPROTO },
		{ "no JSON", 5, "hello", 100, -EPROTO },
		{ "an array", 2, "[]", 100, -EPROTO },
		{ "a number", 1, "1", 100, -EPROTO },
		{ "half an object", 7, "{\"a\":1,", 100, -EPROTO },
		{ "a key twice", 13, "{\"a\":1,\"a\":2}", 100, -EPROTO },
		{ "not UTF-8", 9, "{\"a\":\"\xff\"}", 100, -EPROTO },
		{ "an object", 2, "{}", 100, 6 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char data[64];
		MEMO_AUTO_JSON json_t *m = NULL;
		struct memo_err err = { 0 };
		size_t n = strlen(rows[i].body);
		put_head(data, rows[i].length);
		memcpy(data + 4, rows[i].body, n);
		int r = memo_frame_take(data, n + 4, rows[i].limit, &m, &err);
		CHECK_ROW(r == rows[i].want, rows[i].row);
		CHECK_ROW((m != NULL) == (r > 0), rows[i].row);
		CHECK_ROW(r >= 0 || err.text[0] != '\0', rows[i].row);
	}
}

struct sender {
	int fd;
	const char *data;
	size_t len;
};

/* A byte at a time, then the end. */
static void *send_slowly(void *arg)
{
	struct sender *s = arg;
	for (size_t i = 0; i < s->len; i++) {
		if (send(s->fd, s->data + i, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	(void)close(s->fd);
	return NULL;
}

static void test_receive(void)
{
	MEMO_AUTO_JSON json_t *m = json_pack("{s:s}", "op", "status");
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_frame_append(m, &b), 0);
	(void)memo_buf_append(&b, "\0\0\0\x10{", 5); /* the peer goes away in the middle of the second */
	int p[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	struct sender s = { .fd = p[0], .data = b.data, .len = b.len };
	pthread_t t;
	CHECK_INT(pthread_create(&t, NULL, send_slowly, &s), 0);
	MEMO_AUTO_JSON json_t *back = NULL;
	json_t *none = NULL;
	CHECK_INT(memo_frame_receive(p[1], &back, NULL), 0);
	CHECK(json_equal(m, back));
	CHECK_INT(memo_frame_receive(p[1], &none, NULL), -ECONNRESET);
	CHECK(none == NULL);
	(void)pthread_join(t, NULL);
	CHECK_INT(memo_frame_send(p[1], m, NULL), -ECONNRESET);
	(void)close(p[1]);
}

int main(void)
{
	RUN(test_round_trip);
	RUN(test_partial);
	RUN(test_several);
	RUN(test_refused);
	RUN(test_receive);
	return check_end();
}
