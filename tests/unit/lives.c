/*
 * lives.c: CONTRACT T1 to T5, L5 and S2 in the machine: lifetimes, what ends
 * them, guards and owners.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

#include "machine/machine.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum { A = 100, B = 200 }; /* sessions of hosts 1 and 2 */
enum { LOCKS = 3, STATUS = 4, CONFIG = 2 };

static struct store *store;
static struct store_txn *txn;
static struct outcome out;
static uint64_t clock_ns = 1000000, seqs[2], n_inos, ranges[2];

static int
apply(const struct command *c)
{
	outcome_fini(&out);
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &out);
	return out.err;
}

static unsigned
side(uint64_t session)
{
	return session < B ? 0 : 1;
}

static struct stamp
as(uint64_t session)
{
	uint64_t *seq = &seqs[side(session)];

	return (struct stamp){
		.session = session, .seq = ++*seq,
		.done_below = *seq > 50 ? *seq - 50 : 1,
		.host = side(session) + 1, .seen = UINT64_MAX,
		.privileged = true,
	};
}

static uint64_t
rev(void)
{
	struct tree_meta meta;

	assert(tree_meta_get(txn, &meta));
	return meta.rev;
}

static int
session_open(uint64_t id)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = id,
		.name = slice_str("h"), .stamp = {.host = side(id) + 1},
	};
	int err = apply(&c);

	ranges[side(id)] = out.value;
	seqs[side(id)] = 0;
	return err;
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
	n_inos = 0;
	assert(session_open(A) == 0 && session_open(B) == 0);
}

static void
whole(void)
{
	char why[256] = "";

	if (!ok(tree_check(txn, why, sizeof(why)) == 0, "the tree is whole"))
		diag("%s", why);
}

static void
end(void)
{
	whole();
	outcome_fini(&out);
	store_abort(txn);
	store_close(store);
}

static int
name(enum command_kind kind, uint64_t session, uint64_t dir, const char *text,
    uint64_t node)
{
	struct command c = {
		.kind = kind, .stamp = as(session), .dir = dir,
		.name = slice_str(text), .node = node, .mode = 0755,
		.data = slice_str("data"),
	};

	c.ino = ranges[side(session)] + ++n_inos;
	return apply(&c);
}

/* By open(2) with O_EXCL. */
static uint64_t
excl(uint64_t session, uint64_t dir, const char *text)
{
	struct command c = {
		.kind = COMMAND_create, .stamp = as(session), .dir = dir,
		.name = slice_str(text), .mode = 0644, .flags = CREATE_EXCL,
	};

	c.ino = ranges[side(session)] + ++n_inos;
	assert(apply(&c) == 0);
	return out.ino;
}

static uint64_t
birth_if_absent(uint64_t session, uint64_t dir, const char *text)
{
	struct command c = {
		.kind = COMMAND_birth, .stamp = as(session), .dir = dir,
		.name = slice_str(text), .mode = 0644, .flags = WRITE_EXPECT,
		.data = slice_str("data"),
	};

	c.ino = ranges[side(session)] + ++n_inos;
	assert(apply(&c) == 0);
	return out.ino;
}

static uint64_t
made(enum command_kind kind, uint64_t session, uint64_t dir, const char *text)
{
	assert(name(kind, session, dir, text, 0) == 0);
	return out.ino;
}

static int
set(uint64_t session, uint64_t ino, const char *xattr, const char *value)
{
	struct command c = {
		.kind = COMMAND_setxattr, .stamp = as(session), .node = ino,
		.name = slice_str(xattr), .data = slice_str(value),
	};

	return apply(&c);
}

static int
unset(uint64_t session, uint64_t ino, const char *xattr)
{
	struct command c = {
		.kind = COMMAND_removexattr, .stamp = as(session),
		.node = ino, .name = slice_str(xattr),
	};

	return apply(&c);
}

static int
put(uint64_t session, uint64_t ino, const char *data, uint64_t token)
{
	struct command c = {
		.kind = COMMAND_write, .stamp = as(session), .node = ino,
		.data = slice_str(data), .token = token,
	};

	return apply(&c);
}

static int
expire(uint64_t ino, uint64_t attr_rev)
{
	struct command c = {
		.kind = COMMAND_expire, .node = ino, .expect = attr_rev,
	};

	return apply(&c);
}

