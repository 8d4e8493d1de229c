/*
 * submit.c: requests that become commands.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/reason.h"
#include "mount/mount_internal.h"

static void on_done(struct engine_req *, const struct outcome *);
static void on_interrupt(fuse_req_t, void *);

struct pending *
pending_new(struct mount *m, fuse_req_t req, enum command_kind kind,
    void (*finish)(struct pending *, const struct outcome *))
{
	struct pending *p = calloc(1, sizeof *p);

	assert(p != NULL);
	p->mount = m;
	p->req = req;
	p->tid = req == NULL ? 0 : fuse_req_ctx(req)->pid;
	p->finish = finish;
	p->ereq.command.kind = kind;
	p->ereq.done = on_done;
	p->started_ns = clock_now_ns();
	buf_init(&p->data, LIMIT_FILE_MAX);
	DL_APPEND(m->pending, p);
	return p;
}

void
pending_name(struct pending *p, const char *name, const char *name2)
{
	memcpy(p->name, name, strlen(name) + 1);
	p->ereq.command.name = slice_str(p->name);
	if (name2 != NULL) {
		memcpy(p->name2, name2, strlen(name2) + 1);
		p->ereq.command.name2 = slice_str(p->name2);
	}
}

bool
pending_internal(const struct engine_req *ereq)
{
	const struct pending *p = (const struct pending *)
	    ((const char *)ereq - offsetof(struct pending, ereq));

	return p->req == NULL && p->handle == NULL;
}

void
pending_free(struct pending *p)
{
	if (p->mount->next_pending == p)
		p->mount->next_pending = p->next;
	DL_DELETE(p->mount->pending, p);
	buf_fini(&p->data);
	version_drop(p->mount, p->handle, p->version);
	account_drop(p->mount, p->account);
	free(p);
}

void
pending_submit(struct pending *p, const struct credentials *cred)
{
	struct mount *m = p->mount;
	struct outcome refused = {0};
	struct credentials own;
	int err;

	if (cred == NULL) {
		caller_credentials(p->req, &own);
		cred = &own;
	}
	caller_stamp(cred, &p->ereq.command.stamp);
	p->ereq.command.stamp.seen = own_seen(m, &p->ereq.command);
	err = mount_writable(m) ? session_submit(m->conf.session, &p->ereq)
				: -EROFS;
	if (err != 0) {
		refused.err = err;
		on_done(&p->ereq, &refused);
		return;
	}
	if (p->req != NULL)
		fuse_req_interrupt_func(p->req, on_interrupt, p);
}

/*
 * Called in the middle of libfuse's own work on the request: only note it.
 */
static void
on_interrupt(fuse_req_t req, void *arg)
{
	struct pending *p = arg;

	p->interrupted = true;
	p->mount->interrupts = true;
}

/*
 * A change that nobody was told about is withdrawn.  A proposed one is answered
 * with its outcome (programs in Go are interrupted all the time, and must not
 * lose the lock file they have just made), unless the caller is being killed:
 * then it must not wait, and what commits later counts as a remote change.
 * What had to wait for its place may be answered by that, and freed.
 */
void
pending_interrupts(struct mount *m)
{
	struct pending *p;
	struct outcome withdrawn = {.err = -EINTR};

	for (p = m->pending; p != NULL; p = m->next_pending) {
		m->next_pending = p->next;
		if (!p->interrupted)
			continue;
		if (session_withdraw(m->conf.session, &p->ereq))
			on_done(&p->ereq, &withdrawn);
		else if (p->gives_up || caller_killed(p->tid))
			session_abandon(m->conf.session, &p->ereq);
		else
			m->resisting = true;
	}
}

static const char *
sentence(int err)
{
	switch (err) {
	case -EROFS:
		return "no majority of the cluster can be reached; changes "
		       "fail until it is back";
	case -ETIMEDOUT:
		return "the leader was lost while the change was under way; "
		       "it may or may not have been made, look before you "
		       "repeat it";
	case -ESTALE:
		return "somebody else changed the file since it was read; "
		       "read it again and repeat the change";
	case -EAGAIN:
		return "too many changes are under way on this host; repeat "
		       "it in a moment";
	default:
		return strerror(-err);
	}
}

static void
on_done(struct engine_req *ereq, const struct outcome *outcome)
{
	struct pending *p = (struct pending *)((char *)ereq -
	    offsetof(struct pending, ereq));
	struct mount *m = p->mount;

	if (p->req != NULL)
		fuse_req_interrupt_func(p->req, NULL, NULL);
	if (outcome->err == 0 && tid_find(m, p->tid) != NULL)
		tid_find(m, p->tid)->stale_op = 0; /* its retry succeeded */
	/* Whatever C decided, the caller has now been told about it. */
	if (outcome->err == 0 || (outcome->err != -EROFS &&
	    outcome->err != -EINTR && outcome->err != -EAGAIN))
		mount_reveal(m, engine_rev(m->conf.engine));
	if (outcome->err != 0 && outcome->err != -EINTR)
		reason_note(p->parent, slice_str(p->name), p->ino,
		    outcome->err, "%s", outcome->reason != NULL
			? outcome->reason
			: sentence(outcome->err));
	p->finish(p, outcome);
}
