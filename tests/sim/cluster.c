/*
 * cluster.c: hosts in one process; see cluster.h.
 */
#include "config.h"

#include "sim/cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A request of the guard that the fixture has. */
struct below {
	struct below *next; /* later */
	struct host *host;
	struct raft_io_append timer;
	struct raft_io_send send;
	struct disk_op *op; /* NULL: changes nothing */
	bool done, lost;
	int status;
	struct raft_io_append *append;
	raft_io_append_cb append_cb;
	struct raft_io_snapshot_put *put;
	raft_io_snapshot_put_cb put_cb;
	struct raft_io_snapshot_get *get;
	raft_io_snapshot_get_cb get_cb;
	struct raft_io_send *sent;
	raft_io_send_cb sent_cb;
};

struct propose {
	struct raft_apply req;
	int *done;
};

static void preload(struct disk *, const struct raft_entry *);
static struct host *host_of(struct raft_io *);
static void host_attach(struct host *, raft_index commit);
static void on_fatal(void *, const char *);
static void on_role(void *);
static int below_start(struct raft_io *, unsigned, raft_io_tick_cb,
    raft_io_recv_cb);
static void below_tick(struct raft_io *);
static void below_recv(struct raft_io *, struct raft_message *);
static int disk_wait(struct host *, struct below *);
static void disk_woke(struct raft_io_append *, int status);
static void disk_answer(struct host *, struct below *);
static int below_append(struct raft_io *, struct raft_io_append *,
    const struct raft_entry *, unsigned, raft_io_append_cb);
static int below_truncate(struct raft_io *, raft_index);
static int below_put(struct raft_io *, unsigned, struct raft_io_snapshot_put *,
    const struct raft_snapshot *, raft_io_snapshot_put_cb);
static int below_get(struct raft_io *, struct raft_io_snapshot_get *,
    raft_io_snapshot_get_cb);
static int below_load(struct raft_io *, raft_term *, raft_id *,
    struct raft_snapshot **, raft_index *, struct raft_entry **, size_t *);
static int below_bootstrap(struct raft_io *,
    const struct raft_configuration *);
static int below_set_term(struct raft_io *, raft_term);
static int below_set_vote(struct raft_io *, raft_id);
static int below_send(struct raft_io *, struct raft_io_send *,
    const struct raft_message *, raft_io_send_cb);
static void below_sent(struct raft_io_send *, int status);
static void below_close(struct raft_io *, raft_io_close_cb);
static int fsm_apply(struct raft_fsm *, const struct raft_buffer *, void **);
static int fsm_snapshot(struct raft_fsm *, struct raft_buffer **, unsigned *);
static int fsm_restore(struct raft_fsm *, struct raft_buffer *);
static void propose_done(struct raft_apply *, int, void *);

/* The core leaks what it was doing when it is closed in the middle. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libraft.so\n";
}

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

	h->cluster = c;
	h->off = off;
	disk_init(&h->disk);
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
	h->io->close = below_close;
	h->io->load = below_load;
	h->io->bootstrap = below_bootstrap;
	h->io->set_term = below_set_term;
	h->io->set_vote = below_set_vote;
	h->io->append = below_append;
	h->io->truncate = below_truncate;
	h->io->snapshot_put = below_put;
	h->io->snapshot_get = below_get;
	h->io->send = below_send;
	host_attach(h, 0);
	return h;
}

static void
host_attach(struct host *h, raft_index commit)
{
	struct guard_conf conf = {0};

	conf.ctx = h;
	conf.fatal = on_fatal;
	conf.role = on_role;
	conf.commit = commit;
	conf.off = h->off;
	guard_attach(&h->guard, h->raft, h->io, &conf);
}

void
cluster_free(struct cluster *c)
{
	unsigned i;

	raft_fixture_close(&c->f);
	for (i = 0; i < c->n; i++) {
		guard_fini(&c->hosts[i].guard);
		disk_fini(&c->hosts[i].disk);
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
	struct raft_entry e = {.term = term, .type = RAFT_COMMAND};

	e.buf = (struct raft_buffer){&value, sizeof(value)};
	preload(&c->hosts[i].disk, &e);
}

void
cluster_preload_conf(struct cluster *c, unsigned i, raft_term term,
    unsigned n_servers)
{
	struct raft_entry e = {.term = term, .type = RAFT_CHANGE};
	struct raft_configuration conf;
	char address[2] = "1";
	unsigned j;

	raft_configuration_init(&conf);
	for (j = 0; j < n_servers; j++, address[0]++)
		if (raft_configuration_add(&conf, j + 1, address,
		    j < c->n ? RAFT_VOTER : RAFT_SPARE) != 0)
			abort();
	if (raft_configuration_encode(&conf, &e.buf) != 0)
		abort();
	raft_configuration_close(&conf);
	preload(&c->hosts[i].disk, &e);
	raft_free(e.buf.base);
}

static void
preload(struct disk *d, const struct raft_entry *e)
{
	disk_done(d, disk_append(d, e, 1, 0));
	d->term = e->term;
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

/* Every change of the disk takes the fixture's time for an append. */
static int
disk_wait(struct host *h, struct below *w)
{
	struct below **end;
	int rv;

	w->host = h;
	w->timer.data = w;
	rv = h->below.append(h->io, &w->timer, NULL, 0, disk_woke);
	if (rv != 0) {
		if (w->op != NULL)
			disk_cancel(&h->disk, w->op);
		free(w);
		return rv;
	}
	for (end = &h->waiting; *end != NULL; end = &(*end)->next)
		;
	*end = w;
	return 0;
}

