/* fault.so: a preloaded library that makes the n-th system call on a store fail, or ends the process there, and that can
 * write down what was synced. Campaigns steer it through a small shared file while the process runs.
 *
 *	LD_PRELOAD=fault.so MEMO_FAULT=FILE [MEMO_FAULT_WHO=N] [MEMO_FAULT_LOG=FILE] program
 *
 * FILE is a `struct control` (tests/campaigns/shim.py has the same layout). While `call` names a call, the shim counts the
 * calls of that kind whose file lies below `root` (or that have no file), over all threads and all processes that share the
 * FILE and have the bit WHO; from the `first` on, `times` of them get `error`, or SIGKILL when the error is KILL. While
 * `counting` is set all kinds are counted in `counts`.
 *
 * The wall clock is `shift` seconds ahead; all others are right, as they are when somebody sets the time.
 * `visit` with the bit WHO makes the process open and close every file of root/db once, at its next call.
 *
 * The log gets a line for each thing that was made durable, after it was:
 *	F <time> <inode> <size>                a file up to that size
 *	D <time> <inode> <name>/<name>/...     a directory with these entries, as they were before the call
 * and before a rename, which is whole or not at all:
 *	R <time> <from> TAB <to>               absolute paths
 * The time is that of the look at the file (ns, monotonic): lines of two threads may stand in another order.
 * A process that cannot write its log aborts: a hole in it would look like a missing fsync.
 *
 * Calls that libc makes inside itself (stdio) are not seen. */
#undef _FILE_OFFSET_BITS /* both spellings of the calls are defined here, one by one */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x6d666c74u
#define KILL 1000
#define LINE 65536

enum call {
	NONE,
	OPEN,
	READ,
	PREAD,
	WRITE,
	PWRITE,
	FSYNC,
	FDATASYNC,
	RENAME,
	LINK,
	UNLINK,
	MKDIR,
	STAT,
	FTRUNCATE,
	FALLOCATE,
	CHMOD,
	READDIR,
	MMAP,
	FLOCK,
	STATVFS,
	SPAWN,
	THREAD,
	PIPE,
	CLOSE,
	REPLY, /* an answer to the kernel's FUSE */
	CALLS
};

struct control {
	uint32_t magic;
	_Atomic uint32_t call;
	_Atomic int32_t error;
	_Atomic uint32_t first;
	_Atomic uint32_t times;
	_Atomic uint32_t who;
	_Atomic uint32_t seen;
	_Atomic uint32_t fired;
	_Atomic uint32_t counting;
	_Atomic uint32_t visit;
	_Atomic uint32_t counts[32];
	_Atomic int64_t shift;
	char root[1024];
};

static struct control *control;
static uint32_t who = 1;
static char log_path[1024];

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("MEMO_FAULT");
	const char *bit = getenv("MEMO_FAULT_WHO");
	const char *log = getenv("MEMO_FAULT_LOG");
	if (bit != NULL)
		who = (uint32_t)atoi(bit);
	if (log != NULL)
		(void)snprintf(log_path, sizeof log_path, "%s", log);
	if (file == NULL)
		return;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
	void *p = fd < 0 ? MAP_FAILED
			 : (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					   0);
	if (p == MAP_FAILED)
		abort();
	(void)syscall(SYS_close, fd);
	control = p;
	if (control->magic != MAGIC)
		abort();
}

