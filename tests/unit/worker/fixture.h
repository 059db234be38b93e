/* Fixture: attempts that are run by the real worker program. The test program is also the task that looks around:
 * called with "--dump" it prints what it was given. */
#ifndef MEMO_TEST_WORKER_FIXTURE_H
#define MEMO_TEST_WORKER_FIXTURE_H

#include "core/attempt.h"

#include <stdbool.h>
#include <sys/types.h>

struct attempt {
	char dir[256];
	int fd;
	struct memo_job job;
	struct memo_exit exit; /* of the last run */
};

extern const char *fixture_isolation; /* "auto", "pidns", "subreaper" */

/* From main(): takes the worker's path from argv[1], or behaves as the task. True: go on with the tests. */
bool fixture_main(int argc, char **argv);
bool fixture_has_pidns(void);

/* A fresh attempt that runs @argv (NULL-terminated) with File output from stdout and PATH=/usr/bin:/bin. */
void attempt_new(struct attempt *a, const char *const *argv);
/* The same with sh -c @script. */
void attempt_shell(struct attempt *a, const char *script);
void attempt_output(struct attempt *a, enum memo_output_type type, const char *path);
/* Adds an input; @from is copied. Returns it for the flags; valid until the next one. */
struct memo_job_input *attempt_input(struct attempt *a, const char *to, const char *from);
/* Fills guard and id of the input from the file or directory as it is now. */
void attempt_guard(struct memo_job_input *in);
/* Writes job.json and starts the worker. */
pid_t attempt_start(struct attempt *a);
/* Waits for it and reads exit.json; the worker's exit status, -1: no exit.json. */
int attempt_finish(struct attempt *a, pid_t pid);
/* Both. */
int attempt_run(struct attempt *a);
/* A file below the attempt as text; "" when it is not there. Static memory. */
const char *attempt_text(struct attempt *a, const char *path);
/* Waits until the file holds @text; false after 10 s. */
bool attempt_await(struct attempt *a, const char *path, const char *text);
void attempt_end(struct attempt *a);

/* How many processes carry @mark in their command line. */
int count_marked(const char *mark);
/* One of them; 0: none. */
pid_t find_marked(const char *mark);
void write_file(const char *path, const char *text);
/* Path of a scratch directory that lasts as long as the program; a name below it. Static memory. */
const char *scratch(const char *name);
void fixture_end(void);

#endif
