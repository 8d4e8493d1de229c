/*
 * op_node.c: looking up nodes, and their attributes.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

static bool lookup_early(struct mount *, struct store_txn *, uint64_t dir,
    struct slice name, struct attr *ret);
#define FUSE_SET_ATTR_TIMES \
	(FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME | \
	    FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)

static void finish_setattr(struct pending *, const struct outcome *);
static void setattr_draft(struct mount *, fuse_req_t, struct handle *,
    uint64_t ino, uint64_t size);

/*
 * O_TRUNC has the kernel ask for security.capability each time.  Only an inode
 * marked S_NOSEC is spared that; FUSE_HANDLE_KILLPRIV_V2 allows the mark, but a
 * direct write never sets it, so there is nothing to be gained here.
 */
void
op_init(void *arg, struct fuse_conn_info *conn)
{
	conn->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA |
	    FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
	    FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
	    FUSE_CAP_POSIX_ACL | FUSE_CAP_NO_OPEN_SUPPORT |
	    FUSE_CAP_NO_OPENDIR_SUPPORT);
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC |
	    FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
	    FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_IOCTL_DIR |
	    FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_READDIRPLUS |
	    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_READ);
	conn->time_gran = 1;
}

struct mount *
op_begin(fuse_req_t req, bool *ret_helper)
{
	struct mount *m = mount_of(req);
	pid_t tid = fuse_req_ctx(req)->pid;

	*ret_helper = tid != 0 && tid == replay_pid(m->replay);
	return m;
}

uint64_t
node_of(struct mount *m, uint64_t ino)
{
	struct knode *node = kview_find(m->kview, ino);

	return node != NULL && node->alias != 0 ? node->alias : ino;
}

/* "." and "..": the kernel reconnects a directory it knows only by number. */
static uint64_t
lookup_dots(struct mount *m, struct store_txn *t, uint64_t dir,
    const char *name)
{
	uint64_t parent;
	char own[LIMIT_NAME + 1];

	if (name[1] == '\0' || dir == TREE_ROOT)
		return dir;
	return kview_name_of(m->kview, t, dir, &parent, own) ? parent : 0;
}

void
op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct fuse_entry_param e = {.entry_timeout = FOR_EVER};
	struct store_txn *t;
	struct attr attr;
	struct tid *tid;
	uint64_t ino;

	if (dotgov_lookup(m, req, dir, name))
		return;
	if (strlen(name) > LIMIT_NAME) {
		reply_errno(req, -ENAMETOOLONG);
		return;
	}
	t = mount_view(m);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		ino = lookup_dots(m, t, dir, name);
	else
		ino = kview_lookup(m->kview, t, dir, slice_str(name));
	if (ino != 0 && kview_attr(m->kview, t, ino, &attr))
		reply_entry_of(m, &attr, &e);
	else if (ino == 0 && !helper && lookup_early(m, t, dir, slice_str(name), &attr)) {
		reply_entry_of(m, &attr, &e);
		e.entry_timeout = 0;
	}
	store_abort(t);
	if (!helper) {
		tid = tid_of(m, fuse_req_ctx(req)->pid);
		tid->lookup_ino = e.ino;
		tid->lookup_cursor = replay_cursor(m->replay);
		tid->lookup_renames = m->n_dir_renames;
	}
	if (e.ino == 0 && m->conf.strict && !helper) {
		park_lookup(m, req, dir, name);
		return;
	}
	if (e.ino != 0)
		reply_remember(m, req, &e);
	if (e.ino != 0 && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
		kview_reach(m->kview, e.ino); /* names below it are kept */
	if (fuse_reply_entry(req, &e) == -ENOENT && e.ino != 0)
		kview_forget(m->kview, e.ino, 1);
}

/*
 * A name whose creation is committed but not replayed: a program that was told
 * EEXIST may look at it.  The helper must still find it absent.  Directories
 * are left out: they must not be reached by two ways.
 */
static bool
lookup_early(struct mount *m, struct store_txn *t, uint64_t dir,
    struct slice name, struct attr *ret)
{
	struct tree_name c;
	uint64_t at;
	char other[LIMIT_NAME + 1];

	if (name.len == 0 || name.len > LIMIT_NAME || name.len == 0 ||
	    !tree_name_get(t, dir, name, &c) ||
	    kview_name_of(m->kview, t, c.ino, &at, other) ||
	    !tree_node_get(t, c.ino, ret) || S_ISDIR(ret->mode))
		return false;
	mount_reveal(m, engine_rev(m->conf.engine));
	return true;
}

static void
forget(struct mount *m, uint64_t ino, uint64_t n)
{
	if (dotgov_is(ino))
		dotgov_forget(m, ino, n);
	else
		kview_forget(m->kview, ino, n);
}

void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(mount_of(req), ino, n);
	fuse_reply_none(req);
}

