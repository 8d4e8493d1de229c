/*
 * op_lock.c: flock(2) and fcntl(2) locks.
 *
 * A lock is a command; one that must wait is queued in the machine, and a
 * change of somebody else's command grants it.  A grant is shown to the caller
 * when the replay has caught up with it, or not at all.  Whatever is freed is
 * freed surely: unlocks nobody waits for are kept until they are answered.
 *
 * The kernel's habits (fs/locks.c, fs/fuse/file.c): flock is freed by RELEASE,
 * byte ranges by the FLUSH of any close by their owner, and OFD locks, whose
 * owner the kernel does not name at the last close, by their handle.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/clock.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

/* Between tries of an unlock that was not answered. */
#define RETRY_NS (100 * NS_PER_MS)

/* A lock that its caller waits for. */
struct lock_wait {
	struct mount *mount;
	fuse_req_t req;
	struct handle *handle;
	uint64_t node;
	uint64_t session, seq; /* of the lock command; 0: the session is over,
				* it is asked for anew in the next */
	uint32_t flags;	       /* to ask again */
	struct lock_spec spec;
	bool interrupted;
	struct lock_wait *prev, *next;
};

/* Something to free, until the machine has done it. */
struct unlock {
	struct mount *mount;
	enum command_kind kind; /* unlock, lock_cancel, reap */
	uint64_t session;	/* whose locks; they end with it */
	uint64_t node, expect;
	uint32_t flags;
	struct lock_spec spec;
	bool under_way;
	uint64_t again_ns;	/* when to try again */
	struct unlock *prev, *next;
};

static void lock(struct mount *, fuse_req_t, struct handle *, uint32_t flags,
    const struct lock_spec *);
static void locked(struct pending *, const struct outcome *);
static void granted(struct lock_wait *);
static void note_held(struct lock_wait *);
static void unlock_reply(struct pending *, const struct outcome *);
static struct unlock *unlock_new(struct mount *, enum command_kind,
    uint64_t node, uint32_t flags, const struct lock_spec *);
static void unlock_try(struct mount *, struct unlock *);
static void unlock_done(struct pending *, const struct outcome *);
static void on_interrupt(fuse_req_t, void *);

/* ---- what the kernel asks ---- */

/* The session that its locks were taken in is over, or may be. */
bool
lock_lost(struct mount *m, const struct handle *h)
{
	return h->lock_session != 0 &&
	    (h->lock_session != session_id(m->conf.session) ||
		session_lost(m->conf.session));
}

static void
comm_of(pid_t tid, char ret[16])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)tid);
	f = fopen(path, "re");
	if (f == NULL || fgets(ret, 16, f) == NULL)
		snprintf(ret, 16, "?");
	if (f != NULL)
		fclose(f);
	ret[strcspn(ret, "\n")] = '\0';
	for (char *c = ret; *c != '\0'; c++)
		if (*c == '/' || *c < ' ')
			*c = '?';
	if (ret[0] == '\0' || strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
		snprintf(ret, 16, "?");
}

static struct handle *
lock_handle(struct mount *m, fuse_req_t req, struct fuse_file_info *fi)
{
	struct handle *h = handle_get(m, fi);

	if (h == NULL || h->node == NULL || h->is_dir) {
		reply_errno(req, -EBADF);
		return NULL;
	}
	if (lock_lost(m, h)) {
		reply_errno(req, -EIO);
		return NULL;
	}
	return h;
}

void
op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct handle *h = lock_handle(m, req, fi);
	struct lock_spec spec = {.owner = fi->lock_owner, .end = UINT64_MAX};
	uint32_t flags = LOCK_FLOCK;

	if (h == NULL)
		return;
	spec.handle = handle_fh(h);
	if ((op & ~LOCK_NB) == LOCK_UN) {
		lock(m, req, h, flags, &spec);
		return;
	}
	if ((op & ~LOCK_NB) == LOCK_EX)
		flags |= LOCK_EXCLUSIVE;
	if ((op & LOCK_NB) == 0)
		flags |= LOCK_WAIT;
	spec.pid = (uint32_t)caller_process(fuse_req_ctx(req)->pid);
	lock(m, req, h, flags, &spec);
}

static struct lock_spec
range_of(const struct handle *h, const struct fuse_file_info *fi,
    const struct flock *l)
{
	return (struct lock_spec){
	    .owner = fi->lock_owner,
	    .handle = handle_fh(h),
	    .start = (uint64_t)l->l_start,
	    .end = l->l_len == 0 ? UINT64_MAX
				 : (uint64_t)l->l_start + (uint64_t)l->l_len - 1,
	    .pid = (uint32_t)l->l_pid,
	};
}