/* The fixture's disk overtakes itself when it becomes faster; no log does. */
static void
disk_woke(struct raft_io_append *timer, int status)
{
	struct below *w = timer->data;
	struct host *h = w->host;

	if (w->lost) { /* by a crash */
		free(w);
		return;
	}
	w->done = true;
	w->status = h->append_status != 0 && w->append != NULL ?
	    h->append_status : status;
	while ((w = h->waiting) != NULL && w->done) {
		h->waiting = w->next;
		if (w->op != NULL && w->status == 0)
			disk_done(&h->disk, w->op);
		disk_answer(h, w);
		free(w);
	}
}

static void
disk_answer(struct host *h, struct below *w)
{
	struct raft_snapshot *s = NULL;

	if (w->append != NULL) {
		w->append_cb(w->append, w->status);
	} else if (w->put != NULL) {
		w->put_cb(w->put, w->status);
	} else {
		if (w->status == 0 && h->disk.snapshot != NULL)
			s = disk_snapshot_copy(h->disk.snapshot);
		w->get_cb(w->get, s, s == NULL ? RAFT_NOTFOUND : 0);
	}
}

static int
below_append(struct raft_io *io, struct raft_io_append *req,
    const struct raft_entry *entries, unsigned n, raft_io_append_cb cb)
{
	struct host *h = host_of(io);
	struct below *w = calloc(1, sizeof(*w));

	w->append = req;
	w->append_cb = cb;
	w->op = disk_append(&h->disk, entries, n, h->raft->commit_index);
	return disk_wait(h, w);
}

static int
below_truncate(struct raft_io *io, raft_index index)
{
	disk_truncate(&host_of(io)->disk, index);
	return 0;
}

static int
below_put(struct raft_io *io, unsigned trailing,
    struct raft_io_snapshot_put *req, const struct raft_snapshot *snapshot,
    raft_io_snapshot_put_cb cb)
{
	struct host *h = host_of(io);
	struct below *w = calloc(1, sizeof(*w));

	h->put_conf_n = snapshot->configuration.n;
	w->put = req;
	w->put_cb = cb;
	w->op = disk_put(&h->disk, snapshot, trailing);
	return disk_wait(h, w);
}

static int
below_get(struct raft_io *io, struct raft_io_snapshot_get *req,
    raft_io_snapshot_get_cb cb)
{
	struct below *w = calloc(1, sizeof(*w));

	w->get = req;
	w->get_cb = cb;
	return disk_wait(host_of(io), w);
}

static int
below_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
    struct raft_snapshot **snapshot, raft_index *start,
    struct raft_entry **entries, size_t *n)
{
	struct host *h = host_of(io);

	*term = h->disk.term;
	*voted_for = h->disk.voted_for;
	disk_load(&h->disk, snapshot, start, entries, n);
	return 0;
}

static int
below_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
	disk_bootstrap(&host_of(io)->disk, conf);
	return 0;
}

static int
below_set_term(struct raft_io *io, raft_term term)
{
	struct host *h = host_of(io);
	int rv = h->below.set_term(io, term);

	if (rv == 0) {
		h->disk.term = term;
		h->disk.voted_for = 0;
	}
	return rv;
}

static int
below_set_vote(struct raft_io *io, raft_id id)
{
	struct host *h = host_of(io);
	int rv = h->below.set_vote(io, id);

	if (rv == 0)
		h->disk.voted_for = id;
	return rv;
}

static int
below_send(struct raft_io *io, struct raft_io_send *req,
    const struct raft_message *msg, raft_io_send_cb cb)
{
	struct host *h = host_of(io);
	struct below *w;

	if (msg->server_id == 0 || msg->server_address == NULL)
		h->n_nowhere++;
	if (h->send_status != 0)
		return h->send_status;
	if (cb == NULL)
		return h->below.send(io, req, msg, cb);
	w = calloc(1, sizeof(*w));
	w->host = h;
	w->send.data = w;
	w->sent = req;
	w->sent_cb = cb;
	h->n_sends++;
	if (h->below.send(io, &w->send, msg, below_sent) != 0) {
		h->n_sends--;
		free(w);
		return RAFT_IOERR;
	}
	return 0;
}

static void
below_sent(struct raft_io_send *req, int status)
{
	struct below *w = req->data;

	w->host->n_sends--;
	w->sent_cb(w->sent, status);
	free(w);
}

static void
below_close(struct raft_io *io, raft_io_close_cb cb)
{
	struct host *h = host_of(io);
	struct below *w;

	while ((w = h->waiting) != NULL) {
		h->waiting = w->next;
		w->status = RAFT_CANCELED;
		disk_answer(h, w);
		w->lost = true; /* its timer may still run */
		if (w->done)
			free(w);
	}
	h->below.close(io, cb);
}

/* ---- crash and restart ---- */

bool
cluster_restart(struct cluster *c, unsigned i, unsigned n_kept, bool commit)
{
	struct raft_fixture_server *s = &c->f.servers[i];
	struct host *h = &c->hosts[i];
	unsigned n;

	/* The fixture still needs the entries of what it is sending. */
	for (n = 0; h->n_sends > 0; n++) {
		if (n == 1000)
			return false;
		cluster_step(c);
	}
	disk_crash(&h->disk, n_kept);
	raft_close(h->raft, NULL);
	guard_fini(&h->guard);
	h->dead = false;
	h->why = NULL;
	h->append_status = 0;
	h->n_log = 0;
	s->alive = true;
	if (raft_init(&s->raft, &s->io, &h->fsm, s->id, s->address) != 0)
		abort();
	s->raft.tracer = &s->tracer;
	host_attach(h, commit ? h->disk.commit : 0);
	if (c->restarted != NULL)
		c->restarted(h);
	return raft_start(h->raft) == 0;
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
