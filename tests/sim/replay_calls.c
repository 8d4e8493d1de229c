/*
 * replay_calls.c: the system calls of users, and of the replay helper as in
 * replay_child.c; see replay_sim.h.
 *
 * Functions are named after those of Linux that they are like.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "sim/replay_kernel.h"
#include "tree/tree.h"

/* ---- what system calls have in common ---- */

static int
getattr(struct inode *i)
{
	struct request r = {.call = CALL_GETATTR, .node = i->ino};
	uint64_t version = k.version;
	int err = ask(&r);

	if (err == 0)
		change_attributes(i, &r.entry, version);
	return err;
}

/* fuse_permission(): mode and owner must be known. */
static int
permission(struct inode *i)
{
	return i->fresh && !i->distrusted ? 0 : getattr(i);
}

/* fuse_dir_changed(), fuse_update_ctime(): no newer version, Linux thinks. */
static void
touch(struct inode *i)
{
	i->touched = true;
}

/* fuse_entry_unlinked() */
static void
entry_unlinked(struct inode *i)
{
	i->version = ++k.version;
	if (S_ISDIR(i->mode) || i->attr.nlink <= 1)
		i->attr.nlink = 0;
	else
		i->attr.nlink--;
	i->touched = true;
}

/* filename_create() and vfs_mknod(), vfs_mkdir(), vfs_symlink(), vfs_link() */
static int
do_make(struct inode *dir, const char *name, enum call call, uint32_t mode,
    struct inode *old, unsigned reval)
{
	struct request r = {.call = call, .node = dir->ino, .mode = mode};
	struct dentry *d;
	struct inode *node;
	int err = permission(dir); /* as the walk to it has asked */

	if (err != 0)
		return err;
	lock(dir);
	d = lookup(dir, name, EXCL | reval, true, &err);
	if (d == NULL)
		goto out;
	if (d->node != NULL)
		err = -EEXIST;
	else
		err = permission(dir);
	if (err == 0 && dir->dead)
		err = -ENOENT;
	if (err != 0)
		goto out_put;
	snprintf(r.name, sizeof r.name, "%s", name);
	if (old != NULL) {
		r.node = old->ino;
		r.dir2 = dir->ino;
		lock(old);
	}
	err = ask(&r);
	if (err == 0) {
		node = iget(&r.entry, 0);
		if (old != NULL && node != old)
			broken("LINK of %llu answers %llu",
			    (unsigned long long)old->ino,
			    (unsigned long long)node->ino);
		d_splice(dir, name, node);
		d->hashed = true;
		d->node = node;
		d->lasts = r.entry.lasts;
		touch(dir);
		event_there(dir, name, false);
	} else if (err == -EINTR && old != NULL) {
		old->distrusted = true;
	}
	if (old != NULL)
		unlock(old);
out_put:
	d_put(d);
out:
	unlock(dir);
	return err;
}

/* do_unlinkat(), do_rmdir() */
static int
do_remove(struct inode *dir, const char *name, bool is_dir, unsigned reval)
{
	struct request r = {.call = is_dir ? CALL_RMDIR : CALL_UNLINK,
	    .node = dir->ino};
	struct dentry *d;
	struct inode *victim;
	int err = permission(dir);

	if (err != 0)
		return err;
	lock(dir);
	d = lookup(dir, name, reval, true, &err);
	if (d == NULL)
		goto out;
	victim = d->node;
	if (victim == NULL)
		err = -ENOENT;
	else if (is_dir != (S_ISDIR(victim->mode) != 0))
		err = is_dir ? -ENOTDIR : -EISDIR;
	else
		err = permission(dir);
	if (err != 0)
		goto out_put;
	lock(victim);
	if (is_dir)
		shrink_children(victim);
	snprintf(r.name, sizeof r.name, "%s", name);
	err = ask(&r);
	if (err == 0) {
		touch(dir);
		entry_unlinked(victim);
		victim->dead = is_dir;
		if (is_dir)
			shrink_children(victim);
		if (d->hashed)
			d_drop(d);
		event_gone(dir, name);
	} else if (err == -ENOENT || err == -EINTR) {
		d_invalidate(d);
	}
	unlock(victim);
out_put:
	d_put(d);
out:
	unlock(dir);
	return err;
}

