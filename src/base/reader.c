/*
 * reader.c: decoding of bytes that nobody vouches for.
 */
#include "config.h"

#include "base/reader.h"

#include <endian.h>

static void take(struct reader *, void *ret, size_t len);

void
reader_init(struct reader *r, struct slice s)
{
	/* A NULL end would make pointer differences undefined. */
	r->ptr = s.len == 0 ? (const uint8_t *)"" : s.ptr;
	r->end = r->ptr + s.len;
	r->failed = false;
}

uint8_t
reader_u8(struct reader *r)
{
	uint8_t value = 0;

	take(r, &value, sizeof(value));
	return value;
}

uint16_t
reader_u16(struct reader *r)
{
	uint16_t value = 0;

	take(r, &value, sizeof(value));
	return le16toh(value);
}

uint32_t
reader_u32(struct reader *r)
{
	uint32_t value = 0;

	take(r, &value, sizeof(value));
	return le32toh(value);
}

uint64_t
reader_u64(struct reader *r)
{
	uint64_t value = 0;

	take(r, &value, sizeof(value));
	return le64toh(value);
}

uint64_t
reader_be64(struct reader *r)
{
	uint64_t value = 0;

	take(r, &value, sizeof(value));
	return be64toh(value);
}

struct slice
reader_raw(struct reader *r, size_t len)
{
	struct slice s;

	if (reader_left(r) < len)
		reader_fail(r);
	if (r->failed)
		return SLICE_EMPTY;
	s = slice_of(r->ptr, len);
	r->ptr += len;
	return s;
}

struct slice
reader_slice16(struct reader *r, size_t max)
{
	size_t len = reader_u16(r);

	if (len > max)
		reader_fail(r);
	return reader_raw(r, len);
}

struct slice
reader_slice32(struct reader *r, size_t max)
{
	size_t len = reader_u32(r);

	if (len > max)
		reader_fail(r);
	return reader_raw(r, len);
}

struct slice
reader_rest(struct reader *r)
{
	return reader_raw(r, reader_left(r));
}

size_t
reader_left(const struct reader *r)
{
	return r->failed ? 0 : (size_t)(r->end - r->ptr);
}

void
reader_fail(struct reader *r)
{
	r->failed = true;
}

bool
reader_ok(const struct reader *r)
{
	return !r->failed;
}

bool
reader_done(const struct reader *r)
{
	return !r->failed && r->ptr == r->end;
}

static void
take(struct reader *r, void *ret, size_t len)
{
	struct slice s = reader_raw(r, len);

	if (s.len == len)
		memcpy(ret, s.ptr, len);
}