/* The next definition of a symbol, as the function that the caller knows it to be. */
static void lookup(const char *name, void *slot)
{
	void *p = dlsym(RTLD_NEXT, name);
	if (p == NULL)
		abort();
	memcpy(slot, &p, sizeof p);
}
#define REAL(result, name, ...) \
	static result (*real)(__VA_ARGS__); \
	if (real == NULL) \
	lookup(#name, &real)

struct entry64 {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* ---- whether it is this one's turn ---------------------------------------------------------------------- */

static bool below(const char *path)
{
	size_t n = strlen(control->root);
	return strncmp(path, control->root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool fd_path(int fd, char *out, size_t size)
{
	char name[64];
	(void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	long n = syscall(SYS_readlinkat, AT_FDCWD, name, out, size - 1);
	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

static bool concerns(int dirfd, const char *path)
{
	char text[2048];
	if (path != NULL && path[0] == '/')
		return below(path);
	return dirfd != AT_FDCWD && fd_path(dirfd, text, sizeof text) && below(text);
}

/* Opens and closes every file of root/db, as a careless backup thread would: the process loses its POSIX locks on them. */
static void visit_all(void)
{
	char path[2048];
	(void)snprintf(path, sizeof path, "%s/db", control->root);
	int dir = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	_Alignas(8) char buf[8192];
	long got;
	while (dir >= 0 && (got = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0) {
		for (long i = 0; i < got;) {
			const struct entry64 *e = (const struct entry64 *)(const void *)(buf + i);
			int fd = (int)syscall(SYS_openat, dir, e->name, O_RDONLY | O_CLOEXEC, 0);
			if (fd >= 0)
				(void)syscall(SYS_close, fd);
			i += e->len;
		}
	}
	if (dir >= 0)
		(void)syscall(SYS_close, dir);
}

static bool awake(uint32_t call)
{
	if (control != NULL && atomic_load(&control->visit) == who && atomic_exchange(&control->visit, 0) != 0) {
		int saved = errno;
		visit_all();
		errno = saved;
	}
	return control != NULL && (atomic_load(&control->call) == call || atomic_load(&control->counting) != 0);
}

/* Counts it. True: it fails, with errno set. */
static bool turn(uint32_t call)
{
	if ((atomic_load(&control->who) & who) == 0)
		return false;
	if (atomic_load(&control->counting) != 0)
		(void)atomic_fetch_add(&control->counts[call], 1);
	if (atomic_load(&control->call) != call)
		return false;
	uint32_t n = atomic_fetch_add(&control->seen, 1) + 1;
	uint32_t first = atomic_load(&control->first);
	if (first == 0 || n < first || n - first >= atomic_load(&control->times))
		return false;
	(void)atomic_fetch_add(&control->fired, 1);
	int error = atomic_load(&control->error);
	if (error == KILL) {
		(void)syscall(SYS_kill, getpid(), SIGKILL);
		for (;;)
			(void)syscall(SYS_pause);
	}
	errno = error;
	return true;
}

static bool fails_at(uint32_t call, int dirfd, const char *path)
{
	if (!awake(call))
		return false;
	int saved = errno;
	if (!concerns(dirfd, path)) {
		errno = saved;
		return false;
	}
	errno = saved;
	return turn(call);
}

static bool fails_fd(uint32_t call, int fd)
{
	return fails_at(call, fd, NULL);
}

static bool fails(uint32_t call)
{
	return awake(call) && turn(call);
}

static bool fails_reply(int fd)
{
	char text[256];
	return awake(REPLY) && fd_path(fd, text, sizeof text) && strcmp(text, "/dev/fuse") == 0 && turn(REPLY);
}

/* ---- what was synced ------------------------------------------------------------------------------------- */

static void put_line(const char *line, size_t len)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || syscall(SYS_write, fd, line, len) != (long)len)
		abort();
	(void)syscall(SYS_close, fd);
}

static unsigned long long now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000000000ULL + (unsigned long long)t.tv_nsec;
}

static size_t list(int dir, char *line, size_t n)
{
	int fd = (int)syscall(SYS_openat, dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	_Alignas(8) char buf[8192];
	long got = 0;
	while (fd >= 0 && (got = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0) {
		for (long i = 0; i < got;) {
			const struct entry64 *e = (const struct entry64 *)(const void *)(buf + i);
			size_t len = strlen(e->name);
			if (n + len + 2 > LINE)
				abort();
			memcpy(line + n, e->name, len);
			line[n + len] = '/';
			n += len + 1;
			i += e->len;
		}
	}
	if (fd < 0 || got < 0)
		abort();
	(void)syscall(SYS_close, fd);
	return n;
}

/* What a sync of @fd would make durable, as it is before the call. 0: nothing to be noted. */
static size_t describe(int fd, char *line)
{
	struct stat st;
	unsigned long long now = now_ns();
	if (log_path[0] == '\0' || fstat(fd, &st) < 0)
		return 0;
	size_t n = 0;
	if (S_ISDIR(st.st_mode)) {
		n = (size_t)snprintf(line, LINE, "D %llu %llu ", now, (unsigned long long)st.st_ino);
		n = list(fd, line, n);
	} else if (S_ISREG(st.st_mode)) {
		n = (size_t)snprintf(line, LINE, "F %llu %llu %lld", now, (unsigned long long)st.st_ino,
				     (long long)st.st_size);
	}
	if (n > 0)
		line[n++] = '\n';
	return n;
}

static bool full_path(int dirfd, const char *path, char *out, size_t size)
{
	size_t n = 0;
	if (path[0] != '/') {
		if (!fd_path(dirfd, out, size))
			return false;
		n = strlen(out);
		if (n + 1 < size)
			out[n++] = '/';
	}
	return (size_t)snprintf(out + n, size - n, "%s", path) < size - n;
}

static void renames(int fromfd, const char *from, int tofd, const char *to)
{
	char old[2048];
	char new[2048];
	char line[sizeof old + sizeof new + 32];
	int saved = errno;
	if (log_path[0] != '\0' && full_path(fromfd, from, old, sizeof old) &&
	    full_path(tofd, to, new, sizeof new)) {
		int n = snprintf(line, sizeof line, "R %llu %s\t%s\n", now_ns(), old, new);
		put_line(line, (size_t)n);
	}
	errno = saved;
}

static int synced(int fd, int (*real)(int))
{
	char *line = log_path[0] != '\0' ? malloc(LINE) : NULL;
	int saved = errno;
	size_t n = line != NULL ? describe(fd, line) : 0;
	errno = saved;
	int r = real(fd);
	saved = errno;
	if (r == 0 && n > 0)
		put_line(line, n);
	free(line);
	errno = saved;
	return r;
}

/* ---- the calls ------------------------------------------------------------------------------------------- */

int fsync(int fd)
{
	REAL(int, fsync, int);
	return fails_fd(FSYNC, fd) ? -1 : synced(fd, real);
}

int fdatasync(int fd)
{
	REAL(int, fdatasync, int);
	return fails_fd(FDATASYNC, fd) ? -1 : synced(fd, real);
}

#define MODE(flags, mode) \
	mode_t mode = 0; \
	if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
		va_list ap; \
		va_start(ap, flags); \
		mode = va_arg(ap, mode_t); \
		va_end(ap); \
	}

#define OPENS(name) \
	int name(const char *path, int flags, ...) \
	{ \
		REAL(int, name, const char *, int, ...); \
		MODE(flags, mode) \
		return fails_at(OPEN, AT_FDCWD, path) ? -1 : real(path, flags, mode); \
	}
OPENS(open)
OPENS(open64)

#define OPENATS(name) \
	int name(int dirfd, const char *path, int flags, ...) \
	{ \
		REAL(int, name, int, const char *, int, ...); \
		MODE(flags, mode) \
		return fails_at(OPEN, dirfd, path) ? -1 : real(dirfd, path, flags, mode); \
	}
OPENATS(openat)
OPENATS(openat64)

DIR *opendir(const char *path)
{
	REAL(DIR *, opendir, const char *);
	return fails_at(OPEN, AT_FDCWD, path) ? NULL : real(path);
}

ssize_t read(int fd, void *buf, size_t n)
{
	REAL(ssize_t, read, int, void *, size_t);
	return fails_fd(READ, fd) ? -1 : real(fd, buf, n);
}

#define PREADS(name, offset) \
	ssize_t name(int fd, void *buf, size_t n, offset at) \
	{ \
		REAL(ssize_t, name, int, void *, size_t, offset); \
		return fails_fd(PREAD, fd) ? -1 : real(fd, buf, n, at); \
	}
PREADS(pread, off_t)
PREADS(pread64, off64_t)

ssize_t write(int fd, const void *buf, size_t n)
{
	REAL(ssize_t, write, int, const void *, size_t);
	return fails_reply(fd) || fails_fd(WRITE, fd) ? -1 : real(fd, buf, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	REAL(ssize_t, writev, int, const struct iovec *, int);
	return fails_reply(fd) || fails_fd(WRITE, fd) ? -1 : real(fd, v, n);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
	REAL(ssize_t, splice, int, off64_t *, int, off64_t *, size_t, unsigned);
	return fails_reply(to) || fails_fd(READ, from) ? -1 : real(from, from_at, to, to_at, n, flags);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
	REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
	return fails_fd(WRITE, to) ? -1 : real(from, from_at, to, to_at, n, flags);
}

#define PWRITES(name, offset) \
	ssize_t name(int fd, const void *buf, size_t n, offset at) \
	{ \
		REAL(ssize_t, name, int, const void *, size_t, offset); \
		return fails_fd(PWRITE, fd) ? -1 : real(fd, buf, n, at); \
	}
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

int rename(const char *from, const char *to)
{
	REAL(int, rename, const char *, const char *);
	if (fails_at(RENAME, AT_FDCWD, to))
		return -1;
	renames(AT_FDCWD, from, AT_FDCWD, to);
	return real(from, to);
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
	REAL(int, renameat, int, const char *, int, const char *);
	if (fails_at(RENAME, tofd, to))
		return -1;
	renames(fromfd, from, tofd, to);
	return real(fromfd, from, tofd, to);
}

int renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
	REAL(int, renameat2, int, const char *, int, const char *, unsigned);
	if (fails_at(RENAME, tofd, to))
		return -1;
	renames(fromfd, from, tofd, to);
	return real(fromfd, from, tofd, to, flags);
}

int link(const char *from, const char *to)
{
	REAL(int, link, const char *, const char *);
	return fails_at(LINK, AT_FDCWD, to) ? -1 : real(from, to);
}

int linkat(int fromfd, const char *from, int tofd, const char *to, int flags)
{
	REAL(int, linkat, int, const char *, int, const char *, int);
	return fails_at(LINK, tofd, to) ? -1 : real(fromfd, from, tofd, to, flags);
}

int unlink(const char *path)
{
	REAL(int, unlink, const char *);
	return fails_at(UNLINK, AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	REAL(int, unlinkat, int, const char *, int);
	return fails_at(UNLINK, dirfd, path) ? -1 : real(dirfd, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
	REAL(int, mkdir, const char *, mode_t);
	return fails_at(MKDIR, AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
	REAL(int, mkdirat, int, const char *, mode_t);
	return fails_at(MKDIR, dirfd, path) ? -1 : real(dirfd, path, mode);
}

#define FSTATS(name, type) \
	int name(int fd, struct type *st) \
	{ \
		REAL(int, name, int, struct type *); \
		return fails_fd(STAT, fd) ? -1 : real(fd, st); \
	}
FSTATS(fstat, stat)
FSTATS(fstat64, stat64)

#define STATS(name, type) \
	int name(const char *restrict path, struct type *restrict st) \
	{ \
		REAL(int, name, const char *, struct type *); \
		return fails_at(STAT, AT_FDCWD, path) ? -1 : real(path, st); \
	}
STATS(stat, stat)
STATS(stat64, stat64)

#define FSTATATS(name, type) \
	int name(int dirfd, const char *restrict path, struct type *restrict st, int flags) \
	{ \
		REAL(int, name, int, const char *, struct type *, int); \
		return fails_at(STAT, dirfd, path) ? -1 : real(dirfd, path, st, flags); \
	}
FSTATATS(fstatat, stat)
FSTATATS(fstatat64, stat64)

#define TRUNCATES(name, offset) \
	int name(int fd, offset size) \
	{ \
		REAL(int, name, int, offset); \
		return fails_fd(FTRUNCATE, fd) ? -1 : real(fd, size); \
	}
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define FALLOCATES(name, offset) \
	int name(int fd, int mode, offset at, offset len) \
	{ \
		REAL(int, name, int, int, offset, offset); \
		return fails_fd(FALLOCATE, fd) ? -1 : real(fd, mode, at, len); \
	}
FALLOCATES(fallocate, off_t)
FALLOCATES(fallocate64, off64_t)

int fchmod(int fd, mode_t mode)
{
	REAL(int, fchmod, int, mode_t);
	return fails_fd(CHMOD, fd) ? -1 : real(fd, mode);
}

int fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
	REAL(int, fchmodat, int, const char *, mode_t, int);
	return fails_at(CHMOD, dirfd, path) ? -1 : real(dirfd, path, mode, flags);
}

struct dirent *readdir(DIR *d)
{
	REAL(struct dirent *, readdir, DIR *);
	return fails_fd(READDIR, dirfd(d)) ? NULL : real(d);
}

struct dirent64 *readdir64(DIR *d)
{
	REAL(struct dirent64 *, readdir64, DIR *);
	return fails_fd(READDIR, dirfd(d)) ? NULL : real(d);
}

#define MMAPS(name, offset) \
	void *name(void *at, size_t len, int prot, int flags, int fd, offset from) \
	{ \
		REAL(void *, name, void *, size_t, int, int, int, offset); \
		return fd >= 0 && fails_fd(MMAP, fd) ? MAP_FAILED : real(at, len, prot, flags, fd, from); \
	}
MMAPS(mmap, off_t)
MMAPS(mmap64, off64_t)

int flock(int fd, int how)
{
	REAL(int, flock, int, int);
	return fails_fd(FLOCK, fd) ? -1 : real(fd, how);
}

#define STATVFSES(name, type) \
	int name(const char *restrict path, struct type *restrict st) \
	{ \
		REAL(int, name, const char *, struct type *); \
		return fails_at(STATVFS, AT_FDCWD, path) ? -1 : real(path, st); \
	}
STATVFSES(statvfs, statvfs)
STATVFSES(statvfs64, statvfs64)

#define FSTATVFSES(name, type) \
	int name(int fd, struct type *st) \
	{ \
		REAL(int, name, int, struct type *); \
		return fails_fd(STATVFS, fd) ? -1 : real(fd, st); \
	}
FSTATVFSES(fstatvfs, statvfs)
FSTATVFSES(fstatvfs64, statvfs64)

/* These return the error instead of setting errno. */
int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *fa,
		const posix_spawnattr_t *restrict at, char *const argv[restrict], char *const envp[restrict])
{
	REAL(int, posix_spawn, pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
	     char *const[], char *const[]);
	return fails(SPAWN) ? errno : real(pid, path, fa, at, argv, envp);
}

int pthread_create(pthread_t *restrict t, const pthread_attr_t *restrict a, void *(*fn)(void *), void *restrict arg)
{
	REAL(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	return fails(THREAD) ? errno : real(t, a, fn, arg);
}

int pipe2(int fd[2], int flags)
{
	REAL(int, pipe2, int *, int);
	return fails(PIPE) ? -1 : real(fd, flags);
}

/* The descriptor is closed all the same, as Linux does. */
int close(int fd)
{
	REAL(int, close, int);
	bool fail = fails_fd(CLOSE, fd);
	int error = errno;
	int r = real(fd);
	if (!fail)
		return r;
	errno = error;
	return -1;
}

/* ---- the wall clock -------------------------------------------------------------------------------------- */

static time_t shifted(void)
{
	return control != NULL ? (time_t)atomic_load(&control->shift) : 0;
}

int clock_gettime(clockid_t which, struct timespec *t)
{
	REAL(int, clock_gettime, clockid_t, struct timespec *);
	int r = real(which, t);
	if (r == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
		t->tv_sec += shifted();
	return r;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	REAL(int, gettimeofday, struct timeval *, void *);
	int r = real(t, zone);
	if (r == 0)
		t->tv_sec += shifted();
	return r;
}

time_t time(time_t *out)
{
	struct timespec t;
	if (clock_gettime(CLOCK_REALTIME, &t) < 0)
		return -1;
	if (out != NULL)
		*out = t.tv_sec;
	return t.tv_sec;
}
