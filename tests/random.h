/*
 * random.h: the same numbers for the same seed, on every machine.
 *
 * splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
 * generators, 2014).
 */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t state;
};

static inline void
random_init(struct random *r, uint64_t seed)
{
	r->state = seed;
}

static inline uint64_t
random_u64(struct random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 ... n - 1 */
static inline unsigned
random_below(struct random *r, unsigned n)
{
	return (unsigned)(random_u64(r) % n);
}

#endif
