/*
 * replay_kernel.c: dentries and inodes as fs/fuse and the VFS keep them, as far
 * as names and attributes go; see replay_sim.h.
 *
 * Functions are named after those of Linux that they are like.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <utlist.h>

#include "sim/replay_kernel.h"
#include "tree/tree.h"

enum { STACK = 128 * 1024 };

struct kernel k;

static const char *const calls[] = {"LOOKUP", "GETATTR", "SETATTR", "MKNOD",
    "MKDIR", "SYMLINK", "LINK", "UNLINK", "RMDIR", "RENAME", "CREATE", "OPEN",
    "WRITE", "FLUSH", "RELEASE", "READDIRPLUS"};

/* ---- tasks ---- */

bool
task_can_run(struct task *t)
{
	return t->busy && (t->waits == NULL || t->waits(t));
}

static void
task_main(void)
{
	struct task *t = k.current;

	t->run(t);
	t->busy = false;
	swapcontext(&t->context, &k.scheduler);
}

void
task_start(struct task *t, void (*run)(struct task *))
{
	assert(!t->busy);
	if (t->stack == NULL)
		t->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = t->stack;
	t->context.uc_stack.ss_size = STACK;
	t->context.uc_link = NULL;
	makecontext(&t->context, task_main, 0);
	t->run = run;
	t->busy = true;
	t->killed = false;
	t->waits = NULL;
}

void
task_run(struct task *t)
{
	k.current = t;
	t->waits = NULL;
	swapcontext(&k.scheduler, &t->context);
}

void
wait_until(bool (*can)(struct task *))
{
	struct task *t = k.current;

	t->waits = can;
	swapcontext(&t->context, &k.scheduler);
	assert(can == NULL || can(t));
}

/* ---- requests ---- */

static bool
answered(struct task *t)
{
	return t->request->state == ANSWERED;
}

int
ask(struct request *r)
{
	struct task *t = k.current;

	sim.n_calls++;
	if (t->killed) /* request_wait_answer() is left at once */
		return r->err = -EINTR;
	r->task = t;
	r->state = ASKED;
	DL_APPEND(k.queue, r);
	t->request = r;
	trace("task %u: %s %llu %s %llu %s", t->id, calls[r->call],
	    (unsigned long long)r->node, r->name,
	    (unsigned long long)r->dir2, r->name2);
	wait_until(answered);
	t->request = NULL;
	trace("task %u: %s %s: %s, %llu", t->id, calls[r->call], r->name,
	    strerror(-r->err), (unsigned long long)r->entry.ino);
	return r->err;
}

struct request *
kernel_queue(void)
{
	return k.queue;
}

void
kernel_take(struct request *r)
{
	DL_DELETE(k.queue, r);
	r->state = TAKEN;
}

/* What the daemon has not read yet is taken back; the rest is waited for. */
void
kernel_kill(struct task *t)
{
	struct request *r = t->request;

	t->killed = true;
	if (r == NULL || r->state != ASKED)
		return;
	DL_DELETE(k.queue, r);
	r->err = -EINTR;
	r->state = ANSWERED;
}

/* ---- inodes ---- */

struct inode *
ilookup(uint64_t ino)
{
	struct inode *i;

	DL_FOREACH (k.inodes, i)
		if (i->ino == ino)
			return i;
	return NULL;
}

void
change_attributes(struct inode *i, const struct entry *e, uint64_t version)
{
	if (version != 0 && i->version > version)
		return;
	i->attr = e->attr;
	i->fresh = e->attr_lasts;
	i->distrusted = i->touched = false;
	i->version = ++k.version;
}

struct inode *
iget(const struct entry *e, uint64_t version)
{
	struct inode *i = ilookup(e->ino);
	struct forget *f;

	if (i == NULL) {
		i = calloc(1, sizeof *i);
		i->ino = e->ino;
		i->mode = e->attr.mode;
		DL_FOREACH (k.invalid, f)
			if (f->ino == e->ino)
				i->version = f->n;
		DL_APPEND(k.inodes, i);
	}
	if (((i->mode ^ e->attr.mode) & S_IFMT) != 0)
		broken("node %llu has changed its type",
		    (unsigned long long)e->ino);
	i->n_lookup++;
	change_attributes(i, e, version);
	return i;
}

void
forget(uint64_t ino, uint64_t n)
{
	struct forget *f = calloc(1, sizeof *f);

	f->ino = ino;
	f->n = n;
	DL_APPEND(k.forgets, f);
}

