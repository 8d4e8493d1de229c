/*
 * replay_mount.c: what src/mount does with kview and replay, without the rest
 * of it, over the real machine; see replay_sim.h.
 *
 * Each function names the one of src/mount whose rules it has.  What is
 * committed together is applied together, and published one by one.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "engine/engine_internal.h"
#include "machine/machine.h"
#include "sim/replay_sim.h"
#include "tree/tree.h"

enum { HERE = 1, REMOTE = 9, SESSION = 7, REMOTE_SESSION = 77, OWN_NAMES = 8 };

/* A command on its way; mount's struct pending is in it. */
struct commit {
	struct command c;
	char name[SIM_NAME], name2[SIM_NAME], data[SIM_NAME];
	struct request *request; /* NULL: another host's, or abandoned */
	uint64_t ino;		 /* struct pending's */
	struct outcome outcome;
	uint64_t rev;
	struct commit *prev, *next;
};

/* mount's own.c */
struct own_name {
	uint64_t dir, rev;
	char name[LIMIT_NAME + 1];
};

static struct {
	struct engine engine;
	struct engine_ops ops;
	struct commit *commits; /* oldest first */
	uint64_t seq[2], range[2], n_inos[2];
	uint64_t time_ns;
	struct own_name own[OWN_NAMES];
	unsigned n_own;
} m;

struct store_txn *
mount_view(void)
{
	return store_begin(m.engine.store, STORE_READ);
}

/* ---- answers: reply.c ---- */

static void
answer(struct request *r, int err)
{
	r->err = err;
	r->state = ANSWERED;
}

static bool
is_helper(const struct request *r)
{
	return r->task->id == HELPER;
}

/* reply_stat() */
static void
reply_stat(const struct attr *attr, struct attr *ret)
{
	*ret = *attr;
	if (attr->nlink > 0 && replay_unlinks(sim.replay, attr->ino))
		ret->nlink++;
}

/* attr_timeout() */
static bool
attr_lasts(uint64_t ino)
{
	struct knode *node = kview_find(sim.kview, ino);

	if (node != NULL && node->n_lookup > 0 && !node->reached)
		return false;
	if (node != NULL && (node->n_dirty > 0 || node->unborn))
		return false;
	if (replay_unlinks(sim.replay, ino))
		return false;
	if (node != NULL)
		node->told = true;
	return true;
}

/* mount_invalidate() */
static void
invalidate(void *arg, uint64_t ino)
{
	struct knode *node = kview_find(sim.kview, ino);

	trace("invalidate %llu", (unsigned long long)ino);
	if (node != NULL)
		node->told = false;
	kernel_invalidate(ino);
}

/* reply_entry_of() */
static void
reply_entry_of(const struct attr *attr, struct entry *ret)
{
	ret->ino = attr->ino;
	ret->lasts = true;
	ret->attr_lasts = attr_lasts(attr->ino);
	reply_stat(attr, &ret->attr);
}

/* reply_remember() */
static void
reply_remember(const struct request *r, struct entry *e)
{
	kview_remember(sim.kview, e->ino);
	if (is_helper(r) && S_ISDIR(e->attr.mode) &&
	    !kview_reached(sim.kview, e->ino))
		e->attr_lasts = false;
	else
		kview_reach(sim.kview, e->ino);
}

/* reply_made() */
static void
reply_made(struct request *r, uint64_t ino)
{
	struct store_txn *t = mount_view();
	struct attr attr;

	if (kview_attr(sim.kview, t, ino, &attr)) {
		reply_entry_of(&attr, &r->entry);
		r->entry.attr_lasts = false;
		reply_remember(r, &r->entry);
		answer(r, 0);
	} else {
		answer(r, -ENOENT);
	}
	store_abort(t);
}

/* reply_attr() */
static void
reply_attr(struct request *r, uint64_t ino)
{
	struct store_txn *t = mount_view();
	struct attr attr;

	if (kview_attr(sim.kview, t, ino, &attr)) {
		r->entry.attr_lasts = attr_lasts(ino);
		reply_stat(&attr, &r->entry.attr);
		answer(r, 0);
	} else {
		answer(r, -ENOENT);
	}
	store_abort(t);
}

