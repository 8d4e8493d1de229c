/*
 * forward.c: commands on their way to the leader.
 *
 * A command waits here from its submit until it is applied on this host.  The
 * leader proposes its own and what other members forward to it, all of a loop
 * turn as one entry; a follower forwards to the leader, never further.  When
 * the leader changes, or its connection, everything unanswered is sent again:
 * the machine knows a command by (session, seq) and applies it once.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "group/internal.h"

#define FORWARD_BUCKETS 4096
/* Encoded commands longer than this give their memory back. */
#define FORWARD_KEEP_BYTES 65536
/* A command forwarded and not answered is sent again after that, doubled each
 * time: a leader whose disk is slow shall not get everything many times. */
#define FORWARD_RETRY_MS 1000
#define FORWARD_RETRY_DOUBLED 3
/* ... and so long after the leader said that it leads no more. */
#define FORWARD_REFUSED_MS 20
/* Entries proposed and not yet applied: what comes meanwhile shares the next. */
#define PROPOSE_ENTRIES 2
/* An entry is a write to the log and a commit of the store on every host, few
 * commands or many.  So it waits for three quarters of those that were lately
 * under way at once: who waits for a write comes again soon after it is done.
 * But for no longer than GATHER_TIMES what the last entry took, nor GATHER_NS,
 * since that one was proposed or applied: they may have gone.  And it goes at
 * once when it has so many bytes that one write more weighs nothing. */
#define GATHER_TIMES 3
#define GATHER_NS (10 * NS_PER_MS)
#define GATHER_BYTES 65536
#define FORWARD_IDLE 256 /* kept for reuse */

struct key {
	uint64_t session, seq, host, node;
};

struct group_pending {
	TAILQ_ENTRY(group_pending) link; /* waiting, sent or idle */
	struct group_pending *next;	 /* in its bucket */
	struct key key;
	struct buf bytes;    /* the command, encoded */
	void *cookie;
	uint64_t place;	     /* in the order of submission */
	uint64_t submitted_ns;
	uint64_t sent_ns;    /* last time */
	unsigned tries;	     /* to the same leader */
	bool is_sent;	     /* on the list `sent` */
	bool maybe;	     /* ever sent: it may be applied some day */
};

struct apply_req {
	struct raft_apply raft_apply;
	SLIST_ENTRY(apply_req) link;
	struct group *group;
	uint32_t n; /* commands */
	uint64_t begin_ns;
};

static struct key key_of(const struct command *);
static bool key_eq(const struct key *, const struct key *);
static struct group_pending **bucket(struct group *, const struct key *);
static struct group_pending **find(struct group *, const struct key *);
static void end(struct group *, struct group_pending *);
static void fail_one(struct group *, struct group_pending *);
static void fail_all(struct group *, struct pending_list *);
static void insert(struct pending_list *, struct group_pending *);
static void send_again(struct group *);
static void now_sent(struct group *, struct group_pending *, uint64_t);
static void propose_turn(struct group *);
static bool worth_an_entry(struct group *);
static bool may_gather(struct group *);
static void on_gathered(uv_timer_t *);
static bool propose_begin(struct group *);
static int propose_end(struct group *, uint32_t n);
static int propose_own(struct group *);
static int propose_theirs(struct group *);
static void propose_done(struct raft_apply *, int, void *);
static void forward_to(struct group *, struct member *);
static void recv_forward(struct group *, struct member *, struct reader *);
static void recv_notleader(struct group *, struct member *, struct reader *);
static void refuse_theirs(struct group *);
static void refuse(struct group *, struct member *, struct slice);

void
forward_init(struct group *g)
{
	struct forward *f = &g->forward;

	TAILQ_INIT(&f->waiting);
	TAILQ_INIT(&f->sent);
	TAILQ_INIT(&f->idle);
	SLIST_INIT(&f->idle_applies);
	buf_init(&f->theirs, FORWARD_QUEUE_BYTES);
	buf_init(&f->scratch, LIMIT_FRAME);
	f->table = calloc(FORWARD_BUCKETS, sizeof(*f->table));
	if (f->table == NULL)
		abort();
}

