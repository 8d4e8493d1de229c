/*
 * op_xattr.c: user.* is the users', gov.* tells and asks.
 *
 * system.* is refused here: for these the kernel checks nothing.  POSIX ACLs
 * are EOPNOTSUPP, on which tools fall back to chmod.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "base/reason.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

/* The longest is a host's name. */
#define VALUE_LEN (LIMIT_NAME + 1)

static void finish_xattr(struct pending *, const struct outcome *);

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static void
reply_value(fuse_req_t req, const void *value, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		reply_errno(req, -ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

static void
get_rev(struct mount *m, fuse_req_t req, uint64_t ino, size_t size)
{
	struct store_txn *t = mount_view(m);
	struct attr attr;
	char text[24];
	bool found = kview_attr(m->kview, t, ino, &attr);

	store_abort(t);
	if (!found || attr.rev == 0) {
		reply_errno(req, -ENODATA);
		return;
	}
	snprintf(text, sizeof text, "%" PRIu64, attr.rev);
	reply_value(req, text, strlen(text), size);
}

static void
get_error(struct mount *m, fuse_req_t req, uint64_t ino, size_t size)
{
	struct store_txn *t = mount_view(m);
	char name[LIMIT_NAME + 1] = "";
	struct reason reason;
	uint64_t dir = 0;

	kview_name_of(m->kview, t, ino, &dir, name);
	store_abort(t);
	if (reason_find(dir, slice_str(name), ino, &reason))
		reply_value(req, reason.text, strlen(reason.text), size);
	else
		reply_errno(req, -ENODATA);
}

static void
print_duration(char *to, size_t size, uint64_t ms)
{
	if (ms % 1000 != 0)
		snprintf(to, size, "%" PRIu64 "ms", ms);
	else
		snprintf(to, size, "%" PRIu64 "s", ms / 1000);
}

/* Milliseconds since a ttl file's last sign of life, by the leader's clock. */
static uint64_t
age_ms(struct mount *m, uint64_t ino, const struct attr *attr)
{
	uint64_t at = engine_refreshed_ns(m->conf.engine, ino);
	uint64_t now = clock_wall_ns();

	if (at < attr->mtime_ns)
		at = attr->mtime_ns;
	return now > at ? (now - at) / NS_PER_MS : 0;
}

static bool
owner_of(struct store_txn *t, uint64_t session, struct tree_session *ret)
{
	return session != 0 && tree_session_next(t, session - 1, ret) &&
	    ret->id == session;
}

/* What gov.NAME says of a node; false: nothing. */
static bool
life_value(struct mount *m, struct store_txn *t, uint64_t ino,
    const char *name, char text[VALUE_LEN])
{
	static const char *const kinds[] = {
	    [LIFE_FOREVER] = "forever",
	    [LIFE_SESSION] = "session",
	    [LIFE_OPEN] = "open",
	    [LIFE_PROCESS] = "process",
	};
	struct tree_life life = {.kind = LIFE_FOREVER};
	struct tree_session owner;
	struct attr attr;
	uint64_t age, token;

	if (!tree_node_get(t, ino, &attr))
		return false;
	tree_life_get(t, ino, &life);
	if (strcmp(name, "gov.token") == 0) {
		token = tree_lock_token(t, ino);
		snprintf(text, VALUE_LEN, "%" PRIu64, token);
		return token != 0;
	}
	if (strcmp(name, "gov.lifetime") == 0) {
		if (life.kind != LIFE_TTL) {
			snprintf(text, VALUE_LEN, "%s", kinds[life.kind]);
		} else {
			memcpy(text, "ttl=", 4);
			print_duration(text + 4, VALUE_LEN - 4, life.ttl_ms);
		}
		return true;
	}
	if (strcmp(name, "gov.owner") == 0) {
		if (!owner_of(t, life.session, &owner))
			return false;
		snprintf(text, VALUE_LEN, "%s", owner.name);
		return true;
	}
	if (life.kind != LIFE_TTL || !S_ISREG(attr.mode))
		return false;
	age = age_ms(m, ino, &attr);
	if (strcmp(name, "gov.age") == 0)
		print_duration(text, VALUE_LEN, age);
	else if (strcmp(name, "gov.expires") == 0)
		print_duration(text, VALUE_LEN,
		    age < life.ttl_ms ? life.ttl_ms - age : 0);
	else
		return false;
	return true;
}

static void
get_life(struct mount *m, fuse_req_t req, uint64_t ino, const char *name,
    size_t size)
{
	struct store_txn *t = mount_view(m);
	struct slice value;
	char text[VALUE_LEN];

	if (life_value(m, t, ino, name, text))
		reply_value(req, text, strlen(text), size);
	else if (tree_xattr_get(t, ino, slice_str(name), &value))
		reply_value(req, value.ptr, value.len, size);
	else
		reply_errno(req, -ENODATA);
	store_abort(t);
}

static void
get_user(struct mount *m, fuse_req_t req, uint64_t ino, const char *name,
    size_t size)
{
	struct store_txn *t = mount_view(m);
	struct slice value;
	struct attr attr;

	/* Never cached by the kernel: C, and what it reveals. */
	if (tree_node_get(t, ino, &attr))
		mount_reveal(m, attr.attr_rev);
	if (tree_xattr_get(t, ino, slice_str(name), &value))
		reply_value(req, value.ptr, value.len, size);
	else
		reply_errno(req, -ENODATA);
	store_abort(t);
}

void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);

	if (dotgov_is(ino) || helper)
		reply_errno(req, -ENODATA);
	else if (starts(name, "user."))
		get_user(m, req, node_of(m, ino), name, size);
	else if (strcmp(name, "gov.sync") == 0 && size == 0)
		fuse_reply_xattr(req, 20); /* digits of any revision */
	else if (strcmp(name, "gov.sync") == 0)
		park_sync(m, req, size);
	else if (strcmp(name, "gov.rev") == 0)
		get_rev(m, req, node_of(m, ino), size);
	else if (strcmp(name, "gov.error") == 0)
		get_error(m, req, ino, size);
	else if (starts(name, "gov."))
		get_life(m, req, node_of(m, ino), name, size);
	else if (starts(name, "system."))
		reply_errno(req, -EOPNOTSUPP);
	else
		reply_errno(req, -ENODATA);
}

