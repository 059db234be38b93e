/* Settings: a table of keys with their checks, and DIR/config.json with what is not the default.
 *
 * A value is text, as the user gave it, and is checked before it is kept; what a file edited by hand holds is checked when the
 * store is opened, and a wrong value is told and counts as the default. `mode` and `group` are also applied to the store's
 * directory and to objects: they decide who may come in, all below stays as it is. */
#include "internal.h"

#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "core/nearest.h"

#include <ctype.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG_FILE "config.json"
#define CONFIG_BYTES ((size_t)1 << 20)
#define BACKOFF_MAX_S 86400.0
#define MAX_CPUS 1000000
#define GROUP_BYTES 65536

struct setting {
	const char *key;
	const char *fallback; /* NULL: of this machine */
	const char *meaning;
	int (*check)(const char *value, struct memo_err *err);
};

/* ---- parsing ------------------------------------------------------------------------------------------ */

/* Decimal digits alone. */
static int parse_whole(const char *text, uint64_t *out)
{
	if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	errno = 0;
	unsigned long long v = strtoull(text, NULL, 10);
	if (errno != 0)
		return -ERANGE;
	*out = v;
	return 0;
}

static int parse_mode(const char *text, uint32_t *out)
{
	size_t len = strlen(text);
	if (len < 3 || len > 4 || strspn(text, "01234567") != len)
		return -EINVAL;
	unsigned long v = strtoul(text, NULL, 8);
	if (v > 0777 || (v & 0500) != 0500)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

static int parse_backoff(const char *text, int64_t *ms_out)
{
	char *end;
	if (!isdigit((unsigned char)text[0]) || strchr(text, 'x') != NULL || strchr(text, 'X') != NULL)
		return -EINVAL;
	double v = strtod(text, &end);
	if (*end != '\0' || !(v >= 0) || v > BACKOFF_MAX_S)
		return -EINVAL;
	*ms_out = (int64_t)(v * 1000 + 0.5);
	return 0;
}

/* A name or a number of an existing group. -ENOENT. */
static int parse_group(const char *text, uint32_t *gid_out)
{
	MEMO_AUTO_FREE char *space = malloc(GROUP_BYTES);
	if (space == NULL)
		return -ENOMEM;
	struct group g;
	struct group *found = NULL;
	uint64_t n;
	int r = getgrnam_r(text, &g, space, GROUP_BYTES, &found);
	if (found == NULL && parse_whole(text, &n) == 0 && n < UINT32_MAX)
		r = getgrgid_r((gid_t)n, &g, space, GROUP_BYTES, &found);
	if (found == NULL)
		return r == ENOMEM || r == ERANGE ? -r : -ENOENT;
	*gid_out = found->gr_gid;
	return 0;
}

/* ---- checks ------------------------------------------------------------------------------------------- */

static int check_executor(const char *v, struct memo_err *err)
{
	if (strcmp(v, "local") == 0 || strcmp(v, "slurm") == 0)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'executor': '%s' is neither 'local' nor 'slurm'", v);
}

static int check_cpus(const char *v, struct memo_err *err)
{
	uint64_t n;
	if (parse_whole(v, &n) == 0 && n >= 1 && n <= MAX_CPUS)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'cpus': '%s' is not a whole number of at least 1", v);
}

static int check_memory(const char *v, struct memo_err *err)
{
	uint64_t n;
	if (memo_task_parse_size(v, &n) == 0 && n > 0)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'memory': '%s' is not a size such as '8 GiB'", v);
}

static int check_size(const char *v, struct memo_err *err)
{
	uint64_t n;
	if (memo_task_parse_size(v, &n) == 0)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'max_size': '%s' is not a size such as '200 GiB' (0: no limit)", v);
}

static int check_dirs(const char *v, const char *key, struct memo_err *err)
{
	if (v[0] == '\0')
		return 0;
	if (strlen(v) >= sizeof((struct memo_settings *)0)->path)
		return memo_fail(err, -EINVAL, "setting '%s': is too long", key);
	for (const char *p = v;; p++) {
		size_t len = strcspn(p, ":");
		if (len == 0 || p[0] != '/')
			return memo_fail(
				err, -EINVAL,
				"setting '%s': '%.*s' is not an absolute directory; separate them with ':'", key,
				(int)(len < 200 ? len : 200), p);
		p += len;
		if (*p == '\0')
			return 0;
	}
}

static int check_path(const char *v, struct memo_err *err)
{
	return check_dirs(v, "path", err);
}

static int check_readable(const char *v, struct memo_err *err)
{
	return check_dirs(v, "readable", err);
}

static int check_writable(const char *v, struct memo_err *err)
{
	return check_dirs(v, "writable", err);
}

static int check_sandbox(const char *v, struct memo_err *err)
{
	enum memo_sandbox_mode mode;
	if (memo_sandbox_parse(v, &mode) == 0)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'sandbox': '%s' is none of 'on', 'off' and 'auto'", v);
}

static int check_mode(const char *v, struct memo_err *err)
{
	uint32_t mode;
	if (parse_mode(v, &mode) == 0)
		return 0;
	return memo_fail(
		err, -EINVAL,
		"setting 'mode': '%s' is not an octal mode such as 0750 that lets the owner read and enter", v);
}

static int check_any_group(const char *v, const char *key, struct memo_err *err)
{
	uint32_t gid;
	int r = v[0] == '\0' ? 0 : parse_group(v, &gid);
	if (r == -ENOENT)
		return memo_fail(err, -EINVAL, "setting '%s': there is no group '%s'", key, v);
	return r < 0 ? memo_fail(err, r, "setting '%s': groups cannot be looked up", key) : 0;
}

static int check_group(const char *v, struct memo_err *err)
{
	return check_any_group(v, "group", err);
}

static int check_runners(const char *v, struct memo_err *err)
{
	return check_any_group(v, "runners", err);
}

static int check_waiting(const char *v, struct memo_err *err)
{
	uint64_t n;
	if (parse_whole(v, &n) == 0 && n >= 1)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'max_waiting': '%s' is not a whole number of at least 1", v);
}

static int check_backoff(const char *v, struct memo_err *err)
{
	int64_t ms;
	if (parse_backoff(v, &ms) == 0)
		return 0;
	return memo_fail(err, -EINVAL, "setting 'failure_backoff': '%s' is not a number of seconds from 0 to %.0f",
			 v, BACKOFF_MAX_S);
}

/* In the contract's order. */
static const struct setting settings[] = {
	{ "executor", "local", "local or slurm; a task's hint overrides it", check_executor },
	{ "cpus", NULL, "processors that local tasks may use together", check_cpus },
	{ "memory", NULL, "memory that local tasks may use together", check_memory },
	{ "path", "/usr/local/bin:/usr/bin:/bin", "the tasks' PATH", check_path },
	{ "sandbox", "auto", "on, off, or auto: as much isolation as the kernel offers", check_sandbox },
	{ "readable", "", "further directories that tasks may read, separated by ':'", check_readable },
	{ "writable", "", "further directories that tasks may write, separated by ':'", check_writable },
	{ "mode", "0755", "who may see results, as an octal mode of the mount and the store", check_mode },
	{ "group", NULL, "the group that results belong to", check_group },
	{ "runners", "", "the group whose members may start work; empty: everyone who may see results",
	  check_runners },
	{ "max_size", "0", "bytes of results that are kept; 0: no limit", check_size },
	{ "max_waiting", "10000", "instances that one user may have waiting", check_waiting },
	{ "failure_backoff", "1", "seconds after a failure in which a demand fails at once", check_backoff },
};
#define SETTINGS (sizeof settings / sizeof settings[0])

static const struct setting *find_setting(const char *key, struct memo_err *err)
{
	struct memo_nearest n = { .word = key };
	MEMO_AUTO_BUF struct memo_buf all = { 0 };
	for (size_t i = 0; i < SETTINGS; i++) {
		if (strcmp(settings[i].key, key) == 0)
			return &settings[i];
		memo_nearest_offer(&n, settings[i].key);
		(void)memo_buf_printf(&all, "%s%s", i > 0 ? ", " : "", settings[i].key);
	}
	if (n.best != NULL)
		(void)memo_fail(err, -ENOENT, "setting '%.80s': there is none; did you mean '%s'? They are: %s",
				key, n.best, memo_buf_str(&all));
	else
		(void)memo_fail(err, -ENOENT, "setting '%.80s': there is none; they are: %s", key,
				memo_buf_str(&all));
	return NULL;
}

/* ---- defaults of this machine -------------------------------------------------------------------------- */

static int64_t online_cpus(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
		return CPU_COUNT(&set);
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? n : 1;
}

static uint64_t total_memory(void)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? memo_errno() : memo_io_read_fd(fd, 65536, &b);
	if (fd >= 0)
		(void)close(fd);
	const char *line = r < 0 ? NULL : strstr(memo_buf_str(&b), "MemTotal:");
	if (line != NULL)
		return strtoull(line + sizeof "MemTotal:" - 1, NULL, 10) * 1024;
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);
	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : (uint64_t)1 << 30;
}

