/*
 * commit.c: from a draft to a commit.
 *
 * close(2) commits, but not every FLUSH is the last close: shells dup2 and
 * close, children inherit and exit.  The rule (CONTRACT F2): a draft commits
 * when neither the flushing process nor the opener has another descriptor of
 * this handle (looked for where there may be one: plainly_last); a writer
 * killed by a signal commits nothing; fsync always commits; RELEASE is the
 * safety net.
 *
 * A file not born yet (created for writing without O_EXCL) is born by its first
 * commit: name, attributes and content in one revision.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/ioctl.h"
#include "base/log.h"
#include "base/metric.h"
#include "mount/mount_internal.h"

static bool needed(const struct handle *);
static void start(struct mount *, struct handle *);
static void fill_birth(struct mount *, struct pending *, struct handle *);
static void fill_write(struct mount *, struct pending *, struct handle *);
static void take_draft(struct mount *, struct pending *, struct handle *);
static bool born(struct mount *, struct knode *,
    const struct engine_applied *);
static void finish(struct pending *, const struct outcome *);
static bool kernel_knows(const struct pending *, const struct outcome *);
static void committed(struct mount *, struct pending *,
    const struct outcome *);
static void failed(struct mount *, struct pending *, int err);
static void restore_draft(struct mount *, struct pending *, struct handle *);
static void answer(struct mount *, struct handle *, int err);
static void wait_for(struct mount *, struct handle *, fuse_req_t,
    size_t written);
static void wait_over(struct flusher *, int err);
static void on_interrupt(fuse_req_t, void *);
static void drop_draft(struct mount *, struct handle *);
static void gone(struct mount *, struct handle *);

enum flush_verdict { FLUSH_COMMIT, FLUSH_DEFER, FLUSH_DROP };

/* Other openers of a file whose descriptors one flush looks through: each is as
 * much work as the flushing process itself (LIMIT_FDINFO). */
enum { RELATIVES = 4 };
struct relatives {
	int n;
	pid_t pids[RELATIVES];
	struct descriptors theirs[RELATIVES];
};

/* Who else has it open for writing.  False: too many to look at. */
static bool
find_relatives(const struct handle *h, pid_t process,
    const struct wanted *wanted, struct relatives *ret)
{
	const struct handle *other;
	int i;

	ret->n = 0;
	DL_FOREACH (h->node->handles, other) {
		if (!other->writes || other->released ||
		    other->opener == process || other->opener == h->opener)
			continue;
		for (i = 0; i < ret->n && ret->pids[i] != other->opener; i++)
			;
		if (i == RELATIVES)
			return false;
		if (i == ret->n)
			ret->pids[ret->n++] = other->opener;
	}
	for (i = 0; i < ret->n; i++)
		caller_descriptors(ret->pids[i], wanted, &ret->theirs[i]);
	return true;
}

/* Is it another handle of the file, that the process got from its opener? */
static bool
inherited(const struct relatives *r, pid_t process, int fd)
{
	for (int i = 0; i < r->n; i++)
		for (int j = 0; j < r->theirs[i].n && j < DESCRIPTORS_LISTED;
		    j++)
			if (caller_shares(process, fd, r->pids[i],
				r->theirs[i].fds[j]))
				return true;
	return false;
}

/* Does a process still have descriptors of this very handle? */
static bool
still_open(struct mount *m, struct handle *h, pid_t process, bool *ret_none)
{
	struct wanted wanted = {.ino = h->ino, .mount_id = m->mount_id};
	struct descriptors own;
	struct relatives relatives;
	struct handle *other;
	struct store_txn *t;
	uint64_t dir;
	char name[LIMIT_NAME + 1];
	int others = 0;

	t = mount_view(m);
	/* A link's text has the name it was opened by: only one can be it. */
	if (kview_name_of(m->kview, t, h->ino, &dir, name) &&
	    !(h->node->own_attr && h->node->attr.nlink != 1))
		wanted.name = name;
	store_abort(t);
	caller_descriptors(process, &wanted, &own);
	*ret_none = own.none;
	DL_FOREACH (h->node->handles, other)
		if (other != h && other->writes && other->opener == process &&
		    !other->released)
			others++;
	if (own.n > others &&
	    !find_relatives(h, process, &wanted, &relatives))
		return false; /* can't tell: better once too often */
	for (int i = own.n; i-- > 0 && own.n > others;)
		if (i < DESCRIPTORS_LISTED &&
		    inherited(&relatives, process, own.fds[i]))
			own.n--;
	return own.n > others;
}

