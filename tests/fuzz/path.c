/* Fuzz target: names below the mount. Any bytes are understood or refused, and what is understood has one canonical
 * spelling that reads back as the same inputs. */
#include "base/scope.h"
#include "core/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every type, plain and as an array; all with a default, so that short names are whole. */
static const char definition[] =
	"{\"memofs\":1,\"name\":\"all\",\"command\":[\"true\"],\"inputs\":{"
	"\"s\":{\"type\":\"string\",\"default\":\"A\"},\"so\":{\"type\":\"string?\",\"default\":\"n\"},"
	"\"sa\":{\"type\":\"string[]?\"},\"p\":{\"type\":\"string\",\"default\":\"ab\",\"pattern\":\"^[a-c]+$\"},"
	"\"i\":{\"type\":\"int\",\"default\":1,\"minimum\":-9007199254740993},\"ia\":{\"type\":\"int[]\","
	"\"default\":[1,2]},"
	"\"f\":{\"type\":\"float\",\"default\":0.5},\"fa\":{\"type\":\"float[]\",\"default\":[]},"
	"\"b\":{\"type\":\"boolean\",\"default\":true},\"ba\":{\"type\":\"boolean[]\",\"default\":[false]},"
	"\"e\":{\"type\":\"enum\",\"values\":[\"x\",\"y,z\"],\"default\":\"x\"},"
	"\"d\":{\"type\":\"Directory\",\"default\":\"/"
	"d\"},\"r\":{\"type\":\"File?\"},\"ra\":{\"type\":\"File[]\",\"default\":[]},"
	"\"j\":{\"type\":\"json\",\"default\":{}},\"jo\":{\"type\":\"json?\",\"default\":[1]},"
	"\"ja\":{\"type\":\"json[]\",\"default\":[null]}}}";

static void must(int so, const char *what)
{
	if (so)
		return;
	(void)fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void check_decode(const char *text, size_t len)
{
	MEMO_AUTO_BUF struct memo_buf plain = { 0 };
	MEMO_AUTO_BUF struct memo_buf encoded = { 0 };
	MEMO_AUTO_BUF struct memo_buf again = { 0 };
	struct memo_err err = { 0 };
	int r = memo_path_decode(text, len, &plain, &err);
	if (r < 0) {
		must(r == -EINVAL && err.code == r && err.text[0] != '\0' && plain.len == 0, "a refused decoding");
		return;
	}
	must(memo_path_encode(memo_buf_str(&plain), plain.len, &encoded) == 0, "encode");
	must(strpbrk(memo_buf_str(&encoded), "/,\n") == NULL, "an encoded text has no separators");
	must(memo_path_decode(memo_buf_str(&encoded), encoded.len, &again, &err) == 0, "decode what was encoded");
	must(plain.len == again.len && memcmp(memo_buf_str(&plain), memo_buf_str(&again), plain.len) == 0,
	     "decode(encode(x)) is x");
}

/* Canonical inputs, spelled and read again. */
static void check_spelling(const struct memo_task *t, const json_t *inputs)
{
	MEMO_AUTO_BUF struct memo_buf spelled = { 0 };
	MEMO_AUTO_BUF struct memo_buf twice = { 0 };
	MEMO_AUTO_BUF struct memo_buf name = { 0 };
	MEMO_AUTO_JSON json_t *again = NULL;
	struct memo_err err = { 0 };
	int r = memo_path_spell(t, inputs, &spelled);
	must(r == 0 || (r == -ENOTSUP && spelled.len == 0), "spell");
	must(memo_path_name(t, inputs, &name, &err) == 0, "name");
	if (r < 0 || spelled.len > MEMO_COMPONENT_MAX) {
		must(memo_path_classify(memo_buf_str(&name)) == MEMO_COMP_HANDLE, "a name by handle");
		return;
	}
	must(strcmp(memo_buf_str(&spelled), memo_buf_str(&name)) == 0, "the name is the spelling");
	enum memo_component c = memo_path_classify(memo_buf_str(&spelled));
	must(c == MEMO_COMP_PAIRS || c == MEMO_COMP_DEFAULT, "a spelling is pairs or @default");
	must(memo_path_inputs(t, memo_buf_str(&spelled), &again, &err) == 0, "a spelling can be read");
	must(json_equal((json_t *)(uintptr_t)inputs, again), "inputs(spell(v)) equals v");
	must(memo_path_spell(t, again, &twice) == 0, "spell again");
	must(strcmp(memo_buf_str(&spelled), memo_buf_str(&twice)) == 0, "a spelling is canonical");
}

static void check_inputs(const struct memo_task *t, const char *text)
{
	MEMO_AUTO_JSON json_t *inputs = NULL;
	struct memo_err err = { 0 };
	enum memo_component c = memo_path_classify(text);
	int r = memo_path_inputs(t, text, &inputs, &err);
	if (strlen(text) > MEMO_COMPONENT_MAX)
		must(r == -ENAMETOOLONG && c == MEMO_COMP_NONE, "a name that is too long");
	else if (c == MEMO_COMP_NONE || c == MEMO_COMP_HANDLE)
		must(r == -ENOENT, "a name that says nothing about inputs");
	else
		must(r == 0 || r == -EINVAL, "pairs are read or refused");
	if (r < 0) {
		must(err.code == r && err.text[0] != '\0' && inputs == NULL, "a refusal says why");
		must(strchr(err.text, '\n') == NULL && memo_value_utf8_ok(err.text, strlen(err.text)),
		     "a message is one line of UTF-8");
		return;
	}
	must(json_object_size(inputs) == t->inputs, "inputs are complete");
	check_spelling(t, inputs);
}

static int same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void check_split(const char *text)
{
	struct memo_path_parts p = { 0 }, q = { 0 };
	MEMO_AUTO_BUF struct memo_buf whole = { 0 };
	if (memo_path_split(text, &p, NULL) < 0)
		return;
	must(p.view != NULL && p.task != NULL && p.task[0] != '\0', "a path names a view and a task");
	must((p.version != NULL || p.component == NULL) && (p.component != NULL || p.inner == NULL),
	     "parts in order");
	(void)memo_buf_printf(&whole, "/%s/%s", p.view, p.task);
	const char *rest[] = { p.version, p.component, p.inner };
	for (size_t i = 0; i < sizeof rest / sizeof rest[0] && rest[i] != NULL; i++)
		(void)memo_buf_printf(&whole, "/%s", rest[i]);
	must(memo_path_split(memo_buf_str(&whole), &q, NULL) == 0, "a path put together again");
	must(same_text(p.view, q.view) && same_text(p.task, q.task) && same_text(p.version, q.version) &&
		     same_text(p.component, q.component) && same_text(p.inner, q.inner),
	     "split(join(split(x)))");
	memo_path_parts_clear(&p);
	memo_path_parts_clear(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memo_task *task; /* parsed once */
	struct memo_err err = { 0 };
	if (task == NULL)
		must(memo_task_parse(definition, sizeof definition - 1, "all", &task, &err) == 0, err.text);
	MEMO_AUTO_FREE char *text = malloc(size + 1);
	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_decode((const char *)data, size);
	check_inputs(task, text);
	check_split(text);
	return 0;
}
