/*
 * lease.c: sessions and ttl files on real hosts: kept without a log entry, and
 * ended by nobody but a leader that may, when it may.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "group/lease.h"
#include "lease_host.h"
#include "../pace.h"
#include "../random.h"
#include "../tap.h"

#define TTL_MS 2000 /* a third must outlast an election, on a busy machine */
#define MS(ns) ((long long)(ns) / (long long)NS_PER_MS)

static struct hosts hs;

struct events {
	unsigned n_lost, n_ready, n_expired, n_removed;
	uint64_t lost_ns, ready_ns, expired_ns, removed_ns;
};

static void
start(unsigned i)
{
	host_start(&hs, i);
	is_str(host_answer(&hs, i, 5000), "open", "host %u opens", i);
}

static void
start_all(unsigned n)
{
	hosts_init(&hs, n);
	hs.conf.election_ms = 200;
	hs.conf.heartbeat_ms = 25;
	hs.main = lease_host_main;
	lease_ttl_ms = TTL_MS;
	for (unsigned i = 0; i < n; i++)
		start(i);
	for (unsigned i = 0; i < n; i++)
		is_str(host_answer(&hs, i, 10000), "ready",
		    "host %u has a session", i);
}

static struct events
events(unsigned i)
{
	unsigned long long at[4] = {0};
	struct events e = {0};

	host_ask(&hs, i, "events");
	if (sscanf(hs.line, "events %u %llu %u %llu %u %llu %u %llu",
	    &e.n_lost, &at[0], &e.n_ready, &at[1], &e.n_expired, &at[2],
	    &e.n_removed, &at[3]) != 8)
		diag("host %u says: %s", i, hs.line);
	e.lost_ns = at[0];
	e.ready_ns = at[1];
	e.expired_ns = at[2];
	e.removed_ns = at[3];
	return e;
}

struct state {
	int ready, lost;
	unsigned long long id, deadline_ns;
};

static struct state
state(unsigned i)
{
	struct state s = {0};

	host_ask(&hs, i, "state");
	if (sscanf(hs.line, "state %d %d %llx %llu", &s.ready, &s.lost, &s.id,
	    &s.deadline_ns) != 4)
		diag("host %u says: %s", i, hs.line);
	return s;
}

struct sessions {
	unsigned n, n_suspended;
	unsigned n_resumed; /* ever */
};

static struct sessions
sessions(unsigned i)
{
	struct sessions s = {0};

	host_ask(&hs, i, "sessions");
	if (sscanf(hs.line, "sessions %u %u %u", &s.n, &s.n_suspended,
	    &s.n_resumed) != 3)
		diag("host %u says: %s", i, hs.line);
	return s;
}

static unsigned long long
commit_index(unsigned i)
{
	unsigned long long term = 0, commit = 0;
	char role[32];

	host_ask(&hs, i, "status");
	(void)sscanf(hs.line, "status %31s %*u %*s %llu %llu", role, &term,
	    &commit);
	return commit;
}

static long long
metric(unsigned i, const char *name)
{
	long long value = -1;

	(void)sscanf(host_ask(&hs, i, "metric %s", name), "metric %lld",
	    &value);
	return value;
}

/* Since a moment of pace_us(). */
static long long
pace_ms_since(uint64_t began_us)
{
	return (long long)(pace_us() - began_us) / 1000;
}

/* Until so many sessions have been ended by the leader, as host i sees it. */
static bool
wait_expired(unsigned i, unsigned n, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;

	while (events(i).n_expired < n) {
		if (clock_now_ns() > until)
			return false;
		usleep(2000);
	}
	return true;
}

static bool
wait_ready(unsigned i, unsigned n, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;

	while (events(i).n_ready < n) {
		if (clock_now_ns() > until)
			return false;
		usleep(2000);
	}
	return true;
}

/* Until a session is suspended there; one may end before that is seen. */
static bool
wait_suspended(unsigned i, unsigned n, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;
	unsigned n_expired = events(i).n_expired;

	while (sessions(i).n_suspended != n) {
		if (clock_now_ns() > until || events(i).n_expired > n_expired)
			return false;
		usleep(2000);
	}
	return true;
}

static void
sleep_ms(unsigned ms)
{
	usleep(ms * 1000);
}

