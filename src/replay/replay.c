/*
 * replay.c: the queue, its cursor, and one operation's life.
 */
#include "config.h"

#include "replay/replay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <utlist.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metric.h"
#include "replay/replay_internal.h"
#include "tree/tree.h"

/* Tries of one operation before the names are left to reconcile(). */
#define OP_TRIES 4
/* A name that can't be reconciled now is looked at again after this. */
#define RECONCILE_PAUSE_MS 5

enum begun { BEGUN_SENT, BEGUN_DONE };

static bool merge(struct replay *, const struct change *);
static void unmergeable(struct replay *, uint64_t ino);
static void enqueue(struct replay *, const struct change *, bool born);
static bool catch_up(struct replay *);
static bool overdue(const struct replay_news *);
static void begin_news(struct replay *);
static void news_told(struct replay *, int err);
static enum begun begin_change(struct replay *, struct store_txn *,
    struct op *);
static enum begun begin_node(struct replay *, struct store_txn *, struct op *);
static void reconcile(struct replay *, struct store_txn *, struct op *);
static void finish(struct replay *, struct store_txn *, struct op *);
static void done_merging(struct replay *, const struct op *);
static void cross(struct replay *, struct store_txn *, struct op *);
static bool kernel_cares(struct replay *, const struct change *);
static struct op *first(struct replay *);
static bool put_off(const struct op *);
static bool delayed(struct replay *, struct op *, bool idle);
static void on_delay(uv_timer_t *);
static void cursor_update(struct replay *);
static void pop(struct replay *, struct op *);

static const char *const call_names[] = {
    [HELPER_MKNOD] = "creation",
    [HELPER_BORN] = "creation",
    [HELPER_BORN_EMPTY] = "creation",
    [HELPER_MKDIR] = "mkdir",
    [HELPER_SYMLINK] = "symlink",
    [HELPER_LINK] = "link",
    [HELPER_UNLINK] = "unlink",
    [HELPER_RMDIR] = "rmdir",
    [HELPER_RENAME] = "rename",
    [HELPER_EXCHANGE] = "exchange",
    [HELPER_CONTENT] = "new content",
    [HELPER_ATTRIB] = "new attributes",
    [HELPER_MTIME] = "new times",
    [HELPER_ATIME] = "new times",
    [HELPER_TELL] = "news",
    [HELPER_TELL_DIR] = "news",
};

int
replay_open(const struct replay_conf *conf, struct replay **ret)
{
	struct replay *r = calloc(1, sizeof *r);
	int err;

	assert(r != NULL);
	r->conf = *conf;
	r->next_id = 1;
	r->cursor = engine_rev(conf->engine);
	uv_timer_init(conf->loop, &r->delay);
	r->delay.data = r;
	err = helper_start(r);
	if (err != 0)
		return err; /* the daemon ends with it */
	*ret = r;
	return 0;
}

static void
on_delay_closed(uv_handle_t *handle)
{
	struct replay *r = handle->data;

	r->stop_cb(r->stop_arg);
}

static void
on_helper_stopped(struct replay *r)
{
	uv_close((uv_handle_t *)&r->delay, on_delay_closed);
}

void
replay_stop(struct replay *r, void (*cb)(void *), void *arg)
{
	r->stopping = true;
	r->stop_cb = cb;
	r->stop_arg = arg;
	helper_stop(r, on_helper_stopped);
}

void
replay_free(struct replay *r)
{
	struct op *op, *next;

	if (r == NULL)
		return;
	DL_FOREACH_SAFE (r->queue, op, next)
		free(op);
	free(r);
}

void
replay_push(struct replay *r, const struct change *change, bool born)
{
	struct store_txn *t;

	if (kview_is_unheard(r->conf.kview, change)) {
		metric_add(METRIC_replay_skipped, 1);
		return;
	}
	if (merge(r, change))
		return;
	unmergeable(r, change->node);
	unmergeable(r, change->node2);
	if (r->behind_rev == 0 && r->n_queued < LIMIT_REPLAY_QUEUE) {
		kview_expect(r->conf.kview, change);
		enqueue(r, change, born);
		return;
	}
	if (r->behind_rev == 0) {
		r->behind_rev = change->rev;
		r->behind_ns = clock_now_ns();
		log_info("replay: %u changes wait, later ones by what they "
			 "touch", r->n_queued);
	}
	t = store_begin(engine_store(r->conf.engine), STORE_READ);
	kview_lag(r->conf.kview, t, change);
	store_abort(t);
}

