/* The mesh: frames over loopback, and what hostile bytes do to it: nothing. */
#include "config.h"

#include "net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include "../pace.h"
#include "../tap.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/channel.h"

enum { N_NODES = 3 };

struct node {
	struct net *net;
	uint64_t id;
	int port;
	int ups, downs;	     /* callbacks counted */
	bool up[N_NODES];    /* what they said last, by node */
	int down_err;	     /* of the last one */
	uint64_t frames;     /* received */
	uint64_t bytes;
	uint64_t from;	     /* of the last frame */
	uint8_t type;
	uint64_t sum;	     /* of all payload bytes */
	uint64_t next;	     /* the number expected in the next counted one */
	bool in_order;
	bool echo;	     /* send each frame back */
	int drained;
	bool stopped;
};

static uv_loop_t loop;
static struct node nodes[N_NODES];
static uint8_t cluster[16] = "cluster of tests";

static void
on_frame(void *ctx, uint64_t peer, uint8_t type, struct slice payload)
{
	struct node *n = ctx;
	uint64_t number;

	n->frames++;
	n->bytes += payload.len;
	n->from = peer;
	n->type = type;
	for (size_t i = 0; i < payload.len; i++)
		n->sum += ((const uint8_t *)payload.ptr)[i];
	if (type == 7 && payload.len >= 8) {
		memcpy(&number, payload.ptr, 8);
		n->in_order = n->in_order && number == n->next;
		n->next = number + 1;
	}
	if (n->echo)
		net_send(n->net, peer, NET_SMALL, type, &payload, 1);
}

static int
node_of(uint64_t id)
{
	int i = 0;

	while (nodes[i].id != id)
		i++;
	return i;
}

static void
on_up(void *ctx, uint64_t peer)
{
	struct node *n = ctx;

	n->ups++;
	n->up[node_of(peer)] = true;
}

static void
on_down(void *ctx, uint64_t peer, int err)
{
	struct node *n = ctx;

	n->downs++;
	n->down_err = err;
	n->up[node_of(peer)] = false;
}

static void
on_drained(void *ctx, uint64_t peer)
{
	((struct node *)ctx)->drained++;
}

static const struct net_callbacks callbacks = {
	.frame = on_frame,
	.peer_up = on_up,
	.peer_down = on_down,
	.bulk_drained = on_drained,
};

static void
on_stopped(void *ctx)
{
	((struct node *)ctx)->stopped = true;
	((struct node *)ctx)->net = NULL;
}

static void
wake(uv_timer_t *t)
{
}

/* Runs the loop until the condition holds, at most 5 s of a machine at rest. */
#define until(cond) \
	({ \
		uint64_t end_ns_ = clock_now_ns() + PATIENCE * 5 * NS_PER_S; \
		uv_timer_t t_; \
		uv_timer_init(&loop, &t_); \
		uv_timer_start(&t_, wake, 5, 5); \
		while (!(cond) && clock_now_ns() < end_ns_) \
			uv_run(&loop, UV_RUN_ONCE); \
		uv_close((uv_handle_t *)&t_, NULL); \
		uv_run(&loop, UV_RUN_NOWAIT); \
		(cond); \
	})

static void
node_start(int i, int port)
{
	struct node *n = &nodes[i];
	char listen[32], name[8];
	struct net_conf conf = {.self = n->id, .name = name, .listen = listen,
		.callbacks = &callbacks, .ctx = n};
	int err;

	snprintf(listen, sizeof(listen), "127.0.0.1:%d", port);
	snprintf(name, sizeof(name), "n%d", i);
	memcpy(conf.cluster, cluster, sizeof(cluster));
	n->stopped = false;
	err = net_open(&loop, &conf, &n->net);
	if (err != 0)
		bail_out("net_open: %s", strerror(-err));
	n->port = net_port(n->net);
}

static void
node_link(int i, int j)
{
	char addr[32], name[8];
	struct net_peer peer = {.id = nodes[j].id, .name = name, .addr = addr};

	snprintf(addr, sizeof(addr), "127.0.0.1:%d", nodes[j].port);
	snprintf(name, sizeof(name), "n%d", j);
	if (net_peer_add(nodes[i].net, &peer) != 0)
		bail_out("net_peer_add");
}

static bool
node_stop(int i)
{
	net_stop(nodes[i].net, on_stopped, &nodes[i]);
	return until(nodes[i].stopped);
}