void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	for (size_t i = 0; i < count; i++)
		forget(mount_of(req), f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

/* The GETATTR that open(2) sends after its CREATE is where it may wait. */
static bool
oneshot(struct mount *m, fuse_req_t req, uint64_t ino)
{
	struct tid *t = tid_find(m, fuse_req_ctx(req)->pid);
	bool hit = t != NULL && t->oneshot_ino == ino && ino != 0;

	if (t != NULL)
		t->oneshot_ino = 0;
	if (hit)
		park_getattr(m, req, ino, t->oneshot_want);
	return hit;
}

static void
reply_draft(struct mount *m, fuse_req_t req, struct handle *h)
{
	struct store_txn *t = mount_view(m);
	struct attr attr;
	struct stat st;

	if (kview_attr(m->kview, t, h->ino, &attr)) {
		attr.size = draft_size(m, h);
		if (h->keep_times) {
			attr.mtime_ns = h->mtime_ns;
			if (h->atime_ns != 0)
				attr.atime_ns = h->atime_ns;
		}
		reply_stat(m, &attr, &st);
		fuse_reply_attr(req, &st, 0);
	} else {
		reply_errno(req, -ENOENT);
	}
	store_abort(t);
}

/* Its writer sees what it has written, everybody else what is committed.
 * (The kernel names the handle only where it seeks to the end.) */
static bool
getattr_draft(struct mount *m, fuse_req_t req, uint64_t ino,
    struct fuse_file_info *fi)
{
	struct knode *node = kview_find(m->kview, ino);
	struct handle *h = handle_get(m, fi);

	if (node == NULL || node->n_dirty == 0)
		return false;
	if (h == NULL || !h->dirty)
		h = handle_dirty_of(m, ino,
		    caller_process(fuse_req_ctx(req)->pid));
	if (h == NULL)
		return false;
	reply_draft(m, req, h);
	return true;
}

void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	if (dotgov_is(ino)) {
		dotgov_reply_attr(m, req, ino);
		return;
	}
	if (oneshot(m, req, ino) || getattr_draft(m, req, ino, fi))
		return;
	if (fuse_req_ctx(req)->pid != replay_pid(m->replay))
		kview_reach(m->kview, ino);
	reply_attr(m, req, ino);
}

static uint64_t
ns_of(struct timespec ts)
{
	return ts.tv_sec < 0 ? 0
			     : (uint64_t)ts.tv_sec * NS_PER_S +
		(uint64_t)ts.tv_nsec;
}

static void
fill_setattr(struct command *c, const struct stat *st, int set)
{
	if (set & FUSE_SET_ATTR_MODE)
		c->flags |= SETATTR_MODE;
	if (set & FUSE_SET_ATTR_UID)
		c->flags |= SETATTR_UID;
	if (set & FUSE_SET_ATTR_GID)
		c->flags |= SETATTR_GID;
	if (set & FUSE_SET_ATTR_ATIME_NOW)
		c->flags |= SETATTR_ATIME_NOW;
	else if (set & FUSE_SET_ATTR_ATIME)
		c->flags |= SETATTR_ATIME;
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		c->flags |= SETATTR_MTIME_NOW;
	else if (set & FUSE_SET_ATTR_MTIME)
		c->flags |= SETATTR_MTIME;
	c->mode = st->st_mode & 07777;
	c->uid = st->st_uid;
	c->gid = st->st_gid;
	c->atime_ns = ns_of(st->st_atim);
	c->mtime_ns = ns_of(st->st_mtim);
}

/* Attributes of this host's kernel alone: those of a file not born yet travel
 * with its birth, those of an open file without names go with it. */
