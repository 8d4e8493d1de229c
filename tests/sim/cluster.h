/*
 * cluster.h: hosts in one process, on libraft's fixture, behind guards.
 *
 * Between each guard and the fixture's raft_io stands a thin layer that can
 * drop messages, break writes, and forget what a crash would.  It has a disk of
 * its own, of which the fixture only tells the time: the fixture's truncate()
 * overflows after snapshots, its snapshots forget their configuration's index,
 * and it has no crashes.
 *
 * The default state machine notes (index, value) of every command.
 */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include <raft.h>
#include <raft/fixture.h>

#include "group/guard.h"
#include "sim/disk.h"

#define CLUSTER_MAX 7

struct cluster;
struct below;

struct applied {
	raft_index index;
	uint64_t value;
};

struct host {
	struct cluster *cluster;
	unsigned i;
	struct raft *raft;
	struct raft_io *io; /* the fixture's */
	struct guard guard;
	struct raft_fsm fsm;
	bool dead;	  /* its guard called fatal() */
	const char *why;  /* it said */
	bool role_called; /* since the test cleared it */

	/* The layer below the guard. */
	struct raft_io below; /* the fixture's functions */
	raft_io_tick_cb tick;
	raft_io_recv_cb recv;
	unsigned off; /* its guard's */
	struct disk disk;
	struct below *waiting; /* for the disk, in order */
	unsigned n_sends;      /* that the fixture holds */
	int append_status;  /* what appends end with, if not 0 */
	int send_status;    /* what send() returns, if not 0 */
	unsigned n_nowhere; /* sends to server 0 or without an address */
	unsigned put_conf_n; /* servers in the snapshot put last */

	struct applied *log; /* of the default state machine */
	unsigned n_log, cap_log;
	void *data; /* the test's */
};

struct cluster {
	struct raft_fixture f;
	unsigned n;
	struct host hosts[CLUSTER_MAX];
	/* False: the message is lost.  Runs at its delivery. */
	bool (*filter)(struct cluster *, unsigned from, unsigned to,
	    const struct raft_message *);
	void *arg; /* the filter's */
	void (*made)(struct host *); /* may replace the fsm */
	/* Between raft_init() and raft_start() of a host that comes back. */
	void (*restarted)(struct host *);
};

/* n hosts, the first n_voters of them voters, bootstrapped, not started. */
struct cluster *cluster_new(unsigned n, unsigned n_voters, unsigned off,
    void (*made)(struct host *));
void cluster_free(struct cluster *);
void cluster_start(struct cluster *);
/* One more empty host. */
struct host *cluster_grow(struct cluster *, unsigned off);

/* A crash, of which the disk keeps the first n changes under way, and the next
 * start, with the commit index that the disk knows or without. */
bool cluster_restart(struct cluster *, unsigned i, unsigned n_kept,
    bool commit);

/* Before the start: one more entry in the log on disk, a command of value. */
void cluster_preload(struct cluster *, unsigned i, raft_term, uint64_t value);
void cluster_preload_conf(struct cluster *, unsigned i, raft_term,
    unsigned n_servers);

void cluster_step(struct cluster *);
void cluster_run(struct cluster *, unsigned ms);
/* Steps until the condition holds: true, or ms have passed: false. */
bool cluster_until(struct cluster *, bool (*)(struct cluster *, void *),
    void *, unsigned ms);
/* Only host i will stand for election. */
void cluster_prefer(struct cluster *, unsigned i);
bool cluster_elect(struct cluster *, unsigned i);
unsigned cluster_leader(struct cluster *); /* of the newest term; n: none */
void cluster_cut(struct cluster *, unsigned i, unsigned j); /* both ways */
void cluster_heal(struct cluster *, unsigned i, unsigned j);
void cluster_isolate(struct cluster *, unsigned i);
void cluster_rejoin(struct cluster *, unsigned i);
/* 0, or what raft_apply() said.  *ret_done becomes 1 once applied, < 0 when
 * the callback said otherwise; may be NULL. */
int cluster_propose(struct cluster *, unsigned i, uint64_t value,
    int *ret_done);
/* As if that host had sent it.  Takes the message's memory. */
void cluster_inject(struct cluster *, unsigned from, unsigned to,
    struct raft_message *);

/* The hosts' state machines never applied different things at one index. */
bool cluster_agree(const struct cluster *);
bool cluster_applied(const struct cluster *, unsigned i, uint64_t value);

#endif
