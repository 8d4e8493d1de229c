/*
 * session.h: this host's session with the cluster.
 *
 * Opens one as soon as changes are possible, gives every request its place in
 * it (session, seq, done_below), and hands out inode numbers of its range; tells
 * the cluster what this host is.
 * Locks and lifetimes hang on it.  Loop thread only.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <uv.h>

#include "engine/engine.h"

struct session;

#define SESSION_TTL_MS 10000

struct session_conf {
	uv_loop_t *loop;       /* borrowed, as is the engine */
	struct engine *engine;
	uint64_t max_file;     /* bytes, of a tree that this session happens to
				* format; 0: default */
	uint32_t ttl_ms;       /* 0: SESSION_TTL_MS; at least 200 */
	const struct session_fact *facts; /* borrowed for the call */
	unsigned n_facts;      /* 0: nodes/ doesn't tell of this host */
};

/* What this host is, told to all as a file in nodes/<host>/. */
struct session_fact {
	const char *name, *text; /* lines */
};

int session_open(const struct session_conf *, struct session **ret);
/*
 * A clean end: the cluster is told, so that locks are free at once; it doesn't
 * take long, then cb, from the loop.  No session is opened any more.
 */
void session_stop(struct session *, void (*cb)(void *), void *arg);
/*
 * Before engine_free(), never inside a done; frees within the loop's next turn.
 * Requests still waiting for a session get -EROFS; those under way are answered
 * by the engine alone: where their done looks at the session, that is closed
 * after the engine has stopped.  Without session_stop() the session lives on for
 * its ttl, as after a crash.
 */
void session_close(struct session *); /* NULL is fine */

/*
 * Stamps the request (session, seq, done_below, host) and submits it.  The
 * caller has filled kind, fields and the credentials.  Requests made before the
 * session exists wait for it, bounded as engine_submit() is.  0, -EROFS, -EAGAIN.
 *
 * A session that the cluster has ended is opened anew and its requests go into
 * the new one, except those that carry an inode number of the old range: -ESTALE,
 * and those bound to the old one by only_session: -EIO.  Nothing was changed.
 */
int session_submit(struct session *, struct engine_req *);
bool session_withdraw(struct session *, struct engine_req *);
void session_abandon(struct session *, struct engine_req *);

/* A number no node ever had; 0 while there is no session yet. */
uint64_t session_new_ino(struct session *);
bool session_ready(const struct session *);
/* Is it one of the numbers handed out in the present session? */
bool session_owns(const struct session *, uint64_t ino);
uint64_t session_id(const struct session *); /* 0: none */

/*
 * A host knows first when it may have lost its session: from the deadline on
 * (CLOCK_BOOTTIME, counted from before the renewal was sent, and shorter than
 * what the leader grants) session_lost() is true for the session that was, and
 * `lost` is called once, from the loop.  Locks and owned files of it are to be
 * given up.  Once a new one is ready, session_lost() is false again.  Of a group
 * with one voter only the machine's word ends the session.
 */
bool session_lost(const struct session *);
/* clock_now_ns() when it is lost unless renewed; 0: there is none. */
uint64_t session_deadline_ns(const struct session *);
/* clock_now_ns() before the last renewal that was confirmed was sent; 0: none. */
uint64_t session_renewed_ns(const struct session *);
void session_on_lost(struct session *, void (*lost)(void *arg,
    uint64_t session), void *arg);
/* A new session is ready (also the first): owned files may be made again. */
void session_on_ready(struct session *, void (*ready)(void *arg), void *arg);
/* Marks a ttl file refreshed; travels with the next renewals, batched, until
 * one has been confirmed.  -EROFS: the session is lost. */
int session_refresh(struct session *, uint64_t node);

#endif
