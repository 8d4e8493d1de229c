/*
 * forward.c: the order in which a host sends commands to its leader again.
 *
 * One real host; another member is played here: it says that it leads, keeps
 * saying so, takes no command, and refuses some.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "group/internal.h"
#include "group_host.h"
#include "../tap.h"

#define LEADER 1 /* who is played; host 0 is real, host 2 is down */

static struct hosts hs;
static struct net *net;
static uv_loop_t loop;
static uint64_t term = 100;
/* What was forwarded since it was last asked: "1 2 3". */
static char seqs[200];
static uint64_t session; /* of the commands; the host's own is not opened */

static void
on_frame(void *ctx, uint64_t peer, uint8_t type, struct slice payload)
{
	struct reader r;
	uint32_t n;

	reader_init(&r, payload);
	(void)reader_u16(&r);
	(void)reader_u64(&r);
	if (type != FRAME_FORWARD)
		return;
	for (n = reader_u32(&r); n > 0; n--) {
		struct slice bytes = reader_slice32(&r, LIMIT_COMMAND);
		struct command c;

		if (command_decode(bytes, &c) != 0 ||
		    c.kind != COMMAND_create)
			continue;
		sprintf(seqs + strlen(seqs), "%s%u",
		    seqs[0] == '\0' ? "" : " ", (unsigned)c.stamp.seq);
	}
}

static void
on_peer(void *ctx, uint64_t peer)
{
}

static void
on_peer_down(void *ctx, uint64_t peer, int err)
{
}

static void
send_frame(enum group_frame type, struct buf *b)
{
	struct slice payload = buf_slice(b);

	(void)net_send(net, hs.conf.members[0].id, NET_SMALL, type, &payload,
	    1);
	buf_fini(b);
}

static void
begin_frame(struct buf *b)
{
	buf_init(b, 1000);
	buf_u16(b, GROUP_NUMBER);
	buf_u64(b, term);
}

/* The log is what every host begins with: the list of members. */
static void
heartbeat(uv_timer_t *t)
{
	struct buf b;

	begin_frame(&b);
	buf_u64(&b, term);
	buf_u64(&b, 1); /* the entry before: its index and term */
	buf_u64(&b, 1);
	buf_u64(&b, 1); /* what is committed, its term */
	buf_u64(&b, 1);
	buf_u32(&b, 0);
	send_frame(FRAME_APPEND, &b);
	net_flush(net);
}

static void
refuse(uint64_t seq)
{
	struct buf b;

	begin_frame(&b);
	buf_u64(&b, session);
	buf_u64(&b, seq);
	buf_u64(&b, 0);
	send_frame(FRAME_NOTLEADER, &b);
}

/* What the host forwards next. */
static const char *
forwarded(size_t n)
{
	static char ret[sizeof(seqs)];
	uint64_t until = clock_now_ns() + 5 * NS_PER_S;

	while (clock_now_ns() < until) {
		size_t got = seqs[0] != '\0';

		for (const char *p = seqs; *p != '\0'; p++)
			got += *p == ' ';
		if (got >= n)
			break;
		uv_run(&loop, UV_RUN_ONCE);
	}
	strcpy(ret, seqs);
	seqs[0] = '\0';
	return ret;
}

static void
test_order(void)
{
	host_tell(&hs, 0, "commit 4 4 a");
	is_str(forwarded(4), "1 2 3 4", "commands go to the leader");
	refuse(4);
	refuse(2);
	refuse(3);
	net_flush(net);
	is_str(forwarded(3), "2 3 4",
	    "refused ones are sent again as they were submitted");
	refuse(2);
	net_flush(net);
	is_str(forwarded(1), "2", "one is refused again");
	term++;
	heartbeat(NULL);
	is_str(forwarded(4), "1 2 3 4",
	    "another term: all go out as they were submitted");
	refuse(3);
	host_tell(&hs, 0, "later b");
	is_str(host_answer(&hs, 0, 5000), "later", "one more is submitted");
	net_flush(net);
	is_str(forwarded(2), "5 3", "and sent; then an older one is refused");
	term++;
	heartbeat(NULL);
	is_str(forwarded(5), "1 2 3 4 5", "and is in its place at the end");
}

static void
wait_closed(void *ctx)
{
	*(bool *)ctx = true;
}

int
main(void)
{
	static const struct net_callbacks callbacks = {.frame = on_frame,
	    .peer_up = on_peer,
	    .peer_down = on_peer_down};
	struct net_peer peer;
	struct net_conf conf;
	uv_timer_t timer;
	bool closed = false;

	hosts_init(&hs, 3);
	hs.conf.write_timeout_ms = 60000;
	peer = (struct net_peer){.id = hs.conf.members[0].id,
	    .name = hs.conf.members[0].name,
	    .addr = hs.conf.members[0].address};
	conf = (struct net_conf){.self = hs.conf.members[LEADER].id,
	    .name = hs.conf.members[LEADER].name,
	    .listen = hs.conf.members[LEADER].address,
	    .peers = &peer,
	    .n_peers = 1,
	    .callbacks = &callbacks};
	memcpy(conf.cluster, hs.conf.cluster, sizeof(conf.cluster));
	host_start(&hs, 0);
	is_str(host_answer(&hs, 0, 30000), "open", "a host starts");
	uv_loop_init(&loop);
	is_int(net_open(&loop, &conf, &net), 0, "and a leader for it");
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, heartbeat, 0, 20);
	test_order();
	net_stop(net, wait_closed, &closed);
	uv_close((uv_handle_t *)&timer, NULL);
	while (!closed)
		uv_run(&loop, UV_RUN_ONCE);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_loop_close(&loop);
	hosts_fini(&hs);
	return done_testing();
}