/* The primary group of whoever owns the store. */
static uint32_t owners_group(const struct memo_store *s)
{
	struct stat st;
	if (fstat(s->dir_fd, &st) < 0)
		return getegid();
	MEMO_AUTO_FREE char *space = malloc(GROUP_BYTES);
	struct passwd p;
	struct passwd *found = NULL;
	if (space != NULL && getpwuid_r(st.st_uid, &p, space, GROUP_BYTES, &found) == 0 && found != NULL)
		return found->pw_gid;
	return st.st_uid == geteuid() ? getegid() : st.st_gid;
}

static char *group_text(uint32_t gid)
{
	MEMO_AUTO_FREE char *space = malloc(GROUP_BYTES);
	struct group g;
	struct group *found = NULL;
	char *text = NULL;
	if (space != NULL && getgrgid_r(gid, &g, space, GROUP_BYTES, &found) == 0 && found != NULL)
		return strdup(found->gr_name);
	return asprintf(&text, "%u", gid) < 0 ? NULL : text;
}

static char *default_text(const struct memo_store *s, const struct setting *d)
{
	char *text = NULL;
	int n = 0;
	if (d->fallback != NULL)
		return strdup(d->fallback);
	if (strcmp(d->key, "cpus") == 0)
		n = asprintf(&text, "%lld", (long long)online_cpus());
	else if (strcmp(d->key, "memory") == 0)
		n = asprintf(&text, "%llu", (unsigned long long)total_memory());
	else
		return group_text(owners_group(s));
	return n < 0 ? NULL : text;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static const char *set_value_locked(struct memo_store *s, const char *key)
	MEMO_TSA(requires_capability(s->config.mu));
static const char *set_value_locked(struct memo_store *s, const char *key)
{
	return memo_json_string(s->config.values, key, NULL);
}

/* The text in force; free() it. */
static char *value_of(struct memo_store *s, const struct setting *d, bool *is_default)
{
	memo_mutex_lock(&s->config.mu);
	const char *set = set_value_locked(s, d->key);
	char *text = set == NULL ? NULL : strdup(set);
	*is_default = set == NULL;
	memo_mutex_unlock(&s->config.mu);
	return *is_default ? default_text(s, d) : text;
}

int memo_config_load(struct memo_store *s, struct memo_buf *notice, struct memo_err *err)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_JSON json_t *file = NULL;
	MEMO_AUTO_JSON json_t *values = json_object();
	int r = memo_io_read_file(s->dir_fd, CONFIG_FILE, CONFIG_BYTES, &b);
	if (r < 0 && r != -ENOENT)
		return memo_fail(err, r, "store '%s': config.json cannot be read: %s", s->dir, memo_strerror(r));
	if (r == 0 && (memo_json_parse(memo_buf_str(&b), b.len, &file, err) < 0 || !json_is_object(file)))
		return memo_fail_prefix(
			err, -EINVAL, "store '%s': config.json is not a JSON object; repair or remove it", s->dir);
	if (values == NULL)
		return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	for (size_t i = 0; i < SETTINGS; i++) {
		const char *v = memo_json_string(file, settings[i].key, NULL);
		struct memo_err why = { 0 };
		if (v == NULL || v[0] == '\0')
			continue;
		if (settings[i].check(v, &why) < 0) {
			if (notice != NULL)
				(void)memo_buf_printf(notice, "%s; the default is used\n", why.text);
			continue;
		}
		if (memo_json_set(values, settings[i].key, json_string(v)) < 0)
			return memo_fail(err, -ENOMEM, "store '%s': out of memory", s->dir);
	}
	memo_mutex_lock(&s->config.mu);
	json_decref(s->config.values);
	s->config.values = memo_json_steal(&values);
	memo_mutex_unlock(&s->config.mu);
	return 0;
}

