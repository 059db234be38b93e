/* Tree listings, job records and exit records: what is accepted comes back byte for byte. */
#include "base/tree.h"
#include "core/attempt.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void listing(const char *text, size_t len)
{
	struct memo_tree *t;
	struct memo_err err = { 0 };
	int r = memo_tree_parse(text, len, &t, &err);
	if (r < 0) {
		must(err.code == r && err.text[0] != '\0');
		return;
	}
	struct memo_buf b = { 0 };
	must(memo_tree_text(t, &b) == 0);
	must(b.len == len && memcmp(b.data, text, len) == 0);
	for (uint32_t i = 0; i < memo_tree_count(t); i++) {
		uint32_t found;
		must(memo_tree_walk(t, memo_tree_entry(t, i)->path, &found) == 0 && found == i);
	}
	memo_buf_clear(&b);
	memo_tree_unref(t);
}

/* A record's own spelling is free; that of our encoder is a fixed point. */
static void job(const char *text, size_t len)
{
	struct memo_job one, two;
	struct memo_err err = { 0 };
	struct memo_buf a = { 0 }, b = { 0 };
	if (memo_job_decode(text, len, &one, &err) < 0) {
		must(err.text[0] != '\0');
		return;
	}
	must(memo_job_encode(&one, &a) == 0);
	must(memo_job_decode(a.data, a.len, &two, &err) == 0);
	must(memo_job_encode(&two, &b) == 0);
	must(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	memo_job_clear(&one);
	memo_job_clear(&two);
	memo_buf_clear(&a);
	memo_buf_clear(&b);
}

static void record(const char *text, size_t len)
{
	struct memo_exit one, two;
	struct memo_err err = { 0 };
	struct memo_buf a = { 0 };
	if (memo_exit_decode(text, len, &one, &err) < 0) {
		must(err.text[0] != '\0');
		return;
	}
	must(memo_exit_encode(&one, &a) == 0);
	must(memo_exit_decode(a.data, a.len, &two, &err) == 0);
	memo_exit_clear(&one);
	memo_exit_clear(&two);
	memo_buf_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	listing((const char *)data, size);
	job((const char *)data, size);
	record((const char *)data, size);
	return 0;
}
