/*
 * sim_fsm.c: the machine over a store in memory, as libraft's state machine.
 *
 * After every entry the store's digest must be what the first host that
 * applied that entry had: hosts may not differ for a single index.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "machine/machine.h"
#include "sim/sim.h"
#include "tree/tree.h"

static int apply(struct raft_fsm *, const struct raft_buffer *, void **);
static int snapshot(struct raft_fsm *, struct raft_buffer **, unsigned *);
static int restore(struct raft_fsm *, struct raft_buffer *);
static void compare(struct sim *, struct host *, uint64_t index);
static void digest_of(struct store *, uint8_t ret[STORE_DIGEST_LEN]);

static struct sim *current;

void
sim_fsm_init(struct sim *sim, struct host *h)
{
	current = sim;
	h->fsm.apply = apply;
	h->fsm.snapshot = snapshot;
	h->fsm.restore = restore;
	h->data = &sim->hosts[h->i];
	if (store_open_mem(&sim->hosts[h->i].store) != 0)
		abort();
}

void
sim_fsm_reset(struct sim *sim, unsigned i)
{
	if (store_clear(sim->hosts[i].store) != 0)
		abort();
}

void
sim_fsm_fini(struct sim *sim, unsigned i)
{
	store_close(sim->hosts[i].store);
}

void
sim_fsm_check(struct sim *sim, struct host *h)
{
	struct store_txn *txn = store_begin(sim->hosts[h->i].store, STORE_READ);
	uint8_t kept[STORE_DIGEST_LEN], scan[STORE_DIGEST_LEN];
	char why[160];

	if (tree_check(txn, why, sizeof(why)) != 0)
		sim_broken(sim, "host %u: tree_check: %s", h->i, why);
	store_digest(txn, kept);
	store_digest_scan(txn, scan);
	if (memcmp(kept, scan, sizeof(kept)) != 0)
		sim_broken(sim, "host %u: the digest kept is wrong", h->i);
	store_abort(txn);
}

static int
apply(struct raft_fsm *fsm, const struct raft_buffer *raw, void **result)
{
	struct host *h = fsm->data;
	struct sim_host *sh = h->data;
	struct entry_reader entry;
	struct command command;
	struct outcome outcome;
	struct store_txn *txn;
	struct slice bytes;

	if (entry_open(slice_of(raw->base, raw->len), &entry) != 0)
		abort();
	txn = store_begin(sh->store, STORE_WRITE);
	sh->answers.n = 0;
	while (entry_next(&entry, &bytes) == 1) {
		if (command_decode(bytes, &command) != 0)
			abort();
		machine_apply(txn, &command,
		    entry.header.time_ns + sh->answers.n, &outcome);
		sh->answers.a[sh->answers.n].err = outcome.err;
		sh->answers.a[sh->answers.n].ino = outcome.ino;
		sh->answers.a[sh->answers.n++].value = outcome.value;
		outcome_fini(&outcome);
	}
	if (store_commit(txn) != 0)
		abort();
	compare(current, h, h->raft->last_applied + 1);
	*result = &sh->answers;
	return 0;
}

static void
compare(struct sim *sim, struct host *h, uint64_t index)
{
	struct sim_host *sh = h->data;
	uint8_t digest[STORE_DIGEST_LEN];
	uint64_t grown = 2 * index + 64;

	digest_of(sh->store, digest);
	if (index >= sim->n_history) {
		sim->history = realloc(sim->history,
		    grown * sizeof(*sim->history));
		assert(sim->history != NULL);
		memset(sim->history + sim->n_history, 0,
		    (grown - sim->n_history) * sizeof(*sim->history));
		sim->n_history = grown;
	}
	if (!sim->history[index].known) {
		sim->history[index].known = true;
		memcpy(sim->history[index].digest, digest, sizeof(digest));
	} else if (memcmp(sim->history[index].digest, digest,
	    sizeof(digest)) != 0) {
		sim_broken(sim, "host %u differs after index %llu", h->i,
		    (unsigned long long)index);
	}
}

static void
digest_of(struct store *store, uint8_t ret[STORE_DIGEST_LEN])
{
	struct store_txn *txn = store_begin(store, STORE_READ);

	store_digest(txn, ret);
	store_abort(txn);
}

static int
snapshot(struct raft_fsm *fsm, struct raft_buffer **bufs, unsigned *n)
{
	struct host *h = fsm->data;
	struct sim_host *sh = h->data;
	struct store_txn *txn = store_begin(sh->store, STORE_READ);
	uint8_t from[STORE_KEY_MAX] = {STORE_REPLICATED};
	struct slice key, value;
	size_t from_len = 1;
	bool after = false;
	struct buf b;

	buf_init(&b, 64 << 20);
	buf_u64(&b, h->raft->last_applied);
	while (store_seek(txn, slice_of(from, from_len), after, &key, &value)) {
		buf_slice16(&b, key);
		buf_slice32(&b, value);
		memcpy(from, key.ptr, key.len);
		from_len = key.len;
		after = true;
	}
	store_abort(txn);
	assert(buf_error(&b) == 0);
	*n = 1;
	*bufs = raft_malloc(sizeof(**bufs));
	(*bufs)[0].len = b.len;
	(*bufs)[0].base = raft_malloc(b.len);
	memcpy((*bufs)[0].base, b.ptr, b.len);
	buf_fini(&b);
	return 0;
}

static int
restore(struct raft_fsm *fsm, struct raft_buffer *raw)
{
	struct host *h = fsm->data;
	struct sim_host *sh = h->data;
	struct store_txn *txn;
	struct slice key, value;
	struct reader r;
	uint64_t index;

	reader_init(&r, slice_of(raw->base, raw->len));
	index = reader_u64(&r);
	if (store_clear(sh->store) != 0)
		abort();
	txn = store_begin(sh->store, STORE_WRITE);
	while (reader_left(&r) > 0 && reader_ok(&r)) {
		key = reader_slice16(&r, STORE_KEY_MAX);
		value = reader_slice32(&r, 64 << 20);
		store_put(txn, key, value);
	}
	if (store_commit(txn) != 0 || !reader_done(&r))
		abort();
	raft_free(raw->base);
	current->n_restored++;
	compare(current, h, index);
	return 0;
}
