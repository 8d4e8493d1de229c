/*
 * disk.h: what a simulated host still has after a crash.
 *
 * Appends, truncations and snapshots take effect in the order in which they
 * were asked for; a crash keeps a prefix of those under way.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <raft.h>

struct disk_op; /* a change under way */

struct disk {
	raft_term term;
	raft_id voted_for;
	struct raft_snapshot *snapshot; /* owned, one buffer; NULL: none */
	struct raft_entry *entries;	/* owned, each payload too */
	raft_index first;		/* index of the first one */
	unsigned n;
	raft_index commit; /* known when the newest entry was written */
	struct disk_op *head, **tail;	/* oldest first */
};

void disk_init(struct disk *);
void disk_fini(struct disk *);
void disk_bootstrap(struct disk *, const struct raft_configuration *);
/* Copies; disk_done() when it is durable, and all before it. */
struct disk_op *disk_append(struct disk *, const struct raft_entry *,
    unsigned n, raft_index commit);
void disk_truncate(struct disk *, raft_index);
struct disk_op *disk_put(struct disk *, const struct raft_snapshot *,
    unsigned trailing);
void disk_done(struct disk *, struct disk_op *);
void disk_cancel(struct disk *, struct disk_op *); /* it failed */
/* All under way is lost but the first n. */
void disk_crash(struct disk *, unsigned n_kept);
unsigned disk_pending(const struct disk *);
void disk_load(const struct disk *, struct raft_snapshot **ret_snapshot,
    raft_index *ret_start, struct raft_entry **ret_entries, size_t *ret_n);
/* raft_malloc()ed as the core wants it. */
struct raft_snapshot *disk_snapshot_copy(const struct raft_snapshot *);
void disk_snapshot_free(struct raft_snapshot *);

#endif
