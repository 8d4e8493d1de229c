/*
 * net.c: libFuzzer's way into a peer's bytes.  Whatever the pieces they come
 * in, the same bytes give the same frames.
 */
#include "config.h"

#include <assert.h>

#include "base/limits.h"
#include "net/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static const struct net_hello self = {.id = 1, .name = "self"};

/* The number of frames, or the error; ret_sum depends on all their bytes. */
static int
parse(const uint8_t *data, size_t size, size_t step, uint64_t *ret_sum)
{
	struct net_channel ch;
	struct net_frame frame;
	uint8_t *space;
	size_t room, n;
	int frames = 0, err = 0;

	net_channel_init(&ch, &self);
	*ret_sum = 0;
	for (size_t at = 0; at < size && err >= 0; at += n) {
		err = net_channel_space(&ch, &space, &room);
		assert(err == 0 && room > 0);
		n = size - at < step ? size - at : step;
		n = n < room ? n : room;
		memcpy(space, data + at, n);
		net_channel_filled(&ch, n);
		while ((err = net_channel_next(&ch, &frame)) > 0) {
			assert(frame.payload.len <= LIMIT_FRAME);
			assert((frame.type == 0) == (frames == 0));
			frames++;
			*ret_sum = *ret_sum * 31 + frame.type;
			for (size_t i = 0; i < frame.payload.len; i++)
				*ret_sum = *ret_sum * 31 +
				    ((const uint8_t *)frame.payload.ptr)[i];
		}
	}
	net_channel_fini(&ch);
	return err < 0 ? err : frames;
}

/* The first byte is the size of the pieces.  Most inputs are given a hello, or
 * the fuzzer would never get past it. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_channel ch;
	uint64_t whole, pieces;
	struct buf b;
	int n;

	if (size == 0)
		return 0;
	buf_init(&b, LIMIT_PEER_QUEUE);
	net_channel_init(&ch, &self);
	if (data[0] % 8 != 0)
		net_channel_greet(&ch, &b);
	buf_raw(&b, data + 1, size - 1);
	n = parse(b.ptr, b.len, b.len, &whole);
	assert(n == parse(b.ptr, b.len, 1 + data[0], &pieces));
	assert(whole == pieces);
	buf_fini(&b);
	net_channel_fini(&ch);
	return 0;
}
