#include "nearest.h"

#include <string.h>

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment, three rows of the table at a time. */
static size_t distance(const char *a, size_t la, const char *b, size_t lb)
{
	size_t rows[3][MEMO_NEAREST_BYTES + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	for (size_t j = 0; j <= lb; j++)
		before[j] = above[j] = j;
	for (size_t i = 1; i <= la; i++) {
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t differ = lower(a[i - 1]) != lower(b[j - 1]);
			size_t d = least(least(above[j], row[j - 1]) + 1, above[j - 1] + differ);
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
			    lower(a[i - 2]) == lower(b[j - 1]))
				d = least(d, before[j - 2] + 1);
			row[j] = d;
		}
		size_t *spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[lb];
}

void memo_nearest_offer(struct memo_nearest *n, const char *known)
{
	size_t lw = strlen(n->word), lk = strlen(known);
	if (lw == 0 || lw > MEMO_NEAREST_BYTES || lk > MEMO_NEAREST_BYTES)
		return;
	size_t d = distance(n->word, lw, known, lk);
	if (d > (lw > lk ? lw : lk) / 3 || (n->best != NULL && d >= n->distance))
		return;
	n->best = known;
	n->distance = d;
}
