/*
 * model.c: random commands through the machine, on two stores, beside a naive
 * tree of files (tests/model/posix.c) and a mirror fed by the changes alone.
 *
 * `model.t [seed [steps]]`.  Few names, users and numbers, so that commands
 * meet; several sessions; retries, also of commands long answered; resolved
 * nodes and `seen` that lag behind, as those of a slow host do.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "machine/machine.h"
#include "tests/model/mirror.h"
#include "tests/model/posix.h"
#include "tests/random.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum {
	N_PAST = 64, DATA_MAX = 5000, N_HOSTS = 3, CHECK_EVERY = 8,
	MAX_FILE = 60, MAX_BYTES = 160 + 6 * LIMIT_LINK_BYTES, MAX_INODES = 40,
};

/* A command that was applied, with the bytes it points to. */
struct past {
	struct command c;
	char name[16], name2[16];
	char data[DATA_MAX];
	struct outcome first; /* when it was applied; changes left out */
};

static struct random rnd;
static struct posix model;
static struct mirror mirror;
static struct store *stores[2]; /* mem, lmdb */
static struct past pasts[N_PAST];
static unsigned changed_by[32], refused_by[256]; /* kind; errno */
static unsigned n_pasts, n_retries, n_refused, n_noops, n_changes;
static uint64_t clock_ns = 1000;
static unsigned step;
static char why[256];

/* --- Commands. */

static bool
chance(unsigned percent)
{
	return random_below(&rnd, 100) < percent;
}

static uint64_t
some_node(mode_t type)
{
	unsigned i = random_below(&rnd, model.n_nodes);

	if (chance(5))
		return random_below(&rnd, 8);
	for (unsigned n = 0; n < model.n_nodes; n++) {
		struct attr *a = &model.nodes[(i + n) % model.n_nodes].attr;

		if (type == 0 || (a->mode & S_IFMT) == type)
			return a->ino;
	}
	return 1;
}

static uint64_t
some_dir(void)
{
	return chance(96) ? some_node(S_IFDIR) : some_node(0);
}

static struct slice
some_name(char *to)
{
	static const char *const names[] = {"a", "b", "c", "d", ".gov"};

	(void)strcpy(to, names[chance(2) ? 4 : random_below(&rnd, 4)]);
	return slice_str(to);
}

/* What the caller's kernel shows there: mostly the truth. */
static uint64_t
resolve(uint64_t dir, struct slice name)
{
	struct posix_name *n = posix_name(&model, dir, name);

	if (chance(8))
		return chance(50) ? 0 : some_node(0);
	return n != NULL ? n->ino : 0;
}

/* Half of the time a name that exists. */
static void
some_place(uint64_t *ret_dir, struct slice *ret_name, char *buffer)
{
	struct posix_name *n;

	*ret_dir = some_dir();
	*ret_name = some_name(buffer);
	if (chance(50) || model.n_names == 0)
		return;
	n = &model.names[random_below(&rnd, model.n_names)];
	*ret_dir = n->dir;
	(void)strcpy(buffer, n->name);
	*ret_name = slice_str(buffer);
}

static struct slice
some_data(char *to, size_t max)
{
	size_t len = random_below(&rnd, chance(5) ? (unsigned)max : 6);

	for (size_t i = 0; i < len; i++)
		to[i] = "xy"[random_below(&rnd, 2)];
	return slice_of(to, len);
}

static uint64_t
some_time(void)
{
	return random_below(&rnd, 3) * 1000;
}

static uint32_t
some_flags(const uint32_t *flags, unsigned n, unsigned percent)
{
	uint32_t f = 0;

	for (unsigned i = 0; i < n; i++)
		f |= chance(percent) ? flags[i] : 0;
	return f;
}
#define SOME_FLAGS(percent, ...) \
	some_flags((const uint32_t[]){__VA_ARGS__}, \
	    sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), percent)

static struct posix_session *
some_session(void)
{
	struct posix_session *s = NULL;

	for (unsigned i = 0; i < model.n_sessions; i++) {
		if (model.sessions[i].alive &&
		    (s == NULL || chance(50)))
			s = &model.sessions[i];
	}
	return s;
}