/* Is that directory, or is it below, ... ? */
static bool
is_subdir(const struct inode *dir, const struct inode *of)
{
	struct dentry *d;

	for (unsigned i = 0; i < 32; i++) {
		if (dir == of)
			return true;
		DL_FOREACH (k.dentries, d)
			if (d->node == dir)
				break;
		if (d == NULL)
			return false;
		dir = d->dir;
	}
	return false;
}

static bool
no_renamer(struct task *t)
{
	return k.renamer == NULL;
}

/* lock_rename(): an ancestor first. */
static void
lock_two(struct inode *a, struct inode *b)
{
	if (a == b) {
		lock(a);
		return;
	}
	wait_until(no_renamer);
	k.renamer = k.current;
	if (is_subdir(a, b) || (!is_subdir(b, a) && b->ino < a->ino)) {
		lock(b);
		lock(a);
	} else {
		lock(a);
		lock(b);
	}
}

static void
unlock_two(struct inode *a, struct inode *b)
{
	unlock(a);
	if (a == b)
		return;
	unlock(b);
	k.renamer = NULL;
}

/* vfs_rename(): directories first; not those that stay where they are. */
static void
lock_nodes(struct inode *node, struct inode *target, bool moves, bool exchange,
    struct inode *ret[2])
{
	struct inode *a = !S_ISDIR(node->mode) || moves ? node : NULL;
	struct inode *b = target == NULL ||
		(S_ISDIR(target->mode) && !moves && exchange) ? NULL : target;

	if (a != NULL && b != NULL && (S_ISDIR(a->mode) == S_ISDIR(b->mode)
	    ? b->ino < a->ino : S_ISDIR(b->mode))) {
		a = target;
		b = node;
	}
	if (a != NULL)
		lock(a);
	if (b != NULL)
		lock(b);
	ret[0] = a;
	ret[1] = b;
}

/* vfs_rename() when the file system has done it. */
static void
renamed(struct inode *dir, const char *name, struct inode *dir2,
    const char *name2, struct dentry *d, struct dentry *d2, bool exchange)
{
	struct inode *node = d->node, *target = d2->node;

	touch(node);
	touch(dir);
	touch(dir2);
	if (target != NULL) {
		touch(target);
		if (!exchange) {
			entry_unlinked(target);
			target->dead = S_ISDIR(target->mode);
			if (target->dead)
				shrink_children(target);
		}
	}
	if (!exchange && d2->hashed)
		d_drop(d2);
	d->dir = dir2;
	d->hashed = true;
	snprintf(d->name, sizeof d->name, "%s", name2);
	if (exchange) {
		d2->hashed = true;
		d2->dir = dir;
		snprintf(d2->name, sizeof d2->name, "%s", name);
	}
	event_gone(dir, name);
	event_there(dir2, name2, true);
	if (exchange) /* MOVED_FROM name2 means nothing then */
		event_there(dir, name, true);
}

/* do_renameat2() with both directories locked. */
static int
rename_locked(struct inode *dir, const char *name, struct inode *dir2,
    const char *name2, unsigned flags, unsigned reval)
{
	struct request r = {.call = CALL_RENAME, .node = dir->ino,
	    .dir2 = dir2->ino, .flags = flags};
	bool exchange = flags & RENAME_EXCHANGE;
	struct dentry *d, *d2 = NULL;
	struct inode *node, *target, *locked[2];
	int err = 0;

	d = lookup(dir, name, reval, true, &err);
	if (d == NULL)
		return err;
	d2 = lookup(dir2, name2, reval | (exchange ? 0 : TARGET) |
	    (flags & RENAME_NOREPLACE ? EXCL : 0), true, &err);
	if (d2 == NULL)
		goto out;
	node = d->node;
	target = d2->node;
	err = node == NULL || (exchange && target == NULL) ? -ENOENT
	    : target != NULL && (flags & RENAME_NOREPLACE) ? -EEXIST
	    : is_subdir(dir2, node) ? -EINVAL
	    : target != NULL && is_subdir(dir, target)
	    ? exchange ? -EINVAL : -ENOTEMPTY
	    : dir2->dead ? -ENOENT
	    : 0;
	if (err != 0 || node == target)
		goto out;
	if (target != NULL && !exchange &&
	    S_ISDIR(node->mode) != S_ISDIR(target->mode)) {
		err = S_ISDIR(node->mode) ? -ENOTDIR : -EISDIR;
		goto out;
	}
	err = permission(dir);
	if (err == 0)
		err = permission(dir2);
	if (err != 0)
		goto out;
	lock_nodes(node, target, dir != dir2, exchange, locked);
	if (target != NULL && S_ISDIR(target->mode) && !exchange)
		shrink_children(target);
	snprintf(r.name, sizeof r.name, "%s", name);
	snprintf(r.name2, sizeof r.name2, "%s", name2);
	err = ask(&r);
	if (err == 0) {
		renamed(dir, name, dir2, name2, d, d2, exchange);
	} else if (err == -ENOENT || err == -EINTR) {
		d_invalidate(d);
		if (target != NULL)
			d_invalidate(d2);
	}
	for (unsigned i = 0; i < 2; i++)
		if (locked[i] != NULL)
			unlock(locked[i]);
out:
	d_put(d);
	if (d2 != NULL)
		d_put(d2);
	return err;
}