static int
send_bytes(int i, int j, enum net_lane lane, uint8_t type, const void *p,
    size_t len)
{
	struct slice s = slice_of(p, len);

	return net_send(nodes[i].net, nodes[j].id, lane, type, &s, 1);
}

static bool
all_up(void)
{
	for (int i = 0; i < N_NODES; i++) {
		for (int j = 0; j < N_NODES; j++) {
			if (i != j && !nodes[i].up[j])
				return false;
		}
	}
	return true;
}

static void
test_mesh(void)
{
	struct slice parts[3];

	for (int i = 0; i < N_NODES; i++) {
		nodes[i].id = UINT64_C(0xfedcba9876540000) + (uint64_t)i;
		node_start(i, 0);
	}
	is_int(send_bytes(0, 1, NET_SMALL, 1, "x", 1), -ENOTCONN,
	    "a frame to an unknown peer is refused");
	for (int i = 0; i < N_NODES; i++) {
		for (int j = 0; j < N_NODES; j++) {
			if (i != j)
				node_link(i, j);
		}
	}
	is_int(send_bytes(0, 1, NET_SMALL, 1, "x", 1), -ENOTCONN,
	    "a frame to a peer not connected yet is refused");
	ok(until(all_up()), "three hosts connect, each to each");
	ok(nodes[0].ups == 2 && nodes[1].ups == 2 && nodes[2].ups == 2,
	    "peer_up is called once per peer");
	parts[0] = slice_str("one");
	parts[1] = SLICE_EMPTY;
	parts[2] = slice_str("two");
	net_send(nodes[0].net, nodes[1].id, NET_SMALL, 9, parts, 3);
	ok(until(nodes[1].frames == 1), "a frame arrives");
	ok(nodes[1].type == 9 && nodes[1].bytes == 6 &&
	    nodes[1].from == nodes[0].id,
	    "with its type, its gathered payload and its sender");
	ok(net_peer_heard_ns(nodes[1].net, nodes[0].id) != 0,
	    "its arrival counts as a sign of life");
	send_bytes(0, 2, NET_SMALL, 3, NULL, 0);
	ok(until(nodes[2].frames == 1) && nodes[2].bytes == 0,
	    "a frame may be empty");
}

