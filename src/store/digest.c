/*
 * digest.c: the multiset hash.
 */
#include "config.h"

#include "store/digest.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <sodium.h>

#include "store/store.h"

/* What every hash begins with. */
static crypto_generichash_blake2b_state initial;

static uint64_t word_at(const uint8_t *);
static void word_put(uint8_t *, uint64_t);

/* Also lets libsodium choose its fastest code for this processor. */
int
digest_setup(void)
{
	/* The personalization costs nothing; a key costs a block of its own,
	 * half of the time that a small value takes. */
	static const uint8_t domain[crypto_generichash_blake2b_PERSONALBYTES] =
	    "govfs digest 1";
	int err;

	if (sodium_init() < 0)
		return -EIO;
	err = crypto_generichash_blake2b_init_salt_personal(&initial, NULL, 0,
	    DIGEST_LEN, NULL, domain);
	assert(err == 0);
	return 0;
}

/* The length of the key goes first: ("ab", "c") is not ("a", "bc"). */
void
digest_hash(struct slice key, struct slice value, uint8_t ret[DIGEST_LEN])
{
	crypto_generichash_blake2b_state state = initial;
	uint32_t key_len = htole32((uint32_t)key.len);
	uint8_t head[sizeof(key_len) + STORE_KEY_MAX];
	int err;

	assert(key.len <= STORE_KEY_MAX);
	memcpy(head, &key_len, sizeof(key_len));
	memcpy(head + sizeof(key_len), key.ptr, key.len);
	err = crypto_generichash_blake2b_update(&state, head,
	    sizeof(key_len) + key.len);
	if (value.len != 0)
		err |= crypto_generichash_blake2b_update(&state, value.ptr,
		    value.len);
	err |= crypto_generichash_blake2b_final(&state, ret, DIGEST_LEN);
	assert(err == 0);
}

void
digest_add(struct digest *d, const uint8_t hash[DIGEST_LEN])
{
	uint64_t carry = 0, a, b, sum;

	for (size_t i = 0; i < DIGEST_LEN; i += sizeof(sum)) {
		a = word_at(d->bytes + i);
		b = word_at(hash + i);
		sum = a + b + carry;
		carry = sum < a || (carry != 0 && sum == a);
		word_put(d->bytes + i, sum);
	}
}

void
digest_sub(struct digest *d, const uint8_t hash[DIGEST_LEN])
{
	uint64_t borrow = 0, a, b;

	for (size_t i = 0; i < DIGEST_LEN; i += sizeof(a)) {
		a = word_at(d->bytes + i);
		b = word_at(hash + i);
		word_put(d->bytes + i, a - b - borrow);
		borrow = a < b || (borrow != 0 && a == b);
	}
}

static uint64_t
word_at(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return le64toh(word);
}

static void
word_put(uint8_t *p, uint64_t word)
{
	word = htole64(word);
	memcpy(p, &word, sizeof(word));
}
