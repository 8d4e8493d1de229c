/*
 * disk.c: what a simulated host still has after a crash.
 */
#include "config.h"

#include "sim/disk.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct disk_op {
	struct disk_op *next; /* later */
	enum { OP_APPEND, OP_TRUNCATE, OP_PUT } kind;
	bool done;	      /* may take effect once all before it have */
	struct raft_entry *entries;
	unsigned n, trailing;
	raft_index index, commit;
	struct raft_snapshot *snapshot;
};

static struct disk_op *op_new(struct disk *, int kind);
static void op_apply(struct disk *, struct disk_op *);
static void op_free(struct disk_op *);
static void settle(struct disk *);
static void truncate_from(struct disk *, raft_index);
static void drop_to(struct disk *, raft_index);
static void entry_copy(const struct raft_entry *, struct raft_entry *ret);

void
disk_init(struct disk *d)
{
	memset(d, 0, sizeof(*d));
	d->first = 1;
	d->tail = &d->head;
}

void
disk_fini(struct disk *d)
{
	disk_crash(d, 0);
	truncate_from(d, d->first);
	free(d->entries);
	disk_snapshot_free(d->snapshot);
}

void
disk_bootstrap(struct disk *d, const struct raft_configuration *conf)
{
	struct raft_entry e = {.term = 1, .type = RAFT_CHANGE};

	assert(d->n == 0);
	if (raft_configuration_encode(conf, &e.buf) != 0)
		abort();
	d->term = 1;
	disk_done(d, disk_append(d, &e, 1, 1));
	raft_free(e.buf.base);
}

struct disk_op *
disk_append(struct disk *d, const struct raft_entry *entries, unsigned n,
    raft_index commit)
{
	struct disk_op *op = op_new(d, OP_APPEND);
	unsigned i;

	op->entries = calloc(n, sizeof(*op->entries));
	op->n = n;
	op->commit = commit;
	for (i = 0; i < n; i++)
		entry_copy(&entries[i], &op->entries[i]);
	return op;
}

void
disk_truncate(struct disk *d, raft_index index)
{
	struct disk_op *op = op_new(d, OP_TRUNCATE);

	op->index = index;
	disk_done(d, op);
}

struct disk_op *
disk_put(struct disk *d, const struct raft_snapshot *s, unsigned trailing)
{
	struct disk_op *op = op_new(d, OP_PUT);

	op->snapshot = disk_snapshot_copy(s);
	op->trailing = trailing;
	return op;
}

void
disk_done(struct disk *d, struct disk_op *op)
{
	op->done = true;
	settle(d);
}

void
disk_cancel(struct disk *d, struct disk_op *op)
{
	struct disk_op **at = &d->head;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	if (op->next == NULL)
		d->tail = at;
	op_free(op);
	settle(d);
}

void
disk_crash(struct disk *d, unsigned n_kept)
{
	struct disk_op *op;

	for (op = d->head; op != NULL && n_kept > 0; op = op->next, n_kept--)
		op->done = true;
	settle(d);
	while ((op = d->head) != NULL) {
		d->head = op->next;
		op_free(op);
	}
	d->tail = &d->head;
}

unsigned
disk_pending(const struct disk *d)
{
	const struct disk_op *op;
	unsigned n = 0;

	for (op = d->head; op != NULL; op = op->next)
		n++;
	return n;
}

void
disk_load(const struct disk *d, struct raft_snapshot **ret_snapshot,
    raft_index *ret_start, struct raft_entry **ret_entries, size_t *ret_n)
{
	struct raft_entry *entries = NULL;
	uint8_t *batch;
	size_t len = 8;
	unsigned i;

	*ret_snapshot = d->snapshot == NULL ? NULL :
	    disk_snapshot_copy(d->snapshot);
	*ret_start = d->first;
	*ret_n = d->n;
	for (i = 0; i < d->n; i++)
		len += d->entries[i].buf.len;
	if (d->n > 0) {
		entries = raft_calloc(d->n, sizeof(*entries));
		batch = raft_malloc(len);
		for (i = 0, len = 0; i < d->n; i++) {
			entries[i] = d->entries[i];
			entries[i].batch = batch;
			entries[i].buf.base = batch + len;
			memcpy(batch + len, d->entries[i].buf.base,
			    d->entries[i].buf.len);
			len += d->entries[i].buf.len;
		}
	}
	*ret_entries = entries;
}