bool
kernel_forget(void)
{
	struct forget *f = k.forgets;

	if (f == NULL)
		return false;
	DL_DELETE(k.forgets, f);
	trace("FORGET %llu", (unsigned long long)f->ino);
	mount_forgets(f->ino, f->n);
	free(f);
	return true;
}

static bool
is_used(const struct inode *i)
{
	struct dentry *d;

	if (i == k.root || i->n_pins > 0)
		return true;
	DL_FOREACH (k.dentries, d)
		if (d->dir == i || d->node == i)
			return true;
	return false;
}

static void
evict(struct inode *i)
{
	assert(i->writer == NULL && i->n_readers == 0 && i->watch == NULL);
	forget(i->ino, i->n_lookup);
	DL_DELETE(k.inodes, i);
	free(i);
}

static bool
free_to_write(struct task *t)
{
	return t->wants->writer == NULL && t->wants->n_readers == 0;
}

static bool
free_to_read(struct task *t)
{
	return t->wants->writer == NULL;
}

void
lock(struct inode *i)
{
	k.current->wants = i;
	i->n_pins++;
	wait_until(free_to_write);
	i->writer = k.current;
}

void
unlock(struct inode *i)
{
	assert(i->writer == k.current);
	i->writer = NULL;
	i->n_pins--;
}

void
lock_shared(struct inode *i)
{
	k.current->wants = i;
	i->n_pins++;
	wait_until(free_to_read);
	i->n_readers++;
}

void
unlock_shared(struct inode *i)
{
	i->n_readers--;
	i->n_pins--;
}

/*
 * Linux answers ENOENT where the inode's first LOOKUP has been answered and not
 * taken in yet, and believes that answer then; here it is not believed.
 */
void
kernel_invalidate(uint64_t ino)
{
	struct inode *i = ilookup(ino);
	struct forget *f;

	if (i == NULL) {
		f = calloc(1, sizeof *f);
		f->ino = ino;
		f->n = ++k.version;
		DL_APPEND(k.invalid, f);
		return;
	}
	i->version = ++k.version;
	i->distrusted = true;
}

/* ---- dentries ---- */

struct dentry *
dentry_find(const struct inode *dir, const char *name)
{
	struct dentry *d;

	DL_FOREACH (k.dentries, d)
		if (d->hashed && d->dir == dir && strcmp(d->name, name) == 0)
			return d;
	return NULL;
}

struct dentry *
dentry_new(struct inode *dir, const char *name, struct inode *node, bool lasts)
{
	struct dentry *d = calloc(1, sizeof *d);

	d->dir = dir;
	d->node = node;
	d->lasts = lasts;
	d->hashed = true;
	snprintf(d->name, sizeof d->name, "%s", name);
	DL_APPEND(k.dentries, d);
	return d;
}

static void
dentry_free(struct dentry *d)
{
	if (d->hashed || d->n_refs > 0)
		return;
	DL_DELETE(k.dentries, d);
	free(d);
}

void
d_drop(struct dentry *d)
{
	d->hashed = false;
	dentry_free(d);
}

void
d_put(struct dentry *d)
{
	d->n_refs--;
	dentry_free(d);
}

static bool
has_children(const struct inode *dir)
{
	struct dentry *d;

	DL_FOREACH (k.dentries, d)
		if (d->dir == dir)
			return true;
	return false;
}

/* shrink_dcache_parent() */
void
shrink_children(struct inode *dir)
{
	struct dentry *d;

again:
	DL_FOREACH (k.dentries, d) {
		if (d->dir != dir || !d->hashed || d->n_refs > 0 || d->looking)
			continue;
		if (d->node != NULL && S_ISDIR(d->node->mode)) {
			shrink_children(d->node);
			if (has_children(d->node))
				continue;
		}
		d_drop(d);
		goto again;
	}
}

void
d_invalidate(struct dentry *d)
{
	if (!d->hashed)
		return;
	if (d->node != NULL && S_ISDIR(d->node->mode))
		shrink_children(d->node);
	d_drop(d);
}

struct dentry *
alias_of(const struct inode *dir)
{
	struct dentry *d;

	DL_FOREACH (k.dentries, d)
		if (d->hashed && d->node == dir)
			return d;
	return NULL;
}

