/*
 * replay_queue.c: replay.c with a queue as short as the simulation wants it.
 */
#include "config.h"

#include "base/limits.h"
#include "sim/replay_sim.h"

#undef LIMIT_REPLAY_QUEUE
#define LIMIT_REPLAY_QUEUE sim.queue

#include "replay/replay.c"