/*
 * Most files are opened, written and closed by one process that has no copy of
 * the descriptor: then it has one less now than when it opened the file.  What
 * that can't tell from a copy, one put in the place of another descriptor by
 * dup2(2), shells make before anything is written, and close the spare one.
 */
static bool
plainly_last(const struct handle *h, pid_t process, unsigned n_descriptors)
{
	return process == h->opener && h->written && h->n_flushes == 1 &&
	    n_descriptors != 0 && n_descriptors + 1 == h->n_descriptors;
}

/*
 * A process that exits has given up its table of descriptors before it flushes
 * them: only who has none left can be dying.
 */
static enum flush_verdict
flush_verdict(struct mount *m, struct handle *h, pid_t tid)
{
	pid_t process;
	unsigned n;
	bool open, none, ignored, held = life_held(m, h);

	if (tid <= 0)
		return FLUSH_COMMIT; /* of another pid namespace */
	process = caller_count(m, tid, &n);
	if (plainly_last(h, process, n))
		return FLUSH_COMMIT;
	open = still_open(m, h, process, &none);
	if (none && caller_dying(tid)) {
		if (process == h->opener || !caller_alive(h->opener))
			return FLUSH_DROP;
		/* Others may still commit it, but not its mere end. */
		h->refused = true;
		return FLUSH_DEFER;
	}
	/* What stands for its holder is told while that has it open. */
	if (held)
		return FLUSH_COMMIT;
	if (open)
		return FLUSH_DEFER;
	if (h->opener != process && still_open(m, h, h->opener, &ignored))
		return FLUSH_DEFER;
	return FLUSH_COMMIT;
}

void
commit_flush(struct mount *m, fuse_req_t req, struct handle *h)
{
	h->n_flushes++;
	if (h->failed != 0) {
		reply_errno(req, h->failed);
		return;
	}
	if (h->commit == NULL && !needed(h)) {
		reply_errno(req, 0);
		return;
	}
	switch (flush_verdict(m, h, fuse_req_ctx(req)->pid)) {
	case FLUSH_DROP:
		drop_draft(m, h);
		h->refused = true;
		reply_errno(req, 0);
		return;
	case FLUSH_DEFER:
		reply_errno(req, 0);
		return;
	case FLUSH_COMMIT:
		wait_for(m, h, req, 0);
		if (h->commit == NULL)
			start(m, h);
	}
}

void
commit_sync(struct mount *m, fuse_req_t req, struct handle *h, size_t written)
{
	if (h->failed != 0) {
		reply_errno(req, h->failed);
		return;
	}
	if (h->commit == NULL && !needed(h)) {
		reply_errno(req, 0);
		return;
	}
	wait_for(m, h, req, written);
	if (h->commit == NULL)
		start(m, h);
}

void
commit_released(struct mount *m, struct handle *h)
{
	h->released = true;
	if (h->commit != NULL)
		return; /* freed when it ends */
	if (needed(h) && !h->refused && h->failed == 0 && !lock_lost(m, h)) {
		log_debug("mount: inode %llu: committed at its release",
		    (unsigned long long)h->ino);
		start(m, h);
		return;
	}
	handle_idle(m, h);
}

void
handle_idle(struct mount *m, struct handle *h)
{
	if (h->released && h->commit == NULL && h->n_locking == 0)
		gone(m, h);
}

