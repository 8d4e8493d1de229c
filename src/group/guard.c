/*
 * guard.c: the raft_io in front, its clock and its disk.
 *
 * facts of libraft 0.15: it elects candidates while its disk is busy (B8), it
 * goes on after a failed write with a memory that differs from the disk (B4),
 * and a single voter leads again in the term of its last life (B11).
 */
#include "config.h"

#include "group/guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "group/compat.h"
#include "group/guard_op.h"

static int io_init(struct raft_io *, raft_id, const char *);
static void io_close(struct raft_io *, raft_io_close_cb);
static void io_closed(struct raft_io *inner);
static int io_load(struct raft_io *, raft_term *, raft_id *,
    struct raft_snapshot **, raft_index *, struct raft_entry **, size_t *);
static int load_unshare(struct raft_entry *, size_t n);
static int io_start(struct raft_io *, unsigned, raft_io_tick_cb,
    raft_io_recv_cb);
static int io_bootstrap(struct raft_io *, const struct raft_configuration *);
static int io_recover(struct raft_io *, const struct raft_configuration *);
static int io_set_term(struct raft_io *, raft_term);
static int io_set_vote(struct raft_io *, raft_id);
static int bump_term(struct guard *);
static int io_append(struct raft_io *, struct raft_io_append *,
    const struct raft_entry *, unsigned, raft_io_append_cb);
static void append_done(struct raft_io_append *, int status);
static void appends_cut(struct guard *, raft_index);
static int io_truncate(struct raft_io *, raft_index);
static int io_put(struct raft_io *, unsigned, struct raft_io_snapshot_put *,
    const struct raft_snapshot *, raft_io_snapshot_put_cb);
static void put_done(struct raft_io_snapshot_put *, int status);
static int io_get(struct raft_io *, struct raft_io_snapshot_get *,
    raft_io_snapshot_get_cb);
static raft_time io_time(struct raft_io *);
static int io_random(struct raft_io *, int, int);
#ifndef RAFT_VERSION_NUMBER
static int io_async_work(struct raft_io *, struct raft_io_async_work *,
    raft_io_async_work_cb);
#endif
static void on_tick(struct raft_io *inner);
static bool timer_expired(const struct guard *);
static void timer_hold(struct guard *);
static void barrier_submit(struct guard *);
static void barrier_done(struct raft_barrier *, int status);
static void sends_complete(struct guard *, int status);
static int check(struct guard *, int rv, const char *why);

void
guard_attach(struct guard *g, struct raft *r, struct raft_io *inner,
    const struct guard_conf *conf)
{
	assert(conf->fatal != NULL && r->io == inner);
	memset(g, 0, sizeof(*g));
	g->inner = inner;
	g->raft = r;
	g->conf = *conf;
	g->state = RAFT_UNAVAILABLE;
	raft_configuration_init(&g->committed_conf);
	g->io = (struct raft_io){
	    .version = inner->version,
	    .data = r,
	    .impl = inner->impl, /* the fixture looks there */
	    .init = io_init,
	    .close = io_close,
	    .load = io_load,
	    .start = io_start,
	    .bootstrap = io_bootstrap,
	    .recover = io_recover,
	    .set_term = io_set_term,
	    .set_vote = io_set_vote,
	    .send = guard_send,
	    .append = io_append,
	    .truncate = io_truncate,
	    .snapshot_put = io_put,
	    .snapshot_get = io_get,
	    .time = io_time,
	    .random = io_random,
	};
#ifndef RAFT_VERSION_NUMBER
	g->io.async_work = io_async_work;
#endif
	inner->data = r;
	r->io = &g->io;
}

void
guard_fini(struct guard *g)
{
	while (g->ops != NULL)
		guard_op_free(g->ops);
	raft_configuration_close(&g->committed_conf);
	free(g->runs);
	memset(g, 0, sizeof(*g));
}

