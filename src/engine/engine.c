/*
 * engine.c: from the interface to the backend, and back to subscribers.
 */
#include "config.h"

#include "engine/engine.h"

#include <assert.h>

#include "engine/engine_internal.h"

int
engine_submit(struct engine *e, struct engine_req *req)
{
	assert(req->done != NULL);
	return e->ops->submit(e, req);
}

bool
engine_withdraw(struct engine *e, struct engine_req *req)
{
	return e->ops->withdraw(e, req);
}

void
engine_abandon(struct engine *e, struct engine_req *req)
{
	e->ops->abandon(e, req);
}

int
engine_barrier(struct engine *e, struct engine_barrier *barrier)
{
	assert(barrier->done != NULL);
	return e->ops->barrier(e, barrier);
}

void
engine_barrier_cancel(struct engine *e, struct engine_barrier *barrier)
{
	e->ops->barrier_cancel(e, barrier);
}

int
engine_renew(struct engine *e, struct engine_renewal *renewal)
{
	assert(renewal->done != NULL);
	assert(renewal->n_nodes <= ENGINE_RENEW_NODES);
	return e->ops->renew(e, renewal);
}

void
engine_renew_cancel(struct engine *e, struct engine_renewal *renewal)
{
	e->ops->renew_cancel(e, renewal);
}

uint64_t
engine_refreshed_ns(struct engine *e, uint64_t node)
{
	return e->ops->refreshed_ns(e, node);
}

uint64_t
engine_renewed_ns(struct engine *e, uint64_t session)
{
	return e->ops->renewed_ns(e, session);
}

bool
engine_alone(struct engine *e)
{
	return e->ops->alone(e);
}

struct store *
engine_store(struct engine *e)
{
	return e->store;
}

void
engine_status(struct engine *e, struct engine_status *ret)
{
	e->ops->status(e, ret);
}

unsigned
engine_members(struct engine *e, struct engine_member *ret, unsigned max)
{
	return e->ops->members(e, ret, max);
}

uint64_t
engine_rev(struct engine *e)
{
	return e->rev;
}

uint64_t
engine_self(struct engine *e)
{
	return e->self;
}

const char *
engine_name(struct engine *e)
{
	return e->name;
}

bool
engine_writable(struct engine *e)
{
	return e->ops->writable(e);
}

void
engine_report_replayed(struct engine *e, uint64_t rev)
{
	e->ops->report_replayed(e, rev);
}

/* At the end: who subscribed first hears first. */
void
engine_subscribe(struct engine *e, struct engine_subscriber *sub)
{
	struct engine_subscriber **last = &e->subscribers;

	while (*last != NULL)
		last = &(*last)->next;
	sub->next = NULL;
	*last = sub;
}

void
engine_unsubscribe(struct engine *e, struct engine_subscriber *sub)
{
	struct engine_subscriber **at = &e->subscribers;

	while (*at != NULL && *at != sub)
		at = &(*at)->next;
	if (*at != NULL)
		*at = sub->next;
}

void
engine_stop(struct engine *e, void (*cb)(void *), void *arg)
{
	e->ops->stop(e, cb, arg);
}

void
engine_free(struct engine *e)
{
	if (e != NULL)
		e->ops->free(e);
}

void
engine_publish(struct engine *e, const struct engine_applied *applied)
{
	struct engine_subscriber *sub;

	assert(applied->rev >= e->rev);
	e->rev = applied->rev;
	for (sub = e->subscribers; sub != NULL; sub = sub->next) {
		if (sub->applied != NULL)
			sub->applied(sub, applied);
	}
}

void
engine_publish_turn(struct engine *e)
{
	struct engine_subscriber *sub;

	for (sub = e->subscribers; sub != NULL; sub = sub->next) {
		if (sub->turn != NULL)
			sub->turn(sub);
	}
}

void
engine_publish_status(struct engine *e)
{
	struct engine_subscriber *sub;
	struct engine_status status;

	e->ops->status(e, &status);
	for (sub = e->subscribers; sub != NULL; sub = sub->next) {
		if (sub->status != NULL)
			sub->status(sub, &status);
	}
}
