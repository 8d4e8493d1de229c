/*
 * handle.c: the table of open files.
 *
 * What the kernel keeps is an index and a generation, never a pointer: a handle
 * number that outlives its handle finds nobody.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "mount/mount_internal.h"

struct handle *
handle_new(struct mount *m, struct account *account, uint64_t ino, int flags)
{
	struct handle *h;
	uint32_t idx = m->next_handle;

	while (m->handles[idx] != NULL)
		idx = (idx + 1) % LIMIT_HANDLES;
	m->next_handle = (idx + 1) % LIMIT_HANDLES;
	h = calloc(1, sizeof *h);
	assert(h != NULL);
	h->idx = idx;
	h->generation = ++m->next_generation & 0x7fffffff;
	h->account = account;
	h->ino = ino;
	h->flags = flags;
	h->reads = (flags & O_ACCMODE) != O_WRONLY;
	/* O_TRUNC counts as data, whatever else the handle is for. */
	h->writes = (flags & O_ACCMODE) != O_RDONLY ||
	    (flags & O_TRUNC) != 0;
	h->append = h->writes && (flags & O_APPEND) != 0;
	buf_init(&h->draft, LIMIT_FILE_MAX);
	buf_init(&h->text, LIMIT_GOV_TEXT);
	if (!dotgov_is(ino)) {
		h->node = kview_node(m->kview, ino);
		h->node->n_handles++;
		DL_APPEND(h->node->handles, h);
	}
	m->handles[idx] = h;
	return h;
}

struct handle *
handle_get(struct mount *m, const struct fuse_file_info *fi)
{
	struct handle *h;

	if (fi == NULL || fi->fh == HELPER_FH)
		return NULL;
	h = m->handles[(uint32_t)fi->fh % LIMIT_HANDLES];
	if (h == NULL || handle_fh(h) != fi->fh)
		return NULL;
	return h;
}

uint64_t
handle_fh(const struct handle *h)
{
	return (uint64_t)h->generation << 32 | h->idx;
}

bool
handle_dead(const struct handle *h)
{
	return h->node->own_attr && h->node->attr.nlink == 0 &&
	    h->node->alias == 0;
}

void
handle_set_dirty(struct mount *m, struct handle *h, bool dirty)
{
	if (h->dirty == dirty)
		return;
	h->dirty = dirty;
	if (dirty)
		h->node->n_dirty++;
	else
		h->node->n_dirty--;
}

void
handle_free(struct mount *m, struct handle *h)
{
	struct knode *node = h->node;

	assert(h->commit == NULL && h->flushers == NULL && h->listing == NULL);
	account_let_go(m, h->account, h->draft.len + h->text.len);
	buf_fini(&h->draft);
	buf_fini(&h->text);
	version_drop(m, h, h->pin);
	dotgov_released(m, h);
	if (node != NULL) {
		handle_set_dirty(m, h, false);
		DL_DELETE(node->handles, h);
		node->n_handles--;
		kview_release(m->kview, node);
	}
	m->handles[h->idx] = NULL;
	account_drop(m, h->account);
	free(h);
}

struct handle *
handle_dirty_of(struct mount *m, uint64_t ino, pid_t process)
{
	struct knode *node = kview_find(m->kview, ino);
	struct handle *h;

	if (node == NULL || node->n_dirty == 0)
		return NULL;
	DL_FOREACH (node->handles, h)
		if (h->dirty && !h->released && h->opener == process)
			return h;
	return NULL;
}
