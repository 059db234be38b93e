/* Ops, directories: OPENDIR of a result, READDIR, RELEASEDIR. */
#include "private.h"

#include <stdlib.h>

#define READDIR_BYTES ((size_t)1 << 20) /* of one reply; the kernel asks for 4 to 128 KiB */

void memo_ops_opendir_result(struct memo_fs *fs, const struct memo_call *c)
{
	struct memo_node *n = c->node, *root = memo_call_owner(n);
	struct memo_result *r = atomic_load(&root->result);
	struct memo_tree *tree = NULL;
	struct memo_dir *d = NULL;
	int e = memo_store_open_tree(fs->store, r, &tree, NULL);
	if (e == -ENOENT || e == -EBADMSG) {
		/* The kernel walks again, finds a placeholder, and waits for its attributes. */
		memo_call_lost(fs, root, r, e == -ENOENT ? "its listing is gone" : "its listing is damaged");
		memo_call_end(fs, c, -ESTALE);
		return;
	}
	if (e == 0)
		e = memo_dir_open_tree(fs, tree, n->kind == MEMO_NODE_ENTRY ? n->index : 0, root->inner, n->ino,
				       &d);
	if (e < 0) {
		memo_call_end(fs, c, -EIO);
		return;
	}
	memo_call_observe(fs, root, c->tid);
	memo_call_count(fs, root, c->tid);
	if (root->once)
		memo_node_consume(&fs->nodes, root);
	struct fuse_file_info fi = c->fi;
	fi.fh = (uint64_t)(uintptr_t)d;
	fi.cache_readdir = 1;
	fi.keep_cache = 1;
	if (fuse_reply_open(c->req, &fi) != 0)
		memo_dir_close(fs, d); /* no RELEASEDIR will come */
	memo_nodes_put(&fs->nodes, n);
}

void memo_ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_dir *d = (struct memo_dir *)(uintptr_t)fi->fh;
	(void)ino;
	if (size > READDIR_BYTES)
		size = READDIR_BYTES;
	char *buf = malloc(size > 0 ? size : 1);
	size_t used = 0;
	int r = buf != NULL ? memo_dir_read(fs, req, d, buf, size, off, &used) : -ENOMEM;
	if (r < 0)
		memo_reply_error(req, r);
	else
		(void)fuse_reply_buf(req, buf, used);
	free(buf);
}

void memo_ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	(void)ino;
	memo_dir_close(fs, (struct memo_dir *)(uintptr_t)fi->fh);
	(void)fuse_reply_err(req, 0);
}
