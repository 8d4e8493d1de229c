/*
 * keep.c: the session is renewed, and its end is known here first.
 *
 * The deadline runs from before a renewal was sent; the leader's ttl runs from
 * when it arrived, by a clock that is never faster.  A margin for the drift
 * between two hosts' clocks, and whoever takes our locks later does so after
 * we have given them up.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "session/session_internal.h"

#define MARGIN_MIN_MS 100
/* Refreshes are collected for that long before they travel. */
#define FLUSH_MS 50
/* Refreshed files that wait for a leader. */
#define NODES_MAX (1u << 18)

static bool dispatch(struct session *, struct flight *);
static void beat(struct session *, uint64_t now);
static void flush(struct session *, uint64_t now);
static void flight_done(struct engine_renewal *, int err);
static void cancel(struct session *, struct flight *);
static bool nodes_add(struct keep *, uint64_t node);
static unsigned nodes_take(struct keep *, uint64_t *ret, unsigned max);

void
keep_init(struct session *s, uint32_t ttl_ms)
{
	struct keep *k = &s->keep;

	k->ttl_ns = ttl_ms * NS_PER_MS;
	k->margin_ns = k->ttl_ns / 10;
	if (k->margin_ns < MARGIN_MIN_MS * NS_PER_MS)
		k->margin_ns = MARGIN_MIN_MS * NS_PER_MS;
	assert(k->ttl_ns > k->margin_ns);
	for (unsigned i = 0; i < KEEP_BEATS; i++)
		k->beats[i].session = s;
	for (unsigned i = 0; i < KEEP_BATCHES; i++)
		k->batches[i].session = s;
}

void
keep_fini(struct session *s)
{
	struct refreshed *r, *next;

	for (unsigned i = 0; i < KEEP_BATCHES; i++)
		free(s->keep.batches[i].nodes);
	HASH_ITER (hh, s->keep.nodes, r, next) {
		HASH_DEL(s->keep.nodes, r);
		free(r);
	}
}

void
keep_begin(struct session *s)
{
	struct keep *k = &s->keep;

	k->deadline_ns = s->opened_ns + k->ttl_ns - k->margin_ns;
	k->renew_ns = k->flush_ns = clock_now_ns();
}

/* What was refreshed and not confirmed travels with the next session. */
void
keep_end(struct session *s)
{
	struct keep *k = &s->keep;

	for (unsigned i = 0; i < KEEP_BEATS; i++)
		cancel(s, &k->beats[i]);
	for (unsigned i = 0; i < KEEP_BATCHES; i++)
		cancel(s, &k->batches[i]);
}

void
keep_hurry(struct session *s)
{
	struct keep *k = &s->keep;
	uint64_t now = clock_now_ns();

	if (s->ready && k->deadline_ns < now + k->ttl_ns * 2 / 3)
		k->renew_ns = now;
}

bool
keep_late(const struct session *s)
{
	return s->ready && clock_now_ns() >= s->keep.deadline_ns &&
	    !engine_alone(s->engine);
}

uint64_t
keep_run(struct session *s)
{
	struct keep *k = &s->keep;
	uint64_t now = clock_now_ns(), next;

	if (keep_late(s)) {
		log_warn("session: %016llx was not renewed for %llu ms, what "
		    "it held is given up", (unsigned long long)s->id,
		    (unsigned long long)((k->ttl_ns - k->margin_ns) /
		    NS_PER_MS));
		session_lose(s);
	}
	if (!s->ready)
		return 0;
	if (now >= k->renew_ns)
		beat(s, now);
	if (k->nodes != NULL && now >= k->flush_ns)
		flush(s, now);
	next = k->renew_ns;
	if (k->deadline_ns > now && k->deadline_ns < next)
		next = k->deadline_ns;
	if (k->nodes != NULL && k->flush_ns < next)
		next = k->flush_ns;
	return next;
}

static uint64_t
backoff_ns(const struct keep *k)
{
	uint64_t ns = k->ttl_ns / 20;

	return ns < 10 * NS_PER_MS ? 10 * NS_PER_MS :
	    ns > 100 * NS_PER_MS ? 100 * NS_PER_MS : ns;
}

static bool
dispatch(struct session *s, struct flight *f)
{
	f->renewal.session = s->id;
	f->renewal.nodes = f->nodes;
	f->renewal.done = flight_done;
	f->sent_ns = clock_now_ns();
	f->busy = engine_renew(s->engine, &f->renewal) == 0;
	return f->busy;
}

