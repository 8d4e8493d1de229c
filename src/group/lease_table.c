/*
 * lease_table.c: the ttl files that the leader watches, hashed, and a heap of
 * when they expire.
 *
 * A refresh only moves expiry_ns; the heap is put right when a file comes to
 * its top, so that a refresh costs a look into the hash, however many there are.
 */
#include "config.h"

#include <stdlib.h>

#include "group/lease.h"

static void dirty_del(struct lease *, struct lease_node *);
static void place(struct lease *, size_t, struct lease_node *);
static void sift_up(struct lease *, size_t);
static void sift_down(struct lease *, size_t);

struct lease_node *
lease_node_find(struct lease *l, uint64_t node)
{
	struct lease_node *n;

	HASH_FIND(hh, l->nodes, &node, sizeof(node), n);
	return n;
}

struct lease_node *
lease_node_add(struct lease *l, uint64_t node)
{
	struct lease_node *n = lease_node_find(l, node);

	if (n != NULL)
		return n;
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		abort();
	n->node = node;
	n->heap_idx = LEASE_NO_HEAP;
	HASH_ADD(hh, l->nodes, node, sizeof(n->node), n);
	return n;
}

void
lease_node_del(struct lease *l, struct lease_node *n)
{
	lease_heap_del(l, n);
	if (n->dirty)
		dirty_del(l, n);
	HASH_DEL(l->nodes, n);
	free(n);
}

void
lease_table_unwatch(struct lease *l)
{
	struct lease_node *n, *next;

	l->n_heap = 0;
	l->dirty = NULL;
	HASH_ITER (hh, l->nodes, n, next) {
		n->heap_idx = LEASE_NO_HEAP;
		n->ttl_ns = 0;
		n->dirty = n->proposed = false;
		if (n->wall_ns == 0)
			lease_node_del(l, n);
	}
}

void
lease_table_fini(struct lease *l)
{
	struct lease_node *n, *next;

	HASH_ITER (hh, l->nodes, n, next) {
		HASH_DEL(l->nodes, n);
		free(n);
	}
	free(l->heap);
}

void
lease_table_dirty(struct lease *l)
{
	struct lease_node *n, *next;

	HASH_ITER (hh, l->nodes, n, next) {
		if (n->wall_ns != 0)
			lease_node_dirty(l, n);
	}
}

/* The others are to be told of it. */
void
lease_node_dirty(struct lease *l, struct lease_node *n)
{
	if (n->dirty)
		return;
	n->dirty = true;
	n->next_dirty = l->dirty;
	l->dirty = n;
}

/* Rare: it died within half a second of a refresh. */
static void
dirty_del(struct lease *l, struct lease_node *n)
{
	struct lease_node **at = &l->dirty;

	while (*at != n)
		at = &(*at)->next_dirty;
	*at = n->next_dirty;
}

void
lease_heap_put(struct lease *l, struct lease_node *n)
{
	if (n->heap_idx != LEASE_NO_HEAP) {
		if (n->expiry_ns < n->due_ns) {
			n->due_ns = n->expiry_ns;
			sift_up(l, n->heap_idx);
		}
		return;
	}
	if (l->n_heap == l->cap_heap) {
		l->cap_heap = l->cap_heap == 0 ? 256 : 2 * l->cap_heap;
		l->heap = realloc(l->heap, l->cap_heap * sizeof(*l->heap));
		if (l->heap == NULL)
			abort();
	}
	n->due_ns = n->expiry_ns;
	place(l, l->n_heap++, n);
	sift_up(l, n->heap_idx);
}

void
lease_heap_del(struct lease *l, struct lease_node *n)
{
	size_t i = n->heap_idx;
	struct lease_node *last;

	if (i == LEASE_NO_HEAP)
		return;
	n->heap_idx = LEASE_NO_HEAP;
	last = l->heap[--l->n_heap];
	if (last == n)
		return;
	place(l, i, last);
	sift_up(l, i);
	sift_down(l, last->heap_idx);
}

struct lease_node *
lease_heap_first(struct lease *l, uint64_t until)
{
	struct lease_node *n;

	while (l->n_heap > 0 && (n = l->heap[0])->due_ns <= until) {
		if (n->expiry_ns <= until)
			return n;
		n->due_ns = n->expiry_ns;
		sift_down(l, 0);
	}
	return NULL;
}

static void
place(struct lease *l, size_t i, struct lease_node *n)
{
	l->heap[i] = n;
	n->heap_idx = i;
}

static void
sift_up(struct lease *l, size_t i)
{
	struct lease_node *n = l->heap[i];

	for (; i > 0 && l->heap[(i - 1) / 2]->due_ns > n->due_ns;
	     i = (i - 1) / 2)
		place(l, i, l->heap[(i - 1) / 2]);
	place(l, i, n);
}

static void
sift_down(struct lease *l, size_t i)
{
	struct lease_node *n = l->heap[i];
	size_t child;

	while ((child = 2 * i + 1) < l->n_heap) {
		if (child + 1 < l->n_heap &&
		    l->heap[child + 1]->due_ns < l->heap[child]->due_ns)
			child++;
		if (l->heap[child]->due_ns >= n->due_ns)
			break;
		place(l, i, l->heap[child]);
		i = child;
	}
	place(l, i, n);
}
