/* Sandbox: how far a task reaches (CONTRACT section 6). Layers, each tried and each recorded, none assumed:
 *
 *	files      Landlock: reads system directories, its inputs, its code and `readable`; writes work/ and `writable`.
 *	           Where a view (mount namespace) can be had, all but what may be written is read-only in it too, which also
 *	           stops what Landlock does not know: chmod, chown, utime, and truncate before its version 3.
 *	network    a network namespace with nothing but loopback; else a filter of system calls (seccomp) that allows sockets
 *	           of the family AF_UNIX only, with Landlock's rules for TCP.
 *	rights     no_new_privs; of root's capabilities only those about the owners and modes of files remain.
 *	processes  a pid namespace, for an ordinary user inside a user namespace (run.h); else Landlock's scopes, version 6.
 *
 * Order, between clone and exec of the task:
 *
 *	init      memo_view_map() -> memo_view_hold() -> memo_view_close()       view.c
 *	task      memo_rights_drop() -> memo_landlock_enter() -> memo_seccomp_enter() -> memo_sandbox_check()
 *
 * What is reached is gathered in `struct memo_level`, which init hands to the task by fork and the task to the worker through
 * the report pipe; the worker makes the record of it. A layer that is refused is no error: with `sandbox` auto the task
 * runs with what there is, with `on` memo_sandbox_check() refuses. With `off` none of this is called.
 *
 * After: kernel's Documentation/userspace-api/landlock.rst and seccomp_filter.rst; the masks by version follow the first. */
#ifndef MEMO_WORKER_SANDBOX_H
#define MEMO_WORKER_SANDBOX_H

#include "worker.h"

/* Without the version that knows renames between directories, every such rename would be refused: worse than none. */
#define MEMO_LANDLOCK_LEAST 2

enum memo_network { MEMO_NETWORK_OPEN, MEMO_NETWORK_NAMESPACE, MEMO_NETWORK_FILTER };

struct memo_level {
	bool user_namespace;
	int landlock; /* its version; 0: not in force */
	int landlock_error; /* errno that refused it; 0 where the version is too old */
	bool readonly; /* the view */
	int readonly_error;
	enum memo_network network;
	int network_error; /* of the last layer that was tried */
};

/* The task needs the network, or is not kept from it. */
bool memo_sandbox_network_open(const struct memo_worker *w);
/* With `on`: -EPERM unless @level keeps what the setting promises. */
MEMO_MUST int memo_sandbox_check(const struct memo_worker *w, const struct memo_level *level);
/* The object for exit.json; NULL: out of memory. @held: in words, how the processes are held. */
json_t *memo_sandbox_record(const struct memo_worker *w, const struct memo_level *level, const char *held);
/* What is missing of the promise, for people: "Landlock (Function not implemented), ..."; "" when nothing is. free() it. */
char *memo_sandbox_missing(const struct memo_worker *w, const struct memo_level *level);
/* True when the end of the task's stderr speaks of something refused. */
bool memo_sandbox_was_felt(const struct memo_worker *w);

/* In a new user namespace: this user and group, as themselves. */
MEMO_MUST int memo_view_map(uid_t uid, gid_t gid);
/* The namespace's own view: mounts made here stay here, those of the machine still come and go, and /proc shows the
 * namespace's processes. */
MEMO_MUST int memo_view_hold(void);
/* Init, after the task: whether it mounted something over its output, which then lies where nobody else sees it. */
bool memo_view_covers_output(const struct memo_worker *w);
/* Makes the view read-only but for what the task may write, gives it a /dev/shm of its own, takes the sockets in /run and the
 * store's control socket away, and cuts the network off. An error only where the view is left unusable. */
MEMO_MUST int memo_view_close(const struct memo_worker *w, struct memo_level *level);

/* no_new_privs, few capabilities, no core files. */
MEMO_MUST int memo_rights_drop(void);
/* Puts this process and all that come from it under Landlock, as far as the kernel has it. */
void memo_landlock_enter(const struct memo_worker *w, struct memo_level *level);
/* Refuses sockets by seccomp unless the network is open or cut off already. */
void memo_seccomp_enter(const struct memo_worker *w, struct memo_level *level);

#endif
