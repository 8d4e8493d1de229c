/*
 * session.c: exactly once.
 *
 * Each host has at most one session; a new one ends the one before.  Of a
 * session every outcome is kept from done_below on, so that a command that
 * comes again is answered and not applied.  Ended ids are remembered with the
 * host: a session_open that was under way for long must not bring one back.
 *
 * Neighbours share a key: most are written in one turn, and go together.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>

#include "machine/life.h"
#include "machine/lock.h"
#include "machine/machine.h"
#include "machine/step.h"
#include "tree/schema.h"

enum {
	ENDED_MAX = 16, /* no leader delays a host's command over so many */
	RANGE_BITS = 32,
	TTL_MS_DEFAULT = 10000,
	SESSION_LEN = 4 * 8 + 1 + 2 + LIMIT_NAME,
	HOST_LEN = 8 + 1 + ENDED_MAX * 8,
	OUTCOMES_EACH = 8, /* seqs of one key */
	OUTCOME_LEN = 1 + 4 + 3 * 8 + 8 + SCHEMA_ATTR_LEN,
};

struct host {
	uint64_t session;	   /* 0: none now */
	uint8_t n_ended;
	uint64_t ended[ENDED_MAX]; /* oldest first */
};

enum end {
	END_CLOSED,
	END_LOST,
	END_REPLACED, /* lost, and its host is back already */
};

static void end(struct step *, const struct machine_session *, enum end);
static void advance(struct step *, const struct machine_session *);
static bool session_get(struct step *, uint64_t id, struct machine_session *);
static void session_put(struct step *, const struct machine_session *);
static void host_get(struct step *, uint64_t id, struct host *ret);
static void host_put(struct step *, uint64_t id, const struct host *);
static bool host_has_ended(const struct host *, uint64_t session);
static bool outcome_get(struct step *, uint64_t session, uint64_t seq,
    struct outcome *ret);
static void outcome_put(struct step *, uint64_t session, uint64_t seq,
    const struct outcome *);
static void outcomes_del(struct step *, const struct machine_session *,
    uint64_t below);
static struct slice outcomes(struct step *, uint64_t session, uint64_t seq);
static size_t outcome_find(struct slice all, uint64_t seq, size_t *ret_len);

int
session_begin(struct step *s)
{
	const struct command *c = s->c;
	struct machine_session session, old;
	struct host host;

	if (c->node == 0)
		return step_refuse(s, -EINVAL, "a session needs an id");
	if (session_get(s, c->node, &session)) {
		if (session.host != c->stamp.host)
			return step_refuse(s, -EINVAL,
			    "the session is another host's");
		s->out->value = session.range << RANGE_BITS;
		return 0;
	}
	host_get(s, c->stamp.host, &host);
	if (host_has_ended(&host, c->node))
		return step_refuse(s, -OUTCOME_ESESSION,
		    "the session has ended");
	if (s->meta.next_range > UINT32_MAX)
		return step_refuse(s, -ENOSPC, "no inode numbers are left");
	if (session_get(s, host.session, &old)) {
		end(s, &old, slice_eq(old.name, c->name) ? END_REPLACED :
		    END_LOST);
		host_get(s, c->stamp.host, &host);
	}
	session = (struct machine_session){
		.id = c->node, .host = c->stamp.host,
		.range = s->meta.next_range++, .done_below = 1,
		.ttl_ms = c->expect != 0 ? c->expect : TTL_MS_DEFAULT,
		.name = c->name,
	};
	host.session = c->node;
	session_put(s, &session);
	host_put(s, c->stamp.host, &host);
	s->meta_changed = true;
	s->out->value = session.range << RANGE_BITS;
	host_begin(s, &session);
	return 0;
}

int
session_finish(struct step *s)
{
	const struct command *c = s->c;
	bool closed = c->kind == COMMAND_session_close;
	struct machine_session session;

	if (session_get(s, closed ? c->stamp.session : c->node, &session))
		end(s, &session, closed ? END_CLOSED : END_LOST);
	return 0;
}

int
session_suspend(struct step *s)
{
	bool suspended = s->c->kind == COMMAND_suspend;
	struct machine_session session;
	uint8_t name[LIMIT_NAME];

	if (!session_get(s, s->c->node, &session) ||
	    session.suspended == suspended)
		return 0;
	memcpy(name, session.name.ptr, session.name.len);
	session.name.ptr = name;
	session.suspended = suspended;
	session_put(s, &session);
	host_state(s, &session, suspended ? "suspended\n" : "online\n");
	return 0;
}

bool
session_of_host(struct step *s, uint64_t id)
{
	struct host host;

	host_get(s, id, &host);
	return host.session != 0;
}