/* The name has just been found to be node's: d_splice_alias(). */
void
d_splice(struct inode *dir, const char *name, struct inode *node)
{
	struct dentry *alias;

	if (!S_ISDIR(node->mode))
		return;
	alias = alias_of(node);
	if (alias != NULL && (alias->dir != dir ||
	    strcmp(alias->name, name) != 0))
		broken("directory %llu is %s in %llu and %s in %llu",
		    (unsigned long long)node->ino, alias->name,
		    (unsigned long long)alias->dir->ino, name,
		    (unsigned long long)dir->ino);
}

bool
looked_up(struct task *t)
{
	return !t->awaits->looking;
}

int
ask_lookup(struct inode *dir, const char *name, struct request *r)
{
	memset(r, 0, sizeof *r);
	r->call = CALL_LOOKUP;
	r->node = dir->ino;
	snprintf(r->name, sizeof r->name, "%s", name);
	return ask(r);
}

/* fuse_dentry_revalidate(): 1: it holds; 0: it is none; or -EINTR. */
static int
revalidate(struct dentry *d, unsigned flags)
{
	uint64_t version = k.version;
	struct request r;
	int err;

	if (d->lasts && flags == 0)
		return 1;
	if (d->node == NULL)
		return 0;
	err = ask_lookup(d->dir, d->name, &r);
	if (err == -EINTR)
		return err;
	if (err != 0 || r.entry.ino == 0)
		return 0;
	if (d->node == NULL || r.entry.ino != d->node->ino) {
		forget(r.entry.ino, 1);
		return 0;
	}
	d->node->n_lookup++;
	change_attributes(d->node, &r.entry, version);
	d->lasts = r.entry.lasts;
	return 1;
}

/*
 * lookup_fast() and lookup_slow(), or lookup_one_qstr_excl() if the directory
 * is locked.  The dentry, referred to, negative or not; NULL and an errno.
 */
struct dentry *
lookup(struct inode *dir, const char *name, unsigned flags, bool locked,
    int *ret_err)
{
	uint64_t version;
	struct dentry *d;
	struct inode *node;
	struct request r;
	int err;
	bool shared = false;

	for (;;) {
		d = dentry_find(dir, name);
		if (d != NULL && d->looking) {
			d->n_refs++;
			k.current->awaits = d;
			wait_until(looked_up);
			d_put(d);
			continue;
		}
		if (d != NULL) {
			d->n_refs++;
			err = revalidate(d, flags);
			if (err == 1)
				break;
			if (err < 0) {
				d_put(d);
				d = NULL;
				*ret_err = err;
				break;
			}
			d_invalidate(d);
			d_put(d);
			continue;
		}
		if (!locked && !shared) {
			lock_shared(dir);
			shared = true;
			continue; /* somebody may have been faster */
		}
		if (dir->dead) {
			*ret_err = -ENOENT;
			break;
		}
		d = dentry_new(dir, name, NULL, false);
		d->looking = true;
		d->n_refs++;
		version = k.version;
		err = ask_lookup(dir, name, &r);
		d->looking = false;
		if (err != 0) {
			d_drop(d);
			d_put(d);
			d = NULL;
			*ret_err = err;
			break;
		}
		d->lasts = r.entry.lasts;
		if (r.entry.ino != 0) {
			node = iget(&r.entry, version);
			d_splice(dir, name, node);
			d->node = node;
		}
		break;
	}
	if (shared)
		unlock_shared(dir);
	return d;
}

/* ---- events ---- */

static int
watch_find(const struct watch *w, const char *name)
{
	for (unsigned i = 0; i < w->n; i++)
		if (strcmp(w->names[i], name) == 0)
			return (int)i;
	return -1;
}

void
watch_add(struct watch *w, const char *name)
{
	assert(w->n < SIM_LISTED);
	snprintf(w->names[w->n++], SIM_NAME, "%s", name);
}

/* IN_CREATE, or IN_MOVED_TO which may be onto another. */
void
event_there(struct inode *dir, const char *name, bool moved)
{
	struct watch *w = dir->watch;

	sim.n_events++;
	trace("event: %s %s in %llu", moved ? "MOVED_TO" : "CREATE", name,
	    (unsigned long long)dir->ino);
	if (w == NULL || !w->listed)
		return;
	if (watch_find(w, name) < 0)
		watch_add(w, name);
	else if (!moved)
		broken("W1: %s in %llu created twice", name,
		    (unsigned long long)dir->ino);
}

