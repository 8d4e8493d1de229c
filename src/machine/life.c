/*
 * life.c: files that live as long as what they stand for.
 *
 * A life is inherited from the directory or set as the xattr gov.lifetime.  It
 * ends by a command: the leader's expire, the owner's reap, the end of the
 * session.  What still has a lock, or names in it, is doomed instead: it goes
 * with the last of them.  Names that go this way are told as changes `aside`.
 */
#include "config.h"

#include "machine/life.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static bool is_locked(struct step *, uint64_t ino);
static void doom(struct step *, uint64_t ino, const struct tree_life *);
static void remove_names(struct step *, uint64_t ino);
static void remove_name(struct step *, uint64_t dir, struct slice name,
    const struct attr *old);
static void end_nodes(struct step *, uint64_t session);
static void end_names(struct step *, uint64_t session);
static bool parse(struct slice text, struct tree_life *ret);
static bool same_life(const struct tree_life *, const struct tree_life *);

int
life_room(struct step *s, enum life_kind kind)
{
	if (kind >= LIFE_SESSION && tree_life_count(s->txn,
	    s->c->stamp.session) >= LIMIT_SESSION_NODES)
		return step_refuse(s, -EDQUOT,
		    "too many files would end with this host's session");
	return 0;
}

void
life_inherit(struct step *s, const struct attr *dir, const struct attr *node,
    bool claims)
{
	const struct stamp *st = &s->c->stamp;
	struct tree_life life, own = {0};

	if (!tree_life_get(s->txn, dir->ino, &life))
		return;
	own.kind = life.kind;
	own.ttl_ms = life.ttl_ms;
	if (life.kind == LIFE_SESSION && !claims)
		return;
	/* No handle ever holds a link. */
	if (life.kind == LIFE_OPEN && S_ISLNK(node->mode))
		own.kind = LIFE_SESSION;
	if (life.kind == LIFE_SESSION ||
	    (life.kind != LIFE_TTL && !S_ISDIR(node->mode))) {
		own.session = st->session;
		own.host = st->host;
	}
	tree_life_put(s->txn, node->ino, &own);
}

void
life_linked(struct step *s, uint64_t dir, struct slice name)
{
	struct tree_life life;

	if (tree_life_get(s->txn, dir, &life) && life.kind == LIFE_SESSION)
		tree_name_life_put(s->txn, dir, name, s->c->stamp.session);
}

/* Refused only where the leader is to ask again: what else stands in the way
 * is a change, which begins another ttl. */
int
life_expire(struct step *s)
{
	const struct command *c = s->c;
	struct tree_life life;
	struct attr a;

	if (!tree_node_get(s->txn, c->node, &a) || S_ISDIR(a.mode) ||
	    !tree_life_get(s->txn, c->node, &life) || life.kind != LIFE_TTL ||
	    a.attr_rev != c->expect)
		return 0;
	if (is_locked(s, c->node))
		return step_refuse(s, -EBUSY, "the file has locks");
	remove_names(s, c->node);
	return 0;
}

int
life_reap(struct step *s)
{
	const struct command *c = s->c;
	struct tree_life life;

	if (!tree_life_get(s->txn, c->node, &life) || life.session == 0)
		return 0;
	if (life.session != c->stamp.session)
		return step_refuse(s, -EPERM, "the file is another session's");
	doom(s, c->node, &life);
	return 0;
}

void
life_session_end(struct step *s, uint64_t session)
{
	end_names(s, session);
	end_nodes(s, session);
}

void
life_unlocked(struct step *s, uint64_t node)
{
	struct tree_life life;

	if (tree_life_get(s->txn, node, &life) && life.doomed)
		doom(s, node, &life);
}

void
life_emptied(struct step *s, uint64_t dir)
{
	struct tree_life life;

	if (tree_life_get(s->txn, dir, &life) && life.doomed)
		doom(s, dir, &life);
}

int
life_set(struct step *s, const struct attr *old)
{
	const struct command *c = s->c;
	struct tree_life was = {0}, life = {0};
	struct attr now = *old;
	bool exists;
	int err;

	if (c->kind == COMMAND_setxattr && !parse(c->data, &life))
		return step_refuse(s, -EINVAL, "a lifetime is forever, "
		    "ttl=100ms to ttl=365d, session, open or process");
	if (life_is_others(s, old->ino))
		return step_refuse(s, -EPERM,
		    "the file stands for something on another host");
	if (life.kind >= LIFE_SESSION && !S_ISDIR(old->mode)) {
		life.session = c->stamp.session;
		life.host = c->stamp.host;
	}
	exists = tree_life_get(s->txn, old->ino, &was);
	if (exists && (c->flags & XATTR_FLAG_CREATE))
		return step_refuse(s, -EEXIST, "the attribute exists");
	if (!exists && (c->kind == COMMAND_removexattr ||
	    (c->flags & XATTR_FLAG_REPLACE)))
		return step_refuse(s, -ENODATA, "the attribute is absent");
	if (same_life(&was, &life)) {
		step_answer(s, old);
		return 0;
	}
	err = life_room(s, life.kind);
	if (err != 0)
		return err;
	if (life.kind == LIFE_FOREVER)
		tree_life_del(s->txn, old->ino);
	else
		tree_life_put(s->txn, old->ino, &life);
	attr_commit(s, old, &now);
	return 0;
}

