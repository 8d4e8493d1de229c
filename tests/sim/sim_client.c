/*
 * sim_client.c: what hosts do to their leader, with its exactly-once promise.
 *
 * A client has several commands under way.  One that is not answered in time
 * is proposed again, the same bytes, wherever the leader seems to be, while
 * the first try may still be on its way to being committed.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"
#include "tree/tree.h"

/* One entry on its way: up to two commands of different clients. */
struct batch {
	struct raft_apply req;
	struct sim *sim;
	unsigned n;
	struct op *ops[2];
};

static void client_open(struct sim *, struct client *);
static void client_new_op(struct sim *, struct client *);
static unsigned choose(struct sim *, struct client *, struct command *,
    char name[16], char name2[16], uint64_t *token);
static struct op *op_new(struct sim *, struct client *, struct command *);
static void propose(struct sim *, struct op *, struct op *);
static void proposed(struct raft_apply *, int status, void *result);
static void answered(struct sim *, struct op *, int err, uint64_t ino,
    uint64_t value);
static unsigned count(struct slice content, uint64_t token);

void
sim_clients_init(struct sim *sim)
{
	unsigned i;

	for (i = 0; i < SIM_CLIENTS; i++)
		sim->clients[i].id = i + 1;
}

void
sim_clients_fini(struct sim *sim)
{
	struct op *op;

	while ((op = sim->ops) != NULL) {
		sim->ops = op->next;
		free(op->bytes);
		free(op);
	}
}

bool
sim_clients_idle(const struct sim *sim)
{
	unsigned i, j;

	for (i = 0; i < SIM_CLIENTS; i++)
		for (j = 0; j < SIM_WINDOW; j++)
			if (sim->clients[i].window[j] != NULL)
				return false;
	return true;
}

void
sim_clients_turn(struct sim *sim, bool make_new)
{
	struct op *due = NULL, *op;
	struct client *cl;
	unsigned i, j;

	for (i = 0; i < SIM_CLIENTS; i++) {
		cl = &sim->clients[i];
		if (make_new && sim_random(sim, 100) < 10) {
			if (cl->session == 0 || sim_random(sim, 200) == 0)
				client_open(sim, cl);
			else if (cl->next_ino != 0)
				client_new_op(sim, cl);
		}
		for (j = 0; j < SIM_WINDOW; j++) {
			op = cl->window[j];
			if (op == NULL || op->due_ms > sim_now(sim))
				continue;
			if (due == NULL) {
				due = op;
			} else {
				propose(sim, due, op);
				due = NULL;
			}
		}
	}
	if (due != NULL)
		propose(sim, due, NULL);
}

/* A host that begins anew: whatever its old session had under way is lost to
 * it, and may be applied once or never. */
static void
client_open(struct sim *sim, struct client *cl)
{
	static const char facts[] = "\6\0labels\2\0a\n";
	struct command c = {.kind = COMMAND_session_open,
	    .data = slice_of(facts, sizeof(facts) - 1)};

	memset(cl->window, 0, sizeof(cl->window));
	cl->session = 1000 * cl->id + ++cl->n_sessions;
	cl->next_seq = 1;
	cl->next_ino = 0;
	cl->file = 0;
	c.name = slice_str("host");
	c.node = cl->session;
	cl->window[0] = op_new(sim, cl, &c);
}

static void
client_new_op(struct sim *sim, struct client *cl)
{
	char name[16], name2[16];
	struct command c = {0};
	uint64_t token = 0;
	unsigned j, a;

	for (j = 0; cl->window[j] != NULL; j++)
		if (j == SIM_WINDOW - 1)
			return;
	a = choose(sim, cl, &c, name, name2, &token);
	cl->window[j] = op_new(sim, cl, &c);
	cl->window[j]->name = a;
	cl->window[j]->token = token;
}

