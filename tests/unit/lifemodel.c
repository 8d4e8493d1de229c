/*
 * lifemodel.c: random names, lifetimes, locks and ends of sessions, beside a
 * mirror fed by the changes alone: T1 to T5, and the order of what goes; and
 * what nodes/ says of the hosts, some of which share a name.
 *
 * `lifemodel.t [seed [steps]]`.  What must go and what must stay at the end of
 * a session is worked out from the tree before it.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "machine/machine.h"
#include "tests/model/mirror.h"
#include "tests/random.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum { N_HOSTS = 3, MAX_INODES = 50, N_KNOWN = MIRROR_NODES };

/* A node before the command. */
struct known {
	struct attr attr;
	struct tree_life life;
	bool dies, stays;
};

static struct random rnd;
static struct store *store;
static struct store_txn *txn;
static struct mirror mirror;
static uint64_t sessions[N_HOSTS], seqs[N_HOSTS], ranges[N_HOSTS];
static const char *told[N_HOSTS]; /* the name under which nodes/ knows it */
static uint64_t told_session[N_HOSTS]; /* of which it tells */
static bool suspended[N_HOSTS];
static uint64_t next_session = 100, n_inos, clock_ns = 1000;
static struct known known[N_KNOWN];
static unsigned n_known, step, n_gone, n_doomed, n_stayed, n_done,
    n_told;
static char why[256], buffer[2][8];

#define WRONG(...) (snprintf(why, sizeof(why), __VA_ARGS__), false)

static bool
chance(unsigned percent)
{
	return random_below(&rnd, 100) < percent;
}

static void
learn(void)
{
	n_known = 0;
	for (unsigned i = 0; i < MIRROR_NODES; i++) {
		struct known *k = &known[n_known];

		if (mirror.nodes[i].ino == 0)
			continue;
		*k = (struct known){.attr = mirror.nodes[i]};
		(void)tree_life_get(txn, k->attr.ino, &k->life);
		n_known++;
	}
}

static uint64_t
some_node(mode_t type)
{
	unsigned i = random_below(&rnd, n_known);

	for (unsigned n = 0; n < n_known; n++) {
		struct attr *a = &known[(i + n) % n_known].attr;

		if (type == 0 || (a->mode & S_IFMT) == type)
			return a->ino;
	}
	return 1;
}

/* Half of the time a name that is there. */
static uint64_t
some_place(unsigned which, struct slice *ret_name)
{
	static const char *const names[] = {"a", "b", "c"};
	unsigned i = random_below(&rnd, MIRROR_NAMES);
	uint64_t dir = chance(50) ? 3 : some_node(S_IFDIR);

	(void)strcpy(buffer[which], names[random_below(&rnd, 3)]);
	for (unsigned n = 0; n < MIRROR_NAMES && chance(99); n++) {
		struct mirror_name *m = &mirror.names[(i + n) % MIRROR_NAMES];

		if (m->dir == 0 || strlen(m->name) != 1 || chance(50))
			continue;
		(void)strcpy(buffer[which], m->name);
		dir = m->dir;
		break;
	}
	*ret_name = slice_str(buffer[which]);
	return dir;
}

/* --- What the end of a session should do. */

static bool
kept_by_lock(uint64_t ino, uint64_t session)
{
	struct slice value;
	struct tree_lock l;
	bool delays = tree_xattr_get(txn, ino, slice_str("gov.lock_delay"),
	    &value);

	for (uint64_t n = 0; tree_lock_next(txn, ino, n, &l); n = l.ordinal) {
		if (l.session != session || (delays && !l.waits))
			return true;
	}
	return false;
}