bool
life_is_others(struct step *s, uint64_t ino)
{
	struct tree_life life;

	return tree_life_get(s->txn, ino, &life) && life.session != 0 &&
	    life.host != s->c->stamp.host;
}

static bool
is_locked(struct step *s, uint64_t ino)
{
	struct tree_lock l;

	return tree_lock_next(s->txn, ino, 0, &l);
}

/* Its owner is gone: it goes now, or with what keeps it. */
static void
doom(struct step *s, uint64_t ino, const struct tree_life *life)
{
	struct tree_life doomed = *life;
	struct attr a;

	if (!tree_node_get(s->txn, ino, &a))
		return;
	if (!is_locked(s, ino) &&
	    (!S_ISDIR(a.mode) || tree_dir_empty(s->txn, ino))) {
		remove_names(s, ino);
		return;
	}
	doomed.doomed = true;
	doomed.session = 0;
	tree_life_put(s->txn, ino, &doomed);
}

static void
remove_names(struct step *s, uint64_t ino)
{
	uint8_t copy[LIMIT_NAME];
	struct slice name;
	struct attr a;
	uint64_t dir;

	while (tree_node_get(s->txn, ino, &a) &&
	    tree_backlink_next(s->txn, ino, 0, SLICE_EMPTY, &dir, &name)) {
		memcpy(copy, name.ptr, name.len);
		remove_name(s, dir, slice_of(copy, name.len), &a);
	}
}

static void
remove_name(struct step *s, uint64_t dir_ino, struct slice name,
    const struct attr *old)
{
	bool is_dir = S_ISDIR(old->mode), aside = s->aside;
	struct attr dir, now = *old;

	if (!tree_node_get(s->txn, dir_ino, &dir))
		return;
	s->aside = true;
	now.nlink = is_dir ? 0 : now.nlink - 1;
	dir_take_name(s, &dir, name, old, &now,
	    is_dir ? CHANGE_RMDIR : CHANGE_UNLINK);
	life_emptied(s, dir_ino);
	s->aside = aside;
}

/* In the order of their numbers; a directory goes with the last in it. */
static void
end_nodes(struct step *s, uint64_t session)
{
	struct tree_life life;
	uint64_t ino = 0;

	while (tree_life_next(s->txn, ino, &ino, &life)) {
		if (life.session == session)
			doom(s, ino, &life);
	}
}

/* A name of a link goes alone; the last one takes the node with it. */
static void
end_names(struct step *s, uint64_t session)
{
	struct tree_life doomed = {.kind = LIFE_SESSION, .doomed = true};
	struct slice name = SLICE_EMPTY;
	uint8_t copy[LIMIT_NAME];
	uint64_t dir = 0, of;
	struct tree_name n;
	struct attr a;

	while (tree_name_life_next(s->txn, dir, name, &dir, &name, &of)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		if (of != session ||
		    !tree_name_get(s->txn, dir, name, &n) ||
		    !tree_node_get(s->txn, n.ino, &a))
			continue;
		if (a.nlink == 1 && is_locked(s, n.ino)) {
			tree_life_put(s->txn, n.ino, &doomed);
			tree_name_life_del(s->txn, dir, name);
		} else {
			remove_name(s, dir, name, &a);
		}
	}
}

static bool
parse(struct slice text, struct tree_life *ret)
{
	static const struct {
		const char *name;
		enum life_kind kind;
	} words[] = {
		{"forever", LIFE_FOREVER}, {"session", LIFE_SESSION},
		{"open", LIFE_OPEN}, {"process", LIFE_PROCESS},
	};
	static const char ttl[] = "ttl=";
	size_t len = sizeof(ttl) - 1;
	uint64_t ms;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (slice_eq(text, slice_str(words[i].name))) {
			*ret = (struct tree_life){.kind = words[i].kind};
			return true;
		}
	}
	if (text.len <= len || memcmp(text.ptr, ttl, len) != 0 ||
	    !step_duration(slice_of((const char *)text.ptr + len,
	    text.len - len), &ms) ||
	    ms < LIMIT_TTL_MIN_MS || ms > LIMIT_TTL_MAX_MS)
		return false;
	*ret = (struct tree_life){.kind = LIFE_TTL, .ttl_ms = ms};
	return true;
}

static bool
same_life(const struct tree_life *a, const struct tree_life *b)
{
	return a->kind == b->kind && a->ttl_ms == b->ttl_ms &&
	    a->session == b->session && a->host == b->host &&
	    a->doomed == b->doomed;
}
