/*
 * nodes.c: a node's attributes as a value.
 */
#include "config.h"

#include "tree/tree.h"

#include <assert.h>

#include "tree/schema.h"

bool
tree_node_get(struct store_txn *txn, uint64_t ino, struct attr *ret)
{
	struct attr a = {.ino = ino};
	struct slice value;
	struct reader r;
	struct key k;

	if (!store_get(txn, schema_prefix(&k, FAMILY_NODE, 1, ino, 0), &value))
		return false;
	reader_init(&r, value);
	schema_attr_get(&r, &a);
	if (!reader_done(&r))
		return false;
	*ret = a;
	return true;
}

void
tree_node_put(struct store_txn *txn, const struct attr *a)
{
	uint8_t bytes[SCHEMA_ATTR_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	assert(a->ino != 0 && a->nlink != 0);
	schema_attr_put(&b, a);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_NODE, 1, a->ino, 0),
	    buf_slice(&b));
}

void
tree_node_del(struct store_txn *txn, uint64_t ino)
{
	struct key k;

	store_del(txn, schema_prefix(&k, FAMILY_NODE, 1, ino, 0));
}
