/*
 * life.c: files that live as long as what they stand for.
 *
 * The machine keeps what a file's lifetime is and removes what its session or
 * its ttl no longer carries.  What only this host can see is watched here: the
 * last close of the handle that made an `open` file, the death of the process
 * that made a `process` file.  When the session was lost and the holder still
 * lives, its file comes back under the next session (CONTRACT T8).
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

struct life {
	struct mount *mount;
	struct handle *handle; /* of `open`: its RELEASE is the end; else NULL */
	struct knode *node;    /* pinned by n_handles while we have it */
	enum life_kind kind;
	bool explicit_kind;    /* by setxattr, not by its directory */
	struct process *process; /* of `process`: whose death is the end */
	/* What brings it back: as it was committed last. */
	uint64_t dir;
	char name[LIMIT_NAME + 1];
	struct attr attr;
	struct buf content;
	struct life *prev, *next;
};

static void end(void *life);
static void forget(struct life *);
static void look(struct life *);
static void bring_back(struct life *);
static void returned(struct pending *, const struct outcome *);

static bool
tree_life_of(struct mount *m, uint64_t ino, struct tree_life *ret)
{
	struct store_txn *t = mount_view(m);
	bool found = tree_life_get(t, ino, ret);

	store_abort(t);
	return found && ret->kind != LIFE_FOREVER;
}

bool
life_is(struct mount *m, uint64_t ino, enum life_kind kind)
{
	struct tree_life life;

	return tree_life_of(m, ino, &life) && life.kind == kind;
}

/* Files made there stand for something that is there now: no unborn ones. */
bool
life_at_once(struct mount *m, uint64_t dir)
{
	struct tree_life life;

	return tree_life_of(m, dir, &life) &&
	    (life.kind == LIFE_OPEN || life.kind == LIFE_PROCESS);
}

static struct life *
life_find(struct mount *m, const struct knode *node)
{
	struct life *l;

	DL_FOREACH (m->lives, l)
		if (l->node == node)
			return l;
	return NULL;
}

/* Every flush with new data commits what stands for its holder. */
bool
life_held(struct mount *m, const struct handle *h)
{
	return m->lives != NULL && life_find(m, h->node) != NULL;
}

static struct handle *
holder_of(struct knode *node, pid_t process)
{
	struct handle *h, *any = NULL;

	DL_FOREACH (node->handles, h) {
		if (h->released)
			continue;
		if (h->creator)
			return h;
		if (h->writes && (any == NULL || h->opener == process))
			any = h;
	}
	return any;
}

/* setfattr(1) speaks for the process that made the file, while we know it. */
static pid_t
process_of(const struct knode *node, pid_t process)
{
	struct handle *h;

	DL_FOREACH (node->handles, h)
		if (h->creator && !h->released)
			return h->opener;
	return process;
}

/*
 * A node has got its lifetime: by being made in a directory that says so, or by
 * setxattr.  Its holder is watched from now on.
 */
void
life_begin(struct mount *m, uint64_t ino, pid_t process, bool explicit_kind)
{
	struct knode *node = kview_find(m->kview, ino);
	struct tree_life tl;
	struct store_txn *t;
	struct life *l;

	if (m->stopping || !tree_life_of(m, node_of(m, ino), &tl) ||
	    (tl.kind != LIFE_OPEN && tl.kind != LIFE_PROCESS))
		return;
	if (node == NULL)
		lock_reap(m, ino); /* its maker didn't wait for it */
	if (node == NULL || life_find(m, node) != NULL)
		return;
	l = calloc(1, sizeof *l);
	assert(l != NULL);
	l->mount = m;
	l->kind = tl.kind;
	l->node = node;
	l->explicit_kind = explicit_kind;
	buf_init(&l->content, LIMIT_FILE_MAX);
	node->n_handles++;
	DL_APPEND(m->lives, l);
	look(l);
	t = mount_view(m);
	kview_name_of(m->kview, t, ino, &l->dir, l->name);
	store_abort(t);
	if (l->kind == LIFE_OPEN) {
		l->handle = holder_of(node, process);
		if (l->handle == NULL)
			end(l); /* nobody has it open */
		return;
	}
	l->process = process_watch(m, process_of(node, process), end, l);
	if (l->process == NULL)
		end(l); /* gone already */
}