/* ---- a machine that stands still ---- */

/*
 * May cost any host its session, rightly (L4).  A test that went wrong is made
 * once more, some times, if the machine stood still in it.
 */
struct attempt {
	unsigned n;
	uint64_t real_ns, paced_us; /* when it began */
};

/* All hosts have sessions that live, and a leader. */
static bool
settled(void)
{
	struct sessions se;

	for (unsigned i = 0; i < 3; i++) {
		struct state st = state(i);

		se = sessions(i);
		if (!st.ready || st.lost || se.n != 3 || se.n_suspended != 0)
			return false;
	}
	return true;
}

/* Is there to be one, the first or another?  Not before all is well. */
static bool
attempt(struct attempt *a, bool good, unsigned *ret_leader)
{
	uint64_t until = clock_now_ns() + PATIENCE * 5 * NS_PER_S;
	long long stood;
	int leader;

	if (a->n > 0) {
		stood = MS(clock_now_ns() - a->real_ns) -
		    pace_ms_since(a->paced_us);
		if (good || stood < TTL_MS / 8 || a->n == PATIENCE)
			return false;
		diag("the machine stood still for %lld ms: once more", stood);
	}
	while (!settled() && clock_now_ns() < until)
		usleep(2000);
	leader = hosts_leader(&hs, 5000);
	if (leader < 0)
		bail_out("there is no leader");
	*ret_leader = (unsigned)leader;
	a->n++;
	a->real_ns = clock_now_ns();
	a->paced_us = pace_us();
	return true;
}

/* ---- */

/* The log's notes of what was committed have been written. */
static void
wait_quiet_log(unsigned i)
{
	long long writes;

	do {
		writes = metric(i, "wal_writes");
		sleep_ms(250);
	} while (metric(i, "wal_writes") != writes);
}

static void
test_renewal(void)
{
	struct attempt a = {0};
	unsigned long long commit, entries = 0;
	long long writes = 0, renewals = 0;
	unsigned leader, kept = 0, ahead = 0;

	while (attempt(&a, entries == 0 && writes == 0 && kept == 3 &&
	    ahead == 3, &leader)) {
		struct state before[3];

		wait_quiet_log(leader);
		for (unsigned k = 0; k < 3; k++)
			before[k] = state(k);
		commit = commit_index(leader);
		writes = metric(leader, "wal_writes");
		renewals = metric(leader, "renewals");
		sleep_ms(3 * TTL_MS);
		entries = commit_index(leader) - commit;
		writes = metric(leader, "wal_writes") - writes;
		for (unsigned i = 0; i < 3 * TTL_MS * PATIENCE && metric(leader,
		    "renewals") - renewals < 3 * 7; i++)
			usleep(1000);
		renewals = metric(leader, "renewals") - renewals;
		kept = ahead = 0;
		for (unsigned i = 0; i < 3; i++) {
			struct state now = state(i);

			kept += now.id == before[i].id && !now.lost;
			ahead += now.deadline_ns > clock_now_ns();
		}
	}
	is_int((int)entries, 0, "renewing for three ttls makes no log entry");
	is_int((int)writes, 0, "and writes nothing to the disk");
	ok(renewals >= 3 * 7, "the leader has heard each host");
	diag("%lld renewals of three hosts in three ttls", renewals);
	is_int((int)kept, 3, "L4: all hosts keep their sessions");
	is_int((int)ahead, 3, "and their deadlines lie ahead");
}

static void
test_clean_stop(void)
{
	struct attempt a = {0};
	unsigned leader, follower, n_expired = 0;
	long long took = 0;
	uint64_t until, began;

	while (attempt(&a, took < TTL_MS / 6 && n_expired == 0, &leader)) {
		follower = (leader + 1) % 3;
		is_int((int)sessions(leader).n, 3, "three sessions");
		n_expired = events(leader).n_expired;
		until = clock_now_ns() + PATIENCE * 5 * NS_PER_S;
		began = pace_us();
		host_tell(&hs, follower, "stop");
		while (sessions(leader).n != 2 && clock_now_ns() < until)
			usleep(1000);
		took = pace_ms_since(began);
		is_str(host_answer(&hs, follower, 5000), "stopped",
		    "the host stops");
		is_int(host_wait(&hs, follower), 0, "cleanly");
		n_expired = events(leader).n_expired - n_expired;
		start(follower);
		is_str(host_answer(&hs, follower, 5000), "ready",
		    "and comes back");
	}
	ok(took < TTL_MS / 6, "a clean stop frees what a session holds at once");
	diag("after %lld ms", took);
	is_int((int)n_expired, 0, "nobody had to expire it");
}