/*
 * A file written again before its last write was begun: one replay shows both,
 * the newer content sooner.  Its place, and what it holds the cursor below,
 * stay the older's.
 */
static bool
merge(struct replay *r, const struct change *c)
{
	struct knode *node = kview_find(r->conf.kview, c->node);
	struct op *op = node == NULL ? NULL : node->mergeable;

	if (c->kind != CHANGE_CONTENT || op == NULL ||
	    (r->in_flight && op == r->queue))
		return false;
	assert(op->change.kind == CHANGE_CONTENT);
	op->change.attr = c->attr;
	op->change.truncated &= c->truncated;
	metric_add(METRIC_replay_merged, 1);
	return true;
}

static void
unmergeable(struct replay *r, uint64_t ino)
{
	struct knode *node = ino == 0 ? NULL : kview_find(r->conf.kview, ino);

	if (node != NULL)
		node->mergeable = NULL;
}

static uint64_t
waits_since(const struct replay *r)
{
	return r->behind_ns != 0 ? r->behind_ns : clock_now_ns();
}

/* The change is expected already. */
static void
enqueue(struct replay *r, const struct change *change, bool born)
{
	struct op *op = calloc(1, sizeof *op);

	assert(op != NULL);
	op->kind = OP_CHANGE;
	op->rev = change->rev;
	op->queued_ns = waits_since(r);
	op->change = *change;
	op->born = born;
	if (change->kind == CHANGE_CONTENT && change->old.ino != 0)
		kview_find(r->conf.kview, change->node)->mergeable = op;
	DL_APPEND(r->queue, op);
	r->n_queued++;
	r->n_in_vain = 0;
}

void
replay_push_reconcile(struct replay *r, uint64_t rev, uint64_t dir,
    const char *name, bool force, bool at_head)
{
	struct op *op = calloc(1, sizeof *op);

	assert(op != NULL);
	op->kind = OP_RECONCILE;
	op->rev = rev;
	op->queued_ns = waits_since(r);
	op->change.dir = dir;
	op->force = force;
	memcpy(op->change.name, name, strlen(name) + 1);
	if (at_head)
		DL_PREPEND(r->queue, op);
	else
		DL_APPEND(r->queue, op);
	r->n_queued++;
	r->n_in_vain = 0;
}

void
replay_reconcile(struct replay *r, uint64_t dir, struct slice name, bool force)
{
	char copy[LIMIT_NAME + 1];

	memcpy(copy, name.ptr, name.len);
	copy[name.len] = '\0';
	replay_push_reconcile(r, engine_rev(r->conf.engine), dir, copy, force,
	    false);
}

void
replay_tell(struct replay *r, struct replay_news *news)
{
	news->queued_ns = clock_now_ns();
	DL_APPEND(r->news, news);
}

void
replay_pump(struct replay *r)
{
	struct store_txn *t;
	struct op *op;
	bool idle;

	if (r->pumping || r->stopping)
		return;
	r->pumping = true;
	for (unsigned n = 0; !r->in_flight; n++) {
		if (n == LIMIT_TURN_REPLAYS) {
			uv_timer_start(&r->delay, on_delay, 0, 0);
			break;
		}
		op = first(r);
		idle = op == NULL || put_off(op) || r->n_in_vain >= r->n_queued;
		if (idle && catch_up(r))
			continue;
		if (r->news != NULL && helper_ready(r) &&
		    (idle || overdue(r->news))) {
			begin_news(r);
			break;
		}
		if (op == NULL || !helper_ready(r) || delayed(r, op, idle))
			break;
		t = store_begin(engine_store(r->conf.engine), STORE_READ);
		if (op->kind == OP_RECONCILE)
			reconcile(r, t, op);
		else if (begin_change(r, t, op) == BEGUN_DONE)
			finish(r, t, op);
		store_abort(t);
	}
	r->pumping = false;
	if (!r->in_flight)
		helper_idle(r);
	cursor_update(r);
}

