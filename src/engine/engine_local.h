/*
 * engine_local.h: an engine without Raft, for tests of what stands above.
 *
 * Commands are applied at the end of the loop turn that submitted them.
 */
#ifndef ENGINE_LOCAL_H
#define ENGINE_LOCAL_H

#include <uv.h>

#include "engine/engine.h"

/* Takes the store.  delay_ms: how long a commit pretends to take. */
int engine_local_open(uv_loop_t *, struct store * /* takes */,
    unsigned delay_ms, struct engine **ret);
/* A command of another host: applied in order, published as remote. */
void engine_local_remote(struct engine *, const struct command *);
/* Pretends that the leader is lost or back; READONLY and LOST refuse. */
void engine_local_set_health(struct engine *, enum engine_health);

#endif
