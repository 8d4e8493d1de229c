/*
 * group_host.h: a host of a group as a child process, told what to do in lines.
 *
 * Each host runs engine_group on its own loop.  It answers each line with one
 * line; the parent asks, waits with a deadline, and kills.
 */
#ifndef TESTS_UNIT_GROUP_HOST_H
#define TESTS_UNIT_GROUP_HOST_H

#include "engine/engine_group.h"

#define HOSTS_MAX 5

struct hosts {
	struct group_conf conf; /* self and dir filled in per host */
	char dir[128];		/* of all: DIR/1, DIR/2, ... */
	int pid[HOSTS_MAX];	/* 0: not running */
	int fd[HOSTS_MAX];
	char line[512];		/* newest answer */
	/* NULL: the child below */
	void (*main)(const struct group_conf *, int fd);
};

void hosts_init(struct hosts *, unsigned n);
void hosts_fini(struct hosts *);
void host_start(struct hosts *, unsigned i); /* from 0 */
void host_kill(struct hosts *, unsigned i);  /* kill -9 */
int host_wait(struct hosts *, unsigned i);   /* exit status, -1: late */

/*
 * commit N W PREFIX [SIZE]
 *		       N files by W at a time: "commit OK ERR P50us P99us RATE"
 * trickle N PREFIX    the same, another one in each loop turn
 * one NAME	       one file: "one ERR us"
 * later NAME	       the same, answered at once; "earlier" tells its end
 * journal DIR	       names acknowledged and refused go to files there
 * verify FILE	       of such a file: "verify THERE ABSENT EEXISTS"
 * overtaken	       own commands applied after younger ones: "overtaken N"
 * barrier, digest, count, members, replayed REV, stop, and what host_child.h
 * knows
 */
const char *host_ask(struct hosts *, unsigned i, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void host_tell(struct hosts *, unsigned i, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *host_answer(struct hosts *, unsigned i, unsigned timeout_ms);

/* Who leads, seen by itself, -1: nobody within the deadline. */
int hosts_leader(struct hosts *, unsigned timeout_ms);
/* All running hosts have one digest at one revision, within the deadline. */
bool hosts_equal(struct hosts *, unsigned timeout_ms);

#endif
