/*
 * park.c: replies that wait for the replay.
 *
 * A program that has been told about revision r must find everything before r.
 * Requests during which the kernel holds no inode lock are answered only when
 * the cursor has reached what was revealed.  (LOOKUP, CREATE, MKDIR, UNLINK,
 * RENAME, SETATTR, WRITE, FSYNC must never come here: the helper would wait for
 * their inode lock, and they for the helper.)  Bounded: LIMIT_PARK_MS.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/metric.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

/* A directory renamed that recently may have moved under a path walk. */
#define WALK_NS (20 * NS_PER_MS)

static struct parked *park(const struct parked *);
static void settle(struct mount *, struct parked *);
static void give_up(struct mount *, struct parked *, int err);
static void finish_open(struct mount *, const struct parked *);
static void finish_sync(struct mount *, struct parked *);
static void finish_lookup(struct mount *, struct parked *);
static bool walked_wrong(struct mount *, const struct parked *);
static void ask(struct mount *, struct parked *);
static void on_answer(struct engine_barrier *, int err);
static void on_interrupt(fuse_req_t, void *);
static void unpark(struct mount *, struct parked *);
static bool ready(struct mount *, const struct parked *);

void
park_open(struct mount *m, fuse_req_t req, struct handle *h,
    struct fuse_file_info *fi, enum parked_kind kind, uint64_t want)
{
	const struct parked p = {.mount = m, .kind = kind, .req = req,
	    .tid = fuse_req_ctx(req)->pid, .ino = h->ino, .handle = h,
	    .fi = *fi, .want = want, .n_unnamed = h->node->n_unnamed};

	if (m->conf.strict)
		ask(m, park(&p));
	else if (ready(m, &p))
		finish_open(m, &p);
	else
		park(&p);
}

void
park_getattr(struct mount *m, fuse_req_t req, uint64_t ino, uint64_t want)
{
	const struct parked p = {.mount = m, .kind = PARKED_GETATTR,
	    .req = req, .tid = fuse_req_ctx(req)->pid, .ino = ino,
	    .want = want};

	if (ready(m, &p))
		reply_attr(m, req, ino);
	else
		park(&p);
}

void
park_sync(struct mount *m, fuse_req_t req, size_t size)
{
	const struct parked p = {.mount = m, .kind = PARKED_SYNC, .req = req,
	    .tid = fuse_req_ctx(req)->pid, .size = size};

	ask(m, park(&p));
}

/* A grant goes on when its taker can see all that came before, or not at all. */
void
park_lock(struct mount *m, fuse_req_t req, struct handle *h, uint64_t node,
    uint64_t seq, uint64_t want)
{
	struct parked *p = park(&(const struct parked){.mount = m,
	    .kind = PARKED_LOCK, .req = req, .tid = fuse_req_ctx(req)->pid,
	    .ino = node, .handle = h, .want = want, .seq = seq});

	h->n_locking++;
	if (ready(m, p))
		settle(m, p);
}

/* -o strict: is the name still absent?  Waits for Raft, not for the cursor. */
void
park_lookup(struct mount *m, fuse_req_t req, uint64_t dir, const char *name)
{
	struct parked p = {.mount = m, .kind = PARKED_LOOKUP, .req = req,
	    .tid = fuse_req_ctx(req)->pid, .ino = dir};

	memcpy(p.name, name, strlen(name) + 1);
	ask(m, park(&p));
}

static struct parked *
park(const struct parked *what)
{
	struct mount *m = what->mount;
	struct parked *p = malloc(sizeof *p);

	assert(p != NULL);
	*p = *what;
	p->deadline_ns = clock_now_ns() + LIMIT_PARK_MS * NS_PER_MS;
	DL_APPEND(m->parked, p);
	metric_set(METRIC_parked, ++m->n_parked);
	metric_add(METRIC_parked_total, 1);
	fuse_req_interrupt_func(p->req, on_interrupt, p);
	return p;
}

static void
unpark(struct mount *m, struct parked *p)
{
	DL_DELETE(m->parked, p);
	metric_set(METRIC_parked, --m->n_parked);
	free(p);
}

static bool
ready(struct mount *m, const struct parked *p)
{
	return !p->asking && (replay_cursor(m->replay) >= p->want ||
	    fault_get(FAULT_parking_off) != 0);
}

void
park_release(struct mount *m)
{
	struct parked *p, *next;

	DL_FOREACH_SAFE (m->parked, p, next)
		if (ready(m, p))
			settle(m, p);
}

/* Settles, which may be the request's own caller's turn: never twice. */
static void
settle(struct mount *m, struct parked *p)
{
	fuse_req_interrupt_func(p->req, NULL, NULL);
	switch (p->kind) {
	case PARKED_OPEN:
	case PARKED_OPENDIR:
		finish_open(m, p);
		break;
	case PARKED_GETATTR:
		reply_attr(m, p->req, p->ino);
		break;
	case PARKED_SYNC:
		finish_sync(m, p);
		break;
	case PARKED_LOOKUP:
		finish_lookup(m, p);
		break;
	case PARKED_LOCK:
		p->handle->n_locking--;
		lock_refresh(m, p->handle);
		reply_errno(p->req, lock_lost(m, p->handle) ? -EIO : 0);
		handle_idle(m, p->handle);
		break;
	}
	unpark(m, p);
}

static void
give_up(struct mount *m, struct parked *p, int err)
{
	fuse_req_interrupt_func(p->req, NULL, NULL);
	reply_errno(p->req, err);
	if (p->kind == PARKED_LOCK) {
		p->handle->n_locking--;
		lock_give_back(m, p->ino, p->seq);
		handle_idle(m, p->handle);
	} else if (p->handle != NULL) {
		handle_free(m, p->handle);
	}
	unpark(m, p);
}

