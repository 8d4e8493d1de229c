/*
 * dotgov.c: the kernel's requests below .gov.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mount/dotgov.h"
#include "tree/tree.h"

static const struct fixed {
	const char *name;
	uint32_t mode;
	bool reveals; /* who has read it knows of the newest revision */
} fixed[N_GOV_FIXED] = {
    [GOV_ROOT] = {".gov", S_IFDIR | 0555, false},
    [GOV_VERSION] = {"version", S_IFREG | 0444, true},
    [GOV_HEALTH] = {"health", S_IFREG | 0444, false},
    [GOV_LEADER] = {"leader", S_IFREG | 0444, false},
    [GOV_MEMBERS] = {"members", S_IFREG | 0444, false},
    [GOV_METRICS] = {"metrics", S_IFREG | 0444, false},
    [GOV_LOCKS] = {"locks", S_IFDIR | 0555, false},
    [GOV_SESSIONS] = {"sessions", S_IFREG | 0444, true},
    [GOV_CONTROL] = {"control", S_IFLNK | 0777, false},
};

static uint64_t lookup(struct mount *, uint64_t dir, const char *name);
static bool is_fixed(uint64_t ino, enum gov_fixed *ret);
static void make_text(struct mount *, uint64_t ino, struct buf *);

bool
dotgov_is(uint64_t ino)
{
	return (ino & GOV_INO) != 0;
}

const char *
gov_fixed_name(enum gov_fixed i)
{
	return fixed[i].name;
}

static bool
is_fixed(uint64_t ino, enum gov_fixed *ret)
{
	for (*ret = 0; *ret < N_GOV_FIXED; ++*ret)
		if (gov_ino(*ret) == ino)
			return true;
	return false;
}

bool
dotgov_attr(struct mount *m, uint64_t ino, struct stat *ret)
{
	enum gov_fixed i;
	struct store_txn *t;
	uint64_t changed;
	struct buf text;
	bool found = true;

	memset(ret, 0, sizeof *ret);
	if (is_fixed(ino, &i)) {
		ret->st_mode = fixed[i].mode;
	} else {
		t = mount_view(m);
		found = gov_is_twin(ino) && gov_locks_attr(t, ino, ret);
		store_abort(t);
	}
	if (!found)
		return false;
	changed = gov_changed_ns(m, ino);
	if (changed > (uint64_t)ret->st_mtim.tv_sec * NS_PER_S +
		(uint64_t)ret->st_mtim.tv_nsec) {
		ret->st_mtim.tv_sec = (time_t)(changed / NS_PER_S);
		ret->st_mtim.tv_nsec = (long)(changed % NS_PER_S);
	}
	ret->st_ctim = ret->st_atim = ret->st_mtim;
	ret->st_ino = ino;
	ret->st_nlink = S_ISDIR(ret->st_mode) ? 2 : 1;
	ret->st_blksize = 4096;
	if (S_ISREG(ret->st_mode)) {
		buf_init(&text, LIMIT_GOV_TEXT);
		make_text(m, ino, &text);
		ret->st_size = (off_t)text.len;
		buf_fini(&text);
	}
	return true;
}

void
dotgov_reply_attr(struct mount *m, fuse_req_t req, uint64_t ino)
{
	struct stat st;

	if (dotgov_attr(m, ino, &st))
		fuse_reply_attr(req, &st, 0);
	else
		reply_errno(req, -ENOENT);
}

/* False: it is a name of the tree. */
bool
dotgov_lookup(struct mount *m, fuse_req_t req, uint64_t dir, const char *name)
{
	struct fuse_entry_param e = {0};

	if (!dotgov_is(dir) &&
	    (dir != TREE_ROOT || strcmp(name, ".gov") != 0))
		return false;
	e.ino = lookup(m, dir, name);
	if (e.ino == 0 || !dotgov_attr(m, e.ino, &e.attr)) {
		reply_errno(req, -ENOENT);
		return true;
	}
	/* The tree's names come and go. */
	if (!gov_is_twin(e.ino) || e.ino == gov_ino(GOV_LOCKS))
		e.entry_timeout = FOR_EVER;
	gov_remember(m, e.ino);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		dotgov_forget(m, e.ino, 1);
	return true;
}

