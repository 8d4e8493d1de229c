/*
 * replay_helper.c: the helper process as the daemon sees it.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "replay/replay_internal.h"

/* Wait before a helper that died is started again. */
#define RESTART_MS 20
/* Operations after which the scheduler may find a better CPU. */
#define SHARED_OPS 64

struct helper {
	uv_process_t process;
	uv_poll_t poll;
	uv_timer_t restart;
	int fd;	    /* our end; -1: no helper */
	bool ready; /* it has said hello */
	bool alive; /* the process has not been reaped */
	int cpu;    /* where it was last told to run */
	cpu_set_t cpus; /* where the loop may run */
	bool shared; /* the loop is held to the helper's CPU */
	unsigned n_shared; /* operations since there was nothing to do */
	void (*stopped)(struct replay *);
};

static void on_readable(uv_poll_t *, int status, int events);
static void on_exit_of_helper(uv_process_t *, int64_t status, int sig);
static void on_restart(uv_timer_t *);
static void helper_rest(struct helper *);

static int
spawn(struct replay *r)
{
	struct helper *h = r->helper;
	uv_stdio_container_t stdio[5];
	char name[] = "govfs-replay", flag[] = "--replay-helper";
	char *args[] = {name, flag, NULL};
	uv_process_options_t opt = {
	    .exit_cb = on_exit_of_helper,
	    .file = "/proc/self/exe",
	    .args = args,
	    .stdio_count = 5,
	    .stdio = stdio,
	};
	int fds[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		stdio[i] = (uv_stdio_container_t){
		    .flags = UV_INHERIT_FD, .data.fd = i};
	stdio[HELPER_FD_SOCKET] = (uv_stdio_container_t){
	    .flags = UV_INHERIT_FD, .data.fd = fds[1]};
	stdio[HELPER_FD_MOUNT] = (uv_stdio_container_t){
	    .flags = UV_INHERIT_FD, .data.fd = r->conf.mount_fd};
	h->process.data = r;
	err = uv_spawn(r->conf.loop, &h->process, &opt);
	close(fds[1]);
	if (err != 0) {
		close(fds[0]);
		return err; /* libuv's codes are negative errnos */
	}
	h->alive = true;
	h->fd = fds[0];
	h->cpu = -1;
	fcntl(h->fd, F_SETFL, O_NONBLOCK);
	uv_poll_init(r->conf.loop, &h->poll, h->fd);
	h->poll.data = r;
	uv_poll_start(&h->poll, UV_READABLE, on_readable);
	return 0;
}

int
helper_start(struct replay *r)
{
	struct helper *h = calloc(1, sizeof *h);
	int err;

	assert(h != NULL);
	h->fd = -1;
	r->helper = h;
	sched_getaffinity(0, sizeof h->cpus, &h->cpus);
	uv_timer_init(r->conf.loop, &h->restart);
	h->restart.data = r;
	err = spawn(r);
	if (err != 0)
		log_error("replay: cannot start the helper: %s",
		    strerror(-err));
	return err;
}

bool
helper_ready(const struct replay *r)
{
	return r->helper != NULL && r->helper->ready;
}

pid_t
helper_pid(const struct replay *r)
{
	return r->helper != NULL && r->helper->alive ? r->helper->process.pid
						     : 0;
}

/*
 * A wake-up across CPUs is most of what a replay costs: while there is
 * something to replay, loop and helper share the CPU that the scheduler gave
 * to the loop.  Then the loop is free again, and now and then in between: with
 * several daemons on one machine it must not stay where it is crowded.
 * Measured (write replayed, medians, two CPUs): 300-400 us where the scheduler
 * puts them, 250-320 us with the helper alone following, 150-215 us so; no
 * difference where the machine is overloaded anyway.
 */
static void
share_cpu(struct helper *h)
{
	int cpu;
	cpu_set_t set;

	if (h->n_shared++ % SHARED_OPS != 0)
		return;
	helper_rest(h);
	cpu = sched_getcpu();
	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu != h->cpu &&
	    sched_setaffinity(h->process.pid, sizeof set, &set) != 0)
		return;
	h->cpu = cpu;
	h->shared = sched_setaffinity(0, sizeof set, &set) == 0;
}

/* The loop may run where it may run. */
static void
helper_rest(struct helper *h)
{
	if (h->shared)
		sched_setaffinity(0, sizeof h->cpus, &h->cpus);
	h->shared = false;
}

void
helper_idle(struct replay *r)
{
	if (r->helper == NULL)
		return;
	helper_rest(r->helper);
	r->helper->n_shared = 0;
}

void
helper_send(struct replay *r, const struct helper_request *req)
{
	struct helper *h = r->helper;

	assert(h->ready);
	share_cpu(h);
	/* One in flight: the socket's buffer always has room.  A helper that
	 * is gone is noticed when it is reaped; the operation is redone. */
	if (send(h->fd, req, sizeof *req, MSG_NOSIGNAL) < 0)
		log_debug("replay: helper: %s", strerror(errno));
}

static void
drain(struct replay *r)
{
	struct helper *h = r->helper;
	struct helper_answer answer;

	while (h->fd >= 0 && recv(h->fd, &answer, sizeof answer, 0) ==
		(ssize_t)sizeof answer) {
		if (answer.id == 0)
			h->ready = true;
		else if (r->in_flight && answer.id == r->request.id)
			replay_answered(r, answer.err, answer.step);
	}
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
	struct replay *r = poll->data;

	drain(r);
	replay_pump(r);
}

static void
on_poll_closed(uv_handle_t *handle)
{
	struct replay *r = handle->data;

	close(r->helper->fd);
	r->helper->fd = -1;
}

/*
 * Reaped, and only now, a new one may start: what the old one held (an inode
 * lock, an open file) is gone.
 */
static void
on_exit_of_helper(uv_process_t *process, int64_t status, int sig)
{
	struct replay *r = process->data;
	struct helper *h = r->helper;

	drain(r);
	h->alive = h->ready = false;
	helper_idle(r);
	uv_poll_stop(&h->poll);
	uv_close((uv_handle_t *)&h->poll, on_poll_closed);
	uv_close((uv_handle_t *)process, NULL);
	if (!r->stopping)
		log_warn("replay: the helper ended (status %d, signal %d), "
			 "starting another", (int)status, sig);
	uv_timer_start(&h->restart, on_restart, r->stopping ? 0 : RESTART_MS,
	    0);
}

static void
on_stopped(uv_handle_t *handle)
{
	struct replay *r = handle->data;
	struct helper *h = r->helper;
	void (*cb)(struct replay *) = h->stopped;

	r->helper = NULL;
	free(h);
	cb(r);
}

static void
on_restart(uv_timer_t *timer)
{
	struct replay *r = timer->data;

	if (r->stopping) {
		uv_close((uv_handle_t *)timer, on_stopped);
		return;
	}
	if (r->in_flight)
		replay_answered(r, -EINTR, 0);
	if (spawn(r) != 0)
		uv_timer_start(timer, on_restart, 1000, 0);
}

void
helper_stop(struct replay *r, void (*cb)(struct replay *))
{
	struct helper *h = r->helper;

	h->stopped = cb;
	if (h->alive)
		uv_process_kill(&h->process, SIGKILL);
	else
		uv_timer_start(&h->restart, on_restart, 0, 0);
}
