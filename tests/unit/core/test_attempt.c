#include "core/attempt.h"

#include "check.h"

#include <stdlib.h>

#define HASH_A "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"

static void test_job(void)
{
	char arg0[] = "echo", arg1[] = "a b\n\xc3\xa9", arg2[] = "\xff\x01%", *argv[] = { arg0, arg1, arg2, NULL };
	char readable[] = "/a:/b", writable[] = "/w/\xff", mount[] = "/mnt/x", control[] = "/s/control.sock";
	char to[] = "needs/parts/0", from[] = "/data/\xfe", to2[] = "x", path[] = "out/p";
	struct memo_job_input input[2] = {
		{ .to = to,
		  .from = from,
		  .exec = true,
		  .copy = true,
		  .guarded = true,
		  .guard = { UINT64_MAX, UINT64_C(1) << 63, 5, -1, INT64_MAX },
		  .id = { { 1, 2, 255 } } },
		{ .to = to2, .from = from, .directory = true, .trusted = true },
	};
	struct memo_job j = { .attempt = 7,
			      .owner_pid = 4242,
			      .argv = argv,
			      .argc = 3,
			      .input = input,
			      .inputs = 2,
			      .output = MEMO_OUT_DIRECTORY,
			      .output_path = path,
			      .time_ms = 1500,
			      .memory_bytes = UINT64_C(1) << 40,
			      .memory_limit_bytes = UINT64_C(1) << 41,
			      .network = true,
			      .sandbox = { MEMO_SANDBOX_ON, readable, writable, mount, control } };
	struct memo_job back;
	struct memo_err err = { 0 };
	struct memo_buf a = { 0 }, b = { 0 };
	memcpy(j.identity, HASH_A, sizeof HASH_A);
	j.env = json_pack("{s:s}", "K", "v=w");
	CHECK_INT(memo_job_encode(&j, &a), 0);
	CHECK_INT(memo_job_decode(a.data, a.len, &back, &err), 0);
	CHECK_STR(back.identity, HASH_A);
	CHECK(back.attempt == 7 && back.owner_pid == 4242 && back.argc == 3 && back.inputs == 2);
	CHECK_STR(back.argv[1], arg1);
	CHECK_STR(back.argv[2], arg2);
	CHECK(back.argv[3] == NULL);
	CHECK_STR(json_string_value(json_object_get(back.env, "K")), "v=w");
	CHECK_STR(back.input[0].to, to);
	CHECK_STR(back.input[0].from, from);
	CHECK(back.input[0].exec && back.input[0].copy && !back.input[0].trusted && back.input[0].guarded);
	CHECK(back.input[0].guard.dev == UINT64_MAX && back.input[0].guard.ino == UINT64_C(1) << 63);
	CHECK(back.input[0].guard.size == 5 && back.input[0].guard.mtime_ns == -1);
	CHECK(back.input[0].guard.ctime_ns == INT64_MAX && memo_id_equal(&back.input[0].id, &input[0].id));
	CHECK(back.input[1].directory && back.input[1].trusted && !back.input[1].guarded);
	CHECK_INT(back.output, MEMO_OUT_DIRECTORY);
	CHECK_STR(back.output_path, path);
	CHECK(back.time_ms == 1500 && back.memory_bytes == UINT64_C(1) << 40 && back.network);
	CHECK(back.memory_limit_bytes == UINT64_C(1) << 41);
	CHECK_INT(back.sandbox.mode, MEMO_SANDBOX_ON);
	CHECK_STR(back.sandbox.readable, readable);
	CHECK_STR(back.sandbox.writable, writable);
	CHECK_STR(back.sandbox.mount, mount);
	CHECK_STR(back.sandbox.control, control);
	CHECK_INT(memo_job_encode(&back, &b), 0);
	CHECK_STR(memo_buf_str(&b), memo_buf_str(&a));
	memo_job_clear(&back);
	memo_buf_clear(&a);
	memo_buf_clear(&b);
	json_decref(j.env);
}

