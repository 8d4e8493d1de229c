/*
 * mirror.c: each change must say truly what was before, and lead to what is
 * after.
 */
#include "config.h"

#include "tests/model/mirror.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>

static const char *change(struct mirror *, const struct change *);

int
mirror_change(struct mirror *m, const struct change *ch, char *why,
    size_t why_len)
{
	const char *wrong = change(m, ch);

	if (wrong == NULL)
		return 0;
	(void)snprintf(why, why_len, "change %d of %llu/%s: %s",
	    ch->kind, (unsigned long long)ch->dir, ch->name,
	    wrong);
	return -EUCLEAN;
}

static struct attr *
find(struct mirror *m, uint64_t ino)
{
	for (unsigned i = 0; i < MIRROR_NODES; i++) {
		if (m->nodes[i].ino == ino)
			return &m->nodes[i];
	}
	return NULL;
}

static struct mirror_name *
find_name(struct mirror *m, uint64_t dir, const char *name)
{
	for (unsigned i = 0; i < MIRROR_NAMES; i++) {
		if (m->names[i].dir == dir &&
		    (dir == 0 || strcmp(m->names[i].name, name) == 0))
			return &m->names[i];
	}
	return NULL;
}

const struct attr *
mirror_node(const struct mirror *m, uint64_t ino)
{
	return find((struct mirror *)m, ino);
}

uint64_t
mirror_name(const struct mirror *m, uint64_t dir, const char *name)
{
	struct mirror_name *n = find_name((struct mirror *)m, dir, name);

	return n != NULL ? n->node : 0;
}

unsigned
mirror_count(const struct mirror *m, unsigned *ret_n_names)
{
	unsigned n_nodes = 0;

	*ret_n_names = 0;
	for (unsigned i = 0; i < MIRROR_NODES; i++)
		n_nodes += m->nodes[i].ino != 0;
	for (unsigned i = 0; i < MIRROR_NAMES; i++)
		*ret_n_names += m->names[i].dir != 0;
	return n_nodes;
}

static bool
same(const struct attr *a, const struct attr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* From old to now; an old without number is a node that is new. */
static const char *
set_node(struct mirror *m, const struct attr *old, const struct attr *now)
{
	struct attr *a = find(m, now->ino);

	if (now->ino == 0)
		return "a node without a number";
	if (old->ino == 0 ? a != NULL : a == NULL || !same(a, old))
		return "a node was not as `old` says";
	if (a == NULL)
		a = find(m, 0);
	if (now->nlink == 0)
		memset(a, 0, sizeof(*a));
	else
		*a = *now;
	return NULL;
}

/* The first revision has no directory before it. */
static const char *
set_dir(struct mirror *m, const struct attr *old, const struct attr *now)
{
	struct attr *a = find(m, now->ino);

	if (a == NULL && now->rev == 1) {
		*find(m, 0) = *now;
		return NULL;
	}
	if (!S_ISDIR(now->mode))
		return "the parent is no directory";
	return set_node(m, old, now) != NULL ?
	    "a directory was not as `dir_old` says" : NULL;
}

static const char *
set_name(struct mirror *m, uint64_t dir, const char *name, uint64_t from,
    uint64_t to)
{
	struct mirror_name *n = find_name(m, dir, name);

	if (from != (n != NULL ? n->node : 0))
		return "the name was another node's";
	if (n == NULL)
		n = find_name(m, 0, "");
	memset(n, 0, sizeof(*n));
	if (to == 0)
		return NULL;
	n->dir = dir;
	n->node = to;
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	return NULL;
}

static const char *
move(struct mirror *m, const struct change *ch)
{
	bool exchange = ch->kind == CHANGE_EXCHANGE;
	const char *wrong;

	if ((wrong = set_name(m, ch->dir, ch->name, ch->node,
	    exchange ? ch->node2 : 0)) != NULL ||
	    (wrong = set_name(m, ch->dir2, ch->name2, ch->node2,
	    ch->node)) != NULL ||
	    (wrong = set_node(m, &ch->old, &ch->attr)) != NULL)
		return wrong;
	if (ch->node2 != 0 &&
	    (wrong = set_node(m, &ch->old2, &ch->attr2)) != NULL)
		return wrong;
	if ((wrong = set_dir(m, &ch->dir_old, &ch->dir_attr)) != NULL)
		return wrong;
	if (ch->dir == ch->dir2)
		return same(&ch->dir_attr, &ch->dir2_attr) &&
		    same(&ch->dir_old, &ch->dir2_old) ? NULL :
		    "the two sides of one directory differ";
	return set_dir(m, &ch->dir2_old, &ch->dir2_attr);
}

static const char *
change(struct mirror *m, const struct change *ch)
{
	const char *wrong;

	if (ch->attr.ino != ch->node)
		return "attr is not node's";
	if (ch->attr2.ino != ch->node2)
		return "attr2 is not node2's";
	switch (ch->kind) {
	case CHANGE_CREATE:
	case CHANGE_MKDIR:
	case CHANGE_SYMLINK:
	case CHANGE_LINK:
		wrong = set_name(m, ch->dir, ch->name, 0, ch->node);
		break;
	case CHANGE_UNLINK:
	case CHANGE_RMDIR:
		wrong = set_name(m, ch->dir, ch->name, ch->node, 0);
		break;
	case CHANGE_RENAME:
	case CHANGE_EXCHANGE:
		return move(m, ch);
	case CHANGE_CONTENT:
	case CHANGE_ATTR:
		if (ch->dir != 0 &&
		    mirror_name(m, ch->dir, ch->name) != ch->node)
			return "the name is not the node's";
		if (ch->dir == 0 && ch->node != 1)
			return "the node has a name";
		return set_node(m, &ch->old, &ch->attr);
	default:
		return "an unknown kind";
	}
	if (wrong == NULL)
		wrong = set_node(m, &ch->old, &ch->attr);
	if (wrong == NULL)
		wrong = set_dir(m, &ch->dir_old, &ch->dir_attr);
	return wrong;
}
