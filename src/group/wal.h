/*
 * wal.h: the log on disk.
 *
 * One directory holds what a member must never forget: its entries, and its
 * term and vote.  Loop thread only.  One write is in flight, which holds nobody
 * up, and everything queued meanwhile goes into the next one (group commit).
 * `done` runs on the loop, inside none of the calls below but wal_write_here(),
 * in the order of the requests, once they are durable.
 *
 * An error other than -ENOSPC is final: the request and all later ones fail
 * with it, and the process should end (what is on disk is not known then).
 * -ENOSPC means: no room for the next segment, nothing of this request was
 * written, the log goes on as if it had not been asked; requests queued behind
 * it fail the same way.  wal_space_low() says so earlier, one segment ahead.
 * (wal_truncate() and wal_reset() have room set aside.)
 *
 * What recovery can tell apart is written in wal_format.h.
 */
#ifndef GROUP_WAL_H
#define GROUP_WAL_H

#include <sys/queue.h>
#include <uv.h>

#include "base/slice.h"

struct wal;

struct wal_conf {
	const char *dir;       /* made if missing; copied */
	uint8_t cluster[16];   /* files of another cluster are refused */
	uint64_t member;       /* own member id; of another: refused */
	size_t segment_bytes;  /* full size of a segment, at least 16 KiB and a
				* multiple of 4 KiB; 0: 8 MiB */
	unsigned idle_note_ms; /* after so long without a write, a short record
				* keeps the commit index and vouches for the
				* last write; 0: 50 */
};

/* What wal_open() found.  file and offset are for -EUCLEAN, and for a cut. */
struct wal_recovery {
	uint64_t term;	       /* 0: never set */
	uint64_t vote;	       /* member voted for in term; 0: nobody */
	uint64_t first_index;  /* oldest entry kept; last_index + 1 if none */
	uint64_t last_index;   /* newest entry; 0: none ever */
	uint64_t commit_index; /* highest known committed when last written */
	uint64_t cut_bytes;    /* torn tail that was dropped; 0: none */
	char file[64];	       /* name in dir; "" : nothing to name */
	uint64_t offset;       /* in file */
	char text[160];	       /* a sentence for the log */
};

struct wal_entry {
	uint64_t term;
	uint8_t type;	      /* the caller's */
	struct slice payload; /* borrowed until done; may be empty */
};

/* Owned by the caller until done() runs, which is exactly once. */
struct wal_req {
	void (*done)(struct wal_req *, int status); /* set by the caller */
	void *ctx;				    /* the caller's */
	/* The rest belongs to wal. */
	STAILQ_ENTRY(wal_req) link;
	const struct wal_entry *entries;
	size_t n;
	uint64_t index; /* of entries[0]; from; next index */
	int kind;
	int status;
};

/*
 * Opens or creates.  -EUCLEAN: bytes that were durable are damaged or missing;
 * ret names them, and the member must not vote with this log.  -EMEDIUMTYPE:
 * the files are another member's.  -EBUSY: another process has them open.  On
 * success all that was found is durable.
 */
int wal_open(uv_loop_t *, const struct wal_conf *, struct wal **ret,
    struct wal_recovery *ret_info);
/* Every entry in order, once, before the first append; payload is borrowed
 * for the call.  fn's first answer other than 0 ends it and is returned. */
int wal_read_all(struct wal *,
    int (*fn)(void *ctx, uint64_t index, const struct wal_entry *), void *ctx);
/* Waits for what is queued, writes a closing record, frees, calls cb. */
void wal_stop(struct wal *, void (*cb)(void *ctx), void *ctx);

/* Appends n >= 1 entries behind wal_last_index(); the array is borrowed too. */
void wal_append(struct wal *, struct wal_req *, const struct wal_entry *,
    size_t n);
/* Drops every entry >= from.  Ordered with appends: an append queued after it
 * is never durable without it. */
void wal_truncate(struct wal *, struct wal_req *, uint64_t from);
/* The log becomes empty and goes on at next_index (a checkpoint came in). */
void wal_reset(struct wal *, struct wal_req *, uint64_t next_index);
/* Begins what is queued now rather than at the end of the loop turn. */
void wal_flush(struct wal *);
/* For a loop with nothing better to do: writes, and says done() for, what is
 * queued, before it returns.  As wal_flush() where the disk is not quick. */
void wal_write_here(struct wal *);
/* Entries <= upto are in a durable checkpoint: whole segments of them are
 * recycled, sooner or later.  After a restart some may still be held. */
void wal_release(struct wal *, uint64_t upto);
/* Goes into the next record, whoever writes it. */
void wal_note_commit(struct wal *, uint64_t index);

/* Durable on return; blocks for one write (elections only). */
int wal_set_term_vote(struct wal *, uint64_t term, uint64_t vote);

/* These count requests as soon as they are queued. */
uint64_t wal_first_index(const struct wal *);
uint64_t wal_last_index(const struct wal *);
uint64_t wal_term_of(const struct wal *, uint64_t index); /* 0: not held */
/* The next segment could not be had: hand over leadership, refuse changes. */
bool wal_space_low(const struct wal *);

#endif
