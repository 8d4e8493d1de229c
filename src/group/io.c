/*
 * io.c: our struct raft_io, the disk's half; io_peer.c is the other.
 *
 * The core asks for term and vote in two calls; they reach the disk in one
 * write, before anything that depends on them leaves this host (io_settle).
 * Appends that find no room on the disk are kept and tried again, in order:
 * the core sees a slow disk, and this host acts as if it were cut off.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metric.h"
#include "group/internal.h"

enum { WRITE_APPEND, WRITE_TRUNCATE };

struct io_write {
	STAILQ_ENTRY(io_write) link;
	struct group *group;
	struct wal_req req;
	int kind;
	bool queued;	  /* the log has it */
	uint64_t index;	  /* of the first entry; from where to truncate */
	struct raft_io_append *append; /* the core's; NULL: truncate */
	raft_io_append_cb cb;
	size_t n;
	struct wal_entry entries[];
};

static int raft_io_init(struct raft_io *, raft_id, const char *);
static void raft_io_close(struct raft_io *, raft_io_close_cb);
static int raft_io_load(struct raft_io *, raft_term *, raft_id *,
    struct raft_snapshot **, raft_index *, struct raft_entry *[], size_t *);
static int raft_io_start(struct raft_io *, unsigned, raft_io_tick_cb,
    raft_io_recv_cb);
static int raft_io_bootstrap(struct raft_io *,
    const struct raft_configuration *);
static int raft_io_recover(struct raft_io *, const struct raft_configuration *);
static int raft_io_set_term(struct raft_io *, raft_term);
static int raft_io_set_vote(struct raft_io *, raft_id);
static int raft_io_append(struct raft_io *, struct raft_io_append *,
    const struct raft_entry[], unsigned, raft_io_append_cb);
static int raft_io_truncate(struct raft_io *, raft_index);
static int raft_io_snapshot_put(struct raft_io *, unsigned,
    struct raft_io_snapshot_put *, const struct raft_snapshot *,
    raft_io_snapshot_put_cb);
static int raft_io_snapshot_get(struct raft_io *, struct raft_io_snapshot_get *,
    raft_io_snapshot_get_cb);
static raft_time raft_io_time(struct raft_io *);
static int raft_io_random(struct raft_io *, int, int);
#ifdef COMPAT_ASYNC_WORK
static int raft_io_async_work(struct raft_io *, struct raft_io_async_work *,
    raft_io_async_work_cb);
#endif

static int load_entry(void *, uint64_t, const struct wal_entry *);
static int loaded_add(struct io *, const struct wal_entry *);
static void write_queue(struct group *, struct io_write *);
static void writes_submit(struct group *);
static void write_submit(struct group *, struct io_write *);
static void write_done(struct wal_req *, int);

void
io_init(struct group *g)
{
	struct io *io = &g->io;

	io->raft_io = (struct raft_io){
	    .version = 2,
	    .impl = g,
	    .init = raft_io_init,
	    .close = raft_io_close,
	    .load = raft_io_load,
	    .start = raft_io_start,
	    .bootstrap = raft_io_bootstrap,
	    .recover = raft_io_recover,
	    .set_term = raft_io_set_term,
	    .set_vote = raft_io_set_vote,
	    .send = io_send,
	    .append = raft_io_append,
	    .truncate = raft_io_truncate,
	    .snapshot_put = raft_io_snapshot_put,
	    .snapshot_get = raft_io_snapshot_get,
	    .time = raft_io_time,
	    .random = raft_io_random,
	};
#ifdef COMPAT_ASYNC_WORK
	io->raft_io.async_work = raft_io_async_work;
#endif
	STAILQ_INIT(&io->writes);
	io_peer_init(g);
	io->clock_real_ns = clock_now_ns();
	io->clock_ms = io->clock_real_ns / NS_PER_MS;
}

void
io_fini(struct group *g)
{
	struct io_write *w;

	while ((w = STAILQ_FIRST(&g->io.writes)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.writes, link);
		free(w);
	}
	for (size_t i = 0; i < g->io.n_loaded; i++)
		raft_free(g->io.loaded[i].buf.base);
	raft_free(g->io.loaded);
	io_peer_fini(g);
}