/* Each row replaces one member of a good record. */
static void test_job_refuses(void)
{
	static const struct {
		const char *key, *value, *text; /* value NULL: the member is left out */
	} row[] = {
		{ "memofs-job", "2", "knows format 1 only" },
		{ "memofs-job", NULL, "'memofs-job' is missing" },
		{ "identity", "\"abc\"", "64 hex digits" },
		{ "argv", "[]", "1 to" },
		{ "argv", "[\"\"]", "name a program" },
		{ "argv", "[1]", "must be a string" },
		{ "argv", "[{\"hex\":\"4\"}]", "hex digits" },
		{ "argv", "[{\"hex\":\"00\"}]", "hex digits" },
		{ "argv", "[\"a\\u0000\"]", "job record" },
		{ "env", "{\"A=B\":\"c\"}", "A=B" },
		{ "env", "{\"A\":1}", "must be a name" },
		{ "env", "[]", "must be an object" },
		{ "inputs", "[{\"to\":\"../x\",\"from\":\"/a\"}]", "'../x' is not a path inside" },
		{ "inputs", "[{\"to\":\"../code/../x\",\"from\":\"/a\"}]", "not a path inside" },
		{ "inputs", "[{\"to\":\"../code/\",\"from\":\"/a\"}]", "not a path inside" },
		{ "inputs", "[{\"to\":\"/x\",\"from\":\"/a\"}]", "inputs[0]" },
		{ "inputs", "[{\"to\":\"x\",\"from\":\"a\"}]", "absolute" },
		{ "inputs", "[{\"to\":\"x\"}]", "'from' is missing" },
		{ "inputs", "[{\"to\":\"x\",\"from\":\"/a\",\"guard\":{\"dev\":1}}]", "'ino' is missing" },
		{ "inputs", "{}", "array" },
		{ "output", "\"Fil\"", "no type of output" },
		{ "output", "\"Directory\"", "needs the key 'output_path'" },
		{ "output_path", "\"a/../b\"", "not a path inside" },
		{ "time_ms", "-1", "negative" },
		{ "time_ms", "9223372036854775807", "longer than" },
		{ "memory_bytes", "-5", "negative" },
		{ "memory_limit_bytes", "-5", "negative" },
		{ "sandbox", "[]", "job record" },
		{ "sandbox", "{}", "'mode' is missing" },
		{ "sandbox", "{\"mode\":\"maybe\"}", "none of 'on', 'off' and 'auto'" },
		{ "sandbox", "{\"mode\":\"on\",\"mount\":1}", "must be a string" },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		json_t *o = json_pack("{s:i,s:s,s:i,s:i,s:[s],s:{},s:[],s:s,s:i,s:i}", "memofs-job", 1, "identity",
				      HASH_A, "attempt", 1, "owner_pid", 0, "argv", "true", "env", "inputs",
				      "output", "File", "time_ms", 0, "memory_bytes", 0);
		struct memo_job j = { 0 };
		struct memo_err err = { 0 };
		char *good = json_dumps(o, 0);
		CHECK_INT(memo_job_decode(good, strlen(good), &j, &err), 0);
		memo_job_clear(&j);
		(void)json_object_del(o, row[i].key);
		char *text = json_dumps(o, JSON_COMPACT), bad[1024];
		(void)snprintf(bad, sizeof bad, "%.*s%s%s%s%s}", (int)strlen(text) - 1, text,
			       row[i].value != NULL ? ",\"" : "", row[i].value != NULL ? row[i].key : "",
			       row[i].value != NULL ? "\":" : "", row[i].value != NULL ? row[i].value : "");
		CHECK_ROW(memo_job_decode(bad, strlen(bad), &j, &err) < 0, bad);
		CHECK_ROW(strstr(err.text, row[i].text) != NULL, err.text);
		free(good);
		free(text);
		json_decref(o);
	}
	struct memo_job j;
	CHECK_INT(memo_job_decode("", 0, &j, NULL), -EINVAL);
	CHECK_INT(memo_job_decode("[]", 2, &j, NULL), -EINVAL);
}

