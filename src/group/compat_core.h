/*
 * compat_core.h: what io.c reads and sets inside libraft's core.
 */
#ifndef GROUP_COMPAT_CORE_H
#define GROUP_COMPAT_CORE_H

#include "group/compat.h"

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
