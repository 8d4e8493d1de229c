/*
 * engine_group.h: the engine of a real host, a member of a Raft group.
 *
 * Keeps the store in dir/store and the log in dir/wal.  The store is derived:
 * where store_open_lmdb() doesn't trust what it finds (another boot, no clean
 * stop), it comes back empty and is filled from the log.  When
 * engine_group_open() returns, the store holds all that this host's disk knows
 * to be committed (CONTRACT O2).
 */
#ifndef ENGINE_ENGINE_GROUP_H
#define ENGINE_ENGINE_GROUP_H

#include "engine/engine.h"
#include "group/group.h"

/* -errno; logged.  A damaged log is not an error: the engine then serves what
 * the store has, and its status says role "quarantined" and why. */
int engine_group_open(const struct group_conf *, struct engine **ret);

#endif
