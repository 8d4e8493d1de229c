/*
 * net.h: frames between the hosts of one cluster.
 *
 * A mesh of known peers, all on the loop thread.  Each host dials every peer
 * and sends only on the connections it dialled; what it accepted it only
 * reads.  So there is no tie to break when both dial, and the two directions
 * fail and heal by themselves.  Per peer there are two lanes: NET_SMALL for
 * everything that must not wait, NET_BULK for checkpoints.  Connections are
 * kept up all the time (a transfer of leadership then takes 2 ms); a lost one
 * is dialled again after 20 ms, later at most every 500 ms, and at once when
 * the peer itself dials us.
 *
 * Frames are delivered at most once and in order per lane while a connection
 * lasts, and are lost when it breaks: whoever needs an answer asks again.
 * Frames sent within a loop turn leave in one write per lane, at net_flush()
 * or at the latest just before the loop polls.  Hostile bytes only ever close
 * the connection they came on.
 *
 * The peer id in callbacks is what the connection's hello claimed and our
 * configuration knows; channel.h is where that claim gets proven.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <uv.h>

#include "base/slice.h"

enum net_lane { NET_SMALL, NET_BULK, N_NET_LANES };

struct net;

/* One host we dial and accept. */
struct net_peer {
	uint64_t id;	  /* member id, never 0 */
	const char *name; /* for log lines; copied */
	const char *addr; /* "host:port", "1.2.3.4:7440", "[::1]:7440"; copied */
};

/* All callbacks run on the loop thread, never from inside net_send(). */
struct net_callbacks {
	/* payload is borrowed for the call. */
	void (*frame)(void *ctx, uint64_t peer, uint8_t type,
	    struct slice payload);
	/* The small lane to this peer can be sent on from now. */
	void (*peer_up)(void *ctx, uint64_t peer);
	/* It can't any more; err says why: -ECONNRESET, -ETIMEDOUT ... */
	void (*peer_down)(void *ctx, uint64_t peer, int err);
	/* What was queued on the bulk lane is gone to the kernel.  May be
	 * NULL. */
	void (*bulk_drained)(void *ctx, uint64_t peer);
};

struct net_conf {
	uint64_t self;	       /* own member id, never 0 */
	const char *name;      /* own name; copied */
	uint8_t cluster[16];   /* hosts of another cluster are refused */
	const char *listen;    /* "addr:port"; port 0: any free one */
	const struct net_peer *peers; /* borrowed for net_open() */
	size_t n_peers;
	const struct net_callbacks *callbacks; /* outlives the net */
	void *ctx;			       /* for the callbacks */
};

int net_open(uv_loop_t *, const struct net_conf *, struct net **ret);
/* Closes everything, frees, then calls cb (may be NULL).  No other callback
 * runs after net_stop() was called.  NULL: cb runs at once. */
void net_stop(struct net *, void (*cb)(void *ctx), void *ctx);
int net_port(const struct net *); /* where we listen */

/* One more, unknown so far. */
int net_peer_add(struct net *, const struct net_peer *);

/*
 * Queues one frame, the slices one after the other (copied).  -ENOTCONN: no
 * connection, or no such peer; -ENOBUFS: LIMIT_PEER_QUEUE reached, the frame
 * is dropped; -EMSGSIZE: longer than LIMIT_FRAME.
 */
int net_send(struct net *, uint64_t peer, enum net_lane, uint8_t type,
    const struct slice *, size_t n);
/*
 * Closes what this peer's frames come on: they make no sense to whoever reads
 * them.  It may dial again.  May be called from the frame callback.
 */
void net_hang_up(struct net *, uint64_t peer);
/* Writes what was queued, one write per lane.  Call at the end of a turn. */
void net_flush(struct net *);

/* clock_now_ns() of the last byte that came from it; 0: none so far. */
uint64_t net_peer_heard_ns(const struct net *, uint64_t peer);
/* Bytes queued on a lane and not yet handed to the kernel. */
size_t net_queued(const struct net *, uint64_t peer, enum net_lane);

#endif
