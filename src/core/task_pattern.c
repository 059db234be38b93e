/* Task, patterns: what a pattern would cost, before regcomp() sees it.
 *
 * A pattern is met by values that anybody may name, on a thread that must not wait, and the C library's matcher
 * can be brought to its knees by a few bytes: it writes repetitions out, nested ones multiply; it recurses for each
 * group; and what repeats something that may be empty, as (a*b*)*, takes it time and memory beyond all bounds. So
 * these are refused, and back-references with them. All other questions of syntax are left to regcomp(). */
#include "task_parse.h"

#include <string.h>

/* One group that is open, or the whole pattern. */
struct group {
	size_t cost; /* of what was read of it, repetitions written out */
	bool empty; /* what was read of its present branch may match nothing */
	bool an_empty; /* an earlier branch may */
};

struct reader {
	const char *p;
	struct group open[MEMO_TASK_PATTERN_DEPTH + 1];
	size_t depth;
	/* The atom before @p, which a repetition would concern: */
	size_t atom; /* its cost, 0: there is none */
	bool atom_empty; /* it may match nothing */
	bool before_empty; /* what stands before it in its branch may match nothing */
};

static void end_atom(struct reader *r, size_t cost, bool empty)
{
	struct group *g = &r->open[r->depth];

	r->before_empty = g->empty;
	r->atom = cost;
	r->atom_empty = empty;
	g->cost += cost;
	g->empty = g->empty && empty;
}

/* From "[" past the matching "]": "[]a]", "[^]a]", "[[:alpha:]]". */
static const char *skip_bracket(const char *p)
{
	p += p[1] == '^' ? 2 : 1;
	if (*p == ']')
		p++;
	while (*p != '\0' && *p != ']') {
		if (*p == '[' && p[1] != '\0' && strchr(":.=", p[1]) != NULL) {
			const char close[] = { p[1], ']', '\0' };
			const char *end = strstr(p + 2, close);
			p = end != NULL ? end + 2 : p + 1;
		} else {
			p++;
		}
	}
	return *p == ']' ? p + 1 : p;
}

/* From "{" past "}"; where it is no interval, past "{" and as if it were {1}. */
static const char *skip_interval(const char *p, size_t *least, size_t *most)
{
	size_t number[2] = { 0, 0 }, which = 0;
	const char *q = p + 1;

	for (; (*q >= '0' && *q <= '9') || (*q == ',' && which == 0); q++) {
		size_t *n = &number[which];
		if (*q == ',')
			which = 1;
		else if (*n <= MEMO_TASK_PATTERN_COST)
			*n = *n * 10 + (size_t)(*q - '0');
	}
	bool good = *q == '}' && q > p + 1;
	*least = good ? number[0] : 1;
	*most = !good ? 1 : number[1] > number[0] ? number[1] : number[0] + which;
	return good ? q + 1 : p + 1;
}

static int read_repetition(struct reader *r, const struct memo_place *at)
{
	const char sign = *r->p;
	struct group *g = &r->open[r->depth];
	size_t least = sign == '+' ? 1 : 0, most = sign == '+' ? 2 : 1;

	if (sign == '{')
		r->p = skip_interval(r->p, &least, &most);
	else
		r->p++;
	if (r->atom_empty && sign != '?')
		return memo_place_refuse(
			at,
			"'%c' repeats what may be empty; leave the inner *, ? or | out, as in [ab]* for "
			"(a*b*)*",
			sign);
	size_t more = most > 0 ? r->atom * (most - 1) + 1 : 1;
	g->cost += more;
	r->atom += more;
	r->atom_empty = r->atom_empty || least == 0;
	g->empty = r->before_empty && r->atom_empty;
	return 0;
}

static int read_next(struct reader *r, const struct memo_place *at)
{
	const char *p = r->p;
	struct group *g = &r->open[r->depth];

	if (*p == '{' || *p == '*' || *p == '+' || *p == '?')
		return read_repetition(r, at);
	if (*p == '\\' && p[1] >= '1' && p[1] <= '9')
		return memo_place_refuse(
			at,
			"'\\%c' refers back, which POSIX extended patterns do not do; write the pattern "
			"without it",
			p[1]);
	r->p++;
	if (*p == '(') {
		if (r->depth == MEMO_TASK_PATTERN_DEPTH)
			return memo_place_refuse(at, "has groups more than %d deep; write it flatter",
						 MEMO_TASK_PATTERN_DEPTH);
		r->open[++r->depth] = (struct group){ .empty = true };
		r->atom_empty = true; /* nothing yet to repeat */
	} else if (*p == '|') {
		g->an_empty = g->an_empty || g->empty;
		g->empty = true;
		g->cost++;
		r->atom_empty = true;
	} else if (*p == ')' && r->depth > 0) {
		r->depth--;
		end_atom(r, g->cost + 1, g->empty || g->an_empty);
	} else if (*p == '[') {
		r->p = skip_bracket(p);
		end_atom(r, 1, false);
	} else if (*p == '\\' && *r->p != '\0') {
		end_atom(r, 1, strchr("bB<>`'", *r->p++) != NULL);
	} else {
		end_atom(r, 1, *p == '^' || *p == '$');
	}
	return 0;
}

int memo_task_weigh_pattern(const char *text, const struct memo_place *at)
{
	struct reader r = { .p = text, .atom_empty = true };

	r.open[0].empty = true;
	if (strlen(text) > MEMO_TASK_PATTERN_BYTES)
		return memo_place_refuse(at, "is longer than %d bytes; write it shorter", MEMO_TASK_PATTERN_BYTES);
	while (*r.p != '\0') {
		int e = read_next(&r, at);
		if (e < 0)
			return e;
		if (r.open[r.depth].cost > MEMO_TASK_PATTERN_COST)
			return memo_place_refuse(at,
						 "repeats too much (more than %d characters when written out); use "
						 "smaller counts, or * and +",
						 MEMO_TASK_PATTERN_COST);
	}
	return 0;
}
