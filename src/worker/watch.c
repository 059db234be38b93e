/* Watch: looks, adds up, and decides when to look again. */
#include "watch.h"

#include "base/sync.h"

#include <unistd.h>

#define WATCH_FIRST_NS (20 * MEMO_NS_PER_MS) /* a short task ends unseen */
#define WATCH_GROWING_NS (10 * MEMO_NS_PER_MS)
#define WATCH_LEAST_NS (50 * MEMO_NS_PER_MS)
#define WATCH_MOST_NS (1 * MEMO_NS_PER_S)
#define WATCH_PART 50
#define GROWING 64u /* processes, and half as many again as at the last look */

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
		.due_ns = memo_now_ns() + WATCH_FIRST_NS,
	};
}

void memo_watch_end(struct memo_watch *w)
{
	memo_proc_clear(&w->table);
}

/* The sum of the shares; of a process that does not tell, all that it has. */
static uint64_t add_shares(const struct memo_watch *w)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < w->table.count && sum <= w->memory_bytes; i++) {
		const struct memo_process *p = &w->table.at[i];
		uint64_t share = p->rss_bytes;
		if (p->ours && memo_proc_share(p->pid, &share) < 0)
			share = p->rss_bytes;
		sum += p->ours ? share : 0;
	}
	return sum;
}

static enum memo_bound add_up(struct memo_watch *w, unsigned *count_out)
{
	unsigned count = 0;
	uint64_t memory = 0;
	for (size_t i = 0; i < w->table.count; i++) {
		const struct memo_process *p = &w->table.at[i];
		count += p->ours ? p->threads : 0;
		memory += p->ours ? p->rss_bytes : 0;
	}
	*count_out = count;
	if (count > w->processes)
		return MEMO_BOUND_PROCESSES;
	int64_t begin = memo_now_ns();
	if (w->memory_bytes == 0 || memory <= w->memory_bytes || begin < w->share_due_ns)
		return MEMO_BOUND_NONE;
	bool beyond = add_shares(w) > w->memory_bytes;
	int64_t end = memo_now_ns();
	w->share_due_ns = end + (end - begin) * WATCH_PART;
	return beyond ? MEMO_BOUND_MEMORY : MEMO_BOUND_NONE;
}

static int64_t pause_ns(struct memo_watch *w, unsigned count, int64_t cost_ns)
{
	bool growing = count > GROWING && count > w->last + w->last / 2;
	int64_t pause = cost_ns * WATCH_PART;
	w->last = count;
	if (growing)
		return WATCH_GROWING_NS;
	return pause < WATCH_LEAST_NS ? WATCH_LEAST_NS : pause > WATCH_MOST_NS ? WATCH_MOST_NS : pause;
}

enum memo_bound memo_watch_look(struct memo_watch *w)
{
	int64_t begin = memo_now_ns();
	if (begin < w->due_ns)
		return MEMO_BOUND_NONE;
	unsigned count = w->last;
	enum memo_bound bound = MEMO_BOUND_NONE;
	/* In its own view there is nothing but the task: one more than allowed says enough. */
	if (memo_proc_read_all(&w->table, w->root == 1 ? w->processes + 2 : SIZE_MAX) == 0) {
		if (w->root != 1)
			memo_proc_mark(&w->table, w->root);
		for (size_t i = 0; w->root == 1 && i < w->table.count; i++)
			w->table.at[i].ours = w->table.at[i].pid != 1;
		bound = add_up(w, &count);
	}
	int64_t end = memo_now_ns();
	w->due_ns = end + pause_ns(w, count, end - begin);
	return bound;
}
