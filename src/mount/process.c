/*
 * process.c: told when a process is dead, however it dies.
 *
 * By a descriptor for each.  That none is left says nothing of the process: it
 * is tried again until the process is watched or gone.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount/mount_internal.h"

struct process {
	struct mount *mount;
	pid_t pid;
	int pidfd; /* < 0: not yet */
	uv_poll_t poll;
	void (*dead)(void *);
	void *arg;
	struct process *prev, *next;
};

static bool begin(struct process *);
static void on_death(uv_poll_t *, int status, int events);
static void on_closed(uv_handle_t *);

struct process *
process_watch(struct mount *m, pid_t pid, void (*dead)(void *), void *arg)
{
	struct process *p = calloc(1, sizeof *p);

	assert(p != NULL);
	*p = (struct process){.mount = m, .pid = pid, .dead = dead, .arg = arg};
	if (pid <= 0 || !begin(p)) {
		free(p);
		return NULL;
	}
	DL_APPEND(m->processes, p);
	return p;
}

/* False: it is gone. */
static bool
begin(struct process *p)
{
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return errno != ESRCH;
	uv_poll_init(p->mount->conf.loop, &p->poll, p->pidfd);
	p->poll.data = p;
	uv_poll_start(&p->poll, UV_READABLE, on_death);
	return true;
}

void
process_tick(struct mount *m)
{
	struct process *p, *next;

	DL_FOREACH_SAFE (m->processes, p, next)
		if (p->pidfd < 0 && !begin(p))
			p->dead(p->arg);
}

static void
on_death(uv_poll_t *poll, int status, int events)
{
	struct process *p = poll->data;

	p->dead(p->arg);
}

void
process_unwatch(struct process *p)
{
	if (p == NULL)
		return;
	DL_DELETE(p->mount->processes, p);
	if (p->pidfd < 0)
		free(p);
	else
		uv_close((uv_handle_t *)&p->poll, on_closed);
}

static void
on_closed(uv_handle_t *handle)
{
	struct process *p = handle->data;

	close(p->pidfd);
	free(p);
}
