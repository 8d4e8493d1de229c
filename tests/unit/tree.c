/*
 * tree.c: names and their mirror images, what is remembered of removed ones,
 * and that check.c sees what is wrong.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

#include "tests/tap.h"
#include "tree/schema.h"
#include "tree/tree.h"

static struct store *store;
static struct store_txn *txn;
static char why[256];

static struct slice
s(const char *text)
{
	return slice_str(text);
}

static void
put_node(uint64_t ino, uint32_t mode, uint32_t nlink, uint64_t size)
{
	tree_node_put(txn, &(struct attr){.ino = ino, .mode = mode,
	    .nlink = nlink, .size = size, .rev = 1, .attr_rev = 1});
}

static void
put_name(uint64_t dir, const char *name, uint64_t ino, uint64_t rev)
{
	tree_name_put(txn, dir, s(name), &(struct tree_name){ino, rev});
}

/* /, /d (2), /d/f (3) = /g, /l (4) -> "to" */
static void
begin(void)
{
	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	tree_meta_put(txn, &(struct tree_meta){.rev = 9, .n_inodes = 4,
	    .bytes = 5 + LIMIT_LINK_BYTES, .next_range = 1});
	put_node(1, S_IFDIR | 0755, 3, 0);
	put_node(2, S_IFDIR | 0755, 2, 0);
	put_node(3, S_IFREG | 0644, 2, 3);
	put_node(4, S_IFLNK | 0777, 1, 2);
	put_name(1, "d", 2, 1);
	put_name(2, "f", 3, 2);
	put_name(1, "g", 3, 3);
	put_name(1, "l", 4, 4);
	tree_content_put(txn, 3, s("abc"));
	tree_content_put(txn, 4, s("to"));
}

static void
end(void)
{
	store_abort(txn);
	store_close(store);
}

static void
test_names(void)
{
	struct slice name = SLICE_EMPTY;
	struct tree_name n;
	uint64_t dir = 0;
	char seen[64] = "";

	begin();
	is_int(tree_check(txn, why, sizeof(why)), 0, "the tree is whole");
	while (tree_name_next(txn, 1, name, &name, &n))
		(void)strncat(seen, name.ptr, name.len);
	is_str(seen, "dgl", "a directory lists its names in byte order");
	ok(!tree_dir_empty(txn, 1) && tree_dir_empty(txn, 77),
	    "a directory knows whether it has names");
	name = SLICE_EMPTY;
	ok(tree_backlink_next(txn, 3, dir, name, &dir, &name) && dir == 1 &&
	    slice_eq(name, s("g")), "a file finds its first name");
	ok(tree_backlink_next(txn, 3, dir, name, &dir, &name) && dir == 2 &&
	    slice_eq(name, s("f")), "and its second");
	ok(!tree_backlink_next(txn, 3, dir, name, &dir, &name),
	    "and no third");
	is_int(tree_parent(txn, 2), 1, "a directory has one parent");
	is_int(tree_parent(txn, 1), 0, "the root has none");
	ok(tree_is_ancestor(txn, 1, 2) && tree_is_ancestor(txn, 2, 2) &&
	    !tree_is_ancestor(txn, 2, 1), "ancestors are above");
	is_int(tree_depth(txn, 2), 1, "depth counts names from the root");
	is_int(tree_lookup_path(txn, s("/d/f")), 3, "a path is walked");
	is_int(tree_lookup_path(txn, s("d//f")), 3, "slashes may repeat");
	is_int(tree_lookup_path(txn, s("/")), 1, "the root is found");
	is_int(tree_lookup_path(txn, s("/d/none")), 0, "or is not there");
	put_name(1, "g", 4, 5);
	name = SLICE_EMPTY;
	ok(tree_backlink_next(txn, 3, 0, SLICE_EMPTY, &dir, &name) &&
	    dir == 2, "a name given to another node is no longer the first's");
	end();
}

static void
test_tombstones(void)
{
	struct tree_name n;
	char name[32];

	begin();
	is_int(tree_name_rev(txn, 1, s("g")), 3, "a name has its revision");
	is_int(tree_name_rev(txn, 1, s("never")), 0,
	    "an unknown one the horizon, 0 at first");
	tree_name_del(txn, 1, s("g"), 7);
	ok(!tree_name_get(txn, 1, s("g"), &n), "a removed name is gone");
	is_int(tree_name_rev(txn, 1, s("g")), 7, "its removal is remembered");
	put_name(1, "g", 3, 8);
	is_int(tree_name_rev(txn, 1, s("g")), 8, "until it is made again");
	is_int(tree_check(txn, why, sizeof(why)), 0, "the tree is whole");
	tree_name_del(txn, 1, s("none"), 9);
	is_int(tree_name_rev(txn, 1, s("none")), 0,
	    "removing what is not there leaves nothing");

	tree_name_del(txn, 1, s("g"), 8);
	for (unsigned i = 0; i < LIMIT_TOMBSTONES + 10; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		put_name(2, name, 4, 9 + i);
		tree_name_del(txn, 2, s(name), 9 + i);
	}
	is_int(tree_name_rev(txn, 2, s("n11")), 20,
	    "the newest tombstones are kept");
	is_int(tree_name_rev(txn, 2, s("n9")), 9 + 9,
	    "a dropped one answers the horizon");
	is_int(tree_name_rev(txn, 1, s("g")), 9 + 9,
	    "all dropped ones the same");
	is_int(tree_name_rev(txn, 1, s("never")), 9 + 9,
	    "and so every name never seen");
	end();
}

