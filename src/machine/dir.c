/*
 * dir.c: names made and removed; rename.c moves them.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

#include "machine/life.h"
#include "machine/machine.h"
#include "machine/step.h"

static int get_name(struct step *, struct attr *ret_dir, struct attr *ret);

int
dir_may_name(struct step *s, uint64_t dir, struct slice name, bool fresh,
    struct attr *ret_dir)
{
	struct tree_life life;
	struct tree_name n;
	int err;

	err = step_dir(s, dir, ret_dir);
	if (err != 0)
		return err;
	if (step_is_gov(dir, name))
		return step_refuse(s, -EPERM,
		    "the name .gov in the root is the system's");
	if (tree_name_get(s->txn, dir, name, &n))
		return step_refuse(s, -EEXIST, "the name exists");
	if (fresh && tree_name_rev(s->txn, dir, name) > s->c->stamp.seen)
		return step_refuse(s, -ESTALE,
		    "the name has changed since this host showed it");
	if (tree_life_get(s->txn, dir, &life)) {
		err = life_room(s, life.kind);
		if (err != 0)
			return err;
	}
	return step_may_make(s, ret_dir);
}

void
dir_make_name(struct step *s, struct attr *dir, struct slice name,
    const struct attr *node, struct change *ch)
{
	struct tree_name n = {.ino = node->ino, .rev = s->rev};

	ch->dir = dir->ino;
	dir_set_name(ch->name, name);
	ch->dir_old = *dir;
	if (S_ISDIR(node->mode))
		dir->nlink++;
	tree_name_put(s->txn, dir->ino, name, &n);
	step_touch_dir(s, dir);
	ch->dir_attr = *dir;
}

void
dir_take_name(struct step *s, struct attr *dir, struct slice name,
    const struct attr *old, struct attr *now, enum change_kind kind)
{
	struct change *ch = step_change(s, kind);

	now->ctime_ns = s->now_ns;
	now->attr_rev = s->rev;
	ch->dir = dir->ino;
	dir_set_name(ch->name, name);
	ch->node = old->ino;
	ch->old = *old;
	ch->attr = *now;
	ch->dir_old = *dir;
	tree_name_del(s->txn, dir->ino, name, s->rev);
	step_lose_name(s, old, now);
	if (S_ISDIR(old->mode))
		dir->nlink--;
	step_touch_dir(s, dir);
	ch->dir_attr = *dir;
}

void
dir_set_name(char to[LIMIT_NAME + 1], struct slice name)
{
	assert(name.len <= LIMIT_NAME);
	memcpy(to, name.ptr, name.len);
	to[name.len] = '\0';
}

int
dir_mkdir(struct step *s)
{
	const struct command *c = s->c;
	struct attr dir, a;
	int err;

	err = dir_may_name(s, c->dir, c->name, true, &dir);
	if (err == 0)
		err = step_may_be_born(s, &dir);
	if (err != 0)
		return err;
	if (dir.nlink >= LIMIT_LINKS)
		return step_refuse(s, -EMLINK,
		    "the directory has too many subdirectories");
	if (tree_depth(s->txn, dir.ino) >= LIMIT_DEPTH)
		return step_refuse(s, -ENAMETOOLONG,
		    "the directory is too deep in the tree");
	a = step_new_node(s, &dir, S_IFDIR | (c->mode & 01777), c->ino);
	dir_make(s, &dir, c->name, &a);
	life_inherit(s, &dir, &a, true);
	step_answer(s, &a);
	return 0;
}

void
dir_make(struct step *s, struct attr *dir, struct slice name, struct attr *a)
{
	struct change *ch = step_change(s, CHANGE_MKDIR);

	a->nlink = 2;
	tree_node_put(s->txn, a);
	ch->node = a->ino;
	ch->attr = *a;
	dir_make_name(s, dir, name, a, ch);
}

int
dir_symlink(struct step *s)
{
	const struct command *c = s->c;
	struct change *ch;
	struct attr dir, a;
	int err;

	err = dir_may_name(s, c->dir, c->name, true, &dir);
	if (err == 0)
		err = step_may_be_born(s, &dir);
	if (err == 0)
		err = step_bytes(s, 0, c->data.len);
	if (err != 0)
		return err;
	a = step_new_node(s, &dir, S_IFLNK | 0777, c->ino);
	a.size = c->data.len;
	tree_node_put(s->txn, &a);
	tree_content_put(s->txn, a.ino, c->data);
	s->meta.bytes += a.size;
	ch = step_change(s, CHANGE_SYMLINK);
	ch->node = a.ino;
	ch->attr = a;
	dir_make_name(s, &dir, c->name, &a, ch);
	life_inherit(s, &dir, &a, true);
	step_answer(s, &a);
	return 0;
}

int
dir_link(struct step *s)
{
	const struct command *c = s->c;
	struct attr dir, old, now;
	struct change *ch;
	int err;

	if (!tree_node_get(s->txn, c->node, &old))
		return step_refuse(s, -ENOENT, "the file has been removed");
	err = dir_may_name(s, c->dir, c->name, true, &dir);
	if (err != 0)
		return err;
	if (S_ISDIR(old.mode))
		return step_refuse(s, -EPERM, "directories have one name");
	if (old.nlink >= LIMIT_LINKS)
		return step_refuse(s, -EMLINK, "the file has too many names");
	err = step_bytes(s, 0, LIMIT_LINK_BYTES);
	if (err != 0)
		return err;
	now = old;
	now.nlink++;
	now.ctime_ns = s->now_ns;
	now.attr_rev = s->rev;
	tree_node_put(s->txn, &now);
	s->meta.bytes += LIMIT_LINK_BYTES;
	ch = step_change(s, CHANGE_LINK);
	ch->node = now.ino;
	ch->old = old;
	ch->attr = now;
	dir_make_name(s, &dir, c->name, &now, ch);
	life_linked(s, dir.ino, c->name);
	step_answer(s, &now);
	return 0;
}

/* The victim may be another than the caller's kernel showed: POSIX says only
 * that some file of that name goes. */