/* The last close of a handle. */
void
life_released(struct mount *m, struct handle *h)
{
	struct life *l, *next;

	DL_FOREACH_SAFE (m->lives, l, next)
		if (l->handle == h)
			end(l);
}

/* The holder is gone, so the file goes. */
static void
end(void *life)
{
	struct life *l = life;
	struct mount *m = l->mount;

	lock_reap(m, node_of(m, l->node->ino));
	forget(l);
}

static void
forget(struct life *l)
{
	struct mount *m = l->mount;
	struct knode *node = l->node;

	DL_DELETE(m->lives, l);
	l->handle = NULL;
	node->n_handles--;
	kview_release(m->kview, node);
	process_unwatch(l->process);
	buf_fini(&l->content);
	free(l);
}

/* What it is in the committed tree, from which its end will take it. */
static void
look(struct life *l)
{
	struct mount *m = l->mount;
	uint64_t ino = node_of(m, l->node->ino), rev = l->attr.rev;
	struct store_txn *t = mount_view(m);
	struct slice content;
	struct attr attr;

	if (tree_node_get(t, ino, &attr)) {
		l->attr = attr;
		if (attr.rev != rev) {
			content = tree_content(t, ino);
			buf_reset(&l->content);
			buf_raw(&l->content, content.ptr, content.len);
		}
	}
	store_abort(t);
}

/* Other than by the end of a session, a file goes for good; it may also get
 * another lifetime, or name. */
static void
follow(struct life *l, const struct change *c, bool session_ends)
{
	uint64_t ino = node_of(l->mount, l->node->ino);
	const struct attr *now = c->node == ino ? &c->attr : &c->attr2;

	if (now->nlink == 0) {
		if (!session_ends)
			forget(l);
		return;
	}
	if (c->kind == CHANGE_ATTR && !life_is(l->mount, ino, l->kind)) {
		forget(l);
		return;
	}
	if ((c->kind == CHANGE_RENAME || c->kind == CHANGE_EXCHANGE) &&
	    c->node == ino) {
		l->dir = c->dir2;
		memcpy(l->name, c->name2, sizeof l->name);
	} else if (c->kind == CHANGE_EXCHANGE) {
		l->dir = c->dir;
		memcpy(l->name, c->name, sizeof l->name);
	}
	look(l);
}

/*
 * Who asked for it was killed meanwhile, or told that nobody knows: a file
 * that was to stand for him must not outlive him.
 */
static void
unclaimed(struct mount *m, const struct engine_applied *a)
{
	const struct command *c = a->command;

	if (a->outcome->err != 0 ||
	    c->stamp.session != session_id(m->conf.session))
		return;
	if (c->kind == COMMAND_create && a->outcome->ino == c->ino)
		life_begin(m, c->ino, 0, false);
	else if (c->kind == COMMAND_setxattr &&
	    slice_eq(c->name, slice_str("gov.lifetime")))
		life_begin(m, c->node, 0, true);
}

void
life_applied(struct mount *m, const struct engine_applied *a)
{
	bool session_ends = a->command->kind == COMMAND_session_expire ||
	    a->command->kind == COMMAND_session_open ||
	    a->command->kind == COMMAND_session_close;
	const struct change *c;
	struct life *l, *next;
	uint64_t ino;

	if (a->req == NULL)
		unclaimed(m, a);
	for (unsigned i = 0; m->lives != NULL && i < a->outcome->n_changes;
	    i++) {
		c = &a->outcome->changes[i];
		if (c->kind >= CHANGE_GRANT)
			continue;
		DL_FOREACH_SAFE (m->lives, l, next) {
			ino = node_of(m, l->node->ino);
			if (c->node == ino || c->node2 == ino)
				follow(l, c, session_ends);
		}
	}
}

