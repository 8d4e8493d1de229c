/*
 * session.c: this host's place in exactly-once.
 *
 * Each request gets the next seq of the session.  done_below, the smallest seq
 * not answered yet, travels with it and lets the machine forget outcomes; a
 * request more than LIMIT_WINDOW above it waits in a queue, as do all while
 * there is no session.  What was given up (EINTR, ETIMEDOUT) counts as
 * answered: if its command comes after that, the machine refuses it.
 */
#include "config.h"

#include "session/session.h"

#include <sys/random.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/reason.h"
#include "session/session_internal.h"

/* A clean stop waits that long for its session_close. */
#define STOP_MS 500

static void begin(struct session *);
static void forget(struct session *);
static void gone(struct session *);
static void untold(struct session *, const struct outcome *);
static void opened(struct session *, uint64_t range);
static void open_done(struct engine_req *, const struct outcome *);
static int fly(struct session *, struct pending *);
static void fly_queued(struct session *);
static void request_done(struct engine_req *, const struct outcome *);
static void mark_answered(struct session *, uint64_t seq);
static void refuse_queued(struct session *, int err);
static void answer(struct pending *, const struct outcome *);
static void give_back(struct pending *);
static void tell_lost(struct session *);
static void close_done(struct engine_req *, const struct outcome *);
static void on_timer(uv_timer_t *);
static void timer_closed(uv_handle_t *);
static void applied(struct engine_subscriber *, const struct engine_applied *);
static void turn(struct engine_subscriber *);
static void status(struct engine_subscriber *, const struct engine_status *);
static void list_init(struct list *);
static void list_add(struct list *, struct pending *);
static void list_remove(struct list *, struct pending *);

static struct session *
session_of(struct engine_subscriber *sub)
{
	return (struct session *)((char *)sub -
	    offsetof(struct session, subscriber));
}

int
session_open(const struct session_conf *conf, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->engine = conf->engine;
	s->max_file = conf->max_file;
	buf_init(&s->facts, LIMIT_HOST_FACTS_BYTES);
	for (unsigned i = 0; i < conf->n_facts; i++) {
		buf_slice16(&s->facts, slice_str(conf->facts[i].name));
		buf_slice16(&s->facts, slice_str(conf->facts[i].text));
	}
	assert(buf_error(&s->facts) == 0);
	keep_init(s, conf->ttl_ms != 0 ? conf->ttl_ms : SESSION_TTL_MS);
	uv_timer_init(conf->loop, &s->timer);
	s->timer.data = s;
	list_init(&s->queue);
	list_init(&s->flying);
	s->subscriber.applied = applied;
	s->subscriber.turn = turn;
	s->subscriber.status = status;
	engine_subscribe(s->engine, &s->subscriber);
	forget(s);
	begin(s);
	*ret = s;
	return 0;
}

void
session_close(struct session *s)
{
	struct pending *p;

	if (s == NULL)
		return;
	engine_unsubscribe(s->engine, &s->subscriber);
	refuse_queued(s, -EROFS);
	while ((p = s->flying.first) != NULL) {
		list_remove(&s->flying, p);
		give_back(p);
	}
	keep_end(s);
	s->engine = NULL;
	uv_close((uv_handle_t *)&s->timer, timer_closed);
}

static void
timer_closed(uv_handle_t *h)
{
	struct session *s = h->data;

	s->timer_closed = true;
	gone(s);
}

/* The engine still answers what is under way: we go when that is done. */
static void
gone(struct session *s)
{
	if (s->engine != NULL || !s->timer_closed || s->opening || s->closing)
		return;
	keep_fini(s);
	buf_fini(&s->facts);
	free(s);
}

void
session_stop(struct session *s, void (*cb)(void *), void *arg)
{
	struct command *c = &s->close_req.command;

	assert(s->stop_cb == NULL && cb != NULL);
	s->stop_cb = cb;
	s->stop_arg = arg;
	s->stop_ns = clock_now_ns();
	session_wake(s);
	if (!s->ready || session_lost(s) ||
	    s->next_seq - s->done_below >= LIMIT_WINDOW)
		return;
	c->kind = COMMAND_session_close;
	c->stamp = (struct stamp){.session = s->id,
	    .seq = s->next_seq++, /* requests may still come behind it */
	    .done_below = s->done_below,
	    .host = engine_self(s->engine),
	    .privileged = true};
	s->close_req.done = close_done;
	s->closing = engine_submit(s->engine, &s->close_req) == 0;
	if (s->closing)
		s->stop_ns += STOP_MS * NS_PER_MS;
}

