/*
 * posix.c: what each command should do, step by step as a manual page says it.
 */
#include "config.h"

#include "tests/model/posix.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Kept short: the command being tried, and where. */
struct try {
	struct posix *m;
	const struct command *c;
	const struct stamp *st;
	struct posix_session *session;
	uint64_t now_ns;
	struct posix_result *res;
};

static int op(struct try *);

struct posix_node *
posix_node(struct posix *m, uint64_t ino)
{
	for (unsigned i = 0; i < m->n_nodes; i++) {
		if (m->nodes[i].attr.ino == ino && ino != 0)
			return &m->nodes[i];
	}
	return NULL;
}

static struct posix_name *
any_name(struct posix *m, uint64_t dir, struct slice name)
{
	for (unsigned i = 0; i < m->n_names; i++) {
		if (m->names[i].dir == dir &&
		    slice_eq(slice_str(m->names[i].name), name))
			return &m->names[i];
	}
	return NULL;
}

struct posix_name *
posix_name(struct posix *m, uint64_t dir, struct slice name)
{
	struct posix_name *n = any_name(m, dir, name);

	return n != NULL && n->ino != 0 ? n : NULL;
}

struct posix_session *
posix_session(struct posix *m, uint64_t id)
{
	for (unsigned i = 0; i < m->n_sessions; i++) {
		if (m->sessions[i].id == id)
			return &m->sessions[i];
	}
	return NULL;
}

static void
set_name(struct posix *m, uint64_t dir, struct slice name, uint64_t ino,
    uint64_t rev)
{
	struct posix_name *n = any_name(m, dir, name);

	if (n == NULL) {
		if (m->n_names == m->cap_names) {
			m->cap_names = m->cap_names * 2 + 64;
			m->names = reallocarray(m->names, m->cap_names,
			    sizeof(*m->names));
			assert(m->names != NULL);
		}
		n = &m->names[m->n_names++];
		memset(n, 0, sizeof(*n));
		n->dir = dir;
		assert(name.len < sizeof(n->name));
		memcpy(n->name, name.ptr, name.len);
	}
	n->ino = ino;
	n->rev = rev;
}

static struct posix_node *
add_node(struct posix *m, uint64_t ino, uint32_t mode, uint64_t rev,
    uint64_t now_ns)
{
	struct posix_node *n = &m->nodes[m->n_nodes++];

	assert(m->n_nodes <= POSIX_NODES);
	memset(n, 0, sizeof(*n));
	n->attr = (struct attr){
		.ino = ino, .mode = mode, .nlink = S_ISDIR(mode) ? 2 : 1,
		.rev = rev, .attr_rev = rev, .atime_ns = now_ns,
		.mtime_ns = now_ns, .ctime_ns = now_ns,
	};
	return n;
}

static void
remove_node(struct posix *m, struct posix_node *n)
{
	*n = m->nodes[--m->n_nodes];
}

void
posix_init(struct posix *m, uint64_t time_ns)
{
	static const char *const names[] = {
		"config", "locks", "status", "nodes",
	};

	memset(m, 0, sizeof(*m));
	m->rev = 1;
	m->time_ns = time_ns;
	add_node(m, 1, S_IFDIR | 0755, 1, time_ns)->attr.nlink = 6;
	for (unsigned i = 0; i < 4; i++) {
		(void)add_node(m, i + 2, S_IFDIR | 0755, 1, time_ns);
		set_name(m, 1, slice_str(names[i]), i + 2, 1);
	}
}

void
posix_fini(struct posix *m)
{
	free(m->names);
}

static void
end_session(struct posix_session *s)
{
	s->alive = false;
}

static int
open_session(struct posix *m, const struct command *c, uint64_t *ret_value)
{
	struct posix_session *s = posix_session(m, c->node);

	if (s != NULL && !s->alive)
		return -OUTCOME_ESESSION;
	if (s != NULL && s->host != c->stamp.host)
		return -EINVAL;
	if (s == NULL) {
		for (unsigned i = 0; i < m->n_sessions; i++) {
			if (m->sessions[i].host == c->stamp.host)
				end_session(&m->sessions[i]);
		}
		assert(m->n_sessions < POSIX_SESSIONS);
		s = &m->sessions[m->n_sessions++];
		*s = (struct posix_session){
			.id = c->node, .host = c->stamp.host, .alive = true,
			.range = (uint64_t)m->n_sessions << 32,
			.done_below = 1,
		};
	}
	*ret_value = s->range;
	return 0;
}

