/* Node: the inodes that the kernel knows, and the names that lead to them.
 *
 * Ids. A node id stands for one meaning for ever: fixed ids below MEMO_INO_FIRST for the top of the mount, ids of the
 * registry for task and version directories, a result's own id (and those of its tree's entries) for what is
 * finished, a fresh id for a placeholder, whose result is then published under that id. The kernel gets ids, never
 * pointers; an id that is not in the table is stale.
 *
 * Life. A node lives while the kernel holds lookups of it or this process holds pins. `result` goes from NULL to one
 * result, once, and never changes afterwards: page cache of two results cannot mix. When a name comes to mean another
 * result, the name moves to another node and the old node serves those who still have it.
 *
 * Names are paths below the root ("tasks/align/1.2.0/sample=A") and lead to the node that the next LOOKUP shall give.
 *
 * Placeholders (notes on sizes: DESIGN.md, invariant 7). A node is tainted when a placeholder reply may make the kernel
 * drop the true attributes that a waiting GETATTR brings: then OPEN says ESTALE until a LOOKUP has brought them.
 *
 * Guarded nodes. A name that has input files may mean another result at any moment, and not everyone who sees the name may
 * read them, but neither can be found out in a LOOKUP, which must not touch a disk of somebody else. So LOOKUP gives the
 * result that the name had last, the kernel is told to keep nothing of it, and thus asks for the attributes before
 * anything else is done with the node. That GETATTR is a demand like the first one, with the rights of whoever asks:
 * refused, or the same bytes, or ESTALE, whereupon the kernel looks up again and finds the new ones. As several names may
 * lead to one node, and as another demand may give a placeholder an older result in between, the LOOKUP notes for its
 * thread which name it was (a "look", kept until that thread's next request on the node). A request without one is about something that was opened before, and is served to users who were.
 * A thread without a number (of another pid namespace) cannot be told from others: it gets placeholders instead.
 *
 * Threads: one mutex; what is constant after creation is read without it. */
#ifndef MEMO_FILESYSTEM_NODE_H
#define MEMO_FILESYSTEM_NODE_H

#include "base/error.h"
#include "base/map.h"
#include "base/sync.h"
#include "core/task.h"
#include "store/store.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum memo_view {
	MEMO_VIEW_TASKS,
	MEMO_VIEW_CACHED,
	MEMO_VIEW_START,
	MEMO_VIEW_INFO,
	MEMO_VIEW_OBJECTS,
	MEMO_VIEW_RUNS,
	MEMO_VIEWS
};
extern const char *const memo_view_names[]; /* "tasks" ..., NULL at the end */

#define MEMO_INO_ROOT 1
#define MEMO_INO_VIEW 2 /* + view, but for runs */
#define MEMO_INO_README 7
#define MEMO_INO_RUNS 8

static inline uint64_t memo_view_ino(enum memo_view v)
{
	return v == MEMO_VIEW_RUNS ? MEMO_INO_RUNS : MEMO_INO_VIEW + (uint64_t)v;
}

/* Placeholder size of a file: beyond what any tool copies without noticing. */
#define MEMO_PLACEHOLDER_BYTES (UINT64_C(1) << 50)

#define MEMO_LET_IN 8
#define MEMO_LOOKS 65536 /* threads between a LOOKUP and what follows it */
#define MEMO_LOOK_NS (60 * MEMO_NS_PER_S) /* nothing follows any more, when there are so many */

#define MEMO_KEY_BYTES 640 /* a name's path: view, task, version, component, upstream/, need */

enum memo_node_kind {
	MEMO_NODE_ROOT,
	MEMO_NODE_VIEW,
	MEMO_NODE_README,
	MEMO_NODE_NAME, /* /<view>/<task> */
	MEMO_NODE_LATEST, /* /<view>/<task>/latest */
	MEMO_NODE_VERSION, /* /<view>/<task>/<version> */
	MEMO_NODE_INSTANCE, /* a result, or the place of one */
	MEMO_NODE_ENTRY, /* inside a directory result */
	MEMO_NODE_LINK, /* a symlink with a fixed text */
	MEMO_NODE_START,
	MEMO_NODE_INFO, /* /info/<task>/<version>/<component> */
	MEMO_NODE_TEXT, /* a file in it */
	MEMO_NODE_UPSTREAM, /* its directory of links */
	MEMO_NODE_RUN, /* /runs/<id> */
	MEMO_NODE_OUTCOME, /* /runs/<id>/success ... */
	MEMO_NODE_RUN_TEXT, /* a file in /runs/<id> */
};

/* Whose result it is; immutable. */
struct memo_origin {
	struct memo_task *task;
	json_t *inputs;
	char *component; /* canonical */
};

/* A text as it was at one moment, shared by handles. */
struct memo_blob {
	atomic_int refs;
	size_t len;
	char data[];
};
struct memo_blob *memo_blob_new(const void *data, size_t len);
struct memo_blob *memo_blob_ref(struct memo_blob *b);
void memo_blob_unref(struct memo_blob *b);

