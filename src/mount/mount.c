/*
 * mount.c: the mount's life, and its place in the loop.
 */
#include "config.h"

#include "mount/mount.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "mount/dotgov.h"
#include "tree/tree.h"

/* How often bounds of parked requests are looked at, while there are any. */
#define TICK_MS 100
/* `lagging` is shown for so long after a request went on late. */
#define LAGGING_NS (10 * NS_PER_S)

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.release = op_release,
	.fallocate = op_fallocate,
	.ioctl = op_ioctl,
	.poll = op_poll,
	.flock = op_flock,
	.setlk = op_setlk,
	.getlk = op_getlk,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.getxattr = op_getxattr,
	.setxattr = op_setxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
};

static int session_begin(struct mount *);
static void on_requests(uv_poll_t *, int status, int events);
static void one_shot_void(struct mount *);
static void interrupts(struct mount *);
static void on_mounts(uv_poll_t *, int status, int events);
static void on_tick(uv_timer_t *);
static void on_applied(struct engine_subscriber *,
    const struct engine_applied *);
static void on_session_lost(void *, uint64_t session);
static void on_session_ready(void *);
static void on_turn(struct engine_subscriber *);
static void on_status(struct engine_subscriber *, const struct engine_status *);
static void on_cursor(void *);
static void on_invalidate(void *, uint64_t ino);
static void on_dir_renamed(void *);

int
mount_open(const struct mount_conf *conf, struct mount **ret)
{
	struct mount *m = calloc(1, sizeof *m);
	struct replay_conf rc = {
	    .loop = conf->loop,
	    .engine = conf->engine,
	    .moved = on_cursor,
	    .invalidate = on_invalidate,
	    .dir_renamed = on_dir_renamed,
	    .arg = m,
	};
	int err;

	assert(m != NULL);
	m->conf = *conf;
	m->kview = kview_new(on_invalidate, m);
	dotgov_init(m);
	err = session_begin(m);
	if (err != 0)
		return err;
	uv_poll_init(conf->loop, &m->poll, m->fuse_fd);
	m->poll.data = m;
	uv_poll_start(&m->poll, UV_READABLE, on_requests);
	m->mount_id = fusemount_id(conf->mountpoint);
	m->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	uv_poll_init(conf->loop, &m->mounts, m->mounts_fd);
	m->mounts.data = m;
	uv_poll_start(&m->mounts, UV_PRIORITIZED, on_mounts);
	uv_timer_init(conf->loop, &m->timer);
	m->timer.data = m;
	uv_timer_start(&m->timer, on_tick, TICK_MS, TICK_MS);
	m->subscriber.applied = on_applied;
	m->subscriber.turn = on_turn;
	m->subscriber.status = on_status;
	engine_subscribe(conf->engine, &m->subscriber);
	session_on_lost(conf->session, on_session_lost, m);
	session_on_ready(conf->session, on_session_ready, m);
	rc.kview = m->kview;
	rc.mount_fd = m->private_fd;
	err = replay_open(&rc, &m->replay);
	if (err != 0) {
		fusemount_detach(conf->mountpoint);
		return err;
	}
	*ret = m;
	return 0;
}

static int
session_begin(struct mount *m)
{
	char name[] = "govfsd", *argv[] = {name, NULL}, path[32];
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int err;

	err = mount_clear_dead(m->conf.mountpoint);
	if (err != 0)
		return err;
	m->se = fuse_session_new(&args, &ops, sizeof ops, m);
	fuse_opt_free_args(&args);
	if (m->se == NULL)
		return -EINVAL;
	m->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (m->fuse_fd < 0)
		return -errno;
	err = fusemount_attach(m->conf.mountpoint, m->fuse_fd, &m->private_fd);
	if (err != 0)
		return err;
	snprintf(path, sizeof path, "/dev/fd/%d", m->fuse_fd);
	if (fuse_session_mount(m->se, path) == 0)
		return 0;
	fusemount_detach(m->conf.mountpoint);
	return -EIO;
}

