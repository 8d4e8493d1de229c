/*
 * group.c: three real hosts on loopback: order, completion, crashes, cut-offs.
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
#include "group_host.h"
#include "net/net.h"
#include "../pace.h"
#include "../tap.h"

#define WRITE_TIMEOUT_MS 4000 /* many elections, on a busy machine */
#define PATIENT_MS 30000 /* where nothing is to fail for want of a leader */

static struct hosts hs;

static void
start_all(void)
{
	for (unsigned i = 0; i < hs.conf.n_members; i++) {
		host_start(&hs, i);
		is_str(host_answer(&hs, i, 30000), "open",
		    "host %u opens its engine", i);
	}
	for (unsigned i = 0; i < hs.conf.n_members; i++)
		is_str(host_answer(&hs, i, 30000), "ready",
		    "host %u opens a session through the group", i);
}

static unsigned
commit(unsigned i, unsigned n, unsigned width, const char *prefix,
    unsigned *ret_p50, unsigned *ret_rate)
{
	unsigned good = 0, p50 = 0, p99 = 0, rate = 0;
	int err = 0;

	host_ask(&hs, i, "commit %u %u %s", n, width, prefix);
	if (sscanf(hs.line, "commit %u %d %u %u %u", &good, &err, &p50, &p99,
	    &rate) != 5 || err != 0)
		diag("host %u says: %s", i, hs.line);
	if (ret_p50 != NULL)
		*ret_p50 = p50;
	if (ret_rate != NULL)
		*ret_rate = rate;
	return good;
}

static void
test_order(int leader)
{
	unsigned follower = (unsigned)(leader + 1) % 3, p50, rate, n;

	for (unsigned i = 0; i < 3; i++) {
		char prefix[16];

		snprintf(prefix, sizeof(prefix), "a%u", i);
		is_int(commit(i, 50, 8, prefix, NULL, NULL), 50,
		    "O3: %s sees each commit of its own at once",
		    (int)i == leader ? "the leader" : "a follower");
	}
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
	n = commit((unsigned)leader, 300, 1, "b", &p50, NULL);
	is_int(n, 300, "one by one on the leader");
	diag("leader, 1 in flight: p50 %u us", p50);
	n = commit(follower, 300, 1, "c", &p50, NULL);
	is_int(n, 300, "one by one on a follower");
	diag("follower, 1 in flight: p50 %u us", p50);
	n = commit((unsigned)leader, 5000, 64, "d", &p50, &rate);
	is_int(n, 5000, "64 at a time on the leader");
	diag("leader, 64 in flight: %u/s, p50 %u us", rate, p50);
	n = commit(follower, 5000, 64, "e", &p50, &rate);
	is_int(n, 5000, "64 at a time on a follower");
	diag("follower, 64 in flight: %u/s, p50 %u us", rate, p50);
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
	for (unsigned i = 0; i < 3; i++)
		is_str(host_ask(&hs, i, "count"), "count 10750 0",
		    "host %u published every revision once, in order", i);
}

static void
test_barrier(int leader)
{
	for (unsigned i = 0; i < 3; i++) {
		unsigned long long rev = 0, want = 0, us = 0;
		unsigned from = (i + 1) % 3;
		int err = -1;
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		host_ask(&hs, from, "one %s", name);
		host_ask(&hs, from, "digest");
		sscanf(hs.line, "digest %llu", &want);
		host_ask(&hs, i, "barrier");
		sscanf(hs.line, "barrier %d %llu %llu", &err, &rev, &us);
		is_int(err, 0, "O4: a barrier on host %u is answered", i);
		ok(rev >= want, "O4: and shows what another host has seen");
		diag("barrier on %s: %llu us", (int)i == leader ? "the leader"
		    : "a follower", us);
	}
}

