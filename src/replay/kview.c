/*
 * kview.c: the overlay that turns C into K.
 */
#include "config.h"

#include "replay/kview.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <utlist.h>

#include "tree/tree.h"

/* K is a tree at any time; it may be deeper than C ever was. */
#define DEPTH_MAX (4 * LIMIT_DEPTH)

/* A name whose node in K is not, or may soon not be, what C says. */
struct kname {
	uint64_t ino;	  /* K's; 0: absent */
	unsigned pending; /* replays that concern it */
	bool lags;	  /* one of them is the reconciling to come */
	uint64_t crossed; /* a local change at that revision overtook them */
	struct knode *node;   /* of ino, or NULL; we are in its names */
	struct knode *parent; /* of dir; we are in its children */
	struct kname *prev, *next;	     /* node->names */
	struct kname *lag_prev, *lag_next;   /* of the lagging names */
	struct kname *sibling_prev, *sibling; /* parent->children */
	UT_hash_handle hh;
	unsigned key_len;
	struct key {
		uint64_t dir;
		char name[LIMIT_NAME + 1];
	} key; /* hashed over dir and the name without its NUL */
};

struct kview {
	struct knode *nodes; /* uthash */
	struct kname *names; /* uthash */
	struct kname *lag_names; /* utlist DL, oldest first */
	struct knode *lag_nodes; /* utlist DL, oldest first */
	unsigned n_lagging;	 /* of both */
	void (*outdated)(void *, uint64_t ino);
	void *arg;
};

static struct kname *name_find(struct kview *, uint64_t dir, struct slice name);
static struct kname *name_make(struct kview *, uint64_t dir, struct slice name,
    uint64_t ino);
static void name_point(struct kview *, struct kname *, uint64_t ino);
static void name_tidy(struct kview *, struct store_txn *, struct kname *);
static void name_free(struct kview *, struct kname *);
static uint64_t committed(struct store_txn *, uint64_t dir, struct slice name);
static void attr_expect(struct kview *, const struct attr *old);
static void attr_move(struct kview *, struct store_txn *, const struct attr *,
    bool local);
static void attr_settle(struct kview *, struct store_txn *, uint64_t ino);

/*
 * What one change does to names: at most two of them, each from `was` to `is`.
 */
struct touch {
	uint64_t dir;
	struct slice name;
	uint64_t was, is;
};

static unsigned
touches(const struct change *c, struct touch ret[2])
{
	struct slice name = slice_str(c->name), name2 = slice_str(c->name2);

	switch (c->kind) {
	case CHANGE_CREATE:
	case CHANGE_MKDIR:
	case CHANGE_SYMLINK:
	case CHANGE_LINK:
		ret[0] = (struct touch){c->dir, name, 0, c->node};
		return 1;
	case CHANGE_UNLINK:
	case CHANGE_RMDIR:
		ret[0] = (struct touch){c->dir, name, c->node, 0};
		return 1;
	case CHANGE_RENAME:
		ret[0] = (struct touch){c->dir, name, c->node, 0};
		ret[1] = (struct touch){c->dir2, name2, c->node2, c->node};
		return 2;
	case CHANGE_EXCHANGE:
		ret[0] = (struct touch){c->dir, name, c->node, c->node2};
		ret[1] = (struct touch){c->dir2, name2, c->node2, c->node};
		return 2;
	case CHANGE_CONTENT:
	case CHANGE_ATTR:
	case CHANGE_GRANT:
	case CHANGE_LOCKS:
		return 0;
	}
	return 0;
}

struct kview *
kview_new(void (*outdated)(void *, uint64_t), void *arg)
{
	struct kview *kv = calloc(1, sizeof *kv);

	assert(kv != NULL);
	kv->outdated = outdated;
	kv->arg = arg;
	return kv;
}

struct knode *
kview_find(struct kview *kv, uint64_t ino)
{
	struct knode *node;

	HASH_FIND(hh, kv->nodes, &ino, sizeof ino, node);
	return node;
}

struct knode *
kview_node(struct kview *kv, uint64_t ino)
{
	struct knode *node = kview_find(kv, ino);

	if (node != NULL)
		return node;
	node = calloc(1, sizeof *node);
	assert(node != NULL && ino != 0);
	node->ino = ino;
	HASH_ADD(hh, kv->nodes, ino, sizeof node->ino, node);
	return node;
}

