/*
 * io_peer.c: our struct raft_io, the peers' half: Raft messages as frames.
 *
 * What comes in was sent by somebody who may be broken: it is checked here, or
 * in the guards, before the core believes it.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/metric.h"
#include "group/internal.h"

/* Elections that a host may have missed: a term is one more than the last. */
#define TERM_JUMP (UINT64_C(1) << 32)

struct io_sent {
	STAILQ_ENTRY(io_sent) link;
	struct raft_io_send *req;
	raft_io_send_cb cb;
	int status;
};

static int send_message(struct group *, struct member *,
    const struct raft_message *);
static int send_append(struct group *, struct member *,
    const struct raft_append_entries *);
static void recv_message(struct group *, struct member *,
    struct raft_message *);
static void recv_append(struct group *, struct member *, struct reader *);
static bool entries_valid(struct reader, uint64_t term, uint32_t n,
    size_t *ret_total);
static int read_entries(struct reader *, struct raft_append_entries *);
static void notice_keep(struct group *, struct member *, uint64_t term,
    uint64_t index, uint64_t index_term);

void
io_peer_init(struct group *g)
{
	STAILQ_INIT(&g->io.sent);
	STAILQ_INIT(&g->io.idle_sends);
	buf_init(&g->io.frame, LIMIT_FRAME);
}

void
io_peer_fini(struct group *g)
{
	struct io_sent *s;

	STAILQ_CONCAT(&g->io.idle_sends, &g->io.sent);
	while ((s = STAILQ_FIRST(&g->io.idle_sends)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.idle_sends, link);
		free(s);
	}
	buf_fini(&g->io.frame);
}

/* ---- to the peers ---- */

int
io_send(struct raft_io *rio, struct raft_io_send *req,
    const struct raft_message *msg, raft_io_send_cb cb)
{
	struct group *g = rio->impl;
	struct member *m = member_find(g, msg->server_id);
	struct io_sent *s;
	int err = 0;

	s = STAILQ_FIRST(&g->io.idle_sends);
	if (s != NULL)
		STAILQ_REMOVE_HEAD(&g->io.idle_sends, link);
	else if ((s = malloc(sizeof(*s))) == NULL)
		return RAFT_NOMEM;
	io_settle(g);
	if (m == NULL || m->self || g->failed)
		err = -ENOTCONN;
	else if (!g->io.swallow || msg->type != COMPAT_APPEND_ENTRIES_RESULT)
		err = send_message(g, m, msg);
	*s = (struct io_sent){.req = req,
	    .cb = cb,
	    .status = err == 0 ? 0 : RAFT_NOCONNECTION};
	STAILQ_INSERT_TAIL(&g->io.sent, s, link);
	return 0;
}

/* Callbacks of sends must not run inside send(): they run here. */
void
io_complete_sends(struct group *g)
{
	struct io_sent *s;

	while ((s = STAILQ_FIRST(&g->io.sent)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.sent, link);
		if (s->cb != NULL)
			s->cb(s->req, s->status);
		STAILQ_INSERT_HEAD(&g->io.idle_sends, s, link);
	}
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		if (m->cut != 0)
			compat_progress_cut(&g->raft, m->conf.id, m->cut);
		m->cut = 0;
	}
}

static int
send_message(struct group *g, struct member *m, const struct raft_message *msg)
{
	struct buf *b = &g->io.frame;

	switch (msg->type) {
	case COMPAT_APPEND_ENTRIES:
		return send_append(g, m, &msg->append_entries);
	case COMPAT_APPEND_ENTRIES_RESULT:
		frame_begin(g, b);
		buf_u64(b, msg->append_entries_result.term);
		buf_u64(b, msg->append_entries_result.rejected);
		buf_u64(b, msg->append_entries_result.last_log_index);
		return frame_send(g, m, FRAME_APPEND_RESULT, b);
	case COMPAT_REQUEST_VOTE:
		if (!msg->request_vote.pre_vote &&
		    msg->request_vote.term != g->io.stood_term) {
			g->io.stood_term = msg->request_vote.term;
			metric_add(METRIC_elections, 1);
		}
		frame_begin(g, b);
		buf_u64(b, msg->request_vote.term);
		buf_u64(b, msg->request_vote.candidate_id);
		buf_u64(b, msg->request_vote.last_log_index);
		buf_u64(b, msg->request_vote.last_log_term);
		buf_u8(b, msg->request_vote.disrupt_leader);
		buf_u8(b, msg->request_vote.pre_vote);
		return frame_send(g, m, FRAME_VOTE, b);
	case COMPAT_REQUEST_VOTE_RESULT:
		frame_begin(g, b);
		buf_u64(b, msg->request_vote_result.term);
		buf_u8(b, msg->request_vote_result.vote_granted);
		buf_u8(b, compat_is_prevote(&msg->request_vote_result));
		return frame_send(g, m, FRAME_VOTE_RESULT, b);
	case COMPAT_TIMEOUT_NOW:
		frame_begin(g, b);
		buf_u64(b, msg->timeout_now.term);
		buf_u64(b, msg->timeout_now.last_log_index);
		buf_u64(b, msg->timeout_now.last_log_term);
		return frame_send(g, m, FRAME_TIMEOUT_NOW, b);
	default:
		return -ENOTSUP;
	}
}

