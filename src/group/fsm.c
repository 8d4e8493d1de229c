/*
 * fsm.c: committed entries become state.
 *
 * The core hands entries over from inside its callbacks.  Their commands are
 * applied at once to the turn's one transaction; at the end of the turn it is
 * committed, and only then does anybody hear of them, in their order.  What
 * is kept until then points into the entries, which the core's log holds.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/metric.h"
#include "group/internal.h"
#include "machine/machine.h"

struct fsm_item {
	struct command command; /* slices point into the entry */
	struct outcome outcome;
	uint64_t index;
};

static int raft_fsm_apply(struct raft_fsm *, const struct raft_buffer *,
    void **);
static int raft_fsm_snapshot(struct raft_fsm *, struct raft_buffer *[],
    unsigned *);
static int raft_fsm_restore(struct raft_fsm *, struct raft_buffer *);
static int apply_commands(struct group *, uint64_t index, struct slice);
static struct fsm_item *item_new(struct fsm *);
static void publish(struct group *, size_t n);

void
fsm_init(struct group *g)
{
	g->fsm.raft_fsm = (struct raft_fsm){
	    .version = 1,
	    .data = g,
	    .apply = raft_fsm_apply,
	    .snapshot = raft_fsm_snapshot,
	    .restore = raft_fsm_restore,
	};
}

void
fsm_fini(struct group *g)
{
	store_abort(g->fsm.txn);
	for (size_t i = 0; i < g->fsm.n_items; i++)
		outcome_fini(&g->fsm.items[i].outcome);
	free(g->fsm.items);
	g->fsm = (struct fsm){0};
}

static int
raft_fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf,
    void **result)
{
	struct group *g = fsm->data;
	uint64_t index = g->raft.last_applied + 1; /* true in 0.15 to 0.22 */

	*result = NULL;
	if (!g->failed)
		fsm_entry(g, index, guard_term_of(&g->guard, index),
		    slice_of(buf->base, buf->len));
	return 0;
}

static int
raft_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[],
    unsigned *n)
{
	return RAFT_BUSY;
}

static int
raft_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	return RAFT_INVALID;
}

/* Applies one entry, unless the store has it already (a replay). */
void
fsm_entry(struct group *g, uint64_t index, uint64_t term, struct slice bytes)
{
	struct fsm *f = &g->fsm;
	int err;

	if (index <= f->index)
		return;
	if (fault_get(FAULT_apply_crash) > 0 && fault_take(FAULT_apply_crash) &&
	    fault_get(FAULT_apply_crash) == 0)
		abort();
	if (f->txn == NULL)
		f->txn = store_begin(g->store, STORE_WRITE);
	err = apply_commands(g, index, bytes);
	if (err != 0) {
		group_fatal(g, "entry %llu of the log cannot be understood, "
		    "this host needs a newer govfsd or its log is damaged",
		    (unsigned long long)index);
		return;
	}
	g->ops->stamp(f->txn, index, term);
	f->index = index;
	metric_add(METRIC_entries_applied, 1);
	if (f->n_items >= FSM_TURN_COMMANDS && !f->flushing)
		fsm_flush(g);
}

static int
apply_commands(struct group *g, uint64_t index, struct slice bytes)
{
	struct fsm *f = &g->fsm;
	struct entry_reader e;
	struct slice one;
	uint64_t time_ns;
	int more = entry_open(bytes, &e);

	if (more != 0)
		return more;
	for (time_ns = e.header.time_ns;
	    (more = entry_next(&e, &one)) == 1; time_ns++) {
		struct fsm_item *item = item_new(f);
		int err = command_decode(one, &item->command);

		if (err != 0) {
			f->n_items--;
			return err;
		}
		item->index = index;
		outcome_init(&item->outcome);
		machine_apply(f->txn, &item->command, time_ns, &item->outcome);
		f->last_ns = time_ns;
	}
	metric_set(METRIC_entry_commands, e.header.n);
	metric_add(METRIC_commands_applied, e.header.n);
	return more;
}

static struct fsm_item *
item_new(struct fsm *f)
{
	if (f->n_items == f->cap_items) {
		size_t cap = f->cap_items == 0 ? 64 : f->cap_items * 2;
		struct fsm_item *items = realloc(f->items,
		    cap * sizeof(*items));

		if (items == NULL)
			abort();
		f->items = items;
		f->cap_items = cap;
	}
	return &f->items[f->n_items++];
}

/* The end of a turn: commit, then publish. */
void
fsm_flush(struct group *g)
{
	struct fsm *f = &g->fsm;
	uint64_t began;
	int err;

	if (f->flushing || g->failed)
		return;
	if (f->txn != NULL) {
		began = clock_now_ns();
		err = store_commit(f->txn);
		f->txn = NULL;
		if (err != 0) {
			group_fatal(g, "the store cannot be written: %s%s",
			    strerror(-err), err == -ENOSPC ?
			    ", make room on the disk" : "");
			return;
		}
		metric_time(METRIC_turn_commit_time, clock_now_ns() - began);
		f->flushing = true;
		publish(g, f->n_items);
		f->flushing = false;
	}
	if (g->started && g->published != g->raft.last_applied) {
		g->published = g->raft.last_applied;
		g->report_changed = true;
		wal_note_commit(g->wal, g->raft.commit_index);
	}
}

static void
publish(struct group *g, size_t n)
{
	struct fsm *f = &g->fsm;

	/* What is called here may submit a lot, which only queues. */
	for (size_t i = 0; i < n; i++) {
		struct fsm_item *item = &f->items[i];
		void *cookie = forward_take(g, &item->command);

		lease_applied(g, &item->command, &item->outcome);
		g->ops->applied(g->ops_arg, &item->command, &item->outcome,
		    cookie, item->index);
		outcome_fini(&item->outcome);
	}
	assert(f->n_items == n);
	f->n_items = 0;
	if (n > 0)
		g->ops->turn(g->ops_arg);
}
