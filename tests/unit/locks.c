/*
 * locks.c: CONTRACT L1, L2, L3, L5 in the machine: flock and byte ranges, in
 * their order, exactly once.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

#include "machine/machine.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum {
	FLOCK = LOCK_FLOCK, EX = LOCK_EXCLUSIVE, WAIT = LOCK_WAIT,
	A = 100, B = 200, /* sessions of hosts 1 and 2 */
};
#define END UINT64_MAX

static struct store *store;
static struct store_txn *txn;
static struct outcome out;
static uint64_t clock_ns = 1000000, seqs[2], f, g;

static int
apply(const struct command *c)
{
	outcome_fini(&out);
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &out);
	return out.err;
}

static struct stamp
as(uint64_t session)
{
	uint64_t *seq = &seqs[session == A ? 0 : 1];

	return (struct stamp){
		.session = session, .seq = ++*seq,
		.done_below = *seq > 50 ? *seq - 50 : 1,
		.host = session == A ? 1 : 2, .seen = UINT64_MAX,
		.privileged = true,
	};
}

static uint64_t
seq_of(uint64_t session)
{
	return seqs[session == A ? 0 : 1];
}

static uint64_t
rev(void)
{
	struct tree_meta meta;

	assert(tree_meta_get(txn, &meta));
	return meta.rev;
}

static uint64_t
make(const char *name)
{
	static uint64_t n;
	struct command c = {
		.kind = COMMAND_create, .stamp = as(A), .dir = 1,
		.name = slice_str(name), .mode = 0644,
	};

	c.ino = (UINT64_C(1) << 32) + ++n;
	assert(apply(&c) == 0);
	return out.ino;
}

static int
session_open(uint64_t id, uint64_t host)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = id,
		.name = slice_str("h"), .stamp = {.host = host},
		.expect = 7000,
	};

	return apply(&c);
}

static int
session_expire(uint64_t id)
{
	struct command c = {.kind = COMMAND_session_expire, .node = id};

	return apply(&c);
}

static void
begin(void)
{
	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	seqs[0] = seqs[1] = 0;
	assert(session_open(A, 1) == 0 && session_open(B, 2) == 0);
	f = make("f");
	g = make("g");
}

static void
end(void)
{
	char why[256] = "";

	if (!ok(tree_check(txn, why, sizeof(why)) == 0, "the tree is whole"))
		diag("%s", why);
	outcome_fini(&out);
	store_abort(txn);
	store_close(store);
}

static struct command
lock_command(uint64_t session, uint64_t node, uint64_t owner, uint32_t flags,
    uint64_t start, uint64_t end_)
{
	return (struct command){
		.kind = COMMAND_lock, .stamp = as(session), .node = node,
		.name = slice_str("sh"), .flags = flags,
		.lock = {owner, owner + 1000, start, end_, 42},
	};
}

static int
lock(uint64_t session, uint64_t node, uint64_t owner, uint32_t flags,
    uint64_t start, uint64_t end_)
{
	struct command c = lock_command(session, node, owner, flags, start,
	    end_);

	return apply(&c);
}

static int
unlock(uint64_t session, uint64_t node, uint64_t owner, uint32_t flags,
    uint64_t start, uint64_t end_)
{
	struct command c = {
		.kind = COMMAND_unlock, .stamp = as(session), .node = node,
		.flags = flags, .lock = {owner, owner + 1000, start, end_, 42},
	};

	return apply(&c);
}

static int
cancel(uint64_t session, uint64_t node, uint64_t seq)
{
	struct command c = {
		.kind = COMMAND_lock_cancel, .stamp = as(session),
		.node = node, .expect = seq,
	};

	return apply(&c);
}

static int
set_delay(uint64_t node, const char *duration)
{
	struct command c = {
		.kind = COMMAND_setxattr, .stamp = as(A), .node = node,
		.name = slice_str("gov.lock_delay"),
		.data = slice_str(duration),
	};

	return apply(&c);
}

/* Is out's i-th grant that of (session, seq)? */
static bool
granted(unsigned i, uint64_t session, uint64_t seq)
{
	for (unsigned k = 0; k < out.n_changes; k++) {
		const struct change *ch = &out.changes[k];

		if (ch->kind != CHANGE_GRANT || i-- != 0)
			continue;
		return ch->session == session && ch->seq == seq &&
		    ch->token != 0;
	}
	return false;
}

