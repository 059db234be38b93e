/* An instance as it stands now, for why.c. look -> read -> clear. Private to the runner. */
#ifndef MEMO_RUNNER_WHY_NOW_H
#define MEMO_RUNNER_WHY_NOW_H

#include "internal.h"
#include "why.h"

struct memo_why_now {
	struct memo_task *task; /* borrowed */
	const json_t *inputs;
	const struct memo_who
		*who; /* borrowed: who wants to know, and may not learn of files that he cannot read */
	struct memo_buf path;
	struct memo_plan plan;
	bool planned;
	json_t *key; /* with holes where !complete */
	json_t *upstream;
	struct memo_id id; /* when complete: its identity, or that of the hit */
	bool complete;
	json_t *unread; /* texts: "inputs.x (/path)" */
	json_t *absent; /* texts: "upstream.index (/tasks/...)" */
	struct memo_err err; /* it cannot be executed as it stands */
	json_t *record; /* of this identity; NULL: none */
	bool hit; /* the record's result is what a read gets */
	enum memo_state state; /* in flight, or of the name; MEMO_STATES: never demanded */
};

/* 0 also when the instance cannot be executed as it stands: then n->err says why. @t and @inputs are borrowed. Clear @n in any
 * case. */
MEMO_MUST int memo_why_look(struct memo_runner *r, struct memo_task *t, const json_t *inputs,
			    const struct memo_who *who, struct memo_why_now *n);
void memo_why_clear(struct memo_why_now *n);

#endif