void
forward_fini(struct group *g)
{
	struct forward *f = &g->forward;
	struct group_pending *p;
	struct apply_req *a;

	TAILQ_CONCAT(&f->idle, &f->waiting, link);
	TAILQ_CONCAT(&f->idle, &f->sent, link);
	while ((p = TAILQ_FIRST(&f->idle)) != NULL) {
		TAILQ_REMOVE(&f->idle, p, link);
		buf_fini(&p->bytes);
		free(p);
	}
	while ((a = SLIST_FIRST(&f->idle_applies)) != NULL) {
		SLIST_REMOVE_HEAD(&f->idle_applies, link);
		free(a);
	}
	buf_fini(&f->theirs);
	buf_fini(&f->scratch);
	free(f->table);
}

/* ---- who waits here ---- */

int
group_submit(struct group *g, const struct command *c, void *cookie,
    struct group_pending **ret)
{
	struct forward *f = &g->forward;
	struct group_pending *p, **slot;

	assert(cookie != NULL);
	if (!group_writable(g))
		return -EROFS;
	if (f->n_pending >= LIMIT_WINDOW)
		return -EAGAIN;
	p = TAILQ_FIRST(&f->idle);
	if (p != NULL) {
		TAILQ_REMOVE(&f->idle, p, link);
		f->n_idle--;
	} else {
		p = calloc(1, sizeof(*p));
		if (p == NULL)
			return -EAGAIN;
		buf_init(&p->bytes, LIMIT_COMMAND);
	}
	buf_reset(&p->bytes);
	command_encode(&p->bytes, c);
	if (buf_error(&p->bytes) != 0) {
		TAILQ_INSERT_HEAD(&f->idle, p, link);
		f->n_idle++;
		return -EAGAIN;
	}
	p->key = key_of(c);
	p->cookie = cookie;
	p->place = ++f->last_place;
	p->submitted_ns = clock_now_ns();
	p->is_sent = p->maybe = false;
	p->tries = 0;
	slot = bucket(g, &p->key);
	p->next = *slot;
	*slot = p;
	TAILQ_INSERT_TAIL(&f->waiting, p, link);
	f->n_pending++;
	metric_add(METRIC_commands_proposed, 1);
	group_wake(g);
	*ret = p;
	return 0;
}

bool
group_withdraw(struct group *g, struct group_pending *p)
{
	if (p->maybe)
		return false;
	end(g, p);
	return true;
}

void
group_abandon(struct group *g, struct group_pending *p)
{
	end(g, p);
}

void *
forward_take(struct group *g, const struct command *c)
{
	struct key key;
	struct group_pending **slot, *p;
	void *cookie;

	if (c->stamp.host != g->conf.self)
		return NULL;
	key = key_of(c);
	slot = find(g, &key);
	p = *slot;
	if (p == NULL)
		return NULL;
	metric_time(METRIC_commit_time, clock_now_ns() - p->submitted_ns);
	cookie = p->cookie;
	end(g, p);
	return cookie;
}

bool
forward_busy(struct group *g)
{
	return g->forward.n_pending > 0;
}

/* session_open has no session yet: it is known by the one that it opens. */
static struct key
key_of(const struct command *c)
{
	return (struct key){.session = c->stamp.session,
	    .seq = c->stamp.seq,
	    .host = c->stamp.host,
	    .node = c->kind == COMMAND_session_open ? c->node : 0};
}

static bool
key_eq(const struct key *a, const struct key *b)
{
	return a->seq == b->seq && a->session == b->session &&
	    a->host == b->host && a->node == b->node;
}

static struct group_pending **
bucket(struct group *g, const struct key *k)
{
	uint64_t h = k->seq + (k->session ^ k->node) * 0x9e3779b97f4a7c15;

	return &g->forward.table[h % FORWARD_BUCKETS];
}

static struct group_pending **
find(struct group *g, const struct key *k)
{
	struct group_pending **slot = bucket(g, k);

	while (*slot != NULL && !key_eq(&(*slot)->key, k))
		slot = &(*slot)->next;
	return slot;
}

/* Nobody waits for it here any more. */
static void
end(struct group *g, struct group_pending *p)
{
	struct forward *f = &g->forward;
	struct group_pending **slot = bucket(g, &p->key);

	while (*slot != p)
		slot = &(*slot)->next;
	*slot = p->next;
	TAILQ_REMOVE(p->is_sent ? &f->sent : &f->waiting, p, link);
	f->n_sent -= p->is_sent;
	f->n_pending--;
	p->cookie = NULL;
	if (p->bytes.cap > FORWARD_KEEP_BYTES || f->n_idle >= FORWARD_IDLE) {
		buf_fini(&p->bytes);
		free(p);
		return;
	}
	TAILQ_INSERT_HEAD(&f->idle, p, link);
	f->n_idle++;
}