static unsigned
n_grants(void)
{
	unsigned n = 0;

	for (unsigned k = 0; k < out.n_changes; k++)
		n += out.changes[k].kind == CHANGE_GRANT;
	return n;
}

/* Rows of a node: "s0-9" shared, "X" exclusive flock, "?" in front: waits. */
static const char *
rows(uint64_t node)
{
	static char text[512];
	struct tree_lock l;
	size_t n = 0;

	text[0] = '\0';
	for (uint64_t o = 0; tree_lock_next(txn, node, o, &l); o = l.ordinal) {
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		    "%s%s%s%lu", n != 0 ? " " : "", l.waits ? "?" : "",
		    l.is_flock ? (l.exclusive ? "X" : "S") :
		    (l.exclusive ? "x" : "s"), l.owner);
		if (!l.is_flock && l.end != END)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
			    ":%lu-%lu", l.start, l.end);
		else if (!l.is_flock)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
			    ":%lu-", l.start);
	}
	return text;
}
#define IS_ROWS(node, expected, what) do { \
	const char *rows_ = rows(node); \
	if (!ok(strcmp(rows_, expected) == 0, what)) \
		diag("rows: %s, expected: %s", rows_, expected); \
} while (0)

static void
test_flock(void)
{
	uint64_t before, token, ticket;

	begin();
	before = rev();
	is_int(lock(A, f, 1, FLOCK | EX, 0, END), 0, "flock is free");
	token = out.value;
	ok(token != 0 && tree_lock_token(txn, f) == token && out.ino == f,
	    "its grant has a token (L5)");
	ok(out.rev == 0 && rev() == before && out.n_changes == 1 &&
	    out.changes[0].kind == CHANGE_LOCKS && out.changes[0].node == f,
	    "locks make no revision, but a change");
	is_int(lock(B, f, 1, FLOCK | EX, 0, END), -EAGAIN,
	    "the same owner number on another host is another (L1)");
	is_int(lock(A, f, 2, FLOCK, 0, END), -EAGAIN,
	    "shared doesn't go beside exclusive");
	is_int(lock(A, f, 1, EX, 0, 9), 0,
	    "byte ranges don't see flock, as on Linux");
	is_int(lock(A, f, 1, FLOCK | EX, 0, END), 0, "twice is once");
	is_int((int)out.value, (int)token, "with the token that it has");
	is_int(lock(B, f, 2, FLOCK | WAIT, 0, END), 0, "another queues");
	ticket = seq_of(B);
	is_int((int)out.value, 0, "and waits");
	is_int(unlock(A, f, 1, FLOCK, 0, END), 0, "unlock");
	ok(n_grants() == 1 && granted(0, B, ticket), "grants to who waits");
	ok(tree_lock_token(txn, f) > token, "tokens grow");
	is_int(lock(A, f, 1, FLOCK, 0, END), 0, "shared beside shared");
	IS_ROWS(f, "x1:0-9 S2 S1", "all are there");
	is_int(unlock(A, f, 77, FLOCK, 0, END), 0, "unlocking nothing is fine");
	is_int(lock(A, 99, 1, FLOCK, 0, END), -ESTALE, "a removed file: no");
	is_int(rev(), before, "no revision in all that");
	end();
}

static void
test_fifo(void)
{
	uint64_t first, second, third, fourth;

	begin();
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	assert(lock(B, f, 2, FLOCK | WAIT, 0, END) == 0);
	first = seq_of(B);
	assert(lock(B, f, 3, FLOCK | WAIT | EX, 0, END) == 0);
	second = seq_of(B);
	assert(lock(A, f, 4, FLOCK | WAIT, 0, END) == 0);
	third = seq_of(A);
	assert(lock(B, f, 5, FLOCK | WAIT, 0, END) == 0);
	fourth = seq_of(B);
	assert(unlock(A, f, 1, UNLOCK_OWNER, 0, END) == 0);
	ok(n_grants() == 1 && granted(0, B, first),
	    "first come, first served (L2)");
	is_int(lock(A, f, 6, FLOCK, 0, END), -EAGAIN,
	    "nobody overtakes a waiter");
	assert(unlock(B, f, 2, FLOCK, 0, END) == 0);
	ok(n_grants() == 1 && granted(0, B, second), "then the exclusive one");
	assert(unlock(B, f, 3, FLOCK, 0, END) == 0);
	ok(n_grants() == 2 && granted(0, A, third) && granted(1, B, fourth),
	    "then both shared ones, in their order");
	end();
}

