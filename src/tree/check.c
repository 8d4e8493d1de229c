/*
 * check.c: every invariant of the tree.
 *
 * - Every node but the root has a name, and a directory has exactly one; going
 *   up from it ends at the root within LIMIT_DEPTH.
 * - Names and backlinks are each other's mirror, and name nodes that exist.
 * - nlink counts names, of a directory 2 and its subdirectories.
 * - Content and size agree; only files and links have content, only files and
 *   directories have extended attributes.
 * - The sums in meta are the sums; no revision is from the future.
 * - A name is in the tree or has a tombstone, never both; tombstones, their
 *   order and their count agree.
 * - Locks and lifetimes: check_locks.c.
 * - The store's kept digest is the digest of its keys.
 */
#include "config.h"

#include "tree/tree.h"

#include <sys/stat.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tree/schema.h"

struct check {
	struct store_txn *txn;
	struct tree_meta meta;
	uint64_t n_inodes, bytes; /* counted */
	uint64_t n_names, n_backlinks;
	uint64_t n_tombs, n_orders;
	char *why; /* the first finding; "" so far */
	size_t why_len;
	bool bad;
};

typedef void check_fn(struct check *, struct slice key, struct slice value);

static void walk(struct check *, enum family, check_fn *);
static check_fn check_node, check_name, check_backlink, check_content,
    check_xattr, check_tomb, check_order;
