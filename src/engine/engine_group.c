/*
 * engine_group.c: a Raft group as an engine.
 */
#include "config.h"

#include "engine/engine_group.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_internal.h"
#include "tree/tree.h"

struct engine_group {
	struct engine engine;
	struct group *group;
	uint64_t replayed;
	void (*stop_cb)(void *);
	void *stop_arg;
};

static int submit(struct engine *, struct engine_req *);
static bool withdraw(struct engine *, struct engine_req *);
static void abandon(struct engine *, struct engine_req *);
static int barrier(struct engine *, struct engine_barrier *);
static void barrier_cancel(struct engine *, struct engine_barrier *);
static int renew(struct engine *, struct engine_renewal *);
static void renew_cancel(struct engine *, struct engine_renewal *);
static uint64_t refreshed_ns(struct engine *, uint64_t);
static uint64_t renewed_ns(struct engine *, uint64_t);
static bool alone(struct engine *);
static void status(struct engine *, struct engine_status *);
static unsigned members(struct engine *, struct engine_member *, unsigned);
static bool writable(struct engine *);
static void report_replayed(struct engine *, uint64_t);
static void stop(struct engine *, void (*)(void *), void *);
static void stop_closed(void *);
static void engine_group_free(struct engine *);

static void on_stamp(struct store_txn *, uint64_t index, uint64_t term);
static void on_applied(void *, const struct command *, const struct outcome *,
    void *cookie, uint64_t index);
static void on_turn(void *);
static void on_failed(void *, void *cookie, int err);
static void on_read(void *, void *cookie, int err);
static void on_renewed(void *, void *cookie, int err);
static void on_status(void *);

static const struct engine_ops engine_ops = {
    .submit = submit,
    .withdraw = withdraw,
    .abandon = abandon,
    .barrier = barrier,
    .barrier_cancel = barrier_cancel,
    .renew = renew,
    .renew_cancel = renew_cancel,
    .refreshed_ns = refreshed_ns,
    .renewed_ns = renewed_ns,
    .alone = alone,
    .status = status,
    .members = members,
    .writable = writable,
    .report_replayed = report_replayed,
    .stop = stop,
    .free = engine_group_free,
};

static const struct group_ops group_ops = {
    .stamp = on_stamp,
    .applied = on_applied,
    .turn = on_turn,
    .failed = on_failed,
    .read = on_read,
    .renewed = on_renewed,
    .status = on_status,
};