/* reply_stale() */
static void
reply_stale(struct request *r, unsigned op, uint64_t dir, int natural)
{
	struct task *t = r->task;

	if (t->stale_op == op && t->stale_dir == dir) {
		t->stale_op = 0;
		answer(r, natural);
		return;
	}
	t->stale_op = op;
	t->stale_dir = dir;
	answer(r, -ESTALE);
}

/* ---- commands: submit.c, own.c ---- */

static struct commit *
commit_new(enum command_kind kind, struct request *r)
{
	struct commit *n = calloc(1, sizeof *n);

	n->c.kind = kind;
	n->request = r;
	return n;
}

static void
set_names(struct commit *n, const char *name, const char *name2)
{
	snprintf(n->name, sizeof n->name, "%s", name);
	n->c.name = slice_str(n->name);
	snprintf(n->name2, sizeof n->name2, "%s", name2);
	n->c.name2 = slice_str(n->name2);
}

static void
submit(struct commit *n, bool remote)
{
	struct stamp *s = &n->c.stamp;

	s->session = remote ? REMOTE_SESSION : SESSION;
	s->host = remote ? REMOTE : HERE;
	s->seq = ++m.seq[remote];
	s->done_below = s->seq > 100 ? s->seq - 100 : 1;
	s->privileged = true;
	if (remote)
		s->seen = UINT64_MAX;
	DL_APPEND(m.commits, n);
}

static uint64_t
new_ino(bool remote)
{
	return m.range[remote] + ++m.n_inos[remote];
}

/* own_freed() */
static void
own_freed(const struct change *c)
{
	struct own_name *own;

	if ((c->kind != CHANGE_UNLINK && c->kind != CHANGE_RMDIR &&
	    c->kind != CHANGE_RENAME) || replay_cursor(sim.replay) >= c->rev)
		return;
	own = &m.own[m.n_own++ % OWN_NAMES];
	own->dir = c->dir;
	own->rev = c->rev;
	memcpy(own->name, c->name, sizeof own->name);
}

/* own_seen() */
static uint64_t
own_seen(const struct command *c)
{
	bool renames = c->kind == COMMAND_rename;
	uint64_t seen = replay_cursor(sim.replay);
	uint64_t dir = renames ? c->dir2 : c->dir;
	struct slice name = renames ? c->name2 : c->name;

	for (unsigned i = 0; i < OWN_NAMES; i++)
		if (m.own[i].rev > seen && m.own[i].dir == dir &&
		    slice_eq(slice_str(m.own[i].name), name))
			seen = m.own[i].rev;
	return seen;
}

/* pending_submit() */
static void
pending_submit(struct commit *n)
{
	n->c.stamp.seen = own_seen(&n->c);
	submit(n, false);
}

void
mount_abandon(struct task *t)
{
	struct commit *n;

	DL_FOREACH (m.commits, n)
		if (n->request != NULL && n->request == t->request) {
			trace("task %u: its %s is abandoned", t->id, n->name);
			n->request = NULL;
			answer(t->request, -EINTR);
		}
}

/* ---- requests: op_node.c, op_name.c, op_open.c, op_dir.c ---- */

static uint64_t
known_name(uint64_t dir, const char *name)
{
	struct store_txn *t = mount_view();
	uint64_t ino = kview_lookup(sim.kview, t, dir, slice_str(name));

	store_abort(t);
	return ino;
}

/* lookup_early() */
static bool
lookup_early(struct store_txn *t, uint64_t dir, struct slice name,
    struct attr *ret)
{
	struct tree_name c;
	uint64_t at;
	char other[LIMIT_NAME + 1];

	return tree_name_get(t, dir, name, &c) &&
	    !kview_name_of(sim.kview, t, c.ino, &at, other) &&
	    tree_node_get(t, c.ino, ret) && !S_ISDIR(ret->mode);
}

