/* fill: many results in a store, quickly, and whether they are all there.
 *
 *	fill make STORE FIRST COUNT [kill]    results n=FIRST … of the registered task "fill": "result <n>\n"; then closes the store,
 *	                                      or ends by SIGKILL
 *	fill check STORE FIRST COUNT          opens the store, looks all up, compares their bytes
 *
 * Results are published as the runner publishes them, record by record; only fsync and fdatasync do nothing in this
 * program, so that a hundred thousand take seconds. Prints one line of "key=value", times in milliseconds. */
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/sync.h"
#include "core/identity.h"
#include "core/path.h"
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* In the place of libc's, for this program and the libraries that it loads. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static int die(const char *what, int code, const struct memo_err *err)
{
	(void)fprintf(stderr, "fill: %s: %s\n", what, err->code < 0 ? err->text : memo_strerror(code));
	exit(2);
}

static long long since_ms(int64_t begin)
{
	return (long long)((memo_now_ns() - begin) / MEMO_NS_PER_MS);
}

static void on_line(void *arg, bool progress, const char *line)
{
	(void)arg;
	(void)fprintf(stderr, "fill: %s%s\n", progress ? "(progress) " : "", line);
}

static struct memo_store *open_store(const char *dir, struct memo_task **task)
{
	struct memo_store *s = NULL;
	struct memo_err err = { 0 };
	int r = memo_store_open_told(dir, "fill", 5000, on_line, NULL, &s, &err);
	if (r == 0)
		r = memo_store_task(s, "fill", NULL, task, &err);
	if (r < 0)
		die(dir, r, &err);
	return s;
}

struct one {
	struct memo_instance i;
	char name[64];
	char text[64];
};

static void describe(const struct memo_task *t, long n, struct one *x)
{
	struct memo_err err = { 0 };
	json_t *inputs = json_pack("{s:I}", "n", (json_int_t)n);
	json_t *key = NULL;
	memset(x, 0, sizeof *x);
	int r = memo_identity_key(t, NULL, inputs, NULL, NULL, &key, &err);
	if (r == 0)
		r = memo_identity_of(key, &x->i.identity, &err);
	if (r < 0)
		die("identity", r, &err);
	(void)snprintf(x->name, sizeof x->name, "n=%ld", n);
	(void)snprintf(x->text, sizeof x->text, "result %ld\n", n);
	x->i.task = t->name;
	x->i.version = t->version;
	x->i.name = x->name;
	x->i.inputs = inputs;
	x->i.key = key;
}

static void clear(struct one *x)
{
	json_decref((json_t *)(uintptr_t)x->i.inputs);
	json_decref((json_t *)(uintptr_t)x->i.key);
}

static void write_output(const char *attempt, const struct one *x)
{
	MEMO_AUTO_FREE char *path = memo_io_join(attempt, "output");
	struct memo_err err = { 0 };
	(void)unlink(path);
	MEMO_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0 || memo_io_write_all(fd, x->text, strlen(x->text)) < 0)
		die(path, memo_errno(), &err);
}

static void make_one(struct memo_store *s, const struct memo_task *t, const char *attempt, const json_t *origin,
		     long n)
{
	struct one x;
	struct memo_err err = { 0 };
	struct memo_transition begin = { .to = MEMO_PENDING, .exit_code = -1 };
	struct memo_produced p = { .kind = MEMO_RESULT_FILE };
	struct memo_result *res = NULL;
	describe(t, n, &x);
	write_output(attempt, &x);
	p.size = strlen(x.text);
	int r = memo_hash_bytes(x.text, p.size, &p.blob);
	p.hash = p.blob;
	struct memo_publication q = {
		.instance = &x.i,
		.attempt = attempt,
		.produced = &p,
		.origin = origin,
		.transition = { .to = MEMO_SUCCESS, .executor = "local", .exit_code = 0 },
	};
	if (r == 0)
		r = memo_store_transition(s, &x.i, &begin, &err);
	if (r == 0)
		r = memo_store_publish(s, &q, &res, &err);
	if (r < 0)
		die(x.name, r, &err);
	memo_result_unref(res);
	clear(&x);
}

static int make(const char *dir, long first, long count, bool end_by_kill)
{
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	char *attempt = NULL;
	struct memo_store *s = open_store(dir, &t);
	int r = memo_store_attempt_new(s, &attempt, &err);
	if (r < 0)
		die(dir, r, &err);
	json_t *origin = json_pack("{s:s, s:s, s:f, s:i, s:s}", "started", "2026-01-31T12:00:00.000Z", "ended",
				   "2026-01-31T12:00:01.000Z", "seconds", 1.0, "exit_status", 0, "executor",
				   "local");
	int64_t begin = memo_now_ns();
	for (long n = first; n < first + count; n++)
		make_one(s, t, attempt, origin, n);
	(void)printf("made=%ld make_ms=%lld\n", count, since_ms(begin));
	(void)fflush(stdout);
	if (end_by_kill)
		(void)raise(SIGKILL);
	memo_store_attempt_remove(s, attempt);
	json_decref(origin);
	memo_task_unref(t);
	memo_store_close(s);
	free(attempt);
	return 0;
}

/* 0 exact, 1 missing, 2 other bytes. */
static int check_one(struct memo_store *s, const struct memo_task *t, long n)
{
	struct one x;
	struct memo_err err = { 0 };
	struct memo_result *res = NULL;
	char text[80] = "";
	size_t got = 0;
	describe(t, n, &x);
	int r = memo_store_lookup(s, &x.i.identity, &res, &err);
	MEMO_AUTO_FD int fd = -1;
	if (r == 0)
		r = memo_store_open_file(s, res, &fd, &err);
	if (r == 0)
		r = memo_io_read_full(fd, text, sizeof text - 1, &got);
	memo_result_unref(res);
	int verdict = r < 0 ? 1 : strcmp(text, x.text) == 0 ? 0 : 2;
	if (verdict != 0)
		(void)fprintf(stderr, "fill: %s: %s\n", x.name, r < 0 ? err.text : "other bytes");
	clear(&x);
	return verdict;
}

static int check(const char *dir, long first, long count)
{
	long seen[3] = { 0 };
	struct memo_task *t = NULL;
	int64_t begin = memo_now_ns();
	struct memo_store *s = open_store(dir, &t);
	long long open_ms = since_ms(begin);
	for (long n = first; n < first + count; n++)
		seen[check_one(s, t, n)]++;
	memo_task_unref(t);
	memo_store_close(s);
	(void)printf("open_ms=%lld exact=%ld missing=%ld wrong=%ld\n", open_ms, seen[0], seen[1], seen[2]);
	return seen[1] + seen[2] > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool kill_it = argc == 6 && strcmp(argv[5], "kill") == 0;
	if (argc >= 5 && strcmp(argv[1], "make") == 0 && (argc == 5 || kill_it))
		return make(argv[2], strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10), kill_it);
	if (argc == 5 && strcmp(argv[1], "check") == 0)
		return check(argv[2], strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10));
	(void)fprintf(stderr, "usage: fill make STORE FIRST COUNT [kill] | fill check STORE FIRST COUNT\n");
	return 2;
}
