/*
 * replay_internal.h: shared by the files of this room.
 */
#ifndef REPLAY_INTERNAL_H
#define REPLAY_INTERNAL_H

#include "replay/protocol.h"
#include "replay/replay.h"

enum op_kind { OP_CHANGE, OP_RECONCILE };

struct op {
	enum op_kind kind;
	uint64_t rev;	     /* the cursor stays below it while we wait */
	uint64_t queued_ns;  /* clock_now_ns(); of lagging ones: since when */
	struct change change; /* OP_RECONCILE: dir and name alone */
	bool born;	     /* CREATE with its first content */
	bool force;	     /* OP_RECONCILE: unborn names go as well */
	unsigned tries;	     /* of this operation, or steps of this round */
	unsigned rounds;     /* OP_RECONCILE: times it was put off */
	uint64_t not_before_ns; /* OP_RECONCILE put off: clock_now_ns(); 0 */
	struct op *prev, *next;
};

struct replay {
	struct replay_conf conf;
	struct op *queue;    /* utlist DL, oldest first */
	unsigned n_queued;
	unsigned n_in_vain; /* reconciled since something last came of it */
	uint64_t cursor;
	/* Once the queue was full, names and nodes lag (kview.h) until all of
	 * them are brought up to date. */
	uint64_t behind_rev; /* of the first change not queued; 0: none */
	uint64_t behind_ns;  /* and when: clock_now_ns() */
	struct replay_news *news; /* oldest first */
	/* What the helper is doing now. */
	bool in_flight;
	bool telling;	     /* the oldest news, not current */
	bool moved;	     /* its request has come and K has moved */
	bool expected;	     /* current is a queued change, not a step of ours */
	struct change current;
	struct helper_request request;
	uint64_t sent_ns;
	uint64_t next_id;
	/* The helper process: replay_helper.c */
	struct helper *helper;
	uv_timer_t delay;    /* fault point replay_delay_ms */
	bool pumping;
	bool stopping;
	void (*stop_cb)(void *);
	void *stop_arg;
	unsigned n_closing;
};

/* replay.c */
void replay_answered(struct replay *, int err, uint32_t step);
/* Sends one step and remembers what it does to K. */
void replay_send(struct replay *, const struct change *, enum helper_op,
    uint64_t dir, const char *name, uint64_t dir2, const char *name2,
    bool expected);
void replay_push_reconcile(struct replay *, uint64_t rev, uint64_t dir,
    const char *name, bool force, bool at_head);

/* reconcile.c: one step towards K == C. */
enum reconciled {
	RECONCILE_EQUAL, /* they are equal: done */
	RECONCILE_STEP,	 /* something was sent or queued: look again */
	RECONCILE_LATER, /* something is in the way */
};
enum reconciled reconcile_step(struct replay *, struct store_txn *,
    struct op *);
/* The step has moved K: is more to be looked at? */
void reconcile_moved(struct replay *, struct store_txn *);
/* Removes an unborn node from the name it holds. */
void replay_displace(struct replay *, struct knode *, uint64_t dir,
    const char *name);

/* replay_helper.c: the process and its socket */
int helper_start(struct replay *);
bool helper_ready(const struct replay *);
void helper_send(struct replay *, const struct helper_request *);
void helper_idle(struct replay *); /* nothing is left to send */
pid_t helper_pid(const struct replay *);
void helper_stop(struct replay *, void (*cb)(struct replay *));

#endif