void
kview_release(struct kview *kv, struct knode *node)
{
	if (node->n_lookup > 0 || node->n_pending > 0 || node->n_handles > 0 ||
	    node->names != NULL || node->children != NULL)
		return;
	assert(node->version == NULL && node->lags == 0);
	HASH_DEL(kv->nodes, node);
	free(node);
}

void
kview_remember(struct kview *kv, uint64_t ino)
{
	kview_node(kv, ino)->n_lookup++;
}

void
kview_forget(struct kview *kv, uint64_t ino, uint64_t n)
{
	struct knode *node = kview_find(kv, ino);

	if (node == NULL)
		return;
	node->n_lookup -= n < node->n_lookup ? n : node->n_lookup;
	if (node->n_lookup == 0)
		node->reached = false;
	kview_release(kv, node);
}

void
kview_reach(struct kview *kv, uint64_t ino)
{
	struct knode *node = kview_find(kv, ino);

	if (node != NULL)
		node->reached = true;
}

bool
kview_reached(struct kview *kv, uint64_t ino)
{
	struct knode *node = ino == 0 ? NULL : kview_find(kv, ino);

	return ino == TREE_ROOT ||
	    (node != NULL && node->n_lookup > 0 && node->reached);
}

bool
kview_known(struct kview *kv, uint64_t ino)
{
	struct knode *node = ino == 0 ? NULL : kview_find(kv, ino);

	/* The kernel never looks up the root, and never forgets it. */
	return ino == TREE_ROOT || (node != NULL && node->n_lookup > 0);
}

uint64_t
kview_lookup(struct kview *kv, struct store_txn *t, uint64_t dir,
    struct slice name)
{
	struct kname *kn = name_find(kv, dir, name);

	return kn != NULL ? kn->ino : committed(t, dir, name);
}

bool
kview_attr(struct kview *kv, struct store_txn *t, uint64_t ino,
    struct attr *ret)
{
	struct knode *node = kview_find(kv, ino);

	if (node != NULL && node->own_attr) {
		*ret = node->attr;
		return true;
	}
	if (tree_node_get(t, ino, ret))
		return true;
	/* Mounted before the cluster's first commit has formatted the tree. */
	*ret = (struct attr){.ino = TREE_ROOT, .mode = S_IFDIR | 0755,
	    .nlink = 2};
	return ino == TREE_ROOT;
}

bool
kview_is_plain(const struct kview *kv, const struct knode *node)
{
	return !node->own_attr && kv->names == NULL;
}

bool
kview_is_ghost(const struct knode *node)
{
	return (node->unborn && !node->displaced) || node->alias != 0;
}

bool
kview_name_of(struct kview *kv, struct store_txn *t, uint64_t ino,
    uint64_t *ret_dir, char ret_name[LIMIT_NAME + 1])
{
	struct knode *node = kview_find(kv, ino);
	struct slice name = SLICE_EMPTY;
	uint64_t dir = 0;

	if (node != NULL && node->names != NULL) {
		*ret_dir = node->names->key.dir;
		memcpy(ret_name, node->names->key.name, LIMIT_NAME + 1);
		return true;
	}
	while (tree_backlink_next(t, ino, dir, name, &dir, &name)) {
		if (name_find(kv, dir, name) != NULL)
			continue; /* overlaid by another node */
		*ret_dir = dir;
		memcpy(ret_name, name.ptr, name.len);
		ret_name[name.len] = '\0';
		return true;
	}
	return false;
}

bool
kview_has_name(struct kview *kv, struct store_txn *t, uint64_t ino)
{
	uint64_t dir;
	char name[LIMIT_NAME + 1];

	return ino == TREE_ROOT || kview_name_of(kv, t, ino, &dir, name);
}

bool
kview_is_below(struct kview *kv, struct store_txn *t, uint64_t dir,
    uint64_t node)
{
	char name[LIMIT_NAME + 1];

	for (unsigned n = 0; dir != node; n++)
		if (n == DEPTH_MAX || !kview_name_of(kv, t, dir, &dir, name))
			return false;
	return true;
}

