/*
 * net.c: the mesh: who is dialled, accepted, heard and told.
 */
#include "config.h"

#include "net/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"

#define BACKOFF_FIRST_MS 20
#define BACKOFF_MAX_MS 500
#define BACKLOG 64

static int listen_on(struct net *, const char *addr);
static void listen_ready(uv_stream_t *, int);
static void before_poll(uv_prepare_t *);
static void timer_fired(uv_timer_t *);
static void dial_due(struct net *, uint64_t now_ns);
static void give_up_due(struct net *, uint64_t now_ns);
static void handle_closed(uv_handle_t *);
static struct peer *peer_find(const struct net *, uint64_t id);
static void peer_free(struct peer *);
static int refuse(struct net_conn *, const char *why);
static bool dropped(enum fault, const struct peer *);

int
net_open(uv_loop_t *loop, const struct net_conf *conf, struct net **ret)
{
	struct net *net = calloc(1, sizeof(*net));
	int err;

	assert(conf->self != 0 && conf->callbacks != NULL);
	if (net == NULL)
		return -ENOMEM;
	net->loop = loop;
	net->callbacks = conf->callbacks;
	net->ctx = conf->ctx;
	net->self = conf->self;
	snprintf(net->name, sizeof(net->name), "%s", conf->name);
	memcpy(net->cluster, conf->cluster, sizeof(net->cluster));
	uv_prepare_init(loop, &net->prepare);
	uv_timer_init(loop, &net->timer);
	err = uv_tcp_init(loop, &net->listener);
	assert(err == 0); /* makes no socket yet */
	net->prepare.data = net->timer.data = net->listener.data = net;
	net->n_handles = 3;
	uv_prepare_start(&net->prepare, before_poll);
	err = listen_on(net, conf->listen);
	for (size_t i = 0; err == 0 && i < conf->n_peers; i++)
		err = net_peer_add(net, &conf->peers[i]);
	if (err != 0) {
		net_stop(net, NULL, NULL);
		return err;
	}
	*ret = net;
	return 0;
}

static int
listen_on(struct net *net, const char *addr)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *res;
	char host[CONF_ADDRESS_BYTES], service[8];
	uint16_t port;
	int err = conf_split_address(addr, host, sizeof(host), &port);

	if (err != 0)
		return err;
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &res) == 0)
		err = uv_tcp_bind(&net->listener, res->ai_addr, 0);
	else
		res = NULL, err = -EADDRNOTAVAIL;
	if (err == 0)
		err = uv_listen((uv_stream_t *)&net->listener, BACKLOG,
		    listen_ready);
	if (res != NULL)
		freeaddrinfo(res);
	return err;
}

static void
listen_ready(uv_stream_t *listener, int status)
{
	struct net *net = listener->data;

	if (status == 0 && !net->stopping)
		net_conn_accept(net, listener);
	else if (status != 0)
		log_warn("net: cannot accept a connection: %s, its host dials "
		    "again", uv_strerror(status));
}

void
net_stop(struct net *net, void (*cb)(void *ctx), void *ctx)
{
	if (net == NULL) {
		if (cb != NULL)
			cb(ctx);
		return;
	}
	assert(!net->stopping);
	net->stopping = true;
	net->stopped = cb;
	net->stopped_ctx = ctx;
	while (net->conns != NULL)
		net_conn_close(net->conns, -ECANCELED);
	uv_close((uv_handle_t *)&net->listener, handle_closed);
	uv_close((uv_handle_t *)&net->prepare, handle_closed);
	uv_close((uv_handle_t *)&net->timer, handle_closed);
}

static void
handle_closed(uv_handle_t *h)
{
	net_handle_closed(h->data);
}

void
net_handle_closed(struct net *net)
{
	void (*stopped)(void *) = net->stopped;
	void *ctx = net->stopped_ctx;

	assert(net->n_handles > 0);
	if (--net->n_handles > 0)
		return;
	assert(net->stopping && net->conns == NULL);
	for (size_t i = 0; i < net->n_peers; i++)
		peer_free(net->peers[i]);
	free(net->peers);
	free(net);
	if (stopped != NULL)
		stopped(ctx);
}

