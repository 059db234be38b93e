/* Ops, files: OPEN of a result, READ, RELEASE. A handle holds a descriptor of the object, so that it keeps reading what it
 * opened whatever happens to the name or the store. */
#include "private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct memo_handle *handle_new(struct memo_fs *fs, int fd)
{
	struct memo_handle *h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->fd = fd;
	memo_mutex_init(&h->mu);
	memo_mutex_lock(&fs->mu);
	h->next = fs->handles;
	h->prev = &fs->handles;
	if (h->next != NULL)
		h->next->prev = &h->next;
	fs->handles = h;
	memo_mutex_unlock(&fs->mu);
	return h;
}

static void handle_free(struct memo_fs *fs, struct memo_handle *h)
{
	memo_mutex_lock(&fs->mu);
	*h->prev = h->next;
	if (h->next != NULL)
		h->next->prev = h->prev;
	memo_mutex_unlock(&fs->mu);
	if (h->fd >= 0)
		(void)close(h->fd);
	if (h->holds)
		memo_store_release(fs->store, &h->held);
	memo_blob_unref(h->blob);
	memo_nodes_put(&fs->nodes, h->node);
	memo_mutex_clear(&h->mu);
	free(h);
}

void memo_handles_clear(struct memo_fs *fs)
{
	while (fs->handles != NULL)
		handle_free(fs, fs->handles);
	while (fs->dirs != NULL)
		memo_dir_close(fs, fs->dirs);
}

/* Another open took the node: leads the thread's retried look-up to one that is its own. */
static int reserve(struct memo_fs *fs, struct memo_node *n, const char *key, pid_t tid)
{
	const struct memo_origin *o = atomic_load(&n->origin);
	struct memo_node *own = memo_nodes_ticket_find(&fs->nodes, key, tid);
	if (own != NULL) {
		/* It was told once and came back without looking up: it opens a descriptor's link, which has no name. */
		bool back = memo_node_unseen(&fs->nodes, own);
		memo_nodes_put(&fs->nodes, own);
		return back ? 0 : -ESTALE;
	}
	struct memo_node_spec s = { .kind = MEMO_NODE_INSTANCE,
				    .view = n->view,
				    .type = n->type,
				    .once = true,
				    .uid = n->uid,
				    .task = n->task,
				    .version = n->version,
				    .def = o->task,
				    .inputs = o->inputs,
				    .component = o->component,
				    .demandable = true };
	int r = memo_store_ino(fs->store, 1, &s.ino);
	if (r == 0)
		r = memo_nodes_make(&fs->nodes, &s, &own, NULL);
	if (r < 0)
		return r;
	memo_nodes_ticket(&fs->nodes, key, tid, own);
	memo_nodes_put(&fs->nodes, own);
	return -ESTALE;
}

/* 0: serve. -ESTALE: the kernel looks the name up again by itself, once. */
static int admit(struct memo_fs *fs, const struct memo_call *c)
{
	const struct memo_origin *o = atomic_load(&c->node->origin);
	char key[MEMO_KEY_BYTES];
	if (c->node->kind != MEMO_NODE_INSTANCE || o == NULL || c->attempt > 0)
		return 0;
	if (memo_view_key(key, sizeof key, c->node->view, o->task->name, o->task->version, o->component, NULL) < 0)
		return 0;
	switch (memo_node_admit(&fs->nodes, c->node, key, c->tid)) {
	case MEMO_ADMIT:
		return 0;
	case MEMO_ADMIT_RETRY:
		return -ESTALE;
	case MEMO_ADMIT_OTHER:
		return reserve(fs, c->node, key, c->tid);
	}
	return -ESTALE;
}

/* A descriptor of the file, from the result in hand. */
static int open_bytes(struct memo_fs *fs, const struct memo_node *n, struct memo_result *r, int *fd_out)
{
	if (n->kind == MEMO_NODE_INSTANCE)
		return memo_store_open_file(fs->store, r, fd_out, NULL);
	struct memo_tree *tree = NULL;
	int e = memo_store_open_tree(fs->store, r, &tree, NULL);
	if (e < 0)
		return e;
	e = n->index < memo_tree_count(tree)
		    ? memo_store_open_entry(fs->store, r, memo_tree_entry(tree, n->index), fd_out, NULL)
		    : -EBADMSG;
	memo_tree_unref(tree);
	return e;
}