void memo_config_clear(struct memo_store *s)
{
	memo_mutex_lock(&s->config.mu);
	json_decref(s->config.values);
	s->config.values = NULL;
	memo_mutex_unlock(&s->config.mu);
}

/* Who may come in: the store's directory and objects. */
static int apply_access(struct memo_store *s, const json_t *values)
{
	uint32_t mode = 0755;
	uint32_t gid = owners_group(s);
	const char *mode_text = memo_json_string(values, "mode", "0755");
	const char *group = memo_json_string(values, "group", NULL);
	int r = parse_mode(mode_text, &mode);
	if (r == 0 && group != NULL)
		r = parse_group(group, &gid);
	if (r < 0)
		return r;
	const int fd[] = { s->objects_fd, s->dir_fd };
	for (size_t i = 0; i < 2; i++) {
		struct stat st;
		if (fstat(fd[i], &st) < 0)
			return memo_errno();
		if (st.st_gid != gid && fchown(fd[i], (uid_t)-1, gid) < 0)
			return memo_errno();
		/* The owner keeps writing whatever others may; nobody else ever does. */
		if (fchmod(fd[i], (mode | 0700) & ~(mode_t)0022) < 0)
			return memo_errno();
	}
	return 0;
}

static int save_locked(struct memo_store *s, const struct setting *d, const char *value, struct memo_err *err)
	MEMO_TSA(requires_capability(s->config.mu));
