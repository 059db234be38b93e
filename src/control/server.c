/* The control socket: see server.h. One thread polls the listener, a wake-up descriptor and every connection; all that
 * belongs to a connection is touched by this thread alone, so nothing here is locked. A connection reads one request, has
 * its call stepped until the answer is out, and reads the next. A peer that does not take its answer is given no more to
 * take. */
#include "server.h"

#include "address.h"
#include "base/scope.h"
#include "base/sync.h"
#include "protocol.h"
#include "service.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define READ_CHUNK ((size_t)256 << 10)
#define OUT_ENOUGH ((size_t)256 << 10) /* unsent bytes above which a call is not stepped */
#define BACKLOG 128
#define BUSY_MS 5
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

struct conn {
	struct conn *next;
	int fd;
	int pidfd; /* of the peer, -1: the kernel has none */
	uid_t uid;
	pid_t pid;
	struct memo_who *who; /* the peer's rights when it connected; NULL: no limits */
	uint32_t limit;
	struct memo_buf in, out;
	size_t sent;
	struct memo_service_call *call;
	struct memo_handed handed;
	int64_t half_since_ns; /* an incomplete frame is there since; 0: none */
	bool again; /* the call has more to tell at once */
	bool dead;
	bool closing; /* once everything is sent */
	struct memo_server *server;
};

struct memo_server {
	struct memo_runner *runner;
	int listener;
	int wake;
	uid_t owner;
	_Atomic bool stop;
	_Atomic int busy; /* see struct memo_asker */
	pthread_t thread;
	struct conn *first;
	size_t count;
	struct pollfd *poll; /* MEMO_SERVER_CONNECTIONS + 2 */
};

static void on_wake(void *arg)
{
	const struct conn *c = arg;
	(void)eventfd_write(c->server->wake, 1);
}

static void on_emit(void *arg, const json_t *message, bool last)
{
	struct conn *c = arg;
	(void)last;
	if (message == NULL || memo_frame_append(message, &c->out) < 0)
		c->dead = true; /* out of memory: the peer sees a closed connection and asks again */
}

static void conn_flush(struct conn *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			int r = memo_errno();
			if (r == -EINTR)
				continue;
			if (r != -EAGAIN)
				c->dead = true;
			return;
		}
		c->sent += (size_t)n;
	}
	memo_buf_reset(&c->out);
	c->sent = 0;
	if (c->closing)
		c->dead = true;
}

static void conn_refuse(struct conn *c, int code, const char *text)
{
	MEMO_AUTO_JSON json_t *m = memo_service_refusal(code, 4, text);
	on_emit(c, m, true);
	c->closing = true;
}

/* A number that somebody else has by now must not be taken for the peer's. */
static pid_t peer_pid(const struct conn *c)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
	return c->pidfd >= 0 && poll(&p, 1, 0) > 0 ? 0 : c->pid;
}

/* Answers what is complete in c->in, one request at a time. */
static void conn_begin(struct conn *c)
{
	while (c->call == NULL && !c->dead && !c->closing && c->in.len > 0) {
		MEMO_AUTO_JSON json_t *request = NULL;
		struct memo_err err = { 0 };
		int used = memo_frame_take(memo_buf_str(&c->in), c->in.len, c->limit, &request, &err);
		if (used < 0) {
			conn_refuse(c, used, err.text);
			return;
		}
		if (used == 0) {
			if (c->half_since_ns == 0)
				c->half_since_ns = memo_now_ns();
			return;
		}
		c->half_since_ns = 0;
		memmove(c->in.data, c->in.data + used, c->in.len - (size_t)used);
		c->in.len -= (size_t)used;
		if (c->in.len == 0)
			memo_buf_clear(&c->in); /* a request with code files may have been large */
		struct memo_asker a = { .uid = c->uid,
					.who = c->who,
					.pid = peer_pid(c),
					.emit = on_emit,
					.wake = on_wake,
					.arg = c,
					.busy = &c->server->busy,
					.handed = &c->handed };
		memo_handed_clear(&c->handed);
		memo_service_begin(c->server->runner, request, &a, &c->call);
		c->again = c->call != NULL;
	}
}

static void conn_step(struct conn *c)
{
	if (c->call == NULL || c->dead || c->out.len - c->sent > OUT_ENOUGH)
		return;
	int r = memo_service_step(c->call);
	c->again = r == 1;
	if (r != 2)
		return;
	memo_service_end(c->call);
	c->call = NULL;
	conn_begin(c);
}

static void conn_read(struct conn *c)
{
	if (memo_buf_reserve(&c->in, READ_CHUNK) < 0) {
		c->dead = true;
		return;
	}
	ssize_t n = recv(c->fd, c->in.data + c->in.len, READ_CHUNK, MSG_DONTWAIT);
	if (n < 0) {
		int r = memo_errno();
		if (r != -EINTR && r != -EAGAIN)
			c->dead = true;
		return;
	}
	if (n == 0) {
		c->dead = true;
		return;
	}
	c->in.len += (size_t)n;
	c->in.data[c->in.len] = '\0';
	conn_begin(c);
}

