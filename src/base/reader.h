/*
 * reader.h: the one decoder, for bytes that nobody vouches for.
 *
 * Never reads past the end and never allocates.  Errors are sticky: after the
 * first one every call answers zero or an empty slice, and reader_done() is
 * false.  Slices point into the input.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include "base/slice.h"

struct reader {
	const uint8_t *ptr; /* next byte */
	const uint8_t *end; /* one past the last */
	bool failed;	    /* sticky */
};

void reader_init(struct reader *, struct slice);
uint8_t reader_u8(struct reader *);
uint16_t reader_u16(struct reader *);
uint32_t reader_u32(struct reader *);
uint64_t reader_u64(struct reader *);
uint64_t reader_be64(struct reader *);
struct slice reader_raw(struct reader *, size_t len);
struct slice reader_slice16(struct reader *, size_t max); /* longer: fails */
struct slice reader_slice32(struct reader *, size_t max);
struct slice reader_rest(struct reader *);
size_t reader_left(const struct reader *);
void reader_fail(struct reader *);
bool reader_ok(const struct reader *);	 /* nothing failed yet */
bool reader_done(const struct reader *); /* ok, and nothing is left over */

#endif