/*
 * Nothing else can be done: the next name or node that lags gets its turn.
 * false: none does.  Names first, a name shows its new node's content.
 */
static bool
catch_up(struct replay *r)
{
	struct kview *kv = r->conf.kview;
	struct change c = {.rev = r->behind_rev};
	struct store_txn *t;
	unsigned how, in_vain = r->n_in_vain;

	if (r->behind_rev == 0)
		return false;
	if (kview_lagging(kv) == 0) {
		r->behind_rev = r->behind_ns = 0;
		return false;
	}
	t = store_begin(engine_store(r->conf.engine), STORE_READ);
	if (kview_lag_name(kv, t, &c.dir, c.name)) {
		/* What waits is looked at again when something comes of it. */
		replay_push_reconcile(r, c.rev, c.dir, c.name, false, true);
		r->n_in_vain = in_vain;
	} else {
		how = kview_lag_node(kv, &c.node);
		c.old.ino = c.node;
		if (!tree_node_get(t, c.node, &c.attr))
			how = 0; /* its names have gone */
		for (unsigned i = LAG_CONTENT; i <= LAG_ATTR; i *= 2) {
			if ((how & i) == 0)
				continue;
			c.kind = i == LAG_ATTR ? CHANGE_ATTR : CHANGE_CONTENT;
			kview_expect(kv, &c);
			enqueue(r, &c, false);
		}
		kview_lag_settle(kv, t, c.node);
		if (how == LAG_SELF && kview_known(kv, c.node))
			r->conf.invalidate(r->conf.arg, c.node);
	}
	store_abort(t);
	return true;
}

/* Computed, not kept: within a loop turn the answers to local requests go out
 * before the pump runs, and must not wait where nothing is pending. */
uint64_t
replay_cursor(const struct replay *r)
{
	uint64_t to = engine_rev(r->conf.engine);

	if (r->queue != NULL && r->queue->rev <= to)
		to = r->queue->rev - 1;
	if (r->behind_rev != 0 && r->behind_rev <= to)
		to = r->behind_rev - 1;
	/* A name queued again for reconciling never takes the cursor back. */
	return to > r->cursor ? to : r->cursor;
}

unsigned
replay_length(const struct replay *r)
{
	return r->n_queued + kview_lagging(r->conf.kview);
}

uint64_t
replay_oldest_ns(const struct replay *r)
{
	return r->queue == NULL ? r->behind_ns : r->queue->queued_ns;
}

pid_t
replay_pid(const struct replay *r)
{
	return helper_pid(r);
}

int
replay_enact_name(struct replay *r, uint64_t dir, struct slice name,
    uint64_t dir2, struct slice name2, uint64_t *ret_ino)
{
	const struct helper_request *q = &r->request;
	bool link = q->op == HELPER_LINK;
	struct store_txn *t;
	bool ready;

	if (!r->in_flight || r->moved || r->telling)
		return -ESTALE;
	if (link) { /* its old name may be another node's by now */
		if (dir != q->dir2 || !slice_eq(name, slice_str(q->name2)) ||
		    dir2 != r->current.node)
			return -ESTALE;
	} else if (dir != q->dir || !slice_eq(name, slice_str(q->name)) ||
	    !slice_eq(name2, slice_str(q->name2)) ||
	    (name2.len > 0 && dir2 != q->dir2)) {
		return -ESTALE;
	}
	t = store_begin(engine_store(r->conf.engine), STORE_READ);
	ready = kview_ready(r->conf.kview, t, &r->current);
	if (ready) {
		kview_move(r->conf.kview, t, &r->current);
		if (!r->expected)
			reconcile_moved(r, t);
		r->moved = true;
		*ret_ino = r->current.node;
	}
	store_abort(t);
	return ready ? 0 : -ESTALE;
}