static int
store_open(struct engine_group *e, const char *dir, uint64_t *ret_applied)
{
	struct tree_applied applied = {0};
	struct tree_meta meta = {0};
	struct store_txn *txn;
	char path[4096];
	int err;

	if (snprintf(path, sizeof(path), "%s/store", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	err = store_open_lmdb(path, LIMIT_MAP_BYTES, &e->engine.store);
	if (err != 0)
		return err;
	txn = store_begin(e->engine.store, STORE_READ);
	tree_applied_get(txn, &applied);
	(void)tree_meta_get(txn, &meta);
	err = store_error(txn);
	store_abort(txn);
	if (err != 0) {
		store_close(e->engine.store);
		return err;
	}
	e->engine.rev = meta.rev;
	*ret_applied = applied.index;
	return 0;
}

int
engine_group_open(const struct group_conf *conf, struct engine **ret)
{
	struct engine_group *e = calloc(1, sizeof(*e));
	uint64_t applied;
	int err;

	if (e == NULL)
		return -ENOMEM;
	e->engine.ops = &engine_ops;
	e->engine.self = conf->self;
	if (mkdir(conf->dir, 0711) != 0 && errno != EEXIST) {
		err = -errno;
		goto out;
	}
	err = store_open(e, conf->dir, &applied);
	if (err != 0)
		goto out;
	err = group_open(conf, &group_ops, e, e->engine.store, applied,
	    &e->group);
	if (err != 0)
		goto out_store;
	snprintf(e->engine.name, sizeof(e->engine.name), "%s",
	    group_member_find(e->group, conf->self)->name);
	group_report(e->group, e->engine.rev, 0);
	*ret = &e->engine;
	return 0;

out_store:
	store_close(e->engine.store);
out:
	if (err == -ENOSPC || err == -EDQUOT)
		log_error("engine: %s: the disk is full, and what this host "
		    "needs to start is not there yet: make room, and start it "
		    "again; nothing is lost", conf->dir);
	else
		log_error("engine: cannot open %s: %s", conf->dir,
		    strerror(-err));
	free(e);
	return err;
}

/* ---- what engine.h promises ---- */

static int
submit(struct engine *engine, struct engine_req *req)
{
	struct engine_group *e = (struct engine_group *)engine;
	struct group_pending *pending;
	int err = group_submit(e->group, &req->command, req, &pending);

	if (err == 0) {
		req->engine_data = pending;
		req->submitted_ns = clock_now_ns();
	}
	return err;
}

static bool
withdraw(struct engine *engine, struct engine_req *req)
{
	struct engine_group *e = (struct engine_group *)engine;

	if (req->engine_data == NULL ||
	    !group_withdraw(e->group, req->engine_data))
		return false;
	req->engine_data = NULL;
	return true;
}

static void
finish(struct engine_req *req, const struct outcome *outcome)
{
	req->engine_data = NULL;
	req->done(req, outcome);
}

static void
abandon(struct engine *engine, struct engine_req *req)
{
	struct engine_group *e = (struct engine_group *)engine;
	const struct outcome interrupted = {.err = -EINTR};

	if (req->engine_data == NULL)
		return;
	group_abandon(e->group, req->engine_data);
	finish(req, &interrupted);
}

static int
barrier(struct engine *engine, struct engine_barrier *b)
{
	struct engine_group *e = (struct engine_group *)engine;
	struct group_read *read;
	int err = group_read(e->group, b, &read);

	if (err == 0)
		b->engine_data = read;
	return err;
}

static void
barrier_cancel(struct engine *engine, struct engine_barrier *b)
{
	struct engine_group *e = (struct engine_group *)engine;

	if (b->engine_data != NULL)
		group_read_cancel(e->group, b->engine_data);
	b->engine_data = NULL;
}

static int
renew(struct engine *engine, struct engine_renewal *r)
{
	struct engine_group *e = (struct engine_group *)engine;
	struct group_renewal *renewal;
	int err = group_renew(e->group, r->session, r->nodes, r->n_nodes, r,
	    &renewal);

	if (err == 0)
		r->engine_data = renewal;
	return err;
}

static void
renew_cancel(struct engine *engine, struct engine_renewal *r)
{
	struct engine_group *e = (struct engine_group *)engine;

	if (r->engine_data != NULL)
		group_renew_cancel(e->group, r->engine_data);
	r->engine_data = NULL;
}

static uint64_t
refreshed_ns(struct engine *engine, uint64_t node)
{
	return group_refreshed_ns(((struct engine_group *)engine)->group,
	    node);
}

static uint64_t
renewed_ns(struct engine *engine, uint64_t session)
{
	return group_renewed_ns(((struct engine_group *)engine)->group,
	    session);
}

static bool
alone(struct engine *engine)
{
	return group_alone(((struct engine_group *)engine)->group);
}

static void
status(struct engine *engine, struct engine_status *ret)
{
	static const enum engine_health healths[] = {[GROUP_OK] = ENGINE_OK,
	    [GROUP_SUSPENDED] = ENGINE_SUSPENDED,
	    [GROUP_READONLY] = ENGINE_READONLY,
	    [GROUP_LOST] = ENGINE_LOST};
	struct engine_group *e = (struct engine_group *)engine;
	const struct group_member_conf *leader;
	struct group_status s;

	group_status(e->group, &s);
	*ret = (struct engine_status){.health = healths[s.health],
	    .role = s.role,
	    .leader = s.leader,
	    .term = s.term,
	    .commit = s.commit,
	    .applied = s.applied,
	    .rev = engine->rev,
	    .since_ns = s.since_ns,
	    .n_voters = s.n_voters,
	    .n_alive = s.n_alive,
	    .disk = s.disk};
	leader = group_member_find(e->group, s.leader);
	if (leader != NULL)
		snprintf(ret->leader_name, sizeof(ret->leader_name), "%s",
		    leader->name);
}

static unsigned
members(struct engine *engine, struct engine_member *ret, unsigned max)
{
	struct engine_group *e = (struct engine_group *)engine;
	struct group_member_status s[LIMIT_MEMBERS];
	unsigned n;

	n = group_members(e->group, s,
	    max < LIMIT_MEMBERS ? max : LIMIT_MEMBERS);
	for (unsigned i = 0; i < n; i++) {
		ret[i] = (struct engine_member){.id = s[i].conf->id,
		    .role = s[i].leader ? "leader" : "voter",
		    .alive = s[i].alive,
		    .applied = s[i].applied,
		    .rev = s[i].rev,
		    .replayed = s[i].replayed,
		    .heard_ns = s[i].heard_ns};
		memcpy(ret[i].name, s[i].conf->name, sizeof(ret[i].name));
		memcpy(ret[i].address, s[i].conf->address,
		    sizeof(ret[i].address));
	}
	return n;
}

static bool
writable(struct engine *engine)
{
	struct engine_group *e = (struct engine_group *)engine;

	return group_writable(e->group);
}

static void
report_replayed(struct engine *engine, uint64_t rev)
{
	struct engine_group *e = (struct engine_group *)engine;

	e->replayed = rev;
	group_report(e->group, engine->rev, rev);
}

static void
stop(struct engine *engine, void (*cb)(void *), void *arg)
{
	struct engine_group *e = (struct engine_group *)engine;

	e->stop_cb = cb;
	e->stop_arg = arg;
	group_stop(e->group, stop_closed, e);
}

static void
stop_closed(void *arg)
{
	struct engine_group *e = arg;

	if (e->stop_cb != NULL)
		e->stop_cb(e->stop_arg);
}

static void
engine_group_free(struct engine *engine)
{
	struct engine_group *e = (struct engine_group *)engine;

	group_free(e->group);
	store_close(engine->store);
	free(e);
}

/* ---- what the group says ---- */

static void
on_stamp(struct store_txn *txn, uint64_t index, uint64_t term)
{
	const struct tree_applied applied = {.index = index, .term = term};

	tree_applied_put(txn, &applied);
}

static void
on_applied(void *arg, const struct command *command,
    const struct outcome *outcome, void *cookie, uint64_t index)
{
	struct engine_group *e = arg;
	struct engine_req *req = cookie;
	struct engine_applied applied = {.command = command,
	    .outcome = outcome,
	    .req = req,
	    .index = index};

	/* A retry's kept outcome names an older revision. */
	if (outcome->rev > e->engine.rev)
		e->engine.rev = outcome->rev;
	applied.rev = e->engine.rev;
	engine_publish(&e->engine, &applied);
	if (req != NULL)
		finish(req, outcome);
}

static void
on_turn(void *arg)
{
	struct engine_group *e = arg;

	engine_publish_turn(&e->engine);
	if (e->group != NULL)
		group_report(e->group, e->engine.rev, e->replayed);
}

static void
on_failed(void *arg, void *cookie, int err)
{
	const struct outcome outcome = {.err = err,
	    .reason = err == -ETIMEDOUT
		? "no answer from a majority in time: it may still happen"
		: "no leader: less than a majority of the hosts is reachable"};

	finish(cookie, &outcome);
}

static void
on_read(void *arg, void *cookie, int err)
{
	struct engine_barrier *b = cookie;

	b->engine_data = NULL;
	b->done(b, err);
}

static void
on_renewed(void *arg, void *cookie, int err)
{
	struct engine_renewal *r = cookie;

	r->engine_data = NULL;
	r->done(r, err);
}

static void
on_status(void *arg)
{
	struct engine_group *e = arg;

	if (e->group != NULL)
		engine_publish_status(&e->engine);
}
