/*
 * wal_format.c: encoding and checking the log's bytes.
 */
#include "config.h"

#include "group/wal_format.h"

#include <assert.h>
#include <endian.h>
#include <xxhash.h>

#include "base/reader.h"

#define HEADER_MAGIC 0x47535747u /* "GWSG" */
#define RECORD_MAGIC 0x43525747u /* "GWRC" */
#define SLOT_MAGIC 0x54565747u	 /* "GWVT" */
#define FORMAT_VERSION 1
#define HEADER_BYTES 64 /* under the checksum */
#define SLOT_BYTES 80	/* likewise */
#define RECORD_SUMMED (WAL_RECORD_HEADER - 8)

static uint8_t *put32(uint8_t *, uint32_t);
static uint8_t *put64(uint8_t *, uint64_t);
static bool record_begins(struct slice, uint64_t seq, size_t at);
static uint64_t record_sum(const uint8_t *, size_t size, uint64_t prev);

size_t
wal_record_size(size_t payload_len)
{
	return WAL_RECORD_HEADER + ((payload_len + 7) & ~(size_t)7);
}

void
wal_header_write(const struct wal_segment_header *h, uint8_t *block)
{
	uint8_t *p = block;

	memset(block, 0, WAL_BLOCK);
	p = put32(p, HEADER_MAGIC);
	p = put32(p, FORMAT_VERSION);
	p = put64(p, h->seq);
	p = put64(p, h->first_index);
	p = put64(p, h->chain);
	memcpy(p, h->cluster, sizeof(h->cluster));
	p = put64(p + sizeof(h->cluster), h->member);
	p = put64(p, 0);
	assert(p == block + HEADER_BYTES);
	put64(p, XXH3_64bits(block, HEADER_BYTES));
}

bool
wal_header_read(struct slice block, struct wal_segment_header *ret)
{
	struct wal_segment_header h;
	struct slice cluster;
	struct reader r;

	reader_init(&r, block);
	if (reader_u32(&r) != HEADER_MAGIC || reader_u32(&r) != FORMAT_VERSION)
		return false;
	h.seq = reader_u64(&r);
	h.first_index = reader_u64(&r);
	h.chain = reader_u64(&r);
	cluster = reader_raw(&r, sizeof(h.cluster));
	h.member = reader_u64(&r);
	reader_u64(&r);
	if (!reader_ok(&r) || h.seq == 0 || h.seq > UINT32_MAX ||
	    h.first_index == 0)
		return false;
	if (reader_u64(&r) != XXH3_64bits(block.ptr, HEADER_BYTES) ||
	    !reader_ok(&r))
		return false;
	memcpy(h.cluster, cluster.ptr, sizeof(h.cluster));
	*ret = h;
	return true;
}

void
wal_slot_write(const struct wal_slot *s, uint8_t *block)
{
	uint8_t *p = block;

	memset(block, 0, WAL_BLOCK);
	p = put32(p, SLOT_MAGIC);
	p = put32(p, FORMAT_VERSION);
	p = put64(p, s->counter);
	p = put64(p, s->term);
	p = put64(p, s->vote);
	p = put64(p, s->durable);
	p = put64(p, s->commit);
	p = put64(p, s->first_seq);
	memcpy(p, s->cluster, sizeof(s->cluster));
	p = put64(p + sizeof(s->cluster), s->member);
	assert(p == block + SLOT_BYTES);
	put64(p, XXH3_64bits(block, SLOT_BYTES));
}

bool
wal_slot_read(struct slice block, struct wal_slot *ret)
{
	struct wal_slot s;
	struct slice cluster;
	struct reader r;

	reader_init(&r, block);
	if (reader_u32(&r) != SLOT_MAGIC || reader_u32(&r) != FORMAT_VERSION)
		return false;
	s.counter = reader_u64(&r);
	s.term = reader_u64(&r);
	s.vote = reader_u64(&r);
	s.durable = reader_u64(&r);
	s.commit = reader_u64(&r);
	s.first_seq = reader_u64(&r);
	cluster = reader_raw(&r, sizeof(s.cluster));
	s.member = reader_u64(&r);
	if (!reader_ok(&r) ||
	    reader_u64(&r) != XXH3_64bits(block.ptr, SLOT_BYTES) ||
	    !reader_ok(&r))
		return false;
	memcpy(s.cluster, cluster.ptr, sizeof(s.cluster));
	*ret = s;
	return true;
}