/* The handle's end.  Nobody will bear an unborn node without handles. */
static void
gone(struct mount *m, struct handle *h)
{
	struct knode *node = h->node;
	struct birth *birth = node->birth;

	if (node->n_handles == 1 && node->unborn) {
		if (birth != NULL)
			replay_reconcile(m->replay, birth->dir,
			    slice_str(birth->name), true);
		free(birth);
		node->birth = NULL;
		node->attr.nlink = 0;
		handle_free(m, h);
		return;
	}
	handle_free(m, h);
}

static bool
needed(const struct handle *h)
{
	return h->writes && (h->dirty ||
	    (h->node->unborn && !h->node->birthing && h->creator));
}

static void
wait_for(struct mount *m, struct handle *h, fuse_req_t req, size_t written)
{
	struct flusher *f = calloc(1, sizeof *f);

	assert(f != NULL);
	f->mount = m;
	f->handle = h;
	f->req = req;
	f->written = written;
	f->tid = fuse_req_ctx(req)->pid;
	f->again = h->commit != NULL;
	LL_APPEND(h->flushers, f);
	DL_APPEND2(m->flushers, f, prev_all, next_all);
	fuse_req_interrupt_func(req, on_interrupt, f);
}

static void
wait_over(struct flusher *f, int err)
{
	DL_DELETE2(f->mount->flushers, f, prev_all, next_all);
	fuse_req_interrupt_func(f->req, NULL, NULL);
	if (err == 0 && f->written > 0)
		reply_write(f->req, f->written);
	else
		reply_errno(f->req, err);
	free(f);
}

static void
on_interrupt(fuse_req_t req, void *arg)
{
	struct flusher *f = arg;

	f->interrupted = true;
	f->mount->interrupts = true;
}

/*
 * A commit under way is answered with its outcome, whatever signals come; only
 * a process that is being killed doesn't wait for it.
 */
void
commit_interrupts(struct mount *m)
{
	struct flusher *f, *next;

	DL_FOREACH_SAFE2 (m->flushers, f, next, next_all) {
		if (!f->interrupted)
			continue;
		if (!caller_killed(f->tid)) {
			m->resisting = true;
			continue;
		}
		LL_DELETE(f->handle->flushers, f);
		wait_over(f, -EINTR);
	}
}

/* It commits only over what it has read (F4), or was told to expect. */
static bool
guarded(const struct handle *h)
{
	return h->expects || (h->has_read && (h->whole || !h->append));
}

/*
 * As on any file system, what is written to a file without a name is gone with
 * its last handle.  But who has read it is told that somebody has put another
 * one there meanwhile, or nothing (F4); not who has made it: temporary files
 * are removed while they are open.
 */
static int
removed(const struct handle *h, bool expected)
{
	return expected && !h->creator ? -ESTALE : 0;
}

/*
 * Equal bytes written to a ttl file say that its writer lives, no more: soft
 * state (CONTRACT T6).  Equal to what is committed now, not to what this host
 * happens to show: the leader is asked first.
 */
static bool
may_refresh(struct mount *m, const struct pending *p)
{
	const struct command *c = &p->ereq.command;
	struct store_txn *t;
	bool equal;

	if (c->kind != COMMAND_write ||
	    (c->flags & (WRITE_EXPECT | WRITE_KEEP_MTIME)) != 0 ||
	    !life_is(m, c->node, LIFE_TTL))
		return false;
	t = mount_view(m);
	equal = slice_eq(tree_content(t, c->node), c->data);
	store_abort(t);
	return equal;
}

static void
on_current(struct engine_barrier *barrier, int err)
{
	struct pending *p = (struct pending *)((char *)barrier -
	    offsetof(struct pending, barrier));
	struct mount *m = p->mount;
	struct outcome outcome = {0};
	struct store_txn *t;

	if (err != 0 || !may_refresh(m, p)) {
		pending_submit(p, &p->handle->cred);
		return;
	}
	life_refresh(m, p->ereq.command.node, &outcome.err);
	t = mount_view(m);
	tree_node_get(t, p->ereq.command.node, &outcome.attr);
	store_abort(t);
	finish(p, &outcome);
}

