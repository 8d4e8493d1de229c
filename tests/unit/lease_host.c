/*
 * lease_host.c: what the hosts of lease.c do.
 */
#include "config.h"

#include "lease_host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/metric.h"
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
	uv_loop_t loop;
	uv_pipe_t control;
	struct engine *engine;
	struct session *session;
	struct engine_subscriber subscriber;
	struct event lost, ready, expired, removed, granted;
	struct {
		uint64_t node, at_ns;
	} gone[256]; /* the newest removed */
	unsigned fill, filling, filled; /* of `fill`: wanted, begun, there */
	uint64_t first, status_dir;
	char in[4096];
	size_t in_len;
};

static void
say(struct host *h, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n, fd;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	uv_fileno((uv_handle_t *)&h->control, &fd);
	if (write(fd, line, (size_t)n) != n)
		_exit(4);
}

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
	    offsetof(struct host, subscriber));

	if (a->command->kind == COMMAND_session_expire)
		event(&h->expired);
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
cmd_state(struct host *h)
{
	say(h, "state %d %d %016llx %llu", session_ready(h->session),
	    session_lost(h->session),
	    (unsigned long long)session_id(h->session),
	    (unsigned long long)session_deadline_ns(h->session));
}

static void
cmd_events(struct host *h)
{
	const struct event *e[] = {&h->lost, &h->ready, &h->expired,
	    &h->removed};
	char text[256] = "events";

	for (unsigned i = 0; i < 4; i++)
		sprintf(text + strlen(text), " %u %llu", e[i]->n,
		    (unsigned long long)e[i]->at_ns);
	say(h, "%s", text);
}

static void
cmd_sessions(struct host *h)
{
	struct store_txn *txn = store_begin(engine_store(h->engine),
	    STORE_READ);
	struct tree_session s = {0};
	unsigned n = 0;

	while (tree_session_next(txn, s.id, &s))
		n++;
	store_abort(txn);
	say(h, "sessions %u", n);
}

static void
cmd_exists(struct host *h, uint64_t node)
{
	struct store_txn *txn = store_begin(engine_store(h->engine),
	    STORE_READ);
	struct attr attr;
	bool there = tree_node_get(txn, node, &attr);

	store_abort(txn);
	say(h, "exists %d", there);
}

static void
cmd_removed(struct host *h, uint64_t node)
{
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
	c->stamp.seen = engine_rev(h->engine);
	call->req.done = call_done;
	err = session_submit(h->session, &call->req);
	if (err != 0) {
		say(h, "refused %d", err);
		free(call);
	}
}

