/*
 * host_child.h: what hosts that run as child processes have in common: their
 * loop and engine, and commands that are a line each and answered by one.
 */
#ifndef TESTS_UNIT_HOST_CHILD_H
#define TESTS_UNIT_HOST_CHILD_H

#include <uv.h>

#include "engine/engine_group.h"
#include "engine/engine_internal.h"

struct child;

struct child_command {
	const char *name;
	void (*run)(struct child *, char *args); /* "": none */
};

struct child {
	uv_loop_t loop;
	struct engine *engine;
	struct engine_subscriber subscriber; /* of it; the owner's */
	uv_pipe_t control;
	const struct child_command *commands;
	char in[4096];
	size_t in_len;
};

/*
 * Opens the engine and says "open".  Knows, besides the commands given, which
 * end with one without a name, what every host does:
 *
 * status		"status ROLE LEADER HEALTH TERM COMMIT APPLIED N_ALIVE"
 * metric NAME		"metric VALUE", of a time its count
 * fault NAME VALUE	"fault"
 */
void child_open(struct child *, const struct group_conf *, int fd,
    const struct child_command *);
void child_run(struct child *); /* until there is nothing left to do */
void child_say(struct child *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* For engine_stop(): says "stopped" and lets child_run() end. */
void child_stopped(void *child);

#endif