/* Half of all appends a token to a file that nothing else ever touches. */
static unsigned
choose(struct sim *sim, struct client *cl, struct command *c, char name[16],
    char name2[16], uint64_t *token)
{
	unsigned a = (unsigned)sim_random(sim, 8);
	unsigned b = (unsigned)sim_random(sim, 8);
	static char text[32];

	snprintf(name, 16, "n%u", a);
	snprintf(name2, 16, "n%u", b);
	c->dir = c->dir2 = TREE_ROOT;
	c->name = slice_str(name);
	c->name2 = slice_str(name2);
	c->node = sim->names[a];
	c->node2 = sim->names[b];
	c->mode = S_IFREG | 0644;
	if (cl->file == 0) {
		c->kind = COMMAND_create;
		c->dir = TREE_ROOT + 1;
		c->name = slice_str(cl->id == 1 ? "mine" : "ours");
		c->ino = cl->next_ino++;
		return a;
	}
	switch (sim_random(sim, 20)) {
	case 0:
	case 1:
		c->kind = COMMAND_create;
		c->ino = cl->next_ino++;
		c->flags = CREATE_EXCL;
		return a;
	case 2:
	case 3:
		c->kind = COMMAND_unlink;
		return a;
	case 4:
		c->kind = COMMAND_mkdir;
		c->ino = cl->next_ino++;
		c->mode = S_IFDIR | 0755;
		return a;
	case 5:
		c->kind = COMMAND_rmdir;
		return a;
	case 6:
		c->kind = COMMAND_rename;
		return a;
	case 7:
		c->kind = COMMAND_link;
		return a;
	case 8:
		c->kind = COMMAND_write;
		c->data = slice_str(name2);
		return a;
	case 9:
		c->kind = COMMAND_setattr;
		c->flags = SETATTR_MODE;
		c->mode = (uint32_t)sim_random(sim, 0777);
		return a;
	default:
		*token = ++sim->n_tokens;
		snprintf(text, sizeof(text), "<%llu>",
		    (unsigned long long)*token);
		c->kind = COMMAND_append;
		c->node = cl->file;
		c->data = slice_str(text);
	}
	return a;
}

static struct op *
op_new(struct sim *sim, struct client *cl, struct command *c)
{
	struct op *op = calloc(1, sizeof(*op));
	uint64_t done_below;
	struct buf b;
	unsigned j;

	assert(op != NULL);
	c->stamp.host = cl->id;
	c->stamp.privileged = true;
	c->stamp.seen = INT64_MAX;
	if (c->kind != COMMAND_session_open) {
		c->stamp.session = cl->session;
		c->stamp.seq = cl->next_seq++;
		done_below = c->stamp.seq;
		for (j = 0; j < SIM_WINDOW; j++)
			if (cl->window[j] != NULL &&
			    cl->window[j]->seq < done_below)
				done_below = cl->window[j]->seq;
		c->stamp.done_below = done_below;
	}
	buf_init(&b, LIMIT_COMMAND);
	command_encode(&b, c);
	assert(buf_error(&b) == 0);
	op->bytes = b.ptr;
	op->len = b.len;
	op->client = cl;
	op->session = cl->session;
	op->seq = c->stamp.seq;
	op->command = *c;
	op->due_ms = sim_now(sim);
	op->next = sim->ops;
	sim->ops = op;
	return op;
}

static void
propose(struct sim *sim, struct op *first, struct op *second)
{
	unsigned at = cluster_leader(sim->c);
	struct entry_header header = {0};
	struct raft_buffer raw;
	struct batch *batch;
	struct buf b;
	unsigned i;

	if (at == sim->c->n || sim_random(sim, 10) == 0)
		at = (unsigned)sim_random(sim, sim->c->n);
	batch = calloc(1, sizeof(*batch));
	assert(batch != NULL);
	batch->sim = sim;
	batch->req.data = batch;
	batch->ops[batch->n++] = first;
	if (second != NULL)
		batch->ops[batch->n++] = second;
	header.time_ns = (uint64_t)(1000000000000 + sim_now(sim) * 1000000 +
	    sim->skew_ns[at]);
	buf_init(&b, LIMIT_ENTRY);
	entry_begin(&b, &header);
	for (i = 0; i < batch->n; i++) {
		entry_add(&b, slice_of(batch->ops[i]->bytes,
		    batch->ops[i]->len));
		batch->ops[i]->due_ms = sim_now(sim) + 200 +
		    (int64_t)sim_random(sim, 2000);
		sim->n_retried += batch->ops[i]->tries++ > 0;
	}
	entry_end(&b);
	assert(buf_error(&b) == 0 && b.len % 8 == 0);
	raw.len = b.len;
	raw.base = raft_malloc(b.len);
	memcpy(raw.base, b.ptr, b.len);
	buf_fini(&b);
	if (!sim->hosts[at].paused && !sim->c->hosts[at].dead &&
	    raft_apply(sim->c->hosts[at].raft, &batch->req, &raw, 1,
	    proposed) == 0)
		return;
	for (i = 0; i < batch->n; i++)
		batch->ops[i]->due_ms = sim_now(sim) + 20;
	raft_free(raw.base);
	free(batch);
}

