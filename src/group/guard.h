/*
 * guard.h: what libraft 0.15 gets wrong, put right from outside.
 *
 * A guard is a struct raft_io in front of another one (ours of io.c, or the
 * one of libraft's fixture): everything the core says and hears passes here.
 * guard_attach() comes after raft_init() and before raft_bootstrap() and
 * raft_start(); from then on raft->io is the guard and the inner raft_io sees
 * the same calls as before, with these differences:
 *
 *  - callbacks of tick and recv are the guard's; append requests and sends
 *    without a callback are the guard's own (never look inside a request);
 *  - a failed append, truncate, set_term or set_vote, and a core that has made
 *    itself unavailable, end in conf.fatal().  If that returns, the host is
 *    as if cut off: nothing is delivered, sent or written any more.
 *
 * guard_turn() must run once per loop turn, outside of all libraft callbacks
 * (uv_prepare): new leaders submit their barrier there, swallowed sends are
 * completed there, and conf.role() is called from there, where calls into
 * libraft are safe.  Everything runs on the loop thread.
 *
 * A Raft entry's payload is never empty and a multiple of 8 bytes.
 */
#ifndef GROUP_GUARD_H
#define GROUP_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

/* For tests alone: a guard switched off shows the bug that it stops. */
enum guard_bit {
	GUARD_BARRIER = 1 << 0,	  /* a new leader writes an entry of its term */
	GUARD_FIG8 = 1 << 1,	  /* never commit older terms by counting */
	GUARD_COMMIT = 1 << 2,	  /* commit what a majority has, at once */
	GUARD_ACK = 1 << 3,	  /* acknowledge only what was compared */
	GUARD_TRIM = 1 << 4,	  /* committed entries are never appended again */
	GUARD_RAISE = 1 << 5,	  /* committed entries are never rejected */
	GUARD_VOTE = 1 << 6,	  /* one vote a term, for a transferee too */
	GUARD_STALE = 1 << 7,	  /* a silent leader doesn't stop an election */
	GUARD_INFLIGHT = 1 << 8,  /* no candidate while the disk is busy */
	GUARD_TERMBUMP = 1 << 9,  /* the only voter elects itself in a new term */
	GUARD_CONF = 1 << 10,	  /* an uncommitted configuration can go back */
	GUARD_FAILSTOP = 1 << 11, /* a failed write ends this host */
	GUARD_ALIGN = 1 << 12,	  /* payloads are multiples of 8 */
	GUARD_SEND = 1 << 13,	  /* send() never fails and owns its requests */
	GUARD_CUT = 1 << 14,	  /* no append while a cut-off one is under way */
	GUARD_PREVOTE = 1 << 15,  /* a refused pre-vote tells the newer term */
	GUARD_BATCH = 1 << 16,	  /* loaded entries don't share their memory */
};

struct guard_conf {
	void *ctx;
	/* Ends the process (logged by the callee); tests mark the host dead. */
	void (*fatal)(void *ctx, const char *why);
	/* guard_turn() is wanted soon; may be NULL if it runs every turn. */
	void (*defer)(void *ctx);
	/* State or term has changed; from guard_turn() only; may be NULL. */
	void (*role)(void *ctx);
	uint64_t commit; /* index known to be committed at the start, or 0 */
	unsigned off;	 /* enum guard_bit; tests only */
};

struct guard_run; /* entries of one term */
struct guard_op;  /* a request to the inner io under way */

/* A follower's positive answer that waits for an entry of our own term. */
struct guard_held {
	raft_id id; /* 0: free */
	struct raft_append_entries_result result;
};

/* Counted, for metrics and tests: how often each guard had something to do. */
struct guard_stats {
	uint64_t barriers, held, committed, clamped, trimmed, raised, votes,
	    staled, postponed, bumped, rolled_back, swallowed, dropped, cut,
	    prevotes;
};

struct guard {
	struct raft_io io;     /* what the core talks to; see guard_attach() */
	struct raft_io *inner; /* borrowed */
	struct raft *raft;     /* borrowed */
	struct guard_conf conf;
	raft_io_tick_cb tick;  /* the core's */
	raft_io_recv_cb recv;  /* the core's */

	/* Terms of the log's entries, (first_index - 1, last_index]. */
	struct guard_run *runs; /* owned; ascending */
	unsigned n_runs, cap_runs;
	raft_index last_index;	/* of the log in memory */
	raft_index snap_index;	/* newest snapshot, stored or being stored */
	raft_term snap_term;

	struct guard_op *ops;	/* owned; requests that the inner io holds */
	struct guard_op *done;	/* sends to complete at the next guard_turn() */
	unsigned n_appends;	/* appends under way */
	unsigned short receiving; /* type of the message being delivered, or 0 */

	raft_term verified_term; /* of the leader who spoke last */
	raft_index verified;	 /* highest index compared with its log */
	raft_time heard_ms;	 /* when it spoke last */
	struct guard_held held[LIMIT_MEMBERS];
	raft_id stand_from;	/* whose TimeoutNow waits for the disk; or 0 */
	struct raft_timeout_now stand;

	int state;		/* as seen last */
	raft_term term;		/* as seen last */
	bool changed;		/* state or term has; role() is due */
	bool barrier_wanted;	/* new leader without an entry of its term */
	bool barrier_running;
	struct raft_barrier barrier;
	bool started, closing;
	bool failed;		/* fatal() was called */
	raft_io_close_cb close_cb; /* the core's */

	struct raft_configuration committed_conf; /* owned; n 0: none known */
	raft_index committed_conf_index;
	raft_index newest_conf_index; /* loaded, perhaps uncommitted; or 0 */

	struct guard_stats stats;
};

void guard_attach(struct guard *, struct raft *, struct raft_io *inner,
    const struct guard_conf *);
/* After raft_close() has called back; frees what is left. */
void guard_fini(struct guard *);
void guard_turn(struct guard *);

/* Bytes of a Raft message from that peer have arrived, though not yet the
 * whole of it: if it is our leader, it lives. */
void guard_heard(struct guard *, raft_id);
/* Leader, and an entry of its own term is committed: only now are the commit
 * index exact, reads safe and membership changes allowed. */
bool guard_leader_ready(const struct guard *);
/* Term of an entry in the log (or of the snapshot's last), 0 if unknown. */
uint64_t guard_term_of(const struct guard *, uint64_t index);

#endif
