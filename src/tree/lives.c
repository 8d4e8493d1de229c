/*
 * lives.c: what doesn't live for ever: nodes, and names that link(2) made.
 */
#include "config.h"

#include "tree/tree.h"

#include <assert.h>

#include "tree/schema.h"

enum { LIFE_LEN = 2 + 3 * 8, NAME_LIFE_LEN = 8 };

static void count(struct store_txn *, uint64_t from, uint64_t to);
static void count_put(struct store_txn *, uint64_t session, uint64_t n);
static bool decode(struct slice value, struct tree_life *ret);

bool
tree_life_get(struct store_txn *txn, uint64_t ino, struct tree_life *ret)
{
	struct slice value;
	struct key k;

	return store_get(txn, schema_prefix(&k, FAMILY_LIFE, 1, ino, 0),
	    &value) && decode(value, ret);
}

void
tree_life_put(struct store_txn *txn, uint64_t ino, const struct tree_life *l)
{
	uint8_t bytes[LIFE_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct tree_life old = {0};
	struct key k;

	assert(l->kind != LIFE_FOREVER);
	(void)tree_life_get(txn, ino, &old);
	count(txn, old.session, l->session);
	buf_u8(&b, (uint8_t)l->kind);
	buf_u8(&b, l->doomed);
	buf_u64(&b, l->ttl_ms);
	buf_u64(&b, l->session);
	buf_u64(&b, l->host);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_LIFE, 1, ino, 0),
	    buf_slice(&b));
}

void
tree_life_del(struct store_txn *txn, uint64_t ino)
{
	struct tree_life old;
	struct key k;

	if (!tree_life_get(txn, ino, &old))
		return;
	count(txn, old.session, 0);
	store_del(txn, schema_prefix(&k, FAMILY_LIFE, 1, ino, 0));
}

bool
tree_life_next(struct store_txn *txn, uint64_t ino, uint64_t *ret_ino,
    struct tree_life *ret)
{
	struct slice key, value;
	uint64_t found;
	struct key k;

	if (!store_seek(txn, schema_prefix(&k, FAMILY_LIFE, 1, ino, 0), true,
	    &key, &value) ||
	    !schema_parse(key, FAMILY_LIFE, &found, NULL, NULL) ||
	    !decode(value, ret))
		return false;
	*ret_ino = found;
	return true;
}

void
tree_name_life_put(struct store_txn *txn, uint64_t dir, struct slice name,
    uint64_t session)
{
	uint8_t bytes[NAME_LIFE_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	tree_name_life_del(txn, dir, name);
	count(txn, 0, session);
	buf_u64(&b, session);
	store_put(txn, schema_key(&k, FAMILY_NAME_LIFE, dir, 0, name),
	    buf_slice(&b));
}

void
tree_name_life_del(struct store_txn *txn, uint64_t dir, struct slice name)
{
	struct slice value;
	struct reader r;
	struct key k;

	if (!store_get(txn, schema_key(&k, FAMILY_NAME_LIFE, dir, 0, name),
	    &value))
		return;
	reader_init(&r, value);
	count(txn, reader_u64(&r), 0);
	store_del(txn, schema_key(&k, FAMILY_NAME_LIFE, dir, 0, name));
}

bool
tree_name_life_next(struct store_txn *txn, uint64_t after_dir,
    struct slice after_name, uint64_t *ret_dir, struct slice *ret_name,
    uint64_t *ret_session)
{
	struct slice key, value;
	struct reader r;
	struct key k;

	if (!store_seek(txn,
	    schema_key(&k, FAMILY_NAME_LIFE, after_dir, 0, after_name), true,
	    &key, &value) ||
	    !schema_parse(key, FAMILY_NAME_LIFE, ret_dir, NULL, ret_name))
		return false;
	reader_init(&r, value);
	*ret_session = reader_u64(&r);
	return reader_done(&r);
}

uint64_t
tree_life_count(struct store_txn *txn, uint64_t session)
{
	struct slice value;
	struct reader r;
	struct key k;

	if (!store_get(txn, schema_prefix(&k, FAMILY_LIFE_COUNT, 1, session,
	    0), &value))
		return 0;
	reader_init(&r, value);
	return reader_u64(&r);
}

/* One less of a session's, one more of another's; 0 is nobody. */
static void
count(struct store_txn *txn, uint64_t from, uint64_t to)
{
	if (from == to)
		return;
	if (from != 0)
		count_put(txn, from, tree_life_count(txn, from) - 1);
	if (to != 0)
		count_put(txn, to, tree_life_count(txn, to) + 1);
}

static void
count_put(struct store_txn *txn, uint64_t session, uint64_t n)
{
	uint8_t bytes[8];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, n);
	if (n == 0)
		store_del(txn, schema_prefix(&k, FAMILY_LIFE_COUNT, 1, session,
		    0));
	else
		store_put(txn, schema_prefix(&k, FAMILY_LIFE_COUNT, 1, session,
		    0), buf_slice(&b));
}

static bool
decode(struct slice value, struct tree_life *ret)
{
	struct tree_life l = {0};
	struct reader r;

	reader_init(&r, value);
	l.kind = (enum life_kind)reader_u8(&r);
	l.doomed = reader_u8(&r) != 0;
	l.ttl_ms = reader_u64(&r);
	l.session = reader_u64(&r);
	l.host = reader_u64(&r);
	if (!reader_done(&r) || l.kind == LIFE_FOREVER ||
	    l.kind > LIFE_PROCESS)
		return false;
	*ret = l;
	return true;
}
