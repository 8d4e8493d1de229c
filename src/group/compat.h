/*
 * compat.h: all that depends on libraft's version.
 *
 * Debian 12 has 0.15 (canonical), Debian 13 has 0.22 (cowsql): messages were
 * renamed, the log is hidden.  configure refuses what was never tested.
 */
#ifndef GROUP_COMPAT_H
#define GROUP_COMPAT_H

#include <raft.h>

/* ---- messages ---- */
#ifdef RAFT_VERSION_NUMBER
enum {
	COMPAT_APPEND_ENTRIES = RAFT_APPEND_ENTRIES,
	COMPAT_APPEND_ENTRIES_RESULT = RAFT_APPEND_ENTRIES_RESULT,
	COMPAT_REQUEST_VOTE = RAFT_REQUEST_VOTE,
	COMPAT_REQUEST_VOTE_RESULT = RAFT_REQUEST_VOTE_RESULT,
	COMPAT_INSTALL_SNAPSHOT = RAFT_INSTALL_SNAPSHOT,
	COMPAT_TIMEOUT_NOW = RAFT_TIMEOUT_NOW,
};
#else
enum {
	COMPAT_APPEND_ENTRIES = RAFT_IO_APPEND_ENTRIES,
	COMPAT_APPEND_ENTRIES_RESULT = RAFT_IO_APPEND_ENTRIES_RESULT,
	COMPAT_REQUEST_VOTE = RAFT_IO_REQUEST_VOTE,
	COMPAT_REQUEST_VOTE_RESULT = RAFT_IO_REQUEST_VOTE_RESULT,
	COMPAT_INSTALL_SNAPSHOT = RAFT_IO_INSTALL_SNAPSHOT,
	COMPAT_TIMEOUT_NOW = RAFT_IO_TIMEOUT_NOW,
};
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
	return r->snapshot.put.data != NULL;
}

/* Highest index that server i is known to hold; leaders only. */
static inline raft_index
compat_match_index(const struct raft *r, unsigned i)
{
	return r->leader_state.progress[i].match_index;
}

#endif
