/*
 * machine.c: the promises of CONTRACT F3 to F8 and O5, one by one; model.t
 * looks for what nobody thought of.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "machine/machine.h"
#include "tests/tap.h"
#include "tree/schema.h"
#include "tree/tree.h"

enum { ALICE = 1000, BOB = 1001, STAFF = 50 };

static struct store *store;
static struct store_txn *txn;
static struct outcome out;
static uint64_t session, range, seq, n_inos, clock_ns = 1000000;

static struct slice
s(const char *text)
{
	return slice_str(text);
}

static int
apply(const struct command *c)
{
	outcome_fini(&out);
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &out);
	return out.err;
}

/* Who asks next; root sees everything. */
static struct stamp
as(uint32_t uid)
{
	struct stamp st = {
		.session = session, .seq = ++seq, .host = 1,
		.seen = UINT64_MAX, .uid = uid, .gid = uid,
		.privileged = uid == 0,
	};

	st.done_below = seq > 10 ? seq - 10 : 1;
	return st;
}

static uint64_t
rev(void)
{
	struct tree_meta meta;

	assert(tree_meta_get(txn, &meta));
	return meta.rev;
}

static struct attr
node(uint64_t ino)
{
	struct attr a = {0};

	(void)tree_node_get(txn, ino, &a);
	return a;
}

static int
open_session(uint64_t id, uint64_t host)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = id, .name = s("h"),
		.stamp = {.host = host},
	};

	return apply(&c);
}

static void
begin(void)
{
	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	session = 100;
	seq = n_inos = 0;
	assert(open_session(session, 1) == 0);
	range = out.value;
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

/* --- Calls; each answers the errno. */

static int
make(enum command_kind kind, struct stamp st, uint64_t dir, const char *name,
    uint32_t mode)
{
	struct command c = {
		.kind = kind, .stamp = st, .dir = dir, .name = s(name),
		.ino = range + ++n_inos, .mode = mode, .data = s("to"),
	};

	if (kind == COMMAND_create)
		c.flags = CREATE_EXCL;
	return apply(&c);
}

static int
birth(struct stamp st, uint64_t dir, const char *name, const char *data,
    uint32_t flags)
{
	struct command c = {
		.kind = COMMAND_birth, .stamp = st, .dir = dir,
		.name = s(name), .ino = range + ++n_inos, .mode = 0644,
		.data = s(data), .flags = flags,
	};

	return apply(&c);
}

static int
put(enum command_kind kind, struct stamp st, uint64_t ino, const char *data,
    uint32_t flags, uint64_t expect)
{
	struct command c = {
		.kind = kind, .stamp = st, .node = ino, .data = s(data),
		.flags = flags, .expect = expect, .mtime_ns = 77,
	};

	return apply(&c);
}

static int
take(enum command_kind kind, struct stamp st, uint64_t dir, const char *name,
    uint64_t ino)
{
	struct command c = {
		.kind = kind, .stamp = st, .dir = dir, .name = s(name),
		.node = ino,
	};

	return apply(&c);
}

static int
move(struct stamp st, uint64_t dir, const char *name, uint64_t ino,
    uint64_t dir2, const char *name2, uint64_t ino2, uint32_t flags)
{
	struct command c = {
		.kind = COMMAND_rename, .stamp = st, .dir = dir,
		.name = s(name), .node = ino, .dir2 = dir2,
		.name2 = s(name2), .node2 = ino2, .flags = flags,
	};

	return apply(&c);
}

static int
set(struct stamp st, uint64_t ino, uint32_t flags, uint32_t mode, uint32_t id,
    uint64_t time_ns)
{
	struct command c = {
		.kind = COMMAND_setattr, .stamp = st, .node = ino,
		.flags = flags, .mode = mode, .uid = id, .gid = id,
		.atime_ns = time_ns, .mtime_ns = time_ns,
	};

	return apply(&c);
}

static int
set_xattr(struct stamp st, uint64_t ino, const char *name, struct slice value)
{
	struct command c = {
		.kind = COMMAND_setxattr, .stamp = st, .node = ino,
		.name = s(name), .data = value,
	};

	return apply(&c);
}

static uint64_t
file(const char *name, uint32_t uid, uint32_t mode)
{
	uint64_t ino;

	assert(make(COMMAND_create, as(0), 1, name, mode) == 0);
	ino = out.ino;
	assert(set(as(0), ino, SETATTR_UID | SETATTR_GID | SETATTR_MODE, mode,
	    uid, 0) == 0);
	return ino;
}

/* --- Tests. */

static void
test_format(void)
{
	begin();
	is_int(rev(), 1, "revision 1 is the formatted tree");
	is_int(out.n_changes, 4, "its directories are told as changes");
	ok(tree_lookup_path(txn, s("/config")) != 0 &&
	    tree_lookup_path(txn, s("/locks")) != 0 &&
	    tree_lookup_path(txn, s("/status")) != 0 &&
	    tree_lookup_path(txn, s("/nodes")) != 0,
	    "a new tree has config, locks, status and nodes");
	is_int(node(1).nlink, 6, "the root counts them");
	end();
}

static void
test_max_file(void)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = 100, .name = s("h"),
		.size = 4, .stamp = {.host = 1},
	};
	struct tree_meta meta;

	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	assert(apply(&c) == 0);
	session = 100;
	range = out.value;
	seq = n_inos = 0;
	c.node = 200;
	c.stamp.host = 2;
	c.size = 9;
	assert(apply(&c) == 0);
	assert(tree_meta_get(txn, &meta));
	is_int(meta.settings.max_file, 4,
	    "who formats the tree decides max_file, nobody after him");
	is_int(birth(as(0), 1, "f", "12345", 0), -EFBIG, "for all hosts (F8)");
	is_int(birth(as(0), 1, "f", "1234", 0), 0, "to the byte");
	end();
}

