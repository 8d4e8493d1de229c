/*
 * op_open.c: opening, making and closing files.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "machine/machine.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

static void finish_create(struct pending *, const struct outcome *);
static void reply_created(struct mount *, fuse_req_t, struct handle *,
    struct fuse_file_info *);

/* A handle with its opener's credentials. */
static struct handle *
new_handle(struct mount *m, fuse_req_t req, struct account *account /* takes */,
    uint64_t ino, int flags)
{
	struct handle *h = handle_new(m, account, ino, flags);

	if (h->writes) {
		caller_credentials(req, &h->cred);
		h->opener = caller_count(m, fuse_req_ctx(req)->pid,
		    &h->n_descriptors);
	}
	return h;
}

/* Where it may be read it shows what is committed now: taken when the request
 * arrives, before it is parked. */
static bool
pin(struct mount *m, struct handle *h)
{
	if ((h->append && !h->reads) || (h->flags & O_TRUNC) != 0)
		return true;
	h->pin = version_pin(m, h);
	return h->pin != NULL;
}

/* A handle on a file that is there; NULL: its caller has been told why not. */
static struct handle *
open_handle(struct mount *m, fuse_req_t req, uint64_t dir, struct slice name,
    uint64_t ino, int flags)
{
	struct account *account = account_take(m, req, dir, name, ino);
	struct handle *h;

	if (account == NULL)
		return NULL;
	h = new_handle(m, req, account, ino, flags);
	if (pin(m, h))
		return h;
	handle_refused(m, h, -ENFILE);
	handle_free(m, h);
	reply_errno(req, -ENFILE);
	return NULL;
}

static bool
open_by_helper(struct mount *m, fuse_req_t req, uint64_t ino,
    struct fuse_file_info *fi)
{
	int err = replay_enact_node(m->replay, ino);

	if (err != 0) {
		reply_errno(req, err);
		return true;
	}
	fi->fh = HELPER_FH;
	fi->direct_io = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
	return true;
}

/* Removed, but this kernel has not been told: it must walk again then. */
static bool
gone_from_c(struct mount *m, const struct knode *node)
{
	struct store_txn *t;
	struct attr attr;
	bool there;

	if (node->unborn || kview_is_plain(m->kview, node))
		return false;
	t = mount_view(m);
	there = tree_node_get(t, node->alias != 0 ? node->alias : node->ino,
	    &attr);
	store_abort(t);
	return !there;
}

void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	uint64_t want = m->revealed;
	struct handle *h;
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY ||
	    (fi->flags & O_TRUNC) != 0;

	if (dotgov_is(ino)) {
		dotgov_open(m, req, ino, helper, fi);
		return;
	}
	if (helper) {
		open_by_helper(m, req, ino, fi);
		return;
	}
	if (writes && !mount_writable(m)) {
		reply_errno(req, -EROFS);
		return;
	}
	h = open_handle(m, req, 0, SLICE_EMPTY, ino, fi->flags);
	if (h == NULL)
		return;
	if (h->pin != NULL && h->pin->rev > want)
		want = h->pin->rev;
	else if (gone_from_c(m, h->node))
		want = engine_rev(m->conf.engine);
	park_open(m, req, h, fi, PARKED_OPEN, want);
}

/* The kernel believes that it makes a file, so it checks no permission. */
static int
existing(struct mount *m, fuse_req_t req, const struct attr *attr, int flags)
{
	struct credentials cred;
	struct stamp stamp = {0};
	int mask = 0;

	if (S_ISDIR(attr->mode))
		return -EISDIR;
	if (!S_ISREG(attr->mode))
		return -ELOOP;
	if ((flags & O_ACCMODE) != O_WRONLY)
		mask |= R_OK;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0)
		mask |= W_OK;
	caller_credentials(req, &cred);
	caller_stamp(&cred, &stamp);
	return machine_access(attr, &stamp, mask);
}

