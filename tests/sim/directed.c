/*
 * directed.c: each bug of libraft 0.15 that a guard stops, one by one.
 *
 * A scenario answers whether the promise held.  It runs twice, in a child of
 * its own each time (some bugs crash): with the guards concerned switched off
 * it must not hold (red), with all of them it must (green).
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group/compat.h"
#include "sim/cluster.h"
#include "tap.h"

struct scenario {
	const char *bug;
	const char *promise;
	bool (*run)(unsigned off);
	unsigned off; /* what red switches off */
};

#define A 0xaaaa
#define B 0xbbbb
#define X 0x1111
#define Y 0x2222

/* What must be so for the scenario to mean anything. */
#define need(c) \
	do { \
		if (!(c)) { \
			diag("line %d: the scenario needs %s", __LINE__, #c); \
			_exit(2); \
		} \
	} while (0)

static struct cluster *
start(unsigned n, unsigned n_voters, unsigned off)
{
	struct cluster *c = cluster_new(n, n_voters, off, NULL);

	cluster_prefer(c, 0);
	cluster_start(c);
	return c;
}

static bool
finish(struct cluster *c, bool held)
{
	cluster_free(c);
	return held;
}

static struct raft *
raft_of(struct cluster *c, unsigned i)
{
	return c->hosts[i].raft;
}

static bool
everywhere(struct cluster *c, uint64_t value)
{
	unsigned i;

	for (i = 0; i < c->n; i++)
		if (!c->hosts[i].dead && !cluster_applied(c, i, value))
			return false;
	return true;
}

/* A leader of a later term counts copies of an old entry, commits it, and the
 * holder of a newer one overwrites it (raft paper, figure 8). */
static bool
figure8(unsigned off)
{
	struct cluster *c = cluster_new(3, 3, off, NULL);

	cluster_preload(c, 0, 2, X);
	cluster_preload(c, 2, 3, Y);
	cluster_prefer(c, 0);
	c->hosts[0].disk.term = 3;
	cluster_start(c);
	need(cluster_elect(c, 0));
	cluster_cut(c, 0, 2);
	cluster_run(c, 500);
	cluster_isolate(c, 0);
	cluster_heal(c, 1, 2);
	cluster_prefer(c, 2);
	cluster_run(c, 3000);
	cluster_prefer(c, 1);
	cluster_run(c, 3000);
	return finish(c, cluster_agree(c) &&
	    raft_of(c, 1)->state != RAFT_UNAVAILABLE &&
	    raft_of(c, 2)->state != RAFT_UNAVAILABLE);
}

/* What the old leader left uncommitted commits without a client's help. */
static bool
barrier(unsigned off)
{
	struct cluster *c = cluster_new(3, 3, off, NULL);

	cluster_preload(c, 0, 2, X);
	cluster_preload(c, 1, 2, X);
	cluster_prefer(c, 0);
	cluster_start(c);
	need(cluster_elect(c, 0));
	cluster_run(c, 3000);
	return finish(c, everywhere(c, X));
}

/* One proposal a millisecond, acknowledged 40 ms later: never a pause. */
static bool
starvation(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	raft_index lag = 0;
	unsigned i;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	for (i = 0; i < 1000; i++) {
		(void)cluster_propose(c, 0, i, NULL);
		cluster_run(c, 1);
		if (raft_last_index(r) - r->commit_index > lag)
			lag = raft_last_index(r) - r->commit_index;
	}
	return finish(c, lag < 200);
}

/* A follower's old tail is taken for a copy of the leader's new entries. */
static bool
unverified(unsigned off)
{
	struct cluster *c = cluster_new(3, 3, off, NULL);
	int done = 0;
	unsigned i;

	for (i = 0; i < 3; i++)
		cluster_preload(c, i, 2, A);
	for (i = 0; i < 3; i++)
		cluster_preload(c, 1, 2, B); /* seen by nobody else */
	cluster_prefer(c, 0);
	cluster_start(c);
	need(cluster_elect(c, 0));
	cluster_cut(c, 0, 2);
	(void)cluster_propose(c, 0, X, &done);
	(void)cluster_propose(c, 0, Y, NULL);
	cluster_run(c, 500);
	need(done == 1);
	cluster_isolate(c, 0);
	cluster_heal(c, 1, 2);
	cluster_prefer(c, 1);
	cluster_run(c, 5000);
	(void)cluster_propose(c, 1, Y + 1, NULL);
	cluster_run(c, 1000);
	return finish(c, cluster_applied(c, 1, X) && cluster_agree(c));
}

/* The leader's disk fails after its followers have got the entry; the core
 * forgets it and gives its index to another one, in the same term. */
static bool
failed_write(unsigned off)
{
	struct cluster *c = start(3, 3, off);

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	c->hosts[0].append_status = RAFT_NOSPACE;
	(void)cluster_propose(c, 0, X, NULL);
	cluster_run(c, 11);
	c->hosts[0].append_status = 0;
	if (!c->hosts[0].dead)
		(void)cluster_propose(c, 0, Y, NULL);
	cluster_run(c, 1000);
	cluster_prefer(c, 1);
	cluster_run(c, 5000);
	if (cluster_leader(c) < 3)
		(void)cluster_propose(c, cluster_leader(c), A, NULL);
	cluster_run(c, 1000);
	return finish(c, cluster_agree(c) && everywhere(c, A));
}

/* A core that has given up says so to nobody. */
static bool
unavailable(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	bool held;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	raft_fixture_io_fault(&c->f, 1, 0, 1); /* its next set_term */
	cluster_isolate(c, 0);
	cluster_prefer(c, 1);
	cluster_run(c, 3000);
	held = c->hosts[1].dead && c->hosts[1].why != NULL;
	return finish(c, held);
}

/* A delayed message from the log's start reaches a compacted follower. */
static bool
compacted(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_message msg = {0};
	struct raft_append_entries *args = &msg.append_entries;
	struct raft *r = raft_of(c, 1);
	raft_index last;
	uint64_t *payload;
	unsigned i;

	raft_set_snapshot_threshold(r, 10);
	raft_set_snapshot_trailing(r, 1);
	need(cluster_elect(c, 0));
	for (i = 0; i < 20; i++)
		(void)cluster_propose(c, 0, i, NULL);
	cluster_run(c, 2000);
	last = raft_last_index(r);
	need(r->log.snapshot.last_index > 3);
	args->term = r->current_term;
	args->n_entries = 3;
	args->leader_commit = r->commit_index;
	args->entries = raft_calloc(3, sizeof(*args->entries));
	payload = raft_calloc(3, sizeof(*payload));
	for (i = 0; i < 3; i++) {
		args->entries[i].term = i == 0 ? 1 : r->current_term;
		args->entries[i].type = RAFT_COMMAND;
		args->entries[i].buf.base = &payload[i];
		args->entries[i].buf.len = 8;
		args->entries[i].batch = payload;
	}
	msg.type = RAFT_IO_APPEND_ENTRIES;
	cluster_inject(c, 0, 1, &msg);
	cluster_run(c, 100);
	return finish(c, r->state == RAFT_FOLLOWER &&
	    raft_last_index(r) == last);
}

/* A leader probes below the snapshot of its follower: one is one too many,
 * the next would be the core's mistake. */
static bool
newer_snapshot(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	unsigned i, n;

	for (i = 0; i < 2; i++)
		raft_set_snapshot_trailing(raft_of(c, i), 1);
	raft_set_snapshot_threshold(raft_of(c, 0), 10);
	need(cluster_elect(c, 0));
	for (i = 0; i < 12; i++)
		(void)cluster_propose(c, 0, i, NULL);
	cluster_run(c, 2000);
	raft_set_snapshot_threshold(raft_of(c, 0), 1000);
	raft_set_snapshot_threshold(raft_of(c, 1), 10);
	for (i = 0; i < 12; i++)
		(void)cluster_propose(c, 0, i, NULL);
	cluster_run(c, 2000);
	/* As a leader that has just been elected and knows nothing. */
	cluster_cut(c, 0, 1);
	cluster_run(c, 300);
	cluster_heal(c, 0, 1);
	r->leader_state.progress[1].state = 0;
	r->leader_state.progress[1].match_index = 0;
	r->leader_state.progress[1].next_index = 5;
	r->leader_state.progress[1].recent_recv = true;
	raft_set_install_snapshot_timeout(r, 500);
	n = raft_fixture_n_send(&c->f, 0, RAFT_IO_INSTALL_SNAPSHOT);
	cluster_run(c, 5000);
	(void)cluster_propose(c, 0, X, NULL);
	cluster_run(c, 3000);
	n = raft_fixture_n_send(&c->f, 0, RAFT_IO_INSTALL_SNAPSHOT) - n;
	return finish(c, n <= 1 && cluster_applied(c, 1, X) &&
	    compat_match_index(r, 1) == raft_last_index(r));
}

static unsigned n_granted;

static bool
count_votes(struct cluster *c, unsigned from, unsigned to,
    const struct raft_message *msg)
{
	if (from == 0 && msg->type == RAFT_IO_REQUEST_VOTE_RESULT &&
	    msg->request_vote_result.vote_granted &&
	    msg->request_vote_result.term > 2)
		n_granted++;
	return msg->type != RAFT_IO_TIMEOUT_NOW;
}

/* The leader that hands over has voted already when its transferee asks. */
static bool
vote_twice(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	struct raft_transfer transfer;
	struct raft_message msg;
	raft_term term;

	n_granted = 0;
	c->filter = count_votes;
	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	term = r->current_term + 1;
	need(raft_transfer(r, &transfer, 2, NULL) == 0);
	memset(&msg, 0, sizeof(msg));
	msg.type = RAFT_IO_APPEND_ENTRIES_RESULT;
	msg.append_entries_result.term = term;
	cluster_inject(c, 2, 0, &msg); /* it steps down */
	memset(&msg, 0, sizeof(msg));
	msg.type = RAFT_IO_REQUEST_VOTE;
	msg.request_vote.term = term;
	msg.request_vote.candidate_id = 3;
	msg.request_vote.last_log_index = raft_last_index(r);
	msg.request_vote.last_log_term = term - 1;
	cluster_inject(c, 2, 0, &msg);
	msg.request_vote.candidate_id = 2;
	msg.request_vote.disrupt_leader = true;
	cluster_inject(c, 1, 0, &msg);
	cluster_run(c, 60);
	need(n_granted > 0);
	return finish(c, n_granted == 1);
}

static void
change_done(struct raft_change *req, int status)
{
	(void)req;
	(void)status;
}

/* A follower stands for election while a new configuration is on its way to
 * its disk: the core leads with the old one. */
static bool
busy_disk(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_change change;
	bool held = true;
	raft_time end;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	raft_fixture_set_disk_latency(&c->f, 1, 4000);
	need(raft_add(raft_of(c, 0), &change, 4, "4", change_done) == 0);
	cluster_run(c, 30);
	cluster_isolate(c, 0);
	cluster_prefer(c, 1);
	need(c->hosts[1].guard.n_appends > 0);
	end = raft_fixture_time(&c->f) + 5000;
	while (c->hosts[1].guard.n_appends > 0 &&
	    raft_fixture_time(&c->f) < end) {
		held = held && raft_of(c, 1)->state == RAFT_FOLLOWER;
		cluster_step(c);
	}
	raft_fixture_set_disk_latency(&c->f, 1, 10);
	cluster_run(c, 6000);
	return finish(c, held && raft_of(c, 1)->state == RAFT_LEADER &&
	    raft_of(c, 1)->configuration.n == 4);
}

/* One shall lead while its disk is still busy with the last entry, as the core
 * of a leader with much to do always asks: it does as soon as that is done. */
static bool
busy_transferee(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_transfer transfer;
	bool held = true;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	raft_fixture_set_disk_latency(&c->f, 1, 200);
	need(cluster_propose(c, 0, X, NULL) == 0);
	need(raft_transfer(raft_of(c, 0), &transfer, 2, NULL) == 0);
	cluster_run(c, 60);
	need(c->hosts[1].guard.n_appends > 0);
	need(c->hosts[1].guard.stats.postponed > 0);
	while (c->hosts[1].guard.n_appends > 0) {
		held = held && raft_of(c, 1)->state == RAFT_FOLLOWER;
		cluster_step(c);
	}
	raft_fixture_set_disk_latency(&c->f, 1, 10);
	cluster_run(c, 200);
	return finish(c, held && raft_of(c, 1)->state == RAFT_LEADER &&
	    everywhere(c, X));
}

/* A restarted host finds a configuration in its log that never committed. */
static bool
restored_conf(unsigned off)
{
	struct cluster *c = cluster_new(3, 3, off, NULL);

	cluster_preload_conf(c, 2, 2, 4);
	cluster_preload(c, 0, 3, X);
	cluster_preload(c, 1, 3, X);
	cluster_prefer(c, 0);
	cluster_start(c);
	need(cluster_elect(c, 0));
	cluster_run(c, 2000);
	need(cluster_applied(c, 2, X));
	return finish(c, raft_of(c, 2)->configuration.n == 3);
}

/* An uncommitted change has to go, and the one before it was compacted. */
static bool
compacted_conf(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_change change;
	unsigned i;

	for (i = 0; i < 3; i++) {
		raft_set_snapshot_threshold(raft_of(c, i), 10);
		raft_set_snapshot_trailing(raft_of(c, i), 1);
	}
	need(cluster_elect(c, 0));
	for (i = 0; i < 20; i++)
		(void)cluster_propose(c, 0, i, NULL);
	cluster_run(c, 2000);
	cluster_isolate(c, 0);
	need(raft_add(raft_of(c, 0), &change, 4, "4", change_done) == 0);
	cluster_prefer(c, 1);
	cluster_run(c, 4000);
	need(cluster_propose(c, 1, X, NULL) == 0);
	cluster_run(c, 500);
	cluster_rejoin(c, 0);
	cluster_run(c, 3000);
	return finish(c, cluster_applied(c, 0, X) && cluster_agree(c) &&
	    raft_of(c, 0)->configuration.n == 3);
}

/* A snapshot taken while a change is uncommitted holds the committed one. */
static bool
snapshot_conf(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_change change;
	unsigned i;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	for (i = 0; i < 20; i++) {
		(void)cluster_propose(c, 0, i, NULL);
		cluster_run(c, 2);
	}
	raft_set_snapshot_threshold(raft_of(c, 0), 10);
	need(raft_add(raft_of(c, 0), &change, 4, "4", change_done) == 0);
	cluster_run(c, 500);
	need(c->hosts[0].put_conf_n != 0);
	return finish(c, c->hosts[0].put_conf_n == 3);
}

/* The only voter lost an entry that its standby had: same index, same term,
 * other content. */
static bool
lone_voter(unsigned off)
{
	struct cluster *c = cluster_new(2, 1, off, NULL);

	cluster_preload(c, 1, 1, X);
	cluster_start(c);
	(void)cluster_propose(c, 0, Y, NULL);
	cluster_run(c, 3000);
	return finish(c, cluster_agree(c) && everywhere(c, Y));
}

/* The last voter takes over from a leader that has removed itself. */
static bool
last_voter(unsigned off)
{
	struct cluster *c = start(2, 2, off);
	struct raft_change change;
	raft_term term;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	term = raft_of(c, 0)->current_term;
	need(raft_remove(raft_of(c, 0), &change, 1, change_done) == 0);
	cluster_run(c, 500);
	cluster_prefer(c, 1);
	cluster_run(c, 3000);
	need(raft_of(c, 1)->state == RAFT_LEADER);
	return finish(c, raft_of(c, 1)->current_term > term);
}

/* The commit index never passes the own disk, so it never has to go back. */
static bool
slow_leader(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	raft_index commit = 0;
	bool held = true;
	unsigned i;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	raft_fixture_set_disk_latency(&c->f, 0, 300);
	for (i = 0; i < 1000; i++) {
		if (i % 5 == 0)
			(void)cluster_propose(c, 0, i, NULL);
		cluster_run(c, 1);
		held = held && r->commit_index <= r->last_stored &&
		    r->commit_index >= commit;
		commit = r->commit_index;
	}
	cluster_prefer(c, 1);
	cluster_isolate(c, 0);
	cluster_run(c, 2000);
	cluster_rejoin(c, 0);
	for (i = 0; i < 2000; i++) {
		cluster_run(c, 1);
		held = held && r->commit_index >= commit;
		commit = r->commit_index;
	}
	return finish(c, held && commit > 100);
}

static void *page;

static void
transfer_done(struct raft_transfer *req)
{
	munmap(req, (size_t)sysconf(_SC_PAGESIZE));
}

/* The transfer is over, and freed, before its TimeoutNow is on the wire. */
static bool
early_transfer(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	struct raft_message msg = {0};

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(raft_transfer(r, page, 2, transfer_done) == 0);
	msg.type = RAFT_IO_APPEND_ENTRIES;
	msg.append_entries.term = r->current_term + 1;
	msg.append_entries.prev_log_index = raft_last_index(r);
	msg.append_entries.prev_log_term = r->current_term;
	cluster_inject(c, 1, 0, &msg);
	cluster_run(c, 100);
	return finish(c, r->state == RAFT_FOLLOWER);
}

static struct raft_buffer again_buf;
static struct raft_apply again_req;

static void
apply_again(struct raft_apply *req, int status, void *result)
{
	struct raft *r = req->data;

	(void)result;
	/* What no caller of libraft may do. */
	if (status != 0)
		(void)raft_apply(r, &again_req, &again_buf, 1, NULL);
}

/* Calls into the core from a callback of a change of state: the guard's rule
 * is role(), which runs from guard_turn(). */
static bool
nested_call(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 0);
	struct raft_buffer buf = {raft_calloc(1, 8), 8};
	struct raft_apply req = {0};
	struct raft_message msg = {0};
	bool nested = off != 0; /* a rule, not a guard: red breaks it */

	again_buf = (struct raft_buffer){raft_calloc(1, 8), 8};
	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	req.data = r;
	need(raft_apply(r, &req, &buf, 1, nested ? apply_again : NULL) == 0);
	c->hosts[0].role_called = false;
	msg.type = RAFT_IO_APPEND_ENTRIES_RESULT;
	msg.append_entries_result.term = r->current_term + 1;
	cluster_inject(c, 1, 0, &msg);
	need(raft_apply(r, &again_req, &again_buf, 1, NULL) == RAFT_NOTLEADER);
	raft_free(again_buf.base);
	return finish(c, c->hosts[0].role_called);
}

