/*
 * machine.c: libFuzzer's way into the machine: whatever the decoder lets
 * through must leave a whole tree.
 *
 * Input: u16 length and bytes of each command.  Each is given its place in the
 * one session there is, so that all are tried.
 */
#include "config.h"

#include <assert.h>

#include "machine/machine.h"
#include "tree/tree.h"

enum { SESSION = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
apply(struct store_txn *txn, const struct command *c, uint64_t time_ns)
{
	struct outcome o;

	machine_apply(txn, c, time_ns, &o);
	assert(o.err <= 0 && (o.err == 0 || o.n_changes == 0));
	outcome_fini(&o);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = SESSION,
		.name = slice_str("h"), .stamp = {.host = 1},
		.data = slice_of("\6\0labels\2\0a\n", 12),
	};
	struct store *store;
	struct store_txn *txn;
	struct reader r;
	struct slice one;
	uint64_t seq = 0;
	char why[256];

	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	apply(txn, &c, 1);
	reader_init(&r, slice_of(data, size));
	while (reader_left(&r) > 0) {
		one = reader_slice16(&r, UINT16_MAX);
		if (!reader_ok(&r))
			break;
		if (command_decode(one, &c) != 0)
			continue;
		if (c.stamp.session == 2) {
			c.stamp.session = 0; /* as a leader proposes */
		} else if (c.stamp.session != 1) {
			c.stamp.session = SESSION;
			c.stamp.seq = ++seq;
			c.stamp.done_below = seq;
		}
		apply(txn, &c, c.stamp.seen);
	}
	assert(tree_check(txn, why, sizeof(why)) == 0);
	store_abort(txn);
	store_close(store);
	return 0;
}
