/*
 * renew.c: renewals on their way to the leader, and its answers.
 *
 * A renewal takes effect at the leader when it arrives.  It is acknowledged
 * when a question to the voters, begun after that, has shown that this leader
 * still led: whoever leads later then gives a full ttl from a later moment.
 * One question serves all that arrived before it.  Nothing is retried here
 * except over a change of leader; the session does it.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metric.h"
#include "group/internal.h"
#include "tree/tree.h"

/* Of other members, at the leader, not answered. */
#define RENEWALS_THEIRS 1024
/* No answer for so long: the session tries again. */
#define RENEW_WAIT_MS 1000
/* Refreshes in one frame to the others; what is left waits for the next. */
#define TELL_NODES 4096
#define TELL_FRAMES 16
/* Refresh times that a host keeps. */
#define TOLD_MAX (1u << 18)

struct group_renewal {
	TAILQ_ENTRY(group_renewal) link;
	struct renewal_list *list; /* where it is */
	void *cookie;		   /* own ones */
	struct member *from;	   /* who asks us; NULL: own */
	uint64_t id;		   /* its number, from its host */
	uint64_t session;
	const uint64_t *nodes;	   /* own ones; borrowed */
	unsigned n_nodes;
	uint64_t since_ns;	   /* clock_now_ns() when it was sent */
	int err;		   /* what is to be answered, if we led */
};

static void move(struct group_renewal *, struct renewal_list *);
static void renewal_free(struct group *, struct group_renewal *);
static void end(struct group *, struct group_renewal *, int err);
static void end_all(struct group *, struct renewal_list *, int err);
static void tell_times(struct group *);
static int send_to(struct group *, struct member *, struct group_renewal *);
static int arrive(struct group *, struct group_renewal *, struct reader *);
static void ask(struct group *);
static int verdict(struct group *, struct group_renewal *);
static void recv_renew(struct group *, struct member *, struct reader *);
static void recv_reply(struct group *, struct member *, struct reader *);
static void recv_refreshed(struct group *, struct member *, struct reader *);

void
renew_init(struct group *g)
{
	TAILQ_INIT(&g->lease.fresh);
	TAILQ_INIT(&g->lease.sent);
	TAILQ_INIT(&g->lease.arrived);
	TAILQ_INIT(&g->lease.confirming);
	TAILQ_INIT(&g->lease.answered);
	g->lease.last_id = clock_now_ns(); /* as in readindex.c */
}

void
renew_fini(struct group *g)
{
	struct lease *l = &g->lease;
	struct renewal_list *lists[] = {&l->fresh, &l->sent, &l->arrived,
	    &l->confirming, &l->answered};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!TAILQ_EMPTY(lists[i]))
			renewal_free(g, TAILQ_FIRST(lists[i]));
	}
}

int
group_renew(struct group *g, uint64_t session, const uint64_t *nodes,
    unsigned n, void *cookie, struct group_renewal **ret)
{
	struct group_renewal *r;

	assert(cookie != NULL && n <= GROUP_RENEW_NODES);
	if (!g->started || g->closing || g->failed)
		return -EROFS;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -EAGAIN;
	*r = (struct group_renewal){.cookie = cookie,
	    .session = session,
	    .nodes = nodes,
	    .n_nodes = n,
	    .id = ++g->lease.last_id,
	    .list = &g->lease.fresh,
	    .since_ns = clock_now_ns()};
	TAILQ_INSERT_TAIL(r->list, r, link);
	group_wake(g);
	*ret = r;
	return 0;
}

void
group_renew_cancel(struct group *g, struct group_renewal *r)
{
	assert(r->from == NULL);
	renewal_free(g, r);
}

uint64_t
group_refreshed_ns(struct group *g, uint64_t node)
{
	struct lease_node *n = lease_node_find(&g->lease, node);

	return n == NULL ? 0 : n->wall_ns;
}

uint64_t
group_renewed_ns(struct group *g, uint64_t session)
{
	struct lease *l = &g->lease;
	struct lease_session *s = lease_session_find(l, session);
	uint64_t left;

	if (l->term == 0 || s == NULL)
		return 0;
	left = s->expiry_ns > l->clock_ns ? s->expiry_ns - l->clock_ns : 0;
	return clock_now_ns() - s->ttl_ns + left;
}

static void
move(struct group_renewal *r, struct renewal_list *to)
{
	TAILQ_REMOVE(r->list, r, link);
	r->list = to;
	TAILQ_INSERT_TAIL(to, r, link);
}

static void
renewal_free(struct group *g, struct group_renewal *r)
{
	if (r->from != NULL)
		g->lease.n_theirs--;
	TAILQ_REMOVE(r->list, r, link);
	free(r);
}

static void
answer(struct group *g, struct member *m, uint64_t id, int err)
{
	struct buf *b = &g->io.frame;

	frame_begin(g, b);
	buf_u64(b, id);
	buf_u32(b, (uint32_t)-err);
	(void)frame_send(g, m, FRAME_RENEW_REPLY, b);
}

