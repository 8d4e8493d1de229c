/*
 * guard_op.h: a request of the core that the guard has made its own.
 */
#ifndef GROUP_GUARD_OP_H
#define GROUP_GUARD_OP_H

#include "group/guard_internal.h"

enum guard_op_kind { GUARD_OP_APPEND, GUARD_OP_SEND, GUARD_OP_PUT };

struct guard_op {
	struct guard *guard;
	struct guard_op *prev, *next; /* newest first */
	enum guard_op_kind kind;
	raft_index index; /* append: first entry; put: the snapshot's */
	bool cut;	  /* append: some of its entries were truncated */
	unsigned n;	  /* append: entries */
	bool installing;  /* put: the leader's, not our own */
	struct raft_snapshot snapshot; /* put: see guard_member_snapshot() */
	union {
		struct raft_io_append append;
		struct raft_io_send send;
		struct raft_io_snapshot_put put;
	} inner; /* what the inner io is given */
	union {
		struct raft_io_append *append;
		struct raft_io_send *send;
		struct raft_io_snapshot_put *put;
	} core; /* what the core gave */
	union {
		raft_io_append_cb append;
		raft_io_send_cb send;
		raft_io_snapshot_put_cb put;
	} cb; /* the core's */
};

/* Linked into guard->ops; NULL: no memory. */
struct guard_op *guard_op_new(struct guard *, enum guard_op_kind);
void guard_op_free(struct guard_op *); /* unlinks from guard->ops */
/* An append is under way whose entries the log has lost meanwhile. */
bool guard_op_any_cut(const struct guard *);
void guard_op_link(struct guard_op **list, struct guard_op *);
void guard_op_unlink(struct guard_op **list, struct guard_op *);

#endif
