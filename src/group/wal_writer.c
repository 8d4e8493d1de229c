/*
 * wal_writer.c: the thread that makes requests durable, in order.
 *
 * It takes all that is queued, lays the records out behind each other in one
 * aligned buffer and writes that at once; meanwhile the next batch gathers.  A
 * request is never split over two segments: either all of it finds room or
 * nothing of it is written.
 */
#include "config.h"

#include "group/wal_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/metric.h"

/* A batch that passes this is written before more is added. */
#define BATCH_BYTES (4u << 20)
/* Memory kept between large batches. */
#define KEEP_BYTES (1u << 20)
/* Kept from entries in each segment: notes take half of it and never need a
 * new segment, drops and openings the rest before they need one. */
#define NOTE_ROOM ((size_t)WAL_BLOCK)

/* What one write makes durable. */
struct batch {
	struct wal_req *first, **end; /* answered when it is */
};

static bool wait_for_work(struct wal *, struct wal_req **ret);
static void write_all(struct wal *, struct wal_req *);
static int place_request(struct wal *, struct batch *, struct wal_req *);
static int make_room(struct wal *, struct batch *, size_t need, size_t spare);
static size_t request_size(const struct wal_req *);
static void place(struct wal *, struct wal_record *);
static void batch_flush(struct wal *, struct batch *);
static int block_write(struct wal *);
static void answer(struct wal *, struct wal_req *, int status);
static int roll(struct wal *, size_t need);
static int take_spare(struct wal *, size_t size, size_t *ret_size);
static void note(struct wal *);

void *
wal_writer_main(void *arg)
{
	struct wal *w = arg;
	struct wal_req *reqs;

	while (wait_for_work(w, &reqs)) {
		if (reqs != NULL)
			write_all(w, reqs);
		else
			note(w);
	}
	note(w);
	pthread_mutex_lock(&w->lock);
	w->finished = true;
	pthread_mutex_unlock(&w->lock);
	uv_async_send(&w->async);
	return NULL;
}

/* True with requests; true with NULL: idle for long enough for a note; false:
 * stop. */
