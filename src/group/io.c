/*
 * io.c: our struct raft_io, between the core and its disk and its peers.
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

struct io_sent {
	STAILQ_ENTRY(io_sent) link;
	struct raft_io_send *req;
	raft_io_send_cb cb;
	int status;
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
static int raft_io_send(struct raft_io *, struct raft_io_send *,
    const struct raft_message *, raft_io_send_cb);
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
static int raft_io_async_work(struct raft_io *, struct raft_io_async_work *,
    raft_io_async_work_cb);

static int load_entry(void *, uint64_t, const struct wal_entry *);
static int loaded_add(struct io *, const struct wal_entry *);
static void write_queue(struct group *, struct io_write *);
static void writes_submit(struct group *);
static void write_submit(struct group *, struct io_write *);
static void write_done(struct wal_req *, int);
static int send_message(struct group *, struct member *,
    const struct raft_message *);
static int send_append(struct group *, struct member *,
    const struct raft_append_entries *);
static void recv_message(struct group *, struct member *,
    struct raft_message *);
static void recv_append(struct group *, struct member *, struct reader *);
static int read_entries(struct reader *, struct raft_append_entries *);
static void notice_keep(struct group *, struct member *, uint64_t term,
    uint64_t index, uint64_t index_term);
static void notice_deliver(struct group *);

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
	    .send = raft_io_send,
	    .append = raft_io_append,
	    .truncate = raft_io_truncate,
	    .snapshot_put = raft_io_snapshot_put,
	    .snapshot_get = raft_io_snapshot_get,
	    .time = raft_io_time,
	    .random = raft_io_random,
	    .async_work = raft_io_async_work,
	};
	STAILQ_INIT(&io->writes);
	STAILQ_INIT(&io->sent);
	STAILQ_INIT(&io->idle_sends);
	buf_init(&io->frame, LIMIT_FRAME);
	io->clock_real_ns = clock_now_ns();
	io->clock_ms = io->clock_real_ns / NS_PER_MS;
}

void
io_fini(struct group *g)
{
	struct io_sent *s;
	struct io_write *w;

	while ((w = STAILQ_FIRST(&g->io.writes)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.writes, link);
		free(w);
	}
	STAILQ_CONCAT(&g->io.idle_sends, &g->io.sent);
	while ((s = STAILQ_FIRST(&g->io.idle_sends)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.idle_sends, link);
		free(s);
	}
	for (size_t i = 0; i < g->io.n_loaded; i++)
		raft_free(g->io.loaded[i].buf.base);
	raft_free(g->io.loaded);
	buf_fini(&g->io.frame);
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
	wal_note_commit(g->wal, g->raft.commit_index);
	if (w->kind == WRITE_TRUNCATE) {
		wal_truncate(g->wal, &w->req, w->index);
		return;
	}
	assert(w->index == wal_last_index(g->wal) + 1);
	wal_append(g->wal, &w->req, w->entries, w->n);
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
	notice_deliver(g);
	writes_submit(g);
}

bool
io_full(struct group *g)
{
	return g->wal != NULL &&
	    (g->io.refused || wal_space_low(g->wal));
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

static int
raft_io_async_work(struct raft_io *rio, struct raft_io_async_work *req,
    raft_io_async_work_cb cb)
{
	return RAFT_BUSY;
}

/* ---- to the peers ---- */

static int
raft_io_send(struct raft_io *rio, struct raft_io_send *req,
    const struct raft_message *msg, raft_io_send_cb cb)
{
	struct group *g = rio->impl;
	struct member *m = member_find(g, msg->server_id);
	struct io_sent *s;
	int err = 0;

	s = STAILQ_FIRST(&g->io.idle_sends);
	if (s != NULL)
		STAILQ_REMOVE_HEAD(&g->io.idle_sends, link);
	else if ((s = malloc(sizeof(*s))) == NULL)
		return RAFT_NOMEM;
	io_settle(g);
	if (m == NULL || m->self || g->failed)
		err = -ENOTCONN;
	else if (!g->io.swallow || msg->type != COMPAT_APPEND_ENTRIES_RESULT)
		err = send_message(g, m, msg);
	*s = (struct io_sent){.req = req,
	    .cb = cb,
	    .status = err == 0 ? 0 : RAFT_NOCONNECTION};
	STAILQ_INSERT_TAIL(&g->io.sent, s, link);
	return 0;
}