static void
test_convert(void)
{
	begin();
	assert(lock(A, f, 1, FLOCK, 0, END) == 0);
	assert(lock(B, f, 2, FLOCK, 0, END) == 0);
	is_int(lock(A, f, 1, FLOCK | EX, 0, END), -EAGAIN,
	    "an upgrade against a reader fails");
	IS_ROWS(f, "S1 S2", "and keeps the old lock");
	is_int(lock(A, f, 1, FLOCK | EX | WAIT, 0, END), 0, "or waits");
	IS_ROWS(f, "S2 ?X1", "without it");
	is_int(lock(B, f, 2, FLOCK | EX | WAIT, 0, END), 0, "both upgrade");
	ok(out.value != 0, "and the last reader has it");
	IS_ROWS(f, "?X1 X2", "no deadlock");
	is_int(lock(B, f, 2, FLOCK, 0, END), 0, "a downgrade is at once");
	IS_ROWS(f, "?X1 S2", "whoever waits");
	end();
}

static void
test_ranges(void)
{
	struct tree_lock probe = {.session = B, .owner = 9}, found;

	begin();
	assert(lock(A, f, 1, EX, 0, 99) == 0);
	is_int(lock(B, f, 2, EX, 99, 100), -EAGAIN, "overlap by one byte");
	is_int(lock(B, f, 2, EX, 100, 199), 0, "side by side");
	assert(unlock(A, f, 1, 0, 40, 49) == 0);
	IS_ROWS(f, "x1:0-39 x2:100-199 x1:50-99", "unlock splits");
	assert(lock(A, f, 1, EX, 40, 49) == 0);
	assert(lock(A, f, 1, 0, 20, 29) == 0);
	IS_ROWS(f, "x1:0-19 x2:100-199 x1:30-99 s1:20-29",
	    "what touches merges, a part is converted");
	is_int(lock(B, f, 2, 0, 25, 29), 0, "to shared");
	assert(lock(A, f, 1, EX, 200, END) == 0);
	probe.start = 30;
	probe.end = END;
	ok(tree_lock_conflict(txn, &probe, f, &found) && found.start == 30 &&
	    found.end == 99 && found.owner == 1 && found.exclusive &&
	    strcmp(found.comm, "sh") == 0 && found.pid == 42,
	    "F_GETLK shows the first in the way");
	probe.start = 20;
	probe.end = 29;
	ok(!tree_lock_conflict(txn, &probe, f, &found),
	    "readers aren't in each other's");
	assert(unlock(A, f, 1, 0, 0, END) == 0);
	IS_ROWS(f, "x2:100-199 s2:25-29", "unlock to the end");
	assert(lock(A, f, 1, EX, 500, END) == 0);
	assert(lock(A, f, 3, EX, 300, 309) == 0);
	assert(unlock(A, f, 3, UNLOCK_HANDLE, 0, END) == 0);
	IS_ROWS(f, "x2:100-199 s2:25-29 x1:500-",
	    "the last close of a handle frees what went through it (OFD)");
	assert(lock(B, f, 2, FLOCK, 0, END) == 0);
	assert(unlock(B, f, 2, UNLOCK_OWNER, 0, END) == 0);
	IS_ROWS(f, "x1:500-", "an owner's end frees all that is his");
	end();
}

static void
test_deadlock(void)
{
	begin();
	assert(lock(A, f, 1, EX, 0, 0) == 0);
	assert(lock(B, g, 2, EX, 0, 0) == 0);
	assert(lock(A, g, 1, EX | WAIT, 0, 0) == 0);
	is_int(lock(B, f, 2, EX | WAIT, 0, 0), -EDEADLK, "AB, BA (L3)");
	is_int(lock(B, f, 2, EX, 0, 0), -EAGAIN, "asking is no wait");
	is_int(lock(A, f, 3, EX | WAIT, 0, 0), 0, "a third just waits");
	is_int(lock(B, f, 2, EX | WAIT, 5, 5), 0, "other bytes are free");
	assert(lock(B, f, 4, EX, 1, 1) == 0);
	assert(lock(A, f, 3, EX, 2, 2) == 0);
	is_int(lock(B, f, 4, EX | WAIT, 2, 2), 0, "4 waits for 3, for 1, for 2");
	is_int(lock(B, f, 2, EX | WAIT, 1, 1), -EDEADLK, "a cycle of four");
	end();

	begin();
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	assert(lock(B, g, 2, FLOCK | EX, 0, END) == 0);
	assert(lock(A, g, 1, FLOCK | EX | WAIT, 0, END) == 0);
	is_int(lock(B, f, 2, FLOCK | EX | WAIT, 0, END), 0,
	    "cycles of flock are the user's, as on Linux");
	end();

	begin();
	assert(lock(A, f, 1, EX, 0, 0) == 0);	    /* 1 has f */
	assert(lock(B, g, 2, 0, 0, 0) == 0);	    /* 2 reads g */
	assert(lock(B, g, 3, EX | WAIT, 0, 0) == 0); /* 3 waits for 2 */
	assert(lock(B, f, 2, EX | WAIT, 0, 0) == 0); /* 2 waits for 1 */
	is_int(lock(A, g, 1, WAIT, 0, 0), 0, "the order of the queue");
	ok(out.value != 0, "never makes a deadlock where no holder does");
	end();
}

