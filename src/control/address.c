/* The address of a store's control socket: see address.h. */
#include "address.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int memo_address_make(const char *store, struct sockaddr_un *out, int *fd_out, struct memo_err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", store, MEMO_SOCKET_NAME);
	if (n > 0 && (size_t)n < sizeof a.sun_path) {
		*out = a;
		*fd_out = -1;
		return 0;
	}
	int fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int r = memo_errno();
		return memo_fail(err, r, "store '%s': %s", store, memo_strerror(r));
	}
	(void)snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", fd, MEMO_SOCKET_NAME);
	*out = a;
	*fd_out = fd;
	return 0;
}