void
life_stop(struct mount *m)
{
	while (m->lives != NULL)
		forget(m->lives);
}

/* A new session: what the old one took with it, and still has its holder. */
void
life_session_ready(struct mount *m)
{
	struct life *l, *next;
	struct store_txn *t;
	struct attr attr;
	bool there;

	DL_FOREACH_SAFE (m->lives, l, next) {
		t = mount_view(m);
		there = tree_node_get(t, node_of(m, l->node->ino), &attr);
		store_abort(t);
		if (!there)
			bring_back(l);
	}
}

static void
bring_back(struct life *l)
{
	struct mount *m = l->mount;
	struct pending *p;
	struct command *c;
	struct credentials cred = {.uid = l->attr.uid, .gid = l->attr.gid};
	struct store_txn *t = mount_view(m);
	struct tree_name taken;
	bool free_name = !tree_name_get(t, l->dir, slice_str(l->name), &taken);

	store_abort(t);
	if (!free_name) {
		log_warn("mount: %s: not made again: the name is another's",
		    l->name);
		forget(l);
		return;
	}
	p = pending_new(m, NULL, COMMAND_birth, returned);
	c = &p->ereq.command;
	p->parent = c->dir = l->dir;
	p->ino = l->node->ino;
	pending_name(p, l->name, NULL);
	c->ino = session_new_ino(m->conf.session);
	c->mode = l->attr.mode;
	c->flags = BIRTH_OWNER;
	c->uid = l->attr.uid;
	c->gid = l->attr.gid;
	buf_raw(&p->data, l->content.ptr, l->content.len);
	c->data = buf_slice(&p->data);
	log_info("mount: %s: made again under the new session", l->name);
	pending_submit(p, &cred);
}

static void
set_kind(struct mount *m, uint64_t node, enum life_kind kind,
    const struct credentials *cred);

static void
returned(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct knode *node = kview_find(m->kview, p->ino);
	struct life *l = node == NULL ? NULL : life_find(m, node);
	struct credentials cred = {.uid = p->ereq.command.uid,
	    .gid = p->ereq.command.gid};

	if (outcome->err == 0 && l != NULL) {
		node->alias = outcome->ino;
		if (l->explicit_kind)
			set_kind(m, outcome->ino, l->kind, &cred);
		look(l);
	} else if (outcome->err == 0) {
		/* Its holder went meanwhile, and so does it. */
		set_kind(m, outcome->ino, LIFE_OPEN, &cred);
		lock_reap(m, outcome->ino);
	} else {
		log_warn("mount: %s: not made again: %s", p->name,
		    strerror(-outcome->err));
	}
	pending_free(p);
}

static void
kind_set(struct pending *p, const struct outcome *outcome)
{
	pending_free(p);
}

static void
set_kind(struct mount *m, uint64_t node, enum life_kind kind,
    const struct credentials *cred)
{
	struct pending *p = pending_new(m, NULL, COMMAND_setxattr, kind_set);

	pending_name(p, "gov.lifetime", NULL);
	buf_raw(&p->data, kind == LIFE_OPEN ? "open" : "process",
	    kind == LIFE_OPEN ? 4 : 7);
	p->ereq.command.node = node;
	p->ereq.command.data = buf_slice(&p->data);
	pending_submit(p, cred);
}

/*
 * A ttl file is refreshed by whatever says that its writer lives: soft state
 * at the leader, no commit, no event (CONTRACT T6).
 */
bool
life_refresh(struct mount *m, uint64_t ino, int *ret_err)
{
	if (!life_is(m, ino, LIFE_TTL))
		return false;
	*ret_err = session_refresh(m->conf.session, ino);
	return true;
}
