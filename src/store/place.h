/* Place: what the store demands of the file system that it lies on. Pure but for the questions it asks the kernel. */
#ifndef MEMO_STORE_PLACE_H
#define MEMO_STORE_PLACE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

/* How much must stay free of @total; @least: unless that is more than an eighth. */
uint64_t memo_place_floor(uint64_t total, uint64_t least);
/* The name of a network or cluster file system by its statfs type; NULL: none of those. */
const char *memo_place_network(unsigned long type);
/* -ENOTSUP: @dir or its database is on a network file system. */
MEMO_MUST int memo_place_check(const char *dir, struct memo_err *err);

#endif
