/* Reply: errors, entries and attributes as the kernel gets them. */
#include "private.h"

#include <string.h>

/* What a program can make sense of; the words are in /info and in `memofs explain`. */
void memo_reply_error(fuse_req_t req, int code)
{
	int e = -code;
	switch (e) {
	case EDEADLK:
	case EACCES:
	case EDQUOT:
	case ENOSPC:
	case ENOENT:
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
	case EINTR:
	case ESTALE:
	case EAGAIN: /* only for NFS server threads */
		break;
	default:
		e = EIO;
	}
	(void)fuse_reply_err(req, e); /* no state hangs on an error reply */
}

pid_t memo_reply_tid(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	return c != NULL ? c->pid : 0;
}

static void times(struct stat *st, int64_t ns)
{
	st->st_mtim.tv_sec = (time_t)(ns / MEMO_NS_PER_S);
	st->st_mtim.tv_nsec = (long)(ns % MEMO_NS_PER_S);
	st->st_atim = st->st_mtim;
	st->st_ctim = st->st_mtim;
}

static void sized(struct stat *st, uint64_t size)
{
	st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)((size + 511) / 512);
}

static mode_t permissions(const struct memo_fs *fs, mode_t type, bool exec)
{
	if (type == S_IFLNK)
		return 0777;
	mode_t all = type == S_IFDIR || exec ? 0555 : 0444;
	return all & (atomic_load(&fs->mode) | 0500);
}

static void basics(const struct memo_fs *fs, const struct memo_node *n, bool exec, struct stat *st)
{
	*st = (struct stat){ 0 };
	st->st_ino = n->ino;
	st->st_mode = n->type | permissions(fs, n->type, exec);
	st->st_nlink = 1;
	st->st_uid = fs->uid;
	st->st_gid = atomic_load(&fs->gid);
	st->st_blksize = 4096;
	times(st, fs->started_ns);
}

void memo_attr_text(struct memo_fs *fs, const struct memo_node *n, size_t len, struct stat *st)
{
	basics(fs, n, false, st);
	sized(st, len);
	times(st, memo_wall_ns());
}

static void attr_result(struct memo_fs *fs, const struct memo_node *n, const struct memo_result *r, struct stat *st)
{
	basics(fs, n, r->exec, st);
	times(st, r->mtime_ns);
	if (n->type == S_IFLNK)
		sized(st, r->path != NULL ? strlen(r->path) : 0);
	else if (n->type == S_IFREG)
		sized(st, r->size);
}

void memo_attr(struct memo_fs *fs, const struct memo_node *n, bool ready, struct stat *st, double *seconds_out)
{
	const struct memo_result *r = ready ? atomic_load(&n->result) : NULL;
	*seconds_out = MEMO_FOREVER;
	switch (n->kind) {
	case MEMO_NODE_INSTANCE:
		if (r != NULL) {
			attr_result(fs, n, r, st);
			if (atomic_load(&n->guarded))
				*seconds_out = 0; /* asked for each time, of whoever comes */
			return;
		}
		basics(fs, n, false, st);
		if (n->type != S_IFDIR)
			sized(st, n->type == S_IFREG ? MEMO_PLACEHOLDER_BYTES : 4095);
		*seconds_out = 0;
		return;
	case MEMO_NODE_ENTRY:
		basics(fs, n, n->exec, st);
		sized(st, n->size);
		r = atomic_load(&n->root->result);
		if (r != NULL)
			times(st, r->mtime_ns);
		return;
	case MEMO_NODE_LINK:
		basics(fs, n, false, st);
		sized(st, strlen(n->target));
		return;
	case MEMO_NODE_LATEST: {
		char version[MEMO_NAME_MAX + 1] = "";
		basics(fs, n, false, st);
		if (memo_store_latest(fs->store, n->task, version) == 0)
			sized(st, strlen(version));
		*seconds_out = 0;
		return;
	}
	case MEMO_NODE_README:
	case MEMO_NODE_START:
	case MEMO_NODE_TEXT:
	case MEMO_NODE_RUN_TEXT:
		/* Their length is told by text.c, to whom asks next. */
		memo_attr_text(fs, n, n->kind == MEMO_NODE_START ? 8 : 4096, st);
		*seconds_out = 0;
		return;
	case MEMO_NODE_ROOT:
	case MEMO_NODE_VIEW:
	case MEMO_NODE_NAME:
	case MEMO_NODE_VERSION:
	case MEMO_NODE_INFO:
	case MEMO_NODE_UPSTREAM:
	case MEMO_NODE_RUN:
	case MEMO_NODE_OUTCOME:
		basics(fs, n, false, st);
		return;
	}
	basics(fs, n, false, st);
}

void memo_reply_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, double seconds)
{
	bool tainted;
	bool ready = memo_node_entry_begin(&fs->nodes, n, memo_reply_tid(req), &tainted);
	struct fuse_entry_param e = { .ino = n->ino, .generation = 1, .entry_timeout = seconds };
	memo_attr(fs, n, ready, &e.attr, &e.attr_timeout);
	/* Refused: the kernel has not taken the entry and will not forget it. */
	if (fuse_reply_entry(req, &e) != 0)
		memo_node_entry_failed(&fs->nodes, n, tainted);
}
