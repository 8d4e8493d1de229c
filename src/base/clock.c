/*
 * clock.c: the two clocks.
 */
#include "config.h"

#include "base/clock.h"

#include <assert.h>
#include <time.h>

static uint64_t read_ns(clockid_t);

uint64_t
clock_now_ns(void)
{
	return read_ns(CLOCK_BOOTTIME);
}

uint64_t
clock_wall_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}

static uint64_t
read_ns(clockid_t id)
{
	struct timespec ts;
	int err = clock_gettime(id, &ts);

	assert(err == 0);
	(void)err;
	/* A wall clock set before the epoch is no reason to stop. */
	if (ts.tv_sec < 0)
		return 0;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}
