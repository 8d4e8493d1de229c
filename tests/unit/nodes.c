/*
 * nodes.c: nodes/<host>/ in the machine: what a host tells of itself, what the
 * ends of its sessions make of that, and who may not get in its way.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/buf.h"
#include "machine/machine.h"
#include "tests/tap.h"
#include "tree/tree.h"

static struct store *store;
static struct store_txn *txn;
static struct outcome out;
static uint64_t clock_ns, seq;
static struct buf facts;

static int
apply(const struct command *c)
{
	outcome_fini(&out);
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &out);
	return out.err;
}

static void
fact(const char *name, const char *text)
{
	buf_slice16(&facts, slice_str(name));
	buf_slice16(&facts, slice_str(text));
}

static void
usual_facts(const char *labels)
{
	buf_reset(&facts);
	fact("address", "10.0.0.1:7440\n");
	fact("role", "voter\n");
	fact("version", "0.1.0\n");
	fact("labels", labels);
}

/* Session ids are of host id / 100. */
static int
open_as(const char *name, uint64_t id)
{
	struct command c = {
		.kind = COMMAND_session_open, .node = id,
		.name = slice_str(name), .data = buf_slice(&facts),
		.stamp = {.host = id / 100, .privileged = true},
	};

	seq = 0;
	return apply(&c);
}

static int
close_of(uint64_t id)
{
	struct command c = {
		.kind = COMMAND_session_close, .stamp = {.session = id,
		.host = id / 100, .seq = ++seq, .privileged = true},
	};

	return apply(&c);
}

static int
leader(enum command_kind kind, uint64_t id)
{
	struct command c = {
		.kind = kind, .node = id, .stamp = {.privileged = true},
	};

	return apply(&c);
}

static void
begin(void)
{
	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	clock_ns = UINT64_C(1700000000000000000);
	buf_init(&facts, LIMIT_HOST_FACTS_BYTES * 2);
	usual_facts("");
}

static void
end(void)
{
	char why[256] = "";

	if (!ok(tree_check(txn, why, sizeof(why)) == 0, "the tree is whole"))
		diag("%s", why);
	outcome_fini(&out);
	buf_fini(&facts);
	store_abort(txn);
	store_close(store);
}

static uint64_t
rev(void)
{
	struct tree_meta meta;

	assert(tree_meta_get(txn, &meta));
	return meta.rev;
}

/* "": there is no such file. */
static const char *
text(const char *path)
{
	static char copies[4][256];
	static unsigned n;
	char *copy = copies[n++ % 4];
	uint64_t ino = tree_lookup_path(txn, slice_str(path));
	struct slice content = ino == 0 ? SLICE_EMPTY : tree_content(txn, ino);

	assert(content.len < sizeof(copies[0]));
	if (content.len != 0)
		memcpy(copy, content.ptr, content.len);
	copy[content.len] = '\0';
	return copy;
}

/* By root of host 9, as an operator does. */
static uint64_t
by_hand(enum command_kind kind, const char *dir, const char *name)
{
	struct command c = {
		.kind = kind, .name = slice_str(name), .mode = 0755,
		.stamp = {.session = 900, .host = 9, .seq = 1, .done_below = 1,
		    .privileged = true, .seen = UINT64_MAX},
	};
	struct command o = {
		.kind = COMMAND_session_open, .node = 900,
		.name = slice_str("ops"), .stamp = {.host = 9},
	};
	static uint64_t n_seqs;
	struct tree_name n;

	(void)apply(&o);
	c.dir = tree_lookup_path(txn, slice_str(dir));
	c.ino = out.value + ++n_seqs;
	c.stamp.seq = c.stamp.done_below = n_seqs;
	if (kind == COMMAND_unlink || kind == COMMAND_rmdir) {
		assert(tree_name_get(txn, c.dir, c.name, &n));
		c.node = n.ino;
	}
	if (apply(&c) != 0)
		bail_out("%s %s/%s: %d", command_name(kind), dir, name,
		    out.err);
	return out.ino;
}

static void
empty_place(const char *dir)
{
	uint64_t ino = tree_lookup_path(txn, slice_str(dir));
	struct tree_name n;
	struct slice name;
	char copy[LIMIT_NAME + 1];

	while (tree_name_next(txn, ino, SLICE_EMPTY, &name, &n)) {
		memcpy(copy, name.ptr, name.len);
		copy[name.len] = '\0';
		by_hand(COMMAND_unlink, dir, copy);
	}
}

