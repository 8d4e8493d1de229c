/*
 * op_name.c: requests that make, remove and move names.
 *
 * Each is one command, decided in the machine against the committed tree; what
 * this host's kernel resolved travels with it.  The kernel holds the inode
 * locks of the directories concerned until we answer, so K's names there stand
 * still: success moves K together with C.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/reason.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

static void finish(struct pending *, const struct outcome *);

/* Every name operation begins so; ino: of LINK, what gets the name.  NULL: it
 * was the helper's and is answered: K moves to what the queue says. */
static struct mount *
begin_entry(fuse_req_t req, uint64_t dir, const char *name, uint64_t ino)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	int err;

	if (!helper)
		return m;
	err = replay_enact_name(m->replay, dir, slice_str(name), ino,
	    SLICE_EMPTY, &ino);
	if (err != 0)
		reply_errno(req, err);
	else
		reply_made(m, req, ino);
	return NULL;
}

static struct mount *
begin_removal(fuse_req_t req, uint64_t dir, const char *name, uint64_t dir2,
    const char *name2)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	uint64_t ino;

	if (!helper)
		return m;
	reply_errno(req, replay_enact_name(m->replay, dir, slice_str(name),
	    dir2, slice_str(name2), &ino));
	return NULL;
}

/* False: already answered. */
static bool
may_change(struct mount *m, fuse_req_t req, uint64_t dir, const char *name)
{
	if (strlen(name) > LIMIT_NAME)
		reply_errno(req, -ENAMETOOLONG);
	else if (dotgov_is(dir) ||
	    (dir == TREE_ROOT && strcmp(name, ".gov") == 0))
		reply_errno(req, -EPERM);
	else if (!mount_writable(m))
		reply_errno(req, -EROFS);
	else
		return true;
	return false;
}

static uint64_t
known_name(struct mount *m, uint64_t dir, const char *name)
{
	struct store_txn *t = mount_view(m);
	uint64_t ino = kview_lookup(m->kview, t, dir, slice_str(name));

	store_abort(t);
	return ino;
}

/* The same, and nothing has that name. */
static bool
may_make(struct mount *m, fuse_req_t req, uint64_t dir, const char *name)
{
	if (!may_change(m, req, dir, name))
		return false;
	if (known_name(m, dir, name) == 0)
		return true;
	reply_errno(req, -EEXIST);
	return false;
}

/* ino: what the name is, as far as the kernel knows, or what is to be linked. */
static struct pending *
name_command(struct mount *m, fuse_req_t req, enum command_kind kind,
    uint64_t dir, const char *name, uint64_t ino)
{
	struct pending *p = pending_new(m, req, kind, finish);

	p->parent = p->ereq.command.dir = dir;
	p->ino = ino;
	pending_name(p, name, NULL);
	p->ereq.command.node = node_of(m, ino);
	return p;
}

/* A new node: mkdir, symlink, mknod.  NULL: already answered. */
static struct pending *
creation(struct mount *m, fuse_req_t req, enum command_kind kind, uint64_t dir,
    const char *name, mode_t mode)
{
	struct pending *p;

	if (!may_make(m, req, dir, name))
		return NULL;
	p = name_command(m, req, kind, dir, name, 0);
	p->ereq.command.ino = session_new_ino(m->conf.session);
	p->ereq.command.mode = mode;
	return p;
}

void
op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
    dev_t dev)
{
	struct mount *m = begin_entry(req, dir, name, 0);
	struct pending *p;

	if (m == NULL)
		return;
	if (!S_ISREG(mode)) {
		reason_note(dir, slice_str(name), 0, -EPERM, "only files, "
		    "directories and symbolic links can be made here");
		reply_errno(req, -EPERM);
		return;
	}
	p = creation(m, req, COMMAND_create, dir, name, mode);
	if (p == NULL)
		return;
	p->ereq.command.flags = CREATE_EXCL;
	pending_submit(p, NULL);
}

void
op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	struct mount *m = begin_entry(req, dir, name, 0);
	struct pending *p;

	if (m == NULL)
		return;
	p = creation(m, req, COMMAND_mkdir, dir, name, S_IFDIR | (mode & 07777));
	if (p != NULL)
		pending_submit(p, NULL);
}

void
op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir,
    const char *name)
{
	struct mount *m = begin_entry(req, dir, name, 0);
	struct pending *p;

	if (m == NULL)
		return;
	if (strlen(target) > LIMIT_SYMLINK) {
		reply_errno(req, -ENAMETOOLONG);
		return;
	}
	p = creation(m, req, COMMAND_symlink, dir, name, S_IFLNK | 0777);
	if (p == NULL)
		return;
	buf_raw(&p->data, target, strlen(target));
	p->ereq.command.data = buf_slice(&p->data);
	pending_submit(p, NULL);
}

