/* Clean-up at the end of a scope, and the explicit way out of it ("steal").
 *
 *	MEMO_AUTO_FD int fd = open(...);          closed on every return
 *	out->fd = memo_fd_steal(&fd);             ... unless handed over
 *
 * The closers keep errno. Pointers and descriptors must be initialised where they are declared. */
#ifndef MEMO_BASE_SCOPE_H
#define MEMO_BASE_SCOPE_H

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

static inline void memo_scope_fd(int *fd)
{
	if (*fd >= 0) {
		int e = errno;
		(void)close(*fd);
		errno = e;
	}
}

static inline void memo_scope_free(void *p)
{
	int e = errno;
	free(*(void **)p);
	errno = e;
}

static inline void memo_scope_json(json_t **j)
{
	json_decref(*j);
}

static inline void memo_scope_dir(DIR **d)
{
	if (*d != NULL) {
		int e = errno;
		(void)closedir(*d);
		errno = e;
	}
}

static inline int memo_fd_steal(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}

static inline void *memo_ptr_steal(void *p)
{
	void *v = *(void **)p;
	*(void **)p = NULL;
	return v;
}

static inline json_t *memo_json_steal(json_t **j)
{
	json_t *v = *j;
	*j = NULL;
	return v;
}

#define MEMO_AUTO_FD __attribute__((cleanup(memo_scope_fd)))
#define MEMO_AUTO_FREE __attribute__((cleanup(memo_scope_free)))
#define MEMO_AUTO_JSON __attribute__((cleanup(memo_scope_json)))
#define MEMO_AUTO_DIR __attribute__((cleanup(memo_scope_dir)))

#endif
