/* Fuzz target: task files. What parses must bind without a crash, and must parse again from its definition. */
#include "core/task.h"
#include "base/scope.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memo_err err = { 0 };
	struct memo_task *t = NULL, *again = NULL;
	MEMO_AUTO_JSON json_t *partial = json_object(), *inputs = NULL, *same = NULL;

	if (partial == NULL)
		return 0;
	int r = memo_task_parse((const char *)data, size, "task.json", &t, &err);
	if (r < 0) {
		/* A refusal says why, in one line. */
		if (err.code != r || err.text[0] == '\0')
			abort();
		return 0;
	}
	if (memo_task_bind(t, partial, &inputs, &err) == 0) {
		/* Canonical inputs are a fixed point. */
		if (json_object_size(inputs) != t->inputs || memo_task_bind(t, inputs, &same, &err) < 0 ||
		    !json_equal(inputs, same))
			abort();
	}
	if (memo_task_from_json(t->definition, "again", &again, &err) < 0)
		abort();
	memo_task_unref(again);
	memo_task_unref(t);
	return 0;
}
