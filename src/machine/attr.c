/*
 * attr.c: mode, owner, times, extended attributes.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "machine/life.h"
#include "machine/machine.h"
#include "machine/step.h"

enum {
	TIMES_GIVEN = SETATTR_ATIME | SETATTR_MTIME,
	TIMES_NOW = SETATTR_ATIME_NOW | SETATTR_MTIME_NOW,
};

static int set_owner(struct step *, const struct attr *old, struct attr *now);
static int set_mode(struct step *, const struct attr *old, struct attr *now);
static int set_times(struct step *, const struct attr *old, struct attr *now);
static bool same_owner(const struct attr *, const struct attr *);
static int xattr_node(struct step *, struct attr *ret);
static bool is_gov_name(struct slice name);
static int gov_node(struct step *, const struct attr *);
static bool gov_value_valid(const struct command *);
static unsigned xattr_count(struct step *, uint64_t ino);

void
attr_commit(struct step *s, const struct attr *old, struct attr *now)
{
	struct change *ch = step_change(s, CHANGE_ATTR);

	now->ctime_ns = s->now_ns;
	now->attr_rev = s->rev;
	step_name_of(s, old->ino, ch);
	tree_node_put(s->txn, now);
	ch->node = old->ino;
	ch->old = *old;
	ch->attr = *now;
	step_answer(s, now);
}

int
attr_set(struct step *s)
{
	const struct command *c = s->c;
	struct attr old, now;
	struct change *ch;
	bool times;
	int err;

	if (!tree_node_get(s->txn, c->node, &old))
		return step_refuse(s, -ENOENT, "the file has been removed");
	now = old;
	err = set_owner(s, &old, &now);
	if (err == 0)
		err = set_mode(s, &old, &now);
	if (err == 0)
		err = set_times(s, &old, &now);
	if (err != 0)
		return err;
	times = old.atime_ns != now.atime_ns || old.mtime_ns != now.mtime_ns;
	if (!times && old.mode == now.mode && same_owner(&old, &now)) {
		step_answer(s, &old);
		return 0;
	}
	attr_commit(s, &old, &now);
	ch = &s->out->changes[s->out->n_changes - 1];
	ch->times_only = old.mode == now.mode && same_owner(&old, &now);
	ch->atime_set = c->flags & (SETATTR_ATIME | SETATTR_ATIME_NOW);
	ch->mtime_set = c->flags & (SETATTR_MTIME | SETATTR_MTIME_NOW);
	return 0;
}

/* chown(2): root gives away; an owner may choose among his groups. */
static int
set_owner(struct step *s, const struct attr *old, struct attr *now)
{
	const struct command *c = s->c;
	const struct stamp *st = &c->stamp;

	if ((c->flags & SETATTR_UID) && !st->privileged &&
	    (st->uid != old->uid || c->uid != old->uid))
		return step_refuse(s, -EPERM, "only root gives files away");
	if ((c->flags & SETATTR_GID) && !st->privileged &&
	    (st->uid != old->uid ||
	    (c->gid != old->gid && !step_in_group(st, c->gid))))
		return step_refuse(s, -EPERM,
		    "only root and, for his own groups, the owner may do that");
	if (c->flags & SETATTR_UID)
		now->uid = c->uid;
	if (c->flags & SETATTR_GID)
		now->gid = c->gid;
	if (!same_owner(old, now) && !S_ISDIR(old->mode))
		now->mode = step_drop_privileges(s, old);
	return 0;
}

static int
set_mode(struct step *s, const struct attr *old, struct attr *now)
{
	const struct command *c = s->c;

	if (!(c->flags & SETATTR_MODE))
		return 0;
	if (!step_owner(&c->stamp, old))
		return step_refuse(s, -EPERM, "only the owner changes the mode");
	if (S_ISLNK(old->mode))
		return step_refuse(s, -EOPNOTSUPP, "links have no mode");
	now->mode = (old->mode & S_IFMT) | (c->mode & 07777);
	if (!c->stamp.privileged && !step_in_group(&c->stamp, now->gid))
		now->mode &= ~(uint32_t)S_ISGID;
	return 0;
}

/* utimensat(2): who may write may set both to now; the rest is the owner's. */
static int
set_times(struct step *s, const struct attr *old, struct attr *now)
{
	const struct command *c = s->c;
	uint32_t asked = c->flags & (TIMES_GIVEN | TIMES_NOW);

	if (asked == 0)
		return 0;
	if (asked == TIMES_NOW) {
		if (!step_owner(&c->stamp, old) &&
		    machine_access(old, &c->stamp, W_OK) != 0)
			return step_refuse(s, -EACCES,
			    "the file's mode doesn't allow writing");
	} else if (!step_owner(&c->stamp, old)) {
		return step_refuse(s, -EPERM, "only the owner sets times");
	}
	if (asked & SETATTR_ATIME_NOW)
		now->atime_ns = s->now_ns;
	else if (asked & SETATTR_ATIME)
		now->atime_ns = c->atime_ns;
	if (asked & SETATTR_MTIME_NOW)
		now->mtime_ns = s->now_ns;
	else if (asked & SETATTR_MTIME)
		now->mtime_ns = c->mtime_ns;
	return 0;
}

static bool
same_owner(const struct attr *a, const struct attr *b)
{
	return a->uid == b->uid && a->gid == b->gid;
}