static void test_exit(void)
{
	char message[] = "bad \x1b[31m and \xff", host[] = "h", isolation[] = "pidns", path[] = "/ext/\xfe";
	struct memo_err err = { 0 };
	struct memo_exit back;
	struct memo_buf b = { 0 };
	json_t *sandbox = json_pack("{s:s}", "level", "full");
	for (int status = MEMO_EXIT_SUCCESS; status <= MEMO_EXIT_ERROR; status++) {
		struct memo_exit x = { .status = (enum memo_exit_status)status,
				       .code = -1,
				       .signal = 9,
				       .message = message,
				       .wall_ms = 1,
				       .cpu_ms = 2,
				       .max_rss_kib = 3,
				       .started_ns = 4,
				       .ended_ns = 5,
				       .host = host,
				       .isolation = isolation,
				       .sandbox = sandbox };
		x.produced = (struct memo_produced){
			.kind = MEMO_RESULT_EXTERNAL, .hash = { { 7 } }, .size = 6, .path = path
		};
		memo_buf_reset(&b);
		CHECK_INT(memo_exit_encode(&x, &b), 0);
		CHECK_INT(memo_exit_decode(b.data, b.len, &back, &err), 0);
		CHECK_INT(back.status, status);
		CHECK(back.code == -1 && back.signal == 9 && back.wall_ms == 1 && back.cpu_ms == 2);
		CHECK(back.max_rss_kib == 3 && back.started_ns == 4 && back.ended_ns == 5);
		CHECK_STR(back.message, "bad \\x1b[31m and \\xff");
		CHECK_STR(back.isolation, isolation);
		CHECK(json_equal(back.sandbox, sandbox));
		if (status == MEMO_EXIT_SUCCESS) {
			CHECK(memo_id_equal(&back.produced.hash, &x.produced.hash));
			CHECK_STR(back.produced.path, path);
		} else {
			CHECK(back.produced.path == NULL);
		}
		memo_exit_clear(&back);
	}
	memo_buf_clear(&b);
	json_decref(sandbox);
	static const char *const bad[] = {
		"{}",
		"{\"memofs-exit\":1,\"status\":\"failed\",\"sandbox\":\"on\"}",
		"{\"memofs-exit\":1,\"status\":\"fine\"}",
		"{\"memofs-exit\":1,\"status\":\"success\"}",
		"{\"memofs-exit\":1,\"status\":\"failed\",\"code\":256}",
		"{\"memofs-exit\":1,\"status\":\"failed\",\"signal\":-1}",
		"{\"memofs-exit\":1,\"status\":\"success\",\"produced\":{\"kind\":\"file\",\"hash\":\"" HASH_A
		"\",\"size\":1}}",
		"{\"memofs-exit\":1,\"status\":\"success\",\"produced\":{\"kind\":\"external\",\"hash\":\"" HASH_A
		"\",\"size\":1,\"entries\":0,\"path\":\"rel\"}}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_ROW(memo_exit_decode(bad[i], strlen(bad[i]), &back, &err) == -EINVAL, bad[i]);
}

/* Fixed: a change of these is a change of every identity downstream. printf 'memofs-exec 1\n...' | sha256sum */
static void test_hashes(void)
{
	struct memo_id id, out;
	char hex[MEMO_HEX_SIZE];
	CHECK_INT(memo_id_parse(HASH_A, &id), 0);
	CHECK_INT(memo_attempt_exec_hash(&id, &out), 0);
	CHECK_STR(memo_id_hex(&out, hex), "fabccc6793bc2867630dd17baa1e4daca2ab454b8e56efaa1bc0ae7c6c7348cc");
	CHECK_INT(memo_attempt_external_hash("/ext/x y", &id, &out), 0);
	CHECK_STR(memo_id_hex(&out, hex), "be7f5baaad922feb81173111a42ca61478a8612531ee51f583bab1580663459d");
}

int main(void)
{
	RUN(test_job);
	RUN(test_job_refuses);
	RUN(test_exit);
	RUN(test_hashes);
	return check_end();
}
