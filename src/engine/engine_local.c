/*
 * engine_local.c: one host, no log; commands wait in a list for the end of the
 * loop turn, or longer if a commit is to pretend that it takes time.
 *
 * Commands are encoded and decoded as a real backend does it, so that nothing
 * of the proposer's memory is needed later.
 */
#include "config.h"

#include "engine/engine_local.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine_internal.h"
#include "machine/machine.h"
#include "tree/tree.h"

struct slot {
	struct slot *next;
	struct buf bytes;	/* the command, encoded */
	struct command command; /* decoded, its slices in bytes */
	struct outcome outcome; /* once applied */
	uint64_t index, rev;	/* once applied */
	uint64_t due_ns;	/* clock_now_ns() of its pretended commit */
	struct engine_req *req; /* NULL: remote or abandoned */
	bool proposed;		/* its loop turn is over: no way back */
};

struct engine_local {
	struct engine engine;
	uv_check_t check; /* the end of a turn */
	uv_idle_t idle;	  /* active: the next turn must not sleep */
	uv_timer_t timer; /* until the first slot is due */
	unsigned n_open;  /* handles not closed yet */
	uint64_t delay_ns;
	struct slot *first, **last;
	unsigned n_slots;
	struct engine_barrier *barriers;
	struct engine_renewal *renewals;
	struct tree_applied applied;
	uint64_t time_ns; /* of the last command */
	enum engine_health health;
	uint64_t since_ns;
	void (*stopped)(void *);
	void *stopped_arg;
};

static const struct engine_ops local_ops;

static int slot_add(struct engine_local *, const struct command *,
    struct engine_req *);
static void slot_free(struct slot *);
static void turn(uv_check_t *);
static struct slot *take_due(struct engine_local *);
static void apply_all(struct engine_local *, struct slot *);
static void publish_all(struct engine_local *, struct slot *);
static void answer_barriers(struct engine_local *, int err);
static void answer_renewals(struct engine_local *, int err);
static void arm(struct engine_local *);
static void nothing(uv_idle_t *);
static void timer_fired(uv_timer_t *);
static void closed(uv_handle_t *);

static struct engine_local *
local_of(struct engine *e)
{
	assert(e->ops == &local_ops);
	return (struct engine_local *)e;
}

int
engine_local_open(uv_loop_t *loop, struct store *store, unsigned delay_ms,
    struct engine **ret)
{
	struct engine_local *l = calloc(1, sizeof(*l));
	struct store_txn *txn;
	struct tree_meta meta;

	if (l == NULL)
		return -ENOMEM;
	l->engine = (struct engine){
		.ops = &local_ops, .store = store, .self = 1, .name = "local",
	};
	l->last = &l->first;
	l->delay_ns = delay_ms * NS_PER_MS;
	l->since_ns = clock_now_ns();
	txn = store_begin(store, STORE_READ);
	tree_applied_get(txn, &l->applied);
	if (tree_meta_get(txn, &meta)) {
		l->engine.rev = meta.rev;
		l->time_ns = meta.time_ns;
	}
	store_abort(txn);

	(void)uv_check_init(loop, &l->check);
	(void)uv_idle_init(loop, &l->idle);
	(void)uv_timer_init(loop, &l->timer);
	l->n_open = 3;
	l->check.data = l->idle.data = l->timer.data = l;
	(void)uv_check_start(&l->check, turn);
	uv_unref((uv_handle_t *)&l->check);
	*ret = &l->engine;
	return 0;
}

void
engine_local_remote(struct engine *e, const struct command *c)
{
	int err = slot_add(local_of(e), c, NULL);

	assert(err == 0);
	(void)err;
}

void
engine_local_set_health(struct engine *e, enum engine_health health)
{
	struct engine_local *l = local_of(e);

	l->health = health;
	l->since_ns = clock_now_ns();
	engine_publish_status(e);
}

static int
local_submit(struct engine *e, struct engine_req *req)
{
	struct engine_local *l = local_of(e);

	if (l->health >= ENGINE_READONLY)
		return -EROFS;
	if (l->n_slots >= LIMIT_WINDOW)
		return -EAGAIN;
	req->submitted_ns = clock_now_ns();
	return slot_add(l, &req->command, req);
}

static bool
local_withdraw(struct engine *e, struct engine_req *req)
{
	struct engine_local *l = local_of(e);
	struct slot *slot = req->engine_data, **at;

	if (slot->proposed)
		return false;
	for (at = &l->first; *at != slot; at = &(*at)->next)
		assert(*at != NULL);
	*at = slot->next;
	if (l->last == &slot->next)
		l->last = at;
	l->n_slots--;
	slot_free(slot);
	return true;
}

static void
local_abandon(struct engine *e, struct engine_req *req)
{
	struct outcome interrupted = {.err = -EINTR};
	struct slot *slot = req->engine_data;

	assert(slot->req == req);
	slot->req = NULL;
	req->done(req, &interrupted);
}

