/* Settings: defaults, checks, what is kept. */
#include "fixture.h"

static void test_checks(void)
{
	static const struct {
		const char *key;
		const char *value;
		int want;
	} row[] = {
		{ "executor", "slurm", 0 },
		{ "executor", "pbs", -EINVAL },
		{ "cpus", "4", 0 },
		{ "cpus", "0", -EINVAL },
		{ "cpus", "2.5", -EINVAL },
		{ "cpus", "-1", -EINVAL },
		{ "memory", "4 GiB", 0 },
		{ "memory", "lots", -EINVAL },
		{ "path", "/usr/bin:/bin", 0 },
		{ "path", "bin", -EINVAL },
		{ "path", "/bin:", -EINVAL },
		{ "sandbox", "off", 0 },
		{ "sandbox", "maybe", -EINVAL },
		{ "readable", "/data:/ref", 0 },
		{ "readable", "data", -EINVAL },
		{ "writable", "/scratch", 0 },
		{ "writable", "::", -EINVAL },
		{ "mode", "0750", 0 },
		{ "mode", "755", 0 },
		{ "mode", "0955", -EINVAL },
		{ "mode", "0077", -EINVAL },
		{ "mode", "4755", -EINVAL },
		{ "group", "no-such-group", -EINVAL },
		{ "runners", "root", 0 },
		{ "runners", "0", 0 },
		{ "runners", "4294967290", -EINVAL },
		{ "max_size", "200 GiB", 0 },
		{ "max_size", "-1", -EINVAL },
		{ "max_waiting", "5", 0 },
		{ "max_waiting", "0", -EINVAL },
		{ "failure_backoff", "0.5", 0 },
		{ "failure_backoff", "0", 0 },
		{ "failure_backoff", "-1", -EINVAL },
		{ "failure_backoff", "nan", -EINVAL },
		{ "failure_backoff", "0x1", -EINVAL },
		{ "cpu", "1", -ENOENT },
	};
	struct fixture f;
	fx_begin(&f);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		char what[64];
		(void)snprintf(what, sizeof what, "%s = %s", row[i].key, row[i].value);
		CHECK_ROW(memo_store_config_set(f.s, row[i].key, row[i].value, &f.err) == row[i].want, what);
		if (row[i].want != 0)
			continue;
		char *now = NULL;
		CHECK_INT(memo_store_config_get(f.s, row[i].key, &now, &f.err), 0);
		CHECK_STR(now, row[i].value);
		free(now);
	}
	char *none = NULL;
	CHECK_INT(memo_store_config_get(f.s, "cpu", &none, &f.err), -ENOENT);
	CHECK(strstr(f.err.text, "did you mean 'cpus'") != NULL && strstr(f.err.text, "failure_backoff") != NULL);
	fx_end(&f);
}

static void test_kept_and_reset(void)
{
	struct fixture f;
	struct memo_settings v;
	struct stat st;
	fx_begin(&f);
	CHECK_INT(memo_store_settings(f.s, &v, &f.err), 0);
	CHECK(v.executor == MEMO_EXEC_LOCAL && v.cpus >= 1 && v.memory_bytes > 1 << 20 && v.max_waiting == 10000);
	CHECK(v.failure_backoff_ms == 1000 && v.mode == 0755 && !v.has_runners && v.gid == getegid());
	CHECK_STR(v.path, "/usr/local/bin:/usr/bin:/bin");
	CHECK_INT(memo_store_config_set(f.s, "mode", "0700", &f.err), 0);
	CHECK_INT(stat(f.dir, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0700);
	CHECK_INT(memo_store_config_set(f.s, "cpus", "3", &f.err), 0);
	CHECK_INT(memo_store_config_set(f.s, "memory", "2 GiB", &f.err), 0);
	CHECK_INT(memo_store_config_set(f.s, "failure_backoff", "2.5", &f.err), 0);
	CHECK_INT(memo_store_config_set(f.s, "runners", "root", &f.err), 0);
	CHECK_INT(memo_store_config_set(f.s, "executor", "slurm", &f.err), 0);
	fx_reopen(&f, NULL);
	CHECK_INT(memo_store_settings(f.s, &v, &f.err), 0);
	CHECK(v.executor == MEMO_EXEC_SLURM && v.cpus == 3 && v.memory_bytes == (uint64_t)2 << 30);
	CHECK(v.failure_backoff_ms == 2500 && v.mode == 0700 && v.has_runners && v.runners_gid == 0);
	CHECK_INT(memo_store_config_set(f.s, "mode", "", &f.err), 0);
	CHECK_INT(stat(f.dir, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0755);
	json_t *list = memo_store_config_list(f.s);
	CHECK_INT(json_array_size(list), 13);
	CHECK_STR(memo_json_string(json_array_get(list, 0), "key", ""), "executor");
	CHECK(!memo_json_bool(json_array_get(list, 0), "default", true));
	CHECK(memo_json_bool(json_array_get(list, 7), "default", false));
	json_decref(list);
	fx_end(&f);
}

static void test_edited_by_hand(void)
{
	struct fixture f;
	struct memo_settings v;
	fx_begin(&f);
	char *path = fx_path(&f, "config.json");
	fx_write(path, "{\"cpus\":\"many\",\"max_waiting\":\"7\",\"unknown\":\"x\"}", 0644);
	MEMO_AUTO_BUF struct memo_buf notice = { 0 };
	fx_reopen(&f, &notice);
	CHECK(strstr(memo_buf_str(&notice), "setting 'cpus': 'many'") != NULL);
	CHECK_INT(memo_store_settings(f.s, &v, &f.err), 0);
	CHECK(v.cpus >= 1 && v.max_waiting == 7);
	fx_write(path, "{", 0644);
	memo_store_close(f.s);
	f.s = NULL;
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), -EINVAL);
	CHECK(strstr(f.err.text, "config.json") != NULL);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(memo_store_open(f.dir, "test", 0, NULL, &f.s, &f.err), 0);
	free(path);
	fx_end(&f);
}

int main(void)
{
	RUN(test_checks);
	RUN(test_kept_and_reset);
	RUN(test_edited_by_hand);
	return check_end();
}