static uint64_t
lookup(struct mount *m, uint64_t dir, const char *name)
{
	struct store_txn *t;
	uint64_t ino;

	if (dir == TREE_ROOT)
		return GOV_INO;
	if (strcmp(name, ".") == 0)
		return dir;
	if (gov_is_twin(dir) && strlen(name) <= LIMIT_NAME) {
		t = mount_view(m);
		ino = gov_locks_lookup(t, dir, slice_str(name));
		store_abort(t);
		return ino;
	}
	for (enum gov_fixed i = GOV_ROOT + 1; i < N_GOV_FIXED; i++)
		if (dir == GOV_INO && strcmp(name, fixed[i].name) == 0)
			return gov_ino(i);
	return 0;
}

void
dotgov_open(struct mount *m, fuse_req_t req, uint64_t ino, bool helper,
    struct fuse_file_info *fi)
{
	struct account *account;
	struct handle *h;
	int err;

	fi->direct_io = 1;
	fi->noflush = 1;
	if (helper) {
		err = replay_enact_node(m->replay, ino);
		fi->fh = HELPER_FH;
		if (err != 0)
			reply_errno(req, err);
		else
			fuse_reply_open(req, fi);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY ||
	    (fi->flags & O_TRUNC) != 0) {
		reply_errno(req, -EPERM);
		return;
	}
	account = account_take(m, req, 0, SLICE_EMPTY, ino);
	if (account == NULL)
		return;
	h = handle_new(m, account, ino, O_RDONLY);
	h->seen_seq = m->gov->seq;
	fi->fh = handle_fh(h);
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_free(m, h);
}

static void
make_text(struct mount *m, uint64_t ino, struct buf *ret)
{
	struct store_txn *t;
	enum gov_fixed i;

	if (is_fixed(ino, &i)) {
		gov_text(m, i, ret);
	} else {
		t = mount_view(m);
		gov_locks_text(t, ino, ret);
		store_abort(t);
	}
}

bool
dotgov_read(struct mount *m, struct handle *h, uint64_t off)
{
	enum gov_fixed i;

	if (off > 0 && h->text.len > 0)
		return true;
	h->seen_seq = m->gov->seq;
	account_let_go(m, h->account, h->text.len);
	buf_fini(&h->text);
	buf_init(&h->text, LIMIT_GOV_TEXT);
	make_text(m, h->ino, &h->text);
	if (!account_may_hold(m, h->account, h->text.len)) {
		buf_fini(&h->text);
		return false;
	}
	account_hold(m, h->account, h->text.len);
	if (!is_fixed(h->ino, &i) || fixed[i].reveals)
		mount_reveal(m, engine_rev(m->conf.engine));
	return true;
}

/* As /proc/self/mounts does: it can always be read, and a change since it was
 * is exceptional. */
void
dotgov_poll(struct mount *m, fuse_req_t req, struct handle *h,
    struct fuse_pollhandle *ph)
{
	unsigned events = POLLIN | POLLRDNORM;

	if (gov_is_news(m, h))
		events |= POLLPRI | POLLERR;
	if (ph != NULL)
		gov_poll_wait(m, h, ph);
	fuse_reply_poll(req, events);
}

void
dotgov_readlink(struct mount *m, fuse_req_t req, uint64_t ino)
{
	char path[LIMIT_PATH];

	snprintf(path, sizeof path, "%s/control", m->conf.state_dir);
	fuse_reply_readlink(req, path);
}

void
dotgov_each(struct mount *m, uint64_t dir,
    void (*each)(void *arg, const char *name, uint64_t ino, uint32_t mode),
    void *arg)
{
	struct store_txn *t;

	if (gov_is_twin(dir)) {
		t = mount_view(m);
		gov_locks_each(t, dir, each, arg);
		store_abort(t);
		return;
	}
	for (enum gov_fixed i = GOV_ROOT + 1; i < N_GOV_FIXED; i++)
		each(arg, fixed[i].name, gov_ino(i), fixed[i].mode);
}
