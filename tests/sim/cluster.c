/*
 * cluster.c: hosts in one process; see cluster.h.
 */
#include "config.h"

#include "sim/cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct append {
	struct raft_io_append inner;
	struct host *host;
	struct raft_io_append *req;
	raft_io_append_cb cb;
	struct append *next; /* later */
	bool done;
	int status;
};

struct propose {
	struct raft_apply req;
	int *done;
};

static struct host *host_of(struct raft_io *);
static void on_fatal(void *, const char *);
static void on_role(void *);
static int below_start(struct raft_io *, unsigned, raft_io_tick_cb,
    raft_io_recv_cb);
static void below_tick(struct raft_io *);
static void below_recv(struct raft_io *, struct raft_message *);
static int below_append(struct raft_io *, struct raft_io_append *,
    const struct raft_entry *, unsigned, raft_io_append_cb);
static void below_append_cb(struct raft_io_append *, int);
static int below_send(struct raft_io *, struct raft_io_send *,
    const struct raft_message *, raft_io_send_cb);
static int below_truncate(struct raft_io *, raft_index);
static int below_put(struct raft_io *, unsigned, struct raft_io_snapshot_put *,
    const struct raft_snapshot *, raft_io_snapshot_put_cb);
static int fsm_apply(struct raft_fsm *, const struct raft_buffer *, void **);
static int fsm_snapshot(struct raft_fsm *, struct raft_buffer **, unsigned *);
static int fsm_restore(struct raft_fsm *, struct raft_buffer *);
static void propose_done(struct raft_apply *, int, void *);

/* raft_io has no room for us: hosts are found through the one cluster. */
static struct cluster *current;

struct cluster *
cluster_new(unsigned n, unsigned n_voters, unsigned off,
    void (*made)(struct host *))
{
	struct cluster *c = calloc(1, sizeof(*c));
	struct raft_configuration conf;

	assert(c != NULL && n <= CLUSTER_MAX && current == NULL);
	current = c;
	c->made = made;
	if (raft_fixture_initialize(&c->f) != 0)
		abort();
	while (c->n < n)
		cluster_grow(c, off);
	if (raft_fixture_configuration(&c->f, n_voters, &conf) != 0 ||
	    raft_fixture_bootstrap(&c->f, &conf) != 0)
		abort();
	raft_configuration_close(&conf);
	return c;
}

struct host *
cluster_grow(struct cluster *c, unsigned off)
{
	struct host *h = &c->hosts[c->n];
	struct guard_conf conf = {0};

	h->cluster = c;
	h->i = c->n;
	h->fsm = (struct raft_fsm){
	    .version = 1,
	    .data = h,
	    .apply = fsm_apply,
	    .snapshot = fsm_snapshot,
	    .restore = fsm_restore,
	};
	if (c->made != NULL)
		c->made(h);
	if (raft_fixture_grow(&c->f, &h->fsm) != 0)
		abort();
	c->n++;
	h->raft = raft_fixture_get(&c->f, h->i);
	h->io = h->raft->io;
	h->below = *h->io;
	h->io->start = below_start;
	h->io->append = below_append;
	h->io->send = below_send;
	h->io->truncate = below_truncate;
	h->io->snapshot_put = below_put;
	conf.ctx = h;
	conf.fatal = on_fatal;
	conf.role = on_role;
	conf.off = off;
	guard_attach(&h->guard, h->raft, h->io, &conf);
	return h;
}

void
cluster_free(struct cluster *c)
{
	unsigned i;

	raft_fixture_close(&c->f);
	for (i = 0; i < c->n; i++) {
		guard_fini(&c->hosts[i].guard);
		free(c->hosts[i].log);
	}
	free(c);
	current = NULL;
}

void
cluster_start(struct cluster *c)
{
	unsigned i;

	for (i = 0; i < c->n; i++)
		if (raft_start(c->hosts[i].raft) != 0)
			abort();
}

void
cluster_preload(struct cluster *c, unsigned i, raft_term term, uint64_t value)
{
	struct raft_entry e = {0};

	e.term = term;
	e.type = RAFT_COMMAND;
	e.buf.len = sizeof(value);
	e.buf.base = raft_malloc(sizeof(value));
	memcpy(e.buf.base, &value, sizeof(value));
	raft_fixture_add_entry(&c->f, i, &e);
	raft_fixture_set_term(&c->f, i, term);
}

void
cluster_preload_conf(struct cluster *c, unsigned i, raft_term term,
    unsigned n_servers)
{
	struct raft_configuration conf;
	struct raft_entry e = {0};
	char address[2] = "1";
	unsigned j;

	raft_configuration_init(&conf);
	for (j = 0; j < n_servers; j++, address[0]++)
		if (raft_configuration_add(&conf, j + 1, address,
		    j < c->n ? RAFT_VOTER : RAFT_SPARE) != 0)
			abort();
	e.term = term;
	e.type = RAFT_CHANGE;
	if (raft_configuration_encode(&conf, &e.buf) != 0)
		abort();
	raft_configuration_close(&conf);
	raft_fixture_add_entry(&c->f, i, &e);
	raft_fixture_set_term(&c->f, i, term);
}