/* A seq not used yet, near done_below, in any order. */
static uint64_t
some_seq(const struct posix_session *s)
{
	for (;;) {
		uint64_t seq = s->done_below + random_below(&rnd, 30);
		bool used = false;

		for (unsigned i = 0; i < s->n_kept; i++)
			used = used || s->kept[i] == seq;
		if (!used)
			return seq;
	}
}

static void
fill_stamp(struct stamp *st)
{
	struct posix_session *s = some_session();
	uint64_t lag = chance(80) ? 0 : random_below(&rnd, 20);

	st->session = s != NULL ? s->id : 12345;
	st->host = s != NULL ? s->host : 1;
	st->seq = s != NULL ? some_seq(s) : 1;
	st->done_below = s != NULL ? s->done_below : 1;
	if (chance(20) && st->seq > st->done_below)
		st->done_below += random_below(&rnd,
		    (unsigned)(st->seq - st->done_below) + 1);
	if (s != NULL && st->done_below + 25 < st->seq)
		st->done_below = st->seq - 25;
	if (chance(1))
		st->seq += LIMIT_WINDOW;
	st->seen = model.rev > lag ? model.rev - lag : 0;
	st->uid = random_below(&rnd, 3);
	st->gid = random_below(&rnd, 3);
	st->privileged = st->uid == 0;
	st->n_groups = random_below(&rnd, 2);
	st->groups[0] = random_below(&rnd, 3);
}

static uint64_t
new_ino(const struct stamp *st)
{
	static uint32_t next;
	struct posix_session *s = posix_session(&model, st->session);

	if (chance(3))
		return some_node(0);
	return (s != NULL ? s->range : 0) + ++next;
}

static enum command_kind
some_kind(void)
{
	static const enum command_kind often[] = {
		COMMAND_create, COMMAND_birth, COMMAND_birth, COMMAND_mkdir,
		COMMAND_mkdir, COMMAND_symlink, COMMAND_link, COMMAND_unlink,
		COMMAND_unlink, COMMAND_unlink, COMMAND_unlink, COMMAND_rmdir,
		COMMAND_rmdir, COMMAND_rmdir, COMMAND_rmdir, COMMAND_symlink,
		COMMAND_create, COMMAND_create, COMMAND_rename, COMMAND_rename,
		COMMAND_rename, COMMAND_write, COMMAND_write, COMMAND_append,
		COMMAND_truncate, COMMAND_setattr, COMMAND_setattr,
		COMMAND_setxattr, COMMAND_setxattr, COMMAND_removexattr,
	};

	if (chance(2))
		return COMMAND_session_open;
	if (chance(1))
		return chance(30) ? COMMAND_session_close : COMMAND_noop;
	return often[random_below(&rnd, sizeof(often) / sizeof(often[0]))];
}

static void
fill_xattr(struct command *c, struct past *p)
{
	static const char *const names[] = {
		"user.a", "user.b", "user.c", "user.", "trusted.a", "user",
	};

	c->node = some_node(0);
	(void)strcpy(p->name, names[random_below(&rnd, chance(90) ? 3 : 6)]);
	c->name = slice_str(p->name);
	c->flags = SOME_FLAGS(15, XATTR_FLAG_CREATE, XATTR_FLAG_REPLACE);
	c->data = some_data(p->data, POSIX_VALUE);
	if (chance(2)) {
		memset(p->data, 'z', DATA_MAX);
		c->data = slice_of(p->data, DATA_MAX);
	}
	if (c->kind == COMMAND_removexattr) {
		c->flags = 0;
		c->data = SLICE_EMPTY;
	}
}

static void
fill_rename(struct command *c, struct past *p)
{
	some_place(&c->dir, &c->name, p->name);
	some_place(&c->dir2, &c->name2, p->name2);
	c->node = resolve(c->dir, c->name);
	c->node2 = resolve(c->dir2, c->name2);
	c->flags = SOME_FLAGS(15, RENAME_FLAG_NOREPLACE, RENAME_FLAG_EXCHANGE);
}