void
guard_turn(struct guard *g)
{
	sends_complete(g, RAFT_NOCONNECTION);
	if (g->failed || g->closing || !g->started)
		return;
	guard_observe(g);
	if (g->barrier_wanted && !g->barrier_running)
		barrier_submit(g);
	if (g->changed) {
		g->changed = false;
		if (g->conf.role != NULL)
			g->conf.role(g->conf.ctx);
	}
}

bool
guard_leader_ready(const struct guard *g)
{
	const struct raft *r = g->raft;

	return g->started && !g->failed && r->state == RAFT_LEADER &&
	    guard_term_of(g, r->commit_index) == r->current_term;
}

void
guard_fail(struct guard *g, const char *why)
{
	if (g->failed)
		return;
	g->failed = true;
	g->conf.fatal(g->conf.ctx, why);
}

void
guard_observe(struct guard *g)
{
	const struct raft *r = g->raft;

	if (g->failed || g->closing || !g->started)
		return;
	if (r->state == RAFT_UNAVAILABLE) {
		if (guard_on(g, GUARD_FAILSTOP))
			guard_fail(g, "the Raft core gave up");
		return;
	}
	guard_member_save(g);
	if (g->state == r->state && g->term == r->current_term)
		return;
	g->state = r->state;
	g->term = r->current_term;
	g->changed = true;
	guard_drop_held(g);
	g->barrier_wanted = r->state == RAFT_LEADER &&
	    guard_on(g, GUARD_BARRIER);
	if (g->conf.defer != NULL)
		g->conf.defer(g->conf.ctx);
}

/* An entry of the leader's own term, without which nothing older commits. */
static void
barrier_submit(struct guard *g)
{
	struct raft *r = g->raft;

	if (r->state != RAFT_LEADER ||
	    guard_term_of(g, g->last_index) == r->current_term) {
		g->barrier_wanted = false;
		return;
	}
	/* NOTLEADER while leadership is handed over: the next turn asks again. */
	g->barrier_running = true;
	if (raft_barrier(r, &g->barrier, barrier_done) != 0) {
		g->barrier_running = false;
		return;
	}
	g->barrier_wanted = false;
	g->stats.barriers++;
}

static void
barrier_done(struct raft_barrier *req, int status)
{
	struct guard *g;

	(void)status; /* lost leadership: the next leader writes its own */
	g = (struct guard *)((char *)req - offsetof(struct guard, barrier));
	g->barrier_running = false;
}

static void
sends_complete(struct guard *g, int status)
{
	struct guard_op *op, *list = g->done;

	g->done = NULL;
	while ((op = list) != NULL) {
		list = op->next;
		op->cb.send(op->core.send, status);
		free(op);
	}
}

/* ---- clock ---- */

static void
on_tick(struct raft_io *inner)
{
	struct raft *r = inner->data;
	struct guard *g = guard_of(r->io);

	if (g->failed || g->closing)
		return;
	if (r->state == RAFT_FOLLOWER && timer_expired(g)) {
		if (guard_on(g, GUARD_INFLIGHT) &&
		    (g->n_appends > 0 || compat_snapshot_busy(r))) {
			timer_hold(g);
		} else if (guard_on(g, GUARD_TERMBUMP) &&
		    guard_member_sole_voter(g) && bump_term(g) != 0) {
			return;
		}
	}
	g->tick(&g->io);
	guard_observe(g);
}

static bool
timer_expired(const struct guard *g)
{
	const struct raft *r = g->raft;

	return g->inner->time(g->inner) - r->election_timer_start >=
	    r->follower_state.randomized_election_timeout;
}

/* INFLIGHT: it expires as soon as the disk is done, and not before. */
static void
timer_hold(struct guard *g)
{
	struct raft *r = g->raft;

	r->election_timer_start = io_time(&g->io) -
	    r->follower_state.randomized_election_timeout + 1;
	g->stats.postponed++;
}

