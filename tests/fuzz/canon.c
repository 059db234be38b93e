/* Fuzz target: canonical JSON. What memo_canon_check() accepts must be its own canonical form after one round, and a
 * double must read back from its text. */
#include "base/json.h"
#include "base/scope.h"
#include "core/canon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int so, const char *what)
{
	if (so)
		return;
	(void)fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void check_double(const uint8_t *data)
{
	double v;
	char text[MEMO_CANON_NUMBER];
	memcpy(&v, data, sizeof v);
	if (!isfinite(v))
		return;
	memo_canon_double(v, text);
	must(strlen(text) < 26 && strtod(text, NULL) == v, "a double reads back from its text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	MEMO_AUTO_JSON json_t *again = NULL;
	MEMO_AUTO_JSON json_t *portable = NULL;
	MEMO_AUTO_BUF struct memo_buf once = { 0 };
	MEMO_AUTO_BUF struct memo_buf twice = { 0 };
	struct memo_err err = { 0 };
	if (size >= sizeof(double))
		check_double(data);
	if (memo_json_parse((const char *)data, size, &j, &err) < 0)
		return 0;
	portable = memo_canon_portable(j);
	must(portable != NULL, "portable");
	int r = memo_canon_check(j, &err);
	if (r < 0) {
		must((r == -ERANGE || r == -EINVAL) && err.code == r && err.text[0] != '\0', "a refusal says why");
		return 0;
	}
	must(memo_canon_append(j, &once, &err) == 0, "what was checked can be written");
	must(memo_json_parse(memo_buf_str(&once), once.len, &again, &err) == 0, "canonical JSON is JSON");
	must(memo_canon_check(again, &err) == 0 && memo_canon_append(again, &twice, &err) == 0,
	     "and canonical again");
	must(once.len == twice.len && memcmp(memo_buf_str(&once), memo_buf_str(&twice), once.len) == 0,
	     "canonical JSON is a fixed point");
	return 0;
}
