/*
 * ctl.h: what an operator may ask the daemon, over STATE/control.
 *
 * A unix stream socket, one JSON object a line both ways, answered in order.
 * `{"request":"status"}` is all it takes; answer.c has the list.  Anybody may
 * connect and ask for status and reasons; the rest is for root and for the
 * daemon's own user, by the peer's credentials.  A line is hostile until it is
 * parsed: bounded by LIMIT_CTL_LINE, a client that breaks a rule is cut off, and
 * so is one that says nothing for a while (LIMIT_CTL_IDLE).
 *
 * Everything runs on the loop thread.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <uv.h>

#include "base/buf.h"
#include "engine/engine.h"

struct ctl;

/* What only the faces know of this host. */
struct ctl_local {
	const char *mountpoint; /* NULL: not mounted; valid during the call */
	uint64_t replayed;	/* revision shown by this host's kernel */
	uint64_t lag_ns;	/* age of the oldest change not replayed yet */
	const char *health;	/* first word of .gov/health; static */
	uint64_t since_ns;	/* clock_now_ns(): when it became so */
};

struct ctl_hooks {
	void *arg;
	/* NULL: there is no mount, what the engine says is shown. */
	void (*local)(void *arg, struct ctl_local *ret);
	/* Text for `gov debug dump`: kernel view, queues.  May be NULL. */
	void (*dump)(void *arg, struct buf *ret);
};

/*
 * Listens at path; a socket left there by a crash is replaced.  engine must
 * outlive the ctl, hooks are copied.  -ENAMETOOLONG: longer than a unix
 * socket's name may be (107 bytes).
 */
int ctl_open(uv_loop_t *, const char *path, struct engine *,
    const struct ctl_hooks *, struct ctl **ret);
/* Cuts everybody off, removes the socket, frees; then cb. */
void ctl_stop(struct ctl *, void (*cb)(void *), void *arg);

#endif
