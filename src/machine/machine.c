/*
 * machine.c: the switch, and the tree's first revision.
 */
#include "config.h"

#include "machine/machine.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "machine/life.h"
#include "machine/lock.h"
#include "machine/step.h"
#include "tree/tree.h"

enum { LEVEL_FIRST = 1 };

static void step_init(struct step *, struct store_txn *,
    const struct command *, uint64_t time_ns, struct outcome *);
static void format(struct step *, uint64_t time_ns);
static void format_dir(struct step *, struct attr *root, const char *name,
    uint64_t ino);
static bool is_nobodys(enum command_kind);
static int dispatch(struct step *);
static void step_fini(struct step *);

void
machine_apply(struct store_txn *txn, const struct command *c,
    uint64_t time_ns, struct outcome *ret)
{
	struct step s;

	outcome_init(ret);
	step_init(&s, txn, c, time_ns, ret);
	if (c->kind == COMMAND_session_open) {
		ret->err = session_begin(&s);
	} else if (c->stamp.session == 0 && is_nobodys(c->kind)) {
		ret->err = dispatch(&s);
	} else if (session_enter(&s) == SESSION_NEW) {
		ret->err = fence_check(&s);
		if (ret->err == 0)
			ret->err = dispatch(&s);
		session_leave(&s);
	}
	step_fini(&s);
}

int
machine_access(const struct attr *a, const struct stamp *st, int mask)
{
	uint32_t bits = a->mode & 7;

	if (st->privileged) {
		/* CAP_DAC_OVERRIDE makes no file executable. */
		if ((mask & X_OK) && !S_ISDIR(a->mode) && !(a->mode & 0111))
			return -EACCES;
		return 0;
	}
	if (a->uid == st->uid)
		bits = a->mode >> 6 & 7;
	else if (step_in_group(st, a->gid))
		bits = a->mode >> 3 & 7;
	return ((uint32_t)mask & ~bits) == 0 ? 0 : -EACCES;
}

static void
step_init(struct step *s, struct store_txn *txn, const struct command *c,
    uint64_t time_ns, struct outcome *out)
{
	*s = (struct step){.txn = txn, .c = c, .out = out};
	if (!tree_meta_get(txn, &s->meta))
		format(s, time_ns);
	s->rev = s->meta.rev + 1;
	s->now_ns = time_ns > s->meta.time_ns ? time_ns : s->meta.time_ns + 1;
}

/* The configuration of the host that comes first decides. */
static uint64_t
proposed_max_file(const struct command *c)
{
	if (c->kind != COMMAND_session_open || c->size == 0)
		return LIMIT_FILE_DEFAULT;
	return c->size < LIMIT_FILE_MAX ? c->size : LIMIT_FILE_MAX;
}

static void
format(struct step *s, uint64_t time_ns)
{
	struct attr root = {
		.ino = TREE_ROOT, .mode = S_IFDIR | 0755, .nlink = 2,
	};
	struct tree_life locks = {.kind = LIFE_SESSION};
	struct tree_life status = {.kind = LIFE_TTL, .ttl_ms = 10000};

	s->meta = (struct tree_meta){
		.time_ns = time_ns, .next_range = 1, .n_inodes = 1,
		.settings = {
			.max_file = proposed_max_file(s->c),
			.tree_bytes = LIMIT_TREE_BYTES,
			.tree_inodes = LIMIT_TREE_INODES,
		},
		.level = LEVEL_FIRST,
	};
	s->rev = 1;
	s->now_ns = time_ns;
	root.atime_ns = time_ns;
	step_touch_dir(s, &root);
	s->aside = true;
	format_dir(s, &root, "config", TREE_ROOT + 1);
	format_dir(s, &root, "locks", TREE_ROOT + 2);
	format_dir(s, &root, "status", TREE_ROOT + 3);
	format_dir(s, &root, "nodes", TREE_ROOT + 4);
	s->aside = false;
	tree_life_put(s->txn, TREE_ROOT + 2, &locks);
	tree_life_put(s->txn, TREE_ROOT + 3, &status);
	s->meta.rev = 1;
	s->meta_changed = true;
	s->out->rev = 1;
}

static void
format_dir(struct step *s, struct attr *root, const char *name, uint64_t ino)
{
	struct change *ch = step_change(s, CHANGE_MKDIR);
	struct attr a = *root;

	a.ino = ino;
	a.nlink = 2;
	tree_node_put(s->txn, &a);
	s->meta.n_inodes++;
	ch->node = ino;
	ch->attr = a;
	dir_make_name(s, root, slice_str(name), &a, ch);
	s->changed = false; /* the command itself has not done anything yet */
}

/* What a leader proposes: harmless when it comes again. */
static bool
is_nobodys(enum command_kind kind)
{
	return kind == COMMAND_noop || kind == COMMAND_session_expire ||
	    kind == COMMAND_expire || kind == COMMAND_delay_end ||
	    kind == COMMAND_suspend || kind == COMMAND_resume;
}

static int
dispatch(struct step *s)
{
	switch (s->c->kind) {
	case COMMAND_noop:
		return 0;
	case COMMAND_create:
		return file_create(s);
	case COMMAND_birth:
		return file_birth(s);
	case COMMAND_mkdir:
		return dir_mkdir(s);
	case COMMAND_symlink:
		return dir_symlink(s);
	case COMMAND_link:
		return dir_link(s);
	case COMMAND_unlink:
		return dir_unlink(s);
	case COMMAND_rmdir:
		return dir_rmdir(s);
	case COMMAND_rename:
		return dir_rename(s);
	case COMMAND_write:
	case COMMAND_append:
		return file_write(s);
	case COMMAND_truncate:
		return file_truncate(s);
	case COMMAND_setattr:
		return attr_set(s);
	case COMMAND_setxattr:
		return attr_xattr_set(s);
	case COMMAND_removexattr:
		return attr_xattr_remove(s);
	case COMMAND_lock:
		return lock_take(s);
	case COMMAND_unlock:
		return lock_free(s);
	case COMMAND_lock_cancel:
		return lock_cancel(s);
	case COMMAND_delay_end:
		return lock_delay_end(s);
	case COMMAND_session_close:
	case COMMAND_session_expire:
		return session_finish(s);
	case COMMAND_suspend:
	case COMMAND_resume:
		return session_suspend(s);
	case COMMAND_expire:
		return life_expire(s);
	case COMMAND_reap:
		return life_reap(s);
	case COMMAND_session_open:
		break; /* machine_apply() has taken it */
	}
	assert(!"a command that its decoder let through");
	return -EINVAL;
}

static void
step_fini(struct step *s)
{
	assert(!s->changed || s->out->err == 0);
	if (s->changed) {
		s->meta.rev = s->rev;
		s->meta.time_ns = s->now_ns;
		s->out->rev = s->rev;
	}
	for (unsigned i = 0; i < s->out->n_changes; i++) {
		if (s->out->changes[i].rev == 0)
			s->out->changes[i].rev = s->meta.rev;
	}
	if (s->changed || s->meta_changed)
		tree_meta_put(s->txn, &s->meta);
}
