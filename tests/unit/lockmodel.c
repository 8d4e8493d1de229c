/*
 * lockmodel.c: random locks of a few owners on two files of eight bytes, beside
 * a naive model with sets of bytes: L1, L2, L3, L4, L5, O5.
 *
 * `lockmodel.t [seed [steps]]`.  The last byte stands for the rest of a file.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "machine/machine.h"
#include "tests/random.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum {
	N_HOSTS = 3, N_FILES = 2, N_OWNERS = 2, N_BYTES = 8, N_ROWS = 512,
	N_PAST = 24, ALL = (1 << N_BYTES) - 1,
};

/* A holder or a waiter. */
struct row {
	uint64_t node, session, owner, handle, seq;
	bool flock, excl, waits, queued, delayed;
	unsigned bytes; /* a set */
	int prior;	/* 0: none, 1: shared, 2: exclusive */
};

struct past {
	struct command c;
	int err;
	uint64_t value;
	bool used;
};

static struct random rnd;
static struct store *store;
static struct store_txn *txn;
static struct row rows[N_ROWS]; /* waiters in the order they came */
static unsigned n_rows, step;
static uint64_t sessions[N_HOSTS], seqs[N_HOSTS], next_session = 100;
static uint64_t files[N_FILES], last_token, clock_ns = 1000;
static uint64_t grants[N_ROWS][2]; /* session, seq; of one command */
static unsigned n_grants, n_granted, n_deadlocks, n_refused, n_given, n_retries;
static struct past pasts[N_HOSTS][N_PAST];
static char why[256];

#define WRONG(...) (snprintf(why, sizeof(why), __VA_ARGS__), false)

static bool
chance(unsigned percent)
{
	return random_below(&rnd, 100) < percent;
}

/* --- The model. */

static bool
same_owner(const struct row *a, const struct row *b)
{
	return a->session == b->session && a->owner == b->owner &&
	    !a->delayed && !b->delayed;
}

static bool
conflict(const struct row *a, const struct row *b)
{
	return a->node == b->node && a->flock == b->flock &&
	    (a->excl || b->excl) && (a->bytes & b->bytes) != 0 &&
	    !same_owner(a, b);
}

static void
drop(unsigned i)
{
	n_rows--;
	memmove(rows + i, rows + i + 1, (n_rows - i) * sizeof(rows[0]));
}

static void
add(const struct row *r)
{
	assert(n_rows < N_ROWS && r->bytes != 0);
	rows[n_rows++] = *r;
}

/* Does rows[i] stand against w, which is rows[at] or comes now? */
static bool
blocks(unsigned i, const struct row *w, unsigned at)
{
	if (!conflict(&rows[i], w))
		return false;
	if (!rows[i].waits)
		return true;
	if (i >= at)
		return false;
	for (unsigned k = 0; k < n_rows; k++) {
		if (!rows[k].waits && same_owner(&rows[k], w) &&
		    conflict(&rows[k], &rows[i]))
			return false; /* it waits for us */
	}
	return true;
}

/* 0: nothing; 1: someone earlier; 2: a holder. */
static int
blocked(const struct row *w, unsigned at)
{
	int worst = 0;

	for (unsigned i = 0; i < n_rows; i++) {
		if (blocks(i, w, at))
			worst = rows[i].waits && worst < 1 ? 1 :
			    rows[i].waits ? worst : 2;
	}
	return worst;
}

/* Does whoever waits as w wait for `me`, directly or not? */
static bool
leads_to(const struct row *w, unsigned at, const struct row *me, bool *seen)
{
	for (unsigned i = 0; i < n_rows; i++) {
		if (!blocks(i, w, at))
			continue;
		if (same_owner(&rows[i], me))
			return true;
		for (unsigned k = 0; k < n_rows; k++) {
			if (seen[k] || !rows[k].waits || rows[k].flock ||
			    !same_owner(&rows[k], &rows[i]))
				continue;
			seen[k] = true;
			if (leads_to(&rows[k], k, me, seen))
				return true;
		}
	}
	return false;
}

static bool
touch(unsigned a, unsigned b)
{
	return ((a << 1 | a | a >> 1) & b) != 0;
}

