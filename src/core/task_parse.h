/* The parts of the task parser; private to task*.c. Each fills or checks its share of a task that is being
 * made, and says what is wrong at its place below @top, the file. */
#ifndef MEMO_CORE_TASK_PARSE_H
#define MEMO_CORE_TASK_PARSE_H

#include "place.h"
#include "task.h"

/* task_parse.c: everything that can be told from one key alone. @t->definition is set. */
MEMO_MUST int memo_task_read(struct memo_task *t, const struct memo_place *top);
/* task_input.c: the member "inputs". */
MEMO_MUST int memo_task_read_inputs(struct memo_task *t, const struct memo_place *top);
void memo_task_clear_input(struct memo_input *in);
/* task_pattern.c: refuses a pattern that the C library's regular expressions could not bear. */
MEMO_MUST int memo_task_weigh_pattern(const char *text, const struct memo_place *at);
/* task_check.c: what only shows when keys are held against each other: placeholders, needs, names. */
MEMO_MUST int memo_task_check(const struct memo_task *t, const struct memo_place *top);

/* Says that there is no input (need) of that name, with the nearest one that there is. */
int memo_task_no_input(const struct memo_task *t, const char *name, const struct memo_place *at);
int memo_task_no_need(const struct memo_task *t, const char *name, const struct memo_place *at);

#endif
