/*
 * life.h: how nodes come by a lifetime, and what ends it.
 */
#ifndef MACHINE_LIFE_H
#define MACHINE_LIFE_H

#include "machine/step.h"

/* May the session own one more, made in or moved to such a lifetime? */
int life_room(struct step *, enum life_kind);
/* A node was made in a directory.  `claims`: by O_EXCL, mkdir, symlink or a birth
 * on condition, the ways to take a name; only those inherit `session`. */
void life_inherit(struct step *, const struct attr *dir,
    const struct attr *node, bool claims);
/* A name was made by link(2): it alone may end with the session. */
void life_linked(struct step *, uint64_t dir, struct slice name);
int life_expire(struct step *);
int life_reap(struct step *);
void life_session_end(struct step *, uint64_t session);
/* The last lock of a node is gone; the last name in a directory may be. */
void life_unlocked(struct step *, uint64_t node);
void life_emptied(struct step *, uint64_t dir);
/* The xattr gov.lifetime is set or removed. */
int life_set(struct step *, const struct attr *old);
/* Does it stand for something on another host? */
bool life_is_others(struct step *, uint64_t ino);

/* fence.c: may this session write there?  Guards, tokens and owners. */
int fence_check(struct step *);

#endif
