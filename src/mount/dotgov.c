/*
 * dotgov.c: .gov, the system's own corner of the tree.
 *
 * Found by LOOKUP, hidden from readdir of the root, so that find, grep -r and
 * rsync don't walk it.  A file's text is made when it is opened.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/metric.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

static void print_version(struct mount *, struct buf *);
static void print_health(struct mount *, struct buf *);
static void print_leader(struct mount *, struct buf *);
static void print_members(struct mount *, struct buf *);
static void print_metrics(struct mount *, struct buf *);
static void print_locks(struct mount *, struct buf *);
static void print_sessions(struct mount *, struct buf *);

static const struct node {
	const char *name;
	uint32_t mode;
	void (*print)(struct mount *, struct buf *);
} nodes[] = {
	{".gov", S_IFDIR | 0555, NULL},
	{"version", S_IFREG | 0444, print_version},
	{"health", S_IFREG | 0444, print_health},
	{"leader", S_IFREG | 0444, print_leader},
	{"members", S_IFREG | 0444, print_members},
	{"metrics", S_IFREG | 0444, print_metrics},
	{"locks", S_IFREG | 0444, print_locks},
	{"sessions", S_IFREG | 0444, print_sessions},
	{"control", S_IFLNK | 0777, NULL},
};
#define N_NODES (sizeof nodes / sizeof *nodes)

static void
print(struct buf *b, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	buf_raw(b, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

bool
dotgov_is(uint64_t ino)
{
	return (ino & GOV_INO) != 0;
}

static const struct node *
node_at(uint64_t ino)
{
	uint64_t i = ino & ~GOV_INO;

	return i < N_NODES ? &nodes[i] : NULL;
}

bool
dotgov_attr(struct mount *m, uint64_t ino, struct stat *ret)
{
	const struct node *node = node_at(ino);
	uint64_t now = clock_wall_ns();

	if (node == NULL)
		return false;
	memset(ret, 0, sizeof *ret);
	ret->st_ino = ino;
	ret->st_mode = node->mode;
	ret->st_nlink = S_ISDIR(node->mode) ? 2 : 1;
	ret->st_blksize = 4096;
	ret->st_mtim.tv_sec = (time_t)(now / NS_PER_S);
	ret->st_mtim.tv_nsec = (long)(now % NS_PER_S);
	ret->st_ctim = ret->st_atim = ret->st_mtim;
	return true;
}

bool
dotgov_lookup(struct mount *m, fuse_req_t req, uint64_t dir, const char *name)
{
	struct fuse_entry_param e = {0};
	size_t i, from = dir == GOV_INO ? 1 : 0;
	size_t to = dir == GOV_INO ? N_NODES : 1;

	if (dir != GOV_INO && (dir != TREE_ROOT || strcmp(name, ".gov") != 0))
		return dotgov_is(dir) ? (reply_errno(req, -ENOTDIR), true)
				      : false;
	for (i = from; i < to && strcmp(nodes[i].name, name) != 0; i++)
		;
	if (i == to && strcmp(name, ".") == 0) {
		i = 0;
	} else if (i == to) {
		reply_errno(req, -ENOENT);
		return true;
	}
	e.ino = GOV_INO | i;
	e.entry_timeout = FOR_EVER;
	dotgov_attr(m, e.ino, &e.attr);
	fuse_reply_entry(req, &e);
	return true;
}

void
dotgov_open(struct mount *m, fuse_req_t req, uint64_t ino,
    struct fuse_file_info *fi)
{
	const struct node *node = node_at(ino);
	struct handle *h;

	if (node == NULL || node->print == NULL) {
		reply_errno(req, -EIO);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY ||
	    (fi->flags & O_TRUNC) != 0) {
		reply_errno(req, -EPERM);
		return;
	}
	h = handle_new(m, ino, O_RDONLY);
	if (h == NULL) {
		reply_errno(req, -ENFILE);
		return;
	}
	node->print(m, &h->text);
	fi->fh = handle_fh(h);
	fi->direct_io = 1;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_free(m, h);
}

void
dotgov_readlink(struct mount *m, fuse_req_t req, uint64_t ino)
{
	char path[LIMIT_PATH];

	snprintf(path, sizeof path, "%s/control", m->conf.state_dir);
	fuse_reply_readlink(req, path);
}

void
dotgov_readdir(fuse_req_t req, size_t size, off_t off, bool plus)
{
	char page[4096], *at = page;
	size_t room = size < sizeof page ? size : sizeof page, n;

	for (size_t i = (size_t)off; i < N_NODES; i++) {
		const char *name = i == 0 ? "." : nodes[i].name;
		/* Without p.ino the kernel takes the name, and looks it up. */
		struct fuse_entry_param p = {.attr = {.st_ino = GOV_INO | i,
		    .st_mode = nodes[i].mode}};

		n = plus ? fuse_add_direntry_plus(req, at, room, name, &p,
			       (off_t)i + 1)
			 : fuse_add_direntry(req, at, room, name, &p.attr,
			       (off_t)i + 1);
		if (n > room)
			break;
		at += n;
		room -= n;
	}
	fuse_reply_buf(req, page, (size_t)(at - page));
}

/* A revision read is a revision revealed. */
static void
print_version(struct mount *m, struct buf *b)
{
	uint64_t rev = engine_rev(m->conf.engine);

	mount_reveal(m, rev);
	print(b, "%" PRIu64 "\n", rev);
}

