/* Fixed digests (made by python3's json and hashlib from the description in core/fingerprint.h), what changes them,
 * and which language a file is said to be in. */
#include "check.h"
#include "core/fingerprint.h"

#include <stdlib.h>

static void test_file_bytes(void)
{
	static const char text[] = "#!/bin/sh\n# a comment\necho hi\n";
	static const char other[] = "#!/bin/sh\necho hi # another\n";
	struct memo_fingerprint a, b;
	struct memo_err err = { 0 };
	char hex[MEMO_HEX_SIZE];
	CHECK_INT(memo_fingerprint_file("empty", "", 0, &a, &err), 0);
	CHECK_STR(memo_id_hex(&a.id, hex), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	/* no language: each byte, and the name is no part of the digest */
	CHECK_INT(memo_fingerprint_file("run", text + 10, strlen(text) - 10, &a, &err), 0);
	CHECK_STR(memo_id_hex(&a.id, hex), "94035c819319a6749e5cbe0acc60f6a143c749e4420b9511ef7987e10f895900");
	CHECK_STR(a.method, "bytes");
	CHECK_INT(a.number, 1);
	CHECK_STR(a.language, "unknown");
	CHECK(a.reason != NULL && strstr(a.reason, "every byte counts") != NULL);
	CHECK_INT(memo_fingerprint_file("other", text + 10, strlen(text) - 10, &b, &err), 0);
	CHECK(memo_id_equal(&a.id, &b.id));
	CHECK_INT(memo_fingerprint_file("run", text + 10, strlen(text) - 11, &b, &err), 0);
	CHECK(!memo_id_equal(&a.id, &b.id));
	/* a lexer: SHA-256 of "memofs-code shell/1\n#!/bin/sh\necho hi\n" */
	CHECK_INT(memo_fingerprint_file("run.sh", text, strlen(text), &a, &err), 0);
	CHECK_STR(memo_id_hex(&a.id, hex), "9b91d83889800678accd67445a4b0373c0f5ad1354e14aea09625e8bbd242c78");
	CHECK_STR(a.method, "shell");
	CHECK_INT(a.number, 1);
	CHECK_STR(a.language, "shell");
	CHECK(a.reason == NULL);
	CHECK_INT(memo_fingerprint_file("run.sh", other, strlen(other), &b, &err), 0);
	CHECK(memo_id_equal(&a.id, &b.id));
}

static void test_languages(void)
{
	static const struct {
		const char *name, *text, *language;
	} rows[] = {
		{ "a.sh", "", "shell" },
		{ "a.bash", "", "shell" },
		{ "lib/helpers.py", "", "python" },
		{ "a.R", "", "r" },
		{ "a.r", "", "r" },
		{ "a.awk", "", "awk" },
		{ "a.c", "", "c" },
		{ "a.h", "", "c" },
		{ "a.pl", "", "perl" },
		{ "a.js", "", "javascript" },
		{ "a.jl", "", "julia" },
		{ "a.PY", "", "unknown" },
		{ "a.txt", "", "unknown" },
		{ "py", "", "unknown" },
		{ "a.py.bak", "", "unknown" },
		{ "run", "#!/bin/sh\n", "shell" },
		{ "run", "#!/bin/bash -eu\n", "shell" },
		{ "run", "#! /bin/dash", "shell" },
		{ "run", "#!/usr/bin/env bash\n", "shell" },
		{ "run", "#!/usr/bin/env -S LC_ALL=C python3 -u\n", "python" },
		{ "run", "#!/opt/env/bin/python3.11\r\n", "python" },
		{ "run", "#!/usr/bin/Rscript --vanilla\n", "r" },
		{ "run", "#!/usr/bin/gawk -f\n", "awk" },
		{ "run", "#!/usr/bin/perl -w\n", "perl" },
		{ "run", "#!/usr/bin/env node\n", "javascript" },
		{ "run", "#!/usr/bin/env julia\n", "julia" },
		/* the #! line decides how the file runs, whatever its name says */
		{ "a.py", "#!/bin/sh\n", "shell" },
		{ "a.py", "#!/usr/bin/make -f\n", "unknown" },
		{ "a.sh", "#!\n", "unknown" },
		{ "a.sh", "#!/usr/bin/env\n", "unknown" },
		{ "a.sh", "#!/usr/bin/env -S\n", "unknown" },
		{ "a.sh", "# !/bin/perl\n", "shell" },
		{ "a.sh", "#!", "shell" },
		{ "run", "#!/bin/shell\n", "unknown" },
		{ "run", "#!3.1\n", "unknown" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct memo_fingerprint f;
		struct memo_err err = { 0 };
		/* an exact copy, so that a read beyond the end is seen */
		size_t len = strlen(rows[i].text);
		char *text = malloc(len > 0 ? len : 1);
		CHECK(text != NULL);
		if (text == NULL)
			return;
		memcpy(text, rows[i].text, len);
		CHECK_INT(memo_fingerprint_file(rows[i].name, text, len, &f, &err), 0);
		CHECK_STR(f.language, rows[i].language);
		CHECK_ROW((f.reason != NULL) == (strcmp(f.method, "bytes") == 0), rows[i].name);
		free(text);
	}
}

static void test_language_binary(void)
{
	struct memo_fingerprint f;
	char text[2000];
	memset(text, 'x', sizeof text);
	memcpy(text, "#!", 2);
	CHECK_INT(memo_fingerprint_file("a", text, sizeof text, &f, NULL), 0);
	CHECK_STR(f.language, "unknown");
	CHECK_INT(memo_fingerprint_file("a", "#!/bin/sh\0x", 11, &f, NULL), 0);
	CHECK_STR(f.language, "shell");
}

static void digest(const char *definition, const char *first, char hex[MEMO_HEX_SIZE])
{
	struct memo_task *t = NULL;
	struct memo_err err = { 0 };
	struct memo_id tool[1], id = { { 0 } }, raw;
	CHECK_INT(memo_hash_bytes("tool", 4, &tool[0]), 0);
	CHECK_ROW(memo_task_parse(definition, strlen(definition), "test", &t, &err) == 0, err.text);
	if (t != NULL) {
		CHECK(t->codes <= 2 && t->tools <= 1);
		if (t->script != NULL)
			t->code[0].exec = true;
		for (size_t i = 0; i < t->codes; i++) {
			const char *text = i == 0 ? first : "b";
			CHECK_INT(memo_hash_bytes(text, strlen(text), &t->code[i].id), 0);
			t->code[i].code = t->code[i].id;
			t->code[i].number = 1;
			(void)snprintf(t->code[i].method, sizeof t->code[i].method, "bytes");
		}
		CHECK_INT(memo_fingerprint_task(t, false, tool, &id, &err), 0);
		CHECK_INT(memo_fingerprint_task(t, true, tool, &raw, &err), 0);
		CHECK(memo_id_equal(&id, &raw));
	}
	(void)memo_id_hex(&id, hex);
	memo_task_unref(t);
}

#define COMMAND "{\"memofs\":1,\"name\":\"t\",\"command\":[\"echo\",\"{inputs.x}\"]"
#define INPUTS "\"inputs\":{\"x\":{\"type\":\"string\"}}"
#define SCRIPT \
	"{\"memofs\":1,\"name\":\"u\",\"script\":\"run.sh\",\"code\":[\"lib/a.py\"],\"tools\":[\"bwa\"]," \
	"\"env\":{\"LC_ALL\":\"C\"},\"output\":{\"type\":\"Directory\",\"path\":\"out\"}"
#define COMMAND_ID "67731b4078d814351814689cc892e2b613f547229e1c631f3369ff18d4daf06b"
#define SCRIPT_ID "f24c9e6247d06701ff640e83df3819eea1909cf19ced727dcc82b89c8a0311e5"

static void test_task(void)
{
	static const struct {
		const char *definition, *first, *want;
		bool same;
	} rows[] = {
		{ COMMAND "," INPUTS "}", "a", COMMAND_ID, true },
		{ SCRIPT "}", "a", SCRIPT_ID, true },
		/* what is no code */
		{ COMMAND ",\"inputs\":{\"x\":{\"type\":\"int\",\"default\":3}}}", "a", COMMAND_ID, true },
		{ COMMAND "," INPUTS ",\"description\":\"d\",\"requirements\":{\"cpu\":3},\"max_retries\":2}", "a",
		  COMMAND_ID, true },
		{ COMMAND "," INPUTS ",\"output\":{\"type\":\"File\",\"from\":\"stdout\"}}", "a", COMMAND_ID,
		  true },
		/* what is */
		{ SCRIPT "}", "A", SCRIPT_ID, false },
		{ COMMAND "," INPUTS ",\"env\":{\"A\":\"1\"}}", "a", COMMAND_ID, false },
		{ COMMAND "," INPUTS ",\"tools\":[\"bwa\"]}", "a", COMMAND_ID, false },
		{ COMMAND "," INPUTS ",\"code\":[\"x\"]}", "a", COMMAND_ID, false },
		{ COMMAND "," INPUTS ",\"output\":{\"type\":\"File\",\"path\":\"p\"}}", "a", COMMAND_ID, false },
		{ COMMAND "," INPUTS ",\"output\":{\"type\":\"json\",\"from\":\"stdout\"}}", "a", COMMAND_ID,
		  false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char hex[MEMO_HEX_SIZE];
		digest(rows[i].definition, rows[i].first, hex);
		CHECK_ROW((strcmp(hex, rows[i].want) == 0) == rows[i].same, rows[i].definition);
	}
}

/* The x bit of a code file is seen by what runs it; its method is part of what is hashed. */
static void test_code_file(void)
{
	struct memo_task *t = NULL;
	struct memo_id plain, exec, raw, other;
	json_t *how = NULL, *want;
	static const char text[] = "{\"memofs\":1,\"name\":\"t\",\"command\":[\"./c\"],\"code\":[\"c\"]}";
	CHECK_INT(memo_task_parse(text, strlen(text), "test", &t, NULL), 0);
	if (t == NULL)
		return;
	struct memo_code *c = &t->code[0];
	c->id.byte[0] = 1;
	CHECK_INT(memo_fingerprint_task(t, false, NULL, &plain, NULL), 0);
	c->exec = true;
	CHECK_INT(memo_fingerprint_task(t, false, NULL, &exec, NULL), 0);
	CHECK(!memo_id_equal(&plain, &exec));
	CHECK(memo_fingerprint_all_bytes(t));
	CHECK_INT(memo_fingerprint_describe(t, &how), 0);
	want = json_pack("{s:s, s:i}", "method", "bytes", "number", 1);
	CHECK(json_equal(how, want));
	json_decref(how);
	json_decref(want);
	/* the method and its number count, and the raw fingerprint knows neither */
	c->code.byte[0] = 2;
	c->number = 1;
	(void)snprintf(c->method, sizeof c->method, "shell");
	CHECK_INT(memo_fingerprint_task(t, false, NULL, &plain, NULL), 0);
	CHECK_INT(memo_fingerprint_task(t, true, NULL, &raw, NULL), 0);
	CHECK(memo_id_equal(&raw, &exec) && !memo_id_equal(&plain, &raw));
	c->number = 2;
	CHECK_INT(memo_fingerprint_task(t, false, NULL, &other, NULL), 0);
	CHECK(!memo_id_equal(&plain, &other));
	CHECK(!memo_fingerprint_all_bytes(t));
	CHECK_INT(memo_fingerprint_describe(t, &how), 0);
	want = json_pack("{s:{s:s}, s:s, s:i}", "files", "c", "shell/2", "method", "comments", "number", 1);
	CHECK(json_equal(how, want));
	json_decref(how);
	json_decref(want);
	memo_task_unref(t);
}

/* What is around a file decides how much of its comments counts: the methods of two files in each row. */
static void test_together(void)
{
	static const struct {
		const char *command, *name[2], *text[2], *method[2];
	} rows[] = {
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.py" },
		  { "python3 b.py\n", "a = 1 # b\n" },
		  { "shell", "python" } },
		/* run by what no lexer reads, given to a program that reads it, with an option that shows it */
		{ "[\"zsh\",\"a.sh\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "bytes", "python" } },
		{ "[\"cat\",\"a.sh\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "bytes", "python" } },
		{ "[\"bash\",\"-v\",\"a.sh\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "bytes", "python" } },
		{ "[\"bash\",\"-eu\",\"a.sh\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "shell", "python" } },
		{ "[\"python3\",\"-u\",\"b.py\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "shell", "python" } },
		{ "[\"python3\",\"a.sh\"]", { "a.sh", "b.py" }, { "a 'b\nc'\n", "b\n" }, { "bytes", "python" } },
		/* one reads the other */
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "grep '#' b.py\n", "b\n" }, { "shell", "bytes" } },
		{ "[\"sh\",\"-c\",\"sed 1d b.py\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "shell", "bytes" } },
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.sh" },
		  { ". ./b.sh\n", "grep x \"$0\"\n" },
		  { "bytes", "bytes" } },
		{ "[\"python3\",\"a.py\"]",
		  { "a.py", "b.py" },
		  { "import b\n", "x = inspect.getsource(f)\nimport inspect\n" },
		  { "bytes", "bytes" } },
		{ "[\"python3\",\"a.py\"]",
		  { "a.py", "b.py" },
		  { "import b\nopen(b.__file__)\n", "b\n" },
		  { "python", "bytes" } },
		/* what takes in the work directory, in which the files of a command lie */
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "tar c .\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "cat <*\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "ls -l\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "cat [a-z].sh\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"sh\",\"a.sh\"]", { "a.sh", "b.py" }, { "wc ?.sh\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"sh\",\"-c\",\"cksum *\"]", { "a.sh", "b.py" }, { "a\n", "b\n" }, { "bytes", "bytes" } },
		{ "[\"python3\",\"b.py\"]",
		  { "a.sh", "b.py" },
		  { "a\n", "import os\nprint(os.listdir())\n" },
		  { "bytes", "bytes" } },
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.py" },
		  { ". ./x\n[ -f y ] && echo $? \"$*\" # all * of it\ncase $1 in *) a ;; esac\n", "b\n" },
		  { "shell", "python" } },
		/* one sees statements, line numbers or messages of the other */
		{ "[\"python3\",\"a.py\"]",
		  { "a.py", "b.py" },
		  { "a\n", "x = traceback.format_exc()\n" },
		  { "python-shown", "python-shown" } },
		{ "[\"python3\",\"a.py\"]",
		  { "a.py", "b.py" },
		  { "a\n", "import cProfile\n" },
		  { "python-lines", "python-lines" } },
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.py" },
		  { "python3 b.py 2>&1\n", "b\n" },
		  { "shell-lines", "python-shown" } },
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.c" },
		  { "cc -o b b.c\n", "int b; // c\n" },
		  { "shell", "bytes" } },
		{ "[\"sh\",\"a.sh\"]",
		  { "a.sh", "b.c" },
		  { "cc -g b.c\n", "int b; // c\n" },
		  { "shell", "bytes" } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char definition[400];
		struct memo_task *t = NULL;
		struct memo_fingerprint_text text[2];
		struct memo_fingerprint f[2] = { { .number = 0 }, { .number = 0 } };
		(void)snprintf(definition, sizeof definition,
			       "{\"memofs\":1,\"name\":\"t\",\"command\":%s,\"code\":[\"%s\",\"%s\"]}",
			       rows[i].command, rows[i].name[0], rows[i].name[1]);
		CHECK_INT(memo_task_parse(definition, strlen(definition), "test", &t, NULL), 0);
		if (t == NULL)
			continue;
		for (size_t k = 0; k < 2; k++)
			text[k] = (struct memo_fingerprint_text){ rows[i].name[k], rows[i].text[k],
								  strlen(rows[i].text[k]) };
		CHECK_INT(memo_fingerprint_files(t, text, 2, f, NULL), 0);
		for (size_t k = 0; k < 2; k++)
			CHECK_STR(f[k].method, rows[i].method[k]);
		memo_task_unref(t);
	}
}

int main(void)
{
	RUN(test_file_bytes);
	RUN(test_languages);
	RUN(test_language_binary);
	RUN(test_task);
	RUN(test_code_file);
	RUN(test_together);
	return check_end();
}
