/*
 * version.c: contents that open handles show.
 *
 * A copy shared by all handles on the same version, never a read transaction
 * kept open: that would keep the store from reusing pages.  Each user whose
 * handles show it pays for it once.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mount/mount_internal.h"
#include "tree/tree.h"

struct share {
	struct account *account;
	unsigned n; /* by how many of its handles, and their commits */
	struct share *next;
};

static struct share *
share_of(const struct version *v, const struct account *a)
{
	struct share *s;

	LL_SEARCH_SCALAR(v->shares, s, account, a);
	return s;
}

void
version_share(struct version *v, struct handle *h)
{
	struct share *s = share_of(v, h->account);

	if (s == NULL) {
		s = calloc(1, sizeof *s);
		assert(s != NULL);
		s->account = h->account;
		s->account->held_bytes += v->size;
		LL_PREPEND(v->shares, s);
	}
	s->n++;
}

void
version_drop(struct mount *m, struct handle *h, struct version *v)
{
	struct share *s;

	if (v == NULL)
		return;
	s = share_of(v, h->account);
	assert(s != NULL);
	if (--s->n > 0)
		return;
	s->account->held_bytes -= v->size;
	LL_DELETE(v->shares, s);
	free(s);
	if (v->shares != NULL)
		return;
	m->held_bytes -= v->size;
	if (v->node != NULL && v->node->version == v)
		v->node->version = NULL;
	free(v->bytes);
	free(v);
}

struct version *
version_of_draft(struct handle *h)
{
	struct version *v = calloc(1, sizeof *v);

	assert(v != NULL);
	v->bytes = h->draft.ptr;
	v->size = h->draft.len;
	h->account->held_bytes -= v->size;
	version_share(v, h);
	buf_init(&h->draft, LIMIT_FILE_MAX);
	return v;
}

static struct version *
copy(struct mount *m, struct handle *h, struct slice content)
{
	struct version *v;

	if (content.len > 0 &&
	    !account_may_hold(m, h->account, content.len))
		return NULL;
	v = calloc(1, sizeof *v);
	assert(v != NULL);
	v->node = h->node;
	v->size = content.len;
	m->held_bytes += v->size;
	if (v->size > 0) {
		v->bytes = malloc(v->size);
		assert(v->bytes != NULL);
		memcpy(v->bytes, content.ptr, v->size);
	}
	return v;
}

/* Of a node gone from C (unlinked, still open) the last one that is shown. */
struct version *
version_pin(struct mount *m, struct handle *h)
{
	struct knode *node = h->node;
	uint64_t ino = node->alias != 0 ? node->alias : node->ino;
	struct store_txn *t = mount_view(m);
	struct version *v = node->version;
	struct attr attr = {.rev = v == NULL ? 0 : v->rev};
	bool there = tree_node_get(t, ino, &attr);

	if (v == NULL || v->rev != attr.rev) {
		v = copy(m, h, there ? tree_content(t, ino) : SLICE_EMPTY);
		if (v != NULL) {
			v->rev = attr.rev;
			node->version = v;
		}
	} else if (share_of(v, h->account) == NULL &&
	    !account_may_share(h->account, v->size)) {
		v = NULL;
	}
	store_abort(t);
	if (v != NULL)
		version_share(v, h);
	return v;
}
