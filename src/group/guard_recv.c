/*
 * guard_recv.c: what the core hears.
 *
 * A check returns false when the message must not reach the core.
 */
#include "config.h"

#include "group/guard_internal.h"

#include <stdlib.h>
#include <string.h>

#include "group/compat.h"
#include "group/guard_op.h"

static bool check_append(struct guard *, struct raft_append_entries *);
static bool check_install(struct guard *, const struct raft_install_snapshot *);
static bool check_vote(struct guard *, const struct raft_request_vote *);
static bool check_timeout_now(struct guard *, raft_id,
    const struct raft_timeout_now *);
static bool check_result(struct guard *, raft_id,
    const struct raft_append_entries_result *);
static bool entries_valid(const struct raft_append_entries *);
static bool contradicts(const struct guard *, const struct raft_append_entries *);
static bool leader_speaks(struct guard *, raft_term);
static void append_hold(struct guard *, struct raft_append_entries *);
static bool prev_matches(const struct guard *,
    const struct raft_append_entries *);
static void append_trim(struct guard *, struct raft_append_entries *);
static void append_verify(struct guard *, const struct raft_append_entries *);
static raft_index append_conflict(const struct guard *,
    const struct raft_append_entries *);
static raft_index majority_index(const struct guard *, raft_id, raft_index);
static void deliver(struct guard *, struct raft_message *);
static void message_free(struct raft_message *);

/* The inner io's receive callback. */
void
guard_recv(struct raft_io *inner, struct raft_message *msg)
{
	struct raft *r = inner->data;
	struct guard *g = guard_of(r->io);
	bool pass = !g->failed && !g->closing;

	if (!pass) {
		message_free(msg);
		return;
	}
	switch (msg->type) {
	case COMPAT_APPEND_ENTRIES:
		pass = check_append(g, &msg->append_entries);
		break;
	case COMPAT_APPEND_ENTRIES_RESULT:
		pass = check_result(g, msg->server_id,
		    &msg->append_entries_result);
		break;
	case COMPAT_REQUEST_VOTE:
		pass = check_vote(g, &msg->request_vote);
		break;
	case COMPAT_INSTALL_SNAPSHOT:
		pass = check_install(g, &msg->install_snapshot);
		break;
	case COMPAT_TIMEOUT_NOW:
		pass = check_timeout_now(g, msg->server_id, &msg->timeout_now);
		break;
	default:
		break;
	}
	if (pass) {
		deliver(g, msg);
	} else {
		g->stats.dropped++;
		message_free(msg);
	}
	guard_observe(g);
}

/* COMMIT: the core compares answers with its own last stored entry only. */
static void
deliver(struct guard *g, struct raft_message *msg)
{
	struct raft *r = g->raft;
	const struct raft_append_entries_result *result;
	raft_index stored = r->last_stored, index = 0;
	bool lowered = false;

	result = &msg->append_entries_result;
	if (guard_on(g, GUARD_COMMIT) && r->state == RAFT_LEADER &&
	    msg->type == COMPAT_APPEND_ENTRIES_RESULT &&
	    result->rejected == 0 && result->term == r->current_term)
		index = majority_index(g, msg->server_id,
		    result->last_log_index);
	if (index > r->commit_index && index < stored &&
	    guard_term_of(g, index) == r->current_term) {
		r->last_stored = index;
		lowered = true;
	}
	g->receiving = msg->type;
	g->recv(&g->io, msg);
	g->receiving = 0;
	if (lowered) {
		r->last_stored = stored;
		if (r->commit_index == index)
			g->stats.committed++;
	}
}

/* What a majority of voters will hold once that answer has been counted. */
static raft_index
majority_index(const struct guard *g, raft_id from, raft_index last)
{
	const struct raft *r = g->raft;
	const struct raft_server *s;
	raft_index match[LIMIT_MEMBERS], at;
	unsigned i, j, n = 0;

	if (last > g->last_index)
		last = g->last_index;
	for (i = 0; i < r->configuration.n; i++) {
		s = &r->configuration.servers[i];
		if (s->role != RAFT_VOTER)
			continue;
		if (n == LIMIT_MEMBERS)
			return 0;
		at = s->id == r->id ? r->last_stored : compat_match_index(r, i);
		if (s->id == from && last > at)
			at = last;
		for (j = n++; j > 0 && match[j - 1] < at; j--)
			match[j] = match[j - 1];
		match[j] = at;
	}
	return n == 0 ? 0 : match[n / 2];
}

static bool
check_append(struct guard *g, struct raft_append_entries *args)
{
	raft_index conflict;

	if (guard_on(g, GUARD_ALIGN) && !entries_valid(args))
		return false;
	if (args->term < g->raft->current_term)
		return true;
	if ((guard_on(g, GUARD_FIG8) && contradicts(g, args)) ||
	    !leader_speaks(g, args->term))
		return false;
	append_trim(g, args);
	append_hold(g, args);
	conflict = append_conflict(g, args);
	if (conflict != 0)
		guard_member_conflict(g, conflict);
	append_verify(g, args);
	return true;
}

