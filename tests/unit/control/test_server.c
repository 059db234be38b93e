/* The server over a real store and runner: what it answers, and what it does with peers that misbehave. */
#include "check.h"
#include "control/client.h"
#include "control/protocol.h"
#include "control/server.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

static char dir[64];
static struct memo_store *store;
static struct memo_runner *runner;
static struct memo_server *server;

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_INT(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* The answer to one request as JSON text; its code and exit status. */
static int ask(const char *request, json_t **reply_out, int *status_out, struct memo_err *err)
{
	struct memo_client *c = NULL;
	MEMO_AUTO_JSON json_t *j = NULL;
	CHECK_INT(memo_json_parse(request, strlen(request), &j, NULL), 0);
	int r = memo_client_connect(dir, &c, err);
	if (r == 0)
		r = memo_client_call(c, j, NULL, NULL, reply_out, status_out, err);
	memo_client_close(c);
	return r;
}

static void test_requests(void)
{
	static const struct {
		const char *request;
		int code, status;
		const char *says; /* part of the message */
	} rows[] = {
		{ "{\"op\":\"hello\"}", 0, -1, NULL },
		{ "{\"op\":\"tasks\"}", 0, -1, NULL },
		{ "{\"op\":\"status\"}", 0, -1, NULL },
		{ "{\"op\":\"config\"}", 0, -1, NULL },
		{ "{\"op\":\"taks\"}", -EINVAL, 4, "tasks" },
		{ "{}", -EINVAL, 4, "op" },
		{ "{\"op\":\"config\",\"key\":\"cpu\"}", -ENOENT, 2, "cpus" },
		{ "{\"op\":\"show\",\"task\":\"nobody\"}", -ENOENT, 3, "nobody" },
		{ "{\"op\":\"show\",\"task\":\"a/b\"}", -EINVAL, 2, "a/b" },
		{ "{\"op\":\"path\"}", -EINVAL, 2, "path" },
		{ "{\"op\":\"path\",\"path\":\"/tasks/greet/1\"}", -EINVAL, 2, "names no instance" },
		{ "{\"op\":\"path\",\"task\":\"greet\",\"pairs\":[[\"wo\",\"x\"]]}", -EINVAL, 2, "who" },
		{ "{\"op\":\"path\",\"task\":\"greet\",\"pairs\":[[\"who\",\"x\"],[\"who\",\"y\"]]}", -EINVAL, 2,
		  "twice" },
		{ "{\"op\":\"log\",\"task\":\"greet\"}", -ENOENT, 3, "never executed" },
		{ "{\"op\":\"forget\",\"task\":\"greet\"}", -ENOENT, 3, "nothing to forget" },
		{ "{\"op\":\"add\",\"tasks\":[]}", -EINVAL, 2, "tasks" },
		{ "{\"op\":\"add\",\"tasks\":[{\"label\":\"t.json\",\"definition\":\"{}\"}]}", -EINVAL, 2,
		  "t.json" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		struct memo_err err = { 0 };
		int status = -1;
		CHECK_ROW(ask(rows[i].request, &reply, &status, &err) == rows[i].code, rows[i].request);
		CHECK_ROW(status == rows[i].status, rows[i].request);
		CHECK_ROW(rows[i].says == NULL || strstr(err.text, rows[i].says) != NULL, err.text);
	}
}

static const char *result_of(const json_t *reply)
{
	return memo_json_string(json_array_get(json_object_get(reply, "tasks"), 0), "result", NULL);
}

static void test_add(void)
{
	static const char request[] =
		"{\"op\":\"add\",\"dry\":%s,\"tasks\":[{\"label\":\"g/task.json\",\"definition\":"
		"\"{\\\"memofs\\\":1,\\\"name\\\":\\\"greet\\\",\\\"version\\\":\\\"1\\\",\\\"script\\\":\\\"r\\\","
		"\\\"inputs\\\":{\\\"who\\\":{\\\"type\\\":\\\"string?\\\"},\\\"f\\\":{\\\"type\\\":\\\"File?\\\"}}"
		"}\","
		"\"files\":[{\"path\":\"r\",\"data\":\"%s\",\"exec\":true}]}]}";
	static const struct {
		const char *dry, *data, *result;
		int code;
	} rows[] = {
		{ "true", "IyEvYmluL3NoCg==", "added", 0 },
		{ "false", "IyEvYmluL3NoCg==", "added", 0 },
		{ "false", "IyEvYmluL3NoCg==", "unchanged", 0 },
		{ "true", "IyEvYmluL3NoCiM=", "updated", 0 },
		{ "false", "====", NULL, -EINVAL },
		{ "false", "IyEv*mlu", NULL, -EINVAL },
		{ "false", "IyE", NULL, -EINVAL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[1024];
		MEMO_AUTO_JSON json_t *reply = NULL;
		struct memo_err err = { 0 };
		(void)snprintf(text, sizeof text, request, rows[i].dry, rows[i].data);
		CHECK_INT(ask(text, &reply, NULL, &err), rows[i].code);
		if (rows[i].result != NULL)
			CHECK_STR(result_of(reply), rows[i].result);
	}
}

static void test_paths(void)
{
	static const struct {
		const char *request, *path;
	} rows[] = {
		{ "{\"op\":\"path\",\"task\":\"greet\"}", "/tasks/greet/1/@default" },
		{ "{\"op\":\"path\",\"task\":\"greet@latest\",\"pairs\":[[\"who\",\"a,b/c\"]]}",
		  "/tasks/greet/1/who=a%2Cb%2Fc" },
		{ "{\"op\":\"path\",\"path\":\"/info/greet/latest/who=x\"}", "/tasks/greet/1/who=x" },
		{ "{\"op\":\"path\",\"path\":\"greet/1/who=%78\"}", "/tasks/greet/1/who=x" },
		{ "{\"op\":\"path\",\"task\":\"greet\",\"cwd\":\"/d\",\"pairs\":[[\"f\",\"../e/./x\"]]}",
		  "/tasks/greet/1/f=%2Fe%2Fx" },
		{ "{\"op\":\"path\",\"task\":\"greet\",\"mount\":\"/m\",\"pairs\":[[\"f\",\"/m/cached/greet/1/"
		  "who=x\"]]}",
		  "/tasks/greet/1/f=%2Ftasks%2Fgreet%2F1%2Fwho=x" },
		{ "{\"op\":\"path\",\"mount\":\"/m\",\"path\":\"/m/tasks/greet/1/who=x\"}",
		  "/tasks/greet/1/who=x" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		MEMO_AUTO_JSON json_t *reply = NULL;
		struct memo_err err = { 0 };
		CHECK_ROW(ask(rows[i].request, &reply, NULL, &err) == 0, err.text);
		CHECK_STR(memo_json_string(reply, "path", NULL), rows[i].path);
	}
}

/* What a peer sends, whole or a byte at a time, and how it is answered: a refusal, then the end. */
static void test_garbage(void)
{
	static const struct {
		const char *data;
		size_t len;
	} rows[] = {
		{ "\0\0\0\0", 4 },	  { "\xff\xff\xff\xff", 4 }, { "GET / HTTP/1.0\r\n\r\n", 18 },
		{ "\0\0\0\x05hello", 9 }, { "\0\0\0\x02[]", 6 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int fd = dial();
		json_t *reply = NULL;
		CHECK(send(fd, rows[i].data, rows[i].len, MSG_NOSIGNAL) == (ssize_t)rows[i].len);
		CHECK_INT(memo_frame_receive(fd, &reply, NULL), 0);
		CHECK_INT(memo_json_int(reply, "code", 0), EPROTO);
		json_decref(reply);
		reply = NULL;
		CHECK_INT(memo_frame_receive(fd, &reply, NULL), -ECONNRESET);
		(void)close(fd);
	}
}

/* Two requests, byte by byte and at once, are answered in order on one connection. */
static void test_split(void)
{
	MEMO_AUTO_JSON json_t *one = json_pack("{s:s}", "op", "hello");
	MEMO_AUTO_JSON json_t *two = json_pack("{s:s}", "op", "tasks");
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_frame_append(one, &b), 0);
	CHECK_INT(memo_frame_append(two, &b), 0);
	for (size_t step = 1; step <= b.len; step += b.len - 1) {
		int fd = dial();
		for (size_t at = 0; at < b.len; at += step)
			CHECK(send(fd, b.data + at, step < b.len - at ? step : b.len - at, MSG_NOSIGNAL) > 0);
		MEMO_AUTO_JSON json_t *first = NULL;
		MEMO_AUTO_JSON json_t *second = NULL;
		CHECK_INT(memo_frame_receive(fd, &first, NULL), 0);
		CHECK_INT(memo_frame_receive(fd, &second, NULL), 0);
		CHECK(json_object_get(first, "pid") != NULL);
		CHECK(json_object_get(second, "tasks") != NULL);
		(void)close(fd);
	}
}

/* Peers that say nothing, or go away in the middle, hold nobody up. Above the limit one is told and sent away. */
static void test_many(void)
{
	static int fd[MEMO_SERVER_PER_UID + 1];
	for (size_t i = 0; i <= MEMO_SERVER_PER_UID; i++)
		fd[i] = dial();
	CHECK_INT(send(fd[0], "\0\0", 2, MSG_NOSIGNAL), 2);
	json_t *reply = NULL;
	CHECK_INT(memo_frame_receive(fd[MEMO_SERVER_PER_UID], &reply, NULL), 0);
	CHECK_INT(memo_json_int(reply, "code", 0), EAGAIN);
	json_decref(reply);
	for (size_t i = 0; i <= MEMO_SERVER_PER_UID; i++)
		(void)close(fd[i]);
	int r = -EAGAIN;
	for (int i = 0; i < 100 && r == -EAGAIN; i++) {
		reply = NULL;
		r = ask("{\"op\":\"hello\"}", &reply, NULL, NULL);
		json_decref(reply);
		if (r == -EAGAIN)
			(void)poll(NULL, 0, 20);
	}
	CHECK_INT(r, 0);
}

/* The end: who is connected sees it, and nobody finds a socket. */
static void test_stop(void)
{
	int fd = dial();
	json_t *reply = NULL;
	memo_server_stop(server);
	server = NULL;
	CHECK_INT(memo_frame_receive(fd, &reply, NULL), -ECONNRESET);
	(void)close(fd);
	CHECK_INT(ask("{\"op\":\"hello\"}", &reply, NULL, NULL), -ENOENT);
}

int main(void)
{
	struct memo_err err = { 0 };
	(void)snprintf(dir, sizeof dir, "/tmp/memofs-test-server-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	struct memo_runner_options o = { .worker = "/bin/false" };
	int r = memo_store_init(dir, &err);
	if (r == 0)
		r = memo_store_open(dir, "test", 0, NULL, &store, &err);
	o.store = store;
	if (r == 0)
		r = memo_runner_open(&o, &runner, &err);
	if (r == 0)
		r = memo_server_start(runner, &server, &err);
	if (r < 0) {
		printf("Bail out! %s\n", err.text);
		return 1;
	}
	RUN(test_add);
	RUN(test_requests);
	RUN(test_paths);
	RUN(test_garbage);
	RUN(test_split);
	RUN(test_many);
	RUN(test_stop);
	memo_runner_close(runner);
	memo_store_close(store);
	if (memo_io_remove_tree(AT_FDCWD, dir) < 0)
		return 1;
	return check_end();
}