static void
test_killed(void)
{
	struct attempt a = {0};
	unsigned leader, follower, n, n_others = 0;
	bool expired = false, early = false;
	long long took = 0;

	while (attempt(&a, expired && !early && took < TTL_MS + 1500 &&
	    n_others == 0, &leader)) {
		struct state last;
		uint64_t killed;

		follower = (leader + 1) % 3;
		n = events(leader).n_expired;
		last = state(follower);
		killed = pace_us();
		host_kill(&hs, follower);
		expired = wait_expired(leader, n + 1, 5000);
		early = events(leader).expired_ns < last.deadline_ns;
		took = pace_ms_since(killed);
		start(follower);
		is_str(host_answer(&hs, follower, 5000), "ready",
		    "a new session for the host that comes back");
		n_others = events(leader).n_expired - n - 1;
	}
	ok(expired, "L4: a dead host's session expires");
	ok(!early, "not before its ttl since the last renewal");
	ok(took < TTL_MS + 1500, "and soon after that");
	diag("%lld ms after kill -9, ttl %d ms", took, TTL_MS);
	is_int((int)n_others, 0, "nobody else expired");
}

/* A host that says nothing for a while is suspended, until it does. */
static void
test_silent(void)
{
	struct attempt a = {0};
	bool back = false, seen = false;
	unsigned leader;

	while (attempt(&a, seen && back, &leader)) {
		unsigned follower = (leader + 1) % 3, other = (leader + 2) % 3;
		unsigned n = events(leader).n_expired;
		unsigned n_resumed = sessions(other).n_resumed;

		kill(hs.pid[follower], SIGSTOP);
		seen = wait_suspended(leader, 1, 5000);
		kill(hs.pid[follower], SIGCONT);
		back = wait_suspended(leader, 0, 5000) &&
		    events(leader).n_expired == n &&
		    sessions(other).n_resumed > n_resumed;
	}
	ok(seen, "a silent host is suspended before its session ends");
	ok(back, "and no more when it is heard of again");
}

/* Of one that has died a new leader knows no better. */
static void
test_silent_leaders(void)
{
	struct attempt a = {0};
	unsigned leader, mute, other, n, n_resumed = 0;
	bool ended = false;

	while (attempt(&a, ended && n_resumed == 0, &leader)) {
		mute = (leader + 1) % 3;
		other = (leader + 2) % 3;
		n = events(other).n_expired;
		n_resumed = sessions(other).n_resumed;
		host_ask(&hs, mute, "mute");
		(void)wait_suspended(other, 1, 5000);
		host_kill(&hs, leader);
		ended = wait_expired(other, n + 2, 8000);
		n_resumed = sessions(other).n_resumed - n_resumed;
		host_kill(&hs, mute);
		start(mute);
		is_str(host_answer(&hs, mute, 8000), "ready",
		    "host %u is back", mute);
		start(leader);
		is_str(host_answer(&hs, leader, 8000), "ready",
		    "host %u is back", leader);
	}
	ok(ended, "both sessions end");
	is_int((int)n_resumed, 0,
	    "a new leader takes back nothing of what it has not heard of");
}

