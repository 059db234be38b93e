/* See scrub.h. */
#include "scrub.h"

#include "base/scope.h"
#include "base/sync.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define NAP_MS 50 /* the longest sleep between two looks at stop */
#define NICE 15

/* From linux/ioprio.h, which older headers do not have. */
#define IOPRIO_THREAD 1
#define IOPRIO_IDLE (3 << 13)

void memo_scrub_begin(struct memo_scrub *b)
{
	/* Both are courtesies: without them it works all the same. On Linux both concern the thread alone. */
	if (syscall(SYS_ioprio_set, IOPRIO_THREAD, 0, IOPRIO_IDLE) < 0)
		errno = 0;
	if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE) < 0)
		errno = 0;
	b->begun_ns = memo_now_ns();
	b->paced = 0;
}

bool memo_scrub_stopped(const struct memo_scrub *b)
{
	return b->stop != NULL && b->stop(b->arg);
}

/* Sleeps until @n more bytes may be read. */
static int wait_for(struct memo_scrub *b, size_t n)
{
	b->paced += n;
	while (b->rate > 0) {
		double due = (double)b->paced / (double)b->rate;
		double now = (double)(memo_now_ns() - b->begun_ns) / MEMO_NS_PER_S;
		if (due <= now)
			break;
		if (memo_scrub_stopped(b))
			return -ECANCELED;
		int ms = due - now > NAP_MS / 1000.0 ? NAP_MS : (int)((due - now) * 1000) + 1;
		(void)poll(NULL, 0, ms);
	}
	return memo_scrub_stopped(b) ? -ECANCELED : 0;
}

/* Whether the page at @at is in the page cache: then somebody uses it, and it stays. */
static bool resident(int fd, off_t at)
{
	char byte;
	struct iovec v = { .iov_base = &byte, .iov_len = 1 };
	return preadv2(fd, &v, 1, at, RWF_NOWAIT) == 1;
}

static int read_chunk(int fd, char *chunk, off_t at, size_t *got_out)
{
	ssize_t n;
	do
		n = pread(fd, chunk, CHUNK, at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return memo_errno();
	*got_out = (size_t)n;
	return 0;
}

int memo_scrub_hash(struct memo_scrub *b, int fd, struct memo_id *id_out, uint64_t *size_out)
{
	if (b == NULL)
		return memo_hash_fd(fd, id_out, size_out);
	MEMO_AUTO_FREE char *chunk = malloc(CHUNK);
	struct memo_hash *h = memo_hash_new();
	int r = chunk == NULL || h == NULL ? -ENOMEM : 0;
	off_t at = 0;
	/* No reading ahead: what is resident was not brought in by us. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	while (r == 0) {
		bool keep = resident(fd, at);
		size_t n = 0;
		r = read_chunk(fd, chunk, at, &n);
		if (r < 0 || n == 0)
			break;
		r = memo_hash_update(h, chunk, n);
		if (!keep)
			(void)posix_fadvise(fd, at, (off_t)n, POSIX_FADV_DONTNEED);
		at += (off_t)n;
		(void)atomic_fetch_add(&b->bytes, n);
		if (r == 0)
			r = wait_for(b, n);
	}
	if (r == 0)
		r = memo_hash_final(h, id_out);
	memo_hash_free(h);
	if (r == 0)
		*size_out = (uint64_t)at;
	return r;
}
