/* Ops: the handlers that the kernel's requests arrive at; each gives exactly one reply, or gives the request away. None
 * ever blocks. What opens is in ops_open.c and ops_dir.c. */
#include "private.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

/* The kernel's default of 12 makes reads small as soon as nine are under way. */
#define MAX_BACKGROUND 256
#define CONGESTION 192

static void op_init(void *arg, struct fuse_conn_info *conn)
{
	/* Content never changes under a node id; entries in bulk must not carry placeholders; links are asked each time. */
	conn->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_READDIRPLUS |
				  FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT);
	conn->want |= conn->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = CONGESTION;
	memo_fs_inited(arg);
}

static void lookup_in(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name)
{
	switch (dir->kind) {
	case MEMO_NODE_VIEW:
		if (dir->view == MEMO_VIEW_OBJECTS) {
			memo_view_object_lookup(fs, req, name);
			return;
		}
		if (dir->view == MEMO_VIEW_RUNS) {
			memo_view_runs_lookup(fs, req, dir, name);
			return;
		}
		memo_view_top_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_ROOT:
	case MEMO_NODE_NAME:
		memo_view_top_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_VERSION:
		memo_view_instance_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_INSTANCE:
	case MEMO_NODE_ENTRY:
		memo_view_tree_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_INFO:
	case MEMO_NODE_UPSTREAM:
		memo_view_info_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_RUN:
	case MEMO_NODE_OUTCOME:
		memo_view_runs_lookup(fs, req, dir, name);
		return;
	case MEMO_NODE_RUN_TEXT:
	case MEMO_NODE_README:
	case MEMO_NODE_LATEST:
	case MEMO_NODE_LINK:
	case MEMO_NODE_START:
	case MEMO_NODE_TEXT:
		break;
	}
	memo_reply_error(req, -ENOTDIR);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_node *dir = memo_nodes_get(&fs->nodes, parent);
	if (dir == NULL)
		memo_reply_error(req, -ESTALE);
	else if (strlen(name) > MEMO_COMPONENT_MAX)
		memo_reply_error(req, -ENAMETOOLONG);
	else
		lookup_in(fs, req, dir, name);
	memo_nodes_put(&fs->nodes, dir);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	memo_nodes_forget(&fs->nodes, ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	for (size_t i = 0; i < count; i++)
		memo_nodes_forget(&fs->nodes, f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

static struct memo_call call_of(fuse_req_t req, struct memo_node *n, enum memo_call_op op,
				const struct fuse_file_info *fi)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	struct memo_call c = { .req = req, .node = n, .op = op, .tid = who->pid, .uid = who->uid, .gid = who->gid };
	if (fi != NULL)
		c.fi = *fi;
	return c;
}

void memo_ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_node *n = memo_nodes_get(&fs->nodes, ino);
	if (n == NULL) {
		memo_reply_error(req, -ESTALE);
		return;
	}
	if (n->kind == MEMO_NODE_INSTANCE || n->kind == MEMO_NODE_ENTRY) {
		struct memo_call c = call_of(req, n, MEMO_CALL_GETATTR, NULL);
		/* The kernel tells for reads that they have a handle, not for fstat. */
		if (fi != NULL && atomic_load(&memo_call_owner(n)->result) != NULL)
			memo_call_serve(fs, &c, NULL);
		else
			memo_call_start(fs, &c);
		return;
	}
	if (memo_text_is(n)) {
		memo_text_getattr(fs, req, n);
	} else {
		struct stat st;
		double seconds;
		memo_attr(fs, n, true, &st, &seconds);
		(void)fuse_reply_attr(req, &st, seconds);
	}
	memo_nodes_put(&fs->nodes, n);
}

static void read_latest(struct memo_fs *fs, fuse_req_t req, const struct memo_node *n)
{
	char version[MEMO_NAME_MAX + 1], path[2 * MEMO_NAME_MAX];
	int r = memo_store_latest(fs->store, n->task, version);
	if (r < 0) {
		memo_reply_error(req, r);
		return;
	}
	if (n->view == MEMO_VIEW_TASKS || n->view == MEMO_VIEW_CACHED) {
		(void)snprintf(path, sizeof path, "/tasks/%s/latest", n->task);
		memo_runner_observe(fs->runner, memo_reply_tid(req), path, NULL, version);
	}
	(void)fuse_reply_readlink(req, version);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_node *n = memo_nodes_get(&fs->nodes, ino);
	if (n == NULL) {
		memo_reply_error(req, -ESTALE);
		return;
	}
	if (n->kind == MEMO_NODE_INSTANCE && n->type == S_IFLNK) {
		struct memo_call c = call_of(req, n, MEMO_CALL_READLINK, NULL);
		memo_call_start(fs, &c);
		return;
	}
	if (n->kind == MEMO_NODE_LATEST) {
		read_latest(fs, req, n);
	} else if (n->target != NULL) {
		if (n->root != NULL)
			memo_call_observe(fs, n->root, memo_reply_tid(req));
		(void)fuse_reply_readlink(req, n->target);
	} else {
		memo_reply_error(req, -EINVAL);
	}
	memo_nodes_put(&fs->nodes, n);
}

void memo_ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_node *n = memo_nodes_get(&fs->nodes, ino);
	if (n != NULL && (n->kind == MEMO_NODE_INSTANCE || n->kind == MEMO_NODE_ENTRY) && n->type == S_IFREG) {
		struct memo_call c = call_of(req, n, MEMO_CALL_OPEN, fi);
		memo_call_start(fs, &c);
		return;
	}
	if (n == NULL)
		memo_reply_error(req, -ESTALE);
	else if (memo_text_is(n))
		memo_text_open(fs, req, n, fi);
	else
		memo_reply_error(req, -EINVAL);
	memo_nodes_put(&fs->nodes, n);
}