void
cluster_step(struct cluster *c)
{
	struct host *h;
	unsigned i;

	raft_fixture_step(&c->f);
	for (i = 0; i < c->n; i++) {
		h = &c->hosts[i];
		guard_turn(&h->guard);
		if (h->dead && raft_fixture_alive(&c->f, i))
			raft_fixture_kill(&c->f, i);
	}
}

void
cluster_run(struct cluster *c, unsigned ms)
{
	(void)cluster_until(c, NULL, NULL, ms);
}

bool
cluster_until(struct cluster *c, bool (*holds)(struct cluster *, void *),
    void *arg, unsigned ms)
{
	raft_time end = raft_fixture_time(&c->f) + ms;

	while (raft_fixture_time(&c->f) < end) {
		if (holds != NULL && holds(c, arg))
			return true;
		cluster_step(c);
	}
	return holds != NULL && holds(c, arg);
}

void
cluster_prefer(struct cluster *c, unsigned i)
{
	struct raft *r;
	unsigned j, ms;

	for (j = 0; j < c->n; j++) {
		r = c->hosts[j].raft;
		ms = j == i ? 1000 : 1000000;
		raft_fixture_set_randomized_election_timeout(&c->f, j, ms);
		if (r->state == RAFT_FOLLOWER)
			r->follower_state.randomized_election_timeout = ms;
		else if (r->state == RAFT_CANDIDATE)
			r->candidate_state.randomized_election_timeout = ms;
	}
}

static bool
is_leader(struct cluster *c, void *arg)
{
	return cluster_leader(c) == *(unsigned *)arg;
}

bool
cluster_elect(struct cluster *c, unsigned i)
{
	cluster_prefer(c, i);
	return cluster_until(c, is_leader, &i, 5000);
}

unsigned
cluster_leader(struct cluster *c)
{
	unsigned i, found = c->n;
	struct raft *r;

	for (i = 0; i < c->n; i++) {
		r = c->hosts[i].raft;
		if (c->hosts[i].dead || !raft_fixture_alive(&c->f, i) ||
		    r->state != RAFT_LEADER)
			continue;
		if (found == c->n || r->current_term >
		    c->hosts[found].raft->current_term)
			found = i;
	}
	return found;
}

void
cluster_cut(struct cluster *c, unsigned i, unsigned j)
{
	raft_fixture_saturate(&c->f, i, j);
	raft_fixture_saturate(&c->f, j, i);
}

void
cluster_heal(struct cluster *c, unsigned i, unsigned j)
{
	raft_fixture_desaturate(&c->f, i, j);
	raft_fixture_desaturate(&c->f, j, i);
}

void
cluster_isolate(struct cluster *c, unsigned i)
{
	unsigned j;

	for (j = 0; j < c->n; j++)
		if (j != i)
			cluster_cut(c, i, j);
}

void
cluster_rejoin(struct cluster *c, unsigned i)
{
	unsigned j;

	for (j = 0; j < c->n; j++)
		if (j != i)
			cluster_heal(c, i, j);
}

int
cluster_propose(struct cluster *c, unsigned i, uint64_t value, int *ret_done)
{
	struct propose *p = calloc(1, sizeof(*p));
	struct raft_buffer buf = {raft_malloc(sizeof(value)), sizeof(value)};
	int rv;

	memcpy(buf.base, &value, sizeof(value));
	p->req.data = p;
	p->done = ret_done;
	if (ret_done != NULL)
		*ret_done = 0;
	rv = raft_apply(c->hosts[i].raft, &p->req, &buf, 1, propose_done);
	if (rv != 0) {
		raft_free(buf.base);
		free(p);
	}
	return rv;
}

static void
propose_done(struct raft_apply *req, int status, void *result)
{
	struct propose *p = req->data;

	(void)result;
	if (p->done != NULL)
		*p->done = status == 0 ? 1 : -status;
	free(p);
}

void
cluster_inject(struct cluster *c, unsigned from, unsigned to,
    struct raft_message *msg)
{
	msg->server_id = c->f.servers[from].id;
	msg->server_address = c->f.servers[from].address;
	c->hosts[to].recv(c->hosts[to].io, msg);
	guard_turn(&c->hosts[to].guard);
}

bool
cluster_agree(const struct cluster *c)
{
	const struct host *a, *b;
	unsigned i, j, x, y;

	for (i = 0; i < c->n; i++) {
		for (j = i + 1; j < c->n; j++) {
			a = &c->hosts[i];
			b = &c->hosts[j];
			for (x = y = 0; x < a->n_log && y < b->n_log;) {
				if (a->log[x].index < b->log[y].index) {
					x++;
					continue;
				}
				if (a->log[x].index > b->log[y].index) {
					y++;
					continue;
				}
				if (a->log[x++].value != b->log[y++].value)
					return false;
			}
		}
	}
	return true;
}

bool
cluster_applied(const struct cluster *c, unsigned i, uint64_t value)
{
	const struct host *h = &c->hosts[i];
	unsigned x;

	for (x = 0; x < h->n_log; x++)
		if (h->log[x].value == value)
			return true;
	return false;
}