static int
do_rename(struct inode *dir, const char *name, struct inode *dir2,
    const char *name2, unsigned flags, unsigned reval)
{
	int err = permission(dir);

	if (err == 0)
		err = permission(dir2);
	if (err != 0)
		return err;
	lock_two(dir, dir2);
	err = rename_locked(dir, name, dir2, name2, flags, reval);
	unlock_two(dir, dir2);
	return err;
}

/* notify_change(), fuse_do_setattr() */
static int
do_setattr(struct inode *i, bool chmods, uint32_t mode, uint64_t size)
{
	struct request r = {.call = CALL_SETATTR, .node = i->ino,
	    .chmods = chmods, .mode = mode, .size = size};
	int err;

	lock(i);
	err = ask(&r);
	if (err == 0)
		change_attributes(i, &r.entry, 0);
	unlock(i);
	return err;
}

/* What a name is, pinned; NULL and an errno. */
static struct inode *
node_of(struct inode *dir, const char *name, unsigned reval, int *ret_err)
{
	struct inode *node = NULL;
	struct dentry *d;

	*ret_err = permission(dir);
	if (*ret_err != 0)
		return NULL;
	d = lookup(dir, name, reval, false, ret_err);
	if (d == NULL)
		return NULL;
	node = d->node;
	if (node == NULL)
		*ret_err = -ENOENT;
	else
		node->n_pins++;
	d_put(d);
	return node;
}

/* READDIRPLUS: fuse_direntplus_link() of each name. */
static int
do_list(struct inode *dir)
{
	struct listing *l = calloc(1, sizeof *l);
	struct request r = {.call = CALL_READDIRPLUS, .node = dir->ino,
	    .listing = l};
	uint64_t version;
	struct dentry *d;
	struct inode *node;
	int err;

	lock_shared(dir);
	version = k.version;
	err = dir->dead ? -ENOENT : ask(&r);
	if (err == 0 && dir->watch != NULL && !dir->watch->listed) {
		dir->watch->listed = true;
		for (unsigned i = 0; i < l->n; i++)
			watch_add(dir->watch, l->listed[i].name);
	}
	for (unsigned i = 0; err == 0 && i < l->n; i++) {
		struct entry *e = &l->listed[i].entry;

		if (e->ino == 0)
			continue;
		for (;;) {
			d = dentry_find(dir, l->listed[i].name);
			if (d == NULL || !d->looking)
				break;
			d->n_refs++;
			k.current->awaits = d;
			wait_until(looked_up);
			d_put(d);
		}
		if (d != NULL && (d->node == NULL || d->node->ino != e->ino)) {
			d_invalidate(d);
			d = NULL;
		}
		node = iget(e, version);
		if (d == NULL) {
			d_splice(dir, l->listed[i].name, node);
			d = dentry_new(dir, l->listed[i].name, node, e->lasts);
		}
		d->lasts = e->lasts;
	}
	unlock_shared(dir);
	free(l);
	return err;
}

/* open(2), write(2) and close(2) of a file that is there. */
static int
do_write(struct inode *i, uint64_t size)
{
	struct request r = {.call = CALL_OPEN, .node = i->ino};
	int err = permission(i);

	if (err == 0)
		err = ask(&r);
	if (err != 0)
		return err;
	lock(i);
	r = (struct request){.call = CALL_WRITE, .node = i->ino};
	err = ask(&r);
	if (err == 0) { /* fuse_write_update_attr() */
		i->version = ++k.version;
		i->attr.size = size;
		i->touched = true;
	}
	unlock(i);
	if (err == 0) {
		r = (struct request){.call = CALL_FLUSH, .node = i->ino,
		    .size = size};
		err = ask(&r);
	}
	r = (struct request){.call = CALL_RELEASE, .node = i->ino};
	k.current->killed = false; /* RELEASE is sent in any case */
	ask(&r);
	return err;
}

