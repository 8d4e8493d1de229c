/*
 * clock.c: the two clocks.
 */
#include "config.h"

#include "base/clock.h"

#include <assert.h>
#include <time.h>

#include "base/fault.h"

static uint64_t read_ns(clockid_t);

uint64_t
clock_now_ns(void)
{
	return read_ns(CLOCK_BOOTTIME);
}

uint64_t
clock_wall_ns(void)
{
	uint64_t ns = read_ns(CLOCK_REALTIME);
	int64_t jump_s = fault_get(FAULT_wall_jump_s);
	uint64_t jump_ns = (uint64_t)(jump_s < 0 ? -jump_s : jump_s) * NS_PER_S;

	if (jump_s >= 0)
		return ns + jump_ns;
	return ns > jump_ns ? ns - jump_ns : 0;
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