/*
 * Any other request of a thread than the GETATTR after its CREATE ends the
 * promise to park that one: a later GETATTR may come under an inode's lock.
 */
static void
one_shot_void(struct mount *m)
{
	const struct fuse_in_header *in = m->fbuf.mem;
	struct tid *tid;

	if (in->opcode == FUSE_GETATTR || in->opcode == FUSE_INTERRUPT)
		return;
	tid = tid_find(m, (pid_t)in->pid);
	if (tid != NULL)
		tid->oneshot_ino = 0;
}

/*
 * The kernel's requests of this turn, not too many of them: Raft wants its
 * turn too.  What they submit travels as one entry when the turn ends.
 */
static void
on_requests(uv_poll_t *poll, int status, int events)
{
	struct mount *m = poll->data;
	uint64_t until = clock_now_ns() + LIMIT_TURN_MS * NS_PER_MS;
	int n;

	reply_hold(m);
	for (int i = 0; i < LIMIT_TURN_REQUESTS && clock_now_ns() < until;
	    i++) {
		n = fuse_session_receive_buf(m->se, &m->fbuf);
		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n <= 0 || fuse_session_exited(m->se)) {
			reply_release(m);
			uv_poll_stop(&m->poll);
			if (!m->stopping)
				m->conf.gone(m->conf.arg);
			return;
		}
		metric_add(METRIC_fuse_requests, 1);
		one_shot_void(m);
		fuse_session_process_buf(m->se, &m->fbuf);
	}
	reply_release(m);
	interrupts(m);
	replay_pump(m->replay);
}

/* Noted by libfuse's callbacks, acted on when libfuse is done with them. */
static void
interrupts(struct mount *m)
{
	if (!m->interrupts)
		return;
	m->interrupts = m->resisting = false;
	pending_interrupts(m);
	commit_interrupts(m);
	lock_interrupts(m);
	park_interrupts(m);
}

/* An administrator's umount of the visible mount is the end of our work. */
static void
on_mounts(uv_poll_t *poll, int status, int events)
{
	struct mount *m = poll->data;
	char drain[4096];

	if (lseek(m->mounts_fd, 0, SEEK_SET) == 0)
		while (read(m->mounts_fd, drain, sizeof drain) > 0)
			;
	if (m->stopping || m->mount_id < 0 || fusemount_exists(m->mount_id))
		return;
	log_info("mount: %s has been unmounted", m->conf.mountpoint);
	m->mount_id = -1;
	m->conf.gone(m->conf.arg);
}

static void
on_tick(uv_timer_t *timer)
{
	struct mount *m = timer->data;

	/* The kernel tells of one interrupt only: who has gone on waiting after
	 * a harmless one may have been killed since. */
	m->interrupts |= m->resisting;
	interrupts(m);
	if (m->unlocks != NULL)
		lock_tick(m, clock_now_ns());
	if (m->parked != NULL)
		park_expire(m, clock_now_ns());
	process_tick(m);
	dotgov_look(m);
	replay_pump(m->replay);
	metric_set(METRIC_held_bytes, (int64_t)m->held_bytes);
}

/*
 * In C both names were the same node already, so nothing has happened; this
 * kernel, which had not heard of one of them yet, moves its name all the same.
 */
static void
renamed_to_itself(struct mount *m, const struct command *c, uint64_t ino)
{
	struct store_txn *t = mount_view(m);

	kview_set(m->kview, t, c->dir, c->name, 0);
	kview_set(m->kview, t, c->dir2, c->name2, ino);
	store_abort(t);
	replay_reconcile(m->replay, c->dir, c->name, false);
	replay_reconcile(m->replay, c->dir2, c->name2, false);
}