/* Of a host that is cut off: it knows before anybody can act on it. */
static void
cut_off(bool leads)
{
	struct attempt a = {0};
	unsigned leader, host, witness, n_lost = 0, n_again = 0;
	bool ended = false, early = false, lost = false, back = false;
	bool another = false;
	long long ahead = 0;

	while (attempt(&a, ended && n_lost == 1 && !early && lost && back &&
	    another && n_again == 0, &leader)) {
		struct events before, own, e;
		struct state s;
		uint64_t real, paced, machine_ns;

		host = leads ? leader : (leader + 1) % 3;
		witness = leads ? (leader + 1) % 3 : leader;
		before = events(witness);
		own = events(host);
		s = state(host);
		real = clock_now_ns();
		paced = pace_us();
		host_ask(&hs, host, "fault net_drop_in -1");
		host_ask(&hs, host, "fault net_drop_out -1");
		ended = wait_expired(witness, before.n_expired + 1, 8000);
		e = events(host);
		n_lost = e.n_lost - own.n_lost;
		/* Its timer can't run when nothing runs. */
		machine_ns = clock_now_ns() - real - (pace_us() - paced) * 1000;
		before = events(witness);
		early = e.lost_ns >= before.expired_ns + machine_ns;
		ahead = MS(before.expired_ns - e.lost_ns);
		lost = e.lost_ns >= s.deadline_ns && state(host).lost &&
		    strcmp(host_ask(&hs, host, "refresh 7"), "refresh -30") == 0;
		host_ask(&hs, host, "fault net_drop_in 0");
		host_ask(&hs, host, "fault net_drop_out 0");
		back = wait_ready(host, own.n_ready + 1, 5000);
		another = !state(host).lost && state(host).id != s.id;
		n_again = events(host).n_lost - own.n_lost - n_lost;
	}
	ok(ended, "a %s that is cut off loses its session",
	    leads ? "leader" : "follower");
	is_int((int)n_lost, 1, "L4: it knows by itself, and says so once");
	ok(!early, "L4: before the others end it");
	diag("%lld ms before", ahead);
	ok(lost, "L1, T6: from its deadline on it is lost, and refuses");
	ok(back, "a new session begins by itself");
	ok(another, "under a new number");
	is_int((int)n_again, 0, "the loss was told once");
}

/* A session nobody renews, and a leader that dies while it runs out. */
static void
test_new_leader(void)
{
	struct attempt a = {0};
	unsigned leader, mute, other, n;
	bool first = false, second = false, kept = false;
	long long took = 0;

	while (attempt(&a, first && second && kept && took >= TTL_MS,
	    &leader)) {
		uint64_t killed;

		mute = (leader + 1) % 3;
		other = (leader + 2) % 3;
		n = events(other).n_expired;
		host_ask(&hs, mute, "mute");
		sleep_ms(TTL_MS / 2);
		killed = clock_now_ns();
		host_kill(&hs, leader);
		first = wait_expired(other, n + 1, 8000);
		took = MS(events(other).expired_ns - killed);
		second = wait_expired(other, n + 2, 8000);
		kept = !state(other).lost;
		host_kill(&hs, mute);
		start(mute);
		is_str(host_answer(&hs, mute, 8000), "ready",
		    "host %u is back", mute);
		start(leader);
		is_str(host_answer(&hs, leader, 8000), "ready",
		    "host %u is back", leader);
	}
	ok(first, "an abandoned session expires");
	ok(took >= TTL_MS, "T7: not before the new leader gave it a full ttl");
	diag("%lld ms after the leader's death, ttl %d ms", took, TTL_MS);
	ok(second, "so does the old leader's");
	ok(kept, "who renews is not touched");
}

static void
test_stalled_leader(void)
{
	struct attempt a = {0};
	unsigned leader, n_lost = 0, n_kept = 0;
	bool back = false;

	while (attempt(&a, back && n_lost == 1 && n_kept == 2, &leader)) {
		struct state before[3], now;
		struct events own = events(leader);

		for (unsigned i = 0; i < 3; i++)
			before[i] = state(i);
		kill(hs.pid[leader], SIGSTOP);
		sleep_ms(3 * TTL_MS);
		kill(hs.pid[leader], SIGCONT);
		back = wait_ready(leader, own.n_ready + 1, 5000);
		n_lost = events(leader).n_lost - own.n_lost;
		n_kept = 0;
		for (unsigned i = 0; i < 3; i++) {
			now = state(i);
			n_kept += i != leader && now.id == before[i].id &&
			    !now.lost;
		}
	}
	ok(back, "a leader that stood still has a new session");
	is_int((int)n_lost, 1, "its old one was lost");
	is_int((int)n_kept, 2, "T7: it has expired nobody who renews");
}

