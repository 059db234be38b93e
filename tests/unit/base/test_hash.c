#include "base/hash.h"

#include "base/io.h"
#include "base/scope.h"

#include "check.h"

#include <stdlib.h>

/* FIPS 180-4 examples. */
static const struct {
	const char *text, *hex;
} vector[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void test_vectors(void)
{
	struct memo_hash *h = memo_hash_new();
	CHECK(h != NULL);
	for (size_t i = 0; i < sizeof vector / sizeof vector[0]; i++) {
		struct memo_id one, two;
		char hex[MEMO_HEX_SIZE];
		size_t len = strlen(vector[i].text);
		CHECK_INT(memo_hash_bytes(vector[i].text, len, &one), 0);
		CHECK_STR(memo_id_hex(&one, hex), vector[i].hex);
		for (size_t k = 0; k < len; k++)
			CHECK_INT(memo_hash_update(h, vector[i].text + k, 1), 0);
		CHECK_INT(memo_hash_final(h, &two), 0); /* and starts afresh */
		CHECK(memo_id_equal(&one, &two));
	}
	memo_hash_free(h);
	memo_hash_free(NULL);
}

/* From the start, whatever the position; longer than one chunk. */
static void test_fd(void)
{
	char name[] = "/tmp/memofs-hash-test.XXXXXX";
	MEMO_AUTO_FD int fd = mkstemp(name);
	struct memo_hash *h = memo_hash_new();
	CHECK(fd >= 0 && h != NULL);
	char block[1000];
	for (int i = 0; i < 700; i++) {
		memset(block, i, sizeof block);
		CHECK_INT(memo_io_write_all(fd, block, sizeof block), 0);
		CHECK_INT(memo_hash_update(h, block, sizeof block), 0);
	}
	struct memo_id want, got;
	uint64_t size = 0;
	CHECK_INT(memo_hash_final(h, &want), 0);
	CHECK_INT(memo_hash_fd(fd, &got, &size), 0);
	CHECK(memo_id_equal(&want, &got));
	CHECK_INT(size, 700000);
	CHECK_INT(memo_hash_fd(-1, &got, NULL), -EBADF);
	memo_hash_free(h);
	(void)unlink(name);
}

static void test_parse(void)
{
	struct memo_id id;
	char hex[MEMO_HEX_SIZE];
	CHECK_INT(memo_id_parse(vector[1].hex, &id), 0);
	CHECK_STR(memo_id_hex(&id, hex), vector[1].hex);
	static const char *const bad[] = {
		"",
		"ba78",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
		"BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		" a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_ROW(memo_id_parse(bad[i], &id) == -EINVAL, bad[i]);
}

int main(void)
{
	RUN(test_vectors);
	RUN(test_fd);
	RUN(test_parse);
	return check_end();
}