/* op_lookup() */
static void
op_lookup(struct request *r)
{
	struct slice name = slice_str(r->name);
	struct entry *e = &r->entry;
	struct store_txn *t = mount_view();
	struct attr attr;
	uint64_t ino;
	char own[LIMIT_NAME + 1];
	bool up = strcmp(r->name, "..") == 0;
	bool dots = up || strcmp(r->name, ".") == 0;

	if (up && r->node != TREE_ROOT)
		ino = kview_name_of(sim.kview, t, r->node, &ino, own) ? ino : 0;
	else if (dots)
		ino = r->node;
	else
		ino = kview_lookup(sim.kview, t, r->node, name);
	e->lasts = true;
	if (ino != 0 && kview_attr(sim.kview, t, ino, &attr)) {
		reply_entry_of(&attr, e);
	} else if (ino == 0 && !is_helper(r) && !dots &&
	    lookup_early(t, r->node, name, &attr)) {
		reply_entry_of(&attr, e);
		e->lasts = false;
	}
	store_abort(t);
	if (e->ino != 0)
		reply_remember(r, e);
	if (e->ino != 0 && dots)
		kview_reach(sim.kview, e->ino);
	answer(r, 0);
}

/* begin_entry(), begin_removal() */
static bool
begin_name(struct request *r)
{
	bool link = r->call == CALL_LINK;
	uint64_t ino;
	int err;

	if (!is_helper(r))
		return true;
	err = replay_enact_name(sim.replay, link ? r->dir2 : r->node,
	    slice_str(r->name), link ? r->node : r->dir2, slice_str(r->name2),
	    &ino);
	if (err == 0 && r->call <= CALL_LINK)
		reply_made(r, ino);
	else
		answer(r, err);
	return false;
}

static const enum command_kind commands[] = {
    [CALL_MKNOD] = COMMAND_create, [CALL_MKDIR] = COMMAND_mkdir,
    [CALL_SYMLINK] = COMMAND_symlink, [CALL_LINK] = COMMAND_link,
    [CALL_UNLINK] = COMMAND_unlink, [CALL_RMDIR] = COMMAND_rmdir,
    [CALL_RENAME] = COMMAND_rename,
};

/* name_command() */
static struct commit *
name_command(struct request *r, uint64_t dir, uint64_t ino)
{
	struct commit *n = commit_new(commands[r->call], r);

	n->c.dir = dir;
	n->ino = n->c.node = ino;
	set_names(n, r->name, r->name2);
	return n;
}

/* op_mknod(), op_mkdir(), op_symlink(), op_link() */
static void
op_make(struct request *r)
{
	bool link = r->call == CALL_LINK;
	uint64_t dir = link ? r->dir2 : r->node;
	struct commit *n;

	if (known_name(dir, r->name) != 0) {
		answer(r, -EEXIST);
		return;
	}
	n = name_command(r, dir, link ? r->node : 0);
	n->c.mode = r->mode;
	if (!link)
		n->c.ino = new_ino(false);
	if (r->call == CALL_MKNOD)
		n->c.flags = CREATE_EXCL;
	if (r->call == CALL_SYMLINK)
		n->c.data = slice_str("to");
	pending_submit(n);
}

static bool
has_names(uint64_t dir)
{
	struct store_txn *t = mount_view();
	bool empty = kview_empty(sim.kview, t, dir);

	store_abort(t);
	return !empty;
}

/* op_unlink(), op_rmdir() */
static void
op_remove(struct request *r)
{
	uint64_t ino = known_name(r->node, r->name);

	if (r->call == CALL_UNLINK && ino == 0)
		reply_stale(r, COMMAND_unlink, r->node, -ENOENT);
	else if (r->call == CALL_RMDIR && ino != 0 && has_names(ino))
		answer(r, -ENOTEMPTY);
	else
		pending_submit(name_command(r, r->node, ino));
}

/* op_rename() */
static void
op_rename(struct request *r)
{
	uint64_t ino = known_name(r->node, r->name);
	uint64_t ino2 = known_name(r->dir2, r->name2);
	struct commit *n;

	if (ino2 != 0 && (r->flags & RENAME_NOREPLACE) != 0) {
		answer(r, -EEXIST);
		return;
	}
	if (ino2 != 0 && (r->flags & RENAME_EXCHANGE) == 0 &&
	    has_names(ino2)) {
		answer(r, -ENOTEMPTY);
		return;
	}
	n = name_command(r, r->node, ino);
	n->c.dir2 = r->dir2;
	n->c.node2 = ino2;
	n->c.flags = (r->flags & RENAME_NOREPLACE ? RENAME_FLAG_NOREPLACE : 0) |
	    (r->flags & RENAME_EXCHANGE ? RENAME_FLAG_EXCHANGE : 0);
	pending_submit(n);
}

