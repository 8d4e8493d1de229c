/*
 * wal.c: the log's view of itself, and room for what comes.
 */
#include "config.h"

#include "group/wal_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define IDLE_NOTE_MS 50
#define SPACE_RETRY_MS 1000
#define RELEASE_MAX 64 /* segments at a time; the rest next time */

static int open_dir(struct wal *, const char *);
static void enqueue(struct wal *, struct wal_req *, enum wal_kind,
    uint64_t index);
static void refill(struct wal *);
static void refill_work(uv_work_t *);
static void refill_done(uv_work_t *, int);
static void refill_again(uv_timer_t *);
static void finish(struct wal *);
static void recycle(struct wal *, const struct wal_segment *);
static void handle_closed(uv_handle_t *);
static void wal_free(struct wal *);

int
wal_open(uv_loop_t *loop, const struct wal_conf *conf, struct wal **ret,
    struct wal_recovery *ret_info)
{
	struct wal *w = calloc(1, sizeof(*w));
	struct wal_recovery info = {0};
	int err;

	assert(conf->member != 0);
	if (w == NULL)
		return -ENOMEM;
	w->loop = loop;
	w->dir_fd = w->vote_fd = w->tail.fd = -1;
	memcpy(w->cluster, conf->cluster, sizeof(w->cluster));
	w->member = conf->member;
	w->segment_bytes = conf->segment_bytes != 0 ? conf->segment_bytes :
	    WAL_SEGMENT_BYTES;
	assert(w->segment_bytes % WAL_BLOCK == 0 &&
	    w->segment_bytes >= 4 * WAL_BLOCK);
	w->idle_note_ms = conf->idle_note_ms != 0 ? conf->idle_note_ms :
	    IDLE_NOTE_MS;
	STAILQ_INIT(&w->queue);
	STAILQ_INIT(&w->batch);
	STAILQ_INIT(&w->done);
	err = open_dir(w, conf->dir);
	if (err == 0)
		err = wal_block_reserve(w, WAL_BLOCK);
	if (err == 0)
		err = wal_recover(w, &info);
	*ret_info = info;
	if (err != 0) {
		wal_free(w);
		return err;
	}
	wal_writer_open(w);
	uv_timer_init(loop, &w->retry);
	w->retry.data = w->work.data = w;
	w->n_handles = 4;
	refill(w);
	*ret = w;
	return 0;
}

