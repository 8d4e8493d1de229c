/*
 * guard_send.c: what the core says.
 *
 * ACK and RAISE correct answers to the leader.  send() itself never fails:
 * libraft frees twice when it does.
 */
#include "config.h"

#include "group/guard_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "group/compat.h"
#include "group/guard_op.h"

static void result_correct(struct guard *, struct raft_append_entries_result *);
static void vote_correct(struct guard *, struct raft_request_vote_result *);
static bool result_raise(const struct guard *,
    const struct raft_append_entries_result *);
static int send_later(struct guard *, struct raft_io_send *, raft_io_send_cb);
static int send_owned(struct guard *, const struct raft_message *);
static void send_owned_done(struct raft_io_send *, int status);

int
guard_send(struct raft_io *io, struct raft_io_send *req,
    const struct raft_message *msg, raft_io_send_cb cb)
{
	struct guard *g = guard_of(io);
	struct raft_message copy = *msg;
	int rv;

	if (copy.type == COMPAT_APPEND_ENTRIES_RESULT)
		result_correct(g, &copy.append_entries_result);
	else if (copy.type == COMPAT_REQUEST_VOTE_RESULT)
		vote_correct(g, &copy.request_vote_result);
	if (!guard_on(g, GUARD_SEND))
		return g->inner->send(g->inner, req, &copy, cb);
	/* Late answers have no leader to go to. */
	if (g->failed || copy.server_id == 0 || copy.server_address == NULL)
		return send_later(g, req, cb);
	if (cb == NULL)
		return send_owned(g, &copy);
	rv = g->inner->send(g->inner, req, &copy, cb);
	if (rv != 0)
		return send_later(g, req, cb);
	return 0;
}

/*
 * To our leader: the core says last_stored, part of which may never have been
 * compared with that leader's log, and it rejects what it has compacted.
 */
static void
result_correct(struct guard *g, struct raft_append_entries_result *result)
{
	const struct raft *r = g->raft;
	raft_index limit = r->commit_index;

	if (r->state != RAFT_FOLLOWER || result->term != r->current_term)
		return;
	if (g->verified_term == r->current_term && g->verified > limit)
		limit = g->verified;
	if (g->snap_index > limit)
		limit = g->snap_index;
	if (guard_on(g, GUARD_ACK) && result->rejected == 0 &&
	    result->last_log_index > limit) {
		result->last_log_index = limit;
		g->stats.clamped++;
	}
	if (guard_on(g, GUARD_RAISE) && result_raise(g, result)) {
		result->rejected = 0;
		result->last_log_index = r->commit_index;
		g->stats.raised++;
	}
}

/*
 * PREVOTE: the core refuses a pre-vote of an older term in that older term.
 * Its sender never learns of ours, and where it alone has the log to be elected
 * and we alone have the term, there is no leader ever again.
 */
static void
vote_correct(struct guard *g, struct raft_request_vote_result *result)
{
	const struct raft *r = g->raft;

	if (!guard_on(g, GUARD_PREVOTE) || result->vote_granted ||
	    !compat_is_prevote(result) ||
	    result->term >= r->current_term)
		return;
	result->term = r->current_term;
	g->stats.prevotes++;
}

/* A leader of our term has all that we know to be committed. */
static bool
result_raise(const struct guard *g,
    const struct raft_append_entries_result *result)
{
	const struct raft *r = g->raft;

	if (r->commit_index == 0 || r->last_stored < r->commit_index)
		return false;
	if (result->rejected != 0)
		return result->rejected <= r->commit_index;
	return result->last_log_index < r->commit_index;
}

/* The callback must not run inside of send(). */
static int
send_later(struct guard *g, struct raft_io_send *req, raft_io_send_cb cb)
{
	struct guard_op *op;

	g->stats.swallowed++;
	if (cb == NULL)
		return 0;
	op = guard_op_new(g, GUARD_OP_SEND);
	if (op == NULL)
		return RAFT_NOMEM;
	op->core.send = req;
	op->cb.send = cb;
	guard_op_unlink(&g->ops, op);
	guard_op_link(&g->done, op);
	if (g->conf.defer != NULL)
		g->conf.defer(g->conf.ctx);
	return 0;
}

/*
 * The request of a TimeoutNow is part of the struct raft_transfer, which may
 * be gone before the bytes are out.
 */
static int
send_owned(struct guard *g, const struct raft_message *msg)
{
	struct guard_op *op = guard_op_new(g, GUARD_OP_SEND);

	if (op == NULL)
		return RAFT_NOMEM;
	op->inner.send.data = op;
	if (g->inner->send(g->inner, &op->inner.send, msg, send_owned_done) != 0)
		guard_op_free(op);
	return 0;
}

static void
send_owned_done(struct raft_io_send *req, int status)
{
	(void)status;
	guard_op_free(req->data);
}
