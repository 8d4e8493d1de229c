/*
 * file.c: regular files and their content.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/life.h"
#include "machine/machine.h"
#include "machine/step.h"

static int birth_new(struct step *, struct attr *dir);
static int birth_owner(struct step *, const struct attr *dir);
static int get_regular(struct step *, uint64_t ino, struct attr *ret);
static bool writable(const struct step *, const struct attr *);
static int may_write(struct step *, const struct attr *);
static int commit(struct step *, const struct attr *old, bool append);
static int commit_nothing(struct step *, const struct attr *old);
static int commit_content(struct step *, const struct attr *old,
    struct slice content, bool only_grew);
static void keep_times(const struct command *, struct attr *);
static uint8_t *content_memory(size_t len);
static int too_big(struct step *);

int
file_create(struct step *s)
{
	const struct command *c = s->c;
	struct tree_name n;
	struct change *ch;
	struct attr dir, a;
	int err;

	if (!(c->flags & CREATE_EXCL) && !step_is_gov(c->dir, c->name) &&
	    tree_name_get(s->txn, c->dir, c->name, &n) &&
	    tree_node_get(s->txn, n.ino, &a)) {
		if (S_ISDIR(a.mode))
			return step_refuse(s, -EISDIR,
			    "a directory has the name");
		if (S_ISLNK(a.mode))
			return step_refuse(s, -ELOOP, "a link has the name");
		step_answer(s, &a);
		return 0;
	}
	if ((c->mode & S_IFMT) != 0 && !S_ISREG(c->mode))
		return step_refuse(s, -EPERM, "only regular files can be made");
	/* No rule P: parking what follows the CREATE keeps it fresh. */
	err = dir_may_name(s, c->dir, c->name, false, &dir);
	if (err == 0)
		err = step_may_be_born(s, &dir);
	if (err != 0)
		return err;
	a = step_new_node(s, &dir, S_IFREG | (c->mode & 07777), c->ino);
	tree_node_put(s->txn, &a);
	ch = step_change(s, CHANGE_CREATE);
	ch->node = a.ino;
	ch->attr = a;
	dir_make_name(s, &dir, c->name, &a, ch);
	life_inherit(s, &dir, &a, c->flags & CREATE_EXCL);
	step_answer(s, &a);
	return 0;
}

int
file_birth(struct step *s)
{
	const struct command *c = s->c;
	struct tree_name n;
	struct attr dir, a;
	int err;

	err = step_dir(s, c->dir, &dir);
	if (err != 0)
		return err;
	if (!tree_name_get(s->txn, c->dir, c->name, &n) ||
	    !tree_node_get(s->txn, n.ino, &a))
		return birth_new(s, &dir);
	if (c->flags & WRITE_EXPECT)
		return step_refuse(s, -ESTALE,
		    "somebody has made the file meanwhile");
	if (S_ISDIR(a.mode))
		return step_refuse(s, -EISDIR,
		    "a directory has taken the new file's name");
	if (S_ISLNK(a.mode))
		return step_refuse(s, -ELOOP,
		    "a link has taken the new file's name");
	return commit(s, &a, c->flags & BIRTH_APPEND);
}

static int
birth_new(struct step *s, struct attr *dir)
{
	const struct command *c = s->c;
	struct attr a;
	int err;

	if (c->data.len > s->meta.settings.max_file)
		return too_big(s);
	err = dir_may_name(s, c->dir, c->name, false, dir);
	if (err == 0)
		err = step_may_be_born(s, dir);
	if (err == 0)
		err = birth_owner(s, dir);
	if (err == 0)
		err = step_bytes(s, 0, c->data.len);
	if (err != 0)
		return err;
	a = step_new_node(s, dir, S_IFREG | (c->mode & 07777), c->ino);
	if (c->flags & BIRTH_OWNER) {
		a.uid = c->uid;
		a.gid = c->gid;
	}
	keep_times(c, &a);
	file_make(s, dir, c->name, &a, c->data);
	life_inherit(s, dir, &a, c->flags & WRITE_EXPECT);
	step_answer(s, &a);
	return 0;
}

void
file_make(struct step *s, struct attr *dir, struct slice name, struct attr *a,
    struct slice content)
{
	struct change *ch = step_change(s, CHANGE_CREATE);

	a->size = content.len;
	tree_node_put(s->txn, a);
	tree_content_put(s->txn, a->ino, content);
	s->meta.bytes += a->size;
	ch->node = a->ino;
	ch->attr = *a;
	dir_make_name(s, dir, name, a, ch);
}

/* chown(2) of a file not born yet, by the rules of attr.c. */
static int
birth_owner(struct step *s, const struct attr *dir)
{
	const struct command *c = s->c;
	const struct stamp *st = &c->stamp;
	bool given = (dir->mode & S_ISGID) && c->gid == dir->gid;

	if ((c->flags & BIRTH_OWNER) && !st->privileged &&
	    (c->uid != st->uid || (!given && !step_in_group(st, c->gid))))
		return step_refuse(s, -EPERM,
		    "only root and, for his own groups, the owner may do that");
	return 0;
}

int
file_write(struct step *s)
{
	const struct command *c = s->c;
	struct attr old;
	int err;

	err = get_regular(s, c->node, &old);
	if (err != 0)
		return err;
	if ((c->flags & WRITE_EXPECT) && old.rev != c->expect)
		return step_refuse(s, -ESTALE,
		    "the file has changed since it was read");
	return commit(s, &old, c->kind == COMMAND_append);
}