static void
test_content(void)
{
	uint64_t f, before;
	struct attr a;

	begin();
	f = file("f", ALICE, 0644);
	is_int(put(COMMAND_write, as(ALICE), f, "one", 0, 0), 0,
	    "the owner writes");
	ok(out.attr.rev == rev() && out.rev == rev() && out.attr.size == 3,
	    "a commit's version is its revision");
	ok(out.n_changes == 1 && out.changes[0].kind == CHANGE_CONTENT &&
	    out.changes[0].dir == 1 && strcmp(out.changes[0].name, "f") == 0 &&
	    out.changes[0].size_only_grew, "the change says where and how");
	before = rev();
	is_int(put(COMMAND_write, as(ALICE), f, "one", 0, 0), 0,
	    "equal bytes are taken");
	ok(rev() == before && out.rev == 0 && out.n_changes == 0 &&
	    out.attr.rev == node(f).rev,
	    "but make no revision and no change (F5)");
	is_int(put(COMMAND_write, as(ALICE), f, "one", WRITE_KEEP_MTIME, 0), 0,
	    "equal bytes with another mtime");
	ok(rev() == before + 1 && out.changes[0].kind == CHANGE_ATTR &&
	    out.changes[0].times_only && node(f).mtime_ns == 77 &&
	    node(f).rev == before, "change the time and no version");

	a = node(f);
	is_int(put(COMMAND_append, as(ALICE), f, "+two", 0, 0), 0, "append");
	ok(slice_eq(tree_content(txn, f), s("one+two")) &&
	    out.changes[0].size_only_grew,
	    "adds to what is committed (F3)");
	is_int(put(COMMAND_write, as(ALICE), f, "mine", WRITE_EXPECT, a.rev),
	    -ESTALE, "a version that is gone is refused (F4)");
	ok(slice_eq(tree_content(txn, f), s("one+two")) && out.reason != NULL,
	    "the other's content stays, and why is said");
	is_int(put(COMMAND_write, as(ALICE), f, "one+two", WRITE_EXPECT,
	    a.rev), -ESTALE, "equal bytes don't excuse it");
	is_int(put(COMMAND_write, as(ALICE), f, "mine", WRITE_EXPECT,
	    node(f).rev), 0, "the present version is");
	ok(!out.changes[0].size_only_grew, "a rewrite is no growth");

	before = rev();
	is_int(put(COMMAND_append, as(ALICE), f, "", 0, 0), 0,
	    "nothing is appended");
	is_int(rev(), before, "and that is no revision");
	is_int(put(COMMAND_write, as(BOB), f, "x", 0, 0), -EACCES,
	    "another needs the mode at commit (S2)");
	is_int(put(COMMAND_write, as(BOB), f, "x", WRITE_CREATOR, 0), 0,
	    "unless his handle made the file");
	is_int(put(COMMAND_write, as(0), 1, "x", 0, 0), -EISDIR,
	    "a directory has no content");
	is_int(put(COMMAND_write, as(0), 99, "x", 0, 0), -ENOENT,
	    "a removed file none either");
	end();
}

static void
test_truncate(void)
{
	struct command c = {.kind = COMMAND_truncate, .size = 5};
	uint64_t f, before;

	begin();
	f = file("f", ALICE, 0644);
	assert(put(COMMAND_write, as(ALICE), f, "abc", 0, 0) == 0);
	c.node = f;
	c.stamp = as(ALICE);
	is_int(apply(&c), 0, "truncate grows");
	ok(slice_eq(tree_content(txn, f), slice_of("abc\0\0", 5)),
	    "by zeros");
	before = rev();
	c.stamp = as(ALICE);
	is_int(apply(&c), 0, "to the same size");
	is_int(rev(), before, "it is no change (F5)");
	c.size = 2;
	c.stamp = as(ALICE);
	is_int(apply(&c), 0, "it cuts");
	ok(slice_eq(tree_content(txn, f), s("ab")), "from the end");
	c.size = LIMIT_FILE_DEFAULT + 1;
	c.stamp = as(ALICE);
	is_int(apply(&c), -EFBIG, "not past max_file (F8)");
	end();
}