static int
reap(uint64_t session, uint64_t ino)
{
	struct command c = {
		.kind = COMMAND_reap, .stamp = as(session), .node = ino,
	};

	return apply(&c);
}

static int
flock_(enum command_kind kind, uint64_t session, uint64_t ino, uint32_t flags)
{
	struct command c = {
		.kind = kind, .stamp = as(session), .node = ino,
		.name = kind == COMMAND_lock ? slice_str("sh") : SLICE_EMPTY,
		.flags = LOCK_FLOCK | flags,
		.lock = {7, 7, 0, UINT64_MAX, 42},
	};

	return apply(&c);
}

static int
lock(uint64_t session, uint64_t ino, uint32_t flags)
{
	return flock_(COMMAND_lock, session, ino, flags);
}

static int
unlock(uint64_t session, uint64_t ino)
{
	return flock_(COMMAND_unlock, session, ino, 0);
}

static bool
there(const char *path)
{
	return tree_lookup_path(txn, slice_str(path)) != 0;
}

static struct tree_life
life(uint64_t ino)
{
	struct tree_life l = {0};

	(void)tree_life_get(txn, ino, &l);
	return l;
}

static uint64_t
attr_rev(uint64_t ino)
{
	struct attr a = {0};

	(void)tree_node_get(txn, ino, &a);
	return a.attr_rev;
}

static unsigned
count(enum change_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < out.n_changes; i++)
		n += out.changes[i].kind == kind && out.changes[i].aside;
	return n;
}

static void
test_set(void)
{
	static const char *const bad[] = {
		"", "ever", "ttl", "ttl=", "ttl=10x", "ttl=99ms", "ttl=366d",
		"ttl=-1s", "ttl= 1s", "session ", "ttl=99999999999999999999s",
	};
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{"ttl=100ms", 100}, {"ttl=2", 2000}, {"ttl=10s", 10000},
		{"ttl=5m", 300000}, {"ttl=3h", 10800000},
		{"ttl=365d", UINT64_C(31536000000)},
	};
	struct command c;
	uint64_t f, before;

	begin();
	f = made(COMMAND_birth, A, CONFIG, "f");
	is_int(life(f).kind, LIFE_FOREVER, "files live for ever (T1)");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(set(A, f, "gov.lifetime", bad[i]), -EINVAL, bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(set(A, f, "gov.lifetime", good[i].text) == 0 &&
		    life(f).kind == LIFE_TTL &&
		    life(f).ttl_ms == good[i].ms, good[i].text);
	ok(out.n_changes == 1 && out.changes[0].kind == CHANGE_ATTR &&
	    attr_rev(f) == rev(), "it is a change of attributes");
	before = rev();
	is_int(set(A, f, "gov.lifetime", "ttl=365d"), 0, "again");
	is_int(rev(), before, "it is none (F5)");
	is_int(set(A, f, "gov.lifetime", "process"), 0, "process");
	ok(life(f).kind == LIFE_PROCESS && life(f).session == A &&
	    life(f).host == 1, "is owned");
	is_int(unset(A, f, "gov.lifetime"), 0, "removing it");
	is_int(life(f).kind, LIFE_FOREVER, "means forever");
	is_int(unset(A, f, "gov.lifetime"), -ENODATA, "once");
	is_int(set(A, f, "gov.lifetime", "forever"), 0, "as saying so");
	c = (struct command){
		.kind = COMMAND_setxattr, .node = f, .stamp = as(A),
		.name = slice_str("gov.lifetime"), .data = slice_str("open"),
	};
	c.flags = XATTR_FLAG_REPLACE;
	is_int(apply(&c), -ENODATA, "there is none to replace");
	c.stamp = as(A);
	c.flags = XATTR_FLAG_CREATE;
	is_int(apply(&c), 0, "but one to make");
	c.stamp = as(A);
	is_int(apply(&c), -EEXIST, "once, as setxattr(2)");
	c.stamp = as(A);
	c.flags = XATTR_FLAG_REPLACE;
	is_int(apply(&c), 0, "then there is one");
	c.stamp = as(A);
	c.flags = 0;
	c.stamp.privileged = false;
	c.stamp.uid = 1000;
	is_int(apply(&c), -EPERM, "it is the owner's business");
	is_int(set(A, f, "gov.token", "7"), -EOPNOTSUPP,
	    "what govfs tells can't be set");
	end();
}