/* A payload whose length is no multiple of 8 never gets into a log. */
static bool
unaligned(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_message msg = {0};
	struct raft_append_entries *args = &msg.append_entries;
	struct raft *r = raft_of(c, 1);
	raft_index last;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	last = raft_last_index(r);
	args->term = r->current_term;
	args->prev_log_index = last;
	args->prev_log_term = r->current_term;
	args->n_entries = 1;
	args->entries = raft_calloc(1, sizeof(*args->entries));
	args->entries[0].term = r->current_term;
	args->entries[0].type = RAFT_COMMAND;
	args->entries[0].batch = raft_calloc(1, 16);
	args->entries[0].buf.base = args->entries[0].batch;
	args->entries[0].buf.len = 13;
	msg.type = RAFT_IO_APPEND_ENTRIES;
	cluster_inject(c, 0, 1, &msg);
	return finish(c, raft_last_index(r) == last);
}

/* The leader dies; one follower's timer is short, the other's is long. */
static bool
silent_leader(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	unsigned i;

	for (i = 0; i < 3; i++)
		raft_set_pre_vote(raft_of(c, i), true);
	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	cluster_prefer(c, 1);
	cluster_isolate(c, 0);
	cluster_run(c, 2500);
	return finish(c, raft_of(c, 1)->state == RAFT_LEADER);
}

