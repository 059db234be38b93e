/* The public library as a program outside the tree sees it. */
#include "check.h"
#include "memofs.h"

#include <errno.h>
#include <stdlib.h>

static const char definition[] =
	"{\"memofs\":1,\"name\":\"align\",\"version\":\"1\",\"command\":[\"true\"],\"inputs\":{"
	"\"sample\":{\"type\":\"string\"},\"score\":{\"type\":\"int\",\"default\":30}}}";

static void test_names(void)
{
	struct memofs_task *t = NULL;
	struct memofs_error err = { 0 };
	char *a = NULL, *b = NULL, *name = NULL, hex[65] = "";
	CHECK_INT(memofs_task_parse(definition, strlen(definition), "align/task.json", &t, &err), 0);
	CHECK_STR(memofs_task_name(t), "align");
	CHECK_INT(memofs_inputs_from_component(t, "score=030,sample=A%2FB", &a, &err), 0);
	CHECK_STR(a, "{\"sample\":\"A/B\",\"score\":30}");
	CHECK_INT(memofs_inputs_from_json(t, "{\"sample\":\"A/B\"}", &b, &err), 0);
	CHECK_STR(b, a);
	CHECK_INT(memofs_component(t, a, &name, &err), 0);
	CHECK_STR(name, "sample=A%2FB");
	CHECK_INT(memofs_inputs_digest(a, hex, &err), 0);
	CHECK_INT(strlen(hex), 64);
	free(a);
	free(b);
	free(name);
	memofs_task_free(t);
}

static void test_errors(void)
{
	struct memofs_task *t = NULL;
	struct memofs_error err = { 0 };
	char *out = NULL, hex[65];
	CHECK_INT(memofs_task_parse("{\"memofs\":1}", 12, "x.json", &t, &err), -EINVAL);
	CHECK_INT(err.code, -EINVAL);
	CHECK(strncmp(err.text, "x.json", 6) == 0);
	CHECK(t == NULL);
	CHECK_INT(memofs_task_parse(definition, strlen(definition), "x", &t, &err), 0);
	CHECK_INT(memofs_inputs_from_component(t, "sample=A,scor=1", &out, &err), -EINVAL);
	CHECK(strstr(err.text, "score") != NULL);
	CHECK_INT(memofs_inputs_from_component(t, ".git", &out, &err), -ENOENT);
	CHECK_INT(memofs_inputs_from_json(t, "[]", &out, &err), -EINVAL);
	CHECK_INT(memofs_inputs_from_json(t, "{}", &out, NULL), -EINVAL);
	CHECK_INT(memofs_inputs_digest("{", hex, &err), -EINVAL);
	CHECK(out == NULL);
	memofs_task_free(t);
	memofs_task_free(NULL);
}

static void test_canonical(void)
{
	struct memofs_error err = { 0 };
	char *text = NULL, one[65] = "", two[65] = "";
	CHECK_INT(memofs_canonical_json("{ \"b\": 1.0, \"a\": [] }", &text, &err), 0);
	CHECK_STR(text, "{\"a\":[],\"b\":1}");
	free(text);
	CHECK_INT(memofs_identity("{\"b\":1,\"a\":2}", one, &err), 0);
	CHECK_INT(memofs_identity("{ \"a\": 2, \"b\": 1 }", two, &err), 0);
	CHECK_STR(one, two);
}

static void test_connect(void)
{
	struct memofs *m = NULL;
	struct memofs_error err = { 0 };
	CHECK_INT(memofs_connect("/nonexistent/store", &m, &err), -ENOENT);
	CHECK(err.text[0] != '\0');
	CHECK(m == NULL);
	memofs_close(NULL);
	CHECK(memofs_version()[0] != '\0');
}

int main(void)
{
	RUN(test_names);
	RUN(test_errors);
	RUN(test_canonical);
	RUN(test_connect);
	return check_end();
}