static void
close_done(struct engine_req *req, const struct outcome *outcome)
{
	struct session *s = (struct session *)((char *)req -
	    offsetof(struct session, close_req));

	s->closing = false;
	if (s->engine == NULL) {
		gone(s);
		return;
	}
	if (outcome->err == 0 && s->ready && req->command.stamp.session == s->id)
		forget(s); /* ended, not lost */
	s->stop_ns = clock_now_ns();
	session_wake(s);
}

int
session_submit(struct session *s, struct engine_req *req)
{
	struct pending *p;
	int err = 0;

	assert(req->done != NULL && req->session_data == NULL);
	if (!engine_writable(s->engine))
		return -EROFS;
	if (s->n_pending >= LIMIT_WINDOW)
		return -EAGAIN;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	*p = (struct pending){.session = s, .req = req, .done = req->done};
	req->done = request_done;
	req->session_data = p;
	s->n_pending++;
	begin(s);
	if (s->ready && !keep_late(s) && s->queue.first == NULL &&
	    s->next_seq - s->done_below < LIMIT_WINDOW)
		err = fly(s, p);
	else
		list_add(&s->queue, p); /* also when the timer is late */
	if (err != 0)
		give_back(p);
	return err;
}

bool
session_withdraw(struct session *s, struct engine_req *req)
{
	struct pending *p = req->session_data;

	assert(p != NULL && p->session == s);
	if (p->id == 0) {
		list_remove(&s->queue, p);
		give_back(p);
		return true;
	}
	if (!engine_withdraw(s->engine, req))
		return false;
	list_remove(&s->flying, p);
	if (p->id == s->id)
		mark_answered(s, p->seq);
	give_back(p);
	fly_queued(s);
	return true;
}

void
session_abandon(struct session *s, struct engine_req *req)
{
	struct outcome interrupted = {.err = -EINTR};
	struct pending *p = req->session_data;

	assert(p != NULL && p->session == s);
	if (p->id != 0) {
		engine_abandon(s->engine, req);
		return;
	}
	list_remove(&s->queue, p);
	answer(p, &interrupted);
}

uint64_t
session_new_ino(struct session *s)
{
	if (!s->ready)
		return 0;
	if (s->n_inos == UINT32_MAX - LIMIT_HOST_NODES) {
		session_lose(s);
		return 0;
	}
	return s->range + ++s->n_inos;
}

bool
session_owns(const struct session *s, uint64_t ino)
{
	return s->ready && ino > s->range && ino <= s->range + s->n_inos;
}

bool
session_ready(const struct session *s)
{
	return s->ready;
}

uint64_t
session_id(const struct session *s)
{
	return s->ready ? s->id : 0;
}

void
session_on_lost(struct session *s, void (*lost)(void *, uint64_t), void *arg)
{
	s->on_lost = lost;
	s->lost_arg = arg;
}

void
session_on_ready(struct session *s, void (*ready)(void *), void *arg)
{
	s->on_ready = ready;
	s->ready_arg = arg;
}

void
session_lose(struct session *s)
{
	assert(s->ready);
	tell_lost(s); /* an earlier one that the timer has not told yet */
	s->lost = true;
	s->lost_id = s->id;
	forget(s);
	begin(s);
	session_wake(s);
}

static void
tell_lost(struct session *s)
{
	uint64_t id = s->lost_id;

	s->lost_id = 0;
	if (id != 0 && s->on_lost != NULL)
		s->on_lost(s->lost_arg, id);
}