/* A host that stood still: what it does next, it does knowing. */
static void
test_stopped_holder(void)
{
	struct attempt a = {0};
	unsigned leader, follower, n_lost = 0;
	bool knows = false, back = false;

	while (attempt(&a, knows && back && n_lost == 1, &leader)) {
		struct state was, now = {0};
		struct events own;

		follower = (leader + 1) % 3;
		was = state(follower);
		own = events(follower);
		kill(hs.pid[follower], SIGSTOP);
		sleep_ms(2 * TTL_MS);
		host_tell(&hs, follower, "state");
		kill(hs.pid[follower], SIGCONT);
		(void)sscanf(host_answer(&hs, follower, 5000),
		    "state %d %d %llx %llu", &now.ready, &now.lost, &now.id,
		    &now.deadline_ns);
		knows = now.lost || now.id != was.id;
		back = wait_ready(follower, own.n_ready + 1, 5000);
		n_lost = events(follower).n_lost - own.n_lost;
	}
	ok(knows, "L1: a host that stood still knows at its first request");
	ok(back, "and goes on with a new session");
	is_int((int)n_lost, 1, "the loss was told once");
}

/* ---- ttl files ---- */

static unsigned long long
make(unsigned host, const char *name, unsigned ttl_ms)
{
	static unsigned n; /* no name is made twice */
	unsigned long long node = 0;
	int err = -1;

	host_ask(&hs, host, "create %s.%u", name, n++);
	(void)sscanf(hs.line, "create %d %llu", &err, &node);
	if (err != 0 || strcmp(host_ask(&hs, host, "life %llu %u", node,
	    ttl_ms), "life 0") != 0)
		diag("%s: %d, %s", name, err, hs.line);
	return node;
}

static unsigned long long
number(unsigned host, const char *word, unsigned long long node)
{
	unsigned long long value = 0;
	char format[32];

	host_ask(&hs, host, "%s %llu", word, node);
	snprintf(format, sizeof(format), "%s %%llu", word);
	(void)sscanf(hs.line, format, &value);
	return value;
}

static bool
wait_gone(unsigned host, unsigned long long node, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;

	while (number(host, "exists", node) != 0) {
		if (clock_now_ns() > until)
			return false;
		usleep(2000);
	}
	return true;
}

static void
test_refresh(void)
{
	struct attempt a = {0};
	unsigned leader, from, missing = 0, n_once = 0, n_forgotten = 0;
	unsigned long long commit = 0, entries = 0;
	uint64_t late = 0;
	bool gone = false, early = false;
	long long over = 0;

	while (attempt(&a, missing == 0 && entries == 0 && late < 1000000 &&
	    gone && !early && over < TTL_MS + 1500 && n_once == 3 &&
	    n_forgotten == 3, &leader)) {
		struct events before[3];
		unsigned long long node;
		uint64_t last = 0, paced = 0, began = clock_now_ns();

		from = (leader + 1) % 3;
		node = make(from, "refreshed", TTL_MS);
		for (unsigned i = 0; i < 3; i++)
			before[i] = events(i);
		commit = commit_index(leader);
		late = 0;
		while (clock_now_ns() - began < 3 * TTL_MS * NS_PER_MS) {
			uint64_t wall = clock_wall_ns();

			last = clock_now_ns();
			host_ask(&hs, from, "refresh %llu", node);
			paced = pace_us();
			for (unsigned i = 0; i < 3; i++) {
				while (number(i, "refreshed", node) < wall &&
				    pace_ms_since(paced) < 2000)
					usleep(2000);
				if (pace_us() - paced > late)
					late = pace_us() - paced;
			}
			paced = pace_us();
		}
		missing = n_once = n_forgotten = 0;
		gone = true;
		early = false;
		over = 0;
		for (unsigned i = 0; i < 3; i++)
			missing += number(i, "exists", node) == 0;
		entries = commit_index(leader) - commit;
		for (unsigned i = 0; i < 3; i++) {
			unsigned long long at;

			gone &= wait_gone(i, node, 4000);
			over = pace_ms_since(paced);
			at = number(i, "removed", node);
			early |= at < last + TTL_MS * NS_PER_MS;
			n_once += events(i).n_removed == before[i].n_removed + 1;
			n_forgotten += number(i, "refreshed", node) == 0;
		}
	}
	is_int((int)missing, 0, "T2: a refreshed file lives for three ttls");
	is_int((int)entries, 0, "T6: a refresh makes no log entry");
	ok(late < 1000000, "T6: its time is on every host within a second");
	diag("at the latest after %lld ms", (long long)late / 1000);
	ok(gone, "T2: it goes on every host when it is not");
	ok(!early && over < TTL_MS + 1500,
	    "T2: never early, at most 1.5 s late");
	diag("%lld ms after the refresh", over);
	is_int((int)n_once, 3, "T2: with one event on each");
	is_int((int)n_forgotten, 3, "and its time is forgotten");
}

