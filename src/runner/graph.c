/* The graph of who waits for whom, and the search for a cycle in it: depth first, each node once (a mark per search). The
 * depth of the recursion is bounded: chains of calls by MEMO_RUNNER_DEPTH, and each exec on the path is a running task. */
#include "internal.h"

struct search {
	const struct exec *exec;
	const struct call *call;
	unsigned mark;
};

static bool from_call(struct search *s, struct call *c);

static bool from_exec(struct search *s, struct exec *x)
{
	if (x == s->exec)
		return true;
	if (x->mark == s->mark)
		return false;
	x->mark = s->mark;
	for (struct memo_wait *w = x->reads; w != NULL; w = w->next_read) {
		if (w->call != NULL && from_call(s, w->call))
			return true;
	}
	return false;
}

static bool from_call(struct search *s, struct call *c)
{
	if (c == s->call)
		return true;
	if (c->mark == s->mark || c->phase == CALL_DONE)
		return false;
	c->mark = s->mark;
	for (size_t i = 0; c->up != NULL && i < c->plan.ups; i++) {
		if (c->up[i].child != NULL && from_call(s, c->up[i].child))
			return true;
	}
	if (c->observed_edge.child != NULL && from_call(s, c->observed_edge.child))
		return true;
	return c->exec != NULL && from_exec(s, c->exec);
}

bool memo_graph_call_reaches_exec(struct memo_runner *r, struct call *from, const struct exec *to)
{
	struct search s = { .exec = to, .mark = ++r->mark };
	return from_call(&s, from);
}

bool memo_graph_call_reaches_call(struct memo_runner *r, struct call *from, const struct call *to)
{
	struct search s = { .call = to, .mark = ++r->mark };
	return from_call(&s, from);
}

bool memo_graph_exec_reaches_call(struct memo_runner *r, struct exec *from, const struct call *to)
{
	struct search s = { .call = to, .mark = ++r->mark };
	return from_exec(&s, from);
}
