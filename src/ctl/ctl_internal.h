/*
 * ctl_internal.h: what ctl.c (bytes) and answer.c (meaning) share.
 */
#ifndef CTL_CTL_INTERNAL_H
#define CTL_CTL_INTERNAL_H

#include <sys/types.h>

#include <jansson.h>

#include "base/limits.h"
#include "ctl/ctl.h"

struct ctl_client {
	uv_pipe_t pipe;		 /* data: this client */
	uv_write_t write;	 /* of reply, one at a time */
	struct ctl *ctl;	 /* owner */
	struct ctl_client *next; /* in ctl->clients */
	uid_t uid;		 /* peer's, when it connected */
	gid_t gid;
	bool privileged;	 /* root or our own user */
	bool busy;		 /* an answer is being made or written */
	unsigned n_idle;	 /* ticks since it asked or was answered */
	bool closing;
	bool barrier_pending;	 /* barrier is with the engine */
	struct engine_barrier barrier;
	char *reply;		 /* owned while it is written */
	size_t len;		 /* bytes in line */
	char line[LIMIT_CTL_LINE];
};

struct ctl {
	uv_pipe_t pipe; /* listens; data: this ctl */
	uv_timer_t timer; /* a tick a second; data: this ctl */
	struct engine *engine;
	struct ctl_hooks hooks;
	struct ctl_client *clients;
	unsigned n_clients;
	unsigned n_open;	/* handles not closed yet, while stopping */
	void (*stopped)(void *);
	void *stopped_arg;
	char *path; /* owned */
};

/* Answers one line: calls ctl_reply() now or later, exactly once. */
void ctl_answer(struct ctl_client *, const char *line, size_t len);
void ctl_reply(struct ctl_client *, json_t * /* takes */);

#endif
