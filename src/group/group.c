/*
 * group.c: the life of a group, and the order of its turns.
 *
 * Callbacks of the loop (frames, finished writes, submits, the tick) feed the
 * core and queue; at the end of the loop turn, outside of all callbacks of
 * libraft, turn() does the rest in one order: propose, tell, write to peers,
 * to the log, commit the store, publish.  Waiters thus cost one write per peer and one
 * transaction per turn, however many they are.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "group/internal.h"

/* Of the loop: tick, prepare, check, idle, gather. */
#define N_HANDLES 5

static int conf_copy(struct group *, const struct group_conf *);
static int log_open(struct group *, uint64_t applied);
static void quarantine(struct group *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int core_start(struct group *);
static void handles_start(struct group *);
static void on_tick(uv_timer_t *);
static void on_prepare(uv_prepare_t *);
static void on_check(uv_check_t *);
static void crowd_update(struct group *);
static void on_idle(uv_idle_t *);
static void turn(struct group *);
static void turn_once(struct group *);
static void watch(struct group *);
static void health_update(struct group *);
static void guard_fatal(void *, const char *);
static void guard_wake(void *);
static bool transfer_start(struct group *);
static void transfer_done(struct raft_transfer *);
static void stop_turn(struct group *);
static void core_closed(struct raft *);
static void log_closed(void *);
static void net_closed(void *);
static void handle_closed(uv_handle_t *);

/* ---- start ---- */

int
group_open(const struct group_conf *conf, const struct group_ops *ops,
    void *arg, struct store *store, uint64_t applied, struct group **ret)
{
	struct group *g = calloc(1, sizeof(*g));
	int err;

	if (g == NULL)
		return -ENOMEM;
	g->ops = ops;
	g->ops_arg = arg;
	g->store = store;
	g->fsm.index = applied;
	g->published = applied;
	err = conf_copy(g, conf);
	if (err != 0)
		goto out;
	member_init(g);
	io_init(g);
	fsm_init(g);
	forward_init(g);
	readindex_init(g);
	lease_init(g);
	g->health = GROUP_SUSPENDED;
	err = log_open(g, applied);
	if (err != 0)
		goto out;
	err = member_open_net(g);
	if (err != 0) {
		log_error("group: cannot listen on %s: %s", g->conf.listen,
		    strerror(-err));
		goto out_wal;
	}
	if (g->wal != NULL) {
		err = core_start(g);
		if (err != 0)
			goto out_net;
	} else {
		g->health = GROUP_READONLY;
	}
	/* Filling the store may have taken long: the others' time begins now. */
	g->lost_ns = g->since_ns = clock_now_ns();
	handles_start(g);
	*ret = g;
	return 0;

out_net:
	net_stop(g->net, NULL, NULL);
out_wal:
	if (g->wal != NULL)
		wal_stop(g->wal, NULL, NULL);
out:
	free((char *)g->conf.dir);
	free((char *)g->conf.listen);
	free(g);
	return err;
}

static int
member_order(const void *a, const void *b)
{
	const struct group_member_conf *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* The first entry of the log lists the members: in one order on all hosts. */
static int
conf_copy(struct group *g, const struct group_conf *conf)
{
	struct group_conf *c = &g->conf;
	const struct group_member_conf *self;
	const char *listen = conf->listen;

	*c = *conf;
	c->dir = c->listen = NULL;
	if (c->election_ms == 0)
		c->election_ms = 500;
	if (c->heartbeat_ms == 0)
		c->heartbeat_ms = 50;
	if (c->write_timeout_ms == 0)
		c->write_timeout_ms = 5000;
	if (c->n_members == 0 || c->n_members > LIMIT_MEMBERS ||
	    c->heartbeat_ms < 2 || c->election_ms < 2 * c->heartbeat_ms)
		return -EINVAL;
	qsort(c->members, c->n_members, sizeof(c->members[0]), member_order);
	self = NULL;
	for (unsigned i = 0; i < c->n_members; i++) {
		if (c->members[i].id == 0 ||
		    (i > 0 && c->members[i].id == c->members[i - 1].id))
			return -EINVAL;
		if (c->members[i].id == c->self)
			self = &c->members[i];
	}
	if (self == NULL)
		return -EINVAL;
	c->dir = strdup(conf->dir);
	c->listen = strdup(listen != NULL ? listen : self->address);
	return c->dir == NULL || c->listen == NULL ? -ENOMEM : 0;
}

static int
log_open(struct group *g, uint64_t applied)
{
	struct wal_recovery found = {0};
	char dir[4096];
	struct wal_conf conf = {.dir = dir,
	    .member = g->conf.self,
	    .segment_bytes = g->conf.segment_bytes};
	uint64_t upto;
	int err;

	if (snprintf(dir, sizeof(dir), "%s/wal", g->conf.dir) >=
	    (int)sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(conf.cluster, g->conf.cluster, sizeof(conf.cluster));
	err = wal_open(g->conf.loop, &conf, &g->wal, &found);
	if (err == -EUCLEAN) {
		quarantine(g, "%s", found.text);
		g->wal = NULL;
		return 0;
	}
	if (err != 0) {
		log_error("group: cannot open the log in %s: %s%s%s", dir,
		    strerror(-err), found.text[0] != '\0' ? ": " : "",
		    found.text);
		return err;
	}
	if (found.text[0] != '\0')
		log_info("group: log: %s", found.text);
	if (found.last_index < applied) {
		quarantine(g, "the log ends at entry %llu, but %llu entries "
		    "had been applied: entries are lost",
		    (unsigned long long)found.last_index,
		    (unsigned long long)applied);
		wal_stop(g->wal, NULL, NULL);
		g->wal = NULL;
		return 0;
	}
	upto = found.commit_index > applied ? found.commit_index : applied;
	if (upto > found.last_index)
		upto = found.last_index;
	err = io_load(g, &found, upto);
	if (err == -EUCLEAN) {
		quarantine(g, "the log in %s has lost entries", dir);
		wal_stop(g->wal, NULL, NULL);
		g->wal = NULL;
		return 0;
	}
	if (g->failed)
		err = -EUCLEAN;
	g->published = upto;
	return err;
}

static void
quarantine(struct group *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->quarantine, sizeof(g->quarantine), fmt, ap);
	va_end(ap);
	log_error("group: quarantined, reads go on, no vote and no changes: %s",
	    g->quarantine);
}

static int
core_start(struct group *g)
{
	struct raft *r = &g->raft;
	struct guard_conf gc = {.ctx = g,
	    .fatal = guard_fatal,
	    .defer = guard_wake,
	    .commit = g->io.known_commit,
	    .off = g->conf.guards_off};
	int rv;

	rv = raft_init(r, &g->io.raft_io, &g->fsm.raft_fsm, g->conf.self,
	    g->self->conf.address);
	if (rv != 0)
		return -ENOMEM;
	r->data = g;
	raft_set_election_timeout(r, g->conf.election_ms);
	/* A tick that comes a bit early shall not cost a whole heartbeat. */
	raft_set_heartbeat_timeout(r, g->conf.heartbeat_ms -
	    (g->conf.heartbeat_ms + 9) / 10);
	raft_set_pre_vote(r, true);
	raft_set_snapshot_threshold(r, 1u << 30);
	raft_set_snapshot_trailing(r, 1u << 20);
	raft_set_install_snapshot_timeout(r, 3600 * 1000);
	guard_attach(&g->guard, r, &g->io.raft_io, &gc);
	if (g->io.n_loaded == 0) {
		struct raft_configuration c;

		raft_configuration_init(&c);
		rv = 0;
		for (unsigned i = 0; rv == 0 && i < g->n_members; i++)
			rv = raft_configuration_add(&c, g->members[i].conf.id,
			    g->members[i].conf.address, RAFT_VOTER);
		if (rv == 0)
			rv = raft_bootstrap(r, &c);
		raft_configuration_close(&c);
	}
	if (rv == 0)
		rv = raft_start(r);
	if (rv != 0) {
		log_error("group: cannot start: %s", raft_strerror(rv));
		return -EIO;
	}
	g->started = true;
	return g->failed ? -EIO : 0;
}

static void
handles_start(struct group *g)
{
	uv_loop_t *loop = g->conf.loop;

	uv_timer_init(loop, &g->tick);
	uv_prepare_init(loop, &g->prepare);
	uv_check_init(loop, &g->check);
	uv_idle_init(loop, &g->idle);
	uv_timer_init(loop, &g->gather);
	g->tick.data = g->prepare.data = g->check.data = g->idle.data = g;
	g->gather.data = g;
	g->n_handles = N_HANDLES;
	uv_timer_start(&g->tick, on_tick, g->conf.heartbeat_ms,
	    g->conf.heartbeat_ms);
	uv_prepare_start(&g->prepare, on_prepare);
	uv_check_start(&g->check, on_check);
	group_wake(g);
}

/* ---- turns ---- */

void
group_wake(struct group *g)
{
	g->wanted = true;
	/* Without this the loop might sleep before our next turn. */
	if (!g->in_turn && g->n_handles == N_HANDLES && !uv_is_active(
	    (uv_handle_t *)&g->idle))
		uv_idle_start(&g->idle, on_idle);
}

static void
on_idle(uv_idle_t *h)
{
}

static void
on_prepare(uv_prepare_t *h)
{
	turn(h->data);
}

static void
on_check(uv_check_t *h)
{
	struct group *g = h->data;

	if (!g->wanted)
		g->n_foreign++;
	turn(g);
}

/* What came with a write of ours (its OPEN, its replay) makes no crowd. */
static void
crowd_update(struct group *g)
{
	g->crowded = g->n_foreign > CROWD_PER_MS * g->conf.heartbeat_ms &&
	    g->n_foreign > CROWD_PER_WRITE * g->n_written;
	g->n_foreign = g->n_written = 0;
}

static void
on_tick(uv_timer_t *h)
{
	struct group *g = h->data;

	if (g->failed)
		return;
	crowd_update(g);
	if (g->started && !g->closing)
		io_tick(g);
	watch(g);
	health_update(g);
	if (!g->closing) {
		forward_tick(g);
		readindex_tick(g);
		renew_tick(g);
		member_tick(g);
		if (g->started && g->raft.state == RAFT_LEADER && io_full(g))
			(void)transfer_start(g);
	}
	group_wake(g);
}

static void
turn(struct group *g)
{
	if (!g->wanted || g->in_turn)
		return;
	g->in_turn = true;
	for (unsigned i = 0; i < TURN_ROUNDS && g->wanted; i++) {
		g->wanted = false;
		turn_once(g);
	}
	g->in_turn = false;
	if (g->n_handles < N_HANDLES)
		return;
	if (g->wanted)
		uv_idle_start(&g->idle, on_idle);
	else
		uv_idle_stop(&g->idle);
}

static void
turn_once(struct group *g)
{
	if (g->started && !g->failed && !g->closing) {
		if (g->io.tick_soon) {
			g->io.tick_soon = false;
			io_tick(g);
		}
		guard_turn(&g->guard);
		watch(g);
		forward_propose(g);
		lease_propose(g);
		io_notice(g);
	}
	io_settle(g);
	if (g->started)
		io_complete_sends(g);
	if (g->net != NULL)
		net_flush(g->net);
	if (g->started && !io_alone(g))
		wal_flush(g->wal); /* the peers' disks first, then ours */
	fsm_flush(g);
	lease_turn(g);
	readindex_turn(g);
	if (g->net != NULL)
		net_flush(g->net);
	if (g->started && io_alone(g))
		wal_write_here(g->wal);
	io_close_turn(g);
	stop_turn(g);
}

/* State, term and leader as seen last: there is no other signal of a change. */
static void
watch(struct group *g)
{
	struct member *leader = group_leader(g);
	uint64_t id = leader == NULL ? 0 : leader->conf.id;
	int state = g->raft.state;
	bool was_leader = g->epoch_role == RAFT_LEADER;

	if (!g->started || g->closing || (id == g->epoch_leader &&
	    state == g->epoch_role && g->raft.current_term == g->epoch_term))
		return;
	if (id != 0 && id != g->epoch_leader)
		log_info("group: %s leads, term %llu", leader->conf.name,
		    (unsigned long long)g->raft.current_term);
	g->epoch_leader = id;
	g->epoch_role = state;
	g->epoch_term = g->raft.current_term;
	for (unsigned i = 0; i < g->n_members; i++)
		g->members[i].noticed = 0;
	if (id != 0 || was_leader) {
		forward_epoch(g);
		lease_epoch(g);
		readindex_epoch(g);
	}
	health_update(g);
	g->ops->status(g->ops_arg);
	group_wake(g);
}

static void
health_update(struct group *g)
{
	enum group_health was = g->health;
	struct member *leader = group_leader(g);
	uint64_t now = clock_now_ns();

	if (g->quarantine[0] != '\0' || g->closing)
		return;
	if (leader != NULL && !io_full(g)) {
		g->lost_ns = 0;
		g->ever_ok = true;
		g->contact_ns = leader->self ? member_majority_heard_ns(g)
					     : leader->heard_ns;
		g->health = GROUP_OK;
	} else {
		if (g->lost_ns == 0)
			g->lost_ns = g->contact_ns != 0 ? g->contact_ns : now;
		if (now - g->lost_ns < g->conf.write_timeout_ms * NS_PER_MS)
			g->health = GROUP_SUSPENDED;
		else
			g->health = g->ever_ok || io_full(g) ? GROUP_READONLY
							     : GROUP_LOST;
	}
	if (g->health == was)
		return;
	g->since_ns = now;
	if (g->health == GROUP_READONLY || g->health == GROUP_LOST) {
		log_warn("group: no leader for %u ms, changes are refused "
		    "until there is one", g->conf.write_timeout_ms);
		forward_lost(g);
		readindex_fail(g, -EROFS);
	} else if (was == GROUP_READONLY || was == GROUP_LOST) {
		log_info("group: changes are possible again");
	}
	g->ops->status(g->ops_arg);
}

bool
group_leads(struct group *g)
{
	return g->started && !g->closing && guard_leader_ready(&g->guard) &&
	    g->raft.last_applied == g->raft.commit_index;
}

struct member *
group_leader(struct group *g)
{
	if (!g->started || g->closing)
		return NULL;
	if (g->raft.state == RAFT_LEADER)
		return g->self;
	if (g->raft.state != RAFT_FOLLOWER ||
	    g->raft.follower_state.current_leader.id == 0)
		return NULL;
	return member_find(g, g->raft.follower_state.current_leader.id);
}

static void
guard_fatal(void *ctx, const char *why)
{
	group_fatal(ctx, "%s", why);
}

static void
guard_wake(void *ctx)
{
	group_wake(ctx);
}

void
group_fatal(struct group *g, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	if (g->failed)
		return;
	g->failed = true;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_error("group: %s; this process ends", why);
	if (g->conf.fatal == NULL)
		_exit(3);
	g->conf.fatal(g->conf.fatal_arg, why);
}

/* ---- handing leadership over ---- */

/* To the one that has most of our log; false: there is nobody. */
static bool
transfer_start(struct group *g)
{
	struct member *best = NULL;
	raft_index best_match = 0;

	if (g->transferring || !guard_leader_ready(&g->guard))
		return false;
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];
		raft_index match = compat_progress_match(&g->raft, m->conf.id);

		if (m->self || !m->up || !member_is_alive(g, m))
			continue;
		if (best == NULL || match > best_match) {
			best = m;
			best_match = match;
		}
	}
	if (best == NULL || raft_transfer(&g->raft, &g->transfer,
	    best->conf.id, transfer_done) != 0)
		return false;
	log_info("group: handing leadership over to %s", best->conf.name);
	g->transferring = true;
	return true;
}

