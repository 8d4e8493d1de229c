/*
 * op_io.c: reading pinned versions, writing private drafts.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/ioctl.h"
#include "base/reason.h"
#include "mount/mount_internal.h"
#include "tree/tree.h"

static bool
need_pin(struct mount *m, struct handle *h)
{
	if (h->pin == NULL)
		h->pin = version_pin(m, h);
	return h->pin != NULL;
}

static uint64_t
committed_size(struct mount *m, const struct handle *h)
{
	struct store_txn *t = mount_view(m);
	struct attr attr = {0};

	(void)tree_node_get(t, node_of(m, h->ino), &attr);
	store_abort(t);
	return attr.size;
}

uint64_t
draft_size(struct mount *m, struct handle *h)
{
	if (h->whole)
		return h->draft.len;
	return (need_pin(m, h) ? h->pin->size : committed_size(m, h)) +
	    h->draft.len;
}

/*
 * At the end of its version a read-only handle reads on if the file has since
 * only grown (tail -f), as far as this kernel has been told.
 */
static void
grow(struct mount *m, struct handle *h, uint64_t off)
{
	struct version *newer, *old = h->pin;

	if (h->writes || off < old->size)
		return;
	newer = version_pin(m, h);
	if (newer == NULL)
		return; /* it may read on when less is held */
	if (newer->size > old->size &&
	    newer->rev <= replay_cursor(m->replay) &&
	    (old->size == 0 ||
		memcmp(newer->bytes, old->bytes, old->size) == 0)) {
		h->pin = newer;
		version_drop(m, h, old);
	} else {
		version_drop(m, h, newer);
	}
}

/* The part of [off, off + size) that bytes at `at` provide. */
static size_t
part(uint64_t at, size_t len, uint64_t off, size_t size, size_t *ret_from)
{
	uint64_t end = off + size;

	if (off >= at + len || end <= at)
		return 0;
	*ret_from = off > at ? (size_t)(off - at) : 0;
	if (end > at + len)
		end = at + len;
	return (size_t)(end - (at + *ret_from));
}

/* F4: from now on the handle commits only over what it has read. */
static void
note_read(struct handle *h)
{
	if (handle_dead(h) || (h->pin->rev == 0 && !h->has_read))
		return; /* removed, or not born yet: nobody else's */
	h->has_read = true;
	if (h->pin->rev != 0)
		h->base_rev = h->pin->rev;
}

static void
read_file(struct mount *m, fuse_req_t req, struct handle *h, size_t size,
    uint64_t off)
{
	size_t from = 0, from2 = 0, n, n2;
	struct iovec iov[2];
	int n_iov = 0;

	if (h->whole) {
		if (h->derived)
			note_read(h);
		n = part(0, h->draft.len, off, size, &from);
		fuse_reply_buf(req, n > 0 ? (char *)h->draft.ptr + from : NULL,
		    n);
		return;
	}
	if (!need_pin(m, h)) {
		handle_refused(m, h, -ENOMEM);
		reply_errno(req, -ENOMEM);
		return;
	}
	grow(m, h, off);
	if (h->writes)
		note_read(h);
	n = part(0, h->pin->size, off, size, &from);
	n2 = part(h->pin->size, h->draft.len, off, size, &from2);
	if (n > 0)
		iov[n_iov++] = (struct iovec){h->pin->bytes + from, n};
	if (n2 > 0)
		iov[n_iov++] = (struct iovec){h->draft.ptr + from2, n2};
	fuse_reply_iov(req, iov, n_iov);
}