int
net_port(const struct net *net)
{
	struct sockaddr_storage addr;
	int len = sizeof(addr);

	if (uv_tcp_getsockname(&net->listener, (struct sockaddr *)&addr,
		&len) != 0)
		return 0;
	/* sin_port and sin6_port lie at the same place. */
	return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

int
net_peer_add(struct net *net, const struct net_peer *conf)
{
	struct peer *peer, **peers;
	int err;

	assert(conf->id != 0 && peer_find(net, conf->id) == NULL);
	if (conf->id == net->self)
		return -EINVAL;
	peer = calloc(1, sizeof(*peer));
	peers = realloc(net->peers, (net->n_peers + 1) * sizeof(*peers));
	if (peers != NULL)
		net->peers = peers;
	if (peer == NULL || peers == NULL) {
		free(peer);
		return -ENOMEM;
	}
	peer->id = conf->id;
	peer->name = strdup(conf->name);
	err = peer->name == NULL
	    ? -ENOMEM
	    : conf_split_address(conf->addr, peer->host, sizeof(peer->host),
		&peer->port);
	if (err != 0) {
		peer_free(peer);
		return err;
	}
	net->peers[net->n_peers++] = peer;
	for (int i = 0; i < N_NET_LANES; i++)
		peer->lanes[i].backoff_ms = BACKOFF_FIRST_MS;
	net_schedule(net);
	return 0;
}

int
net_send(struct net *net, uint64_t id, enum net_lane lane, uint8_t type,
    const struct slice *slices, size_t n)
{
	struct peer *peer = peer_find(net, id);
	struct net_conn *c = peer == NULL ? NULL : peer->lanes[lane].out;
	size_t len = 0, before;

	assert(type != 0 && lane < N_NET_LANES);
	for (size_t i = 0; i < n; i++)
		len += slices[i].len;
	if (len > LIMIT_FRAME)
		return -EMSGSIZE;
	if (c == NULL || !c->open)
		return -ENOTCONN;
	if (dropped(FAULT_net_drop_out, peer))
		return 0;
	if (len + NET_FRAME_HEADER + net_queued(net, id, lane) >
	    LIMIT_PEER_QUEUE) {
		metric_add(METRIC_net_dropped, 1);
		return -ENOBUFS;
	}
	before = c->queue.len;
	net_channel_seal(&c->channel, &c->queue, type, slices, n);
	if (buf_error(&c->queue) != 0) {
		/* No memory: half a frame must not leave. */
		c->queue.len = before;
		c->queue.error = 0;
		metric_add(METRIC_net_dropped, 1);
		return -ENOBUFS;
	}
	metric_add(METRIC_net_frames_out, 1);
	return 0;
}

void
net_flush(struct net *net)
{
	struct net_conn *c;

	for (size_t i = 0; i < net->n_peers; i++) {
		for (int l = 0; l < N_NET_LANES; l++) {
			c = net->peers[i]->lanes[l].out;
			if (c != NULL)
				net_conn_flush(c);
		}
	}
}

static void
before_poll(uv_prepare_t *prepare)
{
	net_flush(prepare->data);
}

uint64_t
net_peer_heard_ns(const struct net *net, uint64_t id)
{
	const struct peer *peer = peer_find(net, id);

	return peer == NULL ? 0 : peer->heard_ns;
}

size_t
net_queued(const struct net *net, uint64_t id, enum net_lane lane)
{
	const struct peer *peer = peer_find(net, id);
	const struct net_conn *c = peer == NULL ? NULL : peer->lanes[lane].out;

	return c == NULL ? 0 : c->queue.len + (c->writing ? c->flight.len : 0);
}

/* Sets the timer to the next dial or deadline. */
void
net_schedule(struct net *net)
{
	uint64_t now_ns = clock_now_ns(), at_ns = UINT64_MAX;

	if (net->stopping)
		return;
	for (size_t i = 0; i < net->n_peers; i++) {
		for (int l = 0; l < N_NET_LANES; l++) {
			struct lane *lane = &net->peers[i]->lanes[l];

			if (lane->out == NULL && lane->dial_at_ns < at_ns)
				at_ns = lane->dial_at_ns;
		}
	}
	for (struct net_conn *c = net->conns; c != NULL; c = c->next) {
		if (!c->open && c->deadline_ns < at_ns)
			at_ns = c->deadline_ns;
	}
	if (at_ns == UINT64_MAX)
		uv_timer_stop(&net->timer);
	else
		uv_timer_start(&net->timer, timer_fired, at_ns <= now_ns ? 0 :
		    (at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS, 0);
}

static void
timer_fired(uv_timer_t *timer)
{
	struct net *net = timer->data;
	uint64_t now_ns = clock_now_ns();

	give_up_due(net, now_ns);
	dial_due(net, now_ns);
	net_schedule(net);
}

static void
dial_due(struct net *net, uint64_t now_ns)
{
	for (size_t i = 0; i < net->n_peers; i++) {
		for (int l = 0; l < N_NET_LANES; l++) {
			struct lane *lane = &net->peers[i]->lanes[l];

			if (lane->out != NULL || lane->dial_at_ns > now_ns)
				continue;
			lane->dial_at_ns = now_ns + lane->backoff_ms * NS_PER_MS;
			lane->backoff_ms *= 2;
			if (lane->backoff_ms > BACKOFF_MAX_MS)
				lane->backoff_ms = BACKOFF_MAX_MS;
			net_conn_dial(net, net->peers[i], (enum net_lane)l);
		}
	}
}

static void
give_up_due(struct net *net, uint64_t now_ns)
{
	struct net_conn *c, *next;

	/* Closing one that never opened calls nobody, so next stays valid. */
	for (c = net->conns; c != NULL; c = next) {
		next = c->next;
		if (!c->open && c->deadline_ns <= now_ns)
			net_conn_close(c, -ETIMEDOUT);
	}
}

int
net_greeted(struct net_conn *c)
{
	const struct net_hello *hello = &c->channel.peer;
	struct net *net = c->net;
	struct peer *peer = peer_find(net, hello->id);
	struct lane *lane;

	if (memcmp(hello->cluster, net->cluster, sizeof(net->cluster)) != 0)
		return refuse(c, "it belongs to another cluster");
	if (peer == NULL)
		return refuse(c, "no such member here");
	if (c->dialled && (peer != c->peer || hello->lane != c->self.lane))
		return refuse(c, "not the member dialled");
	if (c->dialled)
		return 0;
	lane = &peer->lanes[hello->lane];
	/* A peer that dials again has lost the old connection. */
	if (lane->in != NULL)
		net_conn_close(lane->in, -ECONNABORTED);
	lane->in = c;
	c->peer = peer;
	return 0;
}

void
net_hang_up(struct net *net, uint64_t id)
{
	struct peer *peer = peer_find(net, id);

	for (int l = 0; peer != NULL && l < N_NET_LANES; l++) {
		if (peer->lanes[l].in != NULL)
			net_conn_close(peer->lanes[l].in, -EBADMSG);
	}
}

/* A host that isn't ours: said once per id, or the log would fill. */
static int
refuse(struct net_conn *c, const char *why)
{
	const struct net_hello *hello = &c->channel.peer;
	struct net *net = c->net;
	size_t n = sizeof(net->refused) / sizeof(net->refused[0]);

	for (size_t i = 0; i < n; i++) {
		if (net->refused[i] == hello->id)
			return -EACCES;
	}
	net->refused[net->n_refused++ % n] = hello->id;
	log_warn("net: %s (member %016" PRIx64 "): refused, %s", hello->name,
	    hello->id, why);
	return -EACCES;
}

void
net_opened(struct net_conn *c)
{
	struct net *net = c->net;
	struct peer *peer = c->peer;

	net_heard(c);
	if (!c->dialled) {
		/* It lives: don't sit out the backoff. */
		for (int l = 0; l < N_NET_LANES; l++) {
			peer->lanes[l].dial_at_ns = 0;
			peer->lanes[l].backoff_ms = BACKOFF_FIRST_MS;
		}
		net_schedule(net);
		return;
	}
	peer->lanes[c->self.lane].backoff_ms = BACKOFF_FIRST_MS;
	if (c->self.lane != NET_SMALL)
		return;
	log_debug("net: %s: connected", peer->name);
	peer->up = true;
	net->callbacks->peer_up(net->ctx, peer->id);
}

void
net_frame(struct net_conn *c, const struct net_frame *frame)
{
	struct net *net = c->net;

	metric_add(METRIC_net_frames_in, 1);
	if (!dropped(FAULT_net_drop_in, c->peer))
		net->callbacks->frame(net->ctx, c->peer->id, frame->type,
		    frame->payload);
}

void
net_heard(struct net_conn *c)
{
	if (!dropped(FAULT_net_drop_in, c->peer))
		c->peer->heard_ns = clock_now_ns();
}

void
net_lost(struct net_conn *c, int err)
{
	struct net *net = c->net;
	struct peer *peer = c->peer;

	c->peer = NULL;
	if (peer == NULL)
		return;
	for (int l = 0; l < N_NET_LANES; l++) {
		struct lane *lane = &peer->lanes[l];

		if (lane->in == c)
			lane->in = NULL;
		if (lane->out == c)
			lane->out = NULL;
	}
	net_schedule(net);
	if (!c->dialled || !c->open || c->self.lane != NET_SMALL || !peer->up)
		return;
	peer->up = false;
	log_debug("net: %s: connection lost: %s", peer->name, strerror(-err));
	if (!net->stopping)
		net->callbacks->peer_down(net->ctx, peer->id, err);
}

static bool
dropped(enum fault fault, const struct peer *peer)
{
	int64_t value = fault_get(fault);

	return value != 0 && (value == -1 || value == (int64_t)peer->id);
}

static struct peer *
peer_find(const struct net *net, uint64_t id)
{
	for (size_t i = 0; i < net->n_peers; i++) {
		if (net->peers[i]->id == id)
			return net->peers[i];
	}
	return NULL;
}

static void
peer_free(struct peer *peer)
{
	free(peer->name);
	free(peer);
}