/* ---- start ---- */

int
io_load(struct group *g, const struct wal_recovery *found, uint64_t upto)
{
	int err;

	g->io.term = found->term;
	g->io.vote = found->vote;
	g->io.last_index = found->last_index;
	g->io.known_commit = upto;
	err = wal_read_all(g->wal, load_entry, g);
	if (err == 0)
		fsm_flush(g);
	return err;
}

static int
load_entry(void *ctx, uint64_t index, const struct wal_entry *e)
{
	struct group *g = ctx;
	struct raft_entry *kept;
	int err;

	if (index != g->io.n_loaded + 1)
		return -EUCLEAN;
	err = loaded_add(&g->io, e);
	if (err != 0)
		return err;
	kept = &g->io.loaded[g->io.n_loaded - 1];
	/* What is applied keeps pointers into the entry until it is published:
	 * give it the copy that the core will own. */
	if (e->type == RAFT_COMMAND && index <= g->io.known_commit)
		fsm_entry(g, index, e->term,
		    slice_of(kept->buf.base, kept->buf.len));
	return 0;
}

static int
loaded_add(struct io *io, const struct wal_entry *e)
{
	struct raft_entry *kept;

	if (io->n_loaded == io->cap_loaded) {
		size_t cap = io->cap_loaded == 0 ? 64 : io->cap_loaded * 2;

		kept = raft_realloc(io->loaded, cap * sizeof(*kept));
		if (kept == NULL)
			return -ENOMEM;
		io->loaded = kept;
		io->cap_loaded = cap;
	}
	kept = &io->loaded[io->n_loaded];
	*kept = (struct raft_entry){.term = e->term, .type = e->type};
	kept->buf.base = raft_malloc(e->payload.len + 1);
	if (kept->buf.base == NULL)
		return -ENOMEM;
	memcpy(kept->buf.base, e->payload.ptr, e->payload.len);
	kept->buf.len = e->payload.len;
	io->n_loaded++;
	return 0;
}

static int
raft_io_init(struct raft_io *rio, raft_id id, const char *address)
{
	return 0;
}

static int
raft_io_load(struct raft_io *rio, raft_term *term, raft_id *vote,
    struct raft_snapshot **snapshot, raft_index *start,
    struct raft_entry *entries[], size_t *n)
{
	struct group *g = rio->impl;

	*term = g->io.term;
	*vote = g->io.vote;
	*snapshot = NULL;
	*start = 1;
	*entries = g->io.loaded; /* takes */
	*n = g->io.n_loaded;
	g->io.loaded = NULL;
	g->io.n_loaded = g->io.cap_loaded = 0;
	return 0;
}

/*
 * The store holds everything up to known_commit already: the core need not
 * hand it all to us again.
 */
static int
raft_io_start(struct raft_io *rio, unsigned msecs, raft_io_tick_cb tick,
    raft_io_recv_cb recv)
{
	struct group *g = rio->impl;

	g->io.tick = tick;
	g->io.recv = recv;
	if (g->io.known_commit > g->raft.commit_index) {
		g->raft.commit_index = g->io.known_commit;
		g->raft.last_applied = g->io.known_commit;
	}
	return 0;
}

static int
raft_io_bootstrap(struct raft_io *rio, const struct raft_configuration *conf)
{
	struct group *g = rio->impl;
	struct raft_buffer bytes;
	struct wal_entry e = {.term = 1, .type = RAFT_CHANGE};
	struct io_write *w;
	int rv;

	/* Every host writes the same first entry: a second try, after a crash
	 * before it was durable, does no harm, whatever the term is now. */
	if (wal_last_index(g->wal) != 0)
		return RAFT_CANTBOOTSTRAP;
	rv = raft_configuration_encode(conf, &bytes);
	if (rv != 0)
		return rv;
	e.payload = slice_of(bytes.base, bytes.len);
	if (loaded_add(&g->io, &e) != 0) {
		raft_free(bytes.base);
		return RAFT_NOMEM;
	}
	raft_free(bytes.base);
	w = calloc(1, sizeof(*w) + sizeof(e));
	if (w == NULL)
		return RAFT_NOMEM;
	w->kind = WRITE_APPEND;
	w->index = g->io.last_index = 1;
	w->n = 1;
	w->entries[0] = e;
	w->entries[0].payload = slice_of(g->io.loaded[0].buf.base,
	    g->io.loaded[0].buf.len);
	if (g->io.term == 0) {
		g->io.term = 1;
		g->io.unsettled = true;
		io_settle(g);
	}
	write_queue(g, w);
	return 0;
}

