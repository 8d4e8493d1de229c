/*
 * attrs.c: extended attributes, by full name.
 */
#include "config.h"

#include "tree/tree.h"

#include "tree/schema.h"

bool
tree_xattr_get(struct store_txn *txn, uint64_t ino, struct slice name,
    struct slice *ret)
{
	struct key k;

	if (name.len == 0 || name.len > LIMIT_XATTR_NAME)
		return false;
	return store_get(txn, schema_key(&k, FAMILY_XATTR, ino, 0, name), ret);
}

void
tree_xattr_put(struct store_txn *txn, uint64_t ino, struct slice name,
    struct slice value)
{
	struct key k;

	store_put(txn, schema_key(&k, FAMILY_XATTR, ino, 0, name), value);
}

void
tree_xattr_del(struct store_txn *txn, uint64_t ino, struct slice name)
{
	struct key k;

	store_del(txn, schema_key(&k, FAMILY_XATTR, ino, 0, name));
}

bool
tree_xattr_next(struct store_txn *txn, uint64_t ino, struct slice after,
    struct slice *ret_name, struct slice *ret_value)
{
	struct slice key, name, value;
	uint64_t of;
	struct key k;

	if (!store_seek(txn, schema_key(&k, FAMILY_XATTR, ino, 0, after),
	    after.len != 0, &key, &value))
		return false;
	if (!schema_parse(key, FAMILY_XATTR, &of, NULL, &name) || of != ino)
		return false;
	*ret_name = name;
	*ret_value = value;
	return true;
}
