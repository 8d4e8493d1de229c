/*
 * channel.h: from a socket's bytes to frames and back, without a socket.
 *
 * A channel opens with one hello from each side, dialler first, and carries
 * frames from then on.  It is a step function over bytes: it makes no system
 * call, holds at most one frame, and any split of the same bytes gives the
 * same frames.  Everything a peer could do wrong is -EBADMSG or -EPROTO here,
 * after which the channel is dead.  What protects the bytes on their way
 * (today: nothing, loopback only) belongs behind this interface.
 *
 * A frame: u32 length of the payload, u8 type, payload; little endian.  Type 0
 * is the hello, and only the first frame is one.
 */
#ifndef NET_CHANNEL_H
#define NET_CHANNEL_H

#include "base/buf.h"
#include "net/net.h"

#define NET_VERSION 1
#define NET_FRAME_HEADER 5 /* bytes before a payload */
#define NET_NAME 64	   /* host name bytes, with the NUL */

/* Who is at an end, and what the connection is for. */
struct net_hello {
	uint8_t cluster[16];
	uint64_t id;	     /* member id, never 0 */
	char name[NET_NAME]; /* printable; for people only */
	enum net_lane lane;
};

/* What net_channel_next() found. */
struct net_frame {
	uint8_t type;	      /* 0: the peer's hello, see channel.peer */
	struct slice payload; /* valid until net_channel_space() */
};

struct net_channel {
	const struct net_hello *self; /* borrowed */
	struct net_hello peer;	      /* valid once greeted */
	bool greeted;		      /* the peer's hello was taken */
	bool dead;		      /* a step failed */
	uint8_t *in;		      /* owned; bytes not yet consumed */
	size_t start, end, cap;	      /* of in: used part, size */
};

void net_channel_init(struct net_channel *, const struct net_hello *self);
void net_channel_fini(struct net_channel *); /* harmless when zeroed */

/* Room for the next bytes, never of length 0; -ENOMEM. */
int net_channel_space(struct net_channel *, uint8_t **ret, size_t *ret_len);
void net_channel_filled(struct net_channel *, size_t len);
/* 1: ret holds one frame; 0: more bytes are needed; or an error. */
int net_channel_next(struct net_channel *, struct net_frame *ret);

/* These append to out, whose sticky error tells of failures. */
void net_channel_greet(const struct net_channel *, struct buf *out);
void net_channel_seal(struct net_channel *, struct buf *out, uint8_t type,
    const struct slice *, size_t n);

#endif