static void
test_birth(void)
{
	uint64_t f, before;

	begin();
	is_int(birth(as(0), 1, "f", "data", 0), 0, "a file is born");
	f = out.ino;
	ok(rev() == 2 && out.n_changes == 1 &&
	    out.changes[0].kind == CHANGE_CREATE &&
	    out.changes[0].attr.size == 4 && node(f).size == 4,
	    "name and content in one revision (F2)");
	is_int(birth(as(0), 1, "f", "more", BIRTH_APPEND), 0,
	    "another birth of that name");
	ok(out.ino == f && slice_eq(tree_content(txn, f), s("datamore")),
	    "is an append to the file that has it");
	is_int(birth(as(0), 1, "f", "new", 0), 0, "or a write");
	ok(out.ino == f && slice_eq(tree_content(txn, f), s("new")),
	    "that replaces its content");
	is_int(birth(as(ALICE), 1, "f", "hers", 0), -EACCES,
	    "for which permission is asked");
	before = rev();
	is_int(birth(as(ALICE), 1, "f", "new", 0), 0,
	    "unless it changes nothing");
	is_int(rev(), before, "indeed");
	is_int(birth(as(0), 1, "config", "x", 0), -EISDIR,
	    "a directory refuses it");
	assert(make(COMMAND_symlink, as(0), 1, "l", 0) == 0);
	is_int(birth(as(0), 1, "l", "x", 0), -ELOOP, "a link too");
	is_int(birth(as(0), 99, "x", "x", 0), -ENOENT,
	    "in a removed directory nothing is born");
	is_int(birth(as(ALICE), 1, "x", "x", 0), -EACCES,
	    "nor where the mode forbids it");
	is_int(birth(as(0), 1, "f", "x", WRITE_EXPECT), -ESTALE,
	    "F4: on condition it is refused where the name is taken");
	is_int(birth(as(0), 1, "l", "x", WRITE_EXPECT), -ESTALE,
	    "by whatever");
	before = rev();
	is_int(birth(as(0), 1, "g", "x", WRITE_EXPECT), 0, "or else is one");
	is_int(rev(), before + 1, "F2: in one revision, too");
	end();
}

static void
test_create(void)
{
	struct command c = {
		.kind = COMMAND_create, .dir = 1, .name = s("f"),
		.mode = 0600,
	};
	uint64_t f, before;

	begin();
	c.ino = range + 500;
	c.stamp = as(0);
	is_int(apply(&c), 0, "create makes the file");
	f = out.ino;
	is_int(f, range + 500, "with the number that was proposed");
	before = rev();
	c.ino++;
	c.stamp = as(0);
	is_int(apply(&c), 0, "without O_EXCL it may exist");
	ok(out.ino == f && rev() == before, "and is what was asked for");
	c.flags = CREATE_EXCL;
	c.stamp = as(0);
	is_int(apply(&c), -EEXIST, "with O_EXCL it may not (F6)");
	c.name = s("g");
	c.ino = f;
	c.stamp = as(0);
	is_int(apply(&c), -EINVAL, "a number is used once (F7)");
	c.ino = range;
	c.stamp = as(0);
	is_int(apply(&c), -EINVAL, "and is of the session's range");
	c.ino = range + (UINT64_C(1) << 32) + 1;
	c.stamp = as(0);
	is_int(apply(&c), -EINVAL, "not of the next one's");
	c.name = s(".gov");
	c.ino = range + 600;
	c.stamp = as(0);
	is_int(apply(&c), -EPERM, ".gov in the root is the system's");
	is_int(make(COMMAND_mkdir, as(0), 2, ".gov", 0755), 0,
	    "elsewhere it is a name");
	end();
}

