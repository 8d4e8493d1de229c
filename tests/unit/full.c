/*
 * full.c: a tree filled to its quotas with what takes most room in the store.
 *
 * The quotas count bytes and nodes, the store pages.  Each mixture is made by
 * commands until they are refused; what the store's file has then is printed, in
 * relation to the quota of bytes.  (Some of it, up to TOMBS, are names removed,
 * which are remembered whatever the quotas are: more MIB show better what the
 * mixture takes.)  It is opened again, emptied by commands, and takes more.
 *
 *	full.t [MIB [MIXTURE]]	the quota of bytes, 2 without; nodes in
 *				proportion; of the table, only this one
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/machine.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum {
	DIR_INO = TREE_ROOT + 1, /* config/ */
	TURN = 512,		 /* commands of a transaction */
	PAGE = 4096,
	OVERFLOW_MIN = 2021, /* a content that has a page of its own */
	TOMBS = LIMIT_TOMBSTONES * 1024,
};

static char dir[] = "/tmp/govfs-full-XXXXXX";
static uint64_t quota_bytes = 2 << 20;
static uint64_t quota_inodes;

static struct store *store;
static struct store_txn *txn;
static unsigned n_turn;
static uint64_t session, range, seq, n_inos, clock_ns;
static uint8_t bytes[LIMIT_FILE_MAX];

static const char *
path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/db/%s", dir, name);
	return path;
}

/* The map is small: it grows with what is in it. */
static void
open_store(void)
{
	if (store_open_lmdb(path_of(""), 64 << 20, &store) != 0)
		bail_out("%s: the store can't be opened", dir);
	txn = store_begin(store, STORE_WRITE);
	n_turn = 0;
}

static void
commit(void)
{
	if (store_commit(txn) != 0)
		bail_out("the store is full");
	txn = store_begin(store, STORE_WRITE);
	n_turn = 0;
}

static void
close_store(void)
{
	commit();
	store_abort(txn);
	store_close(store);
}

/* One more command; its errno. */
static int
apply(struct command *c)
{
	struct outcome out = {0};
	int err;

	c->stamp.host = 1;
	c->stamp.privileged = true;
	c->stamp.seen = UINT64_MAX;
	if (c->kind != COMMAND_session_open) {
		c->stamp.session = session;
		c->stamp.seq = ++seq;
		c->stamp.done_below = seq > LIMIT_WINDOW / 2 ?
		    seq - LIMIT_WINDOW / 2 : 1;
	}
	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &out);
	err = out.err;
	if (c->kind == COMMAND_session_open)
		range = out.value;
	outcome_fini(&out);
	if (++n_turn >= TURN)
		commit();
	return err;
}

static void
begin_session(void)
{
	struct command c = {.kind = COMMAND_session_open, .node = ++session,
		.name = slice_str("h")};

	seq = n_inos = 0;
	assert(apply(&c) == 0);
}

static void
begin(void)
{
	struct tree_meta meta;

	open_store();
	begin_session();
	assert(tree_meta_get(txn, &meta));
	meta.settings.tree_bytes = quota_bytes;
	meta.settings.tree_inodes = quota_inodes;
	meta.settings.max_file = LIMIT_FILE_MAX;
	tree_meta_put(txn, &meta);
}

/* A name of 255 bytes; they sort as their numbers do. */
static struct slice
name_of(unsigned n)
{
	static char text[LIMIT_NAME + 1];

	memset(text, 'n', LIMIT_NAME);
	snprintf(text, sizeof(text), "%010u", n);
	text[10] = 'n';
	return slice_of(text, LIMIT_NAME);
}

static int
birth(unsigned n, size_t len)
{
	struct command c = {.kind = COMMAND_birth, .dir = DIR_INO,
		.name = name_of(n), .ino = range + ++n_inos, .mode = 0644,
		.data = slice_of(bytes, len)};

	return apply(&c);
}

static int
make_link(unsigned n, uint64_t node)
{
	struct command c = {.kind = COMMAND_link, .dir = DIR_INO,
		.name = name_of(n), .node = node};

	return apply(&c);
}

static int
unlink_name(unsigned n)
{
	struct command c = {.kind = COMMAND_unlink, .dir = DIR_INO,
		.name = name_of(n)};

	return apply(&c);
}

static int
set_xattr(uint64_t node, const char *name, size_t len)
{
	struct command c = {.kind = COMMAND_setxattr, .node = node,
		.name = slice_str(name), .data = slice_of(bytes, len)};

	return apply(&c);
}

static int
remove_xattr(uint64_t node, const char *name)
{
	struct command c = {.kind = COMMAND_removexattr, .node = node,
		.name = slice_str(name)};

	return apply(&c);
}

/* ---- mixtures: each makes what it can ---- */

static unsigned n_names; /* made so far; some are gone */

static int
empty_file(void)
{
	return birth(n_names, 0);
}

static int
short_file(void)
{
	return birth(n_names, 1);
}

static int
small_file(void)
{
	return birth(n_names, OVERFLOW_MIN);
}

static int
page_and_a_bit(void)
{
	return birth(n_names, PAGE - 40);
}

static uint64_t linked; /* the file with many names */
static unsigned n_links;

static int
one_link(void)
{
	if (n_links == 0 || n_links >= LIMIT_LINKS - 1) {
		int err = birth(n_names, 0);

		if (err != 0)
			return err;
		linked = range + n_inos;
		n_links = 1;
		n_names++;
	}
	n_links++;
	return make_link(n_names, linked);
}

/* All that is asked for, of each batch only `keep` of `of`: thin pages. */
static void
thin(int (*make)(void), unsigned keep, unsigned of)
{
	unsigned first, gone;

	do {
		first = n_names;
		while (make() == 0)
			n_names++;
		gone = 0;
		for (unsigned i = first; keep < of && i < n_names; i++) {
			if (i % of >= keep && unlink_name(i) == 0)
				gone++;
		}
	} while (gone > 0);
}

