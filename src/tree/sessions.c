/*
 * sessions.c: who has a session; machine/session.c writes them.
 */
#include "config.h"

#include "tree/tree.h"

#include "tree/schema.h"

bool
tree_session_next(struct store_txn *txn, uint64_t id,
    struct tree_session *ret)
{
	struct tree_session session = {0};
	struct slice key, value, name;
	struct reader r;
	struct key k;

	if (!store_seek(txn, schema_prefix(&k, FAMILY_SESSION, 1, id, 0), true,
	    &key, &value) ||
	    !schema_parse(key, FAMILY_SESSION, &session.id, NULL, NULL))
		return false;
	reader_init(&r, value);
	session.host = reader_u64(&r);
	(void)reader_u64(&r); /* range */
	(void)reader_u64(&r); /* done_below */
	session.ttl_ms = reader_u64(&r);
	session.suspended = reader_u8(&r) != 0;
	name = reader_slice16(&r, LIMIT_NAME);
	if (!reader_done(&r))
		return false;
	memcpy(session.name, name.ptr, name.len);
	session.name[name.len] = '\0';
	*ret = session;
	return true;
}

bool
tree_session_exists(struct store_txn *txn, uint64_t id)
{
	struct slice value;
	struct key k;

	return store_get(txn, schema_prefix(&k, FAMILY_SESSION, 1, id, 0),
	    &value);
}