static void
test_ttl(void)
{
	uint64_t f, dir, link_, old;

	begin();
	f = made(COMMAND_birth, A, STATUS, "f");
	ok(life(f).kind == LIFE_TTL && life(f).ttl_ms == 10000,
	    "status/ gives ttl=10s (T2)");
	dir = made(COMMAND_mkdir, A, STATUS, "kind");
	f = made(COMMAND_birth, A, dir, "id");
	link_ = made(COMMAND_symlink, A, dir, "link");
	ok(life(f).kind == LIFE_TTL && life(link_).kind == LIFE_TTL,
	    "and so do directories made in it");
	old = attr_rev(f);
	assert(put(B, f, "news", 0) == 0);
	is_int(expire(f, old), 0, "an expiry that crosses a write");
	ok(there("/status/kind/id"), "is late");
	assert(lock(A, f, 0) == 0);
	is_int(expire(f, attr_rev(f)), -EBUSY, "while somebody has a lock");
	ok(there("/status/kind/id"), "it stays");
	assert(unlock(A, f) == 0);
	ok(there("/status/kind/id"), "until it is asked for again");
	assert(name(COMMAND_link, A, CONFIG, "other", f) == 0);
	old = rev();
	is_int(expire(f, attr_rev(f)), 0, "a ttl runs out");
	ok(!there("/status/kind/id") && !there("/config/other"),
	    "and all names go");
	ok(rev() == old + 1 && count(CHANGE_UNLINK) == 2,
	    "in one revision, told as changes aside");
	old = rev();
	is_int(expire(f, attr_rev(f)), 0, "again");
	is_int(expire(dir, attr_rev(dir)), 0, "or of a directory");
	ok(rev() == old && there("/status/kind"), "it does nothing");
	is_int(set(A, CONFIG, "gov.lifetime", "ttl=1s"), 0, "a default set");
	f = made(COMMAND_birth, A, CONFIG, "f");
	is_int(life(f).kind, LIFE_TTL, "holds for what comes then");
	end();
}