void
op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
    struct flock *l, int sleep)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct handle *h = lock_handle(m, req, fi);
	struct lock_spec spec;
	uint32_t flags = 0;

	if (h == NULL)
		return;
	spec = range_of(h, fi, l);
	if (l->l_type != F_UNLCK) {
		if (l->l_type == F_WRLCK)
			flags |= LOCK_EXCLUSIVE;
		if (sleep)
			flags |= LOCK_WAIT;
		if (spec.pid == 0)
			spec.pid = (uint32_t)caller_process(
			    fuse_req_ctx(req)->pid);
	} else {
		spec.pid = 0; /* means: unlock, see lock() */
	}
	lock(m, req, h, flags, &spec);
}

void
op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
    struct flock *l)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct handle *h = lock_handle(m, req, fi);
	struct tree_lock probe = {0}, found;
	struct lock_spec spec;
	struct store_txn *t;

	if (h == NULL)
		return;
	spec = range_of(h, fi, l);
	probe.session = session_id(m->conf.session);
	probe.owner = spec.owner;
	probe.start = spec.start;
	probe.end = spec.end;
	probe.exclusive = l->l_type == F_WRLCK;
	t = mount_view(m);
	if (tree_lock_conflict(t, &probe, node_of(m, ino), &found)) {
		l->l_type = found.exclusive ? F_WRLCK : F_RDLCK;
		l->l_whence = SEEK_SET;
		l->l_start = (off_t)found.start;
		l->l_len = found.end == UINT64_MAX
		    ? 0
		    : (off_t)(found.end - found.start + 1);
		/* Another host's process number means nothing here. */
		l->l_pid = found.session == probe.session ? (pid_t)found.pid
							  : 0;
	} else {
		l->l_type = F_UNLCK;
	}
	store_abort(t);
	fuse_reply_lock(req, l);
}

/* ---- taking ---- */

static void
lock(struct mount *m, fuse_req_t req, struct handle *h, uint32_t flags,
    const struct lock_spec *spec)
{
	bool frees = spec->pid == 0;
	struct pending *p;

	if (!frees && !mount_writable(m)) {
		reply_errno(req, -EROFS);
		return;
	}
	commit_bear(m, h->ino);
	p = pending_new(m, req, frees ? COMMAND_unlock : COMMAND_lock,
	    frees ? unlock_reply : locked);
	p->handle = h;
	p->ino = h->ino;
	if (!frees)
		comm_of(p->tid, p->name);
	p->ereq.command.name = slice_str(p->name);
	p->ereq.command.node = node_of(m, h->ino);
	p->ereq.command.flags = flags;
	p->ereq.command.lock = *spec;
	p->ereq.only_session = h->lock_session;
	h->n_locking++;
	/* Interrupted while it waits, a lock is given up, whatever the signal;
	 * one that doesn't wait is answered like any change. */
	p->gives_up = (flags & LOCK_WAIT) != 0;
	pending_submit(p, NULL);
}

static void
locked(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct handle *h = p->handle;
	fuse_req_t req = p->req;
	struct command *c = &p->ereq.command;
	struct lock_wait *w, now = {.mount = m, .req = req, .handle = h,
	    .node = c->node, .session = c->stamp.session,
	    .seq = c->stamp.seq, .flags = c->flags, .spec = c->lock};
	bool again = outcome->err == -ESTALE && node_of(m, h->ino) != c->node;

	h->n_locking--;
	/* What was told is over with its session, nothing of it was seen. */
	if (outcome->err == 0 && h->lock_session == 0 &&
	    now.session != session_id(m->conf.session))
		now.session = 0;
	if (again) {
		/* Its birth became, a moment ago, a write to another's file. */
		lock(m, req, h, c->flags, &c->lock);
	} else if (outcome->err == 0 && outcome->value != 0 &&
	    now.session != 0) {
		granted(&now);
	} else if (outcome->err == 0) {
		w = calloc(1, sizeof *w);
		assert(w != NULL);
		*w = now;
		h->n_locking++;
		DL_APPEND(m->lock_waits, w);
		fuse_req_interrupt_func(req, on_interrupt, w);
		if (w->session == 0 && session_ready(m->conf.session))
			lock_session_ready(m);
	} else {
		/* Nobody waits for what may still be granted. */
		if (outcome->err == -EINTR || outcome->err == -ETIMEDOUT)
			unlock_new(m, COMMAND_lock_cancel, c->node, 0, NULL)
			    ->expect = now.seq;
		reply_errno(req, outcome->err == -ESTALE ? -EIO
							 : outcome->err);
		handle_idle(m, h);
	}
	pending_free(p);
	lock_tick(m, clock_now_ns());
}

