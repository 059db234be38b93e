/* Address: where the control socket of a store is. A path longer than an address holds (107 bytes) is reached through
 * a descriptor of the store's directory. Private to control. */
#ifndef MEMO_CONTROL_ADDRESS_H
#define MEMO_CONTROL_ADDRESS_H

#include "base/error.h"

#include <sys/socket.h>
#include <sys/un.h>

#define MEMO_SOCKET_NAME "control.sock"

/* @fd_out: -1, or a descriptor that must stay open until the address was used; the caller closes it. */
MEMO_MUST int memo_address_make(const char *store, struct sockaddr_un *out, int *fd_out, struct memo_err *err);

#endif