/* facts: rule P; success means that the kernel knew the last change. */
static void
test_rule_p(void)
{
	struct stamp late;
	uint64_t gone, other;

	begin();
	assert(make(COMMAND_mkdir, as(0), 1, "lock", 0755) == 0);
	is_int(make(COMMAND_mkdir, as(0), 1, "lock", 0755), -EEXIST,
	    "a lock that is held is refused");
	assert(take(COMMAND_rmdir, as(0), 1, "lock", range + 1) == 0);
	gone = rev();
	late = as(0);
	late.seen = gone - 1;
	is_int(make(COMMAND_mkdir, late, 1, "lock", 0755), -ESTALE,
	    "mkdir waits for who doesn't know that it was freed");
	late = as(0);
	late.seen = gone - 1;
	is_int(make(COMMAND_symlink, late, 1, "lock", 0), -ESTALE,
	    "symlink does");
	late = as(0);
	late.seen = gone - 1;
	other = file("other", 0, 0644);
	{
		struct command c = {
			.kind = COMMAND_link, .stamp = late, .node = other,
			.dir = 1, .name = s("lock"),
		};

		is_int(apply(&c), -ESTALE, "link does");
	}
	late = as(0);
	late.seen = gone - 1;
	is_int(move(late, 1, "other", other, 1, "lock", 0, 0), -ESTALE,
	    "rename to the free name does");
	late = as(0);
	late.seen = gone - 1;
	is_int(make(COMMAND_create, late, 1, "lock", 0600), 0,
	    "O_EXCL doesn't need to: what follows it is parked");
	assert(take(COMMAND_unlink, as(0), 1, "lock", 0) == 0);
	late = as(0);
	late.seen = rev();
	is_int(make(COMMAND_mkdir, late, 1, "lock", 0755), 0,
	    "who knows takes it");
	late = as(0);
	late.seen = 1;
	is_int(make(COMMAND_mkdir, late, 1, "unknown", 0755), 0,
	    "a name that never was is free for anybody");
	end();
}

static void
test_remove(void)
{
	uint64_t f, d, sub;

	begin();
	f = file("f", 0, 0644);
	is_int(take(COMMAND_unlink, as(0), 1, "f", 4242), 0,
	    "unlink takes the file that has the name now");
	ok(out.ino == f && out.changes[0].attr.nlink == 0 &&
	    out.changes[0].old.nlink == 1 && node(f).ino == 0,
	    "and without a name it is gone");
	is_int(take(COMMAND_unlink, as(0), 1, "f", f), -ENOENT, "once");
	is_int(take(COMMAND_unlink, as(0), 1, "config", 2), -EISDIR,
	    "directories are for rmdir");
	assert(make(COMMAND_mkdir, as(0), 1, "d", 0755) == 0);
	d = out.ino;
	assert(make(COMMAND_mkdir, as(0), d, "sub", 0755) == 0);
	sub = out.ino;
	is_int(node(d).nlink, 3, "a directory counts its subdirectories");
	is_int(take(COMMAND_rmdir, as(0), 1, "d", d), -ENOTEMPTY,
	    "a directory with names cannot be removed");
	is_int(take(COMMAND_rmdir, as(0), d, "sub", d), -ESTALE,
	    "nor another one than the kernel showed");
	is_int(take(COMMAND_rmdir, as(0), d, "sub", sub), 0, "an empty one can");
	is_int(node(d).nlink, 2, "and is not counted any more");
	is_int(make(COMMAND_create, as(0), sub, "x", 0600), -ENOENT,
	    "below a removed directory there is nothing");
	end();
}

static void
test_rename(void)
{
	uint64_t a, b, d, e, before;

	begin();
	a = file("a", 0, 0644);
	b = file("b", 0, 0644);
	assert(make(COMMAND_mkdir, as(0), 1, "d", 0755) == 0);
	d = out.ino;
	assert(make(COMMAND_mkdir, as(0), d, "e", 0755) == 0);
	e = out.ino;
	is_int(move(as(0), 1, "a", a, 1, "b", 0, 0), 0,
	    "a file replaces a file that its host did not show yet");
	ok(out.changes[0].node2 == b && out.changes[0].attr2.nlink == 0,
	    "which the change tells");
	is_int(move(as(0), 1, "b", b, 1, "c", 0, 0), -ESTALE,
	    "the source must be what was shown");
	is_int(move(as(0), 1, "b", a, 1, "d", d, RENAME_FLAG_NOREPLACE),
	    -EEXIST, "NOREPLACE spares what is there");
	is_int(move(as(0), 1, "b", a, 1, "d", d, 0), -EISDIR,
	    "a file replaces no directory");
	is_int(move(as(0), 1, "d", d, 1, "b", a, 0), -ENOTDIR,
	    "nor a directory a file");
	is_int(move(as(0), 1, "d", d, e, "x", 0, 0), -EINVAL,
	    "a directory doesn't move below itself");
	is_int(move(as(0), 1, "config", 2, 1, "d", d, 0), -ENOTEMPTY,
	    "nor over one with names");
	is_int(move(as(0), 1, "config", 2, 1, "d", e, 0), -ESTALE,
	    "nor over another one than was shown");
	before = rev();
	is_int(move(as(0), 1, "d", d, 2, "moved", 0, 0), 0,
	    "a directory moves with all that is in it");
	ok(rev() == before + 1 && tree_lookup_path(txn, s("config/moved/e")) ==
	    e && node(1).nlink == 6 && node(2).nlink == 3,
	    "in one commit (F6)");
	is_int(move(as(0), 1, "b", a, 2, "moved", d, RENAME_FLAG_EXCHANGE), 0,
	    "a file and a directory are exchanged");
	ok(tree_lookup_path(txn, s("b/e")) == e &&
	    tree_lookup_path(txn, s("config/moved")) == a &&
	    out.changes[0].kind == CHANGE_EXCHANGE, "both ways");
	before = rev();
	is_int(move(as(0), 1, "b", d, 1, "b", d, 0), 0, "onto itself");
	is_int(rev(), before, "nothing happens (F5)");
	is_int(move(as(0), 1, "b", d, 1, ".gov", 0, 0), -EPERM,
	    ".gov is no target");
	end();
}

