/*
 * lease_host.h: a host with a session of its own, as a child process.
 */
#ifndef TESTS_UNIT_LEASE_HOST_H
#define TESTS_UNIT_LEASE_HOST_H

#include "group_host.h"

extern uint32_t lease_ttl_ms; /* of hosts that start from now on */

/*
 * For struct hosts.main.  It says "open", then "ready" for its first session.
 * Times are clock_now_ns(), the same clock for all processes here.
 *
 * state		"state READY LOST ID DEADLINE"
 * events		"events N_LOST AT N_READY AT N_EXPIRED AT N_REMOVED AT"
 * sessions		"sessions N"
 * create NAME		"create ERR NODE": an empty file in status/
 * fill N		"fill N FIRST": so many files, numbered from FIRST
 * life NODE TTL_MS	"life ERR": its gov.lifetime
 * delay NODE MS	"life ERR": its gov.lock_delay
 * lock NODE		"lock ERR TOKEN": flock, exclusive; 0: it waits
 * granted		"granted AT": when the newest wait ended
 * refresh NODE [N]	"refresh ERR": N nodes from there on
 * refreshed NODE	"refreshed WALL_NS"
 * exists NODE		"exists 0|1"
 * write NODE		"write ERR"
 * removed NODE		"removed AT": of the last 256; 0: not removed
 * mute			the session is renewed no more: "mute"
 * stop, and what host_child.h knows
 */
void lease_host_main(const struct group_conf *, int fd);

#endif