static bool
kept(const struct posix_session *s, uint64_t seq)
{
	for (unsigned i = 0; i < s->n_kept; i++) {
		if (s->kept[i] == seq)
			return true;
	}
	return false;
}

static void
keep(struct posix_session *s, const struct stamp *st)
{
	unsigned n = 0;

	if (st->done_below > s->done_below)
		s->done_below = st->done_below;
	for (unsigned i = 0; i < s->n_kept; i++) {
		if (s->kept[i] >= s->done_below)
			s->kept[n++] = s->kept[i];
	}
	assert(n < POSIX_KEPT);
	s->kept[n++] = st->seq;
	s->n_kept = n;
}

void
posix_apply(struct posix *m, const struct command *c, uint64_t time_ns,
    struct posix_result *ret)
{
	struct posix_session *s = posix_session(m, c->stamp.session);
	struct try t = {.m = m, .c = c, .st = &c->stamp, .session = s,
	    .res = ret};
	uint64_t low;

	memset(ret, 0, sizeof(*ret));
	t.now_ns = time_ns > m->time_ns ? time_ns : m->time_ns + 1;
	if (c->kind == COMMAND_session_open) {
		ret->err = open_session(m, c, &ret->value);
		return;
	}
	if (c->kind == COMMAND_noop && c->stamp.session == 0)
		return;
	if (s == NULL || !s->alive) {
		ret->err = -OUTCOME_ESESSION;
		return;
	}
	low = s->done_below > c->stamp.done_below ? s->done_below :
	    c->stamp.done_below;
	if (c->stamp.seq < low || c->stamp.seq >= low + LIMIT_WINDOW) {
		ret->err = -OUTCOME_EWINDOW;
		return;
	}
	if (kept(s, c->stamp.seq)) {
		ret->retry = true;
		return;
	}
	if (c->kind == COMMAND_session_close) {
		end_session(s);
		return;
	}
	ret->err = op(&t);
	keep(s, &c->stamp);
	assert(!ret->changed || ret->err == 0);
	if (ret->changed) {
		m->rev++;
		m->time_ns = t.now_ns;
	}
}

/* --- Permissions, path_resolution(7) and friends. */

static bool
in_group(const struct stamp *st, uint32_t gid)
{
	bool in = st->gid == gid;

	for (uint32_t i = 0; i < st->n_groups; i++)
		in = in || st->groups[i] == gid;
	return in;
}

static bool
allowed(const struct try *t, const struct posix_node *n, unsigned rwx)
{
	unsigned shift = 0;

	if (t->st->privileged)
		return true;
	if (t->st->uid == n->attr.uid)
		shift = 6;
	else if (in_group(t->st, n->attr.gid))
		shift = 3;
	return ((n->attr.mode >> shift) & rwx) == rwx;
}

static bool
owns(const struct try *t, const struct posix_node *n)
{
	return t->st->privileged || t->st->uid == n->attr.uid;
}

/* "If the sticky bit is set on a directory ..." */
static int
can_remove(const struct try *t, const struct posix_node *dir,
    const struct posix_node *n)
{
	if (!allowed(t, dir, 3))
		return -EACCES;
	if ((dir->attr.mode & 01000) && !owns(t, dir) && !owns(t, n))
		return -EPERM;
	return 0;
}

static int
find_dir(const struct try *t, uint64_t ino, struct posix_node **ret)
{
	struct posix_node *n = posix_node(t->m, ino);

	if (n == NULL)
		return -ENOENT;
	if (!S_ISDIR(n->attr.mode))
		return -ENOTDIR;
	*ret = n;
	return 0;
}

static struct posix_node *
named(const struct try *t, uint64_t dir, struct slice name)
{
	struct posix_name *n = posix_name(t->m, dir, name);

	return n == NULL ? NULL : posix_node(t->m, n->ino);
}

static bool
is_gov(uint64_t dir, struct slice name)
{
	return dir == 1 && slice_eq(name, slice_str(".gov"));
}

/* --- Changes. */

