/* Fixture: a real store in a directory of its own, and attempts as the worker would leave them. */
#ifndef MEMO_TEST_STORE_FIXTURE_H
#define MEMO_TEST_STORE_FIXTURE_H

#include "../check.h"
#include "base/io.h"
#include "base/json.h"
#include "base/scope.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fixture {
	char root[256]; /* removed at the end */
	char dir[300]; /* the store */
	struct memo_store *s;
	struct memo_err err;
};

/* One instance of task "t", version "1". */
struct thing {
	struct memo_instance i;
	json_t *inputs;
	json_t *key;
	char name[64];
};

void fx_begin(struct fixture *f);
void fx_end(struct fixture *f);
/* Closes and opens again; the notice, if any, is appended to @notice. */
void fx_reopen(struct fixture *f, struct memo_buf *notice);

char *fx_path(const struct fixture *f, const char *below); /* of the store; free() */
void fx_write(const char *path, const char *text, mode_t mode);
int fx_count(const char *dir); /* entries */

void fx_thing(struct thing *t, int n);
void fx_thing_clear(struct thing *t);
/* To PENDING and RUNNING. */
void fx_run(struct fixture *f, struct thing *t);
int fx_to(struct fixture *f, struct thing *t, enum memo_state to, const char *reason);

/* An attempt with a file as output. */
char *fx_file(struct fixture *f, const char *text, bool exec, struct memo_produced *p);
/* With a directory: a, sub/b (with an x bit), sub/l -> ../a. */
char *fx_tree(struct fixture *f, const char *text, struct memo_produced *p);
int fx_publish(struct fixture *f, struct thing *t, const char *attempt, struct memo_produced *p,
	       struct memo_result **out);
/* The whole: run, publish @text, remove the attempt. */
struct memo_result *fx_make(struct fixture *f, struct thing *t, const char *text);
/* What the result's file reads as (free()); NULL when it cannot be opened. */
char *fx_read(struct fixture *f, const struct memo_result *r);
/* Another process on the store (closed here first): this program again with "child <what> <store>". RocksDB's threads do not
 * survive a fork, so it has to be a new program. *@out: reads what the child writes to its descriptor 1. */
pid_t fx_spawn(struct fixture *f, const char *what, int *out);
/* The same, waits until it has killed itself with SIGKILL. */
void fx_killed(struct fixture *f, const char *what);
/* In the child. */
void fx_child_open(struct fixture *f, const char *dir, const char *purpose);
void fx_child_kill(void);

#endif
