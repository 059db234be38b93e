/* The registry: added, unchanged, updated, latest, removed; needs, cycles, code, tools. */
#include "fixture.h"

struct added {
	enum memo_added how;
	struct memo_task *task;
	char warning[512];
};

/* Registers @json; *@a.task must be given back. */
static int add(struct fixture *f, const char *json, const struct memo_code_file *file, bool dry, struct added *a)
{
	struct memo_task *t = NULL;
	MEMO_AUTO_BUF struct memo_buf w = { 0 };
	memset(a, 0, sizeof *a);
	f->err.text[0] = '\0';
	if (memo_task_parse(json, strlen(json), "test.json", &t, &f->err) < 0) {
		printf("# %s\n", f->err.text);
		return -1;
	}
	int r = memo_store_register(f->s, t, file, file == NULL ? 0 : 1, dry, &a->how, &a->task, &w, &f->err);
	(void)snprintf(a->warning, sizeof a->warning, "%s", memo_buf_str(&w));
	memo_task_unref(t);
	return r;
}

#define TASK(name, version, rest) \
	"{\"memofs\":1,\"name\":\"" name "\",\"version\":\"" version "\",\"command\":[\"true\"]" rest "}"

static void latest_is(struct fixture *f, const char *name, const char *want)
{
	char v[MEMO_NAME_MAX + 1] = "";
	CHECK_INT(memo_store_latest(f->s, name, v), 0);
	CHECK_STR(v, want);
}

static void test_versions(void)
{
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, TASK("t", "1", ""), NULL, true, &a), 0);
	CHECK_INT(a.how, MEMO_ADDED);
	memo_task_unref(a.task);
	char none[MEMO_NAME_MAX + 1];
	CHECK_INT(memo_store_latest(f.s, "t", none), -ENOENT);
	CHECK_INT(add(&f, TASK("t", "1", ""), NULL, false, &a), 0);
	CHECK_INT(a.how, MEMO_ADDED);
	uint64_t ino = a.task->ino;
	uint64_t name_ino = 0;
	CHECK(ino >= MEMO_INO_FIRST);
	CHECK_INT(memo_store_name_ino(f.s, "t", &name_ino), 0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, TASK("t", "1", ""), NULL, false, &a), 0);
	CHECK_INT(a.how, MEMO_UNCHANGED);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, TASK("t", "2", ""), NULL, false, &a), 0);
	CHECK_INT(a.how, MEMO_ADDED);
	CHECK(a.task->ino >= ino + 16);
	memo_task_unref(a.task);
	latest_is(&f, "t", "2");
	/* Registering an old version again makes it the latest. */
	CHECK_INT(add(&f, TASK("t", "1", ""), NULL, false, &a), 0);
	CHECK_INT(a.how, MEMO_UNCHANGED);
	memo_task_unref(a.task);
	latest_is(&f, "t", "1");
	CHECK_INT(add(&f, TASK("t", "1", ",\"description\":\"x\""), NULL, false, &a), 0);
	CHECK_INT(a.how, MEMO_UPDATED);
	CHECK(a.task->ino == ino);
	memo_task_unref(a.task);
	fx_reopen(&f, NULL);
	latest_is(&f, "t", "1");
	struct memo_task *t = NULL;
	uint64_t again = 0;
	CHECK_INT(memo_store_task(f.s, "t", "1", &t, &f.err), 0);
	CHECK_STR(t->description, "x");
	CHECK(t->ino == ino && memo_store_registered_ns(f.s, t) > 0);
	memo_task_unref(t);
	CHECK_INT(memo_store_name_ino(f.s, "t", &again), 0);
	CHECK(again == name_ino);
	CHECK_INT(memo_store_task(f.s, "t", "3", &t, &f.err), -ENOENT);
	CHECK_INT(memo_store_task(f.s, "tt", NULL, &t, &f.err), -ENOENT);
	struct memo_task **list = NULL;
	size_t count = 0;
	CHECK_INT(add(&f, TASK("a", "9", ""), NULL, false, &a), 0);
	memo_task_unref(a.task);
	CHECK_INT(memo_store_tasks(f.s, &list, &count), 0);
	CHECK_INT(count, 3);
	CHECK_STR(list[0]->name, "a");
	CHECK_STR(list[1]->version, "2");
	CHECK_STR(list[2]->version, "1");
	memo_store_tasks_free(list, count);
	/* Removing the latest makes the one before it the latest. */
	CHECK_INT(memo_store_unregister(f.s, "t", "1", &f.err), 0);
	latest_is(&f, "t", "2");
	CHECK_INT(memo_store_unregister(f.s, "t", "1", &f.err), -ENOENT);
	CHECK_INT(memo_store_unregister(f.s, "t", NULL, &f.err), 0);
	CHECK_INT(memo_store_unregister(f.s, "t", NULL, &f.err), -ENOENT);
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_tasks(f.s, &list, &count), 0);
	CHECK_INT(count, 1);
	memo_store_tasks_free(list, count);
	fx_end(&f);
}

