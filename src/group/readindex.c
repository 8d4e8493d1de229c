/*
 * readindex.c: what has been committed anywhere before now?
 *
 * A leader of term T that has committed an entry of T notes its commit index
 * and asks the voters for their term.  When a majority, itself included, still
 * says T, nobody led a later term at that moment, so the index covers all that
 * was committed anywhere before (raft thesis 6.4; terms only grow, and are on
 * disk before they are told).  One query answers every read that came before
 * it was sent.  Followers ask the leader, and wait until they have applied it.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "group/internal.h"

#define READ_RETRY_MS 250 /* a question or answer was lost */
#define READS_THEIRS 1024 /* of other members, under way */

struct group_read {
	TAILQ_ENTRY(group_read) link;
	struct read_list *list;	/* where it is */
	void *cookie;		/* own ones */
	struct member *from;	/* who asks us; NULL: own */
	uint64_t from_id;	/* its number for it */
	uint64_t query;		/* the question that carries it */
	uint64_t index;
	uint64_t since_ns, asked_ns;
	bool confirm;		/* for renew.c: cookie is NULL */
	int err;
};

static struct group_read *read_new(struct group *);
static void move(struct group_read *, struct read_list *);
static void read_free(struct group *, struct group_read *);
static void lead_ask(struct group *);
static void lead_answers(struct group *);
static void follow_ask(struct group *);
static bool majority_answered(struct group *, uint64_t query);
static void answer(struct group *, struct member *, uint64_t id, int err,
    uint64_t index);
static void finish(struct group *);

void
readindex_init(struct group *g)
{
	TAILQ_INIT(&g->readindex.asking);
	TAILQ_INIT(&g->readindex.asked);
	TAILQ_INIT(&g->readindex.known);
	TAILQ_INIT(&g->readindex.done);
	/* Above all numbers of the process before this one, whose answers may
	 * still come: the leader was busy, or could not ask a majority. */
	g->readindex.query = clock_now_ns();
}

void
readindex_fini(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct read_list *lists[] = {&ri->asking, &ri->asked, &ri->known,
	    &ri->done};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!TAILQ_EMPTY(lists[i]))
			read_free(g, TAILQ_FIRST(lists[i]));
	}
}

int
group_read(struct group *g, void *cookie, struct group_read **ret)
{
	struct group_read *read;

	assert(cookie != NULL);
	if (!group_writable(g))
		return -EROFS;
	read = read_new(g);
	if (read == NULL)
		return -EIO;
	read->cookie = cookie;
	group_wake(g);
	*ret = read;
	return 0;
}

struct group_read *
readindex_confirm(struct group *g)
{
	struct group_read *read = read_new(g);

	if (read == NULL)
		return NULL;
	read->confirm = true;
	group_wake(g);
	return read;
}

void
group_read_cancel(struct group *g, struct group_read *read)
{
	read_free(g, read);
}

static struct group_read *
read_new(struct group *g)
{
	struct group_read *read = calloc(1, sizeof(*read));

	if (read == NULL)
		return NULL;
	read->since_ns = clock_now_ns();
	read->list = &g->readindex.asking;
	TAILQ_INSERT_TAIL(read->list, read, link);
	return read;
}

static void
move(struct group_read *read, struct read_list *to)
{
	TAILQ_REMOVE(read->list, read, link);
	read->list = to;
	TAILQ_INSERT_TAIL(to, read, link);
}

static void
read_free(struct group *g, struct group_read *read)
{
	if (read->from != NULL)
		g->readindex.n_theirs--;
	TAILQ_REMOVE(read->list, read, link);
	free(read);
}

/* After this turn's entries are published. */
void
readindex_turn(struct group *g)
{
	struct readindex *ri = &g->readindex;

	if (g->started && !g->failed && !TAILQ_EMPTY(&ri->asking)) {
		if (group_leads(g) && !g->transferring)
			lead_ask(g);
		else if (g->raft.state == RAFT_FOLLOWER)
			follow_ask(g);
	}
	lead_answers(g);
	finish(g);
}

static void
lead_ask(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct buf *b = &g->io.frame;
	struct group_read *read;

	ri->query++;
	while ((read = TAILQ_FIRST(&ri->asking)) != NULL) {
		read->query = ri->query;
		read->index = g->raft.commit_index;
		read->asked_ns = clock_now_ns();
		move(read, &ri->asked);
	}
	frame_begin(g, b);
	buf_u64(b, ri->query);
	for (unsigned i = 0; i < g->n_members; i++) {
		if (!g->members[i].self)
			(void)frame_send(g, &g->members[i], FRAME_TERM, b);
	}
}

static void
lead_answers(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct group_read *read;

	if (!group_leads(g))
		return;
	while ((read = TAILQ_FIRST(&ri->asked)) != NULL &&
	    majority_answered(g, read->query)) {
		if (read->from == NULL) {
			move(read, &ri->known);
			continue;
		}
		answer(g, read->from, read->from_id, 0, read->index);
		read_free(g, read);
	}
}

static bool
majority_answered(struct group *g, uint64_t query)
{
	const struct raft_configuration *c = &g->raft.configuration;
	unsigned n_voters = 0, n = 0;

	for (unsigned i = 0; i < c->n; i++) {
		struct member *m = member_find(g, c->servers[i].id);

		if (c->servers[i].role != RAFT_VOTER)
			continue;
		n_voters++;
		if (m != NULL && (m->self || m->term_query >= query))
			n++;
	}
	return n > n_voters / 2;
}