/* Callbacks of sends must not run inside send(): they run here. */
void
io_complete_sends(struct group *g)
{
	struct io_sent *s;

	while ((s = STAILQ_FIRST(&g->io.sent)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->io.sent, link);
		if (s->cb != NULL)
			s->cb(s->req, s->status);
		STAILQ_INSERT_HEAD(&g->io.idle_sends, s, link);
	}
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		if (m->cut != 0)
			compat_progress_cut(&g->raft, m->conf.id, m->cut);
		m->cut = 0;
	}
}

static int
send_message(struct group *g, struct member *m, const struct raft_message *msg)
{
	struct buf *b = &g->io.frame;

	switch (msg->type) {
	case COMPAT_APPEND_ENTRIES:
		return send_append(g, m, &msg->append_entries);
	case COMPAT_APPEND_ENTRIES_RESULT:
		frame_begin(g, b);
		buf_u64(b, msg->append_entries_result.term);
		buf_u64(b, msg->append_entries_result.rejected);
		buf_u64(b, msg->append_entries_result.last_log_index);
		return frame_send(g, m, FRAME_APPEND_RESULT, b);
	case COMPAT_REQUEST_VOTE:
		metric_add(METRIC_elections, 1);
		frame_begin(g, b);
		buf_u64(b, msg->request_vote.term);
		buf_u64(b, msg->request_vote.candidate_id);
		buf_u64(b, msg->request_vote.last_log_index);
		buf_u64(b, msg->request_vote.last_log_term);
		buf_u8(b, msg->request_vote.disrupt_leader);
		buf_u8(b, msg->request_vote.pre_vote);
		return frame_send(g, m, FRAME_VOTE, b);
	case COMPAT_REQUEST_VOTE_RESULT:
		frame_begin(g, b);
		buf_u64(b, msg->request_vote_result.term);
		buf_u8(b, msg->request_vote_result.vote_granted);
		buf_u8(b, (uint8_t)msg->request_vote_result.pre_vote);
		return frame_send(g, m, FRAME_VOTE_RESULT, b);
	case COMPAT_TIMEOUT_NOW:
		frame_begin(g, b);
		buf_u64(b, msg->timeout_now.term);
		buf_u64(b, msg->timeout_now.last_log_index);
		buf_u64(b, msg->timeout_now.last_log_term);
		return frame_send(g, m, FRAME_TIMEOUT_NOW, b);
	default:
		return -ENOTSUP;
	}
}

/*
 * The core sends all that a follower lacks in one message: we send frames of
 * bounded size, no more than fits a window, and turn the core's next index back
 * to where we stopped (io_complete_sends); answers make it go on from there.
 */
static int
send_append(struct group *g, struct member *m,
    const struct raft_append_entries *args)
{
	struct buf *b = &g->io.frame;
	size_t queued = net_queued(g->net, m->conf.id, NET_SMALL);
	size_t window = compat_can_cut
	    ? queued < APPEND_WINDOW_BYTES ? APPEND_WINDOW_BYTES - queued : 0
	    : SIZE_MAX;
	raft_index prev = args->prev_log_index;
	raft_term prev_term = args->prev_log_term;
	unsigned i = 0, first;
	int err;

	if (m->cut != 0 && prev >= m->cut)
		return 0;
	if (compat_progress_probing(&g->raft, m->conf.id) &&
	    window > APPEND_FRAME_BYTES)
		window = APPEND_FRAME_BYTES;
	do {
		size_t offset;

		frame_begin(g, b);
		buf_u64(b, args->term);
		buf_u64(b, prev);
		buf_u64(b, prev_term);
		buf_u64(b, args->leader_commit);
		buf_u64(b, guard_term_of(&g->guard, args->leader_commit));
		offset = b->len;
		buf_u32(b, 0);
		for (first = i; i < args->n_entries; i++) {
			const struct raft_entry *e = &args->entries[i];

			if (window < e->buf.len && (i > 0 || queued > 0))
				break;
			if (i > first &&
			    b->len + e->buf.len > APPEND_FRAME_BYTES)
				break;
			buf_u64(b, e->term);
			buf_u8(b, (uint8_t)e->type);
			buf_slice32(b, slice_of(e->buf.base, e->buf.len));
			window -= window < e->buf.len ? window : e->buf.len;
			prev_term = e->term;
		}
		if (i == first && first > 0)
			break; /* the window is full */
		buf_put_u32_at(b, offset, i - first);
		err = frame_send(g, m, FRAME_APPEND, b);
		if (err != 0)
			return err;
		prev = args->prev_log_index + i;
	} while (i < args->n_entries && i > first);
	m->noticed = args->leader_commit;
	if (i < args->n_entries)
		m->cut = args->prev_log_index + 1 + i;
	return 0;
}