void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);
	size_t from = 0, n;

	if (h == NULL || lock_lost(m, h)) {
		reply_errno(req, -EIO);
		return;
	}
	if (h->has_ranges && fi->lock_owner != 0)
		lock_pid_seen(m, h, fi->lock_owner);
	if (h->node != NULL) {
		read_file(m, req, h, size, (uint64_t)off);
		return;
	}
	if (!dotgov_read(m, h, (uint64_t)off)) {
		handle_refused(m, h, -ENOMEM);
		reply_errno(req, -ENOMEM);
		return;
	}
	n = part(0, h->text.len, (uint64_t)off, size, &from);
	fuse_reply_buf(req, n > 0 ? (char *)h->text.ptr + from : NULL, n);
}

/* The draft begins as a copy of what the handle shows. */
static int
draft_begin(struct mount *m, struct handle *h)
{
	struct buf appended;

	if (h->whole)
		return 0;
	if (!need_pin(m, h) ||
	    !account_may_hold(m, h->account, h->pin->size))
		return -ENOSPC;
	appended = h->draft;
	buf_init(&h->draft, LIMIT_FILE_MAX);
	buf_raw(&h->draft, h->pin->bytes, h->pin->size);
	buf_raw(&h->draft, appended.ptr, appended.len);
	account_hold(m, h->account, h->draft.len - appended.len);
	buf_fini(&appended);
	h->whole = h->derived = true;
	return buf_error(&h->draft);
}

static void
touched(struct mount *m, struct handle *h)
{
	handle_set_dirty(m, h, true);
	h->generation_of_draft++;
	h->keep_times = false;
	h->refused = false;
	if (h->node->birth != NULL)
		h->node->birth->explicit_times = false;
}

static int
draft_extend(struct mount *m, struct handle *h, uint64_t size)
{
	uint8_t *zeros;
	size_t by;

	if (size <= h->draft.len)
		return 0;
	by = (size_t)size - h->draft.len;
	if (!account_may_hold(m, h->account, by))
		return -ENOSPC;
	zeros = buf_grow(&h->draft, by);
	if (zeros == NULL)
		return buf_error(&h->draft);
	memset(zeros, 0, by);
	account_hold(m, h->account, by);
	return 0;
}

int
draft_truncate(struct mount *m, struct handle *h, uint64_t size)
{
	int err = 0;

	if (h->failed != 0)
		return h->failed;
	if (size == 0 && !h->whole) {
		account_let_go(m, h->account, h->draft.len);
		buf_reset(&h->draft);
		h->whole = true;
	} else {
		err = draft_begin(m, h);
	}
	if (err == 0)
		err = draft_extend(m, h, size);
	if (err != 0)
		return err;
	account_let_go(m, h->account, h->draft.len - (size_t)size);
	h->draft.len = (size_t)size;
	touched(m, h);
	return 0;
}

static int
write_append(struct mount *m, struct handle *h, const char *bytes, size_t size)
{
	if (draft_size(m, h) + size > mount_max_file(m))
		return -EFBIG;
	if (!account_may_hold(m, h->account, size))
		return -ENOSPC;
	h->append = true; /* fcntl(2) may have said so after open(2) */
	buf_raw(&h->draft, bytes, size);
	if (buf_error(&h->draft) != 0)
		return buf_error(&h->draft);
	account_hold(m, h->account, size);
	return 0;
}

static int
write_at(struct mount *m, struct handle *h, const char *bytes, size_t size,
    uint64_t off)
{
	int err;

	if (off + size > mount_max_file(m))
		return -EFBIG;
	err = draft_begin(m, h);
	if (err == 0)
		err = draft_extend(m, h, off + size);
	if (err == 0)
		memcpy(h->draft.ptr + off, bytes, size);
	return err;
}

void
handle_refused(struct mount *m, const struct handle *h, int err)
{
	const struct birth *b = h->node != NULL ? h->node->birth : NULL;
	uint64_t dir = b != NULL ? b->dir : 0;
	struct slice name = b != NULL ? slice_str(b->name) : SLICE_EMPTY;

	if (err == -EFBIG)
		reason_note(dir, name, h->ino, err, "a file may hold %" PRIu64
		    " bytes here (max_file)", mount_max_file(m));
	else if (err == -ENOSPC || err == -ENFILE || err == -ENOMEM)
		account_refused(m, h->account, dir, name, h->ino, err);
}

