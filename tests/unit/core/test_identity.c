/* Identities that must never change by accident: the text of key.json and its SHA-256, written out. They were made by
 * python3's json and hashlib from the description in core/identity.h, not by the code under test. When one of these
 * has to change, so has MEMO_IDENTITY_FORMAT, and every store starts anew. */
#include "base/json.h"
#include "base/scope.h"
#include "check.h"
#include "core/canon.h"
#include "core/identity.h"

#include <stdlib.h>

struct vector {
	const char *what;
	const char *definition;
	const char *code; /* NULL: a version is declared */
	const char *inputs, *hashed, *upstream;
	const char *key, *identity;
};

static const struct vector vectors[] = {
	{ "no inputs, declared version",
	  .definition = "{\"memofs\":1,\"name\":\"hello\",\"command\":[\"true\"],\"version\":\"1.0\"}",
	  .inputs = "{}", .hashed = "{}", .upstream = "{}",
	  .key = "{\"inputs\":{},\"interface\":{\"inputs\":{},\"output\":\"File\"},\"memofs\":1,"
		 "\"task\":\"hello\",\"upstream\":{},\"version\":\"1.0\"}",
	  .identity = "35eaacd3b8fcc6bbf37168a3ca54e4270f3346139d8920638c1a19642684e49c" },
	{ "no version: the code instead", .definition = "{\"memofs\":1,\"name\":\"hello\",\"command\":[\"true\"]}",
	  .code = "abababababababababababababababababababababababababababababababab", .inputs = "{}",
	  .hashed = "{}", .upstream = "{}",
	  .key = "{\"code\":\"abababababababababababababababababababababababababababababababab\","
		 "\"fingerprint\":{\"method\":\"bytes\",\"number\":1},\"inputs\":{},"
		 "\"interface\":{\"inputs\":{},\"output\":\"File\"},\"memofs\":1,\"task\":\"hello\","
		 "\"upstream\":{}}",
	  .identity = "bca3969579c1bdb666daf7ecb03b0fd60d7c1f6693ba5a5dd22c6c074927283d" },
	{ "scalars, defaults, one left out of the identity",
	  .definition = "{\"memofs\":1,\"name\":\"align\",\"command\":[\"true\"],"
			"\"inputs\":{\"sample\":{\"type\":\"string\"},\"n\":{\"type\":\"int\",\"default\":30},"
			"\"label\":{\"type\":\"string?\",\"identity\":false},\"note\":{\"type\":\"string?\"},"
			"\"fast\":{\"type\":\"boolean\",\"default\":true},\"mode\":{\"type\":\"enum\","
			"\"values\":[\"a\",\"b\"],\"default\":\"b\"}},\"version\":\"1.2.0\"}",
	  .inputs = "{\"sample\":\"A\",\"label\":\"for people\"}", .hashed = "{}", .upstream = "{}",
	  .key = "{\"inputs\":{\"fast\":true,\"mode\":\"b\",\"n\":30,\"note\":null,\"sample\":\"A\"},"
		 "\"interface\":{\"inputs\":{\"fast\":\"boolean\",\"label\":\"string?\",\"mode\":\"enum\","
		 "\"n\":\"int\",\"note\":\"string?\",\"sample\":\"string\"},\"output\":\"File\"},\"memofs\":1,"
		 "\"task\":\"align\",\"upstream\":{},\"version\":\"1.2.0\"}",
	  .identity = "67c4f20608a9aed073822242114c617b4955538a233e8adf5b01401ce55acc31" },
	{ "numbers",
	  .definition =
		  "{\"memofs\":1,\"name\":\"num\",\"command\":[\"true\"],\"inputs\":{\"big\":{\"type\":\"int\"},"
		  "\"safe\":{\"type\":\"int\"},\"bigs\":{\"type\":\"int[]\"},\"f\":{\"type\":\"float\"},"
		  "\"whole\":{\"type\":\"float\"},\"fs\":{\"type\":\"float[]\"}},\"version\":\"1\","
		  "\"output\":{\"type\":\"json\",\"from\":\"stdout\"}}",
	  .inputs = "{\"big\":9223372036854775807,\"safe\":9007199254740991,\"bigs\":[-9007199254740992,1],"
		    "\"f\":1e-07,\"whole\":1e+16,\"fs\":[2,0.1,1e+21]}",
	  .hashed = "{}", .upstream = "{}",
	  .key = "{\"inputs\":{\"big\":\"9223372036854775807\",\"bigs\":[\"-9007199254740992\",1],\"f\":1e-7,"
		 "\"fs\":[2,0.1,1e+21],\"safe\":9007199254740991,\"whole\":\"10000000000000000\"},"
		 "\"interface\":{\"inputs\":{\"big\":\"int\",\"bigs\":\"int[]\",\"f\":\"float\","
		 "\"fs\":\"float[]\",\"safe\":\"int\",\"whole\":\"float\"},\"output\":\"json\"},\"memofs\":1,"
		 "\"task\":\"num\",\"upstream\":{},\"version\":\"1\"}",
	  .identity = "f973691877dfd0f8ec840e7e0f2906a4ae5fa38ec5de6cda794a4e10b129d2b2" },
	{ "Unicode, JSON, arrays",
	  .definition =
		  "{\"memofs\":1,\"name\":\"uni\",\"command\":[\"true\"],\"inputs\":{\"s\":{\"type\":\"string\"},"
		  "\"j\":{\"type\":\"json\"},\"ss\":{\"type\":\"string[]\"}},\"version\":\"v2\"}",
	  .inputs = "{\"s\":\"Å🎲\\n\",\"j\":{\"b\":[1.0,null,{\"y\":\"é\"}],\"a\":true},\"ss\":[\"b\",\"a\",\"\"]}",
	  .hashed = "{}", .upstream = "{}",
	  .key = "{\"inputs\":{\"j\":{\"a\":true,\"b\":[1,null,{\"y\":\"é\"}]},\"s\":\"Å🎲\\n\",\"ss\":[\"b\","
		 "\"a\",\"\"]},\"interface\":{\"inputs\":{\"j\":\"json\",\"s\":\"string\",\"ss\":\"string[]\"},"
		 "\"output\":\"File\"},\"memofs\":1,\"task\":\"uni\",\"upstream\":{},\"version\":\"v2\"}",
	  .identity = "66f1c9f79e96421c5a21272584d50134f9a277dfa83fa38a3ae7eff30a8ad2bb" },
	{ "files and a directory",
	  .definition = "{\"memofs\":1,\"name\":\"map\",\"command\":[\"true\"],"
			"\"inputs\":{\"reads\":{\"type\":\"File[]\"},\"ref\":{\"type\":\"Directory\"},"
			"\"extra\":{\"type\":\"File?\"}},\"version\":\"1\",\"output\":{\"type\":\"Directory\","
			"\"path\":\"out\"}}",
	  .inputs = "{\"reads\":[\"/d/a.fq\",\"/d/b.fq\"],\"ref\":\"/d/ref\"}",
	  .hashed = "{\"reads\":[{\"name\":\"a.fq\","
		    "\"sha256\":\"3566cf23ecb6f832d67d1439e0cb3d05eb7f4ad702c6f478aa96f19812f18e8c\"},"
		    "{\"name\":\"b.fq\","
		    "\"sha256\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\"}],"
		    "\"ref\":\"3ac0d2d395df28b2aca9a3a39a60121073c2025ebfb307eb771bee9c115242f3\"}",
	  .upstream = "{}",
	  .key = "{\"inputs\":{\"extra\":null,\"reads\":[{\"name\":\"a.fq\","
		 "\"sha256\":\"3566cf23ecb6f832d67d1439e0cb3d05eb7f4ad702c6f478aa96f19812f18e8c\"},"
		 "{\"name\":\"b.fq\","
		 "\"sha256\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\"}],"
		 "\"ref\":\"3ac0d2d395df28b2aca9a3a39a60121073c2025ebfb307eb771bee9c115242f3\"},"
		 "\"interface\":{\"inputs\":{\"extra\":\"File?\",\"reads\":\"File[]\",\"ref\":\"Directory\"},"
		 "\"output\":\"Directory\"},\"memofs\":1,\"task\":\"map\",\"upstream\":{},\"version\":\"1\"}",
	  .identity = "d17fb278a7cc08661146e9834322324fa64fe6821eccc94d2a151202da8cb9b8" },
	{ "upstream results",
	  .definition = "{\"memofs\":1,\"name\":\"call\",\"command\":[\"true\"],"
			"\"inputs\":{\"reads\":{\"type\":\"File\"},\"more\":{\"type\":\"File[]\"}},"
			"\"output\":{\"type\":\"External\"}}",
	  .code = "abababababababababababababababababababababababababababababababab",
	  .inputs = "{\"reads\":\"/m/tasks/a\",\"more\":[\"/m/tasks/b\",\"/d/c\"]}",
	  .hashed = "{\"reads\":{\"upstream\":\"inputs.reads\"},\"more\":[{\"upstream\":\"inputs.more.0\"},"
		    "{\"name\":\"c\","
		    "\"sha256\":\"3566cf23ecb6f832d67d1439e0cb3d05eb7f4ad702c6f478aa96f19812f18e8c\"}]}",
	  .upstream = "{\"index\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\","
		      "\"parts\":[\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\","
		      "\"bb619172719d183053c27a2dedd8eb7f1ca3f3728781137c6cbe8c2825f4fac7\"],"
		      "\"inputs.reads\":\"bb619172719d183053c27a2dedd8eb7f1ca3f3728781137c6cbe8c2825f4fac7\","
		      "\"inputs.more.0\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\"}",
	  .key = "{\"code\":\"abababababababababababababababababababababababababababababababab\","
		 "\"fingerprint\":{\"method\":\"bytes\",\"number\":1},"
		 "\"inputs\":{\"more\":[{\"upstream\":\"inputs.more.0\"},{\"name\":\"c\","
		 "\"sha256\":\"3566cf23ecb6f832d67d1439e0cb3d05eb7f4ad702c6f478aa96f19812f18e8c\"}],"
		 "\"reads\":{\"upstream\":\"inputs.reads\"}},\"interface\":{\"inputs\":{\"more\":\"File[]\","
		 "\"reads\":\"File\"},\"output\":\"External\"},\"memofs\":1,\"task\":\"call\","
		 "\"upstream\":{\"index\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\","
		 "\"inputs.more.0\":\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\","
		 "\"inputs.reads\":\"bb619172719d183053c27a2dedd8eb7f1ca3f3728781137c6cbe8c2825f4fac7\","
		 "\"parts\":[\"762069bc07a6e1b5df123a5ae7bd91c10daa04694fbaa17fba0cd6a8dcce8f22\","
		 "\"bb619172719d183053c27a2dedd8eb7f1ca3f3728781137c6cbe8c2825f4fac7\"]}}",
	  .identity = "2c454ab324d8914e12c1579b4100ffd6a64db12c5ab44f7cf13582fa3752421b" },
};