int
attr_xattr_set(struct step *s)
{
	const struct command *c = s->c;
	struct attr old, now;
	struct slice value;
	uint64_t before, after;
	bool exists;
	int err;

	err = xattr_node(s, &old);
	if (err == 0 && slice_eq(c->name, slice_str("gov.lifetime")))
		return life_set(s, &old);
	if (err != 0)
		return err;
	exists = tree_xattr_get(s->txn, old.ino, c->name, &value);
	if (exists && (c->flags & XATTR_FLAG_CREATE))
		return step_refuse(s, -EEXIST, "the attribute exists");
	if (!exists && (c->flags & XATTR_FLAG_REPLACE))
		return step_refuse(s, -ENODATA, "the attribute is absent");
	if (c->data.len > LIMIT_XATTR_VALUE)
		return step_refuse(s, -E2BIG, "the value is too long");
	if (exists && slice_eq(value, c->data)) {
		step_answer(s, &old);
		return 0;
	}
	if (!exists && xattr_count(s, old.ino) >= LIMIT_XATTRS)
		return step_refuse(s, -ENOSPC,
		    "the file has too many attributes");
	if (!gov_value_valid(c))
		return step_refuse(s, -EINVAL, "gov.guard is a path, "
		    "gov.lock_delay a duration up to 60s");
	before = exists ? tree_xattr_bytes(c->name, value) : 0;
	after = tree_xattr_bytes(c->name, c->data);
	err = step_bytes(s, before, after);
	if (err != 0)
		return err;
	s->meta.bytes += after - before;
	tree_xattr_put(s->txn, old.ino, c->name, c->data);
	if (!exists && slice_eq(c->name, slice_str("gov.guard")))
		step_count_guard(s, old.ino, 1);
	now = old;
	attr_commit(s, &old, &now);
	return 0;
}

int
attr_xattr_remove(struct step *s)
{
	const struct command *c = s->c;
	struct attr old, now;
	struct slice value;
	int err;

	err = xattr_node(s, &old);
	if (err == 0 && slice_eq(c->name, slice_str("gov.lifetime")))
		return life_set(s, &old);
	if (err != 0)
		return err;
	if (!tree_xattr_get(s->txn, old.ino, c->name, &value))
		return step_refuse(s, -ENODATA, "the attribute is absent");
	if (slice_eq(c->name, slice_str("gov.guard")))
		step_count_guard(s, old.ino, -1);
	s->meta.bytes -= tree_xattr_bytes(c->name, value);
	tree_xattr_del(s->txn, old.ino, c->name);
	now = old;
	attr_commit(s, &old, &now);
	return 0;
}

/* The node of an attribute that the caller may change; xattr(7). */
static int
xattr_node(struct step *s, struct attr *ret)
{
	const struct command *c = s->c;
	static const char user[] = "user.";
	size_t len = sizeof(user) - 1;

	if (!tree_node_get(s->txn, c->node, ret))
		return step_refuse(s, -ENOENT, "the file has been removed");
	if (is_gov_name(c->name))
		return gov_node(s, ret);
	if (c->name.len < len || memcmp(c->name.ptr, user, len) != 0)
		return step_refuse(s, -EOPNOTSUPP,
		    "only attributes named user.* can be set");
	if (c->name.len == len)
		return step_refuse(s, -EINVAL, "the attribute has no name");
	if (!S_ISREG(ret->mode) && !S_ISDIR(ret->mode))
		return step_refuse(s, -EPERM,
		    "only files and directories have attributes");
	if (S_ISDIR(ret->mode) && (ret->mode & S_ISVTX) &&
	    !step_owner(&c->stamp, ret))
		return step_refuse(s, -EPERM,
		    "of a sticky directory only the owner sets attributes");
	if (machine_access(ret, &c->stamp, W_OK) != 0)
		return step_refuse(s, -EACCES,
		    "the file's mode doesn't allow writing");
	return 0;
}

/* What can be set of those that govfs gives a meaning. */
static bool
is_gov_name(struct slice name)
{
	return slice_eq(name, slice_str("gov.lifetime")) ||
	    slice_eq(name, slice_str("gov.guard")) ||
	    slice_eq(name, slice_str("gov.lock_delay"));
}

static int
gov_node(struct step *s, const struct attr *a)
{
	if (!S_ISREG(a->mode) && !S_ISDIR(a->mode))
		return step_refuse(s, -EPERM,
		    "only files and directories have attributes");
	if (!step_owner(&s->c->stamp, a))
		return step_refuse(s, -EPERM,
		    "only the owner sets what govfs gives a meaning");
	return 0;
}

static bool
gov_value_valid(const struct command *c)
{
	uint64_t ms;

	if (slice_eq(c->name, slice_str("gov.guard")))
		return c->data.len != 0 && c->data.len < LIMIT_PATH &&
		    memchr(c->data.ptr, '\0', c->data.len) == NULL;
	if (slice_eq(c->name, slice_str("gov.lock_delay")))
		return step_duration(c->data, &ms) &&
		    ms <= LIMIT_LOCK_DELAY_MS;
	return true;
}

static unsigned
xattr_count(struct step *s, uint64_t ino)
{
	struct slice name = SLICE_EMPTY, value;
	char copy[LIMIT_XATTR_NAME];
	unsigned n = 0;

	while (tree_xattr_next(s->txn, ino, name, &name, &value)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		n++;
	}
	return n;
}
