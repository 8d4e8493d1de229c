/*
 * channel.c: hellos and frames out of bytes.
 */
#include "config.h"

#include "net/channel.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/reader.h"

#define HELLO_MAGIC 0x53464f47u /* "GOFS" */
#define HELLO_MAX 256		/* a stranger makes us hold no more */
#define SPACE_MIN 65536		/* bytes asked of one read */
#define KEEP_MAX (256u << 10)	/* memory kept between large frames */

static int parse_hello(struct net_channel *, struct slice);
static int make_room(struct net_channel *, size_t);

void
net_channel_init(struct net_channel *ch, const struct net_hello *self)
{
	assert(self->id != 0);
	*ch = (struct net_channel){.self = self};
}

void
net_channel_fini(struct net_channel *ch)
{
	free(ch->in);
	*ch = (struct net_channel){.dead = true};
}

/* Bytes of the frame that begins at start, as far as that can be known. */
static size_t
frame_need(const struct net_channel *ch)
{
	const uint8_t *p = ch->in + ch->start;
	size_t len;

	if (ch->end - ch->start < NET_FRAME_HEADER)
		return NET_FRAME_HEADER;
	len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 |
	    (size_t)p[3] << 24;
	return NET_FRAME_HEADER + len;
}

int
net_channel_space(struct net_channel *ch, uint8_t **ret, size_t *ret_len)
{
	size_t want = SPACE_MIN, have, need;
	int err;

	assert(!ch->dead);
	have = ch->end - ch->start;
	if (!ch->greeted)
		want = HELLO_MAX;
	if (have >= NET_FRAME_HEADER) {
		/* net_channel_next() has refused lengths out of bounds. */
		need = frame_need(ch);
		assert(need > have);
		if (need - have > want)
			want = need - have;
	}
	err = make_room(ch, want);
	if (err != 0)
		return err;
	*ret = ch->in + ch->end;
	*ret_len = ch->cap - ch->end;
	return 0;
}

/* Moves what is left to the front and has at least `want` bytes behind it. */
static int
make_room(struct net_channel *ch, size_t want)
{
	size_t have = ch->end - ch->start, cap = have + want;
	uint8_t *in;

	if (ch->start > 0 && have > 0)
		memmove(ch->in, ch->in + ch->start, have);
	ch->start = 0;
	ch->end = have;
	if (cap <= ch->cap && (ch->cap <= KEEP_MAX || cap > KEEP_MAX))
		return 0;
	in = realloc(ch->in, cap);
	if (in == NULL)
		return -ENOMEM;
	ch->in = in;
	ch->cap = cap;
	return 0;
}

void
net_channel_filled(struct net_channel *ch, size_t len)
{
	assert(len <= ch->cap - ch->end);
	ch->end += len;
}

int
net_channel_next(struct net_channel *ch, struct net_frame *ret)
{
	size_t have = ch->end - ch->start, need;
	struct net_frame frame;
	const uint8_t *p;
	int err = 0;

	if (ch->dead)
		return -EPROTO;
	if (have < NET_FRAME_HEADER)
		return 0;
	need = frame_need(ch);
	p = ch->in + ch->start;
	if (need - NET_FRAME_HEADER > (ch->greeted ? LIMIT_FRAME : HELLO_MAX))
		err = -EBADMSG;
	else if ((p[4] == 0) == ch->greeted)
		err = -EPROTO;
	else if (have < need)
		return 0;
	if (err == 0) {
		frame.type = p[4];
		frame.payload = slice_of(p + NET_FRAME_HEADER,
		    need - NET_FRAME_HEADER);
		if (!ch->greeted)
			err = parse_hello(ch, frame.payload);
	}
	if (err != 0) {
		ch->dead = true;
		return err;
	}
	ch->start += need;
	*ret = frame;
	return 1;
}

static int
parse_hello(struct net_channel *ch, struct slice payload)
{
	struct net_hello hello = {0};
	struct slice cluster, name;
	struct reader r;
	uint16_t version;
	uint8_t lane;

	reader_init(&r, payload);
	if (reader_u32(&r) != HELLO_MAGIC)
		return -EPROTO;
	version = reader_u16(&r);
	lane = reader_u8(&r);
	cluster = reader_raw(&r, sizeof(hello.cluster));
	hello.id = reader_u64(&r);
	name = reader_slice16(&r, NET_NAME - 1);
	if (!reader_done(&r) || version != NET_VERSION ||
	    lane >= N_NET_LANES || hello.id == 0)
		return -EPROTO;
	memcpy(hello.cluster, cluster.ptr, sizeof(hello.cluster));
	for (size_t i = 0; i < name.len; i++) {
		hello.name[i] = ((const char *)name.ptr)[i];
		if (!isgraph((unsigned char)hello.name[i]))
			return -EPROTO;
	}
	hello.lane = (enum net_lane)lane;
	ch->peer = hello;
	ch->greeted = true;
	return 0;
}

void
net_channel_greet(const struct net_channel *ch, struct buf *out)
{
	const struct net_hello *self = ch->self;
	size_t name_len = strlen(self->name);

	buf_u32(out, (uint32_t)(4 + 2 + 1 + 16 + 8 + 2 + name_len));
	buf_u8(out, 0);
	buf_u32(out, HELLO_MAGIC);
	buf_u16(out, NET_VERSION);
	buf_u8(out, (uint8_t)self->lane);
	buf_raw(out, self->cluster, sizeof(self->cluster));
	buf_u64(out, self->id);
	buf_slice16(out, slice_of(self->name, name_len));
}

void
net_channel_seal(struct net_channel *ch, struct buf *out, uint8_t type,
    const struct slice *slices, size_t n)
{
	size_t len = 0;

	assert(type != 0);
	for (size_t i = 0; i < n; i++)
		len += slices[i].len;
	assert(len <= LIMIT_FRAME);
	buf_u32(out, (uint32_t)len);
	buf_u8(out, type);
	for (size_t i = 0; i < n; i++) {
		if (slices[i].len > 0)
			buf_raw(out, slices[i].ptr, slices[i].len);
	}
}
