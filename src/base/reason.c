/*
 * reason.c: a ring of the newest reasons.
 */
#include "config.h"

#include "base/reason.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"

static struct reason ring[LIMIT_REASONS];
static uint64_t n_noted; /* ever; the newest is at (n_noted - 1) % LIMIT */

static bool matches(const struct reason *, uint64_t dir, struct slice name,
    uint64_t node);

void
reason_note(uint64_t dir, struct slice name, uint64_t node, int err,
    const char *fmt, ...)
{
	struct reason *r = &ring[n_noted++ % LIMIT_REASONS];
	size_t len = name.len < sizeof(r->name) ? name.len
						: sizeof(r->name) - 1;
	va_list ap;

	*r = (struct reason){.dir = dir, .node = node, .err = err};
	r->at_ns = clock_wall_ns();
	if (len > 0)
		memcpy(r->name, name.ptr, len);
	va_start(ap, fmt);
	(void)vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
}

bool
reason_find(uint64_t dir, struct slice name, uint64_t node, struct reason *ret)
{
	uint64_t n = n_noted < LIMIT_REASONS ? n_noted : LIMIT_REASONS;

	for (uint64_t back = 1; back <= n; back++) {
		struct reason *r = &ring[(n_noted - back) % LIMIT_REASONS];

		if (matches(r, dir, name, node)) {
			*ret = *r;
			return true;
		}
	}
	return false;
}

static bool
matches(const struct reason *r, uint64_t dir, struct slice name, uint64_t node)
{
	if (node != 0 && r->node == node)
		return true;
	return dir != 0 && r->dir == dir && name.len != 0 &&
	    slice_eq(slice_str(r->name), name);
}