/* Only one process may use a log. */
static int
open_dir(struct wal *w, const char *dir)
{
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return -errno;
	w->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir_fd < 0)
		return -errno;
	if (flock(w->dir_fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

void
wal_stop(struct wal *w, void (*cb)(void *ctx), void *ctx)
{
	if (w == NULL) {
		if (cb != NULL)
			cb(ctx);
		return;
	}
	assert(!w->stopping);
	w->stopping = true;
	w->stopped = cb;
	w->stopped_ctx = ctx;
	finish(w);
}

void
wal_append(struct wal *w, struct wal_req *req, const struct wal_entry *entries,
    size_t n)
{
	uint64_t index = w->last_index + 1;

	assert(n > 0);
	free(w->places); /* too late for wal_read_all() */
	w->places = NULL;
	req->entries = entries;
	req->n = n;
	for (size_t i = 0; i < n; i++) {
		int err = wal_terms_add(&w->terms, index + i, entries[i].term);

		assert(err == 0); /* 16 bytes per term */
	}
	w->last_index += n;
	enqueue(w, req, WAL_ENTRY, index);
}

void
wal_truncate(struct wal *w, struct wal_req *req, uint64_t from)
{
	assert(from > 0 && from <= w->last_index + 1);
	wal_terms_cut(&w->terms, from);
	w->last_index = from - 1;
	if (from < w->first_index)
		w->first_index = from;
	enqueue(w, req, WAL_TRUNCATE, from);
}

void
wal_reset(struct wal *w, struct wal_req *req, uint64_t next_index)
{
	assert(next_index > 0);
	wal_terms_cut(&w->terms, 0);
	w->first_index = next_index;
	w->last_index = next_index - 1;
	enqueue(w, req, WAL_RESET, next_index);
}

static void
enqueue(struct wal *w, struct wal_req *req, enum wal_kind kind, uint64_t index)
{
	assert(!w->stopping && req->done != NULL);
	req->kind = kind;
	req->index = index;
	STAILQ_INSERT_TAIL(&w->queue, req, link);
}

/* The view after a request. */
void
wal_settle(struct wal *w, struct wal_req *req)
{
	int err = 0;

	if (req->kind == WAL_ENTRY) {
		for (size_t i = 0; err == 0 && i < req->n; i++)
			err = wal_terms_add(&w->durable_terms, req->index + i,
			    req->entries[i].term);
		w->durable_index = req->index + req->n - 1;
	} else if (req->kind == WAL_RESET) {
		wal_terms_cut(&w->durable_terms, 0);
		w->durable_first = req->index;
		w->durable_index = req->index - 1;
	} else if (req->index <= w->durable_index) {
		wal_terms_cut(&w->durable_terms, req->index);
		if (req->index < w->durable_first)
			w->durable_first = req->index;
		w->durable_index = req->index - 1;
	}
	assert(err == 0);
}

void
wal_view_reset(struct wal *w)
{
	int err = wal_terms_copy(&w->terms, &w->durable_terms);

	assert(err == 0);
	w->first_index = w->durable_first;
	w->last_index = w->durable_index;
}

void
wal_went_on(struct wal *w)
{
	wal_writer_note_later(w);
	if (w->stopping)
		finish(w);
	else
		refill(w);
}

/* Keeps zeroed files ready, one at a time, in the pool. */
static void
refill(struct wal *w)
{
	unsigned i;

	if (w->working || w->stopping || w->doing == WAL_ROLLING ||
	    uv_is_active((uv_handle_t *)&w->retry))
		return;
	for (i = 0; i < WAL_SPARES && w->spares[i] != 0; i++)
		;
	if (i == WAL_SPARES) {
		w->space_low = false;
		return;
	}
	w->work_idx = i;
	w->work_bytes = wal_next_size(w, 0);
	w->working = uv_queue_work(w->loop, &w->work, refill_work,
	    refill_done) == 0;
}

size_t
wal_next_size(struct wal *w, size_t need)
{
	size_t size = WAL_FIRST_BYTES;

	if (w->n_segments > 0)
		size = 4 * w->segments[w->n_segments - 1].size;
	if (size > w->segment_bytes)
		size = w->segment_bytes;
	need += 2 * WAL_BLOCK;
	if (size < need)
		size = need;
	return (size + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}

static void
refill_work(uv_work_t *work)
{
	struct wal *w = work->data;

	w->work_status = wal_spare_make(w, w->work_idx, w->work_bytes);
}

static void
refill_done(uv_work_t *work, int status)
{
	struct wal *w = work->data;

	w->working = false;
	if (w->work_status == 0) {
		w->spares[w->work_idx] = w->work_bytes;
	} else if (!w->space_low) {
		w->space_low = true;
		log_error("group: log: no room for the next segment: %s",
		    strerror(-w->work_status));
	}
	if (w->stopping) {
		finish(w);
		return;
	}
	if (w->work_status != 0)
		uv_timer_start(&w->retry, refill_again, SPACE_RETRY_MS, 0);
	else
		refill(w);
}

static void
refill_again(uv_timer_t *timer)
{
	refill(timer->data);
}

/* Once nothing is queued or under way any more. */
static void
finish(struct wal *w)
{
	if (w->doing != WAL_IDLE || !STAILQ_EMPTY(&w->queue) ||
	    !STAILQ_EMPTY(&w->done) || w->working ||
	    uv_is_closing((uv_handle_t *)&w->prepare))
		return;
	wal_writer_close(w);
	if (w->error == 0) {
		w->slot.durable = w->durable;
		w->slot.commit = w->commit;
		w->error = wal_slot_save(w);
	}
	uv_close((uv_handle_t *)&w->prepare, handle_closed);
	uv_close((uv_handle_t *)&w->note, handle_closed);
	uv_close((uv_handle_t *)&w->delay, handle_closed);
	uv_close((uv_handle_t *)&w->retry, handle_closed);
}

static void
handle_closed(uv_handle_t *h)
{
	struct wal *w = h->data;
	void (*stopped)(void *) = w->stopped;
	void *ctx = w->stopped_ctx;

	if (--w->n_handles > 0)
		return;
	wal_free(w);
	if (stopped != NULL)
		stopped(ctx);
}

static void
wal_free(struct wal *w)
{
	int fds[] = {w->tail.fd, w->vote_fd, w->dir_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(w->terms.runs);
	free(w->durable_terms.runs);
	free(w->places);
	free(w->segments);
	free(w->block);
	free(w);
}

void
wal_note_commit(struct wal *w, uint64_t index)
{
	if (index <= w->commit)
		return;
	w->commit = index;
	wal_writer_note_later(w);
}

/*
 * Segments whose successor began at or before upto + 1 hold nothing that a
 * checkpoint lacks.  The vote file says so before they go: one that is missing
 * without that is damage.
 */
void
wal_release(struct wal *w, uint64_t upto)
{
	struct wal_segment gone[RELEASE_MAX];
	size_t n = 0;

	while (n < RELEASE_MAX && n + 1 < w->n_segments &&
	    w->segments[n + 1].first_index <= upto + 1) {
		gone[n] = w->segments[n];
		n++;
	}
	w->n_segments -= n;
	memmove(w->segments, w->segments + n,
	    w->n_segments * sizeof(*w->segments));
	if (n > 0 && w->segments[0].first_index > w->first_index)
		w->first_index = w->durable_first = w->segments[0].first_index;
	if (n == 0)
		return;
	w->slot.first_seq = gone[n - 1].seq + 1;
	if (wal_slot_save(w) != 0)
		return; /* they stay until the next start */
	for (size_t i = 0; i < n; i++)
		recycle(w, &gone[i]);
}

/* A full-sized file becomes a spare where one is missing: what is in it can't
 * continue the chain of its next life. */
static void
recycle(struct wal *w, const struct wal_segment *s)
{
	char name[24], spare[24];
	unsigned i;

	wal_segment_name(s->seq, name);
	for (i = 0; i < WAL_SPARES; i++) {
		if (w->spares[i] == 0 && !(w->working && w->work_idx == i) &&
		    !(w->doing == WAL_ROLLING && w->roll_spare == (int)i))
			break;
	}
	wal_spare_name(i, spare);
	if (s->size == w->segment_bytes && i < WAL_SPARES &&
	    renameat(w->dir_fd, name, w->dir_fd, spare) == 0)
		w->spares[i] = s->size;
	else if (unlinkat(w->dir_fd, name, 0) != 0)
		log_warn("group: log: %s: cannot be removed: %s", name,
		    strerror(errno));
}

int
wal_set_term_vote(struct wal *w, uint64_t term, uint64_t vote)
{
	assert(term >= w->slot.term);
	w->slot.term = term;
	w->slot.vote = vote;
	w->slot.durable = w->durable;
	w->slot.commit = w->commit;
	return wal_slot_save(w);
}

uint64_t
wal_first_index(const struct wal *w)
{
	return w->first_index;
}

uint64_t
wal_last_index(const struct wal *w)
{
	return w->last_index;
}

bool
wal_space_low(const struct wal *w)
{
	return w->space_low;
}

uint64_t
wal_term_of(const struct wal *w, uint64_t index)
{
	if (index < w->first_index || index > w->last_index)
		return 0;
	return wal_terms_find(&w->terms, index);
}
