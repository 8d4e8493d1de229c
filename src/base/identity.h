/*
 * identity.h: who this host is, in STATE/identity.
 *
 * Made once, never changed: a member that lost it comes back as another.
 */
#ifndef BASE_IDENTITY_H
#define BASE_IDENTITY_H

#include <stdint.h>

struct identity {
	uint8_t cluster[16]; /* hosts of another cluster are strangers */
	uint64_t member;     /* this host in its group, never 0 */
};

/* -ENOENT: there is none yet.  -EUCLEAN: it says what it never should. */
int identity_load(const char *state_dir, struct identity *ret);
/*
 * What is zero in *io is chosen at random; the rest is taken.  state_dir is
 * made if absent.  -EEXIST: there is one.  Done means: on stable storage.
 */
int identity_create(const char *state_dir, struct identity *io);

#endif