#define DELAY_MS 700

static void
test_lock_delay(void)
{
	struct attempt a = {0};
	bool granted = false;
	unsigned leader, n;
	long long early = 0, late = 0;

	while (attempt(&a, granted && early >= DELAY_MS &&
	    late < DELAY_MS + 500, &leader)) {
		unsigned holder = (leader + 1) % 3, other = (leader + 2) % 3;
		unsigned long long node = make(other, "delayed", 60000);
		unsigned long long token = 0, before = 0, at = 0;
		uint64_t until, expired, paced;

		n = events(leader).n_expired;
		is_str(host_ask(&hs, other, "delay %llu %u", node, DELAY_MS),
		    "life 0", "a lock with a delay");
		(void)sscanf(host_ask(&hs, other, "granted"), "granted %llu",
		    &before);
		(void)sscanf(host_ask(&hs, holder, "lock %llu", node),
		    "lock 0 %llu", &token);
		is_str(host_ask(&hs, other, "lock %llu", node), "lock 0 0",
		    "another waits for it");
		host_kill(&hs, holder);
		granted = token != 0 && wait_expired(leader, n + 1, 5000);
		expired = events(leader).expired_ns;
		paced = pace_us();
		until = clock_now_ns() + PATIENCE * 8 * NS_PER_S;
		for (at = before; granted && at == before;) {
			(void)sscanf(host_ask(&hs, other, "granted"),
			    "granted %llu", &at);
			granted = clock_now_ns() < until && !state(other).lost;
			usleep(2000);
		}
		early = MS(at) - MS(expired);
		late = pace_ms_since(paced);
		start(holder);
		is_str(host_answer(&hs, holder, 5000), "ready",
		    "it comes back");
	}
	ok(granted && early >= DELAY_MS && late < DELAY_MS + 500,
	    "a dead holder's lock is granted when its delay is over");
	diag("%lld ms after the session's end, delay %d ms", early, DELAY_MS);
}

#define FILES 60

static void
test_bounds(void)
{
	struct attempt a = {0};
	long long early = 0, late = 0;
	unsigned leader;

	while (attempt(&a, early >= 0 && late < 1500, &leader)) {
		unsigned long long nodes[FILES], at;
		uint64_t before[FILES], after[FILES], until;
		long long more;

		early = INT64_MAX;
		late = 0;
		for (unsigned i = 0; i < FILES; i++) {
			before[i] = clock_now_ns();
			nodes[i] = make(i % 3, "b", 100 + 10 * i);
			after[i] = pace_us();
		}
		until = clock_now_ns() + PATIENCE * 4 * NS_PER_S;
		for (unsigned i = 0; i < FILES; i++) {
			while ((at = number(leader, "removed", nodes[i])) == 0 &&
			    clock_now_ns() < until)
				usleep(2000);
			more = pace_ms_since(after[i]) - (100 + 10 * i);
			late = more > late ? more : late;
			more = MS(at) - MS(before[i]) - (100 + 10 * i);
			early = more < early ? more : early;
		}
	}
	ok(early >= 0, "T2: none of %d files goes early", FILES);
	ok(late < 1500, "T2: none more than 1.5 s late");
	diag("expiries of %d files: %lld to %lld ms late", FILES, early, late);
}

static void
keep_refreshing(unsigned from, unsigned long long node, unsigned ms)
{
	uint64_t until = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < until) {
		host_ask(&hs, from, "refresh %llu", node);
		usleep(50000);
	}
}