static void
test_own_waiter(void)
{
	begin();
	assert(lock(A, f, 1, EX, 0, 99) == 0);
	assert(lock(B, f, 2, EX | WAIT, 0, 99) == 0);
	is_int(lock(A, f, 1, 0, 0, 9), 0, "whoever waits for me");
	ok(out.value != 0, "is not in my way");
	is_int(lock(A, f, 1, EX, 0, 9), 0, "there and back");
	is_int(lock(B, f, 3, EX | WAIT, 50, 50), 0, "others queue behind him");
	assert(unlock(A, f, 1, 0, 0, 59) == 0);
	is_int(n_grants(), 0, "a part is not enough");
	assert(unlock(A, f, 1, 0, 60, 99) == 0);
	is_int(n_grants(), 1, "all of it is");
	end();
}

static void
test_cancel(void)
{
	uint64_t waits, third, late;
	struct command c;

	begin();
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	assert(lock(B, f, 2, FLOCK | EX | WAIT, 0, END) == 0);
	waits = seq_of(B);
	assert(lock(A, f, 3, FLOCK | WAIT, 0, END) == 0);
	third = seq_of(A);
	assert(lock(A, f, 1, FLOCK, 0, END) == 0);
	is_int(cancel(B, f, waits), 0, "a wait is given up");
	ok(n_grants() == 1 && granted(0, A, third),
	    "which lets the next one pass");
	assert(lock(B, f, 2, FLOCK | EX | WAIT, 0, END) == 0);
	waits = seq_of(B);
	assert(unlock(A, f, 1, FLOCK, 0, END) == 0);
	assert(unlock(A, f, 3, FLOCK, 0, END) == 0);
	ok(granted(0, B, waits), "granted, but nobody waits any more");
	is_int(cancel(B, f, waits), 0, "is given back");
	IS_ROWS(f, "", "too");
	is_int(cancel(B, f, waits), 0, "once");

	assert(lock(A, f, 1, 0, 0, 9) == 0);
	assert(lock(A, f, 4, 0, 5, 5) == 0);
	assert(lock(A, f, 1, EX | WAIT, 5, 14) == 0);
	waits = seq_of(A);
	assert(unlock(A, f, 4, 0, 0, END) == 0);
	ok(granted(0, A, waits), "an upgrade of a part is granted");
	is_int(cancel(A, f, waits), 0, "and given back");
	IS_ROWS(f, "s1:0-4 s1:5-9", "to what the owner had before");

	assert(unlock(A, f, 1, 0, 0, END) == 0);
	assert(lock(A, f, 1, 0, 0, 9) == 0 && lock(A, f, 1, 0, 20, 29) == 0);
	assert(lock(A, f, 1, EX, 5, 24) == 0);
	is_int(cancel(A, f, seq_of(A)), 0, "what didn't wait, too");
	IS_ROWS(f, "s1:0-4 s1:25-29 s1:5-9 s1:20-24", "can be given back");

	c = lock_command(B, g, 2, EX | WAIT, 0, 9);
	late = seq_of(B);
	is_int(cancel(B, g, late), 0, "a cancel that overtakes its lock");
	is_int(apply(&c), -EINTR, "forestalls it");
	IS_ROWS(g, "", "for ever");
	end();
}

