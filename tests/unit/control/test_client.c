/* The client against a peer that says what a test wants: events, answers, refusals, silence. */
#include "check.h"
#include "control/client.h"
#include "control/protocol.h"

#include "base/json.h"
#include "base/scope.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char dir[4096];

struct peer {
	int listener;
	const char *const *say; /* for each request; NULL ends */
	char got[256];
};

static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_INT(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
	CHECK_INT(listen(fd, 1), 0);
	return fd;
}

static void *play(void *arg)
{
	struct peer *p = arg;
	int fd = accept(p->listener, NULL, NULL);
	json_t *request = NULL;
	if (memo_frame_receive(fd, &request, NULL) == 0) {
		(void)snprintf(p->got, sizeof p->got, "%s", memo_json_string(request, "op", ""));
		json_decref(request);
	}
	for (const char *const *s = p->say; *s != NULL; s++) {
		MEMO_AUTO_JSON json_t *m = NULL;
		if (memo_json_parse(*s, strlen(*s), &m, NULL) < 0 || memo_frame_send(fd, m, NULL) < 0)
			break;
	}
	(void)close(fd);
	return NULL;
}

static int count_events(void *arg, const json_t *event)
{
	int *n = arg;
	(*n)++;
	return (int)memo_json_int(event, "return", 0);
}

struct outcome {
	int r, status, events;
	struct memo_err err;
	json_t *reply;
};

static struct outcome converse(const char *const *say)
{
	char path[4200];
	struct outcome o = { .status = -1 };
	(void)snprintf(path, sizeof path, "%s/control.sock", dir);
	(void)unlink(path);
	struct peer p = { .listener = listen_at(path), .say = say };
	pthread_t t;
	CHECK_INT(pthread_create(&t, NULL, play, &p), 0);
	struct memo_client *c = NULL;
	CHECK_INT(memo_client_connect(dir, &c, &o.err), 0);
	json_t *request = json_pack("{s:s}", "op", "tasks");
	o.r = memo_client_call(c, request, count_events, &o.events, &o.reply, &o.status, &o.err);
	json_decref(request);
	memo_client_close(c);
	(void)pthread_join(t, NULL);
	(void)close(p.listener);
	(void)unlink(path);
	CHECK_STR(p.got, "tasks");
	return o;
}

static void test_answer(void)
{
	static const char *const say[] = { "{\"event\":\"x\"}", "{\"event\":\"y\"}", "{\"ok\":true,\"n\":7}",
					   NULL };
	struct outcome o = converse(say);
	CHECK_INT(o.r, 0);
	CHECK_INT(o.events, 2);
	CHECK_INT(memo_json_int(o.reply, "n", 0), 7);
	json_decref(o.reply);
}

static void test_refusal(void)
{
	static const struct {
		const char *say[2];
		int code, status;
		const char *text;
	} rows[] = {
		{ { "{\"ok\":false,\"code\":2,\"status\":3,\"message\":\"no task 'x'\"}" },
		  -ENOENT,
		  3,
		  "no task 'x'" },
		{ { "{\"ok\":false}" }, -EIO, 4, "Input/output error" },
		{ { "{\"ok\":false,\"code\":-1,\"message\":\"m\"}" }, -EIO, 4, "m" },
		{ { "{\"ok\":false,\"code\":0,\"message\":\"m\"}" }, -EIO, 4, "m" },
		{ { "{}" }, -EIO, 4, "Input/output error" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct outcome o = converse(rows[i].say);
		CHECK_INT(o.r, rows[i].code);
		CHECK_INT(o.status, rows[i].status);
		CHECK_STR(o.err.text, rows[i].text);
		CHECK(o.reply == NULL);
	}
}

static void test_gone(void)
{
	static const char *const silent[] = { NULL };
	static const char *const half[] = { "{\"event\":\"x\"}", NULL };
	CHECK_INT(converse(silent).r, -ECONNRESET);
	CHECK_INT(converse(half).r, -ECONNRESET);
}

static void test_event_ends_call(void)
{
	static const char *const say[] = { "{\"event\":\"x\",\"return\":-32}", "{\"ok\":true}", NULL };
	struct outcome o = converse(say);
	CHECK_INT(o.r, -EPIPE);
	CHECK_INT(o.events, 1);
	CHECK(o.reply == NULL);
}

static void test_nobody(void)
{
	char path[4200];
	struct memo_client *c = NULL;
	struct memo_err err = { 0 };
	CHECK_INT(memo_client_connect(dir, &c, &err), -ENOENT);
	(void)snprintf(path, sizeof path, "%s/control.sock", dir);
	(void)close(listen_at(path)); /* the socket of a process that died */
	CHECK_INT(memo_client_connect(dir, &c, &err), -ECONNREFUSED);
	CHECK(strstr(err.text, dir) != NULL);
	CHECK(c == NULL);
	(void)unlink(path);
}

/* A store whose path is longer than a socket's address. */
static void test_long_path(void)
{
	static const char *const say[] = { "{\"ok\":true}", NULL };
	char base[4096], name[201];
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	memcpy(base, dir, sizeof base);
	(void)snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/%s", name);
	CHECK_INT(mkdir(dir, 0700), 0);
	char here[4096];
	CHECK(getcwd(here, sizeof here) != NULL);
	/* the peer binds by a relative name; the client has the long one only */
	CHECK_INT(chdir(dir), 0);
	int listener = listen_at("control.sock");
	struct peer p = { .listener = listener, .say = say };
	pthread_t t;
	CHECK_INT(pthread_create(&t, NULL, play, &p), 0);
	struct memo_client *c = NULL;
	json_t *request = json_pack("{s:s}", "op", "tasks"), *reply = NULL;
	CHECK_INT(memo_client_connect(dir, &c, NULL), 0);
	CHECK_INT(memo_client_call(c, request, NULL, NULL, &reply, NULL, NULL), 0);
	(void)pthread_join(t, NULL);
	memo_client_close(c);
	json_decref(request);
	json_decref(reply);
	(void)close(listener);
	(void)unlink("control.sock");
	CHECK_INT(chdir(here), 0);
	CHECK_INT(rmdir(dir), 0);
	memcpy(dir, base, sizeof dir);
}

int main(void)
{
	(void)snprintf(dir, sizeof dir, "/tmp/memofs-test-client-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	RUN(test_answer);
	RUN(test_refusal);
	RUN(test_gone);
	RUN(test_event_ends_call);
	RUN(test_nobody);
	RUN(test_long_path);
	(void)rmdir(dir);
	return check_end();
}