static int
raft_io_recover(struct raft_io *rio, const struct raft_configuration *conf)
{
	return RAFT_INVALID;
}

static void
raft_io_close(struct raft_io *rio, raft_io_close_cb cb)
{
	struct group *g = rio->impl;

	g->io.close = cb;
	group_wake(g);
}

/* From the end of a turn: nothing of the core is on its way any more. */
void
io_close_turn(struct group *g)
{
	struct io_write *w;
	raft_io_close_cb cb = g->io.close;

	if (cb == NULL || g->io.n_writes > 0)
		return;
	while ((w = STAILQ_FIRST(&g->io.writes)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.writes, link);
		if (w->append != NULL)
			w->cb(w->append, RAFT_CANCELED);
		free(w);
	}
	io_settle(g);
	g->io.close = NULL;
	cb(&g->io.raft_io);
}

/* ---- time ---- */

/*
 * A stalled loop would see its leader's heartbeats only after the timers: the
 * clock of the core advances by two heartbeats at most between two ticks.
 */
static raft_time
raft_io_time(struct raft_io *rio)
{
	struct group *g = rio->impl;
	uint64_t passed = (clock_now_ns() - g->io.clock_real_ns) / NS_PER_MS;

	if (passed > 2 * g->conf.heartbeat_ms)
		passed = 2 * g->conf.heartbeat_ms;
	return g->io.clock_ms + passed;
}

void
io_tick(struct group *g)
{
	g->io.clock_ms = raft_io_time(&g->io.raft_io);
	g->io.clock_real_ns = clock_now_ns();
	if (g->io.refused && g->io.n_writes == 0) {
		g->io.refused = false;
		writes_submit(g);
	}
	if (g->io.tick != NULL && !g->closing && !g->failed)
		g->io.tick(&g->io.raft_io);
}

static int
raft_io_random(struct raft_io *rio, int min, int max)
{
	unsigned r = 0;

	assert(min <= max);
	(void)uv_random(NULL, NULL, &r, sizeof(r), 0, NULL);
	return max == min ? min : min + (int)(r % (unsigned)(max - min));
}

/* ---- disk ---- */

static int
raft_io_set_term(struct raft_io *rio, raft_term term)
{
	struct group *g = rio->impl;

	g->io.term = term;
	g->io.vote = 0;
	g->io.unsettled = true;
	return 0;
}

static int
raft_io_set_vote(struct raft_io *rio, raft_id vote)
{
	struct group *g = rio->impl;

	g->io.vote = vote;
	g->io.unsettled = true;
	return 0;
}

void
io_settle(struct group *g)
{
	int err;

	if (!g->io.unsettled || g->failed)
		return;
	err = wal_set_term_vote(g->wal, g->io.term, g->io.vote);
	if (err != 0)
		group_fatal(g, "term and vote cannot be kept: %s",
		    strerror(-err));
	else
		g->io.unsettled = false;
}

static int
raft_io_append(struct raft_io *rio, struct raft_io_append *req,
    const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
	struct group *g = rio->impl;
	struct io_write *w;

	assert(n > 0);
	io_settle(g);
	w = malloc(sizeof(*w) + n * sizeof(w->entries[0]));
	if (w == NULL)
		return RAFT_NOMEM;
	*w = (struct io_write){.kind = WRITE_APPEND,
	    .append = req,
	    .cb = cb,
	    .index = g->io.last_index + 1,
	    .n = n};
	g->io.last_index += n;
	for (unsigned i = 0; i < n; i++) {
		w->entries[i] = (struct wal_entry){.term = entries[i].term,
		    .type = (uint8_t)entries[i].type,
		    .payload = slice_of(entries[i].buf.base,
			entries[i].buf.len)};
	}
	write_queue(g, w);
	return 0;
}