static void
setattr_local(struct mount *m, fuse_req_t req, struct knode *node,
    const struct stat *st, int set)
{
	struct attr *a = &node->attr;
	uint64_t now = clock_wall_ns();

	if (set & FUSE_SET_ATTR_MODE)
		a->mode = (a->mode & S_IFMT) | (st->st_mode & 07777);
	if (set & FUSE_SET_ATTR_UID)
		a->uid = st->st_uid;
	if (set & FUSE_SET_ATTR_GID)
		a->gid = st->st_gid;
	if ((set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) &&
	    node->birth != NULL)
		node->birth->explicit_owner = true;
	if (set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		a->atime_ns = set & FUSE_SET_ATTR_ATIME_NOW
		    ? now
		    : ns_of(st->st_atim);
	if (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		a->mtime_ns = set & FUSE_SET_ATTR_MTIME_NOW
		    ? now
		    : ns_of(st->st_mtim);
		if (node->birth != NULL)
			node->birth->explicit_times =
			    (set & FUSE_SET_ATTR_MTIME_NOW) == 0;
	}
	reply_attr(m, req, node->ino);
}

static bool
is_local(const struct knode *node)
{
	return (node->unborn && node->birth != NULL && !node->birthing) ||
	    (node->own_attr && node->attr.nlink == 0 && node->alias == 0);
}

/* utimens on a file whose draft is still to come: it must outlive the commit
 * (cp -p sets the times before it closes). */
static bool
setattr_times_of_draft(struct mount *m, fuse_req_t req, uint64_t ino,
    const struct stat *st, int set)
{
	struct handle *h;

	if ((set & FUSE_SET_ATTR_MTIME) == 0 ||
	    (set & (FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_MODE |
		FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0)
		return false;
	h = handle_dirty_of(m, ino, caller_process(fuse_req_ctx(req)->pid));
	if (h == NULL)
		return false;
	h->keep_times = true;
	h->mtime_ns = ns_of(st->st_mtim);
	h->atime_ns = set & FUSE_SET_ATTR_ATIME_NOW ? clock_wall_ns()
	    : set & FUSE_SET_ATTR_ATIME		    ? ns_of(st->st_atim)
						    : 0; /* as it is */
	reply_draft(m, req, h);
	return true;
}

void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int set,
    struct fuse_file_info *fi)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct handle *h = handle_get(m, fi);
	struct knode *node = kview_find(m->kview, ino);
	struct pending *p;
	int err;

	if (helper) {
		err = replay_enact_node(m->replay, ino);
		if (err != 0)
			reply_errno(req, err);
		else if (dotgov_is(ino))
			dotgov_reply_attr(m, req, ino);
		else
			reply_attr(m, req, ino);
		return;
	}
	if (dotgov_is(ino)) {
		reply_errno(req, -EPERM);
		return;
	}
	if (h != NULL && lock_lost(m, h)) {
		reply_errno(req, -EIO);
		return;
	}
	if (!mount_writable(m)) {
		reply_errno(req, -EROFS);
		return;
	}
	if ((set & FUSE_SET_ATTR_SIZE) != 0) {
		if (h == NULL)
			h = handle_dirty_of(m, ino,
			    caller_process(fuse_req_ctx(req)->pid));
		if (h != NULL && h->writes) {
			setattr_draft(m, req, h, ino, (uint64_t)st->st_size);
			return;
		}
		commit_bear(m, ino);
		p = pending_new(m, req, COMMAND_truncate, finish_setattr);
		p->ino = ino;
		p->ereq.command.node = node_of(m, ino);
		p->ereq.command.size = (uint64_t)st->st_size;
		pending_submit(p, NULL);
		return;
	}
	if (node != NULL && is_local(node)) {
		setattr_local(m, req, node, st, set);
		return;
	}
	if (setattr_times_of_draft(m, req, ino, st, set))
		return;
	if ((set & ~FUSE_SET_ATTR_TIMES) == 0 &&
	    life_refresh(m, node_of(m, ino), &err)) {
		if (err != 0)
			reply_errno(req, err);
		else
			reply_refreshed(m, req, ino);
		return;
	}
	p = pending_new(m, req, COMMAND_setattr, finish_setattr);
	p->ino = ino;
	p->ereq.command.node = node_of(m, ino);
	fill_setattr(&p->ereq.command, st, set);
	pending_submit(p, NULL);
}

static void
setattr_draft(struct mount *m, fuse_req_t req, struct handle *h, uint64_t ino,
    uint64_t size)
{
	struct store_txn *t;
	struct attr attr;
	struct stat st;
	int err;

	if (size > mount_max_file(m))
		err = -EFBIG;
	else
		err = draft_truncate(m, h, size);
	if (err != 0) {
		handle_refused(m, h, err);
		reply_errno(req, err);
		return;
	}
	t = mount_view(m);
	if (!kview_attr(m->kview, t, ino, &attr))
		attr.ino = 0;
	store_abort(t);
	if (attr.ino == 0) {
		reply_errno(req, -ENOENT);
		return;
	}
	attr.size = size;
	reply_stat(m, &attr, &st);
	fuse_reply_attr(req, &st, 0);
}

static void
finish_setattr(struct pending *p, const struct outcome *outcome)
{
	if (outcome->err != 0)
		reply_errno(p->req, outcome->err);
	else
		reply_attr(p->mount, p->req, p->ino);
	pending_free(p);
}

void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct store_txn *t;
	struct slice target;
	char path[LIMIT_SYMLINK + 1];

	if (dotgov_is(ino)) {
		dotgov_readlink(m, req, ino);
		return;
	}
	t = mount_view(m);
	target = tree_content(t, ino);
	if (target.len > 0)
		memcpy(path, target.ptr, target.len);
	path[target.len] = '\0';
	store_abort(t);
	/* Removed in C, its removal not replayed: the kernel walks again. */
	if (path[0] == '\0')
		reply_errno(req, -ESTALE);
	else
		fuse_reply_readlink(req, path);
}

void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	struct store_txn *t = mount_view(m);
	struct tree_meta meta = {0};
	struct statvfs st = {0};

	tree_meta_get(t, &meta);
	store_abort(t);
	st.f_bsize = st.f_frsize = 4096;
	st.f_blocks = LIMIT_TREE_BYTES / 4096;
	st.f_bfree = st.f_bavail = st.f_blocks - (meta.bytes + 4095) / 4096;
	st.f_files = LIMIT_TREE_INODES;
	st.f_ffree = st.f_favail = st.f_files - meta.n_inodes;
	st.f_namemax = LIMIT_NAME;
	fuse_reply_statfs(req, &st);
}