static void
test_session(void)
{
	uint64_t before, f, dir, plain;

	begin();
	f = excl(A, LOCKS, "excl");
	dir = made(COMMAND_mkdir, A, LOCKS, "dir");
	plain = made(COMMAND_birth, A, LOCKS, "plain");
	(void)made(COMMAND_symlink, A, LOCKS, "sym");
	assert(name(COMMAND_link, A, LOCKS, "linked", plain) == 0);
	(void)excl(A, dir, "inside");
	(void)excl(B, LOCKS, "others");
	ok(life(f).kind == LIFE_SESSION && life(f).session == A &&
	    life(dir).session == A && life(plain).kind == LIFE_FOREVER,
	    "in locks/ O_EXCL and mkdir live with the session, open doesn't");
	whole();
	before = rev();
	is_int(session_expire(A), 0, "the session ends (T3)");
	ok(!there("/locks/excl") && !there("/locks/sym") &&
	    !there("/locks/dir"), "what it made goes, directories empty");
	ok(there("/locks/plain") && !there("/locks/linked"),
	    "of a link the name alone");
	ok(there("/locks/others"), "other sessions' stay");
	ok(rev() == before + 1 && count(CHANGE_UNLINK) == 4 &&
	    count(CHANGE_RMDIR) == 1, "in one revision");
	end();

	begin();
	dir = made(COMMAND_mkdir, A, LOCKS, "dir");
	(void)excl(B, dir, "inside");
	f = excl(A, LOCKS, "excl");
	assert(lock(B, f, 0) == 0);
	assert(session_expire(A) == 0);
	ok(there("/locks/dir/inside") && there("/locks/excl"),
	    "nothing with a name in it or a lock on it goes");
	ok(life(dir).doomed && life(f).doomed, "before they do");
	assert(unlock(B, f) == 0);
	ok(!there("/locks/excl") && count(CHANGE_UNLINK) == 1 && out.rev != 0,
	    "it goes with the last lock");
	is_int(name(COMMAND_unlink, B, dir, "inside", 0), 0, "or name");
	ok(!there("/locks/dir") && out.n_changes == 2 &&
	    !out.changes[0].aside && out.changes[1].aside &&
	    out.changes[1].kind == CHANGE_RMDIR, "as a change aside");
	end();

	begin();
	f = excl(A, LOCKS, "excl");
	assert(session_open(A + 1) == 0);
	ok(!there("/locks/excl") && out.rev != 0,
	    "a host's new session ends the old one's");
	f = excl(A + 1, LOCKS, "excl");
	is_int(put(B, f, "x", 0), -EPERM, "another host doesn't update it");
	is_int(set(B, f, "user.x", "1"), -EPERM, "nor its attributes");
	is_int(set(B, f, "gov.lifetime", "session"), -EPERM,
	    "T3: nor takes it over");
	is_int(set(B, f, "gov.lifetime", "forever"), -EPERM, "or keeps it");
	is_int(unset(B, f, "gov.lifetime"), -EPERM, "in any way");
	is_int(life(f).session, A + 1, "it is its host's");
	is_int(put(A + 1, f, "x", 0), 0, "its own does");
	(void)made(COMMAND_birth, B, LOCKS, "tmp");
	{
		struct command c = {
			.kind = COMMAND_rename, .stamp = as(B), .dir = LOCKS,
			.name = slice_str("tmp"), .node = out.ino,
			.dir2 = LOCKS, .name2 = slice_str("excl"), .node2 = f,
		};

		is_int(apply(&c), -EPERM, "nor replaces it");
		c.stamp = as(B);
		c.flags = RENAME_FLAG_NOREPLACE;
		is_int(apply(&c), -EEXIST,
		    "F6: a race for the name is lost as any other");
	}
	is_int(name(COMMAND_unlink, B, LOCKS, "excl", 0), 0,
	    "but may break the lock");
	f = birth_if_absent(B, LOCKS, "excl");
	ok(life(f).kind == LIFE_SESSION && life(f).session == B,
	    "a birth on condition takes a name as O_EXCL does");
	end();
}

static void
test_link(void)
{
	uint64_t f;

	begin();
	f = made(COMMAND_birth, A, CONFIG, "f");
	assert(name(COMMAND_link, A, LOCKS, "l", f) == 0);
	assert(name(COMMAND_unlink, A, LOCKS, "l", 0) == 0);
	assert(name(COMMAND_link, B, LOCKS, "l", f) == 0);
	assert(session_expire(A) == 0);
	ok(there("/locks/l"), "who took the name later keeps it");
	assert(name(COMMAND_unlink, B, CONFIG, "f", 0) == 0);
	assert(lock(B, f, 0) == 0);
	assert(session_open(A + 1) == 0);
	assert(lock(A + 1, f, 0) == 0);
	assert(session_expire(B) == 0);
	ok(there("/locks/l"), "the last name stays while there is a lock");
	assert(unlock(A + 1, f) == 0);
	ok(!there("/locks/l"), "and no longer");
	end();
}

static void
test_open(void)
{
	uint64_t dir, f, g;

	begin();
	dir = made(COMMAND_mkdir, A, 1, "d");
	assert(set(A, dir, "gov.lifetime", "open") == 0);
	is_int(life(dir).session, 0, "a directory's lifetime is a default");
	f = made(COMMAND_birth, A, dir, "f");
	g = made(COMMAND_birth, B, dir, "g");
	ok(life(f).kind == LIFE_OPEN && life(f).session == A &&
	    life(f).host == 1 && life(g).session == B,
	    "files in it are their maker's (T4)");
	is_int(reap(B, f), -EPERM, "only his session ends them");
	is_int(reap(A, f), 0, "when the handle is gone");
	ok(!there("/d/f") && count(CHANGE_UNLINK) == 1, "they are");
	is_int(reap(A, f), 0, "once");
	assert(lock(A, g, 0) == 0);
	is_int(reap(B, g), 0, "with a lock on it");
	ok(there("/d/g"), "it waits");
	assert(unlock(A, g) == 0);
	ok(!there("/d/g"), "for the lock's end");
	assert(set(A, dir, "gov.lifetime", "process") == 0);
	f = made(COMMAND_birth, A, dir, "f");
	is_int(life(f).kind, LIFE_PROCESS, "process is the same (T5)");
	assert(session_expire(A) == 0);
	ok(!there("/d/f") && there("/d"), "and ends with the session too");
	end();
}