/* What each host tells the others, within a few heartbeats. */
static void
test_members(void)
{
	uint64_t until = clock_now_ns() + PATIENCE * 5 * NS_PER_S;
	unsigned long long rev = 0;
	char want[128];

	sscanf(host_ask(&hs, 0, "digest"), "digest %llu", &rev);
	snprintf(want, sizeof(want), "members host0:alive:%llu:77 "
	    "host1:alive:%llu:77 host2:alive:%llu:77", rev, rev, rev);
	for (unsigned i = 0; i < 3; i++)
		host_ask(&hs, i, "replayed 77");
	while (strcmp(host_ask(&hs, 2, "members"), want) != 0 &&
	    clock_now_ns() < until)
		usleep(1000);
	is_str(hs.line, want, "each host knows how far the others are");
}

static void
test_withdraw(int leader)
{
	unsigned follower = (unsigned)(leader + 1) % 3;

	/* One read callback takes both lines: no turn is between them. */
	host_tell(&hs, follower, "later w0\nwithdraw");
	is_str(host_answer(&hs, follower, 5000), "later", "a request waits");
	is_str(host_answer(&hs, follower, 5000), "withdraw 1",
	    "O5: not proposed yet, it is withdrawn");
	host_tell(&hs, follower, "later w1\nabandon");
	is_str(host_answer(&hs, follower, 5000), "later", "a request waits");
	is_str(host_answer(&hs, follower, 5000), "abandon", "and is given up");
	ok(strncmp(host_ask(&hs, follower, "earlier"), "one -4 ", 7) == 0,
	    "with EINTR at once");
	is_int(commit(follower, 10, 2, "g", NULL, NULL), 10,
	    "others are not disturbed");
}

static void
test_crash(int leader)
{
	unsigned a = (unsigned)leader, b = (a + 1) % 3, c = (a + 2) % 3;
	uint64_t began;
	int next;

	host_ask(&hs, b, "later h1");
	began = pace_ns();
	host_kill(&hs, a);
	next = hosts_leader(&hs, 5000);
	ok(next >= 0, "kill -9 of the leader: another one leads");
	is_int(commit(b, 1, 1, "i", NULL, NULL), 1, "and commits");
	diag("gap after kill -9: %llu ms",
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS);
	is_int(commit(c, 100, 8, "j", NULL, NULL), 100, "with two of three");
	ok(strncmp(host_ask(&hs, b, "earlier"), "one 0", 5) == 0,
	    "O5: a request on its way at the crash was done once");
	host_start(&hs, a);
	is_str(host_answer(&hs, a, 30000), "open", "the killed host returns");
	is_str(host_answer(&hs, a, 30000), "ready", "with a new session");
	ok(hosts_equal(&hs, 5000), "O1: and catches up");

	for (unsigned i = 0; i < 3; i++)
		host_kill(&hs, i);
	start_all();
	ok(hosts_equal(&hs, 5000), "O1: kill -9 of all: equal again");
	is_str(host_ask(&hs, b, "count"), "count 10865 0",
	    "O1: with everything that was acknowledged");
}

static void
test_rebuild(void)
{
	unsigned long long before = 0, after = 1;
	char command[256];

	hosts_equal(&hs, 5000);
	for (unsigned i = 0; i < 3; i++)
		host_kill(&hs, i);
	snprintf(command, sizeof(command), "rm -rf '%s/1/store'", hs.dir);
	host_start(&hs, 0);
	host_answer(&hs, 0, 5000);
	sscanf(host_ask(&hs, 0, "digest"), "digest %llu", &before);
	host_kill(&hs, 0);
	is_int(system(command), 0, "the store of a host is lost");
	host_start(&hs, 1);
	is_str(host_answer(&hs, 1, 30000), "open", "it starts alone");
	sscanf(host_ask(&hs, 1, "digest"), "digest %llu", &after);
	is_int(after, before,
	    "O2: and shows what its log knows to be committed");
	host_start(&hs, 0);
	host_start(&hs, 2);
	is_str(host_answer(&hs, 0, 30000), "open", "the others return");
	is_str(host_answer(&hs, 2, 30000), "open", "both of them");
	for (unsigned i = 0; i < 3; i++)
		is_str(host_answer(&hs, i, 30000), "ready",
		    "host %u has a session", i);
	ok(hosts_leader(&hs, 5000) >= 0, "together again");
}

