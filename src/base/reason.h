/*
 * reason.h: why the last operation on a name failed, in one human sentence.
 *
 * Kept newest first, LIMIT_REASONS of them, for `gov why` and the gov.error
 * xattr.  Loop thread only.
 */
#ifndef BASE_REASON_H
#define BASE_REASON_H

#include <stdbool.h>

#include "base/slice.h"

struct reason {
	uint64_t dir;	   /* parent directory, 0: unknown */
	char name[256];	   /* "" : unknown */
	uint64_t node;	   /* inode number, 0: unknown */
	int err;	   /* negative errno that the caller got */
	uint64_t at_ns;	   /* clock_wall_ns() */
	char text[256];	   /* what happened and what to do */
};

void reason_note(uint64_t dir, struct slice name, uint64_t node, int err,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The newest that matches (dir and name) or node; zero matches nothing. */
bool reason_find(uint64_t dir, struct slice name, uint64_t node,
    struct reason *ret);

#endif