static void
follow_ask(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct member *leader = group_leader(g);
	struct buf *b = &g->io.frame;
	struct group_read *read;

	if (leader == NULL || leader->self || !leader->up)
		return;
	frame_begin(g, b);
	buf_u64(b, ++ri->query);
	if (frame_send(g, leader, FRAME_READ, b) != 0)
		return;
	while ((read = TAILQ_FIRST(&ri->asking)) != NULL) {
		if (read->from != NULL) { /* asked us when we led */
			answer(g, read->from, read->from_id, -EAGAIN, 0);
			read_free(g, read);
			continue;
		}
		read->query = ri->query;
		read->asked_ns = clock_now_ns();
		move(read, &ri->asked);
	}
}

static void
answer(struct group *g, struct member *m, uint64_t id, int err, uint64_t index)
{
	struct buf *b = &g->io.frame;

	frame_begin(g, b);
	buf_u64(b, id);
	buf_u32(b, (uint32_t)-err);
	buf_u64(b, index);
	(void)frame_send(g, m, FRAME_READ_REPLY, b);
}

static void
recv_read(struct group *g, struct member *m, uint64_t id)
{
	struct group_read *read;

	if (!g->started || g->raft.state != RAFT_LEADER || g->transferring ||
	    g->readindex.n_theirs >= READS_THEIRS ||
	    (read = read_new(g)) == NULL) {
		answer(g, m, id, -EAGAIN, 0);
		return;
	}
	g->readindex.n_theirs++;
	read->from = m;
	read->from_id = id;
	group_wake(g);
}

static void
recv_read_reply(struct group *g, struct member *m, uint64_t id, uint32_t err,
    uint64_t index)
{
	struct readindex *ri = &g->readindex;
	struct group_read *read, *next;

	if (m != group_leader(g) || g->raft.state != RAFT_FOLLOWER ||
	    id > ri->query)
		return;
	for (read = TAILQ_FIRST(&ri->asked); read != NULL; read = next) {
		next = TAILQ_NEXT(read, link);
		if (read->query > id || (err != 0 && read->query != id))
			continue;
		read->index = index;
		if (err == 0)
			move(read, &ri->known);
		/* else: the tick asks again */
	}
	group_wake(g);
}

void
readindex_frame(struct group *g, struct member *m, enum group_frame type,
    struct reader *r)
{
	struct buf *b = &g->io.frame;
	uint64_t id = reader_u64(r), index;
	uint32_t err;

	switch (type) {
	case FRAME_READ:
		if (reader_done(r))
			recv_read(g, m, id);
		return;
	case FRAME_READ_REPLY:
		err = reader_u32(r);
		index = reader_u64(r);
		if (reader_done(r))
			recv_read_reply(g, m, id, err, index);
		return;
	case FRAME_TERM:
		if (!reader_done(r) || !g->started || g->failed)
			return;
		io_settle(g);
		frame_begin(g, b);
		buf_u64(b, id);
		buf_u64(b, g->raft.current_term);
		(void)frame_send(g, m, FRAME_TERM_REPLY, b);
		group_wake(g);
		return;
	case FRAME_TERM_REPLY:
		if (reader_u64(r) == g->raft.current_term && reader_done(r) &&
		    id > m->term_query && id <= g->readindex.query)
			m->term_query = id;
		group_wake(g);
		return;
	default:
		return;
	}
}

/* Who led, or whether it was reached, has changed: ask again. */
void
readindex_epoch(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct group_read *read, *next;

	while ((read = TAILQ_FIRST(&ri->asked)) != NULL)
		move(read, &ri->asking);
	for (read = TAILQ_FIRST(&ri->asking); read != NULL; read = next) {
		next = TAILQ_NEXT(read, link);
		if (read->from == NULL || g->raft.state == RAFT_LEADER)
			continue;
		answer(g, read->from, read->from_id, -EAGAIN, 0);
		read_free(g, read);
	}
	group_wake(g);
}

void
readindex_tick(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct read_list *lists[] = {&ri->asking, &ri->asked, &ri->known};
	struct group_read *read, *next;
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (read = TAILQ_FIRST(lists[i]); read != NULL; read = next) {
			next = TAILQ_NEXT(read, link);
			if (now - read->since_ns >
			    g->conf.write_timeout_ms * NS_PER_MS) {
				read->err = g->lost_ns != 0 ? -EROFS : -EIO;
				move(read, &ri->done);
			} else if (read->list == &ri->asked &&
			    now - read->asked_ns > READ_RETRY_MS * NS_PER_MS)
				move(read, &ri->asking);
		}
	}
	if (!group_writable(g))
		readindex_fail(g, -EROFS);
	else
		finish(g);
}

void
readindex_fail(struct group *g, int err)
{
	struct readindex *ri = &g->readindex;
	struct read_list *lists[] = {&ri->asking, &ri->asked, &ri->known};
	struct group_read *read;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while ((read = TAILQ_FIRST(lists[i])) != NULL) {
			read->err = err;
			move(read, &ri->done);
		}
	}
	finish(g);
}

static void
finish(struct group *g)
{
	struct readindex *ri = &g->readindex;
	struct group_read *read, *next;

	for (read = TAILQ_FIRST(&ri->known); read != NULL; read = next) {
		next = TAILQ_NEXT(read, link);
		if (read->index <= g->published)
			move(read, &ri->done);
	}
	while ((read = TAILQ_FIRST(&ri->done)) != NULL) {
		void *cookie = read->cookie;
		int err = read->err;
		bool own = read->from == NULL, confirm = read->confirm;

		read_free(g, read);
		if (confirm)
			renew_confirmed(g, err);
		else if (own)
			g->ops->read(g->ops_arg, cookie, err);
	}
}
