/*
 * names.c: directories, the way back from a node to its names, and what is
 * remembered of names removed.
 *
 * A removed name leaves a tombstone, its revision, until LIMIT_TOMBSTONES
 * newer ones have pushed it out.  The revision of the newest one dropped is
 * the horizon: of an unknown name it is only known that nothing changed after
 * that.  All of it is replicated: every host drops the same one at the same
 * command.
 */
#include "config.h"

#include "tree/tree.h"

#include <assert.h>

#include "tree/schema.h"

struct tombs {
	uint64_t n;	  /* kept */
	uint64_t horizon; /* revision of the newest one dropped */
};
enum { NAME_LEN = 16, TOMB_LEN = 8, TOMBS_LEN = 16 };

static void backlink_put(struct store_txn *, uint64_t ino, uint64_t dir,
    struct slice name);
static void backlink_del(struct store_txn *, uint64_t ino, uint64_t dir,
    struct slice name);
static bool tomb_get(struct store_txn *, uint64_t dir, struct slice name,
    uint64_t *ret_rev);
static void tomb_add(struct store_txn *, uint64_t dir, struct slice name,
    uint64_t rev);
static void tomb_remove(struct store_txn *, uint64_t dir, struct slice name);
static void tomb_drop_oldest(struct store_txn *, struct tombs *);
static void tombs_get(struct store_txn *, struct tombs *ret);
static void tombs_put(struct store_txn *, const struct tombs *);

bool
tree_name_get(struct store_txn *txn, uint64_t dir, struct slice name,
    struct tree_name *ret)
{
	struct tree_name n;
	struct slice value;
	struct reader r;
	struct key k;

	if (name.len == 0 || name.len > LIMIT_NAME)
		return false;
	if (!store_get(txn, schema_key(&k, FAMILY_NAME, dir, 0, name), &value))
		return false;
	reader_init(&r, value);
	n.ino = reader_u64(&r);
	n.rev = reader_u64(&r);
	if (!reader_done(&r))
		return false;
	*ret = n;
	return true;
}

void
tree_name_put(struct store_txn *txn, uint64_t dir, struct slice name,
    const struct tree_name *n)
{
	uint8_t bytes[NAME_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct tree_name old;
	struct key k;

	if (!tree_name_get(txn, dir, name, &old)) {
		tomb_remove(txn, dir, name);
	} else if (old.ino != n->ino) {
		backlink_del(txn, old.ino, dir, name);
		tree_name_life_del(txn, dir, name);
	}
	buf_u64(&b, n->ino);
	buf_u64(&b, n->rev);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_key(&k, FAMILY_NAME, dir, 0, name),
	    buf_slice(&b));
	backlink_put(txn, n->ino, dir, name);
}

void
tree_name_del(struct store_txn *txn, uint64_t dir, struct slice name,
    uint64_t rev)
{
	struct tree_name old;
	struct key k;

	if (!tree_name_get(txn, dir, name, &old))
		return;
	backlink_del(txn, old.ino, dir, name);
	store_del(txn, schema_key(&k, FAMILY_NAME, dir, 0, name));
	tree_name_life_del(txn, dir, name);
	tomb_add(txn, dir, name, rev);
}

uint64_t
tree_name_rev(struct store_txn *txn, uint64_t dir, struct slice name)
{
	struct tree_name n;
	struct tombs tombs;
	uint64_t rev;

	if (tree_name_get(txn, dir, name, &n))
		return n.rev;
	if (tomb_get(txn, dir, name, &rev))
		return rev;
	tombs_get(txn, &tombs);
	return tombs.horizon;
}

bool
tree_name_next(struct store_txn *txn, uint64_t dir, struct slice after,
    struct slice *ret_name, struct tree_name *ret)
{
	struct slice key, value, name;
	struct tree_name n;
	struct reader r;
	struct key k;
	uint64_t of;

	if (!store_seek(txn, schema_key(&k, FAMILY_NAME, dir, 0, after),
	    after.len != 0, &key, &value))
		return false;
	if (!schema_parse(key, FAMILY_NAME, &of, NULL, &name) || of != dir)
		return false;
	reader_init(&r, value);
	n.ino = reader_u64(&r);
	n.rev = reader_u64(&r);
	if (!reader_done(&r))
		return false;
	*ret_name = name;
	*ret = n;
	return true;
}

bool
tree_dir_empty(struct store_txn *txn, uint64_t dir)
{
	struct tree_name n;
	struct slice name;

	return !tree_name_next(txn, dir, SLICE_EMPTY, &name, &n);
}

bool
tree_backlink_next(struct store_txn *txn, uint64_t ino, uint64_t after_dir,
    struct slice after_name, uint64_t *ret_dir, struct slice *ret_name)
{
	struct slice key, value, name;
	uint64_t of, dir;
	struct key k;

	if (!store_seek(txn,
	    schema_key(&k, FAMILY_BACKLINK, ino, after_dir, after_name),
	    after_name.len != 0, &key, &value))
		return false;
	if (!schema_parse(key, FAMILY_BACKLINK, &of, &dir, &name) || of != ino)
		return false;
	*ret_dir = dir;
	*ret_name = name;
	return true;
}