static void
test_handover(void)
{
	int leader = hosts_leader(&hs, 5000), next;
	unsigned a = (unsigned)leader, b = (a + 1) % 3;
	uint64_t began = pace_ns();

	host_tell(&hs, a, "stop");
	is_str(host_answer(&hs, a, 5000), "stopped", "the leader stops");
	is_int(host_wait(&hs, a), 0, "and ends well");
	next = hosts_leader(&hs, 5000);
	ok(next >= 0 && next != leader, "another one leads");
	is_int(commit(b, 1, 1, "k", NULL, NULL), 1, "and commits");
	diag("gap at a stop: %llu ms",
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS);
	ok(pace_ns() - began < NS_PER_S,
	    "without waiting for an election timeout");
	host_start(&hs, a);
	is_str(host_answer(&hs, a, 30000), "open", "the stopped one returns");
	is_str(host_answer(&hs, a, 30000), "ready", "and takes part");
}

/* The next leader's disk is busy with the last entries when it is asked. */
static void
test_handover_busy(unsigned round)
{
	int leader = hosts_leader(&hs, 5000), next;
	unsigned a = (unsigned)leader, b = (a + 1) % 3, c = (a + 2) % 3;
	uint64_t began;

	host_tell(&hs, b, "commit 1000 64 hb%u", round);
	host_tell(&hs, c, "commit 1000 64 hc%u", round);
	for (unsigned i = 0; i < 5; i++)
		host_ask(&hs, a, "status");
	began = pace_ns();
	host_tell(&hs, a, "stop");
	is_str(host_answer(&hs, a, 5000), "stopped",
	    "a leader with much to do stops");
	ok(pace_ns() - began < 400 * NS_PER_MS,
	    "without waiting for an election timeout");
	diag("a busy leader stopped in %llu ms",
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS);
	for (unsigned i = b; i != a; i = (i + 1) % 3) {
		ok(strncmp(host_answer(&hs, i, 20000), "commit 1000 0 ",
		    14) == 0, "and nothing fails");
		is_str(host_ask(&hs, i, "overtaken"), "overtaken 0",
		    "commands that it refused keep their order");
	}
	is_int(host_wait(&hs, a), 0, "it ends well");
	next = hosts_leader(&hs, 5000);
	ok(next >= 0 && next != leader, "another one leads");
	host_start(&hs, a);
	is_str(host_answer(&hs, a, 30000), "open", "the stopped one returns");
	is_str(host_answer(&hs, a, 30000), "ready", "and takes part");
}

/* Much more than a peer's queue holds. */
static void
test_catch_up(void)
{
	int leader = hosts_leader(&hs, 5000);
	unsigned a = (unsigned)leader, b = (a + 1) % 3, c = (a + 2) % 3;
	unsigned p50, good = 0;
	uint64_t began;
	int err;

	host_kill(&hs, c);
	host_ask(&hs, b, "commit 80 4 x 1000000");
	sscanf(hs.line, "commit %u %d", &good, &err);
	is_int(good, 80, "80 files of a megabyte, with two of three");
	host_start(&hs, c);
	is_str(host_answer(&hs, c, 30000), "open", "the third returns");
	began = pace_ns();
	is_int(commit(a, 200, 1, "y", &p50, NULL), 200, "others write on");
	is_str(host_answer(&hs, c, 40000), "ready", "it catches up");
	diag("80 MB behind: %llu ms, p50 beside it %u us",
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS, p50);
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
	host_kill(&hs, c);
	host_start(&hs, c);
	is_str(host_answer(&hs, c, 30000), "open", "and starts once more");
	is_str(host_answer(&hs, c, 30000), "ready", "with the others");
}

