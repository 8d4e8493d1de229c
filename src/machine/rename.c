/*
 * rename.c: names moved and exchanged, as renameat2(2).
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "machine/life.h"
#include "machine/machine.h"
#include "machine/step.h"

/* One of the two names that a rename is about. */
struct side {
	struct attr dir_old, dir; /* its directory, before and after */
	struct slice name;
	bool exists;		  /* then: */
	struct attr old, node;	  /* what has the name, before and after */
};

static int side_get(struct step *, uint64_t dir, struct slice name,
    struct side *);
static int is_as_seen(struct step *, const struct side *from,
    const struct side *to);
static int is_permitted(struct step *, const struct side *from,
    const struct side *to);
static int is_possible(struct step *, const struct side *from,
    const struct side *to);
static bool too_deep(struct step *, uint64_t ino, uint64_t from, uint64_t to);
static unsigned height(struct step *, uint64_t dir, unsigned max);
static void apply_names(struct step *, struct side *from, struct side *to);
static void apply_dirs(struct step *, struct side *from, struct side *to);
static void report(struct step *, const struct side *from,
    const struct side *to);
static bool is_dir(const struct side *);
static bool is_exchange(const struct step *);

int
dir_rename(struct step *s)
{
	const struct command *c = s->c;
	struct side from, to;
	int err;

	err = side_get(s, c->dir, c->name, &from);
	if (err == 0)
		err = side_get(s, c->dir2, c->name2, &to);
	if (err == 0)
		err = is_as_seen(s, &from, &to);
	if (err != 0)
		return err;
	if (to.exists && to.old.ino == from.old.ino) {
		step_answer(s, &from.old); /* rename(2): nothing happens */
		return 0;
	}
	err = is_permitted(s, &from, &to);
	if (err == 0)
		err = is_possible(s, &from, &to);
	if (err != 0)
		return err;
	apply_names(s, &from, &to);
	apply_dirs(s, &from, &to);
	report(s, &from, &to);
	step_answer(s, &from.node);
	life_emptied(s, from.dir.ino);
	return 0;
}

static int
side_get(struct step *s, uint64_t dir, struct slice name, struct side *ret)
{
	struct side side = {.name = name};
	struct tree_name n;
	int err;

	err = step_dir(s, dir, &side.dir_old);
	if (err != 0)
		return err;
	side.dir = side.dir_old;
	side.exists = tree_name_get(s->txn, dir, name, &n) &&
	    tree_node_get(s->txn, n.ino, &side.old);
	side.node = side.old;
	*ret = side;
	return 0;
}

/* Do both names still mean what the caller's kernel resolved them to?  Files
 * in the way of files may differ; so may one be where it showed none. */
static int
is_as_seen(struct step *s, const struct side *from, const struct side *to)
{
	const struct command *c = s->c;

	if (is_exchange(s) && (c->flags & RENAME_FLAG_NOREPLACE))
		return step_refuse(s, -EINVAL,
		    "NOREPLACE and EXCHANGE exclude each other");
	if (step_is_gov(c->dir2, c->name2))
		return step_refuse(s, -EPERM,
		    "the name .gov in the root is the system's");
	if (!from->exists || (is_exchange(s) && !to->exists))
		return step_refuse(s, -ENOENT, "the name is gone");
	if (from->old.ino != c->node)
		return step_refuse(s, -ESTALE,
		    "the name is another node's than this host showed");
	if (to->exists && (c->flags & RENAME_FLAG_NOREPLACE))
		return step_refuse(s, -EEXIST, "the new name exists");
	if (to->exists) {
		if ((is_exchange(s) || is_dir(from) || is_dir(to)) &&
		    to->old.ino != c->node2)
			return step_refuse(s, -ESTALE,
			    "the new name is another node's than shown");
		return 0;
	}
	if (tree_name_rev(s->txn, c->dir2, c->name2) > c->stamp.seen)
		return step_refuse(s, -ESTALE,
		    "the new name has changed since this host showed it");
	return 0;
}

static int
is_permitted(struct step *s, const struct side *from, const struct side *to)
{
	const struct stamp *st = &s->c->stamp;
	bool moves = from->dir.ino != to->dir.ino;
	int err;

	err = step_may_remove(s, &from->dir, &from->old);
	if (err == 0 && to->exists)
		err = step_may_remove(s, &to->dir, &to->old);
	else if (err == 0)
		err = step_may_make(s, &to->dir);
	if (err != 0)
		return err;
	/* A directory that moves has its ".." rewritten. */
	if (moves && is_dir(from) && machine_access(&from->old, st, W_OK) != 0)
		return step_refuse(s, -EACCES,
		    "the directory itself is not writable");
	if (moves && is_exchange(s) && is_dir(to) &&
	    machine_access(&to->old, st, W_OK) != 0)
		return step_refuse(s, -EACCES,
		    "the directory itself is not writable");
	return 0;
}

