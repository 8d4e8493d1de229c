/*
 * step.c: small decisions and changes that several commands share.
 */
#include "config.h"

#include "machine/step.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "machine/machine.h"

static void remove_node(struct step *, const struct attr *);

int
step_refuse(struct step *s, int err, const char *reason)
{
	assert(err < 0 && !s->changed);
	s->out->reason = reason;
	return err;
}

void
step_answer(struct step *s, const struct attr *a)
{
	s->out->ino = a->ino;
	s->out->attr = *a;
}

struct change *
step_change(struct step *s, enum change_kind kind)
{
	struct change *ch = outcome_add(s->out, kind);

	ch->rev = s->rev;
	ch->aside = s->aside;
	s->changed = true;
	return ch;
}

void
step_name_of(struct step *s, uint64_t ino, struct change *ch)
{
	struct slice name;

	if (tree_backlink_next(s->txn, ino, 0, SLICE_EMPTY, &ch->dir, &name))
		dir_set_name(ch->name, name);
}

bool
step_in_group(const struct stamp *st, uint32_t gid)
{
	if (st->gid == gid)
		return true;
	for (uint32_t i = 0; i < st->n_groups; i++) {
		if (st->groups[i] == gid)
			return true;
	}
	return false;
}

bool
step_owner(const struct stamp *st, const struct attr *a)
{
	return st->privileged || st->uid == a->uid;
}

int
step_dir(struct step *s, uint64_t dir, struct attr *ret)
{
	if (!tree_node_get(s->txn, dir, ret))
		return step_refuse(s, -ENOENT,
		    "the directory has been removed");
	if (!S_ISDIR(ret->mode))
		return step_refuse(s, -ENOTDIR, "the parent is no directory");
	return 0;
}

int
step_may_make(struct step *s, const struct attr *dir)
{
	if (machine_access(dir, &s->c->stamp, W_OK | X_OK) != 0)
		return step_refuse(s, -EACCES,
		    "the directory's mode doesn't allow it");
	return 0;
}

int
step_may_remove(struct step *s, const struct attr *dir,
    const struct attr *victim)
{
	int err = step_may_make(s, dir);

	if (err != 0)
		return err;
	if ((dir->mode & S_ISVTX) && !step_owner(&s->c->stamp, dir) &&
	    !step_owner(&s->c->stamp, victim))
		return step_refuse(s, -EPERM,
		    "the directory is sticky: only owners remove names");
	return 0;
}

void
step_touch_dir(struct step *s, struct attr *dir)
{
	dir->mtime_ns = dir->ctime_ns = s->now_ns;
	dir->rev = dir->attr_rev = s->rev;
	tree_node_put(s->txn, dir);
	s->changed = true;
}

int
step_may_be_born(struct step *s, const struct attr *dir)
{
	uint64_t ino = s->c->ino;
	struct attr a;

	if (ino <= s->range || ino - s->range > UINT32_MAX)
		return step_refuse(s, -EINVAL,
		    "the inode number is not of the session's range");
	if (tree_node_get(s->txn, ino, &a))
		return step_refuse(s,
		    s->c->kind == COMMAND_birth ? -EEXIST : -EINVAL,
		    "the inode number is in use");
	if (s->meta.n_inodes >= s->meta.settings.tree_inodes)
		return step_refuse(s, -EDQUOT,
		    "the tree's quota of inodes is used up");
	return 0;
}

struct attr
step_new_node(struct step *s, const struct attr *dir, uint32_t mode,
    uint64_t ino)
{
	const struct stamp *st = &s->c->stamp;
	struct attr a = {
		.ino = ino, .mode = mode, .nlink = 1,
		.uid = st->uid, .gid = st->gid,
		.rev = s->rev, .attr_rev = s->rev, .atime_ns = s->now_ns,
		.mtime_ns = s->now_ns, .ctime_ns = s->now_ns,
	};

	if (dir->mode & S_ISGID) {
		a.gid = dir->gid;
		if (S_ISDIR(mode))
			a.mode |= S_ISGID;
		else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
		    !st->privileged && !step_in_group(st, dir->gid))
			a.mode &= ~(uint32_t)S_ISGID;
	}
	s->meta.n_inodes++;
	s->changed = true;
	return a;
}

