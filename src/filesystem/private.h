/* Private: what the files of this layer share. The path of a request:
 *
 *	filesystem.c (loop) -> ops*.c (one handler each: decode, find the node) -> view_*.c (what is there)
 *	-> one reply here, or demand.c -> park.c (the runner answers later) -> demand.c (bind) -> ops*.c (one reply)
 *
 * A handler that calls memo_call_*() has given the request away and touches it no more. */
#ifndef MEMO_FILESYSTEM_PRIVATE_H
#define MEMO_FILESYSTEM_PRIVATE_H

#include <fuse_lowlevel.h>

#include "base/buf.h"
#include "base/sync.h"
#include "base/tree.h"
#include "base/who.h"
#include "core/path.h"
#include "filesystem.h"
#include "node.h"
#include "notify.h"
#include "park.h"

#include <stdatomic.h>
#include <sys/stat.h>

/* Seconds that stand for "for ever"; the kernel cuts them to its own limit. */
#define MEMO_FOREVER 1e9
#define MEMO_INFO_IDS 32 /* consecutive ids of an instance: the directory, its texts, ..., /start */
#define MEMO_INFO_UPSTREAM 12
#define MEMO_INFO_RESULT 13
#define MEMO_INFO_START 31

struct memo_fs {
	struct memo_runner *runner;
	struct memo_store *store;
	char *mountpoint;
	void (*ended)(void *arg);
	void *arg;
	struct fuse_session *session;
	atomic_bool stop; /* the threads of the loop shall end */
	bool mounted, listening;
	uint64_t dev;
	struct memo_handle *handles; /* guarded by mu: open files */
	struct memo_dir *dirs; /* guarded by mu: open directories */
	uid_t uid;
	_Atomic(gid_t) gid; /* as the settings are now */
	_Atomic(uint32_t) mode; /* the setting, with the owner's r and x */
	int64_t started_ns; /* wall clock: times of what has none */
	struct memo_nodes nodes;
	struct memo_park park;
	struct memo_notify notify;
	pthread_t thread[MEMO_FS_THREADS];
	unsigned threads;
	struct memo_mutex mu;
	struct memo_cond cond;
	bool ready; /* guarded by mu: INIT came */
	bool gone; /* guarded by mu: the kernel ended the connection */
	bool stopping; /* guarded by mu */
};

/* ---- replies (reply.c) ------------------------------------------------------------------------ */

/* @code: negative errno of any layer. */
void memo_reply_error(fuse_req_t req, int code);
pid_t memo_reply_tid(fuse_req_t req);
/* Counts the look-up and takes it back when the kernel did not get the reply. @seconds: how long the name holds. */
void memo_reply_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, double seconds);
/* Attributes of what is ready, or a placeholder's. *@seconds_out: how long they hold. */
void memo_attr(struct memo_fs *fs, const struct memo_node *n, bool ready, struct stat *st, double *seconds_out);
void memo_attr_text(struct memo_fs *fs, const struct memo_node *n, size_t len, struct stat *st);

/* ---- handles (ops_open.c, ops_dir.c) ------------------------------------------------------------ */

struct memo_handle {
	struct memo_handle *next, **prev; /* guarded by the memo_fs's mu */
	int fd; /* -1: a text */
	struct memo_blob *blob; /* the text, or NULL: a log (fd may come later) */
	struct memo_node *node; /* of a log, pinned */
	bool holds; /* @held, the output hash of what is open: not collected meanwhile */
	struct memo_id held;
	struct memo_mutex mu; /* guards the fd of a log */
};

/* What clients of a detached mount still had open at the end. */
void memo_handles_clear(struct memo_fs *fs);

/* ---- waiting (demand.c) ------------------------------------------------------------------------ */

/* Each takes the request and the caller's pin of the node, and gives exactly one reply, now or later. */
void memo_call_start(struct memo_fs *fs, const struct memo_call *call);
/* Continues after the answer; also from runner threads. @res: the answer's result when @code is 0. */
void memo_call_resume(struct memo_fs *fs, const struct memo_call *call, int code, struct memo_result *res);
/* The waiting is over for @leader's node: gives it its result. */
void memo_call_bind(struct memo_fs *fs, struct memo_node *n, struct memo_result *res);
/* The ids that the entries of a directory result have in @view when its node is @ino. */
MEMO_MUST int memo_call_inner(struct memo_fs *fs, enum memo_view view, const struct memo_result *r, uint64_t ino,
			      uint64_t *inner_out);
uint64_t memo_call_result_ino(enum memo_view view, const struct memo_result *r);
/* Serves a call on a node that has its result: OPEN, OPENDIR, GETATTR, READLINK. Takes request and pin. */
void memo_call_serve(struct memo_fs *fs, const struct memo_call *call, struct memo_result *answer);
void memo_ops_open_result(struct memo_fs *fs, const struct memo_call *call, struct memo_result *answer);
void memo_ops_opendir_result(struct memo_fs *fs, const struct memo_call *call);
/* The bytes of @r are gone: tells the runner and, with @n, the kernel that the names mean no more. */
void memo_call_lost(struct memo_fs *fs, struct memo_node *n, struct memo_result *r, const char *reason);
/* Demands anew for an OPEN that found the bytes gone. false: it may not, the caller still has the call. */
MEMO_MUST bool memo_call_again(struct memo_fs *fs, const struct memo_call *call);
/* An error reply, and the pin given back. */
void memo_call_end(struct memo_fs *fs, const struct memo_call *call, int code);
void memo_call_retire(struct memo_fs *fs, struct memo_node *n);
/* Counts an OPEN of a result, or of something in it, as a hit of its task. */
void memo_call_count(struct memo_fs *fs, struct memo_node *owner, pid_t tid);
/* Records that the thread read the result. */
void memo_call_observe(struct memo_fs *fs, const struct memo_node *n, pid_t tid);
/* The node that carries the result: the entry's root or the node itself. */
struct memo_node *memo_call_owner(struct memo_node *n);