/* Never from our own code; a peer's bytes must not become our assertion. */
static bool
entries_valid(const struct raft_append_entries *args)
{
	const struct raft_entry *e;
	unsigned i;

	for (i = 0; i < args->n_entries; i++) {
		e = &args->entries[i];
		if (e->buf.len == 0 || e->buf.len % 8 != 0 || e->term == 0)
			return false;
		if (e->type < RAFT_COMMAND || e->type > RAFT_CHANGE)
			return false;
		if (e->type == RAFT_CHANGE && !guard_member_valid(&e->buf))
			return false;
	}
	return true;
}

/*
 * Another entry than the committed one comes from no leader that Raft could
 * have elected; the core would give up.  (Without FIG8 it can elect one.)
 */
static bool
contradicts(const struct guard *g, const struct raft_append_entries *args)
{
	raft_index commit = g->raft->commit_index, conflict;

	if (args->prev_log_index != 0 && args->prev_log_index <= commit &&
	    guard_term_of(g, args->prev_log_index) != 0 &&
	    !prev_matches(g, args))
		return true;
	conflict = append_conflict(g, args);
	return conflict != 0 && conflict <= commit;
}

/*
 * A message of a leader of our term or a later one.  Two leaders in a term
 * can't be; the core would write over its own leader state.
 */
static bool
leader_speaks(struct guard *g, raft_term term)
{
	const struct raft *r = g->raft;

	if (r->state == RAFT_LEADER && term == r->current_term)
		return false;
	if (term != g->verified_term) {
		g->verified_term = term;
		g->verified = 0;
	}
	g->heard_ms = r->io->time(r->io);
	return true;
}

/* TRIM: the core would append what it has already compacted once more. */
static void
append_trim(struct guard *g, struct raft_append_entries *args)
{
	const struct raft *r = g->raft;
	unsigned n;

	if (!guard_on(g, GUARD_TRIM) || args->n_entries == 0 ||
	    args->prev_log_index >= r->commit_index ||
	    r->last_stored < r->commit_index)
		return;
	n = args->n_entries;
	if (n > r->commit_index - args->prev_log_index)
		n = (unsigned)(r->commit_index - args->prev_log_index);
	args->prev_log_index += n;
	args->prev_log_term = args->entries[n - 1].term;
	args->n_entries -= n;
	g->stats.trimmed++;
	if (args->n_entries > 0) {
		/* The payloads stay: all are of one batch. */
		memmove(args->entries, args->entries + n,
		    args->n_entries * sizeof(*args->entries));
		return;
	}
	raft_free(args->entries[0].batch);
	raft_free(args->entries);
	args->entries = NULL;
}

/*
 * CUT: the core mixes up two writes of one entry, and frees it twice, when a
 * truncated entry comes again before its first write has ended.  Until then
 * the leader gets answers for what we had, and sends the rest once more.
 */
static void
append_hold(struct guard *g, struct raft_append_entries *args)
{
	raft_index last = args->prev_log_index + args->n_entries;

	if (guard_on(g, GUARD_CUT) && args->n_entries > 0 &&
	    (last > g->last_index || append_conflict(g, args) != 0) &&
	    guard_op_any_cut(g)) {
		raft_free(args->entries[0].batch);
		raft_free(args->entries);
		args->entries = NULL;
		args->n_entries = 0;
		last = args->prev_log_index;
		g->stats.cut++;
	}
	/* What follows in our log has not been compared. */
	if (args->leader_commit > last)
		args->leader_commit = last;
}

static bool
prev_matches(const struct guard *g, const struct raft_append_entries *args)
{
	return args->prev_log_index == 0 ||
	    guard_term_of(g, args->prev_log_index) == args->prev_log_term;
}

/* First entry of ours that the leader's will replace; 0: none. */
static raft_index
append_conflict(const struct guard *g, const struct raft_append_entries *args)
{
	raft_index index;
	raft_term term;
	unsigned i;

	if (!prev_matches(g, args))
		return 0;
	for (i = 0; i < args->n_entries; i++) {
		index = args->prev_log_index + 1 + i;
		term = guard_term_of(g, index);
		if (term != 0 && term != args->entries[i].term)
			return index;
	}
	return 0;
}

/* ACK: from here on our log is this leader's up to its last entry. */
static void
append_verify(struct guard *g, const struct raft_append_entries *args)
{
	raft_index last = args->prev_log_index + args->n_entries;

	if (prev_matches(g, args) && last > g->verified)
		g->verified = last;
}

static bool
check_install(struct guard *g, const struct raft_install_snapshot *args)
{
	const struct raft *r = g->raft;

	if (args->term < r->current_term)
		return true;
	if (!leader_speaks(g, args->term))
		return false;
	if (args->last_index > g->verified &&
	    (args->last_index <= r->commit_index ||
	    guard_term_of(g, args->last_index) == args->last_term))
		g->verified = args->last_index;
	return true;
}