static void
beat(struct session *s, uint64_t now)
{
	struct keep *k = &s->keep;
	struct flight *f = &k->beats[k->next_beat];

	k->next_beat = (k->next_beat + 1) % KEEP_BEATS;
	cancel(s, f);
	k->renew_ns = now + (dispatch(s, f) ? k->ttl_ns / 3 : backoff_ns(k));
}

static void
flush(struct session *s, uint64_t now)
{
	struct keep *k = &s->keep;

	k->flush_ns = now + FLUSH_MS * NS_PER_MS;
	for (unsigned i = 0; i < KEEP_BATCHES && k->nodes != NULL; i++) {
		struct flight *f = &k->batches[i];

		if (f->busy)
			continue;
		if (f->nodes == NULL)
			f->nodes = malloc(ENGINE_RENEW_NODES *
			    sizeof(*f->nodes));
		if (f->nodes == NULL)
			return;
		f->renewal.n_nodes = nodes_take(k, f->nodes,
		    ENGINE_RENEW_NODES);
		if (!dispatch(s, f)) {
			cancel(s, f);
			return;
		}
	}
}

static void
flight_done(struct engine_renewal *renewal, int err)
{
	struct flight *f = (struct flight *)((char *)renewal -
	    offsetof(struct flight, renewal));
	struct session *s = f->session;
	struct keep *k = &s->keep;
	uint64_t deadline = f->sent_ns + k->ttl_ns - k->margin_ns;

	assert(f->busy && s->ready && renewal->session == s->id);
	f->busy = false;
	if (err == 0) {
		renewal->n_nodes = 0;
		if (deadline > k->deadline_ns && !keep_late(s))
			k->deadline_ns = deadline;
		return;
	}
	cancel(s, f);
	if (err == -ESTALE) {
		log_warn("session: %016llx has ended, a new one begins",
		    (unsigned long long)s->id);
		session_lose(s);
		return;
	}
	if (f->nodes == NULL) {
		uint64_t again = clock_now_ns() + backoff_ns(k);

		if (again < k->renew_ns)
			k->renew_ns = again;
	}
	session_wake(s);
}

/* The files it carried wait again. */
static void
cancel(struct session *s, struct flight *f)
{
	if (f->busy)
		engine_renew_cancel(s->engine, &f->renewal);
	f->busy = false;
	for (unsigned i = 0; i < f->renewal.n_nodes; i++)
		(void)nodes_add(&s->keep, f->nodes[i]);
	f->renewal.n_nodes = 0;
}

/* ---- what session.h promises ---- */

bool
session_lost(const struct session *s)
{
	return s->lost || keep_late(s);
}

uint64_t
session_deadline_ns(const struct session *s)
{
	uint64_t alone;

	if (!s->ready)
		return 0;
	alone = clock_now_ns() + s->keep.ttl_ns - s->keep.margin_ns;
	return engine_alone(s->engine) ? alone : s->keep.deadline_ns;
}

uint64_t
session_renewed_ns(const struct session *s)
{
	const struct keep *k = &s->keep;

	return s->ready ? k->deadline_ns - (k->ttl_ns - k->margin_ns) : 0;
}

int
session_refresh(struct session *s, uint64_t node)
{
	assert(node != 0);
	if (!s->ready || session_lost(s))
		return -EROFS;
	if (!nodes_add(&s->keep, node))
		return -EAGAIN;
	session_wake(s);
	return 0;
}

/* ---- refreshed files that wait ---- */

static bool
nodes_add(struct keep *k, uint64_t node)
{
	struct refreshed *r;

	HASH_FIND(hh, k->nodes, &node, sizeof(node), r);
	if (r != NULL)
		return true;
	if (HASH_COUNT(k->nodes) >= NODES_MAX ||
	    (r = malloc(sizeof(*r))) == NULL)
		return false;
	r->node = node;
	HASH_ADD(hh, k->nodes, node, sizeof(r->node), r);
	return true;
}

/* Those that wait longest. */
static unsigned
nodes_take(struct keep *k, uint64_t *ret, unsigned max)
{
	struct refreshed *r;
	unsigned n = 0;

	while (n < max && (r = k->nodes) != NULL) {
		ret[n++] = r->node;
		HASH_DEL(k->nodes, r);
		free(r);
	}
	return n;
}
