/* Tree, making one durable.
 *
 * An fsync for each of 100,000 new files is as many commits of the file system's journal. One syncfs writes all of them at
 * once; the fsyncs after it have nothing left to write and find out, file by file, whether that went well, which syncfs
 * tells for the whole file system and, on old kernels, not at all. */
#include "tree_build.h"

#include "io.h"
#include "scope.h"

#include <fcntl.h>
#include <unistd.h>

/* Below that the file system's other business is not worth waiting for. */
#define MANY_ENTRIES 64u

static int fail(const struct memo_tree_entry *e, int r, struct memo_err *err)
{
	return memo_fail(err, r, "'%.300s': cannot be made durable: %s", e->path, memo_strerror(r));
}

static int sync_file(int dirfd, const struct memo_tree_entry *e, struct memo_err *err)
{
	MEMO_AUTO_FD int fd = openat(dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return fail(e, memo_errno(), err);
	return 0;
}

/* The depth is that of the tree, which is bounded. */
static int sync_dir(int fd, const struct memo_tree *t, uint32_t index, struct memo_err *err)
{
	const struct memo_tree_entry *dir = memo_tree_entry(t, index);
	int r = 0;
	for (uint32_t k = 0; r == 0 && k < dir->children; k++) {
		uint32_t child = memo_tree_child(t, index, k);
		const struct memo_tree_entry *e = memo_tree_entry(t, child);
		if (e->type == MEMO_ENTRY_FILE || e->type == MEMO_ENTRY_EXEC) {
			r = sync_file(fd, e, err);
		} else if (e->type == MEMO_ENTRY_DIR) {
			MEMO_AUTO_FD int sub = -1;
			r = memo_io_open_dir(fd, e->name, &sub);
			r = r < 0 ? fail(e, r, err) : sync_dir(sub, t, child, err);
		}
	}
	return r == 0 && fsync(fd) < 0 ? fail(dir, memo_errno(), err) : r;
}

int memo_tree_sync(int dirfd, const struct memo_tree *t, struct memo_err *err)
{
	if (memo_tree_count(t) > MANY_ENTRIES)
		(void)syncfs(dirfd); /* what it could not write is told by the fsyncs */
	return sync_dir(dirfd, t, 0, err);
}