static bool
has_other_name(uint64_t ino, uint64_t session)
{
	uint64_t of, dir;
	struct slice name;

	for (unsigned i = 0; i < MIRROR_NAMES; i++) {
		const struct mirror_name *m = &mirror.names[i];
		bool linked = false;

		if (m->dir == 0 || m->node != ino)
			continue;
		for (dir = 0, name = SLICE_EMPTY; tree_name_life_next(txn,
		    dir, name, &dir, &name, &of);)
			linked = linked || (of == session && dir == m->dir &&
			    slice_eq(name, slice_str(m->name)));
		if (!linked)
			return true;
	}
	return false;
}

static void
foresee(uint64_t session)
{
	for (unsigned i = 0; i < n_known; i++) {
		struct known *k = &known[i];
		uint64_t ino = k->attr.ino;
		bool owned = k->life.session == session;

		if (S_ISDIR(k->attr.mode)) {
			k->stays = !owned && !k->life.doomed;
			continue;
		}
		k->stays = kept_by_lock(ino, session) || (!owned &&
		    !k->life.doomed && has_other_name(ino, session));
		k->dies = owned && !k->stays;
	}
}

static bool
came_true(void)
{
	for (unsigned i = 0; i < n_known; i++) {
		const struct known *k = &known[i];
		struct attr a;
		bool there = tree_node_get(txn, k->attr.ino, &a);

		if (k->dies && there)
			return WRONG("node %lu has outlived all", k->attr.ino);
		if (k->stays && !there)
			return WRONG("node %lu is gone", k->attr.ino);
		n_gone += !there;
		n_stayed += k->stays;
	}
	return true;
}

/* --- Commands. */

static void
fill_name(struct command *c, unsigned host)
{
	static const enum command_kind kinds[] = {
		COMMAND_create, COMMAND_create, COMMAND_birth, COMMAND_mkdir,
		COMMAND_mkdir, COMMAND_symlink, COMMAND_link, COMMAND_link,
		COMMAND_unlink, COMMAND_unlink, COMMAND_rmdir, COMMAND_rename,
	};
	struct tree_name n = {0};

	c->kind = kinds[random_below(&rnd, 12)];
	c->dir = some_place(0, &c->name);
	(void)tree_name_get(txn, c->dir, c->name, &n);
	c->node = c->kind == COMMAND_link ? some_node(S_IFREG) : n.ino;
	c->mode = 0755;
	c->ino = ranges[host] + ++n_inos;
	if (c->kind == COMMAND_create)
		c->flags = chance(70) ? CREATE_EXCL : 0;
	if (c->kind == COMMAND_birth)
		c->flags = chance(30) ? WRITE_EXPECT : 0;
	if (c->kind == COMMAND_birth || c->kind == COMMAND_symlink)
		c->data = slice_str("data");
	if (c->kind == COMMAND_rename) {
		c->dir2 = some_place(1, &c->name2);
		n.ino = 0;
		(void)tree_name_get(txn, c->dir2, c->name2, &n);
		c->node2 = n.ino;
		c->flags = chance(20) ? RENAME_FLAG_EXCHANGE : 0;
	}
}

static void
fill_xattr(struct command *c)
{
	static const char *const lives[] = {
		"forever", "ttl=1s", "session", "open", "process", "ever",
	};
	static const char *const guards[] = {"/a", "/locks/a", "nowhere"};

	c->kind = chance(80) ? COMMAND_setxattr : COMMAND_removexattr;
	c->node = some_node(chance(70) ? S_IFREG : S_IFDIR);
	c->name = slice_str("gov.lifetime");
	c->data = slice_str(lives[random_below(&rnd, 6)]);
	if (chance(30)) {
		c->kind = chance(15) ? COMMAND_setxattr : COMMAND_removexattr;
		c->name = slice_str("gov.guard");
		c->data = slice_str(guards[random_below(&rnd, 3)]);
	} else if (chance(5)) {
		c->name = slice_str("gov.lock_delay");
		c->data = slice_str("1s");
	}
	/* Else half the tree is closed before long. */
	if (c->kind == COMMAND_setxattr && chance(50) && c->node < 5)
		c->node = some_node(S_IFREG);
	if (c->kind == COMMAND_removexattr)
		c->data = SLICE_EMPTY;
}