static int save_locked(struct memo_store *s, const struct setting *d, const char *value, struct memo_err *err)
{
	MEMO_AUTO_JSON json_t *next = json_copy(s->config.values);
	if (next == NULL)
		return memo_fail(err, -ENOMEM, "setting '%s': out of memory", d->key);
	(void)json_object_del(next, d->key);
	if (value[0] != '\0' && memo_json_set(next, d->key, json_string(value)) < 0)
		return memo_fail(err, -EINVAL, "setting '%s': the value is not UTF-8 text", d->key);
	bool access = strcmp(d->key, "mode") == 0 || strcmp(d->key, "group") == 0;
	int r = access ? apply_access(s, next) : 0;
	if (r < 0)
		return memo_fail(err, r, "setting '%s': '%s' cannot be applied to the store: %s", d->key, value,
				 memo_strerror(r));
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	r = memo_json_append(next, &b);
	if (r == 0)
		r = memo_buf_putc(&b, '\n');
	if (r == 0)
		r = memo_io_replace(s->dir_fd, CONFIG_FILE, b.data, b.len, 0644, true);
	if (r < 0) {
		int back = access ? apply_access(s, s->config.values) : 0;
		(void)back;
		return memo_fail(err, r, "setting '%s': cannot be saved: %s", d->key, memo_strerror(r));
	}
	json_decref(s->config.values);
	s->config.values = memo_json_steal(&next);
	return 0;
}

/* ---- the door ------------------------------------------------------------------------------------------ */