void
op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size,
    off_t off, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);
	int err;

	if (h == NULL || !h->writes || lock_lost(m, h))
		err = -EIO;
	else if (h->failed != 0)
		err = h->failed;
	else if (!mount_writable(m))
		err = -EROFS;
	else if ((fi->flags & O_APPEND) != 0)
		err = write_append(m, h, bytes, size);
	else
		err = write_at(m, h, bytes, size, (uint64_t)off);
	if (err != 0) {
		if (h != NULL)
			handle_refused(m, h, err);
		reply_errno(req, err);
		return;
	}
	touched(m, h);
	h->written = true;
	h->flags |= fi->flags & O_DIRECT; /* fcntl(2) may have set it */
	if ((fi->flags & O_DSYNC) != 0 && size > 0)
		commit_sync(m, req, h, size);
	else
		reply_write(req, size);
}

void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
    struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);
	uint64_t end = (uint64_t)off + (uint64_t)len;
	int err = 0;

	if (h == NULL || !h->writes)
		err = -EBADF;
	else if (lock_lost(m, h))
		err = -EIO;
	else if (!mount_writable(m))
		err = -EROFS;
	else if (mode != 0)
		err = -EOPNOTSUPP;
	else if (end > mount_max_file(m))
		err = -EFBIG;
	else if (end > draft_size(m, h))
		err = draft_truncate(m, h, end);
	if (err != 0 && h != NULL)
		handle_refused(m, h, err);
	reply_errno(req, err);
}

static uint64_t
version_of(struct mount *m, const struct handle *h)
{
	struct store_txn *t;
	struct attr attr;
	uint64_t rev = h->base_rev;

	if (rev != 0 && h->writes)
		return rev;
	if (h->pin != NULL)
		return h->pin->rev;
	t = mount_view(m);
	if (tree_node_get(t, node_of(m, h->ino), &attr))
		rev = attr.rev;
	store_abort(t);
	return rev;
}

static void
ioctl_lease(struct mount *m, fuse_req_t req, const struct handle *h)
{
	uint64_t until = session_deadline_ns(m->conf.session);
	uint64_t now = clock_now_ns(), left = until > now ? until - now : 0;

	if (h->lock_session == 0)
		reply_errno(req, -ENOLCK);
	else if (lock_lost(m, h) || left == 0)
		reply_errno(req, -EIO);
	else
		fuse_reply_ioctl(req, 0, &left, sizeof left);
}

void
op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
    struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
    size_t out_size)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);
	uint64_t value;

	if (h == NULL || h->node == NULL || h->is_dir) {
		reply_errno(req, -ENOTTY);
	} else if (cmd == GOVFS_IOC_EXPECT && in_size == sizeof value) {
		memcpy(&value, in, sizeof value);
		h->expects = true;
		h->expect_rev = value;
		fuse_reply_ioctl(req, 0, NULL, 0);
	} else if (cmd == GOVFS_IOC_TOKEN && in_size == sizeof value) {
		memcpy(&h->token, in, sizeof h->token);
		fuse_reply_ioctl(req, 0, NULL, 0);
	} else if (cmd == GOVFS_IOC_LEASE && out_size >= sizeof value) {
		ioctl_lease(m, req, h);
	} else if (cmd == GOVFS_IOC_VERSION && out_size >= sizeof value) {
		value = version_of(m, h);
		fuse_reply_ioctl(req, 0, &value, sizeof value);
	} else {
		reply_errno(req, -ENOTTY);
	}
}

/* A file of the tree is always ready. */
void
op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
    struct fuse_pollhandle *ph)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);

	if (h != NULL && dotgov_is(ino)) {
		dotgov_poll(m, req, h, ph);
		return;
	}
	if (ph != NULL)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}
