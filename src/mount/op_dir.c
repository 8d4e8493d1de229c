/*
 * op_dir.c: listing directories, as K has them.
 *
 * A listing is taken when reading begins (and again after a rewind), so that
 * offsets mean something while names come and go.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/mount_internal.h"

struct listing {
	size_t n, cap;
	size_t bytes; /* held by the account */
	struct listed {
		uint64_t ino;
		uint32_t mode;
		uint32_t name; /* offset in names */
	} *entries;
	struct buf names;
};

struct lister {
	struct mount *mount;
	struct store_txn *txn;
	struct listing *listing;
};

void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	bool helper;
	struct mount *m = op_begin(req, &helper);
	struct account *account = account_take(m, req, 0, SLICE_EMPTY, ino);
	struct handle *h;

	if (account == NULL)
		return;
	h = handle_new(m, account, ino, O_RDONLY);
	h->is_dir = true;
	fi->fh = handle_fh(h);
	if (helper || dotgov_is(ino)) {
		if (fuse_reply_open(req, fi) == -ENOENT)
			handle_free(m, h);
		return;
	}
	park_open(m, req, h, fi, PARKED_OPENDIR, m->revealed);
}

static void
list(struct listing *l, uint64_t ino, uint32_t mode, const char *name)
{
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 64 : 2 * l->cap;
		l->entries = realloc(l->entries, l->cap * sizeof *l->entries);
		assert(l->entries != NULL);
	}
	l->entries[l->n++] = (struct listed){ino, mode,
	    (uint32_t)l->names.len};
	buf_raw(&l->names, name, strlen(name) + 1);
}

static void
list_one(void *arg, const char *name, uint64_t ino)
{
	struct lister *lister = arg;
	struct attr attr;

	if (kview_attr(lister->mount->kview, lister->txn, ino, &attr))
		list(lister->listing, ino, attr.mode, name);
}

static void
list_gov(void *arg, const char *name, uint64_t ino, uint32_t mode)
{
	list(arg, ino, mode, name);
}

static void
listing_free(struct mount *m, struct handle *h)
{
	struct listing *l = h->listing;

	h->listing = NULL;
	if (l == NULL)
		return;
	account_let_go(m, h->account, l->bytes);
	free(l->entries);
	buf_fini(&l->names);
	free(l);
}

/* False: it would be too much, and there is none. */
static bool
listing_take(struct mount *m, struct handle *h)
{
	struct lister lister = {.mount = m, .txn = mount_view(m)};
	char name[LIMIT_NAME + 1];
	uint64_t parent = h->ino;
	size_t bytes;

	listing_free(m, h);
	h->listing = calloc(1, sizeof *h->listing);
	assert(h->listing != NULL);
	buf_init(&h->listing->names, UINT32_MAX);
	lister.listing = h->listing;
	kview_name_of(m->kview, lister.txn, h->ino, &parent, name);
	list(h->listing, h->ino, S_IFDIR, ".");
	list(h->listing, parent, S_IFDIR, "..");
	if (dotgov_is(h->ino))
		dotgov_each(m, h->ino, list_gov, h->listing);
	else
		kview_each(m->kview, lister.txn, h->ino, list_one, &lister);
	store_abort(lister.txn);
	bytes = h->listing->cap * sizeof *h->listing->entries +
	    h->listing->names.cap;
	if (!account_may_hold(m, h->account, bytes)) {
		listing_free(m, h);
		return false;
	}
	h->listing->bytes = bytes;
	account_hold(m, h->account, bytes);
	return true;
}

static size_t
add_plain(fuse_req_t req, char *at, size_t room, const struct listed *e,
    const char *name, off_t next)
{
	struct stat st = {.st_ino = e->ino, .st_mode = e->mode};

	return fuse_add_direntry(req, at, room, name, &st, next);
}

/* The entry counts as a LOOKUP, but for the dots, names of .gov, and names that
 * are another's by now: the kernel would believe what it is told. */
static size_t
add_plus(struct mount *m, fuse_req_t req, uint64_t dir, char *at, size_t room,
    const struct listed *e, const char *name, off_t next)
{
	struct fuse_entry_param p = {.attr = {.st_ino = e->ino,
	    .st_mode = e->mode}};
	bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	struct store_txn *t;
	struct attr attr;
	size_t n;

	if (!dots && !dotgov_is(dir)) {
		t = mount_view(m);
		if (kview_lookup(m->kview, t, dir, slice_str(name)) == e->ino &&
		    kview_attr(m->kview, t, e->ino, &attr))
			reply_entry_of(m, &attr, &p);
		store_abort(t);
	}
	n = fuse_add_direntry_plus(req, at, room, name, &p, next);
	if (n <= room && p.ino != 0) {
		kview_remember(m->kview, p.ino);
		kview_reach(m->kview, p.ino);
	}
	return n;
}

static void
read_dir(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi,
    bool plus)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);
	char *page, *at;
	size_t n;

	if (h == NULL) {
		reply_errno(req, -EIO);
		return;
	}
	if ((off == 0 || h->listing == NULL) && !listing_take(m, h)) {
		handle_refused(m, h, -ENOMEM);
		reply_errno(req, -ENOMEM);
		return;
	}
	page = at = malloc(size);
	assert(page != NULL);
	for (size_t i = (size_t)off; i < h->listing->n; i++) {
		const struct listed *e = &h->listing->entries[i];
		const char *name = (char *)h->listing->names.ptr + e->name;
		size_t room = size - (size_t)(at - page);

		n = plus ? add_plus(m, req, h->ino, at, room, e, name, (off_t)i + 1)
			 : add_plain(req, at, room, e, name, (off_t)i + 1);
		if (n > room)
			break;
		at += n;
	}
	fuse_reply_buf(req, page, (size_t)(at - page));
	free(page);
}

void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	read_dir(req, size, off, fi, false);
}

void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	read_dir(req, size, off, fi, true);
}

void
op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_get(m, fi);

	reply_errno(req, 0);
	if (h == NULL)
		return;
	listing_free(m, h);
	handle_free(m, h);
}

/* Names are durable when the call that made them returns. */
void
op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
    struct fuse_file_info *fi)
{
	reply_errno(req, 0);
}