static void
settle(const struct row *owner)
{
	for (unsigned i = 0; i < n_rows; i++) {
		struct row *r = &rows[i];

		if (r->waits || r->flock || r->queued ||
		    r->node != owner->node || !same_owner(r, owner))
			continue;
		r->prior = 0;
		r->seq = 0;
	}
	for (unsigned i = 0; i < n_rows; i++) {
		for (unsigned k = 0; k < i; k++) {
			struct row *a = &rows[i], *b = &rows[k];

			if (a->waits || b->waits || a->flock || b->flock ||
			    a->queued || b->queued || a->node != owner->node ||
			    b->node != owner->node || !same_owner(a, owner) ||
			    !same_owner(b, owner) || a->excl != b->excl ||
			    a->handle != b->handle ||
			    !touch(a->bytes, b->bytes))
				continue;
			b->bytes |= a->bytes;
			drop(i);
			i = (unsigned)-1;
			break;
		}
	}
}

/* A set of bytes out of a row, which may leave two. */
static void
cut(unsigned i, unsigned bytes)
{
	struct row r = rows[i];
	unsigned left = r.bytes & ~bytes, run;

	drop(i);
	while (left != 0) {
		run = left & ~(left - 1); /* the lowest, and on from there */
		while ((run << 1 & left & ~run) != 0)
			run |= run << 1 & left;
		r.bytes = run;
		add(&r);
		left &= ~run;
	}
}

static void
hold(struct row w)
{
	struct row piece = w;
	unsigned rest = w.bytes;

	piece.waits = false;
	if (w.flock) {
		for (unsigned i = 0; i < n_rows; i++) {
			if (rows[i].flock && !rows[i].waits &&
			    rows[i].node == w.node &&
			    same_owner(&rows[i], &w))
				drop(i--);
		}
		add(&piece);
		return;
	}
	settle(&w);
	for (unsigned i = 0; i < n_rows; i++) {
		struct row old = rows[i];

		if (old.waits || old.flock || old.node != w.node ||
		    !same_owner(&old, &w) || (old.bytes & rest) == 0)
			continue;
		cut(i, rest);
		piece.bytes = old.bytes & rest;
		piece.prior = old.excl ? 2 : 1;
		rest &= ~piece.bytes;
		add(&piece);
		i = (unsigned)-1;
	}
	piece.prior = 0;
	while (rest != 0) {
		unsigned run = rest & ~(rest - 1);

		while ((run << 1 & rest & ~run) != 0)
			run |= run << 1 & rest;
		piece.bytes = run;
		add(&piece);
		rest &= ~run;
	}
}

static void
grant(uint64_t node)
{
	for (unsigned i = 0; i < n_rows; i++) {
		struct row w = rows[i];

		if (!w.waits || w.node != node || blocked(&w, i) != 0)
			continue;
		drop(i);
		hold(w);
		grants[n_grants][0] = w.session;
		grants[n_grants++][1] = w.seq;
		i = (unsigned)-1;
	}
}

static void
grant_all(void)
{
	for (unsigned f = 0; f < N_FILES; f++)
		grant(files[f]);
}

/* *ret_held: granted at once. */
static int
model_lock(const struct row *want, bool may_wait, bool *ret_held)
{
	bool seen[N_ROWS] = {false};
	struct row w = *want, *own = NULL;
	int block = blocked(&w, n_rows);
	bool cycle = false;

	for (unsigned i = 0; i < n_rows && w.flock; i++) {
		if (rows[i].flock && !rows[i].waits &&
		    rows[i].node == w.node && same_owner(&rows[i], &w))
			own = &rows[i];
	}
	*ret_held = true;
	if (own != NULL && own->excl == w.excl)
		return 0;
	if (block != 0 && !may_wait && !(own != NULL && block == 1))
		return -EAGAIN;
	if (block != 0 && !w.flock)
		cycle = leads_to(&w, n_rows, &w, seen);
	if (cycle && block == 2)
		return -EDEADLK;
	if (block == 0 || cycle || (own != NULL && block == 1)) {
		hold(w);
	} else {
		*ret_held = false;
		if (own != NULL)
			drop((unsigned)(own - rows));
		w.waits = w.queued = true;
		add(&w);
	}
	grant_all();
	return 0;
}

static void
model_unlock(const struct row *who, uint32_t flags)
{
	for (unsigned i = 0; i < n_rows; i++) {
		struct row *r = &rows[i];
		bool own = same_owner(r, who);

		if (r->waits || r->node != who->node || r->delayed)
			continue;
		if (((flags & UNLOCK_HANDLE) && !r->flock &&
		    r->session == who->session && r->handle == who->handle) ||
		    (own && (flags & UNLOCK_OWNER)) ||
		    (own && r->flock && (flags & LOCK_FLOCK))) {
			drop(i--);
		} else if (own && !r->flock && (r->bytes & who->bytes) != 0 &&
		    (flags & (LOCK_FLOCK | UNLOCK_HANDLE | UNLOCK_OWNER)) ==
		    0) {
			cut(i, who->bytes);
			i = (unsigned)-1;
		}
	}
	grant_all();
}