/*
 * The core sends all that a follower lacks in one message: we send frames of
 * bounded size, no more than fits a window, and turn the core's next index back
 * to where we stopped (io_complete_sends); answers make it go on from there.
 */
static int
send_append(struct group *g, struct member *m,
    const struct raft_append_entries *args)
{
	struct buf *b = &g->io.frame;
	size_t queued = net_queued(g->net, m->conf.id, NET_SMALL);
	size_t window = compat_can_cut
	    ? queued < APPEND_WINDOW_BYTES ? APPEND_WINDOW_BYTES - queued : 0
	    : SIZE_MAX;
	raft_index prev = args->prev_log_index;
	raft_term prev_term = args->prev_log_term;
	unsigned i = 0, first;
	int err;

	if (m->cut != 0 && prev >= m->cut)
		return 0;
	if (compat_progress_probing(&g->raft, m->conf.id) &&
	    window > APPEND_FRAME_BYTES)
		window = APPEND_FRAME_BYTES;
	do {
		size_t offset;

		frame_begin(g, b);
		buf_u64(b, args->term);
		buf_u64(b, prev);
		buf_u64(b, prev_term);
		buf_u64(b, args->leader_commit);
		buf_u64(b, guard_term_of(&g->guard, args->leader_commit));
		offset = b->len;
		buf_u32(b, 0);
		for (first = i; i < args->n_entries; i++) {
			const struct raft_entry *e = &args->entries[i];

			if (window < e->buf.len && (i > 0 || queued > 0))
				break;
			if (i > first &&
			    b->len + e->buf.len > APPEND_FRAME_BYTES)
				break;
			buf_u64(b, e->term);
			buf_u8(b, (uint8_t)e->type);
			buf_slice32(b, slice_of(e->buf.base, e->buf.len));
			window -= window < e->buf.len ? window : e->buf.len;
			prev_term = e->term;
		}
		if (i == first && first > 0)
			break; /* the window is full */
		buf_put_u32_at(b, offset, i - first);
		err = frame_send(g, m, FRAME_APPEND, b);
		if (err != 0)
			return err;
		prev = args->prev_log_index + i;
	} while (i < args->n_entries && i > first);
	m->noticed = args->leader_commit;
	if (i < args->n_entries)
		m->cut = args->prev_log_index + 1 + i;
	return 0;
}

/*
 * libraft tells followers what is committed with its next message, perhaps a
 * heartbeat later; whoever waits there for its own command wants it now.
 */
void
io_notice(struct group *g)
{
	struct buf *b = &g->io.frame;
	raft_index commit = g->raft.commit_index;

	if (!g->started || g->raft.state != RAFT_LEADER)
		return;
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		if (m->self || !m->up || m->noticed >= commit)
			continue;
		frame_begin(g, b);
		buf_u64(b, g->raft.current_term);
		buf_u64(b, commit);
		buf_u64(b, guard_term_of(&g->guard, commit));
		if (frame_send(g, m, FRAME_COMMIT, b) == 0)
			m->noticed = commit;
	}
}

/* ---- from the peers ---- */

/* Terms beyond all sense would be kept, and run out. */
static bool
term_valid(struct group *g, struct member *m, uint64_t term)
{
	if (term < g->raft.current_term + TERM_JUMP)
		return true;
	member_hang_up(g, m, "a term");
	return false;
}

void
io_frame(struct group *g, struct member *m, enum group_frame type,
    struct reader *r)
{
	struct raft_message msg = {.server_id = m->conf.id,
	    .server_address = m->conf.address};
	uint64_t term, index, index_term;

