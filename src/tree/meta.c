/*
 * meta.c: facts about the whole tree, and how far this host has applied.
 */
#include "config.h"

#include "tree/tree.h"

#include <assert.h>

#include "tree/schema.h"

enum { META_LEN = 8 * 8 + 4, APPLIED_LEN = 16 };

bool
tree_meta_get(struct store_txn *txn, struct tree_meta *ret)
{
	struct tree_meta m;
	struct slice value;
	struct reader r;
	struct key k;

	if (!store_get(txn, schema_prefix(&k, FAMILY_META, 0, 0, 0), &value))
		return false;
	reader_init(&r, value);
	m.rev = reader_u64(&r);
	m.time_ns = reader_u64(&r);
	m.next_range = reader_u64(&r);
	m.n_inodes = reader_u64(&r);
	m.bytes = reader_u64(&r);
	m.settings.max_file = reader_u64(&r);
	m.settings.tree_bytes = reader_u64(&r);
	m.settings.tree_inodes = reader_u64(&r);
	m.level = reader_u32(&r);
	if (!reader_done(&r))
		return false;
	*ret = m;
	return true;
}

void
tree_meta_put(struct store_txn *txn, const struct tree_meta *m)
{
	uint8_t bytes[META_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, m->rev);
	buf_u64(&b, m->time_ns);
	buf_u64(&b, m->next_range);
	buf_u64(&b, m->n_inodes);
	buf_u64(&b, m->bytes);
	buf_u64(&b, m->settings.max_file);
	buf_u64(&b, m->settings.tree_bytes);
	buf_u64(&b, m->settings.tree_inodes);
	buf_u32(&b, m->level);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_META, 0, 0, 0), buf_slice(&b));
}

void
tree_applied_get(struct store_txn *txn, struct tree_applied *ret)
{
	struct tree_applied a = {0};
	struct slice value;
	struct reader r;
	struct key k;

	if (store_get(txn, schema_prefix(&k, FAMILY_APPLIED, 0, 0, 0),
	    &value)) {
		reader_init(&r, value);
		a.index = reader_u64(&r);
		a.term = reader_u64(&r);
		if (!reader_done(&r))
			a = (struct tree_applied){0};
	}
	*ret = a;
}

void
tree_applied_put(struct store_txn *txn, const struct tree_applied *a)
{
	uint8_t bytes[APPLIED_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, a->index);
	buf_u64(&b, a->term);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_APPLIED, 0, 0, 0),
	    buf_slice(&b));
}