/* open(2) with O_CREAT: lookup_open(), fuse_create_open() */
static int
do_create(struct inode *dir, const char *name, bool excl, unsigned reval,
    uint64_t size)
{
	struct request r = {.call = CALL_CREATE, .node = dir->ino,
	    .flags = excl ? O_EXCL : 0, .mode = S_IFREG | 0644};
	struct dentry *d;
	struct inode *node = NULL;
	bool made = false;
	int err;

	err = permission(dir);
	if (err != 0)
		return err;
	lock(dir);
	d = lookup(dir, name, reval, true, &err);
	if (d == NULL)
		goto out;
	if (d->node != NULL) {
		node = d->node;
		err = excl ? -EEXIST : S_ISREG(node->mode) ? 0 : -EISDIR;
	} else if (dir->dead) {
		err = -ENOENT;
	} else {
		snprintf(r.name, sizeof r.name, "%s", name);
		err = ask(&r);
		if (err == 0) {
			made = true;
			node = iget(&r.entry, 0);
			d->node = node;
			d->lasts = r.entry.lasts;
			touch(dir);
			event_there(dir, name, false);
		}
	}
	if (err == 0)
		node->n_pins++;
	d_put(d);
out:
	unlock(dir);
	if (err != 0)
		return err;
	if (made) {
		lock(node);
		r = (struct request){.call = CALL_WRITE, .node = node->ino};
		if (size > 0 && ask(&r) == 0) {
			node->version = ++k.version;
			node->attr.size = size;
			node->touched = true;
		}
		unlock(node);
		r = (struct request){.call = CALL_FLUSH, .node = node->ino,
		    .size = size};
		err = ask(&r);
		k.current->killed = false;
		r = (struct request){.call = CALL_RELEASE, .node = node->ino};
		ask(&r);
	} else {
		err = do_write(node, size);
	}
	node->n_pins--;
	return err;
}

/* ---- the helper: replay_child.c ---- */

/* reconnect_path(): a directory that the kernel has forgotten gets its place in
 * the tree again. */
static int
reconnect(struct inode *dir)
{
	struct request r;
	struct listing *l;
	struct inode *parent;
	struct dentry *d;
	const char *name = NULL;
	int err;

	if (dir == k.root || alias_of(dir) != NULL || dir->dead)
		return 0;
	err = ask_lookup(dir, "..", &r);
	if (err != 0 || r.entry.ino == 0)
		return -ESTALE;
	parent = r.entry.ino == TREE_ROOT ? k.root : iget(&r.entry, 0);
	parent->n_pins++;
	l = calloc(1, sizeof *l);
	r = (struct request){.call = CALL_READDIRPLUS, .node = parent->ino,
	    .listing = l};
	err = reconnect(parent);
	if (err == 0)
		err = permission(parent);
	lock_shared(parent);
	if (err == 0)
		err = ask(&r);
	unlock_shared(parent);
	for (unsigned i = 0; err == 0 && i < l->n; i++) {
		if (l->listed[i].entry.ino != 0)
			forget(l->listed[i].entry.ino, 1);
		if (l->listed[i].entry.ino == dir->ino)
			name = l->listed[i].name;
	}
	if (err == 0 && name == NULL)
		err = -ESTALE;
	if (err == 0) {
		d = lookup(parent, name, 0, false, &err);
		if (d != NULL) {
			err = d->node == dir ? 0 : -ESTALE;
			d_put(d);
		}
	}
	parent->n_pins--;
	free(l);
	return err;
}

/* open_by_handle_at(2) */
static struct inode *
open_dir(uint64_t ino, int *ret_err)
{
	struct inode *dir = ino == TREE_ROOT ? k.root : ilookup(ino);
	uint64_t version = k.version;
	struct request r = {.call = CALL_LOOKUP, .node = ino, .name = "."};

	if (dir == NULL) {
		*ret_err = ask(&r);
		if (*ret_err == 0 && r.entry.ino != ino)
			*ret_err = -ESTALE;
		if (*ret_err != 0)
			return NULL;
		dir = iget(&r.entry, version);
	}
	dir->n_pins++;
	*ret_err = reconnect(dir);
	if (*ret_err == 0)
		return dir;
	dir->n_pins--;
	return NULL;
}