static void
fill_lock(struct command *c)
{
	c->kind = chance(50) ? COMMAND_lock : COMMAND_unlock;
	c->node = some_node(S_IFREG);
	c->lock.owner = 1 + random_below(&rnd, 2);
	c->lock.end = UINT64_MAX;
	c->flags = chance(50) ? LOCK_FLOCK : 0;
	if (c->kind == COMMAND_lock)
		c->flags |= LOCK_WAIT | (chance(50) ? LOCK_EXCLUSIVE : 0);
	else
		c->flags |= UNLOCK_OWNER;
}

static void
fill_leader(struct command *c)
{
	struct tree_lock l;
	struct attr a = {0};

	if (chance(30)) {
		unsigned host = random_below(&rnd, N_HOSTS);

		suspended[host] = chance(50) && sessions[host] != 0;
		c->kind = suspended[host] ? COMMAND_suspend : COMMAND_resume;
		c->node = sessions[host];
		return;
	}
	c->kind = COMMAND_expire;
	c->node = some_node(0);
	(void)tree_node_get(txn, c->node, &a);
	c->expect = a.attr_rev;
	if (chance(30) && tree_lock_delayed_next(txn, 0, 0, &c->node, &l)) {
		c->kind = COMMAND_delay_end;
		c->expect = l.ordinal;
	}
}

static bool
apply(const struct command *c, unsigned host)
{
	struct outcome o;
	bool good = true;

	clock_ns += 10;
	machine_apply(txn, c, clock_ns, &o);
	for (unsigned i = 0; good && i < o.n_changes; i++) {
		const struct change *ch = &o.changes[i];

		if (ch->kind < CHANGE_GRANT)
			good = mirror_change(&mirror, ch, why,
			    sizeof(why)) == 0;
		n_doomed += i != 0 && ch->aside;
	}
	if (c->kind == COMMAND_session_open)
		ranges[host] = o.value;
	if (c->kind == COMMAND_session_open && (o.reason == NULL ||
	    told[host] == (const char *)c->name.ptr)) {
		told[host] = (const char *)c->name.ptr;
		told_session[host] = c->node;
	}
	n_done += o.err == 0;
	if (good && (o.err == -OUTCOME_ESESSION || o.err == -OUTCOME_EWINDOW))
		good = WRONG("the session is not known");
	outcome_fini(&o);
	return good;
}

static bool
same_mirror(void)
{
	unsigned n_nodes = 0, n_names = 0, n_mirror_names;
	struct tree_meta meta;
	struct attr a;

	assert(tree_meta_get(txn, &meta));
	for (unsigned i = 0; i < MIRROR_NODES; i++) {
		struct attr *m = &mirror.nodes[i];

		if (m->ino == 0)
			continue;
		n_nodes++;
		n_names += S_ISDIR(m->mode) ? m->ino != 1 : m->nlink;
		if (!tree_node_get(txn, m->ino, &a) ||
		    memcmp(&a, m, sizeof(a)) != 0)
			return WRONG("node %lu differs in the mirror", m->ino);
	}
	(void)mirror_count(&mirror, &n_mirror_names);
	return (n_nodes == meta.n_inodes && n_names == n_mirror_names) ||
	    WRONG("%u nodes, %u names in the mirror", n_nodes,
	    n_mirror_names);
}

/* Whom nodes/ tells of has a session or not, as it says.  Its files may have
 * been removed or written through a link, have ended with a lifetime, or be the
 * next host's of that name. */
