/* Landlock: file access by rules on directories and files, without a library.
 *
 * A rule holds for what lies beneath the inode that it was made for, whatever it is called later; what has no rule is
 * refused. Rights that a kernel does not know must not be asked for, hence the masks by version. What cannot be opened gets
 * no rule: it may not exist on this machine, or the task will meet the error by itself. */
#include "sandbox.h"

#include "base/json.h"
#include "base/scope.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset /* the same on all architectures */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* Rights of versions that the headers may not know yet. */
#define RIGHT_REFER (1ull << 13) /* version 2 */
#define RIGHT_TRUNCATE (1ull << 14) /* 3 */
#define RIGHT_IOCTL_DEV (1ull << 15) /* 5 */
#define RIGHT_TCP_BIND (1ull << 0) /* 4 */
#define RIGHT_TCP_CONNECT (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0) /* 6 */
#define SCOPE_SIGNAL (1ull << 1)

#define RIGHTS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_WRITE \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | RIGHT_REFER | RIGHT_TRUNCATE)
#define RIGHTS_DEVICE_NODES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK) /* given to nobody */
/* What a rule on something that is no directory may speak of. */
#define RIGHTS_OF_FILES \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
	 RIGHT_TRUNCATE | RIGHT_IOCTL_DEV)

#define SHEBANG_BYTES 256
#define INPUT_DEPTH 256 /* of directories in a Directory input, as where it is hashed */

/* The kernel's structures of version 6; a shorter size is given to older ones. */
struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct rules {
	int fd;
	uint64_t handled; /* rights that this kernel knows */
};

/* Where programs, libraries and their data live. Not /var, /home, /tmp, /root, /mnt, /srv. */
static const char *const system_dirs[] = {
	"/usr",		  "/lib",
	"/lib32",	  "/lib64",
	"/libx32",	  "/bin",
	"/sbin",	  "/etc",
	"/opt",		  "/proc",
	"/sys",		  "/nix/store",
	"/gnu/store",	  "/run/current-system",
	"/var/lib/texmf", "/var/cache/fontconfig",
};
/* Beside a directory of PATH that is called bin: a program's own prefix, as of conda or a Python environment. */
static const char *const prefix_parts[] = {
	"lib", "lib32", "lib64", "libexec", "share", "etc", "ssl", "pyvenv.cfg"
};
/* For name services of a task that has the network. */
static const char *const resolver_dirs[] = { "/run/systemd/resolve", "/run/resolvconf", "/run/nscd" };
static const char *const devices[] = { "/dev/null",   "/dev/zero",    "/dev/full",
				       "/dev/random", "/dev/urandom", "/dev/tty" };
/* Processors of graphics; who may use them is said by their modes. */
static const char *const graphics[] = { "/dev/dri", "/dev/kfd" };

/* ---- rules ---- */

static void add_rule(const struct rules *r, int fd, uint64_t rights)
{
	struct landlock_path_beneath_attr a = { .allowed_access = rights & r->handled, .parent_fd = fd };
	if (syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &a, 0) == 0 || errno != EINVAL)
		return;
	a.allowed_access &= RIGHTS_OF_FILES; /* no directory: asking for its type would ask the server of a mount */
	(void)syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
}

/* Nothing is asked of the file system below @path, which may be our own mount. */
static void allow_at(const struct rules *r, int dir, const char *path, uint64_t rights)
{
	MEMO_AUTO_FD int fd = openat(dir, path, O_PATH | O_CLOEXEC);
	if (fd >= 0)
		add_rule(r, fd, rights);
}

static void allow(const struct rules *r, const char *path, uint64_t rights)
{
	allow_at(r, AT_FDCWD, path, rights);
}

static void allow_part(const struct rules *r, const char *path, size_t len, const char *rest, uint64_t rights)
{
	char text[PATH_MAX];
	int n = snprintf(text, sizeof text, "%.*s%s", (int)len, path, rest);
	if (n > 0 && (size_t)n < sizeof text)
		allow(r, text, rights);
}

static void allow_list(const struct rules *r, const char *list, uint64_t rights)
{
	for (const char *p = list; p != NULL && *p != '\0';) {
		size_t len = strcspn(p, ":");
		allow_part(r, p, len, "", rights);
		p += len + (p[len] == ':');
	}
}

/* ---- programs ---- */

static bool ends_with(const char *path, size_t len, const char *end)
{
	size_t n = strlen(end);
	return len > n && memcmp(path + len - n, end, n) == 0;
}

static void allow_prefix(const struct rules *r, const char *path, size_t len)
{
	allow_part(r, path, len, "", RIGHTS_READ);
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (!ends_with(path, len, "/bin") && !ends_with(path, len, "/sbin"))
		return;
	while (path[len - 1] != '/')
		len--;
	for (size_t i = 0; len > 1 && i < sizeof prefix_parts / sizeof prefix_parts[0]; i++)
		allow_part(r, path, len, prefix_parts[i], RIGHTS_READ);
}

/* The program that the task names belongs to its code wherever it lies, and so does what its first line names. */
static void allow_program(const struct memo_worker *w, const struct rules *r)
{
	char text[SHEBANG_BYTES];
	allow_at(r, w->work, w->program, LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE);
	MEMO_AUTO_FD int fd = openat(w->work, w->program, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n < 3 || memcmp(text, "#!", 2) != 0)
		return;
	text[n] = '\0';
	char *from = text + 2 + strspn(text + 2, " \t");
	from[strcspn(from, " \t\r\n")] = '\0';
	if (from[0] == '/')
		allow(r, from, LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE);
}