static void
start(struct mount *m, struct handle *h)
{
	bool bears = h->node->unborn && !h->node->birthing;
	struct pending *p;

	assert(h->commit == NULL);
	if (handle_dead(h) || (h->node->unborn && h->node->displaced &&
	    h->node->birth == NULL)) {
		h->failed = removed(h, guarded(h));
		answer(m, h, h->failed);
		return;
	}
	/* A file that is not born is at no revision. */
	if (h->expects && (h->expect_rev == GOVFS_EXPECT_NEVER ||
	    (bears && h->expect_rev != 0))) {
		h->failed = -ESTALE;
		drop_draft(m, h);
		mount_invalidate(m, h->ino);
		answer(m, h, h->failed);
		return;
	}
	p = pending_new(m, NULL, COMMAND_write, finish);
	p->handle = h;
	p->ino = h->ino;
	p->draft_generation = h->generation_of_draft;
	h->commit = p;
	if (bears)
		fill_birth(m, p, h);
	else
		fill_write(m, p, h);
	take_draft(m, p, h);
	/* Written under a lock, it is void when the lock is lost. */
	p->ereq.only_session = h->lock_session;
	p->barrier.done = on_current;
	if (!may_refresh(m, p) ||
	    engine_barrier(m->conf.engine, &p->barrier) != 0)
		pending_submit(p, &h->cred);
}

static void
fill_times(struct command *c, const struct handle *h, const struct knode *node)
{
	const struct birth *birth = node->birth;

	if (h->keep_times) {
		c->flags |= WRITE_KEEP_MTIME;
		c->atime_ns = h->atime_ns;
		c->mtime_ns = h->mtime_ns;
	} else if (node->unborn && birth != NULL && birth->explicit_times) {
		c->flags |= WRITE_KEEP_MTIME;
		c->atime_ns = node->attr.atime_ns;
		c->mtime_ns = node->attr.mtime_ns;
	}
}

static void
fill_birth(struct mount *m, struct pending *p, struct handle *h)
{
	struct command *c = &p->ereq.command;
	struct knode *node = h->node;
	struct birth *birth = node->birth;

	c->kind = COMMAND_birth;
	c->token = h->token;
	c->dir = p->parent = birth->dir;
	pending_name(p, birth->name, NULL);
	/* A displaced node's number stays dead in this kernel, and one of an
	 * ended session is refused by the machine. */
	c->ino = node->ino;
	if (node->displaced || !session_owns(m->conf.session, c->ino))
		c->ino = session_new_ino(m->conf.session);
	c->mode = node->attr.mode;
	c->uid = node->attr.uid;
	c->gid = node->attr.gid;
	/* touch(1) must not empty a file that has taken the name: what is
	 * neither written nor truncated adds nothing to it. */
	if (!h->whole && (h->append || h->draft.len == 0))
		c->flags |= BIRTH_APPEND;
	if (birth->explicit_owner)
		c->flags |= BIRTH_OWNER;
	if (h->expects)
		c->flags |= WRITE_EXPECT;
	fill_times(c, h, node);
	node->birthing = true;
	p->node = node;
}

static void
fill_write(struct mount *m, struct pending *p, struct handle *h)
{
	struct command *c = &p->ereq.command;

	c->kind = h->append && !h->whole ? COMMAND_append : COMMAND_write;
	c->token = h->token;
	c->node = h->node->alias != 0 ? h->node->alias : h->ino;
	if (h->creator)
		c->flags |= WRITE_CREATOR;
	/* What is appended goes behind whatever is there (F3). */
	if (guarded(h)) {
		c->flags |= WRITE_EXPECT;
		c->expect = h->expects ? h->expect_rev : h->base_rev;
	}
	fill_times(c, h, h->node);
}

/*
 * The draft becomes a version on its way: reads show it, and the next write
 * begins a new draft from it.
 */
static void
take_draft(struct mount *m, struct pending *p, struct handle *h)
{
	struct version *v = version_of_draft(h);

	p->ereq.command.data = slice_of(v->bytes, v->size);
	p->version = v;
	p->counted_dirty = h->dirty;
	if (p->ereq.command.kind != COMMAND_append &&
	    !(h->append && !h->whole)) {
		version_drop(m, h, h->pin);
		h->pin = v;
		version_share(v, h);
	}
	h->whole = h->derived = false;
	/* Stays counted as dirty: its size is not yet the committed one. */
}

