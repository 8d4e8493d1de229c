/*
 * store_mem.c: a store in memory, for tests and simulation.
 *
 * A treap whose priorities are a hash of the key, so that its shape follows
 * from its keys alone.  Nodes are counted and shared between versions: a write
 * transaction copies the path to what it changes, unless it already owns it,
 * and readers keep the root of their begin.  Whoever uses a slice longer than
 * store.h allows is told so by the address sanitizer.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "store/store_internal.h"

struct entry {
	_Atomic unsigned refs;
	uint64_t priority;
	uint32_t key_len, value_len;
	uint8_t bytes[]; /* key, value */
};

struct node {
	_Atomic unsigned refs;
	struct entry *entry;	   /* one reference */
	struct node *left, *right; /* one reference each */
};

struct txn {
	struct store_txn base;
	struct node *root; /* one reference */
};

struct store_mem {
	struct store base;
	struct node *root; /* one reference */
};

static void mem_close(struct store *);
static int mem_clear(struct store *);
static struct store_txn *mem_begin(struct store *, enum store_mode);
static int mem_commit(struct store_txn *);
static void mem_abort(struct store_txn *);
static int mem_get(struct store_txn *, struct slice, struct slice *);
static int mem_seek(struct store_txn *, struct slice, bool, struct slice *,
    struct slice *);
static int mem_put(struct store_txn *, struct slice, struct slice,
    struct slice);
static int mem_del(struct store_txn *, struct slice);
static struct entry *entry_new(struct slice key, struct slice value,
    struct slice tail);
static struct slice entry_key(const struct entry *);
static struct slice entry_value(const struct entry *);
static struct entry *entry_ref(struct entry *);
static void entry_unref(struct entry *);
static struct node *node_new(struct entry *, struct node *, struct node *);
static struct node *node_ref(struct node *);
static void node_unref(struct node *);
static struct node *node_own(struct node *);
static struct node *node_put(struct node *, struct entry *);
static struct node *node_del(struct node *, struct slice key);
static struct node *node_join(struct node *, struct node *);
static struct node *lift_left(struct node *);
static struct node *lift_right(struct node *);
static void *allocate(size_t);

static const struct store_ops mem_ops = {
    .close = mem_close,
    .clear = mem_clear,
    .begin = mem_begin,
    .commit = mem_commit,
    .abort = mem_abort,
    .get = mem_get,
    .seek = mem_seek,
    .put = mem_put,
    .del = mem_del,
};

int
store_open_mem(struct store **ret)
{
	struct store_mem *s;
	int err;

	err = digest_setup();
	if (err != 0)
		return err;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->base.ops = &mem_ops;
	*ret = &s->base;
	return 0;
}

static void
mem_close(struct store *base)
{
	(void)mem_clear(base);
	free(base);
}

static int
mem_clear(struct store *base)
{
	struct store_mem *s = (struct store_mem *)base;

	node_unref(s->root);
	s->root = NULL;
	return 0;
}

static struct store_txn *
mem_begin(struct store *base, enum store_mode mode)
{
	struct store_mem *s = (struct store_mem *)base;
	struct txn *t = allocate(sizeof(*t));

	*t = (struct txn){.base = {.store = base, .mode = mode}};
	t->root = node_ref(s->root);
	return &t->base;
}

static int
mem_commit(struct store_txn *base)
{
	struct store_mem *s = (struct store_mem *)base->store;
	struct txn *t = (struct txn *)base;
	struct node *old = s->root;

	s->root = t->root;
	t->root = old;
	mem_abort(base);
	return 0;
}

static void
mem_abort(struct store_txn *base)
{
	struct txn *t = (struct txn *)base;

	node_unref(t->root);
	free(t);
}

static int
mem_get(struct store_txn *base, struct slice key, struct slice *ret)
{
	struct node *n = ((struct txn *)base)->root;

	while (n != NULL) {
		int order = slice_cmp(key, entry_key(n->entry));

		if (order == 0) {
			*ret = entry_value(n->entry);
			return 0;
		}
		n = order < 0 ? n->left : n->right;
	}
	return -ENOENT;
}

static int
mem_seek(struct store_txn *base, struct slice from, bool after,
    struct slice *ret_key, struct slice *ret_value)
{
	struct node *n = ((struct txn *)base)->root;
	struct entry *found = NULL;

