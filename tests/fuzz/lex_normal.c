/* The normal form of many files in one process, for the scripts beside this file.
 *
 * Input, repeated: "<name> <length>\n" and the bytes. Output for each: "<method> <length> <reason>\n" and the normal
 * form. */
#include "core/lex.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_BYTES ((size_t)64 << 20)

static int one(const char *name, size_t len)
{
	struct memo_lexed x;
	char *text = malloc(len > 0 ? len : 1); /* of exactly its size: a sanitizer sees a read beyond it */
	if (text == NULL || fread(text, 1, len, stdin) != len || memo_lex(name, text, len, &x) < 0) {
		free(text);
		return -1;
	}
	printf("%s %zu %s\n", x.method, x.normal.len, x.reason != NULL ? x.reason : "");
	(void)fwrite(memo_buf_str(&x.normal), 1, x.normal.len, stdout);
	(void)fflush(stdout);
	memo_buf_clear(&x.normal);
	free(text);
	return 0;
}

int main(void)
{
	char name[4096];
	size_t len;
	while (scanf("%4095s %zu", name, &len) == 2)
		if (getchar() != '\n' || len > INPUT_BYTES || one(name, len) < 0)
			return 1;
	return 0;
}