static void
test_retry(void)
{
	struct command held, waits, freed;
	uint64_t token;

	begin();
	held = lock_command(A, f, 1, FLOCK | EX, 0, END);
	assert(apply(&held) == 0);
	token = out.value;
	waits = lock_command(B, f, 2, FLOCK | EX | WAIT, 0, END);
	assert(apply(&waits) == 0);
	is_int(apply(&held), 0, "a lock that comes again");
	ok(out.value == token && out.n_changes == 0, "has its token (O5)");
	is_int(apply(&waits), 0, "a waiter that comes again");
	ok(out.value == 0, "still waits");
	IS_ROWS(f, "X1 ?X2", "once");
	freed = (struct command){
		.kind = COMMAND_unlock, .stamp = as(A), .node = f,
		.flags = FLOCK, .lock = {1, 1001, 0, END, 42},
	};
	assert(apply(&freed) == 0 && n_grants() == 1);
	is_int(apply(&waits), 0, "one granted since");
	ok(out.value == token + 1, "is told so");
	assert(lock(A, f, 1, FLOCK | WAIT, 0, END) == 0);
	is_int(apply(&freed), 0, "an unlock that comes again");
	IS_ROWS(f, "X2 ?S1", "frees no later lock");
	end();
}

static void
test_session_end(void)
{
	uint64_t waits;
	struct tree_session ts;
	struct command c = {.kind = COMMAND_delay_end};
	struct tree_lock l;
	uint64_t node;

	begin();
	ok(tree_session_next(txn, 0, &ts) && ts.id == A && ts.host == 1 &&
	    ts.ttl_ms == 7000 && strcmp(ts.name, "h") == 0 &&
	    tree_session_next(txn, A, &ts) && ts.id == B &&
	    !tree_session_next(txn, B, &ts), "sessions can be listed");
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	assert(lock(A, g, 1, EX | WAIT, 0, END) == 0);
	assert(lock(B, f, 2, FLOCK | EX | WAIT, 0, END) == 0);
	waits = seq_of(B);
	is_int(session_expire(A), 0, "a session expires");
	ok(n_grants() == 1 && granted(0, B, waits), "its locks go on (L4)");
	IS_ROWS(g, "", "all of them");
	is_int(session_expire(A), 0, "once");
	is_int(out.n_changes, 0, "and for all");
	is_int(lock(A, g, 1, EX, 0, END), -OUTCOME_ESESSION,
	    "it takes no more");

	assert(session_open(A + 1, 1) == 0);
	assert(session_open(B + 1, 2) == 0);
	IS_ROWS(f, "", "a host's new session ends its old one");
	end();

	begin();
	assert(set_delay(f, "2") == 0);
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	assert(lock(B, f, 2, FLOCK | EX | WAIT, 0, END) == 0);
	assert(session_expire(A) == 0);
	is_int(n_grants(), 0, "with gov.lock_delay nobody has it at once");
	ok(tree_lock_delayed_next(txn, 0, 0, &node, &l) && node == f &&
	    l.delay_ms == 2000 &&
	    !tree_lock_delayed_next(txn, node, l.ordinal, &node, &l),
	    "the leader is told how long");
	c.node = f;
	c.expect = l.ordinal;
	assert(tree_lock_delayed_next(txn, 0, 0, &node, &l));
	c.expect = l.ordinal;
	is_int(apply(&c), 0, "then it ends the delay");
	is_int(n_grants(), 1, "and who waits has it");
	ok(!tree_lock_delayed_next(txn, 0, 0, &node, &l), "nothing is left");
	end();

	begin();
	assert(set_delay(f, "2s") == 0);
	assert(lock(A, f, 1, FLOCK | EX, 0, END) == 0);
	c = (struct command){.kind = COMMAND_session_close, .stamp = as(A)};
	assert(apply(&c) == 0);
	IS_ROWS(f, "", "a clean end delays nothing");
	end();
}

static void
test_bounds(void)
{
	int err = 0;

	begin();
	for (unsigned i = 0; i < LIMIT_NODE_LOCKS && err == 0; i++)
		err = lock(A, f, 1, EX, 2 * i, 2 * i);
	is_int(err, -ENOLCK, "a file has so many locks and no more");
	is_int(lock(A, g, 1, EX, 0, END), 0, "others have room");
	is_int(unlock(A, f, 1, 0, 0, END), 0, "unlock has no bound");
	IS_ROWS(f, "", "at all");
	end();
}

int
main(void)
{
	test_flock();
	test_fifo();
	test_convert();
	test_ranges();
	test_deadlock();
	test_own_waiter();
	test_cancel();
	test_retry();
	test_session_end();
	test_bounds();
	return done_testing();
}