static void
cmd_create(struct host *h, const char *name)
{
	struct call *call = calloc(1, sizeof(*call));
	struct store_txn *txn = store_begin(engine_store(h->engine),
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
cmd_fill(struct host *h, unsigned n)
{
	struct store_txn *txn = store_begin(engine_store(h->engine),
	    STORE_READ);

	h->status_dir = tree_lookup_path(txn, slice_str("status"));
	store_abort(txn);
	h->fill = n;
	h->filling = h->filled = 0;
	h->first = session_new_ino(h->session) + 1;
	fill_more(h);
}

static void
cmd_set(struct host *h, uint64_t node, const char *name, const char *value,
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
cmd_lock(struct host *h, uint64_t node)
{
	struct call *call = calloc(1, sizeof(*call));

	call->req.command = (struct command){.kind = COMMAND_lock,
	    .node = node,
	    .name = slice_str("test"),
	    .flags = LOCK_FLOCK | LOCK_EXCLUSIVE | LOCK_WAIT,
	    .lock = {.owner = 1, .end = UINT64_MAX}};
	submit(h, call);
}

static void
cmd_write(struct host *h, uint64_t node)
{
	struct call *call = calloc(1, sizeof(*call));

	call->req.command = (struct command){.kind = COMMAND_write,
	    .node = node,
	    .data = slice_str("x")};
	submit(h, call);
}

static void
cmd_refresh(struct host *h, uint64_t node, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < n && err == 0; i++)
		err = session_refresh(h->session, node + i);
	say(h, "refresh %d", err);
}

static void
cmd_status(struct host *h)
{
	struct engine_status s;

	engine_status(h->engine, &s);
	say(h, "status %s %llu %llu", s.role, (unsigned long long)s.term,
	    (unsigned long long)s.commit);
}

static void
cmd_metric(struct host *h, const char *name)
{
	static const char *const names[] = {
#define METRIC(id, kind, text) #id,
#include "base/metric.def"
#undef METRIC
	};

	for (unsigned i = 0; i < N_METRICS; i++) {
		if (strcmp(names[i], name) == 0)
			say(h, "metric %lld", (long long)metric_get(i));
	}
}

static void
engine_stopped(void *arg)
{
	struct host *h = arg;

	engine_free(h->engine);
	say(h, "stopped");
	uv_close((uv_handle_t *)&h->control, NULL);
}

static void
session_stopped(void *arg)
{
	struct host *h = arg;

	session_close(h->session);
	engine_stop(h->engine, engine_stopped, h);
}

static void
handle(struct host *h, char *line)
{
	char *args = strchr(line, ' ');
	unsigned long long a = 0;
	unsigned b = 1;

	if (args != NULL) {
		*args++ = '\0';
		(void)sscanf(args, "%llu %u", &a, &b);
	}
	if (strcmp(line, "state") == 0)
		cmd_state(h);
	else if (strcmp(line, "events") == 0)
		cmd_events(h);
	else if (strcmp(line, "sessions") == 0)
		cmd_sessions(h);
	else if (strcmp(line, "status") == 0)
		cmd_status(h);
	else if (strcmp(line, "create") == 0)
		cmd_create(h, args);
	else if (strcmp(line, "fill") == 0)
		cmd_fill(h, (unsigned)a);
	else if (strcmp(line, "life") == 0)
		cmd_set(h, a, "gov.lifetime", "ttl=", b);
	else if (strcmp(line, "delay") == 0)
		cmd_set(h, a, "gov.lock_delay", "", b);
	else if (strcmp(line, "lock") == 0)
		cmd_lock(h, a);
	else if (strcmp(line, "granted") == 0)
		say(h, "granted %llu", (unsigned long long)h->granted.at_ns);
	else if (strcmp(line, "write") == 0)
		cmd_write(h, a);
	else if (strcmp(line, "refresh") == 0)
		cmd_refresh(h, a, b);
	else if (strcmp(line, "refreshed") == 0)
		say(h, "refreshed %llu", (unsigned long long)
		    engine_refreshed_ns(h->engine, a));
	else if (strcmp(line, "exists") == 0)
		cmd_exists(h, a);
	else if (strcmp(line, "removed") == 0)
		cmd_removed(h, a);
	else if (strcmp(line, "metric") == 0)
		cmd_metric(h, args);
	else if (strcmp(line, "mute") == 0) {
		session_close(h->session);
		h->session = NULL;
		say(h, "mute");
	} else if (strcmp(line, "fault") == 0) {
		char *value = strchr(args, ' ');
		enum fault fault;

		*value++ = '\0';
		if (fault_parse(args, &fault) == 0)
			fault_set(fault, atoll(value));
		say(h, "fault");
	} else if (strcmp(line, "stop") == 0) {
		if (h->session != NULL)
			session_stop(h->session, session_stopped, h);
		else
			engine_stop(h->engine, engine_stopped, h);
	}
}

static void
on_alloc(uv_handle_t *handle, size_t want, uv_buf_t *buf)
{
	struct host *h = handle->data;

	*buf = uv_buf_init(h->in + h->in_len,
	    (unsigned)(sizeof(h->in) - h->in_len));
}

static void
on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct host *h = s->data;
	char *end;

	if (n < 0)
		_exit(0); /* the parent is gone */
	h->in_len += (size_t)n;
	while ((end = memchr(h->in, '\n', h->in_len)) != NULL) {
		char line[256];
		size_t len = (size_t)(end - h->in);

		memcpy(line, h->in, len);
		line[len] = '\0';
		h->in_len -= len + 1;
		memmove(h->in, end + 1, h->in_len);
		handle(h, line);
	}
}

void
lease_host_main(const struct group_conf *conf, int fd)
{
	struct host *h = calloc(1, sizeof(*h));
	struct group_conf mine = *conf;
	struct session_conf sc = {.loop = &h->loop, .ttl_ms = lease_ttl_ms};

	uv_loop_init(&h->loop);
	mine.loop = &h->loop;
	uv_pipe_init(&h->loop, &h->control, 0);
	uv_pipe_open(&h->control, fd);
	uv_stream_set_blocking((uv_stream_t *)&h->control, 1);
	h->control.data = h;
	if (engine_group_open(&mine, &h->engine) != 0)
		_exit(6);
	h->subscriber.applied = on_applied;
	engine_subscribe(h->engine, &h->subscriber);
	uv_read_start((uv_stream_t *)&h->control, on_alloc, on_read);
	say(h, "open");
	sc.engine = h->engine;
	if (session_open(&sc, &h->session) != 0)
		_exit(7);
	session_on_lost(h->session, on_lost, h);
	session_on_ready(h->session, on_ready, h);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&h->loop) != 0)
		_exit(8);
	free(h);
	exit(0);
}
