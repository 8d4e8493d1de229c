/*
 * content.c: bytes of regular files, targets of symbolic links.
 *
 * What is empty has no key.
 */
#include "config.h"

#include "tree/tree.h"

#include "tree/schema.h"

struct slice
tree_content(struct store_txn *txn, uint64_t ino)
{
	struct slice value;
	struct key k;

	if (!store_get(txn, schema_prefix(&k, FAMILY_CONTENT, 1, ino, 0),
	    &value))
		return SLICE_EMPTY;
	return value;
}

void
tree_content_put(struct store_txn *txn, uint64_t ino, struct slice content)
{
	struct key k;

	if (content.len == 0)
		tree_content_del(txn, ino);
	else
		store_put(txn, schema_prefix(&k, FAMILY_CONTENT, 1, ino, 0),
		    content);
}

void
tree_content_del(struct store_txn *txn, uint64_t ino)
{
	struct key k;

	store_del(txn, schema_prefix(&k, FAMILY_CONTENT, 1, ino, 0));
}