static void check_links(struct check *, const struct attr *);
static void check_up(struct check *, uint64_t dir);
static uint32_t count_names(struct check *, uint64_t ino);
static uint32_t count_subdirs(struct check *, uint64_t dir);
static void check_sums(struct check *);
static void found(struct check *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

int
tree_check(struct store_txn *txn, char *ret_why, size_t why_len)
{
	struct check c = {.txn = txn, .why = ret_why, .why_len = why_len};
	struct slice key, value;
	struct key k;

	if (!tree_meta_get(txn, &c.meta)) {
		if (!store_seek(txn,
		    schema_prefix(&k, FAMILY_META, 0, 0, 0), false, &key,
		    &value))
			return 0; /* not formatted yet: nothing is there */
		found(&c, "there are keys but no meta");
		return -EUCLEAN;
	}
	walk(&c, FAMILY_NODE, check_node);
	walk(&c, FAMILY_NAME, check_name);
	walk(&c, FAMILY_BACKLINK, check_backlink);
	walk(&c, FAMILY_CONTENT, check_content);
	walk(&c, FAMILY_XATTR, check_xattr);
	walk(&c, FAMILY_TOMB, check_tomb);
	walk(&c, FAMILY_TOMB_ORDER, check_order);
	if (!c.bad)
		check_sums(&c);
	if (!c.bad && !tree_check_locks(txn, ret_why, why_len))
		c.bad = true;
	return c.bad ? -EUCLEAN : 0;
}

/* Other reads move what was borrowed: each key is copied before its check. */
static void
walk(struct check *c, enum family family, check_fn *fn)
{
	uint8_t copy[STORE_KEY_MAX];
	struct slice from, key, value;
	struct key k;
	bool after = false;

	from = schema_prefix(&k, family, 0, 0, 0);
	while (!c->bad && store_seek(c->txn, from, after, &key, &value)) {
		if (*(const uint8_t *)key.ptr != family)
			return;
		memcpy(copy, key.ptr, key.len);
		from = slice_of(copy, key.len);
		after = true;
		fn(c, from, value);
	}
}

static void
check_node(struct check *c, struct slice key, struct slice value)
{
	struct attr a;
	uint64_t ino;

	if (!schema_parse(key, FAMILY_NODE, &ino, NULL, NULL) ||
	    !tree_node_get(c->txn, ino, &a)) {
		found(c, "a node cannot be read");
		return;
	}
	c->n_inodes++;
	if (!S_ISDIR(a.mode))
		c->bytes += a.size +
		    (a.nlink - 1) * (uint64_t)LIMIT_LINK_BYTES;
	if (!S_ISDIR(a.mode) && !S_ISREG(a.mode) && !S_ISLNK(a.mode))
		found(c, "node %" PRIu64 " has mode %o", ino, a.mode);
	if (a.rev > a.attr_rev || a.attr_rev > c->meta.rev)
		found(c, "node %" PRIu64 " is from the future", ino);
	if (a.ctime_ns > c->meta.time_ns)
		found(c, "node %" PRIu64 " changed after the last commit", ino);
	if (S_ISDIR(a.mode) ? a.size != 0 :
	    a.size != tree_content(c->txn, ino).len)
		found(c, "node %" PRIu64 ": %" PRIu64 " bytes are not its size",
		    ino, a.size);
	if (S_ISLNK(a.mode) && a.size == 0)
		found(c, "link %" PRIu64 " points nowhere", ino);
	check_links(c, &a);
}

static void
check_links(struct check *c, const struct attr *a)
{
	uint32_t n_names = count_names(c, a->ino), nlink;
	uint32_t expected = a->ino == TREE_ROOT ? 0 : 1;

	if (!S_ISDIR(a->mode)) {
		if (n_names != a->nlink || n_names == 0)
			found(c, "node %" PRIu64 ": nlink %u, but %u names",
			    a->ino, a->nlink, n_names);
		return;
	}
	if (n_names != expected)
		found(c, "directory %" PRIu64 " has %u names", a->ino, n_names);
	nlink = 2 + count_subdirs(c, a->ino);
	if (nlink != a->nlink)
		found(c, "directory %" PRIu64 ": nlink %u, should be %u",
		    a->ino, a->nlink, nlink);
	check_up(c, a->ino);
}

static void
check_up(struct check *c, uint64_t dir)
{
	uint64_t up = dir;

	for (unsigned i = 0; i <= LIMIT_DEPTH; i++) {
		if (up == TREE_ROOT)
			return;
		up = tree_parent(c->txn, up);
	}
	found(c, "directory %" PRIu64 " is not below the root", dir);
}

static uint32_t
count_names(struct check *c, uint64_t ino)
{
	struct slice name = SLICE_EMPTY;
	uint64_t dir = 0;
	char copy[LIMIT_NAME];
	uint32_t n = 0;

	while (tree_backlink_next(c->txn, ino, dir, name, &dir, &name)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		n++;
	}
	return n;
}

static uint32_t
count_subdirs(struct check *c, uint64_t dir)
{
	struct slice name = SLICE_EMPTY;
	struct tree_name entry;
	char copy[LIMIT_NAME];
	struct attr a;
	uint32_t n = 0;

	while (tree_name_next(c->txn, dir, name, &name, &entry)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		if (tree_node_get(c->txn, entry.ino, &a) && S_ISDIR(a.mode))
			n++;
	}
	return n;
}

static void
check_name(struct check *c, struct slice key, struct slice value)
{
	struct tree_name n;
	struct slice name, nothing;
	struct attr a;
	uint64_t dir;
	struct key k;

	c->n_names++;
	if (!schema_parse(key, FAMILY_NAME, &dir, NULL, &name) ||
	    !tree_name_get(c->txn, dir, name, &n)) {
		found(c, "a name cannot be read");
		return;
	}
	if (!tree_node_get(c->txn, dir, &a) || !S_ISDIR(a.mode))
		found(c, "a name in %" PRIu64 ", no directory", dir);
	if (!tree_node_get(c->txn, n.ino, &a))
		found(c, "a name in %" PRIu64 " of no node", dir);
	if (n.rev > c->meta.rev)
		found(c, "a name in %" PRIu64 " is from the future", dir);
	if (!store_get(c->txn,
	    schema_key(&k, FAMILY_BACKLINK, n.ino, dir, name), &nothing))
		found(c, "a name in %" PRIu64 " has no backlink", dir);
	if (store_get(c->txn, schema_key(&k, FAMILY_TOMB, dir, 0, name),
	    &nothing))
		found(c, "a name in %" PRIu64 " has a tombstone", dir);
	if (dir == TREE_ROOT && slice_eq(name, slice_str(".gov")))
		found(c, "the root has a .gov");
}

static void
check_backlink(struct check *c, struct slice key, struct slice value)
{
	struct slice name;
	struct tree_name n;
	uint64_t ino, dir;

	c->n_backlinks++;
	if (!schema_parse(key, FAMILY_BACKLINK, &ino, &dir, &name) ||
	    !tree_name_get(c->txn, dir, name, &n) || n.ino != ino)
		found(c, "a backlink to no name");
}

static void
check_content(struct check *c, struct slice key, struct slice value)
{
	struct attr a;
	uint64_t ino;

	if (!schema_parse(key, FAMILY_CONTENT, &ino, NULL, NULL) ||
	    value.len == 0 || !tree_node_get(c->txn, ino, &a) ||
	    S_ISDIR(a.mode))
		found(c, "content of no file");
}

static void
check_xattr(struct check *c, struct slice key, struct slice value)
{
	struct slice name;
	struct attr a;
	uint64_t ino;

	if (!schema_parse(key, FAMILY_XATTR, &ino, NULL, &name) ||
	    name.len == 0 || value.len > LIMIT_XATTR_VALUE ||
	    !tree_node_get(c->txn, ino, &a) || S_ISLNK(a.mode))
		found(c, "an extended attribute out of place");
	c->bytes += tree_xattr_bytes(name, value);
}

static void
check_tomb(struct check *c, struct slice key, struct slice value)
{
	struct slice name, nothing;
	uint64_t dir, rev;
	struct reader r;
	struct key k;

	c->n_tombs++;
	reader_init(&r, value);
	rev = reader_u64(&r);
	if (!schema_parse(key, FAMILY_TOMB, &dir, NULL, &name) ||
	    !reader_done(&r) || rev > c->meta.rev) {
		found(c, "a tombstone cannot be read");
		return;
	}
	if (!store_get(c->txn,
	    schema_key(&k, FAMILY_TOMB_ORDER, rev, dir, name), &nothing))
		found(c, "a tombstone of %" PRIu64 " is out of order", dir);
}

static void
check_order(struct check *c, struct slice key, struct slice value)
{
	struct slice name;
	uint64_t rev, dir;

	c->n_orders++;
	if (!schema_parse(key, FAMILY_TOMB_ORDER, &rev, &dir, &name) ||
	    tree_name_rev(c->txn, dir, name) != rev)
		found(c, "an order of no tombstone");
}

static void
check_sums(struct check *c)
{
	uint8_t kept[STORE_DIGEST_LEN], anew[STORE_DIGEST_LEN];
	struct slice value;
	struct reader r;
	uint64_t n_tombs = 0;
	struct key k;

	if (c->n_inodes != c->meta.n_inodes)
		found(c, "%" PRIu64 " nodes, meta says %" PRIu64, c->n_inodes,
		    c->meta.n_inodes);
	if (c->bytes != c->meta.bytes)
		found(c, "%" PRIu64 " bytes, meta says %" PRIu64, c->bytes,
		    c->meta.bytes);
	if (c->n_names != c->n_backlinks)
		found(c, "%" PRIu64 " names, %" PRIu64 " backlinks",
		    c->n_names, c->n_backlinks);
	if (store_get(c->txn, schema_prefix(&k, FAMILY_TOMB_STATE, 0, 0, 0),
	    &value)) {
		reader_init(&r, value);
		n_tombs = reader_u64(&r);
	}
	if (c->n_tombs != n_tombs || c->n_orders != n_tombs)
		found(c, "%" PRIu64 " tombstones, %" PRIu64 " expected",
		    c->n_tombs, n_tombs);
	store_digest(c->txn, kept);
	store_digest_scan(c->txn, anew);
	if (memcmp(kept, anew, sizeof(kept)) != 0)
		found(c, "the kept digest is not that of the keys");
}

static void
found(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->bad)
		return;
	c->bad = true;
	va_start(ap, fmt);
	(void)vsnprintf(c->why, c->why_len, fmt, ap);
	va_end(ap);
}