static void list_plain(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, const struct fuse_file_info *given)
{
	struct fuse_file_info fi = *given;
	struct memo_dir *d = NULL;
	struct memo_who *who = NULL;
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	int r = memo_who_thread(ctx->uid, ctx->gid, ctx->pid, &who);
	if (r == 0)
		r = memo_dir_open(fs, n, who, &d);
	memo_who_unref(who);
	if (r < 0) {
		memo_reply_error(req, r);
		return;
	}
	fi.fh = (uint64_t)(uintptr_t)d;
	if (fuse_reply_open(req, &fi) != 0)
		memo_dir_close(fs, d); /* no RELEASEDIR will come */
}

void memo_ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_node *n = memo_nodes_get(&fs->nodes, ino);
	if (n != NULL && n->type == S_IFDIR && (n->kind == MEMO_NODE_INSTANCE || n->kind == MEMO_NODE_ENTRY)) {
		struct memo_call c = call_of(req, n, MEMO_CALL_OPENDIR, fi);
		memo_call_start(fs, &c);
		return;
	}
	if (n == NULL)
		memo_reply_error(req, -ESTALE);
	else if (n->type != S_IFDIR)
		memo_reply_error(req, -ENOTDIR);
	else
		list_plain(fs, req, n, fi);
	memo_nodes_put(&fs->nodes, n);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct statvfs v;
	(void)ino;
	/* Of the store's own directory; the mount itself is never touched. */
	if (statvfs(memo_store_dir(fs->store), &v) != 0) {
		memo_reply_error(req, memo_errno());
		return;
	}
	v.f_namemax = MEMO_COMPONENT_MAX;
	(void)fuse_reply_statfs(req, &v);
}

const struct fuse_lowlevel_ops memo_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = memo_ops_getattr,
	.readlink = op_readlink,
	.open = memo_ops_open,
	.read = memo_ops_read,
	.release = memo_ops_release,
	.opendir = memo_ops_opendir,
	.readdir = memo_ops_readdir,
	.releasedir = memo_ops_releasedir,
	.statfs = op_statfs,
};
