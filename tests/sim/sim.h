/*
 * sim.h: a simulated cluster under one seed; shared by sim*.c.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/buf.h"
#include "command/command.h"
#include "command/outcome.h"
#include "sim/cluster.h"
#include "store/store.h"

#define SIM_CLIENTS 3
#define SIM_WINDOW 4 /* commands of one client under way */

struct late; /* a message that arrives once more, later */

/* What one host answered to the commands of its newest entry. */
struct answers {
	unsigned n;
	struct {
		int err;
		uint64_t ino, value;
	} a[SIM_CLIENTS * SIM_WINDOW];
};

struct sim_host {
	struct store *store;
	struct answers answers;
	bool paused;
};

struct op {
	struct op *next;     /* in sim->ops */
	struct client *client;
	uint64_t session, seq;
	struct command command; /* for its kind; slices are gone */
	uint8_t *bytes;	     /* encoded once: a retry is the same command */
	size_t len;
	uint64_t token;	     /* of an append that is counted at the end */
	unsigned name;	     /* the number in its name */
	int64_t due_ms;	     /* of the next try */
	unsigned tries;
	bool answered;
	int err;
};

struct client {
	unsigned id;	     /* as the member id of a host */
	uint64_t session;    /* 0: none yet */
	uint64_t n_sessions;
	uint64_t next_seq;
	uint64_t next_ino;   /* 0: the session is not open */
	uint64_t file;	     /* that tokens are appended to; 0: unknown */
	struct op *window[SIM_WINDOW];
};

struct sim {
	uint64_t seed, random;
	struct cluster *c;
	struct sim_host hosts[CLUSTER_MAX];
	struct client clients[SIM_CLIENTS];
	struct op *ops;	     /* all that there ever were */
	uint64_t n_tokens;
	uint64_t names[8];   /* inode numbers last seen under a name */

	/* State of the store after each index, from who was there first. */
	struct {
		bool known;
		uint8_t digest[STORE_DIGEST_LEN];
	} *history;
	uint64_t n_history;

	unsigned drop;	     /* of 1000 messages */
	unsigned again;	     /* of 1000 messages, delivered twice */
	struct late *late;
	int64_t skew_ns[CLUSTER_MAX]; /* of the hosts' clocks */
	char broken[256];    /* the first broken promise; "" if none */
	unsigned n_answered, n_retried, n_restored, n_crashes;
};

uint64_t sim_random(struct sim *, uint64_t below);
int64_t sim_now(const struct sim *); /* ms */
__attribute__((format(printf, 2, 3))) void sim_broken(struct sim *,
    const char *fmt, ...);

/* sim_fsm.c: the machine over a store in memory. */
void sim_fsm_init(struct sim *, struct host *);
void sim_fsm_reset(struct sim *, unsigned i); /* as in a new process */
void sim_fsm_fini(struct sim *, unsigned i);
void sim_fsm_check(struct sim *, struct host *);

/* sim_client.c: sessions, proposals, retries. */
void sim_clients_init(struct sim *);
void sim_clients_turn(struct sim *, bool make_new);
bool sim_clients_idle(const struct sim *);
void sim_clients_check(struct sim *, struct store *);
void sim_clients_fini(struct sim *);

#endif
