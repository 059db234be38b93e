/* Frames: a client of the control socket that does everything wrong, and one that does everything right beside it.
 *
 *	frames fuzz SOCKET SEED COUNT      sends COUNT malformed frames, each on a connection of its own or after others
 *	frames ask SOCKET SECONDS          well-formed requests, one after the other; prints how long they took
 *	frames slow SOCKET COUNT SECONDS   COUNT connections that send half a head and then nothing
 *
 * fuzz: the server may answer {"ok":false}, or close; what it must not do is to hang (2 s are too long), or say "ok" to what
 * is no request. A line for each kind, and "sent N refused N closed N wrong N" at the end; exit status 1 when one was wrong. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BYTES 70000
#define ANSWER 4096
#define WRONG_MOST 10 /* enough: what hangs takes its time */
#define LIMIT_MS 10000 /* on a busy machine; what hangs, hangs for ever */

static uint64_t state;

static uint64_t roll(uint64_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * UINT64_C(2685821657736338717) >> 11) % n;
}

static int64_t now_us(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	for (int i = 0; i < 1000; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -1;
		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		(void)close(fd);
		if (errno != EAGAIN)
			return -1;
		(void)usleep(1000); /* the backlog is full */
	}
	return -1;
}

static size_t framed(char *to, const char *body, size_t len)
{
	to[0] = (char)(len >> 24);
	to[1] = (char)(len >> 16);
	to[2] = (char)(len >> 8);
	to[3] = (char)len;
	memmove(to + 4, body, len);
	return len + 4;
}

/* ---- what is sent -------------------------------------------------------------------------------- */

static const char *const ops[] = { "hello",	"add",	      "tasks",	  "show",      "remove",   "path",
				   "explain",	"state",      "get",	  "log",       "cancel",   "forget",
				   "status",	"config",     "why",	  "tail",      "stats",	   "fsck",
				   "verify",	"run-new",    "run-add",  "run-start", "run-stop", "run-cancel",
				   "run-retry", "run-status", "run-list", "run-rows",  "run-graph" };
static const char *const values[] = { "null",
				      "true",
				      "-1",
				      "1e308",
				      "\"\"",
				      "\"\\u0000x\"",
				      "[]",
				      "[[]]",
				      "{}",
				      "[null,1]",
				      "\"../../x\"",
				      "\"\\u001b[31m\"",
				      "9223372036854775807",
				      "[[\"a\"]]",
				      "\"/tasks/no/1/x=1\"",
				      "\"no@1\"",
				      "[[\"a\",1]]",
				      "{\"a\":{\"a\":{}}}" };
static const char *const members[] = { "path",	  "task",  "pairs",  "cwd",   "run",	     "rows",
				       "columns", "lines", "since",  "limit", "after",	     "outcomes",
				       "tasks",	  "dry",   "follow", "quiet", "force_tasks", "mount" };
#define OF(list) list[roll(sizeof list / sizeof *list)]

static size_t zero_length(char *b)
{
	memset(b, 0, 4);
	return 4;
}

static size_t oversized(char *b)
{
	uint32_t n = 1u << 28 | (uint32_t)roll(1u << 27);
	b[0] = (char)(n >> 24);
	b[1] = (char)(n >> 16);
	b[2] = (char)(n >> 8);
	b[3] = (char)n;
	return 4 + roll(16);
}

static size_t truncated(char *b)
{
	static const char text[] = "{\"op\":\"status\",\"x\":\"yyyyyyyyyyyyyyyyyyyyyyy\"}";
	size_t n = framed(b, text, sizeof text - 1);
	return roll(n); /* and the connection is closed */
}

static size_t noise(char *b)
{
	char body[512];
	size_t len = 1 + roll(sizeof body);
	for (size_t i = 0; i < len; i++)
		body[i] = (char)roll(256);
	return framed(b, body, len);
}

static size_t no_object(char *b)
{
	static const char *const text[] = { "[]", "1", "\"hello\"", "null", "[{\"op\":\"hello\"}]", "true" };
	const char *t = OF(text);
	return framed(b, t, strlen(t));
}

static size_t broken_json(char *b)
{
	char body[256];
	int n = snprintf(body, sizeof body, "{\"op\":\"%s\",\"%s\":%s,\"z\":\"\xff\xc0\"}", OF(ops), OF(members),
			 OF(values));
	if (roll(2) == 0) {
		n = snprintf(body, sizeof body, "{\"op\":\"%s\",\"%s\":%s}", OF(ops), OF(members), OF(values));
		n = (int)roll((uint64_t)n); /* cut: never a whole object */
		n = n == 0 ? 1 : n;
	}
	return framed(b, body, (size_t)n);
}

static size_t deep(char *b)
{
	char body[BYTES - 16];
	size_t n = 1000 + roll(30000);
	memset(body, roll(2) == 0 ? '[' : '{', n);
	return framed(b, body, n);
}

static size_t no_op(char *b)
{
	char body[256];
	static const char *const text[] = { "{}",
					    "{\"op\":1}",
					    "{\"op\":null}",
					    "{\"op\":\"\"}",
					    "{\"op\":\"HELLO\"}",
					    "{\"op\":[\"hello\"]}",
					    "{\"op\":\"hello \"}",
					    "{\"op\":\"hello\\u0000\"}" };
	int n = snprintf(body, sizeof body, "%s", OF(text));
	return framed(b, body, (size_t)n);
}

