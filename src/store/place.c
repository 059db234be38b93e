/* Where the store lies: on what kind of file system, and whether there is room for new work. (Who else could replace it: safe.c.)
 *
 * The floor keeps what is needed to record what runs already, and RocksDB out of trouble: one hundredth, but at least ROOM_BYTES
 * and at most four times as much, because what is needed does not grow with the disk; and never more than an eighth, so that
 * small disks are usable. Files are counted like bytes: a disk without inodes looks full with free bytes. There is no ballast file: what is finished waits for room beside its output (runner/adopt.c),
 * what is cached is readable without any, and whatever is deleted anywhere lets the rest go on. */
#include "internal.h"

#include "base/scope.h"
#include "place.h"

#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define ROOM_PART 100
#define ROOM_MOST_PART 8
#define ROOM_TIMES 4
#define ROOM_BYTES ((uint64_t)256 << 20)
#define ROOM_FILES 1000
#define MIB ((uint64_t)1 << 20)

uint64_t memo_place_floor(uint64_t total, uint64_t least)
{
	uint64_t floor = total / ROOM_PART > least ? total / ROOM_PART : least;
	floor = floor < ROOM_TIMES * least ? floor : ROOM_TIMES * least;
	return floor < total / ROOM_MOST_PART ? floor : total / ROOM_MOST_PART;
}

int memo_store_room(struct memo_store *s, struct memo_err *err)
{
	struct statvfs v;
	if (fstatvfs(s->staging_fd, &v) < 0)
		return 0; /* whoever writes next will see */
	uint64_t unit = v.f_frsize != 0 ? v.f_frsize : v.f_bsize;
	uint64_t total = (uint64_t)v.f_blocks * unit;
	uint64_t avail = (uint64_t)v.f_bavail * unit;
	uint64_t floor = memo_place_floor(total, ROOM_BYTES);
	if (avail < floor)
		return memo_fail(err, -ENOSPC,
				 "store '%s' is full: %.1f MiB are free, new work begins above %.1f MiB; make room "
				 "(memofs gc, memofs forget)",
				 s->dir, (double)avail / (double)MIB, (double)floor / (double)MIB);
	/* Some file systems have no number of files. */
	uint64_t files = memo_place_floor(v.f_files, ROOM_FILES);
	if (v.f_files > 0 && v.f_favail < files)
		return memo_fail(err, -ENOSPC,
				 "store '%s' is full: its file system has %llu free inodes, new work begins above "
				 "%llu; make room (memofs gc, memofs forget)",
				 s->dir, (unsigned long long)v.f_favail, (unsigned long long)files);
	if (!atomic_load(&s->late))
		return 0;
	int r = memo_recover_late(s, err);
	return r < 0 ? memo_fail(err, -ENOSPC, "store '%s': was full when it was opened, and cannot be written yet",
				 s->dir)
		     : memo_fail(err, -EAGAIN, "store '%s': what the full disk kept back is there now", s->dir);
}

/* ---- file systems ---------------------------------------------------------------------------------------- */

/* Those that linux/magic.h does not have. */
#define CIFS_MAGIC 0xFF534D42UL
#define LUSTRE_MAGIC 0x0BD00BD0UL
#define GPFS_MAGIC 0x47504653UL
#define BEEGFS_MAGIC 0x19830326UL
#define GFS2_MAGIC 0x01161970UL
#define PANFS_MAGIC 0xAAD7AAEAUL

const char *memo_place_network(unsigned long type)
{
	static const struct {
		unsigned long type;
		const char *name;
	} known[] = {
		{ NFS_SUPER_MAGIC, "NFS" },   { SMB_SUPER_MAGIC, "SMB" },   { SMB2_SUPER_MAGIC, "SMB" },
		{ CIFS_MAGIC, "SMB" },	      { AFS_SUPER_MAGIC, "AFS" },   { AFS_FS_MAGIC, "AFS" },
		{ CODA_SUPER_MAGIC, "Coda" }, { CEPH_SUPER_MAGIC, "Ceph" }, { OCFS2_SUPER_MAGIC, "OCFS2" },
		{ LUSTRE_MAGIC, "Lustre" },   { GPFS_MAGIC, "GPFS" },	    { BEEGFS_MAGIC, "BeeGFS" },
		{ GFS2_MAGIC, "GFS2" },	      { PANFS_MAGIC, "PanFS" },
	};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (known[i].type == (type & 0xffffffffUL))
			return known[i].name;
	}
	return NULL;
}

int memo_place_check(const char *dir, struct memo_err *err)
{
	static const char *const parts[] = { "", "/db" };
	struct statfs fs;
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		MEMO_AUTO_BUF struct memo_buf path = { 0 };
		if (memo_buf_printf(&path, "%s%s", dir, parts[i]) < 0)
			return memo_fail(err, -ENOMEM, "store '%s': out of memory", dir);
		if (statfs(path.data, &fs) < 0) {
			int r = memo_errno();
			if (r == -ENOENT)
				continue;
			return memo_fail(err, r, "store '%s': cannot be examined: %s", dir, memo_strerror(r));
		}
		const char *name = memo_place_network((unsigned long)fs.f_type);
		if (name != NULL)
			return memo_fail(
				err, -ENOTSUP,
				"store '%s': is on a network file system (%s), where its locks and syncs do not "
				"hold; put it on a local disk",
				dir, name);
	}
	return 0;
}