static bool
check_vote(struct guard *g, const struct raft_request_vote *args)
{
	struct raft *r = g->raft;
	raft_time now = r->io->time(r->io);

	/* VOTE: the core lets a transferee have the vote of another. */
	if (guard_on(g, GUARD_VOTE) && !args->pre_vote && r->transfer != NULL &&
	    r->transfer->id == args->candidate_id &&
	    args->term == r->current_term && r->voted_for != 0 &&
	    r->voted_for != args->candidate_id) {
		g->stats.votes++;
		return false;
	}
	/* STALE: the core remembers a leader until its own timer fires. */
	if (guard_on(g, GUARD_STALE) && r->state == RAFT_FOLLOWER &&
	    r->follower_state.current_leader.id != 0 &&
	    now - g->heard_ms >= r->election_timeout) {
		raft_free(r->follower_state.current_leader.address);
		r->follower_state.current_leader.address = NULL;
		r->follower_state.current_leader.id = 0;
		g->stats.staled++;
	}
	return true;
}

/*
 * INFLIGHT: the core tells a transferee to stand when the last entries are on
 * their way to it, so its disk may be busy; it stands when that is done.
 */
static bool
check_timeout_now(struct guard *g, raft_id from,
    const struct raft_timeout_now *args)
{
	const struct raft *r = g->raft;

	if (guard_on(g, GUARD_INFLIGHT) &&
	    (g->n_appends > 0 || compat_snapshot_busy(r))) {
		g->stand_from = from;
		g->stand = *args;
		g->stats.postponed++;
		return false;
	}
	/* The only voter needs nobody's permission, but a term of its own. */
	return !guard_on(g, GUARD_TERMBUMP) || !guard_member_sole_voter(g) ||
	    args->term < r->current_term;
}

/* FIG8: an answer may not count before an entry of our own term is stored. */
static bool
check_result(struct guard *g, raft_id from,
    const struct raft_append_entries_result *result)
{
	const struct raft *r = g->raft;
	struct guard_held *h;

	if (!guard_on(g, GUARD_FIG8) || r->state != RAFT_LEADER ||
	    result->term != r->current_term || result->rejected != 0 ||
	    guard_term_of(g, r->last_stored) == r->current_term)
		return true;
	for (h = g->held; h < g->held + LIMIT_MEMBERS; h++) {
		if (h->id != 0 && h->id != from)
			continue;
		h->id = from;
		h->result = *result;
		g->stats.held++;
		return false;
	}
	return false; /* no room: the next heartbeat is answered again */
}

void
guard_release_held(struct guard *g)
{
	struct raft *r = g->raft;
	struct raft_message msg;
	struct guard_held h;
	unsigned i;

	if (r->state != RAFT_LEADER ||
	    guard_term_of(g, r->last_stored) != r->current_term)
		return;
	for (i = 0; i < LIMIT_MEMBERS; i++) {
		h = g->held[i];
		g->held[i].id = 0;
		if (h.id == 0 || r->state != RAFT_LEADER)
			continue;
		memset(&msg, 0, sizeof(msg));
		msg.type = COMPAT_APPEND_ENTRIES_RESULT;
		msg.server_id = h.id;
		msg.server_address = "";
		msg.append_entries_result = h.result;
		deliver(g, &msg);
	}
}

/* Whether the leader may still want it, the core can tell. */
void
guard_release_stand(struct guard *g)
{
	struct raft_message msg = {.type = COMPAT_TIMEOUT_NOW,
	    .server_id = g->stand_from,
	    .server_address = "",
	    .timeout_now = g->stand};

	if (g->stand_from == 0 || g->n_appends > 0 ||
	    compat_snapshot_busy(g->raft))
		return;
	g->stand_from = 0;
	guard_recv(g->inner, &msg);
}

void
guard_drop_held(struct guard *g)
{
	memset(g->held, 0, sizeof(g->held));
	g->stand_from = 0;
}

void
guard_heard(struct guard *g, raft_id from)
{
	struct raft *r = g->raft;

	if (r->state != RAFT_FOLLOWER ||
	    r->follower_state.current_leader.id != from)
		return;
	g->heard_ms = r->io->time(r->io);
	r->election_timer_start = g->heard_ms;
}

static void
message_free(struct raft_message *msg)
{
	struct raft_append_entries *args = &msg->append_entries;

	switch (msg->type) {
	case COMPAT_APPEND_ENTRIES:
		if (args->n_entries > 0)
			raft_free(args->entries[0].batch);
		raft_free(args->entries);
		break;
	case COMPAT_INSTALL_SNAPSHOT:
		raft_configuration_close(&msg->install_snapshot.conf);
		raft_free(msg->install_snapshot.data.base);
		break;
	default:
		break;
	}
}