struct listing {
	struct entry {
		char name[LIMIT_NAME + 1];
		uint64_t ino;
	} *entries;
	size_t n, cap;
};

static void
listing_add(struct listing *l, struct slice name, uint64_t ino)
{
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 32 : l->cap * 2;
		l->entries = realloc(l->entries, l->cap * sizeof *l->entries);
		assert(l->entries != NULL);
	}
	memcpy(l->entries[l->n].name, name.ptr, name.len);
	l->entries[l->n].name[name.len] = '\0';
	l->entries[l->n++].ino = ino;
}

static int
entry_order(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name,
	    ((const struct entry *)b)->name);
}

void
kview_each(struct kview *kv, struct store_txn *t, uint64_t dir,
    void (*each)(void *, const char *, uint64_t), void *arg)
{
	struct listing l = {0};
	struct slice name = SLICE_EMPTY;
	struct tree_name entry;
	struct knode *node = kview_find(kv, dir);
	struct kname *kn;
	bool overlaid = node != NULL && node->children != NULL;

	while (tree_name_next(t, dir, name, &name, &entry))
		if (!overlaid || name_find(kv, dir, name) == NULL)
			listing_add(&l, name, entry.ino);
	if (overlaid) {
		DL_FOREACH2 (node->children, kn, sibling)
			if (kn->ino != 0)
				listing_add(&l, slice_str(kn->key.name),
				    kn->ino);
		if (l.n > 1)
			qsort(l.entries, l.n, sizeof *l.entries,
			    entry_order);
	}
	for (size_t i = 0; i < l.n; i++)
		each(arg, l.entries[i].name, l.entries[i].ino);
	free(l.entries);
}

static void
count_one(void *arg, const char *name, uint64_t ino)
{
	*(bool *)arg = false;
}

bool
kview_empty(struct kview *kv, struct store_txn *t, uint64_t dir)
{
	struct knode *node = kview_find(kv, dir);
	bool empty = true;

	if (node == NULL || node->children == NULL)
		return tree_dir_empty(t, dir);
	kview_each(kv, t, dir, count_one, &empty);
	return empty;
}

void
kview_set(struct kview *kv, struct store_txn *t, uint64_t dir,
    struct slice name, uint64_t ino)
{
	struct kname *kn = name_find(kv, dir, name);
	uint64_t was = kn != NULL ? kn->ino : committed(t, dir, name);
	struct knode *loser = was == ino ? NULL : kview_find(kv, was);

	if (loser != NULL)
		loser->n_unnamed++;
	if (kn == NULL) {
		if (was == ino)
			return;
		kn = name_make(kv, dir, name, ino);
	} else {
		name_point(kv, kn, ino);
	}
	name_tidy(kv, t, kn);
}

/* K keeps the name as it is until the change is replayed. */
static struct kname *
name_expect(struct kview *kv, const struct touch *t)
{
	struct kname *kn = name_find(kv, t->dir, t->name);

	if (kn == NULL)
		kn = name_make(kv, t->dir, t->name, t->was);
	kn->pending++;
	return kn;
}

bool
kview_is_unheard(struct kview *kv, const struct change *c)
{
	const struct knode *dir = kview_find(kv, c->dir);

	return (c->kind == CHANGE_CONTENT || c->kind == CHANGE_ATTR) &&
	    c->node != TREE_ROOT && kview_find(kv, c->node) == NULL &&
	    !kview_reached(kv, c->dir) &&
	    (dir == NULL || dir->children == NULL);
}

void
kview_expect(struct kview *kv, const struct change *c)
{
	struct touch t[2];
	unsigned n = touches(c, t);

	for (unsigned i = 0; i < n; i++)
		name_expect(kv, &t[i]);
	attr_expect(kv, &c->old);
	attr_expect(kv, &c->old2);
	attr_expect(kv, &c->dir_old);
	if (c->dir2_old.ino != c->dir_old.ino)
		attr_expect(kv, &c->dir2_old);
}

static void
outdate(struct kview *kv, const struct change *c)
{
	const uint64_t inos[] = {c->dir, c->dir2, c->node, c->node2};
	struct knode *node;

	for (unsigned i = 0; i < 4; i++) {
		node = inos[i] == 0 ? NULL : kview_find(kv, inos[i]);
		if (node != NULL && node->told)
			kv->outdated(kv->arg, inos[i]);
	}
}

