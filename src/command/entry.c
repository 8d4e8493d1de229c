/*
 * entry.c: one log entry, the commands of one loop turn.
 *
 * u16 format, u16 group, u32 n, u64 time_ns; then u32 length and bytes of each
 * command; zeros up to a multiple of 8 (libraft's ALIGN), never empty.
 */
#include "config.h"

#include "command/command.h"

#include <assert.h>
#include <errno.h>

#define ENTRY_FORMAT 1
#define ENTRY_ALIGN 8
#define ENTRY_N_OFFSET 4 /* of the header's n */
#define ENTRY_HEADER_LEN 16
/* What the last command's time, and one more, still fit (struct timespec). */
#define ENTRY_TIME_MAX ((uint64_t)INT64_MAX - LIMIT_ENTRY_COMMANDS)

static uint32_t count_get(const struct buf *);

void
entry_begin(struct buf *b, const struct entry_header *h)
{
	assert(b->len == 0);

	buf_u16(b, ENTRY_FORMAT);
	buf_u16(b, h->group);
	buf_u32(b, 0);
	buf_u64(b, h->time_ns);
}

void
entry_add(struct buf *b, struct slice command_bytes)
{
	buf_slice32(b, command_bytes);
	if (buf_error(b) == 0)
		buf_put_u32_at(b, ENTRY_N_OFFSET, count_get(b) + 1);
}

void
entry_end(struct buf *b)
{
	buf_pad(b, ENTRY_ALIGN);
	if (buf_error(b) != 0)
		return;
	assert(count_get(b) >= 1 && count_get(b) <= LIMIT_ENTRY_COMMANDS);
}

int
entry_open(struct slice bytes, struct entry_reader *ret)
{
	struct entry_reader e = {0};
	uint16_t format;

	if (bytes.len < ENTRY_HEADER_LEN || bytes.len % ENTRY_ALIGN != 0)
		return -EBADMSG;
	reader_init(&e.reader, bytes);
	format = reader_u16(&e.reader);
	e.header.group = reader_u16(&e.reader);
	e.header.n = reader_u32(&e.reader);
	e.header.time_ns = reader_u64(&e.reader);
	if (!reader_ok(&e.reader) || format != ENTRY_FORMAT ||
	    e.header.n == 0 || e.header.n > LIMIT_ENTRY_COMMANDS ||
	    e.header.time_ns > ENTRY_TIME_MAX)
		return -EBADMSG;
	*ret = e;
	return 0;
}

int
entry_next(struct entry_reader *e, struct slice *ret)
{
	struct slice bytes;

	if (e->n_read == e->header.n) {
		if (reader_left(&e->reader) >= ENTRY_ALIGN)
			return -EBADMSG;
		while (reader_left(&e->reader) > 0) {
			if (reader_u8(&e->reader) != 0)
				return -EBADMSG;
		}
		return reader_ok(&e->reader) ? 0 : -EBADMSG;
	}
	bytes = reader_slice32(&e->reader, LIMIT_COMMAND);
	if (!reader_ok(&e->reader))
		return -EBADMSG;
	e->n_read++;
	*ret = bytes;
	return 1;
}

int
entry_check(struct slice bytes)
{
	struct entry_reader e;
	struct command c;
	struct slice one;
	int more = entry_open(bytes, &e);

	if (more != 0)
		return more;
	while ((more = entry_next(&e, &one)) == 1) {
		if (command_decode(one, &c) != 0)
			return -EBADMSG;
	}
	return more;
}

static uint32_t
count_get(const struct buf *b)
{
	struct reader r;

	reader_init(&r, slice_of(b->ptr + ENTRY_N_OFFSET, sizeof(uint32_t)));
	return reader_u32(&r);
}