/* Requests with members that make no sense. What needs none may be answered; all else must be refused. */
static size_t bad_members(char *b)
{
	char body[1024];
	int n = snprintf(body, sizeof body, "{\"op\":\"%s\"", ops[roll(sizeof ops / sizeof *ops)]);
	for (size_t i = roll(5); i > 0; i--)
		n += snprintf(body + n, sizeof body - (size_t)n, ",\"%s\":%s", OF(members), OF(values));
	n += snprintf(body + n, sizeof body - (size_t)n, "}");
	return framed(b, body, (size_t)n);
}

static size_t many_at_once(char *b)
{
	size_t n = 0;
	for (int i = 0; i < 40; i++)
		n += framed(b + n, "{\"op\":\"nothing\"}", 16);
	return n;
}

static const struct kind {
	const char *name;
	size_t (*make)(char *b);
	int may_agree; /* "ok" is an answer, too */
	int more; /* it may wait for more: the end of the connection is the test */
} kind[] = {
	{ "zero-length", zero_length, 0, 0 },
	{ "oversized", oversized, 0, 0 },
	{ "truncated", truncated, 0, 1 },
	{ "noise", noise, 0, 0 },
	{ "no-object", no_object, 0, 0 },
	{ "broken-json", broken_json, 0, 0 },
	{ "deep", deep, 0, 0 },
	{ "no-op", no_op, 0, 0 },
	{ "bad-members", bad_members, 1, 0 },
	{ "many-at-once", many_at_once, 0, 0 },
};
#define KINDS (sizeof kind / sizeof *kind)

/* ---- sending ------------------------------------------------------------------------------------- */

enum said { SAID_NO, SAID_YES, SAID_CLOSED, SAID_NOTHING };

static enum said hear(int fd)
{
	char answer[ANSWER];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (poll(&p, 1, LIMIT_MS) <= 0)
		return SAID_NOTHING;
	ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
	if (n <= 4)
		return SAID_CLOSED;
	answer[n] = '\0';
	return memmem(answer + 4, (size_t)n - 4, "\"ok\":false", 10) != NULL ? SAID_NO : SAID_YES;
}

static int fuzz(const char *path, long count)
{
	static char frame[BYTES + 8];
	long hit[KINDS] = { 0 }, refused = 0, closed = 0, wrong = 0;
	long sent = 0;
	for (; sent < count && wrong < WRONG_MOST; sent++) {
		size_t k = roll(KINDS);
		size_t len = kind[k].make(frame);
		int fd = dial(path);
		if (fd < 0) {
			printf("wrong: cannot connect any more: %s\n", strerror(errno));
			return 1;
		}
		hit[k]++;
		if (len > 0 && send(fd, frame, len, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
			perror("send");
		enum said s = kind[k].more ? SAID_CLOSED : hear(fd);
		refused += s == SAID_NO;
		closed += s == SAID_CLOSED;
		if (s == SAID_NOTHING || (s == SAID_YES && !kind[k].may_agree)) {
			if (++wrong <= WRONG_MOST)
				printf("wrong: %s: %s: %.200s\n", kind[k].name,
				       s == SAID_YES ? "accepted" : "no answer", frame + 4);
		}
		(void)close(fd);
	}
	for (size_t k = 0; k < KINDS; k++)
		printf("%s %ld\n", kind[k].name, hit[k]);
	printf("sent %ld refused %ld closed %ld wrong %ld\n", sent, refused, closed, wrong);
	return wrong > 0;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

#define ASKED 1000000

static int ask(const char *path, double seconds)
{
	static int64_t took[ASKED];
	static const char *const text[] = { "{\"op\":\"hello\"}", "{\"op\":\"status\"}", "{\"op\":\"tasks\"}" };
	char frame[128];
	long n = 0, failed = 0;
	int64_t end = now_us() + (int64_t)(seconds * 1e6);
	while (now_us() < end && n < ASKED) {
		const char *t = text[n % 3];
		int64_t begin = now_us();
		int fd = dial(path);
		size_t len = framed(frame, t, strlen(t));
		if (fd < 0 || send(fd, frame, len, MSG_NOSIGNAL) != (ssize_t)len || hear(fd) != SAID_YES)
			failed++;
		if (fd >= 0)
			(void)close(fd);
		took[n++] = now_us() - begin;
		(void)usleep(1000);
	}
	qsort(took, (size_t)n, sizeof *took, by_value);
	printf("asked %ld failed %ld p50 %lld p99 %lld most %lld us\n", n, failed,
	       n > 0 ? (long long)took[n / 2] : 0, n > 0 ? (long long)took[n * 99 / 100] : 0,
	       n > 0 ? (long long)took[n - 1] : 0);
	return failed > 0;
}

static int slow(const char *path, long count, double seconds)
{
	long open_ones = 0;
	for (long i = 0; i < count; i++) {
		int fd = dial(path);
		if (fd >= 0 && send(fd, "\0\0", 2, MSG_NOSIGNAL) == 2)
			open_ones++;
	}
	printf("open %ld\n", open_ones);
	(void)fflush(stdout);
	(void)usleep((useconds_t)(seconds * 1e6));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "fuzz") == 0) {
		state = strtoull(argv[3], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
		return fuzz(argv[2], strtol(argv[4], NULL, 10));
	}
	if (argc == 4 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], strtod(argv[3], NULL));
	if (argc == 5 && strcmp(argv[1], "slow") == 0)
		return slow(argv[2], strtol(argv[3], NULL, 10), strtod(argv[4], NULL));
	return 2;
}