static void
model_cancel(uint64_t node, uint64_t session, uint64_t seq)
{
	for (unsigned i = 0; i < n_rows; i++) {
		struct row *r = &rows[i], was;

		if (r->node != node || r->session != session ||
		    r->seq != seq || seq == 0 || r->delayed)
			continue;
		n_given += !r->waits;
		if (r->waits || r->prior == 0) {
			drop(i--);
			continue;
		}
		was = *r;
		was.excl = r->prior == 2;
		for (unsigned k = 0; k < n_rows; k++) {
			if (!rows[k].waits && conflict(&rows[k], &was))
				was.excl = false;
		}
		r->excl = was.excl;
		r->prior = 0;
		r->seq = 0;
		r->queued = false;
	}
	grant_all();
}

/* The first file has gov.lock_delay. */
static void
model_end(uint64_t session, bool lost)
{
	for (unsigned i = 0; i < n_rows; i++) {
		struct row *r = &rows[i];

		if (r->session != session || r->delayed)
			continue;
		if (r->waits || !lost || r->node != files[0]) {
			drop(i--);
			continue;
		}
		r->delayed = true;
		r->seq = r->handle = 0;
		r->queued = false;
	}
	grant_all();
}

/* --- The machine. */

static void
apply(const struct command *c, struct outcome *ret)
{
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, ret);
}

static struct stamp
stamp(unsigned host)
{
	uint64_t seq = ++seqs[host];

	return (struct stamp){
		.session = sessions[host], .seq = seq, .host = host + 1,
		.done_below = seq > N_PAST ? seq - N_PAST + 1 : 1,
		.privileged = true, .seen = UINT64_MAX,
	};
}

static unsigned
bytes_of(uint64_t start, uint64_t end)
{
	unsigned bytes = 0;

	for (unsigned i = 0; i < N_BYTES; i++) {
		if (start <= i && (end >= i))
			bytes |= 1u << i;
	}
	return bytes;
}

static bool
same_row(const struct row *r, const struct tree_lock *l)
{
	unsigned bytes = l->is_flock ? ALL : bytes_of(l->start, l->end);

	return !(r->delayed != (l->delay_ms != 0) ||
	    (!r->delayed && (r->session != l->session ||
	    r->owner != l->owner || r->handle != l->handle)) ||
	    r->flock != l->is_flock || r->excl != l->exclusive ||
	    r->waits != l->waits || r->bytes != bytes);
}

static bool
same_rows(void)
{
	bool used[N_ROWS] = {false};
	unsigned n = 0;
	struct tree_lock l;

	for (unsigned f = 0; f < N_FILES; f++) {
		unsigned last = 0;

		for (uint64_t o = 0; tree_lock_next(txn, files[f], o, &l);
		    o = l.ordinal, n++) {
			unsigned i = 0;

			while (i < n_rows && (used[i] ||
			    rows[i].node != files[f] || !same_row(&rows[i],
			    &l)))
				i++;
			if (i == n_rows)
				return WRONG("owner %lu of %lu has %lu-%lu",
				    l.owner, l.session, l.start, l.end);
			used[i] = true;
			if (l.waits && i < last)
				return WRONG("waiters are out of order");
			last = l.waits ? i : last;
		}
	}
	return n == n_rows || WRONG("%u rows, expected %u", n, n_rows);
}

static bool
same_grants(const struct outcome *o)
{
	unsigned n = 0;

	for (unsigned i = 0; i < o->n_changes; i++) {
		const struct change *ch = &o->changes[i];

		if (ch->kind != CHANGE_GRANT)
			continue;
		if (n == n_grants || ch->session != grants[n][0] ||
		    ch->seq != grants[n][1])
			return WRONG("a grant out of order");
		if (ch->token <= last_token)
			return WRONG("a token that is not new");
		last_token = ch->token;
		n++;
		for (unsigned h = 0; h < N_HOSTS; h++) {
			struct past *p = &pasts[h][ch->seq % N_PAST];

			if (sessions[h] == ch->session && p->used &&
			    p->c.stamp.seq == ch->seq)
				p->value = ch->token;
		}
	}
	n_granted += n;
	return n == n_grants || WRONG("%u grants, expected %u", n, n_grants);
}

static bool
check(const struct outcome *o)
{
	return same_grants(o) && same_rows() &&
	    tree_check(txn, why, sizeof(why)) == 0;
}