static void
fill_content(struct command *c, struct past *p)
{
	struct posix_node *n;

	c->node = some_node(chance(95) ? S_IFREG : 0);
	if (c->kind == COMMAND_truncate) {
		c->size = random_below(&rnd, MAX_FILE + 3);
		return;
	}
	c->flags = SOME_FLAGS(20, WRITE_KEEP_MTIME, WRITE_EXPECT,
	    WRITE_CREATOR);
	c->mtime_ns = some_time();
	c->atime_ns = some_time();
	c->data = some_data(p->data, MAX_FILE + 3);
	n = posix_node(&model, c->node);
	c->expect = n != NULL && chance(80) ? n->attr.rev : model.rev;
}

static void
fill_setattr(struct command *c)
{
	c->node = some_node(0);
	c->flags = SOME_FLAGS(20, SETATTR_MODE, SETATTR_UID, SETATTR_GID,
	    SETATTR_ATIME, SETATTR_MTIME);
	if (chance(30))
		c->flags |= SETATTR_ATIME_NOW | SETATTR_MTIME_NOW;
	if (chance(5))
		c->flags |= SETATTR_MTIME_NOW;
	c->mode = random_below(&rnd, 010000);
	if (chance(70))
		c->mode |= 0777;
	c->uid = random_below(&rnd, 3);
	c->gid = random_below(&rnd, 3);
	c->atime_ns = some_time();
	c->mtime_ns = some_time();
}

static void
fill_names(struct command *c, struct past *p)
{
	some_place(&c->dir, &c->name, p->name);
	switch (c->kind) {
	case COMMAND_unlink:
	case COMMAND_rmdir:
		c->node = resolve(c->dir, c->name);
		return;
	case COMMAND_link:
		c->node = some_node(chance(90) ? S_IFREG : 0);
		return;
	case COMMAND_symlink:
		c->ino = new_ino(&c->stamp);
		c->data = some_data(p->data, 20);
		if (c->data.len == 0)
			c->data = slice_str("to");
		return;
	default:
		break;
	}
	c->ino = new_ino(&c->stamp);
	c->mode = chance(60) ? 0777 : random_below(&rnd, 010000);
	if (c->kind == COMMAND_create)
		c->flags = SOME_FLAGS(50, CREATE_EXCL);
	if (c->kind != COMMAND_birth)
		return;
	c->flags = SOME_FLAGS(20, BIRTH_APPEND, BIRTH_OWNER, WRITE_KEEP_MTIME,
	    WRITE_EXPECT);
	c->uid = random_below(&rnd, 3);
	c->gid = random_below(&rnd, 3);
	c->mtime_ns = some_time();
	c->atime_ns = some_time();
	c->data = some_data(p->data, MAX_FILE + 3);
}

static void
fill_session_open(struct command *c, struct past *p)
{
	static uint64_t next = 1000;
	struct posix_session *s;

	c->stamp.host = 1 + random_below(&rnd, N_HOSTS);
	c->node = ++next;
	(void)strcpy(p->name, "host");
	c->name = slice_str(p->name);
	if (!chance(40))
		return;
	/* One that was alive lately, or is; then perhaps another host's. */
	c->node -= random_below(&rnd, 5);
	s = posix_session(&model, c->node);
	if (s != NULL && chance(80))
		c->stamp.host = s->host;
}

static void
fill(struct past *p)
{
	struct command *c = &p->c;

	memset(c, 0, sizeof(*c));
	c->kind = some_session() == NULL && chance(80) ?
	    COMMAND_session_open : some_kind();
	fill_stamp(&c->stamp);
	switch (c->kind) {
	case COMMAND_session_open:
		fill_session_open(c, p);
		break;
	case COMMAND_session_close:
		break;
	case COMMAND_noop:
		if (chance(50))
			c->stamp.session = 0;
		break;
	case COMMAND_rename:
		fill_rename(c, p);
		break;
	case COMMAND_write:
	case COMMAND_append:
	case COMMAND_truncate:
		fill_content(c, p);
		break;
	case COMMAND_setattr:
		fill_setattr(c);
		break;
	case COMMAND_setxattr:
	case COMMAND_removexattr:
		fill_xattr(c, p);
		break;
	default:
		fill_names(c, p);
	}
}