void
session_granted(struct step *s, uint64_t session, uint64_t seq, uint64_t token)
{
	struct outcome out = {0};

	if (!outcome_get(s, session, seq, &out))
		return;
	out.value = token;
	outcome_put(s, session, seq, &out);
}

bool
session_forestall(struct step *s, uint64_t seq)
{
	struct outcome out = {0}, interrupted = {.err = -EINTR};
	const struct stamp *st = &s->c->stamp;
	struct machine_session session;

	if (!session_get(s, st->session, &session) ||
	    seq == 0 || seq == st->seq || seq < session.done_below ||
	    seq - session.done_below >= LIMIT_WINDOW ||
	    outcome_get(s, st->session, seq, &out))
		return false;
	outcome_put(s, st->session, seq, &interrupted);
	return true;
}

enum session_entry
session_enter(struct step *s)
{
	const struct stamp *st = &s->c->stamp;
	struct machine_session session;
	uint64_t done_below;

	if (st->session == 0 || !session_get(s, st->session, &session)) {
		s->out->err = step_refuse(s, -OUTCOME_ESESSION,
		    "the session is unknown or has ended");
		return SESSION_REFUSED;
	}
	done_below = st->done_below > session.done_below ? st->done_below :
	    session.done_below;
	if (st->seq < done_below || st->seq - done_below >= LIMIT_WINDOW) {
		s->out->err = step_refuse(s, -OUTCOME_EWINDOW,
		    "the command was answered long ago");
		return SESSION_REFUSED;
	}
	if (outcome_get(s, st->session, st->seq, s->out))
		return SESSION_ANSWERED;
	s->range = session.range << RANGE_BITS;
	if (st->done_below > session.done_below)
		advance(s, &session);
	return SESSION_NEW;
}

void
session_leave(struct step *s)
{
	const struct stamp *st = &s->c->stamp;

	if (s->session_ended)
		return;
	if (s->changed)
		s->out->rev = s->rev;
	outcome_put(s, st->session, st->seq, s->out);
}

static void
end(struct step *s, const struct machine_session *session, enum end how)
{
	struct host host;
	struct key k;

	if (how != END_REPLACED)
		host_state(s, session, how == END_LOST ? "lost\n" : "left\n");
	if (session->id == s->c->stamp.session)
		s->session_ended = true;
	outcomes_del(s, session, UINT64_MAX);
	store_del(s->txn, schema_prefix(&k, FAMILY_SESSION, 1, session->id,
	    0));
	host_get(s, session->host, &host);
	if (host.n_ended == ENDED_MAX) {
		memmove(host.ended, host.ended + 1,
		    (ENDED_MAX - 1) * sizeof(host.ended[0]));
		host.n_ended--;
	}
	host.ended[host.n_ended++] = session->id;
	host.session = 0;
	host_put(s, session->host, &host);
	lock_session_end(s, session->id, how != END_CLOSED);
	life_session_end(s, session->id);
}

/* The session's outcomes below the command's done_below are not asked for. */
static void
advance(struct step *s, const struct machine_session *session)
{
	struct machine_session now = *session;

	now.done_below = s->c->stamp.done_below;
	session_put(s, &now);
	outcomes_del(s, session, now.done_below);
}

static bool
session_get(struct step *s, uint64_t id, struct machine_session *ret)
{
	struct machine_session session = {.id = id};
	struct slice value;
	struct reader r;
	struct key k;

	if (!store_get(s->txn, schema_prefix(&k, FAMILY_SESSION, 1, id, 0),
	    &value))
		return false;
	reader_init(&r, value);
	session.host = reader_u64(&r);
	session.range = reader_u64(&r);
	session.done_below = reader_u64(&r);
	session.ttl_ms = reader_u64(&r);
	session.suspended = reader_u8(&r) != 0;
	session.name = reader_slice16(&r, LIMIT_NAME);
	if (!reader_done(&r))
		return false;
	*ret = session;
	return true;
}

static void
session_put(struct step *s, const struct machine_session *session)
{
	uint8_t bytes[SESSION_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, session->host);
	buf_u64(&b, session->range);
	buf_u64(&b, session->done_below);
	buf_u64(&b, session->ttl_ms);
	buf_u8(&b, session->suspended);
	buf_slice16(&b, session->name);
	assert(buf_error(&b) == 0);
	store_put(s->txn, schema_prefix(&k, FAMILY_SESSION, 1, session->id, 0),
	    buf_slice(&b));
}

static void
host_get(struct step *s, uint64_t id, struct host *ret)
{
	struct host host = {0};
	struct slice value;
	struct reader r;
	struct key k;

	*ret = host;
	if (!store_get(s->txn, schema_prefix(&k, FAMILY_HOST, 1, id, 0),
	    &value))
		return;
	reader_init(&r, value);
	host.session = reader_u64(&r);
	host.n_ended = reader_u8(&r);
	if (host.n_ended > ENDED_MAX)
		return;
	for (unsigned i = 0; i < host.n_ended; i++)
		host.ended[i] = reader_u64(&r);
	if (reader_done(&r))
		*ret = host;
}