static uint64_t
new_rev(struct try *t)
{
	t->res->changed = true;
	return t->m->rev + 1;
}

static void
stamp_attr(struct try *t, struct posix_node *n)
{
	n->attr.attr_rev = new_rev(t);
	n->attr.ctime_ns = t->now_ns;
}

static void
stamp_content(struct try *t, struct posix_node *n)
{
	stamp_attr(t, n);
	n->attr.rev = new_rev(t);
	n->attr.mtime_ns = t->now_ns;
}

static uint64_t
xattr_bytes(const struct posix_xattr *x)
{
	return LIMIT_XATTR_BYTES + strlen(x->name) + x->len;
}

static uint64_t
total_bytes(const struct posix *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->n_nodes; i++) {
		const struct posix_node *n = &m->nodes[i];

		sum += n->attr.size;
		if (!S_ISDIR(n->attr.mode))
			sum += (n->attr.nlink - 1) * LIMIT_LINK_BYTES;
		for (unsigned k = 0; k < n->n_xattrs; k++)
			sum += xattr_bytes(&n->xattrs[k]);
	}
	return sum;
}

static int
quota(const struct try *t, uint64_t old_len, uint64_t new_len)
{
	if (new_len > old_len &&
	    total_bytes(t->m) - old_len + new_len > t->m->max_bytes)
		return -ENOSPC;
	return 0;
}

/* May the name be made (fresh: rule P), and a node with our number? */
static int
can_make(const struct try *t, bool fresh, bool node)
{
	const struct command *c = t->c;
	struct posix_name *n = any_name(t->m, c->dir, c->name);
	struct posix_node *dir;
	int err = find_dir(t, c->dir, &dir);

	if (err != 0)
		return err;
	if (is_gov(c->dir, c->name))
		return -EPERM;
	if (n != NULL && n->ino != 0)
		return -EEXIST;
	if (fresh && n != NULL && n->rev > t->st->seen)
		return -ESTALE;
	if (!allowed(t, dir, 3))
		return -EACCES;
	if (!node)
		return 0;
	if (c->ino <= t->session->range ||
	    c->ino > t->session->range + UINT32_MAX)
		return -EINVAL;
	if (posix_node(t->m, c->ino) != NULL)
		return c->kind == COMMAND_birth ? -EEXIST : -EINVAL;
	if (t->m->n_nodes >= t->m->max_inodes)
		return -EDQUOT;
	return 0;
}

/* inode_init_owner() in words: set-group-ID directories give their group. */
static struct posix_node *
make(struct try *t, uint32_t mode)
{
	const struct command *c = t->c;
	struct posix_node *dir, *n;

	n = add_node(t->m, c->ino, mode, new_rev(t), t->now_ns);
	dir = posix_node(t->m, c->dir);
	n->attr.uid = t->st->uid;
	n->attr.gid = t->st->gid;
	if (dir->attr.mode & 02000) {
		n->attr.gid = dir->attr.gid;
		if (S_ISDIR(mode))
			n->attr.mode |= 02000;
		else if ((mode & 02010) == 02010 && !t->st->privileged &&
		    !in_group(t->st, dir->attr.gid))
			n->attr.mode &= ~02000u;
	}
	if (S_ISDIR(mode))
		dir->attr.nlink++;
	stamp_content(t, dir);
	set_name(t->m, c->dir, c->name, c->ino, new_rev(t));
	t->res->ino = c->ino;
	return n;
}

static void
drop_name(struct try *t, struct posix_node *n)
{
	stamp_attr(t, n);
	if (--n->attr.nlink == 0 || S_ISDIR(n->attr.mode))
		remove_node(t->m, n);
}

static uint32_t
without_privileges(const struct try *t, const struct posix_node *n)
{
	uint32_t mode = n->attr.mode & ~04000u;

	if (mode & 00010)
		mode &= ~02000u;
	if (!t->st->privileged && !in_group(t->st, n->attr.gid))
		mode &= ~02000u;
	return mode;
}

/* --- The calls. */