static void
test_permissions(void)
{
	struct stamp st;
	uint64_t f, d;

	begin();
	is_int(make(COMMAND_mkdir, as(ALICE), 1, "x", 0755), -EACCES,
	    "names need a writable directory");
	assert(make(COMMAND_mkdir, as(0), 1, "tmp", 01777) == 0);
	d = out.ino;
	is_int(birth(as(ALICE), d, "hers", "1", 0), 0, "as /tmp is");
	f = out.ino;
	is_int(take(COMMAND_unlink, as(BOB), d, "hers", f), -EPERM,
	    "a sticky one keeps others from removing");
	is_int(move(as(BOB), d, "hers", f, d, "his", 0, 0), -EPERM,
	    "and from renaming");
	is_int(set(as(BOB), f, SETATTR_MODE, 0666, 0, 0), -EPERM,
	    "chmod is the owner's");
	is_int(set(as(ALICE), f, SETATTR_MODE, 0666, 0, 0), 0, "and hers");
	is_int(set(as(ALICE), f, SETATTR_UID, 0, BOB, 0), -EPERM,
	    "chown is root's");
	st = as(ALICE);
	st.n_groups = 1;
	st.groups[0] = STAFF;
	is_int(set(st, f, SETATTR_GID, 0, STAFF, 0), 0,
	    "but she may choose among her groups");
	is_int(set(as(ALICE), f, SETATTR_GID, 0, BOB, 0), -EPERM,
	    "among hers only");
	is_int(set(as(BOB), f, SETATTR_MTIME, 0, 0, 5), -EPERM,
	    "times are the owner's");
	is_int(set(as(BOB), f, SETATTR_ATIME_NOW | SETATTR_MTIME_NOW, 0, 0, 0),
	    0, "both to now: who may write");
	assert(set(as(0), f, SETATTR_MODE, 06777, 0, 0) == 0);
	is_int(put(COMMAND_write, as(BOB), f, "new", 0, 0), 0,
	    "a write by another");
	is_int(node(f).mode & 07777, 0777, "takes set-user-ID away");
	assert(set(as(0), f, SETATTR_MODE, 04755, 0, 0) == 0);
	is_int(set(as(0), f, SETATTR_UID, 0, BOB, 0), 0, "chown");
	is_int(node(f).mode & 07777, 0755, "does so too");
	is_int(set(as(BOB), f, SETATTR_MODE, 02755, 0, 0), 0, "set-group-ID");
	is_int(node(f).mode & 07777, 0755, "is for members of the group");

	assert(set(as(0), d, SETATTR_MODE | SETATTR_GID, 02777, STAFF, 0) ==
	    0);
	is_int(make(COMMAND_mkdir, as(ALICE), d, "sub", 0755), 0,
	    "a set-group-ID directory");
	ok(out.attr.gid == STAFF && (out.attr.mode & 02000),
	    "gives its group and its bit");
	is_int(birth(as(ALICE), d, "f", "", 0), 0, "to files");
	ok(out.attr.gid == STAFF && !(out.attr.mode & 02000),
	    "the group");
	ok(machine_access(&out.attr, &(struct stamp){.uid = BOB}, R_OK) == 0 &&
	    machine_access(&out.attr, &(struct stamp){.uid = BOB}, W_OK) ==
	    -EACCES && machine_access(&out.attr,
	    &(struct stamp){.privileged = true}, X_OK) == -EACCES,
	    "machine_access() answers as open(2) would");
	end();
}

static void
test_setattr(void)
{
	uint64_t f, before, ctime_ns;

	begin();
	f = file("f", ALICE, 0644);
	before = rev();
	is_int(set(as(ALICE), f, SETATTR_MODE, 0644, 0, 0), 0, "the same mode");
	is_int(rev(), before, "is no change (F5)");
	is_int(set(as(ALICE), f, SETATTR_ATIME | SETATTR_MTIME, 0, 0, 42), 0,
	    "times are set");
	ok(out.changes[0].times_only && out.changes[0].atime_set &&
	    out.changes[0].mtime_set && node(f).mtime_ns == 42,
	    "which the change tells");
	before = rev();
	is_int(set(as(ALICE), f, SETATTR_ATIME | SETATTR_MTIME, 0, 0, 42), 0,
	    "the same times");
	is_int(rev(), before, "are none");
	ctime_ns = node(f).ctime_ns;
	clock_ns = 5;
	is_int(set(as(ALICE), f, SETATTR_MTIME_NOW | SETATTR_ATIME_NOW, 0, 0,
	    0), 0, "touch on a clock that fell back");
	ok(node(f).ctime_ns == ctime_ns + 1 &&
	    node(f).mtime_ns == ctime_ns + 1,
	    "still moves on: times strictly increase (F7, O8)");
	clock_ns = 1000000;
	end();
}

