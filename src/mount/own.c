/*
 * own.c: names that this host has freed itself, a moment ago.
 *
 * A name is made only where this host knows of its last change (rule P), else
 * a lock that is a name could be taken before what it guards is seen.  A name
 * that was freed here counts as known though the replay lags: who took it last
 * was of this host, and fresh then.  Without that `ln -sf`, which makes and
 * moves one temporary name again and again, would be told EEXIST.
 */
#include "config.h"

#include <string.h>

#include "mount/mount_internal.h"

void
own_freed(struct mount *m, const struct change *c)
{
	struct own_name *own;

	if (c->kind != CHANGE_UNLINK && c->kind != CHANGE_RMDIR &&
	    c->kind != CHANGE_RENAME)
		return;
	if (replay_cursor(m->replay) >= c->rev)
		return; /* nothing lags */
	own = &m->own[m->n_own++ % OWN_NAMES];
	own->dir = c->dir;
	own->rev = c->rev;
	memcpy(own->name, c->name, sizeof own->name);
}

uint64_t
own_seen(struct mount *m, const struct command *c)
{
	bool renames = c->kind == COMMAND_rename;
	uint64_t seen = replay_cursor(m->replay);
	uint64_t dir = renames ? c->dir2 : c->dir;
	struct slice name = renames ? c->name2 : c->name;

	if (m->own[(m->n_own - 1) % OWN_NAMES].rev <= seen)
		return seen; /* the newest, so all: nothing lags */
	for (unsigned i = 0; i < OWN_NAMES; i++)
		if (m->own[i].rev > seen && m->own[i].dir == dir &&
		    slice_eq(slice_str(m->own[i].name), name))
			seen = m->own[i].rev;
	return seen;
}