void
park_expire(struct mount *m, uint64_t now_ns)
{
	struct parked *p, *next;

	DL_FOREACH_SAFE (m->parked, p, next) {
		if (p->asking || p->deadline_ns > now_ns)
			continue;
		m->n_late++;
		m->late_ns = now_ns;
		metric_add(METRIC_parked_late, 1);
		if (p->kind == PARKED_SYNC || p->kind == PARKED_LOCK)
			give_up(m, p, -EIO);
		else
			settle(m, p);
	}
}

/*
 * An open that has not happened may be interrupted.  The file behind a parked
 * GETATTR exists already: only a process that is being killed goes, the others
 * wait the moment that is left.
 */
void
park_interrupts(struct mount *m)
{
	struct parked *p, *next;

	DL_FOREACH_SAFE (m->parked, p, next) {
		if (!p->interrupted)
			continue;
		if (p->asking)
			engine_barrier_cancel(m->conf.engine, &p->barrier);
		if (p->kind != PARKED_GETATTR)
			give_up(m, p, -EINTR);
		else if (caller_killed(p->tid))
			settle(m, p);
		else
			m->resisting = true;
	}
}

static void
on_interrupt(fuse_req_t req, void *arg)
{
	struct parked *p = arg;

	p->interrupted = true;
	p->mount->interrupts = true;
}

static void
ask(struct mount *m, struct parked *p)
{
	int err;

	p->asking = true;
	p->barrier.done = on_answer;
	err = engine_barrier(m->conf.engine, &p->barrier);
	if (err != 0)
		give_up(m, p, -EIO);
}

static void
on_answer(struct engine_barrier *barrier, int err)
{
	struct parked *p = (struct parked *)((char *)barrier -
	    offsetof(struct parked, barrier));
	struct mount *m = p->mount;
	uint64_t rev = engine_rev(m->conf.engine);

	p->asking = false;
	if (err != 0) {
		give_up(m, p, -EIO);
		return;
	}
	if (p->kind != PARKED_LOOKUP && p->want < rev)
		p->want = rev;
	p->deadline_ns = clock_now_ns() + LIMIT_PARK_MS * NS_PER_MS;
	/* What is opened is what C has now, not when the request came. */
	if (p->kind == PARKED_OPEN && p->handle->pin != NULL) {
		version_drop(m, p->handle, p->handle->pin);
		p->handle->pin = version_pin(m, p->handle);
		if (p->handle->pin == NULL) {
			handle_refused(m, p->handle, -ENFILE);
			give_up(m, p, -ENFILE);
			return;
		}
	}
	mount_reveal(m, rev);
	if (ready(m, p))
		settle(m, p);
}

static bool
has_name(struct mount *m, const struct knode *node)
{
	struct store_txn *t;
	bool has;

	if (kview_is_plain(m->kview, node))
		return true;
	t = mount_view(m);
	has = kview_has_name(m->kview, t, node->ino);
	store_abort(t);
	return has;
}

/*
 * Was the path walked while names moved?  Then ESTALE makes the kernel walk
 * again, once: facts of the retry are bound to the thread and its last LOOKUP.
 */
static bool
walked_wrong(struct mount *m, const struct parked *p)
{
	struct tid *tid = tid_of(m, p->tid);

	if (tid->stale_ino != 0 && (tid->stale_ino == p->ino ||
	    (tid->lookup_ino == p->ino &&
		tid->lookup_cursor >= tid->stale_want))) {
		tid->stale_ino = 0;
		return false;
	}
	tid->stale_ino = 0;
	/* Without a name, or its name went while the open was parked. */
	if (!has_name(m, p->handle->node) ||
	    p->handle->node->n_unnamed != p->n_unnamed)
		return true;
	if (tid->lookup_ino == p->ino)
		return tid->lookup_renames != m->n_dir_renames;
	return m->dir_rename_ns != 0 &&
	    clock_now_ns() - m->dir_rename_ns < WALK_NS;
}

static void
finish_open(struct mount *m, const struct parked *p)
{
	struct handle *h = p->handle;
	struct fuse_file_info fi = p->fi;
	struct tid *tid;
	int err;

	if (walked_wrong(m, p)) {
		tid = tid_of(m, p->tid);
		tid->stale_ino = p->ino;
		tid->stale_want = p->want;
		reply_errno(p->req, -ESTALE);
		handle_free(m, h);
		return;
	}
	fi.fh = handle_fh(h);
	if (h->is_dir) {
		fi.cache_readdir = fi.keep_cache = !m->conf.strict;
	} else {
		fi.direct_io = 1;
		fi.noflush = !h->writes && !h->node->has_ranges;
	}
	if (h->writes && (h->flags & O_TRUNC) != 0)
		draft_truncate(m, h, 0);
	err = fuse_reply_open(p->req, &fi);
	if (err == -ENOENT)
		handle_free(m, h); /* the caller is gone, no RELEASE comes */
}

static void
finish_sync(struct mount *m, struct parked *p)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%" PRIu64,
	    replay_cursor(m->replay));

	if (p->size == 0)
		fuse_reply_xattr(p->req, (size_t)n);
	else if (p->size < (size_t)n)
		reply_errno(p->req, -ERANGE);
	else
		fuse_reply_buf(p->req, text, (size_t)n);
}

static void
finish_lookup(struct mount *m, struct parked *p)
{
	struct fuse_entry_param none = {0};
	struct store_txn *t = mount_view(m);
	uint64_t ino = kview_lookup(m->kview, t, p->ino, slice_str(p->name));

	store_abort(t);
	if (ino != 0)
		reply_entry(m, p->req, ino);
	else
		fuse_reply_entry(p->req, &none);
}