static void
test_xattrs(void)
{
	static char big[LIMIT_XATTR_VALUE + 1];
	uint64_t f, l, before;
	char name[16];
	int err = 0;

	begin();
	f = file("f", ALICE, 0644);
	assert(make(COMMAND_symlink, as(0), 1, "l", 0) == 0);
	l = out.ino;
	is_int(set_xattr(as(ALICE), f, "user.a", s("1")), 0, "user.* is set");
	ok(out.changes[0].kind == CHANGE_ATTR && !out.changes[0].times_only &&
	    node(f).ctime_ns > node(f).mtime_ns, "as an attribute");
	before = rev();
	is_int(set_xattr(as(ALICE), f, "user.a", s("1")), 0, "to the same");
	is_int(rev(), before, "is no change (F5)");
	is_int(set_xattr(as(BOB), f, "user.a", s("2")), -EACCES,
	    "it needs write permission");
	is_int(set_xattr(as(0), f, "system.posix_acl_access", s("")),
	    -EOPNOTSUPP, "other names are not supported");
	is_int(set_xattr(as(0), l, "user.a", s("1")), -EPERM,
	    "links have none");
	is_int(set_xattr(as(0), f, "user.b", slice_of(big, sizeof(big))),
	    -E2BIG, "values are bounded");
	for (unsigned i = 0; i < LIMIT_XATTRS; i++) {
		(void)snprintf(name, sizeof(name), "user.%u", i);
		err = set_xattr(as(0), f, name, s("x"));
	}
	is_int(err, -ENOSPC, "their number too");
	is_int(take(COMMAND_removexattr, as(0), 1, "user.none", f), -ENODATA,
	    "one that is absent cannot be removed");
	is_int(take(COMMAND_unlink, as(0), 1, "f", f), 0, "unlink");
	ok(!tree_xattr_get(txn, f, s("user.a"), &(struct slice){0}),
	    "takes them all");
	end();
}

static void
test_limits(void)
{
	static char big[LIMIT_FILE_DEFAULT + 1];
	struct tree_meta meta;
	uint64_t f, dir = 1, deep = 0, other;
	int err = 0;
	unsigned depth;
	struct command c;

	begin();
	f = file("f", 0, 0644);
	c = (struct command){
		.kind = COMMAND_write, .stamp = as(0), .node = f,
		.data = slice_of(big, sizeof(big)),
	};
	is_int(apply(&c), -EFBIG, "max_file is kept (F8)");
	c.data.len--;
	c.stamp = as(0);
	is_int(apply(&c), 0, "to the byte");
	is_int(put(COMMAND_append, as(0), f, "1", 0, 0), -EFBIG,
	    "for appends too");

	for (depth = 0; err == 0 && depth < LIMIT_DEPTH + 5; depth++) {
		err = make(COMMAND_mkdir, as(0), dir, "d", 0755);
		if (err != 0)
			break;
		deep = dir;
		dir = out.ino;
	}
	is_int(err, -ENAMETOOLONG, "the tree's depth is bounded");
	is_int(depth, LIMIT_DEPTH, "by LIMIT_DEPTH");
	assert(make(COMMAND_mkdir, as(0), 2, "x", 0755) == 0);
	other = out.ino;
	assert(make(COMMAND_mkdir, as(0), other, "y", 0755) == 0);
	is_int(move(as(0), 2, "x", other, deep, "z", 0, 0), -ENAMETOOLONG,
	    "also for what hangs below a directory that moves");
	is_int(move(as(0), other, "y", range + n_inos, deep, "z", 0, 0), 0,
	    "the last level is allowed");

	assert(tree_meta_get(txn, &meta));
	meta.settings.tree_inodes = meta.n_inodes + 1;
	meta.settings.tree_bytes = meta.bytes + 1;
	tree_meta_put(txn, &meta);
	is_int(birth(as(0), 1, "q", "12", 0), -ENOSPC,
	    "the quota of bytes is kept (F8)");
	is_int(birth(as(0), 1, "q", "1", 0), 0, "to the byte");
	is_int(birth(as(0), 1, "r", "", 0), -EDQUOT,
	    "the quota of inodes too");
	is_int(put(COMMAND_write, as(0), f, "", 0, 0), 0,
	    "a full tree can be emptied");
	end();
}

