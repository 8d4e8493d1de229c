/*
 * lease.c: the leader decides who has expired.
 *
 * Nobody expires by this clock alone: after the moment has passed, the leader
 * asks a majority whether it still leads, and only then proposes the end, as
 * an entry of its own that is never forwarded.  A deposed leader's proposal
 * thus never commits, and a new leader's watch begins when its own term's
 * entry is applied, after every end that could still come from before.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "group/internal.h"
#include "tree/tree.h"

/* A removal that was refused (locked, just changed) is tried again after. */
#define AGAIN_MS 500

struct batch;

static void watch_begin(struct group *);
static void watch_end(struct group *);
static void sessions_read(struct lease *, struct store_txn *);
static void delays_read(struct lease *, struct store_txn *);
static struct lease_delay *delay_find(struct lease *, uint64_t, uint64_t);
static void node_read(struct group *, struct store_txn *, uint64_t node);
static void node_arm(struct group *, uint64_t node, uint64_t ttl_ms);
static void note(struct lease *, uint64_t node);
static void tell_proposed(const struct command *);
static void collect_sessions(struct lease *, struct batch *);
static void collect_delays(struct lease *, struct batch *);
static void collect_nodes(struct group *, struct batch *);

void
lease_init(struct group *g)
{
	g->lease.looked_ns = clock_now_ns();
	renew_init(g);
}

void
lease_fini(struct group *g)
{
	struct lease *l = &g->lease;

	renew_fini(g);
	lease_table_fini(l);
	free(l->sessions);
	free(l->delays);
	free(l->changed);
}

/*
 * It stands still while this process does, and then expires nobody: those who
 * renewed meanwhile are in the queues of the sockets.  Always slower than
 * real time, so nobody expires early.
 */
uint64_t
lease_clock(struct group *g)
{
	struct lease *l = &g->lease;
	uint64_t now = clock_now_ns(), passed = now - l->looked_ns;
	uint64_t most = 2 * g->conf.heartbeat_ms * NS_PER_MS;

	l->looked_ns = now;
	l->clock_ns += passed < most ? passed : most;
	return l->clock_ns;
}

void
lease_turn(struct group *g)
{
	struct lease *l = &g->lease;
	bool leads = group_leads(g) && !g->failed;

	(void)lease_clock(g);
	if (l->term != 0 && (g->raft.state != RAFT_LEADER ||
	    l->term != g->raft.current_term))
		watch_end(g);
	if (l->term == 0 && leads)
		watch_begin(g);
	lease_follow(g);
	renew_turn(g);
}

void
lease_epoch(struct group *g)
{
	struct lease *l = &g->lease;

	if (l->term != 0 && (!g->started || g->raft.state != RAFT_LEADER ||
	    l->term != g->raft.current_term))
		watch_end(g);
	renew_epoch(g);
}

/* ---- what is watched ---- */

static void *
bigger(void *array, size_t *cap, size_t size)
{
	*cap = *cap == 0 ? 16 : 2 * *cap;
	array = realloc(array, *cap * size);
	if (array == NULL)
		abort();
	return array;
}

static void
watch_begin(struct group *g)
{
	struct lease *l = &g->lease;
	struct store_txn *txn = store_begin(g->store, STORE_READ);
	struct tree_life life;
	struct attr attr;
	uint64_t node = 0;

	l->term = g->raft.current_term;
	l->confirmed_ns = l->clock_ns;
	sessions_read(l, txn);
	delays_read(l, txn);
	l->stale = false;
	while (tree_life_next(txn, node, &node, &life)) {
		if (life.kind == LIFE_TTL && tree_node_get(txn, node, &attr) &&
		    !S_ISDIR(attr.mode))
			node_arm(g, node, life.ttl_ms);
	}
	store_abort(txn);
	log_debug("group: watching %zu sessions and %zu ttl files",
	    l->n_sessions, l->n_heap);
}

static void
watch_end(struct group *g)
{
	struct lease *l = &g->lease;

	l->term = 0;
	l->n_sessions = l->n_delays = 0;
	lease_table_unwatch(l);
	renew_epoch(g);
}

