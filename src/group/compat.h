/*
 * compat.h: all that depends on libraft's version.
 *
 * Debian 12 has 0.15 (canonical), Debian 13 has 0.22 (cowsql): messages were
 * renamed, the log is hidden.  configure refuses what was never tested.
 */
#ifndef GROUP_COMPAT_H
#define GROUP_COMPAT_H

#include <raft.h>
#include <stdbool.h>

/* ---- messages ---- */
#ifdef RAFT_VERSION_NUMBER
#define COMPAT_APPEND_ENTRIES RAFT_APPEND_ENTRIES
#define COMPAT_APPEND_ENTRIES_RESULT RAFT_APPEND_ENTRIES_RESULT
#define COMPAT_REQUEST_VOTE RAFT_REQUEST_VOTE
#define COMPAT_REQUEST_VOTE_RESULT RAFT_REQUEST_VOTE_RESULT
#define COMPAT_INSTALL_SNAPSHOT RAFT_INSTALL_SNAPSHOT
#define COMPAT_TIMEOUT_NOW RAFT_TIMEOUT_NOW
#else
#define COMPAT_APPEND_ENTRIES RAFT_IO_APPEND_ENTRIES
#define COMPAT_APPEND_ENTRIES_RESULT RAFT_IO_APPEND_ENTRIES_RESULT
#define COMPAT_REQUEST_VOTE RAFT_IO_REQUEST_VOTE
#define COMPAT_REQUEST_VOTE_RESULT RAFT_IO_REQUEST_VOTE_RESULT
#define COMPAT_INSTALL_SNAPSHOT RAFT_IO_INSTALL_SNAPSHOT
#define COMPAT_TIMEOUT_NOW RAFT_IO_TIMEOUT_NOW
#endif

/* ---- its struct raft_io ---- */
#ifndef RAFT_VERSION_NUMBER
#define COMPAT_ASYNC_WORK /* snapshots in the thread pool; later gone again */
#endif

/* ---- what guard reads and sets of the core ---- */

/* Index of the configuration that is known to be committed. */
static inline raft_index *
compat_conf_index(struct raft *r)
{
#ifdef RAFT_VERSION_NUMBER
	return &r->configuration_committed_index;
#else
	return &r->configuration_index;
#endif
}

/* A snapshot is being written, the core's own or a leader's. */
static inline bool
compat_snapshot_busy(const struct raft *r)
{
#ifdef RAFT_VERSION_NUMBER
	return r->snapshot.installing;
#else
	return r->snapshot.put.data != NULL;
#endif
}

/* Highest index that server i is known to hold; leaders only.  Hidden where
 * the core needs no help with it (guard COMMIT). */
static inline raft_index
compat_match_index(const struct raft *r, unsigned i)
{
#ifdef RAFT_VERSION_NUMBER
	(void)r;
	(void)i;
	return 0;
#else
	return r->leader_state.progress[i].match_index;
#endif
}

/* An answer to a pre-vote request. */
static inline bool
compat_is_prevote(const struct raft_request_vote_result *result)
{
#ifdef RAFT_VERSION_NUMBER
	return result->pre_vote;
#else
	return result->pre_vote == raft_tribool_true;
#endif
}

static inline void
compat_set_prevote(struct raft_request_vote_result *result, bool prevote)
{
#ifdef RAFT_VERSION_NUMBER
	result->pre_vote = prevote;
#else
	result->pre_vote = TO_RAFT_TRIBOOL(prevote);
#endif
}

/* ---- what io_peer.c and group.c read and set of the core ---- */

static inline unsigned
compat_server(const struct raft *r, raft_id id)
{
	unsigned i;

	for (i = 0; i < r->configuration.n; i++) {
		if (r->configuration.servers[i].id == id)
			break;
	}
	return i;
}

static inline raft_index
compat_last_stored(const struct raft *r)
{
	return r->last_stored;
}

#ifdef RAFT_VERSION_NUMBER

enum { compat_can_cut = false }; /* it bounds its messages itself */

static inline bool
compat_progress_probing(const struct raft *r, raft_id id)
{
	return false;
}

static inline void
compat_progress_cut(struct raft *r, raft_id id, raft_index next)
{
}

static inline raft_index
compat_progress_match(const struct raft *r, raft_id id)
{
	return 0;
}

#else

enum { compat_can_cut = true };
enum { COMPAT_PROBE, COMPAT_PIPELINE }; /* progress.h of 0.15 */

static inline struct raft_progress *
compat_progress(const struct raft *r, raft_id id)
{
	unsigned i = compat_server(r, id);

	if (r->state != RAFT_LEADER || r->leader_state.progress == NULL ||
	    i == r->configuration.n)
		return NULL;
	return &r->leader_state.progress[i];
}

static inline bool
compat_progress_probing(const struct raft *r, raft_id id)
{
	const struct raft_progress *p = compat_progress(r, id);

	return p != NULL && p->state == COMPAT_PROBE;
}

/* Everything from next on was not sent after all. */
static inline void
compat_progress_cut(struct raft *r, raft_id id, raft_index next)
{
	struct raft_progress *p = compat_progress(r, id);

	if (p != NULL && p->state == COMPAT_PIPELINE && p->next_index > next)
		p->next_index = next;
}

/* What that server has acknowledged; 0 if we don't lead. */
static inline raft_index
compat_progress_match(const struct raft *r, raft_id id)
{
	const struct raft_progress *p = compat_progress(r, id);

	return p == NULL ? 0 : p->match_index;
}

#endif

/* A follower's leader is gone: stand for election in delay_ms. */
static inline void
compat_forget_leader(struct raft *r, unsigned delay_ms)
{
	raft_time now = r->io->time(r->io);

	if (r->state != RAFT_FOLLOWER)
		return;
	r->follower_state.current_leader.id = 0;
	r->election_timer_start = now + delay_ms -
	    r->follower_state.randomized_election_timeout;
}

#endif