	while (n != NULL) {
		int order = slice_cmp(from, entry_key(n->entry));

		if (order < 0 || (order == 0 && !after)) {
			found = n->entry;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	if (found == NULL)
		return -ENOENT;
	*ret_key = entry_key(found);
	*ret_value = entry_value(found);
	return 0;
}

static int
mem_put(struct store_txn *base, struct slice key, struct slice value,
    struct slice tail)
{
	struct txn *t = (struct txn *)base;

	t->root = node_put(t->root, entry_new(key, value, tail));
	return 0;
}

/* A copy of the key: it may be borrowed from the entry that goes. */
static int
mem_del(struct store_txn *base, struct slice key)
{
	struct txn *t = (struct txn *)base;
	uint8_t copy[STORE_KEY_MAX];
	struct slice value;

	if (mem_get(base, key, &value) != 0)
		return -ENOENT;
	memcpy(copy, key.ptr, key.len);
	t->root = node_del(t->root, slice_of(copy, key.len));
	return 0;
}

/* Takes both and returns the tree's new root, which the caller owns alone. */
static struct node *
node_put(struct node *n, struct entry *e)
{
	int order;

	if (n == NULL)
		return node_new(e, NULL, NULL);
	n = node_own(n);
	order = slice_cmp(entry_key(e), entry_key(n->entry));
	if (order == 0) {
		entry_unref(n->entry);
		n->entry = e;
		return n;
	}
	if (order < 0) {
		n->left = node_put(n->left, e);
		if (n->left->entry->priority > n->entry->priority)
			n = lift_left(n);
	} else {
		n->right = node_put(n->right, e);
		if (n->right->entry->priority > n->entry->priority)
			n = lift_right(n);
	}
	return n;
}

/* Takes the tree, which has the key. */
static struct node *
node_del(struct node *n, struct slice key)
{
	struct node *left, *right;
	int order;

	assert(n != NULL);
	n = node_own(n);
	order = slice_cmp(key, entry_key(n->entry));
	if (order < 0) {
		n->left = node_del(n->left, key);
		return n;
	}
	if (order > 0) {
		n->right = node_del(n->right, key);
		return n;
	}
	left = n->left;
	right = n->right;
	n->left = n->right = NULL;
	node_unref(n);
	return node_join(left, right);
}

/* Takes both; all of a is before all of b. */
static struct node *
node_join(struct node *a, struct node *b)
{
	if (a == NULL)
		return b;
	if (b == NULL)
		return a;
	if (a->entry->priority > b->entry->priority) {
		a = node_own(a);
		a->right = node_join(a->right, b);
		return a;
	}
	b = node_own(b);
	b->left = node_join(a, b->left);
	return b;
}

/* Rotations; both nodes are ours alone. */
static struct node *
lift_left(struct node *n)
{
	struct node *l = n->left;

	n->left = l->right;
	l->right = n;
	return l;
}

static struct node *
lift_right(struct node *n)
{
	struct node *r = n->right;

	n->right = r->left;
	r->left = n;
	return r;
}

/* Takes a reference, returns a node that nobody else can see. */
static struct node *
node_own(struct node *n)
{
	struct node *copy;

	if (atomic_load(&n->refs) == 1)
		return n;
	copy = node_new(entry_ref(n->entry), node_ref(n->left),
	    node_ref(n->right));
	node_unref(n);
	return copy;
}

static struct node *
node_new(struct entry *e, struct node *left, struct node *right)
{
	struct node *n = allocate(sizeof(*n));

	atomic_init(&n->refs, 1);
	n->entry = e;
	n->left = left;
	n->right = right;
	return n;
}

static struct node *
node_ref(struct node *n)
{
	if (n != NULL)
		atomic_fetch_add(&n->refs, 1);
	return n;
}

static void
node_unref(struct node *n)
{
	if (n == NULL || atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	node_unref(n->left);
	node_unref(n->right);
	entry_unref(n->entry);
	free(n);
}

static struct entry *
entry_new(struct slice key, struct slice value, struct slice tail)
{
	struct entry *e = allocate(sizeof(*e) + key.len + value.len + tail.len);
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	assert(key.len <= STORE_KEY_MAX && value.len < UINT32_MAX / 2);
	atomic_init(&e->refs, 1);
	e->key_len = (uint32_t)key.len;
	e->value_len = (uint32_t)(value.len + tail.len);
	memcpy(e->bytes, key.ptr, key.len);
	if (value.len != 0)
		memcpy(e->bytes + key.len, value.ptr, value.len);
	if (tail.len != 0)
		memcpy(e->bytes + key.len + value.len, tail.ptr, tail.len);
	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ e->bytes[i]) * UINT64_C(0x100000001b3);
	/* FNV's high bits hardly see the last byte: fold them. */
	hash ^= hash >> 32;
	e->priority = hash * UINT64_C(0x9e3779b97f4a7c15);
	return e;
}

static struct slice
entry_key(const struct entry *e)
{
	return slice_of(e->bytes, e->key_len);
}

static struct slice
entry_value(const struct entry *e)
{
	return slice_of(e->bytes + e->key_len, e->value_len);
}

static struct entry *
entry_ref(struct entry *e)
{
	atomic_fetch_add(&e->refs, 1);
	return e;
}

static void
entry_unref(struct entry *e)
{
	if (atomic_fetch_sub(&e->refs, 1) == 1)
		free(e);
}

/* Tests have memory; the store on disk answers -ENOMEM. */
static void *
allocate(size_t len)
{
	void *ptr = malloc(len);

	if (ptr == NULL)
		abort();
	return ptr;
}