/* T7: who is refreshed survives the death and the pause of a leader. */
static void
test_refresh_leaders(void)
{
	struct attempt a = {0};
	unsigned leader, from, n_kept = 0, kept = 0;
	bool gone = false;

	while (attempt(&a, n_kept == 3 && kept == 1 && gone, &leader)) {
		unsigned long long node;

		from = (leader + 1) % 3;
		node = make(from, "kept", TTL_MS);
		kill(hs.pid[leader], SIGSTOP);
		keep_refreshing(from, node, 3 * TTL_MS);
		kill(hs.pid[leader], SIGCONT);
		keep_refreshing(from, node, 2 * TTL_MS);
		n_kept = 0;
		for (unsigned i = 0; i < 3; i++)
			n_kept += number(i, "exists", node) == 1;
		leader = (unsigned)hosts_leader(&hs, 5000);
		from = (leader + 1) % 3;
		host_kill(&hs, leader);
		keep_refreshing(from, node, 3 * TTL_MS);
		kept = number(from, "exists", node) == 1;
		start(leader);
		is_str(host_answer(&hs, leader, 8000), "ready",
		    "host %u is back", leader);
		gone = wait_gone(from, node, 4000);
	}
	is_int((int)n_kept, 3,
	    "T7: a leader's pause expires nothing that is refreshed");
	is_int((int)kept, 1, "T7: a new leader neither");
	ok(gone, "T2: it goes in the end");
}

/* Many at once, from all three: batches, none lost. */
static void
test_many(void)
{
	struct attempt a = {0};
	unsigned leader;
	long long refreshes = 0, frames = 0, most = 1, took = 0;
	unsigned long long entries = 0;

	while (attempt(&a, refreshes == 30000 && frames < most && entries == 0,
	    &leader)) {
		long long before = metric(leader, "refreshes");
		long long renewals = metric(leader, "renewals");
		unsigned long long commit = commit_index(leader);
		uint64_t began = clock_now_ns();

		for (unsigned i = 0; i < 3; i++)
			is_str(host_ask(&hs, i, "refresh %llu 10000",
			    (i + 1) * 1000000ull), "refresh 0",
			    "10,000 refreshes");
		while (metric(leader, "refreshes") - before < 30000 &&
		    clock_now_ns() - began < PATIENCE * 5 * NS_PER_S)
			usleep(2000);
		refreshes = metric(leader, "refreshes") - before;
		took = MS(clock_now_ns() - began);
		most = 30 + 9 * took / TTL_MS;
		frames = metric(leader, "renewals") - renewals;
		entries = commit_index(leader) - commit;
	}
	is_int(refreshes, 30000, "all reach the leader");
	ok(frames < most, "in few frames");
	is_int((int)entries, 0, "and no log entry");
	diag("30,000 refreshes in %lld ms", took);
}

static void
test_alone(void)
{
	struct state before;
	struct events e;

	start_all(1);
	sleep_ms(TTL_MS / 2);
	before = state(0);
	kill(hs.pid[0], SIGSTOP);
	sleep_ms(3 * TTL_MS);
	kill(hs.pid[0], SIGCONT);
	ok(state(0).id == before.id && !state(0).lost,
	    "T7: a single voter that stood still keeps its session");
	sleep_ms(TTL_MS);
	e = events(0);
	ok(state(0).id == before.id && e.n_lost == 0 && e.n_expired == 0,
	    "T7: and has not expired it a ttl later");
	hosts_fini(&hs);
}

/* The table against a plain array: what comes out is what is due, in order. */
static void
test_table(void)
{
	enum { N = 500, STEPS = 200000 };
	static uint64_t expiry[N]; /* 0: absent */
	struct random random;
	struct lease l = {0};
	uint64_t now = 1;
	unsigned wrong = 0, out = 0;

	random_init(&random, 0x1ea5e);

	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)random_below(&random, N);
		struct lease_node *n = lease_node_find(&l, i + 1);

		wrong += (n != NULL) != (expiry[i] != 0);
		if (n != NULL && random_below(&random, 8) == 0) {
			lease_node_del(&l, n);
			expiry[i] = 0;
		} else {
			n = lease_node_add(&l, i + 1);
			expiry[i] = now + 1 + random_below(&random, 2000);
			n->expiry_ns = expiry[i];
			if (n->heap_idx == LEASE_NO_HEAP ||
			    n->expiry_ns < n->due_ns)
				lease_heap_put(&l, n);
		}
		now += random_below(&random, 4);
		while ((n = lease_heap_first(&l, now)) != NULL) {
			wrong += n->expiry_ns > now ||
			    expiry[n->node - 1] != n->expiry_ns;
			expiry[n->node - 1] = 0;
			lease_node_del(&l, n);
			out++;
		}
		for (i = 0; step % 100 == 0 && i < N; i++)
			wrong += expiry[i] != 0 && expiry[i] <= now;
	}
	ok(wrong == 0 && out > 1000,
	    "the table gives out what has expired, all of it, nothing else");
	diag("%u of %u steps", out, STEPS);
	lease_table_fini(&l);
}

