/*
 * player.h: a mounted tree whose remote side is played by the test itself.
 *
 * player_start() forks a daemon: engine_local, session and mount, and a tick
 * every millisecond that may inject commands of another host.  Both sides
 * share struct stage.  Paths: stage->mnt is the mount point.
 */
#ifndef TESTS_MOUNT_PLAYER_H
#define TESTS_MOUNT_PLAYER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/engine_local.h"

struct stage {
	char mnt[72], dir[64];
	pid_t daemon;
	/* The test says: */
	volatile bool remote_on, stop, dump;
	volatile int64_t delay_ms, parking_off; /* fault points */
	volatile unsigned remote_per_s;
	/* The daemon says: */
	volatile bool up, dumped;
	volatile pid_t helper;
	volatile unsigned n_queued, n_parked;
	volatile uint64_t n_remote, n_refused, n_late, n_reconciled, n_replayed;
	volatile uint64_t replay_us, lag_us, n_ticks;
	/* The test's own. */
	volatile uint64_t user[64];
};

/* The remote host, inside the daemon. */
struct remote {
	struct engine *engine;
	struct stage *stage;
	uint64_t range, n_inos, seq; /* range 0: no session yet */
	unsigned rng;
	uint64_t last_ns;
	double due; /* operations that should have been made by now */
	/* Called each millisecond while remote_on, and for each outcome. */
	void (*tick)(struct remote *);
	void (*outcome)(struct remote *, const struct command *,
	    const struct outcome *);
};

struct stage *player_stage(const char *name);
/* Forks the daemon and waits until it is mounted. */
bool player_start(struct stage *, unsigned commit_ms, unsigned seed,
    void (*tick)(struct remote *),
    void (*outcome)(struct remote *, const struct command *,
	const struct outcome *));
bool player_drain(struct stage *, unsigned ms); /* until nothing is queued */
/* Walks the mount and compares with the committed tree; diag()s differences. */
bool player_compare(struct stage *);
void player_stop(struct stage *); /* unmounts, whatever has happened */
/* For main(), first thing: runs the replay helper if that is asked. */
void player_helper(int argc, char **argv);

/* The remote's. */
uint64_t remote_submit(struct remote *, struct command *); /* returns seq */
uint64_t remote_ino(struct remote *);
unsigned remote_due(struct remote *); /* operations at remote_per_s */
unsigned rnd(unsigned *rng, unsigned below);
uint64_t now_us(void);

#endif