/* IN_DELETE or IN_MOVED_FROM. */
void
event_gone(struct inode *dir, const char *name)
{
	struct watch *w = dir->watch;
	int i;

	sim.n_events++;
	trace("event: gone %s in %llu", name, (unsigned long long)dir->ino);
	if (w == NULL || !w->listed)
		return;
	i = watch_find(w, name);
	if (i < 0)
		broken("W1: unknown %s in %llu gone", name,
		    (unsigned long long)dir->ino);
	else
		memcpy(w->names[i], w->names[--w->n], SIM_NAME);
}

/* ---- memory pressure, and what must be true ---- */

void
kernel_shrink(unsigned percent)
{
	struct dentry *d, *next;
	struct inode *i, *inext;

	DL_FOREACH_SAFE (k.dentries, d, next) {
		if (d->n_refs > 0 || d->looking || !chance(percent))
			continue;
		if (d->node == NULL || !S_ISDIR(d->node->mode) ||
		    !has_children(d->node))
			d_drop(d);
	}
	DL_FOREACH_SAFE (k.inodes, i, inext)
		if (!is_used(i) && chance(percent))
			evict(i);
}

void
kernel_init(void)
{
	k.root = calloc(1, sizeof *k.root);
	k.root->ino = TREE_ROOT;
	k.root->mode = S_IFDIR | 0755;
	k.root->n_lookup = 1;
	DL_APPEND(k.inodes, k.root);
}

static void
check_dentry(struct store_txn *t, const struct dentry *d)
{
	struct tree_name c = {0};
	struct attr attr;
	uint64_t ino = d->node == NULL ? 0 : d->node->ino;

	if (!d->hashed || d->dir->dead || !d->lasts ||
	    !tree_node_get(t, d->dir->ino, &attr))
		return;
	tree_name_get(t, d->dir->ino, slice_str(d->name), &c);
	if (c.ino != ino)
		broken("the kernel has %s in %llu as %llu, committed is %llu",
		    d->name, (unsigned long long)d->dir->ino,
		    (unsigned long long)ino, (unsigned long long)c.ino);
}

static void
check_inode(struct store_txn *t, const struct inode *i)
{
	struct attr c, a = i->attr;
	struct dentry *d;

	if (!tree_node_get(t, i->ino, &c)) {
		d = alias_of(i);
		if (d != NULL && d->lasts)
			broken("the kernel has a name of %llu, which is gone",
			    (unsigned long long)i->ino);
		return;
	}
	if (!i->fresh || i->distrusted || i->touched)
		return;
	if (a.mode != c.mode || a.nlink != c.nlink || a.uid != c.uid ||
	    a.size != c.size || a.mtime_ns != c.mtime_ns ||
	    a.ctime_ns != c.ctime_ns)
		broken("the kernel has node %llu as of revision %llu (mode "
		       "%o, %u names, %llu bytes), committed is %llu "
		       "(%o, %u, %llu)",
		    (unsigned long long)i->ino,
		    (unsigned long long)a.attr_rev, a.mode, a.nlink,
		    (unsigned long long)a.size,
		    (unsigned long long)c.attr_rev, c.mode, c.nlink,
		    (unsigned long long)c.size);
}

static void
check_watch(struct store_txn *t, const struct watch *w)
{
	struct slice name = SLICE_EMPTY;
	struct tree_name entry;
	struct attr attr;
	char copy[LIMIT_NAME + 1];
	unsigned n = 0;

	if (!w->listed || !tree_node_get(t, w->dir->ino, &attr))
		return;
	while (tree_name_next(t, w->dir->ino, name, &name, &entry)) {
		memcpy(copy, name.ptr, name.len);
		copy[name.len] = '\0';
		n++;
		if (watch_find(w, copy) < 0)
			broken("W1: no event told of %s in %llu", copy,
			    (unsigned long long)w->dir->ino);
	}
	if (n != w->n)
		broken("W1: events lead to %u names in %llu, there are %u",
		    w->n, (unsigned long long)w->dir->ino, n);
}

void
kernel_check(void)
{
	struct store_txn *t;
	struct dentry *d;
	struct inode *i;

	t = mount_view();
	DL_FOREACH (k.dentries, d)
		check_dentry(t, d);
	DL_FOREACH (k.inodes, i) {
		check_inode(t, i);
		if (i->watch != NULL)
			check_watch(t, i->watch);
	}
	store_abort(t);
}