void
lease_applied(struct group *g, const struct command *c,
    const struct outcome *out)
{
	struct lease *l = &g->lease;
	struct lease_node *n;

	if (c->kind == COMMAND_session_open ||
	    c->kind == COMMAND_session_close ||
	    c->kind == COMMAND_session_expire ||
	    c->kind == COMMAND_delay_end)
		l->stale = true;
	for (unsigned i = 0; i < out->n_changes; i++) {
		const struct change *ch = &out->changes[i];

		if (ch->kind == CHANGE_GRANT || ch->kind == CHANGE_LOCKS)
			continue;
		note(l, ch->node);
		note(l, ch->node2);
	}
	if (c->kind != COMMAND_expire ||
	    (n = lease_node_find(l, c->node)) == NULL || !n->proposed)
		return;
	/* If it is gone, its change says so; else it was not to be. */
	n->proposed = false;
	n->expiry_ns = lease_clock(g) + AGAIN_MS * NS_PER_MS;
	lease_heap_put(l, n);
}

/* Looked at when the turn's transaction can be read. */
static void
note(struct lease *l, uint64_t node)
{
	if (node == 0 || (l->term == 0 && lease_node_find(l, node) == NULL))
		return;
	if (l->n_changed == l->cap_changed)
		l->changed = bigger(l->changed, &l->cap_changed,
		    sizeof(*l->changed));
	l->changed[l->n_changed++] = node;
}

void
lease_follow(struct group *g)
{
	struct lease *l = &g->lease;
	struct store_txn *txn;

	if (l->n_changed == 0 && (l->term == 0 || !l->stale))
		return;
	txn = store_begin(g->store, STORE_READ);
	if (l->term != 0 && l->stale) {
		sessions_read(l, txn);
		delays_read(l, txn);
		l->stale = false;
	}
	for (size_t i = 0; i < l->n_changed; i++)
		node_read(g, txn, l->changed[i]);
	l->n_changed = 0;
	store_abort(txn);
}

/* New ones get a full ttl, others keep what they have. */
static void
sessions_read(struct lease *l, struct store_txn *txn)
{
	struct tree_session ts = {0};
	size_t n = 0;

	for (size_t i = 0; i < l->n_sessions; i++)
		l->sessions[i].seen = false;
	while (tree_session_next(txn, ts.id, &ts)) {
		struct lease_session *s = lease_session_find(l, ts.id);

		if (s != NULL) {
			s->seen = true;
			continue;
		}
		if (l->n_sessions == l->cap_sessions)
			l->sessions = bigger(l->sessions, &l->cap_sessions,
			    sizeof(*s));
		s = &l->sessions[l->n_sessions++];
		*s = (struct lease_session){.id = ts.id, .host = ts.host,
		    .suspended = ts.suspended, .seen = true};
		s->ttl_ns = (ts.ttl_ms != 0 ? ts.ttl_ms : LEASE_TTL_MS) *
		    NS_PER_MS;
		s->expiry_ns = l->clock_ns + s->ttl_ns;
	}
	for (size_t i = 0; i < l->n_sessions; i++) {
		if (l->sessions[i].seen)
			l->sessions[n++] = l->sessions[i];
	}
	l->n_sessions = n;
}

/* The same for locks that outlive a lost session. */
static void
delays_read(struct lease *l, struct store_txn *txn)
{
	struct tree_lock lock = {0};
	uint64_t node = 0;
	size_t n = 0;

	for (size_t i = 0; i < l->n_delays; i++)
		l->delays[i].seen = false;
	while (tree_lock_delayed_next(txn, node, lock.ordinal, &node, &lock)) {
		struct lease_delay *d = delay_find(l, node, lock.ordinal);

		if (d != NULL) {
			d->seen = true;
			continue;
		}
		if (l->n_delays == l->cap_delays)
			l->delays = bigger(l->delays, &l->cap_delays,
			    sizeof(*d));
		l->delays[l->n_delays++] = (struct lease_delay){
		    .node = node,
		    .ordinal = lock.ordinal,
		    .expiry_ns = l->clock_ns + lock.delay_ms * NS_PER_MS,
		    .seen = true};
	}
	for (size_t i = 0; i < l->n_delays; i++) {
		if (l->delays[i].seen)
			l->delays[n++] = l->delays[i];
	}
	l->n_delays = n;
}