uint64_t
wal_record_write(const struct wal_record *rec, uint8_t *out)
{
	size_t size = wal_record_size(rec->payload.len);
	uint8_t *p = out;
	uint64_t sum;

	assert(rec->payload.len <= UINT32_MAX / 2);
	p = put32(p, RECORD_MAGIC);
	p = put32(p, (uint32_t)rec->payload.len);
	p = put64(p, rec->pos);
	p = put64(p, rec->prev);
	p = put64(p, rec->durable);
	p = put64(p, rec->index);
	p = put64(p, rec->term);
	p = put64(p, rec->commit);
	p = put64(p, (uint64_t)rec->kind | (uint64_t)rec->type << 8);
	assert(p == out + RECORD_SUMMED);
	p += 8;
	if (rec->payload.len > 0)
		memcpy(p, rec->payload.ptr, rec->payload.len);
	memset(p + rec->payload.len, 0,
	    size - WAL_RECORD_HEADER - rec->payload.len);
	sum = record_sum(out, size, rec->prev);
	put64(out + RECORD_SUMMED, sum);
	return sum;
}

/* Header and padded payload, all but the checksum itself. */
static uint64_t
record_sum(const uint8_t *p, size_t size, uint64_t prev)
{
	uint64_t sum = XXH3_64bits_withSeed(p, RECORD_SUMMED, prev);

	return XXH3_64bits_withSeed(p + WAL_RECORD_HEADER,
	    size - WAL_RECORD_HEADER, sum);
}

bool
wal_record_read(struct slice bytes, uint64_t seq, size_t offset,
    struct wal_record *ret)
{
	const uint8_t *p = (const uint8_t *)bytes.ptr + offset;
	struct wal_record rec;
	struct reader r;
	uint64_t kinds;
	size_t len, size;

	assert(offset <= bytes.len);
	reader_init(&r, slice_of(p, bytes.len - offset));
	if (reader_u32(&r) != RECORD_MAGIC)
		return false;
	len = reader_u32(&r);
	rec.pos = reader_u64(&r);
	size = wal_record_size(len);
	if (rec.pos != wal_pos(seq, offset) || size > bytes.len - offset)
		return false;
	rec.prev = reader_u64(&r);
	rec.durable = reader_u64(&r);
	rec.index = reader_u64(&r);
	rec.term = reader_u64(&r);
	rec.commit = reader_u64(&r);
	kinds = reader_u64(&r);
	rec.sum = reader_u64(&r);
	if (!reader_ok(&r) || rec.sum != record_sum(p, size, rec.prev))
		return false;
	rec.kind = (uint8_t)kinds;
	rec.type = (uint8_t)(kinds >> 8);
	rec.payload = slice_of(p + WAL_RECORD_HEADER, len);
	*ret = rec;
	return true;
}

uint64_t
wal_vouched(struct slice bytes, uint64_t seq, size_t offset, size_t *ret_end)
{
	struct wal_record rec;
	uint64_t vouched = 0;
	size_t at = offset;

	/* Damaged lengths make every place of a record possible. */
	while (at + WAL_RECORD_HEADER <= bytes.len) {
		if (!wal_record_read(bytes, seq, at, &rec)) {
			if (record_begins(bytes, seq, at))
				*ret_end = at + WAL_RECORD_HEADER;
			at += 8;
			continue;
		}
		if (rec.durable > vouched)
			vouched = rec.durable;
		at += wal_record_size(rec.payload.len);
		*ret_end = at;
	}
	return vouched;
}

/* One was begun here in this life of the segment, whole or not. */
static bool
record_begins(struct slice bytes, uint64_t seq, size_t at)
{
	struct reader r;

	reader_init(&r, slice_of((const uint8_t *)bytes.ptr + at,
	    bytes.len - at));
	if (reader_u32(&r) != RECORD_MAGIC)
		return false;
	reader_u32(&r);
	return reader_u64(&r) == wal_pos(seq, at);
}

static uint8_t *
put32(uint8_t *p, uint32_t value)
{
	value = htole32(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static uint8_t *
put64(uint8_t *p, uint64_t value)
{
	value = htole64(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}