	switch (type) {
	case FRAME_APPEND:
		recv_append(g, m, r);
		return;
	case FRAME_COMMIT:
		term = reader_u64(r);
		index = reader_u64(r);
		index_term = reader_u64(r);
		if (reader_done(r) && term_valid(g, m, term))
			notice_keep(g, m, term, index, index_term);
		io_notice_deliver(g);
		return;
	case FRAME_APPEND_RESULT:
		msg.type = COMPAT_APPEND_ENTRIES_RESULT;
		msg.append_entries_result.term = term = reader_u64(r);
		msg.append_entries_result.rejected = reader_u64(r);
		msg.append_entries_result.last_log_index = reader_u64(r);
		break;
	case FRAME_VOTE:
		msg.type = COMPAT_REQUEST_VOTE;
		msg.request_vote.term = term = reader_u64(r);
		msg.request_vote.candidate_id = reader_u64(r);
		msg.request_vote.last_log_index = reader_u64(r);
		msg.request_vote.last_log_term = reader_u64(r);
		msg.request_vote.disrupt_leader = reader_u8(r) != 0;
		msg.request_vote.pre_vote = reader_u8(r) != 0;
		if (msg.request_vote.candidate_id != m->conf.id)
			return;
		break;
	case FRAME_VOTE_RESULT:
		msg.type = COMPAT_REQUEST_VOTE_RESULT;
		msg.request_vote_result.term = term = reader_u64(r);
		msg.request_vote_result.vote_granted = reader_u8(r) != 0;
		compat_set_prevote(&msg.request_vote_result,
		    reader_u8(r) != 0);
		break;
	case FRAME_TIMEOUT_NOW:
		msg.type = COMPAT_TIMEOUT_NOW;
		msg.timeout_now.term = term = reader_u64(r);
		msg.timeout_now.last_log_index = reader_u64(r);
		msg.timeout_now.last_log_term = reader_u64(r);
		if (io_full(g))
			return;
		break;
	default:
		return;
	}
	if (reader_done(r) && term_valid(g, m, term))
		recv_message(g, m, &msg);
}

static void
recv_message(struct group *g, struct member *m, struct raft_message *msg)
{
	if (!g->started || g->failed || g->closing)
		return;
	g->io.recv(&g->io.raft_io, msg);
	group_wake(g);
}

static void
recv_append(struct group *g, struct member *m, struct reader *r)
{
	struct raft_message msg = {.type = COMPAT_APPEND_ENTRIES,
	    .server_id = m->conf.id,
	    .server_address = m->conf.address};
	struct raft_append_entries *args = &msg.append_entries;
	uint64_t commit_term;
	int err;

	args->term = reader_u64(r);
	args->prev_log_index = reader_u64(r);
	args->prev_log_term = reader_u64(r);
	args->leader_commit = reader_u64(r);
	commit_term = reader_u64(r);
	args->n_entries = reader_u32(r);
	if (!reader_ok(r) || !g->started || g->failed || g->closing)
		return;
	if (args->n_entries > 0 && io_full(g))
		return; /* as if cut off, until there is room */
	if (!term_valid(g, m, args->term))
		return;
	err = read_entries(r, args);
	if (err == -EBADMSG)
		member_hang_up(g, m, "an entry of the log");
	if (err != 0)
		return;
	notice_keep(g, m, args->term, args->leader_commit, commit_term);
	recv_message(g, m, &msg);
	io_notice_deliver(g);
}

/* What is in the log is applied one day, on every host: nothing gets in that
 * could not be.  (The list of members in a CHANGE is the guard's to check.) */
static bool
entry_valid(uint8_t type, struct slice payload)
{
	if (payload.len == 0 || payload.len % 8 != 0)
		return false;
	if (type == RAFT_COMMAND)
		return entry_check(payload) == 0;
	return type == RAFT_BARRIER || type == RAFT_CHANGE;
}

static bool
entries_valid(struct reader r, uint64_t term, uint32_t n, size_t *ret_total)
{
	size_t total = 0;

	while (n-- > 0) {
		uint64_t of = reader_u64(&r);
		uint8_t type = reader_u8(&r);
		struct slice payload = reader_slice32(&r, LIMIT_FRAME);

		if (!reader_ok(&r) || of == 0 || of > term ||
		    !entry_valid(type, payload))
			return false;
		total += payload.len;
	}
	*ret_total = total;
	return reader_done(&r);
}

