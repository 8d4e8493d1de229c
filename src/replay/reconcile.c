/*
 * reconcile.c: driving one name from K to C, whatever has crossed there.
 *
 * A step machine at the queue's head: each call looks at K and C anew and
 * sends at most one operation; the next call sees what came of it.  It moves
 * nodes rather than removing and making them, so that watches live on.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <utlist.h>

#include "replay/replay_internal.h"
#include "tree/tree.h"

/* Steps for one name before others get their turn. */
#define RECONCILE_TRIES 32
/* Turns that a node waits for its new parent before it is moved aside. */
#define PATIENCE 3

enum home { HOME_NONE, HOME_FOUND, HOME_UNREACHABLE };

static bool nobody_sees(struct replay *, struct store_txn *, uint64_t dir,
    uint64_t k, uint64_t c);
static enum reconciled remove_name(struct replay *, struct store_txn *,
    struct op *, uint64_t k);
static enum reconciled move_aside(struct replay *, struct store_txn *,
    uint64_t rev, uint64_t dir, const char *name);
static bool replace(struct replay *, struct store_txn *, struct op *,
    uint64_t k, const struct attr *k_attr);
static enum reconciled make_name(struct replay *, struct store_txn *,
    const struct op *, uint64_t c);
static enum home home_of(struct replay *, struct store_txn *, uint64_t node,
    uint64_t *ret_dir, char ret_name[LIMIT_NAME + 1]);
static bool is_attached(struct replay *, struct store_txn *, uint64_t dir);
static void step_rename(struct replay *, struct store_txn *, uint64_t rev,
    uint64_t dir, const char *name, uint64_t dir2, const char *name2);

static uint64_t
committed(struct store_txn *t, uint64_t dir, struct slice name)
{
	struct tree_name entry;

	return tree_name_get(t, dir, name, &entry) ? entry.ino : 0;
}

enum reconciled
reconcile_step(struct replay *r, struct store_txn *t, struct op *op)
{
	struct kview *kv = r->conf.kview;
	struct slice name = slice_str(op->change.name);
	uint64_t dir = op->change.dir;
	uint64_t k = kview_lookup(kv, t, dir, name);
	uint64_t c = committed(t, dir, name);
	struct attr parent;

	if (k == c)
		return RECONCILE_EQUAL;
	if (!kview_attr(kv, t, dir, &parent) || parent.nlink == 0) {
		kview_set(kv, t, dir, name, c); /* out of anyone's reach */
		return RECONCILE_EQUAL;
	}
	if (!op->force && kview_equal(kv, t, dir, name))
		return RECONCILE_EQUAL;
	if (nobody_sees(r, t, dir, k, c)) {
		kview_set(kv, t, dir, name, c);
		return RECONCILE_EQUAL;
	}
	if (op->tries++ >= RECONCILE_TRIES || !is_attached(r, t, dir))
		return RECONCILE_LATER;
	if (k != 0)
		return remove_name(r, t, op, k);
	return make_name(r, t, op, c);
}

/*
 * A step of ours has moved K on the way to a C that may be another by now.  A
 * name that lagged when the step was sent, and was as C has it for a moment, is
 * none of those that will be looked at.
 */
void
reconcile_moved(struct replay *r, struct store_txn *t)
{
	const struct change *c = &r->current, *op = &r->queue->change;
	uint64_t dirs[] = {c->dir, c->dir2};
	const char *names[] = {c->name, c->name2};

	for (unsigned i = 0; i < 2 && r->behind_rev != 0; i++)
		if (names[i][0] != '\0' && !(dirs[i] == op->dir &&
		    strcmp(names[i], op->name) == 0) &&
		    kview_is_astray(r->conf.kview, t, dirs[i],
			slice_str(names[i])))
			replay_push_reconcile(r, r->queue->rev, dirs[i],
			    names[i], false, false);
}

void
replay_displace(struct replay *r, struct knode *node, uint64_t dir,
    const char *name)
{
	struct change c = {.kind = CHANGE_UNLINK, .dir = dir,
	    .node = node->ino};

	node->displaced = true;
	memcpy(c.name, name, strlen(name) + 1);
	replay_send(r, &c, HELPER_UNLINK, dir, name, 0, "", false);
}

/*
 * Nobody has been there: the kernel need not be told.  Not so of a directory
 * that has, or is to have, another name: it moves, with all that is below it,
 * and somebody may have been where that is.
 */
static bool
nobody_sees(struct replay *r, struct store_txn *t, uint64_t dir, uint64_t k,
    uint64_t c)
{
	struct kview *kv = r->conf.kview;
	struct attr attr;

	if (kview_reached(kv, dir) || kview_reached(kv, k) ||
	    kview_reached(kv, c))
		return false;
	if (c != 0 && kview_attr(kv, t, c, &attr) && S_ISDIR(attr.mode) &&
	    (kview_has_name(kv, t, c) || kview_is_below(kv, t, dir, c)))
		return false;
	return k == 0 || !kview_attr(kv, t, k, &attr) ||
	    !S_ISDIR(attr.mode) ||
	    (!tree_node_get(t, k, &attr) && kview_empty(kv, t, k));
}

