/* The grammar of CONTRACT.md 1.1 as a table: what a component names, how that is spelled, what does not exist. */
#include "base/json.h"
#include "base/scope.h"
#include "check.h"
#include "core/canon.h"
#include "core/path.h"

#include <stdlib.h>

/* Every input has a default, so that each row can speak of one of them alone. */
static const char definition[] =
	"{\"memofs\":1,\"name\":\"align\",\"command\":[\"true\"],\"inputs\":{"
	"\"sample\":{\"type\":\"string\",\"default\":\"A\"},"
	"\"label\":{\"type\":\"string?\"},"
	"\"note\":{\"type\":\"string?\",\"default\":\"n\"},"
	"\"min_score\":{\"type\":\"int\",\"default\":30},"
	"\"rate\":{\"type\":\"float\",\"default\":0.5},"
	"\"fast\":{\"type\":\"boolean\",\"default\":false},"
	"\"mode\":{\"type\":\"enum\",\"values\":[\"slow\",\"quick\"],\"default\":\"slow\"},"
	"\"reads\":{\"type\":\"File\",\"default\":\"/d/reads.fq\"},"
	"\"j\":{\"type\":\"json\",\"default\":{\"a\":1}},"
	"\"jn\":{\"type\":\"json?\",\"default\":5},"
	"\"js\":{\"type\":\"json[]\",\"default\":[]},"
	"\"x\":{\"type\":\"int[]\",\"default\":[1,2]},"
	"\"names\":{\"type\":\"string[]?\"}}}";

static const char bare[] = "{\"memofs\":1,\"name\":\"bare\",\"command\":[\"true\"]}";
static const char strict[] = "{\"memofs\":1,\"name\":\"strict\",\"command\":[\"true\"],\"inputs\":{"
			     "\"sample\":{\"type\":\"string\"},\"n\":{\"type\":\"int\",\"default\":1},"
			     "\"x\":{\"type\":\"int[]\"}}}";

static struct memo_task *task, *task_bare, *task_strict;