void
step_lose_name(struct step *s, const struct attr *old, const struct attr *now)
{
	if (now->nlink == 0) {
		remove_node(s, old);
		return;
	}
	tree_node_put(s->txn, now);
	s->meta.bytes -= LIMIT_LINK_BYTES;
}

static void
remove_node(struct step *s, const struct attr *a)
{
	struct slice name, value;
	uint8_t copy[LIMIT_XATTR_NAME];
	struct tree_lock lock;

	step_count_guard(s, a->ino, -1);
	while (tree_xattr_next(s->txn, a->ino, SLICE_EMPTY, &name, &value)) {
		s->meta.bytes -= tree_xattr_bytes(name, value);
		memcpy(copy, name.ptr, name.len);
		tree_xattr_del(s->txn, a->ino, slice_of(copy, name.len));
	}
	if (!S_ISDIR(a->mode)) {
		tree_content_del(s->txn, a->ino);
		s->meta.bytes -= a->size;
	}
	if (!tree_lock_next(s->txn, a->ino, 0, &lock))
		tree_lock_token_put(s->txn, a->ino, 0);
	tree_life_del(s->txn, a->ino);
	tree_node_del(s->txn, a->ino);
	s->meta.n_inodes--;
}

uint32_t
step_drop_privileges(const struct step *s, const struct attr *a)
{
	const struct stamp *st = &s->c->stamp;
	uint32_t mode = a->mode & ~(uint32_t)S_ISUID;

	if ((mode & S_ISGID) && ((mode & S_IXGRP) ||
	    (!st->privileged && !step_in_group(st, a->gid))))
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

bool
step_is_gov(uint64_t dir, struct slice name)
{
	return dir == TREE_ROOT && slice_eq(name, slice_str(".gov"));
}

int
step_bytes(struct step *s, uint64_t old_size, uint64_t new_size)
{
	uint64_t quota = s->meta.settings.tree_bytes;

	if (new_size <= old_size)
		return 0;
	if (s->meta.bytes > quota ||
	    new_size - old_size > quota - s->meta.bytes)
		return step_refuse(s, -ENOSPC,
		    "the tree's quota of bytes is used up");
	return 0;
}

uint32_t
step_lock_delay_ms(struct step *s, uint64_t node)
{
	struct slice value;
	uint64_t ms;

	if (!tree_xattr_get(s->txn, node, slice_str("gov.lock_delay"), &value) ||
	    !step_duration(value, &ms))
		return 0;
	return ms < LIMIT_LOCK_DELAY_MS ? (uint32_t)ms : LIMIT_LOCK_DELAY_MS;
}

bool
step_duration(struct slice text, uint64_t *ret_ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000},
		{"h", 3600000}, {"d", 86400000},
	};
	const char *p = text.ptr, *end = p + text.len;
	uint64_t n = 0;

	while (p < end && *p >= '0' && *p <= '9' && n < UINT32_MAX)
		n = n * 10 + (uint64_t)(*p++ - '0');
	if (p == text.ptr)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (slice_eq(slice_of(p, (size_t)(end - p)),
		    slice_str(units[i].name))) {
			*ret_ms = n * units[i].ms;
			return true;
		}
	}
	return false;
}

void
step_count_guard(struct step *s, uint64_t ino, int n)
{
	struct tree_locks all;
	struct slice path;

	if (!tree_xattr_get(s->txn, ino, slice_str("gov.guard"), &path))
		return;
	tree_locks_get(s->txn, &all);
	all.n_guards += (uint64_t)n;
	tree_locks_put(s->txn, &all);
}