static void
proposed(struct raft_apply *req, int status, void *result)
{
	struct batch *batch = req->data;
	const struct answers *answers = result;
	struct sim *sim = batch->sim;
	unsigned i;

	for (i = 0; i < batch->n; i++) {
		if (status != 0)
			batch->ops[i]->due_ms = sim_now(sim) + 10;
		else
			answered(sim, batch->ops[i], answers->a[i].err,
			    answers->a[i].ino, answers->a[i].value);
	}
	free(batch);
}

static void
answered(struct sim *sim, struct op *op, int err, uint64_t ino, uint64_t value)
{
	struct client *cl = op->client;
	unsigned j;

	if (op->answered) {
		/* A second try: below done_below it may be refused by now. */
		if (err != op->err && err != -OUTCOME_EWINDOW &&
		    err != -OUTCOME_ESESSION)
			sim_broken(sim, "two answers to one command: %d, %d",
			    op->err, err);
		return;
	}
	op->answered = true;
	op->err = err;
	sim->n_answered++;
	if (op->session != cl->session)
		return;
	for (j = 0; j < SIM_WINDOW; j++)
		if (cl->window[j] == op)
			cl->window[j] = NULL;
	if (err == -OUTCOME_EWINDOW || err == -OUTCOME_ESESSION)
		sim_broken(sim, "a live session's command was refused: %d",
		    err);
	if (op->command.kind == COMMAND_session_open) {
		cl->next_ino = value;
		return;
	}
	if (err != 0 || ino == 0 || (op->command.kind != COMMAND_create &&
	    op->command.kind != COMMAND_mkdir))
		return;
	if (op->command.dir != TREE_ROOT) {
		cl->file = ino;
		return;
	}
	sim->names[op->name] = ino;
}

/* Every append answered with success is there once, the others never, those
 * without an answer once or never. */
void
sim_clients_check(struct sim *sim, struct store *store)
{
	struct store_txn *txn = store_begin(store, STORE_READ);
	uint64_t mine = tree_lookup_path(txn, slice_str("config/mine"));
	uint64_t ours = tree_lookup_path(txn, slice_str("config/ours"));
	const struct op *op;
	unsigned n;

	for (op = sim->ops; op != NULL; op = op->next) {
		if (op->token == 0)
			continue;
		n = 0;
		if (mine != 0)
			n += count(tree_content(txn, mine), op->token);
		if (ours != 0)
			n += count(tree_content(txn, ours), op->token);
		if (n > 1)
			sim_broken(sim, "token %llu was applied %u times",
			    (unsigned long long)op->token, n);
		if (op->answered && op->err == 0 && n == 0)
			sim_broken(sim, "token %llu was acknowledged and lost",
			    (unsigned long long)op->token);
		if (op->answered && op->err != 0 && n != 0)
			sim_broken(sim, "token %llu was refused and applied",
			    (unsigned long long)op->token);
	}
	store_abort(txn);
}

static unsigned
count(struct slice content, uint64_t token)
{
	const char *at = content.ptr, *end = at + content.len;
	char text[32];
	size_t len;
	unsigned n = 0;

	len = (size_t)snprintf(text, sizeof(text), "<%llu>",
	    (unsigned long long)token);
	while (at < end && (at = memmem(at, (size_t)(end - at), text, len)) !=
	    NULL) {
		n++;
		at += len;
	}
	return n;
}
