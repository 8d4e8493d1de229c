/*
 * outcome.c: the list of changes that a command made.
 */
#include "config.h"

#include "command/outcome.h"

#include <stdlib.h>

void
outcome_init(struct outcome *o)
{
	memset(o, 0, sizeof(*o));
}

void
outcome_fini(struct outcome *o)
{
	free(o->changes);
	o->changes = NULL;
	o->n_changes = 0;
}

struct change *
outcome_add(struct outcome *o, enum change_kind kind)
{
	struct change *c;

	c = reallocarray(o->changes, o->n_changes + 1, sizeof(*c));
	if (c == NULL)
		abort();
	o->changes = c;
	c += o->n_changes++;
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	return c;
}

const char *
change_kind_name(enum change_kind kind)
{
	switch (kind) {
	case CHANGE_CREATE:
		return "create";
	case CHANGE_MKDIR:
		return "mkdir";
	case CHANGE_SYMLINK:
		return "symlink";
	case CHANGE_LINK:
		return "link";
	case CHANGE_UNLINK:
		return "unlink";
	case CHANGE_RMDIR:
		return "rmdir";
	case CHANGE_RENAME:
		return "rename";
	case CHANGE_EXCHANGE:
		return "exchange";
	case CHANGE_CONTENT:
		return "content";
	case CHANGE_ATTR:
		return "attr";
	case CHANGE_GRANT:
		return "grant";
	case CHANGE_LOCKS:
		return "locks";
	}
	return "unknown";
}