static struct knode *
handle_new(uint64_t ino)
{
	struct knode *node = kview_node(sim.kview, ino);

	node->n_handles++;
	return node;
}

/* create_existing() and reply_created(): the name is K's from now on. */
static void
created(struct request *r, const struct attr *attr, bool set)
{
	struct store_txn *t = mount_view();
	struct attr a = *attr;

	handle_new(attr->ino);
	if (set)
		kview_set(sim.kview, t, r->node, slice_str(r->name), attr->ino);
	kview_attr(sim.kview, t, attr->ino, &a);
	store_abort(t);
	reply_entry_of(&a, &r->entry);
	r->entry.attr_lasts = false;
	reply_remember(r, &r->entry);
	answer(r, 0);
}

/* existing() */
static int
existing(const struct attr *attr)
{
	return S_ISDIR(attr->mode) ? -EISDIR : !S_ISREG(attr->mode) ? -ELOOP : 0;
}

/* op_create(); nothing is unborn here, see replay.c. */
static void
op_create(struct request *r)
{
	struct store_txn *t = mount_view();
	struct slice name = slice_str(r->name);
	uint64_t ino = kview_lookup(sim.kview, t, r->node, name);
	struct tree_name c;
	struct attr attr;
	struct commit *n;
	bool there;

	if (ino == 0 && tree_name_get(t, r->node, name, &c))
		ino = c.ino;
	there = ino != 0 && kview_attr(sim.kview, t, ino, &attr);
	store_abort(t);
	if (there && (r->flags & O_EXCL) != 0) {
		answer(r, -EEXIST);
	} else if (there && existing(&attr) != 0) {
		reply_stale(r, COMMAND_create, r->node, existing(&attr));
	} else if (there) {
		created(r, &attr, true);
	} else {
		n = commit_new(COMMAND_create, r);
		n->c.dir = r->node;
		n->c.ino = new_ino(false);
		n->c.mode = r->mode;
		n->c.flags = r->flags & O_EXCL ? CREATE_EXCL : 0;
		set_names(n, r->name, "");
		pending_submit(n);
	}
}

/* setattr_local() of an open file without names */
static bool
is_local(const struct knode *node)
{
	return node != NULL && node->own_attr && node->attr.nlink == 0;
}

/* op_setattr() */
static void
op_setattr(struct request *r)
{
	struct knode *node = kview_find(sim.kview, r->node);
	struct commit *n;
	int err;

	if (is_helper(r)) {
		err = replay_enact_node(sim.replay, r->node);
		if (err != 0)
			answer(r, err);
		else
			reply_attr(r, r->node);
		return;
	}
	if (r->chmods && is_local(node)) {
		node->attr.mode = (node->attr.mode & S_IFMT) | r->mode;
		reply_attr(r, r->node);
		return;
	}
	n = commit_new(r->chmods ? COMMAND_setattr : COMMAND_truncate, r);
	n->ino = n->c.node = r->node;
	n->c.flags = r->chmods ? SETATTR_MODE : 0;
	n->c.mode = r->mode;
	n->c.size = r->size;
	pending_submit(n);
}

/* op_write(), commit_flush(), op_release() of a handle with a draft */
static void
op_file(struct request *r)
{
	struct knode *node = kview_node(sim.kview, r->node);
	struct commit *n;

	switch (r->call) {
	case CALL_WRITE:
		node->n_dirty++;
		r->task->dirty = true;
		answer(r, 0);
		break;
	case CALL_FLUSH:
		if (!r->task->dirty) {
			answer(r, 0);
			break;
		}
		n = commit_new(COMMAND_write, r);
		n->ino = n->c.node = r->node;
		memset(n->data, 'x', sizeof n->data);
		n->c.data = slice_of(n->data, r->size);
		pending_submit(n);
		break;
	default:
		if (r->task->dirty)
			node->n_dirty--;
		r->task->dirty = false;
		node->n_handles--;
		kview_release(sim.kview, node);
		answer(r, 0);
	}
}

