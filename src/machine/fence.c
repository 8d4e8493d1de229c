/*
 * fence.c: who is too late to write.
 *
 * gov.guard on a file or on a directory above it names a lock: what is below is
 * written only by the session that holds that lock exclusively, or with its
 * token.  A file that stands for something on a host is updated by that host.
 */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>

#include "machine/life.h"

/* Names of one file whose directories are looked at. */
enum { NAMES_MAX = 16 };

struct fence {
	uint64_t nearest; /* node of the nearest guard's lock; 0: no such */
	bool guarded;	  /* there is a guard */
	bool refused;
};

static int update(struct step *, uint64_t ino);
static int change_name(struct step *, uint64_t dir, struct slice name,
    bool replaces);
static bool any_guards(struct step *);
static int check(struct step *, const struct fence *, uint64_t ino);
static void look(struct step *, uint64_t ino, struct fence *);
static void look_above(struct step *, uint64_t ino, struct fence *);
static void look_up(struct step *, uint64_t dir, struct fence *);
static bool holds(struct step *, uint64_t node);
static uint64_t find(struct step *, uint64_t dir, struct slice name);
static bool is_gov_name(struct slice name);

int
fence_check(struct step *s)
{
	const struct command *c = s->c;
	int err;

	switch (c->kind) {
	case COMMAND_write:
	case COMMAND_append:
	case COMMAND_truncate:
	case COMMAND_setattr:
		return update(s, c->node);
	case COMMAND_setxattr:
	case COMMAND_removexattr:
		return is_gov_name(c->name) ? 0 : update(s, c->node);
	case COMMAND_create:
		/* Opening what exists is no change. */
		if (find(s, c->dir, c->name) != 0)
			return 0;
		return change_name(s, c->dir, c->name, false);
	case COMMAND_mkdir:
	case COMMAND_symlink:
	case COMMAND_link:
	case COMMAND_unlink:
	case COMMAND_rmdir:
		return change_name(s, c->dir, c->name, false);
	case COMMAND_birth:
		return change_name(s, c->dir, c->name,
		    !(c->flags & WRITE_EXPECT));
	case COMMAND_rename:
		err = change_name(s, c->dir, c->name,
		    c->flags & RENAME_FLAG_EXCHANGE);
		return err != 0 ? err :
		    change_name(s, c->dir2, c->name2,
		    !(c->flags & RENAME_FLAG_NOREPLACE));
	default:
		return 0;
	}
}

static int
update(struct step *s, uint64_t ino)
{
	struct fence f = {0};

	if (life_is_others(s, ino))
		return step_refuse(s, -EPERM,
		    "the file stands for something on another host");
	if (any_guards(s)) {
		look(s, ino, &f);
		look_above(s, ino, &f);
	}
	return check(s, &f, ino);
}

static int
change_name(struct step *s, uint64_t dir, struct slice name, bool replaces)
{
	uint64_t ino = find(s, dir, name);
	struct fence f = {0};

	if (ino != 0 && replaces && life_is_others(s, ino))
		return step_refuse(s, -EPERM,
		    "the file stands for something on another host");
	if (any_guards(s)) {
		if (ino != 0)
			look(s, ino, &f);
		look_up(s, dir, &f);
	}
	return check(s, &f, ino);
}

static int
check(struct step *s, const struct fence *f, uint64_t ino)
{
	uint64_t token = s->c->token;

	s->out->fenced = true;
	if (f->refused)
		return step_refuse(s, -ESTALE,
		    "the lock that guards it is not held by this host");
	if (token != 0 &&
	    token != tree_lock_token(s->txn, f->guarded ? f->nearest : ino))
		return step_refuse(s, -ESTALE,
		    "the lock has been granted anew since that token");
	s->out->fenced = false;
	return 0;
}

static bool
any_guards(struct step *s)
{
	struct tree_locks all;

	tree_locks_get(s->txn, &all);
	return all.n_guards != 0;
}

/* The node's own guard. */
static void
look(struct step *s, uint64_t ino, struct fence *f)
{
	struct slice path;
	uint64_t node;

	if (!tree_xattr_get(s->txn, ino, slice_str("gov.guard"), &path))
		return;
	node = tree_lookup_path(s->txn, path);
	if (!f->guarded)
		f->nearest = node;
	f->guarded = true;
	f->refused = f->refused || node == 0 || !holds(s, node);
}

static void
look_above(struct step *s, uint64_t ino, struct fence *f)
{
	uint8_t copy[LIMIT_NAME];
	struct slice name = SLICE_EMPTY;
	uint64_t dir = 0;

	for (unsigned i = 0; i < NAMES_MAX && tree_backlink_next(s->txn, ino,
	    dir, name, &dir, &name); i++) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		look_up(s, dir, f);
	}
}

static void
look_up(struct step *s, uint64_t dir, struct fence *f)
{
	for (unsigned i = 0; i <= LIMIT_DEPTH && dir != 0; i++) {
		look(s, dir, f);
		dir = tree_parent(s->txn, dir);
	}
}

static bool
holds(struct step *s, uint64_t node)
{
	uint64_t token = s->c->token, newest = tree_lock_token(s->txn, node);
	struct tree_lock l;
	uint64_t of, n = 0;

	while (tree_lock_held_next(s->txn, node, n, &of, &l) && of == node) {
		n = l.ordinal;
		if (l.exclusive && l.session != 0 &&
		    (l.session == s->c->stamp.session ||
		    (token != 0 && token == newest && token == l.token)))
			return true;
	}
	return false;
}

static uint64_t
find(struct step *s, uint64_t dir, struct slice name)
{
	struct tree_name n;

	return tree_name_get(s->txn, dir, name, &n) ? n.ino : 0;
}

static bool
is_gov_name(struct slice name)
{
	return name.len >= 4 && memcmp(name.ptr, "gov.", 4) == 0;
}