static void
test_minority(void)
{
	int leader = hosts_leader(&hs, 5000);
	unsigned a = (unsigned)leader, b = (a + 1) % 3, c = (a + 2) % 3;
	uint64_t began;
	int err = 0;
	char before[600];

	host_kill(&hs, b);
	host_kill(&hs, c);
	began = pace_ns();
	host_tell(&hs, a, "one l1");
	sscanf(host_answer(&hs, a, 10000), "one %d", &err);
	ok(err == -ETIMEDOUT || err == -EROFS,
	    "O6: two of three down: a change ends");
	ok(pace_ns() - began < (WRITE_TIMEOUT_MS + 1500) * NS_PER_MS,
	    "O6: write_timeout after the loss");
	diag("%s, after %llu ms", hs.line,
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS);
	is_str(host_ask(&hs, a, "one l2"), "one -30 0",
	    "O6: then changes fail at once with EROFS");
	is_str(host_ask(&hs, a, "barrier"), "barrier -30 0 0",
	    "O4: so do barriers");
	host_ask(&hs, a, "digest");
	ok(strncmp(hs.line, "digest", 6) == 0, "O6: reading goes on");
	snprintf(before, sizeof(before), "%s", host_ask(&hs, a, "status"));
	if (!ok(strstr(before, "readonly") != NULL, "O6: and status says so"))
		diag("%s", before);
	host_start(&hs, b);
	is_str(host_answer(&hs, b, 30000), "open", "one returns");
	is_str(host_answer(&hs, b, 30000), "ready", "and has a session");
	ok(hosts_leader(&hs, 5000) >= 0, "O6: writing resumes by itself");
	is_int(commit(a, 10, 2, "m", NULL, NULL), 10, "and commits");
	host_start(&hs, c);
	is_str(host_answer(&hs, c, 30000), "open", "so does the other");
	is_str(host_answer(&hs, c, 30000), "ready", "and has a session");
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
}

/* Another one than that leads, which isn't asked: it may be paused. */
static int
leader_but(unsigned not, unsigned timeout_ms)
{
	int pid = hs.pid[not], next;

	hs.pid[not] = 0;
	next = hosts_leader(&hs, timeout_ms);
	hs.pid[not] = pid;
	return next;
}

/*
 * A machine that sleeps while it leads, with commands at all stages: not read
 * yet, proposed, written, sent, committed.
 */
static void
test_paused(unsigned round)
{
	int leader = hosts_leader(&hs, 5000), next, err = -1;
	unsigned a = (unsigned)leader, b = (a + 1) % 3;
	uint64_t began, others_ms;

	host_tell(&hs, a, "commit 1000 64 pa%u", round);
	host_tell(&hs, b, "commit 1000 64 pb%u", round);
	for (unsigned i = 0; i < 1 + round; i++)
		host_ask(&hs, a, "status");
	is_int(kill(hs.pid[a], SIGSTOP), 0, "a leader is paused");
	host_tell(&hs, a, "later pl%u", round);
	began = pace_ns();
	next = leader_but(a, 5000);
	ok(next >= 0, "and another one leads");
	ok(strncmp(host_answer(&hs, b, 5000), "commit 1000 0 ", 14) == 0,
	    "O6: commands of the others are done soon");
	others_ms = (pace_ns() - began) / NS_PER_MS;
	kill(hs.pid[a], SIGCONT);
	began = pace_ns();
	for (unsigned n = 0; n < 2; n++) {
		const char *line = host_answer(&hs, a, 5000);

		ok(strcmp(line, "later") == 0 ||
		    strncmp(line, "commit 1000 0 ", 14) == 0,
		    "O5: what it had under way is done, once");
		if (strncmp(line, "late", 5) == 0)
			diag("%s", line);
	}
	while (strcmp(host_ask(&hs, a, "earlier"), "none") == 0 &&
	    pace_ns() - began < 5 * NS_PER_S)
		usleep(1000);
	sscanf(hs.line, "one %d", &err);
	is_int(err, 0, "O5: so is what came meanwhile");
	ok(pace_ns() - began < 2 * NS_PER_S, "O7: all of it at once");
	diag("a leader paused: others' commands %llu ms, its own %llu ms "
	    "after it woke", (unsigned long long)others_ms,
	    (unsigned long long)(pace_ns() - began) / NS_PER_MS);
	for (unsigned i = 0; i < 3; i++)
		is_str(host_ask(&hs, i, "overtaken"), "overtaken 0",
		    "commands sent again keep their order");
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
}

