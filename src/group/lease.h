/*
 * lease.h: who still lives, as the leader knows it; for the files of group/.
 *
 * Soft state, never in the log: per session and per ttl file the moment at
 * which it expires.  Only a leader has it, and a new one begins by giving
 * everybody a full ttl.  Time is a clock of its own that stands still while
 * the leader does.  Besides, on every host: when ttl files were last
 * refreshed, as the leader tells.
 *
 * lease.c decides who has expired, lease_table.c holds the files, renew.c
 * carries renewals to the leader and its answers back.
 */
#ifndef GROUP_LEASE_H
#define GROUP_LEASE_H

#include <sys/queue.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "group/group.h"

/* A session that says nothing of its ttl. */
#define LEASE_TTL_MS 10000
/* A refresh that its host has accepted may be on its way for that long. */
#define LEASE_GRACE_MS 500
/* Expiries proposed in one turn. */
#define LEASE_BATCH 128
/* The others are told of refreshes that often. */
#define LEASE_TELL_MS 400
/* Who connects is told of all that often: he may still be catching up. */
#define LEASE_TELL_ALL 4

struct command;
struct group_read;

struct lease_session {
	uint64_t id, host;
	uint64_t ttl_ns;
	uint64_t expiry_ns; /* lease clock */
	bool proposed;	    /* its end is in our log: no way back */
	bool suspended;	    /* so is that it is silent */
	bool heard;	    /* renewed since that, as far as we know */
	bool seen;	    /* in the store, while that is walked */
};

/* A lock that stays for a while after its holder was lost. */
struct lease_delay {
	uint64_t node, ordinal;
	uint64_t expiry_ns; /* lease clock */
	bool proposed, seen; /* as above */
};

struct lease_node {
	UT_hash_handle hh;
	struct lease_node *next_dirty;
	uint64_t node;
	uint64_t wall_ns;   /* last refresh, the leader's clock; 0: none */
	uint64_t ttl_ns;    /* 0: not watched (we don't lead) */
	uint64_t expiry_ns; /* lease clock */
	uint64_t due_ns;    /* its order in the heap; never after expiry */
	size_t heap_idx;    /* LEASE_NO_HEAP: not in it */
	bool dirty;	    /* refreshed, others not told yet */
	bool proposed;	    /* its removal is in our log */
};
#define LEASE_NO_HEAP SIZE_MAX

TAILQ_HEAD(renewal_list, group_renewal);

struct lease {
	uint64_t term;	    /* in which we lead and watch; 0: we don't */
	uint64_t clock_ns;  /* the lease clock */
	uint64_t looked_ns; /* clock_now_ns() when that was moved */
	struct lease_session *sessions;
	size_t n_sessions, cap_sessions;
	struct lease_delay *delays;
	size_t n_delays, cap_delays;
	bool stale;	     /* the store has others, of these two */
	uint64_t *changed;   /* nodes that commits of this turn concern */
	size_t n_changed, cap_changed;

	/* lease_table.c */
	struct lease_node *nodes; /* uthash */
	struct lease_node **heap; /* earliest due first */
	size_t n_heap, cap_heap;
	struct lease_node *dirty;

	/* renew.c */
	struct renewal_list fresh;	/* own, not handed to anybody */
	struct renewal_list sent;	/* own, to the leader */
	struct renewal_list arrived;	/* at us, the leader */
	struct renewal_list confirming; /* ... and asked whether we lead */
	struct renewal_list answered;	/* own, to be told at the turn's end */
	unsigned n_theirs;		/* of arrived and confirming */
	uint64_t last_id;
	struct group_read *confirm;	/* the question, or NULL */
	uint64_t asked_ns;		/* lease clock at its begin */
	uint64_t confirmed_ns; /* we led at that moment of the lease clock */
	unsigned tell_all;     /* times that all is to be told again */
	uint64_t told_ns;      /* clock_now_ns() when we told the others */
};

/* lease.c */
void lease_init(struct group *);
void lease_fini(struct group *);
/* One applied command, as published. */
void lease_applied(struct group *, const struct command *,
    const struct outcome *);
void lease_turn(struct group *);    /* after publishing */
void lease_propose(struct group *); /* what has expired */
void lease_epoch(struct group *);   /* another leader, term or connection */
bool lease_due(struct group *);     /* a majority is to be asked */
void lease_follow(struct group *);  /* what was published */
uint64_t lease_clock(struct group *); /* moves it */
struct lease_session *lease_session_find(struct lease *, uint64_t id);
/* False: its removal is under way.  One that has no ttl is refreshed too. */
bool lease_refresh(struct group *, uint64_t node);

/* lease_table.c */
struct lease_node *lease_node_find(struct lease *, uint64_t node);
struct lease_node *lease_node_add(struct lease *, uint64_t node); /* or finds */
void lease_node_del(struct lease *, struct lease_node *);
void lease_node_dirty(struct lease *, struct lease_node *); /* to be told of */
void lease_table_dirty(struct lease *); /* all that were ever refreshed */
void lease_table_unwatch(struct lease *); /* only wall_ns is kept */
void lease_table_fini(struct lease *);
/* Into the heap, or to its new place there, by expiry_ns. */
void lease_heap_put(struct lease *, struct lease_node *);
void lease_heap_del(struct lease *, struct lease_node *);
/* The one that expires first, if that is not after `until`; or NULL. */
struct lease_node *lease_heap_first(struct lease *, uint64_t until);

/* renew.c */
void renew_init(struct group *);
void renew_fini(struct group *);
void renew_turn(struct group *);
void renew_tick(struct group *);
void renew_epoch(struct group *);
void renew_fail(struct group *);      /* ends all own */
void renew_confirmed(struct group *, int err); /* readindex.c says */

#endif