static int
link_as(uint64_t f, const char *name)
{
	struct command c = {.kind = COMMAND_link, .dir = 1, .name = s(name),
	    .node = f, .stamp = as(0)};

	return apply(&c);
}

/* What no quota counts would fill the store of every host. */
static void
test_quota(void)
{
	struct tree_meta meta;
	uint64_t f, g, before;

	begin();
	f = file("f", 0, 0644);
	g = file("g", 0, 0644);
	assert(tree_meta_get(txn, &meta));
	before = meta.bytes;
	meta.settings.tree_bytes = meta.bytes + LIMIT_LINK_BYTES +
	    LIMIT_XATTR_BYTES + 10;
	tree_meta_put(txn, &meta);
	is_int(link_as(f, "l"), 0, "a further name");
	is_int(link_as(f, "m"), -ENOSPC, "counts as bytes of the quota (F8)");
	is_int(set_xattr(as(0), f, "user.a", s("12345")), -ENOSPC,
	    "so do attributes, name, value and some more");
	is_int(set_xattr(as(0), f, "user.a", s("1234")), 0, "to the byte");
	is_int(set_xattr(as(0), f, "user.a", s("12345")), -ENOSPC,
	    "when they grow, too");
	is_int(set_xattr(as(0), f, "user.a", s("1")), 0, "a smaller one");
	is_int(put(COMMAND_write, as(0), g, "1234", 0, 0), -ENOSPC,
	    "leaves room for as much");
	is_int(put(COMMAND_write, as(0), g, "123", 0, 0), 0, "and no more");
	is_int(take(COMMAND_unlink, as(0), 1, "f", f), 0, "a name that goes");
	is_int(link_as(f, "n"), 0, "makes room for another");
	is_int(move(as(0), 1, "g", g, 1, "n", f, 0), 0, "also by rename");
	is_int(link_as(g, "o"), 0, "for one more");
	is_int(take(COMMAND_removexattr, as(0), 1, "user.a", f), 0,
	    "an attribute removed");
	is_int(put(COMMAND_write, as(0), g, "1234567890", 0, 0), 0,
	    "does as well");
	assert(set_xattr(as(0), f, "user.a", s("")) == -ENOSPC);
	assert(put(COMMAND_write, as(0), g, "", 0, 0) == 0);
	assert(set_xattr(as(0), f, "user.a", s("1")) == 0);
	assert(take(COMMAND_unlink, as(0), 1, "l", f) == 0);
	assert(take(COMMAND_unlink, as(0), 1, "n", g) == 0);
	assert(take(COMMAND_unlink, as(0), 1, "o", g) == 0);
	assert(tree_meta_get(txn, &meta));
	is_int(meta.bytes, before, "what is gone counts no more");
	end();
}

static void
test_links(void)
{
	struct command c = {.kind = COMMAND_link, .dir = 1, .name = s("n")};
	struct attr a;
	uint64_t f;

	begin();
	f = file("f", 0, 0644);
	c.node = f;
	c.stamp = as(0);
	is_int(apply(&c), 0, "a file gets another name");
	ok(out.attr.nlink == 2 && out.changes[0].kind == CHANGE_LINK &&
	    out.changes[0].old.nlink == 1, "its link count says so");
	is_int(take(COMMAND_unlink, as(0), 1, "f", f), 0, "loses the first");
	ok(out.changes[0].attr.nlink == 1 && node(f).nlink == 1,
	    "and lives on");
	is_int(put(COMMAND_write, as(0), f, "x", 0, 0), 0, "a write to it");
	is_str(out.changes[0].name, "n", "is told by the name it has");
	c.name = s("m");
	c.node = 2;
	c.stamp = as(0);
	is_int(apply(&c), -EPERM, "directories have one name");
	a = node(f);
	a.nlink = LIMIT_LINKS;
	tree_node_put(txn, &a);
	c.node = f;
	c.stamp = as(0);
	is_int(apply(&c), -EMLINK, "links are bounded");
	a.nlink = 1;
	tree_node_put(txn, &a);
	end();
}