struct memo_name;

struct memo_node {
	/* Constant. */
	uint64_t ino;
	enum memo_node_kind kind;
	enum memo_view view;
	mode_t type; /* S_IFDIR, S_IFREG, S_IFLNK */
	bool once; /* of a task with "cache": false: each open is an execution */
	uid_t uid; /* once: whose: an execution is not shared with those who may not demand it */
	char *task,
		*version; /* of directories and what is below them; may be NULL; in /runs @task is the run's id */
	char *home; /* the name under which a directory was made: it can have but one */
	char *target; /* LINK, and links inside a tree */
	unsigned index; /* ENTRY: in the tree; TEXT: in memo_info_names; OUTCOME, RUN_TEXT: which */
	struct memo_node *root; /* ENTRY: the result's node, pinned */
	uint64_t size; /* ENTRY */
	bool exec; /* ENTRY */
	/* Set once, under the table's lock, then constant. */
	_Atomic(struct memo_origin *) origin;
	_Atomic(struct memo_result *) result;
	uint64_t inner; /* id of entry i of its tree: inner + i; set before result */
	atomic_bool demandable; /* a name in /tasks led here */
	atomic_bool guarded; /* see above */
	/* For the statistics alone. */
	atomic_bool
		counted; /* the demand that gave it its result was counted: the OPEN that follows is no further hit */
	atomic_int reader; /* of a directory: the thread that opened something in it last */
	/* Guarded by the table's lock. */
	struct memo_map_link link;
	uint64_t lookups;
	unsigned pins;
	struct memo_name *names;
	unsigned placeholders; /* placeholder replies */
	pid_t first_tid; /* who got the first */
	bool asked; /* attributes were asked for while there was no result */
	bool tainted;
	bool consumed; /* once: an open took its result */
	uid_t let_in[MEMO_LET_IN]; /* guarded: users whose demands were answered, the last ones */
	unsigned lets;
	pid_t reserved; /* once: only this thread's open may take it; 0: anyone's */
	struct memo_blob *blob; /* text for the next OPEN by blob_tid */
	pid_t blob_tid;
	bool blob_fresh; /* made by LOOKUP: the next GETATTR need not make it again */
};

struct memo_ticket;

struct memo_nodes {
	struct memo_mutex mu;
	struct memo_map by_ino; /* guarded by mu */
	struct memo_map by_name; /* guarded by mu */
	struct memo_ticket *tickets; /* guarded by mu */
	struct memo_map looks; /* guarded by mu: by thread */
	unsigned next_ticket;
	atomic_uint_fast64_t epoch; /* counts events that may change what names mean */
};

MEMO_MUST int memo_nodes_init(struct memo_nodes *t);
void memo_nodes_clear(struct memo_nodes *t);

/* What a node to be found or made is. All borrowed. */
struct memo_node_spec {
	uint64_t ino; /* 0: find only, -ENOENT when it would have to be made */
	enum memo_node_kind kind;
	enum memo_view view;
	mode_t type;
	bool once;
	const char *task, *version;
	const char *target;
	unsigned index;
	struct memo_node *root;
	uint64_t size;
	bool exec;
	struct memo_task *def; /* with @inputs and @component: the origin */
	const json_t *inputs;
	const char *component;
	bool demandable;
	bool guarded;
	uid_t uid; /* with @once */
	struct memo_result *result;
	uint64_t inner;
	const char *key; /* the name; NULL: none */
	uint64_t parent; /* of the name */
	uint64_t epoch; /* the table's before the name's meaning was found out */
};

/* The node that the name leads to when that is what @s describes, else the node with the id, else a new one; the name
 * leads to it afterwards. Pinned. One critical section.
 * *@stable_out (may be NULL): no event came since s->epoch, the kernel may keep the name.
 * -EEXIST: the id belongs to something that this name cannot show (a directory with another name, another
 * result): take fresh ids. */
MEMO_MUST int memo_nodes_make(struct memo_nodes *t, const struct memo_node_spec *s, struct memo_node **out,
			      bool *stable_out);
/* Pinned, or NULL. */
struct memo_node *memo_nodes_get(struct memo_nodes *t, uint64_t ino);
void memo_nodes_pin(struct memo_nodes *t, struct memo_node *n);
void memo_nodes_put(struct memo_nodes *t, struct memo_node *n); /* NULL-safe */
void memo_nodes_forget(struct memo_nodes *t, uint64_t ino, uint64_t count);
size_t memo_nodes_count(struct memo_nodes *t);

/* For node_use.c. Ends @n, and the result's node above it, when nobody holds them. */
void memo_node_release_locked(struct memo_nodes *t, struct memo_node *n) MEMO_TSA(requires_capability(t->mu));
MEMO_MUST int memo_node_tickets_init(struct memo_nodes *t);
void memo_node_tickets_clear(struct memo_nodes *t);

