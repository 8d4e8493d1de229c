/*
 * dotgov_news.c: who is told that a file of .gov has changed.
 *
 * inotify's events come from system calls, so the replay helper makes them: it
 * opens the file for writing, sets its mtime and closes it, when it has nothing
 * else to do.  Nothing is done for a file that the kernel doesn't know, nor its
 * directory: nobody watches it.  poll(2) is woken at the same time.
 *
 * News is told at once, and then not again for LIMIT_GOV_NEWS_MS: what changes
 * meanwhile is one event.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "mount/dotgov.h"
#include "tree/tree.h"

/* One node of .gov that the kernel knows, or that there is news of. */
struct gov_node {
	uint64_t ino;
	uint64_t n_lookup;    /* references that the kernel holds */
	uint64_t changed_seq; /* of its newest news; 0: none since it is known */
	uint64_t changed_ns;  /* wall clock */
	bool queued;	      /* in dotgov's changed */
	bool telling;	      /* tell is with the replay */
	struct handle *pollers; /* that poll(2) waits on */
	struct replay_news tell;
	struct mount *mount;
	struct gov_node *prev, *next; /* changed */
	UT_hash_handle hh;
};

static struct gov_node *node_find(struct mount *, uint64_t ino);
static struct gov_node *node_get(struct mount *, uint64_t ino);
static void node_release(struct mount *, struct gov_node *);
static void locks_changed(struct mount *, uint64_t node);
static void tell(struct mount *);
static void wake_pollers(struct gov_node *);
static bool path_of(struct mount *, uint64_t ino, struct replay_news *ret);
static void on_told(struct replay_news *);

void
dotgov_init(struct mount *m)
{
	struct dotgov *g = calloc(1, sizeof *g);

	assert(g != NULL);
	m->gov = g;
	g->rev = engine_rev(m->conf.engine);
	g->since_ns = clock_now_ns();
	for (unsigned i = 0; i < N_GOV_FIXED; i++)
		g->changed_ns[i] = clock_wall_ns();
}

void
dotgov_fini(struct mount *m)
{
	struct gov_node *n, *next;

	HASH_ITER (hh, m->gov->nodes, n, next) {
		HASH_DEL(m->gov->nodes, n);
		free(n);
	}
	free(m->gov);
}

/* ---- what the kernel knows ---- */

static struct gov_node *
node_find(struct mount *m, uint64_t ino)
{
	struct gov_node *n;

	HASH_FIND(hh, m->gov->nodes, &ino, sizeof ino, n);
	return n;
}

static struct gov_node *
node_get(struct mount *m, uint64_t ino)
{
	struct gov_node *n = node_find(m, ino);

	if (n != NULL)
		return n;
	n = calloc(1, sizeof *n);
	assert(n != NULL);
	n->ino = ino;
	n->mount = m;
	n->changed_ns = gov_changed_ns(m, ino);
	HASH_ADD(hh, m->gov->nodes, ino, sizeof n->ino, n);
	m->gov->n_twins += gov_is_twin(ino);
	return n;
}

static void
node_release(struct mount *m, struct gov_node *n)
{
	if (n->n_lookup > 0 || n->queued || n->telling || n->pollers != NULL)
		return;
	HASH_DEL(m->gov->nodes, n);
	m->gov->n_twins -= gov_is_twin(n->ino);
	free(n);
}

static bool
known(struct mount *m, uint64_t ino)
{
	struct gov_node *n = node_find(m, ino);

	return n != NULL && n->n_lookup > 0;
}

void
gov_remember(struct mount *m, uint64_t ino)
{
	node_get(m, ino)->n_lookup++;
}

void
dotgov_forget(struct mount *m, uint64_t ino, uint64_t n)
{
	struct gov_node *node = node_find(m, ino);

	if (node == NULL)
		return;
	node->n_lookup -= n < node->n_lookup ? n : node->n_lookup;
	node_release(m, node);
}

uint64_t
gov_changed_ns(struct mount *m, uint64_t ino)
{
	struct gov_node *n = node_find(m, ino);

	for (enum gov_fixed i = 0; i < N_GOV_FIXED; i++)
		if (gov_ino(i) == ino)
			return i == GOV_METRICS ? clock_wall_ns()
						: m->gov->changed_ns[i];
	return n != NULL ? n->changed_ns : m->gov->changed_ns[GOV_LOCKS];
}

/* ---- what has changed ---- */

static void
changed(struct mount *m, uint64_t ino, uint64_t dir)
{
	struct gov_node *n;

	if (!known(m, ino) && !known(m, dir))
		return;
	n = node_get(m, ino);
	n->changed_seq = ++m->gov->seq;
	n->changed_ns = clock_wall_ns();
	if (n->queued)
		return;
	n->queued = true;
	DL_APPEND(m->gov->changed, n);
}

static void
changed_fixed(struct mount *m, enum gov_fixed i)
{
	m->gov->changed_ns[i] = clock_wall_ns();
	changed(m, gov_ino(i), GOV_INO);
}

void
dotgov_applied(struct mount *m, const struct engine_applied *a)
{
	switch (a->command->kind) {
	case COMMAND_session_open:
	case COMMAND_session_close:
	case COMMAND_session_expire:
		changed_fixed(m, GOV_SESSIONS);
		break;
	default:
		break;
	}
	for (unsigned i = 0; i < a->outcome->n_changes; i++)
		if (a->outcome->changes[i].kind == CHANGE_LOCKS)
			locks_changed(m, a->outcome->changes[i].node);
}