/* A write ends when its leader is forgotten: the answer has no address. */
static bool
nowhere(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft_message msg = {0};
	unsigned n;

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	raft_fixture_set_disk_latency(&c->f, 1, 200);
	(void)cluster_propose(c, 0, X, NULL);
	cluster_run(c, 50);
	msg.type = RAFT_IO_REQUEST_VOTE;
	msg.request_vote.term = raft_of(c, 1)->current_term + 1;
	msg.request_vote.candidate_id = 3;
	msg.request_vote.disrupt_leader = true;
	cluster_cut(c, 0, 1);
	cluster_inject(c, 2, 1, &msg);
	/* No leader any more, as after its own timer. */
	raft_free(raft_of(c, 1)->follower_state.current_leader.address);
	raft_of(c, 1)->follower_state.current_leader.address = NULL;
	raft_of(c, 1)->follower_state.current_leader.id = 0;
	cluster_run(c, 300);
	n = c->hosts[1].n_nowhere;
	return finish(c, n == 0 && c->hosts[1].guard.n_appends == 0);
}

/* The network refuses an answer: no reason to give up, or to free twice. */
static bool
refused_send(unsigned off)
{
	struct cluster *c = start(3, 3, off);

	need(cluster_elect(c, 0));
	cluster_run(c, 500);
	c->hosts[1].send_status = RAFT_CANCELED;
	(void)cluster_propose(c, 0, X, NULL);
	cluster_run(c, 500);
	c->hosts[1].send_status = 0;
	(void)cluster_propose(c, 0, Y, NULL);
	cluster_run(c, 500);
	return finish(c, raft_of(c, 1)->state == RAFT_FOLLOWER &&
	    everywhere(c, Y));
}