/* Asks for the status until it holds that word. */
static bool
status_becomes(unsigned i, const char *word)
{
	uint64_t until = clock_now_ns() + PATIENCE * 10 * NS_PER_S;

	while (strstr(host_ask(&hs, i, "status"), word) == NULL) {
		if (clock_now_ns() > until || hs.pid[i] == 0)
			return false;
		usleep(1000);
	}
	return true;
}

static void
test_isolated(void)
{
	int leader = hosts_leader(&hs, 5000), next, err = 0;
	unsigned a = (unsigned)leader, b = (a + 1) % 3;

	/* All in one turn: it still leads when it proposes. */
	host_tell(&hs, a, "fault net_drop_in -1\nfault net_drop_out -1\n"
	    "later n1");
	for (unsigned i = 0; i < 3; i++)
		host_answer(&hs, a, 5000);
	ok(status_becomes(b, "ok"), "the others go on");
	ok(status_becomes(a, "suspended"), "a leader cut off steps down");
	while ((next = hosts_leader(&hs, 5000)) == leader)
		usleep(1000);
	ok(next >= 0, "another one leads");
	is_int(commit(b, 20, 4, "o", NULL, NULL), 20, "and commits");
	ok(status_becomes(a, "readonly"), "O6: the old one refuses changes");
	sscanf(host_ask(&hs, a, "earlier"), "one %d", &err);
	is_int(err, -ETIMEDOUT, "O5: what it had proposed is not known");
	is_str(host_ask(&hs, a, "barrier"), "barrier -30 0 0",
	    "O4: it doesn't claim to be up to date");
	host_ask(&hs, a, "fault net_drop_in 0");
	host_ask(&hs, a, "fault net_drop_out 0");
	ok(status_becomes(a, "ok"), "healed: it follows");
	is_int(commit(a, 20, 4, "p", NULL, NULL), 20, "and commits");
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
}

static void
test_full(void)
{
	int leader = hosts_leader(&hs, 5000);
	unsigned a = (unsigned)leader, b = (a + 1) % 3, n = 0;
	char prefix[16];

	host_ask(&hs, a, "fault wal_write_enospc 1");
	while (hosts_leader(&hs, 5000) == leader && n < 100) {
		snprintf(prefix, sizeof(prefix), "q%u", n++);
		(void)commit(b, 100, 16, prefix, NULL, NULL);
	}
	ok(n < 100, "a full disk: the leader hands over");
	is_int(commit(b, 100, 16, "r", NULL, NULL), 100, "the others go on");
	ok(status_becomes(a, "readonly"), "the full one refuses changes");
	is_str(host_ask(&hs, a, "one r1"), "one -30 0", "with EROFS");
	ok(strncmp(host_ask(&hs, a, "count"), "count ", 6) == 0,
	    "and serves reads");
	host_ask(&hs, a, "fault wal_write_enospc 0");
	ok(status_becomes(a, "ok"), "there is room again: it takes part");
	is_int(commit(a, 20, 4, "s", NULL, NULL), 20, "and commits");
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
}

static void
test_broken_disk(void)
{
	int leader = hosts_leader(&hs, 5000), status;
	unsigned a = (unsigned)leader, b = (a + 1) % 3;

	host_ask(&hs, a, "fault wal_write_eio 1");
	host_tell(&hs, a, "later t1");
	status = host_wait(&hs, a);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 3,
	    "FAILSTOP: a failed write of the log ends the process");
	is_int(commit(b, 20, 4, "u", NULL, NULL), 20, "the others go on");
	host_start(&hs, a);
	is_str(host_answer(&hs, a, 30000), "open", "it returns");
	is_str(host_answer(&hs, a, 30000), "ready", "and takes part");
	ok(hosts_equal(&hs, 5000), "O2: equal digests on all hosts");
}