static void
test_exactly_once(void)
{
	struct command c = {
		.kind = COMMAND_append, .data = s("x"),
	}, refused, late;
	uint8_t before[STORE_DIGEST_LEN], after[STORE_DIGEST_LEN];
	struct outcome first;
	uint64_t f;

	begin();
	f = file("f", 0, 0644);
	c.node = f;
	c.stamp = as(0);
	assert(apply(&c) == 0);
	first = out;
	store_digest(txn, before);
	is_int(apply(&c), 0, "a retry is answered");
	store_digest(txn, after);
	ok(memcmp(before, after, sizeof(after)) == 0 && out.n_changes == 0,
	    "and changes nothing at all (O5)");
	ok(out.rev == first.rev && out.ino == first.ino &&
	    memcmp(&out.attr, &first.attr, sizeof(out.attr)) == 0,
	    "with the outcome of the first time");
	refused = c;
	refused.node = 4711;
	refused.stamp = as(0);
	assert(apply(&refused) == -ENOENT);
	is_int(apply(&refused), -ENOENT, "a refusal is kept too");

	late = c;
	late.stamp = as(0);
	c.stamp = as(0);
	c.stamp.done_below = c.stamp.seq;
	is_int(apply(&c), 0, "a later one says what has been answered");
	is_int(apply(&late), -OUTCOME_EWINDOW,
	    "what comes after that is never applied");
	late.stamp = as(0);
	late.stamp.done_below = 1;
	is_int(apply(&late), 0, "done_below never moves back");
	late.stamp.seq = c.stamp.seq - 1;
	is_int(apply(&late), -OUTCOME_EWINDOW, "by another's older one");
	c.stamp.seq += LIMIT_WINDOW;
	is_int(apply(&c), -OUTCOME_EWINDOW,
	    "nor what is LIMIT_WINDOW ahead");
	late.stamp = as(0);
	late.stamp.done_below = late.stamp.seq + 1;
	is_int(apply(&late), -OUTCOME_EWINDOW,
	    "nor what says of itself that it was answered");
	is_int(node(f).size, 3, "each was applied once");
	end();
}

static unsigned
outcome_keys(void)
{
	struct slice key, value;
	struct key k;
	unsigned n = 0;

	key = schema_prefix(&k, FAMILY_OUTCOME, 0, 0, 0);
	while (store_seek(txn, key, true, &key, &value) &&
	    schema_parse(key, FAMILY_OUTCOME, NULL, NULL, NULL))
		n++;
	return n;
}

/* A noop, by its place in the session. */
static int
noop_at(uint64_t done_below, uint64_t at)
{
	struct command c = {.kind = COMMAND_noop, .stamp = as(0)};

	c.stamp.done_below = done_below;
	c.stamp.seq = at;
	return apply(&c);
}

static void
test_outcomes_kept(void)
{
	struct command c = {.kind = COMMAND_session_close};
	uint64_t far = 10 * LIMIT_WINDOW + 3;

	begin();
	is_int(noop_at(1, 1) | noop_at(1, LIMIT_WINDOW), 0,
	    "the first and the last of a window");
	is_int(outcome_keys(), 2, "are both kept (O5)");
	is_int(noop_at(2, 2), 0, "one is not asked for any more");
	is_int(outcome_keys(), 2, "and shares its key with the next");
	is_int(noop_at(far, far), 0, "then a whole window is not");
	is_int(outcome_keys(), 1, "and has gone");
	is_int(noop_at(far, far + LIMIT_WINDOW - 1), 0, "the next one's last");
	is_int(outcome_keys(), 2, "is kept");
	c.stamp = as(0);
	c.stamp.seq = c.stamp.done_below = far + 1;
	is_int(apply(&c), 0, "the session ends");
	is_int(outcome_keys(), 0, "and leaves no outcome");
	end();
}

static void
test_sessions(void)
{
	struct command c = {.kind = COMMAND_noop};
	uint64_t first, before;

	begin();
	first = range;
	before = rev();
	is_int(open_session(100, 1), 0, "a session_open comes again");
	is_int(out.value, first, "with the same range");
	is_int(open_session(200, 2), 0, "another host has another");
	ok(out.value == first + (UINT64_C(1) << 32), "range of numbers");
	is_int(open_session(100, 2), -EINVAL, "not another's session");
	is_int(open_session(0, 2), -EINVAL, "nor one without an id");
	is_int(open_session(300, 1), 0, "a host's new session");
	c.stamp = as(0);
	is_int(apply(&c), -OUTCOME_ESESSION, "ends its old one");
	is_int(open_session(100, 1), -OUTCOME_ESESSION,
	    "which never comes back");
	session = 300;
	seq = 0;
	c.stamp = as(0);
	is_int(apply(&c), 0, "the new one works");
	c.kind = COMMAND_session_close;
	c.stamp = as(0);
	is_int(apply(&c), 0, "it is closed");
	c.stamp = as(0);
	is_int(apply(&c), -OUTCOME_ESESSION, "and over");
	c = (struct command){.kind = COMMAND_noop};
	is_int(apply(&c), 0, "a noop needs none");
	is_int(rev(), before, "none of that is a revision");
	end();
}

int
main(void)
{
	test_format();
	test_max_file();
	test_content();
	test_truncate();
	test_birth();
	test_create();
	test_rule_p();
	test_remove();
	test_rename();
	test_permissions();
	test_setattr();
	test_xattrs();
	test_limits();
	test_quota();
	test_links();
	test_exactly_once();
	test_outcomes_kept();
	test_sessions();
	return done_testing();
}