static int
do_create(struct try *t)
{
	const struct command *c = t->c;
	struct posix_node *n = named(t, c->dir, c->name);
	int err;

	if (n != NULL && !(c->flags & CREATE_EXCL)) {
		if (S_ISDIR(n->attr.mode))
			return -EISDIR;
		if (S_ISLNK(n->attr.mode))
			return -ELOOP;
		t->res->ino = n->attr.ino;
		return 0;
	}
	err = can_make(t, false, true);
	if (err == 0)
		(void)make(t, S_IFREG | (c->mode & 07777));
	return err;
}

static int
do_mkdir(struct try *t)
{
	int err = can_make(t, true, true);

	if (err == 0)
		(void)make(t, S_IFDIR | (t->c->mode & 01777));
	return err;
}

static int
do_symlink(struct try *t)
{
	struct slice target = t->c->data;
	struct posix_node *n;
	int err = can_make(t, true, true);

	if (err == 0)
		err = quota(t, 0, target.len);
	if (err != 0)
		return err;
	n = make(t, S_IFLNK | 0777);
	memcpy(n->data, target.ptr, target.len);
	n->attr.size = target.len;
	return 0;
}

static int
do_link(struct try *t)
{
	struct posix_node *n = posix_node(t->m, t->c->node), *dir;
	int err;

	if (n == NULL)
		return -ENOENT;
	err = can_make(t, true, false);
	if (err != 0)
		return err;
	if (S_ISDIR(n->attr.mode))
		return -EPERM;
	err = quota(t, 0, LIMIT_LINK_BYTES);
	if (err != 0)
		return err;
	n->attr.nlink++;
	stamp_attr(t, n);
	dir = posix_node(t->m, t->c->dir);
	stamp_content(t, dir);
	set_name(t->m, t->c->dir, t->c->name, n->attr.ino, new_rev(t));
	t->res->ino = n->attr.ino;
	return 0;
}

static bool
has_names(const struct try *t, uint64_t dir)
{
	for (unsigned i = 0; i < t->m->n_names; i++) {
		if (t->m->names[i].dir == dir && t->m->names[i].ino != 0)
			return true;
	}
	return false;
}

static int
do_unlink(struct try *t, bool want_dir)
{
	const struct command *c = t->c;
	struct posix_node *dir, *n;
	int err = find_dir(t, c->dir, &dir);

	if (err != 0)
		return err;
	n = named(t, c->dir, c->name);
	if (n == NULL)
		return -ENOENT;
	if (want_dir && n->attr.ino != c->node)
		return -ESTALE;
	err = can_remove(t, dir, n);
	if (err != 0)
		return err;
	if (S_ISDIR(n->attr.mode) != want_dir)
		return want_dir ? -ENOTDIR : -EISDIR;
	if (want_dir && has_names(t, n->attr.ino))
		return -ENOTEMPTY;
	t->res->ino = n->attr.ino;
	set_name(t->m, c->dir, c->name, 0, new_rev(t));
	if (want_dir)
		dir->attr.nlink--;
	stamp_content(t, dir);
	drop_name(t, n);
	return 0;
}

static bool
is_below(const struct try *t, uint64_t ino, uint64_t top)
{
	if (ino == top)
		return true;
	for (unsigned i = 0; i < t->m->n_names; i++) {
		if (t->m->names[i].ino == ino)
			return is_below(t, t->m->names[i].dir, top);
	}
	return false;
}

static void
change_subdirs(struct try *t, uint64_t dir, int by)
{
	posix_node(t->m, dir)->attr.nlink += (uint32_t)by;
}