static void
test_quarantine(void)
{
	char command[512];

	host_kill(&hs, 2);
	snprintf(command, sizeof(command), "f='%s/2/wal/wal-'*1; "
	    "set -- $f; printf '\\377' | dd of=\"$1\" bs=1 seek=5000 "
	    "conv=notrunc 2>/dev/null", hs.dir);
	is_int(system(command), 0, "a byte of a log is changed");
	host_start(&hs, 2);
	is_str(host_answer(&hs, 2, 30000), "open", "S4: its host starts");
	is_str(host_answer(&hs, 2, 5000), "session -30", "without a session");
	ok(strncmp(host_ask(&hs, 2, "status"), "status quarantined 0 readonly",
	    29) == 0, "S4: quarantined");
	ok(strncmp(host_ask(&hs, 2, "count"), "count ", 6) == 0 &&
	    strcmp(hs.line, "count 0 0") != 0, "and serves what it has");
	is_str(host_ask(&hs, 2, "barrier"), "barrier -30 0 0", "but no more");
	is_int(commit(0, 20, 4, "v", NULL, NULL), 20, "the others go on");
	host_kill(&hs, 2);
}

static void
no_frame(void *ctx, uint64_t peer, uint8_t type, struct slice payload)
{
}

static void
no_peer(void *ctx, uint64_t peer)
{
}

static void
no_peer_down(void *ctx, uint64_t peer, int err)
{
}

/* Frames of all types and none, with a proper header and random bytes. */
static void
send_garbage(uv_timer_t *t)
{
	static unsigned turns;
	struct net *net = t->data;
	uint8_t bytes[300];

	for (unsigned i = 0; i < 40; i++) {
		uint8_t type = (uint8_t)(1 + rand() % 15);
		size_t len = (size_t)rand() % sizeof(bytes);
		struct slice s = slice_of(bytes, len);

		for (size_t j = 0; j < sizeof(bytes); j++)
			bytes[j] = rand() % 3 == 0 ? (uint8_t)rand() : 0;
		memset(bytes, 0, 10);
		(void)net_send(net, hs.conf.members[i % 2].id, NET_SMALL, type,
		    &s, 1);
	}
	net_flush(net);
	if (++turns == 200) {
		uv_close((uv_handle_t *)t, NULL);
		net_stop(net, NULL, NULL);
	}
}

static void
test_garbage(void)
{
	static const struct net_callbacks callbacks = {.frame = no_frame,
	    .peer_up = no_peer,
	    .peer_down = no_peer_down};
	struct net_peer peers[2];
	struct net_conf conf = {.self = hs.conf.members[2].id,
	    .name = "garbage",
	    .listen = hs.conf.members[2].address,
	    .peers = peers,
	    .n_peers = 2,
	    .callbacks = &callbacks};
	struct net *net;
	uv_loop_t loop;
	uv_timer_t timer;

	for (unsigned i = 0; i < 2; i++)
		peers[i] = (struct net_peer){.id = hs.conf.members[i].id,
		    .name = hs.conf.members[i].name,
		    .addr = hs.conf.members[i].address};
	memcpy(conf.cluster, hs.conf.cluster, sizeof(conf.cluster));
	uv_loop_init(&loop);
	is_int(net_open(&loop, &conf, &net), 0, "a member gone mad");
	uv_timer_init(&loop, &timer);
	timer.data = net;
	uv_timer_start(&timer, send_garbage, 200, 5);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	ok(status_becomes(0, "ok") && status_becomes(1, "ok"),
	    "S3: random frames of a member end no host");
	is_int(commit(0, 20, 4, "w", NULL, NULL), 20, "and it commits");
	is_int(commit(1, 20, 4, "z", NULL, NULL), 20, "and the other");
}

static void
test_lost(void)
{
	for (unsigned i = 0; i < 3; i++)
		host_kill(&hs, i);
	host_start(&hs, 0);
	is_str(host_answer(&hs, 0, 30000), "open", "one of three starts");
	is_str(host_answer(&hs, 0, 5000), "session -30",
	    "O6: its changes wait for write_timeout, then fail");
	ok(strstr(host_ask(&hs, 0, "status"), "lost") != NULL,
	    "O6: it says that it never found the others");
	ok(strncmp(host_ask(&hs, 0, "count"), "count ", 6) == 0 &&
	    strcmp(hs.line, "count 0 0") != 0, "O2: and shows its tree");
	host_kill(&hs, 0);
}