int
replay_enact_node(struct replay *r, uint64_t ino)
{
	struct store_txn *t;

	if (r->in_flight && r->telling)
		return r->news->ino == ino ? 0 : -ESTALE;
	if (!r->in_flight || r->current.node != ino)
		return -ESTALE;
	if (r->current.kind == CHANGE_CONTENT ||
	    r->current.kind == CHANGE_ATTR) {
		t = store_begin(engine_store(r->conf.engine), STORE_READ);
		kview_move(r->conf.kview, t, &r->current);
		store_abort(t);
		r->moved = true;
	}
	return 0;
}

bool
replay_unlinks(const struct replay *r, uint64_t ino)
{
	const struct change *c = &r->current;

	return r->in_flight && r->moved &&
	    ((c->kind == CHANGE_UNLINK && c->node == ino) ||
	    (c->kind == CHANGE_RENAME && c->node2 == ino));
}

/* Changes go first, but not for ever. */
static bool
overdue(const struct replay_news *news)
{
	return clock_now_ns() - news->queued_ns >=
	    LIMIT_GOV_NEWS_MS * NS_PER_MS;
}

static void
begin_news(struct replay *r)
{
	struct helper_request *q = &r->request;

	assert(!r->in_flight);
	memset(q, 0, sizeof *q);
	q->id = r->next_id++;
	q->op = r->news->is_dir ? HELPER_TELL_DIR : HELPER_TELL;
	memcpy(q->path, r->news->path, sizeof q->path);
	r->in_flight = r->telling = true;
	r->moved = false;
	r->sent_ns = clock_now_ns();
	helper_send(r, q);
}

/* What can't be told of has gone; a helper that died is asked again. */
static void
news_told(struct replay *r, int err)
{
	struct replay_news *news = r->news;

	r->in_flight = r->telling = false;
	if (err == -EINTR)
		return;
	DL_DELETE(r->news, news);
	metric_add(METRIC_news_told, 1);
	news->told(news);
}

static enum helper_op
create_op(const struct op *op)
{
	if (!op->born)
		return HELPER_MKNOD;
	return op->change.attr.size > 0 ? HELPER_BORN : HELPER_BORN_EMPTY;
}

/*
 * Sends a queued change to the helper, or finds that there is nothing to tell.
 */
static enum begun
begin_change(struct replay *r, struct store_txn *t, struct op *op)
{
	struct kview *kv = r->conf.kview;
	struct change *c = &op->change;
	struct knode *there;
	struct attr attr;
	uint64_t from_dir;
	char from[LIMIT_NAME + 1];
	uint64_t at = c->kind == CHANGE_RENAME ? c->dir2 : c->dir;
	const char *at_name = c->kind == CHANGE_RENAME ? c->name2 : c->name;

	if (c->kind == CHANGE_CONTENT || c->kind == CHANGE_ATTR)
		return begin_node(r, t, op);
	if (c->kind <= CHANGE_LINK || c->kind == CHANGE_RENAME) {
		there = kview_find(kv, kview_lookup(kv, t, at,
		    slice_str(at_name)));
		if (there != NULL && kview_is_ghost(there)) {
			replay_displace(r, there, at, at_name);
			return BEGUN_SENT;
		}
	}
	if (!kview_ready(kv, t, c) || !kview_attr(kv, t, c->node, &attr)) {
		cross(r, t, op);
		return BEGUN_SENT;
	}
	if (!kernel_cares(r, c)) {
		kview_move(kv, t, c);
		metric_add(METRIC_replay_skipped, 1);
		return BEGUN_DONE;
	}
	switch (c->kind) {
	case CHANGE_CREATE:
		replay_send(r, c, create_op(op), c->dir, c->name, 0, "", true);
		break;
	case CHANGE_MKDIR:
		replay_send(r, c, HELPER_MKDIR, c->dir, c->name, 0, "", true);
		break;
	case CHANGE_SYMLINK:
		replay_send(r, c, HELPER_SYMLINK, c->dir, c->name, 0, "",
		    true);
		break;
	case CHANGE_LINK:
		if (!kview_name_of(kv, t, c->node, &from_dir, from)) {
			cross(r, t, op);
			break;
		}
		replay_send(r, c, HELPER_LINK, from_dir, from, c->dir, c->name,
		    true);
		break;
	case CHANGE_UNLINK:
		replay_send(r, c, HELPER_UNLINK, c->dir, c->name, 0, "", true);
		break;
	case CHANGE_RMDIR:
		replay_send(r, c, HELPER_RMDIR, c->dir, c->name, 0, "", true);
		break;
	case CHANGE_RENAME:
		replay_send(r, c, HELPER_RENAME, c->dir, c->name, c->dir2,
		    c->name2, true);
		break;
	case CHANGE_EXCHANGE:
		replay_send(r, c, HELPER_EXCHANGE, c->dir, c->name, c->dir2,
		    c->name2, true);
		break;
	default:
		assert(false);
	}
	return BEGUN_SENT;
}