/* --- Comparing. */

#define WRONG(...) (snprintf(why, sizeof(why), __VA_ARGS__), false)

static bool
same_attr(const struct attr *a, const struct attr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool
same_node(struct store_txn *txn, struct posix_node *n)
{
	struct slice name = SLICE_EMPTY, value;
	struct attr a;
	unsigned n_xattrs = 0;

	if (!tree_node_get(txn, n->attr.ino, &a))
		return WRONG("node %lu is missing", n->attr.ino);
	if (!same_attr(&a, &n->attr))
		return WRONG("node %lu: mode %o/%o nlink %u/%u uid %u/%u "
		    "gid %u/%u size %lu/%lu rev %lu/%lu attr_rev %lu/%lu "
		    "mtime %lu/%lu ctime %lu/%lu", a.ino, a.mode,
		    n->attr.mode, a.nlink, n->attr.nlink, a.uid, n->attr.uid,
		    a.gid, n->attr.gid, a.size, n->attr.size, a.rev,
		    n->attr.rev, a.attr_rev, n->attr.attr_rev, a.mtime_ns,
		    n->attr.mtime_ns, a.ctime_ns, n->attr.ctime_ns);
	if (!slice_eq(tree_content(txn, a.ino), slice_of(n->data, a.size)))
		return WRONG("node %lu has other content", a.ino);
	while (tree_xattr_next(txn, a.ino, name, &name, &value))
		n_xattrs++;
	if (n_xattrs != n->n_xattrs)
		return WRONG("node %lu has %u xattrs", a.ino, n_xattrs);
	for (unsigned i = 0; i < n->n_xattrs; i++) {
		struct posix_xattr *x = &n->xattrs[i];

		if (!tree_xattr_get(txn, a.ino, slice_str(x->name), &value) ||
		    !slice_eq(value, slice_of(x->value, x->len)))
			return WRONG("node %lu: xattr %s", a.ino, x->name);
	}
	return same_attr(mirror_node(&mirror, a.ino), &a) ||
	    WRONG("node %lu differs in the mirror", a.ino);
}

static bool
same_tree(struct store_txn *txn)
{
	unsigned n_names = 0, n_mirror_names;
	struct tree_meta meta;
	struct tree_name t;

	if (!tree_meta_get(txn, &meta) || meta.rev != model.rev ||
	    meta.time_ns != model.time_ns || meta.n_inodes != model.n_nodes)
		return WRONG("meta: revision %lu, model %lu", meta.rev,
		    model.rev);
	for (unsigned i = 0; i < model.n_nodes; i++) {
		if (!same_node(txn, &model.nodes[i]))
			return false;
	}
	for (unsigned i = 0; i < model.n_names; i++) {
		struct posix_name *n = &model.names[i];
		struct slice name = slice_str(n->name);
		bool there = tree_name_get(txn, n->dir, name, &t);

		n_names += n->ino != 0;
		if (there != (n->ino != 0) || (there && t.ino != n->ino))
			return WRONG("name %lu/%s", n->dir, n->name);
		if (tree_name_rev(txn, n->dir, name) != n->rev)
			return WRONG("name %lu/%s: its revision", n->dir,
			    n->name);
		if (mirror_name(&mirror, n->dir, n->name) != n->ino)
			return WRONG("name %lu/%s differs in the mirror",
			    n->dir, n->name);
	}
	if (mirror_count(&mirror, &n_mirror_names) != model.n_nodes ||
	    n_mirror_names != n_names)
		return WRONG("the mirror has more than the tree");
	return true;
}

static bool
same_stores(void)
{
	uint8_t digests[2][STORE_DIGEST_LEN];

	for (unsigned i = 0; i < 2; i++) {
		struct store_txn *txn = store_begin(stores[i], STORE_READ);

		store_digest(txn, digests[i]);
		store_abort(txn);
	}
	return memcmp(digests[0], digests[1], STORE_DIGEST_LEN) == 0 ||
	    WRONG("mem and lmdb have other digests");
}

static bool
check_tree(void)
{
	struct store_txn *txn = store_begin(stores[0], STORE_READ);
	bool good = tree_check(txn, why, sizeof(why)) == 0 && same_tree(txn);

	store_abort(txn);
	return good && same_stores();
}

/* --- Steps. */

static bool
same_outcome(const struct outcome *a, const struct outcome *b)
{
	return a->err == b->err && a->rev == b->rev && a->ino == b->ino &&
	    a->value == b->value && same_attr(&a->attr, &b->attr);
}

static void
apply(const struct command *c, struct outcome *ret)
{
	struct outcome other;
	struct store_txn *txn;

	for (unsigned i = 0; i < 2; i++) {
		txn = store_begin(stores[i], STORE_WRITE);
		machine_apply(txn, c, clock_ns, i == 0 ? ret : &other);
		assert(store_commit(txn) == 0);
	}
	assert(same_outcome(ret, &other));
	outcome_fini(&other);
}

static bool
judge(struct past *p, const struct posix_result *r, const struct outcome *o)
{
	struct posix_node *n = posix_node(&model, r->ino);

	if (r->retry) {
		n_retries++;
		return (same_outcome(o, &p->first) && o->n_changes == 0) ||
		    WRONG("a retry was answered otherwise");
	}
	if (o->err != r->err)
		return WRONG("%s, expected %s (%s)", strerror(-o->err),
		    strerror(-r->err), o->reason != NULL ? o->reason : "");
	if ((o->rev != 0) != r->changed ||
	    (r->changed && o->rev != model.rev))
		return WRONG("revision %lu, expected %lu", o->rev,
		    r->changed ? model.rev : 0);
	if ((o->n_changes != 0) != r->changed)
		return WRONG("%u changes", o->n_changes);
	n_refused += o->err != 0;
	n_noops += o->err == 0 && !r->changed;
	n_changes += r->changed;
	changed_by[p->c.kind] += r->changed;
	refused_by[-o->err]++;
	if (o->err != 0)
		return o->reason != NULL || WRONG("no reason was given");
	if (o->ino != r->ino || o->value != r->value)
		return WRONG("ino %lu, expected %lu", o->ino, r->ino);
	return n == NULL || same_attr(&n->attr, &o->attr) ||
	    WRONG("the outcome's attributes are not the node's");
}

static bool
mirror_outcome(const struct outcome *o)
{
	for (unsigned i = 0; i < o->n_changes; i++) {
		if (o->changes[i].rev != model.rev)
			return WRONG("a change of another revision");
		if (mirror_change(&mirror, &o->changes[i], why,
		    sizeof(why)) != 0)
			return false;
	}
	return true;
}

/* No host ever draws the number of another one's ended session. */
static bool
impossible(const struct command *c)
{
	struct posix_session *s = posix_session(&model, c->node);

	return c->kind == COMMAND_session_open && s != NULL && !s->alive &&
	    s->host != c->stamp.host;
}

static bool
one_step(void)
{
	struct posix_result result;
	struct outcome outcome;
	struct past *p;
	bool good, again = n_pasts > 0 && chance(8);

	p = &pasts[again ? random_below(&rnd, n_pasts < N_PAST ? n_pasts :
	    N_PAST) : n_pasts++ % N_PAST];
	if (!again)
		fill(p);
	if (impossible(&p->c))
		return true;
	clock_ns += random_below(&rnd, 3) * 100; /* it may stand still */
	if (chance(2))
		clock_ns -= clock_ns > 5000 ? 5000 : 0; /* or jump back */
	posix_apply(&model, &p->c, clock_ns, &result);
	apply(&p->c, &outcome);
	good = judge(p, &result, &outcome) && mirror_outcome(&outcome);
	if (!result.retry) {
		/* Again: a seq too far ahead then may be in the window now. */
		p->first = outcome;
		p->first.changes = NULL;
	}
	if (!good)
		diag("step %u: %s dir %lu name %.*s node %lu dir2 %lu "
		    "name2 %.*s node2 %lu ino %lu flags %x uid %u seen %lu",
		    step, command_name(p->c.kind), p->c.dir,
		    (int)p->c.name.len, (const char *)p->c.name.ptr, p->c.node,
		    p->c.dir2, (int)p->c.name2.len,
		    (const char *)p->c.name2.ptr, p->c.node2, p->c.ino,
		    p->c.flags, p->c.stamp.uid, p->c.stamp.seen);
	outcome_fini(&outcome);
	return good;
}

/* The first command formats the tree; then the quotas are made small. */
static void
format(void)
{
	struct command c = {.kind = COMMAND_noop};
	struct store_txn *txn;
	struct outcome o;
	struct tree_meta meta;

	apply(&c, &o);
	posix_init(&model, clock_ns);
	for (unsigned i = 0; i < o.n_changes; i++)
		assert(mirror_change(&mirror, &o.changes[i], why,
		    sizeof(why)) == 0);
	outcome_fini(&o);
	for (unsigned i = 0; i < 2; i++) {
		txn = store_begin(stores[i], STORE_WRITE);
		assert(tree_meta_get(txn, &meta));
		meta.settings.max_file = model.max_file = MAX_FILE;
		meta.settings.tree_bytes = model.max_bytes = MAX_BYTES;
		meta.settings.tree_inodes = model.max_inodes = MAX_INODES;
		tree_meta_put(txn, &meta);
		/* Files end by their names here; lives.t has lifetimes. */
		tree_life_del(txn, tree_lookup_path(txn, slice_str("locks")));
		tree_life_del(txn, tree_lookup_path(txn, slice_str("status")));
		assert(store_commit(txn) == 0);
	}
}

static void
open_stores(char *dir)
{
	assert(mkdtemp(dir) != NULL);
	assert(store_open_mem(&stores[0]) == 0);
	assert(store_open_lmdb(dir, UINT64_C(256) << 20, &stores[1]) == 0);
}

static void
close_stores(const char *dir)
{
	char command[128];

	store_close(stores[0]);
	store_close(stores[1]);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		diag("%s is left behind", dir);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) :
	    (uint64_t)time(NULL);
	unsigned n_steps = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) :
	    8000;
	char dir[] = "/tmp/govfs-model.XXXXXX";
	bool good = true;

	diag("seed %llu, %u steps", (unsigned long long)seed, n_steps);
	random_init(&rnd, seed);
	open_stores(dir);
	format();
	ok(check_tree(), "the first command formats the tree");
	for (step = 0; good && step < n_steps; step++) {
		good = model.n_sessions < POSIX_SESSIONS - 1 ? one_step() :
		    true;
		if (good && step % CHECK_EVERY == 0)
			good = check_tree();
	}
	if (!ok(good, "each command does what POSIX and the contract say: "
	    "errno, tree, revision (F5, F6, F7, F8, O5)"))
		diag("step %u: %s", step, why);
	ok(!good || check_tree(), "and leaves a tree without a flaw, "
	    "equal on two stores, as its changes tell it");
	diag("%u changes, %u no-ops, %u refused, %u retries", n_changes,
	    n_noops, n_refused, n_retries);
	for (int i = 0; i < 32; i++) {
		if (command_name(i) != NULL)
			diag("%s: %u changes", command_name(i), changed_by[i]);
	}
	for (int i = 1; i < 256; i++) {
		if (refused_by[i] != 0)
			diag("%s: %u", strerrorname_np(i), refused_by[i]);
	}
	ok(n_changes > n_steps / 16 && n_retries > n_steps / 400,
	    "the random commands reached something");
	posix_fini(&model);
	close_stores(dir);
	return done_testing();
}