static int
is_possible(struct step *s, const struct side *from, const struct side *to)
{
	bool exchange = is_exchange(s), moves = from->dir.ino != to->dir.ino;

	if (is_dir(from) && tree_is_ancestor(s->txn, from->old.ino,
	    to->dir.ino))
		return step_refuse(s, -EINVAL,
		    "a directory cannot move below itself");
	if (exchange && is_dir(to) && tree_is_ancestor(s->txn, to->old.ino,
	    from->dir.ino))
		return step_refuse(s, -EINVAL,
		    "a directory cannot move below itself");
	if (!exchange && to->exists && is_dir(from) && !is_dir(to))
		return step_refuse(s, -ENOTDIR,
		    "a directory cannot replace a file");
	if (!exchange && is_dir(to)) {
		if (!is_dir(from))
			return step_refuse(s, -EISDIR,
			    "a file cannot replace a directory");
		if (!tree_dir_empty(s->txn, to->old.ino))
			return step_refuse(s, -ENOTEMPTY,
			    "a directory with names cannot be replaced");
	}
	if (moves && is_dir(from) && !is_dir(to) &&
	    to->dir.nlink >= LIMIT_LINKS)
		return step_refuse(s, -EMLINK,
		    "the directory has too many subdirectories");
	if (moves && exchange && is_dir(to) && !is_dir(from) &&
	    from->dir.nlink >= LIMIT_LINKS)
		return step_refuse(s, -EMLINK,
		    "the directory has too many subdirectories");
	if ((is_dir(from) && too_deep(s, from->old.ino, from->dir.ino,
	    to->dir.ino)) || (exchange && is_dir(to) &&
	    too_deep(s, to->old.ino, to->dir.ino, from->dir.ino)))
		return step_refuse(s, -ENAMETOOLONG,
		    "the directory would be too deep in the tree");
	return 0;
}

/* Would something below ino pass LIMIT_DEPTH when it moves? */
static bool
too_deep(struct step *s, uint64_t ino, uint64_t from, uint64_t to)
{
	unsigned old_depth, new_depth;

	if (from == to)
		return false;
	old_depth = tree_depth(s->txn, from);
	new_depth = tree_depth(s->txn, to);
	if (new_depth <= old_depth)
		return false;
	if (new_depth >= LIMIT_DEPTH)
		return true;
	new_depth++;
	return new_depth + height(s, ino, LIMIT_DEPTH - new_depth + 1) >
	    LIMIT_DEPTH;
}

/* Levels of directories below dir, counted up to max. */
static unsigned
height(struct step *s, uint64_t dir, unsigned max)
{
	struct slice name = SLICE_EMPTY;
	char copy[LIMIT_NAME];
	struct tree_name n;
	unsigned best = 0, h, left;
	struct attr a;

	if (max == 0 || !tree_node_get(s->txn, dir, &a))
		return 0;
	left = a.nlink - 2; /* its directories, among names of all kinds */
	while (left > 0 && best < max &&
	    tree_name_next(s->txn, dir, name, &name, &n)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		if (!tree_node_get(s->txn, n.ino, &a) || !S_ISDIR(a.mode))
			continue;
		left--;
		h = 1 + height(s, n.ino, max - 1);
		if (h > best)
			best = h;
	}
	return best;
}

static void
apply_names(struct step *s, struct side *from, struct side *to)
{
	struct tree_name moved = {.ino = from->old.ino, .rev = s->rev};
	struct tree_name back = {.ino = to->old.ino, .rev = s->rev};

	from->node.ctime_ns = s->now_ns;
	from->node.attr_rev = s->rev;
	tree_node_put(s->txn, &from->node);
	if (is_exchange(s))
		tree_name_put(s->txn, from->dir.ino, from->name, &back);
	else
		tree_name_del(s->txn, from->dir.ino, from->name, s->rev);
	tree_name_put(s->txn, to->dir.ino, to->name, &moved);
	if (!to->exists)
		return;
	to->node.ctime_ns = s->now_ns;
	to->node.attr_rev = s->rev;
	if (is_exchange(s)) {
		tree_node_put(s->txn, &to->node);
		return;
	}
	to->node.nlink = is_dir(to) ? 0 : to->node.nlink - 1;
	step_lose_name(s, &to->old, &to->node);
}

static void
apply_dirs(struct step *s, struct side *from, struct side *to)
{
	struct attr *to_dir = from->dir.ino == to->dir.ino ? &from->dir :
	    &to->dir;

	if (is_dir(from)) {
		from->dir.nlink--;
		to_dir->nlink++;
	}
	if (is_dir(to)) {
		to_dir->nlink--;
		if (is_exchange(s))
			from->dir.nlink++;
	}
	step_touch_dir(s, &from->dir);
	if (to_dir == &from->dir)
		to->dir = from->dir;
	else
		step_touch_dir(s, &to->dir);
}

static void
report(struct step *s, const struct side *from, const struct side *to)
{
	struct change *ch = step_change(s,
	    is_exchange(s) ? CHANGE_EXCHANGE : CHANGE_RENAME);

	ch->dir = from->dir.ino;
	dir_set_name(ch->name, from->name);
	ch->node = from->old.ino;
	ch->old = from->old;
	ch->attr = from->node;
	ch->dir_old = from->dir_old;
	ch->dir_attr = from->dir;
	ch->dir2 = to->dir.ino;
	dir_set_name(ch->name2, to->name);
	ch->dir2_old = to->dir_old;
	ch->dir2_attr = to->dir;
	if (!to->exists)
		return;
	ch->node2 = to->old.ino;
	ch->old2 = to->old;
	ch->attr2 = to->node;
}

static bool
is_dir(const struct side *side)
{
	return side->exists && S_ISDIR(side->old.mode);
}

static bool
is_exchange(const struct step *s)
{
	return s->c->flags & RENAME_FLAG_EXCHANGE;
}