static void
transfer_done(struct raft_transfer *req)
{
	struct group *g = (struct group *)((char *)req -
	    offsetof(struct group, transfer));

	g->transferring = false;
	group_wake(g);
}

/* ---- stop ---- */

void
group_stop(struct group *g, void (*cb)(void *), void *arg)
{
	assert(!g->stopping);
	g->stopping = true;
	g->stop_ns = clock_now_ns();
	g->stop_cb = cb;
	g->stop_arg = arg;
	group_wake(g);
}

/* What is under way gets a moment, then leadership goes, then everything. */
static void
stop_turn(struct group *g)
{
	bool late = clock_now_ns() - g->stop_ns >
	    g->conf.election_ms * NS_PER_MS;

	if (!g->stopping || g->closing)
		return;
	if (g->started && !g->failed) {
		if (!late && group_leader(g) != NULL && forward_busy(g))
			return;
		if (!late && g->transferring)
			return;
		if (!late && g->raft.state == RAFT_LEADER &&
		    !g->handed_over && transfer_start(g)) {
			g->handed_over = true;
			group_wake(g);
			return;
		}
	}
	forward_lost(g);
	renew_fail(g);
	readindex_fail(g, -EROFS);
	g->closing = true;
	if (g->started) {
		wal_note_commit(g->wal, g->raft.commit_index);
		raft_close(&g->raft, core_closed);
	} else {
		log_closed(g);
	}
}