static void
fail_one(struct group *g, struct group_pending *p)
{
	int err = p->maybe ? -ETIMEDOUT : -EROFS;
	void *cookie = p->cookie;

	end(g, p);
	g->ops->failed(g->ops_arg, cookie, err);
}

static void
fail_all(struct group *g, struct pending_list *list)
{
	struct group_pending *p;

	while ((p = TAILQ_FIRST(list)) != NULL)
		fail_one(g, p);
}

void
forward_lost(struct group *g)
{
	fail_all(g, &g->forward.sent);
	fail_all(g, &g->forward.waiting);
}

void
forward_epoch(struct group *g)
{
	struct group_pending *p;

	g->forward.retry_ns = 0;
	TAILQ_FOREACH(p, &g->forward.sent, link)
		p->tries = 0;
	send_again(g);
	if (g->raft.state != RAFT_LEADER)
		refuse_theirs(g);
}

/*
 * Before all that were submitted after it, whatever was refused and sent again
 * meanwhile: a birth stays ahead of the rename that follows it.
 */
static void
insert(struct pending_list *list, struct group_pending *p)
{
	struct group_pending *before = TAILQ_LAST(list, pending_list);

	while (before != NULL && before->place > p->place)
		before = TAILQ_PREV(before, pending_list, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(list, before, p, link);
	else
		TAILQ_INSERT_HEAD(list, p, link);
}

/* All of them: merges the lists. */
static void
send_again(struct group *g)
{
	struct forward *f = &g->forward;
	struct group_pending *p, *next = TAILQ_FIRST(&f->waiting);

	while ((p = TAILQ_FIRST(&f->sent)) != NULL) {
		TAILQ_REMOVE(&f->sent, p, link);
		p->is_sent = false;
		f->n_sent--;
		while (next != NULL && next->place < p->place)
			next = TAILQ_NEXT(next, link);
		if (next != NULL)
			TAILQ_INSERT_BEFORE(next, p, link);
		else
			TAILQ_INSERT_TAIL(&f->waiting, p, link);
	}
	group_wake(g);
}

void
forward_tick(struct group *g)
{
	struct forward *f = &g->forward;
	uint64_t now = clock_now_ns();
	uint64_t bound = 2 * g->conf.write_timeout_ms * NS_PER_MS;
	struct group_pending *p;

	/* Even a leader in good health may not get it done: nothing hangs. */
	while ((p = TAILQ_FIRST(&f->sent)) != NULL &&
	    now > p->submitted_ns + bound)
		fail_one(g, p);
	/* Who fails may try again at once: that one was submitted after now. */
	while ((p = TAILQ_FIRST(&f->waiting)) != NULL &&
	    now > p->submitted_ns + bound)
		fail_one(g, p);
	/* A leader knows that its own proposals are still in the log. */
	p = TAILQ_FIRST(&f->sent);
	if (p != NULL && g->raft.state != RAFT_LEADER && now - p->sent_ns >
	    (FORWARD_RETRY_MS << p->tries) * NS_PER_MS) {
		TAILQ_FOREACH(p, &f->sent, link)
			p->tries += p->tries < FORWARD_RETRY_DOUBLED;
		send_again(g);
	}
}

static void
now_sent(struct group *g, struct group_pending *p, uint64_t now)
{
	struct forward *f = &g->forward;

	TAILQ_REMOVE(&f->waiting, p, link);
	insert(&f->sent, p);
	f->n_sent++;
	p->is_sent = p->maybe = true;
	p->sent_ns = now;
}

/* ---- proposing ---- */

void
forward_propose(struct group *g)
{
	struct forward *f = &g->forward;
	struct member *leader;

	if (g->transferring || g->failed || !g->started || io_full(g)) {
		refuse_theirs(g);
		return;
	}
	if (g->raft.state == RAFT_LEADER) {
		/* Before the entry of our own term is applied we don't know the
		 * time of the newest command. */
		if (group_leads(g))
			propose_turn(g);
		return;
	}
	refuse_theirs(g);
	leader = group_leader(g);
	if (leader == NULL || !leader->up || TAILQ_EMPTY(&f->waiting) ||
	    clock_now_ns() < f->retry_ns)
		return;
	forward_to(g, leader);
}

static void
propose_turn(struct group *g)
{
	struct forward *f = &g->forward;

	while (worth_an_entry(g)) {
		if (f->n_theirs > 0 ? propose_theirs(g) != 0
				    : propose_own(g) != 0)
			return;
	}
}

static bool
worth_an_entry(struct group *g)
{
	struct forward *f = &g->forward;
	const struct group_pending *p;
	uint32_t n = f->n_theirs + f->n_pending - f->n_sent;
	size_t bytes = f->theirs.len - f->theirs_read;

	if (f->n_flying + n > f->peak)
		f->peak = f->n_flying + n;
	if (n == 0 || f->n_entries >= PROPOSE_ENTRIES)
		return false;
	if (n >= f->crowd * 3 / 4 || !may_gather(g))
		return true;
	TAILQ_FOREACH(p, &f->waiting, link) {
		if (bytes >= GATHER_BYTES)
			break;
		bytes += p->bytes.len;
	}
	return bytes >= GATHER_BYTES;
}

/* True: what waits may wait a little more, and the loop will wake. */
static bool
may_gather(struct group *g)
{
	struct forward *f = &g->forward;
	uint64_t waited = clock_now_ns() - f->moved_ns;
	uint64_t bound = GATHER_TIMES * f->took_ns;

	if (bound > GATHER_NS)
		bound = GATHER_NS;
	if (waited >= bound)
		return false;
	if (!uv_is_active((uv_handle_t *)&g->gather))
		uv_timer_start(&g->gather, on_gathered,
		    (bound - waited) / NS_PER_MS + 1, 0);
	return true;
}

static void
on_gathered(uv_timer_t *timer)
{
	group_wake(timer->data);
}

static bool
propose_begin(struct group *g)
{
	struct forward *f = &g->forward;
	struct entry_header h = {.group = GROUP_NUMBER};
	uint64_t last = f->last_ns > g->fsm.last_ns ? f->last_ns
						    : g->fsm.last_ns;

	h.time_ns = clock_wall_ns();
	if (h.time_ns <= last)
		h.time_ns = last + 1;
	f->last_ns = h.time_ns;
	scratch_reset(&f->scratch);
	entry_begin(&f->scratch, &h);
	return true;
}

/* Does one more command go into the entry in the making? */
static bool
entry_has_room(const struct buf *entry, uint32_t n, size_t len)
{
	return n == 0 || (n < LIMIT_ENTRY_COMMANDS &&
	    entry->len + len + 16 <= LIMIT_ENTRY);
}

int
forward_lead(struct group *g, struct command *commands, unsigned n)
{
	struct forward *f = &g->forward;
	struct buf *b = &g->io.frame;

	assert(group_leads(g) && n > 0 && n <= LIMIT_ENTRY_COMMANDS);
	/* One more than for others, who might leave it no room for ever. */
	if (f->n_entries > PROPOSE_ENTRIES || g->transferring ||
	    g->stopping || io_full(g) || !propose_begin(g))
		return -EAGAIN;
	for (unsigned i = 0; i < n; i++) {
		commands[i].stamp = (struct stamp){.host = g->conf.self,
		    .privileged = true};
		buf_reset(b);
		command_encode(b, &commands[i]);
		assert(buf_error(b) == 0);
		entry_add(&f->scratch, buf_slice(b));
	}
	return propose_end(g, n);
}

static int
propose_end(struct group *g, uint32_t n)
{
	struct forward *f = &g->forward;
	struct apply_req *a = SLIST_FIRST(&f->idle_applies);
	struct raft_buffer buf;
	int rv;

	entry_end(&f->scratch);
	f->last_ns += n - 1;
	if (a != NULL)
		SLIST_REMOVE_HEAD(&f->idle_applies, link);
	else if ((a = malloc(sizeof(*a))) == NULL)
		return -ENOMEM;
	a->group = g;
	a->n = n;
	a->begin_ns = clock_now_ns();
	buf.len = f->scratch.len;
	buf.base = raft_malloc(buf.len);
	if (buf_error(&f->scratch) != 0 || buf.base == NULL) {
		rv = RAFT_NOMEM;
		goto out;
	}
	memcpy(buf.base, f->scratch.ptr, buf.len);
	rv = raft_apply(&g->raft, &a->raft_apply, &buf, 1, propose_done);
	if (rv == 0) {
		f->n_entries++;
		f->n_flying += n;
		f->crowd = f->peak > f->crowd ? f->peak
					      : (f->crowd + f->peak) / 2;
		f->peak = 0;
		f->moved_ns = a->begin_ns;
		return 0;
	}
out:
	raft_free(buf.base);
	SLIST_INSERT_HEAD(&f->idle_applies, a, link);
	return -EAGAIN;
}

/* Applied, or leadership lost: either way the machine's answer, found by
 * (session, seq), is what ends the commands of the entry. */
static void
propose_done(struct raft_apply *req, int status, void *result)
{
	struct apply_req *a = (struct apply_req *)req;
	struct forward *f = &a->group->forward;

	f->n_entries--;
	f->n_flying -= a->n;
	f->moved_ns = clock_now_ns();
	f->took_ns = f->moved_ns - a->begin_ns;
	group_wake(a->group);
	SLIST_INSERT_HEAD(&f->idle_applies, a, link);
}

static int
propose_own(struct group *g)
{
	struct forward *f = &g->forward;
	struct group_pending *p;
	uint64_t now = clock_now_ns();
	uint32_t n = 0;
	int err;

	if (!propose_begin(g))
		return -EAGAIN;
	TAILQ_FOREACH(p, &f->waiting, link) {
		if (!entry_has_room(&f->scratch, n, p->bytes.len))
			break;
		entry_add(&f->scratch, buf_slice(&p->bytes));
		n++;
	}
	err = propose_end(g, n);
	if (err != 0)
		return err;
	while (n-- > 0)
		now_sent(g, TAILQ_FIRST(&f->waiting), now);
	return 0;
}

/* Others' commands first; own ones fill the entry up. */
static int
propose_theirs(struct group *g)
{
	struct forward *f = &g->forward;
	struct group_pending *p = TAILQ_FIRST(&f->waiting);
	uint64_t now = clock_now_ns();
	uint32_t n = 0, n_own = 0;
	struct reader r;
	size_t left;
	int err;

	if (!propose_begin(g))
		return -EAGAIN;
	reader_init(&r, slice_of(f->theirs.ptr + f->theirs_read,
	    f->theirs.len - f->theirs_read));
	while (reader_left(&r) > 0) {
		struct reader ahead = r;
		struct slice bytes;

		(void)reader_u64(&ahead);
		bytes = reader_slice32(&ahead, LIMIT_COMMAND);
		assert(reader_ok(&ahead));
		if (!entry_has_room(&f->scratch, n, bytes.len))
			break;
		entry_add(&f->scratch, bytes);
		n++;
		r = ahead;
	}
	left = reader_left(&r);
	for (; left == 0 && p != NULL; p = TAILQ_NEXT(p, link)) {
		if (!entry_has_room(&f->scratch, n, p->bytes.len))
			break;
		entry_add(&f->scratch, buf_slice(&p->bytes));
		n++;
		n_own++;
	}
	err = propose_end(g, n);
	if (err != 0)
		return err;
	f->n_theirs -= n - n_own;
	f->theirs_read = f->theirs.len - left;
	if (left == 0) {
		scratch_reset(&f->theirs);
		f->theirs_read = 0;
	}
	while (n_own-- > 0)
		now_sent(g, TAILQ_FIRST(&f->waiting), now);
	return 0;
}

/* ---- between the members ---- */

static void
forward_to(struct group *g, struct member *leader)
{
	struct forward *f = &g->forward;
	struct buf *b = &f->scratch;
	struct group_pending *p;
	uint64_t now = clock_now_ns();

	while (!TAILQ_EMPTY(&f->waiting)) {
		uint32_t n = 0;

		frame_begin(g, b);
		buf_u32(b, 0);
		TAILQ_FOREACH(p, &f->waiting, link) {
			if (!entry_has_room(b, n, p->bytes.len))
				break;
			buf_slice32(b, buf_slice(&p->bytes));
			n++;
		}
		buf_put_u32_at(b, FRAME_HEADER_LEN, n);
		if (frame_send(g, leader, FRAME_FORWARD, b) != 0) {
			f->retry_ns = now + FORWARD_REFUSED_MS * NS_PER_MS;
			return;
		}
		while (n-- > 0)
			now_sent(g, TAILQ_FIRST(&f->waiting), now);
	}
}

void
forward_frame(struct group *g, struct member *m, enum group_frame type,
    struct reader *r)
{
	if (type == FRAME_FORWARD)
		recv_forward(g, m, r);
	else
		recv_notleader(g, m, r);
}

/* Who expires is decided by who leads, see lease.c. */
static bool
leaders_alone(const struct command *c)
{
	return c->kind == COMMAND_session_expire ||
	    c->kind == COMMAND_suspend || c->kind == COMMAND_resume ||
	    c->kind == COMMAND_expire || c->kind == COMMAND_delay_end;
}

/* Garbage must not get into the log, nor others' commands under its sender's
 * name. */
static bool
may_forward(const struct member *m, struct reader r)
{
	uint32_t n = reader_u32(&r);
	struct command c;

	if (n > LIMIT_ENTRY_COMMANDS)
		return false;
	while (n-- > 0) {
		if (command_decode(reader_slice32(&r, LIMIT_COMMAND), &c) != 0 ||
		    c.stamp.host != m->conf.id || leaders_alone(&c))
			return false;
	}
	return reader_done(&r);
}

static void
recv_forward(struct group *g, struct member *m, struct reader *r)
{
	struct forward *f = &g->forward;
	uint32_t n;
	bool lead = g->started && g->raft.state == RAFT_LEADER &&
	    !g->transferring && !g->stopping && !io_full(g);

	if (!may_forward(m, *r)) {
		member_hang_up(g, m, "a forwarded command");
		return;
	}
	for (n = reader_u32(r); n > 0; n--) {
		struct slice bytes = reader_slice32(r, LIMIT_COMMAND);

		/* No later one of the frame overtakes one that is refused. */
		if (f->theirs.len + bytes.len + 12 > FORWARD_QUEUE_BYTES)
			lead = false;
		if (!lead) {
			refuse(g, m, bytes);
			continue;
		}
		buf_u64(&f->theirs, m->conf.id);
		buf_slice32(&f->theirs, bytes);
		if (buf_error(&f->theirs) != 0) {
			scratch_reset(&f->theirs);
			f->n_theirs = 0;
			f->theirs_read = 0;
			return;
		}
		f->n_theirs++;
	}
	group_wake(g);
}

/* What others forwarded is not for us any more: they will find who leads. */
static void
refuse_theirs(struct group *g)
{
	struct forward *f = &g->forward;
	struct reader r;

	if (f->n_theirs == 0)
		return;
	reader_init(&r, slice_of(f->theirs.ptr + f->theirs_read,
	    f->theirs.len - f->theirs_read));
	while (reader_left(&r) > 0) {
		struct member *m = member_find(g, reader_u64(&r));
		struct slice bytes = reader_slice32(&r, LIMIT_COMMAND);

		assert(reader_ok(&r) && m != NULL);
		refuse(g, m, bytes);
	}
	scratch_reset(&f->theirs);
	f->n_theirs = 0;
	f->theirs_read = 0;
}

static void
refuse(struct group *g, struct member *m, struct slice bytes)
{
	struct buf *b = &g->io.frame;
	struct command c;
	struct key key;

	if (command_decode(bytes, &c) != 0)
		return;
	key = key_of(&c);
	frame_begin(g, b);
	buf_u64(b, key.session);
	buf_u64(b, key.seq);
	buf_u64(b, key.node);
	(void)frame_send(g, m, FRAME_NOTLEADER, b);
}

static void
recv_notleader(struct group *g, struct member *m, struct reader *r)
{
	struct forward *f = &g->forward;
	struct key key = {.host = g->conf.self};
	struct group_pending *p;

	key.session = reader_u64(r);
	key.seq = reader_u64(r);
	key.node = reader_u64(r);
	if (!reader_done(r))
		return;
	p = *find(g, &key);
	if (p == NULL || !p->is_sent)
		return;
	TAILQ_REMOVE(&f->sent, p, link);
	insert(&f->waiting, p);
	f->n_sent--;
	p->is_sent = false;
	if (m == group_leader(g)) /* it doesn't lead yet, or hands over */
		f->retry_ns = clock_now_ns() + FORWARD_REFUSED_MS * NS_PER_MS;
	group_wake(g);
}
