/*
 * wal_format.h: the bytes of the log, and what damage of them can be known.
 *
 * A directory holds segments wal-SEQ, numbered without a gap, the file `vote`,
 * and zeroed files spare-N that become segments.  A *position* is a segment's
 * number and an offset in it.  A segment is a header block and records one
 * after the other; the log only grows: dropping entries is a record too, so a
 * position is written once in a segment's life.
 *
 * A record's checksum covers all of it and begins from the checksum of the
 * record before (the *chain*; a segment's header hands it on), so a record is
 * valid in one place of one history only: what an older life of a recycled
 * segment, or a torn write, left behind can't continue the chain.  Each open
 * adds a record with a nonce, which makes the histories differ.
 *
 * Each record also says up to which position everything was durable when it
 * was written: it *vouches* for that, and so do the next segment's header (for
 * the whole segment) and the vote file (written at elections, opens and clean
 * stops).  Recovery reads until the chain ends.  If anything further on, found
 * by its own checksum, vouches for bytes behind that point, they were durable
 * once and are damaged now: -EUCLEAN.  Else they belong to the last write,
 * whose end nobody waited for or that nobody has vouched for yet: a torn tail,
 * which is cut.
 *
 * What remains undetected: damage to the last write before a crash, if it
 * happens in the idle_note_ms after it and before the next write or open.  It
 * looks like a torn write.  After a clean stop nothing remains: any flipped
 * bit in a record, a header, or a missing file is found; a flip in the vote
 * file is found and healed from its twin.
 *
 * All integers are little endian.  These functions are pure.
 */
#ifndef GROUP_WAL_FORMAT_H
#define GROUP_WAL_FORMAT_H

#include "base/slice.h"

#define WAL_BLOCK 4096u	      /* alignment of every write; header of a segment */
#define WAL_RECORD_HEADER 72u /* bytes before a record's payload */
#define WAL_SLOTS 4	      /* in the vote file, one block each */

enum wal_kind {
	WAL_ENTRY = 1,	  /* index, term, type, payload */
	WAL_TRUNCATE = 2, /* drop all >= index */
	WAL_RESET = 3,	  /* drop all, go on at index */
	WAL_OPEN = 4,	  /* a process began here; payload: a nonce */
	WAL_NOTE = 5,	  /* vouches, and carries the commit index */
};

struct wal_segment_header {
	uint64_t seq;	       /* its number, from 1 */
	uint64_t first_index;  /* next index when it began */
	uint64_t chain;	       /* checksum that its first record begins from */
	uint8_t cluster[16];
	uint64_t member;
};

struct wal_record {
	uint64_t pos;	  /* its own */
	uint64_t prev;	  /* checksum of the record before */
	uint64_t durable; /* position; all before it was durable */
	uint64_t index;
	uint64_t term;
	uint64_t commit;  /* highest index known committed */
	uint8_t kind;	  /* enum wal_kind */
	uint8_t type;	  /* of an entry; the caller's */
	struct slice payload;
	uint64_t sum;	  /* its checksum, when read */
};

struct wal_slot {
	uint64_t counter;   /* newest wins */
	uint64_t term;
	uint64_t vote;
	uint64_t durable;   /* position, as in a record; 0: nothing yet */
	uint64_t commit;
	uint64_t first_seq; /* oldest segment still needed */
	uint8_t cluster[16];
	uint64_t member;
};

static inline uint64_t
wal_pos(uint64_t seq, uint64_t offset)
{
	return seq << 32 | offset;
}

size_t wal_record_size(size_t payload_len); /* on disk, a multiple of 8 */

/* These fill a whole block, or wal_record_size() bytes. */
void wal_header_write(const struct wal_segment_header *, uint8_t *block);
uint64_t wal_record_write(const struct wal_record *, uint8_t *out); /* sum */
void wal_slot_write(const struct wal_slot *, uint8_t *block);

/* False: not one, or damaged. */
bool wal_header_read(struct slice block, struct wal_segment_header *ret);
bool wal_slot_read(struct slice block, struct wal_slot *ret);
/* A whole record at this offset of segment `seq`, by its own checksum: the
 * caller compares prev with the chain.  The payload points into bytes. */
bool wal_record_read(struct slice bytes, uint64_t seq, size_t offset,
    struct wal_record *ret);
/* Looks at whatever begins from offset on: how far the whole records among it
 * vouch (0: none), and in ret_end where the last one ends (untouched if none
 * even began). */
uint64_t wal_vouched(struct slice bytes, uint64_t seq, size_t offset,
    size_t *ret_end);

#endif