static int
local_barrier(struct engine *e, struct engine_barrier *barrier)
{
	struct engine_local *l = local_of(e);
	struct engine_barrier **last = &l->barriers;

	if (l->health >= ENGINE_READONLY)
		return -EROFS;
	while (*last != NULL)
		last = &(*last)->next;
	barrier->next = NULL;
	*last = barrier;
	arm(l);
	return 0;
}

static void
local_barrier_cancel(struct engine *e, struct engine_barrier *barrier)
{
	struct engine_barrier **at = &local_of(e)->barriers;

	while (*at != NULL && *at != barrier)
		at = &(*at)->next;
	if (*at != NULL)
		*at = barrier->next;
}

/* Sessions live here as long as nobody says close: no clock ends them. */
static int
local_renew(struct engine *e, struct engine_renewal *renewal)
{
	struct engine_local *l = local_of(e);
	struct engine_renewal **last = &l->renewals;

	if (l->stopped != NULL)
		return -EROFS;
	while (*last != NULL)
		last = &(*last)->next;
	renewal->next = NULL;
	*last = renewal;
	arm(l);
	return 0;
}

static void
local_renew_cancel(struct engine *e, struct engine_renewal *renewal)
{
	struct engine_renewal **at = &local_of(e)->renewals;

	while (*at != NULL && *at != renewal)
		at = &(*at)->next;
	if (*at != NULL)
		*at = renewal->next;
}

static uint64_t
local_refreshed_ns(struct engine *e, uint64_t node)
{
	(void)e;
	(void)node;
	return 0;
}

static uint64_t
local_renewed_ns(struct engine *e, uint64_t session)
{
	(void)e;
	(void)session;
	return 0;
}

/* A test that takes its health away shall see what others see then. */
static bool
local_alone(struct engine *e)
{
	(void)e;
	return false;
}

static void
local_status(struct engine *e, struct engine_status *ret)
{
	struct engine_local *l = local_of(e);

	*ret = (struct engine_status){
		.health = l->health, .role = "leader", .leader = e->self,
		.term = 1, .commit = l->applied.index,
		.applied = l->applied.index, .rev = e->rev,
		.since_ns = l->since_ns, .n_voters = 1, .n_alive = 1,
	};
	(void)snprintf(ret->leader_name, sizeof(ret->leader_name), "%s",
	    e->name);
}

static unsigned
local_members(struct engine *e, struct engine_member *ret, unsigned max)
{
	struct engine_local *l = local_of(e);

	if (max == 0)
		return 0;
	*ret = (struct engine_member){
		.id = e->self, .role = "leader", .alive = true,
		.applied = l->applied.index, .rev = e->rev,
	};
	(void)snprintf(ret->name, sizeof(ret->name), "%s", e->name);
	return 1;
}

static bool
local_writable(struct engine *e)
{
	return local_of(e)->health < ENGINE_READONLY;
}

static void
local_report_replayed(struct engine *e, uint64_t rev)
{
	(void)e;
	(void)rev;
}

static void
local_stop(struct engine *e, void (*cb)(void *), void *arg)
{
	struct outcome refused = {.err = -EROFS};
	struct engine_local *l = local_of(e);
	struct engine_req *req;
	struct slot *slot;

	l->health = ENGINE_READONLY;
	while ((slot = l->first) != NULL) {
		l->first = slot->next;
		req = slot->req;
		slot_free(slot);
		if (req != NULL)
			req->done(req, &refused);
	}
	l->last = &l->first;
	answer_barriers(l, -EROFS);
	answer_renewals(l, -EROFS);
	l->stopped = cb;
	l->stopped_arg = arg;
	uv_close((uv_handle_t *)&l->check, closed);
	uv_close((uv_handle_t *)&l->idle, closed);
	uv_close((uv_handle_t *)&l->timer, closed);
}

static void
local_free(struct engine *e)
{
	struct engine_local *l = local_of(e);

	assert(l->n_open == 0 && l->first == NULL);
	store_close(e->store);
	free(l);
}

static const struct engine_ops local_ops = {
	.submit = local_submit,
	.withdraw = local_withdraw,
	.abandon = local_abandon,
	.barrier = local_barrier,
	.barrier_cancel = local_barrier_cancel,
	.renew = local_renew,
	.renew_cancel = local_renew_cancel,
	.refreshed_ns = local_refreshed_ns,
	.renewed_ns = local_renewed_ns,
	.alone = local_alone,
	.status = local_status,
	.members = local_members,
	.writable = local_writable,
	.report_replayed = local_report_replayed,
	.stop = local_stop,
	.free = local_free,
};

