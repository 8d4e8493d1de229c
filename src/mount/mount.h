/*
 * mount.h: /gov itself, the kernel's requests and what they mean.
 *
 * One request is one view of K (replay/kview.h) or one command.  Everything is
 * answered on the loop thread; what needs Raft, or must not be seen before the
 * replay has caught up, is a reply kept for later, never a thread that waits.
 * Architecture, sections 3 and 4.
 */
#ifndef MOUNT_MOUNT_H
#define MOUNT_MOUNT_H

#include <uv.h>

#include "engine/engine.h"
#include "session/session.h"

struct mount;

struct mount_conf {
	uv_loop_t *loop;
	struct engine *engine;
	struct session *session;
	const char *mountpoint; /* an existing directory */
	const char *state_dir;	/* absolute: .gov/control points into it */
	bool strict;		/* -o strict: linearizable opens */
	/* The file system has been unmounted, or the kernel has let go of it;
	 * the daemon should end. */
	void (*gone)(void *arg);
	void *arg;
};

struct mount_status {
	uint64_t cursor;	/* revision replayed to the kernel */
	uint64_t lag_ns;	/* age of the oldest change not replayed; 0 */
	unsigned n_queued;	/* of them */
	unsigned n_parked;	/* requests waiting for replay */
	uint64_t n_late;	/* of all: that went on after the bound */
	unsigned n_handles;
	unsigned n_differences; /* names that the kernel has otherwise than C;
				 * unborn files count */
	const char *health;	/* ok, lagging: a parked request went on late,
				 * lately; suspended, readonly or lost */
	uint64_t since_ns;	/* clock_now_ns(): when it became so */
};

/* Mounts.  The kernel's requests are answered once the loop runs. */
int mount_open(const struct mount_conf *, struct mount **ret);
void mount_status(struct mount *, struct mount_status *ret);
/* Unmounts (lazily: programs may have files open), then cb on the loop. */
void mount_stop(struct mount *, void (*cb)(void *), void *arg);
void mount_free(struct mount *); /* after cb; NULL is fine */

/* A mount that a dead daemon has left there is taken away: 0 or -errno. */
int mount_clear_dead(const char *mountpoint);

#endif