static struct lease_delay *
delay_find(struct lease *l, uint64_t node, uint64_t ordinal)
{
	for (size_t i = 0; i < l->n_delays; i++) {
		if (l->delays[i].node == node &&
		    l->delays[i].ordinal == ordinal)
			return &l->delays[i];
	}
	return NULL;
}

/* A commit is a refresh; it may also have given or taken a ttl, or the node. */
static void
node_read(struct group *g, struct store_txn *txn, uint64_t node)
{
	struct lease *l = &g->lease;
	struct lease_node *n;
	struct tree_life life;
	struct attr attr;

	if (tree_life_get(txn, node, &life) && life.kind == LIFE_TTL &&
	    tree_node_get(txn, node, &attr) && !S_ISDIR(attr.mode)) {
		if (l->term != 0)
			node_arm(g, node, life.ttl_ms);
		return;
	}
	n = lease_node_find(l, node);
	if (n != NULL)
		lease_node_del(l, n);
}

static void
node_arm(struct group *g, uint64_t node, uint64_t ttl_ms)
{
	struct lease *l = &g->lease;
	struct lease_node *n = lease_node_add(l, node);

	n->ttl_ns = ttl_ms * NS_PER_MS;
	n->expiry_ns = l->clock_ns + n->ttl_ns + LEASE_GRACE_MS * NS_PER_MS;
	n->proposed = false;
	lease_heap_put(l, n);
}

struct lease_session *
lease_session_find(struct lease *l, uint64_t id)
{
	for (size_t i = 0; i < l->n_sessions; i++) {
		if (l->sessions[i].id == id)
			return &l->sessions[i];
	}
	return NULL;
}

bool
lease_refresh(struct group *g, uint64_t node)
{
	struct lease *l = &g->lease;
	struct lease_node *n = lease_node_find(l, node);
	uint64_t wall;

	if (n == NULL || n->ttl_ns == 0)
		return true;
	if (n->proposed)
		return false;
	n->expiry_ns = l->clock_ns + n->ttl_ns + LEASE_GRACE_MS * NS_PER_MS;
	wall = clock_wall_ns();
	if (wall > n->wall_ns)
		n->wall_ns = wall;
	lease_node_dirty(l, n);
	return true;
}

/* ---- what has expired ---- */

/* Is there anybody to ask a majority for? */
bool
lease_due(struct group *g)
{
	struct lease *l = &g->lease;
	struct lease_node *n = lease_heap_first(l, l->clock_ns);

	if (n != NULL && n->expiry_ns > l->confirmed_ns)
		return true;
	for (size_t i = 0; i < l->n_sessions; i++) {
		struct lease_session *s = &l->sessions[i];

		if (!s->proposed && s->expiry_ns <= l->clock_ns &&
		    s->expiry_ns > l->confirmed_ns)
			return true;
	}
	for (size_t i = 0; i < l->n_delays; i++) {
		struct lease_delay *d = &l->delays[i];

		if (!d->proposed && d->expiry_ns <= l->clock_ns &&
		    d->expiry_ns > l->confirmed_ns)
			return true;
	}
	return false;
}

struct batch {
	struct command commands[LEASE_BATCH];
	bool *flags[LEASE_BATCH];    /* to turn, once it is in our log */
	struct lease_node *nodes[LEASE_BATCH]; /* out of the heap; or NULL */
	unsigned n;
};

