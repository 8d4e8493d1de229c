/*
 * member.c: the other members: their frames, whether they live, what they say.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "group/internal.h"

static void net_frame(void *, uint64_t, uint8_t, struct slice);
static void net_up(void *, uint64_t);
static void net_down(void *, uint64_t, int);
static void gossip_send(struct group *);
static void gossip_recv(struct member *, struct reader *);

static const struct net_callbacks callbacks = {
    .frame = net_frame,
    .peer_up = net_up,
    .peer_down = net_down,
};

void
member_init(struct group *g)
{
	g->n_members = g->conf.n_members;
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		m->conf = g->conf.members[i];
		m->self = m->conf.id == g->conf.self;
		if (m->self)
			g->self = m;
	}
	assert(g->self != NULL);
}

struct member *
member_find(struct group *g, uint64_t id)
{
	for (unsigned i = 0; i < g->n_members; i++) {
		if (g->members[i].conf.id == id)
			return &g->members[i];
	}
	return NULL;
}

int
member_open_net(struct group *g)
{
	struct net_peer peers[LIMIT_MEMBERS];
	struct net_conf conf = {
	    .self = g->conf.self,
	    .name = g->self->conf.name,
	    .listen = g->conf.listen,
	    .peers = peers,
	    .callbacks = &callbacks,
	    .ctx = g,
	};

	memcpy(conf.cluster, g->conf.cluster, sizeof(conf.cluster));
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		if (m->self)
			continue;
		peers[conf.n_peers++] = (struct net_peer){.id = m->conf.id,
		    .name = m->conf.name,
		    .addr = m->conf.address};
	}
	return net_open(g->conf.loop, &conf, &g->net);
}

bool
member_is_alive(struct group *g, const struct member *m)
{
	uint64_t limit = g->conf.election_ms * NS_PER_MS;

	return m->self || (m->heard_ns != 0 &&
	    clock_now_ns() - m->heard_ns < limit);
}

unsigned
member_alive(struct group *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_members; i++)
		n += member_is_alive(g, &g->members[i]);
	return n;
}

/* The newest moment at which a majority had been heard. */
uint64_t
member_majority_heard_ns(struct group *g)
{
	uint64_t heard[LIMIT_MEMBERS];
	unsigned n = 0, i, j;

	for (i = 0; i < g->n_members; i++) {
		const struct member *m = &g->members[i];
		uint64_t t = m->self ? clock_now_ns() : m->heard_ns;

		for (j = n++; j > 0 && heard[j - 1] < t; j--)
			heard[j] = heard[j - 1];
		heard[j] = t;
	}
	return heard[n / 2];
}

void
member_tick(struct group *g)
{
	unsigned idle = g->conf.election_ms / g->conf.heartbeat_ms / 3;

	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];
		uint64_t heard;

		if (m->self || m->leads == 0 ||
		    m->leads != g->raft.current_term)
			continue;
		/* A long frame of our leader on its way in: it lives. */
		heard = net_peer_heard_ns(g->net, m->conf.id);
		if (heard > m->heard_ns && g->started)
			guard_heard(&g->guard, m->conf.id);
	}
	if (!g->report_changed && ++g->ticks < idle)
		return;
	gossip_send(g);
}

void
scratch_reset(struct buf *b)
{
	size_t max = b->max;

	if (b->cap > SCRATCH_KEEP_BYTES) {
		buf_fini(b);
		buf_init(b, max);
	}
	buf_reset(b);
}

void
frame_begin(struct group *g, struct buf *b)
{
	scratch_reset(b);
	buf_u16(b, GROUP_NUMBER);
	buf_u64(b, g->started && g->raft.state == RAFT_LEADER
		? g->raft.current_term : 0);
}

int
frame_send(struct group *g, struct member *m, enum group_frame type,
    const struct buf *b)
{
	struct slice payload = buf_slice(b);

	assert(!m->self);
	if (buf_error(b) != 0)
		return buf_error(b);
	if (!m->up)
		return -ENOTCONN;
	return net_send(g->net, m->conf.id, NET_SMALL, type, &payload, 1);
}