/*
 * Before K moves: what was unborn is born, or has become another file.
 */
bool
commit_applied(struct mount *m, const struct engine_applied *a)
{
	struct pending *p = (struct pending *)((char *)a->req -
	    offsetof(struct pending, ereq));
	struct knode *node = p->node;

	if (a->command->kind != COMMAND_birth || node == NULL)
		return true;
	node->birthing = false;
	return a->outcome->err != 0 || born(m, node, a);
}

static bool
born(struct mount *m, struct knode *node, const struct engine_applied *a)
{
	bool displaced = node->displaced;

	node->unborn = node->displaced = false;
	free(node->birth);
	node->birth = NULL;
	if (a->outcome->ino == node->ino) {
		/* Displaced while the birth was under way: the kernel has
		 * unlinked it, and is told of its name like others. */
		node->own_attr = node->own_attr && !displaced;
		return !displaced;
	}
	/* The name's committed file took the draft in, or it got a number
	 * that this kernel has not unlinked yet. */
	node->alias = a->outcome->ino;
	node->attr = a->outcome->attr;
	node->attr.ino = node->ino;
	node->attr.nlink = 0;
	if (!displaced)
		replay_reconcile(m->replay, a->command->dir, a->command->name,
		    true);
	return false;
}

/*
 * What a commit came to whose caller has been told ETIMEDOUT: its handle
 * answers so from now on.
 */
bool
commit_late(struct mount *m, const struct engine_applied *a)
{
	const struct command *c = a->command;
	bool birth = c->kind == COMMAND_birth;
	struct knode *node;
	struct handle *h;

	if (c->stamp.host != engine_self(m->conf.engine))
		return false;
	node = kview_find(m->kview, birth ? c->ino : c->node);
	if (node == NULL)
		return false;
	DL_FOREACH (node->handles, h)
		if (h->failed == -ETIMEDOUT &&
		    h->lost_session == c->stamp.session &&
		    h->lost_seq == c->stamp.seq)
			break;
	if (h == NULL)
		return false;
	h->failed = a->outcome->err == -OUTCOME_EWINDOW ? -EIO
							: a->outcome->err;
	if (birth)
		node->birthing = false;
	if (a->outcome->err != 0)
		return false;
	h->base_rev = h->expect_rev = a->outcome->attr.rev;
	return birth && born(m, node, a);
}

static void
finish(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct handle *h = p->handle;
	int err = outcome->err;

	metric_time(METRIC_write_time, clock_now_ns() - p->started_ns);
	if (p->node != NULL)
		p->node->birthing = err == -ETIMEDOUT;
	h->commit = NULL;
	if (err == -ENOENT && h->node->alias != 0 &&
	    p->ereq.command.node != h->node->alias) {
		/* Sent while the birth was on its way to another file. */
		restore_draft(m, p, h);
		pending_free(p);
		start(m, h);
		return;
	}
	if (err == -ENOENT && !h->node->unborn)
		err = removed(h, p->ereq.command.flags & WRITE_EXPECT);
	if (err == 0)
		committed(m, p, outcome);
	else
		failed(m, p, err);
	if (!kernel_knows(p, outcome))
		mount_invalidate(m, h->ino);
	pending_free(p);
	answer(m, h, err);
}

/*
 * Size, blocks and times the kernel distrusts since the WRITE itself (or the
 * truncation), and whatever we said of them from then until now has expired at
 * once, because the draft was dirty.  Mode and owner it may go on believing:
 * forgetting them would cost each next open(2) a GETATTR.  Not so after an
 * asynchronous WRITE, which the kernel notes before we hear of it.
 */
