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

#endif