static void
test_bounds(void)
{
	char text[16];
	int err = 0;
	unsigned n;

	begin();
	for (n = 0; err == 0 && n < LIMIT_SESSION_NODES + 2; n++) {
		(void)snprintf(text, sizeof(text), "%u", n);
		err = name(COMMAND_symlink, A, LOCKS, text, 0);
	}
	is_int(err, -EDQUOT, "a session owns so many files and no more");
	is_int((int)n, LIMIT_SESSION_NODES + 1, "to the file");
	is_int(name(COMMAND_symlink, B, LOCKS, "b", 0), 0, "others have room");
	is_int(name(COMMAND_symlink, A, CONFIG, "a", 0), 0,
	    "what lives for ever isn't meant");
	assert(session_expire(A) == 0);
	is_int((int)count(CHANGE_UNLINK), LIMIT_SESSION_NODES,
	    "all end in one command");
	end();
}

static void
test_guard(void)
{
	uint64_t l, dir, f, token, newer, before;

	begin();
	l = made(COMMAND_birth, A, LOCKS, "db");
	dir = made(COMMAND_mkdir, A, 1, "db");
	f = made(COMMAND_birth, A, dir, "f");
	is_int(set(A, dir, "gov.guard", ""), -EINVAL, "a guard is a path");
	is_int(set(A, dir, "gov.guard", "/locks/db"), 0, "gov.guard is set");
	before = rev();
	is_int(put(A, f, "x", 0), -ESTALE, "nobody writes without the lock");
	ok(out.reason != NULL && rev() == before, "(L5)");
	assert(lock(A, l, LOCK_EXCLUSIVE) == 0);
	token = out.value;
	is_int(put(A, f, "x", 0), 0, "its holder does");
	is_int(put(B, f, "y", 0), -ESTALE, "others don't");
	is_int(put(B, f, "y", token), 0, "unless they show the token");
	is_int(name(COMMAND_birth, B, dir, "new", 0), -ESTALE, "nor names");
	is_int(name(COMMAND_unlink, B, dir, "f", 0), -ESTALE, "either way");
	is_int(set(B, f, "user.a", "1"), -ESTALE, "nor attributes");
	is_int(name(COMMAND_create, B, dir, "f", 0), 0,
	    "opening is no writing");
	is_int(put(B, l, "pid", 0), 0, "what is elsewhere is not guarded");
	assert(session_expire(A) == 0);
	assert(lock(B, l, LOCK_EXCLUSIVE) == 0);
	newer = out.value;
	ok(newer > token, "the next holder has a higher token");
	is_int(put(B, f, "z", token), -ESTALE, "the old one is worth nothing");
	is_int(put(B, f, "z", newer), 0, "the new one is");
	assert(unlock(B, l) == 0 && lock(B, l, 0) == 0);
	is_int(put(B, f, "a", 0), -ESTALE, "a shared lock is no guard's");
	assert(set(B, f, "gov.guard", "nowhere") == 0);
	assert(unlock(B, l) == 0 && lock(B, l, LOCK_EXCLUSIVE) == 0);
	is_int(put(B, f, "b", 0), -ESTALE, "a guard that isn't there is closed");
	is_int(unset(B, f, "gov.guard"), 0, "and can be taken away");
	is_int(put(B, f, "b", 0), 0, "by the owner");
	whole();
	assert(name(COMMAND_unlink, B, dir, "f", 0) == 0);
	assert(name(COMMAND_rmdir, B, 1, "db", dir) == 0);
	f = made(COMMAND_birth, B, CONFIG, "f");
	is_int(put(B, f, "b", 1), -ESTALE, "without a guard the token");
	assert(lock(B, f, LOCK_EXCLUSIVE) == 0);
	is_int(put(B, f, "b", out.value), 0, "is of the file's own lock");
	end();
}

int
main(void)
{
	test_set();
	test_ttl();
	test_session();
	test_link();
	test_open();
	test_guard();
	test_bounds();
	return done_testing();
}
