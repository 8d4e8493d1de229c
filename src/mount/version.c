/*
 * version.c: contents that open handles show.
 *
 * A copy shared by all handles on the same version, never a read transaction
 * kept open: that would keep the store from reusing pages.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mount/mount_internal.h"
#include "tree/tree.h"

struct version *
version_new(uint8_t *bytes, size_t size)
{
	struct version *v = calloc(1, sizeof *v);

	assert(v != NULL);
	v->refs = 1;
	v->bytes = bytes;
	v->size = size;
	return v;
}

void
version_drop(struct mount *m, struct version *v)
{
	if (v == NULL || --v->refs > 0)
		return;
	if (v->held)
		m->held_bytes -= v->size;
	free(v->bytes);
	free(v);
}

/* It is no longer what is committed: whoever still shows it holds it. */
static void
hold(struct mount *m, struct version *v)
{
	if (v == NULL || v->held)
		return;
	v->held = true;
	m->held_bytes += v->size;
}

static struct version *
copy(struct mount *m, struct slice content)
{
	uint8_t *bytes = NULL;

	if (content.len > 0) {
		if (m->held_bytes + content.len > LIMIT_HELD_BYTES)
			return NULL;
		bytes = malloc(content.len);
		assert(bytes != NULL);
		memcpy(bytes, content.ptr, content.len);
	}
	return version_new(bytes, content.len);
}

/*
 * The node keeps one reference to its newest version while handles are open.
 * A node gone from C (unlinked, still open) shows the last one pinned.
 */
struct version *
version_pin(struct mount *m, struct knode *node)
{
	uint64_t ino = node->alias != 0 ? node->alias : node->ino;
	struct store_txn *t = mount_view(m);
	struct version *v = node->version;
	struct attr attr;

	if (!tree_node_get(t, ino, &attr)) {
		if (v == NULL)
			v = node->version = version_new(NULL, 0);
	} else if (v == NULL || v->rev != attr.rev) {
		hold(m, v);
		version_drop(m, v);
		v = node->version = copy(m, tree_content(t, ino));
		if (v != NULL)
			v->rev = attr.rev;
		if (node->alias != 0)
			hold(m, v); /* version_applied() won't find it */
	}
	store_abort(t);
	if (v != NULL)
		v->refs++;
	return v;
}

static void
replaced(struct mount *m, uint64_t ino, const struct attr *now)
{
	struct knode *node = kview_find(m->kview, ino);

	if (node != NULL && node->version != NULL &&
	    (now->nlink == 0 || now->rev > node->version->rev))
		hold(m, node->version);
}

/* Published, any host's change: what is pinned may not be current any more. */
void
version_applied(struct mount *m, const struct change *c)
{
	if (c->kind >= CHANGE_GRANT)
		return;
	replaced(m, c->node, &c->attr);
	if (c->node2 != 0)
		replaced(m, c->node2, &c->attr2);
}