static void
inject_append(struct cluster *c, unsigned from, unsigned to, raft_term term,
    raft_index prev, raft_term prev_term, unsigned n, raft_term entry_term)
{
	struct raft_message msg = {0};
	struct raft_append_entries *args = &msg.append_entries;
	uint64_t *payload = raft_calloc(n, sizeof(*payload));
	unsigned i;

	args->entries = raft_calloc(n, sizeof(*args->entries));
	for (i = 0; i < n; i++) {
		payload[i] = entry_term;
		args->entries[i].term = entry_term;
		args->entries[i].type = RAFT_COMMAND;
		args->entries[i].buf.base = &payload[i];
		args->entries[i].buf.len = sizeof(*payload);
		args->entries[i].batch = payload;
	}
	args->term = term;
	args->prev_log_index = prev;
	args->prev_log_term = prev_term;
	args->n_entries = n;
	msg.type = RAFT_IO_APPEND_ENTRIES;
	cluster_inject(c, from, to, &msg);
}

/* Two leaders come and go while a write is under way: its entries are cut off
 * and come again, and the core takes the two writes for one. */
static bool
cut_write(unsigned off)
{
	struct cluster *c = start(3, 3, off);
	struct raft *r = raft_of(c, 1);

	cluster_isolate(c, 1);
	raft_fixture_set_disk_latency(&c->f, 1, 500);
	inject_append(c, 0, 1, 2, 1, 1, 3, 2);
	raft_fixture_set_disk_latency(&c->f, 1, 1000);
	inject_append(c, 2, 1, 3, 1, 1, 1, 3);
	inject_append(c, 0, 1, 4, 1, 1, 3, 2);
	need(r->last_stored == 1);
	while (c->hosts[1].guard.n_appends > 0)
		cluster_step(c);
	inject_append(c, 0, 1, 4, 1, 1, 3, 2);
	while (c->hosts[1].guard.n_appends > 0)
		cluster_step(c);
	return finish(c, r->last_stored == 4);
}