/* Shown when the replay has caught up; given back if that can't be. */
static void
granted(struct lock_wait *w)
{
	struct mount *m = w->mount;

	note_held(w);
	mount_reveal(m, engine_rev(m->conf.engine));
	park_lock(m, w->req, w->handle, w->node, w->seq, m->revealed);
}

static void
note_held(struct lock_wait *w)
{
	struct handle *h = w->handle;

	if (h->lock_session == 0) /* else the session of its other locks */
		h->lock_session = w->session;
	if (w->flags & LOCK_FLOCK)
		h->has_flock = true;
	else
		h->has_ranges = h->node->has_ranges = true;
	if ((w->flags & LOCK_FLOCK) == 0 && !h->writes)
		lock_pid_watch(w->mount, h, w->spec.owner,
		    (pid_t)w->spec.pid);
}

/*
 * What the lock's last holder did is to be seen through this handle too, though
 * it was opened before: it shows what is committed now.  Not what it has
 * written itself and not committed; that is judged when it commits (F4).  What
 * can't be had now (version_pin) is tried again by who reads.
 */
void
lock_refresh(struct mount *m, struct handle *h)
{
	if (h->pin == NULL || h->whole || h->draft.len != 0)
		return;
	version_drop(m, h, h->pin);
	h->pin = version_pin(m, h);
}

/* A grant that could not be shown. */
void
lock_give_back(struct mount *m, uint64_t node, uint64_t seq)
{
	unlock_new(m, COMMAND_lock_cancel, node, 0, NULL)->expect = seq;
	lock_tick(m, clock_now_ns());
}

static struct lock_wait *
wait_find(struct mount *m, uint64_t session, uint64_t seq)
{
	struct lock_wait *w;

	DL_FOREACH (m->lock_waits, w)
		if (w->session == session && w->seq == seq)
			return w;
	return NULL;
}

/* Published, any host's command: does it grant something here? */
void
lock_applied(struct mount *m, const struct outcome *outcome)
{
	const struct change *c;
	struct lock_wait *w;

	for (unsigned i = 0; i < outcome->n_changes; i++) {
		c = &outcome->changes[i];
		if (c->kind != CHANGE_GRANT)
			continue;
		w = wait_find(m, c->session, c->seq);
		if (w == NULL)
			continue;
		fuse_req_interrupt_func(w->req, NULL, NULL);
		DL_DELETE(m->lock_waits, w);
		w->handle->n_locking--;
		granted(w);
		free(w);
	}
}

static void
on_interrupt(fuse_req_t req, void *arg)
{
	struct lock_wait *w = arg;

	w->interrupted = true;
	w->mount->interrupts = true;
}

static void
wait_end(struct mount *m, struct lock_wait *w, int err)
{
	fuse_req_interrupt_func(w->req, NULL, NULL);
	DL_DELETE(m->lock_waits, w);
	w->handle->n_locking--;
	reply_errno(w->req, err);
	if (err == -EINTR && w->session != 0)
		unlock_new(m, COMMAND_lock_cancel, w->node, 0, NULL)->expect =
		    w->seq;
	handle_idle(m, w->handle);
	free(w);
}

void
lock_interrupts(struct mount *m)
{
	struct lock_wait *w, *next;

	DL_FOREACH_SAFE (m->lock_waits, w, next)
		if (w->interrupted)
			wait_end(m, w, -EINTR);
	lock_tick(m, clock_now_ns());
}

/*
 * The session is over: nobody will grant what it waited for.  Who held nothing
 * through that handle waits on in the next session, at the queue's end.
 */
void
lock_session_lost(struct mount *m, uint64_t session)
{
	struct lock_wait *w, *next;

	DL_FOREACH_SAFE (m->lock_waits, w, next) {
		if (w->session != session)
			continue;
		if (w->handle->lock_session != 0 || w->interrupted) {
			wait_end(m, w, w->interrupted ? -EINTR : -EIO);
			continue;
		}
		w->session = 0;
	}
}

void
lock_session_ready(struct mount *m)
{
	struct lock_wait *w, *next;

	DL_FOREACH_SAFE (m->lock_waits, w, next) {
		if (w->session != 0)
			continue;
		fuse_req_interrupt_func(w->req, NULL, NULL);
		DL_DELETE(m->lock_waits, w);
		w->handle->n_locking--;
		lock(m, w->req, w->handle, w->flags, &w->spec);
		free(w);
	}
}

/* ---- freeing ---- */