int
dir_unlink(struct step *s)
{
	struct attr dir, old, now;
	int err;

	err = get_name(s, &dir, &old);
	if (err == 0)
		err = step_may_remove(s, &dir, &old);
	if (err != 0)
		return err;
	if (S_ISDIR(old.mode))
		return step_refuse(s, -EISDIR, "it is a directory");
	now = old;
	now.nlink--;
	dir_take_name(s, &dir, s->c->name, &old, &now, CHANGE_UNLINK);
	step_answer(s, &now);
	life_emptied(s, dir.ino);
	return 0;
}

int
dir_rmdir(struct step *s)
{
	struct attr dir, old, now;
	int err;

	err = get_name(s, &dir, &old);
	if (err != 0)
		return err;
	if (old.ino != s->c->node)
		return step_refuse(s, -ESTALE,
		    "the name is another node's than this host showed");
	err = step_may_remove(s, &dir, &old);
	if (err != 0)
		return err;
	if (!S_ISDIR(old.mode))
		return step_refuse(s, -ENOTDIR, "it is no directory");
	if (!tree_dir_empty(s->txn, old.ino))
		return step_refuse(s, -ENOTEMPTY,
		    "a directory with names cannot be removed");
	now = old;
	now.nlink = 0;
	dir_take_name(s, &dir, s->c->name, &old, &now, CHANGE_RMDIR);
	step_answer(s, &now);
	life_emptied(s, dir.ino);
	return 0;
}

static int
get_name(struct step *s, struct attr *ret_dir, struct attr *ret)
{
	const struct command *c = s->c;
	struct tree_name n;
	int err;

	err = step_dir(s, c->dir, ret_dir);
	if (err != 0)
		return err;
	if (!tree_name_get(s->txn, c->dir, c->name, &n) ||
	    !tree_node_get(s->txn, n.ino, ret))
		return step_refuse(s, -ENOENT, "the name is gone");
	return 0;
}