static struct past *
keep(const struct command *c, unsigned host, const struct outcome *o)
{
	struct past *p = &pasts[host][c->stamp.seq % N_PAST];

	*p = (struct past){.c = *c, .err = o->err, .value = o->value,
	    .used = true};
	return p;
}

static void
fill_range(struct lock_spec *l)
{
	l->start = random_below(&rnd, N_BYTES);
	l->end = l->start + random_below(&rnd, (unsigned)(N_BYTES - l->start));
	if (l->end == N_BYTES - 1)
		l->end = UINT64_MAX;
}

static struct row
row_of(const struct command *c)
{
	struct row r = {
		.node = c->node, .session = c->stamp.session,
		.owner = c->lock.owner, .handle = c->lock.handle,
		.seq = c->stamp.seq, .flock = c->flags & LOCK_FLOCK,
		.excl = c->flags & LOCK_EXCLUSIVE,
		.bytes = bytes_of(c->lock.start, c->lock.end),
	};

	if (r.flock)
		r.bytes = ALL;
	return r;
}

static bool
try_lock(unsigned host)
{
	struct command c = {
		.kind = COMMAND_lock, .stamp = stamp(host),
		.node = files[random_below(&rnd, N_FILES)],
		.name = slice_str("sh"),
	};
	struct outcome o;
	struct row want;
	bool held, good;
	int err;

	c.lock.owner = 1 + random_below(&rnd, N_OWNERS);
	c.lock.handle = c.lock.owner * 10 + random_below(&rnd, 2);
	c.flags = (chance(25) ? LOCK_FLOCK : 0) |
	    (chance(50) ? LOCK_EXCLUSIVE : 0) | (chance(60) ? LOCK_WAIT : 0);
	fill_range(&c.lock);
	want = row_of(&c);
	err = model_lock(&want, c.flags & LOCK_WAIT, &held);
	apply(&c, &o);
	n_refused += err == -EAGAIN;
	n_deadlocks += err == -EDEADLK;
	if (o.err == 0 && o.value > last_token)
		last_token = o.value;
	good = o.err == err || WRONG("%s, expected %s", strerror(-o.err),
	    strerror(-err));
	good = good && (err != 0 || (o.value != 0) == held ||
	    WRONG("the token is %lu", o.value));
	if (good)
		(void)keep(&c, host, &o);
	good = good && check(&o);
	outcome_fini(&o);
	return good;
}

static bool
try_unlock(unsigned host)
{
	static const uint32_t how[] = {
		0, 0, 0, LOCK_FLOCK, UNLOCK_HANDLE, UNLOCK_OWNER,
	};
	struct command c = {
		.kind = COMMAND_unlock, .stamp = stamp(host),
		.node = files[random_below(&rnd, N_FILES)],
		.flags = how[random_below(&rnd, 6)],
	};
	struct outcome o;
	struct row who;
	bool good;

	c.lock.owner = 1 + random_below(&rnd, N_OWNERS);
	c.lock.handle = c.lock.owner * 10 + random_below(&rnd, 2);
	fill_range(&c.lock);
	who = row_of(&c);
	model_unlock(&who, c.flags);
	apply(&c, &o);
	good = o.err == 0 || WRONG("unlock: %s", strerror(-o.err));
	if (good)
		(void)keep(&c, host, &o);
	good = good && check(&o);
	outcome_fini(&o);
	return good;
}

static bool
try_cancel(unsigned host)
{
	struct command c = {.kind = COMMAND_lock_cancel};
	struct past *p = &pasts[host][random_below(&rnd, N_PAST)];
	struct outcome o;
	bool good;

	if (!p->used || p->c.kind != COMMAND_lock || p->err != 0)
		return true;
	c.stamp = stamp(host);
	c.node = p->c.node;
	c.expect = p->c.stamp.seq;
	model_cancel(c.node, sessions[host], c.expect);
	apply(&c, &o);
	good = o.err == 0 || WRONG("cancel: %s", strerror(-o.err));
	if (good)
		(void)keep(&c, host, &o);
	good = good && check(&o);
	outcome_fini(&o);
	return good;
}

/* Of the last few; those further back are answered by no one. */
static bool
try_again(unsigned host)
{
	struct past *p = &pasts[host][random_below(&rnd, N_PAST)];
	struct outcome o;
	bool good;

	if (!p->used || p->c.stamp.seq + N_PAST / 2 < seqs[host])
		return true;
	n_retries++;
	apply(&p->c, &o);
	good = (o.err == p->err && o.value == p->value && o.n_changes == 0) ||
	    WRONG("again: %s and %lu, expected %s and %lu", strerror(-o.err),
	    o.value, strerror(-p->err), p->value);
	good = good && check(&o);
	outcome_fini(&o);
	return good;
}

