/*
 * guard_internal.h: what the files of guard share.
 */
#ifndef GROUP_GUARD_INTERNAL_H
#define GROUP_GUARD_INTERNAL_H

#include <stddef.h>

#include "group/guard.h"

/* The guard whose outer io that is. */
static inline struct guard *
guard_of(struct raft_io *io)
{
	return (struct guard *)((char *)io - offsetof(struct guard, io));
}

static inline bool
guard_on(const struct guard *g, enum guard_bit bit)
{
	return (g->conf.off & (unsigned)bit) == 0;
}

/* Ends this host: conf.fatal(), and silence if that returns. */
void guard_fail(struct guard *, const char *why);
/* Notices a new state, term or committed configuration. */
void guard_observe(struct guard *);

/* guard_terms.c: which term each entry of the log has. */
void guard_terms_reset(struct guard *, raft_index last_index);
void guard_terms_append(struct guard *, raft_term);
void guard_terms_truncate(struct guard *, raft_index first_cut);
void guard_terms_snapshot(struct guard *, raft_index, raft_term);

/* guard_member.c: configurations. */
void guard_member_load(struct guard *, const struct raft_snapshot *,
    raft_index start_index, const struct raft_entry *, size_t n);
void guard_member_start(struct guard *);
void guard_member_save(struct guard *);
/* The entry at that index is about to be replaced by the leader's. */
void guard_member_conflict(struct guard *, raft_index);
/*
 * A shallow copy with the committed configuration instead of a newer one,
 * which the core would store as if it were committed.  0 or RAFT_NOMEM;
 * raft_configuration_close(&ret->configuration) ends it.
 */
int guard_member_snapshot(const struct guard *, const struct raft_snapshot *,
    struct raft_snapshot *ret);
bool guard_member_valid(const struct raft_buffer *);
bool guard_member_sole_voter(const struct guard *);

/* guard_recv.c: what the core hears. */
void guard_recv(struct raft_io *inner, struct raft_message *);
void guard_release_held(struct guard *);
void guard_release_stand(struct guard *);
void guard_drop_held(struct guard *);

/* guard_send.c: what the core says. */
int guard_send(struct raft_io *, struct raft_io_send *,
    const struct raft_message *, raft_io_send_cb);

#endif
