/* Fuzz target: the control socket. A stream of bytes is frames, a part of one, or broken; frames that were taken come back from
 * what is written of them, and how the stream is cut into pieces changes nothing. */
#include "base/json.h"
#include "control/protocol.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 4096

static void must(int so)
{
	if (!so)
		abort();
}

/* Any part of what was taken must ask for more. */
static void prefixes(const char *data, size_t used)
{
	size_t step = used / 16 + 1;
	for (size_t n = 0; n < used; n += step) {
		json_t *j = NULL;
		must(memo_frame_take(data, n, LIMIT, &j, NULL) == 0 && j == NULL);
	}
}

static void again(const json_t *message)
{
	struct memo_buf b = { 0 };
	json_t *j = NULL;
	must(memo_frame_append(message, &b) == 0);
	int used = memo_frame_take(b.data, b.len, MEMO_FRAME_MAX, &j, NULL);
	must(used > 0 && (size_t)used == b.len && json_equal(j, message));
	json_decref(j);
	memo_buf_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data;
	for (;;) {
		struct memo_err err = { 0 };
		json_t *j = NULL;
		int used = memo_frame_take(at, size, LIMIT, &j, &err);
		if (used < 0)
			must(err.code == used && err.text[0] != '\0');
		if (used <= 0) {
			must(j == NULL);
			return 0;
		}
		must((size_t)used <= size && json_is_object(j));
		prefixes(at, (size_t)used);
		again(j);
		json_decref(j);
		at += used;
		size -= (size_t)used;
	}
}