static void
move(struct kview *kv, struct store_txn *txn, const struct change *c,
    bool local)
{
	struct touch t[2];
	unsigned n = touches(c, t);

	for (unsigned i = 0; i < n; i++)
		kview_set(kv, txn, t[i].dir, t[i].name, t[i].is);
	attr_move(kv, txn, &c->attr, local);
	attr_move(kv, txn, &c->attr2, local);
	attr_move(kv, txn, &c->dir_attr, local);
	attr_move(kv, txn, &c->dir2_attr, local);
	if (c->kind != CHANGE_CONTENT)
		outdate(kv, c);
}

void
kview_move(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	move(kv, txn, c, false);
}

bool
kview_moves(struct kview *kv, const struct change *c)
{
	struct knode *node;

	if (c->kind != CHANGE_CONTENT || c->truncated)
		return true;
	node = kview_find(kv, c->node);
	return node != NULL && node->own_attr;
}

/*
 * The victim of a local change may be another node in C than in K: then what
 * is pending for the name would lead K past what the caller was told.  Those
 * replays are void, the name is reconciled in their place.
 */
void
kview_local(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	struct touch t[2];
	unsigned n = touches(c, t);
	struct kname *kn;

	move(kv, txn, c, true);
	for (unsigned i = 0; i < n; i++) {
		kn = name_find(kv, t[i].dir, t[i].name);
		if (kn != NULL && kn->pending > 0)
			kn->crossed = c->rev;
	}
}

void
kview_settle(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	struct touch t[2];
	unsigned n = touches(c, t);
	struct kname *kn;

	for (unsigned i = 0; i < n; i++) {
		kn = name_find(kv, t[i].dir, t[i].name);
		assert(kn != NULL && kn->pending > 0);
		kn->pending--;
		name_tidy(kv, txn, kn);
	}
	attr_settle(kv, txn, c->old.ino);
	attr_settle(kv, txn, c->old2.ino);
	attr_settle(kv, txn, c->dir_old.ino);
	if (c->dir2_old.ino != c->dir_old.ino)
		attr_settle(kv, txn, c->dir2_old.ino);
}

static void
node_lag(struct kview *kv, const struct attr *old, unsigned how)
{
	struct knode *node;

	if (old->ino == 0)
		return;
	attr_expect(kv, old);
	node = kview_find(kv, old->ino);
	if (node->lags != 0) {
		node->n_pending--;
	} else {
		DL_APPEND2(kv->lag_nodes, node, lag_prev, lag_next);
		kv->n_lagging++;
	}
	node->lags |= how;
}

static unsigned
node_unlag(struct kview *kv, struct knode *node)
{
	unsigned how = node->lags;

	DL_DELETE2(kv->lag_nodes, node, lag_prev, lag_next);
	kv->n_lagging--;
	node->lags = 0;
	return how;
}

static void
name_unlag(struct kview *kv, struct store_txn *txn, struct kname *kn)
{
	DL_DELETE2(kv->lag_names, kn, lag_prev, lag_next);
	kv->n_lagging--;
	kn->lags = false;
	kn->pending--;
	name_tidy(kv, txn, kn);
}

/* Has come and gone, and the kernel has never heard of it? */
static void
node_gone(struct kview *kv, struct store_txn *txn, const struct attr *attr)
{
	struct knode *node = attr->ino == 0 || attr->nlink > 0
	    ? NULL
	    : kview_find(kv, attr->ino);

	if (node == NULL || node->lags == 0 || node->names != NULL ||
	    node->n_lookup > 0)
		return;
	node_unlag(kv, node);
	attr_settle(kv, txn, node->ino);
}

void
kview_lag(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	struct touch t[2];
	unsigned n = touches(c, t);
	struct kname *kn;

	for (unsigned i = 0; i < n; i++) {
		kn = name_expect(kv, &t[i]);
		if (kn->lags) {
			kn->pending--;
		} else {
			kn->lags = true;
			DL_APPEND2(kv->lag_names, kn, lag_prev, lag_next);
			kv->n_lagging++;
		}
		if (kn->ino == t[i].is && kn->pending == 1)
			name_unlag(kv, txn, kn);
	}
	node_lag(kv, &c->old, c->kind == CHANGE_CONTENT ? LAG_CONTENT :
	    c->kind == CHANGE_ATTR ? LAG_ATTR : LAG_SELF);
	node_lag(kv, &c->old2, LAG_SELF);
	node_lag(kv, &c->dir_old, LAG_SELF);
	node_lag(kv, &c->dir2_old, LAG_SELF);
	node_gone(kv, txn, &c->attr);
	node_gone(kv, txn, &c->attr2);
}

