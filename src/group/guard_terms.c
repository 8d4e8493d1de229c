/*
 * guard_terms.c: which term each entry of the log has.
 *
 * Terms only grow along the log, so a table has one row per leader, not per
 * entry.  Rows below the newest snapshot are dropped with the next one.
 */
#include "config.h"

#include "group/guard_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct guard_run {
	raft_index first; /* index of the first entry */
	raft_term term;
};

static void runs_trim(struct guard *, raft_index);

uint64_t
guard_term_of(const struct guard *g, uint64_t index)
{
	unsigned i;

	if (index != 0 && index == g->snap_index)
		return g->snap_term;
	if (index > g->last_index)
		return 0;
	for (i = g->n_runs; i > 0; i--)
		if (g->runs[i - 1].first <= index)
			return g->runs[i - 1].term;
	return 0;
}

void
guard_terms_reset(struct guard *g, raft_index last_index)
{
	g->n_runs = 0;
	g->last_index = last_index;
}

void
guard_terms_append(struct guard *g, raft_term term)
{
	struct guard_run *grown;
	unsigned cap;

	g->last_index++;
	if (g->n_runs > 0 && g->runs[g->n_runs - 1].term == term)
		return;
	if (g->n_runs == g->cap_runs) {
		cap = g->cap_runs == 0 ? 16 : 2 * g->cap_runs;
		grown = realloc(g->runs, cap * sizeof(*grown));
		if (grown == NULL) {
			guard_fail(g, "out of memory");
			return;
		}
		g->runs = grown;
		g->cap_runs = cap;
	}
	g->runs[g->n_runs++] = (struct guard_run){g->last_index, term};
}

void
guard_terms_truncate(struct guard *g, raft_index first_cut)
{
	assert(first_cut > 0);
	if (first_cut > g->last_index)
		return;
	while (g->n_runs > 0 && g->runs[g->n_runs - 1].first >= first_cut)
		g->n_runs--;
	g->last_index = first_cut - 1;
}

void
guard_terms_snapshot(struct guard *g, raft_index index, raft_term term)
{
	if (index <= g->snap_index)
		return;
	runs_trim(g, g->snap_index);
	g->snap_index = index;
	g->snap_term = term;
}

static void
runs_trim(struct guard *g, raft_index index)
{
	unsigned n = 0;

	while (n + 1 < g->n_runs && g->runs[n + 1].first <= index)
		n++;
	if (n == 0)
		return;
	g->n_runs -= n;
	memmove(g->runs, g->runs + n, g->n_runs * sizeof(*g->runs));
}