static void
end(struct group *g, struct group_renewal *r, int err)
{
	if (r->from != NULL) {
		answer(g, r->from, r->id, err);
		renewal_free(g, r);
		return;
	}
	r->err = err;
	move(r, &g->lease.answered);
	group_wake(g);
}

static void
tell_answers(struct group *g)
{
	struct group_renewal *r;

	while ((r = TAILQ_FIRST(&g->lease.answered)) != NULL) {
		void *cookie = r->cookie;
		int err = r->err;

		renewal_free(g, r);
		g->ops->renewed(g->ops_arg, cookie, err);
	}
}

static void
end_all(struct group *g, struct renewal_list *list, int err)
{
	struct group_renewal *r;

	while ((r = TAILQ_FIRST(list)) != NULL)
		end(g, r, err);
}

/* ---- from here to the leader ---- */

void
renew_turn(struct group *g)
{
	struct lease *l = &g->lease;
	struct member *leader = group_leader(g);
	struct group_renewal *r;

	while ((r = TAILQ_FIRST(&l->fresh)) != NULL) {
		if (l->term != 0) {
			move(r, &l->arrived);
			r->err = arrive(g, r, NULL);
		} else if (leader == NULL || leader->self ||
		    send_to(g, leader, r) != 0) {
			end(g, r, -EAGAIN);
		} else {
			move(r, &l->sent);
		}
	}
	ask(g);
	tell_times(g);
	tell_answers(g);
}

static int
send_to(struct group *g, struct member *leader, struct group_renewal *r)
{
	struct buf *b = &g->io.frame;

	frame_begin(g, b);
	buf_u64(b, r->id);
	buf_u64(b, r->session);
	buf_u32(b, r->n_nodes);
	for (unsigned i = 0; i < r->n_nodes; i++)
		buf_u64(b, r->nodes[i]);
	r->since_ns = clock_now_ns();
	return frame_send(g, leader, FRAME_RENEW, b);
}

void
renew_tick(struct group *g)
{
	struct lease *l = &g->lease;
	uint64_t now = clock_now_ns();
	struct group_renewal *r;

	while ((r = TAILQ_FIRST(&l->sent)) != NULL &&
	    now - r->since_ns > RENEW_WAIT_MS * NS_PER_MS)
		end(g, r, -EAGAIN);
}

/* Own ones go to the new leader; others' hosts do the same with theirs. */
void
renew_epoch(struct group *g)
{
	struct lease *l = &g->lease;
	struct renewal_list *lists[] = {&l->sent, &l->arrived, &l->confirming};
	struct group_renewal *r, *next;

	if (l->confirm != NULL && l->term == 0) {
		group_read_cancel(g, l->confirm);
		l->confirm = NULL;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (l->term != 0 && lists[i] != &l->sent)
			break;
		for (r = TAILQ_FIRST(lists[i]); r != NULL; r = next) {
			next = TAILQ_NEXT(r, link);
			if (r->from != NULL)
				end(g, r, -EAGAIN);
			else
				move(r, &l->fresh);
		}
	}
	group_wake(g);
}

void
renew_fail(struct group *g)
{
	struct lease *l = &g->lease;

	if (l->confirm != NULL)
		group_read_cancel(g, l->confirm);
	l->confirm = NULL;
	end_all(g, &l->fresh, -EROFS);
	end_all(g, &l->sent, -EROFS);
	end_all(g, &l->arrived, -EROFS);
	end_all(g, &l->confirming, -EROFS);
	tell_answers(g);
}

/* ---- at the leader ---- */

static bool
owns(const struct group *g, const struct group_renewal *r,
    const struct lease_session *s)
{
	return s != NULL && s->host ==
	    (r->from != NULL ? r->from->conf.id : g->conf.self);
}

/* theirs: the nodes, still in the frame.  What to answer if we still lead. */
static int
arrive(struct group *g, struct group_renewal *r, struct reader *theirs)
{
	struct lease *l = &g->lease;
	struct lease_session *s = lease_session_find(l, r->session);
	int err = 0;

	if (!owns(g, r, s) || s->proposed)
		return 0; /* the verdict comes later */
	s->expiry_ns = lease_clock(g) + s->ttl_ns;
	s->heard = true;
	for (unsigned i = 0; i < r->n_nodes; i++) {
		uint64_t node = theirs != NULL ? reader_u64(theirs)
					       : r->nodes[i];

		if (!lease_refresh(g, node))
			err = -EAGAIN;
	}
	metric_add(METRIC_renewals, 1);
	metric_add(METRIC_refreshes, r->n_nodes);
	return err;
}

static void
ask(struct group *g)
{
	struct lease *l = &g->lease;
	struct group_renewal *r;

	if (l->term == 0 || l->confirm != NULL || g->transferring ||
	    !group_leads(g) || (TAILQ_EMPTY(&l->arrived) && !lease_due(g)))
		return;
	l->confirm = readindex_confirm(g);
	if (l->confirm == NULL)
		return;
	l->asked_ns = l->clock_ns;
	while ((r = TAILQ_FIRST(&l->arrived)) != NULL)
		move(r, &l->confirming);
}

