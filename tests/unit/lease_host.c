/*
 * lease_host.c: what the hosts of lease.c do.
 */
#include "config.h"

#include "lease_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "host_child.h"
#include "session/session.h"
#include "tree/tree.h"

uint32_t lease_ttl_ms = 600;

struct event {
	unsigned n;
	uint64_t at_ns; /* of the newest */
};

struct call {
	struct engine_req req;
	struct host *host;
	char name[64];
};

struct host {
	struct child child;
	struct session *session;
	struct event lost, ready, expired, removed, granted, resumed;
	struct {
		uint64_t node, at_ns;
	} gone[256]; /* the newest removed */
	unsigned fill, filling, filled; /* of `fill`: wanted, begun, there */
	uint64_t first, status_dir;
};

#define say(h, ...) child_say(&(h)->child, __VA_ARGS__)

static void
event(struct event *e)
{
	e->n++;
	e->at_ns = clock_now_ns();
}

static void
on_lost(void *arg, uint64_t session)
{
	struct host *h = arg;

	event(&h->lost);
}

static void
on_ready(void *arg)
{
	struct host *h = arg;

	event(&h->ready);
	if (h->ready.n == 1)
		say(h, "ready");
}

static void
on_applied(struct engine_subscriber *sub, const struct engine_applied *a)
{
	struct host *h = (struct host *)((char *)sub -
	    offsetof(struct host, child.subscriber));

	if (a->command->kind == COMMAND_session_expire)
		event(&h->expired);
	if (a->command->kind == COMMAND_resume)
		event(&h->resumed);
	for (unsigned i = 0; i < a->outcome->n_changes; i++) {
		const struct change *ch = &a->outcome->changes[i];
		unsigned at = h->removed.n % 256;

		if (ch->kind == CHANGE_GRANT && h->session != NULL &&
		    ch->session == session_id(h->session))
			event(&h->granted);
		if (ch->kind != CHANGE_UNLINK)
			continue;
		event(&h->removed);
		h->gone[at].node = ch->node;
		h->gone[at].at_ns = h->removed.at_ns;
	}
}

static void
run_state(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	say(h, "state %d %d %016llx %llu", session_ready(h->session),
	    session_lost(h->session),
	    (unsigned long long)session_id(h->session),
	    (unsigned long long)session_deadline_ns(h->session));
}

static void
run_events(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	const struct event *e[] = {&h->lost, &h->ready, &h->expired,
	    &h->removed};
	char text[256] = "events";

	for (unsigned i = 0; i < 4; i++)
		sprintf(text + strlen(text), " %u %llu", e[i]->n,
		    (unsigned long long)e[i]->at_ns);
	say(h, "%s", text);
}

static void
run_sessions(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);
	struct tree_session s = {0};
	unsigned n = 0, n_suspended = 0;

	while (tree_session_next(txn, s.id, &s)) {
		n++;
		n_suspended += s.suspended;
	}
	store_abort(txn);
	say(h, "sessions %u %u %u", n, n_suspended, h->resumed.n);
}

static void
run_exists(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	uint64_t node = strtoull(args, NULL, 10);
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);
	struct attr attr;
	bool there = tree_node_get(txn, node, &attr);

	store_abort(txn);
	say(h, "exists %d", there);
}

static void
run_removed(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	uint64_t node = strtoull(args, NULL, 10);
	uint64_t at_ns = 0;

	for (unsigned i = 0; i < 256; i++) {
		if (h->gone[i].node == node)
			at_ns = h->gone[i].at_ns;
	}
	say(h, "removed %llu", (unsigned long long)at_ns);
}

static void
call_done(struct engine_req *req, const struct outcome *outcome)
{
	struct call *call = (struct call *)req;
	struct host *h = call->host;

	if (req->command.kind == COMMAND_create)
		say(h, "create %d %llu", outcome->err,
		    (unsigned long long)outcome->ino);
	else if (req->command.kind == COMMAND_lock)
		say(h, "lock %d %llu", outcome->err,
		    (unsigned long long)outcome->value);
	else
		say(h, "%s %d", req->command.kind == COMMAND_write ? "write"
								   : "life",
		    outcome->err);
	free(call);
}

static void
submit(struct host *h, struct call *call)
{
	struct command *c = &call->req.command;
	int err;

	call->host = h;
	c->stamp.privileged = true;
	c->stamp.seen = engine_rev(h->child.engine);
	call->req.done = call_done;
	err = session_submit(h->session, &call->req);
	if (err != 0) {
		say(h, "refused %d", err);
		free(call);
	}
}

static void
run_create(struct child *c, char *name)
{
	struct host *h = (struct host *)c;
	struct call *call = calloc(1, sizeof(*call));
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);

	snprintf(call->name, sizeof(call->name), "%s", name);
	call->req.command = (struct command){.kind = COMMAND_create,
	    .dir = tree_lookup_path(txn, slice_str("status")),
	    .name = slice_str(call->name),
	    .ino = session_new_ino(h->session),
	    .mode = S_IFREG | 0644};
	store_abort(txn);
	submit(h, call);
}

static void fill_more(struct host *);

static void
fill_done(struct engine_req *req, const struct outcome *outcome)
{
	struct host *h = ((struct call *)req)->host;

	h->filled += outcome->err == 0;
	free(req);
	h->fill--;
	fill_more(h);
	if (h->fill == 0)
		say(h, "fill %u %llu", h->filled,
		    (unsigned long long)h->first);
}