void
member_hang_up(struct group *g, struct member *m, const char *what)
{
	if (!m->complained)
		log_warn("group: %s: %s is malformed, none of it is taken: "
		    "closing its connection", m->conf.name, what);
	m->complained = true;
	net_hang_up(g->net, m->conf.id);
}

static void
net_frame(void *ctx, uint64_t peer, uint8_t type, struct slice payload)
{
	struct group *g = ctx;
	struct member *m = member_find(g, peer);
	struct reader r;

	reader_init(&r, payload);
	if (m == NULL || m->self || g->closing ||
	    reader_u16(&r) != GROUP_NUMBER)
		return;
	m->leads = reader_u64(&r);
	if (!reader_ok(&r))
		return;
	m->heard_ns = clock_now_ns();
	if (g->started && m->leads != 0 && m->leads == g->raft.current_term)
		guard_heard(&g->guard, peer);
	switch ((enum group_frame)type) {
	case FRAME_APPEND:
	case FRAME_APPEND_RESULT:
	case FRAME_VOTE:
	case FRAME_VOTE_RESULT:
	case FRAME_TIMEOUT_NOW:
	case FRAME_COMMIT:
		io_frame(g, m, type, &r);
		break;
	case FRAME_FORWARD:
	case FRAME_NOTLEADER:
		forward_frame(g, m, type, &r);
		break;
	case FRAME_READ:
	case FRAME_READ_REPLY:
	case FRAME_TERM:
	case FRAME_TERM_REPLY:
		readindex_frame(g, m, type, &r);
		break;
	case FRAME_RENEW:
	case FRAME_RENEW_REPLY:
	case FRAME_REFRESHED:
		renew_frame(g, m, type, &r);
		break;
	case FRAME_GOSSIP:
		gossip_recv(m, &r);
		break;
	}
}

static void
net_up(void *ctx, uint64_t peer)
{
	struct group *g = ctx;
	struct member *m = member_find(g, peer);

	if (m == NULL)
		return;
	log_debug("group: %s: connected", m->conf.name);
	m->up = true;
	m->complained = false;
	m->noticed = 0;
	g->report_changed = true;
	g->lease.tell_all = LEASE_TELL_ALL;
	if (m == group_leader(g)) {
		forward_epoch(g);
		lease_epoch(g);
		readindex_epoch(g);
	}
	io_peer_up(g);
	group_wake(g);
}

static void
net_down(void *ctx, uint64_t peer, int err)
{
	struct group *g = ctx;
	struct member *m = member_find(g, peer);

	if (m == NULL)
		return;
	log_debug("group: %s: connection lost: %s", m->conf.name,
	    strerror(-err));
	m->up = false;
	m->cut = 0;
	io_peer_down(g, m, err);
	if (m == group_leader(g)) {
		forward_epoch(g);
		lease_epoch(g);
		readindex_epoch(g);
	}
	group_wake(g);
}

static void
gossip_send(struct group *g)
{
	struct buf *b = &g->io.frame;

	g->report_changed = false;
	g->ticks = 0;
	g->self->applied = g->published;
	g->self->rev = g->rev;
	g->self->replayed = g->replayed;
	frame_begin(g, b);
	buf_u64(b, g->published);
	buf_u64(b, g->rev);
	buf_u64(b, g->replayed);
	for (unsigned i = 0; i < g->n_members; i++) {
		if (!g->members[i].self)
			(void)frame_send(g, &g->members[i], FRAME_GOSSIP, b);
	}
}

static void
gossip_recv(struct member *m, struct reader *r)
{
	uint64_t applied = reader_u64(r);
	uint64_t rev = reader_u64(r);
	uint64_t replayed = reader_u64(r);

	if (!reader_done(r))
		return;
	m->applied = applied;
	m->rev = rev;
	m->replayed = replayed;
}