static int
io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
    raft_io_recv_cb recv)
{
	struct guard *g = guard_of(io);
	int rv;

	g->tick = tick;
	g->recv = recv;
	guard_member_start(g);
	rv = check(g, g->inner->start(g->inner, msecs, on_tick, guard_recv),
	    "cannot start the log and the network");
	if (rv != 0)
		return rv;
	g->started = true;
	if (guard_on(g, GUARD_TERMBUMP) && guard_member_sole_voter(g))
		rv = bump_term(g);
	return rv;
}

/*
 * TERMBUMP: libraft lets the only voter lead without an election, in a term
 * in which it, or the leader that it follows, may have written other entries.
 */
static int
bump_term(struct guard *g)
{
	struct raft *r = g->raft;
	int rv;

	rv = io_set_term(&g->io, r->current_term + 1);
	if (rv == 0)
		rv = io_set_vote(&g->io, r->id);
	if (rv != 0)
		return rv;
	r->current_term++;
	r->voted_for = r->id;
	g->stats.bumped++;
	return 0;
}

/* ---- disk ---- */

static int
io_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
    struct raft_snapshot **snapshot, raft_index *start_index,
    struct raft_entry **entries, size_t *n)
{
	struct guard *g = guard_of(io);
	size_t i;
	int rv;

	rv = g->inner->load(g->inner, term, voted_for, snapshot, start_index,
	    entries, n);
	if (rv != 0) {
		memcpy(io->errmsg, g->inner->errmsg, sizeof(io->errmsg));
		return rv;
	}
	guard_terms_reset(g, *start_index - 1);
	if (*snapshot != NULL)
		guard_terms_snapshot(g, (*snapshot)->index, (*snapshot)->term);
	for (i = 0; i < *n; i++)
		guard_terms_append(g, (*entries)[i].term);
	guard_member_load(g, *snapshot, *start_index, *entries, *n);
	if (guard_on(g, GUARD_BATCH) && load_unshare(*entries, *n) != 0)
		guard_fail(g, "out of memory");
	return g->failed ? RAFT_CORRUPT : 0;
}

/*
 * BATCH: when entries of one batch have left the log while two messages with
 * some of them are under way, the core frees the batch after each.
 */
static int
load_unshare(struct raft_entry *entries, size_t n)
{
	void *batch = NULL, *own;
	size_t i;

	for (i = 0; i < n; i++) {
		if (entries[i].batch == NULL)
			continue;
		if (entries[i].batch != batch) {
			raft_free(batch);
			batch = entries[i].batch;
		}
		own = raft_malloc(entries[i].buf.len);
		if (own == NULL)
			return RAFT_NOMEM;
		memcpy(own, entries[i].buf.base, entries[i].buf.len);
		entries[i].buf.base = own;
		entries[i].batch = NULL;
	}
	raft_free(batch);
	return 0;
}

static int
io_append(struct raft_io *io, struct raft_io_append *req,
    const struct raft_entry *entries, unsigned n, raft_io_append_cb cb)
{
	struct guard *g = guard_of(io);
	struct guard_op *op;
	unsigned i;
	int rv;

	for (i = 0; i < n && guard_on(g, GUARD_ALIGN); i++)
		assert(entries[i].buf.len > 0 && entries[i].buf.len % 8 == 0);
	op = guard_op_new(g, GUARD_OP_APPEND);
	if (op == NULL)
		return RAFT_NOMEM;
	op->index = g->last_index + 1;
	op->n = n;
	op->core.append = req;
	op->cb.append = cb;
	op->inner.append.data = op;
	g->n_appends++;
	for (i = 0; i < n; i++)
		guard_terms_append(g, entries[i].term);
	if (g->failed)
		return 0;
	rv = g->inner->append(g->inner, &op->inner.append, entries, n,
	    append_done);
	if (rv == 0)
		return 0;
	if (guard_on(g, GUARD_FAILSTOP)) {
		/* The core's own way out of this is broken: leave it waiting. */
		(void)check(g, rv, "cannot write the log");
		return 0;
	}
	guard_terms_truncate(g, op->index);
	guard_op_free(op);
	return check(g, rv, NULL);
}