static void
list_one(void *arg, const char *name, uint64_t ino)
{
	struct listing *l = arg;
	struct store_txn *t = mount_view();
	struct attr attr;

	assert(l->n < SIM_LISTED);
	if (kview_attr(sim.kview, t, ino, &attr)) {
		snprintf(l->listed[l->n].name, SIM_NAME, "%s", name);
		reply_entry_of(&attr, &l->listed[l->n++].entry);
	}
	store_abort(t);
}

/* op_readdirplus(), add_plus() */
static void
op_readdirplus(struct request *r)
{
	struct listing *l = r->listing;
	struct store_txn *t = mount_view();

	kview_each(sim.kview, t, r->node, list_one, l);
	store_abort(t);
	for (unsigned i = 0; i < l->n; i++) {
		kview_remember(sim.kview, l->listed[i].entry.ino);
		kview_reach(sim.kview, l->listed[i].entry.ino);
	}
	answer(r, 0);
}

void
mount_request(struct request *r)
{
	switch (r->call) {
	case CALL_LOOKUP:
		op_lookup(r);
		break;
	case CALL_GETATTR:
		if (!is_helper(r))
			kview_reach(sim.kview, r->node);
		reply_attr(r, r->node);
		break;
	case CALL_SETATTR:
		op_setattr(r);
		break;
	case CALL_MKNOD:
	case CALL_MKDIR:
	case CALL_SYMLINK:
	case CALL_LINK:
		if (begin_name(r))
			op_make(r);
		break;
	case CALL_UNLINK:
	case CALL_RMDIR:
		if (begin_name(r))
			op_remove(r);
		break;
	case CALL_RENAME:
		if (begin_name(r))
			op_rename(r);
		break;
	case CALL_CREATE:
		op_create(r);
		break;
	case CALL_OPEN:
		if (is_helper(r)) {
			answer(r, replay_enact_node(sim.replay, r->node));
			break;
		}
		handle_new(r->node);
		answer(r, 0);
		break;
	case CALL_WRITE:
	case CALL_FLUSH:
	case CALL_RELEASE:
		op_file(r);
		break;
	case CALL_READDIRPLUS:
		op_readdirplus(r);
		break;
	}
}

void
mount_forgets(uint64_t ino, uint64_t n)
{
	kview_forget(sim.kview, ino, n);
}

/* ---- outcomes: mount.c, and who waits for them ---- */

static bool
makes_name(const struct command *c)
{
	return c->kind == COMMAND_create || c->kind == COMMAND_mkdir ||
	    c->kind == COMMAND_symlink || c->kind == COMMAND_link;
}

/* natural() of op_name.c */
static int
natural(const struct command *c)
{
	return makes_name(c) || (c->kind == COMMAND_rename &&
	    (c->flags & RENAME_FLAG_NOREPLACE) != 0) ? -EEXIST : -ENOENT;
}

/* finish() of op_name.c, finish_create(), finish_setattr(), commit.c */
static void
finish(struct commit *n)
{
	const struct outcome *o = &n->outcome;
	struct request *r = n->request;

	if (o->err == 0)
		r->task->stale_op = 0;
	switch (r->call) {
	case CALL_SETATTR:
		if (o->err == 0)
			reply_attr(r, n->ino);
		else
			answer(r, o->err);
		break;
	case CALL_FLUSH:
		kview_find(sim.kview, n->ino)->n_dirty--;
		r->task->dirty = false;
		if (o->err != 0) /* kernel_knows() */
			invalidate(NULL, n->ino);
		answer(r, o->err);
		break;
	case CALL_CREATE:
		if (o->err == -EISDIR || o->err == -ELOOP)
			reply_stale(r, COMMAND_create, r->node, o->err);
		else if (o->err != 0)
			answer(r, o->err);
		else if (o->ino == n->c.ino)
			created(r, &o->attr, false);
		else if (existing(&o->attr) != 0)
			reply_stale(r, COMMAND_create, r->node,
			    existing(&o->attr));
		else
			created(r, &o->attr, true);
		break;
	default:
		if (o->err == -ESTALE)
			reply_stale(r, n->c.kind, n->c.dir, natural(&n->c));
		else if (o->err != 0 || !makes_name(&n->c))
			answer(r, o->err);
		else
			reply_made(r, n->ino != 0 ? n->ino : o->ino);
	}
}