/* Takes over the hold of @r. */
static void reply_open(struct memo_fs *fs, const struct memo_call *c, const struct memo_result *r, int fd)
{
	struct memo_handle *h = handle_new(fs, fd);
	if (h == NULL) {
		(void)close(fd);
		memo_store_release(fs->store, &r->hash);
		memo_call_end(fs, c, -ENOMEM);
		return;
	}
	h->holds = true;
	h->held = r->hash;
	struct memo_node *owner = memo_call_owner(c->node);
	memo_call_observe(fs, owner, c->tid);
	if (c->attempt == 0) /* what was lost was demanded anew */
		memo_call_count(fs, owner, c->tid);
	if (owner->once && owner != c->node)
		memo_node_consume(&fs->nodes, owner);
	struct fuse_file_info fi = c->fi;
	fi.fh = (uint64_t)(uintptr_t)h;
	fi.keep_cache = 1;
	fi.noflush = 1;
	if (fuse_reply_open(c->req, &fi) != 0)
		handle_free(fs, h); /* no RELEASE will come */
	memo_nodes_put(&fs->nodes, c->node);
}

void memo_ops_open_result(struct memo_fs *fs, const struct memo_call *c, struct memo_result *answer)
{
	struct memo_node *owner = memo_call_owner(c->node);
	struct memo_result *r = atomic_load(&owner->result);
	int e = admit(fs, c);
	if (e < 0) {
		memo_call_end(fs, c, e);
		return;
	}
	if (c->attempt > 0 && answer != NULL) {
		if (!memo_id_equal(&answer->hash, &r->hash)) {
			/* Other bytes need another node id: the name is looked up again. */
			memo_call_retire(fs, owner);
			memo_call_end(fs, c, -ESTALE);
			return;
		}
		r = answer;
	}
	int fd = -1;
	memo_store_hold(fs->store, &r->hash);
	e = open_bytes(fs, c->node, r, &fd);
	if (e == 0) {
		reply_open(fs, c, r, fd);
		return;
	}
	memo_store_release(fs->store, &r->hash);
	if (e != -ENOENT && e != -EBADMSG) {
		memo_call_end(fs, c, -EIO);
		return;
	}
	memo_call_lost(fs, NULL, r, e == -ENOENT ? "its bytes are gone" : "its bytes are damaged");
	if (memo_call_again(fs, c))
		return;
	/* Reached through /cached or /objects, which start no work: the name is looked up again, and is not there. */
	memo_call_retire(fs, owner);
	memo_call_end(fs, c, atomic_load(&owner->demandable) ? -EIO : -ESTALE);
}

void memo_text_open(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, const struct fuse_file_info *given)
{
	struct fuse_file_info fi = *given;
	struct memo_handle *h = handle_new(fs, -1);
	int r = h != NULL ? 0 : -ENOMEM;
	if (r == 0 && memo_text_is_log(n)) {
		memo_nodes_pin(&fs->nodes, n);
		h->node = n;
		uint64_t size;
		r = memo_text_log(fs, n, &h->fd, &size);
	} else if (r == 0) {
		r = memo_text_take(fs, n, req, &h->blob);
	}
	if (r < 0) {
		if (h != NULL)
			handle_free(fs, h);
		memo_reply_error(req, r);
		return;
	}
	/* The length may be another at the next look: reads must not be cut at one that was told before. */
	fi.fh = (uint64_t)(uintptr_t)h;
	fi.direct_io = 1;
	fi.noflush = 1;
	if (fuse_reply_open(req, &fi) != 0)
		handle_free(fs, h);
}

/* A log that did not exist when it was opened may exist now. */
static int log_fd(struct memo_fs *fs, struct memo_handle *h)
{
	uint64_t size;
	memo_mutex_lock(&h->mu);
	int r = h->fd < 0 ? memo_text_log(fs, h->node, &h->fd, &size) : 0;
	int fd = h->fd;
	memo_mutex_unlock(&h->mu);
	return r < 0 ? -EIO : fd; /* -1: still none */
}

void memo_ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	struct memo_handle *h = (struct memo_handle *)(uintptr_t)fi->fh;
	(void)ino;
	if (h->blob != NULL) {
		size_t from = off < 0 || (uint64_t)off > h->blob->len ? h->blob->len : (size_t)off;
		size_t rest = h->blob->len - from;
		/* The reader may close before the reply has returned here. */
		struct memo_blob *b = memo_blob_ref(h->blob);
		(void)fuse_reply_buf(req, b->data + from, rest < size ? rest : size);
		memo_blob_unref(b);
		return;
	}
	int fd = h->node != NULL ? log_fd(fs, h) : h->fd;
	if (fd < 0) {
		if (h->node != NULL && fd == -1)
			(void)fuse_reply_buf(req, NULL, 0);
		else
			memo_reply_error(req, -EIO);
		return;
	}
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(size);
	v.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	v.buf[0].fd = fd;
	v.buf[0].pos = off;
	(void)fuse_reply_data(req, &v, FUSE_BUF_SPLICE_MOVE);
}

void memo_ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct memo_fs *fs = fuse_req_userdata(req);
	(void)ino;
	handle_free(fs, (struct memo_handle *)(uintptr_t)fi->fh);
	(void)fuse_reply_err(req, 0);
}