static void
unlock_reply(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct handle *h = p->handle;
	struct command *c = &p->ereq.command;
	int err = outcome->err;

	h->n_locking--;
	/* The caller is told that it is free, so it must become so. */
	if (err != 0 && err != -ESTALE && err != -ENOENT) {
		unlock_new(m, COMMAND_unlock, c->node, c->flags, &c->lock);
		err = 0;
	}
	reply_errno(p->req, err == -EINTR ? -EINTR : 0);
	handle_idle(m, h);
	pending_free(p);
	lock_tick(m, clock_now_ns());
}

static struct unlock *
unlock_new(struct mount *m, enum command_kind kind, uint64_t node,
    uint32_t flags, const struct lock_spec *spec)
{
	struct unlock *u = calloc(1, sizeof *u);

	assert(u != NULL);
	u->mount = m;
	u->kind = kind;
	u->session = session_id(m->conf.session);
	u->node = node;
	u->flags = flags;
	if (spec != NULL)
		u->spec = *spec;
	DL_APPEND(m->unlocks, u);
	return u;
}

/* Has it byte ranges there?  Those whose command is still under way are not
 * meant: who is told of them afterwards has them afterwards. */
static bool
has_ranges(struct mount *m, uint64_t node, uint64_t owner)
{
	uint64_t session = session_id(m->conf.session);
	struct store_txn *t = mount_view(m);
	struct tree_lock l = {0};
	bool found = false;

	while (!found && tree_lock_next(t, node, l.ordinal, &l))
		found = !l.is_flock && l.session == session &&
		    l.owner == owner;
	store_abort(t);
	return found;
}

/* What is not under way goes behind all that has been asked for since. */
static bool
will_free(struct mount *m, uint64_t node, uint64_t owner)
{
	const struct unlock *u;

	DL_FOREACH (m->unlocks, u)
		if (!u->under_way && u->flags == UNLOCK_OWNER &&
		    u->node == node && u->spec.owner == owner)
			return true;
	return false;
}

/* A close by this owner: its byte ranges on the file go (POSIX).  Most who close
 * a file that was locked once have none. */
void
lock_flushed(struct mount *m, struct handle *h, uint64_t owner)
{
	struct lock_spec spec = {.owner = owner, .end = UINT64_MAX};
	uint64_t node = node_of(m, h->ino);

	if (!h->node->has_ranges || !has_ranges(m, node, owner) ||
	    will_free(m, node, owner))
		return;
	unlock_new(m, COMMAND_unlock, node, UNLOCK_OWNER, &spec);
	lock_tick(m, clock_now_ns());
}

/* The last close of the open file. */
void
lock_released(struct mount *m, struct handle *h, bool flock_release,
    uint64_t owner)
{
	struct lock_spec spec = {.owner = owner, .handle = handle_fh(h),
	    .end = UINT64_MAX};
	uint64_t node = node_of(m, h->ino);

	lock_pid_released(m, h);
	if (h->has_flock || flock_release)
		unlock_new(m, COMMAND_unlock, node, LOCK_FLOCK, &spec);
	if (h->has_ranges)
		unlock_new(m, COMMAND_unlock, node, UNLOCK_HANDLE, &spec);
	if (h->has_flock || flock_release || h->has_ranges)
		lock_tick(m, clock_now_ns());
}

void
lock_reap(struct mount *m, uint64_t node)
{
	unlock_new(m, COMMAND_reap, node, 0, NULL);
	lock_tick(m, clock_now_ns());
}

static void
unlock_try(struct mount *m, struct unlock *u)
{
	struct credentials root = {0};
	struct pending *p = pending_new(m, NULL, u->kind, unlock_done);
	struct command *c = &p->ereq.command;

	p->unlock = u;
	u->under_way = true;
	c->node = u->node;
	c->expect = u->expect;
	c->flags = u->flags;
	c->lock = u->spec;
	pending_submit(p, &root);
}

static void
unlock_done(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct unlock *u = p->unlock;
	bool again = outcome->err == -EROFS || outcome->err == -ETIMEDOUT ||
	    outcome->err == -EAGAIN || outcome->err == -EINTR;

	u->under_way = false;
	u->again_ns = clock_now_ns() + RETRY_NS;
	if (!again) {
		DL_DELETE(m->unlocks, u);
		free(u);
	}
	pending_free(p);
}

/* Tries what is to be freed; each until the machine has answered. */
void
lock_tick(struct mount *m, uint64_t now_ns)
{
	struct unlock *u, *next;
	uint64_t session = session_id(m->conf.session);

	DL_FOREACH_SAFE (m->unlocks, u, next) {
		if (u->under_way || u->again_ns > now_ns)
			continue;
		if (u->session != session) { /* they ended with it */
			DL_DELETE(m->unlocks, u);
			free(u);
			continue;
		}
		unlock_try(m, u);
	}
}
