/*
 * net_internal.h: the mesh (net.c) and one connection (conn.c), to each other.
 *
 * net.c decides who is dialled, accepted and heard; conn.c moves bytes between
 * a socket and its channel.  A connection is freed by its close callback only,
 * so a callback may close any connection at any time.
 */
#ifndef NET_NET_INTERNAL_H
#define NET_NET_INTERNAL_H

#include "base/conf.h"
#include "net/channel.h"

struct net_conn;

/* One lane to and from a peer. */
struct lane {
	struct net_conn *out;	/* dialled by us, NULL between attempts */
	struct net_conn *in;	/* dialled by the peer, NULL: none */
	uint64_t dial_at_ns;	/* when to dial next, while out is NULL */
	unsigned backoff_ms;	/* before the attempt after the next */
};

struct peer {
	uint64_t id;
	char *name;	    /* owned */
	char host[CONF_ADDRESS_BYTES]; /* the address, split */
	uint16_t port;
	bool up;	    /* peer_up was called last */
	uint64_t heard_ns;  /* last byte from it; 0: never */
	struct lane lanes[N_NET_LANES];
};

struct net_conn {
	uv_tcp_t tcp;
	struct net *net;
	struct net_conn *prev, *next; /* net->conns */
	struct peer *peer;	      /* NULL: a stranger yet, or removed */
	struct net_hello self;	      /* what we say on it */
	struct net_channel channel;
	bool dialled;		      /* by us: we send, the peer only greets */
	bool open;		      /* both have greeted */
	bool closing;		      /* waits for its close callback */
	bool resolving;		      /* resolve is with the pool */
	bool writing;		      /* write is with libuv */
	uint64_t deadline_ns;	      /* to be open by */
	struct buf queue;	      /* sealed, not yet given away */
	struct buf flight;	      /* owned by libuv while writing */
	uv_connect_t connect;
	uv_write_t write;
	uv_getaddrinfo_t resolve;
};

struct net {
	uv_loop_t *loop;
	const struct net_callbacks *callbacks;
	void *ctx;
	uint64_t self;
	char name[NET_NAME];
	uint8_t cluster[16];
	uv_tcp_t listener;
	uv_prepare_t prepare; /* flushes what nobody flushed */
	uv_timer_t timer;     /* the next dial or deadline */
	unsigned n_handles;   /* not yet closed, connections too */
	bool stopping;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	struct peer **peers; /* owned, n_peers of them */
	size_t n_peers;
	struct net_conn *conns; /* every one of them */
	unsigned n_strangers;	/* accepted and not yet greeted */
	uint64_t refused[16];	/* ids already told of in the log */
	unsigned n_refused;	/* newest first, wraps */
};

/* conn.c */
void net_conn_dial(struct net *, struct peer *, enum net_lane);
void net_conn_accept(struct net *, uv_stream_t *listener);
void net_conn_close(struct net_conn *, int err); /* err is for peer_down */
void net_conn_flush(struct net_conn *);

/* net.c, called by conn.c */
int net_greeted(struct net_conn *); /* binds its peer, or refuses it */
void net_opened(struct net_conn *);
void net_frame(struct net_conn *, const struct net_frame *);
void net_heard(struct net_conn *);
void net_lost(struct net_conn *, int err); /* just unlinked and closing */
void net_handle_closed(struct net *);
void net_schedule(struct net *);

#endif
