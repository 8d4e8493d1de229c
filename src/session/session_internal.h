/*
 * session_internal.h: between session.c (requests) and keep.c (renewals).
 */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include <uthash.h>

#include "base/clock.h"
#include "session/session.h"

/* Renewals under way: one each third of a ttl, each has a ttl for its answer. */
#define KEEP_BEATS 3
#define KEEP_BATCHES 4 /* of refreshed files */

struct flight {
	struct engine_renewal renewal;
	struct session *session;
	bool busy;
	uint64_t sent_ns; /* clock_now_ns() before it was sent */
	uint64_t *nodes;  /* owned: ENGINE_RENEW_NODES; NULL: a beat */
};

/* A refreshed ttl file that no renewal carries yet. */
struct refreshed {
	uint64_t node;
	UT_hash_handle hh;
};

struct keep {
	uint64_t ttl_ns, margin_ns;
	uint64_t deadline_ns; /* while the session is ready */
	uint64_t renew_ns;    /* next beat */
	uint64_t flush_ns;    /* no batch before that */
	struct flight beats[KEEP_BEATS], batches[KEEP_BATCHES];
	unsigned next_beat;
	struct refreshed *nodes; /* uthash */
};

/* One request in our care; its done is ours until then. */
struct pending {
	struct pending *next, **at; /* in the queue or in flight; at: who
				     * points here */
	struct session *session;
	struct engine_req *req;
	void (*done)(struct engine_req *, const struct outcome *); /* caller's */
	uint64_t id;  /* session it flies in; 0: it is queued */
	uint64_t seq; /* its place there */
};

struct list {
	struct pending *first, **last;
};

struct session {
	struct engine *engine;
	uint64_t max_file; /* proposed for a new tree */
	struct buf facts;  /* of this host, as session_open carries them */
	struct engine_subscriber subscriber;
	struct engine_req open_req; /* session_open itself */
	bool opening;		    /* open_req is under way */
	uint64_t opened_ns;	    /* clock_now_ns() before id was first sent */
	bool ready;		    /* id is a session */
	uint64_t id;		    /* random, never 0 */
	uint64_t range, n_inos;	    /* base of our numbers, how many we used */
	uint64_t next_seq, done_below;
	bool answered[LIMIT_WINDOW]; /* by seq modulo, from done_below on */
	struct list queue, flying;
	unsigned n_pending;	    /* in both */

	uv_timer_t timer;
	bool timer_closed;
	struct keep keep;
	bool lost;		/* one was, and none is ready yet */
	uint64_t lost_id;	/* to be told of; 0: told */
	void (*on_lost)(void *, uint64_t);
	void (*on_ready)(void *);
	void *lost_arg, *ready_arg;

	struct engine_req close_req; /* session_close, of session_stop() */
	bool closing;		     /* close_req is under way */
	uint64_t stop_ns;	     /* no longer than that */
	void (*stop_cb)(void *);     /* not NULL: we are to stop */
	void *stop_arg;
	bool stop_told;		     /* stop_cb was called */
};

/* session.c */
void session_lose(struct session *); /* the cluster or the clock ended it */
void session_wake(struct session *); /* look at the clock soon */

/* keep.c */
void keep_init(struct session *, uint32_t ttl_ms);
void keep_fini(struct session *);
void keep_begin(struct session *); /* a session is ready */
void keep_end(struct session *);   /* it is no more */
void keep_hurry(struct session *); /* there is a leader: try again now */
/* Renews, flushes, notices the deadline.  When to come again; 0: never. */
uint64_t keep_run(struct session *);
bool keep_late(const struct session *); /* the deadline has passed */

#endif