/* renamed_to_itself() */
static void
renamed_to_itself(const struct command *c, uint64_t ino)
{
	struct store_txn *t = mount_view();

	kview_set(sim.kview, t, c->dir, c->name, 0);
	kview_set(sim.kview, t, c->dir2, c->name2, ino);
	store_abort(t);
	replay_reconcile(sim.replay, c->dir, c->name, false);
	replay_reconcile(sim.replay, c->dir2, c->name2, false);
}

/* applied_here(); no node has an alias, as none is unborn. */
static void
applied_here(const struct commit *n)
{
	struct store_txn *t = mount_view();
	const struct change *c;

	if (n->c.kind == COMMAND_rename && n->outcome.err == 0 &&
	    n->outcome.n_changes == 0)
		renamed_to_itself(&n->c, n->ino);
	for (unsigned i = 0; i < n->outcome.n_changes; i++) {
		c = &n->outcome.changes[i];
		if (c->kind >= CHANGE_GRANT)
			continue;
		if (c->aside || (c->kind >= CHANGE_CONTENT &&
		    c->node != n->ino)) {
			replay_push(sim.replay, c, c->kind == CHANGE_CREATE);
			continue;
		}
		if (!kview_moves(sim.kview, c))
			continue;
		kview_local(sim.kview, t, c);
		own_freed(c);
	}
	store_abort(t);
}

/* on_applied() */
static void
publish(struct commit *n)
{
	const struct change *c;

	m.engine.rev = n->rev;
	trace("revision %llu: %s %llu %s %llu %s of %s: %s",
	    (unsigned long long)n->rev, command_name(n->c.kind),
	    (unsigned long long)n->c.dir, n->name,
	    (unsigned long long)n->c.dir2, n->name2,
	    n->request == NULL ? "another" : "ours",
	    strerror(-n->outcome.err));
	if (n->request != NULL) {
		applied_here(n);
		finish(n);
		return;
	}
	for (unsigned i = 0; i < n->outcome.n_changes; i++) {
		c = &n->outcome.changes[i];
		if (c->kind < CHANGE_GRANT)
			replay_push(sim.replay, c,
			    n->c.kind == COMMAND_birth &&
			    c->kind == CHANGE_CREATE);
	}
}

static void
commit_free(struct commit *n)
{
	outcome_fini(&n->outcome);
	free(n);
}

bool
mount_commit(void)
{
	struct commit *batch = NULL, *n;
	struct store_txn *t;
	uint64_t rev = m.engine.rev;
	unsigned many = 1 + below(chance(20) ? 40 : 4);

	if (m.commits == NULL)
		return false;
	t = store_begin(m.engine.store, STORE_WRITE);
	for (; many > 0 && m.commits != NULL; many--) {
		n = m.commits;
		DL_DELETE(m.commits, n);
		DL_APPEND(batch, n);
		machine_apply(t, &n->c, ++m.time_ns, &n->outcome);
		if (n->outcome.rev > rev)
			rev = n->outcome.rev;
		n->rev = rev;
	}
	store_commit(t);
	while ((n = batch) != NULL) {
		DL_DELETE(batch, n);
		publish(n);
		commit_free(n);
	}
	return true;
}

/* ---- the other host ---- */

uint64_t
mount_committed(struct store_txn *t, uint64_t dir, const char *name,
    struct attr *ret)
{
	struct tree_name c;

	return tree_name_get(t, dir, slice_str(name), &c) &&
		tree_node_get(t, c.ino, ret) ? c.ino : 0;
}

/* A place in the committed tree, some levels down. */
static void
some_place(struct store_txn *t, uint64_t *ret_dir, char name[SIM_NAME])
{
	static const unsigned depths[] = {0, 0, 1, 1, 1, 2, 2, 3};
	uint64_t dir = TREE_ROOT, ino;
	struct attr attr;

	for (unsigned n = depths[below(8)]; n > 0; n--)
		for (unsigned tries = 0; tries < 3; tries++) {
			snprintf(name, SIM_NAME, "n%u", below(4));
			ino = mount_committed(t, dir, name, &attr);
			if (ino == 0 || !S_ISDIR(attr.mode))
				continue;
			dir = ino;
			break;
		}
	snprintf(name, SIM_NAME, "n%u", below(4));
	*ret_dir = dir;
}