static json_t *json(const char *text)
{
	json_t *j = NULL;
	struct memo_err err = { 0 };
	if (memo_json_parse(text, strlen(text), &j, &err) < 0) {
		printf("Bail out! %s: %s\n", text, err.text);
		exit(1);
	}
	return j;
}

static struct memo_task *task(const char *definition)
{
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	if (memo_task_parse(definition, strlen(definition), "test", &t, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return t;
}

/* The identity of a row whose definition and inputs may have been changed. */
static void identify(const char *definition, const char *code, const char *partial, const char *hashed,
		     const char *upstream, char hex[MEMO_HEX_SIZE], struct memo_buf *key_text)
{
	struct memo_task *t = task(definition);
	MEMO_AUTO_JSON json_t *p = json(partial);
	MEMO_AUTO_JSON json_t *h = json(hashed);
	MEMO_AUTO_JSON json_t *u = json(upstream);
	MEMO_AUTO_JSON json_t *inputs = NULL;
	MEMO_AUTO_JSON json_t *key = NULL;
	struct memo_err err = { 0 };
	struct memo_id code_id, id = { { 0 } };
	if (code != NULL)
		CHECK_INT(memo_id_parse(code, &code_id), 0);
	CHECK_ROW(memo_task_bind(t, p, &inputs, &err) == 0, err.text);
	CHECK_ROW(memo_identity_key(t, code == NULL ? NULL : &code_id, inputs, h, u, &key, &err) == 0, err.text);
	CHECK_ROW(memo_identity_of(key, &id, &err) == 0, err.text);
	CHECK_ROW(memo_canon_append(key, key_text, &err) == 0, err.text);
	(void)memo_id_hex(&id, hex);
	memo_task_unref(t);
}

static void test_vectors(void)
{
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		const struct vector *v = &vectors[i];
		MEMO_AUTO_BUF struct memo_buf key = { 0 };
		char hex[MEMO_HEX_SIZE];
		identify(v->definition, v->code, v->inputs, v->hashed, v->upstream, hex, &key);
		CHECK_STR(memo_buf_str(&key), v->key);
		CHECK_STR(hex, v->identity);
	}
}

/* key.json is read again from the store: whatever is in it must come back as it was. */
static void test_key_survives_json(void)
{
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		MEMO_AUTO_JSON json_t *key = json(vectors[i].key);
		struct memo_id id;
		char hex[MEMO_HEX_SIZE];
		CHECK_INT(memo_identity_of(key, &id, NULL), 0);
		CHECK_STR(memo_id_hex(&id, hex), vectors[i].identity);
	}
}