/*
 * libraft tells followers what is committed with its next message, perhaps a
 * heartbeat later; whoever waits there for its own command wants it now.
 */
void
io_notice(struct group *g)
{
	struct buf *b = &g->io.frame;
	raft_index commit = g->raft.commit_index;

	if (!g->started || g->raft.state != RAFT_LEADER)
		return;
	for (unsigned i = 0; i < g->n_members; i++) {
		struct member *m = &g->members[i];

		if (m->self || !m->up || m->noticed >= commit)
			continue;
		frame_begin(g, b);
		buf_u64(b, g->raft.current_term);
		buf_u64(b, commit);
		buf_u64(b, guard_term_of(&g->guard, commit));
		if (frame_send(g, m, FRAME_COMMIT, b) == 0)
			m->noticed = commit;
	}
}

/* ---- from the peers ---- */

void
io_frame(struct group *g, struct member *m, enum group_frame type,
    struct reader *r)
{
	struct raft_message msg = {.server_id = m->conf.id,
	    .server_address = m->conf.address};
	uint64_t term, index, index_term;

	switch (type) {
	case FRAME_APPEND:
		recv_append(g, m, r);
		return;
	case FRAME_COMMIT:
		term = reader_u64(r);
		index = reader_u64(r);
		index_term = reader_u64(r);
		if (reader_done(r))
			notice_keep(g, m, term, index, index_term);
		notice_deliver(g);
		return;
	case FRAME_APPEND_RESULT:
		msg.type = COMPAT_APPEND_ENTRIES_RESULT;
		msg.append_entries_result.term = reader_u64(r);
		msg.append_entries_result.rejected = reader_u64(r);
		msg.append_entries_result.last_log_index = reader_u64(r);
		break;
	case FRAME_VOTE:
		msg.type = COMPAT_REQUEST_VOTE;
		msg.request_vote.term = reader_u64(r);
		msg.request_vote.candidate_id = reader_u64(r);
		msg.request_vote.last_log_index = reader_u64(r);
		msg.request_vote.last_log_term = reader_u64(r);
		msg.request_vote.disrupt_leader = reader_u8(r) != 0;
		msg.request_vote.pre_vote = reader_u8(r) != 0;
		if (msg.request_vote.candidate_id != m->conf.id)
			return;
		break;
	case FRAME_VOTE_RESULT:
		msg.type = COMPAT_REQUEST_VOTE_RESULT;
		msg.request_vote_result.term = reader_u64(r);
		msg.request_vote_result.vote_granted = reader_u8(r) != 0;
		msg.request_vote_result.pre_vote = reader_u8(r) % 3;
		break;
	case FRAME_TIMEOUT_NOW:
		msg.type = COMPAT_TIMEOUT_NOW;
		msg.timeout_now.term = reader_u64(r);
		msg.timeout_now.last_log_index = reader_u64(r);
		msg.timeout_now.last_log_term = reader_u64(r);
		if (io_full(g))
			return;
		break;
	default:
		return;
	}
	if (reader_done(r))
		recv_message(g, m, &msg);
}

static void
recv_message(struct group *g, struct member *m, struct raft_message *msg)
{
	if (!g->started || g->failed || g->closing)
		return;
	g->io.recv(&g->io.raft_io, msg);
	group_wake(g);
}

static void
recv_append(struct group *g, struct member *m, struct reader *r)
{
	struct raft_message msg = {.type = COMPAT_APPEND_ENTRIES,
	    .server_id = m->conf.id,
	    .server_address = m->conf.address};
	struct raft_append_entries *args = &msg.append_entries;
	uint64_t commit_term;

	args->term = reader_u64(r);
	args->prev_log_index = reader_u64(r);
	args->prev_log_term = reader_u64(r);
	args->leader_commit = reader_u64(r);
	commit_term = reader_u64(r);
	args->n_entries = reader_u32(r);
	if (!reader_ok(r) || !g->started || g->failed || g->closing)
		return;
	if (args->n_entries > 0 && io_full(g))
		return; /* as if cut off, until there is room */
	if (read_entries(r, args) != 0)
		return;
	notice_keep(g, m, args->term, args->leader_commit, commit_term);
	recv_message(g, m, &msg);
	notice_deliver(g);
}

