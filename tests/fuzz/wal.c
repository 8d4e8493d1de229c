/*
 * wal.c: libFuzzer's way into the log's bytes.  What is accepted encodes to
 * the same bytes again, and nothing is read beyond the input.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "group/wal_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* A checksum hides everything behind it from a fuzzer: where the first byte
 * asks for it, the record at the front gets the right one. */
static void
amend(uint8_t *p, size_t size)
{
	uint64_t sum, prev;

	if (size < WAL_RECORD_HEADER)
		return;
	memcpy(&prev, p + 16, sizeof(prev));
	sum = XXH3_64bits_withSeed(p, WAL_RECORD_HEADER - 8, prev);
	sum = XXH3_64bits_withSeed(p + WAL_RECORD_HEADER,
	    size - WAL_RECORD_HEADER, sum);
	memcpy(p + WAL_RECORD_HEADER - 8, &sum, sizeof(sum));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wal_segment_header h;
	struct wal_record rec;
	struct wal_slot slot;
	struct slice input;
	uint8_t *copy, *again;
	size_t end = 0;

	if (size-- == 0)
		return 0;
	copy = malloc(size + 1);
	memcpy(copy, data + 1, size);
	if (data[0] % 2 != 0)
		amend(copy, size);
	input = slice_of(copy, size);
	wal_header_read(input, &h);
	wal_slot_read(input, &slot);
	if (wal_record_read(input, 0, 0, &rec)) {
		end = wal_record_size(rec.payload.len);
		assert(end <= size);
		again = malloc(end);
		wal_record_write(&rec, again);
		/* Bytes that say nothing may differ, the sum then does too. */
		assert(memcmp(again, copy, 56) == 0);
		free(again);
	}
	end = 0;
	wal_vouched(input, 0, 0, &end);
	assert(end <= size + WAL_RECORD_HEADER);
	free(copy);
	return 0;
}
