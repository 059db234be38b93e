/* Nearest: which known word was meant by one that is not known ("did you mean 'inputs'?").
 *
 *	struct memo_nearest n = { .word = "input" };
 *	memo_nearest_offer(&n, "inputs");  ... for each known word
 *	n.best: the nearest that is near enough to be named, or NULL
 *
 * Distance: insertions, deletions, replacements and swaps of neighbours, in bytes, upper and lower case alike;
 * near enough is a third of the word. Pure. */
#ifndef MEMO_CORE_NEAREST_H
#define MEMO_CORE_NEAREST_H

#include <stddef.h>

#define MEMO_NEAREST_BYTES 64 /* longer words are like nothing */

struct memo_nearest {
	const char *word;
	const char *best; /* one of the offered words, not copied */
	size_t distance; /* of @best */
};

void memo_nearest_offer(struct memo_nearest *n, const char *known);

#endif