/* All payloads of a message share one batch: libraft frees them as one. */
static int
read_entries(struct reader *r, struct raft_append_entries *args)
{
	size_t total;
	uint8_t *batch;
	unsigned n = args->n_entries;

	args->entries = NULL;
	if (!entries_valid(*r, args->term, n, &total))
		return -EBADMSG;
	if (n == 0)
		return 0;
	args->entries = raft_calloc(n, sizeof(*args->entries));
	batch = raft_malloc(total);
	if (args->entries == NULL || batch == NULL) {
		raft_free(args->entries);
		raft_free(batch);
		return -ENOMEM;
	}
	total = 0;
	for (unsigned i = 0; i < n; i++) {
		struct raft_entry *e = &args->entries[i];
		struct slice payload;

		e->term = reader_u64(r);
		e->type = reader_u8(r);
		payload = reader_slice32(r, LIMIT_FRAME);
		e->batch = batch;
		e->buf.base = batch + total;
		e->buf.len = payload.len;
		memcpy(e->buf.base, payload.ptr, payload.len);
		total += payload.len;
	}
	return 0;
}

/* ---- notices of commits ---- */

static void
notice_keep(struct group *g, struct member *m, uint64_t term, uint64_t index,
    uint64_t index_term)
{
	struct io *io = &g->io;

	if (index_term == 0 || term < io->notice_term ||
	    (term == io->notice_term && index <= io->notice_index))
		return;
	io->notice_from = m->conf.id;
	io->notice_term = term;
	io->notice_index = index;
	io->notice_index_term = index_term;
}

/*
 * A notice is an empty AppendEntries whose previous entry is the committed one
 * itself: where our log holds that entry with that term, it equals the
 * leader's up to there (log matching), so all of it is committed.  Told to the
 * core only when that is on our disk, and its answer is not sent: the leader
 * learns nothing from it.
 */
void
io_notice_deliver(struct group *g)
{
	struct io *io = &g->io;
	struct raft *r = &g->raft;
	struct raft_message msg = {.type = COMPAT_APPEND_ENTRIES};
	struct member *m;

	if (!g->started || g->failed || g->closing ||
	    r->state != RAFT_FOLLOWER || io->notice_term != r->current_term ||
	    io->notice_index <= r->commit_index ||
	    io->notice_index > compat_last_stored(r) ||
	    guard_term_of(&g->guard, io->notice_index) !=
		io->notice_index_term)
		return;
	m = member_find(g, io->notice_from);
	msg.server_id = m->conf.id;
	msg.server_address = m->conf.address;
	msg.append_entries.term = io->notice_term;
	msg.append_entries.prev_log_index = io->notice_index;
	msg.append_entries.prev_log_term = io->notice_index_term;
	msg.append_entries.leader_commit = io->notice_index;
	io->swallow = true;
	recv_message(g, m, &msg);
	io->swallow = false;
}

/*
 * Without waiting for an election timeout: those who are here stand one after
 * the other, in the order of their ids.
 */
static void
stand_soon(struct group *g, unsigned heartbeats)
{
	for (unsigned i = 0; i < g->n_members; i++) {
		if (g->members[i].up && g->members[i].conf.id < g->conf.self)
			heartbeats += 2;
	}
	compat_forget_leader(&g->raft, heartbeats * g->conf.heartbeat_ms);
	g->io.tick_soon = heartbeats == 0;
}

/*
 * The kernel closes the connections of a process that dies.  The pre-vote
 * keeps a leader that lives after all.
 */
void
io_peer_down(struct group *g, struct member *m, int err)
{
	if (!g->started || g->closing || m != group_leader(g) ||
	    (err != -ECONNRESET && err != -EPIPE && err != -ECONNREFUSED))
		return;
	stand_soon(g, 0);
}

/* At a start, as soon as a majority is here; one heartbeat later, so that they
 * have their connections to us too, or a leader has told us that it leads. */
void
io_peer_up(struct group *g)
{
	unsigned n = 1;

	for (unsigned i = 0; i < g->n_members; i++)
		n += g->members[i].up;
	if (!g->started || g->closing || g->ever_ok || g->io.stood_early ||
	    g->raft.state != RAFT_FOLLOWER || group_leader(g) != NULL ||
	    n <= g->n_members / 2)
		return;
	g->io.stood_early = true;
	stand_soon(g, 1);
}