/* One host has the log to be elected, the other has the newer term. */
static bool
prevotes(unsigned off)
{
	struct cluster *c = cluster_new(3, 3, off, NULL);
	unsigned i;

	for (i = 0; i < 3; i++)
		cluster_preload(c, 0, 5, i);
	cluster_preload(c, 1, 5, 0);
	c->hosts[1].disk.term = 8;
	for (i = 0; i < 3; i++)
		raft_set_pre_vote(raft_of(c, i), true);
	cluster_start(c);
	cluster_isolate(c, 2);
	cluster_run(c, 20000);
	return finish(c, raft_of(c, 0)->state == RAFT_LEADER);
}

static const struct scenario scenarios[] = {
	{"B1", "no entry of an older term is committed by counting copies",
	    figure8, GUARD_FIG8 | GUARD_BARRIER},
	{"B1", "a new leader commits what was left to it, without clients",
	    barrier, GUARD_BARRIER},
	{"B2", "under constant load the commit index keeps up", starvation,
	    GUARD_COMMIT},
	{"B3", "an acknowledged entry survives a follower's old tail",
	    unverified, GUARD_ACK},
	{"B4", "after a failed write no index is used twice", failed_write,
	    GUARD_FAILSTOP},
	{"B4", "a core that gives up ends its host", unavailable,
	    GUARD_FAILSTOP},
	{"B5", "a compacted follower appends nothing again", compacted,
	    GUARD_TRIM},
	{"B6", "a follower is not sent an older snapshot again and again",
	    newer_snapshot, GUARD_RAISE | GUARD_TRIM},
	{"B7", "one vote a term, for a transferee too", vote_twice,
	    GUARD_VOTE},
	{"B8", "no candidate while entries are on their way to its disk",
	    busy_disk, GUARD_INFLIGHT},
	{"B9", "a restored configuration that never committed goes back",
	    restored_conf, GUARD_CONF},
	{"B10", "a change goes back when the one before it was compacted",
	    compacted_conf, GUARD_CONF},
	{"B10", "a snapshot holds the committed configuration", snapshot_conf,
	    GUARD_CONF},
	{"B11", "the only voter leads in a new term", lone_voter,
	    GUARD_TERMBUMP},
	{"B11", "so does the last voter left", last_voter, GUARD_TERMBUMP},
	{"B13", "a transfer may end before its message is sent",
	    early_transfer, GUARD_SEND},
	{"B14", "calls into the core are deferred to guard_turn()",
	    nested_call, GUARD_SEND},
	{"B15", "an unaligned payload is refused", unaligned, GUARD_ALIGN},
	{"B17", "a silent leader doesn't delay its successor", silent_leader,
	    GUARD_STALE},
	{"B18", "an entry that was cut off and comes again is written again",
	    cut_write, GUARD_CUT},
	{"B19", "a newer term with a shorter log is no deadlock of pre-votes",
	    prevotes, GUARD_PREVOTE},
	{"send", "an answer to nobody is swallowed", nowhere, GUARD_SEND},
	{"send", "a refused send harms nobody", refused_send, GUARD_SEND},
};

