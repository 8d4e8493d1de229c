/*
 * lock_pid.c: byte ranges taken through handles that are not flushed.
 *
 * POSIX frees a process's ranges when it dies, whoever has inherited the
 * descriptor.  The kernel tells by FLUSH, which read-only handles opted out of;
 * so their process is watched.  An OFD lock, which lives on with a descriptor
 * that was inherited, looks the same when it is taken.  But its owner is the
 * open file, and READ names its caller as the owner of POSIX locks: one seen
 * there is a process.  Of others the last close is the end.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount/mount_internal.h"

struct lock_pid {
	struct mount *mount;
	struct handle *handle; /* until its RELEASE */
	uint64_t owner;	       /* the kernel's name for who took the lock */
	bool is_process;       /* as far as READ has told */
	pid_t process;	       /* who took it, perhaps for an OFD lock */
	bool polling;
	int pidfd;	       /* of it, while polling */
	uv_poll_t poll;
	struct lock_pid *prev, *next;
};

static void watch(struct lock_pid *);
static void on_death(uv_poll_t *, int status, int events);
static void died(struct lock_pid *);
static void forget(struct lock_pid *);
static void on_closed(uv_handle_t *);

void
lock_pid_watch(struct mount *m, struct handle *h, uint64_t owner, pid_t pid)
{
	struct lock_pid *l;

	DL_FOREACH (m->lock_pids, l)
		if (l->handle == h && l->owner == owner)
			return;
	l = calloc(1, sizeof *l);
	assert(l != NULL);
	l->mount = m;
	l->handle = h;
	l->owner = owner;
	l->process = pid;
	DL_APPEND(m->lock_pids, l);
	watch(l);
}

/* No descriptor for it?  That says nothing of the process: tried again. */
static void
watch(struct lock_pid *l)
{
	l->pidfd = (int)syscall(SYS_pidfd_open, l->process, 0);
	if (l->pidfd < 0) {
		if (errno == ESRCH || l->process <= 0)
			died(l);
		return;
	}
	uv_poll_init(l->mount->conf.loop, &l->poll, l->pidfd);
	l->poll.data = l;
	l->polling = true;
	uv_poll_start(&l->poll, UV_READABLE, on_death);
}

void
lock_pid_tick(struct mount *m)
{
	struct lock_pid *l, *next;

	DL_FOREACH_SAFE (m->lock_pids, l, next)
		if (!l->polling)
			watch(l);
}

void
lock_pid_seen(struct mount *m, struct handle *h, uint64_t owner)
{
	struct lock_pid *l;

	DL_FOREACH (m->lock_pids, l)
		if (l->handle == h && l->owner == owner)
			l->is_process = true;
}

void
lock_pid_released(struct mount *m, struct handle *h)
{
	struct lock_pid *l, *next;

	DL_FOREACH_SAFE (m->lock_pids, l, next)
		if (l->handle == h)
			forget(l);
}

void
lock_pid_stop(struct mount *m)
{
	while (m->lock_pids != NULL)
		forget(m->lock_pids);
}

static void
on_death(uv_poll_t *poll, int status, int events)
{
	died(poll->data);
}

static void
died(struct lock_pid *l)
{
	if (l->is_process)
		lock_flushed(l->mount, l->handle, l->owner);
	forget(l);
}

static void
forget(struct lock_pid *l)
{
	DL_DELETE(l->mount->lock_pids, l);
	if (!l->polling) {
		free(l);
		return;
	}
	uv_close((uv_handle_t *)&l->poll, on_closed);
}

static void
on_closed(uv_handle_t *handle)
{
	struct lock_pid *l = handle->data;

	close(l->pidfd);
	free(l);
}