/* All payloads of a message share one batch: libraft frees them as one. */
static int
read_entries(struct reader *r, struct raft_append_entries *args)
{
	struct reader sizes = *r;
	size_t total = 0;
	uint8_t *batch;
	unsigned n = args->n_entries;

	args->entries = NULL;
	for (unsigned i = 0; i < n && reader_ok(&sizes); i++) {
		struct slice payload;

		(void)reader_u64(&sizes);
		(void)reader_u8(&sizes);
		payload = reader_slice32(&sizes, LIMIT_FRAME);
		if (payload.len == 0 || payload.len % 8 != 0)
			return -EBADMSG;
		total += payload.len;
	}
	if (!reader_done(&sizes))
		return -EBADMSG;
	if (n == 0)
		return 0;
	args->entries = raft_calloc(n, sizeof(*args->entries));
	batch = raft_malloc(total);
	if (args->entries == NULL || batch == NULL) {
		raft_free(args->entries);
		raft_free(batch);
		return -ENOMEM;
	}
	total = 0;
	for (unsigned i = 0; i < n; i++) {
		struct raft_entry *e = &args->entries[i];
		struct slice payload;

		e->term = reader_u64(r);
		e->type = reader_u8(r);
		payload = reader_slice32(r, LIMIT_FRAME);
		e->batch = batch;
		e->buf.base = batch + total;
		e->buf.len = payload.len;
		memcpy(e->buf.base, payload.ptr, payload.len);
		total += payload.len;
	}
	return 0;
}

/* ---- notices of commits ---- */

static void
notice_keep(struct group *g, struct member *m, uint64_t term, uint64_t index,
    uint64_t index_term)
{
	struct io *io = &g->io;

	if (index_term == 0 || term < io->notice_term ||
	    (term == io->notice_term && index <= io->notice_index))
		return;
	io->notice_from = m->conf.id;
	io->notice_term = term;
	io->notice_index = index;
	io->notice_index_term = index_term;
}

/*
 * A notice is an empty AppendEntries whose previous entry is the committed one
 * itself: where our log holds that entry with that term, it equals the
 * leader's up to there (log matching), so all of it is committed.  Told to the
 * core only when that is on our disk, and its answer is not sent: the leader
 * learns nothing from it.
 */
static void
notice_deliver(struct group *g)
{
	struct io *io = &g->io;
	struct raft *r = &g->raft;
	struct raft_message msg = {.type = COMPAT_APPEND_ENTRIES};
	struct member *m;

	if (!g->started || g->failed || g->closing ||
	    r->state != RAFT_FOLLOWER || io->notice_term != r->current_term ||
	    io->notice_index <= r->commit_index ||
	    io->notice_index > compat_last_stored(r) ||
	    guard_term_of(&g->guard, io->notice_index) !=
		io->notice_index_term)
		return;
	m = member_find(g, io->notice_from);
	msg.server_id = m->conf.id;
	msg.server_address = m->conf.address;
	msg.append_entries.term = io->notice_term;
	msg.append_entries.prev_log_index = io->notice_index;
	msg.append_entries.prev_log_term = io->notice_index_term;
	msg.append_entries.leader_commit = io->notice_index;
	io->swallow = true;
	recv_message(g, m, &msg);
	io->swallow = false;
}

/*
 * The kernel closes the connections of a process that dies: no need to wait
 * for an election timeout.  Those who saw it stand one after the other, the
 * first at once; the pre-vote keeps a leader that lives.
 */
void
io_peer_down(struct group *g, struct member *m, int err)
{
	unsigned rank = 0;

	if (!g->started || g->closing || m != group_leader(g) ||
	    (err != -ECONNRESET && err != -EPIPE && err != -ECONNREFUSED))
		return;
	for (unsigned i = 0; i < g->n_members; i++) {
		if (!g->members[i].self && &g->members[i] != m &&
		    g->members[i].conf.id < g->conf.self &&
		    member_is_alive(g, &g->members[i]))
			rank++;
	}
	compat_forget_leader(&g->raft, rank * 2 * g->conf.heartbeat_ms);
	g->io.tick_soon = rank == 0;
}