static void
fill_more(struct host *h)
{
	while (h->filling - h->filled < 512 &&
	    h->filling - h->filled < h->fill) {
		struct call *call = calloc(1, sizeof(*call));

		snprintf(call->name, sizeof(call->name), "f%016llx-%u",
		    (unsigned long long)h->first, h->filling++);
		call->host = h;
		call->req.command = (struct command){.kind = COMMAND_create,
		    .dir = h->status_dir,
		    .name = slice_str(call->name),
		    .ino = session_new_ino(h->session),
		    .mode = S_IFREG | 0644,
		    .stamp.privileged = true};
		call->req.done = fill_done;
		if (session_submit(h->session, &call->req) != 0)
			_exit(9);
	}
}

static void
run_fill(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);

	h->status_dir = tree_lookup_path(txn, slice_str("status"));
	store_abort(txn);
	h->fill = (unsigned)strtoul(args, NULL, 10);
	h->filling = h->filled = 0;
	h->first = session_new_ino(h->session) + 1;
	fill_more(h);
}

static void
set(struct host *h, uint64_t node, const char *name, const char *value,
    unsigned ms)
{
	struct call *call = calloc(1, sizeof(*call));

	snprintf(call->name, sizeof(call->name), "%s%ums", value, ms);
	call->req.command = (struct command){.kind = COMMAND_setxattr,
	    .node = node,
	    .name = slice_str(name),
	    .data = slice_str(call->name)};
	submit(h, call);
}

static void
run_lock(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	uint64_t node = strtoull(args, NULL, 10);
	struct call *call = calloc(1, sizeof(*call));

	call->req.command = (struct command){.kind = COMMAND_lock,
	    .node = node,
	    .name = slice_str("test"),
	    .flags = LOCK_FLOCK | LOCK_EXCLUSIVE | LOCK_WAIT,
	    .lock = {.owner = 1, .end = UINT64_MAX}};
	submit(h, call);
}

static void
run_write(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	uint64_t node = strtoull(args, NULL, 10);
	struct call *call = calloc(1, sizeof(*call));

	call->req.command = (struct command){.kind = COMMAND_write,
	    .node = node,
	    .data = slice_str("x")};
	submit(h, call);
}

static void
run_refresh(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	unsigned long long node;
	unsigned n = 1;
	int err = 0;

	if (sscanf(args, "%llu %u", &node, &n) < 1)
		_exit(5);
	for (unsigned i = 0; i < n && err == 0; i++)
		err = session_refresh(h->session, node + i);
	say(h, "refresh %d", err);
}

static void
session_stopped(void *arg)
{
	struct host *h = arg;

	session_close(h->session);
	engine_stop(h->child.engine, child_stopped, &h->child);
}

static void
run_set(struct child *c, char *args, const char *name, const char *value)
{
	unsigned long long node;
	unsigned ms;

	if (sscanf(args, "%llu %u", &node, &ms) != 2)
		_exit(5);
	set((struct host *)c, node, name, value, ms);
}

static void
run_life(struct child *c, char *args)
{
	run_set(c, args, "gov.lifetime", "ttl=");
}

static void
run_delay(struct child *c, char *args)
{
	run_set(c, args, "gov.lock_delay", "");
}

static void
run_granted(struct child *c, char *args)
{
	child_say(c, "granted %llu",
	    (unsigned long long)((struct host *)c)->granted.at_ns);
}

static void
run_refreshed(struct child *c, char *node)
{
	child_say(c, "refreshed %llu", (unsigned long long)
	    engine_refreshed_ns(c->engine, strtoull(node, NULL, 10)));
}

static void
run_mute(struct child *c, char *args)
{
	struct host *h = (struct host *)c;

	session_close(h->session);
	h->session = NULL;
	say(h, "mute");
}

static void
run_stop(struct child *c, char *args)
{
	struct host *h = (struct host *)c;

	if (h->session != NULL)
		session_stop(h->session, session_stopped, h);
	else
		engine_stop(c->engine, child_stopped, c);
}

static const struct child_command commands[] = {
    {"create", run_create},
    {"delay", run_delay},
    {"events", run_events},
    {"exists", run_exists},
    {"fill", run_fill},
    {"granted", run_granted},
    {"life", run_life},
    {"lock", run_lock},
    {"mute", run_mute},
    {"refresh", run_refresh},
    {"refreshed", run_refreshed},
    {"removed", run_removed},
    {"sessions", run_sessions},
    {"state", run_state},
    {"stop", run_stop},
    {"write", run_write},
    {NULL, NULL},
};

void
lease_host_main(const struct group_conf *conf, int fd)
{
	struct host *h = calloc(1, sizeof(*h));
	struct session_conf sc = {.loop = &h->child.loop,
	    .ttl_ms = lease_ttl_ms};

	h->child.subscriber.applied = on_applied;
	child_open(&h->child, conf, fd, commands);
	sc.engine = h->child.engine;
	if (session_open(&sc, &h->session) != 0)
		_exit(7);
	session_on_lost(h->session, on_lost, h);
	session_on_ready(h->session, on_ready, h);
	child_run(&h->child);
	free(h);
	exit(0);
}