static void
host_put(struct step *s, uint64_t id, const struct host *host)
{
	uint8_t bytes[HOST_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, host->session);
	buf_u8(&b, host->n_ended);
	for (unsigned i = 0; i < host->n_ended; i++)
		buf_u64(&b, host->ended[i]);
	assert(buf_error(&b) == 0);
	store_put(s->txn, schema_prefix(&k, FAMILY_HOST, 1, id, 0),
	    buf_slice(&b));
}

static bool
host_has_ended(const struct host *host, uint64_t session)
{
	for (unsigned i = 0; i < host->n_ended; i++) {
		if (host->ended[i] == session)
			return true;
	}
	return false;
}

static bool
outcome_get(struct step *s, uint64_t session, uint64_t seq,
    struct outcome *ret)
{
	struct slice all = outcomes(s, session, seq);
	struct outcome out = {0};
	struct reader r;
	size_t at, len;

	at = outcome_find(all, seq, &len);
	if (len == 0)
		return false;
	reader_init(&r, slice_of((const uint8_t *)all.ptr + at, len));
	(void)reader_u8(&r); /* its place */
	out.err = -(int)reader_u32(&r);
	out.rev = reader_u64(&r);
	out.ino = reader_u64(&r);
	out.value = reader_u64(&r);
	out.attr.ino = reader_u64(&r);
	if (out.attr.ino != 0)
		schema_attr_get(&r, &out.attr);
	if (!reader_done(&r))
		return false;
	ret->err = out.err;
	ret->rev = out.rev;
	ret->ino = out.ino;
	ret->value = out.value;
	ret->attr = out.attr;
	return true;
}

/* Behind the others of its key; one that was there before goes. */
static void
outcome_put(struct step *s, uint64_t session, uint64_t seq,
    const struct outcome *out)
{
	uint8_t bytes[OUTCOMES_EACH * OUTCOME_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct slice all = outcomes(s, session, seq);
	size_t len, at = outcome_find(all, seq, &len);
	struct key k;

	buf_raw(&b, all.ptr, at);
	if (len != 0)
		buf_raw(&b, (const uint8_t *)all.ptr + at + len,
		    all.len - at - len);
	buf_u8(&b, seq % OUTCOMES_EACH);
	buf_u32(&b, (uint32_t)-out->err);
	buf_u64(&b, out->rev);
	buf_u64(&b, out->ino);
	buf_u64(&b, out->value);
	buf_u64(&b, out->attr.ino);
	if (out->attr.ino != 0)
		schema_attr_put(&b, &out->attr);
	assert(buf_error(&b) == 0);
	store_put(s->txn, schema_prefix(&k, FAMILY_OUTCOME, 2, session,
	    seq / OUTCOMES_EACH), buf_slice(&b));
}

/* Keys whose every seq is below: none was ever kept beyond the window. */
static void
outcomes_del(struct step *s, const struct machine_session *session,
    uint64_t below)
{
	uint64_t group = session->done_below / OUTCOMES_EACH;
	uint64_t end_group = below / OUTCOMES_EACH;
	struct key k;

	if (end_group - group > LIMIT_WINDOW / OUTCOMES_EACH + 1)
		end_group = group + LIMIT_WINDOW / OUTCOMES_EACH + 1;
	for (; group < end_group; group++)
		store_del(s->txn, schema_prefix(&k, FAMILY_OUTCOME, 2,
		    session->id, group));
}

/* Those kept under the key of one; borrowed. */
static struct slice
outcomes(struct step *s, uint64_t session, uint64_t seq)
{
	struct slice value;
	struct key k;

	if (!store_get(s->txn, schema_prefix(&k, FAMILY_OUTCOME, 2, session,
	    seq / OUTCOMES_EACH), &value))
		return SLICE_EMPTY;
	return value;
}

/* Where it is among them, and how long; len 0: it isn't. */
static size_t
outcome_find(struct slice all, uint64_t seq, size_t *ret_len)
{
	struct reader r;
	uint8_t place;

	reader_init(&r, all);
	for (size_t at = 0; at < all.len; at = all.len - reader_left(&r)) {
		place = reader_u8(&r);
		(void)reader_raw(&r, 4 + 3 * 8); /* err, rev, ino, value */
		if (reader_u64(&r) != 0)
			(void)reader_raw(&r, SCHEMA_ATTR_LEN);
		if (place != seq % OUTCOMES_EACH)
			continue;
		*ret_len = all.len - reader_left(&r) - at;
		return at;
	}
	*ret_len = 0;
	return all.len;
}
