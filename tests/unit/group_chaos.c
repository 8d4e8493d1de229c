/*
 * group_chaos.c: a group under kills, pauses and cuts at random moments.
 *
 * group_chaos.t [SEED [SECONDS]].  All hosts commit all the time.  In the end
 * every host has every name that was acknowledged, none that was refused, and
 * all have equal digests.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tap.h"
#include "base/clock.h"
#include "group_host.h"

#define HOSTS 3

enum { BUSY = 1, READY = 2 };

static struct hosts hs;
static unsigned round_of[HOSTS], starts[HOSTS];
static int state[HOSTS];
static uint64_t paused_until[HOSTS], cut_until[HOSTS], down_until[HOSTS];
static unsigned kills, pauses, cuts, stops, delays;

static void
begin(unsigned i)
{
	host_tell(&hs, i, "commit 50 16 h%u-%u-%u", i, starts[i],
	    round_of[i]++);
	state[i] = BUSY;
}

static void
start(unsigned i)
{
	host_start(&hs, i);
	starts[i]++;
	state[i] = 0;
	paused_until[i] = cut_until[i] = down_until[i] = 0;
	if (strcmp(host_answer(&hs, i, 10000), "open") != 0) {
		diag("host %u doesn't open: %s", i, hs.line);
		host_kill(&hs, i);
		down_until[i] = clock_now_ns();
		return;
	}
	host_tell(&hs, i, "journal %s/%u", hs.dir, i);
}

/* Takes one answer, if there is one, and gives the next order. */
static void
serve(unsigned i)
{
	struct pollfd p = {.fd = hs.fd[i], .events = POLLIN};

	if (hs.pid[i] == 0 || poll(&p, 1, 0) <= 0)
		return;
	if (strcmp(host_answer(&hs, i, 1000), "late") == 0) {
		diag("host %u has ended by itself", i);
		host_kill(&hs, i);
		down_until[i] = clock_now_ns() + 100 * NS_PER_MS;
		return;
	}
	if (strncmp(hs.line, "session", 7) == 0) {
		host_kill(&hs, i); /* no leader for too long: again */
		start(i);
	} else if (strcmp(hs.line, "ready") == 0 ||
	    strncmp(hs.line, "commit", 6) == 0) {
		begin(i);
	} else if (strcmp(hs.line, "stopped") == 0) {
		(void)host_wait(&hs, i);
		down_until[i] = clock_now_ns() + 20 * NS_PER_MS;
	}
}

static void
cut(unsigned i, bool on)
{
	host_tell(&hs, i, "fault net_drop_in %d", on ? -1 : 0);
	host_tell(&hs, i, "fault net_drop_out %d", on ? -1 : 0);
}

static void
heal(unsigned i, uint64_t now)
{
	if (hs.pid[i] == 0 && now > down_until[i])
		start(i);
	if (paused_until[i] != 0 && now > paused_until[i]) {
		kill(hs.pid[i], SIGCONT);
		paused_until[i] = 0;
	}
	if (cut_until[i] != 0 && now > cut_until[i]) {
		cut(i, false);
		cut_until[i] = 0;
	}
}

static void
harm(unsigned i, uint64_t now)
{
	uint64_t until = now + (uint64_t)(rand() % 1500) * NS_PER_MS;

	if (hs.pid[i] == 0 || paused_until[i] != 0)
		return;
	switch (rand() % 7) {
	case 0:
	case 1:
		host_kill(&hs, i);
		down_until[i] = until;
		kills++;
		break;
	case 2:
		for (unsigned j = 0; j < HOSTS; j++) {
			host_kill(&hs, j);
			down_until[j] = now;
		}
		kills += HOSTS;
		break;
	case 3:
		kill(hs.pid[i], SIGSTOP);
		paused_until[i] = until;
		pauses++;
		break;
	case 4:
		cut(i, true);
		cut_until[i] = until;
		cuts++;
		break;
	case 5:
		host_tell(&hs, i, "stop");
		stops++;
		break;
	case 6:
		host_tell(&hs, i, "fault wal_sync_delay_ms %d",
		    (rand() % 2) * (rand() % 100));
		delays++;
		break;
	}
}

static void
run(unsigned seconds)
{
	uint64_t until = clock_now_ns() + seconds * NS_PER_S, next = 0, now;

	while ((now = clock_now_ns()) < until) {
		for (unsigned i = 0; i < HOSTS; i++) {
			heal(i, now);
			serve(i);
		}
		if (now > next) {
			harm((unsigned)rand() % HOSTS, now);
			next = now + (uint64_t)(rand() % 600) * NS_PER_MS;
		}
		usleep(500);
	}
}

int
main(int argc, char **argv)
{
	unsigned seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 8;
	unsigned acked = 0;

	diag("seed %u, %u s", seed, seconds);
	srand(seed);
	hosts_init(&hs, HOSTS);
	hs.conf.write_timeout_ms = 1500;
	hs.conf.segment_bytes = 1 << 18;
	for (unsigned i = 0; i < HOSTS; i++)
		start(i);
	run(seconds);
	diag("%u kills, %u pauses, %u cuts, %u stops, %u slow disks", kills,
	    pauses, cuts, stops, delays);
	for (unsigned i = 0; i < HOSTS; i++)
		host_kill(&hs, i);
	hs.conf.write_timeout_ms = 30000; /* enough for any machine */
	for (unsigned i = 0; i < HOSTS; i++) {
		host_start(&hs, i);
		is_str(host_answer(&hs, i, 10000), "open", "host %u opens", i);
	}
	for (unsigned i = 0; i < HOSTS; i++)
		is_str(host_answer(&hs, i, 10000), "ready",
		    "host %u takes part", i);
	ok(hosts_equal(&hs, 10000), "O2: equal digests on all hosts");
	for (unsigned i = 0; i < HOSTS; i++) {
		unsigned there = 0, absent = 1, twice = 1;

		host_ask(&hs, i, "verify %s/%u/acked", hs.dir, i);
		sscanf(hs.line, "verify %u %u", &there, &absent);
		is_int(absent, 0, "O1: nothing acknowledged is lost");
		acked += there;
		host_ask(&hs, i, "verify %s/%u/refused", hs.dir, i);
		sscanf(hs.line, "verify %u %u %u", &there, &absent, &twice);
		is_int(twice, 0, "O5: nothing was applied twice");
		is_int(there, 0, "O5: nothing refused was applied");
	}
	ok(acked > 0, "there was something to lose");
	diag("%u acknowledged", acked);
	hosts_fini(&hs);
	return done_testing();
}