static void conn_free(struct conn *c)
{
	memo_service_end(c->call);
	memo_handed_clear(&c->handed);
	(void)close(c->fd);
	if (c->pidfd >= 0)
		(void)close(c->pidfd);
	memo_who_unref(c->who);
	memo_buf_clear(&c->in);
	memo_buf_clear(&c->out);
	free(c);
}

static size_t count_of(const struct memo_server *s, uid_t uid)
{
	size_t n = 0;
	for (const struct conn *c = s->first; c != NULL; c = c->next)
		n += c->uid == uid;
	return n;
}

static void accept_one(struct memo_server *s)
{
	MEMO_AUTO_FD int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		/* no descriptor is left: the listener stays readable, so wait a moment instead of spinning */
		if (errno == EMFILE || errno == ENFILE)
			(void)poll(NULL, 0, MEMO_SERVICE_STEP_MS / 10);
		return;
	}
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL)
		return;
	*c = (struct conn){ .pidfd = -1, .server = s };
	if (memo_who_socket(fd, &c->uid, &c->pid, &c->who) < 0) {
		free(c);
		return;
	}
	c->fd = memo_fd_steal(&fd);
	socklen_t len = sizeof c->pidfd;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &c->pidfd, &len) < 0)
		c->pidfd = -1; /* an older kernel, or the peer has gone already */
	c->limit = c->who == NULL || c->uid == s->owner ? MEMO_FRAME_MAX : MEMO_FRAME_MAX_OTHER;
	if (s->count >= MEMO_SERVER_CONNECTIONS || count_of(s, c->uid) >= MEMO_SERVER_PER_UID) {
		conn_refuse(c, -EAGAIN,
			    "the process that serves the store has too many connections; try again later");
		conn_flush(c);
		conn_free(c);
		return;
	}
	c->next = s->first;
	s->first = c;
	s->count++;
}

/* Milliseconds until something must be done without an event; -1: never. */
static int prepare(struct memo_server *s)
{
	int timeout = -1;
	int64_t now = memo_now_ns();
	s->poll[0] = (struct pollfd){ .fd = s->wake, .events = POLLIN };
	s->poll[1] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
	size_t i = 2;
	for (struct conn *c = s->first; c != NULL; c = c->next, i++) {
		bool unsent = c->out.len > c->sent;
		short events = unsent ? POLLOUT | POLLRDHUP : POLLRDHUP;
		if (c->call == NULL && !unsent && !c->closing)
			events = POLLIN;
		s->poll[i] = (struct pollfd){ .fd = c->fd, .events = events };
		int wait = -1;
		if (c->call != NULL && c->out.len - c->sent <= OUT_ENOUGH)
			wait = c->again ? 0 : MEMO_SERVICE_STEP_MS;
		else if (c->half_since_ns != 0)
			wait = (int)((c->half_since_ns - now) / MEMO_NS_PER_MS) + MEMO_SERVER_FRAME_MS;
		if (wait >= 0 && (timeout < 0 || wait < timeout))
			timeout = wait;
	}
	return timeout;
}

static void attend(struct conn *c, short happened)
{
	if ((happened & (POLLRDHUP | POLLHUP | POLLERR)) != 0 && (happened & POLLIN) == 0)
		c->dead = true;
	if (!c->dead && (happened & POLLIN) != 0)
		conn_read(c);
	if (!c->dead && c->half_since_ns != 0 &&
	    memo_now_ns() - c->half_since_ns > MEMO_SERVER_FRAME_MS * MEMO_NS_PER_MS)
		c->dead = true;
	conn_step(c);
	if (!c->dead)
		conn_flush(c);
}

static void sweep(struct memo_server *s)
{
	struct conn **at = &s->first;
	while (*at != NULL) {
		struct conn *c = *at;
		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		s->count--;
		conn_free(c);
	}
}

static void *serve(void *arg)
{
	struct memo_server *s = arg;
	while (!atomic_load(&s->stop)) {
		int timeout = prepare(s);
		int n = poll(s->poll, s->count + 2, timeout);
		if (n < 0 && errno != EINTR)
			break;
		if (n < 0)
			continue;
		eventfd_t ignored;
		if ((s->poll[0].revents & POLLIN) != 0)
			(void)eventfd_read(s->wake, &ignored);
		size_t i = 2;
		for (struct conn *c = s->first; c != NULL; c = c->next, i++)
			attend(c, s->poll[i].revents);
		sweep(s);
		if ((s->poll[1].revents & POLLIN) != 0)
			accept_one(s);
	}
	return NULL;
}