/* A change of content or attributes goes by whatever name the node has in K. */
static enum begun
begin_node(struct replay *r, struct store_txn *t, struct op *op)
{
	struct kview *kv = r->conf.kview;
	struct change *c = &op->change;
	enum helper_op what = HELPER_CONTENT;
	char name[LIMIT_NAME + 1] = "";
	uint64_t dir = c->dir;
	bool named = c->node == 1;

	if (c->truncated)
		what = HELPER_MTIME;
	if (!named && c->dir != 0 && c->name[0] != '\0' &&
	    kview_lookup(kv, t, c->dir, slice_str(c->name)) == c->node) {
		memcpy(name, c->name, sizeof name);
		named = true;
	}
	if (!named)
		named = kview_name_of(kv, t, c->node, &dir, name);
	if (!named || op->tries >= OP_TRIES ||
	    (!kview_reached(kv, c->node) && !kview_reached(kv, dir))) {
		kview_move(kv, t, c);
		if (kview_known(kv, c->node))
			r->conf.invalidate(r->conf.arg, c->node);
		metric_add(METRIC_replay_skipped, 1);
		return BEGUN_DONE;
	}
	if (c->kind == CHANGE_ATTR) {
		what = HELPER_ATTRIB;
		if (c->times_only && !c->atime_set)
			what = HELPER_MTIME;
		else if (c->times_only && !c->mtime_set)
			what = HELPER_ATIME;
	}
	replay_send(r, c, what, dir, name, 0, "", true);
	return BEGUN_SENT;
}

void
replay_send(struct replay *r, const struct change *change, enum helper_op what,
    uint64_t dir, const char *name, uint64_t dir2, const char *name2,
    bool expected)
{
	struct helper_request *q = &r->request;

	assert(!r->in_flight);
	/* From now on the kernel may hold names below them. */
	kview_reach(r->conf.kview, dir);
	kview_reach(r->conf.kview, dir2);
	memset(q, 0, sizeof *q);
	q->id = r->next_id++;
	q->op = what;
	q->mode = change->attr.mode;
	q->dir = dir;
	q->dir2 = dir2;
	memcpy(q->name, name, strlen(name) + 1);
	memcpy(q->name2, name2, strlen(name2) + 1);
	r->current = *change;
	r->expected = expected;
	r->moved = false;
	r->in_flight = true;
	r->sent_ns = clock_now_ns();
	helper_send(r, q);
}

/* A directory that moves may have moved under somebody's path walk. */
static bool
moved_dir(const struct change *c)
{
	if (c->kind == CHANGE_EXCHANGE)
		return S_ISDIR(c->attr.mode) || S_ISDIR(c->attr2.mode);
	return c->kind == CHANGE_RENAME && S_ISDIR(c->attr.mode);
}

/* What the helper took a name from, and has others: whoever looked meanwhile was
 * told of one too many (replay_unlinks). */
static void
tell_links(struct replay *r)
{
	const struct change *c = &r->current;
	bool replaced = c->kind == CHANGE_RENAME;
	const struct attr *attr = replaced ? &c->attr2 : &c->attr;
	uint64_t ino = replaced ? c->node2 : c->node;
	bool dead = attr->ino != 0 && attr->nlink == 0;

	if (!dead && ino != 0 && replay_unlinks(r, ino) &&
	    kview_known(r->conf.kview, ino))
		r->conf.invalidate(r->conf.arg, ino);
}

/*
 * The helper has taken in what it was told with its SETATTR only now, and the
 * kernel takes that as it comes: a WRITE of ours may have passed it, and the
 * commit behind that doesn't tell the kernel again.
 */
