/* Node, use: what was told to the kernel about a placeholder, and who may open what (see node.h). */
#include "node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Lets one thread's retried path walk find the node that its OPEN was told to look up again. */
struct memo_ticket {
	struct memo_node *node; /* pinned; NULL: free */
	pid_t tid;
	int64_t until_ns;
	char *key;
};

int memo_node_tickets_init(struct memo_nodes *t)
{
	t->tickets = calloc(MEMO_TICKETS, sizeof *t->tickets);
	return t->tickets != NULL ? 0 : -ENOMEM;
}

void memo_node_tickets_clear(struct memo_nodes *t)
{
	for (unsigned i = 0; i < MEMO_TICKETS; i++)
		free(t->tickets[i].key);
	free(t->tickets);
	t->tickets = NULL;
}

bool memo_node_entry_begin(struct memo_nodes *t, struct memo_node *n, pid_t tid, bool *tainted_out)
{
	memo_mutex_lock(&t->mu);
	bool ready = n->kind != MEMO_NODE_INSTANCE || atomic_load(&n->result) != NULL;
	n->lookups++;
	*tainted_out = n->tainted;
	if (ready) {
		n->tainted = false;
	} else {
		/* One thread that looks up twice before it asks is no race: its own requests come one after the other. */
		if (n->asked || (n->placeholders > 0 && (tid == 0 || tid != n->first_tid)))
			n->tainted = true;
		if (n->placeholders++ == 0)
			n->first_tid = tid;
	}
	memo_mutex_unlock(&t->mu);
	return ready;
}

void memo_node_entry_failed(struct memo_nodes *t, struct memo_node *n, bool tainted)
{
	memo_mutex_lock(&t->mu);
	n->tainted = n->tainted || tainted;
	if (n->lookups > 0)
		n->lookups--;
	memo_mutex_unlock(&t->mu);
}

void memo_node_asked(struct memo_nodes *t, struct memo_node *n)
{
	memo_mutex_lock(&t->mu);
	n->asked = true;
	memo_mutex_unlock(&t->mu);
}

void memo_node_consume(struct memo_nodes *t, struct memo_node *n)
{
	memo_mutex_lock(&t->mu);
	n->consumed = true;
	memo_mutex_unlock(&t->mu);
}

bool memo_node_unseen(struct memo_nodes *t, const struct memo_node *n)
{
	memo_mutex_lock(&t->mu);
	bool unseen = n->placeholders == 0;
	memo_mutex_unlock(&t->mu);
	return unseen;
}

void memo_node_blob_set(struct memo_nodes *t, struct memo_node *n, struct memo_blob *b, pid_t tid, bool fresh)
{
	memo_mutex_lock(&t->mu);
	struct memo_blob *old = n->blob;
	n->blob = b;
	n->blob_tid = tid;
	n->blob_fresh = fresh;
	memo_mutex_unlock(&t->mu);
	memo_blob_unref(old);
}

struct memo_blob *memo_node_blob_get(struct memo_nodes *t, struct memo_node *n, pid_t tid, bool take)
{
	struct memo_blob *b = NULL;
	memo_mutex_lock(&t->mu);
	if (n->blob != NULL && tid != 0 && n->blob_tid == tid && (take || n->blob_fresh)) {
		b = take ? n->blob : memo_blob_ref(n->blob);
		if (take)
			n->blob = NULL;
		n->blob_fresh = false;
	}
	memo_mutex_unlock(&t->mu);
	return b;
}

/* ---- tickets --------------------------------------------------------------------------------- */

/* Empties a slot; its node may go with it. */
static void ticket_drop(struct memo_nodes *t, struct memo_ticket *k) MEMO_TSA(requires_capability(t->mu))
{
	struct memo_node *n = k->node;
	if (n == NULL)
		return;
	free(k->key);
	*k = (struct memo_ticket){ 0 };
	n->pins--;
	memo_node_release_locked(t, n);
}