static int
do_rename(struct try *t)
{
	const struct command *c = t->c;
	bool exchange = c->flags & RENAME_FLAG_EXCHANGE;
	bool noreplace = c->flags & RENAME_FLAG_NOREPLACE;
	struct posix_node *from_dir, *to_dir, *from, *to;
	bool from_is_dir, to_is_dir, moves = c->dir != c->dir2;
	struct posix_name *gone;
	int err;

	if ((err = find_dir(t, c->dir, &from_dir)) != 0 ||
	    (err = find_dir(t, c->dir2, &to_dir)) != 0)
		return err;
	from = named(t, c->dir, c->name);
	to = named(t, c->dir2, c->name2);
	if (exchange && noreplace)
		return -EINVAL;
	if (is_gov(c->dir2, c->name2))
		return -EPERM;
	if (from == NULL || (exchange && to == NULL))
		return -ENOENT;
	if (from->attr.ino != c->node)
		return -ESTALE;
	if (noreplace && to != NULL)
		return -EEXIST;
	from_is_dir = S_ISDIR(from->attr.mode);
	to_is_dir = to != NULL && S_ISDIR(to->attr.mode);
	if (to != NULL && (exchange || from_is_dir || to_is_dir) &&
	    to->attr.ino != c->node2)
		return -ESTALE;
	gone = any_name(t->m, c->dir2, c->name2);
	if (to == NULL && gone != NULL && gone->rev > t->st->seen)
		return -ESTALE;
	t->res->ino = from->attr.ino;
	if (from == to)
		return 0;

	err = can_remove(t, from_dir, from);
	if (err == 0)
		err = to != NULL ? can_remove(t, to_dir, to) :
		    allowed(t, to_dir, 3) ? 0 : -EACCES;
	if (err != 0)
		return err;
	if (moves && from_is_dir && !allowed(t, from, 2))
		return -EACCES;
	if (moves && exchange && to_is_dir && !allowed(t, to, 2))
		return -EACCES;
	if (from_is_dir && is_below(t, c->dir2, from->attr.ino))
		return -EINVAL;
	if (exchange && to_is_dir && is_below(t, c->dir, to->attr.ino))
		return -EINVAL;
	if (!exchange && to != NULL && from_is_dir && !to_is_dir)
		return -ENOTDIR;
	if (!exchange && to_is_dir && !from_is_dir)
		return -EISDIR;
	if (!exchange && to_is_dir && has_names(t, to->attr.ino))
		return -ENOTEMPTY;

	set_name(t->m, c->dir, c->name, exchange ? to->attr.ino : 0,
	    new_rev(t));
	set_name(t->m, c->dir2, c->name2, from->attr.ino, new_rev(t));
	if (from_is_dir) {
		change_subdirs(t, c->dir, -1);
		change_subdirs(t, c->dir2, 1);
	}
	if (to_is_dir) {
		change_subdirs(t, c->dir2, -1);
		if (exchange)
			change_subdirs(t, c->dir, 1);
	}
	stamp_content(t, from_dir);
	stamp_content(t, to_dir);
	stamp_attr(t, from);
	if (exchange)
		stamp_attr(t, to);
	else if (to != NULL)
		drop_name(t, to);
	return 0;
}

static void
set_asked_times(const struct try *t, struct posix_node *n)
{
	if (!(t->c->flags & WRITE_KEEP_MTIME))
		return;
	n->attr.mtime_ns = t->c->mtime_ns;
	if (t->c->atime_ns != 0)
		n->attr.atime_ns = t->c->atime_ns;
}

static int
put_content(struct try *t, struct posix_node *n, const char *data, size_t len)
{
	int err = quota(t, n->attr.size, len);

	if (err != 0)
		return err;
	if (!t->st->privileged)
		n->attr.mode = without_privileges(t, n);
	memcpy(n->data, data, len);
	n->attr.size = len;
	stamp_content(t, n);
	t->res->ino = n->attr.ino;
	return 0;
}

/* write and append; birth onto a file that has the name already. */
static int
do_commit(struct try *t, struct posix_node *n, bool append, bool birth)
{
	const struct command *c = t->c;
	size_t old_len = append ? n->attr.size : 0;
	char data[POSIX_FILE * 2];
	struct attr before = n->attr;
	bool may = owns(t, n) || allowed(t, n, 2) ||
	    (!birth && (c->flags & WRITE_CREATOR));
	size_t len = old_len + c->data.len;
	int err = 0;

	if (len > t->m->max_file)
		return -EFBIG;
	memcpy(data, n->data, old_len);
	if (c->data.len != 0)
		memcpy(data + old_len, c->data.ptr, c->data.len);
	t->res->ino = n->attr.ino;
	if (len == n->attr.size && memcmp(data, n->data, len) == 0) {
		if (!may)
			return birth ? 0 : -EACCES;
		set_asked_times(t, n);
		if (before.mtime_ns != n->attr.mtime_ns ||
		    before.atime_ns != n->attr.atime_ns)
			stamp_attr(t, n);
		return 0;
	}
	if (!may)
		return -EACCES;
	err = put_content(t, n, data, len);
	if (err == 0)
		set_asked_times(t, n);
	return err;
}