#define HEAD "{\"memofs\":1,\"name\":\"t\",\"version\":\"1\",\"command\":[\"true\"]"
#define BASE \
	HEAD ",\"inputs\":{\"a\":{\"type\":\"int\",\"default\":1},\"l\":{\"type\":\"string?\",\"identity\":false}" \
	     "}"

/* The table of CONTRACT.md section 3, as far as it can be told here: does the change make another identity? */
static void test_what_counts(void)
{
	static const struct {
		const char *what, *definition, *inputs, *upstream;
		bool same;
	} rows[] = {
		{ "nothing", BASE "}", "{}", "{\"n\":\"00\"}", true },
		{ "a default written out", BASE "}", "{\"a\":1}", "{\"n\":\"00\"}", true },
		{ "a value without identity", BASE "}", "{\"l\":\"x\"}", "{\"n\":\"00\"}", true },
		{ "description, hints, requirements, retries, verify",
		  BASE ",\"description\":\"d\",\"hints\":{\"executor\":\"slurm\"},\"requirements\":{\"cpu\":4},"
		       "\"max_retries\":3,\"verify\":[\"test\",\"-s\",\"{output}\"]}",
		  "{}", "{\"n\":\"00\"}", true },
		{ "env, tools and output path under a declared version",
		  BASE ",\"env\":{\"X\":\"1\"},\"tools\":[\"bwa\"],\"output\":{\"type\":\"File\",\"path\":\"p\"}}",
		  "{}", "{\"n\":\"00\"}", true },
		{ "a value", BASE "}", "{\"a\":2}", "{\"n\":\"00\"}", false },
		{ "an upstream's output", BASE "}", "{}", "{\"n\":\"01\"}", false },
		{ "an upstream's name", BASE "}", "{}", "{\"m\":\"00\"}", false },
		{ "the output's type", BASE ",\"output\":{\"type\":\"Directory\",\"path\":\"p\"}}", "{}",
		  "{\"n\":\"00\"}", false },
		{ "an input's type",
		  HEAD ",\"inputs\":{\"a\":{\"type\":\"float\",\"default\":1},"
		       "\"l\":{\"type\":\"string?\",\"identity\":false}}}",
		  "{}", "{\"n\":\"00\"}", false },
		{ "the type of an input without identity",
		  HEAD ",\"inputs\":{\"a\":{\"type\":\"int\",\"default\":1},\"l\":{\"type\":\"int?\",\"identity\":"
		       "false}}}",
		  "{}", "{\"n\":\"00\"}", false },
	};
	MEMO_AUTO_BUF struct memo_buf base_key = { 0 };
	char base[MEMO_HEX_SIZE];
	identify(BASE "}", NULL, "{}", "{}", "{\"n\":\"00\"}", base, &base_key);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		MEMO_AUTO_BUF struct memo_buf key = { 0 };
		char hex[MEMO_HEX_SIZE];
		identify(rows[i].definition, NULL, rows[i].inputs, "{}", rows[i].upstream, hex, &key);
		CHECK_ROW((strcmp(hex, base) == 0) == rows[i].same, rows[i].what);
	}
}