/* 60 of them, each in a loop turn of its own, to a log that takes 300 ms: how
 * many entries they make. */
static unsigned
entries_of_60(unsigned round)
{
	unsigned before = 0, after = 0, good = 0;
	int err = 0;

	host_ask(&hs, 0, "metric entries_applied");
	sscanf(hs.line, "metric %u", &before);
	host_ask(&hs, 0, "fault wal_sync_delay_ms 300");
	host_ask(&hs, 0, "trickle 60 t%u", round);
	sscanf(hs.line, "commit %u %d", &good, &err);
	host_ask(&hs, 0, "fault wal_sync_delay_ms 0");
	host_ask(&hs, 0, "metric entries_applied");
	sscanf(hs.line, "metric %u", &after);
	is_int(good, 60, "60 in as many turns");
	return after - before;
}

/* One by one, but faster than the log: they share entries.  Returns how many
 * files were made. */
static unsigned
test_shared_entries(void)
{
	unsigned rounds = 0, n = entries_of_60(rounds++);

	ok(n <= 4, "what comes while an entry is under way shares the next (%u)",
	    n);
	/* Unless the 60 turns take longer than an entry waits for anybody. */
	do
		n = entries_of_60(rounds++);
	while (n > 2 && rounds < 10);
	ok(n <= 2, "who comes after a crowd is waited for (%u, in round %u)",
	    n, rounds);
	is_str(strncmp(host_ask(&hs, 0, "one alone"), "one 0 ", 6) == 0 ?
	    "one 0" : hs.line, "one 0", "but not for ever");
	return rounds * 60 + 1;
}

static void
test_alone(void)
{
	unsigned p50, rate;
	char count[32];

	hosts_fini(&hs);
	hosts_init(&hs, 1);
	start_all();
	is_int(commit(0, 200, 1, "a", &p50, NULL), 200, "one by one, alone");
	diag("single host, 1 in flight: p50 %u us", p50);
	is_int(commit(0, 2000, 64, "b", NULL, &rate), 2000, "64 at a time");
	diag("single host, 64 in flight: %u/s", rate);
	ok(strncmp(host_ask(&hs, 0, "barrier"), "barrier 0", 9) == 0,
	    "O4: a barrier alone");
	snprintf(count, sizeof(count), "count %u 0",
	    2200 + test_shared_entries());
	host_kill(&hs, 0);
	host_start(&hs, 0);
	is_str(host_answer(&hs, 0, 30000), "open", "kill -9: it returns");
	is_str(host_answer(&hs, 0, 30000), "ready", "with a new session");
	is_str(host_ask(&hs, 0, "count"), count,
	    "O1: with everything that was acknowledged");
}

int
main(void)
{
	int leader;

	pace_start();
	hosts_init(&hs, 3);
	hs.conf.write_timeout_ms = PATIENT_MS;
	hs.conf.segment_bytes = 1 << 18; /* several of them */
	start_all();
	leader = hosts_leader(&hs, 5000);
	if (!ok(leader >= 0, "one leads"))
		bail_out("no leader");
	test_order(leader);
	test_barrier(leader);
	test_members();
	test_withdraw(leader);
	test_crash(hosts_leader(&hs, 5000));
	test_rebuild();
	test_handover();
	for (unsigned i = 0; i < 4; i++)
		test_handover_busy(i);
	test_catch_up();
	for (unsigned i = 0; i < 4; i++)
		test_paused(i);
	for (unsigned i = 0; i < 3; i++)
		host_kill(&hs, i);
	hs.conf.write_timeout_ms = WRITE_TIMEOUT_MS;
	start_all();
	test_minority();
	test_isolated();
	test_full();
	test_broken_disk();
	test_quarantine();
	test_garbage();
	test_lost();
	test_alone();
	hosts_fini(&hs);
	return done_testing();
}