void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct mount *m = begin_entry(req, dir, name, ino);

	if (m == NULL)
		return;
	if (dotgov_is(ino)) {
		reply_errno(req, -EPERM);
		return;
	}
	if (!may_make(m, req, dir, name))
		return;
	commit_bear(m, ino);
	pending_submit(name_command(m, req, COMMAND_link, dir, name, ino),
	    NULL);
}

/* An unborn name goes without anybody else hearing of it. */
static bool
drop_unborn(struct mount *m, fuse_req_t req, uint64_t dir, const char *name,
    uint64_t ino)
{
	struct knode *node = kview_find(m->kview, ino);
	struct store_txn *t;
	struct handle *h;

	if (node == NULL || !node->unborn || node->birthing)
		return false;
	free(node->birth);
	node->birth = NULL;
	node->displaced = true;
	node->attr.nlink = 0;
	DL_FOREACH (node->handles, h)
		h->creator = false;
	t = mount_view(m);
	kview_set(m->kview, t, dir, slice_str(name), 0);
	store_abort(t);
	reply_errno(req, 0);
	return true;
}

void
op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = begin_removal(req, dir, name, 0, "");
	uint64_t ino;

	if (m == NULL || !may_change(m, req, dir, name))
		return;
	ino = known_name(m, dir, name);
	/* Looked up before its creation was replayed (lookup_early): watchers
	 * have not heard of it yet. */
	if (ino == 0) {
		reply_stale(m, req, COMMAND_unlink, dir, -ENOENT);
		return;
	}
	if (drop_unborn(m, req, dir, name, ino))
		return;
	pending_submit(name_command(m, req, COMMAND_unlink, dir, name, ino),
	    NULL);
}

/* Names that K has and C has not count: files not born yet. */
static bool
has_names(struct mount *m, uint64_t dir)
{
	struct store_txn *t = mount_view(m);
	bool empty = kview_empty(m->kview, t, dir);

	store_abort(t);
	return !empty;
}

void
op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = begin_removal(req, dir, name, 0, "");
	uint64_t ino;

	if (m == NULL || !may_change(m, req, dir, name))
		return;
	ino = known_name(m, dir, name);
	if (ino != 0 && has_names(m, ino)) {
		reply_errno(req, -ENOTEMPTY);
		return;
	}
	pending_submit(name_command(m, req, COMMAND_rmdir, dir, name, ino),
	    NULL);
}

static uint32_t
rename_flags(unsigned flags)
{
	return (flags & RENAME_NOREPLACE ? RENAME_FLAG_NOREPLACE : 0) |
	    (flags & RENAME_EXCHANGE ? RENAME_FLAG_EXCHANGE : 0);
}

void
op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t dir2,
    const char *name2, unsigned flags)
{
	struct mount *m = begin_removal(req, dir, name, dir2, name2);
	struct pending *p;
	uint64_t ino, ino2;

	if (m == NULL)
		return;
	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
		reply_errno(req, -EINVAL);
		return;
	}
	if (!may_change(m, req, dir, name) ||
	    !may_change(m, req, dir2, name2))
		return;
	ino = known_name(m, dir, name);
	ino2 = known_name(m, dir2, name2);
	if (ino2 != 0 && (flags & RENAME_NOREPLACE) != 0) {
		reply_errno(req, -EEXIST);
		return;
	}
	if (ino2 != 0 && (flags & RENAME_EXCHANGE) == 0 && has_names(m, ino2)) {
		reply_errno(req, -ENOTEMPTY);
		return;
	}
	/* An unborn target, too: dropped now, it would be missed if the rename
	 * were refused. */
	commit_bear(m, ino);
	commit_bear(m, ino2);
	p = name_command(m, req, COMMAND_rename, dir, name, ino);
	pending_name(p, name, name2);
	p->ereq.command.dir2 = dir2;
	p->ereq.command.node2 = node_of(m, ino2);
	p->ereq.command.flags = rename_flags(flags);
	pending_submit(p, NULL);
}

static bool
makes_name(const struct command *c)
{
	return c->kind == COMMAND_create || c->kind == COMMAND_mkdir ||
	    c->kind == COMMAND_symlink || c->kind == COMMAND_link;
}

/* What the call says where the name is not as its kernel showed it. */
static int
natural(const struct command *c)
{
	return makes_name(c) || (c->kind == COMMAND_rename &&
	    (c->flags & RENAME_FLAG_NOREPLACE) != 0) ? -EEXIST : -ENOENT;
}

static void
finish(struct pending *p, const struct outcome *outcome)
{
	const struct command *c = &p->ereq.command;

	/* Rule P: the name changed after what this kernel had been told. */
	if (outcome->err == -ESTALE && !outcome->fenced)
		reply_stale(p->mount, p->req, c->kind, p->parent, natural(c));
	else if (outcome->err != 0 || !makes_name(c))
		reply_errno(p->req, outcome->err);
	else
		reply_made(p->mount, p->req,
		    p->ino != 0 ? p->ino : outcome->ino);
	pending_free(p);
}