void
session_wake(struct session *s)
{
	(void)uv_timer_start(&s->timer, on_timer, 0, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct session *s = timer->data;
	void (*stop_cb)(void *) = s->stop_cb;
	uint64_t next, now;

	next = keep_run(s);
	tell_lost(s);
	now = clock_now_ns();
	if (stop_cb != NULL && now >= s->stop_ns && !s->stop_told) {
		s->stop_told = true;
		stop_cb(s->stop_arg); /* which may close the session */
		return;
	}
	if (stop_cb != NULL && !s->stop_told && (next == 0 ||
	    s->stop_ns < next))
		next = s->stop_ns;
	if (next != 0 && !uv_is_active((uv_handle_t *)timer))
		(void)uv_timer_start(timer, on_timer, next > now ?
		    (next - now + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

/* The next attempt will be under a new id: an ended one never comes back. */
static void
forget(struct session *s)
{
	keep_end(s);
	s->ready = false;
	s->opened_ns = 0;
	s->n_inos = 0;
	s->next_seq = s->done_below = 1;
	memset(s->answered, 0, sizeof(s->answered));
	do {
		if (getrandom(&s->id, sizeof(s->id), 0) != sizeof(s->id))
			abort(); /* only before the kernel has booted */
	} while (s->id == 0);
}

static void
begin(struct session *s)
{
	struct command *c = &s->open_req.command;
	int err;

	if (s->ready || s->opening || s->stop_cb != NULL ||
	    !engine_writable(s->engine))
		return;
	memset(&s->open_req, 0, sizeof(s->open_req));
	c->kind = COMMAND_session_open;
	c->node = s->id;
	c->name = slice_str(engine_name(s->engine));
	c->data = buf_slice(&s->facts);
	c->size = s->max_file;
	c->expect = s->keep.ttl_ns / NS_PER_MS;
	c->stamp.host = engine_self(s->engine);
	c->stamp.privileged = true;
	s->open_req.done = open_done;
	if (s->opened_ns == 0)
		s->opened_ns = clock_now_ns();
	err = engine_submit(s->engine, &s->open_req);
	s->opening = err == 0;
	if (err != 0)
		log_debug("session: open: %s, tried again later",
		    strerror(-err));
}

static void
open_done(struct engine_req *req, const struct outcome *outcome)
{
	struct session *s = (struct session *)((char *)req -
	    offsetof(struct session, open_req));

	s->opening = false;
	if (s->engine == NULL) {
		gone(s);
		return;
	}
	if (req->command.node != s->id) {
		begin(s); /* forgotten meanwhile */
	} else if (outcome->err == 0) {
		if (outcome->reason != NULL)
			untold(s, outcome);
		opened(s, outcome->value);
	} else {
		log_warn("session: cannot be opened: %s, trying again",
		    outcome->reason != NULL ? outcome->reason
					    : strerror(-outcome->err));
		if (outcome->err == -OUTCOME_ESESSION)
			forget(s);
		/* turn() and status() try again; who waits goes with them,
		 * unless there is nobody to wait for. */
		if (!engine_writable(s->engine))
			refuse_queued(s, -EROFS);
		else if (outcome->err == -ETIMEDOUT || outcome->err == -EROFS ||
		    outcome->err == -EAGAIN || outcome->err == -OUTCOME_ESESSION)
			begin(s);
		else
			refuse_queued(s, -EIO);
	}
}

/* Nothing hangs on it but who looks there. */
static void
untold(struct session *s, const struct outcome *outcome)
{
	static const char what_to_do[] = "put it right, then restart govfsd";

	log_warn("session: nodes/%s doesn't tell of this host: %s; %s",
	    engine_name(s->engine), outcome->reason, what_to_do);
	reason_note(0, SLICE_EMPTY, outcome->ino, -EEXIST,
	    "nodes/%s doesn't tell of its host: %s; %s",
	    engine_name(s->engine), outcome->reason, what_to_do);
}

static void
opened(struct session *s, uint64_t range)
{
	tell_lost(s);
	s->ready = true;
	keep_begin(s);
	if (keep_late(s)) { /* nobody has heard of it: no loss to tell */
		forget(s);
		begin(s);
		return;
	}
	s->lost = false;
	s->range = range;
	log_info("session: %016llx is open", (unsigned long long)s->id);
	session_wake(s);
	fly_queued(s);
	if (s->on_ready != NULL)
		s->on_ready(s->ready_arg);
}

static int
fly(struct session *s, struct pending *p)
{
	struct stamp *st = &p->req->command.stamp;
	int err;

	assert(s->ready && s->next_seq - s->done_below < LIMIT_WINDOW);
	if (p->req->only_session != 0 && p->req->only_session != s->id)
		return -EIO;
	st->session = s->id;
	st->seq = s->next_seq;
	st->done_below = s->done_below;
	st->host = engine_self(s->engine);
	err = engine_submit(s->engine, p->req);
	if (err != 0)
		return err;
	p->id = s->id;
	p->seq = s->next_seq++;
	list_add(&s->flying, p);
	return 0;
}

static void
fly_queued(struct session *s)
{
	struct outcome refused = {0};
	struct pending *p;
	int err;

	while (s->ready && (p = s->queue.first) != NULL &&
	    s->next_seq - s->done_below < LIMIT_WINDOW) {
		list_remove(&s->queue, p);
		err = fly(s, p);
		if (err == 0)
			continue;
		refused.err = err;
		answer(p, &refused);
	}
}

static void
request_done(struct engine_req *req, const struct outcome *outcome)
{
	struct pending *p = req->session_data;
	struct session *s = p->session;
	struct outcome refused = {0};

	list_remove(&s->flying, p);
	if (p->id == s->id)
		mark_answered(s, p->seq);
	if (outcome->err == -OUTCOME_ESESSION) {
		if (p->id == s->id) {
			log_warn("session: %016llx was ended, a new one begins",
			    (unsigned long long)s->id);
			session_lose(s);
		}
		p->id = 0;
		if (req->only_session != 0 ||
		    command_fields(req->command.kind) & F_INO) {
			refused.err = req->only_session != 0 ? -EIO : -ESTALE;
			answer(p, &refused);
		} else {
			list_add(&s->queue, p);
		}
		begin(s);
		fly_queued(s);
		return;
	}
	if (outcome->err == -OUTCOME_EWINDOW) {
		refused.err = -EIO;
		outcome = &refused;
	}
	answer(p, outcome);
	fly_queued(s);
}

static void
mark_answered(struct session *s, uint64_t seq)
{
	assert(seq >= s->done_below && seq < s->next_seq);
	s->answered[seq % LIMIT_WINDOW] = true;
	while (s->done_below < s->next_seq &&
	    s->answered[s->done_below % LIMIT_WINDOW]) {
		s->answered[s->done_below % LIMIT_WINDOW] = false;
		s->done_below++;
	}
}

/* Only those that wait now: a done may submit the next. */
static void
refuse_queued(struct session *s, int err)
{
	struct outcome refused = {.err = err};
	struct pending *p;
	unsigned n = 0;

	for (p = s->queue.first; p != NULL; p = p->next)
		n++;
	for (; n > 0 && (p = s->queue.first) != NULL; n--) {
		list_remove(&s->queue, p);
		answer(p, &refused);
	}
}

static void
answer(struct pending *p, const struct outcome *outcome)
{
	struct engine_req *req = p->req;

	give_back(p);
	req->done(req, outcome);
}

/* The request is its caller's again. */
static void
give_back(struct pending *p)
{
	p->req->done = p->done;
	p->req->session_data = NULL;
	p->session->n_pending--;
	free(p);
}

/* Expired, or replaced by a later one of this host. */
static bool
ends(const struct session *s, const struct command *c)
{
	if (c->kind == COMMAND_session_expire)
		return c->node == s->id;
	return c->kind == COMMAND_session_open && c->node != s->id &&
	    c->stamp.host == engine_self(s->engine);
}

/* Its end may be learnt before a request or a renewal asks. */
static void
applied(struct engine_subscriber *sub, const struct engine_applied *a)
{
	struct session *s = session_of(sub);

	if (s->ready && a->outcome->err == 0 && ends(s, a->command)) {
		log_warn("session: %016llx was ended, a new one begins",
		    (unsigned long long)s->id);
		session_lose(s);
	}
}

static void
turn(struct engine_subscriber *sub)
{
	begin(session_of(sub));
}

static void
status(struct engine_subscriber *sub, const struct engine_status *now)
{
	struct session *s = session_of(sub);

	begin(s);
	if (s->ready && now->health == ENGINE_OK) {
		keep_hurry(s);
		session_wake(s);
	}
	if (!s->ready && !engine_writable(s->engine))
		refuse_queued(s, -EROFS);
}

static void
list_init(struct list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void
list_add(struct list *l, struct pending *p)
{
	p->next = NULL;
	p->at = l->last;
	*l->last = p;
	l->last = &p->next;
}

static void
list_remove(struct list *l, struct pending *p)
{
	*p->at = p->next;
	if (p->next != NULL)
		p->next->at = p->at;
	else
		l->last = p->at;
}