static void test_classify(void)
{
	static const struct {
		const char *component;
		enum memo_component kind;
	} rows[] = {
		{ "", MEMO_COMP_NONE },
		{ ".", MEMO_COMP_NONE },
		{ "..", MEMO_COMP_NONE },
		{ ".git", MEMO_COMP_NONE },
		{ ".envrc", MEMO_COMP_NONE },
		{ "__init__.py", MEMO_COMP_NONE },
		{ "HEAD", MEMO_COMP_NONE },
		{ "node_modules", MEMO_COMP_NONE },
		{ ".Trash-1000", MEMO_COMP_NONE },
		{ "sample", MEMO_COMP_NONE },
		{ "a,b", MEMO_COMP_NONE },
		{ "sample%3DA", MEMO_COMP_NONE },
		{ "default", MEMO_COMP_NONE },
		{ "@default", MEMO_COMP_DEFAULT },
		{ "@Default", MEMO_COMP_NONE },
		{ "@default ", MEMO_COMP_NONE },
		{ "@", MEMO_COMP_NONE },
		{ "@eaDir", MEMO_COMP_NONE },
		{ "@a=b", MEMO_COMP_NONE },
		{ "@0123456789a", MEMO_COMP_NONE },
		{ "@0123456789ab", MEMO_COMP_HANDLE },
		{ "@0123456789AB", MEMO_COMP_NONE },
		{ "@0123456789ag", MEMO_COMP_NONE },
		{ "@0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", MEMO_COMP_HANDLE },
		{ "@0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0", MEMO_COMP_NONE },
		{ "sample=A", MEMO_COMP_PAIRS },
		{ "=", MEMO_COMP_PAIRS },
		{ ".x=1", MEMO_COMP_PAIRS },
		{ "a@=b", MEMO_COMP_PAIRS },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		CHECK_ROW(memo_path_classify(rows[i].component) == rows[i].kind, rows[i].component);
}

static void test_length(void)
{
	char name[MEMO_COMPONENT_MAX + 2];
	MEMO_AUTO_JSON json_t *inputs = NULL;
	struct memo_err err = { 0 };
	memset(name, 'a', sizeof name);
	memcpy(name, "sample=", 7);
	name[MEMO_COMPONENT_MAX + 1] = '\0';
	CHECK_INT(memo_path_classify(name), MEMO_COMP_NONE);
	CHECK_INT(memo_path_inputs(task, name, &inputs, &err), -ENAMETOOLONG);
	CHECK(strstr(err.text, "255") != NULL);
	name[0] = '@';
	CHECK_INT(memo_path_inputs(task, name, &inputs, &err), -ENAMETOOLONG);
	name[0] = 's';
	CHECK(inputs == NULL);
	name[MEMO_COMPONENT_MAX] = '\0';
	CHECK_INT(memo_path_classify(name), MEMO_COMP_PAIRS);
	CHECK_INT(memo_path_inputs(task, name, &inputs, &err), 0);
}

/* @canonical: how the instance is spelled (the same name: it is canonical; another one: an alias). */
static void test_spelling(void)
{
	static const struct {
		const char *component, *canonical;
	} rows[] = {
		{ "@default", "@default" },
		{ "sample=B", "sample=B" },
		{ "sample=A", "@default" },
		{ "sample=", "sample=" },
		{ "sample=B,min_score=5", "min_score=5,sample=B" },
		{ "min_score=5,sample=B", "min_score=5,sample=B" },
		{ "min_score=5,sample=A", "min_score=5" },
		{ "min_score=+5", "min_score=5" },
		{ "min_score=005", "min_score=5" },
		{ "min_score=-0", "min_score=0" },
		{ "min_score=30", "@default" },
		{ "min_score=9223372036854775807", "min_score=9223372036854775807" },
		{ "min_score=-9223372036854775808", "min_score=-9223372036854775808" },
		{ "rate=1.50", "rate=1.5" },
		{ "rate=.5", "@default" },
		{ "rate=1e30", "rate=1e+30" },
		{ "rate=1e+30", "rate=1e+30" },
		{ "rate=1e%2B30", "rate=1e+30" },
		{ "rate=10000000000000000", "rate=10000000000000000" },
		{ "rate=-0", "rate=0" },
		{ "fast=true", "fast=true" },
		{ "fast=false", "@default" },
		{ "mode=quick", "mode=quick" },
		{ "label=", "label=" },
		{ "label=a=b=c", "label=a=b=c" },
		{ "label=a%3Db", "label=a=b" },
		{ "label=a%2fb", "label=a%2Fb" },
		{ "label=a%2Fb", "label=a%2Fb" },
		{ "label=%61%62", "label=ab" },
		{ "l%61bel=x", "label=x" },
		{ "label=a%2Cb", "label=a%2Cb" },
		{ "label=100%25", "label=100%25" },
		{ "label=%2525", "label=%2525" },
		{ "label=%0A%1f%7F", "label=%0A%1F%7F" },
		{ "label=a b;$(c)'\"*\\", "label=a b;$(c)'\"*\\" },
		{ "label=@default", "label=@default" },
		{ "label=\u00e9\U0001F600", "label=\u00e9\U0001F600" },
		{ "label=%C3%A9", "label=\u00e9" },
		{ "reads=%2Fdata%2Fa.fq", "reads=%2Fdata%2Fa.fq" },
		{ "reads=%2Fdata%2F%2F.%2Fb%2F..%2Fa.fq%2F", "reads=%2Fdata%2Fa.fq" },
		{ "reads=%2Fd%2Freads.fq", "@default" },
		{ "j={\"a\":1.0}", "@default" },
		{ "j={ \"b\" : 1%2C \"a\" : \"x%2Fy\" }", "j={\"a\":\"x%2Fy\"%2C\"b\":1}" },
		{ "j=[1%2C2]", "j=[1%2C2]" },
		{ "j=\"%5Cn\"", "j=\"\\n\"" },
		{ "js=null,js=1", "js=null,js=1" },
		{ "js={}", "js={}" },
		{ "x=1,x=2", "@default" },
		{ "x=2,x=1", "x=2,x=1" },
		{ "x=1", "x=1" },
		{ "x=1,x=1,x=1", "x=1,x=1,x=1" },
		{ "x=1,sample=B,x=3", "sample=B,x=1,x=3" },
		{ "names=", "names=" },
		{ "names=,names=", "names=,names=" },
		{ "names=b,names=a%2Cc", "names=b,names=a%2Cc" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *inputs = NULL;
		MEMO_AUTO_JSON json_t *again = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		MEMO_AUTO_BUF struct memo_buf twice = { 0 };
		struct memo_err err = { 0 };
		CHECK_ROW(memo_path_inputs(task, rows[i].component, &inputs, &err) == 0, err.text);
		if (inputs == NULL)
			continue;
		CHECK_INT(json_object_size(inputs), 13);
		CHECK_INT(memo_path_spell(task, inputs, &b), 0);
		CHECK_STR(memo_buf_str(&b), rows[i].canonical);
		CHECK_INT(memo_path_inputs(task, memo_buf_str(&b), &again, &err), 0);
		CHECK_ROW(json_equal(inputs, again), rows[i].component);
		CHECK_INT(memo_path_spell(task, again, &twice), 0);
		CHECK_STR(memo_buf_str(&twice), rows[i].canonical);
	}
}

static void test_refused(void)
{
	static const struct {
		const char *component;
		int r;
		const char *says;
	} rows[] = {
		{ "", -ENOENT, "key=value" },
		{ ".", -ENOENT, "key=value" },
		{ "..", -ENOENT, "key=value" },
		{ ".git", -ENOENT, "key=value" },
		{ ".envrc", -ENOENT, "key=value" },
		{ "__init__.py", -ENOENT, "key=value" },
		{ "@eaDir", -ENOENT, "key=value" },
		{ "@default=1", -ENOENT, "key=value" },
		{ "@0123456789ab", -ENOENT, "handle" },
		{ "=", -EINVAL, "key before '=' is empty" },
		{ "=x", -EINVAL, "key before '=' is empty" },
		{ "sample=B,", -EINVAL, "pair 2 (''): it is empty" },
		{ ",sample=B", -EINVAL, "pair 1 (''): it is empty" },
		{ "sample=B,,x=1", -EINVAL, "pair 2" },
		{ "sample=B,x", -EINVAL, "has no '='" },
		{ "samples=B", -EINVAL, "did you mean 'sample'" },
		{ "zzz=B", -EINVAL, "no input 'zzz'" },
		{ "Sample=B", -EINVAL, "no input 'Sample'" },
		{ "sample=A,sample=B", -EINVAL, "given already" },
		{ "sample=A,sample=A", -EINVAL, "given already" },
		{ "min_score=3x", -EINVAL, "input 'min_score': '3x' is not a whole number" },
		{ "min_score=", -EINVAL, "is not a whole number" },
		{ "rate=inf", -EINVAL, "is not a number" },
		{ "rate=0x10", -EINVAL, "is not a number" },
		{ "fast=yes", -EINVAL, "write true or false" },
		{ "mode=fast", -EINVAL, "use slow, quick" },
		{ "reads=a.fq", -EINVAL, "absolute" },
		{ "reads=%2F..", -EINVAL, "climbs" },
		{ "j={", -EINVAL, "is not JSON" },
		{ "j=null", -EINVAL, "null" },
		{ "label=%", -EINVAL, "two hex digits" },
		{ "label=%4", -EINVAL, "two hex digits" },
		{ "label=%4g", -EINVAL, "two hex digits" },
		{ "label=%,x=1", -EINVAL, "two hex digits" },
		{ "label=%00", -EINVAL, "UTF-8" },
		{ "label=%FF", -EINVAL, "UTF-8" },
		{ "label=\xff", -EINVAL, "UTF-8" },
		{ "label=%C0%AF", -EINVAL, "UTF-8" },
		{ "label=%ED%A0%80", -EINVAL, "UTF-8" },
		{ "label%00=x", -EINVAL, "UTF-8" },
		{ "label=a/b", -EINVAL, "%2F" },
		{ "label=a\nb", -EINVAL, "%XX" },
		{ "label=a\x7f", -EINVAL, "%XX" },
		{ "label%3Dx=1", -EINVAL, "no input" },
		{ "x=1,x=b", -EINVAL, "is not a whole number" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		json_t *inputs = NULL;
		struct memo_err err = { 0 };
		int r = memo_path_inputs(task, rows[i].component, &inputs, &err);
		CHECK_ROW(r == rows[i].r, rows[i].component);
		CHECK_ROW(err.code == r, rows[i].component);
		CHECK_ROW(inputs == NULL, rows[i].component);
		CHECK_ROW(strstr(err.text, rows[i].says) != NULL, err.text);
		CHECK_ROW(strchr(err.text, '\n') == NULL, rows[i].component);
		CHECK_ROW(memo_value_utf8_ok(err.text, strlen(err.text)), rows[i].component);
	}
}

static void test_required(void)
{
	static const struct {
		const char *component;
		int r;
	} rows[] = {
		{ "@default", -EINVAL },
		{ "n=2", -EINVAL },
		{ "sample=A", -EINVAL },
		{ "sample=A,x=1", 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *inputs = NULL;
		struct memo_err err = { 0 };
		CHECK_ROW(memo_path_inputs(task_strict, rows[i].component, &inputs, &err) == rows[i].r, err.text);
		CHECK_ROW(rows[i].r == 0 || strstr(err.text, "missing") != NULL, err.text);
	}
	MEMO_AUTO_JSON json_t *none = NULL;
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	CHECK_INT(memo_path_inputs(task_bare, "@default", &none, &err), 0);
	CHECK_INT(json_object_size(none), 0);
	CHECK_INT(memo_path_spell(task_bare, none, &b), 0);
	CHECK_STR(memo_buf_str(&b), "@default");
	json_t *more = NULL;
	CHECK_INT(memo_path_inputs(task_bare, "a=1", &more, &err), -EINVAL);
}

static json_t *bound(const struct memo_task *t, const char *partial)
{
	MEMO_AUTO_JSON json_t *j = NULL;
	json_t *inputs = NULL;
	struct memo_err err = { 0 };
	CHECK_INT(memo_json_parse(partial, strlen(partial), &j, &err), 0);
	CHECK_ROW(memo_task_bind(t, j, &inputs, &err) == 0, err.text);
	return inputs;
}

/* What the grammar has no words for is named by a handle. */
static void test_unspellable(void)
{
	static const struct {
		const char *partial;
		int r;
	} rows[] = {
		{ "{\"x\":[]}", -ENOTSUP },
		{ "{\"names\":[]}", -ENOTSUP },
		{ "{\"note\":null}", -ENOTSUP },
		{ "{\"jn\":null}", -ENOTSUP },
		{ "{\"sample\":\"B\",\"x\":[]}", -ENOTSUP },
		{ "{\"names\":[\"\"]}", 0 },
		{ "{\"label\":null}", 0 },
		{ "{\"js\":[]}", 0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *inputs = bound(task, rows[i].partial);
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		MEMO_AUTO_BUF struct memo_buf name = { 0 };
		struct memo_id id;
		char hex[MEMO_HEX_SIZE];
		CHECK_ROW(memo_path_spell(task, inputs, &b) == rows[i].r, rows[i].partial);
		CHECK_ROW(rows[i].r == 0 || b.len == 0, rows[i].partial);
		CHECK_INT(memo_path_name(task, inputs, &name, NULL), 0);
		CHECK_INT(memo_path_classify(memo_buf_str(&name)) == MEMO_COMP_HANDLE, rows[i].r != 0);
		if (rows[i].r == 0)
			continue;
		CHECK_INT(memo_path_digest(inputs, &id, NULL), 0);
		CHECK_STR(memo_buf_str(&name) + 1, memo_id_hex(&id, hex));
	}
}

static void test_name(void)
{
	char text[300];
	for (size_t n = 247; n <= 249; n++) { /* "sample=" and 248 bytes are 255 */
		memset(text, 'a', n);
		text[n] = '\0';
		MEMO_AUTO_JSON json_t *partial = json_pack("{s:s}", "sample", text);
		MEMO_AUTO_JSON json_t *inputs = NULL;
		MEMO_AUTO_BUF struct memo_buf b = { 0 };
		struct memo_err err = { 0 };
		CHECK_INT(memo_task_bind(task, partial, &inputs, &err), 0);
		(void)memo_buf_puts(&b, "/tasks/align/1/");
		CHECK_INT(memo_path_name(task, inputs, &b, &err), 0);
		const char *component = memo_buf_str(&b) + strlen("/tasks/align/1/");
		CHECK_INT(memo_path_classify(component), n <= 248 ? MEMO_COMP_PAIRS : MEMO_COMP_HANDLE);
		CHECK_INT(strlen(component), n <= 248 ? n + 7 : 65);
	}
}

/* python3 -c 'import hashlib,json; print(hashlib.sha256(json.dumps({"inputs": ...}, separators=(",",":"),
 * sort_keys=True, ensure_ascii=False).encode()).hexdigest())' */
static void test_digest(void)
{
	static const struct {
		const char *inputs, *hex;
	} rows[] = {
		{ "{}", "b3b3b109b0367ad30fbac38ea33c306e893f4b11b694efab946bf791214e09ea" },
		{ "{\"sample\":\"A\",\"n\":1}",
		  "4977a49686414182f24517ffb7175a19ea2ca72bf883c30b6711947f35adce78" },
		{ "{\"n\":9007199254740993,\"x\":[9223372036854775807,1],\"r\":0.5,\"o\":null,\"s\":\"\u00e9\"}",
		  "8c27a8533c5d7f7ba90283e828205eaec9e36df60f38bf9ab1511a75ab882b5a" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_JSON json_t *j = NULL;
		struct memo_id id;
		char hex[MEMO_HEX_SIZE];
		CHECK_INT(memo_json_parse(rows[i].inputs, strlen(rows[i].inputs), &j, NULL), 0);
		CHECK_INT(memo_path_digest(j, &id, NULL), 0);
		CHECK_STR(memo_id_hex(&id, hex), rows[i].hex);
	}
}

static void check_part(const char *got, const char *want, const char *row)
{
	CHECK_ROW((got == NULL) == (want == NULL), row);
	if (got != NULL && want != NULL)
		CHECK_STR(got, want);
}

static void test_split(void)
{
	static const struct {
		const char *path;
		int r;
		struct {
			const char *view, *task, *version, *component, *inner;
		} want;
	} rows[] = {
		{ "/tasks/align/1.2.0/sample=A", 0, { "tasks", "align", "1.2.0", "sample=A", NULL } },
		{ "/tasks/align/1.2.0/sample=A/", 0, { "tasks", "align", "1.2.0", "sample=A", NULL } },
		{ "//tasks///align//1.2.0/x=1//a//b/", 0, { "tasks", "align", "1.2.0", "x=1", "a/b" } },
		{ "/cached/align/1/@default/ref.fa", 0, { "cached", "align", "1", "@default", "ref.fa" } },
		{ "/start/align/1/x=1", 0, { "start", "align", "1", "x=1", NULL } },
		{ "/info/align/1/x=1/stderr", 0, { "info", "align", "1", "x=1", "stderr" } },
		{ "tasks/align/1/x=1", 0, { "tasks", "align", "1", "x=1", NULL } },
		{ "align/1/x=1", 0, { "tasks", "align", "1", "x=1", NULL } },
		{ "align/latest/x=1/..a", 0, { "tasks", "align", "latest", "x=1", "..a" } },
		{ "align", 0, { "tasks", "align", NULL, NULL, NULL } },
		{ "/tasks/align", 0, { "tasks", "align", NULL, NULL, NULL } },
		{ "/tasks/align/1/", 0, { "tasks", "align", "1", NULL, NULL } },
		{ "tasks/tasks/1", 0, { "tasks", "tasks", "1", NULL, NULL } },
		{ "taskset/1/x=1", 0, { "tasks", "taskset", "1", "x=1", NULL } },
		{ "", -EINVAL, { 0 } },
		{ "/", -EINVAL, { 0 } },
		{ "/tasks", -EINVAL, { 0 } },
		{ "/tasks/", -EINVAL, { 0 } },
		{ "/runs/r1", -EINVAL, { 0 } },
		{ "/objects/00", -EINVAL, { 0 } },
		{ "/home/me/a.fq", -EINVAL, { 0 } },
		{ "/tasks/../tasks/align", -EINVAL, { 0 } },
		{ "/tasks/./align", -EINVAL, { 0 } },
		{ "align/1/x=1/../y", -EINVAL, { 0 } },
		{ "align/1/x=1/..", -EINVAL, { 0 } },
		{ "..", -EINVAL, { 0 } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct memo_path_parts p = { 0 };
		struct memo_err err = { 0 };
		int r = memo_path_split(rows[i].path, &p, &err);
		CHECK_ROW(r == rows[i].r, rows[i].path);
		CHECK_ROW((err.text[0] != '\0') == (r < 0), rows[i].path);
		check_part(p.view, rows[i].want.view, rows[i].path);
		check_part(p.task, rows[i].want.task, rows[i].path);
		check_part(p.version, rows[i].want.version, rows[i].path);
		check_part(p.component, rows[i].want.component, rows[i].path);
		check_part(p.inner, rows[i].want.inner, rows[i].path);
		memo_path_parts_clear(&p);
		CHECK(p.view == NULL && p.inner == NULL);
	}
}

static void test_split_long(void)
{
	MEMO_AUTO_FREE char *path = malloc(100001);
	struct memo_path_parts p = { 0 };
	CHECK(path != NULL);
	if (path == NULL)
		return;
	memset(path, 'a', 100000);
	path[100000] = '\0';
	CHECK_INT(memo_path_split(path, &p, NULL), -ENAMETOOLONG);
	path[4096] = '\0';
	CHECK_INT(memo_path_split(path, &p, NULL), 0);
	memo_path_parts_clear(&p);
}

static void test_encoding(void)
{
	static const struct {
		const char *plain, *encoded;
	} rows[] = {
		{ "", "" },
		{ "abc=@~", "abc=@~" },
		{ "a/b,c%d", "a%2Fb%2Cc%25d" },
		{ "\x01\n\x1f\x20\x7f", "%01%0A%1F %7F" },
		{ "\u00e9\U0001F600", "\u00e9\U0001F600" },
		{ "%2F", "%252F" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_BUF struct memo_buf e = { 0 };
		MEMO_AUTO_BUF struct memo_buf d = { 0 };
		CHECK_INT(memo_path_encode(rows[i].plain, strlen(rows[i].plain), &e), 0);
		CHECK_STR(memo_buf_str(&e), rows[i].encoded);
		CHECK_INT(memo_path_decode(memo_buf_str(&e), e.len, &d, NULL), 0);
		CHECK_STR(memo_buf_str(&d), rows[i].plain);
	}
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	struct memo_err err = { 0 };
	(void)memo_buf_puts(&b, "kept");
	CHECK_INT(memo_path_decode("ab%FF", 5, &b, &err), -EINVAL);
	CHECK_INT(memo_path_decode("ab%4", 4, &b, &err), -EINVAL);
	CHECK_INT(memo_path_decode("%414", 3, &b, &err), 0);
	CHECK_INT(memo_path_decode("%41", 2, &b, &err), -EINVAL);
	CHECK_STR(memo_buf_str(&b), "keptA");
}

static struct memo_task *parse(const char *text)
{
	struct memo_err err = { 0 };
	struct memo_task *t = NULL;
	if (memo_task_parse(text, strlen(text), "test", &t, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return t;
}

int main(void)
{
	task = parse(definition);
	task_bare = parse(bare);
	task_strict = parse(strict);
	RUN(test_classify);
	RUN(test_length);
	RUN(test_spelling);
	RUN(test_refused);
	RUN(test_required);
	RUN(test_unspellable);
	RUN(test_name);
	RUN(test_digest);
	RUN(test_split);
	RUN(test_split_long);
	RUN(test_encoding);
	memo_task_unref(task);
	memo_task_unref(task_bare);
	memo_task_unref(task_strict);
	return check_end();
}