static int
find_file(const struct try *t, struct posix_node **ret)
{
	struct posix_node *n = posix_node(t->m, t->c->node);

	if (n == NULL)
		return -ENOENT;
	if (S_ISDIR(n->attr.mode))
		return -EISDIR;
	if (S_ISLNK(n->attr.mode))
		return -EINVAL;
	*ret = n;
	return 0;
}

static int
do_write(struct try *t)
{
	struct posix_node *n;
	int err = find_file(t, &n);

	if (err != 0)
		return err;
	if ((t->c->flags & WRITE_EXPECT) && n->attr.rev != t->c->expect)
		return -ESTALE;
	return do_commit(t, n, t->c->kind == COMMAND_append, false);
}

static int
do_birth(struct try *t)
{
	const struct command *c = t->c;
	struct posix_node *dir, *n;
	int err = find_dir(t, c->dir, &dir);

	if (err != 0)
		return err;
	n = named(t, c->dir, c->name);
	if (n != NULL) {
		if (c->flags & WRITE_EXPECT)
			return -ESTALE;
		if (S_ISDIR(n->attr.mode))
			return -EISDIR;
		if (S_ISLNK(n->attr.mode))
			return -ELOOP;
		return do_commit(t, n, c->flags & BIRTH_APPEND, true);
	}
	if (c->data.len > t->m->max_file)
		return -EFBIG;
	err = can_make(t, false, true);
	if (err == 0 && (c->flags & BIRTH_OWNER) && !t->st->privileged) {
		bool own = in_group(t->st, c->gid) ||
		    ((dir->attr.mode & 02000) && c->gid == dir->attr.gid);

		err = c->uid == t->st->uid && own ? 0 : -EPERM;
	}
	if (err == 0)
		err = quota(t, 0, c->data.len);
	if (err != 0)
		return err;
	n = make(t, S_IFREG | (c->mode & 07777));
	if (c->flags & BIRTH_OWNER) {
		n->attr.uid = c->uid;
		n->attr.gid = c->gid;
	}
	if (c->data.len != 0)
		memcpy(n->data, c->data.ptr, c->data.len);
	n->attr.size = c->data.len;
	set_asked_times(t, n);
	return 0;
}

static int
do_truncate(struct try *t)
{
	char data[POSIX_FILE] = {0};
	struct posix_node *n;
	uint64_t size = t->c->size;
	int err = find_file(t, &n);

	if (err != 0)
		return err;
	if (size > t->m->max_file)
		return -EFBIG;
	if (!owns(t, n) && !allowed(t, n, 2))
		return -EACCES;
	t->res->ino = n->attr.ino;
	if (size == n->attr.size)
		return 0;
	memcpy(data, n->data, size < n->attr.size ? size : n->attr.size);
	return put_content(t, n, data, size);
}

static int
do_setattr(struct try *t)
{
	const struct command *c = t->c;
	struct posix_node *n = posix_node(t->m, c->node);
	bool set_uid = c->flags & SETATTR_UID, set_gid = c->flags & SETATTR_GID;
	bool any_time, both_now;
	struct attr new;

	if (n == NULL)
		return -ENOENT;
	new = n->attr;
	/* chown(2) */
	if (set_uid && !t->st->privileged &&
	    !(t->st->uid == new.uid && c->uid == new.uid))
		return -EPERM;
	if (set_gid && !t->st->privileged && (t->st->uid != new.uid ||
	    !(in_group(t->st, c->gid) || c->gid == new.gid)))
		return -EPERM;
	if (set_uid)
		new.uid = c->uid;
	if (set_gid)
		new.gid = c->gid;
	if ((new.uid != n->attr.uid || new.gid != n->attr.gid) &&
	    !S_ISDIR(new.mode))
		new.mode = without_privileges(t, n);
	/* chmod(2) */
	if (c->flags & SETATTR_MODE) {
		if (!owns(t, n))
			return -EPERM;
		if (S_ISLNK(new.mode))
			return -EOPNOTSUPP;
		new.mode = (new.mode & S_IFMT) | (c->mode & 07777);
		if (!t->st->privileged && !in_group(t->st, new.gid))
			new.mode &= ~02000u;
	}
	/* utimensat(2) */
	any_time = c->flags & (SETATTR_ATIME | SETATTR_MTIME |
	    SETATTR_ATIME_NOW | SETATTR_MTIME_NOW);
	both_now = (c->flags & SETATTR_ATIME_NOW) &&
	    (c->flags & SETATTR_MTIME_NOW) &&
	    !(c->flags & (SETATTR_ATIME | SETATTR_MTIME));
	if (any_time && !owns(t, n)) {
		if (!both_now)
			return -EPERM;
		if (!allowed(t, n, 2))
			return -EACCES;
	}
	if (c->flags & SETATTR_ATIME)
		new.atime_ns = c->atime_ns;
	if (c->flags & SETATTR_MTIME)
		new.mtime_ns = c->mtime_ns;
	if (c->flags & SETATTR_ATIME_NOW)
		new.atime_ns = t->now_ns;
	if (c->flags & SETATTR_MTIME_NOW)
		new.mtime_ns = t->now_ns;
	t->res->ino = new.ino;
	if (memcmp(&new, &n->attr, sizeof(new)) == 0)
		return 0;
	n->attr = new;
	stamp_attr(t, n);
	return 0;
}