static void test_refused(void)
{
	struct memo_task *declared = task(HEAD ",\"inputs\":{\"f\":{\"type\":\"File\"}}}");
	struct memo_task *undeclared = task("{\"memofs\":1,\"name\":\"t\",\"command\":[\"true\"]}");
	struct memo_id code = { { 1 } };
	struct memo_err err = { 0 };
	json_t *key = NULL;
	MEMO_AUTO_JSON json_t *inputs = json("{\"f\":\"/d/a\"}");
	MEMO_AUTO_JSON json_t *none = json("{}");

	CHECK_INT(memo_identity_key(declared, &code, inputs, inputs, none, &key, &err), -EINVAL);
	CHECK_INT(memo_identity_key(undeclared, NULL, none, none, none, &key, &err), -EINVAL);
	/* a path must never stand for a content that was not hashed */
	CHECK_INT(memo_identity_key(declared, NULL, inputs, none, none, &key, &err), -EINVAL);
	CHECK(strstr(err.text, "'f'") != NULL);
	CHECK_INT(memo_identity_key(declared, NULL, none, none, none, &key, &err), -EINVAL);
	CHECK(key == NULL);
	memo_task_unref(declared);
	memo_task_unref(undeclared);
}

static void check_json(json_t *j, const char *want)
{
	MEMO_AUTO_BUF struct memo_buf b = { 0 };
	MEMO_AUTO_JSON json_t *owned = j;
	CHECK_INT(memo_canon_append(owned, &b, NULL), 0);
	CHECK_STR(memo_buf_str(&b), want);
}