int memo_store_config_get(struct memo_store *s, const char *key, char **value_out, struct memo_err *err)
{
	const struct setting *d = find_setting(key, err);
	if (d == NULL)
		return -ENOENT;
	bool is_default;
	char *text = value_of(s, d, &is_default);
	if (text == NULL)
		return memo_fail(err, -ENOMEM, "setting '%s': out of memory", key);
	*value_out = text;
	return 0;
}

int memo_store_config_set(struct memo_store *s, const char *key, const char *value, struct memo_err *err)
{
	const struct setting *d = find_setting(key, err);
	if (d == NULL)
		return -ENOENT;
	int r = value[0] == '\0' ? 0 : d->check(value, err);
	if (r < 0)
		return r;
	memo_mutex_lock(&s->config.mu);
	r = save_locked(s, d, value, err);
	memo_mutex_unlock(&s->config.mu);
	return r;
}

json_t *memo_store_config_list(struct memo_store *s)
{
	MEMO_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < SETTINGS && list != NULL; i++) {
		bool is_default;
		MEMO_AUTO_FREE char *value = value_of(s, &settings[i], &is_default);
		if (value == NULL)
			return NULL;
		json_t *row = json_pack("{s:s, s:s, s:b, s:s}", "key", settings[i].key, "value", value, "default",
					is_default ? 1 : 0, "meaning", settings[i].meaning);
		if (memo_json_push(list, row) < 0)
			return NULL;
	}
	return memo_json_steal(&list);
}

/* One value for memo_store_settings(); they were checked when they were taken in. */
static int fill(const char *key, const char *v, struct memo_settings *out)
{
	uint64_t n = 0;
	int r = 0;
	if (strcmp(key, "executor") == 0) {
		out->executor = strcmp(v, "slurm") == 0 ? MEMO_EXEC_SLURM : MEMO_EXEC_LOCAL;
	} else if (strcmp(key, "cpus") == 0) {
		r = parse_whole(v, &n);
		out->cpus = (int64_t)n;
	} else if (strcmp(key, "memory") == 0) {
		r = memo_task_parse_size(v, &out->memory_bytes);
	} else if (strcmp(key, "path") == 0) {
		(void)snprintf(out->path, sizeof out->path, "%s", v);
	} else if (strcmp(key, "sandbox") == 0) {
		r = memo_sandbox_parse(v, &out->sandbox);
	} else if (strcmp(key, "readable") == 0) {
		(void)snprintf(out->readable, sizeof out->readable, "%s", v);
	} else if (strcmp(key, "writable") == 0) {
		(void)snprintf(out->writable, sizeof out->writable, "%s", v);
	} else if (strcmp(key, "mode") == 0) {
		r = parse_mode(v, &out->mode);
	} else if (strcmp(key, "group") == 0) {
		/* The default's group may have no entry anywhere. */
		r = parse_group(v, &out->gid);
		if (r == -ENOENT && parse_whole(v, &n) == 0) {
			out->gid = (uint32_t)n;
			r = 0;
		}
	} else if (strcmp(key, "runners") == 0) {
		out->has_runners = v[0] != '\0';
		r = v[0] == '\0' ? 0 : parse_group(v, &out->runners_gid);
	} else if (strcmp(key, "max_waiting") == 0) {
		r = parse_whole(v, &out->max_waiting);
	} else if (strcmp(key, "max_size") == 0) {
		r = memo_task_parse_size(v, &out->max_bytes);
	} else if (strcmp(key, "failure_backoff") == 0) {
		r = parse_backoff(v, &out->failure_backoff_ms);
	}
	return r;
}

int memo_store_settings(struct memo_store *s, struct memo_settings *out, struct memo_err *err)
{
	struct memo_settings v = { 0 };
	for (size_t i = 0; i < SETTINGS; i++) {
		bool is_default;
		MEMO_AUTO_FREE char *text = value_of(s, &settings[i], &is_default);
		int r = text == NULL ? -ENOMEM : fill(settings[i].key, text, &v);
		if (r < 0)
			return memo_fail(err, r, "setting '%s': '%s' cannot be used any more: %s", settings[i].key,
					 text == NULL ? "" : text, memo_strerror(r));
	}
	*out = v;
	return 0;
}