/* 0: the promise held; 1: it did not; 2: the scenario failed. */
static int
run(const struct scenario *s, unsigned off, int *ret_signal)
{
	struct rlimit no_core = {0, 0}, seconds = {20, 20}; /* of CPU */
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		setrlimit(RLIMIT_CPU, &seconds);
		if (off != 0 && freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		_exit(s->run(off) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail_out("fork: %m");
	*ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return *ret_signal != 0 ? 1 : WEXITSTATUS(status);
}

int
main(void)
{
	const struct scenario *s, *end = scenarios +
	    sizeof(scenarios) / sizeof(*scenarios);
	int sig;

	for (s = scenarios; s < end; s++) {
		ok(run(s, s->off, &sig) == 1, "%s red without its guard: %s",
		    s->bug, s->promise);
		if (sig != 0)
			diag("(it died of signal %d)", sig);
		if (!ok(run(s, 0, &sig) == 0, "%s green: %s", s->bug, s->promise))
			diag("signal %d", sig);
	}
	sig = 0;
	ok(run(&(struct scenario){.run = slow_leader}, 0, &sig) == 0,
	    "B12 green: the commit index never passes the own disk");
	ok(run(&(struct scenario){.run = busy_transferee}, 0, &sig) == 0,
	    "B8 green: a transferee leads when its disk is done");
	skip(1, "B12 red: the core of 0.15 alone never commits past its disk");
	skip(1, "B16: raft_uv's disk format is not used; see the tests of wal");
	return done_testing();
}
