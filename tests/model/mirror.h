/*
 * mirror.h: a tree kept up by nothing but the changes in outcomes, as the
 * kernel's view of a host is.
 */
#ifndef TESTS_MODEL_MIRROR_H
#define TESTS_MODEL_MIRROR_H

#include "command/outcome.h"

enum { MIRROR_NODES = 64, MIRROR_NAMES = 256 };

struct mirror {
	struct attr nodes[MIRROR_NODES]; /* ino 0: free */
	struct mirror_name {
		uint64_t dir; /* 0: free */
		char name[LIMIT_NAME + 1];
		uint64_t node;
	} names[MIRROR_NAMES];
};

/* 0, or -EUCLEAN with a sentence: the change doesn't fit what was before. */
int mirror_change(struct mirror *, const struct change *, char *why,
    size_t why_len);
const struct attr *mirror_node(const struct mirror *, uint64_t ino);
/* 0: no such name. */
uint64_t mirror_name(const struct mirror *, uint64_t dir, const char *name);
unsigned mirror_count(const struct mirror *, unsigned *ret_n_names);

#endif