uint64_t
tree_parent(struct store_txn *txn, uint64_t dir)
{
	struct slice name;
	uint64_t parent;

	if (!tree_backlink_next(txn, dir, 0, SLICE_EMPTY, &parent, &name))
		return 0;
	return parent;
}

bool
tree_is_ancestor(struct store_txn *txn, uint64_t ino, uint64_t dir)
{
	for (unsigned i = 0; i <= LIMIT_DEPTH && dir != 0; i++) {
		if (dir == ino)
			return true;
		dir = tree_parent(txn, dir);
	}
	return false;
}

unsigned
tree_depth(struct store_txn *txn, uint64_t dir)
{
	unsigned depth = 0;

	while (dir != TREE_ROOT && dir != 0 && depth <= LIMIT_DEPTH) {
		dir = tree_parent(txn, dir);
		depth++;
	}
	return depth;
}

uint64_t
tree_lookup_path(struct store_txn *txn, struct slice path)
{
	const char *p = path.ptr, *end = p + path.len, *slash;
	struct tree_name n = {.ino = TREE_ROOT};
	struct attr root;

	if (!tree_node_get(txn, TREE_ROOT, &root))
		return 0;
	while (p < end) {
		slash = memchr(p, '/', (size_t)(end - p));
		if (slash == NULL)
			slash = end;
		if (slash != p && !tree_name_get(txn, n.ino,
		    slice_of(p, (size_t)(slash - p)), &n))
			return 0;
		p = slash == end ? end : slash + 1;
	}
	return n.ino;
}

static void
backlink_put(struct store_txn *txn, uint64_t ino, uint64_t dir,
    struct slice name)
{
	struct key k;

	store_put(txn, schema_key(&k, FAMILY_BACKLINK, ino, dir, name),
	    SLICE_EMPTY);
}

static void
backlink_del(struct store_txn *txn, uint64_t ino, uint64_t dir,
    struct slice name)
{
	struct key k;

	store_del(txn, schema_key(&k, FAMILY_BACKLINK, ino, dir, name));
}

static bool
tomb_get(struct store_txn *txn, uint64_t dir, struct slice name,
    uint64_t *ret_rev)
{
	struct slice value;
	struct reader r;
	struct key k;

	if (name.len == 0 || name.len > LIMIT_NAME)
		return false;
	if (!store_get(txn, schema_key(&k, FAMILY_TOMB, dir, 0, name), &value))
		return false;
	reader_init(&r, value);
	*ret_rev = reader_u64(&r);
	return reader_done(&r);
}

static void
tomb_add(struct store_txn *txn, uint64_t dir, struct slice name, uint64_t rev)
{
	uint8_t bytes[TOMB_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct tombs tombs;
	struct key k;

	buf_u64(&b, rev);
	store_put(txn, schema_key(&k, FAMILY_TOMB, dir, 0, name),
	    buf_slice(&b));
	store_put(txn, schema_key(&k, FAMILY_TOMB_ORDER, rev, dir, name),
	    SLICE_EMPTY);
	tombs_get(txn, &tombs);
	tombs.n++;
	while (tombs.n > LIMIT_TOMBSTONES)
		tomb_drop_oldest(txn, &tombs);
	tombs_put(txn, &tombs);
}

static void
tomb_remove(struct store_txn *txn, uint64_t dir, struct slice name)
{
	struct tombs tombs;
	uint64_t rev;
	struct key k;

	if (!tomb_get(txn, dir, name, &rev))
		return;
	store_del(txn, schema_key(&k, FAMILY_TOMB, dir, 0, name));
	store_del(txn, schema_key(&k, FAMILY_TOMB_ORDER, rev, dir, name));
	tombs_get(txn, &tombs);
	tombs.n--;
	tombs_put(txn, &tombs);
}

static void
tomb_drop_oldest(struct store_txn *txn, struct tombs *tombs)
{
	struct slice key, value, name;
	uint8_t copy[LIMIT_NAME];
	uint64_t rev, dir;
	struct key k;

	tombs->n--;
	if (!store_seek(txn, schema_prefix(&k, FAMILY_TOMB_ORDER, 0, 0, 0),
	    false, &key, &value) ||
	    !schema_parse(key, FAMILY_TOMB_ORDER, &rev, &dir, &name) ||
	    name.len > sizeof(copy))
		return;
	/* Borrowed from the store, which is about to change. */
	memcpy(copy, name.ptr, name.len);
	name.ptr = copy;
	store_del(txn, schema_key(&k, FAMILY_TOMB_ORDER, rev, dir, name));
	store_del(txn, schema_key(&k, FAMILY_TOMB, dir, 0, name));
	tombs->horizon = rev;
}

static void
tombs_get(struct store_txn *txn, struct tombs *ret)
{
	struct tombs tombs = {0};
	struct slice value;
	struct reader r;
	struct key k;

	if (store_get(txn, schema_prefix(&k, FAMILY_TOMB_STATE, 0, 0, 0),
	    &value)) {
		reader_init(&r, value);
		tombs.n = reader_u64(&r);
		tombs.horizon = reader_u64(&r);
	}
	*ret = tombs;
}

static void
tombs_put(struct store_txn *txn, const struct tombs *tombs)
{
	uint8_t bytes[TOMBS_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, tombs->n);
	buf_u64(&b, tombs->horizon);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_TOMB_STATE, 0, 0, 0),
	    buf_slice(&b));
}
