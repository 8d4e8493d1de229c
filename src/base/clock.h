/*
 * clock.h: what time it is, for whom.
 *
 * Deadlines use clock_now_ns() (CLOCK_BOOTTIME: it runs on through a suspend
 * and nobody can set it).  Only the leader's entry header asks the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

uint64_t clock_now_ns(void);  /* CLOCK_BOOTTIME */
uint64_t clock_wall_ns(void); /* CLOCK_REALTIME, since the epoch */

#endif
