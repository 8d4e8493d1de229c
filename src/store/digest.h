/*
 * digest.h: a hash of a set of keys and values that can be kept up.
 *
 * Each pair is hashed by itself (BLAKE2b, personalized so that it is no other hash of
 * the same bytes), and the hashes are added modulo 2^256: order does not
 * matter, and a pair is taken out by subtraction.
 */
#ifndef STORE_DIGEST_H
#define STORE_DIGEST_H

#include "base/slice.h"

enum { DIGEST_LEN = 32 };

struct digest {
	uint8_t bytes[DIGEST_LEN]; /* a little-endian number */
};

int digest_setup(void); /* before the first use; again is harmless */
void digest_hash(struct slice key, struct slice value,
    uint8_t ret[DIGEST_LEN]);
void digest_add(struct digest *, const uint8_t hash[DIGEST_LEN]);
void digest_sub(struct digest *, const uint8_t hash[DIGEST_LEN]);

#endif