static void
append_done(struct raft_io_append *req, int status)
{
	struct guard_op *op = req->data;
	struct guard *g = op->guard;
	struct raft_io_append *core = op->core.append;
	raft_io_append_cb cb = op->cb.append;
	raft_index index = op->index;

	if (g->closing)
		status = 0; /* the core only releases memory now */
	if (status != 0 && guard_on(g, GUARD_FAILSTOP))
		(void)check(g, status, "cannot write the log");
	if (g->failed && !g->closing)
		return; /* io_closed() gives the core its memory back */
	guard_op_free(op);
	cb(core, status);
	if (status != 0)
		guard_terms_truncate(g, index);
	if (g->closing)
		return;
	guard_release_held(g);
	guard_release_stand(g);
	guard_observe(g);
}

static void
appends_cut(struct guard *g, raft_index index)
{
	struct guard_op *op;

	for (op = g->ops; op != NULL; op = op->next)
		if (op->kind == GUARD_OP_APPEND && op->index + op->n > index)
			op->cut = true;
}

static int
io_truncate(struct raft_io *io, raft_index index)
{
	struct guard *g = guard_of(io);

	if (g->failed)
		return 0;
	guard_terms_truncate(g, index);
	appends_cut(g, index);
	return check(g, g->inner->truncate(g->inner, index),
	    "cannot truncate the log");
}

static int
io_set_term(struct raft_io *io, raft_term term)
{
	struct guard *g = guard_of(io);

	return check(g, g->failed ? RAFT_IOERR :
	    g->inner->set_term(g->inner, term), "cannot write the term");
}

static int
io_set_vote(struct raft_io *io, raft_id id)
{
	struct guard *g = guard_of(io);

	return check(g, g->failed ? RAFT_IOERR :
	    g->inner->set_vote(g->inner, id), "cannot write the vote");
}

/*
 * A snapshot of our own may fail: the next one is tried later.  For one of the
 * leader's the core has already thrown its log away.
 */
static int
io_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct guard *g = guard_of(io);
	struct guard_op *op;
	int rv;

	op = guard_op_new(g, GUARD_OP_PUT);
	if (op == NULL)
		return RAFT_NOMEM;
	op->installing = g->receiving == COMPAT_INSTALL_SNAPSHOT;
	op->index = snapshot->index;
	op->core.put = req;
	op->cb.put = cb;
	op->inner.put.data = op;
	guard_terms_snapshot(g, snapshot->index, snapshot->term);
	if (op->installing) {
		guard_terms_reset(g, snapshot->index);
		appends_cut(g, 0);
	} else {
		rv = guard_member_snapshot(g, snapshot, &op->snapshot);
		if (rv != 0) {
			guard_fail(g, "out of memory");
			guard_op_free(op);
			return rv;
		}
		snapshot = &op->snapshot;
	}
	if (g->failed)
		return 0;
	rv = g->inner->snapshot_put(g->inner, trailing, &op->inner.put,
	    snapshot, put_done);
	if (rv == 0)
		return 0;
	rv = check(g, rv, op->installing ?
	    "cannot write the leader's snapshot" : NULL);
	guard_op_free(op);
	return rv;
}

static void
put_done(struct raft_io_snapshot_put *req, int status)
{
	struct guard_op *op = req->data;
	struct guard *g = op->guard;
	struct raft_io_snapshot_put *core = op->core.put;
	raft_io_snapshot_put_cb cb = op->cb.put;
	raft_index index = op->index;
	bool installing = op->installing && !g->closing &&
	    guard_on(g, GUARD_FAILSTOP);

	if (status != 0 && installing)
		(void)check(g, status, "cannot write the leader's snapshot");
	if (g->failed && !g->closing)
		return;
	guard_op_free(op);
	cb(core, status);
	if (installing && g->raft->last_stored < index)
		guard_fail(g, "cannot restore the leader's snapshot");
	guard_observe(g);
}