static void
test_xattrs(void)
{
	struct slice name = SLICE_EMPTY, value;
	struct tree_meta meta;
	unsigned n = 0;

	begin();
	tree_xattr_put(txn, 3, s("user.b"), s("1"));
	tree_xattr_put(txn, 3, s("user.a"), SLICE_EMPTY);
	tree_xattr_put(txn, 2, s("user.c"), s("3"));
	ok(tree_xattr_get(txn, 3, s("user.a"), &value) && value.len == 0,
	    "an attribute may be empty");
	ok(!tree_xattr_get(txn, 3, s("user.c"), &value),
	    "a node has its own attributes only");
	while (tree_xattr_next(txn, 3, name, &name, &value))
		n++;
	is_int(n, 2, "they are listed");
	ok(tree_check(txn, why, sizeof(why)) != 0, "they count as bytes");
	assert(tree_meta_get(txn, &meta));
	meta.bytes += strlen("user.b1") + strlen("user.a") +
	    strlen("user.c3") + 3 * LIMIT_XATTR_BYTES;
	tree_meta_put(txn, &meta);
	is_int(tree_check(txn, why, sizeof(why)), 0, "the tree is whole");
	tree_xattr_del(txn, 3, s("user.a"));
	ok(!tree_xattr_get(txn, 3, s("user.a"), &value), "and removed");
	end();
}

static void
found(const char *what)
{
	why[0] = '\0';
	ok(tree_check(txn, why, sizeof(why)) == -EUCLEAN && why[0] != '\0',
	    "check finds %s: %s", what, why);
	end();
}

static void
test_check(void)
{
	struct key k;

	begin();
	put_node(3, S_IFREG | 0644, 1, 3);
	found("a wrong link count");
	begin();
	put_node(1, S_IFDIR | 0755, 2, 0);
	found("a subdirectory not counted");
	begin();
	tree_node_del(txn, 4);
	found("a name without a node");
	begin();
	put_node(5, S_IFREG | 0644, 1, 0);
	found("a node without a name");
	begin();
	tree_content_put(txn, 3, s("ab"));
	found("content that is not of its size");
	begin();
	tree_content_put(txn, 2, s("ab"));
	found("content of a directory");
	begin();
	store_del(txn, schema_key(&k, FAMILY_BACKLINK, 3, 1, s("g")));
	found("a missing backlink");
	begin();
	store_put(txn, schema_key(&k, FAMILY_BACKLINK, 3, 1, s("x")),
	    SLICE_EMPTY);
	found("a backlink too many");
	begin();
	put_name(2, "up", 1, 5);
	found("a name of the root");
	begin();
	put_name(1, "future", 3, 10);
	put_node(3, S_IFREG | 0644, 3, 3);
	found("a revision of the future");
	begin();
	tree_xattr_put(txn, 4, s("user.a"), s("1"));
	found("an attribute of a link");
	begin();
	tree_meta_put(txn, &(struct tree_meta){.rev = 9, .n_inodes = 4,
	    .bytes = 6 + LIMIT_LINK_BYTES, .next_range = 1});
	found("a wrong sum of bytes");
	begin();
	store_put(txn, schema_key(&k, FAMILY_TOMB, 1, 0, s("g")),
	    slice_of("\1\0\0\0\0\0\0\0", 8));
	found("a tombstone of a name that is there");
	begin();
	store_put(txn, schema_prefix(&k, FAMILY_NODE, 1, 3, 0), s("short"));
	found("a node that cannot be read");
}

static void
test_keys(void)
{
	uint64_t a, b;
	struct slice key, name;
	struct key k;

	key = schema_key(&k, FAMILY_BACKLINK, 5, 6, s("name"));
	ok(schema_parse(key, FAMILY_BACKLINK, &a, &b, &name) && a == 5 &&
	    b == 6 && slice_eq(name, s("name")), "a key comes back");
	ok(!schema_parse(key, FAMILY_NAME, &a, &b, &name),
	    "as its own family only");
	key.len = 12;
	ok(!schema_parse(key, FAMILY_BACKLINK, &a, &b, &name),
	    "a cut key is refused");
	ok(FAMILY_APPLIED < STORE_REPLICATED && FAMILY_META >= STORE_REPLICATED,
	    "what is replicated is in the digest, what is local is not");
}

int
main(void)
{
	test_keys();
	test_names();
	test_tombstones();
	test_xattrs();
	test_check();
	return done_testing();
}