static void
test_life(void)
{
	struct attr a;
	uint64_t at;

	begin();
	usual_facts("canary=1\nzone=a\n");
	is_int(open_as("h1", 100), 0, "a session begins");
	is_int(rev(), 2, "and tells of its host in one revision");
	is_str(text("nodes/h1/address"), "10.0.0.1:7440\n", "a fact is a file");
	is_str(text("nodes/h1/labels"), "canary=1\nzone=a\n", "so are labels");
	is_str(text("nodes/h1/id"), "0000000000000001\n", "whose it is");
	is_str(text("nodes/h1/state"), "online\n", "online");
	is_str(text("nodes/h1/since"), "2023-11-14T22:13:20Z\n", "and since");
	ok(strcmp(out.changes[out.n_changes - 1].name, "state") == 0,
	    "who is told of state has been told of the others");
	assert(tree_node_get(txn, tree_lookup_path(txn,
	    slice_str("nodes/h1/state")), &a));
	ok(a.mode == (S_IFREG | 0644) && a.uid == 0, "root's, all may read");
	(void)open_as("h1", 100);
	ok(rev() == 2 && out.n_changes == 0, "once per session");

	at = rev();
	(void)leader(COMMAND_suspend, 100);
	is_str(text("nodes/h1/state"), "suspended\n", "renewals are missed");
	(void)leader(COMMAND_suspend, 100);
	is_int(rev(), at + 1, "which is told once");
	(void)leader(COMMAND_resume, 100);
	is_str(text("nodes/h1/state"), "online\n", "and come again");
	(void)leader(COMMAND_resume, 100);
	is_int(rev(), at + 2, "once, too");

	clock_ns += UINT64_C(86400000000000);
	is_int(close_of(100), 0, "a clean end");
	is_str(text("nodes/h1/state"), "left\n", "has left");
	is_str(text("nodes/h1/since"), "2023-11-15T22:13:20Z\n", "a day later");
	is_int(rev(), at + 3, "in one revision");

	clock_ns += UINT64_C(5000000000);
	(void)open_as("h1", 101);
	ok(rev() == at + 4 && out.n_changes == 2, "F5: a host that comes back "
	    "the same changes state and since alone");
	(void)leader(COMMAND_suspend, 101);
	(void)leader(COMMAND_session_expire, 101);
	is_str(text("nodes/h1/state"), "lost\n", "not renewed: lost");
	at = rev();
	(void)leader(COMMAND_session_expire, 101);
	(void)leader(COMMAND_suspend, 101);
	is_int(rev(), at, "no word about a session that is over");

	(void)open_as("h1", 102);
	clock_ns += UINT64_C(5000000000);
	usual_facts("zone=b\n");
	(void)open_as("h1", 103);
	is_str(text("nodes/h1/state"), "online\n", "killed, and back in time");
	ok(out.n_changes == 2 &&
	    strcmp(out.changes[0].name, "labels") == 0 &&
	    strcmp(out.changes[1].name, "since") == 0,
	    "it has only been online since then, with other labels");
	end();
}

static void
test_names(void)
{
	begin();
	(void)open_as("h1", 100);
	(void)open_as("h2", 101);
	is_str(text("nodes/h1/state"), "lost\n", "under a name it has no more");
	is_str(text("nodes/h2/state"), "online\n", "a host is lost");

	usual_facts("mine\n");
	is_int(open_as("h2", 200), 0, "a host of a taken name has a session");
	ok(out.reason != NULL && out.ino == tree_lookup_path(txn,
	    slice_str("nodes/h2")), "and a sentence");
	is_str(text("nodes/h2/labels"), "", "the other's place is untouched");
	(void)leader(COMMAND_suspend, 200);
	(void)leader(COMMAND_session_expire, 200);
	is_str(text("nodes/h2/state"), "online\n", "by its end, too");
	(void)close_of(101);
	(void)open_as("h2", 201);
	ok(out.reason == NULL, "who has no session loses its name");
	is_str(text("nodes/h2/id"), "0000000000000002\n",
	    "to a new host, as one set up anew is");
	(void)open_as("h3", 102);
	is_str(text("nodes/h2/state"), "online\n", "and what it held before "
	    "is not the old one's any more");
	end();
}

