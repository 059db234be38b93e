/* Watch: looks, adds up, and decides when to look again. */
#include "watch.h"

#include "base/sync.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WATCH_TICK_NS (20 * MEMO_NS_PER_MS) /* a short task ends unseen */
#define WATCH_LEAST_NS (50 * MEMO_NS_PER_MS)
#define WATCH_MOST_NS (1 * MEMO_NS_PER_S)
#define WATCH_PART 50
#define SHARE_PART 20
#define SHARE_LEAST_NS (200 * MEMO_NS_PER_MS)
#define EXAMINER_NS (2 * MEMO_NS_PER_S)
#define CROWD_PART 4 /* so many new processes are a crowd: the bound divided by this ... */
#define CROWD_PAUSE 2 /* ... and are looked at when this many times the time of a look has gone by */

unsigned memo_watch_processes(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	return MEMO_WATCH_PROCESSES + MEMO_WATCH_PROCESSES_PER_CPU * (unsigned)(cpus > 0 ? cpus : 1);
}

void memo_watch_begin(struct memo_watch *w, pid_t root, uint64_t memory_bytes)
{
	*w = (struct memo_watch){
		.root = root,
		.memory_bytes = memory_bytes,
		.processes = memo_watch_processes(),
		.due_ns = memo_now_ns() + WATCH_TICK_NS,
	};
}

/* ---- shares ---- */

/* The sum; of a process that does not tell, all that it has. */
static enum memo_bound add_shares(const struct memo_watch *w)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < w->table.count && sum <= w->memory_bytes; i++) {
		const struct memo_process *p = &w->table.at[i];
		uint64_t share = p->rss_bytes;
		if (p->ours && memo_proc_share(p->pid, &share) < 0)
			share = p->rss_bytes;
		sum += p->ours ? share : 0;
	}
	return sum > w->memory_bytes ? MEMO_BOUND_MEMORY : MEMO_BOUND_NONE;
}

static void examine(struct memo_watch *w)
{
	int fd[2];
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	w->examiner = fork();
	if (w->examiner == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		unsigned char bound = (unsigned char)add_shares(w);
		_exit(write(fd[1], &bound, 1) == 1 ? 0 : 1);
	}
	(void)close(fd[1]);
	if (w->examiner < 0) {
		(void)close(fd[0]);
		return;
	}
	w->answer = fd[0];
	w->examined_ns = memo_now_ns();
}

static void dismiss(struct memo_watch *w)
{
	int64_t now = memo_now_ns();
	int64_t pause = (now - w->examined_ns) * SHARE_PART;
	w->share_due_ns = now + (pause < SHARE_LEAST_NS ? SHARE_LEAST_NS : pause);
	(void)close(w->answer);
	w->examined_ns = 0;
	w->examiner = 0;
}

static enum memo_bound hear_examiner(struct memo_watch *w)
{
	unsigned char bound = MEMO_BOUND_NONE;
	ssize_t n = read(w->answer, &bound, 1);
	if (n < 0 && errno == EAGAIN) {
		if (memo_now_ns() - w->examined_ns < EXAMINER_NS)
			return MEMO_BOUND_NONE;
		(void)kill(w->examiner, SIGKILL);
		bound = MEMO_BOUND_MEMORY;
	}
	dismiss(w);
	return (enum memo_bound)bound;
}

void memo_watch_end(struct memo_watch *w)
{
	if (w->examined_ns != 0) {
		(void)kill(w->examiner, SIGKILL);
		dismiss(w);
	}
	memo_proc_clear(&w->table);
}

/* ---- looking ---- */

static enum memo_bound add_up(struct memo_watch *w)
{
	unsigned count = 0;
	uint64_t memory = 0;
	for (size_t i = 0; i < w->table.count; i++) {
		struct memo_process *p = &w->table.at[i];
		p->ours = p->ours && (w->examined_ns == 0 || p->pid != w->examiner);
		count += p->ours ? p->threads : 0;
		memory += p->ours ? p->rss_bytes : 0;
	}
	if (count > w->processes)
		return MEMO_BOUND_PROCESSES;
	if (w->memory_bytes > 0 && memory > w->memory_bytes && w->examined_ns == 0 &&
	    memo_now_ns() >= w->share_due_ns)
		examine(w);
	return MEMO_BOUND_NONE;
}

static bool crowd(const struct memo_watch *w)
{
	long newest = memo_proc_newest();
	/* a smaller one: the numbers began anew */
	return newest < w->newest || newest - w->newest > (long)(w->processes / CROWD_PART);
}

static enum memo_bound look_at_all(struct memo_watch *w)
{
	size_t count = 0;
	/* In its own view there is nothing but the task, the examiner and who asks: so they need not be read to be too many. */
	if (w->root == 1 && memo_proc_count(w->processes + 3, &count) == 0 && count == w->processes + 3)
		return MEMO_BOUND_PROCESSES;
	if (memo_proc_read_all(&w->table, SIZE_MAX) < 0)
		return MEMO_BOUND_NONE;
	if (w->root != 1)
		memo_proc_mark(&w->table, w->root);
	for (size_t i = 0; w->root == 1 && i < w->table.count; i++)
		w->table.at[i].ours = w->table.at[i].pid != 1;
	return add_up(w);
}

enum memo_bound memo_watch_look(struct memo_watch *w)
{
	int64_t begin = memo_now_ns();
	if (begin < w->due_ns)
		return MEMO_BOUND_NONE;
	w->due_ns = begin + WATCH_TICK_NS;
	enum memo_bound bound = w->examined_ns != 0 ? hear_examiner(w) : MEMO_BOUND_NONE;
	if (bound != MEMO_BOUND_NONE)
		return bound;
	if (begin < w->all_due_ns && (begin < w->soonest_ns || !crowd(w)))
		return MEMO_BOUND_NONE;
	w->newest = memo_proc_newest();
	bound = look_at_all(w);
	int64_t end = memo_now_ns();
	int64_t pause = (end - begin) * WATCH_PART;
	w->soonest_ns = end + (end - begin) * CROWD_PAUSE;
	w->all_due_ns = end + (pause < WATCH_LEAST_NS  ? WATCH_LEAST_NS
			       : pause > WATCH_MOST_NS ? WATCH_MOST_NS
						       : pause);
	w->due_ns = end + WATCH_TICK_NS;
	return bound;
}
