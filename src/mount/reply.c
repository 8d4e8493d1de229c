/*
 * reply.c: answers in the kernel's form.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/metric.h"
#include "mount/mount_internal.h"

#define TTL_ATTR_TIMEOUT 0.5

static void reply_now(const struct reply *);
static void reply_soon(fuse_req_t, struct reply);
static void release(struct mount *);

static struct timespec
timespec_of(uint64_t ns)
{
	return (struct timespec){
	    .tv_sec = (time_t)(ns / 1000000000),
	    .tv_nsec = (long)(ns % 1000000000)};
}

/*
 * The kernel takes one from its link count some time after it has our answer to
 * the helper's UNLINK or RENAME.  Who is told the new count before that makes it
 * arrive at one too few, and link(2) refuses what has none (fs/namei.c); nobody
 * minds one too many, for that moment.
 */
void
reply_stat(struct mount *m, const struct attr *attr, struct stat *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->st_ino = attr->ino;
	ret->st_mode = attr->mode;
	ret->st_nlink = attr->nlink;
	if (attr->nlink > 0 && replay_unlinks(m->replay, attr->ino))
		ret->st_nlink++;
	ret->st_uid = attr->uid;
	ret->st_gid = attr->gid;
	ret->st_size = (off_t)attr->size;
	ret->st_blocks = (blkcnt_t)((attr->size + 511) / 512);
	ret->st_blksize = 4096;
	ret->st_atim = timespec_of(attr->atime_ns);
	ret->st_mtim = timespec_of(attr->mtime_ns);
	ret->st_ctim = timespec_of(attr->ctime_ns);
}

/*
 * 0 while a draft is dirty (its writer sees another size), and until the cursor
 * has reached what a CREATE is to wait for: any answer with a lifetime would
 * suppress the GETATTR that is parked for it.  0 also for a directory where
 * only the helper has been: kview_reach().
 */
static double
attr_timeout(struct mount *m, uint64_t ino)
{
	struct knode *node = kview_find(m->kview, ino);

	if (node != NULL && node->n_lookup > 0 && !node->reached)
		return 0;
	if (node != NULL && (node->n_dirty > 0 || node->unborn ||
	    node->wait_rev > replay_cursor(m->replay)))
		return 0;
	if (replay_unlinks(m->replay, ino))
		return 0;
	if (node != NULL)
		node->told = true;
	/* Refreshes of a ttl file reach us beside the log, within 1 s. */
	return life_is(m, node_of(m, ino), LIFE_TTL) ? TTL_ATTR_TIMEOUT
						     : FOR_EVER;
}

/* A refreshed file's time is soft state, outside the tree. */
static struct attr
shown(struct mount *m, const struct attr *attr)
{
	struct attr a = *attr;
	uint64_t at = engine_refreshed_ns(m->conf.engine,
	    node_of(m, attr->ino));

	if (at > a.mtime_ns)
		a.mtime_ns = at;
	return a;
}

void
reply_entry_of(struct mount *m, const struct attr *attr,
    struct fuse_entry_param *ret)
{
	struct attr now = shown(m, attr);

	memset(ret, 0, sizeof *ret);
	ret->ino = attr->ino;
	ret->generation = 0; /* inode numbers are never reused */
	ret->entry_timeout = FOR_EVER;
	ret->attr_timeout = attr_timeout(m, attr->ino);
	reply_stat(m, &now, &ret->attr);
}

void
reply_remember(struct mount *m, fuse_req_t req, struct fuse_entry_param *e)
{
	pid_t tid = fuse_req_ctx(req)->pid;

	kview_remember(m->kview, e->ino);
	if (tid != 0 && tid == replay_pid(m->replay) &&
	    S_ISDIR(e->attr.st_mode) && !kview_reached(m->kview, e->ino))
		e->attr_timeout = 0;
	else
		kview_reach(m->kview, e->ino);
}

static void
entry(struct mount *m, fuse_req_t req, uint64_t ino, bool made)
{
	struct store_txn *t = mount_view(m);
	struct fuse_entry_param e;
	struct attr attr;
	bool found = kview_attr(m->kview, t, ino, &attr);

	store_abort(t);
	if (!found) {
		reply_errno(req, -ENOENT);
		return;
	}
	reply_entry_of(m, &attr, &e);
	if (made)
		e.attr_timeout = 0;
	reply_remember(m, req, &e);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		kview_forget(m->kview, ino, 1); /* the caller is gone */
}

void
reply_entry(struct mount *m, fuse_req_t req, uint64_t ino)
{
	entry(m, req, ino, false);
}

void
reply_made(struct mount *m, fuse_req_t req, uint64_t ino)
{
	entry(m, req, ino, true);
}

static void
attributes(struct mount *m, fuse_req_t req, uint64_t ino, bool refreshed)
{
	struct store_txn *t = mount_view(m);
	struct attr attr;
	struct stat st;
	bool found = kview_attr(m->kview, t, ino, &attr);

	store_abort(t);
	if (!found) {
		reply_errno(req, -ENOENT);
		return;
	}
	attr = shown(m, &attr);
	reply_stat(m, &attr, &st);
	fuse_reply_attr(req, &st, refreshed ? 0 : attr_timeout(m, ino));
}

void
reply_attr(struct mount *m, fuse_req_t req, uint64_t ino)
{
	attributes(m, req, ino, false);
}

void
reply_refreshed(struct mount *m, fuse_req_t req, uint64_t ino)
{
	attributes(m, req, ino, true);
}

void
reply_errno(fuse_req_t req, int err)
{
	if (err == -ESTALE)
		metric_add(METRIC_estale, 1);
	reply_soon(req, (struct reply){.req = req, .err = -err});
}

void
reply_write(fuse_req_t req, size_t n)
{
	reply_soon(req, (struct reply){.req = req, .is_write = true, .n = n});
}

static void
reply_now(const struct reply *r)
{
	if (r->is_write)
		fuse_reply_write(r->req, r->n);
	else
		fuse_reply_err(r->req, r->err);
}

static void
reply_soon(fuse_req_t req, struct reply r)
{
	struct mount *m = mount_of(req);

	if (!m->holding) {
		reply_now(&r);
		return;
	}
	if (m->n_replies == LIMIT_TURN_REPLIES)
		release(m);
	m->replies[m->n_replies++] = r;
}

static void
release(struct mount *m)
{
	for (unsigned i = 0; i < m->n_replies; i++)
		reply_now(&m->replies[i]);
	m->n_replies = 0;
}

void
reply_hold(struct mount *m)
{
	m->holding = true;
}

void
reply_release(struct mount *m)
{
	release(m);
	m->holding = false;
}

void
reply_stale(struct mount *m, fuse_req_t req, uint32_t op, uint64_t dir,
    int natural)
{
	struct tid *t = tid_of(m, fuse_req_ctx(req)->pid);

	if (t->stale_op == op && t->stale_dir == dir) {
		t->stale_op = 0;
		reply_errno(req, natural);
		return;
	}
	t->stale_op = op;
	t->stale_dir = dir;
	reply_errno(req, -ESTALE);
}