unsigned
kview_lagging(const struct kview *kv)
{
	return kv->n_lagging;
}

bool
kview_lag_name(struct kview *kv, struct store_txn *txn, uint64_t *ret_dir,
    char ret_name[LIMIT_NAME + 1])
{
	struct kname *kn = kv->lag_names;

	if (kn == NULL)
		return false;
	*ret_dir = kn->key.dir;
	memcpy(ret_name, kn->key.name, LIMIT_NAME + 1);
	name_unlag(kv, txn, kn);
	return true;
}

unsigned
kview_lag_node(struct kview *kv, uint64_t *ret_ino)
{
	struct knode *node = kv->lag_nodes;

	if (node == NULL)
		return 0;
	*ret_ino = node->ino;
	return node_unlag(kv, node);
}

void
kview_lag_settle(struct kview *kv, struct store_txn *txn, uint64_t ino)
{
	attr_settle(kv, txn, ino);
}

void
kview_lag_born(struct kview *kv, uint64_t ino)
{
	struct knode *node = kview_find(kv, ino);

	if (node != NULL && node->lags != 0)
		node->lags = LAG_SELF;
}

/* Would a directory come to be below itself in K?  What is between them was
 * moved in C already, but a local change has crossed that. */
static bool
makes_loop(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	if (c->kind == CHANGE_MKDIR)
		return kview_is_below(kv, txn, c->dir, c->node);
	if ((c->kind != CHANGE_RENAME && c->kind != CHANGE_EXCHANGE) ||
	    c->dir == c->dir2)
		return false;
	return (S_ISDIR(c->attr.mode) &&
	    kview_is_below(kv, txn, c->dir2, c->node)) ||
	    (c->kind == CHANGE_EXCHANGE && S_ISDIR(c->attr2.mode) &&
	    kview_is_below(kv, txn, c->dir, c->node2));
}

bool
kview_ready(struct kview *kv, struct store_txn *txn, const struct change *c)
{
	struct touch t[2];
	unsigned n = touches(c, t);
	struct kname *kn;

	/* A reconcile may have been ahead of us and made the node already. */
	if (c->kind < CHANGE_LINK && kview_has_name(kv, txn, c->node))
		return false;
	if (makes_loop(kv, txn, c))
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (kview_lookup(kv, txn, t[i].dir, t[i].name) != t[i].was ||
		    !kview_has_name(kv, txn, t[i].dir))
			return false;
		kn = name_find(kv, t[i].dir, t[i].name);
		if (kn != NULL && c->rev != 0 && kn->crossed > c->rev)
			return false;
	}
	return c->kind != CHANGE_RMDIR || kview_empty(kv, txn, c->node);
}

bool
kview_equal(struct kview *kv, struct store_txn *t, uint64_t dir,
    struct slice name)
{
	struct kname *kn = name_find(kv, dir, name);
	uint64_t c;

	if (kn == NULL)
		return true;
	c = committed(t, dir, name);
	if (kn->ino == c)
		return true;
	return c == 0 && kn->node != NULL && kn->node->unborn &&
	    !kn->node->displaced;
}

bool
kview_is_astray(struct kview *kv, struct store_txn *t, uint64_t dir,
    struct slice name)
{
	const struct kname *kn = name_find(kv, dir, name);

	return kn != NULL && kn->pending == 0 && !kview_equal(kv, t, dir, name);
}

unsigned
kview_differences(struct kview *kv)
{
	return HASH_COUNT(kv->names);
}

/*
 * K's attributes of a node stay what they were until the change is replayed.
 */
static void
attr_expect(struct kview *kv, const struct attr *old)
{
	struct knode *node;

	if (old->ino == 0)
		return;
	node = kview_node(kv, old->ino);
	node->n_pending++;
	if (!node->own_attr) {
		node->own_attr = true;
		node->attr = *old;
	}
}