static void
tell_attributes(struct replay *r, struct store_txn *t)
{
	struct kview *kv = r->conf.kview;
	uint64_t ino = r->current.node;
	struct knode *node = kview_find(kv, ino);
	struct attr attr;

	if (!r->moved || !kview_known(kv, ino) ||
	    !kview_attr(kv, t, ino, &attr))
		return;
	if ((node != NULL && node->n_dirty > 0) ||
	    attr.attr_rev != r->current.attr.attr_rev)
		r->conf.invalidate(r->conf.arg, ino);
}

static bool
helper_stumbled(int err)
{
	return err != 0 && err != -ESTALE && err != -ENOENT && err != -EEXIST &&
	    err != -EINTR && err != -ENOTEMPTY;
}

/* The helper has made the name and died before it could tell of the content. */
static void
push_content(struct replay *r, const struct change *born)
{
	struct change c = {.kind = CHANGE_CONTENT, .rev = born->rev,
	    .dir = born->dir, .node = born->node};

	memcpy(c.name, born->name, sizeof c.name);
	enqueue(r, &c, false);
}

void
replay_answered(struct replay *r, int err, uint32_t step)
{
	struct op *op = r->queue;
	struct store_txn *t;
	uint64_t took_ns = clock_now_ns() - r->sent_ns;

	assert(r->in_flight && (r->telling || op != NULL));
	if (took_ns > LIMIT_REPLAY_CALL_MS * NS_PER_MS)
		log_warn("replay: %s of '%s' took %llu ms, what other hosts "
		    "do is shown late",
		    call_names[r->request.op], r->request.name,
		    (unsigned long long)(took_ns / NS_PER_MS));
	if (helper_stumbled(err))
		log_debug("replay: %s of '%s', step %u: %s",
		    call_names[r->request.op], r->request.name, step, strerror(-err));
	if (r->telling) {
		news_told(r, err);
		return;
	}
	tell_links(r);
	r->in_flight = false;
	metric_time(METRIC_replay_time, took_ns);
	metric_add(METRIC_replay_ops, 1);
	if (r->moved && moved_dir(&r->current))
		r->conf.dir_renamed(r->conf.arg);
	t = store_begin(engine_store(r->conf.engine), STORE_READ);
	tell_attributes(r, t);
	if (!r->expected) { /* a step towards something: the pump looks again */
		store_abort(t);
		return;
	}
	if (r->moved && err == -EINTR && op->born)
		push_content(r, &op->change);
	/* A helper that died between its open and its utimens has moved K, but
	 * woken nobody: content and attributes are told again. */
	if (r->moved && (err != -EINTR || r->current.kind < CHANGE_CONTENT))
		finish(r, t, op);
	else if (++op->tries >= OP_TRIES || err == 0)
		cross(r, t, op);
	store_abort(t);
}

/*
 * One step towards K == C, or a pause: where a local request is in the way the
 * helper would only spin.
 */
static void
reconcile(struct replay *r, struct store_txn *t, struct op *op)
{
	unsigned in_vain = r->n_in_vain + 1;

	r->n_in_vain = 0;
	switch (reconcile_step(r, t, op)) {
	case RECONCILE_EQUAL:
		pop(r, op);
		break;
	case RECONCILE_STEP:
		break;
	case RECONCILE_LATER:
		r->n_in_vain = in_vain;
		op->tries = 0;
		if (r->behind_rev == 0) /* else what it waits for may come */
			op->rounds++;
		op->rev = engine_rev(r->conf.engine) + 1;
		op->not_before_ns = clock_now_ns() +
		    RECONCILE_PAUSE_MS * NS_PER_MS;
		DL_DELETE(r->queue, op);
		DL_APPEND(r->queue, op);
		if (op->rounds % 100 == 99)
			log_warn("replay: '%s' in directory %llu cannot be "
				 "brought to what is committed",
			    op->change.name,
			    (unsigned long long)op->change.dir);
		break;
	}
}