static bool
is_attached(struct replay *r, struct store_txn *t, uint64_t dir)
{
	return kview_is_below(r->conf.kview, t, dir, TREE_ROOT);
}

struct child_list {
	char (*names)[LIMIT_NAME + 1];
	unsigned n, cap;
};

static void
collect(void *arg, const char *name, uint64_t ino)
{
	struct child_list *l = arg;

	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 16 : 2 * l->cap;
		l->names = realloc(l->names, l->cap * sizeof *l->names);
		assert(l->names != NULL);
	}
	memcpy(l->names[l->n++], name, strlen(name) + 1);
}

static void
aside_name(uint64_t ino, char ret[LIMIT_NAME + 1])
{
	snprintf(ret, LIMIT_NAME + 1, ".govfs-moving-%" PRIx64, ino);
}

/* K has a node under the name that C has not there. */
static enum reconciled
remove_name(struct replay *r, struct store_txn *t, struct op *op, uint64_t k)
{
	struct kview *kv = r->conf.kview;
	struct knode *node = kview_find(kv, k), *there;
	struct change step = {.kind = CHANGE_UNLINK, .dir = op->change.dir,
	    .node = k};
	struct child_list children = {0};
	struct attr attr = {0}, c;
	uint64_t home;
	char home_name[LIMIT_NAME + 1], aside[LIMIT_NAME + 1];

	if (node != NULL && node->unborn) {
		replay_displace(r, node, op->change.dir, op->change.name);
		return RECONCILE_STEP;
	}
	switch (home_of(r, t, k, &home, home_name)) {
	case HOME_FOUND:
		there = kview_find(kv, kview_lookup(kv, t, home,
		    slice_str(home_name)));
		if (there != NULL && kview_is_ghost(there))
			replay_displace(r, there, home, home_name);
		else
			step_rename(r, t, op->rev, op->change.dir,
			    op->change.name, home, home_name);
		return RECONCILE_STEP;
	case HOME_UNREACHABLE:
		/* Its new parent is on its way into K, most likely. */
		aside_name(k, aside);
		if (op->rounds < PATIENCE ||
		    strcmp(op->change.name, aside) == 0)
			return RECONCILE_LATER;
		if (kview_lookup(kv, t, op->change.dir, slice_str(aside)) == k)
			break; /* a further name of it waits there */
		return move_aside(r, t, op->rev, op->change.dir,
		    op->change.name);
	case HOME_NONE:
		break;
	}
	memcpy(step.name, op->change.name, sizeof step.name);
	if (kview_attr(kv, t, k, &attr) && !tree_node_get(t, k, &c)) {
		step.attr = attr;
		step.attr.nlink = 0;
	}
	if (!S_ISDIR(attr.mode)) {
		if (replace(r, t, op, k, &step.attr))
			return RECONCILE_STEP;
		replay_send(r, &step, HELPER_UNLINK, step.dir, step.name, 0,
		    "", false);
		return RECONCILE_STEP;
	}
	kview_each(kv, t, k, collect, &children);
	for (unsigned i = 0; i < children.n; i++)
		replay_push_reconcile(r, op->rev, k, children.names[i], true,
		    true);
	if (children.n == 0) {
		step.kind = CHANGE_RMDIR;
		replay_send(r, &step, HELPER_RMDIR, step.dir, step.name, 0,
		    "", false);
	}
	free(children.names);
	return RECONCILE_STEP;
}

/*
 * The name that it blocks may be the very one which its new parent is to get.
 */
static enum reconciled
move_aside(struct replay *r, struct store_txn *t, uint64_t rev, uint64_t dir,
    const char *name)
{
	struct kview *kv = r->conf.kview;
	char aside[LIMIT_NAME + 1];

	aside_name(kview_lookup(kv, t, dir, slice_str(name)), aside);
	if (kview_lookup(kv, t, dir, slice_str(aside)) != 0)
		return RECONCILE_LATER;
	replay_push_reconcile(r, rev, dir, aside, false, false);
	step_rename(r, t, rev, dir, name, dir, aside);
	return RECONCILE_STEP;
}

/*
 * A file for a file: as whoever did it elsewhere has most likely seen to, the
 * name is never absent.  The new one is made aside and renamed over the old.
 * false: it can't be done so.  Only where no queued change waits behind us: a
 * node left aside by one more crossing would lead to the next.
 */
static bool
replace(struct replay *r, struct store_txn *t, struct op *op, uint64_t k,
    const struct attr *k_attr)
{
	struct kview *kv = r->conf.kview;
	struct change step = {.kind = CHANGE_RENAME, .dir2 = op->change.dir,
	    .node2 = k, .attr2 = *k_attr};
	struct op aside = {.change = {.dir = op->change.dir}};
	char *name = aside.change.name;

	if (r->behind_rev == 0)
		return false;
	step.node = committed(t, op->change.dir, slice_str(op->change.name));
	if (step.node == 0 || !kview_attr(kv, t, step.node, &step.attr) ||
	    S_ISDIR(step.attr.mode))
		return false;
	if (kview_name_of(kv, t, step.node, &step.dir, step.name)) {
		if (committed(t, step.dir, slice_str(step.name)) == step.node)
			return false; /* it is to get a further name */
		memcpy(step.name2, op->change.name, sizeof step.name2);
		replay_send(r, &step, HELPER_RENAME, step.dir, step.name,
		    step.dir2, step.name2, false);
		return true;
	}
	aside_name(step.node, name);
	if (kview_lookup(kv, t, op->change.dir, slice_str(name)) != 0)
		return false;
	replay_push_reconcile(r, op->rev, op->change.dir, name, false, false);
	make_name(r, t, &aside, step.node);
	return true;
}

