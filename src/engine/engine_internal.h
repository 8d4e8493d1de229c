/*
 * engine_internal.h: what a backend provides.  Included by backends only.
 */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "engine/engine.h"

struct engine_ops {
	int (*submit)(struct engine *, struct engine_req *);
	bool (*withdraw)(struct engine *, struct engine_req *);
	void (*abandon)(struct engine *, struct engine_req *);
	int (*barrier)(struct engine *, struct engine_barrier *);
	void (*barrier_cancel)(struct engine *, struct engine_barrier *);
	int (*renew)(struct engine *, struct engine_renewal *);
	void (*renew_cancel)(struct engine *, struct engine_renewal *);
	uint64_t (*refreshed_ns)(struct engine *, uint64_t);
	uint64_t (*renewed_ns)(struct engine *, uint64_t);
	bool (*alone)(struct engine *);
	void (*status)(struct engine *, struct engine_status *);
	unsigned (*members)(struct engine *, struct engine_member *, unsigned);
	bool (*writable)(struct engine *);
	void (*report_replayed)(struct engine *, uint64_t);
	void (*stop)(struct engine *, void (*)(void *), void *);
	void (*free)(struct engine *);
};

struct engine {
	const struct engine_ops *ops;
	struct store *store;	/* the committed tree */
	uint64_t rev;		/* published */
	uint64_t self;		/* member id */
	char name[64];		/* host name */
	struct engine_subscriber *subscribers;
};

void engine_publish(struct engine *, const struct engine_applied *);
void engine_publish_turn(struct engine *);
void engine_publish_status(struct engine *);

#endif
