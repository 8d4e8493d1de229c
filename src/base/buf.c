/*
 * buf.c: the growing buffer behind every encoding.
 */
#include "config.h"

#include "base/buf.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

enum { CAP_FIRST = 64 }; /* most commands and frames start small */

static bool reserve(struct buf *, size_t len);

/* Inlined with lengths that are constants: nearly all calls.  What is allocated
 * is never more than max. */
static inline void
append(struct buf *b, const void *ptr, size_t len)
{
	if (b->error != 0 || len > b->cap - b->len) {
		if (!reserve(b, len))
			return;
	}
	memcpy(b->ptr + b->len, ptr, len);
	b->len += len;
}

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void
buf_fini(struct buf *b)
{
	free(b->ptr);
	*b = (struct buf){0};
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
}

int
buf_error(const struct buf *b)
{
	return b->error;
}

struct slice
buf_slice(const struct buf *b)
{
	return slice_of(b->ptr, b->len);
}

void
buf_u8(struct buf *b, uint8_t value)
{
	append(b, &value, sizeof(value));
}

void
buf_u16(struct buf *b, uint16_t value)
{
	value = htole16(value);
	append(b, &value, sizeof(value));
}

void
buf_u32(struct buf *b, uint32_t value)
{
	value = htole32(value);
	append(b, &value, sizeof(value));
}

void
buf_u64(struct buf *b, uint64_t value)
{
	value = htole64(value);
	append(b, &value, sizeof(value));
}

void
buf_be64(struct buf *b, uint64_t value)
{
	value = htobe64(value);
	append(b, &value, sizeof(value));
}

void
buf_raw(struct buf *b, const void *ptr, size_t len)
{
	if (len != 0)
		append(b, ptr, len);
}

void
buf_slice16(struct buf *b, struct slice s)
{
	if (b->error == 0 && s.len > UINT16_MAX)
		b->error = -EMSGSIZE;
	buf_u16(b, (uint16_t)s.len);
	buf_raw(b, s.ptr, s.len);
}

void
buf_slice32(struct buf *b, struct slice s)
{
	if (b->error == 0 && s.len > UINT32_MAX)
		b->error = -EMSGSIZE;
	buf_u32(b, (uint32_t)s.len);
	buf_raw(b, s.ptr, s.len);
}

void
buf_pad(struct buf *b, size_t align)
{
	size_t over;

	assert(align != 0);
	over = b->len % align;
	if (over != 0)
		(void)buf_grow(b, align - over);
}

/* The new bytes are zero: nobody may leak old memory to a disk or a peer. */
uint8_t *
buf_grow(struct buf *b, size_t len)
{
	uint8_t *ptr;

	if (!reserve(b, len))
		return NULL;
	ptr = b->ptr + b->len;
	memset(ptr, 0, len);
	b->len += len;
	return ptr;
}

void
buf_put_u32_at(struct buf *b, size_t offset, uint32_t value)
{
	if (b->error != 0)
		return;
	assert(offset <= b->len && b->len - offset >= sizeof(value));
	value = htole32(value);
	memcpy(b->ptr + offset, &value, sizeof(value));
}

static bool
reserve(struct buf *b, size_t len)
{
	size_t cap;
	uint8_t *ptr;

	if (b->error != 0)
		return false;
	if (len > b->max - b->len) {
		b->error = -EMSGSIZE;
		return false;
	}
	if (b->ptr != NULL && len <= b->cap - b->len)
		return true;
	cap = b->cap < CAP_FIRST ? CAP_FIRST : b->cap;
	while (cap - b->len < len)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if (cap > b->max)
		cap = b->max;
	ptr = realloc(b->ptr, cap);
	if (ptr == NULL) {
		b->error = -ENOMEM;
		return false;
	}
	b->ptr = ptr;
	b->cap = cap;
	return true;
}