static void
remote_make(struct commit *n, uint64_t ino2, const struct attr *attr2)
{
	struct command *c = &n->c;

	c->ino = new_ino(true);
	c->mode = S_IFREG | 0644;
	switch (below(10)) {
	case 0:
	case 1:
	case 2:
		c->kind = COMMAND_mkdir;
		c->mode = S_IFDIR | 0755;
		break;
	case 3:
		c->kind = COMMAND_symlink;
		c->data = slice_str("to");
		break;
	case 4:
		c->kind = COMMAND_create;
		c->flags = CREATE_EXCL;
		break;
	case 5:
		if (ino2 != 0 && !S_ISDIR(attr2->mode)) {
			c->kind = COMMAND_link;
			c->node = ino2;
			break;
		}
		/* fallthrough */
	default:
		c->kind = COMMAND_birth;
		c->data = slice_of(n->data, below(20));
	}
}

static void
remote_change(struct commit *n, bool is_dir)
{
	struct command *c = &n->c;

	switch (below(9)) {
	case 0:
	case 1:
		c->kind = is_dir ? COMMAND_rmdir : COMMAND_unlink;
		break;
	case 2:
	case 3:
		c->kind = COMMAND_rename;
		break;
	case 4:
		c->kind = COMMAND_rename;
		c->flags = RENAME_FLAG_EXCHANGE;
		break;
	case 5:
		c->kind = COMMAND_setattr;
		c->flags = SETATTR_MODE;
		c->mode = 0600 | below(0100);
		break;
	case 6:
		c->kind = COMMAND_append;
		c->data = slice_of(n->data, 1 + below(4));
		break;
	case 7:
		c->kind = COMMAND_truncate;
		c->size = below(20);
		break;
	default:
		c->kind = COMMAND_write;
		c->data = slice_of(n->data, 1 + below(20));
	}
}

void
mount_remote(void)
{
	struct commit *n = commit_new(COMMAND_noop, NULL);
	struct store_txn *t = mount_view();
	char name[SIM_NAME], name2[SIM_NAME];
	struct attr attr = {0}, attr2 = {0};

	some_place(t, &n->c.dir, name);
	some_place(t, &n->c.dir2, name2);
	set_names(n, name, name2);
	memset(n->data, 'r', sizeof n->data);
	n->c.node = mount_committed(t, n->c.dir, name, &attr);
	n->c.node2 = mount_committed(t, n->c.dir2, name2, &attr2);
	if (n->c.node == 0)
		remote_make(n, n->c.node2, &attr2);
	else
		remote_change(n, S_ISDIR(attr.mode));
	store_abort(t);
	submit(n, true);
}

/* ---- beginning ---- */

static void
report_replayed(struct engine *e, uint64_t rev)
{
	if (rev < sim.cursor)
		broken("the cursor went back");
	sim.cursor = rev;
}

static void
on_moved(void *arg)
{
}

static void
open_session(uint64_t id, uint64_t host)
{
	struct commit n = {.c = {.kind = COMMAND_session_open, .node = id,
	    .name = slice_str(host == HERE ? "here" : "remote"),
	    .stamp = {.host = host}}};
	struct store_txn *t = store_begin(m.engine.store, STORE_WRITE);

	machine_apply(t, &n.c, ++m.time_ns, &n.outcome);
	assert(n.outcome.err == 0);
	m.range[host == REMOTE] = n.outcome.value;
	if (n.outcome.rev > m.engine.rev)
		m.engine.rev = n.outcome.rev;
	store_commit(t);
	outcome_fini(&n.outcome);
}

void
mount_init(void)
{
	struct replay_conf conf = {.loop = uv_default_loop(),
	    .engine = &m.engine, .moved = on_moved,
	    .invalidate = invalidate, .dir_renamed = on_moved};

	m.ops.report_replayed = report_replayed;
	m.engine.ops = &m.ops;
	m.time_ns = 1;
	if (store_open_mem(&m.engine.store) != 0)
		abort();
	open_session(SESSION, HERE);
	open_session(REMOTE_SESSION, REMOTE);
	sim.engine = &m.engine;
	conf.kview = sim.kview = kview_new(invalidate, NULL);
	replay_open(&conf, &sim.replay);
}
