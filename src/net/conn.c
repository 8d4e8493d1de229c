/*
 * conn.c: one connection, between a socket and its channel.
 */
#include "config.h"

#include "net/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"

/* A connection that can't be opened, or stops acknowledging, is given up: the
 * first while libuv would still wait for minutes, the second as well. */
#define OPEN_MS 2000
#define USER_TIMEOUT_MS 5000
/* Strangers that may knock at once; more are turned away unheard. */
#define STRANGERS 32
/* Memory that a queue keeps when it is empty. */
#define KEEP_BYTES (1u << 20)

static struct net_conn *conn_new(struct net *, bool dialled);
static void conn_tune(struct net_conn *);
static void conn_connect(struct net_conn *, const struct sockaddr *);
static void conn_resolved(uv_getaddrinfo_t *, int, struct addrinfo *);
static void conn_connected(uv_connect_t *, int);
static void conn_read_start(struct net_conn *);
static void conn_alloc(uv_handle_t *, size_t, uv_buf_t *);
static void conn_read(uv_stream_t *, ssize_t, const uv_buf_t *);
static void conn_step(struct net_conn *);
static int conn_greeted(struct net_conn *);
static void conn_write(struct net_conn *, size_t);
static void conn_written(uv_write_t *, int);
static void conn_drained(struct buf *);
static void conn_closed(uv_handle_t *);
static void conn_free(struct net_conn *);

void
net_conn_dial(struct net *net, struct peer *peer, enum net_lane lane)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct net_conn *c = conn_new(net, true);
	struct sockaddr_storage addr;
	char service[8];
	int err;

	assert(peer->lanes[lane].out == NULL);
	if (c == NULL)
		return;
	c->peer = peer;
	c->self.lane = lane;
	peer->lanes[lane].out = c;
	if (uv_ip4_addr(peer->host, peer->port,
		(struct sockaddr_in *)&addr) == 0 ||
	    uv_ip6_addr(peer->host, peer->port,
		(struct sockaddr_in6 *)&addr) == 0) {
		conn_connect(c, (const struct sockaddr *)&addr);
		return;
	}
	snprintf(service, sizeof(service), "%u", peer->port);
	err = uv_getaddrinfo(net->loop, &c->resolve, conn_resolved, peer->host,
	    service, &hints);
	if (err != 0)
		net_conn_close(c, err);
	else
		c->resolving = true;
}

static struct net_conn *
conn_new(struct net *net, bool dialled)
{
	struct net_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	if (uv_tcp_init(net->loop, &c->tcp) != 0) {
		free(c);
		return NULL;
	}
	c->net = net;
	c->dialled = dialled;
	c->tcp.data = c->connect.data = c->write.data = c->resolve.data = c;
	c->self.id = net->self;
	memcpy(c->self.cluster, net->cluster, sizeof(net->cluster));
	memcpy(c->self.name, net->name, sizeof(net->name));
	net_channel_init(&c->channel, &c->self);
	buf_init(&c->queue, LIMIT_PEER_QUEUE);
	buf_init(&c->flight, LIMIT_PEER_QUEUE);
	c->deadline_ns = clock_now_ns() + OPEN_MS * NS_PER_MS;
	c->next = net->conns;
	if (c->next != NULL)
		c->next->prev = c;
	net->conns = c;
	net->n_handles++;
	return c;
}

static void
conn_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct net_conn *c = req->data;

	c->resolving = false;
	if (c->closing) {
		if (c->tcp.data == NULL)
			conn_free(c); /* its close callback came first */
	} else if (status != 0) {
		log_debug("net: %s: cannot resolve %s: %s", c->peer->name,
		    c->peer->host, uv_strerror(status));
		net_conn_close(c, -EHOSTUNREACH);
	} else {
		conn_connect(c, res->ai_addr);
	}
	uv_freeaddrinfo(res);
}

static void
conn_connect(struct net_conn *c, const struct sockaddr *addr)
{
	int err = uv_tcp_connect(&c->connect, &c->tcp, addr, conn_connected);

	if (err != 0)
		net_conn_close(c, err);
}

static void
conn_connected(uv_connect_t *req, int status)
{
	struct net_conn *c = req->data;

	if (c->closing)
		return;
	if (status != 0) {
		net_conn_close(c, status);
		return;
	}
	conn_tune(c);
	net_channel_greet(&c->channel, &c->queue);
	conn_write(c, 0);
	conn_read_start(c);
}

/* TCP_NODELAY, and no waiting for a host that vanished without a word. */
static void
conn_tune(struct net_conn *c)
{
	int ms = USER_TIMEOUT_MS, fd;

	uv_tcp_nodelay(&c->tcp, 1);
	uv_tcp_keepalive(&c->tcp, 1, 1);
	if (uv_fileno((const uv_handle_t *)&c->tcp, &fd) == 0)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

void
net_conn_accept(struct net *net, uv_stream_t *listener)
{
	struct net_conn *c = conn_new(net, false);

	if (c == NULL)
		return;
	net->n_strangers++;
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 ||
	    net->n_strangers > STRANGERS) {
		net_conn_close(c, -ECONNREFUSED);
		return;
	}
	conn_tune(c);
	conn_read_start(c);
	net_schedule(net);
}

