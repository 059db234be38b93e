/* Mount: the daemon's composition root, and what the commands need of the filesystem layer. */
#ifndef MEMO_CLI_MOUNT_H
#define MEMO_CLI_MOUNT_H

#include "base/error.h"

#include <stdbool.h>

struct cli_mount_options {
	const char *store; /* absolute, exists */
	const char *mountpoint; /* absolute, real path */
	const char *options; /* as after -o, or NULL */
	bool foreground;
};

/* Serves the store at the mount point. In the foreground: until it is told to stop. Else a daemon is left behind,
 * and this returns when the mount answers. Must be called before the process has threads. Negative errno with @err. */
MEMO_MUST int cli_mount_serve(const struct cli_mount_options *o, struct memo_err *err);

/* See memo_fs_find_mount() and memo_fs_unmount(). */
MEMO_MUST int cli_mount_find(const char *path, char **mountpoint_out, char **store_out);
MEMO_MUST int cli_mount_end(const char *mountpoint, bool lazy, struct memo_err *err);

#endif