/* A request of ours: the kernel learns of the change by its answer. */
static void
applied_here(struct mount *m, const struct engine_applied *a)
{
	const struct pending *p = (const struct pending *)
	    ((const char *)a->req - offsetof(struct pending, ereq));
	const struct change *c;
	struct store_txn *t = NULL; /* most need none */
	bool told = commit_applied(m, a);

	if (a->command->kind == COMMAND_rename && a->outcome->err == 0 &&
	    a->outcome->n_changes == 0)
		renamed_to_itself(m, a->command, p->ino);
	for (unsigned i = 0; i < a->outcome->n_changes; i++) {
		c = &a->outcome->changes[i];
		if (c->kind >= CHANGE_GRANT)
			continue;
		if (!told || c->aside ||
		    (c->kind >= CHANGE_CONTENT && c->node != p->ino)) {
			/* The kernel's node is another (struct knode's alias),
			 * and of this one it has heard nothing. */
			replay_push(m->replay, c, c->kind == CHANGE_CREATE);
			continue;
		}
		if (!kview_moves(m->kview, c))
			continue;
		if (t == NULL)
			t = mount_view(m);
		kview_local(m->kview, t, c);
		own_freed(m, c);
		if (c->kind == CHANGE_RENAME && p->ino != c->node) {
			kview_set(m->kview, t, c->dir2, slice_str(c->name2),
			    p->ino);
			replay_reconcile(m->replay, c->dir2,
			    slice_str(c->name2), true);
		} else if (c->kind == CHANGE_LINK && p->ino != c->node) {
			kview_set(m->kview, t, c->dir, slice_str(c->name),
			    p->ino);
			replay_reconcile(m->replay, c->dir,
			    slice_str(c->name), true);
		}
	}
	store_abort(t);
}

static void
on_applied(struct engine_subscriber *sub, const struct engine_applied *a)
{
	struct mount *m = (struct mount *)((char *)sub -
	    offsetof(struct mount, subscriber));
	bool born = a->command->kind == COMMAND_birth ||
	    a->command->kind == COMMAND_session_open;
	bool told;
	const struct change *c;
	struct store_txn *t;

	reply_hold(m);
	lock_applied(m, a->outcome);
	life_applied(m, a);
	dotgov_applied(m, a);
	/* The session's own requests are not behind a struct pending; and no
	 * system call asked for a file to go with its holder. */
	if (a->req != NULL && a->command->kind != COMMAND_session_open &&
	    a->command->kind != COMMAND_session_close &&
	    !pending_internal(a->req)) {
		applied_here(m, a);
		return;
	}
	told = a->req == NULL && commit_late(m, a);
	t = told ? mount_view(m) : NULL;
	for (unsigned i = 0; i < a->outcome->n_changes; i++) {
		c = &a->outcome->changes[i];
		if (told && c->kind == CHANGE_CREATE)
			kview_local(m->kview, t, c);
		else if (c->kind < CHANGE_GRANT)
			replay_push(m->replay, c,
			    born && c->kind == CHANGE_CREATE);
	}
	store_abort(t);
}

static void
on_session_lost(void *arg, uint64_t session)
{
	lock_session_lost(arg, session);
}

static void
on_session_ready(void *arg)
{
	life_session_ready(arg);
	lock_session_ready(arg);
}

static void
on_turn(struct engine_subscriber *sub)
{
	struct mount *m = (struct mount *)((char *)sub -
	    offsetof(struct mount, subscriber));

	reply_release(m);
	dotgov_turn(m);
	replay_pump(m->replay);
}

static void
on_status(struct engine_subscriber *sub, const struct engine_status *status)
{
	struct mount *m = (struct mount *)((char *)sub -
	    offsetof(struct mount, subscriber));

	dotgov_look(m);
	replay_pump(m->replay);
}

static void
on_cursor(void *arg)
{
	park_release(arg);
}

static void
on_invalidate(void *arg, uint64_t ino)
{
	mount_invalidate(arg, ino);
}

static void
on_dir_renamed(void *arg)
{
	struct mount *m = arg;

	m->n_dir_renames++;
	m->dir_rename_ns = clock_now_ns();
}

struct mount *
mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