static void
conn_read_start(struct net_conn *c)
{
	int err = uv_read_start((uv_stream_t *)&c->tcp, conn_alloc, conn_read);

	if (err != 0)
		net_conn_close(c, err);
}

static void
conn_alloc(uv_handle_t *h, size_t hint, uv_buf_t *ret)
{
	struct net_conn *c = h->data;
	uint8_t *ptr = NULL;
	size_t len = 0;

	/* A length of 0 makes libuv report ENOBUFS to conn_read(). */
	net_channel_space(&c->channel, &ptr, &len);
	*ret = uv_buf_init((char *)ptr, (unsigned)len);
}

static void
conn_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct net_conn *c = stream->data;

	if (c->closing || n == 0)
		return;
	if (n < 0) {
		net_conn_close(c, n == UV_EOF ? -ECONNRESET : (int)n);
		return;
	}
	net_channel_filled(&c->channel, (size_t)n);
	if (c->peer != NULL)
		net_heard(c);
	conn_step(c);
}

static void
conn_step(struct net_conn *c)
{
	struct net_frame frame;
	int err = 0;

	/* Any callback below may have closed this very connection. */
	while (err == 0 && !c->closing) {
		err = net_channel_next(&c->channel, &frame);
		if (err == 0)
			return;
		if (err < 0)
			break;
		err = 0;
		if (frame.type == 0)
			err = conn_greeted(c);
		else if (c->dialled)
			err = -EPROTO; /* this direction only greets */
		else
			net_frame(c, &frame);
	}
	if (c->closing)
		return;
	log_debug("net: %s: closing: %s",
	    c->channel.greeted ? c->channel.peer.name : "stranger",
	    strerror(-err));
	net_conn_close(c, err);
}

static int
conn_greeted(struct net_conn *c)
{
	int err;

	if (!c->dialled)
		c->net->n_strangers--;
	err = net_greeted(c);
	if (err != 0)
		return err;
	if (!c->dialled) {
		c->self.lane = c->channel.peer.lane;
		net_channel_greet(&c->channel, &c->queue);
		conn_write(c, 0);
	}
	c->open = true;
	net_opened(c);
	return 0;
}

/*
 * Straight to the socket, so that a frame leaves without a turn of the loop.
 * Errors other than a full socket come back through the queued write.
 */
void
net_conn_flush(struct net_conn *c)
{
	uv_buf_t buf;
	int n;

	if (!c->open || c->closing || c->writing || c->queue.len == 0)
		return;
	buf = uv_buf_init((char *)c->queue.ptr, (unsigned)c->queue.len);
	n = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
	metric_add(METRIC_net_bytes_out, n > 0 ? n : 0);
	if (n >= 0 && (size_t)n == c->queue.len)
		conn_drained(&c->queue);
	else
		conn_write(c, n > 0 ? (size_t)n : 0);
}

/* Gives the queue from `offset` on to libuv. */
static void
conn_write(struct net_conn *c, size_t offset)
{
	struct buf flight = c->flight;
	uv_buf_t buf;

	assert(!c->writing && offset < c->queue.len);
	c->flight = c->queue;
	c->queue = flight;
	buf_reset(&c->queue);
	buf = uv_buf_init((char *)c->flight.ptr + offset,
	    (unsigned)(c->flight.len - offset));
	c->writing = true;
	if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1,
		conn_written) != 0) {
		/* Only possible before anything was queued: the socket is
		 * gone, and the read side will say so. */
		c->writing = false;
	} else if (c->open) {
		metric_add(METRIC_net_bytes_out, (int64_t)buf.len);
	}
}

static void
conn_written(uv_write_t *req, int status)
{
	struct net_conn *c = req->data;
	struct net *net = c->net;

	c->writing = false;
	if (c->closing)
		return;
	if (status != 0) {
		net_conn_close(c, status);
		return;
	}
	conn_drained(&c->flight);
	net_conn_flush(c);
	if (c->dialled && c->open && c->self.lane == NET_BULK && !c->writing &&
	    c->queue.len == 0 && net->callbacks->bulk_drained != NULL)
		net->callbacks->bulk_drained(net->ctx, c->peer->id);
}

static void
conn_drained(struct buf *b)
{
	buf_reset(b);
	if (b->cap > KEEP_BYTES) {
		buf_fini(b);
		buf_init(b, LIMIT_PEER_QUEUE);
	}
}

void
net_conn_close(struct net_conn *c, int err)
{
	struct net *net = c->net;

	if (c->closing)
		return;
	assert(err < 0);
	c->closing = true;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		net->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (!c->dialled && !c->channel.greeted)
		net->n_strangers--;
	if (c->resolving)
		uv_cancel((uv_req_t *)&c->resolve);
	uv_close((uv_handle_t *)&c->tcp, conn_closed);
	net_lost(c, err);
}

static void
conn_closed(uv_handle_t *h)
{
	struct net_conn *c = h->data;

	c->tcp.data = NULL;
	if (!c->resolving)
		conn_free(c);
}

static void
conn_free(struct net_conn *c)
{
	struct net *net = c->net;

	net_channel_fini(&c->channel);
	buf_fini(&c->queue);
	buf_fini(&c->flight);
	free(c);
	net_handle_closed(net);
}