static bool
well_told(void)
{
	struct slice text;
	char path[32];
	uint64_t ino;

	for (unsigned i = 0; i < N_HOSTS; i++) {
		const char *state = sessions[i] == 0 ||
		    sessions[i] != told_session[i] ? "lost\n" : suspended[i] ? "suspended\n" : "online\n";

		if (told[i] == NULL)
			continue;
		snprintf(path, sizeof(path), "nodes/%s/id", told[i]);
		ino = tree_lookup_path(txn, slice_str(path));
		text = ino == 0 ? SLICE_EMPTY : tree_content(txn, ino);
		if (text.len != 17 || ((const char *)text.ptr)[15] != '1' +
		    (char)i)
			continue;
		snprintf(path, sizeof(path), "nodes/%s/state", told[i]);
		ino = tree_lookup_path(txn, slice_str(path));
		text = ino == 0 ? SLICE_EMPTY : tree_content(txn, ino);
		if (slice_eq(text, slice_str("data")))
			continue;
		if (ino != 0 && !slice_eq(text, slice_str(state)))
			return WRONG("host %u is %.*s, not %s", i,
			    (int)text.len, (const char *)text.ptr, state);
		n_told += ino != 0;
	}
	return true;
}

static bool
end_session(unsigned host)
{
	static const char *const names[] = {"h1", "h2"};
	static const char facts[] = "\6\0labels\2\0a\n";
	struct command c = {
		.kind = COMMAND_session_open, .node = ++next_session,
		.name = slice_str(names[random_below(&rnd, 2)]),
		.data = slice_of(facts, sizeof(facts) - 1),
		.stamp = {.host = host + 1, .privileged = true},
	};
	uint64_t old = sessions[host];

	sessions[host] = c.node;
	suspended[host] = false;
	seqs[host] = 0;
	if (old == 0)
		return apply(&c, host);
	foresee(old);
	if (chance(50)) {
		c = (struct command){
			.kind = COMMAND_session_expire, .node = old,
		};
		sessions[host] = 0;
	}
	return apply(&c, host) && came_true();
}

static bool
one_step(void)
{
	unsigned host = random_below(&rnd, N_HOSTS), dice;
	struct command c = {0};

	learn();
	if (sessions[host] == 0 || chance(3))
		return end_session(host);
	c.stamp = (struct stamp){
		.session = sessions[host], .seq = ++seqs[host],
		.done_below = seqs[host], .host = host + 1,
		.seen = UINT64_MAX, .privileged = true,
	};
	dice = random_below(&rnd, 100);
	if (dice < 55) {
		fill_name(&c, host);
	} else if (dice < 65) {
		fill_xattr(&c);
	} else if (dice < 80) {
		fill_lock(&c);
	} else if (dice < 90) {
		c.stamp = (struct stamp){0};
		fill_leader(&c);
	} else {
		c.kind = COMMAND_reap;
		c.node = some_node(0);
	}
	return apply(&c, host);
}

static bool
begin(void)
{
	struct command c = {.kind = COMMAND_noop};
	struct tree_meta meta;

	assert(store_open_mem(&store) == 0);
	txn = store_begin(store, STORE_WRITE);
	if (!apply(&c, 0) || !tree_meta_get(txn, &meta))
		return false;
	meta.settings.tree_inodes = MAX_INODES;
	tree_meta_put(txn, &meta);
	return true;
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) :
	    (uint64_t)time(NULL);
	unsigned n_steps = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) :
	    6000;
	bool good;

	diag("seed %llu, %u steps", (unsigned long long)seed, n_steps);
	random_init(&rnd, seed);
	good = begin();
	for (step = 0; good && step < n_steps; step++)
		good = one_step() && same_mirror() && well_told() &&
		    tree_check(txn, why, sizeof(why)) == 0;
	if (!ok(good, "what lives with a session, a lock or a name in it ends "
	    "with it and not before, as the changes and nodes/ tell"))
		diag("step %u: %s", step, why);
	diag("%u commands done, %u nodes gone, %u stayed, %u more went along",
	    n_done, n_gone, n_stayed, n_doomed);
	ok(n_told > n_steps / 10 && n_gone > n_steps / 400 && n_stayed > n_steps / 10 &&
	    n_doomed > n_steps / 400, "the random commands reached something");
	store_abort(txn);
	store_close(store);
	return done_testing();
}
