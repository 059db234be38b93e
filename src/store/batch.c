/* Batches and keys of the manifest, as bytes: RocksDB is not known here. */
#include "manifest.h"

#include "base/json.h"
#include "base/scope.h"

#include <string.h>

int memo_key(struct memo_buf *k, const char *a, const char *b, const char *c)
{
	int r = memo_buf_puts(k, a);
	if (b != NULL) {
		r = memo_buf_putc(k, '\0');
		r = memo_buf_puts(k, b);
	}
	if (b != NULL && c != NULL) {
		r = memo_buf_putc(k, '\0');
		r = memo_buf_puts(k, c);
	}
	return r;
}

void memo_batch_clear(struct memo_batch *b)
{
	memo_buf_clear(&b->ops);
}

static void add_op(struct memo_batch *b, const struct memo_batch_op *o, const void *key, const void *value)
{
	(void)memo_buf_append(&b->ops, o, sizeof *o);
	(void)memo_buf_append(&b->ops, key, o->key_len);
	if (o->value_len > 0)
		(void)memo_buf_append(&b->ops, value, o->value_len);
}

void memo_batch_put(struct memo_batch *b, enum memo_table table, const void *key, size_t len, const void *value,
		    size_t value_len)
{
	struct memo_batch_op o = { .table = table, .put = 1, .key_len = len, .value_len = value_len };
	add_op(b, &o, key, value);
}

void memo_batch_put_json(struct memo_batch *b, enum memo_table table, const void *key, size_t len,
			 const json_t *value)
{
	MEMO_AUTO_FREE char *text = value == NULL ? NULL : memo_json_text(value);
	if (text == NULL)
		b->ops.error = b->ops.error < 0 ? b->ops.error : -ENOMEM;
	else
		memo_batch_put(b, table, key, len, text, strlen(text));
}

void memo_batch_delete(struct memo_batch *b, enum memo_table table, const void *key, size_t len)
{
	struct memo_batch_op o = { .table = table, .key_len = len };
	add_op(b, &o, key, NULL);
}
