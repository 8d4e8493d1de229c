/*
 * hostile.c: what a member may send without ending another (S3).
 *
 * One real host; another member is played here, which speaks the frames of the
 * group: it votes for the host and forwards what it must not, then it leads
 * and sends entries that nobody could apply.  Nothing of it gets into the log:
 * the connection it came on is closed, and what is sound still goes through.
 *
 * `hostile.t [seed [frames]]`: of the absurd ones at the end.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "group/internal.h"
#include "group_host.h"
#include "../random.h"
#include "../tap.h"

#define PLAYED 1 /* host 0 is real, host 2 is down */

static struct hosts hs;
static struct net *net;
static uv_loop_t loop;
static bool votes = true;	/* for the host */
static uint64_t term;		/* the host's, as its frames say */
static uint64_t lead_term;	/* in which we lead; 0: we don't */
static uint64_t last = 1, last_term = 1; /* of the log that we lead with */
static unsigned n_closed, n_opened;
static uint64_t acked, applied; /* entries that the host has, as it says */
static bool refused;
static uint64_t asked; /* its newest question for the read index */
static struct random rng;

static void
begin_frame(struct buf *b)
{
	buf_init(b, LIMIT_FRAME);
	buf_u16(b, GROUP_NUMBER);
	buf_u64(b, lead_term);
}

static void
send_frame(uint8_t type, struct buf *b)
{
	struct slice payload = buf_slice(b);

	(void)net_send(net, hs.conf.members[0].id, NET_SMALL, type, &payload,
	    1);
	buf_fini(b);
	net_flush(net);
}

static void
answer_vote(struct reader *r)
{
	struct buf b;
	bool pre;

	term = reader_u64(r);
	(void)reader_u64(r);
	(void)reader_u64(r);
	(void)reader_u64(r);
	(void)reader_u8(r);
	pre = reader_u8(r) != 0;
	begin_frame(&b);
	buf_u64(&b, term);
	buf_u8(&b, votes);
	buf_u8(&b, pre);
	send_frame(FRAME_VOTE_RESULT, &b);
}

static void
answer_append(struct reader *r)
{
	uint64_t prev, n;
	struct buf b;

	term = reader_u64(r);
	prev = reader_u64(r);
	(void)reader_u64(r);
	(void)reader_u64(r);
	(void)reader_u64(r);
	n = reader_u32(r);
	last = prev + n;
	last_term = term;
	begin_frame(&b);
	buf_u64(&b, term);
	buf_u64(&b, 0);
	buf_u64(&b, last);
	send_frame(FRAME_APPEND_RESULT, &b);
}

static void
answer_term(struct reader *r)
{
	struct buf b;

	begin_frame(&b);
	buf_u64(&b, reader_u64(r));
	buf_u64(&b, term);
	send_frame(FRAME_TERM_REPLY, &b);
}

static void
on_frame(void *ctx, uint64_t peer, uint8_t type, struct slice payload)
{
	struct reader r;

	reader_init(&r, payload);
	(void)reader_u16(&r);
	(void)reader_u64(&r);
	switch (type) {
	case FRAME_VOTE:
		answer_vote(&r);
		break;
	case FRAME_APPEND:
		if (lead_term == 0)
			answer_append(&r);
		break;
	case FRAME_APPEND_RESULT:
		term = reader_u64(&r);
		refused = reader_u64(&r) != 0;
		acked = reader_u64(&r);
		break;
	case FRAME_TERM:
		answer_term(&r);
		break;
	case FRAME_READ:
		asked = reader_u64(&r);
		break;
	case FRAME_GOSSIP:
		applied = reader_u64(&r);
		break;
	default:
		break;
	}
}

static void
on_peer(void *ctx, uint64_t peer)
{
	n_opened++;
}

static void
on_peer_down(void *ctx, uint64_t peer, int err)
{
	n_closed++;
}

/* Runs the loop until `value` is at least `want`, for 10 s at most. */
static bool
reaches(const unsigned *value, unsigned want)
{
	uint64_t until = clock_now_ns() + 60 * NS_PER_S;

	while (*value < want && clock_now_ns() < until)
		uv_run(&loop, UV_RUN_ONCE);
	return *value >= want;
}

static bool
reaches64(const uint64_t *value, uint64_t want)
{
	uint64_t until = clock_now_ns() + 60 * NS_PER_S;

	while (*value < want && clock_now_ns() < until)
		uv_run(&loop, UV_RUN_ONCE);
	return *value >= want;
}