/* ---- the guard's callbacks ---- */

static void
on_fatal(void *ctx, const char *why)
{
	struct host *h = ctx;

	h->dead = true;
	h->why = why;
}

static void
on_role(void *ctx)
{
	struct host *h = ctx;

	h->role_called = true;
}

/* ---- the layer below ---- */

static struct host *
host_of(struct raft_io *io)
{
	unsigned i;

	for (i = 0; current->hosts[i].io != io; i++)
		assert(i < CLUSTER_MAX);
	return &current->hosts[i];
}

static int
below_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
    raft_io_recv_cb recv)
{
	struct host *h = host_of(io);

	h->tick = tick;
	h->recv = recv;
	return h->below.start(io, msecs, below_tick, below_recv);
}

static void
below_tick(struct raft_io *io)
{
	host_of(io)->tick(io);
}

static void
below_recv(struct raft_io *io, struct raft_message *msg)
{
	struct host *h = host_of(io);
	struct cluster *c = h->cluster;

	if (c->filter == NULL ||
	    c->filter(c, (unsigned)msg->server_id - 1, h->i, msg)) {
		h->recv(io, msg);
		return;
	}
	if (msg->type == RAFT_IO_APPEND_ENTRIES) {
		if (msg->append_entries.n_entries > 0)
			raft_free(msg->append_entries.entries[0].batch);
		raft_free(msg->append_entries.entries);
	} else if (msg->type == RAFT_IO_INSTALL_SNAPSHOT) {
		raft_configuration_close(&msg->install_snapshot.conf);
		raft_free(msg->install_snapshot.data.base);
	}
}

static int
below_append(struct raft_io *io, struct raft_io_append *req,
    const struct raft_entry *entries, unsigned n, raft_io_append_cb cb)
{
	struct host *h = host_of(io);
	struct append *a = calloc(1, sizeof(*a)), **end;
	int rv;

	a->inner.data = a;
	a->host = h;
	a->req = req;
	a->cb = cb;
	rv = h->below.append(io, &a->inner, entries, n, below_append_cb);
	if (rv != 0) {
		free(a);
		return rv;
	}
	for (end = &h->appends; *end != NULL; end = &(*end)->next)
		;
	*end = a;
	return 0;
}

/* The fixture's disk overtakes itself when it becomes faster; no log does. */
static void
below_append_cb(struct raft_io_append *req, int status)
{
	struct append *a = req->data;
	struct host *h = a->host;

	a->done = true;
	a->status = h->append_status != 0 ? h->append_status : status;
	while ((a = h->appends) != NULL && a->done) {
		h->appends = a->next;
		a->cb(a->req, a->status);
		free(a);
	}
}

static int
below_send(struct raft_io *io, struct raft_io_send *req,
    const struct raft_message *msg, raft_io_send_cb cb)
{
	struct host *h = host_of(io);
	struct raft_message copy = *msg;

	if (msg->type == RAFT_IO_INSTALL_SNAPSHOT)
		copy.install_snapshot.conf_index = h->put_conf_index;
	if (msg->server_id == 0 || msg->server_address == NULL)
		h->n_nowhere++;
	if (h->send_status != 0)
		return h->send_status;
	return h->below.send(io, req, &copy, cb);
}

static int
below_truncate(struct raft_io *io, raft_index index)
{
	(void)io;
	(void)index;
	return 0;
}

static int
below_put(struct raft_io *io, unsigned trailing,
    struct raft_io_snapshot_put *req, const struct raft_snapshot *snapshot,
    raft_io_snapshot_put_cb cb)
{
	struct host *h = host_of(io);

	h->put_conf_n = snapshot->configuration.n;
	h->put_conf_index = snapshot->configuration_index;
	return h->below.snapshot_put(io, trailing, req, snapshot, cb);
}

/* ---- the default state machine ---- */

static int
fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	struct host *h = fsm->data;

	if (h->n_log == h->cap_log) {
		h->cap_log = h->cap_log == 0 ? 64 : 2 * h->cap_log;
		h->log = realloc(h->log, h->cap_log * sizeof(*h->log));
		assert(h->log != NULL);
	}
	h->log[h->n_log].index = h->raft->last_applied + 1;
	memcpy(&h->log[h->n_log].value, buf->base, sizeof(uint64_t));
	h->n_log++;
	*result = NULL;
	return 0;
}

static int
fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer **bufs, unsigned *n)
{
	struct host *h = fsm->data;
	size_t len = h->n_log * sizeof(*h->log);

	*n = 1;
	*bufs = raft_malloc(sizeof(**bufs));
	(*bufs)[0].len = len + 8;
	(*bufs)[0].base = raft_calloc(1, len + 8);
	if (len > 0)
		memcpy((*bufs)[0].base, h->log, len);
	return 0;
}

static int
fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	struct host *h = fsm->data;
	size_t len = buf->len - 8;

	h->n_log = h->cap_log = (unsigned)(len / sizeof(*h->log));
	h->log = realloc(h->log, len == 0 ? 1 : len);
	if (len > 0)
		memcpy(h->log, buf->base, len);
	raft_free(buf->base);
	return 0;
}