static void
locks_changed(struct mount *m, uint64_t node)
{
	struct store_txn *t;
	struct slice name;
	uint64_t dir;

	changed_fixed(m, GOV_LOCKS);
	if (m->gov->n_twins == 0)
		return;
	t = mount_view(m);
	if (tree_backlink_next(t, node, 0, SLICE_EMPTY, &dir, &name))
		changed(m, gov_twin(node), gov_twin(dir));
	else
		changed(m, GOV_NAMELESS, gov_ino(GOV_LOCKS));
	store_abort(t);
}

void
dotgov_turn(struct mount *m)
{
	uint64_t rev = engine_rev(m->conf.engine);

	if (rev != m->gov->rev) {
		m->gov->rev = rev;
		changed_fixed(m, GOV_VERSION);
	}
	tell(m);
}

/*
 * Much of it is a matter of time, and nobody calls: looked at ten times a
 * second, and when the engine says that something has happened.
 */
void
dotgov_look(struct mount *m)
{
	struct engine_member members[LIMIT_MEMBERS];
	unsigned n = engine_members(m->conf.engine, members, LIMIT_MEMBERS);
	struct gov_state now = {.health = mount_health(m)};
	const struct gov_state *was = &m->gov->state;
	struct engine_status st;
	bool leads, lives, health;

	engine_status(m->conf.engine, &st);
	now.role = st.role;
	now.leader = st.leader;
	now.disk_bad = st.disk != NULL;
	for (unsigned i = 0; i < n; i++)
		now.alive |= (uint64_t)members[i].alive << i;
	leads = now.leader != was->leader || now.role != was->role;
	lives = now.alive != was->alive;
	health = now.health != was->health;
	if (health)
		m->gov->since_ns = clock_now_ns();
	if (health || leads || lives || now.disk_bad != was->disk_bad)
		changed_fixed(m, GOV_HEALTH);
	if (now.leader != was->leader)
		changed_fixed(m, GOV_LEADER);
	if (leads || lives)
		changed_fixed(m, GOV_MEMBERS);
	if (health || lives)
		changed_fixed(m, GOV_SESSIONS);
	m->gov->state = now;
	tell(m);
}

/* ---- who is told ---- */

bool
gov_is_news(struct mount *m, const struct handle *h)
{
	struct gov_node *n = node_find(m, h->ino);

	return n != NULL && n->changed_seq > h->seen_seq;
}

void
gov_poll_wait(struct mount *m, struct handle *h, struct fuse_pollhandle *ph)
{
	if (h->ph != NULL)
		fuse_pollhandle_destroy(h->ph);
	else
		DL_APPEND(node_get(m, h->ino)->pollers, h);
	h->ph = ph;
}

void
dotgov_released(struct mount *m, struct handle *h)
{
	struct gov_node *n;

	if (h->ph == NULL)
		return;
	fuse_pollhandle_destroy(h->ph);
	h->ph = NULL;
	n = node_find(m, h->ino);
	DL_DELETE(n->pollers, h);
	node_release(m, n);
}

static void
wake_pollers(struct gov_node *n)
{
	struct handle *h;

	DL_FOREACH (n->pollers, h)
		fuse_lowlevel_notify_poll(h->ph);
}

static void
tell(struct mount *m)
{
	struct dotgov *g = m->gov;
	uint64_t now;
	struct gov_node *n, *next;
	unsigned budget = LIMIT_GOV_NEWS;

	if (g->changed == NULL)
		return;
	now = clock_now_ns();
	if (now - g->told_ns < LIMIT_GOV_NEWS_MS * NS_PER_MS)
		return;
	g->told_ns = now;
	DL_FOREACH_SAFE (g->changed, n, next) {
		if (n->telling)
			continue; /* the helper is busy: again, later */
		if (budget-- == 0)
			break;
		DL_DELETE(g->changed, n);
		n->queued = false;
		wake_pollers(n);
		if (path_of(m, n->ino, &n->tell)) {
			n->telling = true;
			replay_tell(m->replay, &n->tell);
		} else {
			node_release(m, n);
		}
	}
}

/* False: it has no path that the helper could take. */
static bool
path_of(struct mount *m, uint64_t ino, struct replay_news *ret)
{
	int len = snprintf(ret->path, sizeof ret->path, ".gov");
	struct store_txn *t;
	bool found;

	ret->ino = ino;
	ret->told = on_told;
	ret->is_dir = ino == gov_ino(GOV_LOCKS);
	if (gov_is_twin(ino) && ino != GOV_NAMELESS) {
		len += snprintf(ret->path + len, sizeof ret->path -
		    (size_t)len, "/%s", gov_fixed_name(GOV_LOCKS));
		t = mount_view(m);
		found = gov_locks_path(t, ino, ret->path + len,
		    sizeof ret->path - (size_t)len);
		store_abort(t);
		return found;
	}
	snprintf(ret->path + len, sizeof ret->path - (size_t)len, "/%s",
	    ino == GOV_NAMELESS ? "locks/" GOV_REMOVED
				: gov_fixed_name((enum gov_fixed)(ino &
				      ~GOV_INO)));
	return true;
}

static void
on_told(struct replay_news *news)
{
	struct gov_node *n = (struct gov_node *)((char *)news -
	    offsetof(struct gov_node, tell));

	n->telling = false;
	node_release(n->mount, n);
}