static const char *
first_word(struct mount *m, const struct engine_status *st)
{
	struct mount_status ms;

	mount_status(m, &ms);
	if (session_lost(m->conf.session))
		return "lost";
	switch (st->health) {
	case ENGINE_SUSPENDED:
		return "suspended";
	case ENGINE_READONLY:
		return "readonly";
	case ENGINE_LOST:
		return "lost";
	case ENGINE_OK:
		break;
	}
	return ms.lagging ? "lagging" : "ok";
}

static void
print_health(struct mount *m, struct buf *b)
{
	struct engine_status st;
	struct mount_status ms;

	engine_status(m->conf.engine, &st);
	mount_status(m, &ms);
	print(b, "%s\n", first_word(m, &st));
	print(b, "role=%s\n", st.role);
	print(b, "leader=%s\n", st.leader_name);
	print(b, "quorum=%u/%u\n", st.n_alive, st.n_voters);
	print(b, "term=%" PRIu64 "\n", st.term);
	print(b, "rev=%" PRIu64 "\n", st.rev);
	print(b, "replayed=%" PRIu64 "\n", ms.cursor);
	print(b, "lag_ms=%" PRIu64 "\n", ms.lag_ns / NS_PER_MS);
	print(b, "queued=%u\n", ms.n_queued);
	print(b, "parked=%u\n", ms.n_parked);
	print(b, "late=%" PRIu64 "\n", ms.n_late);
	print(b, "since_ms=%" PRIu64 "\n",
	    (clock_now_ns() - st.since_ns) / NS_PER_MS);
	if (st.quarantine != NULL)
		print(b, "stale=%s\n", st.quarantine);
}

static void
print_leader(struct mount *m, struct buf *b)
{
	struct engine_status st;

	engine_status(m->conf.engine, &st);
	print(b, "%s\n", st.leader_name);
}

static void
print_members(struct mount *m, struct buf *b)
{
	struct engine_member members[LIMIT_MEMBERS];
	unsigned n = engine_members(m->conf.engine, members, LIMIT_MEMBERS);

	for (unsigned i = 0; i < n; i++)
		print(b, "%s %016" PRIx64 " %s %s %s\n", members[i].name,
		    members[i].id, members[i].address, members[i].role,
		    members[i].alive ? "alive" : "dead");
}

static void
print_metrics(struct mount *m, struct buf *b)
{
	metric_print(b);
}

static bool
session_find(struct store_txn *t, uint64_t id, struct tree_session *ret)
{
	return id != 0 && tree_session_next(t, id - 1, ret) && ret->id == id;
}

/* The path of a node in C, from the root; "(removed)" if it has no name. */
static void
print_path(struct store_txn *t, struct buf *b, uint64_t ino)
{
	char path[LIMIT_PATH + 1];
	size_t at = sizeof path;
	struct slice name;
	uint64_t dir = 0;

	for (unsigned depth = 0; ino != TREE_ROOT; depth++) {
		if (depth == LIMIT_DEPTH ||
		    !tree_backlink_next(t, ino, 0, SLICE_EMPTY, &dir, &name) ||
		    at < name.len + 1) {
			print(b, "(removed)");
			return;
		}
		if (at < sizeof path)
			path[--at] = '/';
		at -= name.len;
		memcpy(path + at, name.ptr, name.len);
		ino = dir;
	}
	buf_raw(b, path + at, sizeof path - at);
}

static void
print_lock(struct store_txn *t, struct buf *b, uint64_t node,
    const struct tree_lock *l)
{
	struct tree_session owner = {.name = "?"};

	session_find(t, l->session, &owner);
	print_path(t, b, node);
	print(b, " %s %s %s host=%s pid=%u comm=%s since=%" PRIu64 ".%09" PRIu64,
	    l->waits ? "waits" : "held", l->is_flock ? "flock" : "range",
	    l->exclusive ? "exclusive" : "shared", owner.name, l->pid, l->comm,
	    l->since_ns / NS_PER_S, l->since_ns % NS_PER_S);
	if (!l->is_flock && l->end == UINT64_MAX)
		print(b, " from=%" PRIu64, l->start);
	else if (!l->is_flock)
		print(b, " from=%" PRIu64 " to=%" PRIu64, l->start, l->end);
	if (!l->waits)
		print(b, " token=%" PRIu64, l->token);
	print(b, "\n");
}

/* One line each, waiters in their order behind the holders (CONTRACT L6). */
static void
print_locks(struct mount *m, struct buf *b)
{
	struct store_txn *t = mount_view(m);
	struct tree_lock l;
	uint64_t node = 0;

	while (tree_lock_node_next(t, node, &node)) {
		for (int waits = 0; waits < 2; waits++)
			for (uint64_t at = 0; tree_lock_next(t, node, at, &l);
			    at = l.ordinal)
				if (l.waits == (waits == 1))
					print_lock(t, b, node, &l);
	}
	store_abort(t);
}

static void
print_sessions(struct mount *m, struct buf *b)
{
	struct store_txn *t = mount_view(m);
	struct tree_session s = {0};

	while (tree_session_next(t, s.id, &s))
		print(b, "%016" PRIx64 " host=%s member=%016" PRIx64
			 " ttl_ms=%" PRIu64 "\n", s.id, s.name, s.host,
		    s.ttl_ms);
	store_abort(t);
}