/* Before an entry reply: counts it and says whether true attributes shall go out. *@tainted_out: how it was, for undo. */
bool memo_node_entry_begin(struct memo_nodes *t, struct memo_node *n, pid_t tid, bool *tainted_out);
void memo_node_entry_failed(struct memo_nodes *t, struct memo_node *n, bool tainted);
/* GETATTR or OPEN found no result. */
void memo_node_asked(struct memo_nodes *t, struct memo_node *n);
/* The first result wins. */
void memo_node_bind(struct memo_nodes *t, struct memo_node *n, struct memo_result *r, uint64_t inner);

/* Whether an OPEN by @tid may be served now. */
enum memo_admit {
	MEMO_ADMIT, /* yes; a node of a "cache": false task is taken by it */
	MEMO_ADMIT_RETRY, /* no: ESTALE; the retried LOOKUP of @tid is led to this node (a ticket was left) */
	MEMO_ADMIT_OTHER, /* no: taken by another open; ESTALE, and a ticket for a new node is needed */
};
/* @key: the name that the thread will look up again. */
enum memo_admit memo_node_admit(struct memo_nodes *t, struct memo_node *n, const char *key, pid_t tid);
/* An entry inside a directory of a "cache": false task was opened: the directory's name starts anew. */
void memo_node_consume(struct memo_nodes *t, struct memo_node *n);
/* No placeholder of it was given out yet. */
bool memo_node_unseen(struct memo_nodes *t, const struct memo_node *n);
/* The text that the next OPEN by @tid shall give. @fresh: the next GETATTR too. Takes the reference. */
void memo_node_blob_set(struct memo_nodes *t, struct memo_node *n, struct memo_blob *b, pid_t tid, bool fresh);
/* Gives it, with a reference; NULL: none for @tid. @take: it is used up; else it must be fresh. */
struct memo_blob *memo_node_blob_get(struct memo_nodes *t, struct memo_node *n, pid_t tid, bool take);
/* Leads the next LOOKUPs of @key by @tid to @n, until its OPEN; at most MEMO_TICKET_NS. */
#define MEMO_TICKETS 256
#define MEMO_TICKET_NS (5 * MEMO_NS_PER_S)
void memo_nodes_ticket(struct memo_nodes *t, const char *key, pid_t tid, struct memo_node *n);
/* Ends the ticket of @tid that leads to @n. */
void memo_node_ticket_end(struct memo_nodes *t, struct memo_node *n, pid_t tid);
/* The same for a file of a "cache": false task whose attributes @tid was told: the execution belongs to its next OPEN. Nothing
 * when another thread has it, or an open took it. */
void memo_node_keep(struct memo_nodes *t, struct memo_node *n, const char *key, pid_t tid);
/* Pinned, or NULL. */
struct memo_node *memo_nodes_ticket_find(struct memo_nodes *t, const char *key, pid_t tid);

/* A look: @tid is being led to @n by the name of @def, @inputs and @component (borrowed; NULL: by its hash, which needs no
 * demand) in @view. -ENFILE: too many. */
MEMO_MUST int memo_nodes_look(struct memo_nodes *t, pid_t tid, const struct memo_node *n, enum memo_view view,
			      struct memo_task *def, const json_t *inputs, const char *component);
/* Takes it: *@out (free with memo_origin_free()) is NULL for one that needs no demand. false: there is none. */
bool memo_nodes_look_take(struct memo_nodes *t, pid_t tid, uint64_t ino, enum memo_view *view_out,
			  struct memo_origin **out);
void memo_origin_free(struct memo_origin *o); /* NULL-safe */
/* Lets a user in; asks whether he was. */
void memo_node_let_in(struct memo_nodes *t, struct memo_node *n, uid_t uid);
bool memo_node_was_let_in(struct memo_nodes *t, const struct memo_node *n, uid_t uid);
/* All ids that the kernel may know (free()). -ENOMEM. */
MEMO_MUST int memo_nodes_inos(struct memo_nodes *t, uint64_t **out, size_t *count_out);
void memo_looks_clear(struct memo_nodes *t); /* for node.c */

/* A name that no longer leads anywhere: for telling the kernel. */
struct memo_gone {
	struct memo_gone *next;
	uint64_t parent;
	char name[]; /* the last part */
};
/* Detaches the names that lead to @n. */
MEMO_MUST int memo_nodes_detach_node(struct memo_nodes *t, struct memo_node *n, struct memo_gone **out);
/* Detaches the name if it leads to @n. */
MEMO_MUST int memo_nodes_detach_name(struct memo_nodes *t, const char *key, const struct memo_node *n,
				     struct memo_gone **out);
/* Detaches all that concerns a task version, in every view. */
MEMO_MUST int memo_nodes_detach_version(struct memo_nodes *t, const char *task, const char *version,
					struct memo_gone **out);
void memo_gone_free(struct memo_gone *g);
/* The node the name leads to, pinned, or NULL. */
struct memo_node *memo_nodes_current(struct memo_nodes *t, const char *key);

#endif