static void
test_order(void)
{
	uint8_t payload[600] = {0};

	nodes[1].in_order = true;
	nodes[1].next = 0;
	for (uint64_t k = 0; k < 20000; k++) {
		memcpy(payload, &k, 8);
		if (send_bytes(0, 1, NET_SMALL, 7, payload,
			8 + k % (sizeof(payload) - 8)) != 0)
			break;
		if (k % 50 == 0)
			net_flush(nodes[0].net);
		if (k % 1000 == 0)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	ok(until(nodes[1].next == 20000) && nodes[1].in_order,
	    "20000 frames of many sizes arrive in order, none missing");
}

static void
test_bounds(void)
{
	static uint8_t big[LIMIT_FRAME];
	uint64_t sum = 0, before = nodes[2].frames, sum_before = nodes[2].sum;
	int n = 0, err;

	memset(big, 0x5a, sizeof(big));
	sum = UINT64_C(0x5a) * sizeof(big);
	is_int(net_send(nodes[0].net, nodes[2].id, NET_BULK, 4,
	    &(struct slice){big, sizeof(big) + 1}, 1), -EMSGSIZE,
	    "a frame longer than LIMIT_FRAME is refused");
	until(net_queued(nodes[0].net, nodes[2].id, NET_BULK) == 0);
	while ((err = send_bytes(0, 2, NET_BULK, 4, big, sizeof(big))) == 0)
		n++;
	is_int(err, -ENOBUFS, "a full queue refuses the next frame");
	ok((size_t)n == LIMIT_PEER_QUEUE / (sizeof(big) + NET_FRAME_HEADER),
	    "after LIMIT_PEER_QUEUE bytes");
	send_bytes(0, 2, NET_SMALL, 5, "!", 1);
	net_flush(nodes[0].net);
	ok(until(nodes[2].type == 5), "the small lane goes on beside it");
	ok(until(nodes[2].frames == before + (uint64_t)n + 1),
	    "what was queued arrives");
	ok(nodes[2].sum == sum_before + (uint64_t)n * sum + '!',
	    "unchanged");
	ok(until(nodes[0].drained > 0), "and the bulk lane says it is empty");
}

static void
test_faults(void)
{
	uint64_t before = nodes[1].frames;
	int ups = nodes[0].ups;

	fault_set(FAULT_net_drop_out, (int64_t)nodes[1].id);
	is_int(send_bytes(0, 1, NET_SMALL, 1, "x", 1), 0,
	    "fault net_drop_out swallows a frame");
	fault_set(FAULT_net_drop_out, 0);
	fault_set(FAULT_net_drop_in, -1);
	send_bytes(0, 1, NET_SMALL, 1, "x", 1);
	until(net_queued(nodes[0].net, nodes[1].id, NET_SMALL) == 0);
	send_bytes(0, 2, NET_SMALL, 1, "x", 1);
	for (int i = 0; i < 50; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	fault_set(FAULT_net_drop_in, 0);
	send_bytes(0, 1, NET_SMALL, 8, "y", 1);
	ok(until(nodes[1].frames == before + 1) && nodes[1].type == 8,
	    "fault net_drop_in swallows frames, later ones arrive");
	is_int(nodes[0].ups, ups, "and no connection was lost over it");
}

static void
test_lost(void)
{
	int downs = nodes[0].downs, ups = nodes[0].ups, port = nodes[1].port;
	uint64_t t;

	t = clock_now_ns();
	ok(node_stop(1), "a host stops");
	ok(until(nodes[0].downs == downs + 1), "its peer is told");
	diag("told after %.1f ms: %s", (double)(clock_now_ns() - t) / 1e6,
	    strerror(-nodes[0].down_err));
	ok(!nodes[0].up[1], "the peer counts as down");
	is_int(send_bytes(0, 1, NET_SMALL, 1, "x", 1), -ENOTCONN,
	    "and frames to it are refused");
	t = clock_now_ns();
	while (clock_now_ns() - t < 700 * NS_PER_MS) /* backoff grows */
		until(clock_now_ns() - t >= 700 * NS_PER_MS);
	node_start(1, port);
	t = pace_ns();
	node_link(1, 0);
	node_link(1, 2);
	ok(until(all_up()), "it comes back");
	ok(pace_ns() - t < 200 * NS_PER_MS,
	    "within 0.2 s, whatever the backoff was: its own dial wakes ours");
	is_int(nodes[0].ups, ups + 1, "peer_up is called once");
	send_bytes(0, 1, NET_SMALL, 6, "z", 1);
	ok(until(nodes[1].type == 6), "and frames arrive again");
}

static int
raw_connect(int port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0)
		bail_out("connect: %s", strerror(errno));
	return fd;
}

/* The other end was closed: end of file, or a reset. */
static bool
raw_closed(int fd)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void
make_hello(struct buf *out, uint64_t id, const uint8_t *of)
{
	struct net_hello hello = {.id = id, .name = "stranger",
		.lane = NET_SMALL};
	struct net_channel ch;

	memcpy(hello.cluster, of, sizeof(hello.cluster));
	net_channel_init(&ch, &hello);
	net_channel_greet(&ch, out);
	net_channel_fini(&ch);
}

static void
test_stranger(const char *what, uint64_t id, const uint8_t *of)
{
	uint64_t before = nodes[0].frames;
	int fd = raw_connect(nodes[0].port);
	struct buf out;

	buf_init(&out, 1 << 16);
	make_hello(&out, id, of);
	buf_raw(&out, "\1\0\0\0\7x", 6);
	if (send(fd, out.ptr, out.len, MSG_NOSIGNAL) < 0)
		bail_out("send");
	ok(until(raw_closed(fd)) && nodes[0].frames == before,
	    "%s is shown the door, its frame is not delivered", what);
	close(fd);
	buf_fini(&out);
}

static void
test_hostile(void)
{
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 1};
	uint8_t other[16] = "another cluster";
	struct buf out;
	int fd, fds[64];

	test_stranger("an unknown member", 4711, cluster);
	test_stranger("a host of another cluster", nodes[1].id, other);
	test_stranger("a host that claims to be us", nodes[0].id, cluster);
	fd = raw_connect(nodes[0].port);
	if (send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) < 0)
		bail_out("send");
	ok(until(raw_closed(fd)), "another protocol is shown the door");
	close(fd);

	/* As a known member, so that the hello is fine. */
	buf_init(&out, 1 << 16);
	make_hello(&out, nodes[1].id, cluster);
	buf_raw(&out, huge, sizeof(huge));
	fd = raw_connect(nodes[0].port);
	if (send(fd, out.ptr, out.len, MSG_NOSIGNAL) < 0)
		bail_out("send");
	ok(until(raw_closed(fd)), "a length out of bounds closes");
	close(fd);
	buf_fini(&out);

	for (int i = 0; i < 64; i++)
		fds[i] = raw_connect(nodes[0].port);
	ok(until(raw_closed(fds[63])), "silent strangers are limited in number");
	ok(until(raw_closed(fds[0])), "and in time");
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	ok(until(all_up()), "the mesh stands");
}