static void
test_obstacles(void)
{
	uint64_t ino;

	begin();
	ino = by_hand(COMMAND_create, "nodes", "h1");
	is_int(open_as("h1", 100), 0, "a file has the host's name");
	ok(out.reason != NULL && out.ino == ino, "a sentence says which");
	(void)leader(COMMAND_suspend, 100);
	(void)leader(COMMAND_session_expire, 100);
	is_str(text("nodes/h1"), "", "nothing is written there");
	by_hand(COMMAND_unlink, "nodes", "h1");

	by_hand(COMMAND_mkdir, "nodes", "h1");
	ino = by_hand(COMMAND_mkdir, "nodes/h1", "state");
	(void)open_as("h1", 101);
	ok(out.reason != NULL && out.ino == ino, "so does a file's name");
	is_int(tree_lookup_path(txn, slice_str("nodes/h1/id")), 0,
	    "nothing is done by halves");
	by_hand(COMMAND_rmdir, "nodes/h1", "state");
	(void)open_as("h1", 102);
	is_str(text("nodes/h1/state"), "online\n", "a directory is moved into");

	by_hand(COMMAND_unlink, "nodes/h1", "state");
	by_hand(COMMAND_mkdir, "nodes/h1", "state");
	is_int(leader(COMMAND_suspend, 102), 0, "what was put there later");
	is_int(leader(COMMAND_session_expire, 102), 0, "is no obstacle either");
	by_hand(COMMAND_rmdir, "nodes/h1", "state");

	empty_place("nodes/h1");
	by_hand(COMMAND_rmdir, "nodes", "h1");
	by_hand(COMMAND_rmdir, "", "nodes");
	(void)open_as("h1", 103);
	is_str(text("nodes/h1/state"), "online\n", "what is gone is made again");
	empty_place("nodes/h1");
	by_hand(COMMAND_rmdir, "nodes", "h1");
	is_int(leader(COMMAND_session_expire, 103), 0, "an end without a place");
	by_hand(COMMAND_rmdir, "", "nodes");
	by_hand(COMMAND_create, "", "nodes");
	(void)open_as("h1", 104);
	ok(out.err == 0 && out.reason != NULL, "nodes is a file");
	end();
}

static void
test_limits(void)
{
	struct command c = {
		.kind = COMMAND_write, .data = slice_str("online\n"),
		.stamp = {.session = 100, .host = 1, .seq = 1, .uid = 1000},
	};
	struct tree_meta meta;

	begin();
	(void)open_as("h1", 100);
	assert(tree_meta_get(txn, &meta));
	meta.settings.tree_inodes = meta.n_inodes;
	meta.settings.tree_bytes = meta.bytes;
	tree_meta_put(txn, &meta);
	(void)open_as("h2", 200);
	is_str(text("nodes/h2/state"), "online\n", "a full tree tells of hosts");
	(void)leader(COMMAND_suspend, 200);
	is_str(text("nodes/h2/state"), "suspended\n", "and of their states");

	c.node = tree_lookup_path(txn, slice_str("nodes/h2/state"));
	is_int(apply(&c), -EACCES, "S2: users don't write them");

	buf_reset(&facts);
	fact("../x", "");
	ok(open_as("h3", 300) == 0 && out.reason != NULL, "S3: no such fact");
	buf_reset(&facts);
	for (int i = 0; i <= LIMIT_HOST_FACTS; i++)
		fact("x", "");
	ok(open_as("h3", 301) == 0 && out.reason != NULL, "S3: too many");
	buf_reset(&facts);
	buf_slice16(&facts, slice_str("x"));
	ok(open_as("h3", 302) == 0 && out.reason != NULL, "S3: half a fact");
	is_int(tree_lookup_path(txn, slice_str("nodes/h3")), 0, "none is told");
	end();
}

static void
test_time(void)
{
	static const struct {
		uint64_t s;
		const char *text;
	} times[] = {
		{1709251199, "2024-02-29T23:59:59Z\n"},
		{1709251200, "2024-03-01T00:00:00Z\n"},
		{1735689599, "2024-12-31T23:59:59Z\n"},
		{1735689600, "2025-01-01T00:00:00Z\n"},
		{4107542399, "2100-02-28T23:59:59Z\n"},
		{4107542400, "2100-03-01T00:00:00Z\n"},
	};

	begin();
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		clock_ns = times[i].s * UINT64_C(1000000000) + 5;
		(void)open_as("h1", 100 + i);
		is_str(text("nodes/h1/since"), times[i].text,
		    "the calendar is Gregory's");
	}
	end();
}

int
main(void)
{
	test_life();
	test_names();
	test_obstacles();
	test_limits();
	test_time();
	return done_testing();
}