static void ticket_put(struct memo_nodes *t, const char *key, pid_t tid, struct memo_node *n)
	MEMO_TSA(requires_capability(t->mu))
{
	char *copy = strdup(key);
	if (copy == NULL)
		return; /* the retry then looks the name up as anyone does */
	struct memo_ticket *slot = NULL;
	for (unsigned i = 0; i < MEMO_TICKETS && slot == NULL; i++) {
		struct memo_ticket *k = &t->tickets[i];
		if (k->node != NULL && k->tid == tid && strcmp(k->key, key) == 0)
			slot = k;
	}
	if (slot == NULL)
		slot = &t->tickets[t->next_ticket++ % MEMO_TICKETS];
	n->pins++; /* before the old one goes: it may be the same node */
	ticket_drop(t, slot);
	*slot = (struct memo_ticket){ n, tid, memo_now_ns() + MEMO_TICKET_NS, copy };
}

void memo_nodes_ticket(struct memo_nodes *t, const char *key, pid_t tid, struct memo_node *n)
{
	memo_mutex_lock(&t->mu);
	if (n->once)
		n->reserved = tid;
	ticket_put(t, key, tid, n);
	memo_mutex_unlock(&t->mu);
}

void memo_node_keep(struct memo_nodes *t, struct memo_node *n, const char *key, pid_t tid)
{
	memo_mutex_lock(&t->mu);
	if (tid != 0 && n->once && !n->consumed && (n->reserved == 0 || n->reserved == tid)) {
		n->reserved = tid;
		ticket_put(t, key, tid, n);
	}
	memo_mutex_unlock(&t->mu);
}

struct memo_node *memo_nodes_ticket_find(struct memo_nodes *t, const char *key, pid_t tid)
{
	struct memo_node *found = NULL;
	memo_mutex_lock(&t->mu);
	int64_t now = memo_now_ns();
	for (unsigned i = 0; i < MEMO_TICKETS && found == NULL; i++) {
		struct memo_ticket *k = &t->tickets[i];
		if (k->node != NULL && k->tid == tid && k->until_ns > now && strcmp(k->key, key) == 0)
			found = k->node;
	}
	if (found != NULL)
		found->pins++;
	memo_mutex_unlock(&t->mu);
	return found;
}

static struct memo_ticket *ticket_of(struct memo_nodes *t, const struct memo_node *n, pid_t tid)
	MEMO_TSA(requires_capability(t->mu))
{
	for (unsigned i = 0; i < MEMO_TICKETS; i++)
		if (t->tickets[i].node == n && t->tickets[i].tid == tid)
			return &t->tickets[i];
	return NULL;
}

void memo_node_ticket_end(struct memo_nodes *t, struct memo_node *n, pid_t tid)
{
	memo_mutex_lock(&t->mu);
	struct memo_ticket *k = ticket_of(t, n, tid);
	if (k != NULL)
		ticket_drop(t, k); /* the caller holds a pin of its own */
	memo_mutex_unlock(&t->mu);
}

static enum memo_admit admit_locked(struct memo_nodes *t, struct memo_node *n, const char *key, pid_t tid)
	MEMO_TSA(requires_capability(t->mu))
{
	if (n->once && (n->consumed || (n->reserved != 0 && n->reserved != tid)))
		return MEMO_ADMIT_OTHER;
	/* A thread that was told once to look again is served: the kernel retries only once. The ticket ends here in any case,
	 * or it would lead later look-ups of the name to a result that it no longer means. */
	struct memo_ticket *k = ticket_of(t, n, tid);
	if (n->tainted && k == NULL && n->type == S_IFREG) {
		if (n->once)
			n->reserved = tid;
		ticket_put(t, key, tid, n);
		return MEMO_ADMIT_RETRY;
	}
	if (n->once)
		n->consumed = true;
	if (k != NULL)
		ticket_drop(t, k); /* the caller holds a pin of its own */
	return MEMO_ADMIT;
}

enum memo_admit memo_node_admit(struct memo_nodes *t, struct memo_node *n, const char *key, pid_t tid)
{
	memo_mutex_lock(&t->mu);
	enum memo_admit a = admit_locked(t, n, key, tid);
	memo_mutex_unlock(&t->mu);
	return a;
}
