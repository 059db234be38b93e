/* Templates: what becomes of braces, told as "kind:text|kind:text". */
#include "check.h"
#include "base/buf.h"
#include "core/nearest.h"
#include "core/template.h"

#include <errno.h>

static const char *shape(const char *text, struct memo_buf *b)
{
	static const char *const kind[] = { "text", "input", "need", "req", "output" };
	struct memo_err err = { 0 };
	struct memo_template t = { 0 };

	memo_buf_reset(b);
	if (memo_template_parse(text, &t, &err) < 0) {
		(void)memo_buf_printf(b, "refused: %s", err.text);
		return memo_buf_str(b);
	}
	for (size_t i = 0; i < t.count; i++)
		(void)memo_buf_printf(b, "%s%s:%s", i > 0 ? "|" : "", kind[t.part[i].kind], t.part[i].text);
	if (memo_template_whole(&t) != NULL)
		(void)memo_buf_puts(b, " whole");
	memo_template_clear(&t);
	CHECK(t.part == NULL && t.count == 0);
	return memo_buf_str(b);
}

static void test_good(void)
{
	static const struct {
		const char *text, *want;
	} row[] = {
		{ "", "" },
		{ "plain text", "text:plain text" },
		{ "{inputs.x}", "input:x whole" },
		{ "{needs._y9}", "need:_y9 whole" },
		{ "{output}", "output:output whole" },
		{ "{requirements.cpu}", "req:cpu whole" },
		{ "{requirements.memory}{requirements.time}{requirements.network}",
		  "req:memory|req:time|req:network" },
		{ "a{inputs.x}b", "text:a|input:x|text:b" },
		{ "{inputs.x}{inputs.x}", "input:x|input:x" },
		{ "{{", "text:{" },
		{ "}}", "text:}" },
		{ "{{inputs.x}}", "text:{inputs.x}" },
		{ "{{{inputs.x}}}", "text:{|input:x|text:}" },
		{ "{{{{ }}}}", "text:{{ }}" },
		{ "{needs.i}/ref.{inputs.n}.fa", "need:i|text:/ref.|input:n|text:.fa" },
		{ "\xc3\xbc{inputs.x}", "text:\xc3\xbc|input:x" },
	};
	MEMO_AUTO_BUF struct memo_buf b = { 0 };

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		CHECK_STR(shape(row[i].text, &b), row[i].want);
}

static void test_bad(void)
{
	static const struct {
		const char *text, *want;
	} row[] = {
		{ "{", "refused: a lone '{' in '{'; write '{{' for a literal brace" },
		{ "a}", "refused: a lone '}' in 'a}'; write '}}' for a literal brace" },
		{ "{inputs.x", "refused: a lone '{' in '{inputs.x'" },
		{ "{inputs.{inputs.x}}", "refused: a lone '{'" },
		{ "{{{", "refused: a lone '{'" },
		{ "}}}", "refused: a lone '}'" },
		{ "{inputs.x}}", "refused: a lone '}'" },
		{ "{}", "refused: unknown placeholder '{}'; use {inputs.NAME}" },
		{ "{x}", "refused: unknown placeholder '{x}'" },
		{ "{inputs}", "refused: unknown placeholder '{inputs}'" },
		{ "{inputs.}", "refused: unknown placeholder '{inputs.}'" },
		{ "{inputs.a.b}", "refused: unknown placeholder '{inputs.a.b}'" },
		{ "{inputs.9}", "refused: unknown placeholder '{inputs.9}'" },
		{ "{ inputs.x }", "refused: unknown placeholder '{ inputs.x }'" },
		{ "{Inputs.x}", "refused: unknown placeholder '{Inputs.x}'" },
		{ "{requirements.gpu}", "refused: unknown placeholder '{requirements.gpu}'" },
		{ "{output.x}", "refused: unknown placeholder '{output.x}'" },
		{ "{a\nb}", "refused: unknown placeholder '{a?b}'" },
	};
	MEMO_AUTO_BUF struct memo_buf b = { 0 };

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		CHECK_ROW(strncmp(shape(row[i].text, &b), row[i].want, strlen(row[i].want)) == 0, row[i].text);
	CHECK_INT(memo_template_parse("{", &(struct memo_template){ 0 }, NULL), -EINVAL);
}

static void test_whole(void)
{
	struct memo_template none = { 0 };
	MEMO_AUTO_BUF struct memo_buf b = { 0 };

	CHECK(memo_template_whole(&none) == NULL);
	CHECK_STR(shape("text", &b), "text:text");
}

static void test_nearest(void)
{
	static const struct {
		const char *word, *want;
	} row[] = {
		{ "input", "inputs" },
		{ "inptus", "inputs" },
		{ "INPUTS", "inputs" },
		{ "comand", "command" },
		{ "commmand", "command" },
		{ "env1", "env" },
		{ "xyz", NULL },
		{ "", NULL },
		{ "e", NULL },
		{ "en", "env" },
		{ "enxy", NULL },
		{ "inputs of all", NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
	};
	static const char *const known[] = { "env", "inputs", "command" };

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct memo_nearest n = { .word = row[i].word };
		for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
			memo_nearest_offer(&n, known[k]);
		if (row[i].want == NULL)
			CHECK_ROW(n.best == NULL, row[i].word);
		else
			CHECK_STR(n.best, row[i].want);
	}
}

int main(void)
{
	RUN(test_good);
	RUN(test_bad);
	RUN(test_whole);
	RUN(test_nearest);
	return check_end();
}
