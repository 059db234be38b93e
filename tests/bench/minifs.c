/* Minifs: the least that a FUSE file system can be, to measure memofs against.
 *
 *	minifs [--no-open] DIRECTORY MOUNTPOINT          in the foreground, until it is unmounted
 *
 * Shows a directory tree as it was at the start, read-only, from memory but for the bytes: one thread, libfuse's own loop,
 * the low-level API, infinite timeouts, keep_cache, no flush, one descriptor kept open for each file. --no-open answers OPEN with
 * ENOSYS, so that a warm read sends no request at all. It knows nothing, checks nothing, and is as fast as libfuse lets it be. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOREVER 1e6
#define NODES ((size_t)1 << 20)

struct node {
	char *name;
	int fd; /* of a file */
	struct stat st;
	uint64_t parent;
	uint32_t next; /* in its hash bucket */
};

static struct node *node; /* by number; 1 is the root */
static uint32_t *bucket;
static uint32_t nodes = 1;
static bool no_open;

static uint32_t hash(uint64_t parent, const char *name)
{
	uint32_t h = (uint32_t)parent * 2654435761U;
	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619U;
	return h % NODES;
}

static uint32_t add(uint64_t parent, const char *name, int fd, const struct stat *st)
{
	uint32_t n = nodes++;
	uint32_t h = hash(parent, name);
	node[n] = (struct node){ strdup(name), fd, *st, parent, bucket[h] };
	node[n].st.st_ino = n;
	bucket[h] = n;
	return n;
}

static int load(int dirfd, uint64_t number)
{
	DIR *d = fdopendir(dirfd);
	struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL && nodes < NODES) {
		struct stat st;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int fd = openat(dirfd, e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return -1;
		uint32_t n = add(number, e->d_name, S_ISREG(st.st_mode) ? fd : -1, &st);
		if (S_ISDIR(st.st_mode) && load(fd, n) < 0)
			return -1;
	}
	return d == NULL || closedir(d) < 0 ? -1 : 0;
}

static void on_init(void *arg, struct fuse_conn_info *c)
{
	(void)arg;
	c->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	c->want |= c->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	uint32_t n = bucket[hash(parent, name)];
	while (n != 0 && (node[n].parent != parent || strcmp(node[n].name, name) != 0))
		n = node[n].next;
	if (n == 0) {
		(void)fuse_reply_err(req, ENOENT);
		return;
	}
	struct fuse_entry_param e = {
		.ino = n, .attr = node[n].st, .attr_timeout = FOREVER, .entry_timeout = FOREVER
	};
	(void)fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	(void)fuse_reply_attr(req, &node[ino].st, FOREVER);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (no_open) {
		(void)fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->fh = (uint64_t)node[ino].fd;
	fi->keep_cache = 1;
	fi->noflush = 1;
	(void)fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(size);
	v.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	v.buf[0].fd = node[ino].fd;
	v.buf[0].pos = off;
	(void)fuse_reply_data(req, &v, FUSE_BUF_SPLICE_MOVE);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	(void)fuse_reply_err(req, 0);
}

int main(int argc, char **argv)
{
	int at = 1;
	if (argc > 1 && strcmp(argv[1], "--no-open") == 0) {
		no_open = true;
		at++;
	}
	if (argc != at + 2) {
		(void)fprintf(stderr, "usage: minifs [--no-open] DIRECTORY MOUNTPOINT\n");
		return 2;
	}
	struct rlimit files = { NODES, NODES };
	(void)setrlimit(RLIMIT_NOFILE, &files);
	node = calloc(NODES, sizeof *node);
	bucket = calloc(NODES, sizeof *bucket);
	struct stat st;
	int top = open(argv[at], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (node == NULL || bucket == NULL || top < 0 || fstat(top, &st) < 0)
		return 1;
	(void)add(0, "", -1, &st);
	if (load(top, 1) < 0) {
		(void)fprintf(stderr, "minifs: cannot read '%s'\n", argv[at]);
		return 1;
	}
	const struct fuse_lowlevel_ops ops = {
		.init = on_init,
		.lookup = on_lookup,
		.getattr = on_getattr,
		.open = on_open,
		.read = on_read,
		.release = on_release,
	};
	char name[] = "minifs";
	char option[] = "-oro,default_permissions,subtype=minifs";
	char *fuse_argv[] = { name, option, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, fuse_argv);
	struct fuse_session *se = fuse_session_new(&args, &ops, sizeof ops, NULL);
	fuse_opt_free_args(&args);
	if (se == NULL || fuse_session_mount(se, argv[at + 1]) != 0)
		return 1;
	int r = fuse_session_loop(se);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	return r == 0 ? 0 : 1;
}