/* The first word that the host says next, while the loop runs on. */
static const char *
said(void)
{
	uint64_t until = clock_now_ns() + 60 * NS_PER_S;
	static char word[sizeof(hs.line)];
	const char *got = "late";

	while (strcmp(got, "late") == 0 && clock_now_ns() < until) {
		uv_run(&loop, UV_RUN_NOWAIT);
		got = host_answer(&hs, 0, 50);
	}
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(got, " "), got);
	return word;
}

static const char *
ask(const char *line)
{
	host_tell(&hs, 0, "%s", line);
	return said();
}

/* ---- commands ---- */

static void
encode(struct buf *b, uint64_t host, enum command_kind kind)
{
	struct command c = {.kind = kind, .stamp.host = host, .node = 77,
	    .name = slice_str("played")};

	buf_init(b, LIMIT_COMMAND);
	command_encode(b, &c);
}

enum sabotage { SOUND, TRUNCATED, LONGER, UNKNOWN, NAMELESS, N_SABOTAGES };

static void
sabotage(struct buf *b, enum sabotage how)
{
	switch (how) {
	case TRUNCATED:
		b->len -= 3;
		break;
	case LONGER:
		buf_u8(b, 0);
		break;
	case UNKNOWN:
		b->ptr[0] = b->ptr[1] = 0xee; /* its kind */
		break;
	case NAMELESS:
		*(char *)memmem(b->ptr, b->len, "played", 6) = '\0';
		break;
	default:
		break;
	}
}

static void
forward(uint64_t host, enum command_kind kind, enum sabotage how,
    uint32_t n_said)
{
	struct buf b, c;

	encode(&c, host, COMMAND_session_open);
	begin_frame(&b);
	buf_u32(&b, n_said);
	buf_slice32(&b, buf_slice(&c)); /* a sound one first */
	buf_fini(&c);
	encode(&c, host, kind);
	sabotage(&c, how);
	buf_slice32(&b, buf_slice(&c));
	buf_fini(&c);
	send_frame(FRAME_FORWARD, &b);
}

static void
closes(unsigned before, const char *text)
{
	ok(reaches(&n_closed, before + 1) && reaches(&n_opened, before + 2),
	    "S3: forwarded: %s: its connection is closed", text);
}

/* The host leads, by our vote. */
static void
test_forwarded(void)
{
	uint64_t self = hs.conf.members[PLAYED].id, was;
	static const char *const what[] = {
	    [TRUNCATED] = "a command cut short", [LONGER] = "with more behind",
	    [UNKNOWN] = "of no known kind", [NAMELESS] = "with a NUL in a name"};

	/* What the leader alone decides. */
	static const enum command_kind leaders[] = {COMMAND_session_expire,
	    COMMAND_expire, COMMAND_delay_end, COMMAND_suspend, COMMAND_resume};

	ok(reaches64(&last, 2) && reaches64(&applied, 2), "the host leads");
	is_str(said(), "ready", "and has opened its session");
	is_str(ask("one a"), "one", "and commits");
	ok(reaches64(&applied, last), "all of it");
	was = last;
	for (enum sabotage how = TRUNCATED; how < N_SABOTAGES; how++) {
		unsigned before = n_closed;

		forward(self, COMMAND_session_open, how, 2);
		closes(before, what[how]);
	}
	{
		unsigned before = n_closed;

		forward(self + 1, COMMAND_session_open, SOUND, 2);
		closes(before, "in another member's name");
		forward(self, COMMAND_session_open, SOUND, 3);
		closes(before + 1, "fewer than it says");
		forward(self, COMMAND_session_open, SOUND, 1);
		closes(before + 2, "more than it says");
		forward(self, COMMAND_session_open, SOUND, UINT32_MAX);
		closes(before + 3, "absurdly many");
	}
	for (unsigned i = 0; i < sizeof(leaders) / sizeof(leaders[0]); i++) {
		unsigned before = n_closed;

		forward(self, leaders[i], SOUND, 2);
		closes(before, command_name(leaders[i]));
	}
	is_int((int)last, (int)was, "S3: none of them is in the log");
	forward(self, COMMAND_session_open, SOUND, 2);
	ok(reaches64(&last, was + 1), "what is sound still is taken");
}

/* ---- entries ---- */

enum { RAW = 100 }; /* instead of a sabotage: the payload as it is */

static void
append_after(uint64_t prev, uint64_t prev_term, uint8_t type,
    uint64_t entry_term, const void *payload, size_t len)
{
	struct buf b;

	begin_frame(&b);
	buf_u64(&b, lead_term);
	buf_u64(&b, prev);
	buf_u64(&b, prev_term);
	buf_u64(&b, last);
	buf_u64(&b, last_term);
	buf_u32(&b, type == 0 ? 0 : 1);
	if (type != 0) {
		buf_u64(&b, entry_term);
		buf_u8(&b, type);
		buf_slice32(&b, slice_of(payload, len));
	}
	send_frame(FRAME_APPEND, &b);
}

