/* Sandbox: what the layers come to: enough or not, the record, and words for people. */
#include "sandbox.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FELT_BYTES 4096 /* of the end of stderr */

bool memo_sandbox_network_open(const struct memo_worker *w)
{
	return w->job.network || w->job.sandbox.mode == MEMO_SANDBOX_OFF;
}

char *memo_sandbox_missing(const struct memo_worker *w, const struct memo_level *level)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (level->landlock == 0) {
		(void)memo_buf_printf(&b, "Landlock, to keep files from it (%s)",
				      level->landlock_error == 0 ? "this kernel has only its first version"
								 : memo_strerror(-level->landlock_error));
		if (level->readonly)
			(void)memo_buf_puts(&b, "; writing is refused all the same");
	} else if (level->landlock < 3 && !level->readonly) {
		(void)memo_buf_puts(&b, "a Landlock of version 3, to keep it from truncating files");
	}
	if (!memo_sandbox_network_open(w) && level->network == MEMO_NETWORK_OPEN)
		(void)memo_buf_printf(
			&b, "%sa network namespace or a filter of system calls, to keep the network from it (%s)",
			b.len > 0 ? "; " : "", memo_strerror(-level->network_error));
	(void)memo_buf_puts(&b, "");
	return b.len == 0 ? strdup("") : memo_buf_steal(&b);
}

int memo_sandbox_check(const struct memo_worker *w, const struct memo_level *level)
{
	if (w->job.sandbox.mode != MEMO_SANDBOX_ON)
		return 0;
	MEMO_AUTO_FREE char *missing = memo_sandbox_missing(w, level);
	return missing == NULL || missing[0] != '\0' ? -EPERM : 0;
}

static int set_files(json_t *o, const struct memo_level *level)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	if (level->landlock > 0)
		(void)memo_buf_printf(&b, "landlock %d", level->landlock);
	if (level->readonly)
		(void)memo_buf_printf(&b, "%sread-only view", b.len > 0 ? ", " : "");
	if (b.len == 0)
		(void)memo_buf_puts(&b, "none");
	return memo_json_set(o, "files", json_string(memo_buf_str(&b)));
}

static const char *network_text(const struct memo_worker *w, const struct memo_level *level)
{
	static const char *const text[] = {
		[MEMO_NETWORK_OPEN] = "open",
		[MEMO_NETWORK_NAMESPACE] = "namespace",
		[MEMO_NETWORK_FILTER] = "filter",
	};
	return w->job.network ? "required" : text[level->network];
}

json_t *memo_sandbox_record(const struct memo_worker *w, const struct memo_level *level, const char *held)
{
	enum memo_sandbox_mode mode = w->job.sandbox.mode;
	MEMO_AUTO_FREE char *missing = memo_sandbox_missing(w, level);
	MEMO_AUTO_JSON json_t *o = json_object();
	if (missing == NULL || o == NULL)
		return NULL;
	const char *reached = mode == MEMO_SANDBOX_OFF ? "none" : missing[0] == '\0' ? "full" : "partial";
	if (mode != MEMO_SANDBOX_OFF && level->landlock == 0 && !level->readonly &&
	    level->network == MEMO_NETWORK_OPEN)
		reached = "none";
	int r = memo_json_set(o, "setting", json_string(memo_sandbox_text(mode)));
	if (r == 0)
		r = memo_json_set(o, "level", json_string(reached));
	if (r == 0)
		r = set_files(o, level);
	if (r == 0)
		r = memo_json_set(o, "network", json_string(network_text(w, level)));
	if (r == 0)
		r = memo_json_set(o, "processes", json_string(held));
	if (r == 0)
		r = memo_json_set(o, "memory", json_string(w->job.memory_limit_bytes > 0 ? "watched" : "none"));
	if (r == 0 && mode != MEMO_SANDBOX_OFF && missing[0] != '\0')
		r = memo_json_set(o, "missing", json_string(missing));
	return r < 0 ? NULL : memo_json_steal(&o);
}

bool memo_sandbox_was_felt(const struct memo_worker *w)
{
	static const char *const words[] = { "Permission denied", "Read-only file system",
					     "Operation not permitted", "Network is unreachable",
					     "Temporary failure in name resolution" };
	char text[FELT_BYTES + 1];
	MEMO_AUTO_FD int fd = openat(w->dir, "stderr", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	size_t got = 0;
	if (end < 0 || lseek(fd, end > FELT_BYTES ? end - FELT_BYTES : 0, SEEK_SET) < 0 ||
	    memo_io_read_full(fd, text, FELT_BYTES, &got) < 0)
		return false;
	text[got] = '\0';
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (memmem(text, got, words[i], strlen(words[i])) != NULL)
			return true;
	}
	return false;
}
