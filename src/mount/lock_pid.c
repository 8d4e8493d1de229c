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
#include <stdlib.h>

#include "mount/mount_internal.h"

struct lock_pid {
	struct mount *mount;
	struct handle *handle; /* until its RELEASE */
	uint64_t owner;	       /* the kernel's name for who took the lock */
	bool is_process;       /* as far as READ has told */
	struct process *process; /* who took it, perhaps for an OFD lock */
	struct lock_pid *prev, *next;
};

static void died(void *lock_pid);
static void forget(struct lock_pid *);

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
	DL_APPEND(m->lock_pids, l);
	l->process = process_watch(m, pid, died, l);
	if (l->process == NULL)
		died(l);
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
died(void *lock_pid)
{
	struct lock_pid *l = lock_pid;

	if (l->is_process)
		lock_flushed(l->mount, l->handle, l->owner);
	forget(l);
}

static void
forget(struct lock_pid *l)
{
	DL_DELETE(l->mount->lock_pids, l);
	process_unwatch(l->process);
	free(l);
}