/* Somebody has the name already, though this kernel did not know. */
static void
create_existing(struct mount *m, fuse_req_t req, uint64_t dir,
    const char *name, const struct attr *attr, struct fuse_file_info *fi)
{
	int err = existing(m, req, attr, fi->flags);
	struct store_txn *t;
	struct handle *h;

	if (err == -EISDIR || err == -ELOOP) {
		reply_stale(m, req, COMMAND_create, dir, err);
		return;
	}
	if (err != 0) {
		reply_errno(req, err);
		return;
	}
	h = open_handle(m, req, dir, slice_str(name), attr->ino, fi->flags);
	if (h == NULL)
		return;
	t = mount_view(m);
	kview_set(m->kview, t, dir, slice_str(name), attr->ino);
	store_abort(t);
	mount_reveal(m, attr->rev);
	reply_created(m, req, h, fi);
}

/* A file of this host's kernel only, until its first commit. */
static void
create_unborn(struct mount *m, fuse_req_t req, uint64_t dir, const char *name,
    mode_t mode, struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	uint64_t ino = session_new_ino(m->conf.session), now = clock_wall_ns();
	struct account *account;
	struct store_txn *t;
	struct handle *h;
	struct knode *node;
	struct attr parent = {0};

	if (ino == 0) { /* all are used: the next session has others */
		reply_errno(req, -EROFS);
		return;
	}
	account = account_take(m, req, dir, slice_str(name), 0);
	if (account == NULL)
		return;
	h = new_handle(m, req, account, ino, fi->flags | O_TRUNC);
	h->flags = fi->flags & ~O_TRUNC;
	h->whole = (fi->flags & O_TRUNC) != 0;
	h->creator = true;
	node = h->node;
	t = mount_view(m);
	kview_attr(m->kview, t, dir, &parent);
	node->own_attr = node->unborn = true;
	node->attr = (struct attr){
	    .ino = ino,
	    .mode = S_IFREG | (mode & 07777),
	    .nlink = 1,
	    .uid = ctx->uid,
	    .gid = parent.mode & S_ISGID ? parent.gid : ctx->gid,
	    .atime_ns = now,
	    .mtime_ns = now,
	    .ctime_ns = now,
	};
	node->birth = calloc(1, sizeof *node->birth);
	assert(node->birth != NULL);
	node->birth->dir = dir;
	memcpy(node->birth->name, name, strlen(name) + 1);
	kview_set(m->kview, t, dir, slice_str(name), ino);
	store_abort(t);
	reply_created(m, req, h, fi);
}

void
op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
    struct fuse_file_info *fi)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct store_txn *t;
	struct tree_name c = {0};
	struct attr attr;
	struct account *account;
	struct pending *p;
	uint64_t ino;
	bool there;

	if (strlen(name) > LIMIT_NAME) {
		reply_errno(req, -ENAMETOOLONG);
		return;
	}
	if (helper || dotgov_is(dir) ||
	    (dir == TREE_ROOT && strcmp(name, ".gov") == 0)) {
		reply_errno(req, -EPERM);
		return;
	}
	t = mount_view(m);
	ino = kview_lookup(m->kview, t, dir, slice_str(name));
	if (ino == 0 && tree_name_get(t, dir, slice_str(name), &c))
		ino = c.ino;
	there = ino != 0 && kview_attr(m->kview, t, ino, &attr);
	store_abort(t);
	if (there && (fi->flags & O_EXCL) != 0) {
		mount_reveal(m, engine_rev(m->conf.engine));
		reply_errno(req, -EEXIST);
		return;
	}
	if (there) {
		create_existing(m, req, dir, name, &attr, fi);
		return;
	}
	if (!mount_writable(m)) {
		reply_errno(req, -EROFS);
		return;
	}
	if ((fi->flags & O_EXCL) == 0 &&
	    (fi->flags & O_ACCMODE) != O_RDONLY && !life_at_once(m, dir)) {
		create_unborn(m, req, dir, name, mode, fi);
		return;
	}
	/* Once it is made, it must not fail for want of a handle. */
	account = account_take(m, req, dir, slice_str(name), 0);
	if (account == NULL)
		return;
	p = pending_new(m, req, COMMAND_create, finish_create);
	p->account = account;
	p->parent = dir;
	pending_name(p, name, NULL);
	p->fi = *fi;
	p->ereq.command.dir = dir;
	p->ereq.command.ino = session_new_ino(m->conf.session);
	p->ereq.command.mode = S_IFREG | (mode & 07777);
	p->ereq.command.flags = fi->flags & O_EXCL ? CREATE_EXCL : 0;
	pending_submit(p, NULL);
}

