/*
 * tid.c: a few words of memory about each calling thread.
 *
 * The kernel retries a system call once after ESTALE.  Which of our answers
 * were retries is told by the thread, never by a time window.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "mount/mount_internal.h"

/* Threads remembered; the one longest not heard of makes room.  A forgotten one
 * costs a retry. */
#define TIDS 1024

struct tid *
tid_find(struct mount *m, pid_t tid)
{
	struct tid *t;

	HASH_FIND(hh, m->tids, &tid, sizeof tid, t);
	return t;
}

struct tid *
tid_of(struct mount *m, pid_t tid)
{
	struct tid *t = tid_find(m, tid), *oldest;

	if (t != NULL && t->hh.next != NULL) {
		HASH_DEL(m->tids, t); /* uthash keeps the order of insertion */
		HASH_ADD(hh, m->tids, tid, sizeof t->tid, t);
	}
	if (t != NULL)
		return t;
	if (HASH_COUNT(m->tids) >= TIDS) {
		oldest = m->tids;
		HASH_DEL(m->tids, oldest);
		free(oldest);
	}
	t = calloc(1, sizeof *t);
	assert(t != NULL);
	t->tid = tid;
	HASH_ADD(hh, m->tids, tid, sizeof t->tid, t);
	return t;
}

void
tid_free_all(struct mount *m)
{
	struct tid *t, *next;

	HASH_ITER (hh, m->tids, t, next) {
		HASH_DEL(m->tids, t);
		free(t);
	}
}