static int
enact_node(struct inode *dir, const char *name, bool opens, unsigned reval)
{
	struct request r;
	struct inode *node;
	int err;

	node = node_of(dir, name, reval, &err);
	if (node == NULL)
		return err;
	if (opens && S_ISLNK(node->mode)) {
		err = -ELOOP;
	} else if (opens) {
		r = (struct request){.call = CALL_OPEN, .node = node->ino};
		err = ask(&r);
	}
	if (err == 0)
		err = do_setattr(node, false, 0, 0);
	node->n_pins--;
	return err;
}

/* Each system call: once more with LOOKUP_REVAL. */
#define RETRY(call) \
	({ \
		unsigned reval = 0; \
		int err_ = (call); \
		if (err_ == -ESTALE) { \
			reval = REVAL; \
			err_ = (call); \
		} \
		err_; \
	})

static int
enact(const struct helper_request *q, struct inode *d, struct inode *d2)
{
	struct inode *node;
	int err = 0;

	switch ((enum helper_op)q->op) {
	case HELPER_MKNOD:
	case HELPER_BORN_EMPTY:
		return RETRY(do_make(d, q->name, CALL_MKNOD, 0, NULL, reval));
	case HELPER_BORN:
		err = RETRY(do_make(d, q->name, CALL_MKNOD, 0, NULL, reval));
		if (err != 0)
			return err;
		return RETRY(enact_node(d, q->name, true, reval));
	case HELPER_MKDIR:
		return RETRY(do_make(d, q->name, CALL_MKDIR, 0, NULL, reval));
	case HELPER_SYMLINK:
		return RETRY(do_make(d, q->name, CALL_SYMLINK, 0, NULL, reval));
	case HELPER_LINK:
		node = node_of(d, q->name, 0, &err);
		if (node == NULL)
			return err;
		err = RETRY(do_make(d2, q->name2, CALL_LINK, 0, node,
		    reval));
		node->n_pins--;
		return err;
	case HELPER_UNLINK:
		return RETRY(do_remove(d, q->name, false, reval));
	case HELPER_RMDIR:
		return RETRY(do_remove(d, q->name, true, reval));
	case HELPER_RENAME:
		return RETRY(do_rename(d, q->name, d2, q->name2, 0, reval));
	case HELPER_EXCHANGE:
		return RETRY(do_rename(d, q->name, d2, q->name2,
		    RENAME_EXCHANGE, reval));
	case HELPER_CONTENT:
		return RETRY(enact_node(d, q->name, true, reval));
	case HELPER_ATTRIB:
	case HELPER_MTIME:
	case HELPER_ATIME:
		if (q->name[0] == '\0')
			return do_setattr(d, false, 0, 0);
		return RETRY(enact_node(d, q->name, false, reval));
	case HELPER_TELL:
	case HELPER_TELL_DIR:
		break;
	}
	return -EINVAL;
}

void
kernel_helper(struct task *t)
{
	const struct helper_request *q = &sim.job;
	struct inode *d, *d2 = NULL;

	t->err = 0;
	d = q->name[0] == '\0' ? k.root : open_dir(q->dir, &t->err);
	if (d == NULL)
		return;
	if (q->name[0] == '\0')
		d->n_pins++;
	if (q->name2[0] != '\0')
		d2 = open_dir(q->dir2, &t->err);
	if (t->err == 0)
		t->err = enact(q, d, d2);
	d->n_pins--;
	if (d2 != NULL)
		d2->n_pins--;
}

/* ---- users ---- */

static void
some_name(char name[SIM_NAME])
{
	snprintf(name, SIM_NAME, "n%u", below(4));
}

/* Walks from the root to the directory of a path; pinned. */
static struct inode *
walk(const char path[][SIM_NAME], unsigned n, unsigned reval, int *ret_err)
{
	struct inode *dir = k.root, *next;

	dir->n_pins++;
	for (unsigned i = 0; i < n; i++) {
		next = node_of(dir, path[i], reval, ret_err);
		dir->n_pins--;
		if (next == NULL)
			return NULL;
		dir = next;
		if (!S_ISDIR(dir->mode)) {
			dir->n_pins--;
			*ret_err = -ENOTDIR;
			return NULL;
		}
	}
	*ret_err = 0;
	return dir;
}