/* python3: sha256(b"reads"), sha256("memofs-directory 1\nref\n" + sha256(b"tree").hexdigest() + "\n") */
static void test_sources(void)
{
	struct memo_id id;
	char key[MEMO_UPSTREAM_KEY], name[MEMO_NAME_MAX + 1];
	CHECK_INT(memo_hash_bytes("reads", 5, &id), 0);
	check_json(memo_identity_file("a \"b\".fq", &id),
		   "{\"name\":\"a \\\"b\\\".fq\",\"sha256\":"
		   "\"3566cf23ecb6f832d67d1439e0cb3d05eb7f4ad702c6f478aa96f19812f18e8c\"}");
	CHECK_INT(memo_hash_bytes("tree", 4, &id), 0);
	check_json(memo_identity_directory("ref", &id),
		   "\"3ac0d2d395df28b2aca9a3a39a60121073c2025ebfb307eb771bee9c115242f3\"");
	check_json(memo_identity_upstream("reads", -1, key), "{\"upstream\":\"inputs.reads\"}");
	CHECK_STR(key, "inputs.reads");
	check_json(memo_identity_upstream("reads", 12, key), "{\"upstream\":\"inputs.reads.12\"}");
	CHECK_STR(key, "inputs.reads.12");
	memset(name, 'x', MEMO_NAME_MAX);
	name[MEMO_NAME_MAX] = '\0';
	json_t *longest = memo_identity_upstream(name, 1000000, key);
	CHECK(longest != NULL);
	json_decref(longest);
}

int main(void)
{
	RUN(test_vectors);
	RUN(test_key_survives_json);
	RUN(test_what_counts);
	RUN(test_refused);
	RUN(test_sources);
	return check_end();
}