struct raft_snapshot *
disk_snapshot_copy(const struct raft_snapshot *s)
{
	struct raft_snapshot *copy = raft_calloc(1, sizeof(*copy));
	size_t len = 0;
	unsigned i;

	copy->index = s->index;
	copy->term = s->term;
	copy->configuration_index = s->configuration_index;
	raft_configuration_init(&copy->configuration);
	for (i = 0; i < s->configuration.n; i++)
		if (raft_configuration_add(&copy->configuration,
		    s->configuration.servers[i].id,
		    s->configuration.servers[i].address,
		    s->configuration.servers[i].role) != 0)
			abort();
	for (i = 0; i < s->n_bufs; i++)
		len += s->bufs[i].len;
	copy->n_bufs = 1;
	copy->bufs = raft_malloc(sizeof(*copy->bufs));
	copy->bufs[0].base = raft_malloc(len);
	copy->bufs[0].len = len;
	for (i = 0, len = 0; i < s->n_bufs; i++) {
		memcpy((char *)copy->bufs[0].base + len, s->bufs[i].base,
		    s->bufs[i].len);
		len += s->bufs[i].len;
	}
	return copy;
}

void
disk_snapshot_free(struct raft_snapshot *s)
{
	if (s == NULL)
		return;
	raft_configuration_close(&s->configuration);
	raft_free(s->bufs[0].base);
	raft_free(s->bufs);
	raft_free(s);
}

static struct disk_op *
op_new(struct disk *d, int kind)
{
	struct disk_op *op = calloc(1, sizeof(*op));

	assert(op != NULL);
	op->kind = kind;
	*d->tail = op;
	d->tail = &op->next;
	return op;
}

static void
settle(struct disk *d)
{
	struct disk_op *op;

	while ((op = d->head) != NULL && op->done) {
		op_apply(d, op);
		d->head = op->next;
		if (d->head == NULL)
			d->tail = &d->head;
		op_free(op);
	}
}

static void
op_apply(struct disk *d, struct disk_op *op)
{
	switch (op->kind) {
	case OP_APPEND:
		d->entries = realloc(d->entries, (d->n + op->n) *
		    sizeof(*d->entries));
		memcpy(d->entries + d->n, op->entries,
		    op->n * sizeof(*op->entries));
		d->n += op->n;
		op->n = 0; /* the payloads are the disk's now */
		if (op->commit > d->commit)
			d->commit = op->commit;
		break;
	case OP_TRUNCATE:
		truncate_from(d, op->index);
		break;
	case OP_PUT:
		disk_snapshot_free(d->snapshot);
		d->snapshot = op->snapshot;
		op->snapshot = NULL;
		if (op->trailing == 0) {
			truncate_from(d, d->first);
			d->first = d->snapshot->index + 1;
		} else if (d->snapshot->index > op->trailing) {
			drop_to(d, d->snapshot->index - op->trailing);
		}
		break;
	}
}

static void
op_free(struct disk_op *op)
{
	unsigned i;

	for (i = 0; i < op->n; i++)
		free(op->entries[i].buf.base);
	free(op->entries);
	disk_snapshot_free(op->snapshot);
	free(op);
}

static void
truncate_from(struct disk *d, raft_index index)
{
	while (d->n > 0 && d->first + d->n - 1 >= index)
		free(d->entries[--d->n].buf.base);
}

static void
drop_to(struct disk *d, raft_index index)
{
	unsigned n = 0;

	while (n < d->n && d->first + n <= index)
		free(d->entries[n++].buf.base);
	d->first += n;
	d->n -= n;
	memmove(d->entries, d->entries + n, d->n * sizeof(*d->entries));
}

static void
entry_copy(const struct raft_entry *e, struct raft_entry *ret)
{
	*ret = *e;
	ret->batch = NULL;
	ret->buf.base = malloc(e->buf.len);
	memcpy(ret->buf.base, e->buf.base, e->buf.len);
}