/* Clock ticks that a process has used. */
static unsigned long long
cpu_ticks(int pid)
{
	unsigned long long user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f == NULL || fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u "
	    "%*u %*u %*u %llu %llu", &user, &system) != 2)
		diag("%s: no figures", path);
	if (f != NULL)
		fclose(f);
	return user + system;
}

/*
 * 10,000 files of ttl=10s, each refreshed three times in a ttl, from three
 * hosts: the processor time of each host, with and without them.
 */
static void
bench(void)
{
	enum { MANY = 9999, SECONDS = 20 };
	unsigned long long first[3] = {0}, cpu[2][3], writes[3], commit;
	unsigned gone = 0, n = 0;

	start_all(3);
	for (unsigned i = 0; i < 3; i++) {
		host_ask(&hs, i, "fill %d", MANY / 3);
		(void)sscanf(hs.line, "fill %u %llu", &n, &first[i]);
		is_int((int)n, MANY / 3, "host %u makes its files", i);
	}
	for (unsigned idle = 0; idle < 2; idle++) {
		uint64_t began = clock_now_ns(), round = began;

		commit = commit_index(0);
		for (unsigned i = 0; i < 3; i++) {
			cpu[idle][i] = cpu_ticks(hs.pid[i]);
			writes[i] = (unsigned long long)metric(i, "wal_writes");
		}
		while (clock_now_ns() - began < SECONDS * NS_PER_S / (idle ? 4 : 1)) {
			/* A third of them at once would be too kind. */
			for (unsigned k = 0; !idle && k < 33; k++) {
				for (unsigned i = 0; i < 3; i++)
					host_ask(&hs, i, "refresh %llu 101",
					    first[i] + 101 * k);
				round += 100 * NS_PER_MS;
				if (clock_now_ns() < round)
					usleep((unsigned)((round -
					    clock_now_ns()) / 1000));
			}
			if (idle)
				sleep_ms(100);
		}
		for (unsigned i = 0; i < 3; i++) {
			cpu[idle][i] = cpu_ticks(hs.pid[i]) - cpu[idle][i];
			writes[i] = (unsigned long long)metric(i,
			    "wal_writes") - writes[i];
		}
		if (!idle) {
			is_int((int)(commit_index(0) - commit), 0,
			    "T6: no log entry in %d s", SECONDS);
			is_int((int)(writes[0] + writes[1] + writes[2]), 0,
			    "T6: and no write to a disk");
			for (unsigned i = 0; i < 3; i++)
				gone += events(i).n_removed;
			is_int((int)gone, 0, "T2: none is removed");
		}
	}
	for (unsigned i = 0; i < 3; i++)
		diag("host %u: %.2f %% of a processor, idle %.2f %%", i,
		    (double)cpu[0][i] / SECONDS, (double)cpu[1][i] * 4 / SECONDS);
	diag("leader: %lld refreshes", metric((unsigned)hosts_leader(&hs, 1000),
	    "refreshes"));
	hosts_fini(&hs);
}

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "bench") == 0) {
		bench();
		return done_testing();
	}
	pace_start();
	test_table();
	start_all(3);
	test_renewal();
	test_clean_stop();
	test_killed();
	test_silent();
	cut_off(false);
	cut_off(true);
	test_new_leader();
	test_silent_leaders();
	test_stalled_leader();
	test_stopped_holder();
	test_lock_delay();
	test_many();
	test_refresh();
	test_bounds();
	test_refresh_leaders();
	hosts_fini(&hs);
	test_alone();
	return done_testing();
}