static void
append(uint8_t type, uint64_t entry_term, const void *payload, size_t len)
{
	append_after(last, last_term, type, entry_term, payload, len);
}

static void
heartbeat(uv_timer_t *t)
{
	if (lead_term != 0)
		append(0, 0, NULL, 0);
}

static void
append_command(enum sabotage how, uint64_t time_ns)
{
	struct entry_header h = {.group = GROUP_NUMBER, .time_ns = time_ns};
	struct buf b, c;

	encode(&c, hs.conf.members[PLAYED].id, COMMAND_session_open);
	sabotage(&c, how);
	buf_init(&b, LIMIT_ENTRY + 100);
	entry_begin(&b, &h);
	entry_add(&b, buf_slice(&c));
	entry_end(&b);
	append(RAFT_COMMAND, lead_term, b.ptr, b.len);
	buf_fini(&b);
	buf_fini(&c);
}

static void
entry_closes(unsigned before, const char *text)
{
	ok(reaches(&n_closed, before + 1) && reaches(&n_opened, before + 2),
	    "S3: an entry: %s: its connection is closed", text);
}

static void
test_entries(void)
{
	static const uint64_t words[4] = {1};
	static const char *const what[] = {
	    [TRUNCATED] = "of a command cut short",
	    [LONGER] = "of one with more behind it",
	    [UNKNOWN] = "of no known kind", [NAMELESS] = "of a NUL in a name"};
	uint64_t now = clock_wall_ns();
	unsigned before;
	uint64_t was;

	votes = false;
	lead_term = term + 5;
	heartbeat(NULL);
	ok(reaches64(&term, lead_term), "we lead, the host follows");
	ok(reaches64(&acked, last) && !refused, "with the same log");
	was = acked;
	before = n_closed;
	for (enum sabotage how = TRUNCATED; how < N_SABOTAGES; how++) {
		append_command(how, now);
		entry_closes(before++, what[how]);
	}
	append_command(SOUND, UINT64_MAX);
	entry_closes(before++, "at the end of time");
	append(RAFT_COMMAND, lead_term, words, sizeof(words));
	entry_closes(before++, "of nothing known");
	append(RAFT_COMMAND, lead_term, words, 0);
	entry_closes(before++, "of nothing");
	append(RAFT_BARRIER, lead_term, words, 5);
	entry_closes(before++, "of an odd size");
	append(77, lead_term, words, sizeof(words));
	entry_closes(before++, "of no known type");
	append(RAFT_BARRIER, lead_term + 1, words, 8);
	entry_closes(before++, "of a term to come");
	append(RAFT_BARRIER, 0, words, 8);
	entry_closes(before++, "of no term");
	heartbeat(NULL);
	ok(reaches(&n_opened, before + 1), "we are back");
	append_after(last - 1, lead_term, RAFT_BARRIER, lead_term, words, 8);
	append_after(1, 1, RAFT_BARRIER, lead_term, words, 8);
	heartbeat(NULL);
	is_str(ask("count"), "count", "S3: entries in the place of committed "
	    "ones end no host");
	is_int((int)acked, (int)was, "S3: none of them is in the log");
	append_command(SOUND, now);
	ok(reaches64(&acked, was + 1), "a sound one is taken");
	last++;
	last_term = lead_term;
	applied = 0;
	heartbeat(NULL);
	ok(reaches64(&applied, last), "and applied");
}

/* ---- answers ---- */

static void
answer_read(uint64_t id)
{
	struct buf b;

	begin_frame(&b);
	buf_u64(&b, id);
	buf_u32(&b, 0);
	buf_u64(&b, last);
	send_frame(FRAME_READ_REPLY, &b);
}

/* We lead; what comes late may answer the process before this one. */
static void
test_answers(void)
{
	uint64_t was;

	host_tell(&hs, 0, "barrier");
	ok(reaches64(&asked, 1), "the host asks for the read index");
	answer_read(asked + ((uint64_t)1 << 62));
	acked = 0;
	heartbeat(NULL);
	ok(reaches64(&acked, last), "it has what comes next");
	is_str(ask("count"), "count", "O4: an answer to what was never asked "
	    "is none");
	answer_read(asked);
	is_str(said(), "barrier", "its own is");
	was = asked;
	host_kill(&hs, 0);
	host_start(&hs, 0);
	is_str(said(), "open", "the host starts again");
	applied = asked = 0;
	ok(reaches64(&applied, last), "and follows");
	host_tell(&hs, 0, "barrier");
	ok(reaches64(&asked, 1) && asked > was,
	    "O4: no answer to its life before is one to its questions");
	answer_read(asked);
	is_str(said(), "barrier", "which are answered");
}

