/*
 * account.c: what each user's open files take of this host.
 *
 * Handles, and the memory that they hold, have one bound for the whole host: a
 * program that runs away must not lock other users out.  So one user has a part
 * of it only, and the last part is root's, as with the reserved blocks of ext4:
 * who puts things in order can open a file.  Who has opened a file pays for it
 * until its last close, whoever has the descriptor.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/metric.h"
#include "base/reason.h"
#include "mount/mount_internal.h"

/* What a user may have, and up to what everybody together then. */
struct bounds {
	uint64_t own, all;
};

static struct bounds
bounds(uint32_t uid, uint64_t all)
{
	if (uid == 0)
		return (struct bounds){all, all};
	return (struct bounds){all / LIMIT_USER_PART,
	    all - all / LIMIT_ROOT_PART};
}

static void
note_handles(struct mount *m, uint32_t uid, unsigned n, uint64_t dir,
    struct slice name, uint64_t ino)
{
	struct bounds most = bounds(uid, LIMIT_HANDLES);

	reason_note(dir, name, ino, -ENFILE, "too many files are open on this "
	    "host, %u by uid %u, who may have %" PRIu64 ", and %u in all, of %"
	    PRIu64 "; close some first", n, uid, most.own, m->n_handles,
	    most.all);
}

struct account *
account_take(struct mount *m, fuse_req_t req, uint64_t dir, struct slice name,
    uint64_t ino)
{
	uint32_t uid = fuse_req_ctx(req)->uid;
	struct bounds most = bounds(uid, LIMIT_HANDLES);
	struct account *a;
	unsigned n;

	HASH_FIND(hh, m->accounts, &uid, sizeof uid, a);
	n = a == NULL ? 0 : a->n_handles;
	if (n >= most.own || m->n_handles >= most.all) {
		note_handles(m, uid, n, dir, name, ino);
		reply_errno(req, -ENFILE);
		return NULL;
	}
	if (a == NULL) {
		a = calloc(1, sizeof *a);
		assert(a != NULL);
		a->uid = uid;
		HASH_ADD(hh, m->accounts, uid, sizeof a->uid, a);
	}
	a->n_handles++;
	metric_set(METRIC_handles, ++m->n_handles);
	return a;
}

void
account_drop(struct mount *m, struct account *a)
{
	if (a == NULL)
		return;
	metric_set(METRIC_handles, --m->n_handles);
	if (--a->n_handles > 0)
		return;
	assert(a->held_bytes == 0);
	HASH_DEL(m->accounts, a);
	free(a);
}

bool
account_may_share(const struct account *a, size_t bytes)
{
	return a->held_bytes + bytes <= bounds(a->uid, LIMIT_HELD_BYTES).own;
}

bool
account_may_hold(const struct mount *m, const struct account *a, size_t bytes)
{
	return account_may_share(a, bytes) &&
	    m->held_bytes + bytes <= bounds(a->uid, LIMIT_HELD_BYTES).all;
}

void
account_hold(struct mount *m, struct account *a, size_t bytes)
{
	a->held_bytes += bytes;
	m->held_bytes += bytes;
}

void
account_let_go(struct mount *m, struct account *a, size_t bytes)
{
	assert(a->held_bytes >= bytes && m->held_bytes >= bytes);
	a->held_bytes -= bytes;
	m->held_bytes -= bytes;
}

static unsigned
mib(uint64_t bytes)
{
	return (unsigned)(bytes >> 20);
}

void
account_refused(const struct mount *m, const struct account *a, uint64_t dir,
    struct slice name, uint64_t ino, int err)
{
	struct bounds most = bounds(a->uid, LIMIT_HELD_BYTES);

	reason_note(dir, name, ino, err, "open files on this host hold too "
	    "much, %u MiB by uid %u, who may have %u, and %u in all, of %u, of "
	    "what they show and what was written; close some first",
	    mib(a->held_bytes), a->uid, mib(most.own), mib(m->held_bytes),
	    mib(most.all));
}
