/*
 * dotgov_locks.c: .gov/locks, who holds and who waits (CONTRACT L6).
 *
 * A path below it is a path below the root, in C.  Every regular file and
 * directory has its twin there, so that a watch can be set before the first
 * lock is taken; a listing has only what leads to a lock.  A file with several
 * names is listed, and told of, by the first.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mount/dotgov.h"
#include "tree/tree.h"

/* An entry of a listing that is being made, by node: each comes once. */
struct listed {
	uint64_t ino;
	UT_hash_handle hh;
};

static bool has_twin(struct store_txn *, uint64_t ino, struct attr *ret);
static uint64_t number_of(const struct attr *, uint64_t alias);
static void text_of(struct store_txn *, struct buf *, uint64_t node);
static void line_of(struct store_txn *, struct buf *,
    const struct tree_lock *);
static bool nameless(struct store_txn *, uint64_t node);
static bool climb(struct store_txn *, uint64_t *ino, uint64_t dir,
    struct slice *ret_name);

/*
 * What is not in the root is looked for in `locks`, where programs keep their
 * lock files: .gov/locks/deploy is .gov/locks/locks/deploy.  The same file, but
 * another directory: Linux gives a directory one name.
 */
uint64_t
gov_locks_lookup(struct store_txn *t, uint64_t dir, struct slice name)
{
	uint64_t node = gov_twin_of(dir), alias = dir & GOV_ALIAS;
	struct tree_name found;
	struct attr attr;

	if (!tree_name_get(t, node, name, &found)) {
		if (node != TREE_ROOT)
			return 0;
		if (slice_eq(name, slice_str(GOV_REMOVED)))
			return GOV_NAMELESS;
		if (!tree_name_get(t, TREE_ROOT, slice_str("locks"), &found) ||
		    !tree_name_get(t, found.ino, name, &found))
			return 0;
		alias = GOV_ALIAS;
	}
	return has_twin(t, found.ino, &attr) ? number_of(&attr, alias) : 0;
}

static uint64_t
number_of(const struct attr *attr, uint64_t alias)
{
	return gov_twin(attr->ino) | (S_ISDIR(attr->mode) ? alias : 0);
}

static bool
has_twin(struct store_txn *t, uint64_t ino, struct attr *ret)
{
	return tree_node_get(t, ino, ret) &&
	    (S_ISREG(ret->mode) || S_ISDIR(ret->mode));
}

/* Who may not read a file is not told who locks it. */
bool
gov_locks_attr(struct store_txn *t, uint64_t ino, struct stat *ret)
{
	struct tree_lock l;
	struct attr attr;
	uint64_t node = gov_twin_of(ino), newest = 0;

	ret->st_mode = S_IFREG | 0400;
	if (ino == GOV_NAMELESS)
		return true;
	if (!has_twin(t, node, &attr))
		return false;
	ret->st_mode = attr.mode & (S_IFMT | 0555);
	ret->st_uid = attr.uid;
	ret->st_gid = attr.gid;
	for (uint64_t at = 0; tree_lock_next(t, node, at, &l); at = l.ordinal)
		newest = l.since_ns > newest ? l.since_ns : newest;
	ret->st_mtim.tv_sec = (time_t)(newest / NS_PER_S);
	ret->st_mtim.tv_nsec = (long)(newest % NS_PER_S);
	return true;
}

void
gov_locks_text(struct store_txn *t, uint64_t ino, struct buf *b)
{
	uint64_t node = 0;

	if (ino != GOV_NAMELESS) {
		text_of(t, b, gov_twin_of(ino));
		return;
	}
	while (tree_lock_node_next(t, node, &node))
		if (nameless(t, node))
			text_of(t, b, node);
}

/* One line each, waiters in their order behind the holders. */
static void
text_of(struct store_txn *t, struct buf *b, uint64_t node)
{
	struct tree_lock l;

	for (int waits = 0; waits < 2; waits++)
		for (uint64_t at = 0; tree_lock_next(t, node, at, &l);
		    at = l.ordinal)
			if (l.waits == (waits == 1))
				line_of(t, b, &l);
}

/* A program chooses its comm: what would look like another word, or another
 * line, is shown as \ooo. */