/* The kernel has been told, or need not be: nothing more comes of it. */
static void
finish(struct replay *r, struct store_txn *t, struct op *op)
{
	metric_time(METRIC_replay_lag_time, clock_now_ns() - op->queued_ns);
	done_merging(r, op);
	kview_settle(r->conf.kview, t, &op->change);
	pop(r, op);
}

static void
done_merging(struct replay *r, const struct op *op)
{
	struct knode *node = kview_find(r->conf.kview, op->change.node);

	if (node != NULL && node->mergeable == op)
		node->mergeable = NULL;
}

/*
 * A local change has crossed this one.  What K should become now is not the
 * step recorded here but whatever C has: reconcile the names, and let the
 * kernel ask again for attributes that no replay will bring it.
 */
static void
cross(struct replay *r, struct store_txn *t, struct op *op)
{
	struct change *c = &op->change;
	bool two = c->name2[0] != '\0';

	metric_add(METRIC_replay_reconciled, 1);
	DL_DELETE(r->queue, op);
	r->n_queued--;
	done_merging(r, op);
	kview_settle(r->conf.kview, t, c);
	if (c->kind != CHANGE_CONTENT && c->kind != CHANGE_ATTR) {
		if (two)
			replay_push_reconcile(r, op->rev, c->dir2, c->name2,
			    false, true);
		replay_push_reconcile(r, op->rev, c->dir, c->name, false,
		    true);
	}
	uint64_t nodes[] = {c->node, c->node2, c->dir, c->dir2};
	for (unsigned i = 0; i < 4; i++)
		if (nodes[i] != 0 && kview_known(r->conf.kview, nodes[i]))
			r->conf.invalidate(r->conf.arg, nodes[i]);
	free(op);
}

/*
 * An inotify watch pins its inode, and a pinned inode is never forgotten: where
 * the kernel holds no reference nobody watches and nothing is cached; nor where
 * nobody but the helper has been.
 */
static bool
kernel_cares(struct replay *r, const struct change *c)
{
	struct kview *kv = r->conf.kview;

	return kview_reached(kv, c->dir) || kview_reached(kv, c->node) ||
	    kview_reached(kv, c->dir2) || kview_reached(kv, c->node2);
}

/* The oldest operation; those put off let the others pass. */
static struct op *
first(struct replay *r)
{
	struct op *op = r->queue;
	uint64_t now = 0;

	for (unsigned n = r->n_queued; n > 1; n--) {
		if (op->not_before_ns == 0)
			return op;
		if (now == 0)
			now = clock_now_ns();
		if (op->not_before_ns <= now)
			return op;
		DL_DELETE(r->queue, op);
		DL_APPEND(r->queue, op);
		op = r->queue;
	}
	return op;
}

static bool
put_off(const struct op *op)
{
	return op->not_before_ns != 0 && op->not_before_ns > clock_now_ns();
}

/* idle: nothing has come of any of them, though their time may have. */
static bool
delayed(struct replay *r, struct op *op, bool idle)
{
	int64_t ms = fault_get(FAULT_replay_delay_ms);
	uint64_t until = op->not_before_ns, now;

	if (ms > 0 && op->kind == OP_CHANGE)
		until = op->queued_ns + (uint64_t)ms * NS_PER_MS;
	if (until == 0 && !idle)
		return false;
	now = clock_now_ns();
	if (idle && now >= until)
		until = now + RECONCILE_PAUSE_MS * NS_PER_MS;
	if (now >= until)
		return false;
	r->n_in_vain = 0;
	uv_timer_start(&r->delay, on_delay, (until - now) / NS_PER_MS + 1, 0);
	return true;
}

static void
on_delay(uv_timer_t *timer)
{
	replay_pump(timer->data);
}

static void
cursor_update(struct replay *r)
{
	uint64_t to = replay_cursor(r);

	metric_set(METRIC_replay_queue, r->n_queued);
	metric_set(METRIC_replay_behind, kview_lagging(r->conf.kview));
	if (to == r->cursor)
		return;
	r->cursor = to;
	engine_report_replayed(r->conf.engine, r->cursor);
	r->conf.moved(r->conf.arg);
}

static void
pop(struct replay *r, struct op *op)
{
	DL_DELETE(r->queue, op);
	r->n_queued--;
	free(op);
}