/* The inner io's failure is the core's, and with FAILSTOP and why our end. */
static int
check(struct guard *g, int rv, const char *why)
{
	if (rv == 0)
		return 0;
	memcpy(g->io.errmsg, g->inner->errmsg, sizeof(g->io.errmsg));
	if (guard_on(g, GUARD_FAILSTOP) && why != NULL)
		guard_fail(g, why);
	return rv;
}

/* ---- the end ---- */

static void
io_close(struct raft_io *io, raft_io_close_cb cb)
{
	struct guard *g = guard_of(io);

	g->closing = true;
	g->close_cb = cb;
	sends_complete(g, RAFT_CANCELED);
	g->inner->close(g->inner, io_closed);
}

static void
io_closed(struct raft_io *inner)
{
	struct raft *r = inner->data;
	struct guard *g = guard_of(r->io);
	struct guard_op *op, *next;

	for (op = g->ops; op != NULL; op = next) {
		next = op->next;
		/* Of a failed host: the core wants its memory back. */
		if (!g->failed)
			continue;
		if (op->kind == GUARD_OP_APPEND)
			append_done(&op->inner.append, RAFT_CANCELED);
		else if (op->kind == GUARD_OP_PUT)
			put_done(&op->inner.put, RAFT_CANCELED);
	}
	if (g->close_cb != NULL)
		g->close_cb(&g->io);
}

/* ---- passed on ---- */

static int
io_init(struct raft_io *io, raft_id id, const char *address)
{
	struct guard *g = guard_of(io);

	return g->inner->init(g->inner, id, address);
}

static int
io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
	struct guard *g = guard_of(io);

	return g->inner->bootstrap(g->inner, conf);
}

static int
io_recover(struct raft_io *io, const struct raft_configuration *conf)
{
	struct guard *g = guard_of(io);

	return g->inner->recover(g->inner, conf);
}

static int
io_get(struct raft_io *io, struct raft_io_snapshot_get *req,
    raft_io_snapshot_get_cb cb)
{
	struct guard *g = guard_of(io);

	return g->inner->snapshot_get(g->inner, req, cb);
}

static raft_time
io_time(struct raft_io *io)
{
	struct guard *g = guard_of(io);

	return g->inner->time(g->inner);
}

static int
io_random(struct raft_io *io, int min, int max)
{
	struct guard *g = guard_of(io);

	return g->inner->random(g->inner, min, max);
}

#ifndef RAFT_VERSION_NUMBER
static int
io_async_work(struct raft_io *io, struct raft_io_async_work *req,
    raft_io_async_work_cb cb)
{
	struct guard *g = guard_of(io);

	return g->inner->async_work(g->inner, req, cb);
}
#endif

/* ---- requests of our own ---- */

struct guard_op *
guard_op_new(struct guard *g, enum guard_op_kind kind)
{
	struct guard_op *op = calloc(1, sizeof(*op));

	if (op == NULL) {
		guard_fail(g, "out of memory");
		return NULL;
	}
	op->guard = g;
	op->kind = kind;
	guard_op_link(&g->ops, op);
	return op;
}

void
guard_op_free(struct guard_op *op)
{
	if (op->kind == GUARD_OP_APPEND)
		op->guard->n_appends--;
	if (op->kind == GUARD_OP_PUT)
		raft_configuration_close(&op->snapshot.configuration);
	guard_op_unlink(&op->guard->ops, op);
	free(op);
}

bool
guard_op_any_cut(const struct guard *g)
{
	const struct guard_op *op;

	for (op = g->ops; op != NULL; op = op->next)
		if (op->cut)
			return true;
	return false;
}

void
guard_op_link(struct guard_op **list, struct guard_op *op)
{
	op->prev = NULL;
	op->next = *list;
	if (op->next != NULL)
		op->next->prev = op;
	*list = op;
}

void
guard_op_unlink(struct guard_op **list, struct guard_op *op)
{
	if (op->prev != NULL)
		op->prev->next = op->next;
	else
		*list = op->next;
	if (op->next != NULL)
		op->next->prev = op->prev;
}