static bool
new_session(unsigned host)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = ++next_session,
		.name = slice_str("h"), .stamp = {.host = host + 1},
	};
	struct outcome o;
	bool good;

	if (sessions[host] != 0 && chance(50)) {
		c.kind = chance(50) ? COMMAND_session_expire :
		    COMMAND_session_close;
		c.node = sessions[host];
		if (c.kind == COMMAND_session_close)
			c.stamp = stamp(host);
		else
			c.stamp = (struct stamp){0};
	}
	model_end(sessions[host], c.kind != COMMAND_session_close);
	memset(pasts[host], 0, sizeof(pasts[host]));
	apply(&c, &o);
	sessions[host] = c.kind == COMMAND_session_open ? c.node : 0;
	seqs[host] = 0;
	good = o.err == 0 || WRONG("session: %s", strerror(-o.err));
	good = good && check(&o);
	outcome_fini(&o);
	return good;
}

static bool
end_delay(void)
{
	struct command c = {.kind = COMMAND_delay_end};
	struct tree_lock l;
	struct outcome o;
	unsigned i = 0;
	bool good;

	if (!tree_lock_delayed_next(txn, 0, 0, &c.node, &l))
		return true;
	c.expect = l.ordinal;
	while (i < n_rows && !(rows[i].delayed && same_row(&rows[i], &l)))
		i++;
	if (i == n_rows)
		return WRONG("a delay of nobody");
	drop(i);
	grant_all();
	apply(&c, &o);
	good = (o.err == 0 || WRONG("delay_end")) && check(&o);
	outcome_fini(&o);
	return good;
}

static bool
one_step(void)
{
	unsigned host = random_below(&rnd, N_HOSTS), dice;

	n_grants = 0;
	if (sessions[host] == 0)
		return new_session(host);
	dice = random_below(&rnd, 100);
	if (dice < 50)
		return try_lock(host);
	if (dice < 75)
		return try_unlock(host);
	if (dice < 87)
		return try_cancel(host);
	if (dice < 95)
		return try_again(host);
	if (dice < 98)
		return end_delay();
	return new_session(host);
}

static void
begin(void)
{
	static const char *const names[] = {"f", "g"};
	struct command c = {
		.kind = COMMAND_session_open, .node = 1,
		.name = slice_str("h"), .stamp = {.host = 9},
	};
	struct outcome o;

	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	apply(&c, &o);
	outcome_fini(&o);
	for (unsigned i = 0; i < N_FILES; i++) {
		c = (struct command){
			.kind = COMMAND_create, .dir = 1,
			.name = slice_str(names[i]), .mode = 0644,
			.ino = (UINT64_C(1) << 32) + i + 1,
			.stamp = {.session = 1, .seq = i + 1, .done_below = 1,
			.host = 9, .privileged = true, .seen = UINT64_MAX},
		};
		apply(&c, &o);
		assert(o.err == 0);
		files[i] = o.ino;
		outcome_fini(&o);
	}
	c = (struct command){
		.kind = COMMAND_setxattr, .node = files[0],
		.name = slice_str("gov.lock_delay"), .data = slice_str("1"),
		.stamp = {.session = 1, .seq = N_FILES + 1, .done_below = 1,
		.host = 9, .privileged = true},
	};
	apply(&c, &o);
	assert(o.err == 0);
	outcome_fini(&o);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) :
	    (uint64_t)time(NULL);
	unsigned n_steps = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) :
	    8000;
	bool good = true;

	diag("seed %llu, %u steps", (unsigned long long)seed, n_steps);
	random_init(&rnd, seed);
	begin();
	for (step = 0; good && step < n_steps; step++)
		good = one_step();
	if (!ok(good, "locks do what a naive model does: errno, holders, "
	    "waiters, grants and their order, tokens, retries"))
		diag("step %u: %s", step, why);
	diag("%u granted later, %u refused, %u deadlocks, %u given back, "
	    "%u retries", n_granted, n_refused, n_deadlocks, n_given,
	    n_retries);
	ok(n_granted > n_steps / 100 && n_deadlocks > n_steps / 1000 &&
	    n_given > n_steps / 1000, "the random commands reached something");
	store_abort(txn);
	store_close(store);
	return done_testing();
}
