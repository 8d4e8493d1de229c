/*
 * slice.h: borrowed bytes.
 *
 * A slice never owns what it points to; the function that hands one out says
 * how long it lives.  An empty slice may have a NULL pointer.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const void *ptr; /* first byte, NULL only if len is 0 */
	size_t len;	 /* bytes */
};

#define SLICE_EMPTY ((struct slice){NULL, 0})

static inline struct slice
slice_of(const void *ptr, size_t len)
{
	return (struct slice){ptr, len};
}

static inline struct slice
slice_str(const char *s)
{
	return (struct slice){s, strlen(s)};
}

/* memcmp(3) order, a prefix before what it is a prefix of. */
static inline int
slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);

	if (order != 0)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && slice_cmp(a, b) == 0;
}

#endif
