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

/* One request in our care; its done is ours until then. */
struct pending {
	struct pending *next, **at; /* in the queue or in flight; at: who
				     * points here */
	struct session *session;
	struct engine_req *req;
	void (*done)(struct engine_req *, const struct outcome *); /* caller's */
	uint64_t id;  /* session it flies in; 0: it is queued */
	uint64_t seq; /* its place there */
};

struct list {
	struct pending *first, **last;
};

struct session {
	struct engine *engine;
	uint64_t max_file; /* proposed for a new tree */
	struct engine_subscriber subscriber;
	struct engine_req open_req; /* session_open itself */
	bool opening;		    /* open_req is under way */
	bool ready;		    /* id is a session */
	uint64_t id;		    /* random, never 0 */
	uint64_t range, n_inos;	    /* base of our numbers, how many we used */
	uint64_t next_seq, done_below;
	bool answered[LIMIT_WINDOW]; /* by seq modulo, from done_below on */
	struct list queue, flying;
	unsigned n_pending;	    /* in both */
};

static void begin(struct session *);
static void forget(struct session *);
static void open_done(struct engine_req *, const struct outcome *);
static int fly(struct session *, struct pending *);
static void fly_queued(struct session *);
static void request_done(struct engine_req *, const struct outcome *);
static void mark_answered(struct session *, uint64_t seq);
static void refuse_queued(struct session *, int err);
static void answer(struct pending *, const struct outcome *);
static void give_back(struct pending *);
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
session_open(struct engine *engine, uint64_t max_file, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->engine = engine;
	s->max_file = max_file;
	list_init(&s->queue);
	list_init(&s->flying);
	s->subscriber.turn = turn;
	s->subscriber.status = status;
	engine_subscribe(engine, &s->subscriber);
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
	if (s->opening) {
		/* The engine still answers it: it goes when that is done. */
		s->engine = NULL;
		return;
	}
	free(s);
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
	if (s->ready && s->queue.first == NULL &&
	    s->next_seq - s->done_below < LIMIT_WINDOW)
		err = fly(s, p);
	else
		list_add(&s->queue, p);
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
	if (s->n_inos == UINT32_MAX) {
		forget(s);
		begin(s);
		return 0;
	}
	return s->range + ++s->n_inos;
}

bool
session_ready(const struct session *s)
{
	return s->ready;
}

/* The next attempt will be under a new id: an ended one never comes back. */
static void
forget(struct session *s)
{
	s->ready = false;
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

	if (s->ready || s->opening || !engine_writable(s->engine))
		return;
	memset(&s->open_req, 0, sizeof(s->open_req));
	c->kind = COMMAND_session_open;
	c->node = s->id;
	c->name = slice_str(engine_name(s->engine));
	c->size = s->max_file;
	c->stamp.host = engine_self(s->engine);
	c->stamp.privileged = true;
	s->open_req.done = open_done;
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
		free(s);
		return;
	}
	if (req->command.node != s->id) {
		begin(s); /* forgotten meanwhile */
	} else if (outcome->err == 0) {
		s->ready = true;
		s->range = outcome->value;
		log_info("session: %016llx is open", (unsigned long long)s->id);
		fly_queued(s);
	} else {
		log_warn("session: open: %s", strerror(-outcome->err));
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

static int
fly(struct session *s, struct pending *p)
{
	struct stamp *st = &p->req->command.stamp;
	int err;

	assert(s->ready && s->next_seq - s->done_below < LIMIT_WINDOW);
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
			forget(s);
		}
		p->id = 0;
		if (command_fields(req->command.kind) & F_INO) {
			refused.err = -ESTALE;
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