bool
mount_writable(struct mount *m)
{
	return engine_writable(m->conf.engine) &&
	    session_ready(m->conf.session);
}

uint64_t
mount_max_file(struct mount *m)
{
	uint64_t rev = engine_rev(m->conf.engine);
	struct tree_meta meta;
	struct store_txn *t;

	if (m->max_file != 0 && m->max_file_rev == rev)
		return m->max_file;
	t = mount_view(m);
	m->max_file = tree_meta_get(t, &meta) ? meta.settings.max_file
					      : LIMIT_FILE_DEFAULT;
	m->max_file_rev = rev;
	store_abort(t);
	return m->max_file;
}

struct store_txn *
mount_view(struct mount *m)
{
	return store_begin(engine_store(m->conf.engine), STORE_READ);
}

void
mount_reveal(struct mount *m, uint64_t rev)
{
	if (rev > m->revealed)
		m->revealed = rev;
}

/* Attributes only: takes no inode lock, so the loop may do it (fuse_dev_notify
 * with a negative offset, fs/fuse/dev.c). */
void
mount_invalidate(struct mount *m, uint64_t ino)
{
	struct knode *node = kview_find(m->kview, ino);

	if (node != NULL)
		node->told = false;
	fuse_lowlevel_notify_inval_inode(m->se, ino, -1, 0);
}

void
mount_status(struct mount *m, struct mount_status *ret)
{
	uint64_t now = clock_now_ns(), oldest = replay_oldest_ns(m->replay);

	*ret = (struct mount_status){
	    .cursor = replay_cursor(m->replay),
	    .lag_ns = oldest == 0 ? 0 : now - oldest,
	    .n_queued = replay_length(m->replay),
	    .n_parked = m->n_parked,
	    .n_late = m->n_late,
	    .n_handles = m->n_handles,
	    .n_differences = kview_differences(m->kview),
	    .health = mount_health(m),
	    .since_ns = m->gov->since_ns,
	};
}

const char *
mount_health(struct mount *m)
{
	struct engine_status st;

	if (session_lost(m->conf.session))
		return "lost";
	engine_status(m->conf.engine, &st);
	switch (st.health) {
	case ENGINE_SUSPENDED:
		return "suspended";
	case ENGINE_READONLY:
		return "readonly";
	case ENGINE_LOST:
		return "lost";
	case ENGINE_OK:
		break;
	}
	return m->late_ns != 0 && clock_now_ns() - m->late_ns < LAGGING_NS
	    ? "lagging"
	    : "ok";
}

static void
on_closed(uv_handle_t *handle)
{
	struct mount *m = handle->data;

	if (--m->n_closing > 0)
		return;
	m->stop_cb(m->stop_arg);
}

static void
on_replay_stopped(void *arg)
{
	struct mount *m = arg;

	life_stop(m);
	lock_pid_stop(m);
	m->n_closing = 3;
	uv_close((uv_handle_t *)&m->poll, on_closed);
	uv_close((uv_handle_t *)&m->mounts, on_closed);
	uv_close((uv_handle_t *)&m->timer, on_closed);
}

void
mount_stop(struct mount *m, void (*cb)(void *), void *arg)
{
	m->stopping = true;
	m->stop_cb = cb;
	m->stop_arg = arg;
	if (fusemount_id(m->conf.mountpoint) >= 0)
		fusemount_detach(m->conf.mountpoint);
	replay_stop(m->replay, on_replay_stopped, m);
}

void
mount_free(struct mount *m)
{
	if (m == NULL)
		return;
	/* Callers still waiting are told by the kernel when the device closes.
	 * Their requests, drafts and handles die with the process. */
	replay_free(m->replay);
	close(m->mounts_fd);
	close(m->private_fd);
	tid_free_all(m);
	caller_free_all(m);
	dotgov_fini(m);
	fuse_session_unmount(m->se);
	close(m->fuse_fd);
	free(m->fbuf.mem);
	free(m);
}
