/* Mountinfo: what is mounted where, from the text of /proc/self/mountinfo alone (see mount.h). */
#include "mount.h"

#include "base/io.h"
#include "base/scope.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void memo_mount_clear(struct memo_mount *m)
{
	free(m->point);
	free(m->type);
	free(m->source);
	*m = (struct memo_mount){ 0 };
}

/* A field, with the kernel's \ooo undone. */
static char *unescape(const char *text, size_t len)
{
	char *s = malloc(len + 1);
	if (s == NULL)
		return NULL;
	size_t to = 0;
	for (size_t i = 0; i < len; i++) {
		const char *p = text + i;
		if (*p == '\\' && i + 3 < len && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			s[to++] = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			i += 3;
		} else {
			s[to++] = *p;
		}
	}
	s[to] = '\0';
	return s;
}

#define FIELDS 64

struct field {
	const char *text;
	size_t len;
};

static size_t split(const char *line, size_t len, struct field *field)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n < FIELDS;) {
		size_t end = i;
		while (end < len && line[end] != ' ')
			end++;
		field[n++] = (struct field){ line + i, end - i };
		i = end + 1;
	}
	return n;
}

/* id parent major:minor root point options [tags...] - type source super */
int memo_mount_parse(const char *line, size_t len, struct memo_mount *out)
{
	struct field f[FIELDS];
	size_t n = split(line, len, f), dash = 6;
	while (dash < n && !(f[dash].len == 1 && f[dash].text[0] == '-'))
		dash++;
	if (dash + 2 >= n)
		return -EINVAL;
	char device[32];
	unsigned major_no, minor_no;
	if (f[2].len >= sizeof device)
		return -EINVAL;
	memcpy(device, f[2].text, f[2].len);
	device[f[2].len] = '\0';
	if (sscanf(device, "%u:%u", &major_no, &minor_no) != 2)
		return -EINVAL;
	struct memo_mount m = { unescape(f[4].text, f[4].len), unescape(f[dash + 1].text, f[dash + 1].len),
				unescape(f[dash + 2].text, f[dash + 2].len), makedev(major_no, minor_no) };
	if (m.point == NULL || m.type == NULL || m.source == NULL) {
		memo_mount_clear(&m);
		return -ENOMEM;
	}
	*out = m;
	return 0;
}

static bool matches(const char *point, const char *path, bool inside)
{
	size_t len = strlen(point);
	if (!inside)
		return strcmp(point, path) == 0;
	if (strcmp(point, "/") == 0)
		return path[0] == '/';
	return strncmp(point, path, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

int memo_mount_find(const char *mountinfo, const char *path, bool inside, struct memo_mount *out)
{
	struct memo_mount best = { 0 };
	for (const char *p = mountinfo; *p != '\0';) {
		size_t len = strcspn(p, "\n");
		struct memo_mount m;
		int r = memo_mount_parse(p, len, &m);
		p += len + (p[len] == '\n');
		if (r == -ENOMEM) {
			memo_mount_clear(&best);
			return r;
		}
		if (r < 0)
			continue;
		/* Of those at one place the last is on top. */
		if (matches(m.point, path, inside) &&
		    (best.point == NULL || strlen(m.point) >= strlen(best.point))) {
			memo_mount_clear(&best);
			best = m;
		} else {
			memo_mount_clear(&m);
		}
	}
	if (best.point == NULL)
		return -ENOENT;
	*out = best;
	return 0;
}

int memo_mount_find_now(const char *path, bool inside, struct memo_mount *out)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return memo_errno();
	int r = memo_io_read_fd(fd, MEMO_MOUNTINFO_BYTES, &b);
	(void)close(fd);
	return r < 0 ? r : memo_mount_find(memo_buf_str(&b), path, inside, out);
}

int memo_mount_lexical(const char *path, struct memo_buf *b)
{
	MEMO_AUTO_BUF struct memo_buf whole = { 0 };
	if (path[0] != '/') {
		char cwd[PATH_MAX];
		if (getcwd(cwd, sizeof cwd) == NULL)
			return memo_errno();
		(void)memo_buf_printf(&whole, "%s/", cwd);
	}
	(void)memo_buf_puts(&whole, path);
	if (memo_buf_error(&whole) < 0)
		return -ENOMEM;
	memo_buf_reset(b);
	for (const char *p = memo_buf_str(&whole); *p != '\0';) {
		p += strspn(p, "/");
		size_t len = strcspn(p, "/");
		if (len == 2 && memcmp(p, "..", 2) == 0) {
			while (b->len > 0 && b->data[--b->len] != '/')
				;
			if (b->data != NULL)
				b->data[b->len] = '\0';
		} else if (len > 0 && !(len == 1 && *p == '.')) {
			(void)memo_buf_putc(b, '/');
			(void)memo_buf_append(b, p, len);
		}
		p += len;
	}
	if (b->len == 0)
		(void)memo_buf_putc(b, '/');
	return memo_buf_error(b);
}