/* Holes that what comes next does not fit in. */
static void
fragments(void)
{
	unsigned from[16], to[16];

	for (unsigned k = 0; (1u << k) * PAGE <= LIMIT_FILE_DEFAULT; k++) {
		size_t len = k == 0 ? OVERFLOW_MIN : (1u << k) * PAGE - 60;

		for (unsigned j = 0; j < k; j++) {
			for (unsigned i = from[j]; i < to[j]; i++) {
				if ((i - from[j]) % (1u << (k - j)) != 0)
					(void)unlink_name(i);
			}
		}
		from[k] = n_names;
		while (birth(n_names, len) == 0)
			n_names++;
		to[k] = n_names;
	}
}

/* As many as fit; of each `of` only one stays. */
static void
attributes(size_t name_len, size_t len, unsigned of)
{
	char name[LIMIT_XATTR_NAME + 1];
	uint64_t node;
	int err = 0;

	memset(name, 'a', sizeof(name));
	name[name_len] = '\0';
	while (err == 0 && birth(n_names, 0) == 0) {
		node = range + n_inos;
		n_names++;
		for (unsigned i = 0; err == 0 && i < LIMIT_XATTRS; i++) {
			memcpy(name, "user.", 5);
			name[5] = (char)('0' + i);
			err = set_xattr(node, name, len);
		}
		for (unsigned i = 0; i < LIMIT_XATTRS; i++) {
			name[5] = (char)('0' + i);
			if (i % of != 0)
				(void)remove_xattr(node, name);
		}
	}
}

static void
short_attributes(void)
{
	attributes(6, 0, 1);
}

static void
large_attributes(void)
{
	attributes(6, 2000, 1);
}

static void
thin_attributes(void)
{
	attributes(LIMIT_XATTR_NAME, 0, 14);
}

static void
files(void)
{
	thin(empty_file, 1, 1);
}

static void
thin_files(void)
{
	thin(empty_file, 1, 14);
}

/* Of a page of nodes, one. */
static void
thin_nodes(void)
{
	thin(short_file, 1, 48);
}

static void
small_files(void)
{
	thin(small_file, 1, 1);
}

static void
odd_files(void)
{
	thin(page_and_a_bit, 1, 1);
}

static void
links(void)
{
	thin(one_link, 1, 1);
}

static void
thin_links(void)
{
	thin(one_link, 1, 14);
}

static void
all(void)
{
	thin_links();
	thin(empty_file, 1, 48);
}

static const struct mixture {
	const char *what;
	void (*fill)(void);
} mixtures[] = {
	{"empty files with long names", files},
	{"the same, most of them gone", thin_files},
	{"of short ones nearly all gone", thin_nodes},
	{"small files with a page each", small_files},
	{"files with a page and a bit", odd_files},
	{"links with long names", links},
	{"the same, most of them gone", thin_links},
	{"short attributes", short_attributes},
	{"long ones, most of them gone", thin_attributes},
	{"attributes with a page each", large_attributes},
	{"holes too small for what comes", fragments},
	{"links and files, most gone", all},
};

/* Bytes of the store's file. */
static uint64_t
measure(const char *what)
{
	struct tree_meta meta;
	struct stat st;

	commit();
	assert(tree_meta_get(txn, &meta));
	assert(stat(path_of("data.mdb"), &st) == 0);
	diag("%-32s %7ju KiB, %7ju KiB and %ju nodes in the quotas: %.2f",
	    what, (uintmax_t)st.st_size >> 10, (uintmax_t)meta.bytes >> 10,
	    (uintmax_t)meta.n_inodes, (double)st.st_size /
	    (double)quota_bytes);
	return (uint64_t)st.st_size;
}

static void
remove_store(void)
{
	(void)unlink(path_of("data.mdb"));
	(void)unlink(path_of("lock.mdb"));
	(void)unlink(path_of("stamp"));
	(void)unlink(path_of("lock"));
	(void)rmdir(path_of(""));
}

static void
test_mixture(const struct mixture *m)
{
	struct tree_meta empty, meta;
	char why[256] = "";

	n_names = n_links = 0;
	begin();
	assert(tree_meta_get(txn, &empty));
	m->fill();
	ok(measure(m->what) <= LIMIT_TREE_STORE * quota_bytes + TOMBS,
	    "F8: %s: no more than the disk must have", m->what);
	close_store();
	open_store();
	if (!ok(tree_check(txn, why, sizeof(why)) == 0,
	    "%s: opened again it is whole", m->what))
		diag("%s", why);
	for (unsigned i = 0; i < n_names; i++)
		(void)unlink_name(i);
	assert(tree_meta_get(txn, &meta));
	ok(meta.n_inodes == empty.n_inodes && meta.bytes == empty.bytes,
	    "%s: what is removed counts no more", m->what);
	is_int(birth(0, OVERFLOW_MIN), 0, "%s: and leaves room", m->what);
	close_store();
	remove_store();
}

int
main(int argc, char **argv)
{
	size_t first = 0, n = sizeof(mixtures) / sizeof(mixtures[0]);

	if (argc > 1)
		quota_bytes = strtoull(argv[1], NULL, 10) << 20;
	if (argc > 2) {
		first = strtoul(argv[2], NULL, 10) % n;
		n = first + 1;
	}
	quota_inodes = quota_bytes / (LIMIT_TREE_BYTES / LIMIT_TREE_INODES);
	if (mkdtemp(dir) == NULL)
		bail_out("mkdtemp");
	for (; first < n; first++)
		test_mixture(&mixtures[first]);
	(void)rmdir(dir);
	return done_testing();
}