static void
escape(const char *comm, char ret[4 * LIMIT_COMM])
{
	for (; *comm != '\0'; comm++) {
		if (*comm <= ' ' || *comm == '\\' || *comm == 0x7f)
			ret += sprintf(ret, "\\%03o", (uint8_t)*comm);
		else
			*ret++ = *comm;
	}
	*ret = '\0';
}

static void
line_of(struct store_txn *t, struct buf *b, const struct tree_lock *l)
{
	struct tree_session owner;
	char comm[4 * LIMIT_COMM];

	if (l->session == 0 || !tree_session_next(t, l->session - 1, &owner) ||
	    owner.id != l->session)
		memcpy(owner.name, "?", 2);
	escape(l->comm, comm);
	gov_print(b, "%s %s %s host=%s pid=%u comm=%s since=%" PRIu64
	    ".%09" PRIu64, l->waits ? "waits" : "held",
	    l->is_flock ? "flock" : "range",
	    l->exclusive ? "exclusive" : "shared", owner.name, l->pid, comm,
	    l->since_ns / NS_PER_S, l->since_ns % NS_PER_S);
	if (!l->is_flock && l->end == UINT64_MAX)
		gov_print(b, " from=%" PRIu64, l->start);
	else if (!l->is_flock)
		gov_print(b, " from=%" PRIu64 " to=%" PRIu64, l->start,
		    l->end);
	if (!l->waits)
		gov_print(b, " token=%" PRIu64, l->token);
	gov_print(b, "\n");
}

void
gov_locks_each(struct store_txn *t, uint64_t dir,
    void (*each)(void *arg, const char *name, uint64_t ino, uint32_t mode),
    void *arg)
{
	uint64_t node = 0, child, of = gov_twin_of(dir);
	struct listed *listed = NULL, *l, *next;
	char text[LIMIT_NAME + 1];
	bool removed = false;
	struct slice name;
	struct attr attr;

	while (tree_lock_node_next(t, node, &node)) {
		child = node;
		if (of == TREE_ROOT && nameless(t, node))
			removed = true;
		if (!climb(t, &child, of, &name))
			continue;
		HASH_FIND(hh, listed, &child, sizeof child, l);
		if (l != NULL || !has_twin(t, child, &attr))
			continue;
		l = malloc(sizeof *l);
		assert(l != NULL);
		l->ino = child;
		HASH_ADD(hh, listed, ino, sizeof l->ino, l);
		memcpy(text, name.ptr, name.len);
		text[name.len] = '\0';
		each(arg, text, number_of(&attr, dir & GOV_ALIAS), attr.mode);
	}
	if (removed)
		each(arg, GOV_REMOVED, GOV_NAMELESS, S_IFREG);
	HASH_ITER (hh, listed, l, next) {
		HASH_DEL(listed, l);
		free(l);
	}
}

static bool
nameless(struct store_txn *t, uint64_t node)
{
	struct slice name;
	uint64_t dir;

	return !tree_backlink_next(t, node, 0, SLICE_EMPTY, &dir, &name);
}

/* From a node up to what is directly in dir, and is called *ret_name there. */
static bool
climb(struct store_txn *t, uint64_t *ino, uint64_t dir,
    struct slice *ret_name)
{
	uint64_t parent;

	for (unsigned depth = 0; depth < LIMIT_DEPTH; depth++) {
		if (*ino == TREE_ROOT ||
		    !tree_backlink_next(t, *ino, 0, SLICE_EMPTY, &parent,
			ret_name))
			return false;
		if (parent == dir)
			return true;
		*ino = parent;
	}
	return false;
}

bool
gov_locks_path(struct store_txn *t, uint64_t ino, char *ret, size_t size)
{
	size_t at = size - 1;
	struct slice name;
	uint64_t node = gov_twin_of(ino), dir;

	ret[at] = '\0';
	for (unsigned depth = 0; node != TREE_ROOT; depth++) {
		if (depth == LIMIT_DEPTH ||
		    !tree_backlink_next(t, node, 0, SLICE_EMPTY, &dir, &name) ||
		    at < name.len + 1)
			return false;
		at -= name.len;
		memcpy(ret + at, name.ptr, name.len);
		ret[--at] = '/';
		node = dir;
	}
	memmove(ret, ret + at, size - at);
	return true;
}
