/*
 * wal_internal.h: the parts of the log, to each other.
 *
 * wal.c is what others call and the room for what comes, wal_writer.c how
 * requests become durable, wal_recover.c what happens before there are any,
 * wal_file.c the files and the vote.
 */
#ifndef GROUP_WAL_INTERNAL_H
#define GROUP_WAL_INTERNAL_H

#include "group/wal.h"
#include "group/wal_format.h"

#define WAL_SEGMENT_BYTES (8u << 20)
#define WAL_FIRST_BYTES (256u << 10) /* the first one: start-up stays light */
/* Zeroed files kept ready: the next segment, and the last one before a full
 * disk hurts. */
#define WAL_SPARES 2

struct wal_segment {
	uint64_t seq;
	uint64_t first_index; /* next index when it began */
	size_t size;	      /* of the file */
};

/* Entries from `first` up to the next run, or the last index. */
struct wal_run {
	uint64_t first;
	uint64_t term;
};

/* The terms of all entries. */
struct wal_terms {
	struct wal_run *runs; /* owned, by index */
	size_t n, cap;
};

/* The open segment.  The pool's, while it rolls. */
struct wal_tail {
	int fd;
	uint64_t seq;
	size_t size;	     /* of the file */
	size_t offset;	     /* of the next record */
	uint64_t chain;	     /* checksum of the last one */
	uint64_t next_index; /* of the next entry */
};

/* One at a time; nothing else touches the tail meanwhile. */
enum wal_doing {
	WAL_IDLE,
	WAL_WRITING, /* the block goes to the disk */
	WAL_ROLLING, /* the next segment is begun */
};

STAILQ_HEAD(wal_list, wal_req);

struct wal {
	uv_loop_t *loop;
	int dir_fd;
	uint8_t cluster[16];
	uint64_t member;
	size_t segment_bytes;
	unsigned idle_note_ms;

	/* The view: with everything queued, and with what was answered with
	 * success, to which a refused append takes it back. */
	struct wal_terms terms, durable_terms;
	uint64_t first_index, durable_first;
	uint64_t last_index, durable_index;
	uint64_t *places;     /* positions of entries, until they were read */
	struct wal_slot slot; /* as written last */
	int vote_fd;
	struct wal_segment *segments; /* all there are, oldest first */
	size_t n_segments;

	/* Room for what comes: wal.c. */
	size_t spares[WAL_SPARES]; /* sizes of spare-N; 0: none */
	uv_timer_t retry;     /* asks for space again */
	uv_work_t work;	      /* makes one spare */
	bool working;	      /* the pool has it */
	unsigned work_idx;    /* which spare */
	size_t work_bytes;    /* how large */
	int work_status;      /* what came of it */
	bool space_low;

	/* What is to become durable: wal_writer.c. */
	enum wal_doing doing;
	struct wal_list queue; /* not begun */
	struct wal_list batch; /* in the write under way */
	struct wal_list done;  /* durable, to be answered */
	struct wal_tail tail;
	uint8_t *block;	    /* aligned; begins with the tail's last block */
	size_t block_cap;
	size_t fill;	    /* bytes used of it */
	uint64_t commit;    /* for the next record */
	uint64_t written_commit; /* commit index of the last record */
	uint64_t durable;   /* position: all before it is */
	bool unvouched;	    /* the last write was not only a note */
	int error;	    /* final */
	uv_work_t io;	    /* what it is doing */
	int status;	    /* and what came of it */
	uint64_t begin_ns;  /* of the write: clock_now_ns() */
	bool quick;	    /* the last one was */
	uv_prepare_t prepare; /* begins what a loop turn has queued */
	uv_timer_t note;    /* nothing was written for a while */
	uv_timer_t delay;   /* fault point wal_sync_delay_ms */
	int roll_spare;	    /* which is the next segment; -1: a new file */
	size_t roll_bytes;  /* its size */

	bool stopping;
	unsigned n_handles; /* not yet closed */
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};

/* wal_terms.c: which terms entries have; -ENOMEM is all that can fail. */
int wal_terms_add(struct wal_terms *, uint64_t index, uint64_t term);
void wal_terms_cut(struct wal_terms *, uint64_t from); /* all >= from */
int wal_terms_copy(struct wal_terms *, const struct wal_terms *from);
uint64_t wal_terms_find(const struct wal_terms *, uint64_t index);

/* wal_recover.c */
int wal_recover(struct wal *, struct wal_recovery *);

/* wal_file.c: plain files in the directory; 0 or a negative errno. */
int wal_file_open(struct wal *, const char *name, int *ret_fd, size_t *ret_size);
int wal_file_zero(struct wal *, const char *name, size_t size);
int wal_file_read(int fd, uint8_t *, size_t len, size_t offset);
int wal_file_write(int fd, const uint8_t *, size_t len, size_t offset);
void wal_segment_name(uint64_t seq, char ret[static 24]);
void wal_spare_name(unsigned i, char ret[static 24]);
/* Zeroes a new file as spare i; any thread. */
int wal_spare_make(struct wal *, unsigned i, size_t size);
/* Turns the file of that name into the next segment and opens it as the tail;
 * wal->tail says which and what it continues. */
int wal_segment_begin(struct wal *, const char *from, size_t size);
int wal_slot_save(struct wal *);
int wal_slot_create(struct wal *);
int wal_slot_load(struct wal *, struct wal_recovery *, bool *ret_found);

/* wal_writer.c */
void wal_writer_open(struct wal *);
/* Everything is answered and nothing under way: writes a closing note. */
void wal_writer_close(struct wal *);
void wal_writer_note_later(struct wal *);
/* One record, durable on return; only before there are requests. */
int wal_write_record(struct wal *, struct wal_record *);
int wal_block_reserve(struct wal *, size_t len); /* capacity of block */

/* wal.c */
void wal_settle(struct wal *, struct wal_req *); /* status 0: the view after */
/* Nothing of the queue was written: the view is what it was before. */
void wal_view_reset(struct wal *);
void wal_went_on(struct wal *); /* after something ended: spares, the stop */
/* How large a new segment should be; holds records of `need` bytes. */
size_t wal_next_size(struct wal *, size_t need);

#endif