static void test_undeclared(void)
{
	static const char one[] = "{\"memofs\":1,\"name\":\"s\",\"script\":\"run.sh\"}";
	struct memo_code_file file = { .path = "run.sh", .data = "#!/bin/sh\necho 1\n", .len = 17, .exec = true };
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, one, NULL, false, &a), -EINVAL);
	CHECK(strstr(f.err.text, "run.sh") != NULL);
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	CHECK(strncmp(a.task->version, "auto-", 5) == 0 && strlen(a.task->version) == 21);
	char version[MEMO_NAME_MAX + 1];
	(void)snprintf(version, sizeof version, "%s", a.task->version);
	memo_task_unref(a.task);
	file.data = "#!/bin/sh\necho 2\n";
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	CHECK_INT(a.how, MEMO_ADDED);
	CHECK(strcmp(a.task->version, version) != 0);
	memo_task_unref(a.task);
	/* The code is in the store: its sources are not needed any more. */
	fx_reopen(&f, NULL);
	struct memo_task *t = NULL;
	CHECK_INT(memo_store_task(f.s, "s", version, &t, &f.err), 0);
	CHECK_INT(t->codes, 1);
	CHECK(t->code[0].exec && t->code[0].size == 17);
	char *path = NULL;
	CHECK_INT(memo_store_code_path(f.s, &t->code[0], &path), 0);
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	CHECK_INT(memo_io_read_file(AT_FDCWD, path, 1000, &b), 0);
	CHECK_STR(memo_buf_str(&b), "#!/bin/sh\necho 1\n");
	CHECK_INT(access(path, X_OK), 0);
	free(path);
	memo_task_unref(t);
	fx_end(&f);
}

static void test_declared_code(void)
{
	static const char one[] = "{\"memofs\":1,\"name\":\"s\",\"version\":\"1\",\"script\":\"run.sh\"}";
	struct memo_code_file file = { .path = "run.sh", .data = "echo 1\n", .len = 7 };
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	memo_task_unref(a.task);
	file.exec = true;
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	CHECK_INT(a.how, MEMO_UPDATED);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	CHECK_INT(a.how, MEMO_UNCHANGED);
	memo_task_unref(a.task);
	file.data = "echo 2\n";
	CHECK_INT(add(&f, one, &file, false, &a), 0);
	CHECK_INT(a.how, MEMO_UPDATED);
	memo_task_unref(a.task);
	fx_end(&f);
}

static void test_tools(void)
{
	static const char one[] = "{\"memofs\":1,\"name\":\"s\",\"command\":[\"x\"],\"tools\":[\"mytool\"]}";
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, one, NULL, false, &a), -ENOENT);
	CHECK(strstr(f.err.text, "'mytool'") != NULL);
	char *path = memo_io_join(f.root, "mytool");
	fx_write(path, "1", 0755);
	CHECK_INT(memo_store_config_set(f.s, "path", f.root, &f.err), 0);
	CHECK_INT(add(&f, one, NULL, false, &a), 0);
	char version[MEMO_NAME_MAX + 1];
	(void)snprintf(version, sizeof version, "%s", a.task->version);
	memo_task_unref(a.task);
	fx_write(path, "2", 0755);
	CHECK_INT(add(&f, one, NULL, false, &a), 0);
	CHECK(strcmp(version, a.task->version) != 0);
	memo_task_unref(a.task);
	CHECK_INT(chmod(path, 0644), 0);
	CHECK_INT(add(&f, one, NULL, false, &a), -ENOENT);
	free(path);
	fx_end(&f);
}