/* C has a node under a name that is free in K. */
static enum reconciled
make_name(struct replay *r, struct store_txn *t, const struct op *op,
    uint64_t c)
{
	enum helper_op how = HELPER_MKNOD;
	struct change step = {.dir = op->change.dir, .node = c};
	struct attr attr;
	uint64_t from;
	char from_name[LIMIT_NAME + 1];

	if (!tree_node_get(t, c, &attr))
		return RECONCILE_STEP; /* C changes only between calls */
	memcpy(step.name, op->change.name, sizeof step.name);
	step.attr = attr;
	if (kview_name_of(r->conf.kview, t, c, &from, from_name)) {
		if (S_ISDIR(attr.mode) &&
		    kview_is_below(r->conf.kview, t, step.dir, c))
			return RECONCILE_LATER; /* what is between moves out */
		if (!is_attached(r, t, from)) {
			/* In what is not made yet: no kernel has it. */
			kview_set(r->conf.kview, t, from, slice_str(from_name),
			    0);
			replay_push_reconcile(r, op->rev, from, from_name,
			    false, false);
			return RECONCILE_STEP;
		}
		if (S_ISDIR(attr.mode) ||
		    committed(t, from, slice_str(from_name)) != c) {
			step_rename(r, t, op->rev, from, from_name, step.dir,
			    step.name);
			return RECONCILE_STEP;
		}
		step.kind = CHANGE_LINK;
		replay_send(r, &step, HELPER_LINK, from, from_name, step.dir,
		    step.name, false);
		return RECONCILE_STEP;
	}
	step.kind = CHANGE_CREATE;
	if (S_ISDIR(attr.mode)) {
		step.kind = CHANGE_MKDIR;
		how = HELPER_MKDIR;
	} else if (S_ISLNK(attr.mode)) {
		step.kind = CHANGE_SYMLINK;
		how = HELPER_SYMLINK;
	} else if (attr.size > 0) {
		how = HELPER_BORN;
	}
	kview_lag_born(r->conf.kview, c);
	replay_send(r, &step, how, step.dir, step.name, 0, "", false);
	return RECONCILE_STEP;
}

/* Where C has the node and K has not: it can be moved there. */
static enum home
home_of(struct replay *r, struct store_txn *t, uint64_t node,
    uint64_t *ret_dir, char ret_name[LIMIT_NAME + 1])
{
	struct kview *kv = r->conf.kview;
	struct slice name = SLICE_EMPTY;
	enum home answer = HOME_NONE;
	uint64_t dir = 0;
	struct attr attr;

	while (tree_backlink_next(t, node, dir, name, &dir, &name)) {
		if (kview_lookup(kv, t, dir, name) == node)
			continue;
		/* A directory the kernel cannot reach yet is no home, nor is
		 * one that is still below it. */
		if (!kview_attr(kv, t, dir, &attr) || attr.nlink == 0 ||
		    !is_attached(r, t, dir) ||
		    kview_is_below(kv, t, dir, node)) {
			answer = HOME_UNREACHABLE;
			continue;
		}
		*ret_dir = dir;
		memcpy(ret_name, name.ptr, name.len);
		ret_name[name.len] = '\0';
		return HOME_FOUND;
	}
	return answer;
}

/*
 * Moves a name within K; what is in its way changes places with it, or goes
 * aside first if it is a directory above it.
 */
static void
step_rename(struct replay *r, struct store_txn *t, uint64_t rev, uint64_t dir,
    const char *name, uint64_t dir2, const char *name2)
{
	struct kview *kv = r->conf.kview;
	struct change step = {.kind = CHANGE_RENAME, .dir = dir,
	    .dir2 = dir2};

	step.node = kview_lookup(kv, t, dir, slice_str(name));
	step.node2 = kview_lookup(kv, t, dir2, slice_str(name2));
	if (step.node2 != 0 && kview_is_below(kv, t, dir, step.node2)) {
		move_aside(r, t, rev, dir2, name2);
		return;
	}
	memcpy(step.name, name, strlen(name) + 1);
	memcpy(step.name2, name2, strlen(name2) + 1);
	kview_attr(kv, t, step.node, &step.attr);
	if (step.node2 != 0) {
		kview_attr(kv, t, step.node2, &step.attr2);
		step.kind = CHANGE_EXCHANGE;
	}
	replay_send(r, &step,
	    step.node2 != 0 ? HELPER_EXCHANGE : HELPER_RENAME, dir, name, dir2,
	    name2, false);
}