/* Everybody whose moment lies before one at which we surely led. */
void
lease_propose(struct group *g)
{
	struct lease *l = &g->lease;
	struct batch b;

	if (!group_leads(g) || l->term != g->raft.current_term)
		return;
	b.n = 0;
	collect_sessions(l, &b);
	collect_delays(l, &b);
	collect_nodes(g, &b);
	if (b.n == 0)
		return;
	if (forward_lead(g, b.commands, b.n) != 0) {
		for (unsigned i = 0; i < b.n; i++) {
			if (b.nodes[i] != NULL)
				lease_heap_put(l, b.nodes[i]);
		}
		return; /* the tick tries again */
	}
	for (unsigned i = 0; i < b.n; i++) {
		*b.flags[i] = !*b.flags[i];
		tell_proposed(&b.commands[i]);
	}
	if (b.n == LEASE_BATCH)
		group_wake(g);
}

static void
tell_proposed(const struct command *c)
{
	unsigned long long id = c->node;

	switch (c->kind) {
	case COMMAND_expire:
		metric_add(METRIC_files_expired, 1);
		break;
	case COMMAND_session_expire:
		metric_add(METRIC_sessions_expired, 1);
		log_info("group: session %016llx was not renewed, it ends", id);
		break;
	case COMMAND_suspend:
		log_info("group: session %016llx is silent, it may end", id);
		break;
	case COMMAND_resume:
		log_info("group: session %016llx is heard of again", id);
		break;
	default:
		break;
	}
}

static void
batch_add(struct batch *b, enum command_kind kind, uint64_t node,
    uint64_t expect, bool *flag)
{
	b->commands[b->n] = (struct command){.kind = kind,
	    .node = node,
	    .expect = expect};
	b->flags[b->n] = flag;
	b->nodes[b->n] = NULL;
	b->n++;
}

/* Two renewals in a row have not come: they are sent each third of a ttl.  It
 * is only told (nodes/), so nobody needs to be asked whether we lead. */
static bool
is_silent(const struct lease *l, const struct lease_session *s)
{
	return s->expiry_ns <= l->clock_ns + s->ttl_ns / 3;
}

static void
collect_sessions(struct lease *l, struct batch *b)
{
	for (size_t i = 0; i < l->n_sessions && b->n < LEASE_BATCH; i++) {
		struct lease_session *s = &l->sessions[i];

		if (s->proposed)
			continue;
		if (s->expiry_ns <= l->confirmed_ns)
			batch_add(b, COMMAND_session_expire, s->id, 0,
			    &s->proposed);
		else if (s->suspended && s->heard)
			batch_add(b, COMMAND_resume, s->id, 0, &s->suspended);
		else if (!s->suspended && is_silent(l, s)) {
			s->heard = false;
			batch_add(b, COMMAND_suspend, s->id, 0, &s->suspended);
		}
	}
}

static void
collect_delays(struct lease *l, struct batch *b)
{
	for (size_t i = 0; i < l->n_delays && b->n < LEASE_BATCH; i++) {
		struct lease_delay *d = &l->delays[i];

		if (!d->proposed && d->expiry_ns <= l->confirmed_ns)
			batch_add(b, COMMAND_delay_end, d->node, d->ordinal,
			    &d->proposed);
	}
}

static void
collect_nodes(struct group *g, struct batch *b)
{
	struct lease *l = &g->lease;
	struct store_txn *txn = NULL;
	struct tree_lock lock;
	struct lease_node *n;
	struct attr attr;

	while (b->n < LEASE_BATCH &&
	    (n = lease_heap_first(l, l->confirmed_ns)) != NULL) {
		if (txn == NULL)
			txn = store_begin(g->store, STORE_READ);
		if (!tree_node_get(txn, n->node, &attr)) {
			lease_node_del(l, n);
			continue;
		}
		lease_heap_del(l, n);
		if (tree_lock_next(txn, n->node, 0, &lock)) {
			/* Refused as long as that is so: not asked. */
			n->expiry_ns = l->clock_ns + AGAIN_MS * NS_PER_MS;
			lease_heap_put(l, n);
			continue;
		}
		batch_add(b, COMMAND_expire, n->node, attr.attr_rev,
		    &n->proposed);
		b->nodes[b->n - 1] = n;
	}
	store_abort(txn);
}
