/* Where a store may lie, and how much must stay free. */
#include "../check.h"

#include "store/place.h"

#include <linux/magic.h>

#define MIB ((uint64_t)1 << 20)

static void test_floor(void)
{
	static const struct {
		const char *name;
		uint64_t total, floor;
	} row[] = {
		{ "nothing", 0, 0 },
		{ "16 MiB: an eighth", 16 * MIB, 2 * MIB },
		{ "1 GiB: an eighth", 1024 * MIB, 128 * MIB },
		{ "2 GiB: the least", 2048 * MIB, 256 * MIB },
		{ "20 GiB: the least", 20480 * MIB, 256 * MIB },
		{ "50 GiB: a hundredth", 51200 * MIB, 512 * MIB },
		{ "100 TiB: four times the least", 102400 * 1024 * MIB, 1024 * MIB },
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		CHECK_ROW(memo_place_floor(row[i].total, 256 * MIB) == row[i].floor, row[i].name);
	CHECK(memo_place_floor(1400, 1000) == 175);
}

static void test_network(void)
{
	CHECK_STR(memo_place_network(NFS_SUPER_MAGIC), "NFS");
	CHECK_STR(memo_place_network(SMB2_SUPER_MAGIC), "SMB");
	/* statfs gives a signed number on some machines */
	CHECK_STR(memo_place_network((unsigned long)(int)0xFF534D42), "SMB");
	CHECK_STR(memo_place_network(0x0BD00BD0), "Lustre");
	CHECK(memo_place_network(EXT4_SUPER_MAGIC) == NULL);
	CHECK(memo_place_network(TMPFS_MAGIC) == NULL);
	CHECK(memo_place_network(XFS_SUPER_MAGIC) == NULL);
	CHECK(memo_place_network(OVERLAYFS_SUPER_MAGIC) == NULL);
}

int main(void)
{
	RUN(test_floor);
	RUN(test_network);
	return check_end();
}