static struct posix_xattr *
find_xattr(struct posix_node *n, struct slice name)
{
	for (unsigned i = 0; i < n->n_xattrs; i++) {
		if (slice_eq(slice_str(n->xattrs[i].name), name))
			return &n->xattrs[i];
	}
	return NULL;
}

static int
do_xattr(struct try *t)
{
	const struct command *c = t->c;
	struct posix_node *n = posix_node(t->m, c->node);
	struct posix_xattr *x;
	int err;

	if (n == NULL)
		return -ENOENT;
	if (c->name.len < 5 || memcmp(c->name.ptr, "user.", 5) != 0)
		return -EOPNOTSUPP;
	if (c->name.len == 5)
		return -EINVAL;
	if (S_ISLNK(n->attr.mode))
		return -EPERM;
	if (S_ISDIR(n->attr.mode) && (n->attr.mode & 01000) && !owns(t, n))
		return -EPERM;
	if (!allowed(t, n, 2))
		return -EACCES;
	x = find_xattr(n, c->name);
	t->res->ino = n->attr.ino;
	if (c->kind == COMMAND_removexattr) {
		if (x == NULL)
			return -ENODATA;
		*x = n->xattrs[--n->n_xattrs];
		stamp_attr(t, n);
		return 0;
	}
	if (x != NULL && (c->flags & XATTR_FLAG_CREATE))
		return -EEXIST;
	if (x == NULL && (c->flags & XATTR_FLAG_REPLACE))
		return -ENODATA;
	if (c->data.len > 4096)
		return -E2BIG;
	if (x != NULL && slice_eq(slice_of(x->value, x->len), c->data))
		return 0;
	err = quota(t, x != NULL ? xattr_bytes(x) : 0,
	    LIMIT_XATTR_BYTES + c->name.len + c->data.len);
	if (err != 0)
		return err;
	if (x == NULL) {
		assert(n->n_xattrs < POSIX_XATTRS);
		x = &n->xattrs[n->n_xattrs++];
		memset(x, 0, sizeof(*x));
		memcpy(x->name, c->name.ptr, c->name.len);
	}
	x->len = c->data.len;
	if (c->data.len != 0)
		memcpy(x->value, c->data.ptr, c->data.len);
	stamp_attr(t, n);
	return 0;
}

static int
op(struct try *t)
{
	switch (t->c->kind) {
	case COMMAND_create:
		return do_create(t);
	case COMMAND_birth:
		return do_birth(t);
	case COMMAND_mkdir:
		return do_mkdir(t);
	case COMMAND_symlink:
		return do_symlink(t);
	case COMMAND_link:
		return do_link(t);
	case COMMAND_unlink:
		return do_unlink(t, false);
	case COMMAND_rmdir:
		return do_unlink(t, true);
	case COMMAND_rename:
		return do_rename(t);
	case COMMAND_write:
	case COMMAND_append:
		return do_write(t);
	case COMMAND_truncate:
		return do_truncate(t);
	case COMMAND_setattr:
		return do_setattr(t);
	case COMMAND_setxattr:
	case COMMAND_removexattr:
		return do_xattr(t);
	default:
		return 0;
	}
}