int
file_truncate(struct step *s)
{
	const struct command *c = s->c;
	uint64_t size = c->size;
	struct slice content;
	struct attr old;
	uint8_t *copy;
	int err;

	err = get_regular(s, c->node, &old);
	if (err != 0)
		return err;
	if (size > s->meta.settings.max_file)
		return too_big(s);
	err = may_write(s, &old);
	if (err != 0)
		return err;
	if (size == old.size) {
		step_answer(s, &old);
		return 0;
	}
	content = tree_content(s->txn, old.ino);
	copy = content_memory(size);
	if (content.len != 0)
		memcpy(copy, content.ptr,
		    content.len < size ? content.len : size);
	err = commit_content(s, &old, slice_of(copy, size), size > old.size);
	free(copy);
	return err;
}

static int
get_regular(struct step *s, uint64_t ino, struct attr *ret)
{
	if (!tree_node_get(s->txn, ino, ret))
		return step_refuse(s, -ENOENT, "the file has been removed");
	if (S_ISDIR(ret->mode))
		return step_refuse(s, -EISDIR, "it is a directory");
	if (!S_ISREG(ret->mode))
		return step_refuse(s, -EINVAL, "it is no regular file");
	return 0;
}

/* CONTRACT S2: the owner passes, and the handle that made the file. */
static bool
writable(const struct step *s, const struct attr *a)
{
	const struct command *c = s->c;
	bool commits = c->kind == COMMAND_write || c->kind == COMMAND_append;

	return (commits && (c->flags & WRITE_CREATOR)) ||
	    step_owner(&c->stamp, a) || machine_access(a, &c->stamp, W_OK) == 0;
}

static int
may_write(struct step *s, const struct attr *a)
{
	if (writable(s, a))
		return 0;
	return step_refuse(s, -EACCES, "the file's mode doesn't allow writing");
}

/* The command's data replaces what is there, or goes behind it. */
static int
commit(struct step *s, const struct attr *old, bool append)
{
	const struct command *c = s->c;
	struct slice content = tree_content(s->txn, old->ino);
	size_t before = append ? content.len : 0;
	bool same, only_grew;
	uint8_t *joined;
	int err;

	if (c->data.len + before > s->meta.settings.max_file)
		return too_big(s);
	same = append ? c->data.len == 0 : slice_eq(content, c->data);
	/* Of two hosts that make the same file both succeed. */
	if (same && c->kind == COMMAND_birth && !writable(s, old)) {
		step_answer(s, old);
		return 0;
	}
	err = may_write(s, old);
	if (err != 0)
		return err;
	if (same)
		return commit_nothing(s, old);
	if (before == 0) {
		only_grew = content.len < c->data.len && (content.len == 0 ||
		    memcmp(content.ptr, c->data.ptr, content.len) == 0);
		return commit_content(s, old, c->data, only_grew);
	}
	joined = content_memory(before + c->data.len);
	memcpy(joined, content.ptr, before);
	memcpy(joined + before, c->data.ptr, c->data.len);
	err = commit_content(s, old, slice_of(joined, before + c->data.len),
	    true);
	free(joined);
	return err;
}

/* CONTRACT F5: equal bytes make no revision, unless other times are asked. */
static int
commit_nothing(struct step *s, const struct attr *old)
{
	struct attr now = *old;
	struct change *ch;

	keep_times(s->c, &now);
	if (now.mtime_ns == old->mtime_ns && now.atime_ns == old->atime_ns) {
		step_answer(s, old);
		return 0;
	}
	attr_commit(s, old, &now);
	ch = &s->out->changes[s->out->n_changes - 1];
	ch->times_only = true;
	ch->mtime_set = now.mtime_ns != old->mtime_ns;
	ch->atime_set = now.atime_ns != old->atime_ns;
	return 0;
}

static int
commit_content(struct step *s, const struct attr *old, struct slice content,
    bool only_grew)
{
	struct attr now;
	int err;

	err = step_bytes(s, old->size, content.len);
	if (err != 0)
		return err;
	file_replace(s, old, content, only_grew, &now);
	step_answer(s, &now);
	return 0;
}

void
file_replace(struct step *s, const struct attr *old, struct slice content,
    bool only_grew, struct attr *ret)
{
	struct change *ch = step_change(s, CHANGE_CONTENT);
	struct attr now = *old;

	step_name_of(s, old->ino, ch);
	if (!s->c->stamp.privileged)
		now.mode = step_drop_privileges(s, old);
	now.size = content.len;
	now.rev = now.attr_rev = s->rev;
	now.mtime_ns = now.ctime_ns = s->now_ns;
	keep_times(s->c, &now);
	tree_content_put(s->txn, now.ino, content);
	tree_node_put(s->txn, &now);
	s->meta.bytes += content.len;
	s->meta.bytes -= old->size;
	ch->node = now.ino;
	ch->old = *old;
	ch->attr = now;
	ch->size_only_grew = only_grew;
	ch->truncated = s->c->kind == COMMAND_truncate;
	*ret = now;
}

/* utimens after the last write(2) wins over the time of the commit. */
static void
keep_times(const struct command *c, struct attr *a)
{
	if (c->kind == COMMAND_truncate || !(c->flags & WRITE_KEEP_MTIME))
		return;
	a->mtime_ns = c->mtime_ns;
	if (c->atime_ns != 0)
		a->atime_ns = c->atime_ns;
}

/* Zeroed; no memory is our end, never an outcome: hosts would differ. */
static uint8_t *
content_memory(size_t len)
{
	uint8_t *ptr = calloc(1, len != 0 ? len : 1);

	if (ptr == NULL)
		abort();
	return ptr;
}

static int
too_big(struct step *s)
{
	return step_refuse(s, -EFBIG, "the file would pass max_file");
}