static void test_needs(void)
{
	static const struct {
		const char *json;
		int want;
		const char *says; /* in the error or the warning */
	} row[] = {
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"later\"}}"), 0, "'later' is not registered yet" },
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"up\",\"version\":\"7\"}}"), 0,
		  "version 7 is not registered yet" },
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"up\",\"inputs\":{\"k\":3}}}"), 0, "" },
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"up\"}}"), -EINVAL,
		  "input 'k' of task 'up' must be given" },
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"up\",\"inputs\":{\"k\":3,\"z\":1}}}"), -EINVAL,
		  "has no input 'z'" },
		{ TASK("n", "1", ",\"needs\":{\"d\":{\"task\":\"up\",\"inputs\":{\"k\":true}}}"), -EINVAL,
		  "need 'd'" },
		{ TASK("n", "1",
		       ",\"needs\":{\"d\":{\"task\":\"dir\"},\"e\":{\"task\":\"eats\",\"inputs\":{\"f\":\"{needs.d}"
		       "\"}}}"),
		  -EINVAL, "takes a File, but need 'd' gives a Directory" },
		{ TASK("n", "1",
		       ",\"needs\":{\"d\":{\"task\":\"up\",\"inputs\":{\"k\":1}},"
		       "\"e\":{\"task\":\"eats\",\"inputs\":{\"f\":\"{needs.d}\"}}}"),
		  0, "" },
	};
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, TASK("up", "1", ",\"inputs\":{\"k\":{\"type\":\"int\"}}"), NULL, false, &a), 0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, TASK("dir", "1", ",\"output\":{\"type\":\"Directory\",\"path\":\"o\"}"), NULL, false, &a),
		  0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, TASK("eats", "1", ",\"inputs\":{\"f\":{\"type\":\"File\"}}"), NULL, false, &a), 0);
	memo_task_unref(a.task);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		CHECK_ROW(add(&f, row[i].json, NULL, false, &a) == row[i].want, row[i].json);
		CHECK_ROW(strstr(row[i].want == 0 ? a.warning : f.err.text, row[i].says) != NULL, row[i].json);
		memo_task_unref(a.task);
	}
	fx_end(&f);
}

#define NEEDS(name, version, other) TASK(name, version, ",\"needs\":{\"x\":{\"task\":\"" other "\"}}")

static void test_cycles(void)
{
	struct fixture f;
	struct added a;
	fx_begin(&f);
	CHECK_INT(add(&f, NEEDS("a", "1", "b"), NULL, false, &a), 0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, NEEDS("b", "1", "c"), NULL, false, &a), 0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, NEEDS("c", "1", "a"), NULL, false, &a), -ELOOP);
	CHECK(strstr(f.err.text, "c needs a needs b needs c") != NULL);
	/* A version that is not the latest of its name is another node. */
	CHECK_INT(add(&f, TASK("c", "1", ""), NULL, false, &a), 0);
	memo_task_unref(a.task);
	CHECK_INT(add(&f, NEEDS("c", "2", "a"), NULL, false, &a), -ELOOP);
	CHECK_INT(add(&f, TASK("c", "2", ",\"needs\":{\"x\":{\"task\":\"c\",\"version\":\"1\"}}"), NULL, false, &a),
		  0);
	memo_task_unref(a.task);
	latest_is(&f, "c", "2");
	fx_end(&f);
}

int main(void)
{
	RUN(test_versions);
	RUN(test_undeclared);
	RUN(test_declared_code);
	RUN(test_tools);
	RUN(test_needs);
	RUN(test_cycles);
	return check_end();
}