static void
test_latency(void)
{
	enum { ROUNDS = 2000 };
	static uint64_t took[ROUNDS];
	uint8_t payload[100] = {0};
	uint64_t before, t;

	nodes[1].echo = true;
	for (int i = 0; i < ROUNDS; i++) {
		before = nodes[0].frames;
		t = clock_now_ns();
		send_bytes(0, 1, NET_SMALL, 2, payload, sizeof(payload));
		net_flush(nodes[0].net);
		while (nodes[0].frames == before)
			uv_run(&loop, UV_RUN_ONCE);
		took[i] = clock_now_ns() - t;
	}
	nodes[1].echo = false;
	for (int i = 1; i < ROUNDS; i++) {
		for (int j = i; j > 0 && took[j] < took[j - 1]; j--) {
			t = took[j];
			took[j] = took[j - 1];
			took[j - 1] = t;
		}
	}
	diag("round trip in one process: p50 %.1f us, p99 %.1f us",
	    (double)took[ROUNDS / 2] / 1e3,
	    (double)took[ROUNDS * 99 / 100] / 1e3);
}

/* Feeds bytes in pieces of `step`; counts frames, sums their bytes. */
static int
parse(const uint8_t *in, size_t len, size_t step, uint64_t *ret_sum)
{
	static const struct net_hello self = {.id = 1, .name = "self"};
	struct net_channel ch;
	struct net_frame frame;
	uint8_t *space;
	size_t room, n;
	int frames = 0, err = 0;

	net_channel_init(&ch, &self);
	*ret_sum = 0;
	for (size_t at = 0; at < len && err >= 0; at += n) {
		if (net_channel_space(&ch, &space, &room) != 0)
			bail_out("no memory");
		n = len - at < step ? len - at : step;
		n = n < room ? n : room;
		memcpy(space, in + at, n);
		net_channel_filled(&ch, n);
		while ((err = net_channel_next(&ch, &frame)) > 0) {
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

static void
test_channel(void)
{
	static const struct net_hello self = {.id = 77, .name = "peer"};
	struct net_channel ch;
	uint64_t sum, want;
	uint32_t seed = 1;
	uint8_t noise[3000];
	struct slice s;
	struct buf out;
	bool good = true;
	int frames;

	buf_init(&out, 1 << 20);
	net_channel_init(&ch, &self);
	net_channel_greet(&ch, &out);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < 40; i++) {
		s = slice_of(noise, i * i);
		net_channel_seal(&ch, &out, (uint8_t)(i + 1), &s, 1);
	}
	frames = parse(out.ptr, out.len, out.len, &want);
	is_int(frames, 41, "a hello and 40 frames are parsed from one piece");
	for (size_t step = 1; step < 4000; step = step * 5 / 4 + 1)
		good = good && parse(out.ptr, out.len, step, &sum) == 41 &&
		    sum == want;
	ok(good, "and the same from pieces of any size");

	/* S3: mutated bytes end in frames or an error, never in a crash. */
	for (int round = 0; round < 3000; round++) {
		uint8_t copy[4096];
		size_t len = out.len < sizeof(copy) ? out.len : sizeof(copy);

		memcpy(copy, out.ptr, len);
		for (int i = 0; i < 3; i++) {
			seed = seed * 1664525 + 1013904223;
			copy[(seed >> 8) % (i == 0 ? 64 : len)] ^=
			    (uint8_t)(1 << (seed >> 29));
		}
		parse(copy, len, 1 + seed % 777, &sum);
	}
	pass("S3: mutated streams are survived");
	net_channel_fini(&ch);
	buf_fini(&out);
}

int
main(void)
{
	pace_start();
	log_set_level(LOG_LEVEL_ERROR);
	uv_loop_init(&loop);
	test_channel();
	test_mesh();
	test_order();
	test_bounds();
	test_faults();
	test_latency();
	test_lost();
	test_hostile();
	for (int i = 0; i < N_NODES; i++)
		ok(node_stop(i), "host %d stops and frees all", i);
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int(uv_loop_close(&loop), 0, "no handle is left behind");
	return done_testing();
}