static void
core_closed(struct raft *r)
{
	struct group *g = r->data;

	g->started = false;
	if (g->failed)
		log_closed(g); /* what the disk holds is not known */
	else
		wal_stop(g->wal, log_closed, g);
}

static void
log_closed(void *arg)
{
	struct group *g = arg;

	net_stop(g->net, net_closed, g);
}

static void
net_closed(void *arg)
{
	struct group *g = arg;

	g->net = NULL;
	uv_close((uv_handle_t *)&g->tick, handle_closed);
	uv_close((uv_handle_t *)&g->prepare, handle_closed);
	uv_close((uv_handle_t *)&g->check, handle_closed);
	uv_close((uv_handle_t *)&g->idle, handle_closed);
	uv_close((uv_handle_t *)&g->gather, handle_closed);
}

static void
handle_closed(uv_handle_t *h)
{
	struct group *g = h->data;

	if (--g->n_handles == 0)
		g->stop_cb(g->stop_arg);
}

void
group_free(struct group *g)
{
	if (g == NULL)
		return;
	assert(g->n_handles == 0);
	if (g->guard.raft != NULL)
		guard_fini(&g->guard);
	io_fini(g);
	fsm_fini(g);
	forward_fini(g);
	lease_fini(g);
	readindex_fini(g);
	free((char *)g->conf.dir);
	free((char *)g->conf.listen);
	free(g);
}