/* ---- views -------------------------------------------------------------------------------------- */

/* "view/task/version/component/inner", as far as the parts are not NULL. -ENAMETOOLONG. */
MEMO_MUST int memo_view_key(char *key, size_t size, enum memo_view view, const char *task, const char *version,
			    const char *component, const char *inner);
/* Makes the node and replies with it; fresh ids are taken when @s has none. */
void memo_view_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node_spec *s, double seconds);

void memo_view_top_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir,
			  const char *name); /* view_top.c */
void memo_view_instance_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name);
void memo_view_object_lookup(struct memo_fs *fs, fuse_req_t req, const char *name);
void memo_view_runs_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name);
void memo_view_tree_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name);
void memo_view_info_lookup(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir, const char *name);
/* /info/<task>/<version>/<component>, after the name was understood. */
struct memo_understood {
	struct memo_task *task;
	json_t *inputs;
	char name[256]; /* canonical */
	bool identity; /* an identity handle */
	struct memo_id id;
};
void memo_understood_clear(struct memo_understood *u);
MEMO_MUST int memo_view_understand(struct memo_fs *fs, const struct memo_node *dir, const char *component,
				   struct memo_understood *out);
void memo_view_info_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir,
			  const struct memo_understood *u);
void memo_view_start_entry(struct memo_fs *fs, fuse_req_t req, struct memo_node *dir,
			   const struct memo_understood *u);

/* ---- texts (text.c) ------------------------------------------------------------------------------ */

bool memo_text_is(const struct memo_node *n);
bool memo_text_is_log(const struct memo_node *n);
/* The text of a node now: README, /start (starts the work), a file of /info. */
MEMO_MUST int memo_text_make(struct memo_fs *fs, struct memo_node *n, const struct fuse_ctx *who,
			     struct memo_blob **out);
MEMO_MUST int memo_text_readme(struct memo_fs *fs, struct memo_buf *b);
/* The size of a growing log now; 0 when there is none. */
MEMO_MUST int memo_text_log(struct memo_fs *fs, const struct memo_node *n, int *fd_out, uint64_t *size_out);
/* The text for an OPEN: the one that a GETATTR of the same thread told the size of, else a new one. */
MEMO_MUST int memo_text_take(struct memo_fs *fs, struct memo_node *n, fuse_req_t req, struct memo_blob **out);
void memo_text_getattr(struct memo_fs *fs, fuse_req_t req, struct memo_node *n);
void memo_text_open(struct memo_fs *fs, fuse_req_t req, struct memo_node *n, const struct fuse_file_info *fi);

/* ---- directories (ops_dir.c, dir.c) ---------------------------------------------------------------- */

struct memo_dirent {
	char name[256];
	uint64_t ino;
	mode_t type;
};
struct memo_dir;
/* A listing of what is below @n (no result directories), for @who: names whose input files he may not read are not in it. */
MEMO_MUST int memo_dir_open(struct memo_fs *fs, struct memo_node *n, const struct memo_who *who,
			    struct memo_dir **out);
/* Of a tree's directory: takes the reference of @tree. */
/* The result stays while the directory is open. */
MEMO_MUST int memo_dir_open_tree(struct memo_fs *fs, struct memo_tree *tree, uint32_t index, uint64_t inner,
				 uint64_t self, struct memo_dir **out);
void memo_dir_close(struct memo_fs *fs, struct memo_dir *d);
/* Appends entries from @off on as READDIR wants them; *@used_out bytes. */
MEMO_MUST int memo_dir_read(struct memo_fs *fs, fuse_req_t req, struct memo_dir *d, char *buf, size_t size,
			    off_t off, size_t *used_out);
MEMO_MUST int memo_dir_add(struct memo_dir *d, const char *name, uint64_t ino, mode_t type);
/* The fixed part of a listing, for view_info.c and view_top.c. */
MEMO_MUST int memo_view_info_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d);
MEMO_MUST int memo_view_top_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d);
MEMO_MUST int memo_view_runs_list(struct memo_fs *fs, const struct memo_node *n, struct memo_dir *d);

/* ---- runs (view_runs.c) ----------------------------------------------------------------------------- */

/* The text of a RUN_TEXT now. */
MEMO_MUST int memo_view_runs_text(struct memo_fs *fs, const struct memo_node *n, struct memo_buf *b);
/* The links in an OUTCOME directory, in order of path, streaming. */
struct memo_runs_walk;
struct memo_runs_walk *memo_view_runs_walk(const struct memo_node *n);
void memo_view_runs_rewind(struct memo_runs_walk *w);
void memo_view_runs_free(struct memo_runs_walk *w); /* NULL-safe */
/* -ENOENT: the end. */
MEMO_MUST int memo_view_runs_next(struct memo_fs *fs, struct memo_runs_walk *w, struct memo_dirent *e);

/* ---- operations and life ------------------------------------------------------------------------- */

extern const struct fuse_lowlevel_ops memo_ops;
void memo_fs_inited(struct memo_fs *fs); /* filesystem.c: INIT came */
MEMO_MUST int memo_fs_settings(struct memo_fs *fs, struct memo_err *err); /* filesystem.c: reads them (again) */

void memo_ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void memo_ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void memo_ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void memo_ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void memo_ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void memo_ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void memo_ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
