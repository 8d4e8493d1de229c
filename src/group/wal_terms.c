/*
 * wal_terms.c: the term of each entry, in runs, for there are few elections.
 */
#include "config.h"

#include "group/wal_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int reserve(struct wal_terms *, size_t n);

int
wal_terms_add(struct wal_terms *t, uint64_t index, uint64_t term)
{
	int err;

	if (t->n > 0 && t->runs[t->n - 1].term == term)
		return 0;
	assert(t->n == 0 || t->runs[t->n - 1].first < index);
	err = reserve(t, t->n + 1);
	if (err != 0)
		return err;
	t->runs[t->n++] = (struct wal_run){index, term};
	return 0;
}

void
wal_terms_cut(struct wal_terms *t, uint64_t from)
{
	while (t->n > 0 && t->runs[t->n - 1].first >= from)
		t->n--;
}

int
wal_terms_copy(struct wal_terms *t, const struct wal_terms *from)
{
	int err = reserve(t, from->n);

	if (err != 0)
		return err;
	if (from->n > 0)
		memcpy(t->runs, from->runs, from->n * sizeof(*t->runs));
	t->n = from->n;
	return 0;
}

uint64_t
wal_terms_find(const struct wal_terms *t, uint64_t index)
{
	size_t lo = 0, hi = t->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (t->runs[mid].first <= index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo == 0 ? 0 : t->runs[lo - 1].term;
}

static int
reserve(struct wal_terms *t, size_t n)
{
	size_t cap = t->cap == 0 ? 16 : t->cap;
	struct wal_run *runs;

	if (n <= t->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	runs = realloc(t->runs, cap * sizeof(*runs));
	if (runs == NULL)
		return -ENOMEM;
	t->runs = runs;
	t->cap = cap;
	return 0;
}