/* Whoever may look into the store may connect; what is allowed is decided for each request. */
static int set_rights(struct memo_runner *runner, const struct sockaddr_un *a, struct memo_err *err)
{
	struct memo_settings set;
	int r = memo_store_settings(memo_runner_store(runner), &set, err);
	if (r < 0)
		return r;
	mode_t mode = 0600 | ((set.mode & 0050) != 0 ? 0060 : 0) | ((set.mode & 0005) != 0 ? 0006 : 0);
	/* a group that we may not give the socket to leaves it to the owner */
	if (lchown(a->sun_path, (uid_t)-1, set.gid) < 0 && set.gid != getegid())
		mode &= (mode_t)~0060;
	if (chmod(a->sun_path, mode) < 0)
		return memo_fail(err, memo_errno(), "control socket '%s': cannot set its mode", a->sun_path);
	return 0;
}

/* A memo_event_fn: who may see the store may have changed. */
static void on_event(void *arg, const struct memo_event *e)
{
	struct memo_server *s = arg;
	struct sockaddr_un a;
	MEMO_AUTO_FD int dirfd = -1;
	if (e->kind != MEMO_EVENT_SETTINGS ||
	    memo_address_make(memo_store_dir(memo_runner_store(s->runner)), &a, &dirfd, NULL) < 0)
		return;
	if (set_rights(s->runner, &a, NULL) < 0)
		(void)chmod(a.sun_path, 0600); /* requests are checked all the same: see service.c */
}

static int listen_on(struct memo_server *s, struct memo_err *err)
{
	struct sockaddr_un a;
	const char *store = memo_store_dir(memo_runner_store(s->runner));
	MEMO_AUTO_FD int dirfd = -1;
	int r = memo_address_make(store, &a, &dirfd, err);
	if (r < 0)
		return r;
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0)
		return memo_fail(err, memo_errno(), "control socket: %s", memo_strerror(memo_errno()));
	(void)unlink(a.sun_path);
	if (bind(s->listener, (const struct sockaddr *)&a, sizeof a) < 0) {
		r = memo_errno();
		return memo_fail(err, r, "store '%s': cannot make the control socket: %s", store, memo_strerror(r));
	}
	r = set_rights(s->runner, &a, err);
	if (r < 0)
		return r;
	if (listen(s->listener, BACKLOG) < 0)
		return memo_fail(err, memo_errno(), "store '%s': cannot listen on the control socket", store);
	struct stat st;
	s->owner = stat(store, &st) == 0 ? st.st_uid : geteuid();
	return 0;
}

static void unlink_socket(struct memo_server *s)
{
	struct sockaddr_un a;
	MEMO_AUTO_FD int dirfd = -1;
	if (memo_address_make(memo_store_dir(memo_runner_store(s->runner)), &a, &dirfd, NULL) == 0)
		(void)unlink(a.sun_path);
}

static void server_free(struct memo_server *s)
{
	if (s->listener >= 0)
		(void)close(s->listener);
	if (s->wake >= 0)
		(void)close(s->wake);
	free(s->poll);
	free(s);
}

int memo_server_start(struct memo_runner *r, struct memo_server **out, struct memo_err *err)
{
	struct memo_server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return memo_fail(err, -ENOMEM, "control server: out of memory");
	s->runner = r;
	s->listener = -1;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->poll = calloc(MEMO_SERVER_CONNECTIONS + 2, sizeof *s->poll);
	int code = s->wake < 0 ? memo_errno() : s->poll == NULL ? -ENOMEM : 0;
	if (code < 0)
		(void)memo_fail(err, code, "control server: %s", memo_strerror(code));
	if (code == 0)
		code = listen_on(s, err);
	if (code == 0) {
		code = memo_runner_listen(r, on_event, s);
		if (code < 0)
			unlink_socket(s);
	}
	if (code == 0) {
		code = memo_thread_start(&s->thread, "memo-control", serve, s);
		if (code < 0) {
			memo_runner_unlisten(r, on_event, s);
			unlink_socket(s);
			(void)memo_fail(err, code, "control server: cannot start its thread: %s",
					memo_strerror(code));
		}
	}
	if (code < 0) {
		server_free(s);
		return code;
	}
	*out = s;
	return 0;
}

void memo_server_stop(struct memo_server *s)
{
	if (s == NULL)
		return;
	memo_runner_unlisten(s->runner, on_event, s);
	unlink_socket(s); /* new commands see that nobody serves, instead of being sent away */
	atomic_store(&s->stop, true);
	(void)eventfd_write(s->wake, 1);
	(void)pthread_join(s->thread, NULL);
	for (struct conn *c = s->first; c != NULL; c = c->next) {
		if (c->call != NULL)
			conn_refuse(c, -ESHUTDOWN, "the process that serves the store is stopping; try again");
		if (!c->dead)
			conn_flush(c);
	}
	while (s->first != NULL) {
		struct conn *c = s->first;
		s->first = c->next;
		conn_free(c);
	}
	while (atomic_load(&s->busy) > 0)
		(void)poll(NULL, 0, BUSY_MS);
	server_free(s);
}
