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