static void
finish_create(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	fuse_req_t req = p->req;
	struct fuse_file_info fi = p->fi;
	struct attr attr = outcome->attr;
	char name[LIMIT_NAME + 1];
	uint64_t dir = p->parent, ino = p->ereq.command.ino;
	int err = outcome->err;
	struct handle *h;

	memcpy(name, p->name, sizeof name);
	if (err == 0 && outcome->ino == ino) {
		h = new_handle(m, req, p->account, ino, fi.flags);
		p->account = NULL;
		h->creator = true;
		(void)pin(m, h); /* if not now, when it is read */
		reply_created(m, req, h, &fi);
		life_begin(m, ino, caller_process(p->tid), false);
	} else if (err == 0) {
		account_drop(m, p->account); /* of the right file, or none */
		p->account = NULL;
		create_existing(m, req, dir, name, &attr, &fi);
	} else if (err == -EISDIR || err == -ELOOP) {
		reply_stale(m, req, COMMAND_create, dir, err);
	} else {
		reply_errno(req, err);
	}
	pending_free(p);
}

/*
 * CREATE itself must not wait for the replay (the kernel holds the directory);
 * with attributes that expire at once, open(2) asks GETATTR before it returns,
 * and that one may (op_getattr).
 */
static void
reply_created(struct mount *m, fuse_req_t req, struct handle *h,
    struct fuse_file_info *fi)
{
	struct store_txn *t = mount_view(m);
	struct fuse_entry_param e;
	struct attr attr = {0};
	struct tid *tid;
	uint64_t want = m->revealed;

	kview_attr(m->kview, t, h->ino, &attr);
	store_abort(t);
	if (attr.rev > want)
		want = attr.rev;
	if (replay_cursor(m->replay) < want) {
		h->node->wait_rev = want;
		tid = tid_of(m, fuse_req_ctx(req)->pid);
		tid->oneshot_ino = h->ino;
		tid->oneshot_want = want;
	}
	if (h->writes && (h->flags & O_TRUNC) != 0)
		draft_truncate(m, h, 0);
	reply_entry_of(m, &attr, &e);
	/* Out of others' reach until the kernel has taken this in, a file not
	 * born yet stays empty until it sees a WRITE or is told of the birth. */
	if (h->node->unborn && h->creator &&
	    h->node->wait_rev <= replay_cursor(m->replay))
		e.attr_timeout = FOR_EVER;
	else
		e.attr_timeout = 0; /* as reply_made() */
	fi->fh = handle_fh(h);
	fi->direct_io = 1;
	fi->noflush = !h->writes && !h->node->has_ranges;
	reply_remember(m, req, &e);
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		kview_forget(m->kview, h->ino, 1);
		commit_released(m, h);
	}
}

void
op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);

	if (h != NULL && h->node != NULL)
		lock_flushed(m, h, fi->lock_owner);
	if (h == NULL || !h->writes)
		reply_errno(req, h != NULL || fi->fh == HELPER_FH ||
			dotgov_is(ino) ? 0 : -EIO);
	else if (lock_lost(m, h))
		reply_errno(req, -EIO);
	else
		commit_flush(m, req, h);
}

void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);

	if (h == NULL || !h->writes)
		reply_errno(req, h != NULL || dotgov_is(ino) ? 0 : -EIO);
	else if (lock_lost(m, h))
		reply_errno(req, -EIO);
	else
		commit_sync(m, req, h, 0);
}

void
op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);

	reply_errno(req, 0);
	if (h == NULL)
		return;
	if (h->node == NULL) {
		handle_free(m, h);
		return;
	}
	lock_released(m, h, fi->flock_release, fi->lock_owner);
	if (m->lives != NULL)
		life_released(m, h);
	commit_released(m, h);
}