void
renew_confirmed(struct group *g, int err)
{
	struct lease *l = &g->lease;
	struct group_renewal *r;

	l->confirm = NULL;
	lease_follow(g);
	if (l->term == 0 || l->term != g->raft.current_term ||
	    !group_leads(g))
		err = -EAGAIN;
	if (err == 0)
		l->confirmed_ns = l->asked_ns;
	while ((r = TAILQ_FIRST(&l->confirming)) != NULL)
		end(g, r, err != 0 ? -EAGAIN : verdict(g, r));
	group_wake(g);
}

/* Everything committed when it arrived is published here by now. */
static int
verdict(struct group *g, struct group_renewal *r)
{
	struct lease_session *s = lease_session_find(&g->lease, r->session);

	if (!owns(g, r, s))
		return -ESTALE;
	return s->proposed ? -EAGAIN : r->err;
}

/* ---- frames ---- */

void
renew_frame(struct group *g, struct member *m, enum group_frame type,
    struct reader *r)
{
	if (type == FRAME_RENEW)
		recv_renew(g, m, r);
	else if (type == FRAME_RENEW_REPLY)
		recv_reply(g, m, r);
	else
		recv_refreshed(g, m, r);
}

static void
recv_renew(struct group *g, struct member *m, struct reader *reader)
{
	struct lease *l = &g->lease;
	struct group_renewal *r, got = {.from = m};

	got.id = reader_u64(reader);
	got.session = reader_u64(reader);
	got.n_nodes = reader_u32(reader);
	if (!reader_ok(reader) || got.n_nodes > GROUP_RENEW_NODES ||
	    reader_left(reader) != got.n_nodes * sizeof(uint64_t))
		return;
	if (l->term == 0 || l->term != g->raft.current_term ||
	    g->raft.state != RAFT_LEADER ||
	    l->n_theirs >= RENEWALS_THEIRS ||
	    (r = malloc(sizeof(*r))) == NULL) {
		answer(g, m, got.id, -EAGAIN);
		return;
	}
	*r = got;
	l->n_theirs++;
	r->list = &l->arrived;
	TAILQ_INSERT_TAIL(r->list, r, link);
	r->err = arrive(g, r, reader);
	group_wake(g);
}

static void
recv_reply(struct group *g, struct member *m, struct reader *reader)
{
	uint64_t id = reader_u64(reader);
	uint32_t err = reader_u32(reader);
	struct group_renewal *r;

	if (!reader_done(reader))
		return;
	TAILQ_FOREACH(r, &g->lease.sent, link) {
		if (r->id == id)
			break;
	}
	/* Who answers was the leader when we sent it: see renew_epoch(). */
	if (r == NULL || m != group_leader(g))
		return;
	end(g, r, err == 0 ? 0 : err == ESTALE ? -ESTALE : -EAGAIN);
}

/* ---- when files were refreshed ---- */

static void
tell_times(struct group *g)
{
	struct lease *l = &g->lease;
	struct buf *b = &g->io.frame;
	uint64_t now = clock_now_ns();
	struct lease_node *n;

	if ((l->dirty == NULL && l->tell_all == 0) || l->term == 0 ||
	    now - l->told_ns < LEASE_TELL_MS * NS_PER_MS)
		return;
	if (l->tell_all > 0) {
		l->tell_all--;
		lease_table_dirty(l);
	}
	l->told_ns = now;
	for (unsigned f = 0; f < TELL_FRAMES && l->dirty != NULL; f++) {
		uint32_t count = 0;

		frame_begin(g, b);
		buf_u32(b, 0);
		while (count < TELL_NODES && (n = l->dirty) != NULL) {
			l->dirty = n->next_dirty;
			n->dirty = false;
			buf_u64(b, n->node);
			buf_u64(b, n->wall_ns);
			count++;
		}
		buf_put_u32_at(b, FRAME_HEADER_LEN, count);
		for (unsigned i = 0; i < g->n_members; i++) {
			if (!g->members[i].self)
				(void)frame_send(g, &g->members[i],
				    FRAME_REFRESHED, b);
		}
	}
}

static void
recv_refreshed(struct group *g, struct member *m, struct reader *reader)
{
	struct lease *l = &g->lease;
	struct store_txn *txn = NULL;
	uint32_t count = reader_u32(reader);

	if (count > TELL_NODES || reader_left(reader) != count * 16 ||
	    !g->started || m->leads == 0 || m->leads != g->raft.current_term)
		return;
	while (count-- > 0) {
		uint64_t node = reader_u64(reader);
		uint64_t wall_ns = reader_u64(reader);
		struct lease_node *n = lease_node_find(l, node);
		struct tree_life life;

		/* A name that died on the way shall not stay here for ever. */
		if (n == NULL && HASH_COUNT(l->nodes) < TOLD_MAX) {
			if (txn == NULL)
				txn = store_begin(g->store, STORE_READ);
			if (tree_life_get(txn, node, &life) &&
			    life.kind == LIFE_TTL)
				n = lease_node_add(l, node);
		}
		if (n != NULL && wall_ns > n->wall_ns)
			n->wall_ns = wall_ns;
	}
	store_abort(txn);
}