/* ---- anything ---- */

/* How long the frames are that the group takes; others are cut off anywhere. */
static const struct shape {
	uint8_t type, n_u64, n_u8, n_u32;
} shapes[] = {{FRAME_APPEND, 5, 0, 1}, {FRAME_APPEND_RESULT, 3, 0, 0},
    {FRAME_VOTE, 4, 2, 0}, {FRAME_VOTE_RESULT, 1, 2, 0},
    {FRAME_TIMEOUT_NOW, 3, 0, 0}, {FRAME_COMMIT, 3, 0, 0},
    {FRAME_NOTLEADER, 3, 0, 0}, {FRAME_READ, 1, 0, 0},
    {FRAME_READ_REPLY, 2, 0, 1}, {FRAME_TERM, 1, 0, 0},
    {FRAME_TERM_REPLY, 2, 0, 0}, {FRAME_GOSSIP, 3, 0, 0},
    {FRAME_RENEW, 2, 0, 1}, {FRAME_RENEW_REPLY, 1, 0, 1},
    {FRAME_REFRESHED, 0, 0, 1}};
enum { N_SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static uint64_t
any_number(void)
{
	static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 1,
	    (uint64_t)1 << 63, UINT32_MAX};

	switch (random_below(&rng, 5)) {
	case 0:
		return random_below(&rng, 5);
	case 1:
		return term + random_below(&rng, 3);
	case 2:
		return hs.conf.members[PLAYED].id;
	case 3:
		return huge[random_below(&rng, 4)];
	default:
		return random_u64(&rng);
	}
}

static void
send_any(void)
{
	const struct shape *s = &shapes[random_below(&rng, N_SHAPES)];
	unsigned n = s->n_u64;
	struct buf b;

	if (random_below(&rng, 8) == 0)
		n = random_below(&rng, 8);
	buf_init(&b, LIMIT_FRAME);
	buf_u16(&b, GROUP_NUMBER);
	buf_u64(&b, random_below(&rng, 2) == 0 ? 0 : any_number());
	while (n-- > 0)
		buf_u64(&b, any_number());
	for (n = s->n_u8; n > 0; n--)
		buf_u8(&b, (uint8_t)random_below(&rng, 3));
	for (n = s->n_u32; n > 0; n--)
		buf_u32(&b, random_below(&rng, 4) == 0
			? (uint32_t)any_number() : 0);
	send_frame(s->type, &b);
}

/* Frames of each type with numbers that are small, random or huge. */
static void
test_random(unsigned n)
{
	lead_term = 0;
	for (unsigned i = 0; i < n; i++) {
		(void)reaches(&n_opened, n_closed + 1);
		send_any();
		if (i % 16 == 0)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	is_str(ask("count"), "count", "S3: frames with absurd numbers end no "
	    "host");
}

static void
wait_closed(void *ctx)
{
	*(bool *)ctx = true;
}

int
main(int argc, char **argv)
{
	static const struct net_callbacks callbacks = {.frame = on_frame,
	    .peer_up = on_peer,
	    .peer_down = on_peer_down};
	struct net_peer peer;
	struct net_conf conf;
	uv_timer_t timer;
	bool closed = false;

	random_init(&rng, argc > 1 ? strtoull(argv[1], NULL, 10) : 7);
	hosts_init(&hs, 3);
	peer = (struct net_peer){.id = hs.conf.members[0].id,
	    .name = hs.conf.members[0].name,
	    .addr = hs.conf.members[0].address};
	conf = (struct net_conf){.self = hs.conf.members[PLAYED].id,
	    .name = hs.conf.members[PLAYED].name,
	    .listen = hs.conf.members[PLAYED].address,
	    .peers = &peer,
	    .n_peers = 1,
	    .callbacks = &callbacks};
	memcpy(conf.cluster, hs.conf.cluster, sizeof(conf.cluster));
	host_start(&hs, 0);
	is_str(host_answer(&hs, 0, 30000), "open", "a host starts");
	uv_loop_init(&loop);
	is_int(net_open(&loop, &conf, &net), 0, "and a member for it");
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, heartbeat, 0, 20);
	test_forwarded();
	test_entries();
	test_answers();
	test_random(argc > 2 ? (unsigned)atoi(argv[2]) : 3000);
	net_stop(net, wait_closed, &closed);
	uv_close((uv_handle_t *)&timer, NULL);
	while (!closed)
		uv_run(&loop, UV_RUN_ONCE);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_loop_close(&loop);
	hosts_fini(&hs);
	return done_testing();
}
