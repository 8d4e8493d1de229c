/*
 * digest.c: the multiset hash.
 */
#include "config.h"

#include "store/digest.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <sodium.h>

/* Also lets libsodium choose its fastest code for this processor. */
int
digest_setup(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

/* The length of the key goes first: ("ab", "c") is not ("a", "bc"). */
void
digest_hash(struct slice key, struct slice value, uint8_t ret[DIGEST_LEN])
{
	/* The personalization costs nothing; a key costs a block of its own,
	 * half of the time that a small value takes. */
	static const uint8_t domain[crypto_generichash_blake2b_PERSONALBYTES] =
	    "govfs digest 1";
	uint32_t key_len = htole32((uint32_t)key.len);
	crypto_generichash_state state;
	int err;

	err = crypto_generichash_blake2b_init_salt_personal(&state, NULL, 0,
	    DIGEST_LEN, NULL, domain);
	err |= crypto_generichash_update(&state, (const uint8_t *)&key_len,
	    sizeof(key_len));
	err |= crypto_generichash_update(&state, key.ptr, key.len);
	if (value.len != 0)
		err |= crypto_generichash_update(&state, value.ptr, value.len);
	err |= crypto_generichash_final(&state, ret, DIGEST_LEN);
	assert(err == 0);
}

void
digest_add(struct digest *d, const uint8_t hash[DIGEST_LEN])
{
	sodium_add(d->bytes, hash, DIGEST_LEN);
}

void
digest_sub(struct digest *d, const uint8_t hash[DIGEST_LEN])
{
	sodium_sub(d->bytes, hash, DIGEST_LEN);
}