static bool
wait_for_work(struct wal *w, struct wal_req **ret)
{
	struct timespec until;
	bool go_on = true, timed_out = false;

	*ret = NULL;
	pthread_mutex_lock(&w->lock);
	while (w->queue == NULL && !w->stop && !timed_out) {
		if (w->error != 0 ||
		    (!w->unvouched && w->commit <= w->written_commit)) {
			w->parked = true;
			pthread_cond_wait(&w->wake, &w->lock);
			w->parked = false;
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += (long)(w->idle_note_ms % 1000) * 1000000;
		until.tv_sec += w->idle_note_ms / 1000 +
		    until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		timed_out = pthread_cond_timedwait(&w->wake, &w->lock,
		    &until) == ETIMEDOUT;
	}
	if (w->queue != NULL) {
		*ret = w->queue;
		w->queue = NULL;
		w->queue_end = &w->queue;
	} else {
		go_on = !w->stop;
	}
	pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void
write_all(struct wal *w, struct wal_req *req)
{
	struct batch batch = {.end = &batch.first};
	struct wal_req *next;
	int err;

	for (; req != NULL; req = next) {
		next = req->next;
		req->next = NULL;
		err = w->error;
		if (err == 0)
			err = req->epoch <= w->refused ? -ENOSPC :
			    place_request(w, &batch, req);
		if (err == 0) {
			*batch.end = req;
			batch.end = &req->next;
			continue;
		}
		if (err == -ENOSPC)
			w->refused = req->epoch;
		else
			w->error = err;
		/* Answers keep the order of the requests. */
		batch_flush(w, &batch);
		answer(w, req, err);
		uv_async_send(&w->async);
	}
	batch_flush(w, &batch);
}

static int
place_request(struct wal *w, struct batch *batch, struct wal_req *req)
{
	struct wal_tail *t = &w->tail;
	struct wal_record rec = {.kind = (uint8_t)req->kind,
		.index = req->index};
	bool entries = req->kind == WAL_ENTRY;
	int err;

	err = make_room(w, batch, request_size(req), entries ? NOTE_ROOM : 0);
	if (err == -ENOSPC && !entries)
		err = -EIO; /* the log can't go on without it */
	if (err != 0)
		return err;
	if (!entries) {
		assert(req->kind == WAL_RESET || req->index <= t->next_index);
		place(w, &rec);
		t->next_index = req->index;
		return 0;
	}
	assert(req->index == t->next_index);
	for (size_t i = 0; i < req->n; i++) {
		rec.index = t->next_index++;
		rec.term = req->entries[i].term;
		rec.type = req->entries[i].type;
		rec.payload = req->entries[i].payload;
		place(w, &rec);
	}
	return 0;
}

static size_t
request_size(const struct wal_req *req)
{
	size_t size = 0;

	if (req->kind != WAL_ENTRY)
		return wal_record_size(0);
	for (size_t i = 0; i < req->n; i++)
		size += wal_record_size(req->entries[i].payload.len);
	return size;
}

/* Room in the segment (and to spare behind it) and in memory, writing out or
 * beginning what that takes. */
static int
make_room(struct wal *w, struct batch *batch, size_t need, size_t spare)
{
	struct wal_tail *t = &w->tail;
	size_t base = t->offset - t->offset % WAL_BLOCK;
	int err;

	if (base + w->fill + need + spare > t->size) {
		batch_flush(w, batch);
		err = w->error != 0 ? w->error : roll(w, need);
		if (err != 0)
			return err;
	} else if (w->fill + need > BATCH_BYTES && batch->first != NULL) {
		batch_flush(w, batch);
		if (w->error != 0)
			return w->error;
	}
	return wal_block_reserve(w, w->fill + need);
}

int
wal_block_reserve(struct wal *w, size_t len)
{
	size_t cap = (len + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
	uint8_t *block;

	if (cap <= w->block_cap)
		return 0;
	if (cap < KEEP_BYTES && cap < 2 * w->block_cap)
		cap = 2 * w->block_cap;
	block = aligned_alloc(WAL_BLOCK, cap);
	if (block == NULL)
		return -ENOMEM;
	if (w->fill > 0)
		memcpy(block, w->block, w->fill);
	free(w->block);
	w->block = block;
	w->block_cap = cap;
	return 0;
}

static void
place(struct wal *w, struct wal_record *rec)
{
	struct wal_tail *t = &w->tail;
	size_t base = t->offset - t->offset % WAL_BLOCK;
	size_t size = wal_record_size(rec->payload.len);

	assert(w->fill + size <= w->block_cap);
	assert(base + w->fill + size <= t->size);
	pthread_mutex_lock(&w->lock);
	rec->commit = w->commit;
	pthread_mutex_unlock(&w->lock);
	rec->pos = wal_pos(t->seq, base + w->fill);
	rec->durable = w->durable;
	rec->prev = t->chain;
	t->chain = wal_record_write(rec, w->block + w->fill);
	w->fill += size;
	w->written_commit = rec->commit;
	if (rec->kind != WAL_NOTE)
		w->unvouched = true;
}

static void
batch_flush(struct wal *w, struct batch *batch)
{
	struct wal_req *req, *next;
	int err;

	if (batch->first == NULL)
		return;
	err = w->error != 0 ? w->error : block_write(w);
	if (err != 0)
		w->error = err;
	for (req = batch->first; req != NULL; req = next) {
		next = req->next;
		req->next = NULL;
		answer(w, req, err);
	}
	batch->first = NULL;
	batch->end = &batch->first;
	uv_async_send(&w->async);
}

/* Makes the buffer durable and keeps the beginning of its last block. */
static int
block_write(struct wal *w)
{
	struct wal_tail *t = &w->tail;
	size_t base = t->offset - t->offset % WAL_BLOCK, rest;
	size_t len = (w->fill + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
	uint64_t begin_ns = clock_now_ns();
	int64_t delay_ms = fault_get(FAULT_wal_sync_delay_ms);
	int err;

	memset(w->block + w->fill, 0, len - w->fill);
	if (fault_take(FAULT_wal_write_eio))
		return -EIO;
	err = wal_file_write(t->fd, w->block, len, base);
	if (err != 0) /* no room in a zeroed file: a file system that copies */
		return err == -ENOSPC ? -EIO : err;
	if (delay_ms > 0)
		nanosleep(&(struct timespec){delay_ms / 1000,
			      delay_ms % 1000 * 1000000}, NULL);
	metric_time(METRIC_wal_write_time, clock_now_ns() - begin_ns);
	t->offset = base + w->fill;
	rest = t->offset % WAL_BLOCK;
	memmove(w->block, w->block + w->fill - rest, rest);
	w->fill = rest;
	pthread_mutex_lock(&w->lock);
	w->durable = wal_pos(t->seq, t->offset);
	w->n_writes++;
	w->n_bytes += len;
	pthread_mutex_unlock(&w->lock);
	if (w->block_cap > KEEP_BYTES) {
		uint8_t *block = aligned_alloc(WAL_BLOCK, KEEP_BYTES);

		if (block != NULL) {
			memcpy(block, w->block, rest);
			free(w->block);
			w->block = block;
			w->block_cap = KEEP_BYTES;
		}
	}
	return 0;
}

static void
answer(struct wal *w, struct wal_req *req, int status)
{
	req->status = status;
	pthread_mutex_lock(&w->lock);
	*w->done_end = req;
	w->done_end = &req->next;
	pthread_mutex_unlock(&w->lock);
}

/* Goes on in a new segment.  -ENOSPC leaves everything as it was. */
static int
roll(struct wal *w, size_t need)
{
	struct wal_tail *t = &w->tail;
	struct wal_segment *segments;
	size_t size = wal_next_size(w, need);
	int fd = t->fd, err;

	pthread_mutex_lock(&w->lock);
	segments = realloc(w->segments,
	    (w->n_segments + 1) * sizeof(*segments));
	if (segments != NULL)
		w->segments = segments;
	pthread_mutex_unlock(&w->lock);
	if (segments == NULL)
		return -ENOMEM;
	err = take_spare(w, need + WAL_BLOCK + NOTE_ROOM, &size);
	if (err == -ENOENT)
		err = wal_file_zero(w, "tmp-next", size);
	if (err != 0)
		return err;
	t->seq++;
	err = wal_segment_begin(w, "tmp-next", size);
	if (err != 0)
		return err == -ENOSPC ? -EIO : err; /* halfway: final */
	close(fd);
	pthread_mutex_lock(&w->lock);
	w->segments[w->n_segments++] = (struct wal_segment){.seq = t->seq,
		.first_index = t->next_index, .size = t->size};
	w->durable = wal_pos(t->seq, t->offset);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

/* Moves a large enough spare out of the way of those who make new ones. */
static int
take_spare(struct wal *w, size_t size, size_t *ret_size)
{
	char name[24];
	int err = -ENOENT;

	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < WAL_SPARES && err == -ENOENT; i++) {
		if (w->spares[i] < size)
			continue;
		wal_spare_name(i, name);
		err = 0;
		if (renameat(w->dir_fd, name, w->dir_fd, "tmp-next") != 0)
			err = -errno;
		else
			*ret_size = w->spares[i];
		w->spares[i] = 0;
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

size_t
wal_next_size(struct wal *w, size_t need)
{
	size_t size = WAL_FIRST_BYTES;

	pthread_mutex_lock(&w->lock);
	if (w->n_segments > 0)
		size = 4 * w->segments[w->n_segments - 1].size;
	pthread_mutex_unlock(&w->lock);
	if (size > w->segment_bytes)
		size = w->segment_bytes;
	need += WAL_BLOCK + NOTE_ROOM;
	if (size < need)
		size = need;
	return (size + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}

/* After a while without writes: keeps the commit index on disk, and vouches
 * for the last write. */
static void
note(struct wal *w)
{
	struct wal_record rec = {.kind = WAL_NOTE};
	size_t base = w->tail.offset - w->tail.offset % WAL_BLOCK;
	bool has_room = base + w->fill + NOTE_ROOM / 2 <= w->tail.size;
	int err = w->error;

	w->unvouched = false;
	if (err == 0 && has_room)
		err = wal_block_reserve(w, w->fill + wal_record_size(0));
	if (err == 0 && has_room) {
		place(w, &rec);
		err = block_write(w);
	}
	pthread_mutex_lock(&w->lock);
	w->written_commit = w->commit; /* without room: not asked again */
	pthread_mutex_unlock(&w->lock);
	w->error = err;
}

int
wal_write_record(struct wal *w, struct wal_record *rec)
{
	struct batch batch = {.end = &batch.first};
	int err = make_room(w, &batch, wal_record_size(rec->payload.len), 0);

	if (err != 0)
		return err;
	place(w, rec);
	return block_write(w);
}