void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct store_txn *t = mount_view(m);
	struct slice name = SLICE_EMPTY, value;
	struct buf names;

	buf_init(&names, LIMIT_XATTRS * (LIMIT_XATTR_NAME + 1));
	while (!dotgov_is(ino) &&
	    tree_xattr_next(t, node_of(m, ino), name, &name, &value)) {
		buf_raw(&names, name.ptr, name.len);
		buf_u8(&names, 0);
	}
	store_abort(t);
	reply_value(req, names.ptr, names.len, size);
	buf_fini(&names);
}

static bool
settable(const char *name)
{
	return starts(name, "user.") || strcmp(name, "gov.lifetime") == 0 ||
	    strcmp(name, "gov.guard") == 0 ||
	    strcmp(name, "gov.lock_delay") == 0;
}

static struct pending *
change(fuse_req_t req, uint64_t ino, const char *name, enum command_kind kind)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct pending *p;

	if (dotgov_is(ino) || !settable(name)) {
		reply_errno(req, dotgov_is(ino) ? -EPERM : -EOPNOTSUPP);
		return NULL;
	}
	if (strlen(name) > LIMIT_XATTR_NAME) {
		reply_errno(req, -ERANGE);
		return NULL;
	}
	if (!mount_writable(m)) {
		reply_errno(req, -EROFS);
		return NULL;
	}
	commit_bear(m, ino);
	p = pending_new(m, req, kind, finish_xattr);
	p->ino = ino;
	pending_name(p, name, NULL);
	p->ereq.command.node = node_of(m, ino);
	return p;
}

void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
    const char *value, size_t size, int flags)
{
	struct pending *p;

	if (size > LIMIT_XATTR_VALUE) {
		reply_errno(req, -E2BIG);
		return;
	}
	p = change(req, ino, name, COMMAND_setxattr);
	if (p == NULL)
		return;
	buf_raw(&p->data, value, size);
	p->ereq.command.data = buf_slice(&p->data);
	if (flags & XATTR_CREATE)
		p->ereq.command.flags |= XATTR_FLAG_CREATE;
	if (flags & XATTR_REPLACE)
		p->ereq.command.flags |= XATTR_FLAG_REPLACE;
	pending_submit(p, NULL);
}

void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct pending *p = change(req, ino, name, COMMAND_removexattr);

	if (p != NULL)
		pending_submit(p, NULL);
}

static void
finish_xattr(struct pending *p, const struct outcome *outcome)
{
	struct mount *m = p->mount;
	struct command *c = &p->ereq.command;

	if (outcome->err == -ENOENT && node_of(m, p->ino) != c->node) {
		/* Its birth, a moment ago, became a write to another's file. */
		c->node = node_of(m, p->ino);
		pending_submit(p, NULL);
		return;
	}
	reply_errno(p->req, outcome->err);
	if (outcome->err == 0 && p->ereq.command.kind == COMMAND_setxattr &&
	    strcmp(p->name, "gov.lifetime") == 0)
		life_begin(p->mount, p->ino, caller_process(p->tid), true);
	pending_free(p);
}