static int
slot_add(struct engine_local *l, const struct command *c,
    struct engine_req *req)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	int err;

	if (slot == NULL)
		return -ENOMEM;
	buf_init(&slot->bytes, LIMIT_COMMAND);
	command_encode(&slot->bytes, c);
	err = buf_error(&slot->bytes);
	if (err == 0)
		err = command_decode(buf_slice(&slot->bytes), &slot->command);
	if (err != 0) {
		slot_free(slot);
		return err;
	}
	slot->due_ns = clock_now_ns() + l->delay_ns;
	slot->req = req;
	if (req != NULL)
		req->engine_data = slot;
	*l->last = slot;
	l->last = &slot->next;
	l->n_slots++;
	arm(l);
	return 0;
}

static void
slot_free(struct slot *slot)
{
	outcome_fini(&slot->outcome);
	buf_fini(&slot->bytes);
	free(slot);
}

static void
turn(uv_check_t *check)
{
	struct engine_local *l = check->data;
	struct slot *batch = take_due(l);

	if (batch != NULL) {
		apply_all(l, batch);
		publish_all(l, batch);
		engine_publish_turn(&l->engine);
	}
	answer_barriers(l, 0);
	answer_renewals(l, l->health == ENGINE_OK ? 0 : -EAGAIN);
	arm(l);
}

/* The list's head as far as it is due, cut off. */
static struct slot *
take_due(struct engine_local *l)
{
	uint64_t now_ns = clock_now_ns();
	struct slot *batch = l->first, **end = &l->first, *slot;

	for (slot = l->first; slot != NULL; slot = slot->next)
		slot->proposed = true;
	while (*end != NULL && (*end)->due_ns <= now_ns) {
		end = &(*end)->next;
		l->n_slots--;
	}
	if (end == &l->first)
		return NULL;
	l->first = *end;
	if (l->first == NULL)
		l->last = &l->first;
	*end = NULL;
	return batch;
}

static void
apply_all(struct engine_local *l, struct slot *batch)
{
	struct store_txn *txn = store_begin(l->engine.store, STORE_WRITE);
	uint64_t wall_ns = clock_wall_ns(), rev = l->engine.rev;
	struct slot *slot;

	for (slot = batch; slot != NULL; slot = slot->next) {
		l->time_ns = wall_ns > l->time_ns ? wall_ns : l->time_ns + 1;
		machine_apply(txn, &slot->command, l->time_ns, &slot->outcome);
		if (slot->outcome.rev > rev)
			rev = slot->outcome.rev;
		slot->rev = rev;
		slot->index = ++l->applied.index;
	}
	l->applied.term = 1;
	tree_applied_put(txn, &l->applied);
	/* Tests run on stores that fit; nobody could be told otherwise. */
	if (store_commit(txn) != 0)
		abort();
}

/* What a callback abandons meanwhile is in the batch or in the list. */
static void
publish_all(struct engine_local *l, struct slot *batch)
{
	struct engine_applied applied;
	struct slot *slot;

	while ((slot = batch) != NULL) {
		batch = slot->next;
		applied = (struct engine_applied){
			.command = &slot->command, .outcome = &slot->outcome,
			.req = slot->req, .index = slot->index,
			.rev = slot->rev,
		};
		engine_publish(&l->engine, &applied);
		if (slot->req != NULL)
			slot->req->done(slot->req, &slot->outcome);
		slot_free(slot);
	}
}

static void
answer_barriers(struct engine_local *l, int err)
{
	struct engine_barrier *list = l->barriers, *barrier;

	l->barriers = NULL;
	while ((barrier = list) != NULL) {
		list = barrier->next;
		barrier->done(barrier, err);
	}
}

static void
answer_renewals(struct engine_local *l, int err)
{
	struct engine_renewal *r;
	unsigned n = 0;

	/* Only those that wait now: an answer may bring the next. */
	for (r = l->renewals; r != NULL; r = r->next)
		n++;
	for (; n > 0 && (r = l->renewals) != NULL; n--) {
		l->renewals = r->next;
		r->done(r, err);
	}
}

/* Sleep no longer than until the next slot is due. */
static void
arm(struct engine_local *l)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t wait_ms;

	if (l->first == NULL && l->barriers == NULL && l->renewals == NULL) {
		(void)uv_idle_stop(&l->idle);
		return;
	}
	if (l->barriers != NULL || l->renewals != NULL || !l->first->proposed ||
	    l->first->due_ns <= now_ns) {
		(void)uv_idle_start(&l->idle, nothing);
		return;
	}
	(void)uv_idle_stop(&l->idle);
	wait_ms = (l->first->due_ns - now_ns) / NS_PER_MS + 1;
	(void)uv_timer_start(&l->timer, timer_fired, wait_ms, 0);
}

static void
nothing(uv_idle_t *idle)
{
	(void)idle;
}

static void
timer_fired(uv_timer_t *timer)
{
	struct engine_local *l = timer->data;

	(void)uv_idle_start(&l->idle, nothing);
}

static void
closed(uv_handle_t *handle)
{
	struct engine_local *l = handle->data;

	if (--l->n_open == 0 && l->stopped != NULL)
		l->stopped(l->stopped_arg);
}