struct path {
	char names[4][SIM_NAME];
	unsigned n; /* directories; names[n] is the last name */
};

static void
some_path(struct path *p)
{
	static const unsigned depths[] = {0, 0, 1, 1, 1, 2, 2, 3};

	p->n = depths[below(8)];
	for (unsigned i = 0; i <= p->n; i++)
		some_name(p->names[i]);
}

static void
watch(struct inode *dir)
{
	if (!S_ISDIR(dir->mode) || permission(dir) != 0)
		return;
	if (dir->watch == NULL) {
		dir->watch = calloc(1, sizeof *dir->watch);
		dir->watch->dir = dir;
		dir->n_pins++;
	}
	do_list(dir);
}

static int
on_node(struct inode *dir, const char *name, unsigned op, unsigned reval)
{
	int err;
	struct inode *node = node_of(dir, name, reval, &err);

	if (node == NULL)
		return err;
	switch (op) {
	case 0:
		if (!node->fresh || node->distrusted || node->touched)
			err = getattr(node);
		break;
	case 1:
		err = do_setattr(node, true, 0600 | below(0100), 0);
		break;
	case 2:
		err = !S_ISREG(node->mode) ? -EINVAL
		    : do_setattr(node, false, 0, below(20));
		break;
	case 3:
		err = !S_ISREG(node->mode) ? -EINVAL
		    : do_write(node, 1 + below(20));
		break;
	case 4:
		watch(node);
		break;
	default:
		err = !S_ISDIR(node->mode) ? -ENOTDIR : permission(node);
		if (err == 0)
			err = do_list(node);
	}
	node->n_pins--;
	return err;
}

static int
one_call(unsigned op, const struct path *p, const struct path *p2,
    unsigned reval)
{
	struct inode *dir, *dir2 = NULL, *old;
	const char *name = p->names[p->n], *name2 = p2->names[p2->n];
	int err;

	dir = walk(p->names, p->n, reval, &err);
	if (dir == NULL)
		return err;
	switch (op) {
	case 0:
		err = do_make(dir, name, CALL_MKNOD, S_IFREG | 0644, NULL,
		    reval);
		break;
	case 1:
	case 2:
		err = do_make(dir, name, CALL_MKDIR, S_IFDIR | 0755, NULL,
		    reval);
		break;
	case 3:
		err = do_make(dir, name, CALL_SYMLINK, S_IFLNK | 0777, NULL,
		    reval);
		break;
	case 4:
	case 5:
		err = do_remove(dir, name, false, reval);
		break;
	case 6:
		err = do_remove(dir, name, true, reval);
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		dir2 = walk(p2->names, p2->n, reval, &err);
		if (dir2 != NULL)
			err = do_rename(dir, name, dir2, name2,
			    op == 9 ? RENAME_EXCHANGE : op == 10 ?
			    RENAME_NOREPLACE : 0, reval);
		break;
	case 11:
		dir2 = walk(p2->names, p2->n, reval, &err);
		if (dir2 == NULL)
			break;
		old = node_of(dir, name, reval, &err);
		if (old == NULL)
			break;
		err = S_ISDIR(old->mode) ? -EPERM
		    : do_make(dir2, name2, CALL_LINK, 0, old, reval);
		old->n_pins--;
		break;
	case 12:
	case 13:
		err = do_create(dir, name, op == 13, reval, below(20));
		break;
	default:
		err = on_node(dir, name, op - 14, reval);
	}
	dir->n_pins--;
	if (dir2 != NULL)
		dir2->n_pins--;
	return err;
}

void
kernel_user(struct task *t)
{
	struct path p, p2;
	unsigned op = below(21);

	some_path(&p);
	some_path(&p2);
	trace("task %u: call %u %s/%s/%s/%s %u %s/%s/%s/%s %u", t->id, op,
	    p.names[0], p.names[1], p.names[2], p.names[3], p.n, p2.names[0],
	    p2.names[1], p2.names[2], p2.names[3], p2.n);
	t->err = one_call(op, &p, &p2, 0);
	if (t->err == -ESTALE)
		t->err = one_call(op, &p, &p2, REVAL);
	trace("task %u: call %u: %s", t->id, op, strerror(-t->err));
}