/*
 * The kernel has been told: K's attributes become those, unless a local change
 * has already shown newer ones.  C may be ahead: it has all of a loop turn's
 * commits when the first of them is published.  Where nothing of the node is
 * pending K's are C's already, and a replay may only be older: a file may be
 * looked at and changed before its creation is replayed.  Dead nodes keep
 * theirs.
 */
static void
attr_move(struct kview *kv, struct store_txn *t, const struct attr *attr,
    bool local)
{
	struct knode *node;
	struct attr c;
	bool alive;

	if (attr->ino == 0)
		return;
	node = kview_find(kv, attr->ino);
	if (node == NULL || node->unborn)
		return;
	if (node->own_attr && node->attr.attr_rev > attr->attr_rev)
		return;
	alive = tree_node_get(t, attr->ino, &c);
	if (alive && !node->own_attr && !local)
		return;
	node->attr = *attr;
	node->own_attr = node->n_pending > 0 || !alive ||
	    c.attr_rev != attr->attr_rev;
	kview_release(kv, node);
}

/* A node that C has not any more keeps what K showed, until K has lost it. */
static void
attr_settle(struct kview *kv, struct store_txn *t, uint64_t ino)
{
	struct knode *node;
	struct attr c;

	if (ino == 0)
		return;
	node = kview_find(kv, ino);
	assert(node != NULL && node->n_pending > 0);
	if (--node->n_pending == 0 && !node->unborn &&
	    tree_node_get(t, ino, &c))
		node->own_attr = false;
	kview_release(kv, node);
}

static uint64_t
committed(struct store_txn *t, uint64_t dir, struct slice name)
{
	struct tree_name entry;

	return tree_name_get(t, dir, name, &entry) ? entry.ino : 0;
}

static unsigned
key_make(struct key *key, uint64_t dir, struct slice name)
{
	assert(name.len > 0 && name.len <= LIMIT_NAME);
	key->dir = dir;
	memcpy(key->name, name.ptr, name.len);
	key->name[name.len] = '\0';
	return offsetof(struct key, name) + name.len;
}

static struct kname *
name_find(struct kview *kv, uint64_t dir, struct slice name)
{
	struct kname *kn;
	struct key key;
	unsigned len;

	if (kv->names == NULL || name.len == 0 || name.len > LIMIT_NAME)
		return NULL;
	len = key_make(&key, dir, name);
	HASH_FIND(hh, kv->names, &key, len, kn);
	return kn;
}

static struct kname *
name_make(struct kview *kv, uint64_t dir, struct slice name, uint64_t ino)
{
	struct kname *kn = calloc(1, sizeof *kn);

	assert(kn != NULL);
	kn->key_len = key_make(&kn->key, dir, name);
	kn->parent = kview_node(kv, dir);
	DL_APPEND2(kn->parent->children, kn, sibling_prev, sibling);
	HASH_ADD_KEYPTR(hh, kv->names, &kn->key, kn->key_len, kn);
	name_point(kv, kn, ino);
	return kn;
}

static void
name_point(struct kview *kv, struct kname *kn, uint64_t ino)
{
	struct knode *was = kn->node;

	if (was != NULL && was->ino == ino)
		return;
	kn->ino = ino;
	kn->node = NULL;
	if (was != NULL) {
		DL_DELETE(was->names, kn);
		kview_release(kv, was);
	}
	if (ino != 0) {
		kn->node = kview_node(kv, ino);
		DL_APPEND(kn->node->names, kn);
	}
}

/* Drops the overlay entry when it says nothing that C does not say. */
static void
name_tidy(struct kview *kv, struct store_txn *t, struct kname *kn)
{
	if (kn->pending > 0)
		return;
	if (committed(t, kn->key.dir, slice_str(kn->key.name)) != kn->ino)
		return;
	name_free(kv, kn);
}

static void
name_free(struct kview *kv, struct kname *kn)
{
	struct knode *parent = kn->parent;

	name_point(kv, kn, 0);
	DL_DELETE2(parent->children, kn, sibling_prev, sibling);
	kview_release(kv, parent);
	HASH_DEL(kv->names, kn);
	free(kn);
}
