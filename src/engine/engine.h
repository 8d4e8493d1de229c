/*
 * engine.h: the upper seam, commands in one order, whatever puts them there.
 *
 * A submitted request is finished when its own command has been applied to this
 * host's store: leader, follower or any backend; that is the one completion
 * path, and read-your-writes for free.  Within a loop turn the engine applies
 * all it has, commits the store's transaction, and only then publishes, command
 * by command in their order: first `applied`, then the request's own `done`.
 *
 * Everything runs on the loop thread.  Nothing here blocks.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "command/command.h"
#include "command/outcome.h"
#include "store/store.h"

struct engine; /* engine_internal.h has the table of a backend */

enum engine_health {
	ENGINE_OK,	  /* there is a leader with a majority */
	ENGINE_SUSPENDED, /* no leader, for less than write_timeout: changes wait */
	ENGINE_READONLY,  /* no leader for longer: changes fail at once, EROFS */
	ENGINE_LOST,	  /* started and never found the others */
};

struct engine_status {
	enum engine_health health;
	const char *role;	/* "leader", "follower", "candidate", "quarantined"... */
	uint64_t leader;	/* member id, 0: unknown */
	char leader_name[64];	/* "" if unknown */
	uint64_t term;
	uint64_t commit;	/* raft index known to be committed */
	uint64_t applied;	/* raft index applied and published here */
	uint64_t rev;		/* revision published here */
	uint64_t since_ns;	/* clock_now_ns() of the last change of health */
	unsigned n_voters, n_alive; /* alive: heard within an election timeout */
	const char *disk;	/* what is wrong with it: a sentence, or NULL */
};

/* A peer as the leader's heartbeats tell it; for `gov status`. */
struct engine_member {
	uint64_t id;
	char name[64], address[64];
	const char *role; /* "leader", "voter", "standby" */
	bool alive;
	uint64_t applied, rev, replayed; /* as last heard; this host: exact */
	uint64_t heard_ns; /* clock_now_ns() then; 0: never, or this host */
};

/*
 * One command on its way.  The caller owns it, its command, and all its slices
 * until done fires, which is exactly once and never inside engine_submit().
 * The engine keeps what it needs of the command's bytes itself.
 */
struct engine_req {
	struct command command; /* stamp.session/seq/done_below: session's work */
	/* outcome is borrowed.  err -ETIMEDOUT: unknown (CONTRACT O5). */
	void (*done)(struct engine_req *, const struct outcome *);
	uint64_t only_session;	/* not 0: -EIO in any other (session) */
	void *engine_data;	/* the backend's */
	void *session_data;	/* the session's, while it is under way */
	uint64_t submitted_ns;	/* the backend's */
};

/* A question to the leader; done(err) when answered: 0, -EROFS or -EIO. */
struct engine_barrier {
	void (*done)(struct engine_barrier *, int err);
	void *engine_data;
	struct engine_barrier *next;
};

/* One applied command, as published. */
struct engine_applied {
	const struct command *command; /* borrowed, slices too */
	const struct outcome *outcome; /* borrowed */
	const struct engine_req *req;  /* this host's own waiting request, or
					* NULL: a remote or an abandoned one */
	uint64_t index;		       /* raft index */
	uint64_t rev;		       /* revision after it */
};

/*
 * Soft state at the leader: this host's session lives, and these files were
 * refreshed.  done(0): the leader has it, and still led when asked after it
 * arrived.  -ESTALE: the session has ended.  Else: nobody knows, try again.
 */
#define ENGINE_RENEW_NODES 4096
struct engine_renewal {
	uint64_t session;
	const uint64_t *nodes; /* ttl files refreshed; borrowed until done */
	unsigned n_nodes;      /* at most ENGINE_RENEW_NODES */
	void (*done)(struct engine_renewal *, int err);
	void *engine_data;
	struct engine_renewal *next;
};

struct engine_subscriber {
	/* In order, after the store's commit, before the request's done. */
	void (*applied)(struct engine_subscriber *, const struct engine_applied *);
	/* After the last one of a turn. */
	void (*turn)(struct engine_subscriber *);
	/* Health or leader have changed. */
	void (*status)(struct engine_subscriber *, const struct engine_status *);
	struct engine_subscriber *next; /* the engine's */
};

/* 0, or at once (no done): -EROFS (no leader for too long, quarantined),
 * -EAGAIN (LIMIT_WINDOW requests are under way). */
int engine_submit(struct engine *, struct engine_req *);
/* Takes a request back that has not been proposed to anybody yet: true, and
 * done never fires.  False: too late, done will fire. */
bool engine_withdraw(struct engine *, struct engine_req *);
/* Forget a request that is under way: its done fires at once with -EINTR, and
 * its command, if it commits, is published as a remote one (req NULL). */
void engine_abandon(struct engine *, struct engine_req *);

/* Read index: everything committed anywhere before the call has been applied
 * and published here when done fires.  Raft thesis 6.4. */
int engine_barrier(struct engine *, struct engine_barrier *);
void engine_barrier_cancel(struct engine *, struct engine_barrier *);

/* 0, or at once (no done): -EROFS, -EAGAIN. */
int engine_renew(struct engine *, struct engine_renewal *);
void engine_renew_cancel(struct engine *, struct engine_renewal *);
/* When a ttl file was last refreshed, as the leader told everybody at most
 * 0.5 s ago: ns since the epoch of the leader's clock; 0: not known. */
uint64_t engine_refreshed_ns(struct engine *, uint64_t node);
/* When a session was last renewed, clock_now_ns(): the leader knows; else 0. */
uint64_t engine_renewed_ns(struct engine *, uint64_t session);
/* No other host can decide anything without this one: its only voter.  Then
 * nobody ends its session while it doesn't run. */
bool engine_alone(struct engine *);

/* The committed tree as published: begin read transactions on it, between
 * loop callbacks only (never keep one over a return to the loop). */
struct store *engine_store(struct engine *);
void engine_status(struct engine *, struct engine_status *ret);
unsigned engine_members(struct engine *, struct engine_member *ret, unsigned max);
uint64_t engine_rev(struct engine *);	  /* published */
uint64_t engine_self(struct engine *);	  /* member id of this host */
const char *engine_name(struct engine *); /* of this host */
bool engine_writable(struct engine *);	  /* submit would not say EROFS */
/* What the others should know of this host: revision replayed to its kernel. */
void engine_report_replayed(struct engine *, uint64_t rev);
void engine_subscribe(struct engine *, struct engine_subscriber *);
/* Never inside a callback of a subscriber.  One not subscribed is fine. */
void engine_unsubscribe(struct engine *, struct engine_subscriber *);
/* Ends everything under way (leadership is handed over first); then cb. */
void engine_stop(struct engine *, void (*cb)(void *), void *arg);
void engine_free(struct engine *); /* after cb; NULL is fine */

#endif
