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
version_drop(struct version *v)
{
	if (v == NULL || --v->refs > 0)
		return;
	free(v->bytes);
	free(v);
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
	struct slice content;
	struct attr attr;
	uint8_t *copy = NULL;

	if (!tree_node_get(t, ino, &attr)) {
		if (v == NULL)
			v = node->version = version_new(NULL, 0);
	} else if (v == NULL || v->rev != attr.rev) {
		content = tree_content(t, ino);
		if (content.len > 0) {
			copy = malloc(content.len);
			assert(copy != NULL);
			memcpy(copy, content.ptr, content.len);
		}
		version_drop(node->version);
		v = node->version = version_new(copy, content.len);
		v->rev = attr.rev;
	}
	store_abort(t);
	v->refs++;
	return v;
}