/* ---- what others may know ---- */

void
group_status(struct group *g, struct group_status *ret)
{
	static const char *const roles[] = {[RAFT_FOLLOWER] = "follower",
	    [RAFT_CANDIDATE] = "candidate",
	    [RAFT_LEADER] = "leader"};
	struct member *leader = group_leader(g);

	*ret = (struct group_status){.health = g->health,
	    .role = "stopped",
	    .leader = leader == NULL ? 0 : leader->conf.id,
	    .applied = g->published,
	    .since_ns = g->since_ns,
	    .n_voters = g->n_members,
	    .n_alive = member_alive(g)};
	if (g->quarantine[0] != '\0') {
		ret->role = "quarantined";
		ret->disk = g->quarantine;
	} else if (io_full(g)) {
		ret->disk = "the disk is full: this host takes part again "
			    "when there is room";
	}
	if (!g->started)
		return;
	ret->term = g->raft.current_term;
	ret->commit = g->raft.commit_index;
	if (g->raft.state >= RAFT_FOLLOWER && g->raft.state <= RAFT_LEADER)
		ret->role = roles[g->raft.state];
}

unsigned
group_members(struct group *g, struct group_member_status *ret, unsigned max)
{
	struct member *leader = group_leader(g);
	unsigned n = g->n_members < max ? g->n_members : max;

	for (unsigned i = 0; i < n; i++) {
		struct member *m = &g->members[i];

		ret[i] = (struct group_member_status){.conf = &m->conf,
		    .leader = m == leader,
		    .alive = member_is_alive(g, m),
		    .applied = m->self ? g->published : m->applied,
		    .rev = m->self ? g->rev : m->rev,
		    .replayed = m->self ? g->replayed : m->replayed,
		    .heard_ns = m->heard_ns};
	}
	return n;
}

bool
group_writable(struct group *g)
{
	return !g->stopping && !g->failed && g->quarantine[0] == '\0' &&
	    (g->health == GROUP_OK || g->health == GROUP_SUSPENDED);
}

bool
group_alone(struct group *g)
{
	return g->n_members == 1;
}

const struct group_member_conf *
group_member_find(struct group *g, uint64_t id)
{
	struct member *m = member_find(g, id);

	return m == NULL ? NULL : &m->conf;
}

void
group_report(struct group *g, uint64_t rev, uint64_t replayed)
{
	if (rev == g->rev && replayed == g->replayed)
		return;
	g->rev = rev;
	g->replayed = replayed;
	g->report_changed = true;
}