static void allow_system(const struct memo_worker *w, const struct rules *r)
{
	for (size_t i = 0; i < sizeof system_dirs / sizeof system_dirs[0]; i++)
		allow(r, system_dirs[i], RIGHTS_READ);
	for (size_t i = 0; w->job.network && i < sizeof resolver_dirs / sizeof resolver_dirs[0]; i++)
		allow(r, resolver_dirs[i], RIGHTS_READ);
	for (const char *p = memo_json_string(w->job.env, "PATH", ""); *p != '\0';) {
		size_t len = strcspn(p, ":");
		if (len > 0 && p[0] == '/')
			allow_prefix(r, p, len);
		p += len + (p[len] == ':');
	}
	allow_program(w, r);
}

static void allow_devices(const struct rules *r)
{
	const uint64_t use = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNCATE |
			     RIGHT_IOCTL_DEV;
	for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++)
		allow(r, devices[i], use);
	for (size_t i = 0; i < sizeof graphics / sizeof graphics[0]; i++)
		allow(r, graphics[i], use | LANDLOCK_ACCESS_FS_READ_DIR);
	MEMO_AUTO_DIR DIR *d = opendir("/dev");
	const struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, "nvidia", 6) == 0)
			allow_at(r, dirfd(d), e->d_name, use | LANDLOCK_ACCESS_FS_READ_DIR);
	}
	/* With a view of its own it is the task's alone; without, programs that work with several processes need it. */
	allow(r, "/dev/shm", RIGHTS_READ | RIGHTS_WRITE);
}

/* ---- inputs ---- */

/* A link in a Directory input counts as what it leads to, which may lie elsewhere and hold links of its own. That this
 * ends was seen when the input was hashed. */
static void allow_links(const struct rules *r, int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	const struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		struct stat st;
		unsigned char type = e->d_type;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (type == DT_UNKNOWN && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISLNK(st.st_mode) ? DT_LNK : DT_REG;
		if (type == DT_LNK)
			allow_at(r, fd, e->d_name, RIGHTS_READ);
		if ((type == DT_DIR || type == DT_LNK) && depth > 0)
			allow_links(r, fd, e->d_name, depth - 1);
	}
	(void)closedir(d);
}

static void allow_inputs(const struct memo_worker *w, const struct rules *r)
{
	for (size_t i = 0; i < w->job.inputs; i++) {
		const struct memo_job_input *in = &w->job.input[i];
		struct stat st;
		/* a copy lies in work/ or code/, for which there are rules */
		if (in->copy || fstatat(w->work, in->to, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode))
			continue;
		allow(r, in->from, RIGHTS_READ);
		if (in->directory && !in->trusted)
			allow_links(r, AT_FDCWD, in->from, INPUT_DEPTH);
	}
}

/* ---- the door ---- */

static int open_rules(const struct memo_worker *w, const struct memo_level *level, int version, struct rules *out)
{
	struct ruleset_attr a = { .fs = RIGHTS_READ | RIGHTS_WRITE | RIGHTS_DEVICE_NODES };
	size_t size = sizeof a.fs;
	if (version < 3)
		a.fs &= ~RIGHT_TRUNCATE;
	if (version >= 4) {
		size = offsetof(struct ruleset_attr, scoped);
		if (level->network != MEMO_NETWORK_NAMESPACE && !memo_sandbox_network_open(w))
			a.net = RIGHT_TCP_BIND | RIGHT_TCP_CONNECT;
	}
	if (version >= 5)
		a.fs |= RIGHT_IOCTL_DEV;
	if (version >= 6) {
		size = sizeof a;
		a.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	}
	out->fd = (int)syscall(SYS_landlock_create_ruleset, &a, size, 0);
	out->handled = a.fs;
	return out->fd < 0 ? memo_errno() : 0;
}

void memo_landlock_enter(const struct memo_worker *w, struct memo_level *level)
{
	struct rules r = { .fd = -1 };
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < MEMO_LANDLOCK_LEAST) {
		level->landlock_error = version < 0 ? -memo_errno() : 0;
		return;
	}
	int e = open_rules(w, level, version, &r);
	if (e == 0) {
		allow_system(w, &r);
		allow_devices(&r);
		allow_list(&r, w->job.sandbox.readable, RIGHTS_READ);
		allow_list(&r, w->job.sandbox.writable, RIGHTS_READ | RIGHTS_WRITE);
		if (w->job.sandbox.mount != NULL)
			allow(&r, w->job.sandbox.mount, RIGHTS_READ);
		allow_at(&r, w->dir, "code", RIGHTS_READ);
		allow_at(&r, w->work, ".", RIGHTS_READ | RIGHTS_WRITE);
		/* /dev/stdout leads to these by name */
		allow_at(&r, w->dir, "stdout",
			 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNCATE);
		allow_at(&r, w->dir, "stderr",
			 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNCATE);
		allow_inputs(w, &r);
		e = syscall(SYS_landlock_restrict_self, r.fd, 0) < 0 ? memo_errno() : 0;
	}
	if (r.fd >= 0)
		(void)close(r.fd);
	level->landlock = e == 0 ? version : 0;
	level->landlock_error = -e;
}