static int
raft_io_truncate(struct raft_io *rio, raft_index from)
{
	struct group *g = rio->impl;
	struct io_write *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return RAFT_NOMEM;
	io_settle(g);
	w->kind = WRITE_TRUNCATE;
	w->index = from;
	g->io.last_index = from - 1;
	write_queue(g, w);
	return 0;
}

static void
write_queue(struct group *g, struct io_write *w)
{
	w->group = g;
	w->req.done = write_done;
	w->req.ctx = w;
	STAILQ_INSERT_TAIL(&g->io.writes, w, link);
	writes_submit(g);
}

/*
 * In order, all that wait.  Entries may be refused for lack of room and come
 * again, but the log never refuses to truncate: it must not overtake them.
 */
static void
writes_submit(struct group *g)
{
	struct io_write *w;

	STAILQ_FOREACH(w, &g->io.writes, link) {
		if (w->queued)
			continue;
		if (g->io.refused || g->io.close != NULL ||
		    (w->kind == WRITE_TRUNCATE && g->io.n_writes > 0))
			return;
		write_submit(g, w);
	}
}

static void
write_submit(struct group *g, struct io_write *w)
{
	w->queued = true;
	g->io.n_writes++;
	g->n_written++;
	wal_note_commit(g->wal, g->raft.commit_index);
	if (w->kind == WRITE_TRUNCATE) {
		wal_truncate(g->wal, &w->req, w->index);
		return;
	}
	assert(w->index == wal_last_index(g->wal) + 1);
	wal_append(g->wal, &w->req, w->entries, w->n);
}

/*
 * Then nobody is served while the loop is not: it had better write itself than
 * wake a thread that does, and be woken again.
 */
bool
io_alone(struct group *g)
{
	struct io_write *w = STAILQ_FIRST(&g->io.writes);
	struct entry_reader e;

	if (g->io.n_writes != 1 || g->crowded || w->kind != WRITE_APPEND ||
	    w->n != 1 || g->forward.n_pending > 1 || g->forward.n_theirs > 0)
		return false;
	return w->entries[0].type != RAFT_COMMAND ||
	    (entry_open(w->entries[0].payload, &e) == 0 && e.header.n == 1);
}

static void
write_done(struct wal_req *req, int status)
{
	struct io_write *w = req->ctx;
	struct group *g = w->group;

	g->io.n_writes--;
	group_wake(g);
	if (status == -ENOSPC) {
		if (!g->io.refused)
			log_warn("group: no room for the log: refusing "
			    "changes until there is");
		g->io.refused = true;
		w->queued = false;
		return;
	}
	if (status != 0) {
		group_fatal(g, "the log cannot be written: %s",
		    strerror(-status));
		return;
	}
	assert(w == STAILQ_FIRST(&g->io.writes));
	STAILQ_REMOVE_HEAD(&g->io.writes, link);
	if (w->append != NULL && !g->failed)
		w->cb(w->append, 0);
	free(w);
	io_notice_deliver(g);
	writes_submit(g);
}

bool
io_full(struct group *g)
{
	return g->wal != NULL &&
	    (g->io.refused || wal_space_low(g->wal) ||
		store_room_low(g->store));
}

/* Checkpoints are not taken here; the whole log is kept. */
static int
raft_io_snapshot_put(struct raft_io *rio, unsigned trailing,
    struct raft_io_snapshot_put *req, const struct raft_snapshot *snapshot,
    raft_io_snapshot_put_cb cb)
{
	return RAFT_BUSY;
}

static int
raft_io_snapshot_get(struct raft_io *rio, struct raft_io_snapshot_get *req,
    raft_io_snapshot_get_cb cb)
{
	return RAFT_BUSY;
}

#ifdef COMPAT_ASYNC_WORK
static int
raft_io_async_work(struct raft_io *rio, struct raft_io_async_work *req,
    raft_io_async_work_cb cb)
{
	return RAFT_BUSY;
}
#endif