static bool
kernel_knows(const struct pending *p, const struct outcome *outcome)
{
	const struct change *c;

	if (outcome->err != 0 || p->ereq.command.kind == COMMAND_birth ||
	    p->ereq.command.node != p->ino ||
	    (p->handle->flags & O_DIRECT) != 0)
		return false;
	for (unsigned i = 0; i < outcome->n_changes; i++) {
		c = &outcome->changes[i];
		if (c->node == p->ino && c->old.mode != c->attr.mode)
			return false; /* set-user-ID is dropped */
	}
	return true;
}

static void
committed(struct mount *m, struct pending *p, const struct outcome *outcome)
{
	struct handle *h = p->handle;

	if (h->generation_of_draft == p->draft_generation)
		handle_set_dirty(m, h, false);
	h->refused = false;
	h->keep_times = false;
	if (outcome->attr.ino != 0) {
		p->version->rev = outcome->attr.rev;
		h->base_rev = h->expect_rev = outcome->attr.rev;
	}
	if (h->pin != p->version) {
		/* Appended: what it is now, C knows, until it is unlinked. */
		version_drop(m, h, h->pin);
		h->pin = h->reads ? version_pin(m, h) : NULL;
	}
}

static void
failed(struct mount *m, struct pending *p, int err)
{
	struct handle *h = p->handle;
	bool written_since = h->generation_of_draft != p->draft_generation;

	h->refused = true;
	if (err == -ESTALE || err == -ETIMEDOUT) {
		h->failed = err;
		h->lost_session = p->ereq.command.stamp.session;
		h->lost_seq = p->ereq.command.stamp.seq;
	}
	/* Surely not applied: fsync or close may try it again. */
	if (err == -EROFS || err == -EINTR || err == -EAGAIN) {
		restore_draft(m, p, h);
		return;
	}
	if (!written_since)
		drop_draft(m, h);
}

/* What was not committed comes before what was written meanwhile. */
static void
restore_draft(struct mount *m, struct pending *p, struct handle *h)
{
	struct buf newer = h->draft;
	bool adds = h->append && !h->whole;

	if (h->whole || p->version == NULL)
		return; /* the newer draft holds it all */
	buf_init(&h->draft, LIMIT_FILE_MAX);
	buf_raw(&h->draft, p->version->bytes, p->version->size);
	if (adds)
		buf_raw(&h->draft, newer.ptr, newer.len);
	account_hold(m, h->account, h->draft.len - newer.len);
	buf_fini(&newer);
	if (h->pin == p->version) { /* the draft is paid for instead */
		h->whole = true;
		version_drop(m, h, h->pin);
		h->pin = NULL;
	}
}

static void
drop_draft(struct mount *m, struct handle *h)
{
	account_let_go(m, h->account, h->draft.len);
	buf_fini(&h->draft);
	buf_init(&h->draft, LIMIT_FILE_MAX);
	h->whole = h->derived = false;
	handle_set_dirty(m, h, false);
	version_drop(m, h, h->pin);
	h->pin = NULL;
}

/* Tells everybody who waited; those who came during the commit go on. */
static void
answer(struct mount *m, struct handle *h, int err)
{
	struct flusher *f, *next, *all = h->flushers;
	bool again = false;

	h->flushers = NULL;
	LL_FOREACH_SAFE (all, f, next) {
		if (f->again && err == 0 && needed(h)) {
			f->again = false;
			LL_DELETE(all, f);
			f->next = NULL;
			LL_APPEND(h->flushers, f);
			again = true;
			continue;
		}
		LL_DELETE(all, f);
		wait_over(f, err);
	}
	if (again)
		start(m, h);
	else
		handle_idle(m, h);
}

/*
 * Whatever else than writing touches an unborn file commits it first, with the
 * draft so far.  Commands of one session keep their order: the birth goes
 * ahead of what the caller submits next, usually in the same entry.
 */
void
commit_bear(struct mount *m, uint64_t ino)
{
	struct knode *node = kview_find(m->kview, ino);
	struct handle *h;

	if (node == NULL || !node->unborn || node->birth == NULL ||
	    node->birthing)
		return;
	DL_FOREACH (node->handles, h) {
		if (h->creator && h->commit == NULL && h->failed == 0) {
			start(m, h);
			return;
		}
	}
}
